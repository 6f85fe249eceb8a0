//! How an authority is spoken to: every request goes through the bounded client of
//! [`crate::tls::fetch`], and what the library for ACME does not hand on is heard here.

use std::cell::RefCell;
use std::error::Error as _;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::tls::fetch::{FetchError, Fetcher, Limits};

tokio::task_local! {
    static HEARD: RefCell<Heard>;
}

/// What the last answer said beside its body.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Its status; 0 if there was no answer.
    pub status: u16,
    /// `Retry-After`: not to ask again before.
    pub retry_after: Option<SystemTime>,
    /// `Link` with `rel="alternate"` (RFC 8555 section 7.4.2).
    pub alternates: Vec<String>,
    /// The body of a success.
    pub body: Bytes,
}

/// Runs something that speaks to an authority, so that [`heard`] knows what was said.
pub async fn listening<T>(future: impl Future<Output = T>) -> T {
    HEARD.scope(RefCell::default(), future).await
}

/// What the last answer said; of the task that runs within [`listening`].
pub fn heard() -> Heard {
    HEARD
        .try_with(|heard| heard.borrow().clone())
        .unwrap_or_default()
}

/// Sends what the library wants sent.
pub struct Transport(pub Fetcher);

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let fetcher = self.0.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            // Who asks is the program, not the library.
            parts.headers.remove(header::USER_AGENT);
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let forget = |heard: &RefCell<Heard>| *heard.borrow_mut() = Heard::default();
            let _ = HEARD.try_with(forget);
            let request = Request::from_parts(parts, body);
            let response = fetcher.send(request, Limits::default()).await;
            let mut response = response.map_err(|error| Error::Other(error.into()))?;
            super::clock::hear(response.headers(), SystemTime::now());
            clamp(response.headers_mut(), SystemTime::now());
            let _ = HEARD.try_with(|heard| *heard.borrow_mut() = hear(&response));
            Ok(response.map(Full::new).into())
        })
    }
}

fn hear(response: &Response<Bytes>) -> Heard {
    let links = response.headers().get_all(header::LINK).iter();
    let alternates = links
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(alternate)
        .collect();
    Heard {
        status: response.status().as_u16(),
        retry_after: response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| retry_after(text, SystemTime::now())),
        alternates,
        body: match response.status().is_success() {
            true => response.body().clone(),
            false => Bytes::new(),
        },
    }
}

/// `<URL>;rel="alternate"`.
fn alternate(link: &str) -> Option<String> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_alternate = parameters.split(';').any(|parameter| {
        let value = parameter.trim().strip_prefix("rel=");
        value.is_some_and(|value| value.trim_matches('"') == "alternate")
    });
    is_alternate.then(|| address.to_owned())
}

/// Seconds, or a date (RFC 9110 section 10.2.3). At most a month: nobody means more.
fn retry_after(text: &str, now: SystemTime) -> Option<SystemTime> {
    const MOST: Duration = Duration::from_secs(31 * 86_400);
    let at = match text.trim().parse() {
        Ok(seconds) => now + Duration::from_secs(seconds).min(MOST),
        Err(_) => {
            let at = crate::http::date::parse(text.trim().as_bytes())?;
            SystemTime::UNIX_EPOCH + Duration::from_secs(at.try_into().ok()?)
        }
    };
    Some(at.min(now + MOST))
}

/// Keeps from the library what makes no sense: it adds the seconds to the time without a look.
fn clamp(headers: &mut HeaderMap, now: SystemTime) {
    let Some(value) = headers.get(header::RETRY_AFTER) else {
        return;
    };
    let at = value.to_str().ok().and_then(|text| retry_after(text, now));
    match at {
        Some(at) => {
            let rest = at.duration_since(now).unwrap_or_default();
            headers.insert(header::RETRY_AFTER, rest.as_secs().into());
        }
        None => {
            headers.remove(header::RETRY_AFTER);
        }
    }
}

/// What went wrong with an exchange, and why, in one line.
pub fn explain(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternate_chains_are_found_among_other_links() {
        let response = Response::builder()
            .header("Link", "<https://ca/dir>;rel=\"index\"")
            .header(
                "Link",
                "<https://ca/c/1>; rel=\"alternate\", <https://ca/c/2>;rel=alternate",
            )
            .header("Retry-After", "7")
            .body(Bytes::from_static(b"pem"))
            .expect("a response");
        let heard = hear(&response);
        assert_eq!(heard.alternates, ["https://ca/c/1", "https://ca/c/2"]);
        assert_eq!((heard.status, &heard.body[..]), (200, &b"pem"[..]));
        assert!(heard.retry_after > Some(SystemTime::now()));
    }

    #[test]
    fn a_pause_that_no_clock_can_tell_is_not_handed_on() {
        let clamped = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a value"));
            clamp(&mut headers, SystemTime::now());
            let value = headers.get(header::RETRY_AFTER)?;
            Some(value.to_str().expect("digits").to_owned())
        };
        let month = (31 * 86_400).to_string();
        assert_eq!(clamped("7").as_deref(), Some("7"));
        assert_eq!(clamped(&u64::MAX.to_string()), Some(month));
        assert_eq!(
            clamped("Sun, 06 Nov 1994 08:50:37 GMT").as_deref(),
            Some("0")
        );
        assert_eq!(clamped("99999999999999999999999"), None);
    }

    #[test]
    fn seconds_and_dates_say_when_to_come_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |text: &str| {
            let at = retry_after(text, now)?;
            Some(at.duration_since(now).unwrap_or_default().as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(after("99999999999"), Some(31 * 86_400));
        assert_eq!(after("Sun, 06 Nov 2094 08:50:37 GMT"), Some(31 * 86_400));
        assert_eq!(after("soon"), None);
    }
}
