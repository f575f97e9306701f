//! Trades whose ids don't count, on their way from messages and answers to records: [`crate::integrity::Uncounted`] has the rules.

use dccd_model::{Channel, Decimal, Entry, Flags, Gap, Side, Symbol, Trade, TradeId, UnixNanos};

use super::BookRules;
use super::feeds::{FeedState, Feeds, Sequence, State, announce};
use crate::integrity::{Filled, Repetition, Tally, UncountedStep};
use crate::{FeedIndex, Output, Want};

/// A trade whose id doesn't count, as its message or page has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Executed {
    pub(crate) id: TradeId,
    /// [`Flags::WIDE_ID`] or nothing.
    pub(crate) flags: Flags,
    pub(crate) ts_venue: UnixNanos,
    pub(crate) price: Decimal,
    pub(crate) amount: Decimal,
    pub(crate) side: Side,
}

impl<B: BookRules> Feeds<B> {
    /// A trade whose id doesn't count arrived live, under the name that messages have for its symbol.
    pub(crate) fn executed(&mut self, entry: &Entry<'_>, name: &str, trade: &Executed, out: &mut dyn Output) {
        let Some(feed) = self.feed_of(name, Channel::Trades) else {
            return self.unrouted(entry.conn, out);
        };
        let State { feeds, states, .. } = &mut self.state;
        let Some(FeedState { tally, sequence: Sequence::Uncounted(trades), .. }) = states.get_mut(feed as usize) else {
            return;
        };
        let mut flags = trade.flags | Flags::FIRST | Flags::LAST;
        match trades.arrive(entry.conn, trade.id, trade.ts_venue) {
            UncountedStep::New { gap: None } => {}
            UncountedStep::New { gap: Some(gap) } => {
                tally.gaps += 1;
                flags |= Flags::GAP;
                out.gap(feed, &gap);
                if let Some(of) = feeds.get(feed as usize) {
                    out.want(want_since(feed, &of.symbol, gap.from));
                }
            }
            UncountedStep::Duplicate => {
                tally.duplicates += 1;
                return;
            }
            UncountedStep::Past => {
                tally.duplicates += 1;
                return out.past_trade(feed, &executed(trade, entry.ts_recv, flags));
            }
        }
        if let Some(gap) = tally.heard(entry.ts_recv) {
            flags |= Flags::GAP;
            out.gap(feed, &gap);
        }
        tally.records += 1;
        tally.last_recv = entry.ts_recv;
        out.trade(feed, &executed(trade, entry.ts_recv, flags));
    }

    /// A trade that was told before is told once more, live. Where the first time got lost, it is there now; whatever is missing besides
    /// shows as ever.
    pub(crate) fn confirmed(&mut self, entry: &Entry<'_>, name: &str, trade: &Executed, out: &mut dyn Output) {
        let Some(feed) = self.feed_of(name, Channel::Trades) else {
            return self.unrouted(entry.conn, out);
        };
        let Some(FeedState { tally, sequence: Sequence::Uncounted(trades), .. }) = self.state.states.get_mut(feed as usize)
        else {
            return;
        };
        let record = executed(trade, entry.ts_recv, trade.flags | Flags::FIRST | Flags::LAST);
        match trades.confirm(trade.id, trade.ts_venue) {
            Repetition::Known => {}
            Repetition::New => {
                tally.records += 1;
                tally.last_recv = entry.ts_recv;
                out.trade(feed, &record);
            }
            Repetition::Past => {
                tally.duplicates += 1;
                out.past_trade(feed, &record);
            }
        }
    }

    /// An answer brought the newest trades, whose ids don't count. `is_full`: there are older ones that it had no
    /// room for.
    pub(crate) fn newest(
        &mut self,
        feed: FeedIndex,
        entry: &Entry<'_>,
        page: &[Executed],
        is_full: bool,
        out: &mut dyn Output,
    ) {
        let Some(FeedState { tally, sequence: Sequence::Uncounted(trades), .. }) = self.state.states.get_mut(feed as usize)
        else {
            return;
        };
        let filled = trades.answered(&keys(page), is_full);
        fill(feed, entry, page, filled, tally, out);
    }

    /// An answer brought trades whose ids don't count, in the order of their time and all there are from the first to the last.
    /// `is_full`: there are newer ones that it had no room for.
    pub(crate) fn paged(
        &mut self,
        feed: FeedIndex,
        entry: &Entry<'_>,
        page: &[Executed],
        is_full: bool,
        out: &mut dyn Output,
    ) {
        let Some(FeedState { tally, sequence: Sequence::Uncounted(trades), .. }) = self.state.states.get_mut(feed as usize)
        else {
            return;
        };
        let filled = trades.paged(&keys(page), is_full);
        fill(feed, entry, page, filled, tally, out);
    }
}

fn keys(page: &[Executed]) -> Vec<(UnixNanos, TradeId)> {
    page.iter().map(|trade| (trade.ts_venue, trade.id)).collect()
}

/// Gives out what of an answer was missing.
fn fill(
    feed: FeedIndex,
    entry: &Entry<'_>,
    page: &[Executed],
    filled: Vec<Filled>,
    tally: &mut Tally,
    out: &mut dyn Output,
) {
    for Filled { gap, missing, is_whole } in filled {
        for trade in missing.iter().filter_map(|at| page.get(*at)) {
            tally.records += 1;
            out.trade(feed, &executed(trade, entry.ts_recv, trade.flags | Flags::FIRST | Flags::LAST));
        }
        if is_whole {
            announce(feed, &[Gap { repaired: true, ..gap }], tally, out);
        }
    }
}

pub(super) fn executed(trade: &Executed, ts_recv: UnixNanos, flags: Flags) -> Trade {
    let Executed { id, ts_venue, price, amount, side, .. } = *trade;
    Trade { ts_venue, ts_recv, price, amount, id, side, flags, epoch: 0 }
}

/// The trades of a gap that no ids tell, from here on: where it begins, or what was fetched of it ends; see [`crate::TradeHole`].
pub(super) fn want_since(feed: FeedIndex, symbol: &Symbol, ts_before: UnixNanos) -> Want {
    let begin = u64::try_from(ts_before.as_millis()).unwrap_or(0);
    Want::Trades { feed, symbol: symbol.clone(), from_id: begin, to_id: begin, ts_before }
}
