//! A WebSocket and a REST client for the simulator's tests, and a ledger that is read when it says so.
#![allow(dead_code, reason = "each test program uses its part of it")]

pub(crate) mod bitfinex;
pub(crate) mod bybit;
pub(crate) mod coinbase;
pub(crate) mod deribit;
pub(crate) mod kraken;
pub(crate) mod kucoin;
pub(crate) mod okx;
pub(crate) mod usdm;

use std::path::PathBuf;
use std::time::Duration;

use dccd_sim::{Limits, MarketOptions, Sim, SimHandle, SimOptions};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing here takes longer unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A small fast market, with a ledger in a directory that lives as long as the test.
pub(crate) struct Scene {
    pub(crate) sim: SimHandle,
    pub(crate) ledger: PathBuf,
    _dir: tempfile::TempDir,
}

pub(crate) fn options() -> SimOptions {
    SimOptions {
        market: MarketOptions {
            symbols: vec!["BTC/USDT".into(), "ETH/USDT".into()],
            trades_per_second: 400.0,
            book_updates_per_second: 800.0,
            levels: 200,
            ..MarketOptions::default()
        },
        ..SimOptions::default()
    }
}

pub(crate) async fn start(mut options: SimOptions) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.jsonl");
    options.ledger = Some(ledger.clone());
    let sim = Sim::start(options).await.unwrap();
    Scene { sim, ledger, _dir: dir }
}

impl Scene {
    /// Stops the exchange and gives all of its ledger.
    pub(crate) async fn finish(self) -> Vec<dccd_sim::LedgerRecord> {
        timeout(DEADLINE, self.sim.stop()).await.expect("the exchange stops");
        dccd_sim::LedgerReader::open(&self.ledger).unwrap().map(Result::unwrap).collect()
    }

    /// Why connections ended so far, as far as the ledger's file has it, and what they were not sent.
    pub(crate) fn written_endings(&self) -> Vec<(String, u64)> {
        let records = dccd_sim::LedgerReader::open(&self.ledger).unwrap().map(Result::unwrap);
        let endings = records.filter_map(|r| match r {
            dccd_sim::LedgerRecord::Closed { reason, unsent, .. } => Some((reason, unsent)),
            _ => None,
        });
        endings.collect()
    }

    /// The ledger so far.
    pub(crate) async fn ledger(&self) -> Vec<dccd_sim::LedgerRecord> {
        self.sim.flush_ledger().await.unwrap();
        dccd_sim::LedgerReader::open(&self.ledger).unwrap().map(Result::unwrap).collect()
    }
}

pub(crate) fn limits() -> Limits {
    Limits::default()
}

/// A WebSocket client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
}

/// Why a client's connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Clean(String),
    Reset,
}

impl Client {
    pub(crate) async fn connect(sim: &SimHandle, path: &str) -> Self {
        Self::try_connect(sim, path).await.expect("a connection")
    }

    pub(crate) async fn try_connect(sim: &SimHandle, path: &str) -> Result<Self, WsError> {
        let url = format!("{}{path}", sim.ws_url());
        let (socket, _) = timeout(DEADLINE, tokio_tungstenite::connect_async(url)).await.expect("an answer in time")?;
        Ok(Self { socket, next_id: 1 })
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text frame, or how the connection ended.
    pub(crate) async fn next(&mut self) -> Result<String, End> {
        loop {
            match timeout(DEADLINE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(End::Clean(frame.map_or_else(String::new, |f| f.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Reset),
            }
        }
    }

    pub(crate) async fn next_text(&mut self) -> String {
        self.next().await.expect("a frame, not an end")
    }

    pub(crate) async fn next_json(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).unwrap()
    }

    /// Sends a command and gives its reply and the frames that came before it.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> (Value, Vec<String>) {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = json!({"method": method, "id": id});
        if !params.is_null() {
            request["params"] = params;
        }
        self.send(&request.to_string()).await;
        let mut before = Vec::new();
        loop {
            let text = self.next_text().await;
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if value.get("id") == Some(&json!(id)) {
                return (value, before);
            }
            before.push(text);
        }
    }

    pub(crate) async fn subscribe(&mut self, streams: &[&str]) -> Vec<String> {
        let (reply, before) = self.ask("SUBSCRIBE", json!(streams)).await;
        assert_eq!(reply["result"], Value::Null, "{reply}");
        assert!(reply.get("error").is_none(), "{reply}");
        before
    }

    /// How the connection ends, whatever comes before.
    pub(crate) async fn end(&mut self) -> End {
        let ended = async {
            loop {
                if let Err(end) = self.next().await {
                    return end;
                }
            }
        };
        timeout(DEADLINE, ended).await.expect("an end in time")
    }
}

/// A REST answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn code(&self) -> i64 {
        self.json()["code"].as_i64().unwrap_or(0)
    }
}

pub(crate) async fn get(sim: &SimHandle, target: &str) -> Reply {
    request(sim, &format!("GET {target} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n")).await
}

pub(crate) async fn post(sim: &SimHandle, target: &str, body: &str) -> Reply {
    let length = body.len();
    let text = format!("POST {target} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    request(sim, &text).await
}

pub(crate) async fn request(sim: &SimHandle, text: &str) -> Reply {
    let exchange = async {
        let mut socket = TcpStream::connect(sim.address()).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(DEADLINE, exchange).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("a status");
    let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
    Reply { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
}
