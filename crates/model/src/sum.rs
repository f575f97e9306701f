//! Exact sums of decimals.

use serde::{Deserialize, Serialize};

use crate::Decimal;

/// A sum of decimals, exact as long as it has no more than 38 digits, which no market reaches.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct DecimalSum {
    mantissa: i128,
    exponent: i32,
}

impl DecimalSum {
    /// Adds a number.
    pub fn add(&mut self, number: Decimal) {
        self.add_scaled(i128::from(number.mantissa), i32::from(number.exponent));
    }

    /// Adds the product of two numbers.
    pub fn add_product(&mut self, a: Decimal, b: Decimal) {
        self.add_scaled(i128::from(a.mantissa) * i128::from(b.mantissa), i32::from(a.exponent) + i32::from(b.exponent));
    }

    /// Adds the quotient of two numbers, cut after eighteen digits behind the point; nothing where the divisor is zero.
    pub fn add_quotient(&mut self, dividend: Decimal, divisor: Decimal) {
        const PLACES: i32 = 18;
        let shift = i32::from(dividend.exponent) - i32::from(divisor.exponent) + PLACES;
        let (dividend, divisor) = (i128::from(dividend.mantissa), i128::from(divisor.mantissa));
        let quotient = if shift >= 0 {
            scaled(dividend, shift).checked_div(divisor)
        } else {
            dividend.checked_div(scaled(divisor, -shift))
        };
        self.add_scaled(quotient.unwrap_or_default(), -PLACES);
    }

    /// The sum to so many digits behind the point, a half away from zero.
    #[must_use]
    pub fn rounded(self, places: u8) -> Decimal {
        let surplus = -i32::from(places) - self.exponent;
        if surplus <= 0 {
            return self.to_decimal();
        }
        let power = scaled(1, surplus);
        let half = if self.mantissa < 0 { -(power / 2) } else { power / 2 };
        Self { mantissa: self.mantissa.saturating_add(half) / power, exponent: -i32::from(places) }.to_decimal()
    }

    fn add_scaled(&mut self, mantissa: i128, exponent: i32) {
        if self.mantissa == 0 {
            (self.mantissa, self.exponent) = (mantissa, exponent);
        } else if exponent >= self.exponent {
            self.mantissa = self.mantissa.saturating_add(scaled(mantissa, exponent - self.exponent));
        } else {
            self.mantissa = scaled(self.mantissa, self.exponent - exponent).saturating_add(mantissa);
            self.exponent = exponent;
        }
    }

    /// The sum without the zeros at its end.
    fn normalized(self) -> (i128, i32) {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        (mantissa, exponent)
    }

    /// The nearest double, as parsing the sum's decimal text gives it.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        let (mantissa, exponent) = self.normalized();
        match (i64::try_from(mantissa), i8::try_from(exponent)) {
            (Ok(mantissa), Ok(exponent)) => Decimal::new(mantissa, exponent).to_f64(),
            _ => format!("{mantissa}e{exponent}").parse().unwrap_or(f64::NAN),
        }
    }

    /// The sum as a decimal: exact, or the nearest that has room, which has 18 digits.
    #[must_use]
    pub fn to_decimal(self) -> Decimal {
        let (mut mantissa, mut exponent) = self.normalized();
        let mut rest = 0;
        loop {
            if let (Ok(mantissa), Ok(exponent)) = (i64::try_from(mantissa), i8::try_from(exponent)) {
                // The last digit that went decides, a half away from zero.
                let up = if rest >= 5 {
                    1
                } else if rest <= -5 {
                    -1
                } else {
                    0
                };
                return Decimal::new(mantissa.saturating_add(up), exponent);
            }
            if mantissa == 0 {
                return Decimal::ZERO;
            }
            (rest, mantissa, exponent) = (mantissa % 10, mantissa / 10, exponent + 1);
        }
    }
}

/// `mantissa * 10^digits`; at the end of the range for sums that no market reaches.
fn scaled(mantissa: i128, digits: i32) -> i128 {
    let power = u32::try_from(digits).ok().and_then(|digits| 10_i128.checked_pow(digits)).unwrap_or(i128::MAX);
    mantissa.saturating_mul(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn quotients_are_rounded_where_they_are_asked_for() {
        let mut sum = DecimalSum::default();
        sum.add_quotient(decimal("29080"), decimal("40964.5"));
        assert_eq!(sum.rounded(8), decimal("0.70988295"));
        sum.add_quotient(decimal("1"), decimal("3e-2"));
        assert_eq!((sum.rounded(2), sum.rounded(0)), (decimal("34.04"), decimal("34")));
        sum.add_quotient(decimal("1"), decimal("0"));
        assert_eq!(sum.rounded(2), decimal("34.04"));
        let mut whole = DecimalSum::default();
        whole.add(decimal("7"));
        assert_eq!(whole.rounded(8), decimal("7"));
    }

    #[test]
    fn sums_are_exact_and_what_has_no_room_in_a_decimal_is_rounded_to_its_last_digit() {
        let mut sum = DecimalSum::default();
        (0..10).for_each(|_| sum.add(decimal("0.1")));
        assert_eq!((sum.to_decimal(), sum.to_f64()), (decimal("1"), 1.0));
        let mut value = DecimalSum::default();
        value.add_product(decimal("105433.60000001"), decimal("99999.00027625"));
        value.add_product(decimal("0.5"), decimal("3"));
        assert_eq!(value.to_decimal().to_string().len(), 20, "{}: 19 digits of more than 20", value.to_decimal());
        let error = (value.to_decimal().to_f64() - value.to_f64()).abs() / value.to_f64();
        assert!(error < 1e-15, "{error}");
        let mut half = DecimalSum::default();
        half.add_product(Decimal::new(1_234_567_890_123_456_789, 0), decimal("10"));
        half.add(decimal("5"));
        assert_eq!(half.to_decimal(), Decimal::new(1_234_567_890_123_456_790, 1));
    }
}
