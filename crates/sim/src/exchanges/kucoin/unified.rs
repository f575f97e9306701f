//! Messages of the socket of unified accounts: keys of one letter, times in nanoseconds, no token.

use super::render::{Ticker, levels, put, side, trade_number};
use super::streams::{Depth, WIDTHS};
use crate::digits::{push_i64, push_short, push_u64};
use crate::market::Ladder;
use crate::market::history::{Bar, TradeRow};

/// Levels a side of a book whose changes are told.
pub(super) const DEPTH: usize = 500;

fn head(out: &mut Vec<u8>, channel: &str, now_us: i64) {
    put(out, &["{\"T\":\"", channel, ".SPOT\",\"P\":"]);
    push_i64(out, now_us.saturating_mul(1_000));
    out.extend_from_slice(b",\"d\":{");
}

fn field(out: &mut Vec<u8>, name: &str, e8: i64) {
    put(out, &["\"", name, "\":\""]);
    push_short(out, e8);
    out.extend_from_slice(b"\",");
}

fn whole(out: &mut Vec<u8>, name: &str, value: i64) {
    put(out, &["\"", name, "\":"]);
    push_i64(out, value);
    out.push(b',');
}

/// `trade`.
pub(super) fn trade(out: &mut Vec<u8>, id: &str, row: &TradeRow, now_us: i64) {
    let seq = trade_number(row.id);
    head(out, "trade", now_us);
    out.extend_from_slice(b"\"E\":");
    push_u64(out, seq);
    out.push(b',');
    whole(out, "M", row.time_us.saturating_mul(1_000));
    put(out, &["\"S\":\"", side(row.buyer_is_maker), "\","]);
    field(out, "p", row.price);
    field(out, "q", row.amount);
    put(out, &["\"s\":\"", id, "\",\"ti\":\""]);
    push_u64(out, seq);
    out.extend_from_slice(b"\"}}");
}

/// `ticker`: the best prices, the last trade, and whether that was a buyer's.
pub(super) fn ticker(out: &mut Vec<u8>, id: &str, ticker: &Ticker, bought: bool) {
    let Ticker { quote, seq, last, last_amount, now_us } = ticker;
    head(out, "ticker", *now_us);
    field(out, "A", quote.ask_amount);
    field(out, "B", quote.bid_amount);
    out.extend_from_slice(b"\"E\":");
    push_u64(out, *seq);
    out.push(b',');
    whole(out, "M", now_us.saturating_mul(1_000));
    put(out, &["\"S\":\"", if bought { "BUY" } else { "SELL" }, "\","]);
    field(out, "a", quote.ask);
    field(out, "b", quote.bid);
    field(out, "l", *last);
    field(out, "q", *last_amount);
    put(out, &["\"s\":\"", id, "\"}}"]);
}

/// A book, or what changed in it between two numbers.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub is_snapshot: bool,
    pub first: u64,
    pub last: u64,
    pub ladder: Ladder,
}

/// `obu`.
pub(super) fn book(out: &mut Vec<u8>, id: &str, depth: Depth, told: &Told, now_us: i64) {
    let kind = if told.is_snapshot { "snapshot" } else { "delta" };
    put(out, &["{\"T\":\"obu.SPOT\",\"dp\":\"", depth.name(), "\",\"t\":\"", kind, "\",\"P\":"]);
    push_i64(out, now_us.saturating_mul(1_000));
    out.extend_from_slice(b",\"d\":{\"C\":");
    push_u64(out, told.last);
    out.extend_from_slice(b",\"M\":");
    push_i64(out, now_us.saturating_mul(1_000));
    out.extend_from_slice(b",\"O\":");
    push_u64(out, told.first);
    out.extend_from_slice(b",\"a\":");
    levels(out, &told.ladder.asks);
    out.extend_from_slice(b",\"b\":");
    levels(out, &told.ladder.bids);
    put(out, &[",\"s\":\"", id, "\"}}"]);
}

/// `kline`; `next_us` is when the candle after it opens.
pub(super) fn candle(out: &mut Vec<u8>, id: &str, width: usize, bar: &Bar, next_us: i64, now_us: i64) {
    head(out, "kline", now_us);
    field(out, "a", bar.quote_volume);
    put(out, &["\"s\":\"", id, "\","]);
    whole(out, "C", next_us.div_euclid(1_000_000));
    field(out, "c", bar.close);
    put(out, &["\"S\":", if now_us < next_us { "false," } else { "true," }]);
    field(out, "v", bar.volume);
    field(out, "h", bar.high);
    put(out, &["\"i\":\"", WIDTHS[width].0, "\","]);
    field(out, "l", bar.low);
    whole(out, "O", bar.open_us.div_euclid(1_000_000));
    put(out, &["\"o\":\""]);
    push_short(out, bar.open);
    out.extend_from_slice(b"\"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Quote;

    #[test]
    fn messages_read_as_the_exchange_writes_them() {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let now_us = 1_768_217_874_990_007;
        let ladder = Ladder { asks: vec![(9_070_120_000_000, 57_715_830)], bids: vec![(9_070_110_000_000, 13_918_404)] };
        let told = Told { is_snapshot: true, first: 25_984_468_414, last: 25_984_468_414, ladder };
        assert_eq!(
            written(&|out| book(out, "BTC-USDT", Depth::Increment10, &told, now_us)),
            r#"{"T":"obu.SPOT","dp":"increment@10ms","t":"snapshot","P":1768217874990007000,"d":{"C":25984468414,"M":1768217874990007000,"O":25984468414,"a":[["90701.2","0.5771583"]],"b":[["90701.1","0.13918404"]],"s":"BTC-USDT"}}"#
        );
        let row = TradeRow { id: 1, price: 9_252_560_000_000, amount: 8_036, time_us: now_us, buyer_is_maker: true };
        let seq = trade_number(1);
        assert_eq!(
            written(&|out| trade(out, "BTC-USDT", &row, now_us)),
            format!(
                r#"{{"T":"trade.SPOT","P":1768217874990007000,"d":{{"E":{seq},"M":1768217874990007000,"S":"sell","p":"92525.6","q":"0.00008036","s":"BTC-USDT","ti":"{seq}"}}}}"#
            )
        );
        let quote = Quote { update_id: 0, bid: 1, bid_amount: 2, ask: 3, ask_amount: 4 };
        let figures = Ticker { quote, seq: 9, last: 100_000_000, last_amount: 5, now_us };
        assert_eq!(
            written(&|out| ticker(out, "A-B", &figures, true)),
            r#"{"T":"ticker.SPOT","P":1768217874990007000,"d":{"A":"0.00000004","B":"0.00000002","E":9,"M":1768217874990007000,"S":"BUY","a":"0.00000003","b":"0.00000001","l":"1","q":"0.00000005","s":"A-B"}}"#
        );
    }
}
