//! A check that can't run here says so, by name: silence would read as "passed".

use std::fs::OpenOptions;
use std::io::Write;

/// The variable that names the file to which skipped checks are appended, one `skipped: <name>: <reason>` a line.
pub const SKIP_LOG: &str = "DCCD_SKIP_LOG";

/// Reports that the check `name` did not run and why; the test then returns.
///
/// Printed, and appended to the file in `$DCCD_SKIP_LOG` because the test harness swallows what a passing test prints.
/// Panics where that file is named but can't be written: a skip that is lost would count as a pass.
pub fn skip(name: &str, reason: &str) {
    let line = line(name, reason);
    #[allow(clippy::print_stdout, reason = "a test's own output")]
    {
        print!("{line}");
    }
    if let Some(path) = std::env::var_os(SKIP_LOG) {
        append(path.as_ref(), &line)
            .unwrap_or_else(|error| panic!("cannot note a skipped check in {}: {error}", path.display()));
    }
}

fn line(name: &str, reason: &str) -> String {
    format!("skipped: {name}: {}\n", reason.replace('\n', " "))
}

/// One write of one line in append mode: test processes that run side by side don't mix their lines.
fn append(path: &std::path::Path, line: &str) -> std::io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_appended_one_to_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("skips");
        append(&log, &line("reads_with_duckdb", "no Python\nhere")).unwrap();
        append(&log, &line("other", "x")).unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text, "skipped: reads_with_duckdb: no Python here\nskipped: other: x\n");
    }
}
