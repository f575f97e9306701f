//! `dccd export`: the rows of a series between two moments, as CSV, JSON lines or one Parquet file. Constant memory.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use dccd_config::{Config, Lookup, Moment, Timezone};
use dccd_model::{Channel, SeriesId, SeriesKind, UnixNanos};
use dccd_store::rows::Row;
use dccd_store::{
    BookRow, CandleRow, CandleSeriesId, ExportWriter, QuoteRow, StoreError, TradeRow, read_candles, read_series_book,
    read_series_quotes, read_series_trades,
};

use crate::cli::Global;
use crate::commands::backfill::moment;
use crate::commands::{block_on, data_path};
use crate::exit::{self, Failure};
use crate::output::{Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The series, e.g. binance/BTC/USDT/1h or binance/BTC/USDT/trades
    series: SeriesId,
    /// The first moment; a date is read in the configured zone [default: the first row]
    #[arg(long, value_name = "DATE", value_parser = moment)]
    from: Option<Moment>,
    /// The end, itself not included [default: the last row]
    #[arg(long, value_name = "DATE", value_parser = moment)]
    to: Option<Moment>,
    /// The form
    #[arg(long, value_enum, default_value_t = Form::Csv)]
    format: Form,
    /// Write to this file instead of standard output; what was in it is replaced when all is written
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The form of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line of headings, then a line a row
    Csv,
    /// One JSON object a line
    Jsonl,
    /// The store's own columns in one file; needs --output
    Parquet,
}

/// Exports it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let data_path = block_on(data_path(global))?;
    let zone = Config::load(&Lookup::new(global.config.clone())).map(|loaded| loaded.config.settings.timezone);
    let zone = zone.unwrap_or(Timezone::Local);
    let from = instant(arguments.from, &zone)?.unwrap_or(UnixNanos(0));
    let to = instant(arguments.to, &zone)?.unwrap_or(UnixNanos(i64::MAX));
    if from >= to {
        return Err(Failure::message(exit::USAGE, "--from is not before --to"));
    }
    let series = &arguments.series;
    let rows = match series.kind {
        SeriesKind::Candles(span) => {
            let id = CandleSeriesId { exchange: series.exchange.clone(), symbol: series.symbol.clone(), span };
            write(arguments, read_candles(&data_path, &id, from, to))?
        }
        SeriesKind::Live(Channel::Trades) => {
            write(arguments, read_series_trades(&data_path, &series.exchange, &series.symbol, from, to))?
        }
        SeriesKind::Live(Channel::Quotes) => {
            write(arguments, read_series_quotes(&data_path, &series.exchange, &series.symbol, from, to))?
        }
        SeriesKind::Live(Channel::Book) => {
            write(arguments, read_series_book(&data_path, &series.exchange, &series.symbol, from, to))?
        }
        SeriesKind::Live(Channel::Ohlc) => {
            return Err(Failure::message(exit::USAGE, "candles are named by their span, e.g. binance/BTC/USDT/1h"));
        }
    };
    if rows == 0 {
        return Err(anyhow!("nothing of {series} is stored in this time; `dccd inventory` lists what is").into());
    }
    say(format_args!("{rows} rows of {series}"));
    Ok(())
}

fn instant(moment: Option<Moment>, zone: &Timezone) -> Result<Option<UnixNanos>, Failure> {
    let outside = || anyhow!("the date is outside of the years 1678 to 2261");
    Ok(moment.map(|moment| moment.instant(zone).ok_or_else(outside)).transpose()?)
}

/// Writes the rows; gives how many there were.
fn write<R: Text, I>(arguments: &Arguments, rows: Result<I, StoreError>) -> Result<u64, Failure>
where
    I: Iterator<Item = Result<R, StoreError>>,
{
    let mut rows = rows.context("cannot read the store")?.peekable();
    if rows.peek().is_none() {
        // Nothing is written over by nothing.
        return Ok(0);
    }
    match (&arguments.output, arguments.format) {
        (Some(path), Form::Parquet) => parquet(path, &arguments.series, rows),
        (None, Form::Parquet) => Err(Failure::message(exit::USAGE, "--format parquet needs --output FILE")),
        (Some(path), form) => {
            let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
            let written = std::fs::File::create(&temporary)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(Failure::from)
                .and_then(|file| lines(&mut std::io::BufWriter::new(file), form, rows));
            let renamed = written.and_then(|count| {
                std::fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(count)
            });
            if renamed.is_err() {
                let _ = std::fs::remove_file(&temporary); // there may be none
            }
            renamed
        }
        (None, form) => {
            if std::io::stdout().is_terminal() {
                say("writing to the terminal; --output FILE writes to a file");
            }
            let mut out = Out::new();
            lines(&mut out, form, rows)
        }
    }
}

fn lines<R: Text>(
    out: &mut impl std::io::Write,
    form: Form,
    rows: impl Iterator<Item = Result<R, StoreError>>,
) -> Result<u64, Failure> {
    let mut text = String::new();
    if form == Form::Csv {
        text.push_str(&R::COLUMNS.join(","));
        text.push('\n');
    }
    let mut count = 0;
    for row in rows {
        let row = row.context("cannot read the store")?;
        if form == Form::Csv {
            csv(&row, &mut text)
        } else {
            json(&row, &mut text)
        }
        count += 1;
        if text.len() > TEXT_MAX {
            put(out, &text)?;
            text.clear();
        }
    }
    put(out, &text)?;
    out.flush().or_else(closed)?;
    Ok(count)
}

/// Text that is held back at most.
const TEXT_MAX: usize = 64 << 10;

fn put(out: &mut impl std::io::Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).or_else(closed)
}

/// When the reader has gone (`| head`), the command ends quietly.
fn closed(error: std::io::Error) -> Result<(), Failure> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Err(Failure::Silent(0)),
        _ => Err(anyhow::Error::new(error).context("cannot write").into()),
    }
}

fn parquet<R: Row>(
    path: &Path,
    series: &SeriesId,
    rows: impl Iterator<Item = Result<R, StoreError>>,
) -> Result<u64, Failure> {
    let failed = || format!("cannot write {}", path.display());
    let mut writer = ExportWriter::create(path, series, Vec::new()).with_context(failed)?;
    for row in rows {
        writer.push(row.context("cannot read the store")?).with_context(failed)?;
    }
    Ok(writer.finish().with_context(failed)?.0)
}

/// A value of a row.
enum Value {
    Int(i64),
    Number(f64),
    Word(&'static str),
    Id(u128),
    Bool(bool),
    Null,
}

impl Value {
    fn known(value: i64) -> Self {
        if value == 0 { Self::Null } else { Self::Int(value) }
    }
}

/// A row as text.
trait Text: Row {
    const COLUMNS: &'static [&'static str];
    fn values(&self, each: impl FnMut(Value));
}

fn csv<R: Text>(row: &R, text: &mut String) {
    let mut first = true;
    row.values(|value| {
        if !std::mem::take(&mut first) {
            text.push(',');
        }
        // Writing to a string can't fail.
        let _ = match value {
            Value::Int(value) => write!(text, "{value}"),
            Value::Number(value) => write!(text, "{value}"),
            Value::Word(value) => write!(text, "{value}"),
            Value::Id(value) => write!(text, "{value}"),
            Value::Bool(value) => write!(text, "{value}"),
            Value::Null => Ok(()),
        };
    });
    text.push('\n');
}

fn json<R: Text>(row: &R, text: &mut String) {
    let mut names = R::COLUMNS.iter();
    text.push('{');
    row.values(|value| {
        let Some(name) = names.next() else { return };
        if !text.ends_with('{') {
            text.push(',');
        }
        // Writing to a string can't fail; no name and no word has anything to escape.
        let _ = match value {
            Value::Int(value) => write!(text, "\"{name}\":{value}"),
            Value::Number(value) => write!(text, "\"{name}\":{value}"),
            Value::Word(value) => write!(text, "\"{name}\":\"{value}\""),
            Value::Id(value) => write!(text, "\"{name}\":\"{value}\""),
            Value::Bool(value) => write!(text, "\"{name}\":{value}"),
            Value::Null => write!(text, "\"{name}\":null"),
        };
    });
    text.push_str("}\n");
}

impl Text for CandleRow {
    const COLUMNS: &'static [&'static str] = &["TS", "open", "high", "low", "close", "volume", "quote_volume", "trades"];

    fn values(&self, mut each: impl FnMut(Value)) {
        each(Value::Int(self.ts.0));
        [self.open, self.high, self.low, self.close, self.volume].map(Value::Number).into_iter().for_each(&mut each);
        each(self.quote_volume.map_or(Value::Null, Value::Number));
        each(self.trades.map_or(Value::Null, Value::Int));
    }
}

impl Text for TradeRow {
    const COLUMNS: &'static [&'static str] = &["TS", "price", "amount", "side", "tid", "ts_recv"];

    fn values(&self, mut each: impl FnMut(Value)) {
        each(Value::Int(self.ts.0));
        each(Value::Number(self.price));
        each(Value::Number(self.amount));
        each(self.side.as_str().map_or(Value::Null, Value::Word));
        each(if self.id.0 == 0 { Value::Null } else { Value::Id(self.id.0) });
        each(Value::known(self.ts_recv.0));
    }
}

impl Text for QuoteRow {
    const COLUMNS: &'static [&'static str] = &["TS", "bid", "bid_amount", "ask", "ask_amount", "ts_recv"];

    fn values(&self, mut each: impl FnMut(Value)) {
        each(Value::Int(self.ts.0));
        [self.bid, self.bid_amount, self.ask, self.ask_amount].map(Value::Number).into_iter().for_each(&mut each);
        each(Value::known(self.ts_recv.0));
    }
}

impl Text for BookRow {
    const COLUMNS: &'static [&'static str] =
        &["TS", "side", "price", "amount", "count", "is_snapshot", "ts_recv", "update_id", "epoch"];

    fn values(&self, mut each: impl FnMut(Value)) {
        each(Value::Int(self.ts.0));
        each(Value::Word(self.side.as_str()));
        each(Value::Number(self.price));
        each(Value::Number(self.amount));
        each(Value::known(i64::from(self.count)));
        each(Value::Bool(self.is_snapshot));
        each(Value::known(self.ts_recv.0));
        each(Value::known(i64::try_from(self.update_id).unwrap_or(i64::MAX)));
        each(Value::Int(i64::from(self.epoch)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_empty_in_csv_and_null_in_json() {
        let row = CandleRow {
            ts: UnixNanos(60),
            open: 1.5,
            high: 2.0,
            low: 0.000_000_1,
            close: 1.0,
            volume: 0.0,
            quote_volume: None,
            trades: Some(3),
        };
        let (mut line, mut object) = (String::new(), String::new());
        csv(&row, &mut line);
        json(&row, &mut object);
        assert_eq!(line, "60,1.5,2,0.0000001,1,0,,3\n");
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["quote_volume"], serde_json::Value::Null);
        assert_eq!((object["low"].as_f64(), object["trades"].as_i64()), (Some(1e-7), Some(3)));
    }
}
