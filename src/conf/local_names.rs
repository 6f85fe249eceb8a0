//! Names and addresses that mean something in one house only.
//!
//! The one list of them: by it a server gets its certificate from the own authority instead of a
//! public one, a new site is proposed without one, and the own authority's root is constrained.

use std::net::IpAddr;

/// What nobody has in the world, and names below it: RFC 6761 (`example`, `invalid`, `localhost`,
/// `test`), RFC 6762 (`local`), RFC 7686 (`onion`), RFC 8375 (`home.arpa`), RFC 9476 (`alt`),
/// `internal`, which ICANN reserves, and what people and routers call the network at home.
pub const SUFFIXES: &[&str] = &[
    "alt",
    "corp",
    "example",
    "fritz",
    "fritz.box",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// Is this a name or an address that no public authority certifies? A wildcard is as local as what
/// it stands for.
pub fn is_local(text: &str) -> bool {
    if let Ok(address) = text.parse() {
        return is_local_address(address);
    }
    let name = text.trim_start_matches("*.").trim_matches('.');
    let name = name.to_ascii_lowercase();
    !name.contains('.') || SUFFIXES.iter().any(|suffix| is_below(&name, suffix))
}

/// Is this name the other one, or below it?
pub fn is_below(name: &str, suffix: &str) -> bool {
    let before = name.strip_suffix(suffix);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn is_local_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_documentation()
                || address.is_broadcast()
                || address.is_multicast()
                // Shared by a provider's customers (RFC 6598).
                || (address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.segments()[..2] == [0x2001, 0xdb8]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names_are_told_from_public_ones() {
        for name in [
            "nas",
            "NAS",
            "nas.local",
            "a.b.LAN",
            "x.home.arpa",
            "*.box.home.arpa",
            "nas.fritz.box",
            "a.test",
            "b.internal",
            "a.localhost",
            "10.0.0.1",
            "fd00::1",
            "127.0.0.1",
            "192.0.2.1",
            "100.64.0.1",
            "*.lan",
        ] {
            assert!(is_local(name), "{name}");
        }
        for name in [
            "example.com",
            "*.example.com",
            "a.b.example.org",
            "local.example.org",
            "mylan.org",
            "x.box",
            "1.arpa",
            "8.8.8.8",
            "172.32.0.1",
            "2600::1",
        ] {
            assert!(!is_local(name), "{name}");
        }
    }
}
