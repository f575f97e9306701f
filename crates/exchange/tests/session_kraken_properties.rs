//! Whatever a Kraken session is given, it returns, and saved and restored anywhere it goes on identically; and whatever an exchange's
//! book goes through, at any depth and over connections that replace each other, the records give that book.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{AdapterOptions, Ladder, Session, adapter};
use dccd_model::{BookState, Entry, EntryKind, Flags, UnixNanos};
use proptest::prelude::*;
use support::kraken::{ASSET_PAIRS, Venue};

fn session(depth: u32) -> Box<dyn Session> {
    let kraken = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth: Some(depth) }).unwrap();
    let markets = Arc::new(kraken.parse_markets(ASSET_PAIRS).unwrap());
    kraken.session(markets)
}

fn restore(saved: &[u8]) -> Box<dyn Session> {
    let kraken = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth: Some(10) }).unwrap();
    let markets = Arc::new(kraken.parse_markets(ASSET_PAIRS).unwrap());
    kraken.restore(markets, saved).unwrap()
}

type Owned = (EntryKind, u32, String, Vec<u8>);

fn frame(conn: u32, text: String) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.into_bytes())
}

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = UnixNanos::from_millis(i64::try_from(at).unwrap());
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

/// A change of the exchange's whole book as it tells of it: what is in the depth now and was not before or was different, and what ended.
/// `None` where nothing within the depth changed.
fn told(venue: &mut Venue, is_bid: bool, price: u64, amount: u64, ms: i64) -> Option<String> {
    let seen = |venue: &Venue| -> BTreeMap<u64, u64> {
        if is_bid { venue.best_bids().collect() } else { venue.best_asks().collect() }
    };
    let before = seen(venue);
    let side = if is_bid { &mut venue.bids } else { &mut venue.asks };
    if amount == 0 {
        side.remove(&price);
    } else {
        side.insert(price, amount);
    }
    let all = side.clone();
    let after = seen(venue);
    let ended = before.keys().filter(|price| !all.contains_key(price)).map(|price| (*price, 0));
    let new = after.iter().filter(|(price, amount)| before.get(price) != Some(amount)).map(|(p, a)| (*p, *a));
    let changes: Vec<(u64, u64)> = ended.chain(new).collect();
    if changes.is_empty() {
        return None;
    }
    Some(if is_bid { venue.update(&changes, &[], ms) } else { venue.update(&[], &changes, ms) })
}

/// The book that the records give, and whether it is said to be valid.
fn of_records(out: &Recorded) -> (Ladder, Option<BookState>) {
    let (mut ladder, mut state) = (Ladder::new(), None);
    for event in &out.events {
        match event {
            Event::Level(_, level) => ladder.apply(level),
            Event::State(_, new, _) => state = Some(*new),
            _ => {}
        }
    }
    (ladder, state)
}

fn holds(ladder: &Ladder, venue: &Venue) -> bool {
    let side = |levels: Vec<(dccd_model::Decimal, dccd_model::Decimal)>| -> Vec<(u64, u64)> {
        let steps = |number: dccd_model::Decimal, by: i8| {
            let by = u32::try_from(by + number.exponent).unwrap();
            u64::try_from(number.mantissa).unwrap() * 10u64.pow(by)
        };
        levels.into_iter().map(|(price, amount)| (steps(price, 1), steps(amount, 8))).collect()
    };
    side(ladder.bids().collect()) == venue.best_bids().collect::<Vec<_>>()
        && side(ladder.asks().collect()) == venue.best_asks().collect::<Vec<_>>()
}

/// Bids below 1000 steps, asks above; amount 0 ends a level.
fn changes(count: usize, depth: u64) -> impl Strategy<Value = Vec<(bool, u64, u64)>> {
    let change = (any::<bool>(), 1..depth * 2, prop_oneof![1 => Just(0u64), 3 => 1u64..500_000_000]);
    proptest::collection::vec(
        change.prop_map(|(bid, off, amount)| (bid, if bid { 10_000 - off } else { 10_000 + off }, amount)),
        0..count,
    )
}

fn full(depth: u64) -> Venue {
    let side =
        |price: fn(u64, u64) -> u64| (1..depth + depth / 2).map(|i| (price(10_000, i), i * 1_000)).collect::<Vec<_>>();
    Venue::new(usize::try_from(depth).unwrap(), &side(|mid, i| mid - i), &side(|mid, i| mid + i))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_records_give_the_exchanges_book_at_every_depth(depth in proptest::sample::select(vec![10u64, 25, 100]), changes in changes(150, 30)) {
        let mut venue = full(depth);
        let mut session = session(u32::try_from(depth).unwrap());
        let mut out = Recorded::default();
        apply(session.as_mut(), 0, &(EntryKind::FeedOpened, 0, "BTC/USD book".to_owned(), Vec::new()), &mut out);
        apply(session.as_mut(), 1, &frame(1, venue.snapshot(1)), &mut out);
        for (at, (bid, price, amount)) in changes.into_iter().enumerate() {
            let Some(text) = told(&mut venue, bid, price, amount, i64::try_from(at).unwrap() + 2) else { continue };
            apply(session.as_mut(), at + 2, &frame(1, text), &mut out);
            let (ladder, state) = of_records(&out);
            prop_assert_eq!(state, Some(BookState::Valid));
            prop_assert!(holds(&ladder, &venue));
        }
        prop_assert_eq!(out.gaps().count() + out.wants().count(), 0);
    }

    /// Two connections bring the same messages, each in order, one behind the other by any number; the first ends at any time.
    #[test]
    fn a_replaced_connection_never_leaves_a_wrong_book(
        changes in changes(60, 12), joins in 0usize..40, turns in proptest::collection::vec(any::<bool>(), 120), ends in 0usize..120,
    ) {
        let mut venue = full(10);
        let mut messages = vec![venue.snapshot(1_000)];
        let mut joined = None;
        for (at, (bid, price, amount)) in changes.into_iter().enumerate() {
            if at == joins {
                joined = Some((messages.len(), venue.snapshot(i64::try_from(at).unwrap())));
            }
            messages.extend(told(&mut venue, bid, price, amount, i64::try_from(at).unwrap() + 1_001));
        }
        let mut queues = [messages.clone(), Vec::new()];
        if let Some((from, snapshot)) = joined {
            // The snapshot bears the time of the last message before it.
            let last = &messages[from - 1];
            let time = last.split(r#""timestamp":""#).nth(1).unwrap();
            let (head, _) = snapshot.split_once(r#""timestamp":""#).unwrap();
            queues[1] = std::iter::once(format!(r#"{head}"timestamp":"{time}"#)).chain(messages[from..].iter().cloned()).collect();
        }
        queues.iter_mut().for_each(|queue| queue.reverse());
        let mut session = session(10);
        let mut out = Recorded::default();
        apply(session.as_mut(), 0, &(EntryKind::FeedOpened, 0, "BTC/USD book".to_owned(), Vec::new()), &mut out);
        for (at, second) in turns.iter().enumerate() {
            if at == ends {
                queues[0].clear();
                apply(session.as_mut(), at, &(EntryKind::Closed, 1, "gone".to_owned(), Vec::new()), &mut out);
            }
            let which = usize::from(*second);
            if let Some(text) = queues[which].pop() {
                apply(session.as_mut(), at, &frame(u32::try_from(which).unwrap() + 1, text), &mut out);
            }
        }
        while let Some(text) = queues[1].pop() {
            apply(session.as_mut(), 200, &frame(2, text), &mut out);
        }
        let has_all = queues.iter().all(Vec::is_empty);
        let (ladder, state) = of_records(&out);
        if state == Some(BookState::Valid) && has_all {
            prop_assert!(holds(&ladder, &venue), "the book is said to be valid");
        }
        // Epochs but the first are declared, and no event comes twice within one.
        let epochs = out.levels().map(|level| level.epoch).max().unwrap_or(0);
        prop_assert_eq!(out.gaps().count(), usize::try_from(epochs.saturating_sub(1)).unwrap());
        let mut times: Vec<(u32, i64)> = out.levels().filter(|l| l.flags.contains(Flags::FIRST)).map(|l| (l.epoch, l.ts_venue.0)).collect();
        let count = times.len();
        times.dedup();
        prop_assert!(times.is_sorted());
        prop_assert_eq!(times.len(), count);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Trades { conn: u32, ahead: u64, count: u64 },
    Page { back: u64, count: u64, without: u64 },
    Quote { conn: u32, ahead: i64, bid: u64 },
    Change { conn: u32, bid: bool, off: u64, amount: u64, is_lost: bool },
    Snapshot { conn: u32 },
    Status { conn: u32, is_open: bool },
    Raw { conn: u32, bytes: Vec<u8> },
    Plain { kind: EntryKind, conn: u32, channel: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let conn = || 1u32..4;
    prop_oneof![
        4 => (conn(), 0u64..4, 0u64..4).prop_map(|(conn, ahead, count)| Step::Trades { conn, ahead, count }),
        2 => (0u64..40, 0u64..40, 0u64..5).prop_map(|(back, count, without)| Step::Page { back, count, without }),
        4 => (conn(), -2i64..4, 0u64..3).prop_map(|(conn, ahead, bid)| Step::Quote { conn, ahead, bid }),
        8 => (conn(), any::<bool>(), 1u64..15, 0u64..3, proptest::bool::weighted(0.1))
            .prop_map(|(conn, bid, off, amount, is_lost)| Step::Change { conn, bid, off, amount, is_lost }),
        3 => conn().prop_map(|conn| Step::Snapshot { conn }),
        1 => (conn(), any::<bool>()).prop_map(|(conn, is_open)| Step::Status { conn, is_open }),
        1 => (conn(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(conn, bytes)| Step::Raw { conn, bytes }),
        2 => (1u8..9, 0u32..4, 0usize..4).prop_map(|(kind, conn, channel)| {
            Step::Plain { kind: EntryKind::from_u8(kind).unwrap_or(EntryKind::Opened), conn, channel }
        }),
    ]
}

fn entries(steps: &[Step]) -> Vec<Owned> {
    let (mut trade, mut time, mut venue) = (1_000u64, 1_000i64, full(10));
    let mut all: Vec<Owned> = ["trades", "quotes", "book"]
        .iter()
        .map(|channel| (EntryKind::FeedOpened, 0, format!("BTC/USD {channel}"), Vec::new()))
        .collect();
    for step in steps {
        time += 1;
        all.push(match step {
            Step::Trades { conn, ahead, count } => {
                let rows: Vec<String> = (0..*count)
                    .map(|i| {
                        let (id, at) = (trade + ahead + i, UnixNanos::from_millis(time));
                        format!(r#"{{"symbol":"BTC/USD","side":"buy","price":1.5,"qty":2.0,"trade_id":{id},"timestamp":"{at}"}}"#)
                    })
                    .collect();
                trade += ahead + count;
                frame(*conn, format!(r#"{{"channel":"trade","type":"update","data":[{}]}}"#, rows.join(",")))
            }
            Step::Page { back, count, without } => {
                let first = trade.saturating_sub(*back);
                let rows: Vec<String> = (first..first + count)
                    .filter(|id| *without == 0 || id % without != 0)
                    .map(|id| format!(r#"["1.5","2",1.5,"b","l","",{id}]"#))
                    .collect();
                let body = format!(r#"{{"error":[],"result":{{"X":[{}],"last":"1"}}}}"#, rows.join(","));
                (EntryKind::Response, 0, "trades BTC/USD since 1".to_owned(), body.into_bytes())
            }
            Step::Quote { conn, ahead, bid } => {
                let at = UnixNanos::from_millis(time + ahead);
                frame(*conn, format!(r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{bid}.5,"bid_qty":1,"ask":9,"ask_qty":1,"timestamp":"{at}"}}]}}"#))
            }
            Step::Change { conn, bid, off, amount, is_lost } => {
                let price = if *bid { 10_000 - off } else { 10_000 + off };
                match told(&mut venue, *bid, price, *amount, time) {
                    Some(text) if !is_lost => frame(*conn, text),
                    _ => frame(*conn, r#"{"channel":"heartbeat"}"#.to_owned()),
                }
            }
            Step::Snapshot { conn } => frame(*conn, venue.snapshot(time)),
            Step::Status { conn, is_open } => {
                let system = if *is_open { "online" } else { "maintenance" };
                frame(*conn, format!(r#"{{"channel":"status","type":"update","data":[{{"system":"{system}"}}]}}"#))
            }
            Step::Raw { conn, bytes } => (EntryKind::Frame, *conn, String::new(), bytes.clone()),
            Step::Plain { kind, conn, channel } => {
                let channel = ["trades", "quotes", "book", "ohlc"][*channel];
                (*kind, *conn, format!("BTC/USD {channel}"), Vec::new())
            }
        });
    }
    all
}

const GENUINE: [&str; 5] = [
    r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.20,"qty":0.00027625,"ord_type":"limit","trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#,
    r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":0.5666,"qty":4831.75496356}],"asks":[{"price":0.5668,"qty":4410.79769741}],"checksum":2439117997,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#,
    r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,"ask_qty":3.2,"last":1,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#,
    r#"{"method":"subscribe","req_id":1,"result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true}"#,
    r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":6447481662169813000}]}"#,
];

proptest! {
    #[test]
    fn any_life_goes_on_where_it_was_saved(steps in proptest::collection::vec(step(), 0..60), split in 0usize..60) {
        let entries = entries(&steps);
        let split = split.min(entries.len());
        let (mut whole, mut first) = (session(10), session(10));
        let (mut expected, mut out) = (Recorded::default(), Recorded::default());
        entries.iter().enumerate().for_each(|(at, entry)| apply(whole.as_mut(), at, entry, &mut expected));
        entries[..split].iter().enumerate().for_each(|(at, entry)| apply(first.as_mut(), at, entry, &mut out));
        let saved = first.save();
        let mut second = restore(&saved);
        prop_assert_eq!(second.save(), saved);
        entries[split..].iter().enumerate().for_each(|(at, entry)| apply(second.as_mut(), split + at, entry, &mut out));
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(second.save(), whole.save());
        // Levels are given out between the states alone that a reader may believe.
        let mut state = BookState::Syncing;
        for event in &expected.events {
            match event {
                Event::State(_, new, _) => state = *new,
                Event::Level(_, level) => prop_assert!(state == BookState::Valid || level.flags.contains(Flags::SNAPSHOT), "{:?}", level),
                _ => {}
            }
        }
    }

    #[test]
    fn any_bytes_in_a_frame_return(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut session = session(10);
        apply(session.as_mut(), 0, &(EntryKind::Frame, 1, String::new(), bytes), &mut Recorded::default());
        prop_assert_eq!(session.counters().frames, 1);
    }

    #[test]
    fn mutated_frames_return(which in 0..GENUINE.len(), cut in 0usize..300, changes in proptest::collection::vec((0usize..300, any::<u8>()), 0..8)) {
        let mut bytes = GENUINE[which].as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        let mut session = session(10);
        let mut out = Recorded::default();
        for (at, channel) in ["trades", "quotes", "book"].into_iter().enumerate() {
            apply(session.as_mut(), at, &(EntryKind::FeedOpened, 0, format!("BTC/USD {channel}"), Vec::new()), &mut out);
        }
        apply(session.as_mut(), 9, &(EntryKind::Frame, 1, String::new(), bytes), &mut out);
    }

    /// A reader that knows JSON alone reads the same out of a frame, whatever the order of its keys and the blanks between them.
    #[test]
    fn the_order_of_keys_and_the_blanks_mean_nothing(order in Just([0usize, 1, 2]).prop_shuffle(), inner in Just([0usize, 1, 2, 3, 4, 5]).prop_shuffle(), blank in "[ \n\t]{0,2}", price in 1i64..10_000_000_000, places in 0i8..9) {
        let price = dccd_model::Decimal::new(price, -places);
        let field = [
            r#""symbol":"BTC/USD""#.to_owned(), r#""side":"sell""#.to_owned(), format!(r#""price":{price}"#), r#""qty":0.50000000"#.to_owned(),
            r#""trade_id":7"#.to_owned(), r#""timestamp":"2023-10-06T17:35:55.440295Z""#.to_owned(),
        ];
        let row: Vec<&str> = inner.iter().map(|i| field[*i].as_str()).collect();
        let data = format!(r#""data":[{{{blank}{}{blank}}}]"#, row.join(&format!("{blank},{blank}")));
        let outer = [r#""channel":"trade""#.to_owned(), r#""type":"update""#.to_owned(), data];
        let parts: Vec<&str> = order.iter().map(|i| outer[*i].as_str()).collect();
        let mut session = session(10);
        let mut out = Recorded::default();
        apply(session.as_mut(), 0, &(EntryKind::FeedOpened, 0, "BTC/USD trades".to_owned(), Vec::new()), &mut out);
        apply(session.as_mut(), 1, &frame(1, format!("{{{blank}{}{blank}}}", parts.join(&format!("{blank},{blank}")))), &mut out);
        let trade = out.trades().next().unwrap();
        prop_assert_eq!((trade.id.0, trade.price.mantissa, trade.price.exponent), (7, price.mantissa, price.exponent));
    }
}
