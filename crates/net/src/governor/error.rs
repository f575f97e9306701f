//! Why a request may not be sent, in words for whoever waits for it.

use std::time::Duration;

use crate::retry::Retry;

/// Why a request may not be sent within the time its caller would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GovernorError {
    /// The exchange refused earlier requests; asking now would make it worse.
    #[error("requests are frozen for another {retry_in:.0?} because the exchange {}; they go on by themselves", said(*status))]
    Frozen {
        /// The status that froze the ledger; 0 or a success where the exchange said it in the answer's body.
        status: u16,
        /// How long the freeze still lasts.
        retry_in: Duration,
    },
    /// The window's weight is used up, or others with more right to it are waiting.
    #[error(
        "{used} of {limit} weight used in this window: no room for {weight} more within the wait; the next window begins in {retry_in:.0?}"
    )]
    Exhausted {
        /// The weight asked for.
        weight: u32,
        /// The weight used so far, by all processes that share the ledger.
        used: u32,
        /// The window's limit.
        limit: u32,
        /// Until the next window begins.
        retry_in: Duration,
    },
    /// The exchange grants requests at intervals, and others with more right to the next ones are waiting.
    #[error(
        "the exchange grants one request every {every:?} and this one's turn does not come within the wait; try again in {retry_in:.1?}"
    )]
    Paced {
        /// The time in which one more request is granted.
        every: Duration,
        /// Until there may be room.
        retry_in: Duration,
    },
    /// No window could ever hold this request.
    #[error("a request of weight {weight} exceeds the limit of {limit} a window; ask for less at once")]
    TooHeavy {
        /// The weight asked for.
        weight: u32,
        /// The window's limit.
        limit: u32,
    },
}

impl GovernorError {
    /// When asking again may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            GovernorError::Frozen { retry_in, .. }
            | GovernorError::Exhausted { retry_in, .. }
            | GovernorError::Paced { retry_in, .. } => Retry::After(*retry_in),
            GovernorError::TooHeavy { .. } => Retry::No,
        }
    }
}

/// What the exchange did to deserve a freeze. Some say it with HTTP 200 and an error in the body.
fn said(status: u16) -> String {
    match status {
        0 | 200..300 => "said its rate limit is exceeded".to_owned(),
        _ => format!("answered {status}"),
    }
}
