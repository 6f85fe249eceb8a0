//! How far the clock of this machine is from that of the authorities, which say the time with each
//! answer. With a clock that is wrong certificates are renewed too late, or look as if they were over.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};

/// Nothing was heard yet.
const UNKNOWN: i64 = i64::MIN;

/// In seconds; one clock is enough for one machine.
static AHEAD: AtomicI64 = AtomicI64::new(UNKNOWN);

/// What is less, in seconds, the way of an answer may make.
const LEAST: i64 = 300;

/// From how many seconds on certificates fail.
pub const SERIOUS: i64 = 3600;

/// Takes what an answer says of the time, unless it was kept on the way.
pub fn hear(fields: &HeaderMap, now: SystemTime) {
    if fields.contains_key(header::AGE) {
        return;
    }
    if let Some(ahead) = ahead(fields, now) {
        AHEAD.store(ahead, Relaxed);
    }
}

/// So many seconds this machine's clock is ahead of the authority's, negative if it is behind; `None` if
/// it is right, or nothing was heard.
pub fn wrong() -> Option<i64> {
    let ahead = AHEAD.load(Relaxed);
    (ahead != UNKNOWN && ahead.abs() >= LEAST).then_some(ahead)
}

fn ahead(fields: &HeaderMap, now: SystemTime) -> Option<i64> {
    let date = fields.get(header::DATE)?;
    let theirs = crate::http::date::parse(date.as_bytes())?;
    let ours = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(ours).ok()?.checked_sub(theirs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_date_of_an_answer() {
        let mut fields = HeaderMap::new();
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 + 7200);
        assert_eq!(ahead(&fields, now), None);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT".parse().expect("a value");
        fields.insert(header::DATE, date);
        assert_eq!(ahead(&fields, now), Some(7200));
        let behind = UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        assert_eq!(ahead(&fields, behind), Some(-60));
        fields.insert(header::DATE, "yesterday".parse().expect("a value"));
        assert_eq!(ahead(&fields, now), None);
    }
}
