//! Fields in which a server tells its backends who somebody is: no client is believed in them.
//!
//! Invariant: whatever spelling a backend may read as one of these names is taken for it.

use crate::http::head::Fields;

/// Takes away what a client says about who it is in fields that its server sets itself. Many backends
/// read `Remote_User` as `Remote-User` (RFC 3875 section 4.1.18 makes the same of both), and some of
/// them `Remote.User` too, so whatever stands between words is the same.
pub fn strip(fields: &mut Fields, identity: &[Box<[u8]>]) {
    let is_same = |byte: u8, wanted: u8| match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase() == wanted,
        false => wanted == b'-',
    };
    let is_identity = |name: &[u8]| {
        identity.iter().any(|wanted| {
            name.len() == wanted.len() && name.iter().zip(&**wanted).all(|(&a, &b)| is_same(a, b))
        })
    };
    // Hardly anybody sends one.
    if !identity.is_empty() && fields.iter().any(|(_, name, _)| is_identity(name)) {
        fields.retain(|_, name, _| !is_identity(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_an_identity_passes() {
        let mut fields = Fields::default();
        for name in [
            "Remote-User",
            "remote_user",
            "REMOTE.USER",
            "remote~user",
            "Remote-Users",
            "RemoteUser",
            "X-Remote-User",
        ] {
            fields.push(name.as_bytes(), b"root");
        }
        strip(&mut fields, &[(*b"remote-user").into()]);
        let left: Vec<&[u8]> = fields.iter().map(|(_, name, _)| name).collect();
        assert_eq!(
            left,
            [&b"Remote-Users"[..], b"RemoteUser", b"X-Remote-User"]
        );
    }
}
