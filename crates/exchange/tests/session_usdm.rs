//! Binance's perpetuals in a session, case by case: beside spot of the same id, over two sockets, with chained books.

mod support;

use dccd_exchange::Want;
use dccd_model::{BookState, EntryKind};
use support::usdm::{MARKET, PUBLIC, Scene, agg_trade, binance, depth, markets, quote, snapshot};

const ALL: [&str; 6] = [
    "BTC/USDT trades",
    "BTC/USDT quotes",
    "BTC/USDT book",
    "BTC/USDT:USDT trades",
    "BTC/USDT:USDT quotes",
    "BTC/USDT:USDT book",
];

/// A book that is valid up to change 120.
fn valid() -> Scene {
    let mut scene = Scene::of(&["BTC/USDT:USDT book"]);
    scene.depth(1, 90, 110).snapshot(105).depth(1, 110, 120).skip();
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
    scene
}

#[test]
fn one_id_means_spot_on_one_socket_and_a_perpetual_on_the_others() {
    let mut scene = Scene::of(&ALL);
    let spot = r#"{"e":"trade","E":7,"s":"BTCUSDT","t":7,"p":"100.20","q":"3","T":7,"m":false}"#;
    scene.frame(2, &agg_trade(5)).expect("trade 5 100.10x2 Sell fl e0");
    scene.frame(3, spot).expect("trade 7 100.20x3 Buy fl e0");
    scene.frame(1, &quote(50)).expect("quote 99.9x50 100x2 fl");
    scene.frame(3, r#"{"u":9,"s":"BTCUSDT","b":"98","B":"1","a":"99","A":"1"}"#).expect("quote 98x1 99x1 fl");
    let records: Vec<u64> = (0..6).map(|feed| scene.session.feed_status(feed).records).collect();
    assert_eq!(records, [1, 1, 0, 1, 1, 0]);
    assert_eq!(scene.session.feed_status(4).last_ts.as_millis(), 50, "a perpetual's quote has the time of the match");
    scene.depth(1, 90, 110).expect("want snapshot BTC/USDT:USDT");
    scene.frame(3, r#"{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":5,"u":6,"b":[],"a":[]}"#).expect("want snapshot BTC/USDT");
    // The session knows which is which after a restart, too.
    scene.restored().frame(2, &agg_trade(6)).expect("trade 6 100.10x2 Sell fl e0");
    assert_eq!(scene.session.counters().unrouted, 0);
    // Closed, its number may lead elsewhere.
    scene.closed(2).opened(2, "").frame(2, spot).expect("");
    assert_eq!(scene.session.feed_status(0).duplicates, 1);
}

#[test]
fn single_trades_of_a_perpetual_are_none_that_anybody_asked_for() {
    let mut scene = Scene::of(&ALL);
    let single = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":7,"T":7,"s":"BTCUSDT","t":7,"p":"1","q":"3","X":"MARKET","m":true}}"#;
    scene.frame(1, single).frame(2, single).expect("notice UnknownMessage { conn: 1 }\nnotice UnknownMessage { conn: 2 }");
    scene.frame(2, &agg_trade(100)).expect("trade 100 100.10x2 Sell fl e0");
    assert_eq!(scene.session.counters().unknown, 2);
}

#[test]
fn missing_trades_are_counted_asked_for_and_filled_and_what_is_older_than_a_day_stays_declared() {
    let mut scene = Scene::of(&["BTC/USDT:USDT trades"]);
    scene.frame(2, &agg_trade(10)).frame(2, &agg_trade(11)).frame(2, &agg_trade(11)).skip();
    scene.closed(2).opened(5, MARKET).frame(5, &agg_trade(20)).expect(
        "gap 11..20 disconnected 12-19
         want trades BTC/USDT:USDT 12-19
         trade 20 100.10x2 Sell flG e0",
    );
    // The first of them are gone from the exchange.
    scene.page_of(12, 15..=21).expect(
        "trade 15 100.10x2 Sell fl e0
         trade 16 100.10x2 Sell fl e0
         trade 17 100.10x2 Sell fl e0
         trade 18 100.10x2 Sell fl e0
         trade 19 100.10x2 Sell fl e0
         gap 11..20 disconnected 12-19 repaired
         gap 11..20 disconnected 12-14",
    );
    let error = br#"{"code":-1121,"msg":"Invalid symbol."}"#;
    scene
        .entry(EntryKind::Response, 0, "trades BTC/USDT:USDT 21", error)
        .expect("notice ErrorReply { conn: 0, id: None, code: -1121, message: \"Invalid symbol.\" }");
}

#[test]
fn a_book_begins_with_the_event_that_the_snapshot_lies_in_or_the_next() {
    for (last, links) in [(88, false), (89, false), (90, true), (91, true), (105, true), (109, true)] {
        let mut scene = Scene::of(&["BTC/USDT:USDT book"]);
        scene.depth(1, 90, 110).snapshot(last);
        assert_eq!(scene.session.feed_status(0).book == Some(BookState::Valid), links, "{last}");
        let asked = scene.session.outstanding();
        let wanted = matches!(asked[..], [Want::BookSnapshot { .. }]);
        assert_eq!(wanted, !links, "{last}: one that is too old is asked for again");
    }
    // It has all of the first event: the next proves it.
    let mut scene = Scene::of(&["BTC/USDT:USDT book"]);
    scene.depth(1, 90, 110).expect("want snapshot BTC/USDT:USDT").snapshot(110).expect("").restored();
    scene.depth(1, 110, 125).expect(
        "bid 98x5 u110 t125 e1 Sf
         ask 102x5 u110 t125 e1 Sl
         bid 99x1 u125 t125 e1 f
         ask 101x0 u125 t125 e1 l
         valid e1",
    );
}

#[test]
fn an_event_that_does_not_name_the_last_one_is_a_gap_and_a_new_epoch() {
    let mut scene = valid();
    scene.depth(1, 120, 131).expect("bid 99x1 u131 t131 e1 f\nask 101x0 u131 t131 e1 l");
    // Far ahead or a little: numbers of other symbols lie between all the same.
    scene.depth(1, 132, 140).expect("suspect e1\nwant snapshot BTC/USDT:USDT").restored().depth(1, 140, 150).expect("");
    scene.snapshot(131).expect("want snapshot BTC/USDT:USDT").snapshot(144).expect(
        "gap 131..150 sequence
         bid 98x5 u144 t150 e2 SfG
         ask 102x5 u144 t150 e2 Sl
         bid 99x1 u150 t150 e2 f
         ask 101x0 u150 t150 e2 l
         valid e2",
    );
    assert_eq!(scene.session.feed_status(0).gaps, 1);
}

#[test]
fn repetitions_are_dropped_and_events_that_overlap_are_not_trusted() {
    let mut scene = valid();
    scene.depth(1, 110, 120).depth(1, 90, 110).expect("");
    // It covers what is there and more: only that which follows is taken.
    scene.depth(1, 115, 125).expect("").depth(1, 120, 130).expect("bid 99x1 u130 t130 e1 f\nask 101x0 u130 t130 e1 l");
    assert_eq!(scene.session.feed_status(0).duplicates, 3);
    // Where nothing else follows, the next tells.
    scene.depth(1, 125, 140).expect("").depth(1, 140, 150).expect("suspect e1\nwant snapshot BTC/USDT:USDT");
    // So it is among those that are held back.
    scene.depth(1, 145, 155).depth(1, 150, 160).snapshot(145);
    assert_eq!((scene.session.feed_status(0).last_id, scene.session.feed_status(0).gaps), (Some(160), 1));
}

#[test]
fn a_planned_reconnect_is_seamless_and_one_with_a_hole_is_an_outage() {
    let mut scene = valid();
    scene.opened(5, PUBLIC).depth(5, 110, 120).depth(1, 120, 130).depth(5, 120, 130).closed(1);
    scene.depth(5, 130, 140).expect(
        "bid 99x1 u130 t130 e1 f
         ask 101x0 u130 t130 e1 l
         bid 99x1 u140 t140 e1 f
         ask 101x0 u140 t140 e1 l",
    );
    assert_eq!(scene.session.feed_status(0).gaps, 0);
    scene.closed(5).opened(6, PUBLIC).depth(6, 150, 160).expect("suspect e1\nwant snapshot BTC/USDT:USDT");
    scene.snapshot(155).skip();
    assert_eq!((scene.session.feed_status(0).epoch, scene.session.feed_status(0).gaps), (2, 1));
}

#[test]
fn what_cannot_be_read_is_noticed_and_shows_in_the_numbers() {
    let mut scene = valid();
    let without = depth(120, 130, "", "").replace(r#""pu":120,"#, "");
    scene.frame(1, &without).expect("notice unreadable on 1: depthUpdate message without \"pu\"");
    let beyond = depth(u64::MAX, 130, "", "");
    scene.frame(1, &beyond).expect("notice unreadable on 1: \"pu\" of the depthUpdate message is out of its range");
    scene.depth(1, 130, 140).expect("suspect e1\nwant snapshot BTC/USDT:USDT").snapshot(135);
    scene.skip().depth(1, 140, 150).expect("bid 99x1 u150 t150 e2 f\nask 101x0 u150 t150 e2 l");
    for text in
        ["", "pong", "\u{feff}{}", "[1]", r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":"BTCUSDT""#]
    {
        scene.frame(1, text);
    }
    assert!(scene.session.counters().unreadable >= 5);
    scene
        .skip()
        .frame(1, r#"{"e":"forceOrder","E":1,"o":{"s":"BTCUSDT","S":"SELL"}}"#)
        .expect("notice UnknownMessage { conn: 1 }");
    let unknown = r#"{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","i":"1","P":"1","r":"0.1","T":1,"ap":"1","st":1}"#;
    scene.frame(2, unknown).expect("notice UnknownMessage { conn: 2 }");
    // A quote that can't be read is one that may be missing.
    let mut scene = Scene::of(&["BTC/USDT quotes", "BTC/USDT:USDT quotes"]);
    scene.frame(1, &quote(5)).frame(3, &quote(5).replace("usdm", "")).skip();
    scene.frame(1, r#"{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":6"#).skip();
    scene.frame(1, &quote(7)).expect("gap 5..7 unreadable\nquote 99.9x7 100x2 flG");
    scene.frame(3, &quote(7)).expect("quote 99.9x7 100x2 fl");
}

#[test]
fn replies_and_announcements_are_those_of_spot() {
    let mut scene = valid();
    scene.frame(1, r#"{"result":null,"id":4}"#).expect("notice Ack { conn: 1, id: 4 }");
    scene
        .frame(2, r#"{"code":2,"msg":"Invalid request: unknown stream"}"#)
        .expect("notice ErrorReply { conn: 2, id: None, code: 2, message: \"Invalid request: unknown stream\" }");
    scene
        .frame(1, r#"{"error":{"code":2,"msg":"no such stream"},"id":9}"#)
        .expect("notice ErrorReply { conn: 1, id: Some(9), code: 2, message: \"no such stream\" }");
    scene.frame(1, r#"{"e":"serverShutdown","E":1770123456789}"#).expect("notice Shutdown { conn: 1 }\nwant replace 1");
    scene
        .frame(2, r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#)
        .expect("notice Shutdown { conn: 2 }\nwant replace 2");
}

#[test]
fn quotes_go_on_over_a_replaced_connection_and_an_outage_is_a_gap() {
    let mut scene = Scene::of(&["BTC/USDT:USDT quotes"]);
    scene.frame(1, &quote(10)).opened(5, PUBLIC).frame(5, &quote(10)).frame(1, &quote(20)).closed(1).skip();
    scene.frame(5, &quote(20)).frame(5, &quote(30)).expect("quote 99.9x30 100x2 fl");
    scene.closed(5).opened(6, PUBLIC).frame(6, &quote(40)).expect("gap 30..40 disconnected\nquote 99.9x40 100x2 flG");
}

#[test]
fn numbers_that_go_back_while_time_goes_on_are_no_repetition() {
    let mut scene = valid();
    let later = depth(110, 119, "", "").replace(r#""T":119"#, r#""T":121"#);
    scene.frame(1, &depth(110, 119, "", "")).expect("").frame(1, &later).expect("suspect e1\nwant snapshot BTC/USDT:USDT");
}

#[test]
fn numbers_that_begin_anew_are_a_hole_and_no_duplicates() {
    let mut scene = Scene::of(&["BTC/USDT:USDT book"]);
    scene.depth(1, 1_000_000, 1_000_001).snapshot(1_000_000).skip();
    let anew =
        |previous, last| depth(previous, last, "", r#"["101","1"]"#).replace(&format!(r#""T":{last}"#), r#""T":1100000"#);
    scene.frame(1, &anew(3, 5)).expect("suspect e1\nwant snapshot BTC/USDT:USDT").snapshot(4).expect(
        "gap 1000001..1100000 sequence
         bid 98x5 u4 t1100000 e2 SfG
         ask 102x5 u4 t1100000 e2 Sl
         ask 101x1 u5 t1100000 e2 fl
         valid e2",
    );
}

/// What a session of spot alone saved before there were perpetuals. It still saves the same, and goes on from there.
#[test]
fn spot_saves_what_it_always_did_and_goes_on_from_there() {
    let before: &[u8] = include_bytes!("../src/binance/testdata/saved_spot_1.json");
    let mut spot = support::Scene::new();
    for channel in ["trades", "quotes", "book"] {
        spot.feed(channel);
    }
    spot.entry(EntryKind::Opened, 1, "", b"")
        .trade(1, 10)
        .trade(1, 11)
        .trade(1, 15)
        .quote(1, 5)
        .depth(1, 101, 110)
        .depth(1, 111, 120);
    spot.snapshot(105)
        .depth(1, 121, 130)
        .quote(1, 7)
        .page(12, 13)
        .entry(EntryKind::Opened, 2, "", b"")
        .closed(1)
        .trade(2, 20);
    spot.depth(2, 141, 150);
    assert_eq!(String::from_utf8(spot.session.save()).unwrap(), String::from_utf8(before.to_vec()).unwrap());
    let mut scene = Scene::of(&[]);
    scene.session = binance().restore(markets(), before).unwrap();
    let snapshot = snapshot(145, r#"["98","5"]"#, "");
    scene.entry(EntryKind::Response, 0, "depth BTC/USDT", snapshot.as_bytes()).expect(
        "gap 130..150 disconnected
         bid 98x5 u145 t150 e2 SflG
         bid 99x1 u150 t150 e2 f
         ask 101x0 u150 t150 e2 l
         valid e2",
    );
    // And perpetuals begin beside it.
    scene.entry(EntryKind::FeedOpened, 0, "BTC/USDT:USDT trades", b"").opened(7, MARKET);
    scene.frame(7, &agg_trade(3)).expect("trade 3 100.10x2 Sell fl e0");
    scene
        .frame(2, r#"{"e":"trade","E":21,"s":"BTCUSDT","t":21,"p":"1","q":"1","T":21,"m":true}"#)
        .expect("trade 21 1x1 Sell fl e0");
}
