//! Which cryptography there is: one provider for everything, chosen by name and not by a process-wide
//! default, and the words of the configuration in its terms.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::conf::typed::tls::{Group, Protocols, Suite};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Everything that the provider has.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// The provider with these suites and groups only, in this order.
pub fn restricted(suites: &[Suite], groups: &[Group]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.iter().copied().map(suite).collect(),
        kx_groups: groups.iter().copied().map(group).collect(),
        ..aws_lc_rs::default_provider()
    })
}

/// The versions of the protocol.
pub fn versions(protocols: Protocols) -> &'static [&'static SupportedProtocolVersion] {
    use rustls::version::{TLS12, TLS13};
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (protocols.tls12, protocols.tls13) {
        (true, false) => &BOTH[1..],
        (false, true) => &BOTH[..1],
        _ => &BOTH,
    }
}

fn suite(suite: Suite) -> SupportedCipherSuite {
    use aws_lc_rs::cipher_suite as ours;
    match suite {
        Suite::TLS13_AES_256_GCM_SHA384 => ours::TLS13_AES_256_GCM_SHA384,
        Suite::TLS13_AES_128_GCM_SHA256 => ours::TLS13_AES_128_GCM_SHA256,
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => ours::TLS13_CHACHA20_POLY1305_SHA256,
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            ours::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        }
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            ours::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        }
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            ours::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => ours::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => ours::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            ours::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
    }
}

fn group(group: Group) -> &'static dyn SupportedKxGroup {
    use aws_lc_rs::kx_group as ours;
    match group {
        Group::X25519MlKem768 => ours::X25519MLKEM768,
        Group::Secp256r1MlKem768 => ours::SECP256R1MLKEM768,
        Group::X25519 => ours::X25519,
        Group::Secp256r1 => ours::SECP256R1,
        Group::Secp384r1 => ours::SECP384R1,
    }
}
