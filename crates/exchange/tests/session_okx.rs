//! What an OKX session makes of messages, entry by entry.

mod support;

use dccd_model::EntryKind;
use support::okx::{Scene, book};

const BOOK: &[&str] = &["BTC/USDT book"];

#[test]
fn a_book_follows_the_chain_and_a_minute_without_change_is_part_of_it() {
    let mut scene = Scene::of(BOOK);
    scene.snapshot(1, 10).expect(
        "bid 99x1 u10 t10 e1 Sf
         bid 98x2 u10 t10 e1 S
         ask 101x1 u10 t10 e1 Sl
         valid e1",
    );
    scene.update(1, 10, 15).expect("bid 99x15 u15 t15 e1 fl");
    // Once more the same; nothing changed; then the numbers begin anew.
    scene.update(1, 10, 15).expect("");
    scene.frame(1, &book("BTC-USDT", "update", ("", ""), (15, 15), 0)).restored().expect("");
    scene.update(1, 15, 16).expect("bid 99x16 u16 t16 e1 fl");
    scene.update(1, 16, 3).expect("bid 99x3 u3 t3 e1 fl");
    scene.update(1, 3, 4).expect("bid 99x4 u4 t4 e1 fl");
    // A snapshot in the midst of it replaces what was there.
    scene.frame(1, &book("BTC-USDT", "snapshot", ("97x1", ""), (-1, 9), 0)).expect("bid 97x1 u9 t9 e2 Sfl\nvalid e2");
    assert_eq!(scene.session.feed_status(0).duplicates, 1);
}

#[test]
fn a_hole_in_the_chain_is_a_gap_and_the_subscription_begins_anew() {
    let mut scene = Scene::of(BOOK);
    scene.snapshot(1, 10).update(1, 10, 11).skip();
    scene.update(1, 12, 13).expect("suspect e1\nwant resubscribe BTC/USDT on 1");
    scene.update(1, 13, 14).expect("").restored();
    scene.snapshot(1, 20).expect(
        "gap 11..20 sequence
         bid 99x1 u20 t20 e2 SfG
         bid 98x2 u20 t20 e2 S
         ask 101x1 u20 t20 e2 Sl
         valid e2",
    );
    // A number that was lost while it began anew: what follows is lower than the last, and all the same no repetition.
    scene.update(1, 3, 4).expect("suspect e2\nwant resubscribe BTC/USDT on 1");
    assert_eq!(scene.session.outstanding().len(), 1);
}

#[test]
fn updates_that_come_without_a_snapshot_are_joined_to_one_over_rest() {
    let mut scene = Scene::of(BOOK);
    for n in 10..20 {
        scene.update(1, n, n + 1);
    }
    scene.expect("");
    scene.update(1, 20, 21).expect("want snapshot BTC/USDT").restored();
    scene.update(1, 21, 25).expect("");
    // Older than all that was held back: another one.
    scene.fetched(9).expect("want snapshot BTC/USDT");
    // In the midst of an update: the one that spans it is the first that counts.
    scene.fetched(23).expect(
        "bid 99x7 u23 t23 e1 Sf
         ask 101x7 u23 t23 e1 Sl
         valid e1
         bid 99x25 u25 t25 e1 fl",
    );
    scene.update(1, 25, 26).expect("bid 99x26 u26 t26 e1 fl");
    // After a hole the next snapshot comes in the same way, at once; newer than what is held, it waits for what links.
    scene.update(1, 27, 28).expect("suspect e1\nwant snapshot BTC/USDT");
    scene.fetched(30).restored().update(1, 28, 29).expect("");
    scene.update(1, 29, 30).expect(
        "gap 26..30 sequence
         bid 99x7 u30 t30 e2 SfG
         ask 101x7 u30 t30 e2 Sl
         valid e2",
    );
    scene.update(1, 30, 31).expect("bid 99x31 u31 t31 e2 fl");
    // One that nobody waits for any more.
    scene.fetched(40).expect("");
}

#[test]
fn an_answer_without_a_book_is_asked_for_again_and_a_snapshot_on_the_connection_ends_the_asking() {
    let mut scene = Scene::of(BOOK);
    scene.update(1, 1, 2);
    scene.clock += 1_000;
    scene.update(1, 2, 3).expect("want snapshot BTC/USDT");
    let mut answer = |body: &str, expected: &str| {
        scene.entry(EntryKind::Response, 0, "depth BTC/USDT", body.as_bytes()).expect(expected);
    };
    answer(
        r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#,
        "notice ErrorReply { conn: 0, id: None, code: 50011, message: \"Too Many Requests\" }
         want snapshot BTC/USDT",
    );
    answer(
        r#"{"code":"0","msg":"","data":[{"asks":[],"bids":[],"ts":"1"}]}"#,
        "notice unreadable on 0: books message without \"seqId\"
         want snapshot BTC/USDT",
    );
    assert_eq!(scene.session.outstanding().len(), 1);
    scene.snapshot(1, 3).skip().fetched(3).update(1, 3, 4).expect("bid 99x4 u4 t4 e1 fl");
    assert!(scene.session.outstanding().is_empty());
}

#[test]
fn a_connection_without_a_snapshot_takes_over_at_a_number_that_both_have() {
    let mut scene = Scene::of(BOOK);
    scene.snapshot(1, 10).update(1, 10, 12).skip().entry(EntryKind::Opened, 2, "public", b"");
    // The second one groups changes in another way.
    scene.update(2, 11, 13).expect("").update(1, 12, 14).expect("bid 99x14 u14 t14 e1 fl");
    scene.update(2, 13, 14).expect("").restored().closed(1).expect("");
    scene.update(2, 14, 17).expect("bid 99x17 u17 t17 e1 fl");
    // The one that was replaced has a whole book, too, and both may go on side by side.
    scene.entry(EntryKind::Opened, 4, "public", b"").update(4, 16, 17).update(4, 17, 18).update(2, 17, 18);
    scene.expect("bid 99x18 u18 t18 e1 fl").closed(2).expect("").update(4, 18, 17).expect("bid 99x17 u17 t17 e1 fl");
    // One that ends elsewhere costs a gap.
    scene.entry(EntryKind::Opened, 3, "public", b"").update(3, 15, 16).closed(4).expect("syncing e1");
    scene.snapshot(3, 20).update(3, 20, 21).expect(
        "gap 17..20 disconnected
         bid 99x1 u20 t20 e2 SfG
         bid 98x2 u20 t20 e2 S
         ask 101x1 u20 t20 e2 Sl
         valid e2
         bid 99x21 u21 t21 e2 fl",
    );
}

#[test]
fn a_connection_that_takes_over_has_the_whole_book() {
    let mut scene = Scene::of(BOOK);
    scene.snapshot(1, 10).skip().update(2, 9, 10).closed(1).expect("");
    // The checksum covers levels that came on the first connection alone.
    let sum = i64::from(crc32fast::hash(b"99:1:101:1:98:3").cast_signed());
    scene.frame(2, &book("BTC-USDT", "update", ("98x3", ""), (10, 11), sum)).expect("bid 98x3 u11 t11 e1 fl");
    // One that was replaced keeps it, too.
    scene.update(3, 10, 11).closed(3).expect("");
    let sum = i64::from(crc32fast::hash(b"99:1:101:1:98:4").cast_signed());
    scene.frame(2, &book("BTC-USDT", "update", ("98x4", ""), (11, 12), sum)).expect("bid 98x4 u12 t12 e1 fl");
}

#[test]
fn a_checksum_that_is_not_zero_must_be_right() {
    let mut scene = Scene::of(BOOK);
    let sum = |text: &str| i64::from(crc32fast::hash(text.as_bytes()).cast_signed());
    scene.frame(1, &book("BTC-USDT", "snapshot", ("99.0x1", "101x2"), (-1, 1), sum("99.0:1:101:2"))).skip();
    scene
        .frame(1, &book("BTC-USDT", "update", ("98x3", ""), (1, 2), sum("99.0:1:101:2:98:3")))
        .expect("bid 98x3 u2 t2 e1 fl");
    scene.frame(1, &book("BTC-USDT", "update", ("98x4", ""), (2, 3), sum("99.0:1:101:2:98:3"))).expect(
        "suspect e1
         want resubscribe BTC/USDT on 1",
    );
    scene.frame(1, &book("BTC-USDT", "snapshot", ("99.0x1", ""), (-1, 4), 7)).expect("want resubscribe BTC/USDT on 1");
}

#[test]
fn amounts_of_swaps_are_in_base_units_and_checksums_over_contracts() {
    let mut scene = Scene::of(&["BTC/USDT:USDT trades", "BTC/USDT:USDT quotes", "BTC/USDT:USDT book"]);
    let sum = |text: &str| i64::from(crc32fast::hash(text.as_bytes()).cast_signed());
    scene.frame(1, &book("BTC-USDT-SWAP", "snapshot", ("99x7", "101x0.5"), (-1, 1), sum("99:7:101:0.5"))).expect(
        "bid 99x0.07 u1 t1 e1 Sf
         ask 101x0.005 u1 t1 e1 Sl
         valid e1",
    );
    scene
        .frame(1, &book("BTC-USDT-SWAP", "update", ("99x8", ""), (1, 2), sum("99:8:101:0.5")))
        .expect("bid 99x0.08 u2 t2 e1 fl");
    scene.frame(
        1,
        r#"{"arg":{"channel":"trades-all","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"1","px":"100","sz":"7","side":"sell","ts":"1"}]}"#,
    );
    scene.frame(
        1,
        r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{"asks":[],"bids":[["99","3","0","1"]],"ts":"1","seqId":1}]}"#,
    );
    scene.expect("trade 1 100x0.07 Sell fl e0\nquote 99x0.03 0x0.00 fl");
    // An amount that doesn't fit is in no record, and what it would have changed is a hole.
    let huge = i64::MAX.to_string();
    let unreadable = "notice unreadable on 1: \"sz\" of the instrument message is out of its range";
    let symbol = "PEPE/USDT:USDT";
    let mut scene = Scene::of(&[&format!("{symbol} book"), &format!("{symbol} trades")]);
    scene
        .frame(1, &book("PEPE-USDT-SWAP", "snapshot", ("1x2", ""), (-1, 1), 0))
        .expect("bid 1x20000000 u1 t1 e1 Sfl\nvalid e1");
    scene.frame(1, &book("PEPE-USDT-SWAP", "update", (&format!("1x{huge}"), ""), (1, 2), 0)).expect(unreadable);
    scene.frame(1, &book("PEPE-USDT-SWAP", "update", ("1x3", ""), (2, 3), 0)).expect(
        "suspect e1
         want resubscribe PEPE/USDT:USDT on 1",
    );
    let trade = format!(
        r#"{{"arg":{{"channel":"trades-all","instId":"PEPE-USDT-SWAP"}},"data":[{{"tradeId":"1","px":"1","sz":"{huge}","side":"buy","ts":"1"}}]}}"#
    );
    scene.frame(1, &trade).expect(unreadable);
    scene.trades(1, []).page(symbol, [1, 2]).expect("");
}

#[test]
fn a_swap_of_unknown_contracts_gives_nothing() {
    let mut scene = Scene::of(&["DOGE/USDT:USDT trades"]);
    let unknown = "notice unreadable on 1: instrument message without \"ctVal\"";
    scene.frame(
        1,
        r#"{"arg":{"channel":"trades-all","instId":"DOGE-USDT-SWAP"},"data":[{"tradeId":"1","px":"1","sz":"1","side":"buy","ts":"1"}]}"#,
    );
    scene.expect(unknown);
    scene.page("DOGE/USDT:USDT", [1]).expect(&unknown.replace("on 1", "on 0"));
}

#[test]
fn missing_trades_are_filled_by_pages_and_what_a_page_jumps_over_is_absent() {
    let mut scene = Scene::of(&["BTC/USDT trades"]);
    scene.trades(1, [10, 11, 16]).expect(
        "trade 10 100.10x2.0 Buy fl e0
         trade 11 100.10x2.0 Buy fl e0
         gap 11..16 sequence 12-15
         want trades BTC/USDT 12-15
         trade 16 100.10x2.0 Buy flG e0",
    );
    // 14 is on no page of the exchange.
    scene.page("BTC/USDT", [16, 15, 13, 12, 11, 10]).expect(
        "trade 12 100.1x3 Sell fl e0
         trade 13 100.1x3 Sell fl e0
         trade 15 100.1x3 Sell fl e0
         gap 11..16 sequence 12-15 repaired
         gap 11..16 sequence 14-14",
    );
    let refused = br#"{"code":"51001","msg":"Instrument ID does not exist","data":[]}"#;
    scene.entry(EntryKind::Response, 0, "trades BTC/USDT 1", refused);
    scene.expect(
        "notice ErrorReply { conn: 0, id: None, code: 0, message: \"okx refuses the request: code 51001: Instrument ID does not exist\" }",
    );
}

#[test]
fn what_the_exchange_says_beside_data_is_understood() {
    let mut scene = Scene::of(&["BTC/USDT trades", "BTC/USDT book"]);
    scene.frame(1, "pong").expect("");
    scene.frame(1, r#"{"id":"7","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#);
    scene.expect("notice Ack { conn: 1, id: 7 }");
    scene.frame(1, r#"{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"}}"#).expect("");
    scene.frame(1, r#"{"id":"8","event":"error","code":"60012","msg":"Invalid request","connId":"a4d3ae55"}"#);
    scene.expect("notice ErrorReply { conn: 1, id: Some(8), code: 60012, message: \"Invalid request\" }");
    let words = "Wrong URL or channel:books,instId:BTC-USDT doesn't exist.";
    scene.frame(1, &format!(r#"{{"id":"9","event":"error","code":"60018","msg":"{words}","connId":"a"}}"#));
    let found = scene.take();
    let notice = found.notices().next().unwrap();
    assert!(notice.starts_with("Refused { conn: 1, id: 9, symbol: Symbol") && notice.contains(words), "{notice}");
    scene.frame(1, r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}"#);
    scene.expect("notice Shutdown { conn: 1 }\nwant replace 1");
    scene.frame(1, r#"{"event":"notice","code":"1","msg":"?"}"#).expect("notice UnknownMessage { conn: 1 }");
    scene
        .frame(1, r#"{"event":"channel-conn-count","channel":"books","connCount":"2"}"#)
        .expect("notice UnknownMessage { conn: 1 }");
    // Data before what they are of.
    scene.frame(
        1,
        r#"{"data":[{"tradeId":"1","px":"1","sz":"1","side":"?","ts":"5","count":"1"}],"arg":{"channel":"trades","instId":"BTC-USDT"}}"#,
    );
    scene.expect("trade 1 1x1 Unknown fl e0");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut scene = Scene::of(&["BTC/USDT trades", "BTC/USDT book", "BTC/USDT quotes"]);
    let trade = |fields: &str| format!(r#"{{"arg":{{"channel":"trades-all","instId":"BTC-USDT"}},"data":[{{{fields}}}]}}"#);
    let of_book = |fields: &str| {
        format!(r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"update","data":[{{{fields}}}]}}"#)
    };
    let range = |event: &str, field: &str| format!("\"{field}\" of the {event} message is out of its range");
    let missing = |event: &str, field: &str| format!("{event} message without \"{field}\"");
    for (frame, reason) in [
        (trade(r#""tradeId":"5","px":"1","sz":"6","side":"buy","ts":"1","count":"3""#), range("trades", "count")),
        (trade(r#""tradeId":"-5","px":"1","sz":"6","side":"buy","ts":"1""#), range("trades", "tradeId")),
        (trade(r#""tradeId":"5","px":"-1","sz":"6","side":"buy","ts":"1""#), range("trades", "px")),
        (trade(r#""tradeId":"5","px":"1","sz":"6","side":"buy","ts":"99999999999999999""#), range("trades", "ts")),
        (trade(r#""tradeId":"5","px":"1","side":"buy","ts":"1""#), missing("trades", "sz")),
        (of_book(r#""asks":[],"bids":[],"ts":"1","checksum":0"#), missing("books", "seqId")),
        (of_book(r#""asks":[],"bids":[],"ts":"1","checksum":0,"seqId":4"#), missing("books", "prevSeqId")),
        (
            of_book(r#""asks":[],"bids":[],"ts":"1","checksum":5000000000,"seqId":4,"prevSeqId":3"#),
            range("books", "checksum"),
        ),
        (of_book(r#""asks":[],"bids":[["1"]],"ts":"1","seqId":4,"prevSeqId":3"#), missing("books", "size")),
        (of_book(r#""asks":[],"ts":"1","seqId":4,"prevSeqId":3"#), missing("books", "bids")),
        (r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"data":[]}"#.to_owned(), missing("books", "data")),
        (r#"{"arg":{"channel":"bbo-tbt"},"data":[]}"#.to_owned(), missing("bbo-tbt", "instId")),
    ] {
        scene.frame(1, &frame).expect(&format!("notice unreadable on 1: {reason}"));
    }
}

#[test]
fn updates_that_are_held_back_are_bounded() {
    let mut scene = Scene::of(BOOK);
    for n in 1..6_000 {
        scene.update(1, n, n + 1);
    }
    assert_eq!((scene.session.feed_status(0).buffered, scene.session.counters().overflowed), (4_096, 5_999 - 4_096));
    // A hole among them: what stands before it is of no use.
    scene.update(1, 7_000, 7_001);
    assert_eq!(scene.session.feed_status(0).buffered, 1);
    let many: String = (1..=400).map(|price| format!("{price}x1 ")).collect();
    for n in 7_001..8_001 {
        scene.frame(1, &book("BTC-USDT", "update", (&many, ""), (n, n + 1), 0));
    }
    let (held, level) = (scene.session.feed_status(0).buffered, 32);
    assert!(held * 400 * level <= 8 << 20 && (held + 1) * 400 * level > 8 << 20, "{held} updates of 400 levels");
}
