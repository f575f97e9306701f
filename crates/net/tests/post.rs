//! Webhooks against local servers: what goes out, what an error says, and what it asks for.

mod common;

use std::time::Duration;

use common::{DEADLINE, http_answer, listen, within};
use dccd_net::{PostError, Retry, post_json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DOCUMENT: &str = "{\"text\":\"disk low\"}";

/// One post with one answer; what came of it, and the whole request.
async fn posted(answer: &str) -> (Result<(), PostError>, String) {
    let (listener, address) = listen().await;
    let answer = answer.to_owned();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(DOCUMENT.as_bytes()) {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request broke off");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let url = format!("http://{address}/services/T0/s3cret?key=k3y9");
    let result = within("the answer", post_json(&url, DOCUMENT.into(), DEADLINE)).await;
    (result, within("the server", server).await.unwrap())
}

#[tokio::test]
async fn a_document_goes_to_the_whole_address() {
    let (result, request) = posted(&http_answer("200 OK", "", "ok")).await;
    result.unwrap();
    assert!(request.starts_with("POST /services/T0/s3cret?key=k3y9 HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with(DOCUMENT), "{request}");
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_nothing_of_the_address() {
    let s = |n| Retry::After(Duration::from_secs(n));
    for (status, headers, retry) in [
        ("404 Not Found", "", Retry::No),
        ("400 Bad Request", "retry-after: 5\r\n", Retry::No),
        ("302 Found", "location: http://127.0.0.1:1/elsewhere\r\n", Retry::No),
        ("429 Too Many Requests", "retry-after: 7\r\n", s(7)),
        ("503 Service Unavailable", "", s(1)),
    ] {
        let (result, _) = posted(&http_answer(status, headers, "no such hook: s3cret")).await;
        let error = result.unwrap_err();
        assert_eq!(error.retry(), retry, "{status}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(&status[..3]) && !said.contains("s3cret") && !said.contains("k3y9"), "{said}");
    }
    let (result, _) = posted(&http_answer("410 Gone", "", "channel_is_archived")).await;
    assert!(result.unwrap_err().to_string().ends_with("status 410: channel_is_archived"));
}

#[tokio::test]
async fn a_host_that_is_away_or_says_nothing_is_tried_again() {
    let (listener, address) = listen().await;
    let url = format!("http://{address}/s3cret");
    let silent = post_json(&url, DOCUMENT.into(), Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(silent, PostError::Timeout { .. }) && silent.retry() == Retry::Now, "{silent:?}");
    drop(listener);
    let away = post_json(&url, DOCUMENT.into(), DEADLINE).await.unwrap_err();
    assert!(matches!(away, PostError::Connect { .. }) && matches!(away.retry(), Retry::After(_)), "{away:?}");
    assert!(away.to_string().contains(&address) && !format!("{away:?}{silent:?}").contains("s3cret"), "{away:?}");
    assert!(matches!(post_json("s3cret", vec![], DEADLINE).await, Err(PostError::Address)));
}
