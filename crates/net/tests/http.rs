//! Requests against local servers: addresses, limits, refusals and what errors say.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{answer_once, http_answer, listen, within};
use dccd_net::{Governor, GovernorOptions, HttpClient, HttpError, HttpOptions, HttpResponse, Priority, Retry, SystemClock};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const MINUTE: Duration = Duration::from_secs(60);

fn governor() -> Arc<Governor> {
    let options = GovernorOptions { used_weight_header: Some("x-mbx-used-weight-1m"), ..GovernorOptions::new(6000, MINUTE) };
    Governor::new(options, Arc::new(SystemClock))
}

fn options(address: &str, prefix: &str) -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(2),
        turn_timeout: Duration::from_millis(100),
        max_body_bytes: 1_000,
        ..HttpOptions::new(format!("http://{address}{prefix}"), governor())
    }
}

/// One request with one answer; what came of it, and the request's head.
async fn exchange(prefix: &str, answer: String) -> (Result<HttpResponse, HttpError>, String, HttpClient) {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move { answer_once(&listener, &answer).await });
    let client = HttpClient::new(options(&address, prefix)).unwrap();
    let result = within("the answer", client.get("/api/v3/depth?symbol=BTCUSDT&key=secret", 50, Priority::Live)).await;
    (result, within("the server", server).await.unwrap(), client)
}

#[tokio::test]
async fn an_answer_comes_with_body_headers_and_time() {
    let headers = "x-mbx-used-weight-1m: 77\r\n";
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (result, request, client) = exchange("", http_answer("200 OK", headers, "{\"lastUpdateId\":1}")).await;
    let response = result.unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"{\"lastUpdateId\":1}"[..]));
    assert_eq!(response.header("X-MBX-USED-WEIGHT-1M"), Some("77"));
    assert_eq!(response.header("absent"), None);
    assert!(response.ts_recv >= i64::try_from(before.as_nanos()).unwrap());
    assert!(request.starts_with("GET /api/v3/depth?symbol=BTCUSDT&key=secret HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("user-agent: dccd/"), "{request}");
    // Our 50, corrected by the server's count.
    assert_eq!(client.governor().snapshot().used, 77);
}

#[tokio::test]
async fn a_post_has_no_body_and_its_errors_say_that_it_was_one() {
    for (status, what) in [("200 OK", ""), ("500 Internal Server Error", "POST 127.0.0.1:")] {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move { answer_once(&listener, &http_answer(status, "", "{}")).await });
        let client = HttpClient::new(options(&address, "")).unwrap();
        // One with connections of its own is under the same governor.
        let other = client.apart(Duration::from_secs(1), Duration::from_secs(1)).unwrap();
        let result = within("the answer", other.post("/api/v1/bullet-public", 10, Priority::Live)).await;
        let request = within("the server", server).await.unwrap();
        assert!(request.starts_with("POST /api/v1/bullet-public HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("content-length: 0\r\n"), "{request}");
        let text = result.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(text.starts_with(what) && text.is_empty() == what.is_empty(), "{text}");
        assert_eq!(client.governor().snapshot().used, 10);
    }
}

#[tokio::test]
async fn a_base_address_keeps_its_prefix() {
    for prefix in ["/mirror/binance", "/mirror/binance/"] {
        let (result, request, _) = exchange(prefix, http_answer("200 OK", "", "{}")).await;
        result.unwrap();
        assert!(request.starts_with("GET /mirror/binance/api/v3/depth?"), "{request}");
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_hides_the_query() {
    let body = format!("{{\"code\":-1121,\"msg\":\"Invalid symbol.\"}}{}", "x".repeat(5_000));
    let (result, ..) = exchange("", http_answer("400 Bad Request", "", &body)).await;
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/api/v3/depth: status 400: ") && text.contains("Invalid symbol."), "{text}");
    assert!(!text.contains("secret") && !text.contains("symbol=BTCUSDT"), "{text}");
    assert!(matches!(&error, HttpError::Status { body, frozen: None, .. } if body.len() == 512), "{error:?}");
    assert_eq!(error.retry(), Retry::No);
}

#[tokio::test]
async fn a_servers_fault_is_worth_another_try() {
    let (result, ..) = exchange("", http_answer("502 Bad Gateway", "", "")).await;
    assert_eq!(result.unwrap_err().retry(), Retry::After(Duration::from_secs(1)));
}

#[tokio::test]
async fn after_a_refusal_for_too_many_requests_nothing_is_sent() {
    let (listener, address) = listen().await;
    let client = HttpClient::new(options(&address, "")).unwrap();
    let server = tokio::spawn(async move {
        answer_once(&listener, &http_answer("429 Too Many Requests", "Retry-After: 7\r\n", "")).await;
        listener
    });
    let error = within("the answer", client.get("/a", 1, Priority::Live)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
    let listener: TcpListener = within("the server", server).await.unwrap();

    let error = within("the governor", client.get("/b?key=secret", 1, Priority::Live)).await.unwrap_err();
    assert!(matches!(&error, HttpError::Turn { .. }), "{error:?}");
    assert!(matches!(error.retry(), Retry::After(wait) if wait > Duration::from_secs(5) && wait <= Duration::from_secs(7)));
    let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(chain.contains("GET 127.0.0.1:") && chain.contains("/b was not sent: requests are frozen"), "{chain}");
    assert!(chain.contains("answered 429") && !chain.contains("secret"), "{chain}");
    let connected = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(connected.is_err(), "a frozen client connected");
}

#[tokio::test]
async fn a_body_past_the_limit_is_not_taken() {
    let (result, ..) = exchange("", http_answer("200 OK", "", &"x".repeat(1_001))).await;
    assert!(matches!(result.unwrap_err(), HttpError::TooLarge { limit: 1_000, .. }));
    let (result, ..) = exchange("", http_answer("200 OK", "", &"x".repeat(1_000))).await;
    assert_eq!(result.unwrap().body.len(), 1_000);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let (result, ..) = exchange("", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned()).await;
    let error = result.unwrap_err();
    assert!(matches!(error, HttpError::Transport { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_reported_and_not_followed() {
    let (result, ..) =
        exchange("", http_answer("301 Moved Permanently", "location: http://elsewhere.example/\r\n", "")).await;
    assert!(matches!(result.unwrap_err(), HttpError::Status { status: 301, .. }));
}

#[tokio::test]
async fn nobody_there_and_nobody_answering() {
    let (listener, address) = listen().await;
    let client =
        HttpClient::new(HttpOptions { request_timeout: Duration::from_millis(200), ..options(&address, "") }).unwrap();
    let error = within("the timeout", client.get("/slow?key=secret", 1, Priority::Live)).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Now);
    drop(listener);

    let client = HttpClient::new(options(&address, "")).unwrap();
    let error = within("the refusal", client.get("/gone?key=secret", 1, Priority::Live)).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&address) && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn addresses_that_are_none_are_refused_without_their_secrets() {
    for base_url in ["ftp://x.example", "api.example.com", "http://", "https://user:secret@x.example/?token=secret"] {
        let options = HttpOptions { base_url: base_url.to_owned(), ..options("", "") };
        let error = HttpClient::new(options).unwrap_err().to_string();
        assert!(error.contains("expected http:// or https://") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_trusted() {
    for trusted in [false, true] {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = common::tls_acceptor().accept(stream).await {
                common::request_head(&mut stream).await;
                stream.write_all(http_answer("200 OK", "", "over TLS").as_bytes()).await.unwrap();
            }
        });
        let base_url = format!("https://{}", address.replace("127.0.0.1", "localhost"));
        let tls = trusted.then(common::tls_client);
        let client = HttpClient::new(HttpOptions { base_url, tls, ..options("", "") }).unwrap();
        let result = within("the answer", client.get("/", 1, Priority::Live)).await;
        if trusted {
            assert_eq!(&result.unwrap().body[..], b"over TLS");
        } else {
            let error = result.unwrap_err();
            assert!(
                matches!(error, HttpError::Connect { .. }) && format!("{error:?}").contains("UnknownIssuer"),
                "{error:?}"
            );
        }
    }
}

/// A bare container: no certificates anywhere. Runs another test of this file in a process of its own, since the host's
/// certificates are read once a process.
#[test]
fn a_host_without_certificates_still_has_a_client() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_base_address_keeps_its_prefix"])
        .env("SSL_CERT_FILE", "/nowhere/certificates.pem")
        .env("SSL_CERT_DIR", "/nowhere")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
