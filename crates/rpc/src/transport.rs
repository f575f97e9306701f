//! Unix sockets under tarpc: one codec, one frame limit, our own user only.
//!
//! A socket has mode 0600 and lives in a directory with mode 0700; the peer's user id is checked on top of that.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tarpc::client;
use tarpc::tokio_serde::formats::Bincode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::LengthDelimitedCodec;

use crate::{DirectoryError, private_directory};

/// The one codec of all contracts. Another one is a change of this line.
pub type Codec<Item, SinkItem> = Bincode<Item, SinkItem>;

/// A connected transport that receives `Item`s and sends `SinkItem`s.
pub type Transport<Item, SinkItem> = tarpc::serde_transport::Transport<UnixStream, Item, SinkItem, Codec<Item, SinkItem>>;

/// What frames go over, whatever is below.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Largest message in bytes, either way; a larger one breaks the connection.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest deadline of a call. (Timers of the RPC library panic at deadlines of years.)
pub const DEADLINE_MAX: Duration = Duration::from_secs(86_400);

/// Longest path of a Unix socket in bytes: 108 in the kernel, with the closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why a socket could not be opened or reached.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The kernel takes no path of this length.
    #[error(
        "the socket path {} has {bytes} bytes, more than the {SOCKET_PATH_BYTES_MAX} that the kernel takes; choose a shorter instance name or runtime directory",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Somebody listens there.
    #[error("{} is in use by a running process", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody listens there.
    #[error("nobody listens on {}", path.display())]
    NotListening {
        /// The socket.
        path: PathBuf,
    },
    /// Another user listens there.
    #[error("user {uid} listens on {}, who is neither us nor root; remove it", path.display())]
    ForeignListener {
        /// The socket.
        path: PathBuf,
        /// Whose process listens.
        uid: u32,
    },
    /// A file that is no socket has the socket's name.
    #[error("{} exists and is not a socket; remove it", path.display())]
    NotSocket {
        /// The file.
        path: PathBuf,
    },
    /// The socket's directory can't be used.
    #[error("the socket's directory can't be used")]
    Directory(#[from] DirectoryError),
    /// The listener took no connection in time.
    #[error("{} took no connection within {} ms", path.display(), deadline.as_millis())]
    Deadline {
        /// The socket.
        path: PathBuf,
        /// How long we tried.
        deadline: Duration,
    },
    /// Anything else.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// `bind`, `connect`, …
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Checks that the kernel will take this path for a socket.
pub fn check_socket_path(path: &Path) -> Result<(), TransportError> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX { Err(TransportError::PathTooLong { path: path.to_owned(), bytes }) } else { Ok(()) }
}

/// A listening socket; removed from the file system when dropped.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only to keep the directory tidy: a socket left behind is recognised as stale and replaced.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener {
    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection of our own user or of root, with the peer's process id where the kernel knows it. Connections of
    /// other users are closed and logged; waiting goes on.
    pub async fn accept(&self) -> io::Result<(UnixStream, Option<u32>)> {
        let own = rustix::process::geteuid().as_raw();
        loop {
            let (stream, _) = self.inner.accept().await?;
            let peer = stream.peer_cred()?;
            if peer.uid() == own || peer.uid() == 0 {
                return Ok((stream, peer.pid().and_then(|pid| u32::try_from(pid).ok())));
            }
            tracing::warn!(socket = %self.path.display(), uid = peer.uid(), pid = ?peer.pid(), "refused a connection of another user");
        }
    }
}

/// Listens on `path` (mode 0600), creating its directory (mode 0700) where it is missing. A socket that nobody listens
/// on any more is replaced. Must be called inside a tokio runtime.
pub fn unix_listen(path: &Path) -> Result<Listener, TransportError> {
    check_socket_path(path)?;
    let io = |operation| move |source| TransportError::Io { operation, path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        private_directory(directory)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(TransportError::NotSocket { path: path.to_owned() }),
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(io("remove the stale socket"))?;
                tracing::debug!(socket = %path.display(), "removed a stale socket");
            }
            // A full backlog (EAGAIN) is a living listener, too.
            Ok(_) => return Err(TransportError::InUse { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(TransportError::InUse { path: path.to_owned() });
            }
            Err(error) => return Err(io("probe")(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("look at")(error)),
    }
    let inner = UnixListener::bind(path).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => TransportError::InUse { path: path.to_owned() },
        _ => io("listen on")(error),
    })?;
    let listener = Listener { inner, path: path.to_owned() };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io("set the mode of"))?;
    Ok(listener)
}

/// Connects to a service's socket. The transport goes into a tarpc client: [`spawn_dispatch`].
pub async fn unix_connect<Item, SinkItem>(
    path: &Path,
    deadline: Duration,
) -> Result<Transport<Item, SinkItem>, TransportError>
where
    Item: for<'de> serde::Deserialize<'de>,
    SinkItem: serde::Serialize,
{
    Ok(framed(unix_stream(path, deadline).await?))
}

/// Connects to a service's socket, for who passes the bytes on.
pub async fn unix_stream(path: &Path, deadline: Duration) -> Result<UnixStream, TransportError> {
    check_socket_path(path)?;
    let stream = match tokio::time::timeout(deadline, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    TransportError::NotListening { path: path.to_owned() }
                }
                _ => TransportError::Io { operation: "connect to", path: path.to_owned(), source: error },
            });
        }
        Err(_) => return Err(TransportError::Deadline { path: path.to_owned(), deadline }),
    };
    let peer = stream.peer_cred().map_err(|source| TransportError::Io {
        operation: "ask who listens on",
        path: path.to_owned(),
        source,
    })?;
    // Whoever listens there gets our token and our trust. The superuser could have both anyway.
    if peer.uid() != rustix::process::geteuid().as_raw() && peer.uid() != 0 {
        return Err(TransportError::ForeignListener { path: path.to_owned(), uid: peer.uid() });
    }
    Ok(stream)
}

/// Frames and codec over a connected stream.
pub(crate) fn framed<S, Item, SinkItem>(
    stream: S,
) -> tarpc::serde_transport::Transport<S, Item, SinkItem, Codec<Item, SinkItem>>
where
    S: Io,
    Item: for<'de> serde::Deserialize<'de>,
    SinkItem: serde::Serialize,
{
    let frames = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_framed(stream);
    tarpc::serde_transport::new(frames, Codec::default())
}

/// Limits of a client: requests in flight, and requests that wait to be sent (further calls wait for room).
#[must_use]
pub fn client_config() -> client::Config {
    let mut config = client::Config::default();
    config.max_in_flight_requests = 256;
    config.pending_request_buffer = 64;
    config
}

/// Runs a tarpc client's connection in a task of its own, and hands out the client:
/// `spawn_dispatch(RootServiceClient::new(client_config(), transport))`. When the connection breaks, calls fail; the
/// task only notes it.
pub fn spawn_dispatch<C, D, E>(new: client::NewClient<C, D>) -> C
where
    D: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let client::NewClient { client, dispatch } = new;
    tokio::spawn(async move {
        if let Err(error) = dispatch.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "an rpc connection ended");
        }
    });
    client
}

/// The context of a call that is to be answered within `deadline` (at most [`DEADLINE_MAX`]).
#[must_use]
pub fn context(deadline: Duration) -> tarpc::context::Context {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + deadline.min(DEADLINE_MAX);
    context
}
