//! Text that a browser keeps for us: it can neither read nor change it.
//!
//! AES-256-GCM with a key that only this installation has, a nonce drawn for each text, and the purpose
//! of the text bound to it, so that one cannot be shown as another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::BASE64URL_NOPAD;
use parking_lot::{RwLock, RwLockWriteGuard};

/// How long the key is, in bytes.
pub const KEY_BYTES: usize = 32;

/// The key that seals stands first; one that it took the place of still opens.
static KEYS: RwLock<Vec<LessSafeKey>> = RwLock::new(Vec::new());

/// Sets the key that is kept. What was sealed before it was there is opened until the process ends.
pub fn set_key(key: &[u8; KEY_BYTES]) {
    if let Some(key) = of_bytes(key) {
        let mut keys = KEYS.write();
        keys.insert(0, key);
        keys.truncate(2);
    }
}

fn of_bytes(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes)
        .ok()
        .map(LessSafeKey::new)
}

/// A text for a purpose, in characters that a cookie may have. `None` without randomness.
pub fn seal(purpose: &[u8], text: &[u8]) -> Option<String> {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    let mut bytes = text.to_vec();
    let unique = Nonce::assume_unique_for_key(nonce);
    let mut keys = KEYS.read();
    if keys.is_empty() {
        drop(keys);
        // None is kept, or not yet: one that ends with the process.
        let mut made = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut made).ok()?;
        let made = of_bytes(&made)?;
        let mut all = KEYS.write();
        if all.is_empty() {
            all.push(made);
        }
        keys = RwLockWriteGuard::downgrade(all);
    }
    let key = keys.first()?;
    key.seal_in_place_append_tag(unique, Aad::from(purpose), &mut bytes)
        .ok()?;
    Some(BASE64URL_NOPAD.encode(&[&nonce[..], &bytes].concat()))
}

/// The text that was sealed for this purpose; `None` if it is anything else.
pub fn open(purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let bytes = BASE64URL_NOPAD.decode(sealed).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let keys = KEYS.read();
    keys.iter().find_map(|key| {
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key
            .open_in_place(nonce, Aad::from(purpose), &mut text)
            .ok()?
            .len();
        text.truncate(length);
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_for_its_purpose_and_only_whole() {
        let sealed = seal(b"session a", b"{\"sub\":1}").expect("sealed");
        assert_ne!(seal(b"session a", b"{\"sub\":1}"), Some(sealed.clone()));
        assert_eq!(
            open(b"session a", sealed.as_bytes()).as_deref(),
            Some(&b"{\"sub\":1}"[..])
        );
        assert_eq!(open(b"session b", sealed.as_bytes()), None);
        for position in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[position] = if changed[position] == b'A' {
                b'B'
            } else {
                b'A'
            };
            assert_eq!(open(b"session a", &changed), None);
            assert_eq!(open(b"session a", &sealed.as_bytes()[..position]), None);
        }
    }
}
