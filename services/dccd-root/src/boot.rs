//! Before anything runs: the locks, and clearing away what dead processes left behind.

use std::any::Any;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use dccd_registry::RuntimeDir;
use dccd_service::{PidLock, PidLockError, log};

use crate::{BootGuard, Options, RootError, state_file};

/// What the root holds while it runs. Fields drop in this order: the instance's lock last.
pub(crate) struct Held {
    _guards: Vec<Box<dyn Any + Send>>,
    _lock: PidLock,
}

/// Takes the locks, makes the directories and sweeps.
pub(crate) fn boot(options: &mut Options) -> Result<Held, RootError> {
    options.runtime_dir.create()?;
    let lock = PidLock::acquire(&options.runtime_dir.root_lock()).map_err(|error| match error {
        PidLockError::Held { pid, .. } => RootError::AlreadyRunning { pid },
        other @ PidLockError::Io { .. } => RootError::Lock(other),
    })?;
    let guards = std::mem::take(&mut options.boot_guards)
        .into_iter()
        .map(|BootGuard { what, acquire }| acquire().map_err(|source| RootError::Guard { what, source }))
        .collect::<Result<_, _>>()?;
    for path in [log::directory(&options.data_path), state_file::directory(&options.data_path)] {
        fs::create_dir_all(&path).map_err(|source| RootError::Directory { path, source })?;
    }
    sweep_sockets(&options.runtime_dir);
    if let Some(sweep) = &options.sweep {
        sweep();
    }
    Ok(Held { _guards: guards, _lock: lock })
}

/// Removes sockets that nobody listens on any more. One that answers belongs to a process of an earlier root that is
/// still flushing; its supervisor deals with it.
fn sweep_sockets(runtime_dir: &RuntimeDir) {
    let entries = match fs::read_dir(runtime_dir) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for stale sockets");
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if is_socket && nobody_listens(&path) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(socket = %path.display(), "removed a stale socket"),
                Err(error) => {
                    tracing::warn!(socket = %path.display(), error = &error as &dyn std::error::Error, "cannot remove a stale socket");
                }
            }
        }
    }
}

fn nobody_listens(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
