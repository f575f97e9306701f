//! What happens by the clock: the market's pace, diffs and partial books each 100 ms, candles, faults of the plan.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clock::now_us;
use crate::hub::Core;
use crate::market::book::Pace;
use crate::market::interval::INTERVALS;
use crate::render;
use crate::streams::{KINDS, PARTIAL_LEVELS, kind};

/// Producers that may wait do so above this many queued bytes.
pub(crate) const HIGH_WATER: usize = 2 << 20;

/// Runs the invented market by the clock, or as fast as clients read.
pub(crate) async fn market(core: Rc<RefCell<Core>>) {
    let (rate, blast, even) = {
        let market = &core.borrow().options.market;
        (market.trades_per_second + market.book_updates_per_second, market.blast, market.even)
    };
    if rate <= 0.0 {
        return;
    }
    match (blast, even) {
        (true, _) => flat_out(core).await,
        (false, true) => evenly(core, rate).await,
        (false, false) => paced(core, rate).await,
    }
}

/// One event at a time, each at its time. Timers are too coarse for that, so this looks at the clock without pause.
async fn evenly(core: Rc<RefCell<Core>>, rate: f64) {
    let step = Duration::from_secs_f64(1.0 / rate);
    let mut next = Instant::now();
    loop {
        while Instant::now() < next {
            tokio::task::yield_now().await;
        }
        let paused = core.borrow().paused;
        // One step of the market is one event or a few that belong together.
        let made = if paused { 1 } else { core.borrow_mut().advance(1) };
        next += step * u32::try_from(made).unwrap_or(1).max(1);
        // After a pause of the whole machine the market does not make up for it.
        if next.elapsed() > Duration::from_millis(100) {
            next = Instant::now();
        }
    }
}

async fn paced(core: Rc<RefCell<Core>>, rate: f64) {
    let mut tick = interval(Duration::from_millis(if rate > 2_000.0 { 1 } else { 5 }));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut credit = 0.0;
    loop {
        tick.tick().await;
        let now = Instant::now();
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
        if core.replay.is_none() {
            for place in 0..core.symbols.len() {
                core.depth_diff(place, Pace::Fast);
                core.partial_books(place, Pace::Fast);
                if count.is_multiple_of(10) {
                    core.depth_diff(place, Pace::Slow);
                    core.partial_books(place, Pace::Slow);
                    core.klines(place, count.is_multiple_of(20));
                }
            }
        }
        core.plan(PULSE);
        core.shared.ledger.flush();
    }
}

impl Core {
    /// Ends a diff interval of a symbol.
    pub(crate) fn depth_diff(&mut self, place: usize, pace: Pace) {
        let state = &mut self.symbols[place];
        let Some((ids, changed)) = state.book.take_diff(pace, &state.spec) else { return };
        let kind = if pace == Pace::Fast { kind::DEPTH_FAST } else { kind::DEPTH_SLOW };
        let id = state.spec.id.clone();
        let now = now_us();
        self.publish(place * KINDS + kind, ids.1, |out, unit| render::depth_update(out, &id, ids, &changed, now, unit));
    }

    fn partial_books(&mut self, place: usize, pace: Pace) {
        for (i, levels) in PARTIAL_LEVELS.into_iter().enumerate() {
            let stream = place * KINDS + kind::PARTIAL + i;
            if (i % 2 == 0) == (pace == Pace::Fast) && !self.subs[stream].is_empty() {
                let ladder = self.symbols[place].ladder(levels);
                let update_id = self.symbols[place].book.update_id();
                self.publish(stream, update_id, |out, _| render::depth(out, update_id, &ladder));
            }
        }
    }

    /// Candle streams: the one-second candle each second, the others each two; a candle that ended is sent once more, closed.
    fn klines(&mut self, place: usize, all: bool) {
        for (i, (label, interval)) in INTERVALS.into_iter().enumerate() {
            let stream = place * KINDS + kind::KLINE + i;
            if self.subs[stream].is_empty() {
                self.kline_open[stream] = 0;
                continue;
            }
            let now = now_us();
            let open = interval.open(now);
            let before = std::mem::replace(&mut self.kline_open[stream], open);
            if before != 0 && before != open {
                self.kline(stream, place, label, (interval, before), true, now);
            }
            if all || i == 0 || before != open {
                self.kline(stream, place, label, (interval, open), false, now);
            }
        }
    }

    fn kline(
        &mut self,
        stream: usize,
        place: usize,
        label: &str,
        (interval, open): (crate::market::interval::Interval, i64),
        closed: bool,
        now: i64,
    ) {
        let state = &self.symbols[place];
        let Some((span, bar)) = state.history.bar_at(interval, open) else { return };
        let id = state.spec.id.clone();
        let kline = render::Kline { id: &id, interval: label, span, bar, closed };
        self.publish(stream, bar.last_id, |out, unit| render::kline(out, &kline, now, unit));
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
