//! `limit_req` and `limit_conn`: what they let through, beside nginx where it can be asked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::thread;

use nix::sys::signal::Signal;

use openclaw::protocol::{Events, Limits, Occurrence, Routes, Summary};

use crate::control::Control;
use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::server::{Server, Setup, eventually, oracle, under_test};

/// Rates so slow that no machine is slow enough to let one request more through.
const BURSTS: &str = "
    limit_req_zone $binary_remote_addr zone=none:64k rate=1r/m;
    limit_req_zone $binary_remote_addr zone=nodelay:64k rate=1r/m;
    limit_req_zone $binary_remote_addr zone=fast:64k rate=100r/s;
    limit_req_zone $http_x_api_key zone=keys:64k rate=1r/m;
    log_format own '$uri $status $limit_req_status';
    access_log logs/access.log own;
    error_log logs/error.log;
    server {
        listen %LISTEN1%;
        location /none { limit_req zone=none; proxy_pass http://%BACKEND%; }
        location /nodelay { limit_req zone=nodelay burst=20 nodelay; proxy_pass http://%BACKEND%; }
        location /fast { limit_req zone=fast burst=20; proxy_pass http://%BACKEND%; }
        location /delay { limit_req zone=fast burst=20 delay=5; proxy_pass http://%BACKEND%; }
        location /keys { limit_req zone=keys burst=2 nodelay; limit_req_status 429; proxy_pass http://%BACKEND%; }
        location / { return 204; }
    }
";

/// Asks many times at once; how often each status came.
fn at_once(server: &Server, count: usize, request: &str) -> BTreeMap<u16, usize> {
    let port = server.port(1);
    let askers: Vec<_> = (0..count)
        .map(|_| {
            let request = request.to_owned();
            thread::spawn(move || Client::connect(port).ask(&request).status)
        })
        .collect();
    let mut counts = BTreeMap::new();
    for asker in askers {
        *counts.entry(asker.join().expect("an answer")).or_default() += 1;
    }
    counts
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_burst_of_thirty_gets_through_as_with_nginx() {
    let backend = Backend::start();
    for program in [under_test(), oracle()] {
        let server = Setup::http(BURSTS)
            .set("BACKEND", backend.address())
            .program(&program)
            .start();
        let none = at_once(&server, 30, &get("/none"));
        assert_eq!(none, BTreeMap::from([(200, 1), (503, 29)]), "{program:?}");
        let nodelay = at_once(&server, 30, &get("/nodelay"));
        assert_eq!(
            nodelay,
            BTreeMap::from([(200, 21), (503, 9)]),
            "{program:?}"
        );
        // Of these, none is refused: they are delayed.
        for path in ["/fast", "/delay"] {
            let all = at_once(&server, 20, &get(path));
            assert_eq!(all, BTreeMap::from([(200, 20)]), "{program:?}");
        }
        let log = eventually("all requests are in the log", || {
            let log = server.read("logs/access.log");
            (log.lines().count() >= 100).then_some(log)
        });
        let logged = |line: &str| log.lines().filter(|other| *other == line).count();
        assert_eq!(logged("/nodelay 200 PASSED"), 21);
        assert_eq!(logged("/nodelay 503 REJECTED"), 9);
        assert_eq!(logged("/fast 200 DELAYED") + logged("/fast 200 PASSED"), 20);
        let is_meant = |line: &str| {
            line.contains("limiting requests, excess: 2")
                && line.contains(" by zone \"nodelay\", client: 127.0.0.1, server: ")
        };
        eventually("it is in the log in nginx's words", || {
            let errors = server.read("logs/error.log");
            errors.lines().any(is_meant).then_some(())
        });
    }
}

#[test]
fn each_key_has_its_own_rate_and_is_told_when_to_come_again() {
    let backend = Backend::start();
    let server = Setup::http(BURSTS)
        .set("BACKEND", backend.address())
        .start();
    let mut client = server.connect(1);
    for key in ["one", "two"] {
        let request = format!("GET /keys HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\n\r\n");
        for _ in 0..3 {
            let answer = client.ask(&request);
            assert_eq!((answer.status, answer.value("Retry-After")), (200, None));
        }
        let answer = client.ask(&request);
        assert_eq!(answer.status, 429);
        let seconds: u64 = (answer.value("Retry-After"))
            .and_then(|value| value.parse().ok())
            .expect("a number of seconds");
        assert!((1..=63).contains(&seconds), "{seconds}");
    }
    // Without a key nothing is counted.
    for _ in 0..10 {
        let answer = client.ask("GET /keys HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn what_was_counted_survives_a_reload_unless_the_key_changes() {
    let conf = |key: &str, rate: &str| {
        format!(
            "events {{}} error_log logs/error.log notice; http {{ %COMMON%
             limit_req_zone {key} zone=one:64k rate={rate};
             server {{ listen %LISTEN1%; location / {{ limit_req zone=one burst=1 nodelay; root www; }} }} }}"
        )
    };
    let mut server = Setup::new(conf("$binary_remote_addr", "1r/m"))
        .tree("== www/index.html\nhello\n")
        .start();
    let statuses = |server: &Server| {
        let statuses: Vec<u16> = (0..2)
            .map(|_| server.connect(1).ask(&get("/")).status)
            .collect();
        statuses
    };
    let reload = |server: &mut Server, conf: &str, count: usize| {
        server.rewrite(conf);
        server.signal(Signal::SIGHUP);
        eventually("the generation before has ended", || {
            let log = server.read("logs/error.log");
            (log.matches("exited with code 0").count() == count).then_some(())
        });
    };
    assert_eq!(statuses(&server), [200, 200]);
    reload(&mut server, &conf("$binary_remote_addr", "2r/m"), 1);
    assert_eq!(statuses(&server), [503, 503]);
    reload(&mut server, &conf("$remote_addr", "2r/m"), 2);
    assert_eq!(statuses(&server), [200, 200]);
}

/// Requests that wait for their answers while others are asked.
#[test]
fn requests_at_a_time_are_counted_from_their_head_to_their_end_as_with_nginx() {
    for program in [under_test(), oracle()] {
        let backend = Backend::start();
        let server = Setup::http(
            "limit_conn_zone $binary_remote_addr zone=clients:64k;
             limit_conn_zone $server_name zone=sites:64k;
             log_format own '$uri $status [$limit_conn_status]';
             access_log logs/access.log own;
             limit_conn_log_level warn;
             error_log logs/error.log warn;
             server {
                 listen %LISTEN1%; server_name site;
                 limit_conn clients 2; limit_conn sites 3;
                 location / { proxy_pass http://%BACKEND%; }
                 location /free { limit_conn sites 100; return 204; }
                 location /dry { limit_conn_dry_run on; limit_conn_status 429; root www; }
                 location /many { limit_conn_status 429; root www; }
             }",
        )
        .tree("== www/dry\nx\n== www/many\nx\n")
        .set("BACKEND", backend.address())
        .program(&program)
        .start();
        let begin = |from: [u8; 4]| {
            let mut client = Client::connect_from(Ipv4Addr::from(from), server.port(1));
            let before = backend.seen().len();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
            (client, before)
        };
        let (first, _) = begin([127, 0, 0, 1]);
        let (second, _) = begin([127, 0, 0, 1]);
        let ask = |from: [u8; 4], path: &str| {
            Client::connect_from(Ipv4Addr::from(from), server.port(1))
                .ask(&get(path))
                .status
        };
        eventually("both are counted", || {
            (ask([127, 0, 0, 1], "/many") == 429).then_some(())
        });
        assert_eq!(ask([127, 0, 0, 1], "/"), 503, "{program:?}");
        assert_eq!(ask([127, 0, 0, 1], "/dry"), 200);
        assert_eq!(ask([127, 0, 0, 1], "/free"), 204);
        // Another client has room, and the site for one more.
        assert_eq!(ask([127, 0, 0, 2], "/many"), 200);
        let (third, _) = begin([127, 0, 0, 2]);
        eventually("the third is counted", || {
            (ask([127, 0, 0, 3], "/many") == 429).then_some(())
        });
        for mut client in [first, second, third] {
            client.send("12345");
            assert_eq!(client.answer("POST").status, 200);
        }
        eventually("none is counted any more", || {
            (ask([127, 0, 0, 1], "/many") == 200).then_some(())
        });
        eventually("it is in the log in nginx's words", || {
            let errors = server.read("logs/error.log");
            let words = ["", ", dry run,"].map(|words| {
                let line = format!("limiting connections{words} by zone \"clients\", client: 127");
                errors.contains(&line)
            });
            let sites = errors.contains("limiting connections by zone \"sites\"");
            (words == [true, true] && sites && errors.contains("[warn]")).then_some(())
        });
        eventually("what became of each is in the log", || {
            let log = server.read("logs/access.log");
            let lines = [
                "/dry 200 [REJECTED_DRY_RUN]\n",
                "/ 503 [REJECTED]\n",
                "/ 200 [PASSED]\n",
            ];
            lines.iter().all(|line| log.contains(line)).then_some(())
        });
    }
}

#[test]
fn a_client_that_leaves_while_it_is_delayed_is_let_go() {
    let backend = Backend::start();
    let server = Setup::http(
        "limit_req_zone $binary_remote_addr zone=slow:64k rate=1r/m;
         limit_conn_zone $binary_remote_addr zone=held:64k;
         log_format own '$status $limit_req_status';
         access_log logs/access.log own;
         error_log logs/error.log info;
         server { listen %LISTEN1%; location / { limit_req zone=slow burst=5; proxy_pass http://%BACKEND%; } }",
    )
    .set("BACKEND", backend.address())
    .start();
    assert_eq!(server.connect(1).ask(&get("/")).status, 200);
    let mut client = server.connect(1);
    client.send(get("/"));
    eventually("it is delayed", || {
        let log = server.read("logs/error.log");
        log.contains("delaying request, excess: ").then_some(())
    });
    drop(client);
    eventually("it is let go", || {
        let log = server.read("logs/access.log");
        log.contains("499 DELAYED").then_some(())
    });
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_burst_written_on_the_zone_and_a_zone_written_in_a_server_do_what_they_say() {
    let server = Setup::http(
        "limit_req_zone $binary_remote_addr zone=outside:64k rate=1r/m burst=2 nodelay;
         server {
             listen %LISTEN1%;
             limit_req_zone $binary_remote_addr zone=inside:64k rate=1r/m;
             limit_req zone=inside burst=1 nodelay;
             root www;
             location / { }
             location /outside { limit_req zone=outside; }
             location /own { limit_req zone=outside burst=1 nodelay; }
         }",
    )
    .tree("== www/index.html\nx\n== www/outside\nx\n== www/own\nx\n")
    .start();
    let statuses = |path: &str, count: usize| {
        let statuses = (0..count).map(|_| server.connect(1).ask(&get(path)).status);
        statuses.collect::<Vec<u16>>()
    };
    assert_eq!(statuses("/", 3), [200, 200, 503]);
    assert_eq!(statuses("/outside", 4), [200, 200, 200, 503]);
    assert_eq!(statuses("/own", 1), [503]);
    let tested = Setup::new("events {} http { server { limit_req zone=none; } }").run(&["-t"]);
    assert!(!tested.status.success());
    assert!(tested.stderr.contains("OC-E283"), "{}", tested.stderr);
}

#[test]
fn the_daemon_tells_what_its_zones_do_and_whom_they_refuse() {
    let server = Setup::http(
        "limit_req_zone $binary_remote_addr zone=clients:64k rate=1r/m;
         limit_conn_zone $server_name zone=sites:64k;
         server {
             listen %LISTEN1%; server_name site;
             limit_conn sites 7;
             location / { limit_req zone=clients burst=1 nodelay; root www; }
             location = /metrics { metrics; }
         }",
    )
    .tree("== www/index.html\nx\n")
    .start();
    let control = Control::of(&server);
    assert_eq!(
        at_once(&server, 5, &get("/")),
        BTreeMap::from([(200, 2), (503, 3)])
    );
    let limits: Limits = control.must_get("/v1/limits");
    let zones: Vec<_> = (limits.zones.iter())
        .map(|zone| (&*zone.name, zone.passed, zone.refused))
        .collect();
    assert_eq!(zones, [("clients", 2, 3), ("sites", 2, 0)]);
    let clients = &limits.zones[0];
    assert_eq!((clients.keys, &*clients.rate), (1, "1r/m"));
    assert_eq!(clients.worst[0].key, "127.0.0.1");
    assert_eq!(clients.worst[0].refused, 3);
    let routes: Routes = control.must_get("/v1/routes");
    let rules: Vec<_> = (routes.routes.iter())
        .find(|route| route.location == "/")
        .expect("it is written")
        .limits
        .iter()
        .map(|limit| format!("{} {}", limit.zone, limit.rule))
        .collect();
    assert_eq!(rules, ["clients 1r/m burst 1 nodelay", "sites 7 at a time"]);
    let page = server.connect(1).ask(&get("/metrics")).text();
    let refused =
        "openclaw_limit_requests_total{zone=\"clients\",kind=\"requests\",result=\"refused\"} 3\n";
    assert!(page.contains(refused), "{page}");
    assert!(page.contains("openclaw_limit_keys{zone=\"clients\",kind=\"requests\"} 1\n"));
    let told = eventually("the rate of the last seconds is told", || {
        let summary: Summary = control.must_get("/v1/summary");
        let found = summary.limits.into_iter().find(|zone| zone.refused > 0.0);
        // Only between two looks, a second apart.
        at_once(&server, 1, &get("/"));
        found
    });
    assert_eq!((&*told.zone, told.delayed), ("clients", 0.0));
    eventually("a limit that refuses much is a trouble", || {
        at_once(&server, 20, &get("/"));
        let summary: Summary = control.must_get("/v1/summary");
        let is_told = |trouble: &String| trouble.starts_with("limit clients is exceeded ");
        summary.troubles.iter().any(is_told).then_some(())
    });
    eventually("it is an event", || {
        let events: Events = control.must_get("/v1/events");
        let is_told = |it: &Occurrence| it.kind == "limit" && it.subject == "clients";
        events.events.iter().any(is_told).then_some(())
    });
}
