//! Opening the journal: where it ends, and who else may still hold it.

use std::path::Path;
use std::time::Duration;

use dccd_service::ServiceContext;
use dccd_store::Recorder;
use dccd_store::journal::{JournalOptions, JournalWriter};
use tracing::{info, warn};

use super::DatadOptions;
use crate::error::DatadError;

/// Opens the journal. A datad that is just ending (its root died) may still hold it: wait for that one, but not for ever.
pub(super) async fn open_journal(dir: &Path, ctx: &ServiceContext) -> Result<JournalWriter, DatadError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match JournalWriter::open(dir, JournalOptions::default()) {
            Ok(journal) => {
                let recovered = journal.recovered();
                if recovered.lost_entries() {
                    warn!(
                        ?recovered,
                        "the journal's end was not whole; what is missing is declared, and fetched where it can be"
                    );
                }
                return Ok(journal);
            }
            Err(dccd_store::journal::JournalError::Locked { holder, .. })
                if tokio::time::Instant::now() < deadline && !ctx.shutdown().is_triggered() =>
            {
                info!(%holder, "the journal is still held by another process; waiting for it");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(source) => return Err(DatadError::Journal { dir: dir.to_owned(), source }),
        }
    }
}

/// New entries must lie past everything that the store has taken in. They would not where a power cut took the journal's
/// last second but not the checkpoint, nor where the files came without the journal: from another host, or because
/// somebody removed `.dccd`.
pub(super) fn past_the_store(
    journal: JournalWriter,
    journal_dir: &Path,
    recorder: &Recorder,
    options: &DatadOptions,
) -> Result<JournalWriter, DatadError> {
    let store_error = |source| DatadError::Store { dir: options.data_path.clone(), source };
    let at_least = match recorder.checkpoint() {
        Some(checkpoint) => checkpoint.position,
        None => dccd_store::durable_position(&options.data_path, &options.exchange).map_err(store_error)?,
    };
    if journal.position() >= at_least {
        return Ok(journal);
    }
    let (end, store) = (journal.position().0, at_least.0);
    warn!(
        journal = end,
        store, "the store has more than the journal; what was sent in between is declared missing as feeds are opened"
    );
    drop(journal);
    JournalWriter::open(journal_dir, JournalOptions { at_least, ..JournalOptions::default() })
        .map_err(|source| DatadError::Journal { dir: journal_dir.to_owned(), source })
}
