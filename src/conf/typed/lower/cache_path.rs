//! `proxy_cache_path`.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::cache_path::{CachePath, Pace};
use crate::unit;

/// The smallest `keys_zone`, as in nginx: two pages.
const LEAST_KEYS: u64 = 8 << 10;

/// What `memory` is when nothing is said.
const MEMORY: u64 = 32 << 20;

/// What `inactive` is when nothing is said.
const INACTIVE: Duration = Duration::from_secs(600);

const PACE: Pace = Pace {
    files: 100,
    sleep: Duration::from_millis(50),
    threshold: Duration::from_millis(200),
};

/// Every `proxy_cache_path`; a zone stands once, and so does a directory.
pub fn paths(http: &Scope<'_>, cx: &mut Cx) -> Vec<Arc<CachePath>> {
    let mut paths: Vec<Arc<CachePath>> = Vec::new();
    for node in http.own("proxy_cache_path") {
        let Some(found) = path(node, http, cx) else {
            continue;
        };
        if let Some(first) = paths.iter().find(|known| known.name == found.name) {
            cx.report(
                Diagnostic::error(
                    Code::DUPLICATE,
                    found.span,
                    format!("the cache zone `{}` stands twice", found.name),
                )
                .label(first.span, "first here")
                .hint("give each `keys_zone` a name of its own"),
            );
            continue;
        }
        let overlaps = |known: &&Arc<CachePath>| {
            known.path.starts_with(&found.path) || found.path.starts_with(&known.path)
        };
        if let Some(first) = paths.iter().find(overlaps) {
            cx.report(
                Diagnostic::error(
                    Code::OVERLAPPING_CACHES,
                    found.span,
                    format!(
                        "the directory `{}` overlaps that of the cache zone `{}`",
                        found.path.display(),
                        first.name
                    ),
                )
                .label(first.span, "the other one")
                .hint("give each cache a directory of its own, none inside another's"),
            );
            continue;
        }
        paths.push(Arc::new(found));
    }
    paths
}

fn path(node: &Node, http: &Scope<'_>, cx: &mut Cx) -> Option<CachePath> {
    let (place, parameters) = node.arguments.split_first()?;
    let mut path = CachePath {
        name: Box::default(),
        path: clean(&http.path(&place.text)),
        levels: Vec::new(),
        keys: 0,
        memory: MEMORY,
        inactive: INACTIVE,
        max_size: None,
        min_free: 0,
        manager: PACE,
        loader: PACE,
        span: node.span,
    };
    let mut is_good = true;
    for word in parameters {
        let Some((name, value)) = word.text.split_once('=') else {
            continue;
        };
        let done = match name {
            "keys_zone" => keys_zone(value, &mut path),
            "levels" => levels(value, &mut path),
            "memory" => set(&mut path.memory, unit::size::offset(value)),
            "inactive" => set(
                &mut path.inactive,
                unit::time::seconds(value).filter(|time| !time.is_zero()),
            ),
            "max_size" => set(
                &mut path.max_size,
                unit::size::offset(value).map(|size| (size > 0).then_some(size)),
            ),
            "min_free" => set(&mut path.min_free, unit::size::offset(value)),
            // What is being stored stands beside what is stored, whatever is written: a file that
            // comes from another file system would have to be copied.
            "use_temp_path" => matches!(value, "on" | "off").then_some(()),
            "manager_files" => set(&mut path.manager.files, files(value)),
            "manager_sleep" => set(&mut path.manager.sleep, unit::time::milliseconds(value)),
            "manager_threshold" => {
                set(&mut path.manager.threshold, unit::time::milliseconds(value))
            }
            "loader_files" => set(&mut path.loader.files, files(value)),
            "loader_sleep" => set(&mut path.loader.sleep, unit::time::milliseconds(value)),
            "loader_threshold" => set(&mut path.loader.threshold, unit::time::milliseconds(value)),
            // Purging is always that of `on`, and its files are the manager's to remove.
            "purger" => matches!(value, "on" | "off").then_some(()),
            "purger_files" => files(value).map(|_| ()),
            "purger_sleep" | "purger_threshold" => unit::time::milliseconds(value).map(|_| ()),
            _ => continue,
        };
        if done.is_none() {
            is_good = false;
            bad_value(word, name, value, cx);
            continue;
        }
        let hint = match name {
            "use_temp_path" if value == "on" => {
                "leave it out: answers are written where they are to stay, as with `off`"
            }
            "purger_files" | "purger_sleep" | "purger_threshold" => {
                "leave it out: what is purged is removed at the pace of `manager_files` and its like"
            }
            _ => continue,
        };
        cx.report(
            Diagnostic::warning(
                Code::CACHE_PARAMETER_WITHOUT_EFFECT,
                word.span,
                format!("`{name}` has no effect here"),
            )
            .hint(hint),
        );
    }
    if is_good && path.name.is_empty() {
        is_good = false;
        cx.report(
            Diagnostic::error(
                Code::BAD_CACHE_PATH,
                node.name.span,
                "`proxy_cache_path` must have a `keys_zone` parameter",
            )
            .hint("add `keys_zone=NAME:10m`; ten megabytes hold some 80,000 keys"),
        );
    }
    is_good.then_some(path)
}

fn bad_value(word: &Word, name: &str, value: &str, cx: &mut Cx) {
    let hint = match name {
        "keys_zone" => "write `keys_zone=NAME:SIZE` with a size of at least 8k, e.g. `one:10m`",
        "levels" => "one to three levels of one or two digits, e.g. `levels=1:2`",
        "memory" | "max_size" | "min_free" => "a size, e.g. `512m` or `10g`",
        "inactive" => "a time of at least one second, e.g. `60m`",
        "use_temp_path" | "purger" => "`on` or `off`",
        _ if name.ends_with("_files") => "a number from 1 on",
        _ => "a time, e.g. `200ms`",
    };
    cx.report(
        Diagnostic::error(
            Code::BAD_CACHE_PATH,
            word.span,
            format!("invalid value `{value}` of `{name}`"),
        )
        .hint(hint),
    );
}

fn set<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn keys_zone(value: &str, path: &mut CachePath) -> Option<()> {
    let (name, size) = value.split_once(':')?;
    let size = unit::size::size(size).filter(|size| *size >= LEAST_KEYS)?;
    if name.is_empty() {
        return None;
    }
    path.name = name.into();
    path.keys = size;
    Some(())
}

fn levels(value: &str, path: &mut CachePath) -> Option<()> {
    let level = |text: &str| match text {
        "1" => Some(1),
        "2" => Some(2),
        _ => None,
    };
    let levels: Option<Vec<u8>> = value.split(':').map(level).collect();
    set(
        &mut path.levels,
        levels.filter(|levels| (1..=3).contains(&levels.len())),
    )
}

fn files(value: &str) -> Option<u32> {
    (unit::decimal(value)).and_then(|files| u32::try_from(files).ok().filter(|files| *files > 0))
}

/// A path without `.` and needless slashes, so that paths can be compared; `..` stays, because a link
/// may stand before it.
fn clean(path: &Path) -> PathBuf {
    let parts = path.components();
    parts.filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{nodes, problems};
    use super::*;

    fn lowered(text: &str) -> (Vec<Arc<CachePath>>, String) {
        let nodes = nodes(&format!("http {{ {text} }}\n"));
        let mut cx = Cx::new(&nodes);
        let main = Scope::outermost(&nodes, Path::new("/usr/share/openclaw"));
        let http = main.inside(nodes[0].block.as_deref().expect("a block"));
        let paths = paths(&http, &mut cx);
        (paths, problems(&cx))
    }

    #[test]
    fn every_parameter_of_nginx_is_read() {
        let (paths, problems) = lowered(
            "proxy_cache_path cache/./one/ levels=1:2 keys_zone=one:10m inactive=60m max_size=10g \
             min_free=1g use_temp_path=off manager_files=7 manager_sleep=1s manager_threshold=30ms \
             loader_files=8 loader_sleep=2s loader_threshold=40ms memory=64m;
             proxy_cache_path /var/cache/two keys_zone=two:8k;",
        );
        assert_eq!(problems, "");
        let one = &paths[0];
        assert_eq!(one.path, Path::new("/usr/share/openclaw/cache/one"));
        assert_eq!(one.levels, [1, 2]);
        assert_eq!(one.capacity(), 81_920);
        assert_eq!(one.inactive, Duration::from_secs(3600));
        assert_eq!((one.max_size, one.min_free), (Some(10 << 30), 1 << 30));
        assert_eq!((one.manager.files, one.loader.files), (7, 8));
        assert_eq!(one.manager.threshold, Duration::from_millis(30));
        assert_eq!(one.loader.sleep, Duration::from_secs(2));
        assert_eq!(one.memory, 64 << 20);
        let two = &paths[1];
        assert_eq!((two.max_size, two.memory), (None, 32 << 20));
        assert_eq!(two.inactive, Duration::from_secs(600));
    }

    #[test]
    fn wrong_values_are_told_one_by_one() {
        let (paths, problems) = lowered(
            "proxy_cache_path /a levels=3 keys_zone=a:10m;
             proxy_cache_path /b keys_zone=b;
             proxy_cache_path /c keys_zone=c:4k inactive=0;
             proxy_cache_path /d max_size=1t keys_zone=d:1m;
             proxy_cache_path /e levels=1:2:1:2 keys_zone=e:1m;
             proxy_cache_path /f levels=1;",
        );
        assert_eq!(paths.len(), 0);
        assert_eq!(
            problems,
            "OC-E350 invalid value `3` of `levels`\n\
             OC-E350 invalid value `b` of `keys_zone`\n\
             OC-E350 invalid value `c:4k` of `keys_zone`\n\
             OC-E350 invalid value `0` of `inactive`\n\
             OC-E350 invalid value `1t` of `max_size`\n\
             OC-E350 invalid value `1:2:1:2` of `levels`\n\
             OC-E350 `proxy_cache_path` must have a `keys_zone` parameter\n"
        );
    }

    #[test]
    fn what_has_no_effect_is_told_and_nothing_else() {
        let (paths, problems) = lowered(
            "proxy_cache_path /a keys_zone=a:1m use_temp_path=off purger=on;
             proxy_cache_path /b keys_zone=b:1m use_temp_path=on purger=on purger_files=10;",
        );
        assert_eq!(paths.len(), 2);
        assert_eq!(
            problems,
            "OC-W366 `use_temp_path` has no effect here\n\
             OC-W366 `purger_files` has no effect here\n"
        );
    }

    #[test]
    fn a_zone_and_a_directory_belong_to_one_line() {
        let (paths, problems) = lowered(
            "proxy_cache_path /a keys_zone=a:1m;
             proxy_cache_path /b keys_zone=a:1m;
             proxy_cache_path /a/inside keys_zone=c:1m;
             proxy_cache_path /ab keys_zone=d:1m;",
        );
        let names: Vec<_> = paths.iter().map(|path| &*path.name).collect();
        assert_eq!(names, ["a", "d"]);
        assert_eq!(
            problems,
            "OC-E036 the cache zone `a` stands twice\n\
             OC-E351 the directory `/a/inside` overlaps that of the cache zone `a`\n"
        );
    }
}
