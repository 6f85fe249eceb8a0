//! Under load: a killed backend and a hundred reloads cost no request, waiting costs next to nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::support::backend::{Backend, Then};
use crate::support::client::Client;
use crate::support::server::{Server, Setup, eventually, is_nginx, oracle, under_test};

/// Sends GETs one after the other over a connection that is kept while the server keeps it, and
/// counts what did not get its whole answer.
fn failures(port: u16, count: usize, keep: bool, done: &AtomicUsize) -> usize {
    let mut client = Client::connect(port);
    let mut failures = 0;
    for _ in 0..count {
        let connection = if keep { "keep-alive" } else { "close" };
        client.send(format!(
            "GET /load HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n"
        ));
        let answer = client.next_answer("GET");
        let served = answer
            .as_ref()
            .is_ok_and(|answer| answer.status == 200 && answer.cut.is_none());
        if !served {
            eprintln!("not served: {answer:?}");
            failures += 1;
        }
        done.fetch_add(1, Ordering::SeqCst);
        if !served || answer.is_ok_and(|answer| answer.says_close()) {
            client = Client::connect(port);
        }
    }
    failures
}

/// A backend that is a process of its own, so that it can be killed.
fn backend_process() -> Server {
    Setup::http("server { listen %LISTEN1%; keepalive_requests 100000; return 200 served; }")
        .program(&oracle())
        .start()
}

/// kill -9 in the middle of the load.
#[test]
fn a_killed_backend_costs_no_get() {
    let mut victim = backend_process();
    let survivor = backend_process();
    let server = Setup::http(
        "upstream group { server 127.0.0.1:%VICTIM%; server 127.0.0.1:%SURVIVOR%; keepalive 8; }
         server { listen %LISTEN1%; location / { proxy_set_header Connection \"\"; proxy_pass http://group; } }",
    )
    .set("VICTIM", victim.port(1))
    .set("SURVIVOR", survivor.port(1))
    .start();
    let done = AtomicUsize::new(0);
    let failed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (port, done) = (server.port(1), &done);
                scope.spawn(move || failures(port, 500, number % 2 == 0, done))
            })
            .collect();
        eventually("the load runs", || {
            (done.load(Ordering::SeqCst) > 300).then_some(())
        });
        victim.kill();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .sum()
    });
    assert_eq!(failed, 0, "of {} requests", done.load(Ordering::SeqCst));
}

#[test]
fn a_hundred_reloads_under_load_cost_no_request() {
    let backend = Backend::scripted(|exchange| {
        if exchange.read_body().is_err() {
            return Then::Close;
        }
        if exchange.seen.head.value("Upgrade").is_none() {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserved");
            return Then::NextRequest;
        }
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n",
        );
        let mut byte = Vec::new();
        while exchange.reader.exactly(1, &mut byte).is_ok() {
            exchange.send(&byte);
            byte.clear();
        }
        Then::Close
    });
    let conf = |generation: usize| {
        format!(
            "events {{ worker_connections 512; }}
             http {{ %COMMON%
               access_log off;
               keepalive_requests 100000;
               upstream group {{ server %BACKEND% max_fails=0; keepalive 8; }}
               server {{ listen %LISTEN1%;
                 location / {{ proxy_set_header Connection \"\"; proxy_pass http://group; }}
                 location /generation {{ return 200 {generation}; }}
                 location /tunnel {{
                   proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                   proxy_pass http://group; }} }} }}"
        )
    };
    let mut server = Setup::new(conf(0))
        .set("BACKEND", backend.address())
        .start();
    let port = server.port(1);
    let mut tunnel = server.connect(1);
    tunnel.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(tunnel.answer("GET").status, 101);
    let done = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let failed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let (done, over) = (&done, &over);
                // An old worker of nginx may close a kept connection just as it is used again.
                let keep = number > 0 && !is_nginx(&under_test());
                scope.spawn(move || {
                    let mut failed = 0;
                    while !over.load(Ordering::SeqCst) {
                        failed += failures(port, 20, keep, done);
                    }
                    failed
                })
            })
            .collect();
        for generation in 1..=100 {
            server.rewrite(&conf(generation));
            server.signal(Signal::SIGHUP);
            eventually("the new configuration serves", || {
                let answer = Client::connect(port)
                    .ask("GET /generation HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                (answer.text() == generation.to_string()).then_some(())
            });
            tunnel.send("!");
            assert_eq!(tunnel.bytes(1), Ok(b"!".to_vec()), "reload {generation}");
        }
        over.store(true, Ordering::SeqCst);
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .sum()
    });
    assert_eq!(failed, 0, "of {} requests", done.load(Ordering::SeqCst));
    assert!(done.load(Ordering::SeqCst) > 100, "there was a load");
}

#[test]
fn idle_connections_cost_little_memory() {
    const COUNT: usize = 400;
    let server =
        Setup::new("events { worker_connections 1024; } http { %COMMON% server { listen %LISTEN1%; return 200 ok; } }")
            .start();
    let ask = |client: &mut Client| {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    };
    // What the first ones need once is not what each needs.
    let mut first: Vec<Client> = (0..20).map(|_| server.connect(1)).collect();
    first.iter_mut().for_each(ask);
    let before = server.usage().resident_kib;
    let mut clients: Vec<Client> = (0..COUNT).map(|_| server.connect(1)).collect();
    clients.iter_mut().for_each(ask);
    let each = server.usage().resident_kib.saturating_sub(before) / COUNT as u64;
    assert!(each <= 16, "an idle connection costs {each} KiB");
}

/// Waiting for backends and clients is no loop.
#[test]
fn waiting_costs_no_processor_time() {
    let backend = Backend::start();
    let server = Setup::proxy(&backend).start();
    let idle: Vec<Client> = (0..50).map(|_| server.connect(1)).collect();
    let mut waiting = server.connect(1);
    let before = server.usage().cpu_ticks;
    let answer = waiting.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Answer: delay=1500 text=late\r\n\r\n");
    assert_eq!(answer.text(), "late");
    let ticks = server.usage().cpu_ticks - before;
    assert!(ticks < 50, "{ticks} ticks for one request");
    drop(idle);
}
