//! Answers made of the market: candles, trades, books, tickers.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Call, info, past};
use crate::clock::now_us;
use crate::deep::bars::Wanted;
use crate::digits::e8_text;
use crate::exchanges::binance::render::{self, TimeUnit};
use crate::hub::Core;
use crate::market::history::{AggRow, Bar, BarSpan, TradeRow};
use crate::market::interval::Interval;
use crate::rest::Answer;
use crate::rest::params::{ApiError, Params};

impl Core {
    /// Answers a call at once.
    pub(crate) fn call(&mut self, call: Call, mut params: Params, unit: TimeUnit) -> Result<Answer, ApiError> {
        let answer = match call {
            Call::Ping => json!({}).into(),
            Call::Time => json!({"serverTime": unit.of(now_us())}).into(),
            Call::ExchangeInfo => info::exchange_info(self, &mut params, unit)?.into(),
            Call::Klines => self.klines_answer(&mut params, unit)?,
            Call::AggTrades => self.agg_trades_answer(&mut params, unit)?,
            Call::HistoricalTrades | Call::Trades => self.trades_answer(call, &mut params, unit)?,
            Call::Depth => self.depth_answer(&mut params)?,
            Call::AvgPrice => {
                let place = self.wanted_symbol(&mut params)?;
                let day = self.day(place);
                json!({"mins": 5, "price": e8_text(day.average), "closeTime": unit.of(now_us())}).into()
            }
            Call::Ticker24h => self.tickers(&mut params, |core, place| core.ticker_24h(place, unit))?,
            Call::TickerPrice => self.tickers(
                &mut params,
                |core, place| json!({"symbol": core.symbols[place].spec.id, "price": e8_text(core.day(place).last)}),
            )?,
            Call::BookTicker => self.tickers(&mut params, |core, place| {
                let quote = core.symbols[place].quote();
                json!({
                    "symbol": core.symbols[place].spec.id,
                    "bidPrice": e8_text(quote.bid), "bidQty": e8_text(quote.bid_amount),
                    "askPrice": e8_text(quote.ask), "askQty": e8_text(quote.ask_amount),
                })
            })?,
        };
        params.finish()?;
        Ok(answer)
    }

    /// The symbol a request names.
    pub(crate) fn wanted_symbol(&self, params: &mut Params) -> Result<usize, ApiError> {
        let text = params.required("symbol")?;
        let text = params.symbol(text)?;
        self.known_symbol(&text)
    }

    /// The places of spot markets.
    pub(super) fn spot_places(&self) -> impl Iterator<Item = usize> {
        (0..self.symbols.len()).filter(|place| self.symbols[*place].spec.settle.is_none())
    }

    /// The spot market with this exchange name.
    fn spot_index(&self, id: &str) -> Option<usize> {
        self.symbols.iter().position(|s| s.spec.id == id && s.spec.settle.is_none())
    }

    pub(crate) fn known_symbol(&self, text: &str) -> Result<usize, ApiError> {
        self.spot_index(text).ok_or_else(|| ApiError::new(-1121, "Invalid symbol."))
    }

    fn klines_answer(&self, params: &mut Params, unit: TimeUnit) -> Result<Answer, ApiError> {
        let place = self.wanted_symbol(params)?;
        let label = params.required("interval")?;
        let interval = Interval::parse(&label).ok_or_else(|| ApiError::new(-1120, "Invalid interval."))?;
        let from = params.time("startTime")?;
        let to = params.time("endTime")?;
        let limit = params.limit(500, 1_000)?;
        if params.take("timeZone").is_some_and(|zone| zone != "0" && zone != "00:00") {
            return Err(ApiError::new(-1130, "Data sent for parameter 'timeZone' is not valid; only 0 is served."));
        }
        let wanted = (interval, from, to.unwrap_or(i64::MAX), limit);
        Ok(klines(self, place, wanted, |out, span, bar| render::kline_row(out, span, bar, unit)))
    }

    /// The market's own time: the clock's, or in replay that of the last frame.
    fn market_now(&self) -> i64 {
        match &self.replay {
            Some(replay) => replay.market_us(),
            None => now_us(),
        }
    }

    fn trades_answer(&self, call: Call, params: &mut Params, unit: TimeUnit) -> Result<Answer, ApiError> {
        let place = self.wanted_symbol(params)?;
        let limit = params.limit(500, 1_000)?;
        let from_id = if call == Call::HistoricalTrades { params.integer("fromId")? } else { None };
        Ok(trades(self, place, (from_id, 0), limit, |out, row| render::trade_row(out, row, unit)))
    }

    fn agg_trades_answer(&self, params: &mut Params, unit: TimeUnit) -> Result<Answer, ApiError> {
        let place = self.wanted_symbol(params)?;
        let limit = params.limit(500, 1_000)?;
        let wanted = past::AggWanted::read(params)?;
        Ok(aggregated(self, place, &wanted, limit, |out, row| render::agg_row(out, row, unit)))
    }

    fn depth_answer(&mut self, params: &mut Params) -> Result<Answer, ApiError> {
        let place = self.wanted_symbol(params)?;
        let limit = params.limit(100, 5_000)?;
        let symbol = self.symbols[place].spec.symbol();
        let mut answer = Answer::default();
        if self.faults.stales_snapshot(&symbol) {
            let (update_id, mut ladder) = self.first_books[place].clone();
            ladder.bids.truncate(limit);
            ladder.asks.truncate(limit);
            render::depth(&mut answer.body, update_id, &ladder);
            answer.fault = Some("a stale snapshot".to_owned());
        } else {
            let state = &self.symbols[place];
            render::depth(&mut answer.body, state.book.update_id(), &state.ladder(limit));
        }
        Ok(answer)
    }

    /// One object for `symbol`, an array for `symbols` or for all.
    fn tickers(&self, params: &mut Params, ticker: impl Fn(&Self, usize) -> Value) -> Result<Answer, ApiError> {
        params.take("type");
        if let Some(text) = params.take("symbol") {
            let text = params.symbol(text)?;
            return Ok(ticker(self, self.known_symbol(&text)?).into());
        }
        let places: Vec<usize> = match params.take("symbols") {
            Some(list) => info::symbol_list(&list)?.iter().map(|s| self.known_symbol(s)).collect::<Result<_, _>>()?,
            None => self.spot_places().collect(),
        };
        Ok(places.into_iter().map(|place| ticker(self, place)).collect::<Value>().into())
    }

    fn ticker_24h(&self, place: usize, unit: TimeUnit) -> Value {
        let state = &self.symbols[place];
        let (day, quote) = (self.day(place), state.quote());
        let change = day.last - day.open;
        #[allow(clippy::cast_precision_loss)] // a percentage of three decimals
        let percent = if day.open == 0 { 0.0 } else { change as f64 / day.open as f64 * 100.0 };
        let now = self.market_now();
        json!({
            "symbol": state.spec.id,
            "priceChange": e8_text(change),
            "priceChangePercent": format!("{percent:.3}"),
            "weightedAvgPrice": e8_text(day.average),
            "prevClosePrice": e8_text(day.open),
            "lastPrice": e8_text(day.last),
            "lastQty": e8_text(state.history.trades().back().map_or(0, |t| t.amount)),
            "bidPrice": e8_text(quote.bid), "bidQty": e8_text(quote.bid_amount),
            "askPrice": e8_text(quote.ask), "askQty": e8_text(quote.ask_amount),
            "openPrice": e8_text(day.open),
            "highPrice": e8_text(day.high),
            "lowPrice": e8_text(day.low),
            "volume": e8_text(day.volume),
            "quoteVolume": e8_text(day.quote_volume),
            "openTime": unit.of(now - DAY_US),
            "closeTime": unit.of(now),
            "firstId": day.first_id,
            "lastId": day.last_id,
            "count": day.trades,
        })
    }

    /// The last 24 hours.
    pub(crate) fn day(&self, place: usize) -> Day {
        let now = self.market_now();
        let bars = self.symbols[place].history.bars(Interval::Minutes(1), Some(now - DAY_US), now, now, 2_000);
        let traded: Vec<_> = bars.iter().map(|(_, bar)| bar).filter(|bar| bar.trades > 0).collect();
        let (Some(first), Some(last)) = (traded.first(), traded.last()) else { return Day::default() };
        let volume: i64 = traded.iter().map(|b| b.volume).sum();
        let quote_volume: i64 = traded.iter().map(|b| b.quote_volume).sum();
        let average = i128::from(quote_volume) * 100_000_000 / i128::from(volume.max(1));
        Day {
            open: first.open,
            last: last.close,
            high: traded.iter().map(|b| b.high).max().unwrap_or(0),
            low: traded.iter().map(|b| b.low).min().unwrap_or(0),
            volume,
            quote_volume,
            average: i64::try_from(average).unwrap_or(i64::MAX),
            first_id: first.first_id,
            last_id: last.last_id,
            trades: traded.iter().map(|b| b.trades).sum(),
        }
    }
}

const DAY_US: i64 = 86_400_000_000;

/// What was traded in the last 24 hours, `e8`.
#[derive(Debug, Default)]
pub(crate) struct Day {
    pub open: i64,
    pub last: i64,
    pub high: i64,
    pub low: i64,
    pub volume: i64,
    pub quote_volume: i64,
    pub average: i64,
    pub first_id: u64,
    pub last_id: u64,
    pub trades: u64,
}

/// Candles: interval, first and last instant, how many; `write` writes a row in the form of the side that was asked.
pub(crate) fn klines(
    core: &Core,
    place: usize,
    (interval, from_us, to_us, limit): (Interval, Option<i64>, i64, usize),
    write: impl Fn(&mut Vec<u8>, BarSpan, &Bar),
) -> Answer {
    let now_us = core.market_now();
    if let Some(past) = &core.pasts[place] {
        return past::klines(past, Wanted { interval, from_us, to_us, now_us, limit }, write);
    }
    let bars = core.symbols[place].history.bars(interval, from_us, to_us, now_us, limit);
    let mut body = vec![b'['];
    for (i, (span, bar)) in bars.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        write(&mut body, *span, bar);
    }
    body.push(b']');
    Answer { body, ..Answer::default() }
}

/// Trades from an id on, or the newest; none before an instant.
pub(crate) fn trades(
    core: &Core,
    place: usize,
    (from_id, oldest_us): (Option<i64>, i64),
    limit: usize,
    write: impl Fn(&mut Vec<u8>, &TradeRow),
) -> Answer {
    if let Some(past) = &core.pasts[place] {
        return past::trades(past, (from_id, oldest_us), limit, write);
    }
    let rows = core.symbols[place].history.trades();
    let begin = match from_id {
        Some(id) => rows.partition_point(|r| i64::try_from(r.id).is_ok_and(|r| r < id)),
        None => rows.len().saturating_sub(limit),
    };
    let begin = begin.max(rows.partition_point(|r| r.time_us < oldest_us));
    page(rows, begin..rows.len().min(begin.saturating_add(limit)), |r| r.id, write)
}

/// Aggregated trades from an id or a time on, or the newest.
pub(crate) fn aggregated(
    core: &Core,
    place: usize,
    wanted: &past::AggWanted,
    limit: usize,
    write: impl Fn(&mut Vec<u8>, &AggRow),
) -> Answer {
    if let Some(past) = &core.pasts[place] {
        return past::aggregated(past, wanted, limit, write);
    }
    let rows = core.symbols[place].history.aggs();
    let until = wanted.until().map_or(rows.len(), |until| rows.partition_point(|r| r.time_us <= until));
    let begin = match (wanted.from_id, wanted.from) {
        (Some(id), _) => rows.partition_point(|r| i64::try_from(r.id).is_ok_and(|r| r < id)),
        (None, Some(from)) => rows.partition_point(|r| r.time_us < from),
        (None, None) => until.saturating_sub(limit),
    };
    let begin = begin.max(rows.partition_point(|r| r.time_us < wanted.oldest));
    page(rows, begin..until.min(begin.saturating_add(limit)).max(begin), |r| r.id, write)
}

/// A JSON array of some rows, with the first and last id for the ledger.
fn page<T>(
    rows: &VecDeque<T>,
    range: std::ops::Range<usize>,
    id: impl Fn(&T) -> u64,
    write: impl Fn(&mut Vec<u8>, &T),
) -> Answer {
    let mut body = vec![b'['];
    let mut ids = None;
    for row in rows.range(range) {
        if body.len() > 1 {
            body.push(b',');
        }
        write(&mut body, row);
        let first = ids.map_or(id(row), |(first, _)| first);
        ids = Some((first, id(row)));
    }
    body.push(b']');
    Answer { body, ids, fault: None }
}
