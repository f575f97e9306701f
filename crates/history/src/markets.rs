//! The exchange's list of markets for history jobs: that of last time while it is fresh and has what is wanted, else the exchange's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dccd_exchange::{Markets, MarketsList, Product};
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

/// The markets of the exchange, all of `wanted` among them if it has them. Those of a product with an address of its own are asked
/// for, too; where that doesn't answer, the list goes on without them, or with those of last time.
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
    let kept = kept_markets(&path);
    if let Some(KeptMarkets { markets, is_fresh: true }) = &kept
        && wanted.iter().all(|symbol| markets.by_symbol(symbol).is_some())
    {
        return Ok(markets.clone());
    }
    let unreadable = |error| HistoryJobError::Markets(Box::new(error));
    let needed: Vec<Product> = wanted.iter().map(|symbol| source.adapter.rest_of(symbol)).collect();
    let products: Vec<Product> = source.rest.lists().chain(needed.iter().copied()).collect();
    let mut list = MarketsList::new(source.adapter.as_ref(), &products);
    while let Some(request) = list.request().cloned() {
        // What nobody waits for is not asked for twice.
        let attempts = Attempts::default();
        let is_needed = needed.is_empty() || needed.contains(&request.product);
        let attempts = Attempts { max: if is_needed { attempts.max } else { 1 }, ..attempts };
        let body = |response: &dccd_net::HttpResponse| Ok(response.body.clone());
        let fetched = source.ask(&request, Priority::Collect, &attempts, cancel, body).await;
        match (fetched, &kept) {
            (Ok(body), _) => match list.answer(&body) {
                Ok(()) => {}
                Err(error) if list.pass_over() => {
                    tracing::warn!(%exchange, product = ?request.product, error = crate::chain(&error), "the list of these markets makes no sense; going on without, or with those of last time");
                }
                Err(error) => return Err(unreadable(error)),
            },
            (Err(FetchError::Cancelled(cancelled)), _) => return Err(cancelled.into()),
            (Err(error), _) if list.pass_over() => {
                tracing::warn!(%exchange, product = ?request.product, error = crate::chain(&error), "these markets could not be fetched; going on without, or with those of last time");
            }
            (Err(error), Some(KeptMarkets { markets, .. })) => {
                tracing::warn!(%exchange, error = crate::chain(&error), "the exchange's markets could not be fetched; going on with those of last time");
                return Ok(markets.clone());
            }
            (Err(error), None) => {
                return Err(HistoryJobError::MarketsUnavailable {
                    exchange: source.adapter.name(),
                    source: Box::new(error),
                });
            }
        }
    }
    let is_fresh = list.missing().is_none_or(|missing| !needed.contains(&missing));
    let markets = list.joined(kept.as_ref().map(|kept| kept.markets.as_ref()));
    // A list of which a part that is wanted is as old as before isn't fresh.
    if is_fresh || kept.is_none() {
        keep_markets(&path, &markets);
    }
    Ok(Arc::new(markets))
}

/// The list of last time.
#[derive(Debug)]
pub struct KeptMarkets {
    /// What is in it.
    pub markets: Arc<Markets>,
    /// Whether it is of today.
    pub is_fresh: bool,
}

/// The list of last time; one that can't be read counts as none.
#[must_use]
pub fn kept_markets(path: &Path) -> Option<KeptMarkets> {
    let age = path.metadata().ok()?.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(markets) => Some(KeptMarkets { markets: Arc::new(markets), is_fresh: age.is_some_and(|age| age < FRESH_FOR) }),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the kept markets can't be read; they are fetched anew");
            None
        }
    }
}

/// Keeps a list for the next time; that it can't be is no failure.
pub fn keep_markets(path: &Path, markets: &Markets) {
    let kept = serde_json::to_vec(markets).map_err(|error| error.to_string());
    let kept = kept.and_then(|text| dccd_store::write_atomically(path, &text).map_err(|error| crate::chain(&error)));
    if let Err(error) = kept {
        tracing::warn!(path = %path.display(), error, "the markets could not be kept");
    }
}
