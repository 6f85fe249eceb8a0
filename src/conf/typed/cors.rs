//! `cors`: which pages of other sites may read what a place answers.

use crate::conf::regex::Regex;

/// What a place lets other sites do.
#[derive(Debug)]
pub struct Cors {
    /// Whose pages.
    pub origins: Box<[Origin]>,
    /// `methods=`: the value of `Access-Control-Allow-Methods`.
    pub methods: Box<[u8]>,
    /// `headers=`: the value of `Access-Control-Allow-Headers`; `None` allows those asked for.
    pub headers: Option<Box<[u8]>>,
    /// `expose=`: the value of `Access-Control-Expose-Headers`.
    pub expose: Option<Box<[u8]>>,
    /// `credentials`: cookies and passwords may come along.
    pub credentials: bool,
    /// `max_age=` in seconds, as text.
    pub max_age: Option<Box<[u8]>>,
}

/// Whose pages may read.
#[derive(Debug)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://app.example.com`, in lower case.
    Exact(Box<[u8]>),
    /// `https://*.example.com`: every name below; what stands in front of the `*` and behind it.
    Below(Box<[u8]>, Box<[u8]>),
    /// `~^https://…$`
    Regex(Regex),
}

impl Cors {
    /// Is it open to everybody, so that the answer is the same for all?
    pub fn is_open(&self) -> bool {
        self.origins
            .iter()
            .any(|origin| matches!(origin, Origin::Any))
    }

    /// May pages of this origin read?
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|allowed| match allowed {
            Origin::Any => true,
            Origin::Exact(exact) => **exact == *origin,
            Origin::Below(scheme, domain) => origin
                .strip_prefix(&**scheme)
                .and_then(|rest| rest.strip_suffix(&**domain))
                .is_some_and(is_names),
            Origin::Regex(regex) => regex.is_match(origin),
        })
    }
}

/// Are these parts of the name of a host? What stands there is a browser's word, or anybody's.
fn is_names(text: &[u8]) -> bool {
    !text.is_empty()
        && text.split(|&byte| byte == b'.').all(|part| {
            !part.is_empty()
                && (part.iter()).all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        })
}
