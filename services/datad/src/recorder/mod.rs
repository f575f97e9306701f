//! The recorder: follows the journal with a session of its own and writes what it yields to the store.
//!
//! It knows nothing but the journal, so the store is a pure function of it: recovery after a crash is going on from the last
//! checkpoint, a slow disk delays no ring, and what was lost between two entries is found by the same rules as live.

mod feeds;
mod output;
mod saved;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use dccd_exchange::{Adapter, FeedIndex, Markets, Session, Want};
use dccd_model::{Channel, Entry, EntryKind, SeriesEnd, Symbol, UnixNanos};
use dccd_rpc::datad::FlushReport;
use dccd_service::Task;
use dccd_store::journal::{JournalError, JournalReader, JournalSync};
use dccd_store::{CommitMode, Position, Recorder};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::candles::{self, LiveCandles, Nowhere, Storing};
use crate::error::{DatadError, chain};
use crate::fetch::FetchRequest;
use crate::history::{HistoryCommand, sends_empty};
use crate::shared::{Part, Shared};
use feeds::Feeds;
use output::StoreOutput;
use saved::SavedState;

pub(crate) use feeds::{LIVE_ONLY, RECORDED};

/// Where series end of which the journal says nothing.
pub(crate) type Stored = HashMap<(Symbol, Channel), SeriesEnd>;

/// How often the journal's end is looked at while nothing happens.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Entries read between two looks at the commands.
const ENTRIES_PER_TURN: usize = 4_096;
/// Rows in memory at which a commit comes early. Packed, of 20 to 35 bytes each; of some 100 while their series is written.
const PENDING_ROWS_MAX: usize = 262_144;
/// Missing trades that did not come are asked for again this often, and so many times in all; then a backfill's turn has come.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const ASKS_MAX: u32 = 5;
/// How long to wait before a failed commit is tried again.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// What the recorder is asked to do.
pub(crate) enum RecorderCommand {
    /// Make everything up to this journal position durable, then answer.
    Flush { upto: Position, reply: oneshot::Sender<Result<FlushReport, String>> },
    /// The list of markets has grown; answered when the session knows.
    MarketsGrew { markets: Arc<Markets>, reply: oneshot::Sender<()> },
    /// How old the newest Parquet part may be, and how much recorded journal is kept, from now on.
    Adjust { time_step: Duration, journal_keep_bytes: u64 },
    /// The same as [`Self::Flush`], with open days merged into their files, and end.
    Close { upto: Position, reply: oneshot::Sender<Result<FlushReport, String>> },
}

/// Where a session stands after the journal was read to its end: the live side goes on from here.
pub(crate) struct Recovered {
    /// The session's saved state; `None` where there was no journal.
    pub(crate) session: Option<Vec<u8>>,
    /// Which feeds go to the store, by index.
    pub(crate) recorded: Vec<bool>,
    /// The saved state of the live candles.
    pub(crate) candles: Vec<u8>,
    /// Entries read since the last checkpoint.
    pub(crate) entries: u64,
}

/// What the recorder works with.
pub(crate) struct RecorderContext {
    /// The exchange's adapter.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// Its markets.
    pub(crate) markets: Arc<Markets>,
    /// The journal's directory.
    pub(crate) journal_dir: PathBuf,
    /// The store.
    pub(crate) data_path: PathBuf,
    /// Kept journal that has been recorded already, bytes.
    pub(crate) journal_keep_bytes: u64,
    /// Makes the journal durable; `None` where it is at rest.
    pub(crate) sync: Option<Arc<JournalSync>>,
    /// Where missing trades are asked for.
    pub(crate) fetches: mpsc::Sender<FetchRequest>,
    /// Who brings live candles into the store.
    pub(crate) history: mpsc::Sender<HistoryCommand>,
    /// Counters.
    pub(crate) shared: Arc<Shared>,
}

/// Live candles of which nothing is known yet.
pub(crate) fn live_candles(adapter: &dyn Adapter) -> LiveCandles {
    LiveCandles::new(&adapter.capabilities(), sends_empty(adapter, candles::SPAN))
}

/// The recorder's loop and what it owns.
pub(crate) struct RecorderLoop {
    ctx: RecorderContext,
    recorder: Recorder,
    reader: JournalReader,
    session: Box<dyn Session>,
    feeds: Feeds,
    candles: LiveCandles,
    storing: Storing,
    position: Position,
    retry_at: Option<Instant>,
    /// How often each hole (feed, first and last missing id) was asked for since this process began.
    asked: HashMap<(FeedIndex, u64, u64), u32>,
    asked_at: Instant,
    /// Time of the last entry read.
    last_ts: UnixNanos,
}

impl RecorderLoop {
    /// Opens the store, goes back to the last checkpoint and reads the journal to its end.
    ///
    /// # Errors
    /// When store or journal can't be opened, or the checkpoint can't be read.
    pub(crate) fn recover(ctx: RecorderContext, mut recorder: Recorder) -> Result<(Self, Recovered), DatadError> {
        let store_error = |source| DatadError::Store { dir: ctx.data_path.clone(), source };
        let mut feeds = Feeds::new(ctx.adapter.capabilities().trade_ids_contiguous);
        let mut candles = live_candles(ctx.adapter.as_ref());
        let (session, position, had_state) = match recorder.checkpoint() {
            None => (ctx.adapter.session(ctx.markets.clone()), Position(0), false),
            Some(checkpoint) => {
                let saved = SavedState::decode(&checkpoint.state)
                    .ok_or_else(|| DatadError::Checkpoint { exchange: ctx.adapter.name().to_owned() })?;
                feeds.resume(&saved);
                let session = ctx
                    .adapter
                    .restore(ctx.markets.clone(), saved.session)
                    .map_err(|source| DatadError::Session { exchange: ctx.adapter.name().to_owned(), source })?;
                if let Some(saved) = saved.candles {
                    candles.resume(saved, session.feeds(), feeds.recorded());
                }
                (session, checkpoint.position, true)
            }
        };
        feeds.follow(session.as_ref(), &mut recorder).map_err(store_error)?;
        let journal_error = |source| DatadError::Journal { dir: ctx.journal_dir.clone(), source };
        let (reader, position, retired) = match JournalReader::open_at(&ctx.journal_dir, position) {
            Err(JournalError::Retired { first, .. }) => {
                (JournalReader::open_at(&ctx.journal_dir, first).map_err(journal_error)?, first, true)
            }
            opened => (opened.map_err(journal_error)?, position, false),
        };
        let asked_at = Instant::now();
        let storing = Storing::new(ctx.history.clone(), ctx.shared.clone());
        let mut this = Self {
            ctx,
            recorder,
            reader,
            session,
            feeds,
            candles,
            storing,
            position,
            retry_at: None,
            asked: HashMap::new(),
            asked_at,
            last_ts: UnixNanos::UNKNOWN,
        };
        if retired && had_state {
            warn!(
                from = position.0,
                "the journal no longer has what came after the last checkpoint; it is declared missing"
            );
            this.apply_lost(position, "journal removed", &mut Vec::new());
        } else if retired && !this.is_beginning()? {
            warn!(
                "nothing says where the recorder stood, and the journal has lost its beginning; what it holds is not recorded"
            );
            this.pass_over()?;
        }
        let mut entries = 0;
        loop {
            let (read, wants) = this.read_some()?;
            entries += read as u64;
            // What was missing before the crash is asked for once the live side runs and finds the same gaps open.
            drop(wants);
            if read == 0 && !this.is_full() {
                break;
            }
            if read == 0 {
                // Full, and it can't be written: the live side must not begin in the middle.
                let dir = this.ctx.data_path.clone();
                this.commit(CommitMode::Step).map_err(|reason| DatadError::Recovery { dir, reason })?;
            }
            this.commit_if_due(false);
        }
        let session = (had_state || entries > 0).then(|| this.session.save());
        let (recorded, candles) = (this.feeds.recorded().to_vec(), this.candles.save());
        Ok((this, Recovered { session, recorded, candles, entries }))
    }

    /// The series that the store has files of and the journal says nothing of.
    ///
    /// # Errors
    /// When the store's directories can't be listed.
    pub(crate) fn unknown_series(&self) -> Result<Vec<(Symbol, Channel)>, DatadError> {
        let series = self.recorder.stored_series();
        let mut series = series.map_err(|source| DatadError::Store { dir: self.ctx.data_path.clone(), source })?;
        series.retain(|(symbol, channel)| !self.feeds.is_known(symbol, *channel));
        Ok(series)
    }

    /// Whether the journal begins here: what is recorded is said before anything else. Otherwise older segments were deleted.
    fn is_beginning(&self) -> Result<bool, DatadError> {
        let journal_error = |source| DatadError::Journal { dir: self.ctx.journal_dir.clone(), source };
        let mut reader = JournalReader::open_at(&self.ctx.journal_dir, self.position).map_err(journal_error)?;
        match reader.next() {
            Ok(first) => Ok(first.is_none_or(|(_, e)| matches!(e.kind, EntryKind::Stored | EntryKind::FeedOpened))),
            Err(JournalError::Damaged { .. }) => Ok(false),
            Err(source) => Err(journal_error(source)),
        }
    }

    /// Goes to the journal's end and begins there.
    fn pass_over(&mut self) -> Result<(), DatadError> {
        let journal_error = |source| DatadError::Journal { dir: self.ctx.journal_dir.clone(), source };
        loop {
            match self.reader.next() {
                Ok(Some((after, _))) => self.position = after,
                Ok(None) => break,
                Err(JournalError::Damaged { .. }) => match self.reader.skip_damaged().map_err(journal_error)? {
                    Some(after) => self.position = after,
                    None => break,
                },
                Err(source) => return Err(journal_error(source)),
            }
        }
        // Else it would be passed over again after a crash, with what has come meanwhile.
        let dir = self.ctx.data_path.clone();
        self.commit(CommitMode::Step).map(drop).map_err(|reason| DatadError::Recovery { dir, reason })
    }

    /// Follows the journal until it is told to close, or nobody is left to tell it.
    pub(crate) fn run(mut self, commands: &Receiver<RecorderCommand>, task: &Task) {
        self.ask_for_open_gaps();
        loop {
            self.ctx.shared.recorder_turns.fetch_add(1, Ordering::Relaxed);
            task.turn();
            task.doing("reading the journal");
            let read = match self.read_some() {
                Ok((read, wants)) => {
                    self.ask(wants);
                    read
                }
                Err(error) => {
                    // The journal is what everything rests on: stop here, be restarted, and go on from the checkpoint.
                    error!(error = %chain(&error), "the recorder cannot read on");
                    self.ctx.shared.set_trouble(Part::Store, Some(chain(&error)));
                    return;
                }
            };
            task.doing("writing rows that are due");
            self.commit_if_due(false);
            task.doing("storing candles");
            self.storing.turn(&mut self.candles);
            if self.asked_at.elapsed() >= ASK_AGAIN {
                self.ask_for_open_gaps();
            }
            let wait = if read == ENTRIES_PER_TURN { Duration::ZERO } else { POLL_INTERVAL };
            task.doing("waiting for more, or a command");
            task.rest();
            let command = commands.recv_timeout(wait);
            task.turn();
            task.doing("obeying a command");
            match command {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(RecorderCommand::Flush { upto, reply }) => {
                    let report = self.flush(upto, CommitMode::Step);
                    let _ = reply.send(report); // who asked may have given up waiting
                }
                Ok(RecorderCommand::MarketsGrew { markets, reply }) => {
                    self.session.markets_grew(markets);
                    let _ = reply.send(());
                }
                Ok(RecorderCommand::Adjust { time_step, journal_keep_bytes }) => {
                    self.recorder.set_time_step(time_step);
                    self.ctx.journal_keep_bytes = journal_keep_bytes;
                }
                Ok(RecorderCommand::Close { upto, reply }) => {
                    let report = self.flush(upto, CommitMode::Close);
                    let _ = reply.send(report);
                    return;
                }
            }
        }
    }

    /// Reads and applies entries, at most a turn's worth.
    fn read_some(&mut self) -> Result<(usize, Vec<Want>), DatadError> {
        let mut wants = Vec::new();
        let mut read = 0;
        while read < ENTRIES_PER_TURN && !self.is_full() {
            let next = match self.reader.next() {
                Ok(next) => next,
                Err(damage @ JournalError::Damaged { .. }) => {
                    if self.skip_damaged(&damage, &mut wants)? {
                        continue;
                    }
                    break;
                }
                Err(source) => return Err(DatadError::Journal { dir: self.ctx.journal_dir.clone(), source }),
            };
            let Some((after, entry)) = next else { break };
            self.last_ts = entry.ts_recv;
            let mut out = StoreOutput {
                recorder: &mut self.recorder,
                candles: &mut self.candles,
                feeds: &mut self.feeds,
                at: after,
                is_sent: entry.kind == EntryKind::Frame,
                wants: &mut wants,
            };
            self.session.apply(&entry, &mut out);
            self.candles.settle(entry.ts_recv, &mut Nowhere);
            if matches!(entry.kind, EntryKind::FeedOpened | EntryKind::FeedClosed | EntryKind::Stored) {
                let missed = self.feeds.note(self.session.as_ref(), &entry);
                self.feeds
                    .follow(self.session.as_ref(), &mut self.recorder)
                    .map_err(|source| DatadError::Store { dir: self.ctx.data_path.clone(), source })?;
                if let Some((feed, gap)) = missed
                    && let Some(handle) = self.feeds.handle(feed)
                {
                    self.recorder.gap(handle, after, &gap);
                }
                self.candles.follow(self.session.feeds(), self.feeds.recorded());
            }
            self.position = after;
            read += 1;
        }
        self.ctx.shared.recorder_at.store(self.position.0, Ordering::Relaxed);
        Ok((read, wants))
    }

    /// Whether so many rows wait to be written that no more may be read.
    fn is_full(&self) -> bool {
        self.recorder.pending_rows() >= 2 * PENDING_ROWS_MAX
    }

    /// Goes on behind a damaged stretch of the journal and lets the session find out what is missing; says whether there is
    /// anything behind it yet.
    fn skip_damaged(&mut self, damage: &JournalError, wants: &mut Vec<Want>) -> Result<bool, DatadError> {
        let text = chain(damage);
        let skipped = self.reader.skip_damaged();
        let skipped = skipped.map_err(|source| DatadError::Journal { dir: self.ctx.journal_dir.clone(), source })?;
        if self.ctx.shared.set_trouble(Part::Damage, skipped.is_none().then(|| text.clone())) || skipped.is_some() {
            error!(
                error = text,
                "the journal is damaged; what it held there is declared missing, and fetched where it can be"
            );
        }
        let Some(after) = skipped else { return Ok(false) };
        self.apply_lost(after, "journal damaged", wants);
        self.position = after;
        Ok(true)
    }

    /// Tells the session that entries before `at` are gone.
    fn apply_lost(&mut self, at: Position, subject: &str, wants: &mut Vec<Want>) {
        let lost = Entry { kind: EntryKind::Lost, conn: 0, ts_recv: self.last_ts, subject, payload: b"" };
        let (recorder, candles, feeds) = (&mut self.recorder, &mut self.candles, &mut self.feeds);
        let mut out = StoreOutput { recorder, candles, feeds, at, is_sent: false, wants };
        self.session.apply(&lost, &mut out);
        self.candles.settle(self.last_ts, &mut Nowhere);
    }

    fn ask(&mut self, wants: Vec<Want>) {
        for want in wants {
            let Want::Trades { feed, from_id, to_id, .. } = &want else { continue };
            let asks = self.asked.entry((*feed, *from_id, *to_id)).or_default();
            *asks += 1;
            if *asks > ASKS_MAX {
                continue;
            }
            if self.ctx.fetches.try_send(FetchRequest::Want(want)).is_err() {
                self.ctx.shared.fetches_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Asks for what the store lacks: once when this process begins, and again for what did not come.
    fn ask_for_open_gaps(&mut self) {
        self.asked_at = Instant::now();
        let mut wants = self.session.outstanding();
        let (feeds, candles) = (&self.feeds, &self.candles);
        let is_ours = |feed: FeedIndex| feeds.handle(feed).is_some() || candles.needs(feed);
        wants.retain(|want| matches!(want, Want::Trades { feed, .. } if is_ours(*feed)));
        let open: HashSet<_> = wants
            .iter()
            .filter_map(|want| match want {
                Want::Trades { feed, from_id, to_id, .. } => Some((*feed, *from_id, *to_id)),
                _ => None,
            })
            .collect();
        self.asked.retain(|hole, _| open.contains(hole));
        self.ask(wants);
    }

    /// Makes what was read durable, with open days merged into their files, and ends.
    ///
    /// # Errors
    /// When the store can't be written.
    pub(crate) fn close(mut self) -> Result<FlushReport, DatadError> {
        let state = || SavedState::encode(&self.feeds, self.candles.save(), self.session.save());
        let report = self
            .recorder
            .commit_with(self.position, state, CommitMode::Close)
            .map_err(|source| DatadError::Store { dir: self.ctx.data_path.clone(), source })?;
        let rows = report.rows.iter().map(|(_, rows)| rows).sum();
        Ok(FlushReport { position: self.position.0, rows, files: u64::from(report.files), bytes: report.bytes })
    }

    fn commit_if_due(&mut self, force: bool) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        if force || self.recorder.pending_rows() >= PENDING_ROWS_MAX || self.recorder.due(now) {
            let _ = self.commit(CommitMode::Step); // logged and tried again
        }
    }

    fn flush(&mut self, upto: Position, mode: CommitMode) -> Result<FlushReport, String> {
        while self.position.0 < upto.0 {
            let (read, wants) = self.read_some().map_err(|e| chain(&e))?;
            self.ask(wants);
            if read == 0 && !self.is_full() {
                break;
            }
            if self.recorder.pending_rows() >= PENDING_ROWS_MAX {
                self.commit(CommitMode::Step)?;
            }
        }
        let report = self.commit(mode)?;
        if self.position.0 < upto.0 {
            return Err(format!("the journal can be read only up to {} of {}", self.position.0, upto.0));
        }
        Ok(report)
    }

    fn commit(&mut self, mode: CommitMode) -> Result<FlushReport, String> {
        let state = || SavedState::encode(&self.feeds, self.candles.save(), self.session.save());
        // A checkpoint must not get ahead of the journal that a power cut would leave.
        let synced = self.ctx.sync.as_ref().map_or(Ok(()), |sync| sync.sync_now());
        let committed = synced.map_err(|e| chain(&e)).and_then(|()| {
            let commit = self.recorder.commit_with(self.position, state, mode);
            commit.map_err(|e| chain(&e))
        });
        match committed {
            Ok(report) => {
                let now = crate::clock::now().0;
                for (handle, rows) in &report.rows {
                    if let Some(series) = self.feeds.name(*handle) {
                        self.ctx.shared.add_rows(series, *rows, now);
                    }
                }
                if self.retry_at.take().is_some() {
                    info!("the store takes rows again");
                }
                self.ctx.shared.set_trouble(Part::Store, None);
                if let Err(error) =
                    dccd_store::journal::retain(&self.ctx.journal_dir, self.position, self.ctx.journal_keep_bytes)
                {
                    warn!(error = %chain(&error), "could not remove old journal segments");
                }
                let rows = report.rows.iter().map(|(_, rows)| rows).sum();
                Ok(FlushReport { position: self.position.0, rows, files: u64::from(report.files), bytes: report.bytes })
            }
            Err(text) => {
                // Nothing is lost: the journal has it all, and the next commit writes it.
                if self.ctx.shared.set_trouble(Part::Store, Some(text.clone())) {
                    error!(error = text, "rows could not be written; they stay in the journal and are tried again");
                }
                self.retry_at = Some(Instant::now() + COMMIT_RETRY);
                Err(text)
            }
        }
    }
}

/// A recorder on a thread of its own.
pub(crate) struct RecorderThread {
    /// Commands to it; 16 wait at most, then the sender waits.
    pub(crate) commands: SyncSender<RecorderCommand>,
    /// Its thread.
    pub(crate) thread: std::thread::JoinHandle<()>,
}

impl RecorderThread {
    /// Lets a recovered recorder follow the journal on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(recorder: RecorderLoop, task: Task) -> Result<Self, DatadError> {
        let (commands, receiver) = std::sync::mpsc::sync_channel(16);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || recorder.run(&receiver, &task))
            .map_err(|_| DatadError::Thread { name: "recorder" })?;
        Ok(Self { commands, thread })
    }
}
