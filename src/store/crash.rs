//! What is left when the process is killed at any moment.
//!
//! The program under test is this one: a test that starts the test binary again with the name of
//! one of the tests below that do nothing unless they are told a store.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::open;
use super::{
    Call, CallState, Event, Numbers, OpenCall, Outcome, Reader, Revision, RevisionFile, Rollup,
    Row, Series, Settlement, SpendBy, Store,
};
use crate::unit::money::Money;

/// Tells a child its store.
const STORE: &str = "OPENCLAW_TEST_STORE";

/// What a child says when it has an answer.
const SAYS: &str = "child: ";

/// Kills while revisions and rows are written.
const KILLS: u64 = 200;

/// Kills while stores are restored.
const RESTORES: u64 = 60;

/// Kills while calls are opened and settled; another number is taken from `OPENCLAW_KILL_POINTS`.
const CALLS: u64 = 100;

const LONG: Duration = Duration::from_secs(60);

/// Every number once, in an order that looks like chance and is the same in every run.
fn chance(count: u64) -> u64 {
    let mut value = count.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Runs one of the tests below in a process of its own, hears some of its answers, waits some
/// microseconds more, kills it, and returns all its answers.
fn killed(test: &str, store: &Path, answers: u64, more: u64) -> Vec<String> {
    let mut child: Child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child");
    let (sender, receiver) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let ear = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // The first one may stand behind what the test harness has printed.
            if let Some((_, answer)) = line.split_once(SAYS) {
                let _ = sender.send(answer.to_owned());
            }
        }
    });
    let mut heard = Vec::new();
    for _ in 0..answers {
        heard.push(
            receiver
                .recv()
                .expect("the child goes on until it is killed"),
        );
    }
    // Not to wait for something: to be anywhere between two answers.
    std::thread::sleep(Duration::from_micros(more));
    child.kill().expect("killed");
    child.wait().expect("its end");
    ear.join().expect("its output ends");
    heard.extend(receiver.iter());
    heard
}

fn say(words: &str) {
    let mut output = std::io::stdout().lock();
    // One write: a line that is cut off by the kill has no end and is not taken for an answer.
    let _ = output.write_all(format!("{SAYS}{words}\n").as_bytes());
    let _ = output.flush();
}

fn revision(text: String) -> (Revision, Vec<RevisionFile>) {
    let revision = Revision {
        outcome: Outcome::Applied,
        conf: "/etc/openclaw.conf".into(),
        ..Revision::default()
    };
    let files = vec![
        RevisionFile {
            path: "/etc/openclaw.conf".into(),
            text,
        },
        RevisionFile {
            path: "/etc/mime.types".into(),
            text: "the same in all".repeat(1000),
        },
    ];
    (revision, files)
}

/// Is the store whole, as SQLite sees it and as it stands on its own?
fn assert_whole(path: &Path) {
    let opened = open::open_alone(path).expect("the store opens");
    open::check(&opened.connection, path, "integrity_check").expect("whole");
    let strays: i64 = opened
        .connection
        .query_row(
            "SELECT (SELECT count(*) FROM pragma_foreign_key_check)
                  + (SELECT count(*) FROM texts
                     WHERE id NOT IN (SELECT text FROM revision_files))",
            [],
            |row| row.get(0),
        )
        .expect("a number");
    assert_eq!(strays, 0);
}

#[test]
fn a_kill_at_any_moment_loses_no_revision_that_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/store.db");
    let mut total = 0;
    for round in 0..KILLS {
        // Some are killed while they start, the first of them while the store is being made.
        let (answers, more) = match round % 4 {
            0 => (0, chance(round) % 40_000),
            _ => (chance(round) % 5, chance(round + KILLS) % 4_000),
        };
        let answers = killed(
            "store::crash::writes_until_it_is_killed",
            &path,
            answers,
            more,
        );
        if !path.exists() {
            continue;
        }
        assert_whole(&path);
        let reader = Reader::open(&path).expect("a reader");
        for answer in &answers {
            let id = answer.parse().expect("a number");
            let found = reader.revision(id).expect("whole").expect("kept");
            assert!(found.files[0].text.starts_with(&format!("# {id}\n")));
            assert_eq!(found.files.len(), 2);
        }
        // Those that were not acknowledged are there as a whole or not at all.
        for kept in reader.revisions(20, None).expect("revisions") {
            let found = reader.revision(kept.id).expect("whole").expect("kept");
            assert_eq!(found.files.len(), 2);
        }
        total += answers.len();
    }
    assert!(total as u64 > KILLS, "only {total} revisions were written");
}

#[test]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    let store = Store::start(&path);
    store.wait_open(LONG);
    let reader = store.reader().expect("a reader");
    let newest = reader.revisions(1, None).expect("revisions");
    let mut id = newest.first().map_or(0, |kept| kept.id);
    loop {
        for count in 0..30 {
            store.try_put(Row::Event(Event {
                text: "x".repeat(count),
                ..Event::default()
            }));
            store.try_put(Row::Rollup(Rollup {
                series: Series::Peer {
                    upstream: "app".into(),
                    address: count.to_string(),
                },
                start: id * 60,
                numbers: Numbers::default(),
            }));
        }
        id += 1;
        let text = format!(
            "# {id}\n{}",
            "proxy_pass http://app;\n".repeat(id as usize % 500)
        );
        let (revision, files) = revision(text);
        let given = store.put_revision(revision, files).wait().expect("kept");
        assert_eq!(given, id);
        say(&id.to_string());
    }
}

#[test]
fn a_kill_during_a_restore_leaves_the_old_store_or_the_new_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    for (name, count) in [("few", 20), ("many", 400)] {
        let store = Store::start(&path);
        for _ in 0..count {
            let (revision, files) = revision(format!("{name}\n").repeat(500));
            store.put_revision(revision, files).wait().expect("kept");
            store.try_put(Row::Event(Event {
                text: name.into(),
                ..Event::default()
            }));
        }
        store.put_meta("events".into(), count.to_string());
        store.flush().wait().expect("written");
        store
            .backup(&directory.path().join(name))
            .expect("a backup");
        assert!(store.close(LONG));
        std::fs::remove_file(&path).expect("removed");
    }
    std::fs::copy(directory.path().join("few"), &path).expect("a store");
    let mut found = [0; 2];
    let damaged = b"SQLite format 3\0".repeat(512);
    for round in 0..RESTORES {
        // A damaged store is replaced in another way, which is no less whole.
        let is_damaged = round % 3 == 0;
        if is_damaged {
            std::fs::write(&path, &damaged).expect("damaged");
        }
        let (answers, more) = match is_damaged {
            true => (0, chance(round) % 60_000),
            false => (1 + chance(round) % 3, chance(round + RESTORES) % 12_000),
        };
        killed(
            "store::crash::restores_until_it_is_killed",
            &path,
            answers,
            more,
        );
        if is_damaged && std::fs::read(&path).expect("a store") == damaged {
            let store = Store::start(&path);
            store
                .restore(&directory.path().join("few"))
                .expect("restored");
            assert!(store.close(LONG));
        }
        assert_whole(&path);
        let reader = Reader::open(&path).expect("a reader");
        let count = reader.meta("events").expect("asked").expect("kept");
        let name = if count == "20" { "few" } else { "many" };
        found[usize::from(name == "many")] += 1;
        let events = reader.events(u32::MAX, None).expect("events");
        assert_eq!(events.len().to_string(), count);
        assert!(events.iter().all(|kept| kept.row.text == name));
    }
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
}

#[test]
fn restores_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    let store = Store::start(&path);
    store.wait_open(LONG);
    loop {
        for name in ["many", "few"] {
            store.restore(&path.with_file_name(name)).expect("restored");
            say(name);
        }
    }
}

#[test]
fn a_kill_at_any_moment_loses_no_call_that_may_have_left_and_counts_none_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let mut opened = Vec::new();
    let mut interrupted = 0;
    let kills = std::env::var("OPENCLAW_KILL_POINTS");
    let kills = kills.map_or(CALLS, |count| count.parse().expect("a number"));
    for round in 0..kills {
        let (answers, more) = match round % 8 {
            0 => (0, chance(round) % 40_000),
            _ => (1 + chance(round) % 40, chance(round + kills) % 6_000),
        };
        let answers = killed(
            "store::crash::calls_until_it_is_killed",
            &path,
            answers,
            more,
        );
        opened.extend(
            answers
                .iter()
                .map(|id| id.parse::<u64>().expect("a number")),
        );
        if !path.exists() {
            continue;
        }
        let store = Store::start(&path);
        store.wait_open(LONG);
        let closed = store.close_interrupted(u64::MAX).wait().expect("closed");
        interrupted += closed.calls;
        assert!(store.close(LONG));
        assert_whole(&path);
    }
    let reader = Reader::open(&path).expect("a reader");
    let calls: Vec<Call> = reader.calls(u32::MAX, None, None).expect("calls");
    assert!(opened.len() as u64 > kills && interrupted > 0);
    let mut charged = 0;
    for call in &calls {
        let expected = match call.state {
            CallState::Settled => cost(call.open.id),
            CallState::Interrupted => Money::from_pico(RESERVED),
            CallState::Open => panic!("{call:?} is open"),
        };
        assert_eq!(call.charged, expected, "{call:?}");
        charged += expected.pico();
    }
    // Numbers are unique, so a row cannot be there twice; each that may have left is there.
    for id in &opened {
        let found = calls.binary_search_by(|call| id.cmp(&call.open.id));
        assert!(found.is_ok(), "{id} is lost");
    }
    let days = reader.spend(SpendBy::Day, 0, u64::MAX).expect("sums");
    let (count, sum) = days.values().fold((0, 0), |(count, sum), day| {
        (count + day.calls, sum + day.charged.pico())
    });
    assert_eq!((count, sum), (calls.len() as u64, charged));
}

const RESERVED: i64 = 1_000_000;

fn cost(id: u64) -> Money {
    Money::from_pico((id % 1000) as i64)
}

#[test]
fn calls_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    let store = Store::start(&path);
    store.wait_open(LONG);
    let reader = store.reader().expect("a reader");
    let mut id = reader.last_call().expect("a number");
    loop {
        let calls: Vec<Arc<OpenCall>> = (1..=7)
            .map(|step| {
                Arc::new(OpenCall {
                    id: id + step,
                    key: step % 3,
                    reserved: Money::from_pico(RESERVED),
                    ..OpenCall::default()
                })
            })
            .collect();
        id += 7;
        for call in &calls {
            store.open_call(Arc::clone(call)).expect("in the journal");
            say(&call.id.to_string());
        }
        for call in &calls {
            let end = Settlement {
                outcome: "ok".into(),
                cost: Some(cost(call.id)),
                ..Settlement::default()
            };
            // Now and then twice, as a client that is gone and an end that is seen do.
            for _ in 0..=call.id % 2 {
                assert!(store.settle_call(Arc::clone(call), end.clone()));
            }
        }
    }
}
