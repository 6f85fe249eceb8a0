//! `allow` and `deny`: the first rule that speaks of the client decides.
//!
//! Owns the decision; what it leads to (and `satisfy`) is the caller's. A rule of one address
//! family says nothing about the other (nginx `ngx_http_access_module`).

use std::net::IpAddr;

use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{AccessRule, AccessSubject};

/// What the rules say about a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// `allow`
    Allowed,
    /// `deny`
    Denied,
    /// No rule speaks of it; it may pass, but that does not count as allowed for `satisfy any`.
    Undecided,
}

/// What the rules, in the order written, say about a client. IPv4 in IPv6 is IPv4.
pub fn judge(rules: &[AccessRule], client: &Address) -> Verdict {
    // The client's address is made comparable once, and only if there is a rule.
    if rules.is_empty() {
        return Verdict::Undecided;
    }
    let address = match client {
        Address::Ip(address) => Some(address.ip().to_canonical()),
        Address::Unix(_) => None,
    };
    let speaks_of_it = |subject: &AccessSubject| match (subject, address) {
        (AccessSubject::All, _) | (AccessSubject::Unix, None) => true,
        (AccessSubject::Network(ipnet::IpNet::V4(network)), Some(IpAddr::V4(address))) => {
            network.contains(&address)
        }
        (AccessSubject::Network(ipnet::IpNet::V6(network)), Some(IpAddr::V6(address))) => {
            network.contains(&address)
        }
        _ => false,
    };
    match rules.iter().find(|rule| speaks_of_it(&rule.who)) {
        Some(rule) if rule.allow => Verdict::Allowed,
        Some(_) => Verdict::Denied,
        None => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<AccessRule> {
        let rule = |text: &&str| {
            let (verb, who) = text.split_once(' ').expect("two words");
            AccessRule {
                allow: verb == "allow",
                who: match who {
                    "all" => AccessSubject::All,
                    "unix:" => AccessSubject::Unix,
                    network => AccessSubject::Network(network.parse().expect("a network")),
                },
            }
        };
        texts.iter().map(rule).collect()
    }

    fn verdicts(texts: &[&str], clients: &[&str]) -> Vec<Verdict> {
        let rules = rules(texts);
        let judge = |client: &&str| match *client {
            "unix:" => judge(&rules, &Address::Unix("/run/x".into())),
            address => {
                let address = std::net::SocketAddr::new(address.parse().expect("an address"), 1);
                judge(&rules, &Address::Ip(address))
            }
        };
        clients.iter().map(judge).collect()
    }

    #[test]
    fn the_first_rule_that_speaks_of_the_client_decides() {
        use Verdict::*;
        assert_eq!(
            verdicts(
                &[
                    "deny 192.0.2.1/32",
                    "allow 192.0.2.0/24",
                    "allow 2001:db8::/32",
                    "deny all"
                ],
                &[
                    "192.0.2.1",
                    "192.0.2.2",
                    "198.51.100.1",
                    "2001:db8::1",
                    "2001:db9::1",
                    "unix:"
                ],
            ),
            [Denied, Allowed, Denied, Allowed, Denied, Denied]
        );
        assert_eq!(
            verdicts(&["deny all", "allow 192.0.2.0/24"], &["192.0.2.1"]),
            [Denied]
        );
    }

    #[test]
    fn a_client_that_no_rule_speaks_of_is_undecided() {
        use Verdict::*;
        assert_eq!(
            verdicts(&["deny 0.0.0.0/0"], &["192.0.2.1", "::1", "unix:"]),
            [Denied, Undecided, Undecided]
        );
        assert_eq!(verdicts(&[], &["192.0.2.1"]), [Undecided]);
        assert_eq!(
            verdicts(&["allow unix:", "deny all"], &["unix:", "::1"]),
            [Allowed, Denied]
        );
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        assert_eq!(
            verdicts(&["deny 192.0.2.0/24", "allow ::/0"], &["::ffff:192.0.2.7"]),
            [Verdict::Denied]
        );
    }
}
