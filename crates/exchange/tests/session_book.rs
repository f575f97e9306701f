//! Order books of a Binance session, case by case.

mod support;

use dccd_model::{BookState, EntryKind};
use support::Scene;

/// A book that is valid up to change 120.
fn valid() -> Scene {
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 101, 110).snapshot(105).depth(1, 111, 120).skip();
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
    scene
}

#[test]
fn a_book_begins_with_a_snapshot_in_the_time_of_the_first_event_on_top_of_it() {
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 101, 110).expect("want snapshot BTC/USDT").depth(1, 111, 120).depth(1, 121, 130).expect("");
    assert_eq!((scene.session.feed_status(0).buffered, scene.session.outstanding().len()), (3, 1));
    scene.snapshot(115).expect(
        "bid 98x5 u115 t120 e1 Sf
         ask 102x5 u115 t120 e1 Sl
         bid 99x1 u120 t120 e1 f
         ask 101x0 u120 t120 e1 l
         bid 99x1 u130 t130 e1 f
         ask 101x0 u130 t130 e1 l
         valid e1",
    );
    assert_eq!((scene.session.feed_status(0).buffered, scene.session.outstanding().len()), (0, 0));
    scene.depth_of(1, 131, 140, r#"["97","1"]"#, "").expect("bid 97x1 u140 t140 e1 fl");
    // Without levels it moves the sequence on, and nothing else.
    scene
        .depth_of(1, 141, 150, "", "")
        .expect("")
        .depth_of(1, 151, 151, "", r#"["103","1"]"#)
        .expect("ask 103x1 u151 t151 e1 fl");
}

#[test]
fn epochs_go_on_from_those_of_the_store() {
    let end = br#"{"ts":50000000,"epoch":7}"#;
    let mut scene = Scene::new();
    scene.entry(EntryKind::Stored, 0, "BTC/USDT book", end).feed("book").entry(EntryKind::Opened, 1, "", b"");
    scene.restored().closed(0).depth(1, 101, 110).skip().snapshot(105).expect(
        "gap 50..110 not_recorded
         bid 98x5 u105 t110 e8 SfG
         ask 102x5 u105 t110 e8 Sl
         bid 99x1 u110 t110 e8 f
         ask 101x0 u110 t110 e8 l
         valid e8",
    );
    // Of a book that has begun only the number is taken.
    let mut scene = valid();
    scene.entry(EntryKind::Stored, 0, "BTC/USDT book", end).resync().depth(1, 121, 130).snapshot(121);
    assert_eq!(scene.session.feed_status(0).epoch, 8);
}

#[test]
fn the_event_on_top_of_the_snapshot_may_begin_just_after_it_or_overlap_it() {
    for (last, links) in [(99, false), (100, true), (105, true), (109, true)] {
        let mut scene = Scene::of(&["book"]);
        scene.depth(1, 101, 110).snapshot(last);
        assert_eq!(scene.session.feed_status(0).book == Some(BookState::Valid), links, "{last}");
        let again = scene.session.outstanding().len();
        assert_eq!(again == 1, !links, "{last}: one that is too old is asked for again");
    }
}

#[test]
fn a_snapshot_too_old_is_asked_for_again_until_one_links() {
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 101, 110).skip();
    scene.snapshot(50).expect("want snapshot BTC/USDT").depth(1, 111, 120).expect("");
    scene.snapshot(99).expect("want snapshot BTC/USDT");
    scene.entry(EntryKind::Response, 0, "depth BTC/USDT", br#"{"lastUpdateId":100,"bids":[]}"#).expect(
        "notice unreadable on 0: depth message without \"lastUpdateId\"
         want snapshot BTC/USDT",
    );
    scene.entry(EntryKind::Response, 0, "depth BTC/USDT", br#"{"code":-1003,"msg":"Too many requests."}"#).expect(
        "notice ErrorReply { conn: 0, id: None, code: -1003, message: \"Too many requests.\" }
         want snapshot BTC/USDT",
    );
    scene.snapshot(115).skip();
    assert_eq!(scene.session.feed_status(0).epoch, 1);
    // Once it is valid, a late answer is of no interest.
    scene.snapshot(130).expect("");
    assert_eq!(scene.session.feed_status(0).last_id, Some(120));
}

#[test]
fn a_snapshot_ahead_of_all_events_waits_for_the_one_that_proves_it() {
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 101, 110).skip().snapshot(125).expect("").depth(1, 111, 120).expect("");
    scene.depth(1, 121, 130).expect(
        "bid 98x5 u125 t130 e1 Sf
         ask 102x5 u125 t130 e1 Sl
         bid 99x1 u130 t130 e1 f
         ask 101x0 u130 t130 e1 l
         valid e1",
    );
    // The same when it ends just where an event does.
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 101, 110).skip().snapshot(110).expect("").depth(1, 111, 120).expect(
        "bid 98x5 u110 t120 e1 Sf
         ask 102x5 u110 t120 e1 Sl
         bid 99x1 u120 t120 e1 f
         ask 101x0 u120 t120 e1 l
         valid e1",
    );
    // Also when the snapshot came before any event; and when the next event doesn't prove it, another is wanted.
    let mut scene = Scene::of(&["book"]);
    scene.snapshot(125).expect("").depth(1, 130, 131).expect("want snapshot BTC/USDT").snapshot(130).skip();
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
}

#[test]
fn a_hole_makes_the_book_suspect_until_a_new_epoch() {
    let mut scene = valid();
    scene.depth(1, 131, 140).expect("suspect e1\nwant snapshot BTC/USDT");
    scene.depth(1, 141, 150).expect("").snapshot(145).expect(
        "gap 120..150 sequence
         bid 98x5 u145 t150 e2 SfG
         ask 102x5 u145 t150 e2 Sl
         bid 99x1 u150 t150 e2 f
         ask 101x0 u150 t150 e2 l
         valid e2",
    );
}

#[test]
fn a_second_hole_while_waiting_needs_a_snapshot_past_it() {
    let mut scene = valid();
    scene.depth(1, 131, 140).skip().depth(1, 151, 160).expect("");
    assert_eq!(scene.session.feed_status(0).buffered, 1);
    scene.snapshot(140).expect("want snapshot BTC/USDT").snapshot(150).skip();
    let status = scene.session.feed_status(0);
    assert_eq!((status.book, status.epoch, status.gaps, status.last_id), (Some(BookState::Valid), 2, 1, Some(160)));
}

#[test]
fn events_seen_before_are_dropped_and_overlapping_ones_applied() {
    let mut scene = valid();
    scene.depth(1, 111, 120).depth(1, 101, 110).expect("");
    assert_eq!(scene.session.feed_status(0).duplicates, 2);
    scene.depth(1, 115, 125).expect("bid 99x1 u125 t125 e1 f\nask 101x0 u125 t125 e1 l");
}

#[test]
fn a_planned_reconnect_is_seamless() {
    let mut scene = valid();
    scene.entry(EntryKind::Opened, 2, "", b"").depth(2, 111, 120).depth(1, 121, 130).depth(2, 121, 130).closed(1);
    scene.depth(2, 131, 140).expect(
        "bid 99x1 u130 t130 e1 f
         ask 101x0 u130 t130 e1 l
         bid 99x1 u140 t140 e1 f
         ask 101x0 u140 t140 e1 l",
    );
    assert_eq!(scene.session.feed_status(0).gaps, 0);
}

#[test]
fn a_reconnect_without_a_hole_goes_on_and_one_with_a_hole_is_an_outage() {
    valid().closed(1).depth(2, 121, 130).expect("bid 99x1 u130 t130 e1 f\nask 101x0 u130 t130 e1 l");
    valid().closed(1).depth(2, 122, 130).expect("suspect e1\nwant snapshot BTC/USDT").snapshot(122).expect(
        "gap 120..130 disconnected
         bid 98x5 u122 t130 e2 SfG
         ask 102x5 u122 t130 e2 Sl
         bid 99x1 u130 t130 e2 f
         ask 101x0 u130 t130 e2 l
         valid e2",
    );
}

#[test]
fn what_was_lost_or_found_wrong_is_rebuilt() {
    for (what, reason) in [("lost", "not_recorded"), ("resync", "integrity")] {
        let mut scene = valid();
        if what == "lost" {
            scene.lost()
        } else {
            scene.resync()
        };
        scene.expect("suspect e1\nwant snapshot BTC/USDT");
        // Even though the numbers would link.
        scene.depth(1, 121, 130).expect("").snapshot(125).expect(&format!(
            "gap 120..130 {reason}
             bid 98x5 u125 t130 e2 SfG
             ask 102x5 u125 t130 e2 Sl
             bid 99x1 u130 t130 e2 f
             ask 101x0 u130 t130 e2 l
             valid e2"
        ));
    }
    // One that has seen nothing has nothing to lose; one that waits must ask again.
    Scene::of(&["book"])
        .lost()
        .resync()
        .expect("")
        .depth(1, 1, 2)
        .expect("want snapshot BTC/USDT")
        .lost()
        .expect("want snapshot BTC/USDT");
    Scene::of(&["trades"]).resync().expect("notice Entry { subject: \"BTC/USDT book\", fault: UnknownFeed }");
}

#[test]
fn closing_a_feed_ends_its_epoch() {
    let mut scene = valid();
    scene.feed_closed("book").expect("syncing e1").depth(1, 121, 130).expect("notice Unrouted { conn: 1 }");
    scene.snapshot(125).expect("notice Entry { subject: \"depth BTC/USDT\", fault: UnknownFeed }").lost().expect("");
    scene.feed("book").depth(1, 131, 140).expect("want snapshot BTC/USDT").snapshot(135).expect(
        "gap 120..140 disconnected
         bid 98x5 u135 t140 e2 SfG
         ask 102x5 u135 t140 e2 Sl
         bid 99x1 u140 t140 e2 f
         ask 101x0 u140 t140 e2 l
         valid e2",
    );
}

#[test]
fn numbers_that_begin_anew_are_a_hole_and_no_duplicates() {
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 1_000_000, 1_000_001).snapshot(1_000_000).skip();
    let event = r#"{"e":"depthUpdate","E":1100000,"s":"BTCUSDT","U":1,"u":5,"b":[],"a":[["101","1"]]}"#;
    scene.frame(1, event).expect("suspect e1\nwant snapshot BTC/USDT").snapshot(2).expect(
        "gap 1000001..1100000 sequence
         bid 98x5 u2 t1100000 e2 SfG
         ask 102x5 u2 t1100000 e2 Sl
         ask 101x1 u5 t1100000 e2 fl
         valid e2",
    );
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut scene = Scene::of(&["book"]);
    for i in 0..5_000u64 {
        scene.depth(1, i * 10 + 1, i * 10 + 10);
    }
    assert_eq!((scene.session.feed_status(0).buffered, scene.session.counters().overflowed), (4_096, 904));
    // Many levels: fewer events.
    let levels = vec![r#"["1","1"]"#; 1_000].join(",");
    for i in 5_000..5_400u64 {
        scene.depth_of(1, i * 10 + 1, i * 10 + 10, &levels, "");
    }
    let (held, dropped) = (scene.session.feed_status(0).buffered, scene.session.counters().overflowed);
    assert!(held < 300 && dropped + held as u64 == 5_400, "{held} {dropped}");
    // A snapshot before what is left is too old; one within it links.
    scene.skip().snapshot(40_000).expect("want snapshot BTC/USDT").snapshot(53_900).skip();
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
}

#[test]
fn an_empty_snapshot_still_begins_an_epoch() {
    let mut scene = Scene::of(&["book"]);
    scene.depth(1, 1, 2).skip();
    scene.entry(EntryKind::Response, 0, "depth BTC/USDT", br#"{"lastUpdateId":1,"bids":[],"asks":[]}"#).expect(
        "bid 99x1 u2 t2 e1 f
         ask 101x0 u2 t2 e1 l
         valid e1",
    );
}
