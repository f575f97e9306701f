//! One word to a whole process: stop. Said once, heard by every task and thread that holds a clone.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why a process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// SIGTERM.
    Terminate,
    /// SIGINT (Ctrl-C).
    Interrupt,
    /// SIGHUP: the terminal went away.
    HangUp,
    /// Somebody asked for it over RPC, or the program itself.
    Requested,
    /// There has been no root for too long.
    RootGone,
    /// The root that came doesn't want this process, and starts another in its place if it wants one.
    Refused,
    /// A successor of this process is there.
    HandedOver,
}

impl fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
            Self::Requested => "requested",
            Self::RootGone => "dccd-root is gone",
            Self::Refused => "refused by the next dccd-root",
            Self::HandedOver => "handed over",
        })
    }
}

/// A cancel token: clones share it, the first reason wins, it can't be taken back.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<Option<ShutdownReason>>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not triggered.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }

    /// Tells everybody to stop; later calls change nothing.
    pub fn trigger(&self, reason: ShutdownReason) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        });
    }

    /// Resolves as soon as it is triggered (at once, if it was already).
    pub async fn wait(&self) -> ShutdownReason {
        let mut receiver = self.0.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(ShutdownReason::Requested),
            // The sender lives in `self`; if it could vanish, stopping would be right.
            Err(_) => ShutdownReason::Requested,
        }
    }

    /// Whether it was triggered; for threads that poll.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Why, once it was triggered.
    #[must_use]
    pub fn reason(&self) -> Option<ShutdownReason> {
        *self.0.borrow()
    }

    /// Lets SIGTERM, SIGINT and SIGHUP trigger it, for the rest of the process's life; further signals change nothing.
    /// Must be called inside a tokio runtime.
    pub fn trigger_on_signals(&self) -> io::Result<()> {
        self.trigger_on(SignalKind::hangup(), ShutdownReason::HangUp)?;
        self.trigger_on_orders()
    }

    /// The same for a process without a terminal: a hang-up is no word to it. (The kernel sends one to a process that is
    /// stopped, by a debugger say, at the moment at which its root dies.)
    pub(crate) fn trigger_on_signals_of_a_service(&self) -> io::Result<()> {
        // Heard from now on, and not listened to.
        drop(signal(SignalKind::hangup())?);
        self.trigger_on_orders()
    }

    /// The same without SIGHUP, for a process without a terminal to which that means something else.
    pub fn trigger_on_orders(&self) -> io::Result<()> {
        self.trigger_on(SignalKind::terminate(), ShutdownReason::Terminate)?;
        self.trigger_on(SignalKind::interrupt(), ShutdownReason::Interrupt)
    }

    fn trigger_on(&self, kind: SignalKind, reason: ShutdownReason) -> io::Result<()> {
        let mut signals = signal(kind)?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                shutdown.trigger(reason);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_wins_and_everybody_hears() {
        let shutdown = Shutdown::new();
        let (a, b) = (shutdown.clone(), shutdown.clone());
        let waiting = tokio::spawn(async move { a.wait().await });
        assert!(!shutdown.is_triggered());
        b.trigger(ShutdownReason::RootGone);
        b.trigger(ShutdownReason::Terminate);
        assert_eq!(waiting.await.unwrap(), ShutdownReason::RootGone);
        assert_eq!(shutdown.wait().await, ShutdownReason::RootGone);
        assert_eq!(shutdown.reason(), Some(ShutdownReason::RootGone));
    }
}
