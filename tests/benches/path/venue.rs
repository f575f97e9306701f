//! The exchanges that can be measured: names of many markets on each, and what a collector is told to meet no limit of theirs.

use std::time::Duration;

use dccd_sim::{
    BitfinexOptions, BybitOptions, CoinbaseOptions, DeribitOptions, KrakenOptions, KucoinOptions, Limits, OkxOptions,
    SimOptions,
};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Setup, Tree};

use crate::usage::let_pass;

/// What a busy datad is promised for.
pub(crate) const MESSAGES_PER_SECOND: f64 = 10_000.0;
/// With what takes long: exchanges limit connections and messages, and disks have a pace of their own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// All that is recorded of a market.
pub(crate) const CHANNELS: [&str; 3] = ["trades", "book", "quotes"];

/// An exchange, or a part of one.
pub(crate) struct Venue {
    /// What it is called here.
    pub(crate) name: &'static str,
    exchange: &'static str,
    /// What follows the base currency in the names of its markets.
    quoted: &'static str,
    /// Trade ids count, so that a lost one is known.
    counts: bool,
    /// Trades are told in batches: another channel makes the messages.
    batches_trades: bool,
}

const fn venue(name: &'static str, quoted: &'static str, counts: bool) -> Venue {
    Venue { name, exchange: name, quoted, counts, batches_trades: false }
}

/// All of them.
pub(crate) const ALL: [Venue; 9] = [
    venue("binance", "USDT", true),
    Venue { exchange: "binance", ..venue("binance-usdm", "USDT:USDT", true) },
    venue("kraken", "USD", true),
    venue("bybit", "USDT", false),
    venue("okx", "USDT", true),
    venue("coinbase", "USD", true),
    venue("bitfinex", "USD", false),
    venue("kucoin", "USDT", false),
    Venue { batches_trades: true, ..venue("deribit", "USDC", true) },
];

/// The one of this name.
pub(crate) fn of(name: &str) -> &'static Venue {
    let names = || ALL.iter().map(|venue| venue.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|venue| venue.name == name).unwrap_or_else(|| panic!("no exchange {name}; there are {}, all", names()))
}

impl Venue {
    /// Two markets.
    pub(crate) fn pair(&self) -> Vec<String> {
        ["BTC", "ETH"].map(|base| format!("{base}/{}", self.quoted)).to_vec()
    }

    /// Many, whose names no exchange has codes of its own for.
    pub(crate) fn symbols(&self, count: usize) -> Vec<String> {
        let letter = |at: usize| char::from(b'A' + u8::try_from(at % 26).expect("below 26"));
        (0..count).map(|at| format!("Q{}{}/{}", letter(at / 26), letter(at), self.quoted)).collect()
    }

    /// The channels that make a message each time something happens.
    pub(crate) fn fast_channels(&self) -> &'static [&'static str] {
        if self.batches_trades { &["trades", "quotes"] } else { &["trades"] }
    }

    /// Trades and changes of books a second that make about so many messages in the fast channels.
    pub(crate) fn rates(&self, messages: f64) -> (f64, f64) {
        // A batch of trades is one message, however many they are; quotes follow the book.
        if self.batches_trades { (messages / 100.0, messages) } else { (messages, 0.0) }
    }

    /// A market without a past, rules that nobody meets.
    pub(crate) fn options(&self, symbols: Vec<String>) -> SimOptions {
        let busy = Exchange::options(1.0, 0.0);
        let mut market = busy.market;
        (market.symbols, market.history, market.history_trades) = (symbols, Duration::ZERO, 10_000);
        let connects = 10_000;
        SimOptions {
            exchange: self.exchange.to_owned(),
            market,
            limits: Limits { weight_per_minute: 0, connects_per_window: connects, ..Limits::default() },
            kraken: KrakenOptions { connects_per_window: connects, ..KrakenOptions::default() },
            bybit: BybitOptions { connects_per_window: connects, ..BybitOptions::default() },
            okx: OkxOptions { limits: false, connects_per_window: connects, ..OkxOptions::default() },
            coinbase: CoinbaseOptions { limits: false, connects_per_window: connects, ..CoinbaseOptions::default() },
            bitfinex: BitfinexOptions { limits: false, connects_per_window: connects, ..BitfinexOptions::default() },
            kucoin: KucoinOptions { weight: 0, connects_per_window: connects, ..KucoinOptions::default() },
            deribit: DeribitOptions { credits: false, connects_per_window: connects, ..DeribitOptions::default() },
            ..busy
        }
    }

    /// A collector of all of the exchange's markets.
    pub(crate) fn setup(&self, exchange: &Exchange) -> Setup {
        let (rest, ws) = (exchange.rest_url(), exchange.ws_url());
        let weight = "rest_weight_per_minute: 1000000";
        let more = match self.exchange {
            "binance" => format!("{weight}, linear: {{rest_url: '{rest}', ws_url: '{ws}'}}"),
            _ => weight.to_owned(),
        };
        Setup { exchange: more, ..Setup::new(exchange) }
    }

    /// Trades that may be missing in the end, as [`Tree::settle`] takes it.
    pub(crate) fn lost(&self) -> u64 {
        if self.counts { 0 } else { u64::MAX }
    }

    /// Sets the market's pace so that [`MESSAGES_PER_SECOND`] arrive: how many an event makes is the exchange's own matter.
    pub(crate) fn settle_pace(&self, exchange: &Exchange, tree: &Tree) {
        const LOOK: Duration = Duration::from_secs(2);
        for _ in 0..4 {
            let before = tree.stats().expect("it answers").frames;
            let began = std::time::Instant::now();
            let_pass(LOOK);
            let made = (tree.stats().expect("it answers").frames - before) as f64 / began.elapsed().as_secs_f64();
            exchange.speed_up((MESSAGES_PER_SECOND / made.max(1.0)).clamp(0.1, 10.0));
        }
        let_pass(LOOK);
    }

    /// Ends a run: what was sent is held against what is stored, and fails it.
    pub(crate) fn end(&self, mut tree: Tree, exchange: &mut Exchange) {
        exchange.pause();
        // A commit of all series takes as long as the disk wants.
        wait_for(PATIENCE, || tree.stats(), |stats| stats.as_ref().is_some_and(|s| s.recorder_lag_bytes == 0));
        tree.drain(exchange, self.lost());
        tree.stop();
        let audit = tree.audit(exchange);
        let gaps: u64 = audit.series.iter().map(|series| series.gaps + series.repaired).sum();
        assert_eq!(gaps, 0, "gaps were declared: {:#?}", audit.total());
    }
}
