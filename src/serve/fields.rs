//! Sets of field names, compiled once so that a request asks one bit for a well-known name.

use crate::http::head::Known;

/// A set of field names.
#[derive(Debug, Default, Clone)]
pub struct FieldSet {
    known: u64,
    others: Box<[Box<[u8]>]>,
}

const _: () = assert!(
    Known::COUNT <= 64,
    "the set holds one bit for each known name"
);

impl FieldSet {
    /// The set of these names, in any case.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut known = 0;
        let mut others = Vec::new();
        for name in names {
            match Known::of(name) {
                Some(name) => known |= 1 << name as u8,
                None => others.push(name.to_ascii_lowercase().into()),
            }
        }
        Self {
            known,
            others: others.into(),
        }
    }

    /// Is the name in the set?
    pub fn contains(&self, known: Option<Known>, name: &[u8]) -> bool {
        match known {
            Some(known) => self.known & (1 << known as u8) != 0,
            None => self
                .others
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name)),
        }
    }

    /// Is the known name in the set?
    pub fn has(&self, known: Known) -> bool {
        self.known & (1 << known as u8) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_other_names_are_found_in_any_case() {
        let set = FieldSet::new([&b"host"[..], b"X-Mine"]);
        assert!(set.has(Known::Host));
        assert!(set.contains(None, b"x-mine"));
        assert!(!set.contains(Some(Known::Date), b"Date"));
        assert!(!set.contains(None, b"x-other"));
    }
}
