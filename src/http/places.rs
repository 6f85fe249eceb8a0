//! Where is an address? Variables of `geoip2`, read from databases in MaxMind's format.
//!
//! A database is read whole when the configuration is built, and again when its file has changed: by a
//! thread of its own, while the one from before answers. A worker looks a database up without a lock
//! but once in a while. Invariant: a database that is missing or broken costs its values, never a
//! request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use std::{fs, io};

use maxminddb::{PathElement, Reader};
use parking_lot::Mutex;
use serde_json::Value;

use super::claims;
use crate::conf::typed::places::{Asked, Place};
use crate::unit::clock;

/// A larger file is not read.
const LARGEST: u64 = 1 << 30;

/// A worker asks this often whether there is another one.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A database in memory.
#[derive(Debug)]
struct Database {
    reader: Reader<Vec<u8>>,
    /// When its file was changed, in seconds since 1970.
    changed: i64,
}

/// What tells a file from the same one changed.
type Stamp = (u64, u64, i64, i64);

/// A file and what was read of it.
#[derive(Debug, Default)]
struct Kept {
    database: Option<Arc<Database>>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
    is_loading: bool,
}

static ALL: LazyLock<Mutex<HashMap<PathBuf, Kept>>> = LazyLock::new(Mutex::default);

/// A database as a thread saw it last, and when that was.
type Seen = (Instant, Option<Arc<Database>>);

thread_local! {
    static MINE: RefCell<HashMap<PathBuf, Seen>> = RefCell::default();
}

/// Reads a database unless it is known as it is. The error says why it cannot be used; what was known
/// before goes on.
pub fn load(path: &Path) -> Result<(), String> {
    let stamped = fs::metadata(path).map(|metadata| stamp(&metadata));
    if let (Ok(stamp), Some(kept)) = (&stamped, ALL.lock().get(path))
        && kept.stamp == Some(*stamp)
        && kept.database.is_some()
    {
        return Ok(());
    }
    let read = read(path);
    let mut all = ALL.lock();
    let kept = all.entry(path.to_owned()).or_default();
    kept.looked = Some(clock::now());
    kept.is_loading = false;
    // One that is broken is not read again and again.
    kept.stamp = stamped.ok();
    match read {
        Ok(database) => {
            kept.database = Some(Arc::new(database));
            Ok(())
        }
        Err(why) => Err(why),
    }
}

fn read(path: &Path) -> Result<Database, String> {
    let told = |error: io::Error| error.to_string();
    let metadata = fs::metadata(path).map_err(told)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if metadata.len() > LARGEST {
        return Err("it is too large".to_owned());
    }
    let bytes = fs::read(path).map_err(told)?;
    let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
    Ok(Database {
        reader,
        changed: metadata.mtime(),
    })
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    (
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

/// The database as it is now, or was a moment ago.
fn database(place: &Place) -> Option<Arc<Database>> {
    let now = clock::now();
    MINE.with_borrow_mut(|mine| {
        if let Some((asked, database)) = mine.get(&*place.path)
            && now.saturating_duration_since(*asked) < ASK_AGAIN
        {
            return database.clone();
        }
        let database = current(&place.path, place.reload, now);
        mine.insert(place.path.to_path_buf(), (now, database.clone()));
        database
    })
}

fn current(path: &Path, reload: Duration, now: Instant) -> Option<Arc<Database>> {
    let mut all = ALL.lock();
    let kept = all.entry(path.to_owned()).or_default();
    let is_due = (kept.looked).is_none_or(|at| now.saturating_duration_since(at) >= reload);
    if is_due && !kept.is_loading {
        kept.looked = Some(now);
        let found = fs::metadata(path).ok().map(|metadata| stamp(&metadata));
        if found.is_some() && found != kept.stamp {
            kept.is_loading = true;
            let path = path.to_owned();
            let thread = std::thread::Builder::new().name("places".to_owned());
            let started = thread.spawn(move || match load(&path) {
                Ok(()) => tracing::info!("`{}` was read anew", path.display()),
                Err(why) => tracing::warn!("`{}` cannot be read: {why}", path.display()),
            });
            kept.is_loading = started.is_ok();
        }
    }
    kept.database.clone()
}

/// Appends what is asked of an address; the default if it is not known.
pub fn write(place: &Place, address: Option<IpAddr>, out: &mut Vec<u8>) {
    let start = out.len();
    let found = database(place).is_some_and(|database| match &place.asked {
        // Writing to a vector cannot fail.
        Asked::BuildEpoch => write!(out, "{}", database.reader.metadata().build_epoch).is_ok(),
        Asked::LastChange => write!(out, "{}", database.changed).is_ok(),
        Asked::Data(path) => address
            .and_then(|address| value(&database, address, path))
            .is_some_and(|value| match value.as_f64() {
                Some(number) if value.is_f64() => write!(out, "{number:.5}").is_ok(),
                _ => claims::write_value(&value, out),
            }),
    });
    if !found {
        out.truncate(start);
        out.extend_from_slice(&place.default);
    }
}

fn value(database: &Database, address: IpAddr, path: &[Box<str>]) -> Option<Value> {
    let found = database.reader.lookup(address.to_canonical()).ok()?;
    let at = |path: &[&str]| -> Option<Value> {
        let elements: Vec<PathElement<'_>> = path
            .iter()
            .map(|name| match name.parse() {
                Ok(index) => PathElement::Index(index),
                Err(_) => PathElement::Key(name),
            })
            .collect();
        found.decode_path(&elements).ok().flatten()
    };
    let path: Vec<&str> = path.iter().map(|name| &**name).collect();
    let is_text = |value: &Value| value.is_string();
    match (at(&path), &*path) {
        (Some(value), _) => Some(value),
        // Databases of others say the country without more around it.
        (None, ["country", "iso_code"]) => at(&["country"])
            .filter(is_text)
            .or_else(|| at(&["country_code"]).filter(is_text)),
        _ => None,
    }
}
