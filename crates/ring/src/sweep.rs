//! Finding the rings of this host, and removing those whose writer is dead. A live ring is never touched.

use std::fs;
use std::io;

use crate::name::{DIRECTORY, belongs_to, is_under_construction, ring_path};
use crate::segment::{ReadSegment, is_linked, open_file};
use crate::{Reader, RingError, RingInfo, lock};

/// A segment that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Its name.
    pub name: String,
    /// Its last writer's process id; 0 if it never had one.
    pub pid: u32,
    /// Records that were published in it.
    pub cursor: u64,
}

/// The names of all segments of an instance, or of all instances, in order.
fn names(instance: Option<&str>) -> Result<Vec<String>, RingError> {
    let failed = |error| RingError::system("list the rings", "")(error);
    let mut names = Vec::new();
    for entry in fs::read_dir(DIRECTORY).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
            && belongs_to(&name, instance)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Every ring of an instance (`None`: of all) that we may read, ordered by name; what is no ring is left out.
///
/// # Errors
/// If /dev/shm can't be listed.
pub fn list(instance: Option<&str>) -> Result<Vec<RingInfo>, RingError> {
    let names = names(instance)?.into_iter().filter(|name| !is_under_construction(name));
    Ok(names.filter_map(|name| Reader::map(&name, false).ok().map(|reader| reader.info())).collect())
}

/// Removes the segments of an instance (`None`: of all) that no writer holds, those left half-made included.
///
/// Who is dead is no guess from pids or clocks: a writer holds a lock for as long as it lives, and a segment is removed
/// only while we hold that lock. Segments of other users, which we may not lock, are left alone.
///
/// # Errors
/// If /dev/shm can't be listed, or a dead segment not be removed.
pub fn sweep(instance: Option<&str>) -> Result<Vec<Swept>, RingError> {
    let mut swept = Vec::new();
    for name in names(instance)? {
        let Ok(file) = open_file(&name, true) else { continue };
        let free = lock::try_lock(&file).map_err(RingError::system("lock", &name))?;
        if !free || !is_linked(&file, &name).map_err(RingError::system("look at", &name))? {
            continue;
        }
        let (pid, cursor) = ReadSegment::map(&file, &name, false)
            .map_or((0, 0), |s| (s.header().writer_pid.load(std::sync::atomic::Ordering::Relaxed), s.lane().cursor()));
        match fs::remove_file(ring_path(&name)) {
            Ok(()) => swept.push(Swept { name, pid, cursor }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RingError::system("remove", &name)(error)),
        }
    }
    Ok(swept)
}
