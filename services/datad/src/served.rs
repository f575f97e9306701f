//! A server for tests: it answers GET requests, or takes them and never answers.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Serves on a free port of this host until the runtime ends; gives the base address. `answer` makes a body of a path with its query;
/// `None`: silence.
pub(crate) async fn serve(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head);
                match answer(head.split(' ').nth(1).unwrap_or_default()) {
                    Some(body) => {
                        let length = body.len();
                        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                        let _ = stream.write_all(text.as_bytes()).await; // who has gone needs no answer
                    }
                    None => std::future::pending::<()>().await,
                }
            });
        }
    });
    base
}
