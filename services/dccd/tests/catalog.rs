//! What the configuration knows of exchanges is what the adapters are.

use dccd_config::catalog::EXCHANGES;
use dccd_exchange::{AdapterOptions, adapter};
use dccd_model::Channel;

#[test]
fn the_catalog_offers_what_the_adapters_offer() {
    for exchange in EXCHANGES {
        let adapter = adapter(exchange.name, &AdapterOptions::default());
        let history = adapter.as_ref().is_some_and(|adapter| adapter.history().is_some());
        assert_eq!(exchange.history, history, "{}", exchange.name);
        let trading = adapter.as_ref().map_or(exchange.trading, |adapter| adapter.capabilities().trading);
        assert_eq!(exchange.trading, trading, "{}", exchange.name);
        // An adapter for the past alone has no channels.
        let can = adapter.map(|adapter| adapter.capabilities()).filter(|can| !can.channels.is_empty());
        let live = can.map(|can| Channel::ALL.into_iter().filter(|channel| can.check(*channel).is_ok()).collect::<Vec<_>>());
        let (mut known, mut offered) = (exchange.live.map(<[_]>::to_vec), live);
        known.iter_mut().for_each(|channels| channels.sort());
        offered.iter_mut().for_each(|channels| channels.sort());
        assert_eq!(known, offered, "{}", exchange.name);
    }
    for name in dccd_exchange::NAMES {
        assert!(dccd_config::catalog::find(name).is_some(), "{name} cannot be configured");
    }
}
