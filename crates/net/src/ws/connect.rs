//! One attempt: name, TCP, TLS and upgrade, within one deadline, each failure told apart.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::address::Secrets;
use super::{CloseCause, LinkOptions};
use crate::clock::now_ns;
use crate::retry::retry_after;

/// How much of a refusal's body a reason keeps.
const REFUSAL_BODY_CHARS: usize = 200;

/// How much of it is looked at: what is to be hidden may lie across the end of what is kept.
const REFUSAL_READ_BYTES: usize = 4_096;

/// The largest backlog of unsent bytes: one subscription message is a few kilobytes.
const WRITE_BUFFER_BYTES_MAX: usize = 1 << 20;

pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A checked address.
#[derive(Debug, Clone)]
pub(super) struct Target {
    url: String,
    /// The bare name or address, IPv6 without brackets.
    host: String,
    port: u16,
    /// Host and port as they are shown.
    pub(super) endpoint: Arc<str>,
}

impl Target {
    pub(super) fn parse(url: &str) -> Option<Target> {
        let uri: Uri = url.parse().ok()?;
        let port = match uri.scheme_str()? {
            "ws" => uri.port_u16().unwrap_or(80),
            "wss" => uri.port_u16().unwrap_or(443),
            _ => return None,
        };
        let shown = uri.host().filter(|host| !host.is_empty())?;
        let host = shown.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Target { url: url.to_owned(), host, port, endpoint: format!("{shown}:{port}").into() })
    }
}

/// Learns the address where it isn't always the same, and opens a connection. What the server says is free of the secrets in an address
/// that was learnt; so must be what it says later.
pub(super) async fn connect(target: &Target, options: &LinkOptions) -> Result<(Stream, Secrets), CloseCause> {
    let Some(addresses) = &options.addresses else {
        return open(target, options, &Secrets::default()).await.map(|stream| (stream, Secrets::default()));
    };
    let url = match timeout(options.address_timeout, addresses.address()).await {
        Ok(url) => url.map_err(|source| CloseCause::Address { source })?,
        Err(_) => return Err(CloseCause::Timeout { timeout: options.address_timeout, stage: "learning the address" }),
    };
    match Target::parse(&url) {
        Some(target) => {
            let secrets = Secrets::of(&url);
            open(&target, options, &secrets).await.map(|stream| (stream, secrets))
        }
        None => {
            Err(CloseCause::Upgrade { detail: "the address that was learnt is no ws:// or wss:// with a host".to_owned() })
        }
    }
}

async fn open(target: &Target, options: &LinkOptions, secrets: &Secrets) -> Result<Stream, CloseCause> {
    let deadline = Instant::now() + options.connect_timeout;
    let late = |stage| CloseCause::Timeout { timeout: options.connect_timeout, stage };
    let tcp = open_tcp(target, deadline, &late).await?;
    // Pongs and subscriptions are small and mustn't wait for more.
    tcp.set_nodelay(true).map_err(|source| CloseCause::Connect { source })?;

    let upgrade_failed = |error: WsError| CloseCause::Upgrade { detail: secrets.hide(&error.to_string()) };
    let mut request = target.url.as_str().into_client_request().map_err(upgrade_failed)?;
    if let Ok(agent) = HeaderValue::from_str(&options.user_agent) {
        request.headers_mut().insert(header::USER_AGENT, agent);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(options.read_buffer_bytes)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(options.max_frame_bytes))
        .max_frame_size(Some(options.max_frame_bytes));
    let connector = Connector::Rustls(Arc::clone(options.tls.as_ref().unwrap_or(crate::tls::client_config())));
    match timeout_at(deadline, client_async_tls_with_config(request, tcp, Some(config), Some(connector))).await {
        Err(_) => Err(late("TLS and upgrade")),
        Ok(Ok((stream, _))) => Ok(stream),
        Ok(Err(WsError::Http(response))) => {
            let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let body = response.body().as_deref().unwrap_or_default();
            let body = secrets.hide(&String::from_utf8_lossy(&body[..body.len().min(REFUSAL_READ_BYTES)]));
            Err(CloseCause::Refused {
                status: response.status().as_u16(),
                retry_after: wait.and_then(|value| retry_after(value, now_ns())),
                body: body.chars().take(REFUSAL_BODY_CHARS).collect::<String>().trim().to_owned(),
            })
        }
        Ok(Err(WsError::Io(source))) if is_tls(&source) => Err(CloseCause::Tls { source }),
        Ok(Err(WsError::Tls(error))) => Err(CloseCause::Tls { source: io::Error::other(error) }),
        Ok(Err(WsError::Io(source))) => Err(CloseCause::Broken { source }),
        Ok(Err(error)) => Err(upgrade_failed(error)),
    }
}

/// Tries the host's addresses one after the other; each has its share of the time left, so that a dead one can't use it all.
async fn open_tcp(
    target: &Target,
    deadline: Instant,
    late: &impl Fn(&'static str) -> CloseCause,
) -> Result<TcpStream, CloseCause> {
    let found = timeout_at(deadline, tokio::net::lookup_host((target.host.as_str(), target.port))).await;
    let addresses: Vec<_> = match found {
        Err(_) => return Err(late("resolving the name")),
        Ok(Err(source)) => return Err(CloseCause::Resolve { source }),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut failed = CloseCause::Resolve { source: io::Error::new(io::ErrorKind::NotFound, "the name has no address") };
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => failed = CloseCause::Connect { source },
            Err(_) => failed = late("TCP"),
        }
        if left == Duration::ZERO {
            break;
        }
    }
    Err(failed)
}

/// rustls reports its failures as an I/O error that wraps its own.
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_shown_without_path_and_query() {
        let endpoint = |url| Target::parse(url).map(|target| target.endpoint.to_string());
        assert_eq!(endpoint("wss://stream.example.com/stream?token=secret").as_deref(), Some("stream.example.com:443"));
        assert_eq!(endpoint("ws://127.0.0.1:9/ws").as_deref(), Some("127.0.0.1:9"));
        assert_eq!(endpoint("ws://[::1]:9/ws").as_deref(), Some("[::1]:9"));
        assert_eq!(Target::parse("ws://[::1]:9/ws").unwrap().host, "::1");
        for bad in ["https://x/", "stream.example.com", "", "wss:///x", "ws://"] {
            assert!(Target::parse(bad).is_none(), "{bad:?}");
        }
    }
}
