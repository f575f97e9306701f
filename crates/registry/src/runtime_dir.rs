//! The runtime directory of an instance: its sockets and locks, for this user alone.

use std::path::{Path, PathBuf};

use dccd_rpc::{DirectoryError, TransportError, check_socket_path, private_directory};

/// The instance that is meant when none is named.
pub const INSTANCE_DEFAULT: &str = "main";
/// What the files of the root's records end in.
const RECORD_EXTENSION: &str = "child";
/// What the files of a successor end in: a process that is to take a service over from the one that runs.
const SUCCESSOR_EXTENSION: &str = "next";

/// `$XDG_RUNTIME_DIR/dccd/<instance>/`, without that variable `/tmp/dccd-<uid>/<instance>/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDir {
    path: PathBuf,
    /// How many directories from the end are ours to create: the instance's, and `dccd` above it.
    own_levels: usize,
}

/// Why an instance has no runtime directory.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// The instance's name would not do as a directory name.
    #[error("\"{instance}\" is not an instance name (letters, digits, - and _, 1 to 32 of them)")]
    Name {
        /// The name.
        instance: String,
    },
    /// The socket's path is too long.
    #[error("the runtime directory cannot hold sockets")]
    Path(#[source] TransportError),
    /// The directory is missing, foreign, or open to others.
    #[error("the runtime directory is not usable")]
    Directory(#[from] DirectoryError),
}

impl RuntimeDir {
    /// The directory of an instance. Touches nothing; [`RuntimeDir::create`] makes it.
    pub fn resolve(instance: &str) -> Result<Self, RuntimeDirError> {
        let named = !instance.is_empty()
            && instance.len() <= 32
            && instance.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !named {
            return Err(RuntimeDirError::Name { instance: instance.to_owned() });
        }
        let uid = rustix::process::geteuid().as_raw();
        Ok(Self { path: base(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), uid).join(instance), own_levels: 2 })
    }

    /// An explicit directory, whatever the environment says. Its parent must exist.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), own_levels: 1 }
    }

    /// Creates what is missing (mode 0700) and refuses a directory of another user, or one open to others.
    pub fn create(&self) -> Result<(), RuntimeDirError> {
        check_socket_path(&self.root_socket()).map_err(RuntimeDirError::Path)?;
        let mut levels: Vec<&Path> = self.path.ancestors().take(self.own_levels).collect();
        levels.reverse();
        for level in levels {
            private_directory(level)?;
        }
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's socket.
    #[must_use]
    pub fn root_socket(&self) -> PathBuf {
        self.path.join("root.sock")
    }

    /// Held locked by the root of the instance; its content is the root's process id.
    #[must_use]
    pub fn root_lock(&self) -> PathBuf {
        self.path.join("root.lock")
    }

    /// The socket of a service.
    #[must_use]
    pub fn service_socket(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.sock"))
    }

    /// Held locked by the service of that name; its content is the service's process id.
    #[must_use]
    pub fn service_lock(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.lock"))
    }

    /// What the root keeps of the process of that service, so that the next root can tell it from any other.
    #[must_use]
    pub fn service_record(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.{RECORD_EXTENSION}"))
    }

    /// The same of a successor of that service's process, until it has taken over.
    #[must_use]
    pub fn successor_record(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.{SUCCESSOR_EXTENSION}"))
    }

    /// Where the process of that service meets its successor; there only while the one waits for the other.
    #[must_use]
    pub fn successor_socket(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.{SUCCESSOR_EXTENSION}.sock"))
    }

    /// The services that an earlier root has left such a record of; none where the directory can't be read.
    #[must_use]
    pub fn recorded_services(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(RECORD_EXTENSION)?.strip_suffix('.')?.to_owned())
        };
        entries.filter_map(name).collect()
    }
}

impl AsRef<Path> for RuntimeDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

fn base(xdg: Option<PathBuf>, uid: u32) -> PathBuf {
    match xdg {
        // An empty or relative value counts as unset, as the XDG specification has it.
        Some(dir) if dir.is_absolute() => dir.join("dccd"),
        _ => PathBuf::from(format!("/tmp/dccd-{uid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_follows_the_environment() {
        assert_eq!(base(Some("/run/user/7".into()), 7), Path::new("/run/user/7/dccd"));
        assert_eq!(base(None, 7), Path::new("/tmp/dccd-7"));
        assert_eq!(base(Some("".into()), 7), Path::new("/tmp/dccd-7"));
        assert_eq!(base(Some("run".into()), 7), Path::new("/tmp/dccd-7"));
    }

    #[test]
    fn instance_names_stay_inside_the_directory() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(33)] {
            assert!(matches!(RuntimeDir::resolve(bad), Err(RuntimeDirError::Name { .. })), "{bad}");
        }
        assert!(RuntimeDir::resolve("paper-2_b").unwrap().path().ends_with("paper-2_b"));
    }

    #[test]
    fn services_with_a_record_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir::at(dir.path());
        assert_eq!(RuntimeDir::at(dir.path().join("missing")).recorded_services(), [""; 0]);
        for name in ["datad.binance.child", "datad.kraken.lock", "root.sock", "child"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(runtime.recorded_services(), ["datad.binance"]);
        assert!(runtime.service_record("datad.binance").exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let long = RuntimeDir::at(dir.path().join("x".repeat(100)));
        let error = long.create().unwrap_err();
        assert!(matches!(&error, RuntimeDirError::Path(TransportError::PathTooLong { .. })), "{error}");
        assert!(!long.path().exists());
    }

    #[test]
    fn both_levels_are_private() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir { path: dir.path().join("dccd-7").join("main"), own_levels: 2 };
        runtime.create().unwrap();
        for path in [dir.path().join("dccd-7"), dir.path().join("dccd-7/main")] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        std::fs::set_permissions(dir.path().join("dccd-7"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(runtime.create(), Err(RuntimeDirError::Directory(DirectoryError::Open { .. }))));
    }
}
