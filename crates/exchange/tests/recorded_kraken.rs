//! Recorded messages of Kraken's socket pass through the session: every checksum is right, one changed digit and one message left
//! out are seen, and the books are those that come of applying the messages plainly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{AdapterOptions, Ladder, Market, MarketStatus, Markets, Session, adapter};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Flags, Symbol, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// The recorded books, with their depth and how many messages there are.
const FILES: [(&str, u32, usize); 2] =
    [("ws_v2_BTCUSD_book10_checksum_20230730", 10, 510), ("ws_v2_BTCUSD_book10_verbatim_20260824", 10, 4)];

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("kraken")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of kraken; set DCCD_FIXTURES");
    }
    found
}

fn frames(directory: &std::path::Path, name: &str) -> Vec<String> {
    let path = directory.join(format!("{name}.frames.jsonl.zst"));
    read_fixture_frames(path).unwrap().map(Result::unwrap).filter(|frame| frame.dir == "in").map(|frame| frame.raw).collect()
}

/// BTC/USD as it is listed: one digit after the point in prices, eight in amounts.
fn markets() -> Arc<Markets> {
    let btc = Market {
        symbol: "BTC/USD".parse().unwrap(),
        id: "XXBTZUSD".to_owned(),
        status: MarketStatus::Trading,
        price_tick: Some(Decimal::new(1, -1)),
        amount_step: Some(Decimal::new(1, -8)),
        amount_min: None,
        amount_max: None,
        notional_min: None,
        contract_size: None,
    };
    Arc::new([btc].into_iter().collect())
}

fn session(depth: u32, markets: &Arc<Markets>, symbol: &Symbol) -> Box<dyn Session> {
    let kraken = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth: Some(depth) }).unwrap();
    let mut session = kraken.session(Arc::clone(markets));
    for channel in ["trades", "quotes", "book"] {
        let subject = format!("{symbol} {channel}");
        let entry = Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
        session.apply(&entry, &mut Recorded::default());
    }
    session
}

fn play<'a>(depth: u32, frames: impl IntoIterator<Item = &'a str>) -> (Box<dyn Session>, Recorded) {
    let mut session = session(depth, &markets(), &"BTC/USD".parse().unwrap());
    let mut out = Recorded::default();
    for frame in frames {
        let payload = frame.as_bytes();
        session.apply(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(2), subject: "", payload }, &mut out);
    }
    (session, out)
}

fn is_book(frame: &str) -> bool {
    frame.contains(r#""channel":"book""#) && frame.contains(r#""checksum":"#)
}

/// A side of the book by whole steps of the price: read with serde_json, applied and cut plainly.
type Side = BTreeMap<i64, f64>;

fn plainly(frames: &[String], depth: usize) -> (Side, Side) {
    let mut book = (Side::new(), Side::new());
    frames.iter().filter(|frame| is_book(frame)).for_each(|frame| apply_plainly(&mut book, frame, depth));
    book
}

fn apply_plainly((bids, asks): &mut (Side, Side), frame: &str, depth: usize) {
    let message: Value = serde_json::from_str(frame).unwrap();
    for (side, key) in [(&mut *bids, "bids"), (&mut *asks, "asks")] {
        for level in message["data"][0][key].as_array().unwrap() {
            #[allow(clippy::cast_possible_truncation)] // a price in tenths
            let price = (level["price"].as_f64().unwrap() * 10.0).round() as i64;
            match level["qty"].as_f64().unwrap() {
                0.0 => side.remove(&price),
                amount => side.insert(price, amount),
            };
        }
    }
    while bids.len() > depth {
        bids.pop_first();
    }
    while asks.len() > depth {
        asks.pop_last();
    }
}

#[test]
fn every_recorded_checksum_is_right_and_the_book_is_the_exchanges_at_each_step() {
    let test = "every_recorded_checksum_is_right_and_the_book_is_the_exchanges_at_each_step";
    let Some(directory) = directory(test) else { return };
    for (name, depth, messages) in FILES {
        let frames = frames(&directory, name);
        assert_eq!(frames.iter().filter(|frame| is_book(frame)).count(), messages, "{name}");
        let (session, out) = play(depth, frames.iter().map(String::as_str));
        let status = session.feed_status(2);
        assert_eq!((status.book, status.epoch, status.gaps), (Some(BookState::Valid), 1, 0), "{name}");
        assert_eq!((session.counters().unreadable, session.counters().unknown, out.wants().count()), (0, 0, 0), "{name}");
        let mut ladder = Ladder::new();
        let mut events = 0;
        for event in &out.events {
            let Event::Level(_, level) = event else { continue };
            ladder.apply(level);
            if level.flags.contains(Flags::LAST) {
                events += 1;
                assert!(!ladder.is_crossed(), "{name}, event {events}");
                assert!(ladder.len().0 <= 10 && ladder.len().1 <= 10, "{name}, event {events}: levels past the depth");
            }
        }
        assert_eq!(events, messages, "{name}");
        let side = |levels: Vec<(Decimal, Decimal)>| -> Side {
            #[allow(clippy::cast_possible_truncation)] // a price in tenths
            levels.into_iter().map(|(price, amount)| ((price.to_f64() * 10.0).round() as i64, amount.to_f64())).collect()
        };
        let expected = plainly(&frames, usize::try_from(depth).unwrap());
        assert_eq!((side(ladder.bids().collect()), side(ladder.asks().collect())), expected, "{name}");
    }
}

fn apply(session: &mut dyn Session, frame: &str) {
    let entry = Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(2), subject: "", payload: frame.as_bytes() };
    session.apply(&entry, &mut Recorded::default());
}

/// Whether a session that was saved sees that something is wrong with this frame.
fn sees(depth: u32, saved: &[u8], frame: &str) -> bool {
    let kraken = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth: Some(depth) }).unwrap();
    let mut session = kraken.restore(markets(), saved).unwrap();
    apply(session.as_mut(), frame);
    !session.outstanding().is_empty() && session.feed_status(2).book != Some(BookState::Valid)
}

/// Whatever is left out is seen with the very next message, unless that one says all of it anew: then the book is right.
#[test]
fn any_recorded_message_that_is_left_out_is_seen() {
    let Some(directory) = directory("any_recorded_message_that_is_left_out_is_seen") else { return };
    let (mut tried, mut seen) = (0, 0);
    for (name, depth, _) in FILES {
        let frames: Vec<String> = frames(&directory, name).into_iter().filter(|frame| is_book(frame)).collect();
        let levels = usize::try_from(depth).unwrap();
        let mut session = session(depth, &markets(), &"BTC/USD".parse().unwrap());
        let mut book = (Side::new(), Side::new());
        for (at, pair) in frames.windows(2).enumerate() {
            if at > 0 {
                let (mut whole, mut without) = (book.clone(), book.clone());
                pair.iter().for_each(|frame| apply_plainly(&mut whole, frame, levels));
                apply_plainly(&mut without, &pair[1], levels);
                assert_eq!(sees(depth, &session.save(), &pair[1]), whole != without, "{name}, frame {at}");
                tried += 1;
                seen += usize::from(whole != without);
            }
            apply(session.as_mut(), &pair[0]);
            apply_plainly(&mut book, &pair[0], levels);
        }
    }
    assert!(tried >= 510 && seen >= 380, "{seen} of {tried} messages that were left out make a difference");
}

#[test]
fn any_recorded_message_with_another_digit_is_seen() {
    let Some(directory) = directory("any_recorded_message_with_another_digit_is_seen") else { return };
    let mut tried = 0;
    for (name, depth, _) in FILES {
        let levels = usize::try_from(depth).unwrap();
        let mut session = session(depth, &markets(), &"BTC/USD".parse().unwrap());
        let mut book = (Side::new(), Side::new());
        for frame in frames(&directory, name).iter().filter(|frame| is_book(frame)) {
            let saved = session.save();
            let mut right = book.clone();
            apply_plainly(&mut right, frame, levels);
            // The first digit of the checksum and of each amount.
            let checksum = frame.find(r#""checksum":"#).unwrap() + r#""checksum":"#.len();
            let amounts = frame.match_indices(r#""qty":"#).map(|(at, key)| at + key.len());
            for place in amounts.chain([checksum]) {
                let mut changed = frame.clone();
                let other = if &frame[place..=place] == "7" { "8" } else { "7" };
                changed.replace_range(place..=place, other);
                let mut wrong = book.clone();
                apply_plainly(&mut wrong, &changed, levels);
                // A level that falls out of the depth with the message that brings it is in no book.
                let differs = place == checksum || wrong != right;
                assert_eq!(sees(depth, &saved, &changed), differs, "{name}, byte {place} of {frame}");
                tried += usize::from(differs);
            }
            apply(session.as_mut(), frame);
            book = right;
        }
    }
    assert!(tried >= 1_000, "{tried} digits changed that make a difference");
}

#[test]
fn recorded_and_documented_single_messages_are_understood() {
    let Some(directory) = directory("recorded_and_documented_single_messages_are_understood") else { return };
    let (mut quotes, mut books) = (0, 0);
    for frame in read_fixture_frames(directory.join("ws_samples_tardis_spot.frames.jsonl.zst")).unwrap().map(Result::unwrap)
    {
        // Arrays are of the first version of the socket.
        if !frame.raw.starts_with('{') {
            continue;
        }
        let (session, out) = play(10, [frame.raw.as_str()]);
        let expected = frame.expect.as_ref().and_then(|expect| expect.get(0)).cloned().unwrap_or_default();
        match expected["type"].as_str() {
            Some("book_ticker") => {
                let quote = out.quotes().next().unwrap_or_else(|| panic!("no quote in {}", frame.raw));
                let values = [quote.bid, quote.bid_amount, quote.ask, quote.ask_amount].map(Decimal::to_f64);
                let named = ["bidPrice", "bidAmount", "askPrice", "askAmount"].map(|key| expected[key].as_f64().unwrap());
                assert_eq!(values, named);
                quotes += 1;
            }
            // Made up by hand: their checksums are wrong or left out, and so they are refused.
            Some("book_change") => {
                let counters = session.counters();
                let is_refused = counters.unreadable + counters.unrouted > 0 || out.wants().count() > 0;
                assert!(is_refused && out.levels().count() == 0, "{}", frame.raw);
                books += 1;
            }
            other => panic!("{other:?}: {}", frame.raw),
        }
    }
    assert_eq!((quotes, books), (1, 2));
}
