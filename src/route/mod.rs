//! Which server and which location a request belongs to, and what it is rewritten to.
//!
//! Owns nginx's order of matching. Knows nothing of what answers a request, and answers none.

pub mod location;
pub mod rewrite;
pub mod server_name;
pub mod table;

#[cfg(test)]
mod fixture;

use crate::conf::regex::{Groups, Regex};
use crate::http::exchange::Exchange;

/// After a match: `$1` and the named groups are what the pattern found. A pattern without groups
/// makes `$1` empty (nginx `ngx_http_regex_exec`), and nothing is copied for it.
fn remember(exchange: &Exchange, regex: &Regex, groups: &Groups, subject: &[u8]) {
    match regex.group_count() {
        1 => exchange.groups.borrow_mut().0.clear(),
        _ => exchange.remember_groups(regex, groups, subject),
    }
}
