//! Changing the configuration: forms, reviews, the editor.
//!
//! Owns what a person changes until it is a [`crate::protocol::Change`]; the daemon checks that again
//! and puts it into force.

pub mod form;
