//! The arguments the root gives a service, as an array: no shell, no environment, no secrets.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use dccd_registry::INSTANCE_DEFAULT;

use crate::Rotation;
use crate::log::LogFiles;

/// What a service is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceArgs {
    /// The service's name, e.g. `datad.binance`; also `argv[0]`.
    pub name: String,
    /// The instance it belongs to.
    pub instance: String,
    /// The instance's runtime directory.
    pub runtime_dir: PathBuf,
    /// The store.
    pub data_path: PathBuf,
    /// The configuration file; `None`: defaults.
    pub config_path: Option<PathBuf>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or filter directives.
    pub log_level: String,
    /// One JSON object a line instead of text for people.
    pub log_json: bool,
    /// Where it logs.
    pub log_files: LogFiles,
    /// How long it goes on without a root; a whole number of milliseconds.
    pub orphan_grace: Duration,
    /// The process whose place this one is to take, without a moment between; `None`: it is to be the only one.
    pub succeeds: Option<u32>,
}

/// How long a service goes on without a root, unless it is told otherwise.
pub const ORPHAN_GRACE_DEFAULT: Duration = Duration::from_secs(300);

/// Why the arguments make no service.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// An argument that no service knows.
    #[error("unknown argument {}", argument.display())]
    Unknown {
        /// The argument.
        argument: OsString,
    },
    /// A flag without its value.
    #[error("{flag} needs a value")]
    NoValue {
        /// The flag.
        flag: &'static str,
    },
    /// A value that is not UTF-8 where text is needed.
    #[error("the value of {flag} is not text")]
    NotText {
        /// The flag.
        flag: &'static str,
    },
    /// A value that is no whole number.
    #[error("the value of {flag} is not a whole number")]
    NotNumber {
        /// The flag.
        flag: &'static str,
    },
    /// A value that is not bytes, seconds and files.
    #[error("the value of {flag} is not BYTES,SECONDS,FILES")]
    NotRotation {
        /// The flag.
        flag: &'static str,
    },
    /// A flag that has no default is missing.
    #[error("{flag} is missing; services are started by dccd-root, with: dccd start")]
    Missing {
        /// The flag.
        flag: &'static str,
    },
}

const FLAGS: [&str; 11] = [
    "--service",
    "--instance",
    "--runtime-dir",
    "--data-path",
    "--config",
    "--log-level",
    "--log-format",
    "--orphan-grace-ms",
    "--log-file",
    "--log-rotation",
    "--succeeds",
];

impl ServiceArgs {
    /// As an array for `exec`, without `argv[0]`; [`ServiceArgs::parse`] reads it back.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--service".into(),
            (&self.name).into(),
            "--instance".into(),
            (&self.instance).into(),
            "--runtime-dir".into(),
            (&self.runtime_dir).into(),
            "--data-path".into(),
            (&self.data_path).into(),
            "--log-level".into(),
            (&self.log_level).into(),
            "--log-format".into(),
            if self.log_json { "json" } else { "text" }.into(),
            "--orphan-grace-ms".into(),
            self.orphan_grace.as_millis().to_string().into(),
            "--log-rotation".into(),
            rotation_text(self.log_files.rotation).into(),
        ];
        if let Some(file) = &self.log_files.common {
            args.extend(["--log-file".into(), file.into()]);
        }
        if let Some(config) = &self.config_path {
            args.extend(["--config".into(), config.into()]);
        }
        if let Some(pid) = self.succeeds {
            args.extend(Self::succeeding(pid));
        }
        args
    }

    /// The arguments that tell a process besides to take the place of this one.
    #[must_use]
    pub fn succeeding(pid: u32) -> [OsString; 2] {
        ["--succeeds".into(), pid.to_string().into()]
    }

    /// Reads the arguments that follow `argv[0]`.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut values: [Option<OsString>; FLAGS.len()] = Default::default();
        let mut args = args.into_iter();
        while let Some(argument) = args.next() {
            let Some(index) = FLAGS.iter().position(|flag| OsStr::new(flag) == argument) else {
                return Err(ArgsError::Unknown { argument });
            };
            values[index] = Some(args.next().ok_or(ArgsError::NoValue { flag: FLAGS[index] })?);
        }
        let [
            name,
            instance,
            runtime_dir,
            data_path,
            config,
            log_level,
            log_format,
            orphan_grace,
            log_file,
            rotation,
            succeeds,
        ] = values;
        let text = |flag: &'static str, value: Option<OsString>| match value {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| ArgsError::NotText { flag }),
        };
        let orphan_grace = match text("--orphan-grace-ms", orphan_grace)? {
            None => ORPHAN_GRACE_DEFAULT,
            Some(ms) => {
                let ms = ms.parse().map_err(|_| ArgsError::NotNumber { flag: "--orphan-grace-ms" })?;
                Duration::from_millis(ms)
            }
        };
        let rotation = match text("--log-rotation", rotation)? {
            None => Rotation::default(),
            Some(text) => rotation_of(&text).ok_or(ArgsError::NotRotation { flag: "--log-rotation" })?,
        };
        let succeeds = text("--succeeds", succeeds)?
            .map(|pid| pid.parse().map_err(|_| ArgsError::NotNumber { flag: "--succeeds" }))
            .transpose()?;
        Ok(Self {
            name: text("--service", name)?.ok_or(ArgsError::Missing { flag: "--service" })?,
            instance: text("--instance", instance)?.unwrap_or_else(|| INSTANCE_DEFAULT.to_owned()),
            runtime_dir: runtime_dir.ok_or(ArgsError::Missing { flag: "--runtime-dir" })?.into(),
            data_path: data_path.ok_or(ArgsError::Missing { flag: "--data-path" })?.into(),
            config_path: config.map(PathBuf::from),
            log_level: text("--log-level", log_level)?.unwrap_or_else(|| "info".to_owned()),
            log_json: text("--log-format", log_format)?.as_deref() == Some("json"),
            log_files: LogFiles { common: log_file.map(PathBuf::from), rotation },
            orphan_grace,
            succeeds,
        })
    }
}

fn rotation_text(rotation: Rotation) -> String {
    format!("{},{},{}", rotation.bytes_max, rotation.age_max.as_secs(), rotation.keep)
}

fn rotation_of(text: &str) -> Option<Rotation> {
    let mut parts = text.split(',');
    let rotation = Rotation {
        bytes_max: parts.next()?.parse().ok()?,
        age_max: Duration::from_secs(parts.next()?.parse().ok()?),
        keep: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(rotation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ServiceArgs {
        ServiceArgs {
            name: "datad.binance".into(),
            instance: "paper".into(),
            runtime_dir: "/run/user/7/dccd/paper".into(),
            data_path: "/data dir/crypto".into(),
            config_path: Some("/etc/dccd.yml".into()),
            log_level: "info,datad=debug".into(),
            log_json: true,
            log_files: LogFiles {
                common: Some("/var/log/all of it.log".into()),
                rotation: Rotation { bytes_max: 7, age_max: Duration::from_secs(8), keep: 9 },
            },
            orphan_grace: Duration::from_millis(1_500),
            succeeds: Some(4_711),
        }
    }

    #[test]
    fn arguments_round_trip() {
        let args = sample();
        assert_eq!(ServiceArgs::parse(args.to_args()).unwrap(), args);
        let plain =
            ServiceArgs { config_path: None, log_json: false, log_files: LogFiles::default(), succeeds: None, ..args };
        assert_eq!(ServiceArgs::parse(plain.to_args()).unwrap(), plain);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let parse = |args: &[&str]| ServiceArgs::parse(args.iter().map(OsString::from)).unwrap_err().to_string();
        assert_eq!(parse(&["--what"]), "unknown argument --what");
        assert_eq!(parse(&["--orphan-grace-ms", "1.5"]), "the value of --orphan-grace-ms is not a whole number");
        assert_eq!(parse(&["--log-rotation", "1,2"]), "the value of --log-rotation is not BYTES,SECONDS,FILES");
        assert_eq!(parse(&["--service"]), "--service needs a value");
        assert_eq!(
            parse(&["--service", "x"]),
            "--runtime-dir is missing; services are started by dccd-root, with: dccd start"
        );
    }
}
