//! `dccd inventory`: what is stored, one line a series.

use anyhow::Context as _;
use clap::Args;
use dccd_store::InventoryRow;

use crate::cli::Global;
use crate::commands::{block_on, data_path, zone};
use crate::exit::Failure;
use crate::output::{Listing, Out, bytes, instant, or_dash, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Build the coverage map anew from what the files say of themselves; `dccd verify` reads their rows
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists it; works beside a running daemon and without one.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let data_path = block_on(data_path(global))?;
    if arguments.repair {
        let report = dccd_store::repair_coverage(&data_path)
            .with_context(|| format!("cannot build the coverage map of {} anew", data_path.display()))?;
        say(format_args!(
            "read {} files: {} entries of the coverage map were wrong or missing",
            report.files, report.repaired
        ));
    }
    let rows =
        dccd_store::inventory(&data_path).with_context(|| format!("cannot read the store {}", data_path.display()))?;
    for file in rows.iter().flat_map(|row| &row.unreadable) {
        say(format_args!("{} can't be read and counts as a gap; `dccd verify` says what is wrong with it", file.display()));
    }
    if rows.is_empty() {
        say(format_args!("nothing is stored yet in {}", data_path.display()));
    }
    let mut out = Out::new();
    if arguments.json { out.json(&rows) } else { table_in(&rows, &zone(global, None)).print(&mut out) }
}

/// The table of series, times in UTC.
pub fn table(rows: &[InventoryRow]) -> Listing {
    table_in(rows, &jiff::tz::TimeZone::UTC)
}

/// The table of series, times in this zone.
fn table_in(rows: &[InventoryRow], zone: &jiff::tz::TimeZone) -> Listing {
    let mut columns = vec![
        "exchange",
        "pair",
        "type",
        "span",
        "~from",
        "~to",
        ">rows",
        ">gaps",
        "?>missing",
        "?>exchange lacks",
        "?>size",
        "?>files",
    ];
    // Rare enough to take no room otherwise.
    let tells_unreadable = rows.iter().any(|row| !row.unreadable.is_empty());
    if tells_unreadable {
        columns.push(">unreadable");
    }
    let mut listing = Listing::new(&columns);
    let time = |time: Option<dccd_model::UnixNanos>| or_dash(time.map(|time| instant(time.0, zone)));
    for row in rows {
        let mut cells = vec![
            row.exchange.clone(),
            row.pair.clone(),
            row.kind.clone(),
            or_dash(row.span.as_ref()),
            time(row.from),
            time(row.to),
            row.rows.to_string(),
            row.gaps.to_string(),
            or_dash(row.missing),
            row.declared.to_string(),
            bytes(row.bytes),
            row.files.to_string(),
        ];
        if tells_unreadable {
            cells.push(row.unreadable.len().to_string());
        }
        listing.row(cells);
    }
    listing
}
