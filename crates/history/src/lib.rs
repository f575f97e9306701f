//! The past of a market, made whole: what is missing is found, fetched, proven and stored, and goes on where it was interrupted.
//!
//! - [`plan()`], [`run`]: the holes of series, filled page by page under the exchange's rate governor.
//! - [`PageCheck`], [`Source`]: what an exchange answers is believed when it is consistent, and what it lacks when it says so twice.
//! - [`CandleBuilder`]: candles from trades where the exchange's own don't reach back; [`Reconciled`]: the two held against each other.
//! - [`Backfills`], [`RunLog`]: jobs with an id, the history of runs, `metrics.json`.
//! - [`next_run`], [`delay`]: when a series is due.
//! - [`RestClients`]: the ways to an exchange's REST addresses, each on the account of requests that every process of the host draws on.
//!
//! Knows no exchange (they come through [`dccd_exchange::History`]), no file format (the store's), no process.

mod backfills;
mod build;
mod cancel;
mod error;
mod fetch;
mod job;
mod limits;
mod listing;
mod markets;
mod page;
mod pass;
mod plan;
mod progress;
mod reconcile;
mod rest;
mod runs;
mod schedule;
mod series;
mod waiting;

pub use backfills::{Backfill, Backfills, Owner, outcome, read_backfills};
pub use build::CandleBuilder;
pub use cancel::{Cancel, Cancelled};
pub use error::{HistoryJobError, chain};
pub use fetch::{AnswerError, Attempts, FetchError, PageOf, Source};
pub use job::{HistoryContext, Scope, run};
pub use markets::{KeptMarkets, keep_markets, kept_markets, markets, markets_path, renew_after};
pub use page::{PageCheck, PageProblem, Verdict};
pub use plan::{Plan, plan};
pub use progress::{Progress, SeriesProgress, State};
pub use reconcile::{Difference, Reconciled};
pub use rest::{RestAddresses, RestClients};
pub use runs::{JobMetrics, Metrics, RunLog, RunRecord, metrics_path, read_metrics};
pub use schedule::{delay, next_run};
pub use series::{CandleSource, Stretch, Wanted, check_offered, is_meant};
pub use waiting::waits_for;
