//! The REST side of a simulated KuCoin: answers and errors in an envelope, the weight used in headers, and tokens for the classic socket.

pub(super) mod limiter;
mod tables;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use self::limiter::Usage;
use super::markets::{currencies, facts};
use super::render::{Stats, Ticker, field, put, rate, side, trade_number};
use super::streams::{WIDTHS, width_named};
use super::{ENDPOINT, Kucoin, render};
use crate::clock::{now_ns, now_us};
use crate::digits::{push_i64, push_u64};
use crate::hub::Core;
use crate::ledger::LedgerRecord;
use crate::rest::params::Params;
use crate::rest::{Answer, spoil};

/// Endpoints and their weights.
const ENDPOINTS: [(&str, u32); 16] = [
    ("/api/v1/timestamp", 3),
    ("/api/v1/status", 3),
    ("/api/v3/currencies", 3),
    ("/api/v1/symbols", 4),
    ("/api/v2/symbols", 4),
    ("/api/v1/markets", 3),
    ("/api/v1/market/allTickers", 15),
    ("/api/v1/market/stats", 15),
    ("/api/v1/market/orderbook/level1", 2),
    ("/api/v1/market/orderbook/level2_20", 2),
    ("/api/v1/market/orderbook/level2_100", 4),
    ("/api/v3/market/orderbook/level2", 3),
    ("/api/v1/market/histories", 3),
    ("/api/v1/market/candles", 3),
    ("/api/v1/bullet-public", 10),
    ("/api/v1/bullet-private", 10),
];

/// Trades that an answer has.
const TRADES: usize = 100;
const SECOND_US: i64 = 1_000_000;
/// What a login is told by.
const LOGIN: [&str; 4] = ["kc-api-key", "kc-api-sign", "kc-api-timestamp", "kc-api-passphrase"];

/// An error in the exchange's words: its status, code and message.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(u16, &'static str, &'static str);

const WRONG: Refusal = Refusal(400, "400100", "Parameter Error");
const UNKNOWN_MARKET: Refusal = Refusal(200, "900001", "symbol not exists");
const NO_LOGIN: Refusal = Refusal(
    401,
    "400001",
    "Please check the header of your request for KC-API-KEY, KC-API-SIGN, KC-API-TIMESTAMP, KC-API-PASSPHRASE",
);

/// What a request says beside its path.
struct Query {
    params: Params,
    has_login: bool,
    /// The name by which the client knows this host.
    host: String,
}

impl Query {
    fn of(request: &Request<Incoming>) -> Option<Self> {
        let params = Params::parse(request.uri().query().unwrap_or("")).ok()?;
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("").to_owned();
        let has_login = LOGIN.iter().all(|name| request.headers().contains_key(*name));
        Some(Self { params, has_login, host })
    }
}

fn body(text: impl Into<Vec<u8>>) -> Answer {
    Answer { body: text.into(), ..Answer::default() }
}

impl Kucoin {
    fn wanted(&self, query: &mut Query) -> Result<usize, Refusal> {
        let id = query.params.take("symbol").ok_or(WRONG)?;
        self.place_of(&id).ok_or(UNKNOWN_MARKET)
    }

    /// The data of an answer.
    fn call(&self, core: &mut Core, path: &str, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        match path.trim_start_matches("/api/v1/").trim_start_matches("/api/v2/").trim_start_matches("/api/v3/") {
            "timestamp" => Ok(body(now_us.div_euclid(1_000).to_string())),
            "status" => Ok(body(r#"{"status":"open","msg":""}"#)),
            "currencies" => Ok(currencies(self.markets.iter()).into()),
            "symbols" => Ok(body(format!("[{}]", self.markets.iter().map(facts).collect::<Vec<_>>().join(",")))),
            "markets" => Ok(body(r#"["USDS","BTC","ALTS"]"#)),
            "market/allTickers" => Ok(self.all_tickers(core, now_us)),
            "market/stats" => {
                let place = self.wanted(query)?;
                let mut out = Vec::new();
                if let Some(stats) = self.stats(core, place, now_us) {
                    push_stats(&mut out, &self.markets[place].id, &stats);
                }
                Ok(body(out))
            }
            "market/orderbook/level1" => self.first_level(core, query, now_us),
            "market/orderbook/level2_20" => self.levels(core, query, 20, now_us),
            "market/orderbook/level2_100" => self.levels(core, query, 100, now_us),
            "market/orderbook/level2" if query.has_login => self.levels(core, query, usize::MAX, now_us),
            "market/histories" => self.histories(core, query, now_us),
            "market/candles" => self.candles(core, query, now_us),
            "bullet-public" => Ok(body(self.token(core, query, now_us))),
            // What is left needs a login.
            _ => Err(NO_LOGIN),
        }
    }

    fn token(&self, core: &Core, query: &Query, now_us: i64) -> String {
        let token = self.tokens.borrow_mut().give(self.seed, self.options.token_life, now_us);
        let [interval, timeout] = [self.options.ping_interval, self.options.ping_timeout].map(|time| time.as_millis());
        let host = if query.host.is_empty() { core.options.listen.to_string() } else { query.host.clone() };
        format!(
            r#"{{"token":"{token}","instanceServers":[{{"endpoint":"ws://{host}{ENDPOINT}","encrypt":false,"protocol":"websocket","pingInterval":{interval},"pingTimeout":{timeout}}}]}}"#
        )
    }

    fn all_tickers(&self, core: &Core, now_us: i64) -> Answer {
        let mut out = Vec::new();
        put(&mut out, &["{\"time\":", &now_us.div_euclid(1_000).to_string(), ",\"ticker\":["]);
        let mut is_first = true;
        for (place, market) in self.markets.iter().enumerate() {
            let Some(stats) = self.stats(core, place, now_us) else { continue };
            put(
                &mut out,
                &[if is_first { "" } else { "," }, "{\"symbol\":\"", &market.id, "\",\"symbolName\":\"", &market.id, "\","],
            );
            is_first = false;
            let quote = &stats.ticker.quote;
            field(&mut out, "buy", quote.bid);
            field(&mut out, "bestBidSize", quote.bid_amount);
            field(&mut out, "sell", quote.ask);
            field(&mut out, "bestAskSize", quote.ask_amount);
            push_day(&mut out, &stats);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        body(out)
    }

    /// The best prices and the last trade; of an unknown market there are no data.
    fn first_level(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let id = query.params.take("symbol").ok_or(WRONG)?;
        let Some(ticker) = self.place_of(&id).and_then(|place| self.ticker(core, place, now_us)) else {
            return Ok(body("null"));
        };
        let Ticker { quote, seq, last, last_amount, .. } = ticker;
        let mut out = Vec::new();
        put(&mut out, &["{\"time\":", &now_us.div_euclid(1_000).to_string(), ",\"sequence\":\"", &seq.to_string(), "\","]);
        for (name, value) in [
            ("price", last),
            ("size", last_amount),
            ("bestBid", quote.bid),
            ("bestBidSize", quote.bid_amount),
            ("bestAsk", quote.ask),
            ("bestAskSize", quote.ask_amount),
        ] {
            field(&mut out, name, value);
        }
        out.pop();
        out.push(b'}');
        Ok(body(out))
    }

    /// The book as its last change left it, with that change's number.
    fn levels(&self, core: &mut Core, query: &mut Query, depth: usize, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let (ladder, seq) = self.book(core, place, depth);
        let mut out = b"{\"time\":".to_vec();
        push_i64(&mut out, now_us.div_euclid(1_000));
        out.extend_from_slice(b",\"sequence\":\"");
        push_u64(&mut out, seq);
        out.extend_from_slice(b"\",\"bids\":");
        render::levels(&mut out, &ladder.bids);
        out.extend_from_slice(b",\"asks\":");
        render::levels(&mut out, &ladder.asks);
        out.push(b'}');
        Ok(body(out))
    }

    /// The newest trades, oldest first.
    fn histories(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let place = self.wanted(query)?;
        let rows = self.tape(core, place).map(|tape| tape.newest(TRADES, now_us)).unwrap_or_default();
        let mut out = b"[".to_vec();
        for (at, row) in rows.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"sequence\":\"" } else { b",{\"sequence\":\"" });
            push_u64(&mut out, trade_number(row.id));
            out.extend_from_slice(b"\",");
            field(&mut out, "price", row.price);
            field(&mut out, "size", row.amount);
            put(&mut out, &["\"side\":\"", side(row.buyer_is_maker), "\",\"time\":"]);
            push_i64(&mut out, row.time_us.saturating_mul(1_000));
            out.push(b'}');
        }
        out.push(b']');
        let ids = rows.first().zip(rows.last()).map(|(first, last)| (trade_number(first.id), trade_number(last.id)));
        Ok(Answer { body: out, ids, fault: None })
    }

    fn candles(&self, core: &Core, query: &mut Query, now_us: i64) -> Result<Answer, Refusal> {
        let id = query.params.take("symbol").ok_or(WRONG)?;
        let place = self.place_of(&id).ok_or(Refusal(400, "400100", "This pair is not provided at present"))?;
        let width = query.params.take("type").ok_or(WRONG)?;
        let width = width_named(&width).ok_or(Refusal(400, "400100", "Incorrect candlestick type"))?;
        let mut time = |name: &str| query.params.integer(name).map_err(|_| WRONG);
        let micros = |seconds: i64| seconds.saturating_mul(SECOND_US);
        // The exchange takes 0 for no bound at all.
        let (from, to) =
            (time("startAt")?.map_or(i64::MIN, micros), time("endAt")?.filter(|to| *to > 0).map_or(i64::MAX, micros));
        let mut out = b"[".to_vec();
        if let Some(tape) = self.tape(core, place) {
            for (at, bar) in tables::candles(tape, WIDTHS[width].1, (from, to), now_us).iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                render::candle_row(&mut out, bar);
            }
        }
        out.push(b']');
        Ok(body(out))
    }

    /// The answer in its envelope, its status, what the address has used, and whether it is a page of candles or trades.
    fn answer(&self, core: &mut Core, peer: SocketAddr, request: &Request<Incoming>) -> (Answer, u16, Usage, bool) {
        let (now, path) = (now_us(), request.uri().path());
        core.rest_requests += 1;
        let by_fault = core.faults.refuses_request();
        // A market of its own is asked for by its path.
        let known = path.strip_prefix("/api/v2/symbols/").and_then(|id| self.place_of(id));
        let endpoint = ENDPOINTS.iter().find(|known| known.0 == path).copied();
        let endpoint = endpoint.or(known.map(|_| ("/api/v2/symbols/", 4)));
        let usage = {
            let mut limiter = self.limiter.borrow_mut();
            if let Some(Some(ban)) = by_fault {
                limiter.bar(peer.ip(), ban, now);
            }
            limiter.charge(peer.ip(), endpoint.map_or(1, |endpoint| endpoint.1), now)
        };
        if !usage.passes || by_fault.is_some() {
            let fault = by_fault.map(|_| "refused by a fault".to_owned());
            let body = br#"{"code":"429000","msg":"Too Many Requests"}"#.to_vec();
            return (Answer { body, ids: None, fault }, 429, usage, false);
        }
        let refuse = |Refusal(status, code, message): Refusal| {
            (body(format!(r#"{{"code":"{code}","msg":"{message}"}}"#)), status, usage, false)
        };
        let method = if path.contains("/bullet-") { Method::POST } else { Method::GET };
        let Some((endpoint, _)) = endpoint.filter(|_| request.method() == method) else {
            return refuse(Refusal(404, "404000", "URL Not Found"));
        };
        let Some(mut query) = Query::of(request) else { return refuse(WRONG) };
        let outcome = match known {
            Some(place) => Ok(body(facts(&self.markets[place]))),
            None => self.call(core, endpoint, &mut query, now),
        };
        match outcome {
            Ok(answer) => {
                let has_rows = endpoint.ends_with("/histories") || endpoint.ends_with("/candles");
                let whole = [b"{\"code\":\"200000\",\"data\":".as_slice(), &answer.body, b"}"].concat();
                (Answer { body: whole, ..answer }, 200, usage, has_rows)
            }
            Err(refusal) => refuse(refusal),
        }
    }
}

/// What a day's figures are made of, in the order of both lists that have them; without a comma at the end.
fn push_day(out: &mut Vec<u8>, stats: &Stats) {
    let Stats { ticker, day } = stats;
    for (name, value) in [
        ("changeRate", rate(stats.change(), day.open)),
        ("changePrice", stats.change()),
        ("high", day.high),
        ("low", day.low),
        ("vol", day.volume),
        ("volValue", day.quote_volume),
        ("last", ticker.last),
        ("averagePrice", stats.average()),
    ] {
        field(out, name, value);
    }
    put(
        out,
        &["\"takerFeeRate\":\"0.001\",\"makerFeeRate\":\"0.001\",\"takerCoefficient\":\"1\",\"makerCoefficient\":\"1\""],
    );
}

fn push_stats(out: &mut Vec<u8>, id: &str, stats: &Stats) {
    put(out, &["{\"time\":", &stats.ticker.now_us.div_euclid(1_000).to_string(), ",\"symbol\":\"", id, "\","]);
    field(out, "buy", stats.ticker.quote.bid);
    field(out, "sell", stats.ticker.quote.ask);
    push_day(out, stats);
    out.push(b'}');
}

/// Answers a request; `None`: the connection ends instead.
pub(super) async fn handle(
    kucoin: &Kucoin,
    core: &Rc<RefCell<Core>>,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (mut answer, status, usage, has_rows) = kucoin.answer(&mut core.borrow_mut(), peer, request);
    let status = if has_rows { spoil(core, &mut answer).await } else { Some(status) };
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let fault = status.map_or_else(|| Some("reset".to_owned()), |_| answer.fault.take());
    let (bytes, ids, logged) = (answer.body.len(), answer.ids, status.unwrap_or(0));
    let used = usage.limit - usage.remaining;
    let record = LedgerRecord::Rest { ts: now_ns(), target, status: logged, weight: usage.weight, used, bytes, ids, fault };
    core.borrow().shared.ledger.record(&record);
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("gw-ratelimit-limit", i64::from(usage.limit)),
        ("gw-ratelimit-remaining", i64::from(usage.remaining)),
        ("gw-ratelimit-reset", usage.reset_ms),
    ] {
        headers.insert(HeaderName::from_static(name), value.into());
    }
    Some(response)
}
