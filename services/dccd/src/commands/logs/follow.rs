//! What is appended to the logs from now on, through rotations, and of services that come later.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dccd_service::Shutdown;

use super::entry::{Entry, Grouper};
use super::{Logs, Printer};
use crate::commands::tail;
use crate::exit::Failure;

/// How often the logs are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often new ones are looked for, in such looks.
const LOOKS_FOR_NEW: u32 = 5;

/// One followed log.
pub struct Follower {
    pub service: String,
    pub path: PathBuf,
    pub open: Option<File>,
    grouper: Grouper,
    /// A line whose end has not come yet.
    partial: Vec<u8>,
}

impl Follower {
    /// From where reading ended; `None`: the file is not there yet.
    pub fn new(service: String, path: PathBuf, read: Option<(File, u64)>) -> std::io::Result<Self> {
        let mut open = None;
        if let Some((mut file, end)) = read {
            file.seek(SeekFrom::Start(end))?;
            open = Some(file);
        }
        Ok(Self { service, path, open, grouper: Grouper::default(), partial: Vec::new() })
    }

    /// What was appended since.
    fn news(&mut self) -> anyhow::Result<Vec<Entry>> {
        let failed = || format!("cannot read {}", self.path.display());
        let mut entries = Vec::new();
        loop {
            let is_another = is_another(self.open.as_ref(), &self.path);
            let mut chunk = Vec::new();
            if let Some(file) = &mut self.open {
                file.read_to_end(&mut chunk).with_context(failed)?;
            }
            self.partial.append(&mut chunk);
            let end = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let rest = self.partial.split_off(end);
            for line in self.partial.split_inclusive(|byte| *byte == b'\n') {
                entries.extend(self.grouper.push(line));
            }
            self.partial = rest;
            if !is_another {
                break;
            }
            // Put aside, or there at last: the new file from its beginning; the old one has been read to its end.
            self.open = Some(File::open(&self.path).with_context(failed)?);
        }
        entries.extend(self.grouper.take());
        Ok(entries)
    }
}

/// Whether the path leads to a file, and to another than the open one.
fn is_another(open: Option<&File>, path: &Path) -> bool {
    let Ok(named) = std::fs::metadata(path) else { return false };
    open.and_then(|file| file.metadata().ok()).is_none_or(|open| (open.dev(), open.ino()) != (named.dev(), named.ino()))
}

/// Prints what comes until a signal.
pub async fn follow(logs: &Logs, mut followers: Vec<Follower>, printer: &mut Printer) -> Result<(), Failure> {
    let shutdown = Shutdown::new();
    shutdown.trigger_on_signals().context("cannot listen for signals")?;
    for look in 1_u32.. {
        let mut news = Vec::new();
        for follower in &mut followers {
            let entries = follower.news()?;
            news.extend(entries.into_iter().map(|entry| (follower.service.clone(), entry)));
        }
        // Of one log they are in order, and stay so.
        news.sort_by_key(|(_, entry)| entry.head.time);
        for (service, entry) in news.iter().filter(|(_, entry)| logs.wants(entry)) {
            printer.print(service, entry)?;
        }
        printer.flush()?;
        if look.is_multiple_of(LOOKS_FOR_NEW) {
            for (service, path) in logs.sources() {
                if !followers.iter().any(|known| known.path == path) {
                    followers.push(Follower::new(service, path, None)?);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            reason = shutdown.wait() => return Err(tail::interrupted(reason)),
        }
    }
    Ok(())
}
