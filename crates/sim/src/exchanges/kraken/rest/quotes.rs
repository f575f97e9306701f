//! The present: the clock, the state of the exchange, tickers and books.

use dccd_model::time::day_label;
use serde_json::{Value, json};

use super::tables::average;
use crate::deep::minute::MINUTE_US;
use crate::deep::tape::Tape;
use crate::digits::{e8_text, push_fixed};
use crate::market::history::Bar;
use crate::market::{Ladder, Quote};

pub(crate) const DAY_US: i64 = 1_440 * MINUTE_US;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn clock(now_us: i64) -> String {
    let second = now_us.rem_euclid(DAY_US) / 1_000_000;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// `Time`.
pub(super) fn time(now_us: i64) -> Value {
    let day = now_us.div_euclid(DAY_US);
    let label = day_label(day);
    let mut parts = label.split('-');
    let year = parts.next().and_then(|year| year.get(2..)).unwrap_or("");
    let month =
        parts.next().and_then(|month| month.parse::<usize>().ok()).and_then(|month| MONTHS.get(month.checked_sub(1)?));
    let of_month = parts.next().unwrap_or("");
    let weekday = usize::try_from(day.rem_euclid(7)).map_or("", |day| DAYS[day]);
    let rfc1123 = format!("{weekday}, {of_month} {} {year} {} +0000", month.unwrap_or(&""), clock(now_us));
    json!({"unixtime": now_us.div_euclid(1_000_000), "rfc1123": rfc1123})
}

/// `SystemStatus`.
pub(super) fn status(system: &str, now_us: i64) -> Value {
    json!({"status": system, "timestamp": format!("{}T{}Z", day_label(now_us.div_euclid(DAY_US)), clock(now_us))})
}

fn text(e8: i64, digits: u32) -> String {
    let mut out = Vec::with_capacity(24);
    push_fixed(&mut out, e8, digits);
    String::from_utf8_lossy(&out).into_owned()
}

/// The candle from a whole minute until now, flat without trades.
pub(crate) fn since(tape: Tape<'_>, from_us: i64, now_us: i64) -> Bar {
    tape.whole_since(from_us, now_us)
}

/// One market's entry in `Ticker`: the best prices, figures of today and of the last 24 hours.
pub(super) fn ticker(tape: Tape<'_>, quote: &Quote, digits: u32, now_us: i64) -> Value {
    let (price, amount) = tape.last(now_us);
    let today = since(tape, now_us.div_euclid(DAY_US) * DAY_US, now_us);
    let day = since(tape, now_us - DAY_US, now_us);
    let price_text = |e8| text(e8, digits.max(5));
    let best = |price, amount: i64| json!([price_text(price), (amount / 100_000_000).to_string(), text(amount, 3)]);
    let both = |of: fn(&Bar) -> i64| json!([price_text(of(&today)), price_text(of(&day))]);
    json!({
        "a": best(quote.ask, quote.ask_amount),
        "b": best(quote.bid, quote.bid_amount),
        "c": [price_text(price), e8_text(amount)],
        "v": [e8_text(today.volume), e8_text(day.volume)],
        "p": both(|bar| average(bar.quote_volume, bar.volume)),
        "t": [today.trades, day.trades],
        "l": both(|bar| bar.low),
        "h": both(|bar| bar.high),
        "o": price_text(today.open),
    })
}

/// One market's book in `Depth`.
pub(super) fn depth(ladder: &Ladder, digits: u32, now_us: i64) -> Value {
    let second = now_us.div_euclid(1_000_000);
    let side = |levels: &[(i64, i64)]| {
        let level = |(price, amount): &(i64, i64)| json!([text(*price, digits.max(5)), text(*amount, 8), second]);
        levels.iter().map(level).collect::<Vec<_>>()
    };
    json!({"asks": side(&ladder.asks), "bids": side(&ladder.bids)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deep::past::tests::past;
    use crate::market::history::History;

    #[test]
    fn the_time_is_told_in_both_ways() {
        // Kraken's own example of a date.
        let told = time(1_688_669_448_000_000);
        assert_eq!(told["rfc1123"], "Thu, 06 Jul 23 18:50:48 +0000");
        assert_eq!(status("online", 1_688_669_448_000_000)["timestamp"], "2023-07-06T18:50:48Z");
    }

    #[test]
    fn the_last_price_is_within_the_day() {
        let past = past("listed=2020-01-01,trades=600");
        let live = History::default();
        let tape = Tape { past: &past, until_us: i64::MAX, live: &live };
        let now_us = past.listed * MINUTE_US + 3 * DAY_US + 12_345_678;
        let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
        let quote =
            Quote { update_id: 1, bid: 6_183_760_000_000, bid_amount: 250_000_000, ask: 6_183_770_000_000, ask_amount: 1 };
        let told = ticker(tape, &quote, 2, now_us);
        let price = number(&told["c"][0]);
        assert!(number(&told["l"][1]) <= price && price <= number(&told["h"][1]));
        assert_eq!((&told["b"], told["t"][1].as_u64().unwrap() > 0), (&json!(["61837.60000", "2", "2.500"]), true));
    }
}
