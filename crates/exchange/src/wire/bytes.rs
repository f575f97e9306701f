//! Where texts, words and digits end: the innermost loops of all that is read.
//!
//! They go byte by byte: the processor guesses right where each will end, since they do so at much the same place in every message, and goes
//! on without waiting to be told. Looking at eight bytes at once, as one integer, was slower.

use dccd_model::Decimal;

/// Digits of which any number fits a `u64`.
const DIGITS_MAX: usize = 19;

const fn table(of: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut i = 0;
    while i < of.len() {
        table[of[i] as usize] = true;
        i += 1;
    }
    table
}

/// What may end a text: its quote, a backslash, or what must be escaped.
static ENDS_TEXT: [bool; 256] = {
    let mut ends = table(b"\"\\");
    let mut control = 0;
    while control < 0x20 {
        ends[control] = true;
        control += 1;
    }
    ends
};

/// What a number or a word without quotes may be made of.
static OF_TOKEN: [bool; 256] = table(b"+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

/// Where a text ends, or has to be looked at.
#[inline]
pub(super) fn text_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| !ENDS_TEXT[usize::from(*byte)]) {
        at += 1;
    }
    at
}

/// Whether a number or a word without quotes goes on here.
#[inline]
pub(super) fn is_token(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| OF_TOKEN[usize::from(*byte)])
}

/// Where a number or a word without quotes ends.
#[inline]
pub(super) fn token_end(bytes: &[u8], mut at: usize) -> usize {
    while is_token(bytes, at) {
        at += 1;
    }
    at
}

/// Reads on from a number whose digits so far are `value`: the number, and where its digits end. Wrong where there are more than
/// [`DIGITS_MAX`] in all.
#[inline]
fn digits(bytes: &[u8], at: usize, mut value: u64) -> (u64, usize) {
    let mut end = at;
    while let Some(byte) = bytes.get(end) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (value, end)
}

/// What nearly every whole number looks like: its value, and where it ends. `None`: no digit, or too many.
#[inline]
pub(super) fn integer(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let (value, end) = digits(bytes, at, 0);
    (1..=DIGITS_MAX).contains(&(end - at)).then_some((value, end))
}

/// What nearly every price and amount looks like: digits with at most one point after the first of them, few enough that nothing can
/// overflow; and where it ends. `None`: something else, that [`Decimal::parse`] decides about.
#[inline]
pub(super) fn plain(bytes: &[u8], at: usize) -> Option<(Decimal, usize)> {
    let (mut value, mut end) = digits(bytes, at, 0);
    let (mut count, mut places) = (end - at, 0);
    if count > 0 && bytes.get(end) == Some(&b'.') {
        let begin = end + 1;
        (value, end) = digits(bytes, begin, value);
        places = end - begin;
        count += places;
    }
    if count == 0 || count > DIGITS_MAX {
        return None;
    }
    Some((Decimal::new(i64::try_from(value).ok()?, -i8::try_from(places).ok()?), end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_are_found_wherever_they_stand(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..44) {
            let rest = bytes.get(at..).unwrap_or_default();
            let end = |ends: fn(&u8) -> bool| at + rest.iter().position(ends).unwrap_or(rest.len());
            prop_assert_eq!(text_end(&bytes, at), end(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)));
            prop_assert_eq!(token_end(&bytes, at), end(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte))));
            prop_assert_eq!(is_token(&bytes, at), token_end(&bytes, at) > at);
        }

        #[test]
        fn whole_numbers_are_read_up_to_their_end(before in "[a-z]{0,9}", digits in "[0-9]{0,18}", after in "[^0-9][0-9]{0,9}|") {
            let text = format!("{before}{digits}{after}");
            let number = digits.parse::<u64>().ok().map(|number| (number, before.len() + digits.len()));
            prop_assert_eq!(integer(text.as_bytes(), before.len()), number);
        }

        #[test]
        fn decimals_are_those_of_the_long_way_or_none(text in "[0-9]{0,20}(\\.[0-9]{0,20})?") {
            let long = Decimal::parse(text.as_bytes()).ok().map(|d| (d.mantissa, d.exponent, text.len()));
            let short = plain(text.as_bytes(), 0).map(|(d, end)| (d.mantissa, d.exponent, end));
            let is_plain = !text.starts_with('.') && text.replace('.', "").len() <= DIGITS_MAX;
            // Nineteen digits may or may not fit.
            if is_plain && text.replace('.', "").len() < DIGITS_MAX {
                prop_assert_eq!(short, long);
            } else {
                prop_assert!(short.is_none() || (is_plain && short == long));
            }
        }
    }
}
