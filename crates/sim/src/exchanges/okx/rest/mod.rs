//! The REST side of a simulated OKX: `/api/v5/…`, errors in an envelope with status 200; only too many requests have a status of their
//! own.

pub(super) mod limiter;
mod pages;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use self::pages::{Below, Candles};
use super::bars::{WIDTHS, Width};
use super::book::Levels;
use super::{Okx, render};
use crate::clock::{now_ns, now_us};
use crate::digits::{push_i64, push_u64};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::rest::params::Params;
use crate::rest::{Answer, spoil};

/// Endpoints, and how often each may be asked in two seconds.
const ENDPOINTS: [(&str, usize); 10] = [
    ("/api/v5/public/time", 10),
    ("/api/v5/public/instruments", 20),
    ("/api/v5/market/tickers", 20),
    ("/api/v5/market/ticker", 20),
    ("/api/v5/market/books", 40),
    ("/api/v5/market/books-full", 10),
    ("/api/v5/market/trades", 100),
    ("/api/v5/market/history-trades", 20),
    ("/api/v5/market/candles", 40),
    ("/api/v5/market/history-candles", 20),
];

/// Candles that `candles` gives, the open one included; those before them are in `history-candles`.
const RECENT: usize = 1_440;
const CANDLES_MAX: usize = 300;
/// How far `history-trades` reaches back: three months.
const TRADES_REACH_US: i64 = 90 * 86_400_000_000;

/// An error in the exchange's words: its code and message.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(&'static str, String);

fn wrong(name: &str) -> Refusal {
    Refusal("51000", format!("Parameter {name} error"))
}

fn unknown_instrument() -> Refusal {
    Refusal("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.".to_owned())
}

/// The parameters of a request, with the exchange's errors.
struct Query(Params);

impl Query {
    fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.0.take(name).ok_or_else(|| Refusal("50014", format!("Parameter {name} can not be empty.")))
    }

    fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        self.0.integer(name).map_err(|_| wrong(name))
    }

    /// A count: more than the most is the most.
    fn count(&mut self, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
        match self.integer(name)? {
            None => Ok(default),
            Some(0) => Err(wrong(name)),
            Some(n) => Ok(usize::try_from(n).map_or(most, |n| n.min(most))),
        }
    }
}

/// Rows with commas between them.
#[derive(Default)]
struct Rows(Vec<u8>);

impl Rows {
    fn next(&mut self) -> &mut Vec<u8> {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        &mut self.0
    }
}

impl Okx {
    fn wanted(&self, query: &mut Query) -> Result<usize, Refusal> {
        let id = query.required("instId")?;
        self.place_of(&id).ok_or_else(unknown_instrument)
    }

    /// The rows of an answer; `None` for a path that is none.
    fn call(&self, core: &mut Core, path: &str, query: &str, now_us: i64) -> Option<Result<Answer, Refusal>> {
        let mut query = match Params::parse(query) {
            Ok(params) => Query(params),
            Err(_) => return Some(Err(wrong(""))),
        };
        let query = &mut query;
        Some(match path.strip_prefix("/api/v5/")? {
            "public/time" => {
                let mut body = b"{\"ts\":\"".to_vec();
                push_i64(&mut body, now_us.div_euclid(1_000));
                body.extend_from_slice(b"\"}");
                Ok(Answer { body, ..Answer::default() })
            }
            "public/instruments" => self.list(core, query),
            "market/tickers" => self.tickers(core, query, now_us),
            "market/ticker" => self.wanted(query).map(|place| self.ticker_rows(core, [place].into_iter(), now_us)),
            "market/books" => self.books(core, query, now_us),
            "market/books-full" => self.full_book(core, query, now_us),
            "market/trades" => self.newest_trades(core, query, now_us),
            "market/history-trades" => self.old_trades(core, query, now_us),
            "market/candles" => self.candles(core, query, true, now_us),
            "market/history-candles" => self.candles(core, query, false, now_us),
            _ => return None,
        })
    }

    /// The markets of the kind that is asked for; there are no others than these two.
    fn of_kind(&self, query: &mut Query) -> Result<Vec<usize>, Refusal> {
        let kind = query.required("instType")?;
        if !["SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"].contains(&kind.as_str()) {
            return Err(wrong("instType"));
        }
        Ok((0..self.instruments.len()).filter(|place| self.instruments[*place].kind() == kind).collect())
    }

    fn list(&self, core: &Core, query: &mut Query) -> Result<Answer, Refusal> {
        let mut places = self.of_kind(query)?;
        if let Some(id) = query.0.take("instId") {
            places.retain(|place| self.instruments[*place].id == id);
            if places.is_empty() {
                return Err(unknown_instrument());
            }
        }
        let mut rows = Rows::default();
        for place in places {
            let listed = core.pasts.get(place).and_then(Option::as_ref).map_or(0, |past| past.listed);
            let facts = self.instruments[place].facts(listed * crate::deep::minute::MINUTE_US);
            rows.next().extend_from_slice(facts.to_string().as_bytes());
        }
        Ok(Answer { body: rows.0, ..Answer::default() })
    }

    fn tickers(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        Ok(self.ticker_rows(core, self.of_kind(query)?.into_iter(), now_us))
    }

    fn ticker_rows(&self, core: &Core, places: impl Iterator<Item = usize>, now_us: i64) -> Answer {
        let mut rows = Rows::default();
        for place in places {
            if let Some(ticker) = self.ticker(core, place, now_us) {
                render::ticker_row(rows.next(), &self.instruments[place], &ticker, now_us);
            }
        }
        Answer { body: rows.0, ..Answer::default() }
    }

    /// The book as the last update on the WebSocket left it, with that update's number.
    fn books(&self, core: &mut Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let depth = query.count("sz", 1, super::book::DEPTH)?;
        let (levels, seq) = self.book(core, place);
        let (bids, asks) = levels.best(depth);
        let mut body = Vec::new();
        render::sides(&mut body, bids, asks);
        body.extend_from_slice(b",\"ts\":\"");
        push_i64(&mut body, now_us.div_euclid(1_000));
        body.extend_from_slice(b"\",\"seqId\":");
        push_u64(&mut body, seq);
        body.push(b'}');
        Ok(Answer { body, ..Answer::default() })
    }

    /// The book as it is, up to 5000 levels a side, without a number.
    fn full_book(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let depth = query.count("sz", 1, 5_000)?;
        let ladder = core.symbols[place].ladder(depth);
        let levels = Levels::of(&self.instruments[place], &ladder.bids, &ladder.asks);
        let mut body = Vec::new();
        render::sides(&mut body, &levels.bids, &levels.asks);
        body.extend_from_slice(b",\"ts\":\"");
        push_i64(&mut body, now_us.div_euclid(1_000));
        body.extend_from_slice(b"\"}");
        Ok(Answer { body, ..Answer::default() })
    }

    fn newest_trades(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let count = query.count("limit", 100, 500)?;
        Ok(self.trade_rows(core, place, Below::Nothing, |_, _| true, count, now_us))
    }

    fn old_trades(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let count = query.count("limit", 100, 100)?;
        let (after, before) = (query.integer("after")?, query.integer("before")?);
        let by_time = match query.0.take("type").as_deref() {
            None | Some("1") => false,
            Some("2") => true,
            Some(_) => return Err(wrong("type")),
        };
        let below = match after {
            None => Below::Nothing,
            Some(ms) if by_time => Below::Millis(ms),
            Some(id) => Below::Id(id.cast_unsigned()),
        };
        let reach_us = now_us - TRADES_REACH_US;
        let is_wanted = |id: u64, time_us: i64| {
            let above = if by_time { time_us.div_euclid(1_000) } else { i64::try_from(id).unwrap_or(i64::MAX) };
            time_us >= reach_us && before.is_none_or(|before| above > before)
        };
        Ok(self.trade_rows(core, place, below, is_wanted, count, now_us))
    }

    fn trade_rows(
        &self,
        core: &Core,
        place: usize,
        below: Below,
        is_wanted: impl Fn(u64, i64) -> bool,
        count: usize,
        now_us: i64,
    ) -> Answer {
        let mut rows = Rows::default();
        let mut ids = None;
        if let Some(tape) = self.tape(core, place) {
            for row in pages::trades(tape, below, count, now_us).iter().filter(|row| is_wanted(row.id, row.time_us)) {
                render::rest_trade(rows.next(), &self.instruments[place], row);
                ids = Some((row.id, ids.map_or(row.id, |(_, last)| last)));
            }
        }
        Answer { body: rows.0, ids, ..Answer::default() }
    }

    fn candles(&self, core: &Core, query: &mut Query, is_recent: bool, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let name = query.0.take("bar").unwrap_or_else(|| "1m".to_owned());
        let width = WIDTHS[Width::named(&name).ok_or_else(|| wrong("bar"))?];
        let (after, before) = (query.integer("after")?, query.integer("before")?);
        let micros = |ms: i64| ms.saturating_mul(1_000);
        let wanted = Candles {
            width,
            after_us: after.map_or(i64::MAX, micros),
            before_us: before.map_or(i64::MIN, micros),
            count: query.count("limit", 100, CANDLES_MAX)?,
            reach: is_recent.then_some(RECENT),
            with_open: is_recent,
        };
        let mut rows = Rows::default();
        if let Some(tape) = self.tape(core, place) {
            for (bar, is_closed) in pages::candles(tape, wanted, now_us) {
                render::candle_row(rows.next(), &self.instruments[place], &bar, is_closed);
            }
        }
        Ok(Answer { body: rows.0, ..Answer::default() })
    }

    /// The answer in its envelope, its status, what the address has used of the endpoint, and whether it is a page of candles or trades.
    fn answer(&self, core: &mut Core, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u16, usize, bool) {
        const NOT_FOUND: &[u8] = b"{\"msg\":\"Not Found\",\"code\":\"404\",\"data\":{}}";
        let (now, uri) = (now_us(), request.uri());
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        let endpoint = ENDPOINTS.iter().find(|known| known.0 == uri.path());
        let Some((endpoint, most)) = endpoint.filter(|_| request.method() == Method::GET) else {
            return (Answer { body: NOT_FOUND.to_vec(), ..Answer::default() }, 404, 0, false);
        };
        let (passes, used) = {
            let mut limiter = self.limiter.borrow_mut();
            if let Some(Some(ban)) = by_fault {
                limiter.bar(peer.ip(), ban, now);
            }
            limiter.charge(peer.ip(), endpoint, *most, now)
        };
        let fault = by_fault.map(|_| "refused by a fault".to_owned());
        if !passes || by_fault.is_some() {
            let body = b"{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}".to_vec();
            return (Answer { body, ids: None, fault }, 429, used, false);
        }
        let outcome = self.call(core, uri.path(), uri.query().unwrap_or(""), now);
        match outcome {
            None => (Answer { body: NOT_FOUND.to_vec(), ..Answer::default() }, 404, used, false),
            Some(Ok(answer)) => {
                // Lists of instruments have their keys in another order than the rest.
                let (head, tail): (&[u8], &[u8]) = if endpoint.ends_with("/instruments") {
                    (b"{\"code\":\"0\",\"data\":[", b"],\"msg\":\"\"}")
                } else {
                    (b"{\"code\":\"0\",\"msg\":\"\",\"data\":[", b"]}")
                };
                let has_rows = endpoint.ends_with("trades") || endpoint.ends_with("candles");
                (Answer { body: [head, &answer.body, tail].concat(), ..answer }, 200, used, has_rows)
            }
            Some(Err(Refusal(code, message))) => {
                let body = format!("{{\"code\":\"{code}\",\"msg\":\"{message}\",\"data\":[]}}").into_bytes();
                (Answer { body, ..Answer::default() }, 200, used, false)
            }
        }
    }
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    okx: &Okx,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, status, used, has_rows) = okx.answer(&mut core.borrow_mut(), peer, request);
    let status = if has_rows { spoil(core, &mut answer).await } else { Some(status) };
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = status.map_or_else(|| Some("reset".to_owned()), |_| answer.fault.take());
    let (bytes, ids, logged) = (answer.body.len(), answer.ids, status.unwrap_or(0));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    let record = LedgerRecord::Rest { ts: now_ns(), target, status: logged, weight: 1, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(response)
}
