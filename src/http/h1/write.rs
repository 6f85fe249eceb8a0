//! Writing heads.
/// Appends a number in decimal.
pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    use std::io::Write as _;
    let _ = write!(out, "{number}");
}
