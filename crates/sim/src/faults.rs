//! Faults: what can go wrong on command or by a seeded plan, and the state that decides it frame by frame.

use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::SimError;
pub use crate::rest::faults::RestFault;

/// Which frames a fault meets; what is left out matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// A stream's name, e.g. `btcusdt@trade` on Binance. On Kraken `trade:BTC/USD`, `ticker:BTC/USD:bbo`, `book:BTC/USD:10`,
    /// `ohlc:BTC/USD:1`, `instrument`; without what stands behind a colon it means all of them: `book:BTC/USD` at any depth, `book`
    /// of any market.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// A connection's number, as the ledger counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u32>,
}

impl Target {
    /// Every frame of one stream.
    #[must_use]
    pub fn stream(name: &str) -> Self {
        Self { stream: Some(name.to_owned()), conn: None }
    }

    pub(crate) fn meets(&self, conn: u32, stream: &str) -> bool {
        let named = |wanted: &str| stream.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        self.conn.is_none_or(|c| c == conn) && self.stream.as_deref().is_none_or(named)
    }
}

/// How a frame is damaged. It stays a text frame of valid UTF-8 in each case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// Its second half is missing.
    #[default]
    Truncate,
    /// Some of its bytes are others.
    Flip,
    /// The checksum in it is another, all else is as it should be. Meets frames that have one.
    Checksum,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disconnection {
    /// With a close frame, after everything queued.
    #[default]
    Clean,
    /// By a TCP reset, in the middle of anything.
    Abrupt,
}

fn one() -> u32 {
    1
}

/// Something that goes wrong. As JSON: `{"kind":"drop","stream":"btcusdt@trade","count":3}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The next `count` frames are not sent; REST still has what they told.
    Drop {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` frames come late, and all that follow on their stream behind them.
    Delay {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// How late, milliseconds.
        ms: u64,
    },
    /// The next `count` frames are sent twice.
    Duplicate {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` frames each change places with the one after it on their stream.
    Reorder {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` frames are damaged.
    Corrupt {
        /// Which frames.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// How.
        #[serde(default)]
        how: Corruption,
    },
    /// The exchange itself skips sequence numbers of a symbol: trade ids that no trade has, or book updates that no diff
    /// tells of. No repair can find them. `channel` is `trades` or `book`. Kraken's books have no numbers: there, so many of the
    /// best levels change unheard, and the next checksum says so.
    Gap {
        /// Unified symbol.
        symbol: String,
        /// `trades` or `book`.
        channel: String,
        /// How many numbers.
        #[serde(default = "one")]
        count: u32,
    },
    /// The matching streams say nothing for a while, subscriptions are acknowledged and pings answered.
    Silence {
        /// Which streams.
        #[serde(flatten)]
        target: Target,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The next `count` subscriptions are acknowledged and deliver nothing, not even a snapshot, until they are made anew.
    Mute {
        /// Which subscriptions.
        #[serde(flatten)]
        target: Target,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// Connections end.
    Disconnect {
        /// Which; `stream` means those subscribed to it.
        #[serde(flatten)]
        target: Target,
        /// How.
        #[serde(default)]
        how: Disconnection,
    },
    /// Connections are written to slowly.
    Slow {
        /// Which; `stream` means those subscribed to it.
        #[serde(flatten)]
        target: Target,
        /// How slowly.
        bytes_per_second: u32,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The next `count` REST requests are answered 429; when `ban_ms` is given, all after them 418 for that long.
    RestLimit {
        /// How many.
        #[serde(default = "one")]
        count: u32,
        /// The ban after them, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ban_ms: Option<u64>,
    },
    /// The next `count` answers to REST requests for candles or trades are wrong.
    Rest {
        /// How.
        what: RestFault,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The next `count` book snapshots (of REST, on Kraken of the WebSocket) are as old as the program itself: older than any
    /// diff sent.
    StaleSnapshot {
        /// Unified symbol; any when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symbol: Option<String>,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// The exchange is down: connections are reset, new ones refused.
    Down {
        /// For how long, milliseconds.
        ms: u64,
    },
    /// The end is announced to all connections (`serverShutdown` on Binance, the system status `maintenance` on Kraken), which
    /// are closed after a while.
    Shutdown {
        /// Between announcement and close, milliseconds.
        ms: u64,
    },
}

/// Faults that happen by themselves. `seed=7,drop=0.001,disconnect=2` as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// The same seed meets the same frames, as long as the frames are the same.
    pub seed: u64,
    /// Probability per frame of [`Fault::Drop`].
    pub drop: f64,
    /// Probability per frame of [`Fault::Delay`] by up to 300 ms.
    pub delay: f64,
    /// Probability per frame of [`Fault::Duplicate`].
    pub duplicate: f64,
    /// Probability per frame of [`Fault::Reorder`].
    pub reorder: f64,
    /// Probability per frame of [`Fault::Corrupt`].
    pub corrupt: f64,
    /// [`Fault::Gap`]s a minute, of up to 5 numbers of a random symbol and channel.
    pub gap: f64,
    /// [`Fault::Silence`]s of a random stream a minute, up to 2 s each.
    pub silence: f64,
    /// Clean [`Fault::Disconnect`]s of a random connection a minute.
    pub disconnect: f64,
    /// Abrupt ones a minute.
    pub abort: f64,
    /// [`Fault::Slow`]s of a random connection a minute: 20 kB/s for up to 2 s.
    pub slow: f64,
    /// Probability per REST request of a 429.
    pub rest_limit: f64,
    /// Probability per REST answer with candles or trades of a [`Fault::Rest`] of any kind.
    pub rest: f64,
    /// Probability per book snapshot of [`Fault::StaleSnapshot`].
    pub stale_snapshot: f64,
    /// [`Fault::Down`]s a minute, up to 2 s each.
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

    fn meets_frames(&self) -> bool {
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

    /// Forgets what is over.
    pub(crate) fn tidy(&mut self, now_us: i64) {
        self.silences.retain(|(_, until)| *until > now_us);
        self.quiet = self.armed.is_empty() && self.silences.is_empty() && !self.plan.meets_frames();
    }

    /// Whether the next subscription to a stream delivers nothing.
    pub(crate) fn mutes(&mut self, conn: u32, stream: &str) -> bool {
        let met = self.armed.iter().position(|f| matches!(f, Fault::Mute { target, .. } if target.meets(conn, stream)));
        let Some(at) = met else { return false };
        if let Fault::Mute { count, .. } = &mut self.armed[at] {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.armed.remove(at);
            }
        }
        true
    }

    /// What becomes of the next frame of a stream on a connection.
    pub(crate) fn decide(&mut self, conn: u32, stream: &str, text: &[u8], now_us: i64) -> Action {
        if self.silences.iter().any(|(target, until)| *until > now_us && target.meets(conn, stream)) {
            return Action::Silence;
        }
        let met = self.armed.iter().position(|fault| match fault {
            Fault::Drop { target, .. }
            | Fault::Delay { target, .. }
            | Fault::Duplicate { target, .. }
            | Fault::Reorder { target, .. } => target.meets(conn, stream),
            Fault::Corrupt { target, how, .. } => {
                target.meets(conn, stream) && (*how != Corruption::Checksum || checksum_at(text).is_some())
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

/// The damaged text; other than the original, valid UTF-8.
pub(crate) fn corrupt(text: &[u8], how: Corruption, salt: u64) -> Vec<u8> {
    match how {
        Corruption::Truncate => {
            let mut end = text.len() / 2;
            while end > 0 && !text[end].is_ascii() {
                end -= 1;
            }
            text[..end].to_vec()
        }
        Corruption::Flip => {
            let mut out = text.to_vec();
            let mut rng = Rng::with_seed(salt);
            for _ in 0..4.min(out.len()) {
                let at = rng.usize(0..out.len());
                if out[at].is_ascii() {
                    // Never back to what it was, even when met twice.
                    out[at] = if text[at] == b'#' { b'%' } else { b'#' };
                }
            }
            out
        }
        Corruption::Checksum => {
            let mut out = text.to_vec();
            // Another last digit: still a number, still of 32 bits but where it was at the very end of them.
            if let Some(last) = checksum_at(text).and_then(|at| out.get_mut(at)) {
                *last = if *last == b'0' { b'1' } else { *last - 1 };
            }
            out
        }
    }
}

/// Where the last digit of a message's checksum stands.
fn checksum_at(text: &[u8]) -> Option<usize> {
    const KEY: &[u8] = b"\"checksum\":";
    let begin = text.windows(KEY.len()).rposition(|part| part == KEY)? + KEY.len();
    let digits = text[begin..].iter().take_while(|b| b.is_ascii_digit()).count();
    (begin + digits).checked_sub(1).filter(|_| digits > 0)
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

    #[test]
    fn every_fault_has_a_json_form() {
        for text in [
            r#"{"kind":"drop","stream":"btcusdt@trade","count":3}"#,
            r#"{"kind":"delay","ms":50}"#,
            r#"{"kind":"corrupt","how":"flip"}"#,
            r#"{"kind":"gap","symbol":"BTC/USDT","channel":"book","count":2}"#,
            r#"{"kind":"silence","conn":1,"ms":5}"#,
            r#"{"kind":"corrupt","stream":"book:BTC/USD","how":"checksum"}"#,
            r#"{"kind":"mute","stream":"trade:BTC/USD"}"#,
            r#"{"kind":"disconnect","how":"abrupt"}"#,
            r#"{"kind":"slow","bytes_per_second":1000,"ms":5}"#,
            r#"{"kind":"rest_limit","count":2,"ban_ms":1000}"#,
            r#"{"kind":"stale_snapshot"}"#,
            r#"{"kind":"down","ms":10}"#,
        ] {
            let fault: Fault = serde_json::from_str(text).unwrap();
            let again: Fault = serde_json::from_str(&serde_json::to_string(&fault).unwrap()).unwrap();
            assert_eq!(fault, again);
        }
    }

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
    fn a_target_without_its_last_part_means_all_that_have_one() {
        let meets = |target, stream| Target::stream(target).meets(1, stream);
        assert!(
            meets("book:BTC/USD:10", "book:BTC/USD:10")
                && meets("book:BTC/USD", "book:BTC/USD:10")
                && meets("book", "book:A/B:10")
        );
        assert!(!meets("book:BTC/USD:1", "book:BTC/USD:10") && !meets("book:BTC/US", "book:BTC/USD:10"));
        assert!(!meets("btcusdt@trade", "btcusdt@trades"));
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

    #[test]
    fn damage_is_damage() {
        let text = br#"{"e":"trade"}"#;
        for salt in 0..50 {
            for how in [Corruption::Truncate, Corruption::Flip] {
                let damaged = corrupt(text, how, salt);
                assert_ne!(damaged, text);
                assert!(std::str::from_utf8(&damaged).is_ok());
            }
        }
    }
}
