//! Taking damaged files of a day out of the store while no recorder runs, with the loss declared in their place.

use std::path::PathBuf;

use dccd_model::{Channel, Symbol, UnixNanos};

use super::day::{Context, Day};
use super::gaps::{OpenGaps, whole_day};
use super::{CommitMode, RecorderOptions};
use crate::Position;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::layout::Layout;
use crate::rows::{BookRow, QuoteRow, Row, TradeRow};

/// Writes a day's file anew from what of its files is sound, declares the whole day, and gives the damaged ones to the
/// quarantine. Returns where they went.
pub(crate) fn declare_lost(
    layout: &Layout,
    symbol: &Symbol,
    channel: Channel,
    day: i64,
    contiguous_ids: bool,
) -> Result<Vec<PathBuf>, StoreError> {
    match channel {
        Channel::Trades => declare::<TradeRow>(layout, symbol, day, contiguous_ids),
        Channel::Quotes => declare::<QuoteRow>(layout, symbol, day, contiguous_ids),
        Channel::Book => declare::<BookRow>(layout, symbol, day, contiguous_ids),
        Channel::Ohlc => Ok(Vec::new()),
    }
}

fn declare<R: Row>(layout: &Layout, symbol: &Symbol, day: i64, contiguous_ids: bool) -> Result<Vec<PathBuf>, StoreError> {
    let mut gaps = OpenGaps::default();
    gaps.add(&whole_day(day));
    let (mut files, mut quarantined) = (0, Vec::new());
    let mut ctx = Context {
        disk: &mut Disk::open(layout.temporary())?,
        layout,
        symbol,
        options: &RecorderOptions { contiguous_ids, ..RecorderOptions::default() },
        mode: CommitMode::Close,
        clock: UnixNanos::UNKNOWN,
        // The checkpoint is not looked at: rows are compared with each other, whatever their positions.
        inherited: Position(u64::MAX),
        files: &mut files,
        quarantined: &mut quarantined,
    };
    Day::<R>::default().commit(&mut ctx, day, &mut gaps)?;
    Ok(quarantined)
}
