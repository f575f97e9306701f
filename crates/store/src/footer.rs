//! What a Parquet file says about itself: its metadata, written and read.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dccd_model::{Channel, ExchangeName, Gap, SeriesKind, Symbol, UnixNanos};
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::Position;
use crate::candles::Empties;
use crate::disk;
use crate::error::{FileProblem, StoreError};
use crate::file::CREATED_BY_US;
use crate::ranges::Ranges;

pub(crate) const KEY_VERSION: &str = "dccd.version";
pub(crate) const KEY_EXCHANGE: &str = "dccd.exchange";
pub(crate) const KEY_SYMBOL: &str = "dccd.symbol";
pub(crate) const KEY_SERIES: &str = "dccd.series";
pub(crate) const KEY_GAPS: &str = "dccd.gaps";
/// Journal position of the last entry that gave a row of this file.
pub(crate) const KEY_POSITION: &str = "dccd.position";
/// CRC-32 over the values of all rows.
pub(crate) const KEY_CHECKSUM: &str = "dccd.rows_crc32";
/// Candles: JSON list, of each row group the CRC-32 over its rows' values, `/`, how many bytes these are. It lets full row groups be
/// taken over into the year's next file as they are.
pub(crate) const KEY_GROUPS: &str = "dccd.group_crc32";
/// CRC-32 over all of these pairs before it, and over how many rows each row group has, from when to when, and where its columns
/// lie: what a file says of itself is believed while it is the file that said so.
pub(crate) const KEY_FACTS: &str = "dccd.facts_crc32";
/// CRC-32 of the file's bytes before the footer, `/`, how many these are: nothing damaged is ever given to the decoder.
pub(crate) const KEY_DATA: &str = "dccd.data_crc32";
/// `contiguous` where the exchange numbers a market's trades without holes.
pub(crate) const KEY_IDS: &str = "dccd.ids";
/// Candles: JSON list of `[from, to)` in ns, what the exchange has answered for.
pub(crate) const KEY_COVERED: &str = "dccd.covered";
/// Candles: `sent` where the exchange sends a flat candle for a stretch without trades, else `omitted`.
pub(crate) const KEY_EMPTIES: &str = "dccd.empties";
/// Candles: open time of the market's first candle, ns, where it is known.
pub(crate) const KEY_LISTED: &str = "dccd.listed";

/// What a file says about itself beside its rows.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) position: Position,
    /// `None` for parts.
    pub(crate) named: Option<Named<'a>>,
}

/// What a day or year file says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) exchange: &'a ExchangeName,
    pub(crate) symbol: &'a Symbol,
    pub(crate) kind: SeriesKind,
    pub(crate) gaps: &'a [Gap],
    pub(crate) contiguous_ids: bool,
    /// `None` for live series.
    pub(crate) candles: Option<CandleFacts<'a>>,
    /// What another program had noted; kept as it is.
    pub(crate) foreign: &'a [(String, String)],
}

/// What a year file of candles says beside that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CandleFacts<'a> {
    pub(crate) covered: &'a Ranges,
    pub(crate) empties: Empties,
    pub(crate) listed: Option<UnixNanos>,
}

impl Facts<'_> {
    /// `written`: the row groups as they are in the file.
    pub(crate) fn pairs(
        &self,
        groups: &[Checksum],
        data: Checksum,
        written: &[RowGroupMetaData],
    ) -> Result<Vec<KeyValue>, serde_json::Error> {
        let mut pairs = self.told(groups, data)?;
        let facts = facts_checksum(&pairs, written);
        pairs.push(KeyValue::new(KEY_FACTS.to_owned(), format!("{facts:08x}")));
        Ok(pairs)
    }

    fn told(&self, groups: &[Checksum], data: Checksum) -> Result<Vec<KeyValue>, serde_json::Error> {
        let rows = Checksum::of_all(groups).crc;
        let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        // A part is ours alone, and small: nothing that its path says too.
        let mut pairs = vec![pair(KEY_CHECKSUM, format!("{rows:08x}")), pair(KEY_DATA, data.to_string())];
        let live = !matches!(self.named, Some(Named { kind: SeriesKind::Candles(_), .. }));
        if live {
            pairs.insert(0, pair(KEY_POSITION, self.position.to_string()));
        }
        let Some(Named { exchange, symbol, kind, gaps, contiguous_ids, candles, foreign }) = self.named else {
            return Ok(pairs);
        };
        pairs.extend([
            pair(KEY_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            pair(KEY_EXCHANGE, exchange.to_string()),
            pair(KEY_SYMBOL, symbol.to_string()),
            pair(KEY_SERIES, format!("{exchange}/{symbol}/{kind}")),
            pair(KEY_GAPS, serde_json::to_string(gaps)?),
        ]);
        if kind == SeriesKind::Live(Channel::Trades) {
            pairs.push(pair(KEY_IDS, if contiguous_ids { "contiguous" } else { "sparse" }.to_owned()));
        }
        if let Some(CandleFacts { covered, empties, listed }) = candles {
            pairs.push(pair(KEY_COVERED, serde_json::to_string(covered)?));
            pairs.push(pair(KEY_EMPTIES, empties.as_str().to_owned()));
            let groups: Vec<String> = groups.iter().map(Checksum::to_string).collect();
            pairs.push(pair(KEY_GROUPS, serde_json::to_string(&groups)?));
            pairs.extend(listed.map(|listed| pair(KEY_LISTED, listed.0.to_string())));
        }
        pairs.extend(foreign.iter().map(|(key, value)| pair(key, value.clone())));
        Ok(pairs)
    }
}

/// See [`KEY_FACTS`].
fn facts_checksum(pairs: &[KeyValue], groups: &[RowGroupMetaData]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for pair in pairs.iter().filter(|pair| pair.key.starts_with("dccd.") && pair.key != KEY_FACTS) {
        for text in [pair.key.as_str(), pair.value.as_deref().unwrap_or_default()] {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        }
    }
    for group in groups {
        hasher.update(&group.num_rows().to_le_bytes());
        if let Some((first, last)) = time_range(std::slice::from_ref(group)) {
            hasher.update(&first.0.to_le_bytes());
            hasher.update(&last.0.to_le_bytes());
        }
        for column in group.columns() {
            let (from, length) = column.byte_range();
            hasher.update(&from.to_le_bytes());
            hasher.update(&length.to_le_bytes());
        }
    }
    hasher.finalize()
}

/// All keys that are written here.
const KEYS: [&str; 14] = [
    KEY_VERSION,
    KEY_EXCHANGE,
    KEY_SYMBOL,
    KEY_SERIES,
    KEY_GAPS,
    KEY_POSITION,
    KEY_CHECKSUM,
    KEY_DATA,
    KEY_IDS,
    KEY_COVERED,
    KEY_EMPTIES,
    KEY_GROUPS,
    KEY_FACTS,
    KEY_LISTED,
];

/// CRC-32 of so many bytes: a file's first, or those that its rows make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) crc: u32,
    pub(crate) bytes: u64,
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}/{}", self.crc, self.bytes)
    }
}

impl Checksum {
    /// That of one after the other.
    pub(crate) fn of_all(parts: &[Self]) -> Self {
        let mut all = crc32fast::Hasher::new();
        for part in parts {
            all.combine(&crc32fast::Hasher::new_with_initial_len(part.crc, part.bytes));
        }
        Self { bytes: parts.iter().map(|part| part.bytes).sum(), crc: all.finalize() }
    }

    fn parse(text: &str) -> Option<Self> {
        let (crc, bytes) = text.split_once('/')?;
        Some(Self { crc: u32::from_str_radix(crc, 16).ok()?, bytes: bytes.parse().ok()? })
    }

    /// How many bytes it covers.
    #[cfg(test)]
    pub(crate) const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether the file's bytes have it. Returns the checksum of the first `part` of them.
    pub(crate) fn check(self, path: &Path, file: &File, part: u64) -> Result<Self, StoreError> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        let (mut offset, mut first) = (0, Self::default());
        while offset < self.bytes {
            let until = if offset < part { part.min(self.bytes) } else { self.bytes };
            let want = usize::try_from(until - offset).unwrap_or(usize::MAX).min(buffer.len());
            match file.read_at(&mut buffer[..want], offset) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", path, error)),
            }
            if offset == part {
                first = Self { crc: hasher.clone().finalize(), bytes: part };
            }
        }
        if offset == self.bytes && hasher.finalize() == self.crc {
            Ok(first)
        } else {
            Err(StoreError::file(path, FileProblem::Checksum))
        }
    }
}

/// Runs the Parquet library on bytes that may be damaged in places that no checksum covers: it panics on some.
pub(crate) fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What `read` borrows is dropped after a failure and never looked at again.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(StoreError::file(path, FileProblem::Nonsense)))
}

/// What a file's footer tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileInfo {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Zero when another program wrote the file.
    pub(crate) position: Position,
    pub(crate) gaps: Vec<Gap>,
    /// First and last `TS`; `None` without rows.
    pub(crate) range: Option<(UnixNanos, UnixNanos)>,
    pub(crate) checksum: Option<u32>,
    pub(crate) data: Option<Checksum>,
    /// Candles: of the rows of each row group; empty in files of other programs and of earlier versions.
    pub(crate) groups: Vec<Checksum>,
    pub(crate) contiguous_ids: bool,
    /// Candles: what the exchange has answered for; `None` in files of other programs.
    pub(crate) covered: Option<Ranges>,
    pub(crate) empties: Option<Empties>,
    pub(crate) listed: Option<UnixNanos>,
    /// Keys that ought to be there and aren't, or can't be read.
    pub(crate) missing: Vec<&'static str>,
    pub(crate) exchange: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) columns: Vec<String>,
    /// `dccd.` keys that are not written here.
    pub(crate) foreign: Vec<(String, String)>,
}

impl FileInfo {
    /// Reads the footer.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let file = disk::open(path).map_err(|e| StoreError::io("read", path, e))?;
        let bytes = file.metadata().map_err(|e| StoreError::io("read", path, e))?.len();
        guarded(path, || {
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(&file)
                .map_err(|e| StoreError::parquet("read the footer of", path, e))?;
            Self::from_metadata(&metadata, bytes).map_err(|problem| StoreError::file(path, problem))
        })
    }

    /// What another program wrote anew keeps our keys, and says no more what is in it: of that only the gaps are believed, and
    /// what the program has noted.
    ///
    /// # Errors
    /// [`FileProblem::Checksum`] when a file of ours doesn't say what was written into it.
    pub(crate) fn from_metadata(metadata: &ParquetMetaData, bytes: u64) -> Result<Self, FileProblem> {
        let mut info = Self::read_metadata(metadata, bytes);
        let pairs = metadata.file_metadata().key_value_metadata().map_or(&[][..], Vec::as_slice);
        let facts = pairs.iter().find(|pair| pair.key == KEY_FACTS).and_then(|pair| pair.value.as_deref());
        let is_ours = metadata.file_metadata().created_by().is_some_and(|by| by.starts_with(CREATED_BY_US));
        match facts {
            _ if !is_ours => {
                (info.position, info.checksum, info.data, info.contiguous_ids) = (Position(0), None, None, false);
                (info.covered, info.empties, info.listed, info.groups) = (None, None, None, Vec::new());
            }
            _ if metadata.row_groups().iter().map(RowGroupMetaData::num_rows).sum::<i64>()
                != metadata.file_metadata().num_rows() =>
            {
                return Err(FileProblem::Checksum);
            }
            Some(facts) if u32::from_str_radix(facts, 16) != Ok(facts_checksum(pairs, metadata.row_groups())) => {
                return Err(FileProblem::Checksum);
            }
            _ => {}
        }
        Ok(info)
    }

    fn read_metadata(metadata: &ParquetMetaData, bytes: u64) -> Self {
        let schema = metadata.file_metadata().schema_descr();
        let mut info = Self {
            rows: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
            bytes,
            columns: schema.columns().iter().map(|c| c.name().to_owned()).collect(),
            ..Self::default()
        };
        let value = |key: &str| {
            let pairs = metadata.file_metadata().key_value_metadata()?;
            pairs.iter().find(|p| p.key == key)?.value.clone()
        };
        (info.exchange, info.symbol) = (value(KEY_EXCHANGE), value(KEY_SYMBOL));
        let gaps = value(KEY_GAPS).and_then(|text| serde_json::from_str(&text).ok());
        let position = value(KEY_POSITION).and_then(|text| text.parse().ok()).map(Position);
        let checks = [
            (KEY_VERSION, value(KEY_VERSION).is_some()),
            (KEY_EXCHANGE, info.exchange.is_some()),
            (KEY_SYMBOL, info.symbol.is_some()),
            (KEY_SERIES, value(KEY_SERIES).is_some()),
            (KEY_GAPS, gaps.is_some()),
        ];
        info.missing = checks.into_iter().filter(|(_, there)| !there).map(|(key, _)| key).collect();
        info.gaps = gaps.unwrap_or_default();
        info.position = position.unwrap_or_default();
        info.checksum = value(KEY_CHECKSUM).and_then(|text| u32::from_str_radix(&text, 16).ok());
        info.data = value(KEY_DATA).and_then(|text| Checksum::parse(&text));
        let groups = value(KEY_GROUPS).and_then(|text| serde_json::from_str::<Vec<String>>(&text).ok());
        info.groups = groups.and_then(|all| all.iter().map(|text| Checksum::parse(text)).collect()).unwrap_or_default();
        info.covered = value(KEY_COVERED).and_then(|text| serde_json::from_str(&text).ok());
        info.empties = value(KEY_EMPTIES).and_then(|text| Empties::parse(&text));
        info.listed = value(KEY_LISTED).and_then(|text| text.parse().ok()).map(UnixNanos);
        info.contiguous_ids = value(KEY_IDS).is_some_and(|text| text == "contiguous");
        info.foreign = metadata.file_metadata().key_value_metadata().into_iter().flatten().filter_map(foreign).collect();
        info.range = time_range(metadata.row_groups());
        info
    }
}

fn foreign(pair: &KeyValue) -> Option<(String, String)> {
    (pair.key.starts_with("dccd.") && !KEYS.contains(&pair.key.as_str()))
        .then(|| Some((pair.key.clone(), pair.value.clone()?)))?
}

/// First and last `TS` from the statistics; `None` without rows, or when a row group has none.
pub(crate) fn time_range(groups: &[RowGroupMetaData]) -> Option<(UnixNanos, UnixNanos)> {
    let column = groups.first()?.columns().iter().position(|c| c.column_descr().name() == "TS")?;
    let mut range: Option<(i64, i64)> = None;
    for group in groups {
        let Some(Statistics::Int64(statistics)) = group.columns().get(column)?.statistics() else { return None };
        let (min, max) = (*statistics.min_opt()?, *statistics.max_opt()?);
        range = Some(range.map_or((min, max), |(low, high)| (low.min(min), high.max(max))));
    }
    range.map(|(min, max)| (UnixNanos(min), UnixNanos(max)))
}
