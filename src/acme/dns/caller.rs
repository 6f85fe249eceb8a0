//! Asking an HTTP interface: the loop around requests that all providers share.
//!
//! Owns waiting when a provider says "not so fast", finding its own words in whatever it answers, and
//! keeping secrets out of them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::DnsError;
use crate::acme::secret::Secret;
use crate::tls::fetch::{Fetcher, Limits};
use crate::unit::printable;

/// A request that a provider puts off is sent so many times in all.
const TRIES: u32 = 5;

/// No longer wait between two of them, whatever the provider says.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The most characters of a provider's own words.
const MOST_WORDS: usize = 500;

/// The most pages of a list that are read.
pub(super) const MOST_PAGES: u32 = 50;

/// An interface of a provider and what is needed to ask it.
pub(super) struct Caller {
    pub(super) provider: &'static str,
    /// Where paths start, without a `/` at the end.
    pub(super) url: Box<str>,
    pub(super) fetcher: Fetcher,
    /// What must not stand in any message.
    pub(super) secrets: Vec<Secret>,
    /// The shortest pause between two questions about the same thing.
    pub(super) pace: Duration,
}

impl Caller {
    /// A request for JSON; `path` starts with `/` and may have a query.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        doing: &'static str,
    ) -> Result<Request<Bytes>, DnsError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new());
        // Only what the provider itself named can be no part of an address.
        request.map_err(|_| self.malformed(doing, "an identifier that fits no address"))
    }

    /// Sends a request until the provider takes it, and gives what it answers, good or bad.
    pub(super) async fn send(
        &self,
        doing: &'static str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, DnsError> {
        let mut tries = 1;
        loop {
            let answer = self.fetcher.send(request.clone(), Limits::default()).await;
            let answer = answer.map_err(|source| DnsError::Fetch { doing, source })?;
            // 423 is the Hetzner Cloud's word for a zone in which another change is under way.
            let is_put_off = matches!(answer.status().as_u16(), 423 | 429 | 502 | 503 | 504);
            if !is_put_off || tries == TRIES {
                return Ok(answer);
            }
            let said = answer
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            let pause = said.unwrap_or_else(|| self.pace * 2_u32.pow(tries));
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            tries += 1;
        }
    }

    /// As [`Caller::send`], with JSON out of a good answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        request: Request<Bytes>,
    ) -> Result<T, DnsError> {
        let answer = self.good(doing, request).await?;
        self.decode(doing, answer.body())
    }

    /// As [`Caller::json`]; nothing when there is no such thing (404).
    pub(super) async fn json_if_there<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        request: Request<Bytes>,
    ) -> Result<Option<T>, DnsError> {
        let answer = self.send(doing, request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = self.checked(doing, answer)?;
        self.decode(doing, answer.body()).map(Some)
    }

    /// As [`Caller::send`], and the answer must be a good one.
    pub(super) async fn good(
        &self,
        doing: &'static str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, DnsError> {
        let answer = self.send(doing, request).await?;
        self.checked(doing, answer)
    }

    /// Removes what the request names; it is fine if it is gone already.
    pub(super) async fn delete(
        &self,
        doing: &'static str,
        request: Request<Bytes>,
    ) -> Result<(), DnsError> {
        let answer = self.send(doing, request).await?;
        if answer.status() != StatusCode::NOT_FOUND {
            self.checked(doing, answer)?;
        }
        Ok(())
    }

    pub(super) fn checked(
        &self,
        doing: &'static str,
        answer: Response<Bytes>,
    ) -> Result<Response<Bytes>, DnsError> {
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(self.refused(doing, &answer)),
        }
    }

    pub(super) fn decode<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        body: &[u8],
    ) -> Result<T, DnsError> {
        serde_json::from_slice(body).map_err(|error| self.malformed(doing, &error.to_string()))
    }

    pub(super) fn refused(&self, doing: &'static str, answer: &Response<Bytes>) -> DnsError {
        DnsError::Refused {
            provider: self.provider,
            doing,
            status: answer.status(),
            words: self.words(answer.body()),
        }
    }

    pub(super) fn malformed(&self, doing: &'static str, problem: &str) -> DnsError {
        DnsError::Malformed {
            provider: self.provider,
            doing,
            problem: self.words(problem.as_bytes()),
        }
    }

    /// What an answer says to a person: one line without secrets.
    pub(super) fn words(&self, body: &[u8]) -> Box<str> {
        let text = String::from_utf8_lossy(body);
        let mut words = match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                let mut found = Vec::new();
                collect(&value, false, &mut found);
                match found.is_empty() {
                    true => text.into_owned(),
                    false => found.join("; "),
                }
            }
            Err(_) => match between(&text, "<Message>", "</Message>") {
                Some(message) => message.to_owned(),
                None => text.into_owned(),
            },
        };
        for secret in &self.secrets {
            words = secret.mask(&words);
        }
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let words: String = words.chars().take(MOST_WORDS).collect();
        printable::escape(&words).into()
    }
}

/// A value for a field of a request that must not be shown.
pub(super) fn sensitive(parameter: &'static str, text: &str) -> Result<HeaderValue, DnsError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| DnsError::Unusable {
        parameter,
        wanted: "one line of ASCII",
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Bearer TOKEN`.
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, DnsError> {
    sensitive("api_token", &format!("Bearer {}", token.expose()))
}

/// A request with a JSON body.
pub(super) fn with_json(mut request: Request<Bytes>, body: &Value) -> Request<Bytes> {
    let fields = request.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    *request.body_mut() = body.to_string().into();
    request
}

/// The text of a TXT record as some interfaces write it, in quotes.
pub(super) fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

/// The same without them.
pub(super) fn unquoted(text: &str) -> &str {
    let inside = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inside.unwrap_or(text)
}

/// A text as a part of a query (RFC 3986 section 2.3: what needs no escape).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What stands between two marks.
pub(super) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

/// Texts in places where interfaces put what they want to say: `{"message": …}`,
/// `{"errors": [{"message": …}]}`, `{"error": {"message": …}}`, `{"detail": …}`, and the lists of
/// complaints about fields that deSEC sends.
fn collect(value: &Value, is_said: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if is_said && !text.is_empty() => found.push(text.clone()),
        Value::Array(values) => {
            for value in values {
                collect(value, is_said, found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_said = matches!(
                    &**name,
                    "message" | "detail" | "error" | "error_description" | "non_field_errors"
                ) || (is_said && name != "code")
                    // `{"records": ["…"]}`: a field of the request and what is wrong with it.
                    || value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
                collect(value, is_said, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::typed::secret::SecretSource;
    use crate::tls::fetch::Trust;

    fn words(body: &str) -> String {
        let secret = SecretSource::Literal("s3cr3t-token".into());
        let caller = Caller {
            provider: "test",
            url: "http://127.0.0.1".into(),
            fetcher: Fetcher::new(Trust::Anything).expect("a fetcher"),
            secrets: vec![Secret::read(&secret).expect("text")],
            pace: Duration::ZERO,
        };
        caller.words(body.as_bytes()).into()
    }

    #[test]
    fn the_words_of_a_provider_are_found_wherever_it_puts_them() {
        for (body, expected) in [
            (r#"{"message":"No such zone"}"#, "No such zone"),
            (
                r#"{"success":false,"errors":[{"code":9109,"message":"Invalid access token"}]}"#,
                "Invalid access token",
            ),
            (
                r#"{"error":{"code":"unauthorized","message":"unable to authenticate"}}"#,
                "unable to authenticate",
            ),
            (r#"{"detail":"Invalid token."}"#, "Invalid token."),
            (
                r#"[{"records":["Cannot parse","Too long"]}]"#,
                "Cannot parse; Too long",
            ),
            (r#"{"status":"odd"}"#, r#"{"status":"odd"}"#),
            (
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not\nyours</Message>",
                "not yours",
            ),
            ("<html>\u{1b}[31mBad\tgateway", "<html>^[[31mBad gateway"),
            ("", ""),
        ] {
            assert_eq!(words(body), expected, "{body}");
        }
    }

    #[test]
    fn the_words_of_a_provider_are_bounded_and_without_secrets() {
        let said = words(r#"{"message":"token s3cr3t-token is unknown"}"#);
        assert_eq!(said, "token *** is unknown");
        assert_eq!(words(&"ä".repeat(10_000)).chars().count(), MOST_WORDS);
    }
}
