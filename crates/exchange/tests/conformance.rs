//! Every adapter passes the conformance suite.

use dccd_exchange::conformance::{BookProtocol, Protocol, candle_page, suite, suite_after, trade_pages};
use dccd_exchange::{AdapterOptions, NAMES, TradeCursor, adapter};
use dccd_model::{Span, UnixNanos};

const EXCHANGE_INFO: &[u8] = include_bytes!("../src/binance/testdata/exchange_info.json");
const SPOT: &[u8] = include_bytes!("../src/bybit/testdata/spot.json");
const LINEAR: &[u8] = include_bytes!("../src/bybit/testdata/linear.json");
const ASSET_PAIRS: &[u8] = include_bytes!("../src/kraken/testdata/asset_pairs.json");

#[test]
fn binance_conforms_with_single_and_with_aggregated_trades() {
    for aggregated in [false, true] {
        let options = AdapterOptions { aggregated_trades: aggregated, depth: Some(1_000) };
        let binance = adapter("binance", &options).unwrap();
        let (stream, id) = if aggregated { ("aggTrade", "a") } else { ("trade", "t") };
        let (page_id, price, amount, time) = if aggregated { ("a", "p", "q", "T") } else { ("id", "price", "qty", "time") };
        let protocol = Protocol {
            symbol: "BTC/USDT".parse().unwrap(),
            markets: EXCHANGE_INFO,
            trade: &|number, ms| {
                format!(
                    r#"{{"stream":"btcusdt@{stream}","data":{{"e":"{stream}","E":{ms}000,"s":"BTCUSDT","{id}":{number},"p":"100.10","q":"2","T":{ms}000,"m":true,"M":true}}}}"#
                )
            },
            trades_page: &|first, last| {
                let rows: Vec<String> = (first..=last)
                    .map(|n| format!(r#"{{"{page_id}":{n},"{price}":"100.10","{amount}":"2","{time}":1700000000000}}"#))
                    .collect();
                format!("[{}]", rows.join(","))
            },
            quote: &|number| {
                format!(
                    r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{number},"s":"BTCUSDT","b":"99.9","B":"1","a":"100","A":"2"}}}}"#
                )
            },
            book: BookProtocol::Numbered {
                event: &|first, last, ms| {
                    format!(
                        r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{ms}000,"s":"BTCUSDT","U":{first},"u":{last},"b":[["99.9","{last}"],["99.8","0"]],"a":[["100","{last}"]]}}}}"#
                    )
                },
                snapshot: &|last| {
                    format!(
                        r#"{{"lastUpdateId":{last},"bids":[["99.9","1"],["99.8","2"]],"asks":[["100","1"],["100.2","2"]]}}"#
                    )
                },
            },
        };
        suite(binance.as_ref(), &protocol);
    }
}

#[test]
fn binance_conforms_with_perpetuals() {
    let binance = adapter("binance", &AdapterOptions::default()).unwrap();
    let protocol = Protocol {
        symbol: "BTC/USDT:USDT".parse().unwrap(),
        markets: include_bytes!("../src/binance/testdata/exchange_info_usdm.json"),
        trade: &|id, ms| {
            format!(
                r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":{ms},"s":"BTCUSDT","a":{id},"p":"100.10","q":"2","nq":"2","f":1,"l":2,"T":{ms},"m":true,"st":1}}}}"#
            )
        },
        trades_page: &|first, last| {
            let row = |id| format!(r#"{{"a":{id},"p":"100.10","q":"2","f":1,"l":2,"T":1700000000000,"m":true}}"#);
            format!("[{}]", (first..=last).map(row).collect::<Vec<_>>().join(","))
        },
        quote: &|n| {
            format!(
                r#"{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{n},"s":"BTCUSDT","ps":"BTCUSDT","st":1,"b":"99.9","B":"1","a":"100","A":"2","T":{n},"E":{n}}}}}"#
            )
        },
        book: BookProtocol::Numbered {
            // Numbers are those of all symbols: an event begins anywhere behind the one before.
            event: &|first, last, ms| {
                format!(
                    r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{ms},"T":{ms},"s":"BTCUSDT","ps":"BTCUSDT","st":1,"U":{},"u":{last},"pu":{},"b":[["99.9","{last}"],["99.8","0"]],"a":[["100","{last}"]]}}}}"#,
                    last,
                    first - 1
                )
            },
            snapshot: &|last| {
                format!(
                    r#"{{"lastUpdateId":{last},"E":1,"T":1,"bids":[["99.9","1"],["99.8","2"]],"asks":[["100","1"],["100.2","2"]]}}"#
                )
            },
        },
    };
    suite(binance.as_ref(), &protocol);
}

/// The checksum of a book whose numbers are given without their points: asks from the lowest up, then bids from the highest down.
fn crc(digits: &[&str]) -> u32 {
    crc32fast::hash(digits.concat().as_bytes())
}

/// Even states set the amount of the best bid, odd ones that of the best ask, to their own number of hundred-millionths.
fn kraken_book(kind: &str, n: u64, ms: i64) -> String {
    let (bid, ask) = if n.is_multiple_of(2) { (n, n - 1) } else { (n - 1, n) };
    let level = |price: &str, amount: u64| format!(r#"{{"price":{price},"qty":1.{amount:08}}}"#);
    let (best_bid, best_ask) = (level("99.9", bid), level("100.1", ask));
    let (bids, asks) = match kind {
        "snapshot" => (format!("{best_bid},{}", level("99.8", 0)), best_ask),
        _ if n.is_multiple_of(2) => (best_bid, String::new()),
        _ => (String::new(), best_ask),
    };
    let checksum = crc(&["1001", &format!("1{ask:08}"), "999", &format!("1{bid:08}"), "998", "100000000"]);
    let time = UnixNanos::from_millis(ms);
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{checksum},"timestamp":"{time}"}}]}}"#
    )
}

#[test]
fn kraken_conforms() {
    for depth in [None, Some(10), Some(1_000)] {
        let kraken = adapter("kraken", &AdapterOptions { aggregated_trades: false, depth }).unwrap();
        let protocol = Protocol {
            symbol: "BTC/USD".parse().unwrap(),
            markets: ASSET_PAIRS,
            trade: &|id, ms| {
                let time = UnixNanos::from_millis(ms);
                format!(
                    r#"{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"sell","price":100.1,"qty":2.00000000,"ord_type":"limit","trade_id":{id},"timestamp":"{time}"}}]}}"#
                )
            },
            trades_page: &|first, last| {
                let rows: Vec<String> =
                    (first..=last).map(|id| format!(r#"["100.1","2.0",1700000000.0{id:02},"s","l","",{id}]"#)).collect();
                format!(
                    r#"{{"error":[],"result":{{"XXBTZUSD":[{}],"last":"17000000000{last:02}0000000"}}}}"#,
                    rows.join(",")
                )
            },
            quote: &|n| {
                let time = UnixNanos::from_secs(i64::try_from(n).unwrap());
                format!(
                    r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":99.9,"bid_qty":{n}.00000000,"ask":100.1,"ask_qty":2.00000000,"last":100.0,"timestamp":"{time}"}}]}}"#
                )
            },
            book: BookProtocol::OnConnection {
                snapshot: &|n, ms| kraken_book("snapshot", n, ms),
                update: &|n, ms| kraken_book("update", n, ms),
            },
        };
        suite(kraken.as_ref(), &protocol);
    }
}

/// Even states set the amount of the best bid, odd ones that of the best ask, to their own number.
fn bybit_book(kind: &str, n: u64, ms: i64) -> String {
    let level = |price: &str, amount: u64| format!(r#"["{price}","{amount}"]"#);
    let (bid, ask) = if n.is_multiple_of(2) { (n, n - 1) } else { (n - 1, n) };
    let (bids, asks) = match kind {
        "snapshot" => (format!("{},{}", level("99.9", bid.max(1)), level("99.8", 5)), level("100.1", ask.max(1))),
        _ if n.is_multiple_of(2) => (level("99.9", bid), String::new()),
        _ => (String::new(), level("100.1", ask)),
    };
    format!(
        r#"{{"topic":"orderbook.1000.BTCUSDT","type":"{kind}","ts":{ms},"data":{{"s":"BTCUSDT","b":[{bids}],"a":[{asks}],"u":{},"seq":{}}},"cts":{ms}}}"#,
        n + 100,
        n * 10
    )
}

#[test]
fn bybit_conforms_on_both_of_its_sockets() {
    for (symbol, markets, wide) in [("BTC/USDT", SPOT, false), ("BTC/USDT:USDT", LINEAR, true)] {
        let bybit = adapter("bybit", &AdapterOptions::default()).unwrap();
        let id =
            |n: u64| if wide { format!("20f43950-d8dd-5b31-9112-{n:012x}") } else { (2_290_000_000_000 + n).to_string() };
        let protocol = Protocol {
            symbol: symbol.parse().unwrap(),
            markets,
            trade: &|n, ms| {
                format!(
                    r#"{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":{ms},"data":[{{"T":{ms},"s":"BTCUSDT","S":"Buy","v":"2","p":"100.10","L":"PlusTick","i":"{}","BT":false,"RPI":false,"seq":{n}}}]}}"#,
                    id(n)
                )
            },
            trades_page: &|first, last| {
                let row = |n: u64| {
                    format!(
                        r#"{{"execId":"{}","symbol":"BTCUSDT","price":"100.10","size":"2","side":"Buy","time":"{}","isBlockTrade":false,"isRPITrade":false}}"#,
                        id(n),
                        1_700_000_000_000 + n
                    )
                };
                let rows: Vec<String> = (first..=last).rev().map(row).collect();
                format!(
                    r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"c","list":[{}]}},"retExtInfo":{{}},"time":1}}"#,
                    rows.join(",")
                )
            },
            quote: &|n| {
                format!(
                    r#"{{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":{n},"data":{{"s":"BTCUSDT","b":[["99.9","1"]],"a":[["100.1","{n}"]],"u":{n},"seq":{n}}},"cts":{n}}}"#
                )
            },
            book: BookProtocol::OnConnection {
                snapshot: &|n, ms| bybit_book("snapshot", n, ms),
                update: &|n, ms| bybit_book("delta", n, ms),
            },
        };
        suite(bybit.as_ref(), &protocol);
    }
}

const BITFINEX_SPOT: &[u8] = include_bytes!("../src/bitfinex/testdata/pairs_spot.json");
const BITFINEX_FUTURES: &[u8] = include_bytes!("../src/bitfinex/testdata/pairs_futures.json");

/// Even states have a bid of their own, which the next state ends.
fn bitfinex_level(n: u64) -> String {
    if n.is_multiple_of(2) { format!("[99.{n:03},1,0.5]") } else { format!("[99.{:03},0,1]", n - 1) }
}

#[test]
fn bitfinex_conforms_with_spot_and_with_perpetuals() {
    for (symbol, id, markets) in [("BTC/USD", "tBTCUSD", BITFINEX_SPOT), ("BTC/USDT:USDT", "tBTCF0:USTF0", BITFINEX_FUTURES)]
    {
        let bitfinex = adapter("bitfinex", &AdapterOptions::default()).unwrap();
        let subscribed = |chan: u64, channel: &str, more: &str| {
            format!(r#"{{"event":"subscribed","channel":"{channel}","chanId":{chan},"symbol":"{id}"{more}}}"#)
        };
        let first = [
            subscribed(17, "trades", ""),
            subscribed(18, "book", r#","prec":"P0","freq":"F0","len":"1""#),
            subscribed(19, "book", r#","prec":"P0","freq":"F0","len":"250""#),
        ];
        let protocol = Protocol {
            symbol: symbol.parse().unwrap(),
            markets,
            trade: &|n, ms| format!(r#"[17,"te",[{n},{ms},-2,100.1]]"#),
            trades_page: &|first, last| {
                let rows: Vec<String> =
                    (first..=last).map(|n| format!("[{n},{},-2,100.1]", 1_700_000_000_000 + n)).collect();
                format!("[{}]", rows.join(","))
            },
            quote: &|n| format!("[18,[[99.9,1,1],[100.1,1,-{n}]]]"),
            book: BookProtocol::OnConnection {
                snapshot: &|n, _| {
                    let level = if n.is_multiple_of(2) { format!("{},", bitfinex_level(n)) } else { String::new() };
                    format!("[19,[{level}[98,2,1],[100.1,1,-1]]]")
                },
                update: &|n, _| format!("[19,{}]", bitfinex_level(n)),
            },
        };
        suite_after(bitfinex.as_ref(), &protocol, &first);
    }
}

/// Answers with minutes `first..=last`, whatever it is asked.
fn minutes(first: u64, last: u64) -> Vec<u8> {
    let rows: Vec<String> =
        (first..=last).map(|m| format!(r#"[{},"2","3","1","2","1",0,"2",1,"0","0","0"]"#, m * 60_000)).collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

/// Whether the page of minutes 10 to 19 passes when the exchange sends these.
fn page_passes(first: u64, last: u64) -> bool {
    let binance = adapter("binance", &AdapterOptions::default()).unwrap();
    let markets = binance.parse_markets(EXCHANGE_INFO).unwrap();
    let market = markets.by_symbol(&"BTC/USDT".parse().unwrap()).unwrap().clone();
    let (span, from, to) = (Span::from_secs(60).unwrap(), UnixNanos::from_secs(600), UnixNanos::from_secs(1_200));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let page = candle_page(binance.as_ref(), &market, span, from, to, &mut |_| minutes(first, last)).unwrap();
        assert_eq!(page.len() as u64, last - first + 1);
    }))
    .is_ok()
}

#[test]
fn the_suite_sees_candles_outside_of_the_page() {
    assert!(page_passes(10, 19));
    assert!(!page_passes(9, 19));
    assert!(!page_passes(10, 20));
}

#[test]
fn the_suite_follows_trades_over_overlapping_pages_and_sees_holes() {
    let kraken = adapter("kraken", &AdapterOptions::default()).unwrap();
    let markets = kraken.parse_markets(ASSET_PAIRS).unwrap();
    let market = markets.by_symbol(&"BTC/USD".parse().unwrap()).unwrap();
    // Trade n is at n / 2 seconds: two share each nanosecond, and a page may end between them.
    let serve = |missing: u64| {
        move |request: &dccd_exchange::RestRequest| {
            let since = request.path_and_query.split("since=").nth(1).unwrap().split('&').next().unwrap();
            let since: u64 = since.parse().unwrap();
            let time = |id: u64| id / 2 * 1_000_000_000;
            let ids: Vec<u64> = (1..=4_001).filter(|id| time(*id) > since && *id != missing).take(1_000).collect();
            let last = ids.last().map_or(since, |id| time(*id));
            let rows: Vec<String> = ids.iter().map(|id| format!(r#"["1","2",{}.0,"b","l","",{id}]"#, id / 2)).collect();
            format!(r#"{{"error":[],"result":{{"X":[{}],"last":"{last}"}}}}"#, rows.join(",")).into_bytes()
        }
    };
    let from = TradeCursor::Time(UnixNanos::from_secs(1));
    let (trades, present) = trade_pages(kraken.as_ref(), market, from, 100, &mut serve(0)).unwrap();
    assert_eq!((trades.len(), trades[0].id.0, present), (4_000, 2, true));
    let (trades, present) = trade_pages(kraken.as_ref(), market, from, 2, &mut serve(0)).unwrap();
    assert!(!present && trades.len() < 2_000, "pages don't overlap");
    let hole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trade_pages(kraken.as_ref(), market, from, 100, &mut serve(2_500)).is_ok()
    }));
    assert!(hole.is_err(), "a hole went unseen");
}

#[test]
fn every_name_has_an_adapter_and_others_have_none() {
    for name in NAMES {
        assert_eq!(adapter(name, &AdapterOptions::default()).unwrap().name(), *name);
    }
    assert!(adapter("Binance", &AdapterOptions::default()).is_none());
}

const OKX_SPOT: &[u8] = include_bytes!("../src/okx/testdata/instruments_spot.json");
const OKX_SWAP: &[u8] = include_bytes!("../src/okx/testdata/instruments_swap.json");

/// Even states set the amount of the best bid, odd ones that of the best ask, to their own number.
fn okx_book(instrument: &str, action: &str, n: u64, ms: i64) -> String {
    let (bid, ask) = if n.is_multiple_of(2) { (n, n - 1) } else { (n - 1, n) };
    let level = |price: &str, amount: u64| format!(r#"["{price}","1{amount:04}","0","1"]"#);
    let (best_bid, best_ask) = (level("99.9", bid), level("100.1", ask));
    let (bids, asks, prev) = match action {
        "snapshot" => (format!("{best_bid},{}", level("99.8", 0)), best_ask, -1),
        _ if n.is_multiple_of(2) => (best_bid, String::new(), i64::try_from(n).unwrap() - 1),
        _ => (String::new(), best_ask, i64::try_from(n).unwrap() - 1),
    };
    format!(
        r#"{{"arg":{{"channel":"books","instId":"{instrument}"}},"action":"{action}","data":[{{"asks":[{asks}],"bids":[{bids}],"ts":"{ms}","checksum":0,"seqId":{n},"prevSeqId":{prev}}}]}}"#
    )
}

#[test]
fn okx_conforms_with_spot_and_with_swaps() {
    for (symbol, instrument, markets) in [("BTC/USDT", "BTC-USDT", OKX_SPOT), ("BTC/USDT:USDT", "BTC-USDT-SWAP", OKX_SWAP)] {
        let okx = adapter("okx", &AdapterOptions::default()).unwrap();
        let protocol = Protocol {
            symbol: symbol.parse().unwrap(),
            markets,
            trade: &|id, ms| {
                format!(
                    r#"{{"arg":{{"channel":"trades-all","instId":"{instrument}"}},"data":[{{"instId":"{instrument}","tradeId":"{id}","px":"100.1","sz":"2","side":"sell","ts":"{ms}","source":"0"}}]}}"#
                )
            },
            trades_page: &|first, last| {
                let row = |id| {
                    format!(
                        r#"{{"instId":"{instrument}","side":"sell","sz":"2","px":"100.1","tradeId":"{id}","ts":"17000000000{id:02}"}}"#
                    )
                };
                let rows: Vec<String> = (first..=last).rev().map(row).collect();
                format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","))
            },
            quote: &|n| {
                format!(
                    r#"{{"arg":{{"channel":"bbo-tbt","instId":"{instrument}"}},"data":[{{"asks":[["100.1","2","0","1"]],"bids":[["99.9","{n}","0","1"]],"ts":"{n}000","seqId":{n}}}]}}"#
                )
            },
            book: BookProtocol::OnConnection {
                snapshot: &|n, ms| okx_book(instrument, "snapshot", n, ms),
                update: &|n, ms| okx_book(instrument, "update", n, ms),
            },
        };
        suite(okx.as_ref(), &protocol);
    }
}

const DERIBIT_SPOT: &[u8] = include_bytes!("../src/deribit/testdata/instruments_spot.json");
const DERIBIT_FUTURE: &[u8] = include_bytes!("../src/deribit/testdata/instruments_future.json");

/// Even states set the amount of the best bid, odd ones that of the best ask, to their own number.
fn deribit_book(instrument: &str, kind: &str, n: u64, ms: i64) -> String {
    let (bid, ask) = if n.is_multiple_of(2) { (n, n - 1) } else { (n - 1, n) };
    let level = |action: &str, price: &str, amount: u64| format!(r#"["{action}",{price},1{amount:04}.0]"#);
    let (bids, asks, prev) = match kind {
        "snapshot" => {
            (format!("{},{}", level("new", "99.9", bid), level("new", "99.8", 0)), level("new", "100.1", ask), String::new())
        }
        _ if n.is_multiple_of(2) => {
            (level("change", "99.9", bid), String::new(), format!(r#""prev_change_id":{},"#, n + 99))
        }
        _ => (String::new(), level("change", "100.1", ask), format!(r#""prev_change_id":{},"#, n + 99)),
    };
    format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"book.{instrument}.100ms","data":{{"type":"{kind}","timestamp":{ms},{prev}"instrument_name":"{instrument}","change_id":{},"bids":[{bids}],"asks":[{asks}]}}}}}}"#,
        n + 100
    )
}

#[test]
fn deribit_conforms_with_spot_and_with_futures() {
    for (symbol, instrument, markets) in [
        ("BTC/USDC", "BTC_USDC", DERIBIT_SPOT),
        ("BTC/USD:BTC", "BTC-PERPETUAL", DERIBIT_FUTURE),
        ("BTC/USD:BTC-261225", "BTC-25DEC26", DERIBIT_FUTURE),
    ] {
        let deribit = adapter("deribit", &AdapterOptions::default()).unwrap();
        let row = |n: u64, ms: i64| {
            format!(
                r#"{{"trade_seq":{n},"trade_id":"{}","timestamp":{ms},"price":100.1,"instrument_name":"{instrument}","direction":"sell","amount":2.0}}"#,
                n + 7
            )
        };
        let message = |channel: &str, data: &str| {
            format!(r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}"#)
        };
        let protocol = Protocol {
            symbol: symbol.parse().unwrap(),
            markets,
            trade: &|n, ms| message(&format!("trades.{instrument}.100ms"), &format!("[{}]", row(n, ms))),
            trades_page: &|first, last| {
                let rows: Vec<String> = (first..=last).map(|n| row(n, 1_700_000_000_000)).collect();
                format!(r#"{{"jsonrpc":"2.0","result":{{"trades":[{}],"has_more":true}},"testnet":false}}"#, rows.join(","))
            },
            quote: &|n| {
                message(
                    &format!("quote.{instrument}"),
                    &format!(
                        r#"{{"timestamp":{n}000,"instrument_name":"{instrument}","best_bid_price":99.9,"best_bid_amount":{n}.0,"best_ask_price":100.1,"best_ask_amount":2.0}}"#
                    ),
                )
            },
            book: BookProtocol::OnConnection {
                snapshot: &|n, ms| deribit_book(instrument, "snapshot", n, ms),
                update: &|n, ms| deribit_book(instrument, "change", n, ms),
            },
        };
        suite(deribit.as_ref(), &protocol);
    }
}

const KUCOIN_SYMBOLS: &[u8] = include_bytes!("../src/kucoin/testdata/symbols.json");

/// Even states set the amount of the best bid, odd ones that of the best ask, to their own number.
fn kucoin_book(kind: &str, n: u64, ms: i64) -> String {
    let level = |price: &str, amount: u64| format!(r#"["{price}","{amount}"]"#);
    let (bid, ask) = if n.is_multiple_of(2) { (n, n - 1) } else { (n - 1, n) };
    let (bids, asks, first) = match kind {
        "snapshot" => (format!("{},{}", level("99.9", bid.max(1)), level("99.8", 5)), level("100.1", ask.max(1)), n * 10),
        _ if n.is_multiple_of(2) => (level("99.9", bid), String::new(), n * 10 - 9),
        _ => (String::new(), level("100.1", ask), n * 10 - 9),
    };
    format!(
        r#"{{"T":"obu.SPOT","dp":"increment@10ms","t":"{kind}","P":{ms}000007,"d":{{"C":{},"M":{ms}000000,"O":{first},"a":[{asks}],"b":[{bids}],"s":"BTC-USDT"}}}}"#,
        n * 10
    )
}

#[test]
fn kucoin_conforms() {
    let kucoin = adapter("kucoin", &AdapterOptions::default()).unwrap();
    let protocol = Protocol {
        symbol: "BTC/USDT".parse().unwrap(),
        markets: KUCOIN_SYMBOLS,
        trade: &|n, ms| {
            format!(
                r#"{{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match","data":{{"makerOrderId":"671b5007389355000701b1d3","price":"67523","sequence":"1106799671196{n:04}","side":"buy","size":"0.003","symbol":"BTC-USDT","takerOrderId":"671b50161777ff00074c168d","time":"{ms}000000","tradeId":"1106799671196{n:04}","type":"match"}}}}"#
            )
        },
        trades_page: &|first, last| {
            let row = |n: u64| {
                format!(
                    r#"{{"sequence":"1106799671196{n:04}","price":"67523","size":"0.003","side":"buy","time":{}000000}}"#,
                    1_700_000_000_000 + n
                )
            };
            let rows: Vec<String> = (first..=last).map(row).collect();
            format!(r#"{{"code":"200000","data":[{}]}}"#, rows.join(","))
        },
        quote: &|n| {
            format!(
                r#"{{"topic":"/spotMarket/level1:BTC-USDT","type":"message","subject":"level1","data":{{"asks":["100.1","{n}"],"bids":["99.9","1"],"timestamp":{n}}}}}"#
            )
        },
        book: BookProtocol::OnConnection {
            snapshot: &|n, ms| kucoin_book("snapshot", n, ms),
            update: &|n, ms| kucoin_book("delta", n, ms),
        },
    };
    suite(kucoin.as_ref(), &protocol);
}

const COINBASE_PRODUCTS: &[u8] = include_bytes!("../src/coinbase/testdata/products.json");

/// Even states set the amount of the best bid, odd ones that of the best ask, to their own number.
fn coinbase_book(kind: &str, n: u64, ms: i64) -> String {
    let (bid, ask) = if n.is_multiple_of(2) { (n, n - 1) } else { (n - 1, n) };
    let time = UnixNanos::from_millis(ms);
    match kind {
        "snapshot" => format!(
            r#"{{"type":"snapshot","product_id":"BTC-USD","asks":[["100.1","1.{ask}"],["100.2","5"]],"bids":[["99.9","1.{bid}"],["99.8","5"]]}}"#
        ),
        _ => {
            let change = if n.is_multiple_of(2) {
                format!(r#"["buy","99.9","1.{bid}"]"#)
            } else {
                format!(r#"["sell","100.1","1.{ask}"]"#)
            };
            format!(r#"{{"type":"l2update","product_id":"BTC-USD","time":"{time}","changes":[{change}]}}"#)
        }
    }
}

#[test]
fn coinbase_conforms_at_any_depth() {
    for depth in [None, Some(1), Some(1_000)] {
        let coinbase = adapter("coinbase", &AdapterOptions { aggregated_trades: false, depth }).unwrap();
        let protocol = Protocol {
            symbol: "BTC/USD".parse().unwrap(),
            markets: COINBASE_PRODUCTS,
            trade: &|id, ms| {
                let time = UnixNanos::from_millis(ms);
                format!(
                    r#"{{"type":"match","trade_id":{id},"side":"buy","size":"2","price":"100.1","product_id":"BTC-USD","sequence":1{id},"time":"{time}"}}"#
                )
            },
            trades_page: &|first, last| {
                let row = |id| {
                    format!(
                        r#"{{"trade_id":{id},"side":"buy","size":"2","price":"100.1","time":"2023-11-14T22:13:20.0{id:02}Z"}}"#
                    )
                };
                format!("[{}]", (first..=last).rev().map(row).collect::<Vec<_>>().join(","))
            },
            quote: &|n| {
                let time = UnixNanos::from_secs(i64::try_from(n).unwrap());
                format!(
                    r#"{{"type":"ticker","sequence":{n},"product_id":"BTC-USD","price":"100","best_bid":"99.9","best_bid_size":"{n}","best_ask":"100.1","best_ask_size":"2","side":"buy","time":"{time}","trade_id":7,"last_size":"1"}}"#
                )
            },
            book: BookProtocol::Unnumbered {
                snapshot: &|n, ms| coinbase_book("snapshot", n, ms),
                update: &|n, ms| coinbase_book("l2update", n, ms),
                impossible: &|ms| {
                    let time = UnixNanos::from_millis(ms);
                    format!(
                        r#"{{"type":"l2update","product_id":"BTC-USD","time":"{time}","changes":[["buy","100.1","1"]]}}"#
                    )
                },
            },
        };
        suite(coinbase.as_ref(), &protocol);
    }
}
