//! A subscription that the exchange leaves out of its list without a word: noticed by name, asked for again, and declared.

use dccd_sim::{Fault, MarketOptions, SimOptions, Target};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Setup, Tree};

use crate::silence::PATIENCE;

const FEEDS: usize = 6;

#[test]
fn a_subscription_that_is_not_listed_is_named_and_asked_for_again_and_its_loss_declared() {
    let busy = Exchange::options(300.0, 500.0);
    let market = MarketOptions { symbols: ["BTC/USD", "ETH/USD"].map(str::to_owned).to_vec(), ..busy.market };
    let mut exchange = Exchange::start(SimOptions { exchange: "coinbase".to_owned(), market, ..busy });
    // Quotes twice, so that the first attempt is in vain; of trades the heartbeats alone, without which a loss might not show.
    exchange.inject(Fault::Omit { target: Target::stream("ticker:BTC-USD"), count: 2 });
    exchange.inject(Fault::Omit { target: Target::stream("heartbeat:ETH-USD"), count: 1 });
    let mut tree = Tree::start(&Setup { depth: 5_000, ..Setup::new(&exchange) });
    let error = |feed: &str| {
        let feeds = tree.feeds();
        let of = feeds.iter().find(|info| format!("{} {}", info.symbol, info.channel) == feed);
        of.and_then(|info| info.error.clone()).unwrap_or_default()
    };
    wait_for(PATIENCE, || error("BTC/USD quotes"), |error| error.contains("doesn't list it among what is subscribed"));
    tree.wait_live_for(FEEDS, PATIENCE);
    tree.wait_fresh(FEEDS);
    let told = |feed: &str| {
        let named = format!("feed=\"{feed}\"");
        tree.log().lines().filter(|line| line.contains("doesn't list it") && line.contains(&named)).count()
    };
    assert_eq!([told("BTC/USD quotes"), told("ETH/USD trades"), told("BTC/USD trades")], [2, 1, 0], "{}", tree.log());
    tree.drain(&exchange, 0);
    tree.stop();
    tree.verify();
    for series in tree.audit(&mut exchange).series {
        println!("{series:?}");
    }
    let gaps = tree.run(&["gaps", "--json"]).code(0).json();
    let of = |pair: &str, kind: &str| {
        gaps.as_array()
            .unwrap()
            .iter()
            .filter(|gap| gap["pair"] == pair && gap["type"] == kind && gap["reason"] == "silent")
            .count()
    };
    assert!(of("BTC/USD", "quotes") > 0, "{gaps}");
    assert_eq!((of("BTC/USD", "trades"), of("ETH/USD", "quotes")), (0, 0), "{gaps}");
}
