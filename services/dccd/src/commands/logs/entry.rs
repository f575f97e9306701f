//! One message of a log: its first line, which says when and how grave, and the lines that belong to it.

use clap::ValueEnum;
use serde::Deserialize;

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Everything
    Trace,
    /// What helps to find a fault
    Debug,
    /// What happened
    Info,
    /// What was unexpected, nothing lost
    Warn,
    /// What somebody must look at
    Error,
}

impl Level {
    fn of(word: &str) -> Option<Self> {
        Self::from_str(word, true).ok()
    }
}

/// What the first line of a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Host time, ns since the epoch.
    pub time: i64,
    pub level: Level,
    /// Whose it is, in a file of several services.
    pub service: Option<String>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of a line without a head: the one before it.
    pub head: Head,
    /// Its lines, each with its end.
    pub text: Vec<u8>,
}

#[derive(Deserialize)]
struct Json<'a> {
    timestamp: &'a str,
    level: &'a str,
    service: Option<&'a str>,
}

impl Head {
    /// Reads a line as [`dccd_service::log`] writes them; `None`: it goes on with what the line before it said.
    pub fn of(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        if line.starts_with('{') {
            let json: Json<'_> = serde_json::from_str(line).ok()?;
            let (time, level) = (nanos(json.timestamp)?, Level::of(json.level)?);
            return Some(Self { time, level, service: json.service.map(str::to_owned) });
        }
        // A year: most of the other lines are done with here.
        if !line.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let (time, rest) = line.split_once(' ')?;
        let (level, rest) = rest.trim_start().split_once(' ')?;
        // A service's name before the module's; modules have no dots, and their path no single colon.
        let mut words = rest.split(": ");
        let (first, second) = (words.next()?, words.next());
        let service = second.filter(|_| first == "dccd-root" || (first.contains('.') && !first.contains(' ')));
        Some(Self { time: nanos(time)?, level: Level::of(level)?, service: service.map(|_| first.to_owned()) })
    }
}

fn nanos(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// Puts lines together to messages.
#[derive(Debug)]
pub struct Grouper {
    current: Option<Entry>,
    last: Head,
}

impl Default for Grouper {
    fn default() -> Self {
        // What a process says past its log before it has one is its last word most of the time.
        Self { current: None, last: Head { time: i64::MIN, level: Level::Error, service: None } }
    }
}

impl Grouper {
    /// Takes a line with its end; gives the message before it, if that ends with it.
    pub fn push(&mut self, line: &[u8]) -> Option<Entry> {
        match (Head::of(line), &mut self.current) {
            (Some(head), _) => {
                self.last = head.clone();
                self.current.replace(Entry { head, text: line.to_owned() })
            }
            // Before any head there is nothing to belong to: each line is one.
            (None, Some(entry)) if entry.head.time != i64::MIN => {
                entry.text.extend_from_slice(line);
                None
            }
            (None, _) => self.current.replace(Entry { head: self.last.clone(), text: line.to_owned() }),
        }
    }

    /// The message that was begun last. What belongs to it and comes later is one of its own, with the same head.
    pub fn take(&mut self) -> Option<Entry> {
        self.current.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_both_forms_are_read() {
        let head = |line: &str| Head::of(line.as_bytes());
        let expected = |level, service: Option<&str>| {
            Some(Head { time: 1_764_270_000_123_456_000, level, service: service.map(str::to_owned) })
        };
        let time = "2025-11-27T19:00:00.123456Z";
        assert_eq!(head(&format!("{time}  INFO datad::links: up url=wss://x: y")), expected(Level::Info, None));
        assert_eq!(head(&format!("{time} ERROR datad.okx: datad: x\n")), expected(Level::Error, Some("datad.okx")));
        assert_eq!(head(&format!("{time}  WARN dccd-root: dccd_root: x")), expected(Level::Warn, Some("dccd-root")));
        let json = format!(r#"{{"timestamp":"{time}","level":"DEBUG","fields":{{"message":"x"}},"target":"a"}}"#);
        assert_eq!(head(&json), expected(Level::Debug, None));
        let json = json.replace("{\"timestamp", "{\"service\":\"datad.x\",\"timestamp");
        assert_eq!(head(&json), expected(Level::Debug, Some("datad.x")));
        for other in
            ["", "   3: std::panicking::panic", "2 lines", "{not json", "error: no", "2025-11-27T19:00:00Z LOUD x: y"]
        {
            assert_eq!(head(other), None, "{other}");
        }
    }

    #[test]
    fn what_has_no_head_belongs_to_the_message_before_it() {
        let mut grouper = Grouper::default();
        let mut entries = Vec::new();
        let time = |s: u8| format!("2025-11-27T19:00:0{s}Z ");
        let text = format!("raw\n{}ERROR a: panic: x\n   0: f\n   1: g\n{}INFO a: on\n", time(1), time(2));
        for line in text.split_inclusive('\n') {
            entries.extend(grouper.push(line.as_bytes()));
        }
        entries.extend(grouper.take());
        let texts: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.text).lines().count()).collect();
        assert_eq!(texts, [1, 3, 1]);
        assert_eq!((entries[0].head.time, entries[0].head.level), (i64::MIN, Level::Error));
        // What comes late has the head of what it belongs to.
        assert_eq!(grouper.push(b"late\n"), None);
        assert_eq!(grouper.take().unwrap().head, entries[2].head);
    }
}
