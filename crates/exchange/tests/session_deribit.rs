//! A Deribit session, scene by scene: trades by their numbers, books by theirs, signs of life, refusals, and what goes out.

mod support;

use dccd_exchange::{TradeCursor, TradeHole};
use dccd_model::{Channel, EntryKind, Symbol, UnixNanos};
use support::deribit::{Scene, book, deribit, levels, markets, notice, page, quote, trades};

#[test]
fn trades_go_by_their_numbers_and_what_is_missing_is_asked_for_exactly() {
    let mut scene = Scene::of(&["trades"]);
    scene.frame(1, &trades(&[10, 11])).frame(1, &trades(&[11, 14])).expect(
        "trade 10 100.5x20.0 Sell fl e0
         trade 11 100.5x20.0 Sell fl e0
         gap 11..14 sequence 12-13
         want trades BTC/USD:BTC 12-13
         trade 14 100.5x20.0 Sell flG e0",
    );
    // A refusal, what can't be read, a page of another instrument, and one that ends before them change nothing.
    scene.answer(12, r#"{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"},"testnet":false}"#).expect(
        "notice ErrorReply { conn: 0, id: None, code: 0, message: \"deribit says that it is asked too often: too_many_requests (10028)\" }",
    );
    let other = page([12], false).replace("BTC-PERPETUAL", "ETH-PERPETUAL");
    scene.answer(12, "<html>").answer(12, r#"{"result":{}}"#).answer(12, &other).skip();
    scene.answer(12, &page([9, 10, 11], false)).expect("");
    assert_eq!(scene.session.outstanding().len(), 1);
    scene.restored().answer(12, &page([11, 12, 14, 15], true)).expect(
        "trade 12 100.5x20.0 Sell fl e0
         gap 11..14 sequence 12-13 repaired
         gap 11..14 sequence 13-13",
    );
    assert_eq!(scene.session.outstanding(), []);
    scene.closed(1).frame(2, &trades(&[15])).expect("trade 15 100.5x20.0 Sell fl e0");
}

#[test]
fn pages_of_trades_are_asked_for_with_their_neighbours_and_go_on_where_they_end() {
    let (deribit, markets) = (deribit(), markets());
    let symbol: Symbol = "BTC/USD:BTC".parse().unwrap();
    let hole = TradeHole { from_id: 100, to_id: 1_300, ts_before: UnixNanos::from_secs(1) };
    let at = deribit.trades_begin(&hole);
    assert_eq!(at, TradeCursor::Id(100));
    let request = deribit.trades_request(&symbol, at, u32::MAX, &markets);
    assert_eq!(
        (request.path_and_query.as_str(), request.subject.as_str(), request.weight),
        (
            "/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&start_seq=99&end_seq=1098&count=1000&sorting=asc",
            "trades BTC/USD:BTC 100",
            1
        )
    );
    let next = |at, limit, page: &str| deribit.trades_next(&hole, at, limit, page.as_bytes());
    assert_eq!(next(at, u32::MAX, &page(99..=1_098, true)).unwrap(), Some(TradeCursor::Id(1_098)));
    // It held less than was asked for, and says that there is more.
    assert_eq!(next(at, u32::MAX, &page(99..=598, true)).unwrap(), Some(TradeCursor::Id(599)));
    assert_eq!(next(at, u32::MAX, &page(99..=598, false)).unwrap(), Some(TradeCursor::Id(1_098)));
    assert_eq!(next(at, u32::MAX, &page([], true)).unwrap(), Some(TradeCursor::Id(1_098)));
    assert_eq!(next(TradeCursor::Id(1_098), u32::MAX, &page(1_097..=1_301, false)).unwrap(), None);
    let refused = next(at, 1, r#"{"error":{"code":13020,"message":"not_found"}}"#).unwrap_err();
    assert_eq!(refused.to_string(), "deribit refuses the request: not_found (13020)");
    assert!(!refused.is_worth_retrying());
    let busy = next(at, 1, r#"{"error":{"code":11051,"message":"system_maintenance"}}"#).unwrap_err();
    assert_eq!(busy.to_string(), "deribit can't answer now: system_maintenance (11051)");
}

#[test]
fn a_book_follows_its_numbers_and_begins_anew_where_they_break() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(1, &book(Some(5), 6, "99x1", "")).expect("");
    scene.frame(1, &book(None, 7, "+99.5x10.0 +98x20.0", "+101x1e1")).expect(
        "bid 99.5x10.0 u7 t7 e1 Sf
         bid 98x20.0 u7 t7 e1 S
         ask 101x10 u7 t7 e1 Sl
         valid e1",
    );
    scene.frame(1, &book(Some(7), 11, "-98 99.5x30.0", "+100x5.0")).expect(
        "bid 98x0.0 u11 t11 e1 f
         bid 99.5x30.0 u11 t11 e1
         ask 100x5.0 u11 t11 e1 l",
    );
    // The same again, and a whole book that says what is known: nothing.
    scene.frame(1, &book(Some(7), 11, "-98 99.5x30.0", "+100x5.0"));
    scene.frame(1, &book(None, 11, "+99.5x30.0", "+100x5.0 +101x10.0")).expect("");
    // One is missing.
    scene.frame(1, &book(Some(12), 13, "99.5x1.0", "")).expect("suspect e1\nwant resubscribe BTC/USD:BTC on 1");
    scene.frame(1, &book(Some(13), 14, "99.5x2.0", "")).expect("");
    scene.restored().frame(1, &book(None, 15, "+99.5x2.0", "+100x5.0")).expect(
        "gap 11..15 sequence
         bid 99.5x2.0 u15 t15 e2 SfG
         ask 100x5.0 u15 t15 e2 Sl
         valid e2",
    );
    // One from before: numbers may have begun anew, so nothing is taken for granted.
    scene.frame(1, &book(Some(7), 11, "99.5x9.0", "")).expect("suspect e2\nwant resubscribe BTC/USD:BTC on 1");
    scene.frame(1, &book(None, 20, "+99x1.0", "")).skip();
    // A whole book that nobody asked for, and a change before which there was nothing: an epoch with a gap.
    scene.frame(1, &book(None, 25, "+98x1.0", "")).expect(
        "gap 20..25 sequence
         bid 98x1.0 u25 t25 e4 SflG
         valid e4",
    );
    scene.frame(1, &book(Some(0), 30, "+97x1.0", "")).expect(
        "gap 25..30 sequence
         bid 97x1.0 u30 t30 e5 SflG
         valid e5",
    );
    assert_eq!(scene.session.feed_status(0).last_id, Some(30));
    // Of old they had no type.
    let old = book(Some(30), 31, "97x2.0", "").replace(r#""type":"change","#, "");
    scene.frame(1, &old).expect("bid 97x2.0 u31 t31 e5 fl");
}

#[test]
fn a_market_without_orders_begins_with_an_empty_book() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(1, &book(None, 0, "", "")).expect("valid e1");
    scene.frame(1, &book(Some(0), 4, "+99x1.0", "")).expect("bid 99x1.0 u4 t4 e1 fl");
    scene.frame(1, &book(Some(4), 5, "-99", "")).expect("bid 99x0.0 u5 t5 e1 fl");
}

#[test]
fn a_change_that_contradicts_the_book_is_not_given_out() {
    for (bids, asks, is_wrong) in [
        ("-97", "", true),
        ("97x1.0", "", true),
        ("", "103x1.0", true),
        ("+101x1.0", "", true),
        ("", "+99x1.0", true),
        // It says what is there now, whatever was before.
        ("+99x4.0", "", false),
        ("-99", "-101 +99x1.0", false),
    ] {
        let mut scene = Scene::of(&["book"]);
        scene.frame(1, &book(None, 1, "+99x1.0 +98x2.0", "+101x1.0 +102x1.0")).skip();
        scene.frame(1, &book(Some(1), 2, bids, asks));
        if is_wrong {
            scene.expect("suspect e1\nwant resubscribe BTC/USD:BTC on 1");
            scene.frame(1, &book(None, 3, "+99x1.0", "+101x1.0")).expect(
                "gap 1..3 integrity
                 bid 99x1.0 u3 t3 e2 SfG
                 ask 101x1.0 u3 t3 e2 Sl
                 valid e2",
            );
        }
        assert_eq!(scene.session.feed_status(0).book, Some(dccd_model::BookState::Valid), "{bids} {asks}");
        assert_eq!(scene.session.feed_status(0).epoch, if is_wrong { 2 } else { 1 }, "{bids} {asks}");
    }
    let mut scene = Scene::of(&["book"]);
    scene.frame(1, &book(None, 1, "+102x1.0", "+101x1.0")).expect("want resubscribe BTC/USD:BTC on 1");
}

#[test]
fn what_cant_be_read_shows_with_the_next_message() {
    let mut scene = Scene::of(&["book", "trades", "quotes"]);
    scene.frame(1, &book(None, 1, "+99x1.0", "")).frame(1, &trades(&[5])).frame(1, &quote(1, "99x1.0", "101x2.0")).skip();
    let wrong = [
        book(Some(1), 2, "+98x0.0", ""),
        book(Some(1), 2, "-99", "").replace("0.0", "1.0"),
        book(Some(1), 2, "+98x-1.0", ""),
        book(Some(1), 2, "99x2.0", "").replace("change\",99", "altered\",99"),
        book(Some(1), 2, "99x2.0", "").replace(r#""type":"change""#, r#""type":"chance""#),
        book(Some(1), 2, "99x2.0", "").replace(r#""prev_change_id":1,"#, ""),
        book(Some(1), 2, "99x2.0", "").replace(r#""change_id":2,"#, ""),
        book(Some(1), 2, "99x2.0", "").replace(r#","asks":[]"#, ""),
        book(Some(1), 2, "99x2.0", "").replace("\"BTC-PERPETUAL\"", "\"ETH-PERPETUAL\""),
        trades(&[6]).replace("\"trade_seq\":6", "\"trade_seq\":-6"),
        trades(&[6]).replace("\"BTC-PERPETUAL\"", "\"ETH-PERPETUAL\""),
        trades(&[6]).replace(r#""price":100.5,"#, ""),
        notice("trades.BTC-PERPETUAL.100ms", "{}"),
        notice("book.BTC-PERPETUAL.100ms", "null"),
        quote(2, "99x1.0", "101x3.0").replace(r#""timestamp":2,"#, ""),
        r#"{"method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms"}}"#.to_owned(),
        r#"{"method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms"}}"#.to_owned(),
        r#"{"method":"subscription","params":{"data":[]}}"#.to_owned(),
        r#"{"method":"subscription"}"#.to_owned(),
        "pong".to_owned(),
        "[1,2]".to_owned(),
        String::new(),
    ];
    for (count, frame) in wrong.iter().enumerate() {
        scene.frame(1, frame);
        assert_eq!(scene.session.counters().unreadable, count as u64 + 1, "{frame}");
    }
    scene.skip().frame(1, &book(Some(2), 3, "99x2.0", "")).expect("suspect e1\nwant resubscribe BTC/USD:BTC on 1");
    scene.frame(1, &trades(&[7])).expect(
        "gap 5..7 unreadable 6-6
         want trades BTC/USD:BTC 6-6
         trade 7 100.5x20.0 Sell flG e0",
    );
    scene.frame(1, &quote(3, "99x1.0", "101x4.0")).expect("gap 1..3 unreadable\nquote 99x1.0 101x4.0 flG");
}

#[test]
fn quotes_are_records_where_they_change_and_an_empty_side_is_zero() {
    let mut scene = Scene::of(&["quotes"]);
    scene
        .frame(1, &quote(5, "99.5x10.0", "100x20"))
        .frame(1, &quote(6, "99.5x10.0", "100x20"))
        .expect("quote 99.5x10.0 100x20 fl");
    scene.frame(1, &quote(7, "nullxnull", "100.0x20.0")).expect("quote 0x0 100.0x20.0 fl");
    scene.frame(1, &quote(8, "0.0x0.0", "100.0x20.0")).expect("");
}

#[test]
fn signs_of_life_are_asked_for_and_given() {
    let deribit = deribit();
    assert_eq!(
        deribit.greeting(7).unwrap(),
        r#"{"id":7,"jsonrpc":"2.0","method":"public/set_heartbeat","params":{"interval":10}}"#
    );
    assert_eq!(deribit.pong(8).unwrap(), r#"{"id":8,"jsonrpc":"2.0","method":"public/test","params":{}}"#);
    let mut scene = Scene::of(&["trades"]);
    scene
        .frame(1, r#"{"jsonrpc":"2.0","id":7,"result":"ok","usIn":1,"testnet":false}"#)
        .expect("notice Ack { conn: 1, id: 7 }");
    scene.frame(1, r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}"#).expect("");
    scene.frame(1, r#"{"params":{"type":"test_request"},"method":"heartbeat","jsonrpc":"2.0"}"#).expect("want pong on 1");
    scene.frame(2, r#"{"jsonrpc":"2.0","id":8,"result":{"version":"1.2.26"}}"#).expect("notice Ack { conn: 2, id: 8 }");
    assert_eq!(scene.session.outstanding(), []);
}

#[test]
fn what_the_exchange_refuses_is_told() {
    let mut scene = Scene::of(&["trades", "book", "quotes"]);
    scene
        .frame(1, r#"{"jsonrpc":"2.0","id":3,"error":{"message":"bad_request","code":11050,"data":{"reason":"x"}}}"#)
        .expect(r#"notice ErrorReply { conn: 1, id: Some(3), code: 11050, message: "bad_request" }"#);
    scene
        .frame(1, r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}"#)
        .expect(r#"notice ErrorReply { conn: 1, id: None, code: -32700, message: "Parse error" }"#);
    // Of what was asked for it names what it sends.
    let named = r#"{"jsonrpc":"2.0","id":4,"result":["quote.BTC-PERPETUAL","trades.BTC-PERPETUAL.100ms","quote.X","ticker.BTC-PERPETUAL.100ms"],"usIn":1}"#;
    scene.frame(1, named).expect("notice Subscribed { conn: 1, id: 4, feeds: [2, 0] }");
    scene.frame(1, r#"{"id":5,"result":[]}"#).expect("notice Subscribed { conn: 1, id: 5, feeds: [] }");
    scene.frame(1, r#"{"id":6,"result":[{"a":1}]}"#).expect("notice Ack { conn: 1, id: 6 }");
    // Others that are not used.
    scene.frame(1, &notice("ticker.BTC-PERPETUAL.100ms", r#"{"a":1}"#)).frame(1, r#"{"a":[]}"#);
    scene.frame(1, &notice("book.BTC-PERPETUAL.none.10.100ms", r#"{"bids":[]}"#)).frame(1, r#"{"method":"x","params":[]}"#);
    scene.expect(&"notice UnknownMessage { conn: 1 }\n".repeat(4));
    scene.frame(1, &notice("quote.ETH-PERPETUAL", &quote_data())).expect("notice Unrouted { conn: 1 }");
    assert_eq!((scene.session.counters().unknown, scene.session.counters().error_replies), (4, 2));
}

#[test]
fn a_maintenance_is_told_and_a_connection_from_before_it_is_replaced_when_it_ends() {
    let mut scene = Scene::of(&["trades"]);
    let state = |data: &str| notice("platform_state", data);
    scene.frame(1, &state(r#"{"maintenance":true}"#)).restored();
    scene.expect("notice Venue { conn: 1, is_open: false, words: \"maintenance\" }");
    scene.frame(1, &state(r#"{"maintenance":false}"#));
    scene.expect("notice Venue { conn: 1, is_open: true, words: \"operative\" }\nwant replace 1");
    // Of what is locked the exchange tells one by one.
    let lock = |index: &str, locked: bool| state(&format!(r#"{{"price_index":"{index}","locked":{locked}}}"#));
    scene.frame(1, &lock("sol_usdc", true)).frame(1, &lock("btc_usd", true)).frame(1, &lock("btc_usd", false));
    scene.expect(
        "notice Venue { conn: 1, is_open: false, words: \"a lock of sol_usdc\" }
         notice Venue { conn: 1, is_open: false, words: \"a lock of btc_usd\" }
         notice Venue { conn: 1, is_open: false, words: \"a lock of sol_usdc\" }",
    );
    // A connection that is new is told nothing of it: that it can be subscribed says that it is over.
    let subscribed = r#"{"id":4,"result":["trades.BTC-PERPETUAL.100ms","platform_state"]}"#;
    scene.entry(EntryKind::Opened, 2, "", b"").frame(2, subscribed).frame(2, subscribed).expect(
        "notice Subscribed { conn: 2, id: 4, feeds: [0] }
         notice Venue { conn: 2, is_open: true, words: \"operative\" }
         notice Subscribed { conn: 2, id: 4, feeds: [0] }",
    );
    scene.frame(2, &lock("sol_usdc", false)).expect("notice Venue { conn: 2, is_open: true, words: \"operative\" }");
    scene.frame(1, &lock("sol_usdc", false));
    scene.expect("notice Venue { conn: 1, is_open: true, words: \"operative\" }\nwant replace 1");
    scene.frame(1, &state(r#"{"other":1}"#)).expect("notice UnknownMessage { conn: 1 }");
    scene.frame(1, &state("7")).expect("notice unreadable on 1: not a readable message: expected an object at byte 85");
}

fn quote_data() -> String {
    r#"{"timestamp":1,"best_bid_price":1.0,"best_bid_amount":1.0,"best_ask_price":2.0,"best_ask_amount":1.0}"#.to_owned()
}

#[test]
fn keys_may_come_in_any_order() {
    let mut scene = Scene::of(&["trades", "book"]);
    scene.frame(
        1,
        r#"{"params":{"data":[{"trade_seq":3,"timestamp":4,"price":100,"direction":"buy","amount":1.5}],"channel":"trades.BTC-PERPETUAL.raw"},"method":"subscription"}"#,
    );
    scene.frame(1, &format!(
        r#"{{"method":"subscription","params":{{"data":{{"asks":[],"bids":[{}],"change_id":9,"timestamp":9}},"channel":"book.BTC-PERPETUAL.raw"}},"new":{{}}}}"#,
        levels("+99x1.0")
    ));
    scene.expect(
        "trade 3 100x1.5 Buy fl e0
         bid 99x1.0 u9 t9 e1 Sfl
         valid e1",
    );
}

#[test]
fn what_goes_out_names_the_exchanges_channels() {
    let (deribit, markets) = (deribit(), markets());
    let feeds: Vec<(Symbol, Channel)> = [
        ("BTC/USD:BTC", Channel::Book),
        ("BTC/USDC:USDC", Channel::Ohlc),
        ("BTC/USD:BTC-261225", Channel::Trades),
        ("BTC/USDC", Channel::Quotes),
    ]
    .map(|(symbol, channel)| (symbol.parse().unwrap(), channel))
    .to_vec();
    let on = deribit.subscribe(&feeds, &markets, 7);
    assert_eq!((on.len(), on[0].id, on[0].feeds.as_slice()), (1, 7, [0, 2, 3].as_slice()));
    assert_eq!(
        on[0].text,
        r#"{"id":7,"jsonrpc":"2.0","method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms","trades.BTC-25DEC26.100ms","quote.BTC_USDC","platform_state"]}}"#
    );
    let off = deribit.unsubscribe(&feeds[..1], &markets, 9);
    assert_eq!(
        off[0].text,
        r#"{"id":9,"jsonrpc":"2.0","method":"public/unsubscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}"#
    );
    assert_eq!(deribit.connect_url("wss://www.deribit.com/"), "wss://www.deribit.com/ws/api/v2");
}
