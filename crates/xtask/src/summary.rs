//! Counts what test harnesses report, and lists what did not run.

use std::collections::BTreeMap;

/// The counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    passed: usize,
    failed: usize,
    /// Checks that did not run, by name, with the reason.
    skipped: BTreeMap<String, String>,
    /// How many of `skipped` are tests that the harness counted as passed.
    counted_as_passed: usize,
    failures: Vec<String>,
    /// Whether the harness whose output we are in has reported failures of its own.
    harness_failed: bool,
}

impl Summary {
    /// One line of `cargo test`'s output.
    pub(crate) fn harness_line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |word: &str| -> usize {
                let number = counts.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word));
                number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
            };
            self.passed += count(" passed");
            self.failed += count(" failed");
            self.harness_failed = counts.starts_with("FAILED");
        } else if let Some((name, reason)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... ignored")) {
            let reason = reason.trim_start_matches([',', ' ']);
            let reason = if reason.is_empty() { "marked to be ignored" } else { reason };
            self.skipped.insert(name.to_owned(), reason.to_owned());
        } else if let Some(name) = line.strip_prefix("test ").and_then(|test| test.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        } else if let Some((_, target)) = line.split_once("failed, to rerun pass ")
            && line.starts_with("error: ")
            && !std::mem::take(&mut self.harness_failed)
        {
            // It didn't compile, or died before it could report.
            self.check(&format!("the tests of {target} as a whole"), false);
        }
    }

    /// The lines that tests appended to the log of skipped checks: `skipped: <name>: <reason>`.
    pub(crate) fn skip_log(&mut self, log: &str) {
        for line in log.lines() {
            if let Some((name, reason)) = line.strip_prefix("skipped: ").and_then(|rest| rest.split_once(": "))
                && self.skipped.insert(name.to_owned(), reason.to_owned()).is_none()
            {
                self.counted_as_passed += 1;
            }
        }
    }

    /// A check of our own that can't run here.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        println!("skipped: {name}: {reason}");
        self.skipped.insert(name.to_owned(), reason.to_owned());
    }

    /// A check of our own that ran.
    pub(crate) fn check(&mut self, name: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    /// How many failed so far.
    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// Prints what failed, what was skipped, and the counts; returns whether nothing failed.
    pub(crate) fn close(&self) -> bool {
        println!();
        for (name, reason) in &self.skipped {
            println!("skipped: {name}: {reason}");
        }
        for name in &self.failures {
            println!("failed: {name}");
        }
        println!("{}", self.counts());
        self.failed == 0
    }

    fn counts(&self) -> String {
        // A test that skipped itself returned, which its harness takes for a pass.
        let passed = self.passed.saturating_sub(self.counted_as_passed);
        format!("{passed} passed, {} failed, {} skipped", self.failed, self.skipped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_harnesses_add_up_and_skips_are_not_passes() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test reads_with_duckdb ... ok",
            "test slow ... ignored, takes minutes",
            "test broken ... FAILED",
            "test result: FAILED. 7 passed; 1 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s",
            "error: test failed, to rerun pass `-p a --test x`",
            "error: doctest failed, to rerun pass `-p b --doc`",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            summary.harness_line(line);
        }
        summary.skip_log("skipped: reads_with_duckdb: no Python\nskipped: reads_with_duckdb: no Python\nnoise\n");
        summary.skip("cargo deny", "not installed");
        summary.check("check-deps", true);
        assert_eq!(summary.counts(), "19 passed, 2 failed, 3 skipped");
        assert_eq!(summary.failures, ["broken", "the tests of `-p b --doc` as a whole"]);
        assert_eq!(summary.skipped["slow"], "takes minutes");
    }
}
