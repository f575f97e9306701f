//! `dccd tail`: live records from the ring, in columns or as JSON lines.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_model::{BookLevel, Candle, Channel, Flags, Quote, Record, RecordKind, SeriesId, SeriesKind, Trade, UnixNanos};
use dccd_registry::Registry;
use dccd_ring::{FeedState, Next, Reader, RingError, Waited, WriterStatus, ring_name};
use dccd_rpc::{call, context};
use dccd_service::{Shutdown, ShutdownReason};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::commands::{DEADLINE, registry_if_running};
use crate::exit::{self, Failure};
use crate::output::{Out, say};

/// How long one wait for a record lasts, so that signals are heard and the feed's state is looked at.
const WAIT: Duration = Duration::from_millis(200);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The series, e.g. binance/BTC/USDT/trades
    series: SeriesId,
    /// Print N records, the last ones in the ring first, and end; without it: new ones until Ctrl-C
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<u64>,
    /// Go on until Ctrl-C, with -n as well
    #[arg(long, short)]
    follow: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// The failure that a signal is.
pub fn interrupted(reason: ShutdownReason) -> Failure {
    Failure::Silent(if reason == ShutdownReason::Interrupt { exit::INTERRUPTED } else { exit::TERMINATED })
}

/// Prints them.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let SeriesKind::Live(channel) = arguments.series.kind else {
        return Err(Failure::message(
            exit::USAGE,
            format_args!(
                "{} is a series of candles in files; live ones end in trades, book, quotes or ohlc (candles of one minute)",
                arguments.series
            ),
        ));
    };
    // Reading blocks this thread; signals and the feed's RPC run on the other.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let shutdown = Shutdown::new();
    runtime.block_on(async { shutdown.trigger_on_signals() }).context("cannot listen for signals")?;
    let mut feed = runtime.block_on(Feed::open(global, &arguments.series, channel))?;
    let result =
        Tail { arguments, shutdown, out: Out::new(), printed: 0, state: None, writer: WriterStatus::Alive }.run(&mut feed);
    runtime.block_on(feed.close());
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// The ring, and the feed behind it if it was opened for us.
struct Feed {
    reader: Reader,
    held: Option<(Registry, String, String, String)>,
}

impl Feed {
    /// Opens the ring; where there is none, asks the exchange's service to open the feed.
    async fn open(global: &Global, series: &SeriesId, channel: Channel) -> Result<Self, Failure> {
        let (exchange, symbol) = (series.exchange.as_str(), &series.symbol);
        let name = ring_name(&global.instance, exchange, &symbol.path_name(), channel.as_str());
        match Reader::open(&name) {
            // A ring without a writer is what a daemon left behind when it died.
            Ok(reader) if reader.writer_alive() => return Ok(Self { reader, held: None }),
            Ok(_) | Err(RingError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(registry) = registry_if_running(global).await? else {
            return match Reader::open(&name) {
                Ok(reader) => Ok(Self { reader, held: None }),
                Err(_) => {
                    let message = format!("there is no ring {name}, and dccd is not running; start it with: dccd start");
                    Err(Failure::message(exit::NOT_RUNNING, message))
                }
            };
        };
        let client = registry.datad(exchange, DEADLINE * 3).await?;
        let service = format!("datad.{exchange}");
        let (symbol, channel) = (symbol.to_string(), channel.to_string());
        let opening = client.open_feed(context(DEADLINE), symbol.clone(), channel.clone());
        let info = call(&service, "open_feed", opening).await?;
        say(format_args!("opened the feed {series}"));
        Ok(Self { reader: Reader::open(&info.ring)?, held: Some((registry, exchange.to_owned(), symbol, channel)) })
    }

    /// Gives the feed back. Failing leaves it open, which harms nobody.
    async fn close(self) {
        if let Some((registry, exchange, symbol, channel)) = self.held
            && let Ok(Some(_)) = registry.find(&format!("datad.{exchange}"), DEADLINE).await
            && let Ok(client) = registry.datad(&exchange, DEADLINE).await
        {
            let _ = client.close_feed(context(DEADLINE), symbol, channel).await;
        }
    }
}

struct Tail<'a> {
    arguments: &'a Arguments,
    shutdown: Shutdown,
    out: Out,
    printed: u64,
    state: Option<FeedState>,
    writer: WriterStatus,
}

impl Tail<'_> {
    fn run(&mut self, feed: &mut Feed) -> Result<(), Failure> {
        let info = feed.reader.info();
        let kind = RecordKind::from_u32(info.kind).ok_or_else(|| {
            anyhow!("ring {} holds records of kind {}, which this version doesn't know", info.name, info.kind)
        })?;
        if let Some(lines) = self.arguments.lines {
            // Counted back from the newest; what is no longer there is not asked for.
            let oldest = info.cursor.saturating_sub(info.capacity / 2);
            self.begin(&mut feed.reader, info.cursor.saturating_sub(lines).max(oldest))?;
        }
        if !self.arguments.json {
            self.out.line(heading(kind))?;
        }
        match kind {
            RecordKind::Trade => self.follow::<7, Trade>(feed),
            RecordKind::Quote => self.follow::<7, Quote>(feed),
            RecordKind::BookLevel => self.follow::<7, BookLevel>(feed),
            RecordKind::Candle => self.follow::<15, Candle>(feed),
        }
    }

    fn begin(&mut self, reader: &mut Reader, sequence: u64) -> Result<(), Failure> {
        let name = reader.name().to_owned();
        *reader = Reader::open(&name)?.from_sequence(sequence);
        Ok(())
    }

    fn is_done(&self) -> bool {
        !self.arguments.follow && self.arguments.lines.is_some_and(|lines| self.printed >= lines)
    }

    fn follow<const N: usize, R: Record<N> + Shown>(&mut self, feed: &mut Feed) -> Result<(), Failure> {
        while !self.is_done() {
            // Here and not only where nothing is to be had: one that lags, or prints into a pipe, never gets there.
            if let Some(reason) = self.shutdown.reason() {
                self.out.flush()?;
                return Err(interrupted(reason));
            }
            match feed.reader.try_next::<N>() {
                Next::Record { sequence, words } => self.print(sequence, &R::decode(&words))?,
                Next::Lapped { lost } => self.lapped(lost)?,
                Next::Empty => {
                    self.out.flush()?;
                    match feed.reader.wait_next::<N>(WAIT) {
                        Waited::Record { sequence, words } => self.print(sequence, &R::decode(&words))?,
                        Waited::Lapped { lost } => self.lapped(lost)?,
                        Waited::Idle { writer } => self.idle(feed, writer)?,
                    }
                }
            }
        }
        self.out.flush()
    }

    fn print<R: Shown>(&mut self, sequence: u64, record: &R) -> Result<(), Failure> {
        self.printed += 1;
        if self.writer != WriterStatus::Alive {
            self.writer = WriterStatus::Alive;
            say("the writer is back");
        }
        if self.arguments.json { self.out.line(record.json(sequence)) } else { self.out.line(record.columns()) }
    }

    fn lapped(&mut self, lost: u64) -> Result<(), Failure> {
        self.out.flush()?;
        say(format_args!("too slow: {lost} records were overwritten before they could be printed"));
        Ok(())
    }

    /// Nothing came: says so where there is a reason, once.
    fn idle(&mut self, feed: &mut Feed, writer: WriterStatus) -> Result<(), Failure> {
        if writer != self.writer {
            match writer {
                WriterStatus::Alive => say("the writer is back"),
                WriterStatus::Dead => say("the writer is gone; waiting for the next one"),
                WriterStatus::Detached => say("the ring was closed; waiting for another of its name"),
            }
            self.writer = writer;
        }
        if writer == WriterStatus::Detached
            && let Ok(reader) = Reader::open(feed.reader.name())
        {
            feed.reader = reader.from_oldest();
        }
        if writer == WriterStatus::Dead {
            // Dead writers wake nobody: don't spin.
            std::thread::sleep(WAIT);
            return Ok(());
        }
        let state = feed.reader.info().state;
        let before = self.state.replace(state);
        if before != Some(state) && (before.is_some() || state != FeedState::Live) {
            say(match state {
                FeedState::Live => "the feed is live",
                FeedState::Stale => "the feed is stale: the exchange is disconnected",
                FeedState::Syncing => "the feed is syncing: a book waits for its snapshot",
                FeedState::Closed => "the feed is closed",
            });
        }
        Ok(())
    }
}

fn heading(kind: RecordKind) -> String {
    match kind {
        RecordKind::Trade => format!("{:<27} {:<4} {:>16} {:>16}  id", "time", "side", "price", "amount"),
        RecordKind::Quote => format!("{:<27} {:>16} {:>16} {:>16} {:>16}", "time", "bid amount", "bid", "ask", "ask amount"),
        RecordKind::BookLevel => {
            format!("{:<27} {:<4} {:>16} {:>16} {:>14}  event", "time", "side", "price", "amount", "update")
        }
        RecordKind::Candle => {
            format!("{:<27} {:>14} {:>14} {:>14} {:>14} {:>16}  state", "opens", "open", "high", "low", "close", "volume")
        }
    }
}

/// A record for people and for programs.
trait Shown {
    fn columns(&self) -> String;
    fn json(&self, sequence: u64) -> Value;
}

/// The exchange's time where it is known, to the microsecond.
fn time(venue: UnixNanos, received: UnixNanos) -> String {
    let nanos = if venue == UnixNanos::UNKNOWN { received } else { venue };
    jiff::Timestamp::from_nanosecond(i128::from(nanos.0))
        .map(|timestamp| timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        .unwrap_or_else(|_| nanos.0.to_string())
}

fn known(nanos: UnixNanos) -> Option<i64> {
    (nanos != UnixNanos::UNKNOWN).then_some(nanos.0)
}

fn gap_columns(venue: UnixNanos, received: UnixNanos, what: &str) -> String {
    format!("{:<27} gap: records are missing here{what}", time(venue, received))
}

impl Shown for Trade {
    fn columns(&self) -> String {
        if self.flags.contains(Flags::GAP) {
            let ids = match (self.id.low(), self.id.high()) {
                (0, 0) => String::new(),
                (last, next) => format!(", between ids {last} and {next}"),
            };
            return gap_columns(self.ts_venue, self.ts_recv, &ids);
        }
        let side = self.side.as_str().unwrap_or("-");
        let time = time(self.ts_venue, self.ts_recv);
        format!("{time:<27} {side:<4} {:>16} {:>16}  {}", self.price.to_string(), self.amount.to_string(), id(self))
    }

    fn json(&self, sequence: u64) -> Value {
        if self.flags.contains(Flags::GAP) {
            return json!({
                "sequence": sequence, "kind": "gap", "ts_venue": known(self.ts_venue), "ts_recv": known(self.ts_recv),
                "last_id": self.id.low(), "next_id": self.id.high(),
            });
        }
        json!({
            "sequence": sequence, "kind": "trade", "ts_venue": known(self.ts_venue), "ts_recv": known(self.ts_recv),
            "price": self.price.to_string(), "amount": self.amount.to_string(), "side": self.side.as_str(), "id": id(self),
            "flags": self.flags.0, "epoch": self.epoch,
        })
    }
}

fn id(trade: &Trade) -> String {
    if trade.flags.contains(Flags::WIDE_ID) { format!("{:032x}", trade.id.0) } else { trade.id.to_string() }
}

impl Shown for Quote {
    fn columns(&self) -> String {
        if self.flags.contains(Flags::GAP) {
            return gap_columns(self.ts_venue, self.ts_recv, "");
        }
        let [bid_amount, bid, ask, ask_amount] =
            [self.bid_amount, self.bid, self.ask, self.ask_amount].map(|decimal| decimal.to_string());
        format!("{:<27} {bid_amount:>16} {bid:>16} {ask:>16} {ask_amount:>16}", time(self.ts_venue, self.ts_recv))
    }

    fn json(&self, sequence: u64) -> Value {
        if self.flags.contains(Flags::GAP) {
            return json!({"sequence": sequence, "kind": "gap", "ts_venue": known(self.ts_venue), "ts_recv": known(self.ts_recv)});
        }
        json!({
            "sequence": sequence, "kind": "quote", "ts_venue": known(self.ts_venue), "ts_recv": known(self.ts_recv),
            "bid": self.bid.to_string(), "bid_amount": self.bid_amount.to_string(),
            "ask": self.ask.to_string(), "ask_amount": self.ask_amount.to_string(), "flags": self.flags.0,
        })
    }
}

impl Shown for BookLevel {
    fn columns(&self) -> String {
        if self.flags.contains(Flags::GAP) {
            return gap_columns(self.ts_venue, self.ts_recv, "");
        }
        let mut event = String::new();
        for (flag, word) in
            [(Flags::SNAPSHOT, "snapshot "), (Flags::FIRST, "first "), (Flags::LAST, "last "), (Flags::SUSPECT, "suspect ")]
        {
            if self.flags.contains(flag) {
                event.push_str(word);
            }
        }
        let (side, time) = (self.side.as_str(), time(self.ts_venue, self.ts_recv));
        let (price, amount) = (self.price.to_string(), self.amount.to_string());
        format!("{time:<27} {side:<4} {price:>16} {amount:>16} {:>14}  {}", self.update_id, event.trim_end())
            .trim_end()
            .to_owned()
    }

    fn json(&self, sequence: u64) -> Value {
        if self.flags.contains(Flags::GAP) {
            return json!({"sequence": sequence, "kind": "gap", "ts_venue": known(self.ts_venue), "ts_recv": known(self.ts_recv)});
        }
        json!({
            "sequence": sequence, "kind": "book", "ts_venue": known(self.ts_venue), "ts_recv": known(self.ts_recv),
            "side": self.side.as_str(), "price": self.price.to_string(), "amount": self.amount.to_string(),
            "update_id": self.update_id, "epoch": self.epoch, "flags": self.flags.0,
            "order_count": (self.order_count > 0).then_some(self.order_count),
        })
    }
}

impl Shown for Candle {
    fn columns(&self) -> String {
        if self.flags.contains(Flags::GAP) {
            return gap_columns(self.ts_open, self.ts_recv, "");
        }
        let state = if self.flags.contains(Flags::CLOSED) { "closed" } else { "growing" };
        let [open, high, low, close, volume] =
            [self.open, self.high, self.low, self.close, self.volume].map(|decimal| decimal.to_string());
        format!("{:<27} {open:>14} {high:>14} {low:>14} {close:>14} {volume:>16}  {state}", time(self.ts_open, self.ts_recv))
    }

    fn json(&self, sequence: u64) -> Value {
        if self.flags.contains(Flags::GAP) {
            return json!({"sequence": sequence, "kind": "gap", "ts_open": self.ts_open.0, "ts_recv": known(self.ts_recv)});
        }
        json!({
            "sequence": sequence, "kind": "candle", "closed": self.flags.contains(Flags::CLOSED), "ts_open": self.ts_open.0, "ts_recv": known(self.ts_recv),
            "open": self.open.to_string(), "high": self.high.to_string(), "low": self.low.to_string(),
            "close": self.close.to_string(), "volume": self.volume.to_string(),
            "quote_volume": self.quote_volume.to_string(), "trades": self.trades, "span": self.span.as_secs(),
            "flags": self.flags.0,
        })
    }
}
