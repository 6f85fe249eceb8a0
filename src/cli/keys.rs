//! `openclaw key`: virtual keys of the gateway to language models.
//!
//! A new secret is printed once, to standard output; with `--print-config` nothing else is, so that it
//! can be pasted or piped.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, Read as _};

use jiff::tz::TimeZone;

use super::exit::Exit;
use super::figures::{age, count, date_time};
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{Daemon, KeyArguments, KeyForm, KeyPrint, KeyWord};
use super::{complain, print};
use crate::protocol::{
    BudgetSetting, KeyAction, KeyBudget, KeyChange, KeyChanged, KeyList, KeySettings, KeyState,
    SecretText,
};
use crate::unit;
use crate::unit::printable::escape;

/// The longest secret from elsewhere that is read.
const LONGEST: u64 = 1024;

/// Does what the word says; without one keys are listed.
pub fn run(session: &Session, word: Option<&KeyWord>) -> Result<(), Failure> {
    match word {
        None | Some(KeyWord::List { .. }) => list(session),
        Some(KeyWord::Show { name, .. }) => show(session, name),
        Some(KeyWord::Add {
            name,
            settings,
            zone,
            import,
            print,
            ..
        }) => {
            let change = KeyChange {
                name: name.clone(),
                action: KeyAction::Add,
                settings: KeySettings {
                    zone: zone.clone(),
                    ..written(settings)?
                },
                secret: import.then(imported).transpose()?,
                ..KeyChange::default()
            };
            let changed: KeyChanged = session.post("/v1/keys", &change)?;
            told(session, &changed, print, "made")
        }
        Some(KeyWord::Edit {
            name,
            settings,
            rename,
            ..
        }) => {
            let change = KeyChange {
                name: name.clone(),
                action: KeyAction::Edit,
                settings: KeySettings {
                    name: rename.clone(),
                    ..written(settings)?
                },
                ..KeyChange::default()
            };
            let changed: KeyChanged = session.post("/v1/keys", &change)?;
            told(session, &changed, &KeyPrint::default(), "changed")
        }
        Some(KeyWord::Rotate {
            name,
            overlap,
            expires,
            print,
            ..
        }) => {
            let change = KeyChange {
                name: name.clone(),
                action: KeyAction::Rotate,
                overlap: seconds(overlap)?,
                settings: KeySettings {
                    expires: expires.as_deref().map(seconds).transpose()?,
                    ..KeySettings::default()
                },
                ..KeyChange::default()
            };
            let changed: KeyChanged = session.post("/v1/keys", &change)?;
            told(session, &changed, print, "replaced")?;
            if print.print_config.is_none() && !session.json {
                complain(&format!(
                    "the secret before works for another {overlap}; `openclaw key show {}` tells \
                     which gateway has moved",
                    escape(name)
                ));
            }
            Ok(())
        }
        Some(KeyWord::Revoke {
            name,
            secret,
            when_unused,
            ..
        }) => {
            let change = KeyChange {
                name: name.clone(),
                action: KeyAction::Revoke,
                prefix: secret.clone(),
                unused: when_unused.as_deref().map(seconds).transpose()?,
                ..KeyChange::default()
            };
            let changed: KeyChanged = session.post("/v1/keys", &change)?;
            let done = match when_unused {
                None => "revoked",
                Some(_) => "changed",
            };
            told(session, &changed, &KeyPrint::default(), done)
        }
        Some(KeyWord::Remove { name, .. }) => {
            let change = KeyChange {
                name: name.clone(),
                action: KeyAction::Remove,
                ..KeyChange::default()
            };
            let changed: KeyChanged = session.post("/v1/keys", &change)?;
            if session.json {
                print_json(&changed);
            } else {
                print(&format!("removed {}\n", escape(name)));
            }
            Ok(())
        }
    }
}

/// The options of the daemon that stand behind the second word.
pub fn daemon(word: Option<&KeyWord>, outer: &Daemon) -> Daemon {
    match word {
        None => outer.clone(),
        Some(
            KeyWord::Add { daemon, .. }
            | KeyWord::List { daemon }
            | KeyWord::Show { daemon, .. }
            | KeyWord::Edit { daemon, .. }
            | KeyWord::Rotate { daemon, .. }
            | KeyWord::Revoke { daemon, .. }
            | KeyWord::Remove { daemon, .. },
        ) => daemon.or(outer),
    }
}

/// What was typed, as the protocol has it.
fn written(arguments: &KeyArguments) -> Result<KeySettings, Failure> {
    // A word that stands for no bound.
    let all = |list: &Option<Vec<String>>, word: &str| {
        list.as_ref().map(|list| match &list[..] {
            [only] if only == word => Vec::new(),
            list => list.to_vec(),
        })
    };
    let none = |text: &Option<String>, word: &str| {
        text.as_ref()
            .map(|text| if text == word { "" } else { text }.to_owned())
    };
    let budgets = arguments.budget.iter().map(|text| budget(text));
    Ok(KeySettings {
        group: none(&arguments.group, "none"),
        owner: arguments.owner.clone(),
        models: all(&arguments.models, "all"),
        addresses: all(&arguments.addresses, "all"),
        gateway: none(&arguments.gateway, "any"),
        rpm: arguments.rpm,
        tpm: arguments.tpm,
        concurrency: arguments.concurrency,
        budgets: budgets.collect::<Result<_, _>>()?,
        expires: match arguments.expires.as_deref() {
            None => None,
            Some("never") => Some(0),
            Some(text) => Some(seconds(text)?),
        },
        ..KeySettings::default()
    })
}

/// `5/day`, `$12.50/month`, `none/week`.
fn budget(text: &str) -> Result<BudgetSetting, Failure> {
    let refused = || {
        Failure::Told(
            Exit::Usage,
            format!("`{text}` is not a budget\nhint: for example 5/day, 50/month or none/day"),
        )
    };
    let (amount, period) = text.split_once('/').ok_or_else(refused)?;
    let is_amount = unit::money::Money::parse(amount).is_some();
    if !["day", "week", "month", "total"].contains(&period) || !(is_amount || amount == "none") {
        return Err(refused());
    }
    Ok(BudgetSetting {
        period: period.to_owned(),
        limit: is_amount.then(|| amount.to_owned()),
    })
}

fn seconds(text: &str) -> Result<u64, Failure> {
    let time = unit::time::seconds(text).map(|time| time.as_secs());
    time.ok_or_else(|| {
        Failure::Told(
            Exit::Usage,
            format!("`{text}` is not a time\nhint: for example 72h, 90d"),
        )
    })
}

/// A secret from standard input: on the command line others could see it.
fn imported() -> Result<SecretText, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().take(LONGEST).read_line(&mut line);
    read.map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
    Ok(SecretText(line.trim().to_owned()))
}

fn told(
    session: &Session,
    changed: &KeyChanged,
    wanted: &KeyPrint,
    verb: &str,
) -> Result<(), Failure> {
    if session.json {
        print_json(changed);
        return Ok(());
    }
    let Some(key) = &changed.key else {
        return Ok(());
    };
    let Some(secret) = &changed.secret else {
        print(&format!("{verb} {}\n", escape(&key.name)));
        return Ok(());
    };
    let secret = escape(&secret.0);
    match wanted.print_config {
        Some(form) => {
            let url = wanted.url.clone().unwrap_or_else(|| guessed(session));
            print(&snippet(form, &url, &secret, key));
            if wanted.url.is_none() {
                complain(&format!(
                    "`{}` is a guess; `--url` says where clients reach the gateway",
                    escape(&url)
                ));
            }
        }
        None => {
            print(&format!("{secret}\n"));
            complain(&format!(
                "{verb} {}; the secret above is shown only now",
                escape(&key.name)
            ));
        }
    }
    Ok(())
}

/// An address of the daemon: the first that it listens to, under the machine's name.
fn guessed(session: &Session) -> String {
    let status = &session.status;
    let listens = || status.listens.iter();
    let port = |listen: &str| listen.rsplit(':').next()?.parse::<u16>().ok();
    let host = if status.host.is_empty() {
        "localhost"
    } else {
        &status.host
    };
    if listens().any(|listen| port(listen) == Some(443)) {
        return format!("https://{host}");
    }
    match listens().find_map(|listen| port(listen)) {
        Some(80) | None => format!("http://{host}"),
        Some(port) => format!("http://{host}:{port}"),
    }
}

/// What a client needs.
fn snippet(form: KeyForm, url: &str, secret: &str, key: &KeyState) -> String {
    // Of the gateway's address people may write either end.
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/v1").unwrap_or(url);
    let url = escape(url);
    let gateway = match &*key.gateway {
        "" => &key.name,
        gateway => gateway,
    };
    let gateway = escape(gateway);
    match form {
        KeyForm::Env => format!(
            "export OPENAI_BASE_URL='{url}/v1'\n\
             export OPENAI_API_KEY='{secret}'\n\
             export ANTHROPIC_BASE_URL='{url}'\n\
             export ANTHROPIC_API_KEY='{secret}'\n"
        ),
        KeyForm::Openai => format!(
            "from openai import OpenAI\n\
             \n\
             client = OpenAI(\n    \
                 base_url=\"{url}/v1\",\n    \
                 api_key=\"{secret}\",\n    \
                 default_headers={{\"X-Gateway-Id\": \"{gateway}\"}},\n\
             )\n"
        ),
        KeyForm::Anthropic => format!(
            "from anthropic import Anthropic\n\
             \n\
             client = Anthropic(\n    \
                 base_url=\"{url}\",\n    \
                 api_key=\"{secret}\",\n    \
                 default_headers={{\"X-Gateway-Id\": \"{gateway}\"}},\n\
             )\n"
        ),
        KeyForm::Yaml => format!(
            "llm:\n  \
               provider: openapi\n  \
               openapi:\n    \
                 baseUrl: \"{url}/v1\"\n    \
                 apiKey: \"{secret}\"\n    \
                 headers:\n      \
                   X-Gateway-Id: \"{gateway}\"\n"
        ),
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    let list: KeyList = session.get("/v1/keys")?;
    if session.json {
        print_json(&list);
        return Ok(());
    }
    for line in &list.unusable {
        complain(&format!("openclaw: [warn] {}", escape(line)));
    }
    if list.keys.is_empty() {
        print("no keys\n");
        complain("hint: `openclaw key add NAME` makes one");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("KEY", Side::Left),
        ("GROUP", Side::Left),
        ("STATE", Side::Left),
        ("SECRETS", Side::Left),
        ("MODELS", Side::Left),
        ("SPENT", Side::Right),
        ("BUDGET", Side::Left),
    ]);
    for key in &list.keys {
        let secrets: Vec<&str> = key
            .secrets
            .iter()
            .filter(|secret| is_usable(secret, session.status.now))
            .map(|secret| &*secret.prefix)
            .collect();
        let state = match (key.revoked, secrets.is_empty()) {
            (true, _) => "revoked",
            (false, true) => "expired",
            (false, false) => "in use",
        };
        let bounded = |budget: &&KeyBudget| budget.limit.is_some();
        let budgets: Vec<String> = key
            .budgets
            .iter()
            .filter(bounded)
            .map(|budget| format!("{} of {}", budget.spent, bound(budget)))
            .collect();
        let total = key.budgets.iter().find(|budget| budget.period == "total");
        table.row([
            key.name.clone(),
            key.group.clone(),
            state.to_owned(),
            secrets.join(" "),
            match key.models.is_empty() {
                true => "all".to_owned(),
                false => key.models.join(","),
            },
            total.map_or(String::new(), |budget| budget.spent.clone()),
            budgets.join(", "),
        ]);
    }
    print(&table.text());
    Ok(())
}

fn is_usable(secret: &crate::protocol::KeySecret, now: u64) -> bool {
    secret.revoked.is_none()
        && secret.not_before <= now
        && secret.expires.is_none_or(|expires| expires > now)
}

fn bound(budget: &KeyBudget) -> String {
    match (&budget.limit, &*budget.period) {
        (None, _) => "any".to_owned(),
        (Some(limit), "total") => format!("{limit} in all"),
        (Some(limit), period) => format!("{limit}/{period}"),
    }
}

fn show(session: &Session, name: &str) -> Result<(), Failure> {
    if name.contains(['/', '?', '#', '%']) || name.is_empty() {
        return Err(Failure::failed(format!("there is no key `{name}`")));
    }
    let key: KeyState = session.get(&format!("/v1/keys/{name}"))?;
    if session.json {
        print_json(&key);
        return Ok(());
    }
    let zone = TimeZone::system();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{}", escape(value));
    };
    line("key", &key.name);
    line("made", &date_time(key.created, &zone));
    if key.revoked {
        line("state", "revoked");
    }
    for (name, value) in [
        ("group", &key.group),
        ("owner", &key.owner),
        ("gateway", &key.gateway),
    ] {
        if !value.is_empty() {
            line(name, value);
        }
    }
    for (name, values) in [("models", &key.models), ("addresses", &key.addresses)] {
        if !values.is_empty() {
            line(name, &values.join(" "));
        }
    }
    for (name, limit) in [
        ("calls/min", key.rpm),
        ("tokens/min", key.tpm),
        ("at once", key.concurrency),
    ] {
        if let Some(limit) = limit {
            line(name, &count(limit));
        }
    }
    for budget in &key.budgets {
        let mut told = format!("{} spent", budget.spent);
        if budget.held != "0.00" {
            let _ = write!(told, ", {} held for calls under way", budget.held);
        }
        if let Some(limit) = &budget.limit {
            let _ = write!(told, ", of {limit}");
        }
        line(&budget.period, &told);
    }
    line("calendar", &key.zone);
    print(&text);
    print("\n");
    let mut table = Table::new(&[
        ("SECRET", Side::Left),
        ("MADE", Side::Left),
        ("UNTIL", Side::Left),
        ("GATEWAY", Side::Left),
        ("CALLS", Side::Right),
        ("FIRST", Side::Left),
        ("LAST", Side::Left),
    ]);
    for secret in &key.secrets {
        let until = match (secret.revoked, secret.idle, secret.expires) {
            (Some(_), ..) => "revoked".to_owned(),
            (None, Some(idle), _) => format!("unused for {}", age(idle)),
            (None, None, Some(expires)) => date_time(expires, &zone),
            (None, None, None) => "for good".to_owned(),
        };
        let own = [
            format!("{}…", secret.prefix),
            date_time(secret.created, &zone),
            until,
        ];
        if secret.uses.is_empty() {
            table.row(own.into_iter().chain(["not used".to_owned()]));
            continue;
        }
        for used in &secret.uses {
            table.row(own.clone().into_iter().chain([
                used.gateway.clone(),
                count(used.calls),
                date_time(used.first, &zone),
                date_time(used.last, &zone),
            ]));
        }
    }
    print(&table.text());
    // Of a rotation: who has moved to the newest secret.
    if let [.., _, newest] = &key.secrets[..] {
        let all: std::collections::BTreeSet<&str> = key
            .secrets
            .iter()
            .flat_map(|secret| &secret.uses)
            .map(|used| &*used.gateway)
            .collect();
        if !all.is_empty() {
            print(&format!(
                "\n{} of {} gateways use the newest secret\n",
                newest.uses.len(),
                all.len()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_hold_what_a_client_needs_and_nothing_else() {
        let key = KeyState {
            name: "ci".to_owned(),
            ..KeyState::default()
        };
        let of = |form| snippet(form, "https://ai.example.com/v1/", "oc-secret", &key);
        assert_eq!(
            of(KeyForm::Env),
            "export OPENAI_BASE_URL='https://ai.example.com/v1'\n\
             export OPENAI_API_KEY='oc-secret'\n\
             export ANTHROPIC_BASE_URL='https://ai.example.com'\n\
             export ANTHROPIC_API_KEY='oc-secret'\n"
        );
        assert_eq!(
            of(KeyForm::Openai),
            "from openai import OpenAI\n\n\
             client = OpenAI(\n    base_url=\"https://ai.example.com/v1\",\n    \
             api_key=\"oc-secret\",\n    default_headers={\"X-Gateway-Id\": \"ci\"},\n)\n"
        );
        let bound = KeyState {
            gateway: "vps".to_owned(),
            ..key.clone()
        };
        assert_eq!(
            snippet(KeyForm::Yaml, "https://ai.example.com", "oc-secret", &bound),
            "llm:\n  provider: openapi\n  openapi:\n    \
             baseUrl: \"https://ai.example.com/v1\"\n    apiKey: \"oc-secret\"\n    \
             headers:\n      X-Gateway-Id: \"vps\"\n"
        );
        assert!(of(KeyForm::Anthropic).contains("base_url=\"https://ai.example.com\""));
    }

    #[test]
    fn budgets_are_an_amount_and_a_time() {
        let read = |text: &str| {
            budget(text)
                .ok()
                .map(|budget| (budget.period, budget.limit))
        };
        let some = |period: &str, limit: &str| Some((period.to_owned(), Some(limit.to_owned())));
        assert_eq!(read("5/day"), some("day", "5"));
        assert_eq!(read("$0.50/month"), some("month", "$0.50"));
        assert_eq!(read("none/total"), Some(("total".to_owned(), None)));
        for refused in ["5", "5/hour", "/day", "-5/day", "x/day", "5/day/week", ""] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }
}
