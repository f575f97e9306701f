//! A simulated past, and a store held against it row by row.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dccd_model::{Decimal, Gap, GapReason, UnixNanos};
use dccd_sim::deep::{Candle, DeepOptions, Truth};
use dccd_sim::{BitfinexOptions, KrakenOptions, Limits, MarketOptions, SimOptions};
use dccd_store::{CandleRow, CandleSeriesId, candle_coverage, read_candles};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelector};
use parquet::file::properties::WriterProperties;

use crate::{Exchange, Place};

/// A minute in nanoseconds.
pub const MINUTE: i64 = 60_000_000_000;
/// A day in nanoseconds.
pub const DAY: i64 = 1_440 * MINUTE;

/// The host's clock.
#[must_use]
pub fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap())
}

/// An exchange whose markets began so many days ago, without limits on requests.
#[must_use]
pub fn options(exchange: &str, symbols: &[&str], days: i64, trades_per_hour: u32) -> SimOptions {
    SimOptions {
        exchange: exchange.to_owned(),
        seed: 11,
        market: MarketOptions {
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            trades_per_second: 0.0,
            book_updates_per_second: 0.0,
            ..MarketOptions::default()
        },
        deep: Some(DeepOptions {
            listed_ns: now().0 - days * DAY,
            trades_per_hour,
            quiet: 0.1,
            outages_per_year: 60.0,
            halts_per_year: 60.0,
            stretch_minutes_max: 90,
            ..DeepOptions::default()
        }),
        limits: Limits { weight_per_minute: 0, ..Limits::default() },
        kraken: KrakenOptions { requests_per_second: 0.0, ..KrakenOptions::default() },
        // Amounts are compared to the last digit.
        bitfinex: BitfinexOptions { dust: false, ..BitfinexOptions::default() },
        ..SimOptions::default()
    }
}

/// What candles of an exchange don't have that the truth has.
#[derive(Clone, Copy, Debug)]
struct Lacks {
    /// Candles in which nothing was traded: they are left out, and what is missing is no gap.
    empty: bool,
    quote_volume: bool,
    trades: bool,
}

impl Lacks {
    fn of(exchange: &str) -> Self {
        match exchange {
            "kucoin" => Self { empty: true, quote_volume: false, trades: true },
            "coinbase" | "bitfinex" => Self { empty: true, quote_volume: true, trades: true },
            _ => Self { empty: false, quote_volume: false, trades: false },
        }
    }
}

/// A past and the exchange that serves it.
#[derive(Debug)]
pub struct Past {
    /// The exchange.
    pub exchange: Exchange,
    /// What it serves.
    pub truth: Truth,
    name: String,
}

impl Past {
    /// Starts it.
    #[must_use]
    pub fn start(options: SimOptions) -> Self {
        let truth = Truth::new(&options).unwrap();
        let name = options.exchange.clone();
        Self { exchange: Exchange::start(options), truth, name }
    }

    /// A configuration with history jobs for these pairs and spans, and a line more.
    #[must_use]
    pub fn config(&self, jobs: &[(&str, u32)], more: &str) -> String {
        let name = &self.name;
        let jobs: Vec<String> = jobs
            .iter()
            .map(|(pair, span)| {
                format!("  - {{exchange: {name}, pairs: [{pair}], span: {span}, max_retries: 10, retry_delay: 0.01}}\n")
            })
            .collect();
        format!(
            "settings: {{data_path: ./data, timezone: UTC}}\nhisto_jobs:\n{}exchanges:\n  {name}: {{rest_url: '{}', ws_url: '{}'{more}}}\n",
            jobs.concat(),
            self.exchange.rest_url(),
            self.exchange.ws_url(),
        )
    }

    /// A series of it.
    #[must_use]
    pub fn series(&self, symbol: &str, span: &str) -> CandleSeriesId {
        CandleSeriesId { exchange: self.name.parse().unwrap(), symbol: symbol.parse().unwrap(), span: span.parse().unwrap() }
    }

    /// Holds a stored series against the truth, from the listing to the last candle that is stored; gives how many candles there
    /// are. `flat`: candles of outages are flat ones, as Kraken has them, instead of missing.
    #[track_caller]
    pub fn compare(&self, data_path: &Path, symbol: &str, span: &str, flat: bool) -> usize {
        let id = self.series(symbol, span);
        let stored: Vec<CandleRow> =
            read_candles(data_path, &id, UnixNanos(0), UnixNanos(i64::MAX)).unwrap().map(Result::unwrap).collect();
        let step = i64::from(id.span.as_secs()) * 1_000_000_000;
        let listed = self.truth.listed(symbol).unwrap().div_euclid(step) * step;
        let last = stored.last().unwrap_or_else(|| panic!("nothing of {id} is stored")).ts;
        let lacks = Lacks::of(&self.name);
        let late = now().0 - 4 * step - 120_000_000_000;
        let candles = self.truth.candles(symbol, id.span.as_secs(), listed, late.max(last.0) + 1);
        let mut expected: Vec<Candle> = candles.filter(|candle| !lacks.empty || candle.trades > 0).collect();
        assert!(expected.iter().rfind(|c| c.open_ns <= late).is_none_or(|due| due.open_ns <= last.0), "{id} ends at {last}");
        expected.retain(|candle| candle.open_ns <= last.0);
        if flat {
            expected = filled(expected, step);
        }
        assert_eq!(
            stored.first().unwrap().ts.0,
            if lacks.empty { expected[0].open_ns } else { listed },
            "the first candle of {id}"
        );
        for (row, candle) in stored.iter().zip(&expected) {
            assert_same(row, candle, flat, lacks);
        }
        assert_eq!(stored.len(), expected.len(), "candles of {id}");
        if !flat {
            self.assert_gaps(data_path, &id, &expected, step);
        }
        stored.len()
    }

    /// The declared gaps are the truth's own, no more and no fewer: none where candles without trades are left out.
    #[track_caller]
    fn assert_gaps(&self, data_path: &Path, id: &CandleSeriesId, expected: &[Candle], step: i64) {
        let coverage = candle_coverage(data_path, id).unwrap();
        let last = expected.last().unwrap().open_ns;
        let gaps: Vec<(i64, i64)> =
            coverage.gaps().iter().filter(|gap| gap.from.0 < last).map(|gap: &Gap| (gap.from.0, gap.to.0)).collect();
        assert!(coverage.gaps().iter().all(|gap| gap.reason == GapReason::NoData && !gap.repaired));
        let holes: Vec<(i64, i64)> = expected
            .windows(2)
            .filter(|pair| !Lacks::of(&self.name).empty && pair[1].open_ns - pair[0].open_ns > step)
            .map(|pair| (pair[0].open_ns + step, pair[1].open_ns - step))
            .collect();
        assert_eq!(gaps, holes, "declared gaps of {id}");
        assert!(coverage.holes(UnixNanos(expected[0].open_ns), UnixNanos(last)).is_empty());
    }
}

/// The candles of outages, flat at the last price.
fn filled(candles: Vec<Candle>, step: i64) -> Vec<Candle> {
    let mut out: Vec<Candle> = Vec::with_capacity(candles.len());
    for candle in candles {
        while let Some(last) = out.last().copied()
            && last.open_ns + step < candle.open_ns
        {
            let price = last.close;
            out.push(Candle {
                open_ns: last.open_ns + step,
                open: price,
                high: price,
                low: price,
                close: price,
                volume: 0,
                quote_volume: 0,
                trades: 0,
            });
        }
        out.push(candle);
    }
    out
}

fn e8(value: i64) -> f64 {
    Decimal::new(value, -8).to_f64()
}

#[track_caller]
fn assert_same(row: &CandleRow, candle: &Candle, is_built: bool, lacks: Lacks) {
    let expected = CandleRow {
        ts: UnixNanos(candle.open_ns),
        open: e8(candle.open),
        high: e8(candle.high),
        low: e8(candle.low),
        close: e8(candle.close),
        volume: e8(candle.volume),
        // Kraken's own candles have none; those built from trades have the exact one, the truth's is rounded.
        quote_volume: if is_built { row.quote_volume } else { (!lacks.quote_volume).then(|| e8(candle.quote_volume)) },
        trades: (!lacks.trades).then(|| i64::try_from(candle.trades).unwrap()),
    };
    assert_eq!(*row, expected);
}

/// Takes rows out of a year file and leaves it as other programs write such files anew: sound, with what it said before of itself
/// where `keeps` says so, and without a word of what is missing. `taken`
/// says of each row whether it goes. Returns how many went.
pub fn punch(file: &Path, keeps: bool, mut taken: impl FnMut() -> bool) -> usize {
    let open = || std::fs::File::open(file).unwrap();
    let metadata = ParquetRecordBatchReaderBuilder::try_new(open()).unwrap().metadata().file_metadata().clone();
    let said = metadata.key_value_metadata().filter(|_| keeps).cloned();
    let properties = WriterProperties::builder().set_key_value_metadata(said).build();
    let rows = metadata.num_rows();
    let selectors: Vec<RowSelector> =
        (0..rows).map(|_| if taken() { RowSelector::skip(1) } else { RowSelector::select(1) }).collect();
    let gone = selectors.iter().filter(|selector| selector.skip).count();
    let reader = ParquetRecordBatchReaderBuilder::try_new(open()).unwrap().with_row_selection(selectors.into());
    let reader = reader.build().unwrap();
    let punched = file.with_extension("punched");
    let mut writer: Option<ArrowWriter<_>> = None;
    for batch in reader.map(Result::unwrap) {
        let create = || {
            ArrowWriter::try_new(std::fs::File::create(&punched).unwrap(), batch.schema(), Some(properties.clone())).unwrap()
        };
        writer.get_or_insert_with(create).write(&batch).unwrap();
    }
    writer.expect("some rows are left").close().unwrap();
    std::fs::rename(punched, file).unwrap();
    gone
}

/// Starts a command and kills it after a while, if it hasn't ended before; says whether it was killed.
pub fn kill_after(place: &Place, args: &[&str], life: Duration) -> bool {
    let mut child: Child = {
        let mut command: Command = place.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let born = std::time::Instant::now();
    while born.elapsed() < life {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}
