//! Tests of the running program, on real sockets and with real peers.
//!
//! `support` holds servers, clients and backends; every other module is a subject. All of them run
//! against `openclaw`, or against the program that `OPENCLAW_UNDER_TEST` names.

mod cli;
mod conf_cases;
mod floors;
mod oracle;
mod process;
mod support;
