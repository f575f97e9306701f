//! Which series and days a store holds, from its directories alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dccd_model::{Channel, ExchangeName, Gap, SeriesId, SeriesKind, Span, Symbol};

use crate::Position;
use crate::candles::{CandleSeriesId, year_of_file};
use crate::error::StoreError;
use crate::footer::FileInfo;
use crate::layout::{self, Layout};
use crate::recorder::gaps::upsert;
use crate::recorder::read_checkpoint;

/// How to learn what a day file says.
pub(crate) type ReadDay<'a> = dyn FnMut(&Path) -> Result<FileInfo, StoreError> + 'a;

/// How often a day is looked at again when a merge takes its parts away meanwhile.
pub(crate) const LOOKS_MAX: usize = 5;

/// What the files of a day say.
#[derive(Debug, Default)]
pub(crate) struct DayFooters {
    pub(crate) files: Vec<(PathBuf, FileInfo)>,
    /// Those that can't be read, and why.
    pub(crate) damaged: Vec<(PathBuf, StoreError)>,
}

/// A live series that has files.
#[derive(Clone, Debug)]
pub(crate) struct LiveSeries {
    pub(crate) layout: Layout,
    pub(crate) symbol: Symbol,
    pub(crate) channel: Channel,
    pub(crate) days: BTreeSet<i64>,
}

impl LiveSeries {
    pub(crate) fn id(&self) -> SeriesId {
        SeriesId {
            exchange: self.layout.exchange.clone(),
            symbol: self.symbol.clone(),
            kind: SeriesKind::Live(self.channel),
        }
    }

    pub(crate) fn day_file(&self, day: i64) -> PathBuf {
        self.layout.day_file(&self.symbol, self.channel, day)
    }

    /// Parts of a day with rows after `merged`, oldest first. A part within another one is left out.
    pub(crate) fn parts(&self, day: i64, merged: Position) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.layout.day_parts(&self.symbol, self.channel, day);
        let mut ranges: Vec<_> = names(&dir)?.iter().filter_map(|name| layout::part_range(name)).collect();
        ranges.sort_unstable_by_key(|(from, to)| (*from, std::cmp::Reverse(*to)));
        let mut reached = merged;
        ranges.retain(|(_, to)| {
            let ahead = *to > reached;
            reached = reached.max(*to);
            ahead
        });
        Ok(ranges.into_iter().map(|(from, to)| dir.join(layout::part_name(from, to))).collect())
    }

    /// Gaps that wait for a file, from the recorder's checkpoint.
    pub(crate) fn open_gaps(&self) -> Result<Vec<Gap>, StoreError> {
        let mut gaps = Vec::new();
        if let Some((notes, _)) = read_checkpoint(&self.layout.checkpoint())? {
            for series in notes.series.iter().filter(|s| s.symbol == self.symbol && s.channel == self.channel) {
                series.gaps.iter().for_each(|gap| upsert(&mut gaps, gap));
            }
        }
        Ok(gaps)
    }

    /// The footers of a day's files that don't overlap, day file first; retried while a merge moves rows from one to another.
    pub(crate) fn footers(&self, day: i64) -> Result<DayFooters, StoreError> {
        self.footers_with(day, &mut |path| FileInfo::read(path))
    }

    /// The same, with another way to learn what a day file says.
    pub(crate) fn footers_with(&self, day: i64, read_day: &mut ReadDay<'_>) -> Result<DayFooters, StoreError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.try_footers(day, read_day) {
                Err(error) if looks < LOOKS_MAX && is_missing(&error) => {}
                other => return other,
            }
        }
    }

    fn try_footers(&self, day: i64, read_day: &mut ReadDay<'_>) -> Result<DayFooters, StoreError> {
        let path = self.day_file(day);
        let mut found = DayFooters::default();
        let mut merged = Position(0);
        match read_day(&path) {
            Ok(info) => {
                merged = info.position;
                found.files.push((path, info));
            }
            Err(error) if is_missing(&error) => {}
            Err(error) if error.is_damage() => found.damaged.push((path, error)),
            Err(error) => return Err(error),
        }
        for part in self.parts(day, merged)? {
            match FileInfo::read(&part) {
                Ok(info) => found.files.push((part, info)),
                Err(error) if error.is_damage() => found.damaged.push((part, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// Whether a file was not there.
pub(crate) fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// Candles of one span, with their year files.
#[derive(Clone, Debug)]
pub(crate) struct CandleSeries {
    pub(crate) id: CandleSeriesId,
    /// Ascending by year.
    pub(crate) files: Vec<PathBuf>,
}

/// All series that have files, ordered by exchange, type and symbol.
pub(crate) fn live_series(data_path: &Path) -> Result<Vec<LiveSeries>, StoreError> {
    let mut found: Vec<LiveSeries> = Vec::new();
    for exchange in exchanges(data_path)? {
        let layout = Layout::new(data_path, &exchange);
        let mut checkpointed = read_checkpoint(&layout.checkpoint())?.map(|(notes, _)| notes.series).unwrap_or_default();
        checkpointed.retain(|s| !s.gaps.is_empty());
        for channel in [Channel::Trades, Channel::Quotes, Channel::Book] {
            let root = data_path.join(exchange.as_str()).join(channel.directory());
            let mut pairs: BTreeSet<Symbol> = names(&root)?.iter().filter_map(|name| Symbol::from_path_name(name)).collect();
            // A series that has nothing but gaps so far.
            pairs.extend(checkpointed.iter().filter(|s| s.channel == channel).map(|s| s.symbol.clone()));
            for symbol in pairs {
                let days = names(&root.join(symbol.path_name()))?;
                let days = days.iter().filter_map(|name| layout::day_of(name)).collect();
                found.push(LiveSeries { layout: layout.clone(), symbol, channel, days });
            }
        }
    }
    Ok(found)
}

/// The highest journal position that a file of this exchange says it has rows up to: day files of all days, and parts. A
/// journal that begins anew has to begin past it ([`crate::JournalOptions::at_least`]), so that no position is used twice.
/// Files that can't be read say nothing.
///
/// # Errors
/// [`StoreError::Io`] when a directory can't be listed.
pub fn durable_position(data_path: &Path, exchange: &ExchangeName) -> Result<Position, StoreError> {
    let layout = Layout::new(data_path, exchange);
    let mut highest = Position(0);
    for channel in [Channel::Trades, Channel::Quotes, Channel::Book] {
        let root = data_path.join(exchange.as_str()).join(channel.directory());
        for pair in names(&root)? {
            for name in names(&root.join(&pair))?.iter().filter(|name| layout::day_of(name).is_some()) {
                let position = FileInfo::read(&root.join(&pair).join(name)).map(|info| info.position);
                highest = highest.max(position.unwrap_or_default());
            }
        }
        let parts = layout.parts().join(channel.directory());
        for pair in names(&parts)? {
            for day in names(&parts.join(&pair))? {
                let ranges = names(&parts.join(&pair).join(&day))?;
                let reached = ranges.iter().filter_map(|name| layout::part_range(name)).map(|(_, to)| to).max();
                highest = highest.max(reached.unwrap_or_default());
            }
        }
    }
    Ok(highest)
}

/// All candles, those that are only staged so far too; ordered by exchange, symbol and span.
pub(crate) fn candle_series(data_path: &Path) -> Result<Vec<CandleSeries>, StoreError> {
    let mut found = BTreeSet::new();
    for root in [data_path.to_owned(), data_path.join(".dccd").join("parts")] {
        for exchange in names(&root)?.iter().filter_map(|name| name.parse::<ExchangeName>().ok()) {
            let root = root.join(exchange.as_str()).join(Channel::Ohlc.directory());
            for pair in names(&root)? {
                let Some(symbol) = Symbol::from_path_name(&pair) else { continue };
                let spans = names(&root.join(&pair))?;
                for span in spans.iter().filter_map(|label| label.parse::<Span>().ok()) {
                    found.insert(CandleSeriesId { exchange: exchange.clone(), symbol: symbol.clone(), span });
                }
            }
        }
    }
    let files = |id: &CandleSeriesId| {
        let dir = layout::candle_dir(data_path, id);
        let names = names(&dir)?;
        Ok(names.iter().filter(|name| year_of_file(name).is_some()).map(|name| dir.join(name)).collect())
    };
    found.into_iter().map(|id| files(&id).map(|files| CandleSeries { id, files })).collect()
}

/// Exchanges with files, or with a recorder's state.
fn exchanges(data_path: &Path) -> Result<BTreeSet<ExchangeName>, StoreError> {
    let mut all = names(data_path)?;
    all.extend(names(&data_path.join(".dccd").join("state"))?);
    Ok(all.iter().filter_map(|name| name.parse().ok()).collect())
}

pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    layout::names(dir).map_err(|e| StoreError::io("list", dir, e))
}
