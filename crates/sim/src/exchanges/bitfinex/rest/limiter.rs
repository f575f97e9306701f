//! How many requests an address may make of each endpoint in a minute; past that it is refused for a while.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const WINDOW_US: i64 = 60_000_000;
/// Addresses and endpoints that are remembered at most.
const KNOWN_MAX: usize = 10_000;

/// Counts requests.
pub(crate) struct Limiter {
    is_on: bool,
    block: Duration,
    seen: HashMap<(IpAddr, &'static str), VecDeque<i64>>,
    /// Until when an address is refused whatever it asks for.
    barred: HashMap<IpAddr, i64>,
}

impl Limiter {
    pub(crate) fn new(is_on: bool, block: Duration) -> Self {
        Self { is_on, block, seen: HashMap::new(), barred: HashMap::new() }
    }

    /// Counts a request of an endpoint that may be asked `most` times in a minute. Whether it is answered, and how many there were in
    /// its window.
    pub(crate) fn charge(&mut self, ip: IpAddr, endpoint: &'static str, most: usize, now_us: i64) -> (bool, usize) {
        if self.barred.get(&ip).is_some_and(|until| *until > now_us) {
            return (false, most);
        }
        if !self.is_on {
            return (true, 0);
        }
        if self.seen.len() > KNOWN_MAX {
            self.seen.clear();
        }
        let times = self.seen.entry((ip, endpoint)).or_default();
        while times.front().is_some_and(|at| now_us - at >= WINDOW_US) {
            times.pop_front();
        }
        if times.len() >= most {
            let used = times.len();
            self.bar(ip, self.block, now_us);
            return (false, used);
        }
        times.push_back(now_us);
        (true, times.len())
    }

    /// Refuses an address for this long.
    pub(crate) fn bar(&mut self, ip: IpAddr, time: Duration, now_us: i64) {
        if self.barred.len() > KNOWN_MAX {
            self.barred.clear();
        }
        let time_us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.barred.insert(ip, now_us.saturating_add(time_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_is_refused_everything_for_a_while() {
        let mut limiter = Limiter::new(true, Duration::from_secs(10));
        let ip = IpAddr::from([127, 0, 0, 1]);
        let mut charge = |endpoint, at| limiter.charge(ip, endpoint, 2, at).0;
        assert_eq!([charge("a", 0), charge("a", 1), charge("b", 1), charge("a", 2)], [true, true, true, false]);
        assert_eq!([charge("b", 9_999_999), charge("b", 10_000_002), charge("b", 10_000_002)], [false, true, false]);
        assert_eq!([charge("a", 59_999_999), charge("a", 70_000_000)], [false, true]);
        let mut free = Limiter::new(false, Duration::from_secs(10));
        assert!((0..1_000).all(|_| free.charge(ip, "a", 1, 0).0));
    }
}
