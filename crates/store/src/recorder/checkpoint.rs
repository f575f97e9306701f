//! Where the recorder stands: a journal position, the caller's state at it, and what files can't hold yet.
//!
//! ```text
//! "DCCDCKPT" · u32 version = 1 · u32 crc32 of all that follows · u32 length of the notes · notes (JSON) · state
//! ```
//! Written last in every commit, atomically: what lies behind its position is durable.

use std::path::Path;

use dccd_model::{Channel, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::gaps::OpenGaps;
use crate::Position;
use crate::error::{CheckpointProblem, StoreError};

const MAGIC: &[u8; 8] = b"DCCDCKPT";
const VERSION: u32 = 1;

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything before it is recorded.
    pub position: Position,
    /// What the caller handed in with it.
    pub state: Vec<u8>,
}

/// What the recorder itself remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notes {
    pub(crate) position: Position,
    /// Latest `ts_recv` seen.
    pub(crate) clock: UnixNanos,
    /// See [`super::Recorder`]'s field of this name.
    #[serde(default)]
    pub(crate) inherited: Position,
    pub(crate) series: Vec<SeriesNotes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeriesNotes {
    pub(crate) symbol: Symbol,
    pub(crate) channel: Channel,
    /// Latest time of an order-book event.
    pub(crate) book_clock: UnixNanos,
    pub(crate) gaps: OpenGaps,
}

/// All that comes before the state.
pub(crate) fn head(notes: &Notes, state: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let notes = serde_json::to_vec(notes)?;
    let length = u32::try_from(notes.len()).map_err(|_| serde::ser::Error::custom("more than 4 GiB of notes"))?;
    let mut bytes = Vec::with_capacity(20 + notes.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&notes);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[16..]);
    crc.update(state);
    bytes[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<(Notes, &[u8]), CheckpointProblem> {
    let damaged = CheckpointProblem::Damaged;
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(damaged)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(damaged)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(damaged)?;
    if magic != MAGIC {
        return Err(damaged);
    }
    match u32::from_le_bytes(*version) {
        VERSION => {}
        other => return Err(CheckpointProblem::Version(other)),
    }
    if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
        return Err(damaged);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(damaged)?;
    let (notes, state) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(damaged)?;
    Ok((serde_json::from_slice(notes).map_err(|_| damaged)?, state))
}

/// Reads the checkpoint; `None` when there is none yet.
pub(crate) fn read(path: &Path) -> Result<Option<(Notes, Vec<u8>)>, StoreError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| StoreError::io("read", path, e))?,
    };
    match decode(&bytes) {
        Ok((notes, state)) => Ok(Some((notes, state.to_vec()))),
        Err(problem) => Err(StoreError::Checkpoint { path: path.to_owned(), problem }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_round_trips_and_any_changed_byte_is_noticed() {
        let mut gaps = OpenGaps::default();
        gaps.add(&super::super::gaps::whole_day(19_000));
        let notes = Notes {
            position: Position(77),
            clock: UnixNanos(5),
            inherited: Position(3),
            series: vec![SeriesNotes {
                symbol: "BTC/USDT".parse().unwrap(),
                channel: Channel::Book,
                book_clock: UnixNanos(9),
                gaps,
            }],
        };
        let bytes = [head(&notes, b"state").unwrap(), b"state".to_vec()].concat();
        assert_eq!(decode(&bytes), Ok((notes, b"state".as_slice())));
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {i}");
            assert!(decode(&bytes[..i]).is_err(), "cut at {i}");
        }
    }
}
