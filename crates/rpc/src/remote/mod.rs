//! The RPC over TCP: how a connection begins, what limits its frames, and the client's side. The server's side is the root's.
//!
//! A connection, inside TLS where the server has certificates:
//!
//! | who | bytes | what |
//! |---|---|---|
//! | client | `DCCDRPC`, u8 version | the opening |
//! | server | `DCCDRPC`, u8 version, u8 verdict, u16 length, reason | 0: go on; otherwise the reason, and the end |
//! | client | u16 length, token, u8 length, service | who it is and whom it wants; the token is empty where there is none |
//! | server | as above | once more |
//! | both | u32 length, message | from here on as on the service's own socket |
//!
//! Numbers are big-endian. The token goes only to something that has answered as one of ours would. Nothing else of the client's is
//! decoded before the token was found right. A server that ends a connection says why, between two frames: u32 `FFFFFFFF` (no
//! frame is that long), u16 length, reason.

mod address;
mod client;
mod file;
mod frames;
mod greeting;
mod secret;
mod stream;
mod tls;

pub use address::{AddressError, RemoteAddress};
pub use client::{Remote, RemoteError, RemoteTransport};
pub use file::FileError;
pub use frames::{FrameScan, Scanned, farewell};
pub use greeting::{
    Opening, SERVICE_BYTES_MAX, TOKEN_BYTES_MAX, Verdict, opens_like_ours, read_opening, read_service, read_token,
    write_verdict,
};
pub use secret::{SecretFileError, TOKEN_CHARS_MIN, Token, TokenError};
pub use tls::{TlsFileError, certificates, server_config};
