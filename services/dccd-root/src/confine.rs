//! What a service's process may use at most: kept by the kernel where it can be, and what is to be learnt from that when it was killed.

use std::sync::OnceLock;

use dccd_service::chain;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::cgroup::{Cgroups, Group, host_oom_kills};
use crate::process::Exit;
use crate::{Limits, ServiceSpec};

/// Private memory that a process may map beyond twice its limit where nothing else keeps it: stacks of threads, above all.
const DATA_MARGIN_BYTES: u64 = 256 << 20;

/// How limits are kept here; found out when the first is needed.
#[derive(Debug, Default)]
pub(crate) struct Limiter(OnceLock<Option<Cgroups>>);

impl Limiter {
    fn groups(&self) -> Option<&Cgroups> {
        let find = || match Cgroups::find() {
            Ok(groups) => {
                let (group, cpu) = (groups.base().display(), groups.has_cpu());
                tracing::info!(%group, cpu, "limits are kept by the kernel");
                Some(groups)
            }
            Err(error) => {
                let why = chain(&error);
                tracing::info!(
                    why,
                    "no cgroups to be had: memory limits are watched and services restarted, processor limits are watched only"
                );
                None
            }
        };
        self.0.get_or_init(find).as_ref()
    }

    /// Makes ready for limits. Before anything is started: the group has to be the root's alone.
    pub(crate) fn prepare(&self) {
        let _ = self.groups();
    }

    /// Limits a process, and remembers what tells later whether the kernel killed it.
    pub(crate) fn confine(&self, spec: &ServiceSpec, pid: Pid) -> Confined {
        let limits = spec.limits;
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        let group = self.groups_for(spec).and_then(|groups| {
            let group = groups.confine(&spec.name, number, limits);
            group
                .inspect_err(|error| {
                    tracing::warn!(
                        service = spec.name,
                        pid = number,
                        why = chain(error),
                        "cannot limit a service by a cgroup; it is watched"
                    )
                })
                .ok()
        });
        if group.is_none() {
            // As for us: one that was lowered could not be raised again by the next root.
            let maximum = getrlimit(Resource::Data).maximum;
            // Against a leap between two heartbeats; memory that is mapped but not used counts as well.
            let wanted = limits.max_memory_bytes.map(|bytes| bytes.saturating_mul(2).saturating_add(DATA_MARGIN_BYTES));
            // Without a limit, what an earlier one has left is lifted.
            let current = wanted.map_or(maximum, |wanted| Some(maximum.map_or(wanted, |most| most.min(wanted))));
            let limit = Rlimit { current, maximum };
            if let Err(error) = prlimit(Some(pid), Resource::Data, limit) {
                tracing::debug!(
                    service = spec.name,
                    pid = number,
                    error = &error as &dyn std::error::Error,
                    "no resource limit"
                );
            }
        }
        Confined { group_kills: group.as_ref().map_or(0, Group::oom_kills), host_kills: host_oom_kills(), limits, group }
    }

    fn groups_for(&self, spec: &ServiceSpec) -> Option<&Cgroups> {
        if spec.limits != Limits::default() {
            return self.groups();
        }
        // One that was limited before is in a group, which then limits nothing.
        self.0.get().and_then(Option::as_ref).filter(|groups| groups.has(&spec.name))
    }
}

/// A process with its limits.
#[derive(Debug)]
pub(crate) struct Confined {
    limits: Limits,
    group: Option<Group>,
    /// How many the kernel had killed in its group, and on this host, when it began.
    group_kills: u64,
    host_kills: Option<u64>,
}

/// What the kernel has done since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kills {
    limits: Limits,
    in_group: Option<u64>,
    on_host: Option<u64>,
}

impl Confined {
    /// What it is limited to.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Looks at the end of the process, and removes what is left of its group.
    pub(crate) fn finish(self) -> Kills {
        let in_group = self.group.as_ref().map(|group| group.oom_kills().saturating_sub(self.group_kills));
        if let Some(group) = &self.group {
            group.remove();
        }
        let on_host = host_oom_kills().zip(self.host_kills).map(|(now, then)| now.saturating_sub(then));
        Kills { limits: self.limits, in_group, on_host }
    }
}

impl Kills {
    /// Whether the kernel killed a process that ended so for want of memory, and what is known of it in words. `rss_bytes`: of its
    /// last heartbeat; 0: unknown.
    pub(crate) fn explained(self, status: Exit, rss_bytes: u64) -> (bool, Option<String>) {
        if !(status.is_sigkill() || status == Exit::Unknown) {
            return (false, None);
        }
        if self.in_group.is_some_and(|kills| kills > 0) {
            let limit = self.limits.max_memory_bytes.unwrap_or_default() >> 20;
            return (true, Some(format!("the kernel killed it at its memory limit of {limit} MiB")));
        }
        if status == Exit::Unknown {
            return (false, None);
        }
        let resident = match rss_bytes {
            0 => "its memory is not known".to_owned(),
            bytes => format!("it used {} MiB at its last heartbeat", bytes >> 20),
        };
        let kernel = match self.on_host {
            None => "whether the kernel did it for want of memory cannot be told here".to_owned(),
            Some(0) => "the kernel killed nothing on this host for want of memory since it began".to_owned(),
            Some(n) => {
                format!("the kernel killed {n} processes of this host for want of memory since it began, maybe this one")
            }
        };
        (false, Some(format!("not killed by dccd; {resident}; {kernel}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn an_outright_kill_is_explained_as_far_as_it_can_be() {
        let limits = Limits { max_memory_bytes: Some(64 << 20), max_cpu_pct: None };
        let kills = |in_group, on_host| Kills { limits, in_group, on_host };
        let killed = Exit::Status(ExitStatus::from_raw(9));
        let words = |kills: Kills, status| kills.explained(status, 50 << 20);
        let (is_oom, why) = words(kills(Some(1), Some(1)), killed);
        assert_eq!((is_oom, why.as_deref()), (true, Some("the kernel killed it at its memory limit of 64 MiB")));
        assert!(words(kills(Some(1), None), Exit::Unknown).0, "one that we are told nothing of otherwise");
        let host = "not killed by dccd; it used 50 MiB at its last heartbeat; the kernel killed";
        let (is_oom, why) = words(kills(Some(0), Some(0)), killed);
        assert_eq!(
            (is_oom, why.unwrap()),
            (false, format!("{host} nothing on this host for want of memory since it began"))
        );
        let (is_oom, why) = words(kills(None, Some(2)), killed);
        let two = "2 processes of this host for want of memory since it began, maybe this one";
        assert_eq!((is_oom, why.unwrap()), (false, format!("{host} {two}")));
        assert!(words(kills(None, None), killed).1.unwrap().ends_with("cannot be told here"));
        assert_eq!(words(kills(None, Some(2)), Exit::Status(ExitStatus::from_raw(11))), (false, None));
    }

    #[test]
    fn without_a_group_private_memory_is_bounded_and_no_more_than_that() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let spec = ServiceSpec {
            name: "x".to_owned(),
            args: Vec::new(),
            policy: crate::Policy::Permanent,
            hands_over: false,
            eager: true,
            limits: Limits { max_memory_bytes: Some(64 << 20), max_cpu_pct: None },
            fingerprint: String::new(),
            fixed: String::new(),
            protocol: None,
        };
        // What was found out: none.
        let limiter = Limiter(OnceLock::from(None));
        let pid = Pid::from_child(&child);
        let kills = limiter.confine(&spec, pid).finish();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some("402653184"), "{line}");
        assert_eq!(kills.in_group, None);
    }
}
