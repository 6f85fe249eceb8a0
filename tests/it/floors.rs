//! Imports point down only: every path from one module of the crate to another is read from the
//! sources and compared with the floors that `src/lib.rs` states.
//!
//! A path counts wherever it stands, in `use`, in code, in a macro, as `crate::…` or as `super::…`
//! from the outermost file of a module. Unit tests count too: what a test of a lower floor needs from
//! above belongs above.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports that break the rule: the file, the module it names, and why that is right.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn every_module_has_a_floor_and_the_map_names_no_other() {
    let root = root();
    let lib = fs::read_to_string(root.join("lib.rs")).expect("the crate has a root");
    let stated = floors(&lib);
    let there: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(stated.keys().cloned().collect::<BTreeSet<_>>(), there);
}

#[test]
fn imports_point_down_only() {
    let root = root();
    let lib = fs::read_to_string(root.join("lib.rs")).expect("the crate has a root");
    let floors = floors(&lib);
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    for file in sources(&root) {
        let path = file.strip_prefix(&root).expect("below the root");
        let (own, imports) = imports_of(&file, path);
        let Some(own_floor) = floors.get(&own) else {
            continue;
        };
        for name in imports {
            if name == own {
                continue;
            }
            let Some(floor) = floors.get(&name) else {
                continue;
            };
            if floor < own_floor {
                continue;
            }
            let shown = path.display().to_string();
            let exception = EXCEPTIONS
                .iter()
                .position(|(file, module, _)| *file == shown && *module == name);
            match exception {
                Some(position) => {
                    excused.insert(position);
                }
                None => wrong.push(format!(
                    "src/{shown}: `{own}` (floor {own_floor}) names `{name}` (floor {floor})"
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let idle: Vec<_> = (0..EXCEPTIONS.len())
        .filter(|position| !excused.contains(position))
        .map(|position| EXCEPTIONS[position])
        .collect();
    assert!(idle.is_empty(), "not needed any more: {idle:?}");
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let root = root();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(&root) {
        let path = file.strip_prefix(&root).expect("below the root");
        let (own, imports) = imports_of(&file, path);
        if own.is_empty() {
            continue;
        }
        let others = imports.into_iter().filter(|name| *name != own);
        edges.entry(own.clone()).or_default().extend(others);
    }
    // Whoever imports nothing that is left is on no circle.
    loop {
        let free: Vec<String> = edges
            .iter()
            .filter(|(_, imports)| imports.iter().all(|name| !edges.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            edges.remove(&name);
        }
    }
    assert!(edges.is_empty(), "on a circle: {edges:?}");
}

#[test]
fn paths_are_found_in_every_form_and_nowhere_else() {
    let text = r##"
        use crate::{conf::{tree, lexer}, unit, self as root, net as bytes};
        use super::log::Level;
        use super::super::never;
        // crate::comment
        /* crate::block /* crate::nested */ crate::still */
        const TEXT: &str = "crate::text \" crate::more";
        const RAW: &str = r#"crate::raw " crate::rest"#;
        fn f<'a>(x: &'a crate::http::Head) -> char { '"' }
        pub(crate) fn g() { crate::metrics::with(); $crate::macros::m!(); }
        mod tests { use super::*; use super::super::route; mod deep { use super::super::super::files; } }
        fn h() { super::access::x() }
    "##;
    let found = imports(text, 1);
    let expected = [
        "access", "conf", "files", "http", "log", "macros", "metrics", "net", "route", "unit",
    ];
    assert_eq!(
        found.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    let deeper = imports("use super::sibling; use super::super::conf;", 2);
    assert_eq!(deeper.iter().collect::<Vec<_>>(), ["conf"]);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The floors of the table in the crate's documentation: `//! | 3 | [`http`] | … |`.
fn floors(lib: &str) -> BTreeMap<String, u32> {
    lib.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("//! |")?.split('|').map(str::trim);
            let floor = cells.next()?.parse().ok()?;
            let name = cells.next()?.strip_prefix("[`")?.strip_suffix("`]")?;
            Some((name.to_owned(), floor))
        })
        .collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module of the crate that a file belongs to (empty for the roots), and the modules it names.
fn imports_of(file: &Path, path: &Path) -> (String, BTreeSet<String>) {
    let text = fs::read_to_string(file).expect("sources are text");
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    let is_root = matches!(&parts[..], [only] if only == "lib" || only == "main");
    let depth = if is_root { 0 } else { parts.len() };
    let own = if is_root {
        String::new()
    } else {
        parts[0].clone()
    };
    (own, imports(&text, depth))
}

/// The modules of the crate that a text names; it is a module `depth` levels below the crate.
fn imports(text: &str, depth: usize) -> BTreeSet<String> {
    let tokens = tokens(text);
    let mut found = BTreeSet::new();
    // For each open brace: did it open a module?
    let mut braces: Vec<bool> = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        let here = depth + braces.iter().filter(|is_module| **is_module).count();
        match &*tokens[position] {
            "{" => {
                let is_module = position >= 2 && tokens[position - 2] == "mod";
                braces.push(is_module);
            }
            "}" => {
                braces.pop();
            }
            "crate" | "super" if position == 0 || tokens[position - 1] != "::" => {
                // How many levels below the crate the path stands.
                let mut level = if tokens[position] == "crate" {
                    Some(0)
                } else {
                    here.checked_sub(1)
                };
                position += 1;
                while tokens.get(position).is_some_and(|token| token == "::") {
                    position += 1;
                    if tokens.get(position).is_some_and(|token| token == "super") {
                        level = level.and_then(|level: usize| level.checked_sub(1));
                        position += 1;
                        continue;
                    }
                    if level == Some(0) {
                        found.extend(first_names(&tokens[position..]));
                    }
                    break;
                }
                continue;
            }
            _ => {}
        }
        position += 1;
    }
    found
}

/// The first name of a path, or of each path in a group.
fn first_names(tokens: &[String]) -> Vec<String> {
    let is_module =
        |name: &str| name.starts_with(|first: char| first.is_ascii_lowercase()) && name != "self";
    match tokens.first().map(String::as_str) {
        Some("{") => {
            let mut names = Vec::new();
            let mut depth = 0;
            for (position, token) in tokens.iter().enumerate() {
                match &**token {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    name if depth == 1
                        && is_module(name)
                        && matches!(&*tokens[position - 1], "{" | ",") =>
                    {
                        names.push(name.to_owned());
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            names
        }
        Some(name) if is_module(name) => vec![name.to_owned()],
        _ => Vec::new(),
    }
}

/// Names, `::` and single signs, without comments and texts.
fn tokens(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest {
            [b'/', b'/', ..] => {
                at += rest
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .unwrap_or(rest.len());
            }
            [b'/', b'*', ..] => {
                let mut depth = 0;
                loop {
                    match &bytes[at..] {
                        [b'/', b'*', ..] => {
                            depth += 1;
                            at += 2;
                        }
                        [b'*', b'/', ..] => {
                            depth -= 1;
                            at += 2;
                            if depth == 0 {
                                break;
                            }
                        }
                        [] => break,
                        _ => at += 1,
                    }
                }
            }
            [b'"', ..] => at += quoted(rest),
            [b'r', b'"' | b'#', ..] | [b'b', b'r', b'"' | b'#', ..] if is_raw(rest) => {
                at += raw(rest);
            }
            // A character, or a lifetime.
            [b'\'', b'\\', _, ..] => {
                at += 3
                    + rest[3..]
                        .iter()
                        .position(|byte| *byte == b'\'')
                        .unwrap_or(0)
                    + 1;
            }
            [b'\'', _, b'\'', ..] => at += 3,
            [b'\'', ..] => {
                let long = rest[1..].iter().take(5).position(|byte| *byte == b'\'');
                let is_character = long.is_some_and(|end| !rest[1].is_ascii() && end > 0);
                at += if is_character {
                    long.unwrap_or(0) + 2
                } else {
                    1
                };
            }
            [b':', b':', ..] => {
                tokens.push("::".to_owned());
                at += 2;
            }
            [byte, ..] if is_name(*byte) => {
                let length = rest.iter().take_while(|byte| is_name(**byte)).count();
                tokens.push(String::from_utf8_lossy(&rest[..length]).into_owned());
                at += length;
            }
            [byte, ..] => {
                if !byte.is_ascii_whitespace() {
                    tokens.push(char::from(*byte).to_string());
                }
                at += 1;
            }
            [] => break,
        }
    }
    tokens
}

/// The length of a quoted text.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"`, `r#"`, `br##"`: is it a raw text and not a raw name?
fn is_raw(rest: &[u8]) -> bool {
    let mut marks = rest
        .iter()
        .skip_while(|byte| **byte == b'b' || **byte == b'r');
    marks.find(|byte| **byte != b'#') == Some(&b'"')
}

/// The length of a raw text.
fn raw(rest: &[u8]) -> usize {
    let start = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
    let marks = rest[..start].iter().filter(|byte| **byte == b'#').count();
    let mut end = vec![b'"'];
    end.resize(marks + 1, b'#');
    rest[start + 1..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |found| start + 1 + found + end.len())
}
