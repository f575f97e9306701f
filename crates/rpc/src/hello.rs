//! The first call of every connection, and the server's memory of whether it went well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::{BUILD, RpcError};

/// Who calls, and what it speaks. This type never changes: it is how two versions find out that they differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The contract's protocol number, e.g. [`crate::root::ROOT_PROTOCOL`].
    pub protocol: u32,
    /// The caller's version.
    pub build: String,
    /// Proof of permission on transports that need one; unused on Unix sockets.
    pub token: Option<String>,
}

impl Hello {
    /// The hello of this build for the contract with this protocol number.
    #[must_use]
    pub fn new(protocol: u32) -> Self {
        Self { protocol, build: BUILD.to_owned(), token: None }
    }
}

/// Who answers. This type never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// The service's protocol number.
    pub protocol: u32,
    /// The service's version.
    pub build: String,
    /// The service's name.
    pub service: String,
    /// Its process.
    pub pid: u32,
}

/// One connection's greeting, as the server sees it. Clones share the state.
#[derive(Clone, Debug)]
pub struct Greeting {
    service: Arc<str>,
    protocol: u32,
    accepted: Arc<AtomicBool>,
}

impl Greeting {
    /// Nothing said yet.
    #[must_use]
    pub fn new(service: &str, protocol: u32) -> Self {
        Self { service: service.into(), protocol, accepted: Arc::new(AtomicBool::new(false)) }
    }

    /// Answers the caller's hello; a caller with another protocol number is refused.
    pub fn hello(&self, hello: &Hello) -> Result<HelloReply, RpcError> {
        if hello.protocol != self.protocol {
            return Err(RpcError::Protocol {
                service: self.service.to_string(),
                ours: self.protocol,
                our_build: BUILD.to_owned(),
                theirs: hello.protocol,
                their_build: hello.build.clone(),
            });
        }
        self.accepted.store(true, Ordering::Relaxed);
        Ok(HelloReply {
            protocol: self.protocol,
            build: BUILD.to_owned(),
            service: self.service.to_string(),
            pid: std::process::id(),
        })
    }

    /// Whether the connection was greeted properly.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}
