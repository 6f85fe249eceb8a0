//! Reading a configuration: the file, the files it includes, and the flat tree without includes.
//!
//! Owns file access of the language: nothing else in `conf` opens a file. Loading never fails; what
//! cannot be read or makes no sense is a diagnostic. Every file is read and parsed once, however
//! often it is included.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::diagnostic::{Code, Diagnostic};
use super::parser;
use super::source::{FileId, MAX_FILE_BYTES, Sources, Span};
use super::tree::{self, Document, End};

/// How deep files may include each other.
pub const MAX_INCLUDE_DEPTH: usize = 16;

/// How many directives a configuration may have after its includes are expanded.
pub const MAX_NODES: usize = 1_000_000;

/// How many bytes all files together may have.
pub const MAX_TOTAL_BYTES: usize = 64 << 20;

/// The name of the pseudo file that holds the directives of the command line (`-g`).
pub const COMMAND_LINE: &str = "<command line>";

/// A word as the configuration means it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// Where it stands, quotes included.
    pub span: Span,
    /// Without quotes, escapes resolved.
    pub text: Box<str>,
    /// Did it stand in quotes?
    pub quoted: bool,
}

/// A directive after includes are expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its first word.
    pub name: Word,
    /// The words that follow.
    pub arguments: Vec<Word>,
    /// What stands in its block. The body of a `*_by_lua_block` is one node whose name is the text.
    pub block: Option<Vec<Node>>,
    /// From its name to its `;` or `}`.
    pub span: Span,
}

/// What loading yields.
#[derive(Clone, Default, Debug)]
pub struct Loaded {
    /// All texts that were read.
    pub sources: Sources,
    /// The tree of each text, by [`FileId`].
    pub documents: Vec<Document>,
    /// The directives of the outermost level: those of the command line, then those of the file.
    pub nodes: Vec<Node>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a configuration file and what it includes. A relative `path` starts at `prefix`;
/// `globals` is the text of `-g` and stands before the file.
pub fn load(path: &Path, prefix: &Path, globals: Option<&str>) -> Loaded {
    let path = prefix.join(path);
    let mut loader = Loader::new(&path);
    if let Some(text) = globals {
        loader.root(Path::new(COMMAND_LINE), text.to_owned());
    }
    match read(&path) {
        Ok(text) => loader.root(&path, text),
        Err(unread) => loader.unread(&path, unread),
    }
    loader.finish()
}

/// As [`load`], with the text of the file at hand (it need not exist).
pub fn load_text(path: &Path, text: String, prefix: &Path) -> Loaded {
    let path = prefix.join(path);
    let mut loader = Loader::new(&path);
    loader.root_or_refuse(&path, text);
    loader.finish()
}

/// As [`load`], with new texts for some of the files, by the paths that [`Sources`] names. They need
/// not exist; a pattern finds them all the same.
pub fn load_texts(
    path: &Path,
    prefix: &Path,
    globals: Option<&str>,
    texts: HashMap<PathBuf, String>,
) -> Loaded {
    load_changed(path, prefix, globals, texts, &[])
}

/// As [`load_texts`], as if files were not there, by the paths that [`Sources`] names.
pub fn load_changed(
    path: &Path,
    prefix: &Path,
    globals: Option<&str>,
    texts: HashMap<PathBuf, String>,
    removed: &[PathBuf],
) -> Loaded {
    let path = prefix.join(path);
    let mut loader = Loader::new(&path);
    loader.texts = texts;
    loader.removed = removed.to_vec();
    if let Some(text) = globals {
        loader.root(Path::new(COMMAND_LINE), text.to_owned());
    }
    match loader.text(&path) {
        Ok(text) => loader.root_or_refuse(&path, text),
        Err(unread) => loader.unread(&path, unread),
    }
    loader.finish()
}

/// The directives of a text alone: each `include` stays a directive, and no file is read.
pub fn outline(path: &Path, text: String) -> Loaded {
    let mut loader = Loader::new(path);
    loader.follow = false;
    loader.root_or_refuse(path, text);
    loader.finish()
}

struct Loader {
    /// The directory of the main file: where relative includes start (nginx's `conf_prefix`).
    directory: PathBuf,
    loaded: Loaded,
    /// Files that were read, by the path that named them.
    read: HashMap<PathBuf, FileId>,
    /// The files that are being expanded, outermost first.
    stack: Vec<FileId>,
    nodes: usize,
    bytes: usize,
    /// A limit of the whole was reached and told.
    exhausted: bool,
    /// Texts that stand for those of their files.
    texts: HashMap<PathBuf, String>,
    /// Files that are passed over as if they were not there.
    removed: Vec<PathBuf>,
    /// Are includes expanded?
    follow: bool,
}

impl Loader {
    fn new(path: &Path) -> Self {
        Self {
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            loaded: Loaded::default(),
            read: HashMap::new(),
            stack: Vec::new(),
            nodes: 0,
            bytes: 0,
            exhausted: false,
            texts: HashMap::new(),
            removed: Vec::new(),
            follow: true,
        }
    }

    /// Takes a text of the outermost level.
    fn root(&mut self, path: &Path, text: String) {
        self.bytes += text.len();
        let file = self.add(path, text);
        let mut nodes = std::mem::take(&mut self.loaded.nodes);
        self.expand_file(file, &mut nodes);
        self.loaded.nodes = nodes;
    }

    fn root_or_refuse(&mut self, path: &Path, text: String) {
        match text.len() {
            ..=MAX_FILE_BYTES => self.root(path, text),
            _ => self.unread(path, Unread::too_large()),
        }
    }

    fn text(&self, path: &Path) -> Result<String, Unread> {
        if self.removed.iter().any(|removed| removed == path) {
            return Err(std::io::Error::from(std::io::ErrorKind::NotFound).into());
        }
        match self.texts.get(path) {
            Some(text) if text.len() > MAX_FILE_BYTES => Err(Unread::too_large()),
            Some(text) => Ok(text.clone()),
            None => read(path),
        }
    }

    /// Tells why the main file was not read, and checks what is known of it.
    fn unread(&mut self, path: &Path, mut unread: Unread) {
        let file = FileId(self.loaded.sources.len() as u16);
        self.root(path, std::mem::take(&mut unread.text));
        self.loaded
            .diagnostics
            .push(unread.diagnostic(file, path, None));
    }

    fn finish(mut self) -> Loaded {
        super::diagnostic::arrange(&mut self.loaded.diagnostics);
        self.loaded
    }

    /// Takes a text over and makes its document.
    fn add(&mut self, path: &Path, text: String) -> FileId {
        let file = self.loaded.sources.add(path, text);
        let (document, problems) = parser::parse(file, self.loaded.sources.text(file));
        self.loaded.documents.push(document);
        self.loaded.diagnostics.extend(problems);
        self.read.insert(path.to_owned(), file);
        file
    }

    /// Appends the directives of a file.
    fn expand_file(&mut self, file: FileId, out: &mut Vec<Node>) {
        self.stack.push(file);
        // The document is moved out for the time of the walk, because the walk adds documents.
        let index = usize::from(file.0);
        let items = std::mem::take(&mut self.loaded.documents[index].items);
        self.expand(&items, out);
        self.loaded.documents[index].items = items;
        self.stack.pop();
    }

    fn expand(&mut self, items: &[tree::Item], out: &mut Vec<Node>) {
        for item in items {
            let tree::Item::Directive(directive) = item else {
                continue;
            };
            if self.exhausted {
                return;
            }
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                self.exhaust(
                    directive.name.span,
                    format!("more than {MAX_NODES} directives"),
                );
                return;
            }
            let name = self.word(&directive.name);
            let arguments: Vec<Word> = directive
                .arguments
                .iter()
                .map(|word| self.word(word))
                .collect();
            if self.follow
                && &*name.text == "include"
                && directive.block().is_none()
                && arguments.len() == 1
            {
                self.include(&arguments[0], out);
                continue;
            }
            let block = match &directive.end {
                End::Semicolon { .. } | End::Missing => None,
                End::Block(block) => {
                    let mut nodes = Vec::new();
                    if let Some(raw) = block.raw {
                        nodes.push(Node {
                            name: Word {
                                span: raw,
                                text: self.loaded.sources.slice(raw).into(),
                                quoted: true,
                            },
                            arguments: Vec::new(),
                            block: None,
                            span: raw,
                        });
                    }
                    self.expand(&block.items, &mut nodes);
                    Some(nodes)
                }
            };
            out.push(Node {
                name,
                arguments,
                block,
                span: directive.span(),
            });
        }
    }

    fn word(&self, word: &tree::Word) -> Word {
        Word {
            span: word.span,
            text: word.text(self.loaded.sources.text(word.span.file)).into(),
            quoted: word.quoted,
        }
    }

    /// Puts the directives of the named file, or of each that matches, in place of an `include`.
    fn include(&mut self, argument: &Word, out: &mut Vec<Node>) {
        let span = argument.span;
        if self.stack.len() > MAX_INCLUDE_DEPTH {
            self.loaded.diagnostics.push(
                Diagnostic::error(
                    Code::INCLUDE_TOO_DEEP,
                    span,
                    "includes are nested too deeply",
                )
                .label(
                    span,
                    format!("more than {MAX_INCLUDE_DEPTH} files include each other"),
                ),
            );
            return;
        }
        let pattern = self.directory.join(&*argument.text);
        if !argument.text.contains(['*', '?', '[']) {
            self.include_file(&pattern, argument, out);
            return;
        }
        let mut found = glob(&pattern);
        let unwritten = self.texts.keys().filter(|path| {
            matches_pattern(&pattern, path) && !found.paths.contains(path) && !path.exists()
        });
        let unwritten: Vec<_> = unwritten.cloned().collect();
        found.paths.extend(unwritten);
        found.paths.retain(|path| !self.removed.contains(path));
        found.sort();
        if found.truncated {
            self.exhaust(span, "the pattern matches too many files".to_owned());
            return;
        }
        for path in found.paths {
            if is_backup(&path) {
                self.loaded.diagnostics.push(
                    Diagnostic::warning(
                        Code::BACKUP_INCLUDED,
                        span,
                        format!("the pattern includes the backup file `{}`", path.display()),
                    )
                    .hint("use a pattern such as `*.conf`, or move the file away"),
                );
            }
            self.include_file(&path, argument, out);
        }
    }

    fn include_file(&mut self, path: &Path, argument: &Word, out: &mut Vec<Node>) {
        let span = argument.span;
        if self.exhausted {
            return;
        }
        let file = match self.read.get(path) {
            Some(&file) => file,
            None => match self.text(path) {
                Ok(text) => match self.admit(path, text, span) {
                    Some(file) => file,
                    None => return,
                },
                Err(unread) if unread.missing && is_mime_types(path) => {
                    let message = format!("`{}` does not exist", path.display());
                    self.loaded.diagnostics.push(
                        Diagnostic::warning(Code::BUILTIN_MIME_TYPES, span, message)
                            .label(span, "the built-in table of media types is used"),
                    );
                    return;
                }
                Err(mut unread) => {
                    let text = std::mem::take(&mut unread.text);
                    let file = match text.is_empty() {
                        true => None,
                        false => self.admit(path, text, span),
                    };
                    let place = file.unwrap_or(span.file);
                    let problem = unread.diagnostic(place, path, Some(span));
                    self.loaded.diagnostics.push(problem);
                    match file {
                        Some(file) => file,
                        None => return,
                    }
                }
            },
        };
        if let Some(position) = self.stack.iter().position(|&open| open == file) {
            let names: Vec<String> = self.stack[position..]
                .iter()
                .chain([&file])
                .map(|&file| format!("`{}`", self.loaded.sources.path(file).display()))
                .collect();
            self.loaded.diagnostics.push(
                Diagnostic::error(Code::INCLUDE_CYCLE, span, "this file includes itself")
                    .label(span, names.join(" includes ")),
            );
            return;
        }
        self.expand_file(file, out);
    }

    /// Takes the text of an included file over, unless that is too much.
    fn admit(&mut self, path: &Path, text: String, span: Span) -> Option<FileId> {
        self.bytes += text.len();
        if self.bytes > MAX_TOTAL_BYTES {
            let most = MAX_TOTAL_BYTES >> 20;
            self.exhaust(span, format!("all files together exceed {most} MiB"));
            return None;
        }
        if self.loaded.sources.len() >= Sources::MAX_FILES {
            self.exhaust(span, "too many files".to_owned());
            return None;
        }
        Some(self.add(path, text))
    }

    fn exhaust(&mut self, span: Span, reason: String) {
        self.exhausted = true;
        self.loaded.diagnostics.push(
            Diagnostic::error(Code::TOO_LARGE, span, "the configuration is too large")
                .label(span, reason),
        );
    }
}

/// Why a file was not read.
struct Unread {
    code: Code,
    message: String,
    hint: &'static str,
    /// What can be shown of it; empty in most cases.
    text: String,
    /// Where in that text the problem is.
    offset: usize,
    /// There is no such file.
    missing: bool,
}

impl Unread {
    fn new(code: Code, message: impl Into<String>, hint: &'static str) -> Self {
        Self {
            code,
            message: message.into(),
            hint,
            text: String::new(),
            offset: 0,
            missing: false,
        }
    }

    fn too_large() -> Self {
        let most = MAX_FILE_BYTES >> 20;
        Self::new(
            Code::FILE_TOO_LARGE,
            format!("is larger than {most} MiB"),
            "",
        )
    }

    /// The problem, told in `file`: the unread one, if it can be shown, or the one including it.
    fn diagnostic(self, file: FileId, path: &Path, include: Option<Span>) -> Diagnostic {
        let message = format!("`{}` {}", path.display(), self.message);
        let place = match include {
            Some(include) if include.file == file => include,
            _ => Span::new(file, self.offset..self.offset),
        };
        let mut problem = Diagnostic::error(self.code, place, message);
        if let Some(include) = include {
            problem = problem.label(include, "included here");
        }
        if !self.hint.is_empty() {
            problem = problem.hint(self.hint);
        }
        problem
    }
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
            _ => format!("cannot be read: {}", error.to_string().to_lowercase()),
        };
        Self {
            missing,
            ..Self::new(Code::FILE_UNREADABLE, message, "")
        }
    }
}

/// Reads a file as text.
fn read(path: &Path) -> Result<String, Unread> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        let hint = "to include all files of it, write a pattern such as `directory/*.conf`";
        return Err(Unread::new(Code::FILE_UNREADABLE, "is a directory", hint));
    }
    // A pipe or terminal would block, `/dev/zero` would never end.
    if !metadata.is_file() {
        return Err(Unread::new(
            Code::FILE_UNREADABLE,
            "is not a regular file",
            "",
        ));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Unread::too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let byte = bytes.get(offset).copied().unwrap_or_default();
        let message = format!("is not UTF-8 text: byte 0x{byte:02x} at offset {offset}");
        if let [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] = bytes {
            let hint = "it looks like UTF-16: convert it with `iconv -f utf-16 -t utf-8`";
            return Unread::new(Code::NOT_UTF8, message, hint);
        }
        let hint = "save it as UTF-8, or convert it, for example with `iconv -f latin1 -t utf-8`";
        let mut unread = Unread::new(Code::NOT_UTF8, message, hint);
        // The positions before the first replaced byte, so the place of the problem, stay.
        let text = String::from_utf8_lossy(bytes);
        if text.len() <= MAX_FILE_BYTES {
            unread.text = text.into_owned();
            unread.offset = offset;
        }
        unread
    })
}

/// A file of media types, whose content is built in.
fn is_mime_types(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"mime.types")
}

/// What editors (`x~`, `.x.swp`, `#x#`) and package managers (`x.dpkg-old`, `x.rpmsave`) leave.
fn is_backup(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    [
        &b"~"[..],
        b".bak",
        b".old",
        b".orig",
        b".swp",
        b".rej",
        b".dpkg-old",
        b".dpkg-dist",
        b".dpkg-new",
        b".rpmsave",
        b".rpmnew",
        b".ucf-dist",
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
        || (name.starts_with(b"#") && name.ends_with(b"#"))
}

/// The files that match a pattern.
#[derive(Default)]
struct Found {
    /// In the order of bytes, as `glob(3)` in nginx's "C" locale.
    paths: Vec<PathBuf>,
    /// There were more than may be included.
    truncated: bool,
}

/// Expands a pattern as `glob(3)` does: `*`, `?` and `[…]` match within one name, not a leading
/// dot; a backslash protects a character. Directories that cannot be read match nothing.
fn glob(pattern: &Path) -> Found {
    let mut found = Found::default();
    let bytes = pattern.as_os_str().as_bytes();
    let parts: Vec<&[u8]> = bytes
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    let root = if bytes.starts_with(b"/") { "/" } else { "" };
    let mut paths = vec![PathBuf::from(root)];
    for part in parts {
        if !part.iter().any(|byte| b"*?[".contains(byte)) {
            for path in &mut paths {
                path.push(OsStr::from_bytes(part));
            }
            continue;
        }
        let mut next = Vec::new();
        for directory in &paths {
            let listed = match directory.as_os_str().is_empty() {
                true => Path::new("."),
                false => directory,
            };
            let Ok(entries) = std::fs::read_dir(listed) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let hidden = name.as_bytes().starts_with(b".") && !part.starts_with(b".");
                if !hidden && matches(part, name.as_bytes()) {
                    next.push(directory.join(&name));
                }
                if next.len() >= Sources::MAX_FILES {
                    found.truncated = true;
                    return found;
                }
            }
        }
        paths = next;
    }
    // A link to nowhere is a match, so that it is told and not passed over.
    paths.retain(|path| path.symlink_metadata().is_ok());
    found.paths = paths;
    found.sort();
    found
}

impl Found {
    fn sort(&mut self) {
        self.paths.sort_unstable_by(|one, other| {
            one.as_os_str().as_bytes().cmp(other.as_os_str().as_bytes())
        });
    }
}

/// Would [`glob`] find this path if it existed?
fn matches_pattern(pattern: &Path, path: &Path) -> bool {
    let (mut parts, mut names) = (pattern.components(), path.components());
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) => {
                let (part, name) = (part.as_os_str().as_bytes(), name.as_os_str().as_bytes());
                let is_hidden = name.starts_with(b".") && !part.starts_with(b".");
                let is_pattern = part.iter().any(|byte| b"*?[".contains(byte));
                if part != name && (!is_pattern || is_hidden || !matches(part, name)) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Does a name match one part of a pattern? Linear but for the last `*` (no exponential patterns).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on if the text after the last `*` does not fit: pattern and name.
    let mut star: Option<(usize, usize)> = None;
    while position < name.len() {
        let byte = name[position];
        let step = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, position));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => match class(&pattern[at..], byte) {
                Some((length, true)) => Some(length),
                Some((_, false)) => None,
                // No closing bracket: the bracket stands for itself.
                None => (byte == b'[').then_some(1),
            },
            Some(b'\\') if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(2),
            Some(&expected) => (expected == byte).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => {
                at += length;
                position += 1;
            }
            (None, Some((pattern_at, name_at))) => {
                star = Some((pattern_at, name_at + 1));
                at = pattern_at;
                position = name_at + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Reads `[abc]`, `[a-z]` or `[!abc]` at the start of a pattern: its length, and whether the byte
/// is in it.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let mut at = 1 + usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        let mut low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((at + 1, inside != negated));
        }
        if low == b'\\' {
            at += 1;
            low = *pattern.get(at)?;
        }
        at += 1;
        if pattern.get(at) == Some(&b'-') && pattern.get(at + 1).is_some_and(|&byte| byte != b']') {
            inside |= (low..=pattern[at + 1]).contains(&byte);
            at += 2;
        } else {
            inside |= low == byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_file_is_found_by_a_pattern_in_the_order_of_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("sites")).expect("a fresh directory");
        std::fs::write(path("sites/b.conf"), "b;").expect("a fresh file");
        let texts = [
            ("main", "include sites/*.conf;"),
            ("sites/a.conf", "a;"),
            ("sites/.c.conf", "c;"),
            ("sites/deep/d.conf", "d;"),
        ];
        let texts = texts.map(|(name, text)| (path(name), text.to_owned()));
        let loaded = load_texts(&path("main"), directory.path(), None, texts.into());
        let names = loaded.nodes.iter().map(|node| &*node.name.text);
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn patterns_match_as_glob_does() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            (
                "*a*a*a*a*b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn files_of_a_pattern_come_in_the_order_of_bytes_without_hidden_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["b.conf", "A.conf", "a.conf", ".c.conf", "d.txt"] {
            std::fs::write(directory.path().join(name), "").expect("a file");
        }
        std::fs::create_dir(directory.path().join("e")).expect("a directory");
        std::fs::write(directory.path().join("e/x.conf"), "").expect("a file");
        let names = |pattern: &str| -> Vec<String> {
            glob(&directory.path().join(pattern))
                .paths
                .iter()
                .map(|path| {
                    path.strip_prefix(directory.path())
                        .expect("inside")
                        .display()
                        .to_string()
                })
                .collect()
        };
        assert_eq!(names("*.conf"), ["A.conf", "a.conf", "b.conf"]);
        assert_eq!(names("*/x.conf"), ["e/x.conf"]);
        assert_eq!(names("nothing*"), [""; 0]);
        assert_eq!(names("*/y.conf"), [""; 0]);
    }
}
