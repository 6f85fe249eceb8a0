//! Who calls, what the call may cost, and what it came to.
//!
//! Invariant: no call leaves before its row is in the ledger, and every row that was opened is settled
//! once, whatever becomes of the call.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::pass::Passing;
use super::route::Candidate;
use crate::conf::template::Template;
use crate::conf::typed::listen::Address;
use crate::conf::typed::llm;
use crate::conf::typed::llm_money::Rules;
use crate::http::exchange::{CallTokens, Exchange};
use crate::http::variables;
use crate::llm::account::Moment;
use crate::llm::books::{Beginning, Cost, LiveCall, View, books};
use crate::llm::kept::Kept;
use crate::llm::key::{Caller, tag_of};
use crate::llm::price::{self, Service, Terms};
use crate::llm::refusal::Refusal;
use crate::llm::tariff::Quote;
use crate::llm::usage::Usage;
use crate::llm::wire::error::Told;
use crate::llm::wire::facts::Facts;
use crate::llm::wire::front::{Operation, credentials};
use crate::llm::wire::usage::{Multipliers, Reported};
use crate::llm::wire::watch::{Metered, Seen};
use crate::serve::generation::Generation;
use crate::unit::clock;
use crate::unit::money::Money;

/// The outcome of a call that was answered.
const OK: &str = "ok";

/// Output that is reserved for a call that names no limit, if its model is not known to have a lower one.
const USUAL_OUTPUT: u64 = 4096;

/// How long a call waits for the ledger of a program that has only just started.
const OPENING: Duration = Duration::from_secs(10);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the ledger is open: no call can leave before.
pub async fn ready() {
    let began = clock::now();
    while !books().are_open() && clock::now().saturating_duration_since(began) < OPENING {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whose key a request has. `query` is that of its target.
pub fn caller(exchange: &Exchange, query: Option<&str>) -> Result<Caller, Refusal> {
    thread_local! {
        static VIEW: RefCell<View<'static>> = RefCell::new(books().view());
    }

    let field = |wanted: &'static str| {
        let mut fields = exchange.head.fields.iter();
        let found = fields.find(|(_, name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        found.map(|(_, _, value)| value)
    };
    let now = Moment::now().unix;
    let found = VIEW.with_borrow_mut(|view| {
        let keys = view.keys();
        let mut refusal = Refusal::Unknown;
        for credential in credentials(field, query) {
            match keys.authenticate(&credential.secret, now) {
                Ok(caller) => return Ok(caller),
                // That a key was taken back says more than that another is unknown.
                Err(why) if refusal == Refusal::Unknown => refusal = why,
                Err(_) => {}
            }
        }
        Err(refusal)
    });
    let caller = found?;
    caller.key.check_address(address(exchange))?;
    Ok(caller)
}

fn address(exchange: &Exchange) -> Option<IpAddr> {
    match &exchange.connection.remote {
        Address::Ip(address) => Some(address.ip()),
        Address::Unix(_) => None,
    }
}

/// A call with its place in the ledger. Dropped, it is settled with what was reserved.
pub struct Account {
    live: LiveCall,
    /// Whose prices hold to its end.
    generation: Arc<Generation>,
    /// Seconds since 1970 when it began: prices depend on it.
    start: u64,
    input_tokens: u64,
    /// What was asked for that multiplies prices.
    multipliers: Multipliers,
    /// Its provider goes on with it when nobody waits any more.
    is_background: bool,
    wasted: Option<Box<Wasted>>,
}

/// What is asked for, and by whom.
pub struct Opening<'a> {
    /// Whose key it is; none where nobody needs one.
    pub caller: Option<&'a Caller>,
    /// What is known of the call.
    pub facts: &'a Facts<'a>,
    /// What it does.
    pub operation: Operation,
    /// The model, as the client calls it.
    pub model: &'a str,
    /// An answer is there: it takes no tokens and costs nothing.
    pub is_kept: bool,
    /// It goes on as it is.
    pub passing: Option<&'a Passing<'a>>,
    /// Where it is read who calls.
    pub tags: &'a llm::Tags,
}

/// What was used for answers that were worth nothing. Their providers are paid all the same.
struct Wasted {
    /// Who gave the last of them, and its own name for the model.
    provider: String,
    model: String,
    usage: Usage,
    cost: Cost,
}

/// What an answer is worth to who gets it again.
pub struct Worth {
    /// What was used for it.
    pub usage: Usage,
    /// Is that an estimate of ours?
    pub is_estimated: bool,
    /// What it cost, if that is known.
    pub cost: Option<Money>,
}

/// What a call came to.
#[derive(Default)]
pub struct End<'a> {
    /// The provider that answered, and its own name for the model.
    pub answered: Option<(&'a llm::Provider, &'a str)>,
    /// What was seen of the answer.
    pub seen: Option<Box<Seen>>,
    /// A word for the end.
    pub outcome: Cow<'static, str>,
    /// The status that the client got; 0 if none.
    pub status: u16,
}

impl Account {
    /// Enters a call in the ledger, whoever of the candidates answers. A refusal is entered too, unless
    /// the call has another chance.
    pub fn open(
        opening: &Opening<'_>,
        exchange: &mut Exchange,
        generation: &Arc<Generation>,
        candidates: &[Candidate<'_>],
        has_other: bool,
    ) -> Result<Self, Refusal> {
        let Opening {
            caller,
            facts,
            operation,
            model,
            is_kept,
            passing,
            tags,
        } = *opening;
        let tag = |place: &Option<Template>, usual: &[u8]| match place {
            Some(place) => tag_of(variables::value_of(place, exchange, &mut Vec::new())),
            None => {
                let mut fields = exchange.head.fields.iter();
                let found = fields.find(|(_, name, _)| name.eq_ignore_ascii_case(usual));
                tag_of(found?.2)
            }
        };
        let said = tag(&tags.gateway, b"x-gateway-id");
        let node = tag(&tags.node, b"x-node-id");
        let user = tag(&tags.user, b"x-user");
        let user = user.or_else(|| tag_of(facts.user.as_deref()?.as_bytes()));
        let gateway = match &caller {
            Some(caller) => caller.key.gateway(said.as_deref())?.to_owned(),
            None => said.unwrap_or_default(),
        };
        let now = Moment::now();
        let start = now.unix / 1_000_000;
        let terms = Terms {
            start,
            service: Service::of(facts.service.as_deref().unwrap_or_default()),
            multipliers: &facts.multipliers,
        };
        let is_count = operation == Operation::CountTokens;
        // Whoever answers in the end: the dearest of them has to fit.
        let mut cost = Some(Money::ZERO);
        let mut output_tokens = 0;
        for Candidate { provider, choice } in candidates {
            let known = price::find(provider.conf.kind, choice.model);
            let most = known.as_ref().and_then(|model| model.max_output);
            let output = (facts.max_output)
                .unwrap_or_else(|| most.map_or(USUAL_OUTPUT, |most| most.min(USUAL_OUTPUT)))
                .saturating_mul(facts.answers);
            output_tokens = output_tokens.max(output);
            let quote = generation.llm_tariff.quote(&provider.conf, choice.model);
            let is_free = is_count || passing.is_some_and(|it| it.is_free_at(&provider.conf));
            let dearest =
                quote.and_then(|quote| quote.prices().most(facts.input_tokens, output, terms));
            let dearest = match is_free {
                true => Some(Money::ZERO),
                false => dearest,
            };
            cost = cost.zip(dearest).map(|(one, other)| one.max(other));
        }
        let call = exchange.call.get_or_insert_default();
        call.model = model.to_owned();
        call.key = caller.map_or_else(String::new, |caller| caller.key.row.name.clone());
        call.gateway.clone_from(&gateway);
        call.user = user.unwrap_or_default();
        let beginning = Beginning {
            gateway: &gateway,
            user: &call.user,
            node: node.as_deref().unwrap_or_default(),
            asked: model,
            tokens: match is_kept || is_count {
                true => 0,
                false => facts.input_tokens.saturating_add(output_tokens),
            },
            cost,
            allows_unpriced: generation.http.llm.rules.allows_unpriced,
            is_kept,
        };
        let mut live = match books().begin(caller, &beginning, now) {
            Ok(live) => live,
            Err(refusal) => {
                if let Some(caller) = caller.filter(|_| !has_other) {
                    let status = told(&refusal, &generation.http.llm.rules).status;
                    let (_, _, outcome) = refusal.code().row();
                    books().refused(caller, &beginning, outcome, status, now);
                }
                return Err(refusal);
            }
        };
        live.end.operation = operation.name().to_owned();
        live.commit()?;
        Ok(Self {
            live,
            generation: Arc::clone(generation),
            start,
            input_tokens: facts.input_tokens,
            multipliers: facts.multipliers.clone(),
            is_background: facts.background,
            wasted: None,
        })
    }

    /// A provider gave an answer that was none. What it told of its usage counts.
    pub fn note_wasted(&mut self, provider: &llm::Provider, model: &str, seen: &Seen) {
        let reported = &seen.reported;
        if !reported.has_input() && !reported.has_output() {
            return;
        }
        let usage = reported.usage();
        let (cost, _) = self.cost(provider, model, &usage, Some(reported));
        let before = self.wasted.take();
        self.wasted = Some(Box::new(Wasted {
            provider: provider.name.to_string(),
            model: model.to_owned(),
            usage: before
                .as_ref()
                .map_or(usage, |before| before.usage.plus(&usage)),
            cost: before.map_or(cost, |before| both(before.cost, cost)),
        }));
    }

    /// What it cost to be asked, and by which version of our prices.
    fn cost(
        &self,
        provider: &llm::Provider,
        model: &str,
        usage: &Usage,
        reported: Option<&Reported>,
    ) -> (Cost, &'static str) {
        let service = reported.and_then(|reported| reported.tier());
        let multipliers = match reported {
            Some(reported) => reported.multipliers(&self.multipliers),
            None => self.multipliers.clone(),
        };
        let terms = Terms {
            service: service.map_or_else(Service::default, Service::of),
            start: self.start,
            multipliers: &multipliers,
        };
        let quote = self.generation.llm_tariff.quote(provider, model);
        let version = quote.as_ref().map_or_else(price::version, Quote::version);
        let cost = Cost {
            own: quote.and_then(|quote| quote.prices().cost(usage, terms)),
            billed: reported.and_then(|reported| Money::rounded(reported.billed()?)),
        };
        (cost, version)
    }

    /// What an answer cost, by whatever it is paid.
    fn answered(
        &self,
        provider: &llm::Provider,
        model: &str,
        usage: &Usage,
        seen: &Seen,
    ) -> (Cost, &'static str) {
        let (mut cost, version) = self.cost(provider, model, usage, Some(&seen.reported));
        let is_under_way = self.is_background && !(seen.ended && seen.reported.has_output());
        match seen.metered {
            // What it will use nobody tells here.
            Metered::ByTokens if is_under_way => cost.own = None,
            Metered::ByTokens => {}
            Metered::Free => cost.own = Some(Money::ZERO),
            Metered::Unknown => cost.own = None,
        }
        (cost, version)
    }

    /// A provider is asked.
    pub const fn note_attempt(&mut self) {
        self.live.end.attempts += 1;
    }

    /// Something of worth came, from the one with this label.
    pub fn first_part(&mut self, label: &str) {
        self.live.first_part();
        self.live.running().set_answering(label);
    }

    /// Something more of the answer was seen.
    pub fn note_progress(&self, seen: &Seen) {
        let (shown, thought) = seen.estimated_output();
        self.live.running().set_output(shown + thought);
        self.live.running().set_chunks(seen.events);
    }

    /// What is left of the limits, for the fields of the answer.
    pub fn tell_limits(&self, exchange: &mut Exchange) {
        let Some(hold) = self.live.hold() else { return };
        let (requests, tokens) = hold.rates(Moment::now());
        for (what, standing) in [("requests", requests), ("tokens", tokens)] {
            let Some(standing) = standing else { continue };
            for (name, value) in [
                ("limit", standing.limit.to_string()),
                ("remaining", standing.remaining.to_string()),
                ("reset", format!("{}ms", standing.reset.as_millis())),
            ] {
                let name = format!("x-ratelimit-{name}-{what}");
                exchange.answer.push(name.as_bytes(), value.as_bytes());
            }
        }
    }

    /// What a whole answer costs, for the fields of the answer. Of a stream that is not known while its
    /// head is written: the ledger and the log tell it.
    pub fn tell_cost(
        &self,
        exchange: &mut Exchange,
        provider: &llm::Provider,
        model: &str,
        seen: &Seen,
    ) {
        let (usage, _) = estimated(seen, self.input_tokens);
        let (mut cost, _) = self.answered(provider, model, &usage, seen);
        if let Some(wasted) = &self.wasted {
            cost = both(cost, wasted.cost);
        }
        let told = cost.billed.or(cost.own);
        let told = told.map_or_else(|| "unknown".to_owned(), |cost| cost.to_string());
        exchange.answer.push(b"x-openclaw-cost", told.as_bytes());
    }

    /// Settles a call whose end nobody saw with what was reserved for it.
    pub fn abandon(mut self, exchange: &mut Exchange, outcome: &str) {
        outcome.clone_into(&mut self.live.end.outcome);
        let call = exchange.call.get_or_insert_default();
        outcome.clone_into(&mut call.outcome);
        self.live.end.tried.clone_from(&call.attempts);
        // Its drop settles it.
    }

    /// What an answer used, and what that costs if it is known: for who gets it again.
    pub fn worth(&self, end: &End<'_>) -> Option<Worth> {
        let ((provider, model), seen) = (end.answered?, end.seen.as_deref()?);
        let (usage, is_estimated) = estimated(seen, self.input_tokens);
        let (cost, _) = self.answered(provider, model, &usage, seen);
        Some(Worth {
            usage,
            is_estimated,
            cost: cost.billed.or(cost.own),
        })
    }

    /// The call's number in the ledger.
    pub fn id(&self) -> u64 {
        self.live.id()
    }

    /// Settles a call to which an answer was kept.
    pub fn settle_kept(mut self, exchange: &mut Exchange, kept: &Kept) {
        let saved = kept.cost.unwrap_or_default();
        kept.note_hit();
        let call = exchange.call.get_or_insert_default();
        OK.clone_into(&mut call.outcome);
        call.shape.input_tokens = 0;
        call.target = format!("{}/{}", kept.provider, kept.model);
        call.tokens = Some(CallTokens {
            input: kept.usage.total_input(),
            cached: kept.usage.cache_read,
            output: kept.usage.total_output(),
        });
        call.cost = Money::ZERO.to_string();
        call.saved = saved.to_string();
        let row = &mut self.live.end;
        row.provider.clone_from(&kept.provider);
        row.model.clone_from(&kept.model);
        row.tried.clone_from(&call.attempts);
        row.rule.clone_from(&call.route);
        row.is_estimated = kept.is_estimated;
        row.kept_from = kept.call;
        row.kept_age = clock::milliseconds().saturating_sub(kept.at);
        self.live.kept(&kept.usage, saved);
        self.live.finish(OK, exchange.status);
    }

    /// Settles the call.
    pub fn settle(mut self, exchange: &mut Exchange, end: &End<'_>) {
        let (mut usage, is_estimated) = used(end, self.input_tokens);
        let (mut cost, version) = match (end.answered, end.seen.as_deref()) {
            (Some((provider, model)), Some(seen)) => self.answered(provider, model, &usage, seen),
            (Some((provider, model)), None) => self.cost(provider, model, &usage, None),
            // Nobody answered: nothing is owed for that.
            (None, _) => (
                Cost {
                    own: Some(Money::ZERO),
                    billed: None,
                },
                price::version(),
            ),
        };
        let wasted = self.wasted.take();
        if let Some(wasted) = &wasted {
            usage = usage.plus(&wasted.usage);
            cost = both(cost, wasted.cost);
        }
        let answered = end
            .answered
            .map(|(provider, model)| (&*provider.name, model));
        let paid = answered.or(wasted
            .as_ref()
            .map(|wasted| (&*wasted.provider, &*wasted.model)));
        let call = exchange.call.get_or_insert_default();
        call.outcome = end.outcome.to_string();
        // From here on it is what was used that counts.
        call.shape.input_tokens = 0;
        let (tried, rule) = (call.attempts.clone(), call.route.clone());
        if let Some((provider, model)) = answered {
            call.target = match model {
                "" => provider.to_owned(),
                model => format!("{provider}/{model}"),
            };
        }
        if paid.is_some() {
            call.tokens = Some(CallTokens {
                input: usage.total_input(),
                cached: usage.cache_read,
                output: usage.total_output(),
            });
            call.cost =
                (cost.billed.or(cost.own)).map_or_else(String::new, |cost| cost.to_string());
        }
        let times = exchange
            .attempts
            .iter()
            .filter_map(|attempt| attempt.response_time);
        let row = &mut self.live.end;
        if let Some((provider, model)) = paid {
            model.clone_into(&mut row.model);
            provider.clone_into(&mut row.provider);
        }
        (row.tried, row.rule) = (tried, rule);
        row.is_estimated = is_estimated;
        row.price = version.to_owned();
        row.upstream_us = times.map(|time| time.as_micros() as u64).sum();
        self.live.used(&usage, cost);
        self.live.finish(&end.outcome, end.status);
    }
}

/// What two answers cost together: what is not known of one is not known of both, and who is billed for
/// one pays our price for the other.
fn both(one: Cost, other: Cost) -> Cost {
    let sum = |one: Option<Money>, other: Option<Money>| Some(one?.plus(other?));
    let is_billed = one.billed.is_some() || other.billed.is_some();
    Cost {
        own: sum(one.own, other.own),
        billed: sum(one.billed.or(one.own), other.billed.or(other.own)).filter(|_| is_billed),
    }
}

/// What a call used, and whether that is an estimate of ours: a number that the provider told is a
/// fact, zero too.
fn used(end: &End<'_>, input_tokens: u64) -> (Usage, bool) {
    match (end.answered, &end.seen) {
        (Some(_), Some(seen)) => estimated(seen, input_tokens),
        _ => (Usage::default(), false),
    }
}

/// The same of an answer.
fn estimated(seen: &Seen, input_tokens: u64) -> (Usage, bool) {
    if seen.metered != Metered::ByTokens {
        return (seen.reported.usage(), false);
    }
    let mut usage = seen.reported.usage();
    let mut is_estimated = seen.reported.is_inconsistent();
    if !seen.reported.has_input() {
        usage.input = input_tokens;
        is_estimated = true;
    }
    // What a stream told before its end is what there was when it told.
    let (shown, thought) = seen.estimated_output();
    if !seen.reported.has_output() || (!seen.ended && usage.total_output() < shown + thought) {
        usage.output = shown;
        usage.reasoning = thought;
        is_estimated = true;
    }
    (usage, is_estimated)
}

/// Puts a call of a known key into the ledger that nobody was asked with: it was not understood, or there is
/// no such model.
pub fn note_refused(caller: Option<&Caller>, model: &str, told: &Told) {
    let (Some(caller), Some(outcome)) = (caller, &told.code) else {
        return;
    };
    let beginning = Beginning {
        asked: model,
        ..Beginning::default()
    };
    books().refused(caller, &beginning, outcome, told.status, Moment::now());
}

/// A refusal as a client is told it.
pub fn told(refusal: &Refusal, rules: &Rules) -> Told {
    let mut told = Told::own(refusal.code(), refusal.to_string());
    if matches!(refusal, Refusal::Budget { .. }) {
        told.status = rules.budget_status;
    }
    told
}
