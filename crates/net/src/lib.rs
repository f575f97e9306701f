//! WebSocket and HTTP clients that keep themselves connected and within an exchange's limits. Knows no exchange.
//!
//! - [`Link`]: one WebSocket address, kept connected for ever; what arrived comes out in batches.
//! - [`HttpClient`]: requests without a body under a [`Governor`], the ledger of weights of one exchange and IP, shared by the processes of a host.
//! - [`post_json`]: a document to a webhook, whose address is a secret.
//! - [`Backoff`], [`Retry`], [`Clock`]: how long to wait, whether to try again, what time it is.
//!
//! Times are `i64` nanoseconds since the Unix epoch, host clock. Nothing here reads a payload, keeps a file other than
//! the governor's ledger and freeze, or knows a symbol; credentials and query strings never reach an error or a log.

mod backoff;
mod clock;
mod governor;
mod http;
mod post;
mod retry;
mod tls;
mod ws;

pub use backoff::{Backoff, Delays};
pub use clock::{Clock, SystemClock, TokioClock};
pub use governor::{
    Governor, GovernorError, GovernorOptions, LimitsDirError, Permit, Priority, Quota, Snapshot, ledger_file, limits_dir,
};
pub use http::{HttpClient, HttpError, HttpOptions, HttpResponse};
pub use post::{PostError, host_of, post_json};
pub use retry::{Retry, retry_after};
pub use rustls::pki_types::CertificateDer;
pub use tls::{install_crypto_provider, tls_trusting};
pub use ws::{
    AddressError, AddressSource, BATCH_FRAMES, CloseCause, CloseReason, ConnectBudget, Frame, FrameBatch, Link, LinkError,
    LinkEvent, LinkOptions, SendError,
};
