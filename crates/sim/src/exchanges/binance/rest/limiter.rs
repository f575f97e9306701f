//! The exchange's own weight ledger: fixed windows on the minute, 429 past the limit, 418 for those who go on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::options::Limits;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answered; weight used in this minute.
    Pass(u32),
    /// 429; weight used, seconds until the window ends.
    Limited(u32, u64),
    /// 418; when the ban ends (milliseconds since the epoch), seconds until then.
    Banned(i64, u64),
}

#[derive(Default)]
struct Peer {
    minute: i64,
    used: u32,
    strikes: u32,
    banned_until_us: i64,
    bans: u32,
}

/// Addresses that are remembered at most.
const PEERS_MAX: usize = 10_000;

/// Weights used, by address.
pub(crate) struct RestLimiter {
    limit: u32,
    strikes_to_ban: u32,
    ban: Duration,
    peers: HashMap<IpAddr, Peer>,
}

impl RestLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.weight_per_minute,
            strikes_to_ban: limits.strikes_to_ban.max(1),
            ban: limits.ban,
            peers: HashMap::new(),
        }
    }

    fn peer(&mut self, ip: IpAddr, now_us: i64) -> &mut Peer {
        if self.peers.len() > PEERS_MAX {
            self.peers.clear();
        }
        let peer = self.peers.entry(ip).or_default();
        let minute = now_us.div_euclid(60_000_000);
        if peer.minute != minute {
            peer.minute = minute;
            peer.used = 0;
            peer.strikes = 0;
        }
        peer
    }

    /// Counts a request.
    pub(crate) fn charge(&mut self, ip: IpAddr, weight: u32, now_us: i64) -> Verdict {
        let (limit, strikes_to_ban, ban) = (self.limit, self.strikes_to_ban, self.ban);
        let peer = self.peer(ip, now_us);
        if peer.banned_until_us > now_us {
            return banned(peer, now_us);
        }
        peer.used = peer.used.saturating_add(weight);
        if peer.used <= limit || limit == 0 {
            return Verdict::Pass(peer.used);
        }
        peer.strikes += 1;
        if peer.strikes > strikes_to_ban {
            strike_out(peer, ban, now_us);
            return banned(peer, now_us);
        }
        Verdict::Limited(peer.used, u64::try_from(60 - now_us.div_euclid(1_000_000).rem_euclid(60)).unwrap_or(60))
    }

    /// Bans an address for this long.
    pub(crate) fn ban(&mut self, ip: IpAddr, time: Duration, now_us: i64) {
        let peer = self.peer(ip, now_us);
        peer.banned_until_us = now_us.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    }
}

fn strike_out(peer: &mut Peer, ban: Duration, now_us: i64) {
    let time = ban.saturating_mul(1 << peer.bans.min(10));
    peer.bans += 1;
    peer.strikes = 0;
    peer.banned_until_us = now_us.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
}

fn banned(peer: &Peer, now_us: i64) -> Verdict {
    let seconds = (peer.banned_until_us - now_us).max(0).div_euclid(1_000_000) + 1;
    Verdict::Banned(peer.banned_until_us / 1_000, u64::try_from(seconds).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_comes_429_then_418_and_the_next_minute_forgives() {
        let limits =
            Limits { weight_per_minute: 100, strikes_to_ban: 2, ban: Duration::from_secs(120), ..Limits::default() };
        let mut limiter = RestLimiter::new(&limits);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let start = 1_723_161_240_000_000;
        assert_eq!(limiter.charge(ip, 60, start), Verdict::Pass(60));
        assert_eq!(limiter.charge(ip, 60, start + 15_000_000), Verdict::Limited(120, 45));
        assert_eq!(limiter.charge(ip, 1, start + 60_000_000), Verdict::Pass(1));
        for _ in 0..2 {
            assert!(matches!(limiter.charge(ip, 100, start + 60_000_000), Verdict::Limited(..)));
        }
        let until = (start + 180_000_000) / 1_000;
        assert_eq!(limiter.charge(ip, 100, start + 60_000_000), Verdict::Banned(until, 121));
        assert_eq!(limiter.charge(ip, 1, start + 179_000_000), Verdict::Banned(until, 2));
        assert_eq!(limiter.charge(ip, 1, start + 180_000_000), Verdict::Pass(1));
        assert_eq!(limiter.charge(IpAddr::from([127, 0, 0, 2]), 1, start), Verdict::Pass(1));
    }
}
