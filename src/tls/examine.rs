//! What is wrong with the certificates of a configuration, by the lines that name them.
//!
//! Reads the files, serves nothing, and refuses nothing: a certificate that cannot be used harms its
//! own server only.

use std::collections::HashMap;
use std::path::Path;

use super::facts::Facts;
use super::files::Pair;
use super::material::{self, Material, MaterialError};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::source::Span;
use crate::conf::typed::Http;
use crate::conf::typed::hostnames::Pattern;
use crate::conf::typed::location::Server;
use crate::conf::typed::tls::{Certificate, CertificateFiles};

/// How many names of one server are told that no certificate is for them.
const MOST_NAMES: usize = 3;

/// Reads every certificate that stands in files, and says what is wrong, as warnings.
pub fn examine(http: &Http) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut read: HashMap<Pair, Result<Material, MaterialError>> = HashMap::new();
    let mut told: Vec<Span> = Vec::new();
    for server in &http.servers {
        let Some(tls) = &server.tls else { continue };
        let mut facts = Vec::new();
        let mut are_all_known = !tls.certificates.is_empty();
        for certificate in &tls.certificates {
            let Certificate::Files(files) = certificate else {
                are_all_known = false;
                continue;
            };
            let result = read.entry(Pair::from(files)).or_insert_with(|| {
                let CertificateFiles {
                    certificate,
                    key,
                    passwords,
                    ..
                } = files;
                material::load(certificate, key, passwords.as_deref())
            });
            // A line around several servers is told once.
            let is_new = !told.contains(&files.span);
            told.push(files.span);
            match result {
                Ok(material) => {
                    if is_new {
                        found.extend(doubts(&files.certificate, material, files.span));
                    }
                    facts.push(material.facts.clone());
                }
                Err(error) => {
                    are_all_known = false;
                    if is_new {
                        found.push(unusable(error, files.span));
                    }
                }
            }
        }
        if are_all_known {
            let is_covered = |name: &String| facts.iter().any(|facts| facts.covers(name));
            let names = names(server);
            let others = names.iter().filter(|name| !is_covered(name));
            found.extend(
                others
                    .take(MOST_NAMES)
                    .map(|name| for_others(name, &facts, server)),
            );
        }
    }
    found
}

fn unusable(error: &MaterialError, span: Span) -> Diagnostic {
    let problem = Diagnostic::warning(Code::CERTIFICATE_UNUSABLE, span, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn doubts<'a>(
    path: &'a Path,
    material: &'a Material,
    span: Span,
) -> impl Iterator<Item = Diagnostic> + 'a {
    material.warnings.iter().map(move |warning| {
        let message = format!("certificate `{}`: {warning}", path.display());
        Diagnostic::warning(Code::CERTIFICATE_DOUBTFUL, span, message).hint(warning.hint())
    })
}

fn for_others(name: &str, facts: &[Facts], server: &Server) -> Diagnostic {
    let mut names: Vec<&str> = facts
        .iter()
        .flat_map(|facts| facts.dns_names.iter().map(String::as_str))
        .take(5)
        .collect();
    names.dedup();
    let hint = match names.is_empty() {
        true => "its certificate names none (a common name does not count)".to_owned(),
        false => format!("it is for {}", names.join(", ")),
    };
    let message = format!("no certificate of this server is for `{name}`");
    Diagnostic::warning(Code::CERTIFICATE_FOR_OTHERS, server.span, message).hint(hint)
}

/// The names of a server that a client could ask for and that a certificate could be for.
fn names(server: &Server) -> Vec<String> {
    let patterns = server.names.iter().filter_map(|name| name.pattern());
    let texts = patterns.filter_map(|pattern| match pattern {
        Pattern::Exact(name) | Pattern::SelfOrSuffix(name) => {
            let name = String::from_utf8_lossy(name);
            Some(name.strip_prefix('.').unwrap_or(&name).to_owned())
        }
        Pattern::Suffix(name) => Some(format!("*{}", String::from_utf8_lossy(name))),
        Pattern::Prefix(_) => None,
    });
    // `_` and the like are no names of hosts; `localhost` is nobody else's.
    texts
        .filter(|name| name.contains('.') && name.is_ascii())
        .collect()
}
