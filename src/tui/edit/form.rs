//! The form of one block: what is written there and what may be, as values that can be changed.
//!
//! Owns the fields and the text of the file that they mean; no key, no picture. The fields come from
//! the table of directives. Invariant: the text after a change differs from the text before only in
//! the lines of the fields that were changed; a form without changes is the text itself.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::conf::address::{Address, Found};
use crate::conf::directives::{
    self, Argument, Contexts, Directive, Form as Shape, Repeat, Support,
};
use crate::conf::edit::{self, Operation, Place};
use crate::conf::include::{self, Loaded};
use crate::conf::lexer::{self, Kind};
use crate::conf::tree::{self, Document, Item};

/// The directives of a location that come first, in this order, whether they are written or not. Those
/// in one row are one list, in the order written.
const LOCATION: &[&[&str]] = &[
    &["proxy_pass"],
    &["root"],
    &["alias"],
    &["return"],
    &["try_files"],
    &["index"],
    &["client_max_body_size"],
    &["proxy_connect_timeout"],
    &["proxy_read_timeout"],
    &["proxy_send_timeout"],
    &["proxy_set_header"],
    &["proxy_hide_header"],
    &["add_header"],
    &["expires"],
    &["allow", "deny"],
    &["access_log"],
    &["error_log"],
    &["proxy_buffering"],
    &["proxy_request_buffering"],
    &["proxy_next_upstream"],
    &["proxy_next_upstream_tries"],
    &["rewrite"],
    &["error_page"],
    &["autoindex"],
    &["internal"],
];

/// As [`LOCATION`], of a server.
const SERVER: &[&[&str]] = &[
    &["server_name"],
    &["listen"],
    &["root"],
    &["index"],
    &["return"],
    &["client_max_body_size"],
    &["client_header_timeout"],
    &["keepalive_timeout"],
    &["add_header"],
    &["proxy_set_header"],
    &["allow", "deny"],
    &["access_log"],
    &["error_log"],
    &["error_page"],
    &["rewrite"],
    &["http2"],
    &["server_tokens"],
];

/// As [`LOCATION`], of an upstream.
const UPSTREAM: &[&[&str]] = &[
    &["server"],
    &["least_conn"],
    &["ip_hash"],
    &["hash"],
    &["random"],
    &["least_time"],
    &["sticky"],
    &["keepalive"],
    &["keepalive_timeout"],
    &["keepalive_requests"],
    &["zone"],
];

/// The block that a form is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// `location {}`
    Location,
    /// `server {}` of `http {}`
    Server,
    /// `upstream {}`
    Upstream,
}

/// A form.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its block.
    pub block: Block,
    /// The file that the block is in.
    pub path: PathBuf,
    /// The fields, in the order shown.
    pub fields: Vec<Field>,
    /// The text of the file.
    text: String,
    /// Where the block's name starts in it.
    start: u32,
    /// Fields of directives that are rarely wanted are among the others.
    has_all: bool,
}

/// One value of a form.
#[derive(Clone, Debug)]
pub struct Field {
    /// What it is of.
    pub subject: Subject,
    /// The directive's arguments as they would be written; `None` if it is not to be there.
    pub value: Option<String>,
    /// As the file has it.
    written: Option<Written>,
}

/// What a field is of.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The arguments of the block itself.
    Head(&'static Directive),
    /// A directive in it.
    Directive(&'static Directive),
    /// Something in it that a form cannot show: its source in one line, and why.
    Raw {
        /// As written, blanks made one.
        source: String,
        /// Why it is not a field.
        reason: &'static str,
    },
}

#[derive(Clone, Debug)]
struct Written {
    /// Its position among the items of the block; nothing for the head.
    item: usize,
    /// Its arguments as they are written.
    value: String,
}

/// How a field is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Editor {
    /// By typing.
    Text,
    /// By going through these values, and none.
    Choice(&'static [&'static str]),
    /// By adding it and taking it out: it has no arguments.
    Presence,
    /// Not here.
    Nothing,
}

/// Why what is in a field is not a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// Which field.
    pub field: usize,
    /// Where in its value, in bytes.
    pub range: Range<usize>,
    /// Why.
    pub message: String,
}

/// Why something is not a field.
const NO_DIRECTIVE: &str = "it is no directive";
const BLOCK: &str = "it is a block of its own";

const FLAG: &[&str] = &["on", "off"];

impl Form {
    /// The form of the block with this address; why there is none, in words.
    pub fn of(loaded: &Loaded, address: &Address) -> Result<Self, String> {
        let node = match address.find(&loaded.nodes) {
            Found::One(node) => node,
            Found::Nothing => return Err(format!("there is no `{address}` any more")),
            Found::Several(count) => return Err(format!("`{address}` names {count} directives")),
        };
        let block = match &*node.name.text {
            "location" => Block::Location,
            "server" if node.block.is_some() => Block::Server,
            "upstream" => Block::Upstream,
            name => return Err(format!("there is no form for `{name}`")),
        };
        let file = node.span.file;
        let path = loaded.sources.path(file);
        if path == Path::new(include::COMMAND_LINE) {
            return Err("the block comes from the command line".to_owned());
        }
        let mut form = Self {
            block,
            path: path.to_owned(),
            fields: Vec::new(),
            text: loaded.sources.text(file).to_owned(),
            start: node.name.span.start,
            has_all: false,
        };
        form.fill()?;
        Ok(form)
    }

    /// The text of the file without the changes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of the file on which the block starts, from 1.
    pub fn line(&self) -> u32 {
        let before = self.text.get(..self.start as usize).unwrap_or_default();
        before.matches('\n').count() as u32 + 1
    }

    /// Is any value another than what is written?
    pub fn is_changed(&self) -> bool {
        self.fields.iter().any(Field::is_changed)
    }

    /// The text of the file with the changes; what is no value, if anything is not.
    pub fn after(&self) -> Result<String, Vec<Flaw>> {
        let mut flaws = Vec::new();
        // What is done, by the position of the item behind which it is done; the head is last.
        let mut steps: Vec<(Option<usize>, Step)> = Vec::new();
        for (index, field) in self.fields.iter().enumerate() {
            if !field.is_changed() {
                continue;
            }
            let words = match field.value.as_deref().map(words).transpose() {
                Ok(words) => words,
                Err((range, message)) => {
                    flaws.push(Flaw {
                        field: index,
                        range,
                        message,
                    });
                    continue;
                }
            };
            match (&field.subject, &field.written, words) {
                (Subject::Head(_), _, words) => {
                    steps.push((None, Step::Set(words.unwrap_or_default())));
                }
                (_, Some(written), Some(words)) => {
                    steps.push((Some(written.item), Step::Set(words)));
                }
                (_, Some(written), None) => steps.push((Some(written.item), Step::Remove)),
                (Subject::Directive(row), None, Some(words)) => {
                    let mut line = row.name.to_owned();
                    for word in words {
                        line.push(' ');
                        line.push_str(&word);
                    }
                    line.push(';');
                    steps.push((self.place(index, row), Step::Insert(line)));
                }
                (Subject::Raw { .. } | Subject::Directive(_), None, _) => {}
            }
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        // From the last item to the first, so that positions stay; what is put behind an item comes
        // before what is done to it, and of what is put there the last comes first.
        let rank = |step: &Step| !matches!(step, Step::Insert(_));
        steps.reverse();
        steps.sort_by_key(|(at, step)| (at.is_none(), std::cmp::Reverse(*at), rank(step)));
        let mut text = self.text.clone();
        for (at, step) in steps {
            text = match self.done(&text, at, &step) {
                Ok(text) => text,
                Err(message) => {
                    return Err(vec![Flaw {
                        field: 0,
                        range: 0..0,
                        message,
                    }]);
                }
            };
        }
        Ok(text)
    }

    /// Adds empty fields for every other directive that may stand in the block, or takes them away
    /// again.
    pub fn show_all(&mut self, has_all: bool) {
        self.has_all = has_all;
        let frequent = self.frequent();
        let is_rare = |field: &Field| match &field.subject {
            Subject::Directive(row) => {
                field.written.is_none()
                    && !field.is_changed()
                    && !frequent.iter().any(|names| names.contains(&row.name))
            }
            _ => false,
        };
        self.fields.retain(|field| !is_rare(field));
        if !has_all {
            return;
        }
        let mut rows: Vec<&'static Directive> = directives::all()
            .filter(|row| {
                row.contexts.contains(self.context())
                    && row.form == Shape::Simple
                    && row.support == Support::Full
                    && row.name != "include"
            })
            .collect();
        rows.sort_by_key(|row| row.name);
        for row in rows {
            let has = self
                .fields
                .iter()
                .any(|field| field.name() == Some(row.name) && field.written.is_none());
            let is_written = self
                .fields
                .iter()
                .any(|field| field.name() == Some(row.name));
            if !has && (row.repeat == Repeat::Many || !is_written) {
                self.fields.push(Field::empty(row));
            }
        }
    }

    /// Are the directives that are rarely wanted among the fields?
    pub fn has_all(&self) -> bool {
        self.has_all
    }

    /// Adds an empty field behind one that was just filled, where there may be several.
    pub fn add_empty(&mut self, index: usize) {
        let Some(Field {
            subject: Subject::Directive(row),
            value: Some(_),
            written: None,
        }) = self.fields.get(index)
        else {
            return;
        };
        let row: &'static Directive = row;
        let has_empty = self.fields.iter().any(|field| {
            field.name() == Some(row.name) && field.value.is_none() && field.written.is_none()
        });
        if row.repeat == Repeat::Many && !has_empty {
            self.fields.insert(index + 1, Field::empty(row));
        }
    }

    /// What is typed into this form, for another one of the same block whose text is another: what
    /// could not be taken over is told by name.
    pub fn carry_over(&self, other: &mut Self) -> Vec<String> {
        let mut lost = Vec::new();
        for field in self.fields.iter().filter(|field| field.is_changed()) {
            let twin = other.fields.iter_mut().find(|twin| {
                twin.label() == field.label()
                    && twin.original() == field.original()
                    && !twin.is_changed()
            });
            match twin {
                Some(twin) => twin.value = field.value.clone(),
                None => match field.written {
                    None => other.fields.push(field.clone()),
                    Some(_) => lost.push(field.label().to_owned()),
                },
            }
        }
        lost
    }

    /// The block in a text of the file: the directives in it by position, and the whole of it.
    pub fn block_in<'d>(&self, document: &'d Document) -> Option<&'d tree::Directive> {
        let mut items = &document.items;
        loop {
            let directive = items.iter().rev().find_map(|item| match item {
                Item::Directive(directive) => {
                    (directive.name.span.start <= self.start).then_some(directive)
                }
                Item::Stray { .. } => None,
            })?;
            if directive.name.span.start == self.start {
                return Some(directive);
            }
            items = &directive.block()?.items;
        }
    }

    fn context(&self) -> Contexts {
        match self.block {
            Block::Location => Contexts::LOCATION,
            Block::Server => Contexts::SERVER,
            Block::Upstream => Contexts::UPSTREAM,
        }
    }

    fn frequent(&self) -> &'static [&'static [&'static str]] {
        match self.block {
            Block::Location => LOCATION,
            Block::Server => SERVER,
            Block::Upstream => UPSTREAM,
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        let loaded = include::outline(&self.path, self.text.clone());
        let gone = || "the block is not there any more".to_owned();
        let document = loaded.documents.first().ok_or_else(gone)?;
        let directive = self.block_in(document).ok_or_else(gone)?;
        let block = directive
            .block()
            .filter(|block| block.raw.is_none())
            .ok_or_else(gone)?;
        let text = &self.text;
        let context = self.context();
        let mut fields = Vec::new();
        if let Some(row) = head_row(self.block) {
            fields.push(Field {
                subject: Subject::Head(row),
                value: Some(arguments(directive, text)),
                written: Some(Written {
                    item: 0,
                    value: arguments(directive, text),
                }),
            });
        }
        let mut written: Vec<Field> = Vec::new();
        let mut raw: Vec<Field> = Vec::new();
        for (item, inside) in block.items.iter().enumerate() {
            let directive = match inside {
                Item::Directive(directive) => directive,
                Item::Stray { span, .. } => {
                    raw.push(Field::raw(&text[span.range()], NO_DIRECTIVE, item));
                    continue;
                }
            };
            let source = &text[directive.span().range()];
            let name = directive.name.text(text);
            let reason = match directives::find(&name, context) {
                _ if name == "include" => "the lines are in another file",
                None => "it is not known here",
                Some(row) if row.form != Shape::Simple => BLOCK,
                Some(_) if !matches!(directive.end, tree::End::Semicolon { .. }) => {
                    "it does not end with `;`"
                }
                Some(row) => {
                    let value = arguments(directive, text);
                    let meant = directive.arguments.iter().map(|word| Ok(word.text(text)));
                    let shown = words(&value).unwrap_or_default();
                    if !shown
                        .iter()
                        .map(|word| edit::meaning(word).ok_or(()))
                        .eq(meant)
                    {
                        raw.push(Field::raw(source, "it does not fit in one line", item));
                        continue;
                    }
                    written.push(Field {
                        subject: Subject::Directive(row),
                        value: Some(value.clone()),
                        written: Some(Written { item, value }),
                    });
                    continue;
                }
            };
            raw.push(Field::raw(source, reason, item));
        }
        for names in self.frequent() {
            let is_of = |field: &Field| field.name().is_some_and(|name| names.contains(&name));
            let (own, others): (Vec<_>, Vec<_>) = written.into_iter().partition(is_of);
            written = others;
            let is_empty = own.is_empty();
            fields.extend(own);
            for name in *names {
                let Some(row) = directives::find(name, context) else {
                    continue;
                };
                if is_empty || row.repeat == Repeat::Many {
                    fields.push(Field::empty(row));
                }
            }
        }
        fields.append(&mut written);
        fields.append(&mut raw);
        self.fields = fields;
        Ok(())
    }

    /// The position of the item behind which a new directive is put: the last one of its name, else
    /// the last one of the fields above it, else the last simple one above the first block.
    fn place(&self, index: usize, row: &'static Directive) -> Option<usize> {
        let written = |field: &Field| field.written.as_ref().map(|written| written.item);
        let lines = |fields: &[Field]| -> Vec<(&'static str, usize)> {
            let lines = fields
                .iter()
                .filter_map(|field| Some((field.name()?, written(field)?)));
            lines.collect()
        };
        let own = lines(&self.fields);
        let of = |name: &'static str| own.iter().filter(move |(other, _)| *other == name);
        if let Some((_, same)) = of(row.name).max_by_key(|(_, item)| *item) {
            return Some(*same);
        }
        // An address that is let in would be refused below `deny all`.
        if row.name == "allow"
            && let Some((_, refused)) = of("deny").min_by_key(|(_, item)| *item)
        {
            let above = self.fields.iter().filter(|field| field.is_directive());
            return above
                .filter_map(written)
                .filter(|item| item < refused)
                .max();
        }
        // The steps of the rewrite phase happen in the order written: a new one is the last.
        if row.module != "http_rewrite"
            && let Some((_, near)) = lines(&self.fields[..index]).last()
        {
            return Some(*near);
        }
        let blocks = self.fields.iter().filter(|field| field.is_block());
        let first_block = blocks.filter_map(written).min().unwrap_or(usize::MAX);
        let simple = own.iter().map(|(_, item)| *item);
        simple.filter(|&item| item < first_block).max()
    }

    /// Does one step to the item at a position of the block, or to the block.
    fn done(&self, text: &str, at: Option<usize>, step: &Step) -> Result<String, String> {
        let loaded = include::outline(&self.path, text.to_owned());
        let gone = || "the block is not there any more".to_owned();
        let document = loaded.documents.first().ok_or_else(gone)?;
        let directive = self.block_in(document).ok_or_else(gone)?;
        let block = Address::of(&loaded.nodes, directive.span()).ok_or_else(gone)?;
        let item = match at {
            None => None,
            Some(at) => match directive.block().and_then(|block| block.items.get(at)) {
                Some(Item::Directive(item)) => {
                    Some(Address::of(&loaded.nodes, item.span()).ok_or_else(gone)?)
                }
                _ => return Err(gone()),
            },
        };
        let operation = match (step, item) {
            (Step::Insert(line), Some(item)) => Operation::Insert {
                to: Place::After(item),
                text: line.clone(),
            },
            (Step::Insert(line), None) => Operation::Insert {
                to: Place::First(block),
                text: line.clone(),
            },
            (Step::Set(words), item) => Operation::Spell {
                at: item.unwrap_or(block),
                words: words.clone(),
            },
            (Step::Remove, Some(item)) => Operation::Remove {
                at: item,
                comments: false,
            },
            (Step::Remove, None) => return Err(gone()),
        };
        let change = edit::edit(&loaded, &operation).map_err(|error| error.to_string())?;
        Ok(edit::apply(text, &change.edits))
    }
}

/// What is done to an item.
#[derive(Clone, Debug)]
enum Step {
    /// This line is put behind it.
    Insert(String),
    /// It gets these arguments.
    Set(Vec<String>),
    /// It goes.
    Remove,
}

impl Field {
    fn empty(row: &'static Directive) -> Self {
        Self {
            subject: Subject::Directive(row),
            value: None,
            written: None,
        }
    }

    fn raw(source: &str, reason: &'static str, item: usize) -> Self {
        let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            subject: Subject::Raw {
                source: source.clone(),
                reason,
            },
            value: Some(source.clone()),
            written: Some(Written {
                item,
                value: source,
            }),
        }
    }

    /// The row of the table that it is of.
    pub fn row(&self) -> Option<&'static Directive> {
        match &self.subject {
            Subject::Head(row) | Subject::Directive(row) => Some(row),
            Subject::Raw { .. } => None,
        }
    }

    /// The name of its directive, unless it is the block itself.
    fn name(&self) -> Option<&'static str> {
        match &self.subject {
            Subject::Directive(row) => Some(row.name),
            Subject::Head(_) | Subject::Raw { .. } => None,
        }
    }

    /// Is it a directive, however it is shown?
    fn is_directive(&self) -> bool {
        !matches!(
            &self.subject,
            Subject::Head(_)
                | Subject::Raw {
                    reason: NO_DIRECTIVE,
                    ..
                }
        )
    }

    /// Is it a block in the block?
    fn is_block(&self) -> bool {
        matches!(&self.subject, Subject::Raw { reason: BLOCK, .. })
    }

    /// What stands before it.
    pub fn label(&self) -> &str {
        match &self.subject {
            Subject::Head(row) => row.name,
            Subject::Directive(row) => row.name,
            Subject::Raw { source, .. } => source.split([' ', ';', '{']).next().unwrap_or_default(),
        }
    }

    /// Its value as the file has it.
    pub fn original(&self) -> Option<&str> {
        self.written.as_ref().map(|written| &*written.value)
    }

    /// Is its value another than the one written?
    pub fn is_changed(&self) -> bool {
        self.value.as_deref() != self.original()
    }

    /// Gives it the value that the file has.
    pub fn reset(&mut self) {
        self.value = self.original().map(str::to_owned);
    }

    /// Takes what was typed; nothing typed takes the directive out.
    pub fn set(&mut self, text: &str) {
        let is_empty = text.trim_matches(' ').is_empty();
        self.value = match (&self.subject, is_empty) {
            (Subject::Raw { .. }, _) => return,
            // A block keeps its head; that it is empty is then told.
            (Subject::Directive(_), true) => None,
            _ => Some(text.to_owned()),
        };
    }

    /// Goes to the next value of those that it may have; nothing for one that is typed.
    pub fn next(&mut self, is_back: bool) {
        let step = |count: usize, at: Option<usize>| -> Option<usize> {
            // After the last one comes none.
            let now = at.map_or(count, |at| at.min(count));
            let next = match is_back {
                true => (now + count) % (count + 1),
                false => (now + 1) % (count + 1),
            };
            (next < count).then_some(next)
        };
        match self.editor() {
            Editor::Choice(words) => {
                let at = (self.value.as_deref())
                    .and_then(|value| words.iter().position(|word| *word == value));
                self.value = step(words.len(), at).map(|at| words[at].to_owned());
            }
            Editor::Presence => {
                self.value = match self.value {
                    Some(_) => None,
                    None => Some(String::new()),
                };
            }
            Editor::Text | Editor::Nothing => {}
        }
    }

    /// Takes it out of the file, if that can be done.
    pub fn remove(&mut self) {
        if matches!(self.subject, Subject::Directive(_)) {
            self.value = None;
        }
    }

    /// How it is changed.
    pub fn editor(&self) -> Editor {
        let row = match &self.subject {
            Subject::Raw { .. } => return Editor::Nothing,
            Subject::Head(_) => return Editor::Text,
            Subject::Directive(row) => row,
        };
        match row.arguments {
            [] => Editor::Presence,
            [Argument::Flag] => Editor::Choice(FLAG),
            [Argument::OneOf(words)] if row.max == 1 => Editor::Choice(words),
            _ => Editor::Text,
        }
    }

    /// The value in force when nothing is written, if the table says so.
    pub fn default(&self) -> Option<&'static str> {
        match &self.subject {
            Subject::Directive(row) => row.default,
            Subject::Head(_) | Subject::Raw { .. } => None,
        }
    }
}

/// Cuts the arguments of a directive, as they are typed, into words, each with its quotes; what is
/// wrong is told with its place.
pub fn words(text: &str) -> Result<Vec<String>, (Range<usize>, String)> {
    let mut words = Vec::new();
    let mut end = None;
    for token in lexer::tokens(text) {
        let source = &text[token.range()];
        let wrong = |message: &str| Err((token.range(), message.to_owned()));
        match token.kind {
            Kind::Blank => continue,
            Kind::Word | Kind::Quoted if end == Some(token.start) => {
                return wrong("a blank is missing before this");
            }
            Kind::Word | Kind::Quoted => words.push(source.to_owned()),
            Kind::Unclosed => return wrong("the quote is not closed"),
            Kind::Semicolon => return wrong("a `;` needs quotes around its word"),
            Kind::Open | Kind::Close => return wrong("a brace needs quotes around its word"),
            Kind::Comment => return wrong("a `#` needs quotes around its word"),
            Kind::Mark | Kind::Raw => return wrong("this cannot be written here"),
        }
        end = Some(token.end);
    }
    Ok(words)
}

/// The row of the block itself; a server's names are in its block.
fn head_row(block: Block) -> Option<&'static Directive> {
    match block {
        Block::Location => directives::find("location", Contexts::SERVER),
        Block::Upstream => directives::find("upstream", Contexts::HTTP),
        Block::Server => None,
    }
}

/// The arguments of a directive as they are written, in one line.
fn arguments(directive: &tree::Directive, text: &str) -> String {
    let (Some(first), Some(last)) = (directive.arguments.first(), directive.arguments.last())
    else {
        return String::new();
    };
    let source = &text[first.span.range().start..last.span.range().end];
    let is_plain = !source.contains(['\n', '\r', '\t'])
        && directive
            .arguments
            .iter()
            .skip(1)
            .all(|word| word.leading.span.range().len() == 1);
    if is_plain {
        return source.to_owned();
    }
    let words = directive.arguments.iter().map(|word| {
        let written = &text[word.span.range()];
        match written.contains(['\n', '\r', '\t']) {
            true => lexer::escape(&word.text(text))
                .replace('\n', "\\n")
                .replace('\t', "\\t"),
            false => written.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::diagnostic::any_error;
    use crate::conf::diff;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const SITE: &str = "\
http {
    upstream app {
        server 10.0.0.1:80 weight=5; # first
    }
    server {
        server_name a.example;
        location /api/ {
            # To the application.
            proxy_pass http://app;   # see above
            proxy_read_timeout   30s;
            deny  all;

            limit_except GET { deny all; }
            include more.inc;
            unknown x;
        }
    }
}
";

    fn open(text: &str, address: &str) -> Form {
        let loaded = include::outline(Path::new("/c/test.conf"), text.to_owned());
        let address = Address::parse(address).expect("an address");
        Form::of(&loaded, &address).expect("a form")
    }

    fn api() -> Form {
        open(SITE, "http / server / location /api/")
    }

    fn field<'f>(form: &'f mut Form, label: &str) -> &'f mut Field {
        let found = form.fields.iter_mut().find(|field| field.label() == label);
        found.expect("such a field")
    }

    /// The lines that go and those that come, with signs.
    fn difference(old: &str, new: &str) -> String {
        let (old, new): (Vec<_>, Vec<_>) = (
            old.split_inclusive('\n').collect(),
            new.split_inclusive('\n').collect(),
        );
        let mut out = String::new();
        for change in diff::changes(&old, &new) {
            for line in &old[change.old] {
                out.push_str(&format!("-{}", line.trim_start()));
            }
            for line in &new[change.new] {
                out.push_str(&format!("+{}", line.trim_start()));
            }
        }
        out
    }

    fn changed(form: &Form) -> String {
        difference(form.text(), &form.after().expect("values"))
    }

    #[test]
    fn what_is_written_and_what_is_frequent_are_fields() {
        let mut form = api();
        assert_eq!(form.after().as_deref(), Ok(SITE));
        let labels: Vec<&str> = form.fields.iter().map(Field::label).collect();
        assert_eq!(&labels[..4], ["location", "proxy_pass", "root", "alias"]);
        assert_eq!(
            &labels[labels.len() - 3..],
            ["limit_except", "include", "unknown"]
        );
        let count = form.fields.len();
        assert_eq!(field(&mut form, "location").value.as_deref(), Some("/api/"));
        assert_eq!(
            field(&mut form, "proxy_read_timeout").value.as_deref(),
            Some("30s")
        );
        assert_eq!(field(&mut form, "client_max_body_size").value, None);
        assert_eq!(
            field(&mut form, "client_max_body_size").default(),
            Some("1m")
        );
        assert_eq!(field(&mut form, "unknown").editor(), Editor::Nothing);
        form.show_all(true);
        assert!(form.fields.len() > count + 30);
        assert_eq!(field(&mut form, "proxy_method").value, None);
        field(&mut form, "proxy_method").set("POST");
        form.show_all(false);
        assert_eq!(form.fields.len(), count + 1);
        assert_eq!(changed(&form), "+proxy_method POST;\n");
    }

    #[test]
    fn a_value_changes_its_own_line() {
        let mut form = api();
        field(&mut form, "proxy_pass").set("http://app/v1/");
        assert_eq!(
            changed(&form),
            "-proxy_pass http://app;   # see above\n+proxy_pass http://app/v1/;   # see above\n"
        );
        field(&mut form, "proxy_pass").reset();
        field(&mut form, "proxy_read_timeout").set("90s");
        assert_eq!(
            changed(&form),
            "-proxy_read_timeout   30s;\n+proxy_read_timeout   90s;\n"
        );
        field(&mut form, "proxy_read_timeout").set(" ");
        assert_eq!(changed(&form), "-proxy_read_timeout   30s;\n");
        assert!(form.is_changed());
        field(&mut form, "proxy_read_timeout").reset();
        field(&mut form, "location").set("~ \"^/api/[0-9]{2}\"");
        assert_eq!(
            changed(&form),
            "-location /api/ {\n+location ~ \"^/api/[0-9]{2}\" {\n"
        );
    }

    #[test]
    fn new_lines_stand_where_they_belong() {
        let mut form = api();
        field(&mut form, "client_max_body_size").set("10m");
        field(&mut form, "add_header").set("X-A 'b;c' always");
        field(&mut form, "allow").set("10.0.0.0/8");
        field(&mut form, "return").set("204");
        let new = form.after().expect("values");
        assert_eq!(
            new.split("location /api/ {\n")
                .nth(1)
                .and_then(|rest| rest.split("\n\n").next()),
            Some(
                "            # To the application.
            proxy_pass http://app;   # see above
            client_max_body_size 10m;
            proxy_read_timeout   30s;
            add_header X-A 'b;c' always;
            allow 10.0.0.0/8;
            deny  all;
            return 204;"
            )
        );
        let mut form = open(
            "http { server { location / { } } }",
            "http / server / location",
        );
        field(&mut form, "proxy_pass").set("http://a");
        field(&mut form, "client_max_body_size").set("1m");
        let new = form.after().expect("values");
        let second = new.find("client_max").expect("there");
        assert!(new.find("proxy_pass").expect("there") < second, "{new}");
    }

    #[test]
    fn a_list_grows_and_shrinks_by_lines() {
        let mut form = open(SITE, "http / upstream");
        assert_eq!(form.fields[0].label(), "upstream");
        assert_eq!(
            form.fields[1].value.as_deref(),
            Some("10.0.0.1:80 weight=5")
        );
        form.fields[2].set("10.0.0.2:80");
        form.add_empty(2);
        form.fields[3].set("10.0.0.3:80 backup");
        form.add_empty(3);
        assert_eq!(form.fields[4].value, None);
        assert_eq!(
            changed(&form),
            "+server 10.0.0.2:80;\n+server 10.0.0.3:80 backup;\n"
        );
        form.fields[1].remove();
        assert_eq!(
            changed(&form),
            "-server 10.0.0.1:80 weight=5; # first\n+server 10.0.0.2:80;\n+server 10.0.0.3:80 backup;\n"
        );
    }

    #[test]
    fn flags_and_words_are_chosen() {
        let mut form = open(
            "http { server { location / { proxy_buffering on; } } }",
            "http / server / location",
        );
        let buffering = field(&mut form, "proxy_buffering");
        let mut seen = Vec::new();
        for _ in 0..3 {
            buffering.next(false);
            seen.push(buffering.value.clone());
        }
        assert_eq!(seen, [Some("off".to_owned()), None, Some("on".to_owned())]);
        buffering.next(true);
        assert_eq!(buffering.value, None);
        buffering.next(true);
        assert_eq!(buffering.value.as_deref(), Some("off"));
        let internal = field(&mut form, "internal");
        assert_eq!(internal.editor(), Editor::Presence);
        internal.next(false);
        let new = form.after().expect("values");
        assert!(new.contains("proxy_buffering off; internal; }"), "{new}");
    }

    #[test]
    fn what_is_no_word_is_told_with_its_place() {
        for (typed, at) in [
            ("a; b", 1..2),
            ("a {", 2..3),
            ("#x", 0..2),
            ("'a", 0..2),
            ("'a'b", 3..4),
        ] {
            let mut form = api();
            field(&mut form, "proxy_pass").set(typed);
            let flaws = form.after().expect_err(typed);
            assert_eq!((flaws[0].field, flaws[0].range.clone()), (1, at), "{typed}");
        }
        let mut form = api();
        field(&mut form, "proxy_pass").set("a\\");
        form.after().expect_err("it would take the `;`");
    }

    #[test]
    fn what_was_typed_is_carried_over_to_another_text() {
        let mut form = api();
        field(&mut form, "proxy_read_timeout").set("90s");
        field(&mut form, "client_max_body_size").set("10m");
        field(&mut form, "proxy_pass").set("http://b");
        let mut other = open(
            &SITE.replace("http://app;   # see above", "http://c;"),
            "http / server / location /api/",
        );
        assert_eq!(form.carry_over(&mut other), ["proxy_pass"]);
        assert_eq!(
            changed(&other),
            "-proxy_read_timeout   30s;\n+client_max_body_size 10m;\n+proxy_read_timeout   90s;\n"
        );
    }

    /// The large files, each also with the line ends of Windows.
    static FILES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/conf");
        let mut files = Vec::new();
        for name in ["workshop.conf", "tabs.conf"] {
            let text = std::fs::read_to_string(directory.join(name)).expect("a file of the tests");
            files.push(text.replace('\n', "\r\n"));
            files.push(text);
        }
        files
    });

    /// The addresses of all blocks that have a form.
    fn blocks(loaded: &Loaded) -> Vec<Address> {
        let mut found = Vec::new();
        let mut open: Vec<&include::Node> = loaded.nodes.iter().collect();
        while let Some(node) = open.pop() {
            open.extend(node.block.iter().flatten());
            if node.block.is_some()
                && matches!(&*node.name.text, "location" | "server" | "upstream")
            {
                found.extend(Address::of(&loaded.nodes, node.span));
            }
        }
        found
    }

    fn lines(text: &str) -> Vec<&str> {
        text.split_inclusive('\n').collect()
    }

    /// Does a form mean this text? Only the lines that differ are told.
    fn is_same(text: &str, form: &Form) -> Result<(), TestCaseError> {
        let new = form
            .after()
            .map_err(|flaws| TestCaseError::fail(format!("{flaws:?}")))?;
        prop_assert_eq!(difference(text, &new), "");
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_change_of_a_form_changes_only_its_lines_and_can_be_undone(
            file in 0..4usize,
            block in any::<prop::sample::Index>(),
            field in any::<prop::sample::Index>(),
            typed in prop::sample::select(vec![
                "x", "10m", "\"a b\"", "'c;d' e", "$host", "on", "off", "~ ^/x", "1 2 3", "",
            ]),
        ) {
            let text = &FILES[file];
            let loaded = include::outline(Path::new("/c/test.conf"), text.clone());
            prop_assert!(!any_error(&loaded.diagnostics));
            let address = block.get(&blocks(&loaded)).clone();
            let mut form = Form::of(&loaded, &address).map_err(TestCaseError::fail)?;
            is_same(text, &form)?;
            let index = field.index(form.fields.len());
            let chosen = &mut form.fields[index];
            let old_words = chosen.original().map(|value| words(value).map(|words| words.len()));
            chosen.set(typed);
            let (is_changed, value, original) = (
                chosen.is_changed(), chosen.value.clone(), chosen.original().map(str::to_owned),
            );
            let Ok(new) = form.after() else {
                // Only what is there already can refuse a sound word: `a 'b'` glued together.
                return Err(TestCaseError::fail(format!("{address} {typed}")));
            };
            prop_assert_eq!(is_changed, new != *text, "{} {}", address, typed);
            if !is_changed {
                return Ok(());
            }
            let (before, after) = (lines(text), lines(&new));
            let changes = diff::changes(&before, &after);
            let gone: usize = changes.iter().map(|change| change.old.len()).sum();
            let come: usize = changes.iter().map(|change| change.new.len()).sum();
            // Longest: three names over three lines, each changed.
            prop_assert!(gone <= 3 && come <= 3, "{:?}", changes);
            match (&original, &value) {
                // A line that comes.
                (None, Some(_)) => prop_assert!(gone <= 1 && come <= 3, "{:?}", changes),
                // A line that goes, and perhaps what would be a second empty line.
                (Some(_), None) => prop_assert!(come <= 1, "{:?}", changes),
                _ => prop_assert_eq!(gone >= 1, come >= 1),
            }
            if text.contains("\r\n") {
                prop_assert!(!new.replace("\r\n", "").contains('\r') && !new.replace("\r\n", "").contains('\n'));
            }
            // The reverse edit brings the text back, byte for byte.
            let loaded = include::outline(Path::new("/c/test.conf"), new.clone());
            let nodes = &loaded.nodes;
            let document = &loaded.documents[0];
            let span = form.block_in(document).expect("there").span();
            let address = Address::of(nodes, span).expect("there");
            let mut back = Form::of(&loaded, &address).map_err(TestCaseError::fail)?;
            let twin = back.fields.iter_mut().rev().find(|field| field.original() == value.as_deref()
                && field.label() == form.fields[index].label());
            match (&original, &value) {
                (Some(original), Some(_)) => {
                    let same_count = Some(words(typed).map(|words| words.len())) == old_words;
                    twin.expect("as set").set(original);
                    // Words that come and go do not remember how far apart they stood, nor does a word
                    // that is typed anew that it went over two lines.
                    if same_count && !original.contains("over two lines") {
                        is_same(text, &back)?;
                    }
                }
                (None, Some(_)) => {
                    // Of two equal lines the last is the new one.
                    twin.expect("as set").remove();
                    is_same(text, &back)?;
                }
                _ => {}
            }
        }
    }
}
