//! Who may come in, by where it comes from: connections are counted, and wrong tokens cost time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::RpcLimits;

/// Wrong tokens that cost nothing: typing errors.
const FREE_FAILURES: u32 = 3;
/// How long an address is shut out after the next one; it doubles.
const BLOCK_MIN: Duration = Duration::from_secs(1);
/// And at most.
const BLOCK_MAX: Duration = Duration::from_secs(30);
/// Failures are forgotten after this long without another.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Addresses of which failures are remembered; the oldest are forgotten.
const SOURCES_MAX: usize = 4_096;

/// Where somebody comes from: an address, of IPv6 the network of 64 bits that one host can have to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            other => other,
        })
    }
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct RpcCounters {
    /// Connections that are open and have shown the token.
    pub(crate) open: AtomicU64,
    /// Refused: a wrong token, or none.
    pub(crate) wrong_token: AtomicU64,
    /// Refused: too many wrong tokens from there before.
    pub(crate) throttled: AtomicU64,
    /// Refused: too many connections.
    pub(crate) busy: AtomicU64,
    /// Ended: too slow with the token, or nothing that makes sense.
    pub(crate) garbled: AtomicU64,
    /// Ended: too long a message, too many of them, too long a silence.
    pub(crate) over_limit: AtomicU64,
}

impl RpcCounters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were turned away, by why.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 5] {
        [
            ("wrong_token", &self.wrong_token),
            ("throttled", &self.throttled),
            ("busy", &self.busy),
            ("garbled", &self.garbled),
            ("over_limit", &self.over_limit),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }
}

#[derive(Debug, Default)]
struct Known {
    open: usize,
    failures: u32,
    last_failure: Option<Instant>,
    blocked_until: Option<Instant>,
}

impl Known {
    fn is_worth_knowing(&self, now: Instant) -> bool {
        self.open > 0 || self.last_failure.is_some_and(|last| now.duration_since(last) < FORGET_AFTER)
    }
}

/// The door.
#[derive(Debug)]
pub(super) struct Admission {
    limits: RpcLimits,
    counters: Arc<RpcCounters>,
    known: Mutex<HashMap<Source, Known>>,
}

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    admission: Arc<Admission>,
    source: Source,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.counters.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(known) = self.admission.known().get_mut(&self.source) {
            known.open = known.open.saturating_sub(1);
        }
    }
}

impl Admission {
    pub(super) fn new(limits: RpcLimits, counters: Arc<RpcCounters>) -> Self {
        Self { limits, counters, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Source, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long somebody from there is still shut out; `None`: it isn't.
    pub(super) fn blocked(&self, source: Source, now: Instant) -> Option<Duration> {
        let until = self.known().get(&source)?.blocked_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Somebody from there has shown a wrong token, for the so-manieth time.
    pub(super) fn failed(&self, source: Source, now: Instant) -> u32 {
        let mut table = self.known();
        if table.len() >= SOURCES_MAX && !table.contains_key(&source) {
            table.retain(|_, known| known.is_worth_knowing(now));
            let oldest = table.iter().filter(|(_, known)| known.open == 0).min_by_key(|(_, known)| known.last_failure);
            if let Some(oldest) = oldest.map(|(source, _)| *source).filter(|_| table.len() >= SOURCES_MAX) {
                table.remove(&oldest);
            }
        }
        let known = table.entry(source).or_default();
        if known.last_failure.is_some_and(|last| now.duration_since(last) >= FORGET_AFTER) {
            known.failures = 0;
        }
        known.failures = known.failures.saturating_add(1);
        known.last_failure = Some(now);
        if let Some(excess) = known.failures.checked_sub(FREE_FAILURES + 1) {
            let block = BLOCK_MIN.saturating_mul(1 << excess.min(16)).min(BLOCK_MAX);
            known.blocked_until = Some(now + block);
        }
        known.failures
    }

    /// A place for somebody who has shown the token, or in words why there is none.
    pub(super) fn seat(self: &Arc<Self>, source: Source, now: Instant) -> Result<Seat, String> {
        let mut table = self.known();
        let all: usize = table.values().map(|known| known.open).sum();
        if all >= self.limits.connections_max {
            let max = self.limits.connections_max;
            return Err(format!("all places are taken (daemon.rpc.limits.max_connections: {max}); try again later"));
        }
        let known = table.entry(source).or_default();
        if known.open >= self.limits.connections_per_address_max {
            let max = self.limits.connections_per_address_max;
            return Err(format!(
                "all places of this address are taken (daemon.rpc.limits.max_connections_per_address: {max}); close some"
            ));
        }
        known.open += 1;
        (known.failures, known.blocked_until, known.last_failure) = (0, None, None);
        table.retain(|_, known| known.is_worth_knowing(now));
        self.counters.open.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { admission: Arc::clone(self), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    fn admission(limits: RpcLimits) -> Arc<Admission> {
        Arc::new(Admission::new(limits, Arc::default()))
    }

    #[test]
    fn wrong_tokens_cost_more_and_more_and_only_where_they_come_from() {
        let door = admission(RpcLimits::default());
        let (bad, good) = (from("192.0.2.1"), from("192.0.2.2"));
        let mut now = Instant::now();
        for n in 1..=FREE_FAILURES {
            assert_eq!((door.failed(bad, now), door.blocked(bad, now)), (n, None));
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            door.failed(bad, now);
            assert_eq!(door.blocked(bad, now), Some(Duration::from_secs(seconds)));
            assert_eq!(door.blocked(good, now), None);
            now += Duration::from_secs(seconds);
            assert_eq!(door.blocked(bad, now), None);
        }
        // The right one makes good.
        drop(door.seat(bad, now).unwrap());
        assert_eq!((door.failed(bad, now), door.blocked(bad, now)), (1, None));
        assert_eq!(door.failed(bad, now + FORGET_AFTER), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let door = admission(RpcLimits::default());
        let begun = Instant::now();
        for n in 0..u32::try_from(SOURCES_MAX).unwrap() + 10 {
            door.failed(Source(IpAddr::V4(n.into())), begun + Duration::from_micros(n.into()));
        }
        assert_eq!(door.known().len(), SOURCES_MAX);
        assert!(!door.known().contains_key(&Source(IpAddr::V4(0.into()))), "the oldest goes first");
    }

    #[test]
    fn places_are_counted_in_all_and_by_address() {
        let door = admission(RpcLimits { connections_max: 3, connections_per_address_max: 2, ..RpcLimits::default() });
        let now = Instant::now();
        let (one, other) = (from("192.0.2.1"), from("::ffff:192.0.2.2"));
        let first = door.seat(one, now).unwrap();
        let _second = door.seat(one, now).unwrap();
        assert!(door.seat(one, now).unwrap_err().contains("max_connections_per_address"));
        let _third = door.seat(other, now).unwrap();
        assert!(door.seat(from("192.0.2.2"), now).unwrap_err().contains("limits.max_connections: 3"));
        drop(first);
        door.seat(one, now).unwrap();
        assert_eq!(door.counters.open.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_host_is_known_by_its_network() {
        assert_eq!(from("2001:db8:0:1::7"), from("2001:db8:0:1:ffff::9"));
        assert_ne!(from("2001:db8:0:1::7"), from("2001:db8:0:2::7"));
        assert_eq!(from("::ffff:192.0.2.2"), from("192.0.2.2"));
        assert_eq!(from("::1"), Source(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }
}
