//! Getting certificates: accounts, orders, challenges and renewal (RFC 8555), and the own small
//! authority for names that no public one certifies.
//!
//! Runs beside requests and never on their way. What it gets it hands over as slots of [`crate::tls`].
//!
//! A [`manager::Manager`] holds one [`certificate::Certificate`] for each that is wanted, and for each
//! of those one task runs [`care::care`]: it waits until there is something to do, and then lets
//! an [`ordering::Attempt`] do it. All that must survive is on the disk, as [`storage`] has it. Names
//! that only clients know are looked at in [`on_demand`].

mod account;
pub mod authority;
mod care;
mod certificate;
pub mod challenges;
pub mod clock;
pub mod dns;
mod failure;
pub mod ledger;
mod local;
pub mod manager;
pub mod on_demand;
mod ordering;
mod renewal;
mod revoked;
pub mod secret;
pub mod status;
mod storage;
mod transport;

/// Asks again as often as an authority says no more than that a nonce was stale: it has done nothing
/// then, and some do that on purpose. The library tries three times only.
macro_rules! again {
    ($call:expr) => {{
        let mut left = 20;
        loop {
            match $call.await {
                Err(instant_acme::Error::Api(problem))
                    if left > 0 && $crate::acme::failure::is_kind(&problem, "badNonce") =>
                {
                    left -= 1;
                }
                outcome => break outcome,
            }
        }
    }};
}
use again;
