//! Protocol without policy: heads, framing, bodies, variables.

pub mod body;
pub mod buffer;
pub mod claims;
pub mod coding;
pub mod conditional;
pub mod date;
pub mod exchange;
#[cfg(test)]
pub mod fixture;
pub mod forwarded;
pub mod h1;
pub mod h2;
pub mod head;
pub mod hop_by_hop;
mod origin;
pub mod places;
pub mod range;
pub mod slices;
pub mod temporary_file;
pub mod uri;
pub mod variables;
