//! `daemon.pid_file`: the root's pid, from when it holds its locks to its end.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use dccd_service::process;
use rustix::fs::OFlags;

/// The file that holds the root's pid while it runs; removed when dropped.
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Replaces what a dead process left, and nothing else: neither a symbolic link, nor a file with anything in it but a
    /// number, nor the file of a process that runs.
    ///
    /// # Errors
    /// When there is such a thing in its place, or it can't be written.
    pub fn write(path: PathBuf) -> anyhow::Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        let own = std::process::id();
        Self::look(&path)?;
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{own}.tmp"));
        let temporary = PathBuf::from(temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary).with_context(failed)?;
        let written = writeln!(file, "{own}").and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary); // the error says more
        }
        written.with_context(failed)?;
        Ok(Self { path })
    }
}

impl PidFile {
    /// Whether a pid file may be written there; writes nothing.
    ///
    /// # Errors
    /// As [`Self::write`], for what is in its place.
    pub fn look(path: &Path) -> anyhow::Result<()> {
        match found(path)? {
            Some((pid, written)) if pid != std::process::id() && is_of_a_process(pid, written) => Err(anyhow!(
                "{} names process {pid}, which runs; stop that, or name another file in daemon.pid_file",
                path.display()
            )),
            _ => Ok(()),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // One that was replaced meanwhile is another's. One that stays is what a crash leaves.
        if matches!(found(&self.path), Ok(Some((pid, _))) if pid == std::process::id()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The pid in a pid file, and when it was written; `None` where there is no file, or an empty one.
fn found(path: &Path) -> anyhow::Result<Option<(u32, SystemTime)>> {
    let failed = || format!("cannot write {}", path.display());
    // A pipe of that name would wait for its writer.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits())?;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(failed)?,
    };
    let meta = file.metadata().with_context(failed)?;
    let mut text = String::new();
    // A pid has ten digits at most; what is no text is no number either.
    let read = (&mut file).take(32).read_to_string(&mut text);
    let pid = text.trim().parse();
    match pid {
        _ if read.is_ok() && meta.is_file() && text.is_empty() => Ok(None),
        Ok(pid) if read.is_ok() && meta.is_file() => Ok(Some((pid, meta.modified().with_context(failed)?))),
        _ => Err(anyhow!("{} is no pid file; name another one in daemon.pid_file, or remove it", path.display())),
    }
}

/// Whether the process that had this pid when the file was written still runs. One that began later has the number by chance.
fn is_of_a_process(pid: u32, written: SystemTime) -> bool {
    let Some(start) = process::start_ticks(pid) else { return false };
    let file_age = SystemTime::now().duration_since(written).unwrap_or_default();
    process::age(start) >= file_age
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn refused(path: &Path) -> String {
        PidFile::write(path.to_owned()).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn it_is_there_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dccd.pid");
        let own = format!("{}\n", std::process::id());
        let held = PidFile::write(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own);
        // The same process again, as a root that was replaced does.
        let again = PidFile::write(path.clone()).unwrap();
        drop(again);
        drop(held);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        let held = PidFile::write(path.clone()).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(held);
        assert!(path.exists(), "another's file stays");
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dccd.pid");
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        fs::write(&path, format!("{pid}\n")).unwrap();
        assert!(refused(&path).contains(&format!("names process {pid}, which runs")), "{}", refused(&path));
        // The same number, but the process is younger than the file: the one that wrote it is gone.
        let old = SystemTime::now() - Duration::from_secs(86_400);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        drop(PidFile::write(path.clone()).unwrap());
        fs::write(&path, format!("{pid}\n")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(PidFile::write(path.clone()).unwrap());

        for text in ["notes\n", "12 monkeys", "-1"] {
            fs::write(&path, text).unwrap();
            assert!(refused(&path).contains("is no pid file"), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(refused(&path).contains("cannot write"), "{}", refused(&path));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refused(&path).contains("is no pid file"), "{}", refused(&path));
        assert!(refused(&dir.path().join("no/x.pid")).contains("cannot write"));
    }
}
