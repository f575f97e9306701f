//! What clients ask for over the WebSocket: subscriptions, heartbeats, an identity, and all that REST answers too.

use std::rc::Rc;

use serde_json::Value;

use super::Deribit;
use super::rest::limiter::{Credits, Pool};
use super::rest::{Query, Refusal, error, invalid, result};
use super::streams::{Channel, PLATFORM, stream};
use crate::clock::now_us;
use crate::hub::Core;
use crate::ws::queue::{Conn, Ending};

/// Bytes of a message at most; a longer one ends the connection.
const MESSAGE_MAX: usize = 32_768;
/// The code with which it ends.
const TOO_LONG: u16 = 1_009;
/// Seconds between two heartbeats at least.
const HEARTBEAT_MIN: u64 = 10;
/// Seconds that are taken for a day, so that no clock overflows.
const HEARTBEAT_MAX: u64 = 86_400;

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    is_known: bool,
    credits: Credits,
    /// Between two heartbeats, and when the next is due, microseconds; none where it asked for none.
    heartbeat: Option<(i64, i64)>,
    heard_us: i64,
    /// Whether a request for `public/test` is unanswered.
    is_asked: bool,
}

/// A command and the connection it came on.
struct Call<'a> {
    conn: &'a Rc<Conn>,
    /// `"id":7,` or nothing.
    id: String,
    params: &'a Value,
    began_us: i64,
}

impl Call<'_> {
    fn done(&self, body: &str) {
        self.conn.reply(&result(&self.id, body.as_bytes(), self.began_us));
    }

    fn refuse(&self, refusal: &Refusal) {
        self.conn.reply(&error(&self.id, refusal, self.began_us));
    }

    /// The channels that it names.
    fn channels(&self) -> Result<Vec<String>, Refusal> {
        let list = self.params.get("channels").ok_or_else(|| invalid("value is required", "channels"))?;
        let texts = list.as_array().and_then(|list| list.iter().map(|one| one.as_str().map(str::to_owned)).collect());
        let mut texts: Vec<String> = texts.ok_or_else(|| invalid("must be a list of strings", "channels"))?;
        // It tells of them in this order, and each once.
        texts.sort_unstable_by(|a, b| b.cmp(a));
        texts.dedup();
        Ok(texts)
    }
}

fn listed(channels: &[String]) -> String {
    Value::from(channels.to_vec()).to_string()
}

impl Deribit {
    /// Does what a message asks for and queues the replies.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        let began_us = now_us();
        if text.len() > MESSAGE_MAX {
            conn.end_with(TOO_LONG, Ending::Clean(format!("Message Too Big: limit {MESSAGE_MAX}B")));
            return;
        }
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let id = request.get("id").filter(|id| id.is_u64() || id.is_i64() || id.is_string());
        let id = id.map_or_else(String::new, |id| format!("\"id\":{id},"));
        let params = request.get("params").unwrap_or(&Value::Null);
        let call = Call { conn, id, params, began_us };
        let Some(method) = request.get("method").and_then(Value::as_str) else {
            let what = if request.is_object() { (-32_600, "Invalid Request") } else { (-32_700, "Parse error") };
            return call.refuse(&Refusal::new(what.0, what.1));
        };
        let pool = Pool::of(method);
        let can_pay = {
            let mut clients = self.clients.borrow_mut();
            let client = clients.entry(conn.id).or_default();
            client.heard_us = began_us;
            client.is_asked &= method != "public/test";
            !self.options.credits || client.credits.pay(pool, began_us)
        };
        if !can_pay {
            // It does not wait until a client has slowed down.
            call.refuse(&Refusal::new(10_028, "too_many_requests"));
            conn.end(Ending::Clean("too_many_requests".to_owned()));
            return;
        }
        if let Err(refusal) = self.command(core, &call, method) {
            call.refuse(&refusal);
        }
    }

    fn command(&self, core: &mut Core, call: &Call<'_>, method: &str) -> Result<(), Refusal> {
        match method {
            "public/subscribe" => self.subscribe(core, call)?,
            "private/subscribe" if self.is_known(call.conn) => self.subscribe(core, call)?,
            "public/unsubscribe" | "private/unsubscribe" => {
                let mut left = call.channels()?;
                left.retain(|channel| call.conn.streams.borrow().contains_key(&stream(channel)));
                core.detach(call.conn, &left.iter().map(|channel| stream(channel)).collect::<Vec<_>>());
                call.done(&listed(&left));
            }
            "public/unsubscribe_all" | "private/unsubscribe_all" => {
                let all: Vec<String> = call.conn.streams.borrow().keys().cloned().collect();
                core.detach(call.conn, &all);
                call.done("\"ok\"");
            }
            "public/set_heartbeat" => {
                let seconds = call.params.get("interval").and_then(Value::as_u64);
                let seconds = seconds.ok_or_else(|| invalid("value is required", "interval"))?.min(HEARTBEAT_MAX);
                if seconds < HEARTBEAT_MIN {
                    return Err(invalid("must be 10 or more", "interval"));
                }
                let second_us = i64::try_from(self.options.heartbeat_second.as_micros()).unwrap_or(1_000_000);
                let interval_us = i64::try_from(seconds).unwrap_or(0).saturating_mul(second_us);
                self.clients.borrow_mut().entry(call.conn.id).or_default().heartbeat =
                    Some((interval_us, call.began_us.saturating_add(interval_us)));
                call.done("\"ok\"");
            }
            "public/disable_heartbeat" => {
                let mut clients = self.clients.borrow_mut();
                let client = clients.entry(call.conn.id).or_default();
                (client.heartbeat, client.is_asked) = (None, false);
                call.done("\"ok\"");
            }
            "public/hello" => call.done("{\"version\":\"1.2.26\"}"),
            "public/auth" => self.authenticate(call)?,
            _ if method.starts_with("private/") => {
                return Err(Refusal { reason: Some(("invalid_token", None)), ..Refusal::new(13_009, "unauthorized") });
            }
            _ => {
                let mut query = Query::of_json(call.params);
                let answer = self.call(core, method, &mut query, call.began_us);
                let answer = answer.unwrap_or_else(|| Err(Refusal::new(-32_601, "Method not found")))?;
                call.conn.reply(&result(&call.id, &answer.body, call.began_us));
            }
        }
        Ok(())
    }

    fn is_known(&self, conn: &Conn) -> bool {
        self.clients.borrow().get(&conn.id).is_some_and(|client| client.is_known)
    }

    /// Whoever asks is somebody, unless the rules say that nobody is.
    fn authenticate(&self, call: &Call<'_>) -> Result<(), Refusal> {
        let of = |key: &str| call.params.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if of("grant_type").is_none() {
            return Err(invalid("value is required", "grant_type"));
        }
        if !self.options.auth || of("client_id").is_none() {
            return Err(Refusal::new(13_004, "invalid_credentials"));
        }
        self.clients.borrow_mut().entry(call.conn.id).or_default().is_known = true;
        call.done(
            "{\"access_token\":\"1582628593469.1MbQ-J_4.simulated\",\"expires_in\":31536000,\
             \"refresh_token\":\"1582628593469.1GP4rQd0.simulated\",\"scope\":\"connection mainaccount\",\"token_type\":\"bearer\"}",
        );
        Ok(())
    }

    /// Subscribes to the channels that exist; the others are left out of the reply, which is all that tells of them.
    fn subscribe(&self, core: &mut Core, call: &Call<'_>) -> Result<(), Refusal> {
        if !self.is_up() {
            return Err(Refusal::new(11_051, "system_maintenance"));
        }
        let wanted = call.channels()?;
        let (mut taken, mut found) = (Vec::new(), Vec::new());
        for text in wanted {
            let place = Channel::named(&text).and_then(|(channel, id)| Some((channel, self.place_of(id)?)));
            if place.is_some() || text == PLATFORM {
                found.push(place);
                taken.push(text);
            }
        }
        if !self.is_known(call.conn) && found.iter().flatten().any(|(channel, _)| channel.is_raw()) {
            return Err(Refusal::new(13_778, "raw_subscriptions_not_available_for_unauthorized"));
        }
        call.done(&listed(&taken));
        for (text, place) in taken.iter().zip(found) {
            let stream = stream(text);
            let index = place.map_or_else(|| self.platform(), |(channel, place)| channel.index(place));
            let delivers_already = call.conn.streams.borrow().get(&stream).is_some_and(Option::is_some);
            let begins = !delivers_already && core.attach(call.conn, &stream, Some(index));
            if let (true, Some((channel, place))) = (begins, place) {
                self.show(core, call.conn, channel, place, now_us());
            }
        }
        Ok(())
    }

    /// Sends heartbeats that are due, and ends connections whose clients did not answer the one before. Who was heard since the last
    /// one needs not be asked.
    pub(super) fn beat_hearts(&self, core: &Core, now_us: i64) {
        for (id, client) in self.clients.borrow_mut().iter_mut() {
            let (Some((interval_us, due_us)), Some(conn)) = (&mut client.heartbeat, core.conns.get(id)) else { continue };
            if now_us < *due_us {
                continue;
            }
            *due_us = now_us.saturating_add(*interval_us);
            if client.is_asked {
                conn.end(Ending::Clean("a heartbeat was not answered".to_owned()));
                continue;
            }
            client.is_asked = client.heard_us < now_us.saturating_sub(*interval_us);
            let kind = if client.is_asked { "test_request" } else { "heartbeat" };
            conn.reply(format!(r#"{{"jsonrpc":"2.0","method":"heartbeat","params":{{"type":"{kind}"}}}}"#).as_bytes());
        }
    }
}
