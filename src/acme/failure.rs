//! Why an attempt to get a certificate came to nothing.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use instant_acme::{Error, Identifier};

use super::status::{PartialProblem, Problem, Trouble};
use super::transport::{explain, heard};
use crate::tls::fetch::FetchError;

/// The longest text of an authority that is kept, in bytes.
const LONGEST: usize = 4096;

/// The most parts of a problem that are kept.
const MOST_PARTS: usize = 100;

/// The beginning of the types that authorities use (RFC 8555 section 6.7).
const KINDS: &str = "urn:ietf:params:acme:error:";

/// Why an attempt came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// The authority's terms have to be agreed to first.
    Unagreed {
        /// Where they are read.
        terms: Option<Box<str>>,
    },
    /// Something went wrong.
    Trouble {
        /// What.
        trouble: Box<Trouble>,
        /// Not to be tried again before.
        retry_after: Option<SystemTime>,
        /// These names could not be proven: authorities count that.
        unproven: Vec<Box<str>>,
    },
}

impl Failure {
    /// In our own words.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Trouble {
            trouble: Box::new(Trouble {
                at: SystemTime::now(),
                what: what.into(),
                problem: None,
            }),
            retry_after: None,
            unproven: Vec::new(),
        }
    }

    /// With the authority's words.
    pub fn said(what: impl Into<String>, problem: Problem, unproven: Vec<Box<str>>) -> Self {
        Self::Trouble {
            trouble: Box::new(Trouble {
                at: SystemTime::now(),
                what: what.into(),
                problem: Some(problem),
            }),
            retry_after: heard().retry_after,
            unproven,
        }
    }

    /// What the library says of an exchange; `what` was wanted.
    pub fn of(what: &str, error: Error) -> Self {
        let heard = heard();
        let words = match error {
            Error::Api(problem) => return Self::said(what, own(problem), Vec::new()),
            Error::Other(error) => match error.downcast_ref::<FetchError>() {
                Some(error) => explain(error),
                None => error.to_string(),
            },
            // What is no problem document says nothing to anybody; its status does.
            Error::Json(_) if heard.status >= 400 => {
                format!("the authority answers with status {}", heard.status)
            }
            Error::Json(_) => "the authority's answer makes no sense".to_owned(),
            error => error.to_string(),
        };
        let mut failure = Self::new(format!("{what}: {words}"));
        if let Self::Trouble { retry_after, .. } = &mut failure {
            *retry_after = heard.retry_after;
        }
        failure
    }

    /// What our own client says of an exchange.
    pub fn of_fetch(what: &str, error: &FetchError) -> Self {
        Self::new(format!("{what}: {}", explain(error)))
    }

    /// What the disk says.
    pub fn of_disk(path: &Path, error: &io::Error) -> Self {
        let reason = match error.raw_os_error() {
            Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
            None => error.kind().to_string(),
        };
        Self::new(format!("cannot keep `{}`: {reason}", path.display()))
    }
}

/// Is this the type of a problem?
pub fn is_kind(problem: &instant_acme::Problem, kind: &str) -> bool {
    let own = problem.r#type.as_deref();
    own.and_then(|own| own.strip_prefix(KINDS)) == Some(kind)
}

/// A problem document as we keep it.
pub fn own(problem: instant_acme::Problem) -> Problem {
    let parts = problem.subproblems.into_iter().take(MOST_PARTS);
    Problem {
        kind: problem.r#type.map(clipped),
        detail: problem.detail.map(clipped),
        parts: parts
            .map(|part| PartialProblem {
                name: part.identifier.map(|identifier| clipped(text(&identifier))),
                kind: part.r#type.map(clipped),
                detail: part.detail.map(clipped),
            })
            .collect(),
    }
}

fn text(identifier: &Identifier) -> String {
    identifier.authorized(false).to_string()
}

fn clipped(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_authority_are_kept_as_they_are() {
        let document = r#"{
            "type": "urn:ietf:params:acme:error:malformed",
            "detail": "Some of the identifiers requested were rejected",
            "subproblems": [{
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "This CA will not issue for \"example.net\"",
                "identifier": { "type": "dns", "value": "example.net" }
            }]
        }"#;
        let problem: instant_acme::Problem = serde_json::from_str(document).expect("a problem");
        assert!(is_kind(&problem, "malformed"));
        let Failure::Trouble { trouble, .. } =
            Failure::of("placing the order", Error::Api(problem))
        else {
            panic!("it is trouble");
        };
        assert_eq!(
            trouble.to_string(),
            "placing the order: Some of the identifiers requested were rejected \
             (urn:ietf:params:acme:error:malformed); example.net: This CA will not issue for \
             \"example.net\" (urn:ietf:params:acme:error:rejectedIdentifier)"
        );
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let problem = Problem {
            detail: Some(clipped("é".repeat(LONGEST))),
            ..Problem::default()
        };
        assert!(problem.to_string().len() <= LONGEST);
    }
}
