//! A password as it is kept: which form a text has, whether a password fits it, and new ones.
//!
//! The forms are those of files made for nginx and Apache httpd: `{PLAIN}`, `{SHA}`, `{SSHA}`,
//! `$apr1$` and `$1$` (MD5), `$5$` and `$6$` (SHA-2 with rounds), bcrypt, and argon2id. The old form of
//! DES is refused: it looks at eight characters. Invariant: the work that a kept text may ask for is
//! bounded, and neither a password nor a kept text is ever shown.

use std::fmt;

use argon2::{Algorithm, Argon2, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use data_encoding::{BASE64, BASE64_NOPAD};
use md5::{Digest as _, Md5};
use sha1::Sha1;

/// A longer password is none that somebody types; the work of some forms grows with its square.
pub const LONGEST_PASSWORD: usize = 1024;

/// The most rounds of SHA-2 that are gone: some seconds.
const MOST_ROUNDS: u32 = 5_000_000;
/// bcrypt's cost counts doublings; this one takes some seconds.
const MOST_COST: u32 = 16;
/// Of argon2: memory in KiB, passes, lanes.
const MOST_MEMORY: u32 = 256 << 10;
const MOST_PASSES: u32 = 32;
const MOST_LANES: u32 = 16;

/// The cost of bcrypt in texts that we make: some tenths of a second on a small machine.
const OUR_COST: u32 = 11;

/// Why no password can be compared with a kept text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// `crypt` of old.
    Des,
    /// A form that is not known.
    Unknown,
    /// The form is known and the text is broken.
    Broken,
    /// It asks for more work than a request is given.
    Costly,
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Des => {
                "its password is kept in the form of DES, which looks at eight characters only and is not \
                 supported; set it anew with `openclaw passwd`"
            }
            Self::Unknown => "its password is kept in a form that is not known",
            Self::Broken => "its password is kept in a text that is broken",
            Self::Costly => "its password is kept in a form that asks for too much work",
        })
    }
}

impl std::error::Error for Unusable {}

/// How a new password is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewForm {
    /// `$2y$`, which nginx and Apache httpd read too.
    Bcrypt,
    /// `$argon2id$`
    Argon2id,
}

/// A kept text, taken apart.
pub enum Stored<'a> {
    /// `{PLAIN}`
    Plain(&'a [u8]),
    /// `{SHA}` without a salt, `{SSHA}` with one.
    Sha1 {
        /// The digest.
        digest: [u8; 20],
        /// What stands behind the password.
        salt: Vec<u8>,
    },
    /// `$1$` and `$apr1$`
    Md5 {
        /// With both dollars.
        magic: &'static [u8],
        /// At most eight characters.
        salt: &'a [u8],
        /// The digest in its own base64.
        encoded: &'a [u8],
    },
    /// `$5$` and `$6$`
    Sha2 {
        /// `$6$`?
        is_512: bool,
        /// How often.
        parameters: sha_crypt::Params,
        /// At most sixteen characters.
        salt: &'a [u8],
        /// The digest in its own base64.
        encoded: &'a [u8],
    },
    /// `$2a$`, `$2b$`, `$2x$`, `$2y$`
    Bcrypt {
        /// All of it.
        text: &'a str,
        /// Doublings.
        cost: u32,
    },
    /// `$argon2id$`, `$argon2i$`, `$argon2d$`
    Argon2 {
        /// Ready to work.
        function: Box<Argon2<'static>>,
        /// The salt.
        salt: Vec<u8>,
        /// The digest.
        digest: Vec<u8>,
    },
}

impl<'a> Stored<'a> {
    /// Takes a kept text apart.
    pub fn parse(text: &'a [u8]) -> Result<Self, Unusable> {
        if let Some(plain) = text.strip_prefix(b"{PLAIN}") {
            return Ok(Self::Plain(plain));
        }
        let salted = text.strip_prefix(b"{SSHA}");
        if let Some(encoded) = salted.or_else(|| text.strip_prefix(b"{SHA}")) {
            let decoded = BASE64.decode(encoded).map_err(|_| Unusable::Broken)?;
            let (digest, salt) = decoded.split_first_chunk().ok_or(Unusable::Broken)?;
            if salted.is_none() && !salt.is_empty() {
                return Err(Unusable::Broken);
            }
            return Ok(Self::Sha1 {
                digest: *digest,
                salt: salt.to_vec(),
            });
        }
        for magic in [&b"$apr1$"[..], b"$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, encoded) = split(rest).ok_or(Unusable::Broken)?;
                return Ok(Self::Md5 {
                    magic,
                    salt: &salt[..salt.len().min(8)],
                    encoded,
                });
            }
        }
        for (magic, is_512) in [(b"$5$", false), (b"$6$", true)] {
            if let Some(rest) = text.strip_prefix(magic) {
                return Self::sha2(rest, is_512);
            }
        }
        if text.starts_with(b"$2") {
            return Self::bcrypt(text);
        }
        if text.starts_with(b"$argon2") {
            return Self::argon2(text);
        }
        let is_des = |byte: &u8| byte.is_ascii_alphanumeric() || b"./".contains(byte);
        let is_extended = text.len() == 20 && text.starts_with(b"_");
        Err(match text {
            _ if text.len() == 13 && text.iter().all(is_des) => Unusable::Des,
            _ if is_extended && text[1..].iter().all(is_des) => Unusable::Des,
            _ => Unusable::Unknown,
        })
    }

    fn sha2(rest: &'a [u8], is_512: bool) -> Result<Self, Unusable> {
        let mut rest = rest;
        let mut rounds = sha_crypt::Params::RECOMMENDED_ROUNDS;
        if let Some(written) = rest.strip_prefix(b"rounds=") {
            let (digits, after) = split(written).ok_or(Unusable::Broken)?;
            let digits = std::str::from_utf8(digits).map_err(|_| Unusable::Broken)?;
            rounds = digits.parse().map_err(|_| Unusable::Broken)?;
            rest = after;
        }
        if rounds > MOST_ROUNDS {
            return Err(Unusable::Costly);
        }
        let rounds = rounds.max(sha_crypt::Params::ROUNDS_MIN);
        let parameters = sha_crypt::Params::new(rounds).map_err(|_| Unusable::Broken)?;
        let (salt, encoded) = split(rest).ok_or(Unusable::Broken)?;
        Ok(Self::Sha2 {
            is_512,
            parameters,
            salt: &salt[..salt.len().min(16)],
            encoded,
        })
    }

    fn bcrypt(text: &'a [u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(text).map_err(|_| Unusable::Broken)?;
        let cost = text.split('$').nth(2).and_then(|cost| cost.parse().ok());
        let cost: u32 = cost.ok_or(Unusable::Broken)?;
        if cost > MOST_COST {
            return Err(Unusable::Costly);
        }
        // Version, cost, and 53 characters of salt and digest.
        let is_whole = text.len() == 60 && cost >= 4 && text.is_ascii();
        match is_whole && text.parse::<bcrypt::HashParts>().is_ok() {
            true => Ok(Self::Bcrypt { text, cost }),
            false => Err(Unusable::Broken),
        }
    }

    /// `$argon2id$v=19$m=19456,t=2,p=1$SALT$DIGEST`
    fn argon2(text: &'a [u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(text).map_err(|_| Unusable::Broken)?;
        let mut parts = text.split('$').skip(1);
        let mut next = || parts.next().ok_or(Unusable::Broken);
        let algorithm = match next()? {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            "argon2d" => Algorithm::Argon2d,
            _ => return Err(Unusable::Unknown),
        };
        let mut written = next()?;
        // Without a version it is the one before.
        let mut version = Version::V0x10;
        if let Some(number) = written.strip_prefix("v=") {
            version = match number {
                "19" => Version::V0x13,
                "16" => Version::V0x10,
                _ => return Err(Unusable::Unknown),
            };
            written = next()?;
        }
        let (mut memory, mut passes, mut lanes) = (0, 0, 0);
        for pair in written.split(',') {
            let (name, value) = pair.split_once('=').ok_or(Unusable::Broken)?;
            let value: u32 = value.parse().map_err(|_| Unusable::Broken)?;
            match name {
                "m" => memory = value,
                "t" => passes = value,
                "p" => lanes = value,
                _ => return Err(Unusable::Unknown),
            }
        }
        if memory > MOST_MEMORY || passes > MOST_PASSES || lanes > MOST_LANES {
            return Err(Unusable::Costly);
        }
        let decode = |text: &str| {
            let decoded = BASE64_NOPAD.decode(text.as_bytes());
            decoded.map_err(|_| Unusable::Broken)
        };
        let salt = decode(next()?)?;
        let digest = decode(next()?)?;
        if parts.next().is_some() || !(8..=64).contains(&salt.len()) || digest.len() > 128 {
            return Err(Unusable::Broken);
        }
        let parameters = argon2::Params::new(memory, passes, lanes, Some(digest.len()))
            .map_err(|_| Unusable::Broken)?;
        Ok(Self::Argon2 {
            function: Box::new(Argon2::new(algorithm, version, parameters)),
            salt,
            digest,
        })
    }

    /// Does the password fit? Takes as long whatever the answer.
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST_PASSWORD || password.contains(&0) {
            return false;
        }
        let is = |one: &[u8], other: &[u8]| verify_slices_are_equal(one, other).is_ok();
        match self {
            Self::Plain(plain) => is(plain, password),
            Self::Sha1 { digest, salt } => {
                let own = Sha1::new().chain_update(password).chain_update(salt);
                is(&own.finalize(), digest)
            }
            Self::Md5 {
                magic,
                salt,
                encoded,
            } => is(&md5_crypt(password, magic, salt), encoded),
            Self::Sha2 {
                is_512: false,
                parameters,
                salt,
                encoded,
            } => {
                let digest = sha_crypt::sha256_crypt(password, salt, *parameters);
                is(&encode(&digest, &ORDER_256), encoded)
            }
            Self::Sha2 {
                is_512: true,
                parameters,
                salt,
                encoded,
            } => {
                let digest = sha_crypt::sha512_crypt(password, salt, *parameters);
                is(&encode(&digest, &ORDER_512), encoded)
            }
            Self::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
            Self::Argon2 {
                function,
                salt,
                digest,
            } => {
                let mut own = vec![0; digest.len()];
                let made = function.hash_password_into(password, salt, &mut own);
                made.is_ok() && is(&own, digest)
            }
        }
    }

    /// About how long a comparison takes, in microseconds: what takes long is not done on a thread
    /// that serves.
    pub fn cost(&self) -> u64 {
        match self {
            Self::Plain(_) | Self::Sha1 { .. } => 1,
            Self::Md5 { .. } => 300,
            Self::Sha2 { parameters, .. } => u64::from(rounds(*parameters)) / 2,
            Self::Bcrypt { cost, .. } => 50 << cost,
            Self::Argon2 { function, .. } => {
                let parameters = function.params();
                u64::from(parameters.m_cost()) * u64::from(parameters.t_cost())
            }
        }
    }
}

/// The text by which a new password is kept. It takes a while. `None` if the system has no randomness
/// or the password cannot be kept whole.
pub fn make(form: NewForm, password: &[u8]) -> Option<String> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).ok()?;
    match form {
        NewForm::Bcrypt => {
            // bcrypt would leave out what is behind 72 bytes, and say nothing.
            let parts = bcrypt::non_truncating_hash_with_salt(password, OUR_COST, salt).ok()?;
            Some(parts.format_for_version(bcrypt::Version::TwoY))
        }
        NewForm::Argon2id => {
            let function = Argon2::default();
            let mut digest = [0; 32];
            function
                .hash_password_into(password, &salt, &mut digest)
                .ok()?;
            let parameters = function.params();
            Some(format!(
                "$argon2id$v=19$m={},t={},p={}${}${}",
                parameters.m_cost(),
                parameters.t_cost(),
                parameters.p_cost(),
                BASE64_NOPAD.encode(&salt),
                BASE64_NOPAD.encode(&digest)
            ))
        }
    }
}

/// What stands before and behind the next dollar.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dollar = memchr::memchr(b'$', text)?;
    Some((&text[..dollar], &text[dollar + 1..]))
}

fn rounds(parameters: sha_crypt::Params) -> u32 {
    let text = parameters.to_string();
    let digits = text
        .strip_prefix("rounds=")
        .and_then(|text| text.parse().ok());
    digits.unwrap_or(sha_crypt::Params::RECOMMENDED_ROUNDS)
}

/// The alphabet of `crypt`.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// In which order the bytes of a digest are written, three at a time, the last ones alone.
type Order = [&'static [u8]];

const ORDER_MD5: [&[u8]; 6] = [
    &[0, 6, 12],
    &[1, 7, 13],
    &[2, 8, 14],
    &[3, 9, 15],
    &[4, 10, 5],
    &[11],
];

const ORDER_256: [&[u8]; 11] = [
    &[0, 10, 20],
    &[21, 1, 11],
    &[12, 22, 2],
    &[3, 13, 23],
    &[24, 4, 14],
    &[15, 25, 5],
    &[6, 16, 26],
    &[27, 7, 17],
    &[18, 28, 8],
    &[9, 19, 29],
    &[31, 30],
];

const ORDER_512: [&[u8]; 22] = [
    &[0, 21, 42],
    &[22, 43, 1],
    &[44, 2, 23],
    &[3, 24, 45],
    &[25, 46, 4],
    &[47, 5, 26],
    &[6, 27, 48],
    &[28, 49, 7],
    &[50, 8, 29],
    &[9, 30, 51],
    &[31, 52, 10],
    &[53, 11, 32],
    &[12, 33, 54],
    &[34, 55, 13],
    &[56, 14, 35],
    &[15, 36, 57],
    &[37, 58, 16],
    &[59, 17, 38],
    &[18, 39, 60],
    &[40, 61, 19],
    &[62, 20, 41],
    &[63],
];

/// Six bits a character, the lowest first.
fn encode(digest: &[u8], order: &Order) -> Vec<u8> {
    let mut text = Vec::with_capacity(86);
    for group in order {
        let join = |bits: u32, &position: &u8| bits << 8 | u32::from(digest[usize::from(position)]);
        let mut bits = group.iter().fold(0, join);
        for _ in 0..=group.len() {
            text.push(ALPHABET[(bits & 63) as usize]);
            bits >>= 6;
        }
    }
    text
}

/// The form that Poul-Henning Kamp made for FreeBSD; Apache httpd's differs by its magic.
fn md5_crypt(password: &[u8], magic: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = Md5::new()
        .chain_update(password)
        .chain_update(magic)
        .chain_update(salt);
    for piece in password.chunks(16) {
        first.update(&inner[..piece.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        match length & 1 {
            1 => first.update([0]),
            _ => first.update(&password[..1]),
        }
        length >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        match round & 1 {
            1 => next.update(password),
            _ => next.update(digest),
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        match round & 1 {
            1 => next.update(digest),
            _ => next.update(password),
        }
        digest = next.finalize();
    }
    encode(&digest, &ORDER_MD5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(text: &str, password: &str) -> Result<bool, Unusable> {
        Stored::parse(text.as_bytes()).map(|stored| stored.verify(password.as_bytes()))
    }

    /// The same password in texts that `openssl passwd`, `crypt` of libxcrypt and Apache httpd made.
    const SECRET: &[&str] = &[
        "{PLAIN}secret",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
        "$apr1$zRxsQmhC$SX2282b17vU1bbL9FTo6Y.",
        "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
        "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
        "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    ];

    #[test]
    fn passwords_in_every_form_are_recognised_and_no_others() {
        for text in SECRET {
            assert_eq!(verify(text, "secret"), Ok(true), "{text}");
            assert_eq!(verify(text, "Secret"), Ok(false), "{text}");
            assert_eq!(verify(text, ""), Ok(false), "{text}");
        }
    }

    #[test]
    fn what_crypt_makes_with_rounds_and_of_long_passwords_is_recognised() {
        let cases = [
            (
                "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
                "Hello world!",
            ),
            (
                "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
                "Hello world!",
            ),
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                "Hello world!",
            ),
        ];
        let long = "a".repeat(80);
        let texts = [
            "$6$rounds=1400$anotherlongsalt$LZnm1hRDbZcTiVnnVI0SZnVnItsdOB7mn3UCGVRQiSs.8DQFpnHj.BqBJeJtitHen6/o2G1ucSPNwdA0XG.1s1",
            "$1$abc$NLEt2RVZS5Be56zTrIGPe/",
        ];
        for text in texts {
            assert_eq!(verify(text, &long), Ok(true), "{text}");
        }
        for (text, password) in cases {
            assert_eq!(verify(text, password), Ok(true), "{text}");
            assert_eq!(verify(text, "hello world!"), Ok(false), "{text}");
        }
    }

    #[test]
    fn the_text_of_the_reference_program_of_argon2_is_recognised() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(verify(text, "password"), Ok(true));
        assert_eq!(verify(text, "passwore"), Ok(false));
    }

    #[test]
    fn a_new_password_is_recognised_in_either_form() {
        for form in [NewForm::Bcrypt, NewForm::Argon2id] {
            let text = make(form, b"pass:w\xc3\xb6rd").expect("made");
            assert_eq!(verify(&text, "pass:wörd"), Ok(true), "{text}");
            assert_eq!(verify(&text, "pass:word"), Ok(false), "{text}");
            assert_ne!(make(form, b"pass:w\xc3\xb6rd"), Some(text));
        }
        assert_eq!(make(NewForm::Bcrypt, &[b'a'; 73]), None);
    }

    #[test]
    fn all_versions_of_bcrypt_are_one() {
        let text = make(NewForm::Bcrypt, b"secret").expect("made");
        for version in ["$2a$", "$2b$", "$2y$"] {
            let text = format!("{version}{}", &text[4..]);
            assert_eq!(verify(&text, "secret"), Ok(true), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_told_apart() {
        for (text, why) in [
            ("rqXexS6ZhobKA", Unusable::Des),
            ("_J9..rasmBYk8r9AiWNc", Unusable::Des),
            ("", Unusable::Unknown),
            ("secret", Unusable::Unknown),
            ("$7$abc$def", Unusable::Unknown),
            (
                "$argon2x$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAA",
                Unusable::Unknown,
            ),
            ("{SHA}", Unusable::Broken),
            ("{SHA}x", Unusable::Broken),
            ("$apr1$nosecond", Unusable::Broken),
            ("$5$rounds=x$salt$", Unusable::Broken),
            ("$2y$10$short", Unusable::Broken),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", Unusable::Broken),
            ("$6$rounds=999999999$salt$x", Unusable::Costly),
            (
                "$2y$31$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                Unusable::Costly,
            ),
            (
                "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$AAAAAAAA",
                Unusable::Costly,
            ),
        ] {
            assert_eq!(verify(text, "x"), Err(why), "{text}");
        }
    }

    #[test]
    fn a_password_of_many_kilobytes_or_with_a_zero_is_nobodys() {
        let long = "a".repeat(LONGEST_PASSWORD + 1);
        assert_eq!(verify(&format!("{{PLAIN}}{long}"), &long), Ok(false));
        assert_eq!(verify("{PLAIN}a\0b", "a\0b"), Ok(false));
    }
}
