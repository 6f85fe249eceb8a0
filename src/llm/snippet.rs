//! What a client needs to use a key: an address, the secret, and the name of its gateway, in a form
//! that can be pasted.

use std::net::SocketAddr;

use crate::protocol::Status;
use crate::unit::printable::escape;

/// In which form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Lines for a shell.
    Shell,
    /// Python with the library of OpenAI.
    OpenAi,
    /// Python with the library of Anthropic.
    Anthropic,
    /// The configuration of a local gateway.
    Yaml,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Shell, Self::OpenAi, Self::Anthropic, Self::Yaml];

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shell => "a shell",
            Self::OpenAi => "Python with OpenAI's library",
            Self::Anthropic => "Python with Anthropic's library",
            Self::Yaml => "a local gateway",
        }
    }
}

/// An address of a daemon: the first that it listens to, under the machine's name. A guess.
#[must_use]
pub fn address(status: &Status) -> String {
    let listens = || status.listens.iter();
    let port = |listen: &str| listen.rsplit(':').next()?.parse::<u16>().ok();
    let addresses = listens().map(|listen| listen.parse::<SocketAddr>().ok());
    let addresses: Option<Vec<SocketAddr>> = addresses.collect();
    let addresses = addresses.unwrap_or_default();
    let is_here = !addresses.is_empty() && addresses.iter().all(|it| it.ip().is_loopback());
    let host = match status.host.as_str() {
        // Nobody reaches it under the name of the machine.
        _ if is_here && addresses.iter().any(SocketAddr::is_ipv4) => "127.0.0.1",
        _ if is_here => "[::1]",
        "" => "localhost",
        host => host,
    };
    if listens().any(|listen| port(listen) == Some(443)) {
        return format!("https://{host}");
    }
    match listens().find_map(|listen| port(listen)) {
        Some(80) | None => format!("http://{host}"),
        Some(port) => format!("http://{host}:{port}"),
    }
}

/// The text. Of the gateway's address people may write either end.
#[must_use]
pub fn text(form: Form, url: &str, secret: &str, gateway: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = escape(url.strip_suffix("/v1").unwrap_or(url));
    let (secret, gateway) = (escape(secret), escape(gateway));
    match form {
        Form::Shell => format!(
            "export OPENAI_BASE_URL='{url}/v1'\n\
             export OPENAI_API_KEY='{secret}'\n\
             export ANTHROPIC_BASE_URL='{url}'\n\
             export ANTHROPIC_API_KEY='{secret}'\n"
        ),
        Form::OpenAi => format!(
            "from openai import OpenAI\n\
             \n\
             client = OpenAI(\n    \
                 base_url=\"{url}/v1\",\n    \
                 api_key=\"{secret}\",\n    \
                 default_headers={{\"X-Gateway-Id\": \"{gateway}\"}},\n\
             )\n"
        ),
        Form::Anthropic => format!(
            "from anthropic import Anthropic\n\
             \n\
             client = Anthropic(\n    \
                 base_url=\"{url}\",\n    \
                 api_key=\"{secret}\",\n    \
                 default_headers={{\"X-Gateway-Id\": \"{gateway}\"}},\n\
             )\n"
        ),
        Form::Yaml => format!(
            "llm:\n  \
               provider: openapi\n  \
               openapi:\n    \
                 baseUrl: \"{url}/v1\"\n    \
                 apiKey: \"{secret}\"\n    \
                 headers:\n      \
                   X-Gateway-Id: \"{gateway}\"\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_hold_what_a_client_needs_and_nothing_else() {
        let of = |form| text(form, "https://ai.example.com/v1/", "oc-secret", "ci");
        assert_eq!(
            of(Form::Shell),
            "export OPENAI_BASE_URL='https://ai.example.com/v1'\n\
             export OPENAI_API_KEY='oc-secret'\n\
             export ANTHROPIC_BASE_URL='https://ai.example.com'\n\
             export ANTHROPIC_API_KEY='oc-secret'\n"
        );
        assert_eq!(
            of(Form::OpenAi),
            "from openai import OpenAI\n\n\
             client = OpenAI(\n    base_url=\"https://ai.example.com/v1\",\n    \
             api_key=\"oc-secret\",\n    default_headers={\"X-Gateway-Id\": \"ci\"},\n)\n"
        );
        assert_eq!(
            text(Form::Yaml, "https://ai.example.com", "oc-secret", "vps"),
            "llm:\n  provider: openapi\n  openapi:\n    \
             baseUrl: \"https://ai.example.com/v1\"\n    apiKey: \"oc-secret\"\n    \
             headers:\n      X-Gateway-Id: \"vps\"\n"
        );
        assert!(of(Form::Anthropic).contains("base_url=\"https://ai.example.com\""));
    }

    #[test]
    fn the_address_is_the_best_that_can_be_guessed() {
        let of = |listens: &[&str]| {
            address(&Status {
                host: "hub".to_owned(),
                listens: listens.iter().map(|it| (*it).to_owned()).collect(),
                ..Status::default()
            })
        };
        assert_eq!(of(&["0.0.0.0:80", "[::]:443"]), "https://hub");
        assert_eq!(of(&["0.0.0.0:80"]), "http://hub");
        assert_eq!(of(&["192.168.1.2:4000"]), "http://hub:4000");
        assert_eq!(of(&["127.0.0.1:4000"]), "http://127.0.0.1:4000");
        assert_eq!(
            of(&["127.0.0.1:4000", "[::1]:4000"]),
            "http://127.0.0.1:4000"
        );
        assert_eq!(of(&["[::1]:4000"]), "http://[::1]:4000");
        assert_eq!(of(&["127.0.0.1:81", "0.0.0.0:80"]), "http://hub:81");
        assert_eq!(of(&["unix:/run/x.sock", "127.0.0.1:80"]), "http://hub");
        assert_eq!(of(&[]), "http://hub");
    }
}
