//! The audit of a simulated Bybit: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::path::Path;

use common::bybit::{Bybit, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::Value;

const TOPICS: [&str; 3] = ["publicTrade.BTCUSDT", "orderbook.1.BTCUSDT", "orderbook.50.BTCUSDT"];

/// A recorder of one market on one connection, as simple as can be.
#[derive(Clone, Default)]
struct Recorder {
    symbol: &'static str,
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    book_gaps: Vec<Gap>,
    trade_gaps: Vec<Gap>,
    epoch: u32,
    u: u64,
    is_lost: bool,
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn millis(value: &Value) -> UnixNanos {
    UnixNanos::from_millis(value.as_i64().unwrap())
}

fn gap(from: UnixNanos, to: UnixNanos) -> Gap {
    Gap { from, to, reason: GapReason::Integrity, repaired: false, ids: None }
}

impl Recorder {
    fn take(&mut self, message: &Value) {
        let data = &message["data"];
        match message["topic"].as_str() {
            Some("publicTrade.BTCUSDT") => {
                for row in data.as_array().unwrap() {
                    let id = row["i"].as_str().unwrap();
                    let hex = u128::from_str_radix(&id.replace('-', ""), 16);
                    self.trades.push(TradeRow {
                        ts: millis(&row["T"]),
                        price: number(&row["p"]),
                        amount: number(&row["v"]),
                        side: if row["S"] == "Buy" { Side::Buy } else { Side::Sell },
                        id: TradeId(if id.contains('-') { hex.unwrap() } else { id.parse().unwrap() }),
                        ts_recv: UnixNanos(0),
                    });
                }
            }
            Some("orderbook.1.BTCUSDT") => {
                let row = QuoteRow {
                    ts: millis(&message["cts"]),
                    bid: number(&data["b"][0][0]),
                    bid_amount: number(&data["b"][0][1]),
                    ask: number(&data["a"][0][0]),
                    ask_amount: number(&data["a"][0][1]),
                    ts_recv: UnixNanos(0),
                };
                let values = |row: &QuoteRow| [row.bid, row.bid_amount, row.ask, row.ask_amount].map(f64::to_bits);
                if self.quotes.last().is_none_or(|last| values(last) != values(&row)) {
                    self.quotes.push(row);
                }
            }
            Some("orderbook.50.BTCUSDT") => self.take_book(message),
            _ => {}
        }
    }

    fn take_book(&mut self, message: &Value) {
        let (data, ts) = (&message["data"], millis(&message["cts"]));
        let (u, is_snapshot) = (data["u"].as_u64().unwrap(), message["type"] == "snapshot");
        if is_snapshot {
            self.epoch += 1;
            if let Some(last) = self.book.last().filter(|_| self.is_lost) {
                self.book_gaps.push(gap(last.ts, ts));
            }
            self.is_lost = false;
        } else {
            self.is_lost |= u != self.u + 1;
        }
        self.u = u;
        if self.is_lost {
            return;
        }
        for (name, side) in [("b", BookSide::Bid), ("a", BookSide::Ask)] {
            for level in data[name].as_array().unwrap() {
                let (price, amount, epoch) = (number(&level[0]), number(&level[1]), self.epoch);
                let (count, update_id, ts_recv) = (0, data["seq"].as_u64().unwrap(), UnixNanos(0));
                self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
            }
        }
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("bybit"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let id = SeriesId { exchange: "bybit".parse().unwrap(), symbol: self.symbol.parse().unwrap(), kind };
            let folder = dir.join("bybit").join(channel.directory()).join(id.symbol.path_name());
            std::fs::create_dir_all(&folder).unwrap();
            (id, folder.join("2026-11-27.parquet"))
        };
        let (id, path) = series(Channel::Trades);
        let mut file = ExportWriter::create(&path, &id, self.trade_gaps.clone()).unwrap();
        self.trades.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Quotes);
        let mut file = ExportWriter::create(&path, &id, Vec::new()).unwrap();
        self.quotes.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Book);
        let mut file = ExportWriter::create(&path, &id, self.book_gaps.clone()).unwrap();
        self.book.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        audit(&scene.ledger, dir, "bybit").unwrap().series
    }
}

/// A scene, and what a recorder of a market has of it in which these faults happened one after the other.
async fn recorded(category: &str, symbol: &'static str, faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut bybit = Bybit::connect(&scene.sim, category).await;
    bybit.subscribe(&TOPICS).await;
    let mut recorder = Recorder { symbol, ..Recorder::default() };
    let mut faults = faults.iter();
    let mut resubscribed = 0;
    for n in 1.. {
        let text = bybit.next_text().await.unwrap();
        recorder.take(&serde_json::from_str(&text).unwrap());
        if n % 150 == 0 {
            let Some(fault) = faults.next() else { break };
            scene.sim.faults().inject(fault.clone()).await.unwrap();
        }
        if recorder.is_lost && n > resubscribed + 40 {
            resubscribed = n;
            bybit.ask("unsubscribe", &TOPICS[2..]).await;
            bybit.subscribe(&TOPICS[2..]).await;
        }
    }
    scene.sim.pause().await.unwrap();
    // Nothing comes but best prices that are told again.
    while let Ok(text) = tokio::time::timeout(std::time::Duration::from_millis(500), bybit.next_text()).await {
        recorder.take(&serde_json::from_str(&text.unwrap()).unwrap());
    }
    scene.sim.flush_ledger().await.unwrap();
    (scene, recorder)
}

fn numbers(series: &[SeriesAudit]) -> Vec<(u64, u64, u64, u64)> {
    series.iter().map(|series| (series.missing, series.duplicate, series.wrong, series.declared)).collect()
}

fn lose<T>(rows: &mut Vec<T>, at: usize) {
    rows.remove(at);
}

const NONE: (u64, u64, u64, u64) = (0, 0, 0, 0);

#[tokio::test]
async fn what_was_recorded_as_it_should_be_is_clean_and_each_lack_is_found() {
    for (category, symbol) in [("spot", "BTC/USDT"), ("linear", "BTC/USDT:USDT")] {
        let (scene, good) = recorded(category, symbol, &[]).await;
        let dir = tempfile::tempdir().unwrap();
        let clean = good.audit(&scene, dir.path());
        let names = ["trades", "quotes", "book"].map(|kind| format!("{symbol}/{kind}"));
        assert_eq!(clean.iter().map(|series| series.series.clone()).collect::<Vec<_>>(), names);
        assert_eq!(numbers(&clean), [NONE; 3], "{clean:?}");
        assert!(clean.iter().all(|series| series.sent > 20), "{clean:?}");
        let spoiled = |change: &dyn Fn(&mut Recorder)| {
            let mut bad = good.clone();
            change(&mut bad);
            numbers(&bad.audit(&scene, dir.path()))
        };
        let middle = good.trades.len() / 2;
        assert_eq!(spoiled(&|bad| lose(&mut bad.trades, middle)), [(1, 0, 0, 0), NONE, NONE]);
        let (from, to) = (good.trades[middle - 1].ts, good.trades[middle + 1].ts);
        let declared = spoiled(&|bad| {
            bad.trades.remove(middle);
            bad.trade_gaps.push(gap(from, to));
        });
        assert_eq!(declared, [(0, 0, 0, 1), NONE, NONE]);
        assert_eq!(spoiled(&|bad| bad.trades[middle].price += 1.0), [(0, 0, 1, 0), NONE, NONE]);
        assert_eq!(spoiled(&|bad| bad.trades.insert(middle, bad.trades[middle])), [(0, 1, 0, 0), NONE, NONE]);
        let quote = good.quotes.len() / 2;
        assert_eq!(spoiled(&|bad| lose(&mut bad.quotes, quote)), [NONE, (1, 0, 0, 0), NONE]);
        assert_eq!(spoiled(&|bad| bad.quotes[quote].bid += 0.5), [NONE, (1, 0, 1, 0), NONE]);
        let update = good.book.len() - 1 - good.book.iter().rev().position(|row| row.amount > 0.0).unwrap();
        let wrong = spoiled(&|bad| bad.book[update].amount += 1.0);
        assert!(wrong[..2] == [NONE; 2] && wrong[2].2 > 0, "{wrong:?}");
        let unstored = spoiled(&|bad| bad.book.retain(|row| row.is_snapshot));
        assert!(unstored[2].0 > 20, "{unstored:?}");
        scene.finish().await;
    }
}

#[tokio::test]
async fn faults_cost_what_they_cost_and_no_more() {
    let stream = |name: &str| Target::stream(&format!("spot:{name}:BTCUSDT"));
    let faults = [
        Fault::Drop { target: Target::stream("spot:orderbook:BTCUSDT:50"), count: 1 },
        Fault::Gap { symbol: "BTC/USDT".into(), channel: "book".into(), count: 2 },
        Fault::SequenceReset { symbol: "BTC/USDT".into() },
        Fault::Duplicate { target: stream("publicTrade"), count: 2 },
        Fault::Gap { symbol: "BTC/USDT".into(), channel: "trades".into(), count: 3 },
        Fault::Delay { target: stream("publicTrade"), count: 1, ms: 50 },
    ];
    let (scene, mut recorder) = recorded("spot", "BTC/USDT", &faults).await;
    assert!(recorder.epoch >= 4, "{}", recorder.epoch);
    let mut seen = std::collections::BTreeSet::new();
    recorder.trades.retain(|row| seen.insert(row.id.0));
    recorder.trades.sort_by_key(|row| (row.ts, row.id.0));
    let dir = tempfile::tempdir().unwrap();
    let outcome = recorder.audit(&scene, dir.path());
    let clean = numbers(&outcome);
    assert_eq!(clean[..2], [NONE; 2], "{outcome:?}");
    assert!(clean[2].0 == 0 && clean[2].2 == 0 && clean[2].3 > 0, "{outcome:?}");
    // The same without its gaps.
    recorder.book_gaps.clear();
    assert!(numbers(&recorder.audit(&scene, dir.path()))[2].0 > 0);
    scene.finish().await;
}

#[tokio::test]
async fn spot_trades_that_nobody_was_sent_are_missed() {
    let fault = Fault::Drop { target: Target::stream("spot:publicTrade:BTCUSDT"), count: 2 };
    let (scene, mut recorder) = recorded("spot", "BTC/USDT", &[fault]).await;
    let dir = tempfile::tempdir().unwrap();
    let outcome = recorder.audit(&scene, dir.path());
    assert!(outcome[0].missing >= 2 && outcome[0].wrong == 0, "{outcome:?}");
    let at = recorder.trades.windows(2).position(|pair| pair[1].id.0 > pair[0].id.0 + 1).unwrap();
    recorder.trade_gaps.push(gap(recorder.trades[at].ts, recorder.trades[at + 1].ts));
    let declared = recorder.audit(&scene, dir.path());
    assert_eq!((declared[0].missing, declared[0].declared), (0, outcome[0].missing));
    scene.finish().await;
}
