//! What the error log is told of files, in nginx's words.

use std::fmt::Write as _;

use nix::errno::Errno;

use crate::conf::typed::log::Level;

/// One line for the error log, without time, connection and request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// How bad it is.
    pub level: Level,
    /// What happened.
    pub event: Event,
    /// The path; for some events a location or an argument.
    pub subject: Vec<u8>,
    /// What the system said.
    pub error: Option<Errno>,
}

/// What happened to the subject of a [`Report`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// This call failed.
    Failed(&'static str),
    /// The index of a directory may not be read.
    Forbidden,
    /// The directory that an index is looked for in is not there.
    NotFound,
    /// A path that ends in a slash names something else.
    NotADirectory,
    /// A device, a FIFO or a socket.
    NotARegularFile,
    /// A directory without an index and without `autoindex`.
    DirectoryIndex,
    /// `alias` cannot be applied to a path that does not begin with the location.
    RewrittenAlias,
    /// A path that a request would lead out of `root` or `alias` by.
    LeavesRoot,
    /// `callback` of a JSONP listing has more than 128 bytes.
    LongCallback,
    /// `callback` of a JSONP listing is not a name.
    InvalidCallback,
}

impl Report {
    /// Appends the words.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (before, after) = match self.event {
            Event::Failed(call) => {
                out.extend_from_slice(call.as_bytes());
                (" \"", "\" failed")
            }
            Event::Forbidden => ("\"", "\" is forbidden"),
            Event::NotFound => ("\"", "\" is not found"),
            Event::NotADirectory => ("\"", "\" is not a directory"),
            Event::NotARegularFile => ("\"", "\" is not a regular file"),
            Event::DirectoryIndex => ("directory index of \"", "\" is forbidden"),
            Event::RewrittenAlias => (
                "\"alias\" cannot be used in location \"",
                "\" where URI was rewritten",
            ),
            Event::LeavesRoot => ("\"", "\" leaves the root"),
            Event::LongCallback => ("client sent too long callback name: \"", "\""),
            Event::InvalidCallback => ("client sent invalid callback name: \"", "\""),
        };
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(&self.subject);
        out.extend_from_slice(after.as_bytes());
        if let Some(error) = self.error {
            // The C library's words, as nginx has them; the standard library adds the number behind.
            let mut words = String::new();
            let number = error as i32;
            let _ = write!(words, "{}", std::io::Error::from_raw_os_error(number));
            let words = words.strip_suffix(&format!(" (os error {number})"));
            out.extend_from_slice(format!(" ({number}: {})", words.unwrap_or_default()).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: Event, error: Option<Errno>) -> String {
        let report = Report {
            level: Level::Error,
            event,
            subject: b"/srv/x".to_vec(),
            error,
        };
        let mut out = Vec::new();
        report.write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_report_has_the_words_of_nginx() {
        assert_eq!(
            written(Event::Failed("open()"), Some(Errno::ENOENT)),
            "open() \"/srv/x\" failed (2: No such file or directory)"
        );
        assert_eq!(
            written(Event::Failed("openat()"), Some(Errno::ELOOP)),
            "openat() \"/srv/x\" failed (40: Too many levels of symbolic links)"
        );
        assert_eq!(
            written(Event::NotFound, Some(Errno::ENOTDIR)),
            "\"/srv/x\" is not found (20: Not a directory)"
        );
        assert_eq!(
            written(Event::DirectoryIndex, None),
            "directory index of \"/srv/x\" is forbidden"
        );
    }
}
