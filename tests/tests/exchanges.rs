//! All exchanges at once, one configuration, a process for each: what happens to one is no matter of the others.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use dccd_sim::{Disconnection, Fault, Target};
use dccd_testkit::wait_for;
use dccd_tests::{EXCHANGES, Exchange, PATIENCE, Place, Tree, config_of};
use rustix::process::{Pid, Signal, kill_process};

const KILLED: &str = "kraken";
const HUNG: &str = "okx";
const BANNED: &str = "binance";
/// Three channels of two markets.
const FEEDS: usize = 6;

#[test]
fn one_is_killed_one_hangs_one_is_banned_and_the_other_five_lose_nothing() {
    let mut exchanges: Vec<Exchange> =
        EXCHANGES.iter().map(|(name, symbols, _)| Exchange::of(name, symbols, 20.0, 40.0)).collect();
    let place = Place::new();
    let data_path = place.path().join("data");
    let more = "daemon: {restart: {max_restarts: 1000, window: 600, base_delay: 0, max_delay: 1}}\n";
    let text = config_of(&exchanges, "trades, book, quotes", &data_path, more);
    let mut tree = Tree::start_with(place, data_path, &text, "binance");
    let mut pids = Vec::new();
    for (name, ..) in EXCHANGES {
        tree.look_at(name);
        pids.push((name, tree.wait_ready(None)));
        tree.wait_live(FEEDS);
    }
    let pid_of = |name: &str| pids.iter().find(|(of, _)| *of == name).unwrap().1;
    tree.kill(pid_of(KILLED));
    kill_process(Pid::from_raw(i32::try_from(pid_of(HUNG)).unwrap()).unwrap(), Signal::STOP).unwrap();
    let banned = exchanges.iter().find(|exchange| exchange.name() == BANNED).unwrap();
    // Whoever asks is banned; and its books have to be asked for again.
    banned.inject(Fault::RestLimit { count: 1, ban_ms: Some(5_000) });
    banned.inject(Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt });
    for (name, ..) in EXCHANGES {
        tree.look_at(name);
        if [KILLED, HUNG].contains(&name) {
            let pid = tree.wait_ready(Some(pid_of(name)));
            println!("{name}: {pid} in place of {}", pid_of(name));
        } else {
            assert_eq!(tree.wait_ready(None), pid_of(name), "{name} is another process than before");
        }
        tree.wait_fresh(FEEDS);
    }
    for ((name, _, counts), exchange) in EXCHANGES.iter().zip(&exchanges) {
        tree.look_at(name);
        tree.drain(exchange, if *counts { 0 } else { u64::MAX });
    }
    tree.stop();
    tree.verify();
    for exchange in &mut exchanges {
        let name = exchange.name().to_owned();
        tree.look_at(&name);
        let audit = tree.audit(exchange);
        let troubled = [KILLED, HUNG, BANNED].contains(&name.as_str());
        let gaps: u64 = audit.series.iter().map(|series| series.gaps + series.repaired).sum();
        println!("{name}: {gaps} gaps, {} records declared missing", audit.total().declared);
        assert!(troubled || gaps == 0, "{name}: {:#?}", audit.series);
    }
    let left = wait_for(PATIENCE, || pids.iter().filter(|(_, pid)| Tree::exists(*pid)).count(), |left| *left == 0);
    assert_eq!(left, 0);
}
