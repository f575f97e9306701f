//! The messages that begin and end subscriptions, some topics each.

use dccd_model::{Channel, Symbol};
use serde_json::json;

use super::consts::LIMITS;
use super::{candle, http};
use crate::{ClientMessage, Markets};

pub(super) const SUBSCRIBE: &str = "subscribe";
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";

/// What a feed is called in messages.
fn topic(symbol: &Symbol, channel: Channel, depth: u32, markets: &Markets) -> String {
    let id = http::id(symbol, markets);
    match channel {
        Channel::Trades => format!("publicTrade.{id}"),
        Channel::Quotes => format!("orderbook.1.{id}"),
        Channel::Book => format!("orderbook.{depth}.{id}"),
        Channel::Ohlc => format!("{}{id}", candle::TOPIC),
    }
}

/// `{"req_id":"1","op":"subscribe","args":["orderbook.200.BTCUSDT","publicTrade.BTCUSDT"]}` and so on. No message is about feeds
/// of several sockets.
pub(super) fn messages(
    op: &str,
    feeds: &[(Symbol, Channel)],
    depth: u32,
    markets: &Markets,
    first_id: u64,
) -> Vec<ClientMessage> {
    let mut topics: Vec<(usize, usize, String)> = Vec::with_capacity(feeds.len());
    for (place, (symbol, channel)) in feeds.iter().enumerate() {
        topics.push((http::socket_of(symbol), place, topic(symbol, *channel, depth, markets)));
    }
    topics.sort_by_key(|(socket, ..)| *socket);
    let of_one_socket = topics.chunk_by(|(a, ..), (b, ..)| a == b);
    let pieces = of_one_socket.flat_map(|topics| topics.chunks(LIMITS.streams_per_message));
    let message = |(piece, id): (&[(usize, usize, String)], u64)| {
        let args: Vec<&str> = piece.iter().map(|(.., topic)| topic.as_str()).collect();
        let text = json!({ "req_id": id.to_string(), "op": op, "args": args }).to_string();
        ClientMessage { text, id, feeds: piece.iter().map(|(_, place, _)| *place).collect() }
    };
    pieces.zip(first_id..).map(message).collect()
}
