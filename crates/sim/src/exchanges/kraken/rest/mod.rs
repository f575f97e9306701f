//! The REST side of a simulated Kraken: `/0/public/...`, with status 200 whatever happens and errors in the body.

pub(super) mod limiter;
pub(super) mod quotes;
pub(super) mod tables;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use self::limiter::{Counters, Verdict};
use self::tables::{Closed, TRADES_MAX};
use super::pairs::{self, Pair};
use super::streams::INTERVALS;
use super::{Kraken, KrakenOptions};
use crate::clock::{now_ns, now_us};
use crate::deep::tape::Tape;
use crate::digits::{push_i64, push_u64};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::market::interval::Interval;
use crate::rest::params::Params;
use crate::rest::{Answer, spoil};

const UNKNOWN_PAIR: &str = "EQuery:Unknown asset pair";
const UNKNOWN_METHOD: &str = "EGeneral:Unknown method";
const BAD_ARGUMENTS: &str = "EGeneral:Invalid arguments";
const TOO_MANY: &str = "EGeneral:Too many requests";
const LOCKOUT: &str = "EGeneral:Temporary lockout";

/// What the simulated Kraken has answered so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrakenStats {
    /// Requests.
    pub requests: u64,
    /// Of those, how many were refused because there were too many.
    pub refused: u64,
    /// How many were refused in a lockout, the one that began it included.
    pub locked_out: u64,
    /// Rows of trades and candles sent.
    pub rows: u64,
}

/// What the REST side keeps.
pub(super) struct Rest {
    /// Closed candles of each market by minutes.
    closed: Vec<HashMap<i64, Closed>>,
    counters: Counters,
    pub(super) stats: KrakenStats,
}

impl Rest {
    pub(super) fn new(options: &KrakenOptions, markets: usize) -> Self {
        let closed = (0..markets).map(|_| HashMap::new()).collect();
        Self { closed, counters: Counters::new(options), stats: KrakenStats::default() }
    }
}

impl Kraken {
    /// The place of the market with this name, and all its trades.
    fn called<'a>(&self, core: &'a Core, name: &str) -> Result<(usize, Tape<'a>), &'static str> {
        let place = self.pairs.iter().position(|pair| pair.is_called(name)).ok_or(UNKNOWN_PAIR)?;
        Ok((place, self.tape(core, place).ok_or(UNKNOWN_PAIR)?))
    }

    /// The result that a path has, or the error.
    fn call(&self, core: &Core, path: &str, query: &str, now_us: i64) -> Result<Answer, &'static str> {
        let method = path.strip_prefix("/0/public/").ok_or(UNKNOWN_METHOD)?;
        let mut params = Params::parse(query).map_err(|_| BAD_ARGUMENTS)?;
        match method {
            "Time" => Ok(quotes::time(now_us).into()),
            "SystemStatus" => Ok(quotes::status(self.system(), now_us).into()),
            "Assets" => Ok(pairs::assets(&self.pairs, params.take("asset").as_deref()).into()),
            "AssetPairs" => {
                let wanted = self.wanted(params.take("pair").as_deref())?;
                Ok(pairs::asset_pairs(wanted.into_iter().map(|place| &self.pairs[place])).into())
            }
            "Ticker" => {
                let wanted = self.wanted(params.take("pair").as_deref())?;
                let facts = wanted.into_iter().filter_map(|place| {
                    let (pair, quote) = (&self.pairs[place], core.symbols[place].quote());
                    let tape = self.tape(core, place)?;
                    Some((pair.key.clone(), quotes::ticker(tape, &quote, pair.digits.price, now_us)))
                });
                Ok(serde_json::Value::Object(facts.collect()).into())
            }
            "Depth" => {
                let name = params.take("pair").ok_or(BAD_ARGUMENTS)?;
                let count = params.integer("count").map_err(|_| BAD_ARGUMENTS)?.unwrap_or(100).clamp(1, 500);
                let (place, _) = self.called(core, &name)?;
                let pair = &self.pairs[place];
                let ladder = core.symbols[place].ladder(usize::try_from(count).unwrap_or(500));
                let book = quotes::depth(&ladder, pair.digits.price, now_us);
                Ok(serde_json::json!({ pair.key.clone(): book }).into())
            }
            "OHLC" => self.ohlc(core, &mut params, now_us),
            "Trades" => self.trades(core, &mut params, now_us),
            _ => Err(UNKNOWN_METHOD),
        }
    }

    /// The markets in a list of names; all when there is none.
    fn wanted(&self, names: Option<&str>) -> Result<Vec<usize>, &'static str> {
        let Some(names) = names else { return Ok((0..self.pairs.len()).collect()) };
        let place = |name: &str| self.pairs.iter().position(|pair| pair.is_called(name)).ok_or(UNKNOWN_PAIR);
        names.split(',').map(place).collect()
    }

    fn key(&self, asked: &str, pair: &Pair) -> String {
        if self.options.key_as_asked { asked.to_owned() } else { pair.key.clone() }
    }

    fn ohlc(&self, core: &Core, params: &mut Params, now_us: i64) -> Result<Answer, &'static str> {
        let name = params.take("pair").ok_or(BAD_ARGUMENTS)?;
        let minutes = params.integer("interval").map_err(|_| BAD_ARGUMENTS)?.unwrap_or(1);
        if !INTERVALS.contains(&minutes) {
            return Err(BAD_ARGUMENTS);
        }
        let since = params.integer("since").map_err(|_| BAD_ARGUMENTS)?.unwrap_or(0);
        let (place, tape) = self.called(core, &name)?;
        let pair = &self.pairs[place];
        let mut rest = self.rest.borrow_mut();
        let rest = &mut *rest;
        let (bars, open) = rest.closed[place].entry(minutes).or_default().until(tape, Interval::Minutes(minutes), now_us);
        let wanted = bars.iter().filter(|bar| bar.open_us.div_euclid(1_000_000) > since);
        let mut rows = Vec::with_capacity(64 << 10);
        let mut count = 0;
        for bar in wanted.chain(&open) {
            if count > 0 {
                rows.push(b',');
            }
            tables::push_candle(&mut rows, bar, pair.digits.price);
            count += 1;
        }
        let last = bars.last().or(open.as_ref()).map_or(0, |bar| bar.open_us.div_euclid(1_000_000));
        rest.stats.rows += count;
        let mut body = head(&self.key(&name, pair), &rows);
        push_i64(&mut body, last);
        body.push(b'}');
        Ok(Answer { body, ..Answer::default() })
    }

    fn trades(&self, core: &Core, params: &mut Params, now_us: i64) -> Result<Answer, &'static str> {
        let name = params.take("pair").ok_or(BAD_ARGUMENTS)?;
        let count = params.integer("count").map_err(|_| BAD_ARGUMENTS)?.map_or(Ok(TRADES_MAX), usize::try_from);
        let count = count.ok().filter(|count| (1..=TRADES_MAX).contains(count)).ok_or(BAD_ARGUMENTS)?;
        let since_ns = params.take("since").map(|text| since(&text).ok_or(BAD_ARGUMENTS)).transpose()?;
        let shared_times = self.options.shared_times;
        let (place, tape) = self.called(core, &name)?;
        let pair = &self.pairs[place];
        let page = tables::trades(tape, tables::Wanted { since_ns, count, now_us, shared_times }, pair.digits.price);
        self.rest.borrow_mut().stats.rows += page.ids.map_or(0, |(first, last)| last - first + 1);
        let mut body = head(&self.key(&name, pair), &page.rows);
        body.push(b'"');
        let last = page.last_ns.or(since_ns).unwrap_or(now_us * 1_000);
        push_u64(&mut body, last.max(0).cast_unsigned());
        body.extend_from_slice(b"\"}");
        Ok(Answer { body, ids: page.ids, ..Answer::default() })
    }

    /// The body of an answer in its envelope, what the address has used, and whether the body is a page of candles or trades.
    fn answer(&self, core: &mut Core, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u32, bool) {
        let now = now_us();
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        let (verdict, used) = {
            let mut rest = self.rest.borrow_mut();
            rest.stats.requests += 1;
            if let Some(Some(ban)) = by_fault {
                rest.counters.lock_out(peer.ip(), ban, now);
            }
            let (verdict, used) = rest.counters.charge(peer.ip(), now);
            match verdict {
                Verdict::LockedOut => rest.stats.locked_out += 1,
                Verdict::Refused => rest.stats.refused += u64::from(by_fault.is_none()),
                Verdict::Pass => {}
            }
            (verdict, used)
        };
        let uri = request.uri();
        let outcome = match verdict {
            Verdict::LockedOut => Err(LOCKOUT),
            Verdict::Pass if by_fault.is_none() => {
                let is_get = request.method() == Method::GET;
                if is_get { self.call(core, uri.path(), uri.query().unwrap_or(""), now) } else { Err(UNKNOWN_METHOD) }
            }
            Verdict::Pass | Verdict::Refused => Err(TOO_MANY),
        };
        let has_rows = outcome.is_ok() && (uri.path().ends_with("/OHLC") || uri.path().ends_with("/Trades"));
        let fault = by_fault.map(|_| "refused by a fault".to_owned());
        let (body, ids) = match outcome {
            Ok(answer) => ([b"{\"error\":[],\"result\":", &*answer.body, b"}"].concat(), answer.ids),
            Err(error) => (format!("{{\"error\":[\"{error}\"]}}").into_bytes(), None),
        };
        (Answer { body, ids, fault }, used, has_rows)
    }
}

/// `{"XXBTZUSD":[rows],"last":`
fn head(key: &str, rows: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(rows.len() + 64);
    body.extend_from_slice(b"{\"");
    // A pair was found by this name: there is nothing to escape in it.
    body.extend_from_slice(key.as_bytes());
    body.extend_from_slice(b"\":[");
    body.extend_from_slice(rows);
    body.extend_from_slice(b"],\"last\":");
    body
}

/// `since` of trades in nanoseconds; a small number is one of seconds, with or without a fraction.
fn since(text: &str) -> Option<i64> {
    const SECONDS_MAX: i64 = 1_000_000_000_000;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok().filter(|n| *n >= 0)?;
    if whole >= SECONDS_MAX {
        return Some(whole);
    }
    let digits = fraction.bytes().all(|b| b.is_ascii_digit()).then(|| format!("{fraction:0<9}"))?;
    whole.checked_mul(1_000_000_000)?.checked_add(digits.get(..9)?.parse().ok()?)
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    kraken: &Kraken,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, used, has_rows) = kraken.answer(&mut core.borrow_mut(), peer, request);
    let status = if has_rows { spoil(core, &mut answer).await } else { Some(200) };
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = status.map_or_else(|| Some("reset".to_owned()), |_| answer.fault.take());
    let (bytes, ids, logged) = (answer.body.len(), answer.ids, status.unwrap_or(0));
    let record = LedgerRecord::Rest { ts: now_ns(), target, status: logged, weight: 1, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_taken_in_nanoseconds_and_in_seconds() {
        assert_eq!(since("1762820035982277754"), Some(1_762_820_035_982_277_754));
        assert_eq!(since("1762820035"), Some(1_762_820_035_000_000_000));
        assert_eq!(since("1762820035.5"), Some(1_762_820_035_500_000_000));
        assert_eq!((since("0"), since("-1"), since("x"), since("1.x")), (Some(0), None, None, None));
    }
}
