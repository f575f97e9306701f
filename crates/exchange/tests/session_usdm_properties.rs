//! A perpetual's exchange that is made up, over connections that lose, repeat and swap messages and come and go: a book that is valid
//! is the exchange's own, each trade comes once or is declared missing, and saved and restored anywhere a session goes on identically.

mod support;

use std::collections::BTreeMap;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Ladder, Session, Want};
use dccd_model::{BookState, Decimal, Entry, EntryKind, Flags, UnixNanos};
use proptest::prelude::*;
use support::usdm::{MARKET, PUBLIC, agg_trade, binance, depth, markets, page, quote, snapshot};

type Owned = (EntryKind, u32, String, Vec<u8>);
type Side = BTreeMap<u64, u64>;

/// The exchange's own book after each of its changes; those of other symbols lie between the numbers.
#[derive(Clone, Debug, Default)]
struct Truth {
    books: BTreeMap<u64, [Side; 2]>,
    /// Number, side, price and amount of each change.
    changes: Vec<(u64, usize, u64, u64)>,
}

impl Truth {
    fn of(steps: &[(u64, usize, u64, u64)]) -> Self {
        let mut truth = Self::default();
        let mut number = 1_000;
        let mut book = [Side::from([(90, 1)]), Side::from([(110, 1)])];
        truth.books.insert(number, book.clone());
        for (ahead, side, price, amount) in steps {
            number += ahead;
            let price = if *side == 0 { 90 + price } else { 101 + price };
            if *amount == 0 {
                book[*side].remove(&price)
            } else {
                book[*side].insert(price, *amount)
            };
            truth.books.insert(number, book.clone());
            truth.changes.push((number, *side, price, *amount));
        }
        truth
    }

    /// The messages of a connection that puts so many changes into each: what became of each price that they touch.
    fn messages(&self, size: usize) -> Vec<String> {
        let mut previous = 1_000;
        let message = |changes: &[(u64, usize, u64, u64)]| {
            let last = changes.last().map_or(0, |change| change.0);
            let mut sides = [Side::new(), Side::new()];
            for (_, side, price, amount) in changes {
                sides[*side].insert(*price, *amount);
            }
            let [bids, asks] = sides.map(|side| levels(&side));
            let text = depth(previous, last, &bids, &asks);
            previous = last;
            text
        };
        self.changes.chunks(size).map(message).collect()
    }

    fn snapshot(&self, number: u64) -> Vec<u8> {
        let (last, [bids, asks]) = self.books.range(..=number).next_back().unwrap_or_else(|| panic!("before the first"));
        snapshot(*last, &levels(bids), &levels(asks)).into_bytes()
    }
}

fn levels(side: &Side) -> String {
    side.iter().map(|(price, amount)| format!(r#"["{price}","{amount}"]"#)).collect::<Vec<_>>().join(",")
}

fn plain_side(side: impl Iterator<Item = (Decimal, Decimal)>) -> Side {
    let whole = |number: Decimal| u64::try_from(number.mantissa).unwrap_or(0);
    side.map(|(price, amount)| (whole(price), whole(amount))).collect()
}

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = UnixNanos::from_millis(i64::try_from(at).unwrap());
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

fn frame(conn: u32, text: &str) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.as_bytes().to_vec())
}

fn plain(kind: EntryKind, conn: u32, subject: &str) -> Owned {
    (kind, conn, subject.to_owned(), Vec::new())
}

/// What a connection does with its next message.
#[derive(Clone, Copy, Debug)]
enum Way {
    Sends,
    Loses,
    Repeats,
    Swaps,
    Reconnects,
    Answers(u64),
}

fn ways() -> impl Strategy<Value = Vec<(bool, Way)>> {
    let way = prop_oneof![
        12 => Just(Way::Sends),
        2 => Just(Way::Loses),
        1 => Just(Way::Repeats),
        1 => Just(Way::Swaps),
        1 => Just(Way::Reconnects),
        4 => (0u64..60).prop_map(Way::Answers),
    ];
    proptest::collection::vec((any::<bool>(), way), 1..150)
}

fn steps() -> impl Strategy<Value = Vec<(u64, usize, u64, u64)>> {
    proptest::collection::vec((1u64..9, 0usize..2, 0u64..10, 0u64..4), 20..200)
}

/// The entries of two connections that are given these messages, as far as the ways lead.
fn played(truth: &Truth, sizes: [usize; 2], ways: &[(bool, Way)]) -> Vec<Owned> {
    let mut entries = vec![plain(EntryKind::FeedOpened, 0, "BTC/USDT:USDT book")];
    let mut conns = [1, 2];
    conns.iter().for_each(|conn| entries.push(plain(EntryKind::Opened, *conn, PUBLIC)));
    let messages = sizes.map(|size| truth.messages(size));
    let mut at = [0, 0];
    let mut newest = 1_000;
    for (which, way) in ways {
        let which = usize::from(*which);
        let (conn, at, all) = (&mut conns[which], &mut at[which], &messages[which]);
        match way {
            Way::Answers(back) => {
                // The exchange's state of some time ago, or of what is still on its way.
                let number = (newest + 20u64).saturating_sub(*back).max(1_000);
                entries.push((EntryKind::Response, 0, "depth BTC/USDT:USDT".to_owned(), truth.snapshot(number)));
                continue;
            }
            Way::Reconnects => {
                entries.push(plain(EntryKind::Closed, *conn, "gone"));
                *conn += 2;
                entries.push(plain(EntryKind::Opened, *conn, PUBLIC));
            }
            Way::Sends => all.get(*at).into_iter().for_each(|text| entries.push(frame(*conn, text))),
            Way::Loses => {}
            Way::Repeats => {
                all.get(at.saturating_sub(1)..=*at).into_iter().flatten().for_each(|text| entries.push(frame(*conn, text)))
            }
            Way::Swaps => {
                all.get(*at..*at + 2).into_iter().flatten().rev().for_each(|text| entries.push(frame(*conn, text)));
                *at += 1;
            }
        }
        *at += 1;
        newest = newest.max(truth.changes.get(*at * sizes[which]).map_or(0, |change| change.0));
    }
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_book_that_is_valid_is_the_exchanges_own(steps in steps(), sizes in (1usize..4, 1usize..4), ways in ways()) {
        let truth = Truth::of(&steps);
        let mut session = binance().session(markets());
        let mut out = Recorded::default();
        let entries = played(&truth, [sizes.0, sizes.1], &ways);
        entries.iter().enumerate().for_each(|(at, entry)| apply(session.as_mut(), at, entry, &mut out));
        let mut ladder = Ladder::new();
        let (mut epoch, mut owed) = (0, false);
        for event in &out.events {
            match event {
                Event::State(_, state, _) => owed |= *state == BookState::Suspect,
                Event::Gap(..) => owed = false,
                Event::Level(_, level) => {
                    prop_assert!(!owed, "a record after a hole that isn't declared: {level:?}");
                    if level.epoch > epoch {
                        prop_assert!(level.flags.contains(Flags::SNAPSHOT | Flags::FIRST));
                        epoch = level.epoch;
                    }
                    prop_assert!(level.epoch == epoch && level.update_id >= ladder.update_id() || level.flags.contains(Flags::SNAPSHOT));
                    ladder.apply(level);
                    if level.flags.contains(Flags::LAST) {
                        let [bids, asks] = truth.books.range(..=level.update_id).next_back().unwrap().1.clone();
                        let ours = [plain_side(ladder.bids()), plain_side(ladder.asks())];
                        prop_assert_eq!(ours, [bids, asks], "at {}", level.update_id);
                    }
                }
                _ => {}
            }
        }
        // A book that isn't valid waits for a snapshot, if it has seen anything.
        let status = session.feed_status(0);
        let waits = session.outstanding().iter().any(|want| matches!(want, Want::BookSnapshot { .. }));
        prop_assert!(status.book == Some(BookState::Valid) || waits || status.records == 0 || status.buffered == 0);
    }

    /// A connection that loses nothing breaks no book, whatever the other one does beside it.
    #[test]
    fn a_book_that_is_sent_whole_is_never_broken(steps in steps(), size in 1usize..4) {
        let truth = Truth::of(&steps);
        let mut session = binance().session(markets());
        let mut out = Recorded::default();
        let mut entries = vec![plain(EntryKind::FeedOpened, 0, "BTC/USDT:USDT book"), plain(EntryKind::Opened, 1, PUBLIC)];
        let messages = truth.messages(size);
        entries.extend(messages.iter().take(1).map(|text| frame(1, text)));
        entries.push((EntryKind::Response, 0, "depth BTC/USDT:USDT".to_owned(), truth.snapshot(1_000)));
        // The same messages once more: a connection that will take the first's place.
        entries.push(plain(EntryKind::Opened, 2, PUBLIC));
        entries.extend(messages.iter().skip(1).flat_map(|text| [frame(1, text), frame(2, text)]));
        entries.iter().enumerate().for_each(|(at, entry)| apply(session.as_mut(), at, entry, &mut out));
        let status = session.feed_status(0);
        let last = truth.changes.last().map(|change| change.0);
        prop_assert_eq!((status.book, status.epoch, status.gaps, status.last_id), (Some(BookState::Valid), 1, 0, last));
    }

    #[test]
    fn each_trade_comes_once_or_is_declared_missing(
        ways in proptest::collection::vec((0u32..2, 0u8..10, 0u64..30), 1..120),
    ) {
        let mut session = binance().session(markets());
        let mut out = Recorded::default();
        let mut entries = vec![plain(EntryKind::FeedOpened, 0, "BTC/USDT:USDT trades")];
        let (mut conns, mut next) = ([1, 2], [100u64, 100]);
        conns.iter().for_each(|conn| entries.push(plain(EntryKind::Opened, *conn, MARKET)));
        entries.push(frame(1, &agg_trade(99)));
        for (which, way, number) in ways {
            let (conn, next) = (&mut conns[which as usize], &mut next[which as usize]);
            match way {
                0 => *next += number % 4,
                1 => {
                    entries.push(plain(EntryKind::Closed, *conn, "gone"));
                    *conn += 2;
                    entries.push(plain(EntryKind::Opened, *conn, MARKET));
                }
                2 => {
                    let from = 90 + number;
                    let ids = (from..from + 8).filter(|id| id % 5 != 0 || number % 2 == 0);
                    entries.push((EntryKind::Response, 0, format!("trades BTC/USDT:USDT {from}"), page(ids).into_bytes()));
                }
                _ => {
                    entries.push(frame(*conn, &agg_trade(*next)));
                    *next += 1;
                }
            }
        }
        entries.iter().enumerate().for_each(|(at, entry)| apply(session.as_mut(), at, entry, &mut out));
        let mut missing = std::collections::BTreeSet::new();
        let mut got = std::collections::BTreeSet::new();
        for event in &out.events {
            match event {
                Event::Gap(_, gap) => {
                    let (first, last) = gap.ids.unwrap();
                    if gap.repaired { missing.retain(|id| !(first..=last).contains(id)) } else { missing.extend(first..=last) }
                }
                Event::Trade(_, trade) => prop_assert!(got.insert(trade.id.low()), "{} twice", trade.id),
                _ => {}
            }
        }
        let newest = got.last().copied().unwrap_or(0);
        for id in 99..=newest {
            prop_assert!(got.contains(&id) || missing.contains(&id), "{id} is missing: {got:?} {missing:?}");
        }
    }

    #[test]
    fn saved_and_restored_anywhere_a_session_goes_on_identically(
        steps in steps(), sizes in (1usize..4, 1usize..4), ways in ways(), split in any::<prop::sample::Index>(),
        more in proptest::collection::vec((1u32..5, 1u64..40), 0..20),
    ) {
        let truth = Truth::of(&steps);
        let mut entries = played(&truth, [sizes.0, sizes.1], &ways);
        entries.insert(1, plain(EntryKind::FeedOpened, 0, "BTC/USDT:USDT trades"));
        entries.insert(1, plain(EntryKind::FeedOpened, 0, "BTC/USDT quotes"));
        entries.insert(1, plain(EntryKind::FeedOpened, 0, "BTC/USDT:USDT quotes"));
        entries.extend(more.iter().flat_map(|(conn, n)| [frame(*conn, &quote(*n)), frame(*conn, &agg_trade(*n))]));
        let split = split.index(entries.len() + 1);
        let (mut whole, mut parts) = (binance().session(markets()), binance().session(markets()));
        let (mut expected, mut got) = (Recorded::default(), Recorded::default());
        for (at, entry) in entries.iter().enumerate() {
            apply(whole.as_mut(), at, entry, &mut expected);
            if at == split {
                parts = binance().restore(markets(), &parts.save()).unwrap();
            }
            apply(parts.as_mut(), at, entry, &mut got);
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(whole.save(), parts.save());
        prop_assert_eq!(whole.outstanding(), parts.outstanding());
    }

    #[test]
    fn messages_that_are_cut_and_changed_return(
        which in 0usize..5, cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let texts = [agg_trade(5), quote(5), depth(5, 9, r#"["99","1"]"#, ""), page(1..4), snapshot(7, r#"["99","1"]"#, r#"["101","1"]"#)];
        let mut bytes = texts[which].clone().into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut session = binance().session(markets());
        let mut out = Recorded::default();
        for (at, channel) in ["trades", "quotes", "book"].iter().enumerate() {
            apply(session.as_mut(), at, &plain(EntryKind::FeedOpened, 0, &format!("BTC/USDT:USDT {channel}")), &mut out);
        }
        apply(session.as_mut(), 3, &plain(EntryKind::Opened, 1, PUBLIC), &mut out);
        for subject in ["", "depth BTC/USDT:USDT", "trades BTC/USDT:USDT 1"] {
            let kind = if subject.is_empty() { EntryKind::Frame } else { EntryKind::Response };
            apply(session.as_mut(), 9, &(kind, u32::from(subject.is_empty()), subject.to_owned(), bytes.clone()), &mut out);
        }
    }
}
