//! Who may answer a call, in the order in which they are asked.

use std::cell::Cell;
use std::hash::BuildHasher as _;

use super::ask::Provider;
use crate::conf::template::Template;
use crate::conf::typed::llm::{self, Common, Stickiness, Strategy};
use crate::http::exchange::Exchange;
use crate::http::variables;
use crate::llm::account::Moment;
use crate::llm::key::Caller;
use crate::llm::models::{self, Choice, Load, Order};
use crate::llm::price::{self, Capability};
use crate::llm::standing::Fitness;
use crate::llm::sticky::sticky;
use crate::llm::wire::error::{Code, Told};
use crate::llm::wire::facts::Facts;
use crate::llm::wire::front::Format;
use crate::llm::wire::json::decode;
use crate::serve::generation::Local;
use crate::unit::clock;

/// One that may answer.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// What of it is asked.
    pub choice: Choice<'a>,
}

/// So much of what the user said last may be looked at by rules, bytes.
const TEXT: usize = 4 << 10;

/// Notes what rules may look at.
pub fn note_shape(
    exchange: &mut Exchange,
    caller: Option<&Caller>,
    format: Format,
    facts: &Facts<'_>,
    name: &str,
) {
    let call = exchange.call.get_or_insert_default();
    call.model = name.to_owned();
    if let Some(caller) = caller {
        call.key.clone_from(&caller.key.row.name);
        call.shape.group.clone_from(&caller.key.row.group);
        call.shape.budget_used = caller.key.account.budget_used(Moment::now());
    }
    let shape = &mut call.shape;
    shape.format = format.name();
    shape.input_tokens = facts.input_tokens;
    shape.turns = facts.turns;
    shape.has_tools = facts.tools > 0;
    shape.has_image = facts.images > 0;
    shape.has_schema = facts.json_schema;
    shape.max_tokens = facts.max_output;
    shape.conversation = facts.conversation;
    let last = facts.last_text;
    shape.text = decode(&last[..last.floor_char_boundary(TEXT)]).into_owned();
}

/// What was said is for rules alone: no log can have it.
pub fn forget_text(exchange: &mut Exchange) {
    if let Some(call) = &mut exchange.call {
        call.shape.text = String::new();
    }
}

/// The model that the rules of the place choose, if any of them does: the one for a budget that is
/// nearly used up before all others.
pub fn routed(choosing: &llm::Choosing, exchange: &mut Exchange) -> Option<String> {
    let used = (exchange.call.as_deref()).and_then(|call| call.shape.budget_used);
    let mut downgrades = choosing.downgrades.iter();
    let cheaper = downgrades.find(|it| used.is_some_and(|used| used >= it.percent));
    let chosen = match (cheaper, choosing.sticky) {
        (Some(downgrade), _) => Some(downgrade.model.to_string()),
        (None, None) => by_rule(&choosing.routes, exchange),
        (None, Some(stickiness)) => by_sticky_rule(&choosing.routes, stickiness, exchange),
    }?;
    exchange
        .call
        .get_or_insert_default()
        .route
        .clone_from(&chosen);
    Some(chosen)
}

fn by_rule<'a>(
    routes: impl IntoIterator<Item = &'a llm::Route>,
    exchange: &Exchange,
) -> Option<String> {
    routes.into_iter().find_map(|route| {
        let condition = route.condition.as_ref();
        if !condition.is_none_or(|condition| is_true(condition, exchange)) {
            return None;
        }
        let mut scratch = Vec::new();
        let model = variables::value_of(&route.model, exchange, &mut scratch);
        let model = std::str::from_utf8(model).ok()?;
        (!model.is_empty()).then(|| model.to_owned())
    })
}

/// What the rules for each turn say, or else what was chosen for the conversation.
fn by_sticky_rule(
    routes: &[llm::Route],
    stickiness: Stickiness,
    exchange: &Exchange,
) -> Option<String> {
    let of_kind = |each_turn| (routes.iter()).filter(move |it| it.is_for_each_turn == each_turn);
    if let Some(model) = by_rule(of_kind(true), exchange) {
        return Some(model);
    }
    let call = exchange.call.as_deref()?;
    let asked = (
        stickiness.rules,
        &call.key,
        &call.model,
        call.shape.conversation,
    );
    let asked = foldhash::quality::FixedState::default().hash_one(asked);
    let choose = || by_rule(of_kind(false), exchange);
    let model = sticky().model(asked, stickiness.lifetime, choose)?;
    Some(model.to_string())
}

/// The regions that calls of the place stay in, with commas; `None` if they may go anywhere.
pub fn region(choosing: &llm::Choosing, exchange: &Exchange) -> Option<String> {
    let mut scratch = Vec::new();
    let region = variables::value_of(choosing.region.as_ref()?, exchange, &mut scratch);
    let region = String::from_utf8_lossy(region).trim().to_owned();
    (!region.is_empty()).then_some(region)
}

/// Leaves those that are in one of the regions. Nothing is asked elsewhere, even if nobody is left.
pub fn stay_in(candidates: &mut Vec<Candidate<'_>>, region: Option<&str>) -> Result<(), Told> {
    let Some(region) = region else { return Ok(()) };
    let had_any = !candidates.is_empty();
    candidates.retain(|Candidate { provider, choice }| {
        let own = choice.target.and_then(|target| target.region.as_deref());
        own.or(provider.conf.region.as_deref()).is_some_and(|own| {
            let mut names = region.split(',').map(str::trim);
            names.any(|name| name.eq_ignore_ascii_case(own))
        })
    });
    match had_any && candidates.is_empty() {
        true => Err(Told::own(
            Code::RegionUnavailable,
            format!("nobody in the region `{region}` answers for this model"),
        )),
        false => Ok(()),
    }
}

/// Is this neither empty nor `0`?
fn is_true(condition: &Template, exchange: &Exchange) -> bool {
    let mut scratch = Vec::new();
    !matches!(
        variables::value_of(condition, exchange, &mut scratch),
        b"" | b"0"
    )
}

/// Who may answer for the model of this name: its targets, then those of the models that the client
/// names for when they fail. `None` if there is no such model; else at least one, or what is told to
/// the client if nobody may.
pub fn candidates<'a>(
    local: &'a Local,
    exchange: &Exchange,
    caller: Option<&Caller>,
    facts: &'a Facts<'_>,
    name: &'a str,
    region: Option<&str>,
) -> Option<Result<Vec<Candidate<'a>>, Told>> {
    let pick = turn();
    let mut candidates = of_model(local, exchange, caller, facts, name, pick)?;
    for fallback in &facts.fallbacks {
        let may = caller.is_none_or(|caller| caller.key.allows_model(fallback));
        let further = of_model(local, exchange, caller, facts, fallback, pick).filter(|_| may);
        for mut candidate in further.into_iter().flatten() {
            candidate.choice.is_home = false;
            let Choice {
                provider, model, ..
            } = candidate.choice;
            let is_it = |known: &Candidate<'_>| {
                (known.choice.provider, known.choice.model) == (provider, model)
            };
            if !candidates.iter().any(is_it) {
                candidates.push(candidate);
            }
        }
    }
    Some(stay_in(&mut candidates, region).and_then(|()| fit(candidates, facts, name)))
}

/// A number for the next call, evenly spread.
fn turn() -> u64 {
    thread_local! {
        static TURN: Cell<u64> = const { Cell::new(0) };
    }
    let turn = TURN.get().wrapping_add(1);
    TURN.set(turn);
    turn
}

fn of_model<'a>(
    local: &'a Local,
    exchange: &Exchange,
    caller: Option<&Caller>,
    facts: &Facts<'_>,
    name: &'a str,
    pick: u64,
) -> Option<Vec<Candidate<'a>>> {
    let (strategy, mut choices) = models::choices(&local.generation.http.llm, name)?;
    choices.retain(|choice| {
        let condition = choice.target.and_then(|target| target.condition.as_ref());
        condition.is_none_or(|condition| is_true(condition, exchange))
    });
    let provider = |choice: &Choice<'_>| local.generation.llm_providers.get(choice.provider);
    if choices.len() > 1 {
        let order = Order {
            strategy,
            pick,
            hash: common(strategy, caller, facts),
        };
        let now = clock::now();
        models::put_in_order(&mut choices, order, |choice| {
            let keys = provider(choice).map_or(&[][..], |provider| &provider.keys);
            let mut load = Load {
                is_ready: false,
                share: 0,
                under_way: 0,
                first_part: None,
            };
            for key in keys {
                let standing = key.model(choice.model);
                load.is_ready |= standing.fitness(now) == Fitness::Ready;
                load.share = load.share.max(standing.share(now));
                load.under_way += standing.under_way();
                let other = standing.first_part();
                load.first_part = load.first_part.min(other).or(load.first_part).or(other);
            }
            load
        });
    }
    let candidates = choices.into_iter().filter_map(|choice| {
        let provider = provider(&choice)?;
        Some(Candidate { provider, choice })
    });
    Some(candidates.collect())
}

/// What this call has in common with others that are to go to the same target.
fn common(strategy: Strategy, caller: Option<&Caller>, facts: &Facts<'_>) -> u64 {
    let hash = |text: &str| foldhash::quality::FixedState::default().hash_one(text);
    match strategy {
        Strategy::Affinity(Common::Conversation) => facts.conversation,
        Strategy::Affinity(Common::Key) => {
            caller.map_or(facts.conversation, |caller| hash(&caller.key.row.name))
        }
        Strategy::Affinity(Common::User) => facts.user.as_deref().map_or(facts.conversation, hash),
        Strategy::Ordered | Strategy::Weighted | Strategy::LeastBusy | Strategy::Fastest => 0,
    }
}

/// Those that can answer this call.
fn fit<'a>(
    mut candidates: Vec<Candidate<'a>>,
    facts: &Facts<'_>,
    name: &str,
) -> Result<Vec<Candidate<'a>>, Told> {
    if candidates.is_empty() {
        let message = format!("none of the targets of `{name}` is for this call");
        return Err(Told::own(Code::NoHealthyUpstream, message));
    }
    let tokens = facts.input_tokens;
    let mut most = 0;
    candidates.retain(|candidate| {
        let limit = candidate
            .choice
            .target
            .and_then(|target| target.max_context);
        most = most.max(limit.unwrap_or_default());
        limit.is_none_or(|limit| tokens <= limit)
    });
    if candidates.is_empty() {
        let message =
            format!("the call has about {tokens} tokens, and `{name}` takes at most {most}");
        return Err(Told::own(Code::ContextLengthExceeded, message));
    }
    // What a table says of a model is no law: where nobody is said to be able to, all are asked.
    if candidates.len() > 1 {
        let able: Vec<bool> = (candidates.iter())
            .map(|candidate| is_able(candidate, facts))
            .collect();
        if able.contains(&true) {
            let mut able = able.into_iter();
            candidates.retain(|_| able.next().unwrap_or(true));
        }
    }
    Ok(candidates)
}

/// Is nothing known that speaks against asking it?
fn is_able(candidate: &Candidate<'_>, facts: &Facts<'_>) -> bool {
    let Some(known) = price::find(candidate.provider.conf.kind, candidate.choice.model) else {
        return true;
    };
    let needs = [
        (facts.tools > 0, Capability::Tools),
        (facts.images > 0, Capability::Vision),
        (facts.json_schema, Capability::JsonSchema),
        (facts.audio > 0, Capability::AudioInput),
    ];
    let can_all = (needs.into_iter()).all(|(needs, what)| !needs || known.can(what));
    can_all
        && known
            .max_input
            .is_none_or(|most| facts.input_tokens <= most)
}
