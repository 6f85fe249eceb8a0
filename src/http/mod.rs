//! Protocol without policy: heads, framing, bodies, variables.

pub mod head;
