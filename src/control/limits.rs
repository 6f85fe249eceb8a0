//! The zones of limits as the protocol tells them, and how fast each lets requests through.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use parking_lot::Mutex;

use super::{Control, numbers};
use crate::access::limits::ZoneNow;
use crate::access::limits::table::Counts;
use crate::conf::typed::limits::{Burst, LimitZones, REQUEST, Zone};
use crate::conf::typed::location::Settings;
use crate::protocol::{Level, LimitKind, LimitTraffic, LimitZone, LimitedKey, Limits, RouteLimit};

/// Over so many seconds rates are told.
const SPAN: usize = 10;

/// More refusals in a second than this are told; it is over at a tenth of it.
const MANY: f64 = 10.0;

/// What was counted in the last seconds.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Metered>);

#[derive(Debug, Default)]
struct Metered {
    samples: VecDeque<Sample>,
    /// The zones that were told to refuse much.
    exceeded: HashSet<(LimitKind, Box<str>)>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    counts: HashMap<(LimitKind, Box<str>), Counts>,
}

/// A second has passed.
pub fn tick(control: &Control) {
    let in_force = control.desk.in_force();
    let generation = &in_force.generation;
    let conf = &generation.http.limit_zones;
    let mut metered = control.limits.0.lock();
    let Metered { samples, exceeded } = &mut *metered;
    if conf.requests.is_empty() && conf.connections.is_empty() {
        samples.clear();
        exceeded.clear();
        return;
    }
    let [requests, connections] = generation.zones.counts();
    let requests = conf.requests.iter().map(|zone| &zone.zone).zip(requests);
    let connections = conf.connections.iter().zip(connections);
    let counts = requests
        .map(|(zone, counts)| ((LimitKind::Requests, zone.name.clone()), counts))
        .chain(
            connections.map(|(zone, counts)| ((LimitKind::Connections, zone.name.clone()), counts)),
        );
    samples.push_back(Sample {
        at: Instant::now(),
        counts: counts.collect(),
    });
    while samples.len() > SPAN + 1 {
        samples.pop_front();
    }
    exceeded.retain(|(of, name)| all(conf).any(|(own, zone)| own == *of && zone.name == *name));
    let mut news = Vec::new();
    for (of, zone) in all(conf) {
        let refused = rates(samples, of, &zone.name).refused;
        let key = (of, zone.name.clone());
        let was_exceeded = exceeded.contains(&key);
        match is_exceeded(refused, was_exceeded) {
            true if !was_exceeded => {
                let text = format!("the limit is exceeded {refused:.0} times a second");
                news.push((Level::Warn, zone.name.clone(), text));
                exceeded.insert(key);
            }
            false if was_exceeded => {
                let text = "the limit is hardly exceeded any more".to_owned();
                news.push((Level::Good, zone.name.clone(), text));
                exceeded.remove(&key);
            }
            _ => {}
        }
    }
    drop(metered);
    for (level, zone, text) in news {
        numbers::occur(control, level, "limit", &zone, &text);
    }
}

/// Is a zone exceeded much? It takes fewer refusals to end that than to begin it.
fn is_exceeded(refused: f64, was_exceeded: bool) -> bool {
    let limit = match was_exceeded {
        true => MANY / 10.0,
        false => MANY,
    };
    refused >= limit
}

/// What is to be told of zones that are exceeded much now.
pub fn troubles(control: &Control) -> Vec<String> {
    let metered = control.limits.0.lock();
    let told = metered.exceeded.iter().map(|(of, name)| {
        let refused = rates(&metered.samples, *of, name).refused;
        format!("limit {name} is exceeded {refused:.0} times a second, see `openclaw limits`")
    });
    told.collect()
}

/// What each zone does now.
pub fn traffic(control: &Control) -> Vec<LimitTraffic> {
    let in_force = control.desk.in_force();
    let conf = &in_force.generation.http.limit_zones;
    let metered = control.limits.0.lock();
    let zones = all(conf).map(|(of, zone)| rates(&metered.samples, of, &zone.name));
    zones.collect()
}

/// Every zone with all that is known of it.
pub fn list(control: &Control) -> Limits {
    let in_force = control.desk.in_force();
    let generation = &in_force.generation;
    let conf = &generation.http.limit_zones;
    let [requests, connections] = generation.zones.now(conf);
    let metered = control.limits.0.lock();
    let told = |(of, zone): (LimitKind, &Zone), rate: &str, now: ZoneNow| LimitZone {
        name: zone.name.to_string(),
        of,
        key: zone.key_text.to_string(),
        rate: rate.to_owned(),
        size: zone.size as u64,
        bytes: now.bytes as u64,
        keys: now.keys as u64,
        passed: now.counts.passed,
        delayed: now.counts.delayed,
        refused: now.counts.refused,
        traffic: rates(&metered.samples, of, &zone.name),
        worst: (now.refused.into_iter())
            .map(|key| LimitedKey {
                ahead: match of {
                    LimitKind::Requests => f64::from(key.value) / REQUEST as f64,
                    LimitKind::Connections => f64::from(key.value),
                },
                key: key.key,
                refused: u64::from(key.refused),
            })
            .collect(),
    };
    let requests = conf
        .requests
        .iter()
        .zip(requests)
        .map(|(zone, now)| told((LimitKind::Requests, &zone.zone), &zone.rate_text, now));
    let connections = (conf.connections.iter().zip(connections))
        .map(|(zone, now)| told((LimitKind::Connections, zone), "", now));
    Limits {
        revision: in_force.revision,
        zones: requests.chain(connections).collect(),
    }
}

/// The limits of a place.
pub fn of_place(settings: &Settings, conf: &LimitZones) -> Vec<RouteLimit> {
    let Some(limits) = &settings.limits else {
        return Vec::new();
    };
    let dry = |is_dry: bool| if is_dry { " (dry run)" } else { "" };
    let requests = limits.requests.iter().map(|limit| {
        let zone = &conf.requests[limit.zone];
        let Burst { most, undelayed } = limit.burst;
        let mut rule = zone.rate_text.to_string();
        if most > 0 {
            rule.push_str(&format!(" burst {}", most / REQUEST));
        }
        match undelayed {
            u64::MAX => rule.push_str(" nodelay"),
            0 => {}
            undelayed => rule.push_str(&format!(" delay {}", undelayed / REQUEST)),
        }
        rule.push_str(dry(limits.of_requests.is_dry_run));
        RouteLimit {
            zone: zone.zone.name.to_string(),
            of: LimitKind::Requests,
            rule,
        }
    });
    let connections = limits.connections.iter().map(|limit| RouteLimit {
        zone: conf.connections[limit.zone].name.to_string(),
        of: LimitKind::Connections,
        rule: format!(
            "{} at a time{}",
            limit.most,
            dry(limits.of_connections.is_dry_run)
        ),
    });
    requests.chain(connections).collect()
}

fn all(conf: &LimitZones) -> impl Iterator<Item = (LimitKind, &Zone)> {
    let requests = conf.requests.iter();
    let requests = requests.map(|zone| (LimitKind::Requests, &zone.zone));
    let connections = conf.connections.iter();
    requests.chain(connections.map(|zone| (LimitKind::Connections, zone)))
}

/// What a zone did per second between the first and the last sample that know it.
fn rates(samples: &VecDeque<Sample>, of: LimitKind, name: &str) -> LimitTraffic {
    let key = (of, Box::from(name));
    let find = |sample: &Sample| Some((sample.at, *sample.counts.get(&key)?));
    let mut traffic = LimitTraffic {
        zone: name.to_owned(),
        of,
        ..LimitTraffic::default()
    };
    let first = samples.iter().find_map(find);
    let last = samples.iter().rev().find_map(find);
    if let (Some((began, first)), Some((ended, last))) = (first, last) {
        let seconds = ended.saturating_duration_since(began).as_secs_f64();
        if seconds > 0.0 {
            // A zone that began anew has counted less than the one before.
            let rate = |last: u64, first: u64| last.saturating_sub(first) as f64 / seconds;
            traffic.passed = rate(last.passed, first.passed);
            traffic.delayed = rate(last.delayed, first.delayed);
            traffic.refused = rate(last.refused, first.refused);
        }
    }
    traffic
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_limit_is_exceeded_until_hardly_anybody_is_refused() {
        for (refused, was_exceeded, is_so) in [
            (0.0, false, false),
            (9.9, false, false),
            (10.0, false, true),
            (9.9, true, true),
            (1.0, true, true),
            (0.9, true, false),
        ] {
            assert_eq!(is_exceeded(refused, was_exceeded), is_so, "{refused}");
        }
    }

    #[test]
    fn rates_are_told_over_what_was_seen_of_a_zone() {
        let began = Instant::now();
        let sample = |seconds: u64, names: &[(&str, u64)]| Sample {
            at: began + Duration::from_secs(seconds),
            counts: (names.iter())
                .map(|(name, refused)| {
                    let counts = Counts {
                        passed: 2 * refused,
                        refused: *refused,
                        delayed: 0,
                    };
                    ((LimitKind::Requests, Box::from(*name)), counts)
                })
                .collect(),
        };
        let samples = VecDeque::from([
            sample(0, &[("old", 10)]),
            sample(1, &[("old", 20), ("new", 0)]),
            sample(4, &[("new", 30)]),
        ]);
        let told = |name| {
            let told = rates(&samples, LimitKind::Requests, name);
            (told.passed, told.refused)
        };
        assert_eq!(told("old"), (20.0, 10.0));
        assert_eq!(told("new"), (20.0, 10.0));
        assert_eq!(told("none"), (0.0, 0.0));
    }
}
