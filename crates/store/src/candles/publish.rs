//! The stage into year files: each written anew, read back, and put in the place of the old one by a rename.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dccd_model::{Gap, Grid, SeriesKind, UnixNanos};

use super::merge::{Merge, MergeError};
use super::stage::{StageRows, Window};
use super::years::{YearFacts, year_file};
use super::{CandleSeriesId, Empties, declared};
use crate::Position;
use crate::disk::{self, Disk};
use crate::error::{FileProblem, StoreError};
use crate::file::{FileWriter, Rows, Written, check_written};
use crate::footer::{CandleFacts, Facts, FileInfo, Named};
use crate::head::Head;
use crate::layout;
use crate::ranges::Ranges;
use crate::rows::CandleRow;

/// How often a file is opened again that another program replaces meanwhile.
const OPENINGS_MAX: usize = 5;

/// What a year's file is made with.
pub(crate) struct Context<'a> {
    pub(crate) data_path: &'a Path,
    pub(crate) id: &'a CandleSeriesId,
    pub(crate) grid: Grid,
    pub(crate) empties: Empties,
    pub(crate) listed: Option<UnixNanos>,
    pub(crate) stage: Option<StageRows>,
    pub(crate) windows: &'a [Window],
}

/// A year that was written.
#[derive(Debug)]
pub(crate) struct YearWritten {
    pub(crate) facts: YearFacts,
    pub(crate) replaced: u64,
    /// Candles that were taken over undecoded.
    pub(crate) kept: u64,
    /// Where a damaged file went whose place it took.
    pub(crate) quarantined: Option<PathBuf>,
}

/// The file that is there.
struct Old {
    /// Row groups that the windows leave as they are.
    head: Option<Head>,
    /// What comes behind them.
    rows: Rows<CandleRow>,
    info: FileInfo,
    facts: YearFacts,
}

/// Writes a year's file from the one that is there and the windows. A damaged one goes to the quarantine: what it covered then
/// counts as never asked for.
pub(crate) fn write_year(ctx: &Context<'_>, disk: &mut Disk, year: i32) -> Result<YearWritten, StoreError> {
    let path = year_file(&layout::candle_dir(ctx.data_path, ctx.id), year);
    let mut damaged = None;
    let mut old = open_old(ctx, &path, year, true);
    loop {
        let there = match old {
            Ok(there) => there,
            Err(MergeError::Old(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(file = %path.display(), error = %error, cause, "a year of candles is damaged; it goes to the quarantine");
                damaged = Some(error);
                None
            }
            Err(MergeError::Head(error) | MergeError::Other(error)) => return Err(error),
        };
        match prepare(ctx, disk, &path, year, there) {
            Ok(Prepared { temporary, facts, replaced, kept }) => {
                // The damaged file gets a second name; only the rename below takes the first one away.
                let quarantined = match damaged {
                    Some(_) => Some(disk::link_to_quarantine(ctx.data_path, &path)?),
                    None => None,
                };
                let bytes = disk.bytes;
                disk.publish(temporary, &path)?;
                let facts = YearFacts { bytes: disk.bytes - bytes, ..facts };
                return Ok(YearWritten { facts, replaced, kept, quarantined });
            }
            Err(MergeError::Head(error)) => {
                tracing::warn!(file = %path.display(), error = %error, "row groups could not be taken over; all rows are encoded anew");
                old = open_old(ctx, &path, year, false);
            }
            Err(error) => old = Err(error),
        }
    }
}

/// `takes_over`: whether row groups may be taken over as they are.
fn open_old(ctx: &Context<'_>, path: &Path, year: i32, takes_over: bool) -> Result<Option<Old>, MergeError> {
    for _ in 0..OPENINGS_MAX {
        let before = identity(path).map_err(MergeError::Other)?;
        let old = open_once(ctx, path, year, takes_over)?;
        // What a file says, and its rows, have to be of the same one.
        if identity(path).map_err(MergeError::Other)? == before {
            return Ok(old);
        }
    }
    Err(MergeError::Other(StoreError::io("read", path, std::io::Error::other("it is replaced again and again"))))
}

/// What tells whether a file was replaced: device, inode, size, time of change. `None` where there is none.
fn identity(path: &Path) -> Result<Option<(u64, u64, u64, i64)>, StoreError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path, error)),
        Ok(file) => {
            let changed = file.mtime().saturating_mul(1_000_000_000).saturating_add(file.mtime_nsec());
            Ok(Some((file.dev(), file.ino(), file.len(), changed)))
        }
    }
}

fn open_once(ctx: &Context<'_>, path: &Path, year: i32, takes_over: bool) -> Result<Option<Old>, MergeError> {
    let sort = |error: StoreError| match error.is_damage() && !error.is_foreign_form() {
        true => MergeError::Old(error),
        false => MergeError::Other(error),
    };
    if !path.exists() {
        return Ok(None);
    }
    let facts = YearFacts::read_as(path, ctx.grid, ctx.empties).map_err(sort)?;
    let (from, to) = ctx.grid.year(year);
    let first = ctx.windows.iter().filter(|window| window.from < to && window.to > from).map(|window| window.from).min();
    // What is taken over unread has to mean the same as before, and to lie where it should.
    let before = match (takes_over && facts.empties == Some(ctx.empties), facts.first) {
        (true, Some(earliest)) if earliest >= from => first.unwrap_or(to).min(to),
        _ => UnixNanos(i64::MIN),
    };
    let (rows, info, head) = Rows::open_tail(path, before).map_err(sort)?;
    Ok(Some(Old { head, rows, info, facts }))
}

/// A year's next file, written and checked.
struct Prepared {
    temporary: disk::TempFile,
    facts: YearFacts,
    replaced: u64,
    kept: u64,
}

fn prepare(ctx: &Context<'_>, disk: &mut Disk, path: &Path, year: i32, old: Option<Old>) -> Result<Prepared, MergeError> {
    let (from, to) = ctx.grid.year(year);
    let (head, rows, info, facts) = match old {
        Some(Old { head, rows, info, facts }) => (head, Some((rows, info.checksum.is_some())), info, facts),
        None => (None, None, FileInfo::default(), YearFacts::default()),
    };
    let mut writer = FileWriter::new(disk.create().map_err(MergeError::Other)?, path).map_err(MergeError::Other)?;
    let mut merge = Merge::new(rows, ctx.stage.clone(), ctx.windows, (from, to))?;
    let mut there = Ranges::default();
    if let Some(head) = &head {
        writer.take_over(head).map_err(MergeError::Other)?;
        // What was covered and not declared missing is there.
        let end = UnixNanos(head.range.1.0 + ctx.grid.step());
        there = facts.covered.minus(&facts.declared).clip(from, end);
    }
    let mut chunk = Vec::new();
    while merge.next(&mut chunk)? {
        add_rows(&mut there, &chunk, ctx.grid.step());
        writer.extend(&chunk).map_err(MergeError::Other)?;
        chunk.clear();
    }
    if let Some(ts) = merge.outside {
        return Err(MergeError::Old(StoreError::file(path, FileProblem::Year { ts })));
    }
    let (covered, missing) = known(ctx, &facts, (from, to), &there);
    let mut gaps: Vec<Gap> = facts.others.iter().cloned().chain(declared(&missing, ctx.grid)).collect();
    gaps.sort_by_key(|gap| (gap.from, gap.to));
    let named = Named {
        exchange: &ctx.id.exchange,
        symbol: &ctx.id.symbol,
        kind: SeriesKind::Candles(ctx.id.span),
        gaps: &gaps,
        contiguous_ids: false,
        candles: Some(CandleFacts { covered: &covered, empties: ctx.empties, listed: ctx.listed.or(facts.listed) }),
        foreign: &info.foreign,
    };
    let named = Facts { position: Position(0), named: Some(named) };
    let (temporary, written) = writer.finish(&named).map_err(MergeError::Other)?;
    check_written::<CandleRow>(temporary.path(), &written, head.as_ref()).map_err(|error| match error {
        StoreError::File { problem: FileProblem::Head, .. } => MergeError::Head(error),
        error => MergeError::Other(error),
    })?;
    let Written { rows, range, .. } = written;
    let (first, last) = range.unzip();
    let facts = YearFacts {
        rows,
        bytes: 0,
        first,
        last,
        covered,
        declared: missing,
        others: facts.others,
        empties: Some(ctx.empties),
        listed: ctx.listed.or(facts.listed),
    };
    Ok(Prepared { temporary, facts, replaced: merge.replaced, kept: head.map_or(0, |head| head.rows) })
}

/// What of a year is covered, and which candles the exchange doesn't have: none that is there.
fn known(ctx: &Context<'_>, old: &YearFacts, (from, to): (UnixNanos, UnixNanos), there: &Ranges) -> (Ranges, Ranges) {
    let (mut covered, mut missing) = (old.covered.clone(), old.declared.clone());
    for window in ctx.windows.iter().filter(|window| window.from < to && window.to > from) {
        covered.insert(window.from, window.to);
        window.gaps.iter().for_each(|(from, to)| missing.insert(from, to));
    }
    let covered = covered.clip(from, to);
    let missing = match ctx.empties {
        // Rows and gaps fill every window, so that what is missing is declared.
        Empties::Sent => covered.minus(there),
        Empties::Omitted => missing.clip(from, to).minus(there),
    };
    (covered, missing)
}

/// Adds the stretches of rows that ascend.
pub(crate) fn add_rows(there: &mut Ranges, rows: &[CandleRow], step: i64) {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let end = |ts: UnixNanos| UnixNanos(ts.0.saturating_add(step));
    let apart = i64::try_from(rows.len() - 1).unwrap_or(i64::MAX).saturating_mul(step);
    if last.ts.0.saturating_sub(first.ts.0) == apart {
        // Ascending on open times and as many as fit: no hole between them.
        there.insert(first.ts, end(last.ts));
    } else {
        rows.iter().for_each(|row| there.insert(row.ts, end(row.ts)));
    }
}

/// The years in which candles of these windows open.
pub(crate) fn years_of(windows: &[Window], grid: Grid) -> std::collections::BTreeSet<i32> {
    let mut all = std::collections::BTreeSet::new();
    for window in windows {
        let last = UnixNanos(window.to.0 - grid.step());
        all.extend(dccd_model::grid::year_of(window.from)..=dccd_model::grid::year_of(last));
    }
    all
}
