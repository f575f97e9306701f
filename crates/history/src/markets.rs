//! The exchange's list of markets for history jobs: that of last time while it is fresh and has what is wanted, else the exchange's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dccd_exchange::{Markets, MarketsList, Product};
use dccd_model::{ExchangeName, Symbol, UnixNanos};
use dccd_net::Priority;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::HistoryJobError;
use crate::fetch::{Attempts, FetchError, Source};

/// A list older than this is fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Who lives on renews it so much earlier, at most; each exchange at another time.
const RENEWED_EARLIER: Duration = Duration::from_secs(3_600);

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
    let needed: Vec<Product> = wanted.iter().map(|symbol| source.adapter.rest_of(symbol)).collect();
    if let Some(kept) = &kept
        && kept.is_fresh(if needed.is_empty() { &source.adapter.rest_products()[..1] } else { &needed })
        && wanted.iter().all(|symbol| kept.markets.by_symbol(symbol).is_some())
    {
        return Ok(kept.markets.clone());
    }
    let unreadable = |error| HistoryJobError::Markets(Box::new(error));
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
    let had: Vec<Product> = list.had().collect();
    let markets = list.joined(kept.as_ref().map(|kept| kept.markets.as_ref()));
    keep_markets(&path, &markets, &had, kept.as_ref());
    Ok(Arc::new(markets))
}

/// The list of last time.
#[derive(Clone, Debug)]
pub struct KeptMarkets {
    /// What is in it.
    pub markets: Arc<Markets>,
    /// When the part of each product was fetched, host clock.
    fetched: BTreeMap<Product, UnixNanos>,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
struct Stored<M> {
    #[serde(flatten)]
    markets: M,
    /// As [`KeptMarkets::fetched`], nanoseconds. Files of former versions have none; they are as old as their time says.
    #[serde(default)]
    fetched: BTreeMap<Product, i64>,
}

impl KeptMarkets {
    /// How old the oldest of the parts of these products is; `None` where one was never fetched, or the clock went back.
    #[must_use]
    pub fn age(&self, products: &[Product]) -> Option<Duration> {
        let oldest = products.iter().map(|product| self.fetched.get(product).copied()).min()??;
        u64::try_from(now().0.saturating_sub(oldest.0)).ok().map(Duration::from_nanos)
    }

    /// Whether the parts of all these products are of today.
    #[must_use]
    pub fn is_fresh(&self, products: &[Product]) -> bool {
        self.age(products).is_some_and(|age| age < FRESH_FOR)
    }
}

/// How old a list may get before a process that lives on renews it: less than a day, for each exchange another time, always the same.
#[must_use]
pub fn renew_after(exchange: &ExchangeName) -> Duration {
    FRESH_FOR - RENEWED_EARLIER * crate::schedule::thousandth(exchange.as_str()) / 1_000
}

fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// The list of last time; one that can't be read counts as none.
#[must_use]
pub fn kept_markets(path: &Path) -> Option<KeptMarkets> {
    let text = std::fs::read(path).ok()?;
    let Stored::<Markets> { markets, fetched } = match serde_json::from_slice(&text) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the kept markets can't be read; they are fetched anew");
            return None;
        }
    };
    let mut fetched: BTreeMap<_, _> = fetched.into_iter().map(|(product, at)| (product, UnixNanos(at))).collect();
    if fetched.is_empty() {
        let modified = path.metadata().ok()?.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        fetched.insert(Product::Spot, UnixNanos(i64::try_from(modified.as_nanos()).ok()?));
    }
    Some(KeptMarkets { markets: Arc::new(markets), fetched })
}

/// Keeps a list for the next time; that it can't be is no failure. The parts of `had` were fetched just now, all others are those
/// of `before`.
pub fn keep_markets(path: &Path, markets: &Markets, had: &[Product], before: Option<&KeptMarkets>) {
    let times = before.into_iter().flat_map(|kept| &kept.fetched).map(|(product, at)| (*product, at.0));
    let fetched = times.chain(had.iter().map(|product| (*product, now().0))).collect();
    let kept = serde_json::to_vec(&Stored { markets: markets.clone(), fetched }).map_err(|error| error.to_string());
    let kept = kept.and_then(|text| dccd_store::write_atomically(path, &text).map_err(|error| crate::chain(&error)));
    if let Err(error) = kept {
        tracing::warn!(path = %path.display(), error, "the markets could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"markets":[{"symbol":"BTC/USDT","id":"BTCUSDT","status":"trading","price_tick":null,"amount_step":null,
        "amount_min":null,"amount_max":null,"notional_min":null}],"skipped":0}"#;
    const DAY: u64 = 24 * 3_600;

    #[test]
    fn each_products_part_of_the_list_has_an_age_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("markets.json");
        assert!(kept_markets(&path).is_none());
        // A file of a former version is as old as it is; of derivatives it says nothing.
        std::fs::write(&path, OLD).unwrap();
        let kept = kept_markets(&path).unwrap();
        assert_eq!(kept.markets.len(), 1);
        assert!(kept.is_fresh(&[Product::Spot]) && !kept.is_fresh(&[Product::Spot, Product::Linear]));
        std::fs::File::open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(DAY)).unwrap();
        let kept = kept_markets(&path).unwrap();
        assert!(!kept.is_fresh(&[Product::Spot]));
        // The derivatives come, and a day later only spot does.
        keep_markets(&path, &kept.markets, &[Product::Linear], Some(&kept));
        let mut kept = kept_markets(&path).unwrap();
        assert!(kept.is_fresh(&[Product::Linear]) && !kept.is_fresh(&[Product::Spot]));
        kept.fetched.insert(Product::Linear, UnixNanos(now().0 - i64::try_from(DAY).unwrap() * 1_000_000_000));
        keep_markets(&path, &kept.markets, &[Product::Spot], Some(&kept));
        let kept = kept_markets(&path).unwrap();
        assert!(kept.is_fresh(&[Product::Spot]) && !kept.is_fresh(&[Product::Linear]), "old perpetuals pass for fresh");
        assert_eq!(kept.markets.len(), 1);
    }

    #[test]
    fn a_list_is_renewed_before_it_is_a_day_old_at_another_time_for_each_exchange() {
        let after = ["binance", "kraken"].map(|name| renew_after(&name.parse().unwrap()));
        assert!(after.iter().all(|after| (23 * 3_600..=DAY).contains(&after.as_secs())), "{after:?}");
        assert_ne!(after[0], after[1]);
    }
}
