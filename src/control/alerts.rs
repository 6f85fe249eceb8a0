//! Alerts on their way: what is raised is kept, and told until its receivers have it.
//!
//! Everything here runs beside requests, on the main thread. What is looked at from time to time
//! ([`watch`]) is raised as everything else.

mod pressure;
mod watch;

pub use watch::fullest_budget;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::Request;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Control, revisions};
use crate::acme::secret::Secret;
use crate::alerts::mail;
use crate::alerts::message::Message;
use crate::alerts::{self, Alert, Severity};
use crate::conf::typed::alerts::{FORMATS, Receiver};
use crate::conf::typed::log::Level as LogLevel;
use crate::conf::typed::secret::SecretSource;
use crate::http::variables;
use crate::log::error_log;
use crate::metrics;
use crate::process::desk::refusal;
use crate::protocol::{
    AlertAction, AlertChange, AlertList, AlertReceiver, AlertSendState, AlertState, Done, Refusal,
    RefusalCode,
};
use crate::store::alerts::{AlertRow, AlertSend, SendState};
use crate::store::{Kept, Level, StoreError};
use crate::tls::fetch::{Fetcher, Limits, Trust};
use crate::unit::clock;

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30 * 60));

/// What could not be told for so long is given up.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How far telling one goes.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(15),
    body: 64 << 10,
};

/// How long a letter may take.
const LETTER: Duration = Duration::from_secs(30);

/// So many are told at the same time.
const AT_ONCE: u32 = 16;

/// Alerts that are listed.
const LISTED: u32 = 100;

/// How often is looked whether there is something to do.
const LOOK: Duration = Duration::from_secs(2);

/// How often it is noted that the program is alive.
const PULSE: Duration = Duration::from_secs(1);

/// Causes that are remembered, so that the store is not asked.
const REMEMBERED: usize = 4096;

/// What the number of an alert begins with.
const MESSAGE: &str = "msg_";

/// There is something new to tell.
static NEWS: Notify = Notify::const_new();

/// The store has others than before.
pub fn reread() {
    NEWS.notify_one();
}

/// Starts to keep and to tell alerts.
pub fn attend(control: &Arc<Control>) {
    tokio::spawn(keep(Arc::clone(control)));
    tokio::spawn(deliver(Arc::clone(control)));
    tokio::spawn(watch::budgets_and_keys());
    tokio::spawn(watch::failures(Arc::clone(control)));
    tokio::spawn(watch::spikes(Arc::clone(control)));
    tokio::spawn(watch::bills(Arc::clone(control)));
    tokio::spawn(pressure::watch(Arc::clone(control)));
    tokio::spawn(beat(Arc::clone(control)));
    tokio::spawn(live(Arc::clone(control)));
}

/// A cause, and when it may be told again.
type Told = HashMap<(&'static str, String), u64>;

/// Keeps what is raised.
async fn keep(control: Arc<Control>) {
    let mut told = Told::new();
    loop {
        for alert in alerts::raised().await {
            let now = micros();
            let cause = (alert.kind, alert.subject.clone());
            if told.get(&cause).is_some_and(|again| now < *again) {
                continue;
            }
            if told.len() >= REMEMBERED {
                told.retain(|_, again| now < *again);
            }
            let quiet = alert.quiet.as_micros() as u64;
            if told.len() < REMEMBERED {
                told.insert(cause, now.saturating_add(quiet));
            }
            let receivers = receivers(&control);
            let targets = receivers
                .iter()
                .filter(|receiver| receiver.wants(alert.kind));
            let targets = targets.map(|receiver| receiver.name.to_string()).collect();
            let row = AlertRow {
                message: message_id(),
                at: now,
                kind: alert.kind.to_owned(),
                subject: alert.subject,
                level: level(alert.severity),
                text: alert.text,
                seen: None,
            };
            let kept = control.desk.store.put_alert(row, targets, quiet);
            match kept.outcome().await {
                Ok(true) => metrics::alerts::count_raised(alert.kind),
                Ok(false) => {}
                Err(error) => error_log::report(
                    LogLevel::Error,
                    format_args!("an alert of {} is lost: {error}", alert.kind),
                ),
            }
        }
        NEWS.notify_one();
    }
}

fn receivers(control: &Control) -> Vec<Arc<Receiver>> {
    let in_force = control.desk.in_force();
    in_force.generation.http.alerts.receivers.clone()
}

const fn level(severity: Severity) -> Level {
    match severity {
        Severity::Info => Level::Info,
        Severity::Good => Level::Good,
        Severity::Warn => Level::Warn,
        Severity::Bad => Level::Bad,
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Info => Severity::Info.word(),
        Level::Good => Severity::Good.word(),
        Level::Warn => Severity::Warn.word(),
        Level::Bad => Severity::Bad.word(),
    }
}

fn message_id() -> String {
    let mut bits = [0; 16];
    // Without randomness the time has to do; it differs from message to message.
    if aws_lc_rs::rand::fill(&mut bits).is_err() {
        bits[..8].copy_from_slice(&micros().to_be_bytes());
    }
    format!("{MESSAGE}{}", HEXLOWER.encode(&bits))
}

fn micros() -> u64 {
    clock::unix().as_micros() as u64
}

/// Who sends: to everybody, and to the open internet alone.
struct Senders {
    any: Fetcher,
    public: Fetcher,
}

impl Senders {
    fn new() -> Option<Self> {
        Some(Self {
            any: Fetcher::new(Trust::System).ok()?,
            public: Fetcher::public(Trust::System).ok()?,
        })
    }

    const fn of(&self, allows_private: bool) -> &Fetcher {
        match allows_private {
            true => &self.any,
            false => &self.public,
        }
    }

    /// Tells somebody; what they answered, or why they do not know.
    async fn tell(&self, receiver: &Receiver, alert: &AlertRow) -> Result<u16, String> {
        let Some(mail) = &receiver.mail else {
            let request = request(receiver, alert)?;
            return self.send(request, receiver.allows_private).await;
        };
        let password = mail
            .login
            .as_ref()
            .map(|(_, password)| Secret::read(password));
        let password = password.transpose().map_err(|error| error.to_string())?;
        let host = String::from_utf8_lossy(variables::hostname());
        let letter = message(alert, &host).letter(mail);
        // Read for each letter: they are few, and the file may change.
        let own = match &mail.authorities {
            None => None,
            Some(path) => {
                let path = path.clone();
                let reading = move || Trust::roots("ca=", &path);
                let trust = tokio::task::spawn_blocking(reading).await;
                let trust = trust.map_err(|_| "`ca=` could not be read".to_owned())??;
                let fetcher = match receiver.allows_private {
                    true => Fetcher::new(trust),
                    false => Fetcher::public(trust),
                };
                Some(fetcher.map_err(|error| error.to_string())?)
            }
        };
        let sending = mail::send(
            own.as_ref().unwrap_or(self.of(receiver.allows_private)),
            mail,
            password.as_ref().map(Secret::expose),
            &letter,
            &host,
        );
        match tokio::time::timeout(LETTER, sending).await {
            Ok(sent) => sent.map(|()| 250),
            Err(_) => Err(format!("it took longer than {} s", LETTER.as_secs())),
        }
    }

    /// Sends a request; an error is told in words that have no secret in them.
    async fn send(&self, request: Request<Bytes>, allows_private: bool) -> Result<u16, String> {
        match self.of(allows_private).send(request, LIMITS).await {
            Ok(answer) if answer.status().is_success() => Ok(answer.status().as_u16()),
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn message<'a>(alert: &'a AlertRow, host: &'a str) -> Message<'a> {
    Message {
        id: &alert.message,
        at: alert.at / 1_000_000,
        kind: &alert.kind,
        subject: &alert.subject,
        severity: word(alert.level),
        text: &alert.text,
        host,
    }
}

/// The message for a receiver, with its secrets as they are now.
fn request(receiver: &Receiver, alert: &AlertRow) -> Result<Request<Bytes>, String> {
    let read = |source: &SecretSource| Secret::read(source).map_err(|error| error.to_string());
    let url = read(&receiver.url)?;
    let secrets: Vec<Secret> = receiver
        .secrets
        .iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
    let host = String::from_utf8_lossy(variables::hostname());
    let now = micros() / 1_000_000;
    let request = message(alert, &host).request(url.expose(), receiver.format, &secrets, now);
    let request = request.ok_or_else(|| "its URL is none".to_owned())?;
    // Where it is may stand in a file, of which nothing was checked before.
    let host = request.uri().host().unwrap_or_default();
    let literal = host.trim_matches(['[', ']']).parse();
    if literal.is_ok_and(|address| !crate::unit::address::is_public(address))
        && !receiver.allows_private
    {
        return Err("it is in a private network".to_owned());
    }
    Ok(request)
}

/// Tells what waits, for ever.
async fn deliver(control: Arc<Control>) {
    let Some(senders) = Senders::new() else {
        return;
    };
    let senders = Arc::new(senders);
    loop {
        let now = micros();
        let read = revisions::read(&control, move |reader| {
            let due = reader.due_alerts(now, AT_ONCE)?;
            let unseen = reader.unseen_alerts(LISTED)?;
            Ok((due, reader.next_alert()?, reader.alert_backlog()?, unseen))
        });
        let (due, next, backlog, unseen) = read.await.unwrap_or_default();
        metrics::alerts::set_backlog(backlog);
        metrics::alerts::set_unseen(unseen);
        if due.is_empty() {
            let wait = match next {
                Some(next) => Duration::from_micros(next.saturating_sub(now)),
                None => PAUSES.1,
            };
            let wait = wait.clamp(Duration::from_millis(50), PAUSES.1);
            let _ = tokio::time::timeout(wait, NEWS.notified()).await;
            continue;
        }
        let mut telling = JoinSet::new();
        for (alert, send) in due {
            telling.spawn(tell(
                Arc::clone(&control),
                Arc::clone(&senders),
                alert,
                send,
            ));
        }
        while telling.join_next().await.is_some() {}
    }
}

/// Tells one, once, and keeps what came of it.
async fn tell(
    control: Arc<Control>,
    senders: Arc<Senders>,
    alert: Kept<AlertRow>,
    mut send: AlertSend,
) {
    let receivers = receivers(&control);
    let receiver = receivers
        .iter()
        .find(|receiver| *receiver.name == *send.target);
    let told = match receiver {
        None => Err("the configuration has it no more".to_owned()),
        Some(receiver) => senders.tell(receiver, &alert.row).await.map(drop),
    };
    let now = micros();
    send.attempts = send.attempts.saturating_add(1);
    send.tried = now;
    metrics::alerts::count_try(&send.target, told.is_ok());
    match told {
        Ok(()) => {
            send.state = SendState::Sent;
            send.error.clear();
        }
        Err(why) => {
            let age = now.saturating_sub(alert.row.at);
            let is_over = age >= PATIENCE.as_micros() as u64 || receiver.is_none();
            send.next = now.saturating_add(pause(send.attempts).as_micros() as u64);
            send.error = why;
            if is_over {
                send.state = SendState::Parked;
                metrics::alerts::count_parked(&send.target);
                error_log::report(
                    LogLevel::Error,
                    format_args!(
                        "the alert `{}` could not be told to `{}`: {}",
                        alert.row.kind, send.target, send.error
                    ),
                );
            }
        }
    }
    let settled = control
        .desk
        .store
        .settle_alert(alert.id, send)
        .outcome()
        .await;
    if settled.is_err() {
        // It will be told again; not at once, or a disk that is full would send it all day.
        tokio::time::sleep(PAUSES.0).await;
    }
}

/// How long to wait after so many failures.
fn pause(attempts: u32) -> Duration {
    let doubled = PAUSES
        .0
        .saturating_mul(1 << attempts.saturating_sub(1).min(12));
    doubled.min(PAUSES.1)
}

/// Asks for the heartbeat's URL all the time.
async fn beat(control: Arc<Control>) {
    let Some(senders) = Senders::new() else {
        return;
    };
    loop {
        let in_force = control.desk.in_force();
        let Some(heartbeat) = &in_force.generation.http.alerts.heartbeat else {
            drop(in_force);
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let (every, allows_private) = (heartbeat.every, heartbeat.allows_private);
        let url = Secret::read(&heartbeat.url).map_err(|error| error.to_string());
        drop(in_force);
        let told = match url {
            Err(why) => Err(why),
            Ok(url) => match Request::get(url.expose()).body(Bytes::new()) {
                Err(_) => Err("its URL is none".to_owned()),
                Ok(request) => senders.send(request, allows_private).await.map(drop),
            },
        };
        if let Err(why) = told {
            error_log::report(LogLevel::Warn, format_args!("the heartbeat failed: {why}"));
        }
        tokio::time::sleep(every).await;
    }
}

/// A file that is there while the program runs, with its number. It goes when the program ends as it
/// should.
struct Pulse {
    path: PathBuf,
    own: String,
}

impl Pulse {
    /// Since when another program is gone that left without a word.
    fn of_the_dead(&self) -> Option<SystemTime> {
        let number = std::fs::read_to_string(&self.path).ok()?;
        // One that still runs has started us in its place. The number of one that does not may be
        // ours by now.
        let is_running = number != self.own
            && number.parse::<u32>().is_ok()
            && Path::new("/proc").join(&number).exists();
        let data = std::fs::metadata(&self.path).ok()?;
        data.modified().ok().filter(|_| !is_running)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let number = std::fs::read_to_string(&self.path).unwrap_or_default();
        if number == self.own {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Notes that the program is alive; one that finds the note of another tells since when there was none.
async fn live(control: Arc<Control>) {
    let pulse = Pulse {
        path: control.desk.places.state.join("alive"),
        own: std::process::id().to_string(),
    };
    if let Some(last) = pulse.of_the_dead() {
        let gap = SystemTime::now().duration_since(last).unwrap_or_default();
        let since = last.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = i64::try_from(since.as_secs()).ok();
        let since = since.and_then(|since| jiff::Timestamp::from_second(since).ok());
        let since = since.map_or_else(String::new, |since| since.to_string());
        alerts::raise(Alert {
            kind: "gateway.recovered",
            subject: String::from_utf8_lossy(variables::hostname()).into_owned(),
            severity: Severity::Warn,
            text: format!(
                "the program serves again; it had ended without a word at {since}, {} s ago",
                gap.as_secs()
            ),
            quiet: Duration::ZERO,
        });
    }
    loop {
        if receivers(&control).is_empty() {
            // Nobody would be told; a card is not to be worn out for that.
            let _ = std::fs::remove_file(&pulse.path);
            tokio::time::sleep(LOOK).await;
            continue;
        }
        // Not synced: it is to outlive the program, not the power.
        if std::fs::write(&pulse.path, &pulse.own).is_err() {
            return;
        }
        tokio::time::sleep(PULSE).await;
    }
}

/// What was told lately, and to whom.
pub async fn list(control: &Control) -> Result<AlertList, Refusal> {
    let receivers = receivers(control);
    let names: Vec<Box<str>> = receivers.iter().map(|known| known.name.clone()).collect();
    let read = revisions::read(control, move |reader| {
        let standings: Result<Vec<_>, _> =
            names.iter().map(|name| reader.alert_target(name)).collect();
        Ok((reader.alerts(LISTED)?, standings?))
    });
    let (kept, standings) = read.await?;
    let listed = receivers.iter().zip(standings).map(|(receiver, standing)| {
        let (failed, error) = standing.failed.unzip();
        AlertReceiver {
            name: receiver.name.to_string(),
            format: format_word(receiver).to_owned(),
            events: receiver.events.iter().map(ToString::to_string).collect(),
            waiting: standing.waiting,
            parked: standing.parked,
            sent: standing.sent.map(|at| at / 1000),
            failed: failed.map(|at| at / 1000),
            error: error.unwrap_or_default(),
        }
    });
    Ok(AlertList {
        receivers: listed.collect(),
        alerts: kept.into_iter().map(shown).collect(),
    })
}

/// As the audit calls it.
pub const fn action(action: AlertAction) -> &'static str {
    match action {
        AlertAction::Acknowledge => "alerts ack",
        AlertAction::AcknowledgeAll => "alerts ack --all",
        AlertAction::Retry => "alerts retry",
    }
}

/// Does something with an alert that is listed.
pub async fn change(control: &Control, change: &AlertChange) -> Result<Done, Refusal> {
    let store = &control.desk.store;
    let failed = |error: StoreError| refusal(RefusalCode::Failed, error.to_string());
    if change.action == AlertAction::AcknowledgeAll && change.id.is_empty() {
        let seen = store.see_alerts(None, micros()).outcome().await;
        NEWS.notify_one();
        return Ok(all_seen(seen.map_err(failed)?));
    }
    let kept = revisions::read(control, |reader| reader.alerts(LISTED)).await?;
    let wanted = change.id.strip_prefix(MESSAGE).unwrap_or(&change.id);
    let mut found = kept.into_iter().map(|(alert, _)| alert.row).filter(|row| {
        let number = row.message.strip_prefix(MESSAGE).unwrap_or(&row.message);
        !wanted.is_empty() && number.starts_with(wanted)
    });
    let (Some(alert), None) = (found.next(), found.next()) else {
        let asked = change.id.escape_debug();
        return Err(Refusal {
            hint: Some("`openclaw alerts` lists them".to_owned()),
            ..refusal(
                RefusalCode::NotFound,
                format!("`{asked}` is not one alert of those that are listed"),
            )
        });
    };
    let text = match change.action {
        AlertAction::AcknowledgeAll => {
            let newest = Some(alert.message);
            let seen = store.see_alerts(newest, micros()).outcome().await;
            NEWS.notify_one();
            return Ok(all_seen(seen.map_err(failed)?));
        }
        AlertAction::Acknowledge => {
            let seen = store.see_alert(alert.message, micros()).outcome().await;
            NEWS.notify_one();
            match seen.map_err(failed)? {
                true => "it was seen".to_owned(),
                false => "it had been seen before".to_owned(),
            }
        }
        AlertAction::Retry => {
            let retried = store.retry_alert(alert.message, micros()).outcome().await;
            let retried = retried.map_err(failed)?;
            NEWS.notify_one();
            match retried {
                0 => "all who are told of it know of it".to_owned(),
                retried => format!("it is told again to {retried}"),
            }
        }
    };
    Ok(Done { text })
}

fn all_seen(count: u64) -> Done {
    let text = match count {
        0 => "all had been seen before".to_owned(),
        1 => "one was seen that had not been".to_owned(),
        count => format!("{count} were seen that had not been"),
    };
    Done { text }
}

fn format_word(receiver: &Receiver) -> &'static str {
    if receiver.mail.is_some() {
        return "smtp";
    }
    let known = FORMATS
        .iter()
        .find(|(_, format)| *format == receiver.format);
    known.map_or("json", |(word, _)| word)
}

fn shown((alert, sends): (Kept<AlertRow>, Vec<AlertSend>)) -> AlertState {
    AlertState {
        id: alert.row.message,
        at: alert.row.at / 1000,
        kind: alert.row.kind,
        subject: alert.row.subject,
        severity: word(alert.row.level).to_owned(),
        text: alert.row.text,
        seen: alert.row.seen.map(|at| at / 1000),
        sends: sends
            .into_iter()
            .map(|send| AlertSendState {
                receiver: send.target,
                state: match send.state {
                    SendState::Waiting => "waiting",
                    SendState::Sent => "sent",
                    SendState::Parked => "parked",
                }
                .to_owned(),
                attempts: send.attempts,
                next: send.next / 1000,
                tried: send.tried / 1000,
                error: send.error,
            })
            .collect(),
    }
}

/// Sends somebody a message on trial, now.
pub async fn test(control: &Control, name: &str) -> Result<Done, Refusal> {
    let receivers = receivers(control);
    let Some(receiver) = receivers.iter().find(|receiver| *receiver.name == *name) else {
        let known: Vec<String> = receivers
            .iter()
            .map(|known| format!("`{}`", known.name))
            .collect();
        return Err(Refusal {
            hint: (!known.is_empty()).then(|| format!("there is {}", known.join(", "))),
            ..refusal(
                RefusalCode::NotFound,
                format!("the configuration has no alert `{}`", name.escape_debug()),
            )
        });
    };
    let alert = AlertRow {
        message: message_id(),
        at: micros(),
        kind: "test".to_owned(),
        subject: name.to_owned(),
        level: Level::Info,
        text: "this is a test: who reads it will be told of alerts".to_owned(),
        seen: None,
    };
    let failed =
        |why: String| refusal(RefusalCode::Failed, format!("`{name}` was not told: {why}"));
    let senders = Senders::new();
    let senders = senders.ok_or_else(|| failed("nothing can be sent".to_owned()))?;
    let status = senders.tell(receiver, &alert).await.map_err(failed)?;
    Ok(Done {
        text: match receiver.mail {
            Some(_) => format!("a letter for `{name}` was taken"),
            None => format!("`{name}` was told, and answered {status}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_five_seconds_to_half_an_hour() {
        let seconds: Vec<u64> = [1, 2, 3, 9, 10, 100, u32::MAX]
            .map(|attempts| pause(attempts).as_secs())
            .to_vec();
        assert_eq!(seconds, [5, 10, 20, 1280, 1800, 1800, 1800]);
    }
}
