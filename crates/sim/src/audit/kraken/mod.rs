//! What reached connections of a simulated Kraken: trades by their ids, quotes and books by their time, as nothing numbers them.
//!
//! Frames of one stream are the same on every connection. Those that reached several count once, in the order of their times.

pub(in crate::audit) mod book;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use dccd_model::Channel;
use dccd_model::time::{day_from_label, day_start};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::quotes::Told;
use super::sent::{SentQuote, SentTrade};
use super::trades::Times;
use super::{Audit, AuditError, files, quotes, trades};
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};
use book::Levels;

/// The exchange's name.
pub(super) const NAME: &str = "kraken";

/// Something that was sent, once or several times.
#[derive(Clone, Debug)]
pub(in crate::audit) struct Entry<T> {
    /// The exchange's time, microseconds.
    pub(in crate::audit) ts_us: i64,
    pub(in crate::audit) is_snapshot: bool,
    /// Whether it arrived undamaged anywhere: then it must be stored.
    pub(in crate::audit) must: bool,
    /// How often it came again on one connection.
    pub(in crate::audit) repeats: u32,
    pub(in crate::audit) what: T,
}

/// What was sent on a stream, in the order of its times.
#[derive(Clone, Debug)]
pub(in crate::audit) struct Entries<T> {
    list: Vec<Entry<T>>,
    /// By the hash of its text.
    known: HashMap<u64, usize>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashMap::new() }
    }
}

impl<T> Entries<T> {
    pub(in crate::audit) fn take(
        &mut self,
        text: &str,
        status: FrameStatus,
        entry: impl FnOnce() -> Option<Entry<T>>,
    ) -> Option<()> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        match self.known.get(&hasher.finish()) {
            Some(at) => {
                let known = &mut self.list[*at];
                known.must |= status.arrives();
                known.repeats += u32::from(status == FrameStatus::Duplicated);
            }
            None => {
                self.known.insert(hasher.finish(), self.list.len());
                self.list.push(Entry { must: status.arrives(), ..entry()? });
            }
        }
        Some(())
    }

    /// A connection that was slower than another tells late what is of before.
    pub(in crate::audit) fn sorted(mut self) -> Vec<Entry<T>> {
        self.list.sort_by_key(|entry| entry.ts_us);
        self.list
    }
}

#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u64, SentTrade>,
    /// Those that only snapshots told of.
    shown: BTreeMap<u64, SentTrade>,
    /// By what makes the ticker be told.
    quotes: BTreeMap<String, Entries<SentQuote>>,
    /// By depth.
    books: BTreeMap<usize, Entries<Levels>>,
}

/// A message: the part of it that is held against the files.
#[derive(Deserialize)]
struct Message<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    data: Vec<T>,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    side: &'a str,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
    trade_id: u64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
struct TickerData<'a> {
    #[serde(borrow)]
    bid: &'a RawValue,
    #[serde(borrow)]
    bid_qty: &'a RawValue,
    #[serde(borrow)]
    ask: &'a RawValue,
    #[serde(borrow)]
    ask_qty: &'a RawValue,
    timestamp: &'a str,
}

#[derive(Deserialize)]
struct LevelData<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct BookData<'a> {
    #[serde(borrow)]
    bids: Vec<LevelData<'a>>,
    #[serde(borrow)]
    asks: Vec<LevelData<'a>>,
    timestamp: &'a str,
}

/// A number as it stands in the text, to the nearest double.
fn number(raw: &RawValue) -> Option<f64> {
    raw.get().parse().ok()
}

/// Microseconds of `2026-08-24T22:21:58.343688Z`.
fn micros(text: &str) -> Option<i64> {
    let day = day_start(day_from_label(text.get(..10)?)?).0 / 1_000;
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    Some(day + (part(11..13)? * 3_600 + part(14..16)? * 60 + part(17..19)?) * 1_000_000 + part(20..26)?)
}

impl Market {
    /// `None`: not understood.
    fn take(&mut self, channel: &str, narrow: &str, raw: &str, status: FrameStatus) -> Option<()> {
        match channel {
            "trade" if status.arrives() => {
                let message: Message<'_, TradeData<'_>> = serde_json::from_str(raw).ok()?;
                for row in message.data {
                    let trade = SentTrade {
                        price: number(row.price)?,
                        amount: number(row.qty)?,
                        buyer_is_maker: row.side == "sell",
                        time: micros(row.timestamp)?,
                    };
                    let into = if message.kind == "snapshot" { &mut self.shown } else { &mut self.trades };
                    into.insert(row.trade_id, trade);
                }
                Some(())
            }
            "ticker" if status.arrives() => self.quotes.entry(narrow.to_owned()).or_default().take(raw, status, || {
                let message: Message<'_, TickerData<'_>> = serde_json::from_str(raw).ok()?;
                let row = message.data.first()?;
                let what = [number(row.bid)?, number(row.bid_qty)?, number(row.ask)?, number(row.ask_qty)?];
                let is_snapshot = message.kind == "snapshot";
                Some(Entry { ts_us: micros(row.timestamp)?, is_snapshot, must: true, repeats: 0, what })
            }),
            "book" => self.books.entry(narrow.parse().ok()?).or_default().take(raw, status, || {
                let message: Message<'_, BookData<'_>> = serde_json::from_str(raw).ok()?;
                let row = message.data.first()?;
                let mut what = Vec::with_capacity(row.bids.len() + row.asks.len());
                for (is_bid, levels) in [(true, &row.bids), (false, &row.asks)] {
                    for level in levels {
                        what.push((is_bid, number(level.price)?, number(level.qty)?));
                    }
                }
                let is_snapshot = message.kind == "snapshot";
                Some(Entry { ts_us: micros(row.timestamp)?, is_snapshot, must: true, repeats: 0, what })
            }),
            _ => Some(()),
        }
    }
}

fn read(ledger: &Path) -> Result<BTreeMap<String, Market>, AuditError> {
    let mut markets: BTreeMap<String, Market> = BTreeMap::new();
    for record in LedgerReader::open(ledger)? {
        let LedgerRecord::Frame { stream, status, raw, wire, .. } = record? else { continue };
        // Of a book, what differs in its checksum alone may have been believed for what it is.
        let is_near = wire
            .as_ref()
            .is_some_and(|wire| without_checksum(wire).is_some_and(|rest| without_checksum(&raw) == Some(rest)));
        let mut parts = stream.splitn(3, ':');
        let (Some(channel), Some(symbol)) = (parts.next(), parts.next()) else { continue };
        if status.arrives() || is_near {
            let market = markets.entry(symbol.to_owned()).or_default();
            let taken = market.take(channel, parts.next().unwrap_or(""), &raw, status);
            taken.ok_or(AuditError::Frame { stream, raw })?;
        }
    }
    Ok(markets)
}

fn without_checksum(text: &str) -> Option<(&str, &str)> {
    let (before, after) = text.split_once("\"checksum\":")?;
    Some((before, after.trim_start_matches(|c: char| c.is_ascii_digit())))
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for (symbol, market) in read(ledger)? {
        let id = symbol.replace('/', "").to_lowercase();
        let files = |channel: Channel| files(data_path, NAME, channel, &id);
        if !market.trades.is_empty() {
            let (sent, shown) = (&market.trades, &market.shown);
            series.push(trades::audit(&symbol, sent, shown, Times::Rounded, &files(Channel::Trades)?)?);
        }
        // The best prices are told whole where the ticker is asked to; where it isn't, they are no series.
        if let Some(entries) = market.quotes.into_iter().find(|(trigger, _)| trigger == "bbo").map(|(_, entries)| entries) {
            let mut told = Vec::new();
            for Entry { ts_us, is_snapshot, repeats, what: quote, .. } in entries.sorted() {
                let label = u64::try_from(ts_us).unwrap_or(0);
                told.push(Told { label, quote, must: !is_snapshot });
                told.extend((0..repeats).map(|_| Told { label, quote, must: false }));
            }
            series.push(quotes::audit(&symbol, &told, &files(Channel::Quotes)?)?);
        }
        if !market.books.is_empty() {
            let depths = market.books.into_iter().map(|(depth, entries)| (depth, entries.sorted())).collect();
            series.push(book::audit(&symbol, &depths, &files(Channel::Book)?)?);
        }
    }
    Ok(Audit { series })
}
