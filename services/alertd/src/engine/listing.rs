//! What alertd says of itself, and that somebody knows of an alert.

use std::cmp::Reverse;

use dccd_rpc::alertd::{AlertInfo, AlertList, AlertState, WebhookInfo};

use super::{Engine, Hook};
use crate::saved::{Alert, Outbox};

impl Engine {
    /// Everything it knows.
    pub(crate) fn list(&self) -> AlertList {
        let mut open: Vec<AlertInfo> = self.saved.alerts.iter().map(info).collect();
        open.sort_by_key(|alert| (Reverse(alert.state), Reverse(alert.severity), alert.since));
        let recent = self.saved.recent.iter().map(info);
        let webhooks = self.hooks.iter().zip(&self.saved.outboxes).map(|(hook, outbox)| webhook(hook, outbox));
        AlertList { alerts: open.into_iter().chain(recent).collect(), webhooks: webhooks.collect() }
    }

    /// The alerts of these ids (none: all that hold): nothing more is told of them until they recover, or until then. `Err`: an id
    /// that no alert has which holds.
    pub(crate) fn acknowledge(&mut self, ids: &[String], until: i64) -> Result<Vec<AlertInfo>, String> {
        if let Some(unknown) = ids.iter().find(|id| !self.saved.alerts.iter().any(|alert| alert.id == **id)) {
            return Err(unknown.clone());
        }
        let until = if until == 0 { i64::MAX } else { until };
        let meant = |alert: &&mut Alert| ids.is_empty() || ids.contains(&alert.id);
        let acknowledge = |alert: &mut Alert| {
            alert.acknowledged_until = until;
            alert.tell_again = false;
            info(alert)
        };
        self.dirty = true;
        Ok(self.saved.alerts.iter_mut().filter(meant).map(acknowledge).collect())
    }

    /// The ids of the alerts that hold.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.saved.alerts.iter().map(|alert| alert.id.clone()).collect()
    }

    /// How many alerts are open, and how many messages were delivered.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        let open = self.saved.alerts.iter().filter(|alert| alert.state == AlertState::Open).count();
        (open as u64, self.saved.outboxes.iter().map(|outbox| outbox.sent).sum())
    }

    /// What is wrong with the webhooks, if anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        let failing = |(hook, outbox): (&Hook, &Outbox)| {
            let error = outbox.last_error.as_ref().filter(|_| outbox.failing_since != 0)?;
            Some(format!("messages to {} are not delivered: {error}", hook.host))
        };
        self.hooks.iter().zip(&self.saved.outboxes).find_map(failing)
    }
}

fn info(alert: &Alert) -> AlertInfo {
    AlertInfo {
        id: alert.id.clone(),
        state: alert.state,
        service: alert.service.clone(),
        kind: alert.kind.clone(),
        subject: alert.subject.clone(),
        severity: alert.severity,
        message: alert.message.clone(),
        since: alert.since,
        recovered: alert.recovered,
        count: alert.count,
        told: !alert.told_to.is_empty(),
        acknowledged_until: alert.acknowledged_until,
    }
}

fn webhook(hook: &Hook, outbox: &Outbox) -> WebhookInfo {
    WebhookInfo {
        host: hook.host.clone(),
        format: hook.format.as_str().to_owned(),
        sent: outbox.sent,
        waiting: outbox.queue.len() as u64,
        held_back: outbox.held_back.count(),
        lost: outbox.lost,
        last_success: outbox.last_success,
        failing_since: outbox.failing_since,
        last_error: outbox.last_error.clone(),
    }
}
