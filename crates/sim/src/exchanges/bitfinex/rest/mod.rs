//! The REST side of a simulated Bitfinex: `/v2/…`, plain lists, errors as lists of three with status 500.

pub(super) mod limiter;
pub(super) mod pages;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use self::pages::{Candles, Trades};
use super::book::View;
use super::streams::{LENGTHS, PRECISIONS, WIDTHS, width};
use super::{Bitfinex, pairs, render};
use crate::clock::{now_ns, now_us};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::rest::params::{Params, decode};
use crate::rest::{Answer, spoil};

/// Endpoints by how their paths begin, and how often each may be asked in a minute.
const ENDPOINTS: [(&str, usize); 7] =
    [("conf/", 90), ("platform/", 30), ("tickers", 30), ("ticker/", 90), ("trades/", 90), ("book/", 240), ("candles/", 90)];
/// Rows of trades and candles on a page.
const ROWS_MAX: usize = 10_000;
const TRADES_DEFAULT: usize = 125;
const CANDLES_DEFAULT: usize = 100;

/// What is wrong with a request, in the exchange's words.
type Refusal = &'static str;

/// The parameters that pages have.
struct Page {
    start_ms: Option<i64>,
    end_ms: Option<i64>,
    count: usize,
    oldest_first: bool,
}

impl Page {
    /// 0 is what isn't given.
    fn read(params: &mut Params, default: usize) -> Result<Self, Refusal> {
        let start_ms = params.integer("start").map_err(|_| "start: invalid")?.filter(|ms| *ms > 0);
        let end_ms = params.integer("end").map_err(|_| "end: invalid")?.filter(|ms| *ms > 0);
        let limit = params.integer("limit").map_err(|_| "limit: invalid")?.filter(|limit| *limit > 0);
        let count = limit.map_or(Ok(default), usize::try_from).map_err(|_| "limit: invalid")?;
        if count > ROWS_MAX {
            return Err("limit: invalid");
        }
        Ok(Self { start_ms, end_ms, count, oldest_first: params.take("sort").is_some_and(|sort| sort == "1") })
    }
}

impl Bitfinex {
    /// The answer to a path below `/v2/`; `None` for a path that is none.
    fn call(&self, core: &Core, path: &str, query: &str, now_us: i64) -> Option<Result<Answer, Refusal>> {
        let mut params = match Params::parse(query) {
            Ok(params) => params,
            Err(_) => return Some(Err("params: invalid")),
        };
        let path = decode(path);
        let parts: Vec<&str> = path.split('/').collect();
        Some(match parts[..] {
            ["platform", "status"] => {
                Ok(Answer { body: format!("[{}]", u8::from(self.is_up())).into_bytes(), ..Answer::default() })
            }
            ["conf", labels] => {
                let lists: serde_json::Value = labels.split(',').map(|label| pairs::conf(label, &self.pairs)).collect();
                Ok(lists.into())
            }
            ["tickers"] => Ok(self.tickers(core, params.take("symbols").as_deref().unwrap_or(""), now_us)),
            ["ticker", id] => self.wanted_market(id).and_then(|place| {
                let ticker = self.ticker(core, place, now_us).ok_or("symbol: invalid")?;
                let mut body = vec![b'['];
                render::ticker(&mut body, &ticker);
                body.push(b']');
                Ok(Answer { body, ..Answer::default() })
            }),
            ["trades", id, "hist"] => self.trades(core, id, &mut params, now_us),
            ["book", id, precision] => self.book(core, id, precision, &mut params),
            ["candles", key, section @ ("hist" | "last")] => self.candles(core, key, section == "last", &mut params, now_us),
            _ => return None,
        })
    }

    fn wanted_market(&self, id: &str) -> Result<usize, Refusal> {
        self.place_of(id).ok_or("symbol: invalid")
    }

    /// Unknown names are left out.
    fn tickers(&self, core: &Core, symbols: &str, now_us: i64) -> Answer {
        let is_wanted = |id: &str| symbols == "ALL" || symbols.split(',').any(|symbol| symbol == id);
        let mut body = vec![b'['];
        for (place, pair) in self.pairs.iter().enumerate().filter(|(_, pair)| is_wanted(&pair.id)) {
            let Some(ticker) = self.ticker(core, place, now_us) else { continue };
            if body.len() > 1 {
                body.push(b',');
            }
            body.extend_from_slice(format!("[\"{}\",", pair.id).as_bytes());
            render::ticker(&mut body, &ticker);
            body.push(b']');
        }
        body.push(b']');
        Answer { body, ..Answer::default() }
    }

    fn trades(&self, core: &Core, id: &str, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted_market(id)?;
        let Page { start_ms, end_ms, count, oldest_first } = Page::read(params, TRADES_DEFAULT)?;
        let wanted =
            Trades { start_ms: start_ms.unwrap_or(0), end_ms: end_ms.unwrap_or(now_us / 1_000), count, oldest_first };
        let rows = self.tape(core, place).map(|tape| pages::trades(tape, wanted, now_us)).unwrap_or_default();
        let mut body = vec![b'['];
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            render::trade(&mut body, self.trade_id(place, row.id), row);
        }
        body.push(b']');
        let ids = || rows.iter().map(|row| self.trade_id(place, row.id));
        Ok(Answer { body, ids: ids().min().zip(ids().max()), ..Answer::default() })
    }

    fn book(&self, core: &Core, id: &str, precision: &str, params: &mut Params) -> Result<Answer, Refusal> {
        let place = self.wanted_market(id)?;
        let precision = PRECISIONS.iter().position(|known| *known == precision).ok_or("prec: invalid")?;
        let length = params.integer("len").map_err(|_| "len: invalid")?.map_or(Ok(25), usize::try_from);
        let length = length.ok().filter(|length| LENGTHS.contains(length)).ok_or("len: invalid")?;
        let live = &self.live.borrow()[place];
        let view = View::of(&live.orders, &core.symbols[place].spec, precision, length);
        let mut body = Vec::new();
        render::book(&mut body, view.rows());
        Ok(Answer { body, ..Answer::default() })
    }

    fn candles(&self, core: &Core, key: &str, last: bool, params: &mut Params, now_us: i64) -> Result<Answer, Refusal> {
        let mut parts = key.splitn(3, ':');
        let (source, name, id) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if source != Some("trade") {
            return Err("key: invalid");
        }
        let interval = WIDTHS[width(name).ok_or("time_interval: invalid")?].1;
        let place = self.wanted_market(id)?;
        let Page { start_ms, end_ms, count, oldest_first } = Page::read(params, CANDLES_DEFAULT)?;
        let wanted = Candles {
            interval,
            start_us: start_ms.unwrap_or(0).saturating_mul(1_000),
            end_us: end_ms.map_or(now_us, |ms| ms.saturating_mul(1_000)),
            count: if last { 1 } else { count },
            oldest_first: oldest_first && !last,
        };
        let bars = self.tape(core, place).map(|tape| pages::candles(tape, wanted, now_us)).unwrap_or_default();
        let mut body = Vec::with_capacity(bars.len() * 80 + 2);
        // One candle alone is no list.
        if !last {
            body.push(b'[');
        }
        for (at, bar) in bars.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            render::candle(&mut body, bar, self.options.dust);
        }
        if !last {
            body.push(b']');
        }
        Ok(Answer { body, ..Answer::default() })
    }

    /// The answer, its status, what the address has used of the endpoint, and whether it is a page of candles or trades.
    fn answer(&self, core: &mut Core, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u16, usize, bool) {
        let (now, uri) = (now_us(), request.uri());
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        let path = uri.path().strip_prefix("/v2/").unwrap_or("");
        let not_found = || {
            let body = format!("<pre>Cannot GET {}</pre>", uri.path().replace(['<', '>', '&'], "")).into_bytes();
            Answer { body, ..Answer::default() }
        };
        let endpoint = ENDPOINTS.iter().find(|known| path.starts_with(known.0));
        let Some((endpoint, most)) = endpoint.filter(|_| request.method() == Method::GET) else {
            return (not_found(), 404, 0, false);
        };
        let (passes, used) = {
            let mut limiter = self.limiter.borrow_mut();
            if let Some(Some(ban)) = by_fault {
                limiter.bar(peer.ip(), ban, now);
            }
            limiter.charge(peer.ip(), endpoint, *most, now)
        };
        if !passes || by_fault.is_some() {
            let fault = by_fault.map(|_| "refused by a fault".to_owned());
            let body = b"[\"error\",11010,\"ratelimit: error\"]".to_vec();
            return (Answer { body, ids: None, fault }, 429, used, false);
        }
        match self.call(core, path, uri.query().unwrap_or(""), now) {
            None => (not_found(), 404, used, false),
            Some(Ok(answer)) => (answer, 200, used, ["trades/", "candles/"].contains(endpoint)),
            Some(Err(refusal)) => {
                let body = format!("[\"error\",10020,\"{refusal}\"]").into_bytes();
                (Answer { body, ..Answer::default() }, 500, used, false)
            }
        }
    }
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    bitfinex: &Bitfinex,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, status, used, has_rows) = bitfinex.answer(&mut core.borrow_mut(), peer, request);
    let status = if has_rows { spoil(core, &mut answer).await } else { Some(status) };
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = status.map_or_else(|| Some("reset".to_owned()), |_| answer.fault.take());
    let (bytes, ids, logged) = (answer.body.len(), answer.ids, status.unwrap_or(0));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    let record = LedgerRecord::Rest { ts: now_ns(), target, status: logged, weight: 1, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if status == Some(404) { "text/html; charset=utf-8" } else { "application/json; charset=utf-8" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}
