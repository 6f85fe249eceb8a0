//! `openclaw doctor`: what keeps the proxy from working, why, and the command that helps.
//!
//! It only looks. Invariant: nothing is changed, no file is made, and every question to the system
//! ends in a few seconds. What this user may not see is said, not guessed.

mod machine;
mod peers;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use nix::ifaddrs::getifaddrs;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;
use serde::Serialize;

use super::exit::Exit;
use super::figures::bytes;
use super::paint::Paint;
use super::session::{Failure, Session, print_json, setup};
use super::socket::{self, name_of_user};
use super::words::Daemon;
use super::{conf_file, print, problems};
use crate::conf::diagnostic::Severity;
use crate::conf::typed::Config;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::ServerName;
use crate::conf::typed::log::Target;
use crate::control::firewall::{self, Firewall, Passage, Rules};
use crate::process::{self, Setup, places};
use crate::protocol::{Problem, Summary};
use crate::unit::printable::escape;
use machine::Clock;
use ports::Listening;

/// How long names may take to resolve, all of them together.
const NAMES_PATIENCE: Duration = Duration::from_secs(4);

/// How many names are looked up.
const MAX_NAMES: usize = 64;

/// Less room than this is worth a word.
const LITTLE_ROOM: u64 = 512 << 20;

/// Less memory than this is worth a word.
const LITTLE_MEMORY: u64 = 64 << 20;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at, in a word.
    check: &'static str,
    /// What is so, and why it matters.
    text: String,
    /// What to type.
    commands: Vec<String>,
}

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
struct Findings {
    findings: Vec<Finding>,
    /// What is wrong with the configuration.
    problems: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, level: Level, check: &'static str, text: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding {
            level,
            check,
            text: text.into(),
            commands: Vec::new(),
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// How the program ends.
    fn exit(&self) -> Exit {
        let failed = |check: Option<&str>| {
            self.findings
                .iter()
                .any(|it| it.level == Level::Fail && check.is_none_or(|check| it.check == check))
        };
        match (failed(Some(CONFIGURATION)), failed(None)) {
            (true, _) => Exit::Configuration,
            (false, true) => Exit::Failed,
            (false, false) => Exit::Done,
        }
    }

    fn text(&self, paint: Paint) -> String {
        let mut out = problems::render(&self.problems, paint);
        for finding in &self.findings {
            let word = match finding.level {
                Level::Ok => paint.good("OK  "),
                Level::Warn => paint.warn("WARN"),
                Level::Fail => paint.bad("FAIL"),
            };
            out.push_str(&format!(
                "{word}  {:<13}  {}\n",
                finding.check,
                escape(&finding.text)
            ));
            for command in &finding.commands {
                out.push_str(&format!("{:21}$ {}\n", "", escape(command)));
            }
        }
        let number = |level| self.findings.iter().filter(|it| it.level == level).count();
        out.push_str(&format!(
            "{} ok, {} warnings, {} failures\n",
            number(Level::Ok),
            number(Level::Warn),
            number(Level::Fail)
        ));
        out
    }
}

impl Finding {
    fn command(&mut self, command: impl Into<String>) -> &mut Self {
        self.commands.push(command.into());
        self
    }
}

const CONFIGURATION: &str = "configuration";

/// Looks at everything and tells it.
pub fn run(daemon: &Daemon) -> ExitCode {
    let mut findings = Findings::default();
    let session = reach(daemon, &mut findings);
    let setup = match &session {
        Some(session) if daemon.conf.is_none() && daemon.prefix.is_none() => setup(&Daemon {
            conf: Some(session.status.conf.clone().into()),
            prefix: Some(session.status.prefix.clone().into()),
            ..daemon.clone()
        }),
        _ => setup(daemon),
    };
    let config = match setup {
        Ok(setup) => configuration(&setup, &mut findings).map(|config| (setup, config)),
        Err(error) => {
            findings
                .add(Level::Fail, CONFIGURATION, error.to_string())
                .command("openclaw --domain app.example.com --upstream 127.0.0.1:3000 --save openclaw.conf");
            None
        }
    };
    let wanted = config.as_ref().map_or_else(
        || BTreeSet::from([80, 443]),
        |(_, config)| wanted_ports(config),
    );
    listening(&wanted, session.as_ref(), &mut findings);
    bind_right(&wanted, session.as_ref(), &mut findings);
    firewalls(&wanted, &mut findings);
    if let Some((setup, config)) = &config {
        names(config, &mut findings);
        peers::look(config, &mut findings);
        room(setup, config, &mut findings);
        permissions(setup, config, session.as_ref(), &mut findings);
        open_files(config, session.as_ref(), &mut findings);
    }
    clock(session.as_ref(), &mut findings);
    memory(&mut findings);
    if daemon.json {
        print_json(&findings);
    } else {
        let paint = Paint::of(daemon.color, &std::io::stdout());
        print(&findings.text(paint));
    }
    findings.exit().into()
}

/// Is there a daemon, and is it of this version?
fn reach(daemon: &Daemon, findings: &mut Findings) -> Option<Session> {
    match Session::open(daemon) {
        Ok(session) => {
            let (theirs, ours) = (&session.status.version, env!("CARGO_PKG_VERSION"));
            let socket = session.client.socket().display().to_string();
            if theirs == ours {
                let text = format!("openclaw {ours} answers at {socket}");
                findings.add(Level::Ok, "daemon", text);
            } else {
                let text = format!(
                    "the daemon at {socket} is openclaw {theirs}, this program is {ours}: \
                     it was replaced and not restarted"
                );
                findings
                    .add(Level::Warn, "daemon", text)
                    .command("sudo systemctl restart openclaw");
            }
            Some(session)
        }
        Err(Failure::NoDaemon(tried)) => {
            let mut is_hidden = false;
            let mut reasons = Vec::new();
            for (path, error) in &tried.sockets {
                let (why, _) = socket::reason(path, error);
                reasons.push(format!("{} {why}", path.display()));
                is_hidden |= error.kind() == std::io::ErrorKind::PermissionDenied;
            }
            let text = format!("none answers: {}", reasons.join("; "));
            let finding = findings.add(Level::Warn, "daemon", text);
            finding.command(match is_hidden {
                true => "sudo openclaw doctor",
                false => "sudo systemctl start openclaw",
            });
            None
        }
        Err(Failure::Call(error)) => {
            findings.add(Level::Fail, "daemon", error.to_string());
            None
        }
        Err(Failure::Told(_, message)) => {
            let text = message.lines().collect::<Vec<_>>().join("; ");
            findings.add(Level::Fail, "daemon", text);
            None
        }
        Err(Failure::Quiet(_)) => None,
    }
}

/// Is the text of the configuration good? Nothing is opened for it, not even a log.
fn configuration(setup: &Setup, findings: &mut Findings) -> Option<Config> {
    let shown = setup.conf.display().to_string();
    if let Err(error) = fs::File::open(&setup.conf) {
        let finding = findings.add(Level::Fail, CONFIGURATION, format!("{shown}: {error}"));
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            finding.command("sudo openclaw doctor");
        }
        return None;
    }
    let (mut loaded, config) = conf_file::read(setup);
    if let Some(config) = &config {
        process::examine(config, &mut loaded);
    }
    for problem in &loaded.diagnostics {
        let span = problem.span();
        let sources = &loaded.sources;
        let (line, column) = sources.line_column(span);
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        findings.problems.push(Problem {
            code: problem.code.name().to_owned(),
            is_error: problem.severity == Severity::Error,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            file: sources.path(span.file).display().to_string(),
            line: number(line),
            column: number(column),
            width: number(sources.slice(span).chars().count()),
            source: sources.slice(sources.line_span(span.file, line)).to_owned(),
        });
    }
    let errors = findings.problems.iter().filter(|it| it.is_error).count();
    let warnings = findings.problems.len() - errors;
    let (level, text) = match (&config, warnings) {
        (None, _) => (Level::Fail, format!("{shown} has {errors} errors")),
        (Some(_), 0) => (Level::Ok, format!("{shown} is good")),
        (Some(_), _) => (
            Level::Warn,
            format!("{shown} is good, with {warnings} warnings"),
        ),
    };
    let finding = findings.add(level, CONFIGURATION, text);
    if level != Level::Ok {
        finding.command(format!("openclaw check -c {shown}"));
    }
    config
}

/// The ports that the configuration listens on.
fn wanted_ports(config: &Config) -> BTreeSet<u16> {
    let addresses = config.http.listens.iter().map(|listen| &listen.address);
    addresses
        .filter_map(|address| match address {
            Address::Ip(address) => Some(address.port()),
            Address::Unix(_) => None,
        })
        .collect()
}

/// Who listens on the ports of the configuration, and on those of the web?
fn listening(wanted: &BTreeSet<u16>, session: Option<&Session>, findings: &mut Findings) {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables: Vec<String> = tables.iter().flat_map(fs::read_to_string).collect();
    if tables.is_empty() {
        findings.add(
            Level::Warn,
            "ports",
            "the kernel does not tell who listens (no /proc/net)",
        );
        return;
    }
    let sockets: Vec<Listening> = tables.iter().flat_map(|it| ports::listening(it)).collect();
    let owners = ports::owners(Path::new("/proc"));
    let looked_at = wanted.iter().copied().chain([80, 443]);
    for port in looked_at.collect::<BTreeSet<u16>>() {
        let is_wanted = wanted.contains(&port);
        let here: Vec<&Listening> = sockets
            .iter()
            .filter(|it| it.address.port() == port)
            .collect();
        let seen: BTreeMap<u32, &ports::Owner> = here
            .iter()
            .filter_map(|it| owners.get(&it.inode))
            .map(|owner| (owner.pid, owner))
            .collect();
        let ours = session.map(|session| session.status.pid);
        let other = seen.values().find(|owner| Some(owner.pid) != ours);
        match (here.first(), other) {
            (None, _) if !is_wanted => {}
            (None, _) if session.is_some() => {
                findings
                    .add(
                        Level::Fail,
                        "ports",
                        format!(
                            "nobody listens on port {port}, although the configuration says so"
                        ),
                    )
                    .command("openclaw reload");
            }
            (None, _) => {
                findings.add(Level::Ok, "ports", format!("port {port} is free"));
            }
            // A web server on a port that we do not want is no fault, but good to know.
            (Some(_), Some(owner)) => {
                let (level, text) = match (is_wanted, session) {
                    (true, _) if owner.name == "openclaw" => (
                        Level::Warn,
                        format!(
                            "port {port} is taken by another openclaw (process {})",
                            owner.pid
                        ),
                    ),
                    (true, _) => (
                        Level::Fail,
                        format!(
                            "port {port} is taken by {} (process {})",
                            owner.name, owner.pid
                        ),
                    ),
                    (false, _) => (
                        Level::Warn,
                        format!(
                            "port {port} is taken by {} (process {}); the configuration does not \
                             want it now",
                            owner.name, owner.pid
                        ),
                    ),
                };
                findings
                    .add(level, "ports", text)
                    .command(ports::way_to_stop(owner, port));
            }
            (Some(_), None) if !seen.is_empty() => {
                let addresses: BTreeSet<String> =
                    here.iter().map(|it| it.address.to_string()).collect();
                let addresses: Vec<String> = addresses.into_iter().collect();
                findings.add(
                    Level::Ok,
                    "ports",
                    format!("this openclaw listens on {}", addresses.join(", ")),
                );
            }
            (Some(socket), None) => {
                // Files of other users' processes cannot be seen.
                let user = name_of_user(socket.uid);
                let is_probably_ours = session.is_some() && is_wanted;
                let level = if is_probably_ours {
                    Level::Ok
                } else {
                    Level::Warn
                };
                let finding = findings.add(
                    level,
                    "ports",
                    format!(
                        "a process of user `{user}` listens on port {port}; which one, only root \
                         can see"
                    ),
                );
                if !is_probably_ours {
                    finding.command(format!("sudo ss -ltnp 'sport = :{port}'"));
                }
            }
        }
    }
}

/// May the daemon, or this user, listen on low ports?
fn bind_right(wanted: &BTreeSet<u16>, session: Option<&Session>, findings: &mut Findings) {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    let start = ports::first_unprivileged(start.as_deref());
    let low: Vec<String> = wanted
        .iter()
        .filter(|port| **port < start)
        .map(u16::to_string)
        .collect();
    if low.is_empty() {
        return;
    }
    // A daemon that answers has bound what it needed; this is about the next start.
    if session.is_some() {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let low = low.join(", ");
    if ports::has_bind_right(&status) {
        let text = format!("this user may listen on ports below {start}");
        findings.add(Level::Ok, "rights", text);
        return;
    }
    let program = std::env::current_exe().unwrap_or_else(|_| "openclaw".into());
    findings
        .add(
            Level::Warn,
            "rights",
            format!(
                "user `{}` may not listen on port {low}: ports below {start} need a right; the \
                 service has it",
                name_of_user(geteuid().as_raw())
            ),
        )
        .command("sudo systemctl start openclaw")
        .command(format!(
            "sudo setcap cap_net_bind_service=+ep {}",
            program.display()
        ));
}

/// Do the firewalls of this machine let our ports pass?
fn firewalls(wanted: &BTreeSet<u16>, findings: &mut Findings) {
    let looked_at: BTreeSet<u16> = wanted.iter().copied().chain([80, 443]).collect();
    let ports: Vec<u16> = looked_at.into_iter().collect();
    let Some(firewall) = firewall::look() else {
        findings.add(
            Level::Ok,
            "firewall",
            "neither ufw nor firewalld nor nftables is in use on this machine; a firewall of \
             the provider cannot be seen from here",
        );
        return;
    };
    // The rules of the kernel are there on every machine; only a firewall by name is one that is on.
    if let ("nftables", Err(why)) = (firewall.name, &firewall.rules) {
        findings
            .add(
                Level::Warn,
                "firewall",
                format!("the rules of nftables cannot be seen: {why}"),
            )
            .command("sudo openclaw doctor");
        return;
    }
    tell_passages(&firewall, &ports, wanted, findings);
}

/// What opens ports in a firewall.
fn opening(firewall: &Firewall, ports: &[u16]) -> Vec<String> {
    match (firewall.name, &firewall.rules) {
        ("ufw", _) => {
            let command = |port: &u16| format!("sudo ufw allow {port}/tcp");
            ports.iter().map(command).collect()
        }
        ("firewalld", _) => {
            let options: Vec<String> = ports
                .iter()
                .map(|port| match port {
                    80 => "--add-service=http".to_owned(),
                    443 => "--add-service=https".to_owned(),
                    port => format!("--add-port={port}/tcp"),
                })
                .collect();
            vec![
                format!("sudo firewall-cmd --permanent {}", options.join(" ")),
                "sudo firewall-cmd --reload".to_owned(),
            ]
        }
        (_, Ok(Rules::Nftables(ruleset))) => {
            let stopping = ports
                .iter()
                .find_map(|port| firewall::nft_passage(ruleset, *port)?.1);
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let chain = stopping.as_ref().map_or_else(
                || "inet filter input".to_owned(),
                |it| format!("{} {} {}", it.family, it.table, it.name),
            );
            let ports = ports.join(", ");
            vec![format!(
                "sudo nft insert rule {chain} tcp dport '{{ {ports} }}' accept   # and write \
                 it into /etc/nftables.conf"
            )]
        }
        _ => Vec::new(),
    }
}

/// Tells what a firewall does with each port.
fn tell_passages(
    firewall: &Firewall,
    ports: &[u16],
    wanted: &BTreeSet<u16>,
    findings: &mut Findings,
) {
    let name = firewall.name;
    let rules = match &firewall.rules {
        Ok(rules) => rules,
        Err(why) => {
            let text = format!("{name} is on, but what it lets pass cannot be seen: {why}");
            let finding = findings.add(Level::Warn, "firewall", text);
            finding.command("sudo openclaw doctor");
            finding.commands.extend(opening(firewall, ports));
            return;
        }
    };
    let of = |wanted: Passage| -> Vec<u16> {
        let ports = ports.iter().copied();
        ports
            .filter(|port| rules.passage(*port) == wanted)
            .collect()
    };
    let shown = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        ports.join(", ")
    };
    let open = of(Passage::Open);
    if !open.is_empty() {
        let text = format!("{name} lets port {} pass", shown(&open));
        findings.add(Level::Ok, "firewall", text);
    }
    let (needed, spare): (Vec<u16>, Vec<u16>) = of(Passage::Closed)
        .into_iter()
        .partition(|port| wanted.contains(port));
    for (ports, level, why) in [
        (needed, Level::Fail, "nobody outside reaches it"),
        (spare, Level::Warn, "the configuration does not want it now"),
    ] {
        if !ports.is_empty() {
            let text = format!("{name} stops port {}: {why}", shown(&ports));
            let finding = findings.add(level, "firewall", text);
            finding.commands = opening(firewall, &ports);
        }
    }
    let unknown = of(Passage::Unknown);
    if !unknown.is_empty() {
        let text = format!(
            "{name} lets port {} pass under conditions that cannot be decided here",
            shown(&unknown)
        );
        findings.add(Level::Warn, "firewall", text);
    }
}

/// Do the names of the servers lead to this machine?
fn names(config: &Config, findings: &mut Findings) {
    let names: BTreeSet<String> = config
        .http
        .servers
        .iter()
        .flat_map(|server| &server.names)
        .filter_map(|name| match name {
            ServerName::Exact(name) | ServerName::SelfOrSuffix(name) => {
                let name = String::from_utf8_lossy(name);
                Some(name.trim_start_matches('.').to_owned())
            }
            ServerName::Suffix(_) | ServerName::Prefix(_) | ServerName::Regex(_) => None,
        })
        // `_` and words without a dot are names for nobody.
        .filter(|name| name.contains('.') && name.parse::<IpAddr>().is_err())
        .collect();
    if names.is_empty() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    let looked_up: Vec<String> = names.iter().take(MAX_NAMES).cloned().collect();
    let answers = runtime.block_on(async {
        let deadline = tokio::time::Instant::now() + NAMES_PATIENCE;
        let tasks: Vec<_> = looked_up
            .iter()
            .map(|name| {
                let name = name.clone();
                tokio::spawn(async move {
                    let found = tokio::net::lookup_host((name.as_str(), 80)).await;
                    found.map(|them| them.map(|it| it.ip()).collect::<BTreeSet<IpAddr>>())
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(match tokio::time::timeout_at(deadline, task).await {
                Ok(Ok(answer)) => answer.map_err(|error| error.to_string()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            });
        }
        answers
    });
    // A name that hangs holds a thread; nobody waits for it.
    runtime.shutdown_background();
    let own = own_addresses();
    let mut good = Vec::new();
    for (name, answer) in looked_up.iter().zip(answers) {
        match name_finding(name, answer, &own) {
            Ok(()) => good.push(name.as_str()),
            Err(text) => {
                findings
                    .add(Level::Warn, "names", text)
                    .command(format!("getent ahosts {name}"));
            }
        }
    }
    if !good.is_empty() {
        let text = match good.len() {
            1..=4 => format!("{} leads to this machine", good.join(", ")),
            number => format!("{number} names lead to this machine"),
        };
        findings.add(Level::Ok, "names", text);
    }
    if names.len() > MAX_NAMES {
        let text = format!("{} more names were not looked up", names.len() - MAX_NAMES);
        findings.add(Level::Warn, "names", text);
    }
}

/// Is the answer about a name good? If not, what is to be said.
fn name_finding(
    name: &str,
    answer: Result<BTreeSet<IpAddr>, String>,
    own: &BTreeSet<IpAddr>,
) -> Result<(), String> {
    let found = match answer {
        Ok(found) if found.is_empty() => return Err(format!("{name} has no address")),
        Ok(found) => found,
        Err(why) => return Err(format!("{name} does not resolve: {why}")),
    };
    if found
        .iter()
        .any(|address| own.contains(address) || address.is_loopback())
    {
        return Ok(());
    }
    let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    Err(format!(
        "{name} leads to {}, which is no address of this machine; that is right only behind a \
         router, a load balancer or a CDN",
        found.join(", ")
    ))
}

fn own_addresses() -> BTreeSet<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return BTreeSet::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        })
        .collect()
}

/// Is there room where something is written?
fn room(setup: &Setup, config: &Config, findings: &mut Findings) {
    let places = places::of(setup, &config.process);
    let mut directories = BTreeMap::from([(places.state, "state")]);
    for directory in log_directories(config) {
        directories.entry(directory).or_insert("logs");
    }
    if let Some(directory) = setup.conf.parent() {
        directories
            .entry(directory.to_owned())
            .or_insert("configuration");
    }
    for (directory, what) in directories {
        let Some(room) = machine::room(&directory) else {
            continue;
        };
        let shown = directory.display();
        let text = format!(
            "{} ({}%) and {}% of the files left for {what} in {shown}",
            bytes(room.bytes),
            room.bytes_percent,
            room.files_percent
        );
        let level = match (room.bytes, room.files_percent) {
            (0, _) | (_, 0) => Level::Fail,
            (bytes, _) if bytes < LITTLE_ROOM => Level::Warn,
            (_, 0..5) => Level::Warn,
            _ => Level::Ok,
        };
        let finding = findings.add(level, "disk", text);
        if level != Level::Ok {
            finding.command(format!("df -h {shown}; df -i {shown}"));
        }
    }
}

/// The directories of all logs with fixed names.
fn log_directories(config: &Config) -> BTreeSet<PathBuf> {
    let errors = config.process.error_logs.iter().map(|log| &log.target);
    let access = config
        .http
        .servers
        .iter()
        .flat_map(|server| server.settings.access_logs.iter())
        .map(|log| &log.target);
    errors
        .chain(access)
        .filter_map(|target| match target {
            Target::File(path) => path.parent().map(Path::to_owned),
            Target::FileTemplate(_) | Target::Stderr | Target::Syslog(_) => None,
        })
        .collect()
}

/// Are files read and written by whom they should be?
fn permissions(setup: &Setup, config: &Config, session: Option<&Session>, findings: &mut Findings) {
    let conf = setup.conf.display();
    let before = findings.findings.len();
    if let Ok(about) = fs::metadata(&setup.conf)
        && about.permissions().mode() & 0o002 != 0
    {
        let text = format!("everybody on this machine can change {conf}");
        findings
            .add(Level::Fail, "permissions", text)
            .command(format!("sudo chmod o-w {conf}"));
    }
    if let Some(why) = session.and_then(|session| session.status.read_only.as_ref()) {
        let text = format!("the daemon cannot change the configuration: {why}");
        findings.add(Level::Warn, "permissions", text);
    }
    if let Some(error) = session.and_then(|session| session.status.store.error.as_ref()) {
        let text = format!("the store is not in use: {error}");
        findings.add(Level::Fail, "store", text);
    }
    let places = places::of(setup, &config.process);
    // The daemon's user, if it runs, owns its socket.
    let socket = match session {
        Some(session) => Some(session.client.socket().to_owned()),
        None => places.socket,
    };
    let socket = socket.and_then(|path| Some((fs::symlink_metadata(&path).ok()?, path)));
    if let Some((about, path)) = &socket {
        let mode = about.mode() & 0o777;
        if mode & 0o077 != 0 {
            let shown = path.display();
            let text = format!(
                "the control socket {shown} has mode {mode:04o}: others than its owner can \
                 control the proxy"
            );
            findings
                .add(Level::Warn, "permissions", text)
                .command(format!("sudo chmod 600 {shown}"));
        }
    }
    let state = places.state.display();
    match fs::metadata(&places.state) {
        Ok(about) => {
            if about.mode() & 0o022 != 0 {
                let text = format!("others than its owner can write in {state}");
                findings
                    .add(Level::Fail, "permissions", text)
                    .command(format!("sudo chmod go-w {state}"));
            }
            let owner = socket.as_ref().map(|(about, _)| about.uid());
            if let Some(owner) = owner.filter(|owner| *owner != about.uid()) {
                let user = name_of_user(owner);
                let text = format!(
                    "{state} is of user `{}`, the daemon is `{user}`",
                    name_of_user(about.uid())
                );
                findings
                    .add(Level::Fail, "permissions", text)
                    .command(format!("sudo chown -R {user} {state}"));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let text = format!("{state} cannot be looked at: {error}");
            findings
                .add(Level::Warn, "permissions", text)
                .command("sudo openclaw doctor");
        }
    }
    if findings.findings.len() == before {
        let text = "configuration, state and socket are safe from other users";
        findings.add(Level::Ok, "permissions", text);
    }
}

/// May the daemon have as many files open as it may have connections?
fn open_files(config: &Config, session: Option<&Session>, findings: &mut Findings) {
    let process = &config.process;
    let needed = (process.workers as u64).saturating_mul(process.worker_connections as u64);
    let limits = session.and_then(|session| {
        let path = format!("/proc/{}/limits", session.status.pid);
        machine::open_files(&fs::read_to_string(path).ok()?)
    });
    let limit = match limits {
        Some(limit) => limit,
        None => match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((_, hard)) => hard,
            Err(_) => return,
        },
    };
    let text = format!(
        "{needed} connections ({} workers of {}) and at most {limit} open files",
        process.workers, process.worker_connections
    );
    if limit >= needed {
        findings.add(Level::Ok, "open files", text);
        return;
    }
    findings
        .add(Level::Warn, "open files", text)
        .command(format!(
            "sudo systemctl edit openclaw   # [Service] LimitNOFILE={}",
            needed.saturating_mul(2)
        ));
}

fn clock(session: Option<&Session>, findings: &mut Findings) {
    let now = Timestamp::now();
    // What authorities say of the time is worth more than what this machine thinks of itself.
    let summary = session.and_then(|session| session.get::<Summary>("/v1/summary").ok());
    if let Some(summary) = summary.filter(|summary| !summary.certificate_states.clock.is_empty()) {
        let seen = escape(&summary.certificate_states.clock).into_owned();
        findings
            .add(Level::Fail, "clock", seen)
            .command("sudo timedatectl set-ntp true");
        return;
    }
    match machine::clock(now, machine::clock_is_steered()) {
        Clock::Synchronized => {
            findings.add(Level::Ok, "clock", format!("{now:.0}, kept right"));
        }
        Clock::Unknown => {
            findings.add(Level::Ok, "clock", format!("{now:.0}"));
        }
        Clock::Free => {
            findings
                .add(
                    Level::Warn,
                    "clock",
                    format!("{now:.0}, and nothing keeps it right: certificates need it"),
                )
                .command("sudo timedatectl set-ntp true");
        }
        Clock::Wrong(year) => {
            findings
                .add(Level::Fail, "clock", format!("it says the year {year}"))
                .command("sudo timedatectl set-ntp true");
        }
    }
}

fn memory(findings: &mut Findings) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(available) = machine::memory_available(&meminfo) else {
        return;
    };
    let text = format!("{} available", bytes(available));
    let level = match available < LITTLE_MEMORY {
        true => Level::Warn,
        false => Level::Ok,
    };
    let finding = findings.add(level, "memory", text);
    if level != Level::Ok {
        finding.command("ps axo rss,pid,comm --sort -rss | head");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_with_their_commands_and_decide_the_exit_code() {
        let mut findings = Findings::default();
        findings.add(Level::Ok, "clock", "right");
        assert_eq!(findings.exit(), Exit::Done);
        findings
            .add(Level::Fail, "ports", "port 80 is taken by \x1b[2Jnginx")
            .command("sudo systemctl disable --now nginx");
        assert_eq!(findings.exit(), Exit::Failed);
        assert_eq!(
            findings.text(Paint::PLAIN),
            "OK    clock          right\n\
             FAIL  ports          port 80 is taken by ^[[2Jnginx\n                     \
             $ sudo systemctl disable --now nginx\n\
             1 ok, 0 warnings, 1 failures\n"
        );
        findings.add(Level::Fail, CONFIGURATION, "errors");
        assert_eq!(findings.exit(), Exit::Configuration);
    }

    #[test]
    fn a_name_is_good_if_it_leads_here() {
        let set = |text: &[&str]| -> BTreeSet<IpAddr> {
            text.iter()
                .map(|it| it.parse().expect("an address"))
                .collect()
        };
        let own = set(&["192.0.2.7"]);
        assert_eq!(
            name_finding("a.test", Ok(set(&["192.0.2.7", "192.0.2.8"])), &own),
            Ok(())
        );
        let said = name_finding("a.test", Ok(set(&["192.0.2.8"])), &own).expect_err("elsewhere");
        assert!(said.contains("192.0.2.8"), "{said}");
        let said = name_finding("a.test", Err("NXDOMAIN".to_owned()), &own).expect_err("none");
        assert!(said.contains("does not resolve: NXDOMAIN"), "{said}");
    }

    #[test]
    fn every_port_of_a_firewall_is_told_with_the_command_that_opens_it() {
        let mut findings = Findings::default();
        let wanted = BTreeSet::from([80, 8443]);
        let status = "Status: active\n\n80/tcp    ALLOW    Anywhere\n8443    DENY    Anywhere\n";
        let ports = [80, 443, 8443];
        let firewall = |rules| Firewall { name: "ufw", rules };
        let seen = firewall(Ok(Rules::Ufw(status.to_owned())));
        tell_passages(&seen, &ports, &wanted, &mut findings);
        let told: Vec<_> = findings
            .findings
            .iter()
            .map(|it| (it.level, it.commands.join(" ")))
            .collect();
        let expected = [
            (Level::Ok, String::new()),
            (Level::Fail, "sudo ufw allow 8443/tcp".to_owned()),
            (Level::Warn, "sudo ufw allow 443/tcp".to_owned()),
        ];
        assert_eq!(told, expected);
        let hidden = firewall(Err("you need to be root".to_owned()));
        tell_passages(&hidden, &ports, &wanted, &mut findings);
        let last = findings.findings.last().expect("told");
        assert_eq!(last.level, Level::Warn);
        assert!(last.commands.contains(&"sudo openclaw doctor".to_owned()));
    }
}
