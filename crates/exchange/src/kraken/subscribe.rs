//! The messages that begin and end subscriptions, one for each channel and so many symbols.

use dccd_model::{Channel, Symbol};
use serde_json::{Value, json};

use super::consts::{CHANNELS, LIMITS};
use crate::ClientMessage;

/// What messages call a symbol: the unified form, which is the exchange's own since its second version.
pub(super) fn name(symbol: &Symbol) -> &str {
    symbol.as_str()
}

/// `{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":1000,"snapshot":true},"req_id":1}` and so on.
pub(super) fn messages(method: &str, feeds: &[(Symbol, Channel)], depth: u32, first_id: u64) -> Vec<ClientMessage> {
    let mut messages = Vec::new();
    for channel in CHANNELS {
        let of_channel: Vec<usize> =
            feeds.iter().enumerate().filter(|(_, (_, c))| c == channel).map(|(place, _)| place).collect();
        for places in of_channel.chunks(LIMITS.streams_per_message) {
            let id = first_id + messages.len() as u64;
            let symbols: Vec<&str> = places.iter().map(|place| name(&feeds[*place].0)).collect();
            let Some(params) = params(*channel, &symbols, depth, method == SUBSCRIBE) else { continue };
            let text = json!({ "method": method, "params": params, "req_id": id }).to_string();
            messages.push(ClientMessage { text, id, feeds: places.to_vec() });
        }
    }
    messages
}

pub(super) const SUBSCRIBE: &str = "subscribe";
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";

fn params(channel: Channel, symbols: &[&str], depth: u32, subscribes: bool) -> Option<Value> {
    let mut params = match channel {
        // What came before is fetched by id where it is missing.
        Channel::Trades => json!({ "channel": "trade", "symbol": symbols, "snapshot": false }),
        Channel::Quotes => json!({ "channel": "ticker", "symbol": symbols, "event_trigger": "bbo", "snapshot": true }),
        Channel::Book => json!({ "channel": "book", "symbol": symbols, "depth": depth, "snapshot": true }),
        Channel::Ohlc => return None,
    };
    if !subscribes && let Some(params) = params.as_object_mut() {
        params.remove("snapshot");
    }
    Some(params)
}
