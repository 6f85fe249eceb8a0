//! Bans as the protocol tells them, and what is remembered of them over a restart.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::answer::millis;
use super::{Control, Visitor, numbers};
use crate::access::bans::{self, Ban};
use crate::conf::typed::log;
use crate::log::error_log;
use crate::process::desk::refusal;
use crate::protocol::{BanChange, BanState, Bans, Level, Millis, Refusal, RefusalCode};

/// Under which the store keeps the list.
const KEPT: &str = "bans";

/// How often it is looked whether the list has changed.
const LOOK: Duration = Duration::from_secs(1);

/// A list of so many is written every other [`LOOK`], one of twice as many every third: under an attack
/// it changes all the time, and a card wears out.
const WRITTEN_AT_ONCE: u32 = 500;

/// How often it is looked whether the store has opened: until then those banned before get in.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The longest time of a ban that has an end.
const LONGEST: u64 = 10 * 365 * 86_400;

/// All bans.
pub fn list() -> Bans {
    let told = bans::bans().list().into_iter().map(|ban| BanState {
        network: shown(ban.network),
        since: ban.since,
        until: ban.until,
        reason: ban.reason,
        by: ban.by,
    });
    Bans {
        bans: told.collect(),
        turned_away: bans::bans().turned_away(),
    }
}

/// What was told of bans that nobody made.
#[derive(Debug)]
pub struct Told(Mutex<ToldUntil>);

#[derive(Debug)]
struct ToldUntil {
    version: u64,
    /// Those made before are known.
    at: Millis,
}

impl Default for Told {
    fn default() -> Self {
        Self(Mutex::new(ToldUntil {
            version: bans::bans().version(),
            at: millis(SystemTime::now()),
        }))
    }
}

/// Tells of bans that were made by themselves since the last look; of many at once, how many.
pub fn tell(control: &Control) {
    const MOST: usize = 3;
    let new: Vec<Ban> = {
        let mut told = control.bans.0.lock();
        let version = bans::bans().version();
        if told.version == version {
            return;
        }
        told.version = version;
        let now = millis(SystemTime::now());
        let since = std::mem::replace(&mut told.at, now);
        let is_new = |ban: &Ban| ban.by == bans::BY_ITSELF && (since..now).contains(&ban.since);
        bans::bans().list().into_iter().filter(is_new).collect()
    };
    let occur = |subject: &str, text: &str| {
        numbers::occur(control, Level::Warn, "ban", subject, text);
    };
    match new.len() {
        0 => {}
        1..=MOST => {
            for ban in new.iter().rev() {
                occur(&shown(ban.network), &format!("is kept out: {}", ban.reason));
            }
        }
        count => {
            let last = shown(new[0].network);
            let text = format!("{count} addresses are kept out, see `openclaw ban list`");
            occur(&last, &text);
        }
    }
}

/// Keeps somebody out, or lets them in again.
pub fn change(visitor: &Visitor, change: &BanChange) -> Result<Bans, Refusal> {
    let network = parse(&change.network)?;
    if change.remove {
        if !bans::bans().remove(network) {
            return Err(Refusal {
                hint: Some("`openclaw ban list` tells who is banned".to_owned()),
                ..refusal(
                    RefusalCode::NotFound,
                    format!("{} is not banned", shown(network)),
                )
            });
        }
        return Ok(list());
    }
    let now = millis(SystemTime::now());
    let ban = Ban {
        network,
        since: now,
        until: change
            .seconds
            .map(|seconds| now.saturating_add(seconds.min(LONGEST) * 1000)),
        reason: change.reason.clone(),
        by: visitor.name.clone(),
    };
    bans::bans()
        .add(ban)
        .map_err(|refused| refusal(RefusalCode::Invalid, refused.to_string()))?;
    Ok(list())
}

/// An address or a network, as people write them.
fn parse(text: &str) -> Result<IpNet, Refusal> {
    let address = text.parse::<IpAddr>().map(|address| address.to_canonical());
    let network = address.map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    network.map_err(|_| Refusal {
        hint: Some("for example 203.0.113.9 or 2001:db8::/32".to_owned()),
        ..refusal(
            RefusalCode::Invalid,
            format!(
                "`{}` is neither an address nor a network",
                text.escape_debug()
            ),
        )
    })
}

fn shown(network: IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

/// Takes the bans of before from the store once it is open, and hands it each change from then on.
pub async fn remember(control: Arc<Control>) {
    let store = &control.desk.store;
    let kept = loop {
        let reading = store.clone();
        let read = tokio::task::spawn_blocking(move || reading.reader()?.meta(KEPT)).await;
        match read {
            Ok(Ok(kept)) => break kept,
            _ => tokio::time::sleep(FIRST_LOOK).await,
        }
    };
    let before = bans::bans().list();
    match kept.as_deref().map(serde_json::from_str::<Vec<BanState>>) {
        Some(Ok(kept)) => {
            for ban in kept {
                let Ok(network) = parse(&ban.network) else {
                    continue;
                };
                // What was said since the start is newer.
                if !before.iter().any(|known| known.network == network) {
                    // There were no more than there may be.
                    let _ = bans::bans().add(Ban {
                        network,
                        since: ban.since,
                        until: ban.until,
                        reason: ban.reason,
                        by: ban.by,
                    });
                }
            }
        }
        Some(Err(error)) => error_log::report(
            log::Level::Error,
            format_args!("the bans in the store cannot be read: {error}"),
        ),
        None => {}
    }
    let mut written = match before.is_empty() {
        true => bans::bans().version(),
        false => u64::MAX,
    };
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        bans::bans().tidy();
        let version = bans::bans().version();
        if version == written {
            continue;
        }
        let list = list().bans;
        pause = LOOK * (1 + list.len() as u32 / WRITTEN_AT_ONCE);
        let text = serde_json::to_string(&list).unwrap_or_default();
        if store
            .put_meta(KEPT.to_owned(), text)
            .outcome()
            .await
            .is_ok()
        {
            written = version;
        }
    }
}
