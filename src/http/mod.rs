//! Protocol without policy: heads, framing, bodies, variables.

pub mod date;
pub mod h1;
pub mod head;
pub mod hop_by_hop;
pub mod uri;
