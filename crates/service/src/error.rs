//! Why a service ended other than by being told to.

use std::error::Error;
use std::io;
use std::time::Duration;

use dccd_registry::{RegistryError, RuntimeDirError};

use crate::PidLockError;
use crate::log::LogError;

/// Why a service could not start, or ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The log could not be set up.
    #[error("cannot set up the log")]
    Log(#[from] LogError),
    /// The runtime directory can't be used.
    #[error("cannot use the runtime directory")]
    RuntimeDir(#[from] RuntimeDirError),
    /// A process of the same name is still running.
    #[error("another process of this service is still running")]
    Lock(#[from] PidLockError),
    /// The root gave no token: the process was not started by it.
    #[error("no token came on standard input within {} s; services are started by dccd-root, with: dccd start", waited.as_secs())]
    NoToken {
        /// How long we waited.
        waited: Duration,
    },
    /// The async runtime or the signal handlers could not be set up.
    #[error("cannot set up the process's runtime")]
    Runtime(#[source] io::Error),
    /// The root can't be reached, or refused the registration.
    #[error("cannot register with dccd-root")]
    Register(#[source] RegistryError),
    /// `register` was called a second time.
    #[error("the service is registered already")]
    RegisteredTwice,
    /// The service itself failed.
    #[error("the service failed")]
    Service(#[source] Box<dyn Error + Send + Sync>),
}

/// An error with its whole chain of causes, joined by `: `.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
