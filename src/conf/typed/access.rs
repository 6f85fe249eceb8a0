//! Who may pass: passwords, other servers that are asked, tokens, logins.
//!
//! `allow` and `deny` stand in [`super::location::Settings::access`]: they cost nothing where they are
//! alone.

use std::time::Duration;

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
