//! What a form changes, seen while it is typed: the lines that go and come, and what is wrong there.
//!
//! Owns the finding of the field that a problem belongs to. The daemon checks again before anything
//! is put into force.

use std::collections::HashMap;

use super::form::{Flaw, Form};
use super::texts::{self, Texts};
use crate::conf::diagnostic::Severity;
use crate::conf::diff;
use crate::conf::parser;
use crate::conf::source::FileId;
use crate::conf::tree::Item;
use crate::protocol::Problem;

/// How many lines around a change are shown.
const CONTEXT: usize = 1;

/// A line of a preview.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// It stays.
    Same(String),
    /// It goes.
    Old(String),
    /// It comes.
    New(String),
    /// What is wrong with the line above it.
    Caret {
        /// The column of the first character that is meant, from 0.
        column: usize,
        /// How many are meant; at least one.
        width: usize,
        /// What is wrong.
        message: String,
        /// Does it forbid the change?
        is_error: bool,
    },
    /// Lines between changes that are not shown.
    Gap,
}

/// What is known about the values of a form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Preview {
    /// What changes.
    pub lines: Vec<Line>,
    /// What is wrong with which field; the worst for each.
    pub fields: HashMap<usize, (String, bool)>,
    /// What is wrong elsewhere because of the change.
    pub elsewhere: Vec<Problem>,
    /// The text of the file, if the values are values.
    pub after: Option<String>,
}

impl Preview {
    /// Looks at the values of a form.
    pub fn of(form: &Form, texts: &Texts) -> Self {
        match form.after() {
            Ok(after) if after == form.text() => Self {
                after: Some(after),
                ..Self::default()
            },
            Ok(after) => Self::of_text(form, texts, after),
            Err(flaws) => Self::of_flaws(form, &flaws),
        }
    }

    fn of_flaws(form: &Form, flaws: &[Flaw]) -> Self {
        let mut preview = Self::default();
        for flaw in flaws {
            let field = &form.fields[flaw.field];
            if let Some(original) = field.original() {
                let line = format!("{} {original};", field.label());
                preview.lines.push(Line::Old(line));
            }
            let typed = field.value.as_deref().unwrap_or_default();
            let before = typed.get(..flaw.range.start).unwrap_or_default();
            let meant = typed.get(flaw.range.clone()).unwrap_or_default();
            preview
                .lines
                .push(Line::New(format!("{} {typed};", field.label())));
            preview.lines.push(Line::Caret {
                column: field.label().chars().count() + 1 + before.chars().count(),
                width: meant.chars().count().max(1),
                message: flaw.message.clone(),
                is_error: true,
            });
            let told = (flaw.message.clone(), true);
            preview.fields.insert(flaw.field, told);
        }
        preview
    }

    fn of_text(form: &Form, texts: &Texts, after: String) -> Self {
        let changed = HashMap::from([(form.path.clone(), after.clone())]);
        let loaded = texts.check(&changed);
        let mut preview = Self::default();
        let file = (loaded.sources.ids()).find(|&file| loaded.sources.path(file) == form.path);
        let (document, _) = parser::parse(file.unwrap_or(FileId(u16::MAX)), &after);
        let block = form.block_in(&document).map(|block| block.span());
        let mut here: Vec<Problem> = Vec::new();
        let mut known: Option<Vec<Problem>> = None;
        for diagnostic in &loaded.diagnostics {
            let span = diagnostic.span();
            let problem = texts::problem(diagnostic, &loaded.sources);
            let is_here = Some(span.file) == file
                && block.is_some_and(|block| block.start <= span.start && span.end <= block.end);
            if is_here {
                if let Some(index) = field_of(form, &document.items, &after, span.start) {
                    let is_error = diagnostic.severity == Severity::Error;
                    let told = preview
                        .fields
                        .entry(index)
                        .or_insert_with(|| (problem.message.clone(), is_error));
                    if is_error && !told.1 {
                        *told = (problem.message.clone(), is_error);
                    }
                }
                here.push(problem);
            } else if problem.is_error {
                // What was wrong before is not of this change.
                let known = known.get_or_insert_with(|| {
                    let before = texts.check(&HashMap::new());
                    let problems = before.diagnostics.iter();
                    problems
                        .map(|diagnostic| texts::problem(diagnostic, &before.sources))
                        .collect()
                });
                let is_known = known.iter().any(|other| {
                    other.message == problem.message && other.source == problem.source
                });
                if !is_known {
                    preview.elsewhere.push(problem);
                }
            }
        }
        preview.lines = lines(form.text(), &after, &here);
        preview.after = Some(after);
        preview
    }

    /// May the change be sent?
    pub fn is_sound(&self) -> bool {
        self.after.is_some() && !self.fields.values().any(|(_, is_error)| *is_error)
    }
}

/// The field of the directive that a position of the new text is in.
fn field_of(form: &Form, items: &[Item], text: &str, at: u32) -> Option<usize> {
    let mut items = items;
    let mut found = None;
    while let Some(directive) = items.iter().find_map(|item| match item {
        Item::Directive(directive) => {
            let span = directive.span();
            (span.start <= at && at <= span.end).then_some(directive)
        }
        Item::Stray { .. } => None,
    }) {
        found = Some(directive);
        match directive.block() {
            Some(block) if block.open.end <= at => items = &block.items,
            _ => break,
        }
    }
    let directive = found?;
    let name = directive.name.text(text);
    let words: Vec<&str> = directive
        .arguments
        .iter()
        .map(|word| &text[word.span.range()])
        .collect();
    let means = |value: &str| super::form::words(value).is_ok_and(|own| own == words);
    let fields = form.fields.iter().enumerate();
    let matching = fields
        .filter(|(_, field)| field.label() == name && field.value.as_deref().is_some_and(means));
    // Of equal lines the changed one is to blame.
    let matching: Vec<_> = matching.collect();
    let changed = matching.iter().find(|(_, field)| field.is_changed());
    changed.or(matching.first()).map(|(index, _)| *index)
}

/// The lines that differ with some around them, and carets below those that are wrong.
fn lines(old: &str, new: &str, problems: &[Problem]) -> Vec<Line> {
    let split = |text: &'_ str| -> Vec<String> {
        let lines = text.split_inclusive('\n');
        lines
            .map(|line| line.trim_end_matches(['\n', '\r']).replace('\t', "    "))
            .collect()
    };
    let (old_raw, new_raw): (Vec<&str>, Vec<&str>) = (
        old.split_inclusive('\n').collect(),
        new.split_inclusive('\n').collect(),
    );
    let (old_lines, new_lines) = (split(old), split(new));
    let changes = diff::changes(&old_raw, &new_raw);
    let mut shown = Vec::new();
    let mut at = 0;
    for (position, change) in changes.iter().enumerate() {
        let start = change.new.start.saturating_sub(CONTEXT).max(at);
        if position > 0 && start > at {
            shown.push(Line::Gap);
        }
        shown.extend(
            new_lines[start..change.new.start]
                .iter()
                .cloned()
                .map(Line::Same),
        );
        shown.extend(old_lines[change.old.clone()].iter().cloned().map(Line::Old));
        for index in change.new.clone() {
            shown.push(Line::New(new_lines[index].clone()));
            shown.extend(carets(problems, index, new_raw[index]));
        }
        let next = changes
            .get(position + 1)
            .map_or(new_lines.len(), |next| next.new.start);
        at = (change.new.end + CONTEXT).min(next);
        shown.extend(
            new_lines[change.new.end..at]
                .iter()
                .cloned()
                .map(Line::Same),
        );
    }
    // The common indentation says nothing.
    let common = shown
        .iter()
        .filter_map(|line| match line {
            Line::Same(text) | Line::Old(text) | Line::New(text) if !text.is_empty() => {
                Some(text.len() - text.trim_start_matches(' ').len())
            }
            _ => None,
        })
        .min()
        .unwrap_or(0);
    for line in &mut shown {
        match line {
            Line::Same(text) | Line::Old(text) | Line::New(text) => {
                *text = text.get(common..).unwrap_or_default().to_owned();
            }
            Line::Caret { column, .. } => *column = column.saturating_sub(common),
            Line::Gap => {}
        }
    }
    shown
}

/// What is wrong on a line (from 0) whose text this is.
fn carets(problems: &[Problem], line: usize, text: &str) -> Vec<Line> {
    let here = problems
        .iter()
        .filter(|problem| problem.line as usize == line + 1);
    here.map(|problem| {
        let before = text.chars().take(problem.column.saturating_sub(1) as usize);
        Line::Caret {
            column: before
                .map(|letter| if letter == '\t' { 4 } else { 1 })
                .sum(),
            width: problem.width.max(1) as usize,
            message: problem.message.clone(),
            is_error: problem.is_error,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::address::Address;
    use crate::protocol::{ConfigTexts, FileText};

    const SITE: &str = "\
events { }
http {
    upstream app { server 10.0.0.1:80; }
    server {
        server_name a.example;
        location /api/ {
            proxy_pass http://app;
            proxy_read_timeout 30s;
        }
    }
}
";

    fn texts() -> Texts {
        Texts::new(&ConfigTexts {
            conf: "/c/openclaw.conf".to_owned(),
            prefix: "/c".to_owned(),
            files: vec![FileText {
                path: "/c/openclaw.conf".to_owned(),
                text: SITE.to_owned(),
            }],
            ..ConfigTexts::default()
        })
    }

    fn typed(label: &str, value: &str) -> (Form, Preview) {
        let texts = texts();
        let loaded = texts.load(&HashMap::new());
        let address = Address::parse("http / server / location").expect("an address");
        let mut form = Form::of(&loaded, &address).expect("a form");
        let field = form.fields.iter_mut().find(|field| field.label() == label);
        field.expect("such a field").set(value);
        let preview = Preview::of(&form, &texts);
        (form, preview)
    }

    #[test]
    fn what_goes_and_comes_is_shown_with_what_is_around_it() {
        let (_, preview) = typed("proxy_read_timeout", "90s");
        assert!(preview.is_sound());
        assert_eq!(
            preview.lines,
            [
                Line::Same("    proxy_pass http://app;".to_owned()),
                Line::Old("    proxy_read_timeout 30s;".to_owned()),
                Line::New("    proxy_read_timeout 90s;".to_owned()),
                Line::Same("}".to_owned()),
            ]
        );
        assert_eq!(typed("proxy_read_timeout", "30s").1.lines, []);
    }

    #[test]
    fn a_wrong_value_has_a_caret_and_a_word_at_its_field() {
        let (form, preview) = typed("proxy_read_timeout", "90x");
        let caret = preview.lines.iter().find_map(|line| match line {
            Line::Caret {
                column,
                width,
                is_error: true,
                ..
            } => Some((*column, *width)),
            _ => None,
        });
        assert_eq!(caret, Some(("    proxy_read_timeout ".len(), 3)));
        let (index, (message, is_error)) = preview.fields.iter().next().expect("told");
        assert_eq!(form.fields[*index].label(), "proxy_read_timeout");
        assert!(*is_error && message.contains("90x"), "{message}");
        assert!(!preview.is_sound());
        // Found only when everything is put together.
        let (_, preview) = typed("proxy_set_header", "Host $nothing");
        assert!(
            preview
                .fields
                .values()
                .any(|(message, _)| message.contains("$nothing"))
        );
        let (_, preview) = typed("proxy_pass", "a; b");
        assert_eq!(preview.after, None);
        let caret = Line::Caret {
            column: 12,
            width: 1,
            message: "a `;` needs quotes around its word".to_owned(),
            is_error: true,
        };
        assert_eq!(preview.lines[2], caret);
    }

    #[test]
    fn what_a_change_breaks_elsewhere_is_told() {
        let texts = texts();
        let loaded = texts.load(&HashMap::new());
        let address = Address::parse("http / upstream").expect("an address");
        let mut form = Form::of(&loaded, &address).expect("a form");
        form.fields[0].set("\"\"");
        let preview = Preview::of(&form, &texts);
        assert_eq!(preview.elsewhere, []);
        let address = Address::parse("http / server").expect("an address");
        let mut form = Form::of(&loaded, &address).expect("a form");
        let index = form
            .fields
            .iter()
            .position(|field| field.label() == "listen");
        form.fields[index.expect("there")].set("256.0.0.1:80");
        assert!(!Preview::of(&form, &texts).is_sound());
    }
}
