//! What a token that was believed says: `$jwt_claim_…`, `$jwt_header_…`, `$oidc_claim_…`.

use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value};

/// A token that was verified.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// What it says of itself.
    pub header: Map<String, Value>,
    /// What it says.
    pub claims: Map<String, Value>,
}

impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} claims", self.claims.len())
    }
}

/// Appends a value; `false` if there is none. Names of variables have lost their case: a name in its
/// own spelling is preferred to one that differs in that. Lists are joined by commas.
pub fn write(map: &Map<String, Value>, name: &[u8], out: &mut Vec<u8>) -> bool {
    let exact = std::str::from_utf8(name)
        .ok()
        .and_then(|name| map.get(name));
    let value = exact.or_else(|| {
        map.iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    });
    value.is_some_and(|value| write_value(value, out))
}

/// The value behind a path of names, each in its own spelling.
pub fn at<'a>(map: &'a Map<String, Value>, path: &[Box<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(map.get(&**first)?, |value, name| value.get(&**name))
}

/// Appends a value as text.
pub fn write_value(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => return false,
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Array(values) => {
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_value(value, out);
            }
        }
        // Writing to a vector cannot fail.
        other => {
            let _ = write!(out, "{other}");
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_and_lists_are_joined() {
        let value = serde_json::json!({
            "sub": "ann", "Sub": "other", "preferredName": "Ann", "groups": ["a", "b"], "n": 7,
            "yes": true, "none": null, "address": { "city": "Bern" }
        });
        let Value::Object(map) = value else {
            panic!("it is an object");
        };
        let read = |name: &str| {
            let mut out = Vec::new();
            write(&map, name.as_bytes(), &mut out).then(|| String::from_utf8(out).expect("text"))
        };
        assert_eq!(read("sub").as_deref(), Some("ann"));
        assert_eq!(read("preferredname").as_deref(), Some("Ann"));
        assert_eq!(read("groups").as_deref(), Some("a,b"));
        assert_eq!(read("n").as_deref(), Some("7"));
        assert_eq!(read("yes").as_deref(), Some("true"));
        assert_eq!(read("address").as_deref(), Some(r#"{"city":"Bern"}"#));
        assert_eq!(read("none"), None);
        assert_eq!(read("nothing"), None);
        let path = ["address".into(), "city".into()];
        assert_eq!(at(&map, &path), Some(&Value::from("Bern")));
        assert_eq!(at(&map, &path[1..]), None);
    }
}
