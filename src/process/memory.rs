//! Memory that start-up and load have left behind goes back to the system.
//!
//! The allocator keeps what was freed between what is still held, so a burst of connections would be paid
//! for until the next restart. And what only the start needed of the program stays mapped: most of the
//! file. Once a minute is looked whether there is more than there needs to be; on a machine with nothing to
//! do that is all. What is given back is read again from the file, or taken anew from the system, when it
//! is needed.

use std::time::Duration;

use tokio::task::spawn_blocking;

/// The start is over then, and what it needed alone can go.
const SETTLED: Duration = Duration::from_secs(5);

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// So much is worth giving back, in KiB.
const WORTH_IT: u64 = 2048;

/// The most looks between two tries when there is much in memory that is in use.
const MOST_LOOKS: u32 = 4;

/// Gives back what is not used, for ever.
pub async fn keep_small() {
    tokio::time::sleep(SETTLED).await;
    let mut thrift = Thrift::default();
    loop {
        let looking = spawn_blocking(move || {
            thrift.look();
            thrift
        });
        thrift = looking.await.unwrap_or_default();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What of the process is in memory, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Resident {
    /// What it has written: the heap, stacks.
    anonymous: u64,
    /// Pages of files, nearly all of the program itself.
    file: u64,
}

impl Resident {
    /// What is resident, from a text as of `/proc/self/status` (proc(5)).
    fn of(status: &str) -> Option<Self> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Self {
            anonymous: kib("RssAnon:")?,
            file: kib("RssFile:")?,
        })
    }

    /// What is resident now; nothing where the system does not tell.
    fn now() -> Option<Self> {
        Self::of(&std::fs::read_to_string("/proc/self/status").ok()?)
    }
}

/// When to give back what.
#[derive(Clone, Copy, Default, Debug)]
struct Thrift {
    /// The least of written memory that there ever was after some was given back.
    least: Option<u64>,
    /// Looks until the next try.
    pause: u32,
    /// How many looks the last try was paused for: they double while nothing comes of it.
    paused: u32,
    /// The pages of files that were needed once the start's were gone, when that is known.
    needed: Option<u64>,
    has_unmapped: bool,
}

impl Thrift {
    /// Looks, and gives back what is worth it.
    fn look(&mut self) {
        let Some(now) = Resident::now() else { return };
        if self.wants_trim(now.anonymous) {
            trim();
            let left = Resident::now().map_or(now.anonymous, |left| left.anonymous);
            self.trimmed(now.anonymous, left);
        }
        if self.wants_unmap(now.file) {
            unmap_program();
        }
    }

    /// Whether there is more written memory than there needs to be, as far as one can tell without trying.
    fn wants_trim(&mut self, anonymous: u64) -> bool {
        if self.least.is_some_and(|least| anonymous < least + WORTH_IT) {
            (self.pause, self.paused) = (0, 0);
            return false;
        }
        let is_due = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        is_due
    }

    /// Takes note of what came of a try.
    fn trimmed(&mut self, before: u64, left: u64) {
        // At first there is nothing but the start's; that little comes of it says nothing of later.
        let is_worth_it = before >= left + WORTH_IT || self.least.is_none();
        self.paused = match is_worth_it {
            true => 0,
            false => (2 * self.paused + 1).min(MOST_LOOKS),
        };
        self.least = Some(self.least.map_or(left, |least| least.min(left)));
        self.pause = self.paused;
    }

    /// Whether there is more of the program than it needs. How much it needs is seen at the look after its
    /// pages were given back, when it has taken what it uses.
    fn wants_unmap(&mut self, file: u64) -> bool {
        let needed = match (self.has_unmapped, self.needed) {
            (true, None) => *self.needed.insert(file),
            (true, Some(needed)) => needed,
            (false, _) => 0,
        };
        let is_more = file >= needed + WORTH_IT;
        if is_more {
            self.has_unmapped = true;
            self.needed = None;
        }
        is_more
    }
}

/// Has the allocator give back what it does not use.
fn trim() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "no safe wrapper asks the allocator")]
        // SAFETY: may be called at any time, from any thread (malloc_trim(3)).
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Takes the pages of the program's file out of this process. They stay in the system's cache for as long as
/// it sees fit, and come back one by one as they are used.
fn unmap_program() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    for (start, length) in unwritten(&maps, &program.to_string_lossy()) {
        #[expect(
            unsafe_code,
            reason = "no safe wrapper knows that nothing was written here"
        )]
        // SAFETY: these are pages of a file that the program maps without the right to write, and that
        // the loader has not changed: read again from the file they are what they were (madvise(2)).
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// Where the program's file is mapped and nothing was ever written: its code, and the beginning of the
/// file with constants. What the loader has filled in lies behind these and is left alone. Start and length, from
/// a text as of `/proc/self/maps` (proc(5)).
fn unwritten(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let place = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
        let path = line.find('/').map(|start| &line[start..])?;
        let is_ours = path == program
            && (rights == "r-xp" || (rights == "r--p" && offset.bytes().all(|byte| byte == b'0')));
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        is_ours.then(|| Some((start, end.checked_sub(start)?)))?
    };
    maps.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_has_changed_stays() {
        let maps = "\
5607dd868000-5607de053000 r--p 00000000 fe:00 10027903                   /usr/bin/openclaw
5607de053000-5607df7c7000 r-xp 007ea000 fe:00 10027903                   /usr/bin/openclaw
5607df7c7000-5607df8a4000 r--p 01f5d000 fe:00 10027903                   /usr/bin/openclaw
5607df8a4000-5607df8ae000 rw-p 02039000 fe:00 10027903                   /usr/bin/openclaw
5607e0000000-5607e0021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000021000 r-xp 00000000 fe:00 10027904                   /usr/lib/libc.so.6
7f0000100000-7f0000121000 r--p 00000000 fe:00 10027905                   /srv/a file with spaces
";
        assert_eq!(
            unwritten(maps, "/usr/bin/openclaw"),
            [
                (0x5607_dd86_8000, 0x7e_b000),
                (0x5607_de05_3000, 0x177_4000)
            ]
        );
        assert!(unwritten(maps, "").is_empty());
        assert!(unwritten("", "/usr/bin/openclaw").is_empty());
        assert!(unwritten("x-y r-xp 0 0 0 /p\n1 r-xp\n2-1 r-xp 0 0 0 /p", "/p").is_empty());
    }

    #[test]
    fn resident_memory_is_read_as_the_system_tells_it() {
        let status =
            "Name:\topenclaw\nVmRSS:\t   22628 kB\nRssAnon:\t    2876 kB\nRssFile:\t   19752 kB\n";
        let expected = Resident {
            anonymous: 2876,
            file: 19752,
        };
        assert_eq!(Resident::of(status), Some(expected));
        assert_eq!(Resident::of("Name:\topenclaw\nRssAnon:\t2876 kB\n"), None);
    }

    #[test]
    fn a_try_that_brings_nothing_is_made_more_and_more_seldom() {
        let mut thrift = Thrift::default();
        assert!(thrift.wants_trim(3_000), "the first time nothing is known");
        thrift.trimmed(3_000, 2_200);
        let mut tries = Vec::new();
        for look in 0..20 {
            if thrift.wants_trim(15_000) {
                thrift.trimmed(15_000, 14_900);
                tries.push(look);
            }
        }
        assert_eq!(tries, [0, 2, 6, 11, 16]);
        while !thrift.wants_trim(15_000) {}
        thrift.trimmed(15_000, 4_500);
        assert!(thrift.wants_trim(4_500), "there was something: once more");
        thrift.trimmed(4_500, 4_400);
        assert!(!thrift.wants_trim(2_300), "as small as ever");
        assert!(thrift.wants_trim(9_000), "a new load begins anew");
    }

    #[test]
    fn the_program_is_unmapped_after_its_start_and_when_more_of_it_was_used_than_usual() {
        let mut thrift = Thrift::default();
        let looks = [20_000, 9_000, 9_500, 10_900, 11_100, 9_200, 9_300]
            .map(|file| thrift.wants_unmap(file));
        assert_eq!(looks, [true, false, false, false, true, false, false]);
    }

    #[test]
    fn what_was_freed_and_what_is_not_used_goes_back() {
        let before = Resident::now().expect("Linux tells");
        let mut held: Vec<_> = (0..65_536).map(|_| vec![1_u8; 1024]).collect();
        // The last pieces stay: what lies before them cannot just be cut off.
        let last = held.split_off(65_000);
        drop(held);
        let full = Resident::now().expect("Linux tells");
        Thrift::default().look();
        let left = Resident::now().expect("Linux tells");
        assert!(full.anonymous > before.anonymous + 32 * 1024, "{full:?}");
        assert!(left.anonymous + 16 * 1024 < full.anonymous, "{left:?}");
        assert!(left.file < full.file, "{full:?} {left:?}");
        assert!(last.iter().all(|piece| piece[0] == 1));
    }
}
