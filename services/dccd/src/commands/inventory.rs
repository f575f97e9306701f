//! `dccd inventory`: what is stored, one line a series.

use anyhow::Context as _;
use clap::Args;
use dccd_store::InventoryRow;

use crate::cli::Global;
use crate::commands::{block_on, data_path};
use crate::exit::Failure;
use crate::output::{Listing, Out, bytes, or_dash};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists it; works beside a running daemon and without one.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let data_path = block_on(data_path(global))?;
    let rows =
        dccd_store::inventory(&data_path).with_context(|| format!("cannot read the store {}", data_path.display()))?;
    let mut out = Out::new();
    if arguments.json { out.json(&rows) } else { table(&rows).print(&mut out) }
}

/// The table of series.
pub fn table(rows: &[InventoryRow]) -> Listing {
    let mut listing =
        Listing::new(&["exchange", "pair", "type", "span", "from", "to", ">rows", ">gaps", ">missing", ">size", ">files"]);
    for row in rows {
        listing.row([
            row.exchange.clone(),
            row.pair.clone(),
            row.kind.clone(),
            or_dash(row.span.as_ref()),
            or_dash(row.from.map(to_the_second)),
            or_dash(row.to.map(to_the_second)),
            row.rows.to_string(),
            row.gaps.to_string(),
            or_dash(row.missing),
            bytes(row.bytes),
            row.files.to_string(),
        ]);
    }
    listing
}

/// Files are always UTC, and so is what is said of them.
fn to_the_second(time: dccd_model::UnixNanos) -> String {
    let text = time.to_string();
    text.split(['.', 'Z']).next().unwrap_or_default().to_owned() + "Z"
}
