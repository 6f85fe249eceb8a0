//! Why a key may not make a call: what a client is told is in [`Refusal::code`] and [`fmt::Display`].

use std::fmt;
use std::time::Duration;

use super::budget::Period;
use super::wire::error::Code;
use crate::unit::money::Money;

/// A call that does not leave, by the fault of its key or of what it asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No key, or one that nobody knows. They are not told apart: who guesses learns nothing.
    Unknown,
    /// The key, or this secret of it, was taken back.
    Revoked,
    /// The time of the secret is over.
    Expired,
    /// The time of the secret has not come.
    NotActive,
    /// The client's address is none of the key's.
    Address,
    /// The model is none of the key's.
    Model {
        /// As it was asked for.
        model: String,
    },
    /// The key is bound to a gateway that this is not.
    Gateway,
    /// A budget has no room for the call.
    Budget {
        /// Of which time.
        period: Period,
        /// The budget.
        limit: Money,
        /// What is left of it, with what is held for calls under way taken off.
        left: Money,
        /// What the call may cost.
        cost: Money,
        /// When it begins anew, in microseconds since 1970; `None` for never.
        resets: Option<u64>,
    },
    /// The price of the model is not known, and the key may spend only so much.
    Unpriced {
        /// As it was asked for.
        model: String,
    },
    /// Too much in too short a time.
    Rate {
        /// Of what.
        what: Scarce,
        /// Whose limit it is.
        scope: Scope,
        /// The limit.
        limit: u64,
        /// When there is room, if that can be told.
        wait: Option<Duration>,
    },
    /// The ledger takes no call: the disk is full or fails, or the program has only just started.
    Ledger,
    /// The bodies of other calls take all the memory that they may.
    Memory,
}

/// What a limit is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scarce {
    /// Calls in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Calls at once.
    Concurrency,
}

/// Whose a limit is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// That of the key.
    Key,
    /// That of all keys of a group.
    Group,
    /// That of all calls of a gateway.
    Gateway,
    /// That of all calls for a model.
    Model,
}

impl Scope {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Group => "group",
            Self::Gateway => "gateway",
            Self::Model => "model",
        }
    }
}

/// The longest wait that a client is told. Libraries give up on longer ones, or sleep through them.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Refusal {
    /// What a client is told, in its own words.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unknown => Code::InvalidApiKey,
            Self::Revoked => Code::KeyRevoked,
            Self::Expired => Code::KeyExpired,
            Self::NotActive => Code::KeyNotActive,
            Self::Address => Code::IpNotAllowed,
            Self::Model { .. } | Self::Unpriced { .. } => Code::ModelNotAllowed,
            Self::Gateway => Code::GatewayMismatch,
            Self::Budget { .. } => Code::BudgetExceeded,
            Self::Rate { .. } => Code::RateLimitExceeded,
            Self::Ledger => Code::LedgerUnavailable,
            Self::Memory => Code::MemoryFull,
        }
    }

    /// What `retry-after` says; `None` if it makes no sense to come again: then `x-should-retry` is
    /// `false`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rate { wait, .. } => {
                let second = Duration::from_secs(1);
                let wait = wait.unwrap_or(second);
                (wait <= LONGEST_WAIT).then_some(wait.max(Duration::from_millis(1)))
            }
            Self::Ledger | Self::Memory => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str(
                "no valid key; hint: send a key of this gateway, as `openclaw key add` prints it, as \
                 `Authorization: Bearer …` or `x-api-key`",
            ),
            Self::Revoked => formatter.write_str("this key was revoked; hint: ask for a new one"),
            Self::Expired => formatter.write_str("this key has expired; hint: ask for a new one"),
            Self::NotActive => formatter.write_str("this key may not be used yet"),
            Self::Address => formatter.write_str("this key may not be used from your address"),
            Self::Model { model } => write!(
                formatter,
                "this key may not use the model `{}`; hint: `/v1/models` lists those that it may",
                model.escape_debug()
            ),
            Self::Gateway => formatter
                .write_str("this key is bound to another gateway than `X-Gateway-Id` says"),
            Self::Unpriced { model } => write!(
                formatter,
                "the price of the model `{}` is not known, and this key has a budget; hint: who runs \
                 this gateway sets one with `llm_price`",
                model.escape_debug()
            ),
            Self::Budget {
                period,
                limit,
                left,
                cost,
                resets,
            } => {
                write!(
                    formatter,
                    "the budget of ${limit} {} has ${left} left, and this call may cost ${cost}",
                    period.phrase()
                )?;
                // Where nothing is said of it, it may become as long as answers usually are.
                if *left > Money::ZERO {
                    formatter.write_str("; hint: ask for fewer tokens with `max_tokens`")?;
                }
                let moment = resets.and_then(|microseconds| {
                    jiff::Timestamp::from_second(i64::try_from(microseconds / 1_000_000).ok()?).ok()
                });
                match moment {
                    Some(moment) => write!(formatter, "; it begins anew at {moment}"),
                    None => Ok(()),
                }
            }
            Self::Rate {
                what,
                scope,
                limit,
                wait,
            } => {
                let whose = scope.word();
                match what {
                    Scarce::Requests => {
                        write!(formatter, "the {whose}'s limit of {limit} calls a minute")?;
                    }
                    Scarce::Tokens => {
                        write!(formatter, "the {whose}'s limit of {limit} tokens a minute")?;
                    }
                    Scarce::Concurrency => {
                        write!(formatter, "the {whose}'s limit of {limit} calls at once")?;
                    }
                }
                formatter.write_str(" is reached")?;
                match wait {
                    Some(wait) => write!(formatter, "; there is room in {:.1} s", wait.as_secs_f64()),
                    None => Ok(()),
                }
            }
            Self::Ledger => {
                formatter.write_str("the call cannot be accounted now, so it was not made")
            }
            Self::Memory => formatter.write_str(
                "other calls take all the memory that calls may here (`llm_body_memory`); hint: try again \
                 in a moment",
            ),
        }
    }
}

impl std::error::Error for Refusal {}
