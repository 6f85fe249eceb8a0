//! Login with OpenID Connect: what is asked of the provider ([`provider`]), and what a browser keeps
//! for us meanwhile and afterwards ([`session`]).

pub mod provider;
pub mod session;
