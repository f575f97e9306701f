//! How many requests an address may make of each endpoint in two seconds.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const WINDOW_US: i64 = 2_000_000;
/// Addresses and endpoints that are remembered at most.
const KNOWN_MAX: usize = 10_000;

/// Counts requests.
pub(crate) struct Limiter {
    is_on: bool,
    seen: HashMap<(IpAddr, &'static str), VecDeque<i64>>,
    /// Until when an address is refused whatever it asks for.
    barred: HashMap<IpAddr, i64>,
}

impl Limiter {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, seen: HashMap::new(), barred: HashMap::new() }
    }

    /// Counts a request of an endpoint that may be asked `most` times in two seconds. Whether it is answered, and how many there were
    /// in its window. One that is refused does not count.
    pub(crate) fn charge(&mut self, ip: IpAddr, endpoint: &'static str, most: usize, now_us: i64) -> (bool, usize) {
        if self.barred.get(&ip).is_some_and(|until| *until > now_us) {
            return (false, most);
        }
        if self.seen.len() > KNOWN_MAX {
            self.seen.clear();
        }
        let times = self.seen.entry((ip, endpoint)).or_default();
        while times.front().is_some_and(|at| now_us - at >= WINDOW_US) {
            times.pop_front();
        }
        if self.is_on && times.len() >= most {
            return (false, times.len());
        }
        // Without a limit nothing is counted that would have to be kept.
        if self.is_on {
            times.push_back(now_us);
        }
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
    fn each_endpoint_has_its_window_and_a_bar_stops_all() {
        let mut limiter = Limiter::new(true);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let mut charge = |endpoint, at| limiter.charge(ip, endpoint, 2, at).0;
        assert_eq!([charge("a", 0), charge("a", 1), charge("a", 2), charge("b", 2)], [true, true, false, true]);
        assert_eq!([charge("a", 1_999_999), charge("a", 2_000_000), charge("a", 2_000_000)], [false, true, false]);
        limiter.bar(ip, Duration::from_secs(1), 5_000_000);
        let after = [5_999_999, 6_000_000].map(|at| limiter.charge(ip, "c", 2, at).0);
        assert_eq!(after, [false, true]);
        let mut free = Limiter::new(false);
        assert!((0..1_000).all(|_| free.charge(ip, "a", 1, 0).0));
    }
}
