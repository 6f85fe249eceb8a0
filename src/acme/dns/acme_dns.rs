//! acme-dns: a name server for nothing but challenges. `_acme-challenge.NAME` is a CNAME to a name of
//! its own, which keeps the two values written last; nothing is ever removed.

use http::Method;
use serde_json::json;

use super::caller::{Caller, sensitive, with_json};
use super::{Pending, Record, Service, Zone};
use crate::acme::secret::Secret;

pub(super) struct AcmeDns {
    pub(super) caller: Caller,
    pub(super) username: Secret,
    pub(super) password: Secret,
    pub(super) subdomain: Box<str>,
}

impl Service for AcmeDns {
    /// There are no zones: whatever the name, the account has one place.
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            let name = candidates.first().copied();
            Ok(name.map(|name| Zone::new(name, &*self.subdomain)))
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async move {
            let doing = "add the record";
            let mut request = self.caller.request(Method::POST, "/update", doing)?;
            let fields = request.headers_mut();
            fields.insert("x-api-user", sensitive("username", self.username.expose())?);
            fields.insert("x-api-key", sensitive("password", self.password.expose())?);
            let body = json!({"subdomain": record.zone.id, "txt": record.value});
            self.caller.good(doing, with_json(request, &body)).await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, _record: &'a Record) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Emulation, Fake, NAME, Reply, Seen, TOKEN, provider, secret};
    use super::json;
    use crate::conf::typed::acme_dns::DnsApi;

    /// Keeps the two values written last.
    #[derive(Default)]
    struct Emulated(Vec<String>);

    impl Emulation for Emulated {
        fn answer(&mut self, seen: &Seen) -> Reply {
            assert_eq!(seen.line(), "POST /update");
            if (seen.field("x-api-user"), seen.field("x-api-key")) != ("user", TOKEN) {
                return (401, json!({"error": "forbidden"}).to_string());
            }
            assert_eq!(seen.body["subdomain"], "8e5700ea");
            self.0
                .insert(0, seen.body["txt"].as_str().expect("text").to_owned());
            self.0.truncate(2);
            (200, json!({"txt": self.0[0]}).to_string())
        }

        fn values(&self) -> Vec<(String, String)> {
            self.0
                .iter()
                .map(|text| (NAME.to_owned(), text.clone()))
                .collect()
        }
    }

    fn api(url: &str, token: &str) -> DnsApi {
        DnsApi::AcmeDns {
            url: url.into(),
            username: secret("user"),
            password: secret(token),
            subdomain: "8e5700ea".into(),
        }
    }

    #[tokio::test]
    async fn two_values_are_there_at_a_time_and_removal_is_nothing() {
        let fake = Fake::start(Emulated::default()).await;
        let provider = provider(api(&fake.url, TOKEN), None).await;
        assert!(!provider.holds_one_value());
        let one = provider.present(NAME, "one").await.expect("put");
        provider.present(NAME, "two").await.expect("put");
        assert_eq!(fake.values(), ["one", "two"]);
        provider.remove(one).await.expect("nothing to do");
        assert_eq!(fake.log().len(), 2);
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_in_the_words_of_the_server() {
        let fake = Fake::start(Emulated::default()).await;
        let provider = provider(api(&fake.url, "wrong"), None).await;
        let error = provider.present(NAME, "v").await.expect_err("refused");
        assert_eq!(
            error.to_string(),
            "`acme-dns` refused to add the record (401 Unauthorized): forbidden"
        );
    }
}
