//! Who may pass: passwords, other servers that are asked, tokens, logins.
//!
//! `allow` and `deny` stand in [`super::location::Settings::access`]: they cost nothing where they are
//! alone.

use std::sync::Arc;
use std::time::Duration;

use super::hostnames::HostnameTable;
use crate::conf::regex::Regex;
use crate::conf::template::Template;

/// What a place asks of a client besides its address.
#[derive(Debug)]
pub struct Guard {
    /// `satisfy any`: one check that allows is enough.
    pub satisfy_any: bool,
    /// `auth_delay`: how long an answer with 401 is held back.
    pub delay: Duration,
    /// `auth_basic`
    pub basic: Option<Basic>,
    /// `auth_request`
    pub request: Option<AuthRequest>,
    /// Fields in which this server tells backends who somebody is, in lower case with dashes. A client
    /// that sends one is not believed, wherever in the server it asks.
    pub identity: Arc<[Box<[u8]>]>,
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
