//! What is told of a simulated Bybit beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules of a simulated Bybit. As text: `requests=600,window=5,ban=600,idle=600,connects=500,connect_window=300,args=21000`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BybitOptions {
    /// REST requests that one address may make per [`BybitOptions::window`]; 0 for no limit.
    pub requests_per_window: u32,
    /// See [`BybitOptions::requests_per_window`].
    pub window: Duration,
    /// How long an address that made more is answered 403.
    pub ban: Duration,
    /// How long a WebSocket connection lives on which neither side says anything.
    pub idle: Duration,
    /// WebSocket connection attempts one address may make per [`BybitOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`BybitOptions::connects_per_window`].
    pub connect_window: Duration,
    /// Characters of all topics that one connection may be subscribed to.
    pub args_chars_max: usize,
}

impl Default for BybitOptions {
    fn default() -> Self {
        Self {
            requests_per_window: 600,
            window: Duration::from_secs(5),
            ban: Duration::from_secs(600),
            idle: Duration::from_secs(600),
            connects_per_window: 500,
            connect_window: Duration::from_secs(300),
            args_chars_max: 21_000,
        }
    }
}

impl BybitOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let seconds = || value.parse().ok().filter(|s| (0.001..1e9).contains(s)).map(Duration::from_secs_f64);
        match key {
            "requests" => self.requests_per_window = value.parse().ok()?,
            "window" => self.window = seconds()?,
            "ban" => self.ban = seconds()?,
            "idle" => self.idle = seconds()?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "connect_window" => self.connect_window = seconds()?,
            "args" => self.args_chars_max = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for BybitOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "requests=PER_WINDOW (0: no limit), window=SECONDS, ban=SECONDS, idle=SECONDS, connects=N, \
                           connect_window=SECONDS, args=CHARACTERS";
        read_rules(text, Self::set, "bybit rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: BybitOptions = "requests=0, window=0.5,ban=3,idle=2,connects=9,connect_window=8,args=7".parse().unwrap();
        let expected = BybitOptions {
            requests_per_window: 0,
            window: Duration::from_millis(500),
            ban: Duration::from_secs(3),
            idle: Duration::from_secs(2),
            connects_per_window: 9,
            connect_window: Duration::from_secs(8),
            args_chars_max: 7,
        };
        assert_eq!(told, expected);
        for bad in ["requests", "requests=-1", "ban=0", "speed=1"] {
            assert!(bad.parse::<BybitOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
