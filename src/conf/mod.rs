//! The configuration language: text → lossless tree → typed value.
//!
//! Usable without a running proxy: `-t`, `fmt`, `help`, editors and fuzzers need nothing else.

pub mod directives;
pub mod modules;
pub mod regex;
pub mod source;
pub mod template;
pub mod typed;
pub mod variable;
