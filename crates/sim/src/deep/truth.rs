//! What a store should hold in the end: the same past that the REST side serves, for tests and audits.

use dccd_model::time::NANOS_PER_SECOND;

use super::bars::Wanted;
use super::past::Past;
use super::past_of;
use crate::SimError;
use crate::exchanges;
use crate::market::history::Bar;
use crate::market::interval::Interval;
use crate::options::SimOptions;

const MINUTE_NS: i64 = 60 * NANOS_PER_SECOND;
/// Candles made at a time.
const CHUNK: usize = 1_024;

/// A closed candle. Prices and amounts in hundred-millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candle {
    /// When it opens: nanoseconds since the Unix epoch.
    pub open_ns: i64,
    /// First traded price, or the last one before where nothing was traded.
    pub open: i64,
    /// Highest.
    pub high: i64,
    /// Lowest.
    pub low: i64,
    /// Last.
    pub close: i64,
    /// In the base currency.
    pub volume: i64,
    /// In the quote currency; each trade's share rounded down.
    pub quote_volume: i64,
    /// How many; 0 in a quiet candle.
    pub trades: u64,
}

/// A trade. Price and amount in hundred-millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeepTrade {
    /// Contiguous within its symbol.
    pub id: u64,
    /// When: nanoseconds since the Unix epoch, whole microseconds. A simulated Kraken
    /// tells it with some hundred nanoseconds more.
    pub time_ns: i64,
    /// Price.
    pub price: i64,
    /// Amount, in the base currency; of a perpetual that is settled in it in the quote currency.
    pub amount: i64,
    /// The taker sold.
    pub buyer_is_maker: bool,
}

/// The whole past of every symbol of a simulated exchange, and its future. On all but Binance the past ends where the ledger begins when
/// the market is live (a rate of [`crate::MarketOptions`] is not 0): what is traded from then on stands in the ledger alone.
#[derive(Clone, Debug)]
pub struct Truth {
    pasts: Vec<(String, Past)>,
}

impl Truth {
    /// What an exchange started with these options serves.
    ///
    /// # Errors
    /// When a symbol is none, or a past is told of a symbol that is not there.
    pub fn new(options: &SimOptions) -> Result<Self, SimError> {
        let kind = exchanges::of(&options.exchange)?;
        let options = &kind.settle(options.clone());
        let mut pasts = Vec::new();
        for symbol in &options.market.symbols {
            let spec = (kind.spec)(symbol)?;
            if let Some(past) = past_of(options, &spec)? {
                pasts.push((spec.symbol(), past));
            }
        }
        Ok(Self { pasts })
    }

    fn past(&self, symbol: &str) -> Option<&Past> {
        self.pasts.iter().find(|(name, _)| name == symbol).map(|(_, past)| past)
    }

    /// Symbols with a deep past.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.pasts.iter().map(|(symbol, _)| symbol.as_str())
    }

    /// When a market opened: the open time of its first minute, nanoseconds since the epoch.
    #[must_use]
    pub fn listed(&self, symbol: &str) -> Option<i64> {
        self.past(symbol).map(|past| past.listed * MINUTE_NS)
    }

    /// Outages and halts within `from_ns..to_ns`, joined where they touch: from, and the first instant after.
    #[must_use]
    pub fn outages(&self, symbol: &str, from_ns: i64, to_ns: i64) -> Vec<(i64, i64)> {
        let ranges = self.past(symbol).map_or(&[][..], |past| past.closed.ranges());
        let times = ranges.iter().map(|(from, to)| (from * MINUTE_NS, to * MINUTE_NS));
        times.filter(|(from, to)| *to > from_ns && *from < to_ns).collect()
    }

    /// Of those the halts alone: of this market, not of the exchange.
    #[must_use]
    pub fn halts(&self, symbol: &str) -> Vec<(i64, i64)> {
        let ranges = self.past(symbol).map_or(&[][..], |past| past.halts.ranges());
        ranges.iter().map(|(from, to)| (from * MINUTE_NS, to * MINUTE_NS)).collect()
    }

    /// Whether nothing was traded in the minute that holds this instant although the market was open.
    #[must_use]
    pub fn is_quiet(&self, symbol: &str, at_ns: i64) -> bool {
        self.past(symbol).is_some_and(|past| past.is_quiet(at_ns.div_euclid(MINUTE_NS)))
    }

    /// Candles of `span_s` seconds (1, 60, or a multiple of 60; days and weeks as the exchange has them) that open within
    /// `from_ns..to_ns`, quiet ones flat, those of outages left out. Where an exchange omits quiet ones, keep those with
    /// trades. All of them complete, whatever the clock says. Empty when there is no such symbol or span.
    pub fn candles(&self, symbol: &str, span_s: u32, from_ns: i64, to_ns: i64) -> impl Iterator<Item = Candle> + '_ {
        let past = self.past(symbol);
        let interval = interval(span_s);
        let mut next_us = -(-from_ns).div_euclid(1_000);
        let to_us = -(-to_ns).div_euclid(1_000) - 1;
        let mut ended = past.is_none() || interval.is_none();
        let mut chunk = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if let Some(candle) = chunk.next() {
                return Some(candle);
            }
            let (Some(past), Some(interval), false) = (past, interval, ended) else { return None };
            let mut rows = Vec::with_capacity(CHUNK);
            let wanted = Wanted { interval, from_us: Some(next_us), to_us, now_us: i64::MAX / 4, limit: CHUNK };
            past.bars(wanted, |span, bar| {
                next_us = span.next_us;
                rows.push(candle(bar));
            });
            ended = rows.len() < CHUNK;
            chunk = rows.into_iter();
            chunk.next()
        })
    }

    /// Trades within `from_ns..to_ns`, oldest first.
    pub fn trades(&self, symbol: &str, from_ns: i64, to_ns: i64) -> impl Iterator<Item = DeepTrade> + '_ {
        let past = self.past(symbol);
        let count = |until: i64| past.map_or(0, |p| p.count_until((until - 1).div_euclid(1_000)));
        let (mut at, end) = (count(from_ns), count(to_ns));
        let mut chunk = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if let Some(trade) = chunk.next() {
                return Some(trade);
            }
            let past = past?;
            let mut rows = Vec::with_capacity(CHUNK);
            past.trades(at, end, |row| {
                let time_ns = row.time_us * 1_000;
                rows.push(DeepTrade {
                    id: row.id,
                    time_ns,
                    price: row.price,
                    amount: row.amount,
                    buyer_is_maker: row.buyer_is_maker,
                });
                rows.len() < CHUNK
            });
            at += i64::try_from(rows.len()).unwrap_or(0);
            chunk = rows.into_iter();
            chunk.next()
        })
    }
}

fn candle(bar: &Bar) -> Candle {
    let Bar { open_us, open, high, low, close, volume, quote_volume, trades, .. } = *bar;
    Candle { open_ns: open_us * 1_000, open, high, low, close, volume, quote_volume, trades }
}

fn interval(span_s: u32) -> Option<Interval> {
    let minutes = i64::from(span_s / 60);
    match span_s {
        1 => Some(Interval::Second),
        604_800 => Some(Interval::Week),
        _ if minutes == 0 || !span_s.is_multiple_of(60) => None,
        _ if minutes % 1_440 == 0 => Some(Interval::Days(minutes / 1_440)),
        _ => Some(Interval::Minutes(minutes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_are_what_the_trades_make() {
        let deep = "trades=50,quiet=0.3,outages=50".parse().unwrap();
        let truth = Truth::new(&SimOptions { deep: Some(deep), ..SimOptions::default() }).unwrap();
        let listed = truth.listed("BTC/USDT").unwrap();
        let end = listed + 40 * 86_400 * NANOS_PER_SECOND;
        for span in [60, 300, 3_600] {
            let span_ns = i64::from(span) * NANOS_PER_SECOND;
            let mut trades = truth.trades("BTC/USDT", listed, end).peekable();
            let mut count = 0;
            for candle in truth.candles("BTC/USDT", span, listed, end) {
                let mut made = Candle { open_ns: candle.open_ns, low: i64::MAX, ..Candle::default() };
                while let Some(trade) = trades.next_if(|t| t.time_ns < candle.open_ns + span_ns) {
                    assert!(trade.time_ns >= candle.open_ns, "a trade without a candle: {trade:?} {candle:?}");
                    made.open = if made.trades == 0 { trade.price } else { made.open };
                    (made.high, made.low, made.close) = (made.high.max(trade.price), made.low.min(trade.price), trade.price);
                    made.volume += trade.amount;
                    let value = i128::from(trade.price) * i128::from(trade.amount) / 100_000_000;
                    made.quote_volume += i64::try_from(value).unwrap();
                    made.trades += 1;
                }
                if made.trades == 0 {
                    made = Candle { open_ns: made.open_ns, trades: 0, volume: 0, quote_volume: 0, ..candle };
                    assert_eq!((candle.open, candle.high), (candle.low, candle.close));
                }
                assert_eq!(candle, made, "{span}");
                count += 1;
            }
            assert_eq!(trades.next(), None);
            let closed: i64 = truth.outages("BTC/USDT", listed, end).iter().map(|(from, to)| to.min(&end) - from).sum();
            if span == 60 {
                assert_eq!(count, (end - listed - closed) / span_ns);
                assert!(closed > 0);
            }
        }
    }

    #[test]
    fn a_past_of_a_strange_symbol_is_refused() {
        let deep = "FOO/USDT.trades=1".parse().unwrap();
        let error = Truth::new(&SimOptions { deep: Some(deep), ..SimOptions::default() }).unwrap_err();
        assert!(matches!(error, SimError::BadSymbol { symbol } if symbol == "FOO/USDT"));
    }
}
