//! `dccd collect`: one incremental batch for each history job, for cron and the impatient.

use clap::Args;
use dccd_history::Scope;

use crate::cli::Global;
use crate::commands::history::{self, Work};
use crate::exit::{self, Failure};
use crate::histo::{self, Selection};
use crate::output::{Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Fetches what came after the last stored candle of each job.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = global.load_aloud()?;
    let config = &loaded.config;
    let series = histo::select(config, &Selection::default())?;
    let work = Work { series, scope: Scope::Tail, parallel: true, kind: "collect" };
    let outcome = history::work(global, config, work)?;
    let failures = outcome.series.iter().filter(|series| series.state != "done").count();
    let successes = outcome.series.len() - failures;
    let mut out = Out::new();
    if arguments.json {
        out.json(&outcome.series)?;
    } else {
        history::table(&outcome.series).print(&mut out)?;
        out.line(format_args!("Done. successes={successes} failures={failures}"))?;
        out.flush()?;
    }
    outcome.say_notes();
    if let Some(reason) = outcome.interrupted {
        say("stopped; what was fetched is stored, and `dccd collect` goes on from there");
        return Err(crate::commands::tail::interrupted(reason));
    }
    if failures > 0 { Err(Failure::Silent(exit::FAILED)) } else { Ok(()) }
}
