//! Recorded exchange messages, read where they lie; the repository never contains them (their licences differ).

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the recorded messages are: `$DCCD_FIXTURES`, else `../shared/fixtures` beside the repository; `None` where neither exists.
pub fn fixtures() -> Option<PathBuf> {
    let path = match std::env::var_os("DCCD_FIXTURES") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
    };
    path.is_dir().then_some(path)
}

/// One line of a `*.frames.jsonl.zst` file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FixtureFrame {
    /// When it was recorded: seconds since the Unix epoch, the recorder's clock; `None` where the source kept none.
    pub ts: Option<f64>,
    /// `in`, `out`, `http` or `open`.
    pub dir: String,
    /// The socket's or the REST request's address; empty where unknown.
    #[serde(default)]
    pub conn: String,
    /// The payload, exactly as recorded unless the manifest says otherwise.
    #[serde(default)]
    pub raw: String,
    /// HTTP status of an `http` line, where recorded.
    #[serde(default)]
    pub status: Option<u16>,
    /// HTTP method of an `http` line, where recorded.
    #[serde(default)]
    pub method: Option<String>,
    /// Headers of an `http` line, where recorded.
    #[serde(default)]
    pub hdr: Option<serde_json::Value>,
    /// The request of an `http` line, where recorded.
    #[serde(default)]
    pub req: Option<serde_json::Value>,
    /// What another project's parser made of the message, where known.
    #[serde(default)]
    pub expect: Option<serde_json::Value>,
}

impl FixtureFrame {
    /// `ts` in nanoseconds since the Unix epoch; good to a microsecond, as recorded.
    #[allow(clippy::cast_possible_truncation, reason = "a recorded time in microseconds lies far within i64")]
    pub fn ts_ns(&self) -> Option<i64> {
        self.ts.map(|seconds| (seconds * 1e6).round() as i64 * 1_000)
    }
}

/// Why a recorded file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// The file can't be opened, or reading from it or decompressing it failed.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the decompressor says.
        #[source]
        source: std::io::Error,
    },
    /// A line is no frame.
    #[error("line {line} of {} is no frame", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
}

/// The frames of one file, in order.
pub struct FixtureFrames {
    path: PathBuf,
    lines: Lines<BufReader<zstd::Decoder<'static, BufReader<File>>>>,
    line: usize,
}

/// Opens a `*.frames.jsonl.zst` file and reads it line by line.
pub fn read_fixture_frames(path: impl AsRef<Path>) -> Result<FixtureFrames, FixtureError> {
    let path = path.as_ref().to_path_buf();
    match File::open(&path).and_then(zstd::Decoder::new) {
        Ok(decoder) => Ok(FixtureFrames { path, lines: BufReader::new(decoder).lines(), line: 0 }),
        Err(source) => Err(FixtureError::Read { path, source }),
    }
}

impl Iterator for FixtureFrames {
    type Item = Result<FixtureFrame, FixtureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.lines.next()?;
        self.line += 1;
        Some(match text {
            Err(source) => Err(FixtureError::Read { path: self.path.clone(), source }),
            Ok(text) => serde_json::from_str(&text).map_err(|source| FixtureError::Line {
                path: self.path.clone(),
                line: self.line,
                source,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
        file
    }

    #[test]
    fn frames_come_in_order_with_what_is_known_of_them() {
        let file = file_of(concat!(
            r#"{"ts":1618677372.1768699,"dir":"in","conn":"wss://x","raw":"{\"a\":1}"}"#,
            "\n",
            r#"{"ts":null,"dir":"http","conn":"https://x/y","status":200,"raw":"[]","note":"more keys may follow"}"#,
            "\n"
        ));
        let frames: Vec<_> = read_fixture_frames(file.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].raw, r#"{"a":1}"#);
        assert_eq!(frames[0].ts_ns(), Some(1_618_677_372_176_870_000));
        assert_eq!((frames[1].status, frames[1].ts_ns()), (Some(200), None));
    }

    #[test]
    fn a_bad_line_is_named() {
        let file = file_of("{\"ts\":1,\"dir\":\"in\"}\nnonsense\n");
        let errors: Vec<_> = read_fixture_frames(file.path()).unwrap().filter_map(Result::err).collect();
        assert!(errors[0].to_string().starts_with("line 2 of "), "{}", errors[0]);
    }

    #[test]
    fn every_recorded_file_of_binance_reads() {
        let Some(dir) = fixtures() else {
            crate::skip("every_recorded_file_of_binance_reads", "no fixtures: set DCCD_FIXTURES");
            return;
        };
        let mut read = 0;
        for entry in std::fs::read_dir(dir.join("binance")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".frames.jsonl.zst") && path.metadata().unwrap().len() < 500_000 {
                read += read_fixture_frames(&path).unwrap().map(Result::unwrap).count();
            }
        }
        assert!(read > 1_000, "{read} frames");
    }
}
