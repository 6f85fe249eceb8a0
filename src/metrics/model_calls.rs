//! Calls of language models in numbers: tokens, times and money, by names of which there are never too
//! many.
//!
//! The names of the first four families are those of the OpenTelemetry conventions for generative AI.
//! Of each kind of name, and of what was wanted of whom with what outcome, the first hundred have series
//! of their own; what comes later is counted under `other`: a counter must not go down because another
//! has grown past it. One lock, held for an addition when a call has ended, which has just written to a
//! database.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use serde::Serialize;

use super::prometheus::Exposition;
use crate::unit::money::Money;

/// So many of each have series of their own.
const MOST: usize = 100;

/// The longest value of a label, in bytes.
const LONGEST: usize = 128;

/// What stands for all that came too late.
const OTHER: &str = "other";

/// Tokens of a call.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Seconds of a call.
const SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Seconds until the first of an answer.
const FIRST: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Seconds between two pieces of an answer.
const CHUNK: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5,
];

/// A call that has ended.
#[derive(Clone, Copy, Default, Debug)]
pub struct EndedCall<'a> {
    /// What was wanted: `chat`, `embeddings`.
    pub operation: &'a str,
    /// The provider that answered; empty for none.
    pub provider: &'a str,
    /// Its own name for the model.
    pub model: &'a str,
    /// `ok`, or a word for what went wrong.
    pub outcome: &'a str,
    /// The name of the key; empty for none.
    pub key: &'a str,
    /// The gateway; empty for none.
    pub gateway: &'a str,
    /// The user; empty for none.
    pub user: &'a str,
    /// The node; empty for none.
    pub node: &'a str,
    /// Tokens that went in.
    pub input: u64,
    /// Tokens that came out.
    pub output: u64,
    /// What counts of its cost; `None` if that is not known.
    pub cost: Option<Money>,
    /// Microseconds in all.
    pub total_us: u64,
    /// Microseconds until the first of the answer, of a stream.
    pub first_us: Option<u64>,
    /// Pieces of a stream.
    pub chunks: u64,
}

/// What holds now, as those say who know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ListedCalls {
    /// Calls under way.
    pub in_flight: u64,
    /// What is held for them, in dollars.
    pub held_dollars: String,
    /// What their bodies take, bytes; small ones are not counted.
    pub body_bytes: u64,
    /// Answers that are kept.
    pub kept_answers: u64,
    /// What they take, bytes.
    pub kept_bytes: u64,
    /// How many have given way to others.
    pub kept_evicted: u64,
    /// How many were purged.
    pub kept_purged: u64,
    /// Calls whose bodies were written down, and those whose were lost.
    pub bodies: (u64, u64),
    /// Budgets of keys.
    pub budgets: Vec<ListedBudget>,
    /// Providers.
    pub providers: Vec<ListedProvider>,
}

/// A budget of a key, in dollars.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ListedBudget {
    /// The key.
    pub key: String,
    /// `day`, `week`, `month` or `total`.
    pub period: &'static str,
    /// What it may spend.
    pub limit_dollars: String,
    /// What is left, with what is held taken off; never less than nothing.
    pub remaining_dollars: String,
}

/// A provider.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ListedProvider {
    /// Its name.
    pub provider: String,
    /// The state that holds, a word.
    pub state: String,
    /// Calls under way.
    pub in_flight: u32,
    /// How many there may be now; 0 for any number.
    pub most: u32,
    /// Calls that wait in its queue.
    pub waiting: usize,
    /// Calls that found no place in its queue, or waited in vain.
    pub turned_away: u64,
    /// How soon its answers begin, lately, in microseconds; `None` before the first.
    pub first_token_us: Option<u64>,
}

/// A call has ended.
pub fn count(call: &EndedCall<'_>) {
    TALLIES.lock().count(call);
}

/// A call was refused, for a reason of which there are few.
pub fn count_refusal(reason: &'static str) {
    *TALLIES.lock().refusals.entry(reason).or_default() += 1;
}

/// A call came where answers are kept: `HIT`, `MISS` or `BYPASS`, and what that saved.
pub fn count_cache(result: &'static str, saved: Money) {
    let mut tallies = TALLIES.lock();
    *tallies.kept.entry(result).or_default() += 1;
    tallies.saved = tallies.saved.plus(saved);
}

/// How often each came of looking for a kept answer: it was there, it was not, it was not looked for; and
/// what those that were there have saved.
#[must_use]
pub fn cache_results() -> ([u64; 3], Money) {
    let tallies = TALLIES.lock();
    let of = |result| tallies.kept.get(result).copied().unwrap_or_default();
    ([of("HIT"), of("MISS"), of("BYPASS")], tallies.saved)
}

/// Calls that failed so far: neither did they end well, nor did their client leave.
#[must_use]
pub fn failed() -> u64 {
    let tallies = TALLIES.lock();
    let has_failed = |series: &Series| !matches!(&*series.outcome, "ok" | "client_abort");
    let failed = tallies
        .series
        .iter()
        .filter(|(series, _)| has_failed(series));
    failed.map(|(_, tally)| tally.calls).sum()
}

/// All that was counted so far.
pub(super) fn tallies() -> Tallies {
    TALLIES.lock().clone()
}

static TALLIES: LazyLock<Mutex<Tallies>> = LazyLock::new(Mutex::default);

/// What was counted.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct Tallies {
    #[serde(serialize_with = "values")]
    series: BTreeMap<Series, Tally>,
    /// For each kind of [`KINDS`].
    #[serde(serialize_with = "by_kind")]
    spent: [BTreeMap<Box<str>, Spent>; KINDS.len()],
    refusals: BTreeMap<&'static str, u64>,
    /// Calls where answers are kept, by what came of it.
    kept: BTreeMap<&'static str, u64>,
    #[serde(serialize_with = "dollars")]
    saved: Money,
}

fn values<S: serde::Serializer>(
    series: &BTreeMap<Series, Tally>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        series: &'a Series,
        #[serde(flatten)]
        tally: &'a Tally,
    }
    serializer.collect_seq(series.iter().map(|(series, tally)| Row { series, tally }))
}

fn by_kind<S: serde::Serializer>(
    spent: &[BTreeMap<Box<str>, Spent>; KINDS.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(KINDS.iter().zip(spent))
}

/// By what else calls and their cost are told.
const KINDS: [&str; 4] = ["key", "gateway", "user", "node"];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize)]
struct Series {
    operation: Box<str>,
    provider: Box<str>,
    model: Box<str>,
    /// `ok`, or what went wrong.
    outcome: Box<str>,
}

#[derive(Clone, Debug, Serialize)]
struct Tally {
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    unpriced: u64,
    #[serde(serialize_with = "dollars")]
    dollars: Money,
    #[serde(skip)]
    input: Histogram,
    #[serde(skip)]
    output: Histogram,
    #[serde(skip)]
    duration: Histogram,
    #[serde(skip)]
    first: Histogram,
    #[serde(skip)]
    chunk: Histogram,
}

fn dollars<S: serde::Serializer>(money: &Money, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(money)
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: 0,
            input_tokens: 0,
            output_tokens: 0,
            unpriced: 0,
            dollars: Money::ZERO,
            input: Histogram::new(TOKENS),
            output: Histogram::new(TOKENS),
            duration: Histogram::new(SECONDS),
            first: Histogram::new(FIRST),
            chunk: Histogram::new(CHUNK),
        }
    }
}

#[derive(Clone, Copy, Default, Debug, Serialize)]
struct Spent {
    calls: u64,
    #[serde(serialize_with = "dollars")]
    dollars: Money,
}

/// Counts up to bounds, with their sum.
#[derive(Clone, Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// For each bound what is above the one before, then what is above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    fn record(&mut self, value: f64, times: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(times);
        }
        self.sum += value * times as f64;
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn write(&self, out: &mut Exposition, labels: &[(&'static str, &str)]) {
        let mut up_to = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            up_to += count;
            let bound = bound.to_string();
            let mut all = labels.to_vec();
            all.push(("le", &bound));
            out.sample("_bucket", &all, up_to);
        }
        let mut all = labels.to_vec();
        all.push(("le", "+Inf"));
        out.sample("_bucket", &all, self.count());
        out.sample("_sum", labels, self.sum);
        out.sample("_count", labels, self.count());
    }
}

/// The labels that the conventions have.
fn conventional(series: &Series) -> [(&'static str, &str); 3] {
    let operation = match &*series.operation {
        "completion" => "text_completion",
        operation => operation,
    };
    [
        ("gen_ai_operation_name", operation),
        ("gen_ai_provider_name", &series.provider),
        ("gen_ai_request_model", &series.model),
    ]
}

fn clipped(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(LONGEST)].into()
}

impl Tallies {
    fn count(&mut self, call: &EndedCall<'_>) {
        let or_none = |text: &str| match text {
            "" => "none".into(),
            text => clipped(text),
        };
        let series = Series {
            operation: or_none(call.operation),
            provider: or_none(call.provider),
            model: or_none(call.model),
            outcome: or_none(call.outcome),
        };
        let has_room = self.series.len() < MOST;
        let series = match has_room || self.series.contains_key(&series) {
            true => series,
            false => Series {
                operation: OTHER.into(),
                provider: OTHER.into(),
                model: OTHER.into(),
                outcome: match call.outcome {
                    "ok" => "ok".into(),
                    _ => OTHER.into(),
                },
            },
        };
        let tally = self.series.entry(series).or_default();
        tally.calls += 1;
        tally.input_tokens = tally.input_tokens.saturating_add(call.input);
        tally.output_tokens = tally.output_tokens.saturating_add(call.output);
        match call.cost {
            Some(cost) => tally.dollars = tally.dollars.plus(cost),
            None => tally.unpriced += 1,
        }
        if call.input > 0 {
            tally.input.record(call.input as f64, 1);
        }
        if call.output > 0 {
            tally.output.record(call.output as f64, 1);
        }
        tally.duration.record(call.total_us as f64 / 1e6, 1);
        if let Some(first) = call.first_us.filter(|_| call.chunks > 0) {
            tally.first.record(first as f64 / 1e6, 1);
            // Each was as long as all of them on the average: the times between are not kept.
            let others = call.chunks.saturating_sub(1);
            if others > 0 {
                let rest = call.total_us.saturating_sub(first) as f64 / 1e6;
                tally.chunk.record(rest / others as f64, others);
            }
        }
        let names = [call.key, call.gateway, call.user, call.node];
        for (spent, name) in self.spent.iter_mut().zip(names) {
            if name.is_empty() {
                continue;
            }
            let has_room = spent.len() < MOST || spent.contains_key(name);
            let name = if has_room {
                clipped(name)
            } else {
                OTHER.into()
            };
            let spent = spent.entry(name).or_default();
            spent.calls += 1;
            spent.dollars = spent.dollars.plus(call.cost.unwrap_or_default());
        }
    }

    /// Writes all families.
    pub(super) fn write(&self, listed: &ListedCalls, out: &mut Exposition) {
        type Of = fn(&Tally) -> &Histogram;
        out.foreign_family(
            "gen_ai_client_token_usage",
            "histogram",
            "tokens of a call, in and out",
        );
        let types: [(&str, Of); 2] = [("input", |it| &it.input), ("output", |it| &it.output)];
        // One series for all outcomes: the conventions have no label of them here.
        for (kind, of) in types {
            for (labels, tally) in self.merged(of) {
                let labels = [labels[0], labels[1], labels[2], ("gen_ai_token_type", kind)];
                tally.write(out, &labels);
            }
        }
        out.foreign_family(
            "gen_ai_client_operation_duration_seconds",
            "histogram",
            "from a call's beginning to its end",
        );
        for (series, tally) in &self.series {
            let mut labels = conventional(series).to_vec();
            if &*series.outcome != "ok" {
                labels.push(("error_type", &series.outcome));
            }
            tally.duration.write(out, &labels);
        }
        let families: [(&'static str, &str, Of); 2] = [
            (
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "until the first piece of a stream",
                |it| &it.first,
            ),
            (
                "gen_ai_client_operation_time_per_output_chunk_seconds",
                "between two pieces of a stream, the mean of each call",
                |it| &it.chunk,
            ),
        ];
        for (name, help, of) in families {
            out.foreign_family(name, "histogram", help);
            for (labels, tally) in self.merged(of) {
                tally.write(out, &labels);
            }
        }
        self.write_own(listed, out);
    }

    /// A histogram over all outcomes, of what has any.
    fn merged(&self, of: fn(&Tally) -> &Histogram) -> Vec<([(&'static str, &str); 3], Histogram)> {
        let mut merged: Vec<([(&'static str, &str); 3], Histogram)> = Vec::new();
        for (series, tally) in &self.series {
            let histogram = of(tally);
            if histogram.count() == 0 {
                continue;
            }
            let labels = conventional(series);
            // They are in order: what belongs together is beside each other.
            match merged.last_mut().filter(|(last, _)| *last == labels) {
                Some((_, sum)) => {
                    for (sum, count) in sum.counts.iter_mut().zip(&histogram.counts) {
                        *sum = sum.saturating_add(*count);
                    }
                    sum.sum += histogram.sum;
                }
                None => merged.push((labels, histogram.clone())),
            }
        }
        merged
    }

    fn write_own(&self, listed: &ListedCalls, out: &mut Exposition) {
        fn labels(series: &Series) -> [(&'static str, &str); 4] {
            [
                ("operation", &series.operation),
                ("provider", &series.provider),
                ("model", &series.model),
                ("outcome", &series.outcome),
            ]
        }
        let help = "calls of language models that ended";
        out.family("llm_calls_total", "counter", help);
        for (series, tally) in &self.series {
            out.sample("", &labels(series), tally.calls);
        }
        let help = "what calls cost that have a known price";
        out.family("llm_spend_dollars_total", "counter", help);
        for (series, tally) in &self.series {
            out.sample("", &labels(series), tally.dollars);
        }
        let help = "calls without a known price";
        out.family("llm_unpriced_calls_total", "counter", help);
        for (series, tally) in self.series.iter().filter(|(_, tally)| tally.unpriced > 0) {
            out.sample("", &labels(series), tally.unpriced);
        }
        let help = "calls by who made them";
        out.family("llm_caller_calls_total", "counter", help);
        for (kind, spent) in KINDS.iter().zip(&self.spent) {
            for (name, spent) in spent {
                out.sample("", &[("by", kind), ("name", name)], spent.calls);
            }
        }
        let help = "what calls cost by who made them";
        out.family("llm_caller_spend_dollars_total", "counter", help);
        for (kind, spent) in KINDS.iter().zip(&self.spent) {
            for (name, spent) in spent {
                out.sample("", &[("by", kind), ("name", name)], spent.dollars);
            }
        }
        out.family("llm_refusals_total", "counter", "calls that were refused");
        for (reason, count) in &self.refusals {
            out.sample("", &[("reason", reason)], count);
        }
        let help = "calls where answers are kept, by what came of it";
        out.family("llm_cache_requests_total", "counter", help);
        for (result, count) in &self.kept {
            out.sample("", &[("result", result)], count);
        }
        let help = "what kept answers would have cost";
        out.single("llm_cache_saved_dollars_total", "counter", help, self.saved);
        let help = "answers that are kept";
        out.single("llm_cache_entries", "gauge", help, listed.kept_answers);
        let help = "what kept answers take";
        out.single("llm_cache_bytes", "gauge", help, listed.kept_bytes);
        let help = "kept answers that have given way to others";
        let evicted = listed.kept_evicted;
        out.single("llm_cache_evicted_total", "counter", help, evicted);
        let help = "kept answers that were purged";
        let purged = listed.kept_purged;
        out.single("llm_cache_purged_total", "counter", help, purged);
        let help = "calls whose bodies were written down, or lost on the way";
        out.family("llm_log_lines_total", "counter", help);
        for (result, count) in [("written", listed.bodies.0), ("lost", listed.bodies.1)] {
            out.sample("", &[("result", result)], count);
        }
        out.single(
            "llm_in_flight",
            "gauge",
            "calls under way",
            listed.in_flight,
        );
        let help = "what large bodies of calls under way take";
        out.single("llm_body_bytes", "gauge", help, listed.body_bytes);
        let help = "what is held for calls under way";
        let held = match listed.held_dollars.as_str() {
            "" => "0",
            held => held,
        };
        out.single("llm_reserved_dollars", "gauge", help, held);
        out.family("llm_budget_dollars", "gauge", "what a key may spend");
        for budget in listed.budgets.iter().take(MOST) {
            let labels = [("key", &*budget.key), ("period", budget.period)];
            out.sample("", &labels, &budget.limit_dollars);
        }
        let help = "what is left of it, with what is held taken off";
        out.family("llm_budget_remaining_dollars", "gauge", help);
        for budget in listed.budgets.iter().take(MOST) {
            let labels = [("key", &*budget.key), ("period", budget.period)];
            out.sample("", &labels, &budget.remaining_dollars);
        }
        let help = "1 for the state of a provider that holds";
        out.family("llm_provider_state", "gauge", help);
        for it in listed.providers.iter().take(MOST) {
            out.sample("", &[("provider", &it.provider), ("state", &it.state)], 1);
        }
        let providers = || listed.providers.iter().take(MOST);
        out.family(
            "llm_provider_in_flight",
            "gauge",
            "calls under way at a provider",
        );
        for it in providers() {
            out.sample("", &[("provider", &it.provider)], it.in_flight);
        }
        let help = "how many calls may be under way at a provider now";
        out.family("llm_provider_in_flight_limit", "gauge", help);
        for it in providers().filter(|it| it.most > 0) {
            out.sample("", &[("provider", &it.provider)], it.most);
        }
        out.family(
            "llm_provider_queue_length",
            "gauge",
            "calls that wait for a provider",
        );
        for it in providers() {
            out.sample("", &[("provider", &it.provider)], it.waiting);
        }
        out.family(
            "llm_provider_queue_refused_total",
            "counter",
            "calls that found no place in the queue of a provider, or waited in vain",
        );
        for it in providers() {
            out.sample("", &[("provider", &it.provider)], it.turned_away);
        }
        out.family(
            "llm_provider_first_token_seconds",
            "gauge",
            "how soon the answers of a provider begin, lately",
        );
        for it in providers() {
            if let Some(time) = it.first_token_us {
                let seconds = time as f64 / 1e6;
                out.sample("", &[("provider", &it.provider)], seconds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tallies: &Tallies, listed: &ListedCalls) -> String {
        let mut out = Exposition::default();
        tallies.write(listed, &mut out);
        out.finish()
    }

    fn call(model: &str) -> EndedCall<'_> {
        EndedCall {
            operation: "chat",
            provider: "openai",
            model,
            outcome: "ok",
            key: "laptop",
            gateway: "hub",
            input: 9,
            output: 12,
            cost: Some(Money::from_pico(137_500_000)),
            total_us: 1_100_000,
            first_us: Some(100_000),
            chunks: 5,
            ..EndedCall::default()
        }
    }

    #[test]
    fn a_call_is_told_by_the_names_of_the_conventions_and_by_ours() {
        let mut tallies = Tallies::default();
        tallies.count(&call("gpt-4o"));
        tallies.count(&EndedCall {
            outcome: "upstream_timeout",
            cost: None,
            input: 0,
            output: 0,
            ..call("gpt-4o")
        });
        *tallies.refusals.entry("budget_exceeded").or_default() += 1;
        let listed = ListedCalls {
            in_flight: 2,
            body_bytes: 70_000,
            held_dollars: "0.03".to_owned(),
            kept_answers: 3,
            kept_bytes: 4096,
            kept_evicted: 6,
            kept_purged: 2,
            bodies: (8, 1),
            budgets: vec![ListedBudget {
                key: "laptop".to_owned(),
                period: "day",
                limit_dollars: "2.00".to_owned(),
                remaining_dollars: "0.40".to_owned(),
            }],
            providers: vec![ListedProvider {
                provider: "openai".to_owned(),
                state: "ready".to_owned(),
                in_flight: 2,
                most: 16,
                waiting: 5,
                turned_away: 7,
                first_token_us: Some(250_000),
            }],
        };
        let text = text(&tallies, &listed);
        let of = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-4o""#;
        let own = r#"operation="chat",provider="openai",model="gpt-4o""#;
        for line in [
            format!(
                r#"gen_ai_client_token_usage_bucket{{{of},gen_ai_token_type="input",le="4"}} 0"#
            ),
            format!(
                r#"gen_ai_client_token_usage_bucket{{{of},gen_ai_token_type="input",le="16"}} 1"#
            ),
            format!(r#"gen_ai_client_token_usage_sum{{{of},gen_ai_token_type="output"}} 12"#),
            format!("gen_ai_client_operation_duration_seconds_count{{{of}}} 1"),
            format!(
                r#"gen_ai_client_operation_duration_seconds_count{{{of},error_type="upstream_timeout"}} 1"#
            ),
            format!(
                r#"gen_ai_client_operation_time_to_first_chunk_seconds_bucket{{{of},le="0.1"}} 2"#
            ),
            format!("gen_ai_client_operation_time_per_output_chunk_seconds_count{{{of}}} 8"),
            format!(r#"openclaw_llm_calls_total{{{own},outcome="ok"}} 1"#),
            format!(r#"openclaw_llm_spend_dollars_total{{{own},outcome="ok"}} 0.0001375"#),
            format!(r#"openclaw_llm_unpriced_calls_total{{{own},outcome="upstream_timeout"}} 1"#),
            r#"openclaw_llm_caller_calls_total{by="key",name="laptop"} 2"#.to_owned(),
            r#"openclaw_llm_caller_spend_dollars_total{by="gateway",name="hub"} 0.0001375"#
                .to_owned(),
            r#"openclaw_llm_refusals_total{reason="budget_exceeded"} 1"#.to_owned(),
            "openclaw_llm_cache_evicted_total 6".to_owned(),
            "openclaw_llm_cache_purged_total 2".to_owned(),
            r#"openclaw_llm_log_lines_total{result="lost"} 1"#.to_owned(),
            "openclaw_llm_in_flight 2".to_owned(),
            "openclaw_llm_reserved_dollars 0.03".to_owned(),
            r#"openclaw_llm_budget_remaining_dollars{key="laptop",period="day"} 0.40"#.to_owned(),
            r#"openclaw_llm_provider_state{provider="openai",state="ready"} 1"#.to_owned(),
            r#"openclaw_llm_provider_in_flight{provider="openai"} 2"#.to_owned(),
            r#"openclaw_llm_provider_in_flight_limit{provider="openai"} 16"#.to_owned(),
            r#"openclaw_llm_provider_queue_length{provider="openai"} 5"#.to_owned(),
            r#"openclaw_llm_provider_queue_refused_total{provider="openai"} 7"#.to_owned(),
            r#"openclaw_llm_provider_first_token_seconds{provider="openai"} 0.25"#.to_owned(),
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn names_that_clients_choose_do_not_make_series_without_end() {
        let mut tallies = Tallies::default();
        for number in 0..1000 {
            let name = format!("{number}{}", "x".repeat(1000));
            tallies.count(&EndedCall {
                key: &name,
                user: &name,
                ..call(&name)
            });
        }
        assert_eq!(tallies.series.len(), MOST + 1);
        assert_eq!(tallies.spent[0].len(), MOST + 1);
        assert_eq!(tallies.spent[2][OTHER].calls, 1000 - MOST as u64);
        let all: u64 = tallies.series.values().map(|tally| tally.calls).sum();
        assert_eq!(all, 1000);
        let text = text(&tallies, &ListedCalls::default());
        assert!(text.len() < 4 << 20, "{}", text.len());
    }
}
