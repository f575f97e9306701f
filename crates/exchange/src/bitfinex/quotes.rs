//! Quotes: the best bid and ask of a book that is subscribed with one level a side. What changes comes level by level, so there are
//! moments in which a side has none: a quote is given out when both stand, or when nothing else follows.
//!
//! A feed's quotes are those of one connection, because neither a number nor a time is the same on two of them. Another takes over when
//! both say the same, or when the first one ended.

use dccd_model::{BookSide, Decimal};
use serde::{Deserialize, Serialize};

use crate::session::{Level, Levels};

/// The best levels as one connection brings them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Top {
    bid: Option<Level>,
    ask: Option<Level>,
}

/// Bid, its amount, ask, its amount.
pub(super) type Values = [Decimal; 4];

impl Top {
    /// The first message of a channel: these are all the levels there are.
    pub(super) fn begin(&mut self, levels: &Levels) {
        *self = Self::default();
        self.apply(levels);
    }

    /// A change, or several.
    pub(super) fn apply(&mut self, levels: &Levels) {
        for (side, levels) in [(BookSide::Bid, &levels.bids), (BookSide::Ask, &levels.asks)] {
            let best = if side == BookSide::Bid { &mut self.bid } else { &mut self.ask };
            for level in levels {
                if !level.amount.is_zero() {
                    *best = Some(*level);
                } else if best.is_some_and(|best| best.price == level.price) {
                    *best = None;
                }
            }
        }
    }

    /// The quote, if both sides stand. `is_settled`: nothing else follows, so a side without a level has none.
    pub(super) fn values(&self, is_settled: bool) -> Option<Values> {
        let nobody = is_settled.then_some(Level { price: Decimal::ZERO, amount: Decimal::ZERO });
        let (bid, ask) = (self.bid.or(nobody)?, self.ask.or(nobody)?);
        let is_crossed = !ask.amount.is_zero() && bid.price >= ask.price;
        (!is_crossed).then_some([bid.price, bid.amount, ask.price, ask.amount])
    }
}

/// What was given out of one feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    /// What it is about: `tBTCUSD`.
    name: String,
    /// The connection that it follows; 0: none.
    conn: u32,
    /// Quotes so far.
    number: u64,
    /// What the last one said; `None` before the first.
    #[serde(with = "values_as_levels")]
    values: Option<Values>,
}

/// How the values within saved state are written: as two levels.
mod values_as_levels {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Level, Values};

    pub(super) fn serialize<S: Serializer>(values: &Option<Values>, serializer: S) -> Result<S::Ok, S::Error> {
        let levels = values.map(|[bid, bid_amount, ask, ask_amount]| {
            [Level { price: bid, amount: bid_amount }, Level { price: ask, amount: ask_amount }]
        });
        levels.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Values>, D::Error> {
        let levels = Option::<[Level; 2]>::deserialize(deserializer)?;
        Ok(levels.map(|[bid, ask]| [bid.price, bid.amount, ask.price, ask.amount]))
    }
}

/// What was given out of all feeds of quotes. As large as the number of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Quotes(Vec<Shown>);

impl Quotes {
    fn of(&mut self, name: &str) -> &mut Shown {
        let at = match self.0.iter().position(|shown| shown.name == name) {
            Some(at) => at,
            None => {
                self.0.push(Shown { name: name.to_owned(), conn: 0, number: 0, values: None });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }

    /// A connection says this. The number of the quote, which is the last one's where it only takes over; `None`: it is nothing new.
    pub(super) fn arrive(&mut self, name: &str, conn: u32, values: Values) -> Option<u64> {
        let shown = self.of(name);
        let is_the_same = shown.values == Some(values);
        if shown.conn == conn || shown.conn == 0 {
            if is_the_same && shown.conn == conn {
                return None;
            }
            (shown.conn, shown.values) = (conn, Some(values));
            shown.number += 1;
            return Some(shown.number);
        }
        // One that opened later takes the place of the one before it.
        if conn > shown.conn && is_the_same {
            shown.conn = conn;
            return Some(shown.number);
        }
        None
    }

    /// This connection brings nothing of it any more, or begins anew: whichever says something next is followed.
    pub(super) fn leave(&mut self, name: &str, conn: u32) {
        self.0.iter_mut().filter(|shown| shown.name == name && shown.conn == conn).for_each(|shown| shown.conn = 0);
    }

    /// A connection ended; 0: all of them did.
    pub(super) fn closed(&mut self, conn: u32) {
        self.0.iter_mut().filter(|shown| conn == 0 || shown.conn == conn).for_each(|shown| shown.conn = 0);
    }
}
