//! The exchange's markets, which a service needs before it can begin; and those that an exchange lists at another address, which
//! hold up nobody else's.

use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Markets, Product};
use dccd_service::ServiceContext;
use tracing::warn;

use super::Parts;
use crate::lister::{Asking, Beginning, Fetched};
use crate::shared::Part;

/// Between two attempts to get the exchange's markets.
const MARKETS_RETRY: Duration = Duration::from_secs(2);
/// Before those are asked for again that couldn't be had, while the others are collected.
const OTHERS_RETRY: Duration = Duration::from_secs(30);
/// Patience with each part of the exchange's list of markets before the service registers without it, and after.
const MARKETS_PATIENCE: Duration = Duration::from_secs(2);
const MARKETS_PATIENCE_REGISTERED: Duration = Duration::from_secs(60);

impl Parts<'_> {
    /// The exchange's markets: those of last time where they have all that is wanted, whatever their age, because recording
    /// must not wait for REST. Else the exchange is asked, and until it answers the service is registered and degraded. It doesn't
    /// wait for what is listed at another address: that is opened when it answers at last. `None`: shut down before.
    pub(super) async fn markets(&self, ctx: &ServiceContext, registered: &mut bool) -> Option<Beginning> {
        let path = dccd_history::markets_path(&self.options.data_path, &self.options.exchange);
        let kept = dccd_history::kept_markets(&path);
        let needed: Vec<Product> = self.options.feeds.iter().map(|(symbol, _)| self.adapter.rest_of(symbol)).collect();
        let asking = Asking { adapter: self.adapter.clone(), rest: self.rest.clone(), path, products: self.listed.clone() };
        let is_listed = |markets: &Markets| self.options.feeds.iter().all(|(symbol, _)| markets.by_symbol(symbol).is_some());
        let renew_after = dccd_history::renew_after(&self.options.exchange);
        let begin = |asking: Asking, markets: Arc<Markets>, renew_in| Some(Beginning { asking, markets, renew_in });
        if let Some(kept) = kept.as_ref().filter(|kept| is_listed(&kept.markets)) {
            let of = if needed.is_empty() { &self.adapter.rest_products()[..1] } else { &needed };
            let renew_in = kept.age(of).map_or(Duration::ZERO, |age| renew_after.saturating_sub(age));
            return begin(asking, kept.markets.clone(), renew_in);
        }
        let mut patience = MARKETS_PATIENCE;
        loop {
            let attempt = tokio::select! {
                attempt = asking.fetch(patience, kept.as_ref()) => attempt,
                _ = ctx.shutdown().wait() => return None,
            };
            let reason = match attempt {
                Ok(Fetched { markets, missing }) => {
                    let missing = missing.filter(|(product, _)| needed.contains(product) && !is_listed(&markets));
                    let trouble = missing.map(|(_, reason)| format!("waiting for the list of derivatives: {reason}"));
                    if let Some(reason) = &trouble {
                        warn!(reason, "cannot collect derivatives yet; everything else goes on");
                    }
                    let renew_in = if trouble.is_some() { OTHERS_RETRY } else { renew_after };
                    self.shared.set_trouble(Part::Markets, trouble);
                    return begin(asking, Arc::new(markets), renew_in);
                }
                Err(reason) => reason,
            };
            if let Some(kept) = kept {
                warn!(reason, "the exchange's markets cannot be fetched; going on with those of last time");
                self.shared.set_trouble(Part::Markets, None);
                return begin(asking, kept.markets, OTHERS_RETRY);
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
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dccd_exchange::AdapterOptions;
    use dccd_history::{RestAddresses, RestClients};

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
        let last = dccd_history::kept_markets(&directory.path().join("markets.json"));
        assert!(last.as_ref().unwrap().is_fresh(&[Product::Spot, Product::Linear]));
        for (linear, patience) in
            [("http://127.0.0.1:1".to_owned(), PATIENT), (senseless, PATIENT), (silent, Duration::from_secs(2))]
        {
            let asking = asking(directory.path(), linear).await;
            let alone = asking.fetch(patience, None).await.unwrap();
            assert_eq!(symbols(&alone.markets), ["BTC/USDT"]);
            assert!(matches!(&alone.missing, Some((Product::Linear, reason)) if !reason.is_empty()), "{:?}", alone.missing);
            let with_last = asking.fetch(patience, last.as_ref()).await.unwrap();
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
