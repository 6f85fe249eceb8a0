//! When a certificate is renewed.
//!
//! The authority's own wish goes first (RFC 9773), at a moment within the time that it names. Where
//! there is none, it is when two thirds of the life of a certificate are over, half for one that lives
//! for days only, and a little later for some than for others, so that not all come at once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::storage::unix_time;
use crate::tls::facts::Facts;

/// A certificate that lives shorter is renewed after half its life.
const SHORT: Duration = Duration::from_secs(10 * 86_400);

/// A certificate that has come is not renewed within a tenth of its life, nor within these times,
/// whatever its authority wishes: a wish for a time that is over would be followed again and again.
const LEAST_REST: Duration = Duration::from_secs(3600);
const MOST_REST: Duration = Duration::from_secs(86_400);

/// How often the authority is asked for its wish, if it does not say it.
pub const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// It is not asked more often than this, nor less.
const LEAST_PAUSE: Duration = Duration::from_secs(60);
const MOST_PAUSE: Duration = Duration::from_secs(86_400);

/// When the authority wants a certificate renewed.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, Debug)]
pub struct Suggestion {
    /// What the authority calls the certificate.
    pub certificate: String,
    /// The time that it named, as seconds since 1970; `None` if it did not say.
    pub window: Option<(i64, i64)>,
    /// The moment in it that was drawn.
    #[serde(with = "unix_time")]
    pub at: SystemTime,
    /// When to ask it again.
    #[serde(with = "unix_time")]
    pub ask: SystemTime,
    /// Where it explains why.
    pub explanation: Option<String>,
}

/// When a certificate is to be renewed; `issued` is when it came from its authority, `None` for one that
/// a person brought.
pub fn due(
    facts: &Facts,
    issued: Option<SystemTime>,
    suggestion: Option<&Suggestion>,
) -> SystemTime {
    let (start, life) = life(facts);
    let part = match life < SHORT {
        true => life / 2,
        false => life * 2 / 3,
    };
    // Not at random: a certificate is due when it is, however often that is asked. The end of its
    // fingerprint is as good as a random number.
    let spread = u32::from_str_radix(&facts.sha256.replace(':', "")[..4], 16).unwrap_or(0);
    let ordinary = start + part + (life / 30).mul_f64(f64::from(spread) / 65536.0);
    // By a clock that is wrong a certificate that has just come can be over.
    let ordinary = match issued {
        Some(issued) => ordinary.max(issued + life / 3),
        None => ordinary,
    };
    let own = |suggestion: &&Suggestion| {
        suggestion.window.is_some()
            && facts.renewal_identifier.as_ref() == Some(&suggestion.certificate)
    };
    let due = match suggestion.filter(own) {
        // A wish for the time after its end is none.
        Some(suggestion) => suggestion.at.min(start + life * 9 / 10),
        None => ordinary,
    };
    match issued {
        // One that lives for seconds cannot rest for an hour.
        Some(issued) => due.max(issued + LEAST_REST.max((life / 10).min(MOST_REST)).min(life / 3)),
        None => due,
    }
}

/// Shall the authority be asked for its wish at this time?
pub fn is_to_be_asked(facts: &Facts, suggestion: Option<&Suggestion>, now: SystemTime) -> bool {
    match (&facts.renewal_identifier, suggestion) {
        (None, _) => false,
        (Some(own), Some(known)) if *own == known.certificate => known.ask <= now,
        (Some(_), _) => true,
    }
}

/// What an answer means: the moment stays if the authority names the same time as before.
pub fn take(
    facts: &Facts,
    before: Option<&Suggestion>,
    window: Option<(i64, i64)>,
    explanation: Option<String>,
    pause: Duration,
    now: SystemTime,
) -> Suggestion {
    let certificate = facts.renewal_identifier.clone().unwrap_or_default();
    let window = window.filter(|(start, end)| start <= end);
    let same = before.filter(|known| known.certificate == certificate && known.window == window);
    let (_, life) = life(facts);
    Suggestion {
        at: match (same, window) {
            (Some(known), _) => known.at,
            (None, Some((start, end))) => {
                let length = (end - start) as f64 * random();
                moment(start) + Duration::from_secs_f64(length)
            }
            (None, None) => now,
        },
        certificate,
        window,
        // One that lives for an hour cannot wait for a day.
        ask: now + pause.clamp(LEAST_PAUSE.min(life / 20), MOST_PAUSE),
        explanation,
    }
}

/// How long to wait after so many failed attempts: twice as long each time, and not all at once.
pub fn pause(attempts: u32, least: Duration, most: Duration) -> Duration {
    let factor = 2u32.saturating_pow(attempts.saturating_sub(1).min(30));
    let pause = least.saturating_mul(factor).min(most);
    pause.mul_f64(0.8 + 0.4 * random()).min(most)
}

/// A number from 0 to less than 1.
pub fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers there are no keys either; all come at once then.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// A time in seconds since 1970; what lies before is 1970, what lies behind all clocks is not.
fn moment(seconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds)
        .unwrap_or(0)
        .min(u64::from(u32::MAX) * 4);
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// From when, and for how long, a certificate is valid.
fn life(facts: &Facts) -> (SystemTime, Duration) {
    let start = moment(facts.not_before);
    let end = moment(facts.not_after);
    (start, end.duration_since(start).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(day: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(day * DAY)
    }

    /// What a certificate says that is valid from one day to another.
    fn facts(start: u64, end: u64) -> Facts {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]);
        let certificate = parameters.and_then(|parameters| parameters.self_signed(&key));
        let mut facts = Facts::read(certificate.expect("a certificate").der()).expect("facts");
        facts.not_before = (start * DAY) as i64;
        facts.not_after = (end * DAY) as i64;
        facts.renewal_identifier = Some("a.b".to_owned());
        facts
    }

    #[test]
    fn a_long_life_is_renewed_after_two_thirds_and_a_short_one_after_half() {
        let due_of = |days: u64| due(&facts(1000, 1000 + days), None, None);
        assert!((at(1060)..at(1063)).contains(&due_of(90)));
        assert!((at(1003)..at(1004)).contains(&due_of(6)));
        // A life of no length renews at once, and again when a part of nothing is over.
        assert_eq!(due_of(0), at(1000));
    }

    #[test]
    fn a_clock_that_is_far_ahead_renews_no_certificate_again_and_again() {
        let due = due(&facts(1000, 1090), Some(at(5000)), None);
        assert_eq!(due, at(5030));
    }

    #[test]
    fn the_wish_of_the_authority_goes_first_and_its_moment_stays() {
        let facts = facts(1000, 1090);
        let window = (1010 * DAY as i64, 1020 * DAY as i64);
        let hour = Duration::from_secs(3600);
        let said = take(&facts, None, Some(window), None, hour, at(1001));
        assert!((at(1010)..=at(1020)).contains(&said.at));
        assert_eq!(said.ask, at(1001) + hour);
        assert_eq!(due(&facts, None, Some(&said)), said.at);
        let again = take(&facts, Some(&said), Some(window), None, hour, at(1002));
        assert_eq!(again.at, said.at);
        assert!(!is_to_be_asked(&facts, Some(&again), at(1002)));
        assert!(is_to_be_asked(&facts, Some(&again), at(1003)));
        // A wish for the time after the end, and one for another certificate, are none.
        let late = (2000 * DAY as i64, 2001 * DAY as i64);
        let late = take(&facts, None, Some(late), None, hour, at(1001));
        assert_eq!(due(&facts, None, Some(&late)), at(1081));
        let other = Suggestion {
            certificate: "c.d".to_owned(),
            ..said
        };
        assert!(due(&facts, None, Some(&other)) >= at(1060));
        assert!(is_to_be_asked(&facts, Some(&other), at(1001)));
    }

    #[test]
    fn a_wish_for_a_time_that_is_over_is_not_followed_at_once_again() {
        let long = facts(1000, 1090);
        let window = (900 * DAY as i64, 901 * DAY as i64);
        let said = take(&long, None, Some(window), None, ASK_AGAIN, at(1000));
        assert_eq!(due(&long, Some(at(1000)), Some(&said)), at(1001));
        let short = facts(1000, 1001);
        let said = take(&short, None, Some(window), None, ASK_AGAIN, at(1000));
        let rest = Duration::from_secs(DAY / 10);
        assert_eq!(due(&short, Some(at(1000)), Some(&said)), at(1000) + rest);
    }

    #[test]
    fn a_pause_grows_to_its_bound_and_is_never_asked_too_often() {
        let (least, most) = (Duration::from_secs(60), Duration::from_secs(DAY));
        let mut before = Duration::ZERO;
        for attempts in 1..=10 {
            let now = pause(attempts, least, most);
            assert!(now > before && now <= most, "{attempts}: {now:?}");
            before = now;
        }
        assert!(pause(u32::MAX, least, most) >= most.mul_f64(0.8));
        let facts = facts(1000, 1090);
        let eager = take(&facts, None, None, None, Duration::ZERO, at(1));
        assert_eq!(eager.ask, at(1) + LEAST_PAUSE);
        let lazy = take(&facts, None, None, None, Duration::MAX, at(1));
        assert_eq!(lazy.ask, at(1) + MOST_PAUSE);
    }
}
