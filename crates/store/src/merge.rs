//! Several sources of rows, each ascending by time, into one in the order of rows, without duplicates.
//!
//! Sources are given oldest first (day file, parts, rows in memory); among rows of the same place in the order the older
//! source's come first, and of two duplicates the first stays. A source is opened when the rows before it have been taken, so
//! that a day of parts, one after the other in time, is never open all at once. Memory grows with the rows of one and the same
//! time alone.

use std::path::PathBuf;

use dccd_model::UnixNanos;

use crate::Position;
use crate::error::StoreError;
use crate::file::{FileWriter, Rows};
use crate::rows::Row;

/// Where rows come from.
pub(crate) enum Source<'a, R: Row> {
    /// A file whose first row has this time.
    File { path: PathBuf, first: UnixNanos },
    /// Rows in order, each with its position, which plays no part here.
    Memory(&'a [(Position, R)]),
}

/// Why merging ended early.
pub(crate) enum MergeError {
    /// The source of this number is damaged.
    Source(usize, StoreError),
    /// Anything else.
    Other(StoreError),
}

struct Active<'a, R: Row> {
    number: usize,
    head: R,
    rest: Rest<'a, R>,
}

enum Rest<'a, R: Row> {
    File(Box<Rows<R>>),
    Memory(std::slice::Iter<'a, (Position, R)>),
}

impl<R: Row> Rest<'_, R> {
    fn next(&mut self, number: usize) -> Result<Option<R>, MergeError> {
        match self {
            Self::Memory(rows) => Ok(rows.next().map(|(_, row)| *row)),
            Self::File(rows) => rows.next().transpose().map_err(|e| source_error(number, e)),
        }
    }
}

fn source_error(number: usize, error: StoreError) -> MergeError {
    if error.is_damage() { MergeError::Source(number, error) } else { MergeError::Other(error) }
}

/// Writes all rows of `sources` to `writer`. With `overlaps`, a row that an older source holds too is left out, whether rows
/// have ids or not.
pub(crate) fn merge<R: Row>(
    sources: Vec<Source<'_, R>>,
    overlaps: bool,
    writer: &mut FileWriter<R>,
) -> Result<(), MergeError> {
    let mut waiting: Vec<(usize, UnixNanos, Source<'_, R>)> = Vec::with_capacity(sources.len());
    for (number, source) in sources.into_iter().enumerate() {
        match &source {
            Source::File { first, .. } => waiting.push((number, *first, source)),
            Source::Memory(rows) => {
                if let Some((_, row)) = rows.first() {
                    waiting.push((number, row.ts(), source));
                }
            }
        }
    }
    // Popped from the end: the earliest last.
    waiting.sort_by_key(|(number, first, _)| std::cmp::Reverse((*first, *number)));
    let mut active: Vec<Active<'_, R>> = Vec::new();
    let mut seen = R::Seen::default();
    // Rows of one time, which sources may hold in different orders.
    let mut group: Vec<R> = Vec::new();
    // The source of each row of the group; only kept where they have to be compared.
    let mut origins: Vec<usize> = Vec::new();
    loop {
        let best =
            active.iter().enumerate().min_by_key(|(_, a)| (a.head.ts(), a.number)).map(|(index, a)| (index, a.head.ts()));
        // A source that begins at or before the best row may have a better one.
        if let Some((number, _, source)) = waiting.pop_if(|(_, first, _)| best.is_none_or(|(_, ts)| *first <= ts)) {
            let mut rest = open(number, source)?;
            if let Some(head) = rest.next(number)? {
                active.push(Active { number, head, rest });
            }
            continue;
        }
        let Some((index, _)) = best else {
            drop_repeated(&mut group, &mut origins);
            return flush(&mut group, &mut seen, writer);
        };
        // While it stands alone, its rows go through without being compared.
        let alone = active.len() == 1;
        let until = waiting.last().map_or(UnixNanos(i64::MAX), |(_, first, _)| *first);
        let source = &mut active[index];
        loop {
            if group.first().is_some_and(|row| row.ts() != source.head.ts()) {
                drop_repeated(&mut group, &mut origins);
                flush(&mut group, &mut seen, writer)?;
            }
            group.push(source.head);
            if overlaps {
                origins.push(source.number);
            }
            match source.rest.next(source.number)? {
                Some(row) => source.head = row,
                None => {
                    active.swap_remove(index);
                    break;
                }
            }
            if !alone || source.head.ts() >= until {
                break;
            }
        }
    }
}

/// Leaves rows of one time out that an older source holds too; a row that stands twice in one source stays twice. Does nothing
/// without origins. These ascend, because of one time the oldest source's rows come first.
fn drop_repeated<R: Row>(group: &mut Vec<R>, origins: &mut Vec<usize>) {
    // Each kept row with the last source that had it.
    let mut kept: Vec<(R, usize)> = Vec::with_capacity(origins.len());
    // Sources mostly repeat in the same order, so what follows the last row that was found is looked at first.
    let mut after = 0;
    for (row, origin) in group.iter().zip(origins.iter()) {
        let found = (after..kept.len()).chain(0..after).find(|i| kept[*i].1 < *origin && kept[*i].0 == *row);
        match found {
            Some(index) => {
                kept[index].1 = *origin;
                after = index + 1;
            }
            None => kept.push((*row, *origin)),
        }
    }
    if !origins.is_empty() {
        group.clear();
        group.extend(kept.into_iter().map(|(row, _)| row));
        origins.clear();
    }
}

fn flush<R: Row>(group: &mut Vec<R>, seen: &mut R::Seen, writer: &mut FileWriter<R>) -> Result<(), MergeError> {
    if group.len() > 1 {
        group.sort_by(R::order);
    }
    for row in group.drain(..) {
        if row.admit(seen) {
            writer.push(row).map_err(MergeError::Other)?;
        }
    }
    Ok(())
}

fn open<R: Row>(number: usize, source: Source<'_, R>) -> Result<Rest<'_, R>, MergeError> {
    Ok(match source {
        Source::Memory(rows) => Rest::Memory(rows.iter()),
        Source::File { path, .. } => Rest::File(Box::new(Rows::open(&path).map_err(|e| source_error(number, e))?)),
    })
}
