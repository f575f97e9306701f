//! KuCoin spot: the classic socket `/endpoint` with its tokens (`/api/v1/bullet-public`), the socket of unified accounts `/` without one,
//! and REST under `/api/v1` to `/api/v3`. One market on all sides: what is traded live goes on where the deep past ends, with its ids and
//! prices, and REST gives it again.
//!
//! What stands in the exchange's documents and recordings is played so. Where they are silent: `endAt` of candles is exclusive and without
//! a `startAt` the newest 1500 come; `histories` has the oldest of its trades first; one unknown market in a topic refuses all of it; a
//! subscription made twice is acknowledged and begins nothing anew; ping frames of the protocol are no pings; an unknown market is
//! `400100` for candles, `900001` elsewhere, and no data for the first level of a book.
//!
//! What it does not play: accounts and what needs a login, futures, margin, call auctions, full order books by order. Who asks for the
//! full book with the headers of a login gets it, whatever they say.

mod book;
mod channels;
mod commands;
mod markets;
mod options;
pub(crate) mod render;
mod rest;
mod streams;
mod tokens;
mod unified;

use std::cell::RefCell;
use std::collections::HashMap;
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
use crate::market::spec::Spec;
use crate::options::SimOptions;
use crate::ws::queue::Conn;
use channels::Live;
use commands::Session;
use rest::limiter::Limiter;
use tokens::Tokens;

pub use options::KucoinOptions;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "ETH/BTC"];

/// KuCoin among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "kucoin",
    symbols: &SYMBOLS,
    spec: markets::spec,
    wire: |options, symbols| Rc::new(Kucoin::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// The forms of connections: that of topics, that of unified accounts.
const CLASSIC: u8 = 0;
const UNIFIED: u8 = 1;

/// Where the classic socket is; its address comes with a token.
const ENDPOINT: &str = "/endpoint";

/// What KuCoin adds.
struct Kucoin {
    options: KucoinOptions,
    seed: u64,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    markets: Vec<Spec>,
    /// What subscribers have before them, by market.
    live: RefCell<Vec<Live>>,
    /// Connections that were let in.
    sessions: RefCell<HashMap<u32, Session>>,
    tokens: RefCell<Tokens>,
    limiter: RefCell<Limiter>,
}

impl Kucoin {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        Self {
            options: options.kucoin.clone(),
            seed: options.seed,
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            markets: symbols.iter().map(|symbol| symbol.spec.clone()).collect(),
            live: RefCell::new(symbols.iter().map(|symbol| Live::of(&symbol.book)).collect()),
            sessions: RefCell::default(),
            tokens: RefCell::default(),
            limiter: RefCell::new(Limiter::new(options.kucoin.weight)),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// The market of this name.
    fn place_of(&self, id: &str) -> Option<usize> {
        self.markets.iter().position(|market| market.id == id)
    }
}

impl Wire for Kucoin {
    fn names(&self) -> Vec<String> {
        streams::names(self.markets.iter().map(|market| market.id.as_str()))
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            heartbeat: None,
            // Only the client's own pings count, which are messages.
            idle: None,
            // Messages are counted over ten seconds instead.
            messages_per_second: u32::MAX,
            excess: None,
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: false,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        matches!(path, ENDPOINT | "/")
    }

    fn opened(&self, core: &mut Core, conn: &Rc<Conn>, address: &Uri) {
        self.greet(core, conn, address);
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    /// The exchange closes connections without a word.
    fn announce_end(&self, _conn: &Conn) {}

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        let now = now_us();
        self.end_silent(core, now);
        for place in 0..self.markets.len() {
            self.beat(core, place, count, now);
        }
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        Ok(self.change_unheard(core, place, count))
    }

    fn reset_sequence(&self, _core: &mut Core, place: usize) -> Result<String, String> {
        self.live.borrow_mut()[place].begin_anew();
        Ok(format!("the next update of {} begins with the number 1", self.markets[place].id))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        let (first, last) = self.tape(core, place)?.ids(now_us())?;
        Some((render::trade_number(first), render::trade_number(last)))
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}
