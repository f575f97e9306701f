//! One run: looks at the store, copies what the remote lacks, batch by batch, and notes what has arrived. Nothing at the remote is ever
//! deleted: a copy outlives its original.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use dccd_service::Shutdown;
use futures_util::StreamExt as _;

use crate::board::Board;
use crate::error::SyncError;
use crate::rclone::{Batch, Event, Rclone};
use crate::record::{Need, Record};
use crate::s3::S3;
use crate::stage::Stage;
use crate::target::{Destination, Target};
use crate::tree::{self, Found, StoreFile};

/// Looks at the store in one run: the second finds what has changed while the first one's was copied. What changes later is for the next
/// run; the files of the open day always do.
const LOOKS: usize = 2;
/// Files of one batch at most.
const BATCH_FILES: usize = 2_000;
/// Bytes of one batch, unless a single file has more.
const BATCH_BYTES: u64 = 4 << 30;
/// Files sent to an S3 store at the same time.
const FILES_AT_ONCE: usize = 4;
/// Failures in a row after which the others of a batch are not tried.
const FAILURES_MAX: usize = 5;

/// What a run works on.
pub(crate) struct Run<'a> {
    pub(crate) target: &'a Target,
    pub(crate) data_path: &'a Path,
    pub(crate) rclone: &'a Rclone,
    pub(crate) board: &'a Board,
    pub(crate) stop: &'a Shutdown,
}

/// Files with what is to be done with each: never [`Need::None`].
type Work = Vec<(StoreFile, Need)>;

impl Run<'_> {
    /// Does it. What has been copied is noted, whatever comes back.
    pub(crate) async fn run(&self) -> Result<(), SyncError> {
        self.target.check_outside(self.data_path)?;
        let directory = self.target.directory(self.data_path);
        let _lock = lock(&directory, self.target.label())?;
        let s3 = match &self.target.to {
            Destination::Rclone(_) => {
                self.rclone.check().await?;
                None
            }
            Destination::S3(bucket) => Some(S3::new(bucket)?),
        };
        let path = directory.join("record");
        let opened = path.clone();
        let record = blocking(move || Record::open(&opened)).await?;
        let mut record = record.map_err(|source| SyncError::File { doing: "open", path, source })?;
        let (mut troubles, mut failed, mut is_claimed) = (Vec::new(), None, false);
        for look in 0..LOOKS {
            let found = self.look().await?;
            if look == 0 {
                troubles = found.troubles;
            }
            let work: Work = found.files.into_iter().map(|file| (record.need(&file), file)).filter_map(needed).collect();
            self.board.add_work(work.len() as u64, work.iter().map(|(file, _)| file.identity.size).sum());
            if !is_claimed && !work.is_empty() {
                self.claim(s3.as_ref(), &directory, work.iter().map(|(file, _)| file), &record).await?;
                is_claimed = true;
            }
            for batch in batches(work) {
                let done = self.board.status().files_done;
                let copied = match (&s3, &self.target.to) {
                    (Some(s3), _) => self.by_s3(s3, batch, &mut record).await,
                    (None, Destination::Rclone(to)) => self.by_rclone(to, &directory, batch, &mut record).await,
                    (None, Destination::S3(_)) => Ok(()),
                };
                match copied {
                    Ok(()) => {}
                    // Single files: the others are copied all the same.
                    Err(error) if error.is_partial() && self.board.status().files_done > done => {
                        failed.get_or_insert(error);
                    }
                    Err(error) => return Err(failed.unwrap_or(error)),
                }
            }
            if failed.is_some() {
                // Trying it again at once would find the same.
                break;
            }
        }
        match (failed, troubles.first()) {
            (Some(error), _) => Err(error),
            (None, Some(first)) => Err(SyncError::Unreadable { count: troubles.len(), first: first.clone() }),
            (None, None) => Ok(()),
        }
    }

    async fn look(&self) -> Result<Found, SyncError> {
        let data_path = self.data_path.to_owned();
        let found = blocking(move || tree::look(&data_path)).await?;
        found.map_err(|source| SyncError::File { doing: "read", path: self.data_path.to_owned(), source })
    }

    /// Those to be forced and those to be compared, each by themselves: it is one flag of rclone for all.
    async fn by_rclone(&self, to: &str, directory: &Path, batch: Work, record: &mut Record) -> Result<(), SyncError> {
        for need in [Need::Force, Need::Compare] {
            let files: Vec<StoreFile> = batch.iter().filter(|(_, n)| *n == need).map(|(file, _)| file.clone()).collect();
            if !files.is_empty() {
                self.rclone_batch(to, directory, files, need == Need::Force, record).await?;
            }
        }
        Ok(())
    }

    async fn rclone_batch(
        &self,
        to: &str,
        directory: &Path,
        files: Vec<StoreFile>,
        force: bool,
        record: &mut Record,
    ) -> Result<(), SyncError> {
        let (data_path, stage_path) = (self.data_path.to_owned(), directory.join("stage"));
        let staged = blocking(move || {
            let stage = Stage::new(stage_path)?;
            let linked = stage.add(&data_path, &files)?;
            Ok::<_, SyncError>((stage, linked))
        });
        let (stage, linked) = staged.await??;
        if linked.is_empty() {
            return Ok(());
        }
        let known = noted(directory, record.begin(&linked))?;
        let mut open: HashMap<String, StoreFile> = linked.into_iter().map(|file| (file.path.clone(), file)).collect();
        let batch = Batch { from: stage.path(), to, files: open.len() as u64, force };
        let base = self.board.settled_bytes();
        let (mut failed, mut is_touched) = (None, false);
        let copied = self.rclone.copy(&batch, self.stop, |event| match event {
            Event::Stats(stats) => {
                is_touched |= stats.bytes > 0 || stats.transfers > 0 || stats.transferring.is_some();
                let copying = stats.transferring.iter().flatten().map(|transfer| transfer.name.as_str());
                self.board.moving(base, stats.bytes, copying);
            }
            Event::Copied(path) => {
                is_touched = true;
                if let Some(file) = open.remove(&path)
                    && let Err(error) = self.arrived(&stage, &file, record)
                {
                    failed.get_or_insert(error);
                }
            }
        });
        let copied = copied.await;
        if copied.is_ok() {
            // Those that were found there as they are.
            for file in open.values() {
                if let Err(error) = self.arrived(&stage, file, record) {
                    failed.get_or_insert(error);
                }
            }
        }
        let is_replaced = |file: &StoreFile| !stage.is_unchanged(&file.path, file.identity);
        let copied = match copied {
            // Links that could pin no version: what was replaced while it was read is no failure, and stays to be done.
            Err(SyncError::Rclone { said, .. }) if is_touched && !open.is_empty() && open.values().all(is_replaced) => {
                tracing::debug!(files = open.len(), said, "files were replaced while they were copied");
                Ok(())
            }
            copied => copied,
        };
        if matches!(copied, Err(SyncError::Rclone { .. })) && !is_touched {
            // It ended by itself and sent nothing: it did not even begin. What the remote has is what it had.
            noted(directory, record.take_back(known))?;
        }
        noted(directory, record.sync().and_then(|()| failed.map_or(Ok(()), Err)))?;
        // Removing links is work for the disk.
        blocking(move || drop(stage)).await?;
        copied
    }

    /// Notes a file that is at the remote, unless it was written into while it was read: then it stays unsure.
    fn arrived(&self, stage: &Stage, file: &StoreFile, record: &mut Record) -> std::io::Result<()> {
        if stage.is_unchanged(&file.path, file.identity) {
            record.done(&file.path, file.identity)?;
            self.board.file_done(file.identity.size);
        }
        Ok(())
    }

    async fn by_s3(&self, s3: &S3, batch: Work, record: &mut Record) -> Result<(), SyncError> {
        let directory = self.target.directory(self.data_path);
        // An object is there as a whole or not at all, and says which version it is: nothing need be noted before.
        let base = self.board.settled_bytes();
        let bytes = std::cell::Cell::new(0);
        let moved = |more: u64| {
            bytes.set(bytes.get() + more);
            self.board.moving(base, bytes.get(), std::iter::empty());
        };
        let moved: &dyn Fn(u64) = &moved;
        let given_up = &std::cell::Cell::new(false);
        let sending = batch.into_iter().map(|(file, need)| async move {
            let sent = match given_up.get() || self.stop.is_triggered() {
                true => Err(SyncError::Stopped),
                false => s3.put(self.data_path, &file, need, self.stop, moved).await,
            };
            (file, sent)
        });
        let mut sending = futures_util::stream::iter(sending).buffer_unordered(FILES_AT_ONCE);
        let (mut first, mut in_a_row) = (None, 0);
        while let Some((file, sent)) = sending.next().await {
            match sent {
                Ok(identity) => {
                    in_a_row = 0;
                    if let Some(identity) = identity {
                        noted(&directory, record.done(&file.path, identity))?;
                        self.board.file_done(file.identity.size);
                    }
                }
                Err(SyncError::Stopped) => drop(first.get_or_insert(SyncError::Stopped)),
                Err(error) => {
                    tracing::warn!(file = file.path, error = %dccd_service::chain(&error), "cannot copy a file");
                    in_a_row += 1;
                    first.get_or_insert(error);
                }
            }
            // Those under way end by themselves, and take back what they have sent in part.
            given_up.set(in_a_row >= FAILURES_MAX);
        }
        noted(&directory, record.sync())?;
        first.map_or(Ok(()), Err)
    }
}

fn needed((need, file): (Need, StoreFile)) -> Option<(StoreFile, Need)> {
    (need != Need::None).then_some((file, need))
}

/// One process copies to a remote at a time.
fn lock(directory: &Path, label: &str) -> Result<File, SyncError> {
    let path = directory.join("lock");
    let failed = |source| SyncError::File { doing: "lock", path: path.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SyncError::Busy { remote: label.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Cuts work into batches.
fn batches(work: Work) -> Vec<Work> {
    let mut batches: Vec<Work> = Vec::new();
    let mut bytes = 0;
    for (file, need) in work {
        let size = file.identity.size;
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_FILES && bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push((file, need));
            }
            _ => {
                bytes = size;
                batches.push(vec![(file, need)]);
            }
        }
    }
    batches
}

fn noted<T>(directory: &Path, written: std::io::Result<T>) -> Result<T, SyncError> {
    written.map_err(|source| SyncError::File { doing: "write", path: directory.join("record"), source })
}

/// Work that blocks, on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SyncError::Task)
}

/// Where the record of a remote lies.
pub(crate) fn record_path(target: &Target, data_path: &Path) -> PathBuf {
    target.directory(data_path).join("record")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Identity;

    #[test]
    fn batches_are_bounded_by_files_and_bytes() {
        let file = |size: u64| {
            let identity = Identity { size, mtime_ns: 0, inode: 0 };
            (StoreFile { path: String::new(), identity }, Need::Force)
        };
        let lengths = |work: Work| batches(work).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths((0..BATCH_FILES + 1).map(|_| file(1)).collect()), [BATCH_FILES, 1]);
        assert_eq!(lengths(vec![file(BATCH_BYTES * 2), file(1), file(BATCH_BYTES), file(0)]), [1, 1, 2]);
        assert_eq!(lengths(Vec::new()), [0; 0]);
    }
}
