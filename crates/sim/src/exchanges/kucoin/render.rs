//! Messages of the classic socket as KuCoin writes them: numbers as texts without zeros at their end, keys in the exchange's order, the
//! times of trades in nanoseconds, those of books and prices in milliseconds.

use super::book::{Entry, Update};
use super::streams::WIDTHS;
use crate::deep::past::mix;
use crate::digits::{push_i64, push_short, push_u64};
use crate::market::history::{Bar, TradeRow};
use crate::market::{Ladder, Quote};

/// The numbers of trades are far above this; what they grow by is between 1 and 5.
const TRADES_BEGIN: u64 = 11_067_996_000_000_000;

/// The exchange's number of a trade, which is its id as well: they grow, and leave holes.
pub(crate) const fn trade_number(id: u64) -> u64 {
    TRADES_BEGIN + 3 * id + mix(id) % 3
}

/// The id that a number, or one in the hole before it, was made of.
pub(crate) const fn trade_of(number: u64) -> u64 {
    number.saturating_sub(TRADES_BEGIN) / 3
}

pub(super) fn put(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

fn number(out: &mut Vec<u8>, e8: i64) {
    out.push(b'"');
    push_short(out, e8);
    out.push(b'"');
}

/// `"name":"1.5"` between others.
pub(super) fn field(out: &mut Vec<u8>, name: &str, e8: i64) {
    put(out, &["\"", name, "\":"]);
    number(out, e8);
    out.push(b',');
}

/// `"name":1.5` between others.
fn bare(out: &mut Vec<u8>, name: &str, e8: i64) {
    put(out, &["\"", name, "\":"]);
    push_short(out, e8);
    out.push(b',');
}

pub(super) const fn side(buyer_is_maker: bool) -> &'static str {
    if buyer_is_maker { "sell" } else { "buy" }
}

fn head(out: &mut Vec<u8>, topic: &str, id: &str, subject: &str) {
    put(out, &["{\"topic\":\"", topic, ":", id, "\",\"type\":\"message\",\"subject\":\"", subject, "\",\"data\":"]);
}

/// An order's id: 24 hexadecimal digits, which begin with the second.
fn order(out: &mut Vec<u8>, time_us: i64, salt: u64) {
    let seconds = u64::try_from(time_us.div_euclid(1_000_000)).unwrap_or(0);
    for (value, digits) in [(seconds, 8_u32), (mix(salt), 16)] {
        for place in (0..digits).rev() {
            let nibble = value >> (4 * place) & 0xf;
            out.push(b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)]);
        }
    }
}

/// `/market/match`.
pub(super) fn trade(out: &mut Vec<u8>, id: &str, row: &TradeRow) {
    let seq = trade_number(row.id);
    head(out, "/market/match", id, "trade.l3match");
    out.extend_from_slice(b"{\"makerOrderId\":\"");
    order(out, row.time_us - 1_000_000, row.id);
    out.extend_from_slice(b"\",");
    field(out, "price", row.price);
    out.extend_from_slice(b"\"sequence\":\"");
    push_u64(out, seq);
    put(out, &["\",\"side\":\"", side(row.buyer_is_maker), "\","]);
    field(out, "size", row.amount);
    put(out, &["\"symbol\":\"", id, "\",\"takerOrderId\":\""]);
    order(out, row.time_us, row.time_us.cast_unsigned());
    out.extend_from_slice(b"\",\"time\":\"");
    push_i64(out, row.time_us.saturating_mul(1_000));
    out.extend_from_slice(b"\",\"tradeId\":\"");
    push_u64(out, seq);
    out.extend_from_slice(b"\",\"type\":\"match\"}}");
}

fn entries(out: &mut Vec<u8>, entries: &[Entry]) {
    out.push(b'[');
    for (at, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        number(out, entry.price);
        out.push(b',');
        number(out, entry.size);
        out.extend_from_slice(b",\"");
        push_u64(out, entry.seq);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
}

/// `/market/level2`.
pub(super) fn level2(out: &mut Vec<u8>, id: &str, update: &Update, now_us: i64) {
    head(out, "/market/level2", id, "trade.l2update");
    out.extend_from_slice(b"{\"changes\":{\"asks\":");
    entries(out, &update.asks);
    out.extend_from_slice(b",\"bids\":");
    entries(out, &update.bids);
    out.extend_from_slice(b"},\"sequenceEnd\":");
    push_u64(out, update.last);
    out.extend_from_slice(b",\"sequenceStart\":");
    push_u64(out, update.first);
    put(out, &[",\"symbol\":\"", id, "\",\"time\":"]);
    push_i64(out, now_us.div_euclid(1_000));
    out.extend_from_slice(b"}}");
}

/// `[["67996.7","1.14213262"],…]`
pub(super) fn levels(out: &mut Vec<u8>, levels: &[(i64, i64)]) {
    out.push(b'[');
    for (at, (price, size)) in levels.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        number(out, *price);
        out.push(b',');
        number(out, *size);
        out.push(b']');
    }
    out.push(b']');
}

/// `/spotMarket/level2Depth5` and `…50`: each time all of its levels.
pub(super) fn depth(out: &mut Vec<u8>, topic: &str, id: &str, ladder: &Ladder, now_us: i64) {
    head(out, topic, id, "level2");
    out.extend_from_slice(b"{\"asks\":");
    levels(out, &ladder.asks);
    out.extend_from_slice(b",\"bids\":");
    levels(out, &ladder.bids);
    out.extend_from_slice(b",\"timestamp\":");
    push_i64(out, now_us.div_euclid(1_000));
    out.extend_from_slice(b"}}");
}

/// `/spotMarket/level1`: a flat pair a side.
pub(super) fn level1(out: &mut Vec<u8>, id: &str, quote: &Quote, now_us: i64) {
    head(out, "/spotMarket/level1", id, "level1");
    out.extend_from_slice(b"{\"asks\":[");
    number(out, quote.ask);
    out.push(b',');
    number(out, quote.ask_amount);
    out.extend_from_slice(b"],\"bids\":[");
    number(out, quote.bid);
    out.push(b',');
    number(out, quote.bid_amount);
    out.extend_from_slice(b"],\"timestamp\":");
    push_i64(out, now_us.div_euclid(1_000));
    out.extend_from_slice(b"}}");
}

/// A ticker's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticker {
    pub quote: Quote,
    pub seq: u64,
    pub last: i64,
    pub last_amount: i64,
    pub now_us: i64,
}

/// `/market/ticker`; in the topic of all markets the subject is the market's name.
pub(super) fn ticker(out: &mut Vec<u8>, id: &str, is_for_all: bool, ticker: &Ticker) {
    if is_for_all {
        head(out, "/market/ticker", super::streams::ALL, id);
    } else {
        head(out, "/market/ticker", id, "trade.ticker");
    }
    let Ticker { quote, seq, last, last_amount, now_us } = ticker;
    out.push(b'{');
    field(out, "bestAsk", quote.ask);
    field(out, "bestAskSize", quote.ask_amount);
    field(out, "bestBid", quote.bid);
    field(out, "bestBidSize", quote.bid_amount);
    field(out, "price", *last);
    out.extend_from_slice(b"\"sequence\":\"");
    push_u64(out, *seq);
    out.extend_from_slice(b"\",");
    field(out, "size", *last_amount);
    out.extend_from_slice(b"\"time\":");
    push_i64(out, now_us.div_euclid(1_000));
    out.extend_from_slice(b"}}");
}

/// A part of one by another, `e8`, cut to four decimals as the exchange tells rates.
pub(super) fn rate(part: i64, whole: i64) -> i64 {
    if whole == 0 {
        return 0;
    }
    let e4 = i128::from(part) * 10_000 / i128::from(whole);
    i64::try_from(e4 * 10_000).unwrap_or(0)
}

/// What a market's last 24 hours were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stats {
    pub ticker: Ticker,
    pub day: Bar,
}

impl Stats {
    pub(super) const fn change(&self) -> i64 {
        self.ticker.last - self.day.open
    }

    /// The day's average price, `e8`.
    pub(super) fn average(&self) -> i64 {
        if self.day.volume == 0 {
            return self.day.close;
        }
        let e8 = i128::from(self.day.quote_volume) * 100_000_000 / i128::from(self.day.volume);
        i64::try_from(e8).unwrap_or(0)
    }
}

/// `/market/snapshot`: numbers bare.
pub(super) fn snapshot(out: &mut Vec<u8>, (id, base, quote_currency): (&str, &str, &str), stats: &Stats) {
    let Stats { ticker, day } = stats;
    let group = super::markets::group(quote_currency);
    head(out, "/market/snapshot", id, "trade.snapshot");
    out.extend_from_slice(b"{\"sequence\":\"");
    push_u64(out, ticker.seq);
    out.extend_from_slice(b"\",\"data\":{");
    bare(out, "askSize", ticker.quote.ask_amount);
    bare(out, "averagePrice", stats.average());
    put(out, &["\"baseCurrency\":\"", base, "\","]);
    bare(out, "bidSize", ticker.quote.bid_amount);
    out.extend_from_slice(b"\"board\":1,");
    bare(out, "buy", ticker.quote.bid);
    bare(out, "changePrice", stats.change());
    bare(out, "changeRate", rate(stats.change(), day.open));
    bare(out, "close", ticker.last);
    out.extend_from_slice(b"\"datetime\":");
    push_i64(out, ticker.now_us.div_euclid(1_000));
    out.push(b',');
    bare(out, "high", day.high);
    bare(out, "lastTradedPrice", ticker.last);
    bare(out, "low", day.low);
    out.extend_from_slice(b"\"makerCoefficient\":1.000000,\"makerFeeRate\":0.001,\"marginTrade\":true,\"mark\":0,");
    put(out, &["\"market\":\"", group, "\",\"markets\":[\"", group, "\"],"]);
    bare(out, "open", day.open);
    put(out, &["\"quoteCurrency\":\"", quote_currency, "\","]);
    bare(out, "sell", ticker.quote.ask);
    put(out, &["\"sort\":100,\"symbol\":\"", id, "\",\"symbolCode\":\"", id, "\","]);
    out.extend_from_slice(b"\"takerCoefficient\":1.000000,\"takerFeeRate\":0.001,\"trading\":true,");
    bare(out, "vol", day.volume);
    out.extend_from_slice(b"\"volValue\":");
    push_short(out, day.quote_volume);
    out.extend_from_slice(b"}}}");
}

/// A candle's row: second, open, close, high, low, volume, turnover.
pub(super) fn candle_row(out: &mut Vec<u8>, bar: &Bar) {
    out.extend_from_slice(b"[\"");
    push_i64(out, bar.open_us.div_euclid(1_000_000));
    out.push(b'"');
    for value in [bar.open, bar.close, bar.high, bar.low, bar.volume, bar.quote_volume] {
        out.push(b',');
        number(out, value);
    }
    out.push(b']');
}

/// `/market/candles`; the first message of a candle adds it.
pub(super) fn candle(out: &mut Vec<u8>, id: &str, width: usize, bar: &Bar, is_new: bool, now_us: i64) {
    let subject = if is_new { "trade.candles.add" } else { "trade.candles.update" };
    let name = [id, "_", WIDTHS[width].0].concat();
    head(out, super::streams::CANDLES, &name, subject);
    put(out, &["{\"symbol\":\"", id, "\",\"candles\":"]);
    candle_row(out, bar);
    out.extend_from_slice(b",\"time\":");
    push_i64(out, now_us.saturating_mul(1_000));
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::mix;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_of_trades_grow_with_holes_and_lead_back() {
        let ids = [1, 2, 3, 1_000_000, u64::from(u32::MAX)];
        assert!(ids.iter().all(|id| trade_of(trade_number(*id)) == *id));
        let steps: Vec<u64> = (1..200).map(|id| trade_number(id + 1) - trade_number(id)).collect();
        assert!(steps.iter().all(|step| (1..=5).contains(step)) && steps.contains(&1) && steps.contains(&5));
        assert_eq!(mix(7) % 3, trade_number(7) % 3);
    }

    #[test]
    fn messages_read_as_the_exchange_writes_them() {
        let time_us = 1_729_843_222_921_000;
        let row = TradeRow { id: 7, price: 6_752_300_000_000, amount: 300_000, time_us, buyer_is_maker: false };
        let text = written(|out| trade(out, "BTC-USDT", &row));
        let (head, tail) = text.split_once("\",\"price\"").unwrap();
        assert_eq!(
            head.rsplit_once(":\"").unwrap().0,
            r#"{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match","data":{"makerOrderId"#
                .to_owned()
                + "\""
        );
        assert!(tail.starts_with(r#":"67523","sequence":"110679960000000"#), "{tail}");
        assert!(tail.contains(r#""side":"buy","size":"0.003","symbol":"BTC-USDT","takerOrderId":"671b5016"#), "{tail}");
        assert!(
            tail.contains(r#"","time":"1729843222921000000","tradeId":"110679960000000"#)
                && tail.ends_with(r#""type":"match"}}"#)
        );
        let asks = vec![Entry { price: 6_799_330_000_000, size: 121_427_407, seq: 14_701_689_783 }];
        let update = Update { first: 14_701_689_783, last: 14_701_689_783, bids: vec![], asks };
        assert_eq!(
            written(|out| level2(out, "BTC-USDT", &update, 1_729_816_425_625_000)),
            r#"{"topic":"/market/level2:BTC-USDT","type":"message","subject":"trade.l2update","data":{"changes":{"asks":[["67993.3","1.21427407","14701689783"]],"bids":[]},"sequenceEnd":14701689783,"sequenceStart":14701689783,"symbol":"BTC-USDT","time":1729816425625}}"#
        );
        let quote = Quote {
            update_id: 9,
            bid: 6_814_570_000_000,
            bid_amount: 129_267_802,
            ask: 6_814_580_000_000,
            ask_amount: 51_987_471,
        };
        assert_eq!(
            written(|out| level1(out, "BTC-USDT", &quote, 1_729_816_058_766_000)),
            r#"{"topic":"/spotMarket/level1:BTC-USDT","type":"message","subject":"level1","data":{"asks":["68145.8","0.51987471"],"bids":["68145.7","1.29267802"],"timestamp":1729816058766}}"#
        );
        let figures = Ticker { quote, seq: 23, last: 6_814_570_000_000, last_amount: 2, now_us: 1_790_984_011_673_000 };
        assert_eq!(
            written(|out| ticker(out, "BTC-USDT", true, &figures)),
            r#"{"topic":"/market/ticker:all","type":"message","subject":"BTC-USDT","data":{"bestAsk":"68145.8","bestAskSize":"0.51987471","bestBid":"68145.7","bestBidSize":"1.29267802","price":"68145.7","sequence":"23","size":"0.00000002","time":1790984011673}}"#
        );
        let bar = Bar {
            open_us: 1_729_839_600_000_000,
            open: 100_000_000,
            close: 200_000_000,
            high: 300_000_000,
            low: 50_000_000,
            volume: 1,
            quote_volume: 2,
            ..Bar::default()
        };
        assert_eq!(
            written(|out| candle(out, "BTC-USDT", 5, &bar, false, 1_729_842_192_785_164)),
            r#"{"topic":"/market/candles:BTC-USDT_1hour","type":"message","subject":"trade.candles.update","data":{"symbol":"BTC-USDT","candles":["1729839600","1","2","3","0.5","0.00000001","0.00000002"],"time":1729842192785164000}}"#
        );
    }

    #[test]
    fn rates_are_cut_to_four_decimals() {
        assert_eq!([rate(-255, 84_776), rate(1, 0), rate(47, 10_000)], [-300_000, 0, 470_000]);
    }
}
