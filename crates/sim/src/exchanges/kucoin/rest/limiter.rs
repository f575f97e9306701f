//! The weight that an address may use in 30 seconds, counted from its first request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

const WINDOW_US: i64 = 30_000_000;
/// Addresses that are remembered at most.
const PEERS_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Peer {
    /// When its window ends.
    ends_us: i64,
    used: u32,
    barred_until_us: i64,
}

/// Where an address stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub passes: bool,
    /// What the request weighed.
    pub weight: u32,
    pub limit: u32,
    pub remaining: u32,
    /// Until the window ends.
    pub reset_ms: i64,
}

/// The counters, by address.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// 0: no limit.
    most: u32,
    peers: HashMap<IpAddr, Peer>,
}

impl Limiter {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, peers: HashMap::new() }
    }

    fn peer(&mut self, ip: IpAddr) -> &mut Peer {
        if self.peers.len() > PEERS_MAX {
            self.peers.clear();
        }
        self.peers.entry(ip).or_default()
    }

    /// Counts a request; one that is refused does not count.
    pub(crate) fn charge(&mut self, ip: IpAddr, weight: u32, now_us: i64) -> Usage {
        let most = self.most;
        let peer = self.peer(ip);
        if now_us >= peer.ends_us {
            (peer.ends_us, peer.used) = (now_us + WINDOW_US, 0);
        }
        let is_barred = peer.barred_until_us > now_us;
        let passes = !is_barred && (most == 0 || peer.used + weight <= most);
        if passes {
            peer.used = peer.used.saturating_add(weight);
        }
        let until_us = if is_barred { peer.barred_until_us } else { peer.ends_us };
        // Without a limit the one that the exchange has is told.
        let limit = if most == 0 { 2_000 } else { most };
        let remaining = if is_barred { 0 } else { limit.saturating_sub(peer.used) };
        Usage { passes, weight, limit, remaining, reset_ms: (until_us - now_us).div_euclid(1_000) }
    }

    /// Refuses an address for this long.
    pub(crate) fn bar(&mut self, ip: IpAddr, time: Duration, now_us: i64) {
        let time_us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.peer(ip).barred_until_us = now_us.saturating_add(time_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_with_its_first_request_and_ends_at_once() {
        let mut limiter = Limiter::new(10);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let usage = |passes, weight, remaining, reset_ms| Usage { passes, weight, limit: 10, remaining, reset_ms };
        assert_eq!(limiter.charge(ip, 6, 1_000_000), usage(true, 6, 4, 30_000));
        assert_eq!(limiter.charge(ip, 6, 2_000_000), usage(false, 6, 4, 29_000));
        assert_eq!(limiter.charge(ip, 4, 30_999_000), usage(true, 4, 0, 1));
        assert_eq!(limiter.charge(ip, 4, 31_000_000), usage(true, 4, 6, 30_000));
        limiter.bar(ip, Duration::from_secs(2), 32_000_000);
        assert_eq!(limiter.charge(ip, 1, 33_000_000), usage(false, 1, 0, 1_000));
        assert!(limiter.charge(ip, 1, 34_000_000).passes);
        let mut free = Limiter::new(0);
        assert!((0..10_000).all(|_| free.charge(ip, 100, 0).passes));
    }
}
