//! Secrets out of other programs' words: passwords in addresses, signatures in queries, keys that we know.

/// What stands for a secret.
const HIDDEN: &str = "***";
/// Longest text kept of one message, bytes.
const TEXT_BYTES_MAX: usize = 1_000;
/// What the name of a value has in it that is a secret.
const NAMES: [&str; 9] =
    ["pass", "secret", "token", "access_key", "accesskey", "signature", "credential", "authorization", "cookie"];

/// The text without control characters, cut to what a log can hold, and without secrets: those known by themselves, those of addresses
/// (`https://user:password@host`), and values of names that speak of secrets (`token=x`, `"access_key": "x"`, `Authorization: x`).
pub(crate) fn redact(text: &str, known: &[&str]) -> String {
    let mut clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    for secret in known.iter().filter(|secret| secret.len() >= 4) {
        clean = clean.replace(secret, HIDDEN);
    }
    let clean = named(&addresses(&clean));
    let mut end = clean.len().min(TEXT_BYTES_MAX);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    if end < clean.len() { format!("{}…", &clean[..end]) } else { clean }
}

/// What stands between `://` and `@` of an address.
fn addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after.find(|c: char| c == '/' || c == '?' || c == '"' || c.is_whitespace()).unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(end) => {
                out.push_str(HIDDEN);
                &after[end..]
            }
            None => after,
        };
    }
    out + rest
}

/// Values behind `=` or `:` whose names speak of secrets.
fn named(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let name = before[..at].trim_end_matches(['"', '\'', ' ']);
        let name = name.rsplit(|c| !is_name(c)).next().unwrap_or_default().to_lowercase();
        if after.starts_with("//") || !NAMES.iter().any(|secret| name.contains(secret)) {
            continue;
        }
        let lead = after.len() - after.trim_start_matches(['"', '\'', ' ']).len();
        let value = &after[lead..];
        let mut end = value.find(|c: char| "\"'&,;}<)".contains(c) || c.is_whitespace()).unwrap_or(value.len());
        // `Authorization: Bearer x`: the word that says of which kind it is, and the secret.
        if name == "authorization" {
            end = value.find(['"', '\'']).unwrap_or(value.len());
        }
        if end > 0 {
            out.push_str(&after[..lead]);
            out.push_str(HIDDEN);
            rest = &value[end..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_kept() {
        for (text, shown) in [
            ("dial https://ann:hunter2@nas.example/x: refused", "dial https://***@nas.example/x: refused"),
            ("PUT http://h/b?X-Amz-Signature=hunter2&partNumber=1", "PUT http://h/b?X-Amz-Signature=***&partNumber=1"),
            (r#"{"access_token": "hunter2", "scope":"drive"}"#, r#"{"access_token": "***", "scope":"drive"}"#),
            ("Authorization: Bearer hunter2", "Authorization: ***"),
            ("bad line\nwith hunter2 in it", "bad line with *** in it"),
            ("mkdir /mnt/x: permission denied", "mkdir /mnt/x: permission denied"),
            ("directory not found: a@b", "directory not found: a@b"),
        ] {
            assert_eq!(redact(text, if text.contains("line") { &["hunter2"] } else { &[] }), shown);
        }
        assert_eq!(redact(&"é".repeat(1_000), &[]).len(), TEXT_BYTES_MAX + "…".len());
    }
}
