//! The exchange's markets, which a service needs before it can begin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, Markets, MarketsList};
use dccd_net::{HttpClient, Priority};
use dccd_service::ServiceContext;
use tracing::{info, warn};

use super::Parts;
use crate::error::chain;
use crate::shared::Part;

/// Between two attempts to get the exchange's markets.
const MARKETS_RETRY: Duration = Duration::from_secs(2);
/// Patience with the exchange's list of markets before the service registers without it, and after.
const MARKETS_PATIENCE: Duration = Duration::from_secs(2);
const MARKETS_PATIENCE_REGISTERED: Duration = Duration::from_secs(60);

impl Parts<'_> {
    /// The exchange's markets: those of last time where they have all that is wanted, whatever their age, because recording
    /// must not wait for REST. Else the exchange is asked, and until it answers the service is registered and degraded.
    pub(super) async fn markets(&self, ctx: &ServiceContext, registered: &mut bool) -> Option<Markets> {
        let path = dccd_history::markets_path(&self.options.data_path, &self.options.exchange);
        let kept = dccd_history::kept_markets(&path);
        if let Some(kept) = &kept
            && self.options.feeds.iter().all(|(symbol, _)| kept.markets.by_symbol(symbol).is_some())
        {
            if !kept.is_fresh {
                self.refresh_markets(path);
            }
            return Some((*kept.markets).clone());
        }
        let mut patience = MARKETS_PATIENCE;
        loop {
            let attempt = tokio::select! {
                attempt = tokio::time::timeout(patience, fetch(&self.adapter, &self.http, &path)) => attempt,
                _ = ctx.shutdown().wait() => return None,
            };
            let reason = match attempt {
                Ok(Ok(markets)) => return Some(markets),
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {patience:?}"),
            };
            if let Some(kept) = kept {
                warn!(reason, "the exchange's markets cannot be fetched; going on with those of last time");
                self.refresh_markets(path);
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

    /// Fetches the markets for the next start, while this one goes on with what it has.
    fn refresh_markets(&self, path: PathBuf) {
        let (adapter, http) = (self.adapter.clone(), self.http.clone());
        tokio::spawn(async move {
            if let Err(reason) = fetch(&adapter, &http, &path).await {
                warn!(reason, "the exchange's markets could not be refreshed; those of last time are used again");
            }
        });
    }
}

/// Fetches the markets from the exchange and keeps them.
///
/// # Errors
/// In words, what went wrong: no connection, a refusal, an answer that is none.
async fn fetch(adapter: &Arc<dyn Adapter>, http: &HttpClient, path: &Path) -> Result<Markets, String> {
    let mut list = MarketsList::new(adapter.as_ref());
    while let Some(request) = list.request() {
        let response = http.get(&request.path_and_query, request.weight, Priority::Live).await.map_err(|e| chain(&e))?;
        list.answer(&response.body).map_err(|e| chain(&e))?;
    }
    let markets = list.joined();
    info!(markets = markets.len(), "fetched the exchange's markets");
    dccd_history::keep_markets(path, &markets);
    Ok(markets)
}
