//! Telling work under way to end: every wait of a job can be cut short.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// One side asks for the end, others notice. Clones belong together.
#[derive(Clone, Debug)]
pub struct Cancel {
    sender: watch::Sender<bool>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { sender: watch::Sender::new(false) }
    }
}

/// The work was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Cancel {
    /// Asks for the end. Asking twice is asking once.
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.sender.borrow()
    }

    /// Returns when the end is asked for.
    pub async fn cancelled(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives in `self`, so waiting can't fail.
        let _ = receiver.wait_for(|asked| *asked).await;
    }

    /// The future's outcome, unless the end is asked for before.
    ///
    /// # Errors
    /// [`Cancelled`]; the future was dropped.
    pub async fn or<T>(&self, future: impl Future<Output = T>) -> Result<T, Cancelled> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Cancelled),
            outcome = future => Ok(outcome),
        }
    }

    /// Waits for so long, or until the end is asked for.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub async fn sleep(&self, wait: Duration) -> Result<(), Cancelled> {
        self.or(tokio::time::sleep(wait)).await
    }
}
