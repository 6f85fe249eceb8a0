//! `openclaw logs`: requests as they end.
//!
//! The daemon tells them while somebody looks and remembers none: what was before is in the access
//! log.

use std::io::{self, Write as _};

use jiff::tz::TimeZone;

use super::complain;
use super::figures::{bytes, micros, time};
use super::follow::{Follower, Sight};
use super::paint::Paint;
use super::session::{Failure, Session};
use super::words::{Network, StatusPattern};
use crate::protocol::{Event, Request, Topic};
use crate::unit::printable::{escape, escape_json};

/// Which requests are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these statuses, if any is named.
    pub statuses: Vec<StatusPattern>,
    /// This host; `*.` in front means all below it.
    pub host: Option<String>,
    /// Targets that contain this.
    pub path: Option<String>,
    /// This method.
    pub method: Option<String>,
    /// This client, or one of this network.
    pub client: Option<Network>,
    /// Took at least so many milliseconds.
    pub slow: Option<u64>,
}

impl Filter {
    /// Is this request wanted?
    fn takes(&self, request: &Request) -> bool {
        let host = request
            .host
            .rsplit_once(':')
            .map_or(&*request.host, |(name, port)| {
                match port.bytes().all(|byte| byte.is_ascii_digit()) {
                    true => name,
                    false => &request.host,
                }
            });
        let takes_host = |wanted: &String| match wanted.strip_prefix('*') {
            Some(end) => {
                let at = host.len().checked_sub(end.len());
                at.and_then(|at| host.get(at..))
                    .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
            }
            None => host.eq_ignore_ascii_case(wanted) || request.host.eq_ignore_ascii_case(wanted),
        };
        let takes_client = |network: &Network| {
            let client = request.client.parse().ok();
            client.is_some_and(|client: std::net::IpAddr| network.0.contains(&client))
        };
        let statuses = &self.statuses;
        (statuses.is_empty() || statuses.iter().any(|it| it.matches(request.status)))
            && self.host.as_ref().is_none_or(takes_host)
            && self
                .path
                .as_ref()
                .is_none_or(|path| request.target.contains(path))
            && self
                .method
                .as_ref()
                .is_none_or(|method| request.method.eq_ignore_ascii_case(method))
            && self.client.as_ref().is_none_or(takes_client)
            && self
                .slow
                .is_none_or(|slow| request.duration >= slow.saturating_mul(1_000))
    }
}

/// Prints requests as they end, for ever or until so many were printed.
pub fn run(session: &Session, filter: &Filter, lines: Option<usize>) -> Result<(), Failure> {
    let mut out = Lines {
        json: session.json,
        paint: session.paint,
        zone: TimeZone::system(),
        left: lines,
        reader_is_gone: false,
    };
    session.runtime.block_on(async {
        let mut follower = Follower::open(&session.client, &[Topic::Requests]).await?;
        while !out.is_full() {
            match follower.next().await {
                Sight::Event(Event::Requests { requests, dropped }) => {
                    for request in requests.iter().filter(|it| filter.takes(it)) {
                        if out.is_full() {
                            break;
                        }
                        out.put(request);
                    }
                    if dropped > 0 {
                        complain(&format!(
                            "openclaw: {dropped} requests were too fast to show"
                        ));
                    }
                }
                Sight::Event(_) => {}
                Sight::Lost(why) => complain(&format!(
                    "openclaw: the daemon is away ({}), waiting for it",
                    escape(&why)
                )),
                Sight::Back => complain("openclaw: the daemon is back"),
            }
        }
        Ok(())
    })
}

/// Where requests are printed.
struct Lines {
    json: bool,
    paint: Paint,
    zone: TimeZone,
    /// How many may still be printed, if that is bounded.
    left: Option<usize>,
    /// The pipe is closed: `| head` has seen enough.
    reader_is_gone: bool,
}

impl Lines {
    /// Is nothing more wanted?
    fn is_full(&self) -> bool {
        self.reader_is_gone || self.left == Some(0)
    }

    fn put(&mut self, request: &Request) {
        let mut line = match self.json {
            true => match serde_json::to_string(request) {
                Ok(text) => escape_json(&text).into_owned(),
                Err(_) => return,
            },
            false => line(request, self.paint, &self.zone),
        };
        line.push('\n');
        let mut out = io::stdout().lock();
        if out
            .write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            self.reader_is_gone = true;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
    }
}

/// A request in one line.
fn line(request: &Request, paint: Paint, zone: &TimeZone) -> String {
    let status = format!("{:03}", request.status);
    let status = match request.status {
        500.. => paint.bad(&status),
        400.. => paint.warn(&status),
        _ => paint.good(&status),
    };
    let mut line = format!(
        "{} {status} {:>7} {:>9} {:<15} {} {}{}",
        time(request.at, zone),
        micros(request.duration),
        bytes(request.sent),
        escape(&request.client),
        escape(&request.method),
        escape(&request.host),
        escape(&request.target),
    );
    for attempt in &request.attempts {
        line.push_str(&format!(" > {} {}", escape(&attempt.peer), attempt.status));
    }
    if !request.is_complete {
        line.push_str(" (not sent whole)");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attempt;

    fn request() -> Request {
        Request {
            at: 1_700_000_000_000,
            client: "10.0.0.7".to_owned(),
            method: "GET".to_owned(),
            host: "www.example.org:8080".to_owned(),
            target: "/a?b".to_owned(),
            status: 502,
            sent: 1_234,
            duration: 250_000,
            is_complete: true,
            attempts: vec![Attempt {
                peer: "10.0.0.9:80".to_owned(),
                status: 502,
                ..Attempt::default()
            }],
            ..Request::default()
        }
    }

    #[test]
    fn a_request_is_one_line() {
        assert_eq!(
            line(&request(), Paint::PLAIN, &TimeZone::UTC),
            "22:13:20 502  250 ms   1.2 KiB 10.0.0.7        GET www.example.org:8080/a?b \
             > 10.0.0.9:80 502"
        );
    }

    #[test]
    fn nothing_that_a_client_sent_reaches_the_terminal_raw() {
        let evil = "\x1b]0;x\x07\r\n\u{9b}2J\u{202e}".to_owned();
        let request = Request {
            client: evil.clone(),
            method: evil.clone(),
            host: evil.clone(),
            target: evil.clone(),
            attempts: vec![Attempt {
                peer: evil,
                ..Attempt::default()
            }],
            ..request()
        };
        let shown = line(&request, Paint::PLAIN, &TimeZone::UTC);
        assert!(
            !shown.contains(crate::unit::printable::is_unsafe),
            "{shown:?}"
        );
    }

    #[test]
    fn each_filter_takes_what_it_names() {
        let takes = |filter: Filter| filter.takes(&request());
        let text = |text: &str| Some(text.to_owned());
        assert!(takes(Filter::default()));
        let by_host = |host: &str| {
            takes(Filter {
                host: text(host),
                ..Filter::default()
            })
        };
        assert!(by_host("WWW.example.org") && by_host("*.example.org"));
        assert!(by_host("www.example.org:8080"));
        assert!(!by_host("example.org") && !by_host("*.very.long.name.of.an.example.org"));
        let by_slow = |ms| {
            takes(Filter {
                slow: Some(ms),
                ..Filter::default()
            })
        };
        assert!(by_slow(250) && !by_slow(251) && !by_slow(u64::MAX));
        let by_status = |status: &str| {
            takes(Filter {
                statuses: vec![status.parse().expect("good")],
                ..Filter::default()
            })
        };
        assert!(by_status("5xx") && by_status("502") && !by_status("404"));
        let by_client = |client: &str| {
            takes(Filter {
                client: Some(client.parse().expect("good")),
                ..Filter::default()
            })
        };
        assert!(by_client("10.0.0.0/8") && by_client("10.0.0.7") && !by_client("::1"));
        let by_method = |method: &str| {
            takes(Filter {
                method: text(method),
                ..Filter::default()
            })
        };
        assert!(by_method("get") && !by_method("POST"));
        let by_path = |path: &str| {
            takes(Filter {
                path: text(path),
                ..Filter::default()
            })
        };
        assert!(by_path("/a") && !by_path("/c"));
    }
}
