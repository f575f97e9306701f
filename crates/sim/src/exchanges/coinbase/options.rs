//! What is told of a simulated Coinbase beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules and habits of a simulated Coinbase. As text: `limits=true,agent=true,late=10,subscribe=5,connects=20,window=2.5,
/// subscriptions=10`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoinbaseOptions {
    /// Whether requests past ten a second (fifteen at once) are refused.
    pub limits: bool,
    /// Whether requests that don't say who asks are refused.
    pub agent: bool,
    /// How old a candle must be until REST has it, counted from its opening. Up to some minutes were seen.
    pub candles_late: Duration,
    /// Within which a connection must send a `subscribe`, or is closed.
    pub subscribe_within: Duration,
    /// WebSocket connection attempts one address may make per [`CoinbaseOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`CoinbaseOptions::connects_per_window`].
    pub connect_window: Duration,
    /// How often one channel of one product may be subscribed to at a time, all connections together.
    pub subscriptions: usize,
}

impl Default for CoinbaseOptions {
    fn default() -> Self {
        Self {
            limits: true,
            agent: true,
            candles_late: Duration::from_secs(10),
            subscribe_within: Duration::from_secs(5),
            // Eight a second, twenty at once.
            connects_per_window: 20,
            connect_window: Duration::from_millis(2_500),
            subscriptions: 10,
        }
    }
}

impl CoinbaseOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        // Longer than any test or life of a simulator, and no overflow of clocks.
        let seconds = |least: f64| value.parse().ok().filter(|s| (least..1e6).contains(s)).map(Duration::from_secs_f64);
        match key {
            "limits" => self.limits = value.parse().ok()?,
            "agent" => self.agent = value.parse().ok()?,
            "late" => self.candles_late = seconds(0.0)?,
            "subscribe" => self.subscribe_within = seconds(0.05)?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "window" => self.connect_window = seconds(0.05)?,
            "subscriptions" => self.subscriptions = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for CoinbaseOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "limits=true|false, agent=true|false, late=SECONDS, subscribe=SECONDS, connects=N, window=SECONDS, \
                           subscriptions=N";
        read_rules(text, Self::set, "coinbase rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: CoinbaseOptions = "limits=false,agent=false, late=0,subscribe=0.5,connects=3,window=1".parse().unwrap();
        let expected = CoinbaseOptions {
            limits: false,
            agent: false,
            candles_late: Duration::ZERO,
            subscribe_within: Duration::from_millis(500),
            connects_per_window: 3,
            connect_window: Duration::from_secs(1),
            ..CoinbaseOptions::default()
        };
        assert_eq!(told, expected);
        for bad in ["limits", "limits=maybe", "late=-1", "subscribe=0", "window=NaN", "speed=1"] {
            assert!(bad.parse::<CoinbaseOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
