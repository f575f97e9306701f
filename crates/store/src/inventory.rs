//! What is stored: one line a series, from the footers of its files. Works beside a running recorder.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use dccd_model::{Channel, UnixNanos};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Serialize, Serializer};

use crate::catalog::{self, CandleSeries, LiveSeries};
use crate::error::{FileProblem, StoreError};
use crate::footer::FileInfo;
use crate::recorder::gaps::upsert;

/// One series. Serializes as `dccd inventory --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InventoryRow {
    /// Where it is traded.
    pub exchange: String,
    /// The symbol.
    pub pair: String,
    /// `ohlc`, `trades`, `orderbook`, `quotes`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Label of the span; `None` for live series.
    pub span: Option<String>,
    /// Time of the first row; `None` without rows.
    #[serde(serialize_with = "rfc3339")]
    pub from: Option<UnixNanos>,
    /// Time of the last row.
    #[serde(serialize_with = "rfc3339")]
    pub to: Option<UnixNanos>,
    /// Rows, those of the open day's parts included.
    pub rows: u64,
    /// Gaps that are not repaired.
    pub gaps: u64,
    /// Missing candles or trade ids in them; `None` where it can't be known.
    pub missing: Option<u64>,
    /// Bytes on the disk, those of the open day's parts included.
    pub bytes: u64,
    /// Day or year files.
    pub files: u64,
}

fn rfc3339<S: Serializer>(time: &Option<UnixNanos>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Everything that is stored, ordered by exchange, symbol, type and span. A data path without anything is an empty list.
///
/// # Errors
/// When a directory or a footer can't be read; `verify` tells about all of them.
pub fn inventory(data_path: &Path) -> Result<Vec<InventoryRow>, StoreError> {
    let mut rows = Vec::new();
    for series in catalog::live_series(data_path)? {
        rows.push(live_row(&series)?);
    }
    for series in catalog::candle_series(data_path)? {
        rows.push(candle_row(&series)?);
    }
    rows.sort_by(|a, b| (&a.exchange, &a.pair, &a.kind, &a.span).cmp(&(&b.exchange, &b.pair, &b.kind, &b.span)));
    Ok(rows)
}

impl InventoryRow {
    fn add(&mut self, info: &FileInfo, is_part: bool) {
        self.rows += info.rows;
        self.bytes += info.bytes;
        self.files += u64::from(!is_part);
        if let Some((from, to)) = info.range {
            self.from = Some(self.from.map_or(from, |f| f.min(from)));
            self.to = Some(self.to.map_or(to, |t| t.max(to)));
        }
    }
}

fn live_row(series: &LiveSeries) -> Result<InventoryRow, StoreError> {
    let mut row = InventoryRow {
        exchange: series.layout.exchange.to_string(),
        pair: series.symbol.to_string(),
        kind: series.channel.directory().to_owned(),
        span: None,
        from: None,
        to: None,
        rows: 0,
        gaps: 0,
        missing: Some(0),
        bytes: 0,
        files: 0,
    };
    let mut gaps = Vec::new();
    for day in &series.days {
        let file = series.day_file(*day);
        for (path, info) in series.footers(*day)? {
            info.gaps.iter().for_each(|gap| upsert(&mut gaps, gap));
            row.add(&info, path != file);
        }
    }
    series.open_gaps()?.iter().for_each(|gap| upsert(&mut gaps, gap));
    gaps.retain(|gap| !gap.repaired);
    row.gaps = gaps.len() as u64;
    row.missing = gaps.iter().map(dccd_model::Gap::missing).sum();
    Ok(row)
}

fn candle_row(series: &CandleSeries) -> Result<InventoryRow, StoreError> {
    let mut row = InventoryRow {
        exchange: series.exchange.to_string(),
        pair: series.symbol.to_string(),
        kind: Channel::Ohlc.directory().to_owned(),
        span: Some(series.span.to_string()),
        from: None,
        to: None,
        rows: 0,
        gaps: 0,
        missing: Some(0),
        bytes: 0,
        files: 0,
    };
    let step = i64::from(series.span.as_secs()).saturating_mul(dccd_model::time::NANOS_PER_SECOND).max(1);
    let mut last: Option<i64> = None;
    let mut missing = 0;
    for path in &series.files {
        let info = FileInfo::read(path)?;
        row.add(&FileInfo { range: None, ..info }, false);
        for_each_ts(path, |ts| {
            let hole = last.map_or(0, |last| ts.saturating_sub(last) / step - 1).max(0);
            row.gaps += u64::from(hole > 0);
            missing += hole.unsigned_abs();
            row.from = Some(row.from.map_or(UnixNanos(ts), |f| f.min(UnixNanos(ts))));
            row.to = Some(row.to.map_or(UnixNanos(ts), |t| t.max(UnixNanos(ts))));
            last = Some(ts);
        })?;
    }
    row.missing = Some(missing);
    Ok(row)
}

/// Reads a file's `TS` column alone.
fn for_each_ts(path: &Path, mut each: impl FnMut(i64)) -> Result<(), StoreError> {
    let file = std::fs::File::open(path).map_err(|e| StoreError::io("read", path, e))?;
    let parquet_error = |e| StoreError::parquet("read", path, e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet_error)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["TS"]);
    for batch in builder.with_projection(mask).build().map_err(parquet_error)? {
        let batch = batch.map_err(|e| StoreError::arrow("read", path, e))?;
        let column = batch.column_by_name("TS").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let column = column.ok_or_else(|| StoreError::file(path, FileProblem::Column { column: "TS" }))?;
        column.iter().flatten().for_each(&mut each);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dccd_model::{Gap, GapReason};

    use super::*;
    use crate::CommitMode::{Close, Step};
    use crate::testing::{Writer, at, tempdir};

    fn gap(seconds: i64, ids: Option<(u64, u64)>, repaired: bool) -> Gap {
        Gap { from: at(seconds), to: at(seconds + 1), reason: GapReason::Disconnected, repaired, ids }
    }

    #[test]
    fn counts_what_is_there_and_what_is_declared_missing() {
        let dir = tempdir();
        assert_eq!(inventory(dir.path()).unwrap(), []);
        let mut writer = Writer::new(&dir);
        for n in 0..20_000 {
            writer.trade(n, 1000 + n.unsigned_abs());
        }
        writer.quote(5);
        writer.gap(Channel::Trades, &gap(19_999, Some((21_000, 21_009)), false));
        writer.gap(Channel::Trades, &gap(50, Some((500, 510)), true));
        writer.commit(Step);
        for n in 20_001..20_100 {
            writer.trade(n, 1010 + n.unsigned_abs());
        }
        // Waits in the checkpoint, because the day file is not written at this commit.
        writer.gap(Channel::Trades, &gap(20_050, Some((30_000, 30_000)), false));
        writer.gap(Channel::Book, &gap(7, None, false));
        writer.commit(Step);
        let rows = inventory(dir.path()).unwrap();
        let brief: Vec<_> = rows.iter().map(|r| (r.kind.as_str(), r.rows, r.gaps, r.missing, r.files)).collect();
        assert_eq!(brief, [("orderbook", 0, 1, None, 0), ("quotes", 1, 0, Some(0), 1), ("trades", 20_099, 2, Some(11), 1)]);
        let before = rows[2].bytes;
        writer.commit(Close);
        let rows = inventory(dir.path()).unwrap();
        assert_eq!((rows[2].rows, rows[2].gaps, rows[2].missing), (20_099, 2, Some(11)));
        assert!(rows[2].bytes < before);
        assert_eq!(
            serde_json::to_value(&rows[2]).unwrap(),
            serde_json::json!({
                "exchange": "binance", "pair": "BTC/USDT", "type": "trades", "span": null,
                "from": "2024-08-08T00:00:00Z", "to": "2024-08-08T05:34:59Z",
                "rows": 20_099, "gaps": 2, "missing": 11, "bytes": rows[2].bytes, "files": 1
            })
        );
    }

    #[test]
    fn candles_are_counted_with_their_holes_across_years() {
        use arrow_array::{ArrayRef, Int64Array, RecordBatch};
        let dir = tempdir();
        let folder = dir.path().join("kraken/ohlc/BTC-USD/1h");
        std::fs::create_dir_all(&folder).unwrap();
        let hour = 3600 * dccd_model::time::NANOS_PER_SECOND;
        for (year, hours) in [("2023", vec![0, 1, 2, 5, 6]), ("2024", vec![7, 9])] {
            let column = Int64Array::from_iter_values(hours.into_iter().map(|h| h * hour));
            let batch = RecordBatch::try_from_iter([("TS", std::sync::Arc::new(column) as ArrayRef)]).unwrap();
            let file = std::fs::File::create(folder.join(format!("{year}.parquet"))).unwrap();
            let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        }
        let rows = inventory(dir.path()).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].span.as_deref(), rows[0].rows, rows[0].files), (Some("1h"), 7, 2));
        assert_eq!((rows[0].gaps, rows[0].missing), (2, Some(3)));
        assert_eq!((rows[0].from, rows[0].to), (Some(UnixNanos(0)), Some(UnixNanos(9 * hour))));
    }
}
