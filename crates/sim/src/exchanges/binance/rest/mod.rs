//! The REST side: weights and bans, then the answer, with the exchange's headers and error bodies.

mod info;
pub(crate) mod limiter;
pub(crate) mod market;
pub(crate) mod past;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::render::TimeUnit;
use super::{Binance, usdm};
use crate::clock::{now_ns, now_us};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::rest::params::{ApiError, Params};
use crate::rest::{Answer, spoil};
use limiter::Verdict;
pub(crate) use market::Day;

/// How long a request for a recorded snapshot waits for the replay to reach it.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// The calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Ping,
    Time,
    ExchangeInfo,
    Klines,
    AggTrades,
    HistoricalTrades,
    Trades,
    Depth,
    AvgPrice,
    Ticker24h,
    TickerPrice,
    BookTicker,
}

impl Call {
    fn of(path: &str) -> Option<Self> {
        Some(match path.strip_prefix("/api/v3/")? {
            "ping" => Self::Ping,
            "time" => Self::Time,
            "exchangeInfo" => Self::ExchangeInfo,
            "klines" | "uiKlines" => Self::Klines,
            "aggTrades" => Self::AggTrades,
            "historicalTrades" => Self::HistoricalTrades,
            "trades" => Self::Trades,
            "depth" => Self::Depth,
            "avgPrice" => Self::AvgPrice,
            "ticker/24hr" => Self::Ticker24h,
            "ticker/price" => Self::TickerPrice,
            "ticker/bookTicker" => Self::BookTicker,
            _ => return None,
        })
    }

    /// Whether an answer is a page of candles or trades.
    const fn has_rows(self) -> bool {
        matches!(self, Self::Klines | Self::AggTrades | Self::HistoricalTrades | Self::Trades)
    }

    fn weight(self, query: &str) -> u32 {
        let value = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        match self {
            Self::Ping | Self::Time => 1,
            Self::ExchangeInfo => 20,
            Self::Klines | Self::AvgPrice => 2,
            Self::AggTrades => 4,
            Self::HistoricalTrades | Self::Trades => 25,
            Self::Depth => match value("limit").and_then(|l| l.parse::<u64>().ok()).unwrap_or(100) {
                0..=100 => 5,
                101..=500 => 25,
                501..=1_000 => 50,
                _ => 250,
            },
            Self::Ticker24h if value("symbol").is_none() => 80,
            Self::TickerPrice | Self::BookTicker if value("symbol").is_none() => 4,
            Self::Ticker24h | Self::TickerPrice | Self::BookTicker => 2,
        }
    }
}

/// A call of one of the two sides; none where there is no such path.
#[derive(Clone, Copy)]
enum Asked {
    Spot(Option<Call>),
    Usdm(Option<usdm::rest::Call>),
}

impl Asked {
    fn of(path: &str) -> Self {
        if path.starts_with(usdm::rest::PREFIX) {
            Self::Usdm(usdm::rest::Call::of(path))
        } else {
            Self::Spot(Call::of(path))
        }
    }

    fn weight(self, query: &str) -> u32 {
        match self {
            Self::Spot(call) => call.map_or(1, |call| call.weight(query)),
            Self::Usdm(call) => call.map_or(1, |call| call.weight(query)),
        }
    }

    fn has_rows(self) -> bool {
        match self {
            Self::Spot(call) => call.is_some_and(Call::has_rows),
            Self::Usdm(call) => call.is_some_and(usdm::rest::Call::has_rows),
        }
    }

    fn too_much(self, binance: &Binance, core: &Core, ip: IpAddr) -> String {
        let limit = core.options.limits.weight_per_minute;
        match self {
            Self::Spot(_) => format!(
                "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please use WebSocket \
                 Streams for live updates to avoid polling the API."
            ),
            Self::Usdm(_) => binance.usdm.too_much(ip),
        }
    }

    fn banned(self, until: i64, ip: IpAddr) -> String {
        match self {
            Self::Spot(_) => format!(
                "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams for live updates \
                 to avoid bans."
            ),
            Self::Usdm(_) => usdm::Usdm::banned(ip, until),
        }
    }
}

/// Answers a REST request; `None`: the connection ends instead.
pub(super) async fn handle(
    binance: &Binance,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("");
    let asked = Asked::of(&path);
    let limiter = if matches!(asked, Asked::Usdm(_)) { &binance.usdm.limiter } else { &binance.limiter };
    let weight = asked.weight(query);
    let now = now_us();
    let (verdict, refused) = {
        let mut core = core.borrow_mut();
        core.rest_requests += 1;
        let refused = core.faults.refuses_request();
        if let Some(Some(ban)) = refused {
            limiter.borrow_mut().ban(peer.ip(), ban, now);
        }
        (limiter.borrow_mut().charge(peer.ip(), weight, now), refused.is_some())
    };
    let refusal = |status, message: String| Err(ApiError { status, ..ApiError::new(-1003, message) });
    let (used, retry_after, outcome) = match verdict {
        _ if refused => (weight, Some(1), refusal(429, "Too many requests.".to_owned())),
        Verdict::Limited(used, wait) => (used, Some(wait), refusal(429, asked.too_much(binance, &core.borrow(), peer.ip()))),
        Verdict::Banned(until, wait) => (0, Some(wait), refusal(418, asked.banned(until, peer.ip()))),
        Verdict::Pass(used) => (used, None, answer(binance, core, asked, request).await),
    };
    let (status, mut answer) = match outcome {
        Ok(answer) => (200, answer),
        Err(error) => (error.status, Answer { body: error.body(), ..Answer::default() }),
    };
    let status = if status == 200 && asked.has_rows() { spoil(core, &mut answer).await } else { Some(status) };
    let Some(status) = status else {
        let target = request.uri().path_and_query().map_or_else(|| path.clone(), |t| t.as_str().to_owned());
        let (ids, bytes, fault) = (None, 0, Some("reset".to_owned()));
        let record = LedgerRecord::Rest { ts: now_ns(), target, status: 0, weight, used, bytes, ids, fault };
        core.borrow().shared.ledger.record(&record);
        return None;
    };
    let fault = if refused { Some("refused by a fault".to_owned()) } else { answer.fault };
    let target = request.uri().path_and_query().map_or_else(|| path.clone(), |t| t.as_str().to_owned());
    let (bytes, ids) = (answer.body.len(), answer.ids);
    let record = LedgerRecord::Rest { ts: now_ns(), target, status, weight, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    Some(respond(asked, status, answer.body, used, retry_after))
}

fn respond(asked: Asked, status: u16, body: Vec<u8>, used: u32, retry_after: Option<u64>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    if matches!(asked, Asked::Spot(_)) {
        headers.insert("x-mbx-used-weight", used.into());
    }
    headers.insert("x-mbx-used-weight-1m", used.into());
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

async fn answer(
    binance: &Binance,
    core: &Rc<RefCell<Core>>,
    asked: Asked,
    request: &Request<Incoming>,
) -> Result<Answer, ApiError> {
    if matches!(asked, Asked::Spot(None) | Asked::Usdm(None)) {
        return Err(ApiError { status: 404, ..ApiError::new(-1, "there is no such path on this exchange") });
    }
    if request.method() != Method::GET {
        return Err(ApiError { status: 405, ..ApiError::new(-1, "only GET is served") });
    }
    let (query, headers) = (request.uri().query().unwrap_or(""), request.headers());
    match asked {
        Asked::Spot(Some(call)) => {
            let micros = headers.get("x-mbx-time-unit").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"microsecond"));
            let unit = if micros { TimeUnit::Micros } else { TimeUnit::Millis };
            let params = Params::parse(query)?;
            if call == Call::Depth && core.borrow().replay.is_some() {
                return recorded_depth(core, params).await;
            }
            core.borrow_mut().call(call, params, unit)
        }
        Asked::Usdm(Some(call)) => binance.usdm.call(&mut core.borrow_mut(), call, query, headers),
        Asked::Spot(None) | Asked::Usdm(None) => Ok(Answer::default()),
    }
}

/// A snapshot in replay: waits until the replay has reached the recorded one.
async fn recorded_depth(core: &Rc<RefCell<Core>>, mut params: Params) -> Result<Answer, ApiError> {
    let (place, limit) = {
        let core = core.borrow();
        let place = core.wanted_symbol(&mut params)?;
        let limit = params.limit(100, 5_000)?;
        params.finish()?;
        (place, limit)
    };
    let changed = Rc::clone(&core.borrow().shared.changed);
    let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
    core.borrow_mut().want_snapshot(place);
    loop {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if let Some(answer) = core.borrow_mut().recorded_snapshot(place, limit) {
            return Ok(answer);
        }
        if timeout_at(deadline, notified).await.is_err() {
            let error = ApiError::new(-1007, "Timeout waiting for response from backend server.");
            return Err(ApiError { status: 504, ..error });
        }
    }
}
