//! Exact decimals as the wire wrote them: an `i64` mantissa and an `i8` exponent. Allocates nothing while parsing.
//!
//! Trailing zeros are kept ("0.10" stays `10e-2`), because exchanges compute checksums over their own digits; comparing and
//! hashing are numeric all the same ("0.10" equals "0.1").

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// `mantissa * 10^exponent`, exactly.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Decimal {
    /// All significant digits, with the sign.
    pub mantissa: i64,
    /// The power of ten of the last digit: -2 for cents.
    pub exponent: i8,
}

/// Why a text is not a [`Decimal`]. Carries the text, cut to its first 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a decimal number at all.
    #[error("\"{text}\" is not a decimal number")]
    Malformed {
        /// What was to be read.
        text: String,
    },
    /// A number, but with more digits or a larger exponent than a `Decimal` holds.
    #[error("the number {text} does not fit a 64-bit mantissa with an 8-bit exponent")]
    OutOfRange {
        /// What was to be read.
        text: String,
    },
}

const POWERS: [i64; 19] = {
    let mut powers = [1i64; 19];
    let mut i = 1;
    while i < 19 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Powers of ten that a double holds exactly.
const EXACT_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, exponent: 0 };

    /// The number `mantissa * 10^exponent`.
    #[must_use]
    pub const fn new(mantissa: i64, exponent: i8) -> Self {
        Self { mantissa, exponent }
    }

    /// Reads a decimal number: an optional sign, digits with at most one point, an optional exponent (`1e-7`). The text is
    /// what stands between the quotes of a JSON string, or a JSON number's own token; a leading point (`.48`) is read too.
    ///
    /// # Errors
    /// [`DecimalError`] with the text, when it is not a number or does not fit.
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        parse(text).map_err(|out_of_range| {
            let text = String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned();
            if out_of_range { DecimalError::OutOfRange { text } } else { DecimalError::Malformed { text } }
        })
    }

    /// The double nearest to the exact value, as parsing its decimal text gives it.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        let magnitude = self.mantissa.unsigned_abs();
        let steps = usize::from(self.exponent.unsigned_abs());
        if magnitude <= 1 << 53 && steps < EXACT_F64.len() {
            // Both operands are exact, so one IEEE operation rounds once, to the nearest double.
            #[allow(clippy::cast_precision_loss)]
            let mantissa = self.mantissa as f64;
            return if self.exponent < 0 { mantissa / EXACT_F64[steps] } else { mantissa * EXACT_F64[steps] };
        }
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// Whether the value is zero, whatever its exponent.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// The same value without trailing zeros: the form that is equal for equal numbers.
    #[must_use]
    pub const fn normalized(self) -> Self {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        if mantissa == 0 {
            return Self::ZERO;
        }
        while mantissa % 10 == 0 && exponent < i8::MAX {
            mantissa /= 10;
            exponent += 1;
        }
        Self { mantissa, exponent }
    }
}

/// `Err(true)`: a number out of range; `Err(false)`: no number.
fn parse(text: &[u8]) -> Result<Decimal, bool> {
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut mantissa: u64 = 0;
    let mut exponent: i64 = 0;
    let mut pending_zeros: i64 = 0;
    let mut overflow = false;
    let mut any = false;
    let mut point = false;
    let mut i = 0;
    while i < digits.len() {
        let c = digits[i];
        match c {
            b'0'..=b'9' => {
                any = true;
                if point {
                    exponent -= 1;
                }
                let digit = u64::from(c - b'0');
                // Zeros past the range are held back: they fit after all when nothing but zeros follows.
                match mantissa.checked_mul(10).and_then(|m| m.checked_add(digit)).filter(|m| in_range(*m, negative)) {
                    Some(next) if pending_zeros == 0 => mantissa = next,
                    _ if digit == 0 => pending_zeros += 1,
                    _ => overflow = true,
                }
            }
            b'.' if !point => point = true,
            b'e' | b'E' if any => {
                exponent = exponent.saturating_add(parse_exponent(&digits[i + 1..])?);
                break;
            }
            _ => return Err(false),
        }
        i += 1;
    }
    if !any {
        return Err(false);
    }
    if overflow {
        return Err(true);
    }
    exponent += pending_zeros;
    if mantissa == 0 {
        exponent = exponent.clamp(i64::from(i8::MIN), 0);
    }
    // A large positive exponent can be folded into the mantissa where there is room; a small one loses only zeros.
    while exponent > i64::from(i8::MAX) && mantissa != 0 && in_range(mantissa.saturating_mul(10), negative) {
        mantissa *= 10;
        exponent -= 1;
    }
    while exponent < i64::from(i8::MIN) && mantissa.is_multiple_of(10) {
        mantissa /= 10;
        exponent += 1;
    }
    let exponent = i8::try_from(exponent).map_err(|_| true)?;
    #[allow(clippy::cast_possible_wrap)] // `in_range` held for every value it took
    let mantissa = if negative { (mantissa as i64).wrapping_neg() } else { mantissa as i64 };
    Ok(Decimal { mantissa, exponent })
}

const fn in_range(magnitude: u64, negative: bool) -> bool {
    magnitude <= i64::MAX as u64 + negative as u64
}

fn parse_exponent(text: &[u8]) -> Result<i64, bool> {
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(false);
    }
    let value = digits.iter().fold(0i64, |v, d| v.saturating_mul(10).saturating_add(i64::from(d - b'0')));
    // Far outside of anything that fits, and far from overflowing what is added to it.
    let value = value.min(1 << 32);
    Ok(if negative { -value } else { value })
}

impl PartialEq for Decimal {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let n = self.normalized();
        n.mantissa.hash(state);
        n.exponent.hash(state);
    }
}

impl PartialOrd for Decimal {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        if self.exponent == other.exponent { self.mantissa.cmp(&other.mantissa) } else { self.cmp_scaled(other) }
    }
}

impl Decimal {
    /// Of two whose last digits stand at different places.
    fn cmp_scaled(&self, other: &Self) -> Ordering {
        if self.mantissa.signum() != other.mantissa.signum() || self.mantissa == 0 {
            return self.mantissa.signum().cmp(&other.mantissa.signum());
        }
        let shift = i16::from(self.exponent) - i16::from(other.exponent);
        let (high, low, flipped) = if shift > 0 { (self, other, false) } else { (other, self, true) };
        let steps = usize::from(shift.unsigned_abs());
        // 10^18 times the smallest mantissa still fits an i128; past that the larger exponent decides.
        let order = match POWERS.get(steps) {
            Some(power) => (i128::from(high.mantissa) * i128::from(*power)).cmp(&i128::from(low.mantissa)),
            None if steps < 38 => match i128::from(high.mantissa).checked_mul(10i128.pow(u32::from(shift.unsigned_abs()))) {
                Some(scaled) => scaled.cmp(&i128::from(low.mantissa)),
                None => high.mantissa.cmp(&0),
            },
            None => high.mantissa.cmp(&0),
        };
        if flipped { order.reverse() } else { order }
    }
}

/// Plain decimal notation with all digits kept; `e` notation only past 40 zeros.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs();
        let steps = usize::from(self.exponent.unsigned_abs());
        if steps > 40 {
            return write!(f, "{sign}{digits}e{}", self.exponent);
        }
        if self.exponent >= 0 {
            let zeros = if digits == 0 { 0 } else { steps };
            return write!(f, "{sign}{digits}{:0<zeros$}", "");
        }
        let text = format!("{digits:0>width$}", width = steps + 1);
        let (whole, fraction) = text.split_at(text.len() - steps);
        f.pad_integral(self.mantissa >= 0, "", &format!("{whole}.{fraction}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, mantissa: i64, exponent: i8) {
        let got = Decimal::parse(text.as_bytes()).unwrap();
        assert_eq!((got.mantissa, got.exponent), (mantissa, exponent), "{text}");
    }

    #[test]
    fn wire_digits_are_kept() {
        check("0", 0, 0);
        check("-0.00", 0, -2);
        check("61837.63000000", 6_183_763_000_000, -8);
        check("0.00002", 2, -5);
        check("000123.4500", 1_234_500, -4);
        check("+5", 5, 0);
        check(".48", 48, -2);
        check("7.", 7, 0);
        check("1e-7", 1, -7);
        check("-1.50E+3", -150, 1);
        check("9223372036854775807", i64::MAX, 0);
        check("-9223372036854775808", i64::MIN, 0);
        check("92233720368547758070", i64::MAX, 1);
        check("9223372036854775807.000", i64::MAX, 0);
        check("1e130", 1_000, 127);
        check("1000e-130", 10, -128);
        check("0e-999999999999999999999", 0, -128);
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_named() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "1.2.3", "1 ", "0x10", "NaN", "1e5.5", "--1"] {
            assert!(matches!(Decimal::parse(text.as_bytes()), Err(DecimalError::Malformed { text: t }) if t == text));
        }
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "1e200",
            "1e-200",
            "92233720368547758070001",
            "9223372036854775807.0001",
        ] {
            let error = Decimal::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, DecimalError::OutOfRange { text: text.to_owned() });
            assert!(error.to_string().contains(text));
        }
    }

    #[test]
    fn numbers_print_with_their_digits() {
        for text in ["61837.63000000", "0.00002", "-12.5", "0", "100", "-0.50"] {
            assert_eq!(Decimal::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(Decimal::new(15, 1).to_string(), "150");
        assert_eq!(Decimal::new(1, 90).to_string(), "1e90");
    }

    proptest! {
        #[test]
        fn the_double_is_the_one_that_parsing_the_text_gives(mantissa: i64, exponent in -25i8..20) {
            let d = Decimal::new(mantissa, exponent);
            let parsed: f64 = format!("{mantissa}e{exponent}").parse().unwrap();
            prop_assert_eq!(d.to_f64().to_bits(), parsed.to_bits());
        }

        #[test]
        fn display_and_parse_agree(mantissa: i64, exponent: i8) {
            let d = Decimal::new(mantissa, exponent);
            // Trailing zeros of a positive exponent come back in the mantissa or the exponent, equal either way.
            prop_assert_eq!(Decimal::parse(d.to_string().as_bytes()).unwrap(), d);
        }

        #[test]
        fn order_is_numeric(a: i64, b: i64, shift in 0i8..10) {
            let small = Decimal::new(a, -3);
            let large = Decimal::new(b, shift);
            let exact = i128::from(a).cmp(&(i128::from(b) * 10i128.pow(u32::from(shift.unsigned_abs()) + 3)));
            prop_assert_eq!(small.cmp(&large), exact);
            prop_assert_eq!(large.cmp(&small), exact.reverse());
        }

        #[test]
        fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Decimal::parse(&bytes);
        }
    }
}
