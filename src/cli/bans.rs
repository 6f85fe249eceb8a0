//! `openclaw ban`: keeps clients out, lists them, lets them in again.

use super::exit::Exit;
use jiff::tz::TimeZone;

use super::figures::{count, date_time};
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{BanWord, Daemon};
use crate::protocol::{BanChange, Bans};
use crate::unit;

/// Bans, lists or lets in.
pub fn run(
    session: &Session,
    word: Option<&BanWord>,
    address: Option<&str>,
    time: Option<&str>,
    reason: &str,
) -> Result<(), Failure> {
    let bans: Bans = match (word, address) {
        (Some(BanWord::Remove { address, .. }), _) => session.post(
            "/v1/bans",
            &BanChange {
                network: address.clone(),
                remove: true,
                ..BanChange::default()
            },
        )?,
        (None, Some(address)) => {
            let seconds = match time {
                None => None,
                Some(text) => Some(seconds(text)?),
            };
            session.post(
                "/v1/bans",
                &BanChange {
                    network: address.to_owned(),
                    seconds,
                    reason: reason.to_owned(),
                    remove: false,
                },
            )?
        }
        (Some(BanWord::List { .. }), _) | (None, None) => session.get("/v1/bans")?,
    };
    if session.json {
        print_json(&bans);
    } else if bans.bans.is_empty() {
        print("nobody is banned\n");
    } else {
        print(&table(&bans).text());
        print(&format!(
            "\nturned away since the start: {}\n",
            count(bans.turned_away)
        ));
    }
    Ok(())
}

/// The options of the daemon that stand behind the second word.
pub fn daemon(word: Option<&BanWord>) -> Daemon {
    match word {
        Some(BanWord::List { daemon } | BanWord::Remove { daemon, .. }) => daemon.clone(),
        None => Daemon::default(),
    }
}

fn seconds(text: &str) -> Result<u64, Failure> {
    let time = unit::time::seconds(text).map(|time| time.as_secs());
    time.filter(|&seconds| seconds > 0).ok_or_else(|| {
        Failure::Told(
            Exit::Usage,
            format!("`{text}` is not a time\nhint: for example 30m, 1h, 7d"),
        )
    })
}

fn table(bans: &Bans) -> Table {
    let mut table = Table::new(&[
        ("BANNED", Side::Left),
        ("SINCE", Side::Left),
        ("UNTIL", Side::Left),
        ("BY", Side::Left),
        ("REASON", Side::Left),
    ]);
    let zone = TimeZone::system();
    for ban in &bans.bans {
        table.row([
            ban.network.clone(),
            date_time(ban.since, &zone),
            (ban.until).map_or_else(|| "for good".to_owned(), |until| date_time(until, &zone)),
            ban.by.clone(),
            ban.reason.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::BanState;

    #[test]
    fn bans_are_listed_with_their_end_and_reason() {
        let bans = Bans {
            bans: vec![BanState {
                network: "203.0.113.0/24".to_owned(),
                by: "ann".to_owned(),
                reason: "scans\u{1b}[2J".to_owned(),
                ..BanState::default()
            }],
            turned_away: 7,
        };
        let lines = table(&bans).lines();
        assert!(lines[1].starts_with("203.0.113.0/24  "), "{}", lines[1]);
        assert!(
            lines[1].ends_with("for good  ann  scans^[[2J"),
            "{}",
            lines[1]
        );
        assert_eq!(seconds("1h").ok(), Some(3600));
        assert!(seconds("soon").is_err() && seconds("0").is_err());
    }
}
