//! Numbers as the exchange writes them: shortest digits, no zeros at the end, an exponent below a millionth. Its checksums are over
//! these digits.

use crate::digits::{push_e8, push_u64};

/// Below this, `e8`, a number has an exponent.
const PLAIN_MIN: u64 = 100;

/// A number of hundred-millionths.
pub(super) fn push(out: &mut Vec<u8>, e8: i64) {
    let size = e8.unsigned_abs();
    if size == 0 {
        out.push(b'0');
        return;
    }
    if size >= PLAIN_MIN {
        push_e8(out, e8);
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.last() == Some(&b'.') {
            out.pop();
        }
        return;
    }
    if e8 < 0 {
        out.push(b'-');
    }
    let (lead, rest) = if size >= 10 { (size / 10, size % 10) } else { (size, 0) };
    push_u64(out, lead);
    if rest > 0 {
        out.push(b'.');
        push_u64(out, rest);
    }
    out.extend_from_slice(if size >= 10 { b"e-7" } else { b"e-8" });
}

/// The same as text.
pub(super) fn text(e8: i64) -> String {
    let mut out = Vec::with_capacity(24);
    push(&mut out, e8);
    String::from_utf8_lossy(&out).into_owned()
}

/// A double: what the exchange has summed up itself.
pub(super) fn push_double(out: &mut Vec<u8>, value: f64) {
    let text = if value != 0.0 && value.abs() < 1e-6 { format!("{value:e}") } else { value.to_string() };
    out.extend_from_slice(text.as_bytes());
}

/// Hundred-millionths as the nearest double.
#[allow(clippy::cast_precision_loss)] // that is what is left of a sum of doubles
pub(super) fn double(e8: i64) -> f64 {
    e8 as f64 / 1e8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_recorded_messages() {
        for (e8, expected) in [
            (11_891_000_000_000, "118910"),
            (110, "0.0000011"),
            (100, "0.000001"),
            (70, "7e-7"),
            (66, "6.6e-7"),
            (10, "1e-7"),
            (1, "1e-8"),
            (9, "9e-8"),
            (-200_000, "-0.002"),
            (-52_810_269_042_633, "-528102.69042633"),
            (-49, "-4.9e-7"),
            (0, "0"),
            (50_079_310_790_141, "500793.10790141"),
        ] {
            assert_eq!(text(e8), expected);
        }
        for (value, expected) in [
            (47.914_412_330_000_005, "47.914412330000005"),
            (4.9e-7, "4.9e-7"),
            (7.88e-6, "0.00000788"),
            (0.0, "0"),
            (-3710.0, "-3710"),
        ] {
            let mut out = Vec::new();
            push_double(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
