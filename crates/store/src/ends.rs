//! Where live series end: what their files hold last, for a recorder that knows nothing of them. Of each series the footers of its
//! newest day are read, of trades and books the last row group of that day's newest files besides.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dccd_model::{Channel, ExchangeName, SeriesEnd, Symbol, TradeId, UnixNanos};

use crate::catalog::{DayFooters, LiveSeries, names};
use crate::error::StoreError;
use crate::file::last_rows;
use crate::footer::FileInfo;
use crate::layout::{self, Layout};
use crate::recorder::gaps::whole_day;
use crate::rows::{BookRow, Row, TradeRow};

/// Trades that are named: as many as who tells repetitions from new ones remembers at least.
const RECENT_MAX: usize = 64;
/// Files of a day whose last rows are looked at: those that reach furthest.
const FILES_MAX: usize = 4;

/// A series and where it ends.
pub type NamedEnd = (Symbol, Channel, SeriesEnd);

/// As [`crate::Recorder::series_ends`].
pub(crate) fn series_ends(
    data_path: &Path,
    exchange: &ExchangeName,
    mut is_known: impl FnMut(&Symbol, Channel) -> bool,
) -> Result<Vec<NamedEnd>, StoreError> {
    let layout = Layout::new(data_path, exchange);
    let mut ends = Vec::new();
    for channel in [Channel::Trades, Channel::Quotes, Channel::Book] {
        let files = data_path.join(exchange.as_str()).join(channel.directory());
        let parts = layout.parts().join(channel.directory());
        let pairs: BTreeSet<String> = names(&files)?.into_iter().chain(names(&parts)?).collect();
        for symbol in pairs.iter().filter_map(|pair| Symbol::from_path_name(pair)) {
            if is_known(&symbol, channel) {
                continue;
            }
            let day_files = names(&files.join(symbol.path_name()))?;
            let mut days: BTreeSet<i64> = day_files.iter().filter_map(|name| layout::day_of(name)).collect();
            let unmerged = names(&parts.join(symbol.path_name()))?;
            days.extend(unmerged.iter().filter_map(|label| dccd_model::time::day_from_label(label)));
            let series = LiveSeries { layout: layout.clone(), symbol: symbol.clone(), channel, days };
            if let Some(end) = end(&series)? {
                ends.push((symbol, channel, end));
            }
        }
    }
    Ok(ends)
}

/// Where a series ends; `None` where its files hold nothing.
fn end(series: &LiveSeries) -> Result<Option<SeriesEnd>, StoreError> {
    for day in series.days.iter().rev() {
        let DayFooters { mut files, .. } = series.footers(*day)?;
        let Some(ts) = files.iter().filter_map(|(_, info)| end_of(info, *day)).max() else { continue };
        let mut end = SeriesEnd { ts, ..SeriesEnd::default() };
        files.sort_by_key(|(_, info)| Reverse(info.range.map(|(_, last)| last)));
        match series.channel {
            Channel::Trades => name_trades(&mut end, &files)?,
            Channel::Book => each_tail::<BookRow>(&files, |rows| {
                end.epoch = end.epoch.max(rows.iter().map(|row| row.epoch).max().unwrap_or_default());
            })?,
            Channel::Quotes | Channel::Ohlc => {}
        }
        return Ok(Some(end));
    }
    Ok(None)
}

/// Up to when a file says something: its last row, or the end of a gap. That a whole day is declared says nothing of when it was
/// recorded last.
fn end_of(info: &FileInfo, day: i64) -> Option<UnixNanos> {
    let whole = whole_day(day);
    let gaps = info.gaps.iter().filter(|gap| (gap.from, gap.to) != (whole.from, whole.to)).map(|gap| gap.to.max(gap.from));
    // Another program may not say from when to when its rows are.
    let rows = info.range.map(|(_, last)| last).or((info.rows > 0).then_some(whole.from));
    gaps.chain(rows).max()
}

/// The last trades of a day, and the highest id that is there or declared.
fn name_trades(end: &mut SeriesEnd, files: &[(PathBuf, FileInfo)]) -> Result<(), StoreError> {
    end.last_id = files.iter().flat_map(|(_, info)| &info.gaps).filter_map(|gap| gap.ids).map(|(_, last)| last).max();
    each_tail::<TradeRow>(files, |rows| {
        end.last_id = end.last_id.max(rows.iter().filter_map(TradeRow::number).max());
        let last = rows.iter().rev().take(RECENT_MAX).filter(|row| row.id != TradeId(0));
        end.recent.extend(last.map(|row| (row.ts, row.id)));
    })?;
    end.recent.sort_unstable();
    end.recent.dedup();
    end.recent.drain(..end.recent.len().saturating_sub(RECENT_MAX));
    Ok(())
}

/// The last rows of the files that reach furthest, which come first.
fn each_tail<R: Row>(files: &[(PathBuf, FileInfo)], mut take: impl FnMut(&[R])) -> Result<(), StoreError> {
    for (path, _) in files.iter().filter(|(_, info)| info.rows > 0).take(FILES_MAX) {
        match last_rows(path) {
            Err(error) if error.is_damage() => {}
            rows => take(&rows?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dccd_model::{BookSide, Gap, GapReason};
    use tempfile::TempDir;

    use super::*;
    use crate::CommitMode::{Close, Step};
    use crate::testing::{DAY, Writer, at, symbol, tempdir};

    fn ends(dir: &TempDir) -> Vec<(Channel, SeriesEnd)> {
        let ends = series_ends(dir.path(), &"binance".parse().unwrap(), |_, _| false).unwrap();
        ends.into_iter().map(|(_, channel, end)| (channel, end)).collect()
    }

    fn ids(end: &SeriesEnd) -> Vec<u128> {
        end.recent.iter().map(|(_, id)| id.0).collect()
    }

    #[test]
    fn each_series_ends_with_its_last_row_wherever_that_is() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        // Yesterday's ids are no concern, an id may be higher than that of the last row, and parts count.
        writer.trade(-90_000, 5);
        for n in 0..200 {
            writer.trade(100 + i64::try_from(n).unwrap(), 1_000 + n);
        }
        writer.quote(400);
        writer.book(500, 7, true, &[(BookSide::Bid, 99, 1), (BookSide::Ask, 101, 1)]);
        writer.commit(Close);
        writer.trade(299, 1_201);
        writer.trade(301, 1_200);
        writer.book(600, 8, true, &[(BookSide::Bid, 99, 1)]);
        writer.commit(Step);
        let parts = dir.path().join(".dccd/parts/binance");
        assert!(parts.join("trades/BTC-USDT/2024-08-08").exists(), "a part is what is to be read");
        let found = ends(&dir);
        let [(Channel::Trades, trades), (Channel::Quotes, quotes), (Channel::Book, book)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((trades.ts, trades.last_id, ids(trades).len()), (at(301), Some(1_201), RECENT_MAX));
        assert_eq!(ids(trades)[RECENT_MAX - 3..], [1_199, 1_201, 1_200], "by time");
        assert_eq!(*quotes, SeriesEnd { ts: at(400), ..SeriesEnd::default() });
        assert_eq!(*book, SeriesEnd { ts: at(600), epoch: 8, ..SeriesEnd::default() });
        // Of what is known nothing is read.
        let none = series_ends(dir.path(), &"binance".parse().unwrap(), |of, _| *of == symbol()).unwrap();
        assert_eq!(none, []);
        // Without parts the day files are what there is.
        std::fs::remove_dir_all(dir.path().join(".dccd")).unwrap();
        let found = ends(&dir);
        assert_eq!((found[0].1.ts, found[0].1.last_id, found[2].1.epoch), (at(299), Some(1_199), 8));
    }

    #[test]
    fn what_is_declared_behind_the_last_row_is_no_news_and_a_damaged_day_is_no_day() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        writer.trade(10, 100);
        writer.commit(Close);
        let gap = |from, to, ids| Gap { from: at(from), to: at(to), reason: GapReason::Sequence, repaired: false, ids };
        writer.trade(86_410, 200);
        writer.gap(Channel::Trades, &gap(86_410, 86_500, Some((201, 230))));
        writer.quote(20);
        writer.gap(Channel::Quotes, &whole_day(DAY));
        writer.gap(Channel::Quotes, &gap(25, 30, None));
        writer.commit(Close);
        let found = ends(&dir);
        assert_eq!((found[0].1.ts, found[0].1.last_id), (at(86_500), Some(230)));
        assert_eq!(found[1].1.ts, at(30), "that the day is declared doesn't mean that it was recorded to its end");
        let newest = dir.path().join("binance/trades/BTC-USDT/2024-08-09.parquet");
        std::fs::write(&newest, b"not a bit of Parquet").unwrap();
        assert_eq!((ends(&dir)[0].1.ts, ends(&dir)[0].1.last_id), (at(10), Some(100)));
    }
}
