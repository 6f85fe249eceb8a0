//! A certificate authority for tests: Pebble, with a DNS server that says what the test wants.
//!
//! Pebble rejects half of all nonces, so that every exchange meets a stale one now and then.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::certificate::Authority;
use super::front::{Asked, Front, Verdict};
use super::ports::{Port, reserve};
use super::server::eventually;

/// What is different from Pebble's usual ways.
#[derive(Default)]
pub struct Options {
    /// So long are its certificates valid, in seconds.
    pub validity: Option<u64>,
    /// Accounts belong to an external one: `kid-1` with [`EXTERNAL_KEY`].
    pub external: bool,
    /// Where the status of its certificates is said to be.
    pub responder: Option<String>,
    /// Other chains that are offered.
    pub alternates: u32,
}

/// The key of the external account `kid-1`.
pub const EXTERNAL_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A running authority.
pub struct Pebble {
    directory: TempDir,
    authority: Authority,
    pebble: Child,
    dns: Child,
    listen: Port,
    management: Port,
    dns_management: Port,
    /// Where it looks for tokens; a server under test listens there.
    pub http: Port,
    /// Where it shakes hands; a server under test listens there.
    pub tls: Port,
    _dns: Port,
}

impl Pebble {
    /// Starts one in its usual ways.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts one, and waits until it can be asked.
    pub fn start_with(options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let [listen, management, dns, dns_management, http, tls] =
            std::array::from_fn(|_| reserve());
        let local = |port: &Port| format!("127.0.0.1:{}", port.number);
        // A reservation is a UDP socket itself, so DNS has another address of this machine.
        let dns_address = format!("127.0.0.2:{}", dns.number);
        let authority = Authority::new();
        let own = authority.issue(&["127.0.0.1", "localhost"]);
        fs::write(path("ca.pem"), authority.pem()).expect("written");
        fs::write(path("own.pem"), own.certificate).expect("written");
        fs::write(path("own.key"), own.key).expect("written");
        let mut conf = json!({
            "listenAddress": local(&listen),
            "managementListenAddress": local(&management),
            "certificate": path("own.pem"),
            "privateKey": path("own.key"),
            "httpPort": http.number,
            "tlsPort": tls.number,
            "externalAccountBindingRequired": options.external,
            "externalAccountMACKeys": { "kid-1": EXTERNAL_KEY },
        });
        if let Some(validity) = options.validity {
            conf["certificateValidityPeriod"] = validity.into();
        }
        if let Some(responder) = &options.responder {
            conf["ocspResponderURL"] = responder.as_str().into();
        }
        let conf = json!({ "pebble": conf });
        fs::write(path("pebble.json"), conf.to_string()).expect("written");
        let log = |name: &str| File::create(path(name)).expect("a file");
        let resolver = Command::new("pebble-challtestsrv")
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-dns01", &dns_address])
            .args(["-management", &local(&dns_management)])
            .stdin(Stdio::null())
            .stdout(log("dns.log"))
            .stderr(log("dns.err"))
            .spawn()
            .expect("`pebble-challtestsrv` is installed");
        let pebble = Command::new("pebble")
            .arg("-config")
            .arg(path("pebble.json"))
            .args(["-strict=false", "-dnsserver", &dns_address])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "50")
            .env("PEBBLE_ALTERNATE_ROOTS", options.alternates.to_string())
            .stdin(Stdio::null())
            .stdout(log("pebble.log"))
            .stderr(log("pebble.err"))
            .spawn()
            .expect("`pebble` is installed");
        let started = Self {
            directory,
            authority,
            pebble,
            dns: resolver,
            listen,
            management,
            dns_management,
            http,
            tls,
            _dns: dns,
        };
        for port in [
            &started.listen,
            &started.management,
            &started.dns_management,
        ] {
            eventually("the authority listens", || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port.number)).ok()
            });
        }
        started
    }

    /// Where it is, without its directory.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listen.number)
    }

    /// The address of its directory.
    pub fn uri(&self) -> String {
        format!("https://{}/dir", self.address())
    }

    /// Stands before it, and does what a hook says.
    pub fn front(&self, hook: impl Fn(&Asked) -> Verdict + Send + Sync + 'static) -> Front {
        let pair = self.authority.issue(&["127.0.0.1"]);
        Front::start(&pair, &self.authority.pem(), self.listen.number, hook)
    }

    /// The file with the certificate that its own comes from.
    pub fn trusted(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A file of its own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file with the root of what it issues.
    pub fn root(&self) -> PathBuf {
        let path = self.file("root.pem");
        let text = self.ask("roots/0");
        assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
        fs::write(&path, text).expect("written");
        path
    }

    /// What its management says.
    pub fn ask(&self, path: &str) -> String {
        curl(&[&format!(
            "https://127.0.0.1:{}/{path}",
            self.management.number
        )])
    }

    /// Tells the DNS server something.
    pub fn tell_dns(&self, action: &str, what: &Value) {
        let address = format!("http://{}/{action}", self.dns_address());
        curl(&["--data", &what.to_string(), &address]);
    }

    /// Where the DNS server is told things.
    pub fn dns_address(&self) -> String {
        format!("127.0.0.1:{}", self.dns_management.number)
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("pebble.log")).unwrap_or_default()
    }

    /// So many accounts were made.
    pub fn accounts(&self) -> usize {
        self.log().matches("accounts in memory").count()
    }

    /// So many orders were placed.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// How many proofs it looked for and did not find; each is the end of an order.
    pub fn refusals(&self) -> usize {
        self.log().matches("set INVALID by").count()
    }
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--fail",
            "--max-time",
            "20",
        ])
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in [&mut self.pebble, &mut self.dns] {
            let _gone_already = child.kill();
            let _status = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(6000);
            eprintln!(
                "the authority said:\n{}",
                &log[log.ceil_char_boundary(tail)..]
            );
        }
    }
}
