//! Proves that the files are what they should be: every row decodes and matches its checksum, order, unique ids, no hole that
//! isn't declared, books that hold together when they are applied row by row.
//!
//! Reads only, beside a running recorder too; memory doesn't grow with the rows. What is damaged can be moved to the quarantine
//! with [`VerifyReport::quarantine`]; nothing is ever deleted.

mod book;
mod candles;
mod trades;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dccd_model::time::{day_from_label, day_start};
use dccd_model::{Channel, Gap, UnixNanos};
use serde::{Serialize, Serializer};

use crate::catalog::{self, LiveSeries};
use crate::disk;
use crate::error::StoreError;
use crate::footer::KEY_CHECKSUM;
use crate::layout::{self, Layout};
use crate::read::{OpenFile, open_day};
use crate::recorder::declare_lost;
use crate::recorder::gaps::upsert;
use crate::rows::{BookRow, QuoteRow, Row, TradeRow};

/// Findings kept for one series; past that they are counted.
const FINDINGS_MAX: usize = 100;

/// What is wrong somewhere in a series.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file can't be decoded, or its rows aren't the ones that were written.
    #[error("damaged: {}", chain(.0))]
    Damaged(StoreError),
    /// Windows of candles that wait to be brought into year files.
    #[error("damaged: candles that waited for their year file are lost, and are asked for again")]
    Stage,
    /// A file that is not damaged, and not of a form that is taken over: dccd 2.x's for one.
    #[error("{}", chain(.0))]
    ForeignForm(StoreError),
    /// A piece of metadata is missing.
    #[error("metadata {0} is missing or unreadable")]
    Metadata(&'static str),
    /// The metadata name another series than the path does.
    #[error("it says that it belongs to {0}")]
    Misplaced(String),
    /// A row of another day.
    #[error("row {row} belongs to another day")]
    OtherDay {
        /// Counted from 0 in its file.
        row: u64,
    },
    /// A trade that is stored twice.
    #[error("row {row}: trade {id} is stored twice")]
    Duplicate {
        /// Counted from 0 in its file.
        row: u64,
        /// The trade's id.
        id: u128,
    },
    /// Ids that are missing and not declared.
    #[error("trades {first} to {last} are missing and not declared, after {after}")]
    Hole {
        /// First missing id.
        first: u64,
        /// Last missing id.
        last: u64,
        /// Time of the trade before.
        after: UnixNanos,
    },
    /// An epoch of a book that does not begin with a snapshot.
    #[error("row {row}: epoch {epoch} does not begin with a snapshot")]
    NoSnapshot {
        /// Counted from 0 in its file.
        row: u64,
        /// The epoch.
        epoch: u32,
    },
    /// Snapshot rows in the middle of an epoch.
    #[error("row {row}: a snapshot within epoch {epoch}")]
    LateSnapshot {
        /// Counted from 0 in its file.
        row: u64,
        /// The epoch.
        epoch: u32,
    },
    /// An epoch or an update id that goes back.
    #[error("row {row}: epoch or update id go back")]
    Backwards {
        /// Counted from 0 in its file.
        row: u64,
    },
    /// The best bid is not below the best ask after an event.
    #[error("row {row}: the book is crossed, bid {bid} at ask {ask}")]
    Crossed {
        /// The event's last row, counted from 0 in its file.
        row: u64,
        /// Best bid.
        bid: f64,
        /// Best ask.
        ask: f64,
    },
    /// A candle that is stored twice, or comes before the one it follows.
    #[error("the candle of {ts} is there twice or out of order")]
    CandleTwice {
        /// Its open time.
        ts: UnixNanos,
    },
    /// A candle of another year.
    #[error("the candle of {ts} belongs to another year")]
    OtherYear {
        /// Its open time.
        ts: UnixNanos,
    },
    /// A candle that doesn't open at a multiple of its span.
    #[error("no candle of this span opens at {ts}")]
    NoOpenTime {
        /// Its open time.
        ts: UnixNanos,
    },
    /// A candle whose high is below its prices, or low above them, or with a volume or number of trades that is none.
    #[error(
        "the candle of {ts} does not hold together: low, open, close, high and volumes contradict each other or are no numbers"
    )]
    BadCandle {
        /// Its open time.
        ts: UnixNanos,
    },
    /// Candles that are missing in a stretch that the exchange answered for, and are not declared.
    #[error("the candles of {from} to {to} are missing and not declared")]
    Undeclared {
        /// Open time of the first.
        from: UnixNanos,
        /// Open time of the last.
        to: UnixNanos,
    },
    /// Candles that were never got: there is a hole between those that are stored.
    #[error("the candles of {from} to {to} are neither stored nor declared: `dccd backfill` fetches them")]
    NotFetched {
        /// Open time of the first.
        from: UnixNanos,
        /// Open time of the last.
        to: UnixNanos,
    },
    /// A candle that is declared missing.
    #[error("the candle of {ts} is there and declared missing")]
    DeclaredButThere {
        /// Its open time.
        ts: UnixNanos,
    },
    /// Candles, or declared gaps, outside of what the exchange answered for.
    #[error(
        "the candles of {from} to {to} are there or declared, and the file doesn't say that the exchange was asked for them"
    )]
    NotCovered {
        /// Open time of the first.
        from: UnixNanos,
        /// Open time of the last.
        to: UnixNanos,
    },
}

fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    #[serde(serialize_with = "display")]
    pub problem: Problem,
}

fn display<S: Serializer>(problem: &Problem, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(problem)
}

/// What was found in a series.
#[derive(Debug, Serialize)]
pub struct SeriesReport {
    /// Its name: `binance/BTC/USDT/trades`.
    pub series: String,
    /// Files read, parts included.
    pub files: u64,
    /// Rows read.
    pub rows: u64,
    /// Declared gaps that are not repaired.
    pub gaps: u64,
    /// What is wrong; at most a hundred.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
    /// Damaged files, all of them.
    pub damaged: Vec<PathBuf>,
    /// `None` for candles.
    #[serde(skip)]
    live: Option<LiveSeries>,
    /// What the sound day files say; `None` when there are none.
    #[serde(skip)]
    contiguous_ids: Option<bool>,
}

/// What was found in a store.
#[derive(Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Every series that was looked at.
    pub series: Vec<SeriesReport>,
}

impl VerifyReport {
    /// Whether nothing is wrong but holes that nobody has filled yet.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut findings = self.series.iter().flat_map(|s| &s.findings);
        findings.all(|finding| matches!(finding.problem, Problem::NotFetched { .. }))
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.series.iter().all(|s| s.findings.is_empty())
    }

    /// Moves damaged files to `<data_path>/.dccd/quarantine`. In their place comes a day file with what is sound of the day, if
    /// anything, which declares the whole day as not recorded; a year of candles is a hole again, which the next backfill fills. Hold the [`crate::StoreLock`]: a running recorder does this by
    /// itself. Returns where the files went.
    ///
    /// # Errors
    /// When a day's file can't be written; those before it are done, and nothing of this day is changed.
    pub fn quarantine(&self, data_path: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let mut moved = Vec::new();
        for report in &self.series {
            let Some(LiveSeries { layout, symbol, channel, .. }) = &report.live else {
                for file in &report.damaged {
                    moved.push(disk::link_to_quarantine(data_path, file)?);
                    disk::remove(file)?;
                }
                continue;
            };
            let days: BTreeSet<i64> = report.damaged.iter().filter_map(|file| day_of(file)).collect();
            let layout = Layout::new(data_path, &layout.exchange);
            for day in days {
                moved.extend(declare_lost(&layout, symbol, *channel, day, report.contiguous_ids.unwrap_or(true))?);
            }
        }
        Ok(moved)
    }
}

/// The day of a day file or part, by its path.
fn day_of(file: &Path) -> Option<i64> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str().map(str::to_owned));
    let own = name(file).and_then(|name| layout::day_of(&name));
    own.or_else(|| file.parent().and_then(name).and_then(|label| day_from_label(&label)))
}

/// Reads candles, trades, quotes and books back: all, or the series whose name begins with `filter`.
///
/// # Errors
/// When directories or checkpoints can't be read. What is wrong with files is in the report.
pub fn verify(data_path: &Path, filter: Option<&str>) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    for series in catalog::live_series(data_path)? {
        let name = series.id().to_string();
        if filter.is_none_or(|filter| name.starts_with(filter)) {
            report.series.push(match series.channel {
                Channel::Trades => verify_series::<TradeRow, trades::Trades>(&series, name)?,
                Channel::Book => verify_series::<BookRow, book::Book>(&series, name)?,
                Channel::Quotes | Channel::Ohlc => verify_series::<QuoteRow, Plain>(&series, name)?,
            });
        }
    }
    for series in catalog::candle_series(data_path)? {
        let name = series.id.to_string();
        if filter.is_none_or(|filter| name.starts_with(filter)) {
            let mut found = SeriesReport::new(name, None);
            candles::verify(data_path, &series, &mut found)?;
            if found.files > 0 {
                report.series.push(found);
            }
        }
    }
    Ok(report)
}

impl SeriesReport {
    fn new(series: String, live: Option<LiveSeries>) -> Self {
        Self {
            series,
            files: 0,
            rows: 0,
            gaps: 0,
            findings: Vec::new(),
            more_findings: 0,
            damaged: Vec::new(),
            live,
            contiguous_ids: None,
        }
    }
}

/// What holds for the rows of a channel beyond order and checksum.
trait Rule<R: Row>: Default {
    /// Looks at the next row of the series.
    fn row(&mut self, row: &R, number: u64, findings: &mut Findings<'_>);

    /// A file of rows ends.
    fn end_of_file(&mut self, _findings: &mut Findings<'_>) {}

    /// A day begins whose file says whether ids are contiguous; `gaps` are all that are declared.
    fn day(&mut self, _day: i64, _contiguous_ids: bool, _gaps: &[Gap]) {}

    /// The series ends.
    fn end(&mut self, _gaps: &[Gap], _findings: &mut Findings<'_>) {}
}

/// Quotes: nothing more.
#[derive(Default)]
struct Plain;

impl Rule<QuoteRow> for Plain {
    fn row(&mut self, _: &QuoteRow, _: u64, _: &mut Findings<'_>) {}
}

/// Where rules report to.
struct Findings<'a> {
    file: &'a Path,
    report: &'a mut SeriesReport,
}

impl Findings<'_> {
    fn add(&mut self, problem: Problem) {
        if let Problem::Damaged(_) = problem {
            self.report.damaged.push(self.file.to_owned());
        }
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { file: self.file.to_owned(), problem });
        } else {
            self.report.more_findings += 1;
        }
    }
}

fn verify_series<R: Row, T: Rule<R>>(series: &LiveSeries, name: String) -> Result<SeriesReport, StoreError> {
    let mut report = SeriesReport::new(name, Some(series.clone()));
    let mut gaps = series.open_gaps()?;
    for day in &series.days {
        // Damaged footers are found again when the rows are read.
        for (_, info) in series.footers(*day).unwrap_or_default().files {
            info.gaps.iter().for_each(|gap| upsert(&mut gaps, gap));
        }
    }
    let mut rule = T::default();
    for day in &series.days {
        let (files, damaged) = open_day::<R>(series, *day)?;
        for (file, error) in damaged {
            Findings { file: &file, report: &mut report }.add(Problem::Damaged(error));
        }
        rule.day(*day, files.first().is_none_or(|f| f.info.contiguous_ids), &gaps);
        if let Some(file) = files.iter().find(|file| !file.is_part) {
            report.contiguous_ids = Some(file.info.contiguous_ids);
        }
        for file in files {
            let mut findings = Findings { file: &file.path, report: &mut report };
            findings.report.files += 1;
            check_facts(series, &file, &mut findings);
            for (number, row) in (0..).zip(file.rows) {
                match row {
                    Ok(row) => {
                        findings.report.rows += 1;
                        if row.ts().day() != *day {
                            findings.add(Problem::OtherDay { row: number });
                        }
                        rule.row(&row, number, &mut findings);
                    }
                    Err(error) => findings.add(Problem::Damaged(error)),
                }
            }
            rule.end_of_file(&mut findings);
        }
    }
    let last = series.days.last().map(|day| series.day_file(*day)).unwrap_or_default();
    rule.end(&gaps, &mut Findings { file: &last, report: &mut report });
    report.gaps = gaps.iter().filter(|gap| !gap.repaired).count() as u64;
    Ok(report)
}

fn check_facts<R: Row>(series: &LiveSeries, file: &OpenFile<R>, findings: &mut Findings<'_>) {
    if file.is_part {
        if file.info.checksum.is_none() {
            findings.add(Problem::Metadata(KEY_CHECKSUM));
        }
        return;
    }
    for key in &file.info.missing {
        findings.add(Problem::Metadata(key));
    }
    let exchange = file.info.exchange.as_deref().unwrap_or(series.layout.exchange.as_str());
    let symbol = file.info.symbol.as_deref().unwrap_or(series.symbol.as_str());
    if exchange != series.layout.exchange.as_str() || symbol != series.symbol.as_str() {
        findings.add(Problem::Misplaced(format!("{exchange}/{symbol}")));
    }
}

/// Whether a gap of unknown ids, still open, lies across this time.
fn covers(gaps: &[Gap], from: UnixNanos, to: UnixNanos) -> bool {
    gaps.iter().any(|gap| !gap.repaired && gap.ids.is_none() && gap.from <= to && gap.to >= from)
}

/// Whether an open gap reaches into the day before `day`.
fn gap_before(gaps: &[Gap], day: i64) -> bool {
    covers(gaps, day_start(day - 1), UnixNanos(day_start(day).0 - 1))
}

#[cfg(test)]
mod tests;
