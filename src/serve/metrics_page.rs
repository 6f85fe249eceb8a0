//! The answer of `metrics`, made beside the event loop.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::generation::Generation;
use crate::access::bans;
use crate::conf::typed::location::MetricsFormat;
use crate::llm::account;
use crate::llm::books::books;
use crate::llm::kept::answers;
use crate::llm::room;
use crate::llm::standing::standings;
use crate::log::dated;
use crate::metrics::model_calls::{ListedBudget, ListedCalls, ListedProvider};
use crate::metrics::prometheus::{self, Besides};
use crate::metrics::window::Moment;
use crate::unit::clock;
use crate::unit::money::Money;

/// So many budgets are told.
const MOST_BUDGETS: usize = 100;

/// One page is made at a time: who asks too often waits, and holds no thread.
static TURN: Semaphore = Semaphore::const_new(1);

/// The page as it is now, with its media type; `None` if it could not be made.
pub async fn text(
    generation: &Arc<Generation>,
    format: MetricsFormat,
) -> Option<(&'static str, String)> {
    let _turn = TURN.acquire().await.ok()?;
    let generation = Arc::clone(generation);
    // With thousands of routes it takes longer than others may wait for their worker.
    let made = tokio::task::spawn_blocking(move || {
        let listed = generation.listed_peers();
        let besides = Besides {
            groups: generation.listed_groups(),
            certificates: generation.listed_certificates(),
            caches: generation.listed_caches(),
            zones: generation.zones.listed(),
            bans: bans::bans().listed(),
            calls: calls(&generation),
        };
        let now = Moment::now();
        match format {
            MetricsFormat::Prometheus => prometheus::text(&listed, besides, now),
            MetricsFormat::Json => prometheus::json(&listed, besides, now),
        }
    });
    let media_type = match format {
        MetricsFormat::Prometheus => prometheus::CONTENT_TYPE,
        MetricsFormat::Json => "application/json",
    };
    Some((media_type, made.await.ok()?))
}

/// What holds now of calls of language models; nothing without a provider.
fn calls(generation: &Generation) -> Option<ListedCalls> {
    if generation.llm_providers.is_empty() {
        return None;
    }
    let now = account::Moment::now();
    let seen = books().running().seen(0);
    let keys = books().keys();
    let budgets = keys.all().iter().flat_map(|key| {
        let standing = key.account.standing(now).budgets;
        standing.into_iter().filter_map(|budget| {
            let limit = budget.limit?;
            let left = limit.minus(budget.spent).minus(budget.held);
            Some(ListedBudget {
                key: key.row.name.clone(),
                period: budget.period.word(),
                limit_dollars: limit.to_string(),
                remaining_dollars: left.max(Money::ZERO).to_string(),
            })
        })
    });
    let standings = standings().report(clock::now());
    let providers = generation
        .llm_providers
        .iter()
        .map(|provider| ListedProvider {
            provider: provider.conf.name.to_string(),
            state: provider.state(&standings).0.to_owned(),
            in_flight: provider.standing.under_way(),
            most: provider.standing.most(provider.conf.max_connections),
            waiting: provider.standing.waiting(),
            turned_away: provider.standing.turned_away(),
            first_token_us: (provider.first_part(&standings)).map(|time| time.as_micros() as u64),
        });
    let kept = answers().standing();
    Some(ListedCalls {
        kept_answers: kept.answers as u64,
        body_bytes: room::taken(),
        kept_bytes: kept.bytes as u64,
        kept_evicted: kept.evicted,
        kept_purged: kept.purged,
        bodies: dated::counts(),
        in_flight: seen.count,
        held_dollars: seen.held.to_string(),
        budgets: budgets.take(MOST_BUDGETS).collect(),
        providers: providers.collect(),
    })
}
