//! Subscriptions that are acknowledged and stay empty, and ones that fall asleep: noticed feed by feed, brought back, and declared.

use std::time::{Duration, Instant};

use dccd_sim::{Fault, Target};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Setup, Tree};

const FEEDS: usize = 6;
/// Whether the market traded is known a minute after a feed fell silent at the latest, if it trades all the time.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

fn records(tree: &Tree, feed: &str) -> u64 {
    let feeds = tree.feeds();
    feeds.iter().find(|info| format!("{} {}", info.symbol, info.channel) == feed).map_or(0, |info| info.cursor)
}

#[test]
fn a_feed_that_says_nothing_while_its_market_trades_is_brought_back_and_its_loss_declared() {
    let mut exchange = Exchange::busy(300.0, 500.0);
    // One that is empty from the beginning, and, later, one that falls asleep.
    exchange.inject(Fault::Mute { target: Target::stream("ethusdt@trade"), count: 1 });
    let mut tree = Tree::start(&Setup::new(&exchange));
    wait_for(PATIENCE, || records(&tree, "BTC/USDT quotes"), |records| *records > 100);
    exchange.inject(Fault::Silence { target: Target::stream("btcusdt@bookTicker"), ms: 100_000 });
    let began = Instant::now();
    wait_for(PATIENCE, || records(&tree, "ETH/USDT trades"), |records| *records > 100);
    println!("the empty feed speaks after {:?}", began.elapsed());
    let silent = |log: &str| log.matches("the market trades and the feed says nothing").count();
    wait_for(PATIENCE, || silent(&tree.log()), |silent| *silent >= 2);
    let before = records(&tree, "BTC/USDT quotes");
    wait_for(PATIENCE, || records(&tree, "BTC/USDT quotes"), |records| *records > before + 100);
    println!("both speak after {:?}", began.elapsed());
    tree.wait_fresh(FEEDS);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.verify();
    for series in tree.audit(&mut exchange).series {
        println!("{series:?}");
    }
    let gaps = tree.run(&["gaps", "--json"]).code(0).json();
    let quotes: Vec<_> = gaps.as_array().unwrap().iter().filter(|gap| gap["type"] == "quotes").collect();
    assert_eq!(quotes.len(), 1, "{gaps}");
    assert_eq!((quotes[0]["pair"].as_str(), quotes[0]["reason"].as_str()), (Some("BTC/USDT"), Some("silent")), "{gaps}");
    // The one that was empty has lost all since it was subscribed, although nothing came before.
    let trades: Vec<_> = gaps.as_array().unwrap().iter().filter(|gap| gap["type"] == "trades").collect();
    assert!(!trades.is_empty(), "{gaps}");
    let of_eth =
        |gap: &&serde_json::Value| (gap["pair"].as_str(), gap["reason"].as_str()) == (Some("ETH/USDT"), Some("silent"));
    assert!(trades.iter().all(of_eth), "{gaps}");
}
