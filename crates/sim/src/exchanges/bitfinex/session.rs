//! What one connection is told and how: its flags, its sequence, the numbers of its channels, and which of them were quiet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::Bitfinex;
use crate::clock::now_us;
use crate::digits::{push_i64, push_u64};
use crate::hub::Core;
use crate::ws::queue::Conn;

/// Messages end in the time at which they were sent.
pub(super) const TIMESTAMP: u32 = 32_768;
/// Messages are numbered.
pub(super) const SEQUENCE: u32 = 65_536;
/// Each change of a book is followed by its checksum.
pub(super) const CHECKSUM: u32 = 131_072;
/// All that changes in a book at once comes in one message.
pub(super) const BULK: u32 = 536_870_912;

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub flags: u32,
    /// The last number given out.
    seq: u64,
    next_channel: u64,
    /// Streams by channel number.
    channels: BTreeMap<u64, usize>,
    numbers: HashMap<usize, u64>,
    /// Channels that were told something since the last heartbeat.
    heard: BTreeSet<u64>,
    beat_us: i64,
    text: Vec<u8>,
}

impl Session {
    /// A connection whose channels are numbered from here on.
    pub(super) fn new(first_channel: u64, now_us: i64) -> Self {
        Self { next_channel: first_channel, beat_us: now_us, ..Self::default() }
    }

    /// Opens a channel: its number.
    pub(super) fn open(&mut self, stream: usize) -> u64 {
        let number = self.next_channel;
        self.next_channel += 1;
        self.channels.insert(number, stream);
        self.numbers.insert(stream, number);
        number
    }

    /// Closes a channel: its stream, when there was one.
    pub(super) fn close(&mut self, number: u64) -> Option<usize> {
        let stream = self.channels.remove(&number)?;
        self.numbers.remove(&stream);
        self.heard.remove(&number);
        Some(stream)
    }

    pub(super) fn has(&self, stream: usize) -> bool {
        self.numbers.contains_key(&stream)
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// `[chan,body,seq,ts]`. What nobody will get takes no number.
    fn frame(&mut self, number: u64, body: &[u8], now_us: i64, is_silent: bool) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        text.push(b'[');
        push_u64(&mut text, number);
        text.push(b',');
        text.extend_from_slice(body);
        if self.flags & SEQUENCE != 0 {
            self.seq += u64::from(!is_silent);
            text.push(b',');
            push_u64(&mut text, self.seq);
        }
        if self.flags & TIMESTAMP != 0 {
            text.push(b',');
            push_i64(&mut text, now_us.div_euclid(1_000));
        }
        text.push(b']');
        text
    }

    /// Channels that were quiet since the last heartbeat, when the next one is due.
    fn quiet(&mut self, every_us: i64, now_us: i64) -> Vec<(u64, usize)> {
        if now_us - self.beat_us < every_us {
            return Vec::new();
        }
        self.beat_us = now_us;
        let heard = std::mem::take(&mut self.heard);
        self.channels
            .iter()
            .filter(|(number, _)| !heard.contains(number))
            .map(|(number, stream)| (*number, *stream))
            .collect()
    }
}

impl Bitfinex {
    /// The flags of a connection.
    pub(super) fn flags(&self, conn: &Conn) -> u32 {
        self.sessions.borrow().get(&conn.id).map_or(0, |session| session.flags)
    }

    /// Sends a connection what a stream has to say to it; `id` is what the ledger notes of it.
    pub(super) fn deliver(&self, core: &mut Core, conn: &Conn, stream: usize, id: u64, body: &[u8], now_us: i64) {
        let is_silent = core.faults.is_silent(conn.id, core.shared.name(stream), now_us);
        let text = {
            let mut sessions = self.sessions.borrow_mut();
            let Some(session) = sessions.get_mut(&conn.id) else { return };
            let Some(number) = session.numbers.get(&stream).copied() else { return };
            session.heard.insert(number);
            session.frame(number, body, now_us, is_silent)
        };
        core.deliver_text(conn, stream, id, &text);
        if let Some(session) = self.sessions.borrow_mut().get_mut(&conn.id) {
            session.text = text;
        }
    }

    /// Sends it to all who subscribed.
    pub(super) fn publish(&self, core: &mut Core, stream: usize, id: u64, body: &[u8], now_us: i64) {
        for at in 0..core.subs[stream].len() {
            let conn = Rc::clone(&core.subs[stream][at]);
            self.deliver(core, &conn, stream, id, body, now_us);
        }
    }

    /// Tells channels that were quiet that they live.
    pub(super) fn beat(&self, core: &mut Core) {
        let now_us = now_us();
        let every_us = i64::try_from(self.options.heartbeat.as_micros()).unwrap_or(i64::MAX);
        let conns: Vec<Rc<Conn>> = core.conns.values().map(Rc::clone).collect();
        for conn in conns {
            let quiet = {
                let mut sessions = self.sessions.borrow_mut();
                sessions.get_mut(&conn.id).map(|session| session.quiet(every_us, now_us)).unwrap_or_default()
            };
            for (_, stream) in quiet {
                if core.subs[stream].iter().any(|of| of.id == conn.id) {
                    self.deliver(core, &conn, stream, 0, b"\"hb\"", now_us);
                }
            }
            if let Some(session) = self.sessions.borrow_mut().get_mut(&conn.id) {
                // A heartbeat itself is no news.
                if session.beat_us == now_us {
                    session.heard.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(session: &mut Session, is_silent: bool) -> String {
        String::from_utf8(session.frame(7, b"\"hb\"", 1_617_643_606_123_456, is_silent)).unwrap()
    }

    #[test]
    fn flags_say_in_which_fields_a_message_ends_in_every_combination() {
        let mut session = Session::new(7, 0);
        let mut with = |flags| {
            session.flags = flags;
            frame(&mut session, false)
        };
        assert_eq!(with(0), r#"[7,"hb"]"#);
        assert_eq!(with(TIMESTAMP), r#"[7,"hb",1617643606123]"#);
        assert_eq!(with(SEQUENCE), r#"[7,"hb",1]"#);
        assert_eq!(with(SEQUENCE | TIMESTAMP), r#"[7,"hb",2,1617643606123]"#);
        assert_eq!(with(SEQUENCE | CHECKSUM | BULK), r#"[7,"hb",3]"#);
        assert_eq!(frame(&mut session, true), r#"[7,"hb",3]"#);
        assert_eq!(frame(&mut session, false), r#"[7,"hb",4]"#);
    }

    #[test]
    fn channels_that_were_told_something_get_no_heartbeat() {
        let mut session = Session::new(100, 0);
        let numbers = [session.open(5), session.open(9)];
        assert_eq!(numbers, [100, 101]);
        session.heard.insert(101);
        assert_eq!(session.quiet(15, 14), []);
        assert_eq!(session.quiet(15, 15), [(100, 5)]);
        assert_eq!(session.quiet(15, 30), [(100, 5), (101, 9)]);
        assert_eq!((session.close(100), session.close(100), session.has(5), session.len()), (Some(5), None, false, 1));
    }
}
