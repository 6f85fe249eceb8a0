//! Tokens: the keys that they are signed with ([`keys`]), whether one is to be believed ([`jwt`]), and
//! what is kept in a browser so that only we can read it ([`sealed`]).

pub mod jwt;
pub mod keys;
pub mod sealed;
