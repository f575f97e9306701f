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

/// `shown` trades may be stored as well, with the values they have there.
pub(super) fn audit(
    id: &str,
    sent: &BTreeMap<u64, SentTrade>,
    shown: &BTreeMap<u64, SentTrade>,
    times: Times,
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
    for (id, trade) in sent {
        match stored.get(id) {
            Some(row) if same(trade, row, times) => {}
            Some(row) => {
                result.wrong += 1;
                result.problem(|| format!("trade {id} was sent as {trade:?} and stored as {row:?}"));
            }
            None => miss(&mut result, &gaps, *id, "was sent"),
        }
    }
    for (id, trade) in shown.iter().filter(|(id, _)| !sent.contains_key(id)) {
        if let Some(row) = stored.get(id).filter(|row| !same(trade, row, times)) {
            result.wrong += 1;
            result.problem(|| format!("trade {id} was shown as {trade:?} and stored as {row:?}"));
        }
    }
    result.fetched = stored.keys().filter(|id| !sent.contains_key(id)).count() as u64;
    // Ids are contiguous, so what nobody was sent is known too.
    if let (Some(first), Some(last)) = (sent.keys().next(), sent.keys().next_back()) {
        for id in *first..=*last {
            if !sent.contains_key(&id) && !stored.contains_key(&id) {
                miss(&mut result, &gaps, id, "happened");
            }
        }
    }
    Ok(result)
}

fn miss(result: &mut SeriesAudit, gaps: &[Gap], id: u64, what: &str) {
    if gaps.iter().any(|g| !g.repaired && g.ids.is_some_and(|(first, last)| (first..=last).contains(&id))) {
        result.declared += 1;
    } else {
        result.missing += 1;
        result.problem(|| format!("trade {id} {what} and is neither stored nor declared"));
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
