//! The own small authority: certificates for names that no public one certifies, because they mean
//! something in one house only.
//!
//! Owns its root (a key and a certificate in the state directory) and what that root may vouch for.
//! Whoever trusts the root trusts it with local names and private addresses and nothing else: the
//! constraints in it (RFC 5280 section 4.2.1.10) hold in every client, so a stolen key cannot speak
//! for a bank. Invariants: the key is readable by its owner only, nothing is written half, and a root
//! that is there is never replaced, whatever is wrong with it.

use std::error::Error;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXUPPER;
use nix::fcntl::{Flock, FlockArg};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ordering::generate;
use crate::conf::local_names::{SUFFIXES, is_below};
use crate::conf::typed::acme::KeyKind;
use crate::tls::pem;

/// What the root calls itself.
pub const NAME: &str = "OpenClaw local authority";

/// The directory of the root inside of the state directory.
pub const DIRECTORY: &str = "authority";

const CERTIFICATE: &str = "root.pem";
const KEY: &str = "root.key";
const LOCK: &str = "lock";

/// Names of one part below which somebody in the world has names: the root never vouches for them,
/// though they may be wanted.
const PUBLIC: &[&str] = &[
    "ai", "app", "art", "biz", "blog", "box", "cc", "cloud", "club", "co", "com", "dev", "edu",
    "eu", "gov", "info", "int", "io", "link", "live", "me", "mil", "mobi", "name", "net",
    "network", "news", "online", "onion", "org", "page", "pro", "shop", "site", "space", "store",
    "tech", "top", "tv", "us", "web", "wiki", "world", "xyz", "zone",
];

/// Addresses that mean something inside a network only.
const NETWORKS: &[(&str, u8)] = &[
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("127.0.0.0", 8),
    ("fc00::", 7),
    ("fe80::", 10),
    ("::1", 128),
];

const DAY: Duration = Duration::from_secs(86_400);

/// How long the root is good for.
const ROOT_DAYS: u32 = 3652;

/// How long what it signs is good for.
const LEAF_DAYS: u32 = 90;

/// Clocks of clients may be behind by so much.
const EARLIER: Duration = Duration::from_secs(3600);

/// A file of the root is not larger.
const MOST_BYTES: u64 = 64 * 1024;

/// Is this a name of one part below which others have names?
pub fn is_public(label: &str) -> bool {
    PUBLIC
        .iter()
        .any(|public| label.eq_ignore_ascii_case(public))
}

/// The root of the authority.
pub struct Authority {
    directory: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    facts: Facts,
}

/// What a root says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The file of its certificate.
    pub path: PathBuf,
    /// SHA-256 of its certificate: `AB:CD:…`.
    pub fingerprint: String,
    /// Until when it is good.
    pub not_after: SystemTime,
    /// The names for which, or below which, it may sign.
    pub names: Vec<String>,
    /// Its certificate in PEM.
    pub pem: String,
}

/// A certificate that the root has signed.
pub struct Issued {
    /// The certificate and its root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// When the next one should be in its place: two thirds of its life are over then.
    pub renewal: SystemTime,
    /// Until when it is good.
    pub not_after: SystemTime,
}

impl Authority {
    /// The root in this directory (of the state directory), made if there is none. `labels` are names
    /// of one part (`nas`) that a new root shall vouch for besides all names below [`SUFFIXES`]: no
    /// constraint can say "all names of one part", so each must be known when the root is made. What
    /// is no such name, or a public one, is left out.
    pub fn open(directory: &Path, labels: &[&str]) -> Result<Self, AuthorityError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        if !directory.exists() {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            made.map_err(failed(directory))?;
        }
        // Two processes that share the directory make one root.
        let path = directory.join(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        let _lock = lock.map_err(|(_, error)| failed(&path)(error.into()))?;
        if let Some(authority) = Self::existing(directory)? {
            return Ok(authority);
        }
        let only_owner = fs::Permissions::from_mode(0o700);
        fs::set_permissions(directory, only_owner).map_err(failed(directory))?;
        let key_path = directory.join(KEY);
        // A key without a certificate is left by an end between the two writes; nobody has seen a
        // certificate of it, so it is as good as a new one.
        let key = match read(&key_path)? {
            Some(pem) => parse_key(&key_path, &pem)?,
            None => {
                let key = KeyPair::generate().map_err(AuthorityError::Signing)?;
                write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
                key
            }
        };
        let parameters = root_parameters(labels)?;
        let certificate = parameters
            .self_signed(&key)
            .map_err(AuthorityError::Signing)?;
        let path = directory.join(CERTIFICATE);
        write(&path, certificate.pem().as_bytes(), 0o644)?;
        match Self::existing(directory)? {
            Some(authority) => Ok(authority),
            None => Err(failed(&path)(io::ErrorKind::NotFound.into())),
        }
    }

    /// The root in this directory, if there is one. It is not changed, whatever is wrong with it.
    pub fn existing(directory: &Path) -> Result<Option<Self>, AuthorityError> {
        let path = directory.join(CERTIFICATE);
        let Some(facts) = facts(directory)? else {
            return Ok(None);
        };
        let key_path = directory.join(KEY);
        let Some(pem) = read(&key_path)? else {
            return Err(AuthorityError::Unusable {
                path,
                problem: format!("its key `{}` is missing", key_path.display()),
            });
        };
        let key = parse_key(&key_path, &pem)?;
        let unusable = |problem: &str| AuthorityError::Unusable {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        let certificate = CertificateDer::from_pem_slice(facts.pem.as_bytes())
            .map_err(|_| unusable("it is no certificate"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| unusable("it is no certificate"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(unusable("it does not belong to its key"));
        }
        if facts.not_after <= SystemTime::now() {
            return Err(unusable("it has expired"));
        }
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Signing)?;
        Ok(Some(Self {
            directory: directory.to_owned(),
            certificate,
            issuer,
            facts,
        }))
    }

    /// What its root says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// A certificate with a new key for these names and addresses. Does not block for long, but an RSA
    /// key takes a second.
    pub fn issue(&self, names: &[&str], kind: KeyKind) -> Result<Issued, AuthorityError> {
        let mut alternatives = Vec::new();
        for name in names {
            alternatives.push(self.alternative(name)?);
        }
        let Some(first) = names.first() else {
            return Err(AuthorityError::NotPermitted(Box::default()));
        };
        let signing = AuthorityError::Signing;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        // RFC 5280 appendix A.1: no longer than 64 characters. Nobody reads it but people.
        if first.len() <= 64 {
            parameters
                .distinguished_name
                .push(DnType::CommonName, *first);
        }
        parameters.subject_alt_names = alternatives;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        parameters.serial_number = Some(serial_number()?);
        let now = SystemTime::now();
        // No longer than its root.
        let not_after = (now + DAY * LEAF_DAYS).min(self.facts.not_after);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        parameters.not_before = epoch + since_epoch(now - EARLIER);
        parameters.not_after = epoch + since_epoch(not_after);
        let key = generate(kind).map_err(signing)?;
        let leaf = parameters.signed_by(&key, &self.issuer).map_err(signing)?;
        let life = not_after.duration_since(now).unwrap_or_default();
        Ok(Issued {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            renewal: now + life * 2 / 3,
            not_after,
        })
    }

    /// May the root sign for this name or address?
    pub fn vouches_for(&self, name: &str) -> bool {
        self.alternative(name).is_ok()
    }

    /// A name as a certificate has it, if the root may sign for it.
    fn alternative(&self, name: &str) -> Result<SanType, AuthorityError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let refused = || AuthorityError::NotPermitted(name.as_str().into());
        if let Some(address) = address(&name) {
            return match is_local_address(address) {
                true => Ok(SanType::IpAddress(address)),
                false => Err(refused()),
            };
        }
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        let is_permitted = |permitted: &String| is_below(bare, permitted);
        let is_fine = bare.split('.').all(is_label) && self.facts.names.iter().any(is_permitted);
        match Ia5String::try_from(name.as_str()) {
            Ok(text) if is_fine => Ok(SanType::DnsName(text)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// What the certificate of the root in this directory says, without its key.
pub fn facts(directory: &Path) -> Result<Option<Facts>, AuthorityError> {
    let path = directory.join(CERTIFICATE);
    let Some(text) = read(&path)? else {
        return Ok(None);
    };
    let unusable = |problem: &str| AuthorityError::Unusable {
        path: path.clone(),
        problem: problem.to_owned(),
    };
    let certificate = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| unusable("it is no certificate"))?;
    let (_, parsed) =
        X509Certificate::from_der(&certificate).map_err(|_| unusable("it is no certificate"))?;
    if !parsed.is_ca() {
        return Err(unusable("it is not the certificate of an authority"));
    }
    let constraints = parsed.name_constraints().ok().flatten();
    let permitted = constraints.and_then(|it| it.value.permitted_subtrees.as_ref());
    let Some(permitted) = permitted else {
        // Ours have them; one without could speak for the whole world.
        return Err(unusable("it is not constrained to local names"));
    };
    let mut names = Vec::new();
    let mut has_networks = false;
    for subtree in permitted {
        let is_ours = match subtree.base {
            GeneralName::DNSName(name) => {
                let name = name.to_ascii_lowercase();
                let is_ours = SUFFIXES.contains(&name.as_str()) || is_label(&name);
                names.push(name);
                is_ours && names.last().is_some_and(|name| !is_public(name))
            }
            GeneralName::IPAddress(network) => {
                has_networks = true;
                is_local_network(network)
            }
            _ => true,
        };
        if !is_ours {
            return Err(unusable("it could speak for more than local names"));
        }
    }
    // RFC 5280 section 4.2.1.10: a kind of names that no subtree is for is not constrained.
    if names.is_empty() || !has_networks {
        return Err(unusable("it is not constrained to local names"));
    }
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    let digest = Sha256::digest(&certificate);
    let pairs: Vec<String> = digest
        .iter()
        .map(|byte| HEXUPPER.encode(&[*byte]))
        .collect();
    Ok(Some(Facts {
        names,
        not_after: UNIX_EPOCH + Duration::from_secs(seconds),
        fingerprint: pairs.join(":"),
        path,
        // Not the file as it is: what else is in it nobody has looked at.
        pem: pem::write("CERTIFICATE", &certificate),
    }))
}

/// Why there is no root, or no certificate of it.
#[derive(Debug)]
pub enum AuthorityError {
    /// A file or directory cannot be read or written.
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A root is there and cannot be used.
    Unusable {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The root may not sign for this name.
    NotPermitted(Box<str>),
    /// The machine cannot make keys or signatures.
    Signing(rcgen::Error),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => {
                write!(formatter, "cannot use `{}`", path.display())
            }
            Self::Unusable { path, problem } => write!(
                formatter,
                "the root `{}` cannot be used: {problem} (hint: it is never replaced; put a copy \
                 back, or move the whole directory away and trust the new root that is made)",
                path.display()
            ),
            Self::NotPermitted(name) if !name.is_empty() && !name.contains('.') => write!(
                formatter,
                "the root may not sign for `{name}`: names of one part must be known when it is made \
                 (hint: use `{name}.lan` or `{name}.home.arpa`)"
            ),
            Self::NotPermitted(name) => write!(
                formatter,
                "the root may not sign for `{name}`: it is no local name and no private address"
            ),
            Self::Signing(_) => write!(formatter, "cannot make a key or a certificate"),
        }
    }
}

impl Error for AuthorityError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Signing(source) => Some(source),
            Self::Unusable { .. } | Self::NotPermitted(_) => None,
        }
    }
}

fn root_parameters(labels: &[&str]) -> Result<CertificateParams, AuthorityError> {
    let mut names: Vec<String> = SUFFIXES.iter().map(|name| (*name).to_owned()).collect();
    for label in labels {
        let label = label.to_ascii_lowercase();
        // One that cannot be vouched for must not cost the others theirs; that it is not is told by
        // whoever wants its certificate.
        if is_label(&label) && label.len() > 1 && !names.contains(&label) {
            names.push(label);
        }
    }
    // A part such as `com` would let the root speak for everything below it.
    names.retain(|name| !is_public(name));
    let mut permitted: Vec<_> = names.into_iter().map(GeneralSubtree::DnsName).collect();
    for (address, length) in NETWORKS {
        // The table holds addresses only; a test reads them all.
        if let Ok(address) = address.parse() {
            let network = CidrSubnet::from_addr_prefix(address, *length);
            permitted.push(GeneralSubtree::IpAddress(network));
        }
    }
    let now = SystemTime::now();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, NAME);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: Vec::new(),
    });
    parameters.serial_number = Some(serial_number()?);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + since_epoch(now - EARLIER);
    parameters.not_after = epoch + since_epoch(now + DAY * ROOT_DAYS);
    Ok(parameters)
}

/// 127 random bits: positive, and no longer than RFC 5280 section 4.1.2.2 allows.
fn serial_number() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| AuthorityError::Signing(rcgen::Error::RingUnspecified))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// How long after 1970 a time is, in the whole seconds that certificates count.
fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(since.as_secs())
}

fn address(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name).parse().ok()
}

fn is_local_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_private() || it.is_loopback() || it.is_link_local(),
        IpAddr::V6(it) => {
            it == Ipv6Addr::LOCALHOST || it.is_unique_local() || it.is_unicast_link_local()
        }
    }
}

/// Is this a part of one of [`NETWORKS`]? An address and a mask, as RFC 5280 section 4.2.1.10 has them.
fn is_local_network(network: &[u8]) -> bool {
    let (address, mask) = network.split_at(network.len() / 2);
    NETWORKS.iter().any(|(own, length)| {
        let own = match own.parse() {
            Ok(IpAddr::V4(own)) => own.octets().to_vec(),
            Ok(IpAddr::V6(own)) => own.octets().to_vec(),
            Err(_) => return false,
        };
        let is_same = |bit: u8| {
            let (byte, bit) = (usize::from(bit / 8), 0x80 >> (bit % 8));
            mask[byte] & bit != 0 && (address[byte] ^ own[byte]) & bit == 0
        };
        own.len() == address.len() && mask.len() == own.len() && (0..*length).all(is_same)
    })
}

fn is_label(label: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(sign)
        // Digits alone are a part of an address.
        && !label.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pem(pem).map_err(|_| AuthorityError::Unusable {
        path: path.to_owned(),
        problem: "it is no key".to_owned(),
    })
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    let failed = |source| AuthorityError::File {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    // What is no text is no PEM, which whoever reads it says.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a file whole or not at all, and never in the place of another.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let fresh = path.with_extension("new");
    let write = || {
        // What is left of an earlier end is not a file of anybody.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a renaming this fails if the name is taken.
        fs::hard_link(&fresh, path)?;
        fs::remove_file(&fresh)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    fn opened() -> (tempfile::TempDir, Authority) {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::open(&directory.path().join(DIRECTORY), &["nas"]);
        (directory, authority.expect("made"))
    }

    /// Does OpenSSL accept what was issued for this name?
    fn verifies(directory: &Path, root: &Path, issued: &Issued, name: &str) -> bool {
        let leaf = directory.join("leaf.der");
        fs::write(&leaf, &issued.chain[0]).expect("written");
        let option = match address(name) {
            Some(_) => "-verify_ip",
            None => "-verify_hostname",
        };
        let output = Command::new("openssl")
            .args([
                "verify",
                "-x509_strict",
                "-no-CApath",
                "-no-CAstore",
                "-CAfile",
            ])
            .arg(root)
            .args([option, name])
            .arg(&leaf)
            .output()
            .expect("`openssl` must be installed");
        output.status.success()
    }

    #[test]
    fn openssl_accepts_what_the_root_signs_for_each_kind_of_name_and_key() {
        let (directory, authority) = opened();
        let names = [
            "printer.local",
            "*.box.lan",
            "nas",
            "192.168.7.1",
            "fd00::7",
        ];
        for kind in [
            KeyKind::EcdsaP256,
            KeyKind::EcdsaP384,
            KeyKind::EcdsaP521,
            KeyKind::Rsa(2048),
        ] {
            let issued = authority.issue(&names, kind).expect("issued");
            let verifies =
                |name| verifies(directory.path(), &authority.facts().path, &issued, name);
            for name in [
                "printer.local",
                "x.box.lan",
                "nas",
                "192.168.7.1",
                "fd00::7",
            ] {
                assert!(verifies(name), "{name} with {kind:?}");
            }
            assert!(!verifies("other.local") && !verifies("192.168.7.2"));
            assert_eq!(issued.chain.len(), 2);
        }
    }

    #[test]
    fn what_the_root_may_not_vouch_for_is_neither_signed_nor_believed() {
        let (directory, authority) = opened();
        for name in ["example.org", "8.8.8.8", "other", "a..lan", "*.*.lan", ""] {
            let error = authority.issue(&[name], KeyKind::EcdsaP256).err();
            let error = error.unwrap_or_else(|| panic!("{name} was signed"));
            assert!(matches!(error, AuthorityError::NotPermitted(_)), "{error}");
        }
        assert!(authority.issue(&[], KeyKind::EcdsaP256).is_err());
        // With the key stolen and the rules above gone, clients refuse still.
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["example.org".to_owned()]).expect("a name");
        let leaf = parameters
            .signed_by(&key, &authority.issuer)
            .expect("signed");
        let stolen = Issued {
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            renewal: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
        };
        let root = &authority.facts().path;
        assert!(!verifies(directory.path(), root, &stolen, "example.org"));
    }

    #[test]
    fn a_certificate_lives_for_ninety_days_and_is_renewed_after_sixty() {
        let (_directory, authority) = opened();
        let before = SystemTime::now();
        let issued = authority
            .issue(&["a.lan"], KeyKind::EcdsaP256)
            .expect("issued");
        let after = SystemTime::now();
        assert!((before + DAY * 60..=after + DAY * 60).contains(&issued.renewal));
        assert!((before + DAY * 90..=after + DAY * 90).contains(&issued.not_after));
        let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).expect("a certificate");
        let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert_eq!(life, 90 * 86_400 + 3600);
        let (_, root) = X509Certificate::from_der(&issued.chain[1]).expect("a certificate");
        assert!(root.is_ca() && root.validity().not_after.timestamp() > 0);
        let again = authority
            .issue(&["a.lan"], KeyKind::EcdsaP256)
            .expect("issued");
        let (_, again) = X509Certificate::from_der(&again.chain[0]).expect("a certificate");
        assert_ne!(leaf.raw_serial(), again.raw_serial());
    }

    #[test]
    fn the_root_is_made_once_and_only_its_owner_can_read_its_key() {
        let (directory, authority) = opened();
        let place = directory.path().join(DIRECTORY);
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join(KEY)), 0o600);
        assert_eq!(mode(&place.join(LOCK)), 0o600);
        let again = Authority::open(&place, &["other"]).expect("it is there");
        assert_eq!(again.facts(), authority.facts());
        assert!(again.facts().names.contains(&"nas".to_owned()));
        assert!(!format!("{again:?}").contains("PRIVATE"));
        let mut files: Vec<_> = fs::read_dir(&place)
            .expect("a directory")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        files.sort();
        assert_eq!(files, [LOCK, KEY, CERTIFICATE]);
    }

    #[test]
    fn many_at_a_time_make_one_root() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join(DIRECTORY);
        let open = || {
            let authority = Authority::open(&place, &[]).expect("made or there");
            authority.facts().fingerprint.clone()
        };
        let prints: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|it| it.join().expect("fine"))
                .collect()
        });
        assert!(prints.iter().all(|it| *it == prints[0]), "{prints:?}");
    }

    #[test]
    fn an_end_between_the_key_and_the_certificate_loses_nothing() {
        let (directory, authority) = opened();
        let place = directory.path().join(DIRECTORY);
        let key = fs::read(place.join(KEY)).expect("there");
        fs::remove_file(place.join(CERTIFICATE)).expect("removed");
        fs::write(place.join("root.new"), "half a cert").expect("written");
        assert!(Authority::existing(&place).expect("no error").is_none());
        let again = Authority::open(&place, &[]).expect("made");
        assert_eq!(fs::read(place.join(KEY)).expect("there"), key);
        assert_ne!(again.facts().fingerprint, authority.facts().fingerprint);
        assert!(!place.join("root.new").exists());
    }

    #[test]
    fn a_root_that_cannot_be_used_is_told_and_left_as_it_is() {
        let other = KeyPair::generate().expect("a key").serialize_pem();
        let unbound = {
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            parameters.self_signed(&key).expect("signed").pem()
        };
        for (file, text, expected) in [
            (CERTIFICATE, "garbage", "it is no certificate"),
            (CERTIFICATE, "", "it is no certificate"),
            (
                CERTIFICATE,
                &*unbound,
                "it is not constrained to local names",
            ),
            (KEY, "garbage", "it is no key"),
            (KEY, &*other, "it does not belong to its key"),
        ] {
            let (directory, _) = opened();
            let place = directory.path().join(DIRECTORY);
            fs::write(place.join(file), text).expect("written");
            let error = Authority::open(&place, &[])
                .expect_err("unusable")
                .to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read_to_string(place.join(file)).expect("there"), text);
        }
        let (directory, _) = opened();
        let place = directory.path().join(DIRECTORY);
        fs::remove_file(place.join(KEY)).expect("removed");
        let error = Authority::open(&place, &[])
            .expect_err("unusable")
            .to_string();
        assert!(error.contains("is missing"), "{error}");
        assert!(!place.join(KEY).exists());
    }

    #[test]
    fn a_name_that_the_root_may_not_have_costs_the_others_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let labels = ["example.org", "", "*", "a", "dev", "Com", "nas"];
        let place = directory.path().join("one");
        let root = Authority::open(&place, &labels).expect("made");
        let beyond = |name: &&String| !SUFFIXES.contains(&name.as_str());
        let labels: Vec<_> = root.facts().names.iter().filter(beyond).collect();
        assert_eq!(labels, ["nas"]);
        for name in ["nas", "a.lan", "nas.fritz.box", "10.0.0.1"] {
            assert!(root.vouches_for(name), "{name}");
        }
        for name in ["dev", "a.onion", "8.8.8.8", "100.64.0.1", "example.org"] {
            assert!(!root.vouches_for(name), "{name}");
        }
    }

    #[test]
    fn a_root_that_could_speak_for_others_is_not_used_and_nothing_beside_it_is_read() {
        let (directory, authority) = opened();
        let place = directory.path().join(DIRECTORY);
        let only = facts(&place).expect("fine").expect("there");
        let other = KeyPair::generate().expect("a key");
        let with = |subtrees: Vec<GeneralSubtree>| {
            let mut parameters = root_parameters(&[]).expect("parameters");
            parameters.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees,
                excluded_subtrees: Vec::new(),
            });
            parameters.self_signed(&other).expect("signed").pem()
        };
        let path = place.join(CERTIFICATE);
        fs::write(&path, format!("{}{}", only.pem, with(Vec::new()))).expect("written");
        assert_eq!(
            facts(&place).expect("fine").as_ref(),
            Some(authority.facts())
        );
        let name = |name: &str| GeneralSubtree::DnsName(name.to_owned());
        let network = |text: &str, length| {
            let address = text.parse().expect("an address");
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, length))
        };
        let local = || vec![name("lan"), network("10.0.0.0", 8)];
        for (subtrees, is_fine) in [
            (local(), true),
            (vec![name("nas"), network("192.168.7.0", 24)], true),
            (vec![name("lan")], false),
            (vec![network("10.0.0.0", 8)], false),
            ([local(), vec![name("example.org")]].concat(), false),
            ([local(), vec![name("com")]].concat(), false),
            ([local(), vec![name("")]].concat(), false),
            ([local(), vec![network("0.0.0.0", 0)]].concat(), false),
            ([local(), vec![network("10.0.0.0", 7)]].concat(), false),
            ([local(), vec![network("8.0.0.0", 8)]].concat(), false),
        ] {
            fs::write(&path, with(subtrees.clone())).expect("written");
            assert_eq!(facts(&place).is_ok(), is_fine, "{subtrees:?}");
        }
    }

    #[test]
    fn every_network_of_the_table_is_one_and_local() {
        for (text, _) in NETWORKS {
            let address: IpAddr = text.parse().expect("an address");
            assert!(is_local_address(address), "{text}");
        }
    }
}
