//! `dccd convert`: candle files of dccd 2.x (Python) into the form of today, the originals kept.

use std::path::PathBuf;

use clap::Args;
use dccd_store::StoreLock;

use crate::cli::Global;
use crate::commands::{block_on, data_path};
use crate::exit::Failure;
use crate::output::{Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the originals are kept [default: <data_path>/.dccd/legacy]
    #[arg(long, value_name = "DIRECTORY")]
    copy_to: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Converts them; dccd must not be running.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let data_path = block_on(data_path(global))?;
    let _lock = StoreLock::acquire_alone(&data_path)?;
    let copy_to = arguments.copy_to.clone().unwrap_or_else(|| data_path.join(".dccd").join("legacy"));
    let report = dccd_store::convert_legacy(&data_path, &copy_to)?;
    let mut out = Out::new();
    if arguments.json {
        return out.json(&report);
    }
    for file in &report.converted {
        out.line(format_args!("{}: {} candles; the original is {}", file.file.display(), file.rows, file.copy.display()))?;
        if file.made_up > 0 {
            say(format_args!("{}: {} rows that dccd 2.x had made up are left out", file.file.display(), file.made_up));
        }
    }
    out.line(format_args!("converted {} files; {} need no conversion", report.converted.len(), report.others))?;
    out.flush()
}
