//! The REST side of a simulated Coinbase: `/products/…`, errors with a status and `{"message":…}`, cursors in headers.

pub(super) mod limiter;
mod pages;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};

use super::render::Detail;
use super::{Coinbase, products, render};
use crate::clock::{now_ns, now_us};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::market::Ladder;
use crate::rest::params::Params;
use crate::rest::{Answer, spoil};

/// Widths of candles, seconds.
const WIDTHS: [i64; 6] = [60, 300, 900, 3_600, 21_600, 86_400];
/// Candles that a request may span between its bounds; both of them count, so that one more comes.
const CANDLES_MAX: i64 = 300;
/// Candles of a request without bounds.
const CANDLES_NEWEST: i64 = 350;
const TRADES_MAX: usize = 1_000;

const TOO_MANY: &str = "Public rate limit exceeded";
const NOT_FOUND: &str = "NotFound";

/// An error in the exchange's words.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(u16, String);

fn bad(message: &str) -> Refusal {
    Refusal(400, message.to_owned())
}

/// Rows in brackets, with commas between them.
fn rows<T>(rows: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut body = b"[".to_vec();
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        write(&mut body, row);
    }
    body.push(b']');
    body
}

impl Coinbase {
    /// The answer that a path has.
    fn call(&self, core: &mut Core, path: &str, query: &str, now_us: i64) -> Result<Answer, Refusal> {
        let mut params = Params::parse(query).map_err(|_| bad("Invalid query"))?;
        let not_found = || Refusal(404, NOT_FOUND.to_owned());
        let mut body = Vec::new();
        match path {
            "/time" => render::clock(&mut body, now_us),
            "/currencies" => return Ok(products::currencies(&self.products).into()),
            "/products" => body = products::list(&self.products),
            _ => {
                let (id, what) = path
                    .strip_prefix("/products/")
                    .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
                    .ok_or_else(not_found)?;
                let place = self.products.iter().position(|product| product.id == id).ok_or_else(not_found)?;
                match what {
                    "" => self.products[place].push(&mut body),
                    "book" => self.rest_book(core, place, &mut params, now_us, &mut body)?,
                    "ticker" | "stats" => {
                        let ticker = self.ticker(core, place, now_us).ok_or_else(not_found)?;
                        let write = if what == "ticker" { render::rest_ticker } else { render::stats };
                        write(&mut body, &ticker);
                    }
                    "trades" => return self.rest_trades(core, place, &mut params, now_us),
                    "candles" => body = self.rest_candles(core, place, &mut params, now_us)?,
                    _ => return Err(not_found()),
                }
            }
        }
        Ok(Answer { body, ..Answer::default() })
    }

    fn rest_book(
        &self,
        core: &mut Core,
        place: usize,
        params: &mut Params,
        now_us: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (depth, detail) = match params.take("level").as_deref() {
            None | Some("1") => (1, Detail::Levels),
            Some("2") => (usize::MAX, Detail::Levels),
            Some("3") => (usize::MAX, Detail::Orders),
            Some(_) => return Err(bad("Invalid level")),
        };
        let Ladder { mut bids, mut asks } = self.book(core, place, |_, state| state.ladder(depth));
        bids.truncate(depth);
        asks.truncate(depth);
        let sequence = self.live.borrow()[place].sequence;
        render::book(out, &Ladder { bids, asks }, detail, sequence, now_us);
        Ok(())
    }

    fn rest_trades(&self, core: &Core, place: usize, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let mut id = |name: &str| {
            let number = params.integer(name).map_err(|_| bad(&format!("Invalid {name}")))?;
            Ok::<_, Refusal>(number.map(i64::cast_unsigned))
        };
        let (after, before, limit) = (id("after")?, id("before")?, id("limit")?);
        let count = match limit {
            None => TRADES_MAX,
            Some(0) => return Err(bad("Invalid limit")),
            Some(n) => usize::try_from(n).map_or(TRADES_MAX, |n| n.min(TRADES_MAX)),
        };
        let tape = self.tape(core, place).ok_or_else(|| Refusal(404, NOT_FOUND.to_owned()))?;
        let page = pages::trades(tape, after, before, count, now_us);
        let ids = page.last().zip(page.first()).map(|(oldest, newest)| (oldest.id, newest.id));
        Ok(Answer { body: rows(&page, render::rest_trade), ids, ..Answer::default() })
    }

    fn rest_candles(&self, core: &Core, place: usize, params: &mut Params, now_us: i64) -> Result<Vec<u8>, Refusal> {
        let width = params.integer("granularity").map_err(|_| bad("Invalid granularity"))?.unwrap_or(60);
        if !WIDTHS.contains(&width) {
            return Err(bad("Unsupported granularity"));
        }
        let width_us = width * 1_000_000;
        let mut time = |name: &str| {
            let text = params.take(name);
            text.map(|text| pages::instant(&text).ok_or_else(|| bad(&format!("Invalid {name}")))).transpose()
        };
        // One without the other counts for nothing.
        let bounds = time("start")?.zip(time("end")?);
        let late_us = i64::try_from(self.options.candles_late.as_micros()).unwrap_or(i64::MAX);
        let newest_us = now_us - late_us;
        let (from_us, to_us) = match bounds {
            Some((start, end)) if end < start => return Err(bad("End must be after start")),
            Some((start, end)) if end - start > CANDLES_MAX * width_us => {
                return Err(bad(
                    "granularity too small for the requested time range. Count of aggregations requested exceeds 300",
                ));
            }
            Some((start, end)) => (start, end.min(newest_us)),
            None => (newest_us - CANDLES_NEWEST * width_us, newest_us),
        };
        let tape = self.tape(core, place).ok_or_else(|| Refusal(404, NOT_FOUND.to_owned()))?;
        Ok(rows(&pages::candles(tape, width_us, from_us, to_us, now_us), render::candle))
    }

    /// The answer, its status, what the address has used, and whether it is a page of candles or trades.
    fn answer(&self, core: &mut Core, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u16, i64, bool) {
        let (now, uri) = (now_us(), request.uri());
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        let (passes, used) = {
            let mut limiter = self.limiter.borrow_mut();
            if let Some(Some(ban)) = by_fault {
                limiter.bar(peer.ip(), ban, now);
            }
            limiter.charge(peer.ip(), now)
        };
        let fault = by_fault.map(|_| "refused by a fault".to_owned());
        let says_who = !self.options.agent || request.headers().get(USER_AGENT).is_some_and(|agent| !agent.is_empty());
        let outcome = if !passes || by_fault.is_some() {
            Err(Refusal(429, TOO_MANY.to_owned()))
        } else if !says_who {
            Err(bad("User-Agent header is required."))
        } else if request.method() == Method::GET {
            self.call(core, uri.path(), uri.query().unwrap_or(""), now)
        } else {
            Err(Refusal(404, NOT_FOUND.to_owned()))
        };
        match outcome {
            Ok(answer) => {
                let has_rows = uri.path().ends_with("/trades") || uri.path().ends_with("/candles");
                (answer, 200, used, has_rows)
            }
            Err(Refusal(status, message)) => {
                let body = format!(r#"{{"message":"{message}"}}"#).into_bytes();
                (Answer { body, ids: None, fault }, status, used, false)
            }
        }
    }
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    coinbase: &Coinbase,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, status, used, has_rows) = coinbase.answer(&mut core.borrow_mut(), peer, request);
    let status = if has_rows { spoil(core, &mut answer).await } else { Some(status) };
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = status.map_or_else(|| Some("reset".to_owned()), |_| answer.fault.take());
    let (bytes, ids, logged) = (answer.body.len(), answer.ids, status.unwrap_or(0));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    let record = LedgerRecord::Rest { ts: now_ns(), target, status: logged, weight: 1, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Some((oldest, newest)) = ids {
        headers.insert(HeaderName::from_static("cb-after"), HeaderValue::from(oldest));
        headers.insert(HeaderName::from_static("cb-before"), HeaderValue::from(newest));
    }
    Some(response)
}
