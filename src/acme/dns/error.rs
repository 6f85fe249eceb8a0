//! What can go wrong with a record at a provider.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::acme::secret::SecretError;
use crate::tls::fetch::FetchError;

/// Why a record was not put or removed. What a provider said is in it: bounded, safe to print, and
/// without secrets.
#[derive(Debug)]
pub enum DnsError {
    /// A secret of the configuration is not at hand.
    Secret {
        /// The directive that names it.
        parameter: &'static str,
        /// Why.
        source: SecretError,
    },
    /// A secret cannot be what the provider needs, for example no base64.
    Unusable {
        /// The directive that names it.
        parameter: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A name that DNS cannot carry.
    Name(Box<str>),
    /// No answer from the provider.
    Fetch {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: FetchError,
    },
    /// The provider answered no.
    Refused {
        /// Who.
        provider: &'static str,
        /// What was being done.
        doing: &'static str,
        /// The status of its answer.
        status: StatusCode,
        /// Its own words.
        words: Box<str>,
    },
    /// The provider's answer makes no sense.
    Malformed {
        /// Who.
        provider: &'static str,
        /// What was being done.
        doing: &'static str,
        /// What is wrong with it.
        problem: Box<str>,
    },
    /// The account has no zone that holds the name.
    NoZone {
        /// Who was asked.
        provider: &'static str,
        /// The name.
        name: Box<str>,
    },
    /// The name is not in the zone that the configuration names.
    OutsideZone {
        /// The name.
        name: Box<str>,
        /// The zone.
        zone: Box<str>,
    },
    /// The provider holds one value for a name, and another one is still there.
    Occupied {
        /// Who.
        provider: &'static str,
        /// The name.
        name: Box<str>,
    },
    /// A name server refused, or did not answer as it should.
    Server {
        /// Which one.
        server: Box<str>,
        /// What it said, or what happened.
        problem: Box<str>,
    },
    /// The program of `exec` failed.
    Program {
        /// Which one.
        program: Box<str>,
        /// What happened.
        problem: Box<str>,
        /// What it wrote last.
        output: Box<str>,
    },
    /// Some name servers of the zone went on answering without the value.
    Unspread {
        /// The name.
        name: Box<str>,
        /// The servers that lack it.
        lacking: Vec<Box<str>>,
        /// How long they were asked.
        waited: Duration,
    },
    /// Everything together took too long.
    Timeout {
        /// Who.
        provider: &'static str,
        /// The whole time given.
        after: Duration,
    },
}

impl fmt::Display for DnsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { parameter, .. } => {
                write!(formatter, "the secret of `{parameter}` is not at hand")
            }
            Self::Unusable { parameter, wanted } => {
                write!(formatter, "the secret of `{parameter}` is not {wanted}")
            }
            Self::Name(name) => write!(formatter, "`{name}` is not a name of DNS"),
            Self::Fetch { doing, .. } => write!(formatter, "cannot {doing}"),
            Self::Refused {
                provider,
                doing,
                status,
                words,
            } => {
                write!(formatter, "`{provider}` refused to {doing} ({status})")?;
                match words.is_empty() {
                    true => Ok(()),
                    false => write!(formatter, ": {words}"),
                }
            }
            Self::Malformed {
                provider,
                doing,
                problem,
            } => write!(
                formatter,
                "cannot {doing}: the answer of `{provider}` makes no sense: {problem}"
            ),
            Self::NoZone { provider, name } => write!(
                formatter,
                "`{provider}` shows no zone that holds `{name}` \
                 (hint: does the token belong to the account of the zone, with the right to read it?)"
            ),
            Self::OutsideZone { name, zone } => {
                write!(formatter, "`{name}` is not in the zone `{zone}`")
            }
            Self::Occupied { provider, name } => write!(
                formatter,
                "`{provider}` keeps one value for `{name}` and has another one"
            ),
            Self::Server { server, problem } => {
                write!(formatter, "the name server `{server}`: {problem}")
            }
            Self::Program {
                program,
                problem,
                output,
            } => {
                write!(formatter, "the program `{program}` {problem}")?;
                match output.is_empty() {
                    true => Ok(()),
                    false => write!(formatter, "; it wrote: {output}"),
                }
            }
            Self::Unspread {
                name,
                lacking,
                waited,
            } => {
                write!(formatter, "after {waited:?} `{name}` is not at")?;
                for (position, server) in lacking.iter().enumerate() {
                    let joint = if position == 0 { " " } else { ", " };
                    write!(formatter, "{joint}`{server}`")?;
                }
                Ok(())
            }
            Self::Timeout { provider, after } => {
                write!(formatter, "`{provider}` was not done after {after:?}")
            }
        }
    }
}

impl Error for DnsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Secret { source, .. } => Some(source),
            Self::Fetch { source, .. } => Some(source),
            _ => None,
        }
    }
}
