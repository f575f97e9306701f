//! How many requests an address may make: so many a second, some more at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Requests at once.
const BURST: i64 = 15;
/// Between two that come one by one: ten a second.
const EACH_US: i64 = 100_000;
/// Addresses that are remembered at most.
const KNOWN_MAX: usize = 10_000;

/// Counts requests.
pub(crate) struct Limiter {
    is_on: bool,
    /// When an address will have all of its burst again.
    full_us: HashMap<IpAddr, i64>,
    /// Until when an address is refused whatever it asks for.
    barred: HashMap<IpAddr, i64>,
}

impl Limiter {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, full_us: HashMap::new(), barred: HashMap::new() }
    }

    /// Counts a request. Whether it is answered, and how much of its burst the address has used. One that is refused does not count.
    pub(crate) fn charge(&mut self, ip: IpAddr, now_us: i64) -> (bool, i64) {
        if self.barred.get(&ip).is_some_and(|until| *until > now_us) {
            return (false, BURST);
        }
        if !self.is_on {
            return (true, 0);
        }
        if self.full_us.len() > KNOWN_MAX {
            self.full_us.clear();
        }
        let full_us = self.full_us.entry(ip).or_insert(now_us);
        let next_us = (*full_us).max(now_us) + EACH_US;
        let used = |until_us: i64| (until_us - now_us + EACH_US - 1) / EACH_US;
        if next_us - now_us > BURST * EACH_US {
            return (false, used(*full_us));
        }
        *full_us = next_us;
        (true, used(next_us))
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
    fn fifteen_pass_at_once_then_ten_a_second_and_a_bar_stops_all() {
        let mut limiter = Limiter::new(true);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let passed = (0..20).filter(|_| limiter.charge(ip, 0).0).count();
        assert_eq!((passed, limiter.charge(ip, 0)), (15, (false, 15)));
        let second = (1..=1_000).filter(|ms| limiter.charge(ip, ms * 1_000).0).count();
        assert_eq!(second, 10);
        // After a while of silence the burst is whole again.
        let passed = (0..20).filter(|_| limiter.charge(ip, 9_000_000).0).count();
        assert_eq!(passed, 15);
        limiter.bar(ip, Duration::from_secs(1), 20_000_000);
        assert_eq!([20_999_999, 21_000_000].map(|at| limiter.charge(ip, at).0), [false, true]);
        let mut free = Limiter::new(false);
        assert!((0..1_000).all(|_| free.charge(ip, 0).0));
    }
}
