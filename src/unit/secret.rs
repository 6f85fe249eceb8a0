//! Secrets of this gateway wherever they turn up in a text that is kept.
//!
//! Owns their shape. A client may write its key where no rule expects it: into the query of a path that
//! nobody serves, the address of a page that refers to ours, or a request that is refused before anybody
//! asks for a key. Invariant: what went through [`hide`] lets nobody call with the keys in it.

/// What secrets that we make begin with.
pub const MARK: &str = "oc-";

/// So many letters and digits come after it: they hold 256 bits.
pub const LENGTH: usize = 43;

/// Characters of a secret that people are shown to tell it from others.
pub const SHOWN: usize = 9;

/// What keys of others begin with: of One API, which this gateway takes over, and of OpenAI, Anthropic and
/// more, which belong into no log either. In these are hyphens and underscores too. As long as [`MARK`].
const OTHERS: &str = "sk-";

/// Half of a secret is enough to begin to guess the rest: what was cut off is hidden as well.
const TELLING: usize = LENGTH / 2;

/// Writes stars over what is secret of the keys in a text. The length stays.
pub fn hide(text: &mut [u8]) {
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'-', &text[from..]) {
        from += found + 1;
        let (before, behind) = text.split_at(from);
        let length = if before.ends_with(MARK.as_bytes()) {
            let letters = behind.iter().take(LENGTH);
            letters.take_while(|byte| is_letter(byte)).count()
        } else if before.ends_with(OTHERS.as_bytes()) {
            length_of_other(&before[..before.len() - OTHERS.len()], behind)
        } else {
            0
        };
        if length >= TELLING {
            let shown = from + SHOWN - MARK.len();
            from += length;
            text[shown..from].fill(b'*');
        }
    }
}

/// How long the key of somebody else is that may begin here. Words with hyphens are in many addresses: a key
/// stands alone, and has a long part of letters alone.
fn length_of_other(before: &[u8], behind: &[u8]) -> usize {
    let is_inside = |byte: &u8| is_letter(byte) || matches!(byte, b'-' | b'_');
    if before.last().is_some_and(is_inside) {
        return 0;
    }
    let length = behind.iter().take_while(|byte| is_inside(byte)).count();
    let mut words = behind[..length].split(|byte| !is_letter(byte));
    match words.any(|word| word.len() >= TELLING) {
        true => length,
        false => 0,
    }
}

const fn is_letter(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
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
            "sk-",
            "/desk-top-publishing-with-a-hundred-fonts?task-0123456789abcdefghijklmn",
            "/sk-a-town-of-many-bridges-and-2026-towers/",
        ] {
            assert_eq!(hidden(plain), plain);
        }
        for (other, shown) in [
            ("sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL", 48),
            ("sk-ant-api03-abc_def-0123456789abcdefghijk", 39),
        ] {
            let hidden = hidden(&format!("/x?key={other}&a=1"));
            let stars = "*".repeat(shown - 6);
            assert_eq!(hidden, format!("/x?key={}{stars}&a=1", &other[..9]));
        }
        // The end of a line that was too long.
        assert_eq!(hidden(&key[..40]), shown[..40]);
    }
}
