//! One Parquet file of rows: written with the same bytes for the same rows, read back row by row.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::SchemaRef;
use dccd_model::UnixNanos;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use crate::disk::{self, Failure, TempFile};
use crate::error::{FileProblem, StoreError};
use crate::footer::{Checksum, Facts, FileInfo, guarded};
use crate::head::Head;
use crate::rows::Row;

/// How every version of this program names itself in a file's footer.
pub(crate) const CREATED_BY_US: &str = "dccd version ";
/// Who wrote a file, in its footer.
pub(crate) const CREATED_BY: &str = concat!("dccd version ", env!("CARGO_PKG_VERSION"));
/// Rows handed to the encoder at once; divides [`Codec::GROUP_ROWS`], fixed so that the same rows give the same bytes.
const BATCH_ROWS: usize = 16_384;

/// What was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) range: Option<(UnixNanos, UnixNanos)>,
    /// Of the rows of each row group.
    groups: Vec<Checksum>,
}

/// Writes rows, handed over in their order, into a temporary file.
pub(crate) struct FileWriter<R: Row> {
    file: SerializedFileWriter<TempFile>,
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    /// The columns of the row group being filled; empty between two.
    columns: Vec<ArrowColumnWriter>,
    group_rows: usize,
    batch: Vec<R>,
    /// Of the row group being filled.
    digest: Digest,
    written: Written,
    failure: Failure,
    /// What the file will be called; for errors.
    target: PathBuf,
}

impl<R: Row> FileWriter<R> {
    pub(crate) fn new(file: TempFile, target: &Path) -> Result<Self, StoreError> {
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties::<R>());
        let failure = file.failure();
        let schema = Arc::new(R::schema());
        let (file, factory) = ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|e| StoreError::parquet("write", target, e))?;
        Ok(Self {
            file,
            schema,
            factory,
            columns: Vec::new(),
            group_rows: 0,
            batch: Vec::with_capacity(BATCH_ROWS),
            digest: Digest::default(),
            written: Written { rows: 0, range: None, groups: Vec::new() },
            failure,
            target: target.to_owned(),
        })
    }

    /// Takes over row groups as they are, before any row is pushed.
    pub(crate) fn take_over(&mut self, head: &Head) -> Result<(), StoreError> {
        head.copy_into(&mut self.file).map_err(|e| write_error(&self.failure, &self.target, e))?;
        self.written = Written { rows: head.rows, range: Some(head.range), groups: head.checksums.clone() };
        Ok(())
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
        self.written.range = Some((self.written.range.map_or(first.ts(), |(from, _)| from), last.ts()));
        self.written.rows += self.batch.len() as u64;
        self.group_rows += self.batch.len();
        self.batch.iter().for_each(|row| self.digest.add(row));
        let columns = R::encode(&self.batch).map_err(|e| StoreError::arrow("write", &self.target, e))?;
        self.batch.clear();
        self.encode(&columns).map_err(|e| write_error(&self.failure, &self.target, e))
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        if self.columns.is_empty() {
            self.columns = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        }
        let mut columns = self.columns.iter_mut();
        for (field, values) in self.schema.fields().iter().zip(batch.columns()) {
            for (leaf, column) in compute_leaves(field, values)?.iter().zip(&mut columns) {
                column.write(leaf)?;
            }
        }
        if self.group_rows == R::GROUP_ROWS { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in self.columns.drain(..) {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.group_rows = 0;
        self.written.groups.push(std::mem::take(&mut self.digest).finish());
        Ok(())
    }

    pub(crate) fn finish(mut self, facts: &Facts<'_>) -> Result<(TempFile, Written), StoreError> {
        self.flush()?;
        self.end_group().map_err(|e| write_error(&self.failure, &self.target, e))?;
        self.file.flush().map_err(|e| StoreError::io("write", &self.target, self.failure.take().unwrap_or(e)))?;
        let data = Checksum { crc: self.file.inner().checksum(), bytes: self.file.inner().bytes };
        let groups = self.file.flushed_row_groups();
        let pairs =
            facts.pairs(&self.written.groups, data, groups).map_err(|e| StoreError::io("write", &self.target, e.into()))?;
        pairs.into_iter().for_each(|pair| self.file.append_key_value_metadata(pair));
        let mut file = self.file.into_inner().map_err(|e| write_error(&self.failure, &self.target, e))?;
        file.flush().map_err(|e| StoreError::io("write", &self.target, self.failure.take().unwrap_or(e)))?;
        Ok((file, self.written))
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
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(R::GROUP_ROWS))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled("TS".into(), EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    R::encodings(builder).build()
}

/// Reads a file back and compares it with what was written into it; row groups that were taken over, with the file that they come
/// from.
pub(crate) fn check_written<R: Row>(path: &Path, written: &Written, head: Option<&Head>) -> Result<(), StoreError> {
    let groups = head.map_or(0, Head::len);
    let (mut rows, there) = Rows::<R>::open_behind(path, |_, _| groups)?;
    match (head, there) {
        (None, None) => {}
        (Some(head), Some(there)) if head.is_same_as(&there) => {}
        _ => return Err(StoreError::file(path, FileProblem::Head)),
    }
    rows.expected = Some((written.rows, Checksum::of_all(&written.groups[groups..]).crc));
    rows.try_for_each(|row| row.map(drop))
}

/// The rows of one file, in their order.
pub struct Rows<R: Row> {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    batch: Vec<R>,
    next: usize,
    /// Number of the next row to be decoded.
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
        guarded(path, || Self::open_unguarded(path, |_, _| 0)).map(|(rows, info, _)| (rows, info))
    }

    /// The rows behind the row groups that end before this time, and these row groups, where both can be told apart without
    /// decoding: in full groups of a file that this version wrote.
    pub(crate) fn open_tail(path: &Path, before: UnixNanos) -> Result<(Self, FileInfo, Option<Head>), StoreError> {
        guarded(path, || Self::open_unguarded(path, |metadata, info| Head::groups_before::<R>(metadata, info, before)))
    }

    /// The rows behind so many row groups, and these.
    fn open_behind(
        path: &Path,
        groups: impl FnOnce(&ParquetMetaData, &FileInfo) -> usize,
    ) -> Result<(Self, Option<Head>), StoreError> {
        guarded(path, || Self::open_unguarded(path, groups)).map(|(rows, _, head)| (rows, head))
    }

    fn open_unguarded(
        path: &Path,
        groups: impl FnOnce(&ParquetMetaData, &FileInfo) -> usize,
    ) -> Result<(Self, FileInfo, Option<Head>), StoreError> {
        let io_error = |e| StoreError::io("read", path, e);
        let file = disk::open(path).map_err(io_error)?;
        let handle = file.try_clone().map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        // Row groups that are taken over keep all that their metadata say.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_encoding_stats_as_mask(false);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(|e| StoreError::parquet("read", path, e))?;
        let metadata = Arc::clone(builder.metadata());
        let info = FileInfo::from_metadata(&metadata, bytes).map_err(|problem| StoreError::file(path, problem))?;
        let skipped = groups(&metadata, &info).min(info.groups.len());
        let mut head_bytes = Checksum { crc: 0, bytes: Head::end(&metadata, skipped) };
        if let Some(data) = info.data {
            head_bytes = data.check(path, &handle, head_bytes.bytes)?;
        }
        let head = Head::new(handle, &metadata, &info.groups[..skipped], head_bytes);
        let reader = builder
            .with_row_groups((skipped..metadata.num_row_groups()).collect())
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|e| StoreError::parquet("read", path, e))?;
        for field in R::schema().fields() {
            // Nullable columns may be missing; files of other programs lack some.
            if !field.is_nullable() && reader.schema().field_with_name(field.name()).is_err() {
                let column = COLUMNS.iter().find(|n| *n == field.name()).copied().unwrap_or("TS");
                return Err(StoreError::file(path, FileProblem::Column { column }));
            }
        }
        let checksum = match skipped {
            0 => info.checksum,
            _ => Some(Checksum::of_all(&info.groups[skipped..]).crc),
        };
        let rows = Self {
            path: path.to_owned(),
            reader,
            batch: Vec::new(),
            next: 0,
            read: head.as_ref().map_or(0, |head| head.rows),
            last: None,
            digest: Digest::default(),
            expected: checksum.map(|checksum| (info.rows, checksum)),
            ended: false,
        };
        Ok((rows, info, head))
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
        } else if checksum != std::mem::take(&mut self.digest).finish().crc {
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

/// The rows of a file's last row group. Its bytes are compared with their checksum; that of the rows is of all.
pub(crate) fn last_rows<R: Row>(path: &Path) -> Result<Vec<R>, StoreError> {
    guarded(path, || {
        let io_error = |e| StoreError::io("read", path, e);
        let file = disk::open(path).map_err(io_error)?;
        let handle = file.try_clone().map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(|e| StoreError::parquet("read", path, e))?;
        let info = FileInfo::from_metadata(builder.metadata(), bytes).map_err(|problem| StoreError::file(path, problem))?;
        if let Some(data) = info.data {
            data.check(path, &handle, 0)?;
        }
        let groups = builder.metadata().num_row_groups();
        let reader =
            builder.with_row_groups((groups.saturating_sub(1)..groups).collect()).with_batch_size(BATCH_ROWS).build();
        let mut rows = Vec::new();
        for batch in reader.map_err(|e| StoreError::parquet("read", path, e))? {
            let batch = batch.map_err(|e| StoreError::arrow("read", path, e))?;
            R::decode(&batch, rows.len() as u64, &mut rows).map_err(|problem| StoreError::file(path, problem))?;
        }
        Ok(rows)
    })
}

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
    bytes: u64,
    buffer: Vec<u8>,
}

impl Digest {
    fn add<R: Row>(&mut self, row: &R) {
        row.digest(&mut self.buffer);
        if self.buffer.len() > 16 << 10 {
            self.absorb();
        }
    }

    fn absorb(&mut self) {
        self.hasher.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
    }

    fn finish(mut self) -> Checksum {
        self.absorb();
        Checksum { crc: self.hasher.finalize(), bytes: self.bytes }
    }
}
