//! Listings of directories, byte for byte as nginx's `ngx_http_autoindex_module` writes them.
//!
//! Owns the reading of the directory and the four formats. Names are bytes: no charset is assumed.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;

use nix::errno::Errno;

use super::report::{Event, Report};
use super::serve::{Answer, Content, FileError, Scratch};
use crate::conf::typed::location::{Autoindex, AutoindexFormat};
use crate::conf::typed::log::Level;
use crate::http::body::Body;
use crate::http::date;
use crate::http::exchange::Exchange;
use crate::http::h1::write::push_decimal;
use crate::http::head::{Known, Method};
use crate::http::uri::{self, Escape};
use crate::unit::clock;

/// Lists the directory that the scratch path names.
pub(super) fn list(exchange: &mut Exchange, scratch: &mut Scratch) -> Answer {
    let Some(settings) = exchange.settings.autoindex.clone() else {
        return Answer::Error(FileError::Forbidden);
    };
    let mut format = settings.format;
    let mut callback = Vec::new();
    if format == AutoindexFormat::Jsonp {
        match read_callback(&exchange.args) {
            Ok([]) => format = AutoindexFormat::Json,
            Ok(name) => callback.extend_from_slice(name),
            Err(report) => {
                scratch.reports.push(report);
                return Answer::Error(FileError::BadRequest);
            }
        }
    }
    if scratch.path.len() > 1 && scratch.path.ends_with(b"/") {
        scratch.path.pop();
    }
    let entries = match read(exchange, scratch) {
        Ok(entries) => entries,
        Err(error) => return Answer::Error(error),
    };
    exchange.status = match exchange.error_status {
        0 => 200,
        status => status,
    };
    let media_type: &[u8] = match format {
        AutoindexFormat::Html => b"text/html",
        AutoindexFormat::Xml => b"text/xml; charset=utf-8",
        AutoindexFormat::Json => b"application/json",
        AutoindexFormat::Jsonp => b"application/javascript",
    };
    exchange
        .answer
        .push_known(Some(Known::ContentType), b"Content-Type", media_type);
    let body = entries.map(|entries| {
        let mut out = Vec::new();
        match format {
            AutoindexFormat::Html => write_html(&mut out, &exchange.path, &entries, &settings),
            AutoindexFormat::Xml => write_xml(&mut out, &entries),
            AutoindexFormat::Json | AutoindexFormat::Jsonp => {
                write_json(&mut out, &entries, &callback);
            }
        }
        out
    });
    exchange.answer_length = body.as_ref().map(|body| body.len() as u64);
    Answer::Content(Content {
        body: body.map_or(Body::Empty, Body::Bytes),
        modified: None,
        allows_ranges: false,
    })
}

/// One line of a listing.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    is_directory: bool,
    is_file: bool,
    modified: i64,
    size: u64,
}

impl Entry {
    fn new(name: Vec<u8>, metadata: &Metadata) -> Self {
        Self {
            name,
            is_directory: metadata.is_dir(),
            is_file: metadata.is_file(),
            modified: metadata.mtime(),
            size: metadata.len(),
        }
    }
}

/// The entries of the directory, in order; hidden ones are not told. For HEAD it is only tried to
/// open it, and there are none.
fn read(exchange: &Exchange, scratch: &mut Scratch) -> Result<Option<Vec<Entry>>, FileError> {
    let directory = match std::fs::read_dir(OsStr::from_bytes(&scratch.path)) {
        Ok(directory) => directory,
        Err(error) => {
            let error = error.raw_os_error().map(Errno::from_raw);
            let (level, kind) = match error {
                Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => {
                    (Level::Error, FileError::NotFound)
                }
                Some(Errno::EACCES) => (Level::Error, FileError::Forbidden),
                _ => (Level::Crit, FileError::Internal),
            };
            scratch.report(level, Event::Failed("opendir()"), error);
            return Err(kind);
        }
    };
    if exchange.method == Method::Head {
        return Ok(None);
    }
    let mut entries = Vec::new();
    for entry in directory {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let error = error.raw_os_error().map(Errno::from_raw);
                scratch.report(Level::Crit, Event::Failed("readdir()"), error);
                return Err(FileError::Internal);
            }
        };
        let name = entry.file_name().into_vec();
        if name.starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let mut call = "stat()";
        let mut metadata = std::fs::metadata(&path);
        // A link that leads nowhere is listed as itself.
        if let Err(error) = &metadata
            && let Some(Errno::ENOENT | Errno::ELOOP) = error.raw_os_error().map(Errno::from_raw)
        {
            call = "lstat()";
            metadata = std::fs::symlink_metadata(&path);
        }
        match metadata {
            Ok(metadata) => entries.push(Entry::new(name, &metadata)),
            Err(error) => {
                let error = error.raw_os_error().map(Errno::from_raw);
                scratch.reports.push(Report {
                    level: Level::Crit,
                    event: Event::Failed(call),
                    subject: path.into_os_string().into_vec(),
                    error,
                });
                if error != Some(Errno::EACCES) {
                    return Err(FileError::Internal);
                }
            }
        }
    }
    entries.sort_unstable_by(|left, right| {
        (right.is_directory.cmp(&left.is_directory)).then_with(|| left.name.cmp(&right.name))
    });
    Ok(Some(entries))
}

/// The name of the function that a JSONP listing calls; empty if none is asked for.
fn read_callback(args: &[u8]) -> Result<&[u8], Report> {
    let name = uri::argument(args, b"callback").unwrap_or_default();
    let is_long = name.len() > 128;
    let is_name =
        (name.iter()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    if !is_long && is_name {
        return Ok(name);
    }
    Err(Report {
        level: Level::Info,
        event: if is_long {
            Event::LongCallback
        } else {
            Event::InvalidCallback
        },
        subject: name.to_vec(),
        error: None,
    })
}

/// Columns for a name, and how much of a longer one is told.
const COLUMNS: usize = 50;
const CUT: usize = COLUMNS - 3;

fn write_html(out: &mut Vec<u8>, path: &[u8], entries: &[Entry], settings: &Autoindex) {
    let offset = match settings.local_time {
        true => date::local_offset(clock::unix().as_secs() as i64),
        false => 0,
    };
    out.extend_from_slice(b"<html>\r\n<head><title>Index of ");
    uri::push_html(out, path);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    uri::push_html(out, path);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        out.extend_from_slice(b"<a href=\"");
        uri::push_escaped(out, &entry.name, Escape::Component);
        if entry.is_directory {
            out.push(b'/');
        }
        out.extend_from_slice(b"\">");
        if entry.name.len() > COLUMNS {
            uri::push_html(out, &entry.name[..CUT]);
            out.extend_from_slice(b"..&gt;</a>");
        } else {
            uri::push_html(out, &entry.name);
            let mut spaces = COLUMNS - entry.name.len();
            if entry.is_directory && spaces > 0 {
                out.push(b'/');
                spaces -= 1;
            }
            out.extend_from_slice(b"</a>");
            out.resize(out.len() + spaces, b' ');
        }
        // `06/Nov/1994:08:49:37 +0000` has all that `06-Nov-1994 08:49` needs.
        let time = date::local(entry.modified, offset);
        out.push(b' ');
        out.extend_from_slice(&time[..2]);
        out.push(b'-');
        out.extend_from_slice(&time[3..6]);
        out.push(b'-');
        out.extend_from_slice(&time[7..11]);
        out.push(b' ');
        out.extend_from_slice(&time[12..17]);
        out.push(b' ');
        let mut size = Vec::new();
        let width = match (entry.is_directory, settings.exact_size) {
            (true, exact) => {
                size.push(b'-');
                if exact { 19 } else { 7 }
            }
            (false, true) => {
                push_decimal(&mut size, entry.size);
                19
            }
            (false, false) => {
                push_rounded(&mut size, entry.size);
                7
            }
        };
        out.resize(out.len() + usize::saturating_sub(width, size.len()), b' ');
        out.extend_from_slice(&size);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
}

/// Appends a size rounded to the largest unit that leaves a number: `1536`, `10K`, `2G`.
fn push_rounded(out: &mut Vec<u8>, size: u64) {
    let (unit, letter) = match size {
        0..=9_999 => (1, None),
        10_000..0x10_0000 => (1 << 10, Some(b'K')),
        0x10_0000..0x4000_0000 => (1 << 20, Some(b'M')),
        _ => (1 << 30, Some(b'G')),
    };
    let rounds_up = unit > 1 && size % unit >= unit / 2;
    push_decimal(out, size / unit + u64::from(rounds_up));
    out.extend(letter);
}

fn write_json(out: &mut Vec<u8>, entries: &[Entry], callback: &[u8]) {
    if !callback.is_empty() {
        out.extend_from_slice(b"/* callback */\r\n");
        out.extend_from_slice(callback);
        out.push(b'(');
    }
    out.push(b'[');
    for (position, entry) in entries.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"\r\n{ \"name\":\"");
        push_json(out, &entry.name);
        out.extend_from_slice(b"\", \"type\":\"");
        out.extend_from_slice(entry.kind().as_bytes());
        out.extend_from_slice(b"\", \"mtime\":\"");
        out.extend_from_slice(&date::http(entry.modified));
        out.push(b'"');
        if entry.is_file {
            out.extend_from_slice(b", \"size\":");
            push_decimal(out, entry.size);
        }
        out.extend_from_slice(b" }");
    }
    out.extend_from_slice(b"\r\n]");
    if !callback.is_empty() {
        out.extend_from_slice(b");");
    }
}

fn write_xml(out: &mut Vec<u8>, entries: &[Entry]) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\r\n<list>\r\n");
    for entry in entries {
        let kind = entry.kind().as_bytes();
        out.push(b'<');
        out.extend_from_slice(kind);
        out.extend_from_slice(b" mtime=\"");
        // `1994-11-06T08:49:37+00:00` without the zone.
        out.extend_from_slice(&date::iso8601(entry.modified, 0)[..19]);
        out.extend_from_slice(b"Z\"");
        if entry.is_file {
            out.extend_from_slice(b" size=\"");
            push_decimal(out, entry.size);
            out.push(b'"');
        }
        out.push(b'>');
        uri::push_html(out, &entry.name);
        out.extend_from_slice(b"</");
        out.extend_from_slice(kind);
        out.extend_from_slice(b">\r\n");
    }
    out.extend_from_slice(b"</list>\r\n");
}

impl Entry {
    fn kind(&self) -> &'static str {
        if self.is_directory {
            "directory"
        } else if self.is_file {
            "file"
        } else {
            "other"
        }
    }
}

/// Appends a text for a string of JSON (`ngx_escape_json`); bytes that are not UTF-8 stay as they are.
fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(b'0' + (byte >> 4));
                out.push(b"0123456789ABCDEF"[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use tempfile::TempDir;

    use super::*;
    use crate::conf::typed::location::Root;
    use crate::files::serve;
    use crate::http::fixture::{self, template};

    fn entry(name: &str, size: Option<u64>) -> Entry {
        Entry {
            name: name.as_bytes().into(),
            is_directory: size.is_none(),
            is_file: size.is_some(),
            modified: 784_111_777,
            size: size.unwrap_or(4096),
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn html_line(entry: Entry, exact_size: bool) -> String {
        let settings = Autoindex {
            exact_size,
            local_time: false,
            format: AutoindexFormat::Html,
        };
        let page = text(|out| write_html(out, b"/", &[entry], &settings));
        page.lines()
            .nth(4)
            .expect("a line for the entry")
            .to_owned()
    }

    #[test]
    fn the_page_is_that_of_nginx() {
        let settings = Autoindex {
            exact_size: true,
            local_time: false,
            format: AutoindexFormat::Html,
        };
        let entries = [entry("sub dir", None), entry("a&b.txt", Some(1536))];
        assert_eq!(
            text(|out| write_html(out, b"/x<y/", &entries, &settings)),
            "<html>\r\n<head><title>Index of /x&lt;y/</title></head>\r\n<body>\r\n\
             <h1>Index of /x&lt;y/</h1><hr><pre><a href=\"../\">../</a>\r\n\
             <a href=\"sub%20dir/\">sub dir/</a>                                           \
             06-Nov-1994 08:49                   -\r\n\
             <a href=\"a%26b.txt\">a&amp;b.txt</a>                                            \
             06-Nov-1994 08:49                1536\r\n\
             </pre><hr></body>\r\n</html>\r\n"
        );
    }

    #[test]
    fn long_names_are_cut_and_columns_kept() {
        let name = |length| "n".repeat(length);
        for (length, is_directory, shown, spaces) in [
            (49, false, format!("{}</a>", name(49)), 2),
            (49, true, format!("{}/</a>", name(49)), 1),
            (50, false, format!("{}</a>", name(50)), 1),
            (50, true, format!("{}</a>", name(50)), 1),
            (51, false, format!("{}..&gt;</a>", name(47)), 1),
            (51, true, format!("{}..&gt;</a>", name(47)), 1),
        ] {
            let size = (!is_directory).then_some(0);
            let line = html_line(entry(&name(length), size), true);
            let expected = format!(">{shown}{}06-Nov", " ".repeat(spaces));
            assert!(line.contains(&expected), "{line}");
        }
    }

    #[test]
    fn sizes_are_rounded_on_demand() {
        for (size, expected) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10K"),
            (10_240, "10K"),
            (10_752, "11K"),
            ((1 << 20) - 1, "1024K"),
            (1 << 20, "1M"),
            ((1 << 20) * 3 / 2, "2M"),
            ((1 << 30) - 1, "1024M"),
            (1 << 30, "1G"),
            (1_610_612_735, "1G"),
            (1_610_612_736, "2G"),
        ] {
            assert_eq!(text(|out| push_rounded(out, size)), expected, "{size}");
        }
        assert!(html_line(entry("a", Some(10_240)), false).ends_with("08:49     10K"));
        assert!(html_line(entry("a", Some(999)), false).ends_with("08:49     999"));
        assert!(html_line(entry("a", None), false).ends_with("08:49       -"));
    }

    #[test]
    fn json_and_xml_name_each_kind() {
        let mut other = entry("q\"\\\n\u{1f}é", Some(0));
        other.is_file = false;
        let entries = [entry("d", None), entry("f<", Some(7)), other];
        assert_eq!(
            text(|out| write_json(out, &entries, b"")),
            "[\r\n\
             { \"name\":\"d\", \"type\":\"directory\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\" },\r\n\
             { \"name\":\"f<\", \"type\":\"file\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\", \"size\":7 },\r\n\
             { \"name\":\"q\\\"\\\\\\n\\u001Fé\", \"type\":\"other\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\" }\r\n]"
        );
        assert_eq!(
            text(|out| write_xml(out, &entries[..2])),
            "<?xml version=\"1.0\"?>\r\n<list>\r\n\
             <directory mtime=\"1994-11-06T08:49:37Z\">d</directory>\r\n\
             <file mtime=\"1994-11-06T08:49:37Z\" size=\"7\">f&lt;</file>\r\n</list>\r\n"
        );
        assert_eq!(text(|out| write_json(out, &[], b"")), "[\r\n]");
        assert_eq!(
            text(|out| write_json(out, &[], b"a.b")),
            "/* callback */\r\na.b([\r\n]);"
        );
    }

    #[test]
    fn only_a_name_is_called_back() {
        assert_eq!(read_callback(b"x=1").expect("none"), b"");
        assert_eq!(read_callback(b"callback=").expect("none"), b"");
        assert_eq!(read_callback(b"callback=a.B_9").expect("a name"), b"a.B_9");
        let report = read_callback(b"callback=a-b").expect_err("not a name");
        assert_eq!(report.event, Event::InvalidCallback);
        let long = format!("callback={}", "a".repeat(129));
        let report = read_callback(long.as_bytes()).expect_err("too long");
        assert_eq!(report.event, Event::LongCallback);
    }

    fn site() -> TempDir {
        let site = tempfile::tempdir().expect("a temporary directory");
        for name in ["z.txt", "B.txt", ".hidden", "a.txt"] {
            std::fs::write(site.path().join(name), name).expect("a file");
        }
        std::fs::create_dir(site.path().join("sub")).expect("a directory");
        symlink("nowhere", site.path().join("dangling")).expect("a link");
        symlink("sub", site.path().join("way")).expect("a link");
        let file = std::fs::File::options()
            .write(true)
            .open(site.path().join("a.txt"))
            .expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
            .expect("a time can be set");
        site
    }

    fn listing(format: AutoindexFormat, target: &str, method: Method) -> (Exchange, Answer) {
        let site = site();
        let mut settings = fixture::settings();
        settings.root = Root::Root(template(site.path().to_str().expect("UTF-8")));
        settings.autoindex = Some(Autoindex {
            exact_size: true,
            local_time: false,
            format,
        });
        let mut exchange = fixture::exchange(settings, target, &[]);
        exchange.method = method;
        let answer = serve::answer(&mut exchange, &mut Scratch::default());
        (exchange, answer)
    }

    #[test]
    fn directories_come_first_hidden_files_never_and_links_as_what_they_lead_to() {
        let (exchange, answer) = listing(AutoindexFormat::Json, "/", Method::Get);
        let Answer::Content(content) = answer else {
            panic!("{answer:?}");
        };
        let Body::Bytes(body) = content.body else {
            panic!("no body");
        };
        assert!(!content.allows_ranges);
        assert_eq!(exchange.answer_length, Some(body.len() as u64));
        assert_eq!(
            fixture::answer(&exchange),
            "Content-Type: application/json\n"
        );
        let body = String::from_utf8(body).expect("UTF-8");
        let names: Vec<(&str, &str)> = (body.lines())
            .filter_map(|line| {
                let rest = line.strip_prefix("{ \"name\":\"")?;
                let (name, rest) = rest.split_once("\", \"type\":\"")?;
                Some((name, rest.split_once('"')?.0))
            })
            .collect();
        assert_eq!(
            names,
            [
                ("sub", "directory"),
                ("way", "directory"),
                ("B.txt", "file"),
                ("a.txt", "file"),
                ("dangling", "other"),
                ("z.txt", "file"),
            ]
        );
        let modified = "\"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\", \"size\":5 }";
        assert!(body.contains(modified));
    }

    #[test]
    fn a_head_request_is_told_the_type_alone() {
        let (exchange, answer) = listing(AutoindexFormat::Html, "/", Method::Head);
        assert!(matches!(&answer, Answer::Content(content) if matches!(content.body, Body::Empty)));
        assert_eq!(exchange.answer_length, None);
        assert_eq!(fixture::answer(&exchange), "Content-Type: text/html\n");
    }

    #[test]
    fn a_listing_calls_back_if_asked_to() {
        for (target, expected) in [
            ("/", "application/json"),
            ("/?callback=f", "application/javascript"),
        ] {
            let (exchange, _) = listing(AutoindexFormat::Jsonp, target, Method::Get);
            let media_type = exchange.answer.known(Known::ContentType);
            assert_eq!(media_type, Some(expected.as_bytes()), "{target}");
        }
        let (_, answer) = listing(AutoindexFormat::Jsonp, "/?callback=-", Method::Get);
        assert!(matches!(answer, Answer::Error(FileError::BadRequest)));
    }
}
