//! The present: the clock, the state of the exchange, a ticker and a book around the last price.

use dccd_model::time::day_label;
use serde_json::{Value, json};

use super::tables::{average, push_fixed};
use crate::deep::bars::Wanted;
use crate::deep::minute::MINUTE_US;
use crate::deep::past::{Past, hash};
use crate::market::history::Bar;
use crate::market::interval::Interval;
use crate::render::e8_text;

const DAY_US: i64 = 1_440 * MINUTE_US;
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
pub(super) fn status(now_us: i64) -> Value {
    json!({"status": "online", "timestamp": format!("{}T{}Z", day_label(now_us.div_euclid(DAY_US)), clock(now_us))})
}

fn text(e8: i64, digits: u32) -> String {
    let mut out = Vec::with_capacity(24);
    push_fixed(&mut out, e8, digits);
    String::from_utf8_lossy(&out).into_owned()
}

/// The last traded price, `e8`.
fn last(past: &Past, now_us: i64) -> (i64, i64) {
    let row = past.trade(past.count_until(now_us) - 1);
    row.map_or_else(|| (past.close_before(past.listed), 0), |row| (row.price, row.amount))
}

/// The candle from an instant until now, flat without trades.
fn since(past: &Past, from_us: i64, now_us: i64) -> Bar {
    let interval = Interval::Minutes(1);
    let mut whole: Option<Bar> = None;
    past.bars(Wanted { interval, from_us: Some(from_us), to_us: now_us, now_us, limit: usize::MAX }, |_, bar| {
        match &mut whole {
            Some(whole) => whole.add(bar),
            None => whole = Some(*bar),
        }
    });
    whole.unwrap_or_else(|| Bar::flat(from_us, last(past, now_us).0))
}

/// One market's entry in `Ticker`: figures of today and of the last 24 hours.
pub(super) fn ticker(past: &Past, digits: u32, now_us: i64) -> Value {
    let (price, amount) = last(past, now_us);
    let today = since(past, now_us.div_euclid(DAY_US) * DAY_US, now_us);
    let day = since(past, now_us - DAY_US, now_us);
    let price_text = |e8| text(e8, digits.max(5));
    let both = |of: fn(&Bar) -> i64| json!([price_text(of(&today)), price_text(of(&day))]);
    json!({
        "a": [price_text(price + past.tick), "1", "1.000"],
        "b": [price_text((price - past.tick).max(past.tick)), "1", "1.000"],
        "c": [price_text(price), e8_text(amount)],
        "v": [e8_text(today.volume), e8_text(day.volume)],
        "p": both(|bar| average(bar.quote_volume, bar.volume)),
        "t": [today.trades, day.trades],
        "l": both(|bar| bar.low),
        "h": both(|bar| bar.high),
        "o": price_text(today.open),
    })
}

/// One market's book in `Depth`, invented around the last price.
pub(super) fn depth(past: &Past, digits: u32, levels: i64, now_us: i64) -> Value {
    let (price, _) = last(past, now_us);
    let second = now_us.div_euclid(1_000_000);
    let side = |seed: u64, step: i64| {
        let level = |n: i64| {
            let lots = 1 + (hash(past.seed ^ seed, second ^ n) % 64).cast_signed() * past.unit_lots;
            json!([text(price + n * step, digits.max(5)), text(lots * past.step, 8), second])
        };
        (1..=levels).filter(|n| price + n * step > 0).map(level).collect::<Vec<_>>()
    };
    json!({"asks": side(1, past.tick), "bids": side(2, -past.tick)})
}

#[cfg(test)]
mod tests {
    use super::super::super::super::deep::past::tests::past;
    use super::*;

    #[test]
    fn the_time_is_told_in_both_ways() {
        // Kraken's own example of a date.
        let told = time(1_688_669_448_000_000);
        assert_eq!(told["rfc1123"], "Thu, 06 Jul 23 18:50:48 +0000");
        assert_eq!(status(1_688_669_448_000_000)["timestamp"], "2023-07-06T18:50:48Z");
    }

    #[test]
    fn the_last_price_is_between_the_best_ones_and_within_the_day() {
        let past = past("listed=2020-01-01,trades=600");
        let now_us = past.listed * MINUTE_US + 3 * DAY_US + 12_345_678;
        let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
        let told = ticker(&past, 2, now_us);
        let (price, book) = (number(&told["c"][0]), depth(&past, 2, 10, now_us));
        assert!(number(&told["l"][1]) <= price && price <= number(&told["h"][1]));
        assert!(number(&book["bids"][0][0]) < price && price < number(&book["asks"][0][0]));
        assert_eq!((book["asks"].as_array().unwrap().len(), told["t"][1].as_u64().unwrap() > 0), (10, true));
    }
}
