//! Every check and chore of the project behind one command: `cargo xtask <command>`.
//!
//! What a command runs, it prints. A check that can't run here is reported as skipped, by name, never left out silently.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod bench;
mod chaos;
mod check_deps;
mod ci;
mod debian;
mod file_sizes;
mod python;
mod shell;
mod summary;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  test [--no-python]    build, all tests, check-deps; what was skipped; the counts
  ci [--no-python]      formatting, lints, advisories, documentation, file sizes, then test
  check-deps [--bless]  the crate graph against docs/crate-graph.txt (--bless: write it), lints, unsafe, dependency reasons
  bench [NAME [ARGS]]   all benchmarks, or one of them, with its own arguments
  chaos [--seconds N] [--seed N]
                        a whole tree, everything done to it at random, ten minutes; what was lost and left in the end
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["test"] => test::run_alone(true),
        ["test", "--no-python"] => test::run_alone(false),
        ["ci"] => ci::run(true),
        ["ci", "--no-python"] => ci::run(false),
        ["check-deps"] => check_deps::run(false),
        ["check-deps", "--bless"] => check_deps::run(true),
        ["bench"] => bench::run(None, &[]),
        ["bench", name, ref args @ ..] => bench::run(Some(name), args),
        ["chaos", ref args @ ..] => chaos::run(args),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
