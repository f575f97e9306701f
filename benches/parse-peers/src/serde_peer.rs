//! What a fast reader does at least: each message into a struct that borrows its text, its numbers as doubles.

use serde::Deserialize;

use crate::Read;

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

fn json<'a, T: Deserialize<'a>>(frame: &'a str) -> T {
    serde_json::from_str(frame).expect("a message of this kind")
}

fn sum<const N: usize>(levels: &[[&str; N]]) -> f64 {
    levels.iter().map(|level| number(level[0]) + number(level[1])).sum()
}

/// How a message of this kind is read.
pub(crate) fn reader(exchange: &str, kind: &str) -> Option<Read> {
    Some(match (exchange, kind) {
        ("binance" | "binance-usdm", "trade") => binance_trade,
        ("binance" | "binance-usdm", "quote") => binance_quote,
        ("binance" | "binance-usdm", "book") => binance_book,
        ("bitfinex", "trade") => bitfinex_trade,
        ("bitfinex", _) => bitfinex_book,
        ("bybit", "trade") => bybit_trade,
        ("bybit", _) => bybit_book,
        ("coinbase", "trade") => coinbase_trade,
        ("coinbase", "quote") => coinbase_quote,
        ("coinbase", "book") => coinbase_book,
        ("deribit", "trade") => deribit_trade,
        ("deribit", "quote") => deribit_quote,
        ("deribit", "book") => deribit_book,
        ("kraken", "trade") => kraken_trade,
        ("kraken", "quote") => kraken_quote,
        ("kraken", "book") => kraken_book,
        ("kucoin", "trade") => kucoin_trade,
        ("kucoin", "quote") => kucoin_quote,
        ("kucoin", "book") => kucoin_book,
        ("okx", "trade") => okx_trade,
        ("okx", _) => okx_book,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Binance<'a, T> {
    stream: &'a str,
    data: T,
}

#[derive(Deserialize)]
struct BinanceTrade<'a> {
    #[serde(rename = "E")]
    event_time: u64,
    s: &'a str,
    #[serde(alias = "a")]
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

/// Single trades once had the ids of both orders, too, one of them under the name that aggregates have theirs.
#[derive(Deserialize)]
struct BinanceSingle<'a> {
    #[serde(rename = "E")]
    event_time: u64,
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

fn binance_trade(frame: &str) -> f64 {
    if frame.contains("@trade") {
        let Binance::<BinanceSingle<'_>> { stream, data } = json(frame);
        let BinanceSingle { event_time, s, t, p, q, time, m } = data;
        return number(p) + number(q) + (t + time + event_time) as f64 + (stream.len() + s.len() + usize::from(m)) as f64;
    }
    let Binance::<BinanceTrade<'_>> { stream, data } = json(frame);
    let BinanceTrade { event_time, s, t, p, q, time, m } = data;
    number(p) + number(q) + (t + time + event_time) as f64 + (stream.len() + s.len() + usize::from(m)) as f64
}

#[derive(Deserialize)]
struct BinanceQuote<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_amount: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_amount: &'a str,
    #[serde(rename = "T", default)]
    time: u64,
}

fn binance_quote(frame: &str) -> f64 {
    let Binance::<BinanceQuote<'_>> { stream, data: d } = json(frame);
    let numbers = number(d.b) + number(d.bid_amount) + number(d.a) + number(d.ask_amount);
    numbers + (d.u + d.time) as f64 + (stream.len() + d.s.len()) as f64
}

#[derive(Deserialize)]
struct BinanceBook<'a> {
    #[serde(rename = "E")]
    event_time: u64,
    s: &'a str,
    #[serde(rename = "U")]
    first: u64,
    u: u64,
    #[serde(default)]
    pu: u64,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    a: Vec<[&'a str; 2]>,
}

fn binance_book(frame: &str) -> f64 {
    let Binance::<BinanceBook<'_>> { stream, data: d } = json(frame);
    sum(&d.b) + sum(&d.a) + (d.event_time + d.first + d.u + d.pu) as f64 + (stream.len() + d.s.len()) as f64
}

fn bitfinex_trade(frame: &str) -> f64 {
    let (channel, word, (id, time, amount, price), number, sent): (u64, &str, (u64, u64, f64, f64), u64, u64) = json(frame);
    (channel + id + time + number + sent) as f64 + amount + price + word.len() as f64
}

fn bitfinex_book(frame: &str) -> f64 {
    // Told apart by what stands there: trying one after the other would cost twice.
    let is_nested = frame.find(",[").is_some_and(|at| frame.as_bytes().get(at + 2) == Some(&b'['));
    let is_sent = frame.rsplit(']').nth(1).is_some_and(|tail| tail.matches(',').count() == 2);
    let level = |(price, count, amount): (f64, u64, f64)| price + count as f64 + amount;
    match (is_nested, is_sent) {
        (false, false) => {
            let (channel, one, number): (u64, (f64, u64, f64), u64) = json(frame);
            (channel + number) as f64 + level(one)
        }
        (false, true) => {
            let (channel, one, number, sent): (u64, (f64, u64, f64), u64, u64) = json(frame);
            (channel + number + sent) as f64 + level(one)
        }
        (true, false) => {
            let (channel, many, number): (u64, Vec<(f64, u64, f64)>, u64) = json(frame);
            (channel + number) as f64 + many.into_iter().map(level).sum::<f64>()
        }
        (true, true) => {
            let (channel, many, number, sent): (u64, Vec<(f64, u64, f64)>, u64, u64) = json(frame);
            (channel + number + sent) as f64 + many.into_iter().map(level).sum::<f64>()
        }
    }
}

#[derive(Deserialize)]
struct Bybit<'a, T> {
    topic: &'a str,
    r#type: &'a str,
    ts: u64,
    data: T,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct BybitTrade<'a> {
    T: u64,
    s: &'a str,
    S: &'a str,
    v: &'a str,
    p: &'a str,
    i: &'a str,
}

fn bybit_trade(frame: &str) -> f64 {
    let d: Bybit<'_, Vec<BybitTrade<'_>>> = json(frame);
    let trade = |t: &BybitTrade<'_>| number(t.v) + number(t.p) + t.T as f64 + (t.s.len() + t.S.len() + t.i.len()) as f64;
    d.data.iter().map(trade).sum::<f64>() + d.ts as f64 + (d.topic.len() + d.r#type.len()) as f64
}

#[derive(Deserialize)]
struct BybitBook<'a> {
    s: &'a str,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    a: Vec<[&'a str; 2]>,
    u: u64,
    seq: u64,
}

fn bybit_book(frame: &str) -> f64 {
    let d: Bybit<'_, BybitBook<'_>> = json(frame);
    let numbers = sum(&d.data.b) + sum(&d.data.a) + (d.data.u + d.data.seq + d.ts) as f64;
    numbers + (d.topic.len() + d.r#type.len() + d.data.s.len()) as f64
}

#[derive(Deserialize)]
struct CoinbaseTrade<'a> {
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    product_id: &'a str,
    time: &'a str,
}

fn coinbase_trade(frame: &str) -> f64 {
    let d: CoinbaseTrade<'_> = json(frame);
    number(d.size) + number(d.price) + d.trade_id as f64 + (d.side.len() + d.product_id.len() + d.time.len()) as f64
}

#[derive(Deserialize)]
struct CoinbaseQuote<'a> {
    sequence: u64,
    product_id: &'a str,
    best_bid: &'a str,
    #[serde(default = "zero")]
    best_bid_size: &'a str,
    best_ask: &'a str,
    #[serde(default = "zero")]
    best_ask_size: &'a str,
    time: &'a str,
}

fn zero() -> &'static str {
    "0"
}

fn coinbase_quote(frame: &str) -> f64 {
    let d: CoinbaseQuote<'_> = json(frame);
    let numbers = number(d.best_bid) + number(d.best_bid_size) + number(d.best_ask) + number(d.best_ask_size);
    numbers + d.sequence as f64 + (d.product_id.len() + d.time.len()) as f64
}

#[derive(Deserialize)]
struct CoinbaseBook<'a> {
    product_id: &'a str,
    #[serde(borrow)]
    changes: Vec<[&'a str; 3]>,
    time: &'a str,
}

fn coinbase_book(frame: &str) -> f64 {
    let d: CoinbaseBook<'_> = json(frame);
    let level = |l: &[&str; 3]| number(l[1]) + number(l[2]) + l[0].len() as f64;
    d.changes.iter().map(level).sum::<f64>() + (d.product_id.len() + d.time.len()) as f64
}

#[derive(Deserialize)]
struct Deribit<T> {
    params: Params<T>,
}

#[derive(Deserialize)]
struct Params<T> {
    data: T,
}

#[derive(Deserialize)]
struct DeribitTrade<'a> {
    timestamp: u64,
    price: f64,
    amount: f64,
    direction: &'a str,
    instrument_name: &'a str,
    trade_seq: u64,
}

fn deribit_trade(frame: &str) -> f64 {
    let d: Deribit<Vec<DeribitTrade<'_>>> = json(frame);
    let text = |t: &DeribitTrade<'_>| (t.direction.len() + t.instrument_name.len()) as f64;
    d.params.data.iter().map(|t| t.price + t.amount + (t.timestamp + t.trade_seq) as f64 + text(t)).sum()
}

#[derive(Deserialize)]
struct DeribitQuote<'a> {
    timestamp: u64,
    instrument_name: &'a str,
    best_ask_price: f64,
    best_bid_price: f64,
    best_ask_amount: f64,
    best_bid_amount: f64,
}

fn deribit_quote(frame: &str) -> f64 {
    let d = json::<Deribit<DeribitQuote<'_>>>(frame).params.data;
    let numbers = d.best_ask_price + d.best_bid_price + d.best_ask_amount + d.best_bid_amount;
    numbers + d.timestamp as f64 + d.instrument_name.len() as f64
}

#[derive(Deserialize)]
struct DeribitBook<'a> {
    timestamp: u64,
    instrument_name: &'a str,
    change_id: u64,
    prev_change_id: u64,
    #[serde(borrow)]
    bids: Vec<(&'a str, f64, f64)>,
    asks: Vec<(&'a str, f64, f64)>,
}

fn deribit_book(frame: &str) -> f64 {
    let d = json::<Deribit<DeribitBook<'_>>>(frame).params.data;
    let levels: f64 = d.bids.iter().chain(&d.asks).map(|l| l.1 + l.2 + l.0.len() as f64).sum();
    levels + (d.timestamp + d.change_id + d.prev_change_id) as f64 + d.instrument_name.len() as f64
}

#[derive(Deserialize)]
struct Data<'a, T> {
    #[serde(default)]
    channel: &'a str,
    data: T,
}

#[derive(Deserialize)]
struct KrakenTrade<'a> {
    symbol: &'a str,
    side: &'a str,
    price: f64,
    qty: f64,
    trade_id: u64,
    timestamp: &'a str,
}

fn kraken_trade(frame: &str) -> f64 {
    let d: Data<'_, Vec<KrakenTrade<'_>>> = json(frame);
    let text = |t: &KrakenTrade<'_>| (t.symbol.len() + t.side.len() + t.timestamp.len()) as f64;
    d.data.iter().map(|t| t.price + t.qty + t.trade_id as f64 + text(t)).sum::<f64>() + d.channel.len() as f64
}

#[derive(Deserialize)]
struct KrakenQuote<'a> {
    symbol: &'a str,
    bid: f64,
    bid_qty: f64,
    ask: f64,
    ask_qty: f64,
}

fn kraken_quote(frame: &str) -> f64 {
    let d: Data<'_, Vec<KrakenQuote<'_>>> = json(frame);
    d.data.iter().map(|q| q.bid + q.bid_qty + q.ask + q.ask_qty + q.symbol.len() as f64).sum()
}

#[derive(Deserialize)]
struct KrakenLevel {
    price: f64,
    qty: f64,
}

#[derive(Deserialize)]
struct KrakenBook<'a> {
    symbol: &'a str,
    bids: Vec<KrakenLevel>,
    asks: Vec<KrakenLevel>,
    checksum: u32,
    #[serde(default)]
    timestamp: &'a str,
}

fn kraken_book(frame: &str) -> f64 {
    let d: Data<'_, Vec<KrakenBook<'_>>> = json(frame);
    let book = |b: &KrakenBook<'_>| {
        let levels: f64 = b.bids.iter().chain(&b.asks).map(|l| l.price + l.qty).sum();
        levels + f64::from(b.checksum) + (b.symbol.len() + b.timestamp.len()) as f64
    };
    d.data.iter().map(book).sum()
}

#[derive(Deserialize)]
struct KucoinTrade<'a> {
    price: &'a str,
    sequence: &'a str,
    side: &'a str,
    size: &'a str,
    symbol: &'a str,
    time: &'a str,
}

fn whole(text: &str) -> u64 {
    text.parse().expect("a whole number")
}

fn kucoin_trade(frame: &str) -> f64 {
    let d = json::<Data<'_, KucoinTrade<'_>>>(frame).data;
    number(d.price) + number(d.size) + (whole(d.sequence) + whole(d.time)) as f64 + (d.side.len() + d.symbol.len()) as f64
}

#[derive(Deserialize)]
struct KucoinQuote<'a> {
    #[serde(borrow)]
    asks: [&'a str; 2],
    bids: [&'a str; 2],
    timestamp: u64,
}

fn kucoin_quote(frame: &str) -> f64 {
    let d = json::<Data<'_, KucoinQuote<'_>>>(frame).data;
    sum(&[d.asks, d.bids]) + d.timestamp as f64
}

#[derive(Deserialize)]
struct Kucoin<'a> {
    #[serde(borrow)]
    d: KucoinBook<'a>,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct KucoinBook<'a> {
    C: u64,
    M: u64,
    O: u64,
    #[serde(borrow)]
    a: Vec<[&'a str; 2]>,
    b: Vec<[&'a str; 2]>,
    s: &'a str,
}

fn kucoin_book(frame: &str) -> f64 {
    let d = json::<Kucoin<'_>>(frame).d;
    sum(&d.a) + sum(&d.b) + (d.C + d.O) as f64 + d.M as f64 + d.s.len() as f64
}

#[derive(Deserialize)]
struct Okx<'a, T> {
    #[serde(borrow)]
    arg: OkxArg<'a>,
    data: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OkxArg<'a> {
    channel: &'a str,
    inst_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OkxTrade<'a> {
    trade_id: &'a str,
    px: &'a str,
    sz: &'a str,
    side: &'a str,
    ts: &'a str,
}

fn okx_trade(frame: &str) -> f64 {
    let d: Okx<'_, OkxTrade<'_>> = json(frame);
    let trade =
        |t: &OkxTrade<'_>| number(t.px) + number(t.sz) + (whole(t.trade_id) + whole(t.ts)) as f64 + t.side.len() as f64;
    d.data.iter().map(trade).sum::<f64>() + (d.arg.channel.len() + d.arg.inst_id.len()) as f64
}

#[derive(Deserialize)]
struct OkxBook<'a> {
    #[serde(borrow)]
    asks: Vec<[&'a str; 4]>,
    bids: Vec<[&'a str; 4]>,
    ts: &'a str,
    #[serde(default)]
    checksum: i64,
    #[serde(rename = "seqId", default)]
    seq: i64,
    #[serde(rename = "prevSeqId", default)]
    prev: i64,
}

fn okx_book(frame: &str) -> f64 {
    let d: Okx<'_, OkxBook<'_>> = json(frame);
    let book = |b: &OkxBook<'_>| sum(&b.asks) + sum(&b.bids) + whole(b.ts) as f64 + (b.checksum + b.seq + b.prev) as f64;
    d.data.iter().map(book).sum::<f64>() + (d.arg.channel.len() + d.arg.inst_id.len()) as f64
}
