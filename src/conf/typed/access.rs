//! Who may pass: passwords, other servers that are asked, tokens, logins.
//!
//! `allow` and `deny` stand in [`super::location::Settings::access`]: they cost nothing where they are
//! alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::hostnames::HostnameTable;
use super::secret::SecretSource;
use crate::conf::regex::Regex;
use crate::conf::source::Span;
use crate::conf::template::Template;
use crate::conf::variable::Variable;

/// What a place asks of a client besides its address.
#[derive(Debug)]
pub struct Guard {
    /// `satisfy any`: one check that allows is enough.
    pub satisfy_any: bool,
    /// `auth_delay`: how long an answer with 401 is held back.
    pub delay: Duration,
    /// `auth_basic`
    pub basic: Option<Basic>,
    /// `auth_jwt`
    pub token: Option<Token>,
    /// `auth_oidc`
    pub login: Option<LoginRequired>,
    /// `auth_require`, after all of these.
    pub require: Box<[Require]>,
    /// `auth_request`
    pub request: Option<AuthRequest>,
    /// Fields in which this server tells backends who somebody is, in lower case with dashes. A client
    /// that sends one is not believed, wherever in the server it asks.
    pub identity: Arc<[Box<[u8]>]>,
}

/// `auth_jwt` and what belongs to it.
#[derive(Debug)]
pub struct Token {
    /// What is told to whoever has none.
    pub realm: Template,
    /// `token=`: where it stands; in `Authorization: Bearer` if that is not said.
    pub source: Option<Variable>,
    /// `auth_jwt_key_file`, absolute; several are tried in turn.
    pub key_files: Box<[Template]>,
    /// `auth_jwt_key_request`: locations that are asked for keys if no file has the one wanted.
    pub key_requests: Box<[Box<[u8]>]>,
    /// `auth_jwt_leeway`
    pub leeway: Duration,
    /// `auth_jwt_require`
    pub require: Box<[Require]>,
    /// `auth_jwt_claim_set`, `auth_jwt_header_set`: slots and what they get.
    pub sets: Box<[TokenSet]>,
}

/// `auth_jwt_claim_set` or `auth_jwt_header_set`.
#[derive(Debug)]
pub struct TokenSet {
    /// The variable's slot.
    pub slot: u16,
    /// Of the header rather than of the claims?
    pub is_of_header: bool,
    /// The names on the way to the value.
    pub path: Box<[Box<str>]>,
}

/// `auth_require` or `auth_jwt_require`: all of the values must be something, and not `0`.
#[derive(Debug)]
pub struct Require {
    /// The values.
    pub values: Box<[Template]>,
    /// The status of the answer if one is not.
    pub status: u16,
}

/// `auth_oidc` in a place.
#[derive(Debug)]
pub struct LoginRequired {
    /// At whom.
    pub login: Arc<Login>,
    /// `auth_oidc_allow`: one of them must hold, unless there is none.
    pub allow: Box<[Allow]>,
}

/// `auth_oidc_allow CLAIM VALUE …`
#[derive(Debug)]
pub struct Allow {
    /// The claim; one that is a list is looked through.
    pub claim: Box<str>,
    /// What it may be; `*@example.com` is any address of that domain.
    pub values: Box<[Box<str>]>,
}

/// `oidc_provider NAME { … }`
#[derive(Clone, Debug)]
pub struct Login {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// `issuer`
    pub issuer: Box<str>,
    /// `config_url`: where it describes itself, unless at the usual place below the issuer.
    pub config_url: Option<Box<str>>,
    /// `client_id`
    pub client_id: Box<str>,
    /// `client_secret`
    pub client_secret: Option<SecretSource>,
    /// `scope`
    pub scope: Box<str>,
    /// `redirect_uri`: a whole address if one is written.
    pub redirect: Option<Box<str>>,
    /// The path of it.
    pub redirect_path: Box<str>,
    /// `logout_uri`
    pub logout_path: Option<Box<str>>,
    /// `post_logout_uri`
    pub after_logout: Option<Box<str>>,
    /// `cookie_name`
    pub cookie: Box<str>,
    /// `logout_token_hint`
    pub hints_at_logout: bool,
    /// `session_timeout`
    pub session: Duration,
    /// `pkce`
    pub pkce: bool,
    /// `extra_auth_args`
    pub extra_arguments: Box<str>,
    /// `userinfo`
    pub userinfo: bool,
    /// `ssl_trusted_certificate`
    pub trusted: Option<PathBuf>,
    /// `ssl_verify`
    pub verify: bool,
    /// The word that named it.
    pub span: Span,
}

impl Login {
    /// One with everything that is not written.
    pub fn named(name: &str, issuer: &str) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            config_url: None,
            client_id: Box::default(),
            client_secret: None,
            scope: "openid".into(),
            redirect: None,
            redirect_path: "/oidc_callback".into(),
            logout_path: None,
            after_logout: None,
            cookie: "OPENCLAW_SESSION".into(),
            hints_at_logout: false,
            session: Duration::from_secs(8 * 3600),
            pkce: true,
            extra_arguments: Box::default(),
            userinfo: false,
            trusted: None,
            verify: true,
            span: Span::default(),
        }
    }
}

/// `auth_request` and `auth_request_set`.
#[derive(Debug)]
pub struct AuthRequest {
    /// The location that is asked.
    pub uri: Box<[u8]>,
    /// What is remembered of its answer: slots and their values.
    pub sets: Box<[(u16, Template)]>,
}

/// `mirror`
#[derive(Debug)]
pub struct Mirror {
    /// The locations that get a copy of each request; their answers are thrown away.
    pub uris: Box<[Box<[u8]>]>,
    /// `mirror_request_body`: the copies have the body.
    pub with_body: bool,
}

/// How it is seen that a request comes from where it should: what `$secure_link` and
/// `$invalid_referer` are computed by.
#[derive(Debug)]
pub struct Origin {
    /// `secure_link`, or `secure_link_secret`.
    pub signature: Option<Signature>,
    /// `valid_referers`
    pub referers: Option<Referers>,
}

/// What makes a link one of ours.
#[derive(Debug)]
pub enum Signature {
    /// `secure_link_secret`: the link carries the digest of its rest and this word.
    Word(Box<[u8]>),
    /// `secure_link` and `secure_link_md5`.
    Expression {
        /// The digest as the client has it, and when the link ends.
        shown: Template,
        /// What it is the digest of.
        signed: Template,
    },
}

/// `valid_referers`
#[derive(Debug, Default)]
pub struct Referers {
    /// `none`
    pub none: bool,
    /// `blocked`
    pub blocked: bool,
    /// Hosts, with what the path must begin with.
    pub hosts: HostnameTable<Box<[u8]>>,
    /// Expressions for what follows the scheme.
    pub patterns: Vec<Arc<Regex>>,
    /// Expressions for the host: those of `server_name`.
    pub host_patterns: Vec<Arc<Regex>>,
}

/// `auth_basic` and what belongs to it.
#[derive(Debug)]
pub struct Basic {
    /// What the browser shows to its user; `off` asks nobody.
    pub realm: Template,
    /// `auth_basic_user_file`, absolute; `None` lets nobody in.
    pub file: Option<Template>,
    /// `auth_throttle`; `None` bears any number of guesses.
    pub throttle: Option<Throttle>,
}

/// `auth_throttle COUNT PERIOD`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Wrong passwords of one address, at least 1.
    pub count: u32,
    /// In this time.
    pub period: Duration,
}
