//! What goes wrong before a connection is open: each has its own reason, with host and port, without secrets.

mod common;

use std::time::Duration;

use common::{Client, accept, answer_once, http_answer, listen, options, within};
use dccd_net::{AddressError, AddressSource, CloseCause, Link, LinkOptions};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The reason of the first failed attempt, checked for what every reason must and must not say.
async fn reason(options: LinkOptions, endpoint: &str) -> (CloseCause, String, Duration) {
    let (conn, reason, retry_in) = Client::new(options).closed().await;
    let text = reason.to_string();
    assert_eq!(conn, 1);
    assert!(text.starts_with(&format!("{endpoint}: ")), "{text}");
    assert!(text.contains("connecting again in"), "{text}");
    assert!(!text.contains("secret") && !text.contains("token"), "{text}");
    (reason.cause, text, retry_in.unwrap())
}

#[tokio::test]
async fn a_refused_connection() {
    let (listener, address) = listen().await;
    drop(listener);
    let (cause, text, _) = reason(options(&address), &address).await;
    assert!(matches!(cause, CloseCause::Connect { .. }), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_name_without_an_address() {
    let options = LinkOptions {
        url: "ws://no-such-host.invalid:81/stream?token=secret".to_owned(),
        // A resolver that can't be reached takes its time.
        connect_timeout: Duration::from_secs(2),
        ..options("")
    };
    let (cause, text, _) = reason(options, "no-such-host.invalid:81").await;
    assert!(matches!(cause, CloseCause::Resolve { .. } | CloseCause::Timeout { stage: "resolving the name", .. }), "{text}");
}

#[tokio::test]
async fn a_refused_upgrade_and_its_retry_after() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        answer_once(&listener, &http_answer("429 Too Many Requests", "retry-after: 7\r\n", "slow down")).await;
    });
    let (cause, text, retry_in) = reason(options(&address), &address).await;
    assert!(matches!(cause, CloseCause::Refused { status: 429, .. }), "{text}");
    assert!(text.contains("status 429, asking to wait 7s"), "{text}");
    assert_eq!(retry_in, Duration::from_secs(7));
}

#[tokio::test]
async fn an_answer_that_is_no_upgrade() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        answer_once(&listener, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            .await;
    });
    let (cause, text, _) = reason(options(&address), &address).await;
    assert!(matches!(cause, CloseCause::Upgrade { .. }), "{text}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers() {
    let (listener, address) = listen().await;
    let options = LinkOptions { connect_timeout: Duration::from_millis(150), ..options(&address) };
    let held = tokio::spawn(async move { listener.accept().await });
    let (cause, text, _) = reason(options, &address).await;
    assert!(matches!(cause, CloseCause::Timeout { stage: "TLS and upgrade", .. }), "{text}");
    drop(held);
}

#[tokio::test]
async fn a_server_without_tls() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        common::request_head(&mut stream).await;
    });
    let options = LinkOptions { url: format!("wss://{address}/?token=secret"), ..options(&address) };
    let (cause, text, _) = reason(options, &address).await;
    assert!(matches!(cause, CloseCause::Tls { .. }), "{text}");
}

/// Accepts TLS with the test certificate for `localhost` and speaks WebSocket.
async fn tls_server(listener: tokio::net::TcpListener) {
    let acceptor = common::tls_acceptor();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(Message::text("over TLS")).await.unwrap();
        socket.next().await;
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for() {
    let (listener, address) = listen().await;
    tokio::spawn(tls_server(listener));
    let endpoint = address.replace("127.0.0.1", "localhost");
    let options = LinkOptions { url: format!("wss://{endpoint}/?token=secret"), ..options(&address) };
    let (cause, text, _) = reason(options, &endpoint).await;
    assert!(matches!(cause, CloseCause::Tls { .. }), "{text}");
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn a_trusted_certificate_connects() {
    let (listener, address) = listen().await;
    tokio::spawn(tls_server(listener));
    let url = format!("wss://{}/", address.replace("127.0.0.1", "localhost"));
    let mut client = Client::new(LinkOptions { url, tls: Some(common::tls_client()), ..options(&address) });
    client.opened().await;
    assert_eq!(client.texts().await.1, ["over TLS"]);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_its_secrets() {
    for url in ["https://x.example/", "wss://", "stream.example.com/?token=secret", "http://user:secret@x.example/"] {
        let error = Link::new(LinkOptions::new(url)).unwrap_err().to_string();
        assert!(error.contains("expected ws:// or wss://") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn attempts_never_end() {
    let (listener, address) = listen().await;
    let mut client = Client::new(options(&address));
    let server = tokio::spawn(async move {
        for _ in 0..20 {
            drop(listener.accept().await.unwrap());
        }
        accept(&listener).await
    });
    for attempt in 1..=20 {
        assert_eq!(client.closed().await.0, attempt);
    }
    assert_eq!(client.opened().await, (21, None));
    drop(within("the server", server).await.unwrap());
}

/// Gives these addresses one after the other, then none any more.
struct Addresses(std::sync::Mutex<Vec<Result<String, AddressError>>>);

impl AddressSource for Addresses {
    fn address(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<String, AddressError>> + Send + '_>> {
        let next = self.0.lock().unwrap().pop();
        Box::pin(async move {
            match next {
                Some(address) => address,
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test]
async fn an_address_is_learnt_before_each_attempt_and_what_goes_wrong_there_is_told() {
    let (listener, address) = listen().await;
    let wait = Duration::from_millis(40);
    let refused = AddressError { reason: "status 400".to_owned(), retry_after: Some(wait) };
    let mut addresses =
        vec![Err(refused), Ok("http://nowhere".to_owned()), Ok(format!("ws://{address}/first?token=secret"))];
    addresses.push(Ok(format!("ws://{address}/second?token=secret")));
    addresses.reverse();
    let source = Addresses(std::sync::Mutex::new(addresses));
    let named = LinkOptions {
        url: "ws://named.example/".to_owned(),
        addresses: Some(std::sync::Arc::new(source)),
        address_timeout: Duration::from_millis(50),
        ..options(&address)
    };
    let mut client = Client::new(named);
    let (_, reason, retry_in) = client.closed().await;
    assert!(reason.to_string().starts_with("named.example:80: there is no address to connect to: status 400; "), "{reason}");
    assert!(retry_in.unwrap() >= wait, "{retry_in:?}");
    let (_, reason, _) = client.closed().await;
    assert!(reason.to_string().contains("the address that was learnt is no ws://"), "{reason}");
    for path in ["/first", "/second"] {
        let (mut stream, _) = within("a client connects", listener.accept()).await.unwrap();
        let head = common::request_head(&mut stream).await;
        assert!(head.starts_with(&format!("GET {path}?token=secret ")), "{head}");
        drop(stream);
        let (_, reason, _) = client.closed().await;
        assert!(!reason.to_string().contains("secret"), "{reason}");
    }
    let (_, reason, _) = client.closed().await;
    assert!(reason.to_string().contains("no connection within 50ms (learning the address)"), "{reason}");
}

/// A server may put the whole address, or a part of it, into its refusal or its goodbye.
#[tokio::test]
async fn a_ticket_that_the_server_repeats_is_in_no_reason() {
    const TICKET: &str = "2neAiuYvAU61ZDXANAGAsiL4";
    let (listener, address) = listen().await;
    let url = format!("ws://{address}/?token={TICKET}");
    let source = Addresses(std::sync::Mutex::new(vec![Ok(url.clone()), Ok(url)]));
    let learning = LinkOptions { addresses: Some(std::sync::Arc::new(source)), ..options(&address) };
    let server = tokio::spawn(async move {
        // The ticket lies across the end of what is kept of a body.
        let body = format!("{} token {TICKET} is invalid", "x".repeat(185));
        answer_once(&listener, &http_answer("401 Unauthorized", "", &body)).await;
        let mut socket = accept(&listener).await;
        let goodbye = CloseFrame { code: CloseCode::Policy, reason: format!("token {} expired", &TICKET[..12]).into() };
        socket.close(Some(goodbye)).await.unwrap();
        socket
    });
    let mut client = Client::new(learning);
    let (_, reason, _) = client.closed().await;
    let text = format!("{reason} {reason:?}");
    assert!(text.contains("status 401") && !text.contains(&TICKET[..8]), "{text}");
    client.opened().await;
    let (_, reason, _) = client.closed().await;
    let text = format!("{reason} {reason:?}");
    assert!(text.contains("token (hidden) expired") && !text.contains(&TICKET[..8]), "{text}");
    drop(within("the server", server).await.unwrap());
}
