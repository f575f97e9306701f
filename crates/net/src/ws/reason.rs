//! Why a connection ended or could not be opened, and what happens next, in words for a log and a gap record.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::AddressError;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};

/// What ended a connection or an attempt.
#[derive(Debug, thiserror::Error)]
pub enum CloseCause {
    /// It can't be learnt where to connect to.
    #[error("{source}")]
    Address {
        /// Why.
        source: AddressError,
    },
    /// The host's name has no address, or the resolver doesn't answer.
    #[error("cannot resolve the name: {source}")]
    Resolve {
        /// What the resolver says.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("cannot connect: {source}")]
    Connect {
        /// What the system says.
        source: io::Error,
    },
    /// The attempt took too long.
    #[error("no connection within {timeout:?} ({stage})")]
    Timeout {
        /// The time it had.
        timeout: Duration,
        /// How far it got.
        stage: &'static str,
    },
    /// TLS failed: certificate, protocol or no TLS at all.
    #[error("TLS failed: {source}")]
    Tls {
        /// What rustls says.
        source: io::Error,
    },
    /// The server answered the upgrade with another status than 101.
    #[error("the server refused the upgrade with status {status}{}{}", asks(*.retry_after), shown(.body))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What its `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// The beginning of the answer's body.
        body: String,
    },
    /// What the server answered is no WebSocket upgrade.
    #[error("the upgrade failed: {detail}")]
    Upgrade {
        /// What was wrong with it.
        detail: String,
    },
    /// The server said goodbye.
    #[error("the server closed it with code {code}{}", shown(.text))]
    Goodbye {
        /// The close code; 1005 where it gave none.
        code: u16,
        /// Its words.
        text: String,
    },
    /// The connection ended without a goodbye.
    #[error("the server ended it without a goodbye")]
    Ended,
    /// Reading or writing failed.
    #[error("the connection broke: {source}")]
    Broken {
        /// What the system says.
        source: io::Error,
    },
    /// Nothing was heard for too long, not even an answer to a ping.
    #[error("nothing heard for {silence:?}, not even an answer to a ping")]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// A message was larger than accepted.
    #[error("a message of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The server broke the WebSocket protocol.
    #[error("the server broke the protocol: {detail}")]
    Protocol {
        /// How.
        detail: String,
    },
    /// Another connection has taken over.
    #[error("retired")]
    Retired,
    /// The link is closing.
    #[error("closed on request")]
    Requested,
    /// The task of this connection panicked: a bug.
    #[error("its task panicked")]
    Panicked,
}

fn asks(wait: Option<Duration>) -> String {
    wait.map(|wait| format!(", asking to wait {wait:?}")).unwrap_or_default()
}

fn shown(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {}", text.escape_debug()) }
}

impl CloseCause {
    /// What went wrong while a connection was open.
    pub(super) fn from_open(error: WsError) -> Self {
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => CloseCause::Ended,
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseCause::Ended,
            WsError::Io(source) => CloseCause::Broken { source },
            WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                CloseCause::TooLarge { size, limit: max_size }
            }
            WsError::Utf8(_) => CloseCause::Protocol { detail: "a text message is not UTF-8".to_owned() },
            other => CloseCause::Protocol { detail: other.to_string() },
        }
    }

    /// How long the server asks to stay away.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            CloseCause::Refused { retry_after: Some(wait), .. }
            | CloseCause::Address { source: AddressError { retry_after: Some(wait), .. } } => *wait,
            _ => Duration::ZERO,
        }
    }
}

/// Why, at which server, and what happens next; `Display` is one line without secrets.
#[derive(Debug)]
pub struct CloseReason {
    /// What happened.
    pub cause: CloseCause,
    pub(super) endpoint: Arc<str>,
    pub(super) next: Next,
}

/// What the link does after a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Reconnect(Duration),
    /// A newer connection is open.
    Successor,
    Nothing,
}

impl CloseReason {
    /// Host and port of the server.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; ", self.endpoint, self.cause)?;
        match self.next {
            Next::Reconnect(Duration::ZERO) => f.write_str("a new connection is being opened"),
            Next::Reconnect(delay) => write!(f, "connecting again in {delay:.1?}"),
            Next::Successor => f.write_str("a newer connection has taken over"),
            Next::Nothing => f.write_str("not connecting again"),
        }
    }
}

impl std::error::Error for CloseReason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // `Display` tells the whole story of the cause, whose source follows.
        std::error::Error::source(&self.cause)
    }
}
