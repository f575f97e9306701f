//! Scenes for a Deribit session, as those of its neighbours: entries in short words, and what came of them, a line each.

use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Markets, Session, adapter};
use dccd_model::{Entry, EntryKind, UnixNanos};

pub(crate) const SPOT: &[u8] = include_bytes!("../../src/deribit/testdata/instruments_spot.json");
pub(crate) const FUTURE: &[u8] = include_bytes!("../../src/deribit/testdata/instruments_future.json");

pub(crate) fn deribit() -> Arc<dyn Adapter> {
    adapter("deribit", &AdapterOptions::default()).unwrap()
}

pub(crate) fn markets() -> Arc<Markets> {
    Arc::new(Markets::joined([SPOT, FUTURE].map(|body| deribit().parse_markets(body).unwrap()).to_vec()))
}

/// A message of BTC-PERPETUAL.
pub(crate) fn notice(channel: &str, data: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}"#)
}

/// Levels in short: `+99x1` is new, `99x2` is changed, `-99` is ended.
pub(crate) fn levels(text: &str) -> String {
    let level = |level: &str| {
        let (action, rest) = match level.strip_prefix('+') {
            Some(rest) => ("new", rest),
            None => level.strip_prefix('-').map_or(("change", level), |rest| ("delete", rest)),
        };
        let (price, amount) = rest.split_once('x').unwrap_or((rest, "0.0"));
        format!(r#"["{action}",{price},{amount}]"#)
    };
    text.split_ascii_whitespace().map(level).collect::<Vec<_>>().join(",")
}

/// A message about the book: a whole one where there is no `prev`. The exchange's time is its number, in milliseconds.
pub(crate) fn book(prev: Option<u64>, change: u64, bids: &str, asks: &str) -> String {
    let (kind, before) = match prev {
        None => ("snapshot", String::new()),
        Some(prev) => ("change", format!(r#""prev_change_id":{prev},"#)),
    };
    let (bids, asks) = (levels(bids), levels(asks));
    notice(
        "book.BTC-PERPETUAL.100ms",
        &format!(
            r#"{{"type":"{kind}","timestamp":{change},{before}"instrument_name":"BTC-PERPETUAL","change_id":{change},"bids":[{bids}],"asks":[{asks}]}}"#
        ),
    )
}

fn row(seq: u64) -> String {
    format!(
        r#"{{"trade_seq":{seq},"trade_id":"ETH-{seq}7","timestamp":{seq},"tick_direction":1,"price":100.5,"mark_price":100.4,"instrument_name":"BTC-PERPETUAL","index_price":100.3,"direction":"sell","contracts":2.0,"amount":20.0}}"#
    )
}

/// A message with these trades.
pub(crate) fn trades(seqs: &[u64]) -> String {
    let rows: Vec<String> = seqs.iter().map(|seq| row(*seq)).collect();
    notice("trades.BTC-PERPETUAL.100ms", &format!("[{}]", rows.join(",")))
}

/// An answer with these trades.
pub(crate) fn page(seqs: impl IntoIterator<Item = u64>, has_more: bool) -> String {
    let rows: Vec<String> = seqs.into_iter().map(row).collect();
    format!(
        r#"{{"jsonrpc":"2.0","result":{{"trades":[{}],"has_more":{has_more}}},"usIn":1,"usOut":2,"usDiff":1,"testnet":false}}"#,
        rows.join(",")
    )
}

pub(crate) fn quote(ms: u64, bid: &str, ask: &str) -> String {
    let side = |text: &str, name: &str| {
        let (price, amount) = text.split_once('x').unwrap();
        format!(r#""best_{name}_price":{price},"best_{name}_amount":{amount}"#)
    };
    notice(
        "quote.BTC-PERPETUAL",
        &format!(r#"{{"timestamp":{ms},"instrument_name":"BTC-PERPETUAL",{},{}}}"#, side(bid, "bid"), side(ask, "ask")),
    )
}

/// A session of BTC/USD:BTC, and the entries it gets: entry n reaches us n seconds after the epoch.
pub(crate) struct Scene {
    pub(crate) session: Box<dyn Session>,
    clock: i64,
    out: Recorded,
}

impl Scene {
    /// With these feeds open, and a connection 1.
    pub(crate) fn of(channels: &[&str]) -> Self {
        let mut scene = Self { session: deribit().session(markets()), clock: 0, out: Recorded::default() };
        for channel in channels {
            scene.entry(EntryKind::FeedOpened, 0, &format!("BTC/USD:BTC {channel}"), b"");
        }
        scene.entry(EntryKind::Opened, 1, "", b"").expect("");
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

    pub(crate) fn answer(&mut self, from: u64, body: &str) -> &mut Self {
        self.entry(EntryKind::Response, 0, &format!("trades BTC/USD:BTC {from}"), body.as_bytes())
    }

    /// Goes on with what was saved.
    pub(crate) fn restored(&mut self) -> &mut Self {
        self.session = deribit().restore(markets(), &self.session.save()).unwrap();
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
