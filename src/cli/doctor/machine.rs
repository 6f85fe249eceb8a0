//! What the machine gives: time, room, memory, open files.

use std::path::Path;

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;

/// Certificates and log lines of a machine whose clock says an earlier year make no sense.
const FIRST_YEAR: i16 = 2025;

/// As above, a later year.
const LAST_YEAR: i16 = 2100;

/// Is the clock kept right?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// Something steers it.
    Synchronized,
    /// Nothing does.
    Free,
    /// The year cannot be.
    Wrong(i16),
    /// The kernel does not tell.
    Unknown,
}

/// The state of the clock.
pub fn clock(now: Timestamp, is_steered: Option<bool>) -> Clock {
    let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
    match is_steered {
        _ if !(FIRST_YEAR..=LAST_YEAR).contains(&year) => Clock::Wrong(year),
        Some(true) => Clock::Synchronized,
        Some(false) => Clock::Free,
        None => Clock::Unknown,
    }
}

/// Does the kernel say that something steers its clock (adjtimex(2))?
pub fn clock_is_steered() -> Option<bool> {
    #[expect(
        unsafe_code,
        reason = "no safe wrapper asks the kernel about its clock"
    )]
    // SAFETY: all of the structure is numbers, for which zero is a value; with `modes` 0 the call only
    // writes into it.
    let (state, status) = unsafe {
        let mut about: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut about), about.status)
    };
    (state >= 0).then_some(status & libc::STA_UNSYNC == 0)
}

/// The room on a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes that we may still write.
    pub bytes: u64,
    /// Of all its bytes, in percent.
    pub bytes_percent: u8,
    /// Of all its files, how many may still be made, in percent; 100 where they are not counted.
    pub files_percent: u8,
}

/// The room where a path is, or where it would be made.
pub fn room(path: &Path) -> Option<Room> {
    let there = path.ancestors().find(|path| path.exists())?;
    let about = statvfs(there).ok()?;
    // The types of these numbers differ between machines; all of them fit into this one.
    let percent = |some: u128, all: u128| match all {
        0 => 100,
        all => u8::try_from(some.saturating_mul(100) / all).unwrap_or(100),
    };
    let available = u128::from(about.blocks_available());
    let bytes = available.saturating_mul(u128::from(about.fragment_size()));
    Some(Room {
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        bytes_percent: percent(available, u128::from(about.blocks())),
        files_percent: percent(
            u128::from(about.files_available()),
            u128::from(about.files()),
        ),
    })
}

/// The bytes that programs can still get, by the text of `/proc/meminfo`.
pub fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The hard limit of open files, by the text of `/proc/PID/limits`; `u64::MAX` without a limit.
pub fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_another_century_is_wrong_whoever_steers_it() {
        let now = |seconds| Timestamp::from_second(seconds).expect("in range");
        assert_eq!(clock(now(0), Some(true)), Clock::Wrong(1970));
        assert_eq!(clock(now(1_780_000_000), Some(true)), Clock::Synchronized);
        assert_eq!(clock(now(1_780_000_000), Some(false)), Clock::Free);
        assert_eq!(clock(now(1_780_000_000), None), Clock::Unknown);
        // Whatever it says, it says something.
        let _ = clock_is_steered();
    }

    #[test]
    fn room_is_that_of_the_directory_that_would_hold_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let room = room(&directory.path().join("not/there/yet")).expect("a file system");
        assert!(room.bytes_percent <= 100 && room.files_percent <= 100);
    }

    #[test]
    fn files_of_proc_are_read() {
        let meminfo = "MemTotal:       16374356 kB\nMemFree:  1 kB\nMemAvailable:     2048 kB\n";
        assert_eq!(memory_available(meminfo), Some(2048 * 1024));
        assert_eq!(memory_available(""), None);
        let limits = "\
Limit                     Soft Limit           Hard Limit           Units     
Max processes             63432                63432                processes 
Max open files            1024                 524288               files     
";
        assert_eq!(open_files(limits), Some(524_288));
        assert_eq!(
            open_files("Max open files  unlimited unlimited files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files(""), None);
    }
}
