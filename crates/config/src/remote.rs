//! Where the store is copied to: what rclone's names mean, and what must hold of `storage.remotes`.

use std::path::{Component, Path, PathBuf};

use serde_yaml::Value as Yaml;

use crate::error::Problem;
use crate::rules::Rules;

/// Keys of an S3 store alone.
const S3_KEYS: [&str; 6] = ["bucket", "prefix", "endpoint", "region", "access_key_id", "secret_access_key"];
/// What the name of a parameter has in it that holds a secret.
const SECRETS: [&str; 6] = ["key", "secret", "pass", "token", "auth", "credential"];

/// A destination as rclone reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RcloneRemote {
    /// A directory of this host.
    Local(PathBuf),
    /// A remote of rclone's own configuration.
    Named(String),
    /// A backend without a configuration, other than the local disk: `:sftp,host=nas:crypto`.
    OnTheFly,
}

impl RcloneRemote {
    /// What rclone takes a text for: a name up to the first colon, unless a slash comes before it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let local = |path: &str| Self::Local(PathBuf::from(path));
        if let Some(rest) = text.strip_prefix(':') {
            return match rest.strip_prefix("local:") {
                Some(path) => local(path),
                None => Self::OnTheFly,
            };
        }
        match text.split_once(':') {
            Some((name, _)) if !name.contains('/') => Self::Named(name.split(',').next().unwrap_or_default().to_owned()),
            _ => local(text),
        }
    }
}

/// Whether a path is a directory or lies in it, by their names alone.
#[must_use]
pub fn is_within(path: &Path, directory: &Path) -> bool {
    plain(path).starts_with(plain(directory))
}

/// Without `.` and, as far as that goes by names alone, `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether a destination has a parameter that holds a secret: `:sftp,host=nas,pass=x:crypto`.
fn has_secret(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text).split([':', '/']).next().unwrap_or_default();
    // A value in quotes may hold colons and slashes, so that what has parameters is looked at as a whole.
    let parameters = if name.contains(',') { text } else { "" };
    let names = parameters.split(',').skip(1).filter_map(|parameter| parameter.split('=').next());
    names.map(str::to_lowercase).any(|name| name != "env_auth" && SECRETS.iter().any(|secret| name.contains(secret)))
}

impl Rules<'_> {
    /// What must hold of `storage.remotes`.
    pub(crate) fn remotes(&mut self, base: &Path) {
        let remotes = self.checked.values["storage"]["remotes"].as_sequence().cloned().unwrap_or_default();
        let mut seen: Vec<(String, usize)> = Vec::new();
        for (index, remote) in remotes.iter().enumerate() {
            let path = format!("storage.remotes[{index}]");
            match remote["provider"].as_str() {
                Some("rclone") => self.rclone(&path, remote, base),
                Some("s3") => self.s3(&path, remote),
                // It was complained of.
                _ => continue,
            }
            let told_apart_by = ["provider", "remote", "bucket", "prefix", "endpoint"];
            let named = told_apart_by.map(|key| remote[key].as_str().unwrap_or_default().trim_end_matches('/')).join(" ");
            match seen.iter().find(|(other, _)| *other == named) {
                Some((_, first)) => self.warn(&path, format!("the remote of line {first} again; it is copied to once")),
                None => seen.push((named, self.place(&path).line)),
            }
        }
    }

    fn rclone(&mut self, path: &str, remote: &Yaml, base: &Path) {
        for key in S3_KEYS {
            if self.checked.places.contains_key(&format!("{path}.{key}")) {
                self.warn(&format!("{path}.{key}"), "of no use with provider: rclone".to_owned());
            }
        }
        let Some(text) = remote["remote"].as_str() else {
            if !self.is_wrong(&format!("{path}.remote")) {
                let expected = "a remote as rclone names it, such as mynas:crypto/".to_owned();
                let is_s3 = !remote["bucket"].is_null();
                let help = is_s3.then_some("for an S3 store without rclone write provider: s3");
                self.error(path, Problem::Missing { expected }, help);
            }
            return;
        };
        let key = format!("{path}.remote");
        if has_secret(text) {
            let expected = "a remote without secrets: it is seen in the list of processes".to_owned();
            let found = "a parameter with one".to_owned();
            let help = "give the remote a name with `rclone config`, and write that name here";
            return self.error_hidden(&key, Problem::Unexpected { expected, found }, Some(help));
        }
        let RcloneRemote::Local(directory) = RcloneRemote::of(text) else { return };
        let storage = &self.checked.values["storage"]["local_path"];
        let data_path = storage.as_str().filter(|path| !path.is_empty());
        let data_path = data_path.or(self.checked.values["settings"]["data_path"].as_str());
        if data_path.is_some_and(|data| is_within(&base.join(&directory), &base.join(data))) {
            let expected = "a directory outside of the store".to_owned();
            let help = "a copy inside of what is copied would be copied, too";
            self.error(&key, Problem::Unexpected { expected, found: format!("{text:?}, which is in it") }, Some(help));
        } else if directory.is_relative() {
            let message = format!(
                "{text} is read as a directory of this host, in the one in which dccd is started; a remote of rclone ends with a \
                 colon: {text}:"
            );
            self.warn(&key, message);
        }
    }

    fn s3(&mut self, path: &str, remote: &Yaml) {
        if remote["bucket"].is_null() && !self.is_wrong(&format!("{path}.bucket")) {
            let expected = "bucket, the name of the store's bucket".to_owned();
            self.error(path, Problem::Missing { expected }, None);
        }
        if remote["bucket"].as_str().is_some_and(|bucket| bucket.contains(['/', ':'])) {
            let (expected, found) = ("the name of a bucket".to_owned(), "a name with a slash or a colon".to_owned());
            let help = "what follows the bucket is the prefix; the store's address is the endpoint";
            self.error(&format!("{path}.bucket"), Problem::Unexpected { expected, found }, Some(help));
        }
        if !remote["remote"].is_null() {
            self.warn(&format!("{path}.remote"), "of no use with provider: s3, which has bucket and prefix".to_owned());
        }
        for (one, other) in [("access_key_id", "secret_access_key"), ("secret_access_key", "access_key_id")] {
            if !remote[one].is_null() && remote[other].is_null() && !self.is_wrong(&format!("{path}.{other}")) {
                let expected = format!("{other} beside {one}");
                self.error(&format!("{path}.{one}"), Problem::Missing { expected }, None);
            }
        }
        let endpoint = remote["endpoint"].as_str().and_then(|endpoint| endpoint.strip_prefix("http://"));
        if endpoint.is_some_and(|rest| !crate::rules::is_loopback(rest)) {
            let message = "what goes to an http address can be read on its way; https can't".to_owned();
            self.warn(&format!("{path}.endpoint"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_as_rclone_reads_it() {
        let named = |name: &str| RcloneRemote::Named(name.to_owned());
        let local = |path: &str| RcloneRemote::Local(PathBuf::from(path));
        for (text, meant) in [
            ("mynas:crypto/", named("mynas")),
            ("gdrive:", named("gdrive")),
            ("mynas,timeout=1m:crypto", named("mynas")),
            ("/mnt/backup", local("/mnt/backup")),
            ("/mnt/a:b", local("/mnt/a:b")),
            ("backup/x", local("backup/x")),
            (":local:/mnt/backup", local("/mnt/backup")),
            (":sftp,host=nas:crypto", RcloneRemote::OnTheFly),
        ] {
            assert_eq!(RcloneRemote::of(text), meant, "{text}");
        }
    }

    #[test]
    fn parameters_with_secrets_are_known_by_their_names() {
        for text in [":s3,provider=AWS,secret_access_key=x:b", "nas,pass=x:y", ":sftp,host=h,key_pem=x:/y"] {
            assert!(has_secret(text), "{text}");
        }
        for text in ["mynas:keys,pass=/x", ":s3,env_auth=true:b", "/mnt/a", "nas:"] {
            assert!(!has_secret(text), "{text}");
        }
    }

    #[test]
    fn within_goes_by_names() {
        for (path, directory, within) in [
            ("/data/x", "/data", true),
            ("/data", "/data/", true),
            ("/data/../backup", "/data", false),
            ("/database", "/data", false),
            ("./data/./x", "data", true),
            ("../data", "data", false),
        ] {
            assert_eq!(is_within(Path::new(path), Path::new(directory)), within, "{path} {directory}");
        }
    }
}
