//! Holes that only the store has: nobody recorded what others were handed on, or nobody remembers what was recorded.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datad::{DeriveOptions, derive};
use dccd_exchange::{Markets, adapter};
use dccd_model::{Entry, EntryKind, ExchangeName, Gap, GapReason, UnixNanos};
use dccd_rpc::datad::FlushReport;
use dccd_store::journal::{JournalOptions, JournalWriter};
use dccd_tests::{Exchange, Setup, Tree};
use tempfile::TempDir;

const BINANCE: &[u8] = include_bytes!("../../crates/exchange/src/binance/testdata/exchange_info.json");
const BYBIT: &[u8] = include_bytes!("../../crates/exchange/src/bybit/testdata/spot.json");

/// A day of 2024, ms.
const START: i64 = 1_723_075_200_000;

/// From and to in seconds since the beginning, why, ids.
type Hole = (i64, i64, GapReason, Option<(u64, u64)>);

/// A journal that is written by hand, and what is derived from it.
struct Tape {
    dir: TempDir,
    exchange: ExchangeName,
    writer: JournalWriter,
    clock: i64,
}

impl Tape {
    fn new(exchange: &str, markets: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let markets: Markets =
            adapter(exchange, &dccd_exchange::AdapterOptions::default()).unwrap().parse_markets(markets).unwrap();
        std::fs::write(dir.path().join("markets.json"), serde_json::to_vec(&markets).unwrap()).unwrap();
        // Each commit in a segment of its own.
        let options = JournalOptions { segment_bytes: 1, ..JournalOptions::default() };
        let writer = JournalWriter::open(&dir.path().join("journal"), options).unwrap();
        Self { dir, exchange: exchange.parse().unwrap(), writer, clock: START }
    }

    /// Each entry comes a second after the one before.
    fn entry(&mut self, kind: EntryKind, conn: u32, subject: &str, payload: &str) -> &mut Self {
        self.clock += 1_000;
        let ts_recv = UnixNanos::from_millis(self.clock);
        self.writer.append(&Entry { kind, conn, ts_recv, subject, payload: payload.as_bytes() }).unwrap();
        self
    }

    fn frame(&mut self, payload: &str) -> &mut Self {
        self.entry(EntryKind::Frame, 1, "", payload)
    }

    /// Binance: the exchange's time is our own.
    fn trade(&mut self, id: u64) -> &mut Self {
        let ms = self.clock + 1_000;
        self.frame(&format!(
            r#"{{"e":"trade","E":{ms},"s":"BTCUSDT","t":{id},"p":"100.10","q":"2","T":{ms},"m":true,"M":true}}"#
        ))
    }

    fn quote(&mut self, number: u64) -> &mut Self {
        self.frame(&format!(r#"{{"u":{number},"s":"BTCUSDT","b":"99.9","B":"1","a":"100","A":"2"}}"#))
    }

    /// An event and the snapshot below it.
    fn book(&mut self, first: u64) -> &mut Self {
        let (ms, last) = (self.clock + 1_000, first + 9);
        self.frame(&format!(
            r#"{{"e":"depthUpdate","E":{ms},"s":"BTCUSDT","U":{first},"u":{last},"b":[["99","1"]],"a":[["101","1"]]}}"#
        ));
        let snapshot = format!(r#"{{"lastUpdateId":{first},"bids":[["98","5"]],"asks":[["102","5"]]}}"#);
        self.entry(EntryKind::Response, 0, "depth BTC/USDT", &snapshot)
    }

    fn feeds(&mut self, kind: EntryKind, payload: &str) -> &mut Self {
        for channel in ["trades", "quotes", "book"] {
            self.entry(kind, 0, &format!("BTC/USDT {channel}"), payload);
        }
        self
    }

    fn derive(&mut self) -> FlushReport {
        self.writer.commit().unwrap();
        let options = DeriveOptions {
            markets: self.dir.path().join("markets.json"),
            aggregated_trades: false,
            depth: None,
            time_step: Duration::from_secs(60),
        };
        derive(&self.dir.path().join("journal"), self.dir.path(), &self.exchange, &options).unwrap()
    }

    fn file(&self, channel: &str) -> PathBuf {
        self.dir.path().join(format!("{}/{channel}/BTC-USDT/2024-08-08.parquet", self.exchange))
    }

    fn ids(&self) -> Vec<u128> {
        dccd_store::read_trades(&self.file("trades")).unwrap().map(|row| row.unwrap().id.0).collect()
    }

    /// What is declared and not made good.
    fn gaps(&self, channel: &str) -> Vec<Hole> {
        let second = |ts: UnixNanos| (ts.as_millis() - START) / 1_000;
        let row = |gap: Gap| (second(gap.from), second(gap.to), gap.reason, gap.ids);
        dccd_store::read_gaps(&self.file(channel)).unwrap().into_iter().filter(|gap| !gap.repaired).map(row).collect()
    }
}

#[test]
fn what_was_handed_on_and_not_recorded_is_declared_when_recording_begins_again() {
    let mut tape = Tape::new("binance", BINANCE);
    tape.feeds(EntryKind::FeedOpened, "recorded").entry(EntryKind::Opened, 1, "", "");
    // At 5 and 6, 7, 8 to 9 s.
    tape.trade(1).trade(2).quote(1).book(100);
    tape.feeds(EntryKind::FeedClosed, "").feeds(EntryKind::FeedOpened, "live");
    // At 16 and 17, 18, 19 to 20 s.
    tape.trade(3).trade(4).quote(2).book(200);
    tape.feeds(EntryKind::FeedOpened, "recorded").entry(EntryKind::Resync, 0, "BTC/USDT book", "recording begins");
    // At 25, 26, 27 to 28 s.
    tape.trade(5).quote(3).book(300).derive();
    assert_eq!(tape.ids(), [1, 2, 5]);
    let missed = GapReason::NotRecorded;
    assert_eq!(tape.gaps("trades"), [(6, 17, missed, Some((3, 4)))]);
    assert_eq!(tape.gaps("quotes"), [(7, 26, missed, None)]);
    assert_eq!(tape.gaps("orderbook")[0], (8, 27, missed, None));
    // The same where the recorder was begun anew in between, and with trades that nobody missed.
    let mut tape = Tape::new("binance", BINANCE);
    tape.feeds(EntryKind::FeedOpened, "recorded").entry(EntryKind::Opened, 1, "", "").trade(1).quote(1).derive();
    tape.feeds(EntryKind::FeedOpened, "live").quote(2).derive();
    tape.feeds(EntryKind::FeedOpened, "recorded").derive();
    tape.trade(2).quote(3).derive();
    assert_eq!((tape.ids(), tape.gaps("trades")), (vec![1, 2], vec![]));
    assert_eq!(tape.gaps("quotes"), [(6, 15, missed, None)]);
}

/// Of Bybit, at this second; its id is the same.
fn bybit_trade(second: i64) -> String {
    let ms = START + second * 1_000;
    let row = format!(r#"{{"T":{ms},"s":"BTCUSDT","S":"Sell","v":"2","p":"100.10","i":"{second}","BT":false,"seq":{ms}}}"#);
    format!(r#"{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":{ms},"data":[{row}]}}"#)
}

/// The newest trades, those from `first` to `last`.
fn bybit_page(first: i64, last: i64) -> String {
    let row = |second: i64| {
        let ms = START + second * 1_000;
        format!(r#"{{"execId":"{second}","symbol":"BTCUSDT","price":"100.10","size":"2","side":"Sell","time":"{ms}"}}"#)
    };
    let rows: Vec<String> = (first..=last).rev().map(row).collect();
    format!(r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{}]}},"time":1}}"#, rows.join(","))
}

#[test]
fn a_hole_of_a_feed_that_was_only_handed_on_is_made_good_and_the_rest_stays_declared() {
    let trades = "BTC/USDT trades";
    for is_stored_between in [false, true] {
        let mut tape = Tape::new("bybit", BYBIT);
        tape.entry(EntryKind::FeedOpened, 0, trades, "recorded").entry(EntryKind::Opened, 1, "spot", "");
        tape.frame(&bybit_trade(1)).frame(&bybit_trade(2));
        // A client's: what it misses first begins where the series ends.
        tape.entry(EntryKind::FeedClosed, 0, trades, "").entry(EntryKind::FeedOpened, 0, trades, "live");
        tape.frame(&bybit_trade(5)).frame(&bybit_trade(6)).frame(&bybit_trade(7));
        tape.entry(EntryKind::FeedOpened, 0, trades, "recorded").frame(&bybit_trade(8));
        if is_stored_between {
            tape.derive();
            assert_eq!((tape.ids(), tape.gaps("trades")), (vec![1, 2, 8], vec![(2, 7, GapReason::NotRecorded, None)]));
        }
        tape.entry(EntryKind::Response, 0, "trades BTC/USDT since 1", &bybit_page(1, 8)).derive();
        assert_eq!(tape.ids(), [1, 2, 3, 4, 8]);
        assert_eq!(tape.gaps("trades"), [(2, 7, GapReason::NotRecorded, None)], "5 to 7 nobody recorded");
    }
}

#[test]
fn a_feed_that_only_a_client_held_begins_with_what_is_fetched_of_it_when_it_is_recorded_first() {
    let trades = "BTC/USDT trades";
    let mut tape = Tape::new("binance", BINANCE);
    tape.entry(EntryKind::FeedOpened, 0, trades, "live").entry(EntryKind::Opened, 1, "", "");
    // At 3, 4 and 5 s.
    tape.trade(100).trade(105).trade(106);
    tape.entry(EntryKind::FeedOpened, 0, trades, "recorded").trade(107);
    let row = |id| {
        format!(r#"{{"id":{id},"price":"100.10","qty":"2","quoteQty":"1","time":{},"isBuyerMaker":true}}"#, START + 3_500)
    };
    let page = format!("[{}]", (101..=104).map(row).collect::<Vec<_>>().join(","));
    tape.entry(EntryKind::Response, 0, "trades BTC/USDT 101", &page).derive();
    assert_eq!(tape.ids(), [101, 102, 103, 104, 107]);
    assert_eq!(tape.gaps("trades"), [(3, 5, GapReason::NotRecorded, Some((101, 106)))]);
    // Likewise without ids that count.
    let mut tape = Tape::new("bybit", BYBIT);
    tape.entry(EntryKind::FeedOpened, 0, trades, "live").entry(EntryKind::Opened, 1, "spot", "");
    tape.frame(&bybit_trade(1)).entry(EntryKind::Closed, 1, "gone", "").entry(EntryKind::Opened, 2, "spot", "");
    for second in [4, 5] {
        tape.entry(EntryKind::Frame, 2, "", &bybit_trade(second));
    }
    tape.entry(EntryKind::FeedOpened, 0, trades, "recorded").entry(EntryKind::Frame, 2, "", &bybit_trade(6));
    tape.entry(EntryKind::Response, 0, "trades BTC/USDT since 1", &bybit_page(1, 6)).derive();
    assert_eq!((tape.ids(), tape.gaps("trades")), (vec![2, 3, 6], vec![(1, 5, GapReason::NotRecorded, None)]));
    // With nothing to fetch the series begins where it is recorded.
    let mut tape = Tape::new("binance", BINANCE);
    tape.entry(EntryKind::FeedOpened, 0, trades, "live").entry(EntryKind::Opened, 1, "", "").trade(100);
    tape.entry(EntryKind::FeedOpened, 0, trades, "recorded").trade(101).derive();
    assert_eq!((tape.ids(), tape.gaps("trades")), (vec![101], vec![]));
}

#[test]
fn a_trade_that_comes_very_late_is_there_and_one_that_comes_again_is_there_once() {
    let mut tape = Tape::new("bybit", BYBIT);
    tape.entry(EntryKind::FeedOpened, 0, "BTC/USDT trades", "recorded").entry(EntryKind::Opened, 1, "spot", "");
    for second in (1..=200).filter(|second| *second != 50) {
        tape.frame(&bybit_trade(second));
    }
    tape.derive();
    // Two and a half minutes late, and again; and one that is there.
    tape.frame(&bybit_trade(50)).frame(&bybit_trade(50)).frame(&bybit_trade(60)).derive();
    tape.frame(&bybit_trade(50)).frame(&bybit_trade(201)).derive();
    assert_eq!((tape.ids(), tape.gaps("trades")), ((1..=201).collect(), vec![]));
}

#[test]
fn a_journal_without_its_beginning_says_nothing_where_nobody_knows_how_far_it_was_recorded() {
    let mut tape = Tape::new("binance", BINANCE);
    tape.entry(EntryKind::FeedOpened, 0, "BTC/USDT trades", "recorded").entry(EntryKind::Opened, 1, "", "");
    tape.trade(1).trade(2).derive();
    tape.trade(3);
    tape.writer.commit().unwrap();
    let begin = tape.writer.position();
    // The next process.
    tape.entry(EntryKind::Closed, 0, "process restarted", "").entry(EntryKind::FeedOpened, 0, "BTC/USDT trades", "recorded");
    tape.trade(4);
    tape.writer.commit().unwrap();
    let end = tape.writer.position();
    let state = tape.dir.path().join(".dccd/state/binance/recorder.bin");
    std::fs::remove_file(&state).unwrap();
    // Whole, it is recorded from its first entry on, and nothing is missing.
    let file = std::fs::read(tape.file("trades")).unwrap();
    tape.derive();
    assert_eq!((tape.ids(), tape.gaps("trades")), (vec![1, 2, 3, 4], vec![]));
    // Without its beginning it would leave a hole that nothing tells of: it is passed over, once and for all.
    std::fs::write(tape.file("trades"), file).unwrap();
    std::fs::remove_file(&state).unwrap();
    let journal = tape.dir.path().join("journal");
    let retired =
        |path: &Path| path.file_stem().and_then(|name| name.to_str()?.parse().ok()).is_some_and(|base: u64| base < begin.0);
    for segment in std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).filter(|path| retired(path)) {
        std::fs::remove_file(segment).unwrap();
    }
    assert_eq!(tape.derive().position, end.0);
    assert_eq!(tape.ids(), [1, 2]);
    tape.trade(5);
    tape.derive();
    assert_eq!(tape.ids(), [1, 2], "no feed is open");
}

/// Every Parquet file of the exchange, by its path below the store.
fn files(data_path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![data_path.join("binance")];
    while let Some(path) = waiting.pop() {
        for path in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.strip_prefix(data_path).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_store_without_its_state_declares_what_was_missed_of_each_series_and_is_the_same_however_it_is_derived() {
    let mut exchange = Exchange::busy(200.0, 200.0);
    let whole = Setup::new(&exchange);
    let one = Setup { pairs: vec!["BTC/USDT".to_owned()], ..whole.clone() };
    let mut tree = Tree::start(&whole);
    tree.wait_fresh(6);
    tree.stop();
    let restored = files(tree.data_path());
    std::fs::remove_dir_all(tree.data_path().join(".dccd")).unwrap();
    // One market is not recorded at first: its hole is declared when it is.
    tree.place().put("config.yml", &one.text(tree.data_path()));
    tree.start_root();
    tree.wait_live(3);
    let pid = tree.collector().and_then(|service| service.pid).unwrap();
    tree.kill(pid);
    tree.wait_ready(Some(pid));
    tree.wait_fresh(3);
    tree.place().put("config.yml", &whole.text(tree.data_path()));
    let _ = tree.run(&["reload"]).code(0);
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    let gaps = tree.run(&["gaps", "--repaired", "--json"]).code(0).json();
    for series in ["trades", "quotes", "book"].iter().flat_map(|c| ["BTC", "ETH"].map(|of| format!("binance/{of}/USDT/{c}")))
    {
        let is_told = |gap: &serde_json::Value| gap["series"] == *series && gap["reason"] == "not_recorded";
        assert!(gaps.as_array().unwrap().iter().any(is_told), "{series}: {gaps:#}");
    }
    let audit = tree.audit(&mut exchange);
    let trades = audit.series.iter().filter(|series| series.series.ends_with("trades"));
    assert!(trades.clone().all(|series| series.gaps == 0 && series.repaired > 0 && series.fetched > 0), "{audit:#?}");
    tree.verify();

    let journal = exchange.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    for segment in std::fs::read_dir(tree.data_path().join(".dccd/journal/binance")).unwrap().map(|e| e.unwrap().path()) {
        std::fs::copy(&segment, journal.join(segment.file_name().unwrap())).unwrap();
    }
    let live = files(tree.data_path());
    for seconds in [1, 3_600] {
        let data_path = exchange.path().join(format!("derived-{seconds}"));
        for (path, bytes) in &restored {
            std::fs::create_dir_all(data_path.join(path).parent().unwrap()).unwrap();
            std::fs::write(data_path.join(path), bytes).unwrap();
        }
        let options = DeriveOptions {
            markets: tree.data_path().join(".dccd/state/binance/markets.json"),
            aggregated_trades: false,
            depth: Some(1_000),
            time_step: Duration::from_secs(seconds),
        };
        derive(&journal, &data_path, &"binance".parse().unwrap(), &options).unwrap();
        let derived = files(&data_path);
        let same: Vec<_> = live.iter().map(|(path, bytes)| (path, derived.get(path) == Some(bytes))).collect();
        assert!(same.len() == 6 && same.iter().all(|(_, same)| *same), "{same:#?}");
    }
    println!("{} files are the same three times", live.len());
}
