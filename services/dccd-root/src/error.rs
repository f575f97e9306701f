//! Why a root could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dccd_registry::RuntimeDirError;
use dccd_rpc::TransportError;
use dccd_service::PidLockError;

use crate::{BoxError, RpcListenError};

/// Why a root could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The instance has a root already.
    #[error("dccd is already running{}; stop it with: dccd stop", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    AlreadyRunning {
        /// The running root, where it could be found out.
        pid: Option<u32>,
    },
    /// The instance's runtime directory can't be used.
    #[error("cannot use the runtime directory")]
    RuntimeDir(#[from] RuntimeDirError),
    /// The lock of the instance can't be taken, for another reason than that somebody holds it.
    #[error("cannot lock the instance")]
    Lock(#[source] PidLockError),
    /// Something the executable wants held while the root runs is not to be had, e.g. the store's lock.
    #[error("cannot get hold of {what}")]
    Guard {
        /// What it is.
        what: &'static str,
        /// The cause; downcast it to tell a holder's pid.
        #[source]
        source: BoxError,
    },
    /// The root's socket can't be opened.
    #[error("cannot listen for clients")]
    Listen(#[from] TransportError),
    /// The port for health and metrics can't be opened.
    #[error("cannot serve HTTP on {address}; free that port, or choose another address in daemon.http.address")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The RPC can't be served over TCP.
    #[error("cannot serve the RPC on {address}")]
    Rpc {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: Box<RpcListenError>,
    },
    /// A directory under the store can't be made.
    #[error("cannot create the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Two services of one name.
    #[error("the service {name} is specified twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A service's socket path would be too long.
    #[error("the service {name} cannot have a socket")]
    ServiceSocket {
        /// The service.
        name: String,
        /// The cause.
        #[source]
        source: TransportError,
    },
}
