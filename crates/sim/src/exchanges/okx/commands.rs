//! What clients ask for: `subscribe`, `unsubscribe`, `ping`; and what they are told, once per channel.

use std::rc::Rc;

use serde_json::Value;

use super::Okx;
use super::streams::Channel;
use crate::clock::now_us;
use crate::hub::Core;
use crate::ws::queue::{Conn, Ending};

const HOUR_US: i64 = 3_600_000_000;
/// Bytes of a message at most; a longer one ends the connection.
const MESSAGE_MAX: usize = 64 << 10;
/// The code with which it ends.
const TOO_LONG: u16 = 1_009;

/// A text as a JSON string.
fn escaped(text: &str) -> String {
    Value::from(text).to_string()
}

/// The connection that is being answered, and the id that its message had.
struct Call<'a> {
    conn: &'a Rc<Conn>,
    conn_id: String,
    /// `"id":"7",` or nothing.
    id: String,
}

impl Call<'_> {
    fn refuse(&self, code: &str, message: &str) {
        let Self { conn, conn_id, id } = self;
        let message = escaped(message);
        conn.reply(format!(r#"{{{id}"event":"error","msg":{message},"code":"{code}","connId":"{conn_id}"}}"#).as_bytes());
    }

    fn done(&self, event: &str, channel: &str, instrument: &str) {
        let Self { conn, conn_id, id } = self;
        let arg = format!(r#"{{"channel":"{channel}","instId":"{instrument}"}}"#);
        conn.reply(format!(r#"{{{id}"event":"{event}","arg":{arg},"connId":"{conn_id}"}}"#).as_bytes());
    }
}

impl Okx {
    /// Does what a message asks for and queues the replies.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        if text == "ping" {
            conn.reply(b"pong");
            return;
        }
        if text.len() > MESSAGE_MAX {
            let reason = "Request message exceeds the maximum frame length".to_owned();
            conn.end_with(TOO_LONG, Ending::Clean(reason));
            return;
        }
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let id = request.get("id").and_then(Value::as_str).map_or_else(String::new, |id| format!("\"id\":{},", escaped(id)));
        let call = Call { conn, conn_id: self.conn_id(conn), id };
        let begins = match request.get("op").and_then(Value::as_str) {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            Some("login") => return call.refuse("60005", "Invalid apiKey"),
            _ => return call.refuse("60012", &format!("Invalid request: {text}")),
        };
        let args = request.get("args").and_then(Value::as_array).filter(|args| !args.is_empty());
        let Some(args) = args.filter(|args| args.iter().all(|arg| arg["channel"].is_string())) else {
            return call.refuse("60012", &format!("Invalid request: {text}"));
        };
        if !self.allows(conn.id) {
            return call.refuse("60014", "Requests too frequent");
        }
        for arg in args {
            self.one(core, &call, begins, arg);
        }
    }

    /// Counts a command; whether the connection may send it.
    fn allows(&self, conn: u32) -> bool {
        let now = now_us();
        let mut commands = self.commands.borrow_mut();
        let (began_us, count) = commands.entry(conn).or_insert((now, 0));
        if now - *began_us >= HOUR_US {
            (*began_us, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= self.options.commands_per_hour
    }

    fn one(&self, core: &mut Core, call: &Call<'_>, begins: bool, arg: &Value) {
        let text = |key: &str| arg.get(key).and_then(Value::as_str).unwrap_or("");
        let (name, id) = (text("channel"), text("instId"));
        let channel = Channel::named(name).filter(|channel| channel.address() == call.conn.form.get());
        let (Some(channel), Some(place)) = (channel, self.place_of(id)) else {
            return call.refuse(
                "60018",
                &format!(
                    "Subscribe failed, wrong URL or channel:{name},instId:{id} doesn't exist. Please use the correct URL, channel and \
                     parameters referring to API document."
                ),
            );
        };
        let stream = channel.stream(id);
        if !begins {
            core.detach(call.conn, &[stream]);
            return call.done("unsubscribe", name, id);
        }
        let delivers_already = call.conn.streams.borrow().get(&stream).is_some_and(Option::is_some);
        let begins_now = !delivers_already && core.attach(call.conn, &stream, Some(channel.index(place)));
        call.done("subscribe", name, id);
        if begins_now {
            self.show(core, call.conn, channel, place, now_us());
        }
    }
}
