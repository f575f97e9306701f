//! The messages that begin and end subscriptions, and what messages call a symbol.
//!
//! Trades are those of `trades-all`, where each is by itself: ids are contiguous, and what is missing is told by them and fetched by
//! them. `trades` has one message for all that one order took at one price, with the last id and a count, which loses their amounts.

use dccd_model::{Channel, Symbol};
use serde_json::{Value, json};

use super::candle;
use super::consts::LIMITS;
use crate::{ClientMessage, Markets};

pub(super) const SUBSCRIBE: &str = "subscribe";
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    let form = || match symbol.settle() {
        None => format!("{}-{}", symbol.base(), symbol.quote()),
        Some(_) => format!("{}-{}{SWAP}", symbol.base(), symbol.quote()),
    };
    markets.by_symbol(symbol).map_or_else(form, |market| market.id.clone())
}

/// How the ids of perpetual swaps end.
pub(super) const SWAP: &str = "-SWAP";

/// The exchange's name of a channel.
pub(super) const fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Trades => "trades-all",
        Channel::Quotes => "bbo-tbt",
        Channel::Book => "books",
        Channel::Ohlc => candle::CHANNEL,
    }
}

/// `{"id":"7","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}` and so on.
pub(super) fn messages(op: &str, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
    let argument = |(place, (symbol, of)): (usize, &(Symbol, Channel))| {
        (place, json!({ "channel": channel(*of), "instId": id(symbol, markets) }))
    };
    let arguments: Vec<(usize, Value)> = feeds.iter().enumerate().map(argument).collect();
    let message = |(arguments, id): (&[(usize, Value)], u64)| {
        let args: Vec<&Value> = arguments.iter().map(|(_, argument)| argument).collect();
        let text = json!({ "id": id.to_string(), "op": op, "args": args }).to_string();
        ClientMessage { text, id, feeds: arguments.iter().map(|(place, _)| *place).collect() }
    };
    arguments.chunks(LIMITS.streams_per_message).zip(first_id..).map(message).collect()
}
