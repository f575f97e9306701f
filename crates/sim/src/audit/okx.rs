//! What reached connections of a simulated OKX: trades by their ids, quotes in the order of their numbers, books update by update.
//!
//! The files hold amounts in the base currency, the frames of perpetuals contracts. A subscription's first trade and quote were shown,
//! not told: they may be stored. Numbers of books that begin anew are told apart by the time at which they did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dccd_model::{BookSide, Channel, Symbol, UnixNanos};
use serde_json::Value;

use super::quotes::Told;
use super::sent::{Levels, SentEvent, SentQuote, SentTrade};
use super::trades::Times;
use super::{Audit, AuditError, SeriesAudit, book, quotes, tables, trades};
use crate::exchanges::okx::instruments::contract;
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};

/// The exchange's name.
pub(super) const NAME: &str = "okx";

/// Numbers of a book are below this: one that begins anew goes on above it.
const ERA: u64 = 1 << 48;

/// What one market sent.
#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u64, SentTrade>,
    shown: BTreeMap<u64, SentTrade>,
    /// By time and number: the quote, whether it was told, how often it came again on one connection.
    quotes: BTreeMap<(i64, u64), (SentQuote, bool, u32)>,
    /// Updates with their times, milliseconds.
    updates: BTreeSet<(i64, u64)>,
    events: Vec<(i64, u64, Levels)>,
    snapshots: Vec<(i64, u64, Levels)>,
    /// When numbers began anew.
    resets: BTreeSet<i64>,
}

/// The symbol of an `instId`, and what one unit of its amounts is of the base currency, `e8`.
fn symbol_of(id: &str) -> Option<(Symbol, i64)> {
    let mut parts = id.split('-');
    let (base, quote) = (parts.next()?, parts.next()?);
    match parts.next() {
        None => Some((Symbol::spot(base, quote).ok()?, 100_000_000)),
        Some(_) => Some((format!("{base}/{quote}:{quote}").parse().ok()?, contract(base))),
    }
}

fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key)?.as_str()
}

/// An amount in base units, as the double nearest to its digits.
fn amount(size: &str, contract: i64) -> Option<f64> {
    if contract == 100_000_000 {
        return size.parse().ok();
    }
    let (whole, fraction) = size.split_once('.').unwrap_or((size, ""));
    if whole.is_empty() || fraction.len() > 8 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction:0<8}").parse().ok()?;
    let e16 = digits.checked_mul(contract.into())?;
    format!("{}.{:016}", e16 / 10_i128.pow(16), e16 % 10_i128.pow(16)).parse().ok()
}

fn side(row: &Value, name: &str, is_bid: bool, contract: i64, out: &mut Levels) -> Option<()> {
    for level in row.get(name)?.as_array()? {
        let number = |at: usize| level.get(at)?.as_str();
        out.push((is_bid, number(0)?.parse().ok()?, amount(number(1)?, contract)?));
    }
    Some(())
}

impl Market {
    /// `None`: not understood.
    fn take(&mut self, channel: &str, contract: i64, raw: &str, is_first: bool, status: FrameStatus) -> Option<()> {
        let message: Value = serde_json::from_str(raw).ok()?;
        let row = message.get("data")?.get(0)?;
        let time = || text(row, "ts")?.parse::<i64>().ok();
        match channel {
            "trades-all" => {
                let trade = SentTrade {
                    price: text(row, "px")?.parse().ok()?,
                    amount: amount(text(row, "sz")?, contract)?,
                    buyer_is_maker: text(row, "side")? == "sell",
                    time: time()?,
                };
                let into = if is_first { &mut self.shown } else { &mut self.trades };
                into.insert(text(row, "tradeId")?.parse().ok()?, trade);
            }
            "bbo-tbt" => {
                let mut levels = Levels::new();
                side(row, "bids", true, contract, &mut levels)?;
                side(row, "asks", false, contract, &mut levels)?;
                // A quote has two sides.
                let [bid, ask] = <[_; 2]>::try_from(levels).ok()?;
                let key = (time()?, row.get("seqId")?.as_u64()?);
                let entry = self.quotes.entry(key).or_insert(([bid.1, bid.2, ask.1, ask.2], false, 0));
                entry.1 |= !is_first;
                entry.2 += u32::from(status == FrameStatus::Duplicated);
            }
            "books" => {
                let (ms, seq) = (time()?, row.get("seqId")?.as_u64()?);
                let mut levels = Levels::new();
                side(row, "bids", true, contract, &mut levels)?;
                side(row, "asks", false, contract, &mut levels)?;
                if message.get("action")?.as_str()? == "snapshot" {
                    self.snapshots.push((ms, seq, levels));
                    return Some(());
                }
                if row.get("prevSeqId")?.as_u64()? > seq {
                    self.resets.insert(ms);
                }
                // What says that nothing changed has nothing to store; the rest is the same on every connection.
                if !levels.is_empty() && self.updates.insert((ms, seq)) {
                    self.events.push((ms, seq, levels));
                }
            }
            _ => {}
        }
        Some(())
    }

    /// A number that grows for ever.
    fn number(&self, ms: i64, seq: u64) -> u64 {
        let era = self.resets.range(..=ms).count();
        u64::try_from(era).unwrap_or(u64::MAX).saturating_mul(ERA).saturating_add(seq)
    }

    fn audit_book(&self, symbol: &Symbol, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
        let event = |(ms, seq, levels): &(i64, u64, Levels)| {
            let number = self.number(*ms, *seq);
            (number, SentEvent { first: number, levels: levels.clone() })
        };
        let sent = self.events.iter().map(event).collect();
        let number = |ts: UnixNanos, seq| self.number(ts.as_millis(), seq);
        let mut result = book::audit(symbol.as_str(), &sent, number, files)?;
        let mut epochs: BTreeMap<u32, (u64, Levels)> = BTreeMap::new();
        for file in files {
            for row in dccd_store::read_book(file)? {
                let row = row?;
                if row.is_snapshot {
                    let epoch = epochs.entry(row.epoch).or_insert_with(|| (row.update_id, Levels::new()));
                    epoch.1.push((row.side == BookSide::Bid, row.price, row.amount));
                }
            }
        }
        // A book that was fetched over REST is in no frame: only those that a connection was sent can be held against the files.
        for (epoch, (seq, mut levels)) in epochs {
            let mut told = self.snapshots.iter().filter(|(_, told, _)| *told == seq).peekable();
            sort(&mut levels);
            let is_known = told.peek().is_some();
            if is_known && !told.any(|(_, _, told)| sorted(told) == levels) {
                result.wrong += 1;
                result.problem(|| format!("epoch {epoch} begins with another book than the one sent as {seq}"));
            }
        }
        Ok(result)
    }
}

fn sort(levels: &mut Levels) {
    levels.sort_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal));
}

fn sorted(levels: &Levels) -> Levels {
    let mut levels = levels.clone();
    sort(&mut levels);
    levels
}

fn read(ledger: &Path) -> Result<BTreeMap<String, Market>, AuditError> {
    let mut markets: BTreeMap<String, Market> = BTreeMap::new();
    // Streams of connections on which something came already; a subscription that begins anew shows something anew.
    let mut begun: BTreeSet<(u32, String)> = BTreeSet::new();
    for record in LedgerReader::open(ledger)? {
        let (conn, stream, status, raw) = match record? {
            LedgerRecord::Frame { conn, stream, status, raw, .. } => (conn, stream, status, raw),
            LedgerRecord::Received { conn, raw, .. } if raw.contains("\"unsubscribe\"") => {
                let named = |stream: &str| stream.split(':').all(|part| raw.contains(&format!("\"{part}\"")));
                begun.retain(|(of, stream)| *of != conn || !named(stream));
                continue;
            }
            _ => continue,
        };
        let Some((channel, id)) = stream.split_once(':') else { continue };
        let is_first = begun.insert((conn, stream.clone()));
        if status.arrives() {
            let market = markets.entry(id.to_owned()).or_default();
            let taken = symbol_of(id).and_then(|(_, contract)| market.take(channel, contract, &raw, is_first, status));
            taken.ok_or_else(|| AuditError::Frame { stream: stream.clone(), raw })?;
        }
    }
    Ok(markets)
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for (id, market) in read(ledger)? {
        let Some((symbol, _)) = symbol_of(&id) else { continue };
        let files = |channel: Channel| tables(&data_path.join(NAME).join(channel.directory()).join(symbol.path_name()));
        if !market.trades.is_empty() {
            let (sent, shown) = (&market.trades, &market.shown);
            series.push(trades::audit(symbol.as_str(), sent, shown, Times::Message, &files(Channel::Trades)?)?);
        }
        if !market.quotes.is_empty() {
            let mut told = Vec::new();
            for ((_, label), (quote, must, repeats)) in &market.quotes {
                told.push(Told { label: *label, quote: *quote, must: *must });
                told.extend((0..*repeats).map(|_| Told { label: *label, quote: *quote, must: false }));
            }
            series.push(quotes::audit(symbol.as_str(), &told, &files(Channel::Quotes)?)?);
        }
        if !market.events.is_empty() {
            series.push(market.audit_book(&symbol, &files(Channel::Book)?)?);
        }
    }
    Ok(Audit { series })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_are_told_in_the_base_currency_to_the_nearest_double() {
        assert_eq!(amount("357.01", 1_000_000), Some(3.5701));
        assert_eq!(amount("0.07", 10_000_000), Some(0.007));
        assert_eq!(amount("0", 1_000_000), Some(0.0));
        assert_eq!(amount("0.00000001", 100_000_000), Some(1e-8));
        assert_eq!((amount("", 1_000_000), amount("x", 1_000_000)), (None, None));
    }
}
