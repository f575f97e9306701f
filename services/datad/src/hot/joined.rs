//! A successor of this process: what comes on its connections is journaled and merged as if they were ours, until we leave.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use dccd_model::{BookState, EntryKind};
use dccd_net::FrameBatch;
use dccd_service::ShutdownReason;
use tokio::net::UnixStream;
use tracing::{info, warn};

use super::Hot;
use crate::handover::{Kind, Message, Peer, encode_book};

/// Messages of the successor that are handled in one turn at most.
const MESSAGES_PER_TURN: usize = 256;
/// Patience with the successor when it is sent the last of it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The successor.
pub(super) struct Joined {
    pub(super) peer: Peer,
    /// Its connections that are open.
    conns: Vec<u32>,
    /// How many of its messages were journaled.
    taken: u64,
    /// Our connections as it knows them.
    told: Vec<u32>,
}

impl Hot {
    /// A successor is there.
    pub(super) fn join(&mut self, stream: std::os::unix::net::UnixStream) -> Result<(), String> {
        if self.joined.is_some() {
            return Err("another successor is there already".to_owned());
        }
        if let Some(reason) = self.journal.broken_by() {
            return Err(format!("the process that runs does not record: {reason}"));
        }
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let stream = stream.map_err(|error| format!("the socket cannot be used: {error}"))?;
        info!("a successor is there; what it receives is taken as well");
        self.joined = Some(Joined { peer: Peer::new(stream), conns: Vec::new(), taken: 0, told: Vec::new() });
        // First, so that the successor knows from where on to look in the journal should we be killed.
        self.tell_taken();
        self.tell_conns();
        Ok(())
    }

    /// Lets the successor know which connections are ours, where that has changed.
    pub(super) fn tell_conns(&mut self) {
        let Some(joined) = &mut self.joined else { return };
        let conns: Vec<u32> = self.links.conns().map(|(conn, _)| conn).collect();
        if conns != joined.told {
            let payload: Vec<u8> = conns.iter().flat_map(|conn| conn.to_le_bytes()).collect();
            joined.peer.push(&Message::new(Kind::Conns, "", payload));
            joined.told = conns;
        }
    }

    /// The successor said something, and maybe more.
    pub(super) fn joined_said(&mut self, said: io::Result<Message>) {
        let mut next = said.map(Some);
        for _ in 0..MESSAGES_PER_TURN {
            match next {
                Ok(Some(message)) => self.take_message(&message),
                Ok(None) => break,
                Err(error) => return self.part(&format!("the successor is gone: {error}")),
            }
            next = self.joined.as_mut().map_or(Ok(None), |joined| joined.peer.next_read());
        }
        // Where the turn ended first one was read already.
        match next {
            Ok(Some(message)) => self.take_message(&message),
            Ok(None) => {}
            Err(error) => return self.part(&format!("the successor is gone: {error}")),
        }
        self.tell_taken();
    }

    fn take_message(&mut self, message: &Message) {
        if message.kind == Kind::Leave {
            info!("the successor has all feeds; leaving");
            return self.shutdown.trigger(ShutdownReason::HandedOver);
        }
        let ts_recv = self.journal.clock.at_least(message.ts);
        let (Some(entry), Some(joined)) = (message.entry(ts_recv), &mut self.joined) else { return };
        match message.kind {
            Kind::Opened => joined.conns.push(message.conn),
            Kind::Closed => joined.conns.retain(|conn| *conn != message.conn),
            _ => {}
        }
        joined.taken += 1;
        self.journal.append(&entry);
        self.apply(&entry);
    }

    /// Commits what was taken, and lets the successor know.
    fn tell_taken(&mut self) {
        self.journal.commit();
        if let Some(reason) = self.journal.broken_by() {
            let reason = format!("was refused: the process that runs does not record any more: {reason}");
            if let Some(joined) = &mut self.joined {
                joined.peer.push(&Message::new(Kind::Refused, &reason, Bytes::new()));
                // It reads that before it reads the end; if it can't be sent at once, the end has to do.
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = joined.peer.poll_next(&mut cx);
            }
            return self.part(&reason);
        }
        let (position, ts) = (self.journal.writer.position().0, self.journal.clock.last());
        if let Some(joined) = &mut self.joined {
            let payload = [joined.taken.to_le_bytes(), position.to_le_bytes()].concat();
            joined.peer.push(&Message { ts, ..Message::new(Kind::Taken, "", payload) });
        }
    }

    /// Goes on without the successor: its connections have ended with it.
    fn part(&mut self, reason: &str) {
        let Some(joined) = self.joined.take() else { return };
        warn!(reason, "going on alone");
        for conn in joined.conns {
            self.enter(EntryKind::Closed, conn, "the successor is gone", b"");
        }
    }

    /// Lets our connections go, and gives the successor what it can't have from the journal. Only ending is left to do then.
    pub(super) async fn leave(&mut self, batch: &mut FrameBatch) {
        while let Some((link, event)) = self.links.take_left(batch) {
            self.link_event(link, event, batch);
            self.settle();
        }
        while let Some(Ok(Some(message))) = self.joined.as_mut().map(|joined| joined.peer.next_read()) {
            self.take_message(&message);
        }
        let conns: Vec<u32> = self.links.conns().map(|(conn, _)| conn).collect();
        for conn in conns {
            self.enter(EntryKind::Closed, conn, "handed over", b"");
        }
        self.bus.end_batch();
        self.tell_taken();
        let Some(mut joined) = self.joined.take() else { return };
        for (_, feed) in self.bus.iter() {
            if let Some(ladder) = feed.ladder().filter(|_| feed.book_state() == BookState::Valid) {
                joined.peer.push(&Message::new(Kind::Book, feed.symbol.as_str(), encode_book(ladder)));
            }
        }
        joined.peer.push(&Message::new(Kind::Left, "", Bytes::new()));
        if let Err(error) = joined.peer.send_all(LAST_WORDS).await {
            warn!(error = &error as &dyn std::error::Error, "the successor did not hear the last of it; it has the journal");
        }
    }
}
