//! Scenes for a Bitfinex session, as those of its neighbours: entries in short words, and what came of them, a line each.

use std::collections::HashMap;
use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const SPOT: &[u8] = include_bytes!("../../src/bitfinex/testdata/pairs_spot.json");
pub(crate) const FUTURES: &[u8] = include_bytes!("../../src/bitfinex/testdata/pairs_futures.json");

pub(crate) fn bitfinex() -> Arc<dyn Adapter> {
    adapter("bitfinex", &AdapterOptions::default()).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    Arc::new(Markets::joined([SPOT, FUTURES].map(|body| bitfinex().parse_markets(body).unwrap()).to_vec()))
}

/// The number of BTC/USD's channel on every connection.
pub(crate) const TRADES: u64 = 17;
pub(crate) const QUOTES: u64 = 18;
pub(crate) const BOOK: u64 = 19;

/// The exchange's reply to a subscription of `tBTCUSD`.
pub(crate) fn subscribed(chan: u64) -> String {
    let (channel, more) = match chan {
        TRADES => ("trades", ""),
        QUOTES => ("book", r#","prec":"P0","freq":"F0","len":"1""#),
        _ => ("book", r#","prec":"P0","freq":"F0","len":"25""#),
    };
    format!(
        r#"{{"event":"subscribed","channel":"{channel}","chanId":{chan},"symbol":"tBTCUSD"{more},"subId":"{chan}","pair":"BTCUSD"}}"#
    )
}

/// The exchange's reply to what is sent first: times, numbers and checksums.
pub(crate) const CONF: &str = r#"{"event":"conf","status":"OK","flags":229376}"#;

/// A session, and the entries it gets: entry n reaches us 100 n milliseconds after the epoch; the exchange's times are the same.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    pub(crate) clock: i64,
    /// Of the last message of each connection.
    numbers: HashMap<u32, u64>,
    out: Recorded,
}

impl Scene {
    /// With these feeds of BTC/USD open, and a connection 1 on which they are subscribed; the next entry comes at 700 ms.
    pub(crate) fn of(channels: &[&str]) -> Self {
        let session = bitfinex().session(markets());
        let mut scene = Self { session, clock: 0, numbers: HashMap::new(), out: Recorded::default() };
        for channel in channels {
            scene.entry(EntryKind::FeedOpened, 0, &format!("BTC/USD {channel}"), b"");
        }
        scene.connected(1);
        scene.clock = 600;
        scene.skip();
        scene
    }

    pub(crate) fn entry(&mut self, kind: EntryKind, conn: u32, subject: &str, payload: &[u8]) -> &mut Self {
        self.clock += 100;
        let entry = Entry { kind, conn, ts_recv: UnixNanos::from_millis(self.clock), subject, payload };
        self.session.apply(&entry, &mut self.out);
        self
    }

    /// A frame as it stands.
    pub(crate) fn frame(&mut self, conn: u32, text: &str) -> &mut Self {
        self.entry(EntryKind::Frame, conn, "", text.as_bytes())
    }

    /// A connection opens, is configured, and has its subscriptions confirmed.
    pub(crate) fn connected(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Opened, conn, "", b"");
        self.frame(conn, r#"{"event":"info","version":2,"serverId":"x","platform":{"status":1}}"#).frame(conn, CONF);
        for chan in [TRADES, QUOTES, BOOK] {
            self.frame(conn, &subscribed(chan));
        }
        self
    }

    pub(crate) fn closed(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Closed, conn, "gone", b"")
    }

    /// A channel brings this, with the next number of its connection and its time.
    pub(crate) fn says(&mut self, conn: u32, chan: u64, content: &str) -> &mut Self {
        let number = self.numbers.entry(conn).or_default();
        *number += 1;
        let text = format!("[{chan},{content},{number},{}]", self.clock + 100);
        self.frame(conn, &text)
    }

    /// So many messages of a connection get lost.
    pub(crate) fn loses(&mut self, conn: u32, count: u64) -> &mut Self {
        *self.numbers.entry(conn).or_default() += count;
        self
    }

    /// An answer with these trades, each at its number of milliseconds.
    pub(crate) fn page(&mut self, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        let rows: Vec<String> = ids.into_iter().map(|id| format!("[{id},{id},-3,100.1]")).collect();
        let body = format!("[{}]", rows.join(","));
        self.entry(EntryKind::Response, 0, "trades BTC/USD since 1", body.as_bytes())
    }

    /// A trade at its number of milliseconds.
    pub(crate) fn trade(&mut self, conn: u32, id: u64) -> &mut Self {
        self.says(conn, TRADES, &format!(r#""te",[{id},{id},0.5,100.1]"#))
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        let saved = self.session.save();
        self.session = bitfinex().restore(markets(), &saved).unwrap();
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
