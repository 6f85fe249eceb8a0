//! `geoip2 FILE { … }`: variables that say where an address is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::scope::Scope;
use super::{Cx, map};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::Node;
use crate::conf::typed::places::{Asked, Place, PlaceProxies};
use crate::unit;

/// A file is looked at this often where nothing is written.
const USUAL_RELOAD: Duration = Duration::from_secs(10);

/// The entries of a block that define variables, in order.
pub fn variables(block: &[Node]) -> impl Iterator<Item = &Node> {
    block
        .iter()
        .filter(|entry| entry.name.text.starts_with('$'))
}

/// Every variable of every block, in the order of the names.
pub fn places(http: &Scope<'_>, cx: &mut Cx) -> Vec<Place> {
    let mut places = Vec::new();
    for node in http.own("geoip2") {
        let Some(file) = node.arguments.first() else {
            continue;
        };
        let path: Arc<Path> = http.path_beside_conf(&file.text).into();
        let block = node.block.as_deref().unwrap_or_default();
        let mut reload = USUAL_RELOAD;
        for entry in block
            .iter()
            .filter(|entry| !entry.name.text.starts_with('$'))
        {
            let time = entry
                .arguments
                .first()
                .and_then(|word| unit::time::seconds(&word.text));
            match (&*entry.name.text, time) {
                ("auto_reload", Some(time)) => reload = time.max(Duration::from_secs(1)),
                _ => {
                    let problem = Diagnostic::error(
                        Code::BAD_PLACE,
                        entry.name.span,
                        format!(
                            "`{}` is neither a variable nor `auto_reload TIME`",
                            entry.name.text
                        ),
                    );
                    cx.report(problem.hint("write `$country default=-- country iso_code;`"));
                }
            }
        }
        for entry in variables(block) {
            let mut place = Place {
                path: Arc::clone(&path),
                reload,
                source: None,
                asked: Asked::BuildEpoch,
                default: Box::default(),
            };
            let mut names: Vec<Box<str>> = Vec::new();
            for word in &entry.arguments {
                if let Some(text) = word.text.strip_prefix("default=") {
                    place.default = text.as_bytes().into();
                } else if let Some(text) = word.text.strip_prefix("source=") {
                    place.source = Some(cx.template_of(word, text));
                } else {
                    names.push(word.text.clone());
                }
            }
            let words: Vec<&str> = names.iter().map(|name| &**name).collect();
            place.asked = match &*words {
                ["metadata", "build_epoch"] => Asked::BuildEpoch,
                ["metadata", "last_change"] => Asked::LastChange,
                [] | ["metadata", ..] => {
                    let problem = Diagnostic::error(
                        Code::BAD_PLACE,
                        entry.name.span,
                        format!("`{}` asks for nothing that is known", entry.name.text),
                    );
                    cx.report(problem.hint(
                        "name the way to a value, such as `country iso_code`, or `metadata build_epoch`",
                    ));
                    Asked::BuildEpoch
                }
                _ => Asked::Data(names.into()),
            };
            places.push(place);
        }
    }
    places
}

/// `geoip2_proxy`, `geoip2_proxy_recursive`
pub fn proxies(http: &Scope<'_>, cx: &mut Cx) -> PlaceProxies {
    let words = http
        .own("geoip2_proxy")
        .iter()
        .flat_map(|line| &line.arguments);
    PlaceProxies {
        networks: words
            .filter_map(|word| map::network(word, Code::BAD_ADDRESS, cx))
            .collect(),
        recursive: http.flag("geoip2_proxy_recursive"),
    }
}
