//! `dccd gaps`: what is missing, one line a gap.

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_history::is_meant;
use dccd_model::UnixNanos;
use dccd_store::GapRow;

use crate::cli::Global;
use crate::commands::{block_on, data_path, zone};
use crate::exit::Failure;
use crate::output::{Listing, Out, instant, or_dash, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The series, or the beginning of its name: binance/BTC/USDT/trades, binance/BTC/USDT, binance; everything without it
    series: Option<String>,
    /// List those that were made good since, too
    #[arg(long)]
    repaired: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists them; works beside a running daemon and without one.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let data_path = block_on(data_path(global))?;
    let prefix = arguments.series.as_deref().unwrap_or_default();
    let mut is_stored = false;
    let mut rows = dccd_store::gaps(&data_path, |series| {
        let meant = is_meant(&series.to_string(), prefix);
        is_stored |= meant;
        meant
    })
    .with_context(|| format!("cannot read the store {}", data_path.display()))?;
    if !is_stored && !prefix.is_empty() {
        return Err(anyhow!("nothing is stored whose name begins with {prefix}; `dccd inventory` lists what is").into());
    }
    rows.retain(|row| arguments.repaired || !row.repaired);
    let mut out = Out::new();
    if arguments.json {
        return out.json(&rows);
    }
    if rows.is_empty() {
        // What came in the last seconds may not be in any file yet, and its gaps neither.
        say(if is_stored { "no gaps in what is stored" } else { "nothing is stored yet" });
        return Ok(());
    }
    table(&rows, &zone(global, None)).print(&mut out)
}

fn table(rows: &[GapRow], zone: &jiff::tz::TimeZone) -> Listing {
    let mut listing = Listing::new(&["series", "~from", "~to", ">missing", "?>exchange lacks", "reason"]);
    let time = |time: Option<UnixNanos>| or_dash(time.map(|time| instant(time.0, zone)));
    for row in rows {
        let mut reason = row.reason.to_owned();
        if let Some(file) = &row.file {
            reason.push_str(&format!(": {}", file.display()));
        }
        if row.repaired {
            reason.push_str(", repaired");
        }
        listing.row([
            row.series.clone(),
            time(row.from),
            time(row.to),
            or_dash(row.missing),
            row.declared.to_string(),
            reason,
        ]);
    }
    listing
}
