//! What a call can fail with: an answer of the service ([`RpcError`], a wire type), or no answer at all ([`CallError`]).

use std::future::Future;

use serde::{Deserialize, Serialize};

/// The refusal or failure that a service answers with. Positional on the wire: append variants only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RpcError {
    /// The two sides speak different versions of the contract.
    #[error(
        "{service} speaks protocol {ours} (dccd {our_build}), the caller {theirs} (dccd {their_build}); restart dccd so that both are the same version"
    )]
    Protocol {
        /// Who refuses.
        service: String,
        /// Its protocol.
        ours: u32,
        /// Its build.
        our_build: String,
        /// The caller's protocol.
        theirs: u32,
        /// The caller's build.
        their_build: String,
    },
    /// The caller may not do this.
    #[error("{service} refused: {reason}")]
    Refused {
        /// Who refuses.
        service: String,
        /// Why.
        reason: String,
    },
    /// What was asked for does not exist.
    #[error("{what} \"{name}\" is unknown{}", known_names(known))]
    Unknown {
        /// Kind of thing: `service`, `symbol`, `feed`, …
        what: String,
        /// The name asked for.
        name: String,
        /// Names that exist, or the nearest ones; may be empty.
        known: Vec<String>,
    },
    /// An argument makes no sense.
    #[error("{argument}: {reason}")]
    Invalid {
        /// The argument's name.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not now; it may work later.
    #[error("{service} cannot do this now: {reason}")]
    Unavailable {
        /// Who answers.
        service: String,
        /// Why not now.
        reason: String,
    },
    /// It was tried and went wrong.
    #[error("{operation} failed: {reason}")]
    Failed {
        /// What was tried.
        operation: String,
        /// The error with its whole chain.
        reason: String,
    },
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(" (known: {})", known.join(", ")) }
}

/// Why a call brought no result. Not a wire type.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E: std::error::Error + 'static = RpcError> {
    /// The service answered with an error.
    #[error(transparent)]
    Answer(E),
    /// No answer within the deadline.
    #[error("{service} did not answer {method} in time")]
    Deadline {
        /// Whom we asked.
        service: String,
        /// What we asked.
        method: &'static str,
    },
    /// The service took the call and gave no answer of its own: it speaks another version, or has too many calls.
    #[error("{service} rejected {method}")]
    Rejected {
        /// Whom we asked.
        service: String,
        /// What we asked.
        method: &'static str,
        /// The server's words.
        #[source]
        source: tarpc::ServerError,
    },
    /// The connection broke before the answer came.
    #[error("the connection to {service} broke during {method}")]
    Connection {
        /// Whom we asked.
        service: String,
        /// What we asked.
        method: &'static str,
        /// The cause.
        #[source]
        source: tarpc::client::RpcError,
    },
}

/// Awaits a tarpc call and folds its two layers of errors into one:
/// `call("dccd-root", "list", client.list(context(deadline))).await?`.
pub async fn call<T, E, F>(service: &str, method: &'static str, future: F) -> Result<T, CallError<E>>
where
    E: std::error::Error + 'static,
    F: Future<Output = Result<Result<T, E>, tarpc::client::RpcError>>,
{
    match future.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(CallError::Answer(error)),
        Err(tarpc::client::RpcError::DeadlineExceeded) => Err(CallError::Deadline { service: service.to_owned(), method }),
        Err(tarpc::client::RpcError::Server(source)) => {
            Err(CallError::Rejected { service: service.to_owned(), method, source })
        }
        Err(source) => Err(CallError::Connection { service: service.to_owned(), method, source }),
    }
}
