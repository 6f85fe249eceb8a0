//! Calls of language models as the protocol tells them: those under way, how much passes, and those
//! that the ledger has.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Control, alerts, keys, revisions};
use crate::conf::typed::llm::{MostCalls, Provider};
use crate::conf::typed::proxy::Target;
use crate::conf::typed::upstream::Upstream;
use crate::llm::account::Moment;
use crate::llm::books::books;
use crate::llm::standing::{Fitness, Report, standings};
use crate::metrics::{model_calls, registry};
use crate::process::desk::refusal;
use crate::protocol::{
    CallTokens, LlmNow, ModelCall, ModelCalls, ModelNow, ProviderNow, ProviderTests, Refusal,
    RefusalCode, RunningCall,
};
use crate::serve::gateway::inquiry::inquire;
use crate::serve::generation::Generation;
use crate::store::{Call, CallState};
use crate::unit::clock;
use crate::unit::printable::escape;

/// So many calls under way are told.
const MOST_RUNNING: usize = 100;

/// So many models of a provider are told.
const MOST_MODELS: usize = 12;

/// So many calls of the ledger are told at once.
const MOST_CALLS: u32 = 500;

/// Over so long calls are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Over so long tokens are counted.
const RECENT: Duration = Duration::from_secs(10);

/// What was counted in the last minute, the oldest first.
#[derive(Debug, Default)]
pub struct Meter(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    begun: u64,
    input: u64,
    output: u64,
    failed: u64,
    /// Of calls for which a kept answer was looked for, those to which there was one, and all.
    kept: (u64, u64),
}

/// What happened in the last minute, and in each second of the last ten.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct Rates {
    calls: u64,
    failed: u64,
    kept: (u64, u64),
    input: f64,
    output: f64,
}

/// A second has passed.
pub fn tick(control: &Control) {
    let ([hits, misses, _], _) = model_calls::cache_results();
    let sample = Sample {
        at: Instant::now(),
        begun: books().running().seen(0).begun,
        input: registry::total(|counters| &counters.model_input),
        output: registry::total(|counters| &counters.model_output),
        failed: model_calls::failed(),
        kept: (hits, hits.saturating_add(misses)),
    };
    let mut samples = control.llm.0.lock();
    samples.push_back(sample);
    while (samples.front()).is_some_and(|oldest| sample.at - oldest.at > MINUTE) {
        samples.pop_front();
    }
}

fn rates(samples: &VecDeque<Sample>) -> Rates {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return Rates::default();
    };
    let recent = |sample: &&Sample| last.at - sample.at <= RECENT;
    let since = samples.iter().find(recent).unwrap_or(last);
    let seconds = (last.at - since.at).as_secs_f64();
    let rate = |count: u64| match seconds > 0.0 {
        true => count as f64 / seconds,
        false => 0.0,
    };
    Rates {
        calls: last.begun.saturating_sub(first.begun),
        failed: last.failed.saturating_sub(first.failed),
        kept: (
            last.kept.0.saturating_sub(first.kept.0),
            last.kept.1.saturating_sub(first.kept.1),
        ),
        input: rate(last.input.saturating_sub(since.input)),
        output: rate(last.output.saturating_sub(since.output)),
    }
}

/// What happens now; nothing if the configuration has no provider.
pub fn now(control: &Control) -> Option<Box<LlmNow>> {
    let in_force = control.desk.in_force();
    let providers = &in_force.generation.llm_providers;
    if providers.is_empty() {
        return None;
    }
    let seen = books().running().seen(MOST_RUNNING);
    let rates = rates(&control.llm.0.lock());
    let calls = seen.oldest.iter().map(|call| RunningCall {
        id: call.id,
        key: call.key.to_string(),
        gateway: call.gateway.to_string(),
        user: call.user.to_string(),
        asked: call.asked.to_string(),
        answering: call.answering().into(),
        age: call.age(),
        output: call.output(),
        held: call.held.to_string(),
    });
    let standings = standings().report(clock::now());
    let providers = providers.iter().map(|provider| {
        let (state, note) = provider.state(&standings);
        let of_it = || {
            standings
                .iter()
                .filter(|it| it.provider == provider.conf.name)
        };
        let mut worst: Vec<&Report> = of_it().collect();
        worst.sort_by_key(|it| (it.fitness == Fitness::Ready, Reverse(it.asked)));
        ProviderNow {
            name: provider.conf.name.to_string(),
            kind: provider.conf.kind.to_owned(),
            state: state.to_owned(),
            note,
            under_way: provider.standing.under_way(),
            most: provider.standing.most(provider.conf.max_connections),
            is_adaptive: matches!(provider.conf.max_connections, MostCalls::Adaptive(_)),
            waiting: provider.standing.waiting() as u32,
            first_token: (provider.first_part(&standings))
                .map_or(0, |time| time.as_micros() as u64),
            address: provider.conf.base_url.to_string(),
            room: provider.conf.queue.map_or(0, |queue| queue.room as u32),
            turned_away: provider.standing.turned_away(),
            asked: of_it().map(|it| it.asked).sum(),
            failed: of_it().map(|it| it.failed).sum(),
            limited: of_it().map(|it| it.limited).sum(),
            models: worst.into_iter().take(MOST_MODELS).map(model_now).collect(),
        }
    });
    Some(Box::new(LlmNow {
        today: books()
            .running()
            .spent_today(Moment::now().unix)
            .to_string(),
        held: seen.held.to_string(),
        running: seen.count,
        calls: calls.collect(),
        calls_per_minute: rates.calls,
        failed_per_minute: rates.failed,
        kept_per_minute: rates.kept,
        input_rate: rates.input,
        output_rate: rates.output,
        budget: alerts::fullest_budget(),
        ended: seen.ended,
        providers: providers.collect(),
    }))
}

/// Is this the group behind a provider, which nobody has written down as one?
pub fn is_of_provider(generation: &Generation, upstream: &Upstream) -> bool {
    let position = |target: &Target| match target {
        Target::Group { upstream, .. } => Some(*upstream),
        Target::Dynamic(_) => None,
    };
    let groups = &generation.http.upstreams;
    let of = |provider: &Arc<Provider>| groups.get(position(&provider.asking.target)?);
    let mut providers = generation.http.llm.providers.iter().filter_map(of);
    upstream.is_implicit && providers.any(|own| own.name == upstream.name)
}

/// What is wrong with providers now: who is not asked, and why.
pub fn troubles(control: &Control) -> Vec<String> {
    let in_force = control.desk.in_force();
    let providers = &in_force.generation.llm_providers;
    if providers.is_empty() {
        return Vec::new();
    }
    let standings = standings().report(clock::now());
    let troubles = standings.iter().filter_map(|report| {
        let mut known = providers.iter();
        known.find(|provider| provider.conf.name == report.provider)?;
        let name = format!("{}/{}", report.provider, escape(&report.model));
        match (report.fitness, report.reason) {
            (Fitness::Open(_), Some(reason)) => Some(format!("{name} is not asked: {reason}")),
            (Fitness::Open(_), None) => Some(format!("{name} is not asked: it failed too often")),
            (Fitness::Refused(_), _) => Some(format!("{name} is not asked: it refuses our key")),
            _ => None,
        }
    });
    troubles.collect()
}

fn model_now(report: &Report) -> ModelNow {
    ModelNow {
        model: report.model.to_string(),
        key: report.key.to_string(),
        state: report.fitness.word().to_owned(),
        left_ms: report
            .fitness
            .left()
            .map_or(0, |left| left.as_millis() as u64),
        reason: report
            .reason
            .map_or_else(String::new, |reason| reason.to_string()),
        share: report.share,
        under_way: report.under_way,
        first_token: report.first_part.map_or(0, |time| time.as_micros() as u64),
        failed: report.failed,
    }
}

/// What was spent since midnight in UTC; nothing if the configuration has no provider.
pub fn spent_today(control: &Control) -> Option<String> {
    let in_force = control.desk.in_force();
    let is_used = !in_force.generation.llm_providers.is_empty();
    is_used.then(|| {
        books()
            .running()
            .spent_today(Moment::now().unix)
            .to_string()
    })
}

/// Asks providers which models they have: all of them, or one.
pub async fn test(control: &Control, name: Option<&str>) -> Result<ProviderTests, Refusal> {
    let generation = Arc::clone(&control.desk.in_force().generation);
    let providers = generation.llm_providers.iter().enumerate();
    let wanted: Vec<usize> = providers
        .filter(|(_, it)| name.is_none_or(|name| it.conf.name.eq_ignore_ascii_case(name)))
        .map(|(at, _)| at)
        .collect();
    if wanted.is_empty() {
        let what = match name {
            Some(name) => format!("there is no provider `{}`", name.escape_debug()),
            None => "the configuration has no provider".to_owned(),
        };
        return Err(refusal(RefusalCode::NotFound, what));
    }
    let mut asking = JoinSet::new();
    for at in wanted {
        let generation = Arc::clone(&generation);
        asking.spawn(async move {
            let upstreams = &generation.http.upstreams;
            (at, inquire(&generation.llm_providers[at], upstreams).await)
        });
    }
    let mut tests = Vec::new();
    while let Some(asked) = asking.join_next().await {
        tests.extend(asked.ok());
    }
    tests.sort_by_key(|(at, _)| *at);
    Ok(ProviderTests {
        tests: tests.into_iter().flat_map(|(_, tests)| tests).collect(),
    })
}

/// Calls of the ledger, newest first: older than one of them, or of one key, if that is asked for.
pub async fn calls(
    control: &Control,
    limit: Option<u64>,
    before: Option<u64>,
    key: Option<&str>,
) -> Result<ModelCalls, Refusal> {
    keys::opened(control)?;
    let limit = limit.map_or(50, |limit| limit.min(MOST_CALLS.into()) as u32);
    let key = key.map(|name| keys::named(name).map(|key| key.row.id));
    let key = key.transpose()?;
    keys::flush(control).await?;
    let calls = revisions::read(control, move |reader| reader.calls(limit, before, key)).await?;
    Ok(ModelCalls {
        calls: told(&calls),
    })
}

/// One call of the ledger.
pub async fn call(control: &Control, id: u64) -> Result<ModelCall, Refusal> {
    keys::opened(control)?;
    keys::flush(control).await?;
    let found = revisions::read(control, move |reader| reader.call(id)).await?;
    let told = told(found.as_slice()).pop();
    told.ok_or_else(|| refusal(RefusalCode::NotFound, format!("there is no call {id}")))
}

fn told(calls: &[Call]) -> Vec<ModelCall> {
    let keys = books().keys();
    let name = |id: u64| match keys.all().iter().find(|key| key.row.id == id) {
        Some(key) => key.row.name.clone(),
        None if id == 0 => String::new(),
        None => format!("#{id}"),
    };
    let told = calls.iter().map(
        |Call {
             open,
             state,
             end,
             charged,
         }| ModelCall {
            id: open.id,
            state: match state {
                CallState::Open => "open",
                CallState::Settled => "settled",
                CallState::Interrupted => "interrupted",
            }
            .to_owned(),
            key: name(open.key),
            gateway: open.gateway.clone(),
            user: open.user.clone(),
            node: open.node.clone(),
            operation: end.operation.clone(),
            asked: open.asked.clone(),
            rule: end.rule.clone(),
            tried: end.tried.clone(),
            attempts: end.attempts,
            provider: end.provider.clone(),
            model: end.model.clone(),
            outcome: end.outcome.clone(),
            status: end.status,
            estimated: end.is_estimated,
            tokens: CallTokens {
                input: end.tokens.input,
                cache_read: end.tokens.cache_read,
                cache_write_5m: end.tokens.cache_write_5m,
                cache_write_1h: end.tokens.cache_write_1h,
                audio_input: end.tokens.audio_input,
                output: end.tokens.output,
                reasoning: end.tokens.reasoning,
                audio_output: end.tokens.audio_output,
                web_searches: end.tokens.web_searches,
                images: end.tokens.images,
            },
            reserved: open.reserved.to_string(),
            cost: end.cost.map(|cost| cost.to_string()),
            billed: end.billed.map(|billed| billed.to_string()),
            charged: charged.to_string(),
            saved: (end.kept_from > 0).then(|| end.saved.to_string()),
            kept_from: (end.kept_from > 0).then_some(end.kept_from),
            kept_age: (end.kept_from > 0).then_some(end.kept_age),
            price: end.price.clone(),
            first: end.first_us,
            upstream: end.upstream_us,
            total: end.total_us,
        },
    );
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_over_a_minute_and_tokens_over_ten_seconds() {
        let start = Instant::now();
        let sample = |second: u64, begun, output| Sample {
            at: start + Duration::from_secs(second),
            begun,
            input: output * 2,
            output,
            failed: begun / 2,
            kept: (begun / 3, begun),
        };
        let samples = VecDeque::from([sample(0, 5, 0), sample(20, 8, 1000), sample(30, 9, 1500)]);
        let told = rates(&samples);
        assert_eq!((told.calls, told.input, told.output), (4, 100.0, 50.0));
        let (first, last) = (&samples[0], &samples[samples.len() - 1]);
        assert_eq!(told.failed, last.failed - first.failed);
        assert_eq!(told.kept.1, 4);
        let one = VecDeque::from([sample(0, 5, 70)]);
        assert_eq!(rates(&one), Rates::default());
        assert_eq!(rates(&VecDeque::new()), Rates::default());
    }
}
