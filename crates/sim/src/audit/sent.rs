//! What reached connections, read from a ledger's raw texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::AuditError;
use crate::ledger::{LedgerReader, LedgerRecord};

/// A trade as sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SentTrade {
    /// Price.
    pub price: f64,
    /// Amount.
    pub amount: f64,
    /// Whether the buyer was the maker: then the taker sold.
    pub buyer_is_maker: bool,
    /// The exchange's time as it stands in the message, in its unit.
    pub time: i64,
}

/// A quote as sent: bid, its amount, ask, its amount.
pub(super) type SentQuote = [f64; 4];

/// Levels of one event: is a bid, price, amount.
pub(super) type Levels = Vec<(bool, f64, f64)>;

/// An order-book event as sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SentEvent {
    /// First update id.
    pub first: u64,
    /// Levels in the message's order, bids first: is a bid, price, amount.
    pub levels: Levels,
}

/// What reached connections of one symbol.
#[derive(Clone, Debug, Default)]
pub struct SentSymbol {
    /// Trades by id; aggregated ones by their own.
    pub trades: BTreeMap<u64, SentTrade>,
    /// Quotes in the order of their update ids.
    pub quotes: BTreeMap<u64, SentQuote>,
    /// Order-book events by last update id.
    pub depth: BTreeMap<u64, SentEvent>,
}

/// What reached connections, by the exchange's symbol in lower case; of a perpetual with `usdm:` before it.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Symbol by symbol.
    pub symbols: BTreeMap<String, SentSymbol>,
    /// Connections that were opened.
    pub connections: BTreeSet<u32>,
}

impl Sent {
    /// Reads a ledger.
    ///
    /// # Errors
    /// When it can't be read, or a frame is not what its stream says.
    pub fn read(ledger: &Path) -> Result<Self, AuditError> {
        let mut sent = Self::default();
        for record in LedgerReader::open(ledger)? {
            match record? {
                LedgerRecord::Opened { conn, .. } => {
                    sent.connections.insert(conn);
                }
                LedgerRecord::Frame { stream, status, raw, .. } if status.arrives() && !stream.is_empty() => {
                    sent.take(&stream, &raw).ok_or(AuditError::Frame { stream, raw })?;
                }
                _ => {}
            }
        }
        Ok(sent)
    }

    /// `None`: not understood.
    fn take(&mut self, stream: &str, raw: &str) -> Option<()> {
        let (symbol, kind) = stream.split_once('@')?;
        let message: Value = serde_json::from_str(raw).ok()?;
        let data = message.get("data").unwrap_or(&message);
        let symbol = self.symbols.entry(symbol.to_owned()).or_default();
        match kind {
            "trade" => trade(data, "t", symbol),
            "aggTrade" => trade(data, "a", symbol),
            "bookTicker" => {
                let quote = [number(data, "b")?, number(data, "B")?, number(data, "a")?, number(data, "A")?];
                symbol.quotes.insert(data.get("u")?.as_u64()?, quote);
                Some(())
            }
            // The best levels of a perpetual have the form of diffs, and are none.
            _ if kind.starts_with("depth") && (data.get("pu").is_none() || is_diff(kind)) => {
                let mut levels = Vec::new();
                for (key, is_bid) in [("b", true), ("a", false)] {
                    for level in data.get(key)?.as_array()? {
                        levels.push((is_bid, text(level.get(0)?)?, text(level.get(1)?)?));
                    }
                }
                symbol.depth.insert(data.get("u")?.as_u64()?, SentEvent { first: data.get("U")?.as_u64()?, levels });
                Some(())
            }
            _ => Some(()),
        }
    }
}

/// `depth` and `depth@100ms`, but not `depth5`.
fn is_diff(kind: &str) -> bool {
    kind.strip_prefix("depth").is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

fn trade(data: &Value, id: &str, symbol: &mut SentSymbol) -> Option<()> {
    let trade = SentTrade {
        price: number(data, "p")?,
        amount: number(data, "q")?,
        buyer_is_maker: data.get("m")?.as_bool()?,
        time: data.get("T")?.as_i64()?,
    };
    symbol.trades.insert(data.get(id)?.as_u64()?, trade);
    Some(())
}

fn number(data: &Value, key: &str) -> Option<f64> {
    text(data.get(key)?)
}

fn text(value: &Value) -> Option<f64> {
    value.as_str()?.parse().ok()
}
