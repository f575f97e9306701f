//! The REST side of a simulated Kraken: `/0/public/...`, with status 200 whatever happens and errors in the body.
//!
//! There is no other side: it has a deep past that goes on into the present, and no WebSocket.

pub(crate) mod limiter;
mod options;
mod pairs;
mod quotes;
mod tables;

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
use self::pairs::Pair;
use self::tables::{Closed, TRADES_MAX};
use super::params::Params;
use super::{Answer, spoil};
use crate::SimError;
use crate::clock::{now_ns, now_us};
use crate::deep::past::Past;
use crate::deep::past_of;
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::market::interval::Interval;
use crate::market::spec::Spec;
use crate::options::{MarketOptions, SimOptions};
use crate::render::{push_i64, push_u64};

pub use options::KrakenOptions;

/// The exchange's name in options.
pub(crate) const NAME: &str = "kraken";
/// Its markets when none are told.
const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "BTC/EUR", "SOL/USD"];
/// Intervals of candles, minutes. The weeks begin on Thursdays: all are multiples since the epoch.
const INTERVALS: [i64; 9] = [1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600];

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

/// A market.
struct Listed {
    pair: Pair,
    past: Past,
    /// Closed candles by minutes.
    closed: HashMap<i64, Closed>,
}

/// All state of the simulated Kraken.
pub(crate) struct Kraken {
    options: KrakenOptions,
    listed: Vec<Listed>,
    counters: Counters,
    pub(crate) stats: KrakenStats,
}

/// Gives a simulated Kraken its own markets when none were told, and takes the live market of the others from it. Nothing
/// happens to another exchange's options.
pub(crate) fn settle(mut options: SimOptions) -> SimOptions {
    if options.exchange == NAME {
        let market = &mut options.market;
        if market.symbols == MarketOptions::default().symbols {
            market.symbols = SYMBOLS.map(str::to_owned).to_vec();
        }
        (market.trades_per_second, market.book_updates_per_second) = (0.0, 0.0);
        market.history = std::time::Duration::ZERO;
    }
    options
}

impl Kraken {
    /// The Kraken of these options; none when they are another exchange's.
    pub(crate) fn of(options: &SimOptions) -> Result<Option<Self>, SimError> {
        if options.exchange != NAME {
            return Ok(None);
        }
        if options.replay.is_some() {
            let expected = "binance: there is no replay for kraken";
            return Err(SimError::Option { name: "exchange of a replay", text: NAME.to_owned(), expected });
        }
        let mut listed = Vec::new();
        for symbol in &options.market.symbols {
            let spec = Spec::of(symbol)?;
            let past = past_of(options, &spec)?.ok_or_else(|| SimError::BadSymbol { symbol: symbol.clone() })?;
            listed.push(Listed { pair: Pair::of(&spec), past, closed: HashMap::new() });
        }
        let counters = Counters::new(&options.kraken);
        Ok(Some(Self { options: options.kraken.clone(), listed, counters, stats: KrakenStats::default() }))
    }

    fn called(&mut self, name: &str) -> Result<&mut Listed, &'static str> {
        self.listed.iter_mut().find(|listed| listed.pair.is_called(name)).ok_or(UNKNOWN_PAIR)
    }

    /// The result that a path has, or the error.
    fn call(&mut self, path: &str, query: &str, now_us: i64) -> Result<Answer, &'static str> {
        let method = path.strip_prefix("/0/public/").ok_or(UNKNOWN_METHOD)?;
        let mut params = Params::parse(query).map_err(|_| BAD_ARGUMENTS)?;
        match method {
            "Time" => Ok(quotes::time(now_us).into()),
            "SystemStatus" => Ok(quotes::status(now_us).into()),
            "Assets" => {
                let pairs: Vec<_> = self.listed.iter().map(|listed| listed.pair.clone()).collect();
                Ok(pairs::assets(&pairs, params.take("asset").as_deref()).into())
            }
            "AssetPairs" => {
                let wanted = self.wanted(params.take("pair").as_deref())?;
                Ok(pairs::asset_pairs(wanted.into_iter().map(|place| &self.listed[place].pair)).into())
            }
            "Ticker" => {
                let wanted = self.wanted(params.take("pair").as_deref())?;
                let facts = wanted.into_iter().map(|place| {
                    let Listed { pair, past, .. } = &self.listed[place];
                    (pair.key.clone(), quotes::ticker(past, pair.price_digits, now_us))
                });
                Ok(serde_json::Value::Object(facts.collect()).into())
            }
            "Depth" => {
                let name = params.take("pair").ok_or(BAD_ARGUMENTS)?;
                let count = params.integer("count").map_err(|_| BAD_ARGUMENTS)?.unwrap_or(100).clamp(1, 500);
                let listed = self.called(&name)?;
                let book = quotes::depth(&listed.past, listed.pair.price_digits, count, now_us);
                Ok(serde_json::json!({ listed.pair.key.clone(): book }).into())
            }
            "OHLC" => self.ohlc(&mut params, now_us),
            "Trades" => self.trades(&mut params, now_us),
            _ => Err(UNKNOWN_METHOD),
        }
    }

    /// The markets in a list of names; all when there is none.
    fn wanted(&mut self, names: Option<&str>) -> Result<Vec<usize>, &'static str> {
        let Some(names) = names else { return Ok((0..self.listed.len()).collect()) };
        let place = |name: &str| self.listed.iter().position(|l| l.pair.is_called(name)).ok_or(UNKNOWN_PAIR);
        names.split(',').map(place).collect()
    }

    fn key(&self, asked: &str, pair: &Pair) -> String {
        if self.options.key_as_asked { asked.to_owned() } else { pair.key.clone() }
    }

    fn ohlc(&mut self, params: &mut Params, now_us: i64) -> Result<Answer, &'static str> {
        let name = params.take("pair").ok_or(BAD_ARGUMENTS)?;
        let minutes = params.integer("interval").map_err(|_| BAD_ARGUMENTS)?.unwrap_or(1);
        if !INTERVALS.contains(&minutes) {
            return Err(BAD_ARGUMENTS);
        }
        let since = params.integer("since").map_err(|_| BAD_ARGUMENTS)?.unwrap_or(0);
        let Listed { pair, past, closed } = self.called(&name)?;
        let pair = pair.clone();
        let (bars, open) = closed.entry(minutes).or_default().until(past, Interval::Minutes(minutes), now_us);
        let wanted = bars.iter().filter(|bar| bar.open_us.div_euclid(1_000_000) > since);
        let mut rows = Vec::with_capacity(64 << 10);
        let mut count = 0;
        for bar in wanted.chain(&open) {
            if count > 0 {
                rows.push(b',');
            }
            tables::push_candle(&mut rows, bar, pair.price_digits);
            count += 1;
        }
        let last = bars.last().or(open.as_ref()).map_or(0, |bar| bar.open_us.div_euclid(1_000_000));
        self.stats.rows += count;
        let mut body = head(&self.key(&name, &pair), &rows);
        push_i64(&mut body, last);
        body.push(b'}');
        Ok(Answer { body, ..Answer::default() })
    }

    fn trades(&mut self, params: &mut Params, now_us: i64) -> Result<Answer, &'static str> {
        let name = params.take("pair").ok_or(BAD_ARGUMENTS)?;
        let count = params.integer("count").map_err(|_| BAD_ARGUMENTS)?.map_or(Ok(TRADES_MAX), usize::try_from);
        let count = count.ok().filter(|count| (1..=TRADES_MAX).contains(count)).ok_or(BAD_ARGUMENTS)?;
        let since_ns = params.take("since").map(|text| since(&text).ok_or(BAD_ARGUMENTS)).transpose()?;
        let shared_times = self.options.shared_times;
        let Listed { pair, past, .. } = self.called(&name)?;
        let pair = pair.clone();
        let page = tables::trades(past, tables::Wanted { since_ns, count, now_us, shared_times }, pair.price_digits);
        self.stats.rows += page.ids.map_or(0, |(first, last)| last - first + 1);
        let mut body = head(&self.key(&name, &pair), &page.rows);
        body.push(b'"');
        let last = page.last_ns.or(since_ns).unwrap_or(now_us * 1_000);
        push_u64(&mut body, last.max(0).cast_unsigned());
        body.extend_from_slice(b"\"}");
        Ok(Answer { body, ids: page.ids, ..Answer::default() })
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
pub(crate) async fn handle(
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, used, has_rows) = core.borrow_mut().kraken_answer(peer, request);
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

impl Core {
    /// The body of an answer in its envelope, what the address has used, and whether the body is a page of candles or trades.
    fn kraken_answer(&mut self, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u32, bool) {
        let now = now_us();
        self.rest_requests += 1;
        let by_fault = self.faults.refuses_request();
        let Some(kraken) = &mut self.kraken else { return (Answer::default(), 0, false) };
        kraken.stats.requests += 1;
        if let Some(Some(ban)) = by_fault {
            kraken.counters.lock_out(peer.ip(), ban, now);
        }
        let (verdict, used) = kraken.counters.charge(peer.ip(), now);
        let uri = request.uri();
        let outcome = match verdict {
            Verdict::LockedOut => {
                kraken.stats.locked_out += 1;
                Err(LOCKOUT)
            }
            Verdict::Pass if by_fault.is_none() => {
                let is_get = request.method() == Method::GET;
                if is_get { kraken.call(uri.path(), uri.query().unwrap_or(""), now) } else { Err(UNKNOWN_METHOD) }
            }
            Verdict::Pass | Verdict::Refused => {
                kraken.stats.refused += u64::from(by_fault.is_none());
                Err(TOO_MANY)
            }
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
