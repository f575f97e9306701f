//! The audit: what a simulated exchange sent, held against what a store has, record by record.
//!
//! It reads the ledger's frames with a JSON parser of its own and the store's files as any reader would; it shares no code with
//! the adapters. Whatever the exchange sent to a connection must be in the files exactly once with its exact values, or lie
//! in a declared gap. What an exchange shows at the beginning of a subscription may be stored, and need not be. Ids that the exchange gave out while nobody was connected must be stored (fetched later) or declared too.

mod bitfinex;
mod book;
mod bybit;
mod coinbase;
mod deribit;
mod kraken;
mod kucoin;
mod okx;
mod quotes;
mod sent;
mod trades;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use dccd_model::{Channel, Gap, Symbol};
use dccd_store::StoreError;
use serde::Serialize;

use crate::ledger::LedgerError;
use quotes::Told;
pub use sent::Sent;
use trades::Times;

/// Problems described in words, per series at most.
const PROBLEMS_MAX: usize = 5;

/// Before the names of the streams of Binance's perpetuals.
const USDM: &str = "usdm:";

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger can't be read.
    #[error("cannot read the ledger")]
    Ledger(#[from] LedgerError),
    /// A file of the store can't be read.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    /// A directory of the store can't be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A frame of the ledger is not what its stream says.
    #[error("a frame of the ledger on {stream} is not understood: {raw}")]
    Frame {
        /// Its stream.
        stream: String,
        /// Its text.
        raw: String,
    },
}

/// The outcome for one series. Records are trades, quotes, or order-book events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SeriesAudit {
    /// The series, e.g. `BTC/USDT/trades`.
    pub series: String,
    /// Records that reached a connection, each counted once.
    pub sent: u64,
    /// Records in the files.
    pub stored: u64,
    /// Of the stored ones, those that were never sent and were fetched instead.
    pub fetched: u64,
    /// Sent, not stored, and not declared: there must be none.
    pub missing: u64,
    /// Stored more than once: there must be none.
    pub duplicate: u64,
    /// Stored with other values than sent, or never sent and never fetched: there must be none.
    pub wrong: u64,
    /// Not stored, and declared as a gap.
    pub declared: u64,
    /// Gaps declared and not made good.
    pub gaps: u64,
    /// Gaps that were made good.
    pub repaired: u64,
    /// The first few problems in words.
    pub problems: Vec<String>,
}

impl SeriesAudit {
    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text());
        }
    }

    fn count_gaps(&mut self, gaps: &[Gap]) {
        self.repaired = gaps.iter().filter(|g| g.repaired).count() as u64;
        self.gaps = gaps.len() as u64 - self.repaired;
    }

    /// Whether nothing is missing, twice, or wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.missing == 0 && self.duplicate == 0 && self.wrong == 0
    }
}

/// The outcome for a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Series by series.
    pub series: Vec<SeriesAudit>,
}

impl Audit {
    /// The sum of all series.
    #[must_use]
    pub fn total(&self) -> SeriesAudit {
        let mut total = SeriesAudit { series: "total".to_owned(), ..SeriesAudit::default() };
        for s in &self.series {
            total.sent += s.sent;
            total.stored += s.stored;
            total.fetched += s.fetched;
            total.missing += s.missing;
            total.duplicate += s.duplicate;
            total.wrong += s.wrong;
            total.declared += s.declared;
            total.gaps += s.gaps;
            total.repaired += s.repaired;
            total.problems.extend(s.problems.iter().map(|p| format!("{}: {p}", s.series)));
        }
        total
    }

    /// Whether something was sent, and nothing is missing, twice, or wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let total = self.total();
        total.sent > 0 && total.is_clean()
    }
}

/// The sum in a line, but for what is missing or twice.
impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.total();
        write!(
            f,
            "sent {}, stored {} ({} of them fetched after gaps), declared missing {}, wrong {}",
            t.sent, t.stored, t.fetched, t.declared, t.wrong
        )
    }
}

/// Holds a ledger against the files of one exchange in a store. The store must be at rest and complete (flushed, or stopped).
///
/// # Errors
/// When the ledger or a file can't be read.
pub fn audit(ledger: &Path, data_path: &Path, exchange: &str) -> Result<Audit, AuditError> {
    if exchange == bitfinex::NAME {
        return bitfinex::audit(ledger, data_path);
    }
    if exchange == bybit::NAME {
        return bybit::audit(ledger, data_path);
    }
    if exchange == coinbase::NAME {
        return coinbase::audit(ledger, data_path);
    }
    if exchange == deribit::NAME {
        return deribit::audit(ledger, data_path);
    }
    if exchange == kraken::NAME {
        return kraken::audit(ledger, data_path);
    }
    if exchange == kucoin::NAME {
        return kucoin::audit(ledger, data_path);
    }
    if exchange == okx::NAME {
        return okx::audit(ledger, data_path);
    }
    let sent = Sent::read(ledger)?;
    let mut series = Vec::new();
    for (symbol, sent) in &sent.symbols {
        let files = |channel: Channel| files(data_path, exchange, channel, symbol);
        if !sent.trades.is_empty() {
            series.push(trades::audit(symbol, &sent.trades, &BTreeMap::new(), Times::Message, &files(Channel::Trades)?)?);
        }
        if !sent.quotes.is_empty() {
            let told = sent.quotes.iter().map(|(label, quote)| Told { label: *label, quote: *quote, must: true });
            series.push(quotes::audit(symbol, &told.collect::<Vec<_>>(), &files(Channel::Quotes)?)?);
        }
        if !sent.depth.is_empty() {
            series.push(book::audit(symbol, &sent.depth, |_, id| id, &files(Channel::Book)?)?);
        }
    }
    Ok(Audit { series })
}

/// The day files of the market with this id in the exchange's own lower-case form (`btcusdt`, of a perpetual `usdm:btcusdt`),
/// oldest first.
fn files(data_path: &Path, exchange: &str, channel: Channel, id: &str) -> Result<Vec<PathBuf>, AuditError> {
    let perpetual = id.strip_prefix(USDM);
    let is_it = |symbol: &Symbol| {
        symbol.settle().is_some() == perpetual.is_some()
            && format!("{}{}", symbol.base(), symbol.quote()).to_lowercase() == perpetual.unwrap_or(id)
    };
    let found = files_of(data_path, exchange, channel, is_it)?;
    Ok(found.into_iter().flat_map(|(_, files)| files).collect())
}

/// The day files of each market like this, oldest first.
fn files_of(
    data_path: &Path,
    exchange: &str,
    channel: Channel,
    is_wanted: impl Fn(&Symbol) -> bool,
) -> Result<Vec<(Symbol, Vec<PathBuf>)>, AuditError> {
    let root = data_path.join(exchange).join(channel.directory());
    let mut found = Vec::new();
    for pair in list(&root)? {
        let symbol = pair.file_name().and_then(|n| n.to_str()).and_then(Symbol::from_path_name);
        if let Some(symbol) = symbol.filter(&is_wanted) {
            found.push((symbol, tables(&pair)?));
        }
    }
    Ok(found)
}

/// The day files in a directory, oldest first.
fn tables(path: &Path) -> Result<Vec<PathBuf>, AuditError> {
    Ok(list(path)?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect())
}

/// What is in a directory, in the order of names; nothing in one that isn't there.
fn list(path: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| AuditError::List { path: path.to_owned(), source })?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|source| AuditError::List { path: path.to_owned(), source })?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The gaps of these files. One that touches two days stands in both files and counts once.
fn gaps(files: &[PathBuf]) -> Result<Vec<Gap>, AuditError> {
    let mut all: Vec<Gap> = Vec::new();
    for file in files {
        for gap in dccd_store::read_gaps(file)? {
            if !all.contains(&gap) {
                all.push(gap);
            }
        }
    }
    Ok(all)
}
