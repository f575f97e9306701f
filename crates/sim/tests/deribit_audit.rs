//! The audit of a simulated Deribit: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::path::Path;

use common::deribit::{Deribit, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::{Value, json};

const ID: &str = "BTC-PERPETUAL";
const SYMBOL: &str = "BTC/USD:BTC";

/// A recorder of one perpetual, as simple as can be.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    gaps: Vec<Gap>,
    epoch: u32,
    id: u64,
    is_lost: bool,
}

fn ts(row: &Value) -> UnixNanos {
    UnixNanos::from_millis(row["timestamp"].as_i64().unwrap())
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap()
}

impl Recorder {
    fn take(&mut self, message: &Value) {
        let data = &message["params"]["data"];
        match message["params"]["channel"].as_str().map(|channel| channel.split('.').next().unwrap()) {
            Some("trades") => {
                for row in data.as_array().unwrap() {
                    let id = TradeId(row["trade_seq"].as_u64().unwrap().into());
                    let (price, amount) = (number(row, "price"), number(row, "amount"));
                    let side = if row["direction"] == "buy" { Side::Buy } else { Side::Sell };
                    self.trades.push(TradeRow { ts: ts(row), price, amount, side, id, ts_recv: UnixNanos(0) });
                }
            }
            Some("quote") => {
                let [bid, bid_amount, ask, ask_amount] =
                    ["best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount"].map(|key| number(data, key));
                self.quotes.push(QuoteRow { ts: ts(data), bid, bid_amount, ask, ask_amount, ts_recv: UnixNanos(0) });
            }
            Some("book") => self.take_book(data),
            _ => {}
        }
    }

    fn take_book(&mut self, data: &Value) {
        let (ts, update_id, is_snapshot) = (ts(data), data["change_id"].as_u64().unwrap(), data["type"] == "snapshot");
        if is_snapshot {
            self.epoch += 1;
            if let Some(last) = self.book.last().filter(|_| self.is_lost) {
                self.gaps.push(Gap { from: last.ts, to: ts, reason: GapReason::Sequence, repaired: false, ids: None });
            }
            self.is_lost = false;
        } else if data["prev_change_id"].as_u64() != Some(self.id) {
            self.is_lost = true;
        }
        if self.is_lost {
            return;
        }
        self.id = update_id;
        for (name, side) in [("bids", BookSide::Bid), ("asks", BookSide::Ask)] {
            for level in data[name].as_array().unwrap() {
                let (price, amount) = (level[1].as_f64().unwrap(), level[2].as_f64().unwrap());
                let epoch = self.epoch;
                let (count, ts_recv) = (0, UnixNanos(0));
                self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
            }
        }
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("deribit"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let series = SeriesId { exchange: "deribit".parse().unwrap(), symbol: SYMBOL.parse().unwrap(), kind };
            let folder = dir.join("deribit").join(channel.directory()).join(series.symbol.path_name());
            std::fs::create_dir_all(&folder).unwrap();
            (series, folder.join("2026-11-27.parquet"))
        };
        let (id, path) = series(Channel::Trades);
        let mut file = ExportWriter::create(&path, &id, Vec::new()).unwrap();
        // In the order of files, as a recorder brings them into it.
        let mut trades = self.trades.clone();
        trades.sort_by_key(|row| (row.ts, row.id.0));
        trades.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Quotes);
        let mut file = ExportWriter::create(&path, &id, Vec::new()).unwrap();
        self.quotes.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Book);
        let mut file = ExportWriter::create(&path, &id, self.gaps.clone()).unwrap();
        self.book.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        audit(&scene.ledger, dir, "deribit").unwrap().series
    }
}

/// What a recorder has of a scene in which these faults happened to the book, each after so many of its messages.
async fn recorded(faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut deribit = Deribit::connect(&scene.sim).await;
    let book = format!("book.{ID}.100ms");
    for channel in [&format!("trades.{ID}.100ms"), &format!("quote.{ID}"), &book] {
        deribit.subscribe(channel).await;
    }
    let mut recorder = Recorder::default();
    let (mut faults, mut books) = (faults.iter(), 0);
    loop {
        let message: Value = serde_json::from_str(&deribit.next_text().await.unwrap()).unwrap();
        recorder.take(&message);
        if message["params"]["channel"] == *book {
            books += 1;
            if books % 20 == 0 {
                let Some(fault) = faults.next() else { break };
                scene.sim.faults().inject(fault.clone()).await.unwrap();
            }
            if recorder.is_lost && books % 5 == 0 {
                deribit.unsubscribe(&book).await;
                deribit.subscribe(&book).await;
            }
        }
    }
    scene.sim.pause().await.unwrap();
    // Nothing is on its way any more once there was a pulse to send it and a reply behind it.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    deribit.client.send(&json!({"id": "end", "method": "public/test"}).to_string()).await;
    loop {
        let message: Value = serde_json::from_str(&deribit.next_text().await.unwrap()).unwrap();
        if message["id"] == "end" {
            break;
        }
        recorder.take(&message);
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
    let names: Vec<_> = clean.iter().map(|s| s.series.as_str()).collect();
    assert_eq!(names, ["BTC/USD:BTC/trades", "BTC/USD:BTC/quotes", "BTC/USD:BTC/book"]);
    for series in &clean {
        assert_eq!(numbers(series), (0, 0, 0, 0), "{series:?}");
        assert!(series.sent > 15 && series.stored >= series.sent, "{series:?}");
    }
    let spoiled = |change: &dyn Fn(&mut Recorder)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.audit(&scene, dir.path()).iter().map(numbers).collect::<Vec<_>>()
    };
    let none = (0, 0, 0, 0);
    assert_eq!(spoiled(&|bad| lose(&mut bad.trades)), [(1, 0, 0, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].amount += 10.0), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].ts.0 += 1_000_000), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| lose(&mut bad.quotes)), [none, (1, 0, 0, 0), none]);
    assert_eq!(spoiled(&|bad| bad.quotes[9].bid += 0.1)[1].2, 1);
    let last = good.book.len() - 1;
    assert_eq!(spoiled(&|bad| bad.book[last].amount += 1.0), [none, none, (0, 0, 1, 0)]);
    let middle = good.book[last].update_id;
    assert_eq!(spoiled(&|bad| bad.book.retain(|row| row.update_id != middle)), [none, none, (1, 0, 0, 0)]);
    assert_eq!(spoiled(&|bad| bad.book[3].amount += 1.0), [none, none, (0, 0, 1, 0)]);
    scene.finish().await;
}

#[tokio::test]
async fn what_a_fault_took_is_missing_unless_it_is_declared() {
    let target = || Target::stream("book:BTC-PERPETUAL:100ms");
    let faults = [
        Fault::Drop { target: target(), count: 1 },
        Fault::SequenceReset { symbol: SYMBOL.into() },
        Fault::Reorder { target: target(), count: 1 },
        Fault::Gap { symbol: SYMBOL.into(), channel: "book".into(), count: 3 },
    ];
    let (scene, good) = recorded(&faults).await;
    let dir = tempfile::tempdir().unwrap();
    // All but the reset, which begins with the whole book.
    assert_eq!(good.gaps.len(), 3, "{:?}", good.gaps);
    let series = &good.audit(&scene, dir.path())[2];
    assert_eq!((series.missing, series.duplicate, series.wrong), (0, 0, 0), "{series:?}");
    assert!(series.declared > 0 && series.gaps == 3, "{series:?}");
    let mut silent = good.clone();
    silent.gaps.clear();
    let series = &silent.audit(&scene, dir.path())[2];
    assert!(series.missing > 0 && series.declared == 0, "{series:?}");
    scene.finish().await;
}
