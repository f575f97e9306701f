//! A message: which alerts it tells of, and how that is put into words and JSON.

use std::fmt::Write as _;

use dccd_model::UnixNanos;
use dccd_rpc::BUILD;
use dccd_rpc::condition::Severity;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::options::Format;

/// Alerts that one message tells of by name; of more it tells the number.
pub(crate) const ALERTS_MAX: usize = 10;
/// Names that a message about what was held back has.
const HELD_NAMES_MAX: usize = 10;
/// A message that is delivered later than this says of what time it is, ns.
const LATE: i64 = 120 * 1_000_000_000;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Something is wrong, or graver than it was.
    Alert,
    /// It is over.
    Recovered,
    /// It is still wrong.
    Reminder,
    /// The hourly limit kept messages back.
    HeldBack,
    /// Somebody tries whether messages arrive.
    Test,
}

/// One alert, as a message tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) since: i64,
    pub(crate) count: u64,
    /// 0: it isn't over.
    pub(crate) recovered: i64,
}

/// One message, to be delivered to one webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The same at each attempt: who got it twice can tell.
    pub(crate) id: String,
    pub(crate) event: Event,
    /// When it was made, ns.
    pub(crate) created: i64,
    /// The gravest of its alerts.
    pub(crate) severity: Severity,
    pub(crate) service: String,
    pub(crate) kind: String,
    /// The first of them.
    pub(crate) alerts: Vec<Told>,
    /// How many more.
    pub(crate) more: usize,
    /// What it tells of beyond single alerts.
    pub(crate) held_back: HeldBack,
}

/// Messages that were not sent one by one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldBack {
    pub(crate) alerts: u64,
    pub(crate) recoveries: u64,
    pub(crate) reminders: u64,
    /// The gravest of them.
    pub(crate) severity: Option<Severity>,
    /// What the first of them said, shortly.
    pub(crate) first: Vec<String>,
}

impl HeldBack {
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many messages.
    pub(crate) fn count(&self) -> u64 {
        self.alerts + self.recoveries + self.reminders
    }

    /// One more.
    pub(crate) fn add(&mut self, message: Message) {
        match message.event {
            Event::Alert => self.alerts += 1,
            Event::Recovered => self.recoveries += 1,
            Event::Reminder | Event::Test => self.reminders += 1,
            Event::HeldBack => {
                let other = message.held_back;
                self.alerts += other.alerts;
                self.recoveries += other.recoveries;
                self.reminders += other.reminders;
                self.severity = self.severity.max(other.severity);
                self.first.extend(other.first);
                self.first.truncate(HELD_NAMES_MAX);
                return;
            }
        }
        self.severity = self.severity.max(Some(message.severity));
        if self.first.len() < HELD_NAMES_MAX {
            self.first.push(message.headline());
        }
    }
}

/// Whose message it is.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) instance: String,
    pub(crate) host: String,
}

impl Message {
    /// The document that is posted at this time.
    pub(crate) fn document(&self, format: Format, sender: &Sender, now: i64) -> Vec<u8> {
        let text = self.text(sender, now);
        let document = match format {
            Format::Slack => json!({ "text": for_slack(&text) }),
            Format::Json => self.fields(sender, text),
        };
        document.to_string().into_bytes()
    }

    fn fields(&self, sender: &Sender, text: String) -> Value {
        let alert = |told: &Told| {
            json!({
                "id": told.id,
                "subject": told.subject,
                "severity": told.severity,
                "message": told.message,
                "since": UnixNanos(told.since).to_string(),
                "recovered": (told.recovered > 0).then(|| UnixNanos(told.recovered).to_string()),
                "count": told.count,
            })
        };
        json!({
            "id": self.id,
            "event": self.event,
            "severity": self.severity,
            "service": self.service,
            "kind": self.kind,
            "alerts": self.alerts.iter().map(alert).collect::<Vec<_>>(),
            "more": self.more,
            "held_back": self.held_back.count(),
            "time": UnixNanos(self.created).to_string(),
            "instance": sender.instance,
            "host": sender.host,
            "version": BUILD,
            "text": text,
        })
    }

    /// For people.
    fn text(&self, sender: &Sender, now: i64) -> String {
        let mut text = format!("[dccd {}@{}] {}", sender.instance, sender.host, self.headline());
        if let (Some(first), Event::Alert | Event::Reminder) = (self.alerts.first(), self.event) {
            let _ = write!(text, ": {}", first.message);
        }
        if self.event == Event::HeldBack {
            for line in &self.held_back.first {
                let _ = write!(text, "\n• {line}");
            }
        }
        if now.saturating_sub(self.created) > LATE {
            let _ = write!(text, " (of {}, delivered late)", UnixNanos(self.created));
        }
        text
    }

    /// What it is about, on one line.
    fn headline(&self) -> String {
        let what = self.kind.replace('_', " ");
        let about = format!("{}: {what}{}", self.service, self.subjects());
        let lasted = || self.alerts.iter().map(|told| told.recovered.max(self.created) - told.since).max().unwrap_or(0);
        match self.event {
            Event::Alert => format!("{} {about}", self.severity.as_str().to_uppercase()),
            Event::Recovered => format!("RECOVERED {about} (after {})", span(lasted())),
            Event::Reminder => {
                format!("STILL {} {about} (for {})", self.severity.as_str().to_uppercase(), span(lasted()))
            }
            Event::HeldBack => {
                let HeldBack { alerts, recoveries, reminders, .. } = self.held_back;
                let count = self.held_back.count();
                format!(
                    "{count} messages were held back by the limit of messages an hour ({alerts} alerts, {recoveries} recoveries, {reminders} reminders); `dccd alerts list` shows what is wrong now. The first of them:"
                )
            }
            Event::Test => "TEST: this is how alerts of dccd arrive; nothing is wrong".to_owned(),
        }
    }

    fn subjects(&self) -> String {
        let named: Vec<&str> =
            self.alerts.iter().map(|told| told.subject.as_str()).filter(|subject| !subject.is_empty()).collect();
        if named.is_empty() {
            return String::new();
        }
        let more = if self.more == 0 { String::new() } else { format!(" and {} more", self.more) };
        format!(" {}{more}", named.join(", "))
    }
}

/// As Slack wants text: its three special characters replaced.
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A stretch of time for people: `42 s`, `3 min`, `2 h 10 min`, `5 d 3 h`.
fn span(nanos: i64) -> String {
    let seconds = nanos.max(0) / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn told(subject: &str, message: &str) -> Told {
        let (subject, message) = (subject.to_owned(), message.to_owned());
        Told { id: "a1".to_owned(), subject, severity: Severity::Critical, message, since: 100 * S, count: 3, recovered: 0 }
    }

    fn message(event: Event, alerts: Vec<Told>) -> Message {
        Message {
            id: "m-2".to_owned(),
            event,
            created: 200 * S,
            severity: Severity::Critical,
            service: "datad.kraken".to_owned(),
            kind: "data_stale".to_owned(),
            alerts,
            more: 0,
            held_back: HeldBack::default(),
        }
    }

    fn sender() -> Sender {
        Sender { instance: "prod".to_owned(), host: "lab".to_owned() }
    }

    #[test]
    fn a_message_says_where_what_and_since_when() {
        let text = |message: &Message, now| message.text(&sender(), now);
        let alert = message(Event::Alert, vec![told("kraken/BTC/USD/trades", "nothing came for 60 s"), told("x", "y")]);
        let said = "[dccd prod@lab] CRITICAL datad.kraken: data stale kraken/BTC/USD/trades, x: nothing came for 60 s";
        assert_eq!(text(&alert, 200 * S), said);
        assert_eq!(text(&alert, 900 * S), format!("{said} (of 1970-01-01T00:03:20Z, delivered late)"));
        let many = Message { more: 7, ..message(Event::Alert, vec![told("x", "y")]) };
        assert!(text(&many, 0).ends_with("data stale x and 7 more: y"), "{}", text(&many, 0));
        let over = Told { recovered: 3_700 * S, ..told("", "y") };
        let recovered = Message { created: 3_760 * S, ..message(Event::Recovered, vec![over]) };
        assert_eq!(text(&recovered, 0), "[dccd prod@lab] RECOVERED datad.kraken: data stale (after 61 min)");
        let reminder = message(Event::Reminder, vec![told("", "still nothing")]);
        assert_eq!(text(&reminder, 0), "[dccd prod@lab] STILL CRITICAL datad.kraken: data stale (for 100 s): still nothing");
    }

    #[test]
    fn slack_gets_text_and_others_get_fields() {
        let alert = message(Event::Alert, vec![told("a<b>&c", "m")]);
        let read = |format| serde_json::from_slice::<Value>(&alert.document(format, &sender(), 0)).unwrap();
        let slack = read(Format::Slack);
        assert_eq!(slack.as_object().unwrap().len(), 1);
        assert!(slack["text"].as_str().unwrap().contains("a&lt;b&gt;&amp;c"), "{slack}");
        let fields = read(Format::Json);
        for (key, value) in [("id", "m-2"), ("event", "alert"), ("severity", "critical"), ("kind", "data_stale")] {
            assert_eq!(fields[key], value, "{fields}");
        }
        for (key, value) in [("service", "datad.kraken"), ("instance", "prod"), ("host", "lab"), ("version", BUILD)] {
            assert_eq!(fields[key], value, "{fields}");
        }
        let alert = &fields["alerts"][0];
        assert_eq!(alert["since"], "1970-01-01T00:01:40Z");
        assert_eq!((&alert["subject"], &alert["count"], &alert["recovered"]), (&json!("a<b>&c"), &json!(3), &Value::Null));
    }

    #[test]
    fn what_was_held_back_is_counted_once_however_often_it_is() {
        let mut held = HeldBack::default();
        for _ in 0..30 {
            held.add(message(Event::Alert, vec![told("x", "y")]));
        }
        held.add(message(Event::Recovered, vec![told("x", "y")]));
        let summary = Message { held_back: held.clone(), ..message(Event::HeldBack, vec![]) };
        assert!(summary.text(&sender(), 0).contains("31 messages were held back"), "{}", summary.text(&sender(), 0));
        assert_eq!(summary.text(&sender(), 0).lines().count(), 1 + HELD_NAMES_MAX);
        let mut again = HeldBack::default();
        again.add(summary);
        assert_eq!(again, held);
    }

    #[test]
    fn spans_are_short() {
        let all = [-1, 119, 120, 7_199, 7_800, 442_800].map(|seconds| span(seconds * S));
        assert_eq!(all, ["0 s", "119 s", "2 min", "119 min", "2 h 10 min", "5 d 3 h"]);
    }
}
