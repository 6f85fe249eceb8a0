//! Format-preserving edits: operations on directives become small changes of one file's text.
//!
//! A directive is named by its [`Address`], as a reader would say it, across includes. An operation
//! changes only the bytes it means to change: comments, spelling and layout of everything else stay
//! byte for byte, and what is new takes the indentation of its neighbours. An operation whose result
//! would not parse, or would say something else than was meant, is refused.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use super::address::Address;
use super::address::Found;
use super::diagnostic::{Diagnostic, any_error};
use super::fmt::{Style, layout};
use super::include::{self, COMMAND_LINE, Loaded};
use super::lexer::{self, Kind};
use super::parser;
use super::source::FileId;
use super::tree::{Block, Directive, Document, Item, Trivia};

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Gives a directive these arguments; those that stay the same keep their spelling.
    SetArguments {
        /// The directive.
        at: Address,
        /// What its arguments mean, in order.
        arguments: Vec<String>,
    },
    /// Gives a directive these arguments as they are spelled, quotes and all.
    Spell {
        /// The directive.
        at: Address,
        /// Each is one word of the source.
        words: Vec<String>,
    },
    /// Gives one argument another value, or adds it behind the last one.
    SetArgument {
        /// The directive.
        at: Address,
        /// Which argument, from 0.
        argument: usize,
        /// What it means.
        value: String,
    },
    /// Sets `name=value` among the arguments, or removes it.
    SetParameter {
        /// The directive.
        at: Address,
        /// The name before the `=`.
        name: String,
        /// The value behind it.
        value: Option<String>,
    },
    /// Adds directives.
    Insert {
        /// Where.
        to: Place,
        /// One or more directives as they are written in a file.
        text: String,
    },
    /// Takes a directive out, with a comment that follows on its line.
    Remove {
        /// The directive.
        at: Address,
        /// Also the comment lines directly above it?
        comments: bool,
    },
    /// Puts a directive, with the comments directly above it and on its line, elsewhere in its file.
    Move {
        /// The directive.
        from: Address,
        /// Where.
        to: Place,
    },
    /// Puts other directives in place of one.
    Replace {
        /// The directive.
        at: Address,
        /// One or more directives as they are written in a file.
        text: String,
    },
    /// Puts a block around directives that stand next to each other.
    Wrap {
        /// The first one.
        first: Address,
        /// The last one; the same for only one.
        last: Address,
        /// The name of the block.
        name: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// A place among directives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The start of a block; of the main file, if the address is empty.
    First(Address),
    /// The end of a block; of the main file, if the address is empty.
    Last(Address),
    /// Above a directive and its comments.
    Before(Address),
    /// Below a directive.
    After(Address),
}

/// A change of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextEdit {
    /// The bytes that go.
    pub range: Range<usize>,
    /// What comes in their place.
    pub text: String,
}

/// The changes of one file, in order and without overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEdit {
    /// The file.
    pub file: FileId,
    /// What changes.
    pub edits: Vec<TextEdit>,
}

/// Why an operation is refused.
#[derive(Clone, PartialEq, Debug)]
pub enum EditError {
    /// No directive has this address.
    NotFound(Address),
    /// Several directives have it: so many; an index tells which one.
    Ambiguous(Address, usize),
    /// The directive has no block to put something into.
    NotABlock(Address),
    /// There is no such argument.
    NoArgument(usize),
    /// The new text is not a list of sound directives.
    NotDirectives(Vec<Diagnostic>),
    /// The two places are in different files.
    OtherFile,
    /// A directive cannot be put into itself.
    IntoItself,
    /// The two directives do not stand in one block in this order.
    NotNeighbours,
    /// The directive comes from the command line.
    FromCommandLine,
    /// The result would not parse; nothing was changed.
    Unsafe(Vec<Diagnostic>),
}

impl fmt::Display for EditError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(at) => write!(out, "there is no `{at}`"),
            Self::Ambiguous(at, count) => write!(out, "`{at}` names {count} directives"),
            Self::NotABlock(at) => write!(out, "`{at}` has no block"),
            Self::NoArgument(index) => write!(out, "there is no argument {}", index + 1),
            Self::NotDirectives(problems) => match problems.first() {
                Some(problem) => write!(out, "the new text is wrong: {}", problem.message),
                None => write!(out, "the new text holds no directive"),
            },
            Self::OtherFile => write!(out, "the two places are in different files"),
            Self::IntoItself => write!(out, "a directive cannot be put into itself"),
            Self::NotNeighbours => write!(out, "the directives do not stand next to each other"),
            Self::FromCommandLine => write!(out, "the directive comes from the command line"),
            Self::Unsafe(problems) => match problems.first() {
                Some(problem) => write!(out, "the result would be wrong: {}", problem.message),
                None => write!(out, "the result would say something else"),
            },
        }
    }
}

impl std::error::Error for EditError {}

/// The changes that an operation makes; none, if all is so already.
pub fn edit(loaded: &Loaded, operation: &Operation) -> Result<FileEdit, EditError> {
    let change = match operation {
        Operation::SetArguments { at, arguments } => {
            set_arguments(&locate(loaded, at)?, arguments, &[])?
        }
        Operation::Spell { at, words } => {
            let meant: Option<Vec<String>> = words.iter().map(|word| meaning(word)).collect();
            let meant = meant.ok_or(EditError::NotDirectives(Vec::new()))?;
            set_arguments(&locate(loaded, at)?, &meant, words)?
        }
        Operation::SetArgument {
            at,
            argument,
            value,
        } => {
            let site = locate(loaded, at)?;
            let mut wanted = site.arguments();
            match wanted.len() {
                count if *argument < count => wanted[*argument] = value.clone(),
                count if *argument == count => wanted.push(value.clone()),
                _ => return Err(EditError::NoArgument(*argument)),
            }
            set_arguments(&site, &wanted, &[])?
        }
        Operation::SetParameter { at, name, value } => {
            let site = locate(loaded, at)?;
            let mut wanted = site.arguments();
            let old = wanted
                .iter()
                .position(|word| word.split_once('=').is_some_and(|(start, _)| start == name));
            match (old, value) {
                (Some(index), Some(value)) => wanted[index] = format!("{name}={value}"),
                (Some(index), None) => _ = wanted.remove(index),
                (None, Some(value)) => wanted.push(format!("{name}={value}")),
                (None, None) => {}
            }
            set_arguments(&site, &wanted, &[])?
        }
        Operation::Insert { to, text } => {
            let slot = slot(loaded, to)?;
            let style = slot.style();
            insert(&slot, &laid_out(text, style.borrow())?)
        }
        Operation::Remove { at, comments } => {
            let site = locate(loaded, at)?;
            let range = site.whole(*comments);
            FileEdit::one(site.file, site.removal(range), String::new())
        }
        Operation::Move { from, to } => move_to(loaded, from, to)?,
        Operation::Replace { at, text } => {
            let site = locate(loaded, at)?;
            let style = site.slot(site.index, Side::Before).style();
            let mut new = laid_out(text, style.borrow())?;
            let range = site.directive.span().range();
            let ends_in_comment = lexer::tokens(&new)
                .last()
                .is_some_and(|token| token.kind == Kind::Comment);
            let behind = site.container.text[range.end..].trim_start_matches([' ', '\t', '\r']);
            if ends_in_comment && !behind.is_empty() && !behind.starts_with('\n') {
                new.push_str(style.newline);
                new.push_str(&style.base);
            }
            FileEdit::one(site.file, range, new)
        }
        Operation::Wrap {
            first,
            last,
            name,
            arguments,
        } => wrap(loaded, first, last, name, arguments)?,
    };
    if loaded.sources.path(change.file) == Path::new(COMMAND_LINE) {
        return Err(EditError::FromCommandLine);
    }
    let before = loaded.sources.text(change.file);
    let after = apply(before, &change.edits);
    let (_, old) = parser::parse(change.file, before);
    let (_, new) = parser::parse(change.file, &after);
    if any_error(&new) && !any_error(&old) {
        return Err(EditError::Unsafe(new));
    }
    Ok(change)
}

/// Does several operations, each on the result of the ones before, and returns the new texts of the
/// files that changed. `texts` are texts that already stand for files.
pub fn run(
    path: &Path,
    prefix: &Path,
    mut texts: HashMap<PathBuf, String>,
    operations: &[Operation],
) -> Result<HashMap<PathBuf, String>, EditError> {
    for operation in operations {
        let loaded = include::load_texts(path, prefix, None, texts.clone());
        let change = edit(&loaded, operation)?;
        let text = apply(loaded.sources.text(change.file), &change.edits);
        texts.insert(loaded.sources.path(change.file).to_owned(), text);
    }
    Ok(texts)
}

/// The text after changes that are in order and do not overlap.
pub fn apply(text: &str, edits: &[TextEdit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(text.get(at..edit.range.start).unwrap_or_default());
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

impl FileEdit {
    fn one(file: FileId, range: Range<usize>, text: String) -> Self {
        Self {
            file,
            edits: vec![TextEdit { range, text }],
        }
    }
}

/// The items that stand next to each other: of a block, or of a file.
#[derive(Clone, Copy)]
struct Container<'d> {
    text: &'d str,
    file: FileId,
    document: &'d Document,
    items: &'d [Item],
    trailing: Trivia,
    /// The directive of the block.
    head: Option<(&'d Directive, &'d Block)>,
}

/// A directive in the tree.
#[derive(Clone, Copy)]
struct Site<'d> {
    file: FileId,
    container: Container<'d>,
    index: usize,
    directive: &'d Directive,
}

/// A place between the items of a container.
struct Slot<'d> {
    container: Container<'d>,
    /// How many items stand before it.
    index: usize,
    side: Side,
}

/// What a place belongs to, where comments stand between two items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The item before it, or the start of the block.
    After,
    /// The item behind it, or the end of the block.
    Before,
}

/// A style that owns its texts.
struct OwnStyle {
    unit: String,
    base: String,
    newline: &'static str,
}

impl OwnStyle {
    fn borrow(&self) -> Style<'_> {
        Style {
            unit: &self.unit,
            base: &self.base,
            newline: self.newline,
        }
    }
}

fn whole_file(loaded: &Loaded, file: FileId) -> Result<Container<'_>, EditError> {
    let document = loaded
        .documents
        .get(usize::from(file.0))
        .ok_or_else(|| EditError::NotFound(Address::default()))?;
    Ok(Container {
        text: loaded.sources.text(file),
        file,
        document,
        items: &document.items,
        trailing: document.trailing,
        head: None,
    })
}

/// The place of an address in the tree of its file.
fn locate<'d>(loaded: &'d Loaded, at: &Address) -> Result<Site<'d>, EditError> {
    let node = match at.find(&loaded.nodes) {
        Found::One(node) => node,
        Found::Nothing => return Err(EditError::NotFound(at.clone())),
        Found::Several(count) => return Err(EditError::Ambiguous(at.clone(), count)),
    };
    let mut container = whole_file(loaded, node.span.file)?;
    loop {
        let next = container
            .items
            .iter()
            .enumerate()
            .find_map(|(index, item)| match item {
                Item::Directive(directive) => {
                    let span = directive.span();
                    let inside = span.start <= node.span.start && node.span.end <= span.end;
                    inside.then_some((index, directive))
                }
                Item::Stray { .. } => None,
            });
        let (index, directive) = next.ok_or_else(|| EditError::NotFound(at.clone()))?;
        if directive.span() == node.span {
            return Ok(Site {
                file: node.span.file,
                container,
                index,
                directive,
            });
        }
        container = container
            .inside(directive)
            .ok_or_else(|| EditError::NotFound(at.clone()))?;
    }
}

fn slot<'d>(loaded: &'d Loaded, place: &Place) -> Result<Slot<'d>, EditError> {
    let block = |at: &Address| -> Result<Container<'d>, EditError> {
        if at.steps.is_empty() {
            let main = loaded
                .sources
                .ids()
                .find(|&file| loaded.sources.path(file) != Path::new(COMMAND_LINE));
            return whole_file(loaded, main.unwrap_or_default());
        }
        let site = locate(loaded, at)?;
        site.container
            .inside(site.directive)
            .ok_or_else(|| EditError::NotABlock(at.clone()))
    };
    Ok(match place {
        Place::First(at) => Slot {
            container: block(at)?,
            index: 0,
            side: Side::After,
        },
        Place::Last(at) => {
            let container = block(at)?;
            Slot {
                container,
                index: container.items.len(),
                side: Side::Before,
            }
        }
        Place::Before(at) => {
            let site = locate(loaded, at)?;
            site.slot(site.index, Side::Before)
        }
        Place::After(at) => {
            let site = locate(loaded, at)?;
            site.slot(site.index + 1, Side::After)
        }
    })
}

impl<'d> Container<'d> {
    /// The block of a directive in this container; a program has no directives.
    fn inside(self, directive: &'d Directive) -> Option<Self> {
        let block = directive.block().filter(|block| block.raw.is_none())?;
        Some(Self {
            items: &block.items,
            trailing: block.trailing,
            head: Some((directive, block)),
            ..self
        })
    }

    /// What stands between an item and the one before it; with the count of items, before the end.
    fn leading(&self, index: usize) -> Trivia {
        match self.items.get(index) {
            Some(Item::Directive(directive)) => directive.name.leading,
            Some(Item::Stray { leading, .. }) => *leading,
            None => self.trailing,
        }
    }

    fn item_start(&self, index: usize) -> usize {
        self.leading(index).span.end as usize
    }

    /// Where the line goes on behind what stands before an item: behind a comment on that line.
    fn tail(&self, index: usize) -> usize {
        let trivia = self.leading(index).span;
        let start = trivia.start as usize;
        let piece = &self.text[trivia.range()];
        // The start of a file is no line that something could follow on.
        if start == 0 {
            return start;
        }
        let mut tokens = lexer::tokens(piece);
        let mut token = tokens.next();
        if let Some(blank) = token
            && blank.kind == Kind::Blank
            && !piece[blank.range()].contains('\n')
        {
            token = tokens.next();
        }
        match token {
            Some(comment) if comment.kind == Kind::Comment => {
                start + piece[..comment.end].trim_end_matches('\r').len()
            }
            _ => start,
        }
    }

    /// Where the comment lines directly above an item start; its own start, if there are none.
    fn attached(&self, index: usize) -> usize {
        let tail = self.tail(index);
        let mut start = self.item_start(index);
        let piece = &self.text[tail..start];
        let comments: Vec<_> = lexer::tokens(piece)
            .filter(|token| token.kind == Kind::Comment)
            .collect();
        let mut below = piece.len();
        for comment in comments.iter().rev() {
            if piece[comment.end..below].matches('\n').count() > 1 {
                break;
            }
            start = tail + comment.start;
            below = comment.start;
        }
        start
    }

    fn newline(&self) -> &'static str {
        match self.text.find('\n') {
            Some(at) if self.text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }

    /// What a block adds to the indentation in this file: as the first block does that shows it.
    fn unit(&self) -> String {
        let mut blocks: Vec<&Directive> = self.document.directives().collect();
        while let Some(directive) = blocks.pop() {
            let Some(block) = directive.block() else {
                continue;
            };
            let outer = self.indent(directive.name.span.start as usize);
            let first = block.directives().next();
            let inner = first.and_then(|first| self.indent(first.name.span.start as usize));
            if let (Some(outer), Some(inner)) = (outer, inner)
                && let Some(unit) = inner.strip_prefix(outer)
                && !unit.is_empty()
            {
                return unit.to_owned();
            }
            blocks.extend(block.directives());
        }
        "    ".to_owned()
    }

    /// The blanks before a position, if nothing else stands before it on its line.
    fn indent(&self, at: usize) -> Option<&'d str> {
        let before = &self.text[..at];
        let line = before.trim_end_matches([' ', '\t']);
        let first = line.is_empty() || line.ends_with('\n') || line == "\u{feff}";
        first.then(|| &before[line.len()..])
    }

    /// The indentation of the line that a position is on.
    fn line_indent(&self, at: usize) -> &'d str {
        let start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let line = &self.text[start..at];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }
}

impl<'d> Slot<'d> {
    /// How a directive at this place is laid out: as its neighbours, else one step into the block.
    fn style(&self) -> OwnStyle {
        let container = &self.container;
        let unit = container.unit();
        let near = [self.index.checked_sub(1), Some(self.index)];
        let others = (0..container.items.len()).map(Some);
        let base = near
            .into_iter()
            .chain(others)
            .flatten()
            .filter(|&index| index < container.items.len())
            .find_map(|index| container.indent(container.item_start(index)))
            .map(str::to_owned);
        let base = base.unwrap_or_else(|| match container.head {
            Some((head, _)) => {
                format!(
                    "{}{unit}",
                    container.line_indent(head.name.span.start as usize)
                )
            }
            None => String::new(),
        });
        OwnStyle {
            unit,
            base,
            newline: container.newline(),
        }
    }
}

impl Slot<'_> {
    /// Is a block set apart by an empty line here? Where there is one already, and at the end, unless
    /// other blocks stand close together; taking the block out again takes the line with it.
    fn is_airy(&self) -> bool {
        let container = &self.container;
        let text = container.text;
        let lines = |range: Range<usize>| text[range].matches('\n').count();
        let above = |index: usize| lines(container.tail(index)..container.attached(index));
        let is_long = |item: &Item| match item {
            Item::Directive(directive) => {
                directive.block().is_some() && lines(directive.span().range()) > 0
            }
            Item::Stray { .. } => false,
        };
        if self.index == 0 {
            return self.side == Side::Before && container.items.first().is_some_and(is_long);
        }
        if self.index < container.items.len() {
            return above(self.index) > 1;
        }
        let is_close = |(index, item)| is_long(item) && above(index) == 1;
        let mut others = container.items.iter().enumerate().skip(1);
        let comments = container.trailing.comments(text).next().is_some();
        !others.any(is_close) && (self.side == Side::Before || !comments)
    }
}

impl<'d> Site<'d> {
    fn arguments(&self) -> Vec<String> {
        let words = self.directive.arguments.iter();
        words.map(|word| word.text(self.container.text)).collect()
    }

    fn slot(&self, index: usize, side: Side) -> Slot<'d> {
        Slot {
            container: self.container,
            index,
            side,
        }
    }

    /// The directive, a comment that follows on its line if it is the first on the line, and
    /// perhaps the comment lines above it.
    fn whole(&self, comments: bool) -> Range<usize> {
        let span = self.directive.span().range();
        if self.container.indent(span.start).is_none() {
            return span;
        }
        let start = match comments {
            true => self.container.attached(self.index),
            false => span.start,
        };
        start..self.container.tail(self.index + 1).max(span.end)
    }

    /// What to cut so that a range of whole items leaves no empty line or doubled blank.
    fn removal(&self, range: Range<usize>) -> Range<usize> {
        let text = self.container.text;
        let before = text[..range.start].trim_end_matches([' ', '\t']);
        let after = text[range.end..].trim_start_matches([' ', '\t', '\r']);
        let starts_line = before.is_empty() || before.ends_with('\n');
        let ends_line = after.is_empty() || after.starts_with('\n');
        let end = text.len() - after.len();
        if !starts_line {
            // On a line with others: one of the blanks around it goes with it.
            return match ends_line {
                true => {
                    before.len()
                        ..text.len() - text[range.end..].trim_start_matches([' ', '\t']).len()
                }
                // The blanks before it, as a directive that is put there brings them.
                false if before.len() < range.start => before.len()..range.end,
                false => range.start..end,
            };
        }
        if !ends_line {
            return range.start..end;
        }
        let mut start = before.len();
        let mut end = (end + 1).min(text.len());
        // Of the empty lines around it one group goes, or all at the edge of a block.
        let blank_before = {
            let line = before.strip_suffix('\n').unwrap_or(before);
            let line = line.trim_end_matches([' ', '\t', '\r']);
            line.is_empty() || line.ends_with('\n')
        };
        let open_before = before.trim_ascii_end().ends_with('{')
            && self
                .container
                .head
                .is_some_and(|(_, block)| block.open.end as usize == before.trim_ascii_end().len());
        let rest = &text[end..];
        let next = rest.trim_start();
        let blank_lines = rest[..rest.len() - next.len()]
            .rfind('\n')
            .map_or(0, |at| at + 1);
        if (blank_before || open_before) && blank_lines > 0 {
            end += blank_lines;
        } else if blank_before && (next.is_empty() || next.starts_with('}')) {
            let kept = before.trim_ascii_end();
            start = match kept.is_empty() {
                true => 0,
                false => kept.len() + before[kept.len()..].find('\n').map_or(0, |at| at + 1),
            };
        }
        start..end
    }
}

/// What a word of the source means; nothing if it is not one word.
pub fn meaning(source: &str) -> Option<String> {
    let mut tokens = lexer::tokens(source);
    let token = tokens.next().filter(|token| token.end == source.len())?;
    match token.kind {
        Kind::Word => Some(lexer::unescape(source)),
        Kind::Quoted => Some(lexer::unescape(&source[1..source.len() - 1])),
        _ => None,
    }
}

/// The smallest changes that give a directive other arguments; `spelled` says how each is written,
/// or is empty.
fn set_arguments(
    site: &Site<'_>,
    wanted: &[String],
    spelled: &[String],
) -> Result<FileEdit, EditError> {
    let text = site.container.text;
    let words = &site.directive.arguments;
    let old = site.arguments();
    let same = |index: usize, other: usize| {
        let source = &text[words[index].span.range()];
        old[index] == wanted[other]
            // Who spells a word in one line does not mean its line ends.
            && (spelled.get(other)).is_none_or(|spelled| {
                spelled == source || source.contains(['\n', '\r', '\t'])
            })
    };
    let least = old.len().min(wanted.len());
    let head = (0..least).take_while(|&index| same(index, index)).count();
    let tail = (0..least - head)
        .take_while(|&index| same(old.len() - 1 - index, wanted.len() - 1 - index))
        .count();
    let changed = &words[head..words.len() - tail];
    let new = head..wanted.len() - tail;
    let mut edits = Vec::new();
    for (index, (word, value)) in new.clone().zip(changed.iter().zip(&wanted[new.clone()])) {
        let range = word.span.range();
        if same(index, index) {
            continue;
        }
        let mut source = match (spelled.get(index), word.quoted) {
            (Some(spelled), _) => spelled.clone(),
            // Its quotes may be needed by what stands directly behind them.
            (None, true) => lexer::quote(value, char::from(text.as_bytes()[range.start])),
            (None, false) => lexer::escape(value),
        };
        if source.ends_with('$') && text[range.end..].starts_with('{') {
            source = lexer::quote(value, '"');
        }
        edits.push(TextEdit {
            range,
            text: source,
        });
    }
    for word in changed.iter().skip(new.len()) {
        // With the blanks before it, but not with a comment.
        let end = word.span.range().end;
        let before = &text[..word.span.range().start];
        let mut start = before.trim_ascii_end().len();
        if word.leading.comments(text).next().is_some() {
            start = word.span.range().start;
        }
        edits.push(TextEdit {
            range: start..end,
            text: String::new(),
        });
    }
    if new.len() > changed.len() {
        let before = words[..head + changed.len()].last();
        let at = before.unwrap_or(&site.directive.name).span.range().end;
        let mut added = String::new();
        for index in new.skip(changed.len()) {
            added.push(' ');
            match spelled.get(index) {
                Some(spelled) => added.push_str(spelled),
                None => added.push_str(&lexer::escape(&wanted[index])),
            }
        }
        // Behind `"a"` a `)` may stand without a blank; `$` would take a `{` into its word.
        if !text[at..].starts_with([' ', '\t', '\r', '\n', ';']) {
            added.push(' ');
        }
        edits.push(TextEdit {
            range: at..at,
            text: added,
        });
    }
    let change = FileEdit {
        file: site.file,
        edits,
    };
    // Nothing before the name has changed, so the directive is where it was.
    let after = apply(text, &change.edits);
    let (document, _) = parser::parse(site.file, &after);
    let start = site.directive.name.span.start;
    let mut items = &document.items;
    loop {
        let next = items.iter().rev().find_map(|item| match item {
            Item::Directive(directive) => (directive.name.span.start <= start).then_some(directive),
            Item::Stray { .. } => None,
        });
        let Some(directive) = next else {
            return Err(EditError::Unsafe(Vec::new()));
        };
        if directive.name.span.start == start {
            let said = directive.arguments.iter().map(|word| word.text(&after));
            return match said.eq(wanted.iter().cloned()) {
                true => Ok(change),
                false => Err(EditError::Unsafe(Vec::new())),
            };
        }
        match directive.block() {
            Some(block) => items = &block.items,
            None => return Err(EditError::Unsafe(Vec::new())),
        }
    }
}

/// Reads new directives and lays them out; the first line without indentation.
fn laid_out(text: &str, style: Style<'_>) -> Result<String, EditError> {
    let (document, problems) = parser::parse(FileId::default(), text);
    if any_error(&problems) || document.items.is_empty() {
        return Err(EditError::NotDirectives(problems));
    }
    Ok(layout(&document, text, style))
}

/// Puts directives, laid out already, between two items.
fn insert(slot: &Slot<'_>, new: &str) -> FileEdit {
    let Container {
        text, file, items, ..
    } = slot.container;
    let container = &slot.container;
    let OwnStyle { base, newline, .. } = slot.style();
    let one = |range: Range<usize>, text: String| FileEdit::one(file, range, text);
    // A block is set apart by an empty line where its neighbours are.
    let gap = match new.contains('\n') && slot.is_airy() {
        true => newline,
        false => "",
    };
    // Above an item that starts its line, and above its comments.
    if slot.side == Side::Before && slot.index < items.len() {
        let at = container.attached(slot.index);
        if container.indent(at).is_some() {
            return one(at..at, format!("{new}{newline}{gap}{base}"));
        }
    }
    // Behind what stands before: an item, its comment, the `{`, or a comment at the end.
    let mut at = container.tail(slot.index);
    if slot.side == Side::Before && slot.index == items.len() {
        let comments = container.trailing.comments(text);
        at = comments.last().map_or(at, |comment| {
            let end = comment.range().end;
            text[..end].trim_end_matches('\r').len().max(at)
        });
    }
    if at == 0 {
        // The start of a file: the first line, and a line end before what follows.
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let gap = match text[at..].is_empty() || slot.index == items.len() {
            true => newline.to_owned(),
            false => format!("{newline}{newline}"),
        };
        return one(at..at, format!("{new}{gap}"));
    }
    let rest = &text[at..];
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
    let behind = &rest[blanks..];
    if behind.is_empty() || behind.starts_with('\n') {
        let end = match behind.is_empty() && container.head.is_none() {
            true => newline,
            false => "",
        };
        return one(at..at, format!("{newline}{gap}{base}{new}{end}"));
    }
    // Something follows on the same line.
    let simple = !new.contains('\n')
        && lexer::tokens(new).all(|token| !matches!(token.kind, Kind::Comment | Kind::Open));
    let after_comment = text[..at].len() > container.leading(slot.index).span.start as usize;
    if simple && !items.is_empty() && !after_comment {
        let gap = if blanks == 0 { "" } else { " " };
        return one(at..at, format!("{gap}{new}"));
    }
    let outer = match (behind.starts_with('}'), container.head) {
        (true, Some((head, _))) => container.line_indent(head.name.span.start as usize),
        _ => &base,
    };
    one(
        at..at + blanks,
        format!("{newline}{base}{new}{newline}{outer}"),
    )
}

fn move_to(loaded: &Loaded, from: &Address, to: &Place) -> Result<FileEdit, EditError> {
    let site = locate(loaded, from)?;
    let slot = slot(loaded, to)?;
    if site.file != slot.container.file {
        return Err(EditError::OtherFile);
    }
    let whole = site.directive.span();
    if let Some((_, block)) = slot.container.head
        && whole.start <= block.open.start
        && block.open.end <= whole.end
    {
        return Err(EditError::IntoItself);
    }
    let none = FileEdit {
        file: site.file,
        edits: Vec::new(),
    };
    let here = std::ptr::eq(site.container.items, slot.container.items);
    if here && (slot.index == site.index || slot.index == site.index + 1) {
        // At the end, comments may stand between it and the place; they stay behind it.
        return Ok(none);
    }
    let text = site.container.text;
    let range = site.whole(true);
    let old = site.container.line_indent(range.start);
    let style = slot.style();
    let moved = reindent(&text[range.clone()], |line| {
        let rest = line.strip_prefix(old).unwrap_or(line);
        format!("{}{rest}", style.base)
    });
    let mut edits = insert(&slot, &moved).edits;
    edits.push(TextEdit {
        range: site.removal(range),
        text: String::new(),
    });
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    Ok(FileEdit { edits, ..none })
}

fn wrap(
    loaded: &Loaded,
    first: &Address,
    last: &Address,
    name: &str,
    arguments: &[String],
) -> Result<FileEdit, EditError> {
    let (first, last) = (locate(loaded, first)?, locate(loaded, last)?);
    if !std::ptr::eq(first.container.items, last.container.items) || first.index > last.index {
        return Err(EditError::NotNeighbours);
    }
    let container = first.container;
    let text = container.text;
    let mut head = lexer::escape(name);
    for argument in arguments {
        head.push(' ');
        head.push_str(&lexer::escape(argument));
    }
    let start = match container.indent(first.directive.span().range().start) {
        Some(_) => container.attached(first.index),
        None => first.directive.span().range().start,
    };
    let end = container
        .tail(last.index + 1)
        .max(last.directive.span().range().end);
    let body = &text[start..end];
    // Within a line the block stays there, unless a comment would swallow its end.
    let comment = lexer::tokens(body).any(|token| token.kind == Kind::Comment);
    let new = if container.indent(start).is_none() && !body.contains('\n') && !comment {
        format!("{head} {{ {body} }}")
    } else {
        let newline = container.newline();
        let unit = container.unit();
        let base = container.line_indent(start);
        let inner = reindent(body, |line| format!("{unit}{line}"));
        format!("{head} {{{newline}{base}{unit}{inner}{newline}{base}}}")
    };
    Ok(FileEdit::one(first.file, start..end, new))
}

/// Changes the indentation of the lines behind the first one; lines inside of quoted words and
/// programs are left alone, and empty lines stay empty.
fn reindent(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for token in lexer::tokens(text) {
        let piece = &text[token.range()];
        match piece.rfind('\n') {
            Some(at) if token.kind == Kind::Blank && token.end < text.len() => {
                out.push_str(&piece[..=at]);
                out.push_str(&change(&piece[at + 1..]));
            }
            _ => out.push_str(piece),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::include::Node;
    use proptest::prelude::*;

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

    fn load(text: &str) -> Loaded {
        include::outline(Path::new("test.conf"), text.to_owned())
    }

    fn after(text: &str, operation: Operation) -> Result<String, EditError> {
        edit(&load(text), &operation).map(|change| apply(text, &change.edits))
    }

    /// What an operation changes: the lines that go, and the lines that come.
    fn change(operation: Operation) -> (String, String) {
        let new = after(SITE, operation).expect("it can be done");
        let old: Vec<&str> = SITE.split_inclusive('\n').collect();
        let new: Vec<&str> = new.split_inclusive('\n').collect();
        let head = old
            .iter()
            .zip(&new)
            .take_while(|(one, other)| one == other)
            .count();
        let most = old.len().min(new.len()) - head;
        let tail = (0..most)
            .take_while(|&back| old[old.len() - 1 - back] == new[new.len() - 1 - back])
            .count();
        (
            old[head..old.len() - tail].concat(),
            new[head..new.len() - tail].concat(),
        )
    }

    fn set(address: &str, arguments: &[&str]) -> Operation {
        Operation::SetArguments {
            at: at(address),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    const FIRST: &str = "http / server \"a.example\"[0]";
    const API: &str = "http / server \"a.example\"[0] / location /api/";

    fn insert_at(to: Place, text: &str) -> Operation {
        Operation::Insert {
            to,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_address_may_be_unclear_or_wrong() {
        let refused = |address: &str| after(SITE, set(address, &[])).expect_err("refused");
        assert!(matches!(
            refused("http / server a.example"),
            EditError::Ambiguous(_, 2)
        ));
        assert!(matches!(
            refused("http / server b.example"),
            EditError::NotFound(_)
        ));
        assert!(matches!(
            refused("http / server a.example[2]"),
            EditError::NotFound(_)
        ));
        let inside = insert_at(Place::Last(at(&format!("{API} / proxy_pass"))), "a;");
        assert!(matches!(after(SITE, inside), Err(EditError::NotABlock(_))));
        let both = set("http / server \"443\" / listen", &["444"]);
        assert_eq!(change(both).1, "        listen 444;\n");
    }

    #[test]
    fn an_argument_changes_alone() {
        let (old, new) = change(Operation::SetParameter {
            at: at(&format!("{API} / limit_req")),
            name: "burst".to_owned(),
            value: Some("20".to_owned()),
        });
        assert_eq!(old, "            limit_req zone=api burst=10 nodelay;\n");
        assert_eq!(new, "            limit_req zone=api burst=20 nodelay;\n");
        let (_, new) = change(Operation::SetParameter {
            at: at(&format!("{API} / limit_req")),
            name: "delay".to_owned(),
            value: Some("a b".to_owned()),
        });
        assert_eq!(
            new,
            "            limit_req zone=api burst=10 nodelay \"delay=a b\";\n"
        );
        let (_, new) = change(Operation::SetParameter {
            at: at(&format!("{API} / limit_req")),
            name: "burst".to_owned(),
            value: None,
        });
        assert_eq!(new, "            limit_req zone=api nodelay;\n");
        let (_, new) = change(Operation::SetArgument {
            at: at(&format!("{FIRST} / server_name")),
            argument: 1,
            value: "b.example".to_owned(),
        });
        // In quotes as before, and with its comment.
        assert_eq!(new, "        server_name a.example \"b.example\"; # both\n");
    }

    #[test]
    fn words_are_written_as_they_are_spelled() {
        let spell = |text: &str, words: &[&str]| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            after(text, Operation::Spell { at: at("a"), words })
        };
        assert_eq!(
            spell("a b  'c';", &["b", "\"c\""]).as_deref(),
            Ok("a b  \"c\";")
        );
        assert_eq!(
            spell("a  b 'c';", &["'d'", "'c'"]).as_deref(),
            Ok("a  'd' 'c';")
        );
        assert_eq!(spell("a b;", &["b", "'c d'"]).as_deref(), Ok("a b 'c d';"));
        let lines = "a 'b\nc' d;";
        assert_eq!(
            spell(lines, &["\"b\\nc\"", "e"]).as_deref(),
            Ok("a 'b\nc' e;")
        );
        for word in ["", "b c", "b;", "'b", "b\\", "{", "#b", "'b'c"] {
            spell("a b; c d;", &[word]).expect_err(word);
        }
    }

    #[test]
    fn arguments_change_where_they_differ() {
        let name = format!("{FIRST} / server_name");
        assert_eq!(
            change(set(&name, &["a.example", "www.a.example"])),
            Default::default()
        );
        assert_eq!(
            change(set(&name, &["www.a.example"])).1,
            "        server_name \"www.a.example\"; # both\n"
        );
        assert_eq!(
            change(set(&name, &["a.example", "x", "www.a.example"])).1,
            "        server_name a.example x \"www.a.example\"; # both\n"
        );
        assert_eq!(change(set(&name, &[])).1, "        server_name; # both\n");
        let text = "if ($a = \"b\") { c; }";
        let new = after(text, set("if", &["($a", "=", "b", "d", ")"]));
        assert_eq!(new.as_deref(), Ok("if ($a = \"b\" d ) { c; }"));
        let new = after("location /a{ }", set("location", &["/b$"]));
        assert_eq!(new.as_deref(), Ok("location \"/b$\"{ }"));
    }

    #[test]
    fn a_directive_is_added_with_the_indentation_of_its_neighbours() {
        let text = "add_header   X-A \"b\"  always ;";
        let line = "            add_header X-A \"b\" always;\n";
        for place in [
            Place::Last(at(API)),
            Place::First(at(API)),
            Place::Before(at(&format!("{API} / proxy_pass"))),
            Place::After(at(&format!("{API} / limit_req"))),
        ] {
            assert_eq!(
                change(insert_at(place, text)),
                (String::new(), line.to_owned())
            );
        }
        let new = after(
            SITE,
            insert_at(Place::Last(at("http")), "server{listen 81;}"),
        );
        let new = new.expect("it can be done");
        assert!(new.ends_with("    # The end.\n\n    server {\n        listen 81;\n    }\n}\n"));
        let new = after(SITE, insert_at(Place::First(at("")), "user x;")).expect("it can be done");
        assert!(new.starts_with("user x;\n\n# Our site.\n"));
        let new = after(SITE, insert_at(Place::Last(at("")), "user x;")).expect("it can be done");
        assert!(new.ends_with("}\nuser x;\n"));
    }

    #[test]
    fn a_block_is_set_apart_where_blocks_are() {
        let php = at(&format!("{FIRST} / location \"~ \\.php$\""));
        let block = "location /a/ {\n  internal;\n}";
        let new = after(SITE, insert_at(Place::After(at(API)), block)).expect("done");
        let own = "        location /a/ {\n            internal;\n        }\n";
        assert!(new.contains(&format!("        }}\n\n{own}\n        location ~")));
        let same = after(SITE, insert_at(Place::Before(php), block));
        assert_eq!(same.as_deref(), Ok(&*new));
        let close = "a {\n  b;\n}\nc {\n  d;\n}\n";
        for place in [Place::Last(at("")), Place::After(at("c"))] {
            let new = after(close, insert_at(place, "e { f; }"));
            assert_eq!(new.as_deref(), Ok(&*format!("{close}e {{\n  f;\n}}\n")));
        }
        let new = after("a 1;\n", insert_at(Place::Last(at("")), "e { f; }"));
        assert_eq!(new.as_deref(), Ok("a 1;\n\ne {\n    f;\n}\n"));
    }

    #[test]
    fn a_place_before_a_directive_is_above_its_comment_and_one_after_it_below_its_line() {
        let (_, new) = change(insert_at(Place::Before(at(API)), "root /a;"));
        assert_eq!(new, "        root /a;\n");
        let new = after(SITE, insert_at(Place::Before(at(API)), "root /a;")).expect("done");
        assert!(new.contains("        root /a;\n        # The interface.\n"));
        let name = at(&format!("{FIRST} / server_name"));
        let new = after(SITE, insert_at(Place::After(name), "root /a;")).expect("done");
        assert!(new.contains("# both\n        root /a;\n\n"));
        let new = after(SITE, insert_at(Place::First(at(FIRST)), "root /a;")).expect("done");
        assert!(new.contains("server { # plain\n        root /a;\n        listen 80;\n"));
    }

    #[test]
    fn blocks_on_one_line_stay_on_it_if_that_is_safe() {
        let block = at(&format!("{FIRST} / location \"~ \\.php$\""));
        let (_, new) = change(insert_at(Place::Last(block.clone()), "internal;"));
        assert_eq!(
            new,
            "        location ~ \\.php$ { return 404; internal; }\n"
        );
        let (_, new) = change(insert_at(Place::First(block.clone()), "internal;"));
        assert_eq!(
            new,
            "        location ~ \\.php$ { internal; return 404; }\n"
        );
        let (_, new) = change(insert_at(Place::Last(block), "internal; # only"));
        assert_eq!(
            new,
            "        location ~ \\.php$ { return 404;\n            internal; # only\n        }\n"
        );
        let new = after("\ta{}\n", insert_at(Place::Last(at("a")), "b;")).expect("done");
        assert_eq!(new, "\ta{\n\t    b;\n\t}\n");
        let new = after("events { }", insert_at(Place::First(at("events")), "b;")).expect("done");
        assert_eq!(new, "events {\n    b;\n}");
    }

    #[test]
    fn a_directive_goes_with_its_line() {
        let remove = |address: &str, comments| {
            change(Operation::Remove {
                at: at(address),
                comments,
            })
        };
        let (old, new) = remove(&format!("{FIRST} / server_name"), false);
        assert_eq!(
            old,
            "        server_name a.example \"www.a.example\"; # both\n"
        );
        assert_eq!(new, "");
        let (old, new) = remove(&format!("{FIRST} / location \"~ \\.php$\" / return"), false);
        assert_eq!(
            (old.len() - new.len(), new),
            (
                "return 404; ".len(),
                "        location ~ \\.php$ { }\n".to_owned(),
            )
        );
        // The comment above stays unless it is meant, and no two empty lines stay.
        let new = after(
            SITE,
            Operation::Remove {
                at: at(API),
                comments: false,
            },
        );
        assert!(
            new.expect("done")
                .contains("# The interface.\n\n        location ~")
        );
        let new = after(
            SITE,
            Operation::Remove {
                at: at(API),
                comments: true,
            },
        );
        assert!(new.expect("done").contains("# both\n\n        location ~"));
        let new = after(
            SITE,
            Operation::Remove {
                at: at(&format!("{FIRST} / location \"~ \\.php$\"")),
                comments: true,
            },
        );
        assert!(
            new.expect("done")
                .contains("http://api;\n        }\n    }\n")
        );
    }

    #[test]
    fn a_directive_moves_with_its_comments_and_takes_the_new_indentation() {
        let new = after(
            SITE,
            Operation::Move {
                from: at(API),
                to: Place::Last(at("http")),
            },
        );
        assert!(new.expect("done").ends_with(
            "    # The end.\n\n    # The interface.\n    location /api/ {\n        limit_req zone=api burst=10 nodelay;\n        proxy_pass http://api;\n    }\n}\n"
        ));
        let into_itself = Operation::Move {
            from: at("http"),
            to: Place::Last(at(API)),
        };
        assert_eq!(after(SITE, into_itself), Err(EditError::IntoItself));
        for to in [Place::Before(at(API)), Place::After(at(API))] {
            let same = after(SITE, Operation::Move { from: at(API), to });
            assert_eq!(same.as_deref(), Ok(SITE));
        }
        let new = after(
            "a; b; c;\n",
            Operation::Move {
                from: at("c"),
                to: Place::Before(at("b")),
            },
        );
        assert_eq!(new.as_deref(), Ok("a; c; b;\n"));
    }

    #[test]
    fn directives_are_replaced_and_wrapped() {
        let (_, new) = change(Operation::Replace {
            at: at(&format!("{API} / proxy_pass")),
            text: "return 200 ok; # for now".to_owned(),
        });
        assert_eq!(new, "            return 200 ok; # for now\n");
        let new = after(
            "a; b;\n",
            Operation::Replace {
                at: at("a"),
                text: "c; # d".to_owned(),
            },
        );
        assert_eq!(new.as_deref(), Ok("c; # d\n b;\n"));
        let (_, new) = change(Operation::Wrap {
            first: at(&format!("{API} / limit_req")),
            last: at(&format!("{API} / proxy_pass")),
            name: "if".to_owned(),
            arguments: vec![
                "($a".to_owned(),
                "=".to_owned(),
                "b c".to_owned(),
                ")".to_owned(),
            ],
        });
        assert_eq!(
            new,
            "            if ($a = \"b c\" ) {\n                limit_req zone=api burst=10 nodelay;\n                proxy_pass http://api;\n            }\n"
        );
        let new = after(
            "a 'x\n y'\n  z;\nb;\n",
            Operation::Wrap {
                first: at("a"),
                last: at("b"),
                name: "w".to_owned(),
                arguments: Vec::new(),
            },
        );
        assert_eq!(
            new.as_deref(),
            Ok("w {\n    a 'x\n y'\n      z;\n    b;\n}\n")
        );
    }

    #[test]
    fn what_is_no_directive_is_refused() {
        for text in ["", "# only a comment", "a", "a {", "}", "a; }", "a \"b;"] {
            let refused = after(SITE, insert_at(Place::Last(at("http")), text));
            assert!(
                matches!(refused, Err(EditError::NotDirectives(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn several_operations_build_on_each_other_also_across_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let main = write("main.conf", "http {\n\tinclude site.conf;\n}\n");
        let site = write("site.conf", "server {\n  listen 80;\n}\n");
        let texts = run(
            &main,
            Path::new("/"),
            HashMap::new(),
            &[
                insert_at(Place::Last(at("http / server")), "location / { }"),
                insert_at(Place::Last(at("http / server / location")), "return 204;"),
                set("http / server / listen", &["81"]),
                insert_at(Place::Last(at("http")), "sendfile on;"),
            ],
        )
        .expect("done");
        assert_eq!(
            texts[&main],
            "http {\n\tinclude site.conf;\n\tsendfile on;\n}\n"
        );
        assert_eq!(
            texts[&site],
            "server {\n  listen 81;\n  location / {\n    return 204;\n  }\n}\n"
        );
        let across = Operation::Move {
            from: at("http / server"),
            to: Place::First(at("http")),
        };
        assert_eq!(
            run(&main, Path::new("/"), HashMap::new(), &[across]),
            Err(EditError::OtherFile)
        );
    }

    /// Words, punctuation and comments.
    fn substance(text: &str) -> Vec<String> {
        lexer::tokens(text)
            .filter(|token| !matches!(token.kind, Kind::Blank | Kind::Mark))
            .map(|token| text[token.range()].trim_end().to_owned())
            .collect()
    }

    fn sorted(mut list: Vec<String>) -> Vec<String> {
        list.sort_unstable();
        list
    }

    fn all<'n>(nodes: &'n [Node], out: &mut Vec<&'n Node>) {
        for node in nodes {
            out.push(node);
            // The body of a program is a node, but no directive.
            if node.name.text.ends_with("_by_lua_block") {
                continue;
            }
            all(node.block.as_deref().unwrap_or_default(), out);
        }
    }

    fn gap() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "",
            " ",
            "\n",
            "\n",
            "\n\n",
            "\n  ",
            "\n\t",
            "\r\n",
            " # m\n",
            "\n# n\n",
            "\n\n  #k\n\n ",
        ])
    }

    fn word() -> impl Strategy<Value = String> {
        let between = prop::sample::select(vec![" ", " ", " ", "  ", "\n   ", " # w\n "]);
        let word = prop::sample::select(vec![
            "c", "d=1", "'q\n r'", "\"s\"", "$", "${x}", "\\;", "\"\"",
        ]);
        (between, word).prop_map(|(between, word)| format!("{between}{word}"))
    }

    /// Directives and blocks in many layouts.
    fn items() -> impl Strategy<Value = String> {
        let name = || prop::sample::select(vec!["a", "b", "server_name"]);
        let words = || prop::collection::vec(word(), 0..3).prop_map(|words| words.concat());
        let simple = (name(), words()).prop_map(|(name, words)| format!("{name}{words};"));
        let program = Just("x_by_lua_block {\n y = {}\n}".to_owned());
        let leaf = prop_oneof![6 => simple, 1 => program];
        let item = leaf.prop_recursive(4, 24, 4, move |inner| {
            let list = prop::collection::vec((gap(), inner), 0..4);
            let name = prop::sample::select(vec!["a", "e", "server"]);
            (
                name,
                prop::sample::select(vec!["", " ", " # o\n"]),
                list,
                gap(),
            )
                .prop_map(|(name, before, list, end)| {
                    let list: String = list
                        .into_iter()
                        .map(|(gap, item)| gap.to_owned() + &item)
                        .collect();
                    format!("{name}{before}{{{list}{end}}}")
                })
        });
        (prop::collection::vec((gap(), item), 1..5), gap()).prop_map(|(list, end)| {
            let list: String = list
                .into_iter()
                .map(|(gap, item)| gap.to_owned() + &item)
                .collect();
            list + end
        })
    }

    proptest! {
        #[test]
        fn only_what_is_meant_changes(
            text in items(),
            one in any::<prop::sample::Index>(),
            other in any::<prop::sample::Index>(),
            side in 0..4usize,
        ) {
            let loaded = load(&text);
            let mut nodes = Vec::new();
            all(&loaded.nodes, &mut nodes);
            prop_assert!(!any_error(&loaded.diagnostics), "{}", text);
            let address = |node: &Node| Address::of(&loaded.nodes, node.span);
            let (first, second) = (one.get(&nodes), other.get(&nodes));
            let (Some(from), Some(near)) = (address(first), address(second)) else {
                return Ok(());
            };
            let to = match side {
                0 => Place::First(near.clone()),
                1 => Place::Last(near.clone()),
                2 => Place::Before(near.clone()),
                _ => Place::After(near.clone()),
            };
            let old = substance(&text);
            let whole = loaded.sources.slice(first.span);

            let new = after(&text, insert_at(to.clone(), "new \"w w\";"));
            if side < 2 && slot(&loaded, &to).is_err() {
                prop_assert!(new.is_err());
            } else {
                let new = new.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let change = edit(&loaded, &insert_at(to.clone(), "new \"w w\";")).expect("as above");
                let gone = change.edits.iter().map(|edit| &text[edit.range.clone()]);
                prop_assert!(gone.collect::<String>().trim().is_empty());
                let mut words = substance(&new);
                let start = words.iter().position(|word| word == "new").unwrap_or_default();
                let added: Vec<String> = words.drain(start..start + 3).collect();
                prop_assert_eq!(added, ["new", "\"w w\"", ";"]);
                prop_assert_eq!(words, old.clone(), "{}", new);
            }

            let new = after(&text, Operation::Remove { at: from.clone(), comments: false });
            let new = new.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let words = substance(&new);
            let own = substance(whole).len();
            // A comment on the line may go with it.
            let gone = old.len() - words.len();
            prop_assert!(gone == own || gone == own + 1, "{} of {}: {}", gone, own, new);
            let in_order = (0..=words.len()).any(|at| {
                old[..at] == words[..at] && old[at + gone..] == words[at..]
            });
            prop_assert!(in_order, "{}", new);

            match after(&text, Operation::Move { from: from.clone(), to }) {
                Ok(new) => prop_assert_eq!(sorted(substance(&new)), sorted(old.clone()), "{}", new),
                Err(error) => prop_assert!(
                    matches!(error, EditError::IntoItself | EditError::NotABlock(_)),
                    "{}", error
                ),
            }

            let new = after(&text, Operation::Wrap {
                first: from.clone(), last: from.clone(), name: "w".to_owned(), arguments: Vec::new(),
            });
            let new = new.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let mut words = substance(&new);
            let start = words.iter().position(|word| word == "w").unwrap_or_default();
            prop_assert_eq!(&words[start + 1], "{");
            words.drain(start..start + 2);
            let end = (start..words.len()).find(|&at| words.get(at) != old.get(at));
            prop_assert_eq!(words.remove(end.unwrap_or(old.len())), "}");
            prop_assert_eq!(words, old.clone(), "{}", new);

            let wanted = ["x y", "", "$z", "\\"].map(str::to_owned).to_vec();
            let new = after(&text, Operation::SetArguments { at: from, arguments: wanted });
            prop_assert!(new.is_ok(), "{:?}", new);
        }
    }
}
