//! When what is missing was: one line a gap.

use std::path::{Path, PathBuf};

use dccd_model::{GapReason, SeriesId, UnixNanos};
use serde::Serialize;

use super::{Candles, InventoryRow, Live, Maps, rfc3339};
use crate::catalog;
use crate::coverage_map::CoverageMap;
use crate::error::StoreError;

/// One gap. Serializes as `dccd gaps --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapRow {
    /// Its name: `binance/BTC/USDT/trades`.
    pub series: String,
    /// Where it is traded.
    pub exchange: String,
    /// The symbol.
    pub pair: String,
    /// `ohlc`, `trades`, `orderbook`, `quotes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Label of the span; `None` for live series.
    pub span: Option<String>,
    /// Of live series the time of the last record before the gap, of candles the open time of the first that is missing; `None` where
    /// nobody can say.
    #[serde(serialize_with = "rfc3339")]
    pub from: Option<UnixNanos>,
    /// Of live series the time of the first record after the gap, of candles the open time of the last that is missing.
    #[serde(serialize_with = "rfc3339")]
    pub to: Option<UnixNanos>,
    /// Missing candles or trade ids; `None` where it can't be known.
    pub missing: Option<u64>,
    /// How many of the missing are candles that the exchange itself says it doesn't have.
    pub declared: u64,
    /// Why: the word of a [`GapReason`], `not_fetched` for candles that nobody has asked for yet (some of them, where a part
    /// is declared), `damaged` for what a file held that can't be read.
    pub reason: &'static str,
    /// Whether what was missing has been fetched since.
    pub repaired: bool,
    /// The file that can't be read.
    pub file: Option<PathBuf>,
}

/// Why candles are missing that nobody has asked for yet.
const NOT_FETCHED: &str = "not_fetched";
/// Why what a file held is missing.
const DAMAGED: &str = "damaged";

/// The gaps of all series whose name `is_meant`, in the order of the inventory, each series' in the order of time. Without those that
/// were repaired it is what [`InventoryRow::gaps`] counts.
///
/// # Errors
/// As [`inventory`](fn@super::inventory).
pub fn gaps(data_path: &Path, mut is_meant: impl FnMut(&SeriesId) -> bool) -> Result<Vec<GapRow>, StoreError> {
    let mut maps = Maps::new(data_path, CoverageMap::load);
    let mut rows = Vec::new();
    for series in catalog::live_series(data_path)? {
        let id = series.id();
        if is_meant(&id) {
            maps.live(&series)?.list(&id, &mut rows);
        }
    }
    for series in catalog::candle_series(data_path)? {
        let id = series.id.series();
        if is_meant(&id)
            && let Some(candles) = maps.candles(&series)?
        {
            candles.list(&id, &mut rows);
        }
    }
    maps.save();
    // Stable: those of one series stay in their order.
    rows.sort_by(|a, b| (&a.exchange, &a.pair, &a.kind, &a.span).cmp(&(&b.exchange, &b.pair, &b.kind, &b.span)));
    Ok(rows)
}

impl Live {
    fn list(mut self, id: &SeriesId, rows: &mut Vec<GapRow>) {
        self.gaps.sort_by_key(|gap| (gap.from, gap.to));
        rows.extend(self.gaps.iter().map(|gap| GapRow {
            missing: gap.missing(),
            reason: gap.reason.as_str(),
            repaired: gap.repaired,
            ..GapRow::new(id, &self.row, Some((gap.from, gap.to)))
        }));
        rows.extend(self.row.unreadable.iter().map(|file| GapRow::damaged(id, &self.row, None, Some(file))));
    }
}

impl Candles {
    fn list(self, id: &SeriesId, rows: &mut Vec<GapRow>) {
        let last = |to: UnixNanos| self.all.grid().floor(UnixNanos(to.0 - 1));
        let (before, behind): (Vec<_>, Vec<_>) = self.lost.iter().partition(|(from, _)| Some(*from) < self.all.first);
        let lost = |(from, to)| GapRow::damaged(id, &self.row, Some((from, last(to))), None);
        rows.extend(before.into_iter().map(lost));
        for (from, to) in self.all.missing().iter() {
            let run = [(from, to)].into_iter().collect();
            let (missing, declared) = (self.all.count(&run), self.all.count(&self.all.declared.clip(from, to)));
            let is_declared = declared == missing;
            let reason = if is_declared { GapReason::NoData.as_str() } else { NOT_FETCHED };
            let row = GapRow::new(id, &self.row, Some((from, last(to))));
            rows.push(GapRow { missing: Some(missing), declared, reason, ..row });
        }
        rows.extend(behind.into_iter().map(lost));
        if self.stage_is_lost {
            rows.push(GapRow::damaged(id, &self.row, None, self.row.unreadable.first()));
        }
    }
}

impl GapRow {
    fn new(id: &SeriesId, series: &InventoryRow, time: Option<(UnixNanos, UnixNanos)>) -> Self {
        Self {
            series: id.to_string(),
            exchange: series.exchange.clone(),
            pair: series.pair.clone(),
            kind: series.kind.clone(),
            span: series.span.clone(),
            from: time.map(|(from, _)| from),
            to: time.map(|(_, to)| to),
            missing: None,
            declared: 0,
            reason: NOT_FETCHED,
            repaired: false,
            file: None,
        }
    }

    fn damaged(id: &SeriesId, series: &InventoryRow, time: Option<(UnixNanos, UnixNanos)>, file: Option<&PathBuf>) -> Self {
        Self { reason: DAMAGED, file: file.cloned(), ..Self::new(id, series, time) }
    }
}
