//! Replay: recorded frames go out as they were, in order, none twice and none skipped, to whoever subscribed.
//!
//! The recorded book snapshots stand in the recording at the place where they were fetched. Whoever asks early waits until
//! the replay is there; the replay waits there for a while until somebody asks. Later requests get the book as it is by then,
//! rebuilt from the recording, so that a client which was restarted finds its way back.

mod load;
mod state;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::now_ns;
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::options::ReplayStart;
use crate::pulse::wait_for_room;

use state::Next;
pub(crate) use state::ReplayState;

/// Serves the recording from beginning to end.
pub(crate) async fn run(core: Rc<RefCell<Core>>, done: tokio::sync::watch::Sender<bool>) {
    let (changed, drained) = {
        let core = core.borrow();
        (Rc::clone(&core.shared.changed), Rc::clone(&core.shared.drained))
    };
    loop {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        let next = core.borrow_mut().replay_next();
        match next {
            Next::More => tokio::task::yield_now().await,
            Next::Room => wait_for_room(&core, &drained).await,
            Next::At(time) => sleep_until(time).await,
            // Rings on every change; the time limit is for quiet times, which end without one.
            Next::Change(limit) => drop(timeout(limit, notified).await),
            Next::Done => break,
        }
    }
    {
        let core = core.borrow();
        if let Some(replay) = &core.replay {
            let progress = replay.progress();
            let record = LedgerRecord::ReplayDone { ts: now_ns(), sent: progress.sent, unwanted: progress.unwanted };
            core.shared.ledger.record(&record);
        }
    }
    done.send_replace(true);
}

impl Core {
    /// Begins a replay that waits for the command.
    pub(crate) fn start_replay(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.start_now();
        }
        self.shared.changed.notify_waiters();
    }

    /// Sends what can be sent now, and says what to wait for.
    fn replay_next(&mut self) -> Next {
        let Some(mut replay) = self.replay.take() else { return Next::Done };
        let next = self.replay_some(&mut replay);
        self.replay = Some(replay);
        next
    }

    fn replay_some(&mut self, replay: &mut ReplayState) -> Next {
        /// Then connections get their turn.
        const SLICE: usize = 64;
        if self.paused {
            return Next::Change(Duration::from_millis(20));
        }
        if let Some(wait) = self.replay_held(replay) {
            return wait;
        }
        for _ in 0..SLICE {
            if let Some(wait) = replay.snapshot_barrier(&self.subs) {
                return wait;
            }
            let Some(due) = replay.due() else { return Next::Done };
            if due > Instant::now() {
                return Next::At(due);
            }
            if self.congested() {
                return Next::Room;
            }
            replay.send_next(self);
        }
        Next::More
    }

    /// Whether the replay must wait for subscribers.
    fn replay_held(&self, replay: &mut ReplayState) -> Option<Next> {
        let wanted = replay.streams_wanted(&self.subs);
        let quiet = self.subscribed_at.map_or(Duration::ZERO, |at| at.elapsed());
        let ready = match replay.start {
            _ if replay.started && wanted > 0 => return None,
            // Everybody left: whoever comes next gets time to subscribe, too.
            _ if replay.started => {
                replay.hold();
                false
            }
            ReplayStart::Quiet(time) => wanted > 0 && quiet >= time,
            ReplayStart::Streams(count) => wanted >= count.min(replay.streams_total()) && wanted > 0,
            ReplayStart::Command => false,
        };
        if ready {
            replay.start_now();
            return None;
        }
        Some(Next::Change(Duration::from_millis(20)))
    }
}
