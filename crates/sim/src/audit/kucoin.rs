//! What reached connections of a simulated KuCoin: trades by their numbers, which have holes; quotes in the order in which they were told;
//! books update by update, by the number of its last change.
//!
//! Trades and quotes may come over either socket. Of the ways to hear of best prices the first that a connection used is held against the
//! files: `level1`, a unified account's book of one level, the ticker of either socket; what repeats the quote before it may be stored.
//! Of a book that was followed both ways the unified account's counts. Entries without a price have nothing to store. A book that was
//! fetched over REST is in no frame: only one that a connection was sent can be held against the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dccd_model::{BookSide, Channel, Symbol, UnixNanos};
use serde_json::Value;

use super::quotes::Told;
use super::sent::{Levels, SentEvent, SentQuote, SentTrade};
use super::trades::{Count, Times};
use super::{Audit, AuditError, SeriesAudit, book, quotes, tables, trades};
use crate::exchanges::kucoin::render::{trade_number, trade_of};
use crate::ledger::{FrameStatus, LedgerReader, LedgerRecord};

/// The exchange's name.
pub(super) const NAME: &str = "kucoin";

/// Numbers of a book are below this: one that begins anew goes on above it.
const ERA: u64 = 1 << 48;

/// Trades leave holes between their numbers, and nobody can tell them from lost ones: gaps are declared by time.
const COUNT: Count = Count { place: trade_of, id: trade_number, by_time: true };

/// Quotes of one channel by millisecond and number (that of the book, or the place within its millisecond): the quote, whether it was
/// told and not only shown, how often it came again on one connection.
type Quotes = BTreeMap<(i64, u64), (SentQuote, bool, u32)>;

/// A book as one of the channels tells it.
#[derive(Debug, Default)]
struct Book {
    /// Updates with their times, milliseconds.
    updates: BTreeSet<(i64, u64)>,
    events: Vec<(i64, u64, Levels)>,
    snapshots: Vec<(u64, Levels)>,
    /// When numbers began anew.
    resets: BTreeSet<i64>,
}

/// What one market sent.
#[derive(Debug, Default)]
struct Market {
    trades: BTreeMap<u64, SentTrade>,
    level1: Quotes,
    one: Quotes,
    ticker: Quotes,
    level2: Book,
    unified: Book,
    /// Quotes of `level1` within the same millisecond, by connection.
    same: BTreeMap<u32, (i64, u64)>,
}

fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key)?.as_str()
}

fn number(row: &Value, key: &str) -> Option<f64> {
    text(row, key)?.parse().ok()
}

fn whole(row: &Value, key: &str) -> Option<u64> {
    let value = row.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A time in nanoseconds.
fn nanos(row: &Value, key: &str) -> Option<i64> {
    i64::try_from(whole(row, key)?).ok()
}

fn side(levels: &Value, is_bid: bool, out: &mut Levels) -> Option<()> {
    for level in levels.as_array()? {
        let number = |at: usize| level.get(at)?.as_str();
        if number(0)? != "0" {
            out.push((is_bid, number(0)?.parse().ok()?, number(1)?.parse().ok()?));
        }
    }
    Some(())
}

/// A quote of flat pairs: bid and its size, ask and its size.
fn pairs(bid: &Value, ask: &Value) -> Option<SentQuote> {
    let number = |pair: &Value, at: usize| pair.get(at)?.as_str()?.parse().ok();
    Some([number(bid, 0)?, number(bid, 1)?, number(ask, 0)?, number(ask, 1)?])
}

/// A frame and what is known of it.
struct Frame<'a> {
    conn: u32,
    channel: &'a str,
    /// What narrows the channel down.
    detail: &'a str,
    /// Whether it is the first of its subscription.
    is_first: bool,
    is_again: bool,
}

fn note(quotes: &mut Quotes, key: (i64, u64), quote: SentQuote, frame: &Frame<'_>) {
    let entry = quotes.entry(key).or_insert((quote, false, 0));
    // A book of one level is shown to who begins to follow it.
    entry.1 |= !(frame.is_first && frame.channel == "obu");
    entry.2 += u32::from(frame.is_again);
}

impl Book {
    fn take(&mut self, ms: i64, (first, last): (u64, u64), levels: Levels) {
        if first == 1 {
            self.resets.insert(ms);
        }
        if !levels.is_empty() && self.updates.insert((ms, last)) {
            self.events.push((ms, last, levels));
        }
    }

    /// A number that grows for ever.
    fn number(&self, ms: i64, seq: u64) -> u64 {
        let era = self.resets.range(..=ms).count();
        u64::try_from(era).unwrap_or(u64::MAX).saturating_mul(ERA).saturating_add(seq)
    }

    fn audit(&self, symbol: &Symbol, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
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
        for (epoch, (seq, levels)) in epochs {
            let mut told = self.snapshots.iter().filter(|(told, _)| *told == seq).peekable();
            let levels = sorted(&levels);
            let is_known = told.peek().is_some();
            if is_known && !told.any(|(_, told)| sorted(told) == levels) {
                result.wrong += 1;
                result.problem(|| format!("epoch {epoch} begins with another book than the one sent as {seq}"));
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

impl Market {
    /// `None`: not understood.
    fn take(&mut self, frame: &Frame<'_>, raw: &str) -> Option<()> {
        let message: Value = serde_json::from_str(raw).ok()?;
        let data = message.get("data").or_else(|| message.get("d"))?;
        match frame.channel {
            "match" => self.trade(whole(data, "tradeId")?, ["price", "size", "side", "time"], data),
            "uta-trade" => self.trade(whole(data, "ti")?, ["p", "q", "S", "M"], data),
            "level1" => {
                let ms = data.get("timestamp")?.as_i64()?;
                let same = self.same.entry(frame.conn).or_default();
                let is_again = frame.is_again && same.0 == ms;
                *same = if same.0 == ms { (ms, same.1 + u64::from(!is_again)) } else { (ms, 0) };
                let key = *same;
                note(&mut self.level1, key, pairs(data.get("bids")?, data.get("asks")?)?, frame);
                Some(())
            }
            "ticker" => {
                let key = (data.get("time")?.as_i64()?, whole(data, "sequence")?);
                let [bid, bid_size, ask, ask_size] =
                    ["bestBid", "bestBidSize", "bestAsk", "bestAskSize"].map(|key| number(data, key));
                note(&mut self.ticker, key, [bid?, bid_size?, ask?, ask_size?], frame);
                Some(())
            }
            "uta-ticker" => {
                let key = (nanos(data, "M")? / 1_000_000, whole(data, "E")?);
                let [bid, bid_size, ask, ask_size] = ["b", "B", "a", "A"].map(|key| number(data, key));
                note(&mut self.ticker, key, [bid?, bid_size?, ask?, ask_size?], frame);
                Some(())
            }
            "obu" if frame.detail == "1" => {
                let key = (nanos(data, "M")? / 1_000_000, whole(data, "C")?);
                note(&mut self.one, key, pairs(data.get("b")?.get(0)?, data.get("a")?.get(0)?)?, frame);
                Some(())
            }
            "obu" if frame.detail.starts_with("increment") => {
                let mut levels = Levels::new();
                side(data.get("b")?, true, &mut levels)?;
                side(data.get("a")?, false, &mut levels)?;
                let (first, last) = (whole(data, "O")?, whole(data, "C")?);
                if text(&message, "t")? == "snapshot" {
                    self.unified.snapshots.push((last, levels));
                } else {
                    self.unified.take(nanos(data, "M")? / 1_000_000, (first, last), levels);
                }
                Some(())
            }
            "level2" => {
                let (changes, mut levels) = (data.get("changes")?, Levels::new());
                side(changes.get("bids")?, true, &mut levels)?;
                side(changes.get("asks")?, false, &mut levels)?;
                let numbers = (whole(data, "sequenceStart")?, whole(data, "sequenceEnd")?);
                self.level2.take(data.get("time")?.as_i64()?, numbers, levels);
                Some(())
            }
            _ => Some(()),
        }
    }

    fn trade(&mut self, id: u64, [price, size, side, time]: [&str; 4], row: &Value) -> Option<()> {
        let trade = SentTrade {
            price: number(row, price)?,
            amount: number(row, size)?,
            buyer_is_maker: text(row, side)? == "sell",
            // The simulator's clock has microseconds.
            time: nanos(row, time)? / 1_000,
        };
        self.trades.insert(id, trade);
        Some(())
    }

    /// The quotes that were told, in their order.
    fn told(&self) -> Vec<Told> {
        let used = [&self.level1, &self.one, &self.ticker].into_iter().find(|quotes| !quotes.is_empty());
        let (mut told, mut last) = (Vec::new(), None);
        for ((_, label), (quote, is_told, repeats)) in used.into_iter().flatten() {
            let must = *is_told && last != Some(*quote);
            told.push(Told { label: *label, quote: *quote, must });
            told.extend((0..*repeats).map(|_| Told { label: *label, quote: *quote, must: false }));
            last = Some(*quote);
        }
        told
    }
}

fn read(ledger: &Path) -> Result<BTreeMap<String, Market>, AuditError> {
    let mut markets: BTreeMap<String, Market> = BTreeMap::new();
    // Streams of connections on which something came already; a subscription that begins anew shows something anew.
    let mut begun: BTreeSet<(u32, String)> = BTreeSet::new();
    for record in LedgerReader::open(ledger)? {
        let (conn, stream, status, raw) = match record? {
            LedgerRecord::Frame { conn, stream, status, raw, .. } => (conn, stream, status, raw),
            LedgerRecord::Received { conn, raw, .. } if raw.to_ascii_lowercase().contains("\"unsubscribe\"") => {
                let named = |stream: &str| stream.split(':').nth(1).is_some_and(|id| raw.contains(id));
                begun.retain(|(of, stream)| *of != conn || !named(stream));
                continue;
            }
            _ => continue,
        };
        let mut parts = stream.splitn(3, ':');
        let (Some(channel), Some(id), detail) = (parts.next(), parts.next(), parts.next().unwrap_or("")) else { continue };
        let is_first = begun.insert((conn, stream.clone()));
        if status.arrives() {
            let frame = Frame { conn, channel, detail, is_first, is_again: status == FrameStatus::Duplicated };
            let taken = markets.entry(id.to_owned()).or_default().take(&frame, &raw);
            taken.ok_or_else(|| AuditError::Frame { stream: stream.clone(), raw })?;
        }
    }
    Ok(markets)
}

/// Holds a ledger against the files of the exchange.
pub(super) fn audit(ledger: &Path, data_path: &Path) -> Result<Audit, AuditError> {
    let mut series = Vec::new();
    for (id, market) in read(ledger)? {
        let Some(symbol) = id.split_once('-').and_then(|(base, quote)| Symbol::spot(base, quote).ok()) else { continue };
        let files = |channel: Channel| tables(&data_path.join(NAME).join(channel.directory()).join(symbol.path_name()));
        if !market.trades.is_empty() {
            let sent = (&market.trades, &BTreeMap::new());
            series.push(trades::audit_counted(symbol.as_str(), sent, Times::Message, COUNT, &files(Channel::Trades)?)?);
        }
        let told = market.told();
        if !told.is_empty() {
            series.push(quotes::audit(symbol.as_str(), &told, &files(Channel::Quotes)?)?);
        }
        let book = if market.unified.events.is_empty() { &market.level2 } else { &market.unified };
        if !book.events.is_empty() {
            series.push(book.audit(&symbol, &files(Channel::Book)?)?);
        }
    }
    Ok(Audit { series })
}
