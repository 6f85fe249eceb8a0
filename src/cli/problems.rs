//! Problems that the daemon tells, with the line and a caret, as `-t` shows those it finds itself.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::paint::Paint;
use crate::protocol::Problem;
use crate::unit::printable::escape;

/// All of them, one after the other, with an empty line behind each.
pub fn render(problems: &[Problem], paint: Paint) -> String {
    let renderer = match paint.is_on() {
        true => Renderer::styled(),
        false => Renderer::plain(),
    };
    let mut out = String::new();
    for problem in problems {
        let level = match problem.is_error {
            true => Level::ERROR,
            false => Level::WARNING,
        };
        // The caret is counted in characters; escaped ones are several.
        let mut characters = problem.source.chars();
        let mut source = String::new();
        let mut take = |count: u32, characters: &mut dyn Iterator<Item = char>| {
            for character in characters.take(count as usize) {
                match character {
                    '\t' => source.push('\t'),
                    other => source.push_str(&escape(other.encode_utf8(&mut [0; 4]))),
                }
            }
            source.len()
        };
        let start = take(problem.column.saturating_sub(1), &mut characters);
        let end = take(problem.width.max(1), &mut characters);
        take(u32::MAX, &mut characters);
        let file = escape(&problem.file);
        let mut group = level
            .primary_title(escape(&problem.message).into_owned())
            .id(escape(&problem.code).into_owned())
            .element(
                Snippet::source(source)
                    .line_start(problem.line.max(1) as usize)
                    .path(file.into_owned())
                    .annotation(AnnotationKind::Primary.span(start..end)),
            );
        if let Some(hint) = &problem.hint {
            group = group.element(
                Level::HELP
                    .with_name("hint")
                    .message(escape(hint).into_owned()),
            );
        }
        for line in renderer.render(&[group]).lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_what_is_meant() {
        let problem = Problem {
            code: "OC-E030".to_owned(),
            is_error: true,
            message: "unknown directive `lisen`".to_owned(),
            hint: Some("did you mean `listen`?".to_owned()),
            file: "/etc/openclaw/openclaw.conf".to_owned(),
            line: 12,
            column: 5,
            width: 5,
            source: "    lisen 80;".to_owned(),
        };
        assert_eq!(
            render(&[problem], Paint::PLAIN),
            "error[OC-E030]: unknown directive `lisen`\n  \
               --> /etc/openclaw/openclaw.conf:12:5\n   \
                |\n\
             12 |     lisen 80;\n   \
                |     ^^^^^\n   \
                |\n   \
                = hint: did you mean `listen`?\n\n"
        );
    }

    #[test]
    fn a_problem_without_a_place_or_with_a_wrong_one_is_told_all_the_same() {
        for (column, width) in [(0, 0), (1, 1), (900, 7), (u32::MAX, u32::MAX)] {
            let problem = Problem {
                message: "a\x1bb".to_owned(),
                column,
                width,
                source: "\x1bé".to_owned(),
                ..Problem::default()
            };
            let text = render(&[problem], Paint::PLAIN);
            assert!(text.contains("a^[b") && text.contains("^[é"), "{text}");
        }
    }
}
