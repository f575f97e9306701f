//! What rclone says of itself with `--use-json-log`: one JSON object a line, except for what goes wrong before it has read its arguments.
//! Fields that are missing or of another kind are taken for unsaid, so that another version is understood as far as it goes.

use serde::Deserialize;

/// One line of its log.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// A file was copied.
    Copied(String),
    /// Its counters.
    Stats(Box<Stats>),
    /// Something went wrong.
    Error {
        /// With which file; `None`: with all of it.
        object: Option<String>,
        /// What.
        message: String,
    },
    /// Anything else.
    Other,
}

/// Its counters since it began.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Stats {
    /// Bytes copied, those of files that are under way included.
    pub(crate) bytes: u64,
    /// Files copied.
    pub(crate) transfers: u64,
    /// Files that were found at the remote and looked at.
    pub(crate) checks: u64,
    /// Files that are being copied.
    pub(crate) transferring: Option<Vec<Transfer>>,
}

/// A file that is being copied.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Transfer {
    /// Its path.
    pub(crate) name: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    object: Option<serde_json::Value>,
    #[serde(default)]
    stats: Option<serde_json::Value>,
}

/// Reads a line.
pub(crate) fn read(line: &[u8]) -> Said {
    let text = String::from_utf8_lossy(line);
    let Ok(line) = serde_json::from_str::<Line>(text.trim()) else { return plain(&text) };
    if let Some(stats) = line.stats.and_then(|stats| serde_json::from_value(stats).ok()) {
        return Said::Stats(Box::new(stats));
    }
    let object = line.object.and_then(|object| object.as_str().map(str::to_owned));
    match line.level.to_ascii_lowercase().as_str() {
        "error" | "critical" | "fatal" | "alert" | "emergency" | "panic" => Said::Error { object, message: line.msg },
        // `Copied (new)`, `Copied (replaced existing)`, `Multi-thread Copied (new)`, `Copied (server-side copy)`.
        "info" if line.msg.contains("Copied (") => object.map_or(Said::Other, Said::Copied),
        _ => Said::Other,
    }
}

/// A line that is no JSON: `2026/11/27 19:03:58 Failed to create file system for "nas:x": didn't find section in config file`.
fn plain(text: &str) -> Said {
    let text = text.trim();
    let is_stamp = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit() || b"/:.".contains(&b));
    let mut words = text.splitn(3, ' ');
    let message = match (words.next(), words.next(), words.next()) {
        (Some(date), Some(time), Some(message)) if is_stamp(date) && is_stamp(time) => message,
        _ => text,
    };
    let is_harmless = ["NOTICE", "INFO", "DEBUG"].iter().any(|level| message.starts_with(level));
    if message.is_empty() || is_harmless { Said::Other } else { Said::Error { object: None, message: message.to_owned() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(object: Option<&str>, message: &str) -> Said {
        Said::Error { object: object.map(str::to_owned), message: message.to_owned() }
    }

    /// As rclone 1.60 and 1.70 write them.
    #[test]
    fn its_lines_are_understood() {
        for (line, said) in [
            (
                r#"{"level":"info","msg":"Copied (new)","object":"a/2.parquet","objectType":"*local.Object","source":"operations/operations.go:566","time":"2026-11-27T19:03:57.944864+00:00"}"#,
                Said::Copied("a/2.parquet".to_owned()),
            ),
            (
                r#"{"level":"info","msg":"Multi-thread Copied (replaced existing)","object":"a"}"#,
                Said::Copied("a".to_owned()),
            ),
            (
                r#"{"level":"error","msg":"Failed to copy: mkdir /proc/nope: no such file or directory","object":"a/1.parquet"}"#,
                error(Some("a/1.parquet"), "Failed to copy: mkdir /proc/nope: no such file or directory"),
            ),
            (
                r#"{"time":"2026-01-01T00:00:00Z","level":"critical","msg":"Failed to create file system"}"#,
                error(None, "Failed to create file system"),
            ),
            (r#"{"level":"warning","msg":"Config file not found - using defaults"}"#, Said::Other),
            (
                "2026/11/27 19:03:58 Failed to create file system for \"nosuch:dst\": didn't find section in config file",
                error(None, "Failed to create file system for \"nosuch:dst\": didn't find section in config file"),
            ),
            ("2026/11/27 19:03:58 NOTICE: Config file not found", Said::Other),
            ("", Said::Other),
            ("panic: runtime error", error(None, "panic: runtime error")),
        ] {
            assert_eq!(read(line.as_bytes()), said, "{line}");
        }
    }

    #[test]
    fn counters_are_read_whatever_else_is_there() {
        let line = r#"{"level":"warning","msg":"x","stats":{"bytes":9000000,"checks":1,"eta":null,"speed":1.5,"totalBytes":9,"transferring":[{"bytes":4,"name":"a/1.parquet","size":9}],"transfers":3}}"#;
        let Said::Stats(stats) = read(line.as_bytes()) else { panic!("no counters") };
        assert_eq!((stats.bytes, stats.transfers, stats.checks), (9_000_000, 3, 1));
        assert_eq!(stats.transferring.unwrap()[0].name, "a/1.parquet");
        let few = r#"{"level":"notice","msg":"x","stats":{"transferring":null}}"#;
        assert_eq!(read(few.as_bytes()), Said::Stats(Box::default()));
        assert_eq!(read(br#"{"level":"notice","stats":{"bytes":"many"}}"#), Said::Other);
        assert!(matches!(read(&[0xff, 0xfe]), Said::Error { .. }));
    }
}
