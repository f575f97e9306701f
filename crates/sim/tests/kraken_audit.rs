//! The audit of a simulated Kraken: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::kraken::{Kraken, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Corruption, Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::{Value, json};

const DEPTH: usize = 10;

/// A recorder of one market on one connection, as simple as can be.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    gaps: Vec<Gap>,
    epoch: u32,
    is_lost: bool,
    held: [BTreeMap<u64, f64>; 2],
}

fn ts(value: &Value) -> UnixNanos {
    let text = value["timestamp"].as_str().unwrap();
    let day = dccd_model::time::day_start(dccd_model::time::day_from_label(&text[..10]).unwrap()).0;
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let seconds = number(11..13) * 3_600 + number(14..16) * 60 + number(17..19);
    UnixNanos(day + seconds * 1_000_000_000 + number(20..26) * 1_000)
}

/// A number to the nearest double: the parser of values is not always that exact.
fn number(value: &Value, decimals: usize) -> f64 {
    format!("{:.decimals$}", value.as_f64().unwrap()).parse().unwrap()
}

impl Recorder {
    fn take(&mut self, message: &Value) {
        let row = &message["data"][0];
        match message["channel"].as_str() {
            Some("trade") => {
                for row in message["data"].as_array().unwrap() {
                    self.trades.push(TradeRow {
                        ts: ts(row),
                        price: number(&row["price"], 1),
                        amount: number(&row["qty"], 8),
                        side: if row["side"] == "buy" { Side::Buy } else { Side::Sell },
                        id: TradeId(row["trade_id"].as_u64().unwrap().into()),
                        ts_recv: UnixNanos(0),
                    });
                }
            }
            Some("ticker") => self.quotes.push(QuoteRow {
                ts: ts(row),
                bid: number(&row["bid"], 1),
                bid_amount: number(&row["bid_qty"], 8),
                ask: number(&row["ask"], 1),
                ask_amount: number(&row["ask_qty"], 8),
                ts_recv: UnixNanos(0),
            }),
            Some("book") => self.take_book(row, message["type"] == "snapshot"),
            _ => {}
        }
    }

    fn take_book(&mut self, row: &Value, is_snapshot: bool) {
        let ts = ts(row);
        if is_snapshot {
            self.epoch += 1;
            self.held = Default::default();
            if let Some(last) = self.book.last().filter(|_| self.is_lost) {
                let gap = Gap { from: last.ts, to: ts, reason: GapReason::Integrity, repaired: false, ids: None };
                self.gaps.push(gap);
            }
            self.is_lost = false;
        }
        if self.is_lost {
            return;
        }
        let mut fresh = Vec::new();
        for (at, name, side) in [(0, "bids", BookSide::Bid), (1, "asks", BookSide::Ask)] {
            for level in row[name].as_array().unwrap() {
                let (price, amount) = (number(&level["price"], 1), number(&level["qty"], 8));
                if amount == 0.0 {
                    self.held[at].remove(&price.to_bits());
                } else {
                    self.held[at].insert(price.to_bits(), amount);
                }
                fresh.push((side, price, amount));
            }
        }
        for (at, side) in [(0, BookSide::Bid), (1, BookSide::Ask)] {
            while self.held[at].len() > DEPTH {
                let gone = if at == 0 { self.held[at].pop_first() } else { self.held[at].pop_last() };
                fresh.push((side, f64::from_bits(gone.unwrap().0), 0.0));
            }
        }
        let digits = |price: f64, amount: f64| format!("{:.0}{:.0}", price * 10.0, amount * 1e8);
        let asks = self.held[1].iter().take(10).map(|(price, amount)| digits(f64::from_bits(*price), *amount));
        let bids = self.held[0].iter().rev().take(10).map(|(price, amount)| digits(f64::from_bits(*price), *amount));
        let text: String = asks.chain(bids).collect();
        if row["checksum"] != crc32fast::hash(text.as_bytes()) {
            self.is_lost = true;
            return;
        }
        for (side, price, amount) in fresh {
            let epoch = self.epoch;
            let (count, update_id, ts_recv) = (0, 0, UnixNanos(0));
            self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
        }
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("kraken"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let series = SeriesId { exchange: "kraken".parse().unwrap(), symbol: "BTC/USD".parse().unwrap(), kind };
            let folder = dir.join("kraken").join(channel.directory()).join("BTC-USD");
            std::fs::create_dir_all(&folder).unwrap();
            (series, folder.join("2026-11-27.parquet"))
        };
        let (id, path) = series(Channel::Trades);
        let mut file = ExportWriter::create(&path, &id, Vec::new()).unwrap();
        self.trades.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Quotes);
        let mut file = ExportWriter::create(&path, &id, Vec::new()).unwrap();
        self.quotes.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Book);
        let mut file = ExportWriter::create(&path, &id, self.gaps.clone()).unwrap();
        self.book.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        audit(&scene.ledger, dir, "kraken").unwrap().series
    }
}

/// A scene, and what a recorder has of it in which these faults happened to the book.
async fn recorded(faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut kraken = Kraken::connect(&scene.sim).await;
    kraken.subscribe("trade", "BTC/USD", json!({})).await;
    kraken.subscribe("ticker", "BTC/USD", json!({"event_trigger": "bbo"})).await;
    kraken.subscribe("book", "BTC/USD", json!({"depth": DEPTH})).await;
    let mut recorder = Recorder::default();
    let mut faults = faults.iter();
    let mut next = 300;
    for n in 1.. {
        let text = kraken.next_text().await.unwrap();
        recorder.take(&serde_json::from_str(&text).unwrap());
        // Each by itself: not before what the last one did is made good.
        if n >= next && !recorder.is_lost {
            next = n + 300;
            let Some(fault) = faults.next() else { break };
            scene.sim.faults().inject(fault.clone()).await.unwrap();
        }
        if recorder.is_lost && n % 50 == 0 {
            let params = json!({"channel": "book", "symbol": ["BTC/USD"], "depth": DEPTH});
            kraken.ask(json!({"method": "unsubscribe", "params": params})).await;
            kraken.subscribe("book", "BTC/USD", json!({"depth": DEPTH})).await;
        }
    }
    scene.sim.pause().await.unwrap();
    loop {
        let text = kraken.next_text().await.unwrap();
        if text.contains("heartbeat") {
            break;
        }
        recorder.take(&serde_json::from_str(&text).unwrap());
    }
    scene.sim.flush_ledger().await.unwrap();
    (scene, recorder)
}

fn numbers(series: &SeriesAudit) -> (u64, u64, u64, u64) {
    (series.missing, series.duplicate, series.wrong, series.declared)
}

/// Takes a row out of the middle.
fn lose<T>(rows: &mut Vec<T>) {
    rows.remove(rows.len() / 2);
}

#[tokio::test]
async fn what_was_recorded_as_it_should_be_is_clean_and_each_lack_is_found() {
    let (scene, good) = recorded(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let clean = good.audit(&scene, dir.path());
    assert_eq!(
        clean.iter().map(|s| s.series.as_str()).collect::<Vec<_>>(),
        ["BTC/USD/trades", "BTC/USD/quotes", "BTC/USD/book"]
    );
    for series in &clean {
        assert_eq!(numbers(series), (0, 0, 0, 0), "{series:?}");
        assert!(series.sent > 20 && series.stored >= series.sent, "{series:?}");
    }
    let update = good.book.len() - 1 - good.book.iter().rev().position(|row| row.amount > 0.0).unwrap();
    let spoiled = |change: &dyn Fn(&mut Recorder)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.audit(&scene, dir.path()).iter().map(numbers).collect::<Vec<_>>()
    };
    let none = (0, 0, 0, 0);
    assert_eq!(spoiled(&|bad| lose(&mut bad.trades)), [(1, 0, 0, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].amount += 1.0), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].ts.0 += 10_000), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| lose(&mut bad.quotes)), [none, (1, 0, 0, 0), none]);
    assert_eq!(spoiled(&|bad| bad.quotes[9].bid += 0.1)[1].2, 1);
    assert!(spoiled(&|bad| bad.book[update].amount += 1.0)[2].2 > 0);
    // A whole message, a level of a snapshot, the end of a level that fell out of the depth.
    let whole = |bad: &mut Recorder| {
        let at = bad.book[update].ts;
        bad.book.retain(|row| row.ts != at);
    };
    let lost = spoiled(&whole)[2];
    assert!(lost.0 == 1, "{lost:?}");
    assert!(spoiled(&|bad| bad.book = [&bad.book[..3], &bad.book[4..]].concat())[2].2 > 0);
    let end = |bad: &mut Recorder| {
        let mut held = BTreeMap::new();
        let told = bad.book.iter().position(|row| {
            let is_end =
                row.amount == 0.0 && row.side == BookSide::Ask && held.keys().all(|price| *price <= row.price.to_bits());
            if row.side == BookSide::Ask {
                if row.amount == 0.0 {
                    held.remove(&row.price.to_bits())
                } else {
                    held.insert(row.price.to_bits(), row.amount)
                };
            }
            is_end && held.len() == DEPTH
        });
        bad.book.remove(told.unwrap());
    };
    assert!(spoiled(&end)[2].2 > 0);
    scene.finish().await;
}

#[tokio::test]
async fn what_a_fault_took_is_missing_unless_it_is_declared() {
    let target = || Target::stream("book:BTC/USD");
    let faults = [
        Fault::Drop { target: target(), count: 1 },
        Fault::Corrupt { target: target(), count: 1, how: Corruption::Checksum },
        Fault::Reorder { target: target(), count: 1 },
        Fault::Gap { symbol: "BTC/USD".into(), channel: "book".into(), count: 3 },
        Fault::Duplicate { target: target(), count: 2 },
    ];
    let (scene, good) = recorded(&faults).await;
    let dir = tempfile::tempdir().unwrap();
    assert!(good.gaps.len() >= 4, "{:?}", good.gaps);
    let series = &good.audit(&scene, dir.path())[2];
    assert_eq!((series.missing, series.duplicate, series.wrong), (0, 0, 0), "{series:?}");
    assert!(series.declared > 0 && series.gaps == good.gaps.len() as u64);
    let mut silent = good.clone();
    silent.gaps.clear();
    let series = &silent.audit(&scene, dir.path())[2];
    assert!(series.missing > 0 && series.declared == 0, "{series:?}");
    scene.finish().await;
}
