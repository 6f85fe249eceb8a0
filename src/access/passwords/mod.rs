//! Passwords: how they are kept ([`hash`]), the files they stand in ([`mod@file`]), and whether what a
//! client shows is one of them ([`check`]).

pub mod check;
pub mod file;
pub mod hash;
mod throttle;
