//! The history jobs of a configuration, and what is needed to work on them: shared by the services' roles and the commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use dccd_config::{Config, ExchangeConfig, HistoJob, HistorySource};
use dccd_exchange::AdapterOptions;
use dccd_history::{Attempts, Cancel, CandleSource, HistoryContext, RestAddresses, RestClients, Source, Wanted};
use dccd_model::{Channel, ExchangeName, Span, Symbol, UnixNanos};
use dccd_net::SystemClock;

use crate::exit::{self, Failure};

/// Series by their exchange.
pub type ByExchange = BTreeMap<ExchangeName, Vec<Wanted>>;

/// All series of the configuration's history jobs, of exchanges whose history this version fetches.
pub fn jobs(config: &Config) -> ByExchange {
    let mut series = ByExchange::new();
    for job in config.histo_jobs.iter().filter(|job| has_history(&job.exchange)) {
        for symbol in &job.pairs {
            let wanted = series.entry(job.exchange.clone()).or_default();
            if !wanted.iter().any(|w| w.symbol == *symbol && w.span == job.span) {
                wanted.push(of_job(config, job, symbol));
            }
        }
    }
    series
}

/// What of the history jobs can't be had, in words, as far as that shows without asking an exchange.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for (exchange, wanted) in jobs(config) {
        let Some(adapter) = dccd_exchange::adapter(exchange.as_str(), &AdapterOptions::default()) else { continue };
        let refused = wanted.iter().filter_map(|wanted| dccd_history::check_offered(adapter.as_ref(), wanted).err());
        warnings.extend(refused.map(|error| format!("histo_jobs: {error}")));
    }
    for exchange in config.collected_exchanges() {
        let Some(adapter) = dccd_exchange::adapter(exchange.as_str(), &AdapterOptions::default()) else { continue };
        let books = config.live_jobs(&exchange).filter(|job| job.channels.contains(&Channel::Book));
        let Some(wanted) = books.map(|job| job.depth).max() else { continue };
        let depth = adapter.facts().depths.of(wanted);
        // The default is as deep as most exchanges go; who has not asked for it needn't hear that one goes less deep.
        if depth != wanted && wanted != dccd_config::DEPTH_DEFAULT {
            warnings.push(format!("stream_jobs: {exchange} has no books of {wanted} levels a side: they are {depth} deep"));
        }
    }
    warnings
}

/// Whether this version fetches the history of an exchange.
pub fn has_history(exchange: &ExchangeName) -> bool {
    dccd_exchange::adapter(exchange.as_str(), &AdapterOptions::default()).is_some_and(|a| a.history().is_some())
}

fn of_job(config: &Config, job: &HistoJob, symbol: &Symbol) -> Wanted {
    Wanted {
        symbol: symbol.clone(),
        span: job.span,
        start: job.start.and_then(|start| start.instant(&config.settings.timezone)),
        end: None,
        source: candle_source(job.source),
        attempts: Attempts { max: job.max_retries, delay: job.retry_delay, ..Attempts::default() },
    }
}

fn candle_source(source: HistorySource) -> CandleSource {
    match source {
        HistorySource::Auto => CandleSource::Auto,
        HistorySource::Candles => CandleSource::Candles,
        HistorySource::Trades => CandleSource::Trades,
    }
}

/// Which series a command is for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this exchange alone.
    pub exchange: Option<ExchangeName>,
    /// Of these markets alone.
    pub pairs: Vec<Symbol>,
    /// Of this span; with an exchange and markets, series that no job names, too.
    pub span: Option<Span>,
    /// From here on, instead of from where the job says.
    pub start: Option<UnixNanos>,
    /// Up to here.
    pub end: Option<UnixNanos>,
}

/// The series of the configuration that a command is for.
///
/// # Errors
/// When there is none, with what there is.
pub fn select(config: &Config, selection: &Selection) -> Result<ByExchange, Failure> {
    let mut series = jobs(config);
    series.retain(|exchange, wanted| {
        wanted.retain(|wanted| {
            (selection.pairs.is_empty() || selection.pairs.contains(&wanted.symbol))
                && selection.span.is_none_or(|span| span == wanted.span)
        });
        selection.exchange.as_ref().is_none_or(|name| name == exchange) && !wanted.is_empty()
    });
    if let (Some(exchange), Some(span)) = (&selection.exchange, selection.span) {
        for symbol in &selection.pairs {
            let known = series.entry(exchange.clone()).or_default();
            if !known.iter().any(|wanted| wanted.symbol == *symbol) {
                known.push(Wanted {
                    symbol: symbol.clone(),
                    span,
                    start: None,
                    end: None,
                    source: CandleSource::Auto,
                    attempts: Attempts::default(),
                });
            }
        }
        series.retain(|_, wanted| !wanted.is_empty());
    }
    for wanted in series.values_mut().flatten() {
        wanted.start = selection.start.or(wanted.start);
        wanted.end = selection.end;
    }
    if series.is_empty() {
        return Err(nothing(config, selection));
    }
    if let Some(exchange) = series.keys().find(|exchange| !has_history(exchange)) {
        return Err(anyhow!("this version can't fetch the history of {exchange}; it can for {}", with_history()).into());
    }
    Ok(series)
}

fn with_history() -> String {
    let names = dccd_exchange::NAMES.iter().filter(|name| name.parse().is_ok_and(|name: ExchangeName| has_history(&name)));
    names.copied().collect::<Vec<_>>().join(", ")
}

fn nothing(config: &Config, selection: &Selection) -> Failure {
    if config.histo_jobs.is_empty() {
        return anyhow!(
            "the configuration has no histo_jobs; add one with `dccd add --exchange binance --pair BTC/USDT --span 3600`"
        )
        .into();
    }
    let known: Vec<String> = jobs(config)
        .iter()
        .flat_map(|(exchange, wanted)| wanted.iter().map(|wanted| wanted.name(exchange)))
        .take(SHOWN_MAX)
        .collect();
    let mut asked = Vec::new();
    asked.extend(selection.exchange.as_ref().map(ToString::to_string));
    asked.extend(selection.pairs.iter().map(ToString::to_string));
    asked.extend(selection.span.map(|span| span.to_string()));
    let what = if asked.is_empty() { "that this version can fetch".to_owned() } else { format!("for {}", asked.join(" ")) };
    Failure::message(
        exit::FAILED,
        format_args!(
            "no history job of the configuration is {what}; there are: {}. With --exchange, --pairs and --span any series can be named",
            known.join(", ")
        ),
    )
}

/// Series that an error lists at most.
const SHOWN_MAX: usize = 10;

/// What the configuration says about an exchange's REST addresses.
pub fn addresses(settings: &ExchangeConfig) -> RestAddresses {
    RestAddresses {
        base: settings.rest_url.clone(),
        linear: settings.linear.rest_url.clone(),
        weight_per_minute: settings.rest_weight_per_minute,
    }
}

/// What is needed to work on an exchange's history in this process.
///
/// # Errors
/// When its address can't be used.
pub fn context(
    config: &Config,
    exchange: &ExchangeName,
    data_path: &Path,
    cancel: Cancel,
) -> Result<HistoryContext, Failure> {
    let adapter = dccd_exchange::adapter(exchange.as_str(), &AdapterOptions::default())
        .ok_or_else(|| anyhow!("there is no adapter for {exchange}"))?;
    let settings = config.exchange(exchange);
    let state = data_path.join(".dccd").join("state").join(exchange.as_str());
    dccd_net::install_crypto_provider();
    let rest = RestClients::new(exchange, adapter.as_ref(), &addresses(&settings), Some(&state))?;
    Ok(HistoryContext {
        source: Source { adapter, rest, clock: Arc::new(SystemClock) },
        exchange: exchange.clone(),
        data_path: data_path.to_owned(),
        cancel,
        publishes: true,
        turn_ends: None,
    })
}
