//! `openclaw cert`: the certificates, what is done about them, and what is in their way.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::config::{agree, read};
use super::exit::Exit;
use super::figures::{age, date_time};
use super::paint::Paint;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{Agreement, CertificateName, CertificateWord, Daemon};
use super::{complain, conf_file, passwd, print};
use crate::conf::check::closest;
use crate::control;
use crate::protocol::{
    self, Certificate, CertificateSource, CertificateState, Certificates, Done, Import, Imported,
    Level, Millis, Preflight, Terms, TermsAgreement, Trouble,
};
use crate::tls::{file, pfx};
use crate::unit::printable::escape;

/// How many names of a certificate stand in a row of the table.
const NAMES: usize = 3;

/// As the record names this program.
const CLIENT: &str = "cli";

/// Does what the word says.
pub fn run(word: Option<&CertificateWord>, outer: &Daemon) -> Result<(), Failure> {
    let Some(word) = word else {
        return list(outer);
    };
    match word {
        CertificateWord::List { daemon } => list(&daemon.or(outer)),
        CertificateWord::Show(name) => show(&name.daemon.or(outer), &name.name),
        CertificateWord::Renew {
            certificate,
            agreement,
        } => renew(&open(certificate, outer)?, &certificate.name, *agreement),
        CertificateWord::Import {
            certificate,
            cert,
            key,
            password_file,
            agreement,
        } => {
            let brought = Brought::read(cert, key.as_deref(), password_file.as_deref())?;
            let session = open(certificate, outer)?;
            import(&session, &certificate.name, brought, *agreement)
        }
        CertificateWord::Why(name) => why(&name.daemon.or(outer), &name.name),
        CertificateWord::Agree {
            email,
            agreement,
            daemon,
        } => {
            let session = Session::open(&daemon.or(outer))?;
            agree_to_terms(&session, email.as_deref().unwrap_or(""), *agreement)
        }
    }
}

/// The options of the daemon that go with a word, to end as it went.
pub fn daemon(word: Option<&CertificateWord>, outer: &Daemon) -> Daemon {
    match word {
        None => outer.clone(),
        Some(CertificateWord::Show(name) | CertificateWord::Why(name)) => name.daemon.or(outer),
        Some(
            CertificateWord::Renew { certificate, .. }
            | CertificateWord::Import { certificate, .. },
        ) => certificate.daemon.or(outer),
        Some(CertificateWord::List { daemon } | CertificateWord::Agree { daemon, .. }) => {
            daemon.or(outer)
        }
    }
}

fn open(certificate: &CertificateName, outer: &Daemon) -> Result<Session, Failure> {
    Session::open(&certificate.daemon.or(outer))
}

/// The certificates as the daemon has them; without one, as the files of the configuration say.
fn certificates(daemon: &Daemon) -> Result<(Certificates, Paint, Millis), Failure> {
    match Session::open(daemon) {
        Ok(session) => {
            let listed = session.get("/v1/certificates")?;
            Ok((listed, session.paint, session.status.now))
        }
        Err(Failure::NoDaemon(tried)) if daemon.socket.is_none() => {
            // Whoever has no configuration either wants to know where the daemon was looked for.
            let Some((loaded, config)) = conf_file::read_quietly(daemon) else {
                return Err(Failure::NoDaemon(tried));
            };
            complain("openclaw: [notice] no daemon answers: this is what the files say");
            let now = control::now();
            let listed = control::certificates_of_files(&config.http, &loaded.sources, now);
            let paint = Paint::of(daemon.color, &std::io::stdout());
            Ok((listed, paint, now))
        }
        Err(failure) => Err(failure),
    }
}

fn list(daemon: &Daemon) -> Result<(), Failure> {
    let (listed, _, now) = certificates(daemon)?;
    if daemon.json {
        print_json(&listed);
    } else if listed.certificates.is_empty() {
        print("no certificates: no server listens with `ssl`\n");
    } else {
        print(&table(&listed, now).text());
    }
    Ok(())
}

fn show(daemon: &Daemon, name: &str) -> Result<(), Failure> {
    let (listed, paint, now) = certificates(daemon)?;
    let found = all_named(&listed, name)?;
    if daemon.json {
        print_json(&found);
    } else {
        let texts = found
            .iter()
            .map(|certificate| details(certificate, now, paint, &TimeZone::system()));
        print(&texts.collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// The certificates with a name: two servers may have one each.
fn all_named<'c>(listed: &'c Certificates, name: &str) -> Result<Vec<&'c Certificate>, Failure> {
    let found: Vec<_> = listed
        .certificates
        .iter()
        .filter(|certificate| certificate.is_named(name))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names = || {
        let all = listed.certificates.iter();
        all.flat_map(|certificate| certificate.names.iter().map(String::as_str))
    };
    let hint = match closest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`openclaw cert list` shows all, `openclaw cert why {name}` looks further"),
    };
    Err(Failure::failed(format!(
        "there is no certificate for `{name}`\nhint: {hint}"
    )))
}

fn renew(session: &Session, name: &str, agreement: Agreement) -> Result<(), Failure> {
    let listed: Certificates = session.get("/v1/certificates")?;
    let found = all_named(&listed, name)?;
    let limits = found
        .iter()
        .filter_map(|it| it.managed.as_ref())
        .map(|managed| managed.limits.as_str())
        .find(|limits| !limits.is_empty());
    // Who has to ask the authority too often waits for a week.
    if let Some(limits) = limits
        && !agreement.yes
    {
        complain(&escape(limits));
        agree(agreement, "get a new certificate now?")?;
    }
    let asked = protocol::CertificateName {
        name: name.to_owned(),
    };
    done(session, &session.post("/v1/certificates/renew", &asked)?);
    Ok(())
}

fn done(session: &Session, done: &Done) {
    if session.json {
        print_json(done);
    } else {
        print(&format!("{}\n", escape(&done.text)));
    }
}

/// A certificate and its key, both PEM.
struct Brought {
    certificate: String,
    key: String,
}

impl Brought {
    /// Reads one from files: PEM with the key in the same file or another, or a container of both.
    fn read(
        certificate: &Path,
        key: Option<&Path>,
        passwords: Option<&Path>,
    ) -> Result<Self, Failure> {
        let failed = |path: &Path, why: &dyn std::fmt::Display| {
            Failure::failed(format!("`{}`: {why}", path.display()))
        };
        let (bytes, _) =
            file::read(certificate).map_err(|problem| failed(certificate, &problem))?;
        let is_container = certificate.extension().is_some_and(|kind| {
            kind.eq_ignore_ascii_case("pfx") || kind.eq_ignore_ascii_case("p12")
        });
        // A container is a SEQUENCE; PEM never begins so.
        if key.is_none() && (is_container || bytes.first() == Some(&0x30)) {
            let password = match passwords {
                Some(path) => {
                    let (text, _) = file::read(path).map_err(|problem| failed(path, &problem))?;
                    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                }
                None => passwd::ask(&format!("Password of {}: ", certificate.display()))
                    .map_err(|error| failed(certificate, &error))?,
            };
            let password = std::str::from_utf8(&password)
                .map_err(|_| Failure::failed("the password is not UTF-8"))?;
            let contents =
                pfx::read(&bytes, password).map_err(|locked| failed(certificate, &locked))?;
            if contents.key.is_empty() {
                return Err(failed(certificate, &"there is no key in it"));
            }
            return Ok(Self {
                certificate: contents.certificates,
                key: contents.key.to_string(),
            });
        }
        let text = |path: &Path| {
            let read = fs::File::open(path).and_then(read);
            read.map_err(|error| failed(path, &error))
        };
        Ok(Self {
            certificate: text(certificate)?,
            key: text(key.unwrap_or(certificate))?,
        })
    }
}

fn import(
    session: &Session,
    name: &str,
    brought: Brought,
    agreement: Agreement,
) -> Result<(), Failure> {
    let import = Import {
        name: name.to_owned(),
        certificate: brought.certificate,
        key: brought.key,
        dry_run: true,
        client: CLIENT.to_owned(),
    };
    let path = "/v1/certificates/import";
    let planned: Imported = session.post(path, &import)?;
    let mut said = String::new();
    for warning in &planned.warnings {
        let warning = format!("warning: {}", escape(warning));
        let _ = writeln!(said, "{}", session.paint.warn(&warning));
    }
    let (served, zone) = (&planned.certificate, TimeZone::system());
    let _ = writeln!(
        said,
        "{} by {}, until {}",
        escape(&served.names.join(", ")),
        escape(&served.issuer),
        date_time(served.not_after, &zone)
    );
    said.push_str(&session.paint.diff(&planned.diff));
    match session.json {
        true => complain(said.trim_end_matches('\n')),
        false => print(&said),
    }
    agree(agreement, "serve this certificate?")?;
    let imported: Imported = session.post(
        path,
        &Import {
            dry_run: false,
            ..import
        },
    )?;
    if session.json {
        print_json(&imported);
        return Ok(());
    }
    for file in &imported.files {
        print(&format!("wrote {}\n", escape(file)));
    }
    match planned.diff.is_empty() {
        true => print("the certificate is served\n"),
        false => print(&format!("revision {} is in force\n", imported.revision)),
    }
    Ok(())
}

fn agree_to_terms(session: &Session, email: &str, agreement: Agreement) -> Result<(), Failure> {
    let listed: Certificates = session.get("/v1/certificates")?;
    let mut all: Vec<&Terms> = listed
        .certificates
        .iter()
        .filter_map(|it| it.managed.as_ref()?.terms.as_ref())
        .collect();
    all.sort_unstable_by_key(|terms| &terms.issuer);
    all.dedup();
    for terms in all {
        complain(&format!(
            "the terms of {}: {}",
            escape(&terms.issuer),
            escape(&terms.url)
        ));
    }
    agree(agreement, "do you agree to the terms of the authority?")?;
    let agreed = TermsAgreement {
        issuer: String::new(),
        email: email.to_owned(),
    };
    done(session, &session.post("/v1/certificates/agree", &agreed)?);
    Ok(())
}

fn why(daemon: &Daemon, name: &str) -> Result<(), Failure> {
    let asked = protocol::CertificateName {
        name: name.to_owned(),
    };
    let session = Session::open(daemon)?;
    let mut preflight: Preflight = session.post("/v1/certificates/why", &asked)?;
    // The daemon is not root and may not see the rules of the firewall.
    let mut checks = preflight.checks.iter_mut();
    let hidden = checks.find(|check| check.subject == "firewall" && check.level == Level::Info);
    if let Some(hidden) = hidden
        && geteuid().is_root()
    {
        *hidden = session
            .runtime
            .block_on(control::firewall_check(&[80, 443]));
    }
    let paint = session.paint;
    if daemon.json {
        print_json(&preflight);
    } else {
        print(&text_of(&preflight, paint, &TimeZone::system()));
    }
    match preflight.checks.iter().any(|it| it.level == Level::Bad) {
        true => Err(Failure::Quiet(Exit::Failed)),
        false => Ok(()),
    }
}

/// What a preflight saw, a line each.
fn text_of(preflight: &Preflight, paint: Paint, zone: &TimeZone) -> String {
    let mut out = String::new();
    for check in &preflight.checks {
        let word = match check.level {
            Level::Good => paint.good("OK  "),
            Level::Info => "INFO".to_owned(),
            Level::Warn => paint.warn("WARN"),
            Level::Bad => paint.bad("FAIL"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{word}  {:<11}  {}",
            escape(&check.subject),
            escape(&check.seen)
        );
        if !check.advice.is_empty() {
            let _ = writeln!(out, "{:19}hint: {}", "", escape(&check.advice));
        }
    }
    if let Some(trouble) = &preflight.last_error {
        let _ = writeln!(out, "last attempt {}", told(trouble, zone));
    }
    out
}

/// An attempt that failed, in one line.
fn told(trouble: &Trouble, zone: &TimeZone) -> String {
    let mut text = format!("{}: {}", date_time(trouble.at, zone), escape(&trouble.text));
    if !trouble.authority.is_empty() {
        let _ = write!(text, "; the authority said: {}", escape(&trouble.authority));
    }
    text
}

/// The state in a word or two.
fn state(certificate: &Certificate) -> String {
    let failures = certificate.managed.as_ref().map_or(0, |it| it.failures);
    match certificate.state {
        CertificateState::Failed if failures > 1 => format!("failed {failures}"),
        state => state.name().to_owned(),
    }
}

/// What is left, in days, or what is left of the last one.
fn left(certificate: &Certificate, now: Millis) -> String {
    match &certificate.served {
        Some(served) if served.days_left == 0 && served.not_after > now => {
            age((served.not_after - now) / 1000)
        }
        Some(served) => format!("{} d", served.days_left),
        None => "–".to_owned(),
    }
}

/// When something happens next.
fn next(certificate: &Certificate, now: Millis) -> String {
    let Some(managed) = &certificate.managed else {
        return match certificate.source {
            CertificateSource::Files { .. } => "manual".to_owned(),
            _ => "–".to_owned(),
        };
    };
    match managed.next {
        _ if managed.is_busy => "now".to_owned(),
        Some(next) if next <= now => "now".to_owned(),
        Some(next) => {
            let wait = age((next - now) / 1000);
            match managed.failures {
                0 => format!("in {wait}"),
                _ => format!("retry in {wait}"),
            }
        }
        None => "–".to_owned(),
    }
}

/// The first names, and how many more there are.
fn names(certificate: &Certificate) -> String {
    let all = &certificate.names;
    let mut text = all[..all.len().min(NAMES)].join(", ");
    if let more @ 1.. = all.len().saturating_sub(NAMES) {
        let _ = write!(text, ", +{more}");
    }
    text
}

fn table(listed: &Certificates, now: Millis) -> Table {
    let mut table = Table::new(&[
        ("NAMES", Side::Left),
        ("STATE", Side::Left),
        ("LEFT", Side::Right),
        ("RENEWAL", Side::Left),
        ("FROM", Side::Left),
        ("ISSUER", Side::Left),
        ("KEY", Side::Left),
        ("CHALLENGE", Side::Left),
        ("USED BY", Side::Left),
        ("NOTE", Side::Left),
    ]);
    let or_none = |text: &str| match text {
        "" => "–".to_owned(),
        text => text.to_owned(),
    };
    for certificate in &listed.certificates {
        let served = certificate.served.as_ref();
        let managed = certificate.managed.as_ref();
        let servers = certificate.used_by.iter().map(|it| it.server.as_str());
        table.row([
            names(certificate),
            state(certificate),
            left(certificate, now),
            next(certificate, now),
            certificate.source.name().to_owned(),
            or_none(served.map_or("", |it| &it.issuer)),
            or_none(served.map_or("", |it| &it.key)),
            or_none(managed.map_or("", |it| &it.challenge)),
            or_none(&servers.collect::<Vec<_>>().join(", ")),
            certificate.remark.clone(),
        ]);
    }
    table
}

/// Everything about one.
fn details(certificate: &Certificate, now: Millis, paint: Paint, zone: &TimeZone) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} {text}", paint.heading(&format!("{name:<11}")));
    };
    line("names", &escape(&certificate.names.join(", ")));
    let state = state(certificate);
    let state = match certificate.level() {
        Level::Good => paint.good(&state),
        Level::Info => state,
        Level::Warn => paint.warn(&state),
        Level::Bad => paint.bad(&state),
    };
    match certificate.remark.as_str() {
        "" => line("state", &state),
        remark => line("state", &format!("{state}: {}", escape(remark))),
    }
    line(
        "from",
        &match &certificate.source {
            CertificateSource::Files { certificate, key } => {
                format!("{}, key {}", escape(certificate), escape(key))
            }
            CertificateSource::Issuer { name, uri } => {
                format!("{}, {}", escape(name), escape(uri))
            }
            source => source.name().to_owned(),
        },
    );
    for (position, user) in certificate.used_by.iter().enumerate() {
        let name = if position == 0 { "used by" } else { "" };
        let text = format!(
            "{} on {} ({}:{})",
            escape(match user.server.as_str() {
                "" => "_",
                server => server,
            }),
            escape(&user.listens.join(", ")),
            escape(&user.file),
            user.line
        );
        line(name, &text);
    }
    if let Some(served) = &certificate.served {
        let issuer = match served.organization.as_str() {
            "" => escape(&served.issuer).into_owned(),
            organization => format!("{} ({})", escape(&served.issuer), escape(organization)),
        };
        line("issuer", &issuer);
        let days = served.days_left;
        line(
            "valid",
            &format!(
                "{} to {}, {days} days left",
                date_time(served.not_before, zone),
                date_time(served.not_after, zone)
            ),
        );
        line("key", &escape(&served.key));
        line("signature", &escape(&served.signature));
        line("serial", &escape(&served.serial));
        line("sha256", &escape(&served.sha256));
        if served.names != certificate.names {
            line("has names", &escape(&served.names.join(", ")));
        }
        for (position, link) in served.chain.iter().enumerate() {
            let name = if position == 0 { "chain" } else { "" };
            let text = format!(
                "{}, {}, until {}",
                escape(&link.subject),
                escape(&link.key),
                date_time(link.not_after, zone)
            );
            line(name, &text);
        }
    }
    if let Some(managed) = &certificate.managed {
        if !managed.challenge.is_empty() {
            line("challenge", &escape(&managed.challenge));
        }
        line("renewal", &next(certificate, now));
        if let Some(used) = managed.last_used {
            let used = date_time(used, zone);
            line("on demand", &format!("a client asked for it last {used}"));
        }
        if !managed.limits.is_empty() {
            line("limits", &escape(&managed.limits));
        }
        if let Some(terms) = &managed.terms {
            line("terms", &escape(&terms.url));
        }
        if let Some(trouble) = &managed.last_error {
            line("last error", &told(trouble, zone));
        }
        for (position, entry) in managed.log.iter().enumerate() {
            let name = if position == 0 { "log" } else { "" };
            let text = format!("{} {}", date_time(entry.at, zone), escape(&entry.text));
            line(name, &text);
        }
    }
    out
}
