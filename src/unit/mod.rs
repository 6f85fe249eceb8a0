//! Words and numbers that everyone uses: sizes, durations, money, text that is safe
//! to show, the shape of our secrets, and the clock.
//!
//! Owns the spelling (parse and print), not the meaning of any setting. What is printed parses back
//! to the same value.

pub mod address;
pub mod clock;
pub mod money;
pub mod printable;
pub mod secret;
pub mod size;
pub mod time;

/// Reads an unsigned decimal number with nothing around it (nginx `ngx_atoi` and its siblings):
/// no sign, no blank, at least one digit, at most [`i64::MAX`].
pub fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (value <= i64::MAX as u64).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_digits_up_to_the_signed_maximum_are_a_number() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("0042"), Some(42));
        assert_eq!(decimal("9223372036854775807"), Some(i64::MAX as u64));
        for refused in ["", "-1", "+1", " 1", "1 ", "1x", "9223372036854775808", "٣"] {
            assert_eq!(decimal(refused), None, "{refused:?}");
        }
    }
}
