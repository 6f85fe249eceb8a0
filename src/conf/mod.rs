//! The configuration language: text → lossless tree → typed value.
//!
//! Usable without a running proxy: `-t`, `fmt`, `help`, editors and fuzzers need nothing else.

pub mod directives;
pub mod modules;
