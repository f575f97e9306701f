//! Directories, files and locks: whether they are there, ours, and ours alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use dccd_config::{Config, Loaded, Secret};
use dccd_registry::RuntimeDir;
use dccd_service::PidLock;

use super::Finding;

/// Sockets and locks of the instance.
pub fn runtime_directory(runtime_dir: &RuntimeDir) -> Finding {
    let check = "runtime directory";
    let path = runtime_dir.path();
    let uid = rustix::process::geteuid().as_raw();
    // The instance's own and the one above it are dccd's to make.
    for level in path.ancestors().take(2) {
        let Ok(meta) = fs::symlink_metadata(level) else { continue };
        let shown = level.display();
        if meta.uid() != uid {
            let remedy = "run dccd as its owner, or set $XDG_RUNTIME_DIR to a directory of this user";
            return Finding::failed(check, format!("{shown} belongs to user {}", meta.uid()), remedy);
        }
        if !meta.is_dir() || meta.mode() & 0o077 != 0 {
            let remedy = format!("chmod 700 {shown}");
            return Finding::failed(
                check,
                format!("{shown} has mode {:o}, others may look in", meta.mode() & 0o777),
                remedy,
            );
        }
    }
    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    if !writable(there) {
        let remedy = "set $XDG_RUNTIME_DIR to a directory of this user";
        return Finding::failed(check, format!("{} cannot be written to", there.display()), remedy);
    }
    Finding::ok(check, path.display().to_string())
}

/// The store's directory.
pub fn data_directory(path: &Path) -> Finding {
    let check = "data directory";
    let shown = path.display();
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Finding::failed(check, format!("{} is no directory", there.display()), "name another in settings.data_path");
    }
    if !writable(there) {
        let remedy = format!("make it this user's (chown), or name another in settings.data_path: {shown}");
        return Finding::failed(check, format!("{} cannot be written to", there.display()), remedy);
    }
    Finding::ok(check, if there == path { shown.to_string() } else { format!("{shown} will be made") })
}

/// Whether this user may make files there.
fn writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether secrets stand in a file that others may read.
pub fn secrets(loaded: &Loaded) -> Finding {
    let check = "secrets";
    let text = loaded.text.as_str();
    let written = of_config(&loaded.config).filter(|secret| text.contains(secret.reveal())).count();
    let mode = fs::metadata(&loaded.path).map(|meta| meta.mode() & 0o777).unwrap_or_default();
    match written {
        0 => Finding::ok(check, "none stand in the configuration itself"),
        _ if mode & 0o044 == 0 => Finding::ok(check, format!("{written} in the configuration, which has mode {mode:o}")),
        _ => {
            let measured = format!("{written} in the configuration, which others may read (mode {mode:o})");
            let remedy =
                format!("chmod 600 {}, or ${{NAME}} in it and the secret in the environment", loaded.path.display());
            Finding::failed(check, measured, remedy)
        }
    }
}

fn of_config(config: &Config) -> impl Iterator<Item = &Secret> {
    let daemon = &config.daemon;
    let rpc = daemon.rpc.as_ref().and_then(|rpc| rpc.token.as_ref());
    let http = daemon.http.as_ref().and_then(|http| http.token.as_ref());
    let all = [rpc, http, config.settings.ui_auth_token.as_ref(), config.alerts.webhook_url.as_ref()];
    let remotes = config.storage.remotes.iter().filter_map(|remote| remote.secret_access_key.as_ref());
    all.into_iter().flatten().chain(config.alerts.webhooks.iter().map(|webhook| &webhook.url)).chain(remotes)
}

/// Who holds what this instance needs for itself. Must be called inside a tokio runtime.
pub fn locks(runtime_dir: &RuntimeDir, data_path: &Path, pid_file: Option<&Path>) -> Vec<Finding> {
    let check = "locks";
    let holder = |path: &Path| PidLock::holder(path).ok().flatten();
    let root = holder(&runtime_dir.root_lock());
    let store = holder(&data_path.join(".dccd/lock"));
    let mut findings = Vec::new();
    if let Some(pid) = store.filter(|store| root != Some(*store)) {
        let remedy = "wait until it has ended or stop it (dccd stop --instance ..), or name another settings.data_path";
        findings.push(Finding::failed(
            check,
            format!("the store {} is in use by process {pid}", data_path.display()),
            remedy,
        ));
    }
    let orphans: Vec<_> = if root.is_some() { Vec::new() } else { dccd_root::orphans(runtime_dir) };
    if !orphans.is_empty() {
        let names: Vec<_> = orphans.iter().map(|orphan| format!("{} (pid {})", orphan.name, orphan.pid)).collect();
        let measured = format!("without dccd-root: {}", names.join(", "));
        findings.push(Finding::warning(check, measured, "dccd start adopts them, dccd stop ends them"));
    }
    if root.is_none()
        && let Some(path) = pid_file
        && let Err(error) = crate::pid_file::PidFile::look(path)
    {
        findings.push(Finding::failed(check, format!("{error:#}"), "stop that process, or name another daemon.pid_file"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            check,
            match root {
                Some(pid) => format!("held by this instance's dccd-root (pid {pid})"),
                None => "free".to_owned(),
            },
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Status;
    use super::*;
    use dccd_config::Lookup;

    #[test]
    fn a_secret_that_others_may_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yml");
        let look = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let variables = [("T".to_owned(), "hunter2".to_owned())].into();
            secrets(&Config::load(&Lookup::new(Some(path.clone())).within(dir.path().to_owned(), variables)).unwrap())
        };
        assert_eq!(look("settings: {ui_auth_token: hunter2}", 0o600).status, Status::Ok);
        assert_eq!(look("settings: {ui_auth_token: '${T}'}", 0o644).status, Status::Ok);
        let s3 = "storage: {remotes: [{provider: s3, bucket: b, access_key_id: AKIA, secret_access_key: hunter2}]}";
        assert_eq!(look(s3, 0o644).status, Status::Failed);
        let found = look("settings: {ui_auth_token: hunter2}", 0o640);
        assert_eq!(found.status, Status::Failed);
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn directories_are_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir::at(dir.path().join("dccd/main"));
        assert_eq!(runtime_directory(&runtime).status, Status::Ok);
        runtime_directory(&runtime);
        fs::create_dir_all(runtime.path()).unwrap();
        for (mode, status) in [(0o755, Status::Failed), (0o700, Status::Ok)] {
            for level in runtime.path().ancestors().take(2) {
                fs::set_permissions(level, fs::Permissions::from_mode(mode)).unwrap();
            }
            assert_eq!(runtime_directory(&runtime).status, status, "{mode:o}");
        }
        assert_eq!(data_directory(&dir.path().join("a/b")).status, Status::Ok);
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(data_directory(&dir.path().join("file/b")).status, Status::Failed);
    }

    #[tokio::test]
    async fn a_store_that_another_process_holds_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, data) = (RuntimeDir::at(dir.path().join("run")), dir.path().join("data"));
        let looked = |pid_file| locks(&runtime, &data, pid_file);
        assert_eq!(looked(None)[0].measured, "free");
        let held = dccd_store::StoreLock::acquire(&data).unwrap();
        let found = looked(None);
        assert_eq!(found[0].status, Status::Failed);
        assert!(found[0].measured.contains(&std::process::id().to_string()));
        runtime.create().unwrap();
        let _root = PidLock::acquire(&runtime.root_lock()).unwrap();
        assert_eq!(looked(None)[0].status, Status::Ok, "the instance's own");
        drop((held, _root));
        let pid_file = dir.path().join("notes");
        fs::write(&pid_file, "no pid").unwrap();
        assert_eq!(looked(Some(&pid_file))[0].status, Status::Failed);
    }
}
