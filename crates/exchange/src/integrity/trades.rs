//! Contiguous trade ids: what is new, what came late, what was there before, and what is missing. Bounded.

use std::collections::VecDeque;

use dccd_model::{Gap, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

/// Open gaps kept; past that the oldest is given up and stays unrepaired.
const GAPS_MAX: usize = 1_024;
/// Pieces that the missing ids of one gap may fall into; a late trade that would make more is refused, and stays missing.
const PIECES_MAX: usize = 1_024;
/// An id so far back, with a time so much newer, is the exchange beginning its ids anew, and no trade seen before.
const RESET_IDS: u64 = 10_000;
const RESET_NANOS: i64 = 10_000_000_000;

/// Exchanges that aggregate number aggregates and single trades apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IdSpace {
    Single,
    Aggregated,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenGap {
    gap: Gap,
    /// What is still missing of it, ascending, both ends included.
    missing: Vec<(u64, u64)>,
}

/// What a trade's id means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TradeStep {
    /// It is the newest; a gap was found before it.
    New { gap: Option<Gap> },
    /// It was missing; a gap is complete with it.
    Late { repaired: Option<Gap> },
    /// It was seen before.
    Duplicate,
    /// Its id is of the space that this feed doesn't carry.
    Foreign,
}

/// The ids of one feed of trades.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trades {
    space: Option<IdSpace>,
    last: Option<u64>,
    last_ts: UnixNanos,
    epoch: u32,
    /// By ids, ascending: they are found in that order.
    open: VecDeque<OpenGap>,
}

impl Trades {
    /// A trade arrived live. `reason`: why there would be a hole before it. `broken`: whether the way from the trade before was
    /// interrupted, so that a change of the id space can be believed.
    pub(crate) fn arrive(&mut self, space: IdSpace, id: u64, ts: UnixNanos, reason: GapReason, broken: bool) -> TradeStep {
        let Some(last) = self.last else {
            self.space = Some(space);
            self.advance(id, ts);
            return TradeStep::New { gap: None };
        };
        if self.space != Some(space) {
            if !broken {
                return TradeStep::Foreign;
            }
            self.space = Some(space);
            return self.restart(id, ts, reason);
        }
        if id.checked_sub(1) == Some(last) {
            self.advance(id, ts);
            return TradeStep::New { gap: None };
        }
        if id > last {
            let ids = (last + 1, id - 1);
            let gap = Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: Some(ids) };
            if self.open.len() >= GAPS_MAX {
                self.open.pop_front();
            }
            self.open.push_back(OpenGap { gap: gap.clone(), missing: vec![ids] });
            self.advance(id, ts);
            return TradeStep::New { gap: Some(gap) };
        }
        match self.repair(space, id) {
            TradeStep::Duplicate if last - id > RESET_IDS && ts.0.saturating_sub(self.last_ts.0) > RESET_NANOS => {
                self.restart(id, ts, reason)
            }
            step => step,
        }
    }

    /// A trade that was asked for, or that came late: it counts only where it is missing.
    pub(crate) fn repair(&mut self, space: IdSpace, id: u64) -> TradeStep {
        if self.space != Some(space) {
            return TradeStep::Foreign;
        }
        let at = self.open.partition_point(|open| open.gap.ids.is_some_and(|(_, last)| last < id));
        let Some(open) = self.open.get_mut(at) else { return TradeStep::Duplicate };
        let piece = open.missing.partition_point(|(_, last)| *last < id);
        let Some((first, last)) = open.missing.get(piece).copied().filter(|(first, _)| *first <= id) else {
            return TradeStep::Duplicate;
        };
        match (first == id, last == id) {
            (true, true) => {
                open.missing.remove(piece);
            }
            (true, false) => open.missing[piece].0 = id + 1,
            (false, true) => open.missing[piece].1 = id - 1,
            (false, false) => {
                if open.missing.len() >= PIECES_MAX {
                    return TradeStep::Duplicate;
                }
                open.missing[piece].1 = id - 1;
                open.missing.insert(piece + 1, (id + 1, last));
            }
        }
        if !open.missing.is_empty() {
            return TradeStep::Late { repaired: None };
        }
        let repaired = self.open.remove(at).map(|open| Gap { repaired: true, ..open.gap });
        TradeStep::Late { repaired }
    }

    fn advance(&mut self, id: u64, ts: UnixNanos) {
        (self.last, self.last_ts) = (Some(id), ts);
    }

    /// The ids begin anew: nothing says how many trades are missing in between, and open gaps can't be filled any more.
    fn restart(&mut self, id: u64, ts: UnixNanos, reason: GapReason) -> TradeStep {
        let gap = Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: None };
        self.open.clear();
        self.epoch += 1;
        self.advance(id, ts);
        TradeStep::New { gap: Some(gap) }
    }

    /// What is missing, by gap and piece.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.open.iter().flat_map(|open| open.missing.iter().copied())
    }

    pub(crate) fn open_gaps(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    pub(crate) fn last_ts(&self) -> UnixNanos {
        self.last_ts
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use GapReason::{Disconnected, Sequence};
    use IdSpace::{Aggregated, Single};

    fn feed(trades: &mut Trades, id: u64) -> TradeStep {
        trades.arrive(Single, id, UnixNanos(i64::try_from(id).unwrap()), Sequence, false)
    }

    const NEW: TradeStep = TradeStep::New { gap: None };
    const LATE: TradeStep = TradeStep::Late { repaired: None };

    #[test]
    fn a_hole_is_found_and_filled_piece_by_piece() {
        let mut trades = Trades::default();
        assert_eq!(feed(&mut trades, 100), NEW);
        assert_eq!(feed(&mut trades, 101), NEW);
        let gap = Gap { from: UnixNanos(101), to: UnixNanos(107), reason: Sequence, repaired: false, ids: Some((102, 106)) };
        assert_eq!(feed(&mut trades, 107), TradeStep::New { gap: Some(gap.clone()) });
        assert_eq!(feed(&mut trades, 101), TradeStep::Duplicate);
        assert_eq!(feed(&mut trades, 107), TradeStep::Duplicate);
        assert_eq!(feed(&mut trades, 104), LATE);
        assert_eq!(feed(&mut trades, 104), TradeStep::Duplicate);
        assert_eq!(trades.missing().collect::<Vec<_>>(), [(102, 103), (105, 106)]);
        assert_eq!(trades.repair(Single, 102), LATE);
        assert_eq!(trades.repair(Single, 106), LATE);
        assert_eq!(trades.repair(Single, 103), LATE);
        assert_eq!(trades.repair(Single, 108), TradeStep::Duplicate);
        assert_eq!(trades.repair(Single, 105), TradeStep::Late { repaired: Some(Gap { repaired: true, ..gap }) });
        assert_eq!((trades.open_gaps(), trades.last()), (0, Some(107)));
    }

    #[test]
    fn gaps_and_their_pieces_are_bounded() {
        let mut trades = Trades::default();
        for id in (1..).step_by(2).take(GAPS_MAX + 11) {
            feed(&mut trades, id);
        }
        assert_eq!((trades.open_gaps(), trades.missing().next()), (GAPS_MAX, Some((22, 22))));
        assert_eq!(feed(&mut trades, 2), TradeStep::Duplicate);

        let mut trades = Trades::default();
        feed(&mut trades, 0);
        feed(&mut trades, 1_000_000);
        for id in (2..900_000).step_by(2) {
            feed(&mut trades, id);
        }
        assert_eq!(trades.missing().count(), PIECES_MAX);
        assert_eq!(feed(&mut trades, 999_999), LATE);
    }

    #[test]
    fn ids_that_begin_anew_open_an_epoch_and_a_gap_of_unknown_size() {
        let mut trades = Trades::default();
        trades.arrive(Single, 1_000_000, UnixNanos(1), Sequence, false);
        trades.arrive(Single, 1_000_002, UnixNanos(2), Sequence, false);
        assert_eq!(trades.arrive(Single, 5, UnixNanos(3), Sequence, false), TradeStep::Duplicate);
        let later = UnixNanos(RESET_NANOS + 3);
        let gap = Gap { from: UnixNanos(2), to: later, reason: Sequence, repaired: false, ids: None };
        assert_eq!(trades.arrive(Single, 5, later, Sequence, false), TradeStep::New { gap: Some(gap) });
        assert_eq!((trades.epoch(), trades.open_gaps(), trades.last()), (1, 0, Some(5)));
    }

    #[test]
    fn another_id_space_is_foreign_until_the_connection_is_gone() {
        let mut trades = Trades::default();
        feed(&mut trades, 100);
        assert_eq!(trades.arrive(Aggregated, 7, UnixNanos(8), Sequence, false), TradeStep::Foreign);
        assert_eq!(trades.repair(Aggregated, 7), TradeStep::Foreign);
        let gap = Gap { from: UnixNanos(100), to: UnixNanos(200), reason: Disconnected, repaired: false, ids: None };
        let step = trades.arrive(Aggregated, 7, UnixNanos(200), Disconnected, true);
        assert_eq!((step, trades.epoch()), (TradeStep::New { gap: Some(gap) }, 1));
    }

    #[test]
    fn the_ends_of_the_number_range_are_ids_like_others() {
        let mut trades = Trades::default();
        assert_eq!(feed(&mut trades, 0), NEW);
        let step = trades.arrive(Single, u64::MAX, UnixNanos(1), Sequence, false);
        assert!(matches!(step, TradeStep::New { gap: Some(Gap { ids: Some((1, last)), .. }) } if last == u64::MAX - 1));
        assert_eq!(trades.repair(Single, u64::MAX), TradeStep::Duplicate);
        assert_eq!(trades.repair(Single, u64::MAX - 1), LATE);
        assert_eq!(trades.arrive(Single, 1, UnixNanos(1), Sequence, false), LATE);
    }
}
