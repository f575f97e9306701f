//! What is told of the perpetuals' side of a simulated Binance, where its rules are not those of spot.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules of Binance's USD-M side; lifetime, connection attempts, strikes and bans are those of [`crate::Limits`]. As text:
/// `weight=2400,ping=180,pong=600,streams=200,messages=10`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsdmOptions {
    /// REST weight that one address may use per minute, apart from that of spot; 0: as much as it likes.
    pub weight_per_minute: u32,
    /// Between two ping frames of the server.
    pub ping_interval: Duration,
    /// How long after a ping its pong may come before the connection is closed.
    pub pong_timeout: Duration,
    /// Streams one connection may hold.
    pub streams_per_connection: usize,
    /// Messages (frames of any kind) a client may send per second.
    pub client_messages_per_second: u32,
}

impl Default for UsdmOptions {
    fn default() -> Self {
        Self {
            weight_per_minute: 2_400,
            ping_interval: Duration::from_secs(180),
            pong_timeout: Duration::from_secs(600),
            streams_per_connection: 200,
            client_messages_per_second: 10,
        }
    }
}

impl UsdmOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let seconds = || value.parse().ok().filter(|s| (0.001..1e9).contains(s)).map(Duration::from_secs_f64);
        match key {
            "weight" => self.weight_per_minute = value.parse().ok()?,
            "ping" => self.ping_interval = seconds()?,
            "pong" => self.pong_timeout = seconds()?,
            "streams" => self.streams_per_connection = value.parse().ok()?,
            "messages" => self.client_messages_per_second = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for UsdmOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "weight=PER_MINUTE (0: no limit), ping=SECONDS, pong=SECONDS, streams=N, messages=PER_SECOND";
        read_rules(text, Self::set, "usdm rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: UsdmOptions = "weight=0, ping=0.5,pong=3,streams=2,messages=9".parse().unwrap();
        let expected = UsdmOptions {
            weight_per_minute: 0,
            ping_interval: Duration::from_millis(500),
            pong_timeout: Duration::from_secs(3),
            streams_per_connection: 2,
            client_messages_per_second: 9,
        };
        assert_eq!(told, expected);
        for bad in ["weight", "weight=-1", "ping=0", "speed=1"] {
            assert!(bad.parse::<UsdmOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
