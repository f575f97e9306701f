//! The messages that begin and end subscriptions, one for each feed.

use dccd_model::{Channel, Symbol};
use serde_json::json;

use super::http;
use crate::{ClientMessage, Markets};

pub(super) const SUBSCRIBE: &str = "subscribe";
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";

/// The exchange's channels that a feed is made of. A product's heartbeats go with its trades: they tell of those that never came.
const fn channels(channel: Channel) -> &'static [&'static str] {
    match channel {
        Channel::Trades => &["matches", "heartbeat"],
        Channel::Quotes => &["ticker"],
        Channel::Book => &["level2_batch"],
        Channel::Ohlc => &[],
    }
}

/// `{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","heartbeat"]}` and so on. Messages have no ids on the wire.
pub(super) fn messages(kind: &str, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
    let offered = feeds.iter().enumerate().filter(|(_, (_, channel))| !channels(*channel).is_empty());
    let message = |((place, (symbol, channel)), id): ((usize, &(Symbol, Channel)), u64)| {
        let message = json!({ "type": kind, "product_ids": [http::id(symbol, markets)], "channels": channels(*channel) });
        ClientMessage { text: message.to_string(), id, feeds: vec![place] }
    };
    offered.zip(first_id..).map(message).collect()
}
