//! HTTP/3, which is not served: what a configuration that asks for it is told.
//!
//! Such a configuration starts all the same. Clients find HTTP/3 by a field of an answer or a record of
//! DNS, and speak HTTP/2 over TLS where it does not answer; nothing is lost but the difference.

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};

/// A `listen` with `quic`: of its server there are others, or this one becomes TLS over TCP.
pub fn warn_of_listen(word: &Word, address: &Word, has_others: bool, cx: &mut Cx) {
    let instead = match has_others {
        true => "nothing listens on UDP here, clients use the other addresses of the server",
        false => "TLS over TCP is served at the address instead, with HTTP/2",
    };
    cx.report(
        Diagnostic::warning(
            Code::NO_HTTP3,
            word.span,
            format!("HTTP/3 is not served: {instead}"),
        )
        .label(address.span, "this address")
        .hint(match has_others {
            true => {
                "take the line out, or leave it for nginx; `listen 443 ssl` is what clients get"
            }
            false => "write `ssl` instead of `quic`",
        }),
    );
}

/// Tells of lines of a server, and of those around it, that ask for HTTP/3 or announce it.
pub fn lint(node: &Node, scope: &Scope<'_>, cx: &mut Cx) {
    let inner = scope.inside(node.block.as_deref().unwrap_or_default());
    for line in inner.all("http3") {
        if line
            .arguments
            .first()
            .is_some_and(|word| &*word.text == "on")
        {
            cx.report(
                Diagnostic::warning(Code::NO_HTTP3, line.name.span, "HTTP/3 is not served")
                    .hint("clients get HTTP/2; take the line out, or leave it for nginx"),
            );
        }
    }
    announced(node, cx);
}

/// `add_header Alt-Svc 'h3=…'`, here and in the places inside.
fn announced(node: &Node, cx: &mut Cx) {
    for line in node.block.as_deref().unwrap_or_default() {
        if matches!(&*line.name.text, "location" | "if" | "limit_except") {
            announced(line, cx);
        }
        let [name, value, ..] = line.arguments.as_slice() else {
            continue;
        };
        if &*line.name.text == "add_header"
            && name.text.eq_ignore_ascii_case("alt-svc")
            && value.text.contains("h3=")
        {
            cx.report(
                Diagnostic::warning(
                    Code::HTTP3_ANNOUNCED,
                    value.span,
                    "clients are told of HTTP/3, which is not served",
                )
                .hint("take the line out: clients try it in vain, again and again"),
            );
        }
    }
}
