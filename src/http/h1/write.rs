//! The head of a message: values to bytes.
//!
//! Owns status lines, reasons, numbers and field lines as they are written. What is written is the
//! caller's; a value that came from outside has passed a parser that lets no control byte through.

/// The status line with its line end, where the status has a reason.
pub const fn status_line(status: u16) -> Option<&'static [u8]> {
    Some(match lines(status) {
        Some(line) => line.as_bytes(),
        None => return None,
    })
}

/// Writes the status line: as nginx, an unknown status has no reason but the space in front of it.
pub fn push_status_line(out: &mut Vec<u8>, status: u16) {
    match status_line(status) {
        Some(line) => out.extend_from_slice(line),
        None => push_status_line_with(out, status, b""),
    }
}

/// Writes a status line with a reason received from a peer.
pub fn push_status_line_with(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    if status < 100 {
        out.extend_from_slice(if status < 10 { b"00" } else { b"0" });
    }
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase, in nginx's words; empty for a status that it does not know.
pub fn reason(status: u16) -> &'static str {
    const FRAME: usize = "HTTP/1.1 200 ".len();
    match lines(status) {
        Some(line) => &line[FRAME..line.len() - 2],
        None => "",
    }
}

/// Writes a number.
pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes a field line.
#[inline]
pub fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

macro_rules! status_lines {
    ($($status:literal $reason:literal,)*) => {
        const fn lines(status: u16) -> Option<&'static str> {
            match status {
                $($status => Some(concat!("HTTP/1.1 ", $status, " ", $reason, "\r\n")),)*
                _ => None,
            }
        }
    };
}

// The reasons of ngx_http_status_lines; and those of 1xx, which nginx takes from the peer.
status_lines! {
    100 "Continue",
    101 "Switching Protocols",
    103 "Early Hints",
    200 "OK",
    201 "Created",
    202 "Accepted",
    204 "No Content",
    206 "Partial Content",
    301 "Moved Permanently",
    302 "Moved Temporarily",
    303 "See Other",
    304 "Not Modified",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Not Allowed",
    406 "Not Acceptable",
    408 "Request Time-out",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Request Entity Too Large",
    414 "Request-URI Too Large",
    415 "Unsupported Media Type",
    416 "Requested Range Not Satisfiable",
    421 "Misdirected Request",
    429 "Too Many Requests",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Temporarily Unavailable",
    504 "Gateway Time-out",
    505 "HTTP Version Not Supported",
    507 "Insufficient Storage",
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_known_status_has_its_reason() {
        assert_eq!(status_line(200), Some(&b"HTTP/1.1 200 OK\r\n"[..]));
        assert_eq!(
            written(|out| push_status_line(out, 302)),
            "HTTP/1.1 302 Moved Temporarily\r\n"
        );
        assert_eq!(reason(503), "Service Temporarily Unavailable");
    }

    #[test]
    fn an_unknown_status_is_written_with_three_digits_and_no_reason() {
        assert_eq!(
            written(|out| push_status_line(out, 418)),
            "HTTP/1.1 418 \r\n"
        );
        assert_eq!(written(|out| push_status_line(out, 7)), "HTTP/1.1 007 \r\n");
        assert_eq!(
            written(|out| push_status_line(out, 42)),
            "HTTP/1.1 042 \r\n"
        );
        assert_eq!(reason(418), "");
    }

    #[test]
    fn a_peers_reason_is_kept() {
        assert_eq!(
            written(|out| push_status_line_with(out, 200, b"Fine")),
            "HTTP/1.1 200 Fine\r\n"
        );
    }

    #[test]
    fn a_field_is_name_colon_space_value() {
        assert_eq!(written(|out| push_field(out, b"A", b"b c")), "A: b c\r\n");
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(written(|out| push_decimal(out, number)), number.to_string());
        }
    }
}
