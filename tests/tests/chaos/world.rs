//! The tree, its exchanges, what is wished for, and how all of it is judged in the end.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dccd_rpc::root::ROOT_NAME;
use dccd_testkit::{POLL_INTERVAL, wait_for};
use dccd_tests::{Exchange, PATIENCE, Place, Tree};
use rustix::process::{Pid, Signal, kill_process};

use crate::far::Far;
use crate::floods::{self, Door, Flood};

/// No command may take longer, whatever is done to the tree: the longest deadline of any, with what it adds to it.
const COMMAND_DEADLINE: Duration = Duration::from_secs(240);
/// Feeds of an exchange when all is wished for.
const FEEDS: usize = 6;

/// What the configuration says now.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    kraken: bool,
    second: bool,
    quotes: bool,
    jobs: bool,
    deep: bool,
    keep: u64,
}

impl Wish {
    const WHOLE: Self = Self { kraken: true, second: true, quotes: true, jobs: false, deep: false, keep: 64 };

    pub(crate) fn change(&mut self, rng: &mut fastrand::Rng) {
        match rng.u8(..6) {
            0 => self.kraken = !self.kraken,
            1 => self.second = !self.second,
            2 => self.quotes = !self.quotes,
            3 => self.jobs = !self.jobs,
            4 => self.deep = !self.deep,
            _ => self.keep = rng.u64(16..128),
        }
    }

    fn text(&self, data_path: &Path, exchanges: &[Exchange; 2], far: &Far) -> String {
        let [binance, kraken] = exchanges;
        let job = |exchange: &Exchange| {
            let symbols = &exchange.symbols()[..if self.second { 2 } else { 1 }];
            let channels = if self.quotes { "trades, book, quotes" } else { "trades, book" };
            let depth = if self.deep { 100 } else { 25 };
            format!(
                "  - {{exchange: {}, pairs: [{}], channels: [{channels}], time_step: 1, depth: {depth}}}\n",
                exchange.name(),
                symbols.join(", ")
            )
        };
        let at = |exchange: &Exchange| {
            format!("  {}: {{rest_url: '{}', ws_url: '{}'}}\n", exchange.name(), exchange.rest_url(), exchange.ws_url())
        };
        let mut text = format!(
            "settings: {{data_path: '{}', timezone: UTC}}\nstorage: {{journal_keep_mb: {}}}\nexchanges:\n{}{}",
            data_path.display(),
            self.keep,
            at(binance),
            at(kraken)
        );
        text += "daemon:\n  orphan_grace: 60\n  shutdown_timeout: 20\n  restart: {max_restarts: 1000, window: 600, base_delay: 0, max_delay: 1, heartbeat_timeout: 3}\n";
        text += &far.text();
        text += &format!("stream_jobs:\n{}", job(binance));
        if self.kraken {
            text += &job(kraken);
        }
        if self.jobs {
            text += "histo_jobs:\n  - {exchange: binance, pairs: [BTC/USDT], span: 60}\n";
        }
        text
    }
}

/// A process that is to be woken again.
pub(crate) struct Sleeper {
    pub(crate) pid: u32,
    pub(crate) wakes: Instant,
}

pub(crate) struct World {
    pub(crate) tree: Tree,
    pub(crate) exchanges: [Exchange; 2],
    pub(crate) wish: Wish,
    pub(crate) sleepers: Vec<Sleeper>,
    pub(crate) far: Far,
    floods: Vec<JoinHandle<()>>,
    /// Somebody who looks at the tree all the time.
    watcher: Option<JoinHandle<u64>>,
    watching: Arc<AtomicBool>,
    slowest: (Duration, String),
}

impl World {
    pub(crate) fn begin() -> Self {
        let exchanges = [("binance", ["BTC/USDT", "ETH/USDT"]), ("kraken", ["BTC/USD", "ETH/USD"])]
            .map(|(name, symbols)| Exchange::of(name, &symbols, 100.0, 200.0));
        let place = Place::new();
        let data_path = place.path().join("data");
        let wish = Wish::WHOLE;
        let far = Far::new(&place);
        let text = wish.text(&data_path, &exchanges, &far);
        let tree = Tree::start_with(place, data_path, &text, "binance");
        let watching = Arc::new(AtomicBool::new(true));
        let mut world = Self {
            tree,
            exchanges,
            wish,
            sleepers: Vec::new(),
            far,
            floods: Vec::new(),
            watcher: None,
            watching,
            slowest: (Duration::ZERO, String::new()),
        };
        world.watch();
        world.far.begin(world.tree.place());
        world
    }

    /// Has somebody ask for the status all the time: with a root or without one there is an answer.
    fn watch(&mut self) {
        let watching = Arc::clone(&self.watching);
        let mut command = self.tree.place().command(&["status", "--detailed", "--json", "--config", "config.yml"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.watcher = Some(std::thread::spawn(move || {
            let mut asked = 0;
            while watching.load(Ordering::Relaxed) {
                let began = Instant::now();
                let mut child = command.spawn().unwrap();
                while child.try_wait().unwrap().is_none() {
                    assert!(began.elapsed() < COMMAND_DEADLINE, "status has not ended");
                    std::thread::sleep(POLL_INTERVAL);
                }
                asked += 1;
            }
            asked
        }));
    }

    pub(crate) fn write(&self, text: &str) {
        let path = self.tree.place().put("config.next", text);
        std::fs::rename(&path, path.with_file_name("config.yml")).unwrap();
    }

    pub(crate) fn write_wish(&self) {
        self.write(&self.wish.text(self.tree.data_path(), &self.exchanges, &self.far));
    }

    /// A command of the tree's instance, under way.
    pub(crate) fn command(&self, args: &[&str]) -> Child {
        let log = |name: &str| File::create(self.tree.place().path().join(name)).unwrap();
        let mut command = self.tree.place().command(args);
        command.stdout(log("command.out")).stderr(log("command.err")).spawn().unwrap()
    }

    /// Waits for the end of a command; its code.
    pub(crate) fn ended(&mut self, what: &str, mut child: Child) -> i32 {
        let began = Instant::now();
        loop {
            self.wake_sleepers();
            if let Some(status) = child.try_wait().unwrap() {
                if began.elapsed() > self.slowest.0 {
                    self.slowest = (began.elapsed(), what.to_owned());
                }
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < COMMAND_DEADLINE, "`dccd {what}` waits without a deadline\n{}", self.tree.root_said());
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Runs a command to its end, which must be one of these.
    #[track_caller]
    pub(crate) fn ran(&mut self, args: &[&str], codes: &[i32]) {
        let child = self.command(args);
        let what = args.join(" ");
        let code = self.ended(&what, child);
        let said = |name: &str| std::fs::read_to_string(self.tree.place().path().join(name)).unwrap_or_default();
        assert!(codes.contains(&code), "`dccd {what}` ended with {code}\n{}{}", said("command.out"), said("command.err"));
        if code != 0 {
            println!("         {what}: {code}: {}", said("command.err").lines().next().unwrap_or_default());
        }
    }

    pub(crate) fn any_name(&self, rng: &mut fastrand::Rng) -> String {
        format!("datad.{}", self.exchanges[rng.usize(..2)].name())
    }

    /// What `pause` may be told: an exchange, a market, one series.
    pub(crate) fn any_prefix(&self, rng: &mut fastrand::Rng) -> String {
        let exchange = &self.exchanges[rng.usize(..2)];
        let symbol = &exchange.symbols()[rng.usize(..2)];
        let name = exchange.name();
        [name.to_owned(), format!("{name}/{symbol}"), format!("{name}/{symbol}/book")][rng.usize(..3)].clone()
    }

    pub(crate) fn any_collector(&self, rng: &mut fastrand::Rng) -> Option<u32> {
        let name = self.any_name(rng);
        self.tree.services()?.into_iter().find(|service| service.name == name)?.pid
    }

    pub(crate) fn signal_collector(&self, rng: &mut fastrand::Rng, signal: Signal) {
        if let Some(pid) = self.any_collector(rng) {
            self.send(pid, signal);
        }
    }

    /// It may be gone by now.
    pub(crate) fn send(&self, pid: u32, signal: Signal) {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
    }

    pub(crate) fn wake_sleepers(&mut self) {
        let now = Instant::now();
        let (due, left) = std::mem::take(&mut self.sleepers).into_iter().partition(|sleeper| sleeper.wakes <= now);
        self.sleepers = left;
        let due: Vec<Sleeper> = due;
        due.iter().for_each(|sleeper| self.send(sleeper.pid, Signal::CONT));
    }

    pub(crate) fn flood(&mut self, what: Flood, rng: &mut fastrand::Rng) {
        let name = if rng.bool() { ROOT_NAME.to_owned() } else { self.any_name(rng) };
        let file = if name == ROOT_NAME { "root" } else { &name };
        let door = if rng.bool() {
            Door::Unix(self.tree.runtime_path().join(format!("{file}.sock")))
        } else {
            // Three who are not the honest one, as far as anybody can tell.
            let from = Ipv4Addr::new(127, 0, 0, rng.u8(2..5));
            Door::Tcp { address: self.far.address(), from, tls: self.far.tls() }
        };
        println!("         at {name}, by {}", if matches!(door, Door::Unix(_)) { "its socket" } else { "the port" });
        let seed = rng.u64(..);
        self.floods.push(std::thread::spawn(move || floods::flood(&door, &name, what, seed)));
    }

    /// Whatever clients may do, all at once; later it comes by chance.
    pub(crate) fn storm(&mut self, rng: &mut fastrand::Rng) {
        for what in floods::ALL {
            println!("         {what:?}");
            self.flood(*what, rng);
        }
    }

    /// From now on the port is talked to in TLS: a root takes that up at its start.
    pub(crate) fn speak_tls(&mut self) {
        let _disturbed = self.far.disturb();
        self.far.speak_tls();
        self.write_wish();
        self.tree.kill_root();
        self.tree.start_root();
    }

    /// Everything is wished for again, and judged.
    pub(crate) fn end(mut self) {
        self.sleepers.iter_mut().for_each(|sleeper| sleeper.wakes = Instant::now());
        self.wake_sleepers();
        self.wish = Wish::WHOLE;
        self.write_wish();
        self.ran(&["reload"], &[0]);
        self.ran(&["resume", "--live"], &[0]);
        self.watching.store(false, Ordering::Relaxed);
        let asked = self.watcher.take().unwrap().join().unwrap();
        self.floods.drain(..).for_each(|flood| flood.join().unwrap());
        let (took, what) = &self.slowest;
        println!("asked for the status {asked} times; the slowest command, {what}, took {took:?}");
        println!("from afar: {:?}", self.far.end());
        let names = ["dccd-root", "datad.binance", "datad.kraken"];
        wait_for(
            PATIENCE,
            || self.tree.services().unwrap_or_default(),
            |services| {
                let ready = services.iter().filter(|service| service.state.is_ready());
                ready.map(|service| service.name.as_str()).eq(names) && services.len() == names.len()
            },
        );
        for name in ["kraken", "binance"] {
            self.tree.look_at(name);
            self.tree.wait_fresh(FEEDS);
        }
        for exchange in &self.exchanges {
            self.tree.look_at(exchange.name());
            self.tree.drain(exchange, u64::MAX);
        }
        self.tree.stop();
        for exchange in &mut self.exchanges {
            let name = exchange.name().to_owned();
            self.tree.look_at(&name);
            let audit = self.tree.audit(exchange);
            println!("{name}: {audit}");
        }
        self.tree.verify();
        self.nothing_is_left();
        self.nobody_panicked();
    }

    fn nobody_panicked(&self) {
        let logs = files(&self.tree.data_path().join(".dccd/logs")).into_iter().map(|path| std::fs::read(path).unwrap());
        let said = logs.chain([self.tree.root_said().into_bytes()]).map(|log| String::from_utf8_lossy(&log).into_owned());
        let panics: Vec<String> = said
            .flat_map(|log| {
                log.lines()
                    .filter(|line| ["panic: ", "panicked at"].iter().any(|words| line.contains(words)))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(panics, [""; 0]);
    }

    fn nothing_is_left(&self) {
        let instance = self.tree.place().instance();
        wait_for(PATIENCE, || processes(instance), Vec::is_empty);
        let temporary = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "tmp");
        let left: Vec<PathBuf> =
            [self.tree.data_path(), self.tree.runtime_path()].into_iter().flat_map(files).filter(temporary).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "temporary files are left behind");
    }
}

/// Processes that have this instance's name among their arguments.
fn processes(instance: &str) -> Vec<String> {
    let directories = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let commands = directories.filter_map(|path| std::fs::read(path.join("cmdline")).ok());
    let lines = commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    lines.filter(|line| line.contains(instance)).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
