//! The figures of a ticker: last prices, the day, and of perpetuals what is drawn, as this market has no index and no positions.

use super::markets::{Category, Market, push_short};
use super::render::Field;
use super::{Bybit, MINUTE_US};
use crate::deep::tape::Tape;
use crate::digits::push_fixed;
use crate::hub::Core;
use crate::market::Quote;
use crate::market::history::Bar;

const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;
const E8: i64 = 100_000_000;

/// What was traded before the open minute: it stands until the next one begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    minute_us: i64,
    day: Bar,
    /// The price an hour ago.
    hour: i64,
}

/// Figures of a market, `e8`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub last: i64,
    pub day: Bar,
    pub hour: i64,
    pub quote: Quote,
}

fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(24);
    push(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A part of a whole, with this many decimals at most.
fn ratio(part: i64, whole: i64, digits: u32) -> String {
    let e8 = if whole == 0 { 0 } else { i128::from(part) * i128::from(E8) / i128::from(whole) };
    let unit = 10_i64.pow(8 - digits.min(8));
    let e8 = i64::try_from(e8).unwrap_or(0) / unit * unit;
    text(|out| push_short(out, e8))
}

/// A price moved by some hundred-thousandths, drawn anew each few seconds.
fn near(market: &Market, what: u64, now_us: i64, price: i64) -> i64 {
    let count = now_us.div_euclid(2_000_000);
    let part = (market.drawn(what, count) % 101).cast_signed() - 50;
    price + i64::try_from(i128::from(price) * i128::from(part) / 100_000).unwrap_or(0)
}

impl Bybit {
    /// The figures of a market as they are.
    pub(super) fn figures(&self, core: &Core, place: usize, now_us: i64) -> Option<Figures> {
        let tape = self.tape(core, place)?;
        let minute_us = now_us.div_euclid(MINUTE_US) * MINUTE_US;
        let mut live = self.live.borrow_mut();
        let before = &mut live[place].before;
        let known = before.filter(|before| before.minute_us == minute_us);
        let known = *before.insert(known.unwrap_or_else(|| Before {
            minute_us,
            day: tape.whole_since(minute_us - DAY_US + MINUTE_US, minute_us - 1),
            hour: hour_ago(tape, minute_us),
        }));
        let mut day = known.day;
        day.add(&tape.whole_since(minute_us, now_us));
        Some(Figures { last: tape.last(now_us).0, day, hour: known.hour, quote: core.symbols[place].quote() })
    }

    /// The fields of a ticker, but for the symbol.
    pub(super) fn ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<Vec<Field>> {
        let figures = self.figures(core, place, now_us)?;
        let market = &self.markets[place];
        Some(match market.category {
            Category::Spot => spot(market, &figures, now_us),
            Category::Linear => linear(market, &figures, self.direction(place), now_us),
        })
    }

    /// The same over REST, where best prices stand on spot, too.
    pub(super) fn rest_ticker(&self, core: &Core, place: usize, now_us: i64) -> Option<Vec<Field>> {
        let market = &self.markets[place];
        let quote = core.symbols[place].quote();
        let told = self.ticker(core, place, now_us)?;
        Some(match market.category {
            Category::Spot => best(market, &quote).into_iter().chain(told).collect(),
            Category::Linear => told.into_iter().filter(|(name, _)| *name != "tickDirection").collect(),
        })
    }
}

fn hour_ago(tape: Tape<'_>, minute_us: i64) -> i64 {
    tape.bars(minute_us - HOUR_US, minute_us).whole(minute_us - HOUR_US, minute_us - HOUR_US + MINUTE_US).open
}

fn best(market: &Market, quote: &Quote) -> [Field; 4] {
    let price = |e8| text(|out| market.push_price(out, e8));
    let amount = |e8| text(|out| market.push_amount(out, e8));
    [
        ("bid1Price", price(quote.bid)),
        ("bid1Size", amount(quote.bid_amount)),
        ("ask1Price", price(quote.ask)),
        ("ask1Size", amount(quote.ask_amount)),
    ]
}

fn spot(market: &Market, figures: &Figures, now_us: i64) -> Vec<Field> {
    let Figures { last, day, .. } = figures;
    let short = |e8| text(|out| push_short(out, e8));
    let index = near(market, 1, now_us, *last) / 100 * 100;
    vec![
        ("lastPrice", short(*last)),
        ("highPrice24h", short(day.high)),
        ("lowPrice24h", short(day.low)),
        ("prevPrice24h", short(day.open)),
        ("volume24h", short(day.volume)),
        ("turnover24h", short(day.quote_volume)),
        ("price24hPcnt", ratio(last - day.open, day.open, 4)),
        ("usdIndexPrice", short(index)),
    ]
}

fn linear(market: &Market, figures: &Figures, direction: &'static str, now_us: i64) -> Vec<Field> {
    let Figures { last, day, hour, quote } = figures;
    let price = |e8| text(|out| push_fixed(out, e8, market.price_digits));
    let fixed = |e8, digits| text(|out| push_fixed(out, e8, digits));
    let mark = i64::midpoint(quote.bid, quote.ask);
    // Some ten thousand times what is usually resting at a price; a few lots more or less each five seconds.
    let lots = 20_000_000 + (market.drawn(2, now_us.div_euclid(5_000_000)) % 2_000).cast_signed();
    let open = lots / 2 * 2 * market.step;
    let worth = |amount: i64| i64::try_from(i128::from(amount) * i128::from(mark) / i128::from(E8)).unwrap_or(i64::MAX);
    let funding_us = 8 * HOUR_US;
    let funded = now_us.div_euclid(funding_us);
    let rate = (market.drawn(3, funded) % 20_000).cast_signed() - 5_000;
    let [bid, bid_size, ask, ask_size] = best(market, quote);
    vec![
        ("tickDirection", direction.to_owned()),
        ("price24hPcnt", ratio(last - day.open, day.open, 6)),
        ("lastPrice", price(*last)),
        ("prevPrice24h", price(day.open)),
        ("highPrice24h", price(day.high)),
        ("lowPrice24h", price(day.low)),
        ("prevPrice1h", price(*hour)),
        ("markPrice", price(mark)),
        ("indexPrice", price(near(market, 1, now_us, *last))),
        ("openInterest", fixed(open, market.amount_digits)),
        ("openInterestValue", fixed(worth(open), 2)),
        ("turnover24h", fixed(day.quote_volume, 4)),
        ("volume24h", fixed(day.volume, 4)),
        ("fundingIntervalHour", "8".to_owned()),
        ("fundingCap", "0.005".to_owned()),
        ("singleOpenInterest", text(|out| push_short(out, open / 2))),
        ("singleOpenInterestValue", fixed(worth(open / 2), 2)),
        ("nextFundingTime", ((funded + 1) * funding_us / 1_000).to_string()),
        ("fundingRate", text(|out| push_short(out, rate))),
        bid,
        bid_size,
        ask,
        ask_size,
        ("preOpenPrice", String::new()),
        ("preQty", String::new()),
        ("curPreListingPhase", String::new()),
    ]
}

/// The fields that differ, as a delta has them: a side's best price and its amount always together, the sums of one side last.
pub(super) fn changed(before: &[Field], now: &[Field]) -> Vec<Field> {
    let differs = |name: &str| {
        let of = |fields: &[Field]| fields.iter().position(|(known, _)| *known == name);
        match (of(before), of(now)) {
            (Some(old), Some(new)) => before[old].1 != now[new].1,
            _ => false,
        }
    };
    let is_told = |name: &str| match name {
        "bid1Price" | "bid1Size" => differs("bid1Price") || differs("bid1Size"),
        "ask1Price" | "ask1Size" => differs("ask1Price") || differs("ask1Size"),
        _ => differs(name),
    };
    let mut told: Vec<Field> = now.iter().filter(|(name, _)| is_told(name)).cloned().collect();
    told.sort_by_key(|(name, _)| name.starts_with("single"));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_has_what_differs_and_both_parts_of_a_side() {
        let fields = |list: [&str; 4]| {
            let names = ["singleOpenInterest", "lastPrice", "bid1Price", "bid1Size"];
            names.into_iter().zip(list.map(str::to_owned)).collect::<Vec<_>>()
        };
        let before = fields(["1", "2", "3", "4"]);
        let names = |now: [&str; 4]| changed(&before, &fields(now)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(["1", "2", "3", "4"]), Vec::<&str>::new());
        assert_eq!(names(["1", "2", "3", "5"]), ["bid1Price", "bid1Size"]);
        assert_eq!(names(["5", "3", "3", "4"]), ["lastPrice", "singleOpenInterest"]);
        assert_eq!([ratio(-212, 1_000_000, 6), ratio(1_624_999, 1_000_000_000, 6)], ["-0.000212", "0.001624"]);
    }
}
