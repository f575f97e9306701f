//! Messages as the exchange writes them, and as nobody should.

use proptest::prelude::*;

use super::*;
use dccd_model::Decimal;

/// The message, its levels and, for what can't be read, the whole reason: one line.
fn read(frame: &str) -> String {
    let mut levels = Levels::default();
    let side = |levels: &[crate::session::Level]| {
        levels.iter().map(|l| format!("{}x{}", l.price, l.amount)).collect::<Vec<_>>().join(" ")
    };
    match message(frame.as_bytes(), &mut levels) {
        Ok(Message::Trade(t)) => {
            format!("{:?} {} {} {}x{} {:?} {}", t.space, t.symbol, t.id, t.price, t.amount, t.side, t.ts_venue)
        }
        Ok(Message::Quote(q)) => {
            format!("quote {} {} {}x{} {}x{} {}", q.symbol, q.number, q.bid, q.bid_amount, q.ask, q.ask_amount, q.ts_venue.0)
        }
        Ok(Message::Depth(d)) => {
            format!(
                "depth {} {}-{} {} [{}] [{}]",
                d.symbol,
                d.first,
                d.last,
                d.ts_venue,
                side(&levels.bids),
                side(&levels.asks)
            )
        }
        Ok(Message::Ack { id }) => format!("ack {id}"),
        Ok(Message::Error { id, code, message }) => format!("error {id:?} {code} {message}"),
        Ok(Message::Shutdown) => "shutdown".to_owned(),
        Ok(Message::Other) => "other".to_owned(),
        Err(FrameError::Json(error)) => format!("unreadable: {error}"),
        Err(error) => format!("unreadable: {error}"),
    }
}

#[track_caller]
fn check(frame: &str, expected: &str) {
    assert_eq!(read(frame), expected, "{frame}");
    // What has no wrapper of its own means the same inside of one.
    if !frame.contains("\"data\"") && frame.starts_with('{') && !expected.starts_with("unreadable: not") {
        let inside = format!(r#"{{"stream":"x@y","data":{frame}}}"#);
        let turned = format!(r#"{{"data":{frame},"stream":"x@y"}}"#);
        if !expected.starts_with("unreadable") {
            assert_eq!((read(&inside).as_str(), read(&turned).as_str()), (expected, expected), "{frame}");
        }
    }
}

#[test]
fn trades_keep_their_digits_and_say_who_took() {
    check(
        r#"{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100","q":"100","T":1672515782135,"m":true,"M":true}"#,
        "Single BNBBTC 12345 0.00100x100 Sell 2022-12-31T19:43:02.135Z",
    );
    check(
        r#"{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":5933014,"p":"0.001","q":"100.50","nq":"1","f":100,"l":105,"T":1672515782136,"m":false,"st":1}"#,
        "Aggregated BTCUSDT 5933014 0.001x100.50 Buy 2022-12-31T19:43:02.136Z",
    );
    // Any order, microseconds, numbers without quotes, ids of orders in the places of other messages' fields.
    check(
        r#"{ "M":true, "T":1672515782136001, "q":1e-7, "p":61837.6300000000, "b":133829535, "a":133829530, "t":1, "s":"BTCUSDT", "e":"trade" }"#,
        "Single BTCUSDT 1 61837.6300000000x0.0000001 Unknown 2022-12-31T19:43:02.136001Z",
    );
    check(
        r#"{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":7,"p":5,"q":"2"}"#,
        "Single BTCUSDT 7 5x2 Unknown 2022-12-31T19:43:02.136Z",
    );
    check(
        r#"{"e":"tr\u0061de","s":"\u5e01USDT","t":7,"p":"\u0035","q":"2","T":1}"#,
        "Single 币USDT 7 5x2 Unknown 1970-01-01T00:00:00.001Z",
    );
}

#[test]
fn quotes_have_no_time_on_spot_and_one_elsewhere() {
    check(
        r#"{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}"#,
        "quote BNBUSDT 400900217 25.35190000x31.21000000 25.36520000x40.66000000 0",
    );
    check(
        r#"{"e":"bookTicker","u":1,"E":5,"T":4,"s":"BNBUSDT","b":25.1,"B":"31","a":26,"A":"0"}"#,
        "quote BNBUSDT 1 25.1x31 26x0 4000000",
    );
}

#[test]
fn depth_keeps_both_sides_in_order() {
    check(
        r#"{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"],["0.0023","0.00"]],"a":[["0.0026","100"]]}"#,
        "depth BNBBTC 157-160 2022-12-31T19:43:02.136Z [0.0024x10 0.0023x0.00] [0.0026x100]",
    );
    check(
        r#"{"a":[],"b":[["1","2",[]],["3",4.50]],"u":2,"U":2,"s":"X","E":1672515782136000,"e":"depthUpdate","pu":1}"#,
        "depth X 2-2 2022-12-31T19:43:02.136Z [1x2 3x4.50] []",
    );
    // A field that comes twice: the last one counts, as with every JSON reader.
    check(
        r#"{"e":"depthUpdate","E":1,"s":"X","U":1,"u":1,"b":[["9","9"]],"b":[["1","2"]],"a":[]}"#,
        "depth X 1-1 1970-01-01T00:00:00.001Z [1x2] []",
    );
}

#[test]
fn replies_and_announcements_are_told_apart() {
    check(r#"{"result":null,"id":1}"#, "ack 1");
    check(r#"{"id":3,"result":["btcusdt@trade"]}"#, "ack 3");
    check(
        r#"{"error":{"code":2,"msg":"Invalid request: unknown stream"},"id":9}"#,
        "error Some(9) 2 Invalid request: unknown stream",
    );
    check(r#"{"code":3,"msg":"Invalid JSON"}"#, "error None 3 Invalid JSON");
    check(r#"{"id":null,"error":{"code":-1121,"msg":"Invalid symbol \"X\"."}}"#, "error None -1121 Invalid symbol \"X\".");
    check(r#"{"e":"serverShutdown","E":1770123456789}"#, "shutdown");
    check(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#, "shutdown");
    check(r#"{"stream":"!serverShutdown","data":{}}"#, "shutdown");
}

#[test]
fn messages_of_other_kinds_are_no_errors() {
    check(r#"{"e":"kline","E":1,"s":"X","k":{"t":1,"T":2,"o":"1"}}"#, "other");
    check(r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker","p":"-1"}]}"#, "other");
    check(r#"{"e":"trade_all","s":"X","t":[{"t":"315"}]}"#, "other");
    check(r#"{"stream":"x@newThing","data":{"e":"newThing","T":"text","a":{"b":[1]}}}"#, "other");
    check(r#"{"stream":"btcusdt@depth20","data":{"lastUpdateId":1,"bids":[["1","2"]],"asks":[]}}"#, "other");
    check(r#"{}"#, "other");
    check(r#"[]"#, "other");
    check(r#"null"#, "other");
}

#[test]
fn what_cant_be_read_says_why() {
    for (frame, why) in [
        ("", "unreadable: EOF while parsing a value at line 1 column 0"),
        (r#"{"e":"trade""#, "unreadable: EOF while parsing an object at line 1 column 12"),
        (r#"{"e":"trade","s":"X","t":1,"p":"1","q":"1","T":1}x"#, "unreadable: trailing characters at line 1 column 50"),
        (r#"{"e":"trade","s":"X","p":"1","q":"1","T":1}"#, r#"unreadable: trade message without "t""#),
        (r#"{"e":"aggTrade","s":"X","t":1,"p":"1","q":"1","T":1}"#, r#"unreadable: aggTrade message without "a""#),
        (
            r#"{"e":"trade","s":"X","t":1,"p":"-1","q":"1","T":1}"#,
            r#"unreadable: "p" of the trade message is out of its range"#,
        ),
        (
            r#"{"e":"depthUpdate","s":"X","E":1,"U":2,"u":1,"b":[],"a":[]}"#,
            r#"unreadable: "U" of the depthUpdate message is out of its range"#,
        ),
        (
            r#"{"e":"depthUpdate","s":"X","E":1,"U":1,"u":2,"b":[["1","-2"]],"a":[]}"#,
            r#"unreadable: "b" of the depthUpdate message is out of its range"#,
        ),
        (r#"{"e":"depthUpdate","s":"X","E":1,"U":1,"u":2,"b":[]}"#, r#"unreadable: depthUpdate message without "a""#),
        (r#"{"u":1,"s":"X","b":"1","B":"1","a":"2"}"#, r#"unreadable: bookTicker message without "A""#),
    ] {
        check(frame, why);
    }
    for (frame, part) in [
        (r#"{"e":"trade","s":"X","t":1,"p":"1.2.3","q":"1","T":1}"#, r#""1.2.3" is not a decimal number"#),
        (r#"{"e":"trade","s":"X","t":1,"p":99999999999999999999.5,"q":"1","T":1}"#, "99999999999999999999.5 does not fit"),
        (r#"{"e":"trade","s":"X","t":-1,"p":"1","q":"1","T":1}"#, "invalid value: integer `-1`"),
        (r#"{"e":"depthUpdate","s":"X","E":1,"U":1,"u":2,"b":[["1"]],"a":[]}"#, "invalid length 1"),
        ("\u{feff}{}", "expected value"),
    ] {
        let got = read(frame);
        assert!(got.starts_with("unreadable: ") && got.contains(part), "{frame} gives {got}");
    }
    assert!(matches!(message(b"\xff\xfe", &mut Levels::default()), Err(FrameError::Json(_))));
}

#[test]
fn time_units_are_told_by_magnitude() {
    assert_eq!(time(1_672_515_782_136), time(1_672_515_782_136_000));
    assert_eq!(time(99_999_999_999_999).0, i64::MAX);
    assert_eq!(time(100_000_000_000_000).0, 100_000_000_000_000_000);
    assert_eq!((time(0).0, time(-5).0, time(i64::MAX).0), (0, -5_000_000, i64::MAX));
}

#[test]
fn the_stream_is_known_by_the_beginning_of_a_broken_frame() {
    let name = |frame: &str| stream_name(frame.as_bytes()).map(|(id, channel)| format!("{id} {channel}"));
    assert_eq!(name(r#"{"stream":"btcusdt@depth@100ms","data":{"#).as_deref(), Some("btcusdt depth"));
    assert_eq!(name(r#"{"stream":"btcusdt@bookTicker","x"#).as_deref(), Some("btcusdt bookTicker"));
    for broken in ["", r#"{"stream":"btcusdt@bookTi"#, r#"{"stream":"btcusdt@bookTickex","#, r#"{"e":"trade"}"#] {
        assert_eq!(name(broken), None, "{broken}");
    }
}

const GENUINE: [&str; 4] = [
    r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
    r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
    r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61844.30000000","0.40163000"]]}}"#,
    r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#,
];

proptest! {
    #[test]
    fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = message(&bytes, &mut Levels::default());
        let _ = stream_name(&bytes);
    }

    #[test]
    fn the_short_way_to_a_decimal_gives_what_the_long_one_gives(text in "[0-9]{0,12}[.e+-]?[0-9]{0,12}[.x]?") {
        if let Some(short) = crate::wire::plain_decimal(text.as_bytes()) {
            let long = Decimal::parse(text.as_bytes()).unwrap();
            prop_assert_eq!((short.mantissa, short.exponent), (long.mantissa, long.exponent), "{}", text);
        } else {
            prop_assert!(text.len() > 18 || !text.chars().all(|c| c.is_ascii_digit() || c == '.') || !text.starts_with(|c: char| c.is_ascii_digit()) || text.matches('.').count() > 1);
        }
    }

    #[test]
    fn mutated_frames_return(which in 0..GENUINE.len(), cut in 0usize..400, changes in proptest::collection::vec((0usize..400, any::<u8>()), 0..8)) {
        let mut bytes = GENUINE[which].as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        let _ = message(&bytes, &mut Levels::default());
    }

    #[test]
    fn the_order_of_keys_and_the_blanks_between_them_mean_nothing(
        order in Just(vec![0usize, 1, 2, 3, 4, 5, 6, 7]).prop_shuffle(), blank in "[ \n\t]{0,3}", price in 0i64.., exponent in -12i8..0, id: u64,
    ) {
        let price = Decimal::new(price, exponent);
        let fields = [
            r#""e":"trade""#.to_owned(), r#""E":1723161255343"#.to_owned(), r#""s":"BTCUSDT""#.to_owned(), format!(r#""t":{id}"#),
            format!(r#""p":"{price}""#), r#""q":"0.5""#.to_owned(), r#""T":1723161255342"#.to_owned(), r#""m":false"#.to_owned(),
        ];
        let shuffled: Vec<&str> = order.iter().map(|i| fields[*i].as_str()).collect();
        let frame = format!("{{{blank}{}{blank}}}", shuffled.join(&format!("{blank},{blank}")));
        let mut levels = Levels::default();
        let Ok(Message::Trade(trade)) = message(frame.as_bytes(), &mut levels) else { panic!("{frame}") };
        prop_assert_eq!((trade.id, trade.price.mantissa, trade.price.exponent), (id, price.mantissa, price.exponent));
    }
}
