//! The simulated Bitfinex over its WebSocket: commands, flags, channels, and the market that is the same as over REST.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::bitfinex::{BULK, Bitfinex, Book, CHECKSUM, Chain, Message, SEQUENCE, TIMESTAMP, options, rules};
use common::{Client, get, start};
use dccd_sim::LedgerRecord;
use serde_json::{Value, json};

#[tokio::test]
async fn commands_are_answered_as_the_exchange_answers_them() {
    let scene = start(rules("channels=3")).await;
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    let pong: Value = serde_json::from_str(&bitfinex.ask(json!({"event": "ping", "cid": 1234})).await).unwrap();
    assert_eq!((&pong["event"], &pong["cid"], pong["ts"].is_u64()), (&json!("pong"), &json!(1234), true));
    let book = json!({"event": "subscribe", "channel": "book", "symbol": "tBTCUST", "prec": "P0", "freq": "F0", "len": 100});
    let reply = bitfinex.ask(book.clone()).await;
    let (head, tail) = reply.split_once(|c: char| c.is_ascii_digit()).unwrap();
    assert_eq!(head, r#"{"event":"subscribed","channel":"book","chanId":"#);
    let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    assert_eq!(tail, r#","symbol":"tBTCUST","prec":"P0","freq":"F0","len":"100","pair":"BTCUST"}"#);
    let mut refused = Vec::new();
    for request in [
        book,
        json!({"event": "subscribe", "channel": "trades", "symbol": "tNOSUCH"}),
        json!({"event": "subscribe", "channel": "book", "symbol": "tBTCUSD", "prec": "P9"}),
        json!({"event": "subscribe", "channel": "book", "symbol": "tBTCUSD", "len": 24}),
        json!({"event": "subscribe", "channel": "candles", "key": "trade:7m:tBTCUSD"}),
        json!({"event": "subscribe", "channel": "nothing"}),
        json!({"event": "unsubscribe", "chanId": 1}),
        json!({"event": "fly"}),
    ] {
        let reply: Value = serde_json::from_str(&bitfinex.ask(request).await).unwrap();
        assert_eq!(reply["event"], "error");
        refused.push((reply["code"].as_u64().unwrap(), reply["msg"].as_str().unwrap().to_owned()));
    }
    let expected = [
        (10_301, "subscribe: dup"),
        (10_300, "symbol: invalid"),
        (10_300, "prec: invalid"),
        (10_300, "len: invalid"),
        (10_300, "key: invalid"),
        (10_302, "channel: unknown"),
        (10_400, "unsubscribe: invalid"),
        (10_000, "Unknown event"),
    ];
    assert_eq!(refused, expected.map(|(code, text)| (code, text.to_owned())));
    let trades = bitfinex.subscribe("trades", json!({"symbol": "tDOGE:USD"})).await;
    bitfinex.subscribe("candles", json!({"key": "trade:1m:tBTCF0:USTF0"})).await;
    let full = bitfinex.ask(json!({"event": "subscribe", "channel": "ticker", "symbol": "tBTCUSD"})).await;
    assert!(full.contains(r#""code":10305"#), "{full}");
    assert!(!full.contains("subId"), "{full}");
    let gone = bitfinex.ask(json!({"event": "unsubscribe", "chanId": trades})).await;
    assert_eq!(gone, format!(r#"{{"event":"unsubscribed","status":"OK","chanId":{trades}}}"#));
    let again =
        bitfinex.ask(json!({"event": "subscribe", "channel": "trades", "symbol": "tDOGE:USD", "subId": "mine"})).await;
    assert!(again.contains(r#","symbol":"tDOGE:USD","subId":"mine","pair":"DOGE:USD"}"#), "{again}");
    assert!(!again.contains(&format!(r#""chanId":{trades},"#)), "{again}");
    let failed = bitfinex.ask(json!({"event": "conf", "flags": "many"})).await;
    assert!(failed.contains(r#""status":"FAILED""#), "{failed}");
    scene.finish().await;
}

#[tokio::test]
async fn flags_are_honoured_in_every_combination() {
    let scene = start(options()).await;
    for bits in 0..16_u32 {
        let flag = |bit: u32, flag: u32| if bits & (1 << bit) == 0 { 0 } else { flag };
        let flags = flag(0, TIMESTAMP) | flag(1, SEQUENCE) | flag(2, CHECKSUM) | flag(3, BULK);
        let mut bitfinex = Bitfinex::with_flags(&scene.sim, flags).await;
        let channel = bitfinex.book("tBTCUSD", "P0", 25).await;
        let trades = bitfinex.subscribe("trades", json!({"symbol": "tBTCUSD"})).await;
        let (mut book, mut chain) = (Book::default(), Chain::default());
        let (mut checksums, mut many) = (0, 0);
        for n in 0..80 {
            let message = Message::read(&bitfinex.next_text().await.unwrap()).unwrap();
            let base = if ["te", "tu", "cs"].iter().any(|word| message.is(word)) { 2 } else { 1 };
            let mut rest = message.parts[base..].iter().map(|part| part.parse::<u64>().unwrap());
            if flags & SEQUENCE != 0 {
                assert!(chain.follows(rest.next().unwrap()), "{message:?}");
            }
            if flags & TIMESTAMP != 0 {
                assert!(rest.next().unwrap() > 1_700_000_000_000, "{message:?}");
            }
            assert_eq!(rest.next(), None, "{message:?}");
            if message.channel == trades {
                continue;
            }
            many += usize::from(n > 2 && message.parts[0].starts_with("[["));
            if let Some(is_right) = book.apply(&message) {
                assert!(is_right, "after {} batches", book.batches);
                checksums += 1;
            }
        }
        assert_eq!((checksums > 0, many > 0), (flags & CHECKSUM != 0, flags & BULK != 0), "{flags}");
        assert_ne!(channel, trades);
    }
    scene.finish().await;
}

#[tokio::test]
async fn books_of_every_precision_and_length_have_the_checksums_that_are_told() {
    let scene = start(options()).await;
    for precision in ["P0", "P1", "P2", "P3", "P4", "R0"] {
        for length in [1, 25, 100, 250] {
            let mut bitfinex = Bitfinex::with_flags(&scene.sim, CHECKSUM).await;
            let channel = bitfinex.book("tDOGE:USD", precision, length).await;
            let mut book = if precision == "R0" { Book::raw() } else { Book::default() };
            // Coarse books change seldom.
            let wanted = if precision == "P0" || precision == "R0" { 12 } else { 2 };
            while book.batches < wanted {
                let message = bitfinex.next_of(channel).await;
                assert_ne!(book.apply(&message), Some(false), "{precision} {length} after {} batches", book.batches);
            }
            assert!(book.bids.len() <= length && book.asks.len() <= length && !book.bids.is_empty());
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_book_is_told_what_is_gone_first_and_is_the_exchanges_own() {
    let scene = start(options()).await;
    for symbol in ["tBTCUSD", "tBTCF0:USTF0"] {
        let mut bitfinex = Bitfinex::with_flags(&scene.sim, CHECKSUM | BULK).await;
        let channel = bitfinex.book(symbol, "P0", 100).await;
        let mut book = Book::default();
        book.apply(&bitfinex.next_of(channel).await);
        while book.batches < 20 {
            let message = bitfinex.next_of(channel).await;
            if message.parts[0].starts_with('[') {
                let rows = message.value(0);
                // Gone bids, gone asks, then bids and asks that are new or other.
                let place = |row: &Value| 2 * u8::from(row[1] != 0) + u8::from(row[2].as_f64().unwrap() < 0.0);
                assert!(rows.as_array().unwrap().is_sorted_by_key(place), "{rows}");
            }
            assert_ne!(book.apply(&message), Some(false));
        }
        scene.sim.pause().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        // What is still on its way comes before the reply.
        let pong = bitfinex.ask(json!({"event": "ping"})).await;
        assert!(pong.contains("pong"));
        let rest = get(&scene.sim, &format!("/v2/book/{symbol}/P0?len=100")).await.json();
        let ours = drained(&mut bitfinex, channel, book).await;
        let text = |row: &[String; 3]| (row[0].clone(), row[2].clone());
        let told: Vec<_> = ours.bids.iter().chain(&ours.asks).map(text).collect();
        let own: Vec<_> =
            rest.as_array().unwrap().iter().map(|row| (row[0].as_f64().unwrap(), row[2].as_f64().unwrap())).collect();
        let read: Vec<(f64, f64)> =
            told.iter().map(|(price, amount)| (price.parse().unwrap(), amount.parse().unwrap())).collect();
        assert_eq!(read, own);
        scene.sim.resume().await.unwrap();
    }
    scene.finish().await;
}

/// A book with all that came until it was asked for.
async fn drained(bitfinex: &mut Bitfinex, channel: u64, mut book: Book) -> Book {
    let channel_of_end = bitfinex.subscribe("ticker", json!({"symbol": "tBTCUST"})).await;
    loop {
        let message = Message::read(&bitfinex.next_text().await.unwrap()).unwrap();
        if message.channel == channel_of_end {
            return book;
        }
        if message.channel == channel {
            assert_ne!(book.apply(&message), Some(false));
        }
    }
}

#[tokio::test]
async fn trades_come_twice_and_are_those_of_rest() {
    let scene = start(options()).await;
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    let channel = bitfinex.subscribe("trades", json!({"symbol": "tBTCUST"})).await;
    let shown = bitfinex.next_of(channel).await.value(0);
    assert_eq!(shown.as_array().unwrap().len(), 30);
    assert!(shown.as_array().unwrap().is_sorted_by_key(|row| std::cmp::Reverse(row[1].as_i64().unwrap())));
    let (mut executed, mut updated) = (Vec::new(), Vec::new());
    while updated.len() < 120 {
        let message = bitfinex.next_of(channel).await;
        if message.is("te") { executed.push(message.value(1)) } else { updated.push(message.value(1)) }
    }
    let ids: Vec<u64> = executed.iter().map(|row| row[0].as_u64().unwrap()).collect();
    let steps: BTreeSet<u64> = ids.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(ids.is_sorted() && steps.len() > 3, "ids grow and are not counted: {steps:?}");
    // A subscription may begin between the two.
    let first = updated.iter().position(|row| *row == executed[0]).unwrap();
    assert_eq!(executed[..updated.len() - first], updated[first..]);
    let start = executed[0][1].as_i64().unwrap();
    let page = get(&scene.sim, &format!("/v2/trades/tBTCUST/hist?start={start}&sort=1&limit=10000")).await.json();
    let known: BTreeMap<u64, &Value> = page.as_array().unwrap().iter().map(|row| (row[0].as_u64().unwrap(), row)).collect();
    assert!(executed.iter().all(|row| known[&row[0].as_u64().unwrap()] == row));
    let between = known.range(ids[0]..=*ids.last().unwrap()).count();
    assert_eq!(between, ids.len(), "none is missing between them");
    scene.finish().await;
}

#[tokio::test]
async fn quiet_channels_get_heartbeats_and_others_don_t() {
    let mut options = rules("heartbeat=0.4");
    options.market.symbols = vec!["BTC/USD".into(), "DOGE/USD".into()];
    options.market.trades_per_second = 0.0;
    options.market.book_updates_per_second = 400.0;
    let scene = start(options).await;
    let mut bitfinex = Bitfinex::with_flags(&scene.sim, SEQUENCE | TIMESTAMP).await;
    let trades = bitfinex.subscribe("trades", json!({"symbol": "tBTCUSD"})).await;
    let other = bitfinex.subscribe("trades", json!({"symbol": "tDOGE:USD"})).await;
    let book = bitfinex.book("tBTCUSD", "P0", 25).await;
    let mut beats = Vec::new();
    while beats.len() < 6 {
        let message = Message::read(&bitfinex.next_text().await.unwrap()).unwrap();
        if message.is("hb") {
            assert_eq!(message.parts.len(), 3, "{message:?}");
            beats.push(message.channel);
        }
    }
    // The first may leave out those that had begun just before.
    assert!(!beats.contains(&book) && beats.ends_with(&[trades, other, trades, other]), "{beats:?} {book}");
    scene.finish().await;
}

#[tokio::test]
async fn tickers_and_candles_agree_with_rest() {
    let scene = start(rules("dust=false")).await;
    let mut bitfinex = Bitfinex::connect(&scene.sim).await;
    let ticker = bitfinex.subscribe("ticker", json!({"symbol": "tBTCUSD"})).await;
    for _ in 0..4 {
        let row = bitfinex.next_of(ticker).await.value(0);
        assert!(row[0].as_f64() < row[2].as_f64() && row[9].as_f64() <= row[6].as_f64(), "{row}");
        assert_eq!((row.as_array().unwrap().len(), &row[10]), (11, &Value::Null));
    }
    let candles = bitfinex.subscribe("candles", json!({"key": "trade:1m:tBTCUSD"})).await;
    let shown = bitfinex.next_of(candles).await.value(0);
    assert!(shown.as_array().unwrap().is_sorted_by_key(|row| std::cmp::Reverse(row[0].as_i64().unwrap())));
    let mut told: BTreeMap<i64, Value> = BTreeMap::new();
    for _ in 0..3 {
        let row = bitfinex.next_of(candles).await.value(0);
        told.insert(row[0].as_i64().unwrap(), row);
    }
    scene.sim.pause().await.unwrap();
    let page = get(&scene.sim, "/v2/candles/trade:1m:tBTCUSD/hist?limit=240").await.json();
    let rows: BTreeMap<i64, &Value> = page.as_array().unwrap().iter().map(|row| (row[0].as_i64().unwrap(), row)).collect();
    for (open, row) in &told {
        assert_eq!(row[1], rows[open][1]);
        assert!(row[3].as_f64() <= rows[open][3].as_f64() && row[5].as_f64() <= rows[open][5].as_f64());
    }
    // Those that had closed before are the same.
    let closed: Vec<_> = shown.as_array().unwrap().iter().skip(1).collect();
    assert!(
        closed.len() > 100 && closed.iter().all(|row| rows.get(&row[0].as_i64().unwrap()).is_none_or(|known| known == row))
    );
    scene.finish().await;
}

#[tokio::test]
async fn an_address_may_connect_so_often_and_no_more() {
    let scene = start(rules("connects=3")).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Bitfinex::connect(&scene.sim).await);
    }
    assert!(Client::try_connect(&scene.sim, "/ws/2").await.is_err());
    let ledger = scene.finish().await;
    assert_eq!(ledger.iter().filter(|record| matches!(record, LedgerRecord::Opened { .. })).count(), 3);
}
