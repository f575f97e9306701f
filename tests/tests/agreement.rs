//! A book that goes wrong without anything in its messages telling so: what the quotes say shows it.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::time::{Duration, Instant};

use dccd_sim::{Corruption, Fault, Target};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Setup, Tree};

const PATIENCE: Duration = Duration::from_secs(240);
/// Between two messages that are altered.
const ANOTHER: Duration = Duration::from_millis(300);

#[test]
fn a_book_that_differs_from_the_quotes_begins_anew_and_its_loss_is_declared() {
    // The best prices stay for some seconds, so that a wrong level isn't crossed at once, while amounts change.
    let exchange = Exchange::busy(0.2, 30.0);
    let mut setup = Setup::new(&exchange);
    setup.channels = vec!["book".to_owned(), "quotes".to_owned()];
    setup.pairs = vec!["BTC/USDT".to_owned()];
    let mut tree = Tree::start(&setup);
    tree.wait_fresh(2);
    assert_eq!(tree.stats().map(|stats| stats.books_disagreed), Some(0));
    let target = Target::stream("btcusdt@depth@100ms");
    let mut injected: Option<Instant> = None;
    let found = wait_for(
        PATIENCE,
        || {
            // Until one of the wrong levels is at the top; should it be crossed too soon, there are others.
            let best =
                |channel: &str| tree.feeds().into_iter().find(|feed| feed.channel == channel).and_then(|feed| feed.best);
            if best("book") == best("quotes") && injected.is_none_or(|at| at.elapsed() > ANOTHER) {
                injected = Some(Instant::now());
                exchange.inject(Fault::Corrupt { target: target.clone(), count: 1, how: Corruption::Price });
            }
            tree.stats().map_or(0, |stats| stats.books_disagreed)
        },
        |found| *found > 0,
    );
    println!("{found} found");
    wait_for(
        PATIENCE,
        || tree.feeds(),
        |feeds| feeds.iter().any(|feed| feed.channel == "book" && feed.state == "live" && feed.gaps > 0),
    );
    let detailed = tree.run(&["status", "--detailed"]).code(0).out;
    assert!(detailed.contains("begun anew because it differed from the quotes"), "{detailed}");
    tree.stop();
    tree.verify();
    let gaps = tree.run(&["gaps", "--json"]).code(0).json();
    assert!(gaps.as_array().unwrap().iter().any(|gap| gap["type"] == "orderbook" && gap["reason"] == "integrity"), "{gaps}");
}
