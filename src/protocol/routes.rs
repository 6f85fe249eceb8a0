//! What is said of routes, and why a request took one.

use serde::{Deserialize, Serialize};

use super::{RouteLimit, Traffic};

/// The numbers of a route.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteTraffic {
    /// [`Route::id`]
    pub route: u32,
    /// Requests since the start.
    pub total: u64,
    /// Requests with a wrong password or a forged token, since the start.
    pub failed_logins: u64,
    /// Bytes of bodies before they were compressed, since the start.
    pub unpacked: u64,
    /// And after.
    pub packed: u64,
    /// What happens.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Where requests go: a location of a server, or a server without any.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Names it in [`RouteTraffic`]; the same for as long as the daemon runs.
    pub id: u32,
    /// The first name of its server; empty if it has none.
    pub server: String,
    /// All names of its server.
    pub names: Vec<String>,
    /// The addresses of its server, as written.
    pub listens: Vec<String>,
    /// Is its server the default of one of its addresses?
    pub is_default: bool,
    /// As written behind `location`: `/api/`, `= /x`, `~ \.php$`, `@name`; empty for a server without.
    pub location: String,
    /// What answers: `http://app`, `root /srv/www`, `return 301 https://…`.
    pub target: String,
    /// The name of the `upstream` block, if the target is one.
    pub upstream: Option<String>,
    /// The file and lines, from 1, where it is written.
    pub file: String,
    /// See `file`.
    pub line: u32,
    /// See `file`.
    pub end_line: u32,
    /// The address of its block, for [`crate::conf::address::Address`].
    pub address: String,
    /// The address of its server's block.
    pub server_address: String,
    /// What holds in it, for people: lines such as `allow 10.0.0.0/8` or `gzip on`.
    pub notes: Vec<String>,
    /// The limits that hold in it, written there or around it.
    pub limits: Vec<RouteLimit>,
}

/// All routes, in the order in which nginx matches.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// The revision they are of.
    pub revision: u64,
    /// The routes.
    pub routes: Vec<Route>,
}

/// What would happen to a request?
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `GET`
    pub method: String,
    /// `http://host:port/path?query`
    pub url: String,
    /// More fields of the request.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// The address of the client; loopback if empty.
    #[serde(default)]
    pub client: String,
}

/// What would happen to a request, as far as that is known without sending it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The first name of the server; empty if none is asked.
    pub server: String,
    /// The location as written.
    pub location: String,
    /// What answers.
    pub target: String,
    /// The status, if it is known.
    pub status: Option<u16>,
    /// The route it is counted for.
    pub route: Option<u32>,
    /// What happens, in order, and why.
    pub steps: Vec<Step>,
    /// The peers it may go to, the likeliest first.
    pub peers: Vec<String>,
    /// The URL that a peer is asked for.
    pub upstream_url: Option<String>,
}

/// One thing that happens to a request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// `listen`, `server`, `rewrite`, `location`, `access`, `content`, `upstream`, `filter`.
    pub phase: String,
    /// What is decided, and why.
    pub text: String,
    /// `file:line`; empty if no line says so.
    pub place: String,
}
