//! Credits: what requests cost, how many there are, and how they come back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Credits that come back in a second, of each pool.
const REFILL: i64 = 10_000;
/// Addresses that are remembered at most.
const KNOWN_MAX: usize = 10_000;

/// A kind of request: what one costs, and how many credits there are at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::exchanges::deribit) enum Pool {
    /// Whatever has no pool of its own.
    Plain,
    Instruments,
    Subscribe,
}

impl Pool {
    /// The pool of a method.
    pub(in crate::exchanges::deribit) fn of(method: &str) -> Self {
        match method {
            "public/get_instruments" => Self::Instruments,
            "public/subscribe" | "private/subscribe" => Self::Subscribe,
            _ => Self::Plain,
        }
    }

    pub(in crate::exchanges::deribit) const fn cost(self) -> u16 {
        match self {
            Self::Plain => 500,
            Self::Instruments => 10_000,
            Self::Subscribe => 3_000,
        }
    }

    const fn most(self) -> i64 {
        match self {
            Self::Plain => 50_000,
            Self::Instruments => 500_000,
            Self::Subscribe => 30_000,
        }
    }
}

/// The credits of one address or connection.
#[derive(Debug, Default)]
pub(in crate::exchanges::deribit) struct Credits(HashMap<Pool, (i64, i64)>);

impl Credits {
    /// Pays for a request; whether there was enough.
    pub(in crate::exchanges::deribit) fn pay(&mut self, pool: Pool, now_us: i64) -> bool {
        let (left, at_us) = self.0.entry(pool).or_insert((pool.most(), now_us));
        let back = now_us.saturating_sub(*at_us).max(0).saturating_mul(REFILL) / 1_000_000;
        if back > 0 {
            (*left, *at_us) = (left.saturating_add(back).min(pool.most()), now_us);
        }
        let cost = i64::from(pool.cost());
        let is_enough = *left >= cost;
        if is_enough {
            *left -= cost;
        }
        is_enough
    }
}

/// The credits of all addresses.
#[derive(Debug)]
pub(in crate::exchanges::deribit) struct Limiter {
    is_on: bool,
    known: HashMap<IpAddr, Credits>,
    /// Until when an address is refused whatever it asks for.
    barred: HashMap<IpAddr, i64>,
}

impl Limiter {
    pub(in crate::exchanges::deribit) fn new(is_on: bool) -> Self {
        Self { is_on, known: HashMap::new(), barred: HashMap::new() }
    }

    /// Pays for a request; whether it is answered.
    pub(super) fn pay(&mut self, ip: IpAddr, pool: Pool, now_us: i64) -> bool {
        if self.barred.get(&ip).is_some_and(|until| *until > now_us) {
            return false;
        }
        if !self.is_on {
            return true;
        }
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        self.known.entry(ip).or_default().pay(pool, now_us)
    }

    /// Refuses an address for this long.
    pub(super) fn bar(&mut self, ip: IpAddr, time: Duration, now_us: i64) {
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
    fn credits_are_spent_by_pool_and_come_back() {
        let mut limiter = Limiter::new(true);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let paid = |limiter: &mut Limiter, pool, at| (0..1_000).take_while(|_| limiter.pay(ip, pool, at)).count();
        assert_eq!(paid(&mut limiter, Pool::Plain, 0), 100);
        assert_eq!(paid(&mut limiter, Pool::Instruments, 0), 50);
        assert_eq!(paid(&mut limiter, Pool::Plain, 1_000_000), 20);
        assert_eq!((paid(&mut limiter, Pool::Plain, 1_049_999), paid(&mut limiter, Pool::Plain, 1_100_100)), (0, 2));
        limiter.bar(ip, Duration::from_secs(1), 9_000_000);
        assert_eq!([9_999_999, 10_000_000].map(|at| limiter.pay(ip, Pool::Plain, at)), [false, true]);
        assert_eq!(paid(&mut Limiter::new(false), Pool::Subscribe, 0), 1_000);
    }
}
