//! Parsers of the past return on any input: bytes of any kind, answers cut, altered and stitched together.

use dccd_exchange::{AdapterOptions, HistoryError, NAMES, TradeCursor, adapter};
use dccd_model::{Span, UnixNanos};
use proptest::prelude::*;

const ANSWERS: &[&str] = &[
    r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]"#,
    r#"[{"id":28457,"price":"4.00000100","qty":"12.00000000","time":1499865549590,"isBuyerMaker":true}]"#,
    r#"[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true}]"#,
    r#"{"error":[],"result":{"XXBTZUSD":[[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1","3.39243896",23]],"last":1688671200}}"#,
    r#"{"error":[],"result":{"XBTUSDT":[["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208]],"last":"1762820035982277754"}}"#,
    r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","symbol":"BTCUSDT","list":[["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"]]},"retExtInfo":{},"time":1672025956592}"#,
    r#"{"retCode":0,"retMsg":"OK","result":{"list":[{"execId":"2100000000007764263","symbol":"BTCUSDT","price":"16618.49","size":"0.00012","side":"Buy","time":"1672052955758","isBlockTrade":false}]}}"#,
    r#"{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"symbol":"BTCUSDT","contractType":"LinearPerpetual","status":"Trading","baseCoin":"BTC","quoteCoin":"USDT","settleCoin":"USDT"}],"nextPageCursor":"a%3D"}}"#,
    r#"{"retCode":10006,"retMsg":"Too many visits. Exceeded the API Rate Limit."}"#,
    r#"{"code":-1003,"msg":"banned until 1763630628570"}"#,
    r#"{"error":["EGeneral:Too many requests"]}"#,
    r#"{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,"lot_decimals":8}}}"#,
    r#"{"code":"0","msg":"","data":[["1597026383085","3.721","3.743","3.677","3.708","8422410","22698348.04828491","12698348.04828491","1"]]}"#,
    r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","side":"sell","sz":"0.00001","px":"29963.2","tradeId":"242720720","ts":"1654161646974"}]}"#,
    r#"{"code":"0","data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP","settleCcy":"USDT","ctVal":"0.01","ctMult":"1","ctValCcy":"BTC","ctType":"linear"}]}"#,
];

/// Reads the bytes in every way there is; what is read must hold what the contract says.
fn read_all(body: &[u8]) {
    let cursors = [
        TradeCursor::Time(UnixNanos(0)),
        TradeCursor::Time(UnixNanos(i64::MAX)),
        TradeCursor::Id(u64::MAX),
        TradeCursor::Mark(u64::MAX),
    ];
    for name in NAMES {
        for aggregated_trades in [false, true] {
            let adapter = adapter(name, &AdapterOptions { aggregated_trades, depth: None }).unwrap();
            let _ = adapter.parse_markets(body);
            let history = adapter.history().unwrap();
            let mut candles = Vec::new();
            let span = Span::from_secs(60).unwrap();
            match history.parse_candles(body, span, UnixNanos(7), &mut candles) {
                Ok(()) => {
                    assert!(candles.is_sorted_by_key(|c| c.ts_open));
                    assert!(candles.iter().all(|c| c.low <= c.high && c.low.mantissa >= 0 && c.ts_recv == UnixNanos(7)));
                }
                Err(HistoryError::Unreadable { bytes, .. }) => assert_eq!(bytes, body.len()),
                Err(_) => {}
            }
            for cursor in cursors {
                let mut trades = Vec::new();
                if history.parse_trades_page(body, cursor, UnixNanos(7), &mut trades).is_ok() {
                    assert!(trades.iter().all(|t| t.price.mantissa >= 0 && t.amount.mantissa >= 0));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_return(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all(&body);
    }

    #[test]
    fn altered_answers_return(
        answer in 0..ANSWERS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = ANSWERS[answer].as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        read_all(&body);
    }

    #[test]
    fn stitched_answers_return(
        parts in proptest::collection::vec((0..ANSWERS.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut body = Vec::new();
        for (answer, from, to) in parts {
            let bytes = ANSWERS[answer].as_bytes();
            let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
            body.extend_from_slice(&bytes[a.min(b)..a.max(b)]);
        }
        read_all(&body);
    }

    #[test]
    fn numbers_of_any_size_return(number in "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,6})?", quoted: bool) {
        let number = if quoted { format!("\"{number}\"") } else { number };
        for answer in ANSWERS {
            for old in ["1499040000000", "308", "\"0.80000000\"", "28457", "1499865549590", "27781", "1688671200",
                "1762795433.9717445", "10218208", "\"1762820035982277754\"", "\"4.00000100\""] {
                read_all(answer.replacen(old, &number, 1).as_bytes());
            }
        }
    }
}
