//! What becomes of an answer's body.

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::filters::{
    Beside, Compression, Filters, GzipClients, MediaTypes, Precompressed, Proxied, Substitutes,
};
use crate::unit;

/// The media type that is compressed wherever anything is.
const ALWAYS: &str = "text/html";

/// What a place does to bodies; `None` if that is nothing.
pub fn filters(scope: &Scope<'_>, cx: &mut Cx) -> Option<Filters> {
    let compression =
        |coding: &str, cx: &mut Cx| (scope.flag(coding)).then(|| compression_of(coding, scope, cx));
    let precompressed = |coding: &str| match scope.text(&format!("{coding}_static")) {
        "on" => Precompressed::On,
        "always" => Precompressed::Always,
        _ => Precompressed::Off,
    };
    let filters = Filters {
        gzip: compression("gzip", cx),
        brotli: compression("brotli", cx),
        zstd: compression("zstd", cx),
        substitutes: substitutes(scope, cx),
        gunzip: scope.flag("gunzip"),
        beside: Beside {
            gzip: precompressed("gzip"),
            brotli: precompressed("brotli"),
            zstd: precompressed("zstd"),
        },
        vary: scope.flag("gzip_vary"),
        // Their mistakes are told although nothing may ask for them.
        clients: gzip_clients(scope, cx),
    };
    let compresses = [&filters.gzip, &filters.brotli, &filters.zstd]
        .iter()
        .any(|compression| compression.is_some());
    let is_any = compresses
        || filters.gunzip
        || filters.substitutes.is_some()
        || filters.beside != Beside::default();
    is_any.then_some(filters)
}

/// What the directives of a coding say: `CODING_comp_level` and so on.
fn compression_of(coding: &str, scope: &Scope<'_>, cx: &mut Cx) -> Compression {
    let name = |what: &str| format!("{coding}_{what}");
    Compression {
        level: u8::try_from(scope.number(&name("comp_level"))).unwrap_or(1),
        window: match coding {
            "brotli" => window(scope, cx),
            _ => 0,
        },
        types: media_types(&name("types"), scope, cx),
        min_length: unit::size::offset(scope.text(&name("min_length"))).unwrap_or_default(),
    }
}

fn substitutes(scope: &Scope<'_>, cx: &mut Cx) -> Option<Substitutes> {
    let lines = scope.all("sub_filter");
    let types = media_types("sub_filter_types", scope, cx);
    if lines.is_empty() {
        return None;
    }
    let mut pairs = Vec::new();
    for line in lines {
        let [text, replacement] = line.arguments.as_slice() else {
            continue;
        };
        if text.text.is_empty() {
            cx.error(
                Code::EMPTY_SEARCH,
                text.span,
                "`sub_filter` has nothing to look for",
            );
        }
        pairs.push((cx.template(text), cx.template(replacement)));
    }
    Some(Substitutes {
        pairs: pairs.into(),
        once: scope.flag("sub_filter_once"),
        types,
        keeps_last_modified: scope.flag("sub_filter_last_modified"),
    })
}

/// `brotli_window` as a power of two.
fn window(scope: &Scope<'_>, cx: &mut Cx) -> u8 {
    let bytes = scope.size("brotli_window");
    let is_window = bytes.is_power_of_two() && (1 << 10..=16 << 20).contains(&bytes);
    if !is_window && let Some(line) = scope.nearest("brotli_window") {
        let word = line.arguments.first().unwrap_or(&line.name);
        cx.report(
            Diagnostic::error(
                Code::BAD_WINDOW,
                word.span,
                format!("`{}` is not a window of brotli", word.text),
            )
            .hint("write a power of two from `1k` to `16m`, for example `512k`"),
        );
        return 19;
    }
    bytes.trailing_zeros() as u8
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
