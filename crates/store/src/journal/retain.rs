//! Deleting what has been recorded and is old.

use std::path::Path;

use super::{JournalError, Position, segment};

/// How much of the recorded journal is kept, unless told otherwise: for deriving a whole store anew as long as the first segment
/// is among it, after that for looking at what the exchange sent.
pub const KEEP_BYTES: u64 = 1 << 30;

/// Deletes whole segments that lie before `keep_from` (the recorder's checkpoint), oldest first, until at most `bytes_max` of
/// such segments are left. The last segment always stays. Returns the bytes freed.
///
/// # Errors
/// [`JournalError::Io`]; what was deleted before stays deleted.
pub fn retain(dir: &Path, keep_from: Position, bytes_max: u64) -> Result<u64, JournalError> {
    let bases = segment::list(dir)?;
    // A segment ends at the latest where the next one begins.
    let done: Vec<(u64, u64)> = bases
        .windows(2)
        .filter(|pair| pair[1] <= keep_from.0)
        .map(|pair| {
            let path = segment::path(dir, pair[0]);
            let length = std::fs::metadata(&path).map_err(|e| JournalError::io("read", &path, e))?.len();
            Ok((pair[0], length))
        })
        .collect::<Result<_, JournalError>>()?;
    let mut kept: u64 = done.iter().map(|(_, length)| length).sum();
    let mut freed = 0;
    for (base, length) in done {
        if kept <= bytes_max {
            break;
        }
        let path = segment::path(dir, base);
        std::fs::remove_file(&path).map_err(|e| JournalError::io("delete", &path, e))?;
        kept -= length;
        freed += length;
    }
    Ok(freed)
}
