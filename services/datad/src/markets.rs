//! Fetching the exchange's markets while nothing runs yet.

use std::path::Path;
use std::sync::Arc;

use dccd_exchange::{Adapter, Markets, MarketsList};
use dccd_net::{HttpClient, Priority};
use tracing::info;

use crate::error::chain;

/// Fetches the markets from the exchange and keeps them.
///
/// # Errors
/// In words, what went wrong: no connection, a refusal, an answer that is none.
pub(crate) async fn fetch(adapter: &Arc<dyn Adapter>, http: &HttpClient, path: &Path) -> Result<Markets, String> {
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
