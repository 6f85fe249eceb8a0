//! What is said of certificates: where each came from, who serves it, what renewing it met.

use serde::{Deserialize, Serialize};

use super::{Level, Millis};

/// A certificate from a file with fewer days left is [`CertificateState::Expiring`].
pub const SOON_DAYS: i64 = 30;

/// With fewer days left nobody should sleep well.
pub const CLOSE_DAYS: i64 = 7;

/// A certificate that is served, or wanted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Tells it from all others; the same for as long as the configuration asks for it.
    pub id: String,
    /// What it is for: the names that are wanted, or those that its file has; never empty.
    pub names: Vec<String>,
    /// Where it comes from.
    pub source: CertificateSource,
    /// How it does.
    pub state: CertificateState,
    /// What there is to say about the state, in a sentence; empty if all is well.
    pub remark: String,
    /// The servers that serve it.
    pub used_by: Vec<CertificateUse>,
    /// What is served now; `None` while a placeholder stands in for it.
    pub served: Option<ServedCertificate>,
    /// How it is got, if it is got by the daemon itself.
    pub managed: Option<ManagedCertificate>,
}

/// Where a certificate comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CertificateSource {
    /// From files that the configuration names.
    Files {
        /// `ssl_certificate`
        certificate: String,
        /// `ssl_certificate_key`
        key: String,
    },
    /// The daemon gets it from an authority (RFC 8555).
    Issuer {
        /// The authority's name in the configuration.
        name: String,
        /// The address of its directory.
        uri: String,
    },
    /// The daemon signs it itself.
    OwnAuthority,
    /// From files whose names depend on variables.
    Computed,
    /// From nowhere: nothing says where it comes from.
    #[default]
    #[serde(other)]
    Nowhere,
}

/// How a certificate does.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Its last day has passed, and it is served all the same.
    Expired,
    /// It cannot be read or got, and a placeholder is served.
    Placeholder,
    /// The last attempt to get or to renew it failed; the next one is scheduled.
    Failed,
    /// It is waited for an agreement to the authority's terms.
    Agreement,
    /// Its first day has not come.
    Early,
    /// It ends soon, and nothing that is under way will change that.
    Expiring,
    /// It is not for a name that is served with it.
    Mismatch,
    /// The first one is being got.
    Waiting,
    /// All is well.
    #[default]
    #[serde(other)]
    Valid,
}

impl CertificateState {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Placeholder => "placeholder",
            Self::Failed => "failed",
            Self::Agreement => "agreement",
            Self::Early => "not yet",
            Self::Expiring => "expiring",
            Self::Mismatch => "wrong name",
            Self::Waiting => "waiting",
            Self::Valid => "valid",
        }
    }
}

impl CertificateSource {
    /// In a word or two: who makes it, as far as the configuration says.
    pub fn name(&self) -> &str {
        match self {
            Self::Files { .. } => "file",
            Self::Issuer { name, .. } => name,
            Self::OwnAuthority => "own authority",
            Self::Computed => "files by variables",
            Self::Nowhere => "nowhere",
        }
    }
}

impl Certificate {
    /// Is this its id, or one of its names?
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// How bad its state is.
    pub fn level(&self) -> Level {
        let days = self.served.as_ref().map(|served| served.days_left);
        let is_near = days.is_none_or(|days| days < CLOSE_DAYS);
        match self.state {
            CertificateState::Valid => Level::Good,
            CertificateState::Waiting => Level::Info,
            CertificateState::Expired | CertificateState::Placeholder | CertificateState::Early => {
                Level::Bad
            }
            CertificateState::Failed | CertificateState::Expiring if is_near => Level::Bad,
            CertificateState::Failed
            | CertificateState::Expiring
            | CertificateState::Mismatch
            | CertificateState::Agreement => Level::Warn,
        }
    }
}

/// A server that serves a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateUse {
    /// The first name of the server; empty if it has none.
    pub server: String,
    /// Its addresses with TLS, as written.
    pub listens: Vec<String>,
    /// The place of the line that asks for the certificate.
    pub file: String,
    /// See `file`; from 1.
    pub line: u32,
}

/// What a certificate says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServedCertificate {
    /// Whom it is for, in the form of RFC 2253.
    pub subject: String,
    /// Who signed it: the common name, or the whole name in the form of RFC 2253.
    pub issuer: String,
    /// The organization of who signed it, if it says one.
    pub organization: String,
    /// All names and addresses that it has.
    pub names: Vec<String>,
    /// `04:9a:…`
    pub serial: String,
    /// From when it is valid.
    pub not_before: Millis,
    /// Until when it is valid.
    pub not_after: Millis,
    /// What is left of it in whole days; negative if it is over.
    pub days_left: i64,
    /// `ECDSA P-256`
    pub key: String,
    /// `ECDSA with SHA-256`
    pub signature: String,
    /// SHA-256 of it, `ab:cd:…`
    pub sha256: String,
    /// What is sent behind it, the nearest first.
    pub chain: Vec<ChainLink>,
}

/// A certificate that is sent with another one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainLink {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Until when it is valid.
    pub not_after: Millis,
    /// What its key is.
    pub key: String,
}

/// How a certificate is got.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedCertificate {
    /// How the names are proven: `http-01`, `tls-alpn-01`, `dns-01`; empty with the own authority.
    pub challenge: String,
    /// When it is renewed, or tried again.
    pub next: Option<Millis>,
    /// It is being got now.
    pub is_busy: bool,
    /// Attempts that failed since the last one that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<Trouble>,
    /// The terms that wait for an agreement.
    pub terms: Option<Terms>,
    /// What is known of the authority's limits, in a sentence; empty if nothing is.
    pub limits: String,
    /// What was done, oldest first; the last lines only.
    pub log: Vec<LogLine>,
    /// When a client asked for it last, if it is got because clients ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Millis>,
}

/// The terms of an authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// The authority's name in the configuration.
    pub issuer: String,
    /// Where they are read; empty if the authority does not say it.
    pub url: String,
}

/// An attempt that failed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// When.
    pub at: Millis,
    /// What was being done and why it failed.
    pub text: String,
    /// The authority's own words, if it said some.
    pub authority: String,
}

/// A line of what was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// When.
    pub at: Millis,
    /// How bad.
    pub level: Level,
    /// What.
    pub text: String,
}

/// All certificates, those that end soonest first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificates {
    /// The revision they are of.
    pub revision: u64,
    /// The certificates.
    pub certificates: Vec<Certificate>,
}

/// How many certificates are in which state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStates {
    /// All of them.
    pub all: u32,
    /// Those with [`Certificate::level`] [`Level::Warn`].
    pub warn: u32,
    /// Those with [`Level::Bad`].
    pub bad: u32,
    /// When the first of those that are served ends.
    pub soonest: Option<Millis>,
    /// What the worst of them is, in a line; empty if all is well.
    pub worst: String,
    /// The terms that somebody must agree to before a certificate can be got.
    pub terms: Option<Terms>,
    /// How wrong the clock of the machine is by that of the authorities; empty if it is right, as far as
    /// that is known.
    pub clock: String,
}

/// Which certificate is meant.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateName {
    /// Its [`Certificate::id`], or a name that it is for; with `why` any name at all.
    pub name: String,
}

/// What stands in the way of a certificate, as far as that can be seen from here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Preflight {
    /// The name that was asked about.
    pub name: String,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
    /// Why the last attempt failed.
    pub last_error: Option<Trouble>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    /// `server`, `certificate`, `listen`, `firewall`, `address`, `caa`, `authority`, `clock`, `terms`,
    /// `limits`, `dns`, `state`.
    pub subject: String,
    /// [`Level::Good`], [`Level::Info`] for what could not be looked at, [`Level::Warn`] or
    /// [`Level::Bad`] for what makes it fail.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do; empty if nothing is to be done.
    pub advice: String,
}

/// A certificate and its key, to be served from now on.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// A name of the server that shall serve it.
    pub name: String,
    /// The certificate and what belongs to its chain (PEM).
    pub certificate: String,
    /// The key (PEM), not encrypted.
    pub key: String,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// As [`super::Change::client`].
    #[serde(default)]
    pub client: String,
}

/// The key is nobody's to read.
impl std::fmt::Debug for Import {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Import")
            .field("name", &self.name)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What came of an [`Import`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Imported {
    /// What the certificate says.
    pub certificate: ServedCertificate,
    /// What is wrong with it, but not too wrong to be served.
    pub warnings: Vec<String>,
    /// The files that hold it.
    pub files: Vec<String>,
    /// The difference in the configuration, unified.
    pub diff: String,
    /// The revision that is in force now; 0 with `dry_run`.
    pub revision: u64,
}

/// An agreement to the terms of an authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsAgreement {
    /// The authority's name in the configuration. If it is empty those are meant for which
    /// certificates wait, and without any the one that is there without being written.
    #[serde(default)]
    pub issuer: String,
    /// Where the authority may write to; empty for none.
    #[serde(default)]
    pub email: String,
}
