//! Bytes as nginx writes them: `512`, `8k`, `10M`, and `1g` where a file is meant.
//!
//! Two readers, as in nginx: [`size`] for memory (`ngx_parse_size`, no `g`) and [`offset`] for
//! files (`ngx_parse_offset`). Units are powers of 1024 and case does not matter.

use super::decimal;

const KIBI: u64 = 1024;
const MEBI: u64 = 1024 * KIBI;
const GIBI: u64 = 1024 * MEBI;

/// Reads an amount of memory in bytes; `None` if it is not one or larger than [`i64::MAX`].
pub fn size(text: &str) -> Option<u64> {
    match text.as_bytes().last()? {
        b'g' | b'G' => None,
        _ => offset(text),
    }
}

/// Reads a length or position in a file in bytes; as [`size`], and `g` is known.
pub fn offset(text: &str) -> Option<u64> {
    let scale = match text.as_bytes().last()? {
        b'k' | b'K' => KIBI,
        b'm' | b'M' => MEBI,
        b'g' | b'G' => GIBI,
        _ => return decimal(text),
    };
    let bytes = decimal(&text[..text.len() - 1])?.checked_mul(scale)?;
    (bytes <= i64::MAX as u64).then_some(bytes)
}

/// Spells an amount of memory with the largest unit that divides it; [`size`] reads it back.
pub fn print_size(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(MEBI) => format!("{}m", bytes / MEBI),
        _ if bytes.is_multiple_of(KIBI) => format!("{}k", bytes / KIBI),
        _ => bytes.to_string(),
    }
}

/// Spells a length of a file with the largest unit that divides it; [`offset`] reads it back.
pub fn print_offset(bytes: u64) -> String {
    match bytes {
        _ if bytes != 0 && bytes.is_multiple_of(GIBI) => format!("{}g", bytes / GIBI),
        _ => print_size(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("8k"), Some(8192));
        assert_eq!(size("8K"), Some(8192));
        assert_eq!(size("10m"), Some(10 << 20));
        assert_eq!(offset("1g"), Some(1 << 30));
        assert_eq!(offset("2G"), Some(2 << 30));
    }

    #[test]
    fn memory_has_no_gigabytes() {
        assert_eq!(size("1g"), None);
    }

    #[test]
    fn what_is_not_a_number_with_one_unit_is_refused() {
        for refused in [
            "", "k", "m", "1kb", "1 k", "-1", "1.5m", "1kk", "0x10", "é", "1é",
        ] {
            assert_eq!(offset(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn an_overflow_is_refused() {
        assert_eq!(offset("9007199254740991k"), Some(9_223_372_036_854_774_784));
        assert_eq!(offset("9007199254740992k"), None);
        assert_eq!(offset("99999999999999999999"), None);
        assert_eq!(offset("8589934592g"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in 0..=i64::MAX as u64, unit in 0..4u32) {
            let bytes = bytes >> (unit * 10) << (unit * 10);
            prop_assert_eq!(size(&print_size(bytes)), Some(bytes));
            prop_assert_eq!(offset(&print_offset(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = (size(&text), offset(&text));
        }
    }
}
