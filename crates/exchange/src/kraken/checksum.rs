//! The checksum of a book: CRC32 (IEEE) over the digits of the best ten asks and then the best ten bids, prices and amounts
//! without their points and leading zeros, exactly as the exchange writes them.
//!
//! Trailing zeros count, so it is computed over the wire's own digits. A mirror that took the numbers through doubles has cut
//! them off; then they are put back as the market's precisions say, and it has to agree all the same.

use dccd_model::{BookSide, Decimal};

use crate::Ladder;

/// Levels a side that it covers.
const LEVELS: usize = 10;

/// How many digits after the point a market's prices and amounts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Precision {
    pub(super) price: u8,
    pub(super) amount: u8,
}

/// Over the digits as they came.
pub(super) fn checksum(book: &Ladder) -> u32 {
    over(book, |number| Some(number.mantissa), |number| Some(number.mantissa)).unwrap_or_default()
}

/// Over the digits as they would be with this precision; `None` where a number has more.
pub(super) fn padded(book: &Ladder, precision: Precision) -> Option<u32> {
    over(book, |price| digits(price, precision.price), |amount| digits(amount, precision.amount))
}

fn digits(number: Decimal, places: u8) -> Option<i64> {
    let missing = i32::from(places) + i32::from(number.exponent);
    number.mantissa.checked_mul(10i64.checked_pow(u32::try_from(missing).ok()?)?)
}

fn over(book: &Ladder, price: impl Fn(Decimal) -> Option<i64>, amount: impl Fn(Decimal) -> Option<i64>) -> Option<u32> {
    let mut text = Text::default();
    // Written from its end: the last of the bids first.
    for side in [BookSide::Bid, BookSide::Ask] {
        for (at, of) in book.best_last(side, LEVELS) {
            text.put_before(amount(*of)?);
            text.put_before(price(*at)?);
        }
    }
    Some(crc32fast::hash(text.digits()))
}

/// Two numbers of at most 19 digits for each of twenty levels, and room for a pair too many.
const TEXT_BYTES: usize = LEVELS * 2 * 2 * 19 + 2;

/// Digits, written from the end of their room to its beginning.
struct Text {
    bytes: [u8; TEXT_BYTES],
    begin: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; TEXT_BYTES], begin: TEXT_BYTES }
    }
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0u8;
    while n < 100 {
        pairs[n as usize] = [b'0' + n / 10, b'0' + n % 10];
        n += 1;
    }
    pairs
};

impl Text {
    fn put_before(&mut self, number: i64) {
        let mut rest = number.unsigned_abs();
        while rest >= 100 {
            self.pair(rest % 100);
            rest /= 100;
        }
        self.pair(rest);
        // The first pair may have begun with a zero, and zero has no digits at all.
        self.begin += if rest == 0 { 2 } else { usize::from(rest < 10) };
    }

    fn pair(&mut self, number: u64) {
        let Some(begin) = self.begin.checked_sub(2) else { return };
        let pair = usize::try_from(number).ok().and_then(|number| PAIRS.get(number)).copied().unwrap_or_default();
        self.bytes[begin..begin + 2].copy_from_slice(&pair);
        self.begin = begin;
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn book(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> Ladder {
        let mut book = Ladder::new();
        for (side, levels) in [(BookSide::Bid, bids), (BookSide::Ask, asks)] {
            for (price, amount) in levels {
                let number = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
                book.set(side, number(price), number(amount));
            }
        }
        book
    }

    const BIDS: [(&str, &str); 11] = [
        ("45283.5", "0.10000000"),
        ("45283.4", "1.54582015"),
        ("45282.1", "0.10000000"),
        ("45281.0", "0.10000000"),
        ("45280.3", "1.54592586"),
        ("45279.0", "0.07990000"),
        ("45277.6", "0.03310103"),
        ("45277.5", "0.30000000"),
        ("45277.3", "1.54602737"),
        ("45276.6", "0.15445238"),
        ("45276.5", "9.00000000"),
    ];
    const ASKS: [(&str, &str); 11] = [
        ("45285.2", "0.00100000"),
        ("45286.4", "1.54571953"),
        ("45286.6", "1.54571109"),
        ("45289.6", "1.54560911"),
        ("45290.2", "0.15890660"),
        ("45291.8", "1.54553491"),
        ("45294.7", "0.04454749"),
        ("45296.1", "0.35380000"),
        ("45297.5", "0.09945542"),
        ("45299.5", "0.18772827"),
        ("45299.6", "9.00000000"),
    ];

    #[test]
    fn the_exchanges_own_example_agrees_whatever_is_below_the_tenth_level() {
        assert_eq!(checksum(&book(&BIDS, &ASKS)), 3_310_070_434);
        assert_eq!(checksum(&book(&BIDS[..10], &ASKS[..10])), 3_310_070_434);
        assert_ne!(checksum(&book(&BIDS[..9], &ASKS[..10])), 3_310_070_434);
        assert_eq!(checksum(&Ladder::new()), 0);
    }

    #[test]
    fn digits_that_were_cut_off_are_put_back() {
        fn cut<'a>(levels: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
            let short = |text: &'a str| text.trim_end_matches('0').trim_end_matches('.');
            levels.iter().map(|(price, amount)| (short(price), short(amount))).collect()
        }
        let short = book(&cut(&BIDS), &cut(&ASKS));
        assert_ne!(checksum(&short), 3_310_070_434);
        assert_eq!(padded(&short, Precision { price: 1, amount: 8 }), Some(3_310_070_434));
        assert_eq!(padded(&book(&BIDS, &ASKS), Precision { price: 1, amount: 8 }), Some(3_310_070_434));
        assert_eq!(padded(&short, Precision { price: 0, amount: 8 }), None, "a number with more digits than there can be");
        assert_eq!(padded(&short, Precision { price: 1, amount: 200 }), None);
    }

    #[test]
    fn any_single_digit_that_differs_shows() {
        let right = checksum(&book(&BIDS, &ASKS));
        for level in 0..10 {
            for digit in 2..10 {
                for side in [true, false] {
                    let (mut bids, mut asks) = (BIDS, ASKS);
                    let levels = if side { &mut bids } else { &mut asks };
                    let mut amount = levels[level].1.to_owned();
                    let other = if amount.as_bytes()[digit] == b'9' { "0" } else { "9" };
                    amount.replace_range(digit..=digit, other);
                    levels[level].1 = &amount;
                    assert_ne!(checksum(&book(&bids, &asks)), right, "level {level}, digit {digit}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_print(numbers in proptest::collection::vec(prop_oneof![1i64..2_000, 1i64..i64::MAX], 1..40)) {
            let mut text = Text::default();
            numbers.iter().rev().for_each(|number| text.put_before(*number));
            let printed: String = numbers.iter().map(i64::to_string).collect();
            prop_assert_eq!(std::str::from_utf8(text.digits()).unwrap(), printed);
        }
    }
}
