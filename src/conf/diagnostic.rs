//! What is wrong with a configuration: a code, a message, places in the text and a way out.
//!
//! Owns the shape of a problem and its three printed forms: for people ([`render`]), one line each
//! ([`render_short`]) and JSON ([`render_json`]). What the codes mean is in [`super::explain`].

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

pub use super::explain::Code;
use super::source::{FileId, Sources, Span};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and probably does not do what was meant.
    Warning,
}

/// A problem and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Its stable name.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop, values in backticks.
    pub message: String,
    /// Places in the text with a word on each; the first is the primary one.
    pub labels: Vec<(Span, String)>,
    /// The way out, if one is known.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem that makes the configuration unusable.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, span, message.into())
    }

    /// A problem that leaves it usable.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, span, message.into())
    }

    fn new(code: Code, severity: Severity, span: Span, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            labels: vec![(span, String::new())],
            hint: None,
        }
    }

    /// Says something at a place; at the primary place it becomes that place's label.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        match self
            .labels
            .iter_mut()
            .find(|(place, label)| *place == span && label.is_empty())
        {
            Some((_, label)) => *label = text.into(),
            None => self.labels.push((span, text.into())),
        }
        self
    }

    /// Says the way out.
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// The primary place.
    pub fn span(&self) -> Span {
        self.labels.first().map_or(
            Span {
                file: FileId(0),
                start: 0,
                end: 0,
            },
            |(span, _)| *span,
        )
    }
}

/// Is one of them an error?
pub fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|problem| problem.severity == Severity::Error)
}

/// Sorts by place, and drops what only follows from another problem or repeats it: a mistake is told
/// once. (A file that is included twice is read once, but its directives are checked in each place;
/// lowering goes on with words that were refused already.)
pub fn arrange(diagnostics: &mut Vec<Diagnostic>) {
    let errors = || {
        diagnostics
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
    };
    // What reading and checking found, by place; and up to where any of those before reaches.
    let mut found: Vec<Span> = errors()
        .filter(|problem| !problem.code.is_of_lowering())
        .map(Diagnostic::span)
        .collect();
    found.sort_unstable();
    let reach: Vec<(FileId, u32)> = found
        .iter()
        .scan((FileId::default(), 0), |reach, span| {
            let before = if reach.0 == span.file { reach.1 } else { 0 };
            *reach = (span.file, span.end.max(before));
            Some(*reach)
        })
        .collect();
    let touches = |span: Span| {
        let next =
            found.partition_point(|other| (other.file, other.start) <= (span.file, span.end));
        let last = next.checked_sub(1).and_then(|index| reach.get(index));
        last.is_some_and(|&(file, end)| file == span.file && span.start <= end)
    };
    let refused: HashSet<Span> = errors()
        .filter(|problem| problem.code != Code::UNKNOWN_PARAMETER)
        .map(Diagnostic::span)
        .collect();
    // With a block that has no end, everything behind it may stand in the wrong place.
    let open = errors().any(|it| matches!(it.code, Code::UNCLOSED_BLOCK | Code::SWALLOWED));
    diagnostics.retain(|problem| {
        let span = problem.span();
        let follows = match problem.code {
            Code::UNKNOWN_PARAMETER => refused.contains(&span),
            code if code.is_of_lowering() => open || touches(span),
            _ => false,
        };
        !follows
    });
    diagnostics.sort_by_key(|problem| (problem.span(), problem.severity, problem.code));
    diagnostics.dedup_by(|later, earlier| {
        (later.code, later.span()) == (earlier.code, earlier.span())
            && (later.severity == Severity::Error || later.message == earlier.message)
    });
}

/// For people: the message, the source lines with carets, and the hint.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, colour: bool) -> String {
    let renderer = match colour {
        true => Renderer::styled(),
        false => Renderer::plain(),
    };
    let mut out = String::new();
    for problem in diagnostics {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level
            .primary_title(visible(&problem.message))
            .id(problem.code.name())
            .elements(snippets(problem, sources));
        if let Some(hint) = &problem.hint {
            group = group.element(Level::HELP.with_name("hint").message(visible(hint)));
        }
        for line in renderer.render(&[group]).lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// One line each: `path:line:column: error[CODE]: message (hint: …)`.
pub fn render_short(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let mut out = String::new();
    for problem in diagnostics {
        let span = problem.span();
        let (line, column) = sources.line_column(span);
        let path = sources.path(span.file).display();
        let severity = problem.severity.name();
        let message = visible(&problem.message);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{path}:{line}:{column}: {severity}[{}]: {message}",
            problem.code.name()
        );
        if let Some(hint) = &problem.hint {
            let _ = write!(out, " (hint: {})", visible(hint));
        }
        out.push('\n');
    }
    out
}

/// A JSON array with one object per problem, for programs.
///
/// `line` and `column` count from 1, columns in characters; `start` and `end` are byte offsets.
pub fn render_json(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let place = |out: &mut String, span: Span| {
        let (line, column) = sources.line_column(span);
        let (end_line, end_column) = sources.line_column(span.after());
        out.push_str("\"file\":");
        json_string(out, &sources.path(span.file).to_string_lossy());
        let _ = write!(
            out,
            ",\"line\":{line},\"column\":{column},\"end_line\":{end_line},\
             \"end_column\":{end_column},\"start\":{},\"end\":{}",
            span.start, span.end
        );
    };
    let mut out = String::from("[");
    for (index, problem) in diagnostics.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        let _ = write!(
            out,
            "{{\"code\":\"{}\",\"severity\":\"{}\",",
            problem.code.name(),
            problem.severity.name()
        );
        place(&mut out, problem.span());
        out.push_str(",\"message\":");
        json_string(&mut out, &problem.message);
        out.push_str(",\"hint\":");
        match &problem.hint {
            Some(hint) => json_string(&mut out, hint),
            None => out.push_str("null"),
        }
        out.push_str(",\"labels\":[");
        for (index, (span, label)) in problem.labels.iter().enumerate() {
            out.push_str(if index == 0 { "{" } else { ",{" });
            place(&mut out, *span);
            out.push_str(",\"text\":");
            json_string(&mut out, label);
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push_str("\n]\n");
    out
}

impl Severity {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The source lines that a problem points to: one snippet per file, and one per part of a file if
/// the places are far apart, so that a large file costs no more than a small one.
fn snippets<'a>(
    problem: &'a Diagnostic,
    sources: &'a Sources,
) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
    /// The most bytes of a line that are shown.
    const LINE_BYTES: usize = 4096;
    /// Places on lines further apart than this are shown on their own.
    const NEAR_LINES: usize = 20;

    let mut windows: Vec<(FileId, Range<usize>, Vec<usize>)> = Vec::new();
    for (index, (span, _)) in problem.labels.iter().enumerate() {
        let (line, _) = sources.line_column(*span);
        let near = windows.iter_mut().find(|(file, lines, _)| {
            *file == span.file && line + NEAR_LINES >= lines.start && line <= lines.end + NEAR_LINES
        });
        match near {
            Some((_, lines, labels)) => {
                *lines = lines.start.min(line)..lines.end.max(line);
                labels.push(index);
            }
            None => windows.push((span.file, line..line, vec![index])),
        }
    }
    windows
        .into_iter()
        .map(|(file, lines, labels)| {
            let first = sources.line_span(file, lines.start);
            let start = first.range().start;
            let end = sources.line_span(file, lines.end).range().end;
            let text = sources.text(file);
            // A line of megabytes would be shown in full: show what surrounds the place.
            let (start, end) = if end - start > LINE_BYTES * (1 + lines.len()) {
                let at = problem.labels[labels[0]].0.range().start;
                let floor = text.floor_char_boundary(at.saturating_sub(40).max(start));
                (
                    floor,
                    text.floor_char_boundary((floor + LINE_BYTES).min(end)),
                )
            } else {
                (start, end)
            };
            // A carriage return before the line end is no part of the line; same length, same places.
            let window = text[start..end].replace("\r\n", " \n");
            let mut window = match window.strip_suffix('\r') {
                Some(line) => format!("{line} "),
                None => window,
            };
            // What is shown is also kept: in the journal of whoever started the program, in a report.
            if problem.code == Code::SECRET_IN_TEXT {
                for (span, _) in labels.iter().map(|&index| &problem.labels[index]) {
                    let range = span.range();
                    if let Some(range) = range
                        .start
                        .checked_sub(start)
                        .zip(range.end.checked_sub(start))
                        && window.get(range.0..range.1).is_some()
                    {
                        window.replace_range(range.0..range.1, &"*".repeat(range.1 - range.0));
                    }
                }
            }
            let annotations = labels.into_iter().filter_map(|index| {
                let (span, label) = &problem.labels[index];
                let range = span.range();
                if range.start < start || range.start > end {
                    return None;
                }
                // A place of several lines is shown by its first one.
                let stop = memchr::memchr(b'\n', &text.as_bytes()[range.start..end])
                    .map_or(end, |at| range.start + at);
                let range = range.start - start..range.end.min(stop).max(range.start) - start;
                let kind = match index {
                    0 => AnnotationKind::Primary,
                    _ => AnnotationKind::Context,
                };
                let annotation = kind.span(range);
                Some(match label.is_empty() {
                    true => annotation,
                    false => annotation.label(visible(label)),
                })
            });
            Snippet::source(window)
                .line_start(lines.start)
                .path(sources.path(file).to_string_lossy())
                .fold(true)
                .annotations(annotations)
        })
        .collect()
}

/// A text in which no control character can reach the terminal.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect()
}

/// Appends a text as a JSON string (RFC 8259 section 7).
fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character < ' ' || character == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> (Sources, FileId) {
        let mut sources = Sources::default();
        let file = sources.add("a.conf", text);
        (sources, file)
    }

    fn shown(problem: Diagnostic, sources: &Sources) -> String {
        render(&[problem], sources, false)
    }

    #[test]
    fn a_place_in_a_very_long_line_is_shown_with_its_surroundings_only() {
        let text = format!("{}HERE{}", "ä ".repeat(500_000), " b".repeat(500_000));
        let (sources, file) = sources(&text);
        let at = text.find("HERE").expect("it is there");
        let problem = Diagnostic::error(Code::NUL, Span::new(file, at..at + 4), "here");
        let told = shown(problem, &sources);
        assert!(told.contains("HERE") && told.contains("^^^^"), "{told}");
        assert!(told.len() < 10_000, "{}", told.len());
    }

    #[test]
    fn places_far_apart_and_in_other_files_are_shown_each() {
        let (mut sources, file) = sources(&"a;\n".repeat(1_000));
        let other = sources.add("b.conf", "b;\r\nc;\r\n");
        let problem = Diagnostic::warning(Code::NUL, Span::new(file, 0..1), "here")
            .label(Span::new(file, 2_997..2_998), "there")
            .label(Span::new(other, 4..5), "elsewhere")
            .hint("a way out");
        assert_eq!(
            shown(problem, &sources),
            "\
warning[OC-E011]: here
    --> a.conf:1:1
     |
   1 | a;
     | ^
     |
    ::: a.conf:1000:1
     |
1000 | a;
     | - there
     |
    ::: b.conf:2:1
     |
   2 | c;
     | - elsewhere
     |
     = hint: a way out

"
        );
    }

    #[test]
    fn a_place_in_an_empty_file_and_one_of_several_lines_can_be_shown() {
        let (mut sources, file) = sources("");
        let told = shown(
            Diagnostic::error(Code::NUL, Span::new(file, 0..0), "x"),
            &sources,
        );
        assert!(told.contains("a.conf:1:1"), "{told}");
        let file = sources.add("b.conf", "a b\nc d\n");
        let told = shown(
            Diagnostic::error(Code::NUL, Span::new(file, 2..7), "x"),
            &sources,
        );
        assert!(told.contains("b.conf:1:3") && told.contains("^"), "{told}");
    }

    #[test]
    fn what_follows_from_another_problem_is_not_told() {
        let at = |start, end| Span::new(FileId(0), start..end);
        let told = |mut problems: Vec<Diagnostic>| -> Vec<&str> {
            arrange(&mut problems);
            problems.iter().map(|problem| problem.code.name()).collect()
        };
        let refused = Diagnostic::error(Code::NOT_A_SIZE, at(5, 9), "refused");
        let same = Diagnostic::error(Code::BAD_ADDRESS, at(5, 9), "follows");
        let apart = Diagnostic::error(Code::BAD_ADDRESS, at(20, 25), "own");
        assert_eq!(
            told(vec![apart.clone(), same, refused.clone()]),
            ["OC-E043", "OC-E140"]
        );
        let open = Diagnostic::error(Code::UNCLOSED_BLOCK, at(0, 1), "open");
        assert_eq!(told(vec![apart.clone(), open]), ["OC-E007"]);
        assert_eq!(told(vec![apart.clone(), apart]), ["OC-E140"]);
        let twice = Diagnostic::error(Code::DUPLICATE, at(5, 9), "own");
        assert_eq!(told(vec![twice, refused]), ["OC-E036", "OC-E043"]);
    }
}
