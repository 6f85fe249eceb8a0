//! What a client of the control socket sends: any body is refused or understood, and a request that
//! it asks about is explained without harm.

#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use openclaw::conf::check;
use openclaw::conf::include::{self, Loaded};
use openclaw::conf::typed::Http;
use openclaw::conf::typed::lower::config::lower;
use openclaw::control::explain;
use openclaw::protocol::{Change, Event, Lease, PeerChange, Question, Revert};

const CONF: &str = "events {} http {
    upstream app { server 127.0.0.1:1; }
    map $uri $mapped { default a; ~^/(?<part>.+)$ $part; }
    server { listen 80; server_name a.test *.b.test ~^c(?<number>\\d+)\\.test$;
        location / { root /srv; try_files $uri /index.html; }
        location /app/ { proxy_pass http://app/; deny 10.0.0.0/8; allow all; }
        location ~ ^/(\\w+)/(.*)$ { rewrite ^/x(.*)$ /app$1 last; return 301 $scheme://$host/$2?$mapped; }
        location = /loop { rewrite ^ /loop last; } }
    server { listen 8080 default_server; if ($http_x) { return 403; } return 200 $number; }
}";

static LOADED: LazyLock<(Arc<Http>, Loaded)> = LazyLock::new(|| {
    let mut loaded = include::load_text(Path::new("fuzz.conf"), CONF.to_owned(), Path::new("/"));
    check::check(&mut loaded);
    let config = lower(&mut loaded, Path::new("/"), &[]).expect("a good configuration");
    (Arc::new(config.http), loaded)
});

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<Change>(data);
    let _ = serde_json::from_slice::<Revert>(data);
    let _ = serde_json::from_slice::<PeerChange>(data);
    let _ = serde_json::from_slice::<Lease>(data);
    // The other direction: what a daemon that is not ours might send.
    let _ = serde_json::from_slice::<Event>(data);
    let question = serde_json::from_slice::<Question>(data).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(data);
        let mut parts = text.splitn(4, '\n').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Question {
            url: next(),
            method: next(),
            client: next(),
            fields: vec![("X".to_owned(), next())],
        }
    });
    let (http, loaded) = &*LOADED;
    if let Ok(told) = explain(http, &loaded.sources, &question) {
        assert!(!told.steps.is_empty());
    }
});
