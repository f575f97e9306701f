//! Trades: by id, each exactly once with its values, or declared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dccd_model::{Gap, Side, UnixNanos};
use dccd_store::TradeRow;

use super::sent::SentTrade;
use super::{AuditError, SeriesAudit, gaps};

/// How the exchange's times come to be those of the files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    /// As they are in the message, or cut to the millisecond where the trade came by REST.
    Message,
    /// Cut to the microsecond in the message; over REST rounded in a double.
    Rounded,
}

/// How ids count the trades of a market.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    /// The place of the trade with this id among all.
    pub place: fn(u64) -> u64,
    /// The id of the trade at this place.
    pub id: fn(u64) -> u64,
    /// Whether a gap that names no ids declares what was traded in its time.
    pub by_time: bool,
}

/// Ids are places.
const CONTIGUOUS: Count = Count { place: |id| id, id: |place| place, by_time: false };

/// `shown` trades may be stored as well, with the values they have there.
pub(super) fn audit(
    id: &str,
    sent: &BTreeMap<u64, SentTrade>,
    shown: &BTreeMap<u64, SentTrade>,
    times: Times,
    files: &[PathBuf],
) -> Result<SeriesAudit, AuditError> {
    audit_counted(id, (sent, shown), times, CONTIGUOUS, files)
}

/// The same where ids have holes that are no gaps.
pub(super) fn audit_counted(
    id: &str,
    (sent, shown): (&BTreeMap<u64, SentTrade>, &BTreeMap<u64, SentTrade>),
    times: Times,
    count: Count,
    files: &[PathBuf],
) -> Result<SeriesAudit, AuditError> {
    let mut result = SeriesAudit { series: format!("{id}/trades"), sent: sent.len() as u64, ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut stored: BTreeMap<u64, TradeRow> = BTreeMap::new();
    for file in files {
        for row in dccd_store::read_trades(file)? {
            let row = row?;
            let id = u64::try_from(row.id.0).unwrap_or(u64::MAX);
            if stored.insert(id, row).is_some() {
                result.duplicate += 1;
                result.problem(|| format!("trade {id} is stored twice"));
            }
        }
    }
    result.stored = stored.len() as u64;
    let gaps = Gaps { gaps, times: known_times(sent, &stored), by_time: count.by_time };
    for (id, trade) in sent {
        match stored.get(id) {
            Some(row) if same(trade, row, times) => {}
            Some(row) => {
                result.wrong += 1;
                result.problem(|| format!("trade {id} was sent as {trade:?} and stored as {row:?}"));
            }
            None => gaps.miss(&mut result, *id, "was sent"),
        }
    }
    for (id, trade) in shown.iter().filter(|(id, _)| !sent.contains_key(id)) {
        if let Some(row) = stored.get(id).filter(|row| !same(trade, row, times)) {
            result.wrong += 1;
            result.problem(|| format!("trade {id} was shown as {trade:?} and stored as {row:?}"));
        }
    }
    result.fetched = stored.keys().filter(|id| !sent.contains_key(id)).count() as u64;
    // Places are contiguous, so what nobody was sent is known too.
    if let (Some(first), Some(last)) = (sent.keys().next(), sent.keys().next_back()) {
        for id in ((count.place)(*first)..=(count.place)(*last)).map(count.id) {
            if !sent.contains_key(&id) && !stored.contains_key(&id) {
                gaps.miss(&mut result, id, "happened");
            }
        }
    }
    Ok(result)
}

/// When which trade was, as far as that is known.
fn known_times(sent: &BTreeMap<u64, SentTrade>, stored: &BTreeMap<u64, TradeRow>) -> BTreeMap<u64, UnixNanos> {
    let sent = sent.iter().map(|(id, trade)| (*id, time(trade.time)));
    stored.iter().map(|(id, row)| (*id, row.ts)).chain(sent).collect()
}

/// What was declared.
struct Gaps {
    gaps: Vec<Gap>,
    times: BTreeMap<u64, UnixNanos>,
    by_time: bool,
}

impl Gaps {
    fn declare(&self, id: u64) -> bool {
        let mut open = self.gaps.iter().filter(|gap| !gap.repaired);
        if !self.by_time {
            return open.any(|gap| gap.ids.is_some_and(|(first, last)| (first..=last).contains(&id)));
        }
        // One that nobody was sent was between those before and after it.
        let from = self.times.range(..=id).next_back().map_or(UnixNanos(i64::MIN), |known| *known.1);
        let to = self.times.range(id..).next().map_or(UnixNanos(i64::MAX), |known| *known.1);
        open.any(|gap| match gap.ids {
            Some((first, last)) => (first..=last).contains(&id),
            None => gap.from <= to && gap.to >= from,
        })
    }

    fn miss(&self, result: &mut SeriesAudit, id: u64, what: &str) {
        if self.declare(id) {
            result.declared += 1;
        } else {
            result.missing += 1;
            result.problem(|| format!("trade {id} {what} and is neither stored nor declared"));
        }
    }
}

/// A time of the message in ms or µs: which of the two shows in its size.
fn time(message: i64) -> UnixNanos {
    if message < 100_000_000_000_000 { UnixNanos::from_millis(message) } else { UnixNanos::from_micros(message) }
}

#[allow(clippy::float_cmp)] // the very same double is asked for
fn same(sent: &SentTrade, row: &TradeRow, times: Times) -> bool {
    let side = if sent.buyer_is_maker { Side::Sell } else { Side::Buy };
    // A trade that was sent and lost on the way comes back by REST, where times are in ms.
    let ts = time(sent.time);
    let time_ok = match times {
        Times::Message => row.ts == ts || row.ts == UnixNanos::from_millis(ts.as_millis()),
        Times::Rounded => (-1_000..2_000).contains(&(row.ts.0 - ts.0)),
    };
    row.price == sent.price && row.amount == sent.amount && row.side == side && time_ok
}
