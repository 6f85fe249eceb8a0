//! What becomes of an answer's body: compression.

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::filters::{Compression, Filters, GzipClients, MediaTypes, Proxied};
use crate::unit;

/// The media type that is compressed wherever anything is.
const ALWAYS: &str = "text/html";

/// What a place does to bodies; `None` if that is nothing.
pub fn filters(scope: &Scope<'_>, cx: &mut Cx) -> Option<Filters> {
    let gzip = (scope.flag("gzip")).then(|| compression("gzip", scope, cx));
    // Their mistakes are told although nothing asks for them.
    let clients = gzip_clients(scope, cx);
    gzip.as_ref()?;
    Some(Filters {
        gzip,
        vary: scope.flag("gzip_vary"),
        clients,
    })
}

/// What the directives of a coding say: `CODING_comp_level` and so on.
fn compression(coding: &str, scope: &Scope<'_>, cx: &mut Cx) -> Compression {
    let name = |what: &str| format!("{coding}_{what}");
    Compression {
        level: u8::try_from(scope.number(&name("comp_level"))).unwrap_or(1),
        types: media_types(&name("types"), scope, cx),
        min_length: unit::size::offset(scope.text(&name("min_length"))).unwrap_or_default(),
    }
}

/// The media types that a directive lists, and text/html.
fn media_types(name: &str, scope: &Scope<'_>, cx: &mut Cx) -> MediaTypes {
    let mut types: Vec<Box<[u8]>> = vec![ALWAYS.as_bytes().into()];
    for word in scope.all(name).iter().flat_map(|line| &line.arguments) {
        if &*word.text == "*" {
            return MediaTypes::Any;
        }
        let media_type: Box<[u8]> = word.text.to_ascii_lowercase().into_bytes().into();
        if !types.contains(&media_type) {
            types.push(media_type);
            continue;
        }
        let problem = Diagnostic::warning(
            Code::DUPLICATE_MEDIA_TYPE,
            word.span,
            format!("duplicate media type `{}`", word.text),
        );
        cx.report(match &*word.text == ALWAYS {
            true => problem.hint("this type is always meant and need not be written"),
            false => problem,
        });
    }
    MediaTypes::These(types.into())
}

fn gzip_clients(scope: &Scope<'_>, cx: &mut Cx) -> GzipClients {
    let mut proxied = Proxied::OFF;
    for word in scope
        .all("gzip_proxied")
        .iter()
        .flat_map(|line| &line.arguments)
    {
        let known = Proxied::WORDS.iter().find(|(name, _)| *name == &*word.text);
        proxied.0 |= known.map_or(0, |(_, flag)| flag.0);
    }
    let mut disable_msie6 = false;
    let mut disable = Vec::new();
    for word in scope
        .all("gzip_disable")
        .iter()
        .flat_map(|line| &line.arguments)
    {
        match &*word.text {
            "msie6" => disable_msie6 = true,
            "degradation" => {}
            pattern => disable.extend(cx.regex(word, pattern, true)),
        }
    }
    GzipClients {
        http10: scope.text("gzip_http_version") == "1.0",
        proxied,
        disable: disable.into(),
        disable_msie6,
    }
}
