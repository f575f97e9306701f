//! Results, written without detour: candles and trades newest first, books, instruments, tickers.

use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::digits::push_u64;
use crate::exchanges::bybit::book::View;
use crate::exchanges::bybit::markets::{Category, Market, push_short};
use crate::exchanges::bybit::render::{levels, millis, put, side};
use crate::market::Ladder;
use crate::market::history::{Bar, TradeRow};
use crate::market::interval::Interval;

/// Bytes of a candle's row, about.
const ROW_BYTES: usize = 110;

/// Which candles are wanted, microseconds; those that open within `from..=to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub interval: Interval,
    pub from_us: Option<i64>,
    pub to_us: Option<i64>,
    pub now_us: i64,
    pub limit: usize,
}

/// When the first and the last wanted candle open. With a start alone the oldest from there, otherwise the newest.
fn range(wanted: Wanted, listed_us: i64) -> Option<(i64, i64)> {
    let Wanted { interval, from_us, to_us, now_us, limit } = wanted;
    let market_from = interval.open(listed_us);
    let from_us = from_us.map_or(market_from, |from| {
        let open = interval.open(from);
        if open < from { interval.next(open) } else { open }.max(market_from)
    });
    let last = interval.open(to_us.unwrap_or(now_us).min(now_us));
    if from_us > last {
        return None;
    }
    if wanted.from_us.is_some() && to_us.is_none() {
        let mut to = from_us;
        for _ in 1..limit {
            if interval.next(to) > last {
                break;
            }
            to = interval.next(to);
        }
        return Some((from_us, to));
    }
    let mut from = last;
    for _ in 1..limit {
        let before = interval.open(from - 1);
        if before < from_us {
            break;
        }
        from = before;
    }
    Some((from, last))
}

/// The wanted candles, newest first.
pub(super) fn bars(tape: Tape<'_>, wanted: Wanted) -> Vec<Bar> {
    let Some((from, to)) = range(wanted, tape.past.listed * MINUTE_US) else { return Vec::new() };
    let mut made = tape.bars(from, wanted.now_us);
    let mut list = Vec::with_capacity(wanted.limit);
    let mut at = from;
    while at <= to {
        let next = wanted.interval.next(at);
        list.push(made.whole(at, next));
        at = next;
    }
    list.reverse();
    list
}

/// `["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"]` and so on.
pub(super) fn push_bars(out: &mut Vec<u8>, bars: &[Bar]) {
    out.reserve(bars.len() * ROW_BYTES);
    out.push(b'[');
    for (i, bar) in bars.iter().enumerate() {
        put(out, if i == 0 { "[\"" } else { ",[\"" });
        millis(out, bar.open_us);
        for value in [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume] {
            put(out, "\",\"");
            push_short(out, value);
        }
        put(out, "\"]");
    }
    out.push(b']');
}

/// Trades, each with its sequence number.
pub(super) fn push_trades(out: &mut Vec<u8>, market: &Market, rows: &[(TradeRow, u64)]) {
    out.push(b'[');
    for (i, (row, seq)) in rows.iter().enumerate() {
        put(out, if i == 0 { "{\"execId\":\"" } else { ",{\"execId\":\"" });
        market.push_trade_id(out, row.id);
        put(out, "\",\"symbol\":\"");
        put(out, &market.id);
        put(out, "\",\"price\":\"");
        market.push_price(out, row.price);
        put(out, "\",\"size\":\"");
        market.push_amount(out, row.amount);
        put(out, "\",\"side\":\"");
        put(out, side(row));
        put(out, "\",\"time\":\"");
        millis(out, row.time_us);
        put(out, "\",\"isBlockTrade\":false,\"isRPITrade\":false,\"seq\":\"");
        push_u64(out, *seq);
        put(out, "\"}");
    }
    out.push(b']');
}

/// `{"s":"BTCUSDT","b":[],"a":[],"ts":1716863719031,"u":230704,"seq":1432604333,"cts":1716863718905}`
pub(super) fn push_book(out: &mut Vec<u8>, market: &Market, view: &View, ladder: &Ladder, now_us: i64) {
    put(out, "{\"s\":\"");
    put(out, &market.id);
    put(out, "\",\"b\":");
    levels(out, market, &ladder.bids);
    put(out, ",\"a\":");
    levels(out, market, &ladder.asks);
    put(out, ",\"ts\":");
    millis(out, now_us);
    put(out, ",\"u\":");
    push_u64(out, view.u);
    put(out, ",\"seq\":");
    push_u64(out, view.seq);
    put(out, ",\"cts\":");
    millis(out, view.changed_us);
    out.push(b'}');
}

fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    push(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A market in `instruments-info`.
pub(super) fn push_instrument(out: &mut Vec<u8>, market: &Market, listed_us: i64) {
    let Market { id, base, quote, .. } = market;
    let short = |e8| text(|out| push_short(out, e8));
    let amount = |lots: i64| text(|out| market.push_amount(out, market.step * lots));
    let price = |ticks: i64| text(|out| market.push_price(out, market.tick * ticks));
    let listed = match market.category {
        Category::Spot => format!(
            "{{\"symbol\":\"{id}\",\"baseCoin\":\"{base}\",\"quoteCoin\":\"{quote}\",\"innovation\":\"0\",\"status\":\"Trading\",\
             \"marginTrading\":\"utaOnly\",\"stTag\":\"0\",\"lotSizeFilter\":{{\"basePrecision\":\"{}\",\"quotePrecision\":\"{}\",\
             \"minOrderQty\":\"{}\",\"maxOrderQty\":\"{}\",\"minOrderAmt\":\"1\",\"maxOrderAmt\":\"2000000\"}},\
             \"priceFilter\":{{\"tickSize\":\"{}\"}},\
             \"riskParameters\":{{\"priceLimitRatioX\":\"0.01\",\"priceLimitRatioY\":\"0.02\"}}}}",
            short(market.step),
            short(1),
            short(market.step),
            short(market.step * 10_000_000),
            short(market.tick),
        ),
        Category::Linear => format!(
            "{{\"symbol\":\"{id}\",\"contractType\":\"LinearPerpetual\",\"status\":\"Trading\",\"baseCoin\":\"{base}\",\
             \"quoteCoin\":\"{quote}\",\"launchTime\":\"{}\",\"deliveryTime\":\"0\",\"deliveryFeeRate\":\"\",\
             \"priceScale\":\"{}\",\"leverageFilter\":{{\"minLeverage\":\"1\",\"maxLeverage\":\"100.00\",\"leverageStep\":\"0.01\"}},\
             \"priceFilter\":{{\"minPrice\":\"{}\",\"maxPrice\":\"{}\",\"tickSize\":\"{}\"}},\
             \"lotSizeFilter\":{{\"maxOrderQty\":\"{}\",\"minOrderQty\":\"{}\",\"qtyStep\":\"{}\",\
             \"postOnlyMaxOrderQty\":\"{}\",\"maxMktOrderQty\":\"{}\",\"minNotionalValue\":\"5\"}},\
             \"unifiedMarginTrade\":true,\"fundingInterval\":480,\"settleCoin\":\"{quote}\",\"copyTrading\":\"both\",\
             \"upperFundingRate\":\"0.005\",\"lowerFundingRate\":\"-0.005\",\"isPreListing\":false,\"preListingInfo\":null,\
             \"riskParameters\":{{\"priceLimitRatioX\":\"0.01\",\"priceLimitRatioY\":\"0.02\"}},\"displayName\":\"\",\
             \"symbolType\":\"\",\"forbidUplWithdrawal\":false,\"symbolId\":{}}}",
            listed_us.div_euclid(1_000),
            market.price_digits,
            price(1),
            price(19_999_998),
            price(1),
            amount(1_190_000),
            amount(1),
            amount(1),
            amount(1_190_000),
            amount(500_000),
            market.drawn(5, 0) % 5_000,
        ),
    };
    put(out, &listed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    #[test]
    fn candles_come_newest_first_and_a_start_alone_gives_the_oldest() {
        let past = past("listed=2020-01-01T02:30,trades=600,halts=0,BTC/USDT.outage=2020-01-01T03:30..2020-01-01T07:10");
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let at = |minute: i64| (past.listed + minute) * MINUTE_US;
        let opens = |label: Interval, from: Option<i64>, to: Option<i64>, limit| {
            let wanted = Wanted { interval: label, from_us: from, to_us: to, now_us: at(400) + 5, limit };
            bars(tape, wanted).iter().map(|bar| bar.open_us / MINUTE_US - past.listed).collect::<Vec<_>>()
        };
        let minute = Interval::Minutes(1);
        assert_eq!(opens(minute, None, None, 3), [400, 399, 398]);
        assert_eq!(opens(minute, None, Some(at(7) + 1), 3), [7, 6, 5]);
        assert_eq!(opens(minute, Some(at(5) - 1), None, 3), [7, 6, 5]);
        assert_eq!(opens(minute, Some(9_999_000), None, 1), [0]);
        assert_eq!(opens(minute, Some(at(5)), Some(at(9)), 3), [9, 8, 7]);
        assert_eq!(opens(minute, Some(at(5)), Some(at(6)), 30), [6, 5]);
        assert_eq!(opens(minute, Some(at(401)), None, 30), Vec::<i64>::new());
        assert_eq!(opens(minute, None, Some(at(-1)), 30), Vec::<i64>::new());
        // Without holes, the outage flat.
        assert_eq!(opens(minute, Some(at(0)), Some(at(400)), 1_000).len(), 401);
        assert_eq!(opens(Interval::Minutes(60), None, None, 2), [390, 330]);
        assert_eq!(opens(Interval::Month, None, None, 10).len(), 1);
    }
}
