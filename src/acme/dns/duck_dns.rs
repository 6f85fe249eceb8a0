//! DuckDNS: one text for a whole name below `duckdns.org`, set by a request with everything in its
//! query.

use http::Method;

use super::caller::{Caller, encoded};
use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

const SUFFIX: &str = ".duckdns.org";

pub(super) struct DuckDns {
    pub(super) caller: Caller,
    pub(super) token: Secret,
}

impl DuckDns {
    async fn update(&self, doing: &'static str, change: &str, zone: &str) -> Result<(), DnsError> {
        let path = format!(
            "/update?domains={}&token={}&{change}",
            encoded(zone),
            encoded(self.token.expose())
        );
        let request = self.caller.request(Method::GET, &path, doing)?;
        let answer = self.caller.good(doing, request).await?;
        match answer.body().starts_with(b"OK") {
            true => Ok(()),
            // All that it says is `KO`, with a status of success.
            false => Err(self.caller.refused(doing, &answer)),
        }
    }
}

impl Service for DuckDns {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let found = candidates.iter().find_map(|name| {
                let label = name.strip_suffix(SUFFIX)?;
                (!label.is_empty() && !label.contains('.')).then(|| Zone::new(*name, label))
            });
            Ok(found)
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let change = format!("txt={}", encoded(&record.value));
            self.update("add the record", &change, &record.zone.id)
                .await
        })
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            // The value must be there, but is not looked at.
            let change = format!("txt={}&clear=true", encoded(&record.value));
            self.update("remove the record", &change, &record.zone.id)
                .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::DnsError;
    use super::super::fake::{Emulation, Fake, Reply, Seen, TOKEN, provider, secret};
    use crate::conf::typed::acme_dns::DnsApi;

    /// One text for each name.
    #[derive(Default)]
    struct Emulated(Option<String>);

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            assert_eq!(seen.line(), "GET /update");
            if seen.parameter("token") != TOKEN || seen.parameter("domains") != "home" {
                return (200, "KO".to_owned());
            }
            let text = seen.parameter("txt").to_owned();
            self.0 = (seen.parameter("clear") != "true").then_some(text);
            (200, "OK".to_owned())
        }

        fn values(&self) -> Vec<(String, String)> {
            let text = self.0.iter();
            text.map(|text| ("_acme-challenge.home.duckdns.org".into(), text.clone()))
                .collect()
        }
    }

    const NAME: &str = "_acme-challenge.home.duckdns.org";

    fn api(url: &str, token: &str) -> DnsApi {
        DnsApi::DuckDns {
            url: url.into(),
            token: secret(token),
        }
    }

    #[tokio::test]
    async fn a_second_value_waits_for_the_removal_of_the_first_one() {
        let fake = Fake::start(Emulated::default()).await;
        let provider = provider(api(&fake.url, TOKEN), None).await;
        assert!(provider.holds_one_value());
        let one = provider.present(NAME, "one_-").await.expect("put");
        assert_eq!(fake.with(|it| it.0.clone()).as_deref(), Some("one_-"));
        provider.present(NAME, "one_-").await.expect("it is there");
        let error = provider.present(NAME, "two").await.expect_err("no room");
        assert!(matches!(error, DnsError::Occupied { .. }), "{error:?}");
        provider.remove(one.clone()).await.expect("removed");
        let two = provider.present(NAME, "two").await.expect("room now");
        // What is ours no more is not removed.
        provider.remove(one).await.expect("gone long since");
        assert_eq!(fake.with(|it| it.0.clone()).as_deref(), Some("two"));
        provider.remove(two.clone()).await.expect("removed");
        provider.remove(two).await.expect("removed again");
        assert_eq!(fake.with(|it| it.0.clone()), None);
    }

    #[tokio::test]
    async fn a_refusal_and_a_name_elsewhere_are_told() {
        let fake = Fake::start(Emulated::default()).await;
        let stranger = provider(api(&fake.url, "wrong-token-9876543210"), None).await;
        let error = stranger.present(NAME, "v").await.expect_err("refused");
        let told = error.to_string();
        assert_eq!(told, "`duckdns` refused to add the record (200 OK): KO");
        for name in ["_acme-challenge.example.org", "duckdns.org"] {
            let error = stranger.present(name, "v").await.expect_err("elsewhere");
            assert!(matches!(error, DnsError::NoZone { .. }), "{error:?}");
        }
    }
}
