//! A Bybit session, scene by scene: two sockets with the same names, trades whose ids don't count, books that are numbered, quotes
//! that are whole.

mod support;

use dccd_exchange::{Product, RESYNC_SILENT, RestRequest, Want, resync_since};
use dccd_model::{Channel, EntryKind, SeriesEnd, Symbol, TradeId, UnixNanos};
use support::bybit::{Scene, book, book_with, bybit, markets, page, trades};

const SPOT: &str = "BTC/USDT";
const LINEAR: &str = "BTC/USDT:USDT";

#[test]
fn the_same_names_on_two_sockets_are_two_markets() {
    let mut scene = Scene::of(&["BTC/USDT trades", "BTC/USDT:USDT trades"]);
    scene.frame(1, &trades(false, &[5])).frame(2, &trades(true, &[6])).expect(
        "trade 5 100.10x2 Sell fl e0
         trade 6 100.10x2 Sell fl e0",
    );
    // It knows so after it was restored, too, and forgets it with the connection.
    scene.restored().frame(2, &trades(true, &[7])).expect("trade 7 100.10x2 Sell fl e0");
    assert_eq!((scene.session.feed_status(0).records, scene.session.feed_status(1).records), (1, 2));
    scene.closed(2).opened(2, "spot").frame(2, &trades(false, &[8])).expect("trade 8 100.10x2 Sell fl e0");
    assert_eq!((scene.session.feed_status(0).records, scene.session.feed_status(1).records), (2, 2));
}

#[test]
fn an_outage_of_trades_is_made_good_by_the_newest_ones_where_they_reach_over_it() {
    for (conn, symbol, wide, full) in [(1, SPOT, false, 60), (2, LINEAR, true, 1_000)] {
        let feed = format!("{symbol} trades");
        let mut scene = Scene::of(&[&feed]);
        scene.frame(conn, &trades(wide, &[1_000, 2_000, 2_000])).skip().closed(conn);
        scene.opened(9, if conn == 1 { "spot" } else { "linear" }).frame(9, &trades(wide, &[5_000, 5_001])).expect(
            &format!(
                "gap 2000..5000 disconnected
             want trades {symbol} 2000-2000
             trade 5000 100.10x2 Sell flG e0
             trade 5001 100.10x2 Sell fl e0"
            ),
        );
        let want = Want::Trades {
            feed: 0,
            symbol: symbol.parse().unwrap(),
            from_id: 2_000,
            to_id: 2_000,
            ts_before: dccd_model::UnixNanos::from_millis(2_000),
        };
        assert_eq!(scene.session.outstanding(), std::slice::from_ref(&want));
        // Refused, unreadable, or older than the gap's end: it is still to be had.
        scene.answer(symbol, r#"{"retCode":10006,"retMsg":"Too many visits."}"#);
        scene.answer(symbol, "<html>").answer(symbol, r#"{"retCode":0,"retMsg":"OK","result":{}}"#).skip();
        scene.answer(symbol, &page(wide, 1_500..=1_600)).expect("");
        assert_eq!(scene.session.outstanding(), [want]);
        scene.restored().answer(symbol, &page(wide, [1_999, 2_000, 3_000, 4_000, 5_000, 5_001, 6_000].into_iter())).expect(
            "trade 3000 100.10x2 Sell fl e0
             trade 4000 100.10x2 Sell fl e0
             gap 2000..5000 disconnected repaired",
        );
        assert_eq!((scene.session.outstanding(), scene.session.feed_status(0).open_gaps), (vec![], 0));
        scene
            .answer(symbol, &page(wide, 1_000..=7_000))
            .frame(9, &trades(wide, &[6_000]))
            .expect("trade 6000 100.10x2 Sell fl e0");
        // A full page that begins within the outage: what it has is taken, and the gap stays.
        scene.closed(9).opened(10, if conn == 1 { "spot" } else { "linear" }).frame(10, &trades(wide, &[9_999])).skip();
        scene.answer(symbol, &page(wide, 10_000 - full..=9_999));
        assert_eq!(scene.session.outstanding(), []);
        let status = scene.session.feed_status(0);
        assert_eq!((status.gaps, status.repaired, status.records), (2, 1, 8 + full - 1));
    }
}

#[test]
fn a_book_follows_its_numbers_and_begins_anew_where_they_break() {
    let mut scene = Scene::of(&["BTC/USDT book"]);
    scene.frame(1, &book(50, "delta", 6, r#"["99","1"]"#, "")).expect("");
    scene.frame(1, &book(50, "snapshot", 7, r#"["99","1"],["98","2"]"#, r#"["101","1"]"#)).expect(
        "bid 99x1 u70 t70 e1 Sf
         bid 98x2 u70 t70 e1 S
         ask 101x1 u70 t70 e1 Sl
         valid e1",
    );
    scene.frame(1, &book(50, "delta", 8, r#"["98","0"]"#, r#"["100","3"]"#)).expect(
        "bid 98x0 u80 t80 e1 f
         ask 100x3 u80 t80 e1 l",
    );
    // The same again, the past, and a snapshot that says what is known: nothing.
    scene.frame(1, &book(50, "delta", 8, r#"["98","0"]"#, r#"["100","3"]"#));
    scene.frame(1, &book(50, "snapshot", 8, r#"["99","1"]"#, r#"["100","3"],["101","1"]"#)).expect("");
    scene.frame(1, &book(50, "delta", 10, r#"["99","5"]"#, "")).expect("suspect e1\nwant resubscribe BTC/USDT on 1");
    scene.frame(1, &book(50, "delta", 11, r#"["99","6"]"#, "")).expect("");
    scene.frame(1, &book(50, "snapshot", 15, r#"["99","6"]"#, r#"["100","3"]"#)).expect(
        "gap 80..150 sequence
         bid 99x6 u150 t150 e2 SfG
         ask 100x3 u150 t150 e2 Sl
         valid e2",
    );
    // The exchange's service began anew.
    scene.frame(1, &book_with(50, "delta", 1, 160, r#"["97","1"]"#, r#"["100","1"]"#)).expect(
        "gap 150..160 sequence
         bid 97x1 u160 t160 e3 SfG
         ask 100x1 u160 t160 e3 Sl
         valid e3",
    );
    assert_eq!(scene.session.feed_status(0).last_id, Some(160));
}

#[test]
fn a_change_that_no_book_can_go_through_is_not_given_out() {
    let begin = || {
        let mut scene = Scene::of(&["BTC/USDT book"]);
        scene.frame(1, &book(2, "snapshot", 1, r#"["99","1"],["98","2"]"#, r#"["101","1"],["102","1"]"#)).skip();
        scene
    };
    for (bids, asks, seq) in [
        // Ends a level that wasn't there, has one too many, crosses, goes back in time.
        (r#"["97","0"]"#, "", 20),
        (r#"["97","1"]"#, "", 20),
        (r#"["101","1"],["98","0"]"#, "", 20),
        ("", r#"["99","1"],["102","0"]"#, 20),
        (r#"["99","2"]"#, "", 10),
    ] {
        let mut scene = begin();
        scene.frame(1, &book_with(2, "delta", 2, seq, bids, asks)).expect("suspect e1\nwant resubscribe BTC/USDT on 1");
    }
    let mut scene = begin();
    scene
        .frame(1, &book(2, "delta", 2, r#"["97","1"],["98","0"]"#, ""))
        .expect("bid 97x1 u20 t20 e1 f\nbid 98x0 u20 t20 e1 l");
}

#[test]
fn a_book_moves_to_another_connection_whose_numbers_are_its_own() {
    let mut scene = Scene::of(&["BTC/USDT:USDT book"]);
    scene.frame(2, &book_with(50, "snapshot", 7, 70, r#"["99","1"]"#, r#"["101","1"]"#)).skip().opened(3, "linear");
    scene.frame(3, &book_with(50, "snapshot", 501, 70, r#"["99","1"]"#, r#"["101","1"]"#)).expect("");
    scene.frame(3, &book_with(50, "delta", 502, 80, r#"["99","2"]"#, "")).expect("bid 99x2 u80 t80 e1 fl");
    scene.frame(2, &book_with(50, "delta", 8, 80, r#"["99","2"]"#, "")).closed(2).expect("");
    scene.restored().frame(3, &book_with(50, "delta", 503, 90, r#"["99","3"]"#, "")).expect("bid 99x3 u90 t90 e1 fl");
    // Ahead, and by chance at the same levels: what is between comes from the one that is followed.
    scene.opened(4, "linear").frame(4, &book_with(50, "snapshot", 9, 110, r#"["99","3"]"#, r#"["101","1"]"#));
    scene.frame(3, &book_with(50, "delta", 504, 100, r#"["99","4"]"#, "")).expect("bid 99x4 u100 t100 e1 fl");
    scene.frame(3, &book_with(50, "delta", 505, 110, r#"["99","3"]"#, "")).expect("bid 99x3 u110 t110 e1 fl");
    scene.closed(3).frame(4, &book_with(50, "delta", 10, 120, r#"["99","5"]"#, "")).expect("bid 99x5 u120 t120 e1 fl");
    scene.closed(4).expect("syncing e1");
}

#[test]
fn quotes_are_whole_and_come_once() {
    let mut scene = Scene::of(&["BTC/USDT quotes"]);
    let quote = |u: u64, bid: &str| book(1, "snapshot", u, bid, r#"["101","1"]"#);
    scene.frame(1, &quote(5, r#"["99","1"]"#)).frame(1, &quote(5, r#"["99","1"]"#)).expect("quote 99x1 101x1 fl");
    scene.frame(1, &quote(6, "")).expect("quote 0x0 101x1 fl");
    scene
        .frame(1, &book(1, "delta", 7, r#"["98","1"]"#, ""))
        .expect("notice unreadable on 1: \"type\" of the orderbook.1 message is out of its range");
    scene.frame(1, &quote(8, r#"["97","1"]"#)).expect("gap 60..80 unreadable\nquote 97x1 101x1 flG");
}

#[test]
fn a_frame_that_cant_be_read_is_of_its_own_sockets_feed() {
    let feeds = ["BTC/USDT book", "BTC/USDT:USDT book", "BTC/USDT:USDT trades", "BTC/USDT:USDT quotes"];
    let mut scene = Scene::of(&feeds);
    for conn in [1, 2] {
        scene.frame(conn, &book(50, "snapshot", 1, r#"["99","1"]"#, r#"["101","1"]"#));
    }
    scene.frame(2, &trades(true, &[5])).skip();
    let cut = book(50, "delta", 2, r#"["99","2"]"#, "");
    scene.frame(2, &cut[..cut.len() - 1]).expect(
        "notice unreadable on 2: not a readable message: expected a comma or the end of the object at byte 125
         suspect e1
         want resubscribe BTC/USDT:USDT on 2",
    );
    let cut = trades(true, &[6]);
    scene.frame(2, &cut[..cut.len() - 1]).skip().frame(2, &trades(true, &[7])).expect(
        "gap 5..7 unreadable
         want trades BTC/USDT:USDT 5-5
         trade 7 100.10x2 Sell flG e0",
    );
    assert_eq!(scene.session.feed_status(0).book, Some(dccd_model::BookState::Valid));
}

#[test]
fn a_trade_from_before_all_that_are_remembered_goes_to_who_knows_all_that_there_are() {
    let mut scene = Scene::of(&["BTC/USDT trades"]);
    let times: Vec<u64> = (1..=100).map(|second| second * 1_000).collect();
    scene.frame(1, &trades(false, &times)).skip();
    scene.frame(1, &trades(false, &[70_500, 70_000])).expect("trade 70500 100.10x2 Sell fl e0");
    // The first never came before. One that came is no other here, on whichever connection.
    let past = "past trade 10500 100.10x2 Sell
         past trade 10000 100.10x2 Sell";
    scene.frame(1, &trades(false, &[10_500, 10_000])).expect(past);
    scene.restored().opened(3, "spot").frame(3, &trades(false, &[10_500, 10_000])).expect(past);
    // Nothing was missing, and nothing is when the new connection is the only one.
    scene.frame(3, &trades(false, &[100_000])).closed(1);
    scene.frame(3, &trades(false, &[101_000])).expect("trade 101000 100.10x2 Sell fl e0");
    let status = scene.session.feed_status(0);
    assert_eq!((status.records, status.duplicates, status.gaps), (102, 6, 0));
}

#[test]
fn a_series_of_the_store_is_gone_on_with() {
    let mut scene = Scene::of(&[]);
    let end = SeriesEnd {
        ts: UnixNanos::from_millis(5_000),
        last_id: Some(5_000),
        recent: [4_000, 5_000].map(|ms| (UnixNanos::from_millis(ms), TradeId(ms.unsigned_abs().into()))).to_vec(),
        epoch: 7,
    };
    let end = serde_json::to_vec(&end).unwrap();
    for feed in ["BTC/USDT trades", "BTC/USDT book"] {
        scene.entry(EntryKind::Stored, 0, feed, &end).entry(EntryKind::FeedOpened, 0, feed, b"");
    }
    scene.restored().frame(1, &trades(false, &[4_000, 5_000])).expect("");
    scene.frame(1, &trades(false, &[3_000])).expect("past trade 3000 100.10x2 Sell");
    scene.frame(1, &trades(false, &[9_000])).expect(
        "gap 5000..9000 not_recorded
         want trades BTC/USDT 5000-5000
         trade 9000 100.10x2 Sell flG e0",
    );
    scene.answer(SPOT, &page(false, [4_000, 5_000, 6_000, 9_000].into_iter())).expect(
        "trade 6000 100.10x2 Sell fl e0
         gap 5000..9000 not_recorded repaired",
    );
    scene.frame(1, &book(50, "snapshot", 700, r#"["99","1"]"#, r#"["101","1"]"#)).expect(
        "gap 5000..7000 not_recorded
         bid 99x1 u7000 t7000 e8 SfG
         ask 101x1 u7000 t7000 e8 Sl
         valid e8",
    );
    // Of what has begun it says nothing new.
    scene.entry(EntryKind::Stored, 0, "BTC/USDT trades", &end).frame(1, &trades(false, &[9_001]));
    scene.expect("trade 9001 100.10x2 Sell fl e0").entry(EntryKind::Stored, 0, "BTC/USDT trades", b"x");
    scene.expect("notice Entry { subject: \"BTC/USDT trades\", fault: Payload }");
}

#[test]
fn replies_are_told_apart() {
    let mut scene = Scene::of(&["BTC/USDT trades"]);
    scene.frame(1, r#"{"success":true,"ret_msg":"","conn_id":"x","req_id":"7","op":"subscribe"}"#);
    scene.frame(1, r#"{"success":true,"ret_msg":"subscribe","conn_id":"x","op":"subscribe"}"#);
    scene.frame(1, r#"{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"8","op":"ping"}"#);
    scene.frame(1, r#"{"args":["1672916271846"],"op":"pong"}"#);
    scene.frame(1, r#"{"success":false,"ret_msg":"Invalid topic: \"x\"","conn_id":"x","req_id":"9","op":"subscribe"}"#);
    scene.frame(1, r#"{"topic":"tickers.BTCUSDT","data":{"symbol":"BTCUSDT"}}"#);
    scene.expect(
        "notice Ack { conn: 1, id: 7 }
         notice ErrorReply { conn: 1, id: Some(9), code: 0, message: \"Invalid topic: \\\"x\\\"\" }
         notice UnknownMessage { conn: 1 }",
    );
    // Keys in another order mean the same.
    scene.frame(1, r#"{"data":[{"p":"1","v":"2","i":"3","T":4,"S":"Buy","s":"BTCUSDT"}],"type":"snapshot","topic":"publicTrade.BTCUSDT"}"#);
    scene.expect("trade 3 1x2 Buy fl e0");
    scene.entry(
        EntryKind::Frame,
        1,
        "",
        br#"{"topic":"publicTrade.BTCUSDT","data":[{"p":"1","v":"2","i":"3","T":4,"s":"ETHUSDT"}]}"#,
    );
    scene.expect("notice unreadable on 1: \"s\" of the publicTrade message is out of its range");
}

#[test]
fn messages_hold_ten_topics_of_one_socket() {
    let (bybit, markets) = (bybit(), markets());
    let feed = |symbol: &str, channel| (symbol.parse::<Symbol>().unwrap(), channel);
    let feeds = [
        feed(LINEAR, Channel::Book),
        feed(SPOT, Channel::Trades),
        feed("SOL/USDT:USDT", Channel::Quotes),
        feed(SPOT, Channel::Ohlc),
        feed("BTC/USDC:USDC", Channel::Trades),
    ];
    let messages = bybit.subscribe(&feeds, &markets, 5);
    let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
    let expected = [
        r#"{"args":["publicTrade.BTCUSDT","kline.1.BTCUSDT"],"op":"subscribe","req_id":"5"}"#,
        r#"{"args":["orderbook.1000.BTCUSDT","orderbook.1.SOLUSDT","publicTrade.BTCPERP"],"op":"subscribe","req_id":"6"}"#,
    ];
    assert_eq!(texts, expected);
    assert_eq!(messages.iter().map(|message| message.feeds.clone()).collect::<Vec<_>>(), [vec![1, 3], vec![0, 2, 4]]);
    let text = &bybit.unsubscribe(&feeds[..1], &markets, 7)[0].text;
    assert_eq!(text, r#"{"args":["orderbook.1000.BTCUSDT"],"op":"unsubscribe","req_id":"7"}"#);
    let many: Vec<_> = (0..25).map(|i| feed(&format!("C{i}/USDT"), Channel::Trades)).collect();
    assert_eq!(bybit.subscribe(&many, &markets, 1).iter().map(|m| m.feeds.len()).collect::<Vec<_>>(), [10, 10, 5]);
    let sockets = [SPOT, LINEAR].map(|symbol| bybit.socket_of(&symbol.parse().unwrap(), Channel::Book));
    let urls = sockets.map(|socket| bybit.socket_url(socket, "wss://stream.bybit.com/"));
    assert_eq!(urls, ["wss://stream.bybit.com/v5/public/spot", "wss://stream.bybit.com/v5/public/linear"]);
    for (wanted, depth) in [(Some(1), 50), (Some(51), 200), (Some(1_000), 1_000), (Some(5_000), 1_000), (None, 1_000)] {
        let options = dccd_exchange::AdapterOptions { aggregated_trades: false, depth: wanted };
        let adapter = dccd_exchange::adapter("bybit", &options).unwrap();
        assert!(adapter.subscribe(&feeds[..1], &markets, 1)[0].text.contains(&format!("orderbook.{depth}.")));
    }
    let trades = bybit.trades_request(&feeds[0].0, dccd_exchange::TradeCursor::Id(1), 5, &markets);
    let path_and_query = "/v5/market/recent-trade?category=linear&symbol=BTCUSDT&limit=1000".to_owned();
    let subject = format!("trades {LINEAR} since {}", dccd_model::UnixNanos::UNKNOWN.as_millis());
    assert_eq!(trades, RestRequest { path_and_query, weight: 1, subject, product: Product::Spot });
}

/// Its market traded and it said nothing: what may be missing is declared as such, whatever kind of feed it is.
#[test]
fn a_silence_is_a_gap_of_its_own_reason() {
    let mut scene = Scene::of(&["BTC/USDT trades", "BTC/USDT quotes", "BTC/USDT book"]);
    let quote = |u: u64| book(1, "snapshot", u, r#"["99.9","1"]"#, &format!(r#"["100.1","{u}"]"#));
    let whole = |u: u64| book(50, "snapshot", u, r#"["99.9","1"]"#, &format!(r#"["100.1","{u}"]"#));
    scene.frame(1, &trades(false, &[1_000])).frame(1, &quote(1)).frame(1, &whole(10)).skip();
    for channel in ["trades", "quotes", "book"] {
        scene.entry(EntryKind::Resync, 0, &format!("BTC/USDT {channel}"), RESYNC_SILENT.as_bytes());
    }
    scene.skip().frame(1, &trades(false, &[5_000])).frame(1, &quote(2)).frame(1, &whole(20)).expect(
        "gap 1000..5000 silent
         want trades BTC/USDT 1000-1000
         trade 5000 100.10x2 Sell flG e0
         gap 10..20 silent
         quote 99.9x1 100.1x2 flG
         gap 100..200 silent
         bid 99.9x1 u200 t200 e2 SfG
         ask 100.1x20 u200 t200 e2 Sl
         valid e2",
    );
}

/// A subscription that was acknowledged and stays empty: nothing came before, so what is missing begins when it was subscribed.
#[test]
fn what_a_feed_misses_that_was_never_heard_is_declared_from_its_subscription_on_once() {
    let mut scene = Scene::of(&["BTC/USDT trades", "BTC/USDT quotes", "BTC/USDT book"]);
    let quote = book(1, "snapshot", 1, r#"["99.9","1"]"#, r#"["100.1","1"]"#);
    let whole = book(50, "snapshot", 10, r#"["99.9","1"]"#, r#"["100.1","1"]"#);
    let since = resync_since(RESYNC_SILENT, dccd_model::UnixNanos::from_secs(2));
    let silent = |scene: &mut Scene, channel: &str, payload: &str| {
        scene.entry(EntryKind::Resync, 0, &format!("BTC/USDT {channel}"), payload.as_bytes());
    };
    for channel in ["trades", "quotes", "book"] {
        silent(&mut scene, channel, &since);
    }
    scene.expect("gap 2000..6000 silent\ngap 2000..7000 silent\ngap 2000..8000 silent");
    // Once more in vain; one that tells no time goes on from the last.
    silent(&mut scene, "trades", &since);
    silent(&mut scene, "quotes", RESYNC_SILENT);
    scene.expect("gap 6000..9000 silent\ngap 7000..10000 silent").restored();
    scene.frame(1, &trades(false, &[1_000])).frame(1, &quote).frame(1, &whole).expect(
        "gap 9000..11000 silent
         trade 1000 100.10x2 Sell flG e0
         gap 10000..12000 silent
         quote 99.9x1 100.1x1 flG
         gap 8000..13000 silent
         bid 99.9x1 u100 t100 e1 SfG
         ask 100.1x1 u100 t100 e1 Sl
         valid e1",
    );
    scene.frame(1, &trades(false, &[2_000])).expect("trade 2000 100.10x2 Sell fl e0");
    assert_eq!([0, 1, 2].map(|feed| scene.session.feed_status(feed).gaps), [3, 3, 2]);
    // One that never speaks and tells no time: nothing is known.
    let mut scene = Scene::of(&["BTC/USDT trades"]);
    silent(&mut scene, "trades", RESYNC_SILENT);
    scene.expect("");
}

/// What the live side found wrong since some time is declared from then on.
#[test]
fn a_book_that_was_wrong_for_a_while_is_declared_for_that_while() {
    let mut scene = Scene::of(&["BTC/USDT book"]);
    let whole = |u: u64| book(50, "snapshot", u, r#"["99.9","1"]"#, &format!(r#"["100.1","{u}"]"#));
    scene.frame(1, &whole(10)).skip();
    let words = resync_since("best prices differ from the quotes", dccd_model::UnixNanos::from_secs(3));
    scene.entry(EntryKind::Resync, 0, "BTC/USDT book", words.as_bytes());
    scene.expect("gap 3000..5000 integrity\nsuspect e1\nwant resubscribe BTC/USDT on 1").restored();
    scene.frame(1, &whole(20)).expect(
        "gap 100..200 integrity
         bid 99.9x1 u200 t200 e2 SfG
         ask 100.1x20 u200 t200 e2 Sl
         valid e2",
    );
}
