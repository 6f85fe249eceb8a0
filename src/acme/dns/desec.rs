//! deSEC: sets of records, written whole.

use http::{HeaderValue, Method, Request, header};
use serde::Deserialize;
use serde_json::json;

use super::caller::{Caller, quoted, sensitive, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

/// The least that deSEC takes unless it was asked for less.
const TTL: u32 = 3600;

pub(super) struct Desec {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
}

#[derive(Deserialize)]
struct Set {
    records: Vec<String>,
    ttl: u32,
}

impl Desec {
    fn request(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Request<bytes::Bytes>, DnsError> {
        let mut request = self.caller.request(method, path, doing)?;
        let value: HeaderValue = sensitive("api_token", &format!("Token {}", self.token.expose()))?;
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Ok(request)
    }

    async fn set(&self, record: &Record) -> Result<Option<Set>, DnsError> {
        let doing = "read the records";
        let name = match record.relative() {
            "" => "@",
            name => name,
        };
        let path = format!("/domains/{}/rrsets/{name}/TXT/", record.zone.id);
        let request = self.request(doing, Method::GET, &path)?;
        self.caller.json_if_there(doing, request).await
    }

    /// Replaces the set; an empty one is removed.
    async fn write(
        &self,
        doing: &'static str,
        record: &Record,
        ttl: u32,
        values: Vec<String>,
    ) -> Result<(), DnsError> {
        let path = format!("/domains/{}/rrsets/", record.zone.id);
        let body = json!([{
            "subname": record.relative(),
            "type": "TXT",
            "ttl": ttl,
            "records": values,
        }]);
        let request = self.request(doing, Method::PUT, &path)?;
        self.caller.good(doing, with_json(request, &body)).await?;
        Ok(())
    }
}

impl Service for Desec {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "list the zones";
            let Some(longest) = candidates.first() else {
                return Ok(None);
            };
            // The interface itself finds the zone that holds a name.
            let path = format!("/domains/?owns_qname={longest}");
            let request = self.request(doing, Method::GET, &path)?;
            let domains: Vec<Domain> = self.caller.json(doing, request).await?;
            let mut names = domains.into_iter().map(|domain| domain.name);
            let found = names.find(|name| candidates.contains(&name.as_str()));
            Ok(found.map(|name| Zone::new(name.clone(), name)))
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let set = self.set(record).await?;
            let (ttl, mut values) = set.map_or((TTL, Vec::new()), |set| (set.ttl, set.records));
            if values.iter().any(|text| unquoted(text) == &*record.value) {
                return Ok(());
            }
            values.push(quoted(&record.value));
            self.write("add the record", record, ttl, values).await
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let Some(set) = self.set(record).await? else {
                return Ok(());
            };
            let mut values = set.records;
            let before = values.len();
            values.retain(|text| unquoted(text) != &*record.value);
            match values.len() == before {
                true => Ok(()),
                false => {
                    self.write("remove the record", record, set.ttl, values)
                        .await
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Emulation, Reply, Seen, TOKEN, Zones, behaves, secret};
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;

    struct Emulated(Zones);

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            if seen.field("authorization") != format!("Token {TOKEN}") {
                return (401, json!({"detail": "Invalid token."}).to_string());
            }
            let missing = (404, json!({"detail": "Not found."}).to_string());
            match (seen.method.as_str(), &seen.parts()[..]) {
                ("GET", ["domains", ""]) => {
                    let name = seen.parameter("owns_qname");
                    let zones = self.0.names.iter();
                    let zones = zones.filter(|zone| super::super::is_in(name, zone));
                    let best = zones.max_by_key(|zone| zone.len());
                    let best: Vec<_> = best.iter().map(|zone| json!({"name": zone})).collect();
                    (200, json!(best).to_string())
                }
                ("GET", ["domains", zone, "rrsets", name, "TXT", ""]) => {
                    let values = self.0.at(zone, name);
                    if values.is_empty() {
                        return missing;
                    }
                    let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
                    (
                        200,
                        json!({"records": values, "ttl": 7200, "type": "TXT"}).to_string(),
                    )
                }
                ("PUT", ["domains", zone, "rrsets", ""]) => {
                    let [set] = &seen.body.as_array().expect("a list")[..] else {
                        panic!("{}", seen.text);
                    };
                    if set["ttl"].as_u64() < Some(3600) {
                        return (
                            400,
                            json!([{"ttl": ["Ensure this value is greater."]}]).to_string(),
                        );
                    }
                    let values = set["records"].as_array().expect("a list").iter();
                    let values: Vec<_> = values.map(|it| it.as_str().expect("text")).collect();
                    if values.iter().any(|value| !value.starts_with('"')) {
                        return (400, json!([{"records": ["No quotes."]}]).to_string());
                    }
                    let values: Vec<_> = values.iter().map(|it| unquoted(it).to_owned()).collect();
                    self.0
                        .set(zone, set["subname"].as_str().expect("a name"), &values);
                    (200, seen.text.clone())
                }
                _ => missing,
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0.all()
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed() {
        let api = |url: &str, token: &str| DnsApi::Desec {
            url: url.into(),
            token: secret(token),
        };
        let refusal = "`desec` refused to list the zones (401 Unauthorized): Invalid token.";
        behaves(Emulated(Zones::default()), api, refusal).await;
    }
}
