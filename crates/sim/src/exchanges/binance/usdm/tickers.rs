//! The last 24 hours of a perpetual, as the stream and REST tell them.

use super::market::Market;
use crate::digits::push_fixed;
use crate::exchanges::binance::rest::Day;

const DAY_MS: i64 = 86_400_000;

/// What `push` appends, as text.
pub(super) fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(24);
    push(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A change in parts of a hundred, three decimals.
fn percent(change: i64, of: i64) -> String {
    let e8 = if of == 0 { 0 } else { i128::from(change) * 10_000_000_000 / i128::from(of) };
    text(|out| push_fixed(out, i64::try_from(e8).unwrap_or(0), 3))
}

/// The `ticker` stream's message, or the shorter one of `miniTicker`.
pub(super) fn stream(market: &Market, day: &Day, last_amount: i64, now_us: i64, is_whole: bool) -> String {
    let now = now_us.div_euclid(1_000);
    let price = |e8| text(|out| market.push_price(out, e8));
    let amount = |e8| text(|out| market.push_amount(out, e8));
    let (id, change) = (&market.id, day.last - day.open);
    let (last, open, high, low) = (price(day.last), price(day.open), price(day.high), price(day.low));
    let (volume, value) = (amount(day.volume), price(day.quote_volume));
    if !is_whole {
        return format!(
            "{{\"e\":\"24hrMiniTicker\",\"E\":{now},\"s\":\"{id}\",\"c\":\"{last}\",\"o\":\"{open}\",\"h\":\"{high}\",\
             \"l\":\"{low}\",\"v\":\"{volume}\",\"q\":\"{value}\",\"ps\":\"{id}\",\"st\":1}}"
        );
    }
    format!(
        "{{\"e\":\"24hrTicker\",\"E\":{now},\"s\":\"{id}\",\"p\":\"{}\",\"P\":\"{}\",\"w\":\"{}\",\"c\":\"{last}\",\"Q\":\"{}\",\
         \"o\":\"{open}\",\"h\":\"{high}\",\"l\":\"{low}\",\"v\":\"{volume}\",\"q\":\"{value}\",\"O\":{},\"C\":{now},\"F\":{},\
         \"L\":{},\"n\":{},\"st\":1}}",
        price(change),
        percent(change, day.open),
        price(day.average),
        amount(last_amount),
        now - DAY_MS,
        day.first_id,
        day.last_id,
        day.trades,
    )
}

/// An entry of `GET ticker/24hr`.
pub(super) fn entry(market: &Market, day: &Day, last_amount: i64, now_us: i64) -> String {
    let now = now_us.div_euclid(1_000);
    let price = |e8| text(|out| market.push_price(out, e8));
    let amount = |e8| text(|out| market.push_amount(out, e8));
    let change = day.last - day.open;
    format!(
        "{{\"symbol\":\"{}\",\"priceChange\":\"{}\",\"priceChangePercent\":\"{}\",\"weightedAvgPrice\":\"{}\",\
         \"lastPrice\":\"{}\",\"lastQty\":\"{}\",\"openPrice\":\"{}\",\"highPrice\":\"{}\",\"lowPrice\":\"{}\",\"volume\":\"{}\",\
         \"quoteVolume\":\"{}\",\"openTime\":{},\"closeTime\":{now},\"firstId\":{},\"lastId\":{},\"count\":{}}}",
        market.id,
        price(change),
        percent(change, day.open),
        price(day.average),
        price(day.last),
        amount(last_amount),
        price(day.open),
        price(day.high),
        price(day.low),
        amount(day.volume),
        price(day.quote_volume),
        now - DAY_MS,
        day.first_id,
        day.last_id,
        day.trades,
    )
}
