//! What a zone does by itself: it reads its directory at the start, keeps to its limits and removes
//! what was purged. One thread for each zone, in small steps with pauses between them (`loader_*`,
//! `manager_*`), so that the disk stays free for requests.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use parking_lot::{Condvar, Mutex};

use super::entry::Entry;
use super::file::FileError;
use super::key::Digest;
use super::place::{self, PURGES, Walk};
use super::purge::Target;
use super::zone::{Zone, now};
use crate::conf::typed::cache_path::Pace;
use crate::conf::typed::log::Level;
use crate::unit::clock;

/// Without a reason to do so earlier, the limits are looked at this often.
const TURN: Duration = Duration::from_secs(10);

/// Wakes the keeper.
#[derive(Default, Debug)]
pub struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
}

#[derive(Default, Debug)]
struct Rung {
    is_rung: bool,
    is_closed: bool,
}

impl Bell {
    /// There is something to do.
    pub fn ring(&self) {
        let mut state = self.state.lock();
        if !state.is_rung {
            state.is_rung = true;
            self.rung.notify_one();
        }
    }

    /// There will be nothing more to do.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.rung.notify_one();
    }

    /// Waits until it rings or the time is over; `false` after the end.
    fn wait(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + time;
        while !state.is_rung && !state.is_closed {
            if self.rung.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.is_rung = false;
        !state.is_closed
    }

    /// A pause that only the end cuts short; `false` then.
    fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + time;
        while !state.is_closed {
            if self.rung.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        !state.is_closed
    }
}

/// Lets the zone know its directory and keep to its limits, until it is dropped.
pub(super) fn start(zone: &Arc<Zone>, begin: fn()) -> std::io::Result<()> {
    let bell = Arc::clone(&zone.bell);
    let weak = Arc::downgrade(zone);
    let thread = std::thread::Builder::new()
        .name("cache keeper".to_owned())
        .spawn(move || {
            begin();
            keep(&weak, &bell);
        });
    thread.map(drop)
}

fn keep(weak: &Weak<Zone>, bell: &Bell) {
    if load(weak, bell).is_none() {
        return;
    }
    loop {
        let Some(zone) = weak.upgrade() else { return };
        let pace = zone.conf().manager;
        let is_done = manage(&zone, pace);
        let swept = is_done && !zone.rules.is_empty() && sweep(weak, &zone, bell);
        drop(zone);
        let goes_on = match is_done && !swept {
            true => bell.wait(TURN),
            false => bell.pause(pace.sleep),
        };
        if !goes_on {
            return;
        }
    }
}

/// Reads the directory. `None` if the zone ended meanwhile.
fn load(weak: &Weak<Zone>, bell: &Bell) -> Option<()> {
    let zone = weak.upgrade()?;
    if let Err(error) = place::make(zone.place.root(), None) {
        zone.disk_failed("mkdir", &error);
    }
    let (newest, is_whole) = zone.rules.load(&zone.place.root().join(PURGES));
    zone.see_serial(newest);
    if !is_whole {
        // What it named is not known any more, and must not come back.
        // All other rules go with this one, so that there is room.
        let _ = zone.rules.add(zone.next_serial(), Target::Everything);
        let list = zone.place.root().join(PURGES);
        (zone.report)(
            Level::Warn,
            format_args!(
                "the list of purges \"{}\" is not what was written, all that is stored is purged",
                list.display()
            ),
        );
    }
    zone.place.sweep();
    let mut was_ahead = false;
    let mut walk = Walk::new(&zone.place).ok();
    let mut count = 0u64;
    drop(zone);
    loop {
        let zone = weak.upgrade()?;
        let pace = zone.conf().loader;
        let until = Instant::now() + pace.threshold;
        for _ in 0..pace.files {
            match walk.as_mut().and_then(Iterator::next) {
                Some(found) => {
                    // What an earlier process gave out, whose clock may have been ahead of this one.
                    zone.see_serial(found.written);
                    was_ahead |= u128::from(found.written) > clock::unix().as_micros();
                    count += u64::from(zone.add_known(found.digest, found.slot, found.size));
                }
                None => walk = None,
            }
            if walk.is_none() || Instant::now() >= until {
                break;
            }
        }
        if walk.is_none() {
            if was_ahead {
                // What was purged meanwhile was there before, whatever its serial says.
                zone.rules.raise(zone.first_serial, zone.next_serial());
            }
            zone.end_loading();
            if count > 0 {
                (zone.report)(
                    Level::Notice,
                    format_args!(
                        "cache zone \"{}\" has {count} entries on disk",
                        zone.conf().name
                    ),
                );
            }
            return Some(());
        }
        // What is too much need not wait for the rest.
        manage(&zone, zone.conf().manager);
        drop(zone);
        if !bell.pause(pace.sleep) {
            return None;
        }
    }
}

/// Removes some of what is too much. Is nothing more to be removed?
pub(super) fn manage(zone: &Zone, pace: Pace) -> bool {
    let until = Instant::now() + pace.threshold;
    let conf = zone.conf();
    let inactive = u32::try_from(conf.inactive.as_secs()).unwrap_or(u32::MAX);
    let mut is_done = true;
    let mut left = pace.files;
    // What nobody wanted for long.
    for mut part in zone.parts() {
        while left > 0
            && let Some(number) = part.index.oldest()
            && now().saturating_sub(part.index.record(number).used) >= inactive
        {
            left -= 1;
            if !part.index.record(number).is_ghost() {
                zone.figures.expired.fetch_add(1, Ordering::Relaxed);
            }
            zone.kill(&mut part, number);
        }
    }
    is_done &= left > 0;
    // What does not fit. What is dead already is counted until it is buried, so that comes first.
    zone.bury();
    let mut excess = conf.max_size.map_or(0, |most| {
        zone.size.load(Ordering::Relaxed).saturating_sub(most)
    });
    if conf.min_free > 0
        && let Ok(system) = statvfs(zone.place.root())
    {
        // How wide these are depends on the machine.
        let free = u128::from(system.blocks_available()) * u128::from(system.fragment_size());
        let free = u64::try_from(free).unwrap_or(u64::MAX);
        excess = excess.max(conf.min_free.saturating_sub(free));
    }
    while excess > 0 && left > 0 && Instant::now() < until {
        let Some(size) = evict_one(zone) else { break };
        excess = excess.saturating_sub(size);
        left -= 1;
    }
    is_done &= excess == 0 || zone.count.load(Ordering::Relaxed) == 0;
    zone.bury();
    is_done
}

/// Removes what was not wanted for the longest time, and says how much its file took; `None` if
/// there is nothing that may be removed.
fn evict_one(zone: &Zone) -> Option<u64> {
    let mut oldest: Option<(u32, Digest)> = None;
    for part in zone.parts() {
        if let Some(number) = part.index.oldest() {
            let record = part.index.record(number);
            if oldest.is_none_or(|(used, _)| record.used < used) {
                oldest = Some((record.used, record.digest));
            }
        }
    }
    let (_, digest) = oldest?;
    let mut part = zone.part(digest);
    let number = part.index.oldest()?;
    let record = part.index.record(number);
    let size = record.size;
    if !record.is_ghost() {
        zone.figures.evicted.fetch_add(1, Ordering::Relaxed);
    }
    zone.kill(&mut part, number);
    Some(size)
}

/// Walks over the zone and removes what its rules name, then forgets those. `false` if the zone
/// ended, or if the rules are still needed.
fn sweep(weak: &Weak<Zone>, zone: &Arc<Zone>, bell: &Bell) -> bool {
    let newest = zone.rules.newest();
    let pace = zone.conf().manager;
    for part in 0..zone.parts().count() {
        let mut from = 0;
        loop {
            // What has to be read from the disk to be known.
            let mut unknown = Vec::new();
            let mut here = zone.parts().nth(part).expect("counted");
            let (numbers, next) = here.index.some_from(from, pace.files as usize);
            for number in numbers {
                let record = here.index.record(number);
                if record.is_ghost() || record.is_dead() {
                    continue;
                }
                match &record.entry {
                    Some(entry) if zone.rules.concern(entry) => {
                        zone.figures.purged.fetch_add(1, Ordering::Relaxed);
                        zone.kill(&mut here, number);
                    }
                    Some(_) => {}
                    None => unknown.push((record.digest, record.slot)),
                }
            }
            drop(here);
            let has_read = !unknown.is_empty();
            for (digest, slot) in unknown {
                let is_gone = match zone.read_head(digest, slot) {
                    Ok((entry, _)) => is_gone(zone, &entry),
                    Err(FileError::Missing | FileError::Broken) => true,
                    Err(FileError::Io(error)) => {
                        zone.disk_failed("read", &error);
                        return false;
                    }
                };
                let mut part = zone.part(digest);
                if is_gone
                    && let Some(number) = part.index.at_slot(digest, slot)
                    && part.index.record(number).entry.is_none()
                {
                    zone.figures.purged.fetch_add(1, Ordering::Relaxed);
                    zone.kill(&mut part, number);
                }
            }
            zone.bury();
            match next {
                Some(next) => from = next,
                None => break,
            }
            // Only this thread and its caller hold the zone on behalf of the keeper.
            if has_read && (!bell.pause(pace.sleep) || weak.strong_count() == 1) {
                return false;
            }
        }
    }
    zone.rules.forget(newest);
    // What cannot be written is written with the next one.
    let _ = zone.save_rules();
    true
}

fn is_gone(zone: &Zone, entry: &Entry) -> bool {
    zone.see_serial(entry.serial);
    zone.rules.concern(entry)
}
