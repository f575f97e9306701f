//! Local servers for the tests of this crate, and bounded waits for what a link says.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use dccd_net::{Backoff, CloseReason, FrameBatch, Link, LinkEvent, LinkOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;

/// The longest any single step of a test may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {DEADLINE:?}"),
    }
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = within("a client connects", listener.accept()).await.unwrap();
    within("the upgrade", tokio_tungstenite::accept_async(stream)).await.unwrap()
}

/// Quick to come back, patient otherwise.
pub(crate) fn options(address: &str) -> LinkOptions {
    LinkOptions {
        backoff: Backoff { base: Duration::from_millis(10), max: Duration::from_millis(50) },
        close_timeout: Duration::from_millis(300),
        seed: 1,
        ..LinkOptions::new(format!("ws://{address}/stream?token=secret"))
    }
}

/// A link and the batch its frames come in.
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) batch: FrameBatch,
}

impl Client {
    pub(crate) fn new(options: LinkOptions) -> Self {
        Client { link: Link::new(options).unwrap(), batch: FrameBatch::new() }
    }

    pub(crate) async fn event(&mut self) -> LinkEvent {
        within("an event of the link", self.link.next(&mut self.batch)).await
    }

    pub(crate) async fn opened(&mut self) -> (u32, Option<u32>) {
        match self.event().await {
            LinkEvent::Opened { conn, replaces } => (conn, replaces),
            other => panic!("expected an opening, got {other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) -> (u32, CloseReason, Option<Duration>) {
        match self.event().await {
            LinkEvent::Closed { conn, reason, retry_in } => (conn, reason, retry_in),
            other => panic!("expected a closing, got {other:?}"),
        }
    }

    /// The texts of the next frames.
    pub(crate) async fn texts(&mut self) -> (u32, Vec<String>) {
        match self.event().await {
            LinkEvent::Frames { conn } => (conn, texts(&self.batch)),
            other => panic!("expected frames, got {other:?}"),
        }
    }

    /// Exactly `count` frames of one connection, in however many batches they come.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.texts().await.1);
        }
        assert_eq!(all.len(), count, "more frames than expected");
        all
    }
}

pub(crate) fn texts(batch: &FrameBatch) -> Vec<String> {
    batch.iter().map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect()
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// A TLS server with the test certificate for `localhost`.
pub(crate) fn tls_acceptor() -> tokio_rustls::TlsAcceptor {
    dccd_net::install_crypto_provider();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../data/localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../data/localhost.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// What a client trusts that trusts the test authority alone.
pub(crate) fn tls_client() -> Arc<rustls::ClientConfig> {
    dccd_net::install_crypto_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(include_bytes!("../data/ca.pem")).unwrap()).unwrap();
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Reads an HTTP request's head.
pub(crate) async fn request_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Answers the next HTTP request with these bytes and closes; returns the request's head.
pub(crate) async fn answer_once(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = within("a client connects", listener.accept()).await.unwrap();
    let head = within("a request", request_head(&mut stream)).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
    head
}

pub(crate) fn http_answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}
