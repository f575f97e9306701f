//! `dccd search`: symbols by pattern, from the running service, its cache, or the exchange itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_config::{Config, ConfigErrors, Lookup};
use dccd_exchange::{Adapter, AdapterOptions, Market, MarketStatus, Markets, MarketsList, Product, RestRequest};
use dccd_history::{KeptMarkets, RestClients};
use dccd_model::{ExchangeName, Symbol};
use dccd_net::{HttpResponse, Priority};
use dccd_registry::Registry;
use dccd_rpc::datad::SearchHit;
use dccd_rpc::{call, context};
use futures_util::future::join_all;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, registry_if_running};
use crate::exit::{self, Failure};
use crate::histo;
use crate::output::{Listing, Out, or_dash, say};

/// Patience with each exchange, whatever is asked of it; its service may be slow, too.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(15);
/// Patience with each part of a list: one that doesn't come leaves time for what to do without it.
const PART_DEADLINE: Duration = Duration::from_secs(6);
/// A list that lacks what is looked for is fetched anew if it is older than this.
const RENEWED_AFTER: Duration = Duration::from_secs(60);

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to look for, e.g. btcusdt, BTC/USDT, btc; small errors are forgiven
    pattern: String,
    /// At this exchange alone
    #[arg(long, short, value_name = "X")]
    exchange: Option<String>,
    /// Results at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One result.
#[derive(Debug, Serialize)]
struct Hit {
    exchange: String,
    symbol: String,
    id: String,
    status: String,
    price_tick: Option<String>,
    amount_step: Option<String>,
    /// What amounts are counted in; see [`Symbol::amount_currency`].
    amount_currency: Option<String>,
    score: u32,
}

/// Searches.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let config = if global.address.is_some() { None } else { config(global)? };
    let mut exchanges = exchanges(arguments.exchange.as_deref())?;
    let hits = block_on(async {
        let registry = registry_if_running(global).await?;
        if let Some(registry) = registry.as_ref().filter(|registry| registry.is_remote())
            && arguments.exchange.is_none()
        {
            exchanges = collected(registry).await?;
        }
        // All at once: an exchange that hangs holds up no other, and none for longer than its own deadline.
        let asking = exchanges.iter().map(async |exchange| {
            let found = of_exchange(exchange, registry.as_ref(), config.as_ref(), arguments);
            let found = tokio::time::timeout(EXCHANGE_DEADLINE, found).await;
            found.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", EXCHANGE_DEADLINE.as_secs())))
        });
        let mut hits = Vec::new();
        let mut failures = Vec::new();
        for (exchange, answer) in exchanges.iter().zip(join_all(asking).await) {
            match answer {
                Ok(found) => hits.extend(found),
                Err(error) => failures.push((exchange, error)),
            }
        }
        // One exchange that can't be asked doesn't hide what another has.
        if failures.len() == exchanges.len()
            && let Some((exchange, error)) = failures.pop()
        {
            return Err(error.context(format!("cannot search {exchange}")).into());
        }
        for (exchange, error) in failures {
            say(format_args!("warning: cannot search {exchange}: {error:#}"));
        }
        hits.sort_by(|a: &Hit, b| (b.score, &a.symbol, &a.exchange).cmp(&(a.score, &b.symbol, &b.exchange)));
        hits.truncate(usize::try_from(arguments.limit).unwrap_or(usize::MAX));
        Ok(hits)
    })?;
    let mut out = Out::new();
    if arguments.json {
        return out.json(&hits);
    }
    if hits.is_empty() {
        say(format_args!("nothing matches \"{}\"", arguments.pattern));
        return Ok(());
    }
    let mut listing = Listing::new(&["symbol", "exchange", "its id", "status", "?>price step", "?>amount step"]);
    for hit in hits {
        let (tick, mut step) = (or_dash(hit.price_tick), or_dash(hit.amount_step));
        // Of inverse contracts another one than the base currency, which is said.
        if let Some(currency) = hit.amount_currency.filter(|currency| !hit.symbol.starts_with(&format!("{currency}/"))) {
            step = format!("{step} {currency}");
        }
        listing.row([hit.symbol, hit.exchange, hit.id, hit.status, tick, step]);
    }
    listing.print(&mut out)
}

/// The configuration; searching needs none.
fn config(global: &Global) -> Result<Option<Config>, Failure> {
    match Config::load(&Lookup::new(global.config.clone())) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(ConfigErrors::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn exchanges(named: Option<&str>) -> Result<Vec<ExchangeName>, Failure> {
    let names = dccd_exchange::NAMES;
    if let Some(name) = named
        && !names.contains(&name)
    {
        let message = format!("exchange \"{name}\" cannot be searched, expected one of {}", names.join(", "));
        return Err(Failure::message(exit::USAGE, message));
    }
    let wanted = names.iter().filter(|name| named.is_none_or(|named| named == **name));
    Ok(wanted.map(|name| name.parse()).collect::<Result<_, _>>()?)
}

/// The exchanges whose services run there.
async fn collected(registry: &Registry) -> Result<Vec<ExchangeName>, Failure> {
    let services = registry.list(DEADLINE).await?;
    let ready = services.iter().filter(|service| service.state.is_ready());
    let found: Vec<ExchangeName> = ready.filter_map(|s| s.name.strip_prefix("datad.")?.parse().ok()).collect();
    if found.is_empty() {
        return Err(anyhow!("no exchange's service runs there, and only those can be searched with --address").into());
    }
    Ok(found)
}

async fn of_exchange(
    exchange: &ExchangeName,
    registry: Option<&Registry>,
    config: Option<&Config>,
    arguments: &Arguments,
) -> anyhow::Result<Vec<Hit>> {
    if let Some(registry) = registry
        && let Some(hits) = from_service(exchange, registry, arguments).await
    {
        return Ok(hits);
    }
    if registry.is_some_and(Registry::is_remote) {
        return Err(anyhow!("datad.{exchange} doesn't answer there; `dccd services` shows how it is"));
    }
    let adapter = dccd_exchange::adapter(exchange.as_str(), &AdapterOptions::default())
        .ok_or_else(|| anyhow!("there is no adapter for {exchange}"))?;
    let path = config.map(|config| dccd_history::markets_path(config.data_path(), exchange));
    let kept = path.as_deref().and_then(dccd_history::kept_markets);
    let first = &adapter.rest_products()[..1];
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let search = |markets: &Markets| -> Vec<Hit> {
        let found = dccd_exchange::search(markets.iter(), &arguments.pattern, limit);
        found.into_iter().map(|found| hit(exchange, found.market, found.score)).collect()
    };
    if let Some(kept) = kept.as_ref().filter(|kept| kept.is_fresh(first)) {
        let hits = search(&kept.markets);
        if !hits.is_empty() || kept.age(first).is_some_and(|age| age < RENEWED_AFTER) {
            return Ok(hits);
        }
    }
    match fetch(exchange, adapter.as_ref(), config, kept.as_ref()).await {
        Ok(markets) => Ok(search(&markets)),
        Err(error) => {
            let Some(kept) = kept else { return Err(error) };
            say(format_args!(
                "warning: {exchange} doesn't list its markets now, those of last time are searched: {error:#}"
            ));
            Ok(search(&kept.markets))
        }
    }
}

/// From the exchange's service, if one is ready and has its markets; none is started for a search.
async fn from_service(exchange: &ExchangeName, registry: &Registry, arguments: &Arguments) -> Option<Vec<Hit>> {
    let service = format!("datad.{exchange}");
    let endpoint = registry.find(&service, DEADLINE).await.ok()??;
    let client = registry.datad_at(&service, &endpoint, DEADLINE).await.ok()?;
    let searching = client.search(context(DEADLINE), arguments.pattern.clone(), arguments.limit);
    let hits = call(&service, "search", searching).await.ok()?;
    let hit = |SearchHit { exchange, market, score }| Hit {
        exchange,
        amount_currency: market.symbol.parse::<Symbol>().ok().map(|symbol| symbol.amount_currency().to_owned()),
        symbol: market.symbol,
        id: market.id,
        status: market.status,
        price_tick: market.price_tick,
        amount_step: market.amount_step,
        score,
    };
    Some(hits.into_iter().map(hit).collect())
}

fn hit(exchange: &ExchangeName, market: &Market, score: u32) -> Hit {
    Hit {
        exchange: exchange.to_string(),
        symbol: market.symbol.to_string(),
        id: market.id.clone(),
        status: status_name(market.status).to_owned(),
        price_tick: market.price_tick.map(|decimal| decimal.to_string()),
        amount_step: market.amount_step.map(|decimal| decimal.to_string()),
        amount_currency: Some(market.symbol.amount_currency().to_owned()),
        score,
    }
}

/// The same words as the service's.
fn status_name(status: MarketStatus) -> &'static str {
    match status {
        MarketStatus::Trading => "trading",
        MarketStatus::Halted => "halted",
        MarketStatus::Unknown => "unknown",
    }
}

/// Where every process keeps what the exchange forbade.
fn state_dir(data_path: &Path, exchange: &ExchangeName) -> PathBuf {
    data_path.join(".dccd").join("state").join(exchange.as_str())
}

/// From the exchange; kept for the next time where there is a store.
pub async fn fetch(
    exchange: &ExchangeName,
    adapter: &dyn Adapter,
    config: Option<&Config>,
    last: Option<&KeptMarkets>,
) -> anyhow::Result<Markets> {
    let addresses = config.map(|config| histo::addresses(&config.exchange(exchange))).unwrap_or_default();
    let rest_url = addresses.base.clone().unwrap_or_else(|| adapter.rest_url().to_owned());
    say(format_args!("asking {rest_url} for its markets"));
    dccd_net::install_crypto_provider();
    // The exchange grants and forbids to an address, not a process: a running service has its part of the same quota, and what
    // the exchange said to it holds here.
    let state_dir = config.map(|config| state_dir(config.data_path(), exchange));
    let rest = RestClients::new(exchange, adapter, &addresses, state_dir.as_deref())?;
    let mut list = MarketsList::new(adapter, &rest.lists().collect::<Vec<_>>());
    while let Some(request) = list.request().cloned() {
        let answered = part(&rest, &request).await.and_then(|response| Ok(list.answer(&response.body)?));
        match answered {
            Ok(()) => {}
            Err(error) if list.pass_over() => say(format_args!("{exchange} without derivatives: {error:#}")),
            Err(error) => return Err(error),
        }
    }
    let had: Vec<Product> = list.had().collect();
    let markets = list.joined(last.map(|kept| kept.markets.as_ref()));
    if let Some(config) = config.filter(|config| config.data_path().is_dir()) {
        dccd_history::keep_markets(&dccd_history::markets_path(config.data_path(), exchange), &markets, &had, last);
    }
    Ok(markets)
}

async fn part(rest: &RestClients, request: &RestRequest) -> anyhow::Result<HttpResponse> {
    let asking = rest.get(request, Priority::Live);
    let response = tokio::time::timeout(PART_DEADLINE, asking).await;
    Ok(response.with_context(|| format!("no answer within {} s", PART_DEADLINE.as_secs()))??)
}
