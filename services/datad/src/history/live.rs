//! Live candles on their way into the files: landed while no other run works on their series, in files when it is worth it, and what lies
//! between them and the newest before them fetched.

use std::collections::HashMap;
use std::time::Duration;

use dccd_history::{Attempts, CandleSource, Scope, Wanted};
use dccd_model::{Channel, Grid, Symbol, UnixNanos};
use dccd_store::{CandleError, CandleRow, CandleSeriesId, CandleWriter};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::manager::Manager;
use crate::candles::{SPAN, Window};
use crate::error::chain;

/// A hole of more candles than these before the newest is a backfill's that somebody asks for: a day.
const FILLED_MAX: u64 = 1_440;
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
    /// The end of the last hole of each that was fetched, so that none is twice.
    filled: HashMap<Symbol, UnixNanos>,
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

    /// Stores windows; gives the number of candles, and from where to where there are holes before them.
    fn land_windows(&mut self, wanted: &Wanted, windows: &[Window]) -> Result<(u64, Option<Stretch>), CandleError> {
        let id = CandleSeriesId { exchange: self.options.exchange.clone(), symbol: wanted.symbol.clone(), span: SPAN };
        let (empties, facts) = (self.empties(SPAN), self.row_facts());
        let mut writer = CandleWriter::open(&self.options.data_path, &id, empties)?;
        let mut rows = 0;
        let mut holes: Option<Stretch> = None;
        for window in windows {
            let covered = writer.coverage().covered.iter().filter(|(from, _)| *from < window.from).last();
            if let Some((reached, _)) = covered.map(|(_, to)| (to, window.from)).filter(|(to, from)| to < from) {
                holes = Some((holes.map_or(reached, |(first, _)| first), window.from));
            }
            let candles: Vec<CandleRow> = window.candles.iter().map(|c| CandleRow::new(c, facts.0, facts.1)).collect();
            writer.land(&dccd_store::Landing { from: window.from, to: window.to, rows: &candles, gaps: &[] })?;
            rows += candles.len() as u64;
        }
        writer.sync()?;
        let pause = self.live.bytes.get(&wanted.symbol).copied().unwrap_or(0) / BYTES_PER_SECOND;
        let at = Instant::now() + Duration::from_secs(pause);
        self.live.publish_at.entry(wanted.symbol.clone()).or_insert(at);
        Ok((rows, holes))
    }

    /// Fetches what lies between the newest candle there was and the first that came live, unless a job does.
    fn fill(&mut self, wanted: Wanted, (from, to): Stretch) {
        let name = wanted.name(&self.options.exchange);
        let is_small = Grid::new(SPAN).count(from, to) <= FILLED_MAX;
        let is_new = self.live.filled.get(&wanted.symbol).is_none_or(|filled| *filled < to);
        if !is_small || !is_new || self.jobs.find(&name).is_some() {
            return;
        }
        self.live.filled.insert(wanted.symbol.clone(), to);
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
