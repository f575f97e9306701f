//! `dccd add` and `dccd remove`: one series of the history jobs, in the configuration file itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use dccd_config::{Change, Config, EditError, EditFileError, Edited, HistoEdit, Loaded, add_histo, edit_file, remove_histo};
use dccd_exchange::{AdapterOptions, Markets};
use dccd_history::KeptMarkets;
use dccd_model::{ExchangeName, Span, Symbol};

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry_if_running, search};
use crate::exit::Failure;
use crate::output::{Out, say};
use crate::{histo, listing};

/// Patience with the exchange's list of markets; without it nothing is checked.
const LIST_DEADLINE: Duration = Duration::from_secs(15);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Exchange, as in binance
    #[arg(long, short, value_name = "X")]
    exchange: ExchangeName,
    /// Market, as in BTC/USDT
    #[arg(long, value_name = "PAIR")]
    pair: Symbol,
    /// Length of a candle: seconds, or a label such as 1h
    #[arg(long, value_name = "SPAN")]
    span: Span,
}

impl Arguments {
    fn edit(&self) -> HistoEdit {
        HistoEdit { exchange: self.exchange.clone(), pair: self.pair.clone(), span: self.span }
    }
}

/// What is to be typed after `add`.
#[derive(Debug, Args)]
pub struct AddArguments {
    #[command(flatten)]
    series: Arguments,
    /// Add it whether or not the exchange lists such a market
    #[arg(long)]
    no_check: bool,
}

/// Adds the series to the job that has its exchange and span, or as a job of its own.
pub fn add(global: &Global, arguments: &AddArguments) -> Result<(), Failure> {
    let before = global.load()?;
    let wanted = arguments.series.edit();
    // What can't be added anyway is said below; nobody need be asked for that.
    if !arguments.no_check && add_histo(before.text.as_str(), &wanted).is_ok() {
        check_listed(&before.config, &wanted)?;
    }
    change(global, &arguments.series, add_histo)
}

/// Refuses a market that its exchange doesn't list: by the list of last time where that is of today and has it, else by the exchange's own,
/// where it can be had.
fn check_listed(config: &Config, wanted: &HistoEdit) -> Result<(), Failure> {
    let HistoEdit { exchange, pair, .. } = wanted;
    let Some(adapter) = dccd_exchange::adapter(exchange.as_str(), &AdapterOptions::default()) else { return Ok(()) };
    let kept = listing::kept(config, exchange);
    let is_known = |kept: &KeptMarkets| kept.is_fresh(&[adapter.rest_of(pair)]) && kept.markets.objection(pair).is_none();
    if kept.as_ref().is_some_and(is_known) {
        return Ok(());
    }
    let fetched = block_on(async {
        let fetching = search::fetch(exchange, adapter.as_ref(), Some(config), kept.as_ref());
        let fetched = tokio::time::timeout(LIST_DEADLINE, fetching).await;
        Ok(fetched.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", LIST_DEADLINE.as_secs()))))
    })?;
    let markets = match (fetched, kept) {
        (Ok(markets), _) => Arc::new(markets),
        (Err(error), Some(kept)) => {
            say(format_args!(
                "warning: {exchange} doesn't list its markets now; those of last time are looked at: {error:#}"
            ));
            kept.markets
        }
        (Err(error), None) => {
            say(format_args!("warning: {exchange} could not be asked whether it has {pair}: {error:#}"));
            return Ok(());
        }
    };
    match (markets.objection(pair), listing::objection(&markets, pair)) {
        (Some(Markets::NOT_LISTED), Some(words)) => {
            Err(anyhow!("{exchange}/{words} (nothing was written; --no-check adds it all the same)").into())
        }
        // Its past may be had.
        (Some(_), Some(words)) => {
            say(format_args!("warning: {exchange}/{words}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Removes the series; what was stored of it stays.
pub fn remove(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    change(global, arguments, remove_histo)
}

fn change(
    global: &Global,
    arguments: &Arguments,
    edit: fn(&str, &HistoEdit) -> Result<Edited, EditError>,
) -> Result<(), Failure> {
    // A file with errors is to be mended before it is edited: they are shown as they always are.
    let before = global.load()?;
    let wanted = arguments.edit();
    let edited = edit_file(&before.path, |text| edit(text, &wanted)).map_err(failure)?;
    let HistoEdit { exchange, pair, span } = &wanted;
    let file = before.path.display();
    let mut out = Out::new();
    match edited.what {
        Change::AppendedPair { line } => out.line(format_args!("added {pair} to the job in line {line} of {file}")),
        Change::NewJob { line } => {
            out.line(format_args!("added a job for {exchange} {pair} {span} in line {line} of {file}"))
        }
        Change::RemovedPair { line } => out.line(format_args!("removed {pair} from the job in line {line} of {file}")),
        Change::RemovedJob { line } => {
            out.line(format_args!("removed {pair} and with it the job that was in line {line} of {file}"))
        }
    }?;
    out.flush()?;
    if matches!(edited.what, Change::RemovedPair { .. } | Change::RemovedJob { .. }) {
        say(format_args!("what is stored of {wanted} stays"));
    }
    for warning in new_warnings(&before, &global.load()?) {
        say(format_args!("warning: {warning}"));
    }
    tell_of_daemon(global)
}

/// What the edit gives to know beyond what was to be known before.
fn new_warnings(before: &Loaded, after: &Loaded) -> Vec<String> {
    let all = |loaded: &Loaded| -> Vec<String> {
        let of_file = loaded.warnings.iter().map(|warning| warning.message.clone());
        of_file.chain(histo::warnings(&loaded.config)).collect()
    };
    let known = all(before);
    all(after).into_iter().filter(|message| !known.contains(message)).collect()
}

fn tell_of_daemon(global: &Global) -> Result<(), Failure> {
    let running = block_on(async {
        let Some(registry) = registry_if_running(global).await? else { return Ok(false) };
        registry.status(DEADLINE).await?;
        Ok(true)
    });
    match running {
        Ok(true) => say("`dccd reload` makes the running daemon take it up"),
        Ok(false) => {}
        // The file is edited; a daemon that doesn't answer doesn't undo that.
        Err(_) => say("a running daemon could not be asked; `dccd reload` makes it take the change up"),
    }
    Ok(())
}

fn failure(error: EditFileError) -> Failure {
    match error {
        // Its message has the cause in it.
        EditFileError::Edit { .. } => anyhow::Error::msg(error.to_string()).into(),
        error => error.into(),
    }
}
