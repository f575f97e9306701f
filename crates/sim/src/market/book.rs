//! The order book: amounts by price level, an update id that counts every change, and what has changed since the last diff.

use std::collections::BTreeMap;

use dccd_model::BookSide;

use super::spec::Spec;
use super::{Ladder, Quote};

/// How often diffs of a book are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each 100 ms.
    Fast,
    /// Each second.
    Slow,
}

/// An order book in ticks and lots. Never crossed, as long as its callers don't cross it.
#[derive(Debug, Default)]
pub(crate) struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    update_id: u64,
    fast: Pending,
    slow: Pending,
}

/// What a diff will hold: levels touched since the last one. Bounded by the levels touched within its interval; both are
/// emptied on every tick, subscribers or not.
#[derive(Debug, Default)]
struct Pending {
    touched: Vec<(BookSide, i64)>,
    /// The last update id that earlier diffs covered.
    covered: u64,
}

impl Book {
    pub(crate) fn starting_at(update_id: u64) -> Self {
        let pending = || Pending { touched: Vec::new(), covered: update_id };
        Self { update_id, fast: pending(), slow: pending(), ..Self::default() }
    }

    pub(crate) const fn update_id(&self) -> u64 {
        self.update_id
    }

    pub(crate) const fn side(&self, side: BookSide) -> &BTreeMap<i64, i64> {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    pub(crate) fn best(&self, side: BookSide) -> Option<(i64, i64)> {
        match side {
            BookSide::Bid => self.bids.last_key_value(),
            BookSide::Ask => self.asks.first_key_value(),
        }
        .map(|(price, amount)| (*price, *amount))
    }

    /// Sets a level to `lots` (0: gone) as the next update.
    pub(crate) fn set(&mut self, side: BookSide, tick: i64, lots: i64) {
        self.put(side, tick, lots);
        self.update_id += 1;
        self.fast.touched.push((side, tick));
        self.slow.touched.push((side, tick));
    }

    /// Sets a level without an update id: a recording's own ids come with [`Book::reached`].
    pub(crate) fn put(&mut self, side: BookSide, tick: i64, lots: i64) {
        let levels = match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        };
        if lots == 0 {
            levels.remove(&tick);
        } else {
            levels.insert(tick, lots);
        }
    }

    /// The recording's last update id.
    pub(crate) const fn reached(&mut self, update_id: u64) {
        self.update_id = update_id;
    }

    /// Forgets every level.
    pub(crate) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Makes `count` updates that no diff will ever tell of.
    pub(crate) fn lose(&mut self, count: u64) {
        self.update_id += count;
        for pending in [&mut self.fast, &mut self.slow] {
            pending.touched.clear();
            pending.covered = self.update_id;
        }
    }

    /// Ends the interval: the ids it covered and the levels touched in it, or `None` when nothing happened.
    pub(crate) fn take_diff(&mut self, pace: Pace, spec: &Spec) -> Option<((u64, u64), Ladder)> {
        let pending = match pace {
            Pace::Fast => &mut self.fast,
            Pace::Slow => &mut self.slow,
        };
        if pending.covered == self.update_id {
            return None;
        }
        let ids = (pending.covered + 1, self.update_id);
        pending.covered = self.update_id;
        let mut touched = std::mem::take(&mut pending.touched);
        let ladder = self.levels_of(&mut touched, spec);
        touched.clear();
        match pace {
            Pace::Fast => self.fast.touched = touched,
            Pace::Slow => self.slow.touched = touched,
        }
        Some((ids, ladder))
    }

    /// These levels as they are now, each once, best first; those that are gone with no amount.
    pub(crate) fn levels_of(&self, touched: &mut Vec<(BookSide, i64)>, spec: &Spec) -> Ladder {
        touched.sort_unstable_by_key(|(side, tick)| (*side as u8, *tick));
        touched.dedup();
        let mut ladder = Ladder::default();
        for (side, tick) in touched.iter() {
            let lots = self.side(*side).get(tick).copied().unwrap_or(0);
            let level = (tick * spec.price_unit, lots * spec.amount_unit);
            match side {
                BookSide::Bid => ladder.bids.push(level),
                BookSide::Ask => ladder.asks.push(level),
            }
        }
        ladder.bids.reverse();
        ladder
    }

    /// Ends the interval for both paces: the levels touched in it, in their order, some maybe more than once. For exchanges that
    /// tell each change at once.
    pub(crate) fn take_touched(&mut self) -> Vec<(BookSide, i64)> {
        let touched = std::mem::take(&mut self.fast.touched);
        self.lose(0);
        touched
    }

    /// The best `limit` levels a side.
    pub(crate) fn ladder(&self, limit: usize, spec: &Spec) -> Ladder {
        let level = |(price, lots): (&i64, &i64)| (price * spec.price_unit, lots * spec.amount_unit);
        Ladder {
            bids: self.bids.iter().rev().take(limit).map(level).collect(),
            asks: self.asks.iter().take(limit).map(level).collect(),
        }
    }

    /// The best bid and ask.
    pub(crate) fn quote(&self, spec: &Spec) -> Quote {
        let (bid, bid_lots) = self.best(BookSide::Bid).unwrap_or_default();
        let (ask, ask_lots) = self.best(BookSide::Ask).unwrap_or_default();
        Quote {
            update_id: self.update_id,
            bid: bid * spec.price_unit,
            bid_amount: bid_lots * spec.amount_unit,
            ask: ask * spec.price_unit,
            ask_amount: ask_lots * spec.amount_unit,
        }
    }
}
