//! Scenes for a KuCoin session, as those of its neighbours: entries in short words, and what came of them, a line each.

use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const SYMBOLS: &[u8] = include_bytes!("../../src/kucoin/testdata/symbols.json");

pub(crate) fn kucoin() -> Arc<dyn Adapter> {
    adapter("kucoin", &AdapterOptions::default()).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    Arc::new(kucoin().parse_markets(SYMBOLS).unwrap())
}

/// A frame about a book; its time is the number of its last change, in milliseconds.
pub(crate) fn book(kind: &str, first: u64, last: u64, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"T":"obu.SPOT","dp":"increment@10ms","t":"{kind}","P":1,"d":{{"C":{last},"M":{last}000000,"O":{first},"a":[{asks}],"b":[{bids}],"s":"BTC-USDT"}}}}"#
    )
}

/// A frame with a trade whose id is its time in milliseconds.
pub(crate) fn trade(ms: u64) -> String {
    format!(
        r#"{{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match","data":{{"makerOrderId":"m","price":"100.10","sequence":"{ms}","side":"sell","size":"2","symbol":"BTC-USDT","takerOrderId":"t","time":"{ms}000000","tradeId":"{ms}","type":"match"}}}}"#
    )
}

/// A frame with the best bid and ask, as they stand between brackets.
pub(crate) fn quote(ms: u64, bid: &str, ask: &str) -> String {
    format!(
        r#"{{"topic":"/spotMarket/level1:BTC-USDT","type":"message","subject":"level1","data":{{"asks":[{ask}],"bids":[{bid}],"timestamp":{ms}}}}}"#
    )
}

/// An answer with the newest trades, the newest last.
pub(crate) fn page(times: impl Iterator<Item = u64>) -> String {
    let row = |ms: u64| format!(r#"{{"sequence":"{ms}","price":"100.10","size":"2","side":"sell","time":{ms}000000}}"#);
    let rows: Vec<String> = times.map(row).collect();
    format!(r#"{{"code":"200000","data":[{}]}}"#, rows.join(","))
}

/// A session of BTC/USDT, and the entries it gets: entry n reaches us n seconds after the epoch.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these channels open, a connection 1 to the classic socket and a connection 2 to the other.
    pub(crate) fn of(channels: &[&str]) -> Self {
        let mut scene = Self { session: kucoin().session(markets()), clock: 0, out: Recorded::default() };
        for channel in channels {
            scene.entry(EntryKind::FeedOpened, 0, &format!("BTC/USDT {channel}"), b"");
        }
        scene.opened(1, "classic").opened(2, "pro").expect("");
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

    pub(crate) fn answer(&mut self, body: &str) -> &mut Self {
        self.entry(EntryKind::Response, 0, "trades BTC/USDT since 1", body.as_bytes())
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        self.session = kucoin().restore(markets(), &self.session.save()).unwrap();
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
