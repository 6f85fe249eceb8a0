//! Porkbun: single records; keys travel in the body of each request.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::{Caller, MOST_PAGES, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

/// Zones in a page of the list.
const PAGE: usize = 1000;

pub(super) struct Porkbun {
    pub(super) caller: Caller,
    pub(super) key: Secret,
    pub(super) secret: Secret,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    domains: Vec<Domain>,
    #[serde(default)]
    records: Vec<Text>,
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
}

#[derive(Deserialize)]
struct Text {
    id: Value,
    content: String,
}

impl Porkbun {
    async fn ask(
        &self,
        doing: &'static str,
        path: &str,
        mut body: Value,
    ) -> Result<Answer, DnsError> {
        body["apikey"] = self.key.expose().into();
        body["secretapikey"] = self.secret.expose().into();
        let request = self.caller.request(Method::POST, path, doing)?;
        let answer = self.caller.good(doing, with_json(request, &body)).await?;
        let decoded: Answer = self.caller.decode(doing, answer.body())?;
        match decoded.status == "SUCCESS" {
            true => Ok(decoded),
            false => Err(self.caller.refused(doing, &answer)),
        }
    }

    async fn identifiers(&self, record: &Record) -> Result<Vec<String>, DnsError> {
        let doing = "list the records";
        let zone = &record.zone.id;
        let path = match record.relative() {
            "" => format!("/dns/retrieveByNameType/{zone}/TXT"),
            name => format!("/dns/retrieveByNameType/{zone}/TXT/{name}"),
        };
        let list = self.ask(doing, &path, json!({})).await?;
        let ours = list.records.into_iter();
        let ours = ours.filter(|text| unquoted(&text.content) == &*record.value);
        // Written as text today, as a number elsewhere in the same interface.
        let identifiers = ours.map(|text| match text.id {
            Value::String(identifier) => identifier,
            other => other.to_string(),
        });
        Ok(identifiers.collect())
    }
}

impl Service for Porkbun {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let mut best: Option<usize> = None;
            for page in 0..MOST_PAGES as usize {
                let body = json!({"start": (page * PAGE).to_string()});
                let list = self.ask("list the zones", "/domain/listAll", body).await?;
                for found in &list.domains {
                    let position = candidates.iter().position(|name| *name == found.domain);
                    // The candidates stand in order, the longest first.
                    best = [best, position].into_iter().flatten().min();
                }
                if list.domains.len() < PAGE {
                    break;
                }
            }
            Ok(best.map(|position| Zone::new(candidates[position], candidates[position])))
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            if !self.identifiers(record).await?.is_empty() {
                return Ok(());
            }
            let path = format!("/dns/create/{}", record.zone.id);
            let body = json!({
                "name": record.relative(),
                "type": "TXT",
                "content": record.value,
                "ttl": "600",
            });
            self.ask("add the record", &path, body).await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            for identifier in self.identifiers(record).await? {
                let path = format!("/dns/delete/{}/{identifier}", record.zone.id);
                match self.ask("remove the record", &path, json!({})).await {
                    // Whoever removed it before us did what we want. The interface has no word of its
                    // own for that; if it is still there, the next list shows it.
                    Err(DnsError::Refused { status, .. })
                        if status == StatusCode::BAD_REQUEST
                            && !self.identifiers(record).await?.contains(&identifier) => {}
                    other => {
                        other?;
                    }
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Emulation, Reply, Seen, TOKEN, Zones, behaves, below, secret};
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;

    struct Emulated(Zones);

    fn bad(message: &str) -> Reply {
        (
            400,
            json!({"status": "ERROR", "message": message}).to_string(),
        )
    }

    fn fine(mut body: Value) -> Reply {
        body["status"] = "SUCCESS".into();
        (200, body.to_string())
    }

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            assert_eq!(seen.method, Method::POST);
            if seen.body["apikey"] != "pk1_key" || seen.body["secretapikey"] != TOKEN {
                return bad("Invalid API key. (001)");
            }
            match &seen.parts()[..] {
                ["domain", "listAll"] => {
                    let start: usize = seen.body["start"]
                        .as_str()
                        .expect("text")
                        .parse()
                        .expect("a number");
                    let names = self.0.names.iter().skip(start).take(PAGE);
                    let names: Vec<_> = names.map(|name| json!({"domain": name})).collect();
                    fine(json!({"domains": names}))
                }
                ["dns", "retrieveByNameType", zone, "TXT", rest @ ..] => {
                    let wanted = rest.first().copied().unwrap_or("@");
                    let ours = self.0.records.iter();
                    let ours = ours.filter(|it| it.zone == *zone && below(it) == wanted);
                    let ours: Vec<_> = ours
                        .map(|it| json!({"id": it.id.to_string(), "name": it.name, "content": it.value}))
                        .collect();
                    fine(json!({"records": ours}))
                }
                ["dns", "create", zone] => {
                    let text = |name: &str| seen.body[name].as_str().expect("text").to_owned();
                    assert_eq!(text("type"), "TXT");
                    let id = self.0.add(zone, &text("name"), &text("content"));
                    fine(json!({"id": id}))
                }
                ["dns", "delete", _, id] => match self.0.remove(id.parse().expect("a number")) {
                    true => fine(json!({})),
                    false => bad("Invalid record ID."),
                },
                _ => bad("Invalid command."),
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0.all()
        }
    }

    fn api(url: &str, token: &str) -> DnsApi {
        DnsApi::Porkbun {
            url: url.into(),
            key: secret("pk1_key"),
            secret: secret(token),
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed() {
        let refusal =
            "`porkbun` refused to list the zones (400 Bad Request): Invalid API key. (001)";
        let mut zones = Zones::default();
        // A page is full of others.
        let others = (0..PAGE).map(|number| format!("zone-{number}.example"));
        let others: Vec<_> = others.collect();
        zones.names.splice(0..0, others);
        behaves(Emulated(zones), api, refusal).await;
    }
}
