//! What tests of zones start from.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::entry::{Entry, Head};
use super::key::Key;
use super::zone::{Begin, Found, Zone};
use crate::conf::source::{FileId, Span};
use crate::conf::typed::cache_path::{CachePath, Pace};

/// A cache in this directory.
pub fn conf(directory: &Path) -> CachePath {
    let pace = Pace {
        files: 1000,
        sleep: Duration::ZERO,
        threshold: Duration::from_secs(60),
    };
    CachePath {
        name: "one".into(),
        path: directory.join("one"),
        levels: vec![1, 2],
        keys: 10 << 20,
        memory: 32 << 20,
        inactive: Duration::from_secs(600),
        max_size: None,
        min_free: 0,
        manager: pace,
        loader: pace,
        span: Span::new(FileId(0), 0..0),
    }
}

/// A zone that reads its directory, and has read it.
pub fn started(conf: CachePath) -> Arc<Zone> {
    let zone = Zone::new(Arc::new(conf), |_, _| ());
    zone.start(|| ());
    eventually("the directory is read", || !zone.extent().is_loading);
    zone
}

/// Waits for something that must come.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: it does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is stored is on the disk.
pub fn settle(zone: &Zone) {
    zone.settle(Instant::now() + Duration::from_secs(60));
}

/// Runs it.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().expect("a runtime");
    runtime.block_on(future)
}

/// A head with this status.
pub fn head(status: u16) -> Head {
    Head {
        status,
        fields: (*b"Content-Type: text/plain\r\n").into(),
        ..Head::default()
    }
}

/// As [`head`], for requests with this value of `Accept`.
pub fn varied(value: &str) -> Head {
    Head {
        vary: vec![((*b"accept").into(), Some(value.as_bytes().into()))],
        ..head(200)
    }
}

/// Bytes that are different everywhere.
pub fn body(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let numbers = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    });
    let mut bytes: Vec<u8> = (numbers.take(length.div_ceil(4)))
        .flat_map(u32::to_le_bytes)
        .collect();
    bytes.truncate(length);
    bytes
}

/// Stores an answer.
pub fn store(zone: &Arc<Zone>, key: &str, head: Head, body: &[u8]) -> Option<Arc<Entry>> {
    let Begin::Fill(mut fill) = zone.begin_fill(&Key::new(key.as_bytes())) else {
        panic!("somebody fills `{key}`");
    };
    fill.begin(head, None);
    for piece in body.chunks(50_000) {
        fill.append(piece);
        // Unless it hangs, the disk keeps up.
        while zone.unwritten.load(Ordering::Relaxed) > 2 << 20 && !zone.faults.gate.is_locked() {
            std::thread::yield_now();
        }
    }
    fill.commit()
}

/// What is found for a key, read from the disk if need be.
pub fn find(zone: &Arc<Zone>, key: &str) -> Option<Arc<Entry>> {
    find_varied(zone, key, |_| true)
}

/// As [`find`], with a choice.
pub fn find_varied(
    zone: &Arc<Zone>,
    key: &str,
    choose: impl Fn(&Entry) -> bool,
) -> Option<Arc<Entry>> {
    let key = Key::new(key.as_bytes());
    let mut found = zone.find(&key, &choose);
    if matches!(found, Found::OnDisk) {
        run(zone.load(&key));
        found = zone.find(&key, &choose);
    }
    match found {
        Found::Entry(entry) => Some(entry),
        Found::OnDisk | Found::Nothing => None,
    }
}

/// The body of an entry; `None` if it cannot be read.
pub fn read(zone: &Arc<Zone>, entry: &Arc<Entry>) -> Option<Vec<u8>> {
    run(async {
        let mut reader = zone.open(entry, 0..entry.length).await.ok()?;
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await.ok()? {
            bytes.extend_from_slice(&piece);
        }
        Some(bytes)
    })
}
