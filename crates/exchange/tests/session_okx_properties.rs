//! Whatever an OKX session is given, it returns, and saved and restored anywhere it goes on identically; and whatever an exchange's book
//! goes through, with snapshots on the connection or over REST, with messages lost and connections replaced, a valid book is the exchange's.

mod support;

use std::collections::BTreeMap;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{Ladder, Session, Want};
use dccd_model::{BookState, Decimal, Entry, EntryKind, UnixNanos};
use proptest::prelude::*;
use support::okx::{book, markets, okx};

type Owned = (EntryKind, u32, String, Vec<u8>);

fn apply(session: &mut dyn Session, at: usize, (kind, conn, subject, payload): &Owned, out: &mut Recorded) {
    let ts_recv = UnixNanos::from_millis(i64::try_from(at).unwrap() * 100);
    session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, out);
}

fn frame(conn: u32, text: &str) -> Owned {
    (EntryKind::Frame, conn, String::new(), text.as_bytes().to_vec())
}

fn opened() -> Vec<Owned> {
    let feed = |channel: &str| (EntryKind::FeedOpened, 0, format!("BTC/USDT:USDT {channel}"), Vec::new());
    vec![feed("trades"), feed("quotes"), feed("book")]
}

/// Messages to cut, alter and stitch together.
const MESSAGES: &[&str] = &[
    r#"{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"snapshot","data":[{"asks":[["101","4","0","1"]],"bids":[["99","2","0","1"]],"ts":"1","checksum":0,"seqId":10,"prevSeqId":-1}]}"#,
    r#"{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"update","data":[{"asks":[],"bids":[["99","0","0","0"]],"ts":"2","checksum":0,"seqId":12,"prevSeqId":10}]}"#,
    r#"{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"update","data":[{"asks":[],"bids":[["99","9","0","0"]],"ts":"2","checksum":-7,"seqId":5,"prevSeqId":12}]}"#,
    r#"{"arg":{"channel":"trades-all","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"5","px":"1","sz":"6","side":"buy","ts":"1"}]}"#,
    r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{"asks":[],"bids":[["99","3","0","1"]],"ts":"1","seqId":1}]}"#,
    r#"{"id":"9","event":"error","code":"60018","msg":"channel:books,instId:BTC-USDT-SWAP doesn't exist."}"#,
    r#"{"event":"notice","code":"64008","msg":"upgrade"}"#,
    r#"{"code":"0","msg":"","data":[{"asks":[["101","7","0","1"]],"bids":[],"ts":"1","seqId":11}]}"#,
    r#"{"code":"0","msg":"","data":[{"tradeId":"5","px":"1","sz":"6","side":"buy","ts":"1"}]}"#,
    "pong",
];

fn entries() -> impl Strategy<Value = Owned> {
    let text = (0..MESSAGES.len(), any::<prop::sample::Index>(), prop::option::of(any::<u8>())).prop_map(|(n, at, byte)| {
        let mut text = MESSAGES[n].as_bytes().to_vec();
        if let Some(byte) = byte {
            let at = at.index(text.len());
            if byte < 20 { text.truncate(at) } else { text[at] = byte }
        }
        text
    });
    let bytes = prop_oneof![9 => text, 1 => proptest::collection::vec(any::<u8>(), 0..100)];
    let kind = prop_oneof![
        12 => Just((EntryKind::Frame, "")),
        2 => Just((EntryKind::Response, "depth BTC/USDT:USDT")),
        2 => Just((EntryKind::Response, "trades BTC/USDT:USDT 4")),
        1 => Just((EntryKind::Opened, "public")),
        1 => Just((EntryKind::Closed, "")),
        1 => Just((EntryKind::Resync, "BTC/USDT:USDT book")),
        1 => Just((EntryKind::Lost, "")),
        1 => Just((EntryKind::FeedClosed, "BTC/USDT:USDT book")),
        1 => Just((EntryKind::FeedOpened, "BTC/USDT:USDT book")),
    ];
    (kind, 0u32..3, bytes).prop_map(|((kind, subject), conn, bytes)| (kind, conn, subject.to_owned(), bytes))
}

/// What happens next to an exchange's book and to those who listen.
#[derive(Clone, Debug)]
enum Step {
    /// A level changes: on which side, at which price, to what amount.
    Change(bool, u8, u8),
    /// Nothing does for a while.
    Quiet,
    /// The numbers begin anew.
    Anew,
    /// The next message doesn't arrive.
    Lose,
    /// Another connection takes this one's place; with a snapshot, where the exchange sends any.
    Replace,
    /// What was asked for comes.
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (any::<bool>(), 0u8..8, 0u8..4).prop_map(|(is_bid, price, amount)| Step::Change(is_bid, price, amount)),
        1 => Just(Step::Quiet),
        1 => Just(Step::Anew),
        1 => Just(Step::Lose),
        1 => Just(Step::Replace),
        4 => Just(Step::Answer),
    ];
    proptest::collection::vec(step, 1..200)
}

/// Bids at 1 to 8, asks at 11 to 18.
#[derive(Default)]
struct Venue {
    bids: BTreeMap<u64, u64>,
    asks: BTreeMap<u64, u64>,
    seq: i64,
    anew: i64,
}

impl Venue {
    fn levels(side: &BTreeMap<u64, u64>) -> String {
        side.iter().map(|(price, amount)| format!("{price}x{amount} ")).collect()
    }

    fn snapshot(&self) -> String {
        let sides = (Self::levels(&self.bids), Self::levels(&self.asks));
        book("BTC-USDT", "snapshot", (&sides.0, &sides.1), (-1, self.seq), 0)
    }

    fn answer(&self) -> Vec<u8> {
        let whole = self.snapshot();
        let data = &whole[whole.find(r#""data":"#).unwrap()..];
        format!(r#"{{"code":"0","msg":"",{data}"#).into_bytes()
    }

    /// The message that tells of a step.
    fn step(&mut self, step: &Step) -> String {
        let before = self.seq;
        let (mut bids, mut asks) = (String::new(), String::new());
        match step {
            Step::Change(is_bid, price, amount) => {
                let price = u64::from(*price) + if *is_bid { 1 } else { 11 };
                let (side, told) = if *is_bid { (&mut self.bids, &mut bids) } else { (&mut self.asks, &mut asks) };
                *told = format!("{price}x{amount}");
                if *amount == 0 {
                    side.remove(&price)
                } else {
                    side.insert(price, u64::from(*amount))
                };
                self.seq += 1 + i64::from(*amount);
            }
            // Lower than all before, and none that was there already: two losses of numbers could else cancel each other.
            Step::Anew => {
                self.anew += 1;
                self.seq = 1_000_000 - 1_000 * self.anew;
            }
            _ => {}
        }
        book("BTC-USDT", "update", (&bids, &asks), (before, self.seq), 0)
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
        let mut whole = okx().session(markets());
        let mut expected = Recorded::default();
        all.iter().enumerate().for_each(|(at, entry)| apply(whole.as_mut(), at, entry, &mut expected));
        let (mut first, mut out) = (okx().session(markets()), Recorded::default());
        all[..split].iter().enumerate().for_each(|(at, entry)| apply(first.as_mut(), at, entry, &mut out));
        let mut second = okx().restore(markets(), &first.save()).unwrap();
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
        let mut session = okx().session(markets());
        let mut out = Recorded::default();
        opened().iter().for_each(|entry| apply(session.as_mut(), 0, entry, &mut out));
        for (kind, subject) in [
            (EntryKind::Frame, ""),
            (EntryKind::Response, "depth BTC/USDT:USDT"),
            (EntryKind::Response, "trades BTC/USDT:USDT 1"),
        ] {
            apply(session.as_mut(), 1, &(kind, 1, subject.to_owned(), bytes.clone()), &mut out);
        }
    }

    #[test]
    fn a_valid_book_is_the_exchanges_at_every_moment(steps in steps(), sends_snapshots in any::<bool>()) {
        let mut venue = Venue { seq: 1_000_000, ..Venue::default() };
        let mut session = okx().session(markets());
        let (mut ladder, mut state, mut conn) = (Ladder::new(), None, 1);
        let mut asked = (false, false);
        let mut loses = false;
        let mut clock = 0;
        let mut feed = |entry: Owned, asked: &mut (bool, bool), ladder: &mut Ladder, state: &mut Option<BookState>| {
            let mut out = Recorded::default();
            clock += 4;
            apply(session.as_mut(), clock, &entry, &mut out);
            for event in &out.events {
                match event {
                    Event::Level(_, level) => ladder.apply(level),
                    Event::State(_, new, _) => *state = Some(*new),
                    Event::Want(Want::Resubscribe { .. }) => asked.0 = true,
                    Event::Want(Want::BookSnapshot { .. }) => asked.1 = true,
                    _ => {}
                }
            }
        };
        feed((EntryKind::FeedOpened, 0, "BTC/USDT book".to_owned(), Vec::new()), &mut asked, &mut ladder, &mut state);
        if sends_snapshots {
            feed(frame(conn, &venue.snapshot()), &mut asked, &mut ladder, &mut state);
        }
        let (mut valid, mut sent) = (0, 0);
        for step in &steps {
            match step {
                Step::Lose => loses = true,
                Step::Replace => {
                    feed((EntryKind::Closed, conn, String::new(), Vec::new()), &mut asked, &mut ladder, &mut state);
                    conn += 1;
                    asked = (false, false);
                    if sends_snapshots {
                        feed(frame(conn, &venue.snapshot()), &mut asked, &mut ladder, &mut state);
                    }
                }
                Step::Answer => {
                    if std::mem::take(&mut asked.0) && sends_snapshots {
                        feed(frame(conn, &venue.snapshot()), &mut asked, &mut ladder, &mut state);
                    }
                    if std::mem::take(&mut asked.1) {
                        let answer = (EntryKind::Response, 0, "depth BTC/USDT".to_owned(), venue.answer());
                        feed(answer, &mut asked, &mut ladder, &mut state);
                    }
                }
                step => {
                    let message = venue.step(step);
                    // One that says nothing new can be lost unseen, and nothing is missing then.
                    if !std::mem::take(&mut loses) {
                        sent += 1;
                        feed(frame(conn, &message), &mut asked, &mut ladder, &mut state);
                        if state == Some(BookState::Valid) {
                            valid += 1;
                            let side = |levels: Vec<(Decimal, Decimal)>| -> BTreeMap<u64, u64> {
                                let whole = |n: Decimal| u64::try_from(n.mantissa).unwrap();
                                levels.into_iter().map(|(price, amount)| (whole(price), whole(amount))).collect()
                            };
                            prop_assert_eq!(side(ladder.bids().collect()), venue.bids.clone());
                            prop_assert_eq!(side(ladder.asks().collect()), venue.asks.clone());
                        }
                    }
                }
            }
        }
        let interrupted = steps.iter().any(|step| matches!(step, Step::Lose | Step::Replace));
        prop_assert!(!sends_snapshots || interrupted || valid == sent, "{} of {} messages left a valid book", valid, sent);
    }
}
