//! The texts of a configuration: every file that was read, byte spans into them, lines and columns.
//!
//! A [`Span`] is meaningful together with the [`Sources`] that made its file; both only ever grow.
//! Invariant: a text is at most [`MAX_FILE_BYTES`] long, so that positions fit 32 bits.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The longest text that is read: 10 MiB.
pub const MAX_FILE_BYTES: usize = 10 << 20;

/// One of the texts of [`Sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileId(pub u16);

/// A range of bytes of one text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// The text.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// The bytes of a text from `range`; positions beyond 32 bits cannot occur (see the module).
    pub fn new(file: FileId, range: Range<usize>) -> Self {
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            file,
            start: position(range.start),
            end: position(range.end),
        }
    }

    /// The positions as a range for slicing the text.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// From the start of this span to the end of the other one, which is in the same file.
    pub fn to(self, end: Self) -> Self {
        Self {
            end: end.end,
            ..self
        }
    }

    /// The empty span behind this one.
    pub fn after(self) -> Self {
        Self {
            start: self.end,
            ..self
        }
    }

    /// Does it hold no byte?
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// All texts that were read for one configuration.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    files: Vec<File>,
}

#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    text: String,
    /// Where each line starts.
    lines: Vec<u32>,
}

impl Sources {
    /// How many texts there may be; further ones are refused by [`Sources::add`].
    pub const MAX_FILES: usize = u16::MAX as usize;

    /// Takes a text over. A text beyond [`MAX_FILE_BYTES`] or a file beyond [`Self::MAX_FILES`] is
    /// a mistake of the caller, who has to say so with a better message: it is stored empty, or
    /// stands for the last file.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> FileId {
        if self.files.len() >= Self::MAX_FILES {
            return FileId(u16::MAX - 1);
        }
        let mut text = text.into();
        if text.len() > MAX_FILE_BYTES {
            text.clear();
        }
        let lines = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u32 + 1))
            .collect();
        let id = FileId(self.files.len() as u16);
        self.files.push(File {
            path: path.into(),
            text,
            lines,
        });
        id
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Was no text read?
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The ids of all texts in the order of reading.
    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..self.files.len() as u16).map(FileId)
    }

    /// The text of a file.
    pub fn text(&self, file: FileId) -> &str {
        self.files
            .get(usize::from(file.0))
            .map_or("", |file| file.text.as_str())
    }

    /// The path by which a file was read, or the name of a pseudo file.
    pub fn path(&self, file: FileId) -> &Path {
        self.files
            .get(usize::from(file.0))
            .map_or(Path::new(""), |file| file.path.as_path())
    }

    /// The bytes of a span; empty if it does not fit its text.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.range()).unwrap_or_default()
    }

    /// The line and column where a span starts, both from 1; the column counts characters.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let Some(file) = self.files.get(usize::from(span.file.0)) else {
            return (1, 1);
        };
        let line = file
            .lines
            .partition_point(|&start| start <= span.start)
            .max(1);
        let start = file.lines[line - 1] as usize;
        let before = file.text.as_bytes().get(start..span.start as usize);
        let column = before.unwrap_or_default().iter();
        // Bytes that continue a UTF-8 sequence do not start a character.
        (
            line,
            1 + column.filter(|&&byte| byte & 0xC0 != 0x80).count(),
        )
    }

    /// The bytes of a line (from 1) without its line end.
    pub fn line_span(&self, file: FileId, line: usize) -> Span {
        let lines = self
            .files
            .get(usize::from(file.0))
            .map_or(&[][..], |file| &file.lines);
        let text = self.text(file);
        let start = lines
            .get(line.wrapping_sub(1))
            .map_or(text.len(), |&at| at as usize);
        let end = lines.get(line).map_or(text.len(), |&at| at as usize - 1);
        Span::new(file, start..end.max(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let mut sources = Sources::default();
        let file = sources.add("a.conf", "ab\nüß x\n");
        let at = |start: u32| {
            sources.line_column(Span {
                file,
                start,
                end: start,
            })
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (1, 3));
        assert_eq!(at(3), (2, 1));
        assert_eq!(at(8), (2, 4));
        assert_eq!(at(10), (3, 1));
        assert_eq!(sources.slice(sources.line_span(file, 2)), "üß x");
    }

    #[test]
    fn a_span_that_does_not_fit_is_empty_and_does_no_harm() {
        let mut sources = Sources::default();
        let file = sources.add("a", "é");
        assert_eq!(sources.slice(Span::new(file, 1..2)), "");
        assert_eq!(sources.slice(Span::new(file, 0..9)), "");
        assert_eq!(sources.line_column(Span::new(file, 7..9)), (1, 1));
        assert_eq!(sources.text(FileId(9)), "");
        assert_eq!(sources.line_column(Span::new(FileId(9), 0..0)), (1, 1));
    }
}
