//! Whatever a Bitfinex session is given, it returns, and saved and restored anywhere it goes on identically. And of an exchange whose
//! connections come and go, lose, repeat, swap and garble messages, what is given out is the truth, or what is missing is declared.

mod support;

use std::collections::BTreeMap;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Ladder, Session, Want};
use dccd_model::{BookState, Decimal, Entry, EntryKind, UnixNanos};
use proptest::prelude::*;
use support::bitfinex::{BOOK, CONF, QUOTES, TRADES, bitfinex, markets, subscribed};

type Owned = (EntryKind, u32, String, Vec<u8>);

fn frame(conn: u32, text: &str) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.as_bytes().to_vec())
}

fn plain(kind: EntryKind, conn: u32, subject: &str) -> Owned {
    (kind, conn, subject.to_owned(), Vec::new())
}

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = UnixNanos::from_millis(i64::try_from(at).unwrap());
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

fn opened() -> Vec<Owned> {
    let feeds = ["BTC/USD trades", "BTC/USD quotes", "BTC/USD book"];
    let mut entries: Vec<Owned> = feeds.iter().map(|feed| plain(EntryKind::FeedOpened, 0, feed)).collect();
    for conn in [1, 2] {
        entries.push(plain(EntryKind::Opened, conn, ""));
        entries.push(frame(conn, CONF));
        entries.extend([TRADES, QUOTES, BOOK].map(|chan| frame(conn, &subscribed(chan))));
    }
    entries
}

/// What a channel may say, as far as a session can tell.
fn contents() -> Vec<(u64, &'static str)> {
    vec![
        (TRADES, r#""te",[5,5,0.5,100.1]"#),
        (TRADES, r#""tu",[5,5,0.5,100.1]"#),
        (TRADES, "[[7,7,1,100],[6,6,-1,99.5]]"),
        (QUOTES, "[[99,1,1],[101,1,-1]]"),
        (QUOTES, "[99,0,1]"),
        (QUOTES, "[98,2,1]"),
        (QUOTES, r#""hb""#),
        (BOOK, "[[99,1,1],[98,2,2],[101,1,-1]]"),
        (BOOK, "[99,1,3e-7]"),
        (BOOK, "[98,0,1]"),
        (BOOK, r#""cs",-1175357890"#),
        (BOOK, "[]"),
        (42, "[1,2,3]"),
    ]
}

/// Entries of all kinds, about few connections, in an order of their own.
fn entries() -> impl Strategy<Value = Vec<Owned>> {
    let conn = 1u32..4;
    let channels = ["trades", "quotes", "book"];
    let one = prop_oneof![
        6 => (conn.clone(), proptest::sample::select(contents()), 0u64..12)
            .prop_map(|(c, (chan, text), n)| frame(c, &format!("[{chan},{text},{n},1000]"))),
        1 => (conn.clone(), proptest::sample::select(vec![TRADES, QUOTES, BOOK])).prop_map(|(c, chan)| frame(c, &subscribed(chan))),
        1 => (conn.clone(), proptest::sample::select(vec![0u64, 65_536, 229_376, 537_100_288]))
            .prop_map(|(c, flags)| frame(c, &format!(r#"{{"event":"conf","status":"OK","flags":{flags}}}"#))),
        1 => (conn.clone(), 17u64..21).prop_map(|(c, chan)| frame(c, &format!(r#"{{"event":"unsubscribed","chanId":{chan}}}"#))),
        1 => conn.clone().prop_map(|c| plain(EntryKind::Opened, c, "")),
        1 => conn.clone().prop_map(|c| plain(EntryKind::Closed, c % 3, "gone")),
        1 => (0..3usize, any::<bool>()).prop_map(move |(c, open)| {
            let kind = if open { EntryKind::FeedOpened } else { EntryKind::FeedClosed };
            plain(kind, 0, &format!("BTC/USD {}", channels[c]))
        }),
        1 => (1u64..9).prop_map(|n| {
            let body = format!("[[{n},{n},1,100],[{0},{0},1,100]]", n + 1);
            (EntryKind::Response, 0, "trades BTC/USD since 1".to_owned(), body.into_bytes())
        }),
        1 => Just(plain(EntryKind::Resync, 0, "BTC/USD book")),
        1 => Just(plain(EntryKind::Lost, 0, "full")),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn any_bytes_return(kind in 1u8..9, conn in 0u32..3, subject in ".{0,40}", payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut session = bitfinex().session(markets());
        let mut out = Recorded::default();
        for (at, entry) in opened().iter().enumerate() {
            apply(session.as_mut(), at, entry, &mut out);
        }
        apply(session.as_mut(), 99, &(EntryKind::from_u8(kind).unwrap(), conn, subject, payload.clone()), &mut out);
        apply(session.as_mut(), 99, &(EntryKind::Response, 0, "trades BTC/USD since 1".to_owned(), payload.clone()), &mut out);
        let _ = bitfinex().parse_markets(&payload);
    }

    #[test]
    fn messages_that_are_cut_and_changed_return(
        (chan, text) in proptest::sample::select(contents()), cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut session = bitfinex().session(markets());
        let mut out = Recorded::default();
        for (at, entry) in opened().iter().enumerate() {
            apply(session.as_mut(), at, entry, &mut out);
        }
        for message in [format!("[{chan},{text},1,1000]"), subscribed(chan), CONF.to_owned()] {
            let mut bytes = message.into_bytes();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            apply(session.as_mut(), 99, &(EntryKind::Frame, 1, String::new(), bytes.clone()), &mut out);
            apply(session.as_mut(), 99, &(EntryKind::Response, 0, "trades BTC/USD since 1".to_owned(), bytes), &mut out);
        }
    }

    #[test]
    fn a_session_goes_on_where_it_was_saved(entries in entries(), split in any::<prop::sample::Index>()) {
        let entries = [opened(), entries].concat();
        let split = split.index(entries.len() + 1);
        let (mut whole, mut first) = (bitfinex().session(markets()), bitfinex().session(markets()));
        let (mut expected, mut got) = (Recorded::default(), Recorded::default());
        for (at, entry) in entries.iter().enumerate() {
            apply(whole.as_mut(), at, entry, &mut expected);
            if at == split {
                first = bitfinex().restore(markets(), &first.save()).unwrap();
            }
            apply(first.as_mut(), at, entry, &mut got);
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(whole.save(), first.save());
    }
}

/// What happens to a message on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    IsLost,
    Repeats,
    /// It comes after the next one.
    ComesLate,
    IsGarbled,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A bid or an ask at a price so far from the middle gets this amount; 0: it ends.
    Level(bool, u8, u8),
    Trade,
    Heartbeat,
    Checksum,
    Open,
    /// The connection at this place, of those that are open.
    Close(usize),
    /// What the session wants is done.
    Serve,
}

fn steps() -> impl Strategy<Value = Vec<(Step, [Fate; 2])>> {
    let fate = || {
        prop_oneof![
            30 => Just(Fate::Arrives), 1 => Just(Fate::IsLost), 1 => Just(Fate::Repeats),
            1 => Just(Fate::ComesLate), 1 => Just(Fate::IsGarbled),
        ]
    };
    let step = prop_oneof![
        12 => (any::<bool>(), 0u8..20, 0u8..4).prop_map(|(bid, at, amount)| Step::Level(bid, at, amount)),
        5 => Just(Step::Trade),
        1 => Just(Step::Heartbeat),
        2 => Just(Step::Checksum),
        1 => Just(Step::Open),
        1 => (0usize..2).prop_map(Step::Close),
        3 => Just(Step::Serve),
    ];
    proptest::collection::vec((step, [fate(), fate()]), 1..150)
}

struct Connection {
    conn: u32,
    number: u64,
    late: Option<String>,
}

/// The exchange, and a session that listens to it.
struct World {
    session: Box<dyn Session>,
    out: Recorded,
    /// Applied from what was given out.
    ladder: Ladder,
    quote: Option<[Decimal; 4]>,
    clock: usize,
    /// By price: bids below 100, asks above.
    book: BTreeMap<u8, u8>,
    trades: u64,
    connections: Vec<Connection>,
    next_conn: u32,
    wants: Vec<Want>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            session: bitfinex().session(markets()),
            out: Recorded::default(),
            ladder: Ladder::new(),
            quote: None,
            clock: 0,
            book: BTreeMap::from([(99, 1), (101, 1)]),
            trades: 10,
            connections: Vec::new(),
            next_conn: 1,
            wants: Vec::new(),
        };
        for feed in ["BTC/USD trades", "BTC/USD quotes", "BTC/USD book"] {
            world.enter(&plain(EntryKind::FeedOpened, 0, feed));
        }
        world
    }

    fn enter(&mut self, entry: &Owned) {
        self.clock += 1;
        let mut out = Recorded::default();
        apply(self.session.as_mut(), self.clock, entry, &mut out);
        for level in out.levels() {
            self.ladder.apply(level);
        }
        if let Some(quote) = out.quotes().last() {
            self.quote = Some([quote.bid, quote.bid_amount, quote.ask, quote.ask_amount]);
        }
        self.wants.extend(out.wants().cloned());
        self.out.events.extend(out.events);
    }

    /// A connection's channel says this, and it fares as `fate` says.
    fn say(&mut self, place: usize, chan: u64, content: &str, fate: Fate) {
        let clock = self.clock;
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.number += 1;
        let (conn, text) = (connection.conn, format!("[{chan},{content},{},{clock}]", connection.number));
        let late = connection.late.take();
        match fate {
            Fate::Arrives => self.enter(&frame(conn, &text)),
            Fate::IsLost => {}
            Fate::Repeats => {
                self.enter(&frame(conn, &text));
                self.enter(&frame(conn, &text));
            }
            Fate::ComesLate => self.connections[place].late = Some(text),
            Fate::IsGarbled => self.enter(&frame(conn, &text[..text.len() / 2])),
        }
        if let Some(late) = late {
            self.enter(&frame(conn, &late));
        }
    }

    fn say_all(&mut self, chan: u64, content: &str, fates: [Fate; 2]) {
        for (place, fate) in (0..self.connections.len()).zip(fates) {
            self.say(place, chan, content, fate);
        }
    }

    fn row(price: u8, amount: u8) -> String {
        let sign = if price > 100 { "-" } else { "" };
        if amount == 0 { format!("[{price},0,{sign}1]") } else { format!("[{price},1,{sign}{amount}]") }
    }

    fn best(&self) -> [Option<(u8, u8)>; 2] {
        let level = |(price, amount): (&u8, &u8)| (*price, *amount);
        [self.book.range(..100).next_back().map(level), self.book.range(101..).next().map(level)]
    }

    fn snapshot(&self, chan: u64) -> String {
        let rows: Vec<String> = match chan {
            BOOK => self.book.iter().map(|(price, amount)| Self::row(*price, *amount)).collect(),
            QUOTES => self.best().into_iter().flatten().map(|(price, amount)| Self::row(price, amount)).collect(),
            _ => (self.trades.saturating_sub(4)..=self.trades).rev().map(|id| format!("[{id},{id},1,100]")).collect(),
        };
        format!("[{}]", rows.join(","))
    }

    fn open(&mut self) {
        if self.connections.len() >= 2 {
            return;
        }
        let conn = self.next_conn;
        self.next_conn += 1;
        self.connections.push(Connection { conn, number: 0, late: None });
        self.enter(&plain(EntryKind::Opened, conn, ""));
        self.enter(&frame(conn, CONF));
        for chan in [TRADES, QUOTES, BOOK] {
            self.subscribe(self.connections.len() - 1, chan);
        }
    }

    fn subscribe(&mut self, place: usize, chan: u64) {
        let conn = self.connections[place].conn;
        self.enter(&frame(conn, &subscribed(chan)));
        let snapshot = self.snapshot(chan);
        self.say(place, chan, &snapshot, Fate::Arrives);
    }

    fn close(&mut self, place: usize) {
        if place < self.connections.len() {
            let connection = self.connections.remove(place);
            self.enter(&plain(EntryKind::Closed, connection.conn, "gone"));
        }
    }

    fn serve(&mut self) {
        for want in std::mem::take(&mut self.wants) {
            match want {
                Want::Resubscribe { feed, conn, .. } => {
                    for place in 0..self.connections.len() {
                        let open = self.connections[place].conn;
                        if (conn == 0 || conn == open) && self.session.ending(feed, open).is_some() {
                            let chan = [TRADES, QUOTES, BOOK][feed as usize];
                            self.enter(&frame(
                                open,
                                &format!(r#"{{"event":"unsubscribed","status":"OK","chanId":{chan}}}"#),
                            ));
                            self.subscribe(place, chan);
                        }
                    }
                }
                Want::Trades { ts_before, .. } => {
                    let first = u64::try_from(ts_before.as_millis()).unwrap();
                    let rows: Vec<String> = (first..=self.trades).map(|id| format!("[{id},{id},1,100]")).collect();
                    let body = format!("[{}]", rows.join(",")).into_bytes();
                    self.enter(&(EntryKind::Response, 0, "trades BTC/USD since 1".to_owned(), body));
                }
                Want::BookSnapshot { .. } | Want::Replace { .. } | Want::Pong { .. } => panic!("{want:?}"),
            }
        }
    }

    fn step(&mut self, step: Step, fates: [Fate; 2]) {
        match step {
            Step::Level(is_bid, at, amount) => {
                let price = if is_bid { 99 - at } else { 101 + at };
                let before = self.best();
                let was_there = self.book.contains_key(&price);
                if amount == 0 {
                    self.book.remove(&price)
                } else {
                    self.book.insert(price, amount)
                };
                if amount == 0 && !was_there {
                    return;
                }
                self.say_all(BOOK, &Self::row(price, amount), fates);
                for (before, after) in before.into_iter().zip(self.best()).filter(|(before, after)| before != after) {
                    if let Some((price, _)) = before.filter(|(price, _)| after.is_none_or(|(now, _)| now != *price)) {
                        self.say_all(QUOTES, &Self::row(price, 0), fates);
                    }
                    if let Some((price, amount)) = after {
                        self.say_all(QUOTES, &Self::row(price, amount), fates);
                    }
                }
            }
            Step::Trade => {
                self.trades += 1;
                let row = format!("[{0},{0},1,100]", self.trades);
                self.say_all(TRADES, &format!(r#""te",{row}"#), fates);
                self.say_all(TRADES, &format!(r#""tu",{row}"#), fates);
            }
            Step::Heartbeat => self.say_all(QUOTES, r#""hb""#, fates),
            Step::Checksum => {
                let (bids, asks) = (self.book.range(..100).rev(), self.book.range(101..));
                let (mut bids, mut asks) = (bids.map(|(p, a)| format!("{p}:{a}")), asks.map(|(p, a)| format!("{p}:-{a}")));
                let texts: Vec<String> = (0..25).flat_map(|_| [bids.next(), asks.next()]).flatten().collect();
                let sum = crc32fast::hash(texts.join(":").as_bytes()).cast_signed();
                self.say_all(BOOK, &format!(r#""cs",{sum}"#), fates);
            }
            Step::Open => self.open(),
            Step::Close(place) => self.close(place),
            Step::Serve => self.serve(),
        }
    }

    /// Nothing is lost any more, and all that is wanted is done.
    fn settle(&mut self) {
        self.open();
        for _ in 0..3 {
            for chan in [TRADES, QUOTES, BOOK, QUOTES] {
                self.say_all(chan, r#""hb""#, [Fate::Arrives; 2]);
            }
            self.step(Step::Trade, [Fate::Arrives; 2]);
            self.serve();
        }
        self.step(Step::Checksum, [Fate::Arrives; 2]);
    }
}

fn number(number: u8) -> Decimal {
    Decimal::new(i64::from(number), 0)
}

proptest! {
    #[test]
    fn what_is_given_out_is_the_truth_or_declared(steps in steps()) {
        let mut world = World::new();
        world.open();
        for (step, fates) in steps {
            world.step(step, fates);
        }
        world.settle();
        let level = |(price, amount): (&u8, &u8)| (number(*price), number(*amount));
        let bids: Vec<_> = world.book.range(..100).rev().map(level).collect();
        let asks: Vec<_> = world.book.range(101..).map(level).collect();
        prop_assert_eq!(world.session.feed_status(2).book, Some(BookState::Valid));
        // A book of no levels has no rows to say so.
        if !world.book.is_empty() {
            prop_assert_eq!((world.ladder.bids().collect::<Vec<_>>(), world.ladder.asks().collect::<Vec<_>>()), (bids, asks));
        }
        let [bid, ask] = world.best().map(|best| best.map_or([Decimal::ZERO; 2], |(p, a)| [number(p), number(a)]));
        prop_assert_eq!(world.quote, Some([bid[0], bid[1], ask[0], ask[1]]));
        let mut got: Vec<u64> = world.out.trades().map(|trade| u64::try_from(trade.id.0).unwrap()).collect();
        got.sort_unstable();
        prop_assert!(got.is_sorted_by(|a, b| a < b), "a trade came twice: {got:?}");
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        for event in &world.out.events {
            let Event::Gap(0, gap) = event else { continue };
            let key = (gap.from.as_millis(), gap.to.as_millis());
            gaps.retain(|known| *known != key);
            if !gap.repaired {
                gaps.push(key);
            }
        }
        for id in got[0]..=world.trades {
            let ms = i64::try_from(id).unwrap();
            let declared = gaps.iter().any(|(from, to)| *from < ms && ms < *to);
            prop_assert!(declared || got.binary_search(&id).is_ok(), "trade {id} is missing: {got:?} {gaps:?}");
        }
    }
}
