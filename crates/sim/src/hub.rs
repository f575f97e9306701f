//! The heart of the exchange: symbols, connections, subscriptions, and the way from an event to the queues.
//!
//! Lives on one thread; everything that happens takes `&mut Core` for as long as it does not wait.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::{now_ns, now_us};
use crate::deep::past::Past;
use crate::deep::past_of;
use crate::faults::{Fault, FaultState};
use crate::ledger::{LedgerRecord, LedgerWriter};
use crate::market::engine::{Engine, Event};
use crate::market::history::History;
use crate::market::spec::Spec;
use crate::market::{Ladder, SymbolState};
use crate::options::SimOptions;
use crate::render::{self, TimeUnit};
use crate::replay::ReplayState;
use crate::rest::kraken::Kraken;
use crate::rest::limiter::RestLimiter;
use crate::streams::{self, KINDS, kind};
use crate::ws::queue::{Conn, Ending, NO_STREAM};
use crate::{SimError, SimStats};

/// What connections need without the rest of the exchange.
pub(crate) struct Shared {
    pub ledger: LedgerWriter,
    /// Stream names by index.
    names: Vec<String>,
    /// The combined wrapper up to the data, by index.
    prefixes: Vec<Vec<u8>>,
    pub queue_bytes: usize,
    pub frames_sent: Cell<u64>,
    /// Rings when a queue got shorter or a connection ended.
    pub drained: Rc<Notify>,
    /// Rings when subscriptions change, a snapshot is asked for, or a replay is to start.
    pub changed: Rc<Notify>,
}

impl Shared {
    pub(crate) fn name(&self, stream: usize) -> &str {
        if stream == NO_STREAM { "" } else { self.names.get(stream).map_or("", String::as_str) }
    }
}

/// Addresses whose connection attempts are counted at most.
const PEERS_MAX: usize = 10_000;

/// All state of the exchange.
pub(crate) struct Core {
    pub options: SimOptions,
    pub shared: Rc<Shared>,
    pub symbols: Vec<SymbolState>,
    /// Deep pasts by symbol, where there are.
    pub pasts: Vec<Option<Past>>,
    by_lower: HashMap<String, usize>,
    /// Subscribers by stream index.
    pub subs: Vec<Vec<Rc<Conn>>>,
    pub conns: BTreeMap<u32, Rc<Conn>>,
    pub faults: FaultState,
    pub rest: RestLimiter,
    /// What there is instead of the rest when that is the exchange.
    pub kraken: Option<Kraken>,
    connects: HashMap<IpAddr, VecDeque<Instant>>,
    next_conn: u32,
    pub paused: bool,
    pub replay: Option<ReplayState>,
    /// When the subscriptions last changed.
    pub subscribed_at: Option<Instant>,
    pub down_until: Option<Instant>,
    pub down_wake: Rc<Notify>,
    /// Rings when HTTP connections are to be cut.
    pub cut: Rc<Notify>,
    /// The books as they were at the start: what a stale snapshot shows.
    pub first_books: Vec<(u64, Ladder)>,
    texts: [Vec<u8>; 4],
    events: Vec<Event>,
    /// Order in which symbols act; times aside, the market is a function of it and the engines.
    scheduler: fastrand::Rng,
    made: (u64, u64),
    pub rest_requests: u64,
    started: Instant,
    pub kline_open: Vec<i64>,
}

impl Core {
    /// The exchange with its invented market and that market's past, or the one of a recording.
    pub(crate) fn new(options: SimOptions, ledger: LedgerWriter, replay: Option<ReplayState>) -> Result<Self, SimError> {
        let seed = options.seed;
        let symbols = match &replay {
            Some(replay) => replay.symbols(options.market.history_trades),
            None => invented(&options)?,
        };
        let mut pasts = Vec::with_capacity(symbols.len());
        for symbol in &symbols {
            pasts.push(if replay.is_none() { past_of(&options, &symbol.spec)? } else { None });
        }
        let names: Vec<String> =
            symbols.iter().flat_map(|s| (0..KINDS).map(|kind| streams::name(&s.spec.lower, kind))).collect();
        let prefixes = names.iter().map(|name| format!("{{\"stream\":\"{name}\",\"data\":").into_bytes()).collect();
        let shared = Rc::new(Shared {
            ledger,
            prefixes,
            queue_bytes: options.limits.queue_bytes,
            frames_sent: Cell::new(0),
            drained: Rc::new(Notify::new()),
            changed: Rc::new(Notify::new()),
            names,
        });
        shared.ledger.record(&LedgerRecord::Started { ts: now_ns(), exchange: options.exchange.clone(), seed });
        let streams = symbols.len() * KINDS;
        let mut core = Self {
            by_lower: symbols.iter().enumerate().map(|(i, s)| (s.spec.lower.clone(), i)).collect(),
            symbols,
            pasts,
            subs: vec![Vec::new(); streams],
            conns: BTreeMap::new(),
            faults: FaultState::new(options.faults.clone()),
            rest: RestLimiter::new(&options.limits),
            kraken: Kraken::of(&options)?,
            connects: HashMap::new(),
            next_conn: 1,
            paused: false,
            replay,
            subscribed_at: None,
            down_until: None,
            down_wake: Rc::new(Notify::new()),
            cut: Rc::new(Notify::new()),
            first_books: Vec::new(),
            texts: Default::default(),
            events: Vec::new(),
            scheduler: fastrand::Rng::with_seed(seed),
            made: (0, 0),
            rest_requests: 0,
            started: Instant::now(),
            kline_open: vec![0; streams],
            shared,
            options,
        };
        if core.replay.is_none() {
            core.invent_past();
        }
        core.first_books = core.symbols.iter().map(|s| (s.book.update_id(), s.ladder(5_000))).collect();
        Ok(core)
    }

    /// Lets the market run through the time before the start, a trade or two per symbol and few seconds.
    fn invent_past(&mut self) {
        const EVERY_US: i64 = 3_000_000;
        let past = i64::try_from(self.options.market.history.as_micros()).unwrap_or(i64::MAX);
        let now = now_us();
        let mut at = now.saturating_sub(past);
        while at < now {
            for symbol in &mut self.symbols {
                symbol.step(true, at, &mut self.events);
                symbol.step(false, at, &mut self.events);
                symbol.step(false, at, &mut self.events);
                self.events.clear();
            }
            at += EVERY_US;
        }
        for symbol in &mut self.symbols {
            // What happened before anybody could listen is in no diff.
            symbol.book.lose(0);
        }
    }

    pub(crate) fn stream_index(&self, name: &str) -> Option<usize> {
        let (symbol, kind) = streams::parse(name)?;
        self.by_lower.get(symbol).map(|i| i * KINDS + kind)
    }

    /// The symbol with this exchange name, `BTCUSDT`.
    pub(crate) fn symbol_index(&self, id: &str) -> Option<usize> {
        self.by_lower.get(&id.to_ascii_lowercase()).copied().filter(|i| self.symbols[*i].spec.id == id)
    }

    /// The symbol with this unified name, `BTC/USDT`.
    pub(crate) fn unified_index(&self, symbol: &str) -> Option<usize> {
        self.symbols.iter().position(|s| s.spec.symbol() == symbol)
    }

    /// Counts a connection attempt; how long to wait when there were too many.
    pub(crate) fn allow_connect(&mut self, ip: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let limits = &self.options.limits;
        if self.connects.len() > PEERS_MAX {
            self.connects.clear();
        }
        let times = self.connects.entry(ip).or_default();
        while times.front().is_some_and(|t| now.duration_since(*t) >= limits.connect_window) {
            times.pop_front();
        }
        let wanted = usize::try_from(limits.connects_per_window).unwrap_or(usize::MAX);
        match times.front() {
            Some(first) if times.len() >= wanted => Err(limits.connect_window.saturating_sub(now.duration_since(*first))),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    pub(crate) fn open(&mut self, combined: bool, micros: bool, target: String, peer: SocketAddr) -> Rc<Conn> {
        let conn = Rc::new(Conn::new(self.next_conn, combined, micros, Rc::clone(&self.shared)));
        self.next_conn += 1;
        self.conns.insert(conn.id, Rc::clone(&conn));
        let record = LedgerRecord::Opened { ts: now_ns(), conn: conn.id, target, peer: peer.to_string() };
        self.shared.ledger.record(&record);
        if self.down_until.is_some() {
            conn.end(Ending::Abrupt("the exchange is down".to_owned()));
        }
        conn
    }

    pub(crate) fn forget(&mut self, conn: &Rc<Conn>) {
        for stream in conn.streams.borrow().values().flatten() {
            self.subs[*stream].retain(|c| c.id != conn.id);
        }
        self.conns.remove(&conn.id);
        self.subscribed_at = Some(Instant::now());
        self.shared.changed.notify_waiters();
    }

    /// Subscribes to streams; unknown names are taken and deliver nothing, as the exchange does it.
    pub(crate) fn subscribe(&mut self, conn: &Rc<Conn>, names: &[String]) -> Result<(), String> {
        let mut streams = conn.streams.borrow_mut();
        let fresh = names.iter().filter(|n| !streams.contains_key(*n)).collect::<std::collections::BTreeSet<_>>().len();
        let limit = self.options.limits.streams_per_connection;
        if streams.len() + fresh > limit {
            return Err(format!("a connection is limited to {limit} streams"));
        }
        for name in names {
            if streams.contains_key(name) {
                continue;
            }
            let index = self.stream_index(name);
            streams.insert(name.clone(), index);
            // Two names of one stream deliver it once.
            if let Some(index) = index
                && !self.subs[index].iter().any(|c| c.id == conn.id)
            {
                self.subs[index].push(Rc::clone(conn));
            }
        }
        self.subscribed_at = Some(Instant::now());
        self.shared.changed.notify_waiters();
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, conn: &Rc<Conn>, names: &[String]) {
        let mut streams = conn.streams.borrow_mut();
        for name in names {
            if let Some(Some(index)) = streams.remove(name)
                && !streams.values().any(|other| *other == Some(index))
            {
                self.subs[index].retain(|c| c.id != conn.id);
            }
        }
        self.shared.changed.notify_waiters();
    }

    /// Sends what `write` writes to all who subscribed to a stream.
    pub(crate) fn publish(&mut self, stream: usize, id: u64, write: impl Fn(&mut Vec<u8>, TimeUnit)) {
        let mut rendered = [false; 4];
        for conn in &self.subs[stream] {
            let combined = conn.combined.get();
            let form = usize::from(combined) * 2 + usize::from(conn.micros);
            let text = &mut self.texts[form];
            if !rendered[form] {
                rendered[form] = true;
                text.clear();
                if combined {
                    text.extend_from_slice(&self.shared.prefixes[stream]);
                }
                write(text, if conn.micros { TimeUnit::Micros } else { TimeUnit::Millis });
                if combined {
                    text.push(b'}');
                }
            }
            conn.deliver(stream, id, text, &mut self.faults);
        }
    }

    /// Sends recorded text to one connection, as a frame of this stream.
    pub(crate) fn deliver_text(&mut self, conn: &Conn, stream: usize, id: u64, text: &[u8]) {
        conn.deliver(stream, id, text, &mut self.faults);
    }

    /// Wraps recorded data as the combined form of a stream.
    pub(crate) fn wrap(&self, stream: usize, data: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.shared.prefixes[stream]);
        out.extend_from_slice(data);
        out.push(b'}');
    }

    /// Lets the market make about this many events. How many it made.
    pub(crate) fn advance(&mut self, wanted: u64) -> u64 {
        let (trade_rate, update_rate) = (self.options.market.trades_per_second, self.options.market.book_updates_per_second);
        let mut done = 0;
        while done < wanted {
            let place = self.scheduler.usize(..self.symbols.len());
            // Whichever is behind its share. No clock: the sequence is the same at any pace.
            #[allow(clippy::cast_precision_loss)] // exact up to 2^53 events
            let trade = trade_rate > 0.0 && self.made.0 as f64 * update_rate <= self.made.1 as f64 * trade_rate;
            let now = now_us();
            let mut events = std::mem::take(&mut self.events);
            self.symbols[place].step(trade, now, &mut events);
            if trade {
                let trades = events.iter().filter(|e| matches!(e, Event::Trade(_))).count();
                // A thin book may leave nothing to take; it still counts, or time would stand still.
                let trades = u64::try_from(trades).unwrap_or(1).max(1);
                self.made.0 += trades;
                done += trades;
            } else {
                self.made.1 += 1;
                done += 1;
            }
            self.emit(place, &events, now);
            events.clear();
            self.events = events;
        }
        done
    }

    fn emit(&mut self, place: usize, events: &[Event], now: i64) {
        let base = place * KINDS;
        for event in events {
            let kind = match event {
                Event::Trade(_) => kind::TRADE,
                Event::Agg(_) => kind::AGG_TRADE,
                Event::Quote(_) => kind::BOOK_TICKER,
            };
            if self.subs[base + kind].is_empty() {
                continue;
            }
            // Borrowed apart from the rest: `publish` takes all of `self`.
            let id = std::mem::take(&mut self.symbols[place].spec.id);
            match event {
                Event::Trade(row) => {
                    self.publish(base + kind, row.id, |out, unit| render::trade(out, &id, row, now, unit));
                }
                Event::Agg(row) => {
                    self.publish(base + kind, row.id, |out, unit| render::agg_trade(out, &id, row, now, unit));
                }
                Event::Quote(quote) => {
                    self.publish(base + kind, quote.update_id, |out, _| render::book_ticker(out, &id, quote));
                }
            }
            self.symbols[place].spec.id = id;
        }
    }

    /// The longest queue, bytes.
    fn longest_queue(&self) -> usize {
        self.conns.values().map(|c| c.queued_bytes()).max().unwrap_or(0)
    }

    /// Whether a producer that may wait should: well before anybody is dropped for reading slowly.
    pub(crate) fn congested(&self) -> bool {
        self.longest_queue() > crate::pulse::HIGH_WATER.min(self.shared.queue_bytes / 2)
    }

    /// Whether anybody subscribed to anything that exists.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.subs.iter().any(|s| !s.is_empty())
    }

    /// Brings a fault about, or arms it. What it did, in words.
    pub(crate) fn inject(&mut self, fault: Fault, by: &str) -> Result<String, String> {
        let now = Instant::now();
        let meets = |conn: &Conn, target: &crate::faults::Target| {
            target.conn.is_none_or(|c| c == conn.id)
                && target.stream.as_ref().is_none_or(|s| conn.streams.borrow().contains_key(s))
        };
        let detail = match &fault {
            Fault::Gap { symbol, channel, count } => self.skip(symbol, channel, u64::from(*count))?,
            Fault::Silence { target, ms } => {
                let until = now_us().saturating_add(i64::try_from(*ms).unwrap_or(i64::MAX).saturating_mul(1_000));
                self.faults.silence(target.clone(), until);
                "silent from now on".to_owned()
            }
            Fault::Disconnect { target, how } => {
                let conns: Vec<_> = self.conns.values().filter(|c| meets(c, target)).collect();
                for conn in &conns {
                    let reason = "disconnected by a fault".to_owned();
                    conn.end(match how {
                        crate::faults::Disconnection::Clean => Ending::Clean(reason),
                        crate::faults::Disconnection::Abrupt => Ending::Abrupt(reason),
                    });
                }
                format!("connections: {}", list(&conns))
            }
            Fault::Slow { target, bytes_per_second, ms } => {
                let conns: Vec<_> = self.conns.values().filter(|c| meets(c, target)).collect();
                conns.iter().for_each(|c| c.throttle(*bytes_per_second, Duration::from_millis(*ms)));
                format!("connections: {}", list(&conns))
            }
            Fault::Down { ms } => {
                self.down_until = Some(now + Duration::from_millis(*ms));
                for conn in self.conns.values() {
                    conn.end(Ending::Abrupt("the exchange went down by a fault".to_owned()));
                }
                self.cut.notify_waiters();
                self.down_wake.notify_one();
                "down".to_owned()
            }
            Fault::Shutdown { ms } => {
                for conn in self.conns.values() {
                    crate::ws::commands::announce_shutdown(conn);
                    conn.shutdown_at.set(Some(now + Duration::from_millis(*ms)));
                    conn.wake.notify_one();
                }
                "announced".to_owned()
            }
            _ => {
                self.faults.arm(fault.clone());
                "armed".to_owned()
            }
        };
        let record = LedgerRecord::Fault { ts: now_ns(), fault, by: by.to_owned(), detail: detail.clone() };
        self.shared.ledger.record(&record);
        Ok(detail)
    }

    fn skip(&mut self, symbol: &str, channel: &str, count: u64) -> Result<String, String> {
        let place = self.unified_index(symbol).ok_or_else(|| format!("there is no symbol {symbol} here"))?;
        let state = &mut self.symbols[place];
        let Some(engine) = &mut state.engine else {
            return Err("a recording has the numbers it has; gaps need the invented market".to_owned());
        };
        match channel {
            "trades" => {
                let (first, last) = engine.lose_trades(count);
                Ok(format!("trade ids {first}..={last} of {symbol} will never exist"))
            }
            "book" => {
                // What was pending is told first, so that the hole is exactly `count` numbers.
                self.diffs(place);
                let state = &mut self.symbols[place];
                let first = state.book.update_id() + 1;
                if let Some(engine) = &mut state.engine {
                    engine.rearrange(count, &mut state.book);
                }
                state.book.lose(count);
                Ok(format!("book updates {first}..={} of {symbol} are in no diff", state.book.update_id()))
            }
            _ => Err(format!("\"{channel}\" can't have a gap; trades or book can")),
        }
    }

    fn diffs(&mut self, place: usize) {
        self.depth_diff(place, crate::market::book::Pace::Fast);
        self.depth_diff(place, crate::market::book::Pace::Slow);
    }

    pub(crate) fn stats(&self) -> SimStats {
        SimStats {
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            connections: self.conns.len(),
            connections_opened: self.next_conn - 1,
            subscriptions: self.subs.iter().map(Vec::len).sum(),
            frames_sent: self.shared.frames_sent.get(),
            trades_made: self.made.0,
            book_updates_made: self.made.1,
            rest_requests: self.rest_requests,
            queued_bytes: self.conns.values().map(|c| c.queued_bytes()).sum(),
            paused: self.paused,
            replay: self.replay.as_ref().map(ReplayState::progress),
            kraken: self.kraken.as_ref().map(|kraken| kraken.stats),
        }
    }
}

fn list(conns: &[&Rc<Conn>]) -> String {
    conns.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(" ")
}

fn invented(options: &SimOptions) -> Result<Vec<SymbolState>, SimError> {
    let mut symbols: Vec<SymbolState> = Vec::new();
    for text in &options.market.symbols {
        let spec = Spec::of(text)?;
        if symbols.iter().any(|s| s.spec.id == spec.id) {
            return Err(SimError::BadSymbol { symbol: text.clone() });
        }
        let (engine, book) = Engine::new(&spec, options.seed, options.market.levels);
        let history = History::keeping(options.market.history_trades);
        symbols.push(SymbolState { spec, book, history, engine: Some(engine) });
    }
    if symbols.is_empty() {
        return Err(SimError::BadSymbol { symbol: String::new() });
    }
    Ok(symbols)
}
