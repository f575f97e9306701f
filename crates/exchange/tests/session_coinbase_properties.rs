//! Whatever a Coinbase session is given, it returns, and saved and restored anywhere it goes on identically. Whatever happens to trades on
//! their way, each comes once or is declared to be missing; and a book that is said to be valid is the exchange's, whichever of its messages
//! change places, come twice or on two connections. Of a message about a book that never comes nothing can tell.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Ladder, Session, Want};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Flags, UnixNanos};
use proptest::prelude::*;
use support::coinbase::{coinbase, heartbeat, markets, snapshot, ticker, time, trade, update};

type Owned = (EntryKind, u32, String, Vec<u8>);

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = time(i64::try_from(at).unwrap() * 100);
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

fn frame(conn: u32, text: &str) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.as_bytes().to_vec())
}

fn plain(kind: EntryKind, conn: u32, subject: &str) -> Owned {
    (kind, conn, subject.to_owned(), Vec::new())
}

/// Messages to cut, alter and stitch together.
fn texts() -> Vec<String> {
    vec![
        snapshot("99x1 98x2", "101x4"),
        snapshot("99x1", "101x4 102x1"),
        update("99x0 98.5x3", "101x1", 400),
        update("97x1", "", 500),
        update("101x1", "", 600),
        trade("last_match", 20),
        trade("match", 23),
        trade("match", 24),
        heartbeat(26, 700),
        ticker(5, 99, 10),
        ticker(7, 98, 12),
        r#"{"type":"error","message":"Failed to subscribe","reason":"BTC-USD is not a valid product"}"#.to_owned(),
        r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#.to_owned(),
        r#"[{"trade_id":22,"side":"buy","size":"1","price":"1","time":"1970-01-01T00:00:00.022Z"},{"trade_id":20,"side":"buy","size":"1","price":"1","time":"1970-01-01T00:00:00.020Z"}]"#.to_owned(),
        r#"{"message":"Public rate limit exceeded"}"#.to_owned(),
    ]
}

fn entries() -> impl Strategy<Value = Owned> {
    let altered = (any::<prop::sample::Index>(), any::<u8>());
    let text = (prop::sample::select(texts()), prop::option::of(altered)).prop_map(|(text, altered)| {
        let mut text = text.into_bytes();
        if let Some((at, byte)) = altered {
            let at = at.index(text.len());
            if byte < 40 { text.truncate(at) } else { text[at] = byte }
        }
        text
    });
    let bytes = prop_oneof![19 => text, 1 => proptest::collection::vec(any::<u8>(), 0..100)];
    let kind = prop_oneof![
        16 => Just((EntryKind::Frame, "")),
        3 => Just((EntryKind::Response, "trades BTC/USD 4")),
        1 => Just((EntryKind::Response, "depth BTC/USD")),
        1 => Just((EntryKind::Opened, "")),
        1 => Just((EntryKind::Closed, "")),
        1 => Just((EntryKind::Resync, "BTC/USD book")),
        1 => Just((EntryKind::Lost, "")),
        1 => Just((EntryKind::FeedClosed, "BTC/USD book")),
        1 => Just((EntryKind::FeedOpened, "BTC/USD book")),
    ];
    (kind, 0u32..3, bytes).prop_map(|((kind, subject), conn, bytes)| (kind, conn, subject.to_owned(), bytes))
}

fn opened() -> Vec<Owned> {
    ["trades", "quotes", "book"].map(|channel| plain(EntryKind::FeedOpened, 0, &format!("BTC/USD {channel}"))).to_vec()
}

proptest! {
    #[test]
    fn any_entries_return_and_a_session_goes_on_where_it_was_saved(
        entries in proptest::collection::vec(entries(), 0..40),
        split in any::<prop::sample::Index>(),
        depth in prop::option::of(1u32..3),
    ) {
        let all = [opened(), entries].concat();
        let split = split.index(all.len());
        let mut whole = coinbase(depth).session(markets());
        let mut expected = Recorded::default();
        all.iter().enumerate().for_each(|(at, entry)| apply(whole.as_mut(), at, entry, &mut expected));
        let (mut first, mut out) = (coinbase(depth).session(markets()), Recorded::default());
        all[..split].iter().enumerate().for_each(|(at, entry)| apply(first.as_mut(), at, entry, &mut out));
        let mut second = coinbase(depth).restore(markets(), &first.save()).unwrap();
        all.iter().enumerate().skip(split).for_each(|(at, entry)| apply(second.as_mut(), at, entry, &mut out));
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
    fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut session = coinbase(None).session(markets());
        let mut out = Recorded::default();
        opened().iter().for_each(|entry| apply(session.as_mut(), 0, entry, &mut out));
        for (kind, subject) in [(EntryKind::Frame, ""), (EntryKind::Response, "trades BTC/USD 1")] {
            apply(session.as_mut(), 1, &(kind, 1, subject.to_owned(), bytes.clone()), &mut out);
        }
        prop_assert_eq!(session.counters().frames, 1);
    }
}

/// What happens next to an exchange's trades and to those who listen.
#[derive(Clone, Debug)]
enum Step {
    Trade,
    /// One that comes so many times: never, twice.
    Copies(usize),
    /// One that comes after the next.
    Swapped,
    Heartbeat,
    /// So many happen while there is no connection.
    Outage(u64),
    /// What was asked for comes.
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Trade),
        2 => prop::sample::select(vec![0usize, 0, 2]).prop_map(Step::Copies),
        1 => Just(Step::Swapped),
        3 => Just(Step::Heartbeat),
        1 => (0u64..4).prop_map(Step::Outage),
        2 => Just(Step::Answer),
    ];
    proptest::collection::vec(step, 1..120)
}

/// What came of an exchange's trades.
#[derive(Default)]
struct Came {
    ids: BTreeSet<u64>,
    twice: Option<u64>,
    missing: Vec<(u64, u64)>,
    wants: Vec<(u64, u64)>,
}

impl Came {
    fn take(&mut self, out: &Recorded) {
        for event in &out.events {
            match event {
                Event::Trade(_, trade) => {
                    let id = u64::try_from(trade.id.0).unwrap();
                    self.twice = self.twice.or((!self.ids.insert(id)).then_some(id));
                }
                Event::Gap(_, gap) if gap.repaired => self.missing.retain(|ids| Some(*ids) != gap.ids),
                Event::Gap(_, gap) => self.missing.extend(gap.ids),
                Event::Want(Want::Trades { from_id, to_id, .. }) => self.wants.push((*from_id, *to_id)),
                _ => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn each_trade_comes_once_or_is_declared(steps in steps(), absent in proptest::collection::btree_set(1_000u64..1_120, 0..4)) {
        let mut session = coinbase(None).session(markets());
        let (mut came, mut clock, mut conn, mut newest) = (Came::default(), 0, 1, 1_000u64);
        let mut held: Option<String> = None;
        let mut feed = |entry: Owned, came: &mut Came| {
            clock += 1;
            let mut out = Recorded::default();
            apply(session.as_mut(), clock, &entry, &mut out);
            came.take(&out);
        };
        feed(plain(EntryKind::FeedOpened, 0, "BTC/USD trades"), &mut came);
        feed(frame(conn, &trade("last_match", newest)), &mut came);
        // What the exchange has told of: up to here each trade came or is declared.
        let mut told = newest;
        for step in &steps {
            let copies = match step {
                Step::Trade => 1,
                Step::Copies(copies) => *copies,
                Step::Swapped => {
                    newest += 1;
                    if let Some(text) = held.replace(trade("match", newest)) {
                        feed(frame(conn, &text), &mut came);
                    }
                    continue;
                }
                Step::Heartbeat => {
                    feed(frame(conn, &heartbeat(newest, i64::try_from(newest).unwrap())), &mut came);
                    told = newest;
                    continue;
                }
                Step::Outage(count) => {
                    feed(plain(EntryKind::Closed, conn, "gone"), &mut came);
                    (conn, newest, held) = (conn + 1, newest + count, None);
                    feed(frame(conn, &trade("last_match", newest)), &mut came);
                    told = newest;
                    continue;
                }
                Step::Answer => {
                    for (from, to) in std::mem::take(&mut came.wants) {
                        let row = |id: u64| format!(r#"{{"trade_id":{id},"side":"buy","size":"3","price":"1","time":"{}"}}"#, time(i64::try_from(id).unwrap()));
                        let rows: Vec<String> = (from - 1..=to + 1).rev().filter(|id| *id <= newest && !absent.contains(id)).map(row).collect();
                        let body = format!("[{}]", rows.join(","));
                        feed((EntryKind::Response, 0, format!("trades BTC/USD {from}"), body.into_bytes()), &mut came);
                    }
                    continue;
                }
            };
            newest += 1;
            for _ in 0..copies {
                feed(frame(conn, &trade("match", newest)), &mut came);
                told = newest;
            }
            if let Some(text) = held.take() {
                feed(frame(conn, &text), &mut came);
                told = told.max(newest - 1);
            }
        }
        prop_assert_eq!(came.twice, None, "a trade came twice");
        for id in 1_000..=told {
            let declared = came.missing.iter().any(|(first, last)| (*first..=*last).contains(&id));
            prop_assert!(came.ids.contains(&id) || declared, "trade {} is missing without a word", id);
        }
        prop_assert!(came.missing.len() <= session.feed_status(0).gaps.try_into().unwrap());
    }
}

/// Bids at 1 to 8, asks at 11 to 18; the exchange's clock in milliseconds.
#[derive(Clone, Default)]
struct Venue {
    bids: BTreeMap<u64, u64>,
    asks: BTreeMap<u64, u64>,
    clock: i64,
}

type Change = (bool, u64, u64);

impl Venue {
    fn snapshot(&self) -> String {
        let levels = |side: &BTreeMap<u64, u64>| side.iter().map(|(p, a)| format!("{p}x{a} ")).collect::<String>();
        snapshot(&levels(&self.bids), &levels(&self.asks))
    }

    /// What happens within a twentieth of a second, in one message: the last of each price.
    fn update(&mut self, changes: &[Change]) -> String {
        self.clock += 50;
        let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
        for (is_bid, price, amount) in changes {
            let price = price + if *is_bid { 1 } else { 11 };
            let (side, told) = if *is_bid { (&mut self.bids, &mut bids) } else { (&mut self.asks, &mut asks) };
            told.insert(price, *amount);
            if *amount == 0 {
                side.remove(&price)
            } else {
                side.insert(price, *amount)
            };
        }
        let levels = |side: BTreeMap<u64, u64>| side.iter().map(|(p, a)| format!("{p}x{a} ")).collect::<String>();
        update(&levels(bids), &levels(asks), self.clock)
    }

    fn is(&self, ladder: &Ladder, depth: Option<u32>) -> bool {
        let depth = depth.map_or(usize::MAX, |depth| usize::try_from(depth).unwrap());
        let whole = |(price, amount): (Decimal, Decimal)| {
            (u64::try_from(price.mantissa).unwrap(), u64::try_from(amount.mantissa).unwrap())
        };
        let pair = |(price, amount): (&u64, &u64)| (*price, *amount);
        ladder.bids().map(whole).eq(self.bids.iter().rev().map(pair).take(depth))
            && ladder.asks().map(whole).eq(self.asks.iter().map(pair).take(depth))
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec((any::<bool>(), 0u64..8, 0u64..4), 1..5)
}

const SUBSCRIBED: &str = r#"{"type":"subscriptions","channels":[{"name":"level2_batch","product_ids":["BTC-USD"]}]}"#;
const UNSUBSCRIBED: &str = r#"{"type":"subscriptions","channels":[]}"#;

#[derive(Clone, Debug)]
enum Turn {
    Update(Vec<Change>),
    /// The message comes twice.
    Twice(Vec<Change>),
    /// It comes after the next one.
    Late(Vec<Change>),
    /// A frame that can't be read, in the place of a message.
    Torn(Vec<Change>),
    /// Another connection takes this one's place.
    Replace,
    /// The subscription began anew, where that was asked for; its snapshot may change places with the next message.
    Anew {
        is_swapped: bool,
    },
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        12 => changes().prop_map(Turn::Update),
        1 => changes().prop_map(Turn::Twice),
        1 => changes().prop_map(Turn::Late),
        1 => changes().prop_map(Turn::Torn),
        1 => Just(Turn::Replace),
        4 => Just(Turn::Anew { is_swapped: false }),
        1 => Just(Turn::Anew { is_swapped: true }),
    ];
    proptest::collection::vec(turn, 1..80)
}

proptest! {
    #[test]
    fn a_valid_book_is_the_exchanges_at_every_moment(turns in turns(), depth in prop::option::of(1u32..7)) {
        let mut venue = Venue::default();
        let mut session = coinbase(depth).session(markets());
        let (mut ladder, mut state, mut conn, mut clock, mut asked) = (Ladder::new(), None, 1, 0, false);
        let mut feed = |entry: Owned, ladder: &mut Ladder, state: &mut Option<BookState>, asked: &mut bool| {
            let mut out = Recorded::default();
            clock += 1;
            apply(session.as_mut(), clock, &entry, &mut out);
            for event in &out.events {
                match event {
                    Event::Level(_, level) => ladder.apply(level),
                    Event::State(_, new, _) => *state = Some(*new),
                    Event::Want(Want::Resubscribe { .. }) => *asked = true,
                    _ => {}
                }
            }
        };
        feed(plain(EntryKind::FeedOpened, 0, "BTC/USD book"), &mut ladder, &mut state, &mut asked);
        feed(plain(EntryKind::Opened, conn, ""), &mut ladder, &mut state, &mut asked);
        feed(frame(conn, SUBSCRIBED), &mut ladder, &mut state, &mut asked);
        feed(frame(conn, &venue.snapshot()), &mut ladder, &mut state, &mut asked);
        let interrupted = turns.iter().any(|turn| {
            !matches!(turn, Turn::Update(_) | Turn::Twice(_) | Turn::Anew { is_swapped: false })
        });
        // After some on one connection it is taken for the exchange's own order.
        let mut swaps = 0;
        for turn in turns {
            match turn {
                Turn::Update(changes) => feed(frame(conn, &venue.update(&changes)), &mut ladder, &mut state, &mut asked),
                Turn::Twice(changes) => {
                    let text = venue.update(&changes);
                    feed(frame(conn, &text), &mut ladder, &mut state, &mut asked);
                    feed(frame(conn, &text), &mut ladder, &mut state, &mut asked);
                }
                Turn::Late(changes) => {
                    // Until it comes it is a message that never came, and nothing can tell.
                    let (text, next) = (venue.update(&changes), venue.update(&[(true, 0, 3)]));
                    feed(frame(conn, &next), &mut ladder, &mut state, &mut asked);
                    feed(frame(conn, &text), &mut ladder, &mut state, &mut asked);
                    prop_assert_ne!(state, Some(BookState::Valid), "two messages changed places unseen");
                }
                Turn::Torn(changes) => {
                    let text = venue.update(&changes);
                    feed(frame(conn, &text[..text.len() / 2]), &mut ladder, &mut state, &mut asked);
                }
                Turn::Replace => {
                    feed(plain(EntryKind::Closed, conn, ""), &mut ladder, &mut state, &mut asked);
                    (conn, asked, swaps) = (conn + 1, false, 0);
                    feed(plain(EntryKind::Opened, conn, ""), &mut ladder, &mut state, &mut asked);
                    feed(frame(conn, SUBSCRIBED), &mut ladder, &mut state, &mut asked);
                    feed(frame(conn, &venue.snapshot()), &mut ladder, &mut state, &mut asked);
                }
                Turn::Anew { is_swapped } if std::mem::take(&mut asked) => {
                    feed(frame(conn, UNSUBSCRIBED), &mut ladder, &mut state, &mut asked);
                    feed(frame(conn, SUBSCRIBED), &mut ladder, &mut state, &mut asked);
                    let snapshot = venue.snapshot();
                    if is_swapped && swaps < 3 {
                        swaps += 1;
                        feed(frame(conn, &venue.update(&[(true, 0, 3)])), &mut ladder, &mut state, &mut asked);
                    }
                    feed(frame(conn, &snapshot), &mut ladder, &mut state, &mut asked);
                }
                Turn::Anew { .. } => {}
            }
            // An exchange's book without a level has nothing that could be given out.
            let is_empty = venue.bids.is_empty() && venue.asks.is_empty();
            if state == Some(BookState::Valid) && !is_empty {
                prop_assert!(venue.is(&ladder, depth), "{:?} {:?}", ladder, venue.bids);
            }
            prop_assert!(interrupted || state == Some(BookState::Valid), "suspect without a reason");
        }
    }

    /// Two connections bring the same messages, each in order, one behind the other by any number; the first ends at any time.
    #[test]
    fn a_replaced_connection_never_leaves_a_wrong_book(
        all in proptest::collection::vec(changes(), 2..40), joins in 1usize..30, turns in proptest::collection::vec(any::<bool>(), 100),
        ends in 0usize..100, depth in prop::option::of(1u32..7),
    ) {
        let mut venue = Venue { bids: BTreeMap::from([(1, 9)]), asks: BTreeMap::from([(18, 9)]), clock: 0 };
        let (mut first, mut second) = (vec![venue.snapshot()], Vec::new());
        for (at, changes) in all.iter().enumerate() {
            if at == joins {
                second.push(venue.snapshot());
            }
            let text = venue.update(changes);
            if at >= joins {
                second.push(text.clone());
            }
            first.push(text);
        }
        let mut queues = [first, second];
        queues.iter_mut().for_each(|queue| queue.reverse());
        let mut session = coinbase(depth).session(markets());
        let mut out = Recorded::default();
        apply(session.as_mut(), 0, &plain(EntryKind::FeedOpened, 0, "BTC/USD book"), &mut out);
        for (at, is_second) in turns.iter().enumerate() {
            if at == ends {
                queues[0].clear();
                apply(session.as_mut(), at, &plain(EntryKind::Closed, 1, "gone"), &mut out);
            }
            let which = usize::from(*is_second);
            if let Some(text) = queues[which].pop() {
                apply(session.as_mut(), at, &frame(u32::try_from(which).unwrap() + 1, &text), &mut out);
            }
        }
        while let Some(text) = queues[1].pop() {
            apply(session.as_mut(), 200, &frame(2, &text), &mut out);
        }
        let mut ladder = Ladder::new();
        out.levels().for_each(|level| ladder.apply(level));
        if session.feed_status(0).book == Some(BookState::Valid) && queues[0].is_empty() && ladder.epoch() > 0 {
            prop_assert!(venue.is(&ladder, depth), "{:?} {:?} {:?}", ladder, venue.bids, venue.asks);
        }
        // Epochs but the first are declared, and no message comes twice within one.
        let epochs = out.levels().map(|level| level.epoch).max().unwrap_or(0);
        prop_assert_eq!(out.gaps().count(), usize::try_from(epochs.saturating_sub(1)).unwrap());
        let updates = out.levels().filter(|l| l.flags.contains(Flags::FIRST) && !l.flags.contains(Flags::SNAPSHOT));
        let mut times: Vec<(u32, UnixNanos)> = updates.map(|level| (level.epoch, level.ts_venue)).collect();
        let count = times.len();
        times.dedup();
        prop_assert!(times.is_sorted() && times.len() == count, "{:?}", times);
    }
}
