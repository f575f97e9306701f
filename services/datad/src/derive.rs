//! Deriving a store from a journal alone: the recorder's own recovery, run to the journal's end and closed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{AdapterOptions, Markets};
use dccd_model::ExchangeName;
use dccd_rpc::datad::FlushReport;
use dccd_store::{Recorder, RecorderOptions};
use tokio::sync::mpsc;

use crate::error::DatadError;
use crate::recorder::{RecorderContext, RecorderLoop};
use crate::shared::Shared;

/// How a journal is read.
#[derive(Clone, Debug)]
pub struct DeriveOptions {
    /// The exchange's markets as the collector kept them: `<data_path>/.dccd/state/<exchange>/markets.json`.
    pub markets: PathBuf,
    /// See [`crate::DatadOptions::aggregated_trades`].
    pub aggregated_trades: bool,
    /// See [`crate::DatadOptions::depth`].
    pub depth: Option<u32>,
    /// See [`crate::DatadOptions::time_step`].
    pub time_step: Duration,
}

/// Writes to `data_path` what the journal in `journal_dir` holds, from the last checkpoint there or else from the beginning.
/// The journal is only read, and must be at rest.
///
/// # Errors
/// When journal, markets or store can't be used.
pub fn derive(
    journal_dir: &Path,
    data_path: &Path,
    exchange: &ExchangeName,
    options: &DeriveOptions,
) -> Result<FlushReport, DatadError> {
    let adapter_options = AdapterOptions { aggregated_trades: options.aggregated_trades, depth: options.depth };
    let adapter = dccd_exchange::adapter(exchange.as_str(), &adapter_options).ok_or_else(|| {
        DatadError::UnknownExchange { exchange: exchange.to_string(), known: dccd_exchange::NAMES.join(", ") }
    })?;
    let unreadable = |source| DatadError::File { doing: "read", path: options.markets.clone(), source };
    let text = std::fs::read(&options.markets).map_err(unreadable)?;
    let markets: Markets = serde_json::from_slice(&text).map_err(|error| unreadable(error.into()))?;
    let recorder_options = RecorderOptions {
        time_step: options.time_step,
        contiguous_ids: adapter.capabilities().trade_ids_contiguous,
        ..RecorderOptions::default()
    };
    let store_error = |source| DatadError::Store { dir: data_path.to_owned(), source };
    let recorder = Recorder::open(data_path, exchange, recorder_options).map_err(store_error)?;
    // What is missing is not asked for: the answers that there were are in the journal.
    let (fetches, _) = mpsc::channel(1);
    // Nor are live candles stored: they wait in the checkpoint for the collector.
    let (history, _) = mpsc::channel(1);
    let ctx = RecorderContext {
        adapter,
        markets: Arc::new(markets),
        journal_dir: journal_dir.to_owned(),
        sync: None,
        data_path: data_path.to_owned(),
        journal_keep_bytes: u64::MAX,
        fetches,
        history,
        shared: Arc::new(Shared::default()),
    };
    let (recorder, _) = RecorderLoop::recover(ctx, recorder)?;
    recorder.close()
}
