//! Recorded messages, file by file, and the sessions that read them.

use std::sync::Arc;

use dccd_exchange::{AdapterOptions, Market, MarketStatus, Markets, Session, adapter};
use dccd_model::{Decimal, Entry, EntryKind, UnixNanos};
use dccd_testkit::{fixtures, read_fixture_frames};

use crate::frames::Count;
use crate::{Case, row};

/// One kind of message in one file.
struct Source {
    exchange: &'static str,
    kind: &'static str,
    file: &'static str,
    /// To which socket its connection leads.
    socket: &'static str,
    /// What the exchange's own name of a market stands behind, and what symbols end with.
    key: &'static str,
    quote: &'static str,
    is_measured: fn(&str) -> bool,
    /// Has to be read before, or among them: snapshots, what subscriptions are.
    is_needed: fn(&str) -> bool,
}

const NOTHING: fn(&str) -> bool = |_| false;
const SPOT: &str = "ws_spot_BTCUSDT_depth_trade_bookticker_20240808-09";
const USDM: &str = "ws_usdm_BTCUSDT_depth0ms_trade_bookticker_20240808";
const BYBIT: &str = "ws_v5_linear_BTCUSDT_SOLUSDT_20260809";
const COINBASE: &str = "ws_exch_6products_level2_ticker_matches_20210417";

#[rustfmt::skip]
const SOURCES: &[Source] = &[
    Source { exchange: "binance", kind: "trade", file: SPOT, socket: "", key: r#""s":""#, quote: "USDT", is_measured: |f| f.contains("@trade"), is_needed: NOTHING },
    Source { exchange: "binance", kind: "quote", file: SPOT, socket: "", key: r#""s":""#, quote: "USDT", is_measured: |f| f.contains("@bookTicker"), is_needed: NOTHING },
    Source { exchange: "binance", kind: "book", file: SPOT, socket: "", key: r#""s":""#, quote: "USDT", is_measured: |f| f.contains("@depth"), is_needed: NOTHING },
    Source { exchange: "binance-usdm", kind: "trade", file: "ws_usdm_4pairs_20210417", socket: "usdm/market", key: r#""s":""#, quote: "USDT:USDT", is_measured: |f| f.contains("@aggTrade\""), is_needed: NOTHING },
    Source { exchange: "binance-usdm", kind: "quote", file: USDM, socket: "usdm/public", key: r#""s":""#, quote: "USDT:USDT", is_measured: |f| f.contains("@bookTicker"), is_needed: NOTHING },
    Source { exchange: "binance-usdm", kind: "book", file: USDM, socket: "usdm/public", key: r#""s":""#, quote: "USDT:USDT", is_measured: |f| f.contains("@depth"), is_needed: NOTHING },
    Source { exchange: "bitfinex", kind: "book", file: "ws_v2_8pairs_seqall_20210405", socket: "", key: r#""symbol":""#, quote: "USD", is_measured: |f| f.starts_with('[') && !f.contains('"') && f.matches(',').count() == 4, is_needed: |_| true },
    Source { exchange: "bybit", kind: "trade", file: BYBIT, socket: "linear", key: r#""s":""#, quote: "USDT:USDT", is_measured: |f| f.contains("publicTrade"), is_needed: NOTHING },
    Source { exchange: "bybit", kind: "book", file: BYBIT, socket: "linear", key: r#""s":""#, quote: "USDT:USDT", is_measured: |f| f.contains("orderbook") && f.contains("\"delta\""), is_needed: |f| f.contains("orderbook") },
    Source { exchange: "coinbase", kind: "trade", file: COINBASE, socket: "", key: r#""product_id":""#, quote: "USD", is_measured: |f| f.contains(r#""type":"match""#), is_needed: |f| f.contains("last_match") },
    Source { exchange: "coinbase", kind: "book", file: COINBASE, socket: "", key: r#""product_id":""#, quote: "USD", is_measured: |f| f.contains("l2update"), is_needed: |f| f.contains(r#""type":"snapshot""#) },
    Source { exchange: "deribit", kind: "book", file: "ws_v2_20210405", socket: "", key: r#""instrument_name":""#, quote: "USDT", is_measured: |f| f.contains("\"book.") && f.contains(r#""type":"change""#), is_needed: |f| f.contains("\"book.") },
    Source { exchange: "kraken", kind: "book", file: "ws_v2_BTCUSD_book10_checksum_20230730", socket: "", key: "XXBTZUSD", quote: "USD", is_measured: |f| f.contains(r#""type":"update""#), is_needed: |f| f.contains(r#""type":"snapshot""#) },
    Source { exchange: "kucoin", kind: "trade", file: "ws_spot_6pairs_20210425", socket: "", key: r#""symbol":""#, quote: "USDT", is_measured: |f| f.contains("trade.l3match"), is_needed: NOTHING },
    Source { exchange: "okx", kind: "trade", file: "ws_v5_20210722_conn1", socket: "", key: r#""instId":""#, quote: "USDT", is_measured: |f| f.contains("tradeId"), is_needed: NOTHING },
    Source { exchange: "okx", kind: "book", file: "ws_v5_books-l2-tbt_20220227_a", socket: "", key: r#""instId":""#, quote: "USDT", is_measured: |f| f.contains(r#""action":"update""#), is_needed: |f| f.contains(r#""action":"snapshot""#) },
];

/// All of them.
pub(crate) fn all() {
    let Some(directory) = fixtures() else {
        println!("recorded messages: skipped, there are none; set DCCD_FIXTURES");
        return;
    };
    for source in SOURCES {
        let folder = source.exchange.trim_end_matches("-usdm");
        let path = directory.join(folder).join(format!("{}.frames.jsonl.zst", source.file));
        let Ok(frames) = read_fixture_frames(&path) else {
            println!("{} {} {}: skipped, it isn't there", source.exchange, source.kind, source.file);
            continue;
        };
        run(source, frames.map(|frame| frame.expect("a readable recording")).map(|frame| (frame.dir, frame.raw)).collect());
    }
}

fn run(source: &Source, all: Vec<(String, String)>) {
    let snapshot = all.iter().find(|(dir, raw)| dir == "http" && raw.contains("lastUpdateId")).map(|(_, raw)| raw.as_str());
    let received = all.iter().filter(|(dir, _)| dir == "in").map(|(_, raw)| raw);
    let wanted = received.filter(|raw| (source.is_measured)(raw) || (source.is_needed)(raw));
    let frames: Vec<(bool, String)> = wanted.map(|raw| ((source.is_measured)(raw), raw.clone())).collect();
    let markets = Arc::new(markets(source, &frames));
    let snapshot = snapshot.filter(|_| source.kind == "book");
    let begin = |_: &mut Count| session(source, &markets, snapshot);
    let name = source.file.trim_start_matches("ws_").chars().take(33).collect();
    row(&Case { exchange: source.exchange, kind: source.kind, name, frames, begin: &begin });
}

fn markets(source: &Source, frames: &[(bool, String)]) -> Markets {
    let name = |frame: &str| {
        let rest = frame.split_once(source.key)?.1;
        rest.split_once('"').map(|(name, _)| name.to_owned())
    };
    let mut ids: Vec<String> = frames.iter().filter_map(|(_, frame)| name(frame)).collect();
    ids.sort();
    ids.dedup();
    let market = |(at, id): (usize, String)| Market {
        symbol: format!("I{at}/{}", source.quote).parse().expect("a symbol"),
        // A contract of a swap is a hundredth.
        contract_size: id.ends_with("-SWAP").then_some(Decimal::new(1, -2)),
        id,
        status: MarketStatus::Trading,
        price_tick: None,
        amount_step: None,
        amount_min: None,
        amount_max: None,
        notional_min: None,
    };
    if source.exchange == "kraken" {
        let (price_tick, amount_step) = (Some(Decimal::new(1, -1)), Some(Decimal::new(1, -8)));
        let symbol = "BTC/USD".parse().expect("a symbol");
        let market = Market { symbol, price_tick, amount_step, ..market((0, source.key.to_owned())) };
        return [market].into_iter().collect();
    }
    ids.into_iter().enumerate().map(market).collect()
}

fn session(source: &Source, markets: &Arc<Markets>, snapshot: Option<&str>) -> Box<dyn Session> {
    let depth = (source.exchange == "kraken").then_some(10);
    let options = AdapterOptions { depth, aggregated_trades: source.exchange.ends_with("usdm") };
    let adapter = adapter(source.exchange.trim_end_matches("-usdm"), &options).expect("there is such an adapter");
    let mut session = adapter.session(Arc::clone(markets));
    let mut out = Silent;
    let mut say = |kind, conn, subject: &str, payload: &str| {
        let ts_recv = UnixNanos(1_786_310_819_000_000_000);
        session.apply(&Entry { kind, conn, ts_recv, subject, payload: payload.as_bytes() }, &mut out);
    };
    for market in markets.iter() {
        for channel in ["trades", "quotes", "book"] {
            say(EntryKind::FeedOpened, 0, &format!("{} {channel}", market.symbol), "");
        }
    }
    say(EntryKind::Opened, 1, source.socket, "");
    if let (Some(snapshot), Some(market)) = (snapshot, markets.iter().next()) {
        say(EntryKind::Response, 0, &format!("depth {}", market.symbol), snapshot);
    }
    session
}

/// Takes what comes before.
struct Silent;

impl dccd_exchange::Output for Silent {
    fn trade(&mut self, _: u32, _: &dccd_model::Trade) {}
    fn quote(&mut self, _: u32, _: &dccd_model::Quote) {}
    fn level(&mut self, _: u32, _: &dccd_model::BookLevel) {}
    fn candle(&mut self, _: u32, _: &dccd_model::Candle) {}
    fn gap(&mut self, _: u32, _: &dccd_model::Gap) {}
    fn book_state(&mut self, _: u32, _: dccd_model::BookState, _: u32) {}
    fn want(&mut self, _: dccd_exchange::Want) {}
    fn notice(&mut self, _: dccd_exchange::Notice<'_>) {}
}
