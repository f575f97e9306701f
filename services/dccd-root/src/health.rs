//! What is wrong with a service that answers: its own words first, then what its heartbeats show.

use std::time::Instant;

use crate::cell::{Cell, Command, Recycle, State};

/// Share of its memory limit at which a service is asked to shed what it can, in percent.
const SOFT_PER_CENT: u64 = 90;
/// Share to which it has to come down before that is over.
const RELIEVED_PER_CENT: u64 = 85;

impl Cell {
    /// Looks at its last heartbeat. A service over a limit for too long, or without progress, is replaced.
    pub(crate) fn complaint(&self, state: &mut State, now: Instant) -> Option<String> {
        let own = state.progress.degraded.clone();
        let memory = self.memory(state, now);
        let cpu = self.cpu(state);
        let progress = self.standstill(state, now);
        own.or(memory).or(cpu).or(progress)
    }

    fn memory(&self, state: &mut State, now: Instant) -> Option<String> {
        let limit = self.spec().limits.max_memory_bytes?;
        let rss = state.progress.rss_bytes;
        let share = |per_cent: u64| limit / 100 * per_cent;
        let was_near = std::mem::replace(&mut state.near_memory_limit, false);
        state.near_memory_limit = rss > share(SOFT_PER_CENT) || (was_near && rss > share(RELIEVED_PER_CENT));
        if rss > limit {
            let since = *state.over_memory_since.get_or_insert(now);
            if now.duration_since(since) >= self.supervision.get().memory_grace {
                self.recycle(Recycle::Memory, state);
            }
            return Some(format!("uses more memory than its {} MiB", limit >> 20));
        }
        state.over_memory_since = None;
        let (used, limit) = (rss >> 20, limit >> 20);
        state.near_memory_limit.then(|| format!("uses {used} of its {limit} MiB of memory; it was asked to shed some"))
    }

    fn cpu(&self, state: &State) -> Option<String> {
        let limit = self.spec().limits.max_cpu_pct?;
        state.cpu_pct.filter(|&used| used > f64::from(limit)).map(|_| format!("uses more than its {limit} % of a core"))
    }

    fn standstill(&self, state: &State, now: Instant) -> Option<String> {
        let still = now.duration_since(state.last_moved?);
        if self.supervision.get().hung_timeout.is_some_and(|timeout| still >= timeout) {
            self.recycle(Recycle::NoProgress, state);
        }
        let timeout = self.supervision.get().progress_timeout;
        (still >= timeout).then(|| format!("busy, but no progress for {} s", timeout.as_secs()))
    }

    fn recycle(&self, why: Recycle, state: &State) {
        // A full queue means that the supervisor has orders already; the next heartbeat asks again.
        let _ = self.commands.try_send(Command::Recycle(why, state.incarnation));
    }
}
