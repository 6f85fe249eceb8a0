//! One API: its `config.json`, and the database of one that runs.
//!
//! A client's key stays what it was: the secret is taken over, and what is left of its quota becomes a
//! budget, to the last unit (500,000 units are a dollar).

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::draft::{Draft, Names, Token};
use crate::unit::clock;
use crate::unit::money::Money;

/// Pico-dollars of a unit of quota.
const UNIT: i64 = 2_000_000;

/// What `config.json` holds that is of use.
pub fn of_file(text: &str) -> Result<Draft, String> {
    let root: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(root) = root else {
        return Err("this is no configuration of One API: no object".to_owned());
    };
    if !root.contains_key("providers") && !root.contains_key("models") {
        return Err("this is no configuration of One API: it has no providers".to_owned());
    }
    let mut draft = Draft::default();
    draft.begin("one-api");
    let (mut port, mut host, mut level) = (3000, "0.0.0.0".to_owned(), None);
    for (name, value) in &root {
        match (&**name, value) {
            ("version" | "providers" | "models", _) => {}
            ("server", Value::Object(server)) => {
                for (name, value) in server {
                    match (&**name, value) {
                        ("port", value) => port = value.as_u64().unwrap_or(3000).clamp(1, 65_535),
                        ("host", Value::String(text)) => host.clone_from(text),
                        _ => left(&mut draft, &["server", name], value),
                    }
                }
            }
            ("log", Value::Object(log)) => {
                for (name, value) in log {
                    match (&**name, value.as_str()) {
                        ("level", Some(text @ ("debug" | "info" | "warn" | "error"))) => {
                            level = Some(text.to_owned());
                        }
                        _ => left(&mut draft, &["log", name], value),
                    }
                }
            }
            ("database", _) => draft.note("`database`: this program keeps its own ledger"),
            _ => left(&mut draft, &[name], value),
        }
    }
    if let Some(level) = level {
        draft.line(0, "error_log", &["stderr", &level]);
    }
    let mut names = Names::default();
    // As the models call them, and as they are called here.
    let mut providers: BTreeMap<String, String> = BTreeMap::new();
    for (number, provider) in objects(&root, "providers", &mut draft)
        .into_iter()
        .enumerate()
    {
        let text = |name: &str| {
            provider
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = names.take(text("name"), "provider", number as u64 + 1);
        let (api, is_known) = api_of_word(text("type"));
        if !is_known {
            draft.note(format!(
                "provider `{name}`: its type `{}` is taken for one that speaks OpenAI's API",
                text("type")
            ));
        }
        draft.open(0, "llm_provider", &[&name]);
        if api != "openai" {
            draft.line(1, "api", &[api]);
        }
        if !text("base_url").is_empty() {
            draft.line(1, "base_url", &[text("base_url").trim_end_matches('/')]);
        }
        if !text("api_key").is_empty() {
            let word = draft.keep_key(&name, text("api_key"));
            draft.line(1, "api_key", &[&word]);
        }
        draft.close(0);
        for (member, value) in provider {
            if !matches!(
                &**member,
                "label" | "name" | "type" | "base_url" | "api_key"
            ) {
                left(&mut draft, &["providers", &name, member], value);
            }
        }
        providers.insert(text("name").to_owned(), name);
    }
    for model in objects(&root, "models", &mut draft) {
        let text = |name: &str| model.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(provider) = providers.get(text("provider")) else {
            draft.note(format!(
                "model `{}`: there is no provider `{}`",
                text("name"),
                text("provider")
            ));
            continue;
        };
        draft.open(0, "llm_model", &[text("name")]);
        let target = format!("{provider}/{}", text("name"));
        match model.get("max_context").and_then(Value::as_u64) {
            None => draft.line(1, "target", &[&target]),
            Some(most) => {
                draft.line(1, "target", &[&target, &format!("max_context={most}")]);
            }
        }
        draft.close(0);
        for (member, value) in model {
            if !matches!(&**member, "label" | "name" | "provider" | "max_context") {
                left(&mut draft, &["models", text("name"), member], value);
            }
        }
    }
    let address = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    server(&mut draft, &address);
    Ok(draft)
}

fn server(draft: &mut Draft, address: &str) {
    draft.open(0, "server", &[]);
    draft.line(1, "listen", &[address]);
    draft.open(1, "location", &["/"]);
    draft.line(2, "llm_gateway", &[]);
    draft.close(1);
    draft.close(0);
    draft.end();
}

/// The objects of a list.
fn objects<'a>(
    root: &'a Map<String, Value>,
    name: &str,
    draft: &mut Draft,
) -> Vec<&'a Map<String, Value>> {
    let items = root.get(name).and_then(Value::as_array);
    let items = items.into_iter().flatten();
    let objects: Vec<_> = items.clone().filter_map(Value::as_object).collect();
    if objects.len() < items.count() {
        draft.note(format!("`{name}` holds what is no object"));
    }
    objects
}

/// Names what has no place here; its value only if it cannot be a secret.
fn left(draft: &mut Draft, path: &[&str], value: &Value) {
    let shown = match value {
        Value::Bool(_) | Value::Number(_) | Value::Null => format!(" ({value})"),
        _ => String::new(),
    };
    draft.note(format!("`{}`{shown} has no place here", path.join(".")));
}

/// Our word for a kind of provider, and whether it is known.
fn api_of_word(word: &str) -> (&'static str, bool) {
    let word = word.to_ascii_lowercase();
    let api = match &*word {
        "claude" => "anthropic",
        "google" => "gemini",
        "togetherai" => "together",
        word => {
            let known = crate::conf::typed::llm::APIS
                .iter()
                .find(|known| **known == word);
            return known.map_or(("openai", false), |known| (known, true));
        }
    };
    (api, true)
}

/// Our word for the number of a kind of channel; `None` if it speaks an API that we do not.
fn api_of_number(number: i64) -> Option<&'static str> {
    Some(match number {
        // OpenAI's own, and services that speak as it does at an address of their own.
        1 | 2 | 4..=8 | 10 | 12 | 13 | 22 => "openai",
        14 => "anthropic",
        20 => "openrouter",
        24 => "gemini",
        28 => "mistral",
        29 => "groq",
        30 => "ollama",
        36 => "deepseek",
        39 => "together",
        _ => return None,
    })
}

/// What a database holds that is of use.
pub fn of_database(path: &Path) -> Result<Draft, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags);
    let told = |error: rusqlite::Error| format!("`{}`: {error}", path.display());
    let connection = opened.map_err(told)?;
    let mut draft = Draft::default();
    draft.begin("one-api --db");
    let channels = rows(&connection, "channels").map_err(told)?;
    write_channels(&channels, &mut draft);
    server(&mut draft, "0.0.0.0:3000");
    let users = rows(&connection, "users").map_err(told)?;
    let users: BTreeMap<i64, Fields> = users
        .into_iter()
        .map(|user| (user.number("id"), user))
        .collect();
    let tokens = rows(&connection, "tokens").map_err(told)?;
    let mut names = Names::default();
    for token in &tokens {
        read_token(token, &users, &mut names, &mut draft);
    }
    for (table, why) in [
        (
            "options",
            "settings and ratios: prices are the built-in ones, or `llm_price`",
        ),
        ("redemptions", "codes for more quota"),
        ("logs", "calls of the past; the ledger here begins anew"),
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let count = connection.query_row(&count, [], |row| row.get::<_, i64>(0));
        if let Ok(count @ 1..) = count {
            draft.note(format!("{count} rows of `{table}`: {why}"));
        }
    }
    Ok(draft)
}

/// A row by the names of its columns: versions differ in which there are.
#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text)
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn list(&self, name: &str) -> Vec<&str> {
        let parts = self.text(name).split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).collect()
    }
}

fn rows(connection: &Connection, table: &str) -> Result<Vec<Fields>, rusqlite::Error> {
    // Rows that were deleted are kept by some versions.
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY id"))?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let read = |row: &Row<'_>| {
        let mut fields = Fields::default();
        for (position, name) in names.iter().enumerate() {
            let text = match row.get_ref(position)? {
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => number.to_string(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                ValueRef::Null | ValueRef::Blob(_) => String::new(),
            };
            fields.0.insert(name.clone(), text);
        }
        Ok(fields)
    };
    let rows: Result<Vec<Fields>, _> = statement.query_map([], read)?.collect();
    Ok(rows?
        .into_iter()
        .filter(|row| matches!(row.text("deleted_at"), "" | "0"))
        .collect())
}

/// Who answers for a model, by the order in which One API asks.
struct Answers {
    priority: i64,
    weight: i64,
    target: String,
}

fn write_channels(channels: &[Fields], draft: &mut Draft) {
    let mut names = Names::default();
    let mut models: BTreeMap<String, Vec<Answers>> = BTreeMap::new();
    for channel in channels {
        let id = channel.number("id");
        let label = format!("channel {id} `{}`", channel.text("name"));
        let Some(api) = api_of_number(channel.number("type")) else {
            let kind = channel.number("type");
            draft.note(format!(
                "{label}: it is of kind {kind}, whose API is not spoken here"
            ));
            continue;
        };
        if channel.number("status") != 1 {
            draft.note(format!(
                "{label}: it is switched off there, so it is left out"
            ));
            continue;
        }
        let name = names.take(channel.text("name"), "channel", id.unsigned_abs());
        draft.open(0, "llm_provider", &[&name]);
        if api != "openai" {
            draft.line(1, "api", &[api]);
        }
        let address = channel.text("base_url").trim().trim_end_matches('/');
        if !address.is_empty() {
            // One API puts the version behind it, where the API has one.
            let has_path = address.splitn(4, '/').nth(3).is_some();
            match api {
                "anthropic" | "gemini" | "ollama" => draft.line(1, "base_url", &[address]),
                _ if has_path => draft.line(1, "base_url", &[address]),
                _ => draft.line(1, "base_url", &[&format!("{address}/v1")]),
            }
        }
        let keys = channel
            .text("key")
            .lines()
            .filter(|key| !key.trim().is_empty());
        for (number, key) in keys.enumerate() {
            let file = match number {
                0 => name.clone(),
                number => format!("{name}.{number}"),
            };
            let word = draft.keep_key(&file, key);
            draft.line(1, "api_key", &[&word]);
        }
        draft.close(0);
        if !matches!(channel.text("group"), "" | "default") {
            draft.note(format!(
                "{label}: it is for the groups `{}` only; `--models` of their keys can say so",
                channel.text("group")
            ));
        }
        for part in ["other", "config", "system_prompt"] {
            if !matches!(channel.text(part), "" | "{}" | "null") {
                draft.note(format!("{label}: its `{part}` has no place here"));
            }
        }
        let mapping: Map<String, Value> =
            serde_json::from_str(channel.text("model_mapping")).unwrap_or_default();
        for model in channel.list("models") {
            let mapped = mapping.get(model).and_then(Value::as_str).unwrap_or(model);
            models.entry(model.to_owned()).or_default().push(Answers {
                priority: channel.number("priority"),
                weight: channel.number("weight").clamp(0, 1000),
                target: format!("{name}/{mapped}"),
            });
        }
    }
    for (model, mut answers) in models {
        answers.sort_by_key(|answer| std::cmp::Reverse(answer.priority));
        let best = answers.first().map(|answer| answer.priority);
        // One that weighs nothing is asked too, if all weigh nothing.
        let is_weighed = answers.iter().any(|answer| answer.weight > 0);
        draft.open(0, "llm_model", &[&model]);
        for answer in &answers {
            let weight = format!("weight={}", answer.weight.max(1));
            match (
                Some(answer.priority) == best,
                is_weighed && answer.weight != 1,
            ) {
                (false, _) => draft.line(1, "target", &[&answer.target, "backup"]),
                (true, true) => draft.line(1, "target", &[&answer.target, &weight]),
                (true, false) => draft.line(1, "target", &[&answer.target]),
            }
        }
        draft.close(0);
    }
}

fn read_token(token: &Fields, users: &BTreeMap<i64, Fields>, names: &mut Names, draft: &mut Draft) {
    let id = token.number("id");
    let user = users.get(&token.number("user_id"));
    let owner = user.map_or("", |user| user.text("username"));
    let wanted = match (owner, token.text("name")) {
        ("" | "root", name) => name.to_owned(),
        (owner, "") => owner.to_owned(),
        (owner, name) => format!("{owner}-{name}"),
    };
    let name = names.take(&wanted, "token", id.unsigned_abs());
    // Clients may send it with or without what stands in front.
    let secret = token.text("key").trim();
    let secret = secret.strip_prefix("sk-").unwrap_or(secret);
    if secret.len() < 16 {
        draft.note(format!(
            "token {id} `{name}`: its key is too short to be safe, it is left out"
        ));
        return;
    }
    let is_unlimited = matches!(token.text("unlimited_quota"), "1" | "true");
    let left = token.number("remain_quota");
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    let expires = token.number("expired_time");
    let is_over = expires > 0 && expires <= now;
    let is_spent = !is_unlimited && left <= 0;
    let is_off = token.number("status") != 1;
    if is_spent || is_over || is_off {
        let why = match (is_over, is_spent) {
            (true, _) => "its time is over",
            (false, true) => "its quota is used up",
            (false, false) => "it is switched off there",
        };
        draft.note(format!(
            "token {id} `{name}`: {why}, it is brought as revoked"
        ));
    }
    if let Some(user) = user.filter(|user| user.number("quota") <= 0 || user.number("status") > 1) {
        let name_of_user = user.text("username");
        draft.note(format!(
            "token {id} `{name}`: its user `{name_of_user}` has no quota left or is switched off there"
        ));
    }
    let money = i128::from(left).saturating_mul(UNIT.into());
    draft.tokens.push(Token {
        name,
        group: user.map_or("", |user| user.text("group")).to_owned(),
        owner: owner.to_owned(),
        secret: Zeroizing::new(format!("sk-{secret}")),
        models: token
            .list("models")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        addresses: token
            .list("subnet")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        left: (!is_unlimited && left > 0).then(|| Money::saturated(money)),
        expires_in: (expires > now).then(|| (expires - now).unsigned_abs()),
        is_revoked: is_spent || is_over || is_off,
    });
}
