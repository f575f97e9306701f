//! What a single value means where a number is wanted: YAML 1.1's forms, as the Python dccd read them.

/// A whole number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// As everybody reads it.
    Clear(i128),
    /// As YAML 1.1 reads it (`010` is 8, `1:00` is 60), and not what YAML 1.2 would read.
    Old(i128),
}

/// Reads a whole number: decimal, `0x`, `0o`, `0b`, underscores between digits, a fraction of zeros; in plain text also
/// YAML 1.1's octal (`010`) and base 60 (`1:00`).
pub(crate) fn whole(text: &str, plain: bool) -> Option<Whole> {
    let (sign, body) = match text.strip_prefix(['-', '+']) {
        Some(body) => (if text.starts_with('-') { -1 } else { 1 }, body),
        None => (1, text),
    };
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = body.replace('_', "");
    let radix = |prefix: &str, radix| {
        let digits = digits.strip_prefix(prefix)?;
        digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| i128::from_str_radix(digits, radix).ok()).flatten()
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)) {
        return Some(Whole::Clear(sign * value));
    }
    if digits.contains(':') {
        let mut value: i128 = 0;
        for (index, part) in digits.split(':').enumerate() {
            let part: i128 = part.parse().ok().filter(|n| index == 0 || (0..60).contains(n))?;
            value = value.checked_mul(60)?.checked_add(part)?;
        }
        return plain.then_some(Whole::Old(sign * value));
    }
    let integral = match digits.split_once('.') {
        Some((integral, zeros)) if zeros.bytes().all(|b| b == b'0') => integral,
        Some(_) => return None,
        None => &digits,
    };
    if !integral.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if plain && integral == digits && integral.len() > 1 && integral.starts_with('0') {
        return i128::from_str_radix(integral, 8).ok().map(|value| Whole::Old(sign * value));
    }
    integral.parse::<i128>().ok().map(|value| Whole::Clear(sign * value))
}

/// Reads a number with or without a fraction or exponent. Not a number and infinite are none.
pub(crate) fn number(text: &str) -> Option<f64> {
    let digits = text.replace('_', "");
    let starts = digits.trim_start_matches(['-', '+']);
    if !starts.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    digits.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_as_python_read_them() {
        for (text, value) in [
            ("60", Whole::Clear(60)),
            ("+60", Whole::Clear(60)),
            ("-1", Whole::Clear(-1)),
            ("1_000", Whole::Clear(1_000)),
            ("0x10", Whole::Clear(16)),
            ("0o17", Whole::Clear(15)),
            ("0b11", Whole::Clear(3)),
            ("3600.0", Whole::Clear(3_600)),
            ("0", Whole::Clear(0)),
            ("010", Whole::Old(8)),
            ("1:00:00", Whole::Old(3_600)),
        ] {
            assert_eq!(whole(text, true), Some(value), "{text}");
        }
        assert_eq!(whole("010", false), Some(Whole::Clear(10)), "quoted digits have no old reading");
        for bad in ["", "-", "x", "1.5", "1e3x", "_1", "0x", "0xg", "089", "1:99", "1:", "60s", "१", "1 0", "0b2"] {
            assert_eq!(whole(bad, true), None, "{bad}");
        }
    }

    #[test]
    fn numbers_have_fractions_and_exponents() {
        for (text, value) in [("2.0", 2.0), (".5", 0.5), ("1e3", 1_000.0), ("1_000.5", 1_000.5), ("-3", -3.0)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for bad in ["", ".", "inf", "nan", ".inf", "1e999", "x", "1.2.3", "infinity"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
