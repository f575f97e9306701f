//! What is told of a simulated Kraken beside its markets and their past.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::options::read_rules;

/// The rules and habits of a simulated Kraken. As text: `rate=1,burst=5,strikes=10,lockout=900,shared=true,asked=false,
/// messages=50,connects=150,window=600`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KrakenOptions {
    /// Requests a second that one address may make on average; 0 for no limit.
    pub requests_per_second: f64,
    /// How many it may make at once: each adds one to a counter that falls by the rate and may not exceed this.
    pub burst: u32,
    /// How many refused requests lead to a lockout; the counter's return to nothing forgives them.
    pub strikes_to_lockout: u32,
    /// How long a lockout lasts.
    pub lockout: Duration,
    /// Whether trades of one order share their nanosecond. Pages then end between them, and a client that goes on after the
    /// last time it has seen misses some.
    pub shared_times: bool,
    /// Whether rows come under the pair's name as it was asked for, instead of the exchange's own.
    pub key_as_asked: bool,
    /// Messages a WebSocket client may send per second. Those past them are answered with `{"Error":"Exceeded msg rate"}` and
    /// otherwise ignored.
    pub messages_per_second: u32,
    /// WebSocket connection attempts one address may make per [`KrakenOptions::connect_window`].
    pub connects_per_window: u32,
    /// See [`KrakenOptions::connects_per_window`].
    pub connect_window: Duration,
}

impl Default for KrakenOptions {
    fn default() -> Self {
        Self {
            requests_per_second: 1.0,
            burst: 5,
            strikes_to_lockout: 10,
            lockout: Duration::from_secs(900),
            shared_times: true,
            key_as_asked: false,
            // The exchange says that it depends on its load.
            messages_per_second: 50,
            connects_per_window: 150,
            connect_window: Duration::from_secs(600),
        }
    }
}

impl KrakenOptions {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "rate" => self.requests_per_second = value.parse().ok().filter(|rate| (0.0..1e9).contains(rate))?,
            "burst" => self.burst = value.parse().ok().filter(|burst| *burst > 0)?,
            "strikes" => self.strikes_to_lockout = value.parse().ok()?,
            "lockout" => self.lockout = Duration::from_secs(value.parse().ok()?),
            "shared" => self.shared_times = value.parse().ok()?,
            "asked" => self.key_as_asked = value.parse().ok()?,
            "messages" => self.messages_per_second = value.parse().ok()?,
            "connects" => self.connects_per_window = value.parse().ok()?,
            "window" => self.connect_window = Duration::from_secs(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for KrakenOptions {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let expected = "rate=PER_SECOND (0: no limit), burst=N, strikes=N, lockout=SECONDS, shared=true|false, \
                           asked=true|false, messages=PER_SECOND, connects=N, window=SECONDS";
        read_rules(text, Self::set, "kraken rule", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_a_wrong_one_is_named() {
        let told: KrakenOptions = "rate=0,burst=3, lockout=60,shared=false,messages=3,connects=2,window=9".parse().unwrap();
        let expected = KrakenOptions {
            requests_per_second: 0.0,
            burst: 3,
            lockout: Duration::from_secs(60),
            shared_times: false,
            messages_per_second: 3,
            connects_per_window: 2,
            connect_window: Duration::from_secs(9),
            ..KrakenOptions::default()
        };
        assert_eq!(told, expected);
        for bad in ["rate", "rate=-1", "burst=0", "shared=maybe", "speed=1"] {
            assert!(bad.parse::<KrakenOptions>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
