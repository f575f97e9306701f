//! The exchange's markets: from the cache on disk while it is fresh, else from the exchange.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dccd_exchange::{Adapter, Markets};
use dccd_model::Symbol;
use dccd_net::{HttpClient, Priority};
use tracing::{info, warn};

use crate::error::chain;

/// A cache older than this is fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(24 * 3600);

/// Where an exchange's markets are kept.
pub(crate) fn cache_path(data_path: &Path, exchange: &str) -> PathBuf {
    data_path.join(".dccd").join("state").join(exchange).join("markets.json")
}

/// The markets of last time.
pub(crate) struct Cached {
    /// They themselves.
    pub(crate) markets: Markets,
    /// They have all the symbols that are wanted.
    pub(crate) complete: bool,
    /// They are of today.
    pub(crate) fresh: bool,
}

/// The cached markets, if there are any.
pub(crate) fn cached(path: &Path, wanted: &[Symbol]) -> Option<Cached> {
    let age = path.metadata().ok()?.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice::<Markets>(&text) {
        Ok(markets) => {
            let complete = wanted.iter().all(|s| markets.by_symbol(s).is_some());
            Some(Cached { markets, complete, fresh: age.is_some_and(|age| age < FRESH_FOR) })
        }
        Err(error) => {
            warn!(path = %path.display(), error = %error, "the cached markets cannot be read; fetching them anew");
            None
        }
    }
}

/// Fetches the markets from the exchange and caches them.
///
/// # Errors
/// In words, what went wrong: no connection, a refusal, an answer that is none.
pub(crate) async fn fetch(adapter: &Arc<dyn Adapter>, http: &HttpClient, path: &Path) -> Result<Markets, String> {
    let mut parts = Vec::new();
    let mut next = Some(adapter.markets_request());
    while let Some(request) = next {
        let response = http.get(&request.path_and_query, request.weight, Priority::Live).await.map_err(|e| chain(&e))?;
        parts.push(adapter.parse_markets(&response.body).map_err(|e| chain(&e))?);
        next = adapter.markets_next(&request, &response.body).map_err(|e| chain(&e))?;
    }
    let markets = Markets::joined(parts);
    info!(markets = markets.len(), "fetched the exchange's markets");
    match serde_json::to_vec(&markets) {
        Ok(text) => {
            if let Err(error) = dccd_store::write_atomically(path, &text) {
                warn!(path = %path.display(), error = %chain(&error), "could not cache the markets");
            }
        }
        Err(error) => warn!(error = %error, "could not cache the markets"),
    }
    Ok(markets)
}
