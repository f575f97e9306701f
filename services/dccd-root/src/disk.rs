//! The store's disk: how much room it has, asked without ever waiting long for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

/// With less room than this the store is soon full.
pub(crate) const DISK_LOW_BYTES: u64 = 2 << 30;
/// With less than this it is as good as full.
pub(crate) const DISK_FULL_BYTES: u64 = 256 << 20;
/// Patience with the disk, which may be on a network.
const DISK_TIME: Duration = Duration::from_secs(1);

/// Room on the store's file system, as far as we may use it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    /// Free bytes.
    pub(crate) free: u64,
    /// All bytes.
    pub(crate) size: u64,
    /// Which directory stands there: device and inode.
    pub(crate) place: (u64, u64),
}

/// Asks the disk, again and again.
#[derive(Debug, Default)]
pub(crate) struct DiskWatch {
    /// A question that has no answer yet: a disk that hangs is asked by one thread, not by more and more.
    asked: Option<JoinHandle<Result<Disk, String>>>,
}

impl DiskWatch {
    /// How much room there is, or why that can't be said.
    pub(crate) async fn look(&mut self, data_path: &Path) -> Result<Disk, String> {
        let path = data_path.to_owned();
        let question = self.asked.get_or_insert_with(|| tokio::task::spawn_blocking(move || disk(&path)));
        let Ok(answer) = timeout(DISK_TIME, question).await else {
            return Err(format!("the disk of {} gave no answer within {DISK_TIME:?}", data_path.display()));
        };
        self.asked = None;
        answer.unwrap_or_else(|error| Err(error.to_string()))
    }
}

fn disk(path: &Path) -> Result<Disk, String> {
    let found = rustix::fs::statvfs(path).map_err(|error| format!("cannot ask the disk of {}: {error}", path.display()))?;
    let place = std::fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    let place = (place.dev(), place.ino());
    Ok(Disk {
        place,
        free: found.f_bavail.saturating_mul(found.f_frsize),
        size: found.f_blocks.saturating_mul(found.f_frsize),
    })
}
