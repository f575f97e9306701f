//! How the program ends: the exit codes that scripts rely on, and the one place where an error is shown.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// Failed; the message says what, why and what to do.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// There is a root already.
pub const ALREADY_RUNNING: u8 = 10;
/// There is none.
pub const NOT_RUNNING: u8 = 11;
/// It didn't get ready.
pub const COULD_NOT_START: u8 = 12;
/// Interrupted by SIGINT.
pub const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM.
pub const TERMINATED: u8 = 143;

/// Why a command ends otherwise than well.
#[derive(Debug)]
pub enum Failure {
    /// With a message.
    Error {
        /// The exit code.
        code: u8,
        /// What is said, with its causes.
        error: anyhow::Error,
    },
    /// Without one: everything was said already, or nobody listens any more.
    Silent(u8),
}

impl Failure {
    /// A failure of another kind than "failed".
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self::Error { code, error: error.into() }
    }

    /// The same failure where something was to be started: what merely failed could not start.
    pub fn at_start(self) -> Self {
        match self {
            Self::Error { code: FAILED, error } => Self::Error { code: COULD_NOT_START, error },
            other => other,
        }
    }

    /// The same failure as the cause of this one.
    pub fn context(self, message: String) -> Self {
        match self {
            Self::Error { code, error } => Self::Error { code, error: error.context(message) },
            Self::Silent(code) => Self::Silent(code),
        }
    }

    /// A failure of another kind than "failed", in words.
    pub fn message(code: u8, message: impl fmt::Display) -> Self {
        Self::Error { code, error: anyhow::Error::msg(message.to_string()) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error { code: FAILED, error: error.into() }
    }
}

/// Shows the failure, if there is one, and gives the code.
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Silent(code)) => ExitCode::from(code),
        Err(Failure::Error { code, error }) => {
            // When standard error is closed, the code alone has to do.
            let _ = write!(std::io::stderr().lock(), "{}", describe(&error));
            ExitCode::from(code)
        }
    }
}

/// The error and, each on a line of its own, its causes.
fn describe(error: &anyhow::Error) -> String {
    let mut out = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        out.push_str(&format!("  because: {cause}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_with_its_causes() {
        let error = anyhow::anyhow!("disk full").context("cannot write a.parquet");
        assert_eq!(describe(&error), "error: cannot write a.parquet\n  because: disk full\n");
    }
}
