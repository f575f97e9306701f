//! Between what clients send and what the history works with. Pure.

use std::time::Duration;

use dccd_history::{Attempts, Backfill, CandleSource, SeriesProgress, State, Wanted};
use dccd_model::{Span, UnixNanos};
use dccd_rpc::RpcError;
use dccd_rpc::datad::{BackfillInfo, BackfillSeries, WantedSeries};

/// Reads what a client wants.
///
/// # Errors
/// [`RpcError::Invalid`] with the argument that can't be read.
pub(crate) fn wanted(series: &WantedSeries) -> Result<Wanted, RpcError> {
    let invalid = |argument: &str, reason: String| RpcError::Invalid { argument: argument.to_owned(), reason };
    let symbol = series.symbol.parse().map_err(|e: dccd_model::SymbolError| invalid("symbol", e.to_string()))?;
    let span = Span::from_secs(series.span_s).ok_or_else(|| invalid("span", "a span of no length".to_owned()))?;
    let source = match series.source.as_str() {
        "auto" => CandleSource::Auto,
        "candles" => CandleSource::Candles,
        "trades" => CandleSource::Trades,
        other => return Err(invalid("source", format!("expected auto, candles or trades, found \"{other}\""))),
    };
    let attempts = Attempts {
        max: series.max_retries.clamp(1, 10),
        delay: Duration::from_millis(series.retry_delay_ms),
        ..Attempts::default()
    };
    let (start, end) = (series.start.map(UnixNanos), series.end.map(UnixNanos));
    Ok(Wanted { symbol, span, start, end, source, attempts })
}

/// A backfill as clients see it. `waits_for`: why no requests go out now.
#[must_use]
pub fn backfill_info(backfill: &Backfill, now: UnixNanos, waits_for: Option<&str>) -> BackfillInfo {
    BackfillInfo {
        id: backfill.id.clone(),
        state: backfill.state.as_str().to_owned(),
        started: backfill.started.0,
        ended: backfill.ended.unwrap_or_default().0,
        series: backfill.series.iter().map(|series| series_info(series, now, waits_for)).collect(),
    }
}

/// One of its series as clients see it. `waits_for`: why no requests go out now.
#[must_use]
pub fn series_info(series: &SeriesProgress, now: UnixNanos, waits_for: Option<&str>) -> BackfillSeries {
    let waits_for = waits_for.or(series.preparing);
    BackfillSeries {
        job: series.job.clone(),
        state: series.state.as_str().to_owned(),
        windows_total: series.windows_total,
        windows_done: series.windows_done,
        windows_failed: series.windows_failed,
        candles_total: series.candles_total,
        candles_done: series.candles_done,
        rows: series.rows,
        trades: series.trades,
        rows_per_second: series.rows_per_second(now),
        eta_s: series.eta_seconds(now),
        at: series.at.unwrap_or_default().0,
        waits_for: waits_for.filter(|_| series.state == State::Running).map(str::to_owned),
        error: series.error.clone(),
        notes: series.notes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_wrong_is_named() {
        let sound = WantedSeries {
            symbol: "BTC/USDT".to_owned(),
            span_s: 60,
            start: Some(5),
            end: None,
            source: "auto".to_owned(),
            max_retries: 99,
            retry_delay_ms: 1_500,
        };
        let read = wanted(&sound).unwrap();
        assert_eq!((read.attempts.max, read.attempts.delay), (10, Duration::from_millis(1_500)));
        let argument = |series: WantedSeries| match wanted(&series) {
            Err(RpcError::Invalid { argument, .. }) => argument,
            other => panic!("{other:?}"),
        };
        assert_eq!(argument(WantedSeries { symbol: "BTCUSDT".to_owned(), ..sound.clone() }), "symbol");
        assert_eq!(argument(WantedSeries { span_s: 0, ..sound.clone() }), "span");
        assert_eq!(argument(WantedSeries { source: "thin air".to_owned(), ..sound }), "source");
    }
}
