//! Scenes for an OKX session, as those of its neighbours: entries in short words, and what came of them, a line each.

use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const SPOT: &[u8] = include_bytes!("../../src/okx/testdata/instruments_spot.json");
pub(crate) const SWAP: &[u8] = include_bytes!("../../src/okx/testdata/instruments_swap.json");

pub(crate) fn okx() -> Arc<dyn Adapter> {
    adapter("okx", &AdapterOptions::default()).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    Arc::new(Markets::joined([SPOT, SWAP].map(|body| okx().parse_markets(body).unwrap()).to_vec()))
}

/// A message about a book: levels as the wire has them (`"99","1"`), numbers, and a checksum.
pub(crate) fn book(instrument: &str, action: &str, (bids, asks): (&str, &str), (prev, seq): (i64, i64), sum: i64) -> String {
    let levels = |text: &str| {
        let all = text.split_ascii_whitespace().map(|level| {
            let (price, amount) = level.split_once('x').unwrap();
            format!(r#"["{price}","{amount}","0","1"]"#)
        });
        all.collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"arg":{{"channel":"books","instId":"{instrument}"}},"action":"{action}","data":[{{"asks":[{}],"bids":[{}],"ts":"{}","checksum":{sum},"seqId":{seq},"prevSeqId":{prev}}}]}}"#,
        levels(asks),
        levels(bids),
        seq.max(0)
    )
}

/// A session, and the entries it gets: entry n reaches us 100 n milliseconds after the epoch. The exchange's time of a book is its
/// number, in milliseconds.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    pub(crate) clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these feeds open, `BTC/USDT book`, and a connection 1.
    pub(crate) fn of(feeds: &[&str]) -> Self {
        let mut scene = Self { session: okx().session(markets()), clock: 0, out: Recorded::default() };
        for feed in feeds {
            scene.entry(EntryKind::FeedOpened, 0, feed, b"");
        }
        scene.entry(EntryKind::Opened, 1, "public", b"");
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

    pub(crate) fn closed(&mut self, conn: u32) -> &mut Self {
        self.entry(EntryKind::Closed, conn, "gone", b"")
    }

    /// A snapshot of BTC/USDT on the connection, with this number.
    pub(crate) fn snapshot(&mut self, conn: u32, seq: i64) -> &mut Self {
        self.frame(conn, &book("BTC-USDT", "snapshot", ("99x1 98x2", "101x1"), (-1, seq), 0))
    }

    /// An update of BTC/USDT that sets the best bid's amount to its number.
    pub(crate) fn update(&mut self, conn: u32, prev: i64, seq: i64) -> &mut Self {
        self.frame(conn, &book("BTC-USDT", "update", (&format!("99x{seq}"), ""), (prev, seq), 0))
    }

    /// The answer with a snapshot of BTC/USDT.
    pub(crate) fn fetched(&mut self, seq: i64) -> &mut Self {
        let body = format!(
            r#"{{"code":"0","msg":"","data":[{{"asks":[["101","7","0","1"]],"bids":[["99","7","0","1"]],"ts":"{seq}","seqId":{seq}}}]}}"#
        );
        self.entry(EntryKind::Response, 0, "depth BTC/USDT", body.as_bytes())
    }

    pub(crate) fn trades(&mut self, conn: u32, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        for id in ids {
            let text = format!(
                r#"{{"arg":{{"channel":"trades-all","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{id}","px":"100.10","sz":"2.0","side":"buy","ts":"{id}"}}]}}"#
            );
            self.frame(conn, &text);
        }
        self
    }

    /// An answer with these trades, in the exchange's order.
    pub(crate) fn page(&mut self, symbol: &str, ids: impl IntoIterator<Item = u64>) -> &mut Self {
        let row = |id| format!(r#"{{"instId":"X","side":"sell","sz":"3","px":"100.1","tradeId":"{id}","ts":"{id}"}}"#);
        let rows: Vec<String> = ids.into_iter().map(row).collect();
        let body = format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","));
        self.entry(EntryKind::Response, 0, &format!("trades {symbol} 1"), body.as_bytes())
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        let saved = self.session.save();
        self.session = okx().restore(markets(), &saved).unwrap();
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

    /// What came since the last time.
    pub(crate) fn take(&mut self) -> Recorded {
        std::mem::take(&mut self.out)
    }
}
