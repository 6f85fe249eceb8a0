//! What calls of language models may cost, and how many there may be.

use std::num::NonZeroU64;

use jiff::tz::TimeZone;

use crate::conf::source::Span;
use crate::unit::money::Money;

/// The times that a budget is for, in the order in which budgets are kept.
pub const PERIODS: [&str; 4] = ["day", "week", "month", "total"];

/// What `llm_price` takes: dollars per million tokens, and at the end dollars each.
pub const PRICE_WORDS: &[&str] = &[
    "in=",
    "out=",
    "cache_read=",
    "cache_write=",
    "cache_write_1h=",
    "audio_in=",
    "audio_out=",
    "reasoning=",
    "batch_in=",
    "batch_out=",
    "batch_cache_read=",
    "batch_cache_write=",
    "priority_in=",
    "priority_out=",
    "priority_cache_read=",
    "priority_cache_write=",
    "flex_in=",
    "flex_out=",
    "flex_cache_read=",
    "flex_cache_write=",
    "search=",
    "image=",
    "request=",
];

/// What `http {}` says of money and limits.
#[derive(Debug)]
pub struct Rules {
    /// Every `llm_limit`, in order.
    pub limits: Vec<Limit>,
    /// Every `llm_price`, in order.
    pub prices: Vec<Price>,
    /// `llm_unpriced`
    pub allows_unpriced: bool,
    /// `llm_budget_status`
    pub budget_status: u16,
    /// `llm_timezone`
    pub zone: TimeZone,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            prices: Vec::new(),
            allows_unpriced: false,
            budget_status: 402,
            zone: TimeZone::UTC,
        }
    }
}

/// Whose a limit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// All keys of a group.
    Group,
    /// All calls through a gateway.
    Gateway,
    /// All calls for a model, by the name that clients use.
    Model,
}

/// One `llm_limit`.
#[derive(Debug)]
pub struct Limit {
    /// Whose.
    pub owner: Owner,
    /// Its name.
    pub name: Box<str>,
    /// Calls in a minute.
    pub rpm: Option<NonZeroU64>,
    /// Tokens in a minute, in and out together.
    pub tpm: Option<NonZeroU64>,
    /// Calls at once.
    pub concurrency: Option<NonZeroU64>,
    /// By [`PERIODS`].
    pub budgets: [Option<Money>; 4],
    /// Its name in the configuration.
    pub span: Span,
}

/// One `llm_price`.
#[derive(Debug)]
pub struct Price {
    /// `PROVIDER/MODEL`, or a model of any provider; with a `*` at its end all that begin so.
    pub model: Box<str>,
    /// The words of [`PRICE_WORDS`], without `=`, and dollars.
    pub amounts: Vec<(&'static str, Box<str>)>,
    /// Its name in the configuration.
    pub span: Span,
}
