//! Holes and how they are filled, absent ids, counts that begin anew, another id space.

use super::*;

use GapReason::{Disconnected, Sequence};
use IdSpace::{Aggregated, Single};

fn feed(trades: &mut Trades, id: u64) -> TradeStep {
    trades.arrive(Single, id, UnixNanos(i64::try_from(id).unwrap()), Sequence, false)
}

const NEW: TradeStep = TradeStep::New { gap: None };
const LATE: TradeStep = TradeStep::Late { settled: Vec::new() };

#[test]
fn a_hole_is_found_and_filled_piece_by_piece() {
    let mut trades = Trades::default();
    assert_eq!(feed(&mut trades, 100), NEW);
    assert_eq!(feed(&mut trades, 101), NEW);
    let gap = Gap { from: UnixNanos(101), to: UnixNanos(107), reason: Sequence, repaired: false, ids: Some((102, 106)) };
    assert_eq!(feed(&mut trades, 107), TradeStep::New { gap: Some(gap.clone()) });
    assert_eq!(feed(&mut trades, 101), TradeStep::Duplicate);
    assert_eq!(feed(&mut trades, 107), TradeStep::Duplicate);
    assert_eq!(feed(&mut trades, 104), LATE);
    assert_eq!(feed(&mut trades, 104), TradeStep::Duplicate);
    assert_eq!(trades.missing().collect::<Vec<_>>(), [(102, 103), (105, 106)]);
    assert_eq!(trades.repair(Single, 102), LATE);
    assert_eq!(trades.repair(Single, 106), LATE);
    assert_eq!(trades.repair(Single, 103), LATE);
    assert_eq!(trades.repair(Single, 108), TradeStep::Duplicate);
    assert_eq!(trades.repair(Single, 105), TradeStep::Late { settled: vec![Gap { repaired: true, ..gap }] });
    assert_eq!((trades.open_gaps(), trades.last()), (0, Some(107)));
}

#[test]
fn trades_that_changed_places_with_the_first_are_of_the_series() {
    let mut trades = Trades::default();
    assert_eq!(feed(&mut trades, 100), NEW);
    assert_eq!(feed(&mut trades, 99), TradeStep::Early { gap: None });
    let gap = Gap { from: UnixNanos(96), to: UnixNanos(99), reason: Sequence, repaired: false, ids: Some((97, 98)) };
    assert_eq!(feed(&mut trades, 96), TradeStep::Early { gap: Some(gap.clone()) });
    assert_eq!(feed(&mut trades, 96), TradeStep::Duplicate);
    assert_eq!((missing(&trades), trades.last()), (vec![(97, 98)], Some(100)));
    assert_eq!(feed(&mut trades, 97), LATE);
    assert_eq!(feed(&mut trades, 98), TradeStep::Late { settled: vec![Gap { repaired: true, ..gap }] });
    let mut trades = Trades::default();
    assert_eq!(feed(&mut trades, 5_000), NEW);
    assert_eq!(feed(&mut trades, 3_999), TradeStep::Duplicate, "too far back to have changed places");
}

#[test]
fn trades_that_the_exchange_tells_of_are_missing_until_they_come() {
    let mut trades = Trades::default();
    assert_eq!(trades.told(Single, 100, UnixNanos(100), Sequence), None, "the series begins with a trade");
    feed(&mut trades, 100);
    assert_eq!(trades.told(Single, 100, UnixNanos(105), Sequence), None);
    assert_eq!(trades.told(Aggregated, 103, UnixNanos(105), Sequence), None);
    let gap = Gap { from: UnixNanos(100), to: UnixNanos(105), reason: Sequence, repaired: false, ids: Some((101, 103)) };
    assert_eq!(trades.told(Single, 103, UnixNanos(105), Sequence), Some(gap.clone()));
    assert_eq!(trades.told(Single, 103, UnixNanos(106), Sequence), None, "it is declared once");
    assert_eq!((trades.last_ts(), missing(&trades)), (UnixNanos(100), vec![(101, 103)]));
    // One that was on its way; then the newest.
    assert_eq!(feed(&mut trades, 103), LATE);
    assert_eq!(feed(&mut trades, 104), NEW);
    assert!(trades.take_told() && !trades.take_told(), "the first after the gap, and no other");
    assert_eq!(feed(&mut trades, 101), LATE);
    assert_eq!(trades.repair(Single, 102), TradeStep::Late { settled: vec![Gap { repaired: true, ..gap }] });
}

fn missing(trades: &Trades) -> Vec<(u64, u64)> {
    trades.missing().collect()
}

#[test]
fn a_gap_that_is_settled_leaves_what_is_absent() {
    let mut trades = Trades::default();
    feed(&mut trades, 100);
    feed(&mut trades, 111);
    let gap = |first, last, repaired| Gap {
        from: UnixNanos(100),
        to: UnixNanos(111),
        reason: Sequence,
        repaired,
        ids: Some((first, last)),
    };
    // Answers: 101, 104, then 105, 107 and what comes after the gap.
    assert_eq!(trades.repair(Single, 101), LATE);
    assert_eq!(trades.pass_over(Single, 102, 103), []);
    assert_eq!((trades.repair(Single, 104), missing(&trades)), (LATE, vec![(105, 110)]));
    assert_eq!(trades.repair(Single, 105), LATE);
    assert_eq!(trades.pass_over(Single, 106, 106), []);
    assert_eq!((trades.repair(Single, 107), trades.pass_over(Aggregated, 108, 500)), (LATE, vec![]));
    let settled = [gap(101, 110, true), gap(102, 103, false), gap(106, 106, false), gap(108, 110, false)];
    assert_eq!(trades.pass_over(Single, 108, 500), settled);
    assert_eq!((trades.open_gaps(), missing(&trades)), (0, vec![]));
    // What is said again changes nothing.
    assert_eq!(trades.pass_over(Single, 100, 500), []);
    assert_eq!(trades.repair(Single, 104), TradeStep::Duplicate);
    // They come after all.
    assert_eq!(trades.repair(Single, 106), TradeStep::Late { settled: vec![gap(106, 106, true)] });
    assert_eq!(feed(&mut trades, 103), LATE);
    assert_eq!(feed(&mut trades, 103), TradeStep::Duplicate);
    assert_eq!(feed(&mut trades, 102), TradeStep::Late { settled: vec![gap(102, 103, true)] });
}

#[test]
fn a_gap_that_is_absent_whole_stays_as_it_is_and_a_late_trade_settles_what_an_answer_left() {
    let mut trades = Trades::default();
    [100, 103, 106].into_iter().for_each(|id| assert_ne!(feed(&mut trades, id), TradeStep::Duplicate));
    assert_eq!((trades.pass_over(Single, 50, 104), missing(&trades)), (vec![], vec![(105, 105)]));
    let TradeStep::Late { settled } = feed(&mut trades, 105) else { panic!("105 is missing") };
    assert_eq!(
        settled.iter().map(|g| (g.ids, g.repaired)).collect::<Vec<_>>(),
        [(Some((104, 105)), true), (Some((104, 104)), false)]
    );
    assert_eq!((trades.open_gaps(), trades.open.len()), (0, 2));
}

#[test]
fn absent_ids_are_bounded_and_make_room_for_others() {
    let mut trades = Trades::default();
    feed(&mut trades, 0);
    feed(&mut trades, 10_001);
    for id in (1..=10_000).step_by(2) {
        assert_eq!(trades.pass_over(Single, id, id), []);
    }
    assert_eq!(trades.open[0].absent.len(), PIECES_MAX);
    // Neighbours join, so all of it can be absent.
    for id in (2..=10_000).step_by(2) {
        assert_eq!(trades.pass_over(Single, 1, id), []);
    }
    assert_eq!((trades.open[0].absent.as_slice(), trades.open_gaps()), ([(1, 10_000)].as_slice(), 0));
    for id in (10_003..).step_by(2).take(GAPS_MAX) {
        feed(&mut trades, id);
    }
    assert_eq!((trades.open.len(), trades.open_gaps()), (GAPS_MAX, GAPS_MAX));
    assert_eq!(trades.pass_over(Single, 0, u64::MAX), []);
    assert_eq!((trades.open.len(), trades.open_gaps()), (GAPS_MAX, 0));
}

#[test]
fn gaps_and_their_pieces_are_bounded() {
    let mut trades = Trades::default();
    for id in (1..).step_by(2).take(GAPS_MAX + 11) {
        feed(&mut trades, id);
    }
    assert_eq!((trades.open_gaps(), trades.missing().next()), (GAPS_MAX, Some((22, 22))));
    assert_eq!(feed(&mut trades, 2), TradeStep::Duplicate);

    let mut trades = Trades::default();
    feed(&mut trades, 0);
    feed(&mut trades, 1_000_000);
    for id in (2..900_000).step_by(2) {
        feed(&mut trades, id);
    }
    assert_eq!(trades.missing().count(), PIECES_MAX);
    assert_eq!(feed(&mut trades, 999_999), LATE);
}

#[test]
fn ids_that_begin_anew_open_an_epoch_and_a_gap_of_unknown_size() {
    let mut trades = Trades::default();
    trades.arrive(Single, 1_000_000, UnixNanos(1), Sequence, false);
    trades.arrive(Single, 1_000_002, UnixNanos(2), Sequence, false);
    assert_eq!(trades.arrive(Single, 5, UnixNanos(3), Sequence, false), TradeStep::Duplicate);
    let later = UnixNanos(RESET_NANOS + 3);
    let gap = Gap { from: UnixNanos(2), to: later, reason: Sequence, repaired: false, ids: None };
    assert_eq!(trades.arrive(Single, 5, later, Sequence, false), TradeStep::New { gap: Some(gap) });
    assert_eq!((trades.epoch(), trades.open_gaps(), trades.last()), (1, 0, Some(5)));
}

#[test]
fn ids_that_fall_back_a_little_are_left_out_and_that_is_declared() {
    let mut trades = Trades::default();
    let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
    let gap = |from, to| Gap { from: at(from), to: at(to), reason: Sequence, repaired: false, ids: None };
    let arrive = |trades: &mut Trades, id, seconds| trades.arrive(Single, id, at(seconds), Sequence, false);
    for id in 100..=200 {
        arrive(&mut trades, id, 100);
    }
    // Repetitions have the times that they had, or ones that clocks may differ by.
    for (id, seconds) in [(150, 100), (200, 100), (199, 105), (100, 110)] {
        assert_eq!(arrive(&mut trades, id, seconds), TradeStep::Duplicate);
    }
    assert_eq!(arrive(&mut trades, 101, 120), TradeStep::Unplaced { gap: Some(gap(100, 120)) });
    assert_eq!(arrive(&mut trades, 102, 130), TradeStep::Unplaced { gap: None });
    // A process that begins here goes on with it.
    let saved = serde_json::to_string(&trades).unwrap();
    let mut trades: Trades = serde_json::from_str(&saved).unwrap();
    assert_eq!(arrive(&mut trades, 200, 190), TradeStep::Unplaced { gap: None });
    assert_eq!(arrive(&mut trades, 201, 191), NEW);
    assert_eq!(trades.take_unplaced(at(191), Sequence), Some(gap(120, 191)));
    assert_eq!((trades.take_unplaced(at(191), Sequence), trades.epoch()), (None, 0));
    assert_eq!(arrive(&mut trades, 202, 192), NEW);
}

#[test]
fn a_copy_of_a_trade_from_before_the_clock_stepped_back_is_a_repetition() {
    let mut trades = Trades::default();
    let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
    let arrive = |trades: &mut Trades, id, seconds| trades.arrive(Single, id, at(seconds), Sequence, false);
    assert_eq!(arrive(&mut trades, 1_000, 100), NEW);
    // A state of before knows of no other time than the newest trade's.
    let saved = serde_json::to_value(&trades).unwrap();
    assert!(["latest", "of_day"].iter().all(|field| saved.get(field).is_none()), "{saved}");
    let mut old: Trades = serde_json::from_value(saved).unwrap();
    assert_eq!(arrive(&mut old, 1_000, 105), TradeStep::Duplicate);
    assert!(matches!(arrive(&mut old, 1_000, 120), TradeStep::Unplaced { .. }));
    assert_eq!(arrive(&mut trades, 1_001, 80), NEW);
    let mut trades: Trades = serde_json::from_str(&serde_json::to_string(&trades).unwrap()).unwrap();
    assert_eq!(arrive(&mut trades, 1_000, 100), TradeStep::Duplicate);
    assert_eq!((trades.last_ts(), trades.take_unplaced(at(200), Sequence)), (at(80), None));
    assert!(matches!(arrive(&mut trades, 1_000, 111), TradeStep::Unplaced { .. }));
    // A time that is wrong by years isn't believed for ever.
    let mut trades = Trades::default();
    arrive(&mut trades, 1_000, 1_000_000_000);
    for id in 1_001..=1_001 + RESET_IDS {
        assert_eq!(arrive(&mut trades, id, 100), NEW);
    }
    assert!(matches!(arrive(&mut trades, 1_500, 111), TradeStep::Unplaced { .. }));
}

/// Arrives at this hour since 1970.
fn arrive_at(trades: &mut Trades, id: u64, hour: i64) -> TradeStep {
    trades.arrive(Single, id, UnixNanos(hour * 3_600_000_000_000), Sequence, false)
}

fn lost(from: i64, to: i64) -> Gap {
    let at = |hour| UnixNanos(hour * 3_600_000_000_000);
    Gap { from: at(from), to: at(to), reason: Sequence, repaired: false, ids: None }
}

#[test]
fn a_count_that_begins_anew_among_the_ids_of_its_day_is_left_out_until_the_day_is_over() {
    let mut trades = Trades::default();
    for id in 1..=20_000 {
        assert_eq!(arrive_at(&mut trades, id, 5), NEW);
    }
    assert_eq!(arrive_at(&mut trades, 1, 6), TradeStep::Unplaced { gap: Some(lost(5, 6)) });
    assert_eq!(arrive_at(&mut trades, 2, 23), TradeStep::Unplaced { gap: None });
    assert_eq!((trades.epoch(), trades.last()), (0, Some(20_000)));
    // The file of another day has none of them.
    assert_eq!(arrive_at(&mut trades, 3, 24), TradeStep::New { gap: Some(lost(5, 24)) });
    assert_eq!((arrive_at(&mut trades, 4, 25), trades.epoch()), (NEW, 1));
    assert_eq!(trades.take_unplaced(UnixNanos(i64::MAX), Sequence), None);
}

#[test]
fn a_count_that_runs_into_the_ids_that_its_day_had_is_left_out_as_long_as_it_is_among_them() {
    let mut trades = Trades::default();
    for (id, hour) in [(49_998, 5), (49_999, 20), (50_001, 24), (50_002, 25)] {
        assert!(matches!(arrive_at(&mut trades, id, hour), TradeStep::New { .. }));
    }
    // 50,000 may have been of the day before, or of this one.
    assert_eq!(arrive_at(&mut trades, 39_000, 26), TradeStep::New { gap: Some(lost(25, 26)) });
    for id in 39_001..50_000 {
        assert_eq!(arrive_at(&mut trades, id, 27), NEW);
    }
    let saved = serde_json::to_string(&trades).unwrap();
    let mut trades: Trades = serde_json::from_str(&saved).unwrap();
    let mut skips = trades.clone();
    assert_eq!(arrive_at(&mut trades, 50_000, 28), TradeStep::Unplaced { gap: Some(lost(27, 28)) });
    for id in [50_001, 50_002] {
        assert_eq!(arrive_at(&mut trades, id, 29), TradeStep::Unplaced { gap: None });
    }
    assert_eq!(arrive_at(&mut trades, 50_003, 30), NEW);
    assert_eq!(trades.take_unplaced(UnixNanos(30 * 3_600_000_000_000), Sequence), Some(lost(28, 30)));
    // What is missing among them can't be made good: the store would not take it.
    assert_eq!(arrive_at(&mut skips, 50_010, 30), TradeStep::New { gap: Some(lost(27, 30)) });
    assert_eq!((missing(&skips), arrive_at(&mut skips, 1, 31)), (vec![], TradeStep::New { gap: Some(lost(30, 31)) }));
    // Another day, and all ids are free.
    assert_eq!(
        arrive_at(&mut skips, 50_000, 48),
        TradeStep::New { gap: Some(Gap { ids: Some((2, 49_999)), ..lost(31, 48) }) }
    );
}

#[test]
fn what_a_day_has_of_a_store_is_not_known_until_the_next() {
    let mut trades = Trades::default();
    let end = SeriesEnd { ts: UnixNanos(5 * 3_600_000_000_000), last_id: Some(1_000_000), ..SeriesEnd::default() };
    assert!(trades.resume(&end));
    assert_eq!(arrive_at(&mut trades, 3, 6), TradeStep::Unplaced { gap: Some(lost(5, 6)) });
    assert_eq!(arrive_at(&mut trades, 4, 30), TradeStep::New { gap: Some(lost(5, 30)) });
}

#[test]
fn ids_of_another_space_are_left_out_where_the_day_has_them() {
    let mut trades = Trades::default();
    for id in 100..=200 {
        arrive_at(&mut trades, id, 5);
    }
    let mut arrive = |id, hour: i64| trades.arrive(Aggregated, id, UnixNanos(hour * 3_600_000_000_000), Sequence, true);
    assert_eq!(arrive(199, 6), TradeStep::Unplaced { gap: Some(lost(5, 6)) });
    assert_eq!((arrive(200, 7), arrive(201, 8)), (TradeStep::Unplaced { gap: None }, NEW));
    assert_eq!(trades.take_unplaced(UnixNanos(8 * 3_600_000_000_000), Sequence), Some(lost(6, 8)));
}

#[test]
fn what_came_late_of_what_the_exchange_told_is_a_repetition_when_it_comes_again() {
    let mut trades = Trades::default();
    let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
    trades.arrive(Single, 100, at(100), Sequence, false);
    trades.told(Single, 102, at(200), Sequence).unwrap();
    for id in [101, 102] {
        assert!(matches!(trades.repair(Single, id), TradeStep::Late { .. }));
    }
    assert_eq!(trades.arrive(Single, 102, at(200), Sequence, false), TradeStep::Duplicate);
}

#[test]
fn another_id_space_is_foreign_until_the_connection_is_gone() {
    let mut trades = Trades::default();
    feed(&mut trades, 100);
    assert_eq!(trades.arrive(Aggregated, 7, UnixNanos(8), Sequence, false), TradeStep::Foreign);
    assert_eq!(trades.repair(Aggregated, 7), TradeStep::Foreign);
    let gap = Gap { from: UnixNanos(100), to: UnixNanos(200), reason: Disconnected, repaired: false, ids: None };
    let step = trades.arrive(Aggregated, 7, UnixNanos(200), Disconnected, true);
    assert_eq!((step, trades.epoch()), (TradeStep::New { gap: Some(gap) }, 1));
}

#[test]
fn the_ends_of_the_number_range_are_ids_like_others() {
    let mut trades = Trades::default();
    assert_eq!(feed(&mut trades, 0), NEW);
    let step = trades.arrive(Single, u64::MAX, UnixNanos(1), Sequence, false);
    assert!(matches!(step, TradeStep::New { gap: Some(Gap { ids: Some((1, last)), .. }) } if last == u64::MAX - 1));
    assert_eq!(trades.repair(Single, u64::MAX), TradeStep::Duplicate);
    assert_eq!(trades.repair(Single, u64::MAX - 1), LATE);
    assert_eq!(trades.arrive(Single, 1, UnixNanos(1), Sequence, false), LATE);
}
