//! Who writes a ring: the holder of an open-file-description write lock on its segment.
//!
//! The kernel drops the lock with the last descriptor, whatever ends the process, and never gives it to a process that
//! happens to get the same pid; it is seen from other pid namespaces (containers); asking who holds it disturbs nobody.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

fn whole_file(kind: libc::c_int) -> libc::flock {
    #[allow(clippy::cast_possible_truncation)] // constants of the C headers: 0, 1, 2
    let l_type = kind as libc::c_short;
    #[allow(clippy::cast_possible_truncation)]
    let l_whence = libc::SEEK_SET as libc::c_short;
    libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 }
}

fn fcntl(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the commands used here (F_OFD_SETLK, F_OFD_GETLK)
    // read and write one `struct flock`, which `lock` points to.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the lock without waiting; `false` if somebody else has it. It lasts until `file` and its copies are closed.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, &mut whole_file(libc::F_WRLCK)) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock back, even if a child that is just being started still has a copy of the descriptor.
pub(crate) fn unlock(file: &File) {
    // It can't fail: the descriptor is open, and giving back needs nothing.
    let _ = fcntl(file, libc::F_OFD_SETLK, &mut whole_file(libc::F_UNLCK));
}

/// Whether somebody else holds the lock. Takes nothing, and works with read-only files.
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = whole_file(libc::F_RDLCK);
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}
