//! The checksum of a book: CRC32 (IEEE), signed, over `price:amount` of the best 25 levels, a bid and an ask in turn, joined by
//! colons, amounts of asks below zero; a side that has no more is left out. Numbers are written as JavaScript writes them, which is
//! how they stand on the wire: `7e-7` and not `0.0000007`, and never with zeros at the end.

use dccd_model::{BookSide, Decimal};

use crate::Ladder;
use crate::session::Level;

/// Levels a side that it covers.
const LEVELS: usize = 25;

/// Of this book; `text` is used again.
pub(super) fn checksum(book: &Ladder, text: &mut Vec<u8>) -> i32 {
    of(book.best_last(BookSide::Bid, LEVELS), book.best_last(BookSide::Ask, LEVELS), text)
}

/// Of a book of these levels alone.
pub(super) fn of_levels(bid: Option<Level>, ask: Option<Level>, text: &mut Vec<u8>) -> i32 {
    let (bid, ask) = (bid.map(|level| (level.price, level.amount)), ask.map(|level| (level.price, level.amount)));
    of(bid.as_slice(), ask.as_slice(), text)
}

/// Of these levels, the best of a side last.
fn of(bids: &[(Decimal, Decimal)], asks: &[(Decimal, Decimal)], text: &mut Vec<u8>) -> i32 {
    text.clear();
    for at in 0..LEVELS {
        for (side, sign) in [(bids, b"".as_slice()), (asks, b"-")] {
            if let Some((price, amount)) = side.len().checked_sub(at + 1).and_then(|place| side.get(place)) {
                put(text, *price);
                text.push(b':');
                text.extend_from_slice(sign);
                put(text, *amount);
                text.push(b':');
            }
        }
    }
    text.pop();
    crc32fast::hash(text).cast_signed()
}

/// Writes a number that isn't below zero as JavaScript does (ECMA-262, `Number::toString`).
fn put(text: &mut Vec<u8>, number: Decimal) {
    let Decimal { mantissa, exponent } = number;
    let (mut rest, mut exponent) = (mantissa.unsigned_abs(), i32::from(exponent));
    if rest == 0 {
        return text.push(b'0');
    }
    while rest.is_multiple_of(10) {
        rest /= 10;
        exponent += 1;
    }
    let mut room = [0u8; 20];
    let mut begin = room.len();
    while rest > 0 {
        begin -= 1;
        // One digit.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (rest % 10) as u8;
        room[begin] = b'0' + digit;
        rest /= 10;
    }
    let digits = &room[begin..];
    let count = i32::try_from(digits.len()).unwrap_or(0);
    // Where the point stands, counted from the first digit.
    let point = count + exponent;
    let zeros = |text: &mut Vec<u8>, count: i32| text.extend((0..count).map(|_| b'0'));
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or(0).min(digits.len()));
    match point {
        _ if point > 21 || point <= -6 => {
            let (first, others) = split(1);
            text.extend_from_slice(first);
            if !others.is_empty() {
                text.push(b'.');
                text.extend_from_slice(others);
            }
            text.extend_from_slice(if point > 0 { b"e+" } else { b"e-" });
            text.extend_from_slice((point - 1).unsigned_abs().to_string().as_bytes());
        }
        _ if point >= count => {
            text.extend_from_slice(digits);
            zeros(text, point - count);
        }
        _ if point > 0 => {
            let (whole, fraction) = split(point);
            text.extend_from_slice(whole);
            text.push(b'.');
            text.extend_from_slice(fraction);
        }
        _ => {
            text.extend_from_slice(b"0.");
            zeros(text, -point);
            text.extend_from_slice(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::{Level, Levels};

    fn levels(list: &[(&str, &str)]) -> Vec<Level> {
        let number = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        list.iter().map(|(price, amount)| Level { price: number(price), amount: number(amount) }).collect()
    }

    #[test]
    fn sides_take_turns_and_asks_have_a_sign() {
        let mut ladder = Ladder::new();
        let (bids, asks) = (levels(&[("6000", "1"), ("5900", "1")]), levels(&[("6100", "3"), ("6200", "4")]));
        ladder.replace(&Levels { bids: bids.clone(), asks });
        let mut text = Vec::new();
        assert_eq!(checksum(&ladder, &mut text), 1_361_075_891);
        assert_eq!(String::from_utf8_lossy(&text), "6000:1:6100:-3:5900:1:6200:-4");
        ladder.replace(&Levels { bids, asks: levels(&[("6100.0", "3.00")]) });
        checksum(&ladder, &mut text);
        assert_eq!(String::from_utf8_lossy(&text), "6000:1:6100:-3:5900:1", "one side is shorter");
        ladder.clear();
        assert_eq!(checksum(&ladder, &mut text), 0);
    }

    #[test]
    fn numbers_are_written_as_javascript_does() {
        for (from, to) in [
            ("7e-7", "7e-7"),
            ("0.00000066", "6.6e-7"),
            ("0.0000011", "0.0000011"),
            ("0.000001", "0.000001"),
            ("1e-8", "1e-8"),
            ("123456.789", "123456.789"),
            ("-0.5", "0.5"),
            ("100", "100"),
            ("1e3", "1000"),
            ("1.50", "1.5"),
            ("0", "0"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e22", "1.5e+22"),
            ("500793.10790141", "500793.10790141"),
        ] {
            let mut text = Vec::new();
            put(&mut text, Decimal::parse(from.as_bytes()).unwrap());
            assert_eq!(String::from_utf8_lossy(&text), to);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same_number(mantissa in 0i64.., exponent in -30i8..10) {
            let number = Decimal::new(mantissa, exponent);
            let mut text = Vec::new();
            put(&mut text, number);
            let back: serde_json::Number = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(Decimal::parse(&text), Ok(number), "{}", back);
        }
    }
}
