//! What a job would do, without doing it: windows, requests, weight, time.

use std::time::Duration;

use dccd_exchange::{Market, Markets, TradeCursor};
use dccd_model::UnixNanos;
use dccd_net::Quota;
use dccd_store::{CandleSeriesId, candle_coverage};
use serde::Serialize;

use crate::error::{HistoryJobError, chain};
use crate::job::{HistoryContext, split};
use crate::series::{Shape, Stretch, Wanted};

/// The part of the exchange's weight that backfills may use.
const SHARE: f64 = 0.7;

/// What a job would do for one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// The series.
    pub job: String,
    /// The first moment wanted that the market has.
    pub from: Option<UnixNanos>,
    /// The end of what is wanted.
    pub to: Option<UnixNanos>,
    /// Stretches that are neither stored nor known to be missing.
    pub holes: u64,
    /// Candles in them.
    pub candles: u64,
    /// Pages that would be asked for; of trades as many as their ids say, else none are counted.
    pub requests: u64,
    /// What these weigh at the exchange.
    pub weight: u64,
    /// How long they take under the exchange's limits, seconds.
    pub seconds: f64,
    /// Why nothing can be said.
    pub error: Option<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
}

/// Plans a series. Asks the exchange for the market's beginning where that isn't known, and for two trades where candles have to
/// be built; stores nothing.
pub async fn plan(ctx: &HistoryContext, markets: &Markets, wanted: &Wanted) -> Plan {
    let job = wanted.name(&ctx.exchange);
    match try_plan(ctx, markets, wanted).await {
        Ok(plan) => Plan { job, ..plan },
        Err(error) => Plan { job, error: Some(chain(&error)), ..Plan::default() },
    }
}

async fn try_plan(ctx: &HistoryContext, markets: &Markets, wanted: &Wanted) -> Result<Plan, HistoryJobError> {
    let market = ctx.market(markets, &wanted.symbol)?;
    let shape = Shape::of(ctx.source.adapter.as_ref(), wanted)?;
    let id = CandleSeriesId { exchange: ctx.exchange.clone(), symbol: wanted.symbol.clone(), span: wanted.span };
    let coverage = candle_coverage(&ctx.data_path, &id)?;
    let failed = |what, source| HistoryJobError::Fetch { what, symbol: wanted.symbol.clone(), source: Box::new(source) };
    let listed = match coverage.listed {
        Some(listed) => Some(listed),
        None => shape.listing(ctx, market, wanted).await.map_err(|source| failed("the beginning", source))?,
    };
    let Some(listed) = listed else {
        return Ok(Plan { notes: vec!["the market has no candles yet".to_owned()], ..Plan::default() });
    };
    let (from, to) = shape.range(ctx, wanted, listed);
    let holes = coverage.holes(from, to);
    let count = holes.len() as u64;
    let split = split(&shape, wanted.source, holes, ctx.source.closed_until(shape.grid));
    let own = shape.windows(&split.own);
    let history = ctx.source.history().map_err(|e| failed("the history", crate::FetchError::Refused(e.into())))?;
    let per_page = shape.pages.map_or(1, |pages| pages.per_page);
    let weight_of_candles = history.candles_request(market, wanted.span, from, to, per_page).weight;
    let weight_of_trades = history.trades_page_request(market, TradeCursor::Id(0)).weight;
    let mut trades = 0;
    for hole in &split.trades {
        trades += trade_pages(ctx, market, wanted, &shape, *hole).await.map_err(|source| failed("the trades", source))?;
    }
    let weight = own * u64::from(weight_of_candles) + trades * u64::from(weight_of_trades);
    Ok(Plan {
        job: String::new(),
        from: Some(from),
        to: Some(to),
        holes: count,
        candles: shape.count(&split.own) + shape.count(&split.trades),
        requests: own + trades,
        weight,
        seconds: ctx.seconds(market, weight).as_secs_f64(),
        error: None,
        notes: split.note.into_iter().collect(),
    })
}

/// How many pages of trades lie in a stretch, by the ids at its ends.
async fn trade_pages(
    ctx: &HistoryContext,
    market: &Market,
    wanted: &Wanted,
    shape: &Shape,
    (from, to): Stretch,
) -> Result<u64, crate::FetchError> {
    let Some(pages) = shape.trades.filter(|pages| pages.contiguous_ids) else { return Ok(0) };
    let find = |at: UnixNanos| ctx.source.trade_from(market, at, &wanted.attempts, &ctx.cancel);
    let (first, last) = (find(from).await?, find(to).await?);
    let (Some(first), Some(last)) = (first, last) else { return Ok(0) };
    Ok(last.id.low().saturating_sub(first.id.low()).div_ceil(u64::from(pages.per_page.max(1))))
}

impl HistoryContext {
    /// How long requests of this weight about a market take, if the limit on them alone holds them back: the exchange's, or the one that
    /// is configured.
    fn seconds(&self, market: &Market, weight: u64) -> Duration {
        let product = self.source.adapter.rest_of(&market.symbol);
        duration(self.source.rest.governor(product).quota(), weight)
    }
}

fn duration(quota: Quota, weight: u64) -> Duration {
    let (per_second, share) = match quota {
        Quota::Window { weight, window } => (f64::from(weight) / window.as_secs_f64().max(1e-9), SHARE),
        Quota::Interval { every, .. } => (1.0 / every.as_secs_f64().max(1e-9), 1.0),
    };
    #[allow(clippy::cast_precision_loss)] // an estimate
    let weight = weight as f64;
    Duration::try_from_secs_f64(weight / (per_second * share).max(1e-9)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_goes_by_the_limit_that_is_in_force() {
        let minute = |weight| Quota::Window { weight, window: Duration::from_secs(60) };
        assert_eq!(duration(minute(6_000), 4_200), Duration::from_secs(60));
        assert_eq!(duration(minute(600), 4_200), Duration::from_secs(600));
        assert_eq!(duration(Quota::Interval { every: Duration::from_millis(100), burst: 9 }, 50), Duration::from_secs(5));
    }
}
