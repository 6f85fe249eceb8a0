//! `openclaw alerts`: what was told, to whom, and whether they can be told at all.

use jiff::tz::TimeZone;

use super::figures::date_time;
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::AlertWord;
use crate::protocol::{AlertList, AlertTest, Done};
use crate::unit::printable::escape;

/// Does what the word says; without one they are listed.
pub fn run(session: &Session, word: Option<&AlertWord>) -> Result<(), Failure> {
    match word {
        None | Some(AlertWord::List { .. }) => list(session),
        Some(AlertWord::Test { name, .. }) => {
            let test = AlertTest { name: name.clone() };
            let done: Done = session.post("/v1/alerts/test", &test)?;
            match session.json {
                true => print_json(&done),
                false => print(&format!("{}\n", escape(&done.text))),
            }
            Ok(())
        }
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    let list: AlertList = session.get("/v1/alerts")?;
    if session.json {
        print_json(&list);
        return Ok(());
    }
    if list.receivers.is_empty() {
        print("nobody is told: the configuration has no `alert`\n");
    }
    if list.alerts.is_empty() {
        print("no alerts\n");
        return Ok(());
    }
    let zone = TimeZone::system();
    let mut table = Table::new(&[
        ("AT", Side::Left),
        ("KIND", Side::Left),
        ("TOLD", Side::Left),
        ("", Side::Left),
    ]);
    for alert in &list.alerts {
        let sends: Vec<String> = alert
            .sends
            .iter()
            .map(|send| match &*send.state {
                "sent" => send.receiver.clone(),
                state => format!("{} {state} ({})", send.receiver, send.error),
            })
            .collect();
        table.row([
            date_time(alert.at, &zone),
            alert.kind.clone(),
            sends.join(", "),
            alert.text.clone(),
        ]);
    }
    print(&table.text());
    Ok(())
}
