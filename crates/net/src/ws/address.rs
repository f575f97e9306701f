//! Addresses that are good for one connection: some servers want to be asked for a ticket first.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Tells where the next connection of a link leads. An address may hold a secret: whoever has it shows host and port of it at
/// most.
pub trait AddressSource: Send + Sync {
    /// The address for one attempt, `ws://` or `wss://`, asked for anew each time. Given up when
    /// [`LinkOptions::address_timeout`](super::LinkOptions::address_timeout) is over.
    fn address(&self) -> Pin<Box<dyn Future<Output = Result<String, AddressError>> + Send + '_>>;
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
#[error("there is no address to connect to: {reason}")]
pub struct AddressError {
    /// Why, in words without secrets, with all that led to it.
    pub reason: String,
    /// How long to wait at least before it is asked for again.
    pub retry_after: Option<Duration>,
}
