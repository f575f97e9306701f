//! Reading a ledger back, also while it is being written.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::LedgerRecord;

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file can't be opened or read.
    #[error("could not read the ledger {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A whole line that is no record.
    #[error("line {line} of the ledger {path} is not a ledger record")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
}

/// The records of a ledger, in the order in which they happened. Ends at the end of the file or at a torn last line; asked
/// again later, it goes on with what has been written since.
#[derive(Debug)]
pub struct LedgerReader {
    path: PathBuf,
    file: BufReader<File>,
    line: usize,
    /// The torn line so far.
    pending: Vec<u8>,
}

impl LedgerReader {
    /// Opens a ledger at its beginning.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = File::open(path).map_err(|source| LedgerError::Read { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 20, file), line: 0, pending: Vec::new() })
    }
}

impl Iterator for LedgerReader {
    type Item = Result<LedgerRecord, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(source) = self.file.read_until(b'\n', &mut self.pending) {
            return Some(Err(LedgerError::Read { path: self.path.clone(), source }));
        }
        if self.pending.last() != Some(&b'\n') {
            return None;
        }
        self.line += 1;
        let record = serde_json::from_slice(&self.pending).map_err(|source| LedgerError::Malformed {
            path: self.path.clone(),
            line: self.line,
            source,
        });
        self.pending.clear();
        Some(record)
    }
}
