//! What is left of a zone when the process is killed while it is filled.
//!
//! The program under test is this one: a test that starts the test binary again with the name of
//! the test below that does nothing unless it is told a directory.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::fixture::{body, conf, eventually, find, head, read, settle, started, store};
use super::place::Walk;
use super::zone::Zone;

/// Tells the child its directory.
const DIRECTORY: &str = "OPENCLAW_TEST_CACHE";

/// Tells it the first number that it stores.
const FIRST: &str = "OPENCLAW_TEST_CACHE_FIRST";

/// What it says when a number and all before are on the disk.
const SAYS: &str = "child: ";

/// How often it is killed.
const KILLS: u64 = 10;

/// The body of a number: some are short, some have several blocks.
fn body_of(number: u64) -> Vec<u8> {
    body(number, (number * 7919 % 80_000) as usize)
}

/// Starts the child, hears some of its answers, waits some microseconds more, and kills it. The last
/// number that it said.
fn killed(directory: &Path, first: u64, answers: usize, more: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("cache::crash::a_child_stores_without_end")
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = || {
        lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, said) = line.split_once(SAYS)?;
            said.parse::<u64>().ok()
        })
    };
    let mut last = first;
    for _ in 0..answers {
        last = next().expect("it goes on until it is killed");
    }
    // Not to wait for something: to be anywhere between two answers.
    std::thread::sleep(Duration::from_micros(more));
    child.kill().expect("killed");
    child.wait().expect("its end");
    while let Some(said) = next() {
        last = said;
    }
    last
}

#[test]
fn a_child_stores_without_end() {
    let (Some(directory), Ok(first)) = (std::env::var_os(DIRECTORY), std::env::var(FIRST)) else {
        return;
    };
    let zone = started(conf(&PathBuf::from(directory)));
    for number in first.parse::<u64>().expect("a number").. {
        store(&zone, &format!("/{number}"), head(200), &body_of(number));
        if number % 3 == 0
            && let Some(entry) = find(&zone, &format!("/{}", number / 2))
        {
            zone.renew(&entry, head(203));
        }
        if number % 10 == 0 {
            settle(&zone);
            // One write: a line that is cut off has no end and is not heard.
            let line = format!("{SAYS}{number}\n");
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
        }
    }
}

/// How many of these numbers are there; what is there is as it was stored.
fn whole(zone: &Arc<Zone>, numbers: std::ops::Range<u64>) -> u64 {
    let mut there = 0;
    for number in numbers {
        let Some(entry) = find(zone, &format!("/{number}")) else {
            continue;
        };
        assert!(matches!(entry.head.status, 200 | 203));
        let read = read(zone, &entry).expect("readable");
        assert!(read == body_of(number), "{number}");
        there += 1;
    }
    there
}

#[test]
fn a_kill_at_any_moment_leaves_whole_entries_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut next = 0;
    for kill in 0..KILLS {
        let last = killed(directory.path(), next, 3, kill * 1499 % 9000);
        let zone = started(conf(directory.path()));
        // What was being written is gone.
        let filling = fs::read_dir(zone.place.root().join("filling"));
        assert_eq!(filling.map_or(0, Iterator::count), 0);
        // What was on the disk is there, also what earlier processes stored.
        let there = whole(&zone, 0..last + 1);
        assert!(there * 100 >= 99 * (last + 1), "{there} of {}", last + 1);
        // What was stored after that is there or not.
        whole(&zone, last + 1..last + 20);
        let on_disk = Walk::new(&zone.place).expect("readable").count() as u64;
        eventually("the index has what the disk has", || {
            zone.extent().entries <= on_disk
        });
        next = last + 20;
        for number in last + 1..next {
            store(&zone, &format!("/{number}"), head(200), &body_of(number));
        }
        settle(&zone);
    }
}
