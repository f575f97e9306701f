//! Judging a page of candles: what was asked for, in order, on the grid, closed, and complete or confirmed to be incomplete. Pure.
//!
//! Exchanges answer with less than they have now and then (an empty page, a row left out), so what is missing is believed only when
//! another whole answer misses it too. A [`PageCheck`] takes one answer after the other until that is settled.

use dccd_exchange::CandlePages;
use dccd_model::{Candle, Grid, UnixNanos};

/// Answers that have to agree before what all of them lack is believed to be missing; more where they have nothing at all.
const AGREEING: u32 = 2;
const AGREEING_EMPTY: u32 = 3;

/// Why an answer is not believed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageProblem {
    /// The same candle twice.
    #[error("the candle that opens at {at} comes twice")]
    Duplicate {
        /// When it opens.
        at: UnixNanos,
    },
    /// Most candles open between two of this span.
    #[error("{off} of {rows} candles open when none of this span does, the first at {at}")]
    OffGrid {
        /// When the first of them opens.
        at: UnixNanos,
        /// How many they are.
        off: usize,
        /// How many came.
        rows: usize,
    },
    /// Candles in no order.
    #[error("the candle that opens at {at} stands before an earlier one")]
    Order {
        /// When it opens.
        at: UnixNanos,
    },
    /// Prices or amounts that can't be.
    #[error("the candle that opens at {at} can't be: {what}")]
    Impossible {
        /// When it opens.
        at: UnixNanos,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A candle that was not asked for, of an exchange that can be asked for exactly what is wanted.
    #[error("the candle that opens at {at} was not asked for")]
    Outside {
        /// When it opens.
        at: UnixNanos,
    },
    /// The answer of an exchange that gives its newest candles begins after what was asked for: it says nothing of what lies before.
    #[error("the answer begins at {first}, after {from}: the exchange doesn't reach back so far any more")]
    Late {
        /// The first candle of the page.
        from: UnixNanos,
        /// The first candle in the answer.
        first: UnixNanos,
    },
    /// No candle of many was asked for.
    #[error("none of the {rows} candles in the answer was asked for")]
    Elsewhere {
        /// How many came.
        rows: usize,
    },
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is settled.
    Settled,
    /// Candles are missing that no other answer has missed yet: ask once more.
    AskAgain,
}

/// One page while its answers come in.
#[derive(Debug)]
pub struct PageCheck {
    grid: Grid,
    from: UnixNanos,
    to: UnixNanos,
    /// The end of what was asked for; `to` may have been cut since.
    asked_to: UnixNanos,
    slots: Vec<Option<Candle>>,
    /// The latest candle that any answer had, whether it was asked for or not.
    newest: Option<UnixNanos>,
    /// Answers so far.
    answers: u32,
    /// Of these, how many said in a row exactly what is known now.
    agreeing: u32,
    /// The exchange answers with what it was asked for and nothing else: an answer that has more is broken.
    is_exact: bool,
    /// The exchange answers with its newest candles, as many as it has, whatever it is asked for.
    reaches_back_only: bool,
}

impl PageCheck {
    /// The page of the candles that open in `[from, to)`, both of the grid, from an exchange that gives them so.
    #[must_use]
    pub fn new(grid: Grid, from: UnixNanos, to: UnixNanos, pages: &CandlePages) -> Self {
        let is_exact = pages.reach.is_none();
        let reaches_back_only = !is_exact && pages.sends_empty;
        let count = usize::try_from(grid.count(from, to)).unwrap_or(0);
        Self {
            grid,
            from,
            to,
            asked_to: to,
            slots: vec![None; count],
            newest: None,
            answers: 0,
            agreeing: 0,
            is_exact,
            reaches_back_only,
        }
    }

    /// The candle after the page is asked for, too: that it is there says that the last one of the page is closed.
    #[must_use]
    pub const fn with_next(mut self) -> Self {
        self.asked_to = self.grid.after(self.asked_to, 1);
        self
    }

    /// Cuts off what turned out not to be closed yet.
    pub fn end_at(&mut self, to: UnixNanos) {
        if to < self.to {
            self.to = to.max(self.from);
            self.slots.truncate(usize::try_from(self.grid.count(self.from, self.to)).unwrap_or(0));
        }
    }

    /// Takes an answer. Candles outside the page are passed over, and so are single ones that open off the grid (Binance has some from
    /// the hours around its outages): the candle that should be there is missing. Later answers replace what earlier ones said.
    ///
    /// # Errors
    /// When the answer is not believed; what it says is forgotten.
    pub fn answer(&mut self, candles: &[Candle]) -> Result<Verdict, PageProblem> {
        self.judge(candles)?;
        self.newest = self.newest.max(candles.last().map(|candle| candle.ts_open));
        let (mut is_news, mut inside) = (false, 0);
        for candle in candles {
            if self.grid.is_open(candle.ts_open)
                && let Some(slot) = self.slot(candle.ts_open)
            {
                is_news |= slot.is_none();
                inside += 1;
                *slot = Some(*candle);
            }
        }
        let known = self.slots.iter().flatten().count();
        // An answer that lacks what another had is no witness to what both lack.
        self.agreeing = match (is_news, inside == known) {
            (true, _) => u32::from(inside == known),
            (false, true) => self.agreeing + 1,
            (false, false) => self.agreeing,
        };
        self.answers += 1;
        let is_full = known == self.slots.len();
        let is_confirmed = self.agreeing >= if known == 0 { AGREEING_EMPTY } else { AGREEING };
        Ok(if is_full || is_confirmed { Verdict::Settled } else { Verdict::AskAgain })
    }

    fn judge(&self, candles: &[Candle]) -> Result<(), PageProblem> {
        if let Some(first) = candles.first().map(|candle| candle.ts_open).filter(|first| *first > self.from)
            && self.reaches_back_only
        {
            return Err(PageProblem::Late { from: self.from, first });
        }
        let mut last: Option<UnixNanos> = None;
        let mut inside = 0;
        let mut off_grid = candles.iter().map(|candle| candle.ts_open).filter(|open| !self.grid.is_open(*open));
        if let Some(at) = off_grid.next() {
            let off = off_grid.count() + 1;
            if off * 2 > candles.len() {
                return Err(PageProblem::OffGrid { at, off, rows: candles.len() });
            }
        }
        for candle in candles {
            let at = candle.ts_open;
            match last {
                Some(last) if last == at => return Err(PageProblem::Duplicate { at }),
                Some(last) if last > at => return Err(PageProblem::Order { at }),
                _ => last = Some(at),
            }
            if at >= self.from && at < self.to {
                inside += 1;
                if let Some(what) = impossible(candle) {
                    return Err(PageProblem::Impossible { at, what });
                }
            } else if self.is_exact && (at < self.from || at >= self.asked_to) {
                return Err(PageProblem::Outside { at });
            }
        }
        if inside == 0 && candles.len() > 1 && self.slots.len() > 1 && self.answers == 0 {
            return Err(PageProblem::Elsewhere { rows: candles.len() });
        }
        Ok(())
    }

    fn slot(&mut self, open: UnixNanos) -> Option<&mut Option<Candle>> {
        if open < self.from || open >= self.to {
            return None;
        }
        self.slots.get_mut(usize::try_from(self.grid.count(self.from, open)).ok()?)
    }

    /// Cuts off what an exchange that publishes late, or stands still, has not told yet: the candles at the end that are missing and
    /// closed after `missing`, and the last that is there, if it closed after `last` and no later one shows that it is finished.
    pub fn leave_open(&mut self, missing: UnixNanos, last: UnixNanos) {
        while self.to > missing && self.slots.pop_if(|slot| slot.is_none()).is_some() {
            self.to = self.grid.after(self.to, -1);
        }
        let newest = self.newest;
        let is_newest = |slot: &mut Option<Candle>| slot.is_some_and(|candle| Some(candle.ts_open) == newest);
        if self.to > last && self.slots.pop_if(is_newest).is_some() {
            self.to = self.grid.after(self.to, -1);
        }
    }

    /// The end of what was settled.
    #[must_use]
    pub const fn to(&self) -> UnixNanos {
        self.to
    }

    /// The candles that there are, ascending.
    pub fn candles(&self) -> impl Iterator<Item = &Candle> {
        self.slots.iter().flatten()
    }

    /// Maximal runs of candles that there are not: the openings of the first and the last.
    #[must_use]
    pub fn missing(&self) -> Vec<(UnixNanos, UnixNanos)> {
        let mut runs: Vec<(UnixNanos, UnixNanos)> = Vec::new();
        for (index, _) in (0..).zip(&self.slots).filter(|(_, slot)| slot.is_none()) {
            let open = self.grid.after(self.from, index);
            match runs.last_mut() {
                Some((_, last)) if self.grid.after(*last, 1) == open => *last = open,
                _ => runs.push((open, open)),
            }
        }
        runs
    }
}

/// What is wrong with a candle's numbers.
fn impossible(candle: &Candle) -> Option<&'static str> {
    let low = candle.open.min(candle.close);
    let high = candle.open.max(candle.close);
    if candle.low.mantissa < 0 {
        Some("a price below zero")
    } else if candle.high < high {
        Some("a high below its open or close")
    } else if candle.low > low {
        Some("a low above its open or close")
    } else if candle.volume.mantissa < 0 || candle.quote_volume.mantissa < 0 {
        Some("an amount below zero")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::{Decimal, Flags, Span};

    use super::*;

    const M: i64 = 60_000_000_000;

    fn candle(minute: i64) -> Candle {
        let price = Decimal::new(10, 0);
        Candle {
            ts_open: UnixNanos(minute * M),
            ts_recv: UnixNanos(1),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::new(1, 0),
            quote_volume: Decimal::new(10, 0),
            trades: 1,
            span: Span::from_secs(60).unwrap(),
            flags: Flags::CLOSED,
        }
    }

    fn candles(minutes: &[i64]) -> Vec<Candle> {
        minutes.iter().copied().map(candle).collect()
    }

    #[test]
    fn the_newest_candles_are_not_missing_yet() {
        let page_of = |have: &[i64], old: i64, last: i64| {
            let grid = Grid::new(Span::from_secs(60).unwrap());
            let mut check = PageCheck::new(grid, UnixNanos(0), UnixNanos(6 * M), &EXACT).with_next();
            for _ in 0..AGREEING_EMPTY {
                let _ = check.answer(&candles(have)).unwrap();
            }
            check.leave_open(UnixNanos(old * M), UnixNanos(last * M));
            let missing: Vec<_> = check.missing().iter().map(|(from, to)| (from.0 / M, to.0 / M)).collect();
            (check.to().0 / M, missing)
        };
        let page = |have: &[i64], old: i64| page_of(have, old, 6);
        assert_eq!(page(&[0, 1, 3], 2), (4, vec![(2, 2)]), "a later one is there: it is missing");
        assert_eq!(page(&[0, 1, 3], 6), (6, vec![(2, 2), (4, 5)]), "old enough");
        assert_eq!(page(&[0, 1, 3], 5), (5, vec![(2, 2), (4, 4)]));
        assert_eq!(page(&[], 0), (0, vec![]));
        assert_eq!(page(&[5], 0), (6, vec![(0, 4)]));
        // The last one may be open still at the exchange, unless a later one is there, or it closed long ago.
        assert_eq!(page_of(&[0, 1, 2, 3, 4, 5], 0, 5), (5, vec![]));
        assert_eq!(page_of(&[0, 1, 2, 3, 4, 5, 6], 0, 5), (6, vec![]));
        assert_eq!(page_of(&[0, 1, 3], 2, 2), (3, vec![(2, 2)]));
    }

    /// Of an exchange that answers with its newest candles, whatever it is asked for.
    const NEWEST: CandlePages = CandlePages {
        per_page: 1_000,
        reach: Some(720),
        sends_empty: true,
        has_quote_volume: true,
        has_trades: true,
        begins_at_listing: false,
    };
    /// Of one that can be asked exactly.
    const EXACT: CandlePages = CandlePages { reach: None, ..NEWEST };

    fn page_of(pages: &CandlePages, from: i64, to: i64) -> PageCheck {
        PageCheck::new(Grid::new(Span::from_secs(60).unwrap()), UnixNanos(from * M), UnixNanos(to * M), pages)
    }

    fn page(from: i64, to: i64) -> PageCheck {
        page_of(&EXACT, from, to)
    }

    #[test]
    fn a_full_page_is_settled_and_what_lies_outside_is_cut_off() {
        let mut page = page_of(&NEWEST, 10, 13);
        assert_eq!(page.answer(&candles(&[9, 10, 11, 12, 13])), Ok(Verdict::Settled));
        assert_eq!(page.candles().map(|c| c.ts_open.0 / M).collect::<Vec<_>>(), [10, 11, 12]);
        assert!(page.missing().is_empty());
    }

    #[test]
    fn what_is_missing_is_believed_when_two_answers_miss_it() {
        let mut page = page(10, 20);
        assert_eq!(page.answer(&[]), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&candles(&[10, 12, 13, 16])), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&[]), Ok(Verdict::AskAgain), "an empty answer is no witness");
        assert_eq!(page.answer(&candles(&[10, 11, 12, 13, 16])), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&candles(&[10, 12, 13, 16])), Ok(Verdict::AskAgain), "nor one that lacks what is known");
        assert_eq!(page.answer(&candles(&[10, 11, 12, 13, 16])), Ok(Verdict::Settled));
        let minutes: Vec<_> = page.missing().iter().map(|(a, b)| (a.0 / M, b.0 / M)).collect();
        assert_eq!(minutes, [(14, 15), (17, 19)]);
    }

    #[test]
    fn an_empty_page_is_believed_the_third_time() {
        let mut page = page(10, 12);
        assert_eq!(page.answer(&[]), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&[]), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&[]), Ok(Verdict::Settled));
        assert_eq!(page.missing(), [(UnixNanos(10 * M), UnixNanos(11 * M))]);
    }

    #[test]
    fn answers_that_contradict_themselves_are_not_believed() {
        let at = |minute: i64| UnixNanos(minute * M);
        assert_eq!(page(10, 12).answer(&candles(&[10, 10])), Err(PageProblem::Duplicate { at: at(10) }));
        assert_eq!(page(10, 12).answer(&candles(&[11, 10])), Err(PageProblem::Order { at: at(10) }));
        assert_eq!(page_of(&NEWEST, 10, 12).answer(&candles(&[1, 2])), Err(PageProblem::Elsewhere { rows: 2 }));
        let late = PageProblem::Late { from: at(10), first: at(11) };
        assert_eq!(page_of(&NEWEST, 10, 12).answer(&candles(&[11, 12])), Err(late));
        let off = Candle { ts_open: UnixNanos(10 * M + 1), ..candle(10) };
        let error = PageProblem::OffGrid { at: off.ts_open, off: 1, rows: 1 };
        assert_eq!(page(10, 12).answer(&[off]), Err(error));
        let high = Candle { high: Decimal::new(9, 0), ..candle(10) };
        assert!(matches!(page(10, 12).answer(&[high]), Err(PageProblem::Impossible { .. })));
    }

    #[test]
    fn an_answer_with_what_was_not_asked_for_is_broken_where_one_can_ask_exactly() {
        let mut page = page_of(&EXACT, 10, 13);
        assert_eq!(page.answer(&candles(&[5, 11, 12])), Err(PageProblem::Outside { at: UnixNanos(5 * M) }));
        page.end_at(UnixNanos(12 * M));
        assert_eq!(page.answer(&candles(&[10, 11, 12])), Ok(Verdict::Settled), "12 was asked for, if in vain");
    }

    #[test]
    fn a_single_candle_off_the_grid_is_no_candle_of_the_span() {
        let off = Candle { ts_open: UnixNanos(11 * M + 5), ..candle(11) };
        let answer = [candle(10), off, candle(12)];
        let mut page = page(10, 13);
        assert_eq!(page.answer(&answer), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&answer), Ok(Verdict::Settled));
        assert_eq!(page.missing(), [(UnixNanos(11 * M), UnixNanos(11 * M))]);
        assert_eq!(page.candles().count(), 2);
    }

    #[test]
    fn an_exchange_that_leaves_quiet_candles_out_is_believed_when_it_leaves_out_the_same_ones_twice() {
        let mut page = page_of(&CandlePages { sends_empty: false, ..NEWEST }, 10, 20);
        assert_eq!(page.answer(&[]), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&candles(&[15])), Ok(Verdict::AskAgain));
        // One that an answer lacks was lost on the way.
        assert_eq!(page.answer(&candles(&[12, 15])), Ok(Verdict::AskAgain));
        assert_eq!(page.answer(&candles(&[12, 15])), Ok(Verdict::Settled));
        assert_eq!(page.candles().count(), 2);
    }

    #[test]
    fn a_page_ends_where_candles_are_not_closed_yet() {
        let mut page = page(10, 13);
        page.end_at(UnixNanos(12 * M));
        assert_eq!(page.answer(&candles(&[10, 11, 12])), Ok(Verdict::Settled));
        assert_eq!(page.candles().count(), 2);
    }
}
