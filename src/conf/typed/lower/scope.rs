//! Where a value comes from: the block itself, the blocks around it, or the table's default.
//!
//! Inheritance stands here and nowhere else. A level that has a directive hides all levels around it,
//! so a list is inherited whole or not at all (nginx's merge functions).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Cx;
use crate::conf::directives;
use crate::conf::include::Node;
use crate::conf::template::Template;
use crate::unit;

/// A block and the blocks around it.
#[derive(Debug)]
pub struct Scope<'a> {
    lines: HashMap<&'a str, Vec<&'a Node>>,
    around: Option<&'a Self>,
    /// Where relative paths start (nginx's prefix).
    pub prefix: &'a Path,
    /// Where those of certificates, keys and the like start: the directory of the main file (nginx's
    /// `conf_prefix`).
    conf_directory: &'a Path,
}

impl<'a> Scope<'a> {
    /// The outermost level.
    pub fn outermost(nodes: &'a [Node], prefix: &'a Path) -> Self {
        Self {
            lines: lines(nodes),
            around: None,
            prefix,
            conf_directory: prefix,
        }
    }

    /// The same level of a configuration whose main file is in this directory.
    pub fn of_directory(self, conf_directory: &'a Path) -> Self {
        Self {
            conf_directory,
            ..self
        }
    }

    /// A block inside of this level.
    pub fn inside(&'a self, block: &'a [Node]) -> Scope<'a> {
        Scope {
            lines: lines(block),
            around: Some(self),
            prefix: self.prefix,
            conf_directory: self.conf_directory,
        }
    }

    /// The lines of a directive at the nearest level that has any.
    pub fn all(&self, name: &str) -> &[&'a Node] {
        let mut level = Some(self);
        while let Some(scope) = level {
            if let Some(found) = scope.lines.get(name) {
                return found;
            }
            level = scope.around;
        }
        &[]
    }

    /// The lines of two directives that make up one list or choice: both from the nearest level that
    /// has any of either.
    pub fn all_of(&self, names: [&str; 2]) -> (&[&'a Node], &[&'a Node]) {
        let mut level = Some(self);
        while let Some(scope) = level {
            let found = names.map(|name| scope.own(name));
            if found.iter().any(|lines| !lines.is_empty()) {
                return (found[0], found[1]);
            }
            level = scope.around;
        }
        (&[], &[])
    }

    /// The lines of a directive at every level, the outermost first.
    pub fn merged(&self, name: &str) -> Vec<&'a Node> {
        let mut lines = self
            .around
            .map(|around| around.merged(name))
            .unwrap_or_default();
        lines.extend(self.own(name));
        lines
    }

    /// The lines of several directives that are one list, at every level: the outermost first, and
    /// those of a level as they stand.
    pub fn merged_in_order(&self, names: &[&str]) -> Vec<&'a Node> {
        let mut lines = self
            .around
            .map(|around| around.merged_in_order(names))
            .unwrap_or_default();
        let start = lines.len();
        for name in names {
            lines.extend(self.own(name));
        }
        // They stand in one list of nodes, whatever file each comes from.
        lines[start..].sort_by_key(|line| std::ptr::from_ref(*line));
        lines
    }

    /// The lines of a directive in this very block.
    pub fn own(&self, name: &str) -> &[&'a Node] {
        self.lines.get(name).map_or(&[], Vec::as_slice)
    }

    /// The line of a directive that stands once.
    pub fn nearest(&self, name: &str) -> Option<&'a Node> {
        self.all(name).first().copied()
    }

    /// The first argument, or else the table's default.
    pub fn text(&self, name: &str) -> &'a str {
        match self.nearest(name).and_then(|node| node.arguments.first()) {
            Some(word) => &word.text,
            None => default(name).split(' ').next().unwrap_or_default(),
        }
    }

    /// `on`?
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("on")
    }

    /// A number; that of the default where the text is none (which the checker has told).
    pub fn number(&self, name: &str) -> u64 {
        self.text(name)
            .parse()
            .or_else(|_| default(name).parse())
            .unwrap_or_default()
    }

    /// Bytes.
    pub fn size(&self, name: &str) -> usize {
        let bytes =
            unit::size::offset(self.text(name)).or_else(|| unit::size::offset(default(name)));
        bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or_default()
    }

    /// Bytes where 0 means "no limit".
    pub fn limit(&self, name: &str) -> Option<u64> {
        unit::size::offset(self.text(name)).filter(|&bytes| bytes > 0)
    }

    /// A duration.
    pub fn time(&self, name: &str) -> Duration {
        unit::time::milliseconds(self.text(name))
            .or_else(|| unit::time::milliseconds(default(name)))
            .unwrap_or_default()
    }

    /// The first argument with its variables; the default's text where nothing is written.
    pub fn template(&self, name: &str, cx: &mut Cx) -> Template {
        match self.nearest(name).and_then(|node| node.arguments.first()) {
            Some(word) => cx.template(word),
            None => Template::from_text(default(name).as_bytes()),
        }
    }

    /// A path below the prefix, unless it is absolute.
    pub fn path(&self, text: &str) -> PathBuf {
        self.prefix.join(text)
    }

    /// A path beside the configuration, unless it is absolute: of a certificate, a key, a list of
    /// revoked ones.
    pub fn path_beside_conf(&self, text: &str) -> PathBuf {
        self.conf_directory.join(text)
    }

    /// A path as text.
    pub fn path_text(&self, text: &str) -> String {
        match text.starts_with('/') {
            true => text.to_owned(),
            false => self.path(text).to_string_lossy().into_owned(),
        }
    }
}

fn lines(nodes: &[Node]) -> HashMap<&str, Vec<&Node>> {
    let mut lines: HashMap<&str, Vec<&Node>> = HashMap::new();
    for node in nodes {
        lines.entry(&node.name.text).or_default().push(node);
    }
    lines
}

/// What the table says is in force when nothing is written.
fn default(name: &str) -> &'static str {
    directives::rows(name)
        .iter()
        .find_map(|row| row.default)
        .unwrap_or_default()
}

/// The value of `name=value` among the arguments of a line.
pub fn parameter<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.arguments
        .iter()
        .find_map(|word| word.text.strip_prefix(name)?.strip_prefix('='))
}

/// Does a word stand among the arguments of a line?
pub fn has_word(node: &Node, word: &str) -> bool {
    node.arguments
        .iter()
        .any(|argument| &*argument.text == word)
}
