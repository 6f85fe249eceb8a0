//! The configuration language: text → lossless tree → typed value.
//!
//! Usable without a running proxy: `-t`, `fmt`, `help`, editors and fuzzers need nothing else.

pub mod address;
pub mod check;
pub mod diagnostic;
pub mod diff;
pub mod directives;
pub mod edit;
pub mod explain;
pub mod fmt;
pub mod include;
pub mod lexer;
pub mod lint;
pub mod local_names;
pub mod modules;
pub mod openssl;
pub mod parser;
pub mod regex;
pub mod site;
pub mod source;
pub mod template;
pub mod tree;
pub mod typed;
pub mod variable;
