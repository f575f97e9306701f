//! `/v5/market`: refusals are in the body of an answer with status 200, but for an address that asks too often.

pub(super) mod limiter;
mod tables;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::markets::Category;
use super::render::{fields, put};
use super::streams::INTERVALS;
use super::{Bybit, MINUTE_US};
use crate::clock::{now_ns, now_us};
use crate::digits::push_i64;
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::rest::params::Params;
use crate::rest::{Answer, spoil};
use limiter::{Usage, Verdict};
use tables::Wanted;

/// A refusal: `retCode` and `retMsg`.
type Refusal = (i32, &'static str);

const BAD_CATEGORY: Refusal = (10_001, "Illegal category");
const BAD_SYMBOL: Refusal = (10_001, "Not supported symbols");
const BAD_INTERVAL: Refusal = (10_001, "Invalid period!");
const BAD_PARAMETER: Refusal = (10_001, "params error");
const TOO_MANY: Refusal = (10_006, "Too many visits. Exceeded the API Rate Limit.");
/// What an address is told that asks too often, with status 403.
const BANNED: &str = "access too frequent";

fn number(params: &mut Params, name: &str) -> Result<Option<i64>, Refusal> {
    params.integer(name).map_err(|_| BAD_PARAMETER)
}

/// `limit`: what is more than the most is the most.
fn limit(params: &mut Params, default: usize, most: usize) -> Result<usize, Refusal> {
    let told = number(params, "limit")?.map_or(Ok(default), usize::try_from).map_err(|_| BAD_PARAMETER)?;
    if told == 0 { Err(BAD_PARAMETER) } else { Ok(told.min(most)) }
}

/// A category that exists, though there may be no markets of it here.
fn category(params: &mut Params, default: Option<&str>) -> Result<String, Refusal> {
    let told = params.take("category").or_else(|| default.map(str::to_owned)).ok_or(BAD_CATEGORY)?;
    if ["spot", "linear", "inverse", "option"].contains(&told.as_str()) { Ok(told) } else { Err(BAD_CATEGORY) }
}

/// `{"category":"spot"`
fn begin(category: &str) -> Vec<u8> {
    format!("{{\"category\":\"{category}\"").into_bytes()
}

impl Bybit {
    /// The place of the market that is asked about.
    fn market(&self, category: &str, params: &mut Params) -> Result<usize, Refusal> {
        let id = params.take("symbol").ok_or(BAD_SYMBOL)?;
        let is_it = |market: &super::Market| Some(market.category) == Category::of(category) && market.id == id;
        self.markets.iter().position(is_it).ok_or(BAD_SYMBOL)
    }

    /// The places of all markets of a category, or of the one that is asked about, in the order of their names.
    fn listed(&self, category: &str, params: &mut Params) -> Result<Vec<usize>, Refusal> {
        let asked = params.take("symbol");
        let base = params.take("baseCoin");
        let mut places: Vec<_> = (0..self.markets.len())
            .filter(|place| {
                let market = &self.markets[*place];
                Some(market.category) == Category::of(category)
                    && asked.as_ref().is_none_or(|id| market.id == *id)
                    && base.as_ref().is_none_or(|base| market.base == *base)
            })
            .collect();
        if asked.is_some() && places.is_empty() {
            return Err(BAD_SYMBOL);
        }
        places.sort_by_key(|place| self.markets[*place].id.as_str());
        Ok(places)
    }

    /// The result that a path has; `None` when there is no such path.
    fn call(&self, core: &Core, path: &str, query: &str, now_us: i64) -> Option<Result<Answer, Refusal>> {
        let method = path.strip_prefix("/v5/market/")?;
        let Ok(mut params) = Params::parse(query) else { return Some(Err(BAD_PARAMETER)) };
        let params = &mut params;
        Some(match method {
            "time" => {
                let (second, nanos) = (now_us.div_euclid(1_000_000), now_us * 1_000);
                let body = format!("{{\"timeSecond\":\"{second}\",\"timeNano\":\"{nanos}\"}}").into_bytes();
                Ok(Answer { body, ..Answer::default() })
            }
            "instruments-info" => self.instruments(core, params),
            "kline" => self.candles(core, params, now_us),
            "recent-trade" => self.trades(core, params, now_us),
            "orderbook" => self.depth(core, params, now_us),
            "tickers" => self.tickers(core, params, now_us),
            _ => return None,
        })
    }

    fn instruments(&self, core: &Core, params: &mut Params) -> Result<Answer, Refusal> {
        let category = category(params, None)?;
        let most = limit(params, 500, 1_000)?;
        let is_trading = params.take("status").is_none_or(|status| status == "Trading");
        let cursor = params.take("cursor");
        let mut places = self.listed(&category, params)?;
        places.retain(|_| is_trading);
        let mut body = begin(&category);
        put(&mut body, ",\"list\":[");
        // Spot comes whole.
        let is_paged = category != "spot";
        if let Some(cursor) = cursor.filter(|_| is_paged) {
            let last =
                cursor.rsplit_once("last").map_or("", |(_, last)| last.trim_start_matches("%3D").trim_start_matches('='));
            places.retain(|place| self.markets[*place].id.as_str() > last);
        }
        let shown = if is_paged { places.len().min(most) } else { places.len() };
        for (i, place) in places[..shown].iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            let listed_us = core.pasts[*place].as_ref().map_or(core.began_us, |past| past.listed * MINUTE_US);
            tables::push_instrument(&mut body, &self.markets[*place], listed_us);
        }
        body.push(b']');
        if is_paged {
            let id = |at: usize| self.markets[places[at]].id.as_str();
            let next = if shown > 0 && shown < places.len() {
                format!("first%3D{}%26last%3D{}", id(0), id(shown - 1))
            } else {
                String::new()
            };
            put(&mut body, &format!(",\"nextPageCursor\":\"{next}\""));
        }
        body.push(b'}');
        Ok(Answer { body, ..Answer::default() })
    }

    fn candles(&self, core: &Core, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let category = category(params, Some("linear"))?;
        let place = self.market(&category, params)?;
        let label = params.take("interval").ok_or(BAD_INTERVAL)?;
        let interval = INTERVALS.iter().find(|(known, _)| *known == label).ok_or(BAD_INTERVAL)?.1;
        let micros = |ms: Option<i64>| ms.map(|ms| ms.saturating_mul(1_000));
        let (from_us, to_us) = (micros(number(params, "start")?), micros(number(params, "end")?));
        let wanted = Wanted { interval, from_us, to_us, now_us, limit: limit(params, 200, 1_000)? };
        let tape = self.tape(core, place).ok_or(BAD_SYMBOL)?;
        let mut body = begin(&category);
        put(&mut body, ",\"symbol\":\"");
        put(&mut body, &self.markets[place].id);
        put(&mut body, "\",\"list\":");
        tables::push_bars(&mut body, &tables::bars(tape, wanted));
        body.push(b'}');
        Ok(Answer { body, ..Answer::default() })
    }

    fn trades(&self, core: &Core, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let category = category(params, None)?;
        let place = self.market(&category, params)?;
        let (default, most) = if category == "spot" { (60, 60) } else { (500, 1_000) };
        let count = limit(params, default, most)?;
        let tape = self.tape(core, place).ok_or(BAD_SYMBOL)?;
        let rows: Vec<_> =
            tape.newest(count, now_us).into_iter().rev().map(|row| (row, self.seq_of(core, place, row.id))).collect();
        let market = &self.markets[place];
        let ids = rows.last().zip(rows.first());
        let ids = ids.map(|(oldest, newest)| (market.counted_id(oldest.0.id), market.counted_id(newest.0.id)));
        let mut body = begin(&category);
        put(&mut body, ",\"list\":");
        tables::push_trades(&mut body, market, &rows);
        body.push(b'}');
        Ok(Answer { body, ids, fault: None })
    }

    fn depth(&self, core: &Core, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let category = category(params, None)?;
        let place = self.market(&category, params)?;
        let most = limit(params, if category == "spot" { 1 } else { 25 }, 1_000)?;
        let view = self.whole_book(core, place, now_us);
        let mut ladder = view.ladder(&core.symbols[place].spec);
        ladder.bids.truncate(most);
        ladder.asks.truncate(most);
        let mut body = Vec::new();
        tables::push_book(&mut body, &self.markets[place], &view, &ladder, now_us);
        Ok(Answer { body, ..Answer::default() })
    }

    fn tickers(&self, core: &Core, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let category = category(params, None)?;
        let mut body = begin(&category);
        put(&mut body, ",\"list\":[");
        for (i, place) in self.listed(&category, params)?.into_iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            let told = self.rest_ticker(core, place, now_us).unwrap_or_default();
            fields(&mut body, &self.markets[place].id, &told);
        }
        put(&mut body, "]}");
        Ok(Answer { body, ..Answer::default() })
    }
}

/// A result or refusal in its envelope.
fn envelope(outcome: Result<Answer, Refusal>, now_us: i64) -> Answer {
    let ((code, message), answer) = match outcome {
        Ok(answer) => ((0, "OK"), answer),
        Err(refusal) => (refusal, Answer { body: b"{}".to_vec(), ..Answer::default() }),
    };
    let mut body = format!("{{\"retCode\":{code},\"retMsg\":\"{message}\",\"result\":").into_bytes();
    body.extend_from_slice(&answer.body);
    put(&mut body, ",\"retExtInfo\":{},\"time\":");
    push_i64(&mut body, now_us.div_euclid(1_000));
    body.push(b'}');
    Answer { body, ..answer }
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    bybit: &Bybit,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let now = now_us();
    let uri = request.uri();
    let (usage, by_fault) = {
        let mut core = core.borrow_mut();
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        let mut limiter = bybit.limiter.borrow_mut();
        let usage = limiter.charge(peer.ip(), now);
        if let Some(Some(ban)) = by_fault {
            limiter.ban(peer.ip(), ban, now);
        }
        (usage, by_fault.is_some())
    };
    let outcome = match usage.verdict {
        Verdict::Banned => None,
        Verdict::Pass if by_fault => Some(Err(TOO_MANY)),
        Verdict::Pass if request.method() == Method::GET => {
            bybit.call(&core.borrow(), uri.path(), uri.query().unwrap_or(""), now)
        }
        Verdict::Pass => None,
    };
    let has_rows =
        matches!(outcome, Some(Ok(_))) && (uri.path().ends_with("/kline") || uri.path().ends_with("/recent-trade"));
    let (mut status, mut answer) = match (usage.verdict, outcome) {
        (Verdict::Pass, Some(outcome)) => (Some(200), envelope(outcome, now)),
        (Verdict::Banned, _) => (Some(403), Answer { body: BANNED.into(), ..Answer::default() }),
        (Verdict::Pass, None) => (Some(404), Answer { body: b"404 page not found".to_vec(), ..Answer::default() }),
    };
    if has_rows {
        status = spoil(core, &mut answer).await;
    } else if by_fault {
        answer.fault = Some("refused by a fault".to_owned());
    }
    let target = uri.path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = if status.is_none() { Some("reset".to_owned()) } else { answer.fault.take() };
    let (bytes, ids, used) = (answer.body.len(), answer.ids, usage.used);
    let record =
        LedgerRecord::Rest { ts: now_ns(), target, status: status.unwrap_or(0), weight: 1, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    Some(respond(bybit, status?, answer.body, usage))
}

fn respond(bybit: &Bybit, status: u16, body: Vec<u8>, usage: Usage) -> Response<Full<Bytes>> {
    let kind = if body.first() == Some(&b'{') { "application/json; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let most = bybit.options.requests_per_window;
    if most > 0 {
        headers.insert("x-bapi-limit", most.into());
        headers.insert("x-bapi-limit-status", most.saturating_sub(usage.used).into());
        headers.insert("x-bapi-limit-reset-timestamp", usage.ends_us.div_euclid(1_000).into());
    }
    response
}
