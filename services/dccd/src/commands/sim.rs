//! `dccd sim`: the simulated exchange as a program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dccd_service::Shutdown;
use dccd_service::log::LogOptions;
use dccd_sim::deep::DeepOptions;
use dccd_sim::{
    BitfinexOptions, BybitOptions, CoinbaseOptions, DeribitOptions, FaultPlan, KrakenOptions, KucoinOptions, LedgerMode,
    Limits, MarketOptions, OkxOptions, ReplayOptions, ReplayStart, Sim, SimOptions, UsdmOptions,
};

use crate::cli::Global;
use crate::commands::block_on;
use crate::exit::Failure;
use crate::output::{Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The exchange to play: binance, bitfinex, bybit, coinbase, deribit, kraken, kucoin or okx
    #[arg(long, value_name = "X", default_value = "binance")]
    exchange: String,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The same seed gives the same market
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write what was sent to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// What the ledger says: full (every frame) or compact (counts)
    #[arg(long, value_name = "MODE", default_value = "full", requires = "ledger")]
    ledger_mode: LedgerMode,
    /// Faults that happen by themselves, e.g. seed=7,drop=0.001,disconnect=2
    #[arg(long, value_name = "PLAN", default_value = "")]
    faults: FaultPlan,
    /// Rules of the perpetuals of --exchange binance, e.g. weight=2400,ping=180,pong=600,streams=200,messages=10
    #[arg(long, value_name = "RULES", default_value = "")]
    usdm: UsdmOptions,
    /// Rules of --exchange kraken, e.g. rate=1,burst=5,strikes=10,lockout=900; rate=0: no limit
    #[arg(long, value_name = "RULES", default_value = "")]
    kraken: KrakenOptions,
    /// Rules of --exchange bybit, e.g. requests=600,window=5,ban=600,idle=600; requests=0: no limit
    #[arg(long, value_name = "RULES", default_value = "")]
    bybit: BybitOptions,
    /// Rules of --exchange okx, e.g. limits=false,checksum=true,snapshot=false,keepalive=60,idle=30
    #[arg(long, value_name = "RULES", default_value = "")]
    okx: OkxOptions,
    /// Rules of --exchange coinbase, e.g. limits=false,agent=false,late=10,subscribe=5,subscriptions=10
    #[arg(long, value_name = "RULES", default_value = "")]
    coinbase: CoinbaseOptions,
    /// Rules of --exchange kucoin, e.g. weight=2000,ping=18,timeout=10,token=86400,messages=100,topics=400; weight=0: no limit
    #[arg(long, value_name = "RULES", default_value = "")]
    kucoin: KucoinOptions,
    /// Rules of --exchange bitfinex, e.g. limits=false,channels=25,heartbeat=15,ticker=10,appended=false,dust=false
    #[arg(long, value_name = "RULES", default_value = "")]
    bitfinex: BitfinexOptions,
    /// Rules of --exchange deribit, e.g. credits=false,auth=false,second=1,connects=32,window=1
    #[arg(long, value_name = "RULES", default_value = "")]
    deribit: DeribitOptions,
    #[command(flatten)]
    market: Market,
    #[command(flatten)]
    replay: Replay,
    #[command(flatten)]
    rules: Rules,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Invented market")]
struct Market {
    /// Symbols, of binance and bybit also perpetuals as BTC/USDT:USDT [default: BTC/USDT,ETH/USDT,SOL/USDT,XRP/USDT, or the exchange's own]
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',')]
    symbols: Vec<String>,
    /// Trades a second, all symbols together [default: 40]
    #[arg(long, value_name = "RATE")]
    trades: Option<f64>,
    /// Order book changes without a trade a second, all symbols together [default: 200]
    #[arg(long, value_name = "RATE")]
    book_updates: Option<f64>,
    /// As fast as the slowest client reads, instead of by the clock
    #[arg(long)]
    blast: bool,
    /// Spread evenly over time, one trade an order, instead of in small bursts; takes a processor core
    #[arg(long, conflicts_with = "blast")]
    even: bool,
    /// Price levels a side [default: 1000]
    #[arg(long, value_name = "N")]
    levels: Option<usize>,
    /// Years of candles and trades before the present, for the REST side: e.g. listed=2017-08-17,trades=600,quiet=0.05,outages=2;
    /// all exchanges but binance always have one. That of binance goes on beside the live market: its REST side tells other trades
    #[arg(long, value_name = "PAST")]
    past: Option<DeepOptions>,
    /// Seconds that trades reach back before the start [default: 7200]
    #[arg(long, value_name = "S")]
    history: Option<u64>,
    /// Trades kept per symbol for the REST side [default: 1000000]
    #[arg(long, value_name = "N")]
    history_trades: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Replay")]
struct Replay {
    /// Serve recorded frames (*.frames.jsonl, *.frames.jsonl.zst) instead of an invented market
    #[arg(long, value_name = "FILE", num_args = 1..)]
    replay: Vec<PathBuf>,
    /// 1 is the recorded pace, 0 as fast as the client reads
    #[arg(long, value_name = "X", default_value_t = 0.0, requires = "replay")]
    speed: f64,
    /// Begin when this many streams are subscribed to, instead of after a quiet time
    #[arg(long, value_name = "N", requires = "replay", conflicts_with = "start_on_command")]
    start_at_streams: Option<usize>,
    /// Begin on POST /sim/replay/start
    #[arg(long, requires = "replay")]
    start_on_command: bool,
    /// Seconds that a recorded book snapshot waits to be asked for [default: 5]
    #[arg(long, value_name = "S", requires = "replay")]
    snapshot_wait: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The exchange's rules")]
struct Rules {
    /// Seconds between two pings [default: 20]
    #[arg(long, value_name = "S")]
    ping_interval: Option<u64>,
    /// Seconds in which a pong must come [default: 60]
    #[arg(long, value_name = "S")]
    pong_timeout: Option<u64>,
    /// Seconds that a connection lives [default: 86400]
    #[arg(long, value_name = "S")]
    lifetime: Option<u64>,
    /// Seconds before that end at which it is announced [default: 600]
    #[arg(long, value_name = "S")]
    shutdown_notice: Option<u64>,
    /// Streams a connection [default: 1024]
    #[arg(long, value_name = "N")]
    streams_per_connection: Option<usize>,
    /// Messages a client may send per second [default: 5]
    #[arg(long, value_name = "N")]
    client_messages: Option<u32>,
    /// Connection attempts in five minutes [default: 300]
    #[arg(long, value_name = "N")]
    connects: Option<u32>,
    /// REST weight a minute, 0 for no limit [default: 6000]
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Requests past the weight that lead to a ban [default: 10]
    #[arg(long, value_name = "N")]
    strikes: Option<u32>,
    /// Seconds that the first ban lasts [default: 120]
    #[arg(long, value_name = "S")]
    ban: Option<u64>,
    /// Unsent bytes after which a slow client is disconnected [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    queue_bytes: Option<usize>,
}

impl Arguments {
    fn options(&self) -> SimOptions {
        SimOptions {
            deep: self.market.past.clone(),
            exchange: self.exchange.clone(),
            listen: self.listen,
            seed: self.seed,
            market: self.market.options(),
            replay: self.replay.options(),
            ledger: self.ledger.clone(),
            ledger_mode: self.ledger_mode,
            faults: self.faults.clone(),
            limits: self.rules.limits(),
            usdm: self.usdm.clone(),
            kraken: self.kraken.clone(),
            bybit: self.bybit.clone(),
            okx: self.okx.clone(),
            coinbase: self.coinbase.clone(),
            kucoin: self.kucoin.clone(),
            bitfinex: self.bitfinex.clone(),
            deribit: self.deribit.clone(),
        }
    }
}

impl Market {
    fn options(&self) -> MarketOptions {
        let default = MarketOptions::default();
        MarketOptions {
            symbols: if self.symbols.is_empty() { default.symbols } else { self.symbols.clone() },
            trades_per_second: self.trades.unwrap_or(default.trades_per_second),
            book_updates_per_second: self.book_updates.unwrap_or(default.book_updates_per_second),
            blast: self.blast,
            even: self.even,
            levels: self.levels.unwrap_or(default.levels),
            history: self.history.map_or(default.history, Duration::from_secs),
            history_trades: self.history_trades.unwrap_or(default.history_trades),
        }
    }
}

impl Replay {
    fn options(&self) -> Option<ReplayOptions> {
        if self.replay.is_empty() {
            return None;
        }
        let default = ReplayOptions::new(self.replay.clone());
        let start = match (self.start_at_streams, self.start_on_command) {
            (Some(streams), _) => ReplayStart::Streams(streams),
            (None, true) => ReplayStart::Command,
            (None, false) => default.start,
        };
        let snapshot_wait = self.snapshot_wait.map_or(default.snapshot_wait, Duration::from_secs);
        Some(ReplayOptions { speed: self.speed, start, snapshot_wait, ..default })
    }
}

impl Rules {
    fn limits(&self) -> Limits {
        let default = Limits::default();
        let seconds = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
        Limits {
            ping_interval: seconds(self.ping_interval, default.ping_interval),
            pong_timeout: seconds(self.pong_timeout, default.pong_timeout),
            lifetime: seconds(self.lifetime, default.lifetime),
            shutdown_notice: seconds(self.shutdown_notice, default.shutdown_notice),
            streams_per_connection: self.streams_per_connection.unwrap_or(default.streams_per_connection),
            client_messages_per_second: self.client_messages.unwrap_or(default.client_messages_per_second),
            connects_per_window: self.connects.unwrap_or(default.connects_per_window),
            weight_per_minute: self.weight.unwrap_or(default.weight_per_minute),
            strikes_to_ban: self.strikes.unwrap_or(default.strikes_to_ban),
            ban: seconds(self.ban, default.ban),
            queue_bytes: self.queue_bytes.unwrap_or(default.queue_bytes),
            ..default
        }
    }
}

/// Runs it until a signal. The addresses are the output, so that a program can start it and read them.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let level = global.log_level.clone().unwrap_or_else(|| "warn".to_owned());
    dccd_service::log::init(LogOptions { level, ..LogOptions::default() })?;
    block_on(async {
        let shutdown = Shutdown::new();
        shutdown.trigger_on_signals().context("cannot listen for signals")?;
        let handle = Sim::start(arguments.options()).await.context("cannot start the simulated exchange")?;
        let mut out = Out::new();
        out.line(format_args!("rest_url: {}", handle.rest_url()))?;
        out.line(format_args!("ws_url: {}", handle.ws_url()))?;
        out.flush()?;
        say("the simulated exchange is up; Ctrl-C ends it");
        shutdown.wait().await;
        handle.stop().await;
        Ok(())
    })
}
