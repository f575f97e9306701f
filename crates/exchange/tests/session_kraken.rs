//! A Kraken session, case by case: books by checksum, quotes by time, trades by id.

mod support;

use dccd_exchange::{AdapterOptions, ClientMessage, TradeCursor, TradeHole, Want, adapter};
use dccd_model::{BookState, Channel, EntryKind, Symbol, UnixNanos};
use support::kraken::{Scene, Venue, message};

/// The exchange's book: ten bids below 100.0, ten asks above.
fn venue() -> Venue {
    let levels = |price: fn(u64) -> u64| (0..10).map(|i| (price(i), 100_000_000 + i)).collect::<Vec<_>>();
    Venue::new(10, &levels(|i| 999 - i), &levels(|i| 1_001 + i))
}

/// A book that is valid, and the exchange's.
fn valid() -> (Scene, Venue) {
    let (mut scene, venue) = (Scene::of(10, &["book"]), venue());
    scene.frame(1, &venue.snapshot(1_000)).skip();
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
    (scene, venue)
}

#[test]
fn subscriptions_are_the_exchanges_own_words_a_message_for_each_channel() {
    let markets = dccd_exchange::Markets::default();
    let feeds: Vec<(Symbol, Channel)> = ["BTC/USD", "ETH/EUR"]
        .into_iter()
        .flat_map(|symbol| Channel::ALL.map(|channel| (symbol.parse().unwrap(), channel)))
        .collect();
    for (wanted, depth) in
        [(None, 1_000), (Some(1), 10), (Some(10), 10), (Some(11), 25), (Some(101), 500), (Some(5_000), 1_000)]
    {
        let kraken = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth: wanted }).unwrap();
        let texts = |messages: Vec<ClientMessage>| messages.into_iter().map(|message| message.text).collect::<Vec<_>>();
        assert_eq!(
            texts(kraken.subscribe(&feeds, &markets, 5)),
            [
                r#"{"method":"subscribe","params":{"channel":"trade","snapshot":false,"symbol":["BTC/USD","ETH/EUR"]},"req_id":5}"#.to_owned(),
                format!(r#"{{"method":"subscribe","params":{{"channel":"book","depth":{depth},"snapshot":true,"symbol":["BTC/USD","ETH/EUR"]}},"req_id":6}}"#),
                r#"{"method":"subscribe","params":{"channel":"ticker","event_trigger":"bbo","snapshot":true,"symbol":["BTC/USD","ETH/EUR"]},"req_id":7}"#.to_owned(),
            ]
        );
        let book = [("XBT/USD".parse().unwrap(), Channel::Book)];
        assert_eq!(
            texts(kraken.unsubscribe(&book, &markets, 9)),
            [format!(
                r#"{{"method":"unsubscribe","params":{{"channel":"book","depth":{depth},"symbol":["BTC/USD"]}},"req_id":9}}"#
            )]
        );
        assert_eq!(kraken.ping(3).as_deref(), Some(r#"{"method":"ping","req_id":3}"#));
        assert_eq!(kraken.connect_url("ws://127.0.0.1:1/x/"), "ws://127.0.0.1:1/x/v2");
    }
}

#[test]
fn a_book_begins_with_the_snapshot_on_its_connection_and_updates_follow() {
    let mut scene = Scene::of(10, &["book"]);
    let mut venue = Venue::new(10, &[(999, 100_000_000), (998, 5)], &[(1_001, 200_000_000)]);
    // Before its snapshot an update says nothing.
    scene.frame(1, &venue.clone().update(&[(997, 1)], &[], 500)).expect("");
    scene.frame(1, &venue.snapshot(1_000)).expect(
        "bid 99.9x1.00000000 u0 t1000 e1 Sf
         bid 99.8x0.00000005 u0 t1000 e1 S
         ask 100.1x2.00000000 u0 t1000 e1 Sl
         valid e1",
    );
    scene.frame(1, &venue.update(&[(998, 0), (997, 7)], &[(1_001, 3)], 2_000)).expect(
        "bid 99.8x0.00000000 u0 t2000 e1 f
         bid 99.7x0.00000007 u0 t2000 e1 
         ask 100.1x0.00000003 u0 t2000 e1 l",
    );
    // The same price twice in one message: in its order.
    scene.frame(1, &venue.update(&[(997, 9), (997, 8)], &[], 3_000)).expect(
        "bid 99.7x0.00000009 u0 t3000 e1 f
         bid 99.7x0.00000008 u0 t3000 e1 l",
    );
    assert_eq!(scene.session.feed_status(0).gaps, 0);
    assert!(scene.session.outstanding().is_empty());
}

#[test]
fn levels_that_fall_out_of_the_depth_are_ended_in_the_event_that_pushed_them_out() {
    let (mut scene, mut venue) = valid();
    // The eleventh bid is not told of any more: 99.0 falls out.
    scene.frame(1, &venue.update(&[(1_000, 7)], &[], 2_000)).expect(
        "bid 100.0x0.00000007 u0 t2000 e1 f
         bid 99.0x0 u0 t2000 e1 l",
    );
    // The exchange ends the best and tells again of the one that comes into the depth.
    let back = venue.bids[&990];
    scene.frame(1, &venue.update(&[(1_000, 0), (990, back)], &[], 3_000)).expect(
        "bid 100.0x0.00000000 u0 t3000 e1 f
         bid 99.0x1.00000009 u0 t3000 e1 l",
    );
    // Without it the book holds too little to agree, and so it would if the end had not been kept.
    scene.frame(1, &venue.update(&[(1_000, 7)], &[], 4_000)).skip();
    scene.frame(1, &venue.update(&[(1_000, 0)], &[], 5_000)).expect(
        "suspect e1
         want resubscribe BTC/USD on 1",
    );
}

#[test]
fn a_message_that_is_missing_or_wrong_is_never_given_out_as_valid() {
    let (mut scene, mut venue) = valid();
    let lost = venue.update(&[(999, 5)], &[], 2_000);
    let next = venue.update(&[], &[(1_001, 6)], 3_000);
    scene.frame(1, &next).expect(
        "suspect e1
         want resubscribe BTC/USD on 1",
    );
    // What follows is of no use until a snapshot comes, and is asked for once.
    scene.frame(1, &venue.update(&[(998, 1)], &[], 4_000)).frame(1, &lost).expect("");
    let wanted = Want::Resubscribe { feed: 0, symbol: "BTC/USD".parse().unwrap(), conn: 1 };
    assert_eq!(scene.session.outstanding(), [wanted]);
    let levels = (0..20).map(|i| {
        let (side, price, amount) =
            if i < 10 { ("bid", 999 - i, venue.bids[&(999 - i)]) } else { ("ask", 991 + i, venue.asks[&(991 + i)]) };
        let flags = ["SfG", "S", "Sl"][usize::from(i > 0) + usize::from(i == 19)];
        format!(
            "{side} {}.{}x{}.{:08} u0 t5000 e2 {flags}\n",
            price / 10,
            price % 10,
            amount / 100_000_000,
            amount % 100_000_000
        )
    });
    let expected = format!("gap 1000..5000 integrity\n{}valid e2", levels.collect::<String>());
    scene.frame(1, &venue.snapshot(5_000)).expect(&expected);
    assert!(scene.session.outstanding().is_empty());
    // A digit that changed on the way.
    let (mut scene, mut venue) = valid();
    let right = venue.update(&[(999, 123_456_789)], &[], 2_000);
    scene.frame(1, &right.replace("1.23456789", "1.23456788")).expect(
        "suspect e1
         want resubscribe BTC/USD on 1",
    );
}

#[test]
fn messages_that_changed_places_are_noticed_below_the_checksum_and_the_gap_holds_the_earlier_one() {
    let deep = |price: fn(u64) -> u64| (0..12).map(|i| (price(i), 100_000_000 + i)).collect::<Vec<_>>();
    let mut venue = Venue::new(25, &deep(|i| 999 - i), &deep(|i| 1_001 + i));
    let mut scene = Scene::of(25, &["book"]);
    scene.frame(1, &venue.snapshot(1_000)).skip();
    // The twelfth bid: both messages have the checksum of the same best ten.
    let first = venue.update(&[(988, 5)], &[], 2_000);
    let second = venue.update(&[(988, 6)], &[], 3_000);
    scene.frame(1, &second).expect("bid 98.8x0.00000006 u0 t3000 e1 fl");
    scene.frame(1, &first).expect(
        "suspect e1
         want resubscribe BTC/USD on 1",
    );
    let came = scene.frame(1, &venue.snapshot(4_000)).take();
    let gaps: Vec<_> = came.gaps().map(|gap| (gap.from, gap.to)).collect();
    assert_eq!(gaps, [(UnixNanos(UnixNanos::from_millis(2_000).0 - 1), UnixNanos::from_millis(4_000))]);
}

/// It has our time then, which is later than the exchange's of all that was on its way meanwhile.
#[test]
fn what_follows_a_snapshot_without_a_time_may_be_older_than_its_arrival() {
    let (mut scene, mut venue) = (Scene::of(10, &["book"]), venue());
    let snapshot = venue.snapshot(1_000);
    let (levels, _) = snapshot.split_once(r#","timestamp""#).unwrap();
    scene.frame(1, &format!("{levels}}}]}}")).skip();
    scene.frame(1, &venue.update(&[(999, 5)], &[], 1_000)).expect("bid 99.9x0.00000005 u0 t1000 e1 fl");
    // From then on the exchange's times tell.
    scene.frame(1, &venue.update(&[(999, 6)], &[], 999)).expect(
        "suspect e1
         want resubscribe BTC/USD on 1",
    );
}

#[test]
fn a_snapshot_that_contradicts_itself_is_asked_for_again_and_nothing_of_it_is_given_out() {
    let mut scene = Scene::of(10, &["book"]);
    let bad = message("snapshot", r#"{"price":99.9,"qty":1.00000000}"#, "", 7, 1_000);
    scene.frame(1, &bad).expect("want resubscribe BTC/USD on 1");
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Syncing));
    scene.frame(1, &bad).expect("want resubscribe BTC/USD on 1");
    scene.frame(1, &Venue::new(10, &[(999, 1)], &[]).snapshot(2_000)).expect(
        "bid 99.9x0.00000001 u0 t2000 e1 Sfl
         valid e1",
    );
}

#[test]
fn a_snapshot_in_the_midst_begins_an_epoch_and_is_no_gap() {
    let (mut scene, venue) = valid();
    let out = scene.frame(1, &venue.snapshot(2_000)).take();
    assert_eq!((out.gaps().count(), out.levels().filter(|level| level.epoch == 2).count()), (0, 20));
    assert_eq!(scene.session.feed_status(0).epoch, 2);
}

#[test]
fn a_book_without_a_connection_waits_and_the_next_snapshot_is_a_gap() {
    for gone in [0, 1] {
        let (mut scene, mut venue) = valid();
        scene.closed(7).expect("");
        scene.closed(gone).expect("syncing e1");
        // The subscription of the next connection brings it: nothing is wanted at once, but it doesn't go forgotten.
        assert_eq!(scene.session.outstanding().len(), 1);
        scene.frame(2, &venue.update(&[(999, 3)], &[], 2_000)).expect("");
        let out = scene.frame(2, &venue.snapshot(2_500)).take();
        assert_eq!(
            out.gaps().map(|gap| (gap.from.as_millis(), gap.to.as_millis(), gap.reason.as_str())).collect::<Vec<_>>(),
            [(1_000, 2_500, "disconnected")]
        );
        assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
    }
}

#[test]
fn a_connection_that_takes_over_costs_nothing_once_both_are_the_same() {
    let (mut scene, mut venue) = valid();
    let mut events = |scene: &mut Scene, conn, bid, ms| {
        let frame = venue.update(&[(999, bid)], &[], ms);
        scene.frame(conn, &frame);
        frame
    };
    let second = events(&mut scene, 1, 2, 2_000);
    scene.skip();
    // The new connection begins one event behind.
    scene.frame(2, &self::venue().snapshot(1_000)).frame(2, &second).expect("");
    // Now the second one leads, and the first one repeats.
    let third = events(&mut scene, 2, 3, 3_000);
    scene.expect("bid 99.9x0.00000003 u0 t3000 e1 fl").frame(1, &third).expect("").closed(1).expect("");
    events(&mut scene, 2, 4, 4_000);
    scene.expect("bid 99.9x0.00000004 u0 t4000 e1 fl");
    let status = scene.session.feed_status(0);
    assert_eq!((status.gaps, status.epoch, status.duplicates), (0, 1, 2));
}

#[test]
fn a_connection_that_ends_before_the_other_is_the_same_is_a_gap_filled_by_the_others_book() {
    let (mut scene, mut venue) = valid();
    let ahead = {
        venue.update(&[(999, 2)], &[], 2_000);
        venue.snapshot(2_000)
    };
    scene.frame(2, &ahead).expect("");
    let out = scene.closed(1).take();
    assert_eq!((out.gaps().count(), out.levels().count(), out.wants().count()), (1, 20, 0));
    assert!(out.levels().all(|level| level.epoch == 2));
    scene.frame(2, &venue.update(&[(999, 3)], &[], 3_000)).expect("bid 99.9x0.00000003 u0 t3000 e2 fl");
}

#[test]
fn a_wrong_message_on_the_other_connection_begins_that_one_anew_and_leaves_the_book_alone() {
    let (mut scene, mut venue) = valid();
    let wrong = message("update", "", "", 1, 1_500);
    let begin = venue.snapshot(1_000);
    scene.frame(1, &venue.update(&[(998, 5)], &[], 1_200)).skip();
    scene.frame(2, &begin).frame(2, &wrong).expect("want resubscribe BTC/USD on 2");
    let wanted = Want::Resubscribe { feed: 0, symbol: "BTC/USD".parse().unwrap(), conn: 2 };
    assert_eq!(scene.session.outstanding(), [wanted]);
    let right = venue.update(&[(999, 2)], &[], 2_000);
    scene.frame(2, &right).expect("").frame(1, &right).expect("bid 99.9x0.00000002 u0 t2000 e1 fl");
    scene.frame(2, &venue.snapshot(2_000)).expect("");
    assert!(scene.session.outstanding().is_empty());
    scene.closed(1).expect("").frame(2, &venue.update(&[(999, 3)], &[], 3_000)).expect("bid 99.9x0.00000003 u0 t3000 e1 fl");
}

#[test]
fn a_frame_that_may_have_been_of_the_book_and_cant_be_read_makes_it_suspect() {
    let broken = "suspect e1\nwant resubscribe BTC/USD on 1";
    let reads = |frame: &str, expected: &str| {
        let (mut scene, _) = valid();
        let out = scene.frame(1, frame).take();
        let mut lines: Vec<String> =
            out.events.iter().map(support::line).filter(|line| !line.starts_with("notice")).collect();
        lines.sort();
        assert_eq!(lines.join("\n"), expected, "{frame}");
    };
    reads("garbage", broken);
    reads(r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"pri"#, broken);
    reads(r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]}"#, broken);
    reads(r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"#, "");
    reads(r#"{"channel":"ticker","type":"update","data":[{"symbol":"ETH/USD","bid":"#, broken);
    let (mut scene, _) = valid();
    assert_eq!(scene.frame(2, "garbage").take().wants().count(), 0, "it came on a connection that doesn't carry the book");
}

#[test]
fn what_was_not_recorded_and_what_a_live_check_found_begin_the_book_anew() {
    let gap = |scene: &mut Scene, venue: &Venue| {
        let out = scene.frame(1, &venue.snapshot(9_000)).take();
        out.gaps().map(|gap| gap.reason.as_str()).collect::<Vec<_>>()
    };
    let (mut scene, venue) = valid();
    scene.entry(EntryKind::Lost, 0, "disk full", b"").expect("suspect e1\nwant resubscribe BTC/USD on 1");
    assert_eq!(gap(&mut scene, &venue), ["not_recorded"]);
    let (mut scene, venue) = valid();
    scene.entry(EntryKind::Resync, 0, "BTC/USD book", b"crossed").expect("suspect e1\nwant resubscribe BTC/USD on 1");
    assert_eq!(gap(&mut scene, &venue), ["integrity"]);
    // A book that has no connection yet gets its snapshot with it.
    Scene::of(10, &["book"]).entry(EntryKind::Resync, 0, "BTC/USD book", b"").expect("");
    let (mut scene, venue) = valid();
    scene.entry(EntryKind::FeedClosed, 0, "BTC/USD book", b"").expect("syncing e1");
    scene.entry(EntryKind::FeedOpened, 0, "BTC/USD book", b"").expect("");
    assert_eq!(gap(&mut scene, &venue), ["disconnected"]);
}

#[test]
fn the_depth_is_what_the_exchange_confirms() {
    // Asked for 1000, and replayed from a time in which 10 were subscribed.
    let (mut scene, mut venue) = (Scene::of(1_000, &["book"]), venue());
    scene.frame(1, r#"{"method":"subscribe","req_id":3,"result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true}"#).expect("notice Ack { conn: 1, id: 3 }");
    scene.frame(1, &venue.snapshot(1_000)).skip();
    scene.frame(1, &venue.update(&[(1_000, 7)], &[], 2_000)).expect(
        "bid 100.0x0.00000007 u0 t2000 e1 f
         bid 99.0x0 u0 t2000 e1 l",
    );
}

#[test]
fn numbers_whose_zeros_were_cut_off_are_verified_with_the_markets_precision() {
    let (mut scene, mut venue) = (Scene::of(10, &["book"]), venue());
    let cut = |text: String| {
        let mut text = text;
        for _ in 0..8 {
            text = text.replace("0}", "}");
        }
        text.replace(".}", "}").replace(".0,", ",")
    };
    scene.frame(1, &cut(venue.snapshot(1_000))).skip();
    assert_eq!(scene.session.feed_status(0).book, Some(BookState::Valid));
    scene.frame(1, &cut(venue.update(&[(999, 150_000_000)], &[], 2_000))).expect("bid 99.9x1.5 u0 t2000 e1 fl");
    // The wire's own digits again: that is seen, too.
    scene.frame(1, &venue.update(&[(998, 150_000_000)], &[], 3_000)).expect("bid 99.8x1.50000000 u0 t3000 e1 fl");
    scene.frame(1, &cut(venue.update(&[(997, 150_000_000)], &[], 4_000)).replace("1.5}", "1.6}")).expect(
        "suspect e1
         want resubscribe BTC/USD on 1",
    );
}

#[test]
fn trades_come_in_lists_and_missing_ones_are_wanted_from_the_time_before_them() {
    let mut scene = Scene::of(10, &["trades"]);
    scene.trades(1, [100, 101]).expect(
        "trade 100 100.10x2.00000000 Buy fl e0
         trade 101 100.10x2.00000000 Buy fl e0",
    );
    scene.trades(1, [101, 105]).expect(
        "gap 101..105 sequence 102-104
         want trades BTC/USD 102-104
         trade 105 100.10x2.00000000 Buy flG e0",
    );
    let outstanding = scene.session.outstanding();
    let Some(Want::Trades { from_id, to_id, ts_before, .. }) = outstanding.first() else { panic!("{outstanding:?}") };
    let hole = TradeHole { from_id: *from_id, to_id: *to_id, ts_before: *ts_before };
    assert_eq!(hole, TradeHole { from_id: 102, to_id: 104, ts_before: UnixNanos::from_millis(101) });
    assert_eq!(scene.adapter.trades_begin(&hole), TradeCursor::Time(UnixNanos(100_998_000)));
    // What is before an answer's first trade is not proven; what it jumps over between is.
    scene.page([103]).expect("trade 103 100.1x2.0 Sell fl e0");
    assert_eq!(scene.session.feed_status(0).missing, 2);
    scene.page([101, 103, 104, 105, 106]).expect(
        "trade 104 100.1x2.0 Sell fl e0
         gap 101..105 sequence 102-104 repaired
         gap 101..105 sequence 102-102",
    );
    assert!(scene.session.outstanding().is_empty());
}

#[test]
fn refused_answers_change_nothing_and_are_named() {
    let mut scene = Scene::of(10, &["trades"]);
    scene.trades(1, [100, 103]).skip();
    let mut answer = |body: &str, expected: &str| {
        scene.entry(EntryKind::Response, 0, "trades BTC/USD since 1", body.as_bytes()).expect(expected);
    };
    answer(
        r#"{"error":["EAPI:Rate limit exceeded"]}"#,
        "notice ErrorReply { conn: 0, id: None, code: 0, message: \"kraken says that it is asked too often: EAPI:Rate limit exceeded\" }",
    );
    answer("<html>", "notice unreadable on 0: not a readable message: expected value at line 1 column 1");
    answer(
        r#"{"error":[],"result":{"X":[["-1","1",1.0,"b","l","",101]],"last":"1"}}"#,
        "notice unreadable on 0: \"price\" of the Trades message is out of its range",
    );
    assert_eq!(scene.session.feed_status(0).missing, 2);
}

#[test]
fn holes_are_paged_by_time_until_their_end_and_refusals_are_no_answers() {
    let scene = Scene::of(10, &["trades"]);
    let hole = TradeHole { from_id: 5, to_id: 1_500, ts_before: UnixNanos::from_secs(4) };
    let page = |ids: std::ops::RangeInclusive<u64>| {
        let rows: Vec<String> = ids.clone().map(|id| format!(r#"["1","2",{id}.5,"b","l","",{id}]"#)).collect();
        format!(r#"{{"error":[],"result":{{"X":[{}],"last":"{}500000000"}}}}"#, rows.join(","), ids.end())
    };
    let begin = scene.adapter.trades_begin(&hole);
    let next = |at, body: &str| scene.adapter.trades_next(&hole, at, 1_000, body.as_bytes());
    let second = next(begin, &page(4..=1_003)).unwrap().unwrap();
    assert_eq!(second, TradeCursor::Mark(1_003_499_999_999), "it overlaps by the last nanosecond");
    assert_eq!(next(second, &page(1_003..=2_002)).unwrap(), None);
    assert_eq!(next(second, &page(1_003..=1_100)).unwrap(), None, "the exchange has no more");
    assert!(next(begin, r#"{"error":["EAPI:Rate limit exceeded"]}"#).is_err());
    let request = scene.adapter.trades_request(
        &"BTC/USD".parse().unwrap(),
        begin,
        3,
        &scene.adapter.parse_markets(support::kraken::ASSET_PAIRS).unwrap(),
    );
    assert_eq!(request.path_and_query, "/0/public/Trades?pair=XXBTZUSD&since=3999997999&count=1000");
}

#[test]
fn only_changes_of_the_quote_are_records_and_an_outage_is_a_gap() {
    let mut scene = Scene::of(10, &["quotes"]);
    scene.quote(1, 1_000, 99).quote(1, 2_000, 99).quote(1, 3_000, 98).expect(
        "quote 99.0x1.50000000 100.0x2.0 fl
         quote 98.0x1.50000000 100.0x2.0 fl",
    );
    scene.closed(1).quote(2, 4_000, 98).expect(
        "gap 3000..4000 disconnected
         quote 98.0x1.50000000 100.0x2.0 flG",
    );
    // The very same quote on another connection: nothing can be missing after it.
    scene.closed(2).quote(3, 4_000, 98).quote(3, 5_000, 97).expect("quote 97.0x1.50000000 100.0x2.0 fl");
    // A frame that may have been a quote.
    scene.frame(3, r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","#).skip();
    scene.quote(3, 6_000, 97).expect(
        "gap 5000..6000 unreadable
         quote 97.0x1.50000000 100.0x2.0 flG",
    );
    // Two changes in one tick of the exchange's clock, and back.
    scene.quote(3, 7_000, 96).quote(3, 7_000, 95).quote(3, 7_000, 96).expect(
        "quote 96.0x1.50000000 100.0x2.0 fl
         quote 95.0x1.50000000 100.0x2.0 fl
         quote 96.0x1.50000000 100.0x2.0 fl",
    );
}

#[test]
fn messages_that_are_no_records_are_noticed_and_counted() {
    let mut scene = Scene::of(10, &["trades"]);
    for quiet in [r#"{"channel":"heartbeat"}"#, r#"{"method":"pong","req_id":42,"time_in":"a","time_out":"b"}"#] {
        scene.frame(1, quiet).expect("");
    }
    scene.frame(1, r#"{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD","snapshot":true},"success":true,"time_in":"..","time_out":"..","req_id":1}"#).expect("notice Ack { conn: 1, id: 1 }");
    scene.frame(1, r#"{"error":"Currency pair not supported BTC/USD","method":"subscribe","req_id":2,"success":false,"symbol":"BTC/USD","time_in":".."}"#).expect(
        "notice Refused { conn: 1, id: 2, symbol: Symbol { text: \"BTC/USD\", slash: 3, colon: None }, message: \"Currency pair not supported BTC/USD\" }",
    );
    scene.frame(1, r#"{"error":"Currency pair not supported FOO/BAR","method":"subscribe","req_id":2,"success":false,"symbol":"FOO/BAR"}"#).expect(
        "notice ErrorReply { conn: 1, id: Some(2), code: 0, message: \"Currency pair not supported FOO/BAR\" }",
    );
    scene
        .frame(1, r#"{"Error":"Exceeded msg rate"}"#)
        .expect("notice ErrorReply { conn: 1, id: None, code: 0, message: \"Exceeded msg rate\" }");
    scene
        .frame(1, r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","open":1}]}"#)
        .expect("notice UnknownMessage { conn: 1 }");
    scene.frame(1, &venue().snapshot(1)).expect("notice Unrouted { conn: 1 }");
    let counters = scene.session.counters();
    assert_eq!((counters.frames, counters.unknown, counters.unrouted, counters.error_replies), (8, 1, 1, 3));
}

#[test]
fn an_exchange_that_opens_again_after_maintenance_gets_a_new_connection() {
    let status = |system: &str| {
        format!(
            r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":6447481662169813000}}]}}"#
        )
    };
    let mut scene = Scene::of(10, &["trades"]);
    scene.frame(1, &status("online")).expect("notice Venue { conn: 1, is_open: true, words: \"online\" }");
    scene.frame(1, &status("post_only")).expect("notice Venue { conn: 1, is_open: true, words: \"post_only\" }");
    scene.frame(1, &status("maintenance")).expect("notice Venue { conn: 1, is_open: false, words: \"maintenance\" }");
    scene.frame(1, &status("online")).expect(
        "notice Venue { conn: 1, is_open: true, words: \"online\" }
         want replace 1",
    );
    scene.frame(1, &status("online")).expect("notice Venue { conn: 1, is_open: true, words: \"online\" }");
}
