//! Where the `dccd` executable is that tests start.

use std::path::{Path, PathBuf};

/// The `dccd` executable: `$DCCD_BIN`, else the one built beside the running test (`target/<profile>/dccd`).
///
/// Panics with what to do where it isn't built: a test of the executable can't go on without it.
pub fn dccd_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("DCCD_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "DCCD_BIN names {}, which is no file", path.display());
        return path;
    }
    let test = std::env::current_exe().expect("a running test has an executable");
    let path = beside(&test);
    assert!(path.is_file(), "no executable at {}; build it first: cargo build -p dccd", path.display());
    path
}

/// Tests run from `<profile>/deps/`, examples from `<profile>/examples/`; binaries lie in `<profile>/`.
fn beside(test: &Path) -> PathBuf {
    let dir = test.parent().unwrap_or(Path::new("."));
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => dir.parent().unwrap_or(dir),
        _ => dir,
    };
    profile.join("dccd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_looked_for_in_the_profile_of_the_test() {
        assert_eq!(beside(Path::new("/b/debug/deps/tests-0abc")), Path::new("/b/debug/dccd"));
        assert_eq!(beside(Path::new("/b/release/examples/x")), Path::new("/b/release/dccd"));
        assert_eq!(beside(Path::new("/b/debug/dccd")), Path::new("/b/debug/dccd"));
    }
}
