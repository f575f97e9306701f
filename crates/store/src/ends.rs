//! Where live series end: what their files hold last, for a recorder that knows nothing of them. Of a series the footers of its
//! newest days are read, of trades and books the last row group of a day's newest files besides.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use dccd_model::{Channel, ExchangeName, SeriesEnd, Symbol, TradeId, UnixNanos};
use tracing::warn;

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
/// Days that are looked at for what numbers go on from, beginning with that in which the series ends.
const DAYS_MAX: usize = 8;

/// The live series of an exchange that have files. Lists directories and reads nothing else.
pub(crate) fn stored_series(data_path: &Path, exchange: &ExchangeName) -> Result<Vec<(Symbol, Channel)>, StoreError> {
    let layout = Layout::new(data_path, exchange);
    let mut series = Vec::new();
    for channel in [Channel::Trades, Channel::Quotes, Channel::Book] {
        let files = names(&data_path.join(exchange.as_str()).join(channel.directory()))?;
        let parts = names(&layout.parts().join(channel.directory()))?;
        let pairs: BTreeSet<String> = files.into_iter().chain(parts).collect();
        series.extend(pairs.iter().filter_map(|pair| Some((Symbol::from_path_name(pair)?, channel))));
    }
    Ok(series)
}

/// Where a live series ends in its files; `None` where it has none. A day of which nothing can be read counts for none, and so does one
/// that hasn't begun yet; where no day can be read, the series ends with the beginning of its newest.
///
/// # Errors
/// When its directories can't be listed.
pub fn series_end(
    data_path: &Path,
    exchange: &ExchangeName,
    symbol: &Symbol,
    channel: Channel,
) -> Result<Option<SeriesEnd>, StoreError> {
    let layout = Layout::new(data_path, exchange);
    let files = data_path.join(exchange.as_str()).join(channel.directory()).join(symbol.path_name());
    let parts = layout.parts().join(channel.directory()).join(symbol.path_name());
    let mut days: BTreeSet<i64> = names(&files)?.iter().filter_map(|name| layout::day_of(name)).collect();
    days.extend(names(&parts)?.iter().filter_map(|label| dccd_model::time::day_from_label(label)));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The exchange's day may have begun a little earlier than ours.
    let last_day = i64::try_from(since.as_secs() / 86_400).unwrap_or(i64::MAX).saturating_add(1);
    days.retain(|day| *day <= last_day);
    Ok(end(&LiveSeries { layout, symbol: symbol.clone(), channel, days }))
}

/// The newest day says when a series ends. What its numbers go on from may be said by an earlier one only.
fn end(series: &LiveSeries) -> Option<SeriesEnd> {
    let mut found: Option<SeriesEnd> = None;
    let mut looks = 0;
    for day in series.days.iter().rev() {
        let files = match series.footers(*day) {
            Ok(DayFooters { files, .. }) => files,
            Err(error) => {
                warn!(symbol = %series.symbol, channel = %series.channel, %error, "a day of a series can't be read; it counts for none");
                continue;
            }
        };
        let Some(ts) = files.iter().filter_map(|(_, info)| end_of(info, *day)).max() else { continue };
        let end = found.get_or_insert_with(|| SeriesEnd { ts, ..SeriesEnd::default() });
        looks += 1;
        if take_numbers(end, series.channel, files) || looks >= DAYS_MAX {
            break;
        }
    }
    // Nothing that is there can be read: what was recorded last isn't known, but that something was.
    found.or_else(|| Some(SeriesEnd { ts: whole_day(*series.days.last()?).from, ..SeriesEnd::default() }))
}

/// Takes from a day's files what a series' numbers go on from; says whether there was anything.
fn take_numbers(end: &mut SeriesEnd, channel: Channel, mut files: Vec<(PathBuf, FileInfo)>) -> bool {
    files.sort_by_key(|(_, info)| Reverse(info.range.map(|(_, last)| last)));
    match channel {
        Channel::Trades => name_trades(end, &files),
        Channel::Book => each_tail::<BookRow>(&files, |rows| {
            end.epoch = end.epoch.max(rows.iter().map(|row| row.epoch).max().unwrap_or_default());
        }),
        Channel::Quotes | Channel::Ohlc => true,
    }
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

/// The last trades of a day, and the highest id that is there or declared; says whether rows were read.
fn name_trades(end: &mut SeriesEnd, files: &[(PathBuf, FileInfo)]) -> bool {
    let declared = files.iter().flat_map(|(_, info)| &info.gaps).filter_map(|gap| gap.ids).map(|(_, last)| last).max();
    end.last_id = end.last_id.max(declared);
    let is_read = each_tail::<TradeRow>(files, |rows| {
        end.last_id = end.last_id.max(rows.iter().filter_map(TradeRow::number).max());
        let last = rows.iter().rev().take(RECENT_MAX).filter(|row| row.id != TradeId(0));
        end.recent.extend(last.map(|row| (row.ts, row.id)));
    });
    end.recent.sort_unstable();
    end.recent.dedup();
    end.recent.drain(..end.recent.len().saturating_sub(RECENT_MAX));
    is_read
}

/// The last rows of the files that reach furthest, which come first; says whether there were any that could be read.
fn each_tail<R: Row>(files: &[(PathBuf, FileInfo)], mut take: impl FnMut(&[R])) -> bool {
    let mut is_read = false;
    for (path, _) in files.iter().filter(|(_, info)| info.rows > 0).take(FILES_MAX) {
        match last_rows(path) {
            Ok(rows) => {
                is_read = true;
                take(&rows);
            }
            Err(error) => warn!(path = %path.display(), %error, "the last rows of a file can't be read; it counts for none"),
        }
    }
    is_read
}

#[cfg(test)]
mod tests {
    use dccd_model::{BookSide, Gap, GapReason};
    use tempfile::TempDir;

    use super::*;
    use crate::CommitMode::{Close, Step};
    use crate::testing::{DAY, Writer, at, tempdir};

    fn ends(dir: &TempDir) -> Vec<(Channel, SeriesEnd)> {
        let exchange = "binance".parse().unwrap();
        let series = stored_series(dir.path(), &exchange).unwrap();
        let end = |(of, channel)| Some((channel, series_end(dir.path(), &exchange, &of, channel).unwrap()?));
        series.into_iter().filter_map(end).collect()
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
        std::fs::write(newest.with_file_name("2024-08-08.parquet"), b"nor this").unwrap();
        let unreadable = SeriesEnd { ts: whole_day(DAY + 1).from, ..SeriesEnd::default() };
        assert_eq!(ends(&dir)[0].1, unreadable, "something was recorded on that day");
    }

    #[test]
    fn numbers_go_on_from_the_newest_day_that_has_any_and_days_to_come_or_unreadable_ones_count_for_none() {
        let dir = tempdir();
        let mut writer = Writer::new(&dir);
        writer.trade(10, 100);
        writer.book(20, 7, true, &[(BookSide::Bid, 99, 1), (BookSide::Ask, 101, 1)]);
        writer.commit(Close);
        let hole = Gap { from: at(20), to: at(86_500), reason: GapReason::Disconnected, repaired: false, ids: None };
        writer.gap(Channel::Trades, &hole);
        writer.gap(Channel::Book, &hole);
        writer.commit(Close);
        let expected = |ends: &[(Channel, SeriesEnd)]| {
            let [(_, trades), (_, book)] = ends else { panic!("{ends:?}") };
            assert_eq!((trades.ts, trades.last_id, ids(trades)), (at(86_500), Some(100), vec![100]));
            assert_eq!((book.ts, book.epoch), (at(86_500), 7));
        };
        expected(&ends(&dir));
        let trades = dir.path().join("binance/trades/BTC-USDT");
        std::fs::copy(trades.join("2024-08-08.parquet"), trades.join("2999-01-01.parquet")).unwrap();
        // What can be neither read nor called damaged.
        std::fs::create_dir(trades.join("2024-08-10.parquet")).unwrap();
        assert!(!FileInfo::read(&trades.join("2024-08-10.parquet")).unwrap_err().is_damage());
        expected(&ends(&dir));
    }
}
