//! Short talks with rclone about what is at a remote: a line of a file, what it lists, a few bytes to put there. As a copy, each has a
//! process group of its own, ends with us, and is stopped when it says nothing for too long.

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::Stdio;

use dccd_service::Shutdown;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt as _, BufReader};

use super::child::{Group, shown};
use super::lines::Lines;
use super::log::{self, Said};
use super::{DRAIN, Errors, Rclone, next};
use crate::claim::{Likeness, tops};
use crate::error::SyncError;
use crate::tree::StoreFile;

/// rclone's exit codes for a directory and for a file that aren't there.
const NOT_THERE: [i32; 2] = [3, 4];
/// How far two times of one file may be apart where the remote keeps whole seconds, or pairs of them; ns.
const COARSE: i64 = 2_000_000_000;
/// The same elsewhere; ns.
const FINE: i64 = 1_000_000;

/// A line of `lsjson`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    path: String,
    size: i64,
    mod_time: String,
}

impl Rclone {
    /// The first line of a file at a remote; `None` where there is no such file, or nothing in it.
    pub(crate) async fn first_line(&self, to: &str, path: &str, stop: &Shutdown) -> Result<Option<Vec<u8>>, SyncError> {
        let mut first = None;
        let heard = |line: &[u8]| {
            first.get_or_insert_with(|| line.to_vec());
        };
        self.talk(args("cat", &[], &below(to, path)), &[], stop, heard).await?;
        Ok(first)
    }

    /// Puts a small file there.
    pub(crate) async fn put(&self, to: &str, path: &str, content: &[u8], stop: &Shutdown) -> Result<(), SyncError> {
        let path = below(to, path);
        if self.talk(args("rcat", &[], &path), content, stop, |_| {}).await? {
            return Ok(());
        }
        Err(SyncError::StrangeRclone { asked: "rcat", said: "there is no such directory".to_owned() })
    }

    /// Compares files with those of the same names there.
    pub(crate) async fn compare(
        &self,
        to: &str,
        files: &HashMap<&str, &StoreFile>,
        stop: &Shutdown,
    ) -> Result<Likeness, SyncError> {
        let mut likeness = Likeness::default();
        for top in tops(files) {
            let heard = |line: &[u8]| {
                let line = line.trim_ascii();
                let line = line.strip_suffix(b",").unwrap_or(line);
                // The brackets around the list are lines, too.
                let Ok(listed) = serde_json::from_slice::<Listed>(line) else { return };
                if let Some(file) = files.get(format!("{top}/{}", listed.path).as_str()) {
                    likeness.note(&file.path, is_same(&listed, file));
                }
            };
            let options = ["--recursive", "--files-only", "--no-mimetype"];
            self.talk(args("lsjson", &options, &below(to, &top)), &[], stop, heard).await?;
        }
        Ok(likeness)
    }

    /// Runs it to its end, tells `heard` of each line of its output. Whether what it was asked for is there.
    ///
    /// Must be called on the process's main thread, as [`Rclone::copy`].
    async fn talk(
        &self,
        args: Vec<OsString>,
        input: &[u8],
        stop: &Shutdown,
        mut heard: impl FnMut(&[u8]),
    ) -> Result<bool, SyncError> {
        let mut command = self.leashed(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let no_rclone = |source| SyncError::NoRclone { program: self.program.clone(), source };
        let mut child = command.spawn().map_err(no_rclone)?;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut group = Group::of(child);
        if let Some(mut stdin) = stdin {
            // A few bytes, which a pipe holds. One that doesn't read them says why by its end.
            let _ = stdin.write_all(input).await;
        }
        let mut out = out.map(|out| Lines::new(BufReader::new(out)));
        let mut err = err.map(|err| Lines::new(BufReader::new(err)));
        let (mut errors, mut exited) = (Errors::default(), None);
        let (mut out_is_open, mut err_is_open) = (true, true);
        let mut patience = self.patience;
        while out_is_open || err_is_open {
            tokio::select! {
                line = next(&mut out), if out_is_open => match line {
                    Some(line) => heard(&line),
                    None => out_is_open = false,
                },
                line = next(&mut err), if err_is_open => match line.as_deref().map(log::read) {
                    Some(Said::Error { object, message }) => errors.note(object, &message),
                    Some(_) => {}
                    None => err_is_open = false,
                },
                status = group.exited(), if exited.is_none() => {
                    exited = Some(status);
                    patience = DRAIN.min(patience);
                }
                () = tokio::time::sleep(patience) => {
                    if exited.is_some() {
                        break;
                    }
                    group.end().await;
                    return Err(SyncError::Stalled { what: "rclone", after: patience });
                }
                _ = stop.wait() => {
                    group.end().await;
                    return Err(SyncError::Stopped);
                }
            }
        }
        let status = match exited {
            Some(status) => status,
            None => group.exited_soon().await?,
        };
        let status = status.map_err(no_rclone)?;
        match status.code() {
            Some(0) => Ok(true),
            Some(code) if NOT_THERE.contains(&code) => Ok(false),
            _ => Err(SyncError::Rclone { exit: shown(status), said: errors.said() }),
        }
    }
}

fn args(command: &str, options: &[&str], of: &str) -> Vec<OsString> {
    let common = [
        "--use-json-log",
        "--log-level=ERROR",
        "--retries=1",
        "--low-level-retries=3",
        "--contimeout=30s",
        "--timeout=2m",
        "--ask-password=false",
    ];
    let words = [command].into_iter().chain(options.iter().copied()).chain(common).chain(["--", of]);
    words.map(OsString::from).collect()
}

/// A path below what rclone calls so.
fn below(to: &str, path: &str) -> String {
    let slash = if to.ends_with([':', '/']) { "" } else { "/" };
    format!("{to}{slash}{path}")
}

/// Whether a file is there as it is here, as far as size and time tell.
fn is_same(listed: &Listed, file: &StoreFile) -> bool {
    let Ok(time) = listed.mod_time.parse::<Timestamp>() else { return false };
    let Ok(there) = i64::try_from(time.as_nanosecond()) else { return false };
    let window = if time.subsec_nanosecond() == 0 { COARSE } else { FINE };
    let apart = there.saturating_sub(file.identity.mtime_ns).saturating_abs();
    u64::try_from(listed.size) == Ok(file.identity.size) && apart < window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Identity;

    #[test]
    fn a_path_lies_below_every_kind_of_remote() {
        let paths = ["nas:", "nas:crypto", "nas:crypto/", "/mnt/x", ":sftp,host=h:"].map(|to| below(to, ".d/i"));
        assert_eq!(paths, ["nas:.d/i", "nas:crypto/.d/i", "nas:crypto/.d/i", "/mnt/x/.d/i", ":sftp,host=h:.d/i"]);
    }

    #[test]
    fn times_are_compared_as_precisely_as_the_remote_keeps_them() {
        let line =
            |time: &str, size: i64| format!(r#"{{"Path":"a","Name":"a","Size":{size},"ModTime":"{time}","IsDir":false}}"#);
        let identity = Identity { size: 7, mtime_ns: 1_767_225_600_900_000_000, inode: 1 };
        let file = StoreFile { path: "a".to_owned(), identity };
        for (time, size, same) in [
            ("2026-01-01T00:00:00.9Z", 7, true),
            ("2026-01-01T01:00:00.900000001+01:00", 7, true),
            ("2026-01-01T00:00:00Z", 7, true),
            ("2026-01-01T00:00:02Z", 7, true),
            ("2026-01-01T00:00:00.9Z", 8, false),
            ("2026-01-01T00:00:00.9Z", -1, false),
            ("2026-01-01T00:00:00.95Z", 7, false),
            ("2026-01-01T00:00:04Z", 7, false),
        ] {
            let listed: Listed = serde_json::from_str(&line(time, size)).unwrap();
            assert_eq!(is_same(&listed, &file), same, "{time} {size}");
        }
    }
}
