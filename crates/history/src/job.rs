//! Making series whole: the holes of each are found, filled from the source that has them, and brought into the files.
//!
//! Everything here blocks its thread while it writes to the store: run it on a thread of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dccd_exchange::{CandlePages, Market, Markets};
use dccd_model::{ExchangeName, Symbol, UnixNanos};
use dccd_net::Priority;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{HistoryJobError, chain};
use crate::fetch::{LATE_MAX, PageOf, Source};
use crate::pass::fill_from_trades;
use crate::progress::{Progress, State};
use crate::reconcile::Reconciled;
use crate::series::{CandleSource, Series, Shape, Stretch, Wanted, without};

/// Candles that are built from trades although the exchange has its own, so that the two can be compared.
const OVERLAP: i64 = 30;
/// The overlap is no longer than this, so that long candles don't cost days of trades.
const OVERLAP_MAX: i64 = 3_600_000_000_000;
/// Candles that are the newest ones where they have to be built from trades.
const NEWEST_BUILT: i64 = 4;
/// The newest candles that an exchange has but might not have any more when the request arrives.
const REACH_MARGIN: i64 = 2;

/// What the jobs of one exchange work with.
#[derive(Clone)]
pub struct HistoryContext {
    /// Requests.
    pub source: Source,
    /// The exchange.
    pub exchange: ExchangeName,
    /// The store.
    pub data_path: PathBuf,
    /// Ends everything.
    pub cancel: Cancel,
    /// Whether a run ends by bringing its rows into the files; otherwise they stay staged, and are published by another run.
    pub publishes: bool,
    /// When a turn is over: what is left then is for the next one. `None`: work until all is done.
    pub turn_ends: Option<Instant>,
}

impl HistoryContext {
    /// What time it is: host clock.
    #[must_use]
    pub fn now(&self) -> UnixNanos {
        UnixNanos(self.source.clock.now_ns())
    }

    /// The market of this symbol.
    ///
    /// # Errors
    /// When there is none, with those that may have been meant.
    pub(crate) fn market<'m>(&self, markets: &'m Markets, symbol: &Symbol) -> Result<&'m Market, HistoryJobError> {
        markets.by_symbol(symbol).ok_or_else(|| {
            let near = dccd_exchange::search(markets.iter(), symbol.as_str(), 3);
            HistoryJobError::UnknownMarket {
                exchange: self.source.adapter.name(),
                symbol: symbol.clone(),
                near: near.iter().map(|hit| hit.market.symbol.clone()).collect(),
            }
        })
    }

    /// Whether the turn is over.
    #[must_use]
    pub fn turn_is_over(&self) -> bool {
        self.turn_ends.is_some_and(|end| Instant::now() >= end)
    }
}

/// How much of a series a run goes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every hole.
    Everything,
    /// What came after the last candle that is stored; everything where nothing is.
    Tail,
    /// The newest candles, as many as one answer holds.
    Newest,
}

/// Runs series at the same time, or one market after the other. Returns when each is done, has failed, or all were cancelled;
/// how each ended stands in its progress.
pub async fn run(ctx: &HistoryContext, markets: &Arc<Markets>, wanted: &[(Wanted, Progress)], scope: Scope, parallel: bool) {
    let mut groups: BTreeMap<&Symbol, Vec<&(Wanted, Progress)>> = BTreeMap::new();
    for series in wanted {
        groups.entry(&series.0.symbol).or_default().push(series);
    }
    let mut groups = groups.into_iter();
    let at_once = if parallel { GROUPS_AT_ONCE } else { 1 };
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < at_once
            && !ctx.turn_is_over()
            && let Some((symbol, group)) = groups.next()
        {
            under_way.push(run_group(ctx, markets, symbol, group, scope));
        }
        if under_way.next().await.is_none() {
            return;
        }
    }
}

/// Markets at work at the same time.
const GROUPS_AT_ONCE: usize = 8;

/// The series of one market.
async fn run_group<'a>(
    ctx: &'a HistoryContext,
    markets: &'a Markets,
    symbol: &Symbol,
    group: Vec<&'a (Wanted, Progress)>,
    scope: Scope,
) {
    let market = match ctx.market(markets, symbol) {
        Ok(market) => market,
        Err(error) => {
            let text = chain(&error);
            group.iter().for_each(|(_, progress)| end(ctx, progress, State::Failed, Some(text.clone())));
            return;
        }
    };
    let mut by_trades: Vec<(Series<'_>, Vec<Stretch>)> = Vec::new();
    for (wanted, progress) in group {
        let mut series = match Series::open(ctx, wanted, market, progress.clone()) {
            Ok(series) => series,
            Err(error) => {
                finish(ctx, progress, Err(error));
                continue;
            }
        };
        // An earlier turn of the same job may have left some.
        series.progress.update(|p| p.notes.clear());
        let mut rounds = 1;
        loop {
            match fill_from_candles(ctx, &mut series, scope).await {
                Ok(holes) if !holes.is_empty() && !ctx.turn_is_over() => {
                    by_trades.push((series, holes));
                    break;
                }
                outcome => {
                    let ends = conclude(ctx, &mut series, outcome.map(drop), scope, rounds < ROUNDS_MAX);
                    if ends == Concluded::Ended {
                        break;
                    }
                    rounds += 1;
                }
            }
        }
    }
    if by_trades.is_empty() {
        return;
    }
    let outcome = build(ctx, market, &mut by_trades).await;
    let text = outcome.as_ref().err().map(|error| (matches!(error, HistoryJobError::Cancelled(_)), chain(error)));
    for (mut series, holes) in by_trades {
        match &text {
            None => {
                let compared = reconcile(ctx, &mut series, &holes).await;
                let _ = conclude(ctx, &mut series, compared, scope, false);
            }
            Some((is_cancelled, text)) => {
                let _ = conclude(ctx, &mut series, Ok(()), scope, false);
                let state = if *is_cancelled { State::Cancelled } else { State::Failed };
                end(ctx, &series.progress, state, (!is_cancelled).then(|| text.clone()));
            }
        }
    }
}

/// How often a series is filled in one run, because files that were damaged had to be set aside.
const ROUNDS_MAX: u32 = 3;

/// What comes of a run that has fetched what was missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concluded {
    Ended,
    /// A file had to be set aside: what it held is missing now.
    Again,
}

/// Brings what a run has fetched into the files, and notes how it ended. `may_go_on`: whether what a damaged file held can still be
/// fetched in this run.
fn conclude(
    ctx: &HistoryContext,
    series: &mut Series<'_>,
    outcome: Result<(), HistoryJobError>,
    scope: Scope,
    may_go_on: bool,
) -> Concluded {
    let written = if ctx.publishes { series.publish() } else { series.sync() };
    let is_whole = scope == Scope::Everything && outcome.is_ok() && written.is_ok() && !ctx.turn_is_over();
    let is_lost = series.take_lost() && is_whole;
    if is_lost && may_go_on {
        return Concluded::Again;
    }
    let mut left = series.holes();
    // The newest candles may not be there yet; they come by themselves.
    left.retain(|hole| !series.ends_at(hole.1) || hole.0 + LATE_MAX < ctx.now());
    let count = series.shape.count(&left);
    if series.has_range() {
        series.progress.update(|p| p.candles_left = Some(count));
    }
    let open = series.open_holes();
    let is_left = match scope {
        Scope::Everything => !open.is_empty(),
        Scope::Tail => open.last().is_some_and(|hole| series.ends_at(hole.1)),
        Scope::Newest => false,
    };
    let is_turn_over = ctx.turn_is_over() && is_left;
    match outcome.and(written) {
        Ok(()) if is_turn_over => series.progress.update(|p| p.state = State::Waiting),
        Ok(()) if is_lost => {
            let text = "a damaged file was set aside; the next run fetches what it held".to_owned();
            end(ctx, &series.progress, State::Failed, Some(text));
        }
        outcome => finish(ctx, &series.progress, outcome),
    }
    Concluded::Ended
}

async fn build<'a>(
    ctx: &'a HistoryContext,
    market: &'a Market,
    work: &mut [(Series<'a>, Vec<Stretch>)],
) -> Result<(), HistoryJobError> {
    let exchange = ctx.source.adapter.name();
    let history = ctx.source.adapter.history().ok_or(HistoryJobError::NoHistory { exchange })?;
    let pages = history.trade_pages_of(&market.symbol).ok_or(HistoryJobError::NoHistory { exchange })?;
    let lanes = work.iter_mut().map(|(series, holes)| (series, holes.clone())).collect();
    fill_from_trades(ctx, market, pages, lanes).await
}

/// Notes how a series ended.
fn finish(ctx: &HistoryContext, progress: &Progress, outcome: Result<(), HistoryJobError>) {
    match outcome {
        Ok(()) => {
            let failed = progress.get().windows_failed > 0;
            end(ctx, progress, if failed { State::Failed } else { State::Done }, None);
        }
        Err(HistoryJobError::Cancelled(_)) => end(ctx, progress, State::Cancelled, None),
        Err(error) => end(ctx, progress, State::Failed, Some(chain(&error))),
    }
}

fn end(ctx: &HistoryContext, progress: &Progress, state: State, error: Option<String>) {
    let now = ctx.now();
    progress.update(|p| {
        p.state = state;
        p.started.get_or_insert(now);
        p.ended = Some(now);
        p.error = error.or_else(|| p.error.take());
    });
}

/// Fills what the exchange's own candles give; returns what only trades can.
async fn fill_from_candles(
    ctx: &HistoryContext,
    series: &mut Series<'_>,
    scope: Scope,
) -> Result<Vec<Stretch>, HistoryJobError> {
    let Some((start, until)) = series.range().await? else { return Ok(Vec::new()) };
    let mut holes = series.open_holes();
    if scope != Scope::Everything {
        holes.retain(|hole| hole.1 == until);
    }
    let shape = series.shape;
    if let (Scope::Newest, Some(hole)) = (scope, holes.last_mut()) {
        let candles = shape.pages.map_or(NEWEST_BUILT, |pages| i64::from(pages.per_page));
        hole.0 = hole.0.max(shape.grid.after(until, -candles));
    }
    let split = split(&shape, series.wanted.source, holes, ctx.source.closed_until(shape.grid));
    let (own, trades, windows) = (shape.count(&split.own), shape.count(&split.trades), shape.windows(&split.own));
    series.progress.update(|p| {
        // An earlier turn of the same job may have done some.
        p.candles_total = p.candles_done + own + trades;
        p.windows_total = (trades == 0).then(|| p.windows_done + windows);
        p.from = Some(start);
        p.notes.extend(split.note.filter(|note| !p.notes.contains(note)));
    });
    if let Some(pages) = shape.pages {
        let priority = if scope == Scope::Everything { Priority::Backfill } else { Priority::Collect };
        for hole in split.own {
            if ctx.turn_is_over() {
                break;
            }
            series.fill(hole, pages, priority).await?;
        }
    }
    Ok(split.trades)
}

/// Which holes are filled from what.
pub(crate) struct Split {
    /// From the exchange's own candles.
    pub(crate) own: Vec<Stretch>,
    /// From its trades.
    pub(crate) trades: Vec<Stretch>,
    /// What can't be had at all, in words.
    pub(crate) note: Option<String>,
}

/// Divides holes by where their candles come from. `until`: the end of what is closed.
pub(crate) fn split(shape: &Shape, source: CandleSource, holes: Vec<Stretch>, until: UnixNanos) -> Split {
    let Some(pages) = shape.pages.filter(|_| source != CandleSource::Trades) else {
        return Split { own: Vec::new(), trades: holes, note: None };
    };
    let Some(reachable) = reachable(shape, pages, until) else {
        return Split { own: holes, trades: Vec::new(), note: None };
    };
    let overlap = shape.grid.after(reachable, (OVERLAP_MAX / shape.grid.step()).min(OVERLAP));
    let mut split = Split { own: Vec::new(), trades: Vec::new(), note: None };
    for (from, to) in holes {
        if to > reachable {
            split.own.push((from.max(reachable), to));
        }
        if from < reachable {
            split.trades.push((from, if to > reachable { to.min(overlap) } else { to }));
        }
    }
    if source == CandleSource::Candles || shape.trades.is_none() {
        if let Some((from, _)) = split.trades.first() {
            split.note = Some(format!(
                "the exchange's own candles reach back to {reachable}; those from {from} on can only be built from trades \
                 (source: auto)"
            ));
        }
        split.trades.clear();
    }
    split
}

/// How far back the exchange's own candles can be had; `None`: all the way.
fn reachable(shape: &Shape, pages: CandlePages, until: UnixNanos) -> Option<UnixNanos> {
    pages.reach.map(|reach| shape.grid.after(until, -(i64::from(reach) - REACH_MARGIN).max(0)))
}

/// Compares candles that were built with those that the exchange has itself. `holes`: what was to be built.
async fn reconcile(ctx: &HistoryContext, series: &mut Series<'_>, holes: &[Stretch]) -> Result<(), HistoryJobError> {
    let Some(pages) = series.shape.pages else { return Ok(()) };
    let grid = series.shape.grid;
    let reachable = reachable(&series.shape, pages, ctx.source.closed_until(grid));
    series.sync()?;
    // An earlier turn of the same job may have compared some.
    let mut report = series.progress.update(|p| p.reconciled.take()).unwrap_or_default();
    // A turn that ended early has not built all of it.
    let built = series.holes().into_iter().fold(holes.to_vec(), without);
    for (from, to) in built {
        let mut from = reachable.map_or(from, |reachable| reachable.max(from));
        while from < to {
            let end = grid.after(from, i64::from(pages.per_page.max(1))).min(to);
            let page = PageOf { market: series.market, span: series.wanted.span, pages, from, to: end };
            let own = ctx.source.page(page, Priority::Backfill, &series.wanted.attempts, &ctx.cancel).await;
            let own = own.map_err(|error| series.failure("the exchange's own candles", error))?;
            compare(ctx, series, pages, &own, (from, end), &mut report)?;
            from = end;
        }
    }
    if report.compared > 0 {
        if report.differing > 0 {
            let (compared, differing) = (report.compared, report.differing);
            tracing::warn!(series = %series.name(), compared, differing, examples = ?report.examples, "candles built from trades differ from the exchange's own");
        }
        series.progress.update(|p| {
            let (compared, differing) = (report.compared, report.differing);
            p.notes.push(format!(
                "{compared} candles built from trades were compared with the exchange's own: {differing} differ"
            ));
            p.reconciled = Some(report);
        });
    }
    Ok(())
}

fn compare(
    ctx: &HistoryContext,
    series: &Series<'_>,
    pages: CandlePages,
    own: &crate::page::PageCheck,
    stretch: Stretch,
    report: &mut Reconciled,
) -> Result<(), HistoryJobError> {
    let mut rows = dccd_store::read_candles(&ctx.data_path, series.id(), stretch.0, stretch.1)?.peekable();
    for candle in own.candles() {
        loop {
            match rows.peek() {
                Some(Ok(row)) if row.ts < candle.ts_open => {
                    report.one_sided(row.ts, true);
                    rows.next();
                }
                Some(Ok(row)) if row.ts == candle.ts_open => {
                    report.compare(row, candle, pages.has_quote_volume, pages.has_trades);
                    rows.next();
                    break;
                }
                Some(Err(_)) => {
                    rows.next().transpose()?;
                }
                _ => {
                    report.one_sided(candle.ts_open, false);
                    break;
                }
            }
        }
    }
    for row in rows {
        report.one_sided(row?.ts, true);
    }
    Ok(())
}
