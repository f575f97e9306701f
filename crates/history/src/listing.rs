//! When a market's candles begin: asked once, believed when two answers agree, three where they say that there are none, remembered by
//! the store.

use dccd_exchange::{CandlePages, HistoryError, Market, TradeCursor};
use dccd_model::{Grid, Span, Trade, UnixNanos};
use dccd_net::Priority;

use crate::cancel::Cancel;
use crate::fetch::{AnswerError, Attempts, FetchError, Source};

/// How many answers may differ before none is believed.
const ANSWERS_MAX: u32 = 6;
/// How many have to agree on a beginning.
const AGREED: u32 = 2;
/// How many have to agree that there is nothing: an answer that lacks everything is the commonest fault of all, and nothing that comes
/// later would contradict it.
const AGREED_ON_NOTHING: u32 = 3;

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

    /// As [`Self::first_candle`], of an exchange that answers from the newest candle back: from the present backwards by its longest
    /// candles, until a page has none; then forwards within the first of them by shorter ones.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn first_candle_back(
        &self,
        market: &Market,
        span: Span,
        attempts: &Attempts,
        cancel: &Cancel,
    ) -> Result<Option<UnixNanos>, FetchError> {
        let history = self.history().map_err(|e| FetchError::Refused(e.into()))?;
        let longer = history.spans().iter().filter_map(|seconds| Span::from_secs(*seconds)).filter(|s| *s >= span);
        let spans: Vec<(Span, u32)> = longer.filter_map(|s| Some((s, history.candle_pages(s)?.per_page))).collect();
        let now = self.closed_until(Grid::new(Span::ONE_SECOND));
        let first_in = |span: Span, from: UnixNanos, to: UnixNanos| async move {
            let limit = u32::try_from(Grid::new(span).count(from, to)).unwrap_or(u32::MAX);
            let request = history.candles_request(market, span, from, to, limit);
            self.agreed(|| async {
                let mut candles = Vec::new();
                self.ask(&request, Priority::Backfill, attempts, cancel, |response| {
                    candles.clear();
                    history.parse_candles_of(market, &response.body, span, UnixNanos(response.ts_recv), &mut candles)?;
                    let opens = candles.iter().map(|candle| candle.ts_open);
                    Ok(opens.filter(|open| *open >= from && *open < to).min())
                })
                .await
            })
            .await
        };
        descend(&spans, now, first_in).await
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

    /// Asks until answers agree.
    async fn agreed<F>(&self, ask: impl FnMut() -> F) -> Result<Option<UnixNanos>, FetchError>
    where
        F: Future<Output = Result<Option<UnixNanos>, FetchError>>,
    {
        let unsettled =
            || FetchError::GaveUp { attempts: ANSWERS_MAX, last: AnswerError::Unsettled { answers: ANSWERS_MAX } };
        agreement(ask).await?.ok_or_else(unsettled)
    }
}

/// The answer that was given often enough; `None` where they differ too long.
async fn agreement<F, E>(mut ask: impl FnMut() -> F) -> Result<Option<Option<UnixNanos>>, E>
where
    F: Future<Output = Result<Option<UnixNanos>, E>>,
{
    // The earliest that was said: an answer may lack the first candle, none has one too many.
    let mut earliest = None;
    let mut said = 0;
    for _ in 0..ANSWERS_MAX {
        let answer = ask().await?;
        if answer == earliest {
            said += 1;
        } else if answer.is_some_and(|answer| earliest.is_none_or(|earliest| answer < earliest)) {
            (earliest, said) = (answer, 1);
        }
        if said == if earliest.is_some() { AGREED } else { AGREED_ON_NOTHING } {
            return Ok(Some(earliest));
        }
    }
    Ok(None)
}

/// The spans whose pages are gone through from the present back, the longest first: a market may be younger than a candle of it, and some
/// exchanges have none before it is closed.
fn searched(spans: &[(Span, u32)]) -> Vec<(Span, u32)> {
    let at_most = |seconds: u32| spans.iter().rev().find(|(span, _)| span.as_secs() <= seconds).copied();
    let mut searched: Vec<_> = [at_most(u32::MAX), at_most(86_400), at_most(3_600)].into_iter().flatten().collect();
    searched.extend(spans.first());
    searched.dedup();
    searched
}

/// Finds where the candles of the first of these spans begin. `spans` ascend, each with how many candles a page holds; `first_in` tells when
/// the first candle of a span opens within a stretch that a page holds.
async fn descend<F, A, E>(spans: &[(Span, u32)], now: UnixNanos, mut first_in: F) -> Result<Option<UnixNanos>, E>
where
    F: FnMut(Span, UnixNanos, UnixNanos) -> A,
    A: Future<Output = Result<Option<UnixNanos>, E>>,
{
    let Some((wanted, _)) = spans.first().copied() else { return Ok(None) };
    let mut found = None;
    for (span, per_page) in searched(spans) {
        let grid = Grid::new(span);
        let (begin, mut to) = (grid.ceil(UnixNanos(0)), grid.after(grid.floor(now), 1));
        while to > begin {
            let from = grid.after(to, -i64::from(per_page)).max(begin);
            let Some(open) = first_in(span, from, to).await? else { break };
            (found, to) = (Some((span, open)), from);
        }
        if found.is_some() {
            break;
        }
    }
    let Some((mut span, mut first)) = found else { return Ok(None) };
    let mut grid = Grid::new(span);
    while span > wanted {
        let end = grid.after(first, 1);
        // The shortest of which one page holds all that the first candle covers.
        let fits = |(shorter, per_page): &&(Span, u32)| {
            let grid = Grid::new(*shorter);
            grid.count(grid.floor(first), end) <= u64::from(*per_page)
        };
        let Some((shorter, _)) = spans.iter().find(fits).filter(|(shorter, _)| *shorter < span) else { break };
        (span, grid) = (*shorter, Grid::new(*shorter));
        // Without any, the shorter candles begin somewhere later: what comes before is found to be missing page by page.
        let Some(open) = first_in(span, grid.floor(first), end).await? else { break };
        first = open;
    }
    Ok(Some(Grid::new(wanted).floor(first)))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Where the candles of a minute begin for an exchange whose market was listed then, and how many pages that took.
    fn found(listed: i64, spans: &[u32], reach: impl Fn(Span) -> i64) -> (Option<i64>, usize) {
        let spans: Vec<(Span, u32)> = spans.iter().map(|s| (Span::from_secs(*s).unwrap(), 100)).collect();
        let now = UnixNanos::from_secs(1_800_000_000);
        let mut pages = 0;
        let answer = descend(&spans, now, |span, from, to| {
            pages += 1;
            let grid = Grid::new(span);
            assert!(grid.is_open(from) && from < to && grid.count(from, to) <= 100, "{span} {from} {to}");
            let first = grid.floor(UnixNanos::from_secs(listed)).max(grid.ceil(UnixNanos::from_secs(reach(span)))).max(from);
            std::future::ready(Ok::<_, ()>((first < to && first <= now).then_some(first)))
        });
        let first = answer.now_or_never().unwrap().unwrap();
        (first.map(|first| first.0 / 1_000_000_000), pages)
    }

    #[test]
    fn a_beginning_is_believed_when_it_was_said_twice_and_nothing_when_it_was_said_three_times() {
        let agreed = |answers: &[Option<i64>]| {
            let mut asked = 0;
            let answer = agreement(|| {
                asked += 1;
                std::future::ready(Ok::<_, ()>(answers[asked - 1].map(UnixNanos)))
            });
            let answer = answer.now_or_never().unwrap().unwrap();
            (answer.map(|answer| answer.map(|ts| ts.0)), asked)
        };
        assert_eq!(agreed(&[Some(5), Some(5)]), (Some(Some(5)), 2));
        assert_eq!(agreed(&[None, None, None]), (Some(None), 3));
        assert_eq!(agreed(&[None, None, Some(5), None, Some(5)]), (Some(Some(5)), 5));
        assert_eq!(agreed(&[Some(7), Some(5), Some(7), Some(5)]), (Some(Some(5)), 4));
        assert_eq!(agreed(&[Some(6), Some(5), Some(4), Some(3), Some(2), Some(1)]), (None, 6));
    }

    const SPANS: &[u32] = &[60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 604_800];

    #[test]
    fn the_first_candle_is_found_from_the_present_back() {
        for listed in [1_500_000_061, 1_500_000_000, 1_499_999_999, 1_799_999_990, 700_000_000, 345_600] {
            let (first, pages) = found(listed, SPANS, |_| 0);
            assert_eq!(first, Some(listed - listed % 60), "{listed}");
            // Of a hundred weeks each, one that has none, and three or four within the first week.
            let weeks = usize::try_from((1_800_000_000 - listed) / 604_800).unwrap();
            assert!(pages <= weeks / 100 + 6, "{pages} pages for {listed}");
        }
        assert_eq!(found(1_500_000_061, &[60], |_| 1_799_000_000).0, Some(1_799_000_040));
        // Nothing of weeks, days, hours, minutes.
        assert_eq!(found(1_900_000_000, SPANS, |_| 0), (None, 4));
        assert_eq!(found(1, &[], |_| 0), (None, 0));
    }

    #[test]
    fn a_market_that_is_younger_than_the_longest_candle_is_found_where_only_closed_ones_are_told() {
        let spans: Vec<(Span, u32)> = SPANS.iter().map(|s| (Span::from_secs(*s).unwrap(), 100)).collect();
        let now = 1_800_000_000;
        for age in [3 * 86_400, 86_400 + 60, 7_300, 59 * 60, 61] {
            let listed = now - age;
            let answer = descend(&spans, UnixNanos::from_secs(now), |span, from, to| {
                let first = Grid::new(span).floor(UnixNanos::from_secs(listed)).max(from);
                let is_closed = Grid::new(span).after(first, 1) <= UnixNanos::from_secs(now);
                std::future::ready(Ok::<_, ()>((first < to && is_closed).then_some(first)))
            });
            let first = answer.now_or_never().unwrap().unwrap();
            assert_eq!(first, Some(UnixNanos::from_secs(listed - listed % 60)), "{age} s old");
        }
    }

    #[test]
    fn shorter_candles_that_begin_later_are_looked_for_from_where_the_longer_ones_begin() {
        let week = 604_800;
        let first = found(1_500_000_061, SPANS, |span| if span.as_secs() < week { 1_700_000_000 } else { 0 }).0;
        let grid = Grid::new(Span::from_secs(604_800).unwrap());
        assert_eq!(first, Some(grid.floor(UnixNanos::from_secs(1_500_000_061)).0 / 1_000_000_000));
    }
}
