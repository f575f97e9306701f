//! The checksum of a book: CRC32 (IEEE), signed, over `price:amount` of the best 25 levels, a bid and an ask in turn, joined by
//! colons, exactly as the exchange writes them. Since June 2026 it is always 0, which says nothing; what was recorded before has it.

use std::io::Write as _;

use dccd_model::{BookSide, Decimal};

use crate::Ladder;

/// Levels a side that it covers.
const LEVELS: usize = 25;

/// Over the digits as they came; `text` is used again.
pub(super) fn checksum(book: &Ladder, text: &mut Vec<u8>) -> i32 {
    text.clear();
    let (bids, asks) = (book.best_last(BookSide::Bid, LEVELS), book.best_last(BookSide::Ask, LEVELS));
    for at in 0..LEVELS {
        for side in [bids, asks] {
            if let Some((price, amount)) = side.len().checked_sub(at + 1).and_then(|place| side.get(place)) {
                put(text, *price);
                put(text, *amount);
            }
        }
    }
    text.pop();
    crc32fast::hash(text).cast_signed()
}

/// Places behind the point of which a number is written without a detour; more than an `i64` has digits.
const PLACES_MAX: usize = 20;

/// Writes a number that isn't below zero, as [`Decimal`] shows it.
fn put(text: &mut Vec<u8>, number: Decimal) {
    let places = usize::from(number.exponent.unsigned_abs());
    if number.exponent > 0 || places > PLACES_MAX {
        // Writing into memory can't fail.
        let _ = write!(text, "{number}:");
        return;
    }
    // From its end.
    let mut room = [b':'; PLACES_MAX + 4];
    let (mut rest, mut begin, mut written) = (number.mantissa.unsigned_abs(), room.len() - 1, 0);
    while rest > 0 || written <= places {
        if written == places && places > 0 {
            begin -= 1;
            room[begin] = b'.';
        }
        begin -= 1;
        // One digit.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (rest % 10) as u8;
        room[begin] = b'0' + digit;
        rest /= 10;
        written += 1;
    }
    text.extend_from_slice(&room[begin..]);
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
    fn sides_take_turns_and_the_longer_one_goes_on_alone() {
        let mut ladder = Ladder::new();
        ladder.replace(&Levels {
            bids: levels(&[("3366.1", "7")]),
            asks: levels(&[("3366.8", "9"), ("3368", "8"), ("3372", "8")]),
        });
        let mut text = Vec::new();
        checksum(&ladder, &mut text);
        assert_eq!(String::from_utf8_lossy(&text), "3366.1:7:3366.8:9:3368:8:3372:8");
        assert_eq!(checksum(&ladder, &mut text), 831_078_360);
        ladder.clear();
        assert_eq!(checksum(&ladder, &mut text), 0);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are_shown(mantissa in prop_oneof![0i64..200, 0i64..], exponent in -24i8..5) {
            let number = Decimal::new(mantissa, exponent);
            let mut text = Vec::new();
            put(&mut text, number);
            prop_assert_eq!(String::from_utf8_lossy(&text).into_owned(), format!("{number}:"));
        }
    }
}
