//! barter-data's own types: message, then its market events.

use barter_data::event::MarketIter;
use barter_data::exchange::binance::book::l1::BinanceOrderBookL1;
use barter_data::exchange::binance::futures::l2::BinanceFuturesOrderBookL2Update;
use barter_data::exchange::binance::spot::l2::BinanceSpotOrderBookL2Update;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::exchange::bitfinex::message::BitfinexMessage;
use barter_data::exchange::bybit::book::BybitOrderBookMessage;
use barter_data::exchange::bybit::trade::BybitTrade;
use barter_data::exchange::coinbase::trade::CoinbaseTrade;
use barter_data::exchange::okx::trade::OkxTrades;
use barter_data::subscription::book::{OrderBookEvent, OrderBookL1};
use barter_data::subscription::trade::PublicTrade;
use barter_instrument::exchange::ExchangeId;
use serde::Deserialize;

use crate::Read;

/// What it has no type for, and why.
const SKIPPED: [(&str, &str); 7] = [
    ("binance, binance-usdm aggTrade", "it reads single trades"),
    ("bitfinex book", "it reads trades alone"),
    ("coinbase ticker, l2update", "it reads matches alone"),
    ("deribit, kucoin", "it has neither exchange"),
    ("kraken", "it reads the first version of the socket, which dccd doesn't"),
    ("okx bbo-tbt, books", "it reads trades alone"),
    (
        "recorded Binance",
        "it gets what is inside of the combined stream's wrapper, which it doesn't read: less than the others",
    ),
];

pub(crate) fn skipped() {
    println!("\nbarter-data, where there is no figure:");
    SKIPPED.iter().for_each(|(what, why)| println!("  {what}: {why}"));
}

/// How a message of this kind is read; not a number: it isn't.
pub(crate) fn reader(exchange: &str, kind: &str) -> Option<Read> {
    Some(match (exchange, kind) {
        ("binance" | "binance-usdm", "trade") => |frame| events::<BinanceTrade, PublicTrade>(inside(frame)),
        ("binance" | "binance-usdm", "quote") => |frame| events::<BinanceOrderBookL1, OrderBookL1>(inside(frame)),
        ("binance", "book") => |frame| events::<BinanceSpotOrderBookL2Update, OrderBookEvent>(inside(frame)),
        ("binance-usdm", "book") => |frame| events::<BinanceFuturesOrderBookL2Update, OrderBookEvent>(inside(frame)),
        ("bitfinex", "trade") => |frame| events::<BitfinexMessage, PublicTrade>(frame),
        ("bybit", "trade") => |frame| events::<BybitTrade, PublicTrade>(frame),
        ("bybit", _) => |frame| events::<BybitOrderBookMessage, OrderBookEvent>(frame),
        ("coinbase", "trade") => |frame| events::<CoinbaseTrade, PublicTrade>(frame),
        ("okx", "trade") => |frame| events::<OkxTrades, PublicTrade>(frame),
        _ => return None,
    })
}

/// What stands inside of a combined stream's wrapper.
fn inside(frame: &str) -> &str {
    frame.split_once("\"data\":").map_or(frame, |(_, data)| &data[..data.len() - 1])
}

fn events<'a, Message, Event>(frame: &'a str) -> f64
where
    Message: Deserialize<'a>,
    MarketIter<u64, Event>: From<(ExchangeId, u64, Message)>,
{
    match serde_json::from_str::<Message>(frame) {
        Ok(message) => {
            let MarketIter(events) = MarketIter::<u64, Event>::from((ExchangeId::Other, 7, message));
            let count = events.len();
            std::hint::black_box(events);
            count as f64
        }
        Err(_) => f64::NAN,
    }
}
