//! `openclaw ca`: the own authority of local names, and how machines come to trust it.

use std::error::Error;

use jiff::Timestamp;
use serde::Serialize;

use super::session::{Failure, print_json, setup};
use super::trust_store::TrustStore;
use super::words::{CaWord, Daemon};
use super::{conf_file, print};
use crate::acme::authority::{self, Facts};
use crate::process::places;
use crate::unit::printable::escape_lines;

/// What a person does on machines that have a store of their own.
const ELSEWHERE: &str = "\
On other machines, copy the root there (it is no secret; the key beside it is) and

  Debian, Ubuntu   put it into /usr/local/share/ca-certificates/ as NAME.crt,
                   run `update-ca-certificates`
  Fedora, Red Hat  put it into /etc/pki/ca-trust/source/anchors/, run `update-ca-trust`
  Arch             `trust anchor root.pem`
  macOS            `sudo security add-trusted-cert -d -r trustRoot \\
                   -k /Library/Keychains/System.keychain root.pem`
  Windows          `certutil -addstore Root root.pem` as administrator
  Firefox          Settings, Privacy & Security, View Certificates, Authorities, Import;
                   or set `security.enterprise_roots.enabled` in about:config, and it
                   trusts what the system trusts (Windows, macOS)
  Chrome on Linux  chrome://certificate-manager, Custom, Import
  iPhone, iPad     send the file to it, open it, Settings, Profile Downloaded, Install;
                   then Settings, General, About, Certificate Trust Settings
  Android          Settings, Security, Encryption & credentials, Install a certificate,
                   CA certificate

Compare the fingerprint before you trust it. It can sign for local names and private
addresses only; that stands in the root itself.
";

/// The root as programs read it.
#[derive(Serialize)]
struct Shown<'a> {
    path: String,
    fingerprint: &'a str,
    /// In seconds since 1970.
    not_after: i64,
    names: &'a [String],
    /// The file in which this machine trusts it.
    trusted: Option<String>,
    pem: &'a str,
}

/// Does what a word of `ca` says.
pub fn run(action: &CaWord) -> Result<(), Failure> {
    let store = TrustStore::below("/");
    match action {
        CaWord::Show { pem, daemon } => {
            let facts = facts(daemon)?;
            if *pem {
                print(&facts.pem);
            } else if daemon.json {
                print_json(&shown(&facts, &store));
            } else {
                print(&description(&facts, &store));
            }
        }
        CaWord::Trust { install, daemon } => {
            let facts = facts(daemon)?;
            if *install {
                let file = store.install(&facts).map_err(Failure::failed)?;
                if !daemon.json {
                    print(&format!(
                        "this machine trusts it now: {}\n\n",
                        file.display()
                    ));
                }
            }
            if daemon.json {
                print_json(&shown(&facts, &store));
                return Ok(());
            }
            let mut text = description(&facts, &store);
            if store.installed(&facts).is_none() {
                text.push_str(
                    "\nTo let this machine trust it, run `sudo openclaw ca trust --install`.\n",
                );
            }
            print(&format!("{text}\n{ELSEWHERE}"));
        }
        CaWord::Untrust { daemon } => {
            let facts = facts(daemon)?;
            let removed = store.uninstall(&facts).map_err(Failure::failed)?;
            if daemon.json {
                print_json(&shown(&facts, &store));
            } else if removed.is_empty() {
                print("this machine does not trust it\n");
            } else {
                print("this machine does not trust it any more\n");
            }
        }
    }
    Ok(())
}

/// The root of the daemon whose configuration is meant.
fn facts(daemon: &Daemon) -> Result<Facts, Failure> {
    let setup = setup(daemon).map_err(|error| Failure::failed(error.to_string()))?;
    let (_, config) = conf_file::read_good(daemon)?;
    let directory = places::of(&setup, &config.process)
        .state
        .join(authority::DIRECTORY);
    match authority::facts(&directory) {
        Ok(Some(facts)) => Ok(facts),
        Ok(None) => Err(Failure::failed(format!(
            "there is no authority in `{}` yet\n\
             hint: it is made when a server with a local name and `listen 443 ssl` starts",
            directory.display()
        ))),
        Err(error) => {
            let mut text = error.to_string();
            if let Some(cause) = error.source() {
                text.push_str(&format!(": {cause}\nhint: run it with `sudo`"));
            }
            Err(Failure::failed(text))
        }
    }
}

fn shown<'a>(facts: &'a Facts, store: &TrustStore) -> Shown<'a> {
    Shown {
        path: facts.path.display().to_string(),
        fingerprint: &facts.fingerprint,
        not_after: expiry(facts).as_second(),
        names: &facts.names,
        trusted: store.installed(facts).map(|it| it.display().to_string()),
        pem: &facts.pem,
    }
}

fn description(facts: &Facts, store: &TrustStore) -> String {
    let trusted = match store.installed(facts) {
        Some(file) => format!("by this machine: {}", file.display()),
        None => "not by this machine".to_owned(),
    };
    let text = format!(
        "root         {}\nsha-256      {}\nexpires      {}\nsigns for    {}; private addresses\n\
         trusted      {trusted}\n",
        facts.path.display(),
        facts.fingerprint,
        expiry(facts).strftime("%Y-%m-%d"),
        facts.names.join(", "),
    );
    escape_lines(&text).into_owned()
}

fn expiry(facts: &Facts) -> Timestamp {
    Timestamp::try_from(facts.not_after).unwrap_or_default()
}
