//! The executable in a directory of its own: its own home, runtime directory and configuration, nothing of the host's.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A host of its own for the executable.
pub(crate) struct Host {
    directory: tempfile::TempDir,
    /// Rings have the instance's name and lie in the one `/dev/shm`.
    instance: String,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Host {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("dccd-").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("run")).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(directory.path().join("run"), private).unwrap();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let instance = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { directory, instance }
    }

    /// The name of its instance.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The runtime directory of its instance.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.path().join("run/dccd").join(&self.instance)
    }

    /// Its directory; commands run in it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file.
    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The executable, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dccd"));
        command.args(args).current_dir(self.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("XDG_RUNTIME_DIR", self.path().join("run")).env("TZ", "UTC");
        command
    }

    /// A command of this host's own instance, not yet started.
    pub(crate) fn own(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.args(["--instance", &self.instance]);
        command
    }

    /// Runs a command of this host's own instance to its end.
    pub(crate) fn run_own(&self, args: &[&str]) -> Ran {
        Ran::from(self.own(args).output().unwrap())
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Fails unless the code is this one.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Standard output as the one JSON document that it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\nstderr:\n{}", self.out, self.err))
    }
}

impl Drop for Host {
    /// A test that failed halfway leaves a daemon: it goes, and its rings.
    fn drop(&mut self) {
        if self.runtime().exists() {
            let _ = self.own(&["stop", "--force"]).output();
        }
        let _ = dccd_ring::sweep(Some(&self.instance));
    }
}

/// A simulated exchange in a process of its own.
pub(crate) struct Exchange {
    pub(crate) child: Child,
    pub(crate) rest_url: String,
    pub(crate) ws_url: String,
    // Held open, so that the process never writes into nothing.
    _out: BufReader<ChildStdout>,
}

impl Exchange {
    /// One with so many trades and book updates a second.
    pub(crate) fn start(host: &Host, rate: u32) -> Self {
        let rate = rate.to_string();
        let mut command = host.command(&["sim", "--trades", &rate, "--book-updates", &rate, "--history", "60"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut address = |name: &str| {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.strip_prefix(name).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        };
        let (rest_url, ws_url) = (address("rest_url: "), address("ws_url: "));
        Self { child, rest_url, ws_url, _out: out }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
