//! A program that dies with us, whatever kills us: the kernel is told so by the process that becomes that program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The name by which the executable is called to play this role; its arguments are our pid, the program, and its arguments.
pub const LEASH: &str = "dccd-leash";

/// Becomes the program; returns only where that failed.
pub fn leash(args: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut args = args.into_iter();
    let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "started by syncd alone: the pid of a parent and a program");
    };
    // Kept over the exec. Killed outright: a program that hangs would not hear anything else.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if getppid() != Some(parent) {
        // It died before the kernel knew.
        return io::Error::other("the process that started this one is gone");
    }
    Command::new(program).args(args).exec()
}
