//! What is known of a process that is to take a service over, as long as it isn't the service.

use std::time::Instant;

use dccd_rpc::RpcError;
use dccd_rpc::root::{ROOT_NAME, Registration, ServiceState};

use crate::cell::Cell;
use crate::exits::Ending;
use crate::token::TokenHash;

/// A process that is to take the service over.
#[derive(Debug)]
pub(crate) struct Successor {
    pid: u32,
    token: TokenHash,
    spawned: Instant,
    /// It could take over, and was told that it may.
    stands_by: bool,
    /// Why it can't.
    trouble: Option<String>,
}

impl Cell {
    /// A successor is started.
    pub(crate) fn expect_successor(&self, pid: u32, token: TokenHash) {
        let successor = Successor { pid, token, spawned: Instant::now(), stands_by: false, trouble: None };
        self.state().successor = Some(successor);
    }

    /// It doesn't take over.
    pub(crate) fn forget_successor(&self) {
        self.state().successor = None;
    }

    /// Whether that process is a successor of the service's.
    pub(crate) fn expects(&self, pid: u32) -> bool {
        self.state().successor.as_ref().is_some_and(|successor| successor.pid == pid)
    }

    /// Whether the successor has the word.
    pub(crate) fn successor_stands_by(&self) -> bool {
        // One that became the service meanwhile had no need of it.
        self.state().successor.as_ref().is_none_or(|successor| successor.stands_by)
    }

    /// Why the successor can't take over, if it said so.
    pub(crate) fn successor_trouble(&self) -> Option<String> {
        self.state().successor.as_ref().and_then(|successor| successor.trouble.clone())
    }

    /// The successor has had its time: it doesn't get the word any more, unless it has it. `Err`: what is to be said of it.
    pub(crate) fn give_up_successor(&self) -> Result<(), String> {
        let mut state = self.state();
        match &state.successor {
            Some(successor) if !successor.stands_by => {
                let waited = successor.spawned.elapsed().as_secs_f64();
                state.successor = None;
                Err(format!("was not ready within {waited:.0} s; see its log"))
            }
            _ => Ok(()),
        }
    }

    /// A successor says that it could take over, or why it can't.
    pub(crate) fn stand_by(
        &self,
        registration: &Registration,
        trouble: Option<String>,
        peer: Option<u32>,
    ) -> Result<(), RpcError> {
        let mut state = self.state();
        let is_it = state.pid == Some(registration.pid) && peer.is_none_or(|peer| peer == registration.pid);
        if is_it && state.token.as_ref().is_some_and(|token| token.is_of(&registration.token)) {
            return Ok(()); // the process before it ended meanwhile
        }
        let known = state.successor.as_mut().filter(|successor| {
            successor.pid == registration.pid
                && peer.is_none_or(|peer| peer == successor.pid)
                && successor.token.is_of(&registration.token)
        });
        let Some(successor) = known else {
            let reason = format!("this process is to take nothing over from {}", self.name());
            return Err(RpcError::Refused { service: ROOT_NAME.to_owned(), reason });
        };
        tracing::info!(service = self.name(), pid = successor.pid, trouble, "a successor stands by");
        successor.stands_by = trouble.is_none();
        successor.trouble = trouble;
        drop(state);
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// The successor is the service, and may register as such: it holds the service's lock, or the process before it is gone.
    pub(crate) fn promote(&self) {
        let mut state = self.state();
        let Some(successor) = state.successor.take() else { return };
        state.predecessor = Some(state.was());
        state.begin(successor.token);
        state.pid = Some(successor.pid);
        (state.endpoint, state.spawned, state.awaited) = (None, Some(successor.spawned), Some(Instant::now()));
        self.set_locked(&mut state, ServiceState::Starting, Some("taking over".to_owned()));
    }

    /// The process before the successor is gone, and so it ended.
    pub(crate) fn succeed(&self, ending: Ending) {
        self.promote();
        let mut state = self.state();
        if let Some(was) = state.predecessor.take() {
            self.note(&mut state, was, ending);
        }
    }
}
