//! Captures what a service writes to stdout and stderr into its log file, bounded in memory and on disk.
//!
//! One thread per process, blocked in `read`: a slow or full disk delays this log and nothing else. While the file can't
//! be written, lines are dropped and counted. A process whose root died writes its log by itself.

use std::io::{self, PipeReader, Read};

use dccd_service::RotatingFile;
use tokio::sync::oneshot;

/// Longest line kept whole; a longer one is cut into pieces of this size.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Copies a pipe into a log file until its last writer is gone; the receiver resolves then.
pub(crate) fn capture(pipe: PipeReader, file: RotatingFile) -> io::Result<oneshot::Receiver<()>> {
    let (done, finished) = oneshot::channel();
    std::thread::Builder::new().name("log".into()).stack_size(128 * 1024).spawn(move || {
        copy_lines(pipe, file);
        // Nobody may be waiting any more.
        let _ = done.send(());
    })?;
    Ok(finished)
}

fn copy_lines(mut pipe: impl Read, mut file: RotatingFile) {
    let mut buffer = vec![0u8; LINE_BYTES_MAX];
    let mut filled = 0;
    loop {
        let n = match pipe.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Nothing but the end can be told from it.
            Err(_) => break,
        };
        filled += n;
        if let Some(end) = buffer[..filled].iter().rposition(|&b| b == b'\n') {
            file.append(&buffer[..=end]);
            buffer.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        } else if filled == buffer.len() {
            buffer.push(b'\n');
            file.append(&buffer);
            buffer.pop();
            filled = 0;
        }
    }
    if filled > 0 {
        buffer.truncate(filled);
        buffer.push(b'\n');
        file.append(&buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dccd_service::Rotation;
    use std::fs;

    #[test]
    fn lines_arrive_whole_and_long_ones_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut text = b"one\ntwo\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX + 5]);
        text.extend(b"\nlast without an end");
        copy_lines(text.as_slice(), RotatingFile::new(path.clone(), Rotation::default()));
        let written = fs::read_to_string(&path).unwrap();
        let lines: Vec<usize> = written.lines().map(str::len).collect();
        assert_eq!(lines, [3, 3, LINE_BYTES_MAX, 5, 19]);
    }
}
