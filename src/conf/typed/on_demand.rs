//! `acme_on_demand`: certificates for names that are known only when a client asks for them.

use std::sync::Arc;
use std::time::Duration;

use super::acme::{ChallengeKind, Issuer, KeyKind, Order};
use crate::conf::regex::Regex;
use crate::conf::source::Span;

/// Who may get a certificate by asking, and how many.
#[derive(Debug)]
pub struct OnDemand {
    /// From whom, in the order of asking; never empty.
    pub issuers: Vec<Arc<Issuer>>,
    /// How a name can be proven with an issuer that does not say it, the likeliest first.
    pub challenges: Vec<ChallengeKind>,
    /// `allow=`: a name must match one of these; with none, [`OnDemand::ask`] alone decides.
    pub patterns: Vec<Pattern>,
    /// `ask=`: who is asked about a name that matches, without the query.
    pub ask: Option<Box<str>>,
    /// `limit=`: so many names are new within a time.
    pub limit: Rate,
    /// `most=`: so many names are held in all.
    pub most: usize,
    /// `inactive=`: a name that no client asked for so long is forgotten.
    pub inactive: Duration,
    /// `wait=`: so long a handshake waits for its certificate.
    pub wait: Duration,
    /// The line.
    pub span: Span,
}

/// So many within a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many.
    pub count: usize,
    /// Within which time.
    pub within: Duration,
}

/// One `allow=`, in lower case, spelled as names of servers are.
#[derive(Debug)]
pub enum Pattern {
    /// `www.example.com`
    Name(Box<str>),
    /// `*.example.com`: what lies below; with the dot.
    Below(Box<str>),
    /// `.example.com`: the name and what lies below; with the dot.
    NameAndBelow(Box<str>),
    /// `~^[a-z]+\.example\.com$`
    Regex(Box<Regex>),
}

impl OnDemand {
    /// May a name have a certificate, as far as that can be said without asking? It is in lower case.
    pub fn admits(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a public authority would have to vouch for it.
    pub fn is_public(&self) -> bool {
        let public = |issuer: &Arc<Issuer>| *issuer.uri == *Issuer::BUILT_IN_URI;
        self.issuers.iter().all(public)
    }

    /// The certificate of a name.
    pub fn order(&self, name: &str) -> Arc<Order> {
        Arc::new(Order {
            issuers: self.issuers.clone(),
            names: vec![name.into()],
            key: KeyKind::EcdsaP256,
            challenges: self.challenges.clone(),
            span: self.span,
        })
    }
}

impl Pattern {
    /// Is it for this name?
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => **own == *name,
            Self::Below(suffix) => is_below(name, suffix),
            Self::NameAndBelow(suffix) => *name == suffix[1..] || is_below(name, suffix),
            Self::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}
