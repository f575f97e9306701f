//! What this host has to give: shared memory, open files, disk, programs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use dccd_config::Config;
use dccd_model::Channel;
use dccd_registry::RuntimeDir;
use dccd_service::{PidLock, chain};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::output::bytes;

/// Where rings lie.
const SHARED_MEMORY: &str = "/dev/shm";
/// What a ring needs besides its slots.
const RING_HEADER_BYTES: u64 = 4_096;
/// Descriptors of a service besides those of its feeds, and those of one feed: its ring, its journal, the files that it writes at once.
const FILES_OF_A_SERVICE: u64 = 128;
const FILES_OF_A_FEED: u64 = 4;
/// Days that the disk should last.
const DAYS_WANTED: u64 = 7;

/// What a busy market of a channel grows by in a day where nothing is stored yet to tell.
fn guessed_day_bytes(channel: Channel) -> u64 {
    match channel {
        Channel::Trades => 30 << 20,
        Channel::Book => 400 << 20,
        Channel::Quotes => 80 << 20,
        Channel::Ohlc => 1 << 17,
    }
}

/// What the live jobs of a configuration need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Feeds {
    /// Of the service that has most of them.
    pub most: u64,
    /// All rings together.
    pub ring_bytes: u64,
    /// Growth in a day, guessed.
    pub day_bytes: u64,
}

impl Feeds {
    pub fn of(config: &Config) -> Self {
        let mut feeds = Self::default();
        for exchange in config.collected_exchanges() {
            let book_slots = config.exchange(&exchange).ring_slots;
            let mut seen = std::collections::BTreeSet::new();
            for job in config.live_jobs(&exchange) {
                let each = job.pairs.iter().flat_map(|pair| job.channels.iter().map(move |channel| (pair, *channel)));
                seen.extend(each);
            }
            feeds.most = feeds.most.max(seen.len() as u64);
            for (_, channel) in seen {
                let (slots, slot_bytes) = match channel {
                    Channel::Book => (book_slots, 64),
                    Channel::Ohlc => ((book_slots / 4).max(1_024), 128),
                    Channel::Trades | Channel::Quotes => ((book_slots / 4).max(1_024), 64),
                };
                feeds.ring_bytes += slots * slot_bytes + RING_HEADER_BYTES;
                feeds.day_bytes += guessed_day_bytes(channel);
            }
        }
        feeds
    }

    /// What the journals of all exchanges keep.
    pub fn journal_bytes(self, config: &Config) -> u64 {
        (config.storage.journal_keep_mb << 20) * config.collected_exchanges().len() as u64
    }
}

/// Room for the rings that are not there yet.
pub fn shared_memory(instance: &str, needed: u64) -> Finding {
    let check = "shared memory";
    let prefix = format!("dccd.{instance}.");
    let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let there: u64 = ours.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    let free = match rustix::fs::statvfs(SHARED_MEMORY) {
        Ok(stat) => stat.f_bavail * stat.f_frsize,
        Err(error) => return Finding::failed(check, format!("{SHARED_MEMORY}: {error}"), "mount a tmpfs on /dev/shm"),
    };
    let missing = needed.saturating_sub(there);
    let measured =
        format!("{} free, {} needed for rings, {} of it there", bytes(free), bytes(needed), bytes(there.min(needed)));
    if missing > free {
        let size = (there + missing + (missing / 4)).div_ceil(1 << 20);
        let remedy = format!(
            "more of it: mount -o remount,size={size}m /dev/shm (Docker: --shm-size={size}m); or smaller rings: exchanges.<x>.ring_slots"
        );
        return Finding::failed(check, measured, remedy);
    }
    Finding::ok(check, measured)
}

/// Whether a process may have as many files open as the feeds need.
pub fn open_files(feeds: u64) -> Finding {
    let check = "open files";
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = FILES_OF_A_SERVICE + feeds * FILES_OF_A_FEED;
    let measured = format!("{limit} a process, about {needed} needed");
    let remedy = "ulimit -n 65536, or LimitNOFILE=65536 in the unit (`dccd service install` writes that)";
    if limit < needed { Finding::failed(check, measured, remedy) } else { Finding::ok(check, measured) }
}

/// Whether the disk lasts.
pub fn disk(data_path: &Path, guessed_day: u64, journal: u64) -> Finding {
    let check = "disk";
    let place = data_path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = match rustix::fs::statvfs(place) {
        Ok(stat) => stat,
        Err(error) => return Finding::failed(check, format!("{}: {error}", place.display()), "is the disk there?"),
    };
    let free = stat.f_bavail * stat.f_frsize;
    let (day, from) = match largest_day(data_path) {
        Some(day) => (day, "by what is stored"),
        None => (guessed_day, "guessed"),
    };
    // The journal fills up to what it keeps, once.
    let journal = journal.saturating_sub(size_below(&data_path.join(".dccd/journal")));
    let measured = format!(
        "{} free at {}; a day takes {} ({from}), the journal up to {} more",
        bytes(free),
        place.display(),
        bytes(day),
        bytes(journal)
    );
    let remedy = "make room or name another disk in settings.data_path; storage.journal_keep_mb may be less";
    if stat.f_files > 0 && stat.f_favail < 10_000 {
        return Finding::failed(check, format!("{} files more can be made at {}", stat.f_favail, place.display()), remedy);
    }
    if free < journal + day {
        Finding::failed(check, measured, remedy)
    } else if free < journal + day * DAYS_WANTED {
        Finding::warning(check, measured, remedy)
    } else {
        Finding::ok(check, measured)
    }
}

/// Bytes of the largest of the last whole days that are stored; `None` where there is none.
fn largest_day(data_path: &Path) -> Option<u64> {
    let mut days: BTreeMap<String, u64> = BTreeMap::new();
    let below =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    for exchange in below(data_path) {
        for kind in ["trades", "orderbook", "quotes"] {
            for file in below(&exchange.join(kind)).iter().flat_map(|pair| below(pair)) {
                let day = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                let size = fs::metadata(&file).map(|meta| meta.len()).unwrap_or_default();
                if day.parse::<jiff::civil::Date>().is_ok() {
                    *days.entry(day).or_default() += size;
                }
            }
        }
    }
    // The last is still open, or nobody collects any more.
    days.pop_last();
    days.into_iter().rev().take(7).map(|(_, size)| size).max()
}

fn size_below(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Whether the addresses are free that dccd is to listen on. Where its root runs they are that root's.
pub fn ports(wanted: Vec<(&'static str, SocketAddr)>, runtime_dir: &RuntimeDir) -> Vec<Finding> {
    let root = PidLock::holder(&runtime_dir.root_lock()).ok().flatten();
    let look = |(key, address): (&str, SocketAddr)| match root {
        Some(pid) => Finding::ok("ports", format!("{address}: for this instance's dccd-root (pid {pid})")),
        None => match TcpListener::bind(address) {
            Ok(_) => Finding::ok("ports", format!("{address}: free")),
            Err(error) => {
                let remedy = format!("free it, or choose another address in {key}");
                Finding::failed("ports", format!("{address}: {error}"), remedy)
            }
        },
    };
    wanted.into_iter().map(look).collect()
}

/// Whether the program that remotes need is there, and knows them.
pub async fn rclone(config: &Config) -> Vec<Finding> {
    let rclone = syncd::Rclone::default();
    match syncd::unknown_remotes(&syncd::targets(config), &rclone).await {
        Ok(unknown) if unknown.is_empty() => {
            let version = rclone.check().await.map_or_else(|error| chain(&error), |version| format!("rclone {version}"));
            vec![Finding::ok("rclone", version)]
        }
        Ok(unknown) => {
            let remedy = "make it with: rclone config; under systemd RCLONE_CONFIG says where its configuration is";
            unknown.into_iter().map(|remote| Finding::failed("rclone", remote.to_string(), remedy)).collect()
        }
        Err(error) => {
            let remedy = "install it (Debian: apt install rclone), or remove the remote from storage.remotes";
            vec![Finding::failed("rclone", format!("a remote needs it: {}", chain(&error)), remedy)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn rings_are_counted_once_each() {
        let text = "stream_jobs:
  - {exchange: binance, pairs: [BTC/USDT, ETH/USDT], channels: [trades, book]}
  - {exchange: kraken, pairs: [BTC/USD], channels: [ohlc]}
exchanges: {binance: {ring_slots: 8192}, kraken: {ring_slots: 1024}}";
        let (config, _) = Config::parse(text, Path::new("x.yml"), &|_| None).unwrap();
        let feeds = Feeds::of(&config);
        assert_eq!(feeds.most, 4);
        assert_eq!(feeds.ring_bytes, 2 * (8_192 * 64 + 2_048 * 64) + 1_024 * 128 + 5 * 4_096);
        assert_eq!(feeds.journal_bytes(&config), 2 << 30);
    }

    #[test]
    fn what_is_too_little_fails() {
        assert_eq!(shared_memory("nobody-has-this", 1).status, Status::Ok);
        let little = shared_memory("nobody-has-this", u64::MAX / 2);
        assert_eq!(little.status, Status::Failed);
        assert!(little.remedy.unwrap().contains("--shm-size="));
        assert_eq!(open_files(0).status, Status::Ok);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(disk(dir.path(), 1, 0).status, Status::Ok);
        assert_eq!(disk(&dir.path().join("not/there/yet"), 1 << 60, 0).status, Status::Failed);
    }

    #[test]
    fn growth_is_that_of_whole_days() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(largest_day(dir.path()), None);
        for (file, size) in [
            ("binance/trades/BTC-USDT/2026-01-01.parquet", 100),
            ("binance/quotes/BTC-USDT/2026-01-01.parquet", 10),
            ("binance/trades/BTC-USDT/2026-01-02.parquet", 50),
            ("binance/trades/BTC-USDT/2026-01-03.parquet", 9_999),
            ("binance/ohlc/BTC-USDT/1m/2026.parquet", 77_777),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; size]).unwrap();
        }
        assert_eq!(largest_day(dir.path()), Some(110));
        assert_eq!(size_below(&dir.path().join("binance/ohlc")), 77_777);
    }
}
