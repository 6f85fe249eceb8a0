//! The content phase for files, and `try_files` before it.
//!
//! Owns the way from a path to a file: `root` and `alias`, the order of nginx's content handlers
//! (index, autoindex, static), what makes a path unsafe. Invariants: behind `root` or `alias` no
//! segment is `..`, whatever a rewrite, a variable or `alias` without a slash put together; nothing is
//! allocated for a file that is there.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use smallvec::SmallVec;

use super::autoindex;
use super::mime;
use super::open::{self, Failed, Kind, Links, Status};
use super::report::{Event, Report};
use crate::conf::template::{Part, Template};
use crate::conf::typed::filters::Precompressed;
use crate::conf::typed::location::{DisableSymlinks, Fallback, Root, TryFiles};
use crate::conf::typed::log::Level;
use crate::http::body::{Body, FileBody};
use crate::http::buffer;
use crate::http::coding::{Accepted, Coding, may_be_gzip};
use crate::http::conditional::{self, Verdict};
use crate::http::date;
use crate::http::exchange::Exchange;
use crate::http::head::{Known, Method};
use crate::http::uri::{self, Escape};
use crate::http::variables;

/// Files up to this length are read at once, and their descriptor is closed.
pub const SMALL_FILE: u64 = 32 << 10;

/// What is used again from request to request.
#[derive(Default, Debug)]
pub struct Scratch {
    /// The path being built.
    pub path: Vec<u8>,
    /// What the error log is to be told, in order. The caller takes it out after every call, whatever
    /// the outcome.
    pub reports: Vec<Report>,
}

/// What the content phase came to.
#[derive(Debug)]
pub enum Answer {
    /// Content, or a 304. Status, fields and length stand in the exchange.
    Content(Content),
    /// An index file was found: the exchange's path is already that of the file, `args` stay, and
    /// the location is searched anew.
    InternalRedirect,
    /// A directory was asked for without its slash: 301 to this path and query, not yet absolute.
    Redirect {
        /// The escaped path with its slash, and the query.
        location: Vec<u8>,
    },
    /// None.
    Error(FileError),
}

/// Content that was found.
#[derive(Debug)]
pub struct Content {
    /// What is sent; empty for HEAD, where the exchange still tells the length.
    pub body: Body,
    /// When it was last modified, in seconds since 1970; nothing for a listing.
    pub modified: Option<i64>,
    /// [`crate::http::range::apply`] is to be asked, once the filters of fields have run.
    pub allows_ranges: bool,
}

/// Why there is no content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileError {
    /// No such file: 404.
    NotFound,
    /// It may not be read, or a directory may not be listed: 403.
    Forbidden,
    /// Only GET and HEAD mean something for a file: 405.
    NotAllowed,
    /// A condition of the request failed: 412.
    PreconditionFailed,
    /// The request asks for a listing in a way that makes no sense: 400.
    BadRequest,
    /// The system failed, or the configuration does not fit the path: 500.
    Internal,
}

/// What `try_files` came to.
#[derive(PartialEq, Eq, Debug)]
pub enum TryOutcome<'a> {
    /// A candidate is there: the exchange's path is that of it, and the request goes on here.
    Found,
    /// None is; the exchange's path and arguments are those of the fallback, and the location is
    /// searched anew.
    InternalRedirect,
    /// None is; the request goes to the location of this name, its path as it was.
    Named(&'a str),
    /// None is; this status.
    Status(u16),
    /// The configuration does not fit the path.
    Error(FileError),
}

/// Answers with a file, with the index of a directory or with its listing: the handlers of nginx's
/// content phase, in the order in which it runs them.
pub fn answer(exchange: &mut Exchange, scratch: &mut Scratch) -> Answer {
    let is_directory = exchange.path.ends_with(b"/");
    let is_read = matches!(exchange.method, Method::Get | Method::Head);
    let is_understood = is_read || exchange.method == Method::Post;

    if is_directory && is_understood {
        match find_index(exchange, scratch) {
            Ok(Some(name)) => {
                let name = &scratch.path[name..];
                if name.starts_with(b"/") {
                    exchange.path.clear();
                }
                exchange.path.extend_from_slice(name);
                exchange.path_is_original = false;
                exchange.is_behind_alias = false;
                return Answer::InternalRedirect;
            }
            Ok(None) => {}
            Err(error) => return Answer::Error(error),
        }
    }
    if is_directory && is_read && exchange.settings.autoindex.is_some() {
        return match map(exchange, scratch) {
            Ok(_) => autoindex::list(exchange, scratch),
            Err(error) => Answer::Error(error),
        };
    }
    if !is_understood {
        return Answer::Error(FileError::NotAllowed);
    }
    if is_directory {
        if let Err(error) = map(exchange, scratch) {
            return Answer::Error(error);
        }
        scratch.report(Level::Error, Event::DirectoryIndex, None);
        return Answer::Error(FileError::Forbidden);
    }
    match file(exchange, scratch) {
        Ok(answer) => answer,
        Err(error) => Answer::Error(error),
    }
}

/// Looks for the files of `try_files` (nginx `ngx_http_try_files_module`).
pub fn try_files<'a>(
    exchange: &mut Exchange,
    rules: &'a TryFiles,
    scratch: &mut Scratch,
) -> TryOutcome<'a> {
    let root = match map_root(exchange, scratch) {
        Ok((root, _)) => root,
        Err(error) => return TryOutcome::Error(error),
    };
    let (is_alias, is_regex) = (
        matches!(exchange.settings.root, Root::Alias(_)),
        exchange.settings.is_regex,
    );
    let prefix = exchange.settings.prefix_length;
    for (candidate, wants_directory) in &rules.candidates {
        scratch.path.truncate(root);
        variables::expand(candidate, exchange, &mut scratch.path);
        // With `alias`, `$uri` in a candidate brings the location's path along, which `alias` stands
        // for. Text is not looked at.
        if is_alias
            && !is_regex
            && candidate.literal().is_none()
            && (exchange.path.get(..prefix))
                .is_some_and(|prefix| scratch.path[root..].starts_with(prefix))
        {
            scratch.path.drain(root..root + prefix);
        }
        if !is_inside(&scratch.path, root, is_alias) {
            continue;
        }
        let links = links(exchange, &scratch.path);
        match open::look(&mut scratch.path, links) {
            Ok(status) if (status.kind == Kind::Directory) == *wants_directory => {}
            Ok(_) => continue,
            Err(failed) => {
                if !failed.is_not_found() {
                    let event = Event::Failed(failed.call);
                    scratch.report(Level::Crit, event, Some(failed.error));
                }
                continue;
            }
        }
        // nginx leaves `valid_unparsed_uri` alone here: a `proxy_pass` without a path in the same
        // place sends the path as received. So `path_is_original` stays.
        let name = &scratch.path[root..];
        if is_alias && is_regex {
            if !wants_directory {
                exchange.path.clear();
                exchange.path.extend_from_slice(name);
                exchange.is_behind_alias = true;
            }
        } else {
            exchange.path.truncate(if is_alias { prefix } else { 0 });
            exchange.path.extend_from_slice(name);
        }
        return TryOutcome::Found;
    }
    match &rules.fallback {
        Fallback::Status(status) => TryOutcome::Status(*status),
        Fallback::Named(name) => TryOutcome::Named(name),
        Fallback::Uri(template) => {
            scratch.path.clear();
            variables::expand(template, exchange, &mut scratch.path);
            let (path, args) = uri::split_query(&scratch.path);
            exchange.path.clear();
            exchange
                .path
                .extend_from_slice(if path.is_empty() { b"/" } else { path });
            exchange.args.clear();
            exchange.args.extend_from_slice(args.unwrap_or_default());
            exchange.path_is_original = false;
            exchange.is_behind_alias = false;
            TryOutcome::InternalRedirect
        }
    }
}

impl Scratch {
    /// Notes a line about the path.
    pub(super) fn report(&mut self, level: Level, event: Event, error: Option<Errno>) {
        let subject = self.path.clone();
        self.reports.push(Report {
            level,
            event,
            subject,
            error,
        });
    }
}

/// Looks for an index file (nginx `ngx_http_index_module`). Found, its name stands in the scratch
/// path from the position returned on, and is a whole path if it begins with a slash.
fn find_index(exchange: &Exchange, scratch: &mut Scratch) -> Result<Option<usize>, FileError> {
    let mut directory = None;
    for index in &*exchange.settings.index {
        if let Some(path @ [b'/', ..]) = index.literal() {
            scratch.path.clear();
            scratch.path.extend_from_slice(path);
            return Ok(Some(0));
        }
        let (root, name) = match directory {
            Some(place) => place,
            None => {
                let root = map(exchange, scratch)?;
                (root, scratch.path.len())
            }
        };
        let is_tested = directory.is_some();
        directory = Some((root, name));
        scratch.path.truncate(name);
        variables::expand(index, exchange, &mut scratch.path);
        if scratch.path.get(name) == Some(&b'/') {
            return Ok(Some(name));
        }
        // Without a name, the directory itself would be its index, without end.
        let is_alias = matches!(exchange.settings.root, Root::Alias(_));
        if scratch.path.len() == name || !is_inside(&scratch.path, root, is_alias) {
            continue;
        }
        let links = links(exchange, &scratch.path);
        let Err(failed) = open::look(&mut scratch.path, links) else {
            return Ok(Some(name));
        };
        if failed.is_link() {
            return Err(FileError::Forbidden);
        }
        if matches!(
            failed.error,
            Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::EACCES
        ) {
            return Err(index_error(exchange, scratch, failed.error));
        }
        // The directory is looked at only after the first index is not found: most are.
        if !is_tested {
            test_directory(exchange, scratch, name)?;
        }
        if failed.error != Errno::ENOENT {
            let event = Event::Failed(failed.call);
            scratch.report(Level::Crit, event, Some(failed.error));
            return Err(FileError::Internal);
        }
    }
    Ok(None)
}

/// Is there a directory to look for an index in? The scratch path goes on with the index' name.
fn test_directory(
    exchange: &Exchange,
    scratch: &mut Scratch,
    name: usize,
) -> Result<(), FileError> {
    // `alias` may end without a slash.
    let directory = match &scratch.path[..name] {
        path @ ([] | [b'/']) => path,
        path => path.strip_suffix(b"/").unwrap_or(path),
    };
    let mut directory = directory.to_vec();
    let links = links(exchange, &directory);
    match open::look(&mut directory, links) {
        Ok(status) if status.kind == Kind::Directory => Ok(()),
        Ok(_) => {
            scratch.report(Level::Alert, Event::NotADirectory, None);
            Err(FileError::Internal)
        }
        Err(failed) if failed.is_link() => Err(FileError::Forbidden),
        Err(failed) if failed.error == Errno::ENOENT => {
            Err(index_error(exchange, scratch, failed.error))
        }
        // The index inside could be asked for, so the directory may be searched.
        Err(failed) if failed.error == Errno::EACCES => Ok(()),
        Err(failed) => {
            scratch.path = directory;
            let event = Event::Failed(failed.call);
            scratch.report(Level::Crit, event, Some(failed.error));
            Err(FileError::Internal)
        }
    }
}

fn index_error(exchange: &Exchange, scratch: &mut Scratch, error: Errno) -> FileError {
    if error == Errno::EACCES {
        scratch.report(Level::Error, Event::Forbidden, Some(error));
        return FileError::Forbidden;
    }
    if exchange.settings.log_not_found {
        scratch.report(Level::Error, Event::NotFound, Some(error));
    }
    FileError::NotFound
}

/// Answers with a file (nginx `ngx_http_static_module`).
fn file(exchange: &mut Exchange, scratch: &mut Scratch) -> Result<Answer, FileError> {
    map(exchange, scratch)?;
    let links = links(exchange, &scratch.path);
    if exchange.settings.filters.is_some()
        && exchange.method != Method::Post
        && let Some(content) = beside(exchange, scratch, links)?
    {
        return Ok(Answer::Content(content));
    }
    let (file, status) = match open::open(&mut scratch.path, links) {
        Ok(opened) => opened,
        Err(failed) => return Err(open_error(exchange, scratch, failed)),
    };
    match status.kind {
        Kind::Regular => {}
        Kind::Directory => {
            let mut location = Vec::with_capacity(exchange.path.len() + exchange.args.len() + 2);
            uri::push_escaped(&mut location, &exchange.path, Escape::Path);
            location.push(b'/');
            if !exchange.args.is_empty() {
                location.push(b'?');
                location.extend_from_slice(&exchange.args);
            }
            return Ok(Answer::Redirect { location });
        }
        Kind::Other => {
            scratch.report(Level::Crit, Event::NotARegularFile, None);
            return Err(FileError::NotFound);
        }
    }
    if exchange.method == Method::Post {
        return Err(FileError::NotAllowed);
    }
    content(exchange, scratch, file, status).map(Answer::Content)
}

/// The compressed file beside the one that the scratch names, if there is one and the client is to
/// get it: the form that it likes best, of those that it likes alike the smallest.
fn beside(
    exchange: &mut Exchange,
    scratch: &mut Scratch,
    links: Links,
) -> Result<Option<Content>, FileError> {
    let settings = std::sync::Arc::clone(&exchange.settings);
    let Some(filters) = &settings.filters else {
        return Ok(None);
    };
    let modes = [
        (Coding::Brotli, filters.beside.brotli, &b".br"[..]),
        (Coding::Zstd, filters.beside.zstd, b".zst"),
        (Coding::Gzip, filters.beside.gzip, b".gz"),
    ];
    let accepted = Accepted::of(&exchange.head.fields);
    let mut candidates = SmallVec::<[(u16, Coding, &[u8]); 3]>::new();
    for (coding, mode, ending) in modes {
        let weight = match mode {
            Precompressed::Off => continue,
            Precompressed::Always => u16::MAX,
            // As nginx: gzip not in HTTP/1.0, and not through a proxy unless told so.
            Precompressed::On
                if coding == Coding::Gzip && !may_be_gzip(exchange, &filters.clients) =>
            {
                0
            }
            Precompressed::On => accepted.weight(coding),
        };
        // Which form is sent depends on the client: a cache on the way has to know.
        if mode == Precompressed::On && !exchange.answer.has(Known::Vary) {
            exchange
                .answer
                .push_known(Some(Known::Vary), b"Vary", b"Accept-Encoding");
        }
        if weight > 0 && (mode == Precompressed::Always || !accepted.prefers_identity(weight)) {
            candidates.push((weight, coding, ending));
        }
    }
    candidates.sort_by_key(|&(weight, _, _)| std::cmp::Reverse(weight));
    for (_, coding, ending) in candidates {
        let length = scratch.path.len();
        scratch.path.extend_from_slice(ending);
        let opened = open::open(&mut scratch.path, links);
        scratch.path.truncate(length);
        if let Ok((file, status)) = opened
            && status.kind == Kind::Regular
        {
            let mut content = content(exchange, scratch, file, status)?;
            // Ranges would be of the compressed bytes; nginx cuts none either.
            content.allows_ranges = false;
            if exchange.status != 304 {
                let name = Known::ContentEncoding;
                exchange.answer.push_known(
                    Some(name),
                    name.name().as_bytes(),
                    coding.token().as_bytes(),
                );
            }
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn open_error(exchange: &Exchange, scratch: &mut Scratch, failed: Failed) -> FileError {
    let (level, error) = if failed.is_not_found() {
        (Level::Error, FileError::NotFound)
    } else if failed.error == Errno::EACCES || failed.is_link() {
        (Level::Error, FileError::Forbidden)
    } else {
        (Level::Crit, FileError::Internal)
    };
    if error != FileError::NotFound || exchange.settings.log_not_found {
        scratch.report(level, Event::Failed(failed.call), Some(failed.error));
    }
    error
}

/// The answer that an open file makes: conditions, fields, body.
fn content(
    exchange: &mut Exchange,
    scratch: &mut Scratch,
    file: File,
    status: Status,
) -> Result<Content, FileError> {
    let mut etag = SmallVec::<[u8; 40]>::new();
    if exchange.settings.etag {
        push_etag(&mut etag, status);
    }
    let etag = exchange.settings.etag.then_some(&etag[..]);
    // The file of an error page has the status of the error; conditions and ranges are asked of a
    // 200 only.
    exchange.status = match exchange.error_status {
        0 => 200,
        status => status,
    };
    let verdict = match exchange.status {
        200 => conditional::evaluate(
            &exchange.head.fields,
            status.modified,
            etag,
            exchange.settings.if_modified_since,
        ),
        _ => Verdict::Send,
    };
    if verdict == Verdict::Failed {
        return Err(FileError::PreconditionFailed);
    }
    let is_sent = verdict == Verdict::Send;
    let mut length = status.size;
    let body = if !is_sent || length == 0 || exchange.method == Method::Head {
        Body::Empty
    } else if length <= SMALL_FILE {
        match read(&file, length) {
            Ok(bytes) => {
                // It may have been truncated since it was looked at.
                length = bytes.len() as u64;
                Body::Bytes(bytes)
            }
            Err(error) => {
                let error = error.raw_os_error().map(Errno::from_raw);
                scratch.report(Level::Crit, Event::Failed("read()"), error);
                return Err(FileError::Internal);
            }
        }
    } else {
        Body::File(FileBody::whole(file, length))
    };
    let fields = &mut exchange.answer;
    if is_sent {
        let media_type = mime::media_type(&exchange.settings, &exchange.path);
        if !media_type.is_empty() {
            fields.push_known(Some(Known::ContentType), b"Content-Type", media_type);
        }
        exchange.answer_length = Some(length);
    } else {
        conditional::make_not_modified(exchange);
    }
    let fields = &mut exchange.answer;
    // As nginx, the date of an error page's file is not told.
    if matches!(exchange.status, 200 | 206 | 304) {
        let modified = date::http(status.modified);
        fields.push_known(Some(Known::LastModified), b"Last-Modified", &modified);
    }
    if let Some(etag) = etag {
        fields.push_known(Some(Known::Etag), b"ETag", etag);
    }
    Ok(Content {
        body,
        modified: Some(status.modified),
        allows_ranges: exchange.status == 200,
    })
}

/// Reads a small file with one call, into a buffer of the thread's.
fn read(file: &File, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = if length <= buffer::SMALL as u64 {
        buffer::take_small()
    } else {
        buffer::take_large()
    };
    // The limit is known to have been reached without asking the system again.
    match file.take(length).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            buffer::give_back(bytes);
            Err(error)
        }
    }
}

/// Appends an entity tag as nginx makes it (`ngx_http_set_etag`): time and length in hexadecimal.
fn push_etag(out: &mut SmallVec<[u8; 40]>, status: Status) {
    out.push(b'"');
    push_hexadecimal(out, status.modified as u64);
    out.push(b'-');
    push_hexadecimal(out, status.size);
    out.push(b'"');
}

fn push_hexadecimal(out: &mut SmallVec<[u8; 40]>, number: u64) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * digit) & 15) as usize]);
    }
}

/// Builds the path that the request stands for (nginx `ngx_http_map_uri_to_path`); `root` or `alias`
/// is as long as returned.
fn map(exchange: &Exchange, scratch: &mut Scratch) -> Result<usize, FileError> {
    let (root, behind) = map_root(exchange, scratch)?;
    scratch.path.extend_from_slice(behind);
    let is_alias = matches!(exchange.settings.root, Root::Alias(_));
    if is_inside(&scratch.path, root, is_alias) {
        Ok(root)
    } else {
        scratch.report(Level::Error, Event::LeavesRoot, None);
        Err(FileError::NotFound)
    }
}

/// The file that an answer to this request becomes (`proxy_store`): that of `path`, or the one that is
/// served for the request. `None` if it is none: a directory, or outside of what the configuration
/// names.
pub fn path_to_store(exchange: &Exchange, path: Option<&Template>) -> Option<PathBuf> {
    let mut scratch = Scratch::default();
    match path {
        Some(path) => {
            variables::expand(path, exchange, &mut scratch.path);
            let is_file = scratch.path.starts_with(b"/")
                && !scratch.path.contains(&0)
                && !climbs(path, &scratch.path);
            is_file.then_some(())?;
        }
        None => {
            map(exchange, &mut scratch).ok()?;
        }
    }
    let is_directory = matches!(
        scratch.path.rsplit(|&byte| byte == b'/').next(),
        Some(b"" | b"." | b"..")
    );
    (!is_directory).then(|| PathBuf::from(OsString::from_vec(scratch.path)))
}

/// Begins the path with `root` or `alias`; returned are its length and what goes behind it.
fn map_root<'a>(
    exchange: &'a Exchange,
    scratch: &mut Scratch,
) -> Result<(usize, &'a [u8]), FileError> {
    let settings = &*exchange.settings;
    scratch.path.clear();
    let (root, behind): (_, &[u8]) = match &settings.root {
        Root::Root(root) => (root, &exchange.path),
        Root::Alias(alias) if settings.is_regex => {
            let is_found = exchange.is_behind_alias;
            (alias, if is_found { &exchange.path } else { b"" })
        }
        Root::Alias(alias) => {
            let is_rewritten = settings.name.len() == settings.prefix_length
                && !exchange.path.starts_with(&settings.name);
            match exchange.path.get(settings.prefix_length..) {
                Some(behind) if !is_rewritten => (alias, behind),
                _ => {
                    scratch.path.extend_from_slice(&settings.name);
                    scratch.report(Level::Alert, Event::RewrittenAlias, None);
                    return Err(FileError::Internal);
                }
            }
        }
    };
    variables::expand(root, exchange, &mut scratch.path);
    if climbs(root, &scratch.path) {
        scratch.report(Level::Error, Event::LeavesRoot, None);
        return Err(FileError::NotFound);
    }
    Ok((scratch.path.len(), behind))
}

/// Did a variable bring a `..` into `root`? What the configuration itself says is believed.
fn climbs(root: &Template, value: &[u8]) -> bool {
    root.literal().is_none()
        && has_parent_segment(value)
        && !(root.parts().iter()).any(
            |part| matches!(part, Part::Text(text) if memchr::memmem::find(text, b"..").is_some()),
        )
}

/// Does a path stay below its first `root` bytes? Paths of requests are normalised, but a rewrite may
/// put any text into them, and `location /a { alias /b/; }` makes `/b/../c` of `/a../c`. A `root`
/// ends where a segment does, so that it is not left sideways either.
fn is_inside(path: &[u8], root: usize, is_alias: bool) -> bool {
    let behind = path.get(root..).unwrap_or_default();
    path.starts_with(b"/")
        && (is_alias || behind.starts_with(b"/"))
        && !has_parent_segment(behind)
        && !path.contains(&0)
}

fn has_parent_segment(path: &[u8]) -> bool {
    path.windows(2).any(|pair| pair == b"..")
        && path.split(|&byte| byte == b'/').any(|part| part == b"..")
}

/// Which links may be followed to this path (nginx `ngx_http_set_disable_symlinks`).
fn links(exchange: &Exchange, path: &[u8]) -> Links {
    let (from, of_owner) = match &exchange.settings.disable_symlinks {
        DisableSymlinks::Off => return Links::Followed,
        DisableSymlinks::On { from } => (from, false),
        DisableSymlinks::IfNotOwner { from } => (from, true),
    };
    let mut trusted = 0;
    if let Some(from) = from {
        let mut scratch = Vec::new();
        let from = variables::value_of(from, exchange, &mut scratch);
        if let Some(rest) = path.strip_prefix(from)
            && !from.is_empty()
        {
            match rest {
                [] => return Links::Followed,
                [b'/', ..] => trusted = from.len(),
                _ if from.ends_with(b"/") => trusted = from.len() - 1,
                _ => {}
            }
        }
    }
    if of_owner {
        Links::OfOwner { from: trusted }
    } else {
        Links::Refused { from: trusted }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use nix::sys::stat::Mode;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::conf::typed::filters::{Beside, Filters};
    use crate::conf::typed::location::{Settings, Types};
    use crate::http::fixture::{self, template};

    /// Sun, 06 Nov 1994 08:49:37 GMT, or 2ebc98a1.
    const MODIFIED: u64 = 784_111_777;

    /// A directory to serve: files, an index, a directory without one, links and a FIFO.
    fn site() -> TempDir {
        let site = tempfile::tempdir().expect("a temporary directory");
        let path = site.path();
        for directory in ["site", "site/with", "site/without", "site/with space"] {
            std::fs::create_dir(path.join(directory)).expect("a directory");
        }
        for (name, content) in [
            ("secret.txt", "secret"),
            ("site/a.txt", "content of a"),
            ("site/empty.html", ""),
            ("site/with/index.html", "index"),
            ("site/without/b", "b"),
        ] {
            let path = path.join(name);
            std::fs::write(&path, content).expect("a file");
            let file = File::options().write(true).open(&path).expect("a file");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED))
                .expect("a time can be set");
        }
        std::fs::write(path.join("site/large"), vec![7; 100_000]).expect("a file");
        symlink("a.txt", path.join("site/link")).expect("a link");
        nix::unistd::mkfifo(&path.join("site/fifo"), Mode::S_IRUSR).expect("a FIFO");
        site
    }

    fn settings(site: &TempDir) -> Settings {
        let mut settings = fixture::settings();
        settings.root = Root::Root(below(site, "site"));
        settings.types = Arc::new(Types {
            by_extension: [((*b"html").into(), Arc::from(*b"text/html"))].into(),
        });
        settings
    }

    fn below(site: &TempDir, path: &str) -> Template {
        template(site.path().join(path).to_str().expect("UTF-8"))
    }

    /// A request and what it came to; reports have `SITE` for the directory.
    struct Asked {
        exchange: Exchange,
        outcome: Result<Answer, FileError>,
        reports: Vec<String>,
    }

    fn reports(site: &Path, scratch: Scratch) -> Vec<String> {
        let reports = scratch.reports.iter().map(|report| {
            let mut words = report.level.name().as_bytes().to_vec();
            words.push(b' ');
            report.write(&mut words);
            let words = String::from_utf8(words).expect("UTF-8");
            words.replace(site.to_str().expect("UTF-8"), "SITE")
        });
        reports.collect()
    }

    fn ask(site: &TempDir, mut exchange: Exchange) -> Asked {
        let mut scratch = Scratch::default();
        let outcome = match answer(&mut exchange, &mut scratch) {
            Answer::Error(error) => Err(error),
            answer => Ok(answer),
        };
        Asked {
            exchange,
            outcome,
            reports: reports(site.path(), scratch),
        }
    }

    fn get(site: &TempDir, target: &str) -> Asked {
        ask(site, fixture::exchange(settings(site), target, &[]))
    }

    impl Asked {
        fn error(&self) -> FileError {
            *self.outcome.as_ref().expect_err("an error")
        }

        fn content(&self) -> &Content {
            match &self.outcome {
                Ok(Answer::Content(content)) => content,
                other => panic!("{other:?}"),
            }
        }

        fn text(&self) -> &str {
            match &self.content().body {
                Body::Bytes(bytes) => std::str::from_utf8(bytes).expect("UTF-8"),
                other => panic!("{other:?}"),
            }
        }

        fn redirect(&self) -> &str {
            match &self.outcome {
                Ok(Answer::Redirect { location }) => std::str::from_utf8(location).expect("UTF-8"),
                other => panic!("{other:?}"),
            }
        }

        fn inside(&self) -> (&str, &str) {
            assert!(matches!(self.outcome, Ok(Answer::InternalRedirect)));
            let text = |bytes| std::str::from_utf8(bytes).expect("UTF-8");
            (text(&self.exchange.path), text(&self.exchange.args))
        }
    }

    #[test]
    fn a_small_file_is_read_and_described() {
        let asked = get(&site(), "/a.txt");
        assert_eq!(asked.text(), "content of a");
        assert_eq!(asked.content().modified, Some(MODIFIED as i64));
        assert!(asked.content().allows_ranges);
        assert_eq!(asked.exchange.status, 200);
        assert_eq!(asked.exchange.answer_length, Some(12));
        assert_eq!(
            fixture::answer(&asked.exchange),
            "Content-Type: text/plain\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n\
             ETag: \"2ebc98a1-c\"\n"
        );
        assert_eq!(asked.reports, [""; 0]);
    }

    #[test]
    fn a_large_file_is_left_to_be_read_while_sending() {
        let asked = get(&site(), "/large");
        let Body::File(file) = &asked.content().body else {
            panic!("{:?}", asked.content().body);
        };
        assert_eq!(file.parts.len(), 1);
        assert_eq!(file.parts[0].range, 0..100_000);
        assert_eq!(asked.exchange.answer_length, Some(100_000));
    }

    #[test]
    fn a_head_request_is_told_what_a_get_would_be() {
        let site = site();
        for path in ["/a.txt", "/large"] {
            let got = get(&site, path);
            let mut exchange = fixture::exchange(settings(&site), path, &[]);
            exchange.method = Method::Head;
            let asked = ask(&site, exchange);
            assert!(matches!(asked.content().body, Body::Empty));
            assert_eq!(asked.exchange.answer_length, got.exchange.answer_length);
            assert_eq!(
                fixture::answer(&asked.exchange),
                fixture::answer(&got.exchange)
            );
        }
    }

    #[test]
    fn an_empty_file_has_a_type_and_a_length() {
        let asked = get(&site(), "/empty.html");
        assert!(matches!(asked.content().body, Body::Empty));
        assert_eq!(asked.exchange.answer_length, Some(0));
        let media_type = asked.exchange.answer.known(Known::ContentType);
        assert_eq!(media_type, Some(&b"text/html"[..]));
    }

    #[test]
    fn conditions_are_asked_of_the_file() {
        let site = site();
        let with = |name, value| {
            let exchange = fixture::exchange(settings(&site), "/a.txt", &[(name, value)]);
            ask(&site, exchange)
        };
        let asked = with("If-None-Match", "\"2ebc98a1-c\"");
        assert_eq!(asked.exchange.status, 304);
        assert_eq!(asked.exchange.answer_length, None);
        assert!(matches!(asked.content().body, Body::Empty));
        assert!(!asked.content().allows_ranges);
        assert_eq!(
            fixture::answer(&asked.exchange),
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nETag: \"2ebc98a1-c\"\n"
        );
        assert_eq!(
            with("If-Match", "\"x\"").error(),
            FileError::PreconditionFailed
        );
    }

    #[test]
    fn the_file_of_an_error_page_has_the_status_of_the_error() {
        let site = site();
        let mut exchange = fixture::exchange(settings(&site), "/a.txt", &[("If-None-Match", "*")]);
        exchange.error_status = 404;
        let asked = ask(&site, exchange);
        assert_eq!(asked.exchange.status, 404);
        assert!(!asked.content().allows_ranges);
        assert_eq!(asked.text(), "content of a");
        assert_eq!(
            fixture::answer(&asked.exchange),
            "Content-Type: text/plain\nETag: \"2ebc98a1-c\"\n"
        );
    }

    #[test]
    fn an_entity_tag_can_be_switched_off() {
        let site = site();
        let mut settings = settings(&site);
        settings.etag = false;
        let asked = ask(&site, fixture::exchange(settings, "/a.txt", &[]));
        assert!(!asked.exchange.answer.has(Known::Etag));
    }

    #[test]
    fn what_is_not_there_is_told_in_the_words_of_nginx() {
        let site = site();
        let asked = get(&site, "/nothing");
        assert_eq!(asked.error(), FileError::NotFound);
        assert_eq!(
            asked.reports,
            ["error open() \"SITE/site/nothing\" failed (2: No such file or directory)"]
        );
        let asked = get(&site, "/a.txt/x");
        assert_eq!(asked.error(), FileError::NotFound);
        assert_eq!(
            asked.reports,
            ["error open() \"SITE/site/a.txt/x\" failed (20: Not a directory)"]
        );
        let long = format!("/{}", "n".repeat(300));
        assert_eq!(get(&site, &long).error(), FileError::NotFound);
        let mut settings = settings(&site);
        settings.log_not_found = false;
        let asked = ask(&site, fixture::exchange(settings, "/nothing", &[]));
        assert_eq!(asked.reports, [""; 0]);
    }

    #[test]
    fn a_special_file_is_not_found() {
        let asked = get(&site(), "/fifo");
        assert_eq!(asked.error(), FileError::NotFound);
        assert_eq!(
            asked.reports,
            ["crit \"SITE/site/fifo\" is not a regular file"]
        );
    }

    #[test]
    fn other_methods_than_get_and_head_are_not_allowed() {
        let site = site();
        let with = |method, path| {
            let mut exchange = fixture::exchange(settings(&site), path, &[]);
            exchange.method = method;
            ask(&site, exchange)
        };
        assert_eq!(with(Method::Put, "/nothing").error(), FileError::NotAllowed);
        assert_eq!(with(Method::Put, "/with/").error(), FileError::NotAllowed);
        assert_eq!(with(Method::Post, "/a.txt").error(), FileError::NotAllowed);
        // As in nginx, POST finds out first what there is.
        assert_eq!(with(Method::Post, "/nothing").error(), FileError::NotFound);
        assert_eq!(with(Method::Post, "/with/").inside().0, "/with/index.html");
        assert_eq!(
            with(Method::Post, "/without/").error(),
            FileError::Forbidden
        );
    }

    #[test]
    fn a_directory_is_asked_for_with_a_slash() {
        let site = site();
        assert_eq!(get(&site, "/with").redirect(), "/with/");
        assert_eq!(get(&site, "/with?a=b").redirect(), "/with/?a=b");
        assert_eq!(get(&site, "/with space").redirect(), "/with%20space/");
    }

    #[test]
    fn the_index_of_a_directory_is_found() {
        let site = site();
        let asked = get(&site, "/with/?a=b");
        assert_eq!(asked.inside(), ("/with/index.html", "a=b"));
        assert!(!asked.exchange.path_is_original);
    }

    #[test]
    fn a_directory_without_an_index_is_forbidden() {
        let asked = get(&site(), "/without/");
        assert_eq!(asked.error(), FileError::Forbidden);
        assert_eq!(
            asked.reports,
            ["error directory index of \"SITE/site/without/\" is forbidden"]
        );
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_index() {
        let site = site();
        let asked = get(&site, "/nothing/");
        assert_eq!(asked.error(), FileError::NotFound);
        assert_eq!(
            asked.reports,
            ["error \"SITE/site/nothing/index.html\" is not found (2: No such file or directory)"]
        );
        let asked = get(&site, "/a.txt/");
        assert_eq!(asked.error(), FileError::NotFound);
        assert_eq!(
            asked.reports,
            ["error \"SITE/site/a.txt/index.html\" is not found (20: Not a directory)"]
        );
    }

    #[test]
    fn an_index_may_be_absolute_or_hold_variables() {
        let site = site();
        let with = |target, index: &[&str]| {
            let mut settings = settings(&site);
            settings.index = index.iter().map(|name| template(name)).collect();
            ask(&site, fixture::exchange(settings, target, &[]))
        };
        let path = |asked: &Asked| asked.inside().0.to_owned();
        assert_eq!(path(&with("/without/", &["x", "/a.txt"])), "/a.txt");
        assert_eq!(path(&with("/without/?i=b", &["$arg_i"])), "/without/b");
        assert_eq!(path(&with("/without/?i=/b", &["x", "$arg_i"])), "/b");
        for target in ["/without/", "/without/?i=../a.txt", "/without/?i=c"] {
            let asked = with(target, &["$arg_i"]);
            assert_eq!(asked.error(), FileError::Forbidden, "{target}");
        }
    }

    #[test]
    fn an_alias_takes_the_place_of_the_locations_path() {
        let site = site();
        let with = |target, alias: &str, name: &str| {
            let mut settings = settings(&site);
            settings.root = Root::Alias(below(&site, alias));
            settings.name = name.as_bytes().into();
            settings.prefix_length = name.len();
            ask(&site, fixture::exchange(settings, target, &[]))
        };
        assert_eq!(with("/x/a.txt", "site/", "/x/").text(), "content of a");
        assert_eq!(
            with("/x/with/", "site/", "/x/").inside().0,
            "/x/with/index.html"
        );
        assert_eq!(with("/x/", "site/with", "/x").inside().0, "/x/index.html");
        assert_eq!(with("/x", "site", "/x").redirect(), "/x/");
        for rewritten in ["/y/a.txt", "/"] {
            let asked = with(rewritten, "site/", "/x/");
            assert_eq!(asked.error(), FileError::Internal);
            assert_eq!(
                asked.reports,
                ["alert \"alias\" cannot be used in location \"/x/\" where URI was rewritten"]
            );
        }
    }

    #[test]
    fn the_alias_of_a_regular_expression_is_the_whole_path() {
        let site = site();
        let mut settings = settings(&site);
        settings.is_regex = true;
        settings.root = Root::Alias(below(&site, "site/$arg_f"));
        let asked = ask(&site, fixture::exchange(settings, "/x?f=a.txt", &[]));
        assert_eq!(asked.text(), "content of a");
    }

    #[test]
    fn no_path_leads_out_of_the_root() {
        let site = site();
        for path in [
            "/../secret.txt",
            "/with/../../secret.txt",
            "/..",
            "/with/..",
            "/../",
            "/a.txt\0",
            "../secret.txt",
            "/../site/a.txt",
        ] {
            let asked = get(&site, path);
            assert_eq!(asked.error(), FileError::NotFound, "{path}");
            assert!(asked.reports[0].ends_with("leaves the root"), "{path}");
        }
        // `location /x { alias site/; }` and a request for `/x../secret.txt`.
        let mut by_alias = settings(&site);
        by_alias.root = Root::Alias(template(&format!("{}/site/", site.path().display())));
        by_alias.name = (*b"/x").into();
        by_alias.prefix_length = 2;
        let asked = ask(&site, fixture::exchange(by_alias, "/x../secret.txt", &[]));
        assert_eq!(asked.error(), FileError::NotFound);
        // A root does not end in the middle of a name.
        let mut beside = settings(&site);
        beside.root = Root::Root(below(&site, "sec"));
        let asked = ask(&site, fixture::exchange(beside, "ret.txt", &[]));
        assert_eq!(asked.error(), FileError::NotFound);
        // A variable does not bring one in; the configuration may.
        let mut by_variable = settings(&site);
        by_variable.root = Root::Root(below(&site, "site/$arg_d"));
        let asked = ask(
            &site,
            fixture::exchange(by_variable, "/secret.txt?d=..", &[]),
        );
        assert_eq!(asked.error(), FileError::NotFound);
        let mut by_configuration = settings(&site);
        by_configuration.root = Root::Root(below(&site, "site/$arg_d/../.."));
        let target = "/secret.txt?d=with";
        let asked = ask(&site, fixture::exchange(by_configuration, target, &[]));
        assert_eq!(asked.text(), "secret");
    }

    proptest! {
        #[test]
        fn no_combination_of_segments_reaches_what_is_beside_the_root(
            mut segments in prop::collection::vec(
                prop::sample::select(vec!["..", "with", "", ".", "..."]),
                0..4,
            ),
            begins_with_slash: bool,
            alias in prop::sample::select(vec![None, Some(""), Some("/"), Some("/with"), Some("/with/")]),
            name in prop::sample::select(vec!["/", "/x", "/x/"]),
            is_tried: bool,
        ) {
            let site = site();
            let mut settings = settings(&site);
            if let Some(alias) = alias {
                let alias = format!("{}/site{alias}", site.path().display());
                settings.root = Root::Alias(template(&alias));
                settings.name = name.as_bytes().into();
                settings.prefix_length = name.len();
            }
            segments.push("secret.txt");
            let path = segments.join("/");
            let path = match alias {
                Some(_) => format!("{name}{path}"),
                None if begins_with_slash => format!("/{path}"),
                None => path,
            };
            let mut exchange = fixture::exchange(settings, &path, &[]);
            if is_tried {
                let rules = rules(&["$uri", "$arg_f$uri"], Fallback::Status(404));
                try_files(&mut exchange, &rules, &mut Scratch::default());
            }
            let asked = ask(&site, exchange);
            if let Ok(Answer::Content(Content { body: Body::Bytes(bytes), .. })) = &asked.outcome {
                prop_assert_ne!(&bytes[..], b"secret");
            }
        }
    }

    #[test]
    fn names_with_dots_are_names() {
        let site = site();
        std::fs::write(site.path().join("site/..a"), "dots").expect("a file");
        std::fs::write(site.path().join("site/a..b"), "dots").expect("a file");
        assert_eq!(get(&site, "/..a").text(), "dots");
        assert_eq!(get(&site, "/a..b").text(), "dots");
    }

    #[test]
    fn links_can_be_refused() {
        let site = site();
        let with = |links, path| {
            let mut settings = settings(&site);
            settings.disable_symlinks = links;
            ask(&site, fixture::exchange(settings, path, &[]))
        };
        let from = || Some(below(&site, ""));
        let asked = with(DisableSymlinks::On { from: from() }, "/link");
        assert_eq!(asked.error(), FileError::Forbidden);
        assert_eq!(
            asked.reports,
            ["error openat() \"SITE/site/link\" failed (40: Too many levels of symbolic links)"]
        );
        let on = || DisableSymlinks::On { from: from() };
        assert_eq!(with(on(), "/a.txt").text(), "content of a");
        assert_eq!(with(on(), "/with/").inside().0, "/with/index.html");
        let of_owner = DisableSymlinks::IfNotOwner { from: from() };
        assert_eq!(with(of_owner, "/link").text(), "content of a");
        let elsewhere = DisableSymlinks::On {
            from: Some(below(&site, "site/link")),
        };
        assert_eq!(with(elsewhere, "/link").text(), "content of a");
        assert_eq!(with(DisableSymlinks::Off, "/link").text(), "content of a");
    }

    #[test]
    fn a_file_that_shrinks_after_it_was_looked_at_is_sent_as_far_as_it_goes() {
        let file = tempfile::tempfile().expect("a temporary file");
        std::os::unix::fs::FileExt::write_all_at(&file, b"12345", 0).expect("room");
        assert_eq!(read(&file, 9).expect("readable"), b"12345");
    }

    fn rules(candidates: &[&str], fallback: Fallback) -> TryFiles {
        let candidates = candidates.iter().map(|text| {
            let (text, wants_directory) = match text.strip_suffix('/') {
                Some(text) => (text, true),
                None => (*text, false),
            };
            (template(text), wants_directory)
        });
        TryFiles {
            candidates: candidates.collect(),
            fallback,
        }
    }

    fn tried(
        site: &TempDir,
        settings: Settings,
        target: &str,
        rules: &TryFiles,
    ) -> (String, String, String) {
        let mut exchange = fixture::exchange(settings, target, &[]);
        let mut scratch = Scratch::default();
        let outcome = format!("{:?}", try_files(&mut exchange, rules, &mut scratch));
        assert_eq!(reports(site.path(), scratch), [""; 0]);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (outcome, text(exchange.path), text(exchange.args))
    }

    fn triple(outcome: &str, path: &str, args: &str) -> (String, String, String) {
        (outcome.to_owned(), path.to_owned(), args.to_owned())
    }

    #[test]
    fn the_first_candidate_that_is_there_is_taken() {
        let site = site();
        let rules = rules(&["$uri", "$uri/", "/a.txt"], Fallback::Status(404));
        let try_at = |target| tried(&site, settings(&site), target, &rules);
        assert_eq!(try_at("/large?q"), triple("Found", "/large", "q"));
        assert_eq!(try_at("/with"), triple("Found", "/with", ""));
        assert_eq!(try_at("/with/"), triple("Found", "/with/", ""));
        assert_eq!(try_at("/nothing"), triple("Found", "/a.txt", ""));
        assert_eq!(try_at("/../secret.txt"), triple("Found", "/a.txt", ""));
    }

    #[test]
    fn a_file_is_no_directory_and_the_other_way_round() {
        let site = site();
        let rules = rules(&["/with", "/a.txt/"], Fallback::Status(444));
        let outcome = tried(&site, settings(&site), "/x", &rules);
        assert_eq!(outcome, triple("Status(444)", "/x", ""));
    }

    #[test]
    fn without_a_candidate_the_fallback_is_taken() {
        let site = site();
        let fall_back = |fallback| {
            let rules = rules(&["$uri"], fallback);
            tried(&site, settings(&site), "/x?a=b", &rules)
        };
        assert_eq!(
            fall_back(Fallback::Named("app".into())),
            triple("Named(\"app\")", "/x", "a=b")
        );
        assert_eq!(
            fall_back(Fallback::Uri(template("/i.php?p=$uri&$args"))),
            triple("InternalRedirect", "/i.php", "p=/x&a=b")
        );
        assert_eq!(
            fall_back(Fallback::Uri(template("/i.html"))),
            triple("InternalRedirect", "/i.html", "")
        );
    }

    #[test]
    fn with_an_alias_candidates_are_tried_behind_it() {
        let site = site();
        let with = |target, candidates: &[&str]| {
            let mut settings = settings(&site);
            settings.root = Root::Alias(template(&format!("{}/site/", site.path().display())));
            settings.name = (*b"/x/").into();
            settings.prefix_length = 3;
            tried(
                &site,
                settings,
                target,
                &rules(candidates, Fallback::Status(404)),
            )
        };
        assert_eq!(with("/x/a.txt", &["$uri"]), triple("Found", "/x/a.txt", ""));
        assert_eq!(
            with("/x/with/", &["$uri/"]),
            triple("Found", "/x/with/", "")
        );
        assert_eq!(with("/x/q", &["a.txt"]), triple("Found", "/x/a.txt", ""));
        assert_eq!(
            with("/x/q", &["../secret.txt"]),
            triple("Status(404)", "/x/q", "")
        );
    }

    #[test]
    fn behind_the_alias_of_a_regular_expression_the_candidate_is_remembered() {
        let site = site();
        let mut settings = settings(&site);
        settings.is_regex = true;
        settings.root = Root::Alias(below(&site, "site"));
        let rules = rules(&["/$arg_f"], Fallback::Status(404));
        let mut exchange = fixture::exchange(settings, "/x?f=a.txt", &[]);
        let mut scratch = Scratch::default();
        assert_eq!(
            try_files(&mut exchange, &rules, &mut scratch),
            TryOutcome::Found
        );
        let mut name = Vec::new();
        variables::request_filename(&exchange, &mut name);
        assert!(name.ends_with(b"/site/a.txt"));
        assert_eq!(ask(&site, exchange).text(), "content of a");
    }

    #[test]
    fn a_compressed_file_beside_the_plain_one_goes_to_those_who_take_it() {
        use Precompressed::{Always, Off, On};
        let site = site();
        for (ending, text) in [("gz", "gzip"), ("br", "brotli")] {
            let path = format!("site/a.txt.{ending}");
            std::fs::write(site.path().join(path), text).expect("a file");
        }
        let ask = |gzip, brotli, path: &str, fields: &[(&str, &str)]| {
            let mut settings = settings(&site);
            settings.filters = Some(Arc::new(Filters {
                beside: Beside {
                    gzip,
                    brotli,
                    zstd: On,
                },
                ..crate::conf::typed::lower::fixture::filters()
            }));
            let mut exchange = fixture::exchange(settings, path, fields);
            let outcome = answer(&mut exchange, &mut Scratch::default());
            let Answer::Content(content) = outcome else {
                panic!("{path} is there: {outcome:?}")
            };
            let Body::Bytes(bytes) = content.body else {
                panic!("{path} is small")
            };
            assert_eq!(
                content.allows_ranges,
                !exchange.answer.has(Known::ContentEncoding)
            );
            assert!(exchange.answer.has(Known::Vary));
            String::from_utf8(bytes).expect("text")
        };
        let takes = |value| [("Accept-Encoding", value)];
        for (value, expected) in [
            ("br;q=0.1, gzip;q=0.5", "gzip"),
            ("br, gzip", "brotli"),
            ("zstd, gzip;q=0.1", "gzip"),
            ("*", "brotli"),
            ("gzip;q=0", "content of a"),
            ("gzip;q=0.5, identity", "content of a"),
        ] {
            assert_eq!(ask(On, On, "/a.txt", &takes(value)), expected, "{value}");
        }
        assert_eq!(ask(On, On, "/a.txt", &[]), "content of a");
        let through_a_proxy = [("Accept-Encoding", "gzip"), ("Via", "1.1 x")];
        assert_eq!(ask(On, On, "/a.txt", &through_a_proxy), "content of a");
        assert_eq!(ask(On, Off, "/a.txt", &takes("br")), "content of a");
        assert_eq!(ask(On, On, "/with/index.html", &takes("gzip")), "index");
        assert_eq!(ask(Always, Off, "/a.txt", &[]), "gzip");
    }
}
