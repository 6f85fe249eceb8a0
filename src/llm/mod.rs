//! The gateway to language models: one address and one key for every provider.
//!
//! Owns what a call means: in which words it is said ([`wire`]), who answers for a model ([`models`]),
//! what a call used ([`usage`]), what it costs ([`price`]), who pays ([`key`], [`account`]), that
//! nothing of it is lost ([`books`]), which answers are kept ([`kept`]), what of it is under way
//! ([`running`]), who may be asked now ([`standing`]) and with how many calls at once ([`adaptive`]), how much memory their bodies take ([`room`]), and what of
//! texts is not written down ([`redact`]).
//! Does not know the phases of a request; it neither reads nor writes a socket.

pub mod account;
pub mod adaptive;
pub mod books;
pub mod budget;
pub mod kept;
pub mod key;
pub mod limit;
pub mod models;
pub mod patience;
pub mod price;
pub mod redact;
pub mod refusal;
pub mod room;
pub mod running;
pub mod snippet;
pub mod standing;
pub mod sticky;
pub mod tariff;
pub mod usage;
pub mod wire;
