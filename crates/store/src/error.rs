//! What can go wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use dccd_model::{Channel, Symbol, UnixNanos};
use parquet::errors::ParquetError;

use crate::Position;

/// The system's number for a device that failed; `std::io::ErrorKind` has no name for it.
const EIO: i32 = 5;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing is lost: the rows stay in memory and journal, and the next commit tries again.
    #[error("no space left to write {}: free some space, it goes on by itself", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading or writing failed otherwise.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The Parquet library refused. When reading, the file is damaged.
    #[error("cannot {doing} the Parquet file {}", path.display())]
    Parquet {
        /// What we were doing.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: ParquetError,
    },
    /// A file that can be decoded and is not what it should be.
    #[error("{} is not a whole file of this series: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// Records of one channel were handed to a series of another.
    #[error("records that are not {channel} were handed to the series {symbol} {channel}")]
    WrongChannel {
        /// The series' symbol.
        symbol: Symbol,
        /// The series' channel.
        channel: Channel,
    },
    /// A commit for a position before the last one, or before a record that was handed in.
    #[error("a commit at {asked} after {reached}")]
    Backwards {
        /// What the commit was for.
        asked: Position,
        /// What has been reached.
        reached: Position,
    },
    /// The stage of a series of candles was written by another version.
    #[error(
        "the stage {} is of version {version} of the format: finish with the dccd that wrote it, or move it aside; what it holds is \
         then asked of the exchange again",
        path.display()
    )]
    Stage {
        /// Its file.
        path: PathBuf,
        /// The version it says.
        version: u32,
    },
    /// The recorder's checkpoint is damaged or of another version. It holds where the recorder stood in the journal, which feeds
    /// were open, and gaps that no file has yet.
    #[error(
        "the checkpoint {} cannot be read ({problem}); put back a copy of it, or move it aside to begin anew: gaps that no file has yet \
         are then forgotten, and what was received since it was written is recorded only if the journal still has its first segment, \
         and otherwise declared missing",
        path.display()
    )]
    Checkpoint {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: CheckpointProblem,
    },
}

/// What is wrong with a file of rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// A column is missing or has another type.
    #[error("column {column} is missing or of the wrong type")]
    Column {
        /// Its name.
        column: &'static str,
    },
    /// A column that we would lose by writing the file anew.
    #[error("unknown column {column}")]
    UnknownColumn {
        /// Its name.
        column: String,
    },
    /// A value that no row of this kind has, or a null where there must be none.
    #[error("row {row}: column {column} has no valid value")]
    Value {
        /// Counted from 0.
        row: u64,
        /// The column.
        column: &'static str,
    },
    /// A piece of metadata is missing or unreadable.
    #[error("metadata {key} is missing or unreadable")]
    Metadata {
        /// Its key.
        key: &'static str,
    },
    /// The bytes, or the rows in them, are not the ones that were written.
    #[error("it does not match its checksum")]
    Checksum,
    /// Row groups that were taken over are not what they were in the file that they come from.
    #[error("what was taken over from the file before is not the same")]
    Head,
    /// The Parquet library gave up on the bytes by panicking.
    #[error("its bytes make no sense")]
    Nonsense,
    /// The number of rows differs.
    #[error("{found} rows where {expected} were expected")]
    Rows {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// Rows that are not in order.
    #[error("row {row} comes before the one it follows")]
    Order {
        /// Counted from 0.
        row: u64,
    },
    /// A row of another day.
    #[error("row {row} belongs to another day")]
    Day {
        /// Counted from 0.
        row: u64,
    },
    /// A candle of another year.
    #[error("a row of {ts} belongs to another year")]
    Year {
        /// Its open time.
        ts: UnixNanos,
    },
    /// Times in seconds, as dccd 2.x wrote them.
    #[error("its times are in seconds, as dccd 2.x (Python) wrote them: `dccd convert` copies such files and converts them")]
    Seconds,
    /// A column of dccd 2.x.
    #[error("column {column} is of dccd 2.x (Python): `dccd convert` copies such files and converts them")]
    LegacyColumn {
        /// Its name.
        column: &'static str,
    },
}

/// What is wrong with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointProblem {
    /// Too short, no magic, or the checksum doesn't match.
    #[error("damaged")]
    Damaged,
    /// Written by another version.
    #[error("version {0} of the format")]
    Version(u32),
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, source },
            _ => Self::Io { doing, path, source },
        }
    }

    /// A Parquet error; one that a full disk caused comes out as what it is.
    pub(crate) fn parquet(doing: &'static str, path: &Path, source: ParquetError) -> Self {
        match source {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => Self::io(doing, path, *error),
                Err(inner) => Self::Parquet { doing, path: path.to_owned(), source: ParquetError::External(inner) },
            },
            source => Self::Parquet { doing, path: path.to_owned(), source },
        }
    }

    /// The error that arrow reports through a record-batch reader.
    pub(crate) fn arrow(doing: &'static str, path: &Path, source: arrow_schema::ArrowError) -> Self {
        Self::parquet(doing, path, source.into())
    }

    pub(crate) fn file(path: &Path, problem: FileProblem) -> Self {
        Self::File { path: path.to_owned(), problem }
    }

    /// Whether this says that a file is of a form that we don't take over, rather than damaged.
    #[must_use]
    pub const fn is_foreign_form(&self) -> bool {
        matches!(
            self,
            Self::File {
                problem: FileProblem::Seconds
                    | FileProblem::LegacyColumn { .. }
                    | FileProblem::UnknownColumn { .. }
                    | FileProblem::Column { .. },
                ..
            }
        )
    }

    /// Whether this says that the file's content is bad, rather than that it could not be reached. A disk that can't give the
    /// bytes back any more counts as bad content.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Parquet { .. } | Self::File { .. } => true,
            Self::Io { doing, source, .. } => doing.starts_with("read") && source.raw_os_error() == Some(EIO),
            _ => false,
        }
    }
}
