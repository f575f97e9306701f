//! What clients ask for: `subscribe` and `unsubscribe`; and what they are told: all that they have subscribed to, or why not.

use std::rc::Rc;

use serde_json::Value;

use super::Coinbase;
use super::streams::Channel;
use crate::clock::now_us;
use crate::hub::Core;
use crate::ws::queue::Conn;

/// Channels that want to know who asks, all told with the same words.
const PRIVATE: [&str; 3] = ["level2", "level3", "full"];
const NEEDS_KEY: &str = "level2, level3, and full channels now require authentication. \
                         https://docs.cloud.coinbase.com/exchange/docs/websocket-auth";
/// The documentation's order of channels in a reply is none; this is ours.
const ORDER: [Channel; 6] =
    [Channel::Book, Channel::Ticker, Channel::TickerBatch, Channel::Matches, Channel::Heartbeat, Channel::Status];

/// A channel and the products that it is wanted of.
type Wanted = (Channel, Vec<usize>);

/// Why a command fails: what the exchange says failed, and its reason.
#[derive(Debug)]
struct Refusal(&'static str, String);

impl Refusal {
    fn text(&self) -> String {
        let Self(message, reason) = self;
        format!(r#"{{"type":"error","message":"{message}","reason":{}}}"#, Value::from(reason.as_str()))
    }
}

fn ids(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().map(|id| id.as_str().unwrap_or("")).collect()
}

impl Coinbase {
    /// Does what a message asks for and queues the reply. A command that fails in part does nothing.
    pub(super) fn handle(&self, core: &mut Core, conn: &Rc<Conn>, text: &str) {
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            conn.reply(br#"{"type":"error","message":"Malformed JSON"}"#);
            return;
        };
        let outcome = match request.get("type").and_then(Value::as_str) {
            Some("subscribe") => self.subscribe(core, conn, &request),
            Some("unsubscribe") => self.unsubscribe(core, conn, &request),
            _ => Err(Refusal("Failed to subscribe", "Type has to be either subscribe or unsubscribe".to_owned())),
        };
        if let Err(refusal) = outcome {
            conn.reply(refusal.text().as_bytes());
        }
    }

    /// What a command names. Products at its top are those of the channels that are named without products of their own.
    fn wanted(&self, request: &Value, failed: &'static str) -> Result<Vec<Wanted>, Refusal> {
        let refuse = |reason: String| Refusal(failed, reason);
        let channels = request.get("channels").and_then(Value::as_array).filter(|channels| !channels.is_empty());
        let common = ids(request.get("product_ids"));
        let mut wanted = Vec::new();
        for entry in channels.ok_or_else(|| refuse("No channels provided".to_owned()))? {
            let (name, products) = match entry {
                Value::String(name) => (name.as_str(), common.clone()),
                // One with a list of its own has that one, even an empty one.
                _ => {
                    let own = entry.get("product_ids").map_or_else(|| common.clone(), |own| ids(Some(own)));
                    (entry.get("name").and_then(Value::as_str).unwrap_or(""), own)
                }
            };
            if PRIVATE.contains(&name) {
                let has_key = ["signature", "key"].iter().all(|part| request.get(*part).is_some());
                return Err(if has_key {
                    Refusal("Authentication Failed", r#"{"message":"Invalid API Key"}"#.to_owned())
                } else {
                    refuse(NEEDS_KEY.to_owned())
                });
            }
            let channel = Channel::named(name).ok_or_else(|| refuse(format!("{name} is not a valid channel")))?;
            let mut places = Vec::new();
            if channel != Channel::Status {
                for id in products {
                    let place = self.products.iter().position(|product| product.id == id);
                    places.push(place.ok_or_else(|| refuse(format!("{id} is not a valid product")))?);
                }
            }
            wanted.push((channel, places));
        }
        Ok(wanted)
    }

    fn subscribe(&self, core: &mut Core, conn: &Rc<Conn>, request: &Value) -> Result<(), Refusal> {
        const FAILED: &str = "Failed to subscribe";
        self.waiting.borrow_mut().remove(&conn.id);
        let mut fresh = Vec::new();
        for (channel, places) in self.wanted(request, FAILED)? {
            if channel != Channel::Status && places.is_empty() {
                let reason = format!("You need to specify at least one product ID for channel {}", channel.name());
                return Err(Refusal(FAILED, reason));
            }
            let places = if channel == Channel::Status { vec![0] } else { places };
            for place in places {
                let stream = channel.stream(&self.products[place].id);
                let subscribers = core.subs[self.index(channel, place)].len();
                if conn.streams.borrow().get(&stream).is_some_and(Option::is_some) {
                    continue;
                }
                if subscribers >= self.options.subscriptions {
                    return Err(Refusal(FAILED, format!("Too many subscriptions of {stream}")));
                }
                fresh.push((channel, place, stream));
            }
        }
        fresh.retain(|(.., stream)| !core.faults.omits(conn.id, stream));
        fresh.retain(|(channel, place, stream)| core.attach(conn, stream, Some(self.index(*channel, *place))));
        self.tell_subscriptions(conn);
        let now = now_us();
        for (channel, place, _) in fresh {
            self.show(core, conn, channel, place, now);
        }
        Ok(())
    }

    /// Without products a channel is left for all of them.
    fn unsubscribe(&self, core: &mut Core, conn: &Rc<Conn>, request: &Value) -> Result<(), Refusal> {
        let mut names = Vec::new();
        for (channel, places) in self.wanted(request, "Failed to unsubscribe")? {
            let all: Vec<usize> = (0..self.products.len()).collect();
            let places = if places.is_empty() { all } else { places };
            names.extend(places.into_iter().map(|place| channel.stream(&self.products[place].id)));
        }
        core.detach(conn, &names);
        self.tell_subscriptions(conn);
        Ok(())
    }

    /// Tells a connection all that it has subscribed to.
    fn tell_subscriptions(&self, conn: &Conn) {
        let streams = conn.streams.borrow();
        let mut channels = Vec::new();
        for channel in ORDER {
            let named = |id: &str| streams.contains_key(&channel.stream(id));
            let ids: Vec<&str> = match channel {
                Channel::Status => Vec::new(),
                _ => self.products.iter().map(|product| product.id.as_str()).filter(|id| named(id)).collect(),
            };
            if !ids.is_empty() || channel == Channel::Status && named("") {
                let (name, ids) = (channel.told_name(), Value::from(ids));
                channels.push(format!(r#"{{"name":"{name}","product_ids":{ids},"account_ids":null}}"#));
            }
        }
        conn.reply(format!(r#"{{"type":"subscriptions","channels":[{}]}}"#, channels.join(",")).as_bytes());
    }
}
