//! A remote as the configuration has it: what it is called, where its record lies, and what is wrong with it before anything is copied.

use std::path::{Path, PathBuf};

use dccd_config::{Config, Provider, RcloneRemote, Remote, is_within};

use crate::error::SyncError;
use crate::rclone::Rclone;
use crate::s3::Bucket;

/// Longest readable part of the name of a remote's directory.
const NAME_CHARS_MAX: usize = 60;

/// One remote.
#[derive(Clone, Debug)]
pub struct Target {
    label: String,
    id: String,
    pub(crate) to: Destination,
}

/// Where to, and by what.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// By rclone, to what it calls so.
    Rclone(String),
    /// By ourselves.
    S3(Box<Bucket>),
}

impl Target {
    fn of(remote: &Remote) -> Self {
        let label = remote.label();
        let to = match (remote.provider, &remote.remote) {
            (Provider::Rclone, Some(text)) => Destination::Rclone(absolute(text)),
            (Provider::Rclone, None) => Destination::Rclone(String::new()),
            (Provider::S3, _) => Destination::S3(Box::new(Bucket::of(remote))),
        };
        let (whole, endpoint) = match &to {
            Destination::Rclone(text) => (text.trim_end_matches('/').to_owned(), ""),
            Destination::S3(_) => (label.clone(), remote.endpoint.as_deref().unwrap_or_default()),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let readable: String =
            label.trim_end_matches('/').chars().take(NAME_CHARS_MAX).map(|c| if is_plain(c) { c } else { '_' }).collect();
        let told_apart_by = crc32fast::hash(format!("{whole} {endpoint}").as_bytes());
        Self { id: format!("{readable}-{told_apart_by:08x}"), label, to }
    }

    /// What it is called.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// `rclone` or `s3`.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self.to {
            Destination::Rclone(_) => "rclone",
            Destination::S3(_) => "s3",
        }
    }

    /// Where all that is known of it lies.
    pub(crate) fn directory(&self, data_path: &Path) -> PathBuf {
        data_path.join(".dccd").join("sync").join(&self.id)
    }

    /// Whether somebody means it by this name: its label, or what stands before its colon.
    pub(crate) fn is_meant(&self, name: &str) -> bool {
        let bare = |text: &str| text.trim_end_matches(['/', ':']).to_owned();
        let before = self.label.split_once(':').map(|(before, _)| before).filter(|before| !before.is_empty());
        bare(&self.label) == bare(name) || (self.provider() == "rclone" && before == Some(name.trim_end_matches(':')))
    }

    /// Fails where the copy would lie in what is copied, links on the way included.
    pub(crate) fn check_outside(&self, data_path: &Path) -> Result<(), SyncError> {
        let Destination::Rclone(text) = &self.to else { return Ok(()) };
        let RcloneRemote::Local(directory) = RcloneRemote::of(text) else { return Ok(()) };
        if is_within(&resolved(&directory), &resolved(data_path)) {
            return Err(SyncError::Within { remote: self.label.clone(), data_path: data_path.to_owned() });
        }
        Ok(())
    }
}

/// The remotes of a configuration, each once.
#[must_use]
pub fn targets(config: &Config) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for target in config.storage.remotes.iter().map(Target::of) {
        if targets.iter().all(|other| other.id != target.id) {
            targets.push(target);
        }
    }
    targets
}

/// A remote that rclone doesn't know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{label}: rclone has no remote named {name} ({})", if known.is_empty() { "it knows none".to_owned() } else { format!("it knows {}", known.join(", ")) })]
pub struct UnknownRemote {
    label: String,
    name: String,
    /// Those it knows.
    known: Vec<String>,
}

/// Those of the remotes that rclone is to copy to and doesn't know. Asks no remote; looks for rclone only where one needs it.
///
/// # Errors
/// When rclone is needed and isn't there, or is too old.
pub async fn unknown_remotes(targets: &[Target], rclone: &Rclone) -> Result<Vec<UnknownRemote>, SyncError> {
    let by_rclone = |target: &Target| match &target.to {
        Destination::Rclone(text) => Some((target.label.clone(), RcloneRemote::of(text))),
        Destination::S3(_) => None,
    };
    let wanted: Vec<_> = targets.iter().filter_map(by_rclone).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    rclone.check().await?;
    let known = rclone.remotes().await?;
    let mut unknown = Vec::new();
    for (label, remote) in wanted {
        let RcloneRemote::Named(name) = remote else { continue };
        // One that is made of variables: RCLONE_CONFIG_MYNAS_TYPE.
        let variable = format!("RCLONE_CONFIG_{}_TYPE", name.to_uppercase().replace([' ', '-'], "_"));
        if !known.contains(&name) && std::env::var_os(variable).is_none() {
            unknown.push(UnknownRemote { label, name, known: known.clone() });
        }
    }
    Ok(unknown)
}

/// What is to be known of the remotes before they are needed, in sentences: whether rclone is there, and knows them.
pub async fn objections(targets: &[Target], rclone: &Rclone) -> Vec<String> {
    match unknown_remotes(targets, rclone).await {
        Ok(unknown) => {
            unknown.iter().map(|remote| format!("storage.remotes: {remote}; make it with: rclone config")).collect()
        }
        Err(error) => vec![format!("storage.remotes: {}", dccd_service::chain(&error))],
    }
}

/// A directory of this host under its whole path: services may be started elsewhere.
fn absolute(text: &str) -> String {
    let is_local = !text.starts_with(':') && matches!(RcloneRemote::of(text), RcloneRemote::Local(_));
    let path = is_local.then(|| std::path::absolute(text).ok()).flatten();
    path.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| text.to_owned())
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(remotes: &str) -> Vec<Target> {
        let text = format!("storage: {{remotes: [{remotes}]}}");
        targets(&Config::parse(&text, Path::new("x.yml"), &|_| None).unwrap().0)
    }

    #[test]
    fn each_remote_has_a_name_and_a_directory_of_its_own() {
        let remotes = read(
            "{remote: 'nas:a/'}, {remote: 'nas:a'}, {remote: 'nas:b'}, {provider: s3, bucket: b, prefix: /p/}, \
             {provider: s3, bucket: b, prefix: p, endpoint: 'http://127.0.0.1:9'}",
        );
        let labels: Vec<_> = remotes.iter().map(Target::label).collect();
        assert_eq!(labels, ["nas:a/", "nas:b", "s3://b/p", "s3://b/p"]);
        let mut ids: Vec<_> = remotes.iter().map(|target| target.id.as_str()).collect();
        assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))), "{ids:?}");
        ids.dedup();
        assert_eq!(ids.len(), 4);
        assert!(remotes[0].is_meant("nas") && remotes[0].is_meant("nas:a") && !remotes[0].is_meant("nas:b"));
        assert!(remotes[2].is_meant("s3://b/p/") && !remotes[2].is_meant("s3"));
        assert!(read("{remote: backup}")[0].to_string_of_rclone().starts_with('/'));
    }

    impl Target {
        fn to_string_of_rclone(&self) -> String {
            match &self.to {
                Destination::Rclone(text) => text.clone(),
                Destination::S3(_) => String::new(),
            }
        }
    }

    #[test]
    fn a_copy_in_the_store_is_refused_also_by_way_of_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
        for (path, is_refused) in [("data/x", true), ("link/not/there", true), ("backup", false), ("database", false)] {
            let target = &read(&format!("{{remote: '{}'}}", dir.path().join(path).display()))[0];
            assert_eq!(target.check_outside(&data).is_err(), is_refused, "{path}");
        }
    }
}
