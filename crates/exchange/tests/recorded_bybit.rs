//! Recorded messages of Bybit's sockets pass through the session: every chain links, the books are those that come of applying the
//! messages plainly, each message that is left out is seen, and so is each number that is changed, and each changed price that makes
//! the book one that the exchange can't have. Others can't be seen, nor can amounts: the exchange sends no checksum.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, Ladder, Markets, Session, adapter};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Flags, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

const SPOT: &[u8] = include_bytes!("../src/bybit/testdata/spot.json");
const LINEAR: &[u8] = include_bytes!("../src/bybit/testdata/linear.json");

/// A recorded book: file, socket, symbol, topic, levels a side, messages.
struct Book {
    file: &'static str,
    socket: &'static str,
    symbol: &'static str,
    topic: &'static str,
    depth: usize,
    messages: usize,
}

const SPOT_FILE: &str = "ws_v5_spot_BTCUSDT_20260809";
const LINEAR_FILE: &str = "ws_v5_linear_BTCUSDT_SOLUSDT_20260809";

const fn book(
    file: &'static str,
    socket: &'static str,
    symbol: &'static str,
    topic: &'static str,
    depth: usize,
    messages: usize,
) -> Book {
    Book { file, socket, symbol, topic, depth, messages }
}

const BOOKS: [Book; 4] = [
    book(SPOT_FILE, "spot", "BTC/USDT", "orderbook.200.BTCUSDT", 200, 300),
    book(LINEAR_FILE, "linear", "BTC/USDT:USDT", "orderbook.200.BTCUSDT", 200, 414),
    book(LINEAR_FILE, "linear", "SOL/USDT:USDT", "orderbook.200.SOLUSDT", 200, 383),
    book("archive_ob500_XRPUSDT_20241201", "linear", "XRP/USDT:USDT", "orderbook.500.XRPUSDT", 500, 50),
];

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("bybit")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of bybit; set DCCD_FIXTURES");
    }
    found
}

fn frames(directory: &std::path::Path, name: &str) -> Vec<String> {
    let path = directory.join(format!("{name}.frames.jsonl.zst"));
    read_fixture_frames(path).unwrap().map(Result::unwrap).filter(|frame| frame.dir == "in").map(|frame| frame.raw).collect()
}

fn bybit() -> Arc<dyn Adapter> {
    adapter("bybit", &AdapterOptions::default()).unwrap()
}

fn markets() -> Arc<Markets> {
    let bybit = bybit();
    Arc::new(Markets::joined([SPOT, LINEAR].map(|body| bybit.parse_markets(body).unwrap()).into()))
}

/// A session with all feeds of a symbol, of which the book is the last, and a connection 1 to this socket.
fn session(socket: &str, symbol: &str) -> Box<dyn Session> {
    let mut session = bybit().session(markets());
    for channel in ["trades", "quotes", "book"] {
        let subject = format!("{symbol} {channel}");
        let entry = Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
        session.apply(&entry, &mut Recorded::default());
    }
    let entry = Entry { kind: EntryKind::Opened, conn: 1, ts_recv: UnixNanos(1), subject: socket, payload: b"" };
    session.apply(&entry, &mut Recorded::default());
    session
}

fn play<'a>(socket: &str, symbol: &str, frames: impl IntoIterator<Item = &'a str>) -> (Box<dyn Session>, Recorded) {
    let mut session = session(socket, symbol);
    let mut out = Recorded::default();
    for frame in frames {
        feed(session.as_mut(), frame, &mut out);
    }
    (session, out)
}

fn feed(session: &mut dyn Session, frame: &str, out: &mut Recorded) {
    let payload = frame.as_bytes();
    session.apply(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(2), subject: "", payload }, out);
}

/// The book's own messages.
fn of_book(directory: &std::path::Path, book: &Book) -> Vec<String> {
    let topic = format!(r#""topic":"{}""#, book.topic);
    frames(directory, book.file).into_iter().filter(|frame| frame.contains(&topic)).collect()
}

/// Prices and amounts, read with serde_json and applied plainly.
type Side = BTreeMap<Decimal, Decimal>;

fn plainly(frames: &[String]) -> (Side, Side) {
    let (mut bids, mut asks) = (Side::new(), Side::new());
    let number = |value: &Value| Decimal::parse(value.as_str().unwrap().as_bytes()).unwrap();
    for frame in frames {
        let message: Value = serde_json::from_str(frame).unwrap();
        for (side, key) in [(&mut bids, "b"), (&mut asks, "a")] {
            for level in message["data"][key].as_array().unwrap() {
                let (price, amount) = (number(&level[0]), number(&level[1]));
                if amount.is_zero() {
                    side.remove(&price);
                } else {
                    side.insert(price, amount);
                }
            }
        }
    }
    (bids, asks)
}

#[test]
fn every_recorded_chain_links_and_gives_the_exchanges_book() {
    let Some(directory) = directory("every_recorded_chain_links_and_gives_the_exchanges_book") else { return };
    for book in BOOKS {
        let own = of_book(&directory, &book);
        assert_eq!(own.len(), book.messages, "{}", book.symbol);
        let all = frames(&directory, book.file);
        let (session, out) = play(book.socket, book.symbol, all.iter().map(String::as_str));
        let status = session.feed_status(2);
        assert_eq!((status.book, status.epoch, status.gaps), (Some(BookState::Valid), 1, 0), "{}", book.symbol);
        assert_eq!((session.counters().unreadable, out.wants().count()), (0, 0), "{}", book.symbol);
        let mut ladder = Ladder::new();
        let mut events = 0;
        for level in out.levels() {
            ladder.apply(level);
            if level.flags.contains(Flags::LAST) {
                events += 1;
                assert!(!ladder.is_crossed(), "{}, event {events}", book.symbol);
                assert_eq!(ladder.len(), (book.depth, book.depth), "{}, event {events}", book.symbol);
            }
        }
        assert_eq!(events, book.messages, "{}", book.symbol);
        assert_eq!((ladder.bids().collect(), ladder.asks().collect()), plainly(&own), "{}", book.symbol);
    }
}

#[test]
fn every_recorded_trade_comes_out_as_it_is() {
    let Some(directory) = directory("every_recorded_trade_comes_out_as_it_is") else { return };
    for (file, socket, symbol, topic, count) in [
        (SPOT_FILE, "spot", "BTC/USDT", "publicTrade.BTCUSDT", 11),
        (LINEAR_FILE, "linear", "BTC/USDT:USDT", "publicTrade.BTCUSDT", 56),
        (LINEAR_FILE, "linear", "SOL/USDT:USDT", "publicTrade.SOLUSDT", 165),
    ] {
        let frames = frames(&directory, file);
        let expected: Vec<(String, String, String, i64, bool)> = frames
            .iter()
            .map(|frame| serde_json::from_str::<Value>(frame).unwrap())
            .filter(|message| message["topic"] == topic)
            .flat_map(|message| message["data"].as_array().unwrap().clone())
            .map(|t| {
                let text = |key: &str| t[key].as_str().unwrap().to_owned();
                (text("i").replace('-', ""), text("p"), text("v"), t["T"].as_i64().unwrap(), t["S"] == "Buy")
            })
            .collect();
        let (session, out) = play(socket, symbol, frames.iter().map(String::as_str));
        let got: Vec<_> = out
            .trades()
            .map(|t| {
                let is_wide = t.flags.contains(Flags::WIDE_ID);
                let id = if is_wide { format!("{:032x}", t.id.0) } else { t.id.to_string() };
                let is_buy = t.side == dccd_model::Side::Buy;
                (id, t.price.to_string(), t.amount.to_string(), t.ts_venue.as_millis(), is_buy)
            })
            .collect();
        assert_eq!(got, expected, "{symbol}");
        assert_eq!((got.len(), session.feed_status(0).gaps), (count, 0), "{symbol}");
        // The same names on the other socket are about another market.
        let other = if socket == "spot" { "linear" } else { "spot" };
        assert_eq!(play(other, symbol, frames.iter().map(String::as_str)).1.trades().count(), 0, "{symbol}");
    }
}

#[test]
fn any_recorded_message_that_is_left_out_is_seen() {
    let Some(directory) = directory("any_recorded_message_that_is_left_out_is_seen") else { return };
    for book in BOOKS {
        let frames = of_book(&directory, &book);
        let mut session = session(book.socket, book.symbol);
        feed(session.as_mut(), &frames[0], &mut Recorded::default());
        for pair in frames[1..].windows(2) {
            let saved = session.save();
            let mut without = bybit().restore(markets(), &saved).unwrap();
            let mut out = Recorded::default();
            feed(without.as_mut(), &pair[1], &mut out);
            assert_eq!((out.levels().count(), out.wants().count()), (0, 1), "{}: {}", book.symbol, pair[0]);
            assert_eq!(without.feed_status(2).book, Some(BookState::Suspect));
            feed(session.as_mut(), &pair[0], &mut Recorded::default());
        }
    }
}

/// Changes the digit at this place.
fn with_another_digit(frame: &str, place: usize) -> String {
    let mut changed = frame.to_owned();
    let other = if frame[place..].starts_with('7') { "8" } else { "7" };
    changed.replace_range(place..=place, other);
    changed
}

/// A level that ends was there, no side has more levels than were subscribed, and they don't cross.
fn can_be((bids, asks): &(Side, Side), change: &str, depth: usize) -> bool {
    let (mut bids, mut asks) = (bids.clone(), asks.clone());
    let message: Value = serde_json::from_str(change).unwrap();
    let number = |value: &Value| Decimal::parse(value.as_str().unwrap().as_bytes()).unwrap();
    let mut ends_known = true;
    for (side, key) in [(&mut bids, "b"), (&mut asks, "a")] {
        for level in message["data"][key].as_array().unwrap() {
            if number(&level[1]).is_zero() {
                ends_known &= side.remove(&number(&level[0])).is_some();
            } else {
                side.insert(number(&level[0]), number(&level[1]));
            }
        }
    }
    ends_known
        && bids.len().max(asks.len()) <= depth
        && bids.last_key_value().map(|l| l.0) < asks.first_key_value().map(|l| l.0)
}

#[test]
fn a_recorded_price_with_another_digit_is_seen_at_once_where_no_such_book_can_be() {
    let test = "a_recorded_price_with_another_digit_is_seen_at_once_where_no_such_book_can_be";
    let Some(directory) = directory(test) else { return };
    let (mut tried, mut seen) = (0, 0);
    for book in &BOOKS {
        let frames = of_book(&directory, book);
        let mut session = session(book.socket, book.symbol);
        feed(session.as_mut(), &frames[0], &mut Recorded::default());
        for (at, frame) in frames.iter().enumerate().skip(1).step_by(10) {
            let before = plainly(&frames[..at]);
            let mut here = session.save();
            for frame in &frames[at.saturating_sub(9).max(1)..at] {
                feed(session.as_mut(), frame, &mut Recorded::default());
                here = session.save();
            }
            // The first digit after the point of each price: `["65114.10","0.045"]`.
            let prices = frame.match_indices("[\"").filter_map(|(at, _)| Some(at + frame[at..].find(['.', ','])? + 1));
            for place in prices.filter(|place| frame[*place..].starts_with(|c: char| c.is_ascii_digit())) {
                let changed = with_another_digit(frame, place);
                let mut other = bybit().restore(markets(), &here).unwrap();
                let mut out = Recorded::default();
                feed(other.as_mut(), &changed, &mut out);
                let is_seen = out.wants().count() == 1 && other.feed_status(2).book == Some(BookState::Suspect);
                assert_eq!(is_seen, !can_be(&before, &changed, book.depth), "{}, frame {at}: {changed}", book.symbol);
                tried += 1;
                seen += usize::from(is_seen);
            }
            feed(session.as_mut(), frame, &mut Recorded::default());
        }
    }
    assert!(tried > 500 && seen > 200, "{seen} of {tried}");
}

#[test]
fn any_recorded_number_with_another_digit_is_seen() {
    let Some(directory) = directory("any_recorded_number_with_another_digit_is_seen") else { return };
    for book in &BOOKS {
        let frames = of_book(&directory, book);
        let mut session = session(book.socket, book.symbol);
        feed(session.as_mut(), &frames[0], &mut Recorded::default());
        for pair in frames[1..60.min(frames.len())].windows(2) {
            let here = session.save();
            let begin = pair[0].find(r#""u":"#).unwrap() + 4;
            let length = pair[0][begin..].find(',').unwrap();
            for place in begin..begin + length {
                let mut other = bybit().restore(markets(), &here).unwrap();
                let mut out = Recorded::default();
                // What seems to be of the past is dropped, and missed with the next one.
                feed(other.as_mut(), &with_another_digit(&pair[0], place), &mut out);
                feed(other.as_mut(), &pair[1], &mut out);
                assert_eq!(
                    (out.levels().count(), out.wants().count()),
                    (0, 1),
                    "{}: byte {place} of {}",
                    book.symbol,
                    pair[0]
                );
            }
            feed(session.as_mut(), &pair[0], &mut Recorded::default());
        }
    }
}

#[test]
fn recorded_and_documented_single_messages_are_understood() {
    let Some(directory) = directory("recorded_and_documented_single_messages_are_understood") else { return };
    let (mut trades, mut quotes) = (0, 0);
    for (file, socket) in [("ws_samples_tardis_spot", "spot"), ("ws_samples_tardis_linear-inverse", "linear")] {
        let path = directory.join(format!("{file}.frames.jsonl.zst"));
        for frame in read_fixture_frames(path).unwrap().map(Result::unwrap) {
            let message: Value = serde_json::from_str(&frame.raw).unwrap();
            let topic = message["topic"].as_str().unwrap_or_default();
            let expected = frame.expect.clone().unwrap_or_default();
            let symbol = if socket == "spot" { "BTC/USDT" } else { "BTC/USDT:USDT" };
            let (session, out) = play(socket, symbol, [frame.raw.as_str()]);
            if topic == "publicTrade.BTCUSDT" {
                let expected = expected.as_array().unwrap();
                let got: Vec<_> = out.trades().map(|t| (t.id.to_string(), t.price.to_f64(), t.amount.to_f64())).collect();
                let values = |t: &Value| {
                    (t["id"].as_str().unwrap().to_owned(), t["price"].as_f64().unwrap(), t["amount"].as_f64().unwrap())
                };
                assert_eq!(got, expected.iter().map(values).collect::<Vec<_>>());
                trades += got.len();
            } else if topic == "orderbook.1.BTCUSDT" && message["type"] == "snapshot" {
                let quote = out.quotes().next().unwrap_or_else(|| panic!("no quote in {}", frame.raw));
                let named = ["bidPrice", "bidAmount", "askPrice", "askAmount"].map(|key| expected[0][key].as_f64().unwrap());
                assert_eq!([quote.bid, quote.bid_amount, quote.ask, quote.ask_amount].map(Decimal::to_f64), named);
                quotes += 1;
            } else {
                // Other symbols, other channels, and quotes of which only the change was sent, in 2023.
                let counters = session.counters();
                let dropped = counters.unknown + counters.unrouted + counters.unreadable;
                // A change without a snapshot before it is of no use, and no fault.
                assert_eq!(dropped, u64::from(topic != "orderbook.50.BTCUSDT"), "{}", frame.raw);
                assert_eq!(counters.unreadable, u64::from(topic.starts_with("orderbook.1.")), "{}", frame.raw);
                assert!(out.events.iter().all(|event| matches!(event, Event::Notice(_))), "{}", frame.raw);
            }
        }
    }
    assert_eq!((trades, quotes), (4, 2));
}

#[test]
fn the_recorded_list_of_markets_is_read() {
    let Some(directory) = directory("the_recorded_list_of_markets_is_read") else { return };
    let name = "cf_v5_market_instruments_info_category_linear_status_Trading_limit_1000_20260809.json.zst";
    let body = zstd::decode_all(std::fs::File::open(directory.join("rest").join(name)).unwrap()).unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap();
    let listed = message["result"]["list"].as_array().unwrap();
    let perpetual = listed.iter().filter(|m| m["contractType"] == "LinearPerpetual").count();
    let markets = bybit().parse_markets(&body).unwrap();
    assert_eq!((markets.len(), markets.skipped()), (perpetual, 0));
    assert!(perpetual > 400, "{perpetual}");
    let btc = markets.by_symbol(&"BTC/USDT:USDT".parse().unwrap()).unwrap();
    assert_eq!((btc.id.as_str(), btc.price_tick.map(|tick| tick.to_string()).as_deref()), ("BTCUSDT", Some("0.10")));
}
