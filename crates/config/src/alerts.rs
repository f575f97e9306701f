//! `alerts`: whom to tell what, when, and how often.

use std::time::Duration;

use serde::Deserialize;

use crate::Secret;
use crate::types::seconds;

/// `alerts`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Alerts {
    /// Where everything is posted to, as Slack takes it.
    pub webhook_url: Option<Secret>,
    /// Further webhooks.
    pub webhooks: Vec<Webhook>,
    /// Failures in a row that make an alert.
    pub max_consecutive_errors: u32,
    /// How long something has to be wrong before it is told.
    #[serde(deserialize_with = "seconds")]
    pub hold: Duration,
    /// How long it has to be over before that is told.
    #[serde(deserialize_with = "seconds")]
    pub clear_after: Duration,
    /// After how long what is still wrong is told again; zero: never.
    #[serde(deserialize_with = "seconds")]
    pub repeat_after: Duration,
    /// Messages to one webhook within an hour.
    pub max_per_hour: u32,
    /// How long a feed may be without data before that is wrong.
    #[serde(deserialize_with = "seconds")]
    pub stale_after: Duration,
    /// How long a gap may wait to be made good.
    #[serde(deserialize_with = "seconds")]
    pub gap_after: Duration,
    /// With less room than this the disk is low.
    pub disk_low_mb: u64,
}

impl Alerts {
    /// Every webhook, the first one first; each address once.
    #[must_use]
    pub fn all_webhooks(&self) -> Vec<Webhook> {
        let first = self.webhook_url.clone().map(|url| Webhook {
            url,
            format: WebhookFormat::Slack,
            min_severity: MinSeverity::Info,
        });
        let mut all: Vec<Webhook> = Vec::new();
        for webhook in first.into_iter().chain(self.webhooks.iter().cloned()) {
            if !all.iter().any(|known| known.url == webhook.url) {
                all.push(webhook);
            }
        }
        all
    }
}

/// One of `alerts.webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Webhook {
    /// Where to.
    pub url: Secret,
    /// In which form.
    pub format: WebhookFormat,
    /// What is less grave is not told there.
    pub min_severity: MinSeverity,
}

/// `alerts.webhooks[].format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// `{"text": ...}`, as Slack, Mattermost, Discord (`/slack`) and others take it.
    Slack,
    /// Everything, each in a field of its own.
    Json,
}

/// `alerts.webhooks[].min_severity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MinSeverity {
    /// Everything.
    Info,
    /// What wants looking at.
    Warning,
    /// What wants looking at now.
    Critical,
}
