//! What a `datad.<exchange>` offers to clients: markets, search, feeds, books, jobs, backfills, flush. Wire types are positional
//! (bincode): append fields and methods at the end and raise [`DATAD_PROTOCOL`].

use serde::{Deserialize, Serialize};

use crate::{Hello, HelloReply, RpcError};

/// Version of this contract.
pub const DATAD_PROTOCOL: u32 = 5;

/// The service of one exchange.
#[tarpc::service]
pub trait Datad {
    /// First call of a connection; refuses a client that speaks another version.
    async fn hello(hello: Hello) -> Result<HelloReply, RpcError>;
    /// What is known of one market, by unified symbol or the exchange's own id.
    async fn market(symbol: String) -> Result<MarketInfo, RpcError>;
    /// Markets that match a pattern, best first.
    async fn search(pattern: String, limit: u32) -> Result<Vec<SearchHit>, RpcError>;
    /// Opens a feed, or joins it where it is open already. It lives on when the client leaves.
    async fn open_feed(symbol: String, channel: String) -> Result<FeedInfo, RpcError>;
    /// Takes back one `open_feed`; the feed closes with the last one, unless the configuration wants it.
    async fn close_feed(symbol: String, channel: String) -> Result<FeedInfo, RpcError>;
    /// The order book of an open feed, the best `depth` levels a side (0: all).
    async fn book(symbol: String, depth: u32) -> Result<BookSnapshot, RpcError>;
    /// The state of every feed.
    async fn feeds() -> Result<Vec<FeedInfo>, RpcError>;
    /// The jobs of the configuration.
    async fn jobs() -> Result<Vec<JobInfo>, RpcError>;
    /// Counters of the whole process.
    async fn stats() -> Result<Stats, RpcError>;
    /// Returns when everything received so far is in the store's files.
    async fn flush() -> Result<FlushReport, RpcError>;
    /// Asks the process to flush and exit; it answers before it does.
    async fn shutdown() -> Result<(), RpcError>;
    /// Begins to fill series of the history; answers with the id of the job at once.
    async fn begin_backfill(request: BackfillRequest) -> Result<String, RpcError>;
    /// The backfills that are remembered, the newest last.
    async fn backfills() -> Result<Vec<BackfillInfo>, RpcError>;
    /// Tells a backfill to end; what it has fetched is stored.
    async fn cancel_backfill(id: String) -> Result<(), RpcError>;
    /// Stops running the history jobs whose names begin so, until they are resumed; answers with their names.
    async fn pause_jobs(prefix: String) -> Result<Vec<String>, RpcError>;
    /// Runs them again.
    async fn resume_jobs(prefix: String) -> Result<Vec<String>, RpcError>;
    /// Reads its configuration anew: opens and closes feeds, takes up and leaves jobs, and goes on with all others. Refused
    /// where something is different that only a new process can take in.
    async fn reload() -> Result<(), RpcError>;
    /// Stops recording the live jobs whose names begin so, until they are resumed; answers with their names.
    async fn pause_live(prefix: String) -> Result<Vec<String>, RpcError>;
    /// Records them again.
    async fn resume_live(prefix: String) -> Result<Vec<String>, RpcError>;
    /// Begins to fetch all that the series of those history jobs lack whose names begin so; answers with the id of the backfill at
    /// once, `None` where no job is meant.
    async fn run_jobs(prefix: String) -> Result<Option<String>, RpcError>;
    /// A successor of this process is there: connect to it at the socket where successors wait. `profile` is what decides how the
    /// exchange's messages are understood; another one than this process's is refused.
    async fn meet_successor(profile: String) -> Result<(), RpcError>;
}

/// One market of the exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarketInfo {
    /// Unified symbol.
    pub symbol: String,
    /// The exchange's own name of it.
    pub id: String,
    /// `trading`, `halted`, `closed`, …
    pub status: String,
    /// Smallest price step, as decimal text.
    pub price_tick: Option<String>,
    /// Smallest amount step, as decimal text.
    pub amount_step: Option<String>,
}

/// One search result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchHit {
    /// The exchange.
    pub exchange: String,
    /// The market.
    pub market: MarketInfo,
    /// Higher is better; comparable between exchanges for one pattern.
    pub score: u32,
}

/// One feed: a symbol's channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedInfo {
    /// Unified symbol.
    pub symbol: String,
    /// Channel.
    pub channel: String,
    /// Name of the ring under `/dev/shm`.
    pub ring: String,
    /// The ring's generation.
    pub generation: u64,
    /// Records published so far.
    pub cursor: u64,
    /// `live`, `stale`, `syncing`, `silent` (its market trades, and it says nothing), `closed`.
    pub state: String,
    /// `syncing`, `valid`, `suspect`; books only.
    pub book_state: Option<String>,
    /// Book epoch; 0 elsewhere.
    pub epoch: u32,
    /// Whether its records go to the store.
    pub recorded: bool,
    /// How many clients opened it and did not close it.
    pub holders: u32,
    /// Gaps found so far in this process.
    pub gaps: u64,
    /// Of these, how many were made good.
    pub gaps_repaired: u64,
    /// Per cent of the time since the feed was opened in this process of which nothing is missing: what was made good is not
    /// missing, and while nothing comes that counts as missing.
    pub score: f64,
    /// Host time of the last record, ns; 0: none yet.
    pub last_recv: i64,
    /// Last price: of the last trade, or the middle of the quote or book; decimal text.
    pub last_price: Option<String>,
    /// Best bid and ask (quotes and books), decimal text.
    pub best: Option<(String, String)>,
    /// What is wrong, in words; `None` when nothing is.
    pub error: Option<String>,
    /// Of candles that the exchange sends: how many were the same as those of its trades, and how many differed, in this process;
    /// `None` where there is but one source.
    pub compared: Option<(u64, u64)>,
    /// Gaps of trades that are still being repaired; what the exchange doesn't have is none of them.
    pub open_gaps: u64,
}

/// An order book at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookSnapshot {
    /// Unified symbol.
    pub symbol: String,
    /// Ring it belongs to.
    pub ring: String,
    /// All ring records with a sequence below this one are in the snapshot, none at or above it.
    pub sequence: u64,
    /// Book epoch.
    pub epoch: u32,
    /// `syncing`, `valid`, `suspect`.
    pub state: String,
    /// The exchange's sequence number of the last event.
    pub update_id: u64,
    /// Best first: price and amount, decimal text.
    pub bids: Vec<(String, String)>,
    /// Best first: price and amount, decimal text.
    pub asks: Vec<(String, String)>,
}

/// One job: a series that the configuration wants recorded or kept complete. Times are ns since the epoch, 0: never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Series, e.g. `binance/BTC/USDT/trades`.
    pub job: String,
    /// `stream` or `histo`.
    pub kind: String,
    /// `live`, `stale`, `syncing`, `silent`, `closed`, `error`; of history: `scheduled`, `running`, `paused`, `failed`.
    pub state: String,
    /// Last record received, or last run.
    pub last_run: i64,
    /// Last time its rows were made durable.
    pub last_success: i64,
    /// Rows written by this process.
    pub rows: u64,
    /// Errors in this process.
    pub errors: u64,
    /// Errors since the last success.
    pub consecutive_errors: u64,
    /// The last error's text.
    pub last_error: Option<String>,
    /// When it is due next; 0: not by the clock.
    #[serde(default)]
    pub next_run: i64,
    /// Why its market can't be traded, in a word, by the exchange's own list: `halted`, `not listed`; `None` where nothing is known
    /// against it.
    #[serde(default)]
    pub market: Option<String>,
    /// What it did since the process began.
    #[serde(default)]
    pub process: JobCounts,
}

/// What a job did since its process began; nothing of it is kept over restarts, so that it only grows in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    /// Runs that ended; 0 for jobs that record live, which have none.
    pub runs: u64,
    /// Of these, how many failed.
    pub errors: u64,
    /// Rows written.
    pub rows: u64,
    /// How long the last run took, ns; 0: none has ended yet.
    pub last_run_ns: u64,
}

/// What a backfill is for. Times are ns since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackfillRequest {
    /// Which series.
    pub series: Vec<WantedSeries>,
    /// The newest alone: what came after the last candle that is stored.
    pub newest_only: bool,
    /// Markets at the same time instead of one after the other.
    pub parallel: bool,
}

/// One series of candles that is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WantedSeries {
    /// Unified symbol.
    pub symbol: String,
    /// Length of a candle in seconds.
    pub span_s: u32,
    /// The first moment wanted; `None`: the market's listing.
    pub start: Option<i64>,
    /// The end of what is wanted; `None`: now.
    pub end: Option<i64>,
    /// `auto`, `candles`, `trades`.
    pub source: String,
    /// Attempts for a page.
    pub max_retries: u32,
    /// Wait before the second attempt, milliseconds; it doubles.
    pub retry_delay_ms: u64,
}

/// A backfill. Times are ns since the epoch, 0: not yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillInfo {
    /// Its id.
    pub id: String,
    /// `running`, `done`, `failed`, `cancelled`, `interrupted`.
    pub state: String,
    /// When it began.
    pub started: i64,
    /// When it ended.
    pub ended: i64,
    /// Its series.
    pub series: Vec<BackfillSeries>,
}

/// How far one series of a backfill is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillSeries {
    /// The series: `binance/BTC/USDT/1h`.
    pub job: String,
    /// `waiting`, `running`, `done`, `failed`, `cancelled`, `interrupted`.
    pub state: String,
    /// Pages that it takes; `None` where it can't be known.
    pub windows_total: Option<u64>,
    /// Pages done.
    pub windows_done: u64,
    /// Pages that could not be had.
    pub windows_failed: u64,
    /// Candles that were not settled when it began.
    pub candles_total: u64,
    /// How many of these are settled.
    pub candles_done: u64,
    /// Rows stored.
    pub rows: u64,
    /// Trades read to build candles of.
    pub trades: u64,
    /// Rows a second.
    pub rows_per_second: f64,
    /// Seconds that it will still take; `None` while there is no pace.
    pub eta_s: Option<f64>,
    /// Everything before this moment is settled; 0: nothing yet.
    pub at: i64,
    /// Why nothing comes now, in words: its requests don't go out, or it looks for the market's first candle; `None` otherwise.
    pub waits_for: Option<String>,
    /// What was wrong last.
    pub error: Option<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
}

/// Counters of one datad since its start, and what they are now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Frames received.
    pub frames: u64,
    /// Records published to rings.
    pub records: u64,
    /// Frames that could not be read.
    pub parse_errors: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connections open now.
    pub connections: u32,
    /// Gaps found.
    pub gaps: u64,
    /// Gaps made good.
    pub gap_repairs: u64,
    /// Frame complete to record visible in the ring, ns: median of the last interval.
    pub frame_to_ring_p50: u64,
    /// The same, 99th percentile.
    pub frame_to_ring_p99: u64,
    /// Rows in the store's files.
    pub rows_written: u64,
    /// Journal bytes that the recorder has not read yet.
    pub recorder_lag_bytes: u64,
    /// Whether received frames are being recorded.
    pub recording: bool,
    /// Why not, or what else is wrong.
    pub error: Option<String>,
    /// REST request weight used in the present window.
    pub weight_used: u32,
    /// Its limit.
    pub weight_limit: u32,
    /// Until when REST is frozen by the exchange, ns; 0: not frozen.
    pub frozen_until: i64,
    /// Books that were begun anew because their best prices went on to differ from the quotes'.
    pub books_disagreed: u64,
    /// Connections opened in the place of an earlier one, whether that broke or was replaced as planned.
    pub reconnects: u64,
    /// Frame complete to record visible in the ring: all frames since the start.
    pub frame_to_ring: Latencies,
}

/// How many times something took how long, since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Upper bounds of the buckets, ns, ascending; a bound belongs to its bucket.
    pub bounds_ns: Vec<u64>,
    /// Of each bucket by itself; one more than bounds, the last for what took longer than all of them.
    pub counts: Vec<u64>,
    /// All times together, ns.
    pub sum_ns: u64,
}

/// What a flush did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlushReport {
    /// Journal position up to which everything is in the files.
    pub position: u64,
    /// Rows written by this flush.
    pub rows: u64,
    /// Files written by this flush.
    pub files: u64,
    /// Bytes written by this flush.
    pub bytes: u64,
}
