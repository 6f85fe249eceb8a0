//! Forms with parts (RFC 7578): where one field of them stands.
//!
//! A form goes on to a provider as it came, so what is found here must be what the provider will find.
//! Whatever two readers may take differently is refused: a delimiter in the middle of a line, a name
//! that stands twice, a name in another coding.

use std::fmt;
use std::ops::Range;

use memchr::memmem;

/// The longest head of one part, bytes.
const MAX_HEAD: usize = 8 << 10;

/// The most parts of one form.
const MAX_PARTS: usize = 1000;

/// The longest delimiter (RFC 2046 section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Why a form is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Where the value of a field stands in a form; `None` if it is not there.
///
/// # Errors
/// The form is malformed, or readers could take it for different things.
pub fn field(
    content_type: &str,
    body: &[u8],
    wanted: &str,
) -> Result<Option<Range<usize>>, Malformed> {
    let boundary = boundary(content_type).ok_or(Malformed("the form names no usable boundary"))?;
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let places: Vec<usize> = memmem::find_iter(body, &delimiter)
        .take(MAX_PARTS + 2)
        .collect();
    if places.len() > MAX_PARTS + 1 {
        return Err(Malformed("the form has too many parts"));
    }
    if places.first() != Some(&0) {
        return Err(Malformed("the form does not begin with its boundary"));
    }
    let mut found = None;
    for (position, &place) in places.iter().enumerate() {
        if place > 0 && !body[..place].ends_with(b"\r\n") {
            return Err(Malformed("a boundary stands in the middle of a line"));
        }
        let rest = &body[place + delimiter.len()..];
        let Some(&next) = places.get(position + 1) else {
            return match rest {
                b"--" | b"--\r\n" => Ok(found),
                _ => Err(Malformed("the form ends before its end")),
            };
        };
        let start = place + delimiter.len() + 2;
        if !rest.starts_with(b"\r\n") || start + 2 > next {
            return Err(Malformed("a boundary is followed by something else"));
        }
        let part = &body[start..next - 2];
        let head = memmem::find(&part[..part.len().min(MAX_HEAD)], b"\r\n\r\n");
        let head = head.ok_or(Malformed("a part has no head, or one too long"))?;
        if name(&part[..head])?.is_some_and(|name| name == wanted) {
            let value = start + head + 4..next - 2;
            if found.replace(value).is_some() {
                return Err(Malformed("a field stands twice in the form"));
            }
        }
    }
    Err(Malformed("the form is empty"))
}

/// The boundary that a content type names.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    for parameter in rest.split(';') {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim();
            let inside = (value.strip_prefix('"')).and_then(|value| value.strip_suffix('"'));
            if found.replace(inside.unwrap_or(value)).is_some() {
                return None;
            }
        }
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    found.filter(|text| (1..=MAX_BOUNDARY).contains(&text.len()) && text.bytes().all(is_plain))
}

/// The name of a part, by its head.
fn name(head: &[u8]) -> Result<Option<&str>, Malformed> {
    const STRANGE: Malformed = Malformed("the head of a part is malformed");
    let head = std::str::from_utf8(head).map_err(|_| STRANGE)?;
    let mut found = None;
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        // Folded lines, lone line feeds and fields without a name are read by each in its own way.
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
            return Err(STRANGE);
        }
        let (field, value) = line.split_once(':').ok_or(STRANGE)?;
        if !field.trim_end().eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let rest = value.trim().strip_prefix("form-data").ok_or(STRANGE)?;
        if found.is_some() {
            return Err(STRANGE);
        }
        found = Some(name_of_disposition(rest).ok_or(STRANGE)?);
    }
    found.ok_or(STRANGE).map(Some)
}

/// The `name` among the parameters of a disposition, which begin with a semicolon.
fn name_of_disposition(mut rest: &str) -> Option<&str> {
    let mut found = None;
    while !rest.trim().is_empty() {
        rest = rest.trim_start().strip_prefix(';')?.trim_start();
        let (parameter, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let text;
        (text, rest) = match value.strip_prefix('"') {
            Some(value) => value.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        let parameter = parameter.trim();
        if parameter.eq_ignore_ascii_case("name*") || text.contains('\\') {
            return None;
        }
        if parameter.eq_ignore_ascii_case("name") && found.replace(text.trim()).is_some() {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b1";

    fn form(parts: &[(&str, &str)]) -> String {
        let mut out = String::new();
        for (disposition, value) in parts {
            out.push_str(&format!(
                "--b1\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n"
            ));
        }
        out.push_str("--b1--\r\n");
        out
    }

    fn model(body: &str) -> Result<Option<&str>, Malformed> {
        field(TYPE, body.as_bytes(), "model").map(|range| range.map(|range| &body[range]))
    }

    #[test]
    fn a_field_is_found_wherever_it_stands() {
        let file = ("name=\"file\"; filename=\"a;b.wav\"", "RIFF\r\n\r\n\0--b");
        let whisper = ("name=\"model\"", "whisper-1");
        assert_eq!(model(&form(&[file, whisper])), Ok(Some("whisper-1")));
        assert_eq!(model(&form(&[whisper, file])), Ok(Some("whisper-1")));
        assert_eq!(model(&form(&[("name=model", "m")])), Ok(Some("m")));
        assert_eq!(model(&form(&[file])), Ok(None));
        let body = form(&[whisper]).replace("b1", "a'b:c");
        let quoted = "Multipart/Form-Data; charset=utf-8; Boundary=\"a'b:c\"";
        assert_eq!(
            field(quoted, body.as_bytes(), "model").map(|range| range.is_some()),
            Ok(true)
        );
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        let one = ("name=\"model\"", "cheap");
        for body in [
            form(&[one, ("name=\"model\"", "dear")]),
            form(&[one, ("name*=utf-8''model", "dear")]),
            form(&[one, ("name=\"file\"; name=\"model\"", "dear")]),
            form(&[one, ("name=\"mod\\el\"", "dear")]),
            form(&[("name=\"a\"", "x\n--b1\nname=\"model\"\n\ndear"), one]),
            form(&[one]).replace("--b1--\r\n", ""),
            format!("preamble\r\n{}", form(&[one])),
            format!("{}epilogue", form(&[one])),
            form(&[one]).replace("form-data; ", "form-data;\r\n "),
            form(&[one]).replace("Content-Disposition", "X"),
            "--b1--".replace("--b1--", "--b1"),
            "--b1\r\n--b1--".to_owned(),
            String::new(),
        ] {
            assert!(model(&body).is_err(), "{body}");
        }
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/mixed; boundary=b1",
        ] {
            assert!(field(content_type, form(&[one]).as_bytes(), "model").is_err());
        }
    }

    proptest! {
        #[test]
        fn no_form_makes_it_panic(body in "(--b1|\r\n|--|;|name=|\"|model|:|Content-Disposition: form-data|[a-z]){0,40}") {
            let _ = field(TYPE, body.as_bytes(), "model");
        }
    }
}
