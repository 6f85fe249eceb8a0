//! `auto_ban`: an address that got too many bad answers is kept out for a time.
//!
//! Owns what is counted of whom; who is kept out is [`super::bans`]'. What is counted outlives a
//! reload, since it belongs to the rule and not to the configuration that it stands in. Invariants: the
//! memory is bounded, and neither a machine's own programs nor a proxy that is trusted to name its
//! clients are ever kept out, since that would keep out everybody behind them.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

use super::bans::{self, Ban};
use super::limits::table::Table;
use super::real_ip;
use crate::conf::typed::bans::{AutoBan, AutoBans};
use crate::http::exchange::{BanStatus, Exchange};
use crate::unit::{clock, printable, time};

/// Of all rules together: room for some 17,000 addresses at a time. Who is not counted for longest is
/// forgotten first.
const SIZE: usize = 1 << 20;

/// Of the path that is told in the reason, so many letters.
const SHOWN: usize = 80;

static COUNTED: LazyLock<Table> = LazyLock::new(|| Table::new(SIZE));

/// Counts the answer of a request that has ended, if it is one that counts. The ban that it brings on
/// is in force already.
pub fn count(rules: &AutoBans, exchange: &mut Exchange) -> Option<Ban> {
    let is_meant = |rule: &&AutoBan| {
        (rule.counts_logins && exchange.has_failed_login)
            || rule.statuses.contains(&exchange.status)
    };
    if exchange.ban_status.is_some() || !rules.rules.iter().any(|rule| is_meant(&rule)) {
        return None;
    }
    let address = exchange.connection.remote_ip()?.to_canonical();
    if is_exempt(rules, exchange, address) {
        return None;
    }
    exchange.ban_status = Some(BanStatus::Counted);
    // Each of them counts, also where one of them is enough.
    let mut longest: Option<&AutoBan> = None;
    for rule in rules.rules.iter().filter(is_meant) {
        if is_enough(&COUNTED, rule, address, clock::milliseconds())
            && longest.is_none_or(|longest| longest.time < rule.time)
        {
            longest = Some(rule);
        }
    }
    let ban = ban(longest?, exchange, address);
    if !bans::bans().add_by_itself(ban.clone()) {
        return None;
    }
    exchange.ban_status = Some(BanStatus::Banned);
    Some(ban)
}

fn is_exempt(rules: &AutoBans, exchange: &Exchange, address: IpAddr) -> bool {
    address.is_loopback()
        || rules
            .except
            .iter()
            .any(|network| network.contains(&address))
        || real_ip::is_trusted(exchange)
}

/// One more: are they enough now? Those of the network of a household are counted together.
fn is_enough(counted: &Table, rule: &AutoBan, address: IpAddr, now: u64) -> bool {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&rule.digest.to_ne_bytes());
    match network(address) {
        IpNet::V4(network) => key[8..12].copy_from_slice(&network.addr().octets()),
        IpNet::V6(network) => {
            key[8] = 6;
            key[9..].copy_from_slice(&network.addr().octets()[..8]);
        }
    }
    let key = match address {
        IpAddr::V4(_) => &key[..12],
        IpAddr::V6(_) => &key[..],
    };
    let hash = counted.hash(key);
    let mut shard = counted.shard(hash);
    let Some(place) = counted.enter(&mut shard, hash, key, true, |_| false) else {
        return false;
    };
    let entry = shard.entry(place.entry);
    let period = rule.period.as_millis() as u64;
    // The time runs from the first that counts.
    if place.is_new || now.saturating_sub(entry.last) >= period {
        entry.last = now;
        entry.value = 0;
    }
    entry.value = entry.value.saturating_add(1);
    let is_enough = entry.value >= rule.count;
    if is_enough {
        // Whoever comes back, because the time is over or somebody let them, begins anew.
        counted.remove(&mut shard, place.entry);
    }
    is_enough
}

/// Who is kept out: an address, or the network of IPv6 that one household has.
fn network(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::from(address),
        IpAddr::V6(_) => IpNet::new(address, 64).map_or(IpNet::from(address), |net| net.trunc()),
    }
}

fn ban(rule: &AutoBan, exchange: &Exchange, address: IpAddr) -> Ban {
    let now = clock::unix().as_millis() as u64;
    let shown = |bytes: &[u8]| {
        let text: String = String::from_utf8_lossy(bytes).chars().take(SHOWN).collect();
        printable::escape(&text).into_owned()
    };
    let what = match rule.counts_logins && exchange.has_failed_login {
        true => "a failed login".to_owned(),
        false => exchange.status.to_string(),
    };
    let reason = format!(
        "{} in {}, the last {what} at {}{}",
        rule.count,
        time::print(rule.period),
        shown(&exchange.host),
        shown(&exchange.path),
    );
    Ban {
        network: network(address),
        since: now,
        until: Some(now.saturating_add(rule.time.as_millis() as u64)),
        reason,
        by: bans::BY_ITSELF.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(count: u32) -> AutoBan {
        AutoBan {
            count,
            period: Duration::from_secs(60),
            time: Duration::from_secs(3600),
            statuses: [404].into(),
            counts_logins: false,
            digest: u64::from(count),
        }
    }

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn so_many_in_a_time_are_enough_and_then_it_begins_anew() {
        let table = Table::new(32 << 10);
        let rule = rule(3);
        let one = at("192.0.2.1");
        for (now, is_last) in [
            (0, false),
            (59_999, false),
            // The time of the first two is over.
            (60_000, false),
            (60_001, false),
            (100_000, true),
            (100_001, false),
        ] {
            assert_eq!(is_enough(&table, &rule, one, now), is_last, "{now}");
        }
        assert!(!is_enough(&table, &rule, at("192.0.2.2"), 100_002));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_rules_count_apart() {
        let table = Table::new(32 << 10);
        let (two, other) = (
            rule(2),
            AutoBan {
                digest: 9,
                ..rule(2)
            },
        );
        assert!(!is_enough(&table, &two, at("2001:db8::1"), 0));
        assert!(!is_enough(&table, &other, at("2001:db8::1"), 0));
        assert!(!is_enough(&table, &two, at("2001:db8:0:1::1"), 0));
        assert!(is_enough(&table, &two, at("2001:db8::ffff:1"), 0));
        assert_eq!(network(at("2001:db8::5")).to_string(), "2001:db8::/64");
        assert_eq!(network(at("192.0.2.1")).to_string(), "192.0.2.1/32");
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let table = Table::new(32 << 10);
        for number in 0..100_000_u32 {
            is_enough(&table, &rule(5), IpAddr::from(number.to_be_bytes()), 0);
        }
        assert!(table.bytes() <= 64 << 10, "{}", table.bytes());
    }
}
