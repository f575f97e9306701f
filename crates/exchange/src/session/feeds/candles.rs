//! Candles that the exchange sends.

use dccd_model::{Candle, Entry, Flags, Grid};

use super::{FeedState, Feeds, Sequence, State};
use crate::Output;
use crate::integrity::CandleStep;
use crate::session::BookRules;

impl<B: BookRules> Feeds<B> {
    /// A candle arrived, growing or [closed](Flags::CLOSED), under the name that messages have for its symbol.
    pub(crate) fn candle(&mut self, entry: &Entry<'_>, name: &str, candle: &Candle, out: &mut dyn Output) {
        let Some(feed) = self.routes.get(name).and_then(|r| r.candles) else {
            return self.unrouted(entry.conn, out);
        };
        let State { states, connections, counters, .. } = &mut self.state;
        let Some(FeedState { continuity, tally, sequence: Sequence::Candles(candles), .. }) = states.get_mut(feed as usize)
        else {
            return;
        };
        let (grid, is_closed) = (Grid::new(candle.span), candle.flags.contains(Flags::CLOSED));
        let reason = continuity.reason(entry.conn, connections);
        let step = candles.arrive(candle.ts_open, is_closed, grid, reason);
        continuity.carried(entry.conn, counters.entries);
        match step {
            CandleStep::Duplicate => {
                tally.duplicates += 1;
                return;
            }
            CandleStep::Growing => {}
            CandleStep::Closed { gap } => {
                continuity.mend();
                if let Some(gap) = gap {
                    tally.gaps += 1;
                    out.gap(feed, &gap);
                }
            }
        }
        tally.records += 1;
        tally.last_recv = entry.ts_recv;
        out.candle(feed, candle);
    }
}
