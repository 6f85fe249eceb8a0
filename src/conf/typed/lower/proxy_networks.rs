//! `set_real_ip_from` with a name: the networks of known providers, and lists in files.
//!
//! Owns the list that the program carries (`assets/proxy-networks.txt`) and how a list in a file is
//! read. Whom to believe decides who a client is: a list is taken whole or not at all.

use std::fs::File;
use std::io::Read as _;

use ipnet::IpNet;

use super::Cx;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::Word;

const CARRIED: &str = include_str!("../../../../assets/proxy-networks.txt");

/// A list in a file is no longer than this, in bytes.
const LARGEST: u64 = 64 << 10;
/// It has so many networks at most: each request from elsewhere is compared with all of them.
const MOST: usize = 1000;

/// The networks of a provider that the program knows.
pub fn of_provider(name: &str) -> Option<Vec<IpNet>> {
    let networks: Vec<IpNet> = entries()
        .filter(|(of, _)| *of == name)
        .filter_map(|(_, network)| network.parse().ok())
        .collect();
    (!networks.is_empty()).then_some(networks)
}

/// The names of these providers, as in a message.
pub fn providers() -> String {
    let mut names: Vec<&str> = entries().map(|(name, _)| name).collect();
    names.dedup();
    format!("`{}`", names.join("`, `"))
}

fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    CARRIED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
}

/// The networks in a file: one in a line, `#` begins a comment. A file that is not there trusts nobody
/// and the sites work on; one that is wrong is an error, which leaves in force what is.
pub fn of_file(word: &Word, path: &str, cx: &mut Cx) -> Vec<IpNet> {
    if !path.starts_with('/') {
        let message = format!("`{path}` is not an absolute path");
        let problem = Diagnostic::error(Code::BAD_PROXY_LIST, word.span, message);
        cx.report(problem.hint("for example `set_real_ip_from file:/etc/openclaw/cdn.txt;`"));
        return Vec::new();
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        // A pipe or a device would never end.
        match file.metadata()?.is_file() {
            true => file.take(LARGEST + 1).read_to_string(&mut text),
            false => Err(std::io::Error::other("not a file")),
        }
    });
    if let Err(error) = read {
        let message = format!("the list of proxies `{path}` cannot be read: {error}");
        let problem = Diagnostic::warning(Code::NO_PROXY_LIST, word.span, message);
        cx.report(problem.hint(
            "no request is believed to come through its proxies until a reload finds the file",
        ));
        return Vec::new();
    }
    let mut networks = Vec::new();
    let mut wrong =
        (text.len() as u64 > LARGEST).then(|| format!("is longer than {LARGEST} bytes"));
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() || wrong.is_some() {
            continue;
        }
        let network = (line.parse().ok())
            .or_else(|| Some(IpNet::from(line.parse::<std::net::IpAddr>().ok()?)));
        match network {
            // Everybody is no proxy.
            Some(network) if network.prefix_len() > 0 => networks.push(network.trunc()),
            _ => {
                wrong = Some(format!(
                    "has in line {} neither an address nor a network",
                    number + 1
                ))
            }
        }
        if networks.len() > MOST {
            wrong = Some(format!("has more than {MOST} networks"));
        }
    }
    match wrong {
        None if networks.is_empty() => wrong_list(word, path, "has no network", cx),
        None => networks,
        Some(why) => wrong_list(word, path, &why, cx),
    }
}

fn wrong_list(word: &Word, path: &str, why: &str, cx: &mut Cx) -> Vec<IpNet> {
    let message = format!("the list of proxies `{path}` {why}");
    let problem = Diagnostic::error(Code::BAD_PROXY_LIST, word.span, message);
    cx.report(
        problem.hint("one address or network in a line, e.g. `192.0.2.0/24`; `#` begins a comment"),
    );
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_carried_is_a_network_of_which_no_bit_is_lost() {
        let mut count = 0;
        for (name, network) in entries() {
            let parsed: IpNet = network.parse().expect(network);
            assert_eq!(parsed.trunc(), parsed, "{name} {network}");
            assert!(parsed.prefix_len() >= 7, "{name} {network}");
            count += 1;
        }
        assert!(count > 40, "{count}");
        assert_eq!(providers(), "`cloudflare`, `fastly`, `private`");
    }

    #[test]
    fn a_provider_has_networks_of_both_kinds_and_an_unknown_one_none() {
        for name in ["cloudflare", "fastly", "private"] {
            let networks = of_provider(name).expect(name);
            assert!(networks.iter().any(|network| network.addr().is_ipv4()));
            assert!(networks.iter().any(|network| network.addr().is_ipv6()));
        }
        assert_eq!(of_provider("cloudflar"), None);
        assert_eq!(of_provider(""), None);
    }
}
