//! Why alertd can't run.

use dccd_rpc::{DirectoryError, TransportError};
use dccd_service::ServiceError;

/// Why it could not start.
#[derive(Debug, thiserror::Error)]
pub enum AlertdError {
    /// The directory of its state can't be used.
    #[error("cannot keep alerts")]
    Directory(#[from] DirectoryError),
    /// Its socket can't be bound.
    #[error("cannot serve")]
    Serve(#[from] TransportError),
    /// The root takes no registration.
    #[error("cannot register")]
    Register(#[from] ServiceError),
}
