//! Limits that the kernel keeps: one cgroup (version 2) for each service that has any, below the root's own.
//!
//! Needs a part of the hierarchy that we may write, with the memory controller, and no other process in our group: systemd gives
//! one with `Delegate=yes`, best with `DelegateSubgroup=dccd-root`. The root moves itself into a leaf of that name, because the
//! kernel hands controllers on only from a group without processes. Without it limits are watched, not enforced.
//!
//! What survives the root: the groups, with the services in them. The next root finds them by their names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Limits;

/// The root's own leaf.
const ROOT_LEAF: &str = "dccd-root";
/// What a service's second group has after its name.
const SECOND: &str = ".next";
/// Share of a memory limit from which on the kernel slows the service down and takes its cache away.
const SOFT_PER_CENT: u64 = 90;
/// The period in which CPU time is allotted, microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The group below which each service gets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroups {
    base: PathBuf,
    has_cpu: bool,
}

/// Why the kernel can't keep limits for us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// Linux told nothing, or has no version 2.
    #[error("this process is in no cgroup of version 2")]
    None,
    /// E.g. because version 1 has it.
    #[error("{} has no memory controller (it has: {has})", base.display())]
    NoMemory { base: PathBuf, has: String },
    /// We have to be alone in it.
    #[error("{} holds other processes, e.g. {other}; under systemd, Delegate=yes gives a group of our own", base.display())]
    Shared { base: PathBuf, other: u32 },
    /// It would be in the way of the service manager.
    #[error("{} is the unit's own group; systemd 254 and later give a group below it by DelegateSubgroup=dccd-root", base.display())]
    NoSubgroup { base: PathBuf },
    /// Most often: it is not ours.
    #[error("{} cannot be written; under systemd, Delegate=yes gives a group of our own", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Cgroups {
    /// Makes ready to limit services, below the group in which this process is.
    pub(crate) fn find() -> Result<Self, CgroupError> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let own = own_group(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo")).ok_or(CgroupError::None)?;
        let is_leaf = own.file_name().is_some_and(|name| name == ROOT_LEAF);
        if !is_leaf && std::env::var_os("INVOCATION_ID").is_some() {
            // A service manager that knows no subgroups could not start the next root in a group that hands controllers on.
            return Err(CgroupError::NoSubgroup { base: own });
        }
        Self::below(&own, std::process::id())
    }

    /// The same, for a process `pid` that is in the group `own`.
    fn below(own: &Path, pid: u32) -> Result<Self, CgroupError> {
        let is_leaf = own.file_name().is_some_and(|name| name == ROOT_LEAF);
        let base = own.parent().filter(|_| is_leaf).unwrap_or(own).to_owned();
        let has = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        let has_controller = |name: &str| has.split_whitespace().any(|controller| controller == name);
        if !has_controller("memory") {
            return Err(CgroupError::NoMemory { base, has: has.trim().to_owned() });
        }
        let left = fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
        if let Some(other) = left.lines().filter_map(|line| line.parse().ok()).find(|&other| other != pid) {
            return Err(CgroupError::Shared { base, other });
        }
        if !is_leaf {
            let leaf = base.join(ROOT_LEAF);
            make(&leaf)?;
            write(&leaf.join("cgroup.procs"), &pid.to_string())?;
        }
        write(&base.join("cgroup.subtree_control"), "+memory")?;
        let has_cpu = has_controller("cpu") && write(&base.join("cgroup.subtree_control"), "+cpu").is_ok();
        Ok(Self { base, has_cpu })
    }

    /// For the log.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Whether CPU time is limited, too.
    pub(crate) fn has_cpu(&self) -> bool {
        self.has_cpu
    }

    /// Whether the service has a group.
    pub(crate) fn has(&self, service: &str) -> bool {
        [service.to_owned(), format!("{service}{SECOND}")].iter().any(|name| self.base.join(name).is_dir())
    }

    /// Puts a service's process, which has not begun to work, into a group with these limits; an adopted one stays in its own.
    pub(crate) fn confine(&self, service: &str, pid: u32, limits: Limits) -> Result<Group, CgroupError> {
        let group = self.group_for(service, pid);
        make(&group.path)?;
        let no_limit = || "max".to_owned();
        let memory =
            |per_cent: u64| limits.max_memory_bytes.map_or_else(no_limit, |bytes| (bytes / 100 * per_cent).to_string());
        write(&group.path.join("memory.high"), &memory(SOFT_PER_CENT))?;
        write(&group.path.join("memory.max"), &memory(100))?;
        // Else what is over the limit is swapped, without end. Kernels without swap have no such file.
        let swap = if limits.max_memory_bytes.is_some() { "0".to_owned() } else { no_limit() };
        let _ = write(&group.path.join("memory.swap.max"), &swap);
        if self.has_cpu {
            let share = |per_cent: u32| (u64::from(per_cent) * CPU_PERIOD_US / 100).to_string();
            let quota = limits.max_cpu_pct.map_or_else(no_limit, share);
            write(&group.path.join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"))?;
        }
        if !group.holds(pid) {
            write(&group.path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(group)
    }

    /// The group that the process is in already, or one that no process is in: where a service is handed over two of its processes run
    /// side by side, and the end of the one must not be that of the other.
    fn group_for(&self, service: &str, pid: u32) -> Group {
        let groups = || [service.to_owned(), format!("{service}{SECOND}")].map(|name| Group { path: self.base.join(name) });
        let own = groups().into_iter().find(|group| group.holds(pid));
        let free = || groups().into_iter().find(|group| group.procs().trim().is_empty());
        own.or_else(free).unwrap_or_else(|| Group { path: self.base.join(service) })
    }
}

/// The group of one service.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// The processes in it, one on each line.
    fn procs(&self) -> String {
        fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default()
    }

    fn holds(&self, pid: u32) -> bool {
        self.procs().lines().any(|line| line.parse() == Ok(pid))
    }

    /// How many processes of it the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        counted(&fs::read_to_string(self.path.join("memory.events")).unwrap_or_default(), "oom_kill").unwrap_or(0)
    }

    /// Kills what is left in it and removes it.
    pub(crate) fn remove(&self) {
        // Older kernels have no such file, and a service of ours is alone in it.
        let _ = write(&self.path.join("cgroup.kill"), "1");
        if let Err(error) = fs::remove_dir(&self.path) {
            // It is used again by the service's next process.
            tracing::debug!(group = %self.path.display(), error = &error as &dyn std::error::Error, "a cgroup stays");
        }
    }
}

/// How many processes of this host the kernel has killed for want of memory; `None` where it doesn't tell.
pub(crate) fn host_oom_kills() -> Option<u64> {
    counted(&fs::read_to_string("/proc/vmstat").ok()?, "oom_kill")
}

/// A number by its name, one on each line.
fn counted(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value)
}

/// The directory of the group of version 2 that a process is in, by what the kernel says of it.
fn own_group(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mountinfo.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let fields: Vec<&str> = head.split(' ').collect();
        // Its root within the hierarchy, and where that is mounted.
        tail.starts_with("cgroup2 ").then(|| Some((*fields.get(3)?, *fields.get(4)?)))?
    })?;
    let below = Path::new(path).strip_prefix(mount.0).ok()?;
    // Without a part that is empty.
    Some(Path::new(mount.1).components().chain(below.components()).collect())
}

fn make(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(CgroupError::Write { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(|source| CgroupError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "tests say what they skip")]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let mounts = "31 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      42 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        let own = own_group("9:name=systemd:/\n0::/user.slice/dccd.service\n", mounts);
        assert_eq!(own.unwrap(), Path::new("/sys/fs/cgroup/user.slice/dccd.service"));
        let container = "42 23 0:27 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw";
        assert_eq!(own_group("0::/docker/1/x", container).unwrap(), Path::new("/sys/fs/cgroup/x"));
        assert_eq!(own_group("0::/elsewhere", container), None);
        assert_eq!(own_group("4:memory:/a\n", mounts), None);
    }

    /// A directory that looks like a group to us; the kernel's part is not in it.
    fn like_a_group(controllers: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("dccd.service");
        fs::create_dir(&base).unwrap();
        fs::write(base.join("cgroup.controllers"), controllers).unwrap();
        fs::write(base.join("cgroup.procs"), "").unwrap();
        (dir, base)
    }

    #[test]
    fn limits_are_written_and_the_root_moves_into_a_leaf() {
        let (_dir, base) = like_a_group("cpuset cpu memory\n");
        let groups = Cgroups::below(&base, 77).unwrap();
        let read = |path: &str| fs::read_to_string(base.join(path)).unwrap();
        assert_eq!(read("dccd-root/cgroup.procs"), "77");
        let limits = Limits { max_memory_bytes: Some(1_000), max_cpu_pct: Some(150) };
        let group = groups.confine("datad.x", 78, limits).unwrap();
        assert_eq!((read("datad.x/memory.high"), read("datad.x/memory.max")), ("900".to_owned(), "1000".to_owned()));
        assert_eq!(read("datad.x/memory.swap.max"), "0", "what is over the limit is not to be swapped");
        assert_eq!((read("datad.x/cpu.max"), read("datad.x/cgroup.procs")), ("150000 100000".to_owned(), "78".to_owned()));
        fs::write(base.join("datad.x/memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(group.oom_kills(), 2);
        // A successor, and the process after that, when the first one is gone; each stays where it is.
        groups.confine("datad.x", 79, limits).unwrap();
        assert_eq!((read("datad.x/cgroup.procs"), read("datad.x.next/cgroup.procs")), ("78".to_owned(), "79".to_owned()));
        fs::write(base.join("datad.x/cgroup.procs"), "").unwrap();
        groups.confine("datad.x", 80, limits).unwrap();
        groups.confine("datad.x", 79, limits).unwrap();
        assert_eq!((read("datad.x/cgroup.procs"), read("datad.x.next/cgroup.procs")), ("80".to_owned(), "79".to_owned()));
        // The next root, which systemd or an earlier one has put into the leaf.
        let again = Cgroups::below(&base.join("dccd-root"), 77).unwrap();
        assert_eq!(again, groups);
        groups.confine("datad.x", 80, Limits::default()).unwrap();
        assert_eq!((read("datad.x/memory.max"), read("datad.x/cpu.max")), ("max".to_owned(), "max 100000".to_owned()));
        assert_eq!(read("datad.x/memory.swap.max"), "max");
    }

    #[test]
    fn where_it_cannot_be_had_it_is_said_why() {
        let (_dir, base) = like_a_group("hugetlb\n");
        let why = Cgroups::below(&base, 77).unwrap_err().to_string();
        assert!(why.ends_with("dccd.service has no memory controller (it has: hugetlb)"), "{why}");
        let (_dir, base) = like_a_group("memory\n");
        fs::write(base.join("cgroup.procs"), "77\n5\n").unwrap();
        let why = Cgroups::below(&base, 77).unwrap_err().to_string();
        assert!(why.contains("holds other processes, e.g. 5; under systemd, Delegate=yes"), "{why}");
        let why = Cgroups::below(Path::new("/proc/self"), 77).unwrap_err();
        assert!(matches!(why, CgroupError::NoMemory { .. }), "{why}");
    }

    #[test]
    fn the_kernel_keeps_a_limit() {
        let groups = match Cgroups::find() {
            Ok(groups) => groups,
            Err(error) => return println!("skipped: the_kernel_keeps_a_limit: {error}"),
        };
        let eats = "import sys\nsys.stdin.readline()\nb=bytearray(256<<20)\nsys.stdin.readline()";
        let mut command = std::process::Command::new("python3");
        let child = command.args(["-c", eats]).stdin(std::process::Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return println!("skipped: the_kernel_keeps_a_limit: no python3 ({error})"),
        };
        let limits = Limits { max_memory_bytes: Some(64 << 20), max_cpu_pct: None };
        let group = groups.confine("the_kernel_keeps_a_limit", child.id(), limits).unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert_eq!(group.oom_kills(), 1);
        group.remove();
        assert!(!group.path.exists());
    }

    #[test]
    fn the_kernels_numbers_are_read_by_name() {
        assert_eq!(counted("oom_kill_x 1\noom_kill 5\n", "oom_kill"), Some(5));
        assert_eq!(counted("oom 1\n", "oom_kill"), None);
    }
}
