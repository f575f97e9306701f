//! Quotes: they carry no id in the files, so the stored sequence must be the sent one, less what is declared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dccd_model::Gap;
use dccd_store::QuoteRow;

use super::sent::SentQuote;
use super::{AuditError, SeriesAudit, gaps};

/// Two quotes of the same values can't be told apart, so a hole is known only to within so many rows.
const BLUR_ROWS: usize = 32;

pub(super) fn audit(id: &str, sent: &BTreeMap<u64, SentQuote>, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
    let mut result = SeriesAudit { series: format!("{id}/quotes"), sent: sent.len() as u64, ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut rows: Vec<QuoteRow> = Vec::new();
    for file in files {
        for row in dccd_store::read_quotes(file)? {
            rows.push(row?);
        }
    }
    result.stored = rows.len() as u64;
    let sent: Vec<(&u64, &SentQuote)> = sent.iter().collect();
    let mut next = 0;
    for (index, row) in rows.iter().enumerate() {
        let found = sent[next..].iter().position(|(_, quote)| same(quote, row));
        let Some(skipped) = found else {
            let again = index > 0 && row_values(&rows[index - 1]) == row_values(row);
            if again {
                result.duplicate += 1;
            } else {
                result.wrong += 1;
            }
            result.problem(|| {
                format!("row {index} ({row:?}) was not sent after update {:?}", next.checked_sub(1).map(|n| sent[n].0))
            });
            continue;
        };
        hole(&mut result, &gaps, &rows, index, skipped, || {
            format!(
                "updates {} to {} were sent and are neither stored nor declared",
                sent[next].0,
                sent[next + skipped - 1].0
            )
        });
        next += skipped + 1;
    }
    let rest = sent.len() - next;
    if rest > 0 {
        // A gap is declared by the quote after it, and here there is none.
        result.missing += rest as u64;
        result.problem(|| format!("the last {rest} quotes, from update {}, are not stored", sent[next].0));
    }
    Ok(result)
}

/// Counts quotes that were skipped just before row `index` as declared or missing.
fn hole(
    result: &mut SeriesAudit,
    gaps: &[Gap],
    rows: &[QuoteRow],
    index: usize,
    skipped: usize,
    problem: impl FnOnce() -> String,
) {
    if skipped == 0 {
        return;
    }
    let near = rows[index.saturating_sub(BLUR_ROWS)..rows.len().min(index + BLUR_ROWS)].windows(2);
    let declared =
        near.into_iter().any(|pair| gaps.iter().any(|g| !g.repaired && g.from == pair[0].ts && g.to == pair[1].ts));
    if declared {
        result.declared += skipped as u64;
    } else {
        result.missing += skipped as u64;
        result.problem(problem);
    }
}

fn row_values(row: &QuoteRow) -> SentQuote {
    [row.bid, row.bid_amount, row.ask, row.ask_amount]
}

#[allow(clippy::float_cmp)] // the very same double is asked for
fn same(sent: &SentQuote, row: &QuoteRow) -> bool {
    *sent == row_values(row)
}
