//! A zone as a whole: its disk, its memory, those who fill and those who read.

use std::collections::HashMap;
use std::fs;
use std::future::poll_fn;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use nix::sys::stat::Mode;

use super::entry::Head;
use super::fixture::*;
use super::flight::{Fill, Started};
use super::format::BLOCK;
use super::key::Key;
use super::purge::Target;
use super::zone::{Begin, Found, Zone};
use super::{keeper, zone};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn what_is_stored_is_found_at_once_and_by_the_next_process() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let lengths = [0, 1, BLOCK, 3 * BLOCK + 7, 5 << 20];
    for length in lengths {
        let (key, body) = (format!("/{length}"), body(length as u64, length));
        store(&zone, &key, head(200), &body).expect("stored");
        let entry = find(&zone, &key).expect("found");
        assert_eq!(entry.length, length as u64);
        assert!(read(&zone, &entry).expect("readable") == body, "{key}");
    }
    settle(&zone);
    assert_eq!(zone.extent().entries, lengths.len() as u64);
    let size = zone.extent().bytes;
    drop(zone);
    let zone = started(conf(directory.path()));
    assert_eq!(zone.extent().entries, lengths.len() as u64);
    assert_eq!(zone.extent().bytes, size);
    for length in lengths {
        let key = format!("/{length}");
        let entry = find(&zone, &key).expect("found");
        assert_eq!(entry.head, head(200));
        for _ in 0..3 {
            let read = read(&zone, &entry).expect("readable");
            assert!(read == body(length as u64, length), "{key}");
        }
    }
}

#[test]
fn a_part_of_a_body_is_read_wherever_the_body_is() {
    let directory = directory();
    let conf = conf(directory.path());
    let long = body(1, 3 << 20);
    let zone = started(conf.clone());
    store(&zone, "/long", head(200), &long).expect("stored");
    let check = |zone: &Arc<Zone>| {
        let entry = find(zone, "/long").expect("found");
        for range in [
            0..1,
            65_535..65_537,
            100_000..1_000_000,
            3_145_727..3_145_728,
            7..7,
        ] {
            let part = run(async {
                let mut reader = zone.open(&entry, range.clone()).await.expect("open");
                let mut part = Vec::new();
                while let Some(piece) = reader.next().await.expect("readable") {
                    part.extend_from_slice(&piece);
                }
                part
            });
            assert!(
                part == long[range.start as usize..range.end as usize],
                "{range:?}"
            );
        }
    };
    check(&zone);
    settle(&zone);
    check(&zone);
    drop(zone);
    check(&started(conf));
}

#[test]
fn a_zone_answers_for_what_it_has_not_read_yet() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    store(&zone, "/a", head(200), b"abc").expect("stored");
    store(&zone, "/v", varied("x"), b"x").expect("stored");
    store(&zone, "/v", varied("y"), b"y").expect("stored");
    settle(&zone);
    drop(zone);
    // Its keeper has not started.
    let zone = Zone::new(Arc::new(conf(directory.path())), |_, _| ());
    assert!(zone.extent().is_loading);
    let entry = find(&zone, "/a").expect("found");
    assert_eq!(read(&zone, &entry).expect("readable"), b"abc");
    let entry = find_varied(&zone, "/v", |entry| entry.head == varied("x")).expect("found");
    assert_eq!(read(&zone, &entry).expect("readable"), b"x");
    let absent = Key::new(b"/absent");
    assert!(matches!(zone.find(&absent, |_| true), Found::OnDisk));
    run(zone.load(&absent));
    assert!(matches!(zone.find(&absent, |_| true), Found::Nothing));
    zone.start(|| ());
    eventually("all is read", || zone.extent().entries == 3);
}

#[test]
fn one_fills_and_a_thousand_on_all_threads_read_along() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let long = Arc::new(body(3, 6 << 20));
    let key = Key::new(b"/long");
    let Begin::Fill(mut fill) = zone.begin_fill(&key) else {
        panic!("nobody fills");
    };
    let filled = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (zone, long, filled) = (&zone, &long, &filled);
            scope.spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.build_local(Default::default()).expect("a runtime");
                runtime.block_on(async {
                    let mut tasks = Vec::new();
                    for _ in 0..250 {
                        let Begin::Follow(mut follower) = zone.begin_fill(&key) else {
                            panic!("somebody fills");
                        };
                        filled.fetch_add(1, Ordering::Relaxed);
                        let long = Arc::clone(long);
                        tasks.push(tokio::task::spawn_local(async move {
                            let Started::Filling(head) = follower.started().await else {
                                panic!("it is filled");
                            };
                            assert_eq!(*head, self::head(200));
                            let mut at = 0;
                            while let Some(piece) = follower.next().await.expect("all of it") {
                                assert!(piece == long[at..at + piece.len()]);
                                at += piece.len();
                            }
                            assert_eq!(at, long.len());
                        }));
                    }
                    for task in tasks {
                        task.await.expect("no panic");
                    }
                });
            });
        }
        eventually("all follow", || filled.load(Ordering::Relaxed) == 1000);
        fill.begin(head(200), Some(long.len() as u64));
        for piece in long.chunks(50_000) {
            fill.append(piece);
            // A disk that keeps up is not what is tested here.
            eventually("it is written", || {
                zone.unwritten.load(Ordering::Relaxed) < 2 << 20
            });
        }
        fill.commit().expect("stored");
    });
    let entry = find(&zone, "/long").expect("found");
    assert!(read(&zone, &entry).expect("readable") == *long);
    assert!(!zone.is_filling(&key));
}

#[test]
fn those_who_follow_are_told_when_nothing_comes_of_it() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let key = Key::new(b"/a");
    let begin = || match zone.begin_fill(&key) {
        Begin::Fill(fill) => fill,
        Begin::Follow(_) => panic!("nobody fills"),
    };
    let follow = || match zone.begin_fill(&key) {
        Begin::Follow(follower) => follower,
        Begin::Fill(_) => panic!("somebody fills"),
    };
    // Before the head.
    let fill = begin();
    let follower = follow();
    fill.abort();
    assert!(matches!(run(follower.started()), Started::Released));
    // Within the body.
    let mut fill = begin();
    let mut follower = follow();
    fill.begin(head(200), Some(10));
    fill.append(b"abc");
    assert_eq!(run(follower.next()).expect("there").expect("more"), "abc");
    assert!(fill.commit().is_none(), "it is shorter than it said");
    assert!(run(follower.next()).is_err());
    assert!(find(&zone, "/a").is_none());
    // A renewal.
    let entry = store(&zone, "/a", head(200), b"abc").expect("stored");
    let fill = begin();
    let follower = follow();
    fill.renew(&entry, head(203));
    let Started::Renewed(renewed) = run(follower.started()) else {
        panic!("it is renewed");
    };
    assert_eq!(renewed.head.status, 203);
    assert_eq!(find(&zone, "/a").expect("found").head.status, 203);
}

#[test]
fn a_renewed_head_is_there_after_a_restart() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let long = body(4, 2 << 20);
    let entry = store(&zone, "/a", head(200), &long).expect("stored");
    settle(&zone);
    zone.renew(&entry, head(203));
    settle(&zone);
    drop(zone);
    let zone = started(conf(directory.path()));
    let entry = find(&zone, "/a").expect("found");
    assert_eq!(entry.head.status, 203);
    assert!(read(&zone, &entry).expect("readable") == long);
}

#[test]
fn two_keys_with_one_digest_never_answer_for_each_other() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let one = Key::new(b"/one");
    let other = Key {
        digest: one.digest,
        text: b"/other",
    };
    store(&zone, "/one", head(200), b"one").expect("stored");
    assert!(matches!(zone.find(&other, |_| true), Found::Nothing));
    let Begin::Fill(mut fill) = zone.begin_fill(&other) else {
        panic!("nobody fills");
    };
    assert!(matches!(zone.begin_fill(&one), Begin::Fill(_)));
    fill.begin(head(200), None);
    fill.append(b"other");
    fill.commit().expect("stored");
    let Found::Entry(entry) = zone.find(&other, |_| true) else {
        panic!("it is stored");
    };
    assert_eq!(&entry.body().expect("in memory")[..], b"other");
    let entry = find(&zone, "/one").expect("found");
    assert_eq!(&entry.body().expect("in memory")[..], b"one");
}

#[test]
fn variants_stand_beside_each_other_and_each_replaces_its_own() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let found = |value: &str| {
        let wanted = varied(value).vary;
        find_varied(&zone, "/v", |entry| entry.head.vary == wanted)
            .map(|entry| read(&zone, &entry).expect("readable"))
    };
    store(&zone, "/v", varied("x"), b"x1").expect("stored");
    store(&zone, "/v", varied("y"), b"y1").expect("stored");
    store(&zone, "/v", varied("x"), b"x2").expect("stored");
    assert_eq!(found("x").expect("found"), b"x2");
    assert_eq!(found("y").expect("found"), b"y1");
    settle(&zone);
    eventually("the old one is removed", || zone.extent().entries == 2);
    // One that does not vary answers for all.
    store(&zone, "/v", head(200), b"all").expect("stored");
    assert_eq!(found("x"), None);
    eventually("the others are removed", || zone.extent().entries == 1);
    assert!(zone.remove(&Key::new(b"/v")));
    assert!(find(&zone, "/v").is_none());
    eventually("all are removed", || zone.extent().entries == 0);
    // Of a thousand variants some are kept.
    for value in 0..1000 {
        store(&zone, "/v", varied(&value.to_string()), b"x");
    }
    assert!(zone.extent().entries <= 32);
}

#[test]
fn a_purge_holds_at_once_and_for_the_next_process() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let tagged = |tag: &str| Head {
        tags: vec![tag.as_bytes().into()],
        ..head(200)
    };
    store(&zone, "/a/1", head(200), b"1").expect("stored");
    store(&zone, "/a/2", head(200), b"2").expect("stored");
    store(&zone, "/b/1", tagged("news"), b"3").expect("stored");
    store(&zone, "/b/2", tagged("sport"), b"4").expect("stored");
    store(&zone, "/c", head(200), b"5").expect("stored");
    settle(&zone);
    drop(zone);
    // Nothing of it is in memory, and nothing is removed by anybody but those who ask.
    let zone = Zone::new(Arc::new(conf(directory.path())), |_, _| ());
    let before = zone.begin_fill(&Key::new(b"/a/3"));
    let purge = |target| run(zone.purge(target)).expect("purged");
    purge(Target::parse(b"/a/*"));
    purge(Target::Tag((*b"news").into()));
    purge(Target::parse(b"/c"));
    let there = |zone: &Arc<Zone>| {
        let all = ["/a/1", "/a/2", "/a/3", "/b/1", "/b/2", "/c"];
        all.into_iter()
            .filter(|key| find(zone, key).is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(there(&zone), ["/b/2"]);
    // What was asked for before is as old as what was purged.
    let Begin::Fill(mut fill) = before else {
        panic!("nobody fills");
    };
    fill.begin(head(200), None);
    assert!(fill.commit().is_none());
    store(&zone, "/a/1", head(200), b"new").expect("stored");
    settle(&zone);
    drop(zone);
    let zone = Zone::new(Arc::new(conf(directory.path())), |_, _| ());
    zone.rules.load(&zone.place.root().join("purges"));
    assert_eq!(there(&zone), ["/a/1", "/b/2"]);
    zone.start(|| ());
    eventually("what was purged is removed", || {
        zone.extent().entries == 2 && zone.rules.is_empty()
    });
    assert!(!zone.place.root().join("purges").exists());
    run(zone.purge(Target::Everything)).expect("purged");
    assert_eq!(there(&zone), [""; 0]);
    eventually("all is removed", || zone.extent().entries == 0);
}

#[test]
fn what_a_file_became_is_never_served() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let changes = [("/head", 130), ("/body", 100_000), ("/short", 0)];
    for (key, at) in changes {
        let entry = store(&zone, key, head(200), &body(5, 600_000)).expect("stored");
        settle(&zone);
        let path = zone.file_of(&entry);
        let mut bytes = fs::read(&path).expect("there");
        match at {
            0 => bytes.truncate(150_000),
            at => bytes[at] ^= 1,
        }
        fs::write(&path, bytes).expect("written");
    }
    drop(zone);
    for memory in [0, 32 << 20] {
        let mut conf = conf(directory.path());
        conf.memory = memory;
        let zone = started(conf);
        let entries = zone.extent().entries;
        for (key, _) in changes {
            let read = find(&zone, key).and_then(|entry| read(&zone, &entry));
            assert_eq!(read, None, "{key}");
            assert!(find(&zone, key).is_none());
        }
        assert_eq!(zone.figures.broken.load(Ordering::Relaxed), entries);
        eventually("they are removed", || zone.extent().entries == 0);
        // In the second round there is nothing but a file that nothing is wrong with.
        let entry = store(&zone, "/good", head(200), &body(5, 600_000)).expect("stored");
        settle(&zone);
        assert!(read(&zone, &entry).expect("readable") == body(5, 600_000));
        zone.remove(&Key::new(b"/good"));
        eventually("it is removed", || zone.extent().entries == 0);
    }
}

#[test]
fn a_full_disk_costs_no_request_and_is_told_once() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let directory = directory();
    let report: zone::Report = |_, _| {
        TOLD.fetch_add(1, Ordering::Relaxed);
    };
    let zone = Zone::new(Arc::new(conf(directory.path())), report);
    zone.start(|| ());
    eventually("the directory is read", || !zone.extent().is_loading);
    zone.faults.full.store(true, Ordering::Relaxed);
    let long = body(6, 1 << 20);
    let mut found = 0;
    for number in 0..50 {
        let key = format!("/{number}");
        let key = Key::new(key.as_bytes());
        let Begin::Fill(mut fill) = zone.begin_fill(&key) else {
            panic!("nobody fills");
        };
        let Begin::Follow(mut follower) = zone.begin_fill(&key) else {
            panic!("somebody fills");
        };
        fill.begin(head(200), None);
        let mut read = Vec::new();
        for piece in long.chunks(30_000) {
            fill.append(piece);
            while read.len() < long.len()
                && read.len() % 30_000 != piece.len() % 30_000
                && let Ok(Some(piece)) = run(follower.next())
            {
                read.extend_from_slice(&piece);
            }
        }
        fill.commit();
        while let Some(piece) = run(follower.next()).expect("nothing is lost") {
            read.extend_from_slice(&piece);
        }
        assert!(read == long);
        settle(&zone);
        found += usize::from(matches!(zone.find(&key, |_| true), Found::Entry(_)));
    }
    assert_eq!(found, 0);
    assert_eq!(zone.extent().entries, 0);
    assert!(zone.extent().is_aside);
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
    // There is room again, and the pause is over.
    zone.faults.full.store(false, Ordering::Relaxed);
    zone.end_pause();
    store(&zone, "/after", head(200), &long).expect("stored");
    settle(&zone);
    assert!(
        zone.file_of(&find(&zone, "/after").expect("found"))
            .exists()
    );
    assert_eq!(TOLD.load(Ordering::Relaxed), 2);
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_who_does_not_need_it() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    store(&zone, "/hot", head(200), b"hot").expect("stored");
    settle(&zone);
    let hangs = zone.faults.gate.lock();
    // Many fills, of which none gets to the disk.
    let long = body(7, 10 << 20);
    for number in 0..20 {
        let key = format!("/{number}");
        let entry = store(&zone, &key, head(200), &long);
        // More than may wait; it is not stored.
        assert!(entry.is_none());
        let entry = find(&zone, "/hot").expect("found");
        assert_eq!(read(&zone, &entry).expect("in memory"), b"hot");
    }
    assert_eq!(zone.unwritten.load(Ordering::Relaxed), 0);
    drop(hangs);
    settle(&zone);
    let left = fs::read_dir(zone.place.root().join("filling"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
}

#[test]
fn the_client_of_a_fill_loses_nothing_if_the_disk_fails_and_is_waited_for_from_then_on() {
    const AHEAD: u64 = 1 << 20;
    let directory = directory();
    let zone = started(conf(directory.path()));
    let long = body(8, 24 << 20);
    let Begin::Fill(mut fill) = zone.begin_fill(&Key::new(b"/")) else {
        panic!("nobody fills");
    };
    fill.begin(head(200), None);
    let mut own = fill.follow();
    let has_room = |fill: &mut Fill| {
        let mut context = Context::from_waker(Waker::noop());
        fill.poll_room(&mut context, AHEAD).is_ready()
    };
    let (first, rest) = long.split_at(12 << 20);
    // The disk keeps up, so the client is not waited for.
    for piece in first.chunks(60_000) {
        eventually("the disk has caught up", || has_room(&mut fill));
        fill.append(piece);
    }
    assert_eq!(own.position(), 0);
    zone.faults.full.store(true, Ordering::Relaxed);
    let mut read = Vec::new();
    for piece in rest.chunks(60_000) {
        while fill.is_stored() && !has_room(&mut fill) {
            std::thread::yield_now();
        }
        while !has_room(&mut fill) {
            let piece = run(own.next()).expect("nothing is lost");
            read.extend_from_slice(&piece.expect("there is more"));
        }
        fill.append(piece);
    }
    assert!(!fill.is_stored());
    assert!(!read.is_empty());
    assert!(fill.commit().is_none());
    while let Some(piece) = run(own.next()).expect("nothing is lost") {
        read.extend_from_slice(&piece);
    }
    assert!(read == long);
    assert_eq!(zone.unwritten.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_no_file_of_ours_is_not_read_whatever_its_name_is() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let foreign = directory.path().join("foreign");
    fs::write(&foreign, "not ours").expect("written");
    let entry = store(&zone, "/", head(200), &body(9, 200_000)).expect("stored");
    settle(&zone);
    let file = zone.file_of(&entry);
    let whole = fs::read(&file).expect("readable");
    let place: &[&dyn Fn()] = &[
        &|| std::os::unix::fs::symlink(&foreign, &file).expect("a link"),
        // One that leads to an entry is none either.
        &|| {
            let copy = directory.path().join("copy");
            fs::write(&copy, &whole).expect("written");
            std::os::unix::fs::symlink(copy, &file).expect("a link");
        },
        // Who opens it as usual waits until somebody writes into it.
        &|| nix::unistd::mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe"),
        &|| drop(UnixListener::bind(&file).expect("a socket")),
        &|| fs::create_dir(&file).expect("a directory"),
    ];
    drop(entry);
    drop(zone);
    for put in place {
        let kind = fs::symlink_metadata(&file).expect("there").file_type();
        match kind.is_dir() {
            true => fs::remove_dir(&file).expect("removed"),
            false => fs::remove_file(&file).expect("removed"),
        }
        fs::write(&file, &whole).expect("written");
        // It is known when the directory is read, and replaced then.
        let zone = started(conf(directory.path()));
        fs::remove_file(&file).expect("removed");
        put();
        let key = Key::new(b"/");
        assert!(matches!(zone.find(&key, |_| true), Found::OnDisk));
        run(zone.load(&key));
        assert!(matches!(zone.find(&key, |_| true), Found::Nothing));
        assert!(!zone.extent().is_aside);
        let text = body(10, 100);
        store(&zone, "/", head(200), &text).expect("stored");
        settle(&zone);
        // The new entry may have taken the same name.
        eventually("it is removed", || {
            fs::symlink_metadata(&file).map_or(true, |metadata| metadata.is_file())
        });
        assert_eq!(
            read(&zone, &find(&zone, "/").expect("found")).expect("read"),
            text
        );
        zone.remove(&Key::new(b"/"));
        eventually("nothing is left", || zone.extent().entries == 0);
        eventually("its file too", || fs::symlink_metadata(&file).is_err());
        fs::write(&file, &whole).expect("written");
    }
    assert_eq!(fs::read(&foreign).expect("still there"), b"not ours");
}

#[test]
fn a_client_that_reads_all_waits_for_a_slow_disk_before_the_entry_is_lost_but_not_for_ever() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().expect("a runtime");
    let piece = body(11, 256 << 10);
    let Begin::Fill(mut fill) = zone.begin_fill(&Key::new(b"/")) else {
        panic!("nobody fills");
    };
    fill.begin(head(200), None);
    let hangs = zone.faults.gate.lock();
    let mut count = 0;
    let mut context = Context::from_waker(Waker::noop());
    runtime.block_on(async {
        while fill.poll_room(&mut context, 1).is_ready() {
            fill.append(&piece);
            count += 1;
        }
        // Six of the eight mebibytes that may wait.
        assert!((24..=25).contains(&count), "{count}");
        assert!(fill.is_stored());
        poll_fn(|context| fill.poll_room(context, 1)).await;
        while fill.is_stored() {
            assert!(fill.poll_room(&mut context, 1).is_ready());
            fill.append(&piece);
            count += 1;
        }
        assert_eq!(count, 33);
        assert!(fill.poll_room(&mut context, 1).is_ready());
    });
    drop(hangs);
    assert!(fill.commit().is_none());
    settle(&zone);

    // Whoever waits is woken when the disk has caught up, however long the clock says.
    let Begin::Fill(mut fill) = zone.begin_fill(&Key::new(b"/")) else {
        panic!("nobody fills");
    };
    fill.begin(head(200), None);
    let hangs = zone.faults.gate.lock();
    for _ in 0..26 {
        fill.append(&piece);
    }
    let mut fill = std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().build().expect("a runtime");
            runtime.block_on(poll_fn(|context| fill.poll_room(context, 1)));
            fill
        });
        drop(hangs);
        waits.join().expect("no panic")
    });
    for _ in 0..6 {
        fill.append(&piece);
    }
    assert!(fill.commit().is_some());
}

#[test]
fn a_purge_holds_for_what_was_stored_while_the_clock_was_ahead() {
    let directory = directory();
    let hour = Duration::from_secs(3600);
    let store_ahead = || {
        let zone = started(conf(directory.path()));
        zone.see_serial((crate::unit::clock::unix() + hour).as_micros() as u64);
        let entry = store(&zone, "/old", head(200), b"old").expect("stored");
        settle(&zone);
        let file = fs::File::options().write(true).open(zone.file_of(&entry));
        let ahead = std::time::SystemTime::now() + hour;
        file.and_then(|file| file.set_modified(ahead)).expect("set");
    };
    store_ahead();
    let zone = started(conf(directory.path()));
    run(zone.purge(Target::Everything)).expect("purged");
    assert!(find(&zone, "/old").is_none());
    drop(zone);
    store_ahead();
    // While the directory is being read, too.
    let zone = Zone::new(Arc::new(conf(directory.path())), |_, _| ());
    zone.start(|| ());
    zone.remove(&Key::new(b"/old"));
    eventually("the directory is read", || !zone.extent().is_loading);
    assert!(find(&zone, "/old").is_none());
}

#[test]
fn a_list_of_purges_that_is_not_what_was_written_brings_nothing_back() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    store(&zone, "/purged", head(200), b"body").expect("stored");
    settle(&zone);
    let list = zone.place.root().join("purges");
    drop(zone);
    fs::write(&list, b"1 exact \xff").expect("written");
    let zone = started(conf(directory.path()));
    assert!(find(&zone, "/purged").is_none());
}

#[test]
fn what_was_removed_is_gone_from_the_disk_for_whoever_waits_for_it() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let entry = store(&zone, "/gone", head(200), b"body").expect("stored");
    settle(&zone);
    let file = zone.file_of(&entry);
    assert!(file.exists() && zone.remove(&Key::new(b"/gone")));
    assert!(run(zone.buried()));
    assert!(!file.exists());
}

#[test]
fn values_that_clients_send_do_not_make_a_head_that_the_disk_is_blamed_for() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let long = Head {
        vary: vec![(b"x-a"[..].into(), Some(vec![b'a'; 2 << 20].into()))],
        ..head(200)
    };
    assert!(store(&zone, "/", long, b"body").is_none());
    settle(&zone);
    assert!(!zone.extent().is_aside);
    assert_eq!(zone.figures.disk_errors.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_longer_than_the_zone_may_be_is_not_stored_and_drives_nothing_out() {
    let directory = directory();
    let mut small = conf(directory.path());
    small.max_size = Some(1 << 20);
    let zone = started(small);
    store(&zone, "/kept", head(200), b"kept").expect("stored");
    let long = body(12, 3 << 20);
    // Whether its length is known before or not, those who follow have all of it.
    for length in [Some(long.len() as u64), None] {
        let Begin::Fill(mut fill) = zone.begin_fill(&Key::new(b"/")) else {
            panic!("nobody fills");
        };
        let Begin::Follow(mut follower) = zone.begin_fill(&Key::new(b"/")) else {
            panic!("somebody fills");
        };
        assert_eq!(fill.hindrance(length), length.map(|_| "too-large"));
        fill.begin(head(200), length);
        assert_eq!(fill.is_stored(), length.is_none());
        fill.append(&long);
        assert!(!fill.is_stored());
        assert!(fill.commit().is_none());
        let mut read = Vec::new();
        while let Some(piece) = run(follower.next()).expect("nothing is lost") {
            read.extend_from_slice(&piece);
        }
        assert!(read == long);
    }
    settle(&zone);
    assert!(find(&zone, "/kept").is_some());
    assert_eq!(zone.figures.evicted.load(Ordering::Relaxed), 0);
    assert_eq!(zone.extent().entries, 1);
}

#[test]
fn eighty_thousand_entries_are_found_in_a_zone_of_ten_megabytes() {
    let directory = directory();
    let mut conf = conf(directory.path());
    conf.memory = 1 << 20;
    let zone = Zone::new(Arc::new(conf), |_, _| ());
    let digest = |number: u32| Key::new(&number.to_le_bytes()).digest;
    for number in 0..80_000 {
        assert!(zone.add_known(digest(number), 0, 4096));
    }
    zone.end_loading();
    assert_eq!(zone.extent().entries, 80_000);
    let bytes: usize = zone.parts().map(|part| part.index.own_bytes()).sum();
    assert!(bytes <= 10 << 20, "{bytes}");
    for number in 80_000..100_000 {
        zone.add_known(digest(number), 0, 4096);
    }
    zone.bury();
    assert!(zone.extent().entries <= 81_920);
    let found = zone.find(&Key::new(&99_999u32.to_le_bytes()), |_| true);
    assert!(matches!(found, Found::OnDisk));
}

#[test]
fn what_is_too_much_goes_in_the_order_of_use() {
    let directory = directory();
    let mut limited = conf(directory.path());
    limited.max_size = Some(10 * 8192);
    let zone = Zone::new(Arc::new(limited), |_, _| ());
    zone.end_loading();
    let touch = |number: u64, used: u32| {
        let digest = Key::new(format!("/{number}").as_bytes()).digest;
        let mut part = zone.part(digest);
        let record = part.index.of(digest).next();
        if let Some(record) = record {
            part.index.touch(record, used);
        }
    };
    let long_ago = zone::now() - 100;
    for number in 0..30 {
        let key = format!("/{number}");
        store(&zone, &key, head(200), &body(number, 5000)).expect("stored");
        settle(&zone);
        touch(number, long_ago + 2 * number as u32);
        touch(0, long_ago + 2 * number as u32 + 1);
    }
    while !keeper::manage(&zone, zone.conf().manager) {}
    let left: Vec<_> = (0..30)
        .filter(|number| find(&zone, &format!("/{number}")).is_some())
        .collect();
    assert!(zone.extent().bytes <= 10 * 8192);
    assert_eq!(left.len(), 10);
    assert!(left[1..].iter().all(|number| *number > 19), "{left:?}");
    // What nobody wanted for long goes too.
    let mut short = conf(directory.path());
    short.inactive = Duration::from_secs(1);
    zone.become_like(&Arc::new(short));
    for number in 0..30 {
        touch(number, long_ago);
    }
    while !keeper::manage(&zone, zone.conf().manager) {}
    assert_eq!(zone.extent().entries, 0);
    assert_eq!(zone.extent().bytes, 0);
}

#[test]
fn uses_are_counted_before_anything_is_stored() {
    let directory = directory();
    let zone = started(conf(directory.path()));
    let key = Key::new(b"/a");
    assert_eq!([1, 2, 3].map(|_| zone.count_use(&key)), [1, 2, 3]);
    assert_eq!(zone.extent().entries, 0);
    assert!(find(&zone, "/a").is_none());
    store(&zone, "/a", head(200), b"a").expect("stored");
    assert_eq!(zone.extent().entries, 1);
    assert_eq!(zone.hottest(5)[0].1, 3);
}

#[test]
fn threads_that_store_find_read_and_remove_never_see_another_answer() {
    let directory = directory();
    let mut small = conf(directory.path());
    small.memory = 4 << 20;
    small.max_size = Some(4 << 20);
    let zone = started(small);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let zone = &zone;
            scope.spawn(move || {
                let mut chance = thread + 1;
                for _ in 0..400 {
                    chance = chance
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let number = (chance >> 40) % 20;
                    let key = format!("/{number}");
                    let body = body(number, (number as usize * 13_000) % 150_000);
                    match (chance >> 33) % 8 {
                        0 => {
                            zone.remove(&Key::new(key.as_bytes()));
                        }
                        1..=3 => {
                            let mut fill = zone.fill_alone(&Key::new(key.as_bytes()));
                            fill.begin(head(200), Some(body.len() as u64));
                            fill.append(&body);
                            fill.commit();
                        }
                        4 => {
                            if let Some(entry) = find(zone, &key) {
                                zone.renew(&entry, head(203));
                            }
                        }
                        _ => {
                            if let Some(entry) = find(zone, &key)
                                && let Some(read) = read(zone, &entry)
                            {
                                assert_eq!(entry.key(), key.as_bytes());
                                assert!(read == body, "{key}");
                            }
                        }
                    }
                }
            });
        }
    });
    settle(&zone);
    assert_eq!(zone.unwritten.load(Ordering::Relaxed), 0);
    eventually("it keeps to its size", || zone.extent().bytes <= 4 << 20);
    // What the index says is what the disk has.
    let walk = super::place::Walk::new(&zone.place).expect("readable");
    let on_disk: HashMap<_, _> = walk
        .map(|found| ((found.digest, found.slot), found.size))
        .collect();
    eventually("they agree", || {
        zone.bury();
        zone.extent().entries <= on_disk.len() as u64
    });
}
