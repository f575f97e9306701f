//! What a frame says by itself, which is what the benchmark compares with others, is what the session makes records of.
#![allow(dead_code)] // the frames are shared with benchmarks that use more of them

#[path = "../benches/frames/mod.rs"]
mod frames;

use dccd_exchange::conformance::{Event, Recorded};
use dccd_exchange::{FrameError, Session};
use dccd_model::{Decimal, Entry, EntryKind, Flags, Trade, UnixNanos};
use frames::Count;

const TS_RECV: UnixNanos = UnixNanos(1_723_161_255_343_000_000);

/// What a record says, whatever came before it.
#[derive(Debug, PartialEq, PartialOrd)]
enum Said {
    Trade(UnixNanos, u128, String, Decimal, Decimal),
    Quote(UnixNanos, [Decimal; 4]),
    Level(UnixNanos, String, Decimal, Decimal, u64),
}

fn said(out: &Recorded) -> Vec<Said> {
    let trade = |t: &Trade| Said::Trade(t.ts_venue, t.id.0, format!("{:?}", t.side), t.price, t.amount);
    let of = |event: &Event| match event {
        Event::Trade(_, t) => Some(trade(t)),
        Event::Quote(_, q) => Some(Said::Quote(q.ts_venue, [q.bid, q.bid_amount, q.ask, q.ask_amount])),
        // With the first change of some comes the snapshot that it follows.
        Event::Level(_, l) if !l.flags.contains(Flags::SNAPSHOT) => {
            Some(Said::Level(l.ts_venue, format!("{:?}", l.side), l.price, l.amount, l.update_id))
        }
        _ => None,
    };
    out.events.iter().filter_map(of).collect()
}

fn read(session: &mut dyn Session, payload: &[u8]) -> Result<Recorded, FrameError> {
    let mut out = Recorded::default();
    session.read(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv: TS_RECV, subject: "", payload }, &mut out)?;
    Ok(out)
}

fn apply(session: &mut dyn Session, payload: &[u8]) -> Recorded {
    let mut out = Recorded::default();
    session.apply(&Entry { kind: EntryKind::Frame, conn: 1, ts_recv: TS_RECV, subject: "", payload }, &mut out);
    out
}

#[test]
fn a_frame_says_by_itself_what_becomes_of_it_and_changes_nothing_by_being_read() {
    let mut kinds = 0;
    frames::all(&mut |exchange, name, frames, begin| {
        let mut session = frames::session(exchange);
        begin(session.as_mut(), &mut Count::default());
        for frame in frames {
            let saved = session.save();
            let plain = read(session.as_mut(), frame.as_bytes()).unwrap();
            assert!(session.save() == saved, "{exchange} {name}: reading changed the session");
            let whole = apply(session.as_mut(), frame.as_bytes());
            let (plain, whole) = (said(&plain), said(&whole));
            match (&plain[..], &whole[..]) {
                // Quotes that come level by level.
                ([Said::Level(at, _, price, amount, _)], [Said::Quote(ts, [bid, bid_amount, ..])]) => {
                    assert_eq!((at, price, amount), (ts, bid, bid_amount), "{exchange} {name}: {frame}");
                }
                // The session numbers levels by what proves their order, and ends those that fall out of the depth.
                _ => {
                    let without_number = |said: Said| match said {
                        Said::Level(ts, side, price, amount, _) => Said::Level(ts, side, price, amount, 0),
                        other => other,
                    };
                    let is_end = |said: &Said| matches!(said, Said::Level(_, _, _, amount, _) if amount.is_zero());
                    let plain: Vec<Said> = plain.into_iter().map(without_number).collect();
                    let mut whole: Vec<Said> = whole.into_iter().map(without_number).collect();
                    whole.retain(|said| plain.contains(said) || !is_end(said));
                    assert_eq!(plain, whole, "{exchange} {name}: {frame}");
                    assert!(!plain.is_empty(), "{exchange} {name}: {frame}");
                }
            }
        }
        kinds += 1;
    });
    assert!(kinds > 40, "{kinds}");
}

#[test]
fn what_cant_be_read_is_said_and_leaves_the_session_as_it_was() {
    for exchange in dccd_exchange::NAMES {
        let mut session = frames::session(exchange);
        let saved = session.save();
        for frame in ["", "{", "[,", "{\"topic\""] {
            assert!(read(session.as_mut(), frame.as_bytes()).is_err(), "{exchange} {frame}");
        }
        assert_eq!(session.save(), saved, "{exchange}");
    }
}
