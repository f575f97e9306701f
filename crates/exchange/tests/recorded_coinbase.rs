//! Recorded messages of Coinbase pass through the session: trades are contiguous and each that is left out is declared, the books are the
//! exchange's at any depth, and what is left out or altered of them is seen just where no book can be so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Adapter, AdapterOptions, Ladder, Markets, Session, adapter};
use dccd_model::{BookState, Candle, Decimal, Entry, EntryKind, Flags, Side, Span, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames, skip};
use serde_json::Value;

/// Books (one change a message), tickers without amounts, and trades of six products.
const SIX_PRODUCTS: &str = "ws_exch_6products_level2_ticker_matches_20210417";

fn directory(test: &str) -> Option<PathBuf> {
    let found = fixtures().map(|path| path.join("coinbase")).filter(|path| path.is_dir());
    if found.is_none() {
        skip(test, "no recorded messages of coinbase; set DCCD_FIXTURES");
    }
    found
}

/// What was received.
fn frames(directory: &std::path::Path, name: &str) -> Vec<String> {
    let all = read_fixture_frames(directory.join(format!("{name}.frames.jsonl.zst"))).unwrap().map(Result::unwrap);
    all.filter(|frame| frame.dir != "out" && frame.dir != "open").map(|frame| frame.raw).collect()
}

fn coinbase(depth: Option<u32>) -> Arc<dyn Adapter> {
    adapter("coinbase", &AdapterOptions { aggregated_trades: false, depth }).unwrap()
}

/// The markets as they were listed then.
fn markets(directory: &std::path::Path) -> Arc<Markets> {
    let file = std::fs::File::open(directory.join("rest/cf_products_20210417.json.zst")).unwrap();
    Arc::new(coinbase(None).parse_markets(&zstd::decode_all(file).unwrap()).unwrap())
}

/// A session with these feeds: product and channel.
fn session(markets: &Arc<Markets>, feeds: &[(&str, &str)], depth: Option<u32>) -> Box<dyn Session> {
    let mut session = coinbase(depth).session(Arc::clone(markets));
    for (product, channel) in feeds {
        let subject = format!("{} {channel}", product.replace('-', "/"));
        let entry = Entry { kind: EntryKind::FeedOpened, conn: 0, ts_recv: UnixNanos(1), subject: &subject, payload: b"" };
        session.apply(&entry, &mut Recorded::default());
    }
    session
}

fn apply(session: &mut dyn Session, frame: &str, out: &mut Recorded) {
    let payload = frame.as_bytes();
    session.apply(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv: UnixNanos(2), subject: "", payload }, out);
}

fn json(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap()
}

fn product(frame: &str) -> String {
    json(frame)["product_id"].as_str().unwrap_or_default().to_owned()
}

fn is_book(frame: &str) -> bool {
    frame.contains(r#""type":"snapshot""#) || frame.contains(r#""type":"l2update""#)
}

/// Those about books, by product.
fn books(frames: &[String]) -> BTreeMap<String, Vec<&String>> {
    let mut of_each: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    frames.iter().filter(|frame| is_book(frame)).for_each(|frame| of_each.entry(product(frame)).or_default().push(frame));
    of_each
}

fn decimal(text: &Value) -> Decimal {
    Decimal::parse(text.as_str().unwrap().as_bytes()).unwrap()
}

/// A book applied plainly.
#[derive(Clone, Default)]
struct Plain {
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
    time: String,
}

impl Plain {
    /// Whether a book of the exchange can be so after this message.
    fn apply(&mut self, frame: &str) -> bool {
        let message = json(frame);
        if message["type"] == "snapshot" {
            let side =
                |key: &str| message[key].as_array().unwrap().iter().map(|l| (decimal(&l[0]), decimal(&l[1]))).collect();
            (self.bids, self.asks) = (side("bids"), side("asks"));
            return true;
        }
        for change in message["changes"].as_array().unwrap() {
            let side = if change[0] == "buy" { &mut self.bids } else { &mut self.asks };
            let (price, amount) = (decimal(&change[1]), decimal(&change[2]));
            if amount.is_zero() {
                side.remove(&price)
            } else {
                side.insert(price, amount)
            };
        }
        let time = message["time"].as_str().unwrap();
        let goes_on = self.time.as_str() <= time;
        time.clone_into(&mut self.time);
        goes_on
            && !matches!((self.bids.last_key_value(), self.asks.first_key_value()), (Some(bid), Some(ask)) if bid.0 >= ask.0)
    }

    fn is(&self, ladder: &Ladder, depth: usize) -> bool {
        let pair = |(price, amount): (&Decimal, &Decimal)| (*price, *amount);
        ladder.bids().eq(self.bids.iter().rev().map(pair).take(depth))
            && ladder.asks().eq(self.asks.iter().map(pair).take(depth))
    }
}

#[test]
fn recorded_books_are_the_exchanges_at_any_depth_after_each_message() {
    let test = "recorded_books_are_the_exchanges_at_any_depth_after_each_message";
    let Some(directory) = directory(test) else { return };
    let (all, markets) = (frames(&directory, SIX_PRODUCTS), markets(&directory));
    let of_each = books(&all);
    assert_eq!((of_each.len(), of_each.values().map(Vec::len).sum::<usize>()), (6, 6_765));
    for (product, frames) in &of_each {
        for depth in [None, Some(1), Some(10), Some(100)] {
            let mut session = session(&markets, &[(product, "book")], depth);
            let (mut plain, mut ladder, mut inside) = (Plain::default(), Ladder::new(), false);
            let levels = depth.map_or(usize::MAX, |depth| usize::try_from(depth).unwrap());
            for frame in frames {
                let mut out = Recorded::default();
                apply(session.as_mut(), frame, &mut out);
                assert_eq!(out.gaps().count() + out.wants().count() + out.notices().count(), 0, "{product}: {frame}");
                for level in out.levels() {
                    assert_eq!(level.flags.contains(Flags::FIRST), !inside, "{product}: {level:?}");
                    inside = !level.flags.contains(Flags::LAST);
                    ladder.apply(level);
                }
                assert!(plain.apply(frame) && plain.is(&ladder, levels) && !inside, "{product} at depth {depth:?}: {frame}");
            }
            assert_eq!(session.feed_status(0).book, Some(BookState::Valid));
        }
    }
}

/// Nothing numbers the messages and nothing sums up the book: one that is left out or altered is seen where the book that is left can't
/// be (its sides cross, its time goes back), and nowhere else.
#[test]
fn a_recorded_message_that_is_left_out_or_altered_is_seen_where_no_book_can_be_so() {
    let test = "a_recorded_message_that_is_left_out_or_altered_is_seen_where_no_book_can_be_so";
    let Some(directory) = directory(test) else { return };
    let (all, markets) = (frames(&directory, SIX_PRODUCTS), markets(&directory));
    let (mut seen, mut unseen) = (0, 0);
    for (product, frames) in &books(&all) {
        let mut session = session(&markets, &[(product, "book")], Some(50));
        let mut plain = Plain::default();
        for (at, frame) in frames.iter().enumerate() {
            if at % 40 == 1 {
                let saved = session.save();
                let mut check = |with: Option<&str>| {
                    let mut session = coinbase(Some(50)).restore(Arc::clone(&markets), &saved).unwrap();
                    let (mut plain, mut out) = (plain.clone(), Recorded::default());
                    let rest = with.into_iter().chain(frames[at + 1..].iter().take(300).map(|frame| frame.as_str()));
                    let can_be = rest.into_iter().all(|frame| {
                        apply(session.as_mut(), frame, &mut out);
                        plain.apply(frame)
                    });
                    let suspect = out.events.iter().any(|event| matches!(event, Event::State(_, BookState::Suspect, _)));
                    assert_eq!(suspect, !can_be, "{product}: {with:?} instead of {frame}");
                    *(if suspect { &mut seen } else { &mut unseen }) += 1;
                };
                check(None);
                // A digit of the price, of the amount, of the hour.
                for (key, skip) in [(r#"[["#, 6), (r#"","#, 2), ("T1", 0)] {
                    let place = frame.find(key).map(|place| place + key.len() + skip);
                    let digits = |place: &usize| (*place..frame.len()).find(|at| frame.as_bytes()[*at].is_ascii_digit());
                    let Some(place) = place.as_ref().and_then(digits) else { continue };
                    let mut altered = (*frame).clone();
                    let other = if &frame[place..=place] == "1" { "2" } else { "1" };
                    altered.replace_range(place..=place, other);
                    check(Some(&altered));
                }
            }
            apply(session.as_mut(), frame, &mut Recorded::default());
            plain.apply(frame);
        }
    }
    assert!(seen > 200 && unseen > 200, "{seen} seen, {unseen} unseen");
}

#[test]
fn recorded_trades_are_contiguous_and_each_that_is_left_out_is_declared() {
    let test = "recorded_trades_are_contiguous_and_each_that_is_left_out_is_declared";
    let Some(directory) = directory(test) else { return };
    let (all, markets) = (frames(&directory, SIX_PRODUCTS), markets(&directory));
    let trades: Vec<Value> =
        all.iter().map(|frame| json(frame)).filter(|m| m["type"] == "match" || m["type"] == "last_match").collect();
    let mut products: Vec<&str> = trades.iter().map(|trade| trade["product_id"].as_str().unwrap()).collect();
    products.sort_unstable();
    products.dedup();
    let feeds: Vec<(&str, &str)> =
        products.iter().flat_map(|product| [(*product, "trades"), (*product, "quotes")]).collect();
    let play = |without: Option<(&str, u64)>| {
        let mut session = session(&markets, &feeds, None);
        let mut out = Recorded::default();
        for frame in &all {
            let message = json(frame);
            let is_left_out =
                without.is_some_and(|(product, id)| message["product_id"] == product && message["trade_id"] == id);
            if !is_left_out || message["type"] == "ticker" {
                apply(session.as_mut(), frame, &mut out);
            }
        }
        (out, session.counters())
    };
    let (out, counters) = play(None);
    assert_eq!((trades.len(), products.len(), out.gaps().count()), (86, 6, 0));
    // Tickers had no amounts then; books are no feeds here.
    assert_eq!((counters.unreadable, counters.unknown, counters.unrouted), (86, 0, 6_765));
    for (ours, theirs) in out.trades().zip(&trades) {
        assert_eq!(
            (ours.id.low(), ours.side == Side::Buy),
            (theirs["trade_id"].as_u64().unwrap(), theirs["side"] == "sell")
        );
        assert_eq!((ours.price, ours.amount), (decimal(&theirs["price"]), decimal(&theirs["size"])));
        assert_eq!(ours.ts_venue.to_string(), theirs["time"].as_str().unwrap());
    }
    assert_eq!(out.trades().count(), 86);
    let mut declared = 0;
    for trade in trades.iter().filter(|trade| trade["type"] == "match") {
        let (product, id) = (trade["product_id"].as_str().unwrap(), trade["trade_id"].as_u64().unwrap());
        let newest =
            trades.iter().filter(|other| other["product_id"] == product).filter_map(|t| t["trade_id"].as_u64()).max();
        let gaps: Vec<_> = play(Some((product, id))).0.gaps().map(|gap| (gap.ids, gap.repaired)).collect();
        if newest == Some(id) {
            assert!(gaps.is_empty(), "only the next heartbeat tells");
        } else {
            assert_eq!(gaps, [(Some((id, id)), false)], "{product}");
            declared += 1;
        }
    }
    assert_eq!(
        declared,
        80 - 6
            + trades
                .iter()
                .filter(|t| t["type"] == "last_match")
                .filter(|last| { !trades.iter().any(|t| t["type"] == "match" && t["product_id"] == last["product_id"]) })
                .count()
    );
}

/// A number that went through doubles on its way to the recording.
fn double(number: Decimal) -> f64 {
    number.to_string().parse().unwrap()
}

#[test]
fn recorded_messages_of_2025_are_read_whatever_became_of_their_numbers() {
    let test = "recorded_messages_of_2025_are_read_whatever_became_of_their_numbers";
    let Some(directory) = directory(test) else { return };
    let markets: Arc<Markets> = Arc::default();
    let play = |name: &str, channel: &str| {
        let frames = frames(&directory, name);
        let mut session = session(&markets, &[("BTC-USD", channel), ("ETH-USD", channel)], None);
        let mut out = Recorded::default();
        frames.iter().for_each(|frame| apply(session.as_mut(), frame, &mut out));
        assert_eq!((out.gaps().count(), out.wants().count(), session.counters().unreadable), (0, 0, 0), "{name}");
        (frames.iter().map(|frame| json(frame)).collect::<Vec<_>>(), out, session)
    };
    let (frames, out, _) = play("ws_exch_2025_TestStreamBasic_TestMatch", "trades");
    assert_eq!((out.trades().count(), frames.len()), (11, 12));
    for (trade, message) in out.trades().zip(&frames[1..]) {
        assert_eq!((Some(trade.id.low()), trade.side), (message["trade_id"].as_u64(), Side::Buy));
        assert_eq!(
            (Some(double(trade.price)), Some(double(trade.amount))),
            (message["price"].as_f64(), message["size"].as_f64())
        );
    }
    let (frames, out, _) = play("ws_exch_2025_TestStreamBasic_TestTicker", "quotes");
    assert_eq!((out.quotes().count(), frames.len()), (10, 11));
    for (quote, message) in out.quotes().zip(&frames[1..]) {
        let numbers = [
            ("best_bid", quote.bid),
            ("best_bid_size", quote.bid_amount),
            ("best_ask", quote.ask),
            ("best_ask_size", quote.ask_amount),
        ];
        numbers
            .iter()
            .for_each(|(key, number)| assert_eq!(message[*key].as_f64(), Some(double(*number)), "{key} of {message}"));
        assert_eq!(quote.ts_venue.to_string(), message["time"].as_str().unwrap());
    }
    let (frames, out, session) = play("ws_exch_2025_TestStreamBbgoChannels_TestBook", "book");
    // The snapshot was cut to five levels a side; most ends are of levels that are missing in it.
    let changes: usize = frames.iter().filter_map(|message| message["changes"].as_array().map(Vec::len)).sum();
    let told = out.levels().filter(|level| !level.flags.contains(Flags::SNAPSHOT)).count();
    assert_eq!((changes, told), (40, 32), "eight ends of what isn't there");
    assert_eq!((session.feed_status(0).book, session.feed_status(0).epoch), (Some(BookState::Valid), 1));
    let (frames, _, session) = play("ws_exch_2025_TestStreamFull", "trades");
    assert_eq!((session.counters().unknown, frames.len()), (13, 14), "orders are none of ours");
}

#[test]
fn single_messages_of_many_years_are_read_as_others_read_them() {
    let Some(directory) = directory("single_messages_of_many_years_are_read_as_others_read_them") else { return };
    let markets: Arc<Markets> = Arc::default();
    let products = ["ETC-GBP", "BTC-EUR", "ETH-USD", "YFI-USD", "BTC-USD"];
    let feeds: Vec<(&str, &str)> = products.iter().flat_map(|product| [(*product, "trades"), (*product, "book")]).collect();
    let mut session = session(&markets, &feeds, None);
    let mut out = Recorded::default();
    for name in ["ws_samples_tardis_exchange", "ws_samples_cmp_coinbase_pro"] {
        frames(&directory, name).iter().for_each(|frame| apply(session.as_mut(), frame, &mut out));
    }
    let trades: Vec<String> =
        out.trades().map(|t| format!("{} {} {} {:?}", t.id.low(), t.price, t.amount, t.side)).collect();
    assert_eq!(trades, ["216544 4.97800000 0.97133855 Sell", "147587438 57786.82 0.00031874 Buy"]);
    // A snapshot with an amount of `0.-10000`, two tickers without amounts; a book over REST.
    let counters = session.counters();
    assert_eq!((counters.unreadable, counters.unknown), (3, 1));
    assert_eq!(
        out.levels().count(),
        6,
        "updates before a snapshot are none; the last one crosses the book: {:?}",
        out.events
    );
    assert_eq!(session.feed_status(9).book, Some(BookState::Suspect));
}

/// Books of 2026, whole, tens of thousands of levels: those of the newer interface, in the words of this one.
#[test]
fn whole_books_of_2026_are_the_exchanges_at_the_depth_that_is_given_out() {
    let test = "whole_books_of_2026_are_the_exchanges_at_the_depth_that_is_given_out";
    let Some(directory) = directory(test) else { return };
    let level = |update: &Value, side: bool| {
        let side = match (side, update["side"] == "bid") {
            (false, _) => "",
            (true, true) => r#""buy","#,
            (true, false) => r#""sell","#,
        };
        format!("[{side}{},{}]", update["price_level"], update["new_quantity"])
    };
    let translate = |message: &Value, event: &Value| {
        let (product, updates) = (&event["product_id"], event["updates"].as_array().unwrap());
        if event["type"] == "snapshot" {
            let side =
                |of: &str| updates.iter().filter(|u| u["side"] == of).map(|u| level(u, false)).collect::<Vec<_>>().join(",");
            return format!(
                r#"{{"type":"snapshot","product_id":{product},"bids":[{}],"asks":[{}]}}"#,
                side("bid"),
                side("offer")
            );
        }
        let changes: Vec<String> = updates.iter().map(|update| level(update, true)).collect();
        let time = &message["timestamp"];
        format!(r#"{{"type":"l2update","product_id":{product},"time":{time},"changes":[{}]}}"#, changes.join(","))
    };
    let mut of_each: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for frame in frames(&directory, "ws_adv_BTC-USD_ETH-USD_first12s_20260809") {
        let message = json(&frame);
        for event in message["events"].as_array().unwrap().iter().filter(|_| message["channel"] == "l2_data") {
            of_each.entry(event["product_id"].as_str().unwrap().to_owned()).or_default().push(translate(&message, event));
        }
    }
    let markets: Arc<Markets> = Arc::default();
    let mut messages = 0;
    for (product, frames) in &of_each {
        let mut session = session(&markets, &[(product, "book")], Some(1_000));
        let (mut plain, mut ladder) = (Plain::default(), Ladder::new());
        for frame in frames {
            let mut out = Recorded::default();
            apply(session.as_mut(), frame, &mut out);
            out.levels().for_each(|level| ladder.apply(level));
            assert!(plain.apply(frame) && plain.is(&ladder, 1_000), "{product}: {frame:.200}");
            messages += 1;
        }
        assert!(plain.bids.len() > 6_000 && plain.asks.len() > 16_000);
        assert_eq!(session.feed_status(0).book, Some(BookState::Valid));
    }
    assert_eq!((of_each.len(), messages), (2, 385));
}

#[test]
fn recorded_answers_are_read() {
    let Some(directory) = directory("recorded_answers_are_read") else { return };
    let markets = markets(&directory);
    assert_eq!((markets.skipped(), markets.iter().all(|market| market.price_tick.is_some())), (0, true));
    assert_eq!((markets.len(), markets.by_id("CGLD-USD").unwrap().symbol.as_str()), (162, "CELO/USD"));
    let minute: Span = "1m".parse().unwrap();
    let mut counts = Vec::new();
    for body in frames(&directory, "rest/bbgo_TestExchange_QueryKLines_202508") {
        let mut candles: Vec<Candle> = Vec::new();
        coinbase(None).history().unwrap().parse_candles(body.as_bytes(), minute, UnixNanos(1), &mut candles).unwrap();
        let rows: Vec<Vec<Value>> = serde_json::from_str(&body).unwrap();
        for (candle, row) in candles.iter().zip(rows.iter().rev()) {
            let numbers = [candle.low, candle.high, candle.open, candle.close, candle.volume].map(double);
            assert_eq!(
                (candle.ts_open.as_millis() / 1_000, 0),
                (row[0].as_i64().unwrap(), candle.ts_open.as_millis() % 60_000)
            );
            numbers.iter().zip(&row[1..]).for_each(|(ours, theirs)| assert_eq!(Some(*ours), theirs.as_f64(), "{row:?}"));
        }
        counts.push((candles.len(), rows.len()));
    }
    // More than the documents grant, where nobody says from when to when.
    assert_eq!(counts, [(350, 350), (4, 4)]);
}
