//! The first row groups of a file, taken over into the next one as they are: what was encoded and checked once costs a copy.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dccd_model::UnixNanos;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;

use crate::error::StoreError;
use crate::file::CREATED_BY;
use crate::footer::{Checksum, FileInfo, time_range};
use crate::rows::Row;

/// Bytes compared at once.
const COMPARED_BYTES: usize = 64 << 10;

/// Row groups of a file whose bytes were compared with their checksum.
#[derive(Debug)]
pub(crate) struct Head {
    path: PathBuf,
    file: File,
    groups: Vec<RowGroupMetaData>,
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
        if !same_form {
            return 0;
        }
        let is_before = |group: &RowGroupMetaData| {
            usize::try_from(group.num_rows()) == Ok(R::GROUP_ROWS)
                && time_range(std::slice::from_ref(group)).is_some_and(|(_, last)| last < before)
        };
        metadata.row_groups().iter().take_while(|group| is_before(group)).count()
    }

    /// As many row groups as there are checksums; `None` for none.
    pub(crate) fn new(path: &Path, file: File, metadata: &ParquetMetaData, checksums: &[Checksum]) -> Option<Self> {
        let groups = metadata.row_groups().get(..checksums.len())?;
        let range = time_range(groups)?;
        Some(Self {
            path: path.to_owned(),
            file,
            groups: groups.to_vec(),
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
                copy.append_column(&self.file, close)?;
            }
            copy.close()?;
        }
        Ok(())
    }

    /// Whether these row groups, found through another file's own footer, hold the same bytes and say the same of them.
    pub(crate) fn is_same_as(&self, other: &Self) -> Result<bool, StoreError> {
        if self.checksums != other.checksums || self.range != other.range || self.rows != other.rows {
            return Ok(false);
        }
        for (group, copy) in self.groups.iter().zip(&other.groups) {
            for (column, copied) in group.columns().iter().zip(copy.columns()) {
                if !says_the_same(column, copied) || !self.same_bytes(column, other, copied)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn same_bytes(
        &self,
        column: &ColumnChunkMetaData,
        other: &Self,
        copied: &ColumnChunkMetaData,
    ) -> Result<bool, StoreError> {
        let ((mut at, mut left), (mut copied_at, _)) = (column.byte_range(), copied.byte_range());
        let mut bytes = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(COMPARED_BYTES).min(COMPARED_BYTES);
            self.read(at, &mut bytes.0[..count])?;
            other.read(copied_at, &mut bytes.1[..count])?;
            if bytes.0[..count] != bytes.1[..count] {
                return Ok(false);
            }
            (at, copied_at, left) = (at + count as u64, copied_at + count as u64, left - count as u64);
        }
        Ok(true)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.file.read_exact_at(out, at).map_err(|e| StoreError::io("read", &self.path, e))
    }
}

/// Reading loses that the library writes smallest and largest numbers in both forms that the format has.
fn as_written(column: &ColumnChunkMetaData) -> Result<ColumnChunkMetaData, ParquetError> {
    let Some(Statistics::Int64(numbers)) = column.statistics() else { return Ok(column.clone()) };
    let numbers = numbers.clone().with_backwards_compatible_min_max(true);
    column.clone().into_builder().set_statistics(Statistics::Int64(numbers)).build()
}

/// All but where it lies.
fn says_the_same(column: &ColumnChunkMetaData, copied: &ColumnChunkMetaData) -> bool {
    column.column_descr() == copied.column_descr()
        && column.num_values() == copied.num_values()
        && column.compression() == copied.compression()
        && column.encodings_mask() == copied.encodings_mask()
        && column.compressed_size() == copied.compressed_size()
        && column.uncompressed_size() == copied.uncompressed_size()
        && column.statistics() == copied.statistics()
        && column.page_encoding_stats() == copied.page_encoding_stats()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use dccd_model::{Gap, GapReason};
    use tempfile::TempDir;

    use super::*;
    use crate::candles::{CandleSeriesId, CandleWriter, Empties, Landing, Published, read_candles};
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
    fn row_groups_with_other_bytes_or_of_other_rows_are_not_the_same() {
        let (mut one, mut same, mut other) = (Series::new(), Series::new(), Series::new());
        one.publish(0, GROUP + 1, (0, 0), 100.0);
        same.publish(0, GROUP + 9, (0, 0), 100.0);
        other.publish(0, GROUP + 1, (0, 0), 101.0);
        let head = one.head(GROUP).unwrap();
        assert!(head.is_same_as(&same.head(GROUP).unwrap()).unwrap());
        assert!(!head.is_same_as(&other.head(GROUP).unwrap()).unwrap());
        // The same by what they say: only the bytes tell.
        let lies = Head { checksums: head.checksums.clone(), ..other.head(GROUP).unwrap() };
        assert!(!head.is_same_as(&lies).unwrap());
        assert!(one.head(GROUP - 1).is_none(), "the last candle of the group opens then");
    }
}
