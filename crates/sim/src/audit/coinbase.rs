//! What reached connections of a simulated Coinbase: trades by their ids, quotes by their sequence, books message by message, as
//! nothing numbers those.
//!
//! A snapshot has no time: it is as old as the update before the first one that its connection was to get after it. A book's update
//! that a fault took is in no client's reach, as nothing tells of it; it is not missed here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dccd_model::time::{day_from_label, day_start};
use dccd_model::{Channel, Symbol};
use serde::Deserialize;

use super::kraken::book::{self, Levels};
use super::kraken::{Entries, Entry};
use super::quotes::Told;
use super::sent::{SentQuote, SentTrade};
use super::trades::Times;
use super::{Audit, AuditError, quotes, tables, trades};
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};

/// The exchange's name.
pub(super) const NAME: &str = "coinbase";

/// A frame of a book: its connection, its place on it, what became of it, when, and its text.
#[derive(Debug)]
struct BookFrame {
    conn: u32,
    seq: u64,
    status: FrameStatus,
    ledger_us: i64,
    raw: String,
}

/// What one product sent.
#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u64, SentTrade>,
    shown: BTreeMap<u64, SentTrade>,
    /// In the order of their sequence.
    quotes: Entries<SentQuote>,
    book: Vec<BookFrame>,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    time: &'a str,
}

#[derive(Deserialize, PartialEq)]
struct TickerData<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    product_id: &'a str,
    sequence: i64,
    time: &'a str,
    best_bid: &'a str,
    best_bid_size: &'a str,
    best_ask: &'a str,
    best_ask_size: &'a str,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum BookData<'a> {
    Snapshot {
        #[serde(borrow)]
        bids: Vec<(&'a str, &'a str)>,
        #[serde(borrow)]
        asks: Vec<(&'a str, &'a str)>,
    },
    L2update {
        #[serde(borrow)]
        changes: Vec<(&'a str, &'a str, &'a str)>,
        time: &'a str,
    },
}

/// Microseconds of `2026-08-24T22:21:58.343688Z`.
fn micros(text: &str) -> Option<i64> {
    let day_us = day_start(day_from_label(text.get(..10)?)?).0 / 1_000;
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    Some(day_us + (part(11..13)? * 3_600 + part(14..16)? * 60 + part(17..19)?) * 1_000_000 + part(20..26)?)
}

impl BookData<'_> {
    /// When an update happened.
    fn time_us(&self) -> Option<i64> {
        match self {
            Self::Snapshot { .. } => None,
            Self::L2update { time, .. } => micros(time),
        }
    }

    fn levels(&self) -> Option<Levels> {
        let mut levels = Levels::new();
        let mut add = |is_bid: bool, price: &str, size: &str| -> Option<()> {
            levels.push((is_bid, price.parse().ok()?, size.parse().ok()?));
            Some(())
        };
        match self {
            Self::Snapshot { bids, asks } => {
                for (is_bid, side) in [(true, bids), (false, asks)] {
                    side.iter().try_for_each(|(price, size)| add(is_bid, price, size))?;
                }
            }
            Self::L2update { changes, .. } => {
                changes.iter().try_for_each(|(side, price, size)| add(*side == "buy", price, size))?;
            }
        }
        Some(levels)
    }
}

/// The frames of a book in the order of their times; the text that could not be read otherwise.
fn book_entries(mut frames: Vec<BookFrame>) -> Result<Vec<Entry<Levels>>, String> {
    // Backwards on each connection, so that what comes after a snapshot is known when it is met.
    frames.sort_by_key(|frame| (frame.conn, std::cmp::Reverse(frame.seq)));
    let mut entries = Entries::default();
    let mut next: Option<(u32, i64)> = None;
    for BookFrame { conn, seq, status, ledger_us, raw } in frames {
        let data: BookData<'_> = serde_json::from_str(&raw).map_err(|_| raw.clone())?;
        let after_us = next.filter(|(of, _)| *of == conn).map(|(_, us)| us);
        let (ts_us, name) = match data.time_us() {
            Some(us) => {
                next = Some((conn, after_us.map_or(us, |after| after.min(us))));
                (us, raw.clone())
            }
            None => {
                next = None;
                // The same book may be shown more than once.
                (after_us.map_or(ledger_us, |us| us - 1), format!("{conn} {seq} {raw}"))
            }
        };
        if status.arrives() {
            let is_snapshot = data.time_us().is_none();
            // Backwards, the second of two that are the same comes first.
            let repeats = u32::from(status == FrameStatus::Duplicated);
            let entry = || Some(Entry { ts_us, is_snapshot, must: true, repeats, what: data.levels()? });
            entries.take(&name, status, entry).ok_or_else(|| raw.clone())?;
        }
    }
    Ok(entries.sorted())
}

/// Whether a ticker that was damaged still says all that is a quote's: it may be believed, and needn't be.
fn is_told_all_the_same(raw: &str, wire: Option<&str>) -> bool {
    let read = |text| serde_json::from_str::<TickerData<'_>>(text).ok();
    wire.and_then(read).is_some_and(|damaged| read(raw) == Some(damaged))
}

impl Market {
    /// `shown_to` is the connection that this is the first frame of. `None`: not understood.
    fn take(&mut self, channel: &str, raw: &str, shown_to: Option<u32>, status: FrameStatus) -> Option<()> {
        match channel {
            "matches" => {
                let row: TradeData<'_> = serde_json::from_str(raw).ok()?;
                let trade = SentTrade {
                    price: row.price.parse().ok()?,
                    amount: row.size.parse().ok()?,
                    // The side is the maker's.
                    buyer_is_maker: row.side == "buy",
                    time: micros(row.time)?,
                };
                let into = if row.kind == "last_match" { &mut self.shown } else { &mut self.trades };
                into.insert(row.trade_id, trade);
                Some(())
            }
            "ticker" => {
                // What is shown to a newcomer was told before, and may be stored once more.
                let name = shown_to.map_or_else(|| raw.to_owned(), |conn| format!("{conn} {raw}"));
                self.quotes.take(&name, status, || {
                    let row: TickerData<'_> = serde_json::from_str(raw).ok()?;
                    let number = |text: &str| text.parse::<f64>().ok();
                    let [bid, ask] = [number(row.best_bid)?, number(row.best_ask)?];
                    let what = [bid, number(row.best_bid_size)?, ask, number(row.best_ask_size)?];
                    Some(Entry { ts_us: row.sequence, is_snapshot: shown_to.is_some(), must: true, repeats: 0, what })
                })
            }
            _ => Some(()),
        }
    }
}

fn read(ledger: &Path) -> Result<BTreeMap<String, Market>, AuditError> {
    let mut markets: BTreeMap<String, Market> = BTreeMap::new();
    // Streams of connections on which something came already; a subscription that begins anew shows something anew.
    let mut begun: BTreeSet<(u32, String)> = BTreeSet::new();
    for record in LedgerReader::open(ledger)? {
        let (ts, conn, seq, stream, status, raw, wire) = match record? {
            LedgerRecord::Frame { ts, conn, seq, stream, status, raw, wire } => (ts, conn, seq, stream, status, raw, wire),
            LedgerRecord::Received { conn, raw, .. } if raw.contains("\"unsubscribe\"") => {
                begun.retain(|(of, _)| *of != conn);
                continue;
            }
            _ => continue,
        };
        let Some((channel, id)) = stream.split_once(':') else { continue };
        let market = markets.entry(id.to_owned()).or_default();
        if channel == "level2_batch" {
            market.book.push(BookFrame { conn, seq, status, ledger_us: ts / 1_000, raw });
            continue;
        }
        let shown_to = begun.insert((conn, stream.clone())).then_some(conn);
        if status.arrives() || (channel == "ticker" && is_told_all_the_same(&raw, wire.as_deref())) {
            market.take(channel, &raw, shown_to, status).ok_or_else(|| AuditError::Frame { stream: stream.clone(), raw })?;
        }
    }
    Ok(markets)
}

/// What is to be stored of tickers in the order of their sequence. One comes with each trade, and is a record whether the best prices
/// moved or not. Its number is told once more when a subscription begins, maybe with the prices of that moment: of a number that was
/// told with several prices, whichever came first is stored, and nobody knows which that was. What says the
/// same right after one that needn't be stored can't be told from it.
fn told(tickers: &[Entry<SentQuote>]) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    for same in tickers.chunk_by(|a, b| a.ts_us == b.ts_us) {
        let is_sure = same.windows(2).all(|pair| pair[0].what == pair[1].what);
        let must = is_sure && same.iter().any(|entry| entry.must && !entry.is_snapshot);
        for (place, Entry { ts_us, repeats, what: quote, .. }) in same.iter().enumerate() {
            let label = u64::try_from(*ts_us).unwrap_or(0);
            let is_like_one_not_asked_for = told.last().is_some_and(|last| !last.must && last.quote == *quote);
            told.push(Told { label, quote: *quote, must: must && place == 0 && !is_like_one_not_asked_for });
            told.extend((0..*repeats).map(|_| Told { label, quote: *quote, must: false }));
        }
    }
    told
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for (id, market) in read(ledger)? {
        let Some(symbol) = id.split_once('-').and_then(|(base, quote)| Symbol::spot(base, quote).ok()) else { continue };
        let files = |channel: Channel| -> Result<Vec<PathBuf>, AuditError> {
            tables(&data_path.join(NAME).join(channel.directory()).join(symbol.path_name()))
        };
        if !market.trades.is_empty() {
            let (sent, shown) = (&market.trades, &market.shown);
            series.push(trades::audit(symbol.as_str(), sent, shown, Times::Message, &files(Channel::Trades)?)?);
        }
        let tickers = market.quotes.sorted();
        if !tickers.is_empty() {
            series.push(quotes::audit(symbol.as_str(), &told(&tickers), &files(Channel::Quotes)?)?);
        }
        if !market.book.is_empty() {
            let stream = format!("level2_batch:{id}");
            let entries = book_entries(market.book).map_err(|raw| AuditError::Frame { stream, raw })?;
            // All of the book is told: nothing falls out of a depth.
            let depths = BTreeMap::from([(usize::MAX, entries)]);
            series.push(book::audit(symbol.as_str(), &depths, &files(Channel::Book)?)?);
        }
    }
    Ok(Audit { series })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(conn: u32, seq: u64, status: FrameStatus, raw: &str) -> BookFrame {
        BookFrame { conn, seq, status, ledger_us: 7, raw: raw.to_owned() }
    }

    #[test]
    fn a_snapshot_lies_just_before_the_first_update_after_it() {
        let update = |second: u32, price: u32| {
            format!(
                r#"{{"type":"l2update","product_id":"A-B","changes":[["buy","{price}","2"]],"time":"1970-01-01T00:00:0{second}.000000Z"}}"#
            )
        };
        let snapshot = r#"{"type":"snapshot","product_id":"A-B","asks":[],"bids":[["1","2"]]}"#;
        let (sent, dropped) = (FrameStatus::Sent, FrameStatus::Dropped);
        let entries = book_entries(vec![
            // The ledger learns of a frame that is dropped before it does of those that wait.
            frame(1, 3, dropped, &update(4, 4)),
            frame(1, 1, sent, &update(3, 3)),
            frame(1, 2, sent, snapshot),
            frame(1, 4, sent, &update(5, 5)),
            frame(2, 1, sent, snapshot),
            frame(2, 2, sent, &update(3, 3)),
            frame(3, 1, sent, snapshot),
        ]);
        let found: Vec<_> = entries.unwrap().iter().map(|entry| (entry.ts_us, entry.is_snapshot)).collect();
        let expected = [(7, true), (2_999_999, true), (3_000_000, false), (3_999_999, true), (5_000_000, false)];
        assert_eq!(found, expected);
        assert!(book_entries(vec![frame(1, 1, sent, "{}")]).is_err());
    }
    #[test]
    fn a_message_that_came_twice_may_be_stored_twice() {
        let raw = r#"{"type":"l2update","product_id":"A-B","changes":[],"time":"1970-01-01T00:00:03.000000Z"}"#;
        let (sent, again) = (FrameStatus::Sent, FrameStatus::Duplicated);
        let entries = book_entries(vec![frame(1, 1, sent, raw), frame(1, 2, again, raw), frame(2, 1, sent, raw)]).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.repeats).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_ticker_that_was_damaged_where_it_is_of_no_concern_may_be_believed() {
        let raw = r#"{"type":"ticker","sequence":9,"product_id":"A-B","price":"7","best_bid":"1","best_bid_size":"2","best_ask":"3","best_ask_size":"4","time":"1970-01-01T00:00:03.000000Z"}"#;
        let says = |from, to| is_told_all_the_same(raw, Some(&raw.replacen(from, to, 1)));
        assert!(says(r#""price":"7""#, r##""#rice":"#""##));
        for (from, to) in
            [("\"2\"", "\"#\""), ("A-B", "A#B"), ("ticker", "t#cker"), ("best_ask", "b#st_ask"), ("3.0", "#.0")]
        {
            assert!(!says(from, to), "{from}");
        }
        assert!(!is_told_all_the_same(raw, None));
    }
    #[test]
    fn each_ticker_is_a_record_and_of_one_that_was_shown_with_other_prices_either_is() {
        let entry =
            |ts_us, is_snapshot, bid| Entry { ts_us, is_snapshot, must: true, repeats: 0, what: [bid, 1.0, 9.0, 1.0] };
        let tickers = [
            entry(1, true, 1.0),
            entry(2, false, 2.0),
            entry(3, false, 2.0),
            entry(3, true, 2.0),
            entry(4, false, 2.0),
            entry(4, true, 3.0),
            entry(5, false, 3.0),
            entry(6, false, 2.0),
        ];
        let musts: Vec<_> = told(&tickers).iter().map(|told| (told.label, told.must)).collect();
        assert_eq!(musts, [(1, false), (2, true), (3, true), (3, false), (4, false), (4, false), (5, false), (6, true)]);
    }
}
