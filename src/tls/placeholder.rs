//! The certificate of a name that has none: self-signed, so that the address answers and no other
//! name is harmed, and no client trusts it.

use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::provider;
use super::slot::Held;

/// What every placeholder says of itself.
const NAME: &str = "openclaw placeholder certificate";

/// One for the whole process: it vouches for nothing, so there is no reason for another.
static PLACEHOLDER: LazyLock<Option<Arc<CertifiedKey>>> = LazyLock::new(|| make().ok());

/// A placeholder, with the reason for it; `None` if the machine cannot make keys at all.
pub fn placeholder(why: impl Into<String>) -> Option<Held> {
    Some(Held::placeholder(PLACEHOLDER.clone()?, why.into()))
}

fn make() -> Result<Arc<CertifiedKey>, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, NAME);
    let certificate = parameters.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider::provider().key_provider.load_private_key(key)?;
    Ok(Arc::new(CertifiedKey::new(
        vec![certificate.der().clone()],
        key,
    )))
}
