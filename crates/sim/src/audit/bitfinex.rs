//! What reached connections of a simulated Bitfinex: trades by their ids, books and best prices batch by batch.
//!
//! Messages carry the number of their channel and of their connection; what is left is the same on every connection. The messages of
//! one batch have one time, where the connection asked for times; without them each message stands for itself. A batch must be
//! stored when some connection got all of it, its checksum included. Of one that it did not get whole the changes before the hole may
//! be stored, and a gap is declared from there on; so may rows that no checksum proved any more, within a gap from the last that did.
//! Ids of trades are not counted: what was traded while nobody was connected is in no frame, and nothing here misses it.
//!
//! Best prices are those of the book with one level; without such a book those of the ticker, and without that, where some are stored,
//! those of the deepest book. Of books those with prices of full precision are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dccd_model::{Channel, Gap, Side, Symbol, UnixNanos};
use dccd_store::TradeRow;
use serde_json::value::RawValue;

use super::bybit::covers;
use super::kraken::Entry;
use super::kraken::book::{self, Levels};
use super::quotes::Told;
use super::sent::{SentQuote, SentTrade};
use super::{Audit, AuditError, SeriesAudit, files_of, gaps, quotes};
use crate::exchanges::bitfinex::pairs::symbol_of;
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};

/// The exchange's name.
pub(super) const NAME: &str = "bitfinex";

/// Numbers above this are times in milliseconds: no connection sends so many messages.
const TIMES: i64 = 1_000_000_000_000;

/// A batch on one connection.
#[derive(Debug, Default)]
struct Part {
    /// Rows as they are in the text, each once.
    rows: BTreeSet<String>,
    /// In the order in which they were to be sent: by their message's number. One that was dropped is noted before those that were
    /// still on their way.
    levels: BTreeMap<(i64, usize), (bool, f64, f64)>,
    /// Whether a part of it did not arrive.
    is_torn: bool,
    repeats: u32,
}

/// A book of one length.
#[derive(Debug, Default)]
struct Book {
    /// By time and connection.
    batches: BTreeMap<i64, BTreeMap<u32, Part>>,
    snapshots: Vec<(i64, Levels)>,
}

#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u64, SentTrade>,
    shown: BTreeMap<u64, SentTrade>,
    /// By time: the quote, and whether it was told and not shown.
    tickers: BTreeMap<i64, (SentQuote, bool)>,
    /// By length.
    books: BTreeMap<usize, Book>,
}

/// A message taken apart.
struct Message<'a> {
    channel: u64,
    body: &'a RawValue,
    /// What follows a body that is a word.
    value: Option<&'a RawValue>,
    /// On its connection.
    number: Option<i64>,
    /// Milliseconds.
    time: Option<i64>,
}

impl<'a> Message<'a> {
    fn read(raw: &'a str) -> Option<Self> {
        let parts: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
        let (channel, body) = (parts.first()?.get().parse().ok()?, *parts.get(1)?);
        let has_value = matches!(body.get(), "\"te\"" | "\"tu\"" | "\"cs\"");
        let value = if has_value { Some(*parts.get(2)?) } else { None };
        let rest = parts.get(2 + usize::from(has_value)..)?;
        let (mut number, mut time) = (None, None);
        for next in rest.iter().filter_map(|part| part.get().parse::<i64>().ok()) {
            *(if next > TIMES { &mut time } else { &mut number }) = Some(next);
        }
        Some(Self { channel, body, value, number, time })
    }
}

/// A list's parts, as they are in the text.
fn parts(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

fn number(raw: &RawValue) -> Option<f64> {
    raw.get().parse().ok()
}

fn trade(row: &RawValue) -> Option<(u64, SentTrade)> {
    let [id, time, amount, price] = parts(row)?.try_into().ok()?;
    let amount = number(amount)?;
    let time = time.get().parse().ok()?;
    let trade = SentTrade { price: number(price)?, amount: amount.abs(), buyer_is_maker: amount < 0.0, time };
    Some((id.get().parse().ok()?, trade))
}

fn level(row: &RawValue) -> Option<(bool, f64, f64)> {
    let [price, count, amount] = parts(row)?.try_into().ok()?;
    let amount = number(amount)?;
    Some((amount > 0.0, number(price)?, if count.get() == "0" { 0.0 } else { amount.abs() }))
}

/// A frame, and where it comes from.
struct Sent<'a> {
    conn: u32,
    status: FrameStatus,
    message: Message<'a>,
    time: i64,
    /// Whether it is the first of its channel.
    is_first: bool,
}

impl Market {
    /// `None`: not understood.
    fn take(&mut self, kind: &str, narrow: &[&str], sent: &Sent<'_>) -> Option<()> {
        let Message { body, value, .. } = &sent.message;
        let is_list = body.get().starts_with('[');
        match kind {
            "trades" if sent.status.arrives() => {
                for row in if is_list { parts(body)? } else { Vec::new() } {
                    let (id, trade) = trade(row)?;
                    self.shown.insert(id, trade);
                }
                if let Some(row) = value {
                    let (id, trade) = trade(row)?;
                    self.trades.insert(id, trade);
                }
            }
            "ticker" if sent.status.arrives() && is_list => {
                let figures = parts(body)?;
                let figure = |at: usize| figures.get(at).copied().and_then(number);
                let quote = [figure(0)?, figure(1)?, figure(2)?, figure(3)?];
                let known = self.tickers.entry(sent.time).or_insert((quote, false));
                known.1 |= !sent.is_first;
            }
            "book" if narrow.first() == Some(&"P0") && body.get() != "\"hb\"" => {
                let length = narrow.last()?.parse().ok()?;
                self.books.entry(length).or_default().take(sent)?;
            }
            _ => {}
        }
        Some(())
    }
}

impl Book {
    fn take(&mut self, sent: &Sent<'_>) -> Option<()> {
        let body = sent.message.body;
        let is_checksum = !body.get().starts_with('[');
        let is_many = body.get().starts_with("[[") || body.get() == "[]";
        if is_many && sent.is_first {
            if sent.status.arrives() {
                let levels = parts(body)?.into_iter().map(level).collect::<Option<_>>()?;
                self.snapshots.push((sent.time, levels));
            }
            return Some(());
        }
        let part = self.batches.entry(sent.time).or_default().entry(sent.conn).or_default();
        part.is_torn |= !sent.status.arrives();
        if is_checksum {
            return Some(());
        }
        part.repeats += u32::from(sent.status == FrameStatus::Duplicated);
        let number = sent.message.number.unwrap_or(0);
        for row in if is_many { parts(body)? } else { vec![body] } {
            if part.rows.insert(row.get().to_owned()) {
                part.levels.insert((number, part.rows.len()), level(row)?);
            }
        }
        Some(())
    }

    /// All of it in the order of its times, each batch once.
    fn entries(self) -> Vec<Entry<Levels>> {
        let snapshot = |(ms, what)| Entry { ts_us: ms * 1_000, is_snapshot: true, must: true, repeats: 0, what };
        let mut entries: Vec<_> = self.snapshots.into_iter().map(snapshot).collect();
        for (ms, parts) in self.batches {
            let must = parts.values().any(|part| !part.is_torn && !part.rows.is_empty());
            let repeats = parts.values().map(|part| part.repeats).max().unwrap_or(0);
            // The connection that was to get most was to get all.
            let Some(whole) = parts.into_values().max_by_key(|part| (!part.is_torn, part.rows.len())) else { continue };
            if !whole.levels.is_empty() {
                let what = whole.levels.into_values().collect();
                entries.push(Entry { ts_us: ms * 1_000, is_snapshot: false, must, repeats, what });
            }
        }
        entries.sort_by_key(|entry| entry.ts_us);
        entries
    }
}

/// The best prices that batches make. Those after a part of a batch were told, too: each change is a message of its own.
fn best(entries: &[Entry<Levels>]) -> Vec<Told> {
    // Doubles above zero are in the order of their bits.
    let mut sides: [BTreeMap<u64, f64>; 2] = Default::default();
    let mut told: Vec<Told> = Vec::new();
    for entry in entries {
        if entry.is_snapshot {
            sides = Default::default();
        }
        let label = u64::try_from(entry.ts_us).unwrap_or(0);
        let before = told.last().map(|told| told.quote);
        for (is_bid, price, amount) in &entry.what {
            let side = &mut sides[usize::from(!is_bid)];
            if *amount > 0.0 {
                side.insert(price.to_bits(), *amount);
            } else {
                side.remove(&price.to_bits());
            }
            let quote = quote_of(&sides).filter(|_| !entry.is_snapshot);
            told.extend(quote.map(|quote| Told { label, quote, must: false }));
        }
        let Some(quote) = quote_of(&sides) else { continue };
        let is_new = before != Some(quote);
        if is_new && !entry.is_snapshot {
            // What the last change made is what the whole batch did.
            told.pop();
        }
        if is_new || entry.is_snapshot {
            told.push(Told { label, quote, must: is_new && entry.must && !entry.is_snapshot });
        }
    }
    told
}

/// The best bid and ask, where there are both.
fn quote_of(sides: &[BTreeMap<u64, f64>; 2]) -> Option<SentQuote> {
    let (bid, ask) = (sides[0].last_key_value()?, sides[1].first_key_value()?);
    Some([f64::from_bits(*bid.0), *bid.1, f64::from_bits(*ask.0), *ask.1])
}

/// Channels by their connections. A subscription made anew has another number.
type Channels<T> = BTreeMap<(u32, u64), T>;

/// The number of each channel's first message, where messages have any. It is not always the first that was sent: it may have changed
/// places with the next one.
fn first_numbers(ledger: &Path) -> Result<Channels<i64>, AuditError> {
    let mut first: Channels<i64> = BTreeMap::new();
    for record in LedgerReader::open(ledger)? {
        let LedgerRecord::Frame { conn, raw, .. } = record? else { continue };
        let Some(Message { channel, number: Some(number), .. }) = Message::read(&raw) else { continue };
        first.entry((conn, channel)).and_modify(|least| *least = number.min(*least)).or_insert(number);
    }
    Ok(first)
}

fn read(ledger: &Path) -> Result<BTreeMap<Symbol, Market>, AuditError> {
    let mut markets: BTreeMap<Symbol, Market> = BTreeMap::new();
    let first = first_numbers(ledger)?;
    // Channels on which something came already.
    let mut begun: Channels<()> = BTreeMap::new();
    for record in LedgerReader::open(ledger)? {
        let LedgerRecord::Frame { ts, conn, stream, status, raw, .. } = record? else { continue };
        let Some((kind, rest)) = stream.split_once(':') else { continue };
        let mut narrow: Vec<&str> = rest.rsplitn(if kind == "book" { 4 } else { 1 }, ':').collect();
        narrow.reverse();
        let Some(symbol) = narrow.first().copied().and_then(symbol_of) else { continue };
        let taken = Message::read(&raw).and_then(|message| {
            let (channel, is_new) = ((conn, message.channel), begun.insert((conn, message.channel), ()).is_none());
            let is_first = message.number.map_or(is_new, |number| first.get(&channel) == Some(&number));
            let time = message.time.unwrap_or(ts / 1_000_000);
            let sent = Sent { conn, status, message, time, is_first };
            markets.entry(symbol).or_default().take(kind, &narrow[1..], &sent)
        });
        taken.ok_or_else(|| AuditError::Frame { stream: stream.clone(), raw: raw.clone() })?;
    }
    Ok(markets)
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for (symbol, market) in read(ledger)? {
        let files = |channel: Channel| -> Result<Vec<PathBuf>, AuditError> {
            let found = files_of(data_path, NAME, channel, |other| *other == symbol)?;
            Ok(found.into_iter().flat_map(|(_, files)| files).collect())
        };
        if !market.trades.is_empty() {
            series.push(trades(symbol.as_str(), &market, &files(Channel::Trades)?)?);
        }
        let mut books: BTreeMap<usize, Vec<Entry<Levels>>> =
            market.books.into_iter().map(|(length, book)| (length, book.entries())).collect();
        let quoted = files(Channel::Quotes)?;
        let told = match (books.remove(&1), books.last_key_value()) {
            (Some(entries), _) => best(&entries),
            (None, Some((_, entries))) if market.tickers.is_empty() && !quoted.is_empty() => best(entries),
            _ => {
                let told = |(ms, (quote, must)): (i64, (SentQuote, bool))| Told { label: ms.unsigned_abs(), quote, must };
                market.tickers.into_iter().map(told).collect()
            }
        };
        // What was shown alone is no series.
        if told.iter().any(|told| told.must) {
            series.push(quotes::audit_doubted(symbol.as_str(), &told, &quoted)?);
        }
        if !books.is_empty() {
            series.push(book::audit_one_by_one(symbol.as_str(), &books, &files(Channel::Book)?)?);
        }
    }
    Ok(Audit { series })
}

/// Trades: each exactly once with its values, or in a declared gap.
fn trades(name: &str, market: &Market, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
    let sent = market.trades.len() as u64;
    let mut result = SeriesAudit { series: format!("{name}/trades"), sent, ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut stored: BTreeMap<u64, TradeRow> = BTreeMap::new();
    for file in files {
        for row in dccd_store::read_trades(file)? {
            let row = row?;
            let id = u64::try_from(row.id.0).unwrap_or(u64::MAX);
            if stored.insert(id, row).is_some() {
                result.duplicate += 1;
                result.problem(|| format!("trade {id} is stored twice"));
            }
        }
    }
    result.stored = stored.len() as u64;
    result.fetched = stored.keys().filter(|id| !market.trades.contains_key(id)).count() as u64;
    let shown = market.shown.iter().filter(|(id, _)| !market.trades.contains_key(id) && stored.contains_key(id));
    for (id, trade) in market.trades.iter().chain(shown) {
        match stored.get(id) {
            Some(row) if same(trade, row) => {}
            Some(row) => {
                result.wrong += 1;
                result.problem(|| format!("trade {id} was sent as {trade:?} and stored as {row:?}"));
            }
            None if is_declared(&gaps, *id, trade) => result.declared += 1,
            None => {
                result.missing += 1;
                result.problem(|| format!("trade {id} of {} ms was sent and is neither stored nor declared", trade.time));
            }
        }
    }
    Ok(result)
}

fn is_declared(gaps: &[Gap], id: u64, trade: &SentTrade) -> bool {
    let ts = UnixNanos::from_millis(trade.time);
    let by_id = |gap: &Gap| !gap.repaired && gap.ids.is_some_and(|(first, last)| (first..=last).contains(&id));
    covers(gaps, ts, ts) || gaps.iter().any(by_id)
}

#[allow(clippy::float_cmp)] // the very same double is asked for
fn same(sent: &SentTrade, row: &TradeRow) -> bool {
    let side = if sent.buyer_is_maker { Side::Sell } else { Side::Buy };
    row.price == sent.price && row.amount == sent.amount && row.side == side && row.ts == UnixNanos::from_millis(sent.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The books of one level of a ledger with these frames of one connection, in its order.
    fn books(frames: &[(FrameStatus, &str)]) -> Vec<Entry<Levels>> {
        let record = |(at, (status, raw)): (usize, &(FrameStatus, &str))| {
            let (seq, stream) = (at as u64, "book:tBTCUSD:P0:F0:1".to_owned());
            let (status, raw) = (*status, (*raw).to_owned());
            let frame = LedgerRecord::Frame { ts: 0, conn: 1, seq, stream, status, raw, wire: None };
            serde_json::to_string(&frame).unwrap() + "\n"
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), frames.iter().enumerate().map(record).collect::<String>()).unwrap();
        let (_, market) = read(file.path()).unwrap().pop_first().unwrap();
        market.books.into_values().flat_map(Book::entries).collect()
    }

    const SNAPSHOT: &str = "[7,[[99,1,1],[101,1,-1]],1,1795796792500]";

    #[test]
    fn a_snapshot_that_changed_places_with_the_next_message_is_one_all_the_same() {
        for change in ["[7,[99,1,2],2,1795796792600]", "[7,[[99,1,2],[101,1,-3]],2,1795796792600]"] {
            let told = books(&[(FrameStatus::Sent, change), (FrameStatus::Reordered, SNAPSHOT)]);
            assert_eq!(told.iter().map(|entry| entry.is_snapshot).collect::<Vec<_>>(), [true, false], "{change}");
            assert_eq!(told[0].what, [(true, 99.0, 1.0), (false, 101.0, 1.0)]);
        }
    }

    #[test]
    fn a_message_that_was_dropped_stands_where_it_was_to_be_sent() {
        let told = books(&[
            (FrameStatus::Sent, SNAPSHOT),
            (FrameStatus::Dropped, "[7,[101,1,-5],4,1795796792600]"),
            (FrameStatus::Sent, "[7,[99,0,1],2,1795796792600]"),
            (FrameStatus::Sent, "[7,[98,1,2],3,1795796792600]"),
        ]);
        assert_eq!(told[1].what, [(true, 99.0, 0.0), (true, 98.0, 2.0), (false, 101.0, 5.0)]);
        let quotes: Vec<SentQuote> = best(&told).iter().map(|told| told.quote).collect();
        assert_eq!(quotes, [[99.0, 1.0, 101.0, 1.0], [98.0, 2.0, 101.0, 1.0], [98.0, 2.0, 101.0, 5.0]]);
    }
}
