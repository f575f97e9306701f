//! Reading recordings: lines of frames and snapshots to what the replay sends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use dccd_model::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::SimError;
use crate::exchanges::binance::streams::{self, kind};

/// One thing of the recording.
pub(super) struct Item {
    /// When it was received, or else the time in it; microseconds since the epoch, 0 unknown.
    pub at_us: i64,
    /// The symbol's place.
    pub place: usize,
    pub what: What,
    /// The text exactly as recorded.
    pub text: Box<str>,
}

pub(super) enum What {
    Frame {
        /// Kind of stream.
        kind: usize,
        /// Where in the text the data without the combined wrapper is.
        data: Range<usize>,
        /// Whether the recorded wrapper names the stream as we do.
        wrapped: bool,
        /// Trade id, or last update id.
        id: u64,
    },
    Snapshot,
}

/// A symbol of the recording and the steps that its numbers need, `e8`.
pub(super) struct Found {
    pub id: String,
    pub tick: i64,
    pub step: i64,
}

#[derive(Deserialize)]
struct Line {
    ts: Option<f64>,
    dir: String,
    #[serde(default)]
    conn: String,
    #[serde(default)]
    raw: String,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    stream: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What every event may have.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    e: Option<String>,
    #[serde(default, rename = "E")]
    time: Option<i64>,
    #[serde(default)]
    s: Option<String>,
    #[serde(default)]
    u: Option<u64>,
    #[serde(default)]
    t: Option<u64>,
    #[serde(default)]
    k: Option<Candle>,
}

#[derive(Deserialize)]
struct Candle {
    i: String,
}

/// A trade or aggregated trade.
#[derive(Deserialize)]
pub(super) struct TradeEvent<'a> {
    #[serde(default)]
    pub t: u64,
    #[serde(default)]
    pub a: u64,
    #[serde(default)]
    pub f: u64,
    #[serde(default)]
    pub l: u64,
    pub p: &'a str,
    pub q: &'a str,
    #[serde(rename = "T")]
    pub time: i64,
    pub m: bool,
}

/// A diff of a book.
#[derive(Deserialize)]
pub(super) struct DepthEvent<'a> {
    #[serde(rename = "U")]
    pub first: u64,
    #[serde(rename = "u")]
    pub last: u64,
    #[serde(borrow)]
    pub b: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    pub a: Vec<[&'a str; 2]>,
}

/// A recorded snapshot.
#[derive(Deserialize)]
pub(super) struct Snapshot<'a> {
    #[serde(rename = "lastUpdateId")]
    pub update_id: u64,
    #[serde(borrow)]
    pub bids: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    pub asks: Vec<[&'a str; 2]>,
}

/// A decimal text in hundred-millionths; `None` when it is no number or has more decimals.
pub(super) fn e8(text: &str) -> Option<i64> {
    let number = Decimal::parse(text.as_bytes()).ok()?.normalized();
    let shift = u32::try_from(i32::from(number.exponent) + 8).ok()?;
    number.mantissa.checked_mul(10_i64.checked_pow(shift)?)
}

/// Times are in milliseconds or, from 10^14 on, in microseconds.
pub(super) const fn micros(time: i64) -> i64 {
    if time >= 100_000_000_000_000 { time } else { time.saturating_mul(1_000) }
}

/// Reads one recording; symbols new to `found` are added to it.
pub(super) fn load(path: &Path, found: &mut Vec<Found>, items: &mut Vec<Item>) -> Result<(), SimError> {
    let failed = |line, source| SimError::Recording { path: path.to_owned(), line, source };
    let file = File::open(path).map_err(|e| failed(0, e))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|e| e == "zst") {
        Box::new(zstd::Decoder::new(file).map_err(|e| failed(0, e))?)
    } else {
        Box::new(file)
    };
    let begin = items.len();
    for (number, line) in BufReader::with_capacity(1 << 20, reader).lines().enumerate() {
        let line = line.map_err(|e| failed(number + 1, e))?;
        if line.is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_str(&line).map_err(|e| failed(number + 1, io::Error::new(io::ErrorKind::InvalidData, e)))?;
        // A spot exchange has no futures streams, nor their books.
        if line.conn.contains("fapi") || line.conn.contains("fstream") || line.conn.contains("dapi") {
            continue;
        }
        let item = match line.dir.as_str() {
            "in" => frame(line, found),
            "http" if line.conn.contains("/depth?") => snapshot(line, found),
            _ => None,
        };
        items.extend(item);
    }
    name_the_nameless(items, begin);
    Ok(())
}

/// Some recorders kept a snapshot without its symbol: in a recording of one symbol it is that one's.
fn name_the_nameless(items: &mut Vec<Item>, begin: usize) {
    let mut symbols = items[begin..].iter().map(|i| i.place).filter(|place| *place != NAMELESS);
    let only = symbols.next().filter(|first| symbols.all(|place| place == *first));
    if let Some(only) = only {
        items[begin..].iter_mut().filter(|i| i.place == NAMELESS).for_each(|i| i.place = only);
    }
    items.retain(|i| i.place != NAMELESS);
}

/// The place of a symbol that is not known yet.
const NAMELESS: usize = usize::MAX;

#[allow(clippy::cast_possible_truncation)] // microseconds of this century fit many times over
fn seconds_to_micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

fn frame(line: Line, found: &mut Vec<Found>) -> Option<Item> {
    let text = line.raw.into_boxed_str();
    let wrapped: Option<Wrapped<'_>> = serde_json::from_str(&text).ok();
    let (name, data) = match &wrapped {
        Some(w) => (Some(w.stream.clone()), w.data.get()),
        None => (None, &*text),
    };
    let start = data.as_ptr() as usize - text.as_ptr() as usize;
    let range = start..start + data.len();
    // Not an event at all: a reply to the recorder's own commands, say. (`a` and `t` differ between events.)
    let head: Head = serde_json::from_str(data).ok()?;
    let named = name.as_deref().and_then(streams::parse).map(|(symbol, kind)| (symbol.to_owned(), kind));
    let (symbol, kind) = match named {
        Some(named) => named,
        None if name.is_some() => return None,
        None => (head.s.clone()?.to_lowercase(), kind_of(&head)?),
    };
    let place = place_of(&symbol, found);
    let mut id = head.u.or(head.t).unwrap_or(0);
    if matches!(kind, kind::TRADE | kind::AGG_TRADE)
        && let Ok(trade) = serde_json::from_str::<TradeEvent<'_>>(data)
    {
        id = if kind == kind::TRADE { trade.t } else { trade.a };
        found[place].needs(trade.p, trade.q);
    }
    let exact = name.as_deref().is_some_and(|n| n == streams::name(&symbol, kind));
    let at_us = line.ts.map(seconds_to_micros).or(head.time.map(micros)).unwrap_or(0);
    Some(Item { at_us, place, what: What::Frame { kind, data: range, wrapped: exact, id }, text })
}

fn kind_of(head: &Head) -> Option<usize> {
    Some(match head.e.as_deref() {
        Some("trade") => kind::TRADE,
        Some("aggTrade") => kind::AGG_TRADE,
        Some("depthUpdate") => kind::DEPTH_FAST,
        Some("kline") => streams::parse(&format!("x@kline_{}", head.k.as_ref()?.i))?.1,
        None if head.u.is_some() => kind::BOOK_TICKER,
        _ => return None,
    })
}

fn snapshot(line: Line, found: &mut Vec<Found>) -> Option<Item> {
    let query = line.conn.split_once('?')?.1;
    let symbol = query.split('&').find_map(|p| p.strip_prefix("symbol="));
    let text = line.raw.into_boxed_str();
    let body: Snapshot<'_> = serde_json::from_str(&text).ok()?;
    let place = symbol.map_or(NAMELESS, |symbol| place_of(&symbol.to_lowercase(), found));
    if let Some(found) = found.get_mut(place) {
        body.bids.iter().chain(&body.asks).for_each(|level| found.needs(level[0], level[1]));
    }
    let at_us = line.ts.map_or(0, seconds_to_micros);
    Some(Item { at_us, place, what: What::Snapshot, text })
}

fn place_of(lower: &str, found: &mut Vec<Found>) -> usize {
    let id = lower.to_uppercase();
    found.iter().position(|f| f.id == id).unwrap_or_else(|| {
        found.push(Found { id, tick: 100_000_000, step: 100_000_000 });
        found.len() - 1
    })
}

impl Found {
    fn needs(&mut self, price: &str, amount: &str) {
        for (unit, text) in [(&mut self.tick, price), (&mut self.step, amount)] {
            if let Some(number) = e8(text) {
                while number % *unit != 0 && *unit > 1 {
                    *unit /= 10;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> (Vec<Found>, Vec<Item>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.frames.jsonl");
        std::fs::write(&path, texts.join("\n")).unwrap();
        let (mut found, mut items) = (Vec::new(), Vec::new());
        load(&path, &mut found, &mut items).unwrap();
        (found, items)
    }

    #[test]
    fn recorded_lines_become_frames_and_snapshots() {
        let (found, items) = lines(&[
            r#"{"ts":1.5,"dir":"in","conn":"combined","raw":"{\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\",\"E\":1,\"s\":\"BTCUSDT\",\"t\":7,\"p\":\"10.50\",\"q\":\"0.001\",\"T\":1,\"m\":true,\"M\":true}}"}"#,
            r#"{"ts":null,"dir":"in","conn":"raw","raw":"{\"e\": \"depthUpdate\", \"E\":1723161255343, \"s\":\"ETHBTC\",\"U\":5,\"u\":9,\"b\":[],\"a\":[]}"}"#,
            r#"{"ts":2,"dir":"in","conn":"raw","raw":"{\"u\":400,\"s\":\"BTCUSDT\",\"b\":\"1\",\"B\":\"2\",\"a\":\"3\",\"A\":\"4\"}"}"#,
            r#"{"ts":3,"dir":"http","conn":"https://api.binance.com/api/v3/depth?symbol=ETHBTC&limit=1000","raw":"{\"lastUpdateId\":8,\"bids\":[[\"0.00001\",\"1\"]],\"asks\":[]}"}"#,
            r#"{"ts":3,"dir":"http","conn":"https://fapi.binance.com/fapi/v1/depth?symbol=ETHBTC","raw":"{}"}"#,
            r#"{"ts":4,"dir":"in","conn":"raw","raw":"{\"result\":null,\"id\":1}"}"#,
            r#"{"ts":4,"dir":"open","conn":"raw","raw":""}"#,
        ]);
        let seen: Vec<_> = items
            .iter()
            .map(|i| match &i.what {
                What::Frame { kind, data, wrapped, id } => {
                    (i.place, *kind, *wrapped, *id, &i.text[data.clone()][..5], i.at_us)
                }
                What::Snapshot => (i.place, 99, false, 0, "", i.at_us),
            })
            .collect();
        assert_eq!(
            seen,
            [
                (0, kind::TRADE, true, 7, "{\"e\":", 1_500_000),
                (1, kind::DEPTH_FAST, false, 9, "{\"e\":", 1_723_161_255_343_000),
                (0, kind::BOOK_TICKER, false, 400, "{\"u\":", 2_000_000),
                (1, 99, false, 0, "", 3_000_000),
            ]
        );
        assert_eq!((found[0].id.as_str(), found[0].tick, found[0].step), ("BTCUSDT", 10_000_000, 100_000));
        assert_eq!((found[1].id.as_str(), found[1].tick), ("ETHBTC", 1_000));
    }

    #[test]
    fn a_snapshot_without_a_symbol_belongs_to_the_only_one() {
        let snapshot = r#"{"ts":3,"dir":"http","conn":"https://api.binance.com/api/v3/depth?limit=5","raw":"{\"lastUpdateId\":8,\"bids\":[],\"asks\":[]}"}"#;
        let diff = |symbol| format!(r#"{{"ts":1,"dir":"in","raw":"{{\"e\":\"depthUpdate\",\"s\":\"{symbol}\",\"u\":9}}"}}"#);
        let (_, items) = lines(&[snapshot, &diff("A")]);
        assert_eq!(items.iter().map(|i| i.place).collect::<Vec<_>>(), [0, 0]);
        let (_, items) = lines(&[snapshot, &diff("A"), &diff("B")]);
        assert_eq!(items.iter().map(|i| i.place).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_broken_recording_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.frames.jsonl");
        std::fs::write(&path, "{\"ts\":1,\"dir\":\"open\"}\nnonsense").unwrap();
        let error = load(&path, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().ends_with("line 2"), "{error}");
        assert!(load(Path::new("/nowhere"), &mut Vec::new(), &mut Vec::new()).is_err());
    }
}
