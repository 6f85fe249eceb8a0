//! `llm_limit`, `llm_price` and what belongs to them.

use std::num::NonZeroU64;

use jiff::tz::TimeZone;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::llm::Llm;
use crate::conf::typed::llm_money::{Limit, Owner, PERIODS, PRICE_WORDS, Price, Rules};
use crate::unit::money::{Money, scaled};

/// Nobody means a larger limit.
const MOST: u64 = 1_000_000_000_000;

/// A price per million tokens, and one of a call, has at most so many decimals.
const DECIMALS: (usize, usize) = (6, 12);

const LIMIT_EXAMPLE: &str = "write `llm_limit group family rpm=60 tpm=200k budget=5/day;`";
const PRICE_EXAMPLE: &str =
    "write dollars per million tokens: `llm_price local/llama in=0.2 out=0.6;`";

/// What `http {}` says of money and limits. The models are those of `llm`.
pub fn rules(http: &Scope<'_>, llm: &Llm, cx: &mut Cx) -> Rules {
    let mut rules = Rules {
        allows_unpriced: http.text("llm_unpriced") == "allow",
        budget_status: if http.text("llm_budget_status") == "429" {
            429
        } else {
            402
        },
        zone: zone(http, cx),
        ..Rules::default()
    };
    for line in http.own("llm_limit") {
        let Some(limit) = limit(line, llm, cx) else {
            continue;
        };
        let is_same = |known: &&Limit| {
            known.owner == limit.owner
                && match limit.owner {
                    Owner::Model => known.name.eq_ignore_ascii_case(&limit.name),
                    Owner::Group | Owner::Gateway => known.name == limit.name,
                }
        };
        if let Some(first) = rules.limits.iter().find(is_same) {
            let message = format!("the limits of `{}` stand twice", limit.name);
            let problem = Diagnostic::error(Code::DUPLICATE, limit.span, message);
            cx.report(problem.label(first.span, "first here"));
            continue;
        }
        rules.limits.push(limit);
    }
    for line in http.own("llm_price") {
        let Some(price) = price(line, cx) else {
            continue;
        };
        let is_same = |known: &&Price| known.model.eq_ignore_ascii_case(&price.model);
        if let Some(first) = rules.prices.iter().find(is_same) {
            let message = format!("the price of `{}` stands twice", price.model);
            let problem = Diagnostic::error(Code::DUPLICATE, price.span, message);
            cx.report(problem.label(first.span, "first here"));
            continue;
        }
        rules.prices.push(price);
    }
    rules
}

fn zone(http: &Scope<'_>, cx: &mut Cx) -> TimeZone {
    let line = http.own("llm_timezone").first();
    let Some(word) = line.and_then(|line| line.arguments.first()) else {
        return TimeZone::UTC;
    };
    if &*word.text == "UTC" {
        return TimeZone::UTC;
    }
    TimeZone::get(&word.text).unwrap_or_else(|_| {
        let message = format!("the time zone `{}` is not known here", word.text);
        let problem = Diagnostic::error(Code::BAD_LLM_TIMEZONE, word.span, message);
        cx.report(problem.hint("write a name of the IANA's, such as `Europe/Berlin`, or `UTC`"));
        TimeZone::UTC
    })
}

/// The value of `name=value`.
fn value<'a>(word: &'a Word, name: &str) -> Option<&'a str> {
    word.text.strip_prefix(name)?.strip_prefix('=')
}

fn limit(line: &Node, llm: &Llm, cx: &mut Cx) -> Option<Limit> {
    let [owner, name, words @ ..] = line.arguments.as_slice() else {
        return None;
    };
    let refuse = |cx: &mut Cx, word: &Word, message: String| {
        cx.report(Diagnostic::error(Code::BAD_LLM_LIMIT, word.span, message).hint(LIMIT_EXAMPLE));
    };
    if name.text.is_empty() || name.text.len() > 256 || name.text.contains(char::is_control) {
        refuse(
            cx,
            name,
            format!("`{}` cannot be the name of what is limited", name.text),
        );
        return None;
    }
    let owner = match &*owner.text {
        "group" => Owner::Group,
        "gateway" => Owner::Gateway,
        "model" => Owner::Model,
        _ => return None,
    };
    let is_of_a_provider = || {
        let provider = name.text.split_once('/').map(|(provider, _)| provider);
        provider.is_some_and(|provider| {
            (llm.providers.iter()).any(|known| known.name.eq_ignore_ascii_case(provider))
        })
    };
    let is_model = || (llm.models.iter()).any(|model| model.name.eq_ignore_ascii_case(&name.text));
    if owner == Owner::Model && !is_model() && !is_of_a_provider() {
        let message = format!("nobody can ask for the model `{}`", name.text);
        let problem = Diagnostic::warning(Code::UNUSED_LLM_LIMIT, name.span, message);
        let hint = "name an `llm_model`, or PROVIDER/MODEL as clients ask for it";
        cx.report(problem.hint(hint));
    }
    let mut limit = Limit {
        owner,
        name: name.text.clone(),
        rpm: None,
        tpm: None,
        concurrency: None,
        budgets: [None; 4],
        span: name.span,
    };
    for word in words {
        if let Some(text) = value(word, "budget") {
            match budget(text) {
                Some((place, money)) => limit.budgets[place] = Some(money),
                None => {
                    let message = format!("`{text}` is no budget");
                    let problem = Diagnostic::error(Code::BAD_LLM_LIMIT, word.span, message);
                    cx.report(problem.hint(
                        "write dollars and a time: `5/day`, `20/week`, `50/month` or `100/total`",
                    ));
                }
            }
            continue;
        }
        for (name, place) in [
            ("rpm", &mut limit.rpm),
            ("tpm", &mut limit.tpm),
            ("concurrency", &mut limit.concurrency),
        ] {
            let Some(text) = value(word, name) else {
                continue;
            };
            *place = count(text);
            if place.is_none() {
                refuse(
                    cx,
                    word,
                    format!("`{text}` is not a number from 1 to {MOST}"),
                );
            }
        }
    }
    Some(limit)
}

/// A count as people write it: `60`, `200k`, `2m`; the letters stand for thousands and millions.
fn count(text: &str) -> Option<NonZeroU64> {
    let (digits, times) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let count = crate::unit::decimal(digits)?.checked_mul(times)?;
    NonZeroU64::new(count).filter(|count| count.get() <= MOST)
}

/// `5/day`: which budget it is, and how much.
fn budget(text: &str) -> Option<(usize, Money)> {
    let (dollars, period) = text.split_once('/')?;
    let place = PERIODS.iter().position(|known| *known == period)?;
    let money = Money::parse(dollars).filter(|money| *money > Money::ZERO)?;
    Some((place, money))
}

fn price(line: &Node, cx: &mut Cx) -> Option<Price> {
    let (name, words) = line.arguments.split_first()?;
    let mut is_good = true;
    let mut refuse = |cx: &mut Cx, word: &Word, message: String| {
        cx.report(Diagnostic::error(Code::BAD_LLM_PRICE, word.span, message).hint(PRICE_EXAMPLE));
        is_good = false;
    };
    let stars = name.text.matches('*').count();
    if name.text.is_empty() || stars > usize::from(name.text.ends_with('*')) {
        let message = format!(
            "`{}` names no model; a `*` stands at the end only",
            name.text
        );
        refuse(cx, name, message);
    }
    let mut amounts: Vec<(&'static str, Box<str>)> = Vec::new();
    for word in words {
        let known = PRICE_WORDS.iter().find_map(|known| {
            let text = word.text.strip_prefix(known)?;
            Some((known.trim_end_matches('='), text))
        });
        let Some((known, text)) = known else {
            continue;
        };
        if amounts.iter().any(|(before, _)| *before == known) {
            refuse(cx, word, format!("`{known}` stands twice"));
            continue;
        }
        let dollars = text.strip_prefix('$').unwrap_or(text);
        let is_each = matches!(known, "search" | "image" | "request");
        let decimals = if is_each { DECIMALS.1 } else { DECIMALS.0 };
        // A price that no budget could hold is a slip.
        let is_amount = scaled(dollars, decimals).is_some() && Money::parse(dollars).is_some();
        if !is_amount {
            refuse(
                cx,
                word,
                format!("`{text}` is no amount of dollars with at most {decimals} decimals"),
            );
            continue;
        }
        amounts.push((known, dollars.into()));
    }
    is_good.then(|| Price {
        model: name.text.clone(),
        amounts,
        span: name.span,
    })
}
