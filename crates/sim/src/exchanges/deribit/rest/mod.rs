//! The REST side of a simulated Deribit: `/api/v2/public/…`, results and errors in the envelopes of JSON-RPC, errors with status
//! 400, without credits 429. The same methods are answered over the WebSocket.

pub(super) mod limiter;
mod methods;
mod pages;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use self::limiter::Pool;
use super::Deribit;
use crate::clock::{now_ns, now_us};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::rest::params::Params;
use crate::rest::{Answer, spoil};

const ROOT: &str = "/api/v2/";

/// An error in the exchange's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: i32,
    pub message: &'static str,
    /// Why, and of which parameter.
    pub reason: Option<(&'static str, Option<&'static str>)>,
}

impl Refusal {
    pub(super) const fn new(code: i32, message: &'static str) -> Self {
        Self { code, message, reason: None }
    }
}

/// A parameter that is not as it should be.
pub(super) const fn invalid(reason: &'static str, param: &'static str) -> Refusal {
    Refusal { code: -32_602, message: "Invalid params", reason: Some((reason, Some(param))) }
}

/// What is in each envelope beside what it holds.
fn times(began_us: i64) -> String {
    let now = now_us().max(began_us);
    format!("\"usIn\":{began_us},\"usOut\":{now},\"usDiff\":{},\"testnet\":false}}", now - began_us)
}

/// A result in its envelope; `id` is `"id":7,` or nothing.
pub(super) fn result(id: &str, body: &[u8], began_us: i64) -> Vec<u8> {
    let head = format!("{{\"jsonrpc\":\"2.0\",{id}\"result\":");
    [head.as_bytes(), body, b",", times(began_us).as_bytes()].concat()
}

/// An error in its envelope.
pub(super) fn error(id: &str, refusal: &Refusal, began_us: i64) -> Vec<u8> {
    let Refusal { code, message, reason } = refusal;
    let data = match reason {
        None => String::new(),
        Some((reason, None)) => format!(",\"data\":{{\"reason\":\"{reason}\"}}"),
        Some((reason, Some(param))) => format!(",\"data\":{{\"reason\":\"{reason}\",\"param\":\"{param}\"}}"),
    };
    let times = times(began_us);
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{{\"code\":{code},\"message\":\"{message}\"{data}}},{times}").into_bytes()
}

/// The parameters of a method, with the exchange's errors.
pub(super) struct Query(Params);

impl Query {
    /// Of a command on the WebSocket.
    pub(super) fn of_json(params: &Value) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let pairs = params.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value)));
        Self(Params::of(pairs))
    }

    fn take(&mut self, name: &'static str) -> Option<String> {
        self.0.take(name)
    }

    fn required(&mut self, name: &'static str) -> Result<String, Refusal> {
        self.take(name).ok_or_else(|| invalid("value is required", name))
    }

    fn integer(&mut self, name: &'static str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.take(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid("must be an integer", name))
    }

    fn required_integer(&mut self, name: &'static str) -> Result<i64, Refusal> {
        self.integer(name)?.ok_or_else(|| invalid("value is required", name))
    }

    /// A count from 1 on.
    fn count(&mut self, name: &'static str, default: usize, most: usize) -> Result<usize, Refusal> {
        let Some(n) = self.integer(name)? else { return Ok(default) };
        let n = usize::try_from(n).ok().filter(|n| (1..=most).contains(n));
        n.ok_or_else(|| invalid("out of range", name))
    }
}

impl Deribit {
    /// The answer in its envelope, its status, what it cost, and whether it is a page of candles or trades.
    fn answer(&self, core: &mut Core, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u16, u16, bool) {
        let (began_us, uri) = (now_us(), request.uri());
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        let refused = |refusal: &Refusal, status: u16| {
            (Answer { body: error("", refusal, began_us), ..Answer::default() }, status, 0, false)
        };
        let Some(method) = uri.path().strip_prefix(ROOT).filter(|_| request.method() == Method::GET) else {
            return refused(&Refusal::new(-32_601, "Method not found"), 404);
        };
        let pool = Pool::of(method);
        let can_pay = {
            let mut limiter = self.limiter.borrow_mut();
            if let Some(Some(ban)) = by_fault {
                limiter.bar(peer.ip(), ban, began_us);
            }
            limiter.pay(peer.ip(), pool, began_us)
        };
        if !can_pay || by_fault.is_some() {
            let (answer, ..) = refused(&Refusal::new(10_028, "too_many_requests"), 429);
            let fault = by_fault.map(|_| "refused by a fault".to_owned());
            return (Answer { fault, ..answer }, 429, pool.cost(), false);
        }
        let query = Params::parse(uri.query().unwrap_or("")).map_err(|_| Refusal::new(11_050, "bad_request"));
        let outcome = query.map(Query).and_then(|mut query| {
            let answer = self.call(core, method, &mut query, began_us);
            answer.unwrap_or_else(|| Err(unplayed(method)))
        });
        match outcome {
            Ok(answer) => {
                let has_rows = method.contains("trades") || method.ends_with("chart_data");
                (Answer { body: result("", &answer.body, began_us), ..answer }, 200, pool.cost(), has_rows)
            }
            Err(refusal) => refused(&refusal, if refusal.code == 13_009 { 401 } else { 400 }),
        }
    }
}

/// Why a method is not answered over REST.
fn unplayed(method: &str) -> Refusal {
    match method {
        "public/set_heartbeat" | "public/disable_heartbeat" | "public/subscribe" | "public/unsubscribe" => {
            Refusal::new(10_030, "must_be_websocket_request")
        }
        _ if method.starts_with("private/") => {
            Refusal { reason: Some(("invalid_token", None)), ..Refusal::new(13_009, "unauthorized") }
        }
        _ => Refusal::new(-32_601, "Method not found"),
    }
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    deribit: &Deribit,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, status, cost, has_rows) = deribit.answer(&mut core.borrow_mut(), peer, request);
    let status = if has_rows { spoil(core, &mut answer).await } else { Some(status) };
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = status.map_or_else(|| Some("reset".to_owned()), |_| answer.fault.take());
    let (bytes, ids, logged, weight) = (answer.body.len(), answer.ids, status.unwrap_or(0), u32::from(cost));
    let record = LedgerRecord::Rest { ts: now_ns(), target, status: logged, weight, used: weight, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(response)
}

/// A list of values as a result.
fn list(rows: Vec<Value>) -> Answer {
    Answer::from(json!(rows))
}
