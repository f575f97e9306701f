//! Files that appear whole or not at all.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// Writes a file that everybody may read, and its directory if need be; over another one only where that is meant.
///
/// # Errors
/// When it can't be written, or there is one already.
pub fn write(path: &Path, text: &str, mode: u32, replace: bool) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(failed)?;
    let mut file = tempfile::Builder::new().prefix(".dccd-").tempfile_in(directory).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).with_context(failed)?;
    let written = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    written.map(drop).map_err(|error| error.error).with_context(failed)
}
