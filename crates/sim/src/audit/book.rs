//! Order books: every event that was sent is in the files with its levels, or was covered by a snapshot that a declared gap
//! (or the beginning of the series) explains.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dccd_model::{BookSide, UnixNanos};
use dccd_store::BookRow;

use super::sent::{Levels, SentEvent};
use super::{AuditError, SeriesAudit, gaps};

/// One epoch of the stored book.
#[derive(Debug)]
struct Epoch {
    number: u32,
    snapshot_id: u64,
    first_ts: UnixNanos,
    last_ts: UnixNanos,
    last_id: u64,
}

/// Events by their last update id. `number` makes of a row's time and update id the id that its event has in `sent`, where an exchange
/// may let its own begin anew.
pub(super) fn audit(
    id: &str,
    sent: &BTreeMap<u64, SentEvent>,
    number: impl Fn(UnixNanos, u64) -> u64,
    files: &[PathBuf],
) -> Result<SeriesAudit, AuditError> {
    let mut result = SeriesAudit { series: format!("{id}/book"), sent: sent.len() as u64, ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut epochs: Vec<Epoch> = Vec::new();
    // Levels of stored events by epoch and last update id.
    let mut stored: BTreeMap<(u32, u64), Levels> = BTreeMap::new();
    for file in files {
        for row in dccd_store::read_book(file)? {
            let row = row?;
            let update_id = number(row.ts, row.update_id);
            take(BookRow { update_id, ..row }, &mut epochs, &mut stored, &mut result);
        }
    }
    result.stored = stored.len() as u64;
    let mut by_id: BTreeMap<u64, Vec<&Levels>> = BTreeMap::new();
    for ((_, update_id), levels) in &stored {
        by_id.entry(*update_id).or_default().push(levels);
    }
    for (update_id, event) in sent {
        match by_id.remove(update_id).as_deref() {
            Some([levels]) if **levels == event.levels => {}
            Some([levels]) => {
                result.wrong += 1;
                result.problem(|| format!("event {update_id} was sent as {:?} and stored as {levels:?}", event.levels));
            }
            Some(_) => {
                result.duplicate += 1;
                result.problem(|| format!("event {update_id} is stored twice"));
            }
            // It changed nothing, so no row tells of it.
            None if event.levels.is_empty() => result.sent -= 1,
            None => match covered(&epochs, &gaps, *update_id) {
                // The series begins with that snapshot.
                Covered::ByFirstSnapshot => result.sent -= 1,
                Covered::ByGap => result.declared += 1,
                Covered::Not => {
                    result.missing += 1;
                    result.problem(|| {
                        format!("event {} to {update_id} was sent and is neither stored nor declared", event.first)
                    });
                }
            },
        }
    }
    for update_id in by_id.keys() {
        result.wrong += 1;
        result.problem(|| format!("event {update_id} is stored and was never sent"));
    }
    Ok(result)
}

fn take(row: BookRow, epochs: &mut Vec<Epoch>, stored: &mut BTreeMap<(u32, u64), Levels>, result: &mut SeriesAudit) {
    let is_new = epochs.last().is_none_or(|e| e.number != row.epoch);
    if is_new {
        if !row.is_snapshot {
            result.wrong += 1;
            result.problem(|| format!("epoch {} does not begin with a snapshot", row.epoch));
        }
        epochs.push(Epoch {
            number: row.epoch,
            snapshot_id: row.update_id,
            first_ts: row.ts,
            last_ts: row.ts,
            last_id: row.update_id,
        });
    }
    if let Some(epoch) = epochs.last_mut() {
        epoch.last_ts = row.ts;
        epoch.last_id = row.update_id;
    }
    if !row.is_snapshot {
        let levels = stored.entry((row.epoch, row.update_id)).or_default();
        levels.push((row.side == BookSide::Bid, row.price, row.amount));
    }
}

enum Covered {
    ByFirstSnapshot,
    ByGap,
    Not,
}

/// What explains that an event is not stored: the snapshot that came after it, in its first epoch or after a declared gap.
fn covered(epochs: &[Epoch], gaps: &[dccd_model::Gap], update_id: u64) -> Covered {
    let Some(index) = epochs.iter().position(|e| update_id <= e.snapshot_id) else {
        return Covered::Not;
    };
    let Some(before) = index.checked_sub(1).map(|i| &epochs[i]) else {
        return Covered::ByFirstSnapshot;
    };
    let after = &epochs[index];
    let declared = gaps.iter().any(|g| !g.repaired && g.from <= before.last_ts && g.to >= after.first_ts);
    if update_id > before.last_id && declared { Covered::ByGap } else { Covered::Not }
}
