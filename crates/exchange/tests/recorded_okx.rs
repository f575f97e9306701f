//! Recorded messages of OKX pass through the session: every checksum is right and every chain links, what is left out or altered is
//! seen where anything can tell it, and two connections give what one gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dccd_exchange::conformance::Recorded;
use dccd_exchange::{Adapter, AdapterOptions, Ladder, Market, MarketStatus, Markets, Session, adapter};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Flags, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// Recorded with checksums and without numbers; how many messages of books, how many instruments with books, how many trades.
const FILES: [(&str, usize, usize, usize); 3] = [
    ("ws_v5_20210722_conn1", 1_504, 10, 36),
    ("ws_v5_20210722_conn2", 1_446, 10, 36),
    ("ws_v5_books-l2-tbt_20220227_a", 1_871, 6, 5),
];

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("okx")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of okx; set DCCD_FIXTURES");
    }
    found
}

/// What was received, with its time in microseconds.
fn frames(directory: &Path, name: &str) -> Vec<(i64, String)> {
    let path = directory.join(format!("{name}.frames.jsonl.zst"));
    let all = read_fixture_frames(path).unwrap().map(Result::unwrap);
    #[allow(clippy::cast_possible_truncation)] // microseconds of our time
    all.filter(|frame| frame.dir == "in").map(|frame| ((frame.ts.unwrap_or(1.0) * 1e6) as i64, frame.raw)).collect()
}

fn okx() -> Arc<dyn Adapter> {
    adapter("okx", &AdapterOptions::default()).unwrap()
}

fn json(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap()
}

fn instrument(frame: &str) -> String {
    json(frame)["arg"]["instId"].as_str().unwrap_or_default().to_owned()
}

fn is_book(frame: &str) -> bool {
    frame.contains(r#""action":"#)
}

/// Every instrument that is recorded, under a symbol of its own; a contract of a swap is a hundredth.
fn markets(frames: &[(i64, String)]) -> Arc<Markets> {
    let mut ids: Vec<String> = frames.iter().map(|(_, frame)| instrument(frame)).filter(|id| !id.is_empty()).collect();
    ids.sort();
    ids.dedup();
    let market = |(at, id): (usize, String)| Market {
        symbol: format!("I{at}/USDT").parse().unwrap(),
        status: MarketStatus::Trading,
        price_tick: None,
        amount_step: None,
        amount_min: None,
        amount_max: None,
        notional_min: None,
        contract_size: id.ends_with("-SWAP").then_some(Decimal::new(1, -2)),
        id,
    };
    Arc::new(ids.into_iter().enumerate().map(market).collect())
}

/// A session with all feeds of these markets: of the market at place n 3n are trades, 3n + 1 quotes, 3n + 2 the book.
fn session(markets: &Arc<Markets>) -> Box<dyn Session> {
    let mut session = okx().session(Arc::clone(markets));
    for market in markets.iter() {
        for channel in ["trades", "quotes", "book"] {
            let subject = format!("{} {channel}", market.symbol);
            let entry =
                Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
            session.apply(&entry, &mut Recorded::default());
        }
    }
    session
}

fn apply(session: &mut dyn Session, conn: u32, frame: &str, out: &mut Recorded) {
    let payload = frame.as_bytes();
    session.apply(&Entry { kind: EntryKind::Frame, conn, ts_recv: UnixNanos(2), subject: "", payload }, out);
}

/// A book applied plainly: by price, the texts of price and amount.
#[derive(Clone, Default)]
struct Plain {
    bids: BTreeMap<Decimal, (String, String)>,
    asks: BTreeMap<Decimal, (String, String)>,
}

impl Plain {
    fn apply(&mut self, frame: &str) {
        let message = json(frame);
        if message["action"] == "snapshot" {
            *self = Self::default();
        }
        for (side, key) in [(&mut self.bids, "bids"), (&mut self.asks, "asks")] {
            for level in message["data"][0][key].as_array().unwrap() {
                let (price, amount) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
                let at = Decimal::parse(price.as_bytes()).unwrap();
                if Decimal::parse(amount.as_bytes()).unwrap().is_zero() {
                    side.remove(&at);
                } else {
                    side.insert(at, (price.to_owned(), amount.to_owned()));
                }
            }
        }
    }

    fn checksum(&self) -> i64 {
        let (bids, asks): (Vec<_>, Vec<_>) = (self.bids.values().rev().collect(), self.asks.values().collect());
        let turns = (0..25).flat_map(|at| [bids.get(at), asks.get(at)]).flatten();
        let text = turns.map(|(p, a)| format!("{p}:{a}")).collect::<Vec<_>>().join(":");
        crc32fast::hash(text.as_bytes()).cast_signed().into()
    }
}

fn checksum(frame: &str) -> i64 {
    json(frame)["data"][0]["checksum"].as_i64().unwrap()
}

#[test]
fn every_recorded_checksum_is_right_and_the_books_are_the_exchanges() {
    let Some(directory) = directory("every_recorded_checksum_is_right_and_the_books_are_the_exchanges") else { return };
    for (name, messages, instruments, trades) in FILES {
        let frames = frames(&directory, name);
        let markets = markets(&frames);
        let mut session = session(&markets);
        let mut out = Recorded::default();
        frames.iter().for_each(|(_, frame)| apply(session.as_mut(), 1, frame, &mut out));
        let counters = session.counters();
        assert_eq!((counters.unreadable, counters.unrouted, counters.error_replies), (0, 0, 0), "{name}");
        assert_eq!((out.gaps().count(), out.wants().count(), out.trades().count()), (0, 0, trades), "{name}");
        let mut plain: BTreeMap<String, Plain> = BTreeMap::new();
        let books: Vec<&String> = frames.iter().map(|(_, frame)| frame).filter(|frame| is_book(frame)).collect();
        books.iter().for_each(|frame| plain.entry(instrument(frame)).or_default().apply(frame));
        assert_eq!((books.len(), plain.len()), (messages, instruments), "{name}");
        for (at, market) in (0u32..).zip(markets.iter()) {
            let Some(expected) = plain.get(&market.id) else { continue };
            let status = session.feed_status(3 * at + 2);
            // In 2022 each was subscribed twice on the connection: the second snapshot replaces what was there.
            let snapshots =
                books.iter().filter(|frame| frame.contains("snapshot") && instrument(frame) == market.id).count();
            assert_eq!((status.book, status.gaps), (Some(BookState::Valid), 0), "{name} {}", market.id);
            assert_eq!(usize::try_from(status.epoch).unwrap(), snapshots, "{name} {}", market.id);
            let mut ladder = Ladder::new();
            for event in &out.events {
                let dccd_exchange::conformance::Event::Level(feed, level) = event else { continue };
                if *feed == 3 * at + 2 {
                    ladder.apply(level);
                    let whole = !level.flags.contains(Flags::LAST) || (ladder.len().0 <= 400 && ladder.len().1 <= 400);
                    assert!(whole, "{name} {}: more levels than the exchange has", market.id);
                }
            }
            let size = market.contract_size.map_or(0, |size| size.exponent);
            let side = |side: &BTreeMap<Decimal, (String, String)>| -> Vec<(Decimal, Decimal)> {
                let amount = |text: &String| Decimal::parse(text.as_bytes()).unwrap();
                let scaled = |amount: Decimal| Decimal::new(amount.mantissa, amount.exponent + size);
                side.iter().map(|(price, (_, text))| (*price, scaled(amount(text)))).collect()
            };
            let mut bids: Vec<_> = ladder.bids().collect();
            bids.reverse();
            assert_eq!(bids, side(&expected.bids), "{name} {}", market.id);
            assert_eq!(ladder.asks().collect::<Vec<_>>(), side(&expected.asks), "{name} {}", market.id);
        }
    }
}

/// Without numbers only the checksum of the best 25 levels tells: each message left out is seen with the next one of its book just
/// where that differs, and each digit altered likewise with its own.
#[test]
fn a_recorded_message_that_is_left_out_or_altered_is_seen_where_its_checksum_covers_it() {
    let test = "a_recorded_message_that_is_left_out_or_altered_is_seen_where_its_checksum_covers_it";
    let Some(directory) = directory(test) else { return };
    let (mut left_out, mut altered, mut unseen) = (0, 0, 0);
    for (name, ..) in FILES {
        let frames = frames(&directory, name);
        let markets = markets(&frames);
        let books: Vec<&String> = frames.iter().map(|(_, frame)| frame).filter(|frame| is_book(frame)).collect();
        let mut of_each: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        books.iter().for_each(|frame| of_each.entry(instrument(frame)).or_default().push(frame));
        for frames in of_each.values() {
            let mut session = session(&markets);
            let mut plain = Plain::default();
            // Whether a session that stands here sees that something is wrong with this message.
            let sees = |saved: &[u8], frame: &str| {
                let mut session = okx().restore(Arc::clone(&markets), saved).unwrap();
                let mut out = Recorded::default();
                apply(session.as_mut(), 1, frame, &mut out);
                out.wants().count() > 0
            };
            for (at, frame) in frames.iter().enumerate() {
                // Each third, which is still some sixteen hundred.
                if at % 3 == 1 {
                    let saved = session.save();
                    if let Some(next) = frames.get(at + 1) {
                        let mut without = plain.clone();
                        without.apply(next);
                        let differs = without.checksum() != checksum(next);
                        assert_eq!(sees(&saved, next), differs, "{name}, left out: {frame}");
                        *(if differs { &mut left_out } else { &mut unseen }) += 1;
                    }
                    for key in [r#"[[""#, r#"","#, r#""checksum":"#] {
                        let Some(place) = frame.find(key).map(|at| at + key.len() + usize::from(key == r#"","#)) else {
                            continue;
                        };
                        let Some(digit) = frame.get(place..=place).filter(|c| c.as_bytes()[0].is_ascii_digit()) else {
                            continue;
                        };
                        let mut changed = (*frame).clone();
                        changed.replace_range(place..=place, if digit == "7" { "8" } else { "7" });
                        let mut other = plain.clone();
                        other.apply(&changed);
                        let differs = other.checksum() != checksum(&changed);
                        assert_eq!(sees(&saved, &changed), differs, "{name}, altered: {changed}");
                        altered += usize::from(differs);
                    }
                }
                apply(session.as_mut(), 1, frame, &mut Recorded::default());
                plain.apply(frame);
            }
        }
    }
    assert!(left_out >= 500 && altered >= 1_500, "{left_out} left out, {altered} altered, {unseen} unseen");
}

/// Since 2026 the checksum is always 0, and only the numbers tell.
#[test]
fn recorded_numbers_link_and_each_that_is_missing_or_altered_is_seen() {
    let Some(directory) = directory("recorded_numbers_link_and_each_that_is_missing_or_altered_is_seen") else { return };
    let updates = frames(&directory, "ws_v5_books_BTC-USDT_updates_checksum0_20260824");
    let markets = markets(&updates);
    let first = json(&updates[0].1)["data"][0]["prevSeqId"].as_u64().unwrap();
    let snapshot = format!(
        r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"snapshot","data":[{{"asks":[["78720","1","0","1"]],"bids":[["78710","1","0","1"]],"ts":"1787612486207","checksum":0,"seqId":{first},"prevSeqId":-1}}]}}"#
    );
    let play = |updates: &[String]| {
        let mut session = session(&markets);
        let mut out = Recorded::default();
        [&snapshot].into_iter().chain(updates).for_each(|frame| apply(session.as_mut(), 1, frame, &mut out));
        (session.feed_status(2), out)
    };
    let all: Vec<String> = updates.into_iter().map(|(_, frame)| frame).collect();
    let (status, out) = play(&all);
    assert_eq!((status.book, status.last_id), (Some(BookState::Valid), Some(80_274_874_923)));
    assert_eq!((out.wants().count(), out.gaps().count(), status.records), (0, 0, 2 + 5 + 1 + 15));
    for at in 0..all.len() - 1 {
        let mut without = all.clone();
        without.remove(at);
        assert_eq!(play(&without).0.book, Some(BookState::Suspect), "without update {at}");
    }
    for at in 0..all.len() {
        let place = all[at].find(r#""prevSeqId":"#).unwrap() + r#""prevSeqId":"#.len();
        let digits = place..all[at].len() - 3;
        assert_eq!(digits.len(), 11);
        for place in digits {
            let mut altered = all.clone();
            let other = if &altered[at][place..=place] == "7" { "8" } else { "7" };
            altered[at].replace_range(place..=place, other);
            assert_eq!(play(&altered).0.book, Some(BookState::Suspect), "update {at}, byte {place}");
        }
    }
}

#[test]
fn two_recorded_connections_give_what_one_gives() {
    let Some(directory) = directory("two_recorded_connections_give_what_one_gives") else { return };
    let mut all: Vec<(i64, u32, String)> = Vec::new();
    for (conn, name) in [(1, FILES[0].0), (2, FILES[1].0)] {
        all.extend(frames(&directory, name).into_iter().map(|(at, frame)| (at, conn, frame)));
    }
    all.sort_by_key(|(at, ..)| *at);
    let frames: Vec<(i64, String)> = all.iter().map(|(at, _, frame)| (*at, frame.clone())).collect();
    let markets = markets(&frames);
    let mut session = session(&markets);
    let mut out = Recorded::default();
    all.iter().for_each(|(_, conn, frame)| apply(session.as_mut(), *conn, frame, &mut out));
    assert_eq!((out.trades().count(), out.gaps().count(), out.wants().count()), (36, 0, 0));
    let books = (0u32..).zip(markets.iter()).map(|(at, _)| session.feed_status(3 * at + 2));
    let valid: Vec<_> = books.filter(|status| status.book == Some(BookState::Valid)).collect();
    assert!(valid.len() == 10 && valid.iter().all(|status| status.epoch == 1), "{valid:?}");
}

#[test]
fn recorded_single_messages_are_understood() {
    let Some(directory) = directory("recorded_single_messages_are_understood") else { return };
    let mut found = [0; 4];
    for name in ["ws_samples_cmp_okx", "ws_samples_tardis_spot", "ws_samples_tardis_swap", "ws_samples_tardis_futures"] {
        for (_, frame) in frames(&directory, name) {
            let message = json(&frame);
            let channel = message["arg"]["channel"].as_str().unwrap_or_default().to_owned();
            // Answers over REST, and messages of the socket before this one.
            if channel.is_empty() || message["event"] == "subscribe" {
                continue;
            }
            let markets = markets(&[(0, frame.clone())]);
            let mut session = session(&markets);
            let mut out = Recorded::default();
            apply(session.as_mut(), 1, &frame, &mut out);
            let counters = session.counters();
            let counts = [
                out.trades().count(),
                out.quotes().count(),
                out.levels().count(),
                usize::try_from(counters.unknown).unwrap(),
            ];
            let row = &message["data"][0];
            match channel.as_str() {
                "trades" | "trades-all" => {
                    let trade = out.trades().next().unwrap_or_else(|| panic!("{frame}: {counters:?}"));
                    let size = if instrument(&frame).ends_with("-SWAP") { -2 } else { 0 };
                    let amount = Decimal::parse(row["sz"].as_str().unwrap().as_bytes()).unwrap();
                    let time = trade.ts_venue.as_millis().to_string();
                    assert_eq!(trade.amount, Decimal::new(amount.mantissa, amount.exponent + size), "{frame}");
                    assert_eq!(
                        (trade.id.to_string(), time.as_str()),
                        (row["tradeId"].as_str().unwrap().to_owned(), row["ts"].as_str().unwrap())
                    );
                }
                "bbo-tbt" => assert_eq!(counts, [0, 1, 0, 0], "{frame}"),
                // Cut to a few levels by whoever wrote them down, so that checksums are wrong where there were more than 25.
                "books-l2-tbt" => assert_eq!(counters.unreadable + counters.unknown, 0, "{frame}"),
                // Of 2022: whether it is closed wasn't said yet.
                "candle1m" => assert_eq!((counts, counters.unreadable), ([0; 4], 1), "{frame}"),
                _ => assert_eq!(counts, [0, 0, 0, usize::from(message["event"].is_null())], "{frame}"),
            }
            found.iter_mut().zip(counts).for_each(|(all, more)| *all += more);
        }
    }
    assert!(found[0] >= 6 && found[1] >= 6 && found[3] >= 10, "{found:?}");
}

#[test]
fn recorded_lists_of_instruments_and_refusals_are_read() {
    let Some(directory) = directory("recorded_lists_of_instruments_and_refusals_are_read") else { return };
    let list = |kind: &str| {
        let path = directory.join(format!("rest/cf_api_v5_public_instruments_instType_{kind}_20210722.json.zst"));
        let body = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let listed = serde_json::from_slice::<Value>(&body).unwrap()["data"].as_array().unwrap().clone();
        (okx().parse_markets(&body).unwrap(), listed)
    };
    let (spot, listed) = list("SPOT");
    assert_eq!((spot.len(), spot.skipped()), (listed.len(), 0));
    assert!(spot.iter().all(|market| market.price_tick.is_some() && market.contract_size.is_none()));
    let (swaps, listed) = list("SWAP");
    let linear = listed.iter().filter(|row| row["ctType"] == "linear").count();
    assert_eq!((swaps.len(), swaps.skipped()), (linear, listed.len() - linear));
    let btc = swaps.by_symbol(&"BTC/USDT:USDT".parse().unwrap()).unwrap();
    assert_eq!((btc.id.as_str(), btc.contract_size), ("BTC-USDT-SWAP", Some(Decimal::new(1, -2))));
    let mut refusals = Vec::new();
    let path = directory.join("rest/errors_quoted.frames.jsonl.zst");
    for frame in read_fixture_frames(path).unwrap().map(Result::unwrap) {
        refusals.push(okx().parse_markets(frame.raw.as_bytes()).unwrap_err().to_string());
    }
    assert_eq!(
        refusals,
        [
            "okx refused the list of markets with code 50011: Too Many Requests",
            "okx refused the list of markets with code 51001: Instrument ID does not exist"
        ]
    );
}
