//! A datad whose feeds are silent, and the root above it.

use std::time::Duration;

use dccd_tests::{Exchange, Setup, Tree};

use crate::usage::{Usage, let_pass, mib};

pub(crate) fn run() {
    let mut exchange = Exchange::busy(0.0, 0.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    let pids = [("datad", tree.collector().and_then(|s| s.pid).expect("it runs")), ("dccd-root", tree.root_pid())];
    let_pass(Duration::from_secs(3));
    let before = pids.map(|(_, pid)| Usage::of(pid));
    let_pass(Duration::from_secs(5));
    for ((name, pid), before) in pids.iter().zip(before) {
        let after = Usage::of(*pid);
        println!("  {name:9}  {:6.1} MiB resident, {:4.2} % of a core", mib(after.rss_kib), after.cpu_percent(&before));
    }
    tree.stop();
    exchange.stop();
}
