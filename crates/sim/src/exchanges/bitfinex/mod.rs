//! Bitfinex v2: `/ws/2` and `/v2`, spot and perpetuals. One market on both sides: what is traded live goes on where the deep past
//! ends, with its ids and prices, and REST gives it again.
//!
//! What stands in the exchange's documents and recordings is played so: books are told in batches, what is gone first; trades
//! twice (`te`, then `tu`); ids of trades grow and are not counted; heartbeats of all quiet channels at once. Where they are silent:
//! a batch comes each 100 ms, `F1` each two seconds; a checksum follows each batch and no snapshot; a subscription from before a
//! maintenance stays silent after it.
//!
//! What it does not play: accounts, funding currencies, the `status` channel, liquidations, statistics.

mod book;
mod channels;
mod commands;
mod numbers;
mod options;
mod orders;
pub(crate) mod pairs;
mod render;
mod rest;
mod session;
mod streams;
mod tickers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Uri};

use super::{Kind, RestAnswer, Rules, Wire};
use crate::clock::now_us;
use crate::deep::past::mix;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::engine::Event;
use crate::options::SimOptions;
use crate::ws::queue::Conn;
use channels::Live;
use pairs::Pair;
use rest::limiter::Limiter;
use session::Session;

pub use options::BitfinexOptions;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "BTC/USDT", "DOGE/USD"];

/// Bitfinex among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "bitfinex",
    symbols: &SYMBOLS,
    spec: pairs::spec,
    wire: |options, symbols| Rc::new(Bitfinex::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// All ids of trades are above this.
const TRADE_IDS: u64 = 1_000_000_000;
/// Ids that lie between one trade and the next, most of them given to none; of all markets together so many times their number.
const SPARE_IDS: u64 = 3;

/// What Bitfinex adds.
struct Bitfinex {
    options: BitfinexOptions,
    seed: u64,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    pairs: Vec<Pair>,
    /// What subscribers have before them, by market.
    live: RefCell<Vec<Live>>,
    sessions: RefCell<HashMap<u32, Session>>,
    limiter: RefCell<Limiter>,
    /// Until when it is in maintenance, microseconds since the epoch.
    maintained_until_us: Cell<Option<i64>>,
}

impl Bitfinex {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        let rules = &options.bitfinex;
        Self {
            options: rules.clone(),
            seed: options.seed,
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            pairs: symbols.iter().map(|symbol| Pair::of(&symbol.spec)).collect(),
            live: RefCell::new(
                (0..symbols.len()).map(|place| Live::of(&symbols[place].book, place, symbols.len())).collect(),
            ),
            sessions: RefCell::default(),
            limiter: RefCell::new(Limiter::new(rules.limits, rules.block)),
            maintained_until_us: Cell::new(None),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// The market with this name, `tBTCUSD`.
    fn place_of(&self, id: &str) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.id == id)
    }

    /// The id that a trade has on the wire: it grows, belongs to one market alone, and leaves others out.
    fn trade_id(&self, place: usize, counted: u64) -> u64 {
        let number = |n: usize| u64::try_from(n).unwrap_or(0);
        let (market, markets) = (number(place), number(self.pairs.len()));
        let spare = mix(self.seed ^ counted.wrapping_mul(markets) ^ market) % SPARE_IDS;
        TRADE_IDS + (counted * SPARE_IDS + spare) * markets + market
    }

    /// Whether it is in no maintenance.
    fn is_up(&self) -> bool {
        self.maintained_until_us.get().is_none()
    }

    /// Ends a maintenance whose time has come.
    fn resume(&self, core: &Core) {
        if self.maintained_until_us.get().is_some_and(|until| now_us() >= until) {
            self.maintained_until_us.set(None);
            let text = "Maintenance ended. You can resume normal activity. It is advised to unsubscribe/subscribe again all channels.";
            core.conns.values().for_each(|conn| conn.reply(render::info(20_061, text).as_bytes()));
        }
    }
}

impl Wire for Bitfinex {
    fn names(&self) -> Vec<String> {
        streams::names(self.pairs.iter().map(|pair| pair.id.as_str()))
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            // Heartbeats are those of channels.
            heartbeat: None,
            idle: None,
            messages_per_second: u32::MAX,
            excess: None,
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: true,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        path.trim_end_matches('/') == "/ws/2"
    }

    fn opened(&self, core: &mut Core, conn: &Rc<Conn>, _address: &Uri) {
        let chance = mix(self.seed ^ u64::from(conn.id).rotate_left(32));
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|id, _| core.conns.contains_key(id));
        sessions.insert(conn.id, Session::new(1_000 + chance % 400_000, now_us()));
        conn.reply(render::welcome(chance, self.is_up()).as_bytes());
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    fn announce_end(&self, conn: &Conn) {
        conn.reply(render::info(20_051, "Stopping. Please try to reconnect").as_bytes());
    }

    fn maintain(&self, core: &mut Core, ms: u64) -> Result<String, String> {
        let time_us = i64::try_from(ms).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000);
        self.maintained_until_us.set(Some(now_us().saturating_add(time_us)));
        let text = "Entering in Maintenance mode. Please pause any activity and resume after receiving the info message 20061 (it should \
                    take 120 seconds at most).";
        for conn in core.conns.values() {
            conn.reply(render::info(20_060, text).as_bytes());
            conn.streams.borrow_mut().values_mut().for_each(|stream| *stream = None);
        }
        core.subs.iter_mut().for_each(Vec::clear);
        Ok("whoever had subscribed hears nothing more until it subscribes again, after the end".to_owned())
    }

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        self.resume(core);
        let now = now_us();
        for place in 0..self.pairs.len() {
            self.tell_by_clock(core, place, count, now);
        }
        self.beat(core);
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        Ok(self.change_unheard(core, place, count))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        let (first, last) = self.tape(core, place)?.ids(now_us())?;
        Some((self.trade_id(place, first), self.trade_id(place, last)))
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}
