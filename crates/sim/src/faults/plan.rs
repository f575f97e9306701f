//! The plan: how often which fault happens by itself.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::SimError;

/// Faults that happen by themselves. `seed=7,drop=0.001,disconnect=2` as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// The same seed meets the same frames, as long as the frames are the same.
    pub seed: u64,
    /// Probability per frame of [`Fault::Drop`](super::Fault::Drop).
    pub drop: f64,
    /// Probability per frame of [`Fault::Delay`](super::Fault::Delay) by up to 300 ms.
    pub delay: f64,
    /// Probability per frame of [`Fault::Duplicate`](super::Fault::Duplicate).
    pub duplicate: f64,
    /// Probability per frame of [`Fault::Reorder`](super::Fault::Reorder).
    pub reorder: f64,
    /// Probability per frame of [`Fault::Corrupt`](super::Fault::Corrupt).
    pub corrupt: f64,
    /// [`Fault::Gap`](super::Fault::Gap)s a minute, of up to 5 numbers of a random symbol and channel.
    pub gap: f64,
    /// [`Fault::Silence`](super::Fault::Silence)s of a random stream a minute, up to 2 s each.
    pub silence: f64,
    /// Clean [`Fault::Disconnect`](super::Fault::Disconnect)s of a random connection a minute.
    pub disconnect: f64,
    /// Abrupt ones a minute.
    pub abort: f64,
    /// [`Fault::Slow`](super::Fault::Slow)s of a random connection a minute: 20 kB/s for up to 2 s.
    pub slow: f64,
    /// Probability per REST request of a 429.
    pub rest_limit: f64,
    /// Probability per REST answer with candles or trades of a [`Fault::Rest`](super::Fault::Rest) of any kind.
    pub rest: f64,
    /// Probability per book snapshot of [`Fault::StaleSnapshot`](super::Fault::StaleSnapshot).
    pub stale_snapshot: f64,
    /// [`Fault::Down`](super::Fault::Down)s a minute, up to 2 s each.
    pub down: f64,
}

impl FaultPlan {
    fn fields(&mut self) -> [(&'static str, &mut f64); 14] {
        [
            ("drop", &mut self.drop),
            ("delay", &mut self.delay),
            ("duplicate", &mut self.duplicate),
            ("reorder", &mut self.reorder),
            ("corrupt", &mut self.corrupt),
            ("gap", &mut self.gap),
            ("silence", &mut self.silence),
            ("disconnect", &mut self.disconnect),
            ("abort", &mut self.abort),
            ("slow", &mut self.slow),
            ("rest_limit", &mut self.rest_limit),
            ("rest", &mut self.rest),
            ("stale_snapshot", &mut self.stale_snapshot),
            ("down", &mut self.down),
        ]
    }

    pub(super) fn meets_frames(&self) -> bool {
        self.drop + self.delay + self.duplicate + self.reorder + self.corrupt > 0.0
    }
}

impl FromStr for FaultPlan {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let error = |part: &str| SimError::Option {
            name: "fault",
            text: part.to_owned(),
            expected: "seed=N, or NAME=RATE with one of drop, delay, duplicate, reorder, corrupt (probability per frame), \
                       rest_limit, rest, stale_snapshot (per request), gap, silence, disconnect, abort, slow, down (per minute)",
        };
        let mut plan = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| error(part))?;
            if name == "seed" {
                plan.seed = value.parse().map_err(|_| error(part))?;
                continue;
            }
            let rate: f64 = value.parse().ok().filter(|r| (0.0..1e6).contains(r)).ok_or_else(|| error(part))?;
            let mut fields = plan.fields();
            let field = fields.iter_mut().find(|(n, _)| *n == name).ok_or_else(|| error(part))?;
            *field.1 = rate;
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_from_text_and_a_wrong_part_is_named() {
        let plan: FaultPlan = "seed=7, drop=0.001,disconnect=2".parse().unwrap();
        assert_eq!(plan, FaultPlan { seed: 7, drop: 0.001, disconnect: 2.0, ..FaultPlan::default() });
        for bad in ["drop", "drop=x", "dropp=1", "drop=-1", "seed=x"] {
            assert!(bad.parse::<FaultPlan>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
