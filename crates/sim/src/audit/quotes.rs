//! Quotes: they carry no id in the files, so the stored sequence must be the sent one, less what is declared.

use std::path::PathBuf;

use dccd_model::Gap;
use dccd_store::QuoteRow;

use super::sent::SentQuote;
use super::{AuditError, SeriesAudit, gaps};

/// Two quotes of the same values can't be told apart, so a hole is known only to within so many rows.
const BLUR_ROWS: usize = 32;

/// A quote in the order in which it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    /// By which it is named: its update, or its time.
    pub label: u64,
    pub quote: SentQuote,
    /// Whether it must be stored; of what was sent a second time, or shown at a beginning, it may.
    pub must: bool,
}

pub(super) fn audit(id: &str, sent: &[Told], files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
    audit_rows(id, sent, false, files)
}

/// The same where a checksum that comes later shows that quotes were wrong: a gap is declared from the last one that was right, and the
/// rows within it say nothing.
pub(super) fn audit_doubted(id: &str, sent: &[Told], files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
    audit_rows(id, sent, true, files)
}

fn audit_rows(id: &str, sent: &[Told], may_doubt: bool, files: &[PathBuf]) -> Result<SeriesAudit, AuditError> {
    let required = |told: &[Told]| told.iter().filter(|told| told.must).count() as u64;
    let mut result = SeriesAudit { series: format!("{id}/quotes"), sent: required(sent), ..SeriesAudit::default() };
    let gaps = gaps(files)?;
    result.count_gaps(&gaps);
    let mut rows: Vec<QuoteRow> = Vec::new();
    for file in files {
        for row in dccd_store::read_quotes(file)? {
            rows.push(row?);
        }
    }
    if may_doubt {
        rows.retain(|row| !gaps.iter().any(|gap| !gap.repaired && gap.from < row.ts && row.ts < gap.to));
    }
    result.stored = rows.len() as u64;
    let mut next = 0;
    for (index, row) in rows.iter().enumerate() {
        let found = sent[next..].iter().position(|told| same(&told.quote, row));
        let Some(skipped) = found else {
            let again = index > 0 && row_values(&rows[index - 1]) == row_values(row);
            if again {
                result.duplicate += 1;
            } else {
                result.wrong += 1;
            }
            result.problem(|| {
                format!("row {index} ({row:?}) was not sent after update {:?}", next.checked_sub(1).map(|n| sent[n].label))
            });
            continue;
        };
        let lost = required(&sent[next..next + skipped]);
        hole(&mut result, &gaps, &rows, index, lost, || {
            let (first, last) = (sent[next].label, sent[next + skipped - 1].label);
            format!("updates {first} to {last} were sent and are neither stored nor declared")
        });
        next += skipped + 1;
    }
    let rest = required(&sent[next..]);
    if rest > 0 {
        // A gap is declared by the quote after it, and here there is none.
        result.missing += rest;
        result.problem(|| format!("the last {rest} quotes, from update {}, are not stored", sent[next].label));
    }
    Ok(result)
}

/// Counts quotes that were skipped just before row `index` as declared or missing.
fn hole(
    result: &mut SeriesAudit,
    gaps: &[Gap],
    rows: &[QuoteRow],
    index: usize,
    lost: u64,
    problem: impl FnOnce() -> String,
) {
    if lost == 0 {
        return;
    }
    let near = rows[index.saturating_sub(BLUR_ROWS)..rows.len().min(index + BLUR_ROWS)].windows(2);
    let declared =
        near.into_iter().any(|pair| gaps.iter().any(|g| !g.repaired && g.from == pair[0].ts && g.to == pair[1].ts));
    if declared {
        result.declared += lost;
    } else {
        result.missing += lost;
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
