//! Structured fields (RFC 8941), as far as a dictionary of cache directives needs them.
//!
//! Owns the grammar: a field with a mistake anywhere is no field at all.

/// A bare value of a dictionary's member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// `?1`, `?0`, or a member without a value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A string, without its quotation marks and escapes.
    Text(Box<[u8]>),
    /// A token, a decimal number, bytes, a date, or a list: nothing that a directive's value is.
    Other,
}

/// A member's name and value.
pub type Member = (Box<[u8]>, Item);

/// Reads a dictionary; of members with the same name the last one counts. `None` if it is none.
pub fn dictionary(text: &[u8]) -> Option<Vec<Member>> {
    let mut reader = Reader(text);
    reader.skip(b" ");
    let mut members: Vec<Member> = Vec::new();
    while !reader.0.is_empty() {
        let name = reader.key()?;
        let item = if reader.take(b'=') {
            match reader.0.first() {
                Some(b'(') => reader.inner_list()?,
                _ => reader.item()?,
            }
        } else {
            reader.parameters()?;
            Item::Boolean(true)
        };
        members.retain(|(held, _)| **held != *name);
        members.push((name.into(), item));
        reader.skip(b" \t");
        if reader.0.is_empty() {
            return Some(members);
        }
        if !reader.take(b',') {
            return None;
        }
        reader.skip(b" \t");
        // A comma at the end announces a member that does not come.
        if reader.0.is_empty() {
            return None;
        }
    }
    Some(members)
}

/// What is left of the text.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn skip(&mut self, any_of: &[u8]) {
        let count = self.0.iter().take_while(|byte| any_of.contains(byte));
        self.0 = &self.0[count.count()..];
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.0.first() == Some(&byte);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn while_in(&mut self, is_in: impl Fn(u8) -> bool) -> &'a [u8] {
        let count = self.0.iter().take_while(|&&byte| is_in(byte)).count();
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        (first.is_ascii_lowercase() || first == b'*').then(|| {
            self.while_in(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
            })
        })
    }

    fn item(&mut self) -> Option<Item> {
        let item = self.bare_item()?;
        self.parameters()?;
        Some(item)
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn inner_list(&mut self) -> Option<Item> {
        self.take(b'(');
        loop {
            self.skip(b" ");
            if self.take(b')') {
                self.parameters()?;
                return Some(Item::Other);
            }
            self.item()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn bare_item(&mut self) -> Option<Item> {
        let first = *self.0.first()?;
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.text(),
            b'?' => {
                self.take(b'?');
                let is_true = self.take(b'1');
                (is_true || self.take(b'0')).then_some(Item::Boolean(is_true))
            }
            b':' => {
                self.take(b':');
                self.while_in(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.take(b':').then_some(Item::Other)
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.while_in(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Item> {
        let is_negative = self.take(b'-');
        let digits = self.while_in(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.while_in(|byte| byte.is_ascii_digit());
            let is_decimal = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return is_decimal.then_some(Item::Other);
        }
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        let number = digits
            .iter()
            .fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if is_negative { -number } else { number }))
    }

    fn text(&mut self) -> Option<Item> {
        self.take(b'"');
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(Item::Text(text.into())),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    if !matches!(escaped, b'"' | b'\\') {
                        return None;
                    }
                    text.push(escaped);
                }
                b' '..=b'~' => text.push(byte),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Item)>> {
        let members = dictionary(text.as_bytes())?;
        Some(
            members
                .into_iter()
                .map(|(name, item)| (String::from_utf8_lossy(&name).into_owned(), item))
                .collect(),
        )
    }

    #[test]
    fn every_type_of_value_is_read() {
        let members = read(
            "a=1, b=-2;x;y=1.5,\tc, d=?0, e=\"q\\\"\", f=tok, g=:YQ==:, h=(1 \"a\";p 2), i=1.5",
        );
        let expected = [
            ("a", Item::Integer(1)),
            ("b", Item::Integer(-2)),
            ("c", Item::Boolean(true)),
            ("d", Item::Boolean(false)),
            ("e", Item::Text((*b"q\"").into())),
            ("f", Item::Other),
            ("g", Item::Other),
            ("h", Item::Other),
            ("i", Item::Other),
        ];
        let expected = expected.map(|(name, item)| (name.to_owned(), item));
        assert_eq!(members, Some(expected.to_vec()));
        assert_eq!(
            read("a=1, a=2"),
            Some(vec![("a".to_owned(), Item::Integer(2))])
        );
        assert_eq!(read("  "), Some(Vec::new()));
    }

    #[test]
    fn a_mistake_anywhere_makes_it_no_dictionary() {
        for wrong in [
            ",",
            "a,",
            "a=",
            "a b",
            "A=1",
            "a=1.",
            "a=1.2345",
            "a=1234567890123456",
            "a=\"x",
            "a=\"\\x\"",
            "a=?2",
            "a=:x",
            "a=(1",
            "a=(1\"b\")",
            "a;=1",
            "a=1;",
            "a=\u{e4}",
            "a=-",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
