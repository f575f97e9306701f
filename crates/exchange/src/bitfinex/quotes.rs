//! Quotes: the best bid and ask of a book that is subscribed with one level a side. What changes comes level by level, so there are
//! moments in which a side has none: a quote is given out when both stand, or when nothing else follows.
//!
//! A feed's quotes are those of one connection, because neither a number nor a time is the same on two of them. Another takes over when
//! both say the same. Where the one that is followed ends or misses something, whichever says something next is followed, with a gap:
//! what it said meanwhile wasn't heard.
//!
//! What one connection was not sent, without a hole in its numbers, shows in the next checksum. Whether the exchange sums up what the
//! channel holds nobody promises for books of one level: only where the checksum before it was right, one that isn't tells.

use dccd_model::{Decimal, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::of_levels;
use crate::session::{Level, Levels};

/// The best levels as one connection brings them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Top {
    bid: Option<Level>,
    ask: Option<Level>,
    /// Prices of the last bid and ask in whose place another came before they ended.
    passed: [Option<Decimal>; 2],
    /// When the snapshot or a checksum last said that this is all, by the exchange's clock.
    proven: UnixNanos,
}

/// Bid, its amount, ask, its amount.
pub(super) type Values = [Decimal; 4];

impl Top {
    /// The first message of a channel: these are all the levels there are.
    pub(super) fn begin(&mut self, levels: &Levels, ts: UnixNanos) {
        let best = |levels: &[Level]| levels.iter().rfind(|level| !level.amount.is_zero()).copied();
        *self = Self { bid: best(&levels.bids), ask: best(&levels.asks), passed: [None; 2], proven: ts };
    }

    /// A change, or several. Since when what came can't be believed, if it ends what wasn't there.
    pub(super) fn apply(&mut self, levels: &Levels) -> Result<(), UnixNanos> {
        let [passed_bid, passed_ask] = &mut self.passed;
        let sides = [(&mut self.bid, passed_bid, &levels.bids), (&mut self.ask, passed_ask, &levels.asks)];
        let mut is_possible = true;
        for (best, passed, levels) in sides {
            for level in levels {
                let at = best.map(|best| best.price);
                if !level.amount.is_zero() {
                    *passed = at.filter(|at| *at != level.price).or(*passed);
                    *best = Some(*level);
                } else if at == Some(level.price) {
                    *best = None;
                } else {
                    is_possible &= passed.take() == Some(level.price);
                }
            }
        }
        if is_possible { Ok(()) } else { Err(self.proven) }
    }

    /// A checksum of the levels as they are now. Since when what came can't be believed, if it is wrong.
    pub(super) fn check(&mut self, expected: i32, ts: UnixNanos, text: &mut Vec<u8>) -> Result<(), UnixNanos> {
        if of_levels(self.bid, self.ask, text) != expected {
            return Err(self.proven);
        }
        self.proven = ts;
        Ok(())
    }

    /// When the snapshot or a checksum last said that this is all, by the exchange's clock.
    pub(super) const fn proven(&self) -> UnixNanos {
        self.proven
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
    /// The connection that was followed brings nothing more that can be believed: why.
    left: Option<Left>,
    /// Whether the last checksum was right.
    is_summed: bool,
}

/// Why quotes may be missing before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) reason: GapReason,
    /// What was given out since can't be believed, by the exchange's clock; `None`: all can.
    pub(super) since: Option<UnixNanos>,
}

impl Shown {
    fn leave(&mut self, left: Left) {
        self.conn = 0;
        self.left = Some(left);
    }
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
                let (name, values, left) = (name.to_owned(), None, None);
                self.0.push(Shown { name, conn: 0, number: 0, values, left, is_summed: false });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }

    /// A connection says this. The number of the quote, which is the last one's where it only takes over, and why others may be missing
    /// before it; `None`: it is nothing new.
    pub(super) fn arrive(&mut self, name: &str, conn: u32, values: Values) -> Option<(u64, Option<Left>)> {
        let shown = self.of(name);
        let is_the_same = shown.values == Some(values);
        if shown.conn == conn || shown.conn == 0 {
            if is_the_same && shown.conn == conn {
                return None;
            }
            (shown.conn, shown.values) = (conn, Some(values));
            shown.number += 1;
            return Some((shown.number, shown.left.take()));
        }
        // One that opened later takes the place of the one before it.
        if conn > shown.conn && is_the_same {
            shown.conn = conn;
            return Some((shown.number, None));
        }
        None
    }

    /// This connection brings nothing of it any more, or begins anew: whichever says something next is followed.
    pub(super) fn leave(&mut self, name: &str, conn: u32, left: Left) {
        self.0.iter_mut().filter(|shown| shown.name == name && shown.conn == conn).for_each(|shown| shown.leave(left));
    }

    /// This connection begins anew, for a reason that leaves no checksum to come for what it brought since `proven`: where they were right
    /// until then, that can't be believed either.
    pub(super) fn begin_anew(&mut self, name: &str, conn: u32, left: Left, proven: UnixNanos) {
        let since = left.since.or(self.of(name).is_summed.then_some(proven));
        self.leave(name, conn, Left { since, ..left });
    }

    /// A checksum of one level was right, or not. Whether it was to be right.
    pub(super) fn summed(&mut self, name: &str, is_right: bool) -> bool {
        std::mem::replace(&mut self.of(name).is_summed, is_right)
    }

    /// A connection ended; 0: all of them did.
    pub(super) fn closed(&mut self, conn: u32) {
        let left = Left { reason: GapReason::Disconnected, since: None };
        let of = self.0.iter_mut().filter(|shown| shown.conn != 0 && (conn == 0 || shown.conn == conn));
        of.for_each(|shown| shown.leave(left));
    }
}
