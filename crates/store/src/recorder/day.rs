//! One day of one series: rows in memory, parts, and the day file they are merged into.

use std::path::{Path, PathBuf};

use dccd_model::time::day_start;
use dccd_model::{Gap, SeriesKind, Symbol, UnixNanos};

use super::gaps::{self, OpenGaps};
use super::pending::Pending;
use super::{CommitMode, RecorderOptions};
use crate::Position;
use crate::disk::{self, Disk, TempFile};
use crate::error::{FileProblem, StoreError};
use crate::file::{FileWriter, Written, check_written};
use crate::footer::{Facts, FileInfo, Named};
use crate::layout::{self, Layout};
use crate::merge::{MergeError, Source, merge};
use crate::rows::Row;

/// How long after its end, by our clock, a day still gets rows as a matter of course.
const DAY_GRACE_NANOS: i64 = 60_000_000_000;
/// Small parts of a day at which they become one; keeps directories and merges short at small time steps.
const PARTS_MAX: usize = 512;

/// What a day's commit works with.
pub(crate) struct Context<'a> {
    pub(crate) disk: &'a mut Disk,
    pub(crate) layout: &'a Layout,
    pub(crate) symbol: &'a Symbol,
    pub(crate) options: &'a RecorderOptions,
    pub(crate) mode: CommitMode,
    pub(crate) clock: UnixNanos,
    /// Positions up to here prove nothing; see the recorder.
    pub(crate) inherited: Position,
    /// Files written so far.
    pub(crate) files: &'a mut u32,
    pub(crate) quarantined: &'a mut Vec<PathBuf>,
}

/// Rows of one day.
#[derive(Debug)]
pub(crate) struct Day<R: Row> {
    /// Rows not yet on the disk, each with the position after its entry.
    pending: Pending<R>,
    /// `None` until looked at, and after a failure: the disk is then looked at anew.
    on_disk: Option<OnDisk>,
}

impl<R: Row> Default for Day<R> {
    fn default() -> Self {
        Self { pending: Pending::default(), on_disk: None }
    }
}

#[derive(Debug, Default)]
struct OnDisk {
    file: Option<Stored>,
    /// Oldest first; positions neither overlap nor go back.
    parts: Vec<Stored>,
    /// Those of the day file.
    gaps: Vec<Gap>,
    /// Notes of another program in the day file.
    foreign: Vec<(String, String)>,
    /// Sources may hold the same rows: they have to be compared, and merged at once.
    overlaps: bool,
    /// Files that can't be read. They stay where they are until the day file that declares their rows lost is written.
    damaged: Vec<PathBuf>,
}

#[derive(Debug)]
struct Stored {
    path: PathBuf,
    from: Position,
    /// Of the last entry with a row in it.
    to: Position,
    rows: u64,
    bytes: u64,
    first: UnixNanos,
}

impl OnDisk {
    fn position(&self) -> Position {
        self.file.iter().chain(&self.parts).map(|s| s.to).max().unwrap_or_default()
    }

    /// Takes a source of this number, as [`Day::write_day`] lists them, out of the merge.
    fn give_up(&mut self, number: usize, error: &StoreError) {
        let stored = match self.file.take() {
            Some(file) if number == 0 => file,
            file => {
                let index = number - usize::from(file.is_some());
                self.file = file;
                self.parts.remove(index)
            }
        };
        self.give_up_path(stored.path, error);
    }

    fn give_up_path(&mut self, path: PathBuf, error: &StoreError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(file = %path.display(), error = %error, cause, "a file of the store is damaged; it goes to the quarantine");
        self.damaged.push(path);
    }
}

impl<R: Row> Day<R> {
    pub(crate) fn push(&mut self, at: Position, row: R) {
        self.pending.push(at, &row);
    }

    pub(crate) const fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing is left to do for this day as far as is known.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.on_disk.as_ref().is_some_and(|d| d.parts.is_empty())
    }

    /// Makes the pending rows durable, and merges when it is time to. Returns how many rows became durable.
    ///
    /// After an error the rows are still pending; the disk is looked at anew when it is tried again.
    pub(crate) fn commit(&mut self, ctx: &mut Context<'_>, day: i64, open_gaps: &mut OpenGaps) -> Result<u64, StoreError> {
        // Taken, and put back at the end alone: what an error leaves behind is not known.
        let mut on_disk = match self.on_disk.take() {
            Some(on_disk) => on_disk,
            None => load::<R>(ctx, day)?,
        };
        let durable = on_disk.position();
        let mut rows = self.pending.rows(|at| at > durable || at <= ctx.inherited);
        on_disk.overlaps |= rows.iter().any(|(at, _)| *at <= ctx.inherited);
        // Stable, so that rows of the same place stay in journal order; fast on rows that are in order already.
        rows.sort_by(|(_, a), (_, b)| a.order(b));
        let new = rows.len() as u64;
        let over = ctx.clock.0 >= day_start(day + 1).0.saturating_add(DAY_GRACE_NANOS);
        match plan(ctx, &on_disk, new, over, day, open_gaps) {
            Plan::Nothing => {}
            Plan::Part => {
                Self::write_part(ctx, day, &mut on_disk, &rows)?;
                Self::compact(ctx, day, &mut on_disk)?;
            }
            Plan::Merge => Self::write_day(ctx, day, &mut on_disk, &rows, open_gaps)?,
        }
        if on_disk.file.is_none() && on_disk.parts.is_empty() && !open_gaps.ends_in(day) {
            // A day within a gap, without rows: nothing to write it into.
            open_gaps.settle(day);
        }
        self.on_disk = Some(on_disk);
        self.pending.clear();
        Ok(new)
    }

    fn write_part(ctx: &mut Context<'_>, day: i64, on_disk: &mut OnDisk, rows: &[(Position, R)]) -> Result<(), StoreError> {
        let (from, to) = range(rows);
        let path = ctx.layout.day_parts(ctx.symbol, R::CHANNEL, day).join(layout::part_name(from, to));
        let sources = vec![Source::Memory(rows)];
        let (temporary, written) = match prepare(ctx, &path, sources, false, &Facts { position: to, named: None }) {
            Ok(prepared) => prepared,
            Err(MergeError::Source(_, error) | MergeError::Other(error)) => return Err(error),
        };
        on_disk.parts.push(publish(ctx, temporary, path, (from, to), written)?);
        Ok(())
    }

    /// Makes one part of many small ones.
    fn compact(ctx: &mut Context<'_>, day: i64, on_disk: &mut OnDisk) -> Result<(), StoreError> {
        let rows: u64 = on_disk.parts.iter().map(|p| p.rows).sum();
        // Those made by compaction stand first and are much larger than the others.
        let small = on_disk.parts.iter().rev().take_while(|p| p.rows.saturating_mul(64) <= rows).count();
        if small < PARTS_MAX {
            return Ok(());
        }
        let parts = on_disk.parts.split_off(on_disk.parts.len() - small);
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let (from, to) = (first.from, last.to);
        let path = ctx.layout.day_parts(ctx.symbol, R::CHANNEL, day).join(layout::part_name(from, to));
        let sources: Vec<Source<'_, R>> = parts.iter().map(source).collect();
        match prepare(ctx, &path, sources, false, &Facts { position: to, named: None }) {
            Ok((temporary, written)) => on_disk.parts.push(publish(ctx, temporary, path, (from, to), written)?),
            Err(MergeError::Other(error)) => return Err(error),
            Err(MergeError::Source(..)) => {
                // Left to the next merge, which sets it aside and declares it.
                on_disk.parts.extend(parts);
                return Ok(());
            }
        }
        parts.iter().try_for_each(|part| disk::remove(&part.path))
    }

    /// Merges everything into the day file. Files that turn out to be damaged go to the quarantine, and the day is declared.
    fn write_day(
        ctx: &mut Context<'_>,
        day: i64,
        on_disk: &mut OnDisk,
        rows: &[(Position, R)],
        open_gaps: &mut OpenGaps,
    ) -> Result<(), StoreError> {
        let path = ctx.layout.day_file(ctx.symbol, R::CHANNEL, day);
        let (temporary, written, position, gaps) = loop {
            let mut gaps = on_disk.gaps.clone();
            open_gaps.apply(day, &mut gaps);
            if !on_disk.damaged.is_empty() {
                gaps::upsert(&mut gaps, &gaps::whole_day(day));
            }
            let position = on_disk.position().max(range(rows).1);
            let files = on_disk.file.iter().chain(&on_disk.parts);
            let sources = files.map(source).chain([Source::Memory(rows)]).collect();
            let named = Named {
                exchange: &ctx.layout.exchange,
                symbol: ctx.symbol,
                kind: SeriesKind::Live(R::CHANNEL),
                gaps: &gaps,
                contiguous_ids: ctx.options.contiguous_ids,
                candles: None,
                foreign: &on_disk.foreign,
            };
            let facts = Facts { position, named: Some(named) };
            match prepare(ctx, &path, sources, on_disk.overlaps, &facts) {
                Ok((temporary, written)) => break (temporary, written, position, gaps),
                Err(MergeError::Other(error)) => return Err(error),
                Err(MergeError::Source(number, error)) => on_disk.give_up(number, &error),
            }
        };
        // The damaged file gets a second name in the quarantine; only the rename below takes the first one away, and what it
        // puts there declares the loss. Dying in between changes nothing.
        for damaged in &on_disk.damaged {
            ctx.quarantined.push(disk::link_to_quarantine(&ctx.layout.data_path, damaged)?);
        }
        on_disk.file = Some(publish(ctx, temporary, path.clone(), (Position(0), position), written)?);
        on_disk.gaps = gaps;
        on_disk.overlaps = false;
        open_gaps.settle(day);
        on_disk.parts.drain(..).try_for_each(|part| disk::remove(&part.path))?;
        on_disk.damaged.drain(..).filter(|damaged| *damaged != path).try_for_each(|part| disk::remove(&part))?;
        remove_empty_dir(&ctx.layout.day_parts(ctx.symbol, R::CHANNEL, day));
        Ok(())
    }
}

/// The first and the last position of rows.
fn range<R>(rows: &[(Position, R)]) -> (Position, Position) {
    let positions = || rows.iter().map(|(at, _)| *at);
    (positions().min().unwrap_or_default(), positions().max().unwrap_or_default())
}

enum Plan {
    Nothing,
    /// The new rows into a part.
    Part,
    /// Everything into the day file.
    Merge,
}

fn plan(ctx: &Context<'_>, on_disk: &OnDisk, new: u64, over: bool, day: i64, open_gaps: &OpenGaps) -> Plan {
    let unmerged = new + on_disk.parts.iter().map(|p| p.rows).sum::<u64>();
    let gaps = open_gaps.waits_for(day);
    let Some(file) = &on_disk.file else {
        // A day without rows gets a file for its gaps alone once no rows are to be expected.
        let wanted = unmerged > 0 || !on_disk.damaged.is_empty();
        return if wanted || (over && open_gaps.ends_in(day)) { Plan::Merge } else { Plan::Nothing };
    };
    if !on_disk.damaged.is_empty() || on_disk.overlaps {
        return Plan::Merge;
    }
    if unmerged == 0 && !gaps {
        return Plan::Nothing;
    }
    let small = file.bytes < ctx.options.small_file_bytes;
    let due = match ctx.mode {
        CommitMode::Close => true,
        CommitMode::Step if over => new == 0 || unmerged * 4 >= file.rows,
        CommitMode::Step => small || unmerged * 4 >= file.rows.max(1),
    };
    match (due, new) {
        (true, _) => Plan::Merge,
        (false, 0) => Plan::Nothing,
        (false, _) => Plan::Part,
    }
}

fn source<'a, R: Row>(stored: &Stored) -> Source<'a, R> {
    Source::File { path: stored.path.clone(), first: stored.first }
}

/// Writes a temporary file from sources and checks it.
fn prepare<R: Row>(
    ctx: &mut Context<'_>,
    target: &Path,
    sources: Vec<Source<'_, R>>,
    overlaps: bool,
    facts: &Facts<'_>,
) -> Result<(TempFile, Written), MergeError> {
    let temporary = ctx.disk.create().map_err(MergeError::Other)?;
    let mut writer = FileWriter::new(temporary, target).map_err(MergeError::Other)?;
    merge(sources, overlaps, &mut writer)?;
    let (temporary, written) = writer.finish(facts).map_err(MergeError::Other)?;
    check_written::<R>(temporary.path(), &written, None).map_err(MergeError::Other)?;
    Ok((temporary, written))
}

/// Gives a file its name, durably.
fn publish(
    ctx: &mut Context<'_>,
    temporary: TempFile,
    path: PathBuf,
    (from, to): (Position, Position),
    written: Written,
) -> Result<Stored, StoreError> {
    let bytes = temporary.bytes;
    ctx.disk.publish(temporary, &path)?;
    *ctx.files += 1;
    let first = written.range.map_or(UnixNanos(i64::MIN), |(first, _)| first);
    Ok(Stored { path, from, to, rows: written.rows, bytes, first })
}

/// What the disk holds of a day. What a merge left behind is removed.
fn load<R: Row>(ctx: &Context<'_>, day: i64) -> Result<OnDisk, StoreError> {
    let mut on_disk = OnDisk::default();
    let path = ctx.layout.day_file(ctx.symbol, R::CHANNEL, day);
    if path.exists() {
        match read::<R>(path.clone(), Position(0)) {
            Ok((stored, info)) => {
                on_disk.file = Some(stored);
                (on_disk.gaps, on_disk.foreign) = (info.gaps, info.foreign);
            }
            Err(error) if error.is_damage() => on_disk.give_up_path(path, &error),
            Err(error) => return Err(error),
        }
    }
    let merged = on_disk.position();
    let dir = ctx.layout.day_parts(ctx.symbol, R::CHANNEL, day);
    let mut ranges: Vec<(Position, Position)> = layout::names(&dir)
        .map_err(|e| StoreError::io("list", &dir, e))?
        .iter()
        .filter_map(|name| layout::part_range(name))
        .collect();
    // A part made of others comes before them.
    ranges.sort_unstable_by_key(|(from, to)| (*from, std::cmp::Reverse(*to)));
    let mut reached = merged;
    for (from, to) in ranges {
        let path = dir.join(layout::part_name(from, to));
        if to <= reached && to > ctx.inherited {
            disk::remove(&path)?;
            continue;
        }
        match read::<R>(path.clone(), from) {
            Ok((part, _)) => {
                on_disk.overlaps |= to <= reached;
                reached = reached.max(to);
                on_disk.parts.push(part);
            }
            Err(error) if error.is_damage() => on_disk.give_up_path(path, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(on_disk)
}

fn read<R: Row>(path: PathBuf, from: Position) -> Result<(Stored, FileInfo), StoreError> {
    let info = FileInfo::read(&path)?;
    let ours = R::schema();
    if let Some(column) = info.columns.iter().find(|c| ours.field_with_name(c).is_err()) {
        return Err(StoreError::file(&path, FileProblem::UnknownColumn { column: column.clone() }));
    }
    let stored = Stored {
        path,
        from,
        to: info.position,
        rows: info.rows,
        bytes: info.bytes,
        first: info.range.map_or(UnixNanos(i64::MIN), |(first, _)| first),
    };
    Ok((stored, info))
}

/// Removes a day's empty parts directory; one with anything in it stays.
fn remove_empty_dir(dir: &Path) {
    let _ = std::fs::remove_dir(dir); // not empty, or gone: both fine
}
