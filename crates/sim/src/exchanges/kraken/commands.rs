//! What clients ask for: `subscribe`, `unsubscribe`, `ping`; and what they are told, once per market.

use std::rc::Rc;

use serde_json::{Value, json};

use super::Kraken;
use super::render::Reply;
use super::streams::{Channel, DEPTHS, INTERVALS, trigger};
use crate::clock::now_us;
use crate::hub::Core;
use crate::ws::queue::Conn;

// The exchange's own words, as far as they were seen in recordings.
const BAD_DEPTH: &str = "Subscription depth not supported";
const KNOWN_ALREADY: &str = "Already subscribed";
const OTHER_INTERVAL: &str = "Already subscribed to one ohlc interval on this symbol";
const TIMESTAMP_WARNING: &str = "timestamp is deprecated, use interval_begin";
const TICK_SIZE_WARNING: &str = "tick_size is deprecated, use price_increment";
// Words that WebSocket v1 has for it.
const BAD_CHANNEL: &str = "Subscription name invalid";
const BAD_INTERVAL: &str = "Subscription ohlc interval not supported";
const BAD_TRIGGER: &str = "Subscription event_trigger not supported";
const BAD_METHOD: &str = "Unsupported method";
const MALFORMED: &str = "Malformed request";
const NOT_FOUND: &str = "Subscription Not Found";

/// What a subscription is to be.
struct Wanted {
    channel: Channel,
    /// `None`: the channel's own default.
    snapshot: Option<bool>,
}

impl Wanted {
    fn of(params: &Value) -> Result<Self, &'static str> {
        let number = |name: &str, default: u64| match params.get(name) {
            None | Some(Value::Null) => Some(default),
            Some(value) => value.as_u64(),
        };
        let channel = match params.get("channel").and_then(Value::as_str).ok_or(BAD_CHANNEL)? {
            "trade" => Channel::Trade,
            "ticker" => match params.get("event_trigger").map_or(Some("trades"), Value::as_str) {
                Some("trades") => Channel::Ticker { bbo: false },
                Some("bbo") => Channel::Ticker { bbo: true },
                _ => return Err(BAD_TRIGGER),
            },
            "book" => {
                let depth = number("depth", 10).and_then(|depth| usize::try_from(depth).ok());
                Channel::Book(DEPTHS.iter().position(|known| Some(*known) == depth).ok_or(BAD_DEPTH)?)
            }
            "ohlc" => {
                let minutes = number("interval", 1).and_then(|minutes| i64::try_from(minutes).ok());
                Channel::Ohlc(INTERVALS.iter().position(|known| Some(*known) == minutes).ok_or(BAD_INTERVAL)?)
            }
            "instrument" => Channel::Instrument,
            _ => return Err(BAD_CHANNEL),
        };
        let snapshot = match params.get("snapshot") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_bool().ok_or(MALFORMED)?),
        };
        Ok(Self { channel, snapshot })
    }

    fn shows(&self) -> bool {
        self.snapshot.unwrap_or(self.channel != Channel::Trade)
    }

    /// What a reply says of it.
    fn result(&self, symbol: &str, with_snapshot: bool) -> Value {
        let mut result = json!({"channel": self.channel.name()});
        if with_snapshot {
            result["snapshot"] = self.shows().into();
        }
        if self.channel != Channel::Instrument {
            result["symbol"] = symbol.into();
        }
        match self.channel {
            Channel::Ticker { bbo } => result["event_trigger"] = trigger(bbo).into(),
            Channel::Book(depth) => result["depth"] = DEPTHS[depth].into(),
            Channel::Ohlc(interval) => {
                result["interval"] = INTERVALS[interval].into();
                result["warnings"] = json!([TIMESTAMP_WARNING]);
            }
            Channel::Instrument => result["warnings"] = json!([TICK_SIZE_WARNING]),
            Channel::Trade => {}
        }
        result
    }
}

/// The command that is being answered.
struct Call<'a> {
    conn: &'a Rc<Conn>,
    method: &'a str,
    req_id: Option<u64>,
    in_us: i64,
}

impl Call<'_> {
    fn reply(&self, more: impl IntoIterator<Item = (&'static str, Value)>) {
        let Self { method, req_id, in_us, .. } = *self;
        self.conn.reply(Reply { method, req_id, in_us, out_us: now_us() }.text(more).as_bytes());
    }

    fn done(&self, result: Value) {
        self.reply([("result", result), ("success", true.into())]);
    }

    fn refuse(&self, error: &str, symbol: Option<&str>) {
        let symbol = symbol.map(|symbol| ("symbol", symbol.into()));
        self.reply([("error", error.into()), ("success", false.into())].into_iter().chain(symbol));
    }
}

impl Kraken {
    /// Does what a message asks for and queues the replies.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        let in_us = now_us();
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let method = request.get("method").and_then(Value::as_str).unwrap_or("");
        let req_id = request.get("req_id").filter(|id| !id.is_null());
        let call = Call { conn, method, req_id: req_id.and_then(Value::as_u64), in_us };
        if !request.is_object() || method.is_empty() || (req_id.is_some() && call.req_id.is_none()) {
            call.refuse(MALFORMED, None);
            return;
        }
        match method {
            "ping" => Call { method: "pong", ..call }.reply([]),
            "subscribe" | "unsubscribe" => {
                let Some(params) = request.get("params").filter(|params| params.is_object()) else {
                    call.refuse(MALFORMED, None);
                    return;
                };
                match Wanted::of(params) {
                    Ok(wanted) => self.each_market(core, &call, &wanted, params),
                    Err(error) => call.refuse(error, None),
                }
            }
            _ => call.refuse(BAD_METHOD, None),
        }
    }

    /// Subscribes to a channel of each market that is named, or unsubscribes.
    fn each_market(&self, core: &mut Core, call: &Call<'_>, wanted: &Wanted, params: &Value) {
        let begins = call.method == "subscribe";
        if wanted.channel == Channel::Instrument {
            if begins {
                self.begin(core, call, wanted, 0)
            } else {
                self.end(core, call, wanted, "")
            }
            return;
        }
        let symbols = params.get("symbol").and_then(Value::as_array).filter(|symbols| !symbols.is_empty());
        let Some(symbols) = symbols else {
            call.refuse(MALFORMED, None);
            return;
        };
        for symbol in symbols {
            let Some(symbol) = symbol.as_str() else {
                call.refuse(MALFORMED, None);
                continue;
            };
            match self.pairs.iter().position(|pair| pair.symbol == symbol) {
                None => call.refuse(&format!("Currency pair not supported {symbol}"), Some(symbol)),
                Some(place) if begins => self.begin(core, call, wanted, place),
                Some(_) => self.end(core, call, wanted, symbol),
            }
        }
    }

    fn begin(&self, core: &mut Core, call: &Call<'_>, wanted: &Wanted, place: usize) {
        let symbol = self.pairs[place].symbol.as_str();
        if let Some(error) = held(call.conn, wanted.channel, symbol) {
            call.refuse(error, Some(symbol));
            return;
        }
        let stream = wanted.channel.index(place, self.pairs.len());
        let delivers = core.attach(call.conn, &wanted.channel.stream(symbol), Some(stream));
        call.done(wanted.result(symbol, true));
        if let (true, Channel::Book(depth)) = (delivers, wanted.channel) {
            self.follow(core, depth, place);
        }
        if delivers && wanted.shows() {
            self.show(core, call.conn, wanted.channel, place, now_us());
        }
    }

    fn end(&self, core: &mut Core, call: &Call<'_>, wanted: &Wanted, symbol: &str) {
        let name = wanted.channel.stream(symbol);
        if !call.conn.streams.borrow().contains_key(&name) {
            call.refuse(NOT_FOUND, Some(symbol).filter(|symbol| !symbol.is_empty()));
            return;
        }
        core.detach(call.conn, &[name]);
        call.done(wanted.result(symbol, false));
    }
}

/// Why a connection can't have a subscription beside those it has: one depth, one interval, one trigger a market.
fn held(conn: &Conn, channel: Channel, symbol: &str) -> Option<&'static str> {
    let name = channel.stream(symbol);
    let family = match channel {
        Channel::Instrument | Channel::Trade => name.clone(),
        _ => format!("{}:{symbol}:", channel.name()),
    };
    let streams = conn.streams.borrow();
    let other = streams.keys().find(|held| held.starts_with(&family))?;
    let is_other_interval = matches!(channel, Channel::Ohlc(_)) && *other != name;
    Some(if is_other_interval { OTHER_INTERVAL } else { KNOWN_ALREADY })
}
