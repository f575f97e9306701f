//! Tickets: what some exchanges have to be asked for before each connection. The request is weighed by the exchange's governor like
//! any other, has a deadline, and its answer, which holds a secret, is given to the link and to nobody else.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Adapter, HistoryError};
use dccd_net::{AddressError, AddressSource, HttpClient, Priority, Retry};

use crate::error::chain;

/// The tickets of one socket.
pub(crate) struct Tickets {
    adapter: Arc<dyn Adapter>,
    /// The socket's place in [`Adapter::sockets`].
    socket: usize,
    /// The base address that the configuration names.
    ws_base: Option<String>,
    http: HttpClient,
}

impl Tickets {
    /// `None` where this socket wants none.
    pub(crate) fn of(
        adapter: &Arc<dyn Adapter>,
        socket: usize,
        ws_base: Option<String>,
        http: &HttpClient,
    ) -> Option<Arc<dyn AddressSource>> {
        adapter.ticket_request(socket)?;
        Some(Arc::new(Self { adapter: adapter.clone(), socket, ws_base, http: http.clone() }))
    }

    async fn ask(&self) -> Result<String, AddressError> {
        let Some(request) = self.adapter.ticket_request(self.socket) else {
            return Err(AddressError { reason: "the socket wants no ticket".to_owned(), retry_after: None });
        };
        let answer = self.http.post(&request.path_and_query, request.weight, Priority::Live).await;
        let answer = answer.map_err(|error| {
            let retry_after = match error.retry() {
                Retry::After(wait) => Some(wait),
                Retry::No | Retry::Now => None,
            };
            refused(&error, retry_after)
        })?;
        self.adapter.ticket_url(self.socket, self.ws_base.as_deref(), &answer.body).map_err(|error| {
            let HistoryError::RateLimited { wait, .. } = &error else { return refused(&error, None) };
            let wait = *wait;
            // For all processes of this host: the next request waits until the exchange listens again.
            self.http.governor().freeze(answer.status, wait);
            refused(&error, Some(wait))
        })
    }
}

fn refused(error: &dyn Error, retry_after: Option<Duration>) -> AddressError {
    AddressError { reason: chain(error), retry_after }
}

impl AddressSource for Tickets {
    fn address(&self) -> Pin<Box<dyn Future<Output = Result<String, AddressError>> + Send + '_>> {
        Box::pin(self.ask())
    }
}

/// A client that reaches nobody, for tests.
#[cfg(test)]
pub(crate) fn client(base_url: &str) -> HttpClient {
    use dccd_net::{Governor, GovernorOptions, HttpOptions, SystemClock};
    let governor = Governor::new(GovernorOptions::new(100, Duration::from_secs(30)), Arc::new(SystemClock));
    HttpClient::new(HttpOptions::new(base_url, governor)).unwrap()
}

#[cfg(test)]
mod tests {
    use dccd_exchange::{AdapterOptions, adapter};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const TICKET: &str = r#"{"code":"200000","data":{"token":"a+b==.c/","instanceServers":[
        {"endpoint":"wss://ws-api-spot.kucoin.com/","encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}]}}"#;

    /// What comes of one answer; and the first line of the request.
    async fn asked(ws_base: Option<&str>, status: &str, body: &str) -> (Result<String, AddressError>, String, HttpClient) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = client(&format!("http://{}", listener.local_addr().unwrap()));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            head
        });
        let kucoin = adapter("kucoin", &AdapterOptions::default()).unwrap();
        let tickets = Tickets::of(&kucoin, 0, ws_base.map(str::to_owned), &http).unwrap();
        let address = tickets.address().await;
        (address, server.await.unwrap(), http)
    }

    #[tokio::test]
    async fn a_ticket_leads_to_where_it_says_or_to_the_configured_address() {
        let (address, request, http) = asked(None, "200 OK", TICKET).await;
        assert_eq!(address.unwrap(), "wss://ws-api-spot.kucoin.com/?token=a%2Bb%3D%3D.c%2F");
        assert!(request.starts_with("POST /api/v1/bullet-public HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("content-length: 0\r\n"), "{request}");
        assert_eq!(http.governor().snapshot().used, 10);
        let (address, ..) = asked(Some("ws://127.0.0.1:7/proxy/"), "200 OK", TICKET).await;
        assert_eq!(address.unwrap(), "ws://127.0.0.1:7/proxy/?token=a%2Bb%3D%3D.c%2F");
    }

    #[tokio::test]
    async fn what_is_no_ticket_is_told_without_the_token() {
        let cut = &TICKET[..TICKET.len() - 2];
        let (answer, ..) = asked(None, "200 OK", cut).await;
        let error = answer.unwrap_err();
        assert!(error.to_string().contains("the answer of kucoin to \"ticket\" can't be read"), "{error}");
        assert!(!format!("{error:?} {error}").contains("a+b"), "{error:?}");
        let (answer, ..) = asked(None, "400 Bad Request", r#"{"code":"400100","msg":"no"}"#).await;
        let error = answer.unwrap_err();
        assert!(error.reason.contains("POST 127.0.0.1:") && error.reason.contains("status 400"), "{error}");
        for status in ["200 OK", "429 Too Many Requests"] {
            let (answer, _, http) = asked(None, status, r#"{"code":"429000","msg":"Too Many Requests"}"#).await;
            let error = answer.unwrap_err();
            assert!(error.retry_after.is_some() && error.reason.contains("Too Many Requests"), "{error}");
            assert!(http.governor().snapshot().frozen_until.is_some(), "{status}");
        }
    }

    async fn head(stream: &mut tokio::net::TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn each_attempt_to_connect_has_a_ticket_of_its_own() {
        let (rest, ws) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let http = client(&format!("http://{}", rest.local_addr().unwrap()));
        let base = format!("ws://{}", ws.local_addr().unwrap());
        tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = rest.accept().await.unwrap();
                head(&mut stream).await;
                let body = TICKET.replace("a+b==.c/", &format!("ticket{number}")).replace("com/", "com/endpoint");
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let kucoin = adapter("kucoin", &AdapterOptions::default()).unwrap();
        let conn_ids = Arc::new(std::sync::atomic::AtomicU32::new(1));
        let options = crate::links::Links::options(&kucoin, |_| Some(base.clone()), &conn_ids, &http);
        let mut links = crate::links::Links::new(kucoin, Arc::default(), options);
        links.add(0, &"BTC/USDT".parse().unwrap(), dccd_model::Channel::Trades).unwrap();
        for number in 1..=2 {
            let (mut stream, _) = ws.accept().await.unwrap();
            let head = head(&mut stream).await;
            assert!(head.starts_with(&format!("GET /endpoint?token=ticket{number} ")), "{head}");
        }
        // Books come on the other socket, without one.
        links.add(1, &"BTC/USDT".parse().unwrap(), dccd_model::Channel::Book).unwrap();
        loop {
            let (mut stream, _) = ws.accept().await.unwrap();
            let head = head(&mut stream).await;
            if head.starts_with("GET / ") {
                break;
            }
            assert!(head.starts_with("GET /endpoint?token=ticket"), "{head}");
        }
    }

    #[test]
    fn the_other_sockets_want_none() {
        let http = client("http://127.0.0.1:1");
        for (name, socket) in [("kucoin", 1), ("binance", 0), ("bybit", 1)] {
            let adapter = adapter(name, &AdapterOptions::default()).unwrap();
            assert!(Tickets::of(&adapter, socket, None, &http).is_none(), "{name}");
        }
    }
}
