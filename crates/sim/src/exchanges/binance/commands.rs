//! What clients ask for over the socket: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, properties; and what they are told.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::usdm::{self, is_usdm};
use super::{Binance, COMBINED, is_combined, unit};
use crate::clock::now_us;
use crate::hub::Core;
use crate::ws::queue::Conn;

#[derive(Deserialize)]
enum Method {
    #[serde(rename = "SUBSCRIBE")]
    Subscribe,
    #[serde(rename = "UNSUBSCRIBE")]
    Unsubscribe,
    #[serde(rename = "LIST_SUBSCRIPTIONS")]
    List,
    #[serde(rename = "SET_PROPERTY")]
    SetProperty,
    #[serde(rename = "GET_PROPERTY")]
    GetProperty,
}

#[derive(Deserialize)]
struct Request {
    method: Method,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    id: Value,
}

/// A refusal: code and message.
type Refusal = (i32, String);

/// Does what a message asks for and queues the reply.
pub(super) fn handle(binance: &Binance, core: &mut Core, conn: &Rc<Conn>, text: &str) {
    let request: Result<Request, _> = serde_json::from_str(text);
    let (id, outcome) = match request {
        Ok(request) => {
            let allowed = request.id.is_null() || request.id.is_u64() || request.id.as_str().is_some_and(|s| s.len() <= 36);
            let outcome = if allowed {
                answer(binance, core, conn, &request)
            } else {
                Err(invalid("request ID must be an unsigned integer, a string of up to 36 characters, or null"))
            };
            (if allowed { request.id } else { Value::Null }, outcome)
        }
        Err(error) if error.is_data() => {
            let id = serde_json::from_str::<Value>(text).ok().and_then(|v| v.get("id").cloned()).unwrap_or_default();
            (id, Err(invalid(&error.to_string())))
        }
        Err(error) => (Value::Null, Err((3, format!("Invalid JSON: {error}")))),
    };
    let reply = match outcome {
        Ok(result) => json!({"result": result, "id": id}),
        Err((code, msg)) => json!({"error": {"code": code, "msg": msg}, "id": id}),
    };
    conn.reply(reply.to_string().as_bytes());
}

fn invalid(what: &str) -> Refusal {
    (2, format!("Invalid request: {what}"))
}

fn answer(binance: &Binance, core: &mut Core, conn: &Rc<Conn>, request: &Request) -> Result<Value, Refusal> {
    match request.method {
        Method::Subscribe => {
            subscribe(binance, core, conn, &names(request)?).map_err(|e| invalid(&e))?;
            Ok(Value::Null)
        }
        Method::Unsubscribe => {
            let names: Vec<_> = names(request)?.iter().map(|name| entered(conn, name)).collect();
            core.detach(conn, &names);
            Ok(Value::Null)
        }
        Method::List => {
            let streams = conn.streams.borrow();
            let told = streams.keys().map(|name| name.strip_prefix(usdm::NAMES).unwrap_or(name));
            Ok(told.map(Value::from).collect())
        }
        Method::SetProperty => match request.params.as_slice() {
            [Value::String(name), Value::Bool(value)] if name == "combined" => {
                conn.form.set(if *value { conn.form.get() | COMBINED } else { conn.form.get() & !COMBINED });
                Ok(Value::Null)
            }
            [Value::String(name), _] if name == "combined" => Err((1, "Invalid value type: expected Boolean".to_owned())),
            [Value::String(_), _] => Err((0, "Unknown property".to_owned())),
            [_, _] => Err(invalid("property name must be a string")),
            _ => Err(invalid("property name and value expected")),
        },
        Method::GetProperty => match request.params.as_slice() {
            [Value::String(name)] if name == "combined" => Ok(Value::Bool(is_combined(conn))),
            [Value::String(_)] => Err((0, "Unknown property".to_owned())),
            [_] => Err(invalid("property name must be a string")),
            _ => Err(invalid("too many parameters")),
        },
    }
}

fn names(request: &Request) -> Result<Vec<String>, Refusal> {
    if request.params.is_empty() {
        return Err(invalid("empty parameters"));
    }
    let names = request.params.iter().map(|p| p.as_str().map(str::to_owned));
    names.collect::<Option<Vec<_>>>().ok_or_else(|| invalid("stream name must be a string"))
}

/// The name under which a stream is entered.
fn entered(conn: &Conn, name: &str) -> String {
    if is_usdm(conn) { format!("{}{name}", usdm::NAMES) } else { name.to_owned() }
}

/// Subscribes to streams; unknown names are taken and deliver nothing, as the exchange does it.
pub(super) fn subscribe(binance: &Binance, core: &mut Core, conn: &Rc<Conn>, names: &[String]) -> Result<(), String> {
    let fresh: BTreeMap<String, &String> = {
        let streams = conn.streams.borrow();
        let names = names.iter().map(|name| (entered(conn, name), name));
        let fresh: BTreeMap<_, _> = names.filter(|(entered, _)| !streams.contains_key(entered)).collect();
        let limit = binance.streams_max(core, conn);
        if streams.len() + fresh.len() > limit {
            return Err(format!("a connection is limited to {limit} streams"));
        }
        fresh
    };
    for (entered, name) in fresh {
        let stream = binance.index(core, conn, name);
        core.attach(conn, &entered, stream);
    }
    Ok(())
}

/// Tells a client that its connection will be closed soon.
pub(super) fn announce_shutdown(conn: &Conn) {
    let event = json!({"e": "serverShutdown", "E": unit(conn.form.get()).of(now_us())});
    let text = if is_combined(conn) { json!({"stream": "!serverShutdown", "data": event}) } else { event };
    conn.reply(text.to_string().as_bytes());
}
