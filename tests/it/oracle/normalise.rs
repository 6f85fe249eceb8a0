//! What both peers said, with everything taken out that differs for a reason known in advance.

use std::io::Read;

use brotli::Decompressor;
use flate2::read::MultiGzDecoder;
use regex::Regex;

use super::case::Case;
use super::run::Observed;
use crate::support::backend::Seen;
use crate::support::client::{Answer, Framing};
use crate::support::wire::{Field, first, latin1};

/// One peer's side of a case as lines that can be compared and printed.
pub struct Normaliser {
    names: Vec<(Regex, String)>,
    nginx: bool,
    explicit_connection: bool,
    own_length: bool,
}

impl Normaliser {
    /// `names` are the ports and directories of a peer with what stands for them, `nginx` says that
    /// the peer is nginx.
    pub fn new(names: &[(String, String)], nginx: bool, case: &Case) -> Self {
        let names = names.iter().map(|(value, name)| {
            // A port stands behind anything but `=`, behind which logs have sizes.
            let pattern = if value.bytes().all(|byte| byte.is_ascii_digit()) {
                format!(r"(^|[^=\d]){value}\b")
            } else {
                format!("(){}", regex::escape(value))
            };
            (pattern_of(&pattern), format!("${{1}}{name}"))
        });
        Self {
            names: names.collect(),
            nginx,
            explicit_connection: case.has("explicit-connection"),
            own_length: case.has("own-length"),
        }
    }

    /// An exchange: the answers, how the connection ended, what the backends saw.
    pub fn exchange(&self, observed: &Observed) -> Vec<String> {
        let mut lines = Vec::new();
        for (answer, method) in &observed.answers {
            lines.extend(self.answer(answer, method));
        }
        lines.push(format!("end: {}", observed.end));
        if !observed.extra.is_empty() {
            let more = show(&observed.extra).into_iter();
            lines.extend(more.map(|line| format!("more bytes: {line}")));
        }
        for seen in &observed.seen {
            lines.extend(self.seen(seen));
        }
        lines
    }

    fn answer(&self, answer: &Answer, method: &str) -> Vec<String> {
        let body = self.body(answer);
        let mut lines = vec![format!("< {}", self.text(&answer.line))];
        let mut fields: Vec<Field> = answer.fields.clone();
        fields.sort_by_key(|field| field.name.to_ascii_lowercase());
        for field in fields {
            let name = field.name.to_ascii_lowercase();
            let value = match name.as_str() {
                "server" if is_product(&field.value) => "PRODUCT".to_owned(),
                "date" if seconds(&field.value).is_some() => "DATE".to_owned(),
                "expires" => relative(answer, &field.value),
                "content-length" if self.own_length => continue,
                "content-length" => {
                    let length: Option<usize> = field.value.parse().ok();
                    let error_page = answer.status >= 300
                        && first(&answer.fields, "Content-Type") == Some("text/html");
                    match length {
                        // The product's name is part of the length of a page that is not sent.
                        Some(length) if method == "HEAD" && error_page && length < 1000 => {
                            "ERROR PAGE".to_owned()
                        }
                        Some(length) if length == answer.body.len() => body.len().to_string(),
                        _ => field.value.clone(),
                    }
                }
                "content-type" => match boundary(answer) {
                    Some(boundary) => field.value.replace(&boundary, "BOUNDARY"),
                    None => field.value.clone(),
                },
                "transfer-encoding" if self.own_length => continue,
                "x-openclaw-error" if !self.nginx && answer.status >= 500 => continue,
                "retry-after" if !self.nginx && answer.status >= 400 => continue,
                _ => field.value.clone(),
            };
            let value = match name.as_str() {
                "content-length" | "content-range" | "etag" => value,
                _ => self.text(&value),
            };
            lines.push(format!("< {}: {value}", field.name));
        }
        if answer.framing == Framing::UntilClose {
            lines.push("  body until close".to_owned());
        }
        if let Some(cut) = answer.cut {
            lines.push(format!("  body cut: {cut:?}"));
        }
        if !body.is_empty() {
            lines.extend(
                show(&body)
                    .into_iter()
                    .map(|line| format!("  body: {line}")),
            );
        }
        for trailer in &answer.trailers {
            lines.push(format!("  trailer: {trailer:?}"));
        }
        lines
    }

    /// The body as it reads: unpacked, with names in the place of numbers.
    fn body(&self, answer: &Answer) -> Vec<u8> {
        let mut body = answer.body.clone();
        let coding = first(&answer.fields, "Content-Encoding");
        if let Some(coding @ ("gzip" | "br")) = coding
            && !body.is_empty()
        {
            let mut plain = Vec::new();
            let unpacked = match coding {
                "gzip" => MultiGzDecoder::new(body.as_slice()).read_to_end(&mut plain),
                _ => Decompressor::new(body.as_slice(), 4096).read_to_end(&mut plain),
            };
            body = match unpacked {
                Ok(_) => plain,
                // What is packed badly may be meant: then it is to be the same.
                Err(_) => [b"not unpacked: ", body.as_slice()].concat(),
            };
        }
        // Large bodies are patterns: but for the boundary there is no name in them.
        if body.len() > 64 * 1024 && boundary(answer).is_none() {
            return body;
        }
        let mut text = latin1(&body);
        if let Some(boundary) = boundary(answer) {
            text = text.replace(&boundary, "BOUNDARY");
        }
        for product in ["nginx/1.22.1", "nginx", "openclaw"] {
            text = text.replace(
                &format!("<center>{product}</center>"),
                "<center>PRODUCT</center>",
            );
        }
        self.text(&text).chars().map(|each| each as u8).collect()
    }

    fn seen(&self, seen: &Seen) -> Vec<String> {
        let mut lines = vec![format!(
            "> {} got {}",
            seen.backend,
            self.text(&seen.head.line)
        )];
        let mut fields = seen.head.fields.clone();
        fields.sort_by_key(|field| field.name.to_ascii_lowercase());
        for field in fields {
            if self.nginx
                && !self.explicit_connection
                && field.name == "Connection"
                && field.value == "close"
            {
                continue;
            }
            let value = match field.name.as_str() {
                "Content-Length" => field.value.clone(),
                _ => self.text(&field.value),
            };
            lines.push(format!("> {}: {value}", field.name));
        }
        if !seen.body.is_empty() {
            let body = show(&seen.body).into_iter();
            lines.extend(body.map(|line| format!("  with body: {line}")));
        }
        for trailer in &seen.trailers {
            lines.push(format!("  with trailer: {trailer:?}"));
        }
        lines
    }

    /// Names in the place of ports and directories.
    pub fn text(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (pattern, name)| {
                pattern.replace_all(&text, name.as_str()).into_owned()
            })
    }
}

/// Masks that every log needs: what a clock or a counter wrote.
pub fn log_masks() -> Vec<(Regex, String)> {
    [
        (r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", "TIME"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME"),
        (r"\b\d{10}\.\d{3}\b", "MSEC"),
        (r"\b\d+\.\d{3}\b", "SECONDS"),
        (r"\b[0-9a-f]{32}\b", "ID"),
    ]
    .into_iter()
    .map(|(pattern, name)| (pattern_of(pattern), name.to_owned()))
    .collect()
}

pub fn pattern_of(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("`{pattern}` is no regex: {error}"))
}

/// Text that fits on a screen, line by line; of a long body its begin and a sum that tells it from
/// others.
fn show(bytes: &[u8]) -> Vec<String> {
    let text = latin1(bytes);
    if bytes.len() <= 4000 {
        let lines = text.split_inclusive('\n');
        return lines
            .map(|line| line.escape_default().to_string())
            .collect();
    }
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let head: String = text.chars().take(60).collect();
    let head = head.escape_default();
    vec![format!("{head}… {} bytes, sum {sum:x}", bytes.len())]
}

fn is_product(value: &str) -> bool {
    let (name, version) = value.split_once('/').unwrap_or((value, "0"));
    matches!(name, "nginx" | "openclaw")
        && version.starts_with(|first: char| first.is_ascii_digit())
}

fn boundary(answer: &Answer) -> Option<String> {
    first(&answer.fields, "Content-Type")?
        .strip_prefix("multipart/byteranges; boundary=")
        .map(str::to_owned)
}

/// A time near the answer's Date as its distance from it; a fixed one, long past or far, as it is.
fn relative(answer: &Answer, expires: &str) -> String {
    const DAY: i64 = 86_400;
    let date = first(&answer.fields, "Date").and_then(seconds);
    let distance = date.zip(seconds(expires)).map(|(date, time)| time - date);
    match distance {
        Some(distance) if (-DAY..90 * DAY).contains(&distance) => format!("DATE {distance:+}"),
        _ => expires.to_owned(),
    }
}

/// The seconds since 1970 of an IMF-fixdate (RFC 9110 section 5.6.7).
fn seconds(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    let [weekday, day, month, year, hour, minute, second, "GMT"] = parts[..] else {
        return None;
    };
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| *name == month)? as i64 + 1;
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, day) = (number(year)?, number(day)?);
    // Days from 1970 by counting years from March, so that a leap day ends its year.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719_468;
    let names = ["Thu,", "Fri,", "Sat,", "Sun,", "Mon,", "Tue,", "Wed,"];
    if names[days.rem_euclid(7) as usize] != weekday {
        return None;
    }
    Some(days * 86_400 + number(hour)? * 3600 + number(minute)? * 60 + number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
        assert_eq!(
            seconds("Tue, 14 Nov 2023 22:13:20 GMT"),
            Some(1_700_000_000)
        );
        assert_eq!(seconds("Mon, 14 Nov 2023 22:13:20 GMT"), None);
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn only_products_are_taken_for_products() {
        assert!(is_product("nginx/1.22.1") && is_product("openclaw"));
        assert!(!is_product("Apache") && !is_product("nginx-clone"));
    }
}
