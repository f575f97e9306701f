//! Waiting for a condition instead of sleeping for a hopeful while.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long `wait_for` pauses between two looks.
pub const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Takes `status` again and again until `condition` holds for it, and returns that status.
///
/// Panics once `deadline` has passed; the message holds the last status, so that a timeout says what was missing.
/// `status` is taken at least once, and once more after the deadline. Blocks the thread: in an async test, call it
/// where other tasks have threads of their own to run on.
#[track_caller]
pub fn wait_for<S: Debug>(deadline: Duration, mut status: impl FnMut() -> S, mut condition: impl FnMut(&S) -> bool) -> S {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= deadline;
        let now = status();
        if condition(&now) {
            return now;
        }
        assert!(!late, "condition not met within {deadline:?}; the last status was {now:#?}");
        std::thread::sleep(POLL_INTERVAL.min(deadline));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_that_met_the_condition_comes_back() {
        let mut looks = 0;
        let met = wait_for(
            Duration::from_secs(5),
            || {
                looks += 1;
                looks
            },
            |n| *n == 3,
        );
        assert_eq!(met, 3);
    }

    #[test]
    fn a_timeout_says_what_the_last_status_was() {
        let panic = std::panic::catch_unwind(|| {
            wait_for(Duration::from_millis(10), || ("rows stored", 41), |(_, rows)| *rows == 42);
        })
        .expect_err("the condition can't be met");
        let message = panic.downcast_ref::<String>().expect("a formatted message");
        assert!(message.contains("rows stored") && message.contains("41"), "{message}");
    }
}
