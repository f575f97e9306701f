//! Binance: spot at `/ws`, `/stream` and `/api/v3`; perpetuals in [`usdm`].

mod channels;
mod commands;
pub(crate) mod render;
pub(crate) mod rest;
pub(crate) mod streams;
pub(crate) mod usdm;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Uri};

use super::{Kind, RestAnswer, Rules, Wire};
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::book::Pace;
use crate::market::engine::Event;
use crate::options::SimOptions;
use crate::ws::queue::{Conn, Ending};
use render::TimeUnit;
use rest::limiter::RestLimiter;
use streams::KINDS;
use usdm::Usdm;
use usdm::streams::Route;

/// Binance among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "binance",
    symbols: &[],
    spec: usdm::spec,
    wire: |options, symbols| Rc::new(Binance::new(options, symbols)),
    always_deep: false,
    first_trade_id: 0,
    joins_past: false,
    replays: true,
};

/// Bits of a connection's form: wrapped with the stream's name, times in microseconds, opened for perpetuals, on their
/// `/market`.
const COMBINED: u8 = 1;
const MICROS: u8 = 2;
const USDM: u8 = 4;
const MARKET: u8 = 8;

/// Whether a connection gets frames wrapped with their stream's name.
pub(crate) fn is_combined(conn: &Conn) -> bool {
    conn.form.get() & COMBINED != 0
}

const fn unit(form: u8) -> TimeUnit {
    if form & MICROS != 0 { TimeUnit::Micros } else { TimeUnit::Millis }
}

/// What Binance adds.
struct Binance {
    names: Vec<String>,
    /// The first stream of each market.
    firsts: Vec<usize>,
    usdm: Usdm,
    /// The combined wrapper up to the data, by stream.
    prefixes: Vec<Vec<u8>>,
    limiter: RefCell<RestLimiter>,
    /// When the candle that was last sent opened, by stream.
    kline_open: RefCell<Vec<i64>>,
}

impl Binance {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let (mut names, mut firsts): (Vec<String>, Vec<usize>) = Default::default();
        for symbol in symbols {
            let lower = &symbol.spec.lower;
            firsts.push(names.len());
            if symbol.spec.settle.is_some() {
                names.extend(Usdm::names(lower));
            } else {
                names.extend((0..KINDS).map(|kind| streams::name(lower, kind)));
            }
        }
        Self {
            prefixes: names.iter().map(|name| prefix(name)).collect(),
            limiter: RefCell::new(RestLimiter::new(&options.limits)),
            kline_open: RefCell::new(vec![0; names.len()]),
            usdm: Usdm::new(options, symbols, &firsts, &names),
            firsts,
            names,
        }
    }

    /// The stream of a name on a connection; `None`: it delivers nothing.
    fn index(&self, core: &Core, conn: &Conn, name: &str) -> Option<usize> {
        if usdm::is_usdm(conn) {
            return self.usdm.index(conn, name);
        }
        let (symbol, kind) = streams::parse(name)?;
        let place = core.symbols.iter().position(|s| s.spec.lower == symbol && s.spec.settle.is_none())?;
        Some(self.firsts[place] + kind)
    }

    /// Streams that a connection may hold.
    fn streams_max(&self, core: &Core, conn: &Conn) -> usize {
        if usdm::is_usdm(conn) {
            self.usdm.options.streams_per_connection
        } else {
            core.options.limits.streams_per_connection
        }
    }
}

fn prefix(name: &str) -> Vec<u8> {
    format!("{{\"stream\":\"{name}\",\"data\":").into_bytes()
}

/// Wraps data as the combined form of a stream.
pub(crate) fn wrap(name: &str, data: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&prefix(name));
    out.extend_from_slice(data);
    out.push(b'}');
}

impl Wire for Binance {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn rules(&self, options: &SimOptions) -> Rules {
        let limits = &options.limits;
        Rules {
            ping: Some((limits.ping_interval, limits.pong_timeout)),
            lifetime: Some((limits.lifetime, limits.shutdown_notice)),
            heartbeat: None,
            idle: None,
            messages_per_second: limits.client_messages_per_second,
            excess: None,
            connects: (limits.connects_per_window, limits.connect_window),
            checksums: false,
        }
    }

    fn rules_of(&self, core: &Core, conn: &Conn) -> Rules {
        let usdm = &self.usdm.options;
        if !usdm::is_usdm(conn) {
            return core.rules.clone();
        }
        Rules {
            ping: Some((usdm.ping_interval, usdm.pong_timeout)),
            messages_per_second: usdm.client_messages_per_second,
            ..core.rules.clone()
        }
    }

    fn book_id(&self, core: &Core, place: usize) -> u64 {
        self.usdm.book_id(place, core.symbols[place].book.update_id())
    }

    fn has_socket(&self, path: &str) -> bool {
        let path = Route::of(path).map_or(path, |(_, rest)| rest);
        path == "/ws" || path == "/stream" || path.starts_with("/ws/") || path == "/stream/"
    }

    fn opened(&self, core: &mut Core, conn: &Rc<Conn>, address: &Uri) {
        let path = Route::of(address.path()).map_or(address.path(), |(_, rest)| rest);
        let target = Target::parse(path, address.query().unwrap_or(""));
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let route = self.usdm.route(address);
        // Perpetuals have no other unit of time.
        let side = match route {
            Some(route) => USDM | bit(route == Route::Market, MARKET),
            None => bit(target.micros, MICROS),
        };
        conn.form.set(bit(target.combined, COMBINED) | side);
        // Names at connect time that are unknown deliver nothing; too many end the connection.
        if !target.streams.is_empty()
            && let Err(why) = commands::subscribe(self, core, conn, &target.streams)
        {
            conn.end(Ending::Clean(why));
        }
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        commands::handle(self, core, conn, text);
    }

    fn announce_end(&self, conn: &Conn) {
        commands::announce_shutdown(conn);
    }

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        if self.usdm.has(place) {
            self.usdm.emit(core, place, events, now_us);
        } else {
            self.emit(core, place, events, now_us);
        }
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        if core.replay.is_some() {
            return;
        }
        for place in 0..core.symbols.len() {
            if self.usdm.has(place) {
                self.usdm.pulse(core, place, count);
                continue;
            }
            self.depth_diff(core, place, Pace::Fast);
            self.partial_books(core, place, Pace::Fast);
            if count.is_multiple_of(10) {
                self.depth_diff(core, place, Pace::Slow);
                self.partial_books(core, place, Pace::Slow);
                self.klines(core, place, count.is_multiple_of(20));
            }
        }
    }

    fn lose_book(&self, core: &mut Core, place: usize, count: u64) -> Result<String, String> {
        if self.usdm.has(place) {
            return Ok(self.usdm.lose_book(core, place, count));
        }
        // What was pending is told first, so that the hole is exactly `count` numbers.
        self.depth_diff(core, place, Pace::Fast);
        self.depth_diff(core, place, Pace::Slow);
        let state = &mut core.symbols[place];
        let first = state.book.update_id() + 1;
        if let Some(engine) = &mut state.engine {
            engine.rearrange(count, &mut state.book);
        }
        state.book.lose(count);
        Ok(format!("book updates {first}..={} of {} are in no diff", state.book.update_id(), state.spec.symbol()))
    }

    fn reset_sequence(&self, core: &mut Core, place: usize) -> Result<String, String> {
        if self.usdm.has(place) {
            return Ok(self.usdm.restart(core, place));
        }
        Err("the books of binance's spot markets have no numbers that could begin anew".to_owned())
    }

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(self, core, peer, request))
    }
}

/// What an address asks for.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    combined: bool,
    micros: bool,
    streams: Vec<String>,
}

impl Target {
    fn parse(path: &str, query: &str) -> Self {
        let combined = path.starts_with("/stream");
        let mut streams: Vec<String> = Vec::new();
        let mut add = |list: &str| streams.extend(list.split('/').filter(|s| !s.is_empty()).map(str::to_owned));
        if let Some(list) = path.strip_prefix("/ws/") {
            add(list);
        }
        let mut micros = false;
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "streams" => add(&value.replace("%2F", "/").replace("%2f", "/").replace("%40", "@")),
                "timeUnit" => micros = value.eq_ignore_ascii_case("microsecond"),
                _ => {}
            }
        }
        Self { combined, micros, streams }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_streams() {
        let target = |path, query| Target::parse(path, query);
        let streams = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            target("/stream", "streams=btcusdt@trade/ethusdt@depth@100ms&timeUnit=MICROSECOND"),
            Target { combined: true, micros: true, streams: streams(&["btcusdt@trade", "ethusdt@depth@100ms"]) }
        );
        assert_eq!(
            target("/ws/a@trade/b@trade", ""),
            Target { combined: false, micros: false, streams: streams(&["a@trade", "b@trade"]) }
        );
        assert_eq!(target("/ws", "timeUnit=microsecond"), Target { combined: false, micros: true, streams: vec![] });
        assert_eq!(target("/stream", "streams=a%40trade%2Fb%40trade").streams, streams(&["a@trade", "b@trade"]));
    }
}
