//! Whatever entries come, in whatever order: a session returns, and saved and restored anywhere it goes on identically.

mod support;

use std::sync::Arc;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{AdapterOptions, Ladder, Session, adapter};
use dccd_model::{BookState, Entry, EntryKind, Flags, UnixNanos};
use proptest::prelude::*;

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Trade {
        conn: u32,
        ahead: i64,
    },
    AggTrade {
        conn: u32,
    },
    /// With every `without`th trade left out, if any.
    Page {
        back: u64,
        count: u64,
        without: u64,
    },
    Quote {
        conn: u32,
        ahead: i64,
    },
    Depth {
        conn: u32,
        ahead: i64,
        size: u64,
        levels: usize,
    },
    Snapshot {
        back: i64,
    },
    Raw {
        conn: u32,
        bytes: Vec<u8>,
    },
    Plain {
        kind: EntryKind,
        conn: u32,
        channel: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let conn = 1u32..4;
    let ahead = prop_oneof![20 => Just(1i64), 3 => -3i64..6, 1 => 100i64..200];
    prop_oneof![
        8 => (conn.clone(), ahead.clone()).prop_map(|(conn, ahead)| Step::Trade { conn, ahead }),
        1 => conn.clone().prop_map(|conn| Step::AggTrade { conn }),
        2 => (0u64..300, 0u64..50, 0u64..6).prop_map(|(back, count, without)| Step::Page { back, count, without }),
        4 => (conn.clone(), ahead.clone()).prop_map(|(conn, ahead)| Step::Quote { conn, ahead }),
        8 => (conn.clone(), ahead, 0u64..3, 0usize..3)
            .prop_map(|(conn, ahead, size, levels)| Step::Depth { conn, ahead, size, levels }),
        3 => (-3i64..8).prop_map(|back| Step::Snapshot { back }),
        1 => (conn.clone(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(conn, bytes)| Step::Raw { conn, bytes }),
        3 => (1u8..9, 0u32..4, 0usize..4).prop_map(|(kind, conn, channel)| {
            Step::Plain { kind: EntryKind::from_u8(kind).unwrap_or(EntryKind::Opened), conn, channel }
        }),
    ]
}

type Owned = (EntryKind, u32, String, Vec<u8>);

/// Entries out of steps: ids go on from where they are, so that most steps link and some don't.
fn entries(steps: &[Step]) -> Vec<Owned> {
    let (mut trade, mut quote, mut change) = (1_000i64, 1_000i64, 1_000i64);
    let mut all: Vec<Owned> = ["trades", "quotes", "book"]
        .iter()
        .map(|channel| (EntryKind::FeedOpened, 0, format!("BTC/USDT {channel}"), Vec::new()))
        .collect();
    let frame = |conn, text: String| (EntryKind::Frame, conn, String::new(), text.into_bytes());
    for step in steps {
        all.push(match step {
            Step::Trade { conn, ahead } => {
                trade = (trade + ahead).max(1);
                frame(*conn, format!(r#"{{"e":"trade","s":"BTCUSDT","t":{trade},"p":"1.5","q":"2","T":{trade},"m":true}}"#))
            }
            Step::AggTrade { conn } => {
                frame(*conn, format!(r#"{{"e":"aggTrade","s":"BTCUSDT","a":{trade},"p":"1.5","q":"2","T":{trade}}}"#))
            }
            Step::Page { back, count, without } => {
                let first = u64::try_from(trade).unwrap_or(0).saturating_sub(*back);
                let rows: Vec<String> = (first..first + count)
                    .filter(|id| *without == 0 || id % without != 0)
                    .map(|id| format!(r#"{{"id":{id},"price":"1.5","qty":"2","time":{id},"isBuyerMaker":false}}"#))
                    .collect();
                (EntryKind::Response, 0, format!("trades BTC/USDT {first}"), format!("[{}]", rows.join(",")).into_bytes())
            }
            Step::Quote { conn, ahead } => {
                quote = (quote + ahead).max(1);
                frame(*conn, format!(r#"{{"u":{quote},"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"2"}}"#))
            }
            Step::Depth { conn, ahead, size, levels } => {
                let first = (change + ahead).max(1);
                change = first + i64::try_from(*size).unwrap_or(0);
                let side = |price: i64| {
                    (0..*levels).map(|i| format!(r#"["{price}.{i}","{}"]"#, change % 3)).collect::<Vec<_>>().join(",")
                };
                let (bids, asks) = (side(1), side(5));
                frame(*conn, format!(r#"{{"e":"depthUpdate","E":{change},"s":"BTCUSDT","U":{first},"u":{change},"b":[{bids}],"a":[{asks}]}}"#))
            }
            Step::Snapshot { back } => {
                let last = (change - back).max(0);
                let body = format!(r#"{{"lastUpdateId":{last},"bids":[["1","1"]],"asks":[["6","1"]]}}"#);
                (EntryKind::Response, 0, "depth BTC/USDT".to_owned(), body.into_bytes())
            }
            Step::Raw { conn, bytes } => (EntryKind::Frame, *conn, String::new(), bytes.clone()),
            Step::Plain { kind, conn, channel } => {
                let channel = ["trades", "quotes", "book", "ohlc"][*channel];
                (*kind, *conn, format!("BTC/USDT {channel}"), Vec::new())
            }
        });
    }
    all
}

fn play(session: &mut dyn Session, entries: &[Owned], begin: usize) -> Recorded {
    let mut out = Recorded::default();
    for (i, (kind, conn, subject, payload)) in entries.iter().enumerate() {
        let ts_recv = UnixNanos::from_secs(i64::try_from(begin + i).unwrap_or(0));
        session.apply(&Entry { kind: *kind, conn: *conn, ts_recv, subject, payload }, &mut out);
    }
    out
}

fn check_records(out: &Recorded) -> Result<(), TestCaseError> {
    let mut newest = None;
    let mut missing = std::collections::BTreeSet::new();
    let mut seen = std::collections::HashSet::new();
    let mut epoch = 0;
    let mut ladder = Ladder::new();
    let (mut state, mut state_epoch, mut book_epoch) = (BookState::Syncing, 0, 0);
    // Gaps that stand, and ids whose gap was taken back: others must declare them, and nothing else, before anything comes.
    let mut declared = std::collections::HashSet::new();
    let mut owed = std::collections::BTreeSet::<u64>::new();
    for event in &out.events {
        prop_assert!(owed.is_empty() || matches!(event, Event::Gap(0, _)), "no longer declared: {:?}", owed);
        match event {
            // Ids are exact: what was given out is contiguous but for what is declared missing.
            Event::Gap(0, gap) if !gap.repaired => match gap.ids {
                Some((first, last)) => {
                    prop_assert!(declared.insert((first, last)));
                    if owed.is_empty() {
                        missing.extend(first..=last);
                    } else {
                        prop_assert!((first..=last).all(|id| owed.remove(&id)), "declared and not missing: {:?}", gap);
                    }
                }
                None => {
                    declared.clear();
                    missing.clear();
                    seen.clear();
                    newest = None;
                }
            },
            Event::Gap(0, gap) => {
                let (first, last) = gap.ids.unwrap();
                prop_assert!(declared.remove(&(first, last)), "never declared: {:?}", gap);
                prop_assert!(owed.is_empty());
                owed.extend(missing.range(first..=last));
            }
            Event::Trade(0, trade) => {
                let id = trade.id.low();
                if trade.epoch != epoch {
                    epoch = trade.epoch;
                    seen.clear();
                }
                // One that changed places with the first: the series begins with it, and what lies between is missing.
                let oldest = seen.iter().min().copied();
                prop_assert!(seen.insert(id), "{} twice", id);
                if let Some(oldest) = oldest.filter(|oldest| id < *oldest && !missing.contains(&id)) {
                    prop_assert!(
                        ((id + 1)..oldest).all(|id| missing.contains(&id)),
                        "{} before {} without a gap",
                        id,
                        oldest
                    );
                } else if !missing.remove(&id) {
                    if let Some(newest) = newest {
                        prop_assert!(
                            ((newest + 1)..id).all(|id| missing.contains(&id)) && id > newest,
                            "{} after {} without a gap",
                            id,
                            newest
                        );
                    }
                    newest = Some(id);
                }
            }
            // A book's records come in whole events, in order, and only while it is valid or becoming so.
            Event::Level(2, level) => {
                if level.epoch == book_epoch {
                    prop_assert!(level.update_id >= ladder.update_id());
                } else {
                    prop_assert!(level.flags.contains(Flags::FIRST | Flags::SNAPSHOT) && level.epoch == book_epoch + 1);
                    book_epoch = level.epoch;
                }
                prop_assert!(state == BookState::Valid || level.epoch > state_epoch, "{:?} while {:?}", level, state);
                ladder.apply(level);
            }
            Event::State(2, now, epoch) => (state, state_epoch) = (*now, *epoch),
            _ => {}
        }
    }
    prop_assert!(owed.is_empty(), "no longer declared: {:?}", owed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn saved_and_restored_anywhere_a_session_goes_on_identically(
        steps in proptest::collection::vec(step(), 0..80), split in 0usize..90,
    ) {
        let entries = entries(&steps);
        let split = split.min(entries.len());
        let adapter = adapter("binance", &AdapterOptions::default()).unwrap();
        let markets = Arc::new(adapter.parse_markets(support::EXCHANGE_INFO).unwrap());

        let mut whole = adapter.session(Arc::clone(&markets));
        let expected = play(whole.as_mut(), &entries, 0);
        check_records(&expected)?;

        let mut first = adapter.session(Arc::clone(&markets));
        let mut got = play(first.as_mut(), &entries[..split], 0);
        let mut second = adapter.restore(markets, &first.save()).unwrap();
        got.events.extend(play(second.as_mut(), &entries[split..], split).events);
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(second.save(), whole.save());
        prop_assert_eq!(second.counters(), whole.counters());
        prop_assert_eq!(second.outstanding(), whole.outstanding());
        for feed in 0..4 {
            prop_assert_eq!(second.feed_status(feed), whole.feed_status(feed));
        }
    }

    #[test]
    fn any_entries_and_any_saved_bytes_return(
        all in proptest::collection::vec((1u8..9, any::<u32>(), "[A-Z]{0,3}/?[A-Z]{0,4} ?(trades|book|depth|)", proptest::collection::vec(any::<u8>(), 0..60)), 0..20),
        saved in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let adapter = adapter("binance", &AdapterOptions::default()).unwrap();
        let markets = Arc::new(adapter.parse_markets(support::EXCHANGE_INFO).unwrap());
        let mut session = adapter.session(Arc::clone(&markets));
        let entries: Vec<Owned> = all.into_iter().map(|(kind, conn, subject, payload)| (EntryKind::from_u8(kind).unwrap(), conn, subject, payload)).collect();
        let _ = play(session.as_mut(), &entries, 0);
        prop_assert!(adapter.restore(markets, &saved).is_err());
    }
}
