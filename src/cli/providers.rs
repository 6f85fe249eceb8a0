//! `openclaw providers`: those who answer for language models, and whether they do.

use super::exit::Exit;
use super::figures::{count, micros};
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{Daemon, ProviderWord};
use crate::protocol::{ProviderName, ProviderNow, ProviderTests, Summary};
use crate::unit::printable::escape;

/// Does what the word says; without one providers are listed.
pub fn run(session: &Session, word: Option<&ProviderWord>) -> Result<(), Failure> {
    match word {
        None => list(session),
        Some(ProviderWord::Test { name, .. }) => test(session, name.as_deref()),
    }
}

/// The options of the daemon that stand behind the second word.
pub fn daemon(word: Option<&ProviderWord>, outer: &Daemon) -> Daemon {
    match word {
        None => outer.clone(),
        Some(ProviderWord::Test { daemon, .. }) => daemon.or(outer),
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    let summary: Summary = session.get("/v1/summary")?;
    let providers = summary.llm.map_or_else(Vec::new, |now| now.providers);
    if session.json {
        print_json(&providers);
        return Ok(());
    }
    if providers.is_empty() {
        print("no provider: `llm_provider` makes one\n");
        return Ok(());
    }
    print(&listed(providers));
    Ok(())
}

/// A table of providers.
pub fn listed(providers: Vec<ProviderNow>) -> String {
    let mut table = Table::new(&[
        ("PROVIDER", Side::Left),
        ("KIND", Side::Left),
        ("STATE", Side::Left),
        ("CALLS", Side::Right),
        ("LIMIT", Side::Right),
        ("WAITING", Side::Right),
        ("FIRST TOKEN", Side::Right),
        ("NOTE", Side::Left),
    ]);
    for provider in providers {
        table.row([
            provider.name,
            provider.kind,
            provider.state,
            count(provider.under_way.into()),
            match (provider.most, provider.is_adaptive) {
                (0, _) => "-".to_owned(),
                (most, false) => count(most.into()),
                (most, true) => format!("auto {}", count(most.into())),
            },
            count(provider.waiting.into()),
            match provider.first_token {
                0 => "-".to_owned(),
                time => micros(time),
            },
            provider.note,
        ]);
    }
    table.text()
}

fn test(session: &Session, name: Option<&str>) -> Result<(), Failure> {
    let wanted = ProviderName {
        name: name.map(str::to_owned),
    };
    let found: ProviderTests = session.post("/v1/llm/test", &wanted)?;
    let failed = found.tests.iter().filter(|test| !test.is_good).count();
    if session.json {
        print_json(&found);
    } else {
        let mut table = Table::new(&[
            ("PROVIDER", Side::Left),
            ("KEY", Side::Right),
            ("TIME", Side::Right),
            ("RESULT", Side::Left),
        ]);
        for test in &found.tests {
            table.row([
                test.provider.clone(),
                count(test.key.into()),
                match test.latency {
                    0 => "-".to_owned(),
                    latency => micros(latency),
                },
                escape(&test.text).into_owned(),
            ]);
        }
        print(&table.text());
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::Told(Exit::Failed, "1 test failed".to_owned())),
        failed => Err(Failure::Told(
            Exit::Failed,
            format!("{failed} tests failed"),
        )),
    }
}
