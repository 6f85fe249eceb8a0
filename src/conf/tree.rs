//! The lossless tree of one file: document, directives, blocks, words, and what stands between.
//!
//! A tree holds positions, not text; together with the text it came from it prints back byte for
//! byte ([`Document::print`]). It keeps what the parser could not make sense of as [`Item::Stray`].
//! Invariant: the spans of a tree are ordered, do not overlap and leave no byte out.

use std::ops::Range;

use super::lexer::{self, Kind};
use super::source::{FileId, Span};

/// A whole file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// The file.
    pub file: FileId,
    /// What it holds, in order.
    pub items: Vec<Item>,
    /// What stands before the end of the file.
    pub trailing: Trivia,
}

/// A piece of a document or block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A directive, simple or with a block.
    Directive(Directive),
    /// Text that belongs nowhere: a `}` too many, a lonely `;`, a block without a name.
    Stray {
        /// What stands before it.
        leading: Trivia,
        /// The text.
        span: Span,
    },
}

/// Words and their end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    /// The first word.
    pub name: Word,
    /// The words that follow.
    pub arguments: Vec<Word>,
    /// How it ends.
    pub end: End,
}

/// How a directive ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With a `;`.
    Semicolon {
        /// What stands before it.
        leading: Trivia,
        /// The `;`.
        span: Span,
    },
    /// With a block.
    Block(Block),
    /// The file or the block around it ends first.
    Missing,
}

/// `{ … }`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// What stands before the `{`.
    pub leading: Trivia,
    /// The `{`.
    pub open: Span,
    /// What it holds, in order.
    pub items: Vec<Item>,
    /// The text of a `*_by_lua_block`, whose `items` are empty.
    pub raw: Option<Span>,
    /// What stands before the `}`.
    pub trailing: Trivia,
    /// The `}`; without one the file ends first.
    pub close: Option<Span>,
}

/// A word as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// What stands before it.
    pub leading: Trivia,
    /// The word with its quotes.
    pub span: Span,
    /// Does it stand in quotes?
    pub quoted: bool,
}

/// Blanks, line ends and comments between two tokens; may be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trivia {
    /// Where it stands.
    pub span: Span,
}

impl Document {
    /// The text of the tree; equal to the text that was parsed.
    pub fn print(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        print_items(&self.items, text, &mut out);
        out.push_str(&text[self.trailing.span.range()]);
        out
    }

    /// The directives of the outermost level.
    pub fn directives(&self) -> impl Iterator<Item = &Directive> {
        directives(&self.items)
    }
}

impl Directive {
    /// From its name to its `;` or `}`.
    pub fn span(&self) -> Span {
        let end = match &self.end {
            End::Semicolon { span, .. } => *span,
            End::Block(block) => block.close.unwrap_or(block.trailing.span),
            End::Missing => self.arguments.last().unwrap_or(&self.name).span,
        };
        self.name.span.to(end)
    }

    /// From its name to its `;` or `{`: what a reader sees as its head.
    pub fn head(&self) -> Span {
        let end = match &self.end {
            End::Block(block) => block.open,
            End::Semicolon { span, .. } => *span,
            End::Missing => self.arguments.last().unwrap_or(&self.name).span,
        };
        self.name.span.to(end)
    }

    /// Its block.
    pub fn block(&self) -> Option<&Block> {
        match &self.end {
            End::Block(block) => Some(block),
            End::Semicolon { .. } | End::Missing => None,
        }
    }
}

impl Block {
    /// The directives directly in it.
    pub fn directives(&self) -> impl Iterator<Item = &Directive> {
        directives(&self.items)
    }
}

impl Word {
    /// The word without its quotes, escapes as written.
    pub fn inner(&self, text: &str) -> Range<usize> {
        let range = self.span.range();
        if !self.quoted {
            return range;
        }
        let written = &text.as_bytes()[range.clone()];
        let closed = written.len() > 1 && written.last() == written.first();
        range.start + 1..range.end - usize::from(closed)
    }

    /// What the word means.
    pub fn text(&self, text: &str) -> String {
        lexer::unescape(&text[self.inner(text)])
    }
}

impl Trivia {
    /// The comments in it, each from `#` to the end of its line.
    pub fn comments(self, text: &str) -> impl Iterator<Item = Span> {
        let offset = self.span.start as usize;
        lexer::tokens(&text[self.span.range()])
            .filter(|token| token.kind == Kind::Comment)
            .map(move |token| Span::new(self.span.file, offset + token.start..offset + token.end))
    }
}

fn directives(items: &[Item]) -> impl Iterator<Item = &Directive> {
    items.iter().filter_map(|item| match item {
        Item::Directive(directive) => Some(directive),
        Item::Stray { .. } => None,
    })
}

fn print_items(items: &[Item], text: &str, out: &mut String) {
    let put = |trivia: Trivia, span: Span, out: &mut String| {
        out.push_str(&text[trivia.span.range()]);
        out.push_str(&text[span.range()]);
    };
    for item in items {
        let directive = match item {
            Item::Stray { leading, span } => {
                put(*leading, *span, out);
                continue;
            }
            Item::Directive(directive) => directive,
        };
        for word in std::iter::once(&directive.name).chain(&directive.arguments) {
            put(word.leading, word.span, out);
        }
        match &directive.end {
            End::Missing => {}
            End::Semicolon { leading, span } => put(*leading, *span, out),
            End::Block(block) => {
                put(block.leading, block.open, out);
                if let Some(raw) = block.raw {
                    out.push_str(&text[raw.range()]);
                }
                print_items(&block.items, text, out);
                out.push_str(&text[block.trailing.span.range()]);
                if let Some(close) = block.close {
                    out.push_str(&text[close.range()]);
                }
            }
        }
    }
}
