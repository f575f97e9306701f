//! Live candles on their way into the files: landed while no other run works on their series, in files when it is worth it, and what lies
//! between them and the newest before them fetched.

use std::collections::HashMap;
use std::time::Duration;

use dccd_history::{Attempts, CandleSource, Scope, Wanted};
use dccd_model::{Channel, Grid, Symbol, UnixNanos};
use dccd_store::{CandleError, CandleRow, CandleSeriesId, CandleWriter, Ranges};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::manager::Manager;
use crate::candles::{SPAN, Window};
use crate::error::chain;

/// So many candles before the newest are filled; what is older is a backfill's that somebody asks for: a day.
const FILLED: i64 = 1_440;
/// Between two fills of one series.
const FILL_PAUSE: Duration = Duration::from_secs(60);
/// Files of series that come live are written anew at this rate at most, each for itself: one of a whole year once an hour.
const BYTES_PER_SECOND: u64 = 6 << 10;

/// Candles that are to be stored.
pub(crate) struct Landing {
    /// The market.
    pub(crate) symbol: Symbol,
    /// Its candles.
    pub(crate) windows: Vec<Window>,
    /// Told how many candles were stored, or why they couldn't be.
    pub(crate) reply: oneshot::Sender<Result<u64, String>>,
}

/// What is known of the series that come live.
#[derive(Default)]
pub(super) struct Live {
    /// Waits until no other run works on its series.
    waiting: Vec<Landing>,
    /// Series with staged rows, and when they are brought into files.
    publish_at: HashMap<Symbol, Instant>,
    /// Bytes of what was written of each last.
    bytes: HashMap<Symbol, u64>,
    /// When holes of each are looked for again: a fill may have failed.
    fill_after: HashMap<Symbol, Instant>,
}

impl Manager {
    /// Takes in live candles.
    pub(super) fn take(&mut self, landing: Landing) {
        self.live.waiting.push(landing);
    }

    /// Stores what no other run stands in the way of.
    pub(super) fn land(&mut self) {
        for landing in std::mem::take(&mut self.live.waiting) {
            let wanted = self.wanted_live(&landing.symbol);
            if self.busy.contains(&wanted.name(&self.options.exchange)) {
                self.live.waiting.push(landing);
                continue;
            }
            let landed = self.land_windows(&wanted, &landing.windows).map_err(|error| chain(&error));
            let holes = landed.as_ref().ok().and_then(|(_, holes)| *holes);
            let _ = landing.reply.send(landed.map(|(rows, _)| rows)); // the recorder may be ending; it hands them on again
            if let Some(holes) = holes {
                self.fill(wanted, holes);
            }
        }
    }

    fn wanted_live(&self, symbol: &Symbol) -> Wanted {
        Wanted {
            symbol: symbol.clone(),
            span: SPAN,
            start: None,
            end: None,
            source: CandleSource::Auto,
            attempts: Attempts::default(),
        }
    }

    /// Whether rows of live candles have a quote volume and a number of trades: what is built of trades has, the exchange's own as it is.
    fn row_facts(&self) -> (bool, bool) {
        let adapter = &self.options.source.adapter;
        let is_built = adapter.capabilities().builds(Channel::Ohlc);
        let pages = adapter.history().and_then(|history| history.candle_pages(SPAN)).filter(|_| !is_built);
        pages.map_or((true, true), |pages| (pages.has_quote_volume, pages.has_trades))
    }

    /// Stores windows; gives the number of candles, and from where to where there are holes in the day before their end.
    fn land_windows(&mut self, wanted: &Wanted, windows: &[Window]) -> Result<(u64, Option<Stretch>), CandleError> {
        let id = CandleSeriesId { exchange: self.options.exchange.clone(), symbol: wanted.symbol.clone(), span: SPAN };
        let (empties, facts) = (self.empties(SPAN), self.row_facts());
        let mut writer = CandleWriter::open(&self.options.data_path, &id, empties)?;
        let mut rows = 0;
        for window in windows {
            let candles: Vec<CandleRow> = window.candles.iter().map(|c| CandleRow::new(c, facts.0, facts.1)).collect();
            writer.land(&dccd_store::Landing { from: window.from, to: window.to, rows: &candles, gaps: &[] })?;
            rows += candles.len() as u64;
        }
        writer.sync()?;
        let pause = self.live.bytes.get(&wanted.symbol).copied().unwrap_or(0) / BYTES_PER_SECOND;
        let at = Instant::now() + Duration::from_secs(pause);
        self.live.publish_at.entry(wanted.symbol.clone()).or_insert(at);
        let holes = windows.last().and_then(|last| holes(&writer.coverage().covered, last.to));
        Ok((rows, holes))
    }

    /// Fetches what is missing between candles, unless a job does. What can't be had now is asked for again later.
    fn fill(&mut self, wanted: Wanted, (from, to): Stretch) {
        let name = wanted.name(&self.options.exchange);
        let now = Instant::now();
        let is_time = self.live.fill_after.get(&wanted.symbol).is_none_or(|after| *after <= now);
        if !is_time || self.jobs.find(&name).is_some() {
            return;
        }
        self.live.fill_after.insert(wanted.symbol.clone(), now + FILL_PAUSE);
        self.begin(vec![Wanted { start: Some(from), end: Some(to), ..wanted }], Scope::Everything, false, true);
    }

    /// Series whose time to be brought into files has come; all of them at the end.
    pub(super) fn live_due(&mut self, is_ending: bool) {
        let now = Instant::now();
        let due = |at: &Instant| is_ending || *at <= now;
        let symbols: Vec<Symbol> =
            self.live.publish_at.iter().filter(|(_, at)| due(at)).map(|(symbol, _)| symbol.clone()).collect();
        for symbol in symbols {
            self.live.publish_at.remove(&symbol);
            let wanted = self.wanted_live(&symbol);
            if !self.unpublished.iter().any(|w| w.symbol == symbol && w.span == SPAN) {
                self.unpublished.push_back(wanted);
            }
        }
    }

    /// A series was written.
    pub(super) fn note_published(&mut self, wanted: &Wanted, bytes: u64) {
        if wanted.span == SPAN {
            self.live.bytes.insert(wanted.symbol.clone(), bytes);
        }
    }

    /// Ends: what was not stored yet is handed on again by the next recorder.
    pub(super) fn refuse_live(&mut self) {
        for landing in self.live.waiting.drain(..) {
            warn!(symbol = %landing.symbol, "live candles stay with the recorder");
            let _ = landing.reply.send(Err("the history thread ends".to_owned())); // the recorder may have ended
        }
    }
}

/// `[from, to)`.
type Stretch = (UnixNanos, UnixNanos);

/// From where to where there are holes between what is covered, in the day before this moment.
fn holes(covered: &Ranges, until: UnixNanos) -> Option<Stretch> {
    let begin = Grid::new(SPAN).after(until, -FILLED);
    let ranges: Vec<Stretch> = covered.iter().filter(|(from, to)| *to >= begin && *from < until).collect();
    let holes = ranges.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect::<Vec<_>>();
    Some((holes.first()?.0, holes.last()?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_of_the_last_day_are_found_and_older_ones_left() {
        const M: i64 = 60_000_000_000;
        let covered =
            |ranges: &[(i64, i64)]| ranges.iter().map(|(from, to)| (UnixNanos(from * M), UnixNanos(to * M))).collect();
        let found =
            |ranges: &[(i64, i64)]| holes(&covered(ranges), UnixNanos(5_000 * M)).map(|(from, to)| (from.0 / M, to.0 / M));
        assert_eq!(found(&[(0, 5_000)]), None);
        assert_eq!(found(&[(0, 3_000), (4_000, 5_000)]), None, "more than a day ago");
        assert_eq!(found(&[(0, 4_000), (4_100, 4_200), (4_203, 5_000)]), Some((4_000, 4_203)));
        assert_eq!(found(&[]), None);
    }
}
