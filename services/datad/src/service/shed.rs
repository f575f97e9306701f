//! Giving memory back when the root asks for it, because this service comes near its limit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dccd_service::ServiceContext;
use dccd_store::Position;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::recorder::{RecorderCommand, RecorderThread};
use crate::shared::Shared;

/// Between two times: each makes a part of its own in every series, which later has to be merged.
const PAUSE: Duration = Duration::from_secs(30);

/// The root's requests.
pub(super) struct Shedding {
    requests: watch::Receiver<u64>,
    not_before: Instant,
}

impl Shedding {
    pub(super) fn new(ctx: &ServiceContext) -> Self {
        Self { requests: ctx.shed_requests(), not_before: Instant::now() }
    }

    /// Resolves when memory is to be given back. Nothing is lost if it is dropped before.
    pub(super) async fn wanted(&mut self) {
        tokio::time::sleep_until(self.not_before).await;
        if self.requests.changed().await.is_err() {
            // The context is gone, and with it the root's word.
            std::future::pending::<()>().await;
        }
        self.not_before = Instant::now() + PAUSE;
    }
}

/// Lets the recorder write what it gathers for its next part, up to [`crate::recorder`]'s bound in rows. Nothing else here could
/// be done without: the other buffers are bounded, and hold what is under way. The allocator gives freed blocks back by itself
/// (the root sets its thresholds).
pub(super) fn shed(shared: &Shared, recorder: &RecorderThread) {
    let upto = Position(shared.journal_end.load(Ordering::Relaxed));
    // Nobody waits for the answer; trouble with the store shows by itself.
    let (reply, _) = oneshot::channel();
    // One that has no room for commands is about to write anyway.
    let asked = recorder.commands.try_send(RecorderCommand::Flush { upto, reply }).is_ok();
    warn!(asked, "near the memory limit; the recorder writes what it has gathered");
}
