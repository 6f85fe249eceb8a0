//! Hetzner: DNS of the Cloud, where sets of records change by actions, and the older DNS Console,
//! where single records have identifiers.

use http::{HeaderValue, Method, Request, header};
use serde::Deserialize;
use serde_json::json;

use super::caller::{Caller, MOST_PAGES, bearer, quoted, sensitive, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

/// An action is asked about so many times; it takes a second or two.
const MOST_QUESTIONS: u32 = 60;

/// The Cloud.
pub(super) struct Hetzner {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

#[derive(Deserialize)]
struct ZoneAnswer {
    zone: CloudZone,
}

#[derive(Deserialize)]
struct CloudZone {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct SetAnswer {
    rrset: Set,
}

#[derive(Deserialize)]
struct Set {
    records: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    value: String,
}

#[derive(Deserialize)]
struct ActionAnswer {
    action: Action,
}

#[derive(Deserialize)]
struct Action {
    id: u64,
    status: String,
    error: Option<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

impl Hetzner {
    fn request(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Request<bytes::Bytes>, DnsError> {
        let mut request = self.caller.request(method, path, doing)?;
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, bearer(&self.token)?);
        Ok(request)
    }

    fn path(record: &Record) -> String {
        let name = match record.relative() {
            "" => "@",
            name => name,
        };
        format!("/zones/{}/rrsets/{name}/TXT", record.zone.id)
    }

    async fn has(&self, record: &Record) -> Result<bool, DnsError> {
        let doing = "read the records";
        let request = self.request(doing, Method::GET, &Self::path(record))?;
        let found: Option<SetAnswer> = self.caller.json_if_there(doing, request).await?;
        let texts = found.map(|found| found.rrset.records).unwrap_or_default();
        Ok(texts
            .iter()
            .any(|text| unquoted(&text.value) == &*record.value))
    }

    /// Starts an action and waits until it is over.
    async fn act(
        &self,
        doing: &'static str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(), DnsError> {
        let request = with_json(self.request(doing, Method::POST, path)?, body);
        let mut answer: ActionAnswer = self.caller.json(doing, request).await?;
        for _ in 0..MOST_QUESTIONS {
            match &*answer.action.status {
                "success" => return Ok(()),
                "running" => {}
                other => {
                    let words = match &answer.action.error {
                        Some(complaint) => &complaint.message,
                        None => other,
                    };
                    return Err(DnsError::Refused {
                        provider: self.caller.provider,
                        doing,
                        status: http::StatusCode::OK,
                        words: self.caller.words(words.as_bytes()),
                    });
                }
            }
            tokio::time::sleep(self.caller.pace).await;
            let path = format!("/actions/{}", answer.action.id);
            let request = self.request(doing, Method::GET, &path)?;
            answer = self.caller.json(doing, request).await?;
        }
        Err(self.caller.malformed(doing, "the action does not end"))
    }
}

impl Service for Hetzner {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "find the zone";
            for name in candidates {
                let request = self.request(doing, Method::GET, &format!("/zones/{name}"))?;
                let found: Option<ZoneAnswer> = self.caller.json_if_there(doing, request).await?;
                if let Some(ZoneAnswer { zone }) = found {
                    return Ok(Some(Zone::new(zone.name, zone.id.to_string())));
                }
            }
            Ok(None)
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            if self.has(record).await? {
                return Ok(());
            }
            let path = format!("{}/actions/add_records", Self::path(record));
            let body = json!({"records": [{"value": quoted(&record.value)}], "ttl": 60});
            self.act("add the record", &path, &body).await
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            if !self.has(record).await? {
                return Ok(());
            }
            let path = format!("{}/actions/remove_records", Self::path(record));
            let body = json!({"records": [{"value": quoted(&record.value)}]});
            self.act("remove the record", &path, &body).await
        })
    }
}

/// The DNS Console.
pub(super) struct HetznerConsole {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

#[derive(Deserialize)]
struct ConsoleZones {
    zones: Vec<ConsoleZone>,
}

#[derive(Deserialize)]
struct ConsoleZone {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct ConsoleRecords {
    records: Vec<ConsoleRecord>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct ConsoleRecord {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct Meta {
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    last_page: u32,
}

impl HetznerConsole {
    fn request(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Request<bytes::Bytes>, DnsError> {
        let mut request = self.caller.request(method, path, doing)?;
        let token: HeaderValue = sensitive("api_token", self.token.expose())?;
        request.headers_mut().insert("auth-api-token", token);
        Ok(request)
    }

    fn name(record: &Record) -> &str {
        match record.relative() {
            "" => "@",
            name => name,
        }
    }

    async fn identifiers(&self, record: &Record) -> Result<Vec<String>, DnsError> {
        let doing = "list the records";
        let mut found = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = format!(
                "/records?zone_id={}&per_page=100&page={page}",
                record.zone.id
            );
            let request = self.request(doing, Method::GET, &path)?;
            let list: ConsoleRecords = self.caller.json(doing, request).await?;
            let ours = list.records.into_iter().filter(|it| {
                it.kind == "TXT"
                    && it.name == Self::name(record)
                    && unquoted(&it.value) == &*record.value
            });
            found.extend(ours.map(|it| it.id));
            let pages = list.meta.and_then(|meta| meta.pagination);
            if pages.is_none_or(|pages| page >= pages.last_page) {
                break;
            }
        }
        Ok(found)
    }
}

impl Service for HetznerConsole {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "list the zones";
            for name in candidates {
                let request = self.request(doing, Method::GET, &format!("/zones?name={name}"))?;
                let found: Option<ConsoleZones> = self.caller.json_if_there(doing, request).await?;
                let mut zones = found
                    .map(|found| found.zones)
                    .unwrap_or_default()
                    .into_iter();
                if let Some(zone) = zones.find(|zone| zone.name == *name) {
                    return Ok(Some(Zone::new(zone.name, zone.id)));
                }
            }
            Ok(None)
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            if !self.identifiers(record).await?.is_empty() {
                return Ok(());
            }
            let doing = "add the record";
            let body = json!({
                "zone_id": record.zone.id,
                "type": "TXT",
                "name": Self::name(record),
                "value": record.value,
                "ttl": 60,
            });
            let request = with_json(self.request(doing, Method::POST, "/records")?, &body);
            self.caller.good(doing, request).await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let doing = "remove the record";
            for identifier in self.identifiers(record).await? {
                let path = format!("/records/{identifier}");
                let request = self.request(doing, Method::DELETE, &path)?;
                self.caller.delete(doing, request).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{
        Emulation, Fake, NAME, Reply, Seen, TOKEN, Zones, behaves, below, page, provider, secret,
    };
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;

    /// An action takes effect when it was asked about once.
    #[derive(Default)]
    struct Cloud {
        zones: Zones,
        pending: Option<(bool, String, String, String)>,
        /// Actions fail with these words.
        failure: Option<&'static str>,
    }

    fn bad(status: u16, code: &str, message: &str) -> Reply {
        let body = json!({"error": {"code": code, "message": message, "details": null}});
        (status, body.to_string())
    }

    impl Emulation for Cloud {
        fn answer(&mut self, seen: &Seen) -> Reply {
            if seen.field("authorization") != format!("Bearer {TOKEN}") {
                return bad(401, "unauthorized", "unable to authenticate");
            }
            let names = self.zones.names.clone();
            let missing = bad(404, "not_found", "zone not found");
            let zone = |id: &str| {
                names
                    .get(id.parse::<usize>().ok()?.checked_sub(7)?)
                    .cloned()
            };
            match (seen.method.as_str(), &seen.parts()[..]) {
                ("GET", ["zones", name]) => match names.iter().position(|it| it == name) {
                    Some(index) => (
                        200,
                        json!({"zone": {"id": 7 + index, "name": name}}).to_string(),
                    ),
                    None => missing,
                },
                ("GET", ["zones", id, "rrsets", name, "TXT"]) => {
                    let values = self.zones.at(&zone(id).expect("a zone"), name);
                    if values.is_empty() {
                        return missing;
                    }
                    let values = values
                        .iter()
                        .map(|it| json!({"value": quoted(it), "comment": ""}));
                    let values: Vec<_> = values.collect();
                    (
                        200,
                        json!({"rrset": {"records": values, "ttl": 60}}).to_string(),
                    )
                }
                ("POST", ["zones", id, "rrsets", name, "TXT", "actions", action]) => {
                    if self.pending.is_some() {
                        return bad(423, "locked", "zone is locked");
                    }
                    let value = seen.body["records"][0]["value"].as_str().expect("a value");
                    assert!(value.starts_with('"'), "{value}");
                    self.pending = Some((
                        *action == "add_records",
                        zone(id).expect("a zone"),
                        (*name).to_owned(),
                        unquoted(value).to_owned(),
                    ));
                    (
                        201,
                        json!({"action": {"id": 3, "status": "running", "error": null}})
                            .to_string(),
                    )
                }
                ("GET", ["actions", "3"]) => {
                    let (is_added, zone, name, value) = self.pending.take().expect("one runs");
                    if let Some(words) = self.failure {
                        let error = json!({"code": "action_failed", "message": words});
                        let action = json!({"id": 3, "status": "error", "error": error});
                        return (200, json!({"action": action}).to_string());
                    }
                    let mut values = self.zones.at(&zone, &name);
                    match is_added {
                        true => values.push(value),
                        false => values.retain(|it| *it != value),
                    }
                    self.zones.set(&zone, &name, &values);
                    (
                        200,
                        json!({"action": {"id": 3, "status": "success", "error": null}})
                            .to_string(),
                    )
                }
                _ => missing,
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.zones.all()
        }
    }

    fn cloud(url: &str, token: &str) -> DnsApi {
        DnsApi::Hetzner {
            url: url.into(),
            token: secret(token),
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed_in_the_cloud() {
        let refusal = "refused to find the zone (401 Unauthorized): unable to authenticate";
        behaves(Cloud::default(), cloud, refusal).await;
    }

    #[tokio::test]
    async fn an_action_that_fails_is_told_in_its_own_words() {
        let fake = Fake::start(Cloud {
            failure: Some("the zone is broken"),
            ..Cloud::default()
        })
        .await;
        let provider = provider(cloud(&fake.url, TOKEN), None).await;
        let error = provider.present(NAME, "value").await.expect_err("it fails");
        assert!(
            error.to_string().ends_with(": the zone is broken"),
            "{error}"
        );
    }

    struct Console(Zones);

    impl Emulation for Console {
        fn answer(&mut self, seen: &Seen) -> Reply {
            if seen.field("auth-api-token") != TOKEN {
                return (
                    401,
                    json!({"message": "Invalid authentication credentials"}).to_string(),
                );
            }
            let meta = |pages: usize| json!({"pagination": {"page": 1, "last_page": pages}});
            match (seen.method.as_str(), &seen.parts()[..]) {
                ("GET", ["zones"]) => {
                    let names = self
                        .0
                        .names
                        .iter()
                        .filter(|it| *it == seen.parameter("name"));
                    let zones: Vec<_> = names
                        .map(|name| json!({"id": format!("id-of-{name}"), "name": name}))
                        .collect();
                    match zones.is_empty() {
                        true => (
                            404,
                            json!({"error": {"message": "zone not found"}}).to_string(),
                        ),
                        false => (200, json!({"zones": zones, "meta": meta(1)}).to_string()),
                    }
                }
                ("GET", ["records"]) => {
                    let zone = seen
                        .parameter("zone_id")
                        .strip_prefix("id-of-")
                        .expect("a zone");
                    let ours = self.0.records.iter().filter(|it| it.zone == zone);
                    // Records of other types stand between them.
                    let ours: Vec<_> = ours
                        .flat_map(|it| {
                            ["A", "TXT"].map(|kind| {
                                json!({
                                    "id": it.id.to_string(), "type": kind, "name": below(it),
                                    "value": it.value, "zone_id": seen.parameter("zone_id"),
                                })
                            })
                        })
                        .collect();
                    let (ours, pages) = page(&ours, seen.number("page"), 3);
                    (
                        200,
                        json!({"records": ours, "meta": meta(pages)}).to_string(),
                    )
                }
                ("POST", ["records"]) => {
                    let text = |name: &str| seen.body[name].as_str().expect("text").to_owned();
                    let zone = text("zone_id")
                        .strip_prefix("id-of-")
                        .expect("a zone")
                        .to_owned();
                    let id = self.0.add(&zone, &text("name"), &text("value"));
                    (200, json!({"record": {"id": id.to_string()}}).to_string())
                }
                ("DELETE", ["records", id]) if self.0.remove(id.parse().expect("a number")) => {
                    (200, String::new())
                }
                _ => (
                    404,
                    json!({"error": {"message": "not found", "code": 404}}).to_string(),
                ),
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0.all()
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed_in_the_console() {
        let api = |url: &str, token: &str| DnsApi::HetznerConsole {
            url: url.into(),
            token: secret(token),
        };
        let refusal = "`hetzner-console` refused to list the zones (401 Unauthorized): \
                       Invalid authentication credentials";
        behaves(Console(Zones::default()), api, refusal).await;
    }
}
