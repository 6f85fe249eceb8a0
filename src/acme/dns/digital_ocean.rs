//! DigitalOcean: single records, found and removed by identifiers.

use http::{Method, Request, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::{Caller, MOST_PAGES, bearer, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

pub(super) struct DigitalOcean {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

#[derive(Deserialize)]
struct List {
    domain_records: Vec<Text>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Text {
    id: u64,
    name: String,
    data: String,
}

#[derive(Deserialize)]
struct Links {
    pages: Option<Pages>,
}

#[derive(Deserialize)]
struct Pages {
    next: Option<String>,
}

impl DigitalOcean {
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

    async fn identifiers(&self, record: &Record) -> Result<Vec<u64>, DnsError> {
        let doing = "list the records";
        let mut found = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = format!(
                "/domains/{}/records?type=TXT&name={}&per_page=200&page={page}",
                record.zone.id, record.name
            );
            let request = self.request(doing, Method::GET, &path)?;
            let list: List = self.caller.json(doing, request).await?;
            let ours = list.domain_records.into_iter().filter(|text| {
                text.name == name_in(record) && unquoted(&text.data) == &*record.value
            });
            found.extend(ours.map(|text| text.id));
            let pages = list.links.and_then(|links| links.pages);
            if pages.and_then(|pages| pages.next).is_none() {
                break;
            }
        }
        Ok(found)
    }
}

fn name_in(record: &Record) -> &str {
    match record.relative() {
        "" => "@",
        name => name,
    }
}

impl Service for DigitalOcean {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let doing = "find the zone";
            for name in candidates {
                let request = self.request(doing, Method::GET, &format!("/domains/{name}"))?;
                let found: Option<Value> = self.caller.json_if_there(doing, request).await?;
                if found.is_some() {
                    return Ok(Some(Zone::new(*name, *name)));
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
            let path = format!("/domains/{}/records", record.zone.id);
            let body = json!({
                "type": "TXT",
                "name": name_in(record),
                "data": record.value,
                "ttl": 30,
            });
            let request = with_json(self.request(doing, Method::POST, &path)?, &body);
            self.caller.good(doing, request).await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let doing = "remove the record";
            for identifier in self.identifiers(record).await? {
                let path = format!("/domains/{}/records/{identifier}", record.zone.id);
                let request = self.request(doing, Method::DELETE, &path)?;
                self.caller.delete(doing, request).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Emulation, Reply, Seen, TOKEN, Zones, behaves, below, page, secret};
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;

    struct Emulated(Zones);

    fn bad(status: u16, id: &str, message: &str) -> Reply {
        (status, json!({"id": id, "message": message}).to_string())
    }

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            if seen.field("authorization") != format!("Bearer {TOKEN}") {
                return bad(401, "Unauthorized", "Unable to authenticate you");
            }
            match (seen.method.as_str(), &seen.parts()[..]) {
                ("GET", ["domains", name]) if self.0.names.iter().any(|zone| zone == name) => (
                    200,
                    json!({"domain": {"name": name, "ttl": 1800}}).to_string(),
                ),
                ("GET", ["domains", zone, "records"]) => {
                    assert_eq!(seen.parameter("type"), "TXT");
                    let ours = self.0.records.iter();
                    let ours =
                        ours.filter(|it| it.zone == *zone && it.name == seen.parameter("name"));
                    let ours: Vec<_> = ours
                        .map(|it| json!({"id": it.id, "name": below(it), "data": it.value}))
                        .collect();
                    let number = seen.number("page");
                    let (ours, pages) = page(&ours, number, 2);
                    let links = match number < pages {
                        true => {
                            json!({"pages": {"next": "http://elsewhere.example/", "last": "…"}})
                        }
                        false => json!({}),
                    };
                    (
                        200,
                        json!({"domain_records": ours, "links": links}).to_string(),
                    )
                }
                ("POST", ["domains", zone, "records"]) => {
                    let text = |name: &str| seen.body[name].as_str().expect("text").to_owned();
                    assert_eq!(text("type"), "TXT");
                    let id = self.0.add(zone, &text("name"), &text("data"));
                    (201, json!({"domain_record": {"id": id}}).to_string())
                }
                ("DELETE", ["domains", _, "records", id])
                    if self.0.remove(id.parse().expect("a number")) =>
                {
                    (204, String::new())
                }
                _ => bad(
                    404,
                    "not_found",
                    "The resource you were accessing could not be found.",
                ),
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0.all()
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed() {
        let api = |url: &str, token: &str| DnsApi::DigitalOcean {
            url: url.into(),
            token: secret(token),
        };
        let refusal = "refused to find the zone (401 Unauthorized): Unable to authenticate you";
        behaves(Emulated(Zones::default()), api, refusal).await;
    }
}
