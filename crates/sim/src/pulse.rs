//! What happens by the clock: the market's pace, what exchanges send each 100 ms, faults of the plan.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clock::now_us;
use crate::hub::Core;

/// Producers that may wait do so above this many queued bytes.
pub(crate) const HIGH_WATER: usize = 2 << 20;

/// Between two bursts of events, at high rates and at low ones.
const FAST_TICK: Duration = Duration::from_millis(1);
const SLOW_TICK: Duration = Duration::from_millis(5);

/// Runs the invented market by the clock, or as fast as clients read.
pub(crate) async fn market(core: Rc<RefCell<Core>>) {
    let (rate, blast, even) = {
        let core = core.borrow();
        (core.rate(), core.options.market.blast, core.options.market.even)
    };
    if rate <= 0.0 {
        return;
    }
    match (blast, even) {
        (true, _) => flat_out(core).await,
        (false, true) => evenly(core).await,
        (false, false) => paced(core).await,
    }
}

/// One event at a time, each at its time. Timers are too coarse for that, so this looks at the clock without pause.
async fn evenly(core: Rc<RefCell<Core>>) {
    let mut next = Instant::now();
    loop {
        while Instant::now() < next {
            tokio::task::yield_now().await;
        }
        let paused = core.borrow().paused;
        // One step of the market is one event or a few that belong together.
        let made = if paused { 1 } else { core.borrow_mut().advance(1) };
        let step = Duration::from_secs_f64(1.0 / core.borrow().rate());
        next += step * u32::try_from(made).unwrap_or(1).max(1);
        // After a pause of the whole machine the market does not make up for it.
        if next.elapsed() > Duration::from_millis(100) {
            next = Instant::now();
        }
    }
}

async fn paced(core: Rc<RefCell<Core>>) {
    let ticking = |every| {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    };
    let mut tick = ticking(SLOW_TICK);
    let mut last = Instant::now();
    let mut credit = 0.0;
    loop {
        tick.tick().await;
        let now = Instant::now();
        let rate = core.borrow().rate();
        let every = if rate > 2_000.0 { FAST_TICK } else { SLOW_TICK };
        if tick.period() != every {
            tick = ticking(every);
        }
        // A second at most: after a pause of the whole machine the market does not make up for it.
        credit = (credit + now.duration_since(last).as_secs_f64() * rate).min(rate);
        last = now;
        if core.borrow().paused {
            credit = 0.0;
            continue;
        }
        while credit >= 1.0 {
            // In slices, so that a very high rate still lets connections write.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 1 and 512
            let slice = credit.min(512.0) as u64;
            let made = core.borrow_mut().advance(slice);
            #[allow(clippy::cast_precision_loss)] // some hundreds
            let made = made as f64;
            credit -= made;
            tokio::task::yield_now().await;
        }
    }
}

async fn flat_out(core: Rc<RefCell<Core>>) {
    let drained = Rc::clone(&core.borrow().shared.drained);
    loop {
        let idle = {
            let core = core.borrow();
            core.paused || !core.has_subscribers()
        };
        if idle {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        wait_for_room(&core, &drained).await;
        core.borrow_mut().advance(256);
        tokio::task::yield_now().await;
    }
}

/// Returns when queues are short again.
pub(crate) async fn wait_for_room(core: &Rc<RefCell<Core>>, drained: &tokio::sync::Notify) {
    loop {
        let notified = drained.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !core.borrow().congested() {
            return;
        }
        // The time limit only guards against a missed ring.
        let _ = timeout(Duration::from_millis(50), notified).await;
    }
}

/// Runs everything that comes each 100 ms.
pub(crate) async fn pulse(core: Rc<RefCell<Core>>) {
    const PULSE: Duration = Duration::from_millis(100);
    let mut tick = interval(PULSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    loop {
        tick.tick().await;
        count += 1;
        let mut core = core.borrow_mut();
        core.faults.tidy(now_us());
        let wire = Rc::clone(&core.wire);
        wire.pulse(&mut core, count);
        core.plan(PULSE);
        core.shared.ledger.flush();
    }
}

impl Core {
    /// Events a second that the market makes by the clock.
    fn rate(&self) -> f64 {
        self.options.market.trades_per_second + self.options.market.book_updates_per_second
    }

    /// Lets the market go on faster or slower by this factor, from now on.
    pub(crate) fn speed_up(&mut self, factor: f64) {
        self.options.market.trades_per_second *= factor;
        self.options.market.book_updates_per_second *= factor;
    }

    /// Brings about what the fault plan has for this time.
    fn plan(&mut self, elapsed: Duration) {
        let conns: Vec<u32> = self.conns.keys().copied().collect();
        if conns.is_empty() {
            return;
        }
        let streams: Vec<String> =
            self.conns.values().flat_map(|c| c.streams.borrow().keys().cloned().collect::<Vec<_>>()).collect();
        let symbols: Vec<String> = self.symbols.iter().map(|s| s.spec.symbol()).collect();
        for fault in self.faults.timed(elapsed, &conns, &streams, &symbols) {
            if let Err(why) = self.inject(fault, "plan") {
                tracing::debug!(why, "a fault of the plan could not happen");
            }
        }
    }
}
