//! `dccd verify`: reads the files back and says what is not as it should be.

use anyhow::Context as _;
use clap::Args;
use dccd_store::{LockError, StoreLock, VerifyReport};
use serde::Serialize;

use crate::cli::Global;
use crate::commands::{block_on, data_path};
use crate::exit::{self, Failure};
use crate::output::{Listing, Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The series, or the beginning of its name: binance/BTC/USDT; everything without it
    series: Option<String>,
    /// Move damaged files to <data_path>/.dccd/quarantine; dccd must not be running
    #[arg(long)]
    quarantine: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `verify --json`.
#[derive(Serialize)]
struct Verified<'a> {
    clean: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

/// Verifies; code 1 when something is wrong.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let data_path = block_on(data_path(global))?;
    // Whoever writes the store moves damaged files away by himself.
    let _lock = if arguments.quarantine { Some(lock(&data_path)?) } else { None };
    let report = dccd_store::verify(&data_path, arguments.series.as_deref())
        .with_context(|| format!("cannot read the store {}", data_path.display()))?;
    if report.series.is_empty()
        && let Some(series) = &arguments.series
    {
        return Err(
            anyhow::anyhow!("nothing is stored whose name begins with {series}; dccd inventory lists what is").into()
        );
    }
    if report.series.is_empty() {
        say(format_args!("nothing is stored yet in {}", data_path.display()));
    }
    let mut out = Out::new();
    if arguments.json {
        out.json(&Verified { clean: report.is_clean(), report: &report })?;
    } else {
        print(&report, &mut out)?;
    }
    if arguments.quarantine {
        for path in report.quarantine(&data_path)? {
            say(format_args!("moved aside: {}", path.display()));
        }
    }
    if report.is_clean() {
        return Ok(());
    }
    let count: u64 = report.series.iter().map(|series| series.findings.len() as u64 + series.more_findings).sum();
    say(format_args!("{count} problem{} found", if count == 1 { "" } else { "s" }));
    Err(Failure::Silent(exit::FAILED))
}

fn lock(data_path: &std::path::Path) -> Result<StoreLock, Failure> {
    StoreLock::acquire_alone(data_path).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(exit::ALREADY_RUNNING, error),
        error => error.into(),
    })
}

fn print(report: &VerifyReport, out: &mut Out) -> Result<(), Failure> {
    let mut listing = Listing::new(&["series", ">files", ">rows", ">gaps", "verdict"]);
    for series in &report.series {
        let wrong = series.findings.len() as u64 + series.more_findings;
        listing.row([
            series.series.clone(),
            series.files.to_string(),
            series.rows.to_string(),
            series.gaps.to_string(),
            if wrong == 0 { "good".to_owned() } else { format!("{wrong} wrong") },
        ]);
    }
    listing.print(out)?;
    for series in &report.series {
        for finding in &series.findings {
            out.line(format_args!("{}: {}", finding.file.display(), finding.problem))?;
        }
        if series.more_findings > 0 {
            out.line(format_args!("{}: and {} more", series.series, series.more_findings))?;
        }
    }
    out.flush()
}
