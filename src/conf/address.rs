//! How a directive is named by a reader: the blocks around it, from the outside in.
//!
//! Owns the written form of an address, finding the directive that it names across includes, and the
//! shortest address of a directive. Invariant: the address that [`Address::of`] makes leads back to
//! the directive.

use std::fmt;

use super::include::Node;
use super::lexer::{self, Kind};
use super::source::Span;

/// Where a directive is: the blocks around it and its own name. No step at all is the whole file.
///
/// Written `http / server "a.example" / location "/api/" / add_header[1]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Address {
    /// From the outermost block to the directive itself.
    pub steps: Vec<Step>,
}

/// One directive among its siblings.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What tells it from others of the name: all its arguments joined by blanks, or one of them;
    /// for a `server` one of its names or addresses.
    pub key: Option<String>,
    /// Which one of those that match, from 0; needed only if there are several.
    pub index: Option<usize>,
}

/// What an address leads to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Found<'n> {
    /// One directive.
    One(&'n Node),
    /// None.
    Nothing,
    /// So many; an index would tell which one.
    Several(usize),
}

/// A text that is no address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadAddress(pub String);

impl fmt::Display for BadAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` is not an address", self.0)
    }
}

impl std::error::Error for BadAddress {}

impl Address {
    /// Reads the written form.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let mut steps: Vec<Step> = Vec::new();
        let mut step: Option<Step> = None;
        for token in lexer::tokens(text) {
            let word = &text[token.range()];
            match token.kind {
                Kind::Blank => {}
                Kind::Word if word == "/" => steps.push(step.take().ok_or_else(bad)?),
                Kind::Word | Kind::Quoted => {
                    let quoted = token.kind == Kind::Quoted;
                    let (word, index) = match quoted {
                        true => (&word[1..word.len() - 1], None),
                        false => indexed(word).ok_or_else(bad)?,
                    };
                    let text = lexer::unescape(word);
                    let next = match step.take() {
                        None => Step {
                            name: text,
                            key: None,
                            index,
                        },
                        // `"key"[1]`: the lexer makes two words of it.
                        Some(old) if !quoted && text.is_empty() && old.index.is_none() => {
                            Step { index, ..old }
                        }
                        Some(old) if old.key.is_none() && old.index.is_none() => Step {
                            key: Some(text),
                            index,
                            ..old
                        },
                        Some(_) => return Err(bad()),
                    };
                    if next.name.is_empty() {
                        return Err(bad());
                    }
                    step = Some(next);
                }
                _ => return Err(bad()),
            }
        }
        match step {
            Some(step) => steps.push(step),
            // A `/` at the end.
            None if !steps.is_empty() => return Err(bad()),
            None => {}
        }
        Ok(Self { steps })
    }

    /// The address of the directive with this span among these, as short as it can be.
    pub fn of(nodes: &[Node], span: Span) -> Option<Self> {
        let mut steps = Vec::new();
        let mut siblings = nodes;
        loop {
            let node = siblings.iter().find(|node| {
                let inside = node.span.file == span.file
                    && node.span.start <= span.start
                    && span.end <= node.span.end;
                inside
                    || node
                        .block
                        .as_deref()
                        .is_some_and(|block| holds(block, span))
            })?;
            steps.push(Step::of(siblings, node));
            if node.span == span {
                return Some(Self { steps });
            }
            siblings = node.block.as_deref()?;
        }
    }

    /// The directive that it names among these.
    pub fn find<'n>(&self, nodes: &'n [Node]) -> Found<'n> {
        let mut siblings = nodes;
        let mut found = Found::Nothing;
        for step in &self.steps {
            let matching = step.matching(siblings);
            let node = match (matching.as_slice(), step.index) {
                ([node], None) => node,
                ([], _) => return Found::Nothing,
                (_, None) => return Found::Several(matching.len()),
                (_, Some(index)) => match matching.get(index) {
                    Some(node) => node,
                    None => return Found::Nothing,
                },
            };
            siblings = node.block.as_deref().unwrap_or_default();
            found = Found::One(node);
        }
        found
    }

    /// The address of the block around it.
    pub fn parent(&self) -> Self {
        let count = self.steps.len().saturating_sub(1);
        Self {
            steps: self.steps[..count].to_vec(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps.iter().enumerate() {
            if position > 0 {
                out.write_str(" / ")?;
            }
            out.write_str(&step.name)?;
            if let Some(key) = &step.key {
                write!(out, " {}", lexer::quote(key, '"'))?;
            }
            if let Some(index) = step.index {
                write!(out, "[{index}]")?;
            }
        }
        Ok(())
    }
}

impl Step {
    /// The shortest step that names a node among its siblings.
    fn of(siblings: &[Node], node: &Node) -> Self {
        let name = node.name.text.to_string();
        let plain = Self {
            name,
            key: None,
            index: None,
        };
        let twins = plain.matching(siblings).len();
        let key = own_key(node).filter(|_| twins > 1 || node.block.is_some());
        let keyed = Self { key, ..plain };
        let matching = keyed.matching(siblings);
        let index = match matching.len() {
            0 | 1 => None,
            _ => matching.iter().position(|twin| twin.span == node.span),
        };
        Self { index, ..keyed }
    }

    /// The siblings that have the name, and the key in the closest way in which any has it.
    fn matching<'n>(&self, siblings: &'n [Node]) -> Vec<&'n Node> {
        let named = siblings.iter().filter(|node| *node.name.text == self.name);
        let Some(key) = &self.key else {
            return named.collect();
        };
        let named: Vec<&Node> = named.collect();
        let ways: [fn(&Node, &str) -> bool; 3] = [
            |node, key| own_key(node).as_deref() == Some(key) || joined(node) == key,
            |node, key| {
                node.arguments
                    .first()
                    .is_some_and(|word| &*word.text == key)
            },
            |node, key| {
                let inner = node.block.iter().flatten().filter(|inner| {
                    &*node.name.text == "server"
                        && matches!(&*inner.name.text, "server_name" | "listen")
                });
                let words = inner.flat_map(|inner| &inner.arguments);
                node.arguments
                    .iter()
                    .chain(words)
                    .any(|word| &*word.text == key)
            },
        ];
        for way in ways {
            let found: Vec<&Node> = named
                .iter()
                .copied()
                .filter(|node| way(node, key))
                .collect();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }
}

/// What a reader calls a directive: a `server` by its first name, others by their arguments.
fn own_key(node: &Node) -> Option<String> {
    if &*node.name.text == "server"
        && let Some(block) = &node.block
    {
        let name = block
            .iter()
            .find(|inner| &*inner.name.text == "server_name")?;
        return name.arguments.first().map(|word| word.text.to_string());
    }
    match node.arguments.is_empty() {
        true => None,
        false => Some(joined(node)),
    }
}

fn joined(node: &Node) -> String {
    let words: Vec<&str> = node.arguments.iter().map(|word| &*word.text).collect();
    words.join(" ")
}

fn holds(nodes: &[Node], span: Span) -> bool {
    nodes.iter().any(|node| {
        node.span == span
            || node
                .block
                .as_deref()
                .is_some_and(|block| holds(block, span))
    })
}

/// Cuts `[3]` off the end of a word.
fn indexed(word: &str) -> Option<(&str, Option<usize>)> {
    let Some(rest) = word.strip_suffix(']') else {
        return Some((word, None));
    };
    let (start, digits) = rest.rsplit_once('[')?;
    Some((start, Some(digits.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::conf::include;

    const SITE: &str = "\
# Our site.
events { }
http {
    # Who may come.
    server { # plain
        listen 80;
        server_name a.example \"www.a.example\"; # both

        # The interface.
        location /api/ {
            limit_req zone=api burst=10 nodelay;
            proxy_pass http://api;
        }

        location ~ \\.php$ { return 404; }
    }

    server {
        listen 443;
        server_name a.example;
    }
    # The end.
}
";

    fn at(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    #[test]
    fn addresses_read_and_print_the_same() {
        for text in [
            "http",
            "http / server \"a.example\"",
            "http / server \"a.example\"[1] / location \"~ \\.php$\" / add_header[2]",
            "x / y \"a \\\" b\"",
            "",
        ] {
            assert_eq!(at(text).to_string(), text);
        }
        assert_eq!(
            at("http / location /api/").steps[1].key.as_deref(),
            Some("/api/")
        );
        for text in [
            "/", "a / / b", "a /", "a b c", "a;", "a[x]", "\"\"", "a \"b",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_address_of_a_directive_finds_it_again() {
        let loaded = include::outline(Path::new("test.conf"), SITE.to_owned());
        let mut open: Vec<&Node> = loaded.nodes.iter().collect();
        let mut written = Vec::new();
        while let Some(node) = open.pop() {
            let address = Address::of(&loaded.nodes, node.span).expect("an address");
            assert_eq!(address.find(&loaded.nodes), Found::One(node));
            assert_eq!(at(&address.to_string()), address);
            written.push(address.to_string());
            open.extend(node.block.iter().flatten());
        }
        assert!(written.contains(&"http / server \"a.example\"[1] / listen".to_owned()));
        assert!(
            written
                .iter()
                .any(|text| text.ends_with("location \"~ \\.php$\" / return"))
        );
    }
}
