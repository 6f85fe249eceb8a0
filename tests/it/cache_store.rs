//! The cache's zones from outside: what outlives the process, what people are told and may purge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags,
    Response,
};
use openclaw::protocol::{
    CacheEntries, CacheName, CachePurge, CachePurged, CacheTarget, Caches, Status,
};

use crate::control::Control;
use crate::support::backend::{Backend, Then, pattern};
use crate::support::client::Client;
use crate::support::server::{Server, Setup, eventually};

/// An origin whose answers are fresh for an hour, as long as their path's number says.
fn origin() -> Backend {
    Backend::scripted(move |exchange| {
        let line = exchange.seen.head.line.clone();
        let target = line.split(' ').nth(1).unwrap_or_default();
        let number: usize = target.trim_start_matches("/p").parse().unwrap_or(0);
        let body = pattern(number * 1013 % 150_000);
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: max-age=3600\r\n\
             Cache-Tag: all, tag{}\r\n\r\n",
            body.len(),
            number % 3
        ));
        exchange.send(&body);
        Then::NextRequest
    })
}

fn start(origin: &Backend) -> Server {
    Setup::http(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m max_size=1g;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; proxy_cache one;
             proxy_cache_key $scheme$host$request_uri;
             add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", origin.address())
    .start()
}

/// What the cache did for each of these numbers; every body is right.
fn ask(server: &Server, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut client = Client::connect(server.port(1));
    numbers
        .into_iter()
        .map(|number| {
            client.send(format!("GET /p{number} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            let answer = client.answer("GET");
            assert_eq!(answer.status, 200);
            assert!(answer.body == pattern(number * 1013 % 150_000), "{number}");
            answer.value("X-Cache").unwrap_or_default().to_owned()
        })
        .collect()
}

fn count(results: &[String], wanted: &str) -> usize {
    results.iter().filter(|result| *result == wanted).count()
}

/// The files of entries below a directory.
fn files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    (entries.flatten())
        .map(|entry| match entry.path() {
            path if path.is_dir() && !path.ends_with("filling") => files(&path),
            path => usize::from(path.extension().is_some()),
        })
        .sum()
}

#[test]
fn what_is_stored_outlives_an_end_a_kill_and_a_reload() {
    let origin = origin();
    let mut server = start(&origin);
    let all = 0..300;
    assert_eq!(count(&ask(&server, all.clone()), "MISS"), 300);
    assert_eq!(count(&ask(&server, all.clone()), "HIT"), 300);
    server.quit();
    assert_eq!(files(&server.site().prefix.join("cache")), 300);
    server.start_again();
    assert!(count(&ask(&server, all.clone()), "HIT") >= 297);
    // Of what was stored last some may not be on the disk yet; what is, is whole.
    ask(&server, 300..400);
    eventually("it is on the disk", || {
        (files(&server.site().prefix.join("cache")) >= 400).then_some(())
    });
    ask(&server, 400..430);
    server.kill();
    server.start_again();
    assert!(count(&ask(&server, 0..400), "HIT") >= 396);
    ask(&server, 400..430);
    let seen = origin.seen().len();
    let control = Control::of(&server);
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the reload is over", || {
        (control.must_get::<Status>("/v1/status").generation > 1).then_some(())
    });
    assert_eq!(count(&ask(&server, 0..430), "HIT"), 430);
    assert_eq!(origin.seen().len(), seen);
}

#[test]
fn people_are_told_of_zones_and_entries_and_purge_them() {
    let origin = origin();
    let server = start(&origin);
    ask(&server, 0..9);
    ask(&server, 0..9);
    let control = Control::of(&server);
    let caches: Caches = control.must_get("/v1/cache");
    let zone = &caches.zones[0];
    assert_eq!((zone.name.as_str(), zone.entries), ("one", 9));
    assert_eq!((zone.results.hit, zone.results.miss), (9, 9));
    assert_eq!(zone.hottest.len(), 9);
    assert!(zone.saved > 0);
    let show = |name: &str| -> CacheEntries {
        let name = CacheName {
            name: name.to_owned(),
            zone: None,
        };
        control.post("/v1/cache/show", &name).expect("an answer")
    };
    // By its key, and by what a person knows it as.
    for name in ["httpa.test/p4", "http://a.test/p4"] {
        let found = show(name);
        assert_eq!(found.entries.len(), 1, "{name}");
        let entry = &found.entries[0];
        assert_eq!((entry.key.as_str(), entry.status), ("httpa.test/p4", 200));
        assert_eq!(entry.length, 4 * 1013);
        assert_eq!(entry.tags, ["all", "tag1"]);
        assert!((3590..=3600).contains(&entry.left), "{}", entry.left);
        eventually("its file is there", || {
            Path::new(&entry.file).exists().then_some(())
        });
    }
    let purge = |target: CacheTarget| {
        let purge = CachePurge { zone: None, target };
        let purged: CachePurged = control.post("/v1/cache/purge", &purge).expect("purged");
        assert_eq!(purged.zones, ["one"]);
    };
    let misses = || {
        let results = ask(&server, 0..9);
        let missed = |(number, result): (usize, &String)| (result == "MISS").then_some(number);
        results
            .iter()
            .enumerate()
            .filter_map(missed)
            .collect::<Vec<_>>()
    };
    purge(CacheTarget::Name("http://a.test/p4".to_owned()));
    assert_eq!(misses(), [4]);
    purge(CacheTarget::Tag("tag2".to_owned()));
    assert_eq!(misses(), [2, 5, 8]);
    purge(CacheTarget::Name("http://a.test/p*".to_owned()));
    assert_eq!(misses().len(), 9);
    assert!(misses().is_empty());

    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
            .args(words)
            .arg("--socket")
            .arg(control.client.socket())
            .output()
            .expect("the program must be there");
        let mut text = String::from_utf8(output.stdout).expect("UTF-8");
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    };
    let (is_good, text) = run(&["cache"]);
    assert!(
        is_good && text.contains("one") && text.contains("REVALIDATED"),
        "{text}"
    );
    let (is_good, text) = run(&["cache", "show", "http://a.test/p3"]);
    assert!(is_good && text.contains("httpa.test/p3"), "{text}");
    assert!(text.contains("fresh     for 3"), "{text}");
    let (is_good, text) = run(&["cache", "show", "http://a.test/none"]);
    assert!(!is_good && text.contains("nothing is stored"), "{text}");
    let (is_good, text) = run(&["cache", "keys", "--hot"]);
    assert!(is_good && text.contains("httpa.test/p8"), "{text}");
    // Without a yes nothing is removed.
    let (is_good, _) = run(&["cache", "purge", "--zone", "one"]);
    assert!(!is_good);
    assert!(misses().is_empty());
    let (is_good, text) = run(&["cache", "purge", "--zone", "one", "-y"]);
    assert!(is_good && text.contains("purged in one"), "{text}");
    assert_eq!(misses().len(), 9);
    let (is_good, text) = run(&["cache", "purge", "--zone", "other", "-y"]);
    assert!(!is_good && text.contains("there are `one`"), "{text}");

    let numbers = || {
        let numbers = control.client.get_text("/v1/metrics");
        control.runtime.block_on(numbers).expect("numbers")
    };
    // What was purged is counted until its file is gone.
    let text = eventually("the files are removed", || {
        Some(numbers()).filter(|text| text.contains("openclaw_cache_entries{zone=\"one\"} 9\n"))
    });
    for line in [
        "openclaw_cache_results_total{zone=\"one\",result=\"miss\"}",
        "openclaw_cache_removed_total{zone=\"one\",reason=\"purged\"}",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// A file system of a mebibyte, unmounted in the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// A test that cannot have it fails: one that passes without it would hide what it is there for.
    fn mount(size: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        let mounted = mounted.expect("`mount` must be there");
        assert!(
            mounted.status.success(),
            "this test mounts a file system, for which it has to be run by root: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What cannot be unmounted stays for people to see; the test has its result.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Lets nobody else open a file of a mounted disk, or read one, while it hangs: whoever does so waits.
struct Hanging {
    watched: PathBuf,
    state: Arc<Mutex<Hang>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Hang {
    does_hang: bool,
    /// So many wait.
    waiting: usize,
    is_over: bool,
}

impl Hanging {
    fn of(disk: &SmallDisk, mask: MaskFlags) -> Self {
        const RIGHTS: &str = "this test holds up a file system, for which it has to be run by root";
        let fanotify =
            Fanotify::init(InitFlags::FAN_CLASS_CONTENT, EventFFlags::O_RDONLY).expect(RIGHTS);
        let watched = disk.0.path().join("watched");
        fs::write(&watched, "").expect("written");
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_MOUNT;
        fanotify
            .mark(
                flags,
                mask | MaskFlags::FAN_OPEN_PERM,
                AT_FDCWD,
                Some(disk.0.path()),
            )
            .expect(RIGHTS);
        let state = Arc::new(Mutex::new(Hang::default()));
        let its_state = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let own = std::process::id();
            let mut waiting: Vec<FanotifyEvent> = Vec::new();
            loop {
                waiting.extend(fanotify.read_events().expect("readable"));
                let mut state = its_state.lock().expect("no holder panics");
                // Who opens a file does not see that another one waits.
                waiting.retain(|event| {
                    let waits = state.does_hang
                        && event.pid() as u32 != own
                        && (mask.is_empty() || event.mask().intersects(mask));
                    if let Some(fd) = event.fd().filter(|_| !waits) {
                        let response = FanotifyResponse::new(fd, Response::FAN_ALLOW);
                        fanotify.write_response(response).expect("written");
                    }
                    waits
                });
                state.waiting = waiting.len();
                if state.is_over {
                    return;
                }
            }
        });
        Self {
            watched,
            state,
            thread: Some(thread),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Hang)) {
        change(&mut self.state.lock().expect("no holder panics"));
        // The thread looks at the state with the next event, which this is.
        drop(fs::File::open(&self.watched));
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.change(|state| {
            state.does_hang = false;
            state.is_over = true;
        });
        if let Some(thread) = self.thread.take() {
            // What it says is said by the test that failed.
            let _ = thread.join();
        }
    }
}

/// Of these the bodies are as long as those of others are at most: 147,898 bytes.
fn long_ones(from: usize) -> impl Iterator<Item = usize> {
    (from..).map(|number| 146 + 150_000 * number)
}

#[test]
fn a_disk_that_hangs_holds_up_neither_hits_nor_misses() {
    let disk = SmallDisk::mount("200m");
    let hanging = Hanging::of(&disk, MaskFlags::FAN_OPEN_PERM);
    let origin = origin();
    let mut server = Setup::http(
        "proxy_cache_path %DISK%/cache levels=1:2 keys_zone=one:10m memory=32m;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; proxy_cache one;
             add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", origin.address())
    .set("DISK", disk.0.path().display())
    .tolerate("stores nothing for now")
    .tolerate("while reading the cache")
    .start();
    ask(&server, 1..40);
    server.quit();
    server.start_again();
    for _ in 0..3 {
        assert_eq!(count(&ask(&server, 1..10), "HIT"), 9);
    }
    let control = Control::of(&server);
    let state = || {
        let caches: Caches = control.must_get("/v1/cache");
        caches.zones[0].state()
    };
    hanging.change(|state| state.does_hang = true);
    // What only the disk knows is asked of the origin.
    assert_eq!(count(&ask(&server, 20..40), "MISS"), 20);
    let mut next = 0;
    eventually("the zone says that it stores nothing", || {
        let some = long_ones(next).take(50);
        next += 50;
        assert_eq!(count(&ask(&server, some), "MISS"), 50);
        // What is in memory is served all the while.
        assert_eq!(count(&ask(&server, 1..10), "HIT"), 9);
        (state() == "stores nothing").then_some(())
    });
    assert_eq!(count(&ask(&server, long_ones(next).take(50)), "MISS"), 50);
    hanging.change(|state| state.does_hang = false);
    next += 50;
    eventually("the zone stores again", || {
        ask(&server, long_ones(next).take(2));
        next += 2;
        (state() == "ok").then_some(())
    });
    eventually("what is stored is found again", || {
        let results = ask(&server, 20..40);
        (count(&results, "HIT") == 20).then_some(())
    });
}

#[test]
fn a_disk_that_hangs_in_the_middle_of_an_answer_holds_up_only_who_reads_it() {
    // More than the sockets between hold.
    const LENGTH: usize = 32 << 20;
    let disk = SmallDisk::mount("200m");
    let hanging = Hanging::of(&disk, MaskFlags::FAN_ACCESS_PERM);
    let origin = Backend::scripted(|exchange| {
        let line = exchange.seen.head.line.clone();
        let length = match line.contains(" /long ") {
            true => LENGTH,
            false => {
                let number = line.split(' ').nth(1).unwrap_or_default();
                let number: usize = number.trim_start_matches("/p").parse().unwrap_or(0);
                number * 1013 % 150_000
            }
        };
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: max-age=3600\r\n\r\n"
        ));
        exchange.send(pattern(length));
        Then::NextRequest
    });
    let server = Setup::http(
        "proxy_cache_path %DISK%/cache levels=1:2 keys_zone=one:10m memory=4m;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; proxy_cache one;
             add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", origin.address())
    .set("DISK", disk.0.path().display())
    .start();
    let long = "GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let body = pattern(LENGTH);
    assert!(server.connect(1).ask(long).body == body);
    ask(&server, 1..10);
    eventually("all is stored", || {
        (files(&disk.0.path().join("cache")) == 10).then_some(())
    });
    assert_eq!(count(&ask(&server, 1..10), "HIT"), 9);

    let mut reader = server.connect(1);
    reader.send(long);
    let begun = reader.bytes(100_000).expect("the answer begins");
    hanging.change(|state| state.does_hang = true);
    let head = (begun.windows(4).position(|four| four == b"\r\n\r\n")).expect("a head") + 4;
    let got = begun.len() - head;
    thread::scope(|scope| {
        let rest = scope.spawn(|| reader.bytes(LENGTH - got).expect("the rest comes"));
        eventually("the disk is waited for", || {
            let state = hanging.state.lock().expect("no holder panics");
            (state.waiting > 0).then_some(())
        });
        for _ in 0..5 {
            assert_eq!(count(&ask(&server, 1..10), "HIT"), 9);
        }
        assert_eq!(count(&ask(&server, 20..30), "MISS"), 10);
        assert!(!rest.is_finished());
        hanging.change(|state| state.does_hang = false);
        let rest = rest.join().expect("it reads");
        assert!(begun[head..] == body[..got] && rest == body[got..]);
    });
}

/// Stores until the zone says that it cannot, then makes room. How often did the error log say so?
fn a_zone_that_cannot_store(directory: &Path, make_room: impl FnOnce(&Control)) -> usize {
    let origin = origin();
    let server = Setup::http(
        "proxy_cache_path %DISK%/cache levels=1:2 keys_zone=one:10m memory=1m;
         server { listen %LISTEN1%; location / { proxy_pass http://%BACKEND%; proxy_cache one;
             add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", origin.address())
    .set("DISK", directory.display())
    .tolerate("stores nothing for now")
    .start();
    let control = Control::of(&server);
    let mut next = 0;
    eventually("the zone says that it stores nothing", || {
        // Every answer is right, whatever becomes of storing it.
        ask(&server, next..next + 10);
        next += 10;
        let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
            .args(["cache", "--socket"])
            .arg(control.client.socket())
            .output()
            .expect("the program must be there");
        let text = String::from_utf8_lossy(&output.stdout);
        text.contains("stores nothing").then_some(())
    });
    ask(&server, next..next + 50);
    make_room(&control);
    let stored = || files(&directory.join("cache"));
    eventually("the zone stores again", || {
        let results = ask(&server, [3, 4]);
        (results == ["HIT", "HIT"] && stored() >= 2).then_some(())
    });
    let caches: Caches = control.must_get("/v1/cache");
    assert_eq!(caches.zones[0].state(), "ok");
    let said = server.said();
    let told = said.lines();
    told.filter(|line| line.contains("stores nothing for now"))
        .count()
}

#[test]
fn a_full_disk_costs_no_request() {
    let disk = SmallDisk::mount("1m");
    let told = a_zone_that_cannot_store(disk.0.path(), |control| {
        let everything = CachePurge {
            zone: None,
            target: CacheTarget::Everything,
        };
        // It holds, and room is made, even where a full disk lets nobody write it down.
        let _: Result<CachePurged, _> = control.post("/v1/cache/purge", &everything);
    });
    // What is small may fit for a while after what is not does no more.
    assert!(told > 0);
}

#[test]
fn a_directory_that_takes_no_files_costs_no_request_and_is_told_once() {
    let directory = tempfile::tempdir().expect("a directory");
    // In the way of the directory for what is being stored.
    let obstacle = directory.path().join("cache/filling");
    fs::create_dir_all(directory.path().join("cache")).expect("a directory");
    fs::write(&obstacle, "").expect("written");
    let told = a_zone_that_cannot_store(directory.path(), |_| {
        fs::remove_file(&obstacle).expect("removed");
    });
    assert_eq!(told, 1);
}

#[test]
fn an_entry_that_only_the_disk_knows_is_shown_by_the_url_that_people_know() {
    let origin = origin();
    let mut server = Setup::http(
        "proxy_cache_path %PREFIX%/cache levels=1:2 keys_zone=one:10m;
         server { listen %LISTEN1%; proxy_cache one;
             location / { proxy_pass http://%BACKEND%; proxy_set_header Host $host;
                 add_header X-Cache $upstream_cache_status always; }
             location /p5 { proxy_pass http://%BACKEND%;
                 add_header X-Cache $upstream_cache_status always; } }",
    )
    .set("BACKEND", origin.address())
    .start();
    ask(&server, [4, 5]);
    server.quit();
    server.start_again();
    let control = Control::of(&server);
    for path in ["p4", "p5"] {
        let output = Command::new(env!("CARGO_BIN_EXE_openclaw"))
            .args([
                "cache",
                "show",
                &format!("http://A.test/{path}"),
                "--socket",
            ])
            .arg(control.client.socket())
            .output()
            .expect("the program must be there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(path), "{text}");
        assert!(text.contains("fresh     for 3"), "{text}");
    }
    assert_eq!(count(&ask(&server, [4, 5]), "HIT"), 2);
}
