//! An alert as its receiver takes it.

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderName, HeaderValue, Request, header};
use serde_json::json;

use crate::conf::typed::alerts::Format;

/// What a secret of Standard Webhooks begins with; what follows is Base64.
const MARK: &str = "whsec_";

/// The longest sentence that services for chats take, characters.
const LONGEST: usize = 1900;

/// An alert on its way to somebody.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What the receiver knows it by, however often it comes.
    pub id: &'a str,
    /// When it happened, in seconds since 1970.
    pub at: u64,
    /// Its kind.
    pub kind: &'a str,
    /// What it is about.
    pub subject: &'a str,
    /// How bad it is, in a word.
    pub severity: &'a str,
    /// A sentence.
    pub text: &'a str,
    /// The machine that tells.
    pub host: &'a str,
}

impl Message<'_> {
    /// The request that tells it; `None` if the URL is none. `now` is in seconds since 1970.
    #[must_use]
    pub fn request(
        &self,
        url: &str,
        format: Format,
        secrets: &[&str],
        now: u64,
    ) -> Option<Request<Bytes>> {
        let line = format!("{}: {} ({})", self.host, self.text, self.kind);
        let line: String = line.chars().take(LONGEST).collect();
        let mut fields: Vec<(&'static str, String)> = Vec::new();
        let (body, content_type) = match format {
            Format::Json => (self.json(), "application/json"),
            Format::Slack => {
                // Slack reads these three (its guide to escaping text).
                let line = line.replace('&', "&amp;").replace('<', "&lt;");
                let body = json!({ "text": line.replace('>', "&gt;") });
                (body.to_string(), "application/json")
            }
            Format::Discord => {
                // A name must not call everybody.
                let mentions = json!({ "parse": [] });
                let body = json!({ "content": line, "allowed_mentions": mentions });
                (body.to_string(), "application/json")
            }
            Format::Ntfy => {
                let priority = match self.severity {
                    "bad" => "high",
                    _ => "default",
                };
                fields.push(("title", self.kind.to_owned()));
                fields.push(("priority", priority.to_owned()));
                (line, "text/plain; charset=utf-8")
            }
        };
        fields.push(("webhook-id", self.id.to_owned()));
        fields.push(("webhook-timestamp", now.to_string()));
        let signed = format!("{}.{now}.{body}", self.id);
        let signatures: Vec<String> = secrets
            .iter()
            .map(|secret| format!("v1,{}", signature(secret, &signed)))
            .collect();
        if !signatures.is_empty() {
            fields.push(("webhook-signature", signatures.join(" ")));
        }
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, content_type)
            .body(Bytes::from(body))
            .ok()?;
        for (name, value) in fields {
            let value = HeaderValue::from_str(&value).ok()?;
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        Some(request)
    }

    fn json(&self) -> String {
        let at = i64::try_from(self.at).ok();
        let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
        json!({
            "type": self.kind,
            "timestamp": at.map(|at| at.to_string()),
            "data": {
                "id": self.id,
                "subject": self.subject,
                "severity": self.severity,
                "text": self.text,
                "host": self.host,
            },
        })
        .to_string()
    }
}

/// HMAC-SHA256 in Base64. A secret is the bytes behind [`MARK`], or its text.
fn signature(secret: &str, signed: &str) -> String {
    let bytes = secret
        .strip_prefix(MARK)
        .and_then(|text| BASE64.decode(text.as_bytes()).ok())
        .unwrap_or_else(|| secret.as_bytes().to_vec());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    BASE64.encode(hmac::sign(&key, signed.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message<'_> = Message {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        at: 1_614_265_330,
        kind: "budget.threshold",
        subject: "laptop",
        severity: "warn",
        text: "80 % of <5> & more @everyone",
        host: "pi",
    };

    fn value<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
        let value = request.headers().get(name).expect("a field");
        value.to_str().expect("text")
    }

    #[test]
    fn the_signature_is_that_of_the_standards_own_example() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        assert_eq!(
            signature(secret, signed),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_message_is_signed_with_each_secret_and_carries_its_id() {
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "another"];
        let request = MESSAGE
            .request(
                "https://hooks.example/x",
                Format::Json,
                &secrets,
                1_614_265_331,
            )
            .expect("a request");
        assert_eq!(value(&request, "webhook-id"), MESSAGE.id);
        assert_eq!(value(&request, "webhook-timestamp"), "1614265331");
        let signatures = value(&request, "webhook-signature");
        assert_eq!(
            signatures
                .split(' ')
                .filter(|part| part.starts_with("v1,"))
                .count(),
            2
        );
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        assert_eq!(body["type"], "budget.threshold");
        assert_eq!(body["timestamp"], "2021-02-25T15:02:10Z");
        assert_eq!(body["data"]["subject"], "laptop");
    }

    #[test]
    fn services_for_chats_get_what_they_read_and_nobody_is_called() {
        let text = |format| {
            let request = MESSAGE
                .request("http://a/", format, &[], 1)
                .expect("a request");
            String::from_utf8(request.body().to_vec()).expect("text")
        };
        assert!(text(Format::Slack).contains("80 % of &lt;5&gt; &amp; more"));
        assert!(text(Format::Discord).contains("\"allowed_mentions\":{\"parse\":[]}"));
        assert!(text(Format::Ntfy).starts_with("pi: 80 % of <5>"));
        assert_eq!(
            MESSAGE.request("no url", Format::Json, &[], 1).map(drop),
            None
        );
    }
}
