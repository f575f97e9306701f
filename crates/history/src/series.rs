//! One series while it is made whole: its holes, page after page of the exchange's own candles, each landed as it comes.

use std::time::Duration;

use dccd_exchange::{Adapter, CandlePages, Market, TradePages};
use dccd_model::{ExchangeName, Gap, GapReason, Grid, Span, Symbol, UnixNanos};
use dccd_net::Priority;
use dccd_store::{CandleRow, CandleSeriesId, CandleWriter, Empties, Landing};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::time::Instant;

use crate::error::{HistoryJobError, chain};
use crate::fetch::{Attempts, FetchError, PageOf};
use crate::job::HistoryContext;
use crate::page::PageCheck;
use crate::progress::{Progress, State};

/// Pages asked for at once: the next ones are under way while one is read.
const PAGES_AHEAD: usize = 4;
/// Failed pages in a row at which a series is given up until the next run.
const FAILURES_MAX: u32 = 5;
/// Failed stretches that a job remembers, so as not to ask for them again; past that it is given up.
const FAILED_KEPT: usize = 1_000;
/// How long rows wait at most before readers of the files see them, while a job goes on.
const PUBLISH_EVERY: Duration = Duration::from_secs(30);

/// Where candles come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CandleSource {
    /// The exchange's own where they reach, trades before.
    #[default]
    Auto,
    /// The exchange's own alone.
    Candles,
    /// Trades alone.
    Trades,
}

/// One series that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The market.
    pub symbol: Symbol,
    /// The candles' length.
    pub span: Span,
    /// The first moment wanted; `None`: the market's listing.
    pub start: Option<UnixNanos>,
    /// The end of what is wanted; `None`: now.
    pub end: Option<UnixNanos>,
    /// Where they come from.
    pub source: CandleSource,
    /// Attempts for a page.
    pub attempts: Attempts,
}

impl Wanted {
    /// The series' name.
    #[must_use]
    pub fn name(&self, exchange: &ExchangeName) -> String {
        format!("{exchange}/{}/{}", self.symbol, self.span)
    }
}

/// Whether a series is meant by a name or the beginning of one: whole words, so that `binance/BTC/USD` doesn't mean
/// `binance/BTC/USDT`.
#[must_use]
pub fn is_meant(name: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
}

/// A stretch of a series: `[from, to)`.
pub type Stretch = (UnixNanos, UnixNanos);

/// What a series can be made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) grid: Grid,
    /// The exchange's own candles.
    pub(crate) pages: Option<CandlePages>,
    /// Its trades.
    pub(crate) trades: Option<TradePages>,
}

impl Shape {
    /// That of a series; an error where it can't be had at all.
    pub(crate) fn of(adapter: &dyn Adapter, wanted: &Wanted) -> Result<Self, HistoryJobError> {
        let exchange = adapter.name();
        let history = adapter.history().ok_or(HistoryJobError::NoHistory { exchange })?;
        let (pages, trades) = (history.candle_pages(wanted.span), history.trade_pages_of(&wanted.symbol));
        let is_possible = match wanted.source {
            CandleSource::Auto => pages.is_some() || trades.is_some(),
            CandleSource::Candles => pages.is_some(),
            CandleSource::Trades => trades.is_some(),
        };
        if is_possible {
            return Ok(Self { grid: Grid::new(wanted.span), pages, trades });
        }
        let spans = history.spans().iter().filter_map(|s| Span::from_secs(*s)).map(|s| s.to_string());
        Err(HistoryJobError::SpanNotOffered {
            exchange,
            symbol: wanted.symbol.clone(),
            span: wanted.span,
            offered: spans.collect::<Vec<_>>().join(", "),
        })
    }

    /// When the market's candles begin; `None` when it has none.
    pub(crate) async fn listing(
        &self,
        ctx: &HistoryContext,
        market: &Market,
        wanted: &Wanted,
    ) -> Result<Option<UnixNanos>, FetchError> {
        let (source, cancel, attempts) = (&ctx.source, &ctx.cancel, &wanted.attempts);
        let first = match self.pages.filter(|pages| pages.begins_at_listing) {
            Some(pages) => source.first_candle(market, wanted.span, pages, attempts, cancel).await?,
            None if self.trades.is_none() => source.first_candle_back(market, wanted.span, attempts, cancel).await?,
            None => source.first_trade(market, attempts, cancel).await?,
        };
        Ok(first.map(|first| self.grid.floor(first)))
    }

    /// What is wanted of a market that was listed then: closed candles alone.
    pub(crate) fn range(&self, ctx: &HistoryContext, wanted: &Wanted, listed: UnixNanos) -> Stretch {
        let start = wanted.start.map_or(listed, |start| self.grid.ceil(start)).max(listed);
        let closed = ctx.source.closed_until(self.grid);
        let until = wanted.end.map_or(closed, |end| self.grid.ceil(end).min(closed));
        (start, until.max(start))
    }

    /// How many candles these are.
    pub(crate) fn count(&self, stretches: &[Stretch]) -> u64 {
        stretches.iter().map(|stretch| self.grid.count(stretch.0, stretch.1)).sum()
    }

    /// Pages of the exchange's own candles that these take.
    pub(crate) fn windows(&self, stretches: &[Stretch]) -> u64 {
        let per_page = u64::from(self.pages.map_or(1, |pages| pages.per_page).max(1));
        stretches.iter().map(|stretch| self.grid.count(stretch.0, stretch.1).div_ceil(per_page)).sum()
    }
}

/// A series at work.
pub(crate) struct Series<'a> {
    pub(crate) ctx: &'a HistoryContext,
    pub(crate) wanted: &'a Wanted,
    pub(crate) market: &'a Market,
    pub(crate) shape: Shape,
    pub(crate) progress: Progress,
    /// What is wanted of it: known once its beginning is.
    range: Option<Stretch>,
    writer: CandleWriter,
    rows: Vec<CandleRow>,
    published: Instant,
    has_lost: bool,
}

impl<'a> Series<'a> {
    /// Opens the series' part of the store; fails when another process writes to it.
    pub(crate) fn open(
        ctx: &'a HistoryContext,
        wanted: &'a Wanted,
        market: &'a Market,
        progress: Progress,
    ) -> Result<Self, HistoryJobError> {
        let shape = Shape::of(ctx.source.adapter.as_ref(), wanted)?;
        let id = CandleSeriesId { exchange: ctx.exchange.clone(), symbol: wanted.symbol.clone(), span: wanted.span };
        let empties = if shape.pages.is_none_or(|pages| pages.sends_empty) { Empties::Sent } else { Empties::Omitted };
        let writer = CandleWriter::open(&ctx.data_path, &id, empties)?;
        progress.update(|p| {
            p.state = State::Running;
            p.started.get_or_insert(ctx.now());
        });
        let (rows, published) = (Vec::new(), Instant::now());
        Ok(Self { ctx, wanted, market, shape, progress, range: None, writer, rows, published, has_lost: false })
    }

    /// What is wanted of the series: not before the market was listed, and closed candles alone. `None`: the market has no history.
    pub(crate) async fn range(&mut self) -> Result<Option<Stretch>, HistoryJobError> {
        let listed = match self.writer.coverage().listed {
            Some(listed) => Some(listed),
            None => {
                self.progress.update(|p| p.preparing = Some("looking for the market's first candle"));
                let found = self.shape.listing(self.ctx, self.market, self.wanted).await;
                self.progress.update(|p| p.preparing = None);
                let found = found.map_err(|source| self.failure("the beginning", source))?;
                match found {
                    Some(listed) => self.writer.note_listing(listed)?,
                    None => {
                        let note = "the exchange says that it has nothing of this market yet; the next run asks again";
                        tracing::warn!(series = %self.name(), note);
                        self.progress.update(|p| p.notes.push(note.to_owned()));
                    }
                }
                found
            }
        };
        self.range = listed.map(|listed| self.shape.range(self.ctx, self.wanted, listed));
        Ok(self.range)
    }

    pub(crate) fn failure(&self, what: &'static str, source: FetchError) -> HistoryJobError {
        match source {
            FetchError::Cancelled(cancelled) => cancelled.into(),
            source => HistoryJobError::Fetch { what, symbol: self.wanted.symbol.clone(), source: Box::new(source) },
        }
    }

    /// Whether it is known what is wanted.
    pub(crate) const fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// Whether what is wanted ends here.
    pub(crate) fn ends_at(&self, end: UnixNanos) -> bool {
        self.range.is_some_and(|(_, until)| until == end)
    }

    /// What of the range is neither stored nor known to be missing, ascending.
    pub(crate) fn holes(&self) -> Vec<Stretch> {
        self.range.map_or_else(Vec::new, |(from, to)| self.writer.coverage().holes(from, to))
    }

    /// The same without what this job has failed to get.
    pub(crate) fn open_holes(&self) -> Vec<Stretch> {
        let failed = self.progress.update(|p| p.failed.clone());
        failed.iter().fold(self.holes(), |holes, failed| without(holes, *failed))
    }

    /// The close of the stored candle before this opening.
    pub(crate) fn close_before(&self, open: UnixNanos) -> Result<Option<f64>, HistoryJobError> {
        let before = self.shape.grid.after(open, -1);
        let id = self.writer.id();
        let mut rows = dccd_store::read_candles(&self.ctx.data_path, id, before, open)?;
        Ok(rows.next().transpose()?.map(|row| row.close))
    }

    /// Fetches the exchange's own candles of a hole. Pages that can't be had are noted and passed over; a few in a row end it.
    pub(crate) async fn fill(
        &mut self,
        hole: Stretch,
        pages: CandlePages,
        priority: Priority,
    ) -> Result<(), HistoryJobError> {
        let (ctx, market, span) = (self.ctx, self.market, self.wanted.span);
        let per_page = i64::from(pages.per_page.max(1));
        let mut next = hole.0;
        let mut under_way = FuturesOrdered::new();
        let mut failed_in_a_row = 0;
        loop {
            while under_way.len() < PAGES_AHEAD && next < hole.1 && !ctx.turn_is_over() {
                let (from, to) = (next, self.shape.grid.after(next, per_page).min(hole.1));
                let attempts = self.wanted.attempts;
                under_way.push_back(async move {
                    let page = PageOf { market, span, pages, from, to };
                    (from, to, ctx.source.page(page, priority, &attempts, &ctx.cancel).await)
                });
                next = to;
            }
            let Some((from, to, outcome)) = under_way.next().await else { return Ok(()) };
            match outcome {
                Ok(page) => {
                    failed_in_a_row = 0;
                    self.land_page(from, &page, pages)?;
                    if page.to() < to {
                        // The rest isn't closed yet, by the exchange's clock.
                        return Ok(());
                    }
                }
                Err(FetchError::Cancelled(cancelled)) => return Err(cancelled.into()),
                Err(source @ (FetchError::Refused(_) | FetchError::Frozen { .. })) => {
                    return Err(self.failure("a page", source));
                }
                Err(source) => {
                    failed_in_a_row += 1;
                    let error = chain(&source);
                    tracing::warn!(series = %self.name(), %from, %to, error, "a window could not be fetched; the next run tries again");
                    let remembered = self.progress.update(|p| {
                        p.windows_failed += 1;
                        p.error = Some(format!("{from} to {to}: {error}"));
                        p.failed.push((from, to));
                        p.failed.len()
                    });
                    if failed_in_a_row >= FAILURES_MAX || remembered >= FAILED_KEPT {
                        let symbol = self.wanted.symbol.clone();
                        return Err(HistoryJobError::GaveUp { symbol, failed: failed_in_a_row, source: Box::new(source) });
                    }
                }
            }
        }
    }

    fn land_page(&mut self, from: UnixNanos, page: &PageCheck, pages: CandlePages) -> Result<(), HistoryJobError> {
        self.rows.clear();
        self.rows.extend(page.candles().map(|c| CandleRow::new(c, pages.has_quote_volume, pages.has_trades)));
        let gaps = if pages.sends_empty { no_data(page.missing()) } else { Vec::new() };
        let rows = std::mem::take(&mut self.rows);
        let landed = self.land((from, page.to()), &rows, &gaps);
        self.rows = rows;
        landed?;
        self.progress.update(|p| p.windows_done += 1);
        Ok(())
    }

    /// Stores what is known of a stretch; it survives whatever happens next.
    pub(crate) fn land(&mut self, stretch: Stretch, rows: &[CandleRow], gaps: &[Gap]) -> Result<(), HistoryJobError> {
        if stretch.0 >= stretch.1 {
            return Ok(());
        }
        self.writer.land(&Landing { from: stretch.0, to: stretch.1, rows, gaps })?;
        self.progress.update(|p| {
            p.rows += rows.len() as u64;
            p.candles_done += self.shape.grid.count(stretch.0, stretch.1);
            p.at = Some(stretch.1);
        });
        if self.published.elapsed() >= PUBLISH_EVERY {
            self.publish()?;
        }
        Ok(())
    }

    /// Whether files were set aside since this was asked last, whose candles have to be fetched again.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.has_lost)
    }

    /// Brings what was landed into the files.
    pub(crate) fn publish(&mut self) -> Result<(), HistoryJobError> {
        let published = self.writer.publish()?;
        self.published = Instant::now();
        if !published.quarantined.is_empty() {
            let files: Vec<_> = published.quarantined.iter().map(|path| path.display().to_string()).collect();
            let note = format!("files that did not verify were set aside: {}", files.join(", "));
            tracing::error!(series = %self.name(), note, "damaged candle files; what they held is fetched again");
            self.progress.update(|p| p.notes.push(note));
        }
        self.has_lost |= !published.lost.is_empty();
        Ok(())
    }

    /// Makes what was landed safe from a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), HistoryJobError> {
        Ok(self.writer.sync()?)
    }

    pub(crate) fn id(&self) -> &CandleSeriesId {
        self.writer.id()
    }

    pub(crate) fn name(&self) -> String {
        self.wanted.name(&self.ctx.exchange)
    }
}

/// Whether an exchange gives such a series at all, as far as that can be told without asking it.
///
/// # Errors
/// [`HistoryJobError::SpanNotOffered`], [`HistoryJobError::NoHistory`].
pub fn check_offered(adapter: &dyn Adapter, wanted: &Wanted) -> Result<(), HistoryJobError> {
    Shape::of(adapter, wanted).map(drop)
}

/// Stretches without what lies in another one.
pub(crate) fn without(stretches: Vec<Stretch>, other: Stretch) -> Vec<Stretch> {
    let parts = stretches.into_iter().flat_map(|(from, to)| [(from, to.min(other.0)), (from.max(other.1), to)]);
    parts.filter(|(from, to)| from < to).collect()
}

/// What the exchange says it doesn't have.
fn no_data(missing: Vec<Stretch>) -> Vec<Gap> {
    let gap = |(from, to)| Gap { from, to, reason: GapReason::NoData, repaired: false, ids: None };
    missing.into_iter().map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_taken_out_wherever_it_lies() {
        let n = UnixNanos;
        let all = vec![(n(0), n(10)), (n(20), n(30))];
        assert_eq!(without(all.clone(), (n(12), n(15))), all);
        assert_eq!(without(all.clone(), (n(5), n(25))), [(n(0), n(5)), (n(25), n(30))]);
        assert_eq!(without(all.clone(), (n(2), n(4))), [(n(0), n(2)), (n(4), n(10)), (n(20), n(30))]);
        assert_eq!(without(all, (n(0), n(30))), []);
    }

    #[test]
    fn a_beginning_of_a_name_means_whole_words() {
        for (prefix, meant) in [
            ("", true),
            ("binance", true),
            ("binance/BTC", true),
            ("binance/BTC/USDT", true),
            ("binance/BTC/USDT/", true),
            ("binance/BTC/USDT/1h", true),
            ("binance/BTC/USD", false),
            ("bin", false),
            ("kraken", false),
        ] {
            assert_eq!(is_meant("binance/BTC/USDT/1h", prefix), meant, "{prefix}");
        }
    }
}
