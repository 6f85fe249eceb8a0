//! Gandi LiveDNS: sets of records, written whole.

use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::caller::{Caller, MOST_PAGES, bearer, quoted, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

/// The least that Gandi takes.
const TTL: u32 = 300;

/// Zones in a page of the list.
const PAGE: usize = 100;

pub(super) struct Gandi {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

#[derive(Deserialize)]
struct Domain {
    fqdn: String,
}

#[derive(Deserialize)]
struct Set {
    rrset_values: Vec<String>,
    rrset_ttl: u32,
}

impl Gandi {
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
        format!("/domains/{}/records/{name}/TXT", record.zone.id)
    }

    async fn set(&self, record: &Record) -> Result<Option<Set>, DnsError> {
        let doing = "read the records";
        let request = self.request(doing, Method::GET, &Self::path(record))?;
        self.caller.json_if_there(doing, request).await
    }

    async fn write(&self, doing: &'static str, record: &Record, set: &Set) -> Result<(), DnsError> {
        let path = Self::path(record);
        if set.rrset_values.is_empty() {
            let request = self.request(doing, Method::DELETE, &path)?;
            return self.caller.delete(doing, request).await;
        }
        let body = json!({"rrset_values": set.rrset_values, "rrset_ttl": set.rrset_ttl});
        let request = with_json(self.request(doing, Method::PUT, &path)?, &body);
        self.caller.good(doing, request).await?;
        Ok(())
    }
}

impl Service for Gandi {
    /// From the list of all zones: about one that a token may not see, Gandi answers now 403, now 404.
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "list the zones";
            let mut best: Option<usize> = None;
            for page in 1..=MOST_PAGES {
                let path = format!("/domains?per_page={PAGE}&page={page}");
                let request = self.request(doing, Method::GET, &path)?;
                let answer = self.caller.send(doing, request).await?;
                if page > 1 && answer.status() == StatusCode::NOT_FOUND {
                    break;
                }
                let answer = self.caller.checked(doing, answer)?;
                let domains: Vec<Domain> = self.caller.decode(doing, answer.body())?;
                for domain in &domains {
                    let position = candidates.iter().position(|name| *name == domain.fqdn);
                    // The candidates stand in order, the longest first.
                    best = [best, position].into_iter().flatten().min();
                }
                if domains.len() < PAGE {
                    break;
                }
            }
            Ok(best.map(|position| Zone::new(candidates[position], candidates[position])))
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let set = self.set(record).await?;
            let mut set = set.unwrap_or(Set {
                rrset_values: Vec::new(),
                rrset_ttl: TTL,
            });
            let mut texts = set.rrset_values.iter();
            if texts.any(|text| unquoted(text) == &*record.value) {
                return Ok(());
            }
            set.rrset_values.push(quoted(&record.value));
            self.write("add the record", record, &set).await
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let Some(mut set) = self.set(record).await? else {
                return Ok(());
            };
            let before = set.rrset_values.len();
            set.rrset_values
                .retain(|text| unquoted(text) != &*record.value);
            match set.rrset_values.len() == before {
                true => Ok(()),
                false => self.write("remove the record", record, &set).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Emulation, Reply, Seen, TOKEN, Zones, behaves, page, secret};
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;

    struct Emulated(Zones);

    fn bad(status: u16, message: &str) -> Reply {
        let body = json!({"code": status, "message": message, "object": "HTTPError"});
        (status, body.to_string())
    }

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            if seen.field("authorization") != format!("Bearer {TOKEN}") {
                return bad(403, "Access was denied to this resource.");
            }
            match (seen.method.as_str(), &seen.parts()[..]) {
                ("GET", ["domains"]) => {
                    let (names, _) =
                        page(&self.0.names, seen.number("page"), seen.number("per_page"));
                    let names: Vec<_> = names.iter().map(|name| json!({"fqdn": name})).collect();
                    (200, json!(names).to_string())
                }
                ("GET", ["domains", zone, "records", name, "TXT"]) => {
                    let values = self.0.at(zone, name);
                    if values.is_empty() {
                        return bad(404, "Can't find the DNS record");
                    }
                    let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
                    (
                        200,
                        json!({"rrset_values": values, "rrset_ttl": 300}).to_string(),
                    )
                }
                ("PUT", ["domains", zone, "records", name, "TXT"]) => {
                    let values = seen.body["rrset_values"].as_array().expect("a list").iter();
                    let values = values.map(|it| unquoted(it.as_str().expect("text")).to_owned());
                    let values: Vec<_> = values.collect();
                    assert!(!values.is_empty());
                    self.0.set(zone, name, &values);
                    (201, json!({"message": "DNS Record Created"}).to_string())
                }
                ("DELETE", ["domains", zone, "records", name, "TXT"]) => {
                    self.0.set(zone, name, &[]);
                    (204, String::new())
                }
                _ => bad(404, "The resource could not be found."),
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0.all()
        }
    }

    fn api(url: &str, token: &str) -> DnsApi {
        DnsApi::Gandi {
            url: url.into(),
            token: secret(token),
        }
    }

    const REFUSAL: &str =
        "`gandi` refused to list the zones (403 Forbidden): Access was denied to this resource.";

    #[tokio::test]
    async fn records_are_put_and_removed() {
        behaves(Emulated(Zones::default()), api, REFUSAL).await;
    }

    #[tokio::test]
    async fn a_zone_on_a_later_page_is_found() {
        let mut zones = Zones::default();
        let others = (0..2 * PAGE).map(|number| format!("zone-{number}.example"));
        let others: Vec<_> = others.collect();
        zones.names.splice(0..0, others);
        behaves(Emulated(zones), api, REFUSAL).await;
    }
}
