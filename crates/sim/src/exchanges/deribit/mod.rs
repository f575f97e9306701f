//! Deribit, JSON-RPC 2.0: `/ws/api/v2` and `/api/v2/public/…`; spot, linear and inverse perpetuals. One market on all sides: what is
//! traded live goes on where the deep past ends, with its sequence numbers and prices, and REST gives it again.
//!
//! What stands in the exchange's documents and recordings is played so. Where they are silent: candles have no holes and a page of
//! too many keeps the newest, trades come newest first unless they are asked for in order, a client that sent something within its
//! heartbeat's interval gets a `heartbeat` and no `test_request`, ids of trades are shared out among the markets of a currency
//! instead of counted over them, and a book whose numbers begin anew is sent whole.
//!
//! What it does not play: accounts (whoever asks for an identity has one, and gets nothing but the `raw` channels for it), options,
//! futures and combos, channels of a whole currency, grouped books, funding history, settlements and volatility. Index and mark
//! prices, open interest and funding are drawn.

mod book;
mod channels;
mod commands;
pub(crate) mod instruments;
mod options;
mod render;
mod rest;
mod streams;

use std::cell::{Cell, RefCell};
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
use crate::options::SimOptions;
use crate::ws::queue::Conn;
use channels::Live;
use commands::Client;
use instruments::Instrument;
use rest::limiter::Limiter;

pub use options::DeribitOptions;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USDC", "BTC/USDC:USDC", "BTC/USD:BTC", "ETH/USD:ETH"];

/// Deribit among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "deribit",
    symbols: &SYMBOLS,
    spec: instruments::spec,
    wire: |options, symbols| Rc::new(Deribit::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// What Deribit adds.
struct Deribit {
    options: DeribitOptions,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    instruments: Vec<Instrument>,
    /// What subscribers have before them, by market.
    live: RefCell<Vec<Live>>,
    /// By connection.
    clients: RefCell<HashMap<u32, Client>>,
    limiter: RefCell<Limiter>,
    /// Until when it is in maintenance, microseconds since the epoch.
    maintained_until_us: Cell<Option<i64>>,
}

impl Deribit {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        let specs: Vec<_> = symbols.iter().map(|symbol| &symbol.spec).collect();
        let now = now_us();
        Self {
            options: options.deribit.clone(),
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            instruments: Instrument::list(&specs),
            live: RefCell::new(symbols.iter().map(|_| Live::starting_at(now)).collect()),
            clients: RefCell::default(),
            limiter: RefCell::new(Limiter::new(options.deribit.credits)),
            maintained_until_us: Cell::new(None),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// The market with this `instrument_name`.
    fn place_of(&self, id: &str) -> Option<usize> {
        self.instruments.iter().position(|instrument| instrument.id == id)
    }

    /// The stream of the platform's state.
    fn platform(&self) -> usize {
        self.instruments.len() * streams::KINDS
    }

    /// Tells a connection that a maintenance begins or ends, if it follows the platform's state.
    fn tell_maintenance(conn: &Conn, is_on: bool) {
        if conn.streams.borrow().contains_key(streams::PLATFORM) {
            conn.reply(render::maintenance(is_on).as_bytes());
        }
    }

    /// Whether it is in no maintenance.
    fn is_up(&self) -> bool {
        self.maintained_until_us.get().is_none()
    }

    /// Ends a maintenance whose time has come.
    fn resume(&self, core: &Core, now_us: i64) {
        if self.maintained_until_us.get().is_some_and(|until| now_us >= until) {
            self.maintained_until_us.set(None);
            core.conns.values().for_each(|conn| Self::tell_maintenance(conn, false));
        }
    }
}

impl Wire for Deribit {
    fn names(&self) -> Vec<String> {
        streams::names(self.instruments.iter().map(|instrument| instrument.id.as_str()))
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            heartbeat: None,
            idle: None,
            // Commands cost credits instead.
            messages_per_second: u32::MAX,
            excess: None,
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: false,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        path.trim_end_matches('/') == "/ws/api/v2"
    }

    fn opened(&self, core: &mut Core, _conn: &Rc<Conn>, _address: &Uri) {
        self.clients.borrow_mut().retain(|id, _| core.conns.contains_key(id));
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    /// Only those are told who follow the platform's state.
    fn announce_end(&self, conn: &Conn) {
        Self::tell_maintenance(conn, true);
    }

    fn maintain(&self, core: &mut Core, ms: u64) -> Result<String, String> {
        let time_us = i64::try_from(ms).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000);
        self.maintained_until_us.set(Some(now_us().saturating_add(time_us)));
        for conn in core.conns.values() {
            Self::tell_maintenance(conn, true);
            conn.streams.borrow_mut().values_mut().for_each(|stream| *stream = None);
        }
        core.subs.iter_mut().for_each(Vec::clear);
        Ok("whoever had subscribed hears nothing more until it subscribes again, after the end".to_owned())
    }

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        let now = now_us();
        self.resume(core, now);
        for place in 0..self.instruments.len() {
            self.beat(core, place, count, now);
        }
        self.beat_hearts(core, now);
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        Ok(self.change_unheard(core, place, count))
    }

    fn reset_sequence(&self, core: &mut Core, place: usize) -> Result<String, String> {
        Ok(self.restart(core, place, now_us()))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        self.tape(core, place)?.ids(now_us())
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}
