//! Scenes for a Binance session: entries in short words, and what came of them, a line each.
#![allow(dead_code)] // each test uses its part

pub(crate) mod bitfinex;
pub(crate) mod bybit;
pub(crate) mod coinbase;
pub(crate) mod deribit;
pub(crate) mod kraken;
pub(crate) mod kucoin;
pub(crate) mod okx;
pub(crate) mod usdm;

use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, Session, Want, adapter};
use dccd_model::{Entry, EntryKind, Flags, Gap, UnixNanos};

pub(crate) const EXCHANGE_INFO: &[u8] = include_bytes!("../../src/binance/testdata/exchange_info.json");
pub(crate) const EXCHANGE_INFO_USDM: &[u8] = include_bytes!("../../src/binance/testdata/exchange_info_usdm.json");

/// A session of BTC/USDT, and the entries it gets. Times: entry n reaches us n seconds after the epoch; the exchange's time of
/// a trade is its id in milliseconds, that of a book event the number of its last change.
pub(crate) struct Scene {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) session: Box<dyn Session>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let adapter = adapter("binance", &AdapterOptions::default()).unwrap();
        let markets = Arc::new(adapter.parse_markets(EXCHANGE_INFO).unwrap());
        let session = adapter.session(markets);
        Self { adapter, session, clock: 0, out: Recorded::default() }
    }

    /// With these feeds open, and a connection 1.
    pub(crate) fn of(channels: &[&str]) -> Self {
        let mut scene = Self::new();
        for channel in channels {
            scene.feed(channel);
        }
        scene.entry(EntryKind::Opened, 1, "wss://example", b"");
        scene.expect("");
        scene
    }

    pub(crate) fn entry(&mut self, kind: EntryKind, conn: u32, subject: &str, payload: &[u8]) -> &mut Self {
        self.clock += 1;
        let entry = Entry { kind, conn, ts_recv: UnixNanos::from_secs(self.clock), subject, payload };
        self.session.apply(&entry, &mut self.out);
        self
    }

    pub(crate) fn feed(&mut self, channel: &str) -> &mut Self {
        self.entry(EntryKind::FeedOpened, 0, &format!("BTC/USDT {channel}"), b"")
    }

    pub(crate) fn feed_closed(&mut self, channel: &str) -> &mut Self {
        self.entry(EntryKind::FeedClosed, 0, &format!("BTC/USDT {channel}"), b"")
    }

    pub(crate) fn closed(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Closed, conn, "gone", b"")
    }

    pub(crate) fn lost(&mut self) -> &mut Self {
        self.entry(EntryKind::Lost, 0, "disk full", b"")
    }

    pub(crate) fn resync(&mut self) -> &mut Self {
        self.entry(EntryKind::Resync, 0, "BTC/USDT book", b"crossed")
    }

    pub(crate) fn frame(&mut self, conn: u32, text: &str) -> &mut Self {
        self.entry(EntryKind::Frame, conn, "", text.as_bytes())
    }

    pub(crate) fn trade(&mut self, conn: u32, id: u64) -> &mut Self {
        self.trade_at(conn, id, i64::try_from(id).unwrap())
    }

    pub(crate) fn trade_at(&mut self, conn: u32, id: u64, ms: i64) -> &mut Self {
        self.frame(
            conn,
            &format!(r#"{{"e":"trade","E":{ms},"s":"BTCUSDT","t":{id},"p":"100.10","q":"2","T":{ms},"m":true,"M":true}}"#),
        )
    }

    pub(crate) fn agg_trade(&mut self, conn: u32, id: u64) -> &mut Self {
        self.frame(
            conn,
            &format!(
                r#"{{"e":"aggTrade","E":{id},"s":"BTCUSDT","a":{id},"p":"100.10","q":"2","f":1,"l":2,"T":{id},"m":false}}"#
            ),
        )
    }

    pub(crate) fn page(&mut self, first: u64, last: u64) -> &mut Self {
        self.page_of(first, first..=last)
    }

    /// What came when trades from this id on were asked for.
    pub(crate) fn page_of(&mut self, from_id: u64, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        let rows: Vec<String> = ids
            .into_iter()
            .map(|id| format!(r#"{{"id":{id},"price":"100.10","qty":"2","quoteQty":"1","time":{id},"isBuyerMaker":true}}"#))
            .collect();
        let body = format!("[{}]", rows.join(","));
        self.entry(EntryKind::Response, 0, &format!("trades BTC/USDT {from_id}"), body.as_bytes())
    }

    pub(crate) fn quote(&mut self, conn: u32, number: u64) -> &mut Self {
        self.frame(conn, &format!(r#"{{"u":{number},"s":"BTCUSDT","b":"99.9","B":"1","a":"100","A":"2"}}"#))
    }

    /// An event that sets one bid and one ask.
    pub(crate) fn depth(&mut self, conn: u32, first: u64, last: u64) -> &mut Self {
        self.depth_of(conn, first, last, r#"["99","1"]"#, r#"["101","0"]"#)
    }

    pub(crate) fn depth_of(&mut self, conn: u32, first: u64, last: u64, bids: &str, asks: &str) -> &mut Self {
        self.frame(
            conn,
            &format!(r#"{{"e":"depthUpdate","E":{last},"s":"BTCUSDT","U":{first},"u":{last},"b":[{bids}],"a":[{asks}]}}"#),
        )
    }

    /// A snapshot of two levels.
    pub(crate) fn snapshot(&mut self, last: u64) -> &mut Self {
        let body = format!(r#"{{"lastUpdateId":{last},"bids":[["98","5"]],"asks":[["102","5"]]}}"#);
        self.entry(EntryKind::Response, 0, "depth BTC/USDT", body.as_bytes())
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        let markets = Arc::new(self.adapter.parse_markets(EXCHANGE_INFO).unwrap());
        self.session = self.adapter.restore(markets, &self.session.save()).unwrap();
        self
    }

    /// Compares what came since the last time.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &str) -> &mut Self {
        let got: Vec<String> = self.out.events.drain(..).map(|event| line(&event)).collect();
        let expected: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(got, expected, "\ngot:\n{}\n", got.join("\n"));
        self
    }

    /// Throws away what came since the last time.
    pub(crate) fn skip(&mut self) -> &mut Self {
        self.out.events.clear();
        self
    }
}

fn flags(flags: Flags) -> String {
    let names = [(Flags::SNAPSHOT, 'S'), (Flags::FIRST, 'f'), (Flags::LAST, 'l'), (Flags::GAP, 'G'), (Flags::SUSPECT, 'X')];
    names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect()
}

fn gap(gap: &Gap) -> String {
    let ids = gap.ids.map_or_else(String::new, |(first, last)| format!(" {first}-{last}"));
    let repaired = if gap.repaired { " repaired" } else { "" };
    format!("gap {}..{} {}{ids}{repaired}", gap.from.as_millis(), gap.to.as_millis(), gap.reason.as_str())
}

pub(crate) fn line(event: &Event) -> String {
    match event {
        Event::Trade(_, t) => {
            format!("trade {} {}x{} {:?} {} e{}", t.id, t.price, t.amount, t.side, flags(t.flags), t.epoch)
        }
        Event::PastTrade(_, t) => format!("past trade {} {}x{} {:?}", t.id, t.price, t.amount, t.side),
        Event::Quote(_, q) => {
            format!("quote {}x{} {}x{} {}", q.bid, q.bid_amount, q.ask, q.ask_amount, flags(q.flags))
        }
        Event::Level(_, l) => format!(
            "{} {}x{} u{} t{} e{} {}",
            l.side.as_str(),
            l.price,
            l.amount,
            l.update_id,
            l.ts_venue.as_millis(),
            l.epoch,
            flags(l.flags)
        ),
        Event::Candle(_, c) => {
            let closed = if c.flags.contains(Flags::CLOSED) { " closed" } else { "" };
            let [open, high, low, close, volume] = [c.open, c.high, c.low, c.close, c.volume];
            format!(
                "candle {} {open} {high} {low} {close} x{volume} q{} n{}{closed}",
                c.ts_open.as_millis() / 1_000,
                c.quote_volume,
                c.trades
            )
        }
        Event::Gap(_, g) => gap(g),
        Event::State(_, state, epoch) => format!("{state:?} e{epoch}").to_lowercase(),
        Event::Want(Want::BookSnapshot { symbol, .. }) => format!("want snapshot {symbol}"),
        Event::Want(Want::Trades { symbol, from_id, to_id, .. }) => format!("want trades {symbol} {from_id}-{to_id}"),
        Event::Want(Want::Resubscribe { symbol, conn, .. }) => format!("want resubscribe {symbol} on {conn}"),
        Event::Want(Want::Pong { conn }) => format!("want pong on {conn}"),
        Event::Want(Want::Replace { conn }) => format!("want replace {conn}"),
        Event::Notice(words) => format!("notice {words}"),
    }
}
