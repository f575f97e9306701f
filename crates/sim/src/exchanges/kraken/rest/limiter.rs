//! The counter that each address has: up by one with each request, down with time; refusals past its limit, then a lockout.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::exchanges::kraken::KrakenOptions;

/// Addresses that are remembered at most.
const PEERS_MAX: usize = 10_000;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answered.
    Pass,
    /// Too often.
    Refused,
    /// Too often for too long.
    LockedOut,
}

#[derive(Default)]
struct Peer {
    /// Microseconds' worth of requests: one is worth the time in which the counter falls by one.
    level_us: i64,
    seen_us: i64,
    strikes: u32,
    locked_until_us: i64,
}

/// The counters, by address.
pub(crate) struct Counters {
    /// In which time the counter falls by one; 0 when there is no limit.
    every_us: i64,
    burst: i64,
    strikes_to_lockout: u32,
    lockout: Duration,
    peers: HashMap<IpAddr, Peer>,
}

impl Counters {
    pub(crate) fn new(options: &KrakenOptions) -> Self {
        let rate = options.requests_per_second;
        #[allow(clippy::cast_possible_truncation)] // bounded, and a day is as good as never
        let every_us = if rate > 0.0 { (1e6 / rate).clamp(1.0, 86_400e6) as i64 } else { 0 };
        Self {
            every_us,
            burst: i64::from(options.burst.max(1)),
            strikes_to_lockout: options.strikes_to_lockout,
            lockout: options.lockout,
            peers: HashMap::new(),
        }
    }

    fn peer(&mut self, ip: IpAddr) -> &mut Peer {
        if self.peers.len() > PEERS_MAX {
            self.peers.clear();
        }
        self.peers.entry(ip).or_default()
    }

    /// Counts a request. The counter's value in whole requests, this one included.
    pub(crate) fn charge(&mut self, ip: IpAddr, now_us: i64) -> (Verdict, u32) {
        let (every_us, burst, most, lockout) = (self.every_us, self.burst, self.strikes_to_lockout, self.lockout);
        let peer = self.peer(ip);
        if peer.locked_until_us > now_us {
            return (Verdict::LockedOut, 0);
        }
        if every_us == 0 {
            return (Verdict::Pass, 0);
        }
        peer.level_us = peer.level_us.saturating_sub((now_us - peer.seen_us).max(0)).max(0);
        peer.seen_us = now_us;
        if peer.level_us == 0 {
            peer.strikes = 0;
        }
        let used = |level: i64| u32::try_from(level.div_euclid(every_us)).unwrap_or(u32::MAX);
        if peer.level_us + every_us <= burst * every_us {
            peer.level_us += every_us;
            return (Verdict::Pass, used(peer.level_us + every_us - 1));
        }
        peer.strikes += 1;
        if peer.strikes > most {
            peer.strikes = 0;
            peer.locked_until_us = now_us.saturating_add(micros(lockout));
            return (Verdict::LockedOut, used(peer.level_us));
        }
        (Verdict::Refused, used(peer.level_us))
    }

    /// Locks an address out for this long.
    pub(crate) fn lock_out(&mut self, ip: IpAddr, time: Duration, now_us: i64) {
        self.peer(ip).locked_until_us = now_us.saturating_add(micros(time));
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_burst_come_refusals_then_a_lockout_and_time_forgives() {
        let options = KrakenOptions { burst: 3, strikes_to_lockout: 2, ..KrakenOptions::default() };
        let mut counters = Counters::new(&options);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let start = 1_723_161_240_000_000;
        let second = 1_000_000;
        let mut verdicts = |at: &[i64]| at.iter().map(|at| counters.charge(ip, start + at).0).collect::<Vec<_>>();
        use Verdict::{LockedOut, Pass, Refused};
        assert_eq!(verdicts(&[0, 0, 0, 0]), [Pass, Pass, Pass, Refused]);
        assert_eq!(verdicts(&[second - 1, second, second, 2 * second]), [Refused, Pass, LockedOut, LockedOut]);
        let after = second + 900 * second;
        assert_eq!(verdicts(&[after - 1, after, after, after, after]), [LockedOut, Pass, Pass, Pass, Refused]);
        // One a second goes on for ever.
        assert!((1..100).all(|n| counters.charge(ip, start + after + (n + 3) * second) == (Pass, 1)));
        assert_eq!(counters.charge(IpAddr::from([127, 0, 0, 2]), start).0, Pass);
    }

    #[test]
    fn without_a_rate_nobody_is_refused_but_by_a_lockout() {
        let mut counters = Counters::new(&"rate=0".parse().unwrap());
        let ip = IpAddr::from([127, 0, 0, 1]);
        assert!((0..10_000).all(|_| counters.charge(ip, 5).0 == Verdict::Pass));
        counters.lock_out(ip, Duration::from_secs(1), 5);
        assert_eq!([counters.charge(ip, 6).0, counters.charge(ip, 1_000_005).0], [Verdict::LockedOut, Verdict::Pass]);
    }
}
