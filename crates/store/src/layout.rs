//! Where everything lies under a data path. Pure.

use std::path::{Path, PathBuf};

use dccd_model::time::{day_from_label, day_label};
use dccd_model::{Channel, ExchangeName, Symbol};

use crate::Position;
use crate::candles::CandleSeriesId;

/// The paths of one exchange's part of a store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) data_path: PathBuf,
    pub(crate) exchange: ExchangeName,
}

impl Layout {
    pub(crate) fn new(data_path: &Path, exchange: &ExchangeName) -> Self {
        Self { data_path: data_path.to_owned(), exchange: exchange.clone() }
    }

    fn own(&self) -> PathBuf {
        self.data_path.join(".dccd")
    }

    /// `<exchange>/trades/BTC-USDT`, the same under the data path, the parts and the quarantine.
    fn series(&self, symbol: &Symbol, channel: Channel) -> PathBuf {
        Path::new(self.exchange.as_str()).join(channel.directory()).join(symbol.path_name())
    }

    /// Where a live series' day files are.
    pub(crate) fn series_dir(&self, symbol: &Symbol, channel: Channel) -> PathBuf {
        self.data_path.join(self.series(symbol, channel))
    }

    pub(crate) fn day_file(&self, symbol: &Symbol, channel: Channel, day: i64) -> PathBuf {
        self.series_dir(symbol, channel).join(format!("{}.parquet", day_label(day)))
    }

    /// All parts of this exchange: `<type>/<PAIR>/<day>/<from>-<to>.parquet`.
    pub(crate) fn parts(&self) -> PathBuf {
        self.own().join("parts").join(self.exchange.as_str())
    }

    pub(crate) fn day_parts(&self, symbol: &Symbol, channel: Channel, day: i64) -> PathBuf {
        self.own().join("parts").join(self.series(symbol, channel)).join(day_label(day))
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.own().join("state").join(self.exchange.as_str()).join("recorder.bin")
    }

    /// Files being written, on the file system they are renamed within.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.own().join("tmp").join(self.exchange.as_str())
    }
}

/// The directory of a series of candles' year files. dccd 3.x (Python) names spans that it has no label for by their seconds; a directory
/// of that name is used where there is one.
pub(crate) fn candle_dir(data_path: &Path, id: &CandleSeriesId) -> PathBuf {
    let pair = data_path.join(id.exchange.as_str()).join(Channel::Ohlc.directory()).join(id.symbol.path_name());
    let labelled = pair.join(id.span.to_string());
    let by_seconds = pair.join(format!("{}s", id.span.as_secs()));
    if !labelled.is_dir() && by_seconds.is_dir() { by_seconds } else { labelled }
}

/// What is ours alone of a series of candles: its stage, its lock, files being written.
pub(crate) fn candle_stage_dir(data_path: &Path, id: &CandleSeriesId) -> PathBuf {
    let series = Path::new(id.exchange.as_str()).join(Channel::Ohlc.directory()).join(id.symbol.path_name());
    data_path.join(".dccd").join("parts").join(series).join(id.span.to_string())
}

/// Where files go that do not verify.
pub(crate) fn quarantine(data_path: &Path) -> PathBuf {
    data_path.join(".dccd").join("quarantine")
}

/// The name of a part that holds rows of entries after `from`, up to `to`.
pub(crate) fn part_name(from: Position, to: Position) -> String {
    format!("{:020}-{:020}.parquet", from.0, to.0)
}

/// The inverse of [`part_name`].
pub(crate) fn part_range(name: &str) -> Option<(Position, Position)> {
    let (from, to) = name.strip_suffix(".parquet")?.split_once('-')?;
    Some((Position(from.parse().ok()?), Position(to.parse().ok()?)))
}

/// The day of a day file's name.
pub(crate) fn day_of(name: &str) -> Option<i64> {
    day_from_label(name.strip_suffix(".parquet")?)
}

/// Names in a directory, sorted; none when it isn't there.
pub(crate) fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
