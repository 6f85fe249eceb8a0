//! The text of `openclaw help DIRECTIVE`, made from the table alone.
//!
//! Owns the words that stand for arguments; not the table. Invariant: every row and every foreign name
//! has a text.

use std::fmt::Write as _;

use super::{ANY_NUMBER, Argument, Contexts, Directive, Form, Support, foreign, rows};

/// A line that may stand in a block of entries besides plain entries, or the plain entry itself.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As it is written, with words in place of values.
    pub syntax: &'static str,
    /// One line that says what it is for.
    pub help: &'static str,
}

/// What may stand in the block of this directive (`map`, `geo`, `split_clients`, `types`); empty for
/// all others.
pub fn entries(directive: &str) -> &'static [Entry] {
    match directive {
        "map" => MAP_ENTRIES,
        "geo" => GEO_ENTRIES,
        "split_clients" => SPLIT_CLIENTS_ENTRIES,
        "types" => TYPES_ENTRIES,
        _ => &[],
    }
}

/// What a directive is for and how it is written; for one that this version lacks, why.
/// `None` when nobody knows the name.
pub fn render_help(name: &str) -> Option<String> {
    let mut text = String::new();
    let mut shown: Vec<&Directive> = Vec::new();
    for &row in rows(name) {
        // `if` has a row for servers and one for locations, which differ only in what stands inside.
        if shown.iter().any(|other| reads_alike(other, row)) {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let contexts = rows(name)
            .iter()
            .filter(|other| reads_alike(other, row))
            .fold(Contexts(0), |sum, other| sum.or(other.contexts));
        render(&mut text, row, contexts);
        shown.push(row);
    }
    if text.is_empty() {
        return foreign(name).map(|why| format!("{name}: {why}\n"));
    }
    Some(text)
}

fn reads_alike(one: &Directive, other: &Directive) -> bool {
    one.help == other.help && one.default == other.default && one.arguments == other.arguments
}

fn render(text: &mut String, row: &Directive, contexts: Contexts) {
    let mut line = |label: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{label:<10}{value}");
    };
    line("syntax", &syntax(row));
    if let Some(default) = row.default {
        line("default", &format!("{} {default};", row.name));
    }
    line("context", &context_names(contexts));
    line("module", row.module);
    line("meaning", row.help);
    for entry in entries(row.name) {
        line("entry", &format!("{}: {}", entry.syntax, entry.help));
    }
    if let Some(legend) = legend(row.arguments) {
        line("values", legend);
    }
    if let Support::NoEffect(reason) = row.support {
        line("note", &format!("accepted, without effect: {reason}"));
    }
}

fn syntax(row: &Directive) -> String {
    let mut text = row.name.to_owned();
    match SPELLINGS.iter().find(|(name, _)| *name == row.name) {
        Some((_, "")) => {}
        Some((_, arguments)) => {
            text.push(' ');
            text.push_str(arguments);
        }
        None => {
            let positions = if row.max == ANY_NUMBER {
                row.arguments.len()
            } else {
                usize::from(row.max)
            };
            for position in 0..positions {
                let Some(argument) = row.arguments.get(position).or(row.arguments.last()) else {
                    break;
                };
                let (open, close) = if position < usize::from(row.min) {
                    ("", "")
                } else {
                    ("[", "]")
                };
                text.push_str(&format!(" {open}{}{close}", placeholder(argument)));
            }
            if row.max == ANY_NUMBER {
                text.push_str(" ...");
            }
        }
    }
    text.push_str(match row.form {
        Form::Simple => ";",
        Form::Block(_) => " { ... }",
    });
    text
}

fn placeholder(argument: &Argument) -> String {
    match argument {
        Argument::Flag => "on | off".to_owned(),
        Argument::Number { .. } => "number".to_owned(),
        Argument::Size | Argument::Offset => "size".to_owned(),
        Argument::Milliseconds | Argument::Seconds => "time".to_owned(),
        Argument::OneOf(words) => words.join(" | "),
        Argument::Text => "text".to_owned(),
        Argument::Template => "text with variables".to_owned(),
        Argument::Variable => "$variable".to_owned(),
        Argument::Path => "path".to_owned(),
        Argument::PathTemplate => "path with variables".to_owned(),
        Argument::Regex => "regular expression".to_owned(),
        Argument::Parameter(names) => names
            .iter()
            .map(|name| {
                if name.ends_with('=') {
                    format!("{name}value")
                } else {
                    (*name).to_owned()
                }
            })
            .collect::<Vec<_>>()
            .join(" | "),
        Argument::Free => "value".to_owned(),
    }
}

fn context_names(contexts: Contexts) -> String {
    if contexts == Contexts::ANY {
        return "any".to_owned();
    }
    [
        (Contexts::MAIN, "main"),
        (Contexts::EVENTS, "events"),
        (Contexts::HTTP, "http"),
        (Contexts::SERVER, "server"),
        (Contexts::LOCATION, "location"),
        (Contexts::IF_IN_SERVER, "if in server"),
        (Contexts::IF_IN_LOCATION, "if in location"),
        (Contexts::LIMIT_EXCEPT, "limit_except"),
        (Contexts::UPSTREAM, "upstream"),
        (Contexts::ENTRIES, "entries"),
        (Contexts::DNS_PROVIDER, "dns_provider"),
        (Contexts::OIDC_PROVIDER, "oidc_provider"),
        (Contexts::LLM_PROVIDER, "llm_provider"),
        (Contexts::LLM_MODEL, "llm_model"),
    ]
    .into_iter()
    .filter(|(context, _)| contexts.contains(*context))
    .map(|(_, name)| name)
    .collect::<Vec<_>>()
    .join(", ")
}

fn legend(arguments: &[Argument]) -> Option<&'static str> {
    arguments.iter().find_map(|argument| match argument {
        Argument::Size => Some("a size is a number of bytes, or one with k or m"),
        Argument::Offset => Some("a size is a number of bytes, or one with k, m or g"),
        Argument::Milliseconds => {
            Some("a time is a number of seconds, or numbers with ms, s, m, h, d, w, M and y")
        }
        Argument::Seconds => {
            Some("a time is a number of seconds, or numbers with s, m, h, d, w, M and y")
        }
        _ => None,
    })
}

/// The arguments of directives whose types alone would say too little.
static SPELLINGS: &[(&str, &str)] = &[
    (
        "access_log",
        "path [format] [buffer=size] [gzip[=level]] [flush=time] [if=text] | off",
    ),
    (
        "cors",
        "off | origin ... [methods=list] [headers=list] [expose=list] [credentials] [max_age=time]",
    ),
    ("directio", "size | off"),
    (
        "error_log",
        "path | stderr | syslog:server=[tcp:]address [level]",
    ),
    ("error_page", "code ... [=[code]] uri"),
    ("expires", "[modified] time | epoch | max | off"),
    ("geo", "[$address] $variable"),
    (
        "if",
        "($variable [= | != | ~ | ~* | !~ | !~* value]) | (-f | -d | -e | -x path)",
    ),
    ("limit_conn", "zone number"),
    ("limit_conn_zone", "key zone=name:size"),
    ("limit_except", "method ..."),
    (
        "limit_req",
        "zone=name [burst=number] [nodelay | delay=number]",
    ),
    (
        "limit_req_zone",
        "key zone=name:size rate=number(r/s | r/m)",
    ),
    (
        "listen",
        "address[:port] | port | unix:path [default_server] [proxy_protocol] [reuseport] \
         [backlog=number] [so_keepalive=on|off|idle:interval:count] ...",
    ),
    ("location", "[= | ~ | ~* | ^~] uri | @name"),
    ("log_format", "name [escape=default|json|none] text ..."),
    ("proxy_cookie_domain", "off | domain replacement"),
    ("proxy_cookie_flags", "off | cookie flag ..."),
    ("proxy_cookie_path", "off | path replacement"),
    ("proxy_redirect", "default | off | text replacement"),
    (
        "resolver",
        "address ... [valid=time] [ipv4=on|off] [ipv6=on|off]",
    ),
    ("return", "code [text] | code url | url"),
    ("server_name", "name ..."),
    ("server_tokens", "on | off | build | text with variables"),
    ("stub_status", ""),
    ("thread_pool", "name threads=number [max_queue=number]"),
    ("worker_cpu_affinity", "auto [mask] | mask ..."),
    ("worker_processes", "number | auto"),
];

static MAP_ENTRIES: &[Entry] = &[
    Entry {
        syntax: "text value",
        help: "this text, in any case of letters, gives this value",
    },
    Entry {
        syntax: "~expression value",
        help: "what matches the regular expression gives this value; `~*` ignores case",
    },
    Entry {
        syntax: "default value",
        help: "what nothing else matches; empty if not said",
    },
    Entry {
        syntax: "hostnames",
        help: "texts may be names of hosts with `*` at an end",
    },
    Entry {
        syntax: "volatile",
        help: "the value is looked up at each use",
    },
    Entry {
        syntax: "include path",
        help: "reads entries from a file",
    },
];

static GEO_ENTRIES: &[Entry] = &[
    Entry {
        syntax: "address[/bits] value",
        help: "this address or network gives this value; the narrowest wins",
    },
    Entry {
        syntax: "default value",
        help: "what nothing else matches; empty if not said",
    },
    Entry {
        syntax: "ranges",
        help: "addresses are written as first-last; stands first",
    },
    Entry {
        syntax: "proxy address[/bits]",
        help: "a proxy whose `X-Forwarded-For` is believed",
    },
    Entry {
        syntax: "proxy_recursive",
        help: "takes the last address that no proxy has, rather than the last one",
    },
    Entry {
        syntax: "delete address[/bits]",
        help: "takes an entry away again",
    },
    Entry {
        syntax: "volatile",
        help: "the value is looked up at each use",
    },
    Entry {
        syntax: "include path",
        help: "reads entries from a file",
    },
];

static SPLIT_CLIENTS_ENTRIES: &[Entry] = &[
    Entry {
        syntax: "percent% value",
        help: "this share gets this value; up to two digits after the point",
    },
    Entry {
        syntax: "* value",
        help: "all the rest gets this value",
    },
];

static TYPES_ENTRIES: &[Entry] = &[
    Entry {
        syntax: "type extension ...",
        help: "files with these extensions have this media type",
    },
    Entry {
        syntax: "include path",
        help: "reads entries from a file",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::directives::all;

    fn help(name: &str) -> String {
        render_help(name).expect("known")
    }

    #[test]
    fn help_shows_syntax_default_context_module_and_unit() {
        assert_eq!(
            help("proxy_connect_timeout"),
            "\
syntax    proxy_connect_timeout time;
default   proxy_connect_timeout 60s;
context   http, server, location
module    http_proxy
meaning   how long connecting to a peer may take
values    a time is a number of seconds, or numbers with ms, s, m, h, d, w, M and y
"
        );
    }

    #[test]
    fn optional_arguments_stand_in_brackets() {
        assert!(help("add_header").contains("add_header text text with variables [always];"));
        assert!(help("keepalive").contains("keepalive number [local];"));
        assert!(help("zone").contains("zone text [size];"));
        assert!(help("stub_status").contains("syntax    stub_status;"));
    }

    #[test]
    fn a_name_with_two_meanings_shows_both() {
        let text = help("server");
        assert!(text.contains("server { ... }"), "{text}");
        assert!(text.contains("server value [weight=value |"), "{text}");
        assert!(text.contains("context   upstream"), "{text}");
    }

    #[test]
    fn rows_that_read_alike_are_shown_once_with_all_contexts() {
        let text = help("if");
        assert_eq!(text.matches("syntax").count(), 1, "{text}");
        assert!(text.contains("context   server, location\n"), "{text}");
    }

    #[test]
    fn a_directive_without_effect_says_why() {
        let text = help("tcp_nopush");
        assert!(
            text.contains("note      accepted, without effect: "),
            "{text}"
        );
    }

    #[test]
    fn a_block_of_entries_lists_what_may_stand_in_it() {
        let text = help("map");
        for words in ["default value:", "hostnames:", "volatile:", "include path:"] {
            assert!(text.contains(&format!("entry     {words}")), "{text}");
        }
    }

    #[test]
    fn a_foreign_directive_says_what_is_lacking() {
        assert_eq!(
            help("geoip_country"),
            "geoip_country: lookup of countries (nginx's http_geoip) is not available in this version\n"
        );
    }

    #[test]
    fn nobody_knows_a_made_up_name() {
        assert_eq!(render_help("frobnicate"), None);
        assert_eq!(render_help(""), None);
    }

    #[test]
    fn every_directive_has_a_help_text_of_full_lines() {
        for row in all() {
            let text = help(row.name);
            assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
        }
    }

    #[test]
    fn a_spelling_belongs_to_a_directive() {
        for (name, _) in SPELLINGS {
            assert!(!rows(name).is_empty(), "`{name}` has no row");
        }
    }
}
