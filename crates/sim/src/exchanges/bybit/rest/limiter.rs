//! The requests of each address per window; one that makes too many is not answered any more for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::exchanges::bybit::BybitOptions;

/// Addresses that are remembered at most.
const PEERS_MAX: usize = 10_000;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answered.
    Pass,
    /// Refused with 403, as all of this address for a while.
    Banned,
}

#[derive(Default)]
struct Peer {
    /// When its window began.
    since_us: i64,
    used: u32,
    banned_until_us: i64,
}

/// The counters, by address.
pub(crate) struct RestLimiter {
    /// 0: no limit.
    most: u32,
    window: Duration,
    ban: Duration,
    peers: HashMap<IpAddr, Peer>,
}

/// What an address has used of its window, and when that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub verdict: Verdict,
    pub used: u32,
    /// Microseconds since the epoch.
    pub ends_us: i64,
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl RestLimiter {
    pub(crate) fn new(options: &BybitOptions) -> Self {
        let BybitOptions { requests_per_window: most, window, ban, .. } = *options;
        Self { most, window, ban, peers: HashMap::new() }
    }

    fn peer(&mut self, ip: IpAddr) -> &mut Peer {
        if self.peers.len() > PEERS_MAX {
            self.peers.clear();
        }
        self.peers.entry(ip).or_default()
    }

    /// Counts a request.
    pub(crate) fn charge(&mut self, ip: IpAddr, now_us: i64) -> Usage {
        let (most, window_us, ban_us) = (self.most, micros(self.window), micros(self.ban));
        let peer = self.peer(ip);
        if now_us < peer.banned_until_us {
            return Usage { verdict: Verdict::Banned, used: 0, ends_us: peer.banned_until_us };
        }
        if now_us - peer.since_us >= window_us || now_us < peer.since_us {
            (peer.since_us, peer.used) = (now_us, 0);
        }
        peer.used += 1;
        let mut usage = Usage { verdict: Verdict::Pass, used: peer.used, ends_us: peer.since_us + window_us };
        if most > 0 && peer.used > most {
            peer.banned_until_us = now_us.saturating_add(ban_us);
            usage = Usage { verdict: Verdict::Banned, ends_us: peer.banned_until_us, ..usage };
        }
        usage
    }

    /// Refuses an address for this long.
    pub(crate) fn ban(&mut self, ip: IpAddr, time: Duration, now_us: i64) {
        self.peer(ip).banned_until_us = now_us.saturating_add(micros(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_too_often_is_refused_until_the_ban_is_over() {
        let mut limiter = RestLimiter::new(&"requests=3,window=5,ban=600".parse().unwrap());
        let ip = IpAddr::from([127, 0, 0, 1]);
        let start = 1_723_161_240_000_000;
        let second = 1_000_000;
        let mut verdicts = |at: &[i64]| at.iter().map(|at| limiter.charge(ip, start + at).verdict).collect::<Vec<_>>();
        use Verdict::{Banned, Pass};
        assert_eq!(verdicts(&[0, 0, second, 5 * second, 5 * second, 6 * second]), [Pass; 6]);
        assert_eq!(verdicts(&[9 * second, 20 * second, 608 * second]), [Banned; 3]);
        assert_eq!(verdicts(&[609 * second, 609 * second]), [Pass; 2]);
        assert_eq!(limiter.charge(IpAddr::from([127, 0, 0, 2]), start).used, 1);
        limiter.ban(ip, Duration::from_secs(1), start + 700 * second);
        assert_eq!(limiter.charge(ip, start + 700 * second).verdict, Banned);
        let mut free = RestLimiter::new(&"requests=0".parse().unwrap());
        assert!((0..5_000).all(|_| free.charge(ip, start).verdict == Pass));
    }
}
