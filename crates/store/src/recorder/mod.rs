//! Rows of trades, quotes and books into day files, exactly once whatever dies when.
//!
//! The caller reads the journal, turns entries into records, hands each record over with the position after its entry, and
//! commits now and then. A commit makes the rows durable first (parts and day files), the checkpoint last. Every file says up to
//! which position it has its day's rows, so that rows derived again after a crash are recognised and dropped. The same rows give
//! the same day files, byte for byte, however many commits and crashes lay in between.
//!
//! ```text
//! rows in memory ─ commit ─→ .dccd/parts/<exchange>/<type>/<PAIR>/<day>/<from>-<to>.parquet
//!                      └───→ <exchange>/<type>/<PAIR>/<day>.parquet      while it is small, when a quarter is not in it yet,
//!                                                                       when the day is over, and at a clean stop
//! ```

mod checkpoint;
mod day;
mod declare;
pub(crate) mod gaps;
mod pending;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dccd_model::{BookLevel, Channel, ExchangeName, Gap, Quote, Symbol, Trade, UnixNanos};
use rustc_hash::FxHashMap;

pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::read as read_checkpoint;
pub(crate) use declare::declare_lost;

use crate::Position;
use crate::catalog::durable_position;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::layout::{self, Layout};
use crate::rows::{BookRow, QuoteRow, Row, TradeRow};
use checkpoint::{Notes, SeriesNotes};
use day::{Context, Day};
use gaps::OpenGaps;

/// A venue's clock this far ahead of ours is not believed when a book's events are kept in order.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(3600);

/// How the recorder writes.
#[derive(Clone, Copy, Debug)]
pub struct RecorderOptions {
    /// How long rows stay in memory at most: [`Recorder::due`] goes by it.
    pub time_step: Duration,
    /// Rows in memory at which a commit is due whatever the time.
    pub pending_rows_max: usize,
    /// A day file below this size is rewritten at every commit. What that costs grows with its square: with 64 KiB instead of
    /// 32 a day of 100,000 trades takes about two times its size more.
    pub small_file_bytes: u64,
    /// Whether the exchange numbers the trades of a market without holes; then a hole in the ids is a loss.
    pub contiguous_ids: bool,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            time_step: Duration::from_secs(60),
            pending_rows_max: 1 << 18,
            small_file_bytes: 32 << 10,
            contiguous_ids: true,
        }
    }
}

/// What a commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// One of many.
    Step,
    /// The last before a clean stop: everything goes into day files.
    Close,
}

/// A series of a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesHandle(u32);

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Everything before it is durable.
    pub position: Position,
    /// Rows that became durable since the last successful commit, by series.
    pub rows: Vec<(SeriesHandle, u64)>,
    /// Parquet files written.
    pub files: u32,
    /// Bytes written, the checkpoint's included.
    pub bytes: u64,
    /// Damaged files that were moved to the quarantine; each is a declared gap.
    pub quarantined: Vec<PathBuf>,
}

/// Writes one exchange's records to the store. One at a time per exchange; hold the journal's lock or [`crate::StoreLock`].
#[derive(Debug)]
pub struct Recorder {
    layout: Layout,
    options: RecorderOptions,
    disk: Disk,
    checkpoint: Option<Checkpoint>,
    series: Vec<Series>,
    by_name: FxHashMap<(Symbol, Channel), u32>,
    pending: usize,
    clock: UnixNanos,
    /// What files said when there was no checkpoint: they may be of another journal, so that positions up to here prove nothing.
    /// Rows up to here are told from those in files by their content.
    inherited: Position,
    /// Position of the latest record.
    reached: Position,
    /// The latest time that [`Self::due`] was told.
    now: Option<Instant>,
    committed_at: Option<Instant>,
    report: CommitReport,
}

#[derive(Debug)]
struct Series {
    symbol: Symbol,
    channel: Channel,
    rows: Rows,
    gaps: OpenGaps,
    book_clock: UnixNanos,
    /// Durable rows not yet reported.
    durable: u64,
    wrong: bool,
}

#[derive(Debug)]
enum Rows {
    Trades(Days<TradeRow>),
    Quotes(Days<QuoteRow>),
    Book(Days<BookRow>),
    /// Candles are not recorded live.
    None,
}

impl Series {
    fn pending(&self) -> usize {
        match &self.rows {
            Rows::Trades(days) => days.values().map(Day::pending).sum(),
            Rows::Quotes(days) => days.values().map(Day::pending).sum(),
            Rows::Book(days) => days.values().map(Day::pending).sum(),
            Rows::None => 0,
        }
    }
}

type Days<R> = BTreeMap<i64, Day<R>>;

impl Recorder {
    /// Opens an exchange's part of the store and reads its checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Checkpoint`] when it is damaged, [`StoreError::Io`].
    pub fn open(data_path: &Path, exchange: &ExchangeName, options: RecorderOptions) -> Result<Self, StoreError> {
        let layout = Layout::new(data_path, exchange);
        let disk = Disk::open(layout.temporary())?;
        let mut recorder = Self {
            options,
            disk,
            checkpoint: None,
            series: Vec::new(),
            by_name: FxHashMap::default(),
            pending: 0,
            clock: UnixNanos::UNKNOWN,
            inherited: Position(0),
            reached: Position(0),
            now: None,
            committed_at: None,
            report: CommitReport::default(),
            layout,
        };
        if let Some((notes, state)) = checkpoint::read(&recorder.layout.checkpoint())? {
            recorder.clock = notes.clock;
            recorder.inherited = notes.inherited;
            recorder.reached = notes.position;
            recorder.checkpoint = Some(Checkpoint { position: notes.position, state });
            for notes in notes.series {
                let handle = recorder.series(&notes.symbol, notes.channel)?;
                let series = &mut recorder.series[handle.0 as usize];
                (series.gaps, series.book_clock) = (notes.gaps, notes.book_clock);
            }
        } else {
            recorder.inherited = durable_position(data_path, exchange)?;
        }
        recorder.find_parts()?;
        Ok(recorder)
    }

    /// Where to go on reading the journal, and what was handed in then; `None` before the first commit. The state is there as
    /// long as nothing was committed since opening: who handed in another one has it, and it may be large.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The handle of a series; the same one each time.
    ///
    /// # Errors
    /// None now; the signature leaves room for a series that can't be opened.
    pub fn series(&mut self, symbol: &Symbol, channel: Channel) -> Result<SeriesHandle, StoreError> {
        if let Some(index) = self.by_name.get(&(symbol.clone(), channel)) {
            return Ok(SeriesHandle(*index));
        }
        // A process with four billion series ran out of memory long ago.
        let index = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        self.series.push(Series {
            symbol: symbol.clone(),
            channel,
            rows: match channel {
                Channel::Trades => Rows::Trades(BTreeMap::new()),
                Channel::Quotes => Rows::Quotes(BTreeMap::new()),
                Channel::Book => Rows::Book(BTreeMap::new()),
                Channel::Ohlc => Rows::None,
            },
            gaps: OpenGaps::default(),
            book_clock: UnixNanos::UNKNOWN,
            durable: 0,
            wrong: false,
        });
        self.by_name.insert((symbol.clone(), channel), index);
        Ok(SeriesHandle(index))
    }

    /// The live series of this exchange that have files; see [`crate::series_end`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn stored_series(&self) -> Result<Vec<(Symbol, Channel)>, StoreError> {
        crate::ends::stored_series(&self.layout.data_path, &self.layout.exchange)
    }

    /// How old the newest part may be, from now on; see [`RecorderOptions::time_step`].
    pub fn set_time_step(&mut self, time_step: Duration) {
        self.options.time_step = time_step;
    }

    /// Takes a trade of the entry that ends at `at`. One handed to a series of another channel makes the next commit fail.
    pub fn trade(&mut self, handle: SeriesHandle, at: Position, trade: &Trade) {
        self.saw(at, trade.ts_recv);
        match self.series.get_mut(handle.0 as usize) {
            Some(Series { rows: Rows::Trades(days), .. }) => push(days, at, TradeRow::new(trade)),
            other => return wrong(other),
        }
        self.pending += 1;
    }

    /// Takes a quote; see [`Self::trade`].
    pub fn quote(&mut self, handle: SeriesHandle, at: Position, quote: &Quote) {
        self.saw(at, quote.ts_recv);
        match self.series.get_mut(handle.0 as usize) {
            Some(Series { rows: Rows::Quotes(days), .. }) => push(days, at, QuoteRow::new(quote)),
            other => return wrong(other),
        }
        self.pending += 1;
    }

    /// Takes a level of an order book; see [`Self::trade`].
    ///
    /// Levels are stored in the order in which they come. Should the venue's clock step back, the time of the event before is
    /// stored, because a file has both to ascend by time and to give the book when it is applied row by row.
    pub fn level(&mut self, handle: SeriesHandle, at: Position, level: &BookLevel) {
        self.saw(at, level.ts_recv);
        match self.series.get_mut(handle.0 as usize) {
            Some(Series { rows: Rows::Book(days), book_clock, .. }) => {
                let ts = if level.ts_venue == UnixNanos::UNKNOWN { level.ts_recv } else { level.ts_venue };
                let ts = ts.max(*book_clock);
                // One wild timestamp must not drag all that follow along.
                if level.ts_recv == UnixNanos::UNKNOWN || ts <= level.ts_recv + CLOCK_AHEAD_MAX {
                    *book_clock = ts;
                }
                push(days, at, BookRow::new(level, ts));
            }
            other => return wrong(other),
        }
        self.pending += 1;
    }

    /// Takes a gap that was found, or one known by its ids or its beginning that was repaired since. Without ids, one that is open and
    /// ends later stays as it is.
    pub fn gap(&mut self, handle: SeriesHandle, at: Position, gap: &Gap) {
        self.reached = self.reached.max(at);
        if let Some(series) = self.series.get_mut(handle.0 as usize) {
            series.gaps.add(gap);
        }
    }

    /// Rows in memory.
    #[must_use]
    pub const fn pending_rows(&self) -> usize {
        self.pending
    }

    /// Whether it is time to commit. The first call begins the first step.
    #[must_use]
    pub fn due(&mut self, now: Instant) -> bool {
        self.now = Some(now);
        let since = *self.committed_at.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.options.time_step {
            return true;
        }
        self.pending >= self.options.pending_rows_max
    }

    /// Makes everything handed in durable, and `position` with `state` the place to go on from. All records of entries up to
    /// `position`, and no others, have been handed in.
    ///
    /// # Errors
    /// Nothing is lost: rows that could not be written stay in memory, those of other series and days are durable, the checkpoint
    /// stays where it was, and the next commit tries again. [`StoreError::NoSpace`] on a full disk, else the first error.
    pub fn commit(&mut self, position: Position, state: &[u8], mode: CommitMode) -> Result<CommitReport, StoreError> {
        self.commit_with(position, || state.to_vec(), mode)
    }

    /// The same with a state that is made when all rows are written: it may be as large as they.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_with(
        &mut self,
        position: Position,
        state: impl FnOnce() -> Vec<u8>,
        mode: CommitMode,
    ) -> Result<CommitReport, StoreError> {
        // Also after a failure: who goes by `due` then tries again in a step's time.
        self.committed_at = self.now;
        if let Some(series) = self.series.iter_mut().find(|s| s.wrong) {
            series.wrong = false;
            return Err(StoreError::WrongChannel { symbol: series.symbol.clone(), channel: series.channel });
        }
        if position < self.reached {
            return Err(StoreError::Backwards { asked: position, reached: self.reached });
        }
        let committed = self.commit_series(mode);
        self.pending = self.series.iter().map(Series::pending).sum();
        committed?;
        self.write_checkpoint(position, &state())?;
        let mut report = std::mem::take(&mut self.report);
        report.position = position;
        report.bytes = std::mem::take(&mut self.disk.bytes);
        for (index, series) in (0..).zip(&mut self.series) {
            if series.durable > 0 {
                report.rows.push((SeriesHandle(index), std::mem::take(&mut series.durable)));
            }
        }
        Ok(report)
    }

    /// Commits all that can be. What a day could not be written for stays in memory, alone: rows of the others are durable and
    /// known by their positions when they are derived again.
    fn commit_series(&mut self, mode: CommitMode) -> Result<(), StoreError> {
        let mut failure = Ok(());
        for series in &mut self.series {
            let mut ctx = Context {
                disk: &mut self.disk,
                layout: &self.layout,
                symbol: &series.symbol,
                options: &self.options,
                mode,
                clock: self.clock,
                inherited: self.inherited,
                files: &mut self.report.files,
                quarantined: &mut self.report.quarantined,
            };
            let (gaps, durable) = (&mut series.gaps, &mut series.durable);
            match &mut series.rows {
                Rows::Trades(days) => commit_days(days, &mut ctx, gaps, durable, &mut failure),
                Rows::Quotes(days) => commit_days(days, &mut ctx, gaps, durable, &mut failure),
                Rows::Book(days) => commit_days(days, &mut ctx, gaps, durable, &mut failure),
                Rows::None => {}
            }
            if matches!(failure, Err(StoreError::NoSpace { .. })) {
                // The others would meet the same.
                break;
            }
        }
        failure
    }

    fn write_checkpoint(&mut self, position: Position, state: &[u8]) -> Result<(), StoreError> {
        let path = self.layout.checkpoint();
        let noted = self.series.iter().filter(|s| !s.gaps.is_empty() || s.book_clock != UnixNanos::UNKNOWN);
        let series = noted.map(|s| SeriesNotes {
            symbol: s.symbol.clone(),
            channel: s.channel,
            book_clock: s.book_clock,
            gaps: s.gaps.clone(),
        });
        let notes = Notes { position, clock: self.clock, inherited: self.inherited, series: series.collect() };
        let head = checkpoint::head(&notes, state).map_err(|e| StoreError::io("write", &path, e.into()))?;
        self.disk.write(&path, &[&head, state])?;
        self.reached = position;
        self.checkpoint = Some(Checkpoint { position, state: Vec::new() });
        Ok(())
    }

    fn saw(&mut self, at: Position, ts_recv: UnixNanos) {
        self.reached = self.reached.max(at);
        self.clock = self.clock.max(ts_recv);
    }

    /// Days that an earlier process left in parts.
    fn find_parts(&mut self) -> Result<(), StoreError> {
        let root = self.layout.parts();
        let names = |dir: &Path| layout::names(dir).map_err(|e| StoreError::io("list", dir, e));
        for kind in names(&root)? {
            let Ok(channel) = kind.parse::<Channel>() else { continue };
            for pair in names(&root.join(&kind))? {
                let Some(symbol) = Symbol::from_path_name(&pair) else { continue };
                for label in names(&root.join(&kind).join(&pair))? {
                    let Some(day) = dccd_model::time::day_from_label(&label) else { continue };
                    let handle = self.series(&symbol, channel)?;
                    match &mut self.series[handle.0 as usize].rows {
                        Rows::Trades(days) => drop(days.entry(day).or_default()),
                        Rows::Quotes(days) => drop(days.entry(day).or_default()),
                        Rows::Book(days) => drop(days.entry(day).or_default()),
                        Rows::None => {}
                    }
                }
            }
        }
        Ok(())
    }
}

fn push<R: Row>(days: &mut Days<R>, at: Position, row: R) {
    days.entry(row.ts().day()).or_default().push(at, row);
}

fn wrong(series: Option<&mut Series>) {
    if let Some(series) = series {
        series.wrong = true;
    }
}

/// Commits a series' days; the first failure goes into `failure`.
fn commit_days<R: Row>(
    days: &mut Days<R>,
    ctx: &mut Context<'_>,
    gaps: &mut OpenGaps,
    durable: &mut u64,
    failure: &mut Result<(), StoreError>,
) {
    let all: BTreeSet<i64> = days.keys().copied().chain(gaps.days()).collect();
    for number in all {
        let day = days.entry(number).or_default();
        match day.commit(ctx, number, gaps) {
            Ok(rows) => *durable += rows,
            Err(error) => {
                let full = matches!(error, StoreError::NoSpace { .. });
                // A full disk comes first: it is what can be helped.
                if failure.is_ok() || full {
                    *failure = Err(error);
                }
                if full {
                    return;
                }
                continue;
            }
        }
        if day.is_settled() && !gaps.waits_for(number) {
            days.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests;
