//! Backfills as jobs: each has an id, a state, and the progress of its series, kept in a file so that what was interrupted is known.
//!
//! `<data_path>/.dccd/state/<exchange>/backfills.json`: the newest last. Written by whoever runs the exchange's backfills, one process
//! at a time; read by anybody.

use std::io;
use std::path::{Path, PathBuf};

use dccd_model::{ExchangeName, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::progress::{Progress, SeriesProgress, State};

/// Backfills that are remembered.
const KEPT: usize = 50;

/// Which process works on a backfill: a number that is used again has another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its pid.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot; 0 where that can't be read.
    pub started: u64,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        let pid = std::process::id();
        Self { pid, started: start_ticks(pid).unwrap_or(0) }
    }

    /// Whether it still lives.
    #[must_use]
    pub fn lives(self) -> bool {
        start_ticks(self.pid).is_some_and(|started| started == self.started)
    }
}

/// Field 22 of `/proc/<pid>/stat`; the second, the name, may hold anything but ends at the last bracket.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// One backfill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backfill {
    /// `<exchange>-<number>`.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// When it began.
    pub started: UnixNanos,
    /// When it ended.
    pub ended: Option<UnixNanos>,
    /// Who works on it.
    pub owner: Owner,
    /// Its series.
    pub series: Vec<SeriesProgress>,
}

/// The backfills of one exchange.
#[derive(Debug)]
pub struct Backfills {
    path: PathBuf,
    exchange: ExchangeName,
    list: Vec<Backfill>,
    /// The file is older than the list.
    changed: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    backfills: Vec<Backfill>,
}

/// Reads what is known of an exchange's backfills; those whose process is gone show as interrupted.
///
/// # Errors
/// When the file can't be read, or holds something else.
pub fn read_backfills(data_path: &Path, exchange: &ExchangeName) -> io::Result<Vec<Backfill>> {
    let text = match std::fs::read(path(data_path, exchange)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut list = serde_json::from_slice::<Stored>(&text)?.backfills;
    for backfill in list.iter_mut().filter(|b| !b.state.is_final() && !b.owner.lives()) {
        backfill.interrupt();
    }
    Ok(list)
}

fn path(data_path: &Path, exchange: &ExchangeName) -> PathBuf {
    data_path.join(".dccd").join("state").join(exchange.as_str()).join("backfills.json")
}

impl Backfill {
    fn interrupt(&mut self) {
        self.state = State::Interrupted;
        for series in self.series.iter_mut().filter(|series| !series.state.is_final()) {
            series.state = State::Interrupted;
        }
    }
}

impl Backfills {
    /// Opens the list to go on with it. A list that can't be read begins anew, and that is logged.
    #[must_use]
    pub fn open(data_path: &Path, exchange: &ExchangeName) -> Self {
        let list = read_backfills(data_path, exchange).unwrap_or_else(|error| {
            tracing::warn!(%exchange, %error, "the list of backfills can't be read and begins anew");
            Vec::new()
        });
        Self { path: path(data_path, exchange), exchange: exchange.clone(), list, changed: false }
    }

    /// All of them, the newest last.
    #[must_use]
    pub fn list(&self) -> &[Backfill] {
        &self.list
    }

    /// Adds one that begins now; gives its id.
    pub fn begin(&mut self, series: &[Progress], now: UnixNanos) -> String {
        let number = |id: &str| id.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
        let next = self.list.iter().filter_map(|b| number(&b.id)).max().unwrap_or(0) + 1;
        let id = format!("{}-{next}", self.exchange);
        self.list.push(Backfill {
            id: id.clone(),
            state: State::Running,
            started: now,
            ended: None,
            owner: Owner::this(),
            series: series.iter().map(Progress::get).collect(),
        });
        let surplus = self.list.len().saturating_sub(KEPT);
        self.list.drain(..surplus);
        self.save();
        id
    }

    /// Notes how far it is; the file follows with [`Self::save_if_changed`].
    pub fn update(&mut self, id: &str, series: &[Progress]) {
        if let Some(backfill) = self.list.iter_mut().find(|b| b.id == id) {
            let series: Vec<SeriesProgress> = series.iter().map(Progress::get).collect();
            self.changed |= series != backfill.series;
            backfill.series = series;
        }
    }

    /// Brings the file up to date.
    pub fn save_if_changed(&mut self) {
        if self.changed {
            self.save();
        }
    }

    /// Notes how it ended.
    pub fn end(&mut self, id: &str, series: &[Progress], now: UnixNanos) {
        if let Some(backfill) = self.list.iter_mut().find(|b| b.id == id) {
            backfill.series = series.iter().map(Progress::get).collect();
            backfill.state = outcome(&backfill.series);
            backfill.ended = Some(now);
            self.save();
        }
    }

    fn save(&mut self) {
        self.changed = false;
        let stored = Stored { backfills: self.list.clone() };
        let written = serde_json::to_vec_pretty(&stored).map_err(io::Error::from);
        let written = written.and_then(|text| dccd_store::write_atomically(&self.path, &text).map_err(io::Error::other));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "the list of backfills could not be saved");
        }
    }
}

/// The state of the whole by that of its series.
#[must_use]
pub fn outcome(series: &[SeriesProgress]) -> State {
    let any = |state| series.iter().any(|s| s.state == state);
    if any(State::Cancelled) {
        State::Cancelled
    } else if any(State::Failed) {
        State::Failed
    } else if any(State::Interrupted) {
        State::Interrupted
    } else if any(State::Running) || any(State::Waiting) {
        State::Running
    } else {
        State::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> UnixNanos {
        UnixNanos(s * 1_000_000_000)
    }

    #[test]
    fn a_backfill_whose_process_is_gone_shows_as_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let exchange = "binance".parse().unwrap();
        let mut backfills = Backfills::open(dir.path(), &exchange);
        let series = [Progress::of("binance/BTC/USDT/1h".to_owned())];
        series[0].update(|p| p.state = State::Running);
        let id = backfills.begin(&series, at(1));
        assert_eq!(id, "binance-1");
        assert_eq!(read_backfills(dir.path(), &exchange).unwrap()[0].state, State::Running);
        backfills.list[0].owner.started += 1;
        backfills.save();
        let read = read_backfills(dir.path(), &exchange).unwrap();
        assert_eq!((read[0].state, read[0].series[0].state), (State::Interrupted, State::Interrupted));
        let mut again = Backfills::open(dir.path(), &exchange);
        assert_eq!(again.begin(&series, at(2)), "binance-2");
        series[0].update(|p| p.state = State::Done);
        again.end("binance-2", &series, at(3));
        let states: Vec<State> = read_backfills(dir.path(), &exchange).unwrap().iter().map(|b| b.state).collect();
        assert_eq!(states, [State::Interrupted, State::Done]);
    }

    #[test]
    fn only_the_newest_are_kept_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let exchange = "kraken".parse().unwrap();
        let mut backfills = Backfills::open(dir.path(), &exchange);
        let ids: Vec<String> = (0..KEPT + 2).map(|_| backfills.begin(&[], at(1))).collect();
        assert_eq!(backfills.list().len(), KEPT);
        assert_eq!(ids.last().unwrap(), &format!("kraken-{}", KEPT + 2));
    }
}
