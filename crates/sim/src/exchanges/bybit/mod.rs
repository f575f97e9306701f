//! Bybit v5, spot and linear perpetuals: `/v5/public/spot`, `/v5/public/linear` and `/v5/market`. One market on both sides: what is
//! traded live goes on where the deep past ends, with its ids and prices, and REST gives it again, as candles all of it.
//!
//! What it does not play: accounts, inverse contracts, options, dated futures; `orderbook.full`, `orderbook.rpi`,
//! `allLiquidation`, `priceLimit` and the system's status as topics; funding history, open interest and the candles of mark and
//! index prices over REST. Mark and index prices, funding and open interest stand in tickers and are drawn, not made by positions.
//! The exchange is not known to leave out candles: in outages they are flat.

mod book;
mod channels;
mod commands;
mod markets;
mod options;
mod render;
mod rest;
mod streams;
mod tickers;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Uri};

use super::{Kind, RestAnswer, Rules, Wire};
use crate::clock::now_us;
use crate::deep::minute::MINUTE_US;
use crate::deep::past::{hash, mix};
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::engine::Event;
use crate::options::SimOptions;
use crate::ws::queue::Conn;
use channels::Live;
use markets::{Category, Market};
use rest::limiter::RestLimiter;
use streams::DEPTHS;

pub use options::BybitOptions;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "SOL/USDT:USDT"];

/// Where its WebSockets are, but for the category.
const SOCKETS: &str = "/v5/public/";

/// Bybit among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "bybit",
    symbols: &SYMBOLS,
    spec: markets::spec,
    wire: |options, symbols| Rc::new(Bybit::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// What Bybit adds.
struct Bybit {
    options: BybitOptions,
    seed: u64,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    markets: Vec<Market>,
    /// What is kept of each market.
    live: RefCell<Vec<Live>>,
    /// The first live trade of each market and the book's count at the start, once anybody asked.
    origins: Vec<Cell<Option<(u64, u64)>>>,
    limiter: RefCell<RestLimiter>,
}

impl Bybit {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        let markets: Vec<_> = symbols.iter().map(|symbol| Market::of(&symbol.spec, options.seed)).collect();
        Self {
            options: options.bybit.clone(),
            seed: options.seed,
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            live: RefCell::new(markets.iter().map(|market| Live::starting_at(first_u(market))).collect()),
            origins: markets.iter().map(|_| Cell::new(None)).collect(),
            markets,
            limiter: RefCell::new(RestLimiter::new(&options.bybit)),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// The numbers at which a market's books began.
    fn first_u(&self, place: usize) -> [u64; DEPTHS.len()] {
        first_u(&self.markets[place])
    }

    /// The id of the first trade that is not of the past, and the book's count when the market began.
    fn origin(&self, core: &Core, place: usize) -> (u64, u64) {
        self.origins[place].get().unwrap_or_else(|| {
            let now_us = if self.is_live { core.began_us } else { now_us() };
            let count =
                core.pasts[place].as_ref().map_or(0, |past| past.first_id.wrapping_add_signed(past.count_until(now_us)));
            let origin = (count, core.first_books[place].0);
            self.origins[place].set(Some(origin));
            origin
        })
    }

    /// The category whose WebSocket a connection has opened.
    fn category_of(conn: &Conn) -> Category {
        Category::ALL[usize::from(conn.form.get()) % Category::ALL.len()]
    }

    /// What the exchange calls a connection: `d9avt8shteepr00gfc1g-4zd1x`.
    fn conn_id(&self, conn: &Conn) -> String {
        const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        let mut drawn = hash(self.seed, i64::from(conn.id));
        let mut letter = |at: usize| {
            drawn = mix(drawn);
            if at == 20 { '-' } else { char::from(LETTERS[usize::try_from(drawn % 32).unwrap_or(0)]) }
        };
        std::iter::once('d').chain((1..26).map(&mut letter)).collect()
    }
}

fn first_u(market: &Market) -> [u64; DEPTHS.len()] {
    std::array::from_fn(|depth| 1_000_000 + market.drawn(4, i64::try_from(depth).unwrap_or(0)) % 100_000_000)
}

impl Wire for Bybit {
    fn names(&self) -> Vec<String> {
        streams::names(&self.markets)
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            heartbeat: None,
            idle: Some((self.options.idle, None)),
            // It names no limit; a burst of hundreds was seen to be answered.
            messages_per_second: 1_000,
            excess: None,
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: false,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        path.strip_prefix(SOCKETS).and_then(Category::of).is_some()
    }

    fn opened(&self, _core: &mut Core, conn: &Rc<Conn>, address: &Uri) {
        let category = address.path().strip_prefix(SOCKETS).and_then(Category::of);
        conn.form.set(u8::from(category == Some(Category::Linear)));
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    /// It closes connections without a word.
    fn announce_end(&self, _conn: &Conn) {}

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        self.tick(core, count);
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        self.change_unheard(core, place, count)
    }

    fn reset_sequence(&self, core: &mut Core, place: usize) -> Result<String, String> {
        Ok(self.restart(core, place))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        let (first, last) = self.tape(core, place)?.ids(now_us())?;
        Some((self.markets[place].counted_id(first), self.markets[place].counted_id(last)))
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}
