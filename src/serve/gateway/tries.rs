//! One provider after the other is asked, until one answers.
//!
//! Those who can answer are asked at once, each with its keys, as they were put in order. Only when all
//! of them have failed, a call waits in the queues of those that only have no room, until one has; then there is a pause,
//! and another round: with full jitter, as long as a limit lasts if that is not long, and never more
//! often than the providers' budgets of retries allow. A client whose own library tries again gets one
//! round.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::account::{Account, End};
use super::ask::{Fault, Incoming, Key, Provider, Sent, ask};
use super::pass::Passing;
use super::relay::{self, Asked, Outcome, Watching, Way};
use super::route::Candidate;
use super::sent::{format_of, sent};
use super::{CLIENT_GONE, Call, told};
use crate::conf::typed::llm::{Causes, MostCalls};
use crate::conf::typed::log::Level;
use crate::http::exchange::Exchange;
use crate::llm::adaptive;
use crate::llm::models::Choice;
use crate::llm::patience;
use crate::llm::price;
use crate::llm::standing::{Fitness, Trial, Unfit, Waiting};
use crate::llm::wire::embeddings;
use crate::llm::wire::error::{Class, Code, ProviderError, Told};
use crate::llm::wire::front::Front;
use crate::llm::wire::watch::Failed;
use crate::net::deadline::Deadline;
use crate::serve::Next;
use crate::serve::downstream::{ClientError, Downstream};
use crate::serve::generation::Local;
use crate::unit::clock;

/// The most of an error's body that is looked at, bytes.
const MOST_OF_ERROR: usize = 64 << 10;

/// A call waits in at most so many queues at once.
const MOST_LINES: usize = 8;

/// The first pause between two rounds is at most so long, each further one twice that,
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// and none longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What became of the call so far.
#[derive(Default)]
struct Tried {
    /// All that were asked, with what came of it, for people.
    attempts: String,
    /// What the last one that was asked came to.
    last: Option<Told>,
    /// Why nobody has answered yet: the last cause.
    cause: Option<Causes>,
    /// Why one was not even asked.
    unfit: Option<Unfit>,
    /// By their position, those that had as many calls as they may, in this round.
    busy: Vec<usize>,
    /// It has waited in a queue in vain.
    waited_in_vain: bool,
    /// Was anybody asked in this round?
    has_asked: bool,
    /// By their position, those that can never answer this call: they are not asked again.
    unable: Vec<usize>,
    /// The most tokens that one is known to read for which there were too many.
    too_small: u64,
}

impl Tried {
    /// It is one's turn, with one of its keys if it has several.
    fn begin(&mut self, label: &str, key: Option<usize>) {
        if !self.attempts.is_empty() {
            self.attempts.push(',');
        }
        self.attempts.push_str(label);
        if let Some(key) = key {
            self.attempts.push_str(&format!("#{key}"));
        }
    }

    /// What came of it.
    fn end(&mut self, word: &str) {
        self.attempts.push(':');
        self.attempts.push_str(word);
    }

    /// It failed.
    fn fail(&mut self, told: Told, cause: Causes) {
        self.last = Some(told);
        self.cause = Some(cause);
    }

    /// One that can never answer this call is not asked again, nor is one that reads no more.
    fn leave_out(&mut self, position: usize, candidate: &Candidate<'_>) {
        self.unable.push(position);
        if self.cause == Some(Causes::CONTEXT) {
            let reads = most_read(candidate).unwrap_or_default();
            self.too_small = self.too_small.max(reads);
        }
    }

    /// It works, and can never answer this call. Who failed before may do so yet: that is what the
    /// client is told.
    fn is_unable(&mut self, told: Told, cause: Causes) {
        match &self.last {
            Some(last) if last.should_retry() => self.cause = Some(cause),
            _ => self.fail(told, cause),
        }
    }
}

/// What to do after one failed.
enum Then {
    /// It was the provider's answer to this key alone.
    NextKey,
    NextTarget,
    /// It works and cannot answer this call; another one may.
    Unable,
    /// The client has an answer.
    Done(Next),
}

/// Asks one provider after the other, until one answers.
pub async fn answered<'a>(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    call: &Call<'_>,
    candidates: &[Candidate<'a>],
    account: &mut Account,
    end: &mut End<'a>,
) -> Result<Next, ClientError> {
    let format = call.asking.front.format;
    let mut tried = Tried::default();
    let began = clock::now();
    let patience = patience_of_client(exchange);
    let is_of_account = call.asking.passing.is_some_and(Passing::is_of_account);
    let mut round = 0;
    loop {
        tried.has_asked = false;
        tried.busy.clear();
        let in_turn = candidates.iter().enumerate();
        'targets: for (position, candidate) in in_turn {
            let Candidate { provider, choice } = *candidate;
            let is_for = |cause| position == 0 || choice.is_for(cause);
            let is_out = round > provider.conf.retries || tried.unable.contains(&position);
            if is_out || !tried.cause.is_none_or(is_for) || is_too_small(candidate, &tried) {
                continue;
            }
            let now = clock::now();
            if round == 0 {
                provider.standing.note_call(now);
            }
            let count = provider.keys.len();
            let turn = if count > 1 { turn_of_keys() } else { 0 };
            for step in 0..count {
                let number = turn.wrapping_add(step) % count;
                let key = &provider.keys[number];
                let label = format!("{}/{}", provider.conf.name, choice.model);
                // A path without a model.
                let label = label.trim_end_matches('/');
                tried.begin(label, (count > 1).then_some(number + 1));
                let standing = key.model(choice.model);
                let most = provider.standing.most(provider.conf.max_connections);
                let trial = match standing.enter(most, clock::now()) {
                    Ok(trial) => trial,
                    Err(unfit) => {
                        tried.end(match unfit {
                            Unfit::Fitness(fitness) => fitness.word(),
                            Unfit::Busy => "busy",
                        });
                        if unfit == Unfit::Busy && !tried.busy.contains(&position) {
                            tried.busy.push(position);
                        }
                        tried.unfit = Some(unfit);
                        tried.cause = Some(match unfit {
                            Unfit::Fitness(Fitness::Cooling(_)) => {
                                Causes::LIMIT.or(Causes::CIRCUIT)
                            }
                            _ => Causes::CIRCUIT,
                        });
                        continue;
                    }
                };
                if round > 0 && !provider.standing.may_retry(clock::now()) {
                    tried.end("no-retry");
                    break;
                }
                let one = One {
                    provider,
                    key,
                    choice,
                    label,
                    trial,
                };
                let then = once(
                    local, exchange, downstream, call, one, &mut tried, account, end,
                );
                match then.await? {
                    Then::NextKey => {}
                    // Files and the like are nowhere else.
                    Then::NextTarget if tried.has_asked && is_of_account => break 'targets,
                    Then::NextTarget => break,
                    Then::Unable => {
                        tried.leave_out(position, candidate);
                        break;
                    }
                    Then::Done(next) => return Ok(next),
                }
            }
        }
        let left = || {
            let spent = clock::now().saturating_duration_since(began);
            patience.map(|patience| patience.saturating_sub(spent))
        };
        // Nobody answered, and some only had no room: that is worth waiting for.
        let mut lines = lines(candidates, &tried.busy, call);
        if lines.is_empty() {
            let full = tried.busy.iter().map(|position| &candidates[*position]);
            for candidate in full.filter(|full| full.provider.conf.queue.is_some()) {
                candidate.provider.standing.note_turned_away();
            }
        } else {
            let began = clock::now();
            let turn = queued(downstream, candidates, &mut lines, left()).await;
            let waited = clock::now().saturating_duration_since(began);
            exchange.call.get_or_insert_default().queued += waited;
            let Ok(turn) = turn else {
                // Nobody works for it: what failed so far is all that it pays.
                note(exchange, tried.attempts);
                end.outcome = CLIENT_GONE.into();
                return Err(ClientError::Closed(None));
            };
            match turn {
                Turn::Begins {
                    position,
                    number,
                    trial,
                } => {
                    // Its places in other queues are for others.
                    drop(lines);
                    let candidate = &candidates[position];
                    let Candidate { provider, choice } = *candidate;
                    let label = format!("{}/{}", provider.conf.name, choice.model);
                    let label = label.trim_end_matches('/');
                    tried.begin(label, (provider.keys.len() > 1).then_some(number + 1));
                    let one = One {
                        provider,
                        key: &provider.keys[number],
                        choice,
                        label,
                        trial,
                    };
                    let then = once(
                        local, exchange, downstream, call, one, &mut tried, account, end,
                    );
                    match then.await? {
                        Then::NextKey | Then::NextTarget => {}
                        Then::Unable => tried.leave_out(position, candidate),
                        Then::Done(next) => return Ok(next),
                    }
                }
                Turn::Never(unfit) => {
                    tried.waited_in_vain = unfit == Unfit::Busy;
                    tried.unfit = Some(unfit);
                }
            }
        }
        let left = left();
        // What is passed on as it is may do something at each time.
        let pause = match call.asking.passing {
            Some(_) => None,
            None => pause(exchange, &tried, candidates, round, left),
        };
        let Some(pause) = pause else { break };
        if wait(downstream, pause).await.is_err() {
            // Nobody works for it: what failed so far is all that it pays.
            note(exchange, tried.attempts);
            end.outcome = CLIENT_GONE.into();
            return Err(ClientError::Closed(None));
        }
        round += 1;
    }

    let mut told = tried.last.unwrap_or_else(|| match tried.unfit {
        Some(Unfit::Busy) if tried.waited_in_vain => Told::own(
            Code::QueueTimeout,
            "the provider had as many calls as it may for too long (queue)",
        ),
        Some(unfit) => unfit_told(unfit),
        None => Told::own(
            Code::UnsupportedParameter,
            "no provider of this model understands this call",
        ),
    });
    told.message = format!("{} (tried {})", told.message, tried.attempts);
    told::attempts(exchange, &tried.attempts);
    told.attempts = tried.attempts.as_str().into();
    relay::tell_queue(exchange);
    note(exchange, tried.attempts);
    end.outcome = told.code.clone().unwrap_or_default();
    let wait = match tried.unfit {
        Some(Unfit::Busy) => Some(Duration::from_secs(1)),
        _ => soonest(candidates).filter(|wait| !wait.is_zero()),
    };
    Ok(told::error_after(exchange, format, &told, wait))
}

/// A place in the queue of one that had no room.
struct Line {
    /// Whose, by its position among those who may answer.
    position: usize,
    waiting: Waiting,
    /// When it is given up.
    deadline: Deadline,
    /// It may be its turn.
    is_called: bool,
}

/// Places in the queues of all of these that have room in it: whoever has room first answers.
fn lines(candidates: &[Candidate<'_>], busy: &[usize], call: &Call<'_>) -> Vec<Line> {
    let bytes = match call.asking.passing {
        Some(passing) => passing.size(),
        None => call.asking.text.len(),
    };
    let mut lines: Vec<Line> = Vec::new();
    for position in busy.iter().copied() {
        let provider = candidates[position].provider;
        // Two targets may be of the same provider.
        let is_known = |line: &Line| std::ptr::eq(candidates[line.position].provider, provider);
        if lines.len() >= MOST_LINES || lines.iter().any(is_known) {
            continue;
        }
        let Some(queue) = &provider.conf.queue else {
            continue;
        };
        if let Some(waiting) = provider.standing.join(queue, bytes as u64) {
            lines.push(Line {
                position,
                waiting,
                deadline: Deadline::new(),
                // Who waits looks once for an end that nobody was called for.
                is_called: true,
            });
        }
    }
    lines
}

/// What came of waiting.
enum Turn {
    /// It may be made, with this key of the one at this position.
    Begins {
        position: usize,
        number: usize,
        trial: Trial,
    },
    /// It may not, for this reason.
    Never(Unfit),
}

/// Waits until a call may be made by one of those in whose queues it is, if the client does.
async fn queued(
    downstream: &mut Downstream,
    candidates: &[Candidate<'_>],
    lines: &mut Vec<Line>,
    left: Option<Duration>,
) -> Result<Turn, ClientError> {
    for line in lines.iter() {
        let timeout = candidates[line.position].provider.conf.queue;
        let timeout = timeout.map(|queue| queue.timeout).into_iter();
        line.deadline
            .set(timeout.chain(left).min().unwrap_or_default());
    }
    let mut last = Unfit::Busy;
    loop {
        let mut at = 0;
        while let Some(line) = lines.get_mut(at) {
            let unfit = match std::mem::take(&mut line.is_called) {
                true => turn_of(&candidates[line.position], &line.waiting),
                false => Err(Unfit::Busy),
            };
            match unfit {
                Ok((number, trial)) => {
                    let Line {
                        position, waiting, ..
                    } = lines.swap_remove(at);
                    waiting.begin();
                    return Ok(Turn::Begins {
                        position,
                        number,
                        trial,
                    });
                }
                Err(Unfit::Busy) => at += 1,
                Err(unfit) => {
                    last = unfit;
                    leave(lines.remove(at), candidates);
                }
            }
        }
        if lines.is_empty() {
            return Ok(Turn::Never(last));
        }
        let mut calls: Vec<_> = (lines.iter())
            .map(|line| Box::pin(line.waiting.called()))
            .collect();
        let next = poll_fn(|context| {
            if downstream.poll_gone(context).is_ready() {
                return Poll::Ready(Err(ClientError::Closed(None)));
            }
            for (at, called) in calls.iter_mut().enumerate() {
                if called.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok((at, true)));
                }
            }
            for (at, line) in lines.iter().enumerate() {
                if line.deadline.poll_expired(context).is_ready() {
                    return Poll::Ready(Ok((at, false)));
                }
            }
            Poll::Pending
        });
        let (at, is_called) = next.await?;
        drop(calls);
        match is_called {
            true => lines[at].is_called = true,
            false => {
                last = Unfit::Busy;
                leave(lines.remove(at), candidates);
            }
        }
    }
}

/// It waited there in vain.
fn leave(line: Line, candidates: &[Candidate<'_>]) {
    let Line {
        position, waiting, ..
    } = line;
    drop(waiting);
    candidates[position].provider.standing.note_turned_away();
}

/// It may be its turn: with which key it may be made, if it may.
fn turn_of(candidate: &Candidate<'_>, waiting: &Waiting) -> Result<(usize, Trial), Unfit> {
    let Candidate { provider, choice } = candidate;
    // Who waits says so before it looks: an end that nobody was called for is seen here.
    waiting.wait_on();
    let most = provider.standing.most(provider.conf.max_connections);
    let mut unfit = Unfit::Busy;
    for (number, key) in provider.keys.iter().enumerate() {
        match key.model(choice.model).enter_waited(most, clock::now()) {
            Ok(trial) => return Ok((number, trial)),
            Err(Unfit::Busy) => return Err(Unfit::Busy),
            Err(other) => unfit = other,
        }
    }
    Err(unfit)
}

/// One provider with one of its keys.
struct One<'a, 'b> {
    provider: &'a Provider,
    key: &'a Key,
    choice: Choice<'a>,
    label: &'b str,
    trial: Trial,
}

/// Asks one.
#[expect(clippy::too_many_arguments, reason = "it is the inside of a loop")]
async fn once<'a>(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    call: &Call<'_>,
    one: One<'a, '_>,
    tried: &mut Tried,
    account: &mut Account,
    end: &mut End<'a>,
) -> Result<Then, ClientError> {
    let One {
        provider,
        key,
        choice,
        label,
        mut trial,
    } = one;
    let model = choice.model;
    let front = call.asking.front;
    let format = front.format;
    // What becomes of an account's files says nothing about how long a model takes.
    if let MostCalls::Adaptive(bounds) = provider.conf.max_connections
        && call.asking.passing.is_none()
    {
        let kind = adaptive::Kind::of(call.facts.input_tokens, call.facts.stream);
        trial.measure(bounds, kind);
    }
    let is_elsewhere = !choice.is_home || !exchange.attempts.is_empty();
    let (said, mut way) = match sent(call, exchange, provider, model, is_elsewhere) {
        Ok(said) => said,
        Err(unsupported) => {
            tried.end("unsupported");
            let told = Told::own(Code::UnsupportedParameter, unsupported.message);
            tried.last = tried.last.take().or(Some(told.about(unsupported.path)));
            return Ok(Then::NextTarget);
        }
    };
    tried.has_asked = true;
    // If the client leaves, this is how far it came.
    note(exchange, tried.attempts.clone());
    let asked = ask_in_parts(
        local, exchange, downstream, provider, key, said, &mut way, account,
    );
    let asked = asked.await?;
    if let Way::Vectors { from, before, .. } = &way
        && (asked.is_err() || exchange.upstream_head.status >= 300)
    {
        account.note_wasted(&provider.conf, model, &embeddings::seen_of(*from, before));
    }
    let mut incoming = match asked {
        Ok(incoming) => incoming,
        Err(fault) => {
            tried.end(fault.word());
            let cause = match fault {
                Fault::TimedOut => Causes::TIMEOUT,
                _ => Causes::SERVER,
            };
            tried.fail(fault.told(), cause);
            if matches!(fault, Fault::NoKey) {
                return Ok(Then::NextKey);
            }
            if matches!(fault, Fault::TimedOut) {
                trial.is_too_much(clock::now());
            }
            let turn = trial.fails(clock::now());
            told::turn(local, exchange, label, turn);
            return Ok(Then::NextTarget);
        }
    };
    let status = exchange.upstream_head.status;
    if status >= 300 {
        let wait = wait_told(exchange);
        let error = refused(
            local,
            exchange,
            downstream,
            provider,
            front,
            &mut incoming,
            status,
        )
        .await?;
        match status {
            500.. => incoming.fail(local, exchange),
            _ => incoming.succeed(local, exchange),
        }
        tried.end(&status.to_string());
        let wait = wait.or(error.retry_after.map(Duration::from_millis));
        let told = Told::provider(&error);
        let class = match error.class {
            // A path of the provider's account; its models have nothing to do with it.
            Class::Forbidden | Class::NotFound
                if model.is_empty() || call.asking.passing.is_some_and(Passing::is_of_account) =>
            {
                Class::BadRequest
            }
            class => class,
        };
        let then = judge(local, exchange, label, &mut trial, class, wait);
        // What the call itself is to blame for would fail everywhere.
        let Some((cause, then)) = then else {
            note(exchange, tried.attempts.clone());
            end.outcome = told.code.clone().unwrap_or_default();
            return Ok(Then::Done(told::error(exchange, format, &told)));
        };
        match then {
            Then::Unable => tried.is_unable(told, cause),
            _ => tried.fail(told, cause),
        }
        return Ok(then);
    }
    // Of an answer in parts only the last would be written down.
    let is_in_parts = matches!(&way, Way::Vectors { before, .. } if !before.is_empty());
    if let Some(record) = call.record.filter(|_| !is_in_parts) {
        let format = match &way {
            Way::Translated { from, .. } | Way::Vectors { from, .. } => *from,
            Way::Same | Way::Passed { .. } => format,
        };
        record.begin(format, call.facts.stream);
        incoming.write_down(Rc::clone(record));
    }
    let before = tried.attempts.len();
    tried.end("ok");
    let asked = Asked {
        front: call.asking.front,
        model: call.name,
        stream: call.facts.stream,
        include_usage: call.facts.include_usage,
        attempts: &tried.attempts,
        label,
        way,
        own_time: call.asking.place.own_time,
    };
    let mut watching = Watching {
        account,
        trial: &mut trial,
    };
    let relayed = relay::relay(
        local,
        exchange,
        downstream,
        &asked,
        provider,
        incoming,
        &mut watching,
    )
    .await?;
    match relayed {
        Outcome::Answered {
            next,
            seen,
            outcome,
        } => {
            note(exchange, std::mem::take(&mut tried.attempts));
            end.answered = Some((&provider.conf, model));
            end.seen = Some(seen);
            end.outcome = outcome.into();
            Ok(Then::Done(next))
        }
        Outcome::Worthless { failed, seen } => {
            let words = provider.mask(&failed.to_string());
            local.log(exchange, Level::Error, format_args!("{label}: {words}"));
            account.note_wasted(&provider.conf, model, &seen);
            tried.attempts.truncate(before);
            tried.end("worthless");
            let class = match &failed {
                Failed::Error(error) => error.class,
                _ => Class::Server,
            };
            let wait = match &failed {
                Failed::Error(error) => error.retry_after.map(Duration::from_millis),
                _ => None,
            };
            let then = judge(local, exchange, label, &mut trial, class, wait);
            let (cause, then) = then.unwrap_or((Causes::SERVER, Then::NextTarget));
            tried.fail(failed.told(), cause);
            Ok(then)
        }
    }
}

/// Asks a provider; more than once where a call has more inputs than it takes. What it answered to all parts
/// but the last is in `way` then.
#[expect(clippy::too_many_arguments, reason = "it is the inside of `once`")]
async fn ask_in_parts(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    provider: &Provider,
    key: &Key,
    mut said: Sent,
    way: &mut Way,
    account: &mut Account,
) -> Result<Result<Incoming, Fault>, ClientError> {
    loop {
        account.note_attempt();
        let path = said.path.clone();
        let mut incoming = match ask(local, exchange, downstream, provider, key, said).await? {
            Ok(incoming) if exchange.upstream_head.status < 300 => incoming,
            last => return Ok(last),
        };
        let Way::Vectors { before, rest, .. } = way else {
            return Ok(Ok(incoming));
        };
        let Some(next) = rest.pop_front() else {
            return Ok(Ok(incoming));
        };
        let held: usize = before.iter().map(Vec::len).sum();
        let most = relay::MOST_WHOLE.saturating_sub(held);
        match incoming.whole(exchange, downstream, most).await? {
            Ok(body) => {
                incoming.succeed(local, exchange);
                before.push(body);
            }
            Err(error) => {
                relay::broke_off(local, exchange, error);
                incoming.fail(local, exchange);
                return Ok(Err(Fault::Unreachable));
            }
        }
        said = Sent::json(path, next);
    }
}

/// What an error says of who told it, and what to do next; `None` if it is the call's own fault.
fn judge(
    local: &Local,
    exchange: &Exchange,
    label: &str,
    trial: &mut Trial,
    class: Class,
    wait: Option<Duration>,
) -> Option<(Causes, Then)> {
    let now = clock::now();
    match class {
        Class::RateLimit => {
            trial.is_limited(wait, now);
            Some((Causes::LIMIT, Then::NextKey))
        }
        Class::BadKey | Class::NoMoney | Class::Forbidden => {
            trial.is_refused(class == Class::BadKey, now);
            let words = match class {
                Class::BadKey => "until it is another one",
                _ => "for a while",
            };
            local.log(
                exchange,
                Level::Warn,
                format_args!(
                    "the provider refuses the key: \"{label}\" is not asked any more {words}"
                ),
            );
            Some((Causes::SERVER, Then::NextKey))
        }
        Class::Server | Class::Overloaded | Class::Timeout => {
            if class != Class::Server {
                trial.is_too_much(now);
            }
            trial.cools(wait, now);
            let turn = trial.fails(now);
            told::turn(local, exchange, label, turn);
            let cause = match class {
                Class::Timeout => Causes::TIMEOUT,
                _ => Causes::SERVER,
            };
            Some((cause, Then::NextTarget))
        }
        Class::BadRequest
        | Class::NotFound
        | Class::ContextLength
        | Class::TooLarge
        | Class::Blocked => {
            let turn = trial.works(now);
            told::turn(local, exchange, label, turn);
            match class {
                Class::NotFound => Some((Causes::SERVER, Then::Unable)),
                Class::ContextLength => Some((Causes::CONTEXT, Then::Unable)),
                _ => None,
            }
        }
    }
}

/// The most tokens that one is known to read.
fn most_read(candidate: &Candidate<'_>) -> Option<u64> {
    let Candidate { provider, choice } = candidate;
    let written = choice.target.and_then(|target| target.max_context);
    written.or_else(|| price::find(provider.conf.kind, choice.model)?.max_input)
}

/// Is it known to read no more than one for which the conversation was too long?
fn is_too_small(candidate: &Candidate<'_>, tried: &Tried) -> bool {
    tried.too_small > 0 && most_read(candidate).is_some_and(|most| most <= tried.too_small)
}

/// How long to wait for another round, if there is to be one.
fn pause(
    exchange: &Exchange,
    tried: &Tried,
    candidates: &[Candidate<'_>],
    round: u32,
    left: Option<Duration>,
) -> Option<Duration> {
    // Where nobody was asked there is nothing to repeat: all are left alone for a reason.
    if !tried.has_asked || !tried.last.as_ref()?.should_retry() || tries_itself(exchange) {
        return None;
    }
    let again = (candidates.iter().enumerate()).filter(|(position, candidate)| {
        let provider = candidate.provider;
        let has_key = provider.keys.iter().any(|key| key.trouble().is_none());
        has_key && round < provider.conf.retries && !tried.unable.contains(position)
    });
    let needed = soonest(again.map(|(_, candidate)| candidate))?;
    let most = FIRST_PAUSE
        .saturating_mul(1 << round.min(5))
        .min(LONGEST_PAUSE);
    let pause = needed.max(most.mul_f64(chance()));
    let is_short = pause <= LONGEST_PAUSE && left.is_none_or(|left| pause < left);
    is_short.then_some(pause)
}

/// In how long the first of these may be asked; `None` if none may before its key is another one.
fn soonest<'a, 'b: 'a>(
    candidates: impl IntoIterator<Item = &'a Candidate<'b>>,
) -> Option<Duration> {
    let now = clock::now();
    let waits = candidates.into_iter().flat_map(|candidate| {
        let keys = candidate.provider.keys.iter();
        keys.filter_map(|key| match key.model(candidate.choice.model).fitness(now) {
            Fitness::Ready => Some(Duration::ZERO),
            Fitness::Probing => Some(Duration::from_secs(1)),
            unfit => unfit.left(),
        })
    });
    waits.min()
}

/// Waits, if the client does.
async fn wait(downstream: &mut Downstream, pause: Duration) -> Result<(), ClientError> {
    let deadline = Deadline::new();
    deadline.set(pause);
    poll_fn(|context| {
        if downstream.poll_gone(context).is_ready() {
            return Poll::Ready(Err(ClientError::Closed(None)));
        }
        deadline.poll_expired(context).map(Ok)
    })
    .await
}

/// Which key is the first for the next call. It has a count of its own: the one that targets share their
/// calls by would give each target the same key for ever.
fn turn_of_keys() -> usize {
    thread_local! {
        static TURN: Cell<usize> = const { Cell::new(0) };
    }
    let turn = TURN.get().wrapping_add(1);
    TURN.set(turn);
    turn
}

/// From 0 to 1.
fn chance() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(
            std::hash::BuildHasher::hash_one(&foldhash::quality::RandomState::default(), 0),
        );
    }
    // A xorshift: nobody gains by guessing when a call is repeated.
    let mut state = STATE.get() | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

fn field<'a>(exchange: &'a Exchange, wanted: &str) -> Option<&'a str> {
    let mut fields = exchange.head.fields.iter();
    let found = fields.find(|(_, name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    Some(std::str::from_utf8(found?.2).ok()?.trim())
}

/// Does the client's library try again by itself, and has it begun to? If both did, they would multiply.
fn tries_itself(exchange: &Exchange) -> bool {
    let count = field(exchange, "x-stainless-retry-count");
    count.is_some_and(|count| count.parse() != Ok(0_u32))
}

/// How long the client's library waits, if it says so.
fn patience_of_client(exchange: &Exchange) -> Option<Duration> {
    let told = field(exchange, "x-stainless-timeout");
    let told = told.or_else(|| field(exchange, "x-stainless-read-timeout"))?;
    let seconds: f64 = told.parse().ok()?;
    (0.0..1e6)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// How long the provider whose head was read asks to wait.
fn wait_told(exchange: &Exchange) -> Option<Duration> {
    let head = &exchange.upstream_head;
    let field = |wanted: &str| {
        let mut fields = head.fields.iter();
        let found = fields.find(|(_, name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        found.map(|(_, _, value)| value)
    };
    patience::wait(field, clock::unix())
}

/// A provider answered with an error.
async fn refused(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    provider: &Provider,
    front: &Front<'_>,
    incoming: &mut Incoming,
    status: u16,
) -> Result<ProviderError, ClientError> {
    let read = incoming.whole(exchange, downstream, MOST_OF_ERROR).await?;
    let body = read.as_deref().unwrap_or_default();
    let error = ProviderError::of_body(format_of(provider, front), status, body);
    let name = &provider.conf.name;
    let message = provider.mask(&error.message);
    local.log(
        exchange,
        Level::Error,
        format_args!("the provider \"{name}\" answered {status}: {message}"),
    );
    Ok(error)
}

/// Notes for logs what was tried.
fn note(exchange: &mut Exchange, attempts: String) {
    exchange.call.get_or_insert_default().attempts = attempts;
}

/// Why nobody was asked, as a client is told it.
fn unfit_told(unfit: Unfit) -> Told {
    let (code, message): (Code, Cow<'static, str>) = match unfit {
        Unfit::Fitness(Fitness::Cooling(_)) => (
            Code::RateLimitExceeded,
            "the limit of the provider is reached".into(),
        ),
        Unfit::Fitness(Fitness::Refused(_)) => (
            Code::UpstreamCredentialsRejected,
            "the provider refused the gateway's own credentials or account".into(),
        ),
        Unfit::Fitness(_) => (
            Code::NoHealthyUpstream,
            "the provider failed too often and is left alone for a moment".into(),
        ),
        Unfit::Busy => (
            Code::QueueFull,
            "the provider has as many calls as it may (max_connections)".into(),
        ),
    };
    Told::own(code, message)
}

impl Fault {
    /// A word for it, for people.
    const fn word(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoPeer => "no-address",
            Self::TimedOut => "timeout",
            Self::NoKey => "no-key",
            Self::NoTls => "no-tls",
        }
    }

    /// As a client is told it.
    fn told(&self) -> Told {
        match self {
            Self::Unreachable | Self::NoPeer | Self::NoTls => {
                Told::own(Code::UpstreamError, "the provider cannot be reached")
            }
            Self::TimedOut => {
                Told::own(Code::UpstreamTimeout, "the provider did not answer in time")
            }
            Self::NoKey => Told::own(
                Code::UpstreamCredentialsRejected,
                "the gateway has no key for the provider",
            ),
        }
    }
}
