//! How long a provider asks to wait, in the fields of its answer.

use std::time::Duration;

use crate::http::date;

/// Fields that name what is left of a limit, and those that name when it is whole again.
const LIMITS: [(&str, &str); 6] = [
    (
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
    (
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
    (
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ),
    (
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ),
];

/// How long a provider asks to wait: `retry-after-ms`, `Retry-After`, or until the last of the limits
/// that are used up is whole again. `field` finds the value of a field, `now` is since 1970.
pub fn wait<'a>(field: impl Fn(&str) -> Option<&'a [u8]>, now: Duration) -> Option<Duration> {
    let text = |name: &str| Some(std::str::from_utf8(field(name)?).ok()?.trim());
    let number = |text: &str| {
        let number: f64 = text.parse().ok()?;
        (0.0..1e9).contains(&number).then_some(number)
    };
    if let Some(wait) = text("retry-after-ms").and_then(number) {
        return Some(Duration::from_secs_f64(wait / 1000.0));
    }
    if let Some(wait) = text("retry-after") {
        let seconds = number(wait).map(Duration::from_secs_f64);
        let until = || {
            let until = u64::try_from(date::parse(wait.as_bytes())?).ok()?;
            Some(Duration::from_secs(until).saturating_sub(now))
        };
        return seconds.or_else(until);
    }
    let used_up = LIMITS.iter().filter(|(left, _)| text(left) == Some("0"));
    let waits = used_up.filter_map(|(_, reset)| {
        let reset = text(reset)?;
        span(reset).or_else(|| moment(reset).map(|until| until.saturating_sub(now)))
    });
    waits.max()
}

/// `1s`, `6m0s`, `20ms`, `1h2m3.5s`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..]
            .find(|letter: char| letter.is_ascii_digit())
            .map_or(rest.len(), |length| end + length);
        sum += number
            * match &rest[end..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty() && sum < 1e9).then(|| Duration::from_secs_f64(sum))
}

/// A moment as RFC 3339 writes it, since 1970.
fn moment(text: &str) -> Option<Duration> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Duration::try_from(moment.as_duration()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_ask_for_patience_is_understood() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<u64>);
        let now = Duration::from_secs(1_800_000_000);
        let cases: &[Case<'_>] = &[
            (&[], None),
            (&[("retry-after", "2")], Some(2_000)),
            (&[("retry-after", "0.5")], Some(500)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "1e300")], None),
            (&[("retry-after", "soon")], None),
            (
                &[("retry-after", "7"), ("retry-after-ms", "250")],
                Some(250),
            ),
            (
                &[("retry-after", "Fri, 15 Jan 2027 08:00:30 GMT")],
                Some(30_000),
            ),
            (&[("retry-after", "Fri, 15 Jan 2021 08:00:30 GMT")], Some(0)),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "6m0.5s"),
                ],
                Some(360_500),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "5"),
                    ("x-ratelimit-reset-requests", "6m0s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "20ms"),
                ],
                Some(20),
            ),
            (
                &[
                    ("anthropic-ratelimit-input-tokens-remaining", "0"),
                    (
                        "anthropic-ratelimit-input-tokens-reset",
                        "2027-01-15T08:00:12Z",
                    ),
                ],
                Some(12_000),
            ),
            (
                &[
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "5parsecs"),
                ],
                None,
            ),
        ];
        for (fields, expected) in cases {
            let field = |wanted: &str| {
                let mut fields = fields.iter();
                let found = fields.find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.as_bytes())
            };
            let expected = expected.map(Duration::from_millis);
            assert_eq!(wait(field, now), expected, "{fields:?}");
        }
    }
}
