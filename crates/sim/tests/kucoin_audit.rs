//! The audit of a simulated KuCoin: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::path::Path;

use common::kucoin::{Kucoin, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::{Value, json};

const ID: &str = "BTC-USDT";
const SYMBOL: &str = "BTC/USDT";

/// A recorder of one market, as simple as can be: trades and quotes of the classic socket, the book of the other.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    gaps: Vec<Gap>,
    trade_gaps: Vec<Gap>,
    epoch: u32,
    seq: u64,
    is_lost: bool,
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

impl Recorder {
    fn take(&mut self, message: &Value) {
        let data = &message["data"];
        match message["subject"].as_str() {
            Some("trade.l3match") => {
                let id = TradeId(text(data, "tradeId").parse::<u64>().unwrap().into());
                let (price, amount) = (number(&data["price"]), number(&data["size"]));
                let side = if text(data, "side") == "buy" { Side::Buy } else { Side::Sell };
                let ts = UnixNanos(text(data, "time").parse().unwrap());
                self.trades.push(TradeRow { ts, price, amount, side, id, ts_recv: UnixNanos(0) });
            }
            Some("level1") => {
                let [bid, bid_amount] = [0, 1].map(|at| number(&data["bids"][at]));
                let [ask, ask_amount] = [0, 1].map(|at| number(&data["asks"][at]));
                let ts = UnixNanos::from_millis(data["timestamp"].as_i64().unwrap());
                self.quotes.push(QuoteRow { ts, bid, bid_amount, ask, ask_amount, ts_recv: UnixNanos(0) });
            }
            _ if message["T"] == "obu.SPOT" => self.take_book(&message["d"], message["t"] == "snapshot"),
            _ => {}
        }
    }

    fn take_book(&mut self, row: &Value, is_snapshot: bool) {
        let (first, update_id) = (row["O"].as_u64().unwrap(), row["C"].as_u64().unwrap());
        let ts = UnixNanos(row["M"].as_i64().unwrap());
        if is_snapshot {
            self.epoch += 1;
            if let Some(last) = self.book.last().filter(|_| self.is_lost) {
                self.gaps.push(Gap { from: last.ts, to: ts, reason: GapReason::Sequence, repaired: false, ids: None });
            }
            self.is_lost = false;
        } else if first != self.seq + 1 {
            self.is_lost = true;
        }
        if self.is_lost {
            return;
        }
        self.seq = update_id;
        for (name, side) in [("b", BookSide::Bid), ("a", BookSide::Ask)] {
            for level in row[name].as_array().unwrap() {
                let (price, amount) = (number(&level[0]), number(&level[1]));
                let (epoch, count, ts_recv) = (self.epoch, 0, UnixNanos(0));
                self.book.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
            }
        }
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("kucoin"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let series = SeriesId { exchange: "kucoin".parse().unwrap(), symbol: SYMBOL.parse().unwrap(), kind };
            let folder = dir.join("kucoin").join(channel.directory()).join("BTC-USDT");
            std::fs::create_dir_all(&folder).unwrap();
            (series, folder.join("2026-11-27.parquet"))
        };
        let (id, path) = series(Channel::Trades);
        let mut file = ExportWriter::create(&path, &id, self.trade_gaps.clone()).unwrap();
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
        audit(&scene.ledger, dir, "kucoin").unwrap().series
    }
}

/// What a recorder has of a scene in which these faults happened, each after so many messages of the book.
async fn recorded(faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut classic = Kucoin::classic(&scene.sim).await;
    let mut unified = Kucoin::unified(&scene.sim).await;
    classic.subscribe("/market/match:BTC-USDT").await;
    classic.subscribe("/spotMarket/level1:BTC-USDT").await;
    let depth = || json!({"depth": "increment@10ms"});
    unified.follow("obu", ID, depth()).await;
    let mut recorder = Recorder::default();
    let (mut faults, mut books) = (faults.iter(), 0);
    loop {
        recorder.take(&unified.next_of("obu.SPOT").await.0);
        books += 1;
        if books % 10 == 0 {
            let Some(fault) = faults.next() else { break };
            scene.sim.faults().inject(fault.clone()).await.unwrap();
        }
        if recorder.is_lost && books % 5 == 0 {
            let mut end = json!({"id": "0", "action": "unsubscribe", "channel": "obu", "tradeType": "SPOT", "symbol": ID});
            end["depth"] = "increment@10ms".into();
            unified.ask(&end.to_string()).await;
            unified.follow("obu", ID, depth()).await;
        }
    }
    scene.sim.pause().await.unwrap();
    // Nothing is on its way any more once both have had a pulse to send it and a pong behind it.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    for kucoin in [&mut classic, &mut unified] {
        kucoin.client.send(r#"{"id":"end","type":"ping"}"#).await;
        loop {
            let text = kucoin.next_text().await.unwrap();
            if text.contains(r#""id":"end""#) {
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
fn lose<T>(rows: &mut Vec<T>) -> T {
    rows.remove(rows.len() / 2)
}

#[tokio::test]
async fn what_was_recorded_as_it_should_be_is_clean_and_each_lack_is_found() {
    let (scene, good) = recorded(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let clean = good.audit(&scene, dir.path());
    let names: Vec<_> = clean.iter().map(|s| s.series.as_str()).collect();
    assert_eq!(names, ["BTC/USDT/trades", "BTC/USDT/quotes", "BTC/USDT/book"]);
    for series in &clean {
        assert_eq!(numbers(series), (0, 0, 0, 0), "{series:?}");
        assert!(series.sent > 5 && series.stored >= series.sent, "{series:?}");
    }
    let spoiled = |change: &dyn Fn(&mut Recorder)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.audit(&scene, dir.path()).iter().map(numbers).collect::<Vec<_>>()
    };
    let none = (0, 0, 0, 0);
    assert_eq!(spoiled(&|bad| _ = lose(&mut bad.trades)), [(1, 0, 0, 0), none, none]);
    // Ids don't tell that something is missing: times do.
    let declared = spoiled(&|bad| {
        let ts = lose(&mut bad.trades).ts;
        bad.trade_gaps.push(Gap { from: ts, to: ts, reason: GapReason::Disconnected, repaired: false, ids: None });
    });
    assert_eq!(declared, [(0, 0, 0, 1), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].amount *= 100.0), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| bad.trades[7].ts.0 += 1_000_000), [(0, 0, 1, 0), none, none]);
    assert_eq!(spoiled(&|bad| _ = lose(&mut bad.quotes)), [none, (1, 0, 0, 0), none]);
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
    let target = || Target::stream("obu:BTC-USDT");
    let faults = [
        Fault::Drop { target: target(), count: 1 },
        Fault::Reorder { target: target(), count: 1 },
        Fault::Gap { symbol: SYMBOL.into(), channel: "book".into(), count: 3 },
        Fault::Drop { target: Target::stream("match:BTC-USDT"), count: 2 },
    ];
    let (scene, good) = recorded(&faults).await;
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(good.gaps.len(), 3, "{:?}", good.gaps);
    let all = good.audit(&scene, dir.path());
    let series = &all[2];
    assert_eq!((series.missing, series.duplicate, series.wrong), (0, 0, 0), "{series:?}");
    assert!(series.declared > 0 && series.gaps == 3, "{series:?}");
    // Trades that nobody was sent happened nevertheless.
    assert_eq!(numbers(&all[0]), (2, 0, 0, 0), "{:?}", all[0]);
    let mut silent = good.clone();
    silent.gaps.clear();
    let series = &silent.audit(&scene, dir.path())[2];
    assert!(series.missing > 0 && series.declared == 0, "{series:?}");
    scene.finish().await;
}

/// The book of the classic socket, as one writes it who begins it over REST.
#[tokio::test]
async fn a_book_of_the_classic_socket_is_held_against_its_updates() {
    let scene = start(options()).await;
    let mut kucoin = Kucoin::classic(&scene.sim).await;
    kucoin.subscribe("/market/level2:BTC-USDT").await;
    kucoin.next_of("/market/level2:BTC-USDT").await;
    let body = common::get(&scene.sim, "/api/v1/market/orderbook/level2_100?symbol=BTC-USDT").await.json();
    let mut recorder = Recorder { epoch: 1, ..Recorder::default() };
    let row = |ts, side, level: &Value, update_id, is_snapshot| {
        let (price, amount) = (number(&level[0]), number(&level[1]));
        BookRow { ts, side, price, amount, count: 0, is_snapshot, ts_recv: UnixNanos(0), update_id, epoch: 1 }
    };
    let sides = [("bids", BookSide::Bid), ("asks", BookSide::Ask)];
    let begin: u64 = text(&body["data"], "sequence").parse().unwrap();
    for (name, side) in sides {
        let ts = UnixNanos::from_millis(body["data"]["time"].as_i64().unwrap());
        recorder.book.extend(body["data"][name].as_array().unwrap().iter().map(|level| row(ts, side, level, begin, true)));
    }
    let mut updates = 0;
    loop {
        let text = kucoin.next_text().await.unwrap();
        if text.contains(r#""id":"end""#) {
            break;
        }
        let data = serde_json::from_str::<Value>(&text).unwrap()["data"].clone();
        let last = data["sequenceEnd"].as_u64().unwrap();
        if last <= begin {
            continue;
        }
        for (name, side) in sides {
            let levels = data["changes"][name].as_array().unwrap().iter().filter(|level| level[0] != "0");
            let ts = UnixNanos::from_millis(data["time"].as_i64().unwrap());
            recorder.book.extend(levels.map(|level| row(ts, side, level, last, false)));
        }
        updates += 1;
        if updates == 200 {
            scene.sim.pause().await.unwrap();
            kucoin.client.send(r#"{"id":"end","type":"ping"}"#).await;
        }
    }
    scene.sim.flush_ledger().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clean = &recorder.audit(&scene, dir.path())[0];
    assert_eq!((clean.series.as_str(), numbers(clean)), ("BTC/USDT/book", (0, 0, 0, 0)), "{clean:?}");
    let last = recorder.book.len() - 1;
    recorder.book[last].amount += 1.0;
    assert_eq!(numbers(&recorder.audit(&scene, dir.path())[0]), (0, 0, 1, 0));
    scene.finish().await;
}
