//! OKX v5: `/ws/v5/public`, `/ws/v5/business` and `/api/v5`, spot and linear perpetuals. One market on both sides: what is traded
//! live goes on where the deep past ends, with its ids and prices, and REST gives it again.
//!
//! What stands in the exchange's documents and recordings is played so. Where they are silent: candles have no holes,
//! `history-candles` has closed ones only, `trades-all` begins with the last trade as `trades` does, a subscription made twice is
//! acknowledged and begins nothing anew.
//!
//! What it does not play: accounts and what needs a login (`books-l2-tbt`), futures and options, funding, open interest and mark
//! prices, candles of seconds and of several days.

mod bars;
mod book;
mod channels;
mod commands;
pub(crate) mod instruments;
mod options;
mod render;
mod rest;
mod streams;

use std::cell::RefCell;
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
use instruments::Instrument;
use rest::limiter::Limiter;

pub use options::OkxOptions;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"];

/// The code with which an idle connection is closed.
const IDLE_CLOSE: u16 = 4_004;

/// OKX among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "okx",
    symbols: &SYMBOLS,
    spec: instruments::spec,
    wire: |options, symbols| Rc::new(Okx::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// The form of connections to `/ws/v5/public` and `/ws/v5/business`: both get the same frames, of other channels.
const PUBLIC: u8 = 0;
const BUSINESS: u8 = 1;

/// What OKX adds.
struct Okx {
    options: OkxOptions,
    seed: u64,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    instruments: Vec<Instrument>,
    /// What subscribers have before them, by market.
    live: RefCell<Vec<Live>>,
    /// When a connection's hour of commands began, and how many it sent in it.
    commands: RefCell<HashMap<u32, (i64, u32)>>,
    limiter: RefCell<Limiter>,
}

impl Okx {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        Self {
            options: options.okx.clone(),
            seed: options.seed,
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            instruments: symbols.iter().map(|symbol| Instrument::of(&symbol.spec)).collect(),
            live: RefCell::new(symbols.iter().map(|symbol| Live::of(&symbol.book)).collect()),
            commands: RefCell::default(),
            limiter: RefCell::new(Limiter::new(options.okx.limits)),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// The market with this `instId`.
    fn place_of(&self, id: &str) -> Option<usize> {
        self.instruments.iter().position(|instrument| instrument.id == id)
    }

    /// What the exchange calls a connection: eight hexadecimal digits.
    fn conn_id(&self, conn: &Conn) -> String {
        format!("{:08x}", mix(self.seed ^ u64::from(conn.id)) >> 32)
    }
}

impl Wire for Okx {
    fn names(&self) -> Vec<String> {
        streams::names(self.instruments.iter().map(|instrument| instrument.id.as_str()))
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            heartbeat: None,
            idle: Some((self.options.idle, Some(IDLE_CLOSE))),
            // Commands are counted by the hour instead.
            messages_per_second: u32::MAX,
            excess: None,
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: self.options.checksum,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        matches!(path, "/ws/v5/public" | "/ws/v5/business")
    }

    fn opened(&self, core: &mut Core, conn: &Rc<Conn>, address: &Uri) {
        conn.form.set(if address.path().ends_with("/business") { BUSINESS } else { PUBLIC });
        self.commands.borrow_mut().retain(|id, _| core.conns.contains_key(id));
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    fn announce_end(&self, conn: &Conn) {
        conn.reply(render::notice(&self.conn_id(conn)).as_bytes());
    }

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        let now = now_us();
        for place in 0..self.instruments.len() {
            self.beat(core, place, count, now);
        }
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        Ok(self.change_unheard(core, place, count))
    }

    fn reset_sequence(&self, core: &mut Core, place: usize) -> Result<String, String> {
        let at = core.symbols[place].book.update_id();
        self.live.borrow_mut()[place].begin_anew(at);
        Ok(format!("the next update of {} has a number below {}", self.instruments[place].id, 1_000))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        self.tape(core, place)?.ids(now_us())
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}
