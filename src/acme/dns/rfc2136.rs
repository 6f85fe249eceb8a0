//! Dynamic updates (RFC 2136), signed with a shared key (RFC 8945): what BIND, Knot, PowerDNS and
//! others take.

use std::net::SocketAddr;

use super::error::DnsError;
use super::message::{self, Answer, Key, SOA, Update};
use super::{Pending, Record, Service, Zone, server};
use crate::conf::typed::acme_dns::Transport;
use crate::unit::clock;

pub(super) struct Rfc2136 {
    pub(super) host: Box<str>,
    pub(super) port: u16,
    pub(super) transport: Transport,
    pub(super) key: Key,
}

impl Rfc2136 {
    fn failed(&self, problem: impl Into<Box<str>>) -> DnsError {
        DnsError::Server {
            server: match self.port {
                53 => self.host.clone(),
                port => format!("{}:{port}", self.host).into(),
            },
            problem: problem.into(),
        }
    }

    /// Sends a message with a signature and gives the answer of the first address that has one.
    async fn exchange(&self, mut message: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), DnsError> {
        let signature = message::sign(&mut message, &self.key, clock::unix().as_secs());
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host, self.port)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Err(self.failed(format!("no address: {error}"))),
        };
        let mut problem = "no address".to_owned();
        for address in addresses {
            match server::ask(address, self.transport, &message).await {
                Ok(answer) => return Ok((answer, signature)),
                Err(error) => problem = format!("no answer: {error}"),
            }
        }
        Err(self.failed(problem))
    }

    fn parse<'a>(&self, bytes: &'a [u8], signature: &[u8]) -> Result<Answer<'a>, DnsError> {
        let Some(answer) = Answer::parse(bytes) else {
            return Err(self.failed("its answer makes no sense"));
        };
        match answer.verify(&self.key, signature, clock::unix().as_secs()) {
            Ok(()) => Ok(answer),
            // Whoever does not know the key cannot sign, but says what is the matter.
            Err(0) if answer.code != 0 => Err(self.failed(message::code_name(answer.code))),
            Err(error) => Err(self.failed(message::signature_error_name(error))),
        }
    }

    async fn update(&self, change: Update, record: &Record) -> Result<(), DnsError> {
        let request = message::update(
            server::identifier(),
            &record.zone.name,
            change,
            &record.name,
            &record.value,
        );
        let (bytes, signature) = self.exchange(request).await?;
        match self.parse(&bytes, &signature)?.code {
            0 => Ok(()),
            code => Err(self.failed(message::code_name(code))),
        }
    }
}

impl Service for Rfc2136 {
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move {
            // A zone that the configuration names is not asked for: a server may take updates and
            // no questions.
            if let [only] = candidates {
                return Ok(Some(Zone::new(*only, *only)));
            }
            for name in candidates {
                let request = message::question(server::identifier(), name, SOA);
                let (bytes, signature) = self.exchange(request).await?;
                let answer = self.parse(&bytes, &signature)?;
                let mut records = answer.records.iter();
                let is_zone = answer.is_authoritative
                    && records.any(|record| record.kind == SOA && record.name == *name);
                if is_zone {
                    return Ok(Some(Zone::new(*name, *name)));
                }
            }
            Ok(None)
        })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(self.update(Update::Add, record))
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(self.update(Update::Remove, record))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::provider;
    use super::super::named::{Named, SECRET_256, SECRET_512};
    use super::super::{DnsError, Provider};
    use super::*;
    use crate::conf::typed::acme_dns::{DnsApi, TsigAlgorithm};
    use crate::conf::typed::secret::SecretSource;

    const NAME: &str = "_acme-challenge.example.org";

    fn api(server: &Named, key: &str, transport: Transport) -> DnsApi {
        let (algorithm, secret) = match key {
            "long" => (TsigAlgorithm::HmacSha512, SECRET_512),
            _ => (TsigAlgorithm::HmacSha256, SECRET_256),
        };
        DnsApi::Rfc2136 {
            host: server.address.ip().to_string().into(),
            port: server.address.port(),
            transport,
            key: key.into(),
            algorithm,
            secret: SecretSource::Literal(secret.into()),
        }
    }

    async fn ours(server: &Named, key: &str, transport: Transport) -> Provider {
        provider(api(server, key, transport), None).await
    }

    #[tokio::test]
    async fn values_are_put_beside_others_and_removed_by_either_digest_and_transport() {
        let server = Named::start().await;
        for (key, transport) in [
            ("short", Transport::Tcp),
            ("long", Transport::Udp),
            ("Short", Transport::Udp),
            ("long", Transport::Tcp),
        ] {
            let ours = ours(&server, key, transport).await;
            let one = ours.present(NAME, "one").await.expect("put");
            let long = "x".repeat(300);
            let two = ours.present(NAME, &long).await.expect("put");
            ours.present(NAME, "one").await.expect("it is there");
            assert_eq!(server.texts(NAME).await, ["one", "unrelated", &long]);
            ours.remove(one.clone()).await.expect("removed");
            ours.remove(one).await.expect("removed again");
            assert_eq!(server.texts(NAME).await, ["unrelated", &long]);
            ours.remove(two).await.expect("removed");
            assert_eq!(server.texts(NAME).await, ["unrelated"]);
        }
    }

    #[tokio::test]
    async fn the_zone_is_the_one_with_the_longest_name() {
        let server = Named::start().await;
        let ours = ours(&server, "short", Transport::Tcp).await;
        for (name, zone) in [
            ("_acme-challenge.www.deep.example.org", "deep.example.org"),
            ("deep.example.org", "deep.example.org"),
            ("_acme-challenge.www.example.org", "example.org"),
            ("_acme-challenge.printer.lan", "lan"),
        ] {
            assert_eq!(&*ours.check(name).await.expect("a zone"), zone);
            let handle = ours.present(name, "v").await.expect("put");
            assert_eq!(server.texts(name).await, ["v"], "{name}");
            ours.remove(handle).await.expect("removed");
        }
        let error = ours.present("_acme-challenge.example.com", "v").await;
        let error = error.expect_err("another zone");
        assert!(matches!(error, DnsError::NoZone { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_the_server_says_is_told() {
        let server = Named::start().await;
        let place = server.address;
        let refused = async |change: &dyn Fn(&mut DnsApi)| {
            let mut api = api(&server, "short", Transport::Tcp);
            change(&mut api);
            let error = provider(api, None).await.present(NAME, "v").await;
            error.expect_err("refused").to_string()
        };
        let told = refused(&|api| {
            if let DnsApi::Rfc2136 { key, .. } = api {
                *key = "nobody".into();
            }
        });
        let expected = format!("the name server `{place}`: it does not know the key (BADKEY)");
        assert_eq!(told.await, expected);
        let told = refused(&|api| {
            if let DnsApi::Rfc2136 { secret, .. } = api {
                *secret = SecretSource::Literal("d3Jvbmcgc2VjcmV0".into());
            }
        });
        assert!(
            told.await
                .ends_with("the secrets or algorithms differ (BADSIG)")
        );
        let told = refused(&|api| {
            if let DnsApi::Rfc2136 { secret, .. } = api {
                *secret = SecretSource::Literal("not base64".into());
            }
        });
        assert_eq!(told.await, "the secret of `tsig_secret` is not base64");
        // This key may look and not write.
        let told = refused(&|api| {
            if let DnsApi::Rfc2136 { key, .. } = api {
                *key = "reader".into();
            }
        });
        assert!(told.await.ends_with(": it refused (REFUSED)"));
        assert_eq!(server.texts(NAME).await, ["unrelated"]);
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_told() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let closed = closed.local_addr().expect("an address").port();
        let ours = provider(
            DnsApi::Rfc2136 {
                host: "127.0.0.1".into(),
                port: closed,
                transport: Transport::Tcp,
                key: "short".into(),
                algorithm: TsigAlgorithm::HmacSha256,
                secret: SecretSource::Literal(SECRET_256.into()),
            },
            None,
        )
        .await;
        let error = ours.present(NAME, "v").await.expect_err("closed");
        assert!(error.to_string().contains(": no answer: "), "{error}");
    }
}
