//! Recorded messages of Binance spot pass through the session: every trade once and with its own digits, every book chain rebuilt.
//! What is expected is worked out here a second time, plainly, from `serde_json::Value`s and texts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, FeedStatus, Ladder, MarketStatus, Markets, adapter};
use dccd_model::{BookState, Channel, Decimal, Entry, EntryKind, Flags, Side, UnixNanos};
use dccd_testkit::{FixtureFrame, fixtures, read_fixture_frames, skip};
use serde_json::Value;

fn binance() -> Arc<dyn Adapter> {
    adapter("binance", &AdapterOptions::default()).unwrap()
}

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("binance")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of binance; set DCCD_FIXTURES");
    }
    found
}

fn body(directory: &std::path::Path, name: &str) -> Vec<u8> {
    zstd::decode_all(std::fs::File::open(directory.join("rest").join(name)).unwrap()).unwrap()
}

const INFOS: [&str; 2] = ["cf_api_v3_exchangeInfo_20210417.json.zst", "cf_api_v3_exchangeInfo_20211012.json.zst"];

fn spot_files(directory: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("ws_spot_") && name.ends_with(".frames.jsonl.zst")
            })
        })
        .collect();
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    files
}

/// The event inside of a frame, with or without the wrapper.
fn event(raw: &str) -> Value {
    let mut value: Value = serde_json::from_str(raw).unwrap();
    match value.get_mut("data") {
        Some(data) => data.take(),
        None => value,
    }
}

fn channel(event: &Value) -> Option<Channel> {
    match event.get("e").and_then(Value::as_str) {
        Some("trade" | "aggTrade") => Some(Channel::Trades),
        Some("depthUpdate") => Some(Channel::Book),
        None if event.get("u").is_some() => Some(Channel::Quotes),
        _ => None,
    }
}

/// The symbol that a recorded depth answer is about; one source kept it only in the file's other frames.
fn asked_symbol(frame: &FixtureFrame, only: &str) -> String {
    let query = frame.conn.split_once("symbol=").map(|(_, rest)| rest.split('&').next().unwrap_or_default());
    query.unwrap_or(only).to_owned()
}

struct File {
    name: String,
    frames: Vec<(FixtureFrame, Value)>,
    out: Recorded,
    /// The exchange's id, the channel and the state at the end, of each feed.
    feeds: Vec<(String, Channel, FeedStatus)>,
    unreadable: u64,
}

/// All files of live messages, read and played once for all tests.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let directory = fixtures().expect("asked for only where there are fixtures").join("binance");
    let markets = all_markets(&directory);
    spot_files(&directory).iter().map(|path| play(path, &markets)).collect()
});

/// Reads a file and lets it pass through a session with a feed for everything in it.
fn play(path: &std::path::Path, markets: &Arc<Markets>) -> File {
    let frames: Vec<(FixtureFrame, Value)> = read_fixture_frames(path)
        .unwrap()
        .map(Result::unwrap)
        .filter(|frame| frame.dir == "in" || frame.dir == "http")
        .map(|frame| {
            let event = event(&frame.raw);
            (frame, event)
        })
        .collect();
    let mut feeds: Vec<(String, Channel)> = Vec::new();
    for (_, event) in &frames {
        if let (Some(channel), Some(id)) = (channel(event), event.get("s").and_then(Value::as_str)) {
            let feed = (id.to_owned(), channel);
            if !feeds.contains(&feed) {
                feeds.push(feed);
            }
        }
    }
    let mut session = binance().session(Arc::clone(markets));
    let mut out = Recorded::default();
    let symbol = |id: &str| markets.by_id(id).unwrap_or_else(|| panic!("{id} is not listed")).symbol.clone();
    let mut apply = |kind, subject: &str, payload: &[u8]| {
        session.apply(&Entry { kind, conn: 1, ts_recv: UnixNanos(1), subject, payload }, &mut out);
    };
    for (id, channel) in &feeds {
        apply(EntryKind::FeedOpened, &format!("{} {channel}", symbol(id)), b"");
    }
    for (frame, event) in &frames {
        if frame.dir == "in" {
            apply(EntryKind::Frame, "", frame.raw.as_bytes());
        } else if event.get("lastUpdateId").is_some() {
            let id = asked_symbol(frame, &feeds[0].0);
            if feeds.contains(&(id.clone(), Channel::Book)) {
                apply(EntryKind::Response, &format!("depth {}", symbol(&id)), frame.raw.as_bytes());
            }
        }
    }
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let feeds = feeds.into_iter().zip(0..).map(|((id, channel), i)| (id, channel, session.feed_status(i))).collect();
    File { name, frames, out, feeds, unreadable: session.counters().unreadable }
}

fn all_markets(directory: &std::path::Path) -> Arc<Markets> {
    let listed: Vec<_> = INFOS
        .iter()
        .flat_map(|name| binance().parse_markets(&body(directory, name)).unwrap().iter().cloned().collect::<Vec<_>>())
        .collect();
    Arc::new(listed.into_iter().collect())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

#[test]
fn every_recorded_trade_comes_out_once_with_its_own_digits() {
    if directory("every_recorded_trade_comes_out_once_with_its_own_digits").is_none() {
        return;
    }
    let mut total = 0;
    for file in FILES.iter() {
        let mut seen = HashSet::new();
        let expected: Vec<_> = file
            .frames
            .iter()
            .filter(|(_, event)| channel(event) == Some(Channel::Trades))
            .map(|(_, e)| {
                let id = e.get("t").or(e.get("a")).and_then(Value::as_u64).unwrap();
                let side = if e["m"] == Value::Bool(true) { Side::Sell } else { Side::Buy };
                let ms = e["T"].as_i64().unwrap();
                (text(e, "s").to_owned(), id, text(e, "p").to_owned(), text(e, "q").to_owned(), ms, side)
            })
            .filter(|trade| seen.insert((trade.0.clone(), trade.1)))
            .collect();
        let got: Vec<_> = file
            .out
            .events
            .iter()
            .filter_map(|event| if let Event::Trade(feed, trade) = event { Some((feed, trade)) } else { None })
            .map(|(feed, t)| {
                let id = file.feeds[*feed as usize].0.clone();
                (id, t.id.low(), t.price.to_string(), t.amount.to_string(), t.ts_venue.as_millis(), t.side)
            })
            .collect();
        assert_eq!(got.len(), expected.len(), "{}", file.name);
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got, expected, "{}", file.name);
        }
        assert_eq!(file.unreadable, 0, "{}", file.name);
        total += got.len();
    }
    assert!(total >= 46_330, "{total} trades");
}

/// A book as texts: price and amount as they were on the wire.
#[derive(Default)]
struct PlainBook {
    sides: [HashMap<String, String>; 2],
    last: Option<u64>,
}

impl PlainBook {
    fn set(&mut self, event: &Value, keys: [&str; 2]) {
        for (side, key) in self.sides.iter_mut().zip(keys) {
            for level in event[key].as_array().unwrap() {
                let (price, amount) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
                if amount.bytes().all(|b| b == b'0' || b == b'.') {
                    side.remove(price);
                } else {
                    side.insert(price.to_owned(), amount.to_owned());
                }
            }
        }
    }
}

/// The recorded books by the exchange's document, knowing the snapshots beforehand.
fn plain_books(file: &File) -> BTreeMap<String, PlainBook> {
    let mut books: BTreeMap<String, PlainBook> = BTreeMap::new();
    for (frame, event) in &file.frames {
        if frame.dir == "http" && event.get("lastUpdateId").is_some() {
            let book = books.entry(asked_symbol(frame, &file.feeds[0].0)).or_default();
            book.set(event, ["bids", "asks"]);
            book.last = event["lastUpdateId"].as_u64();
        }
    }
    for (_, event) in &file.frames {
        if channel(event) != Some(Channel::Book) {
            continue;
        }
        let Some(book) = books.get_mut(text(event, "s")) else { continue };
        let (first, last) = (event["U"].as_u64().unwrap(), event["u"].as_u64().unwrap());
        let before = book.last.unwrap();
        if last > before {
            assert!(first <= before + 1, "{}: {first} after {before}", file.name);
            book.set(event, ["b", "a"]);
            book.last = Some(last);
        }
    }
    books
}

#[test]
fn every_recorded_book_chain_is_rebuilt() {
    if directory("every_recorded_book_chain_is_rebuilt").is_none() {
        return;
    }
    let (mut chains, mut tops) = (0, 0);
    for file in FILES.iter() {
        let plain = plain_books(file);
        let tickers: HashMap<(String, u64), &Value> = file
            .frames
            .iter()
            .filter(|(_, event)| channel(event) == Some(Channel::Quotes))
            .map(|(_, event)| ((text(event, "s").to_owned(), event["u"].as_u64().unwrap()), event))
            .collect();
        for (feed, (id, channel, status)) in (0..).zip(&file.feeds) {
            if *channel != Channel::Book {
                continue;
            }
            assert_eq!((status.book, status.epoch, status.gaps), (Some(BookState::Valid), 1, 0), "{} {id}", file.name);
            let mut ladder = Ladder::new();
            for event in &file.out.events {
                let Event::Level(of, level) = event else { continue };
                if *of != feed {
                    continue;
                }
                ladder.apply(level);
                if !level.flags.contains(Flags::LAST) {
                    continue;
                }
                assert!(!ladder.is_crossed(), "{} {id} at {}", file.name, level.update_id);
                if let Some(ticker) = tickers.get(&(id.clone(), level.update_id)) {
                    let parse = |key: &str| Decimal::parse(text(ticker, key).as_bytes()).unwrap();
                    let top = (ladder.best_bid().unwrap(), ladder.best_ask().unwrap());
                    assert_eq!(top, ((parse("b"), parse("B")), (parse("a"), parse("A"))), "{} {id} {ticker}", file.name);
                    tops += 1;
                }
            }
            let plain = &plain[id];
            assert_eq!(Some(ladder.update_id()), plain.last, "{} {id}", file.name);
            let as_text = |side: Vec<(Decimal, Decimal)>| -> HashMap<String, String> {
                side.into_iter().map(|(price, amount)| (price.to_string(), amount.to_string())).collect()
            };
            assert_eq!(as_text(ladder.bids().collect()), plain.sides[0], "{} {id}", file.name);
            assert_eq!(as_text(ladder.asks().collect()), plain.sides[1], "{} {id}", file.name);
            chains += 1;
        }
    }
    assert!(chains >= 19 && tops >= 1_300, "{chains} chains, {tops} comparisons with the best bid and ask");
}

#[test]
fn every_recorded_quote_that_is_newer_comes_out_with_its_own_digits() {
    if directory("every_recorded_quote_that_is_newer_comes_out_with_its_own_digits").is_none() {
        return;
    }
    let mut total = 0;
    for file in FILES.iter() {
        let mut newest: HashMap<&str, u64> = HashMap::new();
        let expected: Vec<[&str; 4]> = file
            .frames
            .iter()
            .filter(|(_, event)| channel(event) == Some(Channel::Quotes))
            .filter(|(_, event)| {
                let number = event["u"].as_u64().unwrap();
                let newer = newest.get(text(event, "s")).is_none_or(|last| number > *last);
                if newer {
                    newest.insert(text(event, "s"), number);
                }
                newer
            })
            .map(|(_, event)| ["b", "B", "a", "A"].map(|key| text(event, key)))
            .collect();
        let got: Vec<[String; 4]> =
            file.out.quotes().map(|q| [q.bid, q.bid_amount, q.ask, q.ask_amount].map(|d| d.to_string())).collect();
        assert_eq!(got, expected, "{}", file.name);
        total += got.len();
    }
    assert!(total >= 73_000, "{total} quotes");
}

#[test]
fn recorded_markets_have_their_ticks_lots_and_status() {
    let Some(directory) = directory("recorded_markets_have_their_ticks_lots_and_status") else { return };
    for name in INFOS {
        let body = body(&directory, name);
        let markets = binance().parse_markets(&body).unwrap();
        let info: Value = serde_json::from_slice(&body).unwrap();
        let symbols = info["symbols"].as_array().unwrap();
        assert_eq!((markets.len(), markets.skipped()), (symbols.len(), 0), "{name}");
        for listed in symbols {
            let market = markets.by_id(text(listed, "symbol")).unwrap();
            assert_eq!(market.symbol.as_str(), format!("{}/{}", text(listed, "baseAsset"), text(listed, "quoteAsset")));
            let trading = text(listed, "status") == "TRADING";
            assert_eq!(market.status == MarketStatus::Trading, trading, "{listed}");
            assert_ne!(market.status, MarketStatus::Unknown, "{listed}");
            let rule = |filter: &str, key: &str| {
                let filters = listed["filters"].as_array().unwrap();
                let found = filters.iter().find(|f| text(f, "filterType") == filter).map(|f| text(f, key).to_owned());
                found.filter(|text| text.bytes().any(|b| (b'1'..=b'9').contains(&b)))
            };
            let texts = [market.price_tick, market.amount_step, market.amount_min, market.amount_max, market.notional_min];
            assert_eq!(
                texts.map(|d| d.map(|d| d.to_string())),
                [
                    rule("PRICE_FILTER", "tickSize"),
                    rule("LOT_SIZE", "stepSize"),
                    rule("LOT_SIZE", "minQty"),
                    rule("LOT_SIZE", "maxQty"),
                    rule("MIN_NOTIONAL", "minNotional"),
                ],
                "{listed}"
            );
        }
        assert!(markets.len() > 1_400, "{name}");
    }
}

#[test]
fn recorded_pages_of_trades_fill_gaps() {
    let Some(directory) = directory("recorded_pages_of_trades_fill_gaps") else { return };
    let markets = Arc::new(Markets::default());
    let mut total = 0;
    let path = directory.join("rest/gct2025_spot.frames.jsonl.zst");
    for frame in read_fixture_frames(path).unwrap().map(Result::unwrap) {
        let (kind, id) = match frame.conn.split_once("/api/v3/").map(|(_, rest)| rest.split('?').next().unwrap()) {
            Some("aggTrades") => ("aggTrade", "a"),
            Some("historicalTrades" | "trades") => ("trade", "t"),
            _ => continue,
        };
        let mut session = binance().session(Arc::clone(&markets));
        let mut out = Recorded::default();
        let mut apply = |kind, subject: &str, payload: &str| {
            let payload = payload.as_bytes();
            session.apply(&Entry { kind, conn: 1, ts_recv: UnixNanos(1), subject, payload }, &mut out);
        };
        // Everything is missing but the first and the last.
        apply(EntryKind::FeedOpened, "BTC/USDT trades", "");
        for number in [0, u64::MAX] {
            let trade = format!(r#"{{"e":"{kind}","s":"BTCUSDT","{id}":{number},"p":"1","q":"1","T":1}}"#);
            apply(EntryKind::Frame, "", &trade);
        }
        apply(EntryKind::Response, "trades BTC/USDT 1", &frame.raw);
        let page: Value = serde_json::from_str(&frame.raw).unwrap();
        let Some(rows) = page.as_array() else {
            assert_eq!(out.notices().count(), 1, "an error's body is noticed: {}", frame.raw);
            continue;
        };
        let short = |row: &'_ Value, keys: [&str; 2]| -> String {
            keys.iter().find_map(|key| row.get(*key).and_then(Value::as_str)).unwrap().to_owned()
        };
        let mut seen = HashSet::new();
        let expected: Vec<(u64, String, String)> = rows
            .iter()
            .map(|r| {
                let number = r.get("id").or(r.get("a")).and_then(Value::as_u64).unwrap();
                (number, short(r, ["price", "p"]), short(r, ["qty", "q"]))
            })
            .filter(|row| seen.insert(row.0))
            .collect();
        let got: Vec<_> = out.trades().skip(2).map(|t| (t.id.low(), t.price.to_string(), t.amount.to_string())).collect();
        assert_eq!(got, expected, "{}", frame.conn);
        total += got.len();
    }
    assert!(total >= 20, "{total} trades");
}

#[test]
fn recorded_single_messages_are_understood() {
    let Some(directory) = directory("recorded_single_messages_are_understood") else { return };
    let markets = Arc::new(Markets::default());
    let (mut records, mut compared) = (0, 0);
    for name in ["ws_samples_cmp_binance", "ws_samples_tardis_spot", "ws_samples_tardis_usdm"] {
        let path = directory.join(format!("{name}.frames.jsonl.zst"));
        for frame in read_fixture_frames(path).unwrap().map(Result::unwrap) {
            let mut session = binance().session(Arc::clone(&markets));
            let mut out = Recorded::default();
            let event = event(&frame.raw);
            let open = event.get("s").and_then(Value::as_str).and_then(|id| id.split_at_checked(3));
            if let (Some((base, quote)), Some(channel)) = (open, channel(&event)) {
                let subject = format!("{base}/{quote} {channel}");
                let kind = EntryKind::FeedOpened;
                session.apply(&Entry { kind, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" }, &mut out);
            }
            let payload = frame.raw.as_bytes();
            session.apply(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(1), subject: "", payload }, &mut out);
            // One source left out the id of a trade.
            let whole = event["e"] != "aggTrade" || event.get("a").is_some();
            assert_eq!(session.counters().unreadable, u64::from(!whole), "{}", frame.raw);
            records += out.trades().count() + out.quotes().count();
            let expected = frame.expect.as_ref().and_then(|expected| expected.get(0));
            if let (Some(expected), Some(trade)) = (expected, out.trades().next()) {
                assert_eq!(expected["id"].as_str(), Some(trade.id.to_string().as_str()), "{}", frame.raw);
                assert_eq!(expected["price"].as_f64(), Some(trade.price.to_f64()), "{}", frame.raw);
                assert_eq!(expected["amount"].as_f64(), Some(trade.amount.to_f64()), "{}", frame.raw);
                assert_eq!(expected["side"].as_str(), trade.side.as_str(), "{}", frame.raw);
                compared += 1;
            }
        }
    }
    assert!(records >= 5 && compared >= 2, "{records} records, {compared} compared");
}
