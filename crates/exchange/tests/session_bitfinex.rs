//! What a Bitfinex session makes of what its connections bring: numbers, checksums, subscriptions that the exchange numbers, maintenance.

mod support;

use dccd_exchange::{AdapterOptions, Want, adapter};
use dccd_model::{Channel, EntryKind, Symbol};
use support::bitfinex::{BOOK, CONF, FUTURES, QUOTES, SPOT, Scene, TRADES, bitfinex, markets, subscribed};

/// Bids 99 and 98, asks 101 and 102, and the checksum of that.
const SNAPSHOT: &str = "[[99,1,1],[98,2,2],[101,1,-1],[102,2,-2]]";

fn crc(text: &str) -> i32 {
    crc32fast::hash(text.as_bytes()).cast_signed()
}

/// With a valid book on connection 1, at 700 ms.
fn book() -> Scene {
    let mut scene = Scene::of(&["book"]);
    scene.says(1, BOOK, SNAPSHOT).expect(
        "bid 99x1 u0 t700 e1 Sf
         bid 98x2 u0 t700 e1 S
         ask 101x1 u0 t700 e1 S
         ask 102x2 u0 t700 e1 Sl
         valid e1",
    );
    scene
}

#[test]
fn a_book_begins_with_its_snapshot_and_every_change_is_given_out() {
    let mut scene = Scene::of(&["book"]);
    scene.says(1, BOOK, "[99,1,1]").expect(""); // before its snapshot
    let mut scene = book();
    scene.says(1, BOOK, "[98,0,1]").expect("bid 98x0 u0 t800 e1 fl");
    scene.says(1, BOOK, "[100.5,3,-0.25]").expect("ask 100.5x0.25 u0 t900 e1 fl");
    let sum = crc("99:1:100.5:-0.25:101:-1:102:-2");
    scene.says(1, BOOK, &format!(r#""cs",{sum}"#)).says(1, BOOK, r#""hb""#).expect("");
    scene.restored().says(1, BOOK, "[7e-7,1,640000]").expect("bid 0.0000007x640000 u0 t1200 e1 fl");
    let sum = crc("99:1:100.5:-0.25:7e-7:640000:101:-1:102:-2");
    scene.says(1, BOOK, &format!(r#""cs",{sum}"#)).expect("");
}

#[test]
fn a_checksum_that_is_wrong_makes_the_book_suspect_from_the_last_that_was_right() {
    let mut scene = book();
    let right = crc("99:5:101:-1:98:2:102:-2");
    scene.says(1, BOOK, "[99,1,5]").says(1, BOOK, &format!(r#""cs",{right}"#)).says(1, BOOK, "[99,1,6]").skip();
    scene.says(1, BOOK, &format!(r#""cs",{right}"#)).expect("suspect e1\nwant resubscribe BTC/USD on 1");
    assert_eq!(scene.session.ending(0, 1).unwrap(), r#"{"chanId":19,"event":"unsubscribe"}"#);
    assert_eq!(scene.session.ending(0, 2), None);
    scene.says(1, BOOK, "[99,1,7]").frame(1, r#"{"event":"unsubscribed","status":"OK","chanId":19}"#).expect("");
    assert_eq!(scene.session.ending(0, 1), None);
    scene.says(1, BOOK, "[99,1,8]").expect("notice Unrouted { conn: 1 }");
    scene.frame(1, &subscribed(BOOK)).expect("notice Ack { conn: 1, id: 19 }");
    scene.says(1, BOOK, "[[99,1,8],[101,1,-1]]").expect(
        "gap 900..1600 integrity
         bid 99x8 u0 t1600 e2 SfG
         ask 101x1 u0 t1600 e2 Sl
         valid e2",
    );
}

#[test]
fn a_hole_in_the_numbers_makes_all_of_the_connection_suspect() {
    let mut scene = Scene::of(&["book", "trades", "quotes"]);
    scene.says(1, BOOK, SNAPSHOT).says(1, QUOTES, "[[99,1,1],[101,1,-1]]").trade(1, 5).skip();
    // Which of them the lost one was about nobody knows; the next one is about a trade.
    scene.loses(1, 1).trade(1, 9).expect(
        "suspect e1
         want resubscribe BTC/USD on 1
         want resubscribe BTC/USD on 1
         gap 5..9 sequence
         want trades BTC/USD 5-5
         trade 9 100.1x0.5 Buy flG e0",
    );
    scene.says(1, BOOK, "[99,1,4]").says(1, QUOTES, "[99,1,4]").expect("");
    scene.page([5, 7, 9, 12]).expect("trade 7 100.1x3 Sell fl e0\ngap 5..9 sequence repaired");
    scene.frame(1, &subscribed(BOOK)).frame(1, &subscribed(QUOTES)).skip();
    scene.says(1, BOOK, SNAPSHOT).says(1, QUOTES, "[[99,1,1],[101,1,-1]]").expect(
        "gap 700..1600 sequence
         bid 99x1 u0 t1600 e2 SfG
         bid 98x2 u0 t1600 e2 S
         ask 101x1 u0 t1600 e2 S
         ask 102x2 u0 t1600 e2 Sl
         valid e2
         gap 800..1700 sequence
         quote 99x1 101x1 flG",
    );
}

#[test]
fn heartbeats_count_and_channels_that_nobody_uses_do() {
    let mut scene = book();
    scene.frame(1, r#"{"event":"subscribed","channel":"ticker","chanId":30,"symbol":"tBTCUSD","pair":"BTCUSD"}"#);
    scene.says(1, 30, r#""hb""#).says(1, 30, "[118940,43.2,118950,44.3,-3710]").expect("notice UnknownMessage { conn: 1 }");
    scene.says(1, TRADES, r#""hb""#).says(1, 99, r#""hb""#).expect("notice Unrouted { conn: 1 }");
    scene.says(1, BOOK, "[99,1,4]").expect("bid 99x4 u0 t1300 e1 fl");
    scene.loses(1, 1).says(1, 30, r#""hb""#).expect("suspect e1\nwant resubscribe BTC/USD on 1");
}

#[test]
fn a_repetition_is_dropped_and_whatever_else_has_its_number_is_a_break() {
    let mut scene = book();
    scene.says(1, BOOK, "[99,1,4]").skip();
    scene.frame(1, "[19,[99,1,4],2,800]").expect("");
    scene.frame(1, "[19,[99,1,5],2,800]").expect("suspect e1\nwant resubscribe BTC/USD on 1");
    let mut scene = book();
    // Numbers that begin anew are no old ones.
    scene
        .says(1, BOOK, "[99,1,4]")
        .skip()
        .frame(1, "[19,[99,1,5],1,900]")
        .expect("suspect e1\nwant resubscribe BTC/USD on 1");
    scene.frame(1, "[19,[[99,1,5],[101,1,-1]],2,1000]").skip().frame(1, "[19,[99,1,6],3,1100]");
    scene.expect("bid 99x6 u0 t1100 e2 fl");
}

#[test]
fn what_no_book_goes_through_is_refused() {
    let suspect = "suspect e1\nwant resubscribe BTC/USD on 1";
    for impossible in ["[97,0,1]", "[101,1,2]", "[103,0,-1]"] {
        book().says(1, BOOK, impossible).expect(suspect);
    }
    let mut scene = Scene::of(&["book"]);
    let levels: Vec<String> = (0..25).map(|at| format!("[{},1,1]", 99 - at)).collect();
    scene.says(1, BOOK, &format!("[{}]", levels.join(","))).skip();
    scene.says(1, BOOK, "[10,1,1]").expect(suspect);
    Scene::of(&["book"]).says(1, BOOK, "[[99,1,1],[98,1,-1]]").expect("want resubscribe BTC/USD on 1");
    // Nobody's, and both sides gone.
    Scene::of(&["book"]).says(1, BOOK, "[]").expect("valid e1");
}

#[test]
fn a_snapshot_that_nobody_asked_for_is_a_gap_unless_it_says_what_is_known() {
    let mut scene = book();
    scene.says(1, BOOK, SNAPSHOT).expect("");
    scene.says(1, BOOK, "[[99,1,3],[101,1,-1]]").expect(
        "gap 700..900 integrity
         bid 99x3 u0 t900 e2 SfG
         ask 101x1 u0 t900 e2 Sl
         valid e2",
    );
}

#[test]
fn several_changes_in_one_message_are_no_snapshot_where_that_was_agreed() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(1, r#"{"event":"conf","status":"OK","flags":537100288}"#).says(1, BOOK, SNAPSHOT).skip();
    scene.says(1, BOOK, "[[99,0,1],[99.5,1,2],[101,1,-3]]").expect(
        "bid 99x0 u0 t900 e1 f
         bid 99.5x2 u0 t900 e1
         ask 101x3 u0 t900 e1 l",
    );
}

#[test]
fn a_connection_that_takes_over_costs_nothing() {
    let mut scene = book();
    scene.says(1, BOOK, "[99,1,4]").connected(2).skip();
    scene.says(2, BOOK, "[[99,1,4],[98,2,2],[101,1,-1],[102,2,-2]]").expect("");
    scene.says(2, BOOK, "[99,1,5]").expect("bid 99x5 u0 t1600 e1 fl");
    scene.says(1, BOOK, "[99,1,5]").closed(1).says(2, BOOK, "[99,1,6]").expect("bid 99x6 u0 t1900 e1 fl");
    assert_eq!(scene.session.feed_status(0).gaps, 0);
    scene.closed(2).expect("syncing e1");
}

#[test]
fn the_trades_that_come_with_a_subscription_join_two_connections() {
    let mut scene = Scene::of(&["trades"]);
    scene.says(1, TRADES, "[[3,3,1,100],[2,2,-1,99.5]]").expect(
        "trade 2 99.5x1 Sell fl e0
         trade 3 100x1 Buy fl e0",
    );
    scene.trade(1, 4).says(1, TRADES, r#""tu",[4,4,0.5,100.1]"#).closed(1).connected(2).skip();
    scene.says(2, TRADES, "[[6,6,1,100],[5,5,-1,99.5],[4,4,0.5,100.1],[3,3,1,100]]").expect(
        "trade 5 99.5x1 Sell fl e0
         trade 6 100x1 Buy fl e0",
    );
    // Too many came meanwhile.
    scene.closed(2).connected(3).skip().says(3, TRADES, "[[41,41,1,100],[40,40,1,100]]").expect(
        "gap 6..40 disconnected
         want trades BTC/USD 6-6
         trade 40 100x1 Buy flG e0
         trade 41 100x1 Buy fl e0",
    );
    scene.restored().page([6, 8, 40, 41]).expect("trade 8 100.1x3 Sell fl e0\ngap 6..40 disconnected repaired");
}

#[test]
fn a_trade_whose_first_message_got_lost_is_there_with_its_second() {
    let mut scene = Scene::of(&["trades"]);
    let again = |id: u64| format!(r#""tu",[{id},{id},0.5,100.1]"#);
    // What was before the series isn't part of it.
    scene.says(1, TRADES, &again(2)).trade(1, 3).says(1, TRADES, &again(2)).expect("trade 3 100.1x0.5 Buy fl e0");
    scene.loses(1, 2).says(1, TRADES, &again(3)).says(1, TRADES, &again(5)).restored();
    scene.says(1, TRADES, &again(5)).expect("trade 5 100.1x0.5 Buy fl e0");
    // The hole in the numbers is one all the same: 4 never came.
    scene.trade(1, 6).says(1, TRADES, &again(6)).expect(
        "gap 3..6 sequence
         want trades BTC/USD 3-3
         trade 6 100.1x0.5 Buy flG e0",
    );
    scene.page([3, 4, 5, 6, 7]).expect("trade 4 100.1x3 Sell fl e0\ngap 3..6 sequence repaired");
    // One that came after its repetition is no other.
    scene.says(1, TRADES, &again(8)).trade(1, 8).expect("trade 8 100.1x0.5 Buy fl e0");
    assert_eq!(scene.session.feed_status(0).records, 5);
}

#[test]
fn a_hole_of_several_pages_is_asked_for_from_where_they_have_come_to() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade(1, 5).closed(1).connected(2).trade(2, 25_000).skip();
    let since = |scene: &Scene| match scene.session.outstanding().as_slice() {
        [] => None,
        [Want::Trades { from_id, to_id, ts_before, .. }] if from_id == to_id => Some((*from_id, ts_before.as_millis())),
        other => panic!("{other:?}"),
    };
    assert_eq!(since(&scene), Some((5, 5)));
    scene.page(5..10_005).restored();
    assert_eq!(since(&scene), Some((10_004, 10_004)));
    // What begins too late proves nothing.
    scene.page(10_006..20_006);
    assert_eq!(since(&scene), Some((10_004, 10_004)));
    scene.page(10_004..20_004).restored();
    assert_eq!(since(&scene), Some((20_003, 20_003)));
    scene.skip().page(20_003..25_002);
    assert_eq!(since(&scene), None);
    let status = scene.session.feed_status(0);
    assert_eq!((status.records, status.open_gaps, status.gaps, status.repaired), (24_996, 0, 1, 1));
}

#[test]
fn a_quote_stands_when_both_sides_do() {
    let mut scene = Scene::of(&["quotes"]);
    scene.says(1, QUOTES, "[[99,1,1],[101,1,-1]]").expect("quote 99x1 101x1 fl");
    scene.says(1, QUOTES, "[99,2,4]").expect("quote 99x4 101x1 fl");
    scene.says(1, QUOTES, "[99,3,4]").expect(""); // one order more, the same amount
    scene.says(1, QUOTES, "[99,0,1]").expect("").says(1, QUOTES, "[98,1,2]").expect("quote 98x2 101x1 fl");
    // The better one comes before the end of the other.
    scene.says(1, QUOTES, "[98.5,1,3]").says(1, QUOTES, "[98,0,1]").expect("quote 98.5x3 101x1 fl");
    // Nobody asks any more.
    scene.says(1, QUOTES, "[101,0,-1]").expect("").says(1, QUOTES, r#""hb""#).expect("quote 98.5x3 0x0 fl");
    // Whichever connection opened later takes over where it says the same, and the one before is not heard any more.
    scene.connected(2).skip().says(2, QUOTES, "[[98.5,1,3]]").expect("");
    scene.says(1, QUOTES, "[98.5,1,7]").expect("").says(2, QUOTES, "[103,1,-7]").expect("quote 98.5x3 103x7 fl");
    scene.closed(1).says(2, QUOTES, "[98.5,1,7]").expect("quote 98.5x7 103x7 fl");
    scene.closed(2).connected(3).skip().says(3, QUOTES, "[[98.5,1,7],[103,1,-7]]").expect(
        "gap 2600..3400 disconnected
         quote 98.5x7 103x7 flG",
    );
}

#[test]
fn quotes_that_have_no_snapshot_are_asked_for_again() {
    let mut scene = Scene::of(&["quotes"]);
    assert_eq!(scene.session.outstanding(), []);
    scene.says(1, QUOTES, r#""hb""#).expect("want resubscribe BTC/USD on 1").restored();
    // Until they have come it stays wanted.
    let wanted = scene.session.outstanding();
    assert!(matches!(wanted.as_slice(), [Want::Resubscribe { feed: 0, conn: 1, .. }]), "{wanted:?}");
    assert_eq!(scene.session.ending(0, 1).unwrap(), r#"{"chanId":18,"event":"unsubscribe"}"#);
    // Once, until that had time enough.
    scene.says(1, QUOTES, "[99,1,1]").says(1, QUOTES, r#""hb""#).expect("");
    scene.clock += 10_000;
    scene.says(1, QUOTES, "[99,1,1]").expect("want resubscribe BTC/USD on 1");
    scene.frame(1, &subscribed(QUOTES)).says(1, QUOTES, "[[99,1,1],[101,1,-1]]").skip();
    assert_eq!(scene.session.outstanding(), []);
}

#[test]
fn several_holes_ask_for_quotes_once_and_one_before_their_snapshot_takes_nothing_from_them() {
    let mut scene = Scene::of(&["quotes"]);
    scene.says(1, QUOTES, "[[99,1,1],[101,1,-1]]").skip();
    scene.loses(1, 1).says(1, TRADES, r#""hb""#).expect("want resubscribe BTC/USD on 1");
    scene.loses(1, 1).says(1, TRADES, r#""hb""#).says(1, QUOTES, "[99,1,2]").expect("");
    scene.frame(1, &subscribed(QUOTES)).skip();
    scene.loses(1, 1).says(1, TRADES, r#""hb""#).expect("");
    scene.says(1, QUOTES, "[[99,1,3],[101,1,-1]]").expect("gap 700..1300 sequence\nquote 99x3 101x1 flG");
    // One whose snapshot was lost shows it with the next change.
    scene
        .frame(1, &subscribed(QUOTES))
        .skip()
        .loses(1, 1)
        .says(1, QUOTES, "[99,1,4]")
        .expect("want resubscribe BTC/USD on 1");
}

#[test]
fn quotes_that_another_connection_said_unheard_are_in_a_gap() {
    let mut scene = Scene::of(&["quotes"]);
    scene.says(1, QUOTES, "[[99,1,1],[101,1,-1]]").connected(2).skip();
    // The second takes over, and what the first says from there on isn't heard.
    scene.says(2, QUOTES, "[[99,1,1],[101,1,-1]]").says(1, QUOTES, "[99,1,2]").expect("");
    scene.loses(2, 1).says(2, TRADES, r#""hb""#).expect("want resubscribe BTC/USD on 2");
    scene.says(1, QUOTES, "[99,1,3]").expect("gap 700..1700 sequence\nquote 99x3 101x1 flG");
    // The second was asked for anew and has nothing, so nothing takes over from the first.
    scene.closed(1).frame(2, &subscribed(QUOTES)).skip().says(2, QUOTES, "[[99,1,5],[101,1,-1]]").expect(
        "gap 1700..2000 disconnected
         quote 99x5 101x1 flG",
    );
}

#[test]
fn a_wrong_checksum_of_quotes_is_a_gap_from_the_last_that_was_right() {
    let (first, second) = (crc("99:1:101:-1"), crc("99:5:101:-1"));
    let sum = |sum: i32| format!(r#""cs",{sum}"#);
    let mut scene = Scene::of(&["quotes"]);
    // Where none was right before, it may be the sum of something else.
    scene.says(1, QUOTES, "[[99,1,1],[101,1,-1]]").says(1, QUOTES, &sum(7)).expect("quote 99x1 101x1 fl");
    scene
        .says(1, QUOTES, &sum(first))
        .says(1, QUOTES, "[99,2,5]")
        .says(1, QUOTES, &sum(second))
        .expect("quote 99x5 101x1 fl");
    // A change of the ask was not sent, and the next one of the bid was given out beside the old one.
    scene.says(1, QUOTES, "[99,2,6]").expect("quote 99x6 101x1 fl");
    scene.says(1, QUOTES, &sum(crc("99:6:102:-1"))).expect("want resubscribe BTC/USD on 1");
    scene.frame(1, &subscribed(QUOTES)).skip().restored().says(1, QUOTES, "[[99,1,6],[102,1,-1]]").expect(
        "gap 1100..1500 integrity
         quote 99x6 102x1 flG",
    );
    // Whether it is the sum of them is to be seen again.
    scene.says(1, QUOTES, &sum(7)).expect("");
    // A change was not sent: this ends a bid that nobody knows of.
    scene.says(1, QUOTES, "[102,1,-3]").skip().says(1, QUOTES, "[98,0,1]").expect("want resubscribe BTC/USD on 1");
}

#[test]
fn what_no_checksum_has_proven_before_a_hole_is_in_the_gap() {
    let sum = |text: &str| format!(r#""cs",{}"#, crc(text));
    let mut scene = Scene::of(&["book", "quotes"]);
    scene.says(1, BOOK, SNAPSHOT).says(1, BOOK, &sum("99:1:101:-1:98:2:102:-2")).skip();
    scene.says(1, QUOTES, "[[99,1,1],[101,1,-1]]").says(1, QUOTES, &sum("99:1:101:-1")).skip();
    // Something was never sent, without a number that would tell; then a message is lost, before a checksum could tell.
    scene.says(1, BOOK, "[99,1,6]").says(1, QUOTES, "[99,1,6]").skip();
    scene.loses(1, 1).says(1, TRADES, r#""hb""#).skip();
    scene.frame(1, &subscribed(BOOK)).frame(1, &subscribed(QUOTES)).skip();
    scene.says(1, BOOK, "[[99,1,6],[103,1,-1]]").says(1, QUOTES, "[[99,1,6],[103,1,-1]]").expect(
        "gap 800..1600 sequence
         bid 99x6 u0 t1600 e2 SfG
         ask 103x1 u0 t1600 e2 Sl
         valid e2
         gap 1000..1700 sequence
         quote 99x6 103x1 flG",
    );
}

#[test]
fn maintenance_restarts_and_lost_entries_replace_the_connection() {
    let mut scene = book();
    scene.frame(1, r#"{"event":"info","code":20060,"msg":"Entering in Maintenance mode."}"#);
    scene.expect("notice Venue { conn: 1, is_open: false, words: \"Entering in Maintenance mode.\" }");
    scene.frame(1, r#"{"event":"info","code":20061,"msg":"Maintenance ended"}"#);
    scene.expect("notice Venue { conn: 1, is_open: true, words: \"Maintenance ended\" }\nwant replace 1");
    scene.frame(1, r#"{"event":"info","code":20051,"msg":"Stop/Restart Websocket Server (please reconnect)"}"#);
    scene.expect("notice Shutdown { conn: 1 }\nwant replace 1");
    scene.entry(EntryKind::Lost, 0, "disk full", b"").expect("suspect e1\nwant resubscribe BTC/USD on 1\nwant replace 1");
}

#[test]
fn what_quotes_may_have_missed_is_declared_from_the_beginning_of_a_maintenance() {
    let mut scene = Scene::of(&["quotes"]);
    scene.says(1, QUOTES, "[[99,1,1],[101,1,-1]]").skip();
    scene.frame(1, r#"{"event":"info","code":20060,"msg":"Entering in Maintenance mode."}"#).skip();
    scene.says(1, QUOTES, "[99,1,2]").expect("gap 700..900 silent\nquote 99x2 101x1 flG");
    scene.frame(1, r#"{"event":"info","code":20061,"msg":"Maintenance ended"}"#).skip();
    scene.restored().says(1, QUOTES, "[99,1,3]").expect("gap 900..1100 silent\nquote 99x3 101x1 flG");
    scene.says(1, QUOTES, "[99,1,4]").expect("quote 99x4 101x1 fl");
}

#[test]
fn a_frame_that_cant_be_read_is_about_its_channel_or_about_all() {
    let mut scene = Scene::of(&["book", "trades", "quotes"]);
    scene.says(1, BOOK, SNAPSHOT).says(1, QUOTES, "[[99,1,1],[101,1,-1]]").trade(1, 5).skip();
    scene.says(1, TRADES, r#""te",[6,6,"x",100.1]"#).trade(1, 7).expect(
        "notice unreadable on 1: not a readable message: expected a decimal number at byte 14
         gap 5..7 unreadable
         want trades BTC/USD 5-5
         trade 7 100.1x0.5 Buy flG e0",
    );
    scene.says(1, BOOK, "[99,1,4]").expect("bid 99x4 u0 t1200 e1 fl");
    scene.says(1, BOOK, "[99,1,0]").expect(
        "notice unreadable on 1: \"amount\" of the book message is out of its range
         suspect e1
         want resubscribe BTC/USD on 1",
    );
    scene.frame(1, &subscribed(BOOK)).says(1, BOOK, SNAPSHOT).skip();
    scene.frame(1, "\u{1}nonsense").expect(
        "notice unreadable on 1: not a readable message: expected a list at byte 0
         suspect e2
         want resubscribe BTC/USD on 1
         want resubscribe BTC/USD on 1",
    );
    // Whether it had a number nobody knows: what follows is believed.
    scene
        .frame(1, &subscribed(BOOK))
        .says(1, BOOK, SNAPSHOT)
        .skip()
        .says(1, BOOK, "[99,1,4]")
        .expect("bid 99x4 u0 t1900 e3 fl");
    // A message that should have a number and has none.
    scene.frame(1, "[19,[99,1,4]]").expect(
        "notice unreadable on 1: channel message without \"sequence\"
         suspect e3
         want resubscribe BTC/USD on 1",
    );
}

#[test]
fn refusals_name_the_message_and_unknown_events_are_counted() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(1, r#"{"channel":"book","symbol":"tFOO","subId":"7","event":"error","msg":"symbol: invalid","code":10300}"#);
    scene.expect("notice ErrorReply { conn: 1, id: Some(7), code: 10300, message: \"symbol: invalid\" }");
    scene
        .frame(1, r#"{"event":"error","msg":"subscribe: dup","code":10301,"subId":"7"}"#)
        .expect("notice UnknownMessage { conn: 1 }");
    scene.frame(1, r#"{"event":"conf","status":"FAILED"}"#);
    scene.expect(
        "notice ErrorReply { conn: 1, id: None, code: 0, message: \"conf was not accepted: messages have no numbers\" }",
    );
    scene.frame(1, r#"{"event":"pong","ts":1511545528111,"cid":1234}"#).expect("");
    scene.frame(1, r#"{"event":"whatever","x":[1,{"y":null}]}"#).expect("notice UnknownMessage { conn: 1 }");
}

#[test]
fn subscriptions_and_first_words_are_as_the_exchange_wants_them() {
    let markets = markets();
    let of = |depth| adapter("bitfinex", &AdapterOptions { depth, ..AdapterOptions::default() }).unwrap();
    let symbols: [Symbol; 4] = ["BTC/USD", "DOGE/USD", "BTC/USDT:USDT", "LUNA/USD"].map(|symbol| symbol.parse().unwrap());
    let feeds: Vec<(Symbol, Channel)> =
        symbols.iter().cloned().zip([Channel::Trades, Channel::Quotes, Channel::Book, Channel::Trades]).collect();
    let texts: Vec<serde_json::Value> = of(Some(30))
        .subscribe(&feeds, &markets, 5)
        .iter()
        .map(|message| serde_json::from_str(&message.text).unwrap())
        .collect();
    let book = |symbol: &str, len: &str, id: &str| serde_json::json!({"event": "subscribe", "channel": "book", "symbol": symbol, "prec": "P0", "freq": "F0", "len": len, "subId": id});
    let trades = |symbol: &str, id: &str| serde_json::json!({"event": "subscribe", "channel": "trades", "symbol": symbol, "subId": id});
    let expected =
        [trades("tBTCUSD", "5"), book("tDOGE:USD", "1", "6"), book("tBTCF0:USTF0", "100", "7"), trades("tLUNA2:USD", "8")];
    assert_eq!(texts, expected);
    for (wanted, length) in [(None, "250"), (Some(1), "25"), (Some(25), "25"), (Some(101), "250"), (Some(9_999), "250")] {
        let text = &of(wanted).subscribe(&feeds[2..3], &markets, 1)[0].text;
        assert!(text.contains(&format!(r#""len":"{length}""#)), "{text}");
    }
    assert_eq!(bitfinex().greeting(1).unwrap(), r#"{"event":"conf","flags":229376}"#);
    assert_eq!(bitfinex().connect_url("wss://api-pub.bitfinex.com"), "wss://api-pub.bitfinex.com/ws/2");
    assert!(CONF.contains("229376"));
}

#[test]
fn markets_bear_the_names_that_the_rest_of_the_world_uses() {
    let spot = bitfinex().parse_markets(SPOT).unwrap();
    let listed: Vec<(&str, &str)> = spot.iter().map(|market| (market.symbol.as_str(), market.id.as_str())).collect();
    let expected = [
        ("BTC/USD", "tBTCUSD"),
        ("BTC/USDT", "tBTCUST"),
        ("DOGE/USD", "tDOGE:USD"),
        ("ETH/BTC", "tETHBTC"),
        ("LUNA/USD", "tLUNA2:USD"),
        ("TESTBTC/TESTUSD", "tTESTBTC:TESTUSD"),
        ("XRP/BTC", "tXRPBTC"),
    ];
    assert_eq!((listed, spot.skipped()), (expected.to_vec(), 2));
    let doge = spot.by_symbol(&"DOGE/USD".parse().unwrap()).unwrap();
    assert_eq!(
        (doge.amount_min.unwrap().to_string(), doge.amount_max.unwrap().to_string()),
        ("22.0".into(), "2000000.0".into())
    );
    let futures = bitfinex().parse_markets(FUTURES).unwrap();
    let listed: Vec<(&str, &str)> = futures.iter().map(|market| (market.symbol.as_str(), market.id.as_str())).collect();
    assert_eq!(listed, [("BTC/USDT:USDT", "tBTCF0:USTF0"), ("ETH/BTC:BTC", "tETHF0:BTCF0")]);
    let request = bitfinex().markets_request();
    let next = bitfinex().markets_next(&request, SPOT).unwrap().unwrap();
    assert_eq!(
        (request.path_and_query.as_str(), next.path_and_query.as_str()),
        ("/v2/conf/pub:info:pair", "/v2/conf/pub:info:pair:futures")
    );
    assert_eq!(bitfinex().markets_next(&next, FUTURES).unwrap(), None);
    let refused = bitfinex().parse_markets(br#"["error",11010,"ratelimit: error"]"#).unwrap_err().to_string();
    assert_eq!(refused, "bitfinex refused the list of markets with code 11010: ratelimit: error");
    assert!(bitfinex().parse_markets(b"{}").is_err());
}
