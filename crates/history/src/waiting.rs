//! What requests wait for, in words for whoever watches them stand still.

use std::time::Duration;

use dccd_model::UnixNanos;
use dccd_net::Governor;

/// A wait that is shorter is nothing that anybody would ask about.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// Why no request to the exchange goes out now, and for how long; `None` while they do. `now`: host clock.
#[must_use]
pub fn waits_for(governor: &Governor, now: UnixNanos) -> Option<String> {
    let ledger = governor.snapshot();
    let left = |until: i64| Duration::from_nanos(u64::try_from(until.saturating_sub(now.0)).unwrap_or(0));
    let (why, wait) = match ledger.frozen_until {
        Some(until) => match ledger.frozen_status {
            Some(status) if status >= 400 => (format!("the exchange refuses requests (status {status})"), left(until)),
            _ => ("the exchange says that it is asked too often".to_owned(), left(until)),
        },
        None if ledger.waiting > 0 => ("the exchange's rate limit is used up".to_owned(), left(ledger.window_ends)),
        None => return None,
    };
    (wait >= WORTH_TELLING).then(|| format!("{why}, on in {} s", wait.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use dccd_net::{Clock, GovernorOptions, Priority};

    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now_ns(&self) -> i64 {
            self.0
        }
    }

    const SECOND: i64 = 1_000_000_000;

    #[tokio::test]
    async fn a_used_up_window_and_a_refusal_are_told_and_a_short_wait_is_not() {
        let governor = Governor::new(GovernorOptions::new(10, Duration::from_secs(60)), Arc::new(At(600 * SECOND)));
        let now = |second: i64| UnixNanos((600 + second) * SECOND);
        assert_eq!(waits_for(&governor, now(0)), None);
        let permit = governor.acquire(10, Priority::Live, Duration::ZERO).await.unwrap();
        assert_eq!(waits_for(&governor, now(0)), None, "nobody waits");
        let waiting = Arc::clone(&governor);
        let mut waiting =
            std::pin::pin!(async move { waiting.acquire(1, Priority::Backfill, Duration::from_secs(99)).await.map(drop) });
        let is_pending = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending);
        assert_eq!(waits_for(&governor, now(13)).as_deref(), Some("the exchange's rate limit is used up, on in 47 s"));
        assert_eq!(waits_for(&governor, now(59)), None);
        drop(permit);
        governor.freeze(418, Duration::from_secs(120));
        let told = waits_for(&governor, now(1));
        assert_eq!(told.as_deref(), Some("the exchange refuses requests (status 418), on in 119 s"));
    }
}
