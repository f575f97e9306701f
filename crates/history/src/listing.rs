//! When a market's candles begin: asked once, believed when two answers agree, remembered by the store.

use dccd_exchange::{CandlePages, HistoryError, Market, TradeCursor};
use dccd_model::{Grid, Span, Trade, UnixNanos};
use dccd_net::Priority;

use crate::cancel::Cancel;
use crate::fetch::{AnswerError, Attempts, FetchError, Source};

/// How many answers may differ before none is believed.
const ANSWERS_MAX: u32 = 6;

impl Source {
    /// When the market's first candle of this span opens, from the exchange's own candles; `None` when it has none at all.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn first_candle(
        &self,
        market: &Market,
        span: Span,
        pages: CandlePages,
        attempts: &Attempts,
        cancel: &Cancel,
    ) -> Result<Option<UnixNanos>, FetchError> {
        let history = self.history().map_err(|e| FetchError::Refused(e.into()))?;
        let grid = Grid::new(span);
        let limit = pages.per_page.min(2);
        let to = grid.after(self.closed_until(grid), 1);
        let request = history.candles_request(market, span, grid.ceil(UnixNanos(0)), to, limit);
        self.agreed(|| async {
            let mut candles = Vec::with_capacity(limit as usize);
            self.ask(&request, Priority::Backfill, attempts, cancel, |response| {
                candles.clear();
                history.parse_candles_of(market, &response.body, span, UnixNanos(response.ts_recv), &mut candles)?;
                Ok(candles.first().map(|candle| grid.floor(candle.ts_open)))
            })
            .await
        })
        .await
    }

    /// When the market's first trade happened; `None` when there was none yet.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn first_trade(
        &self,
        market: &Market,
        attempts: &Attempts,
        cancel: &Cancel,
    ) -> Result<Option<UnixNanos>, FetchError> {
        self.agreed(|| async {
            let first = self.trade_from(market, UnixNanos(0), attempts, cancel).await?;
            Ok(first.map(|trade| trade.ts_venue))
        })
        .await
    }

    /// The first trade at or after this time; `None` when there is none yet.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn trade_from(
        &self,
        market: &Market,
        from: UnixNanos,
        attempts: &Attempts,
        cancel: &Cancel,
    ) -> Result<Option<Trade>, FetchError> {
        let history = self.history().map_err(|e| FetchError::Refused(e.into()))?;
        let mut cursor = TradeCursor::Time(from);
        let mut trades = Vec::new();
        loop {
            let request = history.trades_page_request(market, cursor);
            let page = self
                .ask(&request, Priority::Backfill, attempts, cancel, |response| {
                    trades.clear();
                    let page =
                        history.parse_trades_page(&response.body, cursor, UnixNanos(response.ts_recv), &mut trades)?;
                    Ok(page)
                })
                .await?;
            let first = trades.iter().find(|trade: &&Trade| trade.ts_venue >= from).copied();
            if first.is_some() || page.is_last {
                return Ok(first);
            }
            if page.next == cursor {
                let stuck = HistoryError::Refused {
                    exchange: self.adapter.name(),
                    message: "its trades go on where they began".to_owned(),
                };
                return Err(FetchError::Refused(stuck.into()));
            }
            cursor = page.next;
        }
    }

    /// Asks until two answers agree.
    async fn agreed<F>(&self, mut ask: impl FnMut() -> F) -> Result<Option<UnixNanos>, FetchError>
    where
        F: Future<Output = Result<Option<UnixNanos>, FetchError>>,
    {
        // The earliest that was said: an answer may lack the first candle, none has one too many.
        let mut earliest = ask().await?;
        for _ in 1..ANSWERS_MAX {
            let again = ask().await?;
            if again == earliest {
                return Ok(again);
            }
            earliest = match (earliest, again) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Err(FetchError::GaveUp { attempts: ANSWERS_MAX, last: AnswerError::Unsettled { answers: ANSWERS_MAX } })
    }
}
