//! `ssl_ocsp`: what the authorities of a client's certificate say of it, asked before its first request.
//!
//! Owns whom to ask, in which order, and the answers that are kept (`ssl_ocsp_cache`). Each certificate
//! between the client and the trusted authority is asked about, or its own alone; the first that is not
//! good decides. Who cannot be asked cannot say that a certificate is good: nobody passes then.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::fetch::{FetchError, Fetcher, Limits, Trust};
use super::ocsp::{Answer, Question, Standing};
use crate::conf::typed::tls::ClientStatus;
use crate::net::resolver::Resolver;
use crate::unit::clock;

/// How long an answer is kept that does not say how long it holds (nginx has the same).
const USUAL_LIFE: i64 = 3600;
/// One question, from the name to the last byte.
const LIMITS: Limits = Limits {
    timeout: std::time::Duration::from_secs(15),
    body: 64 << 10,
};

/// OpenSSL's and nginx's words for what is wrong.
const REVOKED: &str = "certificate revoked";
const UNKNOWN: &str = "certificate status unknown";
/// What is wrong with a client about whom nobody could be asked.
pub const UNASKED: &str = "certificate status request failed";

/// One certificate about which there is something to ask.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Whom the certificate says to ask.
    pub responder: Option<String>,
}

/// Asks about clients of a server.
#[derive(Clone)]
pub struct Standings {
    fetcher: Fetcher,
    /// Where the questions are asked: the fetcher's connections live there.
    background: Handle,
    /// `ssl_ocsp_responder`
    responder: Option<Box<str>>,
    /// Only about the client's own certificate?
    only_own: bool,
    zone: Option<Arc<Zone>>,
}

impl fmt::Debug for Standings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Standings")
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl Standings {
    /// For what is written, with the place for answers that it names.
    ///
    /// # Errors
    ///
    /// If nobody can be asked on this machine.
    pub fn new(
        written: &ClientStatus,
        zone: Option<Arc<Zone>>,
        resolver: Resolver,
        background: Handle,
    ) -> Result<Self, FetchError> {
        Ok(Self {
            fetcher: Fetcher::with_resolver(Trust::System, resolver)?,
            background,
            responder: written.responder.clone(),
            only_own: written.only_own,
            zone,
        })
    }

    /// Asks about the certificates of a path, the client's own first. `None` if all are good, otherwise
    /// what is wrong; what keeps a responder from answering is told.
    pub async fn doubt(&self, path: Vec<Asked>, tell: fn(&str)) -> Option<&'static str> {
        let count = if self.only_own { 1 } else { path.len() };
        for asked in path.into_iter().take(count) {
            let now = now();
            let kept = (self.zone.as_ref()).and_then(|zone| zone.get(asked.question.id(), now));
            let standing = match kept {
                Some(standing) => standing,
                None => match self.ask(&asked, now).await {
                    Ok(answer) => {
                        if let Some(zone) = &self.zone {
                            zone.put(asked.question.id(), answer, now);
                        }
                        answer.standing
                    }
                    Err(problem) => {
                        tell(&problem);
                        return Some(UNASKED);
                    }
                },
            };
            match standing {
                Standing::Good => {}
                Standing::Revoked => return Some(REVOKED),
                Standing::Unknown => return Some(UNKNOWN),
            }
        }
        None
    }

    /// The error says what went wrong, and with whom.
    async fn ask(&self, asked: &Asked, now: i64) -> Result<Answer, String> {
        let named = asked.responder.as_deref();
        let Some(url) = self.responder.as_deref().or(named) else {
            return Err("no OCSP responder URL in certificate".to_owned());
        };
        let host = host(url);
        let request = http::Request::post(url)
            .header("Content-Type", "application/ocsp-request")
            .header("Accept", "application/ocsp-response")
            .body(Bytes::from(asked.question.request()))
            .map_err(|error| format!("OCSP responder \"{host}\": {error}"))?;
        let fetcher = self.fetcher.clone();
        let sending = self
            .background
            .spawn(async move { fetcher.send(request, LIMITS).await });
        let failed = |why: &dyn fmt::Display| format!("OCSP responder \"{host}\": {why}");
        let response = match sending.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failed(&error)),
            Err(error) => return Err(failed(&error)),
        };
        if response.status() != 200 {
            let status = response.status().as_u16();
            return Err(failed(&format_args!("it answered with {status}")));
        }
        let heard = asked.question.hear(response.body(), now);
        heard.map_err(|problem| failed(&problem))
    }
}

/// Whom a URL is for; its path and query are nobody's business.
fn host(url: &str) -> String {
    let uri = url.parse::<http::Uri>().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned))
        .unwrap_or_default()
}

fn now() -> i64 {
    i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX)
}

/// `ssl_ocsp_cache`: answers that are kept, for the servers that name the same place.
pub struct Zone {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<Box<[u8]>, (Standing, i64)>,
    /// In the order in which they came; each once.
    order: VecDeque<Box<[u8]>>,
}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Zone")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl Zone {
    /// A place for so many answers.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            kept: Mutex::default(),
        })
    }

    /// How many answers there is room for.
    pub fn most(&self) -> usize {
        self.most
    }

    fn get(&self, id: &[u8], now: i64) -> Option<Standing> {
        let kept = self.kept.lock();
        let (standing, until) = kept.answers.get(id)?;
        (*until >= now).then_some(*standing)
    }

    fn put(&self, id: &[u8], answer: Answer, now: i64) {
        let until = answer.until.unwrap_or(now.saturating_add(USUAL_LIFE));
        if until < now {
            return;
        }
        let mut kept = self.kept.lock();
        let before = kept.answers.insert(id.into(), (answer.standing, until));
        if before.is_none() {
            kept.order.push_back(id.into());
        }
        // What came first goes first: it is asked for again if it is missed.
        while kept.answers.len() > self.most
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(standing: Standing, until: Option<i64>) -> Answer {
        Answer {
            standing,
            from: 0,
            until,
        }
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_holds_and_an_hour_if_it_does_not_say() {
        let zone = Zone::new(8);
        zone.put(b"a", answer(Standing::Good, Some(150)), 100);
        zone.put(b"b", answer(Standing::Revoked, None), 100);
        zone.put(b"c", answer(Standing::Good, Some(99)), 100);
        assert_eq!(zone.get(b"a", 150), Some(Standing::Good));
        assert_eq!(zone.get(b"a", 151), None);
        assert_eq!(zone.get(b"b", 3700), Some(Standing::Revoked));
        assert_eq!(zone.get(b"b", 3701), None);
        assert_eq!(zone.get(b"c", 99), None);
        zone.put(b"a", answer(Standing::Revoked, Some(300)), 200);
        assert_eq!(zone.get(b"a", 300), Some(Standing::Revoked));
    }

    #[test]
    fn there_are_never_more_answers_than_there_is_room_for() {
        let zone = Zone::new(3);
        for number in 0..100_u8 {
            zone.put(&[number], answer(Standing::Good, None), 0);
            zone.put(&[number], answer(Standing::Good, None), 0);
            let kept = zone.kept.lock();
            assert!(kept.answers.len() <= 3 && kept.order.len() == kept.answers.len());
        }
        assert_eq!(zone.get(&[99], 0), Some(Standing::Good));
        assert_eq!(zone.get(&[96], 0), None);
    }
}
