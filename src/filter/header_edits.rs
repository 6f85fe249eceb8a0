//! `more_set_headers`, `more_clear_headers` and the same for requests (the module headers-more).
//!
//! Owns what is done to fields by name. An answer is changed before `add_header` and `expires` add
//! theirs, a request when rewrites are done and before anything is decided by its fields; the module
//! has this order. Values may hold what a client sent, and cannot end their line.

use crate::conf::typed::header_edits::{HeaderChange, HeaderEdit, HeaderEdits};
use crate::filter::headers::expand;
use crate::http::exchange::Exchange;
use crate::http::h1::framing::connection_options;
use crate::http::head::{Fields, Known};
use crate::http::hop_by_hop;

/// Changes the fields of an answer.
pub fn answer(edits: &HeaderEdits, exchange: &mut Exchange, scratch: &mut Vec<u8>) {
    for edit in &edits.answer {
        let is_meant = edit.statuses.is_empty() || edit.statuses.contains(&exchange.status);
        if !is_meant || !has_type(edit, &exchange.answer) {
            continue;
        }
        let is_cleared = expand_value(edit, exchange, scratch);
        change(edit, is_cleared, &mut exchange.answer, scratch);
        // Our own are written with the head, unless they are said to come from elsewhere or not at all.
        if is_cleared && !matches!(edit.change, HeaderChange::ClearBeginning) {
            match Known::of(&edit.name) {
                Some(Known::Server) => exchange.passes_server = true,
                Some(Known::Date) => exchange.passes_date = true,
                _ => {}
            }
        }
    }
}

/// Changes the fields of a request. Those that are new stand behind the last byte of its head.
pub fn request(edits: &HeaderEdits, exchange: &mut Exchange, scratch: &mut Vec<u8>) {
    for edit in &edits.request {
        if has_type(edit, &exchange.head.fields) {
            let is_cleared = expand_value(edit, exchange, scratch);
            let fields = &mut exchange.head.fields;
            change(edit, is_cleared, fields, scratch);
            if !is_cleared {
                forget_nomination(fields, &edit.name);
            }
        }
    }
}

/// What is set here is no longer the client's, whose `Connection` cannot say that it is for one hop.
fn forget_nomination(fields: &mut Fields, name: &[u8]) {
    if !hop_by_hop::is_nominated(fields, name) {
        return;
    }
    let mut rest: Vec<u8> = Vec::new();
    for option in connection_options(fields) {
        if !option.eq_ignore_ascii_case(name) {
            if !rest.is_empty() {
                rest.extend_from_slice(b", ");
            }
            rest.extend_from_slice(option);
        }
    }
    match rest.is_empty() {
        true => fields.remove(Known::Connection),
        false => {
            fields.set(b"Connection", &rest);
        }
    }
}

/// Is the message of a type that is meant? Parameters, such as the character set, do not count.
fn has_type(edit: &HeaderEdit, fields: &Fields) -> bool {
    if edit.types.is_empty() {
        return true;
    }
    let value = fields.known(Known::ContentType).unwrap_or_default();
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let own = value[..end].trim_ascii();
    edit.types
        .iter()
        .any(|meant| own.eq_ignore_ascii_case(meant))
}

/// Writes the value into the scratch; `true` if the field is to go.
fn expand_value(edit: &HeaderEdit, exchange: &Exchange, scratch: &mut Vec<u8>) -> bool {
    scratch.clear();
    match &edit.change {
        HeaderChange::Set(value) | HeaderChange::Replace(value) => {
            expand(value, exchange, scratch);
            scratch.is_empty()
        }
        HeaderChange::Append(value) => {
            expand(value, exchange, scratch);
            false
        }
        HeaderChange::Clear | HeaderChange::ClearBeginning => true,
    }
}

fn change(edit: &HeaderEdit, is_cleared: bool, fields: &mut Fields, value: &[u8]) {
    let name = &*edit.name;
    match &edit.change {
        HeaderChange::ClearBeginning => {
            let begins = |own: &[u8]| {
                own.get(..name.len())
                    .is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
            };
            fields.retain(|_, own, _| !begins(own));
        }
        _ if is_cleared => fields.retain(|_, own, _| !own.eq_ignore_ascii_case(name)),
        HeaderChange::Append(_) => {
            if !value.is_empty() {
                fields.push(name, value);
            }
        }
        HeaderChange::Replace(_) => {
            fields.set(name, value);
        }
        _ => {
            if !fields.set(name, value) {
                fields.push(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{self, template};

    fn edit(name: &str, change: HeaderChange) -> HeaderEdit {
        HeaderEdit {
            name: name.as_bytes().into(),
            change,
            statuses: Box::default(),
            types: Box::default(),
        }
    }

    fn set(name: &str, value: &str) -> HeaderEdit {
        edit(name, HeaderChange::Set(template(value)))
    }

    fn text(fields: &Fields) -> String {
        let lines = fields
            .iter()
            .map(|(_, name, value)| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii()));
        lines.collect()
    }

    /// The fields of an answer to `/?v=…` after the edits.
    fn answered(target: &str, status: u16, edits: Vec<HeaderEdit>) -> (String, Exchange) {
        let mut exchange = fixture::exchange(fixture::settings(), target, &[]);
        exchange.status = status;
        for (name, value) in [
            ("Content-Type", "text/html; charset=utf-8"),
            ("X-One", "1"),
            ("x-one", "2"),
            ("X-Two", "3"),
            ("ETag", "e"),
        ] {
            exchange.answer.push(name.as_bytes(), value.as_bytes());
        }
        let edits = HeaderEdits {
            answer: edits.into(),
            request: Box::default(),
        };
        answer(&edits, &mut exchange, &mut Vec::new());
        (text(&exchange.answer), exchange)
    }

    #[test]
    fn a_field_is_set_once_whatever_was_there_and_taken_out_in_any_case() {
        let rest = "Content-Type: text/html; charset=utf-8\n";
        let (fields, _) = answered(
            "/?v=a",
            500,
            vec![set("x-ONE", "$arg_v"), set("X-New", "n")],
        );
        let expected = "X-One: a\nX-Two: 3\nETag: e\nX-New: n\n";
        assert_eq!(fields, [rest, expected].concat());

        // A value that comes out empty takes the field out too.
        let (fields, _) = answered(
            "/",
            200,
            vec![set("X-Two", "$arg_v"), set("X-New", "$arg_v")],
        );
        assert_eq!(fields, format!("{rest}X-One: 1\nx-one: 2\nETag: e\n"));

        let (fields, exchange) = answered("/", 200, vec![edit("x-", HeaderChange::ClearBeginning)]);
        assert_eq!(fields, format!("{rest}ETag: e\n"));
        assert_eq!(exchange.answer.known(Known::Etag), Some(&b"e"[..]));

        let more = vec![
            edit("X-One", HeaderChange::Append(template("3"))),
            edit("X-Other", HeaderChange::Replace(template("4"))),
            edit("ETag", HeaderChange::Clear),
        ];
        let (fields, _) = answered("/", 200, more);
        assert_eq!(
            fields,
            format!("{rest}X-One: 1\nx-one: 2\nX-Two: 3\nX-One: 3\n")
        );
    }

    #[test]
    fn a_status_and_a_type_choose_and_later_lines_see_what_earlier_ones_did() {
        let chosen = |statuses: &[u16], types: &[&str]| HeaderEdit {
            statuses: statuses.into(),
            types: types.iter().map(|meant| meant.as_bytes().into()).collect(),
            ..set("X-Two", "chosen")
        };
        for (status, edit, is_meant) in [
            (404, chosen(&[404, 500], &[]), true),
            (200, chosen(&[404, 500], &[]), false),
            (200, chosen(&[], &["text/css", "text/html"]), true),
            (200, chosen(&[], &["text/css", "text"]), false),
            (200, chosen(&[404], &["text/html"]), false),
        ] {
            let (fields, _) = answered("/", status, vec![edit]);
            assert_eq!(
                fields.contains("X-Two: chosen"),
                is_meant,
                "{status} {fields}"
            );
        }
        let first = set("Content-Type", "text/css");
        let (fields, _) = answered("/", 200, vec![first, chosen(&[], &["text/css"])]);
        assert!(fields.contains("X-Two: chosen"), "{fields}");
    }

    #[test]
    fn no_value_ends_its_line_and_our_own_fields_can_go() {
        let mut exchange = fixture::exchange(fixture::settings(), "/", &[("X-A", "a")]);
        exchange.path = b"/a\r\nX-Evil: 1".to_vec();
        let edits = HeaderEdits {
            answer: vec![
                set("X-Path", "$uri"),
                edit("server", HeaderChange::Clear),
                edit("dat", HeaderChange::ClearBeginning),
            ]
            .into(),
            request: vec![set("X-A", "$uri")].into(),
        };
        answer(&edits, &mut exchange, &mut Vec::new());
        request(&edits, &mut exchange, &mut Vec::new());
        assert_eq!(text(&exchange.answer), "X-Path: /a  X-Evil: 1\n");
        assert_eq!(text(&exchange.head.fields), "X-A: /a  X-Evil: 1\n");
        assert!(exchange.passes_server && !exchange.passes_date);
    }

    #[test]
    fn a_client_cannot_take_away_what_is_set_by_naming_it_in_connection() {
        for (connection, left) in [
            ("X-Role", None),
            ("close, x-role, X-Other", Some(&b"close, X-Other"[..])),
        ] {
            let fields = [("Connection", connection), ("X-Role", "admin")];
            let mut exchange = fixture::exchange(fixture::settings(), "/", &fields);
            let edits = HeaderEdits {
                answer: Box::default(),
                request: vec![set("X-Role", "guest")].into(),
            };
            request(&edits, &mut exchange, &mut Vec::new());
            let fields = &exchange.head.fields;
            assert!(!hop_by_hop::is_nominated(fields, b"X-Role"), "{connection}");
            assert_eq!(fields.known(Known::Connection), left);
            assert_eq!(fields.named(b"X-Role").collect::<Vec<_>>(), [b"guest"]);
        }
    }
}
