//! Streams and the messages that subscribe to them; which socket carries what, and what feeds are called.

use dccd_model::{Channel, Symbol};

use super::consts::{LIMITS, LINEAR_LIMITS, SOCKETS};
use crate::{ClientMessage, Limits, Markets, Product};

/// The product of a symbol: what is settled is a perpetual.
pub(super) fn product(symbol: &Symbol) -> Product {
    if symbol.settle().is_some() { Product::Linear } else { Product::Spot }
}

/// The limits of a product.
pub(super) fn limits(product: Product) -> &'static Limits {
    match product {
        Product::Spot => &LIMITS,
        Product::Linear => &LINEAR_LIMITS,
    }
}

/// The place in [`SOCKETS`] of the socket on which a feed's messages come.
pub(super) fn socket_of(symbol: &Symbol, channel: Channel) -> usize {
    match (product(symbol), channel) {
        (Product::Spot, _) => 0,
        (Product::Linear, Channel::Book | Channel::Quotes) => 1,
        (Product::Linear, Channel::Trades | Channel::Ohlc) => 2,
    }
}

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    markets.by_symbol(symbol).map_or_else(|| format!("{}{}", symbol.base(), symbol.quote()), |market| market.id.clone())
}

/// What feeds of a symbol with this id are called. A perpetual has the same id as spot, on other sockets.
pub(super) fn name_of(name: &mut String, product: Product, id: &str) {
    name.clear();
    if product != Product::Spot {
        name.push_str("usdm ");
    }
    name.push_str(id);
}

/// The stream of a feed. Single trades of perpetuals are in no document and have no pages
/// that they could be repaired from.
fn stream(symbol: &Symbol, channel: Channel, aggregated: bool, markets: &Markets) -> String {
    let stream = match channel {
        Channel::Trades if aggregated || product(symbol) == Product::Linear => "aggTrade",
        Channel::Trades => "trade",
        Channel::Quotes => "bookTicker",
        Channel::Book => "depth@100ms",
        Channel::Ohlc => "kline_1m",
    };
    format!("{}@{stream}", id(symbol, markets).to_lowercase())
}

/// `{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}` and so on, in batches. No message is about feeds of several sockets.
pub(super) fn messages(
    method: &str,
    feeds: &[(Symbol, Channel)],
    aggregated: bool,
    markets: &Markets,
    first_id: u64,
) -> Vec<ClientMessage> {
    let mut streams: Vec<(usize, usize, String)> = Vec::with_capacity(feeds.len());
    for (place, (symbol, channel)) in feeds.iter().enumerate() {
        streams.push((socket_of(symbol, *channel), place, stream(symbol, *channel, aggregated, markets)));
    }
    streams.sort_by_key(|(socket, ..)| *socket);
    let of_one_socket = streams.chunk_by(|(a, ..), (b, ..)| a == b);
    let batches = of_one_socket.flat_map(|streams| {
        let product = streams.first().and_then(|(socket, ..)| SOCKETS.get(*socket)).map_or(Product::Spot, |s| s.product);
        streams.chunks(limits(product).streams_per_message)
    });
    let message = |(batch, id): (&[(usize, usize, String)], u64)| {
        let names: Vec<&str> = batch.iter().map(|(.., stream)| stream.as_str()).collect();
        let text = serde_json::json!({ "method": method, "params": names, "id": id }).to_string();
        ClientMessage { text, id, feeds: batch.iter().map(|(_, place, _)| *place).collect() }
    };
    batches.zip(first_id..).map(message).collect()
}
