//! `dccd logs`: what the services have logged, merged by time, and what follows if asked for.

mod entry;
mod follow;
mod past;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_config::{Config, Lookup, Moment, Timezone};

use self::entry::{Entry, Level};
use self::follow::{Follower, follow};
use self::past::Past;
use crate::cli::Global;
use crate::commands::{DEADLINE, block_on, did_you_mean, registry_if_running};
use crate::exit::Failure;
use crate::output::{Out, say};

/// Messages that are shown where neither a number nor a time is asked for.
const LINES_DEFAULT: usize = 50;

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The service, as `dccd services` lists it; all of them without it, merged by time
    service: Option<String>,
    /// Go on with what is logged from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many of the last messages [default: 50, or all with --since]
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// From when on: 30s, 10m, 2h, 1d ago, or a date or date and time in the configured zone
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// This grave at least
    #[arg(long, value_name = "LEVEL", value_enum)]
    level: Option<Level>,
}

/// `--since`.
#[derive(Clone, Debug, PartialEq)]
enum Since {
    Ago(Duration),
    At(Moment),
}

fn since(text: &str) -> Result<Since, String> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
    };
    ago()
        .map(Since::Ago)
        .or_else(|| Moment::from_text(text).map(Since::At))
        .ok_or_else(|| "expected a time ago such as 30s, 10m, 2h or 1d, or a date such as 2026-01-31T12:00".to_owned())
}

/// Prints it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    block_on(async {
        let logs = Logs::find(global, arguments).await?;
        let sources = logs.sources();
        let mut pasts = Vec::new();
        for (service, path) in &sources {
            match Past::open(path, logs.since, arguments.follow) {
                Ok(past) => pasts.push((service.clone(), path.clone(), Some(past))),
                Err(error) if error.kind() == io::ErrorKind::NotFound && arguments.follow => {
                    say(format_args!("waiting for {}", path.display()));
                    pasts.push((service.clone(), path.clone(), None));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(logs.missing(service, path)),
                Err(error) => return Err(cannot_read(path)(error)),
            }
        }
        match (pasts.is_empty(), arguments.follow) {
            (true, false) => return Err(anyhow!("there are no logs yet in {}", logs.directory.display()).into()),
            (true, true) => say(format_args!("waiting for logs in {}", logs.directory.display())),
            (false, _) => {}
        }
        let mut printer = Printer::new(&logs, &sources);
        let limit = arguments.lines.or((arguments.since.is_none()).then_some(LINES_DEFAULT));
        print_past(&logs, &pasts, limit, &mut printer)?;
        if !arguments.follow {
            return if printer.is_silent { logs.nothing(&pasts) } else { Ok(()) };
        }
        let mut followers = Vec::new();
        for (service, path, past) in pasts {
            let follower = Follower::new(service, path.clone(), past.and_then(Past::newest)).map_err(cannot_read(&path))?;
            followers.push(follower);
        }
        follow(&logs, followers, &mut printer).await
    })
}

fn cannot_read(path: &Path) -> impl Fn(io::Error) -> Failure + use<'_> {
    move |error| anyhow::Error::new(error).context(format!("cannot read {}", path.display())).into()
}

/// Messages of one log, in its order.
type Entries = Box<dyn Iterator<Item = io::Result<Entry>>>;

/// Prints what the logs have said so far, in the order of time.
fn print_past(
    logs: &Logs,
    pasts: &[(String, PathBuf, Option<Past>)],
    limit: Option<usize>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut lists: Vec<(&str, &Path, Entries)> = Vec::new();
    let mut count = 0;
    for (service, path, past) in pasts {
        let Some(past) = past else { continue };
        let entries: Entries = match limit {
            None => Box::new(past.from(0).map_err(cannot_read(path))?),
            Some(limit) => {
                let last = past.last(limit, logs.since, &|entry| logs.wants(entry)).map_err(cannot_read(path))?;
                count += last.len();
                Box::new(last.into_iter().map(Ok))
            }
        };
        lists.push((service, path, entries));
    }
    // Each log has given as many as are wanted in all.
    let mut surplus = limit.map_or(0, |limit| count.saturating_sub(limit));
    let mut heads: Vec<VecDeque<Entry>> = lists.iter().map(|_| VecDeque::new()).collect();
    loop {
        for ((_, path, list), head) in lists.iter_mut().zip(&mut heads) {
            while head.is_empty()
                && let Some(entry) = list.next()
            {
                let entry = entry.map_err(cannot_read(path))?;
                head.extend(Some(entry).filter(|entry| logs.wants(entry)));
            }
        }
        let first = (0..lists.len()).filter_map(|at| Some((heads[at].front()?.head.time, at))).min();
        let Some((_, at)) = first else { return printer.flush() };
        let Some(entry) = heads[at].pop_front() else { return printer.flush() };
        if surplus > 0 {
            surplus -= 1;
        } else {
            printer.print(lists[at].0, &entry)?;
        }
    }
}

/// Which logs, and what of them.
pub struct Logs {
    directory: PathBuf,
    /// One file for all services.
    common: Option<PathBuf>,
    service: Option<String>,
    /// Messages from then on; ns since the epoch.
    since: i64,
    level: Level,
}

impl Logs {
    async fn find(global: &Global, arguments: &Arguments) -> Result<Self, Failure> {
        let mut config_path = global.config.clone();
        let mut data_path = None;
        if config_path.is_none()
            && let Some(registry) = registry_if_running(global).await?
        {
            let status = registry.status(DEADLINE).await?;
            (config_path, data_path) = (status.config_path.map(PathBuf::from), Some(PathBuf::from(status.data_path)));
        }
        let (data_path, config) = match (data_path, Config::load(&Lookup::new(config_path))) {
            // The file may have been broken since the root read it.
            (Some(data_path), loaded) => (data_path, loaded.ok().map(|loaded| loaded.config)),
            (None, loaded) => loaded.map(|loaded| (loaded.config.data_path().to_owned(), Some(loaded.config)))?,
        };
        let zone = config.as_ref().map_or(Timezone::Local, |config| config.settings.timezone.clone());
        let since = match &arguments.since {
            None => i64::MIN,
            Some(Since::At(moment)) => moment.instant(&zone).context("the date is outside of the years 1678 to 2261")?.0,
            Some(Since::Ago(ago)) => {
                let then = SystemTime::now().checked_sub(*ago).unwrap_or(SystemTime::UNIX_EPOCH);
                let then = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                i64::try_from(then.as_nanos()).unwrap_or(i64::MAX)
            }
        };
        Ok(Self {
            directory: dccd_service::log::directory(&data_path),
            common: config.and_then(|config| config.daemon.log_file),
            service: arguments.service.clone(),
            since,
            level: arguments.level.unwrap_or(Level::Trace),
        })
    }

    /// The logs that are there: services and their files.
    pub fn sources(&self) -> Vec<(String, PathBuf)> {
        match (&self.common, &self.service) {
            (Some(path), _) => vec![(String::new(), path.clone())],
            (None, Some(service)) => vec![(service.clone(), self.directory.join(format!("{service}.log")))],
            (None, None) => {
                let path = |service: String| (service.clone(), self.directory.join(format!("{service}.log")));
                self.services().into_iter().map(path).collect()
            }
        }
    }

    /// The services that have a log of their own.
    fn services(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned());
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// Whether a message is one of those asked for.
    pub fn wants(&self, entry: &Entry) -> bool {
        let head = &entry.head;
        let is_of_service = match (&self.common, &self.service) {
            (Some(_), Some(service)) => head.service.as_ref() == Some(service),
            _ => true,
        };
        head.time >= self.since && head.level >= self.level && is_of_service
    }

    /// Says why nothing is shown: a file for all services may hold nothing of the one that is asked for.
    fn nothing(&self, pasts: &[(String, PathBuf, Option<Past>)]) -> Result<(), Failure> {
        if let (Some(path), Some(service)) = (&self.common, &self.service) {
            let mut names = BTreeSet::new();
            for past in pasts.iter().filter_map(|(_, _, past)| past.as_ref()) {
                for entry in past.from(0).map_err(cannot_read(path))? {
                    names.extend(entry.map_err(cannot_read(path))?.head.service);
                }
            }
            if !names.contains(service) {
                let meant = did_you_mean(service, names.iter().map(String::as_str));
                let names: Vec<_> = names.into_iter().collect();
                let (path, names) =
                    (path.display(), if names.is_empty() { "none yet".to_owned() } else { names.join(", ") });
                return Err(anyhow!("{service} has logged nothing in {path}; there are: {names}{meant}").into());
            }
        }
        say("nothing that was asked for is in the logs");
        Ok(())
    }

    fn missing(&self, service: &str, path: &Path) -> Failure {
        if self.common.is_some() {
            return anyhow!("there is no log {} yet", path.display()).into();
        }
        let names = self.services();
        let meant = did_you_mean(service, names.iter().map(String::as_str));
        let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        anyhow!("{service} has no log in {}; there are: {names}{meant}", self.directory.display()).into()
    }
}

/// Prints messages, with their service where they are of several.
pub struct Printer {
    out: Out,
    names: bool,
    width: usize,
    /// Whether it has printed nothing yet.
    is_silent: bool,
}

impl Printer {
    fn new(logs: &Logs, sources: &[(String, PathBuf)]) -> Self {
        let width = sources.iter().map(|(service, _)| service.len()).max().unwrap_or_default();
        Self { out: Out::new(), names: logs.service.is_none() && logs.common.is_none(), width, is_silent: true }
    }

    /// One message.
    pub fn print(&mut self, service: &str, entry: &Entry) -> Result<(), Failure> {
        self.is_silent = false;
        if !self.names {
            self.out.raw(&entry.text)?;
            return if entry.text.ends_with(b"\n") { Ok(()) } else { self.out.raw(b"\n") };
        }
        for line in entry.text.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            match line {
                // Stays one object.
                [b'{', b'"', rest @ ..] if line.ends_with(b"}") => {
                    self.out.raw(format!("{{\"service\":\"{service}\",\"").as_bytes())?;
                    self.out.raw(rest)?;
                }
                _ => {
                    self.out.raw(format!("{service:<width$} | ", width = self.width).as_bytes())?;
                    self.out.raw(line)?;
                }
            }
            self.out.raw(b"\n")?;
        }
        Ok(())
    }

    /// Lets everything out.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_ago_or_a_date() {
        assert_eq!(since("90s").unwrap(), Since::Ago(Duration::from_secs(90)));
        assert_eq!(since("2h").unwrap(), Since::Ago(Duration::from_secs(7_200)));
        assert!(matches!(since("2026-01-31").unwrap(), Since::At(_)));
        assert!(matches!(since("2026-01-31T12:00:00Z").unwrap(), Since::At(_)));
        for bad in ["", "m", "10", "10 m", "-1m", "yesterday", "99999999999999999999d", "1ü"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
