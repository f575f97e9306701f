//! `dccd logs`: the end of a service's log, and what follows if asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use dccd_rpc::root::ROOT_NAME;
use dccd_service::Shutdown;

use crate::cli::Global;
use crate::commands::{block_on, data_path};
use crate::exit::Failure;
use crate::output::{Out, say};

/// How often a followed log is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How far back from its end a log is read for its last lines.
const BACK_BYTES_MAX: u64 = 16 << 20;

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The service, as `dccd services` lists it
    #[arg(default_value = ROOT_NAME)]
    service: String,
    /// Go on with what is logged from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// Prints it.
pub fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    block_on(async {
        let data_path = data_path(global).await?;
        let path = dccd_service::log::file(&data_path, &arguments.service);
        let mut out = Out::new();
        let mut file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound && arguments.follow => None,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown(&data_path, &arguments.service)),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display())).into()),
        };
        if let Some(file) = &mut file {
            for line in last_lines(file, arguments.lines).with_context(|| format!("cannot read {}", path.display()))? {
                out.line(line)?;
            }
        } else {
            say(format_args!("waiting for {}", path.display()));
        }
        out.flush()?;
        if arguments.follow { follow(&path, file, &mut out).await } else { Ok(()) }
    })
}

/// Prints what is appended, through rotations, until a signal.
async fn follow(path: &Path, mut file: Option<File>, out: &mut Out) -> Result<(), Failure> {
    let shutdown = Shutdown::new();
    shutdown.trigger_on_signals().context("cannot listen for signals")?;
    let mut chunk = Vec::new();
    loop {
        if let Some(open) = &mut file {
            chunk.clear();
            open.read_to_end(&mut chunk).with_context(|| format!("cannot read {}", path.display()))?;
            if !chunk.is_empty() {
                out.raw(&chunk)?;
                out.flush()?;
            }
        }
        if is_another(file.as_ref(), path) {
            // Rotated, or there at last: the new file from its beginning. What was appended to the old one since is read first.
            if let Some(old) = &mut file {
                chunk.clear();
                let _ = old.read_to_end(&mut chunk);
                out.raw(&chunk)?;
            }
            file = File::open(path).ok();
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            reason = shutdown.wait() => return Err(crate::commands::tail::interrupted(reason)),
        }
    }
}

/// Whether the path leads to a file, and to another than the open one.
fn is_another(open: Option<&File>, path: &Path) -> bool {
    let Ok(named) = std::fs::metadata(path) else { return false };
    open.and_then(|file| file.metadata().ok()).is_none_or(|open| (open.dev(), open.ino()) != (named.dev(), named.ino()))
}

/// The last lines of a log; the file is left at its end.
fn last_lines(file: &mut File, count: usize) -> std::io::Result<VecDeque<String>> {
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(BACK_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut reader = BufReader::new(&mut *file);
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    // The first line may be cut where reading began in the middle.
    if begin > 0 {
        reader.read_until(b'\n', &mut line)?;
    }
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if lines.len() == count {
            lines.pop_front();
        }
        if count > 0 {
            lines.push_back(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
        }
    }
    Ok(lines)
}

fn unknown(data_path: &Path, service: &str) -> Failure {
    let directory = dccd_service::log::directory(data_path);
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|name| name.extension().is_some_and(|extension| extension == "log"))
        .filter_map(|name| Some(name.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
    anyhow!("{service} has no log in {}; there are: {names}", directory.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_and_the_file_is_left_at_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        std::fs::write(&path, "a\nb\nc\nd").unwrap();
        let mut file = File::open(&path).unwrap();
        assert_eq!(last_lines(&mut file, 2).unwrap(), ["c", "d"]);
        assert_eq!(last_lines(&mut file, 0).unwrap().len(), 0);
        assert_eq!(last_lines(&mut file, 9).unwrap().len(), 4);
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}
