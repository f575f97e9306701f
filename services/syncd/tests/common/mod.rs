//! A store, a place to copy it to, and runs of the engine over them.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dccd_config::Config;
use dccd_rpc::syncd::RemoteStatus;
use dccd_service::{Shutdown, ShutdownReason};
use syncd::{Counters, Engine, Rclone, SyncOptions};

/// A store and a place for its copy.
pub(crate) struct Pair {
    directory: tempfile::TempDir,
    pub(crate) rclone: Rclone,
    pub(crate) remote: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let remote = format!("{{remote: '{}'}}", directory.path().join("copy").display());
        std::fs::create_dir(directory.path().join("data")).unwrap();
        Self { directory, rclone: Rclone::default(), remote }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn copy(&self) -> PathBuf {
        self.path().join("copy")
    }

    /// Puts a file into the store as the store does it: by a rename.
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        let path = self.data().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = self.data().join("new");
        std::fs::write(&temporary, content).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    /// A program of this name in the place of rclone.
    pub(crate) fn fake(&mut self, script: &str) {
        let path = self.path().join("fake-rclone");
        std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.rclone.program = path;
    }

    pub(crate) fn options(&self) -> SyncOptions {
        let text = format!("settings: {{data_path: '{}'}}\nstorage: {{remotes: [{}]}}", self.data().display(), self.remote);
        let (config, _) = Config::parse(&text, Path::new("x.yml"), &|_| None).unwrap();
        SyncOptions {
            data_path: self.data(),
            targets: syncd::targets(&config),
            interval: Duration::ZERO,
            failures_max: 3,
            rclone: self.rclone.clone(),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::new(self.options(), Counters::default())
    }

    /// One run of a new engine to its end.
    pub(crate) fn sync(&self) -> RemoteStatus {
        sync(&self.engine())
    }
}

/// One run to its end.
pub(crate) fn sync(engine: &Engine) -> RemoteStatus {
    let runtime = runtime();
    runtime.block_on(async {
        let stop = Shutdown::new();
        let runs = engine.begin(&[]).unwrap();
        let watched = async {
            loop {
                let status = engine.status().await.remove(0);
                if status.runs_ended >= runs[0].run {
                    stop.trigger(ShutdownReason::Requested);
                    return status;
                }
                tokio::time::sleep(dccd_testkit::POLL_INTERVAL).await;
            }
        };
        tokio::join!(watched, engine.work(&stop)).0
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Files below a directory with their contents; of a store without its own state.
pub(crate) fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    dccd_testkit::contents(directory, &[])
}

/// Whether rclone is there; if not, the skipped test is named.
pub(crate) fn has_rclone(test: &str) -> bool {
    let found = runtime().block_on(Rclone::default().check());
    if let Err(error) = &found {
        dccd_testkit::skip(test, &dccd_service::chain(error));
    }
    found.is_ok()
}
