//! Recorded messages of Binance's perpetuals pass through the session: every chain of books links and is rebuilt, each message left out
//! and each number altered is noticed, every quote and aggregated trade comes once with its own digits. What is expected is worked
//! out here a second time, plainly, from `serde_json::Value`s and texts.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Counters, FeedIndex, FeedStatus, HistoryError, Ladder, MarketStatus, Markets, Session};
use dccd_model::{BookState, Candle, Channel, Decimal, Entry, EntryKind, Flags, Side, Span, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;
use support::usdm::{MARKET, PUBLIC, binance};

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("binance")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of binance; set DCCD_FIXTURES");
    }
    found
}

fn body(directory: &Path, name: &str) -> Vec<u8> {
    zstd::decode_all(std::fs::File::open(directory.join("rest").join(name)).unwrap()).unwrap()
}

const INFOS: [&str; 2] = ["banexg_fapiPublicGetExchangeInfo.json.zst", "cf_fapi_v1_exchangeInfo_20210417.json.zst"];

fn all_markets(directory: &Path) -> Arc<Markets> {
    Arc::new(Markets::joined(INFOS.map(|name| binance().parse_markets(&body(directory, name)).unwrap()).into()))
}

/// One message or answer of a file.
struct Line {
    /// The channel and the exchange's id; of an answer the book's.
    of: Option<(String, Channel)>,
    is_answer: bool,
    raw: String,
    event: Value,
}

impl Line {
    fn number(&self, key: &str) -> u64 {
        self.event[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {}", self.raw))
    }

    fn text(&self, key: &str) -> &str {
        self.event[key].as_str().unwrap_or_else(|| panic!("no text {key} in {}", self.raw))
    }

    fn is(&self, channel: Channel) -> bool {
        !self.is_answer && self.of.as_ref().is_some_and(|(_, of)| *of == channel)
    }
}

struct File {
    name: String,
    lines: Vec<Line>,
    feeds: Vec<(String, Channel)>,
    markets: Arc<Markets>,
    out: Recorded,
    /// At the end, of each feed.
    statuses: Vec<FeedStatus>,
    counters: Counters,
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let directory = fixtures().expect("asked for only where there are fixtures").join("binance");
    let markets = all_markets(&directory);
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.starts_with("ws_usdm_")).collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    names.into_iter().map(|name| File::read(&directory, name, &markets)).collect()
});

impl File {
    fn read(directory: &Path, name: String, markets: &Arc<Markets>) -> Self {
        let mut lines = Vec::new();
        let mut feeds: Vec<(String, Channel)> = Vec::new();
        for frame in read_fixture_frames(directory.join(&name)).unwrap().map(Result::unwrap) {
            let Ok(mut event) = serde_json::from_str::<Value>(&frame.raw) else { continue };
            if let Some(data) = event.get_mut("data") {
                event = data.take();
            }
            let is_answer = event.get("lastUpdateId").is_some();
            let channel = match event.get("e").and_then(Value::as_str) {
                Some("aggTrade") => Some(Channel::Trades),
                Some("bookTicker") => Some(Channel::Quotes),
                Some("depthUpdate") => Some(Channel::Book),
                _ => is_answer.then_some(Channel::Book),
            };
            if frame.dir != "in" && !is_answer {
                continue;
            }
            let asked = frame.conn.split_once("symbol=").map(|(_, rest)| rest.split('&').next().unwrap());
            let only = name.split('_').find(|word| word.ends_with("USDT"));
            let id = event.get("s").and_then(Value::as_str).or(asked).or(only).map(str::to_owned);
            let of = id.zip(channel);
            if let Some(feed) = of.clone().filter(|feed| !feeds.contains(feed)) {
                feeds.push(feed);
            }
            lines.push(Line { of, is_answer, raw: frame.raw, event });
        }
        let mut session = Self::session(&feeds, markets);
        let (markets, out) = (markets.clone(), Recorded::default());
        let mut file = Self { name, lines, feeds, markets, out, statuses: Vec::new(), counters: Counters::default() };
        let mut out = Recorded::default();
        file.lines.iter().for_each(|line| file.apply(session.as_mut(), line, &mut out));
        file.statuses = (0..).zip(&file.feeds).map(|(feed, _)| session.feed_status(feed)).collect();
        (file.counters, file.out) = (session.counters(), out);
        file
    }

    /// With a feed for everything in the file, and a connection to each socket of perpetuals.
    fn session(feeds: &[(String, Channel)], markets: &Arc<Markets>) -> Box<dyn Session> {
        let mut session = binance().session(markets.clone());
        let mut out = Recorded::default();
        let mut apply = |kind, conn, subject: &str| {
            session.apply(&Entry { kind, conn, ts_recv: UnixNanos(1), subject, payload: b"" }, &mut out);
        };
        feeds
            .iter()
            .for_each(|(id, channel)| apply(EntryKind::FeedOpened, 0, &format!("{} {channel}", symbol(markets, id))));
        apply(EntryKind::Opened, 1, PUBLIC);
        apply(EntryKind::Opened, 2, MARKET);
        session
    }

    fn apply(&self, session: &mut dyn Session, line: &Line, out: &mut Recorded) {
        self.apply_raw(session, line, &line.raw, out);
    }

    fn apply_raw(&self, session: &mut dyn Session, line: &Line, raw: &str, out: &mut Recorded) {
        let (ts_recv, payload) = (UnixNanos(1), raw.as_bytes());
        if line.is_answer {
            let subject = format!("depth {}", symbol(&self.markets, &line.of.as_ref().unwrap().0));
            session.apply(&Entry { kind: EntryKind::Response, conn: 0, ts_recv, subject: &subject, payload }, out);
            return;
        }
        let conn = if line.is(Channel::Book) || line.is(Channel::Quotes) { 1 } else { 2 };
        session.apply(&Entry { kind: EntryKind::Frame, conn, ts_recv, subject: "", payload }, out);
    }

    fn feed(&self, id: &str, channel: Channel) -> FeedIndex {
        let at = self.feeds.iter().position(|(of, c)| of == id && *c == channel).unwrap();
        FeedIndex::try_from(at).unwrap()
    }

    fn books(&self) -> impl Iterator<Item = &str> {
        self.feeds.iter().filter(|(_, channel)| *channel == Channel::Book).map(|(id, _)| id.as_str())
    }

    /// The messages and the answer about a book, in their order.
    fn about<'f>(&'f self, id: &'f str) -> Vec<&'f Line> {
        self.lines.iter().filter(|line| line.of.as_ref().is_some_and(|(of, c)| of == id && *c == Channel::Book)).collect()
    }
}

fn symbol(markets: &Markets, id: &str) -> String {
    markets.by_id(id).unwrap_or_else(|| panic!("{id} is not listed")).symbol.to_string()
}

/// A book as texts: price and amount as they were on the wire.
type Sides = [HashMap<String, String>; 2];

fn set(sides: &mut Sides, event: &Value, keys: [&str; 2]) {
    for (side, key) in sides.iter_mut().zip(keys) {
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

/// A book by the exchange's document: the last number and what is in it.
fn plain_book(name: &str, about: &[&Line]) -> (u64, Sides) {
    let answer = about.iter().find(|line| line.is_answer).unwrap();
    let snapshot = answer.number("lastUpdateId");
    let mut sides = Sides::default();
    set(&mut sides, &answer.event, ["bids", "asks"]);
    let mut before = None;
    for line in about.iter().filter(|line| !line.is_answer && line.number("u") >= snapshot) {
        match before {
            None => assert!(line.number("U") <= snapshot, "{name}: {} doesn't hold {snapshot}", line.raw),
            Some(before) => assert_eq!(line.number("pu"), before, "{name}: the chain doesn't link"),
        }
        set(&mut sides, &line.event, ["b", "a"]);
        before = Some(line.number("u"));
    }
    (before.unwrap(), sides)
}

#[test]
fn every_recorded_chain_links_and_its_book_is_rebuilt() {
    if directory("every_recorded_chain_links_and_its_book_is_rebuilt").is_none() {
        return;
    }
    let (mut chains, mut events, mut tops) = (0, 0, 0);
    for file in FILES.iter() {
        let quotes = file.lines.iter().filter(|line| line.is(Channel::Quotes));
        let quotes: HashMap<(&str, u64), &Line> = quotes.map(|line| ((line.text("s"), line.number("u")), line)).collect();
        for id in file.books() {
            let feed = file.feed(id, Channel::Book);
            let status = &file.statuses[feed as usize];
            assert_eq!((status.book, status.epoch, status.gaps), (Some(BookState::Valid), 1, 0), "{} {id}", file.name);
            let mut ladder = Ladder::new();
            for event in &file.out.events {
                let Event::Level(_, level) = event else { continue };
                if !matches!(event, Event::Level(of, _) if *of == feed) {
                    continue;
                }
                ladder.apply(level);
                if !level.flags.contains(Flags::LAST) {
                    continue;
                }
                events += 1;
                assert!(!ladder.is_crossed(), "{} {id} at {}", file.name, level.update_id);
                if let Some(quote) = quotes.get(&(id, level.update_id)) {
                    let parse = |key: &str| Decimal::parse(quote.text(key).as_bytes()).unwrap();
                    let top = (ladder.best_bid().unwrap(), ladder.best_ask().unwrap());
                    assert_eq!(
                        top,
                        ((parse("b"), parse("B")), (parse("a"), parse("A"))),
                        "{} {id} {}",
                        file.name,
                        quote.raw
                    );
                    tops += 1;
                }
            }
            let (last, sides) = plain_book(&file.name, &file.about(id));
            assert_eq!(ladder.update_id(), last, "{} {id}", file.name);
            let texts = |side: Vec<(Decimal, Decimal)>| -> HashMap<String, String> {
                side.into_iter().map(|(price, amount)| (price.to_string(), amount.to_string())).collect()
            };
            assert_eq!([texts(ladder.bids().collect()), texts(ladder.asks().collect())], sides, "{} {id}", file.name);
            chains += 1;
        }
        assert_eq!(file.counters.unreadable, 0, "{}", file.name);
    }
    assert!(
        chains >= 7 && events >= 16_600 && tops >= 1_300,
        "{chains} chains, {events} events, {tops} comparisons with the best bid and ask"
    );
}

/// Whether something tells, after these messages, that the book isn't what it was.
fn is_noticed(file: &File, saved: &[u8], after: &[(&Line, &str)]) -> bool {
    let mut session = binance().restore(file.markets.clone(), saved).unwrap();
    let mut out = Recorded::default();
    after.iter().for_each(|(line, raw)| file.apply_raw(session.as_mut(), line, raw, &mut out));
    session.counters().unreadable > 0
        || out.events.iter().any(|event| matches!(event, Event::State(_, BookState::Suspect, _) | Event::Gap(..)))
}

#[test]
fn each_recorded_message_that_is_left_out_or_has_a_number_altered_is_noticed() {
    let test = "each_recorded_message_that_is_left_out_or_has_a_number_altered_is_noticed";
    if directory(test).is_none() {
        return;
    }
    let (mut left_out, mut altered) = (0, 0);
    for file in FILES.iter() {
        for id in file.books() {
            let feed = [(id.to_owned(), Channel::Book)];
            let mut session = File::session(&feed, &file.markets);
            let about = file.about(id);
            let mut out = Recorded::default();
            for (at, line) in about.iter().enumerate() {
                let is_valid = session.feed_status(0).book == Some(BookState::Valid);
                if let (true, Some(next), false) = (is_valid, about.get(at + 1), line.is_answer) {
                    let saved = session.save();
                    assert!(is_noticed(file, &saved, &[(next, &next.raw)]), "{} {id}: without {}", file.name, line.raw);
                    left_out += 1;
                    // Two that change places.
                    let swapped = [(*next, next.raw.as_str()), (*line, line.raw.as_str())];
                    let is_looked_at = at.is_multiple_of(8);
                    assert!(
                        !is_looked_at || is_noticed(file, &saved, &swapped),
                        "{} {id}: {} behind the next",
                        file.name,
                        line.raw
                    );
                    if at.is_multiple_of(128)
                        && let Some(third) = about.get(at + 2)
                    {
                        for (key, number) in ["pu", "u"].into_iter().map(|key| (key, line.number(key))) {
                            for digit in 0..number.to_string().len() {
                                let other = altered_at(&line.raw, key, number, digit);
                                let after = [(*line, other.as_str()), (*next, &next.raw), (*third, &third.raw)];
                                assert!(is_noticed(file, &saved, &after), "{} {id}: {other}", file.name);
                                altered += 1;
                            }
                        }
                    }
                }
                file.apply(session.as_mut(), line, &mut out);
            }
        }
    }
    assert!(left_out >= 16_500 && altered >= 3_000, "{left_out} left out, {altered} altered");
}

/// The message with another digit at a place of one of its numbers.
fn altered_at(raw: &str, key: &str, number: u64, digit: usize) -> String {
    let mut digits = number.to_string().into_bytes();
    digits[digit] = if digits[digit] == b'9' { b'1' } else { digits[digit] + 1 };
    let [spaced, plain] = [" ", ""].map(|space| format!("\"{key}\":{space}"));
    let before = if raw.contains(&format!("{spaced}{number}")) { spaced } else { plain };
    let (old, new) = (format!("{before}{number}"), format!("{before}{}", String::from_utf8(digits).unwrap()));
    assert_eq!(raw.matches(&old).count(), 1, "{raw}");
    raw.replace(&old, &new)
}

#[test]
fn another_projects_book_is_the_same() {
    let Some(directory) = directory("another_projects_book_is_the_same") else { return };
    let file = FILES.iter().find(|file| file.name.contains("ETHUSDT")).unwrap();
    let mut ladder = Ladder::new();
    file.out.levels().for_each(|level| ladder.apply(level));
    // Prices, and prices times amounts, of the hundred levels a side that it keeps.
    let text = std::fs::read_to_string(directory.join("rest/banexg_expected_book.log")).unwrap();
    let mut compared = 0;
    for (name, ours) in [("ask: ", ladder.asks().collect::<Vec<_>>()), ("bid: ", ladder.bids().collect())] {
        for line in text.lines().filter_map(|line| line.strip_prefix(name)) {
            let (price, value) = line.split_once(' ').unwrap();
            let [price, value] = [price, value].map(|text| Decimal::parse(text.as_bytes()).unwrap().to_f64());
            let level = ours.iter().find(|(ours, _)| (ours.to_f64() - price).abs() < 1e-9);
            let (_, amount) = level.unwrap_or_else(|| panic!("not in our book: {name}{line}"));
            assert!((value - price * amount.to_f64()).abs() < 0.001, "{name}{line}: {amount}");
            compared += 1;
        }
    }
    assert!(compared == 200, "{compared} levels");
}

#[test]
fn every_recorded_quote_and_aggregated_trade_comes_once_with_its_own_digits() {
    if directory("every_recorded_quote_and_aggregated_trade_comes_once_with_its_own_digits").is_none() {
        return;
    }
    let (mut quotes, mut trades, mut single) = (0, 0, 0);
    for file in FILES.iter() {
        let texts = |line: &Line, keys: &[&str]| keys.iter().map(|key| line.text(key).to_owned()).collect::<Vec<_>>();
        let expected: Vec<_> = file
            .lines
            .iter()
            .filter(|line| line.is(Channel::Quotes))
            .map(|line| (texts(line, &["b", "B", "a", "A"]), line.event["T"].as_i64().unwrap()))
            .collect();
        let got: Vec<_> = file
            .out
            .quotes()
            .map(|q| ([q.bid, q.bid_amount, q.ask, q.ask_amount].map(|d| d.to_string()).to_vec(), q.ts_venue.as_millis()))
            .collect();
        assert_eq!(got, expected, "{}", file.name);
        quotes += got.len();
        let expected: Vec<_> = file
            .lines
            .iter()
            .filter(|line| line.is(Channel::Trades))
            .map(|line| {
                let side = if line.event["m"] == Value::Bool(true) { Side::Sell } else { Side::Buy };
                (line.number("a"), texts(line, &["p", "q"]), line.event["T"].as_i64().unwrap(), side)
            })
            .collect();
        let got: Vec<_> = file
            .out
            .trades()
            .map(|t| (t.id.low(), [t.price, t.amount].map(|d| d.to_string()).to_vec(), t.ts_venue.as_millis(), t.side))
            .collect();
        assert_eq!(got, expected, "{}", file.name);
        trades += got.len();
        assert_eq!(file.out.gaps().count(), 0, "{}: ids are contiguous", file.name);
        let others: Vec<&Line> = file.lines.iter().filter(|line| line.of.is_none()).collect();
        let candles = others.iter().filter(|line| line.event["e"] == "kline" && line.event["k"]["i"] == "1m").count() as u64;
        assert_eq!(
            (file.counters.unknown, file.counters.unrouted),
            (others.len() as u64 - candles, candles),
            "{}",
            file.name
        );
        single += others.len();
    }
    assert!(quotes >= 120_000 && trades >= 185 && single >= 32_000, "{quotes} quotes, {trades} trades, {single} others");
}

#[test]
fn recorded_lists_have_the_perpetuals_with_their_rules() {
    let Some(directory) = directory("recorded_lists_have_the_perpetuals_with_their_rules") else { return };
    let mut counted = BTreeMap::new();
    for name in INFOS {
        let body = body(&directory, name);
        let markets = binance().parse_markets(&body).unwrap();
        let info: Value = serde_json::from_slice(&body).unwrap();
        let listed: Vec<&Value> =
            info["symbols"].as_array().unwrap().iter().filter(|listed| listed["contractType"] == "PERPETUAL").collect();
        assert_eq!((markets.len(), markets.skipped()), (listed.len(), 0), "{name}");
        for listed in listed {
            let text = |key: &str| listed[key].as_str().unwrap();
            let symbol = format!("{}/{}:{}", text("baseAsset"), text("quoteAsset"), text("marginAsset"));
            let market = markets.by_symbol(&symbol.parse().unwrap()).unwrap();
            assert_eq!(market.id, text("symbol"));
            // What is assumed of a symbol that isn't listed.
            assert_eq!(market.id, format!("{}{}", market.symbol.base(), market.symbol.quote()));
            let status = if text("status") == "TRADING" { MarketStatus::Trading } else { MarketStatus::Halted };
            assert_eq!(market.status, status, "{listed}");
            let rule = |filter: &str, key: &str| {
                let filter = listed["filters"].as_array().unwrap().iter().find(|f| f["filterType"] == filter);
                filter.and_then(|filter| filter[key].as_str()).map(str::to_owned)
            };
            let ours = [market.price_tick, market.amount_step, market.amount_min, market.amount_max, market.notional_min];
            let theirs = [
                rule("PRICE_FILTER", "tickSize"),
                rule("LOT_SIZE", "stepSize"),
                rule("LOT_SIZE", "minQty"),
                rule("LOT_SIZE", "maxQty"),
                rule("MIN_NOTIONAL", "notional"),
            ];
            assert_eq!(ours.map(|number| number.map(|number| number.to_string())), theirs, "{listed}");
        }
        counted.insert(name, markets.len());
    }
    assert_eq!(counted.into_values().collect::<Vec<_>>(), [288, 110]);
}

#[test]
fn recorded_answers_are_read_with_their_own_digits() {
    let Some(directory) = directory("recorded_answers_are_read_with_their_own_digits") else { return };
    let binance = binance();
    let history = binance.history().unwrap();
    let (mut candles, mut trades, mut levels, mut refused) = (0, 0, 0, 0);
    for frame in read_fixture_frames(directory.join("rest/gct2025_usdm.frames.jsonl.zst")).unwrap().map(Result::unwrap) {
        let rows: Value = serde_json::from_str(&frame.raw).unwrap();
        let path = frame.conn.split_once("/fapi/v1/").map_or("", |(_, rest)| rest.split('?').next().unwrap());
        match path {
            "klines" => {
                let label = frame.conn.split(['?', '&']).find_map(|part| part.strip_prefix("interval=")).unwrap();
                let span: Span = label.parse().unwrap();
                let mut page: Vec<Candle> = Vec::new();
                history.parse_candles(frame.raw.as_bytes(), span, UnixNanos(7), &mut page).unwrap();
                let rows = rows.as_array().unwrap();
                assert_eq!(page.len(), rows.len());
                for (candle, row) in page.iter().zip(rows) {
                    let ours = [candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume];
                    let theirs = [1, 2, 3, 4, 5, 7].map(|at: usize| row[at].as_str().unwrap().to_owned());
                    assert_eq!(ours.map(|number| number.to_string()), theirs, "{}", frame.conn);
                    assert_eq!(
                        (candle.ts_open.as_millis(), candle.trades),
                        (row[0].as_i64().unwrap(), row[8].as_u64().unwrap())
                    );
                    assert_eq!(candle.ts_open.0 % (i64::from(span.as_secs()) * 1_000_000_000), 0);
                }
                candles += page.len();
            }
            "aggTrades" => {
                let mut session = binance.session(all_markets(&directory));
                let mut out = Recorded::default();
                let mut apply = |kind, conn, subject: &str, payload: &str| {
                    let payload = payload.as_bytes();
                    session.apply(&Entry { kind, conn, ts_recv: UnixNanos(1), subject, payload }, &mut out);
                };
                // Everything is missing but the first and the last.
                apply(EntryKind::FeedOpened, 0, "BTC/USDT:USDT trades", "");
                apply(EntryKind::Opened, 2, MARKET, "");
                for id in [0, u64::MAX] {
                    let trade = format!(r#"{{"e":"aggTrade","s":"BTCUSDT","a":{id},"p":"1","q":"1","T":1}}"#);
                    apply(EntryKind::Frame, 2, "", &trade);
                }
                apply(EntryKind::Response, 0, "trades BTC/USDT:USDT 1", &frame.raw);
                let theirs: Vec<_> = rows
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| (row["a"].as_u64().unwrap(), ["p", "q"].map(|key| row[key].as_str().unwrap().to_owned())))
                    .collect();
                let ours: Vec<_> =
                    out.trades().skip(2).map(|t| (t.id.low(), [t.price, t.amount].map(|d| d.to_string()))).collect();
                assert_eq!(ours, theirs, "{}", frame.conn);
                trades += ours.len();
            }
            "depth" => {
                let file = FILES.iter().find(|file| file.name.contains("4pairs")).unwrap();
                let mut session = File::session(&[("BTCUSDT".to_owned(), Channel::Book)], &file.markets);
                let mut out = Recorded::default();
                let last = rows["lastUpdateId"].as_u64().unwrap();
                let event = support::usdm::depth(last - 1, last + 1, "", "");
                let mut apply = |kind, conn, subject: &str, text: &str| {
                    session.apply(&Entry { kind, conn, ts_recv: UnixNanos(1), subject, payload: text.as_bytes() }, &mut out);
                };
                apply(EntryKind::Frame, 1, "", &event);
                apply(EntryKind::Response, 0, "depth BTC/USDT:USDT", &frame.raw);
                let count = rows["bids"].as_array().unwrap().len() + rows["asks"].as_array().unwrap().len();
                assert_eq!(out.levels().count(), count, "{}", frame.conn);
                levels += count;
            }
            _ if rows.get("code").is_some() => {
                let error = history.parse_candles(frame.raw.as_bytes(), Span::ONE_SECOND, UnixNanos(7), &mut Vec::new());
                assert!(matches!(error, Err(HistoryError::Refused { .. })), "{error:?}");
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(candles >= 20 && trades >= 10 && levels >= 200 && refused >= 1, "{candles} {trades} {levels} {refused}");
}
