//! `dccd backfill`: fills every hole of the history jobs' series. A running daemon does it; without one this process does.

use anyhow::anyhow;
use clap::Args;
use dccd_config::{Config, Moment};
use dccd_history::{Cancel, Plan, Scope};
use dccd_model::{ExchangeName, Span, Symbol, UnixNanos};

use crate::cli::Global;
use crate::commands::block_on;
use crate::commands::history::{self, Outcome, Work};
use crate::exit::{self, Failure};
use crate::histo::{self, ByExchange, Selection};
use crate::output::{Listing, Out, instant, or_dash, say, seconds};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// At this exchange alone
    #[arg(long, short, value_name = "X")]
    exchange: Option<ExchangeName>,
    /// Of these markets alone
    #[arg(long, num_args = 1.., value_name = "PAIR")]
    pairs: Vec<Symbol>,
    /// Of this span alone, e.g. 1h or 3600; with --exchange and --pairs, series that no job names, too
    #[arg(long, value_name = "SPAN")]
    span: Option<Span>,
    /// From this date on, instead of from where the job says
    #[arg(long, value_name = "DATE", value_parser = moment)]
    start: Option<Moment>,
    /// Up to this date [default: now]
    #[arg(long, value_name = "DATE", value_parser = moment)]
    end: Option<Moment>,
    /// Work on several markets at the same time, under the exchange's one limit
    #[arg(long)]
    parallel: bool,
    /// Only print what would be done: windows, requests, weight and time for each series
    #[arg(long)]
    dry_run: bool,
    /// List the backfills that are remembered, and how far they are
    #[arg(long, conflicts_with_all = ["pairs", "span", "start", "end", "parallel", "dry_run", "cancel"])]
    list: bool,
    /// End the running backfill of this id; what it has fetched is stored
    #[arg(long, value_name = "ID", conflicts_with_all = ["pairs", "span", "start", "end", "parallel", "dry_run"])]
    cancel: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads a date or a date and time.
pub fn moment(text: &str) -> Result<Moment, String> {
    Moment::from_text(text).ok_or_else(|| "expected a date such as 2020-01-01, or 2020-01-01T12:00:00Z".to_owned())
}

/// The moment in the configured zone.
fn instant_of(moment: Option<Moment>, config: &Config) -> Result<Option<UnixNanos>, Failure> {
    let instant = |moment: Moment| {
        moment.instant(&config.settings.timezone).ok_or_else(|| anyhow!("the date is outside of the years 1678 to 2261"))
    };
    Ok(moment.map(instant).transpose()?)
}

impl Arguments {
    /// Whether a daemon is only asked what it does, or told to end it.
    pub fn asks_only(&self) -> bool {
        self.list || self.cancel.is_some()
    }
}

/// Does it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.list {
        return history::list(global, arguments.exchange.as_ref(), arguments.json);
    }
    if let Some(id) = &arguments.cancel {
        return history::cancel(global, id);
    }
    let loaded = global.load_aloud()?;
    let config = &loaded.config;
    let selection = Selection {
        exchange: arguments.exchange.clone(),
        pairs: arguments.pairs.clone(),
        span: arguments.span,
        start: instant_of(arguments.start, config)?,
        end: instant_of(arguments.end, config)?,
    };
    if let (Some(start), Some(end)) = (selection.start, selection.end)
        && start >= end
    {
        return Err(Failure::message(exit::USAGE, "--start is not before --end"));
    }
    let series = histo::select(config, &selection)?;
    if arguments.dry_run {
        return dry_run(config, &series, arguments.json);
    }
    let work = Work { series, scope: Scope::Everything, parallel: arguments.parallel, kind: "backfill" };
    let outcome = history::work(global, config, work)?;
    finish(&outcome, arguments.json)
}

/// Shows how it went; code 1 when something is still missing.
pub fn finish(outcome: &Outcome, json: bool) -> Result<(), Failure> {
    let mut out = Out::new();
    if json {
        out.json(&outcome.series)?;
    } else {
        history::table(&outcome.series).print(&mut out)?;
    }
    outcome.say_notes();
    if let Some(reason) = outcome.interrupted {
        say("stopped; what was fetched is stored, and `dccd backfill` goes on from there");
        return Err(crate::commands::tail::interrupted(reason));
    }
    let failed = outcome.series.iter().filter(|series| series.state != "done").count();
    if failed > 0 {
        return Err(anyhow!(
            "{failed} of {} series could not be made whole; run `dccd backfill` again: it asks only for what is missing",
            outcome.series.len()
        )
        .into());
    }
    Ok(())
}

/// Shows what would be done.
pub fn dry_run(config: &Config, series: &ByExchange, json: bool) -> Result<(), Failure> {
    let plans = block_on(plans(config, series))?;
    let mut out = Out::new();
    if json {
        out.json(&plans)?;
    } else {
        table(&plans, &config.settings.timezone.rules()).print(&mut out)?;
        for plan in &plans {
            for note in plan.notes.iter().chain(&plan.error) {
                say(format_args!("{}: {note}", plan.job));
            }
        }
    }
    if plans.iter().any(|plan| plan.error.is_some()) {
        return Err(Failure::Silent(exit::FAILED));
    }
    Ok(())
}

async fn plans(config: &Config, series: &ByExchange) -> Result<Vec<Plan>, Failure> {
    let mut plans = Vec::new();
    for (exchange, wanted) in series {
        let ctx = histo::context(config, exchange, config.data_path(), Cancel::default())?;
        let symbols: Vec<Symbol> = wanted.iter().map(|wanted| wanted.symbol.clone()).collect();
        let markets = dccd_history::markets(&ctx.source, &ctx.data_path, &ctx.exchange, &symbols, &ctx.cancel).await?;
        for wanted in wanted {
            plans.push(dccd_history::plan(&ctx, &markets, wanted).await);
        }
    }
    Ok(plans)
}

fn table(plans: &[Plan], zone: &jiff::tz::TimeZone) -> Listing {
    let mut listing = Listing::new(&["series", "~from", "~to", ">holes", ">candles", ">windows", ">weight", ">time"]);
    let time = |time: Option<UnixNanos>| or_dash(time.map(|time| instant(time.0, zone)));
    for plan in plans {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds for people")]
        let estimate = plan.seconds.ceil() as u64;
        listing.row([
            plan.job.clone(),
            time(plan.from),
            time(plan.to),
            plan.holes.to_string(),
            plan.candles.to_string(),
            plan.requests.to_string(),
            plan.weight.to_string(),
            seconds(estimate),
        ]);
    }
    listing
}
