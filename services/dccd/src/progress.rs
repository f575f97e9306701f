//! How far long work is: bars on a terminal, plain lines elsewhere. All of it on standard error.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use dccd_rpc::datad::BackfillSeries;
use dccd_rpc::syncd::RemoteStatus;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{bytes, say, seconds};

/// Between two plain lines of a series.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Bars at the same time; what else goes on shows when they are through.
const BARS_MAX: usize = 12;

/// Shows series as they go on.
pub struct Display {
    bars: Option<MultiProgress>,
    shown: HashMap<String, Shown>,
}

#[derive(Default)]
struct Shown {
    bar: Option<ProgressBar>,
    line: Option<Instant>,
    is_over: bool,
}

impl Display {
    /// On standard error, whatever that is.
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars, shown: HashMap::new() }
    }

    /// Brings what is shown up to date.
    pub fn update(&mut self, series: &[BackfillSeries]) {
        for series in series.iter().filter(|series| series.state != "waiting") {
            let open = self.shown.values().filter(|shown| shown.bar.is_some() && !shown.is_over).count();
            let shown = self.shown.entry(series.job.clone()).or_default();
            if shown.is_over {
                continue;
            }
            shown.is_over = series.state != "running";
            match &self.bars {
                Some(bars) => {
                    if shown.bar.is_none() && (open < BARS_MAX || shown.is_over) {
                        shown.bar = Some(bars.add(new_bar()));
                    }
                    if let Some(bar) = &shown.bar {
                        bar.set_length(series.candles_total.max(1));
                        bar.set_position(if shown.is_over && series.candles_total == 0 { 1 } else { series.candles_done });
                        bar.set_prefix(series.job.clone());
                        bar.set_message(line(series));
                        if shown.is_over {
                            bar.abandon();
                        }
                    }
                }
                None if shown.is_over || shown.line.is_none_or(|at| at.elapsed() >= LINE_EVERY) => {
                    shown.line = Some(Instant::now());
                    say(format_args!("{}: {}", series.job, line(series)));
                }
                None => {}
            }
        }
    }
}

fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:28} {bar:24} {percent:>3}% {msg}").ok();
    let bar = ProgressBar::new(1);
    style.into_iter().for_each(|style| bar.set_style(style.progress_chars("█▌ ")));
    bar
}

/// One line about a series.
fn line(series: &BackfillSeries) -> String {
    let mut parts = Vec::new();
    if series.state != "running" {
        parts.push(series.state.clone());
    }
    if series.state == "done" && series.candles_total == 0 {
        return "complete, nothing to fetch".to_owned();
    }
    match series.windows_total {
        Some(total) => parts.push(format!("{} of {total} windows", series.windows_done)),
        None if series.windows_done > 0 => parts.push(format!("{} windows", series.windows_done)),
        None => {}
    }
    parts.push(format!("{} rows", series.rows));
    if series.trades > 0 {
        parts.push(format!("{} trades read", series.trades));
    }
    if series.rows > 0 {
        parts.push(format!("{:.0} rows/s", series.rows_per_second));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds for people")]
    if let Some(eta) = series.eta_s.filter(|eta| eta.is_finite() && *eta >= 0.0) {
        parts.push(format!("{} left", seconds(eta.ceil() as u64)));
    }
    if series.windows_failed > 0 {
        parts.push(format!("{} windows FAILED", series.windows_failed));
    }
    parts.extend(series.waits_for.clone());
    if let Some(error) = &series.error {
        parts.push(error.clone());
    }
    parts.join(", ")
}

/// Shows copies of the store as they go on.
pub struct Copying {
    bars: Option<MultiProgress>,
    shown: HashMap<String, Shown>,
}

impl Copying {
    /// On standard error, whatever that is.
    pub fn new() -> Self {
        let Display { bars, .. } = Display::new();
        Self { bars, shown: HashMap::new() }
    }

    /// Brings what is shown up to date.
    pub fn update(&mut self, remotes: &[RemoteStatus]) {
        for remote in remotes.iter().filter(|remote| remote.runs_begun > 0) {
            let shown = self.shown.entry(remote.remote.clone()).or_default();
            if shown.is_over {
                continue;
            }
            shown.is_over = remote.state != "running";
            match &self.bars {
                Some(bars) => {
                    let bar = shown.bar.get_or_insert_with(|| bars.add(new_bar()));
                    let is_whole = remote.bytes_total == 0 && shown.is_over;
                    bar.set_length(remote.bytes_total.max(1));
                    bar.set_position(if is_whole { 1 } else { remote.bytes_done });
                    bar.set_prefix(remote.remote.clone());
                    bar.set_message(copying(remote));
                }
                None if shown.is_over || shown.line.is_none_or(|at| at.elapsed() >= LINE_EVERY) => {
                    shown.line = Some(Instant::now());
                    say(format_args!("{}: {}", remote.remote, copying(remote)));
                }
                None => {}
            }
        }
    }

    /// Leaves what is shown as it is.
    pub fn end(&self) {
        self.shown.values().filter_map(|shown| shown.bar.as_ref()).for_each(ProgressBar::abandon);
    }
}

/// One line about a copy.
fn copying(remote: &RemoteStatus) -> String {
    if remote.state == "idle" && remote.files_total == 0 {
        return "up to date, nothing to copy".to_owned();
    }
    let mut parts = Vec::new();
    if remote.state != "running" {
        parts.push(if remote.state == "idle" { "done".to_owned() } else { remote.state.clone() });
    } else if remote.files_total == 0 {
        return "looking for what has changed".to_owned();
    }
    parts.push(format!("{} of {} files", remote.files_done, remote.files_total));
    parts.push(format!("{} of {}", bytes(remote.bytes_done), bytes(remote.bytes_total)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole bytes and seconds for people")]
    {
        parts.push(format!("{}/s", bytes(remote.bytes_per_second.max(0.0) as u64)));
        if let Some(eta) = remote.eta_s.filter(|eta| eta.is_finite() && *eta >= 0.0) {
            parts.push(format!("{} left", seconds(eta.ceil() as u64)));
        }
    }
    parts.extend(remote.copying.first().cloned());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_windows_rows_pace_and_what_is_left() {
        let mut series = BackfillSeries {
            job: "binance/BTC/USDT/1m".to_owned(),
            state: "running".to_owned(),
            windows_total: Some(10),
            windows_done: 4,
            windows_failed: 0,
            candles_total: 10_000,
            candles_done: 4_000,
            rows: 3_990,
            trades: 0,
            rows_per_second: 1_995.0,
            eta_s: Some(2.4),
            at: 0,
            waits_for: None,
            error: None,
            notes: Vec::new(),
        };
        assert_eq!(line(&series), "4 of 10 windows, 3990 rows, 1995 rows/s, 3s left");
        series.waits_for = Some("the exchange's rate limit is used up, on in 47 s".to_owned());
        assert!(line(&series).ends_with("3s left, the exchange's rate limit is used up, on in 47 s"));
        series.waits_for = None;
        series.state = "failed".to_owned();
        (series.eta_s, series.windows_failed, series.error) = (None, 2, Some("no answer".to_owned()));
        assert_eq!(line(&series), "failed, 4 of 10 windows, 3990 rows, 1995 rows/s, 2 windows FAILED, no answer");
    }

    #[test]
    fn a_line_says_files_bytes_pace_and_what_is_left_of_a_copy() {
        let mut remote = RemoteStatus { state: "running".to_owned(), runs_begun: 1, ..RemoteStatus::default() };
        assert_eq!(copying(&remote), "looking for what has changed");
        (remote.files_done, remote.files_total, remote.bytes_done, remote.bytes_total) = (1, 3, 1 << 20, 3 << 20);
        (remote.bytes_per_second, remote.eta_s) = (524_288.0, Some(3.2));
        remote.copying = vec!["binance/x".to_owned(), "binance/y".to_owned()];
        assert_eq!(copying(&remote), "1 of 3 files, 1.0 MiB of 3.0 MiB, 512.0 KiB/s, 4s left, binance/x");
        (remote.state, remote.eta_s, remote.copying) = ("failed".to_owned(), None, Vec::new());
        assert_eq!(copying(&remote), "failed, 1 of 3 files, 1.0 MiB of 3.0 MiB, 512.0 KiB/s");
        (remote.state, remote.files_total) = ("idle".to_owned(), 0);
        assert_eq!(copying(&remote), "up to date, nothing to copy");
    }
}
