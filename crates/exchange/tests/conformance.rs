//! Every adapter passes the conformance suite.

use dccd_exchange::conformance::{Protocol, suite};
use dccd_exchange::{AdapterOptions, NAMES, adapter};

const EXCHANGE_INFO: &[u8] = include_bytes!("../src/binance/testdata/exchange_info.json");

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
            book_event: &|first, last, ms| {
                format!(
                    r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{ms}000,"s":"BTCUSDT","U":{first},"u":{last},"b":[["99.9","{last}"],["99.8","0"]],"a":[["100","{last}"]]}}}}"#
                )
            },
            snapshot: &|last| {
                format!(r#"{{"lastUpdateId":{last},"bids":[["99.9","1"],["99.8","2"]],"asks":[["100","1"],["100.2","2"]]}}"#)
            },
        };
        suite(binance.as_ref(), &protocol);
    }
}

#[test]
fn every_name_has_an_adapter_and_others_have_none() {
    for name in NAMES {
        assert_eq!(adapter(name, &AdapterOptions::default()).unwrap().name(), *name);
    }
    assert!(adapter("Binance", &AdapterOptions::default()).is_none());
}
