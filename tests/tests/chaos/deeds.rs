//! What is done to the tree.

use std::time::{Duration, Instant};

use dccd_sim::{Disconnection, Fault, Target};
use rustix::process::Signal;

use crate::floods::{self, Flood};
use crate::world::{Sleeper, World};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    KillCollector,
    /// It hangs: for a moment, or until it is found to.
    FreezeCollector,
    EndCollector,
    RestartCollector,
    KillRoot,
    FreezeRoot,
    EndRoot,
    RestartRoot,
    Reload,
    ReloadBroken,
    Pause,
    Resume,
    Flood(Flood),
    HangUp,
}

/// Most deeds, each as often as it stands here.
const DEEDS: &[Deed] = &[
    Deed::KillCollector,
    Deed::KillCollector,
    Deed::FreezeCollector,
    Deed::EndCollector,
    Deed::RestartCollector,
    Deed::KillRoot,
    Deed::KillRoot,
    Deed::FreezeRoot,
    Deed::EndRoot,
    Deed::RestartRoot,
    Deed::Reload,
    Deed::Reload,
    Deed::Reload,
    Deed::ReloadBroken,
    Deed::Pause,
    Deed::Resume,
    Deed::HangUp,
];

pub(crate) fn choose(rng: &mut fastrand::Rng) -> Deed {
    let flood = floods::ALL[rng.usize(..floods::ALL.len())];
    let at = rng.usize(..DEEDS.len() + floods::ALL.len());
    DEEDS.get(at).copied().unwrap_or(Deed::Flood(flood))
}

pub(crate) fn perform(world: &mut World, deed: Deed, rng: &mut fastrand::Rng) {
    match deed {
        Deed::KillCollector => world.signal_collector(rng, Signal::KILL),
        Deed::EndCollector => world.signal_collector(rng, Signal::TERM),
        Deed::FreezeCollector => {
            if let Some(pid) = world.any_collector(rng) {
                world.send(pid, Signal::STOP);
                // Half of them are woken before anybody can have noticed; the others are for the watchdog.
                let wakes = Instant::now() + Duration::from_millis(rng.u64(0..2_000));
                if rng.bool() {
                    world.sleepers.push(Sleeper { pid, wakes });
                }
            }
        }
        Deed::FreezeRoot => {
            let _disturbed = world.far.disturb();
            let pid = world.tree.root_pid();
            world.send(pid, Signal::STOP);
            let since = Instant::now();
            let lasts = Duration::from_millis(rng.u64(0..2_500));
            // A client that asks meanwhile waits no longer than it wants to.
            let asked = world.command(&["services", "--json"]);
            while since.elapsed() < lasts {
                std::thread::sleep(dccd_testkit::POLL_INTERVAL);
            }
            world.send(pid, Signal::CONT);
            let _ = world.ended("services", asked);
        }
        Deed::KillRoot => {
            let _disturbed = world.far.disturb();
            world.tree.kill_root();
            let alone = Instant::now();
            let lasts = Duration::from_millis(rng.u64(0..1_500));
            world.ran(&["services"], &[11]);
            while alone.elapsed() < lasts {
                std::thread::sleep(dccd_testkit::POLL_INTERVAL);
            }
            world.tree.start_root();
        }
        Deed::EndRoot => {
            let _disturbed = world.far.disturb();
            world.tree.end_root(Signal::TERM);
            world.tree.start_root();
        }
        Deed::RestartCollector => {
            let name = world.any_name(rng);
            // One that is hung just now takes until it is killed; one that the configuration doesn't want is unknown or started.
            world.ran(&["restart", &name], &[0, 12]);
        }
        Deed::RestartRoot => {
            let _disturbed = world.far.disturb();
            world.ran(&["restart", "dccd-root"], &[0, 12]);
        }
        Deed::Reload => {
            world.wish.change(rng);
            world.write_wish();
            let dry = rng.u8(..4) == 0;
            world.ran(if dry { &["reload", "--dry-run", "--json"] } else { &["reload", "--json"] }, &[0, 12]);
        }
        Deed::ReloadBroken => {
            world.write("stream_jobs:\n  - {exchange: binance, pairs: [");
            world.ran(&["reload"], &[1]);
            world.ran(&["restart", "dccd-root"], &[1]);
            world.write_wish();
        }
        Deed::Pause => {
            let prefix = world.any_prefix(rng);
            world.ran(&["pause", &prefix, "--live"], &[0, 1]);
        }
        Deed::Resume => world.ran(&["resume", "--live"], &[0, 1]),
        Deed::Flood(flood) => world.flood(flood, rng),
        Deed::HangUp => {
            let exchange = &world.exchanges[rng.usize(..world.exchanges.len())];
            exchange.inject(Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt });
        }
    }
}
