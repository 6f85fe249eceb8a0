//! How a certificate that we get ourselves stands, in words for people.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::storage::unix_time;
use crate::conf::typed::acme::ChallengeKind;
use crate::tls::facts::Facts;

/// How one certificate stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// For whom, the first is the one that people know it by.
    pub names: Vec<Box<str>>,
    /// Whom it is got from; `None` is the own small authority.
    pub issuer: Option<Box<str>>,
    /// How the names were proven last, or are being proven.
    pub challenge: Option<ChallengeKind>,
    /// What the certificate says that is served; `None` while it is a placeholder.
    pub facts: Option<Facts>,
    /// What goes on.
    pub state: State,
    /// Why a placeholder is served, or a certificate that is not for all of the names.
    pub lacking: Option<String>,
    /// When the next attempt is made, after one that failed.
    pub next_attempt: Option<SystemTime>,
    /// When it will be renewed, if it is valid.
    pub next_renewal: Option<SystemTime>,
    /// What went wrong last; `None` once it went well.
    pub last_error: Option<Trouble>,
    /// What happened lately, oldest first.
    pub log: Vec<Line>,
}

/// What goes on with a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It is next, or behind others.
    Waiting,
    /// The authority's terms have to be agreed to first.
    Unagreed {
        /// Whose terms: the issuer's name.
        issuer: Box<str>,
        /// Where they are read, if the authority says so.
        terms: Option<Box<str>>,
    },
    /// Another instance with the same state directory gets it.
    Elsewhere,
    /// It is being got.
    Ordering(Step),
    /// It is there; see [`Status::next_renewal`].
    Valid,
    /// The last attempts failed; see [`Status::next_attempt`]. What was there before is served on.
    Failed {
        /// So many, one after the other.
        attempts: u32,
    },
}

/// How far an order has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The account is looked for or made.
    Account,
    /// The order is placed, or looked at again.
    Order,
    /// The names are proven.
    Proof,
    /// The key is made, and the certificate asked for.
    Finalize,
    /// The certificate is fetched.
    Certificate,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Account => "getting an account",
            Self::Order => "placing the order",
            Self::Proof => "proving the names",
            Self::Finalize => "asking for the certificate",
            Self::Certificate => "fetching the certificate",
        })
    }
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// When.
    #[serde(with = "unix_time")]
    pub at: SystemTime,
    /// What was being done, and what came of it, in our words.
    pub what: String,
    /// What the authority said, in its own.
    pub problem: Option<Problem>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        match &self.problem {
            Some(problem) => write!(formatter, ": {problem}"),
            None => Ok(()),
        }
    }
}

/// A problem document of an authority (RFC 7807, RFC 8555 section 6.7), word for word.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Problem {
    /// `type`, as `urn:ietf:params:acme:error:dns`.
    pub kind: Option<String>,
    /// `detail`
    pub detail: Option<String>,
    /// `subproblems`, one for each name that has one.
    #[serde(default)]
    pub parts: Vec<PartialProblem>,
}

/// What is wrong with one name of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartialProblem {
    /// The name.
    pub name: Option<String>,
    /// `type`
    pub kind: Option<String>,
    /// `detail`
    pub detail: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        said(formatter, self.detail.as_deref(), self.kind.as_deref())?;
        for part in &self.parts {
            formatter.write_str("; ")?;
            if let Some(name) = &part.name {
                write!(formatter, "{name}: ")?;
            }
            said(formatter, part.detail.as_deref(), part.kind.as_deref())?;
        }
        Ok(())
    }
}

fn said(
    formatter: &mut fmt::Formatter<'_>,
    detail: Option<&str>,
    kind: Option<&str>,
) -> fmt::Result {
    match (detail, kind) {
        (Some(detail), Some(kind)) => write!(formatter, "{detail} ({kind})"),
        (Some(text), None) | (None, Some(text)) => formatter.write_str(text),
        (None, None) => formatter.write_str("no reason was given"),
    }
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// When.
    #[serde(with = "unix_time")]
    pub at: SystemTime,
    /// What.
    pub text: String,
}
