//! `auto_ban`: who is kept out by itself.

use std::time::Duration;

use ipnet::IpNet;

/// The rules of one place.
#[derive(Debug, PartialEq, Eq)]
pub struct AutoBans {
    /// `auto_ban`, in order.
    pub rules: Box<[AutoBan]>,
    /// `auto_ban_except`: who is never kept out by a rule.
    pub except: Box<[IpNet]>,
}

/// One `auto_ban`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoBan {
    /// So many answers that count, at least 1,
    pub count: u32,
    /// in this time,
    pub period: Duration,
    /// keep their client out for this time.
    pub time: Duration,
    /// The statuses that count.
    pub statuses: Box<[u16]>,
    /// Does a wrong password or a forged token count, whatever its answer?
    pub counts_logins: bool,
    /// What tells it from rules that say something else. The same rule counts together wherever it
    /// stands, also in the configuration after this one.
    pub digest: u64,
}
