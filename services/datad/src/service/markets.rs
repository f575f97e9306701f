//! The exchange's markets, which a service needs before it can begin; and those that an exchange lists at another address, which
//! hold up nobody else's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, Markets, MarketsList, Product, RestRequest};
use dccd_history::RestClients;
use dccd_model::Symbol;
use dccd_net::Priority;
use dccd_service::ServiceContext;
use tracing::{info, warn};

use super::Parts;
use crate::error::chain;
use crate::shared::Part;

/// Between two attempts to get the exchange's markets.
const MARKETS_RETRY: Duration = Duration::from_secs(2);
/// Between two attempts to get those that are listed elsewhere, while the others are collected.
const OTHERS_RETRY: Duration = Duration::from_secs(30);
/// Patience with each part of the exchange's list of markets before the service registers without it, and after.
const MARKETS_PATIENCE: Duration = Duration::from_secs(2);
const MARKETS_PATIENCE_REGISTERED: Duration = Duration::from_secs(60);

/// What is needed to ask for the list.
#[derive(Clone)]
struct Asking {
    adapter: Arc<dyn Adapter>,
    rest: RestClients,
    /// Where the list is kept.
    path: PathBuf,
    /// The products whose lists are asked for.
    products: Vec<Product>,
}

/// A list, and what of it couldn't be had.
struct Fetched {
    markets: Markets,
    missing: Option<(Product, String)>,
}

impl Parts<'_> {
    /// The exchange's markets: those of last time where they have all that is wanted, whatever their age, because recording
    /// must not wait for REST. Else the exchange is asked, and until it answers the service is registered and degraded. It doesn't
    /// wait for what is listed at another address: the service begins anew when that answers at last.
    pub(super) async fn markets(&self, ctx: &ServiceContext, registered: &mut bool) -> Option<Markets> {
        let path = dccd_history::markets_path(&self.options.data_path, &self.options.exchange);
        let kept = dccd_history::kept_markets(&path);
        let needed: Vec<Product> = self.options.feeds.iter().map(|(symbol, _)| self.adapter.rest_of(symbol)).collect();
        let products = self.rest.lists().chain(needed.iter().copied()).collect();
        let asking = Asking { adapter: self.adapter.clone(), rest: self.rest.clone(), path, products };
        let is_listed = |markets: &Markets| self.options.feeds.iter().all(|(symbol, _)| markets.by_symbol(symbol).is_some());
        if let Some(kept) = kept.as_ref().filter(|kept| is_listed(&kept.markets)) {
            if !kept.is_fresh {
                refresh_markets(asking);
            }
            return Some((*kept.markets).clone());
        }
        let mut patience = MARKETS_PATIENCE;
        loop {
            let last = kept.as_ref().map(|kept| kept.markets.as_ref());
            let attempt = tokio::select! {
                attempt = asking.fetch(patience, last) => attempt,
                _ = ctx.shutdown().wait() => return None,
            };
            let reason = match attempt {
                Ok(Fetched { markets, missing }) => {
                    let missing = missing.filter(|(product, _)| needed.contains(product) && !is_listed(&markets));
                    let trouble = missing.map(|(_, reason)| format!("waiting for the list of derivatives: {reason}"));
                    if let Some(reason) = &trouble {
                        warn!(reason, "cannot collect derivatives yet; everything else goes on");
                        let wanted = self.options.feeds.iter().map(|(symbol, _)| symbol);
                        let absent = wanted.filter(|symbol| markets.by_symbol(symbol).is_none()).cloned().collect();
                        self.await_others(asking, absent);
                    }
                    self.shared.set_trouble(Part::Markets, trouble);
                    return Some(markets);
                }
                Err(reason) => reason,
            };
            if let Some(kept) = kept {
                warn!(reason, "the exchange's markets cannot be fetched; going on with those of last time");
                refresh_markets(asking);
                self.shared.set_trouble(Part::Markets, None);
                return Some((*kept.markets).clone());
            }
            let reason = format!("waiting for the exchange's markets: {reason}");
            if self.shared.set_trouble(Part::Markets, Some(reason.clone())) {
                warn!(reason, "cannot start collecting yet");
            }
            self.register_degraded(ctx, registered, reason).await;
            patience = MARKETS_PATIENCE_REGISTERED;
            tokio::select! {
                () = tokio::time::sleep(MARKETS_RETRY) => {}
                _ = ctx.shutdown().wait() => return None,
            }
        }
    }

    /// Asks until the whole list is there, and kept; then the service is to begin anew, if that has one of these that are absent.
    fn await_others(&self, asking: Asking, absent: Vec<Symbol>) {
        let list_wanted = self.list_wanted.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(OTHERS_RETRY).await;
                let last = dccd_history::kept_markets(&asking.path);
                let last = last.as_ref().map(|kept| kept.markets.as_ref());
                let Ok(fetched) = asking.fetch(MARKETS_PATIENCE_REGISTERED, last).await else { continue };
                // Beginning anew is worth it only for markets that are wanted and listed now.
                let is_news = absent.iter().any(|symbol| fetched.markets.by_symbol(symbol).is_some());
                match (fetched.missing, is_news) {
                    (None, true) => return list_wanted.notify_one(),
                    (None, false) => return,
                    (Some(_), _) => {}
                }
            }
        });
    }
}

/// Fetches the markets for the next start, while this one goes on with what it has.
fn refresh_markets(asking: Asking) {
    tokio::spawn(async move {
        let last = dccd_history::kept_markets(&asking.path);
        let last = last.as_ref().map(|kept| kept.markets.as_ref());
        let reason = match asking.fetch(MARKETS_PATIENCE_REGISTERED, last).await {
            Ok(Fetched { missing: None, .. }) => return,
            Ok(Fetched { missing: Some((_, reason)), .. }) | Err(reason) => reason,
        };
        warn!(reason, "the exchange's markets could not be refreshed; those of last time are used again");
    });
}

impl Asking {
    /// Fetches the markets from the exchange and keeps them, with those of `last` for what doesn't answer.
    ///
    /// # Errors
    /// In words, what went wrong: no connection, a refusal, an answer that is none.
    async fn fetch(&self, patience: Duration, last: Option<&Markets>) -> Result<Fetched, String> {
        let mut list = MarketsList::new(self.adapter.as_ref(), &self.products);
        let mut reason = String::new();
        while let Some(request) = list.request().cloned() {
            let part = self.part(&request, patience).await;
            match part.and_then(|body| list.answer(&body).map_err(|e| chain(&e))) {
                Ok(()) => {}
                Err(error) if list.pass_over() => reason = error,
                Err(error) => return Err(error),
            }
        }
        let missing = list.missing().map(|product| (product, reason));
        let markets = list.joined(last);
        info!(markets = markets.len(), "fetched the exchange's markets");
        if let Some((product, reason)) = &missing {
            info!(?product, reason, "without those that are listed at another address");
        }
        dccd_history::keep_markets(&self.path, &markets);
        Ok(Fetched { markets, missing })
    }

    async fn part(&self, request: &RestRequest, patience: Duration) -> Result<bytes::Bytes, String> {
        match tokio::time::timeout(patience, self.rest.get(request, Priority::Live)).await {
            Ok(Ok(response)) => Ok(response.body),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {patience:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dccd_exchange::AdapterOptions;
    use dccd_history::RestAddresses;

    use super::*;
    use crate::served::serve;

    const SPOT: &str = r#"{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"}]}"#;
    const LINEAR: &str = r#"{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","contractType":"PERPETUAL","marginAsset":"USDT"}]}"#;
    /// Long enough for a server that answers at once, wherever the test runs.
    const PATIENT: Duration = Duration::from_secs(30);

    async fn asking(directory: &Path, linear: String) -> Asking {
        dccd_net::install_crypto_provider();
        let base = serve(|path| path.starts_with("/api/v3/exchangeInfo").then(|| SPOT.to_owned())).await;
        let adapter = dccd_exchange::adapter("binance", &AdapterOptions::default()).unwrap();
        let addresses = RestAddresses { base: Some(base), linear: Some(linear), weight_per_minute: None };
        let rest = RestClients::new(&"binance".parse().unwrap(), adapter.as_ref(), &addresses, None).unwrap();
        let products = rest.lists().collect();
        Asking { adapter, rest, path: directory.join("markets.json"), products }
    }

    fn symbols(markets: &Markets) -> Vec<String> {
        markets.iter().map(|market| market.symbol.to_string()).collect()
    }

    #[tokio::test]
    async fn perpetuals_that_cannot_be_listed_hold_up_no_spot_and_are_those_of_last_time() {
        let directory = tempfile::tempdir().unwrap();
        let served = serve(|path| path.starts_with("/fapi/v1/exchangeInfo").then(|| LINEAR.to_owned())).await;
        let silent = serve(|_| None).await;
        let senseless = serve(|_| Some("<html>not in your region</html>".to_owned())).await;
        let whole = asking(directory.path(), served).await.fetch(PATIENT, None).await.unwrap();
        assert_eq!((symbols(&whole.markets).join(" ").as_str(), whole.missing), ("BTC/USDT BTC/USDT:USDT", None));
        for (linear, patience) in
            [("http://127.0.0.1:1".to_owned(), PATIENT), (senseless, PATIENT), (silent, Duration::from_secs(2))]
        {
            let asking = asking(directory.path(), linear).await;
            let alone = asking.fetch(patience, None).await.unwrap();
            assert_eq!(symbols(&alone.markets), ["BTC/USDT"]);
            assert!(matches!(&alone.missing, Some((Product::Linear, reason)) if !reason.is_empty()), "{:?}", alone.missing);
            let with_last = asking.fetch(patience, Some(&whole.markets)).await.unwrap();
            assert_eq!(symbols(&with_last.markets), ["BTC/USDT", "BTC/USDT:USDT"]);
            let kept = dccd_history::kept_markets(&asking.path).unwrap();
            assert_eq!(symbols(&kept.markets), ["BTC/USDT", "BTC/USDT:USDT"]);
        }
    }

    #[tokio::test]
    async fn without_the_list_of_spot_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let linear = serve(|_| Some(LINEAR.to_owned())).await;
        let mut asking = asking(directory.path(), linear).await;
        let addresses = RestAddresses { base: Some("http://127.0.0.1:1".to_owned()), ..RestAddresses::default() };
        asking.rest = RestClients::new(&"binance".parse().unwrap(), asking.adapter.as_ref(), &addresses, None).unwrap();
        assert!(asking.fetch(PATIENT, None).await.is_err());
        assert!(!asking.path.exists());
    }
}
