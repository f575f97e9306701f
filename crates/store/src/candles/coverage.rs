//! What is known of a series: which stretches the exchange has answered for, and what it doesn't have.

use std::path::Path;

use dccd_model::{Gap, GapReason, Grid, UnixNanos};

use super::stage::{StageView, Window};
use super::years::{self, YearFacts};
use super::{CandleSeriesId, Empties, declared, stretch};
use crate::error::StoreError;
use crate::ranges::Ranges;

/// What is known of a series of candles, in files and stage together.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Open time of the market's first candle, where it is known.
    pub listed: Option<UnixNanos>,
    /// What a candle means that is missing in a covered stretch.
    pub empties: Empties,
    /// What the exchange has answered for, half-open.
    pub covered: Ranges,
    /// Candles that the exchange doesn't have, from the open time of the first to the end of the last, half-open.
    pub declared: Ranges,
    /// How many candles are stored. Where empties are omitted and a window is asked again, the number is right from the next
    /// publishing on.
    pub rows: u64,
    /// Open time of the first candle.
    pub first: Option<UnixNanos>,
    /// Open time of the last candle.
    pub last: Option<UnixNanos>,
    grid: Grid,
}

impl Coverage {
    pub(crate) fn new(grid: Grid, empties: Empties) -> Self {
        let (covered, declared) = (Ranges::default(), Ranges::default());
        Self { listed: None, empties, covered, declared, rows: 0, first: None, last: None, grid }
    }

    /// The open times of the series.
    #[must_use]
    pub const fn grid(&self) -> Grid {
        self.grid
    }

    /// What of `[from, to)` the exchange has not answered for yet.
    #[must_use]
    pub fn holes(&self, from: UnixNanos, to: UnixNanos) -> Vec<(UnixNanos, UnixNanos)> {
        self.covered.holes(from, to).into()
    }

    /// The candles that the exchange doesn't have, as declared gaps.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        declared(&self.declared, self.grid).collect()
    }

    /// Every maximal run of missing candles between the first and the last: what is not covered, and, where the exchange sends
    /// every candle, what it doesn't have.
    #[must_use]
    pub fn missing(&self) -> Ranges {
        let (Some(first), Some(last)) = (self.first, self.last) else { return Ranges::default() };
        let holes = self.covered.holes(first, UnixNanos(last.0.saturating_add(self.grid.step())));
        // A stretch without a whole candle is none.
        let holes = holes.iter().map(|(from, to)| (self.grid.ceil(from), self.grid.ceil(to)));
        let missing: Ranges = holes.filter(|(from, to)| from < to).collect();
        match self.empties {
            Empties::Sent => missing.union(&self.declared.clip(first, last)),
            Empties::Omitted => missing,
        }
    }

    /// How many candles open in these stretches.
    #[must_use]
    pub fn count(&self, ranges: &Ranges) -> u64 {
        ranges.iter().map(|(from, to)| self.grid.count(from, to)).sum()
    }

    /// Takes in a window; `rows` are the open times of its candles.
    pub(crate) fn apply(&mut self, window: &Window, rows: impl Iterator<Item = UnixNanos>) {
        let again = self.covered.overlaps(window.from, window.to);
        if !again && window.gaps.is_empty() {
            self.rows += u64::from(window.rows);
        } else {
            let mut there = Ranges::default();
            for ts in rows {
                self.rows += u64::from(!self.covered.contains(ts) || self.declared.contains(ts));
                there.insert(ts, UnixNanos(ts.0 + self.grid.step()));
            }
            // A gap declared now takes no candle away that is stored.
            let stored = match self.empties {
                Empties::Sent => self.covered.clip(window.from, window.to).minus(&self.declared),
                Empties::Omitted => Ranges::default(),
            };
            let gaps = window.gaps.minus(&stored);
            self.declared = std::mem::take(&mut self.declared).union(&gaps).minus(&there);
        }
        self.covered.insert(window.from, window.to);
        if window.rows > 0 {
            self.first = Some(self.first.map_or(window.first, |first| first.min(window.first)));
            self.last = Some(self.last.map_or(window.last, |last| last.max(window.last)));
        }
    }
}

/// The missing candles among declared gaps.
pub(crate) fn no_data(gaps: &[Gap], grid: Grid) -> Ranges {
    gaps.iter().filter(|gap| gap.reason == GapReason::NoData && !gap.repaired).map(|gap| stretch(gap, grid)).collect()
}

/// What year files say together; `years` ascend.
pub(crate) fn combine<'a>(years: impl Iterator<Item = &'a YearFacts>, grid: Grid, empties: Option<Empties>) -> Coverage {
    let mut all = Coverage::new(grid, empties.unwrap_or(Empties::Sent));
    for year in years {
        all.listed = year.listed.or(all.listed);
        all.empties = empties.or(year.empties).unwrap_or(all.empties);
        year.covered.iter().for_each(|(from, to)| all.covered.insert(from, to));
        year.declared.iter().for_each(|(from, to)| all.declared.insert(from, to));
        all.rows += year.rows;
        all.first = all.first.or(year.first);
        all.last = year.last.or(all.last);
    }
    all
}

/// What is known of a series, beside a running writer too. A series without files is one of which nothing is known. A file that is
/// damaged counts for nothing.
///
/// # Errors
/// When files can't be reached, or are of a form that isn't taken over, dccd 2.x's for one.
pub fn candle_coverage(data_path: &Path, id: &CandleSeriesId) -> Result<Coverage, StoreError> {
    // The stage first: what a writer moves from there to files meanwhile is then seen twice, not never.
    let stage = StageView::open(data_path, id)?;
    let years = years::read_all(data_path, id)?;
    let empties = stage.as_ref().map(|stage| stage.empties);
    let mut all = combine(years.values(), Grid::new(id.span), empties);
    if let Some(stage) = stage {
        stage.apply_to(&mut all)?;
    }
    Ok(all)
}
