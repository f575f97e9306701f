//! Recorded frames of the exchange through the real binaries, held against a second, plain reading of the same recording.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dccd_model::{BookSide, Side, UnixNanos};
use dccd_sim::{ReplayOptions, ReplayStart, SimOptions};
use dccd_store::{BookRow, TradeRow};
use dccd_testkit::{fixtures, read_fixture_frames, skip, wait_for};
use dccd_tests::{Exchange, Setup, Tree};
use serde_json::Value;

/// A whole recording, an hour of an exchange at most, passes within this.
const PASSES: Duration = Duration::from_secs(120);

/// Price and amount.
type Level = (f64, f64);

/// A trade: price, amount, taker side, time.
type PlainTrade = (f64, f64, Side, UnixNanos);

/// A change of a book: first and last number, bids, asks.
struct Event {
    first: u64,
    last: u64,
    sides: [Vec<Level>; 2],
}

/// What a recording holds of one symbol, read without any of the product's code.
#[derive(Default)]
struct Plain {
    trades: BTreeMap<u64, PlainTrade>,
    events: Vec<Event>,
    /// Number, bids, asks.
    snapshots: Vec<(u64, [Vec<Level>; 2])>,
    quotes: u64,
}

impl Plain {
    /// Ids between the first and the last trade that the recording lacks, as a reader in order finds them.
    fn trades_missing(&self) -> u64 {
        match (self.trades.keys().next(), self.trades.keys().next_back()) {
            (Some(first), Some(last)) => last - first + 1 - self.trades.len() as u64,
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Recording {
    symbols: BTreeMap<String, Plain>,
    aggregated: bool,
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn levels(value: &Value) -> Vec<Level> {
    value.as_array().unwrap().iter().map(|level| (number(&level[0]), number(&level[1]))).collect()
}

fn read(path: &Path) -> Recording {
    let mut recording = Recording::default();
    let mut nameless = Vec::new();
    for frame in read_fixture_frames(path).unwrap() {
        let frame = frame.unwrap();
        let message: Value = match (frame.dir.as_str(), serde_json::from_str(&frame.raw)) {
            ("in" | "http", Ok(message)) => message,
            _ => continue,
        };
        if frame.dir == "http" {
            if !frame.conn.contains("/depth?") {
                continue;
            }
            let id = message["lastUpdateId"].as_u64().unwrap();
            let snapshot = (id, [levels(&message["bids"]), levels(&message["asks"])]);
            match frame.conn.split_once("symbol=") {
                Some((_, rest)) => {
                    let symbol = rest.split('&').next().unwrap();
                    recording.symbols.entry(symbol.to_owned()).or_default().snapshots.push(snapshot);
                }
                None => nameless.push(snapshot),
            }
            continue;
        }
        let event = message.get("data").unwrap_or(&message);
        let Some(symbol) = event["s"].as_str() else { continue };
        let plain = recording.symbols.entry(symbol.to_owned()).or_default();
        match event["e"].as_str() {
            Some(kind @ ("trade" | "aggTrade")) => {
                recording.aggregated |= kind == "aggTrade";
                let id = event[if kind == "trade" { "t" } else { "a" }].as_u64().unwrap();
                let side = if event["m"].as_bool().unwrap() { Side::Sell } else { Side::Buy };
                let at = UnixNanos(event["T"].as_i64().unwrap() * 1_000_000);
                plain.trades.insert(id, (number(&event["p"]), number(&event["q"]), side, at));
            }
            Some("depthUpdate") => plain.events.push(Event {
                first: event["U"].as_u64().unwrap(),
                last: event["u"].as_u64().unwrap(),
                sides: [levels(&event["b"]), levels(&event["a"])],
            }),
            None if event.get("u").is_some() => plain.quotes += 1,
            _ => {}
        }
    }
    if let [only] = &mut recording.symbols.values_mut().collect::<Vec<_>>()[..] {
        only.snapshots.append(&mut nameless);
    }
    assert!(nameless.is_empty(), "snapshots of nobody in {}", path.display());
    recording
}

/// `BTCUSDT` as a unified symbol.
fn unified(id: &str) -> String {
    let quotes = ["USDT", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "RUB"];
    let quote = quotes.iter().find(|quote| id.ends_with(*quote)).unwrap_or_else(|| panic!("the quote currency of {id}"));
    format!("{}/{quote}", &id[..id.len() - quote.len()])
}

fn day_files(data_path: &Path, kind: &str, id: &str) -> Vec<PathBuf> {
    let path = data_path.join("binance").join(kind).join(unified(id).replace('/', "-"));
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[allow(clippy::float_cmp, reason = "the very same double is asked for")]
fn trades_are_exact(name: &str, id: &str, plain: &Plain, data_path: &Path) {
    let rows: Vec<TradeRow> = day_files(data_path, "trades", id)
        .iter()
        .flat_map(|file| dccd_store::read_trades(file).unwrap())
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(rows.len(), plain.trades.len(), "{name} {id}");
    let mut seen = BTreeSet::new();
    for row in rows {
        let number = row.id.low();
        assert!(seen.insert(number), "{name} {id}: trade {number} is stored twice");
        let got = (row.price, row.amount, row.side, row.ts);
        assert_eq!(Some(&got), plain.trades.get(&number), "{name} {id}: trade {number}");
    }
}

/// A book by the bits of its prices, which are never negative and so in order.
type Sides = [BTreeMap<u64, u64>; 2];

fn set(sides: &mut Sides, side: usize, price: f64, amount: f64) {
    if amount == 0.0 {
        sides[side].remove(&price.to_bits());
    } else {
        sides[side].insert(price.to_bits(), amount.to_bits());
    }
}

/// Events after the snapshot, and how many of them there are.
fn book_is_exact(name: &str, id: &str, plain: &Plain, data_path: &Path) -> u64 {
    let rows: Vec<BookRow> = day_files(data_path, "orderbook", id)
        .iter()
        .flat_map(|file| dccd_store::read_book(file).unwrap())
        .collect::<Result<_, _>>()
        .unwrap();
    // The recording's own chain: its first snapshot, and every event that goes on from there.
    let (snapshot, sides) = plain.snapshots.first().unwrap_or_else(|| panic!("{name} {id} has no snapshot"));
    let mut expected = Sides::default();
    for (side, levels) in sides.iter().enumerate() {
        levels.iter().for_each(|(price, amount)| set(&mut expected, side, *price, *amount));
    }
    let mut numbers = BTreeSet::new();
    let mut last = *snapshot;
    for event in plain.events.iter().filter(|event| event.last > *snapshot) {
        assert!(event.first <= last + 1, "{name} {id}: the recording itself has a hole before {}", event.first);
        last = event.last;
        for (side, levels) in event.sides.iter().enumerate() {
            levels.iter().for_each(|(price, amount)| set(&mut expected, side, *price, *amount));
        }
        if event.sides.iter().any(|levels| !levels.is_empty()) {
            numbers.insert(event.last);
        }
    }
    // What is stored, applied row by row.
    let mut got = Sides::default();
    let mut stored_numbers = BTreeSet::new();
    let mut stored_snapshot: [Vec<Level>; 2] = Default::default();
    for row in &rows {
        let side = usize::from(row.side == BookSide::Ask);
        set(&mut got, side, row.price, row.amount);
        if row.is_snapshot {
            assert_eq!(row.update_id, *snapshot, "{name} {id}: another snapshot");
            stored_snapshot[side].push((row.price, row.amount));
        } else {
            stored_numbers.insert(row.update_id);
        }
    }
    assert_eq!(rows.iter().map(|row| row.epoch).collect::<BTreeSet<_>>().len(), 1, "{name} {id}: epochs");
    assert_eq!(stored_snapshot, *sides, "{name} {id}: the snapshot");
    assert!(numbers == stored_numbers, "{name} {id}: {} events recorded, {} stored", numbers.len(), stored_numbers.len());
    assert!(got == expected, "{name} {id}: the books at the end differ");
    numbers.len() as u64
}

/// Plays one recording and looks at everything that is stored of it.
fn play(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let recording = read(path);
    let has = |of: fn(&Plain) -> bool| recording.symbols.values().filter(|plain| of(plain)).count();
    let counts = [has(|p| !p.trades.is_empty()), has(|p| !p.events.is_empty()), has(|p| p.quotes > 0)];
    let streams = counts.iter().sum();
    let replay = ReplayOptions { start: ReplayStart::Streams(streams), ..ReplayOptions::new(vec![path.to_owned()]) };
    let exchange = Exchange::start(SimOptions { replay: Some(replay), ..SimOptions::default() });
    let channels = ["trades", "book", "quotes"].iter().zip(counts).filter(|(_, count)| *count > 0);
    let setup = Setup {
        pairs: recording.symbols.keys().map(|id| unified(id)).collect(),
        channels: channels.map(|(name, _)| (*name).to_owned()).collect(),
        exchange: if recording.aggregated { "trade_stream: aggregated".to_owned() } else { String::new() },
        ..Setup::new(&exchange)
    };
    let mut tree = Tree::start(&setup);
    wait_for(PASSES, || exchange.stats().replay, |_| exchange.replay_done());
    wait_for(PASSES, || exchange.stats().queued_bytes, |bytes| *bytes == 0);
    tree.settle(recording.symbols.values().map(Plain::trades_missing).sum());
    assert_eq!(tree.stats().unwrap().parse_errors, 0);
    tree.stop();
    tree.verify();
    let (mut trades, mut events, mut books) = (0, 0, 0);
    for (id, plain) in &recording.symbols {
        trades_are_exact(&name, id, plain, tree.data_path());
        trades += plain.trades.len();
        if !plain.events.is_empty() {
            events += book_is_exact(&name, id, plain, tree.data_path());
            books += 1;
        }
    }
    println!("{name}: {trades} trades, {events} book events in {books} books, all as recorded");
    assert!(trades > 0);
}

#[test]
fn every_recording_is_stored_as_it_was() {
    let Some(directory) = fixtures().map(|path| path.join("binance")).filter(|path| path.is_dir()) else {
        return skip("every_recording_is_stored_as_it_was", "no recorded messages of binance; set DCCD_FIXTURES");
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("ws_spot_") && name.ends_with(".frames.jsonl.zst")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in &files {
        play(file);
    }
}
