//! What stands under a password: encrypted keys, and the parts of PKCS#12.
//!
//! Owns the ciphers and how a password becomes a key: PBES2 (RFC 8018) with PBKDF2 over HMAC-SHA-1,
//! -256, -384 and -512 and AES-128/192/256-CBC or DES-EDE3-CBC; the schemes of PKCS#12 (RFC 7292,
//! appendix C) with three-key Triple DES and RC2; and OpenSSL's own encryption of PEM (`DEK-Info`)
//! with AES-CBC and DES-EDE3-CBC. The rest is refused by name: scrypt, single DES, RC4.
//!
//! Invariants: passwords and what they open are wiped from memory, and stand in no message. However
//! many rounds a file asks for and however many passwords there are, the work is bounded.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::digest;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use des::TdesEde3;
use des::cipher::{Array, BlockCipherDecrypt, BlockSizeUser, KeyInit};
use md5::{Digest, Md5};
use rc2::Rc2;
use zeroize::Zeroizing;

use super::der::{self, Reader};
use super::file::{self, FileProblem};
use super::pem::Section;

/// How many rounds all attempts at one key may take together: some ten seconds of a small machine.
/// OpenSSL writes 2048 rounds, careful people a million.
const MAX_ROUNDS: u32 = 10_000_000;

/// How many passwords a file may have.
const MAX_PASSWORDS: usize = 1000;

/// Passwords to be tried in turn.
#[derive(Default)]
pub struct Passwords(Vec<Zeroizing<Vec<u8>>>);

impl Passwords {
    /// Reads a file with a password on each line, as nginx does: an end of line is LF or CRLF, empty
    /// lines do not count.
    ///
    /// # Errors
    ///
    /// If it cannot be read, has no password or more than a thousand.
    pub fn read(path: &Path) -> Result<Self, FileProblem> {
        let (text, _) = file::read(path)?;
        let passwords: Vec<_> = text
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty())
            .take(MAX_PASSWORDS + 1)
            .map(|line| Zeroizing::new(line.to_vec()))
            .collect();
        match passwords.len() {
            0 => Err(FileProblem::Empty),
            1..=MAX_PASSWORDS => Ok(Self(passwords)),
            _ => Err(FileProblem::TooLarge),
        }
    }

    /// The one that somebody typed.
    pub fn one(password: &str) -> Self {
        Self(vec![Zeroizing::new(password.as_bytes().to_vec())])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|password| password.as_slice())
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Passwords({})", self.0.len())
    }
}

/// Why something stays locked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Locked {
    /// There is no password to try.
    NoPassword,
    /// None of them opens it.
    WrongPassword {
        /// How many were tried.
        tried: usize,
    },
    /// The encryption is one that is not supported.
    Unsupported {
        /// Its name or its object identifier.
        scheme: String,
    },
    /// It asks for more work than is done for it.
    TooCostly,
    /// It is not what it says it is.
    Malformed,
}

impl fmt::Display for Locked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPassword => formatter.write_str("it is encrypted"),
            Self::WrongPassword { .. } => formatter.write_str("the password does not open it"),
            Self::Unsupported { scheme } => write!(formatter, "`{scheme}` is not supported"),
            Self::TooCostly => {
                formatter.write_str("to open it takes more work than is done for it")
            }
            Self::Malformed => formatter.write_str("it cannot be read"),
        }
    }
}

/// Opens an `ENCRYPTED PRIVATE KEY`; what comes out is a PKCS#8 key.
///
/// # Errors
///
/// If it cannot be opened.
pub fn open_pkcs8(der: &[u8], passwords: &Passwords) -> Result<Zeroizing<Vec<u8>>, Locked> {
    let mut reader = Reader::new(der);
    let mut outer = reader.enter(der::SEQUENCE).ok_or(Locked::Malformed)?;
    let algorithm = outer.take(der::SEQUENCE).ok_or(Locked::Malformed)?;
    let encrypted = outer.take(der::OCTET_STRING).ok_or(Locked::Malformed)?;
    let scheme = Scheme::read(algorithm)?;
    try_each(passwords, scheme.rounds(), |password| {
        scheme
            .open(password, encrypted)
            .filter(|key| der::is_one_sequence(key))
    })
}

/// Opens a section that OpenSSL has encrypted as a whole (`Proc-Type: 4,ENCRYPTED`); what comes out is
/// what its label says.
///
/// # Errors
///
/// If it cannot be opened.
pub fn open_section(
    section: &Section<'_>,
    passwords: &Passwords,
) -> Result<Zeroizing<Vec<u8>>, Locked> {
    let information = section.header("DEK-Info").ok_or(Locked::Malformed)?;
    let (name, vector) = information.split_once(',').ok_or(Locked::Malformed)?;
    let cipher = match name {
        "AES-128-CBC" => Cipher::Aes(&AES_128, 16),
        "AES-192-CBC" => Cipher::Aes(&AES_192, 24),
        "AES-256-CBC" => Cipher::Aes(&AES_256, 32),
        "DES-EDE3-CBC" => Cipher::TripleDes,
        _ => {
            return Err(Locked::Unsupported {
                scheme: name.chars().take(40).collect(),
            });
        }
    };
    let vector = data_encoding::HEXUPPER_PERMISSIVE
        .decode(vector.trim().as_bytes())
        .map_err(|_| Locked::Malformed)?;
    if vector.len() != cipher.block_length() {
        return Err(Locked::Malformed);
    }
    let salt = vector.get(..8).ok_or(Locked::Malformed)?;
    try_each(passwords, 1, |password| {
        // OpenSSL's `EVP_BytesToKey` with MD5 and one round.
        let mut key = Zeroizing::new(Vec::with_capacity(48));
        let mut last = Zeroizing::new([0; 16]);
        while key.len() < cipher.key_length() {
            let mut digest = Md5::new();
            if !key.is_empty() {
                digest.update(*last);
            }
            digest.update(password);
            digest.update(salt);
            *last = digest.finalize().into();
            key.extend_from_slice(&*last);
        }
        key.truncate(cipher.key_length());
        cipher
            .decrypt(&key, &vector, &section.der)
            .filter(|key| der::is_one_sequence(key))
    })
}

/// Tries passwords until one opens what is locked.
fn try_each<T>(
    passwords: &Passwords,
    rounds: u32,
    open: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Locked> {
    if passwords.is_empty() {
        return Err(Locked::NoPassword);
    }
    let mut effort = Effort::default();
    for password in passwords.iter() {
        effort.spend(rounds)?;
        if let Some(opened) = open(password) {
            return Ok(opened);
        }
    }
    Err(Locked::WrongPassword {
        tried: passwords.len(),
    })
}

/// The rounds that are left for one file.
pub(super) struct Effort(u32);

impl Default for Effort {
    fn default() -> Self {
        Self(MAX_ROUNDS)
    }
}

impl Effort {
    pub(super) fn spend(&mut self, rounds: u32) -> Result<(), Locked> {
        self.0 = self.0.checked_sub(rounds).ok_or(Locked::TooCostly)?;
        Ok(())
    }
}

/// How something was encrypted with a password.
pub(super) struct Scheme<'a> {
    derivation: Derivation<'a>,
    cipher: Cipher,
}

enum Derivation<'a> {
    /// RFC 8018, section 5.2; the vector comes with the cipher.
    Pbkdf2 {
        algorithm: pbkdf2::Algorithm,
        salt: &'a [u8],
        rounds: NonZeroU32,
        vector: &'a [u8],
    },
    /// RFC 7292, appendix B, with SHA-1.
    Pkcs12 { salt: &'a [u8], rounds: NonZeroU32 },
}

impl<'a> Scheme<'a> {
    /// Reads the content of an `AlgorithmIdentifier`.
    pub(super) fn read(algorithm: &'a [u8]) -> Result<Self, Locked> {
        let mut reader = Reader::new(algorithm);
        let identifier = reader
            .take(der::OBJECT_IDENTIFIER)
            .ok_or(Locked::Malformed)?;
        let mut parameters = reader.enter(der::SEQUENCE).ok_or(Locked::Malformed)?;
        if identifier == PBES2 {
            return Self::pbes2(parameters);
        }
        let cipher = match identifier.strip_prefix(PKCS12_SCHEMES) {
            Some([3]) => Cipher::TripleDes,
            Some([5]) => Cipher::Rc2 {
                key: 16,
                effective: 128,
            },
            Some([6]) => Cipher::Rc2 {
                key: 5,
                effective: 40,
            },
            _ => return Err(unsupported(identifier)),
        };
        let salt = parameters
            .take(der::OCTET_STRING)
            .ok_or(Locked::Malformed)?;
        let rounds = rounds(&mut parameters)?;
        Ok(Self {
            derivation: Derivation::Pkcs12 { salt, rounds },
            cipher,
        })
    }

    fn pbes2(mut parameters: Reader<'a>) -> Result<Self, Locked> {
        let malformed = || Locked::Malformed;
        let mut derivation = parameters.enter(der::SEQUENCE).ok_or_else(malformed)?;
        let mut encryption = parameters.enter(der::SEQUENCE).ok_or_else(malformed)?;

        let identifier = derivation
            .take(der::OBJECT_IDENTIFIER)
            .ok_or_else(malformed)?;
        if identifier != PBKDF2 {
            return Err(unsupported(identifier));
        }
        let mut derivation = derivation.enter(der::SEQUENCE).ok_or_else(malformed)?;
        let salt = derivation.take(der::OCTET_STRING).ok_or_else(malformed)?;
        let rounds = rounds(&mut derivation)?;
        if derivation.peek() == Some(der::INTEGER) {
            // The length of the key, which the cipher tells as well.
            derivation.number();
        }
        let algorithm = match derivation.enter(der::SEQUENCE) {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(mut function) => {
                let identifier = function
                    .take(der::OBJECT_IDENTIFIER)
                    .ok_or_else(malformed)?;
                match identifier.strip_prefix(RSA_DIGESTS) {
                    Some([7]) => pbkdf2::PBKDF2_HMAC_SHA1,
                    Some([9]) => pbkdf2::PBKDF2_HMAC_SHA256,
                    Some([10]) => pbkdf2::PBKDF2_HMAC_SHA384,
                    Some([11]) => pbkdf2::PBKDF2_HMAC_SHA512,
                    _ => return Err(unsupported(identifier)),
                }
            }
        };

        let identifier = encryption
            .take(der::OBJECT_IDENTIFIER)
            .ok_or_else(malformed)?;
        let cipher = match identifier.strip_prefix(NIST_AES) {
            Some([2]) => Cipher::Aes(&AES_128, 16),
            Some([22]) => Cipher::Aes(&AES_192, 24),
            Some([42]) => Cipher::Aes(&AES_256, 32),
            _ if identifier == DES_EDE3_CBC => Cipher::TripleDes,
            _ => return Err(unsupported(identifier)),
        };
        let vector = encryption.take(der::OCTET_STRING).ok_or_else(malformed)?;
        if vector.len() != cipher.block_length() {
            return Err(Locked::Malformed);
        }
        Ok(Self {
            derivation: Derivation::Pbkdf2 {
                algorithm,
                salt,
                rounds,
                vector,
            },
            cipher,
        })
    }

    pub(super) fn rounds(&self) -> u32 {
        match self.derivation {
            Derivation::Pbkdf2 { rounds, .. } | Derivation::Pkcs12 { rounds, .. } => rounds.get(),
        }
    }

    /// What a password makes of encrypted bytes, unless it is seen to be wrong.
    pub(super) fn open(&self, password: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new(vec![0; self.cipher.key_length()]);
        match &self.derivation {
            Derivation::Pbkdf2 {
                algorithm,
                salt,
                rounds,
                vector,
            } => {
                pbkdf2::derive(*algorithm, *rounds, salt, password, &mut key);
                self.cipher.decrypt(&key, vector, encrypted)
            }
            Derivation::Pkcs12 { salt, rounds } => {
                let password = pkcs12_password(password);
                let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
                let mut vector = vec![0; self.cipher.block_length()];
                pkcs12_derive(hash, Purpose::Key, &password, salt, *rounds, &mut key);
                pkcs12_derive(hash, Purpose::Vector, &password, salt, *rounds, &mut vector);
                self.cipher.decrypt(&key, &vector, encrypted)
            }
        }
    }
}

/// The number of rounds, if it is one that is done.
pub(super) fn rounds(reader: &mut Reader<'_>) -> Result<NonZeroU32, Locked> {
    if reader.peek() != Some(der::INTEGER) {
        return Err(Locked::Malformed);
    }
    reader
        .number()
        .filter(|rounds| *rounds <= MAX_ROUNDS)
        .and_then(NonZeroU32::new)
        .ok_or(Locked::TooCostly)
}

/// What a key of PKCS#12 is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Vector = 2,
    Mac = 3,
}

/// A password as PKCS#12 takes it: UTF-16 with the high byte first, ended by a zero.
pub(super) fn pkcs12_password(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut units = Zeroizing::new(Vec::with_capacity(2 * password.len() + 2));
    match str::from_utf8(password) {
        Ok(text) => units.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        // What is no UTF-8 is taken as Latin-1, as OpenSSL does.
        Err(_) => units.extend(password.iter().flat_map(|byte| [0, *byte])),
    }
    units.extend([0, 0]);
    units
}

/// RFC 7292, appendix B.2.
pub(super) fn pkcs12_derive(
    hash: &'static digest::Algorithm,
    purpose: Purpose,
    password: &[u8],
    salt: &[u8],
    rounds: NonZeroU32,
    out: &mut [u8],
) {
    let block = hash.block_len();
    let fill = |from: &[u8]| -> Vec<u8> {
        let length = from.len().div_ceil(block) * block;
        from.iter().copied().cycle().take(length).collect()
    };
    let mut state = Zeroizing::new(fill(salt));
    state.extend(Zeroizing::new(fill(password)).iter());
    let diversifier = vec![purpose as u8; block];
    for part in out.chunks_mut(hash.output_len()) {
        let mut context = digest::Context::new(hash);
        context.update(&diversifier);
        context.update(&state);
        let mut digest = context.finish();
        for _ in 1..rounds.get() {
            digest = digest::digest(hash, digest.as_ref());
        }
        part.copy_from_slice(&digest.as_ref()[..part.len()]);
        // Each block of the state becomes itself plus the digest, repeated, plus one.
        let addend: Vec<u8> = digest
            .as_ref()
            .iter()
            .copied()
            .cycle()
            .take(block)
            .collect();
        for own in state.chunks_exact_mut(block) {
            let mut carry = 1;
            for (byte, more) in own.iter_mut().zip(&addend).rev() {
                let sum = u16::from(*byte) + u16::from(*more) + carry;
                *byte = sum as u8;
                carry = sum >> 8;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Cipher {
    /// With the length of its key.
    Aes(&'static Algorithm, usize),
    TripleDes,
    /// With the bytes of its key and the bits of it that count.
    Rc2 {
        key: usize,
        effective: usize,
    },
}

impl Cipher {
    fn key_length(self) -> usize {
        match self {
            Self::Aes(_, length) => length,
            Self::TripleDes => 24,
            Self::Rc2 { key, .. } => key,
        }
    }

    fn block_length(self) -> usize {
        match self {
            Self::Aes(..) => 16,
            Self::TripleDes | Self::Rc2 { .. } => 8,
        }
    }

    /// Decrypts in CBC mode and removes the padding, if there is a right one.
    fn decrypt(self, key: &[u8], vector: &[u8], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(self.block_length()) {
            return None;
        }
        let mut bytes = Zeroizing::new(bytes.to_vec());
        let length = match self {
            Self::Aes(algorithm, _) => {
                let key = UnboundCipherKey::new(algorithm, key).ok()?;
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
                let vector = FixedLength::<16>::try_from(vector).ok()?;
                key.decrypt(&mut bytes, DecryptionContext::Iv128(vector))
                    .ok()?
                    .len()
            }
            Self::TripleDes => cbc(&TdesEde3::new_from_slice(key).ok()?, vector, &mut bytes)?,
            Self::Rc2 { effective, .. } => cbc(
                &Rc2::new_with_eff_key_len(key, effective),
                vector,
                &mut bytes,
            )?,
        };
        bytes.truncate(length);
        Some(bytes)
    }
}

/// Decrypts in place and tells how much of it is no padding (PKCS#7).
fn cbc<C>(cipher: &C, vector: &[u8], bytes: &mut [u8]) -> Option<usize>
where
    C: BlockCipherDecrypt + BlockSizeUser,
{
    let size = C::block_size();
    let mut before = vector.to_vec();
    for block in bytes.chunks_exact_mut(size) {
        let encrypted = block.to_vec();
        cipher.decrypt_block(<&mut Array<u8, C::BlockSize>>::try_from(&mut *block).ok()?);
        for (byte, before) in block.iter_mut().zip(&before) {
            *byte ^= before;
        }
        before = encrypted;
    }
    let padding = usize::from(*bytes.last()?);
    if padding == 0 || padding > size {
        return None;
    }
    let length = bytes.len().checked_sub(padding)?;
    bytes[length..]
        .iter()
        .all(|byte| usize::from(*byte) == padding)
        .then_some(length)
}

fn unsupported(identifier: &[u8]) -> Locked {
    let known = [
        (SCRYPT, "scrypt"),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x03][..],
            "MD5 with DES",
        ),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0a][..],
            "SHA-1 with DES",
        ),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x01][..],
            "SHA-1 with RC4",
        ),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x02][..],
            "SHA-1 with RC4",
        ),
    ];
    let name = known.iter().find(|(known, _)| *known == identifier);
    Locked::Unsupported {
        scheme: match name {
            Some((_, name)) => (*name).to_owned(),
            None => x509_parser::oid_registry::Oid::new(identifier.into()).to_id_string(),
        },
    }
}

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const SCRYPT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];
/// Before the number of a scheme of PKCS#12.
const PKCS12_SCHEMES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
/// Before the number of an HMAC.
const RSA_DIGESTS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
const DES_EDE3_CBC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07];
/// Before the number of a kind of AES.
const NIST_AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pem;
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
        std::fs::read(path.join(name)).expect("a file")
    }

    fn open(name: &str, passwords: &Passwords) -> Result<Vec<u8>, Locked> {
        let text = fixture(name);
        let section = pem::sections(&text)
            .next()
            .expect("a section")
            .expect("is well");
        let opened = match section.label {
            "ENCRYPTED PRIVATE KEY" => open_pkcs8(&section.der, passwords),
            _ => open_section(&section, passwords),
        };
        opened.map(|key| key.to_vec())
    }

    fn plain(name: &str) -> Vec<u8> {
        let text = fixture(name);
        pem::sections(&text)
            .find_map(|section| section.ok().filter(|it| it.label.ends_with("PRIVATE KEY")))
            .expect("a key")
            .der
            .to_vec()
    }

    fn of(passwords: &[&str]) -> Passwords {
        let bytes = |text: &&str| Zeroizing::new(text.as_bytes().to_vec());
        Passwords(passwords.iter().map(bytes).collect())
    }

    #[test]
    fn keys_encrypted_by_openssl_are_opened() {
        let pkcs8 = plain("leaf.key");
        for name in [
            "pbes2-aes-128-cbc",
            "pbes2-aes-192-cbc",
            "pbes2-aes-256-cbc",
            "pbes2-des-ede3-cbc",
            "pbes2-hmacWithSHA1",
            "pbes2-hmacWithSHA384",
            "pbes2-hmacWithSHA512",
            "pbe-3des",
        ] {
            let name = format!("leaf-{name}.key");
            assert_eq!(open(&name, &of(&["first"])), Ok(pkcs8.clone()), "{name}");
        }
        let sec1 = plain("leaf-sec1.key");
        for cipher in ["aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "des-ede3-cbc"] {
            let name = format!("leaf-traditional-{cipher}.key");
            assert_eq!(open(&name, &of(&["first"])), Ok(sec1.clone()), "{name}");
        }
    }

    #[test]
    fn passwords_are_tried_in_turn() {
        let name = "leaf-pbes2-aes-256-cbc.key";
        assert!(open(name, &of(&["wrong", "", "first"])).is_ok());
        assert_eq!(
            open(name, &of(&["wrong", "also wrong"])),
            Err(Locked::WrongPassword { tried: 2 })
        );
        assert_eq!(open(name, &of(&[])), Err(Locked::NoPassword));
        assert_eq!(
            open("leaf-traditional-aes-256-cbc.key", &of(&["wrong"])),
            Err(Locked::WrongPassword { tried: 1 })
        );
    }

    #[test]
    fn what_is_not_supported_is_named() {
        assert_eq!(
            open("leaf-scrypt.key", &of(&["first"])),
            Err(Locked::Unsupported {
                scheme: "scrypt".to_owned()
            })
        );
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
            DEK-Info: DES-CBC,0011223344556677\n\nAQID\n-----END RSA PRIVATE KEY-----\n";
        let section = pem::sections(text.as_bytes())
            .next()
            .expect("a section")
            .expect("is well");
        assert_eq!(
            open_section(&section, &of(&["first"])),
            Err(Locked::Unsupported {
                scheme: "DES-CBC".to_owned()
            })
        );
    }

    #[test]
    fn the_work_is_bounded() {
        let text = fixture("leaf-pbes2-aes-256-cbc.key");
        let section = pem::sections(&text)
            .next()
            .expect("a section")
            .expect("is well");
        // 2048 rounds become as many as three bytes can say.
        let mut der = section.der.to_vec();
        let at = der
            .windows(4)
            .position(|four| four == [2, 2, 8, 0])
            .expect("2048");
        der[at + 2] = 0x7f;
        assert!(matches!(
            open_pkcs8(&der, &of(&["first"])),
            Err(Locked::WrongPassword { .. })
        ));
        let many: Vec<String> = (0..MAX_PASSWORDS).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(open_pkcs8(&der, &of(&many)), Err(Locked::TooCostly));
    }

    #[test]
    fn a_password_file_has_a_password_on_each_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("passwords");
        std::fs::write(&path, "one\r\n\ntwo words \nlast").expect("written");
        let passwords = Passwords::read(&path).expect("read");
        let found: Vec<_> = passwords.iter().collect();
        assert_eq!(found, [&b"one"[..], b"two words ", b"last"]);
        assert_eq!(format!("{passwords:?}"), "Passwords(3)");
        std::fs::write(&path, "\n\r\n").expect("written");
        assert_eq!(Passwords::read(&path).err(), Some(FileProblem::Empty));
        std::fs::write(&path, "a\n".repeat(1001)).expect("written");
        assert_eq!(Passwords::read(&path).err(), Some(FileProblem::TooLarge));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = open_pkcs8(&bytes, &of(&["x"]));
        }

        #[test]
        fn no_changed_key_makes_it_panic(at in 0_usize..60, to: u8) {
            let text = fixture("leaf-pbes2-aes-256-cbc.key");
            let section = pem::sections(&text).next().expect("a section").expect("is well");
            let mut der = section.der.to_vec();
            der[at] = to;
            let _ = open_pkcs8(&der, &of(&["first"]));
        }
    }
}
