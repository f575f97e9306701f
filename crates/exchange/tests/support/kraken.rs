//! Scenes for a Kraken session, as those of its neighbour: entries in short words, and what came of them, a line each.

use std::collections::BTreeMap;
use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const ASSET_PAIRS: &[u8] = include_bytes!("../../src/kraken/testdata/asset_pairs.json");

/// A book as the exchange has it, in whole steps of price and amount: prices have one digit after the point, amounts eight.
#[derive(Clone, Default)]
pub(crate) struct Venue {
    pub(crate) bids: BTreeMap<u64, u64>,
    pub(crate) asks: BTreeMap<u64, u64>,
    pub(crate) depth: usize,
}

/// One message's levels: price and amount in steps.
pub(crate) type Changes<'a> = &'a [(u64, u64)];

fn levels(list: impl IntoIterator<Item = (u64, u64)>) -> String {
    let level = |(price, amount): (u64, u64)| {
        format!(r#"{{"price":{}.{},"qty":{}.{:08}}}"#, price / 10, price % 10, amount / 100_000_000, amount % 100_000_000)
    };
    list.into_iter().map(level).collect::<Vec<_>>().join(",")
}

pub(crate) fn message(kind: &str, bids: &str, asks: &str, checksum: u32, ms: i64) -> String {
    let time = UnixNanos::from_millis(ms);
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{checksum},"timestamp":"{time}"}}]}}"#
    )
}

impl Venue {
    pub(crate) fn new(depth: usize, bids: Changes<'_>, asks: Changes<'_>) -> Self {
        Self { bids: bids.iter().copied().collect(), asks: asks.iter().copied().collect(), depth }
    }

    pub(crate) fn best_bids(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.bids.iter().rev().map(|(p, a)| (*p, *a)).take(self.depth)
    }

    pub(crate) fn best_asks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.asks.iter().map(|(p, a)| (*p, *a)).take(self.depth)
    }

    pub(crate) fn checksum(&self) -> u32 {
        let digits = self.best_asks().take(10).chain(self.best_bids().take(10)).map(|(p, a)| format!("{p}{a}"));
        crc32fast::hash(digits.collect::<String>().as_bytes())
    }

    pub(crate) fn snapshot(&self, ms: i64) -> String {
        message("snapshot", &levels(self.best_bids()), &levels(self.best_asks()), self.checksum(), ms)
    }

    /// Applies changes and tells of them.
    pub(crate) fn update(&mut self, bids: Changes<'_>, asks: Changes<'_>, ms: i64) -> String {
        for (side, changes) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for (price, amount) in changes {
                if *amount == 0 {
                    side.remove(price);
                } else {
                    side.insert(*price, *amount);
                }
            }
        }
        message("update", &levels(bids.iter().copied()), &levels(asks.iter().copied()), self.checksum(), ms)
    }
}

/// A session of BTC/USD, and the entries it gets: entry n reaches us n seconds after the epoch.
pub(crate) struct Scene {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) session: Box<dyn Session>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these feeds open, books of this depth, and a connection 1.
    pub(crate) fn of(depth: u32, channels: &[&str]) -> Self {
        let adapter = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth: Some(depth) }).unwrap();
        let markets = Arc::new(adapter.parse_markets(ASSET_PAIRS).unwrap());
        let session = adapter.session(markets);
        let mut scene = Self { adapter, session, clock: 0, out: Recorded::default() };
        for channel in channels {
            scene.entry(EntryKind::FeedOpened, 0, &format!("BTC/USD {channel}"), b"");
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

    pub(crate) fn closed(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Closed, conn, "gone", b"")
    }

    pub(crate) fn frame(&mut self, conn: u32, text: &str) -> &mut Self {
        self.entry(EntryKind::Frame, conn, "", text.as_bytes())
    }

    pub(crate) fn trades(&mut self, conn: u32, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        let rows: Vec<String> = ids
            .into_iter()
            .map(|id| {
                let time = UnixNanos::from_millis(i64::try_from(id).unwrap());
                format!(
                    r#"{{"symbol":"BTC/USD","side":"buy","price":100.10,"qty":2.00000000,"ord_type":"limit","trade_id":{id},"timestamp":"{time}"}}"#
                )
            })
            .collect();
        self.frame(conn, &format!(r#"{{"channel":"trade","type":"update","data":[{}]}}"#, rows.join(",")))
    }

    /// An answer over REST with these trades.
    pub(crate) fn page(&mut self, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        let rows: Vec<String> = ids
            .into_iter()
            .map(|id| format!(r#"["100.1","2.0",{}.{:03},"s","m","",{id}]"#, id / 1_000, id % 1_000))
            .collect();
        let body = format!(r#"{{"error":[],"result":{{"XXBTZUSD":[{}],"last":"1"}}}}"#, rows.join(","));
        self.entry(EntryKind::Response, 0, "trades BTC/USD since 1", body.as_bytes())
    }

    pub(crate) fn quote(&mut self, conn: u32, ms: i64, bid: u64) -> &mut Self {
        let time = UnixNanos::from_millis(ms);
        self.frame(
            conn,
            &format!(
                r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{bid}.0,"bid_qty":1.50000000,"ask":100.0,"ask_qty":2.0,"last":1,"timestamp":"{time}"}}]}}"#
            ),
        )
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

    /// What came since the last time.
    pub(crate) fn take(&mut self) -> Recorded {
        std::mem::take(&mut self.out)
    }
}
