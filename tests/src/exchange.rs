//! A simulated exchange in this process: faults on command, its own counters and ledger at hand.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dccd_sim::{Fault, LedgerReader, LedgerRecord, MarketOptions, Sim, SimBook, SimHandle, SimOptions, SimStats};
use tokio::runtime::Runtime;

/// A running simulated exchange with its ledger in a directory of its own.
#[derive(Debug)]
pub struct Exchange {
    runtime: Runtime,
    sim: Option<SimHandle>,
    directory: tempfile::TempDir,
    address: SocketAddr,
    name: String,
    symbols: Vec<String>,
}

impl Exchange {
    /// Two markets, so many trades and book updates a second (all together), a fixed seed.
    #[must_use]
    pub fn busy(trades_per_second: f64, book_updates_per_second: f64) -> Self {
        Self::start(Self::options(trades_per_second, book_updates_per_second))
    }

    /// The same of this name with these markets.
    #[must_use]
    pub fn of(name: &str, symbols: &[&str], trades_per_second: f64, book_updates_per_second: f64) -> Self {
        let mut options = Self::options(trades_per_second, book_updates_per_second);
        name.clone_into(&mut options.exchange);
        options.market.symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        Self::start(options)
    }

    /// The options that [`Exchange::busy`] starts with.
    #[must_use]
    pub fn options(trades_per_second: f64, book_updates_per_second: f64) -> SimOptions {
        SimOptions {
            seed: 7,
            market: MarketOptions {
                symbols: vec!["BTC/USDT".to_owned(), "ETH/USDT".to_owned()],
                trades_per_second,
                book_updates_per_second,
                levels: 200,
                history: Duration::from_secs(60),
                ..MarketOptions::default()
            },
            ..SimOptions::default()
        }
    }

    /// Starts one with these options; the ledger is added.
    #[must_use]
    pub fn start(mut options: SimOptions) -> Self {
        let directory = tempfile::Builder::new().prefix("dccd-exchange-").tempdir().unwrap();
        options.ledger = Some(directory.path().join("ledger.jsonl"));
        let (name, symbols) = (options.exchange.clone(), options.market.symbols.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sim = runtime.block_on(Sim::start(options)).unwrap();
        Self { runtime, address: sim.address(), sim: Some(sim), directory, name, symbols }
    }

    fn sim(&self) -> &SimHandle {
        self.sim.as_ref().expect("it has not been stopped")
    }

    /// The exchange that it plays.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its markets.
    #[must_use]
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// Base address of the REST side.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Base address of the WebSocket side.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Where everything is written down that it sent.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger.jsonl")
    }

    /// A directory that lives as long as the exchange.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.runtime.block_on(self.sim().stats()).unwrap()
    }

    /// Brings a fault about.
    #[track_caller]
    pub fn inject(&self, fault: Fault) {
        let shown = format!("{fault:?}");
        self.runtime.block_on(self.sim().faults().inject(fault)).unwrap_or_else(|error| panic!("{shown}: {error}"));
    }

    /// Trade ids that it skipped by a fault: nobody can get them.
    #[must_use]
    pub fn trades_skipped(&self) -> u64 {
        self.runtime.block_on(self.sim().flush_ledger()).unwrap();
        let skipped = |record| match record {
            LedgerRecord::Fault { fault: Fault::Gap { channel, count, .. }, .. } if channel == "trades" => u64::from(count),
            _ => 0,
        };
        LedgerReader::open(&self.ledger()).unwrap().map(|record| skipped(record.unwrap())).sum()
    }

    /// First and last id of the trades that REST can give.
    #[must_use]
    pub fn trade_ids(&self, symbol: &str) -> Option<(u64, u64)> {
        self.runtime.block_on(self.sim().trade_ids(symbol)).unwrap()
    }

    /// Its book of a symbol.
    #[must_use]
    pub fn book(&self, symbol: &str) -> Option<SimBook> {
        self.runtime.block_on(self.sim().book(symbol)).unwrap()
    }

    /// Stops the market; connections live on.
    pub fn pause(&self) {
        self.runtime.block_on(self.sim().pause()).unwrap();
    }

    /// Lets the market go on.
    pub fn resume(&self) {
        self.runtime.block_on(self.sim().resume()).unwrap();
    }

    /// Lets the market go on faster by this factor.
    pub fn speed_up(&self, factor: f64) {
        self.runtime.block_on(self.sim().speed_up(factor)).unwrap();
    }

    /// Whether a replay has sent its last frame.
    #[must_use]
    pub fn replay_done(&self) -> bool {
        self.sim().replay_done()
    }

    /// Ends the exchange; the ledger stays until this is dropped.
    pub fn stop(&mut self) {
        if let Some(sim) = self.sim.take() {
            self.runtime.block_on(sim.stop());
        }
    }
}

/// A loopback address on which nothing listens now.
#[must_use]
pub fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
