//! What the exchanges' own lists say against markets that the configuration wants; from the lists of last time, without asking anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use dccd_config::Config;
use dccd_exchange::Markets;
use dccd_history::KeptMarkets;
use dccd_model::{ExchangeName, Symbol};

/// Markets that may be meant, at most.
const NEAR_SHOWN: usize = 3;

/// The list of an exchange, if one is kept.
pub fn kept(config: &Config, exchange: &ExchangeName) -> Option<KeptMarkets> {
    let path = dccd_history::markets_path(config.data_path(), exchange);
    // One that isn't there is no trouble; one that can't be read is reported by whoever renews it.
    path.is_file().then(|| dccd_history::kept_markets(&path)).flatten()
}

/// A sentence about each market that is wanted and can't be traded.
pub fn objections(config: &Config) -> Vec<String> {
    let histo = crate::histo::jobs(config);
    let mut found = Vec::new();
    for exchange in config.collected_exchanges() {
        let Some(kept) = kept(config, &exchange) else { continue };
        let live = config.live_jobs(&exchange).flat_map(|job| &job.pairs);
        let past = histo.get(&exchange).into_iter().flatten().map(|wanted| &wanted.symbol);
        let wanted: BTreeSet<&Symbol> = live.chain(past).collect();
        for symbol in wanted {
            let Some(word) = kept.markets.objection(symbol) else { continue };
            let age = kept.age(&[dccd_exchange::Product::Spot]).map(ago).unwrap_or_default();
            found.push(format!("{exchange}/{symbol}: {}{age}", sentence(word)));
        }
    }
    found
}

/// What a list says against a market, with those that may be meant.
pub fn objection(markets: &Markets, pair: &Symbol) -> Option<String> {
    let word = markets.objection(pair)?;
    let near: Vec<_> = dccd_exchange::search(markets.iter(), pair.as_str(), NEAR_SHOWN)
        .into_iter()
        .map(|found| found.market.symbol.to_string())
        .filter(|symbol| symbol != pair.as_str())
        .collect();
    let near = match near.as_slice() {
        _ if word != Markets::NOT_LISTED => String::new(),
        [] => "; `dccd search` finds those it has".to_owned(),
        near => format!("; did you mean {}?", near.join(", ")),
    };
    Some(format!("{pair}: {}{near}", sentence(word)))
}

/// What a word of [`Markets::objection`] means.
pub fn sentence(word: &str) -> String {
    match word {
        Markets::NOT_LISTED => "the exchange doesn't list this market".to_owned(),
        "halted" => "the exchange doesn't trade this market now, or any more".to_owned(),
        other => format!("the exchange's list says: {other}"),
    }
}

fn ago(age: Duration) -> String {
    let hours = age.as_secs() / 3_600;
    if hours < 48 {
        format!(" (by its list of {hours} h ago)")
    } else {
        format!(" (by its list of {} days ago)", hours / 24)
    }
}
