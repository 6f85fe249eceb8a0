//! Cloudflare: single records, found and removed by identifiers.

use http::{Method, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::caller::{Caller, MOST_PAGES, bearer, unquoted, with_json};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

pub(super) struct Cloudflare {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

#[derive(Deserialize)]
struct Page<T> {
    success: bool,
    #[serde(default = "Option::default")]
    result: Option<T>,
    result_info: Option<PageInfo>,
}

#[derive(Deserialize)]
struct PageInfo {
    #[serde(default)]
    total_pages: u32,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Text {
    id: String,
    content: String,
}

impl Cloudflare {
    async fn ask<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<Page<T>, DnsError> {
        let mut request = self.caller.request(method, path, doing)?;
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, bearer(&self.token)?);
        if let Some(body) = body {
            request = with_json(request, &body);
        }
        let answer = self.caller.good(doing, request).await?;
        let page: Page<T> = self.caller.decode(doing, answer.body())?;
        match page.success {
            true => Ok(page),
            false => Err(self.caller.refused(doing, &answer)),
        }
    }

    /// The identifiers of the records with this name and value.
    async fn identifiers(&self, record: &Record) -> Result<Vec<String>, DnsError> {
        let mut found = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = format!(
                "/zones/{}/dns_records?type=TXT&name={}&per_page=100&page={page}",
                record.zone.id, record.name
            );
            let list = self
                .ask::<Vec<Text>>("list the records", Method::GET, &path, None)
                .await?;
            let texts = list.result.unwrap_or_default();
            let ours = texts
                .into_iter()
                .filter(|text| unquoted(&text.content) == &*record.value);
            found.extend(ours.map(|text| text.id));
            if list.result_info.is_none_or(|info| page >= info.total_pages) {
                break;
            }
        }
        Ok(found)
    }
}

impl Service for Cloudflare {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            for name in candidates {
                let path = format!("/zones?name={name}&per_page=50");
                let list = self
                    .ask::<Vec<Named>>("list the zones", Method::GET, &path, None)
                    .await?;
                let mut zones = list.result.unwrap_or_default().into_iter();
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
            let path = format!("/zones/{}/dns_records", record.zone.id);
            // Quotes are how the interface itself writes texts; without, it warns in its dashboard.
            let body = json!({
                "type": "TXT",
                "name": record.name,
                "content": format!("\"{}\"", record.value),
                "ttl": 60,
            });
            let doing = "add the record";
            let _: Page<Text> = self.ask(doing, Method::POST, &path, Some(body)).await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let doing = "remove the record";
            for identifier in self.identifiers(record).await? {
                let path = format!("/zones/{}/dns_records/{identifier}", record.zone.id);
                let mut request = self.caller.request(Method::DELETE, &path, doing)?;
                request
                    .headers_mut()
                    .insert(header::AUTHORIZATION, bearer(&self.token)?);
                self.caller.delete(doing, request).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Emulation, Reply, Seen, TOKEN, Zones, behaves, page, secret};
    use super::*;
    use crate::conf::typed::acme_dns::DnsApi;
    use serde_json::Value;

    /// Two records stand on a page, so that there are several.
    struct Emulated(Zones);

    fn fine(result: Value, pages: usize) -> Reply {
        let body = json!({
            "success": true, "errors": [], "messages": [], "result": result,
            "result_info": {"page": 1, "total_pages": pages},
        });
        (200, body.to_string())
    }

    fn bad(status: u16, code: u32, message: &str) -> Reply {
        let errors = json!([{"code": code, "message": message}]);
        let body = json!({"success": false, "errors": errors, "messages": [], "result": null});
        (status, body.to_string())
    }

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            let told = seen.field("authorization");
            if told != format!("Bearer {TOKEN}") {
                return bad(403, 9109, &format!("Invalid access token {}", &told[7..]));
            }
            let zone = |identifier: &str| identifier.strip_prefix("id-of-").map(str::to_owned);
            match (seen.method.as_str(), &seen.parts()[..]) {
                ("GET", ["zones"]) => {
                    let names = self
                        .0
                        .names
                        .iter()
                        .filter(|it| *it == seen.parameter("name"));
                    let zones =
                        names.map(|name| json!({"id": format!("id-of-{name}"), "name": name}));
                    fine(zones.collect(), 1)
                }
                ("GET", ["zones", identifier, "dns_records"]) => {
                    let zone = zone(identifier);
                    assert_eq!(seen.parameter("type"), "TXT");
                    let ours = self.0.records.iter().filter(|it| {
                        Some(&it.zone) == zone.as_ref() && it.name == seen.parameter("name")
                    });
                    let ours: Vec<_> = ours
                        .map(|it| json!({"id": it.id.to_string(), "content": format!("\"{}\"", it.value)}))
                        .collect();
                    let (ours, pages) = page(&ours, seen.number("page"), 2);
                    fine(ours.into(), pages)
                }
                ("POST", ["zones", identifier, "dns_records"]) => {
                    let zone = zone(identifier).expect("a zone");
                    let name = seen.body["name"].as_str().expect("a name");
                    let value = unquoted(seen.body["content"].as_str().expect("a value"));
                    assert_eq!(
                        (&seen.body["type"], &seen.body["ttl"]),
                        (&"TXT".into(), &60.into())
                    );
                    let name = name.strip_suffix(&zone).expect("in the zone");
                    if self
                        .0
                        .at(&zone, name.trim_end_matches('.'))
                        .iter()
                        .any(|it| it == value)
                    {
                        return bad(400, 81058, "An identical record already exists.");
                    }
                    let id = self.0.add(&zone, name.trim_end_matches('.'), value);
                    fine(json!({"id": id.to_string(), "content": value}), 1)
                }
                ("DELETE", ["zones", _, "dns_records", id]) => {
                    match self.0.remove(id.parse().expect("a number")) {
                        true => fine(json!({"id": id}), 1),
                        false => bad(404, 81044, "Record does not exist."),
                    }
                }
                _ => bad(405, 10000, "Method not allowed"),
            }
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0.all()
        }
    }

    #[tokio::test]
    async fn records_are_put_and_removed() {
        let api = |url: &str, token: &str| DnsApi::Cloudflare {
            url: url.into(),
            token: secret(token),
        };
        let refusal =
            "`cloudflare` refused to list the zones (403 Forbidden): Invalid access token ***";
        behaves(Emulated(Zones::default()), api, refusal).await;
    }
}
