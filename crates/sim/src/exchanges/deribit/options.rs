//! What is told of a simulated Deribit beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules and habits of a simulated Deribit. As text: `credits=true,auth=true,second=1,connects=32,window=1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeribitOptions {
    /// Whether requests and commands cost credits, and are refused without them.
    pub credits: bool,
    /// Whether `public/auth` takes whoever asks: those may follow the channels that end in `.raw`.
    pub auth: bool,
    /// How long a second of a heartbeat's interval lasts; tests shorten it.
    pub heartbeat_second: Duration,
    /// WebSocket connection attempts one address may make per [`DeribitOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`DeribitOptions::connects_per_window`].
    pub connect_window: Duration,
}

impl Default for DeribitOptions {
    fn default() -> Self {
        Self {
            credits: true,
            auth: true,
            heartbeat_second: Duration::from_secs(1),
            connects_per_window: 32,
            connect_window: Duration::from_secs(1),
        }
    }
}

impl DeribitOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        // Longer than any test or life of a simulator, and no overflow of clocks.
        let seconds = || value.parse().ok().filter(|s| (0.001..1e6).contains(s)).map(Duration::from_secs_f64);
        match key {
            "credits" => self.credits = value.parse().ok()?,
            "auth" => self.auth = value.parse().ok()?,
            "second" => self.heartbeat_second = seconds()?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "window" => self.connect_window = seconds()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for DeribitOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "credits=true|false, auth=true|false, second=SECONDS, connects=N, window=SECONDS";
        read_rules(text, Self::set, "deribit rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: DeribitOptions = "credits=false,auth=false, second=0.05,connects=3,window=9".parse().unwrap();
        let expected = DeribitOptions {
            credits: false,
            auth: false,
            heartbeat_second: Duration::from_millis(50),
            connects_per_window: 3,
            connect_window: Duration::from_secs(9),
        };
        assert_eq!(told, expected);
        for bad in ["credits", "auth=maybe", "second=0", "window=NaN", "speed=1"] {
            assert!(bad.parse::<DeribitOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
