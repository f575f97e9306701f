//! Where the shared ledgers lie: one folder per user and host, one file per exchange and address.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of the record stands in the ending: two versions of it never meet in one file.
const ENDING: &str = "1.ledger";

/// A ledger that nobody has written for so long says nothing any more: a freeze lasts seven days at most.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(8 * 24 * 3600);

/// Why there is no folder for shared ledgers.
#[derive(Debug, thiserror::Error)]
pub enum LimitsDirError {
    /// It can't be made or looked at.
    #[error("cannot make the folder of request ledgers {}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is no folder, another user's, or open to other users, who could stop our requests by writing there.
    #[error("{} is not this user's own folder (owner {owner}, mode {mode:o}; expected {uid}, 700); remove it or correct its mode", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
        /// Its mode.
        mode: u32,
    },
}

/// The folder of the ledgers that all processes of this user on this host share: `$XDG_RUNTIME_DIR/dccd/limits`, without
/// that variable `/tmp/dccd-<uid>/limits`. Makes it (mode 0700), and refuses one that is not this user's alone.
///
/// # Errors
/// When it can't be made or isn't ours.
pub fn limits_dir() -> Result<PathBuf, LimitsDirError> {
    let uid = rustix::process::geteuid().as_raw();
    let own = base(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), uid);
    let limits = own.join("limits");
    for path in [own, limits.clone()] {
        private(&path, uid)?;
    }
    Ok(limits)
}

/// The ledger of `exchange` at the address `base_url` in the folder `dir`; host and port stand in its name, nothing else
/// of the address does.
pub fn ledger_file(dir: &Path, exchange: &str, base_url: &str) -> PathBuf {
    let url = reqwest::Url::parse(base_url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("unknown");
    let port = url.as_ref().and_then(reqwest::Url::port_or_known_default).unwrap_or(0);
    let plain = |text: &str| -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        text.chars().take(96).map(|c| if allowed(c) { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    dir.join(format!("{}@{}_{port}.{ENDING}", plain(exchange), plain(host.trim_matches(['[', ']']))))
}

/// Removes the ledgers beside `path` that are long forgotten: of simulators on passing ports, of addresses given up.
pub(super) fn sweep(path: &Path) {
    let Some(files) = path.parent().and_then(|dir| fs::read_dir(dir).ok()) else {
        return;
    };
    for file in files.flatten() {
        let ledger = file.file_name().to_string_lossy().ends_with(".ledger");
        let age = file.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if ledger && age.is_some_and(|age| age > FORGOTTEN_AFTER) {
            let _ = fs::remove_file(file.path()); // an old file is no harm
        }
    }
}

fn base(xdg: Option<PathBuf>, uid: u32) -> PathBuf {
    match xdg {
        // An empty or relative value counts as unset, as the XDG specification has it.
        Some(dir) if dir.is_absolute() => dir.join("dccd"),
        _ => PathBuf::from(format!("/tmp/dccd-{uid}")),
    }
}

fn private(path: &Path, uid: u32) -> Result<(), LimitsDirError> {
    let io = |source| LimitsDirError::Io { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    // Not through a link: in /tmp anybody could have laid one.
    let meta = fs::symlink_metadata(path).map_err(io)?;
    let mode = meta.mode() & 0o7777;
    if !meta.is_dir() || meta.uid() != uid || mode & 0o077 != 0 {
        return Err(LimitsDirError::NotOurs { path: path.to_owned(), owner: meta.uid(), uid, mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_folder_follows_the_environment() {
        assert_eq!(base(Some("/run/user/7".into()), 7), Path::new("/run/user/7/dccd"));
        for unset in [None, Some("".into()), Some("run".into())] {
            assert_eq!(base(unset, 7), Path::new("/tmp/dccd-7"));
        }
    }

    #[test]
    fn a_folder_that_is_not_ours_alone_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let own = dir.path().join("own");
        private(&own, uid).unwrap();
        private(&own, uid).unwrap();
        assert!(matches!(private(&own, uid + 1), Err(LimitsDirError::NotOurs { .. })));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(private(&own, uid), Err(LimitsDirError::NotOurs { mode: 0o750, .. })));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&own, dir.path().join("link")).unwrap();
        assert!(matches!(private(&dir.path().join("link"), uid), Err(LimitsDirError::NotOurs { .. })));
        assert!(matches!(private(&dir.path().join("a/b"), uid), Err(LimitsDirError::Io { .. })));
    }

    #[test]
    fn a_ledgers_name_has_host_and_port_and_no_secrets() {
        for (url, name) in [
            ("https://api.binance.com", "binance@api.binance.com_443.1.ledger"),
            ("https://user:secret@API.binance.com/v3/mirror", "binance@api.binance.com_443.1.ledger"),
            ("http://127.0.0.1:18080/", "binance@127.0.0.1_18080.1.ledger"),
            ("http://[::1]:80", "binance@__1_80.1.ledger"),
            ("not an address", "binance@unknown_0.1.ledger"),
        ] {
            assert_eq!(ledger_file(Path::new("/l"), "binance", url), Path::new("/l").join(name), "{url}");
        }
        let long = ledger_file(Path::new("/l"), "binance", &format!("https://{}.com", "a".repeat(200)));
        assert!(long.as_os_str().len() < 200);
    }

    #[test]
    fn ledgers_long_forgotten_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old.1.ledger"), dir.path().join("new.1.ledger"));
        let other = dir.path().join("other");
        for path in [&old, &new, &other] {
            fs::write(path, "").unwrap();
        }
        let then = std::time::SystemTime::now() - FORGOTTEN_AFTER - Duration::from_secs(60);
        for path in [&old, &other] {
            fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        }
        sweep(&new);
        assert_eq!((old.exists(), new.exists(), other.exists()), (false, true, true));
    }
}
