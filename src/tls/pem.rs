//! PEM: certificates and keys as text (RFC 7468, with the header lines of RFC 1421).
//!
//! Owns finding the sections of a text and what is wrong with them, by line. Text around sections is
//! skipped, as OpenSSL does. Which sections mean what is decided by who asks.

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// One section: what stands between `-----BEGIN` and `-----END`.
pub struct Section<'a> {
    /// The word after `BEGIN`, as `CERTIFICATE`.
    pub label: &'a str,
    /// The header lines before the body, as `Proc-Type: 4,ENCRYPTED`.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub der: Zeroizing<Vec<u8>>,
    /// The line of its `BEGIN`, from 1.
    pub line: usize,
}

impl Section<'_> {
    /// The value of a header line.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }
}

/// What is wrong with a section, with its line from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The text ends within it.
    NoEnd {
        /// Where it begins.
        line: usize,
        /// What it is.
        label: String,
    },
    /// Its `END` names something else, or another one begins.
    WrongEnd {
        /// Where that stands.
        line: usize,
        /// What should end.
        label: String,
    },
    /// A character that base64 does not have.
    Character {
        /// Where.
        line: usize,
    },
    /// The body as a whole is no base64: something is missing from it.
    Body {
        /// Where the section begins.
        line: usize,
        /// What it is.
        label: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnd { line, label } => {
                write!(formatter, "the `{label}` of line {line} has no end")
            }
            Self::WrongEnd { line, label } => {
                write!(formatter, "line {line} stands where `{label}` should end")
            }
            Self::Character { line } => write!(formatter, "line {line} is not base64"),
            Self::Body { line, label } => {
                write!(formatter, "the `{label}` of line {line} is incomplete")
            }
        }
    }
}

/// The sections of a text, in order. After a fault comes nothing.
pub fn sections(text: &[u8]) -> Sections<'_> {
    Sections {
        rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
        line: 0,
    }
}

/// See [`sections`].
pub struct Sections<'a> {
    rest: &'a [u8],
    /// Of the line that was read last.
    line: usize,
}

impl<'a> Sections<'a> {
    /// The next line without its end (LF, CRLF or CR) and without space around it.
    fn line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let end = memchr::memchr2(b'\n', b'\r', self.rest);
        let (line, rest) = match end {
            Some(end) => {
                let (line, rest) = self.rest.split_at(end);
                let ending = if rest.starts_with(b"\r\n") { 2 } else { 1 };
                (line, &rest[ending..])
            }
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line.trim_ascii())
    }

    fn section(&mut self, label: &'a str) -> Result<Section<'a>, Fault> {
        let start = self.line;
        let mut headers: Vec<(&str, &str)> = Vec::new();
        let mut body = Zeroizing::new(Vec::new());
        loop {
            let Some(line) = self.line() else {
                return Err(Fault::NoEnd {
                    line: start,
                    label: label.to_owned(),
                });
            };
            if line.starts_with(b"-----") {
                if boundary(line, "-----END ") != Some(label) {
                    return Err(Fault::WrongEnd {
                        line: self.line,
                        label: label.to_owned(),
                    });
                }
                break;
            }
            if body.is_empty()
                && let Some((name, value)) = str::from_utf8(line)
                    .ok()
                    .and_then(|line| line.split_once(':'))
            {
                headers.push((name.trim_end(), value.trim_start()));
                continue;
            }
            if !line.iter().all(|byte| is_base64(*byte)) {
                return Err(Fault::Character { line: self.line });
            }
            body.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
        let der = BASE64.decode(&body).map_err(|_| Fault::Body {
            line: start,
            label: label.to_owned(),
        })?;
        Ok(Section {
            label,
            headers,
            der: Zeroizing::new(der),
            line: start,
        })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.line()?;
            if let Some(label) = boundary(line, "-----BEGIN ") {
                let section = self.section(label);
                if section.is_err() {
                    self.rest = &[];
                }
                return Some(section);
            }
        }
    }
}

/// The label of a line that begins or ends a section.
fn boundary<'a>(line: &'a [u8], start: &str) -> Option<&'a str> {
    str::from_utf8(line)
        .ok()?
        .strip_prefix(start)?
        .strip_suffix("-----")
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b' ' | b'\t')
}

/// A section as OpenSSL writes it: lines of 64 characters, the last one ended.
pub fn write(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A label, a body and a line.
    type Found = (String, Vec<u8>, usize);

    fn read(text: &str) -> Vec<Result<Found, Fault>> {
        sections(text.as_bytes())
            .map(|section| {
                section
                    .map(|section| (section.label.to_owned(), section.der.to_vec(), section.line))
            })
            .collect()
    }

    #[test]
    fn text_around_sections_is_skipped_and_lines_end_in_any_way() {
        let text = "\u{feff}subject=me\r\n-----BEGIN A-----\r\nAQ\r\nID\r\n-----END A-----\r\nmore\r\
            \r-----BEGIN B KEY-----\r  BAUG  \r-----END B KEY-----";
        assert_eq!(
            read(text),
            [
                Ok(("A".into(), vec![1, 2, 3], 2)),
                Ok(("B KEY".into(), vec![4, 5, 6], 8)),
            ]
        );
        assert!(read("no section at all").is_empty());
        assert_eq!(
            read("-----BEGIN A-----\n-----END A-----\n"),
            [Ok(("A".into(), vec![], 1))]
        );
    }

    #[test]
    fn headers_stand_before_the_body() {
        let text = "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAQID\n\
            -----END K-----\n";
        let section = sections(text.as_bytes())
            .next()
            .expect("a section")
            .expect("is well");
        assert_eq!(section.header("Proc-Type"), Some("4,ENCRYPTED"));
        assert_eq!(section.header("DEK-Info"), Some("AES-128-CBC,00"));
        assert_eq!(section.header("Other"), None);
        assert_eq!(*section.der, [1, 2, 3]);
    }

    #[test]
    fn faults_name_their_line_and_end_the_reading() {
        let label = || "A".to_owned();
        for (text, fault) in [
            (
                "\n-----BEGIN A-----\nAQID\n",
                Fault::NoEnd {
                    line: 2,
                    label: label(),
                },
            ),
            (
                "-----BEGIN A-----\nAQID\n-----END B-----\n",
                Fault::WrongEnd {
                    line: 3,
                    label: label(),
                },
            ),
            (
                "-----BEGIN A-----\nAQID\n-----BEGIN A-----\nAQID\n-----END A-----\n",
                Fault::WrongEnd {
                    line: 3,
                    label: label(),
                },
            ),
            (
                "-----BEGIN A-----\nAQID\nA?ID\n-----END A-----\n",
                Fault::Character { line: 3 },
            ),
            (
                "-----BEGIN A-----\nAQI\n-----END A-----\n",
                Fault::Body {
                    line: 1,
                    label: label(),
                },
            ),
        ] {
            assert_eq!(read(text), [Err(fault)], "{text}");
        }
    }

    #[test]
    fn what_is_written_has_the_form_of_openssl() {
        let file = include_bytes!("../../tests/data/certificates/v1.pem");
        let section = sections(file).next().expect("a section").expect("is well");
        assert_eq!(write("CERTIFICATE", &section.der).as_bytes(), &file[..]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(der: Vec<u8>, around in "[a-z\n]{0,9}") {
            let text = format!("{around}\n{}{around}", write("SOME THING", &der));
            let found = read(&text);
            prop_assert_eq!(found.len(), 1);
            let (label, read, _) = found[0].clone().expect("it is well");
            prop_assert_eq!(label, "SOME THING");
            prop_assert_eq!(read, der);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(-----|BEGIN |END |A|=|\n|\r|:|\\PC){0,40}") {
            let _ = read(&text);
        }
    }
}
