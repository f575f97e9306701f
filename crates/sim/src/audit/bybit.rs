//! What reached connections of a simulated Bybit: trades by their ids, best prices and books by their time, messages in their order.
//!
//! Frames of one stream are the same on every connection; those that reached several count once. Linear trades have ids that are
//! not counted: what was traded while nobody was connected is in no frame, and nothing here misses it. A gap of trades covers time,
//! not ids.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dccd_model::{Channel, Gap, Side, Symbol, UnixNanos};
use dccd_store::TradeRow;
use serde::Deserialize;

use super::kraken::book::{self, Levels};
use super::kraken::{Entries, Entry};
use super::quotes::Told;
use super::sent::SentQuote;
use super::{Audit, AuditError, SeriesAudit, files_of, gaps, quotes};
use crate::faults::Fault;
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};

/// The exchange's name.
pub(super) const NAME: &str = "bybit";
/// Before the counted part of a spot trade's id.
const SPOT_IDS: u128 = 2_290_000_000_000_000_000;

#[derive(Clone, Debug, PartialEq)]
struct SentTrade {
    price: f64,
    amount: f64,
    taker_bought: bool,
    time_ms: i64,
}

#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u128, SentTrade>,
    quotes: Entries<SentQuote>,
    /// By depth.
    books: BTreeMap<usize, Entries<Levels>>,
    /// Ids that no trade has.
    never: BTreeSet<u128>,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    #[serde(rename = "i")]
    id: &'a str,
    #[serde(rename = "T")]
    time_ms: i64,
    #[serde(rename = "p")]
    price: &'a str,
    #[serde(rename = "v")]
    amount: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
}

#[derive(Deserialize)]
struct BookData<'a> {
    #[serde(borrow, rename = "b")]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow, rename = "a")]
    asks: Vec<(&'a str, &'a str)>,
}

#[derive(Deserialize)]
struct Message<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    data: T,
    #[serde(default)]
    cts: i64,
}

/// A counted id, or the number that a UUID's digits are.
fn id(text: &str) -> Option<u128> {
    if text.contains('-') { u128::from_str_radix(&text.replace('-', ""), 16).ok() } else { text.parse().ok() }
}

impl Market {
    /// `None`: not understood.
    fn take(&mut self, topic: &str, narrow: &str, raw: &str, status: FrameStatus) -> Option<()> {
        match topic {
            "publicTrade" => {
                let message: Message<'_, Vec<TradeData<'_>>> = serde_json::from_str(raw).ok()?;
                for row in message.data {
                    let (price, amount) = (row.price.parse().ok()?, row.amount.parse().ok()?);
                    let trade = SentTrade { price, amount, taker_bought: row.side == "Buy", time_ms: row.time_ms };
                    self.trades.insert(id(row.id)?, trade);
                }
                Some(())
            }
            "orderbook" => {
                let message: Message<'_, BookData<'_>> = serde_json::from_str(raw).ok()?;
                let mut levels = Levels::new();
                for (is_bid, side) in [(true, &message.data.bids), (false, &message.data.asks)] {
                    for (price, amount) in side {
                        levels.push((is_bid, price.parse().ok()?, amount.parse().ok()?));
                    }
                }
                let (ts_us, is_snapshot) = (message.cts * 1_000, message.kind == "snapshot");
                if narrow == "1" {
                    let best = |wanted| {
                        levels.iter().find(|(is_bid, ..)| *is_bid == wanted).map(|(_, price, amount)| (*price, *amount))
                    };
                    let ((bid, bid_amount), (ask, ask_amount)) = (best(true)?, best(false)?);
                    let what = [bid, bid_amount, ask, ask_amount];
                    self.quotes.take(raw, status, || Some(Entry { ts_us, is_snapshot, must: true, repeats: 0, what }))?;
                }
                let entry = || Some(Entry { ts_us, is_snapshot, must: true, repeats: 0, what: levels });
                self.books.entry(narrow.parse().ok()?).or_default().take(raw, status, entry)
            }
            _ => Some(()),
        }
    }
}

/// The markets by category and id.
fn read(ledger: &Path) -> Result<BTreeMap<(String, String), Market>, AuditError> {
    let mut markets: BTreeMap<(String, String), Market> = BTreeMap::new();
    for record in LedgerReader::open(ledger)? {
        match record? {
            LedgerRecord::Frame { stream, status, raw, .. } if status.arrives() => {
                let mut parts = stream.splitn(4, ':');
                let (Some(category), Some(topic), Some(id)) = (parts.next(), parts.next(), parts.next()) else { continue };
                let market = markets.entry((category.to_owned(), id.to_owned())).or_default();
                let taken = market.take(topic, parts.next().unwrap_or(""), &raw, status);
                taken.ok_or(AuditError::Frame { stream, raw })?;
            }
            LedgerRecord::Fault { fault: Fault::Gap { symbol, channel, .. }, detail, .. } if channel == "trades" => {
                let Ok(symbol) = symbol.parse::<Symbol>() else { continue };
                let key = (category(&symbol).to_owned(), id_of(&symbol));
                let digits = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u128>().ok();
                let ends = detail.split(" of ").next().and_then(|ids| ids.split_once("..="));
                if let Some((Some(first), Some(last))) = ends.map(|(first, last)| (digits(first), digits(last))) {
                    markets.entry(key).or_default().never.extend(SPOT_IDS + first..=SPOT_IDS + last);
                }
            }
            _ => {}
        }
    }
    Ok(markets)
}

fn category(symbol: &Symbol) -> &'static str {
    if symbol.settle().is_some() { "linear" } else { "spot" }
}

fn id_of(symbol: &Symbol) -> String {
    format!("{}{}", symbol.base(), symbol.quote())
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for ((kind, id), market) in read(ledger)? {
        let files = |channel: Channel| -> Result<(String, Vec<PathBuf>), AuditError> {
            let is_it = |symbol: &Symbol| category(symbol) == kind && id_of(symbol) == id;
            let found = files_of(data_path, NAME, channel, is_it)?.into_iter().next();
            Ok(found.map_or_else(|| (format!("{kind}:{id}"), Vec::new()), |(symbol, files)| (symbol.to_string(), files)))
        };
        if !market.trades.is_empty() {
            let (name, files) = files(Channel::Trades)?;
            series.push(trades(&name, &market, kind == "spot", &files)?);
        }
        let entries = market.quotes.sorted();
        if !entries.is_empty() {
            let (name, files) = files(Channel::Quotes)?;
            let mut told: Vec<Told> = Vec::new();
            for Entry { ts_us, repeats, what: quote, .. } in entries {
                let label = u64::try_from(ts_us).unwrap_or(0);
                // The same prices are told again to whoever comes, and after a while.
                let is_new = told.last().is_none_or(|before| before.quote != quote);
                told.push(Told { label, quote, must: is_new });
                told.extend((0..repeats).map(|_| Told { label, quote, must: false }));
            }
            series.push(quotes::audit(&name, &told, &files)?);
        }
        // Where best prices alone were told, there is no book.
        let books: BTreeMap<_, _> = market.books.into_iter().filter(|(depth, _)| *depth > 1).collect();
        if !books.is_empty() {
            let (name, files) = files(Channel::Book)?;
            let depths = books.into_iter().map(|(depth, entries)| (depth, entries.sorted())).collect();
            series.push(book::audit(&name, &depths, &files)?);
        }
    }
    Ok(Audit { series })
}

/// Trades: each exactly once with its values, or in a declared stretch of time.
fn trades(name: &str, market: &Market, is_counted: bool, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
    let mut result =
        SeriesAudit { series: format!("{name}/trades"), sent: market.trades.len() as u64, ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut stored: BTreeMap<u128, TradeRow> = BTreeMap::new();
    for file in files {
        for row in dccd_store::read_trades(file)? {
            let row = row?;
            if stored.insert(row.id.0, row).is_some() {
                result.duplicate += 1;
                result.problem(|| format!("trade {} is stored twice", row.id));
            }
        }
    }
    result.stored = stored.len() as u64;
    result.fetched = stored.keys().filter(|id| !market.trades.contains_key(id)).count() as u64;
    for (id, trade) in &market.trades {
        let ts = UnixNanos::from_millis(trade.time_ms);
        match stored.get(id) {
            Some(row) if same(trade, row) => {}
            Some(row) => {
                result.wrong += 1;
                result.problem(|| format!("trade {id} was sent as {trade:?} and stored as {row:?}"));
            }
            None if covers(&gaps, ts, ts) => result.declared += 1,
            None => {
                result.missing += 1;
                result.problem(|| format!("trade {id} of {ts} was sent and is neither stored nor declared"));
            }
        }
    }
    if is_counted {
        count(market, &stored, &gaps, &mut result);
    }
    Ok(result)
}

/// Ids are contiguous, so what nobody was sent is known too: it lies between the trades before and after it.
fn count(market: &Market, stored: &BTreeMap<u128, TradeRow>, gaps: &[Gap], result: &mut SeriesAudit) {
    let sent = market.trades.iter().map(|(id, trade)| (*id, UnixNanos::from_millis(trade.time_ms)));
    let (Some((first, _)), Some((last, _))) = (market.trades.first_key_value(), market.trades.last_key_value()) else {
        return;
    };
    let known: BTreeMap<u128, UnixNanos> = sent.chain(stored.range(first..=last).map(|(id, row)| (*id, row.ts))).collect();
    let mut before: Option<(u128, UnixNanos)> = None;
    for (id, ts) in known {
        if let Some((last_id, last_ts)) = before {
            let lost = (last_id + 1..id).filter(|id| !market.never.contains(id)).count() as u64;
            if lost > 0 && covers(gaps, last_ts, ts) {
                result.declared += lost;
            } else if lost > 0 {
                result.missing += lost;
                result.problem(|| {
                    format!("{lost} trades between {last_id} and {id} happened and are neither stored nor declared")
                });
            }
        }
        before = Some((id, ts));
    }
}

/// Whether a gap touches a stretch of time.
pub(super) fn covers(gaps: &[Gap], from: UnixNanos, to: UnixNanos) -> bool {
    gaps.iter().any(|gap| !gap.repaired && gap.from <= to && gap.to >= from)
}

#[allow(clippy::float_cmp)] // the very same double is asked for
fn same(sent: &SentTrade, row: &TradeRow) -> bool {
    let side = if sent.taker_bought { Side::Buy } else { Side::Sell };
    row.price == sent.price
        && row.amount == sent.amount
        && row.side == side
        && row.ts == UnixNanos::from_millis(sent.time_ms)
}
