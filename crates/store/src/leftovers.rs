//! What `kill -9` leaves half-written of small files: named after the process that wrote it, and of no use when that is gone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Directories of the store's own that have no such files, and may be large.
const PASSED_OVER: [&str; 4] = ["journal", "parts", "quarantine", "tmp"];

/// Removes what processes that are gone have left of [`crate::write_atomically`]; gives the files. Others may be writing meanwhile.
///
/// # Errors
/// When the store's own directory can't be read, or such a file can't be removed.
pub fn sweep_leftovers(data_path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut swept = Vec::new();
    let own = data_path.join(".dccd");
    if own.is_dir() {
        sweep(&own, &mut swept)?;
    }
    Ok(swept)
}

fn sweep(directory: &Path, swept: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        // Its writer may have renamed it by now.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !PASSED_OVER.iter().any(|passed| name == *passed) {
                sweep(&path, swept)?;
            }
        } else if writer(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_file(&path)?;
            swept.push(path);
        }
    }
    Ok(())
}

/// The process that writes a file of this name: `jobs.json.4711-3.tmp`.
fn writer(name: &OsStr) -> Option<u32> {
    let (_, number) = name.to_str()?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let (pid, count) = number.split_once('-')?;
    count.parse::<u64>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_write_stays() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(sweep_leftovers(place.path()).unwrap(), Vec::<PathBuf>::new(), "there is no store yet");
        // No process has a number that large.
        let dead = u32::MAX;
        let living = std::process::id();
        let put = |path: String| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "half").unwrap();
            path
        };
        let gone = [put(format!(".dccd/state/x/jobs.json.{dead}-0.tmp")), put(format!(".dccd/metrics.json.{dead}-12.tmp"))];
        let stay = [
            put(format!(".dccd/metrics.json.{living}-1.tmp")),
            put(".dccd/state/x/jobs.json".to_owned()),
            put(format!(".dccd/state/x/notes.{dead}.tmp")),
            put(format!(".dccd/journal/x/a.{dead}-1.tmp")),
            put(format!("x/trades/a.{dead}-1.tmp")),
        ];
        let mut swept = sweep_leftovers(place.path()).unwrap();
        swept.sort();
        let mut wanted = gone.to_vec();
        wanted.sort();
        assert_eq!(swept, wanted);
        assert!(gone.iter().all(|path| !path.exists()) && stay.iter().all(|path| path.exists()));
    }
}
