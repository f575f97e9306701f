//! The audit of a simulated OKX: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::path::Path;

use common::okx::{Okx, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::Value;

const ID: &str = "BTC-USDT-SWAP";
const SYMBOL: &str = "BTC/USDT:USDT";

/// A recorder of one perpetual, as simple as can be.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    gaps: Vec<Gap>,
    epoch: u32,
    seq: u64,
    is_lost: bool,
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn ts(row: &Value) -> UnixNanos {
    UnixNanos::from_millis(text(row, "ts").parse().unwrap())
}

/// Contracts of a hundredth, as the double nearest to their digits.
fn amount(contracts: &str) -> f64 {
    let (whole, fraction) = contracts.split_once('.').unwrap_or((contracts, ""));
    format!("{whole}{fraction:0<2}e-4").parse().unwrap()
}

fn level(level: &Value) -> (f64, f64) {
    (level[0].as_str().unwrap().parse().unwrap(), amount(level[1].as_str().unwrap()))
}

impl Recorder {
    fn take(&mut self, message: &Value) {
        let row = &message["data"][0];
        match message["arg"]["channel"].as_str() {
            Some("trades-all") => {
                let id = TradeId(text(row, "tradeId").parse::<u64>().unwrap().into());
                let (price, amount) = (text(row, "px").parse().unwrap(), amount(text(row, "sz")));
                let side = if text(row, "side") == "buy" { Side::Buy } else { Side::Sell };
                self.trades.push(TradeRow { ts: ts(row), price, amount, side, id, ts_recv: UnixNanos(0) });
            }
            Some("bbo-tbt") => {
                let ((bid, bid_amount), (ask, ask_amount)) = (level(&row["bids"][0]), level(&row["asks"][0]));
                self.quotes.push(QuoteRow { ts: ts(row), bid, bid_amount, ask, ask_amount, ts_recv: UnixNanos(0) });
            }
            Some("books") if row.is_object() => self.take_book(row, message["action"] == "snapshot"),
            _ => {}
        }
    }

    fn take_book(&mut self, row: &Value, is_snapshot: bool) {
        let (ts, update_id) = (ts(row), row["seqId"].as_u64().unwrap());
        if is_snapshot {
            self.epoch += 1;
            if let Some(last) = self.book.last().filter(|_| self.is_lost) {
                self.gaps.push(Gap { from: last.ts, to: ts, reason: GapReason::Sequence, repaired: false, ids: None });
            }
            self.is_lost = false;
        } else if row["prevSeqId"].as_u64() != Some(self.seq) {
            self.is_lost = true;
        }
        if self.is_lost {
            return;
        }
        self.seq = update_id;
        for (name, side) in [("bids", BookSide::Bid), ("asks", BookSide::Ask)] {
            for (price, amount) in row[name].as_array().unwrap().iter().map(level) {
                let epoch = self.epoch;
                let (count, ts_recv) = (0, UnixNanos(0));
                self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
            }
        }
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("okx"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let series = SeriesId { exchange: "okx".parse().unwrap(), symbol: SYMBOL.parse().unwrap(), kind };
            let folder = dir.join("okx").join(channel.directory()).join("BTC-USDT_USDT");
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
        audit(&scene.ledger, dir, "okx").unwrap().series
    }
}

/// What a recorder has of a scene in which these faults happened to the book, each after so many of its messages.
async fn recorded(faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut public = Okx::connect(&scene.sim, "public").await;
    let mut business = Okx::connect(&scene.sim, "business").await;
    business.subscribe("trades-all", ID).await;
    public.subscribe("bbo-tbt", ID).await;
    public.subscribe("books", ID).await;
    let mut recorder = Recorder::default();
    let (mut faults, mut books) = (faults.iter(), 0);
    loop {
        let text = public.next_text().await.unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        recorder.take(&message);
        if message["arg"]["channel"] == "books" {
            books += 1;
            if books % 20 == 0 {
                let Some(fault) = faults.next() else { break };
                scene.sim.faults().inject(fault.clone()).await.unwrap();
            }
            if recorder.is_lost && books % 5 == 0 {
                public.ask(&format!(r#"{{"op":"unsubscribe","args":[{{"channel":"books","instId":"{ID}"}}]}}"#)).await;
                public.subscribe("books", ID).await;
            }
        }
    }
    scene.sim.pause().await.unwrap();
    // Nothing is on its way any more once both have had a pulse to send it and a pong behind it.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    for okx in [&mut public, &mut business] {
        okx.client.send("ping").await;
        loop {
            let text = okx.next_text().await.unwrap();
            if text == "pong" {
                break;
            }
            recorder.take(&serde_json::from_str(&text).unwrap());
        }
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
    assert_eq!(names, ["BTC/USDT:USDT/trades", "BTC/USDT:USDT/quotes", "BTC/USDT:USDT/book"]);
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
    // Contracts where the base currency belongs.
    assert_eq!(spoiled(&|bad| bad.trades[7].amount *= 100.0), [(0, 0, 1, 0), none, none]);
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
    let target = || Target::stream("books:BTC-USDT-SWAP");
    let faults = [
        Fault::Drop { target: target(), count: 1 },
        Fault::SequenceReset { symbol: SYMBOL.into() },
        Fault::Reorder { target: target(), count: 1 },
        Fault::Gap { symbol: SYMBOL.into(), channel: "book".into(), count: 3 },
    ];
    let (scene, good) = recorded(&faults).await;
    let dir = tempfile::tempdir().unwrap();
    // All but the reset, after which the chain holds.
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
