//! Rows into a Parquet file somewhere else: the store's columns, encodings and checksums; whole or not there.

use std::path::{Path, PathBuf};

use dccd_model::{Gap, SeriesId};

use crate::Position;
use crate::disk::TempFile;
use crate::error::StoreError;
use crate::file::{FileWriter, check_written};
use crate::footer::{Facts, Named};
use crate::rows::Row;

/// Writes a Parquet file of rows handed over in their order. Nothing is there under its name before [`finish`](Self::finish); a
/// writer that is dropped leaves nothing behind.
pub struct ExportWriter<R: Row> {
    writer: FileWriter<R>,
    path: PathBuf,
    series: SeriesId,
    gaps: Vec<Gap>,
}

impl<R: Row> ExportWriter<R> {
    /// Begins a file; `gaps` are noted in it as declared. Its directory has to be there.
    ///
    /// # Errors
    /// When no file can be made beside `path`.
    pub fn create(path: &Path, series: &SeriesId, gaps: Vec<Gap>) -> Result<Self, StoreError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = TempFile::create(path.with_file_name(name))?;
        let writer = FileWriter::new(temporary, path)?;
        Ok(Self { writer, path: path.to_owned(), series: series.clone(), gaps })
    }

    /// The next row.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn push(&mut self, row: R) -> Result<(), StoreError> {
        self.writer.push(row)
    }

    /// Reads the file back, compares it, and gives it its name, in the place of a file that has it. Returns rows and bytes.
    ///
    /// # Errors
    /// When it can't be written, or reads back differently.
    pub fn finish(self) -> Result<(u64, u64), StoreError> {
        let named = Named {
            exchange: &self.series.exchange,
            symbol: &self.series.symbol,
            kind: self.series.kind,
            gaps: &self.gaps,
            contiguous_ids: false,
            candles: None,
            foreign: &[],
        };
        let (temporary, written) = self.writer.finish(&Facts { position: Position(0), named: Some(named) })?;
        check_written::<R>(temporary.path(), &written, None)?;
        let bytes = temporary.bytes;
        temporary.publish(&self.path)?;
        Ok((written.rows, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::CandleRow;
    use crate::testing::tempdir;

    #[test]
    fn an_export_is_whole_or_not_there_and_reads_back() {
        let dir = tempdir();
        let path = dir.path().join("out.parquet");
        let series: SeriesId = "binance/BTC/USDT/1h".parse().unwrap();
        let row = CandleRow {
            ts: dccd_model::UnixNanos(1_704_067_200_000_000_000),
            open: 1.0,
            high: 2.0,
            low: 0.5,
            close: 1.5,
            volume: 3.0,
            quote_volume: None,
            trades: Some(4),
        };
        let mut writer = ExportWriter::create(&path, &series, Vec::new()).unwrap();
        writer.push(row).unwrap();
        drop(writer);
        assert_eq!(crate::layout::names(dir.path()).unwrap(), Vec::<String>::new());
        let mut writer = ExportWriter::create(&path, &series, Vec::new()).unwrap();
        writer.push(row).unwrap();
        assert_eq!(writer.finish().unwrap().0, 1);
        assert_eq!(crate::layout::names(dir.path()).unwrap(), ["out.parquet"]);
        let rows = crate::file::Rows::<CandleRow>::open(&path).unwrap();
        assert_eq!(rows.map(Result::unwrap).collect::<Vec<_>>(), [row]);
        assert!(ExportWriter::<CandleRow>::create(&dir.path().join("no/out.parquet"), &series, Vec::new()).is_err());
    }
}
