//! One Parquet file of rows: written with the same bytes for the same rows, read back row by row.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatchReader;
use dccd_model::{Channel, ExchangeName, Gap, Symbol, UnixNanos};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;

use crate::Position;
use crate::disk::{self, Failure, TempFile};
use crate::error::{FileProblem, StoreError};
use crate::rows::Row;

/// Rows in a row group; fixed, so that the same rows give the same bytes.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;
/// Rows handed to the encoder at once; divides [`ROW_GROUP_ROWS`], fixed for the same reason.
const BATCH_ROWS: usize = 16_384;

pub(crate) const KEY_VERSION: &str = "dccd.version";
pub(crate) const KEY_EXCHANGE: &str = "dccd.exchange";
pub(crate) const KEY_SYMBOL: &str = "dccd.symbol";
pub(crate) const KEY_SERIES: &str = "dccd.series";
pub(crate) const KEY_GAPS: &str = "dccd.gaps";
/// Journal position of the last entry that gave a row of this file.
pub(crate) const KEY_POSITION: &str = "dccd.position";
/// CRC-32 over the values of all rows.
pub(crate) const KEY_CHECKSUM: &str = "dccd.rows_crc32";
/// CRC-32 of the file's bytes before the footer, `/`, how many these are: nothing damaged is ever given to the decoder.
pub(crate) const KEY_DATA: &str = "dccd.data_crc32";
/// `contiguous` where the exchange numbers a market's trades without holes.
pub(crate) const KEY_IDS: &str = "dccd.ids";

/// What a file says about itself beside its rows.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) position: Position,
    /// `None` for parts.
    pub(crate) named: Option<Named<'a>>,
}

/// What a day file says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) exchange: &'a ExchangeName,
    pub(crate) symbol: &'a Symbol,
    pub(crate) channel: Channel,
    pub(crate) gaps: &'a [Gap],
    pub(crate) contiguous_ids: bool,
    /// What another program had noted; kept as it is.
    pub(crate) foreign: &'a [(String, String)],
}

impl Facts<'_> {
    fn pairs(&self, rows: u32, data: DataChecksum) -> Result<Vec<KeyValue>, serde_json::Error> {
        let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        // A part is ours alone, and small: nothing that its path says too.
        let mut pairs = vec![
            pair(KEY_POSITION, self.position.to_string()),
            pair(KEY_CHECKSUM, format!("{rows:08x}")),
            pair(KEY_DATA, format!("{:08x}/{}", data.crc, data.bytes)),
        ];
        let Some(Named { exchange, symbol, channel, gaps, contiguous_ids, foreign }) = self.named else {
            return Ok(pairs);
        };
        pairs.extend([
            pair(KEY_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            pair(KEY_EXCHANGE, exchange.to_string()),
            pair(KEY_SYMBOL, symbol.to_string()),
            pair(KEY_SERIES, format!("{exchange}/{symbol}/{channel}")),
            pair(KEY_GAPS, serde_json::to_string(gaps)?),
        ]);
        if channel == Channel::Trades {
            pairs.push(pair(KEY_IDS, if contiguous_ids { "contiguous" } else { "sparse" }.to_owned()));
        }
        pairs.extend(foreign.iter().map(|(key, value)| pair(key, value.clone())));
        Ok(pairs)
    }
}

/// All keys that are written here.
const KEYS: [&str; 9] =
    [KEY_VERSION, KEY_EXCHANGE, KEY_SYMBOL, KEY_SERIES, KEY_GAPS, KEY_POSITION, KEY_CHECKSUM, KEY_DATA, KEY_IDS];

/// Checksum of a file's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataChecksum {
    crc: u32,
    bytes: u64,
}

impl DataChecksum {
    fn parse(text: &str) -> Option<Self> {
        let (crc, bytes) = text.split_once('/')?;
        Some(Self { crc: u32::from_str_radix(crc, 16).ok()?, bytes: bytes.parse().ok()? })
    }

    /// How many bytes it covers.
    #[cfg(test)]
    pub(crate) const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether the file's bytes have it.
    fn check(self, path: &Path, file: &File) -> Result<(), StoreError> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        let mut offset = 0;
        while offset < self.bytes {
            let want = usize::try_from(self.bytes - offset).unwrap_or(usize::MAX).min(buffer.len());
            match file.read_at(&mut buffer[..want], offset) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", path, error)),
            }
        }
        if offset == self.bytes && hasher.finalize() == self.crc {
            Ok(())
        } else {
            Err(StoreError::file(path, FileProblem::Checksum))
        }
    }
}

/// Runs the Parquet library on bytes that may be damaged in places that no checksum covers: it panics on some.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
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
    pub(crate) data: Option<DataChecksum>,
    pub(crate) contiguous_ids: bool,
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
            Ok(Self::from_metadata(&metadata, bytes))
        })
    }

    fn from_metadata(metadata: &ParquetMetaData, bytes: u64) -> Self {
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
        info.data = value(KEY_DATA).and_then(|text| DataChecksum::parse(&text));
        info.contiguous_ids = value(KEY_IDS).is_some_and(|text| text == "contiguous");
        info.foreign = metadata.file_metadata().key_value_metadata().into_iter().flatten().filter_map(foreign).collect();
        info.range = time_range(metadata);
        info
    }
}

fn foreign(pair: &KeyValue) -> Option<(String, String)> {
    (pair.key.starts_with("dccd.") && !KEYS.contains(&pair.key.as_str()))
        .then(|| Some((pair.key.clone(), pair.value.clone()?)))?
}

/// First and last `TS` from the statistics; `None` when a row group has none.
fn time_range(metadata: &ParquetMetaData) -> Option<(UnixNanos, UnixNanos)> {
    let column = metadata.file_metadata().schema_descr().columns().iter().position(|c| c.name() == "TS")?;
    let mut range: Option<(i64, i64)> = None;
    for group in metadata.row_groups() {
        let Some(Statistics::Int64(statistics)) = group.column(column).statistics() else { return None };
        let (min, max) = (*statistics.min_opt()?, *statistics.max_opt()?);
        range = Some(range.map_or((min, max), |(low, high)| (low.min(min), high.max(max))));
    }
    range.map(|(min, max)| (UnixNanos(min), UnixNanos(max)))
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) checksum: u32,
    pub(crate) range: Option<(UnixNanos, UnixNanos)>,
}

/// Writes rows, handed over in their order, into a temporary file.
pub(crate) struct FileWriter<R: Row> {
    arrow: ArrowWriter<TempFile>,
    batch: Vec<R>,
    digest: Digest,
    rows: u64,
    range: Option<(UnixNanos, UnixNanos)>,
    failure: Failure,
    /// What the file will be called; for errors.
    target: PathBuf,
}

impl<R: Row> FileWriter<R> {
    pub(crate) fn new(file: TempFile, target: &Path) -> Result<Self, StoreError> {
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties::<R>());
        let failure = file.failure();
        let arrow = ArrowWriter::try_new_with_options(file, R::schema().into(), options)
            .map_err(|e| StoreError::parquet("write", target, e))?;
        Ok(Self {
            arrow,
            batch: Vec::with_capacity(BATCH_ROWS),
            digest: Digest::default(),
            rows: 0,
            range: None,
            failure,
            target: target.to_owned(),
        })
    }

    pub(crate) fn push(&mut self, row: R) -> Result<(), StoreError> {
        self.batch.push(row);
        if self.batch.len() == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (self.batch.first(), self.batch.last()) else { return Ok(()) };
        self.range = Some((self.range.map_or(first.ts(), |(from, _)| from), last.ts()));
        self.rows += self.batch.len() as u64;
        self.batch.iter().for_each(|row| self.digest.add(row));
        let columns = R::encode(&self.batch).map_err(|e| StoreError::arrow("write", &self.target, e))?;
        self.batch.clear();
        self.arrow.write(&columns).map_err(|e| write_error(&self.failure, &self.target, e))
    }

    pub(crate) fn finish(mut self, facts: &Facts<'_>) -> Result<(TempFile, Written), StoreError> {
        self.flush()?;
        let checksum = self.digest.finish();
        self.arrow.flush().map_err(|e| write_error(&self.failure, &self.target, e))?;
        self.arrow.sync().map_err(|e| StoreError::io("write", &self.target, self.failure.take().unwrap_or(e)))?;
        let data = DataChecksum { crc: self.arrow.inner().checksum(), bytes: self.arrow.inner().bytes };
        let pairs = facts.pairs(checksum, data).map_err(|e| StoreError::io("write", &self.target, e.into()))?;
        pairs.into_iter().for_each(|pair| self.arrow.append_key_value_metadata(pair));
        let file = self.arrow.into_inner().map_err(|e| write_error(&self.failure, &self.target, e))?;
        Ok((file, Written { rows: self.rows, checksum, range: self.range }))
    }
}

/// The Parquet library makes a text of some write errors; what is behind them counts.
fn write_error(failure: &Failure, target: &Path, error: ParquetError) -> StoreError {
    match failure.take() {
        Some(source) => StoreError::io("write", target, source),
        None => StoreError::parquet("write", target, error),
    }
}

fn properties<R: Row>() -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_created_by(concat!("dccd version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled("TS".into(), EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    R::encodings(builder).build()
}

/// Reads a file back and compares it with what was written into it.
pub(crate) fn check_written<R: Row>(path: &Path, written: Written) -> Result<(), StoreError> {
    let mut rows = Rows::<R>::open(path)?.expect(written.rows, written.checksum);
    rows.try_for_each(|row| row.map(drop))
}

/// The rows of one file, in their order.
pub struct Rows<R: Row> {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    batch: Vec<R>,
    next: usize,
    /// Rows decoded so far.
    read: u64,
    last: Option<R>,
    digest: Digest,
    expected: Option<(u64, u32)>,
    ended: bool,
}

impl<R: Row> Rows<R> {
    /// Opens a file for reading. Its bytes are compared with their checksum before any is decoded, its rows with theirs as they
    /// are read, if it has them. Columns that rows don't have are passed over.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with_info(path).map(|(rows, _)| rows)
    }

    /// The same, with what the footer tells.
    pub(crate) fn open_with_info(path: &Path) -> Result<(Self, FileInfo), StoreError> {
        guarded(path, || Self::open_unguarded(path))
    }

    fn open_unguarded(path: &Path) -> Result<(Self, FileInfo), StoreError> {
        let io_error = |e| StoreError::io("read", path, e);
        let file = disk::open(path).map_err(io_error)?;
        let handle = file.try_clone().map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(|e| StoreError::parquet("read", path, e))?;
        let info = FileInfo::from_metadata(builder.metadata(), bytes);
        if let Some(data) = info.data {
            data.check(path, &handle)?;
        }
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| StoreError::parquet("read", path, e))?;
        for field in R::schema().fields() {
            // Nullable columns may be missing; files of other programs lack some.
            if !field.is_nullable() && reader.schema().field_with_name(field.name()).is_err() {
                let column = COLUMNS.iter().find(|n| *n == field.name()).copied().unwrap_or("TS");
                return Err(StoreError::file(path, FileProblem::Column { column }));
            }
        }
        let rows = Self {
            path: path.to_owned(),
            reader,
            batch: Vec::new(),
            next: 0,
            read: 0,
            last: None,
            digest: Digest::default(),
            expected: info.checksum.map(|checksum| (info.rows, checksum)),
            ended: false,
        };
        Ok((rows, info))
    }

    /// Makes the end of the rows an error unless there were so many with that checksum.
    pub(crate) fn expect(mut self, rows: u64, checksum: u32) -> Self {
        self.expected = Some((rows, checksum));
        self
    }

    fn fill(&mut self) -> Result<bool, StoreError> {
        loop {
            let next =
                guarded(&self.path, || self.reader.next().transpose().map_err(|e| StoreError::arrow("read", &self.path, e)));
            let Some(columns) = next? else { return self.check_end().map(|()| false) };
            self.batch.clear();
            self.next = 0;
            R::decode(&columns, self.read, &mut self.batch).map_err(|p| StoreError::file(&self.path, p))?;
            for row in &self.batch {
                // Other programs order by time alone.
                let ours = self.expected.is_some();
                if self.last.is_some_and(|last| if ours { row.order(&last).is_lt() } else { row.ts() < last.ts() }) {
                    return Err(StoreError::file(&self.path, FileProblem::Order { row: self.read }));
                }
                self.last = Some(*row);
                self.read += 1;
                if self.expected.is_some() {
                    self.digest.add(row);
                }
            }
            if !self.batch.is_empty() {
                return Ok(true);
            }
        }
    }

    fn check_end(&mut self) -> Result<(), StoreError> {
        let Some((rows, checksum)) = self.expected else { return Ok(()) };
        let problem = if rows != self.read {
            FileProblem::Rows { expected: rows, found: self.read }
        } else if checksum != self.digest.finish() {
            FileProblem::Checksum
        } else {
            return Ok(());
        };
        Err(StoreError::file(&self.path, problem))
    }
}

/// Every column name of ours, for errors.
const COLUMNS: [&str; 14] = [
    "TS",
    "price",
    "amount",
    "side",
    "tid",
    "ts_recv",
    "count",
    "is_snapshot",
    "update_id",
    "epoch",
    "bid",
    "bid_amount",
    "ask",
    "ask_amount",
];

impl<R: Row> Iterator for Rows<R> {
    type Item = Result<R, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.batch.len() {
            if self.ended {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    return None;
                }
                Err(error) => {
                    self.ended = true;
                    self.batch.clear();
                    self.next = 0;
                    return Some(Err(error));
                }
            }
        }
        let row = self.batch[self.next];
        self.next += 1;
        Some(Ok(row))
    }
}

/// CRC-32 over rows, whatever batches they come in.
#[derive(Debug, Default)]
struct Digest {
    hasher: crc32fast::Hasher,
    buffer: Vec<u8>,
}

impl Digest {
    fn add<R: Row>(&mut self, row: &R) {
        row.digest(&mut self.buffer);
        if self.buffer.len() > 16 << 10 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn finish(&mut self) -> u32 {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
        self.hasher.clone().finalize()
    }
}
