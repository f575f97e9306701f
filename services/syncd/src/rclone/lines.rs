//! Lines of another program's output, of bounded length.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Longest line kept, bytes; what a line has beyond is thrown away.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new() }
    }

    /// The next line without its end; `None` after the last. Nothing is lost when it is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok((!self.line.is_empty()).then(|| std::mem::take(&mut self.line)));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = &buffer[..end.unwrap_or(buffer.len())];
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&taken[..taken.len().min(room)]);
            let used = taken.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_to_their_limit_and_none_is_lost() {
        let long = "x".repeat(LINE_BYTES_MAX * 3);
        let text = format!("one\n\n{long}\nlast");
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(1_000, text.as_bytes()));
        let mut lengths = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, LINE_BYTES_MAX, 4]);
    }
}
