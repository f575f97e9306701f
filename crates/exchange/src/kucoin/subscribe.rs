//! The messages that begin and end subscriptions: on the classic socket up to a hundred symbols of one channel each, on the other one
//! book each.

use dccd_model::{Channel, Symbol};
use serde_json::json;

use super::consts::{BOOK_DEPTH, LIMITS};
use super::http;
use crate::{ClientMessage, Markets};

pub(super) const SUBSCRIBE: &str = "subscribe";
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";

/// `{"id":"1","response":true,"topic":"/market/match:BTC-USDT,ETH-USDT","type":"subscribe"}`,
/// `{"action":"subscribe","channel":"obu","depth":"increment@10ms","id":"2","symbol":"BTC-USDT","tradeType":"SPOT"}`. No message is
/// about feeds of both sockets.
pub(super) fn messages(op: &str, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
    let of = |channel: Channel| {
        let places = feeds.iter().enumerate().filter(move |(_, (_, of))| *of == channel);
        places.map(|(place, (symbol, _))| (place, http::id(symbol, markets))).collect::<Vec<_>>()
    };
    let mut messages: Vec<ClientMessage> = Vec::new();
    let mut id = first_id;
    for (channel, topic) in [(Channel::Trades, "/market/match"), (Channel::Quotes, "/spotMarket/level1")] {
        for piece in of(channel).chunks(LIMITS.streams_per_message) {
            let symbols: Vec<&str> = piece.iter().map(|(_, symbol)| symbol.as_str()).collect();
            let topic = format!("{topic}:{}", symbols.join(","));
            let text = json!({ "id": id.to_string(), "type": op, "topic": topic, "response": true }).to_string();
            messages.push(ClientMessage { text, id, feeds: piece.iter().map(|(place, _)| *place).collect() });
            id += 1;
        }
    }
    for (place, symbol) in of(Channel::Book) {
        let text = json!({
            "id": id.to_string(), "action": op, "channel": "obu", "tradeType": "SPOT", "symbol": symbol, "depth": BOOK_DEPTH,
        });
        messages.push(ClientMessage { text: text.to_string(), id, feeds: vec![place] });
        id += 1;
    }
    messages
}
