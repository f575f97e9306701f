//! A KuCoin session, scene by scene: trades whose ids don't count, quotes that are whole, books that are numbered and come on a
//! socket of their own.

mod support;

use dccd_exchange::{HistoryError, RestRequest, Want};
use dccd_model::{BookState, Channel, Symbol, UnixNanos};
use support::kucoin::{Scene, book, kucoin, markets, page, quote, trade};

#[test]
fn an_outage_of_trades_is_made_good_by_the_newest_ones_where_they_reach_over_it() {
    let mut scene = Scene::of(&["trades"]);
    scene.frame(1, &trade(1_000)).frame(1, &trade(2_000)).frame(1, &trade(2_000)).skip().closed(1);
    scene.opened(9, "classic").frame(9, &trade(5_000)).frame(9, &trade(5_001)).expect(
        "gap 2000..5000 disconnected
         want trades BTC/USDT 2000-2000
         trade 5000 100.10x2 Sell flG e0
         trade 5001 100.10x2 Sell fl e0",
    );
    let want = Want::Trades {
        feed: 0,
        symbol: "BTC/USDT".parse().unwrap(),
        from_id: 2_000,
        to_id: 2_000,
        ts_before: UnixNanos::from_millis(2_000),
    };
    assert_eq!(scene.session.outstanding(), std::slice::from_ref(&want));
    // Refused, unreadable, or older than the gap's end: it is still to be had.
    scene.answer(r#"{"code":"429000","msg":"Too Many Requests"}"#).expect(
        "notice ErrorReply { conn: 0, id: None, code: 0, message: \"kucoin says that it is asked too often: Too Many Requests (429000)\" }",
    );
    scene.answer("<html>").answer(r#"{"code":"200000"}"#).answer(r#"{"data":[]}"#).skip();
    scene.answer(&page(1_500..=1_599)).expect("");
    assert_eq!(scene.session.outstanding(), [want]);
    scene.restored().answer(&page([1_999, 2_000, 3_000, 4_000, 5_000, 5_001, 6_000].into_iter())).expect(
        "trade 3000 100.10x2 Sell fl e0
         trade 4000 100.10x2 Sell fl e0
         gap 2000..5000 disconnected repaired",
    );
    assert_eq!((scene.session.outstanding(), scene.session.feed_status(0).open_gaps), (vec![], 0));
    // A full page that begins within the outage: what it has is taken, and the gap stays.
    scene.closed(9).opened(10, "classic").frame(10, &trade(9_999)).skip().answer(&page(9_900..=9_999));
    assert_eq!(scene.session.outstanding(), []);
    let status = scene.session.feed_status(0);
    assert_eq!((status.gaps, status.repaired, status.records), (2, 1, 7 + 99));
}

#[test]
fn a_book_follows_its_numbers_and_begins_anew_where_they_break() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(2, &book("delta", 5, 6, r#"["99","1"]"#, "")).expect("");
    scene.frame(2, &book("snapshot", 7, 7, r#"["99","1"],["98","2"]"#, r#"["101","1"]"#)).expect(
        "bid 99x1 u7 t7 e1 Sf
         bid 98x2 u7 t7 e1 S
         ask 101x1 u7 t7 e1 Sl
         valid e1",
    );
    scene.frame(2, &book("delta", 8, 10, r#"["98","0"]"#, r#"["100","3"]"#)).expect(
        "bid 98x0 u10 t10 e1 f
         ask 100x3 u10 t10 e1 l",
    );
    // The same again, and a snapshot that says what is known: nothing.
    scene.frame(2, &book("delta", 8, 10, r#"["98","0"]"#, r#"["100","3"]"#));
    scene.frame(2, &book("snapshot", 10, 10, r#"["99","1"]"#, r#"["100","3"],["101","1"]"#)).expect("");
    assert_eq!(scene.session.feed_status(0).duplicates, 2);
    // One that begins before the end and reaches past it says all the same what is now.
    scene.frame(2, &book("delta", 9, 11, r#"["99","2"]"#, "")).expect("bid 99x2 u11 t11 e1 fl");
    // The start is checked, too: what ends right after a hole is none that follows.
    scene.frame(2, &book("delta", 13, 14, r#"["99","5"]"#, "")).expect("suspect e1\nwant resubscribe BTC/USDT on 2");
    scene.frame(2, &book("delta", 15, 15, r#"["99","6"]"#, "")).expect("");
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Suspect));
    scene.frame(2, &book("snapshot", 20, 20, r#"["99","6"]"#, r#"["100","3"]"#)).expect(
        "gap 11..20 sequence
         bid 99x6 u20 t20 e2 SfG
         ask 100x3 u20 t20 e2 Sl
         valid e2",
    );
}

#[test]
fn numbers_that_begin_anew_are_no_old_ones() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(2, &book("snapshot", 700, 700, r#"["99","1"]"#, r#"["101","1"]"#)).skip();
    scene.frame(2, &book("delta", 1, 2, r#"["99","2"]"#, "")).expect("suspect e1\nwant resubscribe BTC/USDT on 2");
    scene.frame(2, &book("snapshot", 5, 5, r#"["97","1"]"#, r#"["100","1"]"#)).skip();
    // One that nobody asked for, higher or lower.
    scene.frame(2, &book("snapshot", 9, 9, r#"["96","1"]"#, r#"["100","1"]"#)).expect(
        "gap 5..9 sequence
         bid 96x1 u9 t9 e3 SfG
         ask 100x1 u9 t9 e3 Sl
         valid e3",
    );
}

#[test]
fn a_book_that_cant_be_is_not_given_out() {
    let begin = || {
        let mut scene = Scene::of(&["book"]);
        scene.frame(2, &book("snapshot", 1, 1, r#"["99","1"],["98","2"]"#, r#"["101","1"],["102","1"]"#)).skip();
        scene
    };
    for (bids, asks) in [(r#"["101","1"]"#, ""), (r#"["101.5","1"]"#, ""), ("", r#"["98.5","1"]"#)] {
        begin().frame(2, &book("delta", 2, 2, bids, asks)).expect("suspect e1\nwant resubscribe BTC/USDT on 2");
    }
    // More levels than the exchange ever has, at once or one by one.
    let many: Vec<String> = (0..=1_000).map(|i| format!(r#"["{}","1"]"#, 90_000 - i)).collect();
    begin().frame(2, &book("delta", 2, 2, &many.join(","), "")).expect("suspect e1\nwant resubscribe BTC/USDT on 2");
    let mut scene = Scene::of(&["book"]);
    scene.frame(2, &book("snapshot", 2, 2, &many.join(","), "")).expect("want resubscribe BTC/USDT on 2");
    // The end of a level that isn't there, and a price of zero: nothing changes by them.
    begin().frame(2, &book("delta", 2, 2, r#"["97","0"],["0","0"]"#, "")).expect("bid 97x0 u2 t2 e1 fl");
    begin()
        .frame(2, &book("delta", 2, 3, r#"["0","0"]"#, ""))
        .expect("")
        .frame(2, &book("delta", 4, 4, r#"["99","3"]"#, ""))
        .expect("bid 99x3 u4 t4 e1 fl");
}

#[test]
fn a_book_moves_to_another_connection_where_both_are_the_same() {
    let mut scene = Scene::of(&["book"]);
    scene.frame(2, &book("snapshot", 70, 70, r#"["99","1"]"#, r#"["101","1"]"#)).skip().opened(3, "pro");
    scene.frame(3, &book("snapshot", 70, 70, r#"["99","1"]"#, r#"["101","1"]"#)).expect("");
    scene.frame(3, &book("delta", 71, 80, r#"["99","2"]"#, "")).expect("bid 99x2 u80 t80 e1 fl");
    scene.frame(2, &book("delta", 71, 80, r#"["99","2"]"#, "")).closed(2).expect("");
    scene.restored().frame(3, &book("delta", 81, 90, r#"["99","3"]"#, "")).expect("bid 99x3 u90 t90 e1 fl");
    // Ahead, and grouped in another way: it takes over at the first number that both have.
    scene.opened(4, "pro").frame(4, &book("snapshot", 95, 95, r#"["99","4"]"#, r#"["101","1"]"#));
    scene.frame(3, &book("delta", 91, 93, r#"["98","1"]"#, "")).expect("bid 98x1 u93 t93 e1 fl");
    scene.frame(4, &book("delta", 96, 100, r#"["99","5"],["98","1"]"#, "")).expect("");
    scene.frame(3, &book("delta", 94, 100, r#"["99","5"]"#, "")).expect("bid 99x5 u100 t100 e1 fl");
    scene.closed(3).frame(4, &book("delta", 101, 120, r#"["99","6"]"#, "")).expect("bid 99x6 u120 t120 e1 fl");
    scene.closed(4).expect("syncing e1");
    // The classic socket's end is of no concern to a book.
    scene.opened(5, "pro").frame(5, &book("snapshot", 130, 130, r#"["99","6"]"#, "")).skip().closed(1).expect("");
}

#[test]
fn quotes_are_whole_and_come_once() {
    let mut scene = Scene::of(&["quotes"]);
    scene.frame(1, &quote(50, r#""99","1""#, r#""101","1""#)).expect("quote 99x1 101x1 fl");
    // Nothing changed.
    scene.frame(1, &quote(60, r#""99","1""#, r#""101","1""#)).expect("");
    scene.frame(1, &quote(70, "", r#""101","1""#)).expect("quote 0x0 101x1 fl");
    let half = r#"{"topic":"/spotMarket/level1:BTC-USDT","data":{"bids":["99","1"],"timestamp":75}}"#;
    scene.frame(1, half).expect("notice unreadable on 1: level1 message without \"asks\"");
    scene.frame(1, &quote(80, r#""97","1""#, "")).expect("gap 70..80 unreadable\nquote 97x1 0x0 flG");
    scene
        .closed(1)
        .opened(3, "classic")
        .frame(3, &quote(90, r#""96","1""#, ""))
        .expect("gap 80..90 disconnected\nquote 96x1 0x0 flG");
}

#[test]
fn a_frame_that_cant_be_read_is_of_its_own_feed() {
    let mut scene = Scene::of(&["trades", "quotes", "book"]);
    scene.frame(2, &book("snapshot", 1, 1, r#"["99","1"]"#, r#"["101","1"]"#)).frame(1, &trade(5)).skip();
    let cut = trade(6);
    scene.frame(1, &cut[..cut.len() - 1]).skip().frame(1, &trade(7)).expect(
        "gap 5..7 unreadable
         want trades BTC/USDT 5-5
         trade 7 100.10x2 Sell flG e0",
    );
    assert_eq!(scene.session.feed_status(2).book, Some(BookState::Valid));
    let cut = book("delta", 2, 2, r#"["99","2"]"#, "");
    scene.frame(2, &cut[..cut.len() - 1]).skip().frame(1, &trade(8)).expect("trade 8 100.10x2 Sell fl e0");
    assert_eq!(scene.session.feed_status(2).book, Some(BookState::Suspect));
    for (wrong, words) in [
        (book("delta", 3, 2, "", ""), "\"C\" of the obu message is out of its range"),
        (book("whole", 3, 3, "", ""), "\"t\" of the obu message is out of its range"),
        (book("delta", 3, 3, r#"["99"]"#, ""), "obu message without \"size\""),
        (book("delta", 3, 3, r#"["99","-1"]"#, ""), "\"size\" of the obu message is out of its range"),
        (book("delta", 3, 3, "", "").replace("\"M\"", "\"m\""), "obu message without \"M\""),
        (
            trade(9).replace(r#""symbol":"BTC-USDT""#, r#""symbol":"ETH-USDT""#),
            "\"symbol\" of the match message is out of its range",
        ),
        (
            trade(9).replace(r#""sequence":"9""#, r#""sequence":"0""#),
            "\"sequence\" of the match message is out of its range",
        ),
        (r#"{"topic":"/market/match:BTC-USDT"}"#.to_owned(), "message message without \"data\""),
    ] {
        let conn = if wrong.contains("topic") { 1 } else { 2 };
        // It may have been the snapshot that is waited for.
        let again = if words.contains("obu") { "\nwant resubscribe BTC/USDT on 2" } else { "" };
        scene.frame(conn, &wrong).expect(&format!("notice unreadable on {conn}: {words}{again}"));
    }
}

#[test]
fn replies_are_told_apart() {
    let mut scene = Scene::of(&["trades", "book"]);
    for alive in [
        r#"{"id":"hQvf8jkno","type":"welcome"}"#,
        r#"{"sessionId":"s","message":"welcome","pingInterval":18000,"pingTimeout":10000}"#,
        r#"{"id":"9","type":"pong","timestamp":1790113097236506}"#,
        r#"{"type":"pong","id":"9","ts":1790113111261396000}"#,
        r#"{"id":"x","type":"ack"}"#,
    ] {
        scene.frame(1, alive).expect("");
    }
    scene
        .frame(1, r#"{"id":"7","type":"ack"}"#)
        .frame(2, r#"{"id":"8","result":true}"#)
        .frame(2, r#"{"id":"8","result":"true"}"#);
    scene.frame(1, r#"{"id":"9","type":"error","code":404,"data":"topic does not exist"}"#);
    scene.frame(2, r#"{"id":"10","result":false,"message":"invalid request data"}"#);
    scene.frame(2, r#"{"id":"11","result":false,"reason":"symbols are not supported for topic obu"}"#);
    scene.frame(2, r#"{"id":"12","type":"error","code":"400100","msg":"invalid symbol","d":"details"}"#);
    scene.frame(
        1,
        r#"{"topic":"/market/ticker:BTC-USDT","type":"message","subject":"trade.ticker","data":{"sequence":"1"}}"#,
    );
    scene.frame(2, &book("snapshot", 1, 1, "", "").replace("increment@10ms", "50"));
    scene.frame(2, r#"{"T":"trade.SPOT","P":1,"d":{"s":"BTC-USDT"}}"#).frame(1, "{}").expect(
        "notice Ack { conn: 1, id: 7 }
         notice Ack { conn: 2, id: 8 }
         notice Ack { conn: 2, id: 8 }
         notice ErrorReply { conn: 1, id: Some(9), code: 404, message: \"topic does not exist\" }
         notice ErrorReply { conn: 2, id: Some(10), code: 0, message: \"invalid request data\" }
         notice ErrorReply { conn: 2, id: Some(11), code: 0, message: \"symbols are not supported for topic obu\" }
         notice ErrorReply { conn: 2, id: Some(12), code: 400100, message: \"invalid symbol\" }
         notice UnknownMessage { conn: 1 }
         notice UnknownMessage { conn: 2 }
         notice UnknownMessage { conn: 2 }
         notice UnknownMessage { conn: 1 }",
    );
    // Keys in another order mean the same; so it was in 2021.
    scene.frame(1, r#"{"data":{"symbol":"BTC-USDT","sequence":"3","side":"buy","size":"2","price":"1","time":"4","tradeId":"6085c09769bc506996295e36"},"subject":"trade.l3match","topic":"/market/match:BTC-USDT","type":"message"}"#);
    scene.expect("trade 3 1x2 Buy fl e0");
    scene.frame(2, r#"{"d":{"s":"BTC-USDT","O":5,"C":5,"M":6000000,"b":[["1","1"]],"a":[]},"P":1,"t":"snapshot","dp":"increment@10ms","T":"obu.spot"}"#);
    scene.expect("bid 1x1 u5 t6 e1 Sfl\nvalid e1");
    // Of a symbol that isn't open.
    scene.frame(2, &book("snapshot", 1, 1, "", "").replace("BTC-USDT", "ETH-USDT"));
    assert_eq!(scene.session.counters().unrouted, 1);
}

#[test]
fn messages_hold_as_many_symbols_as_a_connection_or_one_book() {
    let (kucoin, markets) = (kucoin(), markets());
    let feed = |symbol: &str, channel| (symbol.parse::<Symbol>().unwrap(), channel);
    let feeds = [
        feed("BTC/USDT", Channel::Book),
        feed("BTC/USDT", Channel::Trades),
        feed("GALAX/USDT", Channel::Quotes),
        feed("BTC/USDT", Channel::Ohlc),
        feed("ETH/USDT", Channel::Trades),
    ];
    let messages = kucoin.subscribe(&feeds, &markets, 5);
    let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
    let expected = [
        r#"{"id":"5","response":true,"topic":"/market/match:BTC-USDT,ETH-USDT","type":"subscribe"}"#,
        r#"{"id":"6","response":true,"topic":"/spotMarket/level1:GALAX-USDT","type":"subscribe"}"#,
        r#"{"action":"subscribe","channel":"obu","depth":"increment@10ms","id":"7","symbol":"BTC-USDT","tradeType":"SPOT"}"#,
    ];
    assert_eq!(texts, expected);
    assert_eq!(messages.iter().map(|message| message.feeds.clone()).collect::<Vec<_>>(), [vec![1, 4], vec![2], vec![0]]);
    let text = &kucoin.unsubscribe(&feeds[..1], &markets, 7)[0].text;
    assert!(text.contains(r#""action":"unsubscribe""#) && text.contains(r#""channel":"obu""#), "{text}");
    let many = |channel| (0..250).map(|i| feed(&format!("C{i}/USDT"), channel)).collect::<Vec<_>>();
    let sizes = |channel| kucoin.subscribe(&many(channel), &markets, 1).iter().map(|m| m.feeds.len()).collect::<Vec<_>>();
    assert_eq!((sizes(Channel::Quotes), sizes(Channel::Book).len()), (vec![30, 30, 30, 30, 30, 30, 30, 30, 10], 250));
    let sockets = [Channel::Trades, Channel::Quotes, Channel::Book].map(|channel| kucoin.socket_of(&feeds[0].0, channel));
    assert_eq!(sockets, [0, 0, 1]);
    assert_eq!(kucoin.socket_url(1, kucoin.ws_url()), "wss://x-push-spot.kucoin.com/");
    assert_eq!(kucoin.socket_url(0, kucoin.ws_url()), "wss://ws-api-spot.kucoin.com/endpoint");
    assert_eq!(kucoin.ping(3).unwrap(), r#"{"id":"3","type":"ping"}"#);
    let trades = kucoin.trades_request(&feeds[0].0, dccd_exchange::TradeCursor::Id(1), 5, &markets);
    let path_and_query = "/api/v1/market/histories?symbol=BTC-USDT".to_owned();
    let subject = format!("trades BTC/USDT since {}", UnixNanos::UNKNOWN.as_millis());
    assert_eq!(trades, RestRequest { product: dccd_exchange::Product::Spot, path_and_query, weight: 3, subject });
}

#[test]
fn only_the_classic_socket_wants_a_ticket_and_the_ticket_says_where_it_is() {
    let kucoin = kucoin();
    assert_eq!(kucoin.ticket_request(1), None);
    let request = kucoin.ticket_request(0).unwrap();
    assert_eq!((request.path_and_query.as_str(), request.weight), ("/api/v1/bullet-public", 10));
    let url = |base: Option<&str>, endpoint: &str, token: &str| {
        let body = format!(
            r#"{{"code":"200000","data":{{"token":"{token}","instanceServers":[{{"endpoint":"socks://x/","protocol":"other"}},{{"endpoint":"{endpoint}","encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}}]}}}}"#
        );
        kucoin.ticket_url(0, base, body.as_bytes())
    };
    for (base, endpoint, expected) in [
        (None, "wss://ws-api-spot.kucoin.com/", "wss://ws-api-spot.kucoin.com/?token=a%3D"),
        (None, "wss://push1.kucoin.com/endpoint", "wss://push1.kucoin.com/endpoint?token=a%3D"),
        (None, "ws://host:80?x=1", "ws://host:80/?x=1&token=a%3D"),
        // What is configured wins over the host in the answer; the path remains.
        (Some("ws://127.0.0.1:9/"), "wss://push1.kucoin.com/endpoint", "ws://127.0.0.1:9/endpoint?token=a%3D"),
        (Some("wss://proxy/kucoin"), "wss://push1.kucoin.com", "wss://proxy/kucoin/?token=a%3D"),
    ] {
        assert_eq!(url(base, endpoint, "a=").unwrap(), expected);
    }
    for (endpoint, token) in [("https://x/", "a"), ("wss:///path", "a"), ("x", "a"), ("wss://x/", "")] {
        assert!(matches!(url(None, endpoint, token), Err(HistoryError::Unreadable { subject: "ticket", .. })), "{endpoint}");
    }
    let read = |body: &str| kucoin.ticket_url(0, None, body.as_bytes()).unwrap_err();
    assert!(matches!(read(r#"{"code":"429000","msg":"Too Many Requests"}"#), HistoryError::RateLimited { .. }));
    assert!(matches!(read(r#"{"code":"500000","msg":"Internal"}"#), HistoryError::Unavailable { .. }));
    assert!(matches!(read(r#"{"code":"400100","msg":"no"}"#), HistoryError::Refused { .. }));
    for body in ["", "[]", r#"{"code":"200000"}"#, r#"{"code":"200000","data":{"token":"a","instanceServers":[]}}"#] {
        assert!(matches!(read(body), HistoryError::Unreadable { .. }), "{body}");
    }
}
