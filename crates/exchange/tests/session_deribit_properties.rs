//! Whatever a Deribit session is given, it returns, and saved and restored anywhere it goes on identically; a book that is valid is the
//! exchange's at every moment; and each trade comes once, or its number lies in a declared gap.

mod support;

use std::collections::BTreeMap;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Ladder, Session, Want};
use dccd_model::{BookState, Decimal, Entry, EntryKind, UnixNanos};
use proptest::prelude::*;
use support::deribit::{book, deribit, markets, page, quote, trades};

type Owned = (EntryKind, u32, String, Vec<u8>);

const SYMBOL: &str = "BTC/USD:BTC";

fn frame(conn: u32, text: &str) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.as_bytes().to_vec())
}

fn plain(kind: EntryKind, conn: u32, subject: &str) -> Owned {
    (kind, conn, subject.to_owned(), Vec::new())
}

fn answer(from: u64, body: &str) -> Owned {
    (EntryKind::Response, 0, format!("trades {SYMBOL} {from}"), body.as_bytes().to_vec())
}

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = UnixNanos::from_millis(i64::try_from(at).unwrap());
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

fn opened() -> Vec<Owned> {
    let mut entries: Vec<Owned> =
        ["trades", "quotes", "book"].map(|channel| plain(EntryKind::FeedOpened, 0, &format!("{SYMBOL} {channel}"))).to_vec();
    entries.push(plain(EntryKind::Opened, 1, ""));
    entries
}

/// Entries of all kinds, about few numbers and connections, in an order of their own.
fn entries() -> impl Strategy<Value = Owned> {
    let (conn, number) = (1u32..4, 1u64..12);
    let bids = prop_oneof![Just("+99x1.0"), Just("99x2.0"), Just("-99"), Just("+101x1.0"), Just("")];
    prop_oneof![
        (conn.clone(), number.clone()).prop_map(|(c, n)| frame(c, &trades(&[n, n + 1]))),
        (conn.clone(), number.clone(), 1u64..3).prop_map(|(c, n, a)| frame(c, &quote(n, &format!("99x{a}.0"), "101x1.0"))),
        (conn.clone(), number.clone(), 0u64..3, bids.clone())
            .prop_map(|(c, n, back, bids)| { frame(c, &book(Some(n.saturating_sub(back)), n, bids, "")) }),
        (conn.clone(), number.clone()).prop_map(|(c, n)| frame(c, &book(None, n, "+99x1.0", "+100x1.0"))),
        conn.clone().prop_map(|c| plain(EntryKind::Opened, c, "")),
        conn.clone().prop_map(|c| plain(EntryKind::Closed, c % 3, "gone")),
        (0..3usize, any::<bool>()).prop_map(|(c, open)| {
            let kind = if open { EntryKind::FeedOpened } else { EntryKind::FeedClosed };
            plain(kind, 0, &format!("{SYMBOL} {}", ["trades", "quotes", "book"][c]))
        }),
        (number.clone(), any::<bool>()).prop_map(|(n, more)| answer(n, &page([n, n + 1, n + 3], more))),
        Just(plain(EntryKind::Resync, 0, &format!("{SYMBOL} book"))),
        Just(plain(EntryKind::Lost, 0, "full")),
        conn.clone().prop_map(|c| frame(c, r#"{"method":"heartbeat","params":{"type":"test_request"}}"#)),
        (conn.clone(), number.clone())
            .prop_map(|(c, n)| frame(c, &format!(r#"{{"id":{n},"result":["quote.BTC-PERPETUAL","x"]}}"#))),
        (conn, number, bids, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(c, n, bids, at, byte)| {
            let mut bytes = book(Some(n), n + 1, bids, "+103x1.0").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            (EntryKind::Frame, c, String::new(), bytes)
        }),
    ]
}

/// What happens to a book, and to the messages about it.
#[derive(Clone, Debug)]
enum Step {
    /// Levels are set in one message: bid or ask, which price, amount.
    Change(Vec<(bool, u8, u8)>),
    /// The next message gets lost.
    Lose,
    /// The next message comes twice.
    Twice,
    /// The next message comes after the one that follows it.
    Late,
    /// The connection ends, another one begins.
    Replace,
    /// What is wanted comes.
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = proptest::collection::vec((any::<bool>(), 0u8..6, 0u8..5), 0..4).prop_map(Step::Change);
    let others = prop_oneof![Just(Step::Lose), Just(Step::Twice), Just(Step::Late), Just(Step::Replace)];
    proptest::collection::vec(prop_oneof![6 => change, 2 => Just(Step::Answer), 1 => others], 0..60)
}

/// The exchange's book.
#[derive(Clone, Debug, Default)]
struct Venue {
    bids: BTreeMap<u64, u64>,
    asks: BTreeMap<u64, u64>,
    change: u64,
}

impl Venue {
    fn whole(&self) -> String {
        let side = |side: &BTreeMap<u64, u64>| side.iter().map(|(p, a)| format!("+{p}x{a} ")).collect::<String>();
        book(None, self.change, &side(&self.bids), &side(&self.asks))
    }

    /// The message that tells of these levels, the last one of each price; `None` where nothing changed.
    fn change(&mut self, levels: &[(bool, u8, u8)]) -> Option<String> {
        let before = self.clone();
        for (is_bid, price, amount) in levels {
            let price = u64::from(*price) + if *is_bid { 1 } else { 11 };
            let side = if *is_bid { &mut self.bids } else { &mut self.asks };
            if *amount == 0 {
                side.remove(&price)
            } else {
                side.insert(price, u64::from(*amount))
            };
        }
        let told = |before: &BTreeMap<u64, u64>, after: &BTreeMap<u64, u64>| -> String {
            let ended = before.keys().filter(|price| !after.contains_key(price)).map(|price| format!("-{price} "));
            let set = after.iter().filter(|(price, amount)| before.get(price) != Some(amount));
            let set = set.map(|(p, a)| format!("{}{p}x{a} ", if before.contains_key(p) { "" } else { "+" }));
            ended.chain(set).collect()
        };
        let (bids, asks) = (told(&before.bids, &self.bids), told(&before.asks, &self.asks));
        if bids.is_empty() && asks.is_empty() {
            return None;
        }
        self.change += 1 + u64::try_from(levels.len()).unwrap();
        Some(book(Some(before.change), self.change, &bids, &asks))
    }
}

/// A session of a book, and what its records say.
struct Reader {
    session: Box<dyn Session>,
    clock: usize,
    ladder: Ladder,
    state: Option<BookState>,
    is_asked: bool,
    gaps: usize,
    epochs: u32,
}

impl Reader {
    fn new() -> Self {
        let (session, ladder) = (deribit().session(markets()), Ladder::new());
        let mut reader = Self { session, clock: 0, ladder, state: None, is_asked: false, gaps: 0, epochs: 0 };
        reader.take(&plain(EntryKind::FeedOpened, 0, &format!("{SYMBOL} book")));
        reader
    }

    fn take(&mut self, entry: &Owned) {
        let mut out = Recorded::default();
        self.clock += 4;
        apply(self.session.as_mut(), self.clock, entry, &mut out);
        for event in &out.events {
            match event {
                Event::Level(_, level) => self.ladder.apply(level),
                Event::State(_, state, epoch) => {
                    // An epoch of an empty book has no level to begin with.
                    if *state == BookState::Valid
                        && std::mem::replace(&mut self.epochs, *epoch) != *epoch
                        && out.levels().count() == 0
                    {
                        self.ladder.clear();
                    }
                    self.state = Some(*state);
                }
                Event::Want(Want::Resubscribe { .. }) => self.is_asked = true,
                Event::Gap(..) => self.gaps += 1,
                _ => {}
            }
        }
    }

    fn shows(&self, venue: &Venue) -> bool {
        let side = |levels: Vec<(Decimal, Decimal)>| -> BTreeMap<u64, u64> {
            let whole = |n: Decimal| u64::try_from(n.mantissa).unwrap();
            levels.into_iter().map(|(price, amount)| (whole(price), whole(amount))).collect()
        };
        side(self.ladder.bids().collect()) == venue.bids && side(self.ladder.asks().collect()) == venue.asks
    }
}

proptest! {
    #[test]
    fn any_entries_return_and_a_session_goes_on_where_it_was_saved(
        entries in proptest::collection::vec(entries(), 0..40),
        split in any::<prop::sample::Index>(),
    ) {
        let all = [opened(), entries].concat();
        let split = split.index(all.len());
        let mut whole = deribit().session(markets());
        let mut expected = Recorded::default();
        all.iter().enumerate().for_each(|(at, entry)| apply(whole.as_mut(), at, entry, &mut expected));
        let (mut first, mut out) = (deribit().session(markets()), Recorded::default());
        all[..split].iter().enumerate().for_each(|(at, entry)| apply(first.as_mut(), at, entry, &mut out));
        let mut second = deribit().restore(markets(), &first.save()).unwrap();
        all.iter().enumerate().skip(split).for_each(|(at, entry)| apply(second.as_mut(), at, entry, &mut out));
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(second.save(), whole.save());
        let mut epoch = 0;
        for level in out.levels() {
            prop_assert!(level.epoch >= epoch && level.amount.mantissa >= 0);
            epoch = level.epoch;
        }
    }

    #[test]
    fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut session = deribit().session(markets());
        let mut out = Recorded::default();
        opened().iter().for_each(|entry| apply(session.as_mut(), 0, entry, &mut out));
        for (kind, subject) in [
            (EntryKind::Frame, String::new()),
            (EntryKind::Response, format!("trades {SYMBOL} 1")),
            (EntryKind::Response, format!("depth {SYMBOL}")),
        ] {
            apply(session.as_mut(), 1, &(kind, 1, subject, bytes.clone()), &mut out);
        }
    }

    #[test]
    fn messages_that_are_cut_and_changed_return(
        which in 0usize..5, cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let texts = [
            trades(&[5, 6]), page(1..=5, true), book(None, 3, "+99x1.0", "+101x1.0"), book(Some(3), 5, "99x1.0 -98", ""),
            quote(5, "99x1.0", "nullxnull"),
        ];
        let mut bytes = texts[which].clone().into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut session = deribit().session(markets());
        let mut out = Recorded::default();
        opened().iter().for_each(|entry| apply(session.as_mut(), 0, entry, &mut out));
        apply(session.as_mut(), 9, &(EntryKind::Frame, 1, String::new(), bytes.clone()), &mut out);
        apply(session.as_mut(), 9, &(EntryKind::Response, 0, format!("trades {SYMBOL} 1"), bytes), &mut out);
    }

    /// Of the messages that were handed over last a valid book is the truth, whatever got lost, came twice or late before; and without
    /// anything wrong it always is.
    #[test]
    fn a_valid_book_is_the_exchanges_at_every_moment(steps in steps()) {
        let mut venue = Venue { change: 100, ..Venue::default() };
        let mut reader = Reader::new();
        let mut conn = 1;
        reader.take(&frame(conn, &venue.whole()));
        let (mut loses, mut twice, mut late) = (false, false, None::<Option<String>>);
        let (mut valid, mut sent, mut wrong) = (0, 0, 0);
        for step in &steps {
            match step {
                Step::Lose => loses = true,
                Step::Twice => twice = true,
                Step::Late => late = Some(None),
                Step::Replace => {
                    wrong += 1;
                    reader.take(&plain(EntryKind::Closed, conn, "gone"));
                    conn += 1;
                    (reader.is_asked, late) = (false, None);
                    reader.take(&frame(conn, &venue.whole()));
                }
                Step::Answer => {
                    if std::mem::take(&mut reader.is_asked) {
                        reader.take(&frame(conn, &venue.whole()));
                        prop_assert_eq!(reader.state, Some(BookState::Valid));
                        late = None;
                    }
                }
                Step::Change(levels) => {
                    let Some(message) = venue.change(levels) else { continue };
                    if std::mem::take(&mut loses) {
                        wrong += 1;
                        continue;
                    }
                    if late == Some(None) {
                        wrong += 1;
                        late = Some(Some(message));
                        continue;
                    }
                    sent += 1;
                    reader.take(&frame(conn, &message));
                    if std::mem::take(&mut twice) {
                        reader.take(&frame(conn, &message));
                    }
                    if let Some(Some(before)) = late.take() {
                        reader.take(&frame(conn, &before));
                    }
                    if reader.state == Some(BookState::Valid) {
                        valid += 1;
                        prop_assert!(reader.shows(&venue), "{:?} instead of {:?}", reader.ladder, venue);
                    }
                }
            }
        }
        prop_assert!(wrong > 0 || (valid == sent && reader.gaps == 0), "{} of {} messages left a valid book", valid, sent);
        // What was wrong is declared as soon as the book is valid again.
        reader.take(&frame(conn, &venue.whole()));
        prop_assert!(reader.shows(&venue) && reader.epochs as usize <= 1 + reader.gaps, "an epoch without a gap");
    }

    /// Two connections come and go, each brings the trades in their order, or with some left out, twice, or changed places; answers
    /// bring some of what is missing.
    #[test]
    fn each_trade_comes_once_or_its_number_lies_in_a_declared_gap(
        steps in proptest::collection::vec((0u32..2, 0u8..8, 1u64..4), 1..80),
    ) {
        let mut session = deribit().session(markets());
        let mut out = Recorded::default();
        opened().iter().for_each(|entry| apply(session.as_mut(), 0, entry, &mut out));
        let mut newest = 1_000;
        for (at, (conn, what, count)) in steps.into_iter().enumerate() {
            let next: Vec<u64> = (newest + 1..=newest + count).collect();
            let entry = match what {
                0 => plain(EntryKind::Closed, conn + 1, "gone"),
                1 => {
                    newest += count;
                    continue;
                }
                2 => frame(conn + 1, &trades(&[newest])),
                3 => frame(conn + 1, &trades(&next.iter().rev().copied().collect::<Vec<_>>())),
                4 => {
                    let missing = session.outstanding().into_iter().find_map(|want| match want {
                        Want::Trades { from_id, to_id, .. } => Some((from_id, to_id)),
                        _ => None,
                    });
                    let Some((from, to)) = missing else { continue };
                    let to = to.min(from + count);
                    answer(from, &page(from - 1..=to, true))
                }
                _ => frame(conn + 1, &trades(&next)),
            };
            if what == 3 || what > 4 {
                newest += count;
            }
            apply(session.as_mut(), at, &entry, &mut out);
        }
        apply(session.as_mut(), 999, &frame(7, &trades(&[newest + 1])), &mut out);
        let mut got: Vec<u64> = out.trades().map(|trade| u64::try_from(trade.id.0).unwrap()).collect();
        got.sort_unstable();
        prop_assert!(got.is_sorted_by(|a, b| a < b), "a trade came twice: {:?}", got);
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        for gap in out.gaps() {
            let Some(ids) = gap.ids else { return Err(TestCaseError::fail("a gap of unknown size")) };
            gaps.retain(|known| *known != ids);
            if !gap.repaired {
                gaps.push(ids);
            }
        }
        for id in got[0]..=newest + 1 {
            let declared = gaps.iter().any(|(from, to)| (*from..=*to).contains(&id));
            prop_assert!(declared || got.binary_search(&id).is_ok(), "trade {} is missing: {:?} {:?}", id, got, gaps);
        }
    }
}
