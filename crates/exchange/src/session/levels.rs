//! Levels of books on their way from the parser to the records, and how the records of one event are given out.

use dccd_model::{BookLevel, BookSide, Decimal, Flags, Gap, GapReason, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::integrity::Tally;
use crate::{FeedIndex, Output, Want};

/// A price and the amount now at it; zero: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, i8, i64, i8)", into = "(i64, i8, i64, i8)")]
pub(crate) struct Level {
    pub(crate) price: Decimal,
    pub(crate) amount: Decimal,
}

impl From<(i64, i8, i64, i8)> for Level {
    fn from((p, pe, a, ae): (i64, i8, i64, i8)) -> Self {
        Self { price: Decimal::new(p, pe), amount: Decimal::new(a, ae) }
    }
}

impl From<Level> for (i64, i8, i64, i8) {
    fn from(level: Level) -> Self {
        (level.price.mantissa, level.price.exponent, level.amount.mantissa, level.amount.exponent)
    }
}

/// Both sides of an event or snapshot. Used again for every event, so that parsing allocates nothing once it is warm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Levels {
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
}

impl Levels {
    pub(crate) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}

/// What all levels of one event have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventHead {
    pub(crate) ts_venue: UnixNanos,
    pub(crate) ts_recv: UnixNanos,
    /// 0 where the exchange numbers nothing.
    pub(crate) update_id: u64,
    pub(crate) epoch: u32,
    /// How many levels there are.
    pub(crate) count: usize,
}

/// Where a book's records go, and in whose name.
pub(crate) struct Sink<'s> {
    pub(crate) feed: FeedIndex,
    pub(crate) symbol: &'s Symbol,
    pub(crate) tally: &'s mut Tally,
    pub(crate) overflowed: &'s mut u64,
    pub(crate) out: &'s mut dyn Output,
}

impl Sink<'_> {
    /// Gives out one event's levels. `facts` go to the first level, [`Flags::SNAPSHOT`] among them to all; what was said is
    /// taken out of them.
    pub(crate) fn event(&mut self, head: EventHead, facts: &mut Flags, levels: impl Iterator<Item = (BookSide, Level)>) {
        let common = Flags(facts.0 & Flags::SNAPSHOT.0);
        if let Some(gap) = self.tally.heard(head.ts_recv) {
            *facts |= Flags::GAP;
            self.out.gap(self.feed, &gap);
        }
        let mut i = 0;
        levels.for_each(|(side, level)| {
            let mut flags = common;
            if i == 0 {
                flags |= *facts | Flags::FIRST;
                *facts = common;
            }
            i += 1;
            if i == head.count {
                flags |= Flags::LAST;
            }
            let EventHead { ts_venue, ts_recv, update_id, epoch, .. } = head;
            let Level { price, amount } = level;
            let record = BookLevel { ts_venue, ts_recv, price, amount, update_id, side, flags, epoch, order_count: 0 };
            self.out.level(self.feed, &record);
        });
        self.tally.records += head.count as u64;
        self.tally.last_recv = self.tally.last_recv.max(head.ts_recv);
    }

    /// Declares what is missing between two epochs.
    pub(crate) fn gap(&mut self, from: UnixNanos, to: UnixNanos, reason: GapReason) {
        self.tally.gaps += 1;
        self.out.gap(self.feed, &Gap { from, to, reason, repaired: false, ids: None });
    }

    pub(crate) fn want(&mut self, want: Want) {
        self.out.want(want);
    }
}
