//! What the root is told of `daemon.rpc`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dccd_rpc::remote::Token;

/// The RPC over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcOptions {
    /// Where it listens; port 0 takes one that is free, which the log names.
    pub address: SocketAddr,
    /// What a client has to show.
    pub token: RpcToken,
    /// With what it speaks TLS; `None`: it doesn't.
    pub tls: Option<RpcTls>,
    /// What clients may take.
    pub limits: RpcLimits,
}

/// What a client has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcToken {
    /// Nothing; for loopback only.
    Nothing,
    /// This.
    Text(Token),
    /// What stands in this file, which nobody else may read.
    File(PathBuf),
}

/// PEM files. They are read again when they change, so that a renewed certificate is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcTls {
    /// The certificate, with what leads to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What clients may take. Each has its key in `daemon.rpc.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcLimits {
    /// Connections that have shown the token.
    pub connections_max: usize,
    /// The same from one address.
    pub connections_per_address_max: usize,
    /// Connections that haven't yet; the oldest makes room for the next.
    pub unauthenticated_max: usize,
    /// How long these may take.
    pub auth_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// Longest message of a client in bytes.
    pub frame_bytes_max: u32,
    /// Messages that a connection may send in a second.
    pub requests_per_second: u32,
    /// Bytes that a connection may send in a second.
    pub bytes_per_second: u32,
    /// Above its rate a connection is slowed down, and ended when it stays there for this long. The one without a key.
    pub flood_time: Duration,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            connections_per_address_max: 16,
            unauthenticated_max: 16,
            auth_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3_600),
            frame_bytes_max: 1 << 20,
            requests_per_second: 1_000,
            bytes_per_second: 16 << 20,
            flood_time: Duration::from_secs(10),
        }
    }
}
