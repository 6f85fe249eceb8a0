//! The difference of two texts of a configuration, for people.
//!
//! A unified diff whose hunks are headed by the address of the directive they are in, as `diff -p`
//! does with functions. The cost is bounded: texts that differ in very many lines are shown as one
//! block that goes and one that comes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use super::address::Address;
use super::include::{self, Node};
use super::source::{FileId, Span};

/// How many lines around a change are shown.
const CONTEXT: usize = 3;

/// How many differing lines are followed to find the shortest difference; memory grows with the
/// square.
const MAX_DISTANCE: usize = 1_500;

/// A range of lines of the old text and what stands in the new one in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Lines of the old text, from 0.
    pub old: Range<usize>,
    /// Lines of the new text, from 0.
    pub new: Range<usize>,
}

/// The unified diff of two texts; empty if they are equal. `name` is the path of the file.
pub fn unified(name: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old_lines, new_lines) = (lines(old), lines(new));
    let changes = changes(&old_lines, &new_lines);
    let outline = include::outline(Path::new(name), old.to_owned());
    let mut starts = vec![0];
    starts.extend(old_lines.iter().scan(0, |at, line| {
        *at += line.len();
        Some(*at)
    }));
    let mut out = format!("--- {name}\n+++ {name}\n");
    let mut rest = &changes[..];
    while let Some(first) = rest.first() {
        // Changes whose surroundings touch are one hunk.
        let joined = rest
            .windows(2)
            .take_while(|pair| pair[1].old.start - pair[0].old.end <= 2 * CONTEXT)
            .count();
        let (hunk, later) = rest.split_at(joined + 1);
        rest = later;
        let last = &hunk[joined];
        let before = first.old.start.min(CONTEXT);
        let after = (old_lines.len() - last.old.end).min(CONTEXT);
        let old_range = first.old.start - before..last.old.end + after;
        let new_range = first.new.start - before..last.new.end + after;
        let heading = heading(&outline.nodes, old, starts[first.old.start]);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "@@ -{} +{} @@{}{heading}",
            place(&old_range),
            place(&new_range),
            if heading.is_empty() { "" } else { " " },
        );
        let mut at = old_range.start;
        for change in hunk {
            put(&mut out, ' ', &old_lines[at..change.old.start]);
            put(&mut out, '-', &old_lines[change.old.clone()]);
            put(&mut out, '+', &new_lines[change.new.clone()]);
            at = change.old.end;
        }
        put(&mut out, ' ', &old_lines[at..old_range.end]);
    }
    out
}

/// What differs, in order; the fewest lines that can be (Myers, "An O(ND) Difference Algorithm").
pub fn changes<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Change> {
    let head = old
        .iter()
        .zip(new)
        .take_while(|(one, other)| one == other)
        .count();
    let most = old.len().min(new.len()) - head;
    let tail = (0..most)
        .take_while(|&back| old[old.len() - 1 - back] == new[new.len() - 1 - back])
        .count();
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    // Numbers are compared faster than lines.
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut number = |lines: &[&'t str]| -> Vec<u32> {
        let lines = lines.iter().map(|line| {
            let next = numbers.len() as u32;
            *numbers.entry(line).or_insert(next)
        });
        lines.collect()
    };
    let (one, other) = (number(old), number(new));
    let mut found = match path(&one, &other) {
        Some(changes) => changes,
        None => vec![Change {
            old: 0..one.len(),
            new: 0..other.len(),
        }],
    };
    found.retain(|change| !change.old.is_empty() || !change.new.is_empty());
    for change in &mut found {
        change.old = change.old.start + head..change.old.end + head;
        change.new = change.new.start + head..change.new.end + head;
    }
    found
}

/// The shortest way from one list to the other; `None` if it is longer than [`MAX_DISTANCE`].
fn path(old: &[u32], new: &[u32]) -> Option<Vec<Change>> {
    let (rows, columns) = (old.len() as isize, new.len() as isize);
    let most = (old.len() + new.len()).min(MAX_DISTANCE) as isize;
    // By diagonal (row minus column): the furthest row that so many steps reach.
    let mut furthest = vec![0isize; 2 * most as usize + 3];
    let slot = |diagonal: isize| (diagonal + most + 1) as usize;
    let mut trace: Vec<Vec<isize>> = Vec::new();
    let mut length = None;
    'search: for steps in 0..=most {
        trace.push(furthest[slot(-steps)..=slot(steps)].to_vec());
        for diagonal in (-steps..=steps).step_by(2) {
            let down = diagonal == -steps
                || (diagonal != steps
                    && furthest[slot(diagonal - 1)] < furthest[slot(diagonal + 1)]);
            let mut row = match down {
                true => furthest[slot(diagonal + 1)],
                false => furthest[slot(diagonal - 1)] + 1,
            };
            let mut column = row - diagonal;
            while row < rows && column < columns && old[row as usize] == new[column as usize] {
                row += 1;
                column += 1;
            }
            furthest[slot(diagonal)] = row;
            if row >= rows && column >= columns {
                length = Some(steps);
                break 'search;
            }
        }
    }
    let length = length?;
    // Back from the end: each step left or up is a line that comes or goes.
    let (mut row, mut column) = (rows, columns);
    let mut changes: Vec<Change> = Vec::new();
    for steps in (1..=length).rev() {
        let before = &trace[steps as usize];
        // What the steps before this one reached, around diagonal 0 of that trace.
        let reached = |diagonal: isize| -> isize {
            usize::try_from(diagonal + steps)
                .ok()
                .and_then(|at| before.get(at))
                .copied()
                .unwrap_or(0)
        };
        let diagonal = row - column;
        let down = diagonal == -steps
            || (diagonal != steps && reached(diagonal - 1) < reached(diagonal + 1));
        let from = if down { diagonal + 1 } else { diagonal - 1 };
        let from_row = reached(from);
        let from_column = from_row - from;
        let change = match down {
            true => Change {
                old: from_row as usize..from_row as usize,
                new: from_column as usize..from_column as usize + 1,
            },
            false => Change {
                old: from_row as usize..from_row as usize + 1,
                new: from_column as usize..from_column as usize,
            },
        };
        (row, column) = (from_row, from_column);
        match changes.last_mut() {
            Some(next) if next.old.start == change.old.end && next.new.start == change.new.end => {
                next.old.start = change.old.start;
                next.new.start = change.new.start;
            }
            _ => changes.push(change),
        }
    }
    changes.reverse();
    Some(changes)
}

/// The address of the innermost block that a position is in.
fn heading(nodes: &[Node], text: &str, at: usize) -> String {
    // The blanks of the line belong to what stands on it.
    let line = &text[at..];
    let at = at + (line.len() - line.trim_start_matches([' ', '\t']).len());
    let mut siblings = nodes;
    let mut inner: Option<Span> = None;
    while let Some(node) = siblings.iter().find(|node| {
        let range = node.span.range();
        range.start < at && at < range.end
    }) {
        let Some(block) = &node.block else { break };
        inner = Some(node.span);
        siblings = block;
    }
    let address = inner.and_then(|span| {
        Address::of(
            nodes,
            Span {
                file: FileId(0),
                ..span
            },
        )
    });
    address
        .map(|address| address.to_string())
        .unwrap_or_default()
}

/// The lines with their line ends.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The start and count of a range of lines as the unified format has them.
fn place(range: &Range<usize>) -> String {
    match range.len() {
        // An empty range is named by the line before it.
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

fn put(out: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        out.push(sign);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hunk_is_headed_by_the_block_it_is_in() {
        let old = "http {\n    server {\n        server_name a;\n        location / {\n            a 1;\n            \
                   b 2;\n            c 3;\n            d 4;\n            e 5;\n        }\n    }\n}\n";
        let new = old.replace("d 4", "d 5");
        assert_eq!(
            unified("x.conf", old, &new),
            "--- x.conf\n+++ x.conf\n@@ -5,7 +5,7 @@ http / server \"a\" / location \"/\"\n             a 1;\n             b 2;\n             c 3;\n\
             -            d 4;\n+            d 5;\n             e 5;\n         }\n     }\n"
        );
    }

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(unified("x", "a\n", "a\n"), "");
    }

    #[test]
    fn a_missing_line_end_is_told() {
        assert_eq!(
            unified("x", "a;\n", "a;\nb;"),
            "--- x\n+++ x\n@@ -1 +1,2 @@\n a;\n+b;\n\\ No newline at end of file\n"
        );
        assert_eq!(
            unified("x", "", "b;\n"),
            "--- x\n+++ x\n@@ -0,0 +1 @@\n+b;\n"
        );
    }

    #[test]
    fn changes_far_apart_are_two_hunks_and_near_ones_are_one() {
        let old: String = (0..30).map(|line| format!("a {line};\n")).collect();
        let far = old.replace("a 3;", "b;").replace("a 20;", "c;");
        assert_eq!(unified("x", &old, &far).matches("@@ -").count(), 2);
        let near = old.replace("a 3;", "b;").replace("a 9;", "c;");
        assert_eq!(unified("x", &old, &near).matches("@@ -").count(), 1);
    }

    #[test]
    fn very_different_texts_are_shown_as_a_whole() {
        let old: Vec<String> = (0..5_000).map(|line| format!("a {line}")).collect();
        let new: Vec<String> = (0..5_000).map(|line| format!("b {line}")).collect();
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let new: Vec<&str> = new.iter().map(String::as_str).collect();
        assert_eq!(
            changes(&old, &new),
            [Change {
                old: 0..5_000,
                new: 0..5_000
            }]
        );
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_text_to_the_other(
            old in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..30),
            new in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..30),
        ) {
            let changes = changes(&old, &new);
            let mut made: Vec<&str> = Vec::new();
            let (mut at, mut new_at) = (0, 0);
            for change in &changes {
                prop_assert!(!change.old.is_empty() || !change.new.is_empty());
                made.extend(&old[at..change.old.start]);
                prop_assert_eq!(made.len(), change.new.start);
                made.extend(&new[change.new.clone()]);
                at = change.old.end;
                new_at = change.new.end;
            }
            prop_assert_eq!(made.len(), new_at.max(made.len()));
            made.extend(&old[at..]);
            prop_assert_eq!(made, new.clone());
            // As few lines as the longest common subsequence leaves.
            let mut table = vec![vec![0usize; new.len() + 1]; old.len() + 1];
            for row in 0..old.len() {
                for column in 0..new.len() {
                    table[row + 1][column + 1] = match old[row] == new[column] {
                        true => table[row][column] + 1,
                        false => table[row][column + 1].max(table[row + 1][column]),
                    };
                }
            }
            let common = table[old.len()][new.len()];
            let changed: usize = changes.iter().map(|change| change.old.len() + change.new.len()).sum();
            prop_assert_eq!(changed, old.len() + new.len() - 2 * common);
        }
    }
}
