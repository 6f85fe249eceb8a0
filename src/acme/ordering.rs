//! One order, from the account to the certificate.
//!
//! Every step looks first at what is there already: on the disk, and at the authority. So it does not
//! matter where the program was stopped; it goes on with the same order, and the key that was made for
//! it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize};
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::account::Authority;
use super::again;
use super::certificate::{Certificate, Issued, Pending, covers};
use super::challenges::{self, Challenges, Offer};
use super::dns;
use super::failure::{Failure, is_kind, own};
use super::status::{PartialProblem, Problem, Step};
use super::storage;
use super::transport::heard;
use crate::conf::typed::acme::{ChallengeKind, Issuer, KeyKind};
use crate::tls::facts::Facts;
use crate::tls::material::Material;
use crate::tls::pem;

/// How often an authority is asked whether it is done, at first and at last, if it does not say it.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How long an authority may take to look at names, and to make a certificate. An order that takes
/// longer is looked at again with the next attempt.
const PATIENCE: Duration = Duration::from_secs(300);

/// The most chains that are looked at for one that is preferred.
const MOST_CHAINS: usize = 8;

/// What kind of certificates for addresses the built-in authority has.
const SHORT_LIVED: &str = "shortlived";

/// An attempt.
pub struct Attempt<'a> {
    /// For what.
    pub certificate: &'a Certificate,
    /// From whom.
    pub authority: &'a Authority,
    /// How the names are proven.
    pub challenge: ChallengeKind,
    /// Where proofs are put out.
    pub challenges: &'a Arc<Challenges>,
    /// The certificate that is renewed, if the authority knows it.
    pub replaces: Option<String>,
}

impl Attempt<'_> {
    /// Gets the certificate and puts it to its place.
    pub async fn run(&self) -> Result<(), Failure> {
        let certificate = self.certificate;
        certificate.step(Step::Account);
        let mut account = self.authority.account().await?;
        certificate.step(Step::Order);
        let mut order = match self.find(&account).await? {
            Some(order) => order,
            None => match self.place(&account).await {
                Err(Placing::NoAccount) => {
                    certificate.say("the authority does not know the account any more");
                    self.authority.forget_account().await?;
                    account = self.authority.account().await?;
                    match self.place(&account).await {
                        Ok(order) => order,
                        Err(Placing::NoAccount) => {
                            return Err(Failure::new("the authority knows no account of ours"));
                        }
                        Err(Placing::Failed(failure)) => return Err(failure),
                    }
                }
                Err(Placing::Failed(failure)) => return Err(failure),
                Ok(order) => order,
            },
        };
        if order.state().status == OrderStatus::Pending {
            certificate.step(Step::Proof);
            certificate.set_challenge(self.challenge);
            self.prove(&mut order).await?;
        }
        if order.state().status == OrderStatus::Ready {
            certificate.step(Step::Finalize);
            self.finalize(&mut order).await?;
        }
        self.wait(&mut order, "waiting for the certificate", |status| {
            status == OrderStatus::Processing
        })
        .await?;
        if order.state().status != OrderStatus::Valid {
            return Err(self.lost(&mut order, "asking for the certificate").await);
        }
        certificate.step(Step::Certificate);
        let material = self.fetch(&account, &mut order).await?;
        let issuer = &self.authority.issuer;
        certificate.take(
            &material,
            Issued {
                issuer: issuer.name.clone(),
                directory: issuer.uri.clone(),
                challenge: Some(self.challenge.to_string().into()),
                at: SystemTime::now(),
            },
        )?;
        if self.replaces.is_none() {
            let names = &certificate.order().names;
            self.authority.ledger.issued(names, SystemTime::now());
        }
        Ok(())
    }

    /// The order that was begun before, if it can be gone on with.
    async fn find(&self, account: &Account) -> Result<Option<instant_acme::Order>, Failure> {
        let Some(pending) = self.certificate.record().pending else {
            return Ok(None);
        };
        let is_its_own = *pending.directory == *self.authority.issuer.uri;
        if is_its_own && *pending.account == *account.id() {
            match again!(account.order(pending.url.to_string())) {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        self.certificate
                            .say("going on with the order that was begun");
                        return Ok(Some(order));
                    }
                    self.certificate
                        .say("the order that was begun is refused meanwhile");
                }
                Err(Error::Api(problem))
                    if !is_kind(&problem, "rateLimited") && heard().status < 500 =>
                {
                    let told = own(problem);
                    self.certificate
                        .say(format!("the order that was begun is gone: {told}"));
                }
                Err(error) => return Err(Failure::of("asking for the order", error)),
            }
        }
        self.forget()?;
        Ok(None)
    }

    /// Forgets an order that is of no use any more.
    fn forget(&self) -> Result<(), Failure> {
        self.certificate.keep(|record| record.pending = None)
    }

    async fn place(&self, account: &Account) -> Result<instant_acme::Order, Placing> {
        let certificate = self.certificate;
        let issuer = &*self.authority.issuer;
        let home = &certificate.home;
        let disk = |error: std::io::Error| Failure::of_disk(home.directory(), &error);
        storage::make_directory(home.directory()).map_err(disk)?;
        home.clear_next().map_err(disk)?;
        // An order that cannot be kept would be placed again with each attempt.
        certificate.keep(|record| record.pending = None)?;
        let names = &certificate.order().names;
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| match name.parse() {
                Ok(address) => Identifier::Ip(address),
                Err(_) => Identifier::Dns(name.to_string()),
            })
            .collect();
        let profile = profile(issuer, account, &identifiers, certificate)?;
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &profile {
            new = new.profile(profile);
        }
        let plain = again!(async {
            let mut new = NewOrder::new(&identifiers);
            if let Some(profile) = &profile {
                new = new.profile(profile);
            }
            if let Some((key, serial)) =
                self.replaces.as_deref().and_then(|own| own.split_once('.'))
            {
                new = new.replaces(CertificateIdentifier {
                    authority_key_identifier: key.into(),
                    serial: serial.into(),
                });
            }
            account.new_order(&new).await
        });
        let refused = |problem: &instant_acme::Problem| {
            !is_kind(problem, "rateLimited") && !is_kind(problem, "accountDoesNotExist")
        };
        let placed = match plain {
            // What is renewed is of no matter to the certificate.
            Err(Error::Api(problem)) if self.replaces.is_some() && refused(&problem) => {
                certificate.say(format!(
                    "the authority does not take the order as a renewal: {}",
                    own(problem)
                ));
                again!(account.new_order(&new))
            }
            Err(Error::Unsupported(_)) => again!(account.new_order(&new)),
            placed => placed,
        };
        match placed {
            Ok(order) => {
                self.authority.ledger.ordered(SystemTime::now());
                certificate.keep(|record| {
                    record.pending = Some(Pending {
                        directory: issuer.uri.clone(),
                        account: account.id().into(),
                        url: order.url().into(),
                    });
                })?;
                certificate.say(format!("ordered from `{}`", issuer.name));
                Ok(order)
            }
            Err(Error::Api(problem)) if is_kind(&problem, "accountDoesNotExist") => {
                Err(Placing::NoAccount)
            }
            Err(error) => Err(Failure::of("placing the order", error).into()),
        }
    }

    /// Proves the names that are not proven yet.
    async fn prove(&self, order: &mut instant_acme::Order) -> Result<(), Failure> {
        let is_single =
            self.challenge == ChallengeKind::Dns01 && self.authority.zones()?.holds_one_value();
        let turns: Vec<Option<usize>> = match is_single {
            // All answers are out before the authority is told of the first.
            false => vec![None],
            // A wildcard and its domain have a record of the same name, with room for one value.
            true => (0..order.state().authorizations.len()).map(Some).collect(),
        };
        let mut proven = Ok(());
        for turn in turns {
            let mut records = Vec::new();
            proven = match self.answer(order, turn, &mut records).await {
                Ok(_offers) => self.ask_to_look(order, turn).await,
                Err(failure) => Err(failure),
            };
            for record in records {
                let removed = match self.authority.zones() {
                    Ok(zones) => zones.remove(record).await,
                    Err(failure) => return Err(failure),
                };
                if let Err(error) = removed {
                    self.certificate
                        .say(format!("a record is left behind: {error}"));
                }
            }
            if proven.is_err() {
                break;
            }
        }
        if proven.is_ok() && is_single {
            let waiting = "waiting for the authority to look";
            proven = self
                .wait(order, waiting, |status| status == OrderStatus::Pending)
                .await;
        }
        proven?;
        match order.state().status {
            OrderStatus::Pending | OrderStatus::Invalid => {
                Err(self.lost(order, "proving the names").await)
            }
            _ => Ok(()),
        }
    }

    /// Puts out the answers, or only that of one turn: they are there as long as what is returned;
    /// `records` have to be removed.
    async fn answer(
        &self,
        order: &mut instant_acme::Order,
        turn: Option<usize>,
        records: &mut Vec<dns::Handle>,
    ) -> Result<Vec<Offer>, Failure> {
        self.learn(order).await?;
        let mut offers = Vec::new();
        let mut authorizations = order.authorizations();
        let mut position = 0;
        while let Some(found) = authorizations.next().await {
            let mut found = found.map_err(|error| Failure::of("asking what to prove", error))?;
            let is_its_turn = turn.is_none_or(|turn| turn == position);
            position += 1;
            if !is_its_turn || found.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = found.identifier().to_string();
            let all = found.challenges.iter();
            let offered: Vec<_> = all.map(|one| word(&one.r#type).to_owned()).collect();
            let Some(challenge) = found.challenge(kind(self.challenge)) else {
                return Err(Failure::new(format!(
                    "`{name}` cannot be proven by {}: the authority offers {}",
                    self.challenge,
                    offered.join(", ")
                )));
            };
            let answer = challenge.key_authorization();
            match self.challenge {
                ChallengeKind::Http01 => {
                    let place = self.authority.directory.join(challenges::PROOFS);
                    let token = &challenge.token;
                    let offer = self.challenges.offer_token(token, answer.as_str(), &place);
                    offers.push(offer);
                }
                ChallengeKind::TlsAlpn01 => {
                    let digest = answer.digest();
                    let digest: Option<&[u8; 32]> = digest.as_ref().try_into().ok();
                    let place = self.authority.directory.join(challenges::PROOFS);
                    let offer = digest
                        .and_then(|digest| self.challenges.offer_handshake(&name, digest, &place));
                    let told =
                        || Failure::new(format!("`{name}` cannot be proven here: no key is made"));
                    offers.push(offer.ok_or_else(told)?);
                }
                ChallengeKind::Dns01 => {
                    let base = name.strip_prefix("*.").unwrap_or(&name);
                    let record = format!("_acme-challenge.{base}");
                    let value = answer.dns_value();
                    let put = self.authority.zones()?.present(&record, &value).await;
                    let put = put.map_err(|error| {
                        Failure::new(format!("putting the record `{record}`: {error}"))
                    })?;
                    self.certificate
                        .say(format!("the record `{record}` is there"));
                    records.push(put);
                }
            }
        }
        Ok(offers)
    }

    /// Asks the authority to look, and waits until it has.
    async fn ask_to_look(
        &self,
        order: &mut instant_acme::Order,
        turn: Option<usize>,
    ) -> Result<(), Failure> {
        self.certificate
            .say(format!("asking the authority to look ({})", self.challenge));
        let mut authorizations = order.authorizations();
        let mut position = 0;
        while let Some(found) = authorizations.next().await {
            let mut found = found.map_err(|error| Failure::of("asking what to prove", error))?;
            let is_its_turn = turn.is_none_or(|turn| turn == position);
            position += 1;
            if !is_its_turn || found.status != AuthorizationStatus::Pending {
                continue;
            }
            let Some(mut challenge) = found.challenge(kind(self.challenge)) else {
                continue;
            };
            if challenge.status != ChallengeStatus::Pending {
                continue;
            }
            match again!(challenge.set_ready()) {
                Ok(()) => {}
                // It is looked at already, or was: what came of it is seen in the order.
                Err(Error::Api(problem))
                    if !is_kind(&problem, "rateLimited") && heard().status < 500 =>
                {
                    let told = own(problem);
                    self.certificate.say(format!("the authority says: {told}"));
                }
                Err(error) => return Err(Failure::of("asking the authority to look", error)),
            }
        }
        let waiting = "waiting for the authority to look";
        match turn {
            Some(turn) => self.wait_for(order, turn, waiting).await,
            None => {
                self.wait(order, waiting, |status| status == OrderStatus::Pending)
                    .await
            }
        }
    }

    /// Asks until the authority has looked at one name.
    async fn wait_for(
        &self,
        order: &mut instant_acme::Order,
        turn: usize,
        what: &str,
    ) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_LOOK;
        loop {
            let looked = again!(async {
                let mut authorizations = order.authorizations();
                let mut position = 0;
                while let Some(found) = authorizations.next().await {
                    let mut found = found?;
                    if position == turn {
                        let is_pending = found.status == AuthorizationStatus::Pending;
                        return Ok::<_, Error>(
                            is_pending
                                && found.refresh().await?.status == AuthorizationStatus::Pending,
                        );
                    }
                    position += 1;
                }
                Ok(false)
            });
            if !looked.map_err(|error| Failure::of(what, error))? {
                return Ok(());
            }
            let wanted = heard().retry_after;
            let wanted = wanted.and_then(|at| at.duration_since(SystemTime::now()).ok());
            let at = Instant::now() + wanted.unwrap_or(pause).max(pause).min(PATIENCE);
            if at >= until {
                let told = format!("{what}: the authority takes its time, the order stays");
                return Err(Failure::new(told));
            }
            sleep_until(at).await;
            pause = (pause * 3 / 2).min(LAST_LOOK);
        }
    }

    /// Asks for what is to be proven; the list is not complete before.
    async fn learn(&self, order: &mut instant_acme::Order) -> Result<(), Failure> {
        let learnt = again!(async {
            let mut authorizations = order.authorizations();
            while let Some(found) = authorizations.next().await {
                found?;
            }
            Ok(())
        });
        learnt.map_err(|error: Error| Failure::of("asking what to prove", error))
    }

    /// Asks until the order is another.
    async fn wait(
        &self,
        order: &mut instant_acme::Order,
        what: &str,
        is_same: impl Fn(OrderStatus) -> bool,
    ) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_LOOK;
        while is_same(order.state().status) {
            let now = SystemTime::now();
            let wanted = heard()
                .retry_after
                .and_then(|at| at.duration_since(now).ok());
            let at = Instant::now() + wanted.unwrap_or(pause).max(pause).min(PATIENCE);
            if at >= until {
                let told = format!("{what}: the authority takes its time, the order stays");
                return Err(Failure::new(told));
            }
            sleep_until(at).await;
            pause = (pause * 3 / 2).min(LAST_LOOK);
            let looked = again!(async { order.refresh().await.map(|_| ()) });
            looked.map_err(|error| Failure::of(what, error))?;
        }
        Ok(())
    }

    /// What an authority has to say about an order that came to nothing, which is forgotten.
    async fn lost(&self, order: &mut instant_acme::Order, what: &str) -> Failure {
        let mut problem = order.state().error.clone().map(own).unwrap_or_default();
        let mut unproven: Vec<Box<str>> = Vec::new();
        let mut parts = Vec::new();
        let _ = again!(async {
            let mut authorizations = order.authorizations();
            while let Some(found) = authorizations.next().await {
                let mut found = found?;
                let name = found.identifier().to_string();
                if found.status == AuthorizationStatus::Pending {
                    again!(async { found.refresh().await.map(|_| ()) })?;
                }
                let error = found.challenges.iter().find_map(|one| one.error.clone());
                let Some(error) = error else {
                    continue;
                };
                if !unproven.iter().any(|known| **known == *name) {
                    unproven.push(name.as_str().into());
                    let error = own(error);
                    parts.push(PartialProblem {
                        name: Some(name),
                        kind: error.kind,
                        detail: error.detail,
                    });
                }
            }
            Ok::<(), Error>(())
        });
        match (&mut parts[..], problem.detail.is_none()) {
            ([_], true) => {
                let part = parts.remove(0);
                problem = Problem {
                    kind: part.kind,
                    detail: part.detail,
                    parts: Vec::new(),
                };
            }
            _ if problem.parts.is_empty() => problem.parts = parts,
            _ => {}
        }
        if let Err(failure) = self.forget() {
            return failure;
        }
        Failure::said(what, problem, unproven)
    }

    /// Makes the key, keeps it, and asks for the certificate.
    async fn finalize(&self, order: &mut instant_acme::Order) -> Result<(), Failure> {
        let home = &self.certificate.home;
        let disk = |error: std::io::Error| Failure::of_disk(home.directory(), &error);
        let wanted = self.certificate.order();
        let kept = home.next_key().map_err(disk)?;
        let kept = kept.and_then(|text| KeyPair::from_pem(&text).ok());
        let key = match kept {
            Some(key) => key,
            None => {
                let kind = wanted.key;
                // A large key takes seconds.
                let made = tokio::task::spawn_blocking(move || generate(kind)).await;
                let key = made.map_err(|_| Failure::new("making the key was stopped"))?;
                let key = key.map_err(|error| Failure::new(format!("making the key: {error}")))?;
                let text = Zeroizing::new(key.serialize_pem());
                home.put_next_key(&text).map_err(disk)?;
                key
            }
        };
        let request = || {
            let names = wanted.names.iter().map(|name| name.to_string());
            let mut parameters = CertificateParams::new(names.collect::<Vec<_>>())?;
            parameters.distinguished_name = DistinguishedName::new();
            parameters.serialize_request(&key)
        };
        let request =
            request().map_err(|error| Failure::new(format!("writing the request: {error}")))?;
        match again!(order.finalize_csr(request.der())) {
            Ok(()) => Ok(()),
            // It was asked for before, by a program that was stopped then.
            Err(Error::Api(problem)) if is_kind(&problem, "orderNotReady") => {
                let looked = again!(async { order.refresh().await.map(|_| ()) });
                looked.map_err(|error| Failure::of("asking for the order", error))
            }
            Err(Error::Api(problem)) if is_kind(&problem, "badCSR") => {
                self.forget()?;
                Err(Failure::of(
                    "asking for the certificate",
                    Error::Api(problem),
                ))
            }
            Err(error) => Err(Failure::of("asking for the certificate", error)),
        }
    }

    /// Fetches the certificate, in the chain that is preferred.
    async fn fetch(
        &self,
        account: &Account,
        order: &mut instant_acme::Order,
    ) -> Result<Material, Failure> {
        let what = "fetching the certificate";
        let home = &self.certificate.home;
        let fetched = again!(order.certificate()).map_err(|error| Failure::of(what, error))?;
        let mut chain = fetched.ok_or_else(|| Failure::new(format!("{what}: there is none")))?;
        if let Some(wanted) = &self.authority.issuer.preferred_chain
            && top(&chain).as_deref() != Some(wanted)
        {
            let mut is_found = false;
            for other in heard().alternates.into_iter().take(MOST_CHAINS) {
                // The library has no call for it, but signs this one for any address; that a chain is
                // no order does not matter, it was heard.
                let _ = again!(account.order(other.clone()));
                let text = String::from_utf8_lossy(&heard().body).into_owned();
                if top(&text).as_deref() == Some(wanted) {
                    chain = text;
                    is_found = true;
                    break;
                }
            }
            if !is_found {
                self.certificate.say(format!(
                    "no chain is issued by `{wanted}`, the usual one is used"
                ));
            }
        }
        let disk = |error: std::io::Error| Failure::of_disk(home.directory(), &error);
        let next = home.next_key().map_err(disk)?;
        let made = next.map(|key| storage::material(chain.as_bytes(), key.as_bytes()));
        let material = match made {
            Some(Ok(material)) => material,
            Some(Err(error)) => {
                self.forget()?;
                return Err(Failure::new(format!("{what}: {error}")));
            }
            None => {
                // It was put to its place already, by a program that was stopped then.
                let kept = home.load().ok().flatten();
                let leaf = pem::sections(chain.as_bytes()).next().and_then(Result::ok);
                let kept = kept.filter(|kept| {
                    let own = kept.chain.first();
                    own.zip(leaf.as_ref())
                        .is_some_and(|(own, leaf)| **own == *leaf.der)
                });
                match kept {
                    Some(kept) => kept,
                    None => {
                        self.forget()?;
                        let told = format!("{what}: its key is gone, it is ordered anew");
                        return Err(Failure::new(told));
                    }
                }
            }
        };
        if let Err(name) = covers(&material.facts, self.certificate.order()) {
            self.forget()?;
            return Err(Failure::new(format!("{what}: it is not for `{name}`")));
        }
        if let Some(told) = clock_trouble(&material.facts) {
            self.certificate.say(told);
        }
        Ok(material)
    }
}

/// Why an order was not placed.
enum Placing {
    NoAccount,
    Failed(Failure),
}

impl From<Failure> for Placing {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What the clock of this machine must be, judged by a certificate that has just come.
pub fn clock_trouble(facts: &Facts) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let wrong = if now < facts.not_before {
        "is valid later only"
    } else if now > facts.not_after {
        "is over already"
    } else {
        return None;
    };
    Some(format!(
        "the certificate that has just come {wrong}: the clock of this machine is wrong"
    ))
}

/// The kind of certificate to ask for.
fn profile(
    issuer: &Issuer,
    account: &Account,
    identifiers: &[Identifier],
    certificate: &Certificate,
) -> Result<Option<String>, Failure> {
    let has = |name: &str| account.profiles().any(|profile| profile.name == name);
    let Some(profile) = &issuer.profile else {
        let is_address = |identifier: &Identifier| matches!(identifier, Identifier::Ip(_));
        let wants = *issuer.uri == *Issuer::BUILT_IN_URI && identifiers.iter().any(is_address);
        return Ok((wants && has(SHORT_LIVED)).then(|| SHORT_LIVED.to_owned()));
    };
    if has(&profile.name) {
        return Ok(Some(profile.name.to_string()));
    }
    let known: Vec<_> = account.profiles().map(|profile| profile.name).collect();
    let known = match known.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", known.join(", ")),
    };
    let told = format!("the authority has no profile `{}`: {known}", profile.name);
    match profile.is_required {
        true => Err(Failure::new(told)),
        false => {
            certificate.say(told);
            Ok(None)
        }
    }
}

/// A new key.
pub fn generate(kind: KeyKind) -> Result<KeyPair, rcgen::Error> {
    match kind {
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyKind::EcdsaP521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyKind::Rsa(bits) => {
            let size = match bits {
                4096 => RsaKeySize::_4096,
                3072 => RsaKeySize::_3072,
                _ => RsaKeySize::_2048,
            };
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
        }
    }
}

/// The common name of who issued the topmost certificate of a chain.
fn top(chain: &str) -> Option<String> {
    let last = pem::sections(chain.as_bytes())
        .filter_map(Result::ok)
        .last()?;
    Facts::read(&last.der)?.issuer_common_name
}

fn kind(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

fn word(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Unknown(other) => other,
        _ => "another",
    }
}
