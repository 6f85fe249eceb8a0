//! `openclaw audit`: the TLS of the configuration's servers as strangers see it, graded; where nobody
//! listens yet, as they would see it.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::exit::Exit;
use super::paint::Paint;
use super::session::{Failure, print_json};
use super::words::Daemon;
use super::{conf_file, print};
use crate::conf::typed::Config;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::Server;
use crate::conf::typed::tls::ServerTls;
use crate::tls::audit::{Audit, Grade, grade};
use crate::tls::clients::certificates_of;
use crate::unit::clock;
use crate::unit::printable::escape;

/// One server at one address.
struct Target {
    address: SocketAddr,
    name: Option<String>,
    /// Where the same name is served without TLS.
    plain: Option<SocketAddr>,
    /// What the configuration says of it, if it says anything.
    server: Option<Arc<Server>>,
}

impl Target {
    /// What is written of it, with what it sends as HSTS.
    fn written(&self) -> Option<(&ServerTls, Option<String>)> {
        let server = self.server.as_ref()?;
        let settings = &server.settings;
        let added = (settings.add_headers.iter()).find(|field| {
            field
                .name
                .eq_ignore_ascii_case(b"strict-transport-security")
        });
        let value = settings.hsts.as_deref();
        let value = value.or_else(|| added.and_then(|field| field.value.literal()));
        let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
        Some((server.tls.as_deref()?, value))
    }
}

/// What is printed of one.
#[derive(Serialize)]
struct Report {
    server: String,
    address: String,
    /// Nothing if nobody speaks TLS there.
    grade: Option<&'static str>,
    /// The grade if the certificate were trusted.
    if_trusted: Option<&'static str>,
    error: Option<String>,
    /// Nobody listens there: it is what the configuration says.
    is_foreseen: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    text: String,
    /// The best grade that there is with it.
    limit: Option<&'static str>,
    advice: Option<&'static str>,
}

/// Looks at a server of the configuration, at an address, or at all servers.
pub fn run(what: Option<&str>, ca: Option<&Path>, daemon: &Daemon) -> Result<(), Failure> {
    let more = match ca {
        None => Vec::new(),
        Some(path) => certificates_of(path)
            .map_err(|error| Failure::failed(format!("`{}`: {error}", path.display())))?,
    };
    let mut reports = Vec::new();
    let mut is_good = true;
    for target in targets(what, daemon)? {
        let (report, is_fine) = look(&target, &more);
        reports.push(report);
        is_good &= is_fine;
    }
    if daemon.json {
        print_json(&reports);
    } else {
        let paint = Paint::of(daemon.color, &std::io::stdout());
        print(&text(&reports, paint));
    }
    match is_good {
        true => Ok(()),
        false => Err(Failure::Quiet(Exit::Failed)),
    }
}

/// The report, and whether it is a B or better.
fn look(target: &Target, more: &[rustls::pki_types::CertificateDer<'static>]) -> (Report, bool) {
    let audit = Audit::new(target.address, target.name.as_deref(), more);
    let mut report = Report {
        server: target.name.clone().unwrap_or_default(),
        address: target.address.to_string(),
        grade: None,
        if_trusted: None,
        error: None,
        is_foreseen: false,
        findings: Vec::new(),
    };
    let looked = audit.look(target.plain);
    let refused = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    let seen = match (looked, target.written()) {
        (Ok(seen), _) => seen,
        (Err(error), Some((tls, hsts))) if refused(&error) => match audit.foresee(tls, hsts) {
            Ok(seen) => {
                report.is_foreseen = true;
                seen
            }
            Err(why) => {
                report.error = Some(format!("nobody listens there, and {why}"));
                return (report, false);
            }
        },
        (Err(error), _) => {
            report.error = Some(error.to_string());
            return (report, false);
        }
    };
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    let (grade, if_trusted, findings) = grade(&seen, now);
    report.grade = Some(grade.name());
    report.if_trusted = Some(if_trusted.name());
    report.findings = (findings.into_iter())
        .map(|found| Finding {
            check: found.check,
            text: found.text,
            limit: found.limit.map(Grade::name),
            advice: found.advice,
        })
        .collect();
    (report, grade <= Grade::B)
}

/// Whom to look at.
fn targets(what: Option<&str>, daemon: &Daemon) -> Result<Vec<Target>, Failure> {
    if let Some((host, port)) = what.and_then(|what| what.rsplit_once(':'))
        && let Ok(port) = port.parse::<u16>()
    {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, port).to_socket_addrs();
        let address = addresses
            .map_err(|error| Failure::failed(format!("`{host}` cannot be looked up: {error}")))?
            .next()
            .ok_or_else(|| Failure::failed(format!("`{host}` has no address")))?;
        let name = host.parse::<IpAddr>().is_err().then(|| host.to_owned());
        return Ok(vec![Target {
            address,
            name,
            plain: None,
            server: None,
        }]);
    }
    let (_, config) = conf_file::read_good(daemon)?;
    let targets = targets_of(&config, what);
    match (targets.is_empty(), what) {
        (false, _) => Ok(targets),
        (true, Some(what)) => {
            let text = format!("no server with TLS is called `{what}`");
            Err(Failure::failed(text))
        }
        (true, None) => Err(Failure::failed("no server has TLS".to_owned())),
    }
}

fn targets_of(config: &Config, what: Option<&str>) -> Vec<Target> {
    let http = &config.http;
    let of = |is_secure: bool, server: usize| {
        let listens = http.listens.iter();
        let listens = listens.filter(move |listen| listen.options.ssl == is_secure);
        let listens = listens.filter(move |listen| listen.servers.contains(&server));
        listens.filter_map(|listen| match &listen.address {
            Address::Ip(address) => Some(reachable(*address)),
            Address::Unix(_) => None,
        })
    };
    let mut targets = Vec::new();
    for (position, server) in http.servers.iter().enumerate() {
        if server.tls.as_ref().is_none_or(|tls| tls.rejects) {
            continue;
        }
        let name = String::from_utf8_lossy(&server.primary_name).into_owned();
        let is_name =
            !name.is_empty() && !name.starts_with(['*', '.', '~', '_']) && !name.ends_with('*');
        let name = is_name.then_some(name);
        if what.is_some_and(|what| name.as_deref() != Some(what)) {
            continue;
        }
        // The same name without TLS, here or in a server of its own.
        let own = |(other, server): (usize, &Arc<Server>)| {
            let is_same = server.primary_name == http.servers[position].primary_name;
            is_same.then(|| of(false, other).next()).flatten()
        };
        let plain = http.servers.iter().enumerate().find_map(own);
        targets.extend(of(true, position).map(|address| Target {
            address,
            name: name.clone(),
            plain,
            server: Some(Arc::clone(server)),
        }));
    }
    targets
}

/// Where a socket that is bound to every address is reached on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn text(reports: &[Report], paint: Paint) -> String {
    let mut out = String::new();
    for report in reports {
        let server = match report.server.is_empty() {
            true => report.address.clone(),
            false => format!("{} at {}", escape(&report.server), report.address),
        };
        let Some(grade) = report.grade else {
            let error = report.error.as_deref().unwrap_or_default();
            out.push_str(&format!("{server}: {}\n", paint.bad(&escape(error))));
            continue;
        };
        let shown = match grade {
            "A+" | "A" => paint.good(grade),
            "A-" | "B" => paint.warn(grade),
            _ => paint.bad(grade),
        };
        out.push_str(&format!("{server}: {shown}"));
        if report.is_foreseen {
            out.push_str(" by the configuration, nobody listens there yet");
        }
        if let Some(other) = report.if_trusted.filter(|other| *other != grade) {
            out.push_str(&format!(" ({other} if it were trusted)"));
        }
        out.push('\n');
        for finding in &report.findings {
            let limit = finding.limit.unwrap_or("");
            let text = escape(&finding.text);
            out.push_str(&format!("  {limit:2}  {:<13}  {text}\n", finding.check));
            if let Some(advice) = finding.advice {
                out.push_str(&format!("{:21}{advice}\n", ""));
            }
        }
    }
    out
}
