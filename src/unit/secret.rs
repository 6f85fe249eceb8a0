//! Secrets of this gateway wherever they turn up in a text that is kept.
//!
//! Owns their shape. A client may write its key where no rule expects it: into the query of a path that
//! nobody serves, the address of a page that refers to ours, or a request that is refused before anybody
//! asks for a key. Invariant: what went through [`hide`] lets nobody call with the keys in it.

use std::sync::LazyLock;

use memchr::memmem;

/// What secrets that we make begin with.
pub const MARK: &str = "oc-";

/// So many letters and digits come after it: they hold 256 bits.
pub const LENGTH: usize = 43;

/// Characters of a secret that people are shown to tell it from others.
pub const SHOWN: usize = 9;

/// Writes stars over what is secret of the keys in a text. The length stays.
pub fn hide(text: &mut [u8]) {
    static FINDER: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(MARK.as_bytes()));
    let mut from = 0;
    while let Some(found) = FINDER.find(&text[from..]) {
        let letters = from + found + MARK.len();
        let length = text[letters..]
            .iter()
            .take(LENGTH)
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        from = letters;
        // Half of one is enough to begin to guess the rest: what was cut off is hidden as well.
        if length >= LENGTH / 2 {
            from += length;
            text[letters + SHOWN - MARK.len()..from].fill(b'*');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        hide(&mut bytes);
        String::from_utf8(bytes).expect("stars are text")
    }

    #[test]
    fn keys_are_hidden_wherever_they_stand_and_other_text_stays() {
        let key = format!("{MARK}{}", "k9Zu".repeat(LENGTH).split_at(LENGTH).0);
        let shown = format!("oc-k9Zuk9{}", "*".repeat(LENGTH + MARK.len() - SHOWN));
        for (before, after) in [
            ("", ""),
            ("GET /?key=", "&a=1 HTTP/1.1"),
            ("xoc-oc-", "-oc-"),
        ] {
            let text = format!("{before}{key}{after}{key}");
            assert_eq!(hidden(&text), format!("{before}{shown}{after}{shown}"));
        }
        for plain in [
            "",
            "oc-",
            "/oc-lient/of-the-house",
            "oc-short oc-k9Zuk9Zu oc-",
        ] {
            assert_eq!(hidden(plain), plain);
        }
        // The end of a line that was too long.
        assert_eq!(hidden(&key[..40]), shown[..40]);
    }
}
