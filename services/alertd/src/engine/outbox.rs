//! Messages on their way: one at a time to each webhook, in order, tried again until they are delivered, at most so many an hour.

use std::time::Duration;

use dccd_net::{Backoff, Retry};
use dccd_rpc::condition::Severity;

use super::Engine;
use crate::message::{Event, HeldBack, Message};
use crate::saved::Outbox;

/// Messages that wait for one webhook; of more, the oldest are told as a number.
const QUEUE_MAX: usize = 500;
/// A message that could not be delivered for so long is given up, ns.
const KEPT: i64 = 7 * 24 * HOUR;
/// Refusals (a webhook that is gone, a form that isn't taken) after which a message is given up.
const REFUSALS_MAX: u32 = 3;
/// Failures that still lengthen the waits.
const FAILURES_COUNTED: u32 = 16;
const HOUR: i64 = 3_600 * 1_000_000_000;
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), max: Duration::from_secs(300) };

/// A document that is to be posted.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Whose it is: the number of the webhook in the configuration.
    pub(crate) hook: usize,
    /// The message.
    pub(crate) id: String,
    /// As the webhook wants it.
    pub(crate) document: Vec<u8>,
}

impl Engine {
    /// Puts a message into the outbox of a webhook.
    pub(super) fn post(&mut self, hook: usize, message: Message) {
        let in_flight = self.in_flight.contains(&self.hooks[hook].key);
        let outbox = &mut self.saved.outboxes[hook];
        if outbox.queue.len() >= QUEUE_MAX {
            // The first may be under way.
            let oldest = outbox.queue.remove(usize::from(in_flight));
            oldest.into_iter().for_each(|oldest| outbox.held_back.add(oldest));
        }
        outbox.queue.push_back(message);
    }

    /// What is to be posted now; each is to be answered with [`Engine::settle`].
    pub(crate) fn due(&mut self, now: i64) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for hook in 0..self.hooks.len() {
            if self.in_flight.contains(&self.hooks[hook].key) || !self.saved.outboxes[hook].has_work() {
                continue;
            }
            if !self.make_way(hook, now) {
                continue;
            }
            let Some(message) = self.saved.outboxes[hook].queue.front() else { continue };
            let document = message.document(self.hooks[hook].format, &self.sender, now);
            attempts.push(Attempt { hook, id: message.id.clone(), document });
            self.in_flight.insert(self.hooks[hook].key.clone());
        }
        attempts
    }

    /// Sees to it that the first message of an outbox may go out now; `false`: none may.
    fn make_way(&mut self, hook: usize, now: i64) -> bool {
        let outbox = &mut self.saved.outboxes[hook];
        while outbox.queue.front().is_some_and(|message| now.saturating_sub(message.created) > KEPT) {
            outbox.queue.pop_front();
            outbox.lost += 1;
            self.dirty = true;
        }
        // A clock that was set back must not keep messages from going out.
        outbox.next_attempt = outbox.next_attempt.min(now.saturating_add(KEPT));
        outbox.sent_at.retain(|at| *at <= now && now.saturating_sub(*at) < HOUR);
        if outbox.next_attempt > now || !outbox.has_work() {
            return false;
        }
        let free = self.max_per_hour.saturating_sub(outbox.sent_at.len());
        let waiting = outbox.queue.len() + usize::from(!outbox.held_back.is_empty());
        if free == 0 || (free == 1 && waiting > 1) {
            for message in outbox.queue.drain(..) {
                outbox.held_back.add(message);
                self.dirty = true;
            }
        }
        if free == 0 {
            return false;
        }
        if !outbox.held_back.is_empty() {
            // One that was not delivered yet is told with the rest.
            let is_summary = outbox.queue.front().is_some_and(|message| message.event == Event::HeldBack);
            let before = if is_summary { outbox.queue.pop_front() } else { None };
            before.into_iter().for_each(|summary| outbox.held_back.add(summary));
            let held_back = std::mem::take(&mut outbox.held_back);
            let id = self.message_id();
            self.saved.outboxes[hook].queue.push_front(summary(id, held_back, now));
            self.dirty = true;
        }
        true
    }

    /// How an attempt went: delivered, or why not and when to try again.
    pub(crate) fn settle(&mut self, hook: usize, id: &str, result: Result<(), (String, Retry)>, now: i64) {
        self.dirty = true;
        self.in_flight.remove(&self.hooks[hook].key);
        let host = self.hooks[hook].host.clone();
        let outbox = &mut self.saved.outboxes[hook];
        let is_first = outbox.queue.front().is_some_and(|message| message.id == id);
        let (reason, retry) = match result {
            Ok(()) => {
                if is_first {
                    outbox.queue.pop_front();
                }
                if outbox.failing_since != 0 {
                    tracing::info!(host, attempts = outbox.failures, "the webhook takes messages again");
                }
                outbox.sent += 1;
                outbox.sent_at.push_back(now);
                outbox.last_success = now;
                (outbox.failures, outbox.refusals, outbox.next_attempt, outbox.failing_since) = (0, 0, 0, 0);
                outbox.last_error = None;
                return;
            }
            Err(failed) => failed,
        };
        if outbox.failing_since == 0 {
            outbox.failing_since = now;
        }
        if outbox.last_error.as_ref() != Some(&reason) {
            tracing::warn!(host, reason, "a message was not delivered; it waits");
        }
        outbox.last_error = Some(reason);
        let mut waits = BACKOFF.delays(fastrand::u64(..));
        let mut wait = Duration::ZERO;
        for _ in 0..=outbox.failures.min(FAILURES_COUNTED) {
            wait = waits.next_delay();
        }
        outbox.failures = outbox.failures.saturating_add(1);
        if let Retry::After(asked) = retry {
            wait = wait.max(asked);
        }
        outbox.next_attempt = now.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
        if retry == Retry::No {
            outbox.refusals += 1;
            if outbox.refusals >= REFUSALS_MAX && is_first {
                outbox.queue.pop_front();
                outbox.lost += 1;
                outbox.refusals = 0;
                tracing::error!(host, "the webhook refuses a message again and again; it is given up");
            }
        }
    }

    /// When something can be posted next.
    pub(super) fn next_posts(&self, now: i64) -> impl Iterator<Item = i64> + '_ {
        let waiting = self.saved.outboxes.iter().filter(|outbox| outbox.has_work() && !self.in_flight.contains(&outbox.key));
        waiting.map(move |outbox| {
            let slot = |outbox: &Outbox| {
                let first = outbox.sent_at.iter().find(|at| now.saturating_sub(**at) < HOUR);
                first.map_or(now, |at| at.saturating_add(HOUR))
            };
            let full = outbox.sent_at.len() >= self.max_per_hour;
            outbox.next_attempt.max(if full { slot(outbox) } else { now })
        })
    }
}

fn summary(id: String, held_back: HeldBack, now: i64) -> Message {
    Message {
        id,
        event: Event::HeldBack,
        created: now,
        severity: held_back.severity.unwrap_or(Severity::Info),
        service: dccd_rpc::alertd::ALERTD_NAME.to_owned(),
        kind: "held_back".to_owned(),
        alerts: Vec::new(),
        more: 0,
        held_back,
    }
}
