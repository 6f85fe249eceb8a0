//! `more_set_headers`, `more_clear_headers`, `more_set_input_headers`, `more_clear_input_headers`.

use super::Cx;
use super::scope::Scope;
use super::settings::check_field_value;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::header_edits::{HeaderChange, HeaderEdit, HeaderEdits};

/// Fields that say where a message ends, or that are between us and our neighbour alone: what the
/// next one is told of them has to be true.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Those of answers that are written when it is clear which part of a body is sent.
const RANGES: &[&str] = &["accept-ranges", "content-range"];
/// Those of requests that were acted upon already.
const DECIDED: &[&str] = &["expect", "host", "http2-settings"];

/// What a place does to fields; `None` if it leaves them alone.
pub fn header_edits(scope: &Scope<'_>, cx: &mut Cx) -> Option<HeaderEdits> {
    let answer = edits(scope, ["more_set_headers", "more_clear_headers"], cx);
    let request = edits(
        scope,
        ["more_set_input_headers", "more_clear_input_headers"],
        cx,
    );
    if answer.is_empty() && request.is_empty() {
        return None;
    }
    Some(HeaderEdits {
        answer: answer.into(),
        request: request.into(),
    })
}

fn edits(scope: &Scope<'_>, names: [&str; 2], cx: &mut Cx) -> Vec<HeaderEdit> {
    let mut edits = Vec::new();
    // Both are one list, in which a later line finds what an earlier one did.
    for line in scope.merged_in_order(&names) {
        edits.extend(edits_of(line, cx));
    }
    edits
}

/// What stands in front of the fields of a line, or among them.
#[derive(Default)]
struct Options {
    replaces: bool,
    appends: bool,
    statuses: Vec<u16>,
    types: Vec<Box<[u8]>>,
}

fn edits_of(line: &Node, cx: &mut Cx) -> Vec<HeaderEdit> {
    let clears = line.name.text.starts_with("more_clear");
    let is_of_requests = line.name.text.contains("_input_");
    let told = cx.diagnostics.len();
    let mut options = Options::default();
    let mut fields: Vec<&Word> = Vec::new();
    let mut words = line.arguments.iter();
    while let Some(word) = words.next() {
        match &*word.text {
            "-r" if is_of_requests && !clears => options.replaces = true,
            "-a" if !is_of_requests && !clears => options.appends = true,
            "-t" => match words.next() {
                Some(list) => options.types.extend(
                    items(&list.text).map(|item| item.to_ascii_lowercase().into_bytes().into()),
                ),
                None => option_without_value(word, "media types", "text/html text/css", cx),
            },
            "-s" if !is_of_requests => match words.next() {
                Some(list) => options.statuses.extend(statuses(list, cx)),
                None => option_without_value(word, "statuses", "404 500", cx),
            },
            text if text.starts_with('-') => {
                let known = match (is_of_requests, clears) {
                    (false, false) => "`-s STATUSES`, `-t TYPES`, `-a`",
                    (false, true) => "`-s STATUSES`, `-t TYPES`",
                    (true, false) => "`-t TYPES`, `-r`",
                    (true, true) => "`-t TYPES`",
                };
                cx.report(
                    Diagnostic::error(
                        Code::BAD_HEADER_EDIT,
                        word.span,
                        format!("`{text}` is no option of `{}`", line.name.text),
                    )
                    .hint(format!("there are {known}")),
                );
            }
            _ => fields.push(word),
        }
    }
    if fields.is_empty() && cx.diagnostics.len() == told {
        cx.report(
            Diagnostic::error(
                Code::BAD_HEADER_EDIT,
                line.name.span,
                format!("`{}` names no field", line.name.text),
            )
            .hint(match clears {
                true => "write the name, for example `X-Powered-By`",
                false => "write name and value as one word in quotes, for example `\"X-Robots-Tag: noindex\"`",
            }),
        );
    }
    fields
        .into_iter()
        .filter_map(|word| {
            let (name, value) = word.text.split_once(':').unwrap_or((&word.text, ""));
            let (name, value) = (name.trim(), value.trim());
            let is_beginning = name.len() > 1 && name.ends_with('*');
            let exact = if is_beginning {
                &name[..name.len() - 1]
            } else {
                name
            };
            check_name(word, exact, is_of_requests, cx)?;
            if is_beginning && !clears {
                cx.report(
                    Diagnostic::error(
                        Code::BAD_HEADER_EDIT,
                        word.span,
                        format!("`{name}` is many fields, which cannot be set to one value"),
                    )
                    .hint("only what is taken out may be named by its beginning"),
                );
                return None;
            }
            if !clears && !word.text.contains(':') {
                cx.report(
                    Diagnostic::warning(
                        Code::FIELD_WITHOUT_VALUE,
                        word.span,
                        format!("`{name}` has no value, so the field is taken out"),
                    )
                    .hint("write name and value as one word in quotes: `\"Name: value\"`"),
                );
            }
            let change = match clears || value.is_empty() {
                true if is_beginning => HeaderChange::ClearBeginning,
                true => HeaderChange::Clear,
                false => {
                    check_field_value(word, value, cx);
                    let value = cx.template_of(word, value);
                    match (options.replaces, options.appends) {
                        (true, _) => HeaderChange::Replace(value),
                        (_, true) => HeaderChange::Append(value),
                        _ => HeaderChange::Set(value),
                    }
                }
            };
            Some(HeaderEdit {
                name: exact.as_bytes().into(),
                change,
                statuses: options.statuses.as_slice().into(),
                types: options.types.as_slice().into(),
            })
        })
        .collect()
}

/// A name that may be changed; otherwise it is told why not.
fn check_name(word: &Word, name: &str, is_of_requests: bool, cx: &mut Cx) -> Option<()> {
    if name.is_empty()
        || !name
            .bytes()
            .all(crate::conf::typed::lower::settings::is_of_token)
    {
        let problem = Diagnostic::error(
            Code::BAD_FIELD_NAME,
            word.span,
            format!("`{name}` is not the name of a header field"),
        );
        cx.report(problem.hint("write name and value as one word: `\"Name: value\"`"));
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let (why, hint) = if FRAMING.contains(&&*lower) {
        (
            "is about this connection or says where a message ends",
            "it is written as the message needs it; leave it out here",
        )
    } else if !is_of_requests && RANGES.contains(&&*lower) {
        (
            "tells of the parts of a body that are sent",
            "`max_ranges 0;` serves no parts",
        )
    } else if is_of_requests && DECIDED.contains(&&*lower) {
        (
            "decided already what becomes of the request",
            "`proxy_set_header` says what peers are told",
        )
    } else {
        return Some(());
    };
    cx.report(
        Diagnostic::error(
            Code::BAD_HEADER_EDIT,
            word.span,
            format!("`{name}` cannot be changed: it {why}"),
        )
        .hint(hint),
    );
    None
}

fn statuses(list: &Word, cx: &mut Cx) -> Vec<u16> {
    items(&list.text)
        .filter_map(|item| {
            let status = item
                .parse()
                .ok()
                .filter(|status| (100..=999).contains(status));
            if status.is_none() {
                cx.report(
                    Diagnostic::error(
                        Code::BAD_HEADER_EDIT,
                        list.span,
                        format!("`{item}` is no status"),
                    )
                    .hint("several stand in quotes: `-s \"404 500\"`"),
                );
            }
            status
        })
        .collect()
}

/// The parts of a list, as the module has them.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', '\t', ',', ';'])
        .filter(|item| !item.is_empty())
}

fn option_without_value(word: &Word, of: &str, example: &str, cx: &mut Cx) {
    cx.report(
        Diagnostic::error(
            Code::BAD_HEADER_EDIT,
            word.span,
            format!("`{}` stands without its {of}", word.text),
        )
        .hint(format!("write `{} \"{example}\"`", word.text)),
    );
}
