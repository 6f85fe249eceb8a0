//! What a stranger sees of a server's TLS, and the grade that public scanners would give for it.
//!
//! Owns real handshakes with one server, one after the other, and the rules. The handshakes block: this
//! is for a program that does nothing else meanwhile. What rustls does not speak (old protocols, weak
//! suites) is offered by hand, and the first byte of the answer tells.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};

use super::facts::Facts;
use super::{fetch, material, openssl, provider};
use crate::conf::typed::tls::{Certificate, Group, Protocols, ServerTls, Suite};
use crate::unit::clock;

/// One step of a conversation.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of an answer.
const MOST_ANSWER: usize = 32 << 10;
/// `max-age` of HSTS from which scanners give the best grade: 180 days.
const LONG_HSTS: u64 = 180 * 24 * 60 * 60;
/// A certificate that ends sooner is worth a word, in seconds; one that lives for days only has a third
/// of its life left then.
const SOON: i64 = 14 * 24 * 60 * 60;

/// What was seen.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// `TLSv1.3`, `TLSv1.2` and older ones.
    pub protocols: Vec<&'static str>,
    /// Suites of TLS 1.2 and 1.3 with forward secrecy, in OpenSSL's spelling.
    pub suites: Vec<&'static str>,
    /// Suites without forward secrecy or authenticated encryption are spoken.
    pub has_weak_suites: bool,
    /// Keys are exchanged in a way that a quantum computer does not break.
    pub is_hybrid: bool,
    /// The certificates as they were sent.
    pub chain: Vec<Vec<u8>>,
    /// Why the chain is not trusted, if it is not.
    pub distrust: Option<String>,
    /// The status of the certificate was sent along.
    pub has_status: bool,
    /// `Strict-Transport-Security`
    pub hsts: Option<String>,
    /// Plain HTTP: does it lead here? `None` if it is not spoken.
    pub redirects: Option<bool>,
}

/// How good it is; the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "each variant is named after its grade")]
pub enum Grade {
    APlus,
    A,
    AMinus,
    B,
    C,
    F,
    /// No client trusts it, whatever else is so.
    T,
}

impl Grade {
    /// As scanners write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::APlus => "A+",
            Self::A => "A",
            Self::AMinus => "A-",
            Self::B => "B",
            Self::C => "C",
            Self::F => "F",
            Self::T => "T",
        }
    }
}

/// One thing that is as it should be, or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What is so.
    pub text: String,
    /// The best grade that there is with it; `None` where it is fine or does not count.
    pub limit: Option<Grade>,
    /// What to do about it.
    pub advice: Option<&'static str>,
}

/// Whom is looked at, and whom the looker trusts.
#[derive(Clone, Debug)]
pub struct Audit {
    address: SocketAddr,
    name: Option<String>,
    roots: Arc<RootCertStore>,
}

impl Audit {
    /// Looks at the server of a name, or at the one for who names nobody. The roots of the system are
    /// trusted, and these.
    pub fn new(address: SocketAddr, name: Option<&str>, more: &[CertificateDer<'static>]) -> Self {
        let mut roots = fetch::system_roots();
        roots.add_parsable_certificates(more.iter().cloned());
        Self {
            address,
            name: name.map(str::to_owned),
            roots: Arc::new(roots),
        }
    }

    /// Looks. `plain` is where the same name is served without TLS.
    ///
    /// # Errors
    ///
    /// If nobody speaks TLS there.
    pub fn look(&self, plain: Option<SocketAddr>) -> io::Result<Seen> {
        let mut seen = Seen::default();
        let all = Protocols {
            tls12: true,
            tls13: true,
        };
        let (glimpse, mut session, mut socket) =
            self.shake_hands(all, &Suite::ALL, &Group::USUAL)?;
        seen.chain = glimpse.chain;
        seen.has_status = glimpse.has_status;
        seen.distrust = self.distrust(&seen.chain);
        let host = self
            .name
            .clone()
            .unwrap_or_else(|| self.address.ip().to_string());
        let question = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        stream.write_all(question.as_bytes())?;
        let head = read_head(&mut stream);
        seen.hsts = field(&head, "strict-transport-security");

        let only = |tls13: bool| Protocols {
            tls12: !tls13,
            tls13,
        };
        for (name, tls13) in [("TLSv1.3", true), ("TLSv1.2", false)] {
            let suites = Suite::ALL
                .iter()
                .filter(|suite| is_of_tls13(**suite) == tls13);
            let found: Vec<_> = suites
                .filter_map(|&suite| self.shake_hands(only(tls13), &[suite], &Group::USUAL).ok())
                .filter_map(|(_, session, _)| session.negotiated_cipher_suite())
                .map(|suite| openssl::suite(suite.suite()))
                .collect();
            if !found.is_empty() {
                seen.protocols.push(name);
                seen.suites.extend(found);
            }
        }
        let hybrid = [Group::X25519MlKem768, Group::Secp256r1MlKem768];
        seen.is_hybrid = self.shake_hands(only(true), &Suite::ALL, &hybrid).is_ok();
        for (name, version) in [("TLSv1.1", 2), ("TLSv1", 1), ("SSLv3", 0)] {
            if self.answers(version)? {
                seen.protocols.push(name);
            }
        }
        seen.has_weak_suites = self.answers(3)?;
        seen.redirects = plain.map(|plain| leads_to_tls(plain, &host));
        Ok(seen)
    }

    /// What the server would show if it ran, by its configuration; `hsts` is what it sends.
    ///
    /// # Errors
    ///
    /// If it has no certificate in files that can be used, in words for people.
    pub fn foresee(&self, tls: &ServerTls, hsts: Option<String>) -> Result<Seen, String> {
        let files = tls.certificates.iter().find_map(|found| match found {
            Certificate::Files(files) => Some(files),
            Certificate::Managed(_) | Certificate::Computed { .. } => None,
        });
        let files = files.ok_or("its certificate stands in no file of the configuration")?;
        let passwords = files.passwords.as_deref();
        let material = material::load(&files.certificate, &files.key, passwords)
            .map_err(|error| error.to_string())?;
        let chain = material.chain.iter();
        let chain: Vec<Vec<u8>> = chain.map(|der| der.to_vec()).collect();
        let algorithm = material.certified_key().key.algorithm();
        let offered = provider::restricted(&tls.suites, &tls.groups)
            .cipher_suites
            .clone();
        let speaks = |suite: &&SupportedCipherSuite| match suite.tls13() {
            Some(_) => tls.protocols.tls13,
            None => tls.protocols.tls12 && suite.usable_for_signature_algorithm(algorithm),
        };
        let suites = offered.iter().filter(speaks);
        let all = [
            ("TLSv1.3", tls.protocols.tls13),
            ("TLSv1.2", tls.protocols.tls12),
        ];
        let protocols = all.into_iter().filter(|(_, is_spoken)| *is_spoken);
        let hybrid = [Group::X25519MlKem768, Group::Secp256r1MlKem768];
        Ok(Seen {
            protocols: protocols.map(|(name, _)| name).collect(),
            suites: suites.map(|suite| openssl::suite(suite.suite())).collect(),
            has_weak_suites: false,
            is_hybrid: tls.protocols.tls13 && tls.groups.iter().any(|group| hybrid.contains(group)),
            distrust: self.distrust(&chain),
            chain,
            has_status: tls.stapling.enabled,
            hsts,
            redirects: None,
        })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    fn server_name(&self) -> ServerName<'static> {
        let name = self.name.clone();
        name.and_then(|name| ServerName::try_from(name).ok())
            .unwrap_or_else(|| ServerName::IpAddress(self.address.ip().into()))
    }

    fn shake_hands(
        &self,
        protocols: Protocols,
        suites: &[Suite],
        groups: &[Group],
    ) -> io::Result<(Glimpse, ClientConnection, TcpStream)> {
        let watch = Arc::new(Watch::default());
        let suites: Vec<Suite> = (suites.iter().copied())
            .filter(|&suite| match is_of_tls13(suite) {
                true => protocols.tls13,
                false => protocols.tls12,
            })
            .collect();
        let mut config = ClientConfig::builder_with_provider(provider::restricted(&suites, groups))
            .with_protocol_versions(provider::versions(protocols))
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&watch) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut socket = self.connect()?;
        let mut session = ClientConnection::new(Arc::new(config), self.server_name())
            .map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let glimpse = std::mem::take(&mut *watch.0.lock());
        Ok((glimpse, session, socket))
    }

    /// Why a chain is not trusted.
    fn distrust(&self, chain: &[Vec<u8>]) -> Option<String> {
        let (own, above) = chain.split_first()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            provider::provider(),
        );
        let above: Vec<_> = above
            .iter()
            .map(|der| CertificateDer::from(&**der))
            .collect();
        let judged = verifier
            .build()
            .map_err(|error| error.to_string())
            .and_then(|verifier| {
                let own = CertificateDer::from(&**own);
                let now = UnixTime::since_unix_epoch(clock::unix());
                verifier
                    .verify_server_cert(&own, &above, &self.server_name(), &[], now)
                    .map_err(|error| error.to_string())
            });
        judged.err()
    }

    /// Does the server go on when it is offered this version (of `3.x`) with suites of old only?
    fn answers(&self, version: u8) -> io::Result<bool> {
        /// RSA and ECDHE with CBC, 3DES and RC4; those of TLS 1.2 without authenticated encryption,
        /// and RSA with it, which has no forward secrecy.
        const SUITES: [u16; 14] = [
            0x002f, 0x0035, 0x003c, 0x003d, 0x009c, 0x009d, 0xc009, 0xc00a, 0xc013, 0xc014, 0xc023,
            0xc027, 0x000a, 0x0005,
        ];
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, content: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend((content.len() as u16).to_be_bytes());
            extensions.extend_from_slice(content);
        };
        if let Some(name) = self.name.as_deref().filter(|name| name.len() < 256) {
            let length = name.len() as u16;
            let mut content = (length + 3).to_be_bytes().to_vec();
            content.push(0);
            content.extend(length.to_be_bytes());
            content.extend_from_slice(name.as_bytes());
            extension(0, &content);
        }
        extension(10, &[0, 4, 0, 23, 0, 24]);
        extension(11, &[1, 0]);
        extension(13, &[0, 8, 4, 1, 4, 3, 2, 1, 2, 3]);
        let mut hello = vec![3, version];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend((SUITES.len() as u16 * 2).to_be_bytes());
        hello.extend(SUITES.iter().flat_map(|suite| suite.to_be_bytes()));
        hello.extend([1, 0]);
        if version > 0 {
            hello.extend((extensions.len() as u16).to_be_bytes());
            hello.extend_from_slice(&extensions);
        }
        let mut message = vec![1, 0];
        message.extend((hello.len() as u16).to_be_bytes());
        message.extend_from_slice(&hello);
        let mut record = vec![22, 3, version.min(1)];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend_from_slice(&message);
        let mut socket = self.connect()?;
        socket.write_all(&record)?;
        // A handshake record with a ServerHello, or an alert, or nothing at all.
        let mut answer = [0; 6];
        Ok(socket.read_exact(&mut answer).is_ok() && answer[0] == 22 && answer[5] == 2)
    }
}

fn is_of_tls13(suite: Suite) -> bool {
    matches!(
        suite,
        Suite::TLS13_AES_128_GCM_SHA256
            | Suite::TLS13_AES_256_GCM_SHA384
            | Suite::TLS13_CHACHA20_POLY1305_SHA256
    )
}

fn read_head(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while bytes.len() < MOST_ANSWER {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            // An end without a goodbye is an end.
            _ => break,
        }
        if bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A field of a head; the name in lower case.
fn field(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned())
}

/// Does plain HTTP lead to TLS?
fn leads_to_tls(address: SocketAddr, host: &str) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let question = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(question.as_bytes())?;
        io::Result::Ok(read_head(&mut socket))
    };
    let head = ask().unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    matches!(status, "301" | "302" | "303" | "307" | "308")
        && field(&head, "location").is_some_and(|target| target.starts_with("https://"))
}

/// What a handshake shows of a certificate.
#[derive(Default, Debug)]
struct Glimpse {
    chain: Vec<Vec<u8>>,
    has_status: bool,
}

/// Trusts everybody and remembers what it saw.
#[derive(Default, Debug)]
struct Watch(Mutex<Glimpse>);

impl ServerCertVerifier for Watch {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        status: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock() = Glimpse {
            chain: (std::iter::once(own).chain(above))
                .map(|certificate| certificate.to_vec())
                .collect(),
            has_status: !status.is_empty(),
        };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        super::signature::check_possession(certificate, message, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        super::signature::check_possession(certificate, message, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider::provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// What scanners would say of what was seen at a time, in seconds since 1970: the grade, the grade
/// there would be if the certificate were trusted, and the reasons.
pub fn grade(seen: &Seen, now: i64) -> (Grade, Grade, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut add = |check, text: String, limit, advice| {
        findings.push(Finding {
            check,
            text,
            limit,
            advice,
        });
    };
    let speaks = |name: &str| seen.protocols.contains(&name);
    let is_old = ["SSLv3", "TLSv1", "TLSv1.1"].map(speaks);
    let limit = match (is_old, speaks("TLSv1.3"), speaks("TLSv1.2")) {
        ([true, ..], ..) => Some(Grade::F),
        (_, false, false) => Some(Grade::C),
        ([_, true, _] | [_, _, true], ..) => Some(Grade::B),
        (_, false, _) => Some(Grade::AMinus),
        _ => None,
    };
    let advice = limit.map(|_| "write `ssl_protocols TLSv1.2 TLSv1.3`");
    add("protocols", seen.protocols.join(", "), limit, advice);
    match seen.has_weak_suites {
        true => add(
            "ciphers",
            "suites without forward secrecy or authenticated encryption are spoken".into(),
            Some(Grade::B),
            Some("offer ECDHE suites with AES-GCM and ChaCha20 only"),
        ),
        false => add("ciphers", seen.suites.join(", "), None, None),
    }
    match seen.is_hybrid {
        true => add(
            "key exchange",
            "hybrid, safe from quantum computers".into(),
            None,
            None,
        ),
        false => add(
            "key exchange",
            "what is recorded today can be read by a quantum computer of tomorrow".into(),
            None,
            Some("offer `X25519MLKEM768` in `ssl_ecdh_curve`"),
        ),
    }
    if let Some(facts) = seen.chain.first().and_then(|der| Facts::read(der)) {
        let is_weak_key = facts
            .key
            .strip_prefix("RSA ")
            .is_some_and(|bits| bits.parse::<u32>().is_ok_and(|bits| bits < 2048));
        add(
            "key",
            facts.key.clone(),
            is_weak_key.then_some(Grade::B),
            is_weak_key.then_some("get a certificate with a key of ECDSA P-256"),
        );
        let is_weak_signature =
            facts.signature.contains("SHA-1") || facts.signature.contains("MD5");
        add(
            "signature",
            facts.signature.clone(),
            is_weak_signature.then_some(Grade::F),
            is_weak_signature.then_some("get a new certificate"),
        );
        let days = (facts.not_after - now).div_euclid(24 * 60 * 60);
        let (text, advice) = match facts.not_after - now {
            ..0 => (format!("has expired {} days ago", -days), Some("renew it")),
            left if left < SOON.min((facts.not_after - facts.not_before) / 3) => {
                (format!("ends in {days} days"), Some("renew it soon"))
            }
            _ => (format!("valid for {days} days"), None),
        };
        add("certificate", text, None, advice);
        if facts.must_staple && !seen.has_status {
            add(
                "status",
                "the certificate must be served with its status, and is not".into(),
                Some(Grade::F),
                Some("write `ssl_stapling on`"),
            );
        }
    }
    match &seen.distrust {
        None => add(
            "trust",
            "the chain leads to a trusted authority".into(),
            None,
            None,
        ),
        Some(why) => {
            let is_lonely = seen.chain.len() == 1;
            add(
                "trust",
                why.clone(),
                Some(Grade::T),
                Some(match is_lonely {
                    true => {
                        "serve the certificate with those between it and its authority, or get one from a trusted authority"
                    }
                    false => "get a certificate for this name from a trusted authority",
                }),
            );
        }
    }
    let age = seen.hsts.as_deref().map(max_age);
    let has_long_hsts = age.is_some_and(|age| age >= LONG_HSTS);
    let (text, advice) = match (&seen.hsts, has_long_hsts) {
        (None, _) => ("is not sent".into(), Some("write `hsts on;` in the server")),
        (Some(value), false) => (value.clone(), Some("make `max-age` half a year or more")),
        (Some(value), true) => (value.clone(), None),
    };
    add("hsts", text, (!has_long_hsts).then_some(Grade::A), advice);
    match seen.redirects {
        Some(true) => add("redirect", "plain HTTP leads here".into(), None, None),
        Some(false) => add(
            "redirect",
            "plain HTTP is answered without leading here".into(),
            None,
            Some("write `return 301 https://$host$request_uri` in the server without TLS"),
        ),
        None => {}
    }
    let worst = |with_trust: bool| {
        let limits = findings.iter().filter_map(|finding| finding.limit);
        let limits = limits.filter(|limit| with_trust || *limit != Grade::T);
        limits.max().unwrap_or(Grade::APlus)
    };
    (worst(true), worst(false), findings)
}

/// `max-age` of HSTS in seconds.
fn max_age(value: &str) -> u64 {
    let mut parts = value.split(';').map(str::trim);
    let age = parts.find_map(|part| {
        let (name, age) = part.split_once('=')?;
        name.eq_ignore_ascii_case("max-age")
            .then(|| age.trim_matches('"').parse().ok())?
    });
    age.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        Seen {
            protocols: vec!["TLSv1.3", "TLSv1.2"],
            is_hybrid: true,
            hsts: Some("max-age=63072000; includeSubDomains".into()),
            ..Seen::default()
        }
    }

    #[test]
    fn the_worst_finding_is_the_grade() {
        let of = |seen: Seen| grade(&seen, 0).0.name();
        assert_eq!(of(good()), "A+");
        assert_eq!(
            of(Seen {
                hsts: None,
                ..good()
            }),
            "A"
        );
        assert_eq!(
            of(Seen {
                hsts: Some("max-age=60".into()),
                ..good()
            }),
            "A"
        );
        assert_eq!(
            of(Seen {
                protocols: vec!["TLSv1.2"],
                ..good()
            }),
            "A-"
        );
        assert_eq!(
            of(Seen {
                has_weak_suites: true,
                ..good()
            }),
            "B"
        );
        let protocols = vec!["TLSv1.3", "TLSv1.2", "TLSv1.1"];
        assert_eq!(
            of(Seen {
                protocols,
                ..good()
            }),
            "B"
        );
        assert_eq!(
            of(Seen {
                protocols: vec!["TLSv1.1"],
                ..good()
            }),
            "C"
        );
        assert_eq!(
            of(Seen {
                protocols: vec!["SSLv3", "TLSv1.2"],
                ..good()
            }),
            "F"
        );
        let untrusted = Seen {
            distrust: Some("unknown issuer".into()),
            ..good()
        };
        assert_eq!(of(untrusted.clone()), "T");
        assert_eq!(grade(&untrusted, 0).1, Grade::APlus);
    }
}
