//! Amazon Route 53: sets of records in XML, requests signed with Signature Version 4.
//!
//! A set is changed by removing exactly the one that was read and making the new one, in one batch:
//! if somebody else changed it in between, the batch is refused and the set is read again.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use sha2::{Digest as _, Sha256};

use super::caller::{Caller, between, encoded, quoted, sensitive, unquoted};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;
use crate::unit::clock;

const VERSION: &str = "2013-04-01";
const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// The service is one for the whole world; its signatures name this region.
const REGION: &str = "us-east-1";

/// A set that changes under our hands is read again so many times.
const MOST_TRIES: u32 = 8;

/// A change is asked about so many times; it takes up to a minute.
const MOST_QUESTIONS: u32 = 120;

pub(super) struct Route53 {
    pub(super) caller: Caller,
    pub(super) keys: Keys,
}

/// What signs requests.
pub(super) struct Keys {
    pub(super) access_key: Secret,
    pub(super) secret_key: Secret,
    pub(super) session_token: Option<Secret>,
}

struct Set {
    ttl: u32,
    /// As written there, with quotes.
    values: Vec<String>,
}

impl Route53 {
    async fn ask(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Response<Bytes>, DnsError> {
        let mut tries = 0;
        loop {
            let path = format!("/{VERSION}/{path}");
            let mut request = self.caller.request(method.clone(), &path, doing)?;
            *request.body_mut() = body.clone().into();
            if !body.is_empty() {
                let kind = HeaderValue::from_static("application/xml");
                request.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            sign(
                &mut request,
                &self.keys,
                REGION,
                "route53",
                clock::unix().as_secs(),
            )?;
            let answer = self.caller.send(doing, request).await?;
            // "Not so fast" has the status 400 here.
            let text = String::from_utf8_lossy(answer.body());
            let is_put_off = matches!(
                between(&text, "<Code>", "</Code>"),
                Some("Throttling" | "PriorRequestNotComplete")
            );
            tries += 1;
            if answer.status().is_success() || !is_put_off || tries == MOST_TRIES {
                return Ok(answer);
            }
            tokio::time::sleep(self.caller.pace * tries).await;
        }
    }

    async fn text(&self, doing: &'static str, path: &str) -> Result<String, DnsError> {
        let answer = self.ask(doing, Method::GET, path, String::new()).await?;
        let answer = self.caller.checked(doing, answer)?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }

    async fn set(&self, record: &Record) -> Result<Option<Set>, DnsError> {
        let doing = "read the records";
        let path = format!(
            "hostedzone/{}/rrset?maxitems=1&name={}.&type=TXT",
            record.zone.id,
            encoded(&record.name)
        );
        let text = self.text(doing, &path).await?;
        // The list starts at this name and goes on with others.
        let Some(set) = between(&text, "<ResourceRecordSet>", "</ResourceRecordSet>") else {
            return Ok(None);
        };
        let name = between(set, "<Name>", "</Name>")
            .map(unescaped)
            .unwrap_or_default();
        let is_it = name.trim_end_matches('.') == &*record.name
            && between(set, "<Type>", "</Type>") == Some("TXT");
        if !is_it {
            return Ok(None);
        }
        let ttl = between(set, "<TTL>", "</TTL>").and_then(|ttl| ttl.parse().ok());
        let ttl = ttl.ok_or_else(|| self.caller.malformed(doing, "a set without a lifetime"))?;
        let values = all_between(set, "<Value>", "</Value>").map(unescaped);
        Ok(Some(Set {
            ttl,
            values: values.collect(),
        }))
    }

    /// Changes the values of a set, if there is something to change, and waits until all servers
    /// have them.
    async fn change(
        &self,
        doing: &'static str,
        record: &Record,
        edit: impl Fn(&mut Vec<String>) + Send + Sync,
    ) -> Result<(), DnsError> {
        let mut tries = 0;
        let answer = loop {
            let old = self.set(record).await?;
            let (ttl, mut values) = match &old {
                Some(set) => (set.ttl, set.values.clone()),
                None => (60, Vec::new()),
            };
            edit(&mut values);
            let before = old.as_ref().map(|set| &*set.values).unwrap_or_default();
            if values == before {
                return Ok(());
            }
            let mut changes = String::new();
            if let Some(set) = &old {
                changes.push_str(&one_change("DELETE", &record.name, set.ttl, &set.values));
            }
            if !values.is_empty() {
                changes.push_str(&one_change("CREATE", &record.name, ttl, &values));
            }
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
                 <ChangeResourceRecordSetsRequest xmlns=\"{NAMESPACE}\"><ChangeBatch><Changes>\
                 {changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
            );
            let path = format!("hostedzone/{}/rrset/", record.zone.id);
            let answer = self.ask(doing, Method::POST, &path, body).await?;
            tries += 1;
            // Somebody else was faster.
            let is_outdated = String::from_utf8_lossy(answer.body()).contains("InvalidChangeBatch");
            if answer.status().is_success() || !is_outdated || tries == MOST_TRIES {
                break self.caller.checked(doing, answer)?;
            }
        };
        let mut text = String::from_utf8_lossy(answer.body()).into_owned();
        for _ in 0..MOST_QUESTIONS {
            match between(&text, "<Status>", "</Status>") {
                Some("INSYNC") => return Ok(()),
                Some("PENDING") => {}
                _ => return Err(self.caller.malformed(doing, "a change without a status")),
            }
            let identifier = between(&text, "<Id>", "</Id>").map(|id| id.rsplit('/').next());
            let Some(Some(identifier)) = identifier else {
                return Err(self
                    .caller
                    .malformed(doing, "a change without an identifier"));
            };
            let path = format!("change/{identifier}");
            tokio::time::sleep(self.caller.pace).await;
            text = self.text("ask about the change", &path).await?;
        }
        Err(self.caller.malformed(doing, "the change does not end"))
    }
}

impl Service for Route53 {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "list the zones";
            for name in candidates {
                // The list starts at this name; private zones may have the same one.
                let path = format!("hostedzonesbyname?dnsname={}.&maxitems=10", encoded(name));
                let text = self.text(doing, &path).await?;
                for zone in all_between(&text, "<HostedZone>", "</HostedZone>") {
                    let found = between(zone, "<Name>", "</Name>").map(unescaped);
                    let is_it = found.is_some_and(|found| found.trim_end_matches('.') == *name)
                        && !zone.contains("<PrivateZone>true<");
                    let identifier = between(zone, "<Id>", "</Id>")
                        .and_then(|identifier| identifier.rsplit('/').next());
                    if let (true, Some(identifier)) = (is_it, identifier) {
                        return Ok(Some(Zone::new(*name, identifier)));
                    }
                }
            }
            Ok(None)
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(self.change("add the record", record, |values| {
            if !values.iter().any(|text| unquoted(text) == &*record.value) {
                values.push(quoted(&record.value));
            }
        }))
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(self.change("remove the record", record, |values| {
            values.retain(|text| unquoted(text) != &*record.value);
        }))
    }
}

fn one_change(action: &str, name: &str, ttl: u32, values: &[String]) -> String {
    let mut text = format!(
        "<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}.</Name><Type>TXT</Type>\
         <TTL>{ttl}</TTL><ResourceRecords>"
    );
    for value in values {
        let value = value
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<ResourceRecord><Value>{value}</Value></ResourceRecord>"
        );
    }
    text.push_str("</ResourceRecords></ResourceRecordSet></Change>");
    text
}

fn all_between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(start).skip(1);
    parts.filter_map(move |part| part.split_once(end).map(|(inside, _)| inside))
}

/// The five entities of XML.
fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// Signs a request as it stands (AWS Signature Version 4); `time` is in seconds since 1970.
fn sign(
    request: &mut Request<Bytes>,
    keys: &Keys,
    region: &str,
    service: &str,
    time: u64,
) -> Result<(), DnsError> {
    let (date, stamp) = stamps(time);
    if let Some(token) = &keys.session_token {
        let token = sensitive("session_token", token.expose())?;
        request.headers_mut().insert("x-amz-security-token", token);
    }
    // Digits and letters only.
    if let Ok(value) = HeaderValue::from_str(&stamp) {
        request.headers_mut().insert("x-amz-date", value);
    }
    let mut fields = vec![("host".to_owned(), authority(request.uri()))];
    for (name, value) in request.headers() {
        // What a connection may change on the way is not signed.
        if name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            let value = String::from_utf8_lossy(value.as_bytes());
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            fields.push((name.to_string(), value));
        }
    }
    fields.sort();
    let names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n", request.method(), request.uri().path());
    let mut query: Vec<&str> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .collect();
    query.sort_unstable();
    canonical.push_str(&query.join("&"));
    canonical.push('\n');
    for (name, value) in &fields {
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{names}\n{}", hex_digest(request.body()));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        hex_digest(canonical.as_bytes())
    );
    let start = format!("AWS4{}", keys.secret_key.expose());
    let mut key = keyed(start.as_bytes(), &date);
    for part in [region, service, "aws4_request"] {
        key = keyed(key.as_ref(), part);
    }
    let signature = HEXLOWER.encode(keyed(key.as_ref(), &to_sign).as_ref());
    let told = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.access_key.expose()
    );
    let told = sensitive("access_key", &told)?;
    request.headers_mut().insert(header::AUTHORIZATION, told);
    Ok(())
}

/// The host as the field `Host` will have it: without the usual port.
fn authority(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(443), Some("https")) | (Some(80), Some("http")) => host.to_owned(),
        (Some(port), _) => format!("{host}:{port}"),
    }
}

fn keyed(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex_digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// `20150830` and `20150830T123600Z`.
fn stamps(time: u64) -> (String, String) {
    let time = i64::try_from(time).ok();
    let time = time.and_then(|time| jiff::Timestamp::from_second(time).ok());
    let stamp = time
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let date = stamp.chars().take_while(|&sign| sign != 'T').collect();
    (date, stamp)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{
        Emulation, Reply, Seen, TOKEN, Zones, behaves, secret as fake_secret,
    };
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;
    use crate::conf::typed::secret::SecretSource;

    /// 2015-08-30T12:36:00Z, the time of all of AWS's examples.
    const TIME: u64 = 1_440_938_160;

    fn secret(text: &str) -> Secret {
        Secret::read(&SecretSource::Literal(text.into())).expect("text")
    }

    fn signed(mut request: Request<Bytes>, service: &str, token: Option<&str>) -> String {
        let keys = Keys {
            access_key: secret("AKIDEXAMPLE"),
            secret_key: secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(secret),
        };
        sign(&mut request, &keys, "us-east-1", service, TIME).expect("signed");
        let value = request.headers()[header::AUTHORIZATION].to_str();
        value.expect("text").to_owned()
    }

    fn get(uri: &str) -> Request<Bytes> {
        Request::get(uri).body(Bytes::new()).expect("a request")
    }

    #[test]
    fn signatures_are_those_of_the_published_examples() {
        let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1";
        // `get-vanilla` and `get-vanilla-query-order-key-case` of AWS's test suite.
        assert_eq!(
            signed(get("https://example.amazonaws.com/"), "service", None),
            format!(
                "{start}/service/aws4_request, SignedHeaders=host;x-amz-date, \
                 Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
            )
        );
        let query = "https://example.amazonaws.com/?Param2=value2&Param1=value1";
        assert_eq!(
            signed(get(query), "service", None),
            format!(
                "{start}/service/aws4_request, SignedHeaders=host;x-amz-date, \
                 Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
            )
        );
        // The example of the documentation, with a field more.
        let mut request = get("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08");
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        assert_eq!(
            signed(request, "iam", None),
            format!(
                "{start}/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
            )
        );
    }

    #[test]
    fn the_token_of_a_session_is_signed_too() {
        let told = signed(
            get("https://example.amazonaws.com/"),
            "service",
            Some("token"),
        );
        assert!(
            told.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"),
            "{told}"
        );
    }

    #[test]
    fn xml_is_read_as_far_as_needed() {
        let text = "<A><Value>&quot;a&amp;b&quot;</Value><Value>c</Value><Value>cut";
        let values: Vec<_> = all_between(text, "<Value>", "</Value>")
            .map(unescaped)
            .collect();
        assert_eq!(values, ["\"a&b\"", "c"]);
        let change = one_change("CREATE", "a.example", 60, &["\"x<y\"".to_owned()]);
        assert!(change.contains("<Value>\"x&lt;y\"</Value>"), "{change}");
    }

    /// Signatures are checked; a change is pending until it was asked about; the first batch for a
    /// name is too late, as if somebody else had been faster.
    #[derive(Default)]
    struct Emulated {
        zones: Zones,
        is_pending: bool,
        was_late: bool,
    }

    fn bad(status: u16, code: &str, message: &str) -> Reply {
        let text = format!(
            "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        );
        (status, text)
    }

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            let told = seen.field("authorization");
            let mut again = Request::builder().method(seen.method.clone());
            let mut pairs: Vec<_> = seen.query.iter().collect();
            pairs.sort();
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            again = again.uri(format!(
                "http://{}{}?{}",
                seen.field("host"),
                seen.path,
                pairs.join("&")
            ));
            if !seen.text.is_empty() {
                again = again.header("content-type", seen.field("content-type"));
            }
            let mut again = again.body(seen.text.clone().into()).expect("a request");
            let keys = Keys {
                access_key: secret("AKIDEXAMPLE"),
                secret_key: secret(TOKEN),
                session_token: None,
            };
            let stamp = seen.field("x-amz-date");
            let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).expect("a time");
            let time = time
                .to_zoned(jiff::tz::TimeZone::UTC)
                .expect("a time")
                .timestamp();
            sign(
                &mut again,
                &keys,
                REGION,
                "route53",
                time.as_second() as u64,
            )
            .expect("signed");
            if again.headers()[header::AUTHORIZATION] != told {
                let words = "The request signature we calculated does not match the signature you provided.";
                return bad(403, "SignatureDoesNotMatch", words);
            }
            let names = self.zones.names.clone();
            let zone = |id: &str| names[id[1..].parse::<usize>().expect("a number")].clone();
            match (seen.method.as_str(), &seen.parts()[1..]) {
                ("GET", ["hostedzonesbyname"]) => {
                    // The list goes on behind the name that was asked for.
                    let wanted = seen.parameter("dnsname").trim_end_matches('.');
                    let mut zones: Vec<_> = names.iter().enumerate().collect();
                    zones.sort_by_key(|(_, name)| name.as_str() != wanted);
                    let mut text = String::from("<ListHostedZonesByNameResponse><HostedZones>");
                    for (index, name) in zones {
                        for is_private in [true, false] {
                            let id = if is_private {
                                "Z99".to_owned()
                            } else {
                                format!("Z{index}")
                            };
                            text.push_str(&format!(
                                "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}.</Name><Config>\
                                 <PrivateZone>{is_private}</PrivateZone></Config></HostedZone>"
                            ));
                        }
                    }
                    (
                        200,
                        format!("{text}</HostedZones></ListHostedZonesByNameResponse>"),
                    )
                }
                ("GET", ["hostedzone", id, "rrset"]) => {
                    let zone = zone(id);
                    let wanted = seen.parameter("name").trim_end_matches('.');
                    let mut values = self
                        .zones
                        .records
                        .iter()
                        .filter(|it| it.zone == zone && it.name == wanted)
                        .peekable();
                    let mut text =
                        String::from("<ListResourceRecordSetsResponse><ResourceRecordSets>");
                    // Without such a set, the next one is listed.
                    let name = if values.peek().is_some() {
                        wanted
                    } else {
                        "zzz.example.org"
                    };
                    text.push_str(&format!(
                        "<ResourceRecordSet><Name>{name}.</Name><Type>TXT</Type><TTL>60</TTL><ResourceRecords>"
                    ));
                    for kept in values {
                        text.push_str(&format!(
                            "<ResourceRecord><Value>&quot;{}&quot;</Value></ResourceRecord>",
                            kept.value
                        ));
                    }
                    text.push_str("</ResourceRecords></ResourceRecordSet></ResourceRecordSets></ListResourceRecordSetsResponse>");
                    (200, text)
                }
                ("POST", ["hostedzone", id, "rrset", ""]) => {
                    if !std::mem::replace(&mut self.was_late, true) {
                        return bad(
                            400,
                            "InvalidChangeBatch",
                            "Tried to delete resource record set but the values do not match",
                        );
                    }
                    let zone = zone(id);
                    for change in all_between(&seen.text, "<Change>", "</Change>") {
                        let name = between(change, "<Name>", ".</Name>").expect("a name");
                        let name = name
                            .strip_suffix(&*zone)
                            .expect("in the zone")
                            .trim_end_matches('.');
                        let values = all_between(change, "<Value>", "</Value>");
                        let values: Vec<_> = values.map(|it| unquoted(it).to_owned()).collect();
                        let there = self.zones.at(&zone, name);
                        match between(change, "<Action>", "</Action>") {
                            Some("DELETE") if there == values => self.zones.set(&zone, name, &[]),
                            Some("CREATE") if there.is_empty() => {
                                self.zones.set(&zone, name, &values)
                            }
                            other => panic!("{other:?} {there:?} {values:?}"),
                        }
                    }
                    self.is_pending = true;
                    (
                        200,
                        "<ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status></ChangeInfo>"
                            .into(),
                    )
                }
                ("GET", ["change", "C1"]) => {
                    self.is_pending = false;
                    (
                        200,
                        "<ChangeInfo><Id>/change/C1</Id><Status>INSYNC</Status></ChangeInfo>"
                            .into(),
                    )
                }
                _ => bad(404, "NoSuchThing", "not there"),
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            assert!(!self.is_pending, "not waited for");
            self.zones.all()
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed() {
        let api = |url: &str, token: &str| DnsApi::Route53 {
            url: url.into(),
            access_key: fake_secret("AKIDEXAMPLE"),
            secret_key: fake_secret(token),
            session_token: None,
        };
        let refusal = "`route53` refused to list the zones (403 Forbidden): The request signature we \
                       calculated does not match";
        behaves(Emulated::default(), api, refusal).await;
    }
}
