//! `openclaw models`: what this program knows of language models, without asking a daemon.

use std::process::ExitCode;
use std::rc::Rc;

use serde::Serialize;

use super::exit::Exit;
use super::figures::count;
use super::session::print_json;
use super::table::{Side, Table};
use super::{complain, print};
use crate::llm::price::{self, Capability, Model};

/// A model as JSON.
#[derive(Serialize)]
struct Told {
    name: &'static str,
    provider: &'static str,
    mode: &'static str,
    max_input: Option<u64>,
    max_output: Option<u64>,
    can: Vec<&'static str>,
    dollars_per_million_tokens: std::collections::BTreeMap<&'static str, String>,
}

/// Tells the models whose names hold some text, or the one that a provider calls so.
pub fn tell(name: Option<&str>, json: bool) -> ExitCode {
    let named = name.and_then(|name| {
        let (provider, rest) = name.split_once('/')?;
        price::find(provider, rest)
    });
    let wanted = name.unwrap_or_default().to_ascii_lowercase();
    let models: Vec<Rc<Model>> = match named {
        Some(model) => vec![model],
        None => price::models()
            .map(Rc::new)
            .filter(|model| model.name.to_ascii_lowercase().contains(&wanted))
            .collect(),
    };
    if models.is_empty() {
        complain(&format!(
            "openclaw: no model is known by the name `{}`",
            wanted.escape_debug()
        ));
        return Exit::Failed.into();
    }
    if json {
        let told: Vec<Told> = models.iter().map(|model| told(model)).collect();
        print_json(&told);
        return ExitCode::SUCCESS;
    }
    let mut table = Table::new(&[
        ("MODEL", Side::Left),
        ("PROVIDER", Side::Left),
        ("FOR", Side::Left),
        ("IN", Side::Right),
        ("OUT", Side::Right),
        ("CACHED", Side::Right),
        ("MOST IN", Side::Right),
        ("MOST OUT", Side::Right),
    ]);
    let limit = |tokens: Option<u64>| tokens.map_or("-".to_owned(), count);
    for model in &models {
        let price = |wanted: &str| {
            let found = model.prices.shown().find(|(name, _)| *name == wanted);
            found.map_or("-".to_owned(), |(_, dollars)| dollars)
        };
        table.row([
            model.name.to_owned(),
            model.provider.to_owned(),
            model.mode.to_owned(),
            price("in"),
            price("out"),
            price("cache_read"),
            limit(model.max_input),
            limit(model.max_output),
        ]);
    }
    print(&table.text());
    if let [model] = &models[..] {
        print(&format!("\ncan: {}\n", abilities(model).join(", ")));
        for (name, dollars) in model.prices.shown() {
            print(&format!("{name}: {dollars}\n"));
        }
    }
    print(&format!(
        "\ndollars per million tokens, as of {}\n",
        price::version()
    ));
    ExitCode::SUCCESS
}

fn abilities(model: &Model) -> Vec<&'static str> {
    Capability::ALL
        .iter()
        .filter(|(capability, ..)| model.can(*capability))
        .map(|&(.., word)| word)
        .collect()
}

fn told(model: &Model) -> Told {
    Told {
        name: model.name,
        provider: model.provider,
        mode: model.mode,
        max_input: model.max_input,
        max_output: model.max_output,
        can: abilities(model),
        dollars_per_million_tokens: model.prices.shown().collect(),
    }
}
