//! `openclaw limits`: the zones of limits, what they let through, and whom they refuse.

use super::figures::{bytes, count, rate};
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use crate::protocol::{LimitKind, LimitZone, Limits};

/// Lists the zones, and the keys that were refused most.
pub fn list(session: &Session) -> Result<(), Failure> {
    let limits: Limits = session.get("/v1/limits")?;
    if session.json {
        print_json(&limits);
    } else if limits.zones.is_empty() {
        print("no limits: the configuration has no limit_req_zone and no limit_conn_zone\n");
    } else {
        print(&zones(&limits).text());
        let worst = worst(&limits);
        if !worst.is_empty() {
            print(&format!("\n{}", worst.text()));
        }
    }
    Ok(())
}

fn zones(limits: &Limits) -> Table {
    let mut table = Table::new(&[
        ("ZONE", Side::Left),
        ("LIMITS", Side::Left),
        ("BY", Side::Left),
        ("KEYS", Side::Right),
        ("MEMORY", Side::Right),
        ("OF", Side::Right),
        ("PASS/S", Side::Right),
        ("DELAY/S", Side::Right),
        ("REFUSE/S", Side::Right),
        ("PASSED", Side::Right),
        ("DELAYED", Side::Right),
        ("REFUSED", Side::Right),
    ]);
    for zone in &limits.zones {
        table.row([
            zone.name.clone(),
            what(zone),
            zone.key.clone(),
            count(zone.keys),
            bytes(zone.bytes),
            bytes(zone.size),
            rate(zone.traffic.passed),
            rate(zone.traffic.delayed),
            rate(zone.traffic.refused),
            count(zone.passed),
            count(zone.delayed),
            count(zone.refused),
        ]);
    }
    table
}

fn what(zone: &LimitZone) -> String {
    match zone.of {
        LimitKind::Requests => format!("requests, {}", zone.rate),
        LimitKind::Connections => "connections".to_owned(),
    }
}

fn worst(limits: &Limits) -> Table {
    let mut table = Table::new(&[
        ("REFUSED MOST", Side::Left),
        ("ZONE", Side::Left),
        ("REFUSED", Side::Right),
        ("AHEAD", Side::Right),
    ]);
    for zone in &limits.zones {
        for key in &zone.worst {
            table.row([
                key.key.clone(),
                zone.name.clone(),
                count(key.refused),
                format!("{:.1}", key.ahead),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{LimitTraffic, LimitedKey};

    #[test]
    fn zones_are_listed_with_whom_they_refuse() {
        let limits = Limits {
            revision: 1,
            zones: vec![LimitZone {
                name: "clients".to_owned(),
                key: "$binary_remote_addr".to_owned(),
                rate: "5r/s".to_owned(),
                size: 10 << 20,
                bytes: 4 << 10,
                keys: 12,
                passed: 1_000,
                delayed: 3,
                refused: 70,
                traffic: LimitTraffic {
                    passed: 4.0,
                    refused: 0.5,
                    ..LimitTraffic::default()
                },
                worst: vec![LimitedKey {
                    key: "203.0.113.9\u{1b}".to_owned(),
                    refused: 66,
                    ahead: 20.5,
                }],
                ..LimitZone::default()
            }],
        };
        assert_eq!(
            zones(&limits).lines(),
            [
                "ZONE     LIMITS          BY                   KEYS   MEMORY        OF  PASS/S  DELAY/S  \
                 REFUSE/S  PASSED  DELAYED  REFUSED",
                "clients  requests, 5r/s  $binary_remote_addr    12  4.0 KiB  10.0 MiB     4.0        0  \
                 \x20    0.5    1.0k        3       70",
            ]
        );
        assert_eq!(
            worst(&limits).lines(),
            [
                "REFUSED MOST   ZONE     REFUSED  AHEAD",
                "203.0.113.9^[  clients       66   20.5",
            ]
        );
    }
}
