//! Whatever a KuCoin session is given, it returns, and saved and restored anywhere it goes on identically; trades over connections that
//! come and go are given out once each, or the time in which they are missing is declared; and whatever is lost, repeated or put into
//! another order on the way, a book that is called right is the exchange's.

mod support;

use std::collections::BTreeMap;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Ladder, Session};
use dccd_model::{BookState, Entry, EntryKind, Flags, UnixNanos};
use proptest::prelude::*;
use support::kucoin::{book, kucoin, markets, page, quote, trade};

type Owned = (EntryKind, u32, String, Vec<u8>);

fn frame(conn: u32, text: &str) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.as_bytes().to_vec())
}

fn plain(kind: EntryKind, conn: u32, subject: &str) -> Owned {
    (kind, conn, subject.to_owned(), Vec::new())
}

fn answer(body: &str) -> Owned {
    (EntryKind::Response, 0, "trades BTC/USDT since 1".to_owned(), body.as_bytes().to_vec())
}

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = UnixNanos::from_millis(i64::try_from(at).unwrap());
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

/// Entries of all kinds, about few feeds and connections, in an order of their own.
fn entries() -> impl Strategy<Value = Vec<Owned>> {
    let (conn, number) = (1u32..4, 1u64..12);
    let one = prop_oneof![
        (conn.clone(), number.clone()).prop_map(|(c, n)| frame(c, &trade(n))),
        (conn.clone(), number.clone()).prop_map(|(c, n)| frame(c, &quote(n, &format!(r#""99","{n}""#), r#""101","1""#))),
        (conn.clone(), number.clone(), 0u64..3, any::<bool>()).prop_map(|(c, n, more, whole)| {
            let bids = if n % 2 == 0 { r#"["99","1"],["98","0"]"# } else { r#"["98","1"]"# };
            frame(c, &book(if whole { "snapshot" } else { "delta" }, n, n + more, bids, r#"["101","1"]"#))
        }),
        (conn.clone(), 0..2usize).prop_map(|(c, s)| plain(EntryKind::Opened, c, ["classic", "pro"][s])),
        conn.clone().prop_map(|c| plain(EntryKind::Closed, c % 3, "gone")),
        (0..2usize, 0..3usize, any::<bool>()).prop_map(|(s, c, open)| {
            let kind = if open { EntryKind::FeedOpened } else { EntryKind::FeedClosed };
            plain(kind, 0, &format!("{} {}", ["BTC/USDT", "ETH/USDT"][s], ["trades", "quotes", "book"][c]))
        }),
        number.clone().prop_map(|n| answer(&page(n..n + 3))),
        Just(plain(EntryKind::Resync, 0, "BTC/USDT book")),
        Just(plain(EntryKind::Lost, 0, "full")),
        (conn, number, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(c, n, at, byte)| {
            let mut bytes = trade(n).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            (EntryKind::Frame, c, String::new(), bytes)
        }),
    ];
    proptest::collection::vec(one, 0..60)
}

fn opened() -> Vec<Owned> {
    let feeds = ["BTC/USDT trades", "BTC/USDT quotes", "BTC/USDT book"];
    let mut entries: Vec<Owned> = feeds.iter().map(|feed| plain(EntryKind::FeedOpened, 0, feed)).collect();
    entries.push(plain(EntryKind::Opened, 1, "classic"));
    entries.push(plain(EntryKind::Opened, 2, "pro"));
    entries
}

/// The exchange's book as it goes through its states: prices 100 to 139, of which bids are below 120.
#[derive(Clone, Default)]
struct Truth {
    number: u64,
    levels: BTreeMap<u64, u64>,
    /// The book at each number at which a message ended.
    past: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Truth {
    fn levels(levels: impl Iterator<Item = (u64, u64)>) -> (String, String) {
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        for (price, amount) in levels {
            let side = if price < 120 { &mut bids } else { &mut asks };
            side.push(format!(r#"["{price}","{amount}"]"#));
        }
        (bids.join(","), asks.join(","))
    }

    /// Changes some levels; the message about it.
    fn change(&mut self, changes: &[(u64, u64)]) -> String {
        let first = self.number + 1;
        self.number += changes.len() as u64;
        let mut told = BTreeMap::new();
        for (price, amount) in changes {
            if *amount == 0 {
                self.levels.remove(price);
            } else {
                self.levels.insert(*price, *amount);
            }
            told.insert(*price, *amount);
        }
        self.past.insert(self.number, self.levels.clone());
        let (bids, asks) = Self::levels(told.into_iter());
        book("delta", first, self.number, &bids, &asks)
    }

    fn snapshot(&self) -> String {
        let (bids, asks) = Self::levels(self.levels.iter().map(|(price, amount)| (*price, *amount)));
        book("snapshot", self.number, self.number, &bids, &asks)
    }
}

fn read(ladder: &Ladder) -> BTreeMap<u64, u64> {
    let number = |n: dccd_model::Decimal| n.to_string().parse::<u64>().unwrap();
    ladder.bids().chain(ladder.asks()).map(|(price, amount)| (number(price), number(amount))).collect()
}

proptest! {
    #[test]
    fn any_bytes_return(kind in 1u8..9, conn in 0u32..3, subject in ".{0,40}", payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut session = kucoin().session(markets());
        let mut out = Recorded::default();
        for (at, entry) in opened().iter().enumerate() {
            apply(session.as_mut(), at, entry, &mut out);
        }
        apply(session.as_mut(), 99, &(EntryKind::from_u8(kind).unwrap(), conn, subject, payload.clone()), &mut out);
        apply(session.as_mut(), 99, &(EntryKind::Response, 0, "trades BTC/USDT since 1".to_owned(), payload), &mut out);
    }

    #[test]
    fn messages_that_are_cut_and_changed_return(
        which in 0usize..5, cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let texts = [
            trade(5), quote(5, r#""99","1""#, ""), page(1..=5), book("snapshot", 3, 3, r#"["99","1"]"#, r#"["101","1"]"#),
            r#"{"id":"9","type":"error","code":404,"data":"topic does not exist"}"#.to_owned(),
        ];
        let mut bytes = texts[which].clone().into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut session = kucoin().session(markets());
        let mut out = Recorded::default();
        for (at, entry) in opened().iter().enumerate() {
            apply(session.as_mut(), at, entry, &mut out);
        }
        apply(session.as_mut(), 99, &(EntryKind::Frame, 1, String::new(), bytes.clone()), &mut out);
        apply(session.as_mut(), 99, &(EntryKind::Response, 0, "trades BTC/USDT since 1".to_owned(), bytes.clone()), &mut out);
        // Neither are tickets, lists and candles a way to make it panic.
        let _ = (kucoin().ticket_url(0, None, &bytes), kucoin().parse_markets(&bytes));
    }

    #[test]
    fn a_session_goes_on_where_it_was_saved(entries in entries(), split in any::<prop::sample::Index>()) {
        let entries = [opened(), entries].concat();
        let split = split.index(entries.len() + 1);
        let (mut whole, mut first) = (kucoin().session(markets()), kucoin().session(markets()));
        let (mut expected, mut got) = (Recorded::default(), Recorded::default());
        for (at, entry) in entries.iter().enumerate() {
            apply(whole.as_mut(), at, entry, &mut expected);
            if at == split {
                first = kucoin().restore(markets(), &first.save()).unwrap();
            }
            apply(first.as_mut(), at, entry, &mut got);
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(whole.save(), first.save());
    }

    /// Two connections bring the same changes, grouped in their own ways; messages get lost, come twice, change places with the next,
    /// and connections end. A book that is asked for again begins with a snapshot.
    #[test]
    fn a_book_that_is_called_right_is_the_exchanges(
        steps in proptest::collection::vec(
            (proptest::collection::vec((100u64..140, 0u64..4), 1..4), 0u8..24, 0u32..2), 1..80),
    ) {
        let mut truth = Truth::default();
        let mut session = kucoin().session(markets());
        let mut out = Recorded::default();
        apply(session.as_mut(), 0, &plain(EntryKind::FeedOpened, 0, "BTC/USDT book"), &mut out);
        let mut conns = [1u32, 2];
        let mut next = 3;
        // What each connection has still to bring: of the second two changes come in one message now and then.
        let mut pending: [Vec<String>; 2] = Default::default();
        let mut held: Option<Vec<(u64, u64)>> = None;
        truth.change(&[(110, 1), (130, 1)]);
        for conn in conns {
            apply(session.as_mut(), 0, &plain(EntryKind::Opened, conn, "pro"), &mut out);
            apply(session.as_mut(), 0, &frame(conn, &truth.snapshot()), &mut out);
        }
        let mut ladder = Ladder::new();
        let (mut seen, mut disturbed) = (0, false);
        for (changes, fault, which) in steps {
            let before = truth.clone();
            let one = truth.change(&changes);
            pending[0].push(one.clone());
            match held.take() {
                // The change before this one and this one, in one message.
                Some(earlier) => {
                    let mut both = Truth { number: before.number - earlier.len() as u64, ..Truth::default() };
                    pending[1].push(both.change(&[earlier, changes.clone()].concat()));
                }
                None if fault % 3 == 0 => held = Some(changes.clone()),
                None => pending[1].push(one),
            }
            let at = which as usize;
            match fault {
                0 if !pending[at].is_empty() => {
                    pending[at].pop();
                    disturbed = true;
                }
                1 => {
                    let last = pending[at].last().cloned();
                    pending[at].extend(last);
                }
                2 => {
                    let len = pending[at].len();
                    if len > 1 {
                        pending[at].swap(len - 1, len - 2);
                        disturbed = true;
                    }
                }
                // All of it waits for a while.
                3..=5 => continue,
                6 => {
                    disturbed = true;
                    apply(session.as_mut(), 1, &plain(EntryKind::Closed, conns[at], "gone"), &mut out);
                    conns[at] = next;
                    next += 1;
                    apply(session.as_mut(), 1, &plain(EntryKind::Opened, conns[at], "pro"), &mut out);
                    // Its snapshot is of this moment: what waited was of the old one.
                    pending[at] = vec![truth.snapshot()];
                    if at == 1 {
                        held = None;
                    }
                }
                _ => {}
            }
            for (at, conn) in conns.into_iter().enumerate() {
                for text in pending[at].drain(..) {
                    apply(session.as_mut(), 2, &frame(conn, &text), &mut out);
                }
            }
            let wants: Vec<u32> = out.events[seen..].iter().filter_map(|event| match event {
                Event::Want(dccd_exchange::Want::Resubscribe { conn, .. }) => Some(*conn),
                _ => None,
            }).collect();
            for event in &out.events[seen..] {
                let Event::Level(_, level) = event else { continue };
                if level.flags.contains(Flags::SNAPSHOT | Flags::FIRST) {
                    ladder = Ladder::new();
                }
                ladder.apply(level);
                if level.flags.contains(Flags::LAST) {
                    let expected = truth.past.get(&level.update_id);
                    prop_assert_eq!(Some(&read(&ladder)), expected, "at {}", level.update_id);
                }
            }
            seen = out.events.len();
            for conn in wants {
                if let Some(at) = conns.iter().position(|open| *open == conn || conn == 0) {
                    pending[at].push(truth.snapshot());
                    if at == 1 {
                        held = None;
                    }
                }
            }
        }
        // Where nothing got lost, out of order or closed it was never doubted; all of it may have waited from the first step to the last.
        if !disturbed {
            let mut states = out.events.iter().filter_map(|event| match event {
                Event::State(_, state, _) => Some(*state),
                _ => None,
            });
            let state = states.next_back().unwrap_or(BookState::Syncing);
            prop_assert_eq!((out.gaps().count(), state, out.wants().count()), (0, BookState::Valid, 0));
        }
    }

    /// The exchange trades once a millisecond. Two connections come and go; each brings all from a moment on, a little late.
    #[test]
    fn each_trade_comes_once_or_lies_in_a_declared_gap(
        steps in proptest::collection::vec((0usize..2, 0u64..6), 1..80), answers in proptest::collection::vec(any::<bool>(), 80),
    ) {
        let mut session = kucoin().session(markets());
        let mut out = Recorded::default();
        let mut now = 0u64;
        apply(session.as_mut(), 0, &plain(EntryKind::FeedOpened, 0, "BTC/USDT trades"), &mut out);
        // Of each connection its number and the next trade that it brings.
        let mut conns: [Option<(u32, u64)>; 2] = [None, None];
        let mut numbers = 1..;
        let mut begin = None;
        for ((which, what), answered) in steps.into_iter().zip(answers) {
            now += 3;
            match (&mut conns[which], what) {
                (Some((conn, _)), 0) => {
                    apply(session.as_mut(), 0, &plain(EntryKind::Closed, *conn, "gone"), &mut out);
                    conns[which] = None;
                }
                (Some((conn, next)), lag) => {
                    for ms in *next..now.saturating_sub(lag) {
                        begin.get_or_insert(ms);
                        apply(session.as_mut(), 0, &frame(*conn, &trade(ms)), &mut out);
                        *next = ms + 1;
                    }
                }
                (slot, _) => {
                    let conn = numbers.next().unwrap();
                    apply(session.as_mut(), 0, &plain(EntryKind::Opened, conn, "classic"), &mut out);
                    *slot = Some((conn, now));
                }
            }
            if answered && now > 1 {
                apply(session.as_mut(), 0, &answer(&page(now.saturating_sub(15).max(1)..now)), &mut out);
            }
        }
        // What a connection had still to bring is missing, too.
        apply(session.as_mut(), 0, &plain(EntryKind::Closed, 0, "all"), &mut out);
        apply(session.as_mut(), 0, &frame(1_000, &trade(now + 1)), &mut out);
        let mut got: Vec<u64> = out.trades().map(|trade| u64::try_from(trade.id.0).unwrap()).collect();
        let last = got.iter().copied().max().unwrap_or(0);
        got.sort_unstable();
        prop_assert!(got.is_sorted_by(|a, b| a < b), "a trade came twice: {got:?}");
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        for gap in out.gaps() {
            let key = (gap.from.as_millis(), gap.to.as_millis());
            gaps.retain(|known| *known != key);
            if !gap.repaired {
                gaps.push(key);
            }
        }
        for id in begin.unwrap_or(last)..=last {
            let ms = i64::try_from(id).unwrap();
            let declared = gaps.iter().any(|(from, to)| *from < ms && ms < *to);
            prop_assert!(declared || got.binary_search(&id).is_ok(), "trade {id} is missing: {got:?} {gaps:?}");
        }
    }
}
