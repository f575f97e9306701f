//! Streams and the messages that subscribe to them.

use dccd_model::{Channel, Symbol};

use super::consts::LIMITS;
use crate::{ClientMessage, Markets};

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    markets.by_symbol(symbol).map_or_else(|| format!("{}{}", symbol.base(), symbol.quote()), |market| market.id.clone())
}

/// The stream of a feed; `None` for a channel that isn't offered.
pub(super) fn stream(id: &str, channel: Channel, aggregated: bool) -> Option<String> {
    let id = id.to_lowercase();
    match channel {
        Channel::Trades if aggregated => Some(format!("{id}@aggTrade")),
        Channel::Trades => Some(format!("{id}@trade")),
        Channel::Quotes => Some(format!("{id}@bookTicker")),
        Channel::Book => Some(format!("{id}@depth@100ms")),
        Channel::Ohlc => None,
    }
}

/// `{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}` and so on, in batches. Each stream has its feed's place.
pub(super) fn messages(method: &str, streams: &[(usize, String)], first_id: u64) -> Vec<ClientMessage> {
    streams
        .chunks(LIMITS.streams_per_message)
        .zip(first_id..)
        .map(|(batch, id)| {
            let names: Vec<&str> = batch.iter().map(|(_, stream)| stream.as_str()).collect();
            ClientMessage {
                text: serde_json::json!({ "method": method, "params": names, "id": id }).to_string(),
                id,
                feeds: batch.iter().map(|(place, _)| *place).collect(),
            }
        })
        .collect()
}
