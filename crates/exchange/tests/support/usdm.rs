//! Scenes for Binance's perpetuals beside spot, as those of spot: entries in short words, and what came of them, a line each.

use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) fn binance() -> Arc<dyn Adapter> {
    adapter("binance", &AdapterOptions::default()).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    let binance = binance();
    let parts = [super::EXCHANGE_INFO, super::EXCHANGE_INFO_USDM];
    Arc::new(Markets::joined(parts.map(|body| binance.parse_markets(body).unwrap()).into()))
}

/// The sockets by which scenes name their connections.
pub(crate) const PUBLIC: &str = "usdm/public";
pub(crate) const MARKET: &str = "usdm/market";

/// An aggregated trade; its time is its id in milliseconds.
pub(crate) fn agg_trade(id: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":{id},"s":"BTCUSDT","a":{id},"p":"100.10","q":"2","nq":"1","f":1,"l":2,"T":{id},"m":true,"st":1}}}}"#
    )
}

/// A page of them.
pub(crate) fn page(ids: impl IntoIterator<Item = u64>) -> String {
    let row = |id: u64| format!(r#"{{"a":{id},"p":"100.10","q":"2","f":1,"l":2,"T":{id},"m":true}}"#);
    format!("[{}]", ids.into_iter().map(row).collect::<Vec<_>>().join(","))
}

/// A quote; its time is its number in milliseconds.
pub(crate) fn quote(number: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{number},"s":"BTCUSDT","ps":"BTCUSDT","st":1,"b":"99.9","B":"{number}","a":"100","A":"2","T":{number},"E":{}}}}}"#,
        number + 1
    )
}

/// An event of a book with the last change of the one before it, and its own; its time is that in milliseconds.
pub(crate) fn depth(previous: u64, last: u64, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{},"T":{last},"s":"BTCUSDT","ps":"BTCUSDT","st":1,"U":{last},"u":{last},"pu":{previous},"b":[{bids}],"a":[{asks}]}}}}"#,
        last + 1
    )
}

pub(crate) fn snapshot(last: u64, bids: &str, asks: &str) -> String {
    format!(r#"{{"lastUpdateId":{last},"E":{last},"T":{last},"bids":[{bids}],"asks":[{asks}]}}"#)
}

/// A session, and the entries it gets: entry n reaches us n seconds after the epoch.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these feeds open, and connections 1 to the socket of books and quotes, 2 to that of trades, 3 to spot's.
    pub(crate) fn of(feeds: &[&str]) -> Self {
        let mut scene = Self { session: binance().session(markets()), clock: 0, out: Recorded::default() };
        for feed in feeds {
            scene.entry(EntryKind::FeedOpened, 0, feed, b"");
        }
        scene.opened(1, PUBLIC).opened(2, MARKET).opened(3, "").expect("");
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

    /// An event that sets one bid and one ask.
    pub(crate) fn depth(&mut self, conn: u32, previous: u64, last: u64) -> &mut Self {
        self.frame(conn, &depth(previous, last, r#"["99","1"]"#, r#"["101","0"]"#))
    }

    /// A snapshot of two levels.
    pub(crate) fn snapshot(&mut self, last: u64) -> &mut Self {
        let body = snapshot(last, r#"["98","5"]"#, r#"["102","5"]"#);
        self.entry(EntryKind::Response, 0, "depth BTC/USDT:USDT", body.as_bytes())
    }

    /// What came when trades from this id on were asked for.
    pub(crate) fn page_of(&mut self, from_id: u64, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        self.entry(EntryKind::Response, 0, &format!("trades BTC/USDT:USDT {from_id}"), page(ids).as_bytes())
    }

    /// Saved and restored, it goes on.
    pub(crate) fn restored(&mut self) -> &mut Self {
        let saved = self.session.save();
        self.session = binance().restore(markets(), &saved).unwrap();
        assert_eq!(self.session.save(), saved);
        self
    }

    /// Compares what came since the last time.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &str) -> &mut Self {
        let got: Vec<String> = self.out.events.drain(..).map(|event| super::line(&event)).collect();
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
