//! Fixture trees written as one text.
//!
//! ```text
//! == www/index.html
//! the content, up to the next such line
//! == www/big.bin size=100000
//! == www/empty/
//! == www/link -> index.html
//! ```
//!
//! Every entry gets the same old time of modification, so that validators are the same everywhere.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::backend::pattern;

/// The seconds since 1970 at which every file was last modified.
pub const MODIFIED: u64 = 1_700_000_000;

/// Lays out the tree below a directory.
pub fn lay_out(tree: &str, below: &Path) {
    let mut entries = tree.split("== ");
    let before = entries.next().unwrap_or_default();
    assert!(before.trim().is_empty(), "a fixture begins with `== `");
    let mut written = Vec::new();
    for entry in entries {
        let (head, content) = entry.split_once('\n').unwrap_or((entry, ""));
        let head = head.trim();
        if let Some((path, target)) = head.split_once(" -> ") {
            symlink(target, below.join(path)).expect("the directory of a link comes before it");
            continue;
        }
        let (path, content) = match head.split_once(" size=") {
            Some((path, size)) => (path, pattern(size.parse().expect("`size=100`"))),
            None => (head, content.as_bytes().to_vec()),
        };
        let full = below.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(&full).expect("a fresh directory");
        } else {
            let parent = full.parent().expect("below the prefix");
            fs::create_dir_all(parent).expect("a fresh directory");
            fs::write(&full, content).expect("a fresh file");
        }
        written.push(full);
    }
    // Once all is written: a new entry would change the time of its directory again.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED);
    for path in &written {
        for path in path.ancestors().take_while(|path| *path != below) {
            File::open(path)
                .and_then(|file| file.set_modified(time))
                .expect("a fixture is ours");
        }
    }
}
