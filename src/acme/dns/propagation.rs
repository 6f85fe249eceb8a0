//! Where a name leads, and whether all servers of its zone have a value.
//!
//! An authority asks the zone's own servers, any of them, and remembers nothing; so they are asked
//! here too, each one, before the authority is told to look.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::error::DnsError;
use super::message::{self, Answer, TXT};
use super::server;
use crate::conf::typed::acme_dns::Transport;
use crate::net::resolver::{Pointer, ResolveError, Resolver};

/// A chain of CNAME records that is longer leads nowhere.
const MOST_ALIASES: usize = 8;

/// The most servers of a zone that are asked.
const MOST_SERVERS: usize = 16;

/// The most addresses of one of them.
const MOST_ADDRESSES: usize = 4;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks about names. Clones share the resolver.
#[derive(Clone)]
pub(super) struct Watcher {
    pub(super) resolver: Resolver,
    /// 53 but in tests.
    pub(super) port: u16,
}

/// What a server says of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Has,
    Lacks,
    Silent,
}

impl Watcher {
    /// The name at which a record takes effect: behind the CNAME records that start at this one. If
    /// nobody can be asked the name itself; the provider will have its say.
    pub(super) async fn alias(&self, name: &str) -> Box<str> {
        let mut at: Box<str> = name.into();
        for _ in 0..MOST_ALIASES {
            let Ok(targets) = self.resolver.pointers(&at, Pointer::Alias).await else {
                return at;
            };
            match targets.into_iter().next() {
                Some(target) if target != at => at = target,
                _ => return at,
            }
        }
        name.into()
    }

    /// Waits until all servers of the zone have the value, or, when the time is over, all that
    /// answer.
    pub(super) async fn wait(
        &self,
        name: &str,
        value: &str,
        most: Duration,
    ) -> Result<(), DnsError> {
        let start = Instant::now();
        let mut servers = Vec::new();
        loop {
            if servers.is_empty() {
                servers = self.servers(name).await;
            }
            let words = self.round(&servers, name, value).await;
            let is_everywhere = !words.is_empty() && words.iter().all(|word| *word == Word::Has);
            if is_everywhere {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited >= most {
                let pairs = servers.into_iter().zip(words);
                let lacking = pairs.filter(|(_, word)| *word == Word::Lacks);
                let lacking: Vec<_> = lacking.map(|(server, _)| server.0).collect();
                // A server that cannot be reached from here may well be reached by the authority.
                return match lacking.is_empty() {
                    true => Ok(()),
                    false => Err(DnsError::Unspread {
                        name: name.into(),
                        lacking,
                        waited: Duration::from_secs(waited.as_secs()),
                    }),
                };
            }
            tokio::time::sleep(PAUSE.min(most - waited)).await;
        }
    }

    /// The servers of the zone that holds the name, with their addresses.
    async fn servers(&self, name: &str) -> Vec<(Box<str>, Vec<SocketAddr>)> {
        let mut at = name;
        let names = loop {
            // A name that is no zone has no such records, its zone has.
            match self.resolver.pointers(at, Pointer::NameServer).await {
                Ok(names) if !names.is_empty() => break names,
                Ok(_) | Err(ResolveError::NotFound) => {}
                Err(_) => return Vec::new(),
            }
            match at.split_once('.') {
                Some((_, parent)) if parent.contains('.') => at = parent,
                _ => return Vec::new(),
            }
        };
        let mut servers = Vec::new();
        for name in names.into_iter().take(MOST_SERVERS) {
            let addresses = match self.resolver.addresses(&name).await {
                Ok(answer) => answer.addresses.clone(),
                Err(_) => [].into(),
            };
            let addresses = addresses.iter().take(MOST_ADDRESSES);
            let addresses = addresses.map(|it| SocketAddr::new(it.address.ip(), self.port));
            servers.push((name, addresses.collect()));
        }
        servers
    }

    /// Asks all servers at once.
    async fn round(
        &self,
        servers: &[(Box<str>, Vec<SocketAddr>)],
        name: &str,
        value: &str,
    ) -> Vec<Word> {
        let mut questions = tokio::task::JoinSet::new();
        for (position, (_, addresses)) in servers.iter().enumerate() {
            let addresses = addresses.clone();
            let name = name.to_owned();
            let value = value.to_owned();
            questions.spawn(async move {
                let mut word = Word::Silent;
                for address in addresses {
                    word = ask(address, &name, &value).await;
                    if word != Word::Silent {
                        break;
                    }
                }
                (position, word)
            });
        }
        let mut words = vec![Word::Silent; servers.len()];
        while let Some(answer) = questions.join_next().await {
            if let Ok((position, word)) = answer {
                words[position] = word;
            }
        }
        words
    }
}

async fn ask(server: SocketAddr, name: &str, value: &str) -> Word {
    let question = message::question(server::identifier(), name, TXT);
    let Ok(bytes) = server::ask(server, Transport::Udp, &question).await else {
        return Word::Silent;
    };
    let Some(answer) = Answer::parse(&bytes) else {
        return Word::Silent;
    };
    const SERVFAIL: u8 = 2;
    const REFUSED: u8 = 5;
    if matches!(answer.code, SERVFAIL | REFUSED) {
        return Word::Silent;
    }
    let mut texts = answer.records.iter().filter(|record| record.kind == TXT);
    match texts.any(|record| record.text() == value.as_bytes()) {
        true => Word::Has,
        false => Word::Lacks,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Texts;
    use super::super::named::Named;
    use super::*;
    use crate::conf::typed::upstream as conf;

    const NAME: &str = "_acme-challenge.example.org";

    /// Asks this server about everything, and the servers of zones at its port.
    fn watcher(server: &Named) -> Watcher {
        let conf = conf::Resolver {
            servers: vec![server.address],
            valid: None,
            ipv4: true,
            ipv6: true,
            timeout: Duration::from_secs(30),
        };
        Watcher {
            resolver: Resolver::new(Some(&conf), tokio::runtime::Handle::current()),
            port: server.address.port(),
        }
    }

    #[tokio::test]
    async fn a_value_must_be_at_every_server_of_the_zone() {
        let first = Named::start().await;
        let second = Texts::start(first.other(), &["unrelated"]).await;
        let watcher = watcher(&first);
        let wait = async |value: &str| watcher.wait(NAME, value, Duration::ZERO).await;
        wait("unrelated").await.expect("it is at both");
        first.put(NAME, "new").await;
        match wait("new").await {
            Err(DnsError::Unspread { name, lacking, .. }) => {
                assert_eq!(&*name, NAME);
                assert_eq!(lacking, ["ns2.example.org".into()]);
            }
            other => panic!("{other:?}"),
        }
        second.texts.lock().push("new".to_owned());
        wait("new").await.expect("it is at both now");
        // One that cannot be reached from here says nothing.
        drop(second);
        wait("new").await.expect("nobody lacks it");
        let error = wait("never").await.expect_err("one lacks it");
        assert_eq!(
            error.to_string(),
            format!("after 0ns `{NAME}` is not at `ns1.example.org`")
        );
    }

    #[tokio::test]
    async fn waiting_ends_when_the_value_arrives() {
        let first = Named::start().await;
        let second = Texts::start(first.other(), &["unrelated"]).await;
        let watcher = watcher(&first);
        let waiting = watcher.wait(NAME, "late", Duration::from_secs(600));
        let putting = async {
            first.put(NAME, "late").await;
            second.texts.lock().push("late".to_owned());
        };
        let (outcome, ()) = tokio::join!(waiting, putting);
        outcome.expect("it arrived");
    }

    #[tokio::test]
    async fn aliases_are_followed_to_their_end_and_circles_are_left() {
        let server = Named::start().await;
        let watcher = watcher(&server);
        for (name, expected) in [
            (NAME, NAME),
            ("no-such-name.example.org", "no-such-name.example.org"),
            (
                "_acme-challenge.alias.example.org",
                "challenges.example.net",
            ),
            ("circle.example.org", "circle.example.org"),
            // Nobody there knows it.
            ("elsewhere.example.com", "elsewhere.example.com"),
        ] {
            assert_eq!(&*watcher.alias(name).await, expected);
        }
    }
}
