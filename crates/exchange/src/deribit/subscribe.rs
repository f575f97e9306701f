//! The messages that go out, and what messages call a symbol.
//!
//! Trades and books come ten times a second, each change of that time in them (of a book: the last of each level); the raw ones are for
//! those who have an account.

use dccd_model::{Channel, Symbol};
use serde_json::json;

use super::consts::{HEARTBEAT_SECONDS, LIMITS};
use crate::{ClientMessage, Markets};

pub(super) const SUBSCRIBE: &str = "public/subscribe";
pub(super) const UNSUBSCRIBE: &str = "public/unsubscribe";
/// The channel that tells of maintenance, which is subscribed with each message: once more changes nothing.
pub(super) const PLATFORM: &str = "platform_state";

/// How the ids of perpetual futures end.
const PERPETUAL: &str = "-PERPETUAL";

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    markets.by_symbol(symbol).map_or_else(|| form(symbol), |market| market.id.clone())
}

/// `BTC_USDC`, `BTC-PERPETUAL`, `BTC_USDC-PERPETUAL`, `BTC-25DEC26`.
fn form(symbol: &Symbol) -> String {
    let (base, quote) = (symbol.base(), symbol.quote());
    let Some(settle) = symbol.settle() else { return format!("{base}_{quote}") };
    let (settle, expiry) = settle.split_once('-').map_or((settle, None), |(settle, expiry)| (settle, Some(expiry)));
    let name = if settle == base { base.to_owned() } else { format!("{base}_{quote}") };
    match expiry {
        None => format!("{name}{PERPETUAL}"),
        Some(expiry) => format!("{name}-{}", day(expiry)),
    }
}

/// `261225` as `25DEC26`; what is no such day stays as it is.
fn day(expiry: &str) -> String {
    let part = |from: usize, to: usize| expiry.get(from..to).and_then(|text| text.parse::<usize>().ok());
    let month = part(2, 4).and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match (expiry.get(..2), month, part(4, 6)) {
        (Some(year), Some(month), Some(day)) => format!("{day}{month}{year}{}", expiry.get(6..).unwrap_or_default()),
        _ => expiry.to_owned(),
    }
}

/// The channel's name at the exchange; `None` where it isn't offered.
fn channel(of: Channel, id: &str) -> Option<String> {
    match of {
        Channel::Trades => Some(format!("trades.{id}.100ms")),
        Channel::Book => Some(format!("book.{id}.100ms")),
        Channel::Quotes => Some(format!("quote.{id}")),
        Channel::Ohlc => None,
    }
}

/// `{"jsonrpc":"2.0","id":7,"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}` and so on.
pub(super) fn messages(method: &str, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
    let named = |(place, (symbol, of)): (usize, &(Symbol, Channel))| Some((place, channel(*of, &id(symbol, markets))?));
    let all: Vec<(usize, String)> = feeds.iter().enumerate().filter_map(named).collect();
    let message = |(part, id): (&[(usize, String)], u64)| {
        let mut channels: Vec<&str> = part.iter().map(|(_, channel)| channel.as_str()).collect();
        if method == SUBSCRIBE {
            channels.push(PLATFORM);
        }
        ClientMessage {
            text: call(id, method, &json!({ "channels": channels })),
            id,
            feeds: part.iter().map(|(place, _)| *place).collect(),
        }
    };
    all.chunks(LIMITS.streams_per_message).zip(first_id..).map(message).collect()
}

/// Asks the exchange to send signs of life, and to ask for ours.
pub(super) fn set_heartbeat(id: u64) -> String {
    call(id, "public/set_heartbeat", &json!({ "interval": HEARTBEAT_SECONDS }))
}

/// Our sign of life.
pub(super) fn test(id: u64) -> String {
    call(id, "public/test", &json!({}))
}

fn call(id: u64, method: &str, params: &serde_json::Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_have_the_form_of_the_exchanges_ids() {
        let ids = [
            ("BTC/USDC", "BTC_USDC"),
            ("BTC/USD:BTC", "BTC-PERPETUAL"),
            ("SOL/USDC:USDC", "SOL_USDC-PERPETUAL"),
            ("BTC/USD:BTC-261225", "BTC-25DEC26"),
            ("ETH/USDC:USDC-270105", "ETH_USDC-5JAN27"),
            ("BTC/USD:BTC-261225-100000-C", "BTC-25DEC26-100000-C"),
            ("BTC/USD:BTC-NEXT", "BTC-NEXT"),
            ("BTC/USD:BTC-261325", "BTC-261325"),
        ];
        for (symbol, expected) in ids {
            assert_eq!(id(&symbol.parse().unwrap(), &Markets::default()), expected);
        }
    }
}
