//! What a frame says by itself, as records: before anything is known of what came earlier.

use dccd_model::{BookLevel, BookSide, Flags, Quote, UnixNanos};

use super::executed::executed;
use super::feeds::record;
use super::{Executed, Level, Levels, Quoted, Traded};
use crate::{FeedIndex, Output};

/// What stands for itself is of this feed, and of the epoch 0.
const FEED: FeedIndex = 0;

const WHOLE: Flags = Flags(Flags::FIRST.0 | Flags::LAST.0);

/// Where the records of one frame go; see [`crate::Session::read`].
pub(crate) struct Plain<'o> {
    pub(super) ts_recv: UnixNanos,
    pub(super) out: &'o mut dyn Output,
}

impl Plain<'_> {
    pub(crate) fn trade(&mut self, trade: &Traded) {
        self.out.trade(FEED, &record(trade, self.ts_recv, WHOLE, 0));
    }

    pub(crate) fn executed(&mut self, trade: &Executed) {
        self.out.trade(FEED, &executed(trade, self.ts_recv, trade.flags | WHOLE));
    }

    pub(crate) fn quote(&mut self, quote: &Quoted) {
        let Quoted { ts_venue, bid, bid_amount, ask, ask_amount, .. } = *quote;
        let quote = Quote { ts_venue, ts_recv: self.ts_recv, bid, bid_amount, ask, ask_amount, flags: WHOLE };
        self.out.quote(FEED, &quote);
    }

    /// The levels of one event, bids first. `number`: as [`BookLevel::update_id`].
    pub(crate) fn levels(&mut self, ts_venue: UnixNanos, number: u64, levels: &Levels) {
        self.sides(ts_venue, number, &levels.bids, &levels.asks);
    }

    /// The same of levels that stand among others.
    pub(crate) fn sides(&mut self, ts_venue: UnixNanos, update_id: u64, bids: &[Level], asks: &[Level]) {
        let of = |side| move |level: &Level| (side, *level);
        let (mut left, mut flags) = (bids.len() + asks.len(), Flags::FIRST);
        for (side, Level { price, amount }) in bids.iter().map(of(BookSide::Bid)).chain(asks.iter().map(of(BookSide::Ask))) {
            left -= 1;
            if left == 0 {
                flags |= Flags::LAST;
            }
            let ts_recv = self.ts_recv;
            let level = BookLevel { ts_venue, ts_recv, price, amount, update_id, side, flags, epoch: 0, order_count: 0 };
            self.out.level(FEED, &level);
            flags = Flags::NONE;
        }
    }
}
