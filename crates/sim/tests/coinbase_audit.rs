//! The audit of a simulated Coinbase: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::coinbase::{Coinbase, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Disconnection, Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::Value;

const ID: &str = "BTC-USD";
const CHANNELS: [&str; 3] = ["matches", "ticker", "level2_batch"];

/// A recorder of one product, as simple as can be.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    /// The rows of the book, by their places, that end a level which wasn't there.
    idle: Vec<usize>,
    /// Levels that are there: the side, and the bits of the price.
    levels: BTreeSet<(bool, u64)>,
    gaps: Vec<Gap>,
    quote_gaps: Vec<Gap>,
    /// Whether a connection ended since the last quote.
    was_cut: bool,
    epoch: u32,
    /// Of the last update, or of when a snapshot came.
    ts: UnixNanos,
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn ts(message: &Value) -> UnixNanos {
    let text = message["time"].as_str().unwrap();
    let day = dccd_model::time::day_start(dccd_model::time::day_from_label(&text[..10]).unwrap()).0;
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let seconds = number(11..13) * 3_600 + number(14..16) * 60 + number(17..19);
    UnixNanos(day + seconds * 1_000_000_000 + number(20..26) * 1_000)
}

/// The clock of the receiver: a snapshot has no time of its own.
fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap())
}

impl Recorder {
    fn take(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("match" | "last_match") => {
                let id = TradeId(message["trade_id"].as_u64().unwrap().into());
                // Shown again after a connection ended.
                if self.trades.iter().any(|row| row.id == id) {
                    return;
                }
                let (price, amount) = (number(&message["price"]), number(&message["size"]));
                // The side is the maker's.
                let side = if message["side"] == "buy" { Side::Sell } else { Side::Buy };
                self.trades.push(TradeRow { ts: ts(message), price, amount, side, id, ts_recv: UnixNanos(0) });
            }
            Some("ticker") => {
                let [bid, bid_amount, ask, ask_amount] =
                    ["best_bid", "best_bid_size", "best_ask", "best_ask_size"].map(|key| number(&message[key]));
                let row = QuoteRow { ts: ts(message), bid, bid_amount, ask, ask_amount, ts_recv: UnixNanos(0) };
                let was_cut = std::mem::take(&mut self.was_cut);
                if let Some(last) = self.quotes.last().filter(|last| was_cut && last.ts < row.ts) {
                    let reason = GapReason::Disconnected;
                    self.quote_gaps.push(Gap { from: last.ts, to: row.ts, reason, repaired: false, ids: None });
                }
                self.quotes.push(row);
            }
            Some("snapshot") => {
                self.epoch += 1;
                self.levels.clear();
                let ts = now();
                if let Some(last) = self.book.last() {
                    self.gaps.push(Gap {
                        from: last.ts,
                        to: ts,
                        reason: GapReason::Disconnected,
                        repaired: false,
                        ids: None,
                    });
                }
                for (name, side) in [("bids", BookSide::Bid), ("asks", BookSide::Ask)] {
                    for level in message[name].as_array().unwrap() {
                        self.level(ts, side, &level[0], &level[1], true);
                    }
                }
            }
            Some("l2update") => {
                for change in message["changes"].as_array().unwrap() {
                    let side = if change[0] == "buy" { BookSide::Bid } else { BookSide::Ask };
                    self.level(ts(message), side, &change[1], &change[2], false);
                }
            }
            _ => {}
        }
    }

    fn level(&mut self, ts: UnixNanos, side: BookSide, price: &Value, amount: &Value, is_snapshot: bool) {
        let (epoch, price, amount) = (self.epoch, number(price), number(amount));
        let key = (side == BookSide::Bid, price.to_bits());
        if amount > 0.0 {
            self.levels.insert(key);
        } else if !self.levels.remove(&key) {
            self.idle.push(self.book.len());
        }
        // Times of a series never go back.
        self.ts = self.ts.max(ts);
        let (ts, count, ts_recv) = (self.ts, 0, UnixNanos(0));
        let update_id = u64::try_from(ts.0).unwrap();
        self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("coinbase"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let series = SeriesId { exchange: "coinbase".parse().unwrap(), symbol: "BTC/USD".parse().unwrap(), kind };
            let folder = dir.join("coinbase").join(channel.directory()).join("BTC-USD");
            std::fs::create_dir_all(&folder).unwrap();
            (series, folder.join("2026-11-27.parquet"))
        };
        let (id, path) = series(Channel::Trades);
        let gaps = self.lost_ids();
        let mut file = ExportWriter::create(&path, &id, gaps).unwrap();
        let mut trades = self.trades.clone();
        trades.sort_by_key(|row| (row.ts, row.id.0));
        trades.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Quotes);
        let mut file = ExportWriter::create(&path, &id, self.quote_gaps.clone()).unwrap();
        self.quotes.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Book);
        let mut file = ExportWriter::create(&path, &id, self.gaps.clone()).unwrap();
        self.book.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        audit(&scene.ledger, dir, "coinbase").unwrap().series
    }

    /// Trades between those it has.
    fn lost_ids(&self) -> Vec<Gap> {
        if self.gaps.is_empty() {
            return Vec::new();
        }
        let holes = self.trades.windows(2).filter(|pair| pair[1].id.0 > pair[0].id.0 + 1);
        let gap = |pair: &[TradeRow]| {
            let ids = (u64::try_from(pair[0].id.0).unwrap() + 1, u64::try_from(pair[1].id.0).unwrap() - 1);
            Gap { from: pair[0].ts, to: pair[1].ts, reason: GapReason::Disconnected, repaired: false, ids: Some(ids) }
        };
        holes.map(gap).collect()
    }
}

/// What a recorder has of a scene in which these faults happened, each after so many messages of the book.
async fn recorded(faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut coinbase = Coinbase::connect(&scene.sim).await;
    coinbase.subscribe(&CHANNELS, ID).await;
    let mut recorder = Recorder::default();
    let (mut faults, mut books) = (faults.iter(), 0);
    loop {
        let Ok(text) = coinbase.next_text().await else {
            coinbase = Coinbase::connect(&scene.sim).await;
            coinbase.subscribe(&CHANNELS, ID).await;
            recorder.was_cut = true;
            continue;
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        recorder.take(&message);
        if message["type"] == "l2update" {
            books += 1;
            if books % 20 == 0 {
                let Some(fault) = faults.next() else { break };
                scene.sim.faults().inject(fault.clone()).await.unwrap();
            }
        }
    }
    scene.sim.pause().await.unwrap();
    // Two heartbeats later nothing is on its way any more.
    coinbase.subscribe(&["heartbeat"], ID).await;
    let mut beats = 0;
    while beats < 2 {
        let message: Value = serde_json::from_str(&coinbase.next_text().await.unwrap()).unwrap();
        beats += usize::from(message["type"] == "heartbeat");
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
    assert_eq!(names, ["BTC/USD/trades", "BTC/USD/quotes", "BTC/USD/book"]);
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
    // The maker's side where the taker's belongs.
    let turned = |bad: &mut Recorder| {
        let side = &mut bad.trades[7].side;
        *side = if *side == Side::Buy { Side::Sell } else { Side::Buy };
    };
    assert_eq!(spoiled(&turned), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].ts.0 += 1_000), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.quotes[9].bid += 0.1)[1].2, 1);
    // Each is a record, whether the best prices moved or not.
    let prices = |row: &QuoteRow| [row.bid, row.bid_amount, row.ask, row.ask_amount].map(f64::to_bits);
    let again = (30..good.quotes.len()).find(|at| prices(&good.quotes[*at]) == prices(&good.quotes[at - 1]));
    for at in [good.quotes.len() / 2, again.expect("a quote that says what the last one said")] {
        let less = |bad: &mut Recorder| {
            bad.quotes.remove(at);
        };
        assert_eq!(spoiled(&less), [none, (1, 0, 0, 0), none]);
    }
    let last = good.book.len() - 1;
    assert!(spoiled(&|bad| bad.book[last].amount += 1.0)[2].2 > 0);
    let middle = good.book[last].update_id;
    assert_eq!(spoiled(&|bad| bad.book.retain(|row| row.update_id != middle)), [none, none, (1, 0, 0, 0)]);
    assert!(spoiled(&|bad| bad.book[3].amount += 1.0)[2].2 > 0);
    scene.finish().await;
}

#[tokio::test]
async fn what_a_lost_connection_took_is_missing_unless_it_is_declared_and_what_nobody_can_know_is_not() {
    let faults = [
        // Nothing tells of it: no client has it, and none is blamed.
        Fault::Drop { target: Target::stream("level2_batch:BTC-USD"), count: 2 },
        Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt },
        Fault::Disconnect { target: Target::default(), how: Disconnection::Clean },
    ];
    let (scene, good) = recorded(&faults).await;
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(good.gaps.len(), 2, "{:?}", good.gaps);
    for series in &good.audit(&scene, dir.path()) {
        assert_eq!((series.missing, series.duplicate, series.wrong), (0, 0, 0), "{series:?}");
    }
    let mut silent = good.clone();
    silent.gaps.clear();
    // Between two connections trades happened, and what the second one saw of the book begins anew.
    silent.epoch = 1;
    silent.book.iter_mut().for_each(|row| row.epoch = 1);
    let series = silent.audit(&scene, dir.path());
    assert!(series[0].missing > 0 || series[2].wrong > 0, "{series:?}");
    scene.finish().await;
}

#[tokio::test]
async fn a_message_that_came_again_may_say_less_and_nothing_less_than_it_said_at_first() {
    let target = || Target::stream("level2_batch:BTC-USD");
    let faults = [Fault::Duplicate { target: target(), count: 5 }, Fault::Drop { target: target(), count: 2 }];
    let (scene, good) = recorded(&faults).await;
    let dir = tempfile::tempdir().unwrap();
    let none = [(0, 0, 0, 0); 3];
    let numbers = |recorder: &Recorder| recorder.audit(&scene, dir.path()).iter().map(numbers).collect::<Vec<_>>();
    assert_eq!(numbers(&good), none);
    // What it ends was ended.
    let without = |lost: &[usize]| {
        let mut less = good.clone();
        let mut place = 0..;
        less.book.retain(|_| place.next().is_none_or(|at| !lost.contains(&at)));
        numbers(&less)
    };
    assert!(!good.idle.is_empty());
    assert_eq!(without(&good.idle), none);
    // An end of what was there is another thing.
    let is_end = |at: &usize| !good.book[*at].is_snapshot && good.book[*at].amount == 0.0 && !good.idle.contains(at);
    let end = (0..good.book.len()).find(is_end).expect("an end of a level");
    assert!(without(&[end])[2].2 > 0);
    scene.finish().await;
}
