//! What clients ask for on both sockets, what they are told, and connections that are not let in, say too much or fall silent.

use std::rc::Rc;
use std::time::Duration;

use hyper::Uri;
use serde_json::Value;

use super::streams::{ALL, CANDLES, Channel, Depth, all_tickers, width_named};
use super::tokens::Worth;
use super::{CLASSIC, ENDPOINT, Kucoin, UNIFIED};
use crate::clock::now_us;
use crate::deep::past::mix;
use crate::hub::Core;
use crate::rest::params::Params;
use crate::ws::queue::{Conn, Ending};

const MESSAGES_WINDOW_US: i64 = 10_000_000;
/// Topics that one message may name.
const TOPICS_MAX: usize = 100;
/// What the exchange says when it closes.
const BYE: &str = "Bye";

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// A text as a JSON string.
fn escaped(text: &str) -> String {
    Value::from(text).to_string()
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Session {
    /// What the exchange calls it: in its welcome, and in errors that answer no message.
    id: String,
    /// When it last pinged, or opened.
    pinged_us: i64,
    /// When its window of messages began, and how many it sent in it.
    messages: (i64, u32),
}

/// An error in the exchange's words.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(u16, String);

fn refused<T>(code: u16, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(code, why.into()))
}

fn error(conn: &Conn, id: &str, refusal: &Refusal) {
    let Refusal(code, why) = refusal;
    let text = format!(r#"{{"id":{},"type":"error","code":{code},"data":{}}}"#, escaped(id), escaped(why));
    conn.reply(text.as_bytes());
}

/// Tells a connection what is wrong and ends it.
fn end(conn: &Conn, id: &str, code: u16, why: &str) {
    if conn.form.get() == CLASSIC {
        error(conn, id, &Refusal(code, why.to_owned()));
    }
    conn.end(Ending::Clean(BYE.to_owned()));
}

/// A stream that is wanted: its name, its index, and what it is; nothing of the tickers of all markets.
type Wanted = (String, usize, Option<(Channel, usize)>);

impl Kucoin {
    /// Lets a connection in, or tells it why not.
    pub(super) fn greet(&self, core: &Core, conn: &Rc<Conn>, address: &Uri) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|id, _| core.conns.contains_key(id));
        let now = now_us();
        let mut query = Params::parse(address.query().unwrap_or("")).ok();
        let mut take = |name: &str| query.as_mut().and_then(|query| query.take(name));
        let made = format!("{:024x}", u128::from(mix(self.seed ^ u64::from(conn.id))) << 32 | u128::from(conn.id));
        let id = take("connectId").unwrap_or(made);
        if address.path() == ENDPOINT {
            conn.form.set(CLASSIC);
            match self.tokens.borrow().worth(&take("token").unwrap_or_default(), now) {
                Worth::Good => conn.reply(format!(r#"{{"id":{},"type":"welcome"}}"#, escaped(&id)).as_bytes()),
                Worth::Expired => return end(conn, &id, 401, "token is expired"),
                Worth::Unknown => return end(conn, &id, 401, "token is invalid"),
            }
        } else {
            conn.form.set(UNIFIED);
            let [interval, timeout] = [self.options.ping_interval, self.options.ping_timeout].map(|time| time.as_millis());
            let text = format!(
                r#"{{"sessionId":{},"message":"welcome","pingInterval":{interval},"pingTimeout":{timeout}}}"#,
                escaped(&id)
            );
            conn.reply(text.as_bytes());
        }
        sessions.insert(conn.id, Session { id, pinged_us: now, messages: (now, 0) });
    }

    /// Ends connections on which no ping came for too long.
    pub(super) fn end_silent(&self, core: &Core, now_us: i64) {
        let quiet_us = micros(self.options.ping_interval).saturating_add(micros(self.options.ping_timeout));
        self.sessions.borrow_mut().retain(|id, session| {
            let is_over = now_us.saturating_sub(session.pinged_us) > quiet_us;
            if let Some(conn) = core.conns.get(id).filter(|_| is_over) {
                end(conn, &session.id, 400, "ping timeout");
            }
            !is_over
        });
    }

    /// Does what a message asks for and queues the reply.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        let now = now_us();
        let session_id = {
            let mut sessions = self.sessions.borrow_mut();
            // One that was not let in is about to end.
            let Some(session) = sessions.get_mut(&conn.id) else { return };
            if now.saturating_sub(session.messages.0) >= MESSAGES_WINDOW_US {
                session.messages = (now, 0);
            }
            session.messages.1 += 1;
            if session.messages.1 > self.options.messages {
                end(conn, &session.id, 509, "exceed max permits per second");
                sessions.remove(&conn.id);
                return;
            }
            session.id.clone()
        };
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let id = match request.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => session_id,
        };
        if request.get("type").and_then(Value::as_str) == Some("ping") {
            if let Some(session) = self.sessions.borrow_mut().get_mut(&conn.id) {
                session.pinged_us = now;
            }
            let at = if conn.form.get() == UNIFIED { format!(r#","ts":"{}000""#, now) } else { String::new() };
            return conn.reply(format!(r#"{{"id":{},"type":"pong"{at}}}"#, escaped(&id)).as_bytes());
        }
        if conn.form.get() == UNIFIED {
            return self.unified(core, conn, &id, &request);
        }
        let outcome = match request.get("type").and_then(Value::as_str) {
            Some("subscribe") => self.topics(&request).and_then(|wanted| {
                self.has_room(conn, &wanted)?;
                self.begin(core, conn, wanted);
                Ok(())
            }),
            Some("unsubscribe") => self.topics(&request).map(|wanted| {
                core.detach(conn, &wanted.into_iter().map(|wanted| wanted.0).collect::<Vec<_>>());
            }),
            _ => refused(415, "type is not supported"),
        };
        match outcome {
            Ok(()) if request.get("response").and_then(Value::as_bool) == Some(true) => {
                conn.reply(format!(r#"{{"id":{},"type":"ack"}}"#, escaped(&id)).as_bytes());
            }
            Ok(()) => {}
            Err(refusal) => error(conn, &id, &refusal),
        }
    }

    /// What a classic message's topic names.
    fn topics(&self, request: &Value) -> Result<Vec<Wanted>, Refusal> {
        let topic = request.get("topic").and_then(Value::as_str).unwrap_or("").trim();
        if topic.is_empty() {
            return refused(406, "topic is required");
        }
        if request.get("privateChannel").and_then(Value::as_bool) == Some(true) {
            return refused(403, "login is required");
        }
        let Some((head, list)) = topic.split_once(':') else {
            return refused(404, format!("topic {topic} is not found"));
        };
        let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if names.len() > TOPICS_MAX {
            return refused(509, format!("exceed max subscription count limitation of {TOPICS_MAX} per time"));
        }
        let mut wanted = Vec::new();
        for name in names {
            let found = self.topic(head, name);
            wanted.push(found.ok_or_else(|| Refusal(404, format!("topic {head}:{name} is not found")))?);
        }
        if wanted.is_empty() {
            return refused(400, "topic is invalid");
        }
        Ok(wanted)
    }

    fn topic(&self, head: &str, name: &str) -> Option<Wanted> {
        if head == CANDLES {
            let (id, width) = name.split_once('_')?;
            return Some(self.stream(Channel::Candles(width_named(width)?), self.place_of(id)?));
        }
        let channel = Channel::of_topic(head)?;
        if channel == Channel::Ticker && name == ALL {
            return Some((format!("ticker:{ALL}"), all_tickers(self.markets.len()), None));
        }
        Some(self.stream(channel, self.place_of(name)?))
    }

    fn stream(&self, channel: Channel, place: usize) -> Wanted {
        (channel.stream(&self.markets[place].id), channel.index(place), Some((channel, place)))
    }

    /// Whether a connection may hold these as well.
    fn has_room(&self, conn: &Conn, wanted: &[Wanted]) -> Result<(), Refusal> {
        let streams = conn.streams.borrow();
        let new = wanted.iter().filter(|wanted| !streams.contains_key(&wanted.0)).count();
        let most = self.options.topics;
        if streams.len() + new > most {
            return refused(509, format!("exceed max subscription count limitation of {most} per session"));
        }
        Ok(())
    }

    fn begin(&self, core: &mut Core, conn: &Rc<Conn>, wanted: Vec<Wanted>) {
        let mut shown = Vec::new();
        for (name, index, what) in wanted {
            let delivers_already = conn.streams.borrow().get(&name).is_some_and(Option::is_some);
            if !delivers_already && core.attach(conn, &name, Some(index)) {
                shown.extend(what);
            }
        }
        for (channel, place) in shown {
            self.show(core, conn, channel, place, now_us());
        }
    }

    /// Does what a message on the socket of unified accounts asks for.
    fn unified(&self, core: &mut Core, conn: &Rc<Conn>, id: &str, request: &Value) {
        let id = escaped(id);
        let refuse = |why: &str| conn.reply(format!(r#"{{"id":{id},"result":false,"reason":{}}}"#, escaped(why)).as_bytes());
        let text = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or("");
        let begins = match text("action").to_ascii_lowercase().as_str() {
            "subscribe" => true,
            "unsubscribe" => false,
            other => return refuse(&format!("unknown action: {other}")),
        };
        if !text("tradeType").eq_ignore_ascii_case("SPOT") {
            return refuse("invalid `tradeType`");
        }
        let channel = match text("channel") {
            "trade" => Some(Channel::UnifiedTrade),
            "ticker" => Some(Channel::UnifiedTicker),
            "obu" => Depth::ALL.into_iter().find(|depth| depth.name() == text("depth")).map(Channel::UnifiedBook),
            "kline" => width_named(text("interval")).map(Channel::UnifiedCandles),
            _ => None,
        };
        let Some(channel) = channel else { return refuse(&format!("unknown topic: {}", text("channel"))) };
        let many = request.get("symbols").and_then(Value::as_array);
        let mut symbols: Vec<&str> = many.into_iter().flatten().filter_map(Value::as_str).collect();
        symbols.extend(request.get("symbol").and_then(Value::as_str));
        if symbols.is_empty() {
            return refuse(&format!("missing `symbol` for topic: {}", text("channel")));
        }
        let places: Option<Vec<usize>> = symbols.iter().map(|symbol| self.place_of(symbol)).collect();
        let Some(places) = places else { return refuse("invalid symbol") };
        let wanted: Vec<Wanted> = places.into_iter().map(|place| self.stream(channel, place)).collect();
        if begins && let Err(Refusal(_, why)) = self.has_room(conn, &wanted) {
            return refuse(&why);
        }
        // The confirmation comes before what is shown.
        conn.reply(format!(r#"{{"id":{id},"result":true}}"#).as_bytes());
        if begins {
            self.begin(core, conn, wanted);
        } else {
            core.detach(conn, &wanted.into_iter().map(|wanted| wanted.0).collect::<Vec<_>>());
        }
    }
}
