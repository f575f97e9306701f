//! What alertd is told: whom to tell, and how often.

use std::path::PathBuf;
use std::time::Duration;

use dccd_config::{Config, MinSeverity, Secret, WebhookFormat};
use dccd_rpc::condition::Severity;
use ring::digest::{SHA256, digest};

/// Everything alertd needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertdOptions {
    /// Name of the instance, which messages carry.
    pub instance: String,
    /// The store; the state lies below.
    pub data_path: PathBuf,
    /// Whom to tell.
    pub webhooks: Vec<Webhook>,
    /// How long something has to be wrong before it is told.
    pub hold: Duration,
    /// How long it has to be over before that is told.
    pub clear_after: Duration,
    /// After how long what is still wrong is told again; zero: never.
    pub repeat_after: Duration,
    /// Messages to one webhook within an hour.
    pub max_per_hour: u32,
}

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: Secret,
    /// In which form.
    pub format: Format,
    /// What is less grave is not told there.
    pub min_severity: Severity,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"text": ...}`.
    Slack,
    /// Everything in fields.
    Json,
}

impl AlertdOptions {
    /// What the configuration says.
    #[must_use]
    pub fn of(config: &Config, instance: &str) -> Self {
        let alerts = &config.alerts;
        let webhook = |webhook: dccd_config::Webhook| Webhook {
            url: webhook.url,
            format: match webhook.format {
                WebhookFormat::Slack => Format::Slack,
                WebhookFormat::Json => Format::Json,
            },
            min_severity: match webhook.min_severity {
                MinSeverity::Info => Severity::Info,
                MinSeverity::Warning => Severity::Warning,
                MinSeverity::Critical => Severity::Critical,
            },
        };
        Self {
            instance: instance.to_owned(),
            data_path: config.data_path().to_owned(),
            webhooks: alerts.all_webhooks().into_iter().map(webhook).collect(),
            hold: alerts.hold,
            clear_after: alerts.clear_after,
            repeat_after: alerts.repeat_after,
            max_per_hour: alerts.max_per_hour,
        }
    }

    /// Stands for all of it, the secret addresses included, without showing them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let keys: Vec<String> = self.webhooks.iter().map(Webhook::key).collect();
        format!("{self:?} {keys:?}")
    }
}

impl Webhook {
    /// Tells this address from others without showing it.
    pub(crate) fn key(&self) -> String {
        let hash = digest(&SHA256, self.url.reveal().as_bytes());
        hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its host, which may be shown.
    pub(crate) fn host(&self) -> String {
        dccd_net::host_of(self.url.reveal()).unwrap_or_else(|| "?".to_owned())
    }
}

impl Format {
    /// The name in the configuration and in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_is_another_fingerprint_and_none_is_shown() {
        let options = |url: &str| {
            let webhook = Webhook { url: Secret::new(url), format: Format::Slack, min_severity: Severity::Info };
            AlertdOptions {
                instance: "main".to_owned(),
                data_path: "/d".into(),
                webhooks: vec![webhook],
                hold: Duration::from_secs(1),
                clear_after: Duration::from_secs(1),
                repeat_after: Duration::ZERO,
                max_per_hour: 1,
            }
        };
        let (one, two) = (options("https://h/s3cret"), options("https://h/0ther"));
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
        assert!(!one.fingerprint().contains("s3cret"), "{}", one.fingerprint());
        assert_eq!((one.webhooks[0].host().as_str(), one.webhooks[0].key().len()), ("h", 16));
    }
}
