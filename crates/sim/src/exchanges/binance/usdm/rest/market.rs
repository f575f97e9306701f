//! Answers made of a perpetual's market: candles, trades, books, tickers, mark prices and funding.

use super::Call;
use super::info;
use crate::clock::now_us;
use crate::digits::e8_text;
use crate::exchanges::binance::rest::{market as spot, past};
use crate::exchanges::binance::usdm::market::{FUNDING_US, drawn};
use crate::exchanges::binance::usdm::tickers::{self, text};
use crate::exchanges::binance::usdm::{Market, Usdm, render};
use crate::hub::Core;
use crate::market::interval::Interval;
use crate::rest::Answer;
use crate::rest::params::{ApiError, Params};

const HOUR_US: i64 = 3_600_000_000;
/// How far back aggregated trades go, and single ones.
const AGGREGATED_US: i64 = 24 * HOUR_US;
const SINGLE_US: i64 = 30 * 24 * HOUR_US;
/// The depths a snapshot can have.
const DEPTHS: [usize; 7] = [5, 10, 20, 50, 100, 500, 1_000];

pub(super) fn answer(usdm: &Usdm, core: &mut Core, call: Call, params: &mut Params) -> Result<Answer, ApiError> {
    let now = now_us();
    Ok(match call {
        Call::Ping => text_answer("{}".to_owned()),
        Call::Time => text_answer(format!("{{\"serverTime\":{}}}", now.div_euclid(1_000))),
        Call::ExchangeInfo => info::exchange_info(usdm, core).into(),
        Call::Klines => klines(usdm, core, params)?,
        Call::AggTrades => aggregated(usdm, core, params, now)?,
        Call::HistoricalTrades => single(usdm, core, params, true, now)?,
        Call::Trades => single(usdm, core, params, false, now)?,
        Call::Depth => depth(usdm, core, params, now)?,
        Call::FundingRate => funding_rates(usdm, params, now)?,
        Call::FundingInfo => text_answer("[]".to_owned()),
        Call::OpenInterest => {
            let (_, market) = wanted(usdm, params)?;
            let held = i64::try_from(market.drawn(drawn::OPEN_INTEREST, now.div_euclid(60_000_000)) % 1_000).unwrap_or(0);
            let held = text(|out| market.push_amount(out, (80_000_000 + held * 100) * 100_000));
            text_answer(format!(
                "{{\"openInterest\":\"{held}\",\"symbol\":\"{}\",\"time\":{}}}",
                market.id,
                now.div_euclid(1_000)
            ))
        }
        Call::Ticker24h | Call::TickerPrice | Call::BookTicker | Call::PremiumIndex => {
            entries(usdm, params, |place, market| entry(usdm, core, call, place, market, now))?
        }
    })
}

fn text_answer(text: String) -> Answer {
    Answer { body: text.into_bytes(), ..Answer::default() }
}

/// The market that a request names.
fn wanted<'a>(usdm: &'a Usdm, params: &mut Params) -> Result<(usize, &'a Market), ApiError> {
    let text = params.required("symbol")?;
    let text = params.symbol(text)?;
    known(usdm, &text)
}

fn known<'a>(usdm: &'a Usdm, id: &str) -> Result<(usize, &'a Market), ApiError> {
    let found = usdm.place(id).and_then(|place| Some((place, usdm.market(place)?.0)));
    found.ok_or_else(|| ApiError::new(-1121, "Invalid symbol."))
}

fn klines(usdm: &Usdm, core: &Core, params: &mut Params) -> Result<Answer, ApiError> {
    let (place, market) = wanted(usdm, params)?;
    let label = params.required("interval")?;
    let interval = Interval::parse(&label).filter(|interval| *interval != Interval::Second);
    let interval = interval.ok_or_else(|| ApiError::new(-1120, "Invalid interval."))?;
    let (from, to) = (params.time("startTime")?, params.time("endTime")?);
    let limit = params.limit(500, 1_500)?;
    let wanted = (interval, from, to.unwrap_or(i64::MAX), limit);
    Ok(spot::klines(core, place, wanted, |out, span, bar| render::kline_row(out, market, span, bar)))
}

fn aggregated(usdm: &Usdm, core: &Core, params: &mut Params, now: i64) -> Result<Answer, ApiError> {
    let (place, market) = wanted(usdm, params)?;
    let limit = params.limit(500, 1_000)?;
    let mut asked = past::AggWanted::read(params)?;
    if let (Some(from), Some(to)) = (asked.from, asked.to) {
        if to < from {
            return Err(ApiError::new(-1128, "Combination of optional parameters invalid."));
        }
        if to - from > HOUR_US {
            return Err(ApiError::new(-1127, "More than 1 hours between startTime and endTime."));
        }
    }
    asked.oldest = now - AGGREGATED_US;
    Ok(spot::aggregated(core, place, &asked, limit, |out, row| render::agg_row(out, market, row)))
}

fn single(usdm: &Usdm, core: &Core, params: &mut Params, is_old: bool, now: i64) -> Result<Answer, ApiError> {
    let (place, market) = wanted(usdm, params)?;
    let (limit, from_id) =
        if is_old { (params.limit(100, 500)?, params.integer("fromId")?) } else { (params.limit(500, 1_000)?, None) };
    Ok(spot::trades(core, place, (from_id, now - SINGLE_US), limit, |out, row| render::trade_row(out, market, row)))
}

fn depth(usdm: &Usdm, core: &mut Core, params: &mut Params, now: i64) -> Result<Answer, ApiError> {
    let (place, market) = wanted(usdm, params)?;
    let limit = params.integer("limit")?.unwrap_or(500);
    let known = DEPTHS.into_iter().find(|depth| i64::try_from(*depth) == Ok(limit));
    let limit = known.ok_or_else(|| ApiError::new(-4021, format!("{limit} is not valid depth limit")))?;
    let symbol = core.symbols[place].spec.symbol();
    let mut answer = Answer::default();
    if core.faults.stales_snapshot(&symbol) {
        let (count, mut ladder) = core.first_books[place].clone();
        ladder.bids.truncate(limit);
        ladder.asks.truncate(limit);
        render::depth(&mut answer.body, market, count, &ladder, now);
        answer.fault = Some("a stale snapshot".to_owned());
    } else {
        let state = &core.symbols[place];
        render::depth(&mut answer.body, market, state.book.update_id(), &state.ladder(limit), now);
    }
    Ok(answer)
}

/// One object for `symbol`, an array of all without.
fn entries(usdm: &Usdm, params: &mut Params, entry: impl Fn(usize, &Market) -> String) -> Result<Answer, ApiError> {
    if let Some(id) = params.take("symbol") {
        let id = params.symbol(id)?;
        let (place, market) = known(usdm, &id)?;
        return Ok(text_answer(entry(place, market)));
    }
    let all = usdm.markets.iter().enumerate();
    let all = all.filter_map(|(place, market)| market.as_ref().map(|(market, _)| entry(place, market)));
    Ok(text_answer(format!("[{}]", all.collect::<Vec<_>>().join(","))))
}

fn entry(usdm: &Usdm, core: &Core, call: Call, place: usize, market: &Market, now: i64) -> String {
    let (id, ms) = (&market.id, now.div_euclid(1_000));
    let price = |e8| text(|out| market.push_price(out, e8));
    let amount = |e8| text(|out| market.push_amount(out, e8));
    let newest = core.symbols[place].history.trades().back();
    match call {
        Call::TickerPrice => {
            let (last, at) = newest.map_or((core.day(place).last, now), |row| (row.price, row.time_us));
            format!("{{\"symbol\":\"{id}\",\"price\":\"{}\",\"time\":{}}}", price(last), at.div_euclid(1_000))
        }
        Call::BookTicker => {
            let quote = core.symbols[place].quote();
            format!(
                "{{\"symbol\":\"{id}\",\"bidPrice\":\"{}\",\"bidQty\":\"{}\",\"askPrice\":\"{}\",\"askQty\":\"{}\",\
                 \"time\":{ms},\"lastUpdateId\":{}}}",
                price(quote.bid),
                amount(quote.bid_amount),
                price(quote.ask),
                amount(quote.ask_amount),
                market.update_id(quote.update_id),
            )
        }
        Call::PremiumIndex => {
            let mark = usdm.mark(core, place, now);
            format!(
                "{{\"symbol\":\"{id}\",\"markPrice\":\"{}\",\"indexPrice\":\"{}\",\"estimatedSettlePrice\":\"{}\",\
                 \"lastFundingRate\":\"{}\",\"interestRate\":\"0.00010000\",\"nextFundingTime\":{},\"time\":{ms}}}",
                e8_text(mark.mark),
                e8_text(mark.index),
                e8_text(mark.index),
                e8_text(mark.rate),
                mark.next_funding_us.div_euclid(1_000),
            )
        }
        _ => tickers::entry(market, &core.day(place), newest.map_or(0, |row| row.amount), now),
    }
}

/// What was paid, oldest first: from a time on, or the newest.
fn funding_rates(usdm: &Usdm, params: &mut Params, now: i64) -> Result<Answer, ApiError> {
    let (_, market) = wanted(usdm, params)?;
    let (from, to) = (params.time("startTime")?, params.time("endTime")?);
    let limit = i64::try_from(params.limit(100, 1_000)?).unwrap_or(0);
    let last = to.map_or(now, |to| to.min(now)).div_euclid(FUNDING_US);
    let newest = last - limit + 1;
    let first = from.map_or(newest, |from| -(-from).div_euclid(FUNDING_US));
    let last = if from.is_some() { last.min(first + limit - 1) } else { last };
    let rows = (first..=last).map(|count| {
        let at = count * FUNDING_US;
        format!(
            "{{\"symbol\":\"{}\",\"fundingTime\":{},\"fundingRate\":\"{}\",\"markPrice\":\"\"}}",
            market.id,
            at.div_euclid(1_000),
            e8_text(market.funding_rate(at - 1)),
        )
    });
    Ok(text_answer(format!("[{}]", rows.collect::<Vec<_>>().join(","))))
}
