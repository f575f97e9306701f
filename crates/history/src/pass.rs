//! A pass over a market's trades that builds the candles of all wanted spans at once, in memory that doesn't grow.

use std::time::Duration;

use dccd_exchange::{HistoryError, Market, TradeCursor, TradePages};
use dccd_model::{Trade, UnixNanos};
use dccd_net::Priority;
use dccd_store::CandleRow;

use crate::build::CandleBuilder;
use crate::error::HistoryJobError;
use crate::fetch::{AnswerError, FetchError};
use crate::job::HistoryContext;
use crate::series::{Series, Stretch};

/// Rows that wait to be landed together.
const ROWS_MAX: usize = 4_096;
/// Trades may be told of so late.
const LATE_MAX: Duration = Duration::from_secs(60);
/// How far before a hole the last price is looked for at first, in candles; eight times as far each further time.
const LOOK_BACK: i64 = 4;

/// One span of the pass.
struct Lane<'s, 'a> {
    series: &'s mut Series<'a>,
    builder: CandleBuilder,
    holes: Vec<Stretch>,
    /// Where its first hole begins.
    began: UnixNanos,
    /// Candles of before this are settled.
    landed: UnixNanos,
    /// Candles that trades which the exchange has lost make doubtful: not landed before this.
    doubtful_until: UnixNanos,
    rows: Vec<CandleRow>,
}

impl Lane<'_, '_> {
    fn take(&mut self, trade: &Trade) -> Result<(), HistoryJobError> {
        let Self { series, builder, holes, landed, doubtful_until, rows, .. } = self;
        builder.push(trade, &mut |row| keep(series, holes, landed, *doubtful_until, rows, row))
    }

    /// Nothing more comes for candles that open before `until`.
    fn close(&mut self, until: UnixNanos) -> Result<(), HistoryJobError> {
        let Self { series, builder, holes, landed, doubtful_until, rows, .. } = self;
        builder.close_until(until, &mut |row| keep(series, holes, landed, *doubtful_until, rows, row))?;
        let end = builder.next();
        land(series, holes, landed, *doubtful_until, rows, end)
    }

    /// Trades are missing between these moments: the candles that hold them can't be known.
    fn doubt(&mut self, from: UnixNanos, to: UnixNanos) -> Result<(), HistoryJobError> {
        self.close(from)?;
        let grid = self.series.shape.grid;
        self.doubtful_until = grid.after(grid.floor(to), 1);
        let stretch = (grid.floor(from), self.doubtful_until);
        // This job doesn't walk over them again; the next one does.
        self.series.progress.update(|p| p.failed.push(stretch));
        Ok(())
    }
}

fn keep(
    series: &mut Series<'_>,
    holes: &[Stretch],
    landed: &mut UnixNanos,
    doubtful_until: UnixNanos,
    rows: &mut Vec<CandleRow>,
    row: CandleRow,
) -> Result<(), HistoryJobError> {
    let end = series.shape.grid.after(row.ts, 1);
    rows.push(row);
    if rows.len() >= ROWS_MAX { land(series, holes, landed, doubtful_until, rows, end) } else { Ok(()) }
}

/// Lands what was built up to `end`, as far as it lies in holes.
fn land(
    series: &mut Series<'_>,
    holes: &[Stretch],
    landed: &mut UnixNanos,
    doubtful_until: UnixNanos,
    rows: &mut Vec<CandleRow>,
    end: UnixNanos,
) -> Result<(), HistoryJobError> {
    let from = (*landed).max(doubtful_until.min(end));
    for hole in holes {
        let stretch = (hole.0.max(from), hole.1.min(end));
        if stretch.0 < stretch.1 {
            let first = rows.partition_point(|row| row.ts < stretch.0);
            let last = rows.partition_point(|row| row.ts < stretch.1);
            series.land(stretch, &rows[first..last], &[])?;
        }
    }
    rows.clear();
    *landed = (*landed).max(end);
    Ok(())
}

/// Whether nothing comes after a page that says so: believed when another answer for it, which has what the first one had, says
/// the same; when there is nothing on it at all, when two others do.
#[derive(Default)]
struct End {
    last: Option<u64>,
    said: u32,
}

impl End {
    fn is_confirmed(&mut self, last: Option<u64>) -> bool {
        self.said = if self.said == 0 || last >= self.last { self.said + 1 } else { 1 };
        self.last = last;
        self.said >= if last.is_some() { 2 } else { 3 }
    }
}

/// What of the trades has been seen.
#[derive(Default)]
struct Ids {
    last: Option<(u64, UnixNanos)>,
}

/// One page as the pass sees it.
struct Read {
    next: TradeCursor,
    is_last: bool,
    /// Trades before it are all known.
    complete_until: UnixNanos,
}

/// Fills the holes of these series, all of one market, from its trades. The holes of each ascend.
pub(crate) async fn fill_from_trades<'a>(
    ctx: &'a HistoryContext,
    market: &'a Market,
    pages: TradePages,
    work: Vec<(&mut Series<'a>, Vec<Stretch>)>,
) -> Result<(), HistoryJobError> {
    let mut lanes = work;
    for stretch in union(&lanes) {
        if ctx.turn_is_over() {
            break;
        }
        pass(ctx, market, pages, &mut lanes, stretch).await?;
    }
    Ok(())
}

/// The stretches that any of the series lacks, ascending, touching ones as one.
fn union(work: &[(&mut Series<'_>, Vec<Stretch>)]) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = work.iter().flat_map(|(_, holes)| holes.iter().copied()).collect();
    all.sort_unstable();
    let mut merged: Vec<Stretch> = Vec::with_capacity(all.len());
    for (from, to) in all {
        match merged.last_mut() {
            Some((_, end)) if *end >= from => *end = (*end).max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

async fn pass<'a>(
    ctx: &'a HistoryContext,
    market: &'a Market,
    pages: TradePages,
    work: &mut [(&mut Series<'a>, Vec<Stretch>)],
    stretch: Stretch,
) -> Result<(), HistoryJobError> {
    let mut lanes = Vec::with_capacity(work.len());
    let mut begin = stretch.0;
    for (series, holes) in work.iter_mut() {
        let holes: Vec<Stretch> = holes.iter().copied().filter(|h| h.0 < stretch.1 && h.1 > stretch.0).collect();
        let Some(first) = holes.first().map(|hole| hole.0) else { continue };
        let last = series.close_before(first)?;
        let fills = series.shape.pages.is_none_or(|pages| pages.sends_empty);
        if fills && last.is_none() {
            begin = begin.min(before(ctx, market, series, first).await?);
        }
        let builder = CandleBuilder::new(series.wanted.span, first, last, fills);
        let (began, landed, doubtful_until) = (first, first, UnixNanos(i64::MIN));
        lanes.push(Lane { series, builder, holes, began, landed, doubtful_until, rows: Vec::with_capacity(ROWS_MAX) });
    }
    let Some(mut attempts) = lanes.first().map(|lane| lane.series.wanted.attempts) else { return Ok(()) };
    // A hole and a trade of another time are each believed with their second answer.
    attempts.max = attempts.max.max(3);
    let history = ctx.source.history().map_err(|e| refused(market, e.into()))?;
    let mut cursor = TradeCursor::Time(begin);
    let mut ids = Ids::default();
    let mut trades: Vec<Trade> = Vec::with_capacity(pages.per_page as usize);
    let mut end = End::default();
    loop {
        let request = history.trades_page_request(market, cursor);
        // What can hardly be is believed when the exchange answers so twice.
        let (mut seen_hole, mut seen_back) = (None, Vec::new());
        let asked = ctx.source.ask(&request, Priority::Backfill, &attempts, &ctx.cancel, |response| {
            trades.clear();
            let page = history.parse_trades_page(&response.body, cursor, UnixNanos(response.ts_recv), &mut trades)?;
            if pages.contiguous_ids
                && let Some(hole) = hole(&ids, &trades)
                && seen_hole.replace(hole) != Some(hole)
            {
                return Err(AnswerError::Hole { first: hole.0, last: hole.1 });
            }
            // No candle is made of a trade that is to come.
            let newest = ctx.source.settled_at(response) + LATE_MAX;
            if let Some(ahead) = trades.iter().find(|trade| trade.ts_venue > newest) {
                return Err(AnswerError::Misplaced { id: ahead.id.low(), at: ahead.ts_venue });
            }
            let back = steps_back(&ids, begin, &trades);
            if let Some((id, at)) = back.first().copied()
                && seen_back != back
            {
                seen_back = back;
                return Err(AnswerError::Misplaced { id, at });
            }
            // Up to its last trade a page is whole; behind it, one that reaches the present, but for what is told of late.
            let reached = trades.last().map_or(begin, |trade| trade.ts_venue);
            let late = ctx.source.settled_at(response) - LATE_MAX;
            let complete_until = if page.is_last { reached.max(late) } else { reached };
            Ok(Read { next: page.next, is_last: page.is_last, complete_until })
        });
        let read = match asked.await {
            Ok(read) => read,
            Err(error) => return Err(lanes[0].series.failure("a page of trades", error)),
        };
        let is_through = trades.last().is_some_and(|trade| trade.ts_venue >= stretch.1);
        if read.is_last && !is_through && !end.is_confirmed(trades.last().map(|trade| trade.id.low())) {
            if ctx.turn_is_over() {
                return Ok(());
            }
            continue;
        }
        end = End::default();
        take_page(&mut lanes, &mut ids, &trades, pages)?;
        let until = read.complete_until.min(stretch.1);
        for lane in &mut lanes {
            lane.close(until)?;
            let count = trades.len() as u64;
            lane.series.progress.update(|p| {
                p.trades += count;
                p.windows_done += 1;
            });
        }
        // A turn ends when each lane that was reached has got somewhere, or the next one would begin where this one did.
        let is_turn_over = ctx.turn_is_over() && lanes.iter().all(|lane| lane.landed > lane.began || lane.began >= until);
        if read.is_last || until >= stretch.1 || is_turn_over {
            return Ok(());
        }
        if read.next == cursor {
            let exchange = ctx.source.adapter.name();
            let stuck = HistoryError::Refused { exchange, message: "its trades go on where they began".to_owned() };
            return Err(refused(market, stuck.into()));
        }
        cursor = read.next;
    }
}

fn refused(market: &Market, error: AnswerError) -> HistoryJobError {
    HistoryJobError::Fetch {
        what: "the trades",
        symbol: market.symbol.clone(),
        source: Box::new(FetchError::Refused(error)),
    }
}

/// A moment before the hole from which on its last price is known: that of a trade before it. The hole's own beginning where there
/// was none.
async fn before(
    ctx: &HistoryContext,
    market: &Market,
    series: &Series<'_>,
    first: UnixNanos,
) -> Result<UnixNanos, HistoryJobError> {
    let mut candles = LOOK_BACK;
    loop {
        let from = series.shape.grid.after(first, -candles).max(UnixNanos(0));
        let found = ctx.source.trade_from(market, from, &series.wanted.attempts, &ctx.cancel).await;
        match found.map_err(|error| series.failure("the trades", error))? {
            Some(trade) if trade.ts_venue < first => return Ok(from),
            _ if from.0 <= 0 => return Ok(first),
            _ => candles = candles.saturating_mul(8),
        }
    }
}

/// The ids that are missing between what was seen and this page, or within it.
fn hole(ids: &Ids, trades: &[Trade]) -> Option<(u64, u64)> {
    let mut last = ids.last.map(|(id, _)| id);
    for trade in trades {
        let id = trade.id.low();
        if let Some(before) = last
            && id > before.saturating_add(1)
        {
            return Some((before + 1, id - 1));
        }
        last = last.max(Some(id));
    }
    None
}

/// Trades not seen before whose time lies long before that of the trade before them, or before `begin`, from which on trades were asked
/// for.
fn steps_back(ids: &Ids, begin: UnixNanos, trades: &[Trade]) -> Vec<(u64, UnixNanos)> {
    let (last, mut reached) = ids.last.map_or((None, begin), |(id, ts)| (Some(id), ts));
    let mut back = Vec::new();
    for trade in trades.iter().filter(|trade| last.is_none_or(|last| trade.id.low() > last)) {
        if trade.ts_venue < reached - LATE_MAX {
            back.push((trade.id.low(), trade.ts_venue));
        } else {
            reached = trade.ts_venue;
        }
    }
    back
}

fn take_page(lanes: &mut [Lane<'_, '_>], ids: &mut Ids, trades: &[Trade], pages: TradePages) -> Result<(), HistoryJobError> {
    for trade in trades {
        let id = trade.id.low();
        if let Some((last, ts)) = ids.last {
            if id <= last {
                continue; // pages overlap
            }
            if pages.contiguous_ids && id > last + 1 {
                let (first, end) = (last + 1, id - 1);
                tracing::warn!(first, last = end, "the exchange has lost trades; the candles that hold them stay open");
                for lane in lanes.iter_mut() {
                    lane.doubt(ts, trade.ts_venue)?;
                    lane.series.progress.update(|p| {
                        p.windows_failed += 1;
                        p.error = Some(format!(
                            "the exchange lacks the trades {first} to {end}, between {ts} and {}",
                            trade.ts_venue
                        ));
                    });
                }
            }
        }
        if let Some((_, ts)) = ids.last
            && trade.ts_venue < ts - LATE_MAX
        {
            tracing::warn!(id, at = %trade.ts_venue, "a trade of long before those around it, as the exchange says again; no candle is made of it");
            for lane in lanes.iter_mut() {
                lane.series.progress.update(|p| {
                    p.windows_failed += 1;
                    p.error = Some(format!("the exchange has trade {id} at {}, after others of {ts}", trade.ts_venue));
                });
            }
            ids.last = Some((id, ts));
            continue;
        }
        for lane in lanes.iter_mut() {
            lane.take(trade)?;
        }
        ids.last = Some((id, trade.ts_venue));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dccd_model::{Decimal, Flags, Side, TradeId};

    use super::*;

    #[test]
    fn a_trade_of_long_before_its_neighbours_is_found_and_a_clock_that_steps_back_a_little_is_let_be() {
        let trade = |id: u64, seconds: i64| Trade {
            ts_venue: UnixNanos(seconds * 1_000_000_000),
            ts_recv: UnixNanos(1),
            price: Decimal::new(1, 0),
            amount: Decimal::new(1, 0),
            id: TradeId(id.into()),
            side: Side::Buy,
            flags: Flags::NONE,
            epoch: 0,
        };
        let found = |ids: &Ids, trades: &[Trade]| {
            let back = steps_back(ids, UnixNanos(1_000_000_000_000), trades);
            back.into_iter().map(|(id, at)| (id, at.0 / 1_000_000_000)).collect::<Vec<_>>()
        };
        let none = Ids::default();
        assert_eq!(found(&none, &[trade(1, 990), trade(2, 1_000), trade(3, 980), trade(4, 5_000)]), []);
        assert_eq!(found(&none, &[trade(1, 500), trade(2, 1_000)]), [(1, 500)], "before what was asked for");
        assert_eq!(found(&none, &[trade(1, 1_000), trade(2, 2_000), trade(3, 1_000), trade(4, 2_001)]), [(3, 1_000)]);
        let seen = Ids { last: Some((7, UnixNanos(3_000_000_000_000))) };
        assert_eq!(found(&seen, &[trade(6, 1_000), trade(7, 3_000), trade(8, 3_001)]), [], "pages overlap");
        assert_eq!(found(&seen, &[trade(7, 3_000), trade(8, 1_500)]), [(8, 1_500)]);
    }

    #[test]
    fn an_end_is_believed_when_whole_answers_agree() {
        let said = |answers: &[Option<u64>]| {
            let mut end = End::default();
            answers.iter().map(|last| end.is_confirmed(*last)).collect::<Vec<_>>()
        };
        assert_eq!(said(&[Some(5), Some(5)]), [false, true]);
        assert_eq!(said(&[Some(5), Some(9)]), [false, true], "trades that came meanwhile don't put it off");
        assert_eq!(said(&[Some(5), Some(4), Some(5)]), [false, false, true], "an answer with less is none");
        assert_eq!(said(&[None, None, None]), [false, false, true]);
    }
}
