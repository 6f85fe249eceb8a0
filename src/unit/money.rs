//! Money: US dollars, exact to the pico-dollar, never a fraction of binary numbers.
//!
//! A price of a million tokens has at most six decimals in dollars, so a token costs a whole number
//! of pico-dollars and a sum of them needs no rounding.

use std::fmt;
use std::iter::Sum;

/// The decimals of a dollar that are kept.
const DECIMALS: usize = 12;

/// Pico-dollars of a dollar.
const DOLLAR: u64 = 10_u64.pow(DECIMALS as u32);

/// An amount of US dollars in pico-dollars (10⁻¹²): from minus to plus nine million dollars.
/// Arithmetic stops at these ends instead of going round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// So many pico-dollars.
    #[must_use]
    pub const fn from_pico(pico: i64) -> Self {
        Self(pico)
    }

    /// So many pico-dollars; an end of the range if there is no room for them.
    #[must_use]
    pub fn saturated(pico: i128) -> Self {
        Self(pico.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// The pico-dollars.
    #[must_use]
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left, which may be less than nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads dollars as people write them: `5`, `0.25`, `$12.50`; no sign, at most twelve decimals.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let pico = scaled(text.strip_prefix('$').unwrap_or(text), DECIMALS)?;
        i64::try_from(pico).ok().map(Self)
    }

    /// Reads an amount of dollars as programs write numbers, with an exponent (`1.2e-05`) or with more
    /// decimals than there are pico-dollars; rounds half up, once. Negative amounts are none.
    #[must_use]
    pub fn rounded(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        if whole.is_empty() || fraction.is_empty() {
            return None;
        }
        let mut digits: u128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| u128::from(byte - b'0'))?;
            digits = digits.checked_mul(10)?.checked_add(digit)?;
        }
        let shift = exponent
            .checked_add(DECIMALS as i32)?
            .checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let power = 10_u128.checked_pow(shift.unsigned_abs());
        let pico = match (shift < 0, power) {
            (_, _) if digits == 0 => 0,
            (false, power) => digits.checked_mul(power?)?,
            // Less than can be written is nothing.
            (true, None) => 0,
            (true, Some(power)) => digits / power + u128::from(digits % power >= power.div_ceil(2)),
        };
        i64::try_from(pico).ok().map(Self)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// Dollars with all decimals that are not zero, and two at least; [`Money::parse`] reads what is not
/// negative.
impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pico = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let decimals = format!("{:0DECIMALS$}", pico % DOLLAR);
        let kept = decimals.trim_end_matches('0').len().max(2);
        formatter.pad(&format!("{sign}{}.{}", pico / DOLLAR, &decimals[..kept]))
    }
}

/// Reads a decimal number such as `2.5` and returns it times ten to the power of `decimals`, if that
/// is a whole number: digits, a point with digits behind it, nothing else.
#[must_use]
pub fn scaled(text: &str, decimals: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() {
        return None;
    }
    let kept = fraction.trim_end_matches('0');
    if whole.is_empty() || kept.len() > decimals {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    if !digits.clone().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let zeros = std::iter::repeat_n(b'0', decimals - kept.len());
    let digits = whole.bytes().chain(kept.bytes()).chain(zeros);
    let mut value: u64 = 0;
    for digit in digits {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_that_programs_write_are_rounded_to_a_pico_dollar() {
        let pico = |text| Money::rounded(text).map(Money::pico);
        assert_eq!(pico("1.2e-05"), Some(12_000_000));
        assert_eq!(pico("2E+1"), Some(20_000_000_000_000));
        assert_eq!(pico("0.00014000000000000001"), Some(140_000_000));
        assert_eq!(pico("0.0000000000005"), Some(1));
        assert_eq!(pico("0.00000000000049"), Some(0));
        assert_eq!(pico("1e-400"), Some(0));
        assert_eq!(pico("0e400"), Some(0));
        assert_eq!(pico("9223372.036854775807"), Some(i64::MAX));
        for refused in [
            "",
            "-1",
            "1e400",
            "1e",
            ".5",
            "5.",
            "1e99999999999",
            "9223372.036854775808",
        ] {
            assert_eq!(pico(refused), None, "{refused}");
        }
    }

    #[test]
    fn dollars_are_read_to_the_last_decimal() {
        let pico = |text| Money::parse(text).map(Money::pico);
        assert_eq!(pico("5"), Some(5_000_000_000_000));
        assert_eq!(pico("$0.25"), Some(250_000_000_000));
        assert_eq!(pico("0.000000000001"), Some(1));
        assert_eq!(pico("1.5000000000000000"), Some(1_500_000_000_000));
        assert_eq!(pico("9223372.036854775807"), Some(i64::MAX));
        for refused in [
            "",
            "$",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "0.0000000000001",
            "9223372.036854775808",
            "99999999999999999999",
            "1.2.3",
            "٣",
            " 1",
        ] {
            assert_eq!(pico(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn amounts_show_cents_and_whatever_else_there_is() {
        assert_eq!(Money::ZERO.to_string(), "0.00");
        assert_eq!(Money::from_pico(1).to_string(), "0.000000000001");
        assert_eq!(Money::from_pico(-2_500_000_000_000).to_string(), "-2.50");
        assert_eq!(Money::from_pico(1_234_500_000_000).to_string(), "1.2345");
        assert_eq!(
            format!("{:>8}", Money::from_pico(DOLLAR as i64)),
            "    1.00"
        );
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let one = Money::from_pico(1);
        assert_eq!(Money::MAX.plus(one), Money::MAX);
        assert_eq!(Money::from_pico(i64::MIN).minus(one).pico(), i64::MIN);
        assert_eq!(Money::saturated(i128::MAX), Money::MAX);
        assert_eq!([one, one, one].into_iter().sum::<Money>().pico(), 3);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(pico in 0..i64::MAX) {
            let money = Money::from_pico(pico);
            prop_assert_eq!(Money::parse(&money.to_string()), Some(money));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[0-9.$]{0,30}|.*") {
            let _ = Money::parse(&text);
        }
    }
}
