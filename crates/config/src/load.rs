//! Finding the file, reading it, and handing on the configuration with what should be known about it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, ConfigErrors, Place, Problem, Warning};
use crate::expand::Variables;
use crate::{Config, check, rules, tree};

/// Larger files are no configurations.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// The text of a file, which `Debug` doesn't show: it may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

/// Where to look for the file: `--config`, `$DCCD_CONFIG`, `./config.yml`, `$XDG_CONFIG_HOME/dccd/config.yml`.
#[derive(Clone, Debug)]
pub struct Lookup {
    explicit: Option<PathBuf>,
    directory: PathBuf,
    /// `None`: the environment.
    variables: Option<HashMap<String, String>>,
}

/// A configuration, where it comes from, and what should be known about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file, absolute.
    pub path: PathBuf,
    /// What stands in the file, word for word: variables are not expanded, so that it holds no secret that the file
    /// doesn't. It may hold those.
    pub text: Text,
    /// What works and yet should be known, in the order in which it stands in the file.
    pub warnings: Vec<Warning>,
}

impl Lookup {
    /// Looks for the file that `--config` names, or else for the others, with the environment and the working directory of
    /// this process.
    #[must_use]
    pub fn new(explicit: Option<PathBuf>) -> Self {
        Self { explicit, directory: PathBuf::new(), variables: None }
    }

    /// The same with these variables instead of the environment, in this directory.
    #[must_use]
    pub fn within(mut self, directory: PathBuf, variables: HashMap<String, String>) -> Self {
        self.directory = directory;
        self.variables = Some(variables);
        self
    }

    fn variable(&self, name: &str) -> Option<String> {
        match &self.variables {
            Some(table) => table.get(name).cloned(),
            None => std::env::var_os(name).map(OsString::into_string).and_then(Result::ok),
        }
    }

    /// The file to read, and who named it.
    fn find(&self) -> Result<(PathBuf, &'static str), ConfigErrors> {
        let named = |path: &Path, by| (self.directory.join(path), by);
        if let Some(path) = &self.explicit {
            return Ok(named(path, "--config"));
        }
        let set = |name| self.variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("DCCD_CONFIG") {
            return Ok(named(&path, "$DCCD_CONFIG"));
        }
        let home = || set("HOME").or_else(|| etcetera::home_dir().ok()).map(|home| home.join(".config"));
        let xdg = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute()).or_else(home);
        let mut looked = vec![self.directory.join("config.yml")];
        looked.extend(xdg.map(|xdg| xdg.join("dccd").join("config.yml")));
        let bys = ["./config.yml", "the user's configuration"];
        for (path, by) in looked.iter().zip(bys) {
            // A file that is there and can't be read is an error, not a reason to look elsewhere.
            if std::fs::symlink_metadata(path).is_ok() {
                return Ok((path.clone(), by));
            }
        }
        Err(ConfigErrors::NotFound { looked })
    }
}

impl Config {
    /// Finds, reads and checks the configuration.
    ///
    /// # Errors
    /// When there is none, when it can't be read, or with everything that is wrong in it.
    pub fn load(lookup: &Lookup) -> Result<Loaded, ConfigErrors> {
        let (path, by) = lookup.find()?;
        let text = read_text(&path, by)?;
        let (mut config, warnings) = Self::parse(&text, &path, &|name| lookup.variable(name))?;
        let path = std::path::absolute(&path).unwrap_or(path);
        let base = std::path::absolute(&lookup.directory).or_else(|_| std::env::current_dir()).unwrap_or_default();
        // Without the "./" that it is often written with.
        config.data_path = base.join(config.data_path).components().collect();
        let daemon = &mut config.daemon;
        daemon.work_dir = daemon.work_dir.take().map(|path| base.join(path));
        let work_dir = daemon.work_dir.clone().unwrap_or_else(|| base.clone());
        for path in [&mut daemon.pid_file, &mut daemon.log_file].into_iter().flatten() {
            *path = work_dir.join(&*path);
        }
        if let Some(rpc) = &mut config.daemon.rpc {
            // Before anybody works in another directory (daemon.work_dir).
            let tls = rpc.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
            for path in rpc.token_file.iter_mut().chain(tls) {
                *path = base.join(&*path).components().collect();
            }
        }
        Ok(Loaded { config, path, text: Text(text), warnings })
    }

    /// Checks a text that stands for the file of this name. A relative data path stays relative.
    ///
    /// # Errors
    /// With everything that is wrong in it.
    pub fn parse(text: &str, path: &Path, variables: &Variables<'_>) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let config = tree::read(text, &mut errors).and_then(|root| {
            let checked = check::check(&root, variables, &mut errors, &mut warnings);
            rules::check(&checked, &mut errors, &mut warnings);
            if !errors.is_empty() {
                return None;
            }
            match serde_yaml::from_value::<Self>(checked.values) {
                Ok(config) => Some(config),
                Err(error) => {
                    // The schema let something through that the types refuse: still an error for the user to see.
                    let problem = Problem::Syntax { message: error.to_string() };
                    let place = Place { line: 1, column: 1, length: 1 };
                    errors.push(ConfigError { place, key: String::new(), problem, help: None, hide_from: None });
                    None
                }
            }
        });
        warnings.sort_by_key(|warning| warning.place);
        match config {
            Some(mut config) if errors.is_empty() => {
                let local = &config.storage.local_path;
                config.data_path =
                    if local.as_os_str().is_empty() { config.settings.data_path.clone() } else { local.clone() };
                Ok((config, warnings))
            }
            _ => {
                errors.sort_by_key(|error| error.place);
                Err(ConfigErrors::Invalid { path: path.to_owned(), text: text.to_owned(), errors })
            }
        }
    }
}

pub(crate) fn read_text(path: &Path, by: &'static str) -> Result<String, ConfigErrors> {
    let failed = |source| ConfigErrors::Read { path: path.to_owned(), by, source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(bytes.len() as u64);
        return Err(ConfigErrors::TooLarge { path: path.to_owned(), size, max: FILE_SIZE_MAX });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        ConfigErrors::NotText { path: path.to_owned(), offset }
    })
}
