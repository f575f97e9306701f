//! What the Binance adapter sends and asks for, to the letter.

mod support;

use dccd_exchange::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, Markets, MarketsList, Product, RestRequest, TradeCursor,
    TradeHole, adapter,
};
use dccd_model::{Channel, Symbol};

fn binance(options: &AdapterOptions) -> (std::sync::Arc<dyn Adapter>, Markets) {
    let adapter = adapter("binance", options).unwrap();
    let markets = adapter.parse_markets(support::EXCHANGE_INFO).unwrap();
    (adapter, markets)
}

fn symbol(text: &str) -> Symbol {
    text.parse().unwrap()
}

fn texts(messages: Vec<ClientMessage>) -> Vec<String> {
    messages.into_iter().map(|message| message.text).collect()
}

#[test]
fn subscriptions_are_the_exchanges_own_words() {
    let (binance, markets) = binance(&AdapterOptions::default());
    let feeds: Vec<(Symbol, Channel)> =
        [Channel::Trades, Channel::Quotes, Channel::Book, Channel::Ohlc].map(|c| (symbol("BTC/USDT"), c)).to_vec();
    assert_eq!(
        texts(binance.subscribe(&feeds, &markets, 1)),
        [
            r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker","btcusdt@depth@100ms","btcusdt@kline_1m"]}"#
        ]
    );
    let feeds = [(symbol("币安人生/USDT"), Channel::Trades), (symbol("NOT/LISTED"), Channel::Trades)];
    assert_eq!(
        texts(binance.unsubscribe(&feeds, &markets, 7)),
        [r#"{"id":7,"method":"UNSUBSCRIBE","params":["币安人生usdt@trade","notlisted@trade"]}"#]
    );
    let (aggregated, markets) = self::binance(&AdapterOptions { aggregated_trades: true, depth: None });
    assert_eq!(
        texts(aggregated.subscribe(&[(symbol("BTC/USDT"), Channel::Trades)], &markets, 1)),
        [r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@aggTrade"]}"#]
    );
}

#[test]
fn large_subscriptions_are_cut_into_messages_of_two_hundred() {
    let (binance, markets) = binance(&AdapterOptions::default());
    let feeds: Vec<(Symbol, Channel)> = (0..450).map(|i| (symbol(&format!("C{i}/USDT")), Channel::Book)).collect();
    let messages = texts(binance.subscribe(&feeds, &markets, 10));
    let counts: Vec<usize> = messages.iter().map(|m| m.matches("@depth@100ms").count()).collect();
    assert_eq!(counts, [200, 200, 50]);
    // The id tells which feeds a refusal is about.
    assert!(messages[1].contains(r#""id":11"#) && messages[1].contains("\"c200usdt@depth@100ms\""));
}

#[test]
fn requests_cost_what_the_exchange_says() {
    let request = |path: &str, weight, subject: &str| RestRequest {
        path_and_query: path.to_owned(),
        weight,
        subject: subject.to_owned(),
        product: Product::Spot,
    };
    let btc = symbol("BTC/USDT");
    for (depth, limit, weight) in [
        (None, 5_000, 250),
        (Some(1_000), 1_000, 50),
        (Some(1_001), 1_001, 250),
        (Some(500), 500, 25),
        (Some(20), 20, 5),
        (Some(0), 1, 5),
        (Some(99_999), 5_000, 250),
    ] {
        let (binance, markets) = binance(&AdapterOptions { aggregated_trades: false, depth });
        let path = format!("/api/v3/depth?symbol=BTCUSDT&limit={limit}");
        assert_eq!(binance.snapshot_request(&btc, &markets), Some(request(&path, weight, "depth BTC/USDT")));
    }
    let (single, markets) = binance(&AdapterOptions::default());
    assert_eq!(single.markets_request(), request("/api/v3/exchangeInfo", 20, "exchangeInfo"));
    assert_eq!(
        single.trades_request(&btc, TradeCursor::Id(123), 9_999, &markets),
        request("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=123&limit=1000", 25, "trades BTC/USDT 123")
    );
    assert_eq!(
        single.snapshot_request(&symbol("币安人生/USDT"), &markets).unwrap().path_and_query,
        "/api/v3/depth?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&limit=5000"
    );
    let (aggregated, markets) = binance(&AdapterOptions { aggregated_trades: true, depth: None });
    assert_eq!(
        aggregated.trades_request(&btc, TradeCursor::Id(123), 10, &markets),
        request("/api/v3/aggTrades?symbol=BTCUSDT&fromId=123&limit=10", 4, "trades BTC/USDT 123")
    );
}

#[test]
fn a_hole_is_asked_for_id_by_id_to_its_end() {
    let (binance, _) = binance(&AdapterOptions::default());
    let hole = TradeHole { from_id: 10, to_id: 2_500, ts_before: dccd_model::UnixNanos(1) };
    let mut at = binance.trades_begin(&hole);
    let mut cursors = vec![at];
    while let Some(next) = binance.trades_next(&hole, at, u32::MAX, b"whatever").unwrap() {
        at = next;
        cursors.push(at);
    }
    assert_eq!(cursors, [10, 1_010, 2_010].map(TradeCursor::Id));
}

#[test]
fn addresses_keep_their_prefix() {
    let (binance, _) = binance(&AdapterOptions::default());
    assert_eq!(
        binance.rest_products().iter().map(|p| binance.rest_url_of(*p)).collect::<Vec<_>>(),
        ["https://data-api.binance.vision", "https://fapi.binance.com"]
    );
    assert_eq!(binance.connect_url(binance.ws_url()), "wss://data-stream.binance.vision/stream?timeUnit=MICROSECOND");
    assert_eq!(binance.connect_url("ws://127.0.0.1:1/x/"), "ws://127.0.0.1:1/x/stream?timeUnit=MICROSECOND");
}

#[test]
fn markets_are_read_and_those_that_cant_be_are_counted() {
    let (_, markets) = binance(&AdapterOptions::default());
    let lines: Vec<String> = markets
        .iter()
        .map(|m| {
            let numbers = [m.price_tick, m.amount_step, m.amount_min, m.amount_max, m.notional_min];
            let numbers = numbers.map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string())).join(" ");
            format!("{} {} {:?} {numbers}", m.symbol, m.id, m.status)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "BTC/USDT BTCUSDT Trading 0.01000000 0.00001000 0.00001000 9000.00000000 5.00000000",
            "ETH/USDT ETHUSDT Halted 0.01 - - 9000 -",
            "币安人生/USDT 币安人生USDT Unknown - - - - -",
        ]
    );
    assert_eq!(markets.skipped(), 1);
}

fn with_perpetuals(options: &AdapterOptions) -> (std::sync::Arc<dyn Adapter>, Markets) {
    let adapter = adapter("binance", options).unwrap();
    let mut list = MarketsList::new(adapter.as_ref(), &[Product::Linear]);
    list.answer(support::EXCHANGE_INFO).unwrap();
    list.answer(support::EXCHANGE_INFO_USDM).unwrap();
    assert!(list.request().is_none());
    let markets = list.joined(None);
    (adapter, markets)
}

#[test]
fn perpetuals_are_listed_beside_spot_and_dated_contracts_are_not() {
    let (_, markets) = with_perpetuals(&AdapterOptions::default());
    let lines: Vec<String> = markets
        .iter()
        .filter(|m| m.symbol.settle().is_some())
        .map(|m| format!("{} {} {:?}", m.symbol, m.id, m.status))
        .collect();
    assert_eq!(
        lines,
        [
            "1000SHIB/USDT:USDT 1000SHIBUSDT Unknown",
            "BTC/USDT:USDT BTCUSDT Trading",
            "ETH/USDC:USDC ETHUSDC Halted",
            "TSLA/USDT:USDT TSLAUSDT Trading",
        ]
    );
    let bitcoin = markets.by_symbol(&symbol("BTC/USDT:USDT")).unwrap();
    let rules = [bitcoin.price_tick, bitcoin.amount_step, bitcoin.amount_min, bitcoin.amount_max, bitcoin.notional_min];
    assert_eq!(rules.map(|rule| rule.unwrap().to_string()), ["0.10", "0.001", "0.001", "1000", "100"]);
    assert!(bitcoin.contract_size.is_none(), "amounts are in coins");
    // One spot market and one perpetual can't be read.
    assert_eq!((markets.skipped(), markets.by_id("BTCUSDT").unwrap().symbol.as_str()), (2, "BTC/USDT"));
}

#[test]
fn perpetuals_are_subscribed_apart_from_spot_and_their_trades_are_aggregates() {
    for aggregated in [false, true] {
        let (binance, markets) = with_perpetuals(&AdapterOptions { aggregated_trades: aggregated, depth: None });
        let feeds: Vec<(Symbol, Channel)> = ["BTC/USDT:USDT", "BTC/USDT", "1000SHIB/USDT:USDT"]
            .into_iter()
            .flat_map(|s| [Channel::Trades, Channel::Quotes, Channel::Book, Channel::Ohlc].map(|c| (symbol(s), c)))
            .collect();
        let messages = binance.subscribe(&feeds, &markets, 5);
        let places: Vec<_> = messages.iter().map(|message| message.feeds.clone()).collect();
        assert_eq!(places, [vec![4, 5, 6, 7], vec![1, 2, 9, 10], vec![0, 3, 8, 11]]);
        let trades = if aggregated { "aggTrade" } else { "trade" };
        assert_eq!(
            texts(messages),
            [
                &format!(
                    r#"{{"id":5,"method":"SUBSCRIBE","params":["btcusdt@{trades}","btcusdt@bookTicker","btcusdt@depth@100ms","btcusdt@kline_1m"]}}"#
                ),
                r#"{"id":6,"method":"SUBSCRIBE","params":["btcusdt@bookTicker","btcusdt@depth@100ms","1000shibusdt@bookTicker","1000shibusdt@depth@100ms"]}"#,
                r#"{"id":7,"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@kline_1m","1000shibusdt@aggTrade","1000shibusdt@kline_1m"]}"#,
            ]
        );
        let sockets: Vec<&str> = feeds.iter().map(|(s, c)| binance.sockets()[binance.socket_of(s, *c)].name).collect();
        assert_eq!(sockets[..4], ["usdm/market", "usdm/public", "usdm/public", "usdm/market"]);
        assert_eq!(sockets[4..8], [""; 4], "the name in journals from when there was but one");
    }
}

#[test]
fn requests_about_perpetuals_go_to_their_address_at_its_weights() {
    let request = |path: &str, weight, subject: &str| RestRequest {
        path_and_query: format!("/fapi/v1/{path}"),
        weight,
        subject: subject.to_owned(),
        product: Product::Linear,
    };
    let btc = symbol("BTC/USDT:USDT");
    for (depth, limit, weight) in [
        (None, 1_000, 20),
        (Some(501), 1_000, 20),
        (Some(500), 500, 10),
        (Some(51), 100, 5),
        (Some(21), 50, 2),
        (Some(0), 5, 2),
    ] {
        let (binance, markets) = with_perpetuals(&AdapterOptions { aggregated_trades: false, depth });
        let path = format!("depth?symbol=BTCUSDT&limit={limit}");
        assert_eq!(binance.snapshot_request(&btc, &markets), Some(request(&path, weight, "depth BTC/USDT:USDT")));
    }
    let (binance, markets) = with_perpetuals(&AdapterOptions::default());
    assert_eq!(
        binance.trades_request(&btc, TradeCursor::Id(123), 9_999, &markets),
        request("aggTrades?symbol=BTCUSDT&fromId=123&limit=1000", 20, "trades BTC/USDT:USDT 123")
    );
    let next = binance.markets_next(&binance.markets_request(), b"").unwrap();
    assert_eq!(next, Some(request("exchangeInfo", 1, "exchangeInfo usdm")));
    assert_eq!(binance.markets_next(&next.unwrap(), b"").unwrap(), None);
}

#[test]
fn refusals_say_who_what_and_what_there_is_instead() {
    let (binance, markets) = binance(&AdapterOptions::default());
    let of_books = Capabilities { channels: &[Channel::Book, Channel::Quotes], ..binance.capabilities() };
    assert_eq!(
        of_books.check(Channel::Ohlc).unwrap_err().to_string(),
        "binance does not offer the channel \"ohlc\" live; it offers book, quotes"
    );
    let refused = binance.parse_markets(br#"{"code":-1003,"msg":"Too many requests."}"#).unwrap_err();
    assert_eq!(refused.to_string(), "binance refused the list of markets with code -1003: Too many requests.");
    let unreadable = binance.parse_markets(b"<html>").unwrap_err();
    assert_eq!(unreadable.to_string(), "the list of markets of binance can't be read (6 bytes)");
    let markets = std::sync::Arc::new(markets);
    let restore = |saved: &[u8]| match binance.restore(std::sync::Arc::clone(&markets), saved) {
        Ok(_) => panic!("restored from {saved:?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(restore(b"{}"), "the saved state of the binance session can't be read (2 bytes)");
    assert_eq!(
        restore(br#"{"version":99,"state":null}"#),
        "the saved state of the binance session has version 99, and this program reads version 1"
    );
}
