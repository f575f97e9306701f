//! POST of a JSON document to an address that is a secret: a webhook. Only its host is ever shown.
//!
//! Under no governor: who posts sees to it that it is little. One attempt a call, with a deadline; the error says whether and when
//! another is worth it.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};

use crate::clock::now_ns;
use crate::http::is_loopback;
use crate::retry::{Retry, retry_after};

/// How much of a refusal's body an error keeps.
const BODY_BYTES: usize = 200;
/// A part of the address that is shorter is not taken for the secret when a server repeats it.
const SECRET_PART_BYTES: usize = 4;
/// The wait before a failed connection or a server's fault is tried again at the soonest.
const FAULT_WAIT: Duration = Duration::from_secs(1);

/// Why a document was not delivered. Names the host, never the rest of the address.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It is no address.
    #[error("that is no address to post to: expected http:// or https://, and a host")]
    Address,
    /// The client can't be set up.
    #[error("cannot set up the HTTP client")]
    Setup {
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// No connection: name not found, refused, TLS failed, or not in time.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("no answer from {host} within {timeout:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// The time it had.
        timeout: Duration,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the answer of {host} broke off or can't be read")]
    Transport {
        /// Host and port.
        host: String,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered with another status than success; a redirection is one.
    #[error("{host} answered with status {status}{}", said(body))]
    Status {
        /// Host and port.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer, on one line; empty where it repeats the address.
        body: String,
        /// What the server asks to wait.
        retry_after: Option<Duration>,
    },
}

fn said(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

impl PostError {
    /// Whether and when the same document is worth posting again.
    pub fn retry(&self) -> Retry {
        match self {
            PostError::Address | PostError::Setup { .. } => Retry::No,
            PostError::Timeout { .. } => Retry::Now,
            PostError::Connect { .. } | PostError::Transport { .. } => Retry::After(FAULT_WAIT),
            PostError::Status { retry_after: Some(wait), status, .. } if is_passing(*status) => Retry::After(*wait),
            PostError::Status { status, .. } if is_passing(*status) => Retry::After(FAULT_WAIT),
            PostError::Status { .. } => Retry::No,
        }
    }
}

/// Whether a status says that it may go well later.
fn is_passing(status: u16) -> bool {
    status >= 500 || matches!(status, 408 | 425 | 429)
}

/// Host and port of an address; `None` where it is none.
pub fn host_of(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Posts one document and waits for the answer, all of it within `timeout`.
///
/// A connection of its own each time: alerts are rare, and one that has been idle for hours is a worse one.
pub async fn post_json(url: &str, document: Vec<u8>, timeout: Duration) -> Result<(), PostError> {
    let parsed = reqwest::Url::parse(url).map_err(|_| PostError::Address)?;
    let host = host_of(url).ok_or(PostError::Address)?;
    let mut tls = (**crate::tls::client_config()).clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("dccd/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        // The secret goes to the host that was named, and to no other.
        .redirect(reqwest::redirect::Policy::none());
    if parsed.host_str().is_some_and(is_loopback) {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(|source| PostError::Setup { source: source.without_url() })?;
    let failed = |error: reqwest::Error| {
        let (source, host) = (error.without_url(), host.clone());
        if source.is_timeout() {
            PostError::Timeout { host, timeout }
        } else if source.is_connect() {
            PostError::Connect { host, source }
        } else {
            PostError::Transport { host, source }
        }
    };
    let request = client.post(parsed.clone()).header(CONTENT_TYPE, "application/json").body(document);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = wait.and_then(|value| retry_after(value, now_ns()));
    let mut body = Vec::new();
    // The status counts for more than the rest of its explanation.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= BODY_BYTES {
            break;
        }
    }
    body.truncate(BODY_BYTES);
    let body = without_address(&String::from_utf8_lossy(&body), &parsed);
    Err(PostError::Status { host, status, body, retry_after })
}

/// What a server said, on one line; nothing, where it repeats a part of the address.
fn without_address(body: &str, url: &reqwest::Url) -> String {
    let path = url.path().split('/');
    let query = url.query().into_iter().flat_map(|query| query.split(['&', '=']));
    let secrets = path.chain(query).chain([url.username()]).chain(url.password());
    let mut secrets = secrets.filter(|part| part.len() >= SECRET_PART_BYTES);
    if secrets.any(|part| body.contains(part)) {
        return String::new();
    }
    let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_repeats_the_address_is_not_quoted() {
        let url = reqwest::Url::parse("https://h.example/services/T0/B0/s3cret?key=k3y9").unwrap();
        assert_eq!(without_address("no_service\n  here\u{7}", &url), "no_service here");
        for leak in ["Cannot POST /services/x", "s3cret is unknown", "bad k3y9"] {
            assert_eq!(without_address(leak, &url), "");
        }
    }

    #[test]
    fn of_an_address_only_the_host_is_shown() {
        assert_eq!(host_of("https://u:p@hooks.example/services/T0").as_deref(), Some("hooks.example"));
        assert_eq!(host_of("http://127.0.0.1:8080/x").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(host_of("ftp://h/x"), None);
        assert_eq!(host_of("s3cret"), None);
    }
}
