//! What clients ask for: `conf`, `subscribe`, `unsubscribe`, `ping`; and what they are told.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::render::refusal;
use super::streams::{Channel, LENGTHS, PACES, PRECISIONS, width};
use super::{Bitfinex, session};
use crate::clock::now_us;
use crate::hub::Core;
use crate::ws::queue::Conn;

const UNKNOWN_EVENT: u16 = 10_000;
const BAD_FLAGS: u16 = 10_050;
const BAD_KEY: u16 = 10_100;
const SUBSCRIBE_FAILED: u16 = 10_300;
const SUBSCRIBED_ALREADY: u16 = 10_301;
const UNKNOWN_CHANNEL: u16 = 10_302;
const TOO_MANY_CHANNELS: u16 = 10_305;
const UNSUBSCRIBE_FAILED: u16 = 10_400;

/// An error: its code and its text.
type Refusal = (u16, &'static str);

/// What is to be subscribed to: the market's place, the channel, and what the answer says of it.
struct Wanted {
    place: usize,
    channel: Channel,
    /// `"symbol":"tBTCUSD","pair":"BTCUSD"`.
    told: String,
}

/// A field that may be a number or a text.
fn field(request: &Map<String, Value>, name: &str) -> Option<String> {
    match request.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The place of a field's value among those that it may have; the first is meant where it is left out.
fn choice(request: &Map<String, Value>, name: &str, known: &[&str], default: usize) -> Option<usize> {
    match request.get(name) {
        None => Some(default),
        Some(_) => field(request, name).and_then(|value| known.iter().position(|known| *known == value)),
    }
}

impl Bitfinex {
    /// Does what a message asks for and queues the replies.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        let Ok(Value::Object(request)) = serde_json::from_str(text) else {
            return conn.reply(refusal(&Map::new(), UNKNOWN_EVENT, "Unknown event").as_bytes());
        };
        match request.get("event").and_then(Value::as_str) {
            Some("ping") => {
                let cid = request.get("cid").map_or_else(String::new, |cid| format!(",\"cid\":{cid}"));
                let ms = now_us().div_euclid(1_000);
                conn.reply(format!(r#"{{"event":"pong","ts":{ms}{cid}}}"#).as_bytes());
            }
            Some("conf") => self.configure(conn, &request),
            Some("subscribe") => self.subscribe(core, conn, &request),
            Some("unsubscribe") => self.unsubscribe(core, conn, &request),
            Some("auth") => {
                let text =
                    format!(r#"{{"event":"auth","status":"FAILED","chanId":0,"code":{BAD_KEY},"msg":"apikey: invalid"}}"#);
                conn.reply(text.as_bytes());
            }
            _ => conn.reply(refusal(&request, UNKNOWN_EVENT, "Unknown event").as_bytes()),
        }
    }

    fn configure(&self, conn: &Conn, request: &Map<String, Value>) {
        let flags = field(request, "flags").and_then(|flags| flags.parse::<u32>().ok());
        let Some(flags) = flags else {
            let text = format!(r#"{{"event":"conf","status":"FAILED","code":{BAD_FLAGS},"msg":"flags: invalid"}}"#);
            return conn.reply(text.as_bytes());
        };
        if let Some(session) = self.sessions.borrow_mut().get_mut(&conn.id) {
            session.flags = flags;
        }
        conn.reply(format!(r#"{{"event":"conf","status":"OK","flags":{flags}}}"#).as_bytes());
    }

    fn market(&self, request: &Map<String, Value>) -> Result<usize, Refusal> {
        let symbol = field(request, "symbol").or_else(|| field(request, "pair")).unwrap_or_default();
        let found = self.place_of(&symbol).or_else(|| self.place_of(&format!("t{symbol}")));
        found.ok_or((SUBSCRIBE_FAILED, "symbol: invalid"))
    }

    fn wanted(&self, request: &Map<String, Value>) -> Result<Wanted, Refusal> {
        let sub = request.get("subId").map_or_else(String::new, |id| format!("\"subId\":{id},"));
        let names = |place: usize, between: &str| {
            let pair = &self.pairs[place];
            format!(r#""symbol":"{}",{between}{sub}"pair":"{}""#, pair.id, pair.pair())
        };
        match request.get("channel").and_then(Value::as_str) {
            Some("trades") => {
                let place = self.market(request)?;
                Ok(Wanted { place, channel: Channel::Trades, told: names(place, "") })
            }
            Some("ticker") => {
                let place = self.market(request)?;
                Ok(Wanted { place, channel: Channel::Ticker, told: names(place, "") })
            }
            Some("book") => {
                let place = self.market(request)?;
                let precision = choice(request, "prec", &PRECISIONS, 0).ok_or((SUBSCRIBE_FAILED, "prec: invalid"))?;
                let pace = choice(request, "freq", &PACES, 0).ok_or((SUBSCRIBE_FAILED, "freq: invalid"))?;
                let length =
                    choice(request, "len", &["1", "25", "100", "250"], 1).ok_or((SUBSCRIBE_FAILED, "len: invalid"))?;
                let (finest, often) = (PRECISIONS[precision], PACES[pace]);
                let between = format!(r#""prec":"{finest}","freq":"{often}","len":"{}","#, LENGTHS[length]);
                Ok(Wanted { place, channel: Channel::Book(precision, pace, length), told: names(place, &between) })
            }
            Some("candles") => {
                let key = field(request, "key").unwrap_or_default();
                let mut parts = key.splitn(3, ':');
                let (source, name, id) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
                let (Some("trade"), Some(width), Some(place)) = (source, width(name), self.place_of(id)) else {
                    return Err((SUBSCRIBE_FAILED, "key: invalid"));
                };
                Ok(Wanted { place, channel: Channel::Candles(width), told: format!("{sub}\"key\":\"{key}\"") })
            }
            _ => Err((UNKNOWN_CHANNEL, "channel: unknown")),
        }
    }

    fn subscribe(&self, core: &mut Core, conn: &Rc<Conn>, request: &Map<String, Value>) {
        let opened = self.wanted(request).and_then(|wanted| {
            let stream = wanted.channel.index(wanted.place);
            let mut sessions = self.sessions.borrow_mut();
            let session: &mut session::Session = sessions.entry(conn.id).or_default();
            if session.has(stream) {
                return Err((SUBSCRIBED_ALREADY, "subscribe: dup"));
            }
            if session.len() >= self.options.channels_per_connection {
                return Err((TOO_MANY_CHANNELS, "subscribe: limit"));
            }
            Ok((session.open(stream), wanted))
        });
        let (number, Wanted { place, channel, told }) = match opened {
            Ok(opened) => opened,
            Err((code, message)) => return conn.reply(refusal(request, code, message).as_bytes()),
        };
        let name = channel.stream(&self.pairs[place].id);
        let stream = Some(channel.index(place)).filter(|_| self.is_up());
        let delivers = core.attach(conn, &name, stream);
        let kind = name.split(':').next().unwrap_or("");
        conn.reply(format!(r#"{{"event":"subscribed","channel":"{kind}","chanId":{number},{told}}}"#).as_bytes());
        if delivers {
            self.show(core, conn, channel, place, now_us());
        }
    }

    fn unsubscribe(&self, core: &mut Core, conn: &Rc<Conn>, request: &Map<String, Value>) {
        let number = field(request, "chanId").and_then(|number| number.parse::<u64>().ok());
        let closed = number.and_then(|number| self.sessions.borrow_mut().get_mut(&conn.id)?.close(number));
        let (Some(number), Some(stream)) = (number, closed) else {
            return conn.reply(refusal(request, UNSUBSCRIBE_FAILED, "unsubscribe: invalid").as_bytes());
        };
        let name = core.shared.name(stream).to_owned();
        core.detach(conn, &[name]);
        conn.reply(format!(r#"{{"event":"unsubscribed","status":"OK","chanId":{number}}}"#).as_bytes());
    }
}
