//! What reached connections of a simulated Deribit: trades by their sequence numbers, quotes in the order of their times, books
//! change by change.
//!
//! The files hold amounts as the exchange tells them, of inverse perpetuals in USD. A subscription's first quote was shown, not
//! told: it may be stored. A quote has no number: of several in one millisecond the order is that in which a connection got them. Numbers of
//! books that begin anew are told apart by the time at which they did.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use dccd_model::{BookSide, Channel, Symbol, UnixNanos};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::quotes::Told;
use super::sent::{Levels, SentEvent, SentQuote, SentTrade};
use super::trades::Times;
use super::{Audit, AuditError, SeriesAudit, book, quotes, tables, trades};
use crate::faults::Fault;
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};

/// The exchange's name.
pub(super) const NAME: &str = "deribit";

/// Numbers of a book are below this: one that begins anew goes on above it.
const ERA: u64 = 1 << 48;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    timestamp: i64,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    amount: &'a RawValue,
    direction: &'a str,
    trade_seq: u64,
}

#[derive(Deserialize)]
struct QuoteData<'a> {
    timestamp: i64,
    #[serde(borrow)]
    best_bid_price: &'a RawValue,
    #[serde(borrow)]
    best_bid_amount: &'a RawValue,
    #[serde(borrow)]
    best_ask_price: &'a RawValue,
    #[serde(borrow)]
    best_ask_amount: &'a RawValue,
}

#[derive(Deserialize)]
struct BookData<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: i64,
    change_id: u64,
    #[serde(borrow)]
    bids: Vec<(&'a str, &'a RawValue, &'a RawValue)>,
    #[serde(borrow)]
    asks: Vec<(&'a str, &'a RawValue, &'a RawValue)>,
}

/// A number as it stands in the text, to the nearest double.
fn number(raw: &RawValue) -> Option<f64> {
    raw.get().parse().ok()
}

/// A quote among those of its millisecond.
#[derive(Clone, Debug)]
struct Quoted {
    quote: SentQuote,
    must: bool,
    /// How often it may be there once more.
    repeats: u32,
}

/// Quotes by their time, and up to where each connection got them within a millisecond.
#[derive(Debug, Default)]
struct Quotes {
    by_ms: BTreeMap<i64, Vec<Quoted>>,
    reached: HashMap<u32, (i64, usize)>,
}

impl Quotes {
    fn take(&mut self, conn: u32, ms: i64, quote: SentQuote, is_shown: bool, status: FrameStatus) {
        let group = self.by_ms.entry(ms).or_default();
        let (at, next) = self.reached.get(&conn).copied().unwrap_or_default();
        let from = if at == ms { next } else { 0 };
        if status == FrameStatus::Duplicated
            && let Some(known) = group.iter_mut().rev().find(|known| known.quote == quote)
        {
            known.repeats += 1;
            return;
        }
        let found = group.iter().skip(from).position(|known| known.quote == quote).map(|skipped| from + skipped);
        let place = found.unwrap_or_else(|| {
            let place = if from > 0 { from.min(group.len()) } else { group.len() };
            group.insert(place, Quoted { quote, must: !is_shown, repeats: 0 });
            place
        });
        group[place].must |= !is_shown;
        group[place].repeats += u32::from(is_shown && found.is_some());
        self.reached.insert(conn, (ms, place + 1));
    }

    fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for (ms, group) in &self.by_ms {
            let label = u64::try_from(*ms).unwrap_or(0);
            for Quoted { quote, must, repeats } in group {
                told.push(Told { label, quote: *quote, must: *must });
                told.extend((0..*repeats).map(|_| Told { label, quote: *quote, must: false }));
            }
        }
        told
    }
}

/// What one market sent.
#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u64, SentTrade>,
    quotes: Quotes,
    /// Changes with their times, milliseconds.
    known: BTreeSet<(i64, u64)>,
    events: Vec<(i64, u64, Levels)>,
    snapshots: Vec<(u64, Levels)>,
    /// When numbers began anew, milliseconds.
    resets: BTreeSet<i64>,
}

/// The symbol of an `instrument_name`.
fn symbol_of(id: &str) -> Option<Symbol> {
    match (id.strip_suffix("-PERPETUAL"), id.split_once('_')) {
        (None, Some((base, quote))) => Symbol::spot(base, quote).ok(),
        (Some(pair), Some(_)) => {
            let (base, quote) = pair.split_once('_')?;
            format!("{base}/{quote}:{quote}").parse().ok()
        }
        (Some(base), None) => format!("{base}/USD:{base}").parse().ok(),
        (None, None) => None,
    }
}

impl Market {
    /// `None`: not understood.
    fn take(&mut self, channel: &str, conn: u32, raw: &str, is_first: bool, status: FrameStatus) -> Option<()> {
        let data = serde_json::from_str::<Message<'_>>(raw).ok()?.params.data.get();
        match channel {
            "trades" => {
                for row in serde_json::from_str::<Vec<TradeData<'_>>>(data).ok()? {
                    let trade = SentTrade {
                        price: number(row.price)?,
                        amount: number(row.amount)?,
                        buyer_is_maker: row.direction == "sell",
                        time: row.timestamp,
                    };
                    self.trades.insert(row.trade_seq, trade);
                }
            }
            "quote" => {
                let row: QuoteData<'_> = serde_json::from_str(data).ok()?;
                let quote = [
                    number(row.best_bid_price)?,
                    number(row.best_bid_amount)?,
                    number(row.best_ask_price)?,
                    number(row.best_ask_amount)?,
                ];
                self.quotes.take(conn, row.timestamp, quote, is_first, status);
            }
            "book" => {
                let row: BookData<'_> = serde_json::from_str(data).ok()?;
                let mut levels = Levels::new();
                for (is_bid, side) in [(true, &row.bids), (false, &row.asks)] {
                    for (_, price, amount) in side {
                        levels.push((is_bid, number(price)?, number(amount)?));
                    }
                }
                let is_snapshot = row.kind == "snapshot";
                if is_snapshot && row.change_id == 1 {
                    self.resets.insert(row.timestamp);
                }
                if !status.arrives() {
                    return Some(());
                }
                if is_snapshot {
                    self.snapshots.push((row.change_id, levels));
                } else if self.known.insert((row.timestamp, row.change_id)) {
                    self.events.push((row.timestamp, row.change_id, levels));
                }
            }
            _ => {}
        }
        Some(())
    }

    /// A number that grows for ever.
    fn number(&self, ms: i64, id: u64) -> u64 {
        let era = self.resets.range(..=ms).count();
        u64::try_from(era).unwrap_or(u64::MAX).saturating_mul(ERA).saturating_add(id)
    }

    /// The book that changes had made up to this number, of the last snapshot before it.
    fn made(&self, id: u64) -> Option<Levels> {
        let (begin, snapshot) = self.snapshots.iter().filter(|(told, _)| *told < id).max_by_key(|(told, _)| *told)?;
        let mut changes: Vec<_> = self.events.iter().filter(|(_, told, _)| (begin + 1..=id).contains(told)).collect();
        changes.sort_by_key(|(_, told, _)| *told);
        let changed = changes.into_iter().flat_map(|(.., levels)| levels);
        // Doubles above zero are in the order of their bits.
        let mut book = BTreeMap::new();
        for (is_bid, price, amount) in snapshot.iter().chain(changed) {
            book.insert((*is_bid, price.to_bits()), *amount);
        }
        book.retain(|_, amount| *amount > 0.0);
        Some(book.into_iter().map(|((is_bid, price), amount)| (is_bid, f64::from_bits(price), amount)).collect())
    }

    fn audit_book(&self, symbol: &Symbol, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
        let event = |(ms, id, levels): &(i64, u64, Levels)| {
            let number = self.number(*ms, *id);
            (number, SentEvent { first: number, levels: levels.clone() })
        };
        let sent = self.events.iter().map(event).collect();
        let number = |ts: UnixNanos, id| self.number(ts.as_millis(), id);
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
        for (epoch, (id, levels)) in epochs {
            let levels = sorted(&levels);
            let is_shown = self.snapshots.iter().any(|(told, of)| *told == id && sorted(of) == levels);
            // Another connection takes over with the book that changes have made of its snapshot.
            if !is_shown && self.made(id).is_none_or(|book| sorted(&book) != levels) {
                result.wrong += 1;
                result.problem(|| format!("epoch {epoch} begins with a book that was never sent as {id}"));
            }
        }
        Ok(result)
    }
}

fn sorted(levels: &Levels) -> Levels {
    let mut levels = levels.clone();
    levels.sort_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal));
    levels
}

fn read(ledger: &Path) -> Result<BTreeMap<String, Market>, AuditError> {
    let mut markets: BTreeMap<String, Market> = BTreeMap::new();
    // When the numbers of a symbol's book began anew.
    let mut resets: Vec<(String, i64)> = Vec::new();
    // Streams of connections on which something came already; a subscription that begins anew shows something anew.
    let mut begun: BTreeSet<(u32, String)> = BTreeSet::new();
    for record in LedgerReader::open(ledger)? {
        let (conn, stream, status, raw) = match record? {
            LedgerRecord::Frame { conn, stream, status, raw, .. } => (conn, stream, status, raw),
            LedgerRecord::Received { conn, raw, .. } if raw.contains("/unsubscribe") => {
                let is_all = raw.contains("/unsubscribe_all");
                let named = |stream: &str| is_all || raw.contains(&format!("\"{}\"", stream.replace(':', ".")));
                begun.retain(|(of, stream)| *of != conn || !named(stream));
                continue;
            }
            LedgerRecord::Fault { ts, fault: Fault::SequenceReset { symbol }, .. } => {
                resets.push((symbol, ts.div_euclid(1_000_000)));
                continue;
            }
            _ => continue,
        };
        let parts: Vec<&str> = stream.split(':').collect();
        // Books that are told at once, or whole each time, are no series.
        let (channel, id) = match parts.as_slice() {
            [channel @ ("trades" | "quote"), id, ..] => (*channel, *id),
            ["book", id, pace] if *pace != "raw" => ("book", *id),
            _ => continue,
        };
        let is_first = begun.insert((conn, stream.clone()));
        if status.arrives() || channel == "book" {
            let market = markets.entry(id.to_owned()).or_default();
            let taken = market.take(channel, conn, &raw, is_first, status);
            taken.ok_or_else(|| AuditError::Frame { stream: stream.clone(), raw })?;
        }
    }
    for (id, market) in &mut markets {
        let symbol = symbol_of(id);
        let own = resets.iter().filter(|(of, _)| symbol.as_ref().is_some_and(|symbol| symbol.as_str() == of));
        market.resets.extend(own.map(|(_, ms)| *ms));
    }
    Ok(markets)
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for (id, market) in read(ledger)? {
        let Some(symbol) = symbol_of(&id) else { continue };
        let files = |channel: Channel| tables(&data_path.join(NAME).join(channel.directory()).join(symbol.path_name()));
        if !market.trades.is_empty() {
            let (sent, shown) = (&market.trades, BTreeMap::new());
            series.push(trades::audit(symbol.as_str(), sent, &shown, Times::Message, &files(Channel::Trades)?)?);
        }
        if !market.quotes.by_ms.is_empty() {
            series.push(quotes::audit(symbol.as_str(), &market.quotes.told(), &files(Channel::Quotes)?)?);
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
    fn quotes_of_one_millisecond_keep_the_order_in_which_they_came() {
        let quote = |bid: f64| [bid, 1.0, 9.0, 1.0];
        let mut quotes = Quotes::default();
        let mut take = |conn, ms, bid, is_shown, status| quotes.take(conn, ms, quote(bid), is_shown, status);
        let sent = FrameStatus::Sent;
        take(1, 5, 1.0, true, sent);
        for bid in [2.0, 1.0, 2.0] {
            take(1, 7, bid, false, sent);
        }
        // Another connection got the same, the second one twice; a third was shown what was the last.
        for bid in [2.0, 1.0] {
            take(2, 7, bid, false, sent);
        }
        take(2, 7, 1.0, false, FrameStatus::Duplicated);
        take(2, 7, 2.0, false, sent);
        take(3, 7, 2.0, true, sent);
        take(2, 6, 4.0, false, sent);
        let told: Vec<_> = quotes.told().iter().map(|told| (told.label, told.quote[0], told.must)).collect();
        let expected = [
            (5, 1.0, false),
            (6, 4.0, true),
            (7, 2.0, true),
            (7, 2.0, false),
            (7, 1.0, true),
            (7, 1.0, false),
            (7, 2.0, true),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn names_of_markets_lead_to_their_symbols() {
        let names = ["BTC_USDC", "BTC_USDC-PERPETUAL", "BTC-PERPETUAL"].map(|id| symbol_of(id).unwrap().to_string());
        assert_eq!(names, ["BTC/USDC", "BTC/USDC:USDC", "BTC/USD:BTC"]);
        assert_eq!(symbol_of("BTC-25DEC26"), None);
    }
}
