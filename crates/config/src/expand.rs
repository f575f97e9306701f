//! `${VAR}` and `${VAR:-default}` in values, and `~` in paths.

use crate::error::Problem;

/// Where variables come from: the environment, or a test's table.
pub(crate) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The text with its variables filled in. `$${` stands for `${`. As in the shell, `:-` holds for a variable that is empty,
/// too. A default is taken as it stands, up to the first `}`.
pub(crate) fn variables(text: &str, vars: &Variables<'_>) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let bad = || Problem::Expansion { found: crate::tree::quoted(&rest[at..]) };
        let end = rest[at..].find('}').ok_or_else(bad)?;
        let inner = &rest[at + 2..at + end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            return Err(bad());
        }
        match (vars(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(Problem::Variable { name: name.to_owned() }),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The path with a leading `~` replaced by the home directory.
pub(crate) fn home(path: &str, vars: &Variables<'_>) -> Result<String, &'static str> {
    let Some(rest) = path.strip_prefix('~') else { return Ok(path.to_owned()) };
    if !(rest.is_empty() || rest.starts_with('/')) {
        return Err("only your own home directory can be written as ~; write the other one out");
    }
    let home = vars("HOME").filter(|home| !home.is_empty());
    let home = home.or_else(|| etcetera::home_dir().ok().map(|home| home.to_string_lossy().into_owned()));
    home.map(|home| format!("{}{rest}", home.trim_end_matches('/'))).ok_or("the home directory is not known: set HOME")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let vars = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, out) in [
            ("", ""),
            ("plain $A $", "plain $A $"),
            ("${A}", "x"),
            ("<${A}${A}>", "<xx>"),
            ("${B:-y}", "y"),
            ("${B:-}", ""),
            ("${EMPTY:-y}", "y"),
            ("${EMPTY}", ""),
            ("${A:-y}", "x"),
            ("$${A}", "${A}"),
            ("${B:-https://h:1/p}", "https://h:1/p"),
        ] {
            assert_eq!(variables(text, &vars).as_deref(), Ok(out), "{text}");
        }
        assert_eq!(variables("${B}", &vars), Err(Problem::Variable { name: "B".to_owned() }));
        for bad in ["${", "${A", "${}", "${1A}", "${A-y}", "${ A }", "${A:y}"] {
            assert!(matches!(variables(bad, &vars), Err(Problem::Expansion { .. })), "{bad}");
        }
    }

    #[test]
    fn the_home_directory_is_filled_in() {
        let vars = |name: &str| (name == "HOME").then(|| "/home/ann/".to_owned());
        for (path, out) in [("~", "/home/ann"), ("~/x", "/home/ann/x"), ("/~", "/~"), ("x/~", "x/~"), ("", "")] {
            assert_eq!(home(path, &vars).as_deref(), Ok(out));
        }
        assert!(home("~bob/x", &vars).is_err());
    }
}
