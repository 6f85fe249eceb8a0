//! The words and what stands behind each: the syntax only.
//!
//! A word stands first on the command line. Those that ask the daemon share [`Daemon`].

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::args::Color;

/// Words that stand first on the command line.
#[derive(clap::Parser, Clone, PartialEq, Eq, Debug)]
#[command(
    name = "openclaw",
    about = "A personal proxy that speaks the nginx configuration language",
    disable_help_subcommand = true,
    disable_version_flag = true
)]
pub enum Word {
    /// Say how the daemon does, in plain text
    Status {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show the busiest routes and the backends, once a second
    Top {
        /// Show it once and end; so it is when the output is no terminal
        #[arg(long)]
        once: bool,
        /// How many routes [default: what fits, or 20]
        #[arg(short = 'n', value_name = "N")]
        rows: Option<usize>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List the routes in the order in which they match
    Routes {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Explain what would happen to a request
    Route {
        /// The method, if it is not GET, and the URL
        #[arg(required = true, num_args = 1..=2, value_name = "[METHOD] URL")]
        request: Vec<String>,
        /// The address of the client [default: 127.0.0.1]
        #[arg(long, value_name = "IP")]
        client: Option<std::net::IpAddr>,
        /// A field of the request, such as 'Accept: text/html'; may be repeated
        #[arg(short = 'H', value_name = "FIELD")]
        fields: Vec<Field>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List the peers of upstreams, drain them, weight them
    Backends {
        /// What to do with a peer; without it they are listed
        #[command(subcommand)]
        change: Option<PeerWord>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Keep a client out, list who is, let them in again
    #[command(args_conflicts_with_subcommands = true)]
    Ban {
        /// What to do; without it, and without an address, the bans are listed
        #[command(subcommand)]
        action: Option<BanWord>,
        /// An address or a network
        #[arg(value_name = "ADDRESS|NETWORK")]
        address: Option<String>,
        /// For so long, such as 30m, 1h or 7d [default: for good]
        #[arg(long = "for", value_name = "TIME", requires = "address")]
        time: Option<String>,
        /// Why, for those who look at the list
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        reason: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Make, list, change and replace keys for language models
    Key {
        /// What to do; without it they are listed
        #[command(subcommand)]
        action: Option<Box<KeyWord>>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell what calls of language models have cost
    Spend {
        /// By what: key, gateway, user, model, provider or day
        #[arg(long, value_name = "WHAT", default_value = "key")]
        by: SpendWord,
        /// From this day in UTC on, such as 2026-11-01 [default: 30 days]
        #[arg(long, value_name = "DAY")]
        from: Option<String>,
        /// Up to this day [default: today]
        #[arg(long, value_name = "DAY")]
        to: Option<String>,
        /// Print comma-separated values
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Make a configuration of that of another gateway to models
    Import {
        /// Of which
        #[command(subcommand)]
        from: ImportWord,
    },
    /// Tell the prices and limits of language models
    Models {
        /// Part of a name, or a name with its provider: openai/gpt-4o; without it all are listed
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the providers of language models, test them
    Providers {
        #[command(subcommand)]
        action: Option<ProviderWord>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List alerts and who was told of them; send one on trial
    Alerts {
        /// What to do; without it they are listed
        #[command(subcommand)]
        action: Option<AlertWord>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List the zones of limits, and whom they refuse
    Limits {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show the zones of the cache and what is stored, purge it
    Cache {
        /// What to do; without it the zones are listed
        #[command(subcommand)]
        action: Option<CacheWord>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List certificates, renew them, find what is in their way
    Cert {
        /// What to do; without it they are listed
        #[command(subcommand)]
        action: Option<CertificateWord>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show requests as they end
    Logs {
        /// Go on without end; so it is unless `-n` is given
        #[arg(short = 'f', long, conflicts_with = "lines")]
        follow: bool,
        /// Only these statuses: 404, 5xx, 4xx,502
        #[arg(long, value_name = "STATUS", value_delimiter = ',')]
        status: Vec<StatusPattern>,
        /// Only this host; `*.example.org` for all below it
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Only targets that contain this
        #[arg(long, value_name = "TEXT")]
        path: Option<String>,
        /// Only this method
        #[arg(long, value_name = "METHOD")]
        method: Option<String>,
        /// Only this client, an address or a network
        #[arg(long, value_name = "IP")]
        client: Option<Network>,
        /// Only requests that took at least so many milliseconds
        #[arg(long, value_name = "MS")]
        slow: Option<u64>,
        /// End after so many
        #[arg(short = 'n', value_name = "N")]
        lines: Option<usize>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Look at the configuration's revisions, and change it
    Config {
        /// What to do
        #[command(subcommand)]
        action: ConfigWord,
    },
    /// Put the configuration of the files into force
    Reload {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Write the daemon's memory into a file, while it runs
    Backup {
        /// The file, which must not be there
        file: PathBuf,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Take the daemon's memory from a file that `backup` wrote
    Restore {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show the authority of local names, let machines trust it
    Ca {
        /// What to do
        #[command(subcommand)]
        action: CaWord,
    },
    /// Look for what keeps the proxy from working
    Doctor {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Grade the TLS of the servers as public scanners do
    Audit {
        /// The name of a server, or an address with its port [default: all servers]
        #[arg(value_name = "SERVER|ADDRESS")]
        what: Option<String>,
        /// A file with authorities that count as trusted too
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Give a user a password in a file of auth_basic_user_file
    Passwd {
        /// The file, if the configuration names not exactly one, and the user
        #[arg(required = true, num_args = 1..=2, value_name = "[FILE] USER")]
        words: Vec<String>,
        /// Take the user out
        #[arg(long, conflicts_with_all = ["verify", "argon2id"])]
        delete: bool,
        /// Only say whether the password is right
        #[arg(long, conflicts_with = "argon2id")]
        verify: bool,
        /// Keep it as argon2id, which nginx cannot read, instead of bcrypt
        #[arg(long)]
        argon2id: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Name traps of a configuration that can be used
    Lint {
        /// End with 2 if there is any
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Write configuration files in the one common form
    Fmt {
        /// Change nothing, fail if a file would change
        #[arg(long)]
        check: bool,
        /// The files; `-` reads standard input and writes standard output
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Say what a directive is for and how it is written
    Help {
        /// Its name
        directive: Option<String>,
    },
    /// Say what a problem code means, with an example
    Explain {
        /// The code, such as OC-E030
        code: String,
    },
    /// Print what completes command lines in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// What every word takes that asks the daemon.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
pub struct Daemon {
    /// Print the answer as JSON, as the control protocol has it
    #[arg(long)]
    pub json: bool,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The configuration file of the daemon; with `route` it is read in the daemon's place
    #[arg(short = 'c', value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// Where relative paths of that file start
    #[arg(short = 'p', value_name = "DIRECTORY")]
    pub prefix: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

impl Daemon {
    /// What is said here, and for the rest what is said there: options of a word may stand before
    /// and behind the second word.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            json: self.json || other.json,
            socket: self.socket.clone().or_else(|| other.socket.clone()),
            conf: self.conf.clone().or_else(|| other.conf.clone()),
            prefix: self.prefix.clone().or_else(|| other.prefix.clone()),
            color: match self.color {
                Color::Auto => other.color,
                color => color,
            },
        }
    }
}

/// What may be done with a peer. It lasts until the daemon ends; the file stays as it is.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum PeerWord {
    /// Give it nothing new, let it finish what it has
    Drain(PeerName),
    /// Take it out
    Down(PeerName),
    /// Put it in, whatever the configuration says
    Up(PeerName),
    /// Give it another weight
    Weight {
        #[command(flatten)]
        peer: PeerName,
        /// From 1 to 65535
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65535))]
        weight: u32,
    },
    /// As the configuration says
    Reset(PeerName),
    /// Check it now, where it is checked
    Check(PeerName),
}

/// What spend is told by.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpendWord {
    Key,
    Gateway,
    User,
    Model,
    Provider,
    Day,
}

/// In which form a key is printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyForm {
    /// Lines for a shell
    Env,
    /// Python with the library of OpenAI
    Openai,
    /// Python with the library of Anthropic
    Anthropic,
    /// The configuration of a local gateway
    Yaml,
}

/// What may be done with providers.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum ProviderWord {
    /// Ask them which models they have: does it answer, how soon, is the key good
    Test {
        /// One of them; without it all are asked
        name: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// What may be done with keys.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum KeyWord {
    /// Make a key and print its secret, once
    Add {
        /// Letters, digits, `._:@-`
        name: String,
        #[command(flatten)]
        settings: KeyArguments,
        /// Whose calendar the budgets follow, such as Europe/Berlin [default: UTC]
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Read a secret from elsewhere from standard input in place of making one
        #[arg(long)]
        import: bool,
        #[command(flatten)]
        print: KeyPrint,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List them with what they have spent
    List {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell all about one, and which gateway uses which of its secrets
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Change settings; those that are not named stay
    Edit {
        /// Its name
        name: String,
        #[command(flatten)]
        settings: KeyArguments,
        /// Another name
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Make another secret and print it, once; the old one works a while longer
    Rotate {
        /// Its name
        name: String,
        /// How long the old one still works
        #[arg(long, value_name = "TIME", default_value = "72h")]
        overlap: String,
        /// The new one ends after so long [default: never]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        print: KeyPrint,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Take it back, at once and for good
    Revoke {
        /// Its name
        name: String,
        /// Only the secret that begins so, as `key show` has it
        #[arg(long, value_name = "PREFIX")]
        secret: Option<String>,
        /// Only once nobody has used it for so long: all but the newest secret
        #[arg(long, value_name = "TIME")]
        when_unused: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Forget it; its calls keep its name
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// What to do with alerts.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum AlertWord {
    /// List those of late
    List {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Send somebody a message on trial, now
    Test {
        /// Its name in the configuration
        name: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Say that you have seen one, or all
    Ack {
        /// Its number as listed, or the beginning of it
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All that there are now
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell one again, now, to those who do not know of it
    Retry {
        /// Its number as listed, or the beginning of it
        id: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl AlertWord {
    /// The options of the daemon.
    pub const fn daemon(&self) -> &Daemon {
        match self {
            Self::List { daemon }
            | Self::Test { daemon, .. }
            | Self::Ack { daemon, .. }
            | Self::Retry { daemon, .. } => daemon,
        }
    }
}

/// Whose configuration is imported.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum ImportWord {
    /// One API: its config.json, or the database of one that runs, with the keys of its clients
    OneApi {
        /// Its config.json
        #[arg(required_unless_present = "db")]
        file: Option<PathBuf>,
        /// Its SQLite database
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        db: Option<PathBuf>,
        /// Only bring the keys of its clients to the running daemon
        #[arg(long, requires = "db")]
        tokens: bool,
        /// The directory that is made
        #[arg(long, value_name = "DIRECTORY", default_value = "imported")]
        into: PathBuf,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// A local gateway that shares a hub: its config.yaml
    GatewayConfig {
        /// Its config.yaml
        file: PathBuf,
        /// The directory that is made
        #[arg(long, value_name = "DIRECTORY", default_value = "imported")]
        into: PathBuf,
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl ImportWord {
    /// The options of the daemon.
    pub const fn daemon(&self) -> &Daemon {
        match self {
            Self::OneApi { daemon, .. } | Self::GatewayConfig { daemon, .. } => daemon,
        }
    }
}

/// How a new secret is printed.
#[derive(Args, Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyPrint {
    /// Print what a client needs, to be pasted as it is
    #[arg(long, value_name = "FORM")]
    pub print_config: Option<KeyForm>,
    /// Where clients reach the gateway, such as `https://ai.example.com`
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Settings of a key.
#[derive(Args, Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyArguments {
    /// What it may spend: 5/day, 20/week, 50/month, 100/total; none/day for any amount; more than
    /// once for several
    #[arg(long, value_name = "DOLLARS/TIME")]
    pub budget: Vec<String>,
    /// It ends after so long, such as 90d; never
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Only these models, with `*`: gpt-4o*,claude-*; all
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// Only from these addresses and networks; all
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub addresses: Option<Vec<String>>,
    /// Only this gateway; any
    #[arg(long, value_name = "NAME")]
    pub gateway: Option<String>,
    /// The group whose limits it shares; none
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// Calls in a minute; 0 for any number
    #[arg(long, value_name = "N")]
    pub rpm: Option<u64>,
    /// Tokens in a minute; 0 for any number
    #[arg(long, value_name = "N")]
    pub tpm: Option<u64>,
    /// Calls at once; 0 for any number
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u64>,
}

/// What may be done with bans.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum BanWord {
    /// List them, those made last first
    List {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Let somebody in again
    Remove {
        /// As the list has it
        #[arg(value_name = "ADDRESS|NETWORK")]
        address: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// A peer.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct PeerName {
    /// The name of its upstream
    pub upstream: String,
    /// Its address, or its name as the configuration has it
    pub peer: String,
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What may be done with the cache.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum CacheWord {
    /// Tell all about what is stored under a URL or a key: age, freshness, file, head
    Show {
        /// The URL, or the key as `proxy_cache_key` makes it
        #[arg(value_name = "URL|KEY")]
        name: String,
        /// Only in this zone
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List the keys that are wanted most
    Keys {
        /// Those that are wanted most; so it is
        #[arg(long)]
        hot: bool,
        /// Only of this zone
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List the kept answers of language models (`llm_cache`): whose, of which model
    Llm {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Remove what is stored; it cannot be brought back
    Purge {
        /// The URL or the key; with `*` at its end, all that begin so
        #[arg(value_name = "URL|KEY|PREFIX*", conflicts_with_all = ["tag", "all", "llm"])]
        name: Option<String>,
        /// All with this tag (the fields Cache-Tag and Surrogate-Key of answers)
        #[arg(long, value_name = "TAG", conflicts_with_all = ["all", "llm"])]
        tag: Option<String>,
        /// Everything from all zones
        #[arg(long, conflicts_with_all = ["zone", "llm"])]
        all: bool,
        /// Only from this zone; alone, everything from it
        #[arg(long, value_name = "ZONE", conflicts_with = "llm")]
        zone: Option<String>,
        /// Kept answers of language models; alone, all of them
        #[arg(long)]
        llm: bool,
        /// Only those of this model
        #[arg(long, value_name = "MODEL", requires = "llm")]
        model: Option<String>,
        /// Only those of this key of a client
        #[arg(long, value_name = "NAME", requires = "llm", conflicts_with = "group")]
        key: Option<String>,
        /// Only those of this group of keys
        #[arg(long, value_name = "NAME", requires = "llm")]
        group: Option<String>,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// What may be done with certificates.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum CertificateWord {
    /// List them, those that end soonest first; without a daemon those of the files
    List {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell everything about one: its chain, who serves it, its last error, what was done
    Show(CertificateName),
    /// Get a new one now, without waiting for its time
    Renew {
        #[command(flatten)]
        certificate: CertificateName,
        #[command(flatten)]
        agreement: Agreement,
    },
    /// Serve a certificate from a file; it is checked, kept, and written into the configuration
    Import {
        #[command(flatten)]
        certificate: CertificateName,
        /// The certificate and its chain (PEM), or a file with the key as well (.pfx, .p12)
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Its key (PEM), if it is in another file
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The first line is the password of a .pfx; without it the password is asked for
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        agreement: Agreement,
    },
    /// Look for what keeps a certificate from coming: addresses, ports, CAA, limits, clock
    Why(CertificateName),
    /// Agree to the terms of the authority, so that certificates can be got
    Agree {
        /// Where the authority may write to when something is wrong
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// A certificate.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct CertificateName {
    /// A name that it is for
    pub name: String,
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What may be done with the configuration.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum ConfigWord {
    /// List the revisions, newest first
    History {
        /// At most so many
        #[arg(short = 'n', value_name = "N", default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Print the texts of a revision, or those of the files
    Show {
        /// The revision
        id: Option<u64>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Print what a revision changed, or what the files have that is not in force
    Diff {
        /// The revision
        id: Option<u64>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Put the texts of an earlier revision into force
    Revert {
        /// The revision
        id: u64,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Take back the last change that you made, keep what others changed since
    Undo {
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Change the files in $VISUAL or $EDITOR, see the difference, put it into force
    Edit {
        /// The file, if it is not the main one
        file: Option<PathBuf>,
        /// What it is for, in a line
        #[arg(short = 'm', long, value_name = "TEXT", default_value = "")]
        note: String,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Put the text of a file into force in the place of the main one
    Apply {
        /// The file; `-` is standard input
        file: PathBuf,
        /// The configuration file that it replaces, if it is not the main one
        #[arg(long = "as", value_name = "FILE")]
        target: Option<PathBuf>,
        /// What it is for, in a line
        #[arg(short = 'm', long, value_name = "TEXT", default_value = "")]
        note: String,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Say what is wrong with the files as they are; change nothing
    Check {
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// What may be done with the own authority.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum CaWord {
    /// Show its root: where it is, its fingerprint, what it may sign
    Show {
        /// Print the certificate alone, in PEM
        #[arg(long, conflicts_with = "json")]
        pem: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell how each system comes to trust its root, or let this machine trust it
    Trust {
        /// Let this machine trust it; needs the rights of root
        #[arg(long)]
        install: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Let this machine trust its root no more; needs the rights of root
    Untrust {
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl CaWord {
    /// Which daemon is meant.
    pub fn daemon(&self) -> &Daemon {
        match self {
            Self::Show { daemon, .. } | Self::Trust { daemon, .. } | Self::Untrust { daemon } => {
                daemon
            }
        }
    }
}

/// Is somebody there to be asked?
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Agreement {
    /// Do it without asking
    #[arg(short = 'y', long)]
    pub yes: bool,
}

/// A shell with completion.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// A field of a request as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Field {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (name, value) = text
            .split_once(':')
            .ok_or(Unreadable("write `Name: value`"))?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Unreadable("this is no name of a field"));
        }
        let value = value.trim();
        if value.contains(['\r', '\n', '\0']) {
            return Err(Unreadable("a value is one line"));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// A status or a hundred of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusPattern {
    /// `404`
    One(u16),
    /// `4xx`
    Hundred(u16),
}

impl StatusPattern {
    /// Is it one of these?
    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            Self::Hundred(hundred) => status / 100 == hundred,
        }
    }
}

impl FromStr for StatusPattern {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let wrong = Unreadable("write a status such as 404, or 5xx");
        match text.as_bytes() {
            [digit @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                Ok(Self::Hundred(u16::from(digit - b'0')))
            }
            [b'1'..=b'9', _, _] => text.parse().map(Self::One).map_err(|_| wrong),
            _ => Err(wrong),
        }
    }
}

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network(pub ipnet::IpNet);

impl FromStr for Network {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let one = || {
            text.parse::<std::net::IpAddr>()
                .ok()
                .map(ipnet::IpNet::from)
        };
        one()
            .or_else(|| text.parse().ok())
            .map(Self)
            .ok_or(Unreadable(
                "write an address, or a network such as 10.0.0.0/8",
            ))
    }
}

/// A value that cannot be read, with what was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable(&'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for Unreadable {}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn word(line: &str) -> Result<Word, clap::Error> {
        Word::try_parse_from(["openclaw"].into_iter().chain(line.split(' ')))
    }

    #[test]
    fn the_syntax_does_not_contradict_itself() {
        Word::command().debug_assert();
    }

    #[test]
    fn a_route_is_asked_with_or_without_a_method() {
        let Ok(Word::Route {
            request,
            fields,
            client,
            ..
        }) = word("route POST http://a/ -H Accept:x -H B:c:d --client ::1")
        else {
            panic!("refused");
        };
        assert_eq!(request, ["POST", "http://a/"]);
        assert_eq!(fields[1].value, "c:d");
        assert_eq!(client, Some(std::net::Ipv6Addr::LOCALHOST.into()));
        assert!(word("route http://a/").is_ok());
        assert!(word("route").is_err());
        assert!(word("route a b c").is_err());
        assert!(word("route a -H x").is_err());
    }

    #[test]
    fn peers_are_changed_by_upstream_and_address() {
        let Ok(Word::Backends {
            change: Some(PeerWord::Weight { peer, weight }),
            ..
        }) = word("backends weight app 10.0.0.1:80 5 --json")
        else {
            panic!("refused");
        };
        assert_eq!((peer.upstream.as_str(), weight), ("app", 5));
        assert!(peer.daemon.json);
        assert!(word("backends weight app a 0").is_err());
        assert!(word("backends drain app").is_err());
        assert!(word("backends").is_ok());
    }

    #[test]
    fn what_is_purged_is_named_in_one_way() {
        for good in [
            "a",
            "a*",
            "--tag t",
            "--tag t --zone z",
            "--zone z",
            "--all",
            "a --zone z",
            "--llm",
            "--llm --model gpt-4o --key laptop",
            "--llm --group family",
        ] {
            assert!(word(&format!("cache purge {good}")).is_ok(), "{good}");
        }
        for bad in [
            "a --tag t",
            "a --all",
            "--all --zone z",
            "--tag t --all",
            "a --llm",
            "--llm --zone z",
            "--model gpt-4o",
            "--llm --key a --group b",
        ] {
            assert!(word(&format!("cache purge {bad}")).is_err(), "{bad}");
        }
        assert!(word("cache").is_ok());
        assert!(word("cache show").is_err());
    }

    #[test]
    fn filters_of_the_log_are_typed() {
        assert!(word("logs -f -n 5").is_err());
        let Ok(Word::Logs {
            follow,
            status,
            client,
            slow,
            ..
        }) = word("logs -f --status 5xx,404 --client 10.0.0.0/8 --slow 250")
        else {
            panic!("refused");
        };
        assert!(follow);
        assert_eq!(status, [StatusPattern::Hundred(5), StatusPattern::One(404)]);
        assert!(status[0].matches(502) && !status[1].matches(403));
        assert!(client.is_some());
        assert_eq!(slow, Some(250));
        for wrong in ["logs --status 6xx", "logs --status 40", "logs --client x"] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
    }
}
