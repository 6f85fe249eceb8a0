//! The configuration against the directive table: names, places, blocks, arguments, repetitions.
//!
//! Reads [`directives`] only; what a value means beyond its type (is the variable known, does the
//! regular expression compile, does the file exist) is found by the lowering. Every problem of all
//! files is told in one run, and one mistake is told once: a directive that is refused as a whole
//! is not looked into.

use std::collections::{HashMap, HashSet};

use super::diagnostic::{self, Code, Diagnostic, Severity};
use super::directives::{self, Argument, Contexts, DIRECTIVES, Directive, Form, Repeat};
use super::include::{Loaded, Node, Word};
use super::source::{Sources, Span};
use crate::unit;

/// How many problems are told; what follows is cut off with one more problem that says so.
pub const MAX_PROBLEMS: usize = 500;

/// Appends what is wrong, and sorts all problems by place. Where a `;` is missing, the directive that
/// swallowed the next one is cut in two, so that what comes after sees what was meant.
pub fn check(loaded: &mut Loaded) {
    let mut broken: Vec<Span> = loaded
        .diagnostics
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(Diagnostic::span)
        .collect();
    broken.sort_unstable();
    let mut checker = Checker {
        sources: &loaded.sources,
        broken,
        starts: HashSet::new(),
        problems: Vec::new(),
    };
    checker.block(&loaded.nodes, Contexts::MAIN);
    let Checker {
        problems, starts, ..
    } = checker;
    loaded.diagnostics.extend(problems);
    if !starts.is_empty() {
        loaded.nodes = cut(std::mem::take(&mut loaded.nodes), &starts);
    }
    diagnostic::arrange(&mut loaded.diagnostics);
    if loaded.diagnostics.len() > MAX_PROBLEMS {
        let place = loaded.diagnostics[MAX_PROBLEMS].span();
        loaded.diagnostics.truncate(MAX_PROBLEMS);
        loaded.diagnostics.push(Diagnostic::error(
            Code::TOO_MANY_PROBLEMS,
            place,
            "too many problems, further ones are not shown",
        ));
    }
}

struct Checker<'a> {
    sources: &'a Sources,
    /// Where reading found errors, sorted.
    broken: Vec<Span>,
    /// The arguments that are names of directives, because a `;` is missing before them.
    starts: HashSet<Span>,
    problems: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn block(&mut self, nodes: &'a [Node], context: Contexts) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for node in nodes {
            // Enough is enough; `check` says that there is more.
            if self.problems.len() > MAX_PROBLEMS {
                return;
            }
            let statement = Statement {
                name: &node.name,
                arguments: &node.arguments,
                block: node.block.as_deref(),
            };
            self.statement(statement, context, &mut seen);
        }
    }

    fn statement(
        &mut self,
        statement: Statement<'a>,
        context: Contexts,
        seen: &mut HashMap<&'a str, Span>,
    ) {
        let name = statement.name;
        let Some(row) = directives::find(&name.text, context) else {
            self.refused(&statement, context);
            return;
        };
        // A `;` may be missing: a line starts with what would be a sound directive.
        if let Some(index) = self.next_directive(&statement, context) {
            let (before, rest) = statement.arguments.split_at(index);
            let word = &rest[0];
            let place = before.last().unwrap_or(name).span.after();
            let argument = row.argument(index);
            let possible = row.fits(statement.arguments.len())
                && statement.block.is_some() == matches!(row.form, Form::Block(_))
                && argument.is_some_and(|argument| accepts(argument, &word.text));
            if !possible {
                self.starts.insert(word.span);
                self.problems.push(
                    Diagnostic::error(
                        Code::MISSING_SEMICOLON,
                        place,
                        format!("`{}` does not end with `;`", shown(&name.text)),
                    )
                    .label(place, "expected `;`")
                    .label(word.span, "so this is one more argument")
                    .hint("add a `;` here"),
                );
                let first = Statement {
                    arguments: before,
                    block: None,
                    ..statement
                };
                let second = Statement {
                    name: word,
                    arguments: &rest[1..],
                    block: statement.block,
                };
                self.statement(first, context, seen);
                self.statement(second, context, seen);
                return;
            }
            if argument.is_some_and(is_open) {
                self.problems.push(
                    Diagnostic::warning(
                        Code::LINE_LOOKS_LIKE_DIRECTIVE,
                        word.span,
                        format!(
                            "`{}` is an argument of `{}` here",
                            shown(&word.text),
                            row.name
                        ),
                    )
                    .label(place, "is a `;` missing?")
                    .hint("add the `;`, or put the word in quotes if it is meant"),
                );
            }
        }
        match (row.form, statement.block) {
            (Form::Simple, Some(_)) => {
                self.problems.push(
                    Diagnostic::error(
                        Code::UNEXPECTED_BLOCK,
                        name.span,
                        format!("`{}` takes no block", row.name),
                    )
                    .hint("end it with `;`"),
                );
                return;
            }
            (Form::Block(_), None) => {
                self.problems.push(
                    Diagnostic::error(
                        Code::NO_BLOCK,
                        name.span,
                        format!("`{}` needs a block", row.name),
                    )
                    .hint(format!("write `{} {{ … }}`", row.name)),
                );
                return;
            }
            _ => {}
        }
        if row.repeat == Repeat::Once {
            if let Some(&first) = seen.get(row.name) {
                self.problems.push(
                    Diagnostic::error(
                        Code::DUPLICATE,
                        name.span,
                        format!("`{}` stands twice", row.name),
                    )
                    .label(name.span, "here again")
                    .label(first, "first here")
                    .hint("keep one of them"),
                );
            } else {
                seen.insert(row.name, name.span);
            }
        }
        if self.is_broken(&statement) {
            // What reading told is the cause of what could be told here.
        } else if row.fits(statement.arguments.len()) {
            for (index, word) in statement.arguments.iter().enumerate() {
                if let Some(argument) = row.argument(index) {
                    self.problems.extend(wrong(argument, word, row));
                }
            }
        } else {
            self.problems.push(wrong_count(&statement, row));
        }
        if let (Form::Block(inside), Some(nodes)) = (row.form, statement.block)
            && inside != Contexts::ENTRIES
        {
            self.block(nodes, inside);
        }
    }

    /// Tells why a directive is not allowed here.
    fn refused(&mut self, statement: &Statement<'a>, context: Contexts) {
        let name = statement.name;
        let text = &*name.text;
        let shown = shown(text);
        let elsewhere = directives::rows(text)
            .iter()
            .fold(Contexts(0), |places, row| places.or(row.contexts));
        if elsewhere.0 != 0 {
            let problem = Diagnostic::error(
                Code::MISPLACED,
                name.span,
                format!("`{shown}` is not allowed {}", here(context)),
            )
            .hint(format!("it is allowed {}", allowed(elsewhere)));
            self.problems.push(problem);
            return;
        }
        if let Some(why) = directives::foreign(text) {
            self.problems.push(
                Diagnostic::error(
                    Code::FOREIGN_DIRECTIVE,
                    name.span,
                    format!("nginx's `{shown}` is not available"),
                )
                .label(name.span, why),
            );
            return;
        }
        let mut problem = Diagnostic::error(
            Code::UNKNOWN_DIRECTIVE,
            name.span,
            format!("unknown directive `{shown}`"),
        );
        let known = |name: &str| !directives::rows(name).is_empty();
        if let Some((start, _)) = text.split_once([':', '='])
            && known(start)
        {
            problem = problem.hint(format!("write `{start}`, a blank, and the value"));
        } else if let Some(near) = nearest(text, context) {
            problem = problem.hint(format!("did you mean `{near}`?"));
        } else if let Some((_, end)) = text.split_once('_')
            && known(end)
        {
            // `llm_cors`, after the others of its kind.
            problem = problem.hint(format!("did you mean `{end}`?"));
        }
        self.problems.push(problem);
    }

    /// The first argument that starts a line and would, with what follows, be a sound directive.
    fn next_directive(&self, statement: &Statement<'a>, context: Contexts) -> Option<usize> {
        statement
            .arguments
            .iter()
            .enumerate()
            .position(|(index, word)| {
                !word.quoted
                    && self.starts_line(word.span)
                    && directives::find(&word.text, context).is_some_and(|row| {
                        let simple = row.form == Form::Simple;
                        row.fits(statement.arguments.len() - index - 1)
                            && simple == statement.block.is_none()
                    })
            })
    }

    /// Did reading find an error between the name and the last argument?
    fn is_broken(&self, statement: &Statement<'_>) -> bool {
        let start = statement.name.span;
        let end = statement
            .arguments
            .last()
            .map_or(start, |word| word.span)
            .end;
        let next = self
            .broken
            .partition_point(|span| (span.file, span.start) < (start.file, start.start));
        self.broken
            .get(next)
            .is_some_and(|span| span.file == start.file && span.start < end)
    }

    fn starts_line(&self, span: Span) -> bool {
        let text = self.sources.text(span.file);
        let before = text.get(..span.start as usize).unwrap_or_default();
        before.trim_end_matches([' ', '\t']).ends_with('\n')
    }
}

/// A directive as it is checked; a node, or a part of one whose `;` is missing.
#[derive(Clone, Copy)]
struct Statement<'a> {
    name: &'a Word,
    arguments: &'a [Word],
    block: Option<&'a [Node]>,
}

impl Directive {
    /// May it have this many arguments?
    pub(super) fn fits(&self, count: usize) -> bool {
        count >= usize::from(self.min) && (self.max == u8::MAX || count <= usize::from(self.max))
    }

    /// What the argument at a position is.
    fn argument(&self, index: usize) -> Option<Argument> {
        self.arguments.get(index).or(self.arguments.last()).copied()
    }
}

/// Cuts directives before the arguments that start one.
fn cut(nodes: Vec<Node>, starts: &HashSet<Span>) -> Vec<Node> {
    let mut out = Vec::with_capacity(nodes.len());
    for mut node in nodes {
        node.block = node.block.map(|block| cut(block, starts));
        while let Some(index) = node
            .arguments
            .iter()
            .position(|word| starts.contains(&word.span))
        {
            let mut rest = node.arguments.split_off(index);
            let name = rest.remove(0);
            let end = node.arguments.last().unwrap_or(&node.name).span;
            let span = name.span.to(node.span);
            out.push(Node {
                name: std::mem::replace(&mut node.name, name),
                arguments: std::mem::replace(&mut node.arguments, rest),
                block: None,
                span: node.span.to(end),
            });
            node.span = span;
        }
        out.push(node);
    }
    out
}

fn wrong_count(statement: &Statement<'_>, row: &Directive) -> Diagnostic {
    let count = statement.arguments.len();
    let (min, max) = (usize::from(row.min), usize::from(row.max));
    let arguments = |count: usize| match count {
        1 => "1 argument".to_owned(),
        _ => format!("{count} arguments"),
    };
    let takes = match (min, max) {
        (0, 0) => "no argument".to_owned(),
        _ if min == max => arguments(min),
        (_, 255) => format!("at least {}", arguments(min)),
        (0, _) => format!("at most {}", arguments(max)),
        _ => format!("{min} to {}", arguments(max)),
    };
    let given = match count {
        0 => "none is given".to_owned(),
        1 => "1 is given".to_owned(),
        _ => format!("{count} are given"),
    };
    let last = statement.arguments.last().unwrap_or(statement.name);
    let place = match statement.arguments.get(max) {
        Some(word) if count > max => word.span.to(match last.span.file == word.span.file {
            true => last.span,
            false => word.span,
        }),
        _ => statement.name.span,
    };
    let mut problem = Diagnostic::error(
        Code::ARGUMENT_COUNT,
        place,
        format!("`{}` takes {takes}, {given}", row.name),
    );
    if statement
        .arguments
        .first()
        .is_some_and(|word| &*word.text == "=")
    {
        problem = problem.hint("write no `=` between the name and the value");
    } else if count > max {
        problem = problem
            .label(statement.name.span, "of this directive")
            .hint("a value with blanks needs quotes; or is a `;` missing?");
    } else if let Some(default) = row.default.filter(|default| *default != "\"\"") {
        problem = problem.hint(format!("for example `{} {default};`", row.name));
    }
    problem
}

/// Does the text fit the type?
fn accepts(argument: Argument, text: &str) -> bool {
    let plain = |name: &&str| !name.ends_with('=');
    match argument {
        // nginx compares the two words without case (ngx_conf_set_flag_slot).
        Argument::Flag => text.eq_ignore_ascii_case("on") || text.eq_ignore_ascii_case("off"),
        Argument::Number { min, max } => number(text).is_some_and(|n| (min..=max).contains(&n)),
        Argument::Size => unit::size::size(text).is_some(),
        Argument::Offset => unit::size::offset(text).is_some(),
        Argument::Milliseconds => unit::time::milliseconds(text).is_some(),
        Argument::Seconds => unit::time::seconds(text).is_some(),
        Argument::OneOf(words) => words.contains(&text),
        Argument::Variable => variable(text),
        Argument::Parameter(names) => match text.split_once('=') {
            Some((name, _)) => names
                .iter()
                .any(|known| known.strip_suffix('=') == Some(name)),
            None => names
                .iter()
                .filter(|name| plain(name))
                .any(|&known| known == text),
        },
        Argument::Text
        | Argument::Template
        | Argument::Path
        | Argument::PathTemplate
        | Argument::Regex
        | Argument::Free => true,
    }
}

/// Does the type accept every text?
fn is_open(argument: Argument) -> bool {
    matches!(
        argument,
        Argument::Text
            | Argument::Template
            | Argument::Path
            | Argument::PathTemplate
            | Argument::Regex
            | Argument::Free
    )
}

/// Tells what is wrong with an argument, if something is.
fn wrong(argument: Argument, word: &Word, row: &Directive) -> Option<Diagnostic> {
    let text = &*word.text;
    if accepts(argument, text) {
        return None;
    }
    let value = shown(text);
    let name = row.name;
    let problem = |code, message: String| Diagnostic::error(code, word.span, message);
    Some(match argument {
        Argument::Flag => {
            let problem = problem(
                Code::NOT_A_FLAG,
                format!("`{name}` is a switch: `{value}` is neither `on` nor `off`"),
            );
            match text.to_ascii_lowercase().as_str() {
                "yes" | "true" | "1" | "enable" | "enabled" => problem.hint("write `on`"),
                "no" | "false" | "0" | "disable" | "disabled" => problem.hint("write `off`"),
                _ => problem,
            }
        }
        Argument::Number { min, max } => match number(text) {
            None => problem(Code::NOT_A_NUMBER, format!("`{value}` is not a number")),
            Some(_) => {
                problem(Code::OUT_OF_RANGE, format!("`{value}` is out of range")).hint(match max {
                    i64::MAX => format!("it must be at least {min}"),
                    _ => format!("it must be from {min} to {max}"),
                })
            }
        },
        Argument::Size | Argument::Offset => {
            let problem = problem(Code::NOT_A_SIZE, format!("`{value}` is not a size"));
            let lower = text.to_ascii_lowercase();
            let repaired = lower
                .trim_end_matches("ib")
                .trim_end_matches('b')
                .replace(' ', "");
            match repaired != lower && accepts(argument, &repaired) {
                true => problem.hint(format!("write `{repaired}`")),
                false => problem.hint(match argument {
                    Argument::Size => "a number and perhaps a unit: `512`, `8k`, `10m`",
                    _ => "a number and perhaps a unit: `512`, `8k`, `10m`, `1g`",
                }),
            }
        }
        Argument::Milliseconds | Argument::Seconds => {
            let problem = problem(Code::NOT_A_DURATION, format!("`{value}` is not a duration"));
            let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
            let digits = &text[..text.len() - unit.len()];
            let letter = match unit.trim_start().to_ascii_lowercase().as_str() {
                "sec" | "secs" | "second" | "seconds" => "s",
                "min" | "mins" | "minute" | "minutes" => "m",
                "hour" | "hours" | "hr" => "h",
                "day" | "days" => "d",
                "week" | "weeks" => "w",
                "msec" | "millis" | "milliseconds" => "ms",
                "month" | "months" => "M",
                "year" | "years" => "y",
                _ => "",
            };
            let repaired = format!("{digits}{letter}");
            match !letter.is_empty() && accepts(argument, &repaired) {
                true => problem.hint(format!("write `{repaired}`")),
                false => problem.hint(match argument {
                    Argument::Milliseconds => {
                        "numbers with units from large to small: `500ms`, `30s`, `1h30m`, `7d`"
                    }
                    _ => "numbers with units from large to small: `30s`, `1h30m`, `7d`, `1y`",
                }),
            }
        }
        Argument::OneOf(words) => {
            let problem = problem(
                Code::NOT_ONE_OF,
                format!("`{value}` is not among the words that `{name}` takes"),
            );
            match closest(text, words.iter().copied()).filter(|_| words.len() > 6) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("one of {}", list(words))),
            }
        }
        Argument::Variable => problem(
            Code::NOT_A_VARIABLE,
            format!("`{value}` is not the name of a variable"),
        )
        .hint(match variable(&format!("${text}")) {
            true => format!("write `${value}`"),
            false => "`$` and then letters, digits and `_`".to_owned(),
        }),
        Argument::Parameter(names) => {
            let start = text.split('=').next().unwrap_or_default();
            let takes_value = names
                .iter()
                .any(|name| name.strip_suffix('=') == Some(start));
            if takes_value {
                problem(
                    Code::PARAMETER_VALUE,
                    format!("the parameter `{start}` needs a value"),
                )
                .hint(format!("write `{start}=…` without blanks"))
            } else if names.contains(&start) {
                problem(
                    Code::PARAMETER_VALUE,
                    format!("the parameter `{start}` has no value"),
                )
                .hint(format!("write `{start}` alone"))
            } else {
                let problem = problem(
                    Code::UNKNOWN_PARAMETER,
                    format!("`{name}` has no parameter `{value}`"),
                );
                let plain = names.iter().map(|name| name.trim_end_matches('='));
                match closest(start, plain) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!("it has {}", list(names))),
                }
            }
        }
        // These accept everything.
        Argument::Text
        | Argument::Template
        | Argument::Path
        | Argument::PathTemplate
        | Argument::Regex
        | Argument::Free => return None,
    })
}

/// A whole number as nginx reads it, and a sign in front where the range has negative numbers.
fn number(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(digits) => unit::decimal(digits).map(|number| -(number as i64)),
        None => unit::decimal(text).map(|number| number as i64),
    }
}

fn variable(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// The start of a word for a message: it may be 64 KiB long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn list(words: &[&str]) -> String {
    let mut out = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push_str(if index + 1 == words.len() {
                " or "
            } else {
                ", "
            });
        }
        out.push_str(&format!("`{word}`"));
    }
    out
}

/// "in `server`", "outside of all blocks".
fn here(context: Contexts) -> String {
    match places(context).as_slice() {
        [] => "here".to_owned(),
        places => list_places(places),
    }
}

fn allowed(contexts: Contexts) -> String {
    list_places(&places(contexts))
}

fn list_places(places: &[String]) -> String {
    let (top, blocks): (Vec<&str>, Vec<&str>) = places
        .iter()
        .map(String::as_str)
        .partition(|place| place.is_empty());
    let mut out = String::new();
    if !blocks.is_empty() {
        out.push_str("in ");
        for (index, place) in blocks.iter().enumerate() {
            if index > 0 {
                out.push_str(if index + 1 == blocks.len() {
                    " and "
                } else {
                    ", "
                });
            }
            out.push_str(place);
        }
    }
    if !top.is_empty() {
        out.push_str(if blocks.is_empty() {
            "outside of all blocks"
        } else {
            " and outside of all blocks"
        });
    }
    out
}

/// The blocks that open these contexts, as the table has them; the empty name is the top level.
fn places(contexts: Contexts) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    let mut add = |place: String| {
        if !places.contains(&place) {
            places.push(place);
        }
    };
    for bit in (0..u32::BITS).map(|shift| Contexts(1 << shift)) {
        if !contexts.contains(bit) {
            continue;
        }
        if bit == Contexts::MAIN {
            add(String::new());
        }
        for row in DIRECTIVES {
            let Form::Block(inside) = row.form else {
                continue;
            };
            if !inside.contains(bit) {
                continue;
            }
            // `if` opens different contexts; say which one.
            let twins = directives::rows(row.name)
                .iter()
                .filter(|other| matches!(other.form, Form::Block(_)))
                .count();
            match twins > 1 && row.contexts.0.count_ones() == 1 {
                true => {
                    let outer = DIRECTIVES.iter().find(|outer| {
                        outer.form == Form::Block(row.contexts) && outer.name != row.name
                    });
                    match outer {
                        Some(outer) => add(format!("`{}` of `{}`", row.name, outer.name)),
                        None => add(format!("`{}`", row.name)),
                    }
                }
                false => add(format!("`{}`", row.name)),
            }
        }
    }
    places
}

/// The directive that was probably meant: one that is allowed here, else any.
fn nearest(name: &str, context: Contexts) -> Option<&'static str> {
    let here = DIRECTIVES
        .iter()
        .filter(|row| row.contexts.contains(context));
    closest(name, here.map(|row| row.name))
        .or_else(|| closest(name, DIRECTIVES.iter().map(|row| row.name)))
}

/// The word that differs least, if it differs little.
pub fn closest<'w>(name: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // A long word cannot be near, and the distance costs time.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let most = match lower.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=10 => 2,
        _ => 3,
    };
    words
        .filter(|word| word.len().abs_diff(lower.len()) <= most)
        .map(|word| (distance(&lower, word), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (optimal
/// string alignment).
pub fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for row in 1..=one.len() {
        let mut current = vec![row];
        for column in 1..=other.len() {
            let replaced = usize::from(one[row - 1] != other[column - 1]);
            let mut least = (above[column - 1] + replaced)
                .min(above[column] + 1)
                .min(current[column - 1] + 1);
            if row > 1
                && column > 1
                && one[row - 1] == other[column - 2]
                && one[row - 2] == other[column - 1]
            {
                least = least.min(before[column - 2] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_a_swap_once() {
        assert_eq!(distance("lisetn", "listen"), 1);
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["listen", "location", "root"];
        assert_eq!(closest("lisetn", words.into_iter()), Some("listen"));
        assert_eq!(closest("LISTEN", words.into_iter()), Some("listen"));
        assert_eq!(closest("boot", words.into_iter()), Some("root"));
        assert_eq!(closest("server", words.into_iter()), None);
        assert_eq!(closest("x", words.into_iter()), None);
    }
}
