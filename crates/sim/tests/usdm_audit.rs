//! The audit of the simulated Binance's perpetuals: what a recorder that does as it should has stored is clean, each lack of it is found,
//! and spot of the same name is not mixed in.

mod common;

use std::path::Path;

use common::usdm::{Applied, Book, options};
use common::{Client, Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::Fault;
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::Value;

/// A recorder of one perpetual on two connections, as simple as can be.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    book_gaps: Vec<Gap>,
    trade_gaps: Vec<Gap>,
    kept: Option<Book>,
    epoch: u32,
    /// When the book was lost.
    lost: Option<UnixNanos>,
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn millis(value: &Value) -> UnixNanos {
    UnixNanos::from_millis(value.as_i64().unwrap())
}

fn gap(from: UnixNanos, to: UnixNanos, ids: Option<(u64, u64)>) -> Gap {
    Gap { from, to, reason: GapReason::Integrity, repaired: false, ids }
}

impl Recorder {
    async fn take(&mut self, scene: &Scene, message: &Value) {
        match message["e"].as_str() {
            Some("aggTrade") => self.trades.push(TradeRow {
                ts: millis(&message["T"]),
                price: number(&message["p"]),
                amount: number(&message["q"]),
                side: if message["m"] == true { Side::Sell } else { Side::Buy },
                id: TradeId(message["a"].as_u64().unwrap().into()),
                ts_recv: UnixNanos(0),
            }),
            Some("bookTicker") => self.quotes.push(QuoteRow {
                ts: millis(&message["T"]),
                bid: number(&message["b"]),
                bid_amount: number(&message["B"]),
                ask: number(&message["a"]),
                ask_amount: number(&message["A"]),
                ts_recv: UnixNanos(0),
            }),
            Some("depthUpdate") => self.take_book(scene, message).await,
            other => panic!("{other:?} {message}"),
        }
    }

    async fn take_book(&mut self, scene: &Scene, message: &Value) {
        if self.kept.is_none() {
            let snapshot = common::get(&scene.sim, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.json();
            self.epoch += 1;
            let at = millis(&snapshot["T"]);
            if let Some(from) = self.lost.take() {
                self.book_gaps.push(gap(from, at, None));
            }
            self.rows(&snapshot, ["bids", "asks"], at, snapshot["lastUpdateId"].as_u64().unwrap(), true);
            self.kept = Some(Book::of(&snapshot));
        }
        let applied = self.kept.as_mut().map(|kept| kept.apply(message));
        match applied {
            Some(Applied::Yes) => {
                self.rows(message, ["b", "a"], millis(&message["T"]), message["u"].as_u64().unwrap(), false)
            }
            Some(Applied::Gap) => {
                self.kept = None;
                self.lost = self.book.last().map(|row| row.ts);
            }
            Some(Applied::Old) | None => {}
        }
    }

    fn rows(&mut self, value: &Value, keys: [&str; 2], ts: UnixNanos, update_id: u64, is_snapshot: bool) {
        // The diff that a snapshot's last change is in may be older than the snapshot.
        let ts = self.book.last().map_or(ts, |row| row.ts.max(ts));
        for (key, side) in keys.into_iter().zip([BookSide::Bid, BookSide::Ask]) {
            for level in value[key].as_array().unwrap() {
                let (price, amount, epoch) = (number(&level[0]), number(&level[1]), self.epoch);
                let (count, ts_recv) = (0, UnixNanos(0));
                self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
            }
        }
    }

    /// The outcome of an audit with these files, as the market of this name.
    fn audit_as(&self, symbol: &str, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("binance"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let id = SeriesId { exchange: "binance".parse().unwrap(), symbol: symbol.parse().unwrap(), kind };
            let folder = dir.join("binance").join(channel.directory()).join(id.symbol.path_name());
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
        audit(&scene.ledger, dir, "binance").unwrap().series
    }

    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        self.audit_as("BTC/USDT:USDT", scene, dir)
    }
}

/// A scene, and what a recorder has of it in which these faults happened one after the other.
async fn recorded(faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut public = Client::connect(&scene.sim, "/public/ws/btcusdt@depth@100ms/btcusdt@bookTicker").await;
    let mut market = Client::connect(&scene.sim, "/market/ws/btcusdt@aggTrade").await;
    // The best levels have the form of diffs; they must not be taken for some.
    let _best = Client::connect(&scene.sim, "/public/ws/btcusdt@depth5@100ms").await;
    let mut recorder = Recorder::default();
    let mut faults = faults.iter();
    for n in 1.. {
        let text = tokio::select! { text = public.next_text() => text, text = market.next_text() => text };
        recorder.take(&scene, &serde_json::from_str(&text).unwrap()).await;
        if n % 200 == 0 {
            let Some(fault) = faults.next() else { break };
            scene.sim.faults().inject(fault.clone()).await.unwrap();
        }
    }
    scene.sim.pause().await.unwrap();
    for client in [&mut public, &mut market] {
        while let Ok(text) = tokio::time::timeout(std::time::Duration::from_millis(500), client.next_text()).await {
            recorder.take(&scene, &serde_json::from_str(&text).unwrap()).await;
        }
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
    let (scene, good) = recorded(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let clean = good.audit(&scene, dir.path());
    assert_eq!(
        clean.iter().map(|s| s.series.as_str()).collect::<Vec<_>>(),
        ["trades", "quotes", "book"].map(|kind| { format!("usdm:btcusdt/{kind}") })
    );
    assert_eq!(numbers(&clean), [NONE; 3], "{clean:?}");
    assert!(clean.iter().all(|series| series.sent >= 3), "{clean:?}");
    let spoiled = |change: &dyn Fn(&mut Recorder)| {
        let mut bad = good.clone();
        change(&mut bad);
        numbers(&bad.audit(&scene, dir.path()))
    };
    let middle = good.trades.len() / 2;
    let lacking = spoiled(&|bad| lose(&mut bad.trades, middle));
    assert_eq!(lacking, [(1, 0, 0, 0), NONE, NONE]);
    let id = u64::try_from(good.trades[middle].id.0).unwrap();
    let (from, to) = (good.trades[middle - 1].ts, good.trades[middle + 1].ts);
    let declared = spoiled(&|bad| {
        bad.trades.remove(middle);
        bad.trade_gaps.push(gap(from, to, Some((id, id))));
    });
    assert_eq!(declared, [(0, 0, 0, 1), NONE, NONE]);
    assert_eq!(spoiled(&|bad| bad.trades[middle].price += 1.0), [(0, 0, 1, 0), NONE, NONE]);
    let quote = good.quotes.len() / 2;
    assert_eq!(spoiled(&|bad| lose(&mut bad.quotes, quote)), [NONE, (1, 0, 0, 0), NONE]);
    let unstored = spoiled(&|bad| bad.book.retain(|row| row.is_snapshot));
    assert!(unstored[..2] == [NONE; 2] && unstored[2].0 >= 3, "{unstored:?}");
    // Under the name of the spot market it is none of this one.
    let elsewhere = good.audit_as("BTC/USDT", &scene, dir.path());
    assert!(elsewhere.iter().all(|series| series.stored == 0 && !series.is_clean()), "{elsewhere:?}");
    scene.finish().await;
}

#[tokio::test]
async fn faults_cost_what_they_cost_and_no_more() {
    let symbol = "BTC/USDT:USDT".to_owned();
    let faults = [
        Fault::Gap { symbol: symbol.clone(), channel: "book".into(), count: 3 },
        Fault::SequenceReset { symbol },
        Fault::Delay { target: dccd_sim::Target::stream("usdm:btcusdt@aggTrade"), count: 1, ms: 50 },
    ];
    let (scene, mut recorder) = recorded(&faults).await;
    assert!(recorder.epoch >= 3, "{}", recorder.epoch);
    let dir = tempfile::tempdir().unwrap();
    let outcome = recorder.audit(&scene, dir.path());
    let found = numbers(&outcome);
    assert_eq!(found[..2], [NONE; 2], "{outcome:?}");
    assert!(found[2].0 == 0 && found[2].2 == 0 && found[2].3 > 0, "{outcome:?}");
    // The same without its gaps.
    recorder.book_gaps.clear();
    assert!(numbers(&recorder.audit(&scene, dir.path()))[2].0 > 0);
    scene.finish().await;
}
