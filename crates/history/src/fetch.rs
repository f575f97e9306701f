//! Getting one answer, and one page of candles that can be believed: attempts, pauses, the exchange's wishes.
//!
//! Attempts count against the page (`max_retries`, pauses of `retry_delay * 2^(k-1)`); being told to wait doesn't: then the
//! page waits, up to [`Attempts::patience`].

use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, CandlePages, History, HistoryError, Market, RestRequest};
use dccd_model::{Candle, Grid, Span, UnixNanos};
use dccd_net::{Clock, HttpError, HttpResponse, Priority, Retry};

use crate::cancel::{Cancel, Cancelled};
use crate::page::{PageCheck, PageProblem, Verdict};
use crate::rest::RestClients;

/// Answers taken for one page at most: what keeps coming back different is not believed.
const ANSWERS_MAX: u32 = 8;
/// After a candle's end the exchange gets this long to settle it.
const SETTLE: Duration = Duration::from_secs(1);
/// A candle that is missing at the end of what the exchange has is believed to be missing when it closed so long ago.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(3_600);
/// A candle after which no other one is there yet is believed to be finished when it closed so long ago.
const UNFINISHED_MAX: Duration = Duration::from_secs(300);
/// The shortest pause before something is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// How often and how long one request is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempts {
    /// Attempts for one page, at least 1.
    pub max: u32,
    /// Pause after the first failed attempt; it doubles with each further one.
    pub delay: Duration,
    /// How long the exchange's own "wait" is respected before the page is given up.
    pub patience: Duration,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { max: 3, delay: Duration::from_secs(2), patience: Duration::from_secs(900) }
    }
}

impl Attempts {
    /// The pause after the `k`-th failed attempt, counted from 1.
    fn pause(&self, k: u32) -> Duration {
        self.delay.saturating_mul(1 << k.saturating_sub(1).min(16)).max(PAUSE_MIN)
    }
}

/// What was wrong with one answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// None came, or not with success.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It is no page.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It is a page that contradicts itself.
    #[error(transparent)]
    Page(#[from] PageProblem),
    /// Trades are missing in it that the exchange numbered.
    #[error("trades {first} to {last} are missing in the exchange's answer")]
    Hole {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A trade of another time than those around it, or of one that is to come.
    #[error("trade {id} is of {at} in the exchange's answer, which is not the time of the trades around it")]
    Misplaced {
        /// Which.
        id: u64,
        /// When, as the answer says.
        at: UnixNanos,
    },
    /// The exchange answered again and again, each time with other candles.
    #[error("{answers} answers contradict each other")]
    Unsettled {
        /// How many.
        answers: u32,
    },
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The work was told to end.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The exchange won't answer this, however often it is asked.
    #[error("the exchange refuses")]
    Refused(#[source] AnswerError),
    /// Every attempt failed; another run tries again.
    #[error("given up after {attempts} attempts")]
    GaveUp {
        /// How many.
        attempts: u32,
        /// What was wrong with the last.
        #[source]
        last: AnswerError,
    },
    /// The exchange wants to be left alone for longer than a job waits.
    #[error("the exchange wants no requests for another {wait:.0?}")]
    Frozen {
        /// For how long.
        wait: Duration,
        /// What it answered.
        #[source]
        last: AnswerError,
    },
}

/// What all requests of a job to one exchange have in common.
#[derive(Clone)]
pub struct Source {
    /// The exchange.
    pub adapter: Arc<dyn Adapter>,
    /// The clients; they carry the governors.
    pub rest: RestClients,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// What comes of a failed attempt.
enum Next {
    /// Again, after this pause.
    Again(Duration),
    /// Again when the exchange allows; not the page's fault.
    Wait(Duration),
    /// Never.
    Never,
}

impl Source {
    /// The exchange's past; a job is only made where there is one.
    ///
    /// # Errors
    /// [`HistoryError::Refused`] where the adapter has none.
    pub fn history(&self) -> Result<&dyn History, HistoryError> {
        self.adapter.history().ok_or_else(|| HistoryError::Refused {
            exchange: self.adapter.name(),
            message: "this version can't fetch its history".to_owned(),
        })
    }

    /// Asks until `read` believes an answer.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn ask<T>(
        &self,
        request: &RestRequest,
        priority: Priority,
        attempts: &Attempts,
        cancel: &Cancel,
        mut read: impl FnMut(&HttpResponse) -> Result<T, AnswerError>,
    ) -> Result<T, FetchError> {
        let mut failed = 0;
        let mut waited = Duration::ZERO;
        loop {
            let answer = cancel.or(self.rest.get(request, priority)).await?;
            let error = match answer.map_err(AnswerError::from).and_then(|response| read(&response)) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match self.next(request, &error) {
                Next::Never => return Err(FetchError::Refused(error)),
                Next::Wait(wait) => {
                    waited += wait.max(PAUSE_MIN);
                    if waited > attempts.patience {
                        return Err(FetchError::Frozen { wait, last: error });
                    }
                    tracing::debug!(request = request.subject, ?wait, error = %error, "the exchange asks to wait");
                    cancel.sleep(wait.max(PAUSE_MIN)).await?;
                }
                Next::Again(at_least) => {
                    failed += 1;
                    tracing::debug!(request = request.subject, attempt = failed, error = %error, "an attempt failed");
                    if failed >= attempts.max {
                        return Err(FetchError::GaveUp { attempts: failed, last: error });
                    }
                    cancel.sleep(attempts.pause(failed).max(at_least)).await?;
                }
            }
        }
    }

    fn next(&self, request: &RestRequest, error: &AnswerError) -> Next {
        match error {
            AnswerError::Http(HttpError::Turn { source, .. }) => match source.retry() {
                Retry::After(wait) => Next::Wait(wait),
                Retry::Now => Next::Again(Duration::ZERO),
                Retry::No => Next::Never,
            },
            AnswerError::Http(HttpError::Status { frozen: Some(wait), .. }) => Next::Wait(*wait),
            AnswerError::Http(error) => match error.retry() {
                Retry::No => Next::Never,
                Retry::Now | Retry::After(_) => Next::Again(Duration::ZERO),
            },
            AnswerError::History(HistoryError::RateLimited { wait, .. }) => {
                // What came with status 200 the client took for a good answer; here is what it meant.
                self.rest.governor(request.product).freeze(200, *wait);
                Next::Wait(*wait)
            }
            AnswerError::History(error) if !error.is_worth_retrying() => Next::Never,
            _ => Next::Again(Duration::ZERO),
        }
    }

    /// What the time is by the earlier of both clocks, ours and the server's.
    fn now(&self, response: Option<&HttpResponse>) -> UnixNanos {
        let here = self.clock.now_ns();
        UnixNanos(response.and_then(HttpResponse::server_time).map_or(here, |there| there.min(here)))
    }

    /// The end of what is closed and settled by our clock.
    #[must_use]
    pub fn closed_until(&self, grid: Grid) -> UnixNanos {
        grid.closed_until(self.now(None) - SETTLE)
    }

    /// Up to when the past is settled, by the earlier of both clocks: ours and that of the server that answered.
    #[must_use]
    pub fn settled_at(&self, response: &HttpResponse) -> UnixNanos {
        self.now(Some(response)) - SETTLE
    }
}

/// Which page of candles.
#[derive(Clone, Copy, Debug)]
pub struct PageOf<'a> {
    /// The market.
    pub market: &'a Market,
    /// The span.
    pub span: Span,
    /// How the exchange gives them.
    pub pages: CandlePages,
    /// The first opening.
    pub from: UnixNanos,
    /// The opening after the last.
    pub to: UnixNanos,
}

impl Source {
    /// Fetches a page of candles and asks again until what it has and what it lacks can be believed. What turns out not to be
    /// closed yet is cut off: see [`PageCheck::to`].
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn page(
        &self,
        page: PageOf<'_>,
        priority: Priority,
        attempts: &Attempts,
        cancel: &Cancel,
    ) -> Result<PageCheck, FetchError> {
        let history = self.history().map_err(|e| FetchError::Refused(e.into()))?;
        let grid = Grid::new(page.span);
        let mut check = PageCheck::new(grid, page.from, page.to, &page.pages);
        let mut asked_to = page.to;
        // Where the page is full, the oldest candle would have to go: the next page asks for the last one again.
        if page.to + UNFINISHED_MAX > self.now(None) && grid.count(page.from, page.to) < u64::from(page.pages.per_page) {
            check = check.with_next();
            asked_to = grid.after(page.to, 1);
        }
        let limit = u32::try_from(grid.count(page.from, asked_to)).unwrap_or(u32::MAX).min(page.pages.per_page);
        let request = history.candles_request(page.market, page.span, page.from, asked_to, limit);
        let mut candles: Vec<Candle> = Vec::with_capacity(limit as usize + 1);
        let mut settled_at = UnixNanos(0);
        for _ in 0..ANSWERS_MAX {
            let verdict = self
                .ask(&request, priority, attempts, cancel, |response| {
                    candles.clear();
                    settled_at = self.settled_at(response);
                    let ts_recv = UnixNanos(response.ts_recv);
                    history.parse_candles_of(page.market, &response.body, page.span, ts_recv, &mut candles)?;
                    check.end_at(grid.closed_until(settled_at));
                    Ok(check.answer(&candles)?)
                })
                .await?;
            if verdict == Verdict::Settled {
                check.leave_open(settled_at - LATE_MAX, settled_at - UNFINISHED_MAX);
                return Ok(check);
            }
        }
        Err(FetchError::GaveUp { attempts: ANSWERS_MAX, last: AnswerError::Unsettled { answers: ANSWERS_MAX } })
    }
}
