//! The exchanges that can be played: what each adds to the market, connections, ledger, faults and clock that all share.
//!
//! A folder an exchange with its [`Wire`], and a line in [`KINDS`]: nothing else names one. A folder has `mod.rs` (the wire),
//! `streams.rs` (the names of what can be subscribed to), `commands.rs` (what clients ask for), `render.rs` (the messages),
//! `channels.rs` (from an event of the market to frames) and `rest/`.
//!
//! A wire is asked while the exchange's state is lent to it; what it keeps for itself lies in cells. Nothing here waits
//! but [`Wire::rest`].

pub(crate) mod binance;
pub(crate) mod bitfinex;
pub(crate) mod bybit;
pub(crate) mod coinbase;
pub(crate) mod deribit;
pub(crate) mod kraken;
pub(crate) mod kucoin;
pub(crate) mod okx;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};

use crate::faults::Fault;
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::engine::Event;
use crate::market::spec::Spec;
use crate::options::{MarketOptions, SimOptions};
use crate::ws::queue::Conn;
use crate::{SimError, SimStats};

/// An answer in the making; `None`: the connection ends instead.
pub(crate) type RestAnswer<'a> = Pin<Box<dyn Future<Output = Option<Response<Full<Bytes>>>> + 'a>>;

/// An exchange that can be played, before it is.
pub(crate) struct Kind {
    pub name: &'static str,
    /// Its markets when none are told; none: those that [`MarketOptions`] has.
    pub symbols: &'static [&'static str],
    /// What a unified symbol is on it.
    pub spec: fn(&str) -> Result<Spec, SimError>,
    /// Makes its wire for these markets.
    pub wire: fn(&SimOptions, &[SymbolState]) -> Rc<dyn Wire>,
    /// Whether it has a deep past without being told.
    pub always_deep: bool,
    /// The first trade id of a deep past.
    pub first_trade_id: u64,
    /// Whether a deep past ends where the live market begins, which then goes on with its ids and prices. Otherwise the past
    /// goes on beside the live market.
    pub joins_past: bool,
    /// Whether recordings of it can be served.
    pub replays: bool,
}

const KINDS: [Kind; 8] =
    [binance::KIND, bitfinex::KIND, bybit::KIND, coinbase::KIND, deribit::KIND, kraken::KIND, kucoin::KIND, okx::KIND];

impl Kind {
    /// Fills in what options leave open. What happened before the start is the deep past's, where there is always one.
    pub(crate) fn settle(&self, mut options: SimOptions) -> SimOptions {
        let market = &mut options.market;
        if !self.symbols.is_empty() && market.symbols == MarketOptions::default().symbols {
            market.symbols = self.symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        }
        if self.always_deep {
            market.history = Duration::ZERO;
        }
        options
    }
}

/// The exchange of this name.
pub(crate) fn of(name: &str) -> Result<&'static Kind, SimError> {
    let known = || KINDS.map(|kind| kind.name).join(", ");
    KINDS
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| SimError::UnknownExchange { name: name.to_owned(), known: known() })
}

/// The rules of an exchange's connections.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Between two ping frames of the server, and how long after one its pong may come; none where it sends none.
    pub ping: Option<(Duration, Duration)>,
    /// How long a connection may live, and how long before its end that is announced; none where it may live on.
    pub lifetime: Option<(Duration, Duration)>,
    /// What a connection with subscriptions is sent when it was sent nothing for this long.
    pub heartbeat: Option<(&'static str, Duration)>,
    /// A connection on which nothing came or went for this long is closed, with a code of the exchange's own where it has one.
    pub idle: Option<(Duration, Option<u16>)>,
    /// Messages (frames of any kind) a client may send per second.
    pub messages_per_second: u32,
    /// What a client is told that sends more; without it, the connection is reset.
    pub excess: Option<&'static str>,
    /// Connection attempts one address may make per window.
    pub connects: (u32, Duration),
    /// Whether messages carry a checksum of the book.
    pub checksums: bool,
}

/// How one exchange speaks.
pub(crate) trait Wire {
    /// The names of all streams, by their index: by them faults aim and the ledger tells. A colon in one parts it from what
    /// narrows it down.
    fn names(&self) -> Vec<String>;

    fn rules(&self, options: &SimOptions) -> Rules;

    /// The rules of one connection, where not all live under the same.
    fn rules_of(&self, core: &Core, _conn: &Conn) -> Rules {
        core.rules.clone()
    }

    /// Whether a path is the address of a WebSocket.
    fn has_socket(&self, path: &str) -> bool;

    /// Greets a connection that was opened at this address, and subscribes to what the address names.
    fn opened(&self, core: &mut Core, conn: &Rc<Conn>, address: &Uri);

    /// Does what a client's message asks for.
    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str);

    /// Tells a client that its connection will be closed soon.
    fn announce_end(&self, conn: &Conn);

    /// Tells all clients that the exchange goes down for a while, so many milliseconds from now.
    fn announce_shutdown(&self, core: &Core, _after_ms: u64) {
        core.conns.values().for_each(|conn| self.announce_end(conn));
    }

    /// Sends what one step of the market brought about.
    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64);

    /// Sends what comes by the clock; called each 100 ms with a number that grows by one.
    fn pulse(&self, core: &mut Core, count: u64);

    /// Makes `count` changes of the book that no message will ever tell of. What it did, in words.
    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String>;

    /// Makes the numbers of a book's updates begin anew. What it did, in words.
    fn reset_sequence(&self, core: &mut Core, _place: usize) -> Result<String, String> {
        Err(format!("the books of {} have no numbers that could begin anew", core.options.exchange))
    }

    /// The number of the last change of a book, as clients are told it.
    fn book_id(&self, core: &Core, place: usize) -> u64 {
        core.symbols[place].book.update_id()
    }

    /// First and last id of the trades that REST can give.
    fn trade_ids(&self, core: &Core, place: usize) -> Option<(u64, u64)> {
        let rows = core.symbols[place].history.trades();
        Some((rows.front()?.id, rows.back()?.id))
    }

    /// Goes into maintenance for so many milliseconds: it says so, tells nothing in between, and says when it is over. What it did, in
    /// words.
    fn maintain(&self, core: &mut Core, _ms: u64) -> Result<String, String> {
        Err(format!("{} has no maintenance that it tells of on living connections", core.options.exchange))
    }

    /// Why this fault can't happen here, when it can't.
    fn refuses(&self, _fault: &Fault) -> Option<String> {
        None
    }

    /// Answers a REST request.
    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a>;

    /// Enters its own counters.
    fn count(&self, _stats: &mut SimStats) {}
}
