//! Binance spot: `/ws` and `/stream`, `/api/v3`.

mod channels;
mod commands;
pub(crate) mod render;
pub(crate) mod rest;
pub(crate) mod streams;

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
use crate::market::spec::Spec;
use crate::options::SimOptions;
use crate::ws::queue::{Conn, Ending};
use render::TimeUnit;
use rest::limiter::RestLimiter;
use streams::KINDS;

/// Binance among the exchanges.
pub(crate) const KIND: Kind = Kind {
    name: "binance",
    symbols: &[],
    spec: Spec::of,
    wire: |options, symbols| Rc::new(Binance::new(options, symbols)),
    always_deep: false,
    first_trade_id: 0,
    joins_past: false,
    replays: true,
};

/// Bits of a connection's form: wrapped with the stream's name, times in microseconds.
const COMBINED: u8 = 1;
const MICROS: u8 = 2;

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
    /// The combined wrapper up to the data, by stream.
    prefixes: Vec<Vec<u8>>,
    limiter: RefCell<RestLimiter>,
    /// When the candle that was last sent opened, by stream.
    kline_open: RefCell<Vec<i64>>,
}

impl Binance {
    fn new(options: &SimOptions, symbols: &[SymbolState]) -> Self {
        let names: Vec<String> =
            symbols.iter().flat_map(|s| (0..KINDS).map(|kind| streams::name(&s.spec.lower, kind))).collect();
        Self {
            prefixes: names.iter().map(|name| prefix(name)).collect(),
            limiter: RefCell::new(RestLimiter::new(&options.limits)),
            kline_open: RefCell::new(vec![0; names.len()]),
            names,
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

    fn has_socket(&self, path: &str) -> bool {
        path == "/ws" || path == "/stream" || path.starts_with("/ws/") || path == "/stream/"
    }

    fn opened(&self, core: &mut Core, conn: &Rc<Conn>, address: &Uri) {
        let target = Target::parse(address.path(), address.query().unwrap_or(""));
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        conn.form.set(bit(target.combined, COMBINED) | bit(target.micros, MICROS));
        // Names at connect time that are unknown deliver nothing; too many end the connection.
        if !target.streams.is_empty()
            && let Err(why) = commands::subscribe(core, conn, &target.streams)
        {
            conn.end(Ending::Clean(why));
        }
    }

    fn received(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        commands::handle(core, conn, text);
    }

    fn announce_end(&self, conn: &Conn) {
        commands::announce_shutdown(conn);
    }

    fn stepped(&self, core: &mut Core, place: usize, events: &[Event], now_us: i64) {
        self.emit(core, place, events, now_us);
    }

    fn pulse(&self, core: &mut Core, count: u64) {
        if core.replay.is_some() {
            return;
        }
        for place in 0..core.symbols.len() {
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

    fn rest<'a>(&'a self, core: &'a Rc<RefCell<Core>>, peer: SocketAddr, request: &'a Request<Incoming>) -> RestAnswer<'a> {
        Box::pin(rest::handle(core, &self.limiter, peer, request))
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
