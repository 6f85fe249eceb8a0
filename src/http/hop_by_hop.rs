//! Which fields belong to one connection and do not pass a proxy.
//!
//! Owns RFC 9110 section 7.6.1 as a proxy applies it to what it received. Framing fields are among
//! them: what we send is framed by us. `Upgrade` too: a switch of protocols is negotiated anew.

use super::h1::framing::connection_options;
use super::head::{Fields, Known};

/// Does a Connection field of this head name this field as one that is not to be forwarded?
///
/// A client cannot so take away what the backend must be told: the name of the host, the length,
/// who the client is and what it may do. Of very many options the first count: a head of 32 KiB could
/// otherwise ask for millions of comparisons. What is then forwarded too much, nginx forwards always.
pub fn is_nominated(fields: &Fields, name: &[u8]) -> bool {
    fields.has(Known::Connection)
        && connection_options(fields)
            .take(MOST_OPTIONS)
            .any(|option| option.eq_ignore_ascii_case(name))
        && !Known::of(name).is_some_and(|known| {
            matches!(
                known,
                Known::Host
                    | Known::ContentLength
                    | Known::ContentType
                    | Known::ContentEncoding
                    | Known::CacheControl
                    | Known::Authorization
                    | Known::Cookie
                    | Known::SetCookie
                    | Known::Forwarded
                    | Known::Via
                    | Known::XForwardedFor
                    | Known::XForwardedHost
                    | Known::XForwardedProto
                    | Known::XRealIp
            )
        })
}

const MOST_OPTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.push(b"connection", value.as_bytes());
        }
        fields
    }

    #[test]
    fn nominated_names_are_found_in_every_connection_field_in_any_case() {
        let fields = connection(&["close, X-One", " x-two ,,\tX-Three"]);
        for name in ["x-one", "X-TWO", "X-Three"] {
            assert!(is_nominated(&fields, name.as_bytes()), "{name}");
        }
        for name in ["X", "X-On", "X-Onee", "", "close, X-One"] {
            assert!(!is_nominated(&fields, name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_client_cannot_strip_who_it_is_by_nominating_the_field() {
        let fields =
            connection(&["X-Forwarded-For, Host, Content-Length, Authorization, X-Real-IP"]);
        for name in [
            "X-Forwarded-For",
            "Host",
            "Content-Length",
            "Authorization",
            "X-Real-IP",
        ] {
            assert!(!is_nominated(&fields, name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn of_very_many_options_the_first_count() {
        let fields = connection(&[&"a,".repeat(MOST_OPTIONS - 1), "X-One, X-Two"]);
        assert!(is_nominated(&fields, b"X-One"));
        assert!(!is_nominated(&fields, b"X-Two"));
    }
}
