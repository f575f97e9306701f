//! What clients ask for: `subscribe`, `unsubscribe`, `ping`; and what they are told. A request is done whole or not at all.

use std::rc::Rc;

use serde_json::Value;

use super::Bybit;
use super::markets::Category;
use super::streams::{Topic, Unknown};
use crate::hub::Core;
use crate::ws::queue::Conn;

/// Topics that a request may have on spot.
const SPOT_ARGS_MAX: usize = 10;

// The exchange's own words, as clients have noted them.
const TOO_MANY: &str = "args size >10";
const BAD_OP: &str = "error:invalid op";
// Nobody has noted what it says to these.
const TOO_LONG: &str = "args length exceeds the limit of a connection";
const NO_ARGS: &str = "error:no args";

/// A client's message, as far as it can be answered.
struct Request<'a> {
    category: Category,
    op: &'a str,
    req_id: Option<String>,
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Request<'_> {
    /// `{"success":true,"ret_msg":"","conn_id":"d8bu1olkndm7crnfs1e0-j6akw","req_id":"","op":"subscribe"}`; on spot without a
    /// `req_id` that nobody gave.
    fn reply(&self, conn: &Conn, conn_id: &str, is_done: bool, message: &str) {
        let req_id = match (self.category, &self.req_id) {
            (Category::Spot, None) => String::new(),
            (_, req_id) => format!("\"req_id\":{},", quoted(req_id.as_deref().unwrap_or(""))),
        };
        let (message, op) = (quoted(message), quoted(self.op));
        let text = format!("{{\"success\":{is_done},\"ret_msg\":{message},\"conn_id\":\"{conn_id}\",{req_id}\"op\":{op}}}");
        conn.reply(text.as_bytes());
    }
}

impl Bybit {
    /// Does what a message asks for and queues the reply.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        let category = Self::category_of(conn);
        let conn_id = self.conn_id(conn);
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let word = |name: &str| message.get(name).and_then(Value::as_str);
        // A number comes back as a text.
        let req_id = message.get("req_id").filter(|id| id.is_string() || id.is_number());
        let req_id = req_id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let request = Request { category, op: word("op").unwrap_or(""), req_id };
        if !message.is_object() {
            let found = text.chars().next().unwrap_or(' ');
            let text: String = text.chars().take(40).collect();
            let why = format!(
                "Failed to decode incoming data:readObjectStart: expect {{ or n, but found {found}, error found in #1 byte of \
                 ...|{text}|..., bigger context ...|{text}|..."
            );
            request.reply(conn, &conn_id, false, &why);
            return;
        }
        match request.op {
            "ping" => request.reply(conn, &conn_id, true, "pong"),
            "subscribe" | "unsubscribe" => {
                let args: Option<Vec<&str>> = message
                    .get("args")
                    .and_then(Value::as_array)
                    .map(|args| args.iter().filter_map(Value::as_str).collect());
                let begins = request.op == "subscribe";
                let outcome = self.wanted(conn, category, args.as_deref().unwrap_or(&[]), begins);
                match outcome {
                    Ok(wanted) => {
                        let told = if category == Category::Spot { request.op } else { "" };
                        request.reply(conn, &conn_id, true, told);
                        self.carry_out(core, conn, &wanted, begins);
                    }
                    Err(why) => request.reply(conn, &conn_id, false, &why),
                }
            }
            _ => request.reply(conn, &conn_id, false, BAD_OP),
        }
    }

    /// The topics of a request, or why it is refused.
    fn wanted(&self, conn: &Conn, category: Category, args: &[&str], begins: bool) -> Result<Vec<(Topic, usize)>, String> {
        if args.is_empty() {
            return Err(NO_ARGS.to_owned());
        }
        if category == Category::Spot && args.len() > SPOT_ARGS_MAX {
            return Err(TOO_MANY.to_owned());
        }
        let streams = conn.streams.borrow();
        let mut wanted = Vec::new();
        for text in args {
            let (topic, place) =
                Topic::parse(text, category, &self.markets).map_err(|unknown| match (category, unknown) {
                    (Category::Linear, _) => format!("error:handler not found,topic:{text}"),
                    (Category::Spot, Unknown::Symbol) => format!("Invalid symbol :[{text}]"),
                    (Category::Spot, Unknown::Topic) => format!("Invalid topic: {text}"),
                })?;
            let is_known = streams.contains_key(&topic.stream(&self.markets[place])) || wanted.contains(&(topic, place));
            if begins && is_known {
                return Err(format!("error:already subscribed,topic:{text}"));
            }
            wanted.push((topic, place));
        }
        // A topic has as many characters as its stream's name behind the category.
        let held: usize = streams.keys().map(|name| name.len() - category.name().len() - 1).sum();
        if begins && held + args.iter().map(|text| text.len()).sum::<usize>() > self.options.args_chars_max {
            return Err(TOO_LONG.to_owned());
        }
        Ok(wanted)
    }

    fn carry_out(&self, core: &mut Core, conn: &Rc<Conn>, wanted: &[(Topic, usize)], begins: bool) {
        if !begins {
            let names: Vec<_> = wanted.iter().map(|(topic, place)| topic.stream(&self.markets[*place])).collect();
            core.detach(conn, &names);
            return;
        }
        for (topic, place) in wanted {
            if core.attach(conn, &topic.stream(&self.markets[*place]), Some(topic.index(*place))) {
                self.show(core, conn, *topic, *place);
            }
        }
    }
}
