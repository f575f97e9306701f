//! What a simulated exchange is told before it starts: plain data, no flag parser.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deep::DeepOptions;
use crate::error::SimError;
use crate::exchanges::binance::usdm::UsdmOptions;
use crate::exchanges::bitfinex::BitfinexOptions;
use crate::exchanges::bybit::BybitOptions;
use crate::exchanges::coinbase::CoinbaseOptions;
use crate::exchanges::deribit::DeribitOptions;
use crate::exchanges::kraken::KrakenOptions;
use crate::exchanges::kucoin::KucoinOptions;
use crate::exchanges::okx::OkxOptions;
use crate::faults::FaultPlan;

/// Everything a simulated exchange needs to start. `Default` gives a small Binance on a free loopback port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimOptions {
    /// Which exchange to play, by its name.
    pub exchange: String,
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Two markets with the same seed and options produce the same sequence of trades and quotes.
    pub seed: u64,
    /// The invented market; unused in replay.
    pub market: MarketOptions,
    /// Gives all symbols a past of years, which goes on into the present; without it they have [`MarketOptions::history`]. The
    /// all simulated exchanges but Binance always have one, which ends where their live market begins.
    pub deep: Option<DeepOptions>,
    /// Serve recorded frames instead of an invented market.
    pub replay: Option<ReplayOptions>,
    /// Where to write what was sent, one JSON object a line; an existing file is replaced.
    pub ledger: Option<PathBuf>,
    /// How much the ledger says.
    pub ledger_mode: LedgerMode,
    /// Faults that happen by themselves.
    pub faults: FaultPlan,
    /// The exchange's rules; tests shorten them.
    pub limits: Limits,
    /// Those of a simulated Binance's perpetuals.
    pub usdm: UsdmOptions,
    /// Those of a simulated Kraken. Left alone, [`MarketOptions::symbols`] are then BTC/USD, ETH/USD, BTC/EUR and SOL/USD.
    pub kraken: KrakenOptions,
    /// Those of a simulated Bybit. Left alone, [`MarketOptions::symbols`] are then BTC/USDT, ETH/USDT, BTC/USDT:USDT and
    /// SOL/USDT:USDT.
    pub bybit: BybitOptions,
    /// Those of a simulated OKX. Left alone, [`MarketOptions::symbols`] are then BTC/USDT and ETH/USDT, spot and swap.
    pub okx: OkxOptions,
    /// Those of a simulated Coinbase. Left alone, [`MarketOptions::symbols`] are then BTC/USD, ETH/USD, SOL/USD and BTC/EUR.
    pub coinbase: CoinbaseOptions,
    /// Those of a simulated KuCoin. Left alone, [`MarketOptions::symbols`] are then BTC/USDT, ETH/USDT, SOL/USDT and ETH/BTC.
    pub kucoin: KucoinOptions,
    /// Those of a simulated Bitfinex. Left alone, [`MarketOptions::symbols`] are then BTC/USD, ETH/USD, BTC/USDT and DOGE/USD.
    pub bitfinex: BitfinexOptions,
    /// Those of a simulated Deribit. Left alone, [`MarketOptions::symbols`] are then BTC/USDC, BTC/USDC:USDC, BTC/USD:BTC and
    /// ETH/USD:ETH.
    pub deribit: DeribitOptions,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            exchange: "binance".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            market: MarketOptions::default(),
            deep: None,
            replay: None,
            ledger: None,
            ledger_mode: LedgerMode::Full,
            faults: FaultPlan::default(),
            limits: Limits::default(),
            usdm: UsdmOptions::default(),
            kraken: KrakenOptions::default(),
            bybit: BybitOptions::default(),
            okx: OkxOptions::default(),
            coinbase: CoinbaseOptions::default(),
            kucoin: KucoinOptions::default(),
            bitfinex: BitfinexOptions::default(),
            deribit: DeribitOptions::default(),
        }
    }
}

/// The invented market.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarketOptions {
    /// Unified symbols, e.g. `BTC/USDT`; where an exchange has perpetuals, also `BTC/USDT:USDT`.
    pub symbols: Vec<String>,
    /// Trades a second, all symbols together; 0 for none.
    pub trades_per_second: f64,
    /// Order book changes without a trade a second, all symbols together; 0 for none.
    pub book_updates_per_second: f64,
    /// Run as fast as the slowest client reads, instead of by the clock; nobody is then dropped for reading slowly.
    /// The two rates above keep their proportion.
    pub blast: bool,
    /// Spread the market's events evenly over time, to the microsecond, instead of in bursts each millisecond or five; an order
    /// makes one trade, not several at once. Takes a processor core.
    pub even: bool,
    /// Price levels a side that the book starts with and is kept near.
    pub levels: usize,
    /// How far trades reach back before the start.
    pub history: Duration,
    /// Trades kept per symbol for the REST side; the oldest go first.
    pub history_trades: usize,
}

impl Default for MarketOptions {
    fn default() -> Self {
        Self {
            symbols: ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"].map(str::to_owned).to_vec(),
            trades_per_second: 40.0,
            book_updates_per_second: 200.0,
            blast: false,
            even: false,
            levels: 1_000,
            history: Duration::from_secs(2 * 3_600),
            history_trades: 1_000_000,
        }
    }
}

/// Recorded frames to serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOptions {
    /// Files of recorded frames (`*.frames.jsonl` or `*.frames.jsonl.zst`), served one after the other.
    pub files: Vec<PathBuf>,
    /// 1 is the recorded pace, 10 ten times that; 0 as fast as the client reads.
    #[serde(default)]
    pub speed: f64,
    /// When the first frame is sent.
    #[serde(default)]
    pub start: ReplayStart,
    /// How long a recorded book snapshot waits at its place for a client to ask for it.
    #[serde(default = "default_snapshot_wait")]
    pub snapshot_wait: Duration,
}

fn default_snapshot_wait() -> Duration {
    Duration::from_secs(5)
}

impl ReplayOptions {
    /// These files, as fast as the client reads.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files, speed: 0.0, start: ReplayStart::default(), snapshot_wait: default_snapshot_wait() }
    }
}

/// When a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStart {
    /// Once a client has subscribed to something and no subscription came for this long.
    Quiet(Duration),
    /// Once this many streams of the recording are subscribed to, all connections together.
    Streams(usize),
    /// On [`crate::SimHandle::replay_start`] or `POST /sim/replay/start`.
    Command,
}

impl Default for ReplayStart {
    fn default() -> Self {
        Self::Quiet(Duration::from_millis(700))
    }
}

/// How much the ledger says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerMode {
    /// Every frame with its text.
    #[default]
    Full,
    /// Per connection and stream, each 100 ms: how many frames, first and last id. For very high rates.
    Compact,
}

impl FromStr for LedgerMode {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        match text {
            "full" => Ok(Self::Full),
            "compact" => Ok(Self::Compact),
            _ => Err(SimError::Option { name: "ledger mode", text: text.to_owned(), expected: "full or compact" }),
        }
    }
}

/// The exchange's rules (Binance spot, autumn 2026). Those of its perpetuals that differ are in [`UsdmOptions`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Between two ping frames of the server.
    pub ping_interval: Duration,
    /// How long after a ping its pong may come before the connection is closed.
    pub pong_timeout: Duration,
    /// How long a connection may live.
    pub lifetime: Duration,
    /// How long before that end `serverShutdown` is announced.
    pub shutdown_notice: Duration,
    /// Streams one connection may hold.
    pub streams_per_connection: usize,
    /// Messages (frames of any kind) a client may send per second.
    pub client_messages_per_second: u32,
    /// Connection attempts one address may make per [`Limits::connect_window`].
    pub connects_per_window: u32,
    /// See [`Limits::connects_per_window`].
    pub connect_window: Duration,
    /// REST weight one address may use per minute; 0: as much as it likes.
    pub weight_per_minute: u32,
    /// How many requests past the limit (each answered 429) lead to a ban (418).
    pub strikes_to_ban: u32,
    /// How long the first ban lasts; each further one twice as long.
    pub ban: Duration,
    /// Unsent bytes after which a client that reads too slowly is disconnected.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(60),
            lifetime: Duration::from_secs(24 * 3_600),
            shutdown_notice: Duration::from_secs(600),
            streams_per_connection: 1_024,
            client_messages_per_second: 5,
            connects_per_window: 300,
            connect_window: Duration::from_secs(300),
            weight_per_minute: 6_000,
            strikes_to_ban: 10,
            ban: Duration::from_secs(120),
            queue_bytes: 16 << 20,
        }
    }
}

/// Reads `key=value,key=value` into options; `set` says `None` of what it doesn't know. `name` and `expected` are for the error.
pub(crate) fn read_rules<T: Default>(
    text: &str,
    set: impl Fn(&mut T, &str, &str) -> Option<()>,
    name: &'static str,
    expected: &'static str,
) -> Result<T, SimError> {
    let mut options = T::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let told = part.split_once('=').and_then(|(key, value)| set(&mut options, key, value));
        told.ok_or_else(|| SimError::Option { name, text: part.to_owned(), expected })?;
    }
    Ok(options)
}
