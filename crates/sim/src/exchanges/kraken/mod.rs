//! Kraken spot: `/v2` (WebSocket v2) and `/0/public`. One market on both sides: what is traded live goes on where the deep past
//! ends, with its ids and prices, and REST gives it again.
//!
//! What it does not play: accounts, `level3`, WebSocket v1 (array messages at `/`; there v2 is spoken, too).

mod book;
mod channels;
mod commands;
mod options;
mod pairs;
mod render;
mod rest;
mod streams;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Uri};

use super::{Kind, RestAnswer, Rules, Wire};
use crate::SimStats;
use crate::clock::now_us;
use crate::deep::past::hash;
use crate::deep::tape::Tape;
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::engine::Event;
use crate::market::spec::Spec;
use crate::options::SimOptions;
use crate::ws::queue::Conn;
use channels::Live;
use pairs::Pair;
use rest::Rest;

pub use options::KrakenOptions;
pub use rest::KrakenStats;

/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "BTC/EUR", "SOL/USD"];

/// Kraken among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "kraken",
    symbols: &SYMBOLS,
    spec: Spec::of,
    wire: |options, symbols| Rc::new(Kraken::new(options, symbols)),
    always_deep: true,
    first_trade_id: 1,
    joins_past: true,
    replays: false,
};

/// What Kraken adds.
struct Kraken {
    options: KrakenOptions,
    seed: u64,
    /// Whether the market is live: then the deep past ends where it began.
    is_live: bool,
    pairs: Vec<Pair>,
    /// What subscribers have before them, by market.
    live: RefCell<Vec<Live>>,
    rest: RefCell<Rest>,
    /// Until when the exchange says that it is in maintenance, microseconds since the epoch.
    maintenance_until_us: Cell<i64>,
}

impl Kraken {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let market = &options.market;
        Self {
            options: options.kraken.clone(),
            seed: options.seed,
            is_live: market.trades_per_second > 0.0 || market.book_updates_per_second > 0.0,
            pairs: symbols.iter().map(|symbol| Pair::of(&symbol.spec)).collect(),
            live: RefCell::new(symbols.iter().map(|_| Live::default()).collect()),
            rest: RefCell::new(Rest::new(&options.kraken, symbols.len())),
            maintenance_until_us: Cell::new(i64::MIN),
        }
    }

    /// All trades of a market.
    fn tape<'a>(&self, core: &'a Core, place: usize) -> Option<Tape<'a>> {
        let past = core.pasts.get(place)?.as_ref()?;
        let until_us = if self.is_live { core.began_us } else { i64::MAX };
        Some(Tape { past, until_us, live: &core.symbols[place].history })
    }

    /// The state that the exchange says it is in.
    fn system(&self) -> &'static str {
        if now_us() < self.maintenance_until_us.get() { "maintenance" } else { "online" }
    }

    /// Tells a connection the state of the exchange.
    fn tell_status(&self, conn: &Conn, system: &str) {
        // As long as the real ones, and another on each connection.
        let id = hash(self.seed, i64::from(conn.id)) | 1 << 62;
        conn.reply(render::status(system, id).as_bytes());
    }
}

impl Wire for Kraken {
    fn names(&self) -> Vec<String> {
        streams::names(self.pairs.iter().map(|pair| pair.symbol.as_str()))
    }

    fn rules(&self, _options: &SimOptions) -> Rules {
        Rules {
            ping: None,
            lifetime: None,
            heartbeat: Some((render::HEARTBEAT, Duration::from_secs(1))),
            idle: None,
            messages_per_second: self.options.messages_per_second,
            excess: Some(render::EXCEEDED),
            connects: (self.options.connects_per_window, self.options.connect_window),
            checksums: true,
        }
    }

    fn has_socket(&self, path: &str) -> bool {
        matches!(path, "/" | "/v2" | "/v2/")
    }

    fn opened(&self, _core: &mut Core, conn: &Rc<Conn>, _address: &Uri) {
        self.tell_status(conn, self.system());
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        self.handle(core, conn, text);
    }

    fn announce_end(&self, conn: &Conn) {
        self.tell_status(conn, "maintenance");
    }

    fn announce_shutdown(&self, core: &Core, after_ms: u64) {
        let after_us = i64::try_from(after_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        self.maintenance_until_us.set(now_us().saturating_add(after_us));
        core.conns.values().for_each(|conn| self.announce_end(conn));
    }

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.tell(core, place, events, now_us);
    }

    fn pulse(&self, _core: &mut Core, _count: u64) {}

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        Ok(self.change_unheard(core, place, count))
    }

    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        self.tape(core, place)?.ids(now_us())
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }

    fn count(&self, stats: &mut SimStats) {
        stats.kraken = Some(self.rest.borrow().stats);
    }
}
