//! Recorded messages of KuCoin pass through the session: trades, replies, lists of markets. Of the present books only single messages
//! were recorded; so the recorded changes of whole books (2021) are told once more as the exchange tells them now: the best 500 levels
//! on the connection, then what changed in them, under the same numbers. The session's book is the best 500 of the whole one after each
//! message; each message that is left out is seen with the next, and so is each of its numbers with another digit, unless the book is
//! right all the same. Amounts can't be seen to be wrong: the exchange sends no checksum.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, Ladder, Markets, Session, adapter};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Flags, UnixNanos};
use dccd_testkit::{FixtureFrame, fixtures, read_fixture_frames, skip};
use serde_json::Value;

const BOOKS: &str = "ws_spot_6pairs_20210425";
const WINDOW: usize = 500;

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("kucoin")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of kucoin; set DCCD_FIXTURES");
    }
    found
}

fn frames(directory: &Path, name: &str) -> Vec<FixtureFrame> {
    let path = directory.join(format!("{name}.frames.jsonl.zst"));
    read_fixture_frames(path).unwrap().map(Result::unwrap).collect()
}

fn kucoin() -> Arc<dyn Adapter> {
    adapter("kucoin", &AdapterOptions::default()).unwrap()
}

/// A session with all feeds of a symbol, trades, quotes, book, and a connection to each socket.
fn session(symbol: &str) -> Box<dyn Session> {
    let mut session = kucoin().session(Arc::default());
    let mut apply = |kind, conn, subject: &str| {
        let entry = Entry { kind, conn, ts_recv: UnixNanos(1), subject, payload: b"" };
        session.apply(&entry, &mut Recorded::default());
    };
    ["trades", "quotes", "book"].iter().for_each(|c| apply(EntryKind::FeedOpened, 0, &format!("{symbol} {c}")));
    [(1, "classic"), (2, "pro")].into_iter().for_each(|(conn, socket)| apply(EntryKind::Opened, conn, socket));
    session
}

fn feed(session: &mut dyn Session, conn: u32, frame: &str, out: &mut Recorded) {
    let payload = frame.as_bytes();
    session.apply(&Entry { kind: EntryKind::Frame, conn, ts_recv: UnixNanos(2), subject: "", payload }, out);
}

type Levels = BTreeMap<Decimal, Decimal>;

/// Bids and asks.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Whole([Levels; 2]);

fn number(value: &Value) -> Decimal {
    Decimal::parse(value.as_str().unwrap().as_bytes()).unwrap()
}

impl Whole {
    fn set(&mut self, side: usize, price: Decimal, amount: Decimal) {
        if amount.is_zero() {
            self.0[side].remove(&price);
        } else if !price.is_zero() {
            self.0[side].insert(price, amount);
        }
    }

    /// The best levels.
    fn window(&self) -> Whole {
        let copy = |(price, amount): (&Decimal, &Decimal)| (*price, *amount);
        Whole([self.0[0].iter().rev().take(WINDOW).map(copy).collect(), self.0[1].iter().take(WINDOW).map(copy).collect()])
    }

    /// What leads from an earlier one to this: levels that left are ended, all that are new or changed are told.
    fn changes_since(&self, earlier: &Whole) -> [Vec<(Decimal, Decimal)>; 2] {
        [0, 1].map(|side| {
            let (now, then) = (&self.0[side], &earlier.0[side]);
            let ended = then.keys().filter(|price| !now.contains_key(price)).map(|price| (*price, Decimal::ZERO));
            ended
                .chain(now.iter().filter(|(price, amount)| then.get(price) != Some(amount)).map(|(p, a)| (*p, *a)))
                .collect()
        })
    }
}

/// As the exchange tells it now.
fn told(kind: &str, symbol: &str, numbers: (u64, u64), sides: &[Vec<(Decimal, Decimal)>; 2]) -> String {
    let text = |levels: &[(Decimal, Decimal)]| {
        levels.iter().map(|(price, amount)| format!(r#"["{price}","{amount}"]"#)).collect::<Vec<_>>().join(",")
    };
    let ((first, last), [bids, asks]) = (numbers, sides);
    format!(
        r#"{{"T":"obu.SPOT","dp":"increment@10ms","t":"{kind}","P":{last}000000,"d":{{"C":{last},"M":{last}000,"O":{first},"a":[{}],"b":[{}],"s":"{symbol}"}}}}"#,
        text(asks),
        text(bids)
    )
}

/// Of one recorded market the messages, and the best levels after each.
fn books(directory: &Path) -> Vec<(String, Vec<(String, Whole)>)> {
    let frames = frames(directory, BOOKS);
    let parsed = |frame: &FixtureFrame| serde_json::from_str::<Value>(&frame.raw).unwrap();
    let snapshots = frames.iter().filter(|frame| frame.dir == "http");
    snapshots
        .map(|snapshot| {
            let id = snapshot.conn.split("symbol=").nth(1).unwrap().to_owned();
            let data = &parsed(snapshot)["data"];
            let mut whole = Whole::default();
            for (side, key) in ["bids", "asks"].into_iter().enumerate() {
                let levels = data[key].as_array().unwrap();
                levels.iter().for_each(|level| whole.set(side, number(&level[0]), number(&level[1])));
            }
            let begin: u64 = data["sequence"].as_str().unwrap().parse().unwrap();
            let mut window = whole.window();
            let mut messages =
                vec![(told("snapshot", &id, (begin, begin), &window.changes_since(&Whole::default())), window.clone())];
            let topic = format!("/market/level2:{id}");
            let (mut first, mut last) = (begin + 1, begin);
            for (count, message) in
                frames.iter().filter(|f| f.dir == "in").map(parsed).filter(|m| m["topic"] == topic).enumerate()
            {
                let data = &message["data"];
                let (start, end) = (data["sequenceStart"].as_u64().unwrap(), data["sequenceEnd"].as_u64().unwrap());
                if end <= begin {
                    continue;
                }
                // The recorded chain links, on its start side, too.
                assert_eq!(start, last + 1, "{id}");
                last = end;
                for (side, key) in ["bids", "asks"].into_iter().enumerate() {
                    let levels = data["changes"][key].as_array().unwrap();
                    levels.iter().for_each(|level| whole.set(side, number(&level[0]), number(&level[1])));
                }
                let now = whole.window();
                let changes = now.changes_since(&window);
                // Some changes come together, and what nobody sees is not told.
                if count % 3 != 0 || changes.iter().all(Vec::is_empty) {
                    continue;
                }
                messages.push((told("delta", &id, (first, last), &changes), now.clone()));
                (first, window) = (last + 1, now);
            }
            (id, messages)
        })
        .collect()
}

fn symbol(id: &str) -> String {
    id.replace('-', "/")
}

#[test]
fn every_recorded_book_told_as_the_exchange_tells_it_now_is_the_best_of_the_whole_one() {
    let test = "every_recorded_book_told_as_the_exchange_tells_it_now_is_the_best_of_the_whole_one";
    let Some(directory) = directory(test) else { return };
    let (mut events, mut moved) = (0, 0);
    for (id, messages) in books(&directory) {
        let mut session = session(&symbol(&id));
        let mut ladder = Ladder::new();
        for (message, expected) in &messages {
            let mut out = Recorded::default();
            feed(session.as_mut(), 2, message, &mut out);
            out.levels().for_each(|level| ladder.apply(level));
            assert!(out.levels().last().is_some_and(|level| level.flags.contains(Flags::LAST)), "{message}");
            let got = Whole([ladder.bids().collect(), ladder.asks().collect()]);
            assert_eq!(&got, expected, "{id}");
            moved += usize::from(expected.0[1].len() == WINDOW && out.levels().count() > 1);
        }
        let status = session.feed_status(2);
        assert_eq!((status.book, status.epoch, status.gaps), (Some(BookState::Valid), 1, 0), "{id}");
        assert_eq!((session.counters().unreadable, session.counters().unrouted), (0, 0));
        events += messages.len();
    }
    assert!(events > 300 && moved > 20, "{events} events, {moved} of them at the lower end");
}

#[test]
fn any_message_that_is_left_out_is_seen_and_any_number_with_another_digit_is_or_does_no_harm() {
    let test = "any_message_that_is_left_out_is_seen_and_any_number_with_another_digit_is_or_does_no_harm";
    let Some(directory) = directory(test) else { return };
    let (mut seen, mut harmless) = (0, 0);
    for (id, messages) in books(&directory) {
        let mut session = session(&symbol(&id));
        let mut ladder = Ladder::new();
        let mut out = Recorded::default();
        feed(session.as_mut(), 2, &messages[0].0, &mut out);
        for (at, pair) in messages[1..].windows(2).enumerate() {
            out.levels().for_each(|level| ladder.apply(level));
            let here = session.save();
            let play = |texts: &[&str]| {
                let mut session = kucoin().restore(Arc::default(), &here).unwrap();
                let mut out = Recorded::default();
                texts.iter().for_each(|text| feed(session.as_mut(), 2, text, &mut out));
                (session.feed_status(2).book, out)
            };
            let (state, left_out) = play(&[&pair[1].0]);
            let counts = (left_out.levels().count(), left_out.wants().count(), state);
            assert_eq!(counts, (0, 1, Some(BookState::Suspect)), "{id}");
            for key in [r#""O":"#, r#""C":"#].iter().filter(|_| at < 20) {
                let text = &pair[0].0;
                let begin = text.find(key).unwrap() + key.len();
                for place in begin..begin + text[begin..].find(',').unwrap() {
                    let mut changed = text.clone();
                    changed.replace_range(place..=place, if text[place..].starts_with('7') { "8" } else { "7" });
                    let (state, changed_out) = play(&[&changed, &pair[1].0]);
                    if state == Some(BookState::Suspect) {
                        seen += 1;
                        continue;
                    }
                    // The message overlaps with its neighbour, and says all the same what is now.
                    let mut ladder = ladder.clone();
                    changed_out.levels().for_each(|level| ladder.apply(level));
                    let got = Whole([ladder.bids().collect(), ladder.asks().collect()]);
                    assert_eq!(got, pair[1].1, "{id}: byte {place} of {text}");
                    harmless += 1;
                }
            }
            out = Recorded::default();
            feed(session.as_mut(), 2, &pair[0].0, &mut out);
        }
    }
    assert!(seen > 500 && harmless > 100, "{seen} seen, {harmless} harmless");
}

#[test]
fn every_recorded_trade_comes_out_as_it_is_and_every_other_message_is_known() {
    let test = "every_recorded_trade_comes_out_as_it_is_and_every_other_message_is_known";
    let Some(directory) = directory(test) else { return };
    let frames = frames(&directory, BOOKS);
    let mut count = 0;
    for id in ["DAPPT-BTC", "FET-BTC"] {
        let mut session = session(&symbol(id));
        let mut out = Recorded::default();
        let (mut expected, mut unknown, mut acks) = (Vec::new(), 0, 0);
        for frame in frames.iter().filter(|frame| frame.dir == "in") {
            feed(session.as_mut(), 1, &frame.raw, &mut out);
            let message: Value = serde_json::from_str(&frame.raw).unwrap();
            let (data, topic) = (&message["data"], message["topic"].as_str().unwrap_or_default());
            if topic == format!("/market/match:{id}") {
                let text = |key: &str| data[key].as_str().unwrap().to_owned();
                expected.push((text("sequence"), text("price"), text("size"), text("time"), text("side")));
            }
            unknown += u64::from(!topic.is_empty() && !topic.starts_with("/market/match:"));
            acks += usize::from(message["type"] == "ack");
        }
        let got: Vec<_> = out
            .trades()
            .map(|t| {
                let side = if t.side == dccd_model::Side::Buy { "buy" } else { "sell" };
                (t.id.to_string(), t.price.to_string(), t.amount.to_string(), t.ts_venue.0.to_string(), side.to_owned())
            })
            .collect();
        assert_eq!(got, expected, "{id}");
        let counters = session.counters();
        assert_eq!((counters.unreadable, counters.error_replies, counters.unknown), (0, 0, unknown), "{id}");
        let told = out.notices().filter(|words| words.contains("Ack")).count();
        assert_eq!((told, session.feed_status(0).gaps), (acks, 0), "{id}");
        count += got.len();
    }
    assert_eq!(count, 13);
}

#[test]
fn recorded_and_documented_single_messages_are_understood() {
    let Some(directory) = directory("recorded_and_documented_single_messages_are_understood") else { return };
    let mut trades = 0;
    for file in ["ws_samples_tardis_spot", "ws_samples_cmp_kucoin", "ws_samples_tardis_futures"] {
        for frame in frames(&directory, file) {
            let message: Value = serde_json::from_str(&frame.raw).unwrap();
            let topic = message["topic"].as_str().unwrap_or_default();
            let id = topic.strip_prefix("/market/match:").unwrap_or("BTC-USDT");
            let mut session = session(&symbol(id));
            let mut out = Recorded::default();
            feed(session.as_mut(), 1, &frame.raw, &mut out);
            let counters = session.counters();
            let is_trade = topic.starts_with("/market/match:");
            // Answers over REST are among them, and are no messages of a socket.
            let is_other = !is_trade && (!topic.is_empty() || message["code"].is_string());
            assert_eq!((counters.unreadable, counters.unrouted, counters.error_replies), (0, 0, 0), "{}", frame.raw);
            assert_eq!((out.trades().count(), counters.unknown), (usize::from(is_trade), u64::from(is_other)));
            if let (Some(trade), Some(expected)) = (out.trades().next(), frame.expect.as_ref().and_then(|e| e.get(0))) {
                let side = if trade.side == dccd_model::Side::Buy { "buy" } else { "sell" };
                let got = (trade.price.to_f64(), trade.amount.to_f64(), side);
                let named = |key: &str| expected[key].as_f64().unwrap();
                assert_eq!(got, (named("price"), named("amount"), expected["side"].as_str().unwrap()));
            }
            trades += out.trades().count();
        }
    }
    assert_eq!(trades, 2);
    // The documented snapshot of a book, told with another depth in its example's answer.
    let documents = zstd::decode_all(std::fs::File::open(directory.join("docs_jkorf.jsonl.zst")).unwrap()).unwrap();
    let documents = String::from_utf8(documents).unwrap();
    let line = documents.lines().find(|line| line.contains("Subscriptions/Unified/OrderBook.txt")).unwrap();
    let text = serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    let push = text.split_once("= ").unwrap().1;
    let mut session = session("ETH/USDT");
    let mut out = Recorded::default();
    feed(session.as_mut(), 2, push.trim(), &mut out);
    let levels: Vec<String> =
        out.levels().map(|l| format!("{} {} {} {}", l.side.as_str(), l.price, l.amount, l.update_id)).collect();
    assert_eq!(levels, ["bid 90701.1 0.13918404 25984468414", "ask 90701.2 0.5771583 25984468414"]);
    assert!(out.events.iter().any(|event| matches!(event, Event::State(_, BookState::Valid, 1))));
}

#[test]
fn recorded_lists_and_answers_are_read() {
    let Some(directory) = directory("recorded_lists_and_answers_are_read") else { return };
    let file = directory.join("rest/cf_api_v1_symbols_20210425.json.zst");
    let body = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let listed = serde_json::from_slice::<Value>(&body).unwrap()["data"].as_array().unwrap().len();
    let markets: Markets = kucoin().parse_markets(&body).unwrap();
    assert_eq!((markets.len(), markets.skipped()), (listed, 0));
    let btc = markets.by_symbol(&"BTC/USDT".parse().unwrap()).unwrap();
    assert_eq!((btc.id.as_str(), btc.price_tick.map(|tick| tick.to_string()).as_deref()), ("BTC-USDT", Some("0.1")));
    // Documented answers: candles with the close before the high, trades, errors.
    let documents = zstd::decode_all(std::fs::File::open(directory.join("docs_jkorf.jsonl.zst")).unwrap()).unwrap();
    let documents = String::from_utf8(documents).unwrap();
    let answer = |name: &str| {
        let line = documents.lines().find(|line| line.contains(name)).unwrap();
        let text = serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
        text[text.find('{').unwrap()..].to_owned()
    };
    let kucoin = kucoin();
    let history = kucoin.history().unwrap();
    let span = dccd_model::Span::from_secs(60).unwrap();
    let mut candles = Vec::new();
    history.parse_candles(answer("Spot/ExchangeData/GetKlines").as_bytes(), span, UnixNanos(1), &mut candles).unwrap();
    let read: Vec<String> = candles
        .iter()
        .map(|c| format!("{} {} {} {} {} {}", c.ts_open.as_millis() / 1_000, c.open, c.high, c.low, c.close, c.quote_volume))
        .collect();
    assert_eq!(read, ["1545904920 0.058 0.072 0.058 0.072 0.006986", "1545904980 0.058 0.058 0.049 0.049 0.000945"]);
    let mut trades = Vec::new();
    let page = answer("Spot/ExchangeData/GetTradeHistory");
    history.parse_trades_page(page.as_bytes(), dccd_exchange::TradeCursor::Id(0), UnixNanos(1), &mut trades).unwrap();
    assert_eq!(trades.iter().map(|t| t.id.0).collect::<Vec<_>>(), [1_545_896_668_571, 1_545_896_668_578]);
    for frame in frames(&directory, "rest/errors_quoted") {
        let refusal = history.parse_candles(frame.raw.as_bytes(), span, UnixNanos(1), &mut Vec::new()).unwrap_err();
        let is_limit = matches!(refusal, dccd_exchange::HistoryError::RateLimited { .. });
        assert_eq!(is_limit, frame.raw.contains("429000"), "{refusal}");
        assert_eq!(refusal.is_worth_retrying(), is_limit, "{refusal}");
    }
}
