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
use crate::exchanges::{self, Kind, Rules, Wire};
use crate::faults::{Fault, FaultState, Target};
use crate::ledger::{LedgerRecord, LedgerWriter};
use crate::market::engine::{Engine, Event, Origin};
use crate::market::history::History;
use crate::market::{Ladder, SymbolState};
use crate::options::SimOptions;
use crate::replay::ReplayState;
use crate::ws::queue::{Conn, Ending, FORMS, NO_STREAM};
use crate::{SimError, SimStats};

/// What connections need without the rest of the exchange.
pub(crate) struct Shared {
    pub ledger: LedgerWriter,
    /// Stream names by index.
    names: Vec<String>,
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

/// All state of the exchange, but for what only one kind of exchange has.
pub(crate) struct Core {
    pub options: SimOptions,
    pub wire: Rc<dyn Wire>,
    pub rules: Rules,
    /// When it began, microseconds since the epoch; the ledger's first record says the same.
    pub began_us: i64,
    pub shared: Rc<Shared>,
    pub symbols: Vec<SymbolState>,
    /// Deep pasts by symbol, where there are.
    pub pasts: Vec<Option<Past>>,
    /// Subscribers by stream index.
    pub subs: Vec<Vec<Rc<Conn>>>,
    pub conns: BTreeMap<u32, Rc<Conn>>,
    pub faults: FaultState,
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
    texts: [Vec<u8>; FORMS],
    events: Vec<Event>,
    /// Order in which symbols act; times aside, the market is a function of it and the engines.
    scheduler: fastrand::Rng,
    made: (u64, u64),
    pub rest_requests: u64,
    started: Instant,
}

impl Core {
    /// The exchange with its invented market and that market's past, or the one of a recording.
    pub(crate) fn new(options: SimOptions, ledger: LedgerWriter, replay: Option<ReplayState>) -> Result<Self, SimError> {
        let seed = options.seed;
        let kind = exchanges::of(&options.exchange)?;
        let began_us = now_us();
        let (symbols, pasts) = match &replay {
            Some(replay) => {
                let symbols = replay.symbols(options.market.history_trades);
                let pasts = symbols.iter().map(|_| None).collect();
                (symbols, pasts)
            }
            None => invented(&options, kind, began_us)?,
        };
        let wire = (kind.wire)(&options, &symbols);
        let names = wire.names();
        let streams = names.len();
        let shared = Rc::new(Shared {
            ledger,
            queue_bytes: options.limits.queue_bytes,
            frames_sent: Cell::new(0),
            drained: Rc::new(Notify::new()),
            changed: Rc::new(Notify::new()),
            names,
        });
        let started = LedgerRecord::Started { ts: began_us * 1_000, exchange: options.exchange.clone(), seed };
        shared.ledger.record(&started);
        let mut core = Self {
            rules: wire.rules(&options),
            wire,
            began_us,
            symbols,
            pasts,
            subs: vec![Vec::new(); streams],
            conns: BTreeMap::new(),
            faults: FaultState::new(options.faults.clone()),
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

    /// The symbol with this unified name, `BTC/USDT`.
    pub(crate) fn unified_index(&self, symbol: &str) -> Option<usize> {
        self.symbols.iter().position(|s| s.spec.symbol() == symbol)
    }

    /// Counts a connection attempt; how long to wait when there were too many.
    pub(crate) fn allow_connect(&mut self, ip: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let (most, window) = self.rules.connects;
        if self.connects.len() > PEERS_MAX {
            self.connects.clear();
        }
        let times = self.connects.entry(ip).or_default();
        while times.front().is_some_and(|t| now.duration_since(*t) >= window) {
            times.pop_front();
        }
        let wanted = usize::try_from(most).unwrap_or(usize::MAX);
        match times.front() {
            Some(first) if times.len() >= wanted => Err(window.saturating_sub(now.duration_since(*first))),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    pub(crate) fn open(&mut self, target: String, peer: SocketAddr) -> Rc<Conn> {
        let conn = Rc::new(Conn::new(self.next_conn, Rc::clone(&self.shared)));
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

    /// Enters a subscription under a name; without a stream it delivers nothing. Whether it will deliver.
    pub(crate) fn attach(&mut self, conn: &Rc<Conn>, name: &str, stream: Option<usize>) -> bool {
        let stream = stream.filter(|_| !self.faults.mutes(conn.id, name));
        conn.streams.borrow_mut().insert(name.to_owned(), stream);
        // Two names of one stream deliver it once.
        if let Some(stream) = stream
            && !self.subs[stream].iter().any(|c| c.id == conn.id)
        {
            self.subs[stream].push(Rc::clone(conn));
        }
        self.subscribed_at = Some(Instant::now());
        self.shared.changed.notify_waiters();
        stream.is_some()
    }

    /// Ends subscriptions by their names.
    pub(crate) fn detach(&mut self, conn: &Rc<Conn>, names: &[String]) {
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

    /// Sends what `write` writes, in the form that each gets, to all who subscribed to a stream.
    pub(crate) fn publish(&mut self, stream: usize, id: u64, write: impl Fn(&mut Vec<u8>, u8)) {
        let mut rendered = [false; FORMS];
        for conn in &self.subs[stream] {
            let form = conn.form.get();
            let place = usize::from(form) % FORMS;
            let text = &mut self.texts[place];
            if !rendered[place] {
                rendered[place] = true;
                text.clear();
                write(text, form);
            }
            conn.deliver(stream, id, text, &mut self.faults);
        }
    }

    /// Sends text to one connection, as a frame of this stream.
    pub(crate) fn deliver_text(&mut self, conn: &Conn, stream: usize, id: u64, text: &[u8]) {
        conn.deliver(stream, id, text, &mut self.faults);
    }

    /// Lets the market make about this many events. How many it made.
    pub(crate) fn advance(&mut self, wanted: u64) -> u64 {
        let (trade_rate, update_rate) = (self.options.market.trades_per_second, self.options.market.book_updates_per_second);
        let wire = Rc::clone(&self.wire);
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
            wire.stepped(self, place, &events, now);
            events.clear();
            self.events = events;
        }
        done
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
        if let Some(why) = self.refuses(&fault) {
            return Err(why);
        }
        let meets = |conn: &Conn, target: &Target| {
            target.conn.is_none_or(|c| c == conn.id)
                && (target.stream.is_none() || conn.streams.borrow().keys().any(|name| target.meets(conn.id, name)))
        };
        let detail = match &fault {
            Fault::Gap { symbol, channel, count } => self.skip(symbol, channel, u64::from(*count))?,
            Fault::SequenceReset { symbol } => {
                let place = self.unified_index(symbol).ok_or_else(|| format!("there is no symbol {symbol} here"))?;
                let wire = Rc::clone(&self.wire);
                wire.reset_sequence(self, place)?
            }
            Fault::Maintenance { ms } => {
                let wire = Rc::clone(&self.wire);
                wire.maintain(self, *ms)?
            }
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
                let wire = Rc::clone(&self.wire);
                wire.announce_shutdown(self, *ms);
                for conn in self.conns.values() {
                    conn.shutdown_at.set(Some(now + Duration::from_millis(*ms)));
                    conn.wake.notify_one();
                }
                "announced".to_owned()
            }
            Fault::Calm => {
                self.faults.calm();
                "calm from now on".to_owned()
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
                let wire = Rc::clone(&self.wire);
                wire.lose_book(self, place, count)
            }
            _ => Err(format!("\"{channel}\" can't have a gap; trades or book can")),
        }
    }

    /// Why a fault can't happen on this exchange.
    fn refuses(&self, fault: &Fault) -> Option<String> {
        let is_checksum = matches!(fault, Fault::Corrupt { how: crate::faults::Corruption::Checksum, .. });
        if is_checksum && !self.rules.checksums {
            return Some(format!("{} sends no checksums", self.options.exchange));
        }
        if matches!(fault, Fault::Omit { .. }) && self.options.exchange != "coinbase" {
            return Some("only the answers of coinbase list what is subscribed".to_owned());
        }
        self.wire.refuses(fault)
    }

    pub(crate) fn stats(&self) -> SimStats {
        let mut stats = SimStats {
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
            kraken: None,
        };
        self.wire.count(&mut stats);
        stats
    }
}

fn list(conns: &[&Rc<Conn>]) -> String {
    conns.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(" ")
}

/// The markets that are invented, with their deep pasts where they have some.
fn invented(options: &SimOptions, kind: &Kind, now_us: i64) -> Result<(Vec<SymbolState>, Vec<Option<Past>>), SimError> {
    let mut symbols: Vec<SymbolState> = Vec::new();
    let mut pasts = Vec::new();
    for text in &options.market.symbols {
        let spec = (kind.spec)(text)?;
        if symbols.iter().any(|s| s.spec.symbol() == spec.symbol()) {
            return Err(SimError::BadSymbol { symbol: text.clone() });
        }
        let past = past_of(options, &spec)?;
        let origin = past.as_ref().filter(|_| kind.joins_past).map(|past| {
            let count = past.count_until(now_us);
            let price = past.trade(count - 1).map_or_else(|| past.close_before(past.listed), |row| row.price);
            Origin { price, trade_id: past.first_id.wrapping_add_signed(count) }
        });
        let (mut engine, book) = Engine::new(&spec, options.seed, options.market.levels, origin);
        if options.market.even {
            engine.trade_one_at_a_time();
        }
        let history = History::of(&spec, options.market.history_trades);
        symbols.push(SymbolState { spec, book, history, engine: Some(engine) });
        pasts.push(past);
    }
    if symbols.is_empty() {
        return Err(SimError::BadSymbol { symbol: String::new() });
    }
    Ok((symbols, pasts))
}
