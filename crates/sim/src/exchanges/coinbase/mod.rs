//! Coinbase Exchange: `/` (the WebSocket feed) and `/products/…`. One market on both sides: what is traded live goes on where the deep
//! past ends, with its ids and prices, and REST gives it again.
//!
//! What stands in the exchange's documents and recordings is played so. Where they are silent: a subscription made twice is
//! acknowledged and shows nothing anew; a connection that sends too many messages is reset; a connection that does not subscribe in time
//! is closed with the code 1000; a level of a book that came and went within a batch is not told.
//!
//! What it does not play: accounts and what needs a key (`level2`, `level3`, `full`, `user`), which is refused; Advanced Trade; the
//! conversions between stable coins; auctions. The volume of thirty days is made up from that of one.

mod book;
mod channels;
mod commands;
mod options;
mod products;
mod render;
mod rest;
mod streams;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Uri};

use super::{Kind, RestAnswer, Rules, Wire};
use crate::clock::now_us;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::engine::Event;
use crate::options::SimOptions;
use crate::ws::queue::{Conn, Ending};
use channels::Live;
use products::Product;
use rest::limiter::Limiter;

pub use options::CoinbaseOptions;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "BTC/EUR"];

/// Messages a client may send per second.
const MESSAGES_PER_SECOND: u32 = 100;

/// Coinbase among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "coinbase",
    symbols: &SYMBOLS,
    spec: products::spec,
    wire: |options, symbols| Rc::new(Coinbase::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// What Coinbase adds.
struct Coinbase {
    options: CoinbaseOptions,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    products: Vec<Product>,
    /// What subscribers have before them, by market.
    live: RefCell<Vec<Live>>,
    /// Connections that have not subscribed yet, and when they were opened.
    waiting: RefCell<BTreeMap<u32, i64>>,
    limiter: RefCell<Limiter>,
}

impl Coinbase {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        Self {
            options: options.coinbase.clone(),
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            products: symbols.iter().map(|symbol| Product::of(&symbol.spec)).collect(),
            live: RefCell::new(symbols.iter().map(Live::of).collect()),
            waiting: RefCell::default(),
            limiter: RefCell::new(Limiter::new(options.coinbase.limits)),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// Closes connections that have not subscribed in time.
    fn close_idlers(&self, core: &Core, now_us: i64) {
        let within = self.options.subscribe_within;
        let within_us = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        self.waiting.borrow_mut().retain(|id, opened_us| {
            let Some(conn) = core.conns.get(id) else { return false };
            let waits = now_us - *opened_us < within_us;
            if !waits {
                conn.end(Ending::Clean(format!("no subscribe message within {within:?}")));
            }
            waits
        });
    }
}

impl Wire for Coinbase {
    fn names(&self) -> Vec<String> {
        streams::names(self.products.iter().map(|product| product.id.as_str()))
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            heartbeat: None,
            idle: None,
            messages_per_second: MESSAGES_PER_SECOND,
            excess: None,
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: false,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        path == "/"
    }

    fn opened(&self, _core: &mut Core, conn: &Rc<Conn>, _address: &Uri) {
        self.waiting.borrow_mut().insert(conn.id, now_us());
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    fn announce_end(&self, _conn: &Conn) {}

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        let now = now_us();
        for place in 0..self.products.len() {
            self.beat(core, place, count, now);
        }
        self.tell_status(core, count);
        self.close_idlers(core, now);
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        Ok(self.change_unheard(core, place, count, now_us()))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        self.tape(core, place)?.ids(now_us())
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}
