//! Scenes for a Coinbase session, as those of its neighbours: entries in short words, and what came of them, a line each.

use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const PRODUCTS: &[u8] = include_bytes!("../../src/coinbase/testdata/products.json");

pub(crate) fn coinbase(depth: Option<u32>) -> Arc<dyn Adapter> {
    adapter("coinbase", &AdapterOptions { aggregated_trades: false, depth }).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    Arc::new(coinbase(None).parse_markets(PRODUCTS).unwrap())
}

pub(crate) fn time(ms: i64) -> UnixNanos {
    UnixNanos::from_millis(ms)
}

/// The levels of a side, `99x1 98x2`, as the wire has them.
fn levels(text: &str, side: &str) -> String {
    let all = text.split_ascii_whitespace().map(|level| {
        let (price, amount) = level.split_once('x').unwrap();
        format!(r#"[{side}"{price}","{amount}"]"#)
    });
    all.collect::<Vec<_>>().join(",")
}

/// A snapshot of a book, as it has been sent: without a time.
pub(crate) fn snapshot(bids: &str, asks: &str) -> String {
    let (bids, asks) = (levels(bids, ""), levels(asks, ""));
    format!(r#"{{"type":"snapshot","product_id":"BTC-USD","asks":[{asks}],"bids":[{bids}]}}"#)
}

/// Changes of a book, told at this time.
pub(crate) fn update(bids: &str, asks: &str, ms: i64) -> String {
    let changes = [levels(bids, r#""buy","#), levels(asks, r#""sell","#)];
    let changes: Vec<String> = changes.into_iter().filter(|side| !side.is_empty()).collect();
    let (changes, time) = (changes.join(","), time(ms));
    format!(r#"{{"type":"l2update","product_id":"BTC-USD","changes":[{changes}],"time":"{time}"}}"#)
}

/// A trade; its time in milliseconds is its id.
pub(crate) fn trade(kind: &str, id: u64) -> String {
    let time = time(i64::try_from(id).unwrap());
    format!(
        r#"{{"type":"{kind}","trade_id":{id},"maker_order_id":"3dbaddb1","taker_order_id":"421f3aaa","side":"sell","size":"2.0","price":"100.10","product_id":"BTC-USD","sequence":{},"time":"{time}"}}"#,
        id * 10
    )
}

/// The newest trade, told at this time.
pub(crate) fn heartbeat(last_trade_id: u64, ms: i64) -> String {
    let time = time(ms);
    format!(r#"{{"type":"heartbeat","last_trade_id":{last_trade_id},"product_id":"BTC-USD","sequence":9,"time":"{time}"}}"#)
}

pub(crate) fn ticker(number: u64, bid: u64, ms: i64) -> String {
    let time = time(ms);
    format!(
        r#"{{"type":"ticker","sequence":{number},"product_id":"BTC-USD","price":"100","open_24h":"1","volume_24h":"1","low_24h":"1","high_24h":"1","volume_30d":"1","best_bid":"{bid}","best_bid_size":"0.5","best_ask":"101","best_ask_size":"0.25","side":"buy","time":"{time}","trade_id":7,"last_size":"1"}}"#
    )
}

/// A session, and the entries it gets: entry n reaches us 100 n milliseconds after the epoch.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    depth: Option<u32>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these feeds of BTC/USD open, and a connection 1.
    pub(crate) fn of(channels: &[&str], depth: Option<u32>) -> Self {
        let mut scene = Self { session: coinbase(depth).session(markets()), depth, clock: 0, out: Recorded::default() };
        for channel in channels {
            scene.entry(EntryKind::FeedOpened, 0, &format!("BTC/USD {channel}"), b"");
        }
        scene.entry(EntryKind::Opened, 1, "", b"");
        scene.expect("");
        scene
    }

    pub(crate) fn entry(&mut self, kind: EntryKind, conn: u32, subject: &str, payload: &[u8]) -> &mut Self {
        self.clock += 100;
        let entry = Entry { kind, conn, ts_recv: UnixNanos::from_millis(self.clock), subject, payload };
        self.session.apply(&entry, &mut self.out);
        self
    }

    pub(crate) fn frame(&mut self, conn: u32, text: &str) -> &mut Self {
        self.entry(EntryKind::Frame, conn, "", text.as_bytes())
    }

    /// A list of what is subscribed, where it is of concern for books alone: that it was told is left out.
    pub(crate) fn reply(&mut self, conn: u32, text: &str) -> &mut Self {
        self.frame(conn, text);
        let told = self.out.events.pop();
        assert!(matches!(told, Some(Event::Notice(words)) if words.starts_with("Subscribed")));
        self
    }

    pub(crate) fn closed(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Closed, conn, "gone", b"")
    }

    pub(crate) fn trades(&mut self, conn: u32, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        for id in ids {
            self.frame(conn, &trade("match", id));
        }
        self
    }

    /// An answer with these trades, the newest first.
    pub(crate) fn page(&mut self, ids: impl DoubleEndedIterator<Item = u64>) -> &mut Self {
        let row = |id: u64| {
            let time = time(i64::try_from(id).unwrap());
            format!(r#"{{"trade_id":{id},"side":"buy","size":"3","price":"100.1","time":"{time}"}}"#)
        };
        let rows: Vec<String> = ids.rev().map(row).collect();
        self.entry(EntryKind::Response, 0, "trades BTC/USD 1", format!("[{}]", rows.join(",")).as_bytes())
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        let saved = self.session.save();
        self.session = coinbase(self.depth).restore(markets(), &saved).unwrap();
        assert_eq!(self.session.save(), saved);
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
