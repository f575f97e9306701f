//! The messages that configure a connection, and begin and end subscriptions, one channel each.

use dccd_model::{Channel, Symbol};
use serde_json::json;

use super::consts::FLAGS;
use super::http;
use crate::{ClientMessage, Markets};

/// What is sent first: each message is to have its number and its time, and books their checksums.
pub(super) fn conf() -> String {
    json!({ "event": "conf", "flags": FLAGS }).to_string()
}

/// `{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"250","subId":"1"}` and so on. Quotes are
/// books of one level: the `ticker` has the best prices, too, but in the place of their amounts the sums of 25 levels, and only now
/// and then.
pub(super) fn messages(feeds: &[(Symbol, Channel)], depth: u32, markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
    let mut messages = Vec::with_capacity(feeds.len());
    for (place, (symbol, channel)) in feeds.iter().enumerate() {
        let id = first_id + messages.len() as u64;
        let symbol = http::id(symbol, markets);
        let book = |length: u32| {
            json!({
                "event": "subscribe", "channel": "book", "symbol": symbol, "prec": "P0", "freq": "F0",
                "len": length.to_string(), "subId": id.to_string(),
            })
        };
        let message = match channel {
            Channel::Trades => {
                json!({ "event": "subscribe", "channel": "trades", "symbol": symbol, "subId": id.to_string() })
            }
            Channel::Quotes => book(1),
            Channel::Book => book(depth),
            Channel::Ohlc => continue,
        };
        messages.push(ClientMessage { text: message.to_string(), id, feeds: vec![place] });
    }
    messages
}

/// Ends the subscription with this number.
pub(super) fn end(chan_id: u64) -> String {
    json!({ "event": "unsubscribe", "chanId": chan_id }).to_string()
}
