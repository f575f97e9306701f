use super::*;

use Repetition::Known;

const NEW: UncountedStep = UncountedStep::New { gap: None };

fn at(trades: &mut Uncounted, conn: u32, id: u32) -> UncountedStep {
    trades.arrive(conn, TradeId(id.into()), UnixNanos(i64::from(id)))
}

fn gap(from: i64, to: i64, reason: GapReason) -> UncountedStep {
    let (from, to) = (UnixNanos(from), UnixNanos(to));
    UncountedStep::New { gap: Some(Gap { from, to, reason, repaired: false, ids: None }) }
}

fn page(ids: impl DoubleEndedIterator<Item = u32>) -> Vec<(UnixNanos, TradeId)> {
    ids.rev().map(|id| (UnixNanos(id.into()), TradeId(id.into()))).collect()
}

#[test]
fn a_connection_that_ends_is_a_gap_unless_another_is_whole() {
    let mut trades = Uncounted::default();
    assert_eq!(
        [at(&mut trades, 1, 10), at(&mut trades, 1, 12), at(&mut trades, 1, 10)],
        [NEW, NEW, UncountedStep::Duplicate]
    );
    // The second begins with a trade that the first brings later: from then on both are whole.
    assert_eq!(
        [at(&mut trades, 2, 14), at(&mut trades, 1, 13), at(&mut trades, 1, 14)],
        [NEW, NEW, UncountedStep::Duplicate]
    );
    trades.closed(1);
    assert_eq!(at(&mut trades, 2, 15), NEW);
    trades.closed(2);
    assert_eq!(at(&mut trades, 3, 20), gap(15, 20, GapReason::Disconnected));
    // Here the first ends before it brought what the second began with.
    assert_eq!(at(&mut trades, 4, 23), NEW);
    trades.closed(3);
    assert_eq!(at(&mut trades, 4, 24), gap(20, 24, GapReason::Disconnected));
    trades.closed(0);
    // One that begins with what was there proves that nothing is missing.
    assert_eq!([at(&mut trades, 5, 24), at(&mut trades, 5, 25)], [UncountedStep::Duplicate, NEW]);
}

#[test]
fn a_connection_that_is_known_to_carry_the_feed_is_whole_where_another_is() {
    let mut trades = Uncounted::default();
    at(&mut trades, 1, 10);
    trades.carries(2);
    trades.closed(1);
    assert_eq!(at(&mut trades, 2, 11), NEW);
    trades.closed(2);
    // Something is missing already: that isn't made good by a promise.
    trades.carries(3);
    assert_eq!(at(&mut trades, 3, 20), gap(11, 20, GapReason::Disconnected));
    trades.carries(4);
    trades.closed(3);
    trades.closed(4);
    assert_eq!(at(&mut trades, 5, 30), gap(20, 30, GapReason::Disconnected));
}

#[test]
fn a_trade_that_is_known_by_its_repetition_alone_proves_nothing_of_its_connection() {
    let mut trades = Uncounted::default();
    at(&mut trades, 1, 10);
    let confirm = |trades: &mut Uncounted, id: u32| trades.confirm(TradeId(id.into()), UnixNanos(id.into()));
    assert_eq!([9, 10, 13, 13].map(|id| confirm(&mut trades, id)), [Known, Known, Repetition::New, Known]);
    // The second is ahead: it begins with what the first has not brought yet.
    assert_eq!(at(&mut trades, 2, 13), UncountedStep::Duplicate);
    let mut behind = trades.clone();
    trades.closed(1);
    assert_eq!(at(&mut trades, 2, 14), gap(10, 14, GapReason::Disconnected));
    // Here the first brings it, and both are whole.
    assert_eq!([at(&mut behind, 1, 12), at(&mut behind, 1, 13)], [NEW, UncountedStep::Duplicate]);
    behind.closed(1);
    assert_eq!(at(&mut behind, 2, 14), NEW);
}

#[test]
fn a_trade_of_a_connection_that_missed_some_joins_nothing() {
    let mut trades = Uncounted::default();
    at(&mut trades, 1, 10);
    // The second began with what was there, missed something twice, and is ahead of the first when that ends.
    assert_eq!([at(&mut trades, 2, 10), at(&mut trades, 1, 11)], [UncountedStep::Duplicate, NEW]);
    trades.missed(2, GapReason::Sequence);
    assert_eq!(at(&mut trades, 2, 13), NEW);
    trades.missed(2, GapReason::Sequence);
    assert_eq!(at(&mut trades, 2, 15), NEW);
    // That the first brings what the second began with before it missed more says nothing.
    assert_eq!([at(&mut trades, 1, 12), at(&mut trades, 1, 13)], [NEW, UncountedStep::Duplicate]);
    trades.closed(1);
    trades.closed(2);
    // Nor is the third joined by what only the second brought.
    assert_eq!(at(&mut trades, 3, 15), UncountedStep::Duplicate);
    assert_eq!(at(&mut trades, 3, 16), gap(13, 16, GapReason::Disconnected));
}

#[test]
fn pages_in_the_order_of_time_make_a_gap_good_one_after_the_other() {
    let ascending =
        |ids: std::ops::RangeInclusive<u32>| ids.map(|id| (UnixNanos(id.into()), TradeId(id.into()))).collect::<Vec<_>>();
    let mut trades = Uncounted::default();
    assert_eq!(at(&mut trades, 1, 10), NEW);
    trades.closed(1);
    assert_eq!(at(&mut trades, 2, 20), gap(10, 20, GapReason::Disconnected));
    let of = |filled: Vec<Filled>| filled.into_iter().map(|f| (f.missing, f.is_whole)).collect::<Vec<_>>();
    // One that begins too late proves nothing, and one that ends too early brings nothing.
    assert_eq!(of(trades.paged(&ascending(11..=30), false)), []);
    assert_eq!(of(trades.paged(&ascending(5..=10), false)), []);
    assert_eq!(of(trades.paged(&[], false)), []);
    // Another trade of the time at which the page ended stands on the next.
    assert_eq!(of(trades.paged(&ascending(10..=14), true)), [(vec![1, 2, 3, 4], false)]);
    let mut second = ascending(14..=20);
    second.insert(1, (UnixNanos(14), TradeId(99)));
    assert_eq!(of(trades.paged(&second[..1], true)), [], "the same again");
    assert_eq!(of(trades.paged(&ascending(16..=20), false)), [], "it doesn't join");
    let saved = serde_json::to_string(&trades).unwrap();
    let mut trades: Uncounted = serde_json::from_str(&saved).unwrap();
    // What shares the last one's time may be missing still.
    assert_eq!(of(trades.paged(&second, true)), [(vec![1, 2, 3, 4, 5, 6], false)]);
    assert_eq!(of(trades.paged(&ascending(20..=20), false)), [(vec![], true)]);
    assert_eq!(trades.open().len(), 0);
    assert_eq!(at(&mut trades, 2, 12), UncountedStep::Duplicate);
    assert_eq!(at(&mut trades, 2, 21), NEW);
}

#[test]
fn more_trades_than_are_remembered_are_made_good() {
    let mut trades = Uncounted::default();
    assert_eq!(at(&mut trades, 1, 10), NEW);
    trades.missed(1, GapReason::Sequence);
    let last = 20_000;
    assert_eq!(at(&mut trades, 1, last), gap(10, i64::from(last), GapReason::Sequence));
    let page = |ids: std::ops::RangeInclusive<u32>| -> Vec<_> {
        ids.map(|id| (UnixNanos(id.into()), TradeId(id.into()))).collect()
    };
    let filled = [trades.paged(&page(10..=10_009), true), trades.paged(&page(10_009..=20_000), false)].concat();
    let counts: Vec<_> = filled.iter().map(|filled| (filled.missing.len(), filled.is_whole)).collect();
    assert_eq!(counts, [(9_999, false), (9_990, true)]);
}

#[test]
fn what_cant_be_read_or_was_not_recorded_is_a_gap() {
    let mut trades = Uncounted::default();
    trades.unreadable(1);
    trades.lost(GapReason::NotRecorded);
    at(&mut trades, 1, 10);
    trades.unreadable(2);
    assert_eq!(at(&mut trades, 1, 11), NEW);
    trades.unreadable(1);
    assert_eq!(at(&mut trades, 1, 12), gap(11, 12, GapReason::Unreadable));
    at(&mut trades, 2, 12);
    trades.unreadable(1);
    // The first begins anew with 14, and is whole once the second brings that one, too.
    assert_eq!([at(&mut trades, 2, 13), at(&mut trades, 1, 14)], [NEW, NEW]);
    assert_eq!(at(&mut trades, 2, 14), UncountedStep::Duplicate);
    trades.closed(2);
    assert_eq!(at(&mut trades, 1, 15), NEW);
    trades.closed(0);
    trades.lost(GapReason::NotRecorded);
    assert_eq!(at(&mut trades, 3, 15), UncountedStep::Duplicate);
    assert_eq!(at(&mut trades, 3, 16), gap(15, 16, GapReason::NotRecorded));
}

#[test]
fn an_answer_makes_a_gap_good_where_it_reaches_over_it() {
    let broken = |trades: &mut Uncounted| {
        trades.closed(0);
        at(trades, 1, 20)
    };
    for (answer, is_full, expected) in [
        (page(11..=19), true, None),
        (page(14..=25), false, Some((14, false))),
        (page(12..=22), true, Some((13, false))),
        (page(12..=22), false, Some((13, true))),
        (page(11..=22), true, Some((13, true))),
    ] {
        let mut trades = Uncounted::default();
        at(&mut trades, 1, 10);
        at(&mut trades, 1, 12);
        assert_eq!(broken(&mut trades), gap(12, 20, GapReason::Disconnected));
        let filled = trades.answered(&answer, is_full);
        let got = filled.first().map(|f| (f.missing.iter().map(|at| answer[*at].0.0).collect::<Vec<_>>(), f.is_whole));
        let expected = expected.map(|(first, whole)| ((first..20).collect::<Vec<i64>>(), whole));
        assert_eq!((got, trades.open().len()), (expected, usize::from(filled.is_empty())));
        for (ts, id) in filled.iter().flat_map(|f| &f.missing).map(|at| answer[*at]) {
            assert_eq!(trades.arrive(7, id, ts), UncountedStep::Duplicate);
        }
    }
}

#[test]
fn trades_at_the_ends_of_a_gap_are_told_by_their_ids() {
    let mut trades = Uncounted::default();
    let (a, b) = (UnixNanos(5), UnixNanos(9));
    trades.arrive(1, TradeId(1), UnixNanos(4));
    trades.arrive(1, TradeId(2), a);
    trades.closed(1);
    trades.arrive(2, TradeId(6), b);
    trades.arrive(2, TradeId(7), b);
    let page = [(b, 8), (b, 7), (b, 6), (b, 5), (UnixNanos(7), 4), (a, 3), (a, 2), (UnixNanos(4), 1)];
    let page = page.map(|(ts, id)| (ts, TradeId(id)));
    let filled = trades.answered(&page, false);
    // Trade 8 came after the answer's own moment of the gap, or never: it is of that time, so it belongs here.
    assert_eq!((filled[0].missing.as_slice(), filled[0].is_whole), ([5, 4, 0, 3].as_slice(), true));
    assert_eq!(trades.arrive(2, TradeId(8), b), UncountedStep::Duplicate);
}

#[test]
fn what_no_connection_brings_any_more_is_forgotten_but_for_the_last_ones() {
    let second =
        |trades: &mut Uncounted, at: i64| trades.arrive(1, TradeId(u128::from(at.unsigned_abs())), UnixNanos::from_secs(at));
    let mut trades = Uncounted::default();
    // One in ten seconds: however old they are, the last ones are known.
    (1..=100).for_each(|n| assert_eq!(second(&mut trades, n * 10), NEW));
    assert_eq!(trades.recent.len(), RECENT_MIN);
    // Ten a second: those of the last half minute.
    for n in 1..=2_000 {
        trades.arrive(1, TradeId(1_000_000 + n), UnixNanos(1_000_000_000_000 + 100_000_000 * i64::try_from(n).unwrap()));
    }
    assert_eq!(trades.recent.len(), 301);
    // What came before may be a repetition or late, by now and after a restart.
    let saved = serde_json::to_string(&trades).unwrap();
    let mut again: Uncounted = serde_json::from_str(&saved).unwrap();
    for trades in [&mut trades, &mut again] {
        assert_eq!(second(trades, 5), UncountedStep::Past);
        assert_eq!(trades.confirm(TradeId(5), UnixNanos::from_secs(5)), Repetition::Past);
    }
    assert!(trades.recent.capacity() <= 512, "{}", trades.recent.capacity());
}

#[test]
fn nothing_grows_without_end() {
    let mut trades = Uncounted::default();
    for id in 1..10_000 {
        at(&mut trades, id, id);
        trades.closed(if id % 2 == 0 { 0 } else { 100_000 });
    }
    assert_eq!((trades.recent.len(), trades.open.len()), (RECENT_MAX, OPEN_MAX));
    for id in 10_000..20_000 {
        trades.arrive(id, TradeId(id.into()), UnixNanos(9_999));
    }
    assert!(trades.carriers.len() <= CARRIERS_MAX && trades.open.iter().all(|open| open.known.len() <= KNOWN_MAX));
    // Older than all that are remembered.
    assert_eq!(at(&mut trades, 1, 5), UncountedStep::Past);
}

#[test]
fn a_trade_older_than_all_that_are_remembered_proves_nothing_of_its_connection() {
    let mut trades = Uncounted::default();
    for n in 0..2_000 {
        at(&mut trades, 1, 1_000 + n);
    }
    trades.closed(1);
    // Late, on a new connection: it was there or not, nobody can tell.
    assert_eq!(at(&mut trades, 2, 5), UncountedStep::Past);
    assert_eq!(at(&mut trades, 2, 4_000), gap(2_999, 4_000, GapReason::Disconnected));
}
