//! Lowering: the tree with its includes resolved → typed values.
//!
//! Owns the turning of words into values and the rules that look at more than one word. Every
//! problem is reported to the [`Cx`] and lowering goes on with a harmless value in its place; a
//! configuration with a reported error is never used.

pub mod access;
pub mod acme;
pub mod acme_dns;
pub mod alerts;
pub mod bans;
pub mod cache_path;
pub mod ciphers;
pub mod client_status;
pub mod config;
pub mod cors;
pub mod filters;
#[cfg(test)]
pub mod fixture;
pub mod header_edits;
pub mod health;
pub mod http3;
pub mod limits;
pub mod listen;
pub mod llm;
pub mod llm_log;
pub mod llm_money;
pub mod location;
pub mod log;
pub mod login;
pub mod map;
pub mod names;
pub mod on_demand;
pub mod peer_tls;
pub mod places;
pub mod process;
pub mod proxy;
pub mod proxy_cache;
mod proxy_networks;
mod proxy_store;
pub mod rewrite;
pub mod scope;
pub mod secret;
pub mod settings;
pub mod tls;
pub mod upstream;

use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::regex::Regex;
use crate::conf::source::Span;
use crate::conf::template::{Template, TemplateError};
use crate::conf::variable::{Names, Variable};

/// What every part of the lowering is handed: the variables that exist, and where problems go.
#[derive(Debug)]
pub struct Cx {
    /// The variables that the configuration defines; complete before the first template is compiled.
    pub names: Names,
    /// What was found wrong so far.
    pub diagnostics: Vec<Diagnostic>,
}

impl Cx {
    /// Learns the names of all variables that the tree defines anywhere; a template may use a
    /// variable before the line that defines it.
    pub fn new(nodes: &[Node]) -> Self {
        let mut names = Names::default();
        names::collect(nodes, &mut names);
        Self {
            names,
            diagnostics: Vec::new(),
        }
    }

    /// Tells a problem.
    pub fn report(&mut self, problem: Diagnostic) {
        self.diagnostics.push(problem);
    }

    /// Tells a problem that makes the configuration unusable and needs no hint.
    pub fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::error(code, span, message));
    }

    /// Compiles a word with variables; the empty template if it cannot be.
    pub fn template(&mut self, word: &Word) -> Template {
        self.template_of(word, &word.text)
    }

    /// As [`Cx::template`] for a part of a word (`text`), e.g. the value of `name=value`.
    pub fn template_of(&mut self, word: &Word, text: &str) -> Template {
        match Template::parse(text, &self.names) {
            Ok(template) => template,
            Err(TemplateError::BadName { .. }) => {
                let problem = Diagnostic::error(
                    Code::BAD_TEMPLATE,
                    word.span,
                    format!("invalid variable name in `{text}`"),
                );
                self.report(problem.hint(
                    "a `$` starts the name of a variable; `map` or `geo` can define a variable \
                     that holds a `$`",
                ));
                Template::default()
            }
            Err(TemplateError::Unknown { name, .. }) => {
                self.unknown_variable(word.span, &name);
                Template::default()
            }
        }
    }

    /// The variable that `$name` means.
    pub fn variable(&mut self, word: &Word, name: &str) -> Option<Variable> {
        let variable = self.names.resolve(name);
        if variable.is_none() {
            self.unknown_variable(word.span, name);
        }
        variable
    }

    /// Compiles a regular expression that is a whole word or (`pattern`) a part of it.
    pub fn regex(&mut self, word: &Word, pattern: &str, ignore_case: bool) -> Option<Regex> {
        match Regex::new(pattern, ignore_case, &mut self.names) {
            Ok(regex) => Some(regex),
            Err(reason) => {
                self.error(
                    Code::BAD_REGEX,
                    word.span,
                    format!("invalid regular expression `{pattern}`: {reason}"),
                );
                None
            }
        }
    }

    fn unknown_variable(&mut self, span: Span, name: &str) {
        let mut problem = Diagnostic::error(
            Code::UNKNOWN_VARIABLE,
            span,
            format!("unknown variable `${name}`"),
        );
        if let Some(near) = names::nearest(name, &self.names) {
            problem = problem.hint(format!("did you mean `${near}`?"));
        }
        self.report(problem);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::conf::explain::CODES;
    use crate::conf::typed::location::AccessSubject;
    use crate::conf::{check, include};

    #[test]
    fn included_rules_of_access_stand_where_the_include_stands() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("rules");
        std::fs::write(&file, "allow 192.0.2.1; deny 192.0.2.0/24;\n").expect("written");
        let text = format!(
            "http {{ server {{ deny 192.0.2.9; include {}; deny all; }} }}\n",
            file.display()
        );
        let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
        check::check(&mut loaded);
        let config = super::config::lower(&mut loaded, Path::new("/"), &[]);
        let config = config.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let rules = config.http.servers[0].settings.access.iter();
        let shown: Vec<_> = rules
            .map(|rule| match &rule.who {
                AccessSubject::Network(network) => format!("{} {network}", rule.allow),
                other => format!("{} {other:?}", rule.allow),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "false 192.0.2.9/32",
                "true 192.0.2.1/32",
                "false 192.0.2.0/24",
                "false All"
            ]
        );
    }

    #[test]
    fn a_server_knows_its_addresses_in_order_and_a_location_its_text() {
        let text = r"http {
            server { listen 127.0.0.1:81; server_name one; }
            server {
                listen 127.0.0.1:82; listen 127.0.0.1:81; server_name two;
                location / { } location =/x { } location ^~ /y/ { }
                location ~ \.php$ { } location ~*\.php$ { } location @name { }
            }
        }
        ";
        let mut loaded = include::load_text(Path::new("test.conf"), text.into(), Path::new("/"));
        check::check(&mut loaded);
        let config = super::config::lower(&mut loaded, Path::new("/"), &[]);
        let config = config.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let two = &config.http.servers[1];
        let listens: Vec<_> = two.listens.iter().map(ToString::to_string).collect();
        assert_eq!(listens, ["127.0.0.1:82", "127.0.0.1:81"]);
        let locations = two.locations.iter();
        let written: Vec<_> = locations
            .map(|location| location.kind.to_string())
            .collect();
        let expected = ["/", "= /x", "^~ /y/", r"~ \.php$", r"~* \.php$", "@name"];
        assert_eq!(written, expected);
    }

    #[test]
    fn the_wrong_example_of_a_code_of_lowering_has_it_and_the_right_one_is_right() {
        let told = |text: &str| {
            let text = format!("{text}\n");
            let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
            check::check(&mut loaded);
            super::config::lower(&mut loaded, Path::new("/"), &[]);
            let codes = loaded.diagnostics.iter().map(|problem| problem.code.name());
            codes.collect::<Vec<_>>()
        };
        let is_of_lowering = |name: &str| !name.starts_with("OC-E0") && !name.starts_with("OC-W0");
        for row in CODES.iter().filter(|row| !row.wrong.is_empty()) {
            let name = row.code.name();
            // Those of `openclaw lint` are traps of a configuration that lowers well.
            if is_of_lowering(name) && !row.code.is_of_lint() {
                assert!(
                    told(row.wrong).contains(&name),
                    "{name}: {:?}",
                    told(row.wrong)
                );
                assert_eq!(told(row.right), [] as [&str; 0], "{name}");
            }
        }
    }
}
