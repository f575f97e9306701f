//! Scenes for a Bybit session, as those of its neighbours: entries in short words, and what came of them, a line each.

use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const SPOT: &[u8] = include_bytes!("../../src/bybit/testdata/spot.json");
pub(crate) const LINEAR: &[u8] = include_bytes!("../../src/bybit/testdata/linear.json");

pub(crate) fn bybit() -> Arc<dyn Adapter> {
    adapter("bybit", &AdapterOptions::default()).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    let bybit = bybit();
    Arc::new(Markets::joined([SPOT, LINEAR].map(|body| bybit.parse_markets(body).unwrap()).into()))
}

/// A frame about a book of this many levels; its `seq` is ten times `u`.
pub(crate) fn book(depth: u32, kind: &str, u: u64, bids: &str, asks: &str) -> String {
    book_with(depth, kind, u, u * 10, bids, asks)
}

pub(crate) fn book_with(depth: u32, kind: &str, u: u64, seq: u64, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"topic":"orderbook.{depth}.BTCUSDT","type":"{kind}","ts":{seq},"data":{{"s":"BTCUSDT","b":[{bids}],"a":[{asks}],"u":{u},"seq":{seq}}},"cts":{seq}}}"#
    )
}

/// A frame with trades whose ids are their times in milliseconds, as numbers or as UUIDs.
pub(crate) fn trades(is_wide: bool, times: &[u64]) -> String {
    let row = |ms: &u64| {
        let id = id(is_wide, *ms);
        format!(r#"{{"T":{ms},"s":"BTCUSDT","S":"Sell","v":"2","p":"100.10","i":"{id}","BT":false,"seq":{ms}}}"#)
    };
    let rows: Vec<String> = times.iter().map(row).collect();
    format!(r#"{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{}]}}"#, rows.join(","))
}

fn id(is_wide: bool, ms: u64) -> String {
    if is_wide { format!("00000000-0000-0000-0000-{ms:012x}") } else { ms.to_string() }
}

/// An answer with the newest trades, the newest first.
pub(crate) fn page(is_wide: bool, times: impl DoubleEndedIterator<Item = u64>) -> String {
    let row = |ms: u64| {
        let id = id(is_wide, ms);
        format!(r#"{{"execId":"{id}","symbol":"BTCUSDT","price":"100.10","size":"2","side":"Sell","time":"{ms}"}}"#)
    };
    let rows: Vec<String> = times.rev().map(row).collect();
    format!(r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{}]}},"time":1}}"#, rows.join(","))
}

/// A session of BTC/USDT and BTC/USDT:USDT, and the entries it gets: entry n reaches us n seconds after the epoch.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these feeds open, a connection 1 to the spot socket and a connection 2 to that of derivatives.
    pub(crate) fn of(feeds: &[&str]) -> Self {
        let mut scene = Self { session: bybit().session(markets()), clock: 0, out: Recorded::default() };
        for feed in feeds {
            scene.entry(EntryKind::FeedOpened, 0, feed, b"");
        }
        scene.opened(1, "spot").opened(2, "linear").expect("");
        scene
    }

    pub(crate) fn entry(&mut self, kind: EntryKind, conn: u32, subject: &str, payload: &[u8]) -> &mut Self {
        self.clock += 1;
        let entry = Entry { kind, conn, ts_recv: UnixNanos::from_secs(self.clock), subject, payload };
        self.session.apply(&entry, &mut self.out);
        self
    }

    pub(crate) fn opened(&mut self, conn: u32, socket: &str) -> &mut Self {
        self.entry(EntryKind::Opened, conn, socket, b"")
    }

    pub(crate) fn closed(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Closed, conn, "gone", b"")
    }

    pub(crate) fn frame(&mut self, conn: u32, text: &str) -> &mut Self {
        self.entry(EntryKind::Frame, conn, "", text.as_bytes())
    }

    pub(crate) fn answer(&mut self, symbol: &str, body: &str) -> &mut Self {
        self.entry(EntryKind::Response, 0, &format!("trades {symbol} since 1"), body.as_bytes())
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        self.session = bybit().restore(markets(), &self.session.save()).unwrap();
        self
    }

    /// Compares what came since the last time.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &str) -> &mut Self {
        let got: Vec<String> = self.out.events.drain(..).map(|event| super::line(&event).trim_end().to_owned()).collect();
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
