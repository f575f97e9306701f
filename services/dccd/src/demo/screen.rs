//! What the demo shows while it runs: redrawn in place on a terminal, a line every two seconds elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use dccd_rpc::datad::{FeedInfo, Stats};
use dccd_rpc::root::ServiceInfo;

/// Lines of events that stay in view.
const EVENTS_SHOWN: usize = 6;
/// Elsewhere than on a terminal one line is printed this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// One look at the running tree.
#[derive(Default)]
pub struct Look {
    /// The root's list.
    pub services: Vec<ServiceInfo>,
    /// The datad's feeds; empty while it is away.
    pub feeds: Vec<FeedInfo>,
    /// The datad's counters; `None` while it is away.
    pub stats: Option<Stats>,
}

/// The screen, and what it needs to turn counters into rates.
pub struct Screen {
    title: String,
    started: Instant,
    length: Duration,
    in_place: bool,
    lines_drawn: usize,
    events: Vec<String>,
    previous: Option<(Instant, Counts)>,
    printed: Option<Instant>,
}

#[derive(Clone, Default)]
struct Counts {
    generation: u64,
    frames: u64,
    records: u64,
    cursors: BTreeMap<(String, String), u64>,
}

impl Counts {
    fn of(look: &Look) -> Self {
        let stats = look.stats.clone().unwrap_or_default();
        Self {
            generation: look.feeds.first().map_or(0, |f| f.generation),
            frames: stats.frames,
            records: stats.records,
            cursors: look.feeds.iter().map(|f| ((f.symbol.clone(), f.channel.clone()), f.cursor)).collect(),
        }
    }
}

impl Screen {
    /// A screen for a demo of this length. Draws on standard error: standard output is for the result.
    pub fn new(title: String, length: Duration) -> Self {
        let in_place = std::io::stderr().is_terminal();
        Self {
            title,
            started: Instant::now(),
            length,
            in_place,
            lines_drawn: 0,
            events: Vec::new(),
            previous: None,
            printed: None,
        }
    }

    /// Seconds since the start.
    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Notes something that happened.
    pub fn event(&mut self, text: &str) {
        let line = format!("{:5.1} s  {text}", self.elapsed());
        if !self.in_place {
            let _ = writeln!(std::io::stderr(), "{line}"); // a closed terminal is no reason to stop
        }
        self.events.push(line);
    }

    /// Shows a look.
    pub fn draw(&mut self, look: &Look) {
        let counts = Counts::of(look);
        let now = Instant::now();
        // Rates need two looks at the same process.
        let before = self.previous.take().filter(|(_, c)| c.generation == counts.generation);
        let seconds = before.as_ref().map_or(0.0, |(at, _)| now.duration_since(*at).as_secs_f64());
        let previous = before.map(|(_, c)| c).unwrap_or_default();
        let rate = |new: u64, old: u64| if seconds > 0.0 { per_second(new.saturating_sub(old), seconds) } else { 0 };
        let frames = rate(counts.frames, previous.frames);
        let records = rate(counts.records, previous.records);
        if self.in_place {
            let mut text = String::new();
            self.head(&mut text);
            services(&mut text, &look.services);
            markets(&mut text, &look.feeds, |key| {
                rate(counts.cursors.get(key).copied().unwrap_or(0), previous.cursors.get(key).copied().unwrap_or(0))
            });
            totals(&mut text, look, frames, records);
            for event in self.events.iter().rev().take(EVENTS_SHOWN).rev() {
                let _ = writeln!(text, "{event}"); // writing to a string does not fail
            }
            self.redraw(&text);
        } else if self.printed.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) {
            self.printed = Some(now);
            let mut text = format!("{:5.1} s  ", self.elapsed());
            totals(&mut text, look, frames, records);
            let _ = write!(std::io::stderr(), "{text}"); // as above
        }
        self.previous = Some((now, counts));
    }

    fn head(&self, text: &mut String) {
        let _ = writeln!(text, "{}", self.title);
        let _ = writeln!(text, "{:.0} of {} s · Ctrl-C ends it earlier\n", self.elapsed(), self.length.as_secs());
    }

    fn redraw(&mut self, text: &str) {
        let mut out = String::new();
        if self.lines_drawn > 0 {
            let _ = write!(out, "\x1b[{}A", self.lines_drawn);
        }
        // A line that wraps would count twice when the next picture goes back up.
        let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { usize::MAX } else { width };
        for line in text.lines() {
            let line: String = line.chars().take(width).collect();
            let _ = writeln!(out, "\x1b[2K{line}");
        }
        // What the last picture had more than this one.
        out.push_str("\x1b[0J");
        self.lines_drawn = text.lines().count();
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(out.as_bytes());
        let _ = stderr.flush();
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // a rate for people
fn per_second(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds).round() as u64
}

fn services(text: &mut String, services: &[ServiceInfo]) {
    let _ = writeln!(
        text,
        "{:<16} {:<9} {:>8} {:>8} {:>9} {:>9} {:>6}",
        "SERVICE", "STATE", "PID", "UP", "RESTARTS", "MEMORY", "CPU"
    );
    for s in services {
        let _ = writeln!(
            text,
            "{:<16} {:<9} {:>8} {:>6} s {:>9} {:>5} MiB {:>5.1}%",
            s.name,
            s.state,
            s.pid.map_or_else(|| "-".to_owned(), |p| p.to_string()),
            s.uptime_s.map_or_else(|| "-".to_owned(), |u| format!("{u:.0}")),
            s.restarts,
            s.rss_bytes.unwrap_or(0) / (1 << 20),
            s.cpu_pct.unwrap_or(0.0),
        );
    }
    text.push('\n');
}

fn markets(text: &mut String, feeds: &[FeedInfo], rate: impl Fn(&(String, String)) -> u64) {
    let _ = writeln!(
        text,
        "{:<11} {:>14} {:>14} {:>14} {:>10} {:>9} {:>9} {:>9}  {:<8} GAPS",
        "MARKET", "LAST", "BID", "ASK", "SPREAD", "TRADES/s", "QUOTES/s", "LEVELS/s", "BOOK"
    );
    let mut symbols: Vec<&str> = feeds.iter().map(|f| f.symbol.as_str()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    for symbol in symbols {
        let find = |channel: &str| feeds.iter().find(|f| f.symbol == symbol && f.channel == channel);
        let dash = || "-".to_owned();
        let best = find("quotes").or_else(|| find("book")).and_then(|f| f.best.clone());
        let (bid, ask) = best.unwrap_or_else(|| (dash(), dash()));
        let spread = dccd_model::Decimal::parse(ask.as_bytes())
            .and_then(|a| dccd_model::Decimal::parse(bid.as_bytes()).map(|b| format!("{:.8}", a.to_f64() - b.to_f64())))
            .unwrap_or_else(|_| dash());
        let speed = |channel: &str| rate(&(symbol.to_owned(), channel.to_owned()));
        let gaps: u64 = feeds.iter().filter(|f| f.symbol == symbol).map(|f| f.gaps).sum();
        let _ = writeln!(
            text,
            "{symbol:<11} {:>14} {:>14} {:>14} {:>10} {:>9} {:>9} {:>9}  {:<8} {gaps}",
            find("trades").and_then(|f| f.last_price.clone()).unwrap_or_else(dash),
            trim(&bid),
            trim(&ask),
            trim(&spread),
            speed("trades"),
            speed("quotes"),
            speed("book"),
            find("book").and_then(|f| f.book_state.clone()).unwrap_or_else(dash),
        );
    }
    text.push('\n');
}

fn totals(text: &mut String, look: &Look, frames: u64, records: u64) {
    let _ = match &look.stats {
        None => writeln!(text, "the collector is away"),
        Some(s) => writeln!(
            text,
            "{frames} frames/s · {records} records/s · frame to ring p50 {} p99 {} · {} rows in Parquet · {} gaps, {} made good",
            micros(s.frame_to_ring_p50),
            micros(s.frame_to_ring_p99),
            s.rows_written,
            s.gaps,
            s.gap_repairs,
        ),
    };
}

#[allow(clippy::cast_precision_loss)] // for people
fn micros(nanos: u64) -> String {
    format!("{:.1} µs", nanos as f64 / 1_000.0)
}

/// A decimal text without its trailing zeros.
fn trim(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
