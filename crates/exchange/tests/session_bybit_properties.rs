//! Whatever a Bybit session is given, it returns, and saved and restored anywhere it goes on identically; and trades over connections
//! that come and go are given out once each, or the time in which they are missing is declared.

mod support;

use dccd_exchange::Session;
use dccd_exchange::conformance::Recorded;
use dccd_model::{Entry, EntryKind, UnixNanos};
use proptest::prelude::*;
use support::bybit::{book, bybit, markets, page, trades};

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

/// Entries of all kinds, about few feeds and connections, in an order of their own.
fn entries() -> impl Strategy<Value = Vec<Owned>> {
    let symbols = ["BTC/USDT", "BTC/USDT:USDT"];
    let (conn, number) = (1u32..4, 1u64..12);
    let level = r#"["99","1"],["98","0"]"#;
    let one = prop_oneof![
        (conn.clone(), number.clone(), any::<bool>()).prop_map(|(c, n, wide)| frame(c, &trades(wide, &[n, n + 1]))),
        (conn.clone(), number.clone())
            .prop_map(|(c, n)| frame(c, &book(1, "snapshot", n, r#"["99","1"]"#, r#"["101","1"]"#))),
        (conn.clone(), number.clone(), any::<bool>()).prop_map(move |(c, n, whole)| {
            let kind = if whole { "snapshot" } else { "delta" };
            frame(c, &book(50, kind, n, if n % 2 == 0 { level } else { r#"["98","1"]"# }, r#"["101","1"]"#))
        }),
        (conn.clone(), 0..2usize).prop_map(|(c, s)| plain(EntryKind::Opened, c, ["spot", "linear"][s])),
        conn.clone().prop_map(|c| plain(EntryKind::Closed, c % 3, "gone")),
        (0..2usize, 0..3usize, any::<bool>()).prop_map(move |(s, c, open)| {
            let kind = if open { EntryKind::FeedOpened } else { EntryKind::FeedClosed };
            plain(kind, 0, &format!("{} {}", symbols[s], ["trades", "quotes", "book"][c]))
        }),
        (0..2usize, number.clone()).prop_map(move |(s, n)| {
            let subject = format!("trades {} since 1", symbols[s]);
            (EntryKind::Response, 0, subject, page(s == 1, n..n + 3).into_bytes())
        }),
        (0..2usize).prop_map(move |s| plain(EntryKind::Resync, 0, &format!("{} book", symbols[s]))),
        Just(plain(EntryKind::Lost, 0, "full")),
        (conn, number, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(c, n, at, byte)| {
            let mut bytes = trades(false, &[n]).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            (EntryKind::Frame, c, String::new(), bytes)
        }),
    ];
    proptest::collection::vec(one, 0..60)
}

fn opened() -> Vec<Owned> {
    let feeds = ["BTC/USDT trades", "BTC/USDT quotes", "BTC/USDT book", "BTC/USDT:USDT trades", "BTC/USDT:USDT book"];
    let mut entries: Vec<Owned> = feeds.iter().map(|feed| plain(EntryKind::FeedOpened, 0, feed)).collect();
    entries.push(plain(EntryKind::Opened, 1, "spot"));
    entries.push(plain(EntryKind::Opened, 2, "linear"));
    entries
}

proptest! {
    #[test]
    fn any_bytes_return(kind in 1u8..9, conn in 0u32..3, subject in ".{0,40}", payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut session = bybit().session(markets());
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
            trades(true, &[5, 6]), trades(false, &[5]), page(true, 1..=5),
            book(50, "snapshot", 3, r#"["99","1"]"#, r#"["101","1"]"#), book(1, "delta", 3, r#"["99","1"]"#, ""),
        ];
        let mut bytes = texts[which].clone().into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut session = bybit().session(markets());
        let mut out = Recorded::default();
        for (at, entry) in opened().iter().enumerate() {
            apply(session.as_mut(), at, entry, &mut out);
        }
        for conn in [1, 2] {
            apply(session.as_mut(), 99, &(EntryKind::Frame, conn, String::new(), bytes.clone()), &mut out);
        }
        apply(session.as_mut(), 99, &(EntryKind::Response, 0, "trades BTC/USDT since 1".to_owned(), bytes), &mut out);
    }

    #[test]
    fn a_session_goes_on_where_it_was_saved(entries in entries(), split in any::<prop::sample::Index>()) {
        let entries = [opened(), entries].concat();
        let split = split.index(entries.len() + 1);
        let (mut whole, mut first) = (bybit().session(markets()), bybit().session(markets()));
        let (mut expected, mut got) = (Recorded::default(), Recorded::default());
        for (at, entry) in entries.iter().enumerate() {
            apply(whole.as_mut(), at, entry, &mut expected);
            if at == split {
                first = bybit().restore(markets(), &first.save()).unwrap();
            }
            apply(first.as_mut(), at, entry, &mut got);
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(whole.save(), first.save());
    }

    /// The exchange trades once a millisecond. Two connections come and go; each brings all from a moment on, a little late.
    #[test]
    fn each_trade_comes_once_or_lies_in_a_declared_gap(
        steps in proptest::collection::vec((0usize..2, 0u64..6), 1..80), answers in proptest::collection::vec(any::<bool>(), 80),
    ) {
        let mut session = bybit().session(markets());
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
                    let times: Vec<u64> = (*next..now.saturating_sub(lag)).collect();
                    if let Some(first) = times.first() {
                        begin.get_or_insert(*first);
                        apply(session.as_mut(), 0, &frame(*conn, &trades(false, &times)), &mut out);
                        *next = now - lag;
                    }
                }
                (slot, _) => {
                    let conn = numbers.next().unwrap();
                    apply(session.as_mut(), 0, &plain(EntryKind::Opened, conn, "spot"), &mut out);
                    *slot = Some((conn, now));
                }
            }
            if answered && now > 1 {
                let body = page(false, now.saturating_sub(15).max(1)..now);
                let answer = (EntryKind::Response, 0, "trades BTC/USDT since 1".to_owned(), body.into_bytes());
                apply(session.as_mut(), 0, &answer, &mut out);
            }
        }
        // What a connection had still to bring is missing, too.
        apply(session.as_mut(), 0, &plain(EntryKind::Closed, 0, "all"), &mut out);
        apply(session.as_mut(), 0, &frame(1_000, &trades(false, &[now + 1])), &mut out);
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
