//! What a Coinbase session makes of messages, entry by entry.

mod support;

use dccd_model::EntryKind;
use support::coinbase::{Scene, heartbeat, snapshot, ticker, trade, update};

const BOOK: &[&str] = &["book"];
const TRADES: &[&str] = &["trades"];

#[test]
fn a_trade_has_the_side_of_its_taker() {
    let mut scene = Scene::of(TRADES, None);
    scene.trades(1, [7]).expect("trade 7 100.10x2.0 Buy fl e0");
    scene
        .frame(1, &trade("match", 8).replace(r#""side":"sell""#, r#""side":"buy""#))
        .expect("trade 8 100.10x2.0 Sell fl e0");
    // Over REST, too.
    scene.trades(1, [10]).skip().page(8..=10).expect("trade 9 100.1x3 Sell fl e0\ngap 8..10 sequence 9-9 repaired");
}

#[test]
fn the_last_trade_that_comes_with_a_subscription_tells_what_was_missed() {
    let mut scene = Scene::of(TRADES, None);
    // The first of a series.
    scene
        .frame(1, &trade("last_match", 20))
        .trades(1, [21])
        .expect("trade 20 100.10x2.0 Buy fl e0\ntrade 21 100.10x2.0 Buy fl e0");
    // Nothing happened while there was no connection.
    scene.closed(1).entry(EntryKind::Opened, 2, "", b"").frame(2, &trade("last_match", 21)).restored().expect("");
    scene.trades(2, [22]).closed(2).entry(EntryKind::Opened, 3, "", b"").skip();
    scene.frame(3, &trade("last_match", 25)).expect(
        "gap 22..25 disconnected 23-24
         want trades BTC/USD 23-24
         trade 25 100.10x2.0 Buy flG e0",
    );
    scene.trades(3, [26, 28]).expect(
        "trade 26 100.10x2.0 Buy fl e0
         gap 26..28 sequence 27-27
         want trades BTC/USD 27-27
         trade 28 100.10x2.0 Buy flG e0",
    );
    assert_eq!(scene.session.feed_status(0).duplicates, 1);
}

#[test]
fn a_heartbeat_tells_of_trades_that_never_came() {
    let mut scene = Scene::of(TRADES, None);
    scene.frame(1, &heartbeat(99, 99)).expect("").trades(1, [100]).skip();
    scene.frame(1, &heartbeat(100, 1_000)).expect("");
    scene.frame(1, &heartbeat(102, 2_000)).expect("gap 100..2000 sequence 101-102\nwant trades BTC/USD 101-102").restored();
    scene.frame(1, &heartbeat(102, 3_000)).expect("");
    assert_eq!((scene.session.outstanding().len(), scene.session.feed_status(0).missing), (1, 2));
    // The next one stands behind a gap; one that was missing may come late, on its connection or in an answer.
    scene.trades(1, [103, 101]).expect("trade 103 100.10x2.0 Buy flG e0\ntrade 101 100.10x2.0 Buy fl e0");
    scene.trades(1, [104]).page(100..=104).expect(
        "trade 104 100.10x2.0 Buy fl e0
         trade 102 100.1x3 Sell fl e0
         gap 100..2000 sequence 101-102 repaired",
    );
    // After an outage, before any trade.
    scene.closed(1).entry(EntryKind::Opened, 2, "", b"").frame(2, &heartbeat(110, 4_000));
    scene.expect("gap 104..4000 disconnected 105-110\nwant trades BTC/USD 105-110");
    scene.frame(2, &trade("last_match", 110)).expect("trade 110 100.10x2.0 Buy fl e0");
    // What the exchange doesn't have stays missing.
    scene.page([104, 105, 107, 108, 109, 110].into_iter()).expect(
        "trade 105 100.1x3 Sell fl e0
         trade 107 100.1x3 Sell fl e0
         trade 108 100.1x3 Sell fl e0
         trade 109 100.1x3 Sell fl e0
         gap 104..4000 disconnected 105-110 repaired
         gap 104..4000 disconnected 106-106",
    );
    let counters = scene.session.counters();
    assert_eq!((counters.unrouted, counters.unknown), (0, 0));
    // Where trades aren't collected it is of no concern.
    Scene::of(BOOK, None).frame(1, &heartbeat(5, 1)).expect("");
}

#[test]
fn quotes_are_those_of_the_ticker_in_the_order_of_its_numbers() {
    let mut scene = Scene::of(&["quotes"], None);
    scene.frame(1, &ticker(10, 99, 1)).expect("quote 99x0.5 101x0.25 fl");
    scene.frame(1, &ticker(10, 99, 1)).frame(1, &ticker(12, 98, 1)).expect("quote 98x0.5 101x0.25 fl");
    // The last one comes with each subscription: nothing was missed.
    scene.closed(1).frame(2, &ticker(12, 98, 1)).frame(2, &ticker(13, 97, 2)).restored().expect("quote 97x0.5 101x0.25 fl");
    scene.closed(2).frame(3, &ticker(15, 96, 4)).expect("gap 2..4 disconnected\nquote 96x0.5 101x0.25 flG");
    // Of former years, without amounts: half a quote is none.
    scene.frame(3, &ticker(16, 95, 5).replace("best_bid_size", "x")).frame(3, &ticker(17, 95, 6)).expect(
        "notice unreadable on 3: ticker message without \"best_bid_size\"
         gap 4..6 unreadable
         quote 95x0.5 101x0.25 flG",
    );
}

#[test]
fn a_book_is_whole_and_its_best_levels_are_given_out() {
    let mut scene = Scene::of(BOOK, Some(2));
    scene.reply(1, subscribed(true)).expect("");
    scene.frame(1, &snapshot("99x1 98x2 97x3", "101x1")).expect(
        "bid 99x1 u0 t400 e1 Sf
         bid 98x2 u0 t400 e1 S
         ask 101x1 u0 t400 e1 Sl
         valid e1",
    );
    // Below the depth nothing is said; ends of what isn't there are common.
    scene.frame(1, &update("97x4 96x1 95x0", "", 500)).expect("");
    scene.frame(1, &update("99x0 97x5", "100x0", 550)).restored().expect("bid 99x0 u0 t550 e1 f\nbid 97x5 u0 t550 e1 l");
    scene.frame(1, &update("99.5x1", "102x1", 550)).expect(
        "bid 99.5x1 u0 t550 e1 f
         bid 97x0 u0 t550 e1
         ask 102x1 u0 t550 e1 l",
    );
    // With all levels.
    let mut scene = Scene::of(BOOK, None);
    scene.frame(1, &snapshot("99x1 98x2", "101x1")).skip();
    scene.frame(1, &update("90x1 98x0", "", 500)).expect("bid 90x1 u0 t500 e1 f\nbid 98x0 u0 t500 e1 l");
}

#[test]
fn where_our_clock_is_behind_a_snapshot_ends_its_gap_by_the_exchange_s() {
    let mut scene = Scene::of(BOOK, None);
    // At 400 ms by our clock.
    scene.frame(1, &snapshot("99x1", "101x1")).frame(1, &update("99x2", "", 5_400)).skip();
    scene.closed(1).entry(EntryKind::Opened, 2, "", b"").skip();
    scene.frame(2, &snapshot("99x3", "101x1")).restored().expect(
        "gap 5400..5700 disconnected
         bid 99x3 u0 t5700 e2 SfG
         ask 101x1 u0 t5700 e2 Sl
         valid e2",
    );
}

/// The exchange's reply to a message of ours: what is subscribed now.
fn subscribed(has_book: bool) -> &'static str {
    if has_book {
        r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"]},{"name":"level2_50","product_ids":["BTC-USD"]}]}"#
    } else {
        r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"],"account_ids":null}]}"#
    }
}

#[test]
fn a_change_before_its_snapshot_begins_the_book_anew() {
    let mut scene = Scene::of(BOOK, None);
    scene.reply(1, subscribed(true)).frame(1, &update("99x2", "", 500)).expect("want resubscribe BTC/USD on 1");
    // The snapshot that it changed places with isn't believed, nor what follows it.
    scene.frame(1, &snapshot("99x1", "101x1")).frame(1, &update("99x3", "", 600)).restored().expect("");
    assert_eq!(scene.session.outstanding().len(), 1);
    // Of a subscription that is over messages may still come.
    scene.reply(1, subscribed(false)).frame(1, &update("99x4", "", 700)).restored().expect("");
    scene.reply(1, subscribed(true)).frame(1, &snapshot("99x4", "101x1")).expect(
        "bid 99x4 u0 t1000 e1 Sf
         ask 101x1 u0 t1000 e1 Sl
         valid e1",
    );
    // So it is with each subscription.
    scene.reply(1, subscribed(false)).frame(1, &update("99x5", "", 1_200)).expect("bid 99x5 u0 t1200 e1 fl");
    scene
        .reply(1, subscribed(true))
        .frame(1, &update("99x6", "", 1_300))
        .expect("suspect e1\nwant resubscribe BTC/USD on 1");
    scene.frame(1, &snapshot("99x5", "101x1")).expect("");
    // On another connection nothing is known of it.
    scene.entry(EntryKind::Opened, 2, "", b"").frame(2, &snapshot("99x7", "101x1")).expect(
        "gap 1200..1700 integrity
         bid 99x7 u0 t1700 e2 SfG
         ask 101x1 u0 t1700 e2 Sl
         valid e2",
    );
    // One that is ahead there takes nothing from this one.
    scene.entry(EntryKind::Opened, 3, "", b"").frame(3, &update("99x8", "", 1_900)).expect("want resubscribe BTC/USD on 3");
    scene.frame(2, &update("99x8", "", 1_950)).expect("bid 99x8 u0 t1950 e2 fl");
}

#[test]
fn a_reply_that_came_behind_the_snapshot_ends_no_subscription() {
    let mut scene = Scene::of(BOOK, None);
    scene.frame(1, &snapshot("99x1", "101x1")).reply(1, subscribed(false)).reply(1, subscribed(true)).skip();
    scene.frame(1, &update("99x2", "", 600)).expect("bid 99x2 u0 t600 e1 fl");
    // Nor does the book begin anew without end where changes always come before their snapshot.
    let mut scene = Scene::of(BOOK, None);
    for turn in 0..5 {
        scene.reply(1, subscribed(true)).frame(1, &update("99x2", "", 500));
        scene.expect(if turn < 3 { "want resubscribe BTC/USD on 1" } else { "" }).reply(1, subscribed(false));
    }
    scene.frame(1, &snapshot("99x2", "101x1")).expect(
        "bid 99x2 u0 t1800 e1 Sf
         ask 101x1 u0 t1800 e1 Sl
         valid e1",
    );
    // Where the connection was not seen to open, or something is not in the journal, nothing can be told.
    scene.entry(EntryKind::Lost, 0, "full", b"").skip().frame(1, &update("99x2", "", 500)).expect("");
    scene.frame(1, r#"{"type":"subscriptions"}"#);
    scene.expect("notice unreadable on 1: subscriptions message without \"channels\"\nwant resubscribe BTC/USD on 1");
}

#[test]
fn what_cant_be_a_book_begins_anew() {
    let mut scene = Scene::of(BOOK, None);
    scene.frame(1, &snapshot("99x1", "101x1")).frame(1, &update("99x2", "", 500)).skip();
    scene.frame(1, &update("101x2", "", 600)).expect("suspect e1\nwant resubscribe BTC/USD on 1");
    scene.frame(1, &update("99x3", "", 700)).restored().expect("");
    scene.frame(1, &snapshot("101x1", "101x1")).expect("want resubscribe BTC/USD on 1");
    scene.frame(1, &snapshot("99x1", "101x1").replace(r#","asks""#, r#","time":"1970-01-01T00:00:00.800Z","asks""#)).expect(
        "gap 500..800 integrity
         bid 99x1 u0 t800 e2 SfG
         ask 101x1 u0 t800 e2 Sl
         valid e2",
    );
    // A message from before the last one: they changed places, or it is not of this book.
    scene.frame(1, &update("99x4", "", 799)).expect("suspect e2\nwant resubscribe BTC/USD on 1");
    assert_eq!(scene.session.outstanding().len(), 1);
    scene.frame(1, &snapshot("99x1", "101x1")).expect(
        "gap 798..1000 integrity
         bid 99x1 u0 t1000 e3 SfG
         ask 101x1 u0 t1000 e3 Sl
         valid e3",
    );
    // A frame that can't be read, and tells that it was of another feed, or not.
    scene
        .frame(1, r#"{"type":"match","product_id":"BTC-USD","price":"#)
        .expect("notice unreadable on 1: not a readable message: expected a decimal number at byte 47");
    scene.frame(1, r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1"#).expect(
        "notice unreadable on 1: not a readable message: expected the end of a text at byte 62
         suspect e3
         want resubscribe BTC/USD on 1",
    );
    scene.frame(1, &snapshot("99x1", "101x1")).skip();
    scene.frame(1, "\u{1}").expect(
        "notice unreadable on 1: not a readable message: expected an object at byte 0
         suspect e4
         want resubscribe BTC/USD on 1",
    );
    // It may have been the snapshot that is waited for, unless it came on another connection.
    let cut = r#"{"type":"snapshot","product_id":"BTC-USD","bids":[["99"#;
    let unreadable =
        |conn| format!("notice unreadable on {conn}: not a readable message: expected the end of a text at byte 54");
    scene.frame(1, cut).expect(&format!("{}\nwant resubscribe BTC/USD on 1", unreadable(1)));
    scene.entry(EntryKind::Opened, 2, "", b"").frame(2, cut).expect(&unreadable(2));
}

#[test]
fn a_snapshot_that_nobody_asked_for_is_a_gap_unless_it_says_what_is_known() {
    let mut scene = Scene::of(BOOK, None);
    scene.frame(1, &snapshot("99x1", "101x1")).frame(1, &update("98x2", "", 500)).skip();
    scene.frame(1, &snapshot("98x2 99x1.0", "101x1")).expect("");
    assert_eq!(scene.session.feed_status(0).duplicates, 1);
    scene.frame(1, &snapshot("98x2", "101x1")).expect(
        "gap 500..700 integrity
         bid 98x2 u0 t700 e2 SfG
         ask 101x1 u0 t700 e2 Sl
         valid e2",
    );
}

#[test]
fn a_book_moves_to_a_connection_that_brings_the_same_at_the_same_time() {
    let mut scene = Scene::of(BOOK, Some(1));
    scene.frame(1, &snapshot("99x1", "101x1")).frame(1, &update("99x2", "", 500)).skip();
    scene.entry(EntryKind::Opened, 2, "", b"").frame(2, &snapshot("99x2", "101x1")).expect("");
    // The same levels, and it is not known of which moment.
    scene.frame(1, &update("98x1", "", 600)).frame(2, &update("98x1", "", 650)).restored().expect("");
    scene.frame(1, &update("99x3", "", 700)).expect("bid 99x3 u0 t700 e1 fl");
    scene.frame(2, &update("99x3", "", 700)).frame(1, &update("99x4", "", 800)).closed(1).expect("");
    scene.frame(2, &update("99x4", "", 800)).expect("bid 99x4 u0 t800 e1 fl");
    // One that is elsewhere costs a gap.
    scene.entry(EntryKind::Opened, 3, "", b"").frame(3, &snapshot("99x5", "101x1")).closed(2).expect(
        "gap 800..1500 disconnected
         bid 99x5 u0 t1500 e2 SfG
         ask 101x1 u0 t1500 e2 Sl
         valid e2",
    );
    scene.closed(3).expect("syncing e2");
}

#[test]
fn refusals_name_what_they_are_about() {
    let mut scene = Scene::of(&["trades", "book"], None);
    let error = |reason: &str| format!(r#"{{"type":"error","message":"Failed to subscribe","reason":"{reason}"}}"#);
    scene.frame(1, &error("BTC-USD is not a valid product")).expect(
        "notice Refused { conn: 1, id: 0, symbol: Symbol { text: \"BTC/USD\", slash: 3, colon: None }, message: \"Failed to subscribe: BTC-USD is not a valid product\" }",
    );
    scene.frame(1, &error("FOO-USD is not a valid product")).expect(
        "notice ErrorReply { conn: 1, id: None, code: 0, message: \"Failed to subscribe: FOO-USD is not a valid product\" }",
    );
    scene
        .frame(1, r#"{"type":"error","message":"slow consumer"}"#)
        .expect("notice ErrorReply { conn: 1, id: None, code: 0, message: \"slow consumer\" }");
    // What is subscribed is listed, but trades are not whole without their heartbeats.
    let listed = |names: &[&str]| {
        let channel = |name: &&str| format!(r#"{{"name":"{name}","product_ids":["BTC-USD","ETH-USD"]}}"#);
        format!(r#"{{"type":"subscriptions","channels":[{}]}}"#, names.iter().map(channel).collect::<Vec<_>>().join(","))
    };
    scene.frame(1, &listed(&["matches", "status"])).expect("notice Subscribed { conn: 1, id: 0, feeds: [] }");
    scene.frame(1, &listed(&["matches", "level2_50"])).expect("notice Subscribed { conn: 1, id: 0, feeds: [1] }");
    scene.frame(1, &listed(&["heartbeat", "matches"])).expect("notice Subscribed { conn: 1, id: 0, feeds: [0] }");
    scene.frame(1, r#"{"type":"status","products":[]}"#).frame(1, r#"{"a":1}"#).expect(
        "notice UnknownMessage { conn: 1 }
         notice UnknownMessage { conn: 1 }",
    );
    scene.frame(1, &trade("match", 1).replace("BTC-USD", "ETH-USD")).expect("notice Unrouted { conn: 1 }");
    scene
        .entry(EntryKind::Response, 0, "trades BTC/USD 1", br#"{"message":"NotFound"}"#)
        .expect("notice ErrorReply { conn: 0, id: None, code: 0, message: \"coinbase refuses the request: NotFound\" }");
    scene
        .entry(EntryKind::Response, 0, "trades BTC/USD 1", b"[{}]")
        .expect("notice unreadable on 0: not a readable message: trades message without \"trade_id\"");
    let counters = scene.session.counters();
    assert_eq!((counters.error_replies, counters.unknown, counters.unrouted, counters.unreadable), (4, 2, 1, 1));
}
