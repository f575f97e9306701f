//! Candles: order, open times, prices that hold together, and that what is covered is there or declared.

use std::path::Path;

use dccd_model::{Grid, UnixNanos};

use super::{Findings, Problem, SeriesReport};
use crate::candles::{
    Empties, StageView, add_rows, candle_coverage, check_form, no_data, stage_path, year_files, year_of_file,
};
use crate::catalog::CandleSeries;
use crate::error::StoreError;
use crate::file::Rows;
use crate::footer::{FileInfo, KEY_CHECKSUM, KEY_COVERED};
use crate::ranges::Ranges;
use crate::rows::CandleRow;

/// Findings of one kind named in a file; what is wrong with each of half a million rows is said once.
const SAME_MAX: u64 = 5;

/// Reads a series' year files back.
pub(super) fn verify(data_path: &Path, series: &CandleSeries, report: &mut SeriesReport) -> Result<(), StoreError> {
    let grid = Grid::new(series.id.span);
    match StageView::open(data_path, &series.id) {
        Ok(stage) => {
            let is_damaged = stage.as_ref().is_some_and(|stage| stage.is_damaged);
            let windows = stage.map(|stage| stage.windows).unwrap_or_default();
            report.files += u64::from(!windows.is_empty());
            report.rows += windows.iter().map(|window| u64::from(window.rows)).sum::<u64>();
            if is_damaged {
                Findings { file: &stage_path(data_path, &series.id), report }.add(Problem::Stage);
            }
        }
        // It goes to the quarantine when a writer opens the series.
        Err(error) if error.is_damage() => {
            Findings { file: &stage_path(data_path, &series.id), report }.add(Problem::Stage);
        }
        Err(error) => return Err(error),
    }
    // Listed after the stage was opened: what a writer moves meanwhile is then seen twice, not never.
    for path in &year_files(data_path, &series.id)? {
        report.files += 1;
        let mut findings = Findings { file: path, report };
        match verify_year(series, path, grid, &mut findings) {
            Err(error) if error.is_foreign_form() => findings.add(Problem::ForeignForm(error)),
            Err(error) if error.is_damage() => findings.add(Problem::Damaged(error)),
            other => other?,
        }
    }
    if report.damaged.is_empty() {
        find_holes(data_path, series, report)?;
    }
    Ok(())
}

/// Stretches between the first and the last candle that nobody has asked for, or got.
fn find_holes(data_path: &Path, series: &CandleSeries, report: &mut SeriesReport) -> Result<(), StoreError> {
    let coverage = match candle_coverage(data_path, &series.id) {
        Ok(coverage) => coverage,
        // It was found when its file was read.
        Err(error) if error.is_damage() || error.is_foreign_form() => return Ok(()),
        Err(error) => return Err(error),
    };
    let (Some(first), Some(last)) = (coverage.first, coverage.last) else { return Ok(()) };
    let step = Grid::new(series.id.span).step();
    let file = series.files.last().cloned().unwrap_or_default();
    for (from, to) in coverage.holes(first, last) {
        report.gaps += 1;
        let to = UnixNanos(to.0 - step);
        Findings { file: &file, report }.add(Problem::NotFetched { from, to });
    }
    Ok(())
}

fn verify_year(series: &CandleSeries, path: &Path, grid: Grid, findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let (mut rows, info) = Rows::<CandleRow>::open_with_info(path)?;
    check_form(path, &info)?;
    check_metadata(series, &info, findings);
    let year = path.file_name().and_then(|name| year_of_file(name.to_str()?)).unwrap_or(0);
    let mut rule = Rule { grid, year: grid.year(year), last: None, there: Ranges::default(), told: [0; 4] };
    while rows.refill()? {
        let decoded = rows.decoded();
        decoded.iter().for_each(|row| rule.row(row, findings));
        add_rows(&mut rule.there, decoded, grid.step());
        findings.report.rows += decoded.len() as u64;
        let count = decoded.len();
        rows.take_decoded(count);
    }
    let declared = no_data(&info.gaps, grid);
    findings.report.gaps += info.gaps.iter().filter(|gap| !gap.repaired).count() as u64;
    if let (Some(covered), Some(empties)) = (info.covered, info.empties) {
        check_coverage(&covered, &declared, empties, &rule, findings);
    }
    Ok(())
}

/// Files of other programs, dccd 3.x's, say nothing, which is fine; ours say everything.
fn check_metadata(series: &CandleSeries, info: &FileInfo, findings: &mut Findings<'_>) {
    let ours = info.covered.is_some() || info.checksum.is_some() || info.exchange.is_some();
    if ours {
        info.missing.iter().for_each(|key| findings.add(Problem::Metadata(key)));
        if info.checksum.is_none() {
            findings.add(Problem::Metadata(KEY_CHECKSUM));
        }
        if info.covered.is_none() || info.empties.is_none() {
            findings.add(Problem::Metadata(KEY_COVERED));
        }
    }
    let id = &series.id;
    let exchange = info.exchange.as_deref().unwrap_or(id.exchange.as_str());
    let symbol = info.symbol.as_deref().unwrap_or(id.symbol.as_str());
    if exchange != id.exchange.as_str() || symbol != id.symbol.as_str() {
        findings.add(Problem::Misplaced(format!("{exchange}/{symbol}")));
    }
}

/// What holds for candles, one after the other.
struct Rule {
    grid: Grid,
    year: (UnixNanos, UnixNanos),
    last: Option<UnixNanos>,
    there: Ranges,
    /// How often each kind of finding was told.
    told: [u64; 4],
}

impl Rule {
    fn row(&mut self, row: &CandleRow, findings: &mut Findings<'_>) {
        let ts = row.ts;
        if self.last.is_some_and(|last| ts <= last) {
            self.tell(0, Problem::CandleTwice { ts }, findings);
        }
        self.last = Some(ts);
        if ts < self.year.0 || ts >= self.year.1 {
            self.tell(1, Problem::OtherYear { ts }, findings);
        }
        if !self.grid.is_open(ts) {
            self.tell(2, Problem::NoOpenTime { ts }, findings);
        }
        let holds_together = row.is_finite()
            && row.high >= row.open.max(row.close)
            && row.low <= row.open.min(row.close)
            && row.volume >= 0.0
            && row.quote_volume.is_none_or(|volume| volume >= 0.0)
            && row.trades.is_none_or(|trades| trades >= 0);
        if !holds_together {
            self.tell(3, Problem::BadCandle { ts }, findings);
        }
    }

    fn tell(&mut self, kind: usize, problem: Problem, findings: &mut Findings<'_>) {
        self.told[kind] += 1;
        if self.told[kind] <= SAME_MAX { findings.add(problem) } else { findings.report.more_findings += 1 }
    }
}

fn check_coverage(covered: &Ranges, declared: &Ranges, empties: Empties, rule: &Rule, findings: &mut Findings<'_>) {
    let whole = |ranges: Ranges| -> Vec<(UnixNanos, UnixNanos)> {
        // A stretch in which no candle opens is none.
        ranges.iter().map(|(from, to)| (rule.grid.ceil(from), rule.grid.ceil(to))).filter(|(from, to)| from < to).collect()
    };
    if empties == Empties::Sent {
        for (from, to) in whole(covered.minus(&rule.there).minus(declared)) {
            findings.add(Problem::Undeclared { from, to: UnixNanos(to.0 - rule.grid.step()) });
        }
    }
    for (from, _) in declared.minus(&declared.minus(&rule.there)).iter() {
        findings.add(Problem::DeclaredButThere { ts: from });
    }
    for (from, to) in whole(rule.there.clone().union(declared).minus(covered)) {
        findings.add(Problem::NotCovered { from, to: UnixNanos(to.0 - rule.grid.step()) });
    }
    if covered.iter().any(|(from, to)| from < rule.year.0 || to > rule.year.1) {
        findings.add(Problem::Metadata(KEY_COVERED));
    }
}
