//! A certificate with its key that somebody brings: checked, kept, and written into the configuration.
//!
//! What is kept stays in files of its own below the state directory, so that taking the change of the
//! configuration back brings the old certificate back. Invariant: a key is never in a file that others
//! may read, not even for a moment, and never in a message.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Control, certificates};
use crate::conf::address::Address;
use crate::conf::edit::{self, Operation, Place};
use crate::conf::include::Node;
use crate::conf::lexer;
use crate::conf::typed::location::Server;
use crate::conf::typed::tls::Certificate;
use crate::process::conf_files;
use crate::process::desk::{Author, Proposal, refusal};
use crate::protocol::{Base, Import, Imported, Refusal, RefusalCode};
use crate::tls::facts::Facts;
use crate::tls::material::{self, Material, Source};

/// The largest certificate or key that is taken, in bytes, as for files.
const MOST_BYTES: usize = 1 << 20;

/// Checks what was brought, and serves it unless that is only tried.
pub async fn run(control: &Control, import: Import, author: Author) -> Result<Imported, Refusal> {
    let key = Zeroizing::new(import.key);
    let invalid = |message: String| refusal(RefusalCode::Invalid, message);
    if key.len() > MOST_BYTES || import.certificate.len() > MOST_BYTES {
        return Err(invalid("a certificate is never so large".to_owned()));
    }
    let text = |name: &'static str, bytes| Source::Text { name, bytes };
    let material = material::load_from(
        text("the certificate", import.certificate.as_bytes()),
        text("the key", key.as_bytes()),
        None,
    );
    let material = material.map_err(|error| Refusal {
        hint: error.hint(),
        ..invalid(error.to_string())
    })?;
    let in_force = control.desk.in_force();
    let http = &in_force.generation.http;
    let name = import.name.trim_end_matches('.').to_ascii_lowercase();
    let server = server_of(&http.servers, &name)?;
    let served = certificates::served_of(&material.chain, super::now());
    let mut warnings: Vec<String> = material.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(
        certificates::names_of(server)
            .iter()
            .filter(|name| !material.facts.covers(name))
            .map(|name| format!("it is not for {name}, which the server has too")),
    );
    let mut imported = Imported {
        certificate: served,
        warnings,
        revision: in_force.revision,
        ..Imported::default()
    };
    let tls = server.tls.as_ref().map_or(&[][..], |tls| &tls.certificates);
    if let [Certificate::Managed(_), ..] = tls {
        // It takes the place of what is got here, and is renewed as that would be.
        if !import.dry_run {
            let manager = &in_force.generation.acme;
            manager
                .import(&name, import.certificate.as_bytes(), key.as_bytes())
                .map_err(certificates::refused)?;
        }
        return Ok(imported);
    }
    let directory = control.desk.places.state.join("imported");
    let stem = stem(&name, &material.facts);
    let files = [
        directory.join(format!("{stem}.crt")),
        directory.join(format!("{stem}.key")),
    ];
    let now = control.desk.read(&[], &[]).loaded;
    let texts = conf_files::texts(&now);
    let base = Base {
        revision: in_force.revision,
        digest: conf_files::digest(&now),
    };
    // Of other files the places of what is in force say nothing.
    let is_current = base.digest == in_force.digest;
    let node = node_of(&now.nodes, server).filter(|_| is_current);
    let node = node.ok_or_else(|| Refusal {
        hint: Some("`openclaw reload` puts the files into force".to_owned()),
        ..refusal(
            RefusalCode::Stale,
            "the files say something else than what is in force",
        )
    })?;
    let operations = operations(&now.nodes, node, tls, &material.facts, &files)?;
    let setup = &control.desk.setup;
    let known: HashMap<PathBuf, String> = texts.iter().cloned().collect();
    let after = edit::run(&setup.conf, &setup.prefix, known.clone(), &operations)
        .map_err(|error| invalid(error.to_string()))?;
    let changed: Vec<(PathBuf, String)> = after
        .into_iter()
        .filter(|(path, text)| known.get(path) != Some(text))
        .collect();
    let mut proposed = texts.clone();
    for (path, text) in &changed {
        if let Some(known) = proposed.iter_mut().find(|(known, _)| known == path) {
            known.1.clone_from(text);
        }
    }
    imported.diff = conf_files::difference(&texts, &proposed);
    imported.files = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if let Some(why) = control.desk.read_only() {
        return Err(refusal(
            RefusalCode::ReadOnly,
            format!("the configuration cannot be written: {why}"),
        ));
    }
    if import.dry_run {
        return Ok(imported);
    }
    keep(&directory, &files, &material).map_err(|error| {
        let text = format!("`{}` cannot be written: {error}", directory.display());
        refusal(RefusalCode::Failed, text)
    })?;
    let proposal = Proposal {
        base,
        files: changed,
        note: format!("import a certificate for {name}"),
        ..Proposal::default()
    };
    let applied = control.desk.apply(proposal, author).await?;
    imported.revision = applied.revision;
    Ok(imported)
}

/// The server with TLS that has a name.
fn server_of<'s>(servers: &'s [Arc<Server>], name: &str) -> Result<&'s Server, Refusal> {
    let has = |server: &&Arc<Server>| certificates::names_of(server).iter().any(|own| own == name);
    let all: Vec<&Arc<Server>> = servers.iter().filter(has).collect();
    if all.is_empty() {
        return Err(Refusal {
            hint: Some("add a site for it first".to_owned()),
            ..refusal(
                RefusalCode::NotFound,
                format!("no server has the name `{}`", name.escape_debug()),
            )
        });
    }
    let found = all.into_iter().find(|server| server.tls.is_some());
    found.map(|server| &**server).ok_or_else(|| Refusal {
        hint: Some("add `listen 443 ssl;` to it".to_owned()),
        ..refusal(
            RefusalCode::Invalid,
            format!("the server of `{name}` does not listen with TLS"),
        )
    })
}

/// A name for files: that of the server, and what tells this certificate from others of it.
fn stem(name: &str, facts: &Facts) -> String {
    let plain: String = name
        .chars()
        .map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-') => letter,
            _ => '_',
        })
        .collect();
    let digest: String = facts
        .sha256
        .chars()
        .filter(|it| *it != ':')
        .take(12)
        .collect();
    format!("{}-{digest}", plain.trim_start_matches('.'))
}

/// The block of a server among those of the files.
fn node_of<'n>(nodes: &'n [Node], server: &Server) -> Option<&'n Node> {
    let http = nodes.iter().find(|node| &*node.name.text == "http")?;
    let inside = http.block.as_deref().unwrap_or_default();
    inside.iter().find(|node| {
        let word = node.name.span;
        &*node.name.text == "server"
            && (node.span.file, word.start) == (server.span.file, server.span.start)
    })
}

/// What makes a server serve these files: they take the place of the pair of the same kind of key.
fn operations(
    nodes: &[Node],
    server: &Node,
    certificates: &[Certificate],
    facts: &Facts,
    files: &[PathBuf; 2],
) -> Result<Vec<Operation>, Refusal> {
    let inside = server.block.as_deref().unwrap_or_default();
    let lines = |name: &str| -> Vec<&Node> {
        let lines = inside.iter().filter(|node| &*node.name.text == name);
        lines.collect()
    };
    let pairs = (lines("ssl_certificate"), lines("ssl_certificate_key"));
    let at = |node: &Node| Address::of(nodes, node.span).unwrap_or_default();
    let words = files.each_ref().map(|path| path.display().to_string());
    let kind = |key: &str| key.split(' ').next().unwrap_or_default().to_owned();
    let position = match (&*pairs.0, &*pairs.1) {
        ([], []) => None,
        ([_], [_]) => Some(0),
        (certificate_lines, keys) if certificate_lines.len() == keys.len() => {
            let is_same = |certificate: &Certificate| match certificate {
                Certificate::Files(files) => {
                    let passwords = files.passwords.as_deref();
                    material::load(&files.certificate, &files.key, passwords)
                        .is_ok_and(|material| kind(&material.facts.key) == kind(&facts.key))
                }
                _ => false,
            };
            let found = certificates.iter().position(is_same);
            Some(found.ok_or_else(|| Refusal {
                hint: Some("write the lines by hand: `openclaw config edit`".to_owned()),
                ..refusal(
                    RefusalCode::Invalid,
                    format!(
                        "the server has {} certificates, none of them with a key of {}",
                        keys.len(),
                        kind(&facts.key)
                    ),
                )
            })?)
        }
        _ => {
            return Err(refusal(
                RefusalCode::Invalid,
                "`ssl_certificate` and `ssl_certificate_key` of the server do not go together",
            ));
        }
    };
    if let Some((certificate, key)) =
        position.and_then(|position| pairs.0.get(position).zip(pairs.1.get(position)))
    {
        let [crt, private] = words;
        return Ok(vec![
            Operation::SetArguments {
                at: at(certificate),
                arguments: vec![crt],
            },
            Operation::SetArguments {
                at: at(key),
                arguments: vec![private],
            },
        ]);
    }
    let last = inside
        .iter()
        .rfind(|node| matches!(&*node.name.text, "listen" | "server_name"));
    let to = match last {
        Some(node) => Place::After(at(node)),
        None => Place::First(at(server)),
    };
    let [crt, private] = words.map(|word| lexer::escape(&word));
    Ok(vec![Operation::Insert {
        to,
        text: format!("ssl_certificate {crt};\nssl_certificate_key {private};\n"),
    }])
}

/// Writes a chain and its key, each whole and durable, for nobody but their owner.
fn keep(directory: &Path, files: &[PathBuf; 2], material: &Material) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let chain = material.chain_pem();
    let key = material.key_pem();
    for (path, text) in files.iter().zip([chain.as_bytes(), key.as_bytes()]) {
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let attempt = || {
            let _ = fs::remove_file(&fresh);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&fresh)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        };
        let written = attempt();
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written?;
    }
    // The names are on disk once the directory is.
    File::open(directory)?.sync_all()
}
