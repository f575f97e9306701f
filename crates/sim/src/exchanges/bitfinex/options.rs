//! What is told of a simulated Bitfinex beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules and habits of a simulated Bitfinex. As text: `limits=true,block=60,connects=20,window=60,channels=25,heartbeat=15,
/// ticker=10,appended=true,dust=true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitfinexOptions {
    /// Whether requests past the limit of their endpoint are refused.
    pub limits: bool,
    /// For how long an address is then refused whatever it asks for.
    pub block: Duration,
    /// WebSocket connection attempts one address may make per [`BitfinexOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`BitfinexOptions::connects_per_window`].
    pub connect_window: Duration,
    /// Channels that one connection may hold.
    pub channels_per_connection: usize,
    /// Each time this long has passed, a channel that was told nothing in it gets a heartbeat.
    pub heartbeat: Duration,
    /// How often a ticker is told, where it has changed.
    pub ticker: Duration,
    /// Whether the ticker ends in a field that means nothing, as it does since 2026: arrays may grow at their end.
    pub appended: bool,
    /// Whether volumes of candles carry what is left over when doubles are summed, as the real ones do (`0.015486090000000001`).
    pub dust: bool,
}

impl Default for BitfinexOptions {
    fn default() -> Self {
        Self {
            limits: true,
            block: Duration::from_secs(60),
            connects_per_window: 20,
            connect_window: Duration::from_secs(60),
            channels_per_connection: 25,
            heartbeat: Duration::from_secs(15),
            ticker: Duration::from_secs(10),
            appended: true,
            dust: true,
        }
    }
}

impl BitfinexOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        // Longer than any test or life of a simulator, and no overflow of clocks.
        let seconds = || value.parse().ok().filter(|s| (0.05..1e6).contains(s)).map(Duration::from_secs_f64);
        match key {
            "limits" => self.limits = value.parse().ok()?,
            "block" => self.block = seconds()?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "window" => self.connect_window = seconds()?,
            "channels" => self.channels_per_connection = value.parse().ok()?,
            "heartbeat" => self.heartbeat = seconds()?,
            "ticker" => self.ticker = seconds()?,
            "appended" => self.appended = value.parse().ok()?,
            "dust" => self.dust = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for BitfinexOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "limits=true|false, block=SECONDS, connects=N, window=SECONDS, channels=N, heartbeat=SECONDS, ticker=SECONDS, \
                        appended=true|false, dust=true|false";
        read_rules(text, Self::set, "bitfinex rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: BitfinexOptions = "limits=false,connects=3, heartbeat=0.5,channels=2,appended=false".parse().unwrap();
        let expected = BitfinexOptions {
            limits: false,
            connects_per_window: 3,
            heartbeat: Duration::from_millis(500),
            channels_per_connection: 2,
            appended: false,
            ..BitfinexOptions::default()
        };
        assert_eq!(told, expected);
        for bad in ["limits", "dust=maybe", "block=-1", "ticker=0", "heartbeat=NaN", "speed=1"] {
            assert!(bad.parse::<BitfinexOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
