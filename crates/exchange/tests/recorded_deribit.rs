//! Recorded messages of Deribit pass through the session: every chain links, the books are the exchange's, and what is left out or
//! altered is seen where anything can tell it. There is no checksum: an amount that is another one can't be seen, nor a new level at
//! another price.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, Ladder, Market, MarketStatus, Markets, Session, adapter};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Span, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// How many messages of books, how many instruments with books.
const FILES: [(&str, usize, usize); 2] = [("ws_v2_20210405", 187, 10), ("ws_v2_20210722", 46, 10)];

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("deribit")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of deribit; set DCCD_FIXTURES");
    }
    found
}

fn frames(directory: &Path, name: &str) -> Vec<String> {
    let path = directory.join(format!("{name}.frames.jsonl.zst"));
    let all = read_fixture_frames(path).unwrap().map(Result::unwrap);
    all.filter(|frame| frame.dir == "in").map(|frame| frame.raw).collect()
}

fn deribit() -> Arc<dyn Adapter> {
    adapter("deribit", &AdapterOptions::default()).unwrap()
}

fn json(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap()
}

/// The channel's parts: `book`, `BTC-PERPETUAL`, `raw`.
fn channel(frame: &str) -> Vec<String> {
    let message = json(frame);
    message["params"]["channel"].as_str().unwrap_or_default().split('.').map(str::to_owned).collect()
}

fn instrument(frame: &str) -> String {
    channel(frame).get(1).cloned().unwrap_or_default()
}

fn is_book(frame: &str) -> bool {
    frame.contains(r#""channel":"book."#)
}

/// Every instrument that is recorded, under a symbol of its own.
fn markets(frames: &[String]) -> Arc<Markets> {
    let mut ids: Vec<String> = frames.iter().map(|frame| instrument(frame)).filter(|id| !id.is_empty()).collect();
    ids.sort();
    ids.dedup();
    let market = |(at, id): (usize, String)| Market {
        symbol: format!("I{at}/USDT").parse().unwrap(),
        id,
        status: MarketStatus::Trading,
        price_tick: None,
        amount_step: None,
        amount_min: None,
        amount_max: None,
        notional_min: None,
        contract_size: None,
    };
    Arc::new(ids.into_iter().enumerate().map(market).collect())
}

/// A session with all feeds of these markets: of the market at place n 3n are trades, 3n + 1 quotes, 3n + 2 the book.
fn session(markets: &Arc<Markets>) -> Box<dyn Session> {
    let mut session = deribit().session(Arc::clone(markets));
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

fn number(value: &Value) -> Decimal {
    Decimal::parse(value.to_string().as_bytes()).unwrap()
}

/// A book applied plainly, whatever its messages say was there: bids, asks.
type Plain = [BTreeMap<Decimal, Decimal>; 2];

fn plain(book: &mut Plain, frame: &str) {
    let data = &json(frame)["params"]["data"];
    if data["type"] == "snapshot" {
        *book = Plain::default();
    }
    for (side, key) in book.iter_mut().zip(["bids", "asks"]) {
        for level in data[key].as_array().unwrap() {
            if level[0] == "delete" {
                side.remove(&number(&level[1]));
            } else {
                side.insert(number(&level[1]), number(&level[2]));
            }
        }
    }
}

#[test]
fn every_recorded_chain_links_and_the_books_are_the_exchanges() {
    let Some(directory) = directory("every_recorded_chain_links_and_the_books_are_the_exchanges") else { return };
    for (name, messages, instruments) in FILES {
        let frames = frames(&directory, name);
        let markets = markets(&frames);
        let mut session = session(&markets);
        let mut out = Recorded::default();
        frames.iter().for_each(|frame| apply(session.as_mut(), 1, frame, &mut out));
        let counters = session.counters();
        assert_eq!((counters.unreadable, counters.unrouted, counters.error_replies), (0, 0, 0), "{name}");
        assert_eq!((out.gaps().count(), out.wants().count()), (0, 0), "{name}");
        let subscribed = out.notices().filter(|notice| notice.starts_with("Subscribed { conn: 1, id: 0,")).count();
        assert_eq!(subscribed, 1, "{name}");
        let mut books: BTreeMap<String, Plain> = BTreeMap::new();
        let of_books: Vec<&String> = frames.iter().filter(|frame| is_book(frame)).collect();
        of_books.iter().for_each(|frame| plain(books.entry(instrument(frame)).or_default(), frame));
        assert_eq!((of_books.len(), books.len()), (messages, instruments), "{name}");
        for (at, market) in (0u32..).zip(markets.iter()) {
            let Some([bids, asks]) = books.get(&market.id) else { continue };
            let status = session.feed_status(3 * at + 2);
            assert_eq!((status.book, status.epoch), (Some(BookState::Valid), 1), "{name} {}", market.id);
            let mut ladder = Ladder::new();
            for event in &out.events {
                if let Event::Level(feed, level) = event
                    && *feed == 3 * at + 2
                {
                    ladder.apply(level);
                }
            }
            let side = |side: &BTreeMap<Decimal, Decimal>| side.iter().map(|(p, a)| (*p, *a)).collect::<Vec<_>>();
            let mut low_first: Vec<_> = ladder.bids().collect();
            low_first.reverse();
            assert_eq!((low_first, ladder.asks().collect::<Vec<_>>()), (side(bids), side(asks)), "{name} {}", market.id);
        }
    }
}

/// Another digit at this place.
fn with_another_digit(frame: &str, place: usize) -> String {
    let mut changed = frame.to_owned();
    changed.replace_range(place..=place, if &frame[place..=place] == "7" { "8" } else { "7" });
    changed
}

/// Where the digits of a message's levels stand: within lists within lists.
fn digits_of_levels(frame: &str) -> Vec<usize> {
    let mut depth = 0;
    let mut places = Vec::new();
    for (at, byte) in frame.bytes().enumerate() {
        depth += i32::from(byte == b'[') - i32::from(byte == b']');
        if depth == 2 && byte.is_ascii_digit() {
            places.push(at);
        }
    }
    places
}

/// Whether a message can't be right after this book: it changes or ends what isn't there, ends with an amount or sets without one, or
/// leaves sides that cross.
fn contradicts(book: &Plain, frame: &str) -> bool {
    let data = &json(frame)["params"]["data"];
    let mut after = book.clone();
    let mut wrong = false;
    for (side, key) in after.iter_mut().zip(["bids", "asks"]) {
        for level in data[key].as_array().unwrap() {
            let (price, amount) = (number(&level[1]), number(&level[2]));
            wrong |= amount.is_zero() != (level[0] == "delete");
            let was_there = if amount.is_zero() { side.remove(&price) } else { side.insert(price, amount) };
            wrong |= level[0] != "new" && was_there.is_none();
        }
    }
    let crosses = after[0].keys().next_back().zip(after[1].keys().next()).is_some_and(|(bid, ask)| bid >= ask);
    wrong || crosses
}

#[test]
fn a_recorded_message_that_is_left_out_or_altered_is_seen() {
    let Some(directory) = directory("a_recorded_message_that_is_left_out_or_altered_is_seen") else { return };
    let (mut left_out, mut altered, mut seen, mut unseen) = (0, 0, 0, 0);
    for (name, ..) in FILES {
        let frames = frames(&directory, name);
        let markets = markets(&frames);
        let mut of_each: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        frames.iter().filter(|frame| is_book(frame)).for_each(|frame| {
            of_each.entry(instrument(frame)).or_default().push(frame);
        });
        // Whether a session that stands here sees that something is wrong with these messages.
        let sees = |saved: &[u8], frames: &[&str]| {
            let mut session = deribit().restore(Arc::clone(&markets), saved).unwrap();
            let mut out = Recorded::default();
            frames.iter().for_each(|frame| apply(session.as_mut(), 1, frame, &mut out));
            out.wants().count() > 0 || session.counters().unreadable > 0
        };
        for frames in of_each.values() {
            let mut session = session(&markets);
            let mut book = Plain::default();
            for (at, frame) in frames.iter().enumerate() {
                let saved = session.save();
                if let Some(next) = frames.get(at + 1) {
                    // Without the first there is no book yet, and nothing is given out.
                    if at > 0 {
                        assert!(sees(&saved, &[next]), "{name}, left out: {frame}");
                        left_out += 1;
                    }
                    for key in [r#""change_id":"#, r#""prev_change_id":"#] {
                        let Some(begin) = frame.find(key).map(|at| at + key.len()) else { continue };
                        let digits = frame[begin..].bytes().take_while(u8::is_ascii_digit).count();
                        for changed in (begin..begin + digits).map(|place| with_another_digit(frame, place)) {
                            assert!(sees(&saved, &[&changed, next]), "{name}, {key} altered: {changed}");
                            altered += 1;
                        }
                    }
                }
                if at > 0 {
                    for changed in digits_of_levels(frame).into_iter().map(|place| with_another_digit(frame, place)) {
                        let is_wrong = contradicts(&book, &changed);
                        assert_eq!(sees(&saved, &[&changed]), is_wrong, "{name}, altered: {changed}");
                        *(if is_wrong { &mut seen } else { &mut unseen }) += 1;
                    }
                }
                apply(session.as_mut(), 1, frame, &mut Recorded::default());
                plain(&mut book, frame);
            }
        }
    }
    // What can't be seen: an amount that is another one, and a new level at another price.
    assert_eq!((left_out, altered, seen, unseen), (202, 4_217, 1_339, 1_047));
}

/// Both connections bring all; the second one begins in the middle, and the first one ends then.
#[test]
fn a_recorded_connection_that_is_replaced_costs_nothing() {
    let Some(directory) = directory("a_recorded_connection_that_is_replaced_costs_nothing") else { return };
    for (name, ..) in FILES {
        let frames = frames(&directory, name);
        let markets = markets(&frames);
        let (mut one, mut two) = (session(&markets), session(&markets));
        let (mut expected, mut out) = (Recorded::default(), Recorded::default());
        let mut books: BTreeMap<String, (u64, Plain)> = BTreeMap::new();
        for (at, frame) in frames.iter().enumerate() {
            apply(one.as_mut(), 1, frame, &mut expected);
            if is_book(frame) {
                let (change, book) = books.entry(instrument(frame)).or_default();
                plain(book, frame);
                *change = json(frame)["params"]["data"]["change_id"].as_u64().unwrap();
            }
            if at <= frames.len() * 2 / 3 {
                apply(two.as_mut(), 1, frame, &mut out);
            }
            if at == frames.len() / 3 {
                for (id, (change, [bids, asks])) in &books {
                    let side = |side: &BTreeMap<Decimal, Decimal>| {
                        let level = |(price, amount): (&Decimal, &Decimal)| format!(r#"["new",{price},{amount}]"#);
                        side.iter().map(level).collect::<Vec<_>>().join(",")
                    };
                    let whole = format!(
                        r#"{{"method":"subscription","params":{{"channel":"book.{id}.raw","data":{{"type":"snapshot","timestamp":1,"change_id":{change},"bids":[{}],"asks":[{}]}}}}}}"#,
                        side(bids),
                        side(asks)
                    );
                    apply(two.as_mut(), 2, &whole, &mut out);
                }
            } else if at > frames.len() / 3 {
                apply(two.as_mut(), 2, frame, &mut out);
            }
            if at == frames.len() * 2 / 3 {
                let entry = Entry { kind: EntryKind::Closed, conn: 1, ts_recv: UnixNanos(2), subject: "", payload: b"" };
                two.apply(&entry, &mut out);
            }
        }
        assert!(expected.levels().count() > 0);
        assert_eq!(out.levels().collect::<Vec<_>>(), expected.levels().collect::<Vec<_>>(), "{name}");
        assert_eq!((out.gaps().count(), out.wants().count()), (0, 0), "{name}");
    }
}

#[test]
fn recorded_single_messages_are_understood() {
    let Some(directory) = directory("recorded_single_messages_are_understood") else { return };
    let mut found = [0; 4];
    for name in ["ws_samples_cmp_deribit", "ws_samples_tardis_all"] {
        for frame in frames(&directory, name) {
            let parts = channel(&frame);
            // Answers over REST.
            if parts[0].is_empty() {
                continue;
            }
            let markets = markets(std::slice::from_ref(&frame));
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
            let message = json(&frame);
            let data = &message["params"]["data"];
            match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["trades", "option", ..] => assert_eq!(counts, [0, 0, 0, 1], "all options: {frame}"),
                ["trades", ..] => {
                    let rows = data.as_array().unwrap();
                    assert_eq!(counts, [rows.len(), 0, 0, 0], "{frame}");
                    for (trade, row) in out.trades().zip(rows) {
                        let fields = [&row["trade_seq"], &row["timestamp"]].map(|field| field.as_i64().unwrap());
                        let time = trade.ts_venue.as_millis();
                        assert_eq!([i64::try_from(trade.id.0).unwrap(), time], fields, "{frame}");
                        assert_eq!((trade.price, trade.amount), (number(&row["price"]), number(&row["amount"])));
                        assert_eq!(trade.side.as_str(), row["direction"].as_str());
                    }
                }
                ["quote", ..] => {
                    assert_eq!(counts, [0, 1, 0, 0], "{frame}");
                    let quote = out.quotes().next().unwrap();
                    assert_eq!(
                        [quote.bid, quote.bid_amount, quote.ask, quote.ask_amount],
                        ["best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount"]
                            .map(|field| number(&data[field]))
                    );
                }
                ["book", _, _] => {
                    let all = data["bids"].as_array().unwrap().len() + data["asks"].as_array().unwrap().len();
                    // A change without its book brings nothing, unless there was nothing before it.
                    let is_whole = data["prev_change_id"].as_u64().is_none_or(|prev| prev == 0);
                    assert_eq!(counts, [0, 0, if is_whole { all } else { 0 }, 0], "{frame}");
                }
                _ => assert_eq!(counts, [0, 0, 0, 1], "{frame}"),
            }
            assert_eq!(counters.unreadable + counters.unrouted, 0, "{frame}");
            found.iter_mut().zip(counts).for_each(|(all, more)| *all += more);
        }
    }
    assert_eq!(found, [7, 3, 18, 11]);
}

/// Examples of documents, some of them recorded and cut.
#[test]
fn documented_messages_are_understood() {
    let Some(directory) = directory("documented_messages_are_understood") else { return };
    let text = zstd::decode_all(std::fs::File::open(directory.join("docs_nautilus.jsonl.zst")).unwrap()).unwrap();
    let mut seen = Vec::new();
    for line in String::from_utf8(text).unwrap().lines() {
        let example = json(line);
        let file = example["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        if !file.starts_with("ws_") {
            continue;
        }
        let frame = example["text"].as_str().unwrap();
        let markets = markets(&[frame.to_owned()]);
        let mut session = session(&markets);
        let mut out = Recorded::default();
        apply(session.as_mut(), 1, frame, &mut out);
        let what = match out.events.first() {
            None => "nothing".to_owned(),
            Some(Event::Notice(words)) => words.split(' ').next().unwrap().to_owned(),
            Some(Event::Want(want)) => format!("{want:?}"),
            Some(_) => {
                format!("{} trades, {} quotes, {} levels", out.trades().count(), out.quotes().count(), out.levels().count())
            }
        };
        seen.push(format!("{file}: {what}"));
    }
    assert_eq!(
        seen,
        [
            "ws_book_delta.json: nothing",
            "ws_book_grouped_snapshot.json: UnknownMessage",
            "ws_chart.json: UnknownMessage",
            "ws_error.json: ErrorReply",
            "ws_quote.json: 0 trades, 1 quotes, 0 levels",
            "ws_test_request.json: Pong { conn: 1 }",
            "ws_trades.json: 2 trades, 0 quotes, 0 levels",
        ]
    );
}

#[test]
fn recorded_answers_are_read() {
    let Some(directory) = directory("recorded_answers_are_read") else { return };
    let body = |name: &str| std::fs::read(directory.join("rest").join(name)).unwrap();
    let zipped = |name: &str| zstd::decode_all(body(name).as_slice()).unwrap();
    let listed = |name: &str, body: &[u8]| {
        let all = serde_json::from_slice::<Value>(body).unwrap()["result"].as_array().unwrap().clone();
        let offered = all.iter().filter(|row| row["kind"] == "future" || row["kind"] == "spot").count();
        let markets = deribit().parse_markets(body).unwrap();
        assert_eq!((markets.len(), markets.skipped()), (offered, 0), "{name}");
        assert!(markets.iter().all(|market| market.price_tick.is_some() && market.amount_step.is_some()), "{name}");
        markets.iter().map(|market| (market.symbol.to_string(), market.id.clone())).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for currency in ["BTC", "ETH", "SOL"] {
        let name = format!("cf_api_v2_public_get_instruments_currency_{currency}_expired_false_20210722.json.zst");
        all.extend(listed(&name, &zipped(&name)));
    }
    for name in
        ["cf_api_v2_public_get_instruments_currency_USDC_expired_false_20210722.json", "nautilus_http_get_instruments.json"]
    {
        all.extend(listed(name, &body(name)));
    }
    // Another symbol means what the exchange calls so, by the form of its ids alone.
    for (symbol, id) in &all {
        let feed = (symbol.parse().unwrap(), dccd_model::Channel::Quotes);
        let text = &deribit().subscribe(&[feed], &Markets::default(), 1)[0].text;
        assert!(text.contains(&format!("\"quote.{id}\"")), "{symbol}: {text}");
    }
    let known = |symbol: &str| all.iter().any(|(known, _)| known == symbol);
    assert!(known("BTC/USD:BTC") && known("ETH/USD:ETH-210924") && known("SOL/USDC:USDC") && all.len() >= 25, "{all:?}");

    let history = deribit();
    let history = history.history().unwrap();
    let mut candles = Vec::new();
    let span = Span::from_secs(60).unwrap();
    history.parse_candles(&body("nautilus_http_get_tradingview_chart_data.json"), span, UnixNanos(1), &mut candles).unwrap();
    let lines: Vec<String> =
        candles.iter().map(|c| format!("{} {} {} {}", c.ts_open.as_millis(), c.close, c.volume, c.quote_volume)).collect();
    assert_eq!((lines.len(), lines[0].as_str()), (5, "1766483460000 87456.5 2.94375216 257490.0"));

    let page = body("nautilus_http_get_last_trades.json");
    let rows = serde_json::from_slice::<Value>(&page).unwrap()["result"]["trades"].as_array().unwrap().clone();
    let seq = |at: usize| rows[at]["trade_seq"].as_u64().unwrap();
    let last = rows.len() - 1;
    // The recorded page fills a hole between its first and its last.
    let eth = "ETH/USD:ETH";
    let mut session = history_session(eth);
    let mut out = Recorded::default();
    for at in [0, last] {
        let frame = format!(
            r#"{{"method":"subscription","params":{{"channel":"trades.ETH-PERPETUAL.100ms","data":[{}]}}}}"#,
            rows[at]
        );
        apply(session.as_mut(), 1, &frame, &mut out);
    }
    let subject = format!("trades {eth} {}", seq(0) + 1);
    let answer = Entry { kind: EntryKind::Response, conn: 0, ts_recv: UnixNanos(3), subject: &subject, payload: &page };
    session.apply(&answer, &mut out);
    let mut ids: Vec<u64> = out.trades().map(|trade| u64::try_from(trade.id.0).unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (seq(0)..=seq(last)).collect::<Vec<_>>());
    assert_eq!((session.feed_status(0).repaired, session.outstanding().len()), (1, 0));

    let path = directory.join("rest/errors_quoted.frames.jsonl.zst");
    let refusals: Vec<String> = read_fixture_frames(path)
        .unwrap()
        .map(|frame| deribit().parse_markets(frame.unwrap().raw.as_bytes()).unwrap_err().to_string())
        .collect();
    assert_eq!(refusals, ["deribit refused the list of markets with code 10028: too_many_requests"]);
}

/// A session with the trades of one symbol, whose id has the usual form.
fn history_session(symbol: &str) -> Box<dyn Session> {
    let mut session = deribit().session(Arc::default());
    let subject = format!("{symbol} trades");
    let entry = Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
    session.apply(&entry, &mut Recorded::default());
    session
}
