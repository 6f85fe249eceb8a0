//! Kept answers of language models for people: how many whose are, what they have saved, and their purging.
//! What was asked and what was answered is told nowhere.

use std::time::Duration;

use parking_lot::Mutex;

use super::keys;
use crate::llm::books::books;
use crate::llm::kept::{Share, Which, Whose, answers};
use crate::metrics::model_calls;
use crate::process::desk::refusal;
use crate::protocol::{
    CacheResults, KeptAnswers, KeptPurge, KeptPurged, KeptShare, Refusal, RefusalCode,
};
use crate::unit::clock;

/// So many shares are told.
const MOST_SHARES: usize = 500;

/// More answers than this are counted again only after [`LASTING`].
const MANY: usize = 4096;

/// See [`MANY`].
const LASTING: Duration = Duration::from_secs(5);

/// What was counted last, when, and how many had been purged.
static COUNTED: Mutex<Option<(u64, u64, Vec<Share>)>> = Mutex::new(None);

/// What is kept; nothing if no answer was looked for yet.
pub fn list() -> Option<KeptAnswers> {
    let ([hit, miss, bypass], saved) = model_calls::cache_results();
    let standing = answers().standing();
    if hit + miss + bypass == 0 {
        return None;
    }
    let now = clock::milliseconds();
    let mut shares = {
        let mut counted = COUNTED.lock();
        let is_new = |(at, purged, _): &&(u64, u64, Vec<Share>)| {
            let age = now.saturating_sub(*at);
            standing.answers > MANY
                && standing.purged == *purged
                && u128::from(age) < LASTING.as_millis()
        };
        match counted.as_ref().filter(is_new) {
            Some((_, _, shares)) => shares.clone(),
            None => {
                let shares = answers().shares();
                *counted = Some((now, standing.purged, shares.clone()));
                shares
            }
        }
    };
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares.truncate(MOST_SHARES);
    let known = books().keys();
    let told = |share: Share| {
        let age = |at: u64| now.saturating_sub(at) / 1000;
        let (key, group) = match share.whose {
            Whose::Everybody => (None, None),
            Whose::Group(name) => (None, Some(name)),
            Whose::Key(id) => {
                let key = known.all().iter().find(|key| key.row.id == id);
                let name = key.map_or_else(|| format!("#{id}"), |key| key.row.name.clone());
                (Some(name), None)
            }
        };
        KeptShare {
            key,
            group,
            model: share.asked,
            operation: share.operation.name().to_owned(),
            answers: share.answers,
            bytes: share.bytes,
            hits: share.hits,
            saved: share.saved.to_string(),
            oldest: age(share.oldest),
            newest: age(share.newest),
        }
    };
    Some(KeptAnswers {
        answers: standing.answers as u64,
        bytes: standing.bytes as u64,
        most_bytes: standing.most as u64,
        results: CacheResults {
            hit,
            miss,
            bypass,
            ..CacheResults::default()
        },
        saved: saved.to_string(),
        evicted: standing.evicted,
        purged: standing.purged,
        shares: shares.into_iter().map(told).collect(),
    })
}

/// Removes what is meant.
pub fn purge(wanted: &KeptPurge) -> Result<KeptPurged, Refusal> {
    let KeptPurge {
        key,
        group,
        everybody,
        model,
    } = wanted;
    let whose = match (key, group, everybody) {
        (None, None, false) => None,
        (None, None, true) => Some(Whose::Everybody),
        (None, Some(group), false) => Some(Whose::Group(group.clone())),
        (Some(key), None, false) => {
            // One that is gone is told by its number.
            let gone = key.strip_prefix('#').and_then(crate::unit::decimal);
            Some(Whose::Key(match gone {
                Some(id) => id,
                None => keys::named(key)?.row.id,
            }))
        }
        _ => {
            let what = "answers are those of a key, of a group, or everybody's";
            return Err(refusal(RefusalCode::Invalid, what));
        }
    };
    let which = Which {
        whose,
        model: model.clone(),
    };
    let (count, bytes) = answers().purge(&which);
    Ok(KeptPurged {
        answers: count as u64,
        bytes: bytes as u64,
    })
}
