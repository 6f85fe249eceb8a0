//! OVHcloud: single records, requests signed with three keys, and a zone that takes changes into
//! service when it is told to.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use tokio::sync::OnceCell;

use super::caller::{Caller, sensitive, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;
use crate::unit::clock;

pub(super) struct Ovh {
    pub(super) caller: Caller,
    pub(super) application_key: Secret,
    pub(super) application_secret: Secret,
    pub(super) consumer_key: Secret,
    /// How far the provider's clock is ahead of ours, in seconds.
    pub(super) ahead: OnceCell<i64>,
}

#[derive(Deserialize)]
struct Text {
    target: String,
}

impl Ovh {
    /// A request with its signature.
    async fn request(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Bytes>, DnsError> {
        let mut request = self.caller.request(method, path, doing)?;
        if let Some(body) = body {
            request = with_json(request, body);
        }
        let ahead = self.ahead.get_or_try_init(async || {
            let doing = "ask for the time";
            let request = self.caller.request(Method::GET, "/auth/time", doing)?;
            let theirs: i64 = self.caller.json(doing, request).await?;
            Ok(theirs.saturating_sub(now()))
        });
        let time = now().saturating_add(*ahead.await?);
        let signature = signature(
            self.application_secret.expose(),
            self.consumer_key.expose(),
            request.method(),
            &request.uri().to_string(),
            &String::from_utf8_lossy(request.body()),
            time,
        );
        let fields = request.headers_mut();
        for (name, parameter, value) in [
            (
                "x-ovh-application",
                "application_key",
                self.application_key.expose(),
            ),
            ("x-ovh-consumer", "consumer_key", self.consumer_key.expose()),
            ("x-ovh-signature", "application_secret", &signature),
        ] {
            fields.insert(name, sensitive(parameter, value)?);
        }
        fields.insert("x-ovh-timestamp", HeaderValue::from(time));
        Ok(request)
    }

    async fn identifiers(&self, record: &Record) -> Result<Vec<u64>, DnsError> {
        let doing = "list the records";
        let zone = &record.zone.id;
        let path = format!(
            "/domain/zone/{zone}/record?fieldType=TXT&subDomain={}",
            record.relative()
        );
        let request = self.request(doing, Method::GET, &path, None).await?;
        let all: Vec<u64> = self.caller.json(doing, request).await?;
        let mut found = Vec::new();
        for identifier in all {
            let path = format!("/domain/zone/{zone}/record/{identifier}");
            let request = self.request(doing, Method::GET, &path, None).await?;
            let text: Option<Text> = self.caller.json_if_there(doing, request).await?;
            if text.is_some_and(|text| unquoted(&text.target) == &*record.value) {
                found.push(identifier);
            }
        }
        Ok(found)
    }

    async fn refresh(&self, doing: &'static str, record: &Record) -> Result<(), DnsError> {
        let path = format!("/domain/zone/{}/refresh", record.zone.id);
        let request = self.request(doing, Method::POST, &path, None).await?;
        self.caller.good(doing, request).await?;
        Ok(())
    }
}

fn now() -> i64 {
    i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX)
}

/// `$1$` and the digest of everything that the request says.
fn signature(
    application_secret: &str,
    consumer_key: &str,
    method: &Method,
    address: &str,
    body: &str,
    time: i64,
) -> String {
    let text = format!("{application_secret}+{consumer_key}+{method}+{address}+{body}+{time}");
    let digest = Sha1::digest(text.as_bytes());
    format!("$1${}", data_encoding::HEXLOWER.encode(&digest))
}

impl Service for Ovh {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "find the zone";
            let mut forbidden = None;
            let mut is_forbidden_always = true;
            for name in candidates {
                let path = format!("/domain/zone/{name}");
                let request = self.request(doing, Method::GET, &path, None).await?;
                let answer = self.caller.send(doing, request).await?;
                match answer.status() {
                    StatusCode::NOT_FOUND => is_forbidden_always = false,
                    // Keys may be good for one zone only, and then others are forbidden. Keys that are
                    // good for nothing say so with the same status.
                    StatusCode::FORBIDDEN if is_not_granted(answer.body()) => {
                        forbidden = Some(self.caller.refused(doing, &answer));
                    }
                    _ => {
                        self.caller.checked(doing, answer)?;
                        return Ok(Some(Zone::new(*name, *name)));
                    }
                }
            }
            match forbidden {
                Some(error) if is_forbidden_always => Err(error),
                _ => Ok(None),
            }
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            if !self.identifiers(record).await?.is_empty() {
                return Ok(());
            }
            let doing = "add the record";
            let path = format!("/domain/zone/{}/record", record.zone.id);
            let body = json!({
                "fieldType": "TXT",
                "subDomain": record.relative(),
                "target": record.value,
                "ttl": 60,
            });
            let request = self
                .request(doing, Method::POST, &path, Some(&body))
                .await?;
            self.caller.good(doing, request).await?;
            self.refresh(doing, record).await
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let doing = "remove the record";
            let identifiers = self.identifiers(record).await?;
            for identifier in &identifiers {
                let path = format!("/domain/zone/{}/record/{identifier}", record.zone.id);
                let request = self.request(doing, Method::DELETE, &path, None).await?;
                self.caller.delete(doing, request).await?;
            }
            match identifiers.is_empty() {
                true => Ok(()),
                false => self.refresh(doing, record).await,
            }
        })
    }
}

fn is_not_granted(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("NOT_GRANTED_CALL")
}

#[cfg(test)]
mod tests {
    use super::super::fake::{
        Emulation, Fake, NAME, Reply, Seen, TOKEN, Zones, behaves, below, provider, secret,
    };
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;

    /// Its clock is an hour ahead of ours. Changes are in service after a refresh only.
    #[derive(Default)]
    struct Emulated {
        zones: Zones,
        /// Removed or added and not in service.
        waiting: Vec<String>,
        /// The keys are good for nothing.
        is_locked: bool,
    }

    const AHEAD: i64 = 3600;

    fn bad(status: u16, class: &str, message: &str) -> Reply {
        let body = json!({"class": class, "errorCode": class, "message": message});
        (status, body.to_string())
    }

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            if seen.path == "/auth/time" {
                return (200, (now() + AHEAD).to_string());
            }
            let host = seen.field("host");
            let mut address = format!("http://{host}{}", seen.path);
            if let ("GET", ["domain", "zone", _, "record"]) =
                (seen.method.as_str(), &seen.parts()[..])
            {
                let name = seen.parameter("subDomain");
                address.push_str(&format!("?fieldType=TXT&subDomain={name}"));
            }
            let time: i64 = seen.field("x-ovh-timestamp").parse().expect("a time");
            assert!((time - now() - AHEAD).abs() < 60, "{time}");
            let expected = signature(
                "app-secret",
                TOKEN,
                &seen.method,
                &address,
                &seen.text,
                time,
            );
            if seen.field("x-ovh-consumer") != TOKEN || seen.field("x-ovh-application") != "app-key"
            {
                return bad(403, "INVALID_CREDENTIAL", "This credential does not exist");
            }
            if seen.field("x-ovh-signature") != expected {
                return bad(400, "INVALID_SIGNATURE", "Invalid signature");
            }
            if self.is_locked {
                return bad(403, "NOT_GRANTED_CALL", "This call has not been granted");
            }
            let missing = bad(404, "Client::NotFound", "This service does not exist");
            match (seen.method.as_str(), &seen.parts()[..]) {
                // Keys that are good for a zone are not for its relatives.
                ("GET", ["domain", "zone", name]) if name.starts_with("_acme-challenge.") => {
                    bad(403, "NOT_GRANTED_CALL", "This call has not been granted")
                }
                ("GET", ["domain", "zone", name])
                    if self.zones.names.iter().any(|it| it == name) =>
                {
                    (200, json!({"name": name}).to_string())
                }
                ("GET", ["domain", "zone", zone, "record"]) => {
                    let wanted = match seen.parameter("subDomain") {
                        "" => "@",
                        name => name,
                    };
                    let ours = self.zones.records.iter();
                    let ours = ours.filter(|it| it.zone == *zone && below(it) == wanted);
                    let ours: Vec<_> = ours.map(|it| it.id).collect();
                    (200, json!(ours).to_string())
                }
                ("GET", ["domain", "zone", _, "record", id]) => {
                    let ours = self
                        .zones
                        .records
                        .iter()
                        .find(|it| it.id.to_string() == **id);
                    match ours {
                        Some(it) => (
                            200,
                            json!({"id": it.id, "target": quoted(&it.value)}).to_string(),
                        ),
                        None => missing,
                    }
                }
                ("POST", ["domain", "zone", zone, "record"]) => {
                    let text = |name: &str| seen.body[name].as_str().expect("text").to_owned();
                    assert_eq!(text("fieldType"), "TXT");
                    let id = self.zones.add(zone, &text("subDomain"), &text("target"));
                    self.waiting.push((*zone).to_owned());
                    (200, json!({"id": id}).to_string())
                }
                ("DELETE", ["domain", "zone", zone, "record", id])
                    if self.zones.remove(id.parse().expect("a number")) =>
                {
                    self.waiting.push((*zone).to_owned());
                    (200, "null".to_owned())
                }
                ("POST", ["domain", "zone", zone, "refresh"]) => {
                    self.waiting.retain(|it| it != zone);
                    (200, "null".to_owned())
                }
                _ => missing,
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            assert!(self.waiting.is_empty(), "not in service");
            self.zones.all()
        }
    }

    fn quoted(value: &str) -> String {
        format!("\"{value}\"")
    }

    fn api(url: &str, token: &str) -> DnsApi {
        DnsApi::Ovh {
            url: url.into(),
            application_key: secret("app-key"),
            application_secret: secret("app-secret"),
            consumer_key: secret(token),
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed() {
        let refusal =
            "`ovh` refused to find the zone (403 Forbidden): This credential does not exist";
        behaves(Emulated::default(), api, refusal).await;
    }

    #[tokio::test]
    async fn keys_without_any_right_are_told_from_a_missing_zone() {
        let fake = Fake::start(Emulated {
            is_locked: true,
            ..Emulated::default()
        })
        .await;
        let provider = provider(api(&fake.url, TOKEN), None).await;
        let error = provider
            .present(NAME, "value")
            .await
            .expect_err("no rights");
        assert!(
            error
                .to_string()
                .ends_with("This call has not been granted"),
            "{error}"
        );
    }

    #[test]
    fn a_signature_is_the_digest_of_secret_consumer_method_address_body_and_time() {
        // `printf %s 'SECRET+CONSUMER+GET+https://eu.api.ovh.com/1.0/domain++1457018875' | sha1sum`
        let told = signature(
            "SECRET",
            "CONSUMER",
            &Method::GET,
            "https://eu.api.ovh.com/1.0/domain",
            "",
            1_457_018_875,
        );
        assert_eq!(told, "$1$b15d59122f6b4443b1f42dacfb47f53331cd9ec6");
    }
}
