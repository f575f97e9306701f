//! The audit of a simulated Bitfinex: what a recorder that does as it should has stored is clean, and each lack of it is found.

mod common;

use std::path::Path;

use common::bitfinex::{BULK, Bitfinex, Book, CHECKSUM, Message, SEQUENCE, TIMESTAMP, options};
use common::{Scene, start};
use dccd_model::{BookSide, Channel, Gap, GapReason, SeriesId, SeriesKind, Side, TradeId, UnixNanos};
use dccd_sim::audit::{SeriesAudit, audit};
use dccd_sim::{Corruption, Fault, Target};
use dccd_store::{BookRow, ExportWriter, QuoteRow, TradeRow};
use serde_json::{Value, json};

const ID: &str = "tBTCUST";
const SYMBOL: &str = "BTC/USDT";
const DEPTH: &str = "book:tBTCUST:P0:F0:25";

/// A recorder of one market on one connection, as simple as can be: it believes a batch once its checksum is right.
#[derive(Clone, Default)]
struct Recorder {
    trades: Vec<TradeRow>,
    quotes: Vec<QuoteRow>,
    book: Vec<BookRow>,
    gaps: Vec<Gap>,
    quote_gaps: Vec<Gap>,
    epoch: u32,
    seq: u64,
    is_lost: bool,
    /// Rows of a batch that nothing has confirmed yet.
    pending: Vec<BookRow>,
    held: Book,
    best: Book,
}

fn row_of(row: &Value) -> (BookSide, f64, f64) {
    let text = |at: usize| row[at].to_string().parse::<f64>().unwrap();
    let side = if text(2) > 0.0 { BookSide::Bid } else { BookSide::Ask };
    (side, text(0), if row[1] == 0 { 0.0 } else { text(2).abs() })
}

impl Recorder {
    fn take(&mut self, message: &Message, [trades, best, depth]: [u64; 3]) {
        let numbers: Vec<u64> = message.parts[message.parts.len() - 2..].iter().map(|part| part.parse().unwrap()).collect();
        let ts = UnixNanos::from_millis(i64::try_from(numbers[1]).unwrap());
        if numbers[0] != self.seq + 1 {
            self.is_lost = true;
        }
        self.seq = numbers[0];
        if message.channel == trades && (message.is("te") || message.is("tu")) {
            let row = message.value(1);
            let text = |at: usize| row[at].to_string().parse::<f64>().unwrap();
            let id = TradeId(row[0].as_u64().unwrap().into());
            // Of one from just before the subscription only the repetition comes.
            if self.trades.iter().any(|known| known.id == id) {
                return;
            }
            self.trades.push(TradeRow {
                ts: UnixNanos::from_millis(row[1].as_i64().unwrap()),
                price: text(3),
                amount: text(2).abs(),
                side: if text(2) > 0.0 { Side::Buy } else { Side::Sell },
                id,
                ts_recv: UnixNanos(0),
            });
        } else if message.channel == best {
            self.take_best(message, ts);
        } else if message.channel == depth && !message.is("hb") {
            self.take_depth(message, ts);
        }
    }

    fn take_best(&mut self, message: &Message, ts: UnixNanos) {
        if self.best.apply(message) != Some(true) {
            return;
        }
        let number = |rows: &[[String; 3]], at: usize| rows[0][at].parse::<f64>().unwrap().abs();
        let (bids, asks) = (&self.best.bids, &self.best.asks);
        let (bid, bid_amount) = (number(bids, 0), number(bids, 2));
        let (ask, ask_amount) = (number(asks, 0), number(asks, 2));
        self.quotes.push(QuoteRow { ts, bid, bid_amount, ask, ask_amount, ts_recv: UnixNanos(0) });
    }

    fn take_depth(&mut self, message: &Message, ts: UnixNanos) {
        let is_snapshot = self.held.bids.is_empty();
        if is_snapshot {
            self.epoch += 1;
            if let Some(last) = self.book.last().filter(|_| self.is_lost) {
                self.gaps.push(Gap { from: last.ts, to: ts, reason: GapReason::Sequence, repaired: false, ids: None });
            }
            self.is_lost = false;
            self.pending.clear();
        }
        let applied = self.held.apply(message);
        self.is_lost |= applied == Some(false);
        if self.is_lost {
            return;
        }
        if message.parts[0].starts_with('[') {
            let value = message.value(0);
            let rows = if value[0].is_array() { value.as_array().unwrap().clone() } else { vec![value] };
            for (side, price, amount) in rows.iter().map(row_of) {
                let (epoch, update_id, count, ts_recv) = (self.epoch, 0, 0, UnixNanos(0));
                self.pending.push(BookRow { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch });
            }
        }
        if is_snapshot || applied == Some(true) {
            self.book.append(&mut self.pending);
        }
    }

    /// The outcome of an audit with these files.
    fn audit(&self, scene: &Scene, dir: &Path) -> Vec<SeriesAudit> {
        let _ = std::fs::remove_dir_all(dir.join("bitfinex"));
        let series = |channel: Channel| {
            let kind = SeriesKind::Live(channel);
            let series = SeriesId { exchange: "bitfinex".parse().unwrap(), symbol: SYMBOL.parse().unwrap(), kind };
            let folder = dir.join("bitfinex").join(channel.directory()).join("BTC-USDT");
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
        let mut file = ExportWriter::create(&path, &id, self.quote_gaps.clone()).unwrap();
        self.quotes.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        let (id, path) = series(Channel::Book);
        let mut file = ExportWriter::create(&path, &id, self.gaps.clone()).unwrap();
        self.book.iter().for_each(|row| file.push(*row).unwrap());
        file.finish().unwrap();
        audit(&scene.ledger, dir, "bitfinex").unwrap().series
    }
}

/// What a recorder has of a scene in which these faults happened to the book, each after so many of its messages.
async fn recorded(more: u32, faults: &[Fault]) -> (Scene, Recorder) {
    let scene = start(options()).await;
    let mut bitfinex = Bitfinex::with_flags(&scene.sim, TIMESTAMP | SEQUENCE | CHECKSUM | more).await;
    let trades = bitfinex.subscribe("trades", json!({"symbol": ID})).await;
    let best = bitfinex.book(ID, "P0", 1).await;
    let mut depth = bitfinex.book(ID, "P0", 25).await;
    let mut recorder = Recorder::default();
    let (mut faults, mut checksums) = (faults.iter(), 0);
    loop {
        let message = Message::read(&bitfinex.next_text().await.unwrap()).unwrap();
        recorder.take(&message, [trades, best, depth]);
        if message.channel == depth && message.is("cs") {
            checksums += 1;
            if checksums % 15 == 0 {
                let Some(fault) = faults.next() else { break };
                scene.sim.faults().inject(fault.clone()).await.unwrap();
            }
            if recorder.is_lost && checksums % 4 == 0 {
                bitfinex.ask(json!({"event": "unsubscribe", "chanId": depth})).await;
                depth = bitfinex.book(ID, "P0", 25).await;
                recorder.held = Book::default();
            }
        }
    }
    scene.sim.pause().await.unwrap();
    // Nothing is on its way any more once there was a pulse to send it and a channel behind it.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let end = bitfinex.subscribe("trades", json!({"symbol": "tDOGE:USD"})).await;
    loop {
        let message = Message::read(&bitfinex.next_text().await.unwrap()).unwrap();
        if message.channel == end {
            break;
        }
        recorder.take(&message, [trades, best, depth]);
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
    for more in [0, BULK] {
        let (scene, good) = recorded(more, &[]).await;
        let dir = tempfile::tempdir().unwrap();
        let clean = good.audit(&scene, dir.path());
        let names: Vec<_> = clean.iter().map(|s| s.series.as_str()).collect();
        assert_eq!(names, ["BTC/USDT/trades", "BTC/USDT/quotes", "BTC/USDT/book"]);
        for series in &clean {
            assert_eq!(numbers(series), (0, 0, 0, 0), "{series:?}");
            assert!(series.sent > 10 && series.stored >= series.sent, "{series:?}");
        }
        let spoiled = |change: &dyn Fn(&mut Recorder)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.audit(&scene, dir.path()).iter().map(numbers).collect::<Vec<_>>()
        };
        let none = (0, 0, 0, 0);
        assert_eq!(spoiled(&|bad| lose(&mut bad.trades)), [(1, 0, 0, 0), none, none]);
        assert_eq!(spoiled(&|bad| bad.trades[7].amount *= 2.0), [(0, 0, 1, 0), none, none]);
        assert_eq!(spoiled(&|bad| bad.trades[7].ts.0 += 1_000_000), [(0, 0, 1, 0), none, none]);
        assert_eq!(spoiled(&|bad| lose(&mut bad.quotes)), [none, (1, 0, 0, 0), none]);
        assert_eq!(spoiled(&|bad| bad.quotes[9].bid += 1.0)[1].2, 1);
        let last = good.book.len() - 1;
        assert!(spoiled(&|bad| bad.book[last].amount += 1.0)[2].2 > 0);
        let middle = good.book[good.book.len() / 2].ts;
        assert!(spoiled(&|bad| bad.book.retain(|row| row.ts != middle))[2].0 > 0);
        assert!(spoiled(&|bad| bad.book[3].amount += 1.0)[2].2 > 0);
        scene.finish().await;
    }
}

#[tokio::test]
async fn what_a_fault_took_is_missing_unless_it_is_declared() {
    let target = || Target::stream(DEPTH);
    let faults = [
        Fault::Drop { target: target(), count: 1 },
        Fault::Corrupt { target: target(), count: 1, how: Corruption::Checksum },
        Fault::Gap { symbol: SYMBOL.into(), channel: "book".into(), count: 30 },
    ];
    let (scene, good) = recorded(0, &faults).await;
    let dir = tempfile::tempdir().unwrap();
    assert!(good.gaps.len() >= 2, "{:?}", good.gaps);
    let series = &good.audit(&scene, dir.path())[2];
    assert_eq!((series.missing, series.duplicate, series.wrong), (0, 0, 0), "{series:?}");
    assert!(series.declared > 0, "{series:?}");
    let mut silent = good.clone();
    silent.gaps.clear();
    let series = &silent.audit(&scene, dir.path())[2];
    assert!(series.missing > 0 && series.declared == 0, "{series:?}");
    let of_book = |bad: &Recorder| bad.audit(&scene, dir.path())[2].clone();
    let (gap, end) =
        good.gaps.iter().enumerate().find_map(|(at, gap)| Some((at, ends_with_a_batch(&good, gap.from)?))).unwrap();
    // A recorder that believes each change at once may end within a batch, where it declares what is missing.
    let mut cut = good.clone();
    cut.book.remove(end);
    let (declared, series) = (of_book(&good).declared, of_book(&cut));
    assert_eq!((numbers(&series).0, numbers(&series).2, series.declared), (0, 0, declared + 1), "{series:?}");
    cut.gaps.remove(gap);
    assert!(of_book(&cut).wrong > 0);
    // What no checksum proved any more may be wrong within the gap, and nowhere else.
    let mut wrong = good.clone();
    wrong.book[end].amount += 1.0;
    assert!(of_book(&wrong).wrong > 0);
    let batch = wrong.book[end].ts;
    wrong.gaps[gap].from = wrong.book.iter().rfind(|row| row.ts < batch).unwrap().ts;
    let series = of_book(&wrong);
    assert_eq!((numbers(&series).0, numbers(&series).2, series.declared), (0, 0, declared + 1), "{series:?}");
    scene.finish().await;
}

/// The last of several rows of this moment that an epoch goes on to end with.
fn ends_with_a_batch(recorder: &Recorder, ts: UnixNanos) -> Option<usize> {
    let end = recorder.book.iter().rposition(|row| row.ts == ts && !row.is_snapshot)?;
    let is_end = recorder.book.get(end + 1).is_some_and(|next| next.epoch != recorder.book[end].epoch);
    (is_end && recorder.book[end - 1].ts == ts).then_some(end)
}

#[tokio::test]
async fn quotes_that_a_later_checksum_denies_are_declared_from_the_last_that_was_right() {
    let (scene, good) = recorded(0, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let middle = good.quotes.len() / 2;
    let mut wrong = good.clone();
    wrong.quotes[middle..middle + 3].iter_mut().for_each(|row| row.bid += 1.0);
    let of_quotes = |bad: &Recorder| numbers(&bad.audit(&scene, dir.path())[1]);
    assert_eq!(of_quotes(&wrong), (3, 0, 3, 0));
    let (from, to) = (good.quotes[middle - 1].ts, good.quotes[middle + 3].ts);
    wrong.quote_gaps.push(Gap { from, to, reason: GapReason::Integrity, repaired: false, ids: None });
    assert_eq!(of_quotes(&wrong), (0, 0, 0, 3));
    // One that comes before or after is as wrong as ever.
    wrong.quote_gaps[0].from = good.quotes[middle].ts;
    assert_eq!(of_quotes(&wrong).2, 1);
    scene.finish().await;
}
