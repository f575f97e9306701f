//! One Parquet file of rows: written with the same bytes for the same rows, read back row by row.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatchReader;
use dccd_model::UnixNanos;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::disk::{self, Failure, TempFile};
use crate::error::{FileProblem, StoreError};
use crate::footer::{DataChecksum, Facts, FileInfo, guarded};
use crate::rows::Row;

/// Rows in a row group; fixed, so that the same rows give the same bytes.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;
/// Rows handed to the encoder at once; divides [`ROW_GROUP_ROWS`], fixed for the same reason.
const BATCH_ROWS: usize = 16_384;

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

    /// Many rows at once; cut into the same batches as one at a time.
    pub(crate) fn extend(&mut self, mut rows: &[R]) -> Result<(), StoreError> {
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(BATCH_ROWS - self.batch.len()));
            self.batch.extend_from_slice(now);
            rows = later;
            if self.batch.len() == BATCH_ROWS {
                self.flush()?;
            }
        }
        Ok(())
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

    /// The rows that are decoded and not yet taken; [`Rows::refill`] first. For those who take rows by the thousand.
    pub(crate) fn decoded(&self) -> &[R] {
        &self.batch[self.next..]
    }

    /// Takes so many of the decoded rows.
    pub(crate) const fn take_decoded(&mut self, count: usize) {
        self.next += count;
    }

    /// Decodes the next rows when all are taken; `false` at the end.
    pub(crate) fn refill(&mut self) -> Result<bool, StoreError> {
        while self.next >= self.batch.len() {
            if self.ended || !self.fill()? {
                self.ended = true;
                return Ok(false);
            }
        }
        Ok(true)
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
const COLUMNS: [&str; 21] = [
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
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
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
