//! Tests of the crate from outside, one module per subject.

mod conf_cases;
