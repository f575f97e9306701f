//! The contracts between dccd's processes: one tarpc trait per service with its wire types, and the transports under them.
//!
//! Wire types are positional (bincode): no `flatten`, `untagged`, `tag` or `skip_*`; fields, variants and methods are
//! only ever appended, and the contract's protocol number is raised with it. `tests/schema.rs` freezes the order.
//! The first call on every connection is `hello`; the server side refuses everything else until it has gone well.
//! Deadlines: every call has one, made with [`context`]; none is longer than a day, whatever a client says.

pub mod alertd;
pub mod condition;
pub mod datad;
mod directory;
mod error;
mod hello;
mod incoming;
pub mod remote;
pub mod root;
mod serve;
pub mod syncd;
mod transport;

pub use directory::{DirectoryError, private_directory};
pub use error::{CallError, RpcError, call};
pub use hello::{Greeting, Hello, HelloReply};
pub use serve::{Connection, Peer, ServeLimits, serve};
pub use transport::{
    Codec, DEADLINE_MAX, FRAME_BYTES_MAX, Listener, SOCKET_PATH_BYTES_MAX, Transport, TransportError, check_socket_path,
    client_config, context, spawn_dispatch, unix_connect, unix_listen, unix_stream,
};

/// What this build calls itself in `hello` and in listings.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");
