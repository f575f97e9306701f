//! What is armed, and what it does to each frame, request, snapshot and subscription.

use std::time::Duration;

use fastrand::Rng;

use super::damage::{checksum_at, highest_bid};
use super::{Corruption, Disconnection, Fault, FaultPlan, RestFault, Target};

/// What becomes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send,
    Drop,
    Silence,
    Delay(Duration),
    Duplicate,
    Reorder,
    Corrupt(Corruption, u64),
}

/// What is armed, and the plan.
pub(crate) struct FaultState {
    plan: FaultPlan,
    rng: Rng,
    /// Commands that wait for their frames; at most [`ARMED_MAX`], the oldest go first.
    armed: Vec<Fault>,
    /// Silences with their ends (microseconds since the epoch); bounded likewise.
    silences: Vec<(Target, i64)>,
    /// Nothing can happen to a frame: the common case, kept as one flag.
    quiet: bool,
}

const ARMED_MAX: usize = 256;

impl FaultState {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let quiet = !plan.meets_frames();
        Self { rng: Rng::with_seed(plan.seed), plan, armed: Vec::new(), silences: Vec::new(), quiet }
    }

    pub(crate) const fn quiet(&self) -> bool {
        self.quiet
    }

    /// Arms a fault that waits for frames or requests.
    pub(crate) fn arm(&mut self, fault: Fault) {
        if self.armed.len() == ARMED_MAX {
            self.armed.remove(0);
        }
        self.armed.push(fault);
        self.quiet = false;
    }

    pub(crate) fn silence(&mut self, target: Target, until_us: i64) {
        if self.silences.len() == ARMED_MAX {
            self.silences.remove(0);
        }
        self.silences.push((target, until_us));
        self.quiet = false;
    }

    /// Nothing goes wrong from here on.
    pub(crate) fn calm(&mut self) {
        self.plan = FaultPlan { seed: self.plan.seed, ..FaultPlan::default() };
        self.armed.clear();
        self.silences.clear();
        self.quiet = true;
    }

    /// Forgets what is over.
    pub(crate) fn tidy(&mut self, now_us: i64) {
        self.silences.retain(|(_, until)| *until > now_us);
        self.quiet = self.armed.is_empty() && self.silences.is_empty() && !self.plan.meets_frames();
    }

    /// Whether the next subscription to a stream delivers nothing.
    pub(crate) fn mutes(&mut self, conn: u32, stream: &str) -> bool {
        self.subscription_meets(|f| matches!(f, Fault::Mute { target, .. } if target.meets(conn, stream)))
    }

    /// Whether the next subscription to a stream is not made.
    pub(crate) fn omits(&mut self, conn: u32, stream: &str) -> bool {
        self.subscription_meets(|f| matches!(f, Fault::Omit { target, .. } if target.meets(conn, stream)))
    }

    fn subscription_meets(&mut self, meets: impl Fn(&Fault) -> bool) -> bool {
        let Some(at) = self.armed.iter().position(meets) else { return false };
        if let Fault::Mute { count, .. } | Fault::Omit { count, .. } = &mut self.armed[at] {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.armed.remove(at);
            }
        }
        true
    }

    /// Whether a stream says nothing to a connection for now.
    pub(crate) fn is_silent(&self, conn: u32, stream: &str, now_us: i64) -> bool {
        self.silences.iter().any(|(target, until)| *until > now_us && target.meets(conn, stream))
    }

    /// What becomes of the next frame of a stream on a connection.
    pub(crate) fn decide(&mut self, conn: u32, stream: &str, text: &[u8], now_us: i64) -> Action {
        if self.is_silent(conn, stream, now_us) {
            return Action::Silence;
        }
        let met = self.armed.iter().position(|fault| match fault {
            Fault::Drop { target, .. }
            | Fault::Delay { target, .. }
            | Fault::Duplicate { target, .. }
            | Fault::Reorder { target, .. } => target.meets(conn, stream),
            Fault::Corrupt { target, how, .. } => {
                let has_what_it_takes = match how {
                    Corruption::Truncate | Corruption::Flip => true,
                    Corruption::Checksum => checksum_at(text).is_some(),
                    Corruption::Price => highest_bid(text).is_some(),
                };
                target.meets(conn, stream) && has_what_it_takes
            }
            _ => false,
        });
        if let Some(at) = met {
            let salt = self.rng.u64(..);
            let (action, left) = match &mut self.armed[at] {
                Fault::Drop { count, .. } => (Action::Drop, count),
                Fault::Delay { count, ms, .. } => (Action::Delay(Duration::from_millis(*ms)), count),
                Fault::Duplicate { count, .. } => (Action::Duplicate, count),
                Fault::Reorder { count, .. } => (Action::Reorder, count),
                Fault::Corrupt { count, how, .. } => (Action::Corrupt(*how, salt), count),
                _ => return Action::Send,
            };
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.armed.remove(at);
            }
            return action;
        }
        if !self.plan.meets_frames() {
            return Action::Send;
        }
        let draw = self.rng.f64();
        let mut sum = 0.0;
        let mut falls = |rate: f64| {
            sum += rate;
            draw < sum
        };
        if falls(self.plan.drop) {
            Action::Drop
        } else if falls(self.plan.delay) {
            Action::Delay(Duration::from_millis(self.rng.u64(10..300)))
        } else if falls(self.plan.duplicate) {
            Action::Duplicate
        } else if falls(self.plan.reorder) {
            Action::Reorder
        } else if falls(self.plan.corrupt) {
            let how = if self.rng.bool() { Corruption::Flip } else { Corruption::Truncate };
            Action::Corrupt(how, self.rng.u64(..))
        } else {
            Action::Send
        }
    }

    /// Whether the next REST request meets a 429, and the ban that follows when it was the last.
    pub(crate) fn refuses_request(&mut self) -> Option<Option<Duration>> {
        let met = self.armed.iter().position(|f| matches!(f, Fault::RestLimit { .. }));
        if let Some(at) = met
            && let Fault::RestLimit { count, ban_ms } = &mut self.armed[at]
        {
            *count = count.saturating_sub(1);
            let last = *count == 0;
            let ban = ban_ms.filter(|_| last).map(Duration::from_millis);
            if last {
                self.armed.remove(at);
            }
            return Some(ban);
        }
        (self.plan.rest_limit > 0.0 && self.rng.f64() < self.plan.rest_limit).then_some(None)
    }

    /// How the next answer with candles or trades is wrong, if it is.
    pub(crate) fn spoils_answer(&mut self) -> Option<RestFault> {
        let met = self.armed.iter().position(|f| matches!(f, Fault::Rest { .. }));
        if let Some(at) = met
            && let Fault::Rest { what, count } = &mut self.armed[at]
        {
            let what = *what;
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.armed.remove(at);
            }
            return Some(what);
        }
        if self.plan.rest > 0.0 && self.rng.f64() < self.plan.rest {
            return self.rng.choice(RestFault::PLANNED);
        }
        None
    }

    /// Chance, for faults that have to choose.
    pub(crate) const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Whether the next snapshot of this symbol is a stale one.
    pub(crate) fn stales_snapshot(&mut self, symbol: &str) -> bool {
        let met = self.armed.iter().position(
            |f| matches!(f, Fault::StaleSnapshot { symbol: wanted, .. } if wanted.as_deref().is_none_or(|w| w == symbol)),
        );
        if let Some(at) = met
            && let Fault::StaleSnapshot { count, .. } = &mut self.armed[at]
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.armed.remove(at);
            }
            return true;
        }
        self.plan.stale_snapshot > 0.0 && self.rng.f64() < self.plan.stale_snapshot
    }

    /// The faults of the plan that happen within this time, whatever is sent.
    pub(crate) fn timed(&mut self, elapsed: Duration, conns: &[u32], streams: &[String], symbols: &[String]) -> Vec<Fault> {
        let minutes = elapsed.as_secs_f64() / 60.0;
        let plan = &self.plan;
        let rng = &mut self.rng;
        let mut faults = Vec::new();
        let happens = |rng: &mut Rng, rate: f64| rate > 0.0 && rng.f64() < rate * minutes;
        if happens(rng, plan.gap)
            && let Some(symbol) = rng.choice(symbols)
        {
            let channel = if rng.bool() { "trades" } else { "book" }.to_owned();
            faults.push(Fault::Gap { symbol: symbol.clone(), channel, count: rng.u32(1..=5) });
        }
        if happens(rng, plan.silence)
            && let Some(stream) = rng.choice(streams)
        {
            faults.push(Fault::Silence { target: Target::stream(stream), ms: rng.u64(100..2_000) });
        }
        for (rate, how) in [(plan.disconnect, Disconnection::Clean), (plan.abort, Disconnection::Abrupt)] {
            if happens(rng, rate)
                && let Some(conn) = rng.choice(conns)
            {
                faults.push(Fault::Disconnect { target: Target { stream: None, conn: Some(*conn) }, how });
            }
        }
        if happens(rng, plan.slow)
            && let Some(conn) = rng.choice(conns)
        {
            let target = Target { stream: None, conn: Some(*conn) };
            faults.push(Fault::Slow { target, bytes_per_second: 20_000, ms: rng.u64(100..2_000) });
        }
        if happens(rng, plan.down) {
            faults.push(Fault::Down { ms: rng.u64(100..2_000) });
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::super::damage::corrupt;
    use super::*;

    #[test]
    fn armed_faults_meet_their_frames_only_and_run_out() {
        let mut state = FaultState::new(FaultPlan::default());
        assert!(state.quiet());
        state.arm(Fault::Drop { target: Target::stream("a@trade"), count: 2 });
        let mut seen = |stream| state.decide(1, stream, b"{}", 0);
        assert_eq!(
            [seen("b@trade"), seen("a@trade"), seen("a@trade"), seen("a@trade")],
            [Action::Send, Action::Drop, Action::Drop, Action::Send]
        );
        state.tidy(0);
        assert!(state.quiet());
    }

    #[test]
    fn nothing_goes_wrong_once_it_is_calm() {
        let mut state = FaultState::new(FaultPlan { drop: 1.0, stale_snapshot: 1.0, ..FaultPlan::default() });
        state.arm(Fault::Duplicate { target: Target::default(), count: 1 });
        state.silence(Target::stream("a@trade"), 1);
        assert!(!state.quiet() && state.stales_snapshot("A/B"));
        state.calm();
        assert!(state.quiet() && !state.stales_snapshot("A/B"));
        assert_eq!(state.decide(1, "a@trade", b"{}", 0), Action::Send);
    }

    #[test]
    fn a_wrong_checksum_is_all_that_is_wrong() {
        let text = br#"{"data":[{"asks":[],"checksum":2416540570,"timestamp":"2026"}]}"#;
        assert_eq!(
            corrupt(text, Corruption::Checksum, 1),
            br#"{"data":[{"asks":[],"checksum":2416540571,"timestamp":"2026"}]}"#
        );
        let mut state = FaultState::new(FaultPlan::default());
        state.arm(Fault::Corrupt { target: Target::default(), count: 1, how: Corruption::Checksum });
        assert_eq!(state.decide(1, "trade:A/B", b"{}", 0), Action::Send);
        assert!(matches!(state.decide(1, "book:A/B:10", text, 0), Action::Corrupt(Corruption::Checksum, _)));
    }
}
