//! Whole numbers and hundred-millionths (`e8`) as text, appended to byte buffers. Allocates only when a buffer grows.

pub(crate) fn push_u64(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        #[allow(clippy::cast_possible_truncation)] // below ten
        let digit = (n % 10) as u8;
        digits[at] = b'0' + digit;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(crate) fn push_i64(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    push_u64(out, n.unsigned_abs());
}

/// A number of hundred-millionths with its eight decimals: `61837.63000000`.
pub(crate) fn push_e8(out: &mut Vec<u8>, n: i64) {
    if n < 0 {
        out.push(b'-');
    }
    let n = n.unsigned_abs();
    push_u64(out, n / 100_000_000);
    let mut fraction = n % 100_000_000;
    let mut digits = *b".00000000";
    for digit in digits[1..].iter_mut().rev() {
        #[allow(clippy::cast_possible_truncation)] // below ten
        let low = (fraction % 10) as u8;
        *digit = b'0' + low;
        fraction /= 10;
    }
    out.extend_from_slice(&digits);
}

pub(crate) fn e8_text(n: i64) -> String {
    let mut out = Vec::with_capacity(24);
    push_e8(&mut out, n);
    String::from_utf8_lossy(&out).into_owned()
}

/// A number of hundred-millionths with this many decimals, up to eight; what is below is cut off.
pub(crate) fn push_fixed(out: &mut Vec<u8>, e8: i64, digits: u32) {
    push_e8(out, e8);
    let spare = 8_usize.saturating_sub(usize::try_from(digits).unwrap_or(8));
    out.truncate(out.len() - spare - usize::from(digits == 0));
}

/// A number of hundred-millionths without the zeros at its end: `61837.63`.
pub(crate) fn push_short(out: &mut Vec<u8>, e8: i64) {
    push_e8(out, e8);
    // It has a point: nothing before that is cut off.
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
}

pub(crate) fn short(e8: i64) -> String {
    let mut out = Vec::with_capacity(24);
    push_short(&mut out, e8);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_have_no_zeros_at_their_end() {
        let texts = [4_372_600_000_000, 1_020, 0, 33_922_110, -150_000_000, 10_000_000_000].map(short);
        assert_eq!(texts, ["43726", "0.0000102", "0", "0.3392211", "-1.5", "100"]);
    }

    #[test]
    fn numbers_carry_eight_decimals() {
        for (n, text) in
            [(0, "0.00000000"), (1, "0.00000001"), (6_183_763_000_000, "61837.63000000"), (-50_000_000, "-0.50000000")]
        {
            assert_eq!(e8_text(n), text);
        }
        let mut out = Vec::new();
        push_u64(&mut out, u64::MAX);
        out.push(b' ');
        push_i64(&mut out, i64::MIN);
        assert_eq!(out, b"18446744073709551615 -9223372036854775808");
    }
}
