//! `access_log`, `log_format`, `error_log`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::template::Template;
use crate::conf::typed::log::{
    AccessLog, ErrorLog, Escape, Level, LogFormat, Syslog, SyslogForm, SyslogServer, Target,
};
use crate::unit;

/// nginx's predefined format.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                        \"$http_referer\" \"$http_user_agent\"";

/// The log formats of a configuration by name.
pub type Formats = HashMap<Box<str>, Arc<LogFormat>>;

/// A line of JSON for each call of a language model; what they are about is not in it.
const CALLS: &str = "$llm_json";

/// `combined`, `llm_json` and every `log_format`.
pub fn formats(http: &Scope<'_>, cx: &mut Cx) -> Formats {
    let mut formats = Formats::new();
    for (name, escape, line) in [
        ("combined", Escape::Default, COMBINED),
        ("llm_json", Escape::None, CALLS),
    ] {
        let line = Template::parse(line, &cx.names).unwrap_or_default();
        let name: Box<str> = name.into();
        let format = LogFormat {
            name: name.clone(),
            escape,
            line,
        };
        formats.insert(name, Arc::new(format));
    }
    for node in http.own("log_format") {
        let Some((name, mut words)) = node.arguments.split_first() else {
            continue;
        };
        let mut escape = Escape::Default;
        if let Some(first) = words.first()
            && let Some(kind) = first.text.strip_prefix("escape=")
        {
            escape = match kind {
                "default" => Escape::Default,
                "json" => Escape::Json,
                "none" => Escape::None,
                _ => {
                    cx.report(
                        Diagnostic::error(
                            Code::NOT_ONE_OF,
                            first.span,
                            format!("unknown log format escaping `{kind}`"),
                        )
                        .hint("`escape=` takes `default`, `json` or `none`"),
                    );
                    Escape::Default
                }
            };
            words = &words[1..];
        }
        // The words of a format are one text; a variable never spans two of them.
        let text: String = words.iter().map(|word| &*word.text).collect();
        let line = match Template::parse(&text, &cx.names) {
            Ok(line) => line,
            // Told word by word, so that the caret stands under the right one.
            Err(_) => {
                for word in words {
                    cx.template(word);
                }
                Template::default()
            }
        };
        let format = Arc::new(LogFormat {
            name: name.text.clone(),
            escape,
            line,
        });
        if formats.insert(name.text.clone(), format).is_some() {
            cx.error(
                Code::DUPLICATE,
                name.span,
                format!("the log format `{}` stands twice", name.text),
            );
        }
    }
    formats
}

/// The `access_log` lines in force in a place; none if it is `off`.
pub fn access_logs(scope: &Scope<'_>, formats: &Formats, cx: &mut Cx) -> Vec<AccessLog> {
    let nodes = scope.all("access_log");
    if nodes.is_empty() {
        return Vec::from_iter(formats.get("combined").map(|format| AccessLog {
            target: Target::File(scope.path("logs/access.log")),
            format: Arc::clone(format),
            buffer: None,
            flush: None,
            gzip: None,
            condition: None,
        }));
    }
    let mut logs = Vec::new();
    for node in nodes {
        let Some((first, rest)) = node.arguments.split_first() else {
            continue;
        };
        if &*first.text == "off" {
            continue;
        }
        let Some(target) = target(first, scope, true, cx) else {
            continue;
        };
        let (name, parameters) = match rest.split_first() {
            Some((word, parameters)) if !is_parameter(&word.text) => (Some(word), parameters),
            _ => (None, rest),
        };
        let format = match name {
            None => formats.get("combined"),
            Some(word) => {
                let format = formats.get(&word.text);
                if format.is_none() {
                    cx.report(
                        Diagnostic::error(
                            Code::UNKNOWN_NAME,
                            word.span,
                            format!("unknown log format `{}`", word.text),
                        )
                        .hint(format!(
                            "define it with `log_format {} …;` in `http`",
                            word.text
                        )),
                    );
                }
                format
            }
        };
        let Some(format) = format else { continue };
        let mut log = AccessLog {
            target,
            format: Arc::clone(format),
            buffer: None,
            flush: None,
            gzip: None,
            condition: None,
        };
        for word in parameters {
            let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
            let is_fine = match key {
                "buffer" => {
                    log.buffer =
                        unit::size::size(value).and_then(|size| usize::try_from(size).ok());
                    log.buffer.is_some_and(|size| size > 0)
                }
                "flush" => {
                    log.flush = unit::time::milliseconds(value);
                    log.flush.is_some_and(|time| !time.is_zero())
                }
                "gzip" => {
                    log.gzip = if value.is_empty() {
                        Some(1)
                    } else {
                        value.parse().ok()
                    };
                    log.gzip.is_some_and(|level| (1..=9).contains(&level))
                }
                "if" => {
                    log.condition = Some(cx.template_of(word, value));
                    true
                }
                _ => false,
            };
            if !is_fine {
                cx.error(
                    Code::UNKNOWN_PARAMETER,
                    word.span,
                    format!("invalid parameter `{}`", word.text),
                );
            }
        }
        // nginx collects 64k before it compresses.
        if log.gzip.is_some() && log.buffer.is_none() {
            log.buffer = Some(64 << 10);
        }
        if log.flush.is_some() && log.buffer.is_none() {
            cx.error(
                Code::UNKNOWN_PARAMETER,
                node.span,
                "`flush` needs a `buffer`",
            );
        }
        logs.push(log);
    }
    logs
}

fn is_parameter(text: &str) -> bool {
    ["buffer=", "flush=", "gzip=", "if="]
        .iter()
        .any(|name| text.starts_with(name))
        || text == "gzip"
}

/// The `error_log` lines in force in a place; `fallback` where there are none.
pub fn error_logs(scope: &Scope<'_>, fallback: &[ErrorLog], cx: &mut Cx) -> Vec<ErrorLog> {
    let nodes = scope.all("error_log");
    if nodes.is_empty() {
        return fallback.to_vec();
    }
    let mut logs = Vec::new();
    for node in nodes {
        let Some((first, rest)) = node.arguments.split_first() else {
            continue;
        };
        let Some(target) = target(first, scope, false, cx) else {
            continue;
        };
        let mut least = Level::Error;
        for word in rest {
            match level(&word.text) {
                Some(found) => least = found,
                // Reserved by nginx for its own structured form; lines stay as they are.
                None if &*word.text == "json" => {}
                None => cx.report(
                    Diagnostic::error(
                        Code::NOT_ONE_OF,
                        word.span,
                        format!("unknown log level `{}`", word.text),
                    )
                    .hint("levels are debug, info, notice, warn, error, crit, alert and emerg"),
                ),
            }
        }
        logs.push(ErrorLog {
            target,
            level: least,
        });
    }
    logs
}

/// The level of a word.
pub fn level(text: &str) -> Option<Level> {
    Some(match text {
        "emerg" => Level::Emerg,
        "alert" => Level::Alert,
        "crit" => Level::Crit,
        "error" => Level::Error,
        "warn" => Level::Warn,
        "notice" => Level::Notice,
        "info" => Level::Info,
        "debug" => Level::Debug,
        _ => return None,
    })
}

fn target(word: &Word, scope: &Scope<'_>, takes_variables: bool, cx: &mut Cx) -> Option<Target> {
    if let Some(parameters) = word.text.strip_prefix("syslog:") {
        return syslog(word, parameters, cx).map(Target::Syslog);
    }
    if &*word.text == "stderr" && !takes_variables {
        return Some(Target::Stderr);
    }
    if takes_variables && word.text.contains('$') {
        return Some(Target::FileTemplate(
            cx.template_of(word, &scope.path_text(&word.text)),
        ));
    }
    Some(Target::File(scope.path(&word.text)))
}

fn syslog(word: &Word, parameters: &str, cx: &mut Cx) -> Option<Syslog> {
    const FACILITIES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock",
        "authpriv", "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3",
        "local4", "local5", "local6", "local7",
    ];
    const SEVERITIES: [&str; 8] = [
        "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug",
    ];
    let position = |list: &[&str], text: &str| {
        list.iter()
            .position(|known| *known == text)
            .and_then(|position| u8::try_from(position).ok())
    };
    let mut server = None;
    let mut found = Syslog {
        server: SyslogServer::Unix(PathBuf::new()),
        facility: 23,
        severity: 6,
        tag: "openclaw".into(),
        no_hostname: false,
        form: SyslogForm::Rfc3164,
    };
    for part in parameters.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let is_fine = match key {
            "server" => {
                server = syslog_server(value);
                server.is_some()
            }
            "facility" => position(&FACILITIES, value)
                .map(|number| found.facility = number)
                .is_some(),
            "severity" => position(&SEVERITIES, value)
                .map(|number| found.severity = number)
                .is_some(),
            "tag" => {
                found.tag = value.into();
                !value.is_empty()
                    && value.len() <= 32
                    && value
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            }
            "nohostname" => {
                found.no_hostname = true;
                true
            }
            "format" => match value {
                "rfc3164" => {
                    found.form = SyslogForm::Rfc3164;
                    true
                }
                "rfc5424" => {
                    found.form = SyslogForm::Rfc5424;
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if !is_fine {
            cx.error(
                Code::UNKNOWN_PARAMETER,
                word.span,
                format!("invalid syslog parameter `{part}`"),
            );
            return None;
        }
    }
    let Some(server) = server else {
        cx.report(
            Diagnostic::error(
                Code::PARAMETER_VALUE,
                word.span,
                "no syslog server is named",
            )
            .hint(
                "write `syslog:server=ADDRESS[:PORT]`, `syslog:server=tcp:ADDRESS[:PORT]` or `syslog:server=unix:PATH`",
            ),
        );
        return None;
    };
    Some(Syslog { server, ..found })
}

fn syslog_server(text: &str) -> Option<SyslogServer> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| SyslogServer::Unix(path.into()));
    }
    let stream = text.strip_prefix("tcp:");
    let (name, port) = super::listen::split_port(stream.unwrap_or(text))?;
    (!name.is_empty()).then(|| SyslogServer::Host {
        name: name.into(),
        port: port.unwrap_or(514),
        is_stream: stream.is_some(),
    })
}

/// The time that a `worker_shutdown_timeout` or the like names, where 0 is none.
pub fn duration_of(node: &Node) -> Option<Duration> {
    node.arguments
        .first()
        .and_then(|word| unit::time::milliseconds(&word.text))
        .filter(|time| !time.is_zero())
}
