//! The exchange's list of markets for history jobs: that of last time while it is fresh and has what is wanted, else the exchange's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dccd_exchange::Markets;
use dccd_model::{ExchangeName, Symbol};
use dccd_net::Priority;

use crate::cancel::Cancel;
use crate::error::HistoryJobError;
use crate::fetch::{Attempts, FetchError, Source};

/// A list older than this is fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Where an exchange's markets are kept.
#[must_use]
pub fn markets_path(data_path: &Path, exchange: &ExchangeName) -> PathBuf {
    data_path.join(".dccd").join("state").join(exchange.as_str()).join("markets.json")
}

/// The markets of the exchange, all of `wanted` among them if it has them.
///
/// # Errors
/// When they are needed and can't be had.
pub async fn markets(
    source: &Source,
    data_path: &Path,
    exchange: &ExchangeName,
    wanted: &[Symbol],
    cancel: &Cancel,
) -> Result<Arc<Markets>, HistoryJobError> {
    let path = markets_path(data_path, exchange);
    let kept = kept(&path);
    if let Some((markets, true)) = &kept
        && wanted.iter().all(|symbol| markets.by_symbol(symbol).is_some())
    {
        return Ok(markets.clone());
    }
    let mut parts = Vec::new();
    let mut next = Some(source.adapter.markets_request());
    while let Some(request) = next {
        let fetched = source
            .ask(&request, Priority::Collect, &Attempts::default(), cancel, |response| Ok(response.body.clone()))
            .await;
        let body = match (fetched, &kept) {
            (Ok(body), _) => body,
            (Err(FetchError::Cancelled(cancelled)), _) => return Err(cancelled.into()),
            (Err(error), Some((markets, _))) => {
                tracing::warn!(%exchange, error = crate::chain(&error), "the exchange's markets could not be fetched; going on with those of last time");
                return Ok(markets.clone());
            }
            (Err(error), None) => {
                return Err(HistoryJobError::MarketsUnavailable {
                    exchange: source.adapter.name(),
                    source: Box::new(error),
                });
            }
        };
        let unreadable = |error| HistoryJobError::Markets(Box::new(error));
        parts.push(source.adapter.parse_markets(&body).map_err(unreadable)?);
        next = source.adapter.markets_next(&request, &body).map_err(unreadable)?;
    }
    let markets = Markets::joined(parts);
    match serde_json::to_vec(&markets) {
        Ok(text) => {
            if let Err(error) = dccd_store::write_atomically(&path, &text) {
                tracing::warn!(path = %path.display(), error = crate::chain(&error), "the markets could not be kept");
            }
        }
        Err(error) => tracing::warn!(%error, "the markets could not be kept"),
    }
    Ok(Arc::new(markets))
}

/// The list of last time, and whether it is fresh. One that can't be read counts as none.
fn kept(path: &Path) -> Option<(Arc<Markets>, bool)> {
    let age = path.metadata().ok()?.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
    let markets = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some((Arc::new(markets), age.is_some_and(|age| age < FRESH_FOR)))
}
