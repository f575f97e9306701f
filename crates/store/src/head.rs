//! The first row groups of a file, taken over into the next one as they are: what was encoded and checked once costs a copy.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use bytes::{Buf, Bytes, buf::Reader};
use dccd_model::UnixNanos;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;

use crate::file::CREATED_BY;
use crate::footer::{Checksum, FileInfo, time_range};
use crate::rows::Row;

/// Where the first row group begins: behind the format's mark.
const BEGIN: u64 = 4;

/// Row groups of a file whose bytes were compared with their checksum. They lie at the same place in the next file.
#[derive(Debug)]
pub(crate) struct Head {
    file: File,
    groups: Vec<RowGroupMetaData>,
    /// Of the file's bytes up to their end.
    bytes: Checksum,
    /// Of the rows of each.
    pub(crate) checksums: Vec<Checksum>,
    pub(crate) rows: u64,
    pub(crate) range: (UnixNanos, UnixNanos),
}

impl Head {
    /// How many row groups at a file's beginning hold nothing but rows before this time, and are what would be written of these rows
    /// now: full ones of the same version, whose checksums are known and together make the file's.
    pub(crate) fn groups_before<R: Row>(metadata: &ParquetMetaData, info: &FileInfo, before: UnixNanos) -> usize {
        let columns = R::schema();
        let same_form = metadata.file_metadata().created_by() == Some(CREATED_BY)
            && columns.fields().iter().map(|field| field.name()).eq(&info.columns)
            && info.groups.len() == metadata.num_row_groups()
            && info.checksum == Some(Checksum::of_all(&info.groups).crc);
        let Some(data) = info.data.filter(|_| same_form) else { return 0 };
        let mut end = BEGIN;
        let mut is_before = |group: &RowGroupMetaData| {
            usize::try_from(group.num_rows()) == Ok(R::GROUP_ROWS)
                && time_range(std::slice::from_ref(group)).is_some_and(|(_, last)| last < before)
                && group.columns().iter().all(|column| {
                    let (from, length) = column.byte_range();
                    std::mem::replace(&mut end, from + length) == from && from + length <= data.bytes
                })
        };
        metadata.row_groups().iter().take_while(|group| is_before(group)).count()
    }

    /// Where so many row groups end in their file.
    pub(crate) fn end(metadata: &ParquetMetaData, groups: usize) -> u64 {
        let columns = metadata.row_groups().iter().take(groups).flat_map(RowGroupMetaData::columns);
        columns.map(|column| column.byte_range()).map(|(from, length)| from + length).max().unwrap_or(0)
    }

    /// As many row groups as there are checksums; `None` for none.
    pub(crate) fn new(file: File, metadata: &ParquetMetaData, checksums: &[Checksum], bytes: Checksum) -> Option<Self> {
        let groups = metadata.row_groups().get(..checksums.len())?;
        let range = time_range(groups)?;
        Some(Self {
            file,
            groups: groups.to_vec(),
            bytes,
            checksums: checksums.to_vec(),
            rows: groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).sum(),
            range,
        })
    }

    /// How many row groups.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Appends them to a file being written.
    pub(crate) fn copy_into<W: Write + Send>(&self, to: &mut SerializedFileWriter<W>) -> Result<(), ParquetError> {
        for group in &self.groups {
            let mut copy = to.next_row_group()?;
            for column in group.columns() {
                let close = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                    rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
                    metadata: as_written(column)?,
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                copy.append_column(&Chunk::read(&self.file, column)?, close)?;
            }
            copy.close()?;
        }
        Ok(())
    }

    /// Whether these row groups, found through another file's own footer and compared with its checksum, hold the same bytes and say
    /// the same of them.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        (self.bytes, self.range, self.rows) == (other.bytes, other.range, other.rows)
            && self.checksums == other.checksums
            && self.groups == other.groups
    }
}

/// The encoded bytes of one column of a row group, for the library to read by their place in the file.
struct Chunk {
    from: u64,
    bytes: Bytes,
}

impl Chunk {
    fn read(file: &File, column: &ColumnChunkMetaData) -> Result<Self, ParquetError> {
        let (from, length) = column.byte_range();
        let mut bytes = vec![0; usize::try_from(length).map_err(|e| ParquetError::External(e.into()))?];
        file.read_exact_at(&mut bytes, from)?;
        Ok(Self { from, bytes: bytes.into() })
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let length = usize::try_from(self.len().saturating_sub(start)).unwrap_or(usize::MAX);
        self.get_bytes(start, length).map(Buf::reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let start = start.checked_sub(self.from).and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        let range = range.filter(|range| range.end <= self.bytes.len());
        Ok(self.bytes.slice(range.ok_or_else(|| ParquetError::EOF("outside of the column".to_owned()))?))
    }
}

/// Reading loses that the library writes smallest and largest numbers in both forms that the format has.
fn as_written(column: &ColumnChunkMetaData) -> Result<ColumnChunkMetaData, ParquetError> {
    let Some(Statistics::Int64(numbers)) = column.statistics() else { return Ok(column.clone()) };
    let numbers = numbers.clone().with_backwards_compatible_min_max(true);
    column.clone().into_builder().set_statistics(Statistics::Int64(numbers)).build()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use dccd_model::{Gap, GapReason};
    use tempfile::TempDir;

    use super::*;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;

    use crate::candles::{CandleSeriesId, CandleWriter, Empties, Landing, Published, YearFacts, read_candles};
    use crate::file::Rows;
    use crate::rows::CandleRow;
    use crate::testing::tempdir;

    const MINUTE: i64 = 60_000_000_000;
    /// 2024-01-01T00:00:00Z.
    const START: i64 = 1_704_067_200_000_000_000;
    const GROUP: i64 = 32_768;

    fn at(minute: i64) -> UnixNanos {
        UnixNanos(START + minute * MINUTE)
    }

    fn row(minute: i64, price: f64) -> CandleRow {
        let (quote_volume, trades) = (Some(price * 3.0), Some(minute % 7));
        let (open, high, low) = (price, price + 1.0, price - 1.0);
        CandleRow { ts: at(minute), open, high, low, close: price, volume: 3.0, quote_volume, trades }
    }

    struct Series {
        dir: TempDir,
        writer: CandleWriter,
    }

    impl Series {
        fn new() -> Self {
            let dir = tempdir();
            let writer = CandleWriter::open(dir.path(), &Self::id(), Empties::Sent).unwrap();
            Self { dir, writer }
        }

        fn id() -> CandleSeriesId {
            let (exchange, symbol) = ("binance".parse().unwrap(), "BTC/USDT".parse().unwrap());
            CandleSeriesId { exchange, symbol, span: "1m".parse().unwrap() }
        }

        /// All minutes of the window but those that the exchange doesn't have.
        fn publish(&mut self, from: i64, to: i64, outage: (i64, i64), price: f64) -> Published {
            let is_out = |minute: &i64| (outage.0..outage.1).contains(minute);
            for first in (from..to).step_by(10_000) {
                let last = (first + 10_000).min(to);
                let rows: Vec<_> = (first..last).filter(|minute| !is_out(minute)).map(|m| row(m, price)).collect();
                let (begin, end) = (outage.0.max(first), outage.1.min(last));
                let gap = Gap { from: at(begin), to: at(end - 1), reason: GapReason::NoData, repaired: false, ids: None };
                let gaps = if begin < end { vec![gap] } else { Vec::new() };
                self.writer.land(&Landing { from: at(first), to: at(last), rows: &rows, gaps: &gaps }).unwrap();
            }
            self.writer.publish().unwrap()
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("binance/ohlc/BTC-USDT/1m/2024.parquet")
        }

        fn head(&self, before: i64) -> Option<Head> {
            Rows::<CandleRow>::open_tail(&self.file(), at(before)).unwrap().2
        }
    }

    /// Three row groups and a bit, with an outage in the second.
    const END: i64 = 3 * GROUP + 600;
    const OUTAGE: (i64, i64) = (GROUP + 50, GROUP + 150);

    #[test]
    fn a_year_that_grows_is_the_same_file_as_one_written_at_once() {
        let mut at_once = Series::new();
        let first = at_once.publish(0, END, OUTAGE, 100.0);
        let mut grown = Series::new();
        let steps = [0, GROUP - 1, 2 * GROUP + 300, 3 * GROUP + 599, END];
        let kept: Vec<u64> = steps.windows(2).map(|step| grown.publish(step[0], step[1], OUTAGE, 100.0).kept).collect();
        let group = GROUP.unsigned_abs();
        assert_eq!((first.kept, kept), (0, vec![0, 0, 2 * group, 3 * group]));
        assert!(fs::read(at_once.file()).unwrap() == fs::read(grown.file()).unwrap(), "the files differ");
        assert_eq!(grown.writer.coverage(), at_once.writer.coverage());
        assert_eq!(grown.writer.coverage().gaps().len(), 1);
    }

    #[test]
    fn what_a_window_touches_is_encoded_anew_and_nothing_before_it() {
        let mut series = Series::new();
        series.publish(0, END, OUTAGE, 100.0);
        let again = series.publish(2 * GROUP + 10, 2 * GROUP + 20, (0, 0), 7.0);
        assert_eq!((again.kept, again.replaced), (GROUP.unsigned_abs(), 10), "the outage moves the groups' ends");
        let stored: Vec<_> = read_candles(series.dir.path(), &Series::id(), at(0), at(END)).unwrap().collect();
        assert_eq!(stored.len(), usize::try_from(END - 100).unwrap());
        for candle in stored {
            let candle = candle.unwrap();
            let changed = candle.ts >= at(2 * GROUP + 10) && candle.ts < at(2 * GROUP + 20);
            assert!((candle.open - if changed { 7.0 } else { 100.0 }).abs() < 1e-9, "{candle:?}");
        }
        // An outage that the exchange has filled since.
        assert_eq!(series.publish(GROUP, 2 * GROUP, (0, 0), 7.0).kept, GROUP.unsigned_abs());
        assert!(series.writer.coverage().gaps().is_empty());
    }

    #[test]
    fn a_changed_byte_in_what_would_be_taken_over_is_noticed() {
        let mut series = Series::new();
        series.publish(0, GROUP + 10, (0, 0), 100.0);
        let mut bytes = fs::read(series.file()).unwrap();
        bytes[1_000] ^= 1;
        fs::write(series.file(), &bytes).unwrap();
        let published = series.publish(GROUP + 10, GROUP + 20, (0, 0), 100.0);
        assert_eq!((published.kept, published.rows, published.quarantined.len()), (0, 10, 1));
        assert_eq!(published.lost.iter().collect::<Vec<_>>(), [(at(0), at(GROUP + 10))]);
    }

    #[test]
    fn no_changed_bit_of_a_footer_makes_more_known_than_there_is() {
        let mut series = Series::new();
        series.publish(0, GROUP + 300, OUTAGE, 100.0);
        let grid = dccd_model::Grid::new(Series::id().span);
        let facts = || YearFacts::read(&series.file(), grid);
        let (sound, bytes) = (facts().unwrap(), fs::read(series.file()).unwrap());
        let data = FileInfo::read(&series.file()).unwrap().data.unwrap();
        let (mut noticed, mut harmless) = (0, 0);
        for at in usize::try_from(data.bytes).unwrap()..bytes.len() {
            for bit in [at % 8, (at + 5) % 8] {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                fs::write(series.file(), &changed).unwrap();
                match facts() {
                    Err(_) => noticed += 1,
                    Ok(facts) => {
                        harmless += 1;
                        let more = facts.covered.minus(&sound.covered).union(&facts.declared.minus(&sound.declared));
                        assert!(more.is_empty() && facts.rows == sound.rows, "bit {bit} of byte {at}: {facts:?}");
                    }
                }
            }
        }
        assert!(noticed > harmless, "{noticed} noticed, {harmless} without effect");
    }

    #[test]
    fn what_another_program_writes_anew_is_covered_where_candles_are_whatever_it_keeps_of_ours() {
        let mut series = Series::new();
        series.publish(0, 2_000, (500, 510), 100.0);
        let file = fs::File::open(series.file()).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let kept = builder.metadata().file_metadata().key_value_metadata().cloned();
        assert!(kept.as_ref().is_some_and(|pairs| pairs.len() > 8));
        let mut batches = builder.with_limit(900).build().unwrap();
        let batch = batches.next().unwrap().unwrap();
        let properties = WriterProperties::builder().set_key_value_metadata(kept).build();
        let file = fs::File::create(series.file()).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let Series { dir, writer } = series;
        drop(writer);
        let coverage = crate::candle_coverage(dir.path(), &Series::id()).unwrap();
        assert_eq!((coverage.rows, coverage.covered.contains(at(505)), coverage.last), (900, false, Some(at(909))));
        assert_eq!(coverage.holes(at(0), at(2_000)), [(at(500), at(510)), (at(910), at(2_000))]);
    }

    #[test]
    fn row_groups_with_other_bytes_or_of_other_rows_are_not_the_same() {
        let (mut one, mut same, mut other) = (Series::new(), Series::new(), Series::new());
        one.publish(0, GROUP + 1, (0, 0), 100.0);
        same.publish(0, GROUP + 9, (0, 0), 100.0);
        other.publish(0, GROUP + 1, (0, 0), 101.0);
        let head = one.head(GROUP).unwrap();
        assert!(head.is_same_as(&same.head(GROUP).unwrap()));
        assert!(!head.is_same_as(&other.head(GROUP).unwrap()));
        // The same by what they say: only the bytes tell.
        let lies = Head { checksums: head.checksums.clone(), groups: head.groups.clone(), ..other.head(GROUP).unwrap() };
        assert!(!head.is_same_as(&lies));
        assert!(one.head(GROUP - 1).is_none(), "the last candle of the group opens then");
    }
}
