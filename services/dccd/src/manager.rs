//! The service manager that has started a root, and starts it again when it is killed.

use std::fmt;
use std::fs;

/// Of whom a root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// What it calls the root, where that is known.
    unit: Option<Unit>,
}

/// A unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    name: String,
    /// Of the user's own manager, not of the host's.
    is_users: bool,
}

impl Manager {
    /// That of a process; `None` where nobody looks after it, or the process is another user's. A root that was detached in the end
    /// (`start --detach`) has none, wherever that was typed.
    pub fn of(pid: impl fmt::Display) -> Option<Self> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let exec_pid = format!("SYSTEMD_EXEC_PID={pid}");
        // The latter is in the environment of all that a unit starts, but names the unit's own process.
        let is_sign = |variable: &[u8]| {
            variable.strip_prefix(b"NOTIFY_SOCKET=").is_some_and(|at| !at.is_empty()) || variable == exec_pid.as_bytes()
        };
        let groups = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(is_sign).then(|| Self { unit: unit_of(&groups()) })
    }

    /// What ends the root for good, as the middle of a sentence.
    pub fn stop(&self) -> String {
        match &self.unit {
            Some(Unit { name, is_users }) => {
                let systemctl = if *is_users { "systemctl --user" } else { "sudo systemctl" };
                let name = if name.contains('\\') { format!("'{name}'") } else { name.clone() };
                format!("`{systemctl} stop {name}` ends it")
            }
            None => "stop it there".to_owned(),
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unit {
            Some(unit) => write!(f, "systemd ({})", unit.name),
            None => f.write_str("a service manager"),
        }
    }
}

/// The unit by the control groups that a process is in, as `/proc/PID/cgroup` has them: the innermost.
fn unit_of(groups: &str) -> Option<Unit> {
    let of_systemd = |line: &str| {
        let (_, named) = line.split_once(':')?;
        let (controllers, path) = named.split_once(':')?;
        matches!(controllers, "" | "name=systemd").then(|| path.to_owned())
    };
    groups.lines().filter_map(of_systemd).find_map(|path| {
        let name = path.rsplit('/').find(|name| name.ends_with(".service"))?;
        let is_manager = |name: &str| name.starts_with("user@");
        let is_users = path.split('/').any(is_manager);
        (!is_manager(name)).then(|| Unit { name: name.to_owned(), is_users })
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_unit_is_known_by_its_control_group() {
        for (groups, stop) in [
            (
                "0::/system.slice/system-dccd.slice/dccd@prod.service/dccd-root\n",
                "`sudo systemctl stop dccd@prod.service` ends it",
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-dccd.slice/dccd@a.service\n",
                "`systemctl --user stop dccd@a.service` ends it",
            ),
            (
                "4:memory:/x.service\n1:name=systemd:/system.slice/my\\x2ddccd.service\n0::/\n",
                "`sudo systemctl stop 'my\\x2ddccd.service'` ends it",
            ),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope\n", "stop it there"),
            ("0::/docker/1\n", "stop it there"),
            ("", "stop it there"),
        ] {
            assert_eq!(Manager { unit: unit_of(groups) }.stop(), stop, "{groups}");
        }
    }

    #[test]
    fn who_looks_after_a_process_is_in_its_environment() {
        let of = |variables: &[(&str, &str)], own: bool| {
            let mut sh = Command::new("sh");
            // The shell becomes `cat`, with its own number in the variable.
            sh.args(["-c", if own { "export SYSTEMD_EXEC_PID=$$; echo; exec cat" } else { "echo; exec cat" }]);
            sh.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
            let mut child = sh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let pid = child.id();
            let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            dccd_testkit::wait_for(Duration::from_secs(30), name, |name| name == "cat\n");
            let manager = Manager::of(pid);
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
            manager.is_some()
        };
        assert!(!of(&[], false));
        assert!(!of(&[("NOTIFY_SOCKET", ""), ("SYSTEMD_EXEC_PID", "1"), ("INVOCATION_ID", "a")], false));
        assert!(of(&[("NOTIFY_SOCKET", "@a")], false));
        assert!(of(&[], true));
        assert_eq!(Manager::of(u32::MAX), None);
    }
}
