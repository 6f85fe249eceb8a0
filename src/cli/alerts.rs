//! `openclaw alerts`: what was told, to whom, and whether they can be told at all.

use jiff::tz::TimeZone;

use super::figures::date_time;
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::AlertWord;
use crate::protocol::{AlertAction, AlertChange, AlertList, AlertTest, Done};
use crate::unit::printable::escape;

/// Does what the word says; without one they are listed.
pub fn run(session: &Session, word: Option<&AlertWord>) -> Result<(), Failure> {
    match word {
        None | Some(AlertWord::List { .. }) => list(session),
        Some(AlertWord::Test { name, .. }) => {
            let test = AlertTest { name: name.clone() };
            done(session, &session.post("/v1/alerts/test", &test)?)
        }
        Some(AlertWord::Ack { id: Some(id), .. }) => change(session, id, AlertAction::Acknowledge),
        Some(AlertWord::Ack { id: None, .. }) => change(session, "", AlertAction::AcknowledgeAll),
        Some(AlertWord::Retry { id, .. }) => change(session, id, AlertAction::Retry),
    }
}

fn change(session: &Session, id: &str, action: AlertAction) -> Result<(), Failure> {
    let id = id.to_owned();
    let change = AlertChange { id, action };
    done(session, &session.post("/v1/alerts", &change)?)
}

fn done(session: &Session, done: &Done) -> Result<(), Failure> {
    match session.json {
        true => print_json(done),
        false => print(&format!("{}\n", escape(&done.text))),
    }
    Ok(())
}

/// As much of an alert's number as tells it from others, for people to type.
fn number(id: &str) -> &str {
    let number = id.strip_prefix("msg_").unwrap_or(id);
    number.get(..8).unwrap_or(number)
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
        ("NUMBER", Side::Left),
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
            number(&alert.id).to_owned(),
            date_time(alert.at, &zone),
            alert.kind.clone(),
            sends.join(", "),
            alert.text.clone(),
        ]);
    }
    print(&table.text());
    Ok(())
}
