//! How much is logged: the configured level, and another one while somebody wants that.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;

use super::LogError;

/// The RPC library reports every failed call at error level, although it is the caller who knows what it means.
const ALWAYS: &str = "tarpc=off";

/// Replaces the filter of this process's log; `false`: there is no log any more.
type Replace = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

static CONTROL: OnceLock<Control> = OnceLock::new();

struct Control {
    configured: Mutex<String>,
    now: Mutex<String>,
    replace: Replace,
}

/// Remembers how this process's filter is replaced. The first log of a process is its only one.
pub(super) fn keep(configured: String, replace: Replace) {
    let (configured, now) = (Mutex::new(configured.clone()), Mutex::new(configured));
    // A second one can't be: setting up a second log has failed before.
    let _ = CONTROL.set(Control { configured, now, replace });
}

/// The filter of these directives.
pub(super) fn filter(directives: &str) -> Result<EnvFilter, LogError> {
    check(directives)?;
    let failed = |source| LogError::Directives { directives: directives.to_owned(), source };
    EnvFilter::try_new(format!("{directives},{ALWAYS}")).map_err(failed)
}

/// Whether these make a filter: a level, or several of `level` and `module=level` with commas between.
///
/// # Errors
/// With what is wrong.
pub fn check(directives: &str) -> Result<(), LogError> {
    for word in directives.split(',') {
        // The library takes a lone word that is no level for a module, of which it then logs everything.
        if !word.contains('=') && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            return Err(LogError::Level { level: word.to_owned() });
        }
    }
    let failed = |source| LogError::Directives { directives: directives.to_owned(), source };
    EnvFilter::try_new(directives).map(drop).map_err(failed)
}

/// What may stand for a level.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Logs by these directives from now on; `None`: as configured. Does nothing where that is so already.
///
/// # Errors
/// When they make no filter; the level stays then.
pub fn set_level(directives: Option<&str>) -> Result<(), LogError> {
    let Some(control) = CONTROL.get() else { return Ok(()) };
    let configured = configured_level();
    let wanted = directives.unwrap_or(&configured);
    let mut now = control.now.lock().unwrap_or_else(PoisonError::into_inner);
    if *now == wanted {
        return Ok(());
    }
    if (control.replace)(filter(wanted)?) {
        wanted.clone_into(&mut now);
        drop(now);
        tracing::info!(level = wanted, "what is logged has changed");
    }
    Ok(())
}

/// By what directives this process is to log unless it is told otherwise; empty where it has no log.
#[must_use]
pub fn configured_level() -> String {
    CONTROL
        .get()
        .map(|control| control.configured.lock().unwrap_or_else(PoisonError::into_inner).clone())
        .unwrap_or_default()
}

/// Changes that. What is logged changes with the next [`set_level`].
///
/// # Errors
/// When they make no filter; nothing changes then.
pub fn set_configured_level(directives: String) -> Result<(), LogError> {
    check(&directives)?;
    if let Some(control) = CONTROL.get() {
        *control.configured.lock().unwrap_or_else(PoisonError::into_inner) = directives;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_levels_and_modules_with_levels() {
        for good in ["info", "WARN", "info,datad::links=debug", "datad=trace,off"] {
            check(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (bad, said) in [
            ("degub", "\"degub\" is not a log level (error, warn, info, debug, trace, off)"),
            ("", "\"\" is not a log level (error, warn, info, debug, trace, off)"),
            ("info,datad", "\"datad\" is not a log level (error, warn, info, debug, trace, off)"),
            ("datad=loud", "\"datad=loud\" cannot be understood, expected levels and MODULE=LEVEL, with commas between"),
        ] {
            assert_eq!(check(bad).unwrap_err().to_string(), said);
        }
    }
}
