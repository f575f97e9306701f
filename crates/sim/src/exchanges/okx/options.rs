//! What is told of a simulated OKX beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules and habits of a simulated OKX. As text: `limits=true,checksum=false,snapshot=true,keepalive=60,idle=30,connects=3,
/// window=1,commands=480`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OkxOptions {
    /// Whether requests past the limit of their endpoint are refused.
    pub limits: bool,
    /// Whether messages of books carry the real checksum. Since June 2026 the exchange writes 0 instead.
    pub checksum: bool,
    /// Whether a subscription to `books` begins with a snapshot. Without one, the book is to be fetched over REST, as the exchange has
    /// announced.
    pub snapshot: bool,
    /// After how long without a change of the book an update is sent that changes nothing.
    pub keepalive: Duration,
    /// After how long a connection is closed on which nothing came or went.
    pub idle: Duration,
    /// WebSocket connection attempts one address may make per [`OkxOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`OkxOptions::connects_per_window`].
    pub connect_window: Duration,
    /// Subscribing and unsubscribing messages that a connection may send in an hour.
    pub commands_per_hour: u32,
}

impl Default for OkxOptions {
    fn default() -> Self {
        Self {
            limits: true,
            checksum: false,
            snapshot: true,
            keepalive: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            connects_per_window: 3,
            connect_window: Duration::from_secs(1),
            commands_per_hour: 480,
        }
    }
}

impl OkxOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        // Longer than any test or life of a simulator, and no overflow of clocks.
        let seconds = || value.parse().ok().filter(|s| (0.05..1e6).contains(s)).map(Duration::from_secs_f64);
        match key {
            "limits" => self.limits = value.parse().ok()?,
            "checksum" => self.checksum = value.parse().ok()?,
            "snapshot" => self.snapshot = value.parse().ok()?,
            "keepalive" => self.keepalive = seconds()?,
            "idle" => self.idle = seconds()?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "window" => self.connect_window = seconds()?,
            "commands" => self.commands_per_hour = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for OkxOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "limits=true|false, checksum=true|false, snapshot=true|false, keepalive=SECONDS, idle=SECONDS, \
                           connects=N, window=SECONDS, commands=PER_HOUR";
        read_rules(text, Self::set, "okx rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: OkxOptions = "limits=false,checksum=true, snapshot=false,keepalive=0.5,idle=9,commands=3".parse().unwrap();
        let expected = OkxOptions {
            limits: false,
            checksum: true,
            snapshot: false,
            keepalive: Duration::from_millis(500),
            idle: Duration::from_secs(9),
            commands_per_hour: 3,
            ..OkxOptions::default()
        };
        assert_eq!(told, expected);
        for bad in ["limits", "limits=maybe", "idle=-1", "idle=0", "keepalive=NaN", "speed=1"] {
            assert!(bad.parse::<OkxOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
