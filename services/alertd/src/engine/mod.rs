//! What becomes of conditions: alerts, which are told once for each streak, and their recoveries. Pure: what time it is, what the root
//! reports and how deliveries went is told to it.
//!
//! A condition has to hold for a while before it is told (one that comes and goes is told at its third coming), and to be away for a
//! while before its recovery is. Of a service that has not spoken to its root yet nothing is concluded from silence.

mod listing;
mod outbox;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use dccd_rpc::alertd::AlertState;
use dccd_rpc::condition::{Condition, Conditions, ServiceConditions, Severity};
use dccd_rpc::root::ROOT_NAME;

pub(crate) use self::outbox::Attempt;
use crate::message::{ALERTS_MAX, Event, HeldBack, Message, Sender, Told};
use crate::options::{AlertdOptions, Format};
use crate::saved::{Alert, Outbox, Saved};

/// Alerts that are kept as long as they hold; what is more is not told until others are over.
const KEPT_MAX: usize = 2_000;
/// Alerts that are remembered after their recovery.
const RECENT_MAX: usize = 200;
/// What is due so soon is told together with what is due now, ns.
const GATHER: i64 = 2_000_000_000;
/// Something that came back so often between two recoveries is told, however short each time is.
const RETURNS_TOLD: u32 = 2;
/// An alert of a service that no root has known for so long is over, ns.
const FORGET_AFTER: i64 = 24 * 3_600 * 1_000_000_000;
/// The longest time between two looks, ns.
const LOOK_MAX: i64 = 60 * 1_000_000_000;

/// One webhook, as the engine sees it.
#[derive(Clone, Debug)]
struct Hook {
    key: String,
    host: String,
    format: Format,
    min_severity: Severity,
}

/// Decides what is told to whom.
#[derive(Debug)]
pub(crate) struct Engine {
    hold: i64,
    clear_after: i64,
    repeat_after: i64,
    max_per_hour: usize,
    hooks: Vec<Hook>,
    sender: Sender,
    saved: Saved,
    /// Whether it differs from what stands in the file.
    dirty: bool,
    /// The outboxes whose first message is under way.
    in_flight: BTreeSet<String>,
}

impl Engine {
    /// Goes on with what was saved.
    pub(crate) fn new(options: &AlertdOptions, host: String, mut saved: Saved) -> Self {
        let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let hooks: Vec<Hook> = options
            .webhooks
            .iter()
            .map(|hook| Hook { key: hook.key(), host: hook.host(), format: hook.format, min_severity: hook.min_severity })
            .collect();
        let mut outboxes = Vec::new();
        for hook in &hooks {
            let kept = saved.outboxes.iter().position(|outbox| outbox.key == hook.key);
            let anew = || Outbox { key: hook.key.clone(), ..Outbox::default() };
            outboxes.push(kept.map_or_else(anew, |at| saved.outboxes.swap_remove(at)));
        }
        let dropped: usize = saved.outboxes.iter().map(|outbox| outbox.queue.len()).sum();
        if dropped > 0 {
            tracing::warn!(messages = dropped, "messages to webhooks that are configured no more are dropped");
        }
        saved.outboxes = outboxes;
        Self {
            hold: nanos(options.hold),
            clear_after: nanos(options.clear_after),
            repeat_after: nanos(options.repeat_after),
            max_per_hour: options.max_per_hour.max(1) as usize,
            hooks,
            sender: Sender { instance: options.instance.clone(), host },
            saved,
            dirty: true,
            in_flight: BTreeSet::new(),
        }
    }

    /// What is to be saved, if it differs from what was given out last.
    pub(crate) fn take_changes(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        // Plain values: it can be written.
        serde_json::to_vec(&self.saved).ok()
    }

    /// Nothing is wrong and nothing has to be told.
    pub(crate) fn is_idle(&self) -> bool {
        self.saved.alerts.is_empty() && !self.saved.outboxes.iter().any(Outbox::has_work)
    }

    fn next_number(&mut self) -> u64 {
        self.saved.number += 1;
        self.saved.number
    }

    fn message_id(&mut self) -> String {
        let number = self.next_number();
        format!("{}-{number}", self.saved.store)
    }

    /// Takes in what the root says is wrong now.
    pub(crate) fn report(&mut self, report: &Conditions, now: i64) {
        let mut listed: BTreeMap<(String, String, String), (&Condition, bool)> = BTreeMap::new();
        for of in &report.services {
            let name = |c: &Condition| (of.service.clone(), c.kind.clone(), c.subject.clone());
            listed.extend(of.said.iter().map(|c| (name(c), (c, false))));
            listed.extend(of.found.iter().map(|c| (name(c), (c, true))));
        }
        // What stands in a report of everything is all there is.
        let is_whole = report.services.iter().any(|of| of.service == ROOT_NAME);
        for alert in &mut self.saved.alerts {
            let name = (alert.service.clone(), alert.kind.clone(), alert.subject.clone());
            if let Some((condition, _)) = listed.remove(&name) {
                note(alert, condition, now);
                continue;
            }
            let of = report.services.iter().find(|of| of.service == alert.service);
            // Only who has spoken, and would speak of it, can be silent about it.
            let is_silent = |of: &ServiceConditions| {
                if alert.by_root { of.heard } else { of.says_over(&alert.kind, &alert.subject) }
            };
            if of.is_some_and(is_silent) && alert.absent_since == 0 {
                alert.absent_since = now;
            }
            if is_whole {
                alert.unknown_since = match of {
                    Some(_) => 0,
                    None if alert.unknown_since == 0 => now,
                    None => alert.unknown_since,
                };
            }
        }
        for ((service, ..), (condition, by_root)) in listed {
            if self.saved.alerts.len() >= KEPT_MAX {
                tracing::warn!(service, kind = condition.kind, "too much is wrong at once; not all of it is told");
                break;
            }
            let id = format!("a{}", self.next_number());
            let since = condition.since.min(now);
            self.saved.alerts.push(Alert {
                id,
                state: AlertState::Pending,
                service,
                kind: condition.kind.clone(),
                subject: condition.subject.clone(),
                by_root,
                severity: condition.severity,
                message: condition.message.clone(),
                since,
                present_since: since,
                absent_since: 0,
                unknown_since: 0,
                returns: 0,
                count: condition.count,
                recovered: 0,
                told_to: Vec::new(),
                told_at: 0,
                tell_again: false,
                acknowledged_until: 0,
            });
        }
    }

    /// Lets time pass: opens, closes and reminds.
    pub(crate) fn advance(&mut self, now: i64) {
        for alert in &mut self.saved.alerts {
            // A clock that was set back makes times of the future, after which nobody wants to wait.
            for time in [&mut alert.present_since, &mut alert.absent_since, &mut alert.unknown_since, &mut alert.told_at] {
                *time = (*time).min(now);
            }
        }
        self.open(now);
        self.close(now);
        self.remind(now);
    }

    fn open(&mut self, now: i64) {
        let hold = self.hold;
        let due = |alert: &Alert| opens_at(alert, hold);
        let groups: BTreeSet<_> =
            self.saved.alerts.iter().filter(|alert| due(alert).is_some_and(|at| at <= now)).map(group).collect();
        let mut opened = Vec::new();
        for (index, alert) in self.saved.alerts.iter_mut().enumerate() {
            if groups.contains(&group(alert)) && due(alert).is_some_and(|at| at <= now.saturating_add(GATHER)) {
                alert.state = AlertState::Open;
                tracing::warn!(id = alert.id, service = alert.service, kind = alert.kind, subject = alert.subject, severity = %alert.severity, "alert: {}", alert.message);
                if alert.acknowledged_until == 0 {
                    opened.push(index);
                }
                self.dirty = true;
            }
        }
        self.tell(Event::Alert, &opened, now);
        let mut worse = Vec::new();
        for (index, alert) in self.saved.alerts.iter_mut().enumerate() {
            if alert.state == AlertState::Open && std::mem::take(&mut alert.tell_again) {
                worse.push(index);
            }
        }
        self.tell(Event::Alert, &worse, now);
    }

    fn close(&mut self, now: i64) {
        let clear_after = self.clear_after;
        let due = |alert: &Alert| closes_at(alert, clear_after);
        // What was never told is dropped without a word.
        self.saved.alerts.retain(|alert| alert.state == AlertState::Open || due(alert).is_none_or(|at| at > now));
        let groups: BTreeSet<_> =
            self.saved.alerts.iter().filter(|alert| due(alert).is_some_and(|at| at <= now)).map(group).collect();
        let closes =
            |alert: &Alert| groups.contains(&group(alert)) && due(alert).is_some_and(|at| at <= now.saturating_add(GATHER));
        let mut closed = Vec::new();
        for (index, alert) in self.saved.alerts.iter_mut().enumerate() {
            if closes(alert) && alert.state == AlertState::Open {
                alert.state = AlertState::Recovered;
                alert.recovered = if alert.absent_since == 0 { now } else { alert.absent_since };
                tracing::info!(
                    id = alert.id,
                    service = alert.service,
                    kind = alert.kind,
                    subject = alert.subject,
                    "recovered"
                );
                closed.push(index);
            }
        }
        if closed.is_empty() {
            return;
        }
        self.tell(Event::Recovered, &closed, now);
        let (over, open) = std::mem::take(&mut self.saved.alerts)
            .into_iter()
            .partition(|alert: &Alert| alert.state == AlertState::Recovered);
        self.saved.alerts = open;
        let over: Vec<Alert> = over;
        over.into_iter().for_each(|alert| self.saved.recent.push_front(alert));
        self.saved.recent.truncate(RECENT_MAX);
        self.dirty = true;
    }

    /// Tells again what is still wrong, and what somebody wanted to hear nothing of for a while that is over.
    fn remind(&mut self, now: i64) {
        let repeat_after = self.repeat_after;
        let mut due = Vec::new();
        for (index, alert) in self.saved.alerts.iter_mut().enumerate() {
            let silence_is_over = alert.acknowledged_until != 0 && alert.acknowledged_until <= now;
            if silence_is_over {
                alert.acknowledged_until = 0;
                self.dirty = true;
            }
            let repeats = reminds_at(alert, repeat_after).is_some_and(|at| at <= now);
            if alert.state == AlertState::Open && alert.absent_since == 0 && (silence_is_over || repeats) {
                // Also where no webhook wants to hear of it.
                alert.told_at = now;
                due.push(index);
            }
        }
        self.tell(Event::Reminder, &due, now);
    }

    /// Makes messages of these alerts: for each webhook one for those of the same service and kind.
    fn tell(&mut self, event: Event, indices: &[usize], now: i64) {
        let mut groups: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for &index in indices {
            groups.entry(group(&self.saved.alerts[index])).or_default().push(index);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        // The gravest first, and within a message too.
        for group in &mut groups {
            group.sort_by_key(|index| std::cmp::Reverse(self.saved.alerts[*index].severity));
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.first().map(|index| self.saved.alerts[*index].severity)));
        for group in groups {
            for hook in 0..self.hooks.len() {
                self.tell_one(event, &group, hook, now);
            }
        }
    }

    fn tell_one(&mut self, event: Event, group: &[usize], hook: usize, now: i64) {
        let Hook { key, min_severity, .. } = self.hooks[hook].clone();
        let concerns = |alert: &Alert| match event {
            // Who heard of the beginning hears of the end.
            Event::Recovered => alert.told_to.contains(&key),
            _ => alert.severity >= min_severity,
        };
        let told: Vec<usize> = group.iter().copied().filter(|index| concerns(&self.saved.alerts[*index])).collect();
        let Some(&first) = told.first() else { return };
        let id = self.message_id();
        let alerts = told.iter().take(ALERTS_MAX).map(|index| as_told(&self.saved.alerts[*index])).collect();
        let first = &self.saved.alerts[first];
        let message = Message {
            id,
            event,
            created: now,
            severity: first.severity,
            service: first.service.clone(),
            kind: first.kind.clone(),
            alerts,
            more: told.len().saturating_sub(ALERTS_MAX),
            held_back: HeldBack::default(),
        };
        for index in told {
            let alert = &mut self.saved.alerts[index];
            alert.told_at = now;
            if !alert.told_to.contains(&key) {
                alert.told_to.push(key.clone());
            }
        }
        self.post(hook, message);
        self.dirty = true;
    }

    /// When there is something to do next, if nothing is heard before.
    pub(crate) fn next_look(&self, now: i64) -> i64 {
        let alert = |alert: &Alert| {
            let silence = Some(alert.acknowledged_until).filter(|until| *until != 0);
            let times =
                [opens_at(alert, self.hold), closes_at(alert, self.clear_after), reminds_at(alert, self.repeat_after)];
            times.into_iter().flatten().chain(silence).min()
        };
        let alerts = self.saved.alerts.iter().filter_map(alert);
        let next = alerts.chain(self.next_posts(now)).min().unwrap_or(i64::MAX);
        next.clamp(now, now.saturating_add(LOOK_MAX))
    }
}

/// What alerts are told together.
fn group(alert: &Alert) -> (String, String) {
    (alert.service.clone(), alert.kind.clone())
}

/// An alert whose condition is reported.
fn note(alert: &mut Alert, condition: &Condition, now: i64) {
    if alert.absent_since != 0 {
        alert.absent_since = 0;
        alert.returns = alert.returns.saturating_add(1);
        alert.present_since = now;
    }
    alert.unknown_since = 0;
    alert.count = alert.count.max(condition.count);
    alert.message.clone_from(&condition.message);
    if condition.severity > alert.severity {
        alert.severity = condition.severity;
        // That somebody knows of something less grave is no reason to say nothing of this.
        alert.acknowledged_until = 0;
        alert.tell_again = alert.state == AlertState::Open;
    }
}

/// When a pending alert is told.
fn opens_at(alert: &Alert, hold: i64) -> Option<i64> {
    if alert.state != AlertState::Pending || alert.absent_since != 0 {
        return None;
    }
    let returned = alert.returns >= RETURNS_TOLD;
    Some(if returned { alert.present_since } else { alert.present_since.saturating_add(hold) })
}

/// When an alert is over, if nothing changes.
fn closes_at(alert: &Alert, clear_after: i64) -> Option<i64> {
    let absent = (alert.absent_since != 0).then(|| alert.absent_since.saturating_add(clear_after));
    let unknown = (alert.unknown_since != 0).then(|| alert.unknown_since.saturating_add(FORGET_AFTER));
    absent.into_iter().chain(unknown).min()
}

/// When it is told again that an alert is open.
fn reminds_at(alert: &Alert, repeat_after: i64) -> Option<i64> {
    let reminds = repeat_after > 0
        && alert.state == AlertState::Open
        && alert.absent_since == 0
        && alert.acknowledged_until == 0
        && alert.told_at != 0;
    reminds.then(|| alert.told_at.saturating_add(repeat_after))
}

fn as_told(alert: &Alert) -> Told {
    Told {
        id: alert.id.clone(),
        subject: alert.subject.clone(),
        severity: alert.severity,
        message: alert.message.clone(),
        since: alert.since,
        count: alert.count,
        recovered: alert.recovered,
    }
}
