//! Protocol without policy: heads, framing, bodies, variables.

pub mod buffer;
pub mod date;
pub mod exchange;
pub mod h1;
pub mod head;
pub mod hop_by_hop;
pub mod uri;
pub mod variables;
