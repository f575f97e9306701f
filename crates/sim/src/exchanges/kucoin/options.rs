//! What is told of a simulated KuCoin beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules of a simulated KuCoin. As text: `weight=2000,ping=18,timeout=10,token=86400,messages=100,topics=400,connects=30,
/// window=60`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KucoinOptions {
    /// REST weight one address may use in 30 seconds; 0: as much as it likes.
    pub weight: u32,
    /// How often a client is to ping, as the answer with its token says.
    pub ping_interval: Duration,
    /// How much later than that a connection is closed on which no ping came.
    pub ping_timeout: Duration,
    /// How long a token opens connections.
    pub token_life: Duration,
    /// Messages a client may send in ten seconds.
    pub messages: u32,
    /// Topics that a connection may hold.
    pub topics: usize,
    /// WebSocket connection attempts one address may make per [`KucoinOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`KucoinOptions::connects_per_window`].
    pub connect_window: Duration,
}

impl Default for KucoinOptions {
    fn default() -> Self {
        Self {
            weight: 2_000,
            ping_interval: Duration::from_secs(18),
            ping_timeout: Duration::from_secs(10),
            token_life: Duration::from_secs(86_400),
            messages: 100,
            topics: 400,
            connects_per_window: 30,
            connect_window: Duration::from_secs(60),
        }
    }
}

impl KucoinOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        // Longer than any test or life of a simulator, and no overflow of clocks.
        let seconds = || value.parse().ok().filter(|s| (0.05..1e6).contains(s)).map(Duration::from_secs_f64);
        match key {
            "weight" => self.weight = value.parse().ok()?,
            "ping" => self.ping_interval = seconds()?,
            "timeout" => self.ping_timeout = seconds()?,
            "token" => self.token_life = seconds()?,
            "messages" => self.messages = value.parse().ok()?,
            "topics" => self.topics = value.parse().ok()?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "window" => self.connect_window = seconds()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for KucoinOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "weight=PER_30_SECONDS, ping=SECONDS, timeout=SECONDS, token=SECONDS, messages=PER_10_SECONDS, topics=N, \
                        connects=N, window=SECONDS";
        read_rules(text, Self::set, "kucoin rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: KucoinOptions = "weight=0,ping=0.5, timeout=2,token=9,messages=7,topics=3,connects=4".parse().unwrap();
        let expected = KucoinOptions {
            weight: 0,
            ping_interval: Duration::from_millis(500),
            ping_timeout: Duration::from_secs(2),
            token_life: Duration::from_secs(9),
            messages: 7,
            topics: 3,
            connects_per_window: 4,
            ..KucoinOptions::default()
        };
        assert_eq!(told, expected);
        for bad in ["weight", "weight=-1", "ping=0", "token=NaN", "speed=1"] {
            assert!(bad.parse::<KucoinOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
