//! Trades and quotes of a Binance session, case by case.

mod support;

use dccd_exchange::Want;
use dccd_model::EntryKind;
use support::Scene;

#[test]
fn the_first_trade_is_no_gap_and_contiguous_ones_follow() {
    Scene::of(&["trades"]).trade(1, 100).trade(1, 101).expect(
        "trade 100 100.10x2 Sell fl e0
         trade 101 100.10x2 Sell fl e0",
    );
}

#[test]
fn trades_of_the_store_are_gone_on_with_and_what_came_between_is_fetched() {
    let end = br#"{"ts":100000000,"last_id":100}"#;
    let mut scene = Scene::new();
    scene.entry(EntryKind::Stored, 0, "BTC/USDT trades", end).feed("trades").entry(EntryKind::Opened, 1, "", b"");
    // Another process begins before anything came.
    scene.restored().closed(0).trade(1, 99).trade(1, 100).expect("").trade(1, 105).expect(
        "gap 100..105 not_recorded 101-104
         want trades BTC/USDT 101-104
         trade 105 100.10x2 Sell flG e0",
    );
    scene.page(101, 110).skip();
    assert_eq!((scene.session.feed_status(0).open_gaps, scene.session.feed_status(0).repaired), (0, 1));
    // Said once more it changes nothing.
    scene.entry(EntryKind::Stored, 0, "BTC/USDT trades", end).trade(1, 106).expect("trade 106 100.10x2 Sell fl e0");
    // Where nothing came between, nothing is missing.
    let mut scene = Scene::new();
    scene.entry(EntryKind::Stored, 0, "BTC/USDT trades", end).feed("trades").trade(1, 101);
    scene.trade(1, 102).expect("trade 101 100.10x2 Sell fl e0\ntrade 102 100.10x2 Sell fl e0");
}

#[test]
fn a_trade_seen_before_is_dropped_and_counted() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade(1, 5_100).trade(1, 5_101).skip().trade(1, 5_101).trade(1, 5_100).trade(1, 4_042).trade(2, 5_101).expect("");
    assert_eq!(scene.session.feed_status(0).duplicates, 4);
    scene.trade(1, 5_102).expect("trade 5102 100.10x2 Sell fl e0");
    // One that changed places with the first is of the series.
    scene.trade(1, 5_098).expect(
        "gap 5098..5100 sequence 5099-5099
         want trades BTC/USDT 5099-5099
         trade 5098 100.10x2 Sell fl e0",
    );
}

#[test]
fn a_hole_is_declared_wanted_and_repaired_by_late_trades_and_pages() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade(1, 100).skip().trade(1, 105).expect(
        "gap 100..105 sequence 101-104
         want trades BTC/USDT 101-104
         trade 105 100.10x2 Sell flG e0",
    );
    // One comes late, one more than once.
    scene.trade(1, 103).trade(1, 103).trade(1, 106).expect(
        "trade 103 100.10x2 Sell fl e0
         trade 106 100.10x2 Sell fl e0",
    );
    assert_eq!((scene.session.feed_status(0).open_gaps, scene.session.feed_status(0).missing), (1, 3));
    let outstanding = scene.session.outstanding();
    let ids = |want: &Want| if let Want::Trades { from_id, to_id, .. } = want { (*from_id, *to_id) } else { (0, 0) };
    assert_eq!(outstanding.iter().map(ids).collect::<Vec<_>>(), [(101, 102), (104, 104)]);
    scene.page(101, 102).expect(
        "trade 101 100.10x2 Sell fl e0
         trade 102 100.10x2 Sell fl e0",
    );
    scene.page(101, 110).expect(
        "trade 104 100.10x2 Sell fl e0
         gap 100..105 sequence 101-104 repaired",
    );
    assert_eq!((scene.session.feed_status(0).open_gaps, scene.session.outstanding().len()), (0, 0));
    // What the page had beyond the hole comes live.
    scene.trade(1, 107).expect("trade 107 100.10x2 Sell fl e0");
}

#[test]
fn what_the_exchange_does_not_have_is_all_that_stays_declared_and_is_not_asked_for_again() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade(1, 100).trade(1, 111).skip();
    // Answers that don't ascend from the id that was asked for, or are empty, prove nothing.
    scene.page_of(105, [101, 103]).page_of(101, []).expect(
        "trade 101 100.10x2 Sell fl e0
         trade 103 100.10x2 Sell fl e0",
    );
    let wanted = |scene: &Scene| -> Vec<(u64, u64)> {
        let ids = |want| if let Want::Trades { from_id, to_id, .. } = want { (from_id, to_id) } else { (0, 0) };
        scene.session.outstanding().into_iter().map(ids).collect()
    };
    assert_eq!(wanted(&scene), [(102, 102), (104, 110)]);
    scene.page_of(102, [104, 107]).expect(
        "trade 104 100.10x2 Sell fl e0
         trade 107 100.10x2 Sell fl e0",
    );
    assert_eq!(wanted(&scene), [(108, 110)]);
    assert_eq!((scene.session.feed_status(0).open_gaps, scene.session.feed_status(0).missing), (1, 3));
    scene.page_of(108, [110, 111]).expect(
        "trade 110 100.10x2 Sell fl e0
         gap 100..111 sequence 101-110 repaired
         gap 100..111 sequence 102-102
         gap 100..111 sequence 105-106
         gap 100..111 sequence 108-109",
    );
    let status = scene.session.feed_status(0);
    assert_eq!((status.open_gaps, status.missing, status.gaps, status.repaired), (0, 0, 4, 1));
    assert_eq!(wanted(&scene), []);
    scene.page_of(101, [103, 110, 111]).expect("");
    // It had one after all.
    scene.page(102, 102).expect(
        "trade 102 100.10x2 Sell fl e0
         gap 100..111 sequence 102-102 repaired",
    );
}

#[test]
fn the_reason_tells_what_happened_on_the_way() {
    let hole = |reason: &str| {
        format!("gap 100..105 {reason} 101-104\nwant trades BTC/USDT 101-104\ntrade 105 100.10x2 Sell flG e0")
    };
    let begun = || {
        let mut scene = Scene::of(&["trades"]);
        scene.trade(1, 100).skip();
        scene
    };
    begun().trade(1, 105).expect(&hole("sequence"));
    begun().trade(2, 105).expect(&hole("disconnected"));
    begun().closed(1).trade(2, 105).expect(&hole("disconnected"));
    begun().closed(0).trade(1, 105).expect(&hole("disconnected"));
    begun().closed(7).trade(1, 105).expect(&hole("sequence"));
    begun().lost().trade(1, 105).expect(&hole("not_recorded"));
    begun().closed(1).lost().trade(2, 105).expect(&hole("not_recorded"));
    begun().frame(1, "{\"e\":").skip().trade(1, 105).expect(&hole("unreadable"));
    begun().frame(2, "{\"e\":").skip().trade(1, 105).expect(&hole("sequence"));
    begun().feed_closed("trades").feed("trades").trade(1, 105).expect(&hole("disconnected"));
    // An outage that cost nothing explains no later hole.
    begun().closed(1).lost().trade(2, 101).skip().trade(2, 103).expect(
        "gap 101..103 sequence 102-102
         want trades BTC/USDT 102-102
         trade 103 100.10x2 Sell flG e0",
    );
    // Nothing is missing, whatever happened.
    for next in [100, 101] {
        let mut scene = begun();
        scene.closed(1).lost().trade(2, next).skip();
        assert_eq!(scene.session.feed_status(0).gaps, 0);
    }
}

#[test]
fn two_connections_with_the_same_trades_give_each_once() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade(1, 1).trade(2, 1).trade(2, 2).trade(1, 2).closed(1).trade(2, 3).expect(
        "trade 1 100.10x2 Sell fl e0
         trade 2 100.10x2 Sell fl e0
         trade 3 100.10x2 Sell fl e0",
    );
    assert_eq!(scene.session.feed_status(0).duplicates, 2);
}

#[test]
fn answers_that_are_of_no_use_change_nothing() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade(1, 100).trade(1, 103).skip();
    let saved = scene.session.feed_status(0);
    scene.page(1, 50).page(104, 200).expect("");
    let aggregated = r#"[{"a":101,"p":"1","q":"1","T":1,"m":true}]"#;
    scene.entry(EntryKind::Response, 0, "trades BTC/USDT 101", aggregated.as_bytes()).expect("");
    scene
        .entry(EntryKind::Response, 0, "trades BTC/USDT 101", br#"{"code":-1121,"msg":"Invalid symbol."}"#)
        .expect("notice ErrorReply { conn: 0, id: None, code: -1121, message: \"Invalid symbol.\" }");
    scene
        .entry(EntryKind::Response, 0, "trades BTC/USDT 101", b"<html>")
        .expect("notice unreadable on 0: not a readable message: expected value at line 1 column 1");
    assert_eq!(scene.session.feed_status(0), saved);
    scene
        .entry(EntryKind::Response, 0, "trades ETH/USDT 1", b"[]")
        .expect("notice Entry { subject: \"trades ETH/USDT 1\", fault: UnknownFeed }");
    scene.entry(EntryKind::Response, 0, "weather", b"[]").expect("notice Entry { subject: \"weather\", fault: Subject }");
}

#[test]
fn aggregated_trades_have_ids_of_their_own() {
    let mut scene = Scene::of(&["trades"]);
    scene.agg_trade(1, 7).agg_trade(1, 8).trade(1, 9).expect(
        "trade 7 100.10x2 Buy fl e0
         trade 8 100.10x2 Buy fl e0
         notice Unrouted { conn: 1 }",
    );
    // The configuration changed, the process began anew: the other ids are believed, and the change is a gap.
    scene.closed(0).trade(2, 900).expect(
        "gap 8..900 disconnected
         trade 900 100.10x2 Sell flG e1",
    );
}

#[test]
fn ids_that_begin_anew_are_not_taken_for_duplicates() {
    Scene::of(&["trades"]).trade_at(1, 1_000_000, 5_000).skip().trade_at(1, 3, 60_000).trade_at(1, 4, 60_001).expect(
        "gap 5000..60000 sequence
         trade 3 100.10x2 Sell flG e1
         trade 4 100.10x2 Sell fl e1",
    );
}

#[test]
fn ids_that_begin_anew_where_the_day_has_them_are_left_out_and_told() {
    let mut scene = Scene::of(&["trades"]);
    for id in 1..=10_005 {
        scene.trade_at(1, id, 5_000).skip();
    }
    scene.trade_at(1, 1, 60_000).trade_at(1, 2, 60_001).expect(
        "gap 5000..60000 sequence
         notice CountsAnew { symbol: Symbol { text: \"BTC/USDT\", slash: 3, colon: None } }",
    );
    scene.trade_at(1, 3, 86_400_000).expect(
        "gap 5000..86400000 sequence
         trade 3 100.10x2 Sell flG e1",
    );
}

#[test]
fn ids_that_fall_back_among_those_before_are_left_out_and_told() {
    let mut scene = Scene::of(&["trades"]);
    scene.trade_at(1, 100, 5_000).trade_at(1, 101, 5_001).skip().trade_at(1, 50, 60_000).trade_at(1, 51, 60_001).expect(
        "gap 5001..60000 sequence
         notice CountsAnew { symbol: Symbol { text: \"BTC/USDT\", slash: 3, colon: None } }",
    );
    scene.trade_at(1, 102, 70_000).trade_at(1, 103, 70_001).expect(
        "gap 60000..70000 sequence
         trade 102 100.10x2 Sell flG e0
         trade 103 100.10x2 Sell fl e0",
    );
    let status = scene.session.feed_status(0);
    assert_eq!((status.gaps, status.open_gaps, status.duplicates), (2, 0, 2));
}

#[test]
fn quotes_are_dropped_when_they_are_not_newer() {
    let mut scene = Scene::of(&["quotes"]);
    scene.quote(1, 10).quote(1, 10).quote(1, 9).quote(1, 500).expect(
        "quote 99.9x1 100x2 fl
         quote 99.9x1 100x2 fl",
    );
    let status = scene.session.feed_status(0);
    assert_eq!((status.duplicates, status.records, status.last_id), (2, 2, Some(500)));
}

#[test]
fn a_quote_that_comes_behind_a_newer_one_is_a_gap_before_the_next() {
    let mut scene = Scene::of(&["quotes"]);
    // Entries: the feed, the connection, then second 3 and so on.
    scene.quote(1, 10).quote(1, 30).quote(1, 20).quote(1, 20).quote(1, 25).quote(1, 40).quote(1, 50).expect(
        "quote 99.9x1 100x2 fl
         quote 99.9x1 100x2 fl
         gap 4000..8000 sequence
         quote 99.9x1 100x2 flG
         quote 99.9x1 100x2 fl",
    );
    let status = scene.session.feed_status(0);
    assert_eq!((status.duplicates, status.records, status.gaps, status.last_id), (1, 4, 1, Some(50)));
    // A new connection begins with the current quote.
    scene.closed(1).quote(2, 50).quote(2, 60).expect("quote 99.9x1 100x2 fl");
}

#[test]
fn an_outage_between_two_quotes_is_a_gap_unless_another_connection_bridged_it() {
    let gap = |from: i64, to: i64, reason: &str| format!("gap {from}..{to} {reason}\nquote 99.9x1 100x2 flG");
    let quote = "quote 99.9x1 100x2 fl";
    // Entries: the feed, the connection, then second 3 and so on.
    let begun = || {
        let mut scene = Scene::of(&["quotes"]);
        scene.quote(1, 10).skip();
        scene
    };
    begun().closed(1).quote(2, 20).expect(&gap(3_000, 5_000, "disconnected"));
    begun().closed(0).quote(2, 20).expect(&gap(3_000, 5_000, "disconnected"));
    begun().lost().quote(1, 20).expect(&gap(3_000, 5_000, "not_recorded"));
    begun().feed_closed("quotes").feed("quotes").quote(1, 20).expect(&gap(3_000, 6_000, "disconnected"));
    begun().closed(7).quote(1, 20).expect(quote);
    // A planned replacement: the new connection has delivered before the old one went.
    begun().quote(2, 20).closed(1).quote(2, 30).expect(&format!("{quote}\n{quote}"));
    begun().quote(2, 10).closed(1).quote(2, 30).expect(quote);
    // The new one begins with what we have already: nothing is missing.
    begun().closed(1).quote(2, 9).quote(2, 10).quote(2, 20).expect(quote);
    // But what was not recorded stays so.
    begun().lost().quote(1, 10).quote(1, 20).expect(&gap(3_000, 6_000, "not_recorded"));
    // The end of the first connection was among what was lost; that of the second one counts all the same.
    begun().lost().quote(2, 20).expect(&gap(3_000, 5_000, "not_recorded")).closed(2).quote(3, 30).expect(&gap(
        5_000,
        7_000,
        "disconnected",
    ));
    // Before the first quote nothing can be missing.
    Scene::of(&["quotes"]).lost().closed(0).quote(1, 1).expect(quote);
}

#[test]
fn a_frame_that_may_have_been_a_quote_and_cant_be_read_is_a_gap() {
    let begun = || {
        let mut scene = Scene::of(&["quotes", "trades"]);
        scene.quote(1, 10).skip();
        scene
    };
    let gap = "gap 4000..6000 unreadable\nquote 99.9x1 100x2 flG";
    let quote = "quote 99.9x1 100x2 fl";
    begun().frame(1, r#"{"stream":"btcusdt@bookTicker","data":{"u":11,"#).skip().quote(1, 20).expect(gap);
    begun().frame(1, "garbage").skip().quote(1, 20).expect(gap);
    // It was of another stream, or of a connection that doesn't carry the quotes.
    begun().frame(1, r#"{"stream":"btcusdt@trade","data":{"e":"#).skip().quote(1, 20).expect(quote);
    begun().frame(2, "garbage").skip().quote(1, 20).expect(quote);
    // Another connection has it too.
    begun().quote(2, 10).frame(1, "garbage").skip().quote(1, 20).expect(quote);
}

#[test]
fn messages_that_are_no_records_are_noticed_and_counted() {
    let mut scene = Scene::of(&["trades"]);
    scene.frame(1, r#"{"result":null,"id":3}"#).expect("notice Ack { conn: 1, id: 3 }");
    scene
        .frame(1, r#"{"error":{"code":2,"msg":"Invalid request: bad stream"},"id":4}"#)
        .expect("notice ErrorReply { conn: 1, id: Some(4), code: 2, message: \"Invalid request: bad stream\" }");
    scene.frame(5, r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#).expect(
        "notice Shutdown { conn: 5 }
         want replace 5",
    );
    scene.frame(1, r#"{"e":"24hrMiniTicker","s":"BTCUSDT"}"#).expect("notice UnknownMessage { conn: 1 }");
    scene.quote(1, 1).depth(1, 1, 1).expect("notice Unrouted { conn: 1 }\nnotice Unrouted { conn: 1 }");
    scene.feed_closed("trades").trade(1, 1).expect("notice Unrouted { conn: 1 }");
    scene.feed_closed("quotes").expect("notice Entry { subject: \"BTC/USDT quotes\", fault: UnknownFeed }");
    scene.feed("smells").expect("notice Entry { subject: \"BTC/USDT smells\", fault: Channel }");
    scene.entry(EntryKind::FeedOpened, 0, "trades", b"").expect("notice Entry { subject: \"trades\", fault: Subject }");
    let counters = scene.session.counters();
    assert_eq!(
        (counters.frames, counters.unknown, counters.unrouted, counters.error_replies, counters.entry_faults),
        (7, 1, 3, 1, 3)
    );
    assert_eq!(scene.session.feeds().len(), 1);
}

#[test]
fn a_feed_keeps_its_index_when_it_opens_again_and_one_without_a_market_has_the_usual_id() {
    let mut scene = Scene::of(&["trades"]);
    scene.entry(EntryKind::FeedOpened, 0, "NEW/USDT quotes", b"");
    scene.feed_closed("trades").feed("trades");
    let feeds: Vec<String> =
        scene.session.feeds().iter().map(|f| format!("{} {} {}", f.symbol, f.channel, f.open)).collect();
    assert_eq!(feeds, ["BTC/USDT trades true", "NEW/USDT quotes true"]);
    scene.frame(1, r#"{"u":1,"s":"NEWUSDT","b":"1","B":"1","a":"2","A":"2"}"#).expect("quote 1x1 2x2 fl");
}
