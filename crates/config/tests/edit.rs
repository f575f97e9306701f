//! Editing in place: what is added and removed, and that nothing else changes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dccd_config::{Change, Config, EditError, EditFileError, Edited, HistoEdit, add_histo, edit_file, remove_histo};
use proptest::prelude::*;

fn series(exchange: &str, pair: &str, span: &str) -> HistoEdit {
    HistoEdit { exchange: exchange.parse().unwrap(), pair: pair.parse().unwrap(), span: span.parse().unwrap() }
}

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("c.yml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{text}")).0
}

/// All series of the jobs, in their order.
fn names(text: &str) -> Vec<String> {
    let jobs = parse(text).histo_jobs;
    jobs.iter().flat_map(|job| job.pairs.iter().map(move |pair| format!("{}/{pair}/{}", job.exchange, job.span))).collect()
}

fn add(text: &str, pair: &str, span: &str) -> Edited {
    let edited = add_histo(text, &series("binance", pair, span)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut expected = names(text);
    expected.push(format!("binance/{pair}/{span}"));
    let mut found = names(&edited.text);
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{}", edited.text);
    edited
}

fn remove(text: &str, pair: &str, span: &str) -> Edited {
    let edited = remove_histo(text, &series("binance", pair, span)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut expected = names(text);
    expected.retain(|name| *name != format!("binance/{pair}/{span}"));
    assert_eq!(names(&edited.text), expected, "{}", edited.text);
    edited
}

const COMMENTED: &str = "\
# My markets — 测试.
settings: {timezone: UTC}   # everything else by default

histo_jobs:
  # The majors.
  - exchange: binance
    pairs: [BTC/USDT, ETH/USDT]   # by volume
    span: 1h
    start: 2020-01-01

  # The minors.
  - exchange: binance
    span: 60
    pairs:
      - 'SOL/USDT'   # since 2020
      # not yet: XRP
stream_jobs: []
";

#[test]
fn a_pair_goes_behind_the_last_one_in_its_style() {
    let edited = add(COMMENTED, "BNB/USDT", "1h");
    assert_eq!(edited.what, Change::AppendedPair { line: 6 });
    assert_eq!(edited.text, COMMENTED.replace("ETH/USDT]", "ETH/USDT, BNB/USDT]"));
    let edited = add(COMMENTED, "BNB/USDT", "1m");
    assert_eq!(edited.what, Change::AppendedPair { line: 12 });
    assert_eq!(edited.text, COMMENTED.replace("since 2020\n", "since 2020\n      - 'BNB/USDT'\n"));
    for (before, after) in [
        ("[BTC/USDT,]", "[BTC/USDT, BNB/USDT,]"),
        (
            "[\n      \"BTC/USDT\",\n      \"ETH/USDT\"\n     ]",
            "[\n      \"BTC/USDT\",\n      \"ETH/USDT\",\n      \"BNB/USDT\"\n     ]",
        ),
        ("[ BTC/USDT # one\n     ]", "[ BTC/USDT, BNB/USDT # one\n     ]"),
    ] {
        let text = |pairs: &str| format!("histo_jobs:\n  - exchange: binance\n    span: 60\n    pairs: {pairs}\n");
        assert_eq!(add(&text(before), "BNB/USDT", "1m").text, text(after));
    }
    let edited = add("histo_jobs: [{exchange: binance, pairs: [BTC/USDT], span: 60}]", "BTC/USDT:USDT", "1m");
    assert_eq!(edited.text, "histo_jobs: [{exchange: binance, pairs: [BTC/USDT, \"BTC/USDT:USDT\"], span: 60}]");
}

#[test]
fn a_new_job_looks_like_the_last_one() {
    let edited = add(COMMENTED, "BNB/USDT", "1d");
    assert_eq!(edited.what, Change::NewJob { line: 16 });
    let job = "  - exchange: binance\n    pairs:\n      - 'BNB/USDT'\n    span: 86400\n";
    assert_eq!(edited.text, COMMENTED.replace("since 2020\n", &format!("since 2020\n{job}")));
    for (before, after) in [
        ("", "histo_jobs:\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400\n"),
        ("# nothing yet", "# nothing yet\nhisto_jobs:\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400"),
        ("alerts: {}\n", "alerts: {}\nhisto_jobs:\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400\n"),
        (
            "---\nalerts: {}\n...\n",
            "---\nalerts: {}\nhisto_jobs:\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400\n...\n",
        ),
        (
            "histo_jobs: []  # none\nalerts: {}\n",
            "histo_jobs:  # none\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400\nalerts: {}\n",
        ),
        (
            "histo_jobs:\nalerts: {}",
            "histo_jobs:\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400\nalerts: {}",
        ),
        (
            "alerts: {}\nhisto_jobs: ~",
            "alerts: {}\nhisto_jobs:\n  - exchange: binance\n    pairs: [BNB/USDT]\n    span: 86400",
        ),
        (
            "histo_jobs:\n- {exchange: kraken, pairs: ['BTC/USD'], span: 60}\n",
            "histo_jobs:\n- {exchange: kraken, pairs: ['BTC/USD'], span: 60}\n- {exchange: binance, pairs: ['BNB/USDT'], span: 86400}\n",
        ),
        (
            "histo_jobs: [{exchange: kraken, pairs: [BTC/USD], span: 60}]\n",
            "histo_jobs: [{exchange: kraken, pairs: [BTC/USD], span: 60}, {exchange: binance, pairs: [BNB/USDT], span: 86400}]\n",
        ),
    ] {
        assert_eq!(add(before, "BNB/USDT", "1d").text, after);
    }
}

#[test]
fn a_pair_is_removed_with_what_is_its_own() {
    let edited = remove(COMMENTED, "BTC/USDT", "1h");
    assert_eq!(edited, Edited { text: COMMENTED.replace("BTC/USDT, ", ""), what: Change::RemovedPair { line: 6 } });
    assert_eq!(remove(COMMENTED, "ETH/USDT", "1h").text, COMMENTED.replace(", ETH/USDT", ""));
    for (before, after) in [
        ("\n      - BTC/USDT # b\n      # of e\n      - ETH/USDT\n", "\n      # of e\n      - ETH/USDT\n"),
        (" [ETH/USDT, # e\n      BTC/USDT, # b\n      BNB/USDT]\n", " [ETH/USDT, # e\n      BNB/USDT]\n"),
        (" [\n      BTC/USDT, # b\n      BNB/USDT]\n", " [\n      BNB/USDT]\n"),
    ] {
        let text =
            |pairs: &str| format!("histo_jobs:\n  - exchange: binance\n    span: 60\n    pairs:{pairs}alerts: {{}}\n");
        assert_eq!(remove(&text(before), "BTC/USDT", "1m").text, text(after));
    }
}

#[test]
fn a_job_goes_with_its_last_pair_and_its_comments() {
    let edited = remove(COMMENTED, "SOL/USDT", "1m");
    assert_eq!(edited.what, Change::RemovedJob { line: 12 });
    let cut = COMMENTED.find("  # The minors").unwrap()..COMMENTED.find("      # not yet").unwrap();
    let mut expected = COMMENTED.to_owned();
    expected.replace_range(cut, "");
    assert_eq!(edited.text, expected);
    // A job that was commented out is not the comment of the one below.
    let out = "histo_jobs:\n  # - exchange: kraken\n  #   span: 60\n  - {exchange: binance, pairs: [BTC/USDT], span: 60}\n  - {exchange: binance, pairs: [BTC/USDT], span: 300}\n";
    let expected = out.replace("  - {exchange: binance, pairs: [BTC/USDT], span: 60}\n", "");
    assert_eq!(remove(out, "BTC/USDT", "1m").text, expected);
    for (before, after) in [
        (
            "histo_jobs: # mine\n  - exchange: binance\n    pairs: [BTC/USDT]\n    span: 60\nalerts: {}\n",
            "histo_jobs: [] # mine\nalerts: {}\n",
        ),
        ("histo_jobs:\n- {exchange: binance, pairs: [BTC/USDT], span: 60} # x", "histo_jobs: []"),
        ("histo_jobs: [{exchange: binance, pairs: [BTC/USDT], span: 60}] # x\n", "histo_jobs: [] # x\n"),
    ] {
        let edited = remove(before, "BTC/USDT", "1m");
        assert_eq!((edited.text.as_str(), matches!(edited.what, Change::RemovedJob { .. })), (after, true));
        add(after, "BTC/USDT", "1m");
    }
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_changed() {
    let error = |result: Result<Edited, EditError>| result.unwrap_err().to_string();
    assert_eq!(
        error(add_histo(COMMENTED, &series("binance", "SOL/USDT", "60"))),
        "binance/SOL/USDT/1m is already asked for on line 15"
    );
    assert_eq!(
        error(remove_histo(COMMENTED, &series("binance", "SOL/USDT", "1h"))),
        "no history job asks for binance/SOL/USDT/1h; did you mean binance/SOL/USDT/1m?"
    );
    assert_eq!(error(remove_histo("", &series("binance", "SOL/USDT", "1h"))), "no history job asks for binance/SOL/USDT/1h");
    let shared = "histo_jobs:\n  - &a {exchange: binance, pairs: &p [BTC/USDT], span: 60}\n  - {<<: *a, span: 300}\n  - {exchange: binance, pairs: *p, span: 3600}\n";
    for span in ["1m", "5m", "1h"] {
        let refused = add_histo(shared, &series("binance", "BNB/USDT", span)).unwrap_err();
        assert!(matches!(refused, EditError::Unsupported { .. }), "{span}: {refused}");
    }
    let refused = add_histo("{alerts: {}}", &series("binance", "BNB/USDT", "1m")).unwrap_err();
    assert!(refused.to_string().contains("edit the file by hand"), "{refused}");
    for text in ["histo_jobs: [", "a: 1\na: 2\n", "a: 'x", "alerts: {}\n---\nalerts: {}\n"] {
        let refused = add_histo(text, &series("binance", "BNB/USDT", "1m")).unwrap_err();
        assert!(matches!(refused, EditError::Unreadable { .. }), "{text}: {refused}");
    }
}

#[test]
fn a_file_is_replaced_whole_with_its_mode_through_its_link_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.yml"), folder.path().join("config.yml"));
    std::fs::write(&real, COMMENTED).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.yml", &link).unwrap();
    let edited = edit_file(&link, |text| add_histo(text, &series("binance", "BNB/USDT", "1h"))).unwrap();
    assert_eq!(std::fs::read_to_string(&real).unwrap(), edited.text);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);

    // A variable that hides the same series: the text can be edited, and the result would be wrong.
    let hidden = "histo_jobs:\n  - {exchange: '${DCCD_TEST_NONE:-binance}', pairs: [BTC/USDT], span: 60}\n";
    std::fs::write(&real, hidden).unwrap();
    let refused = edit_file(&link, |text| add_histo(text, &series("binance", "BTC/USDT", "1m"))).unwrap_err();
    assert!(matches!(refused, EditFileError::Invalid(_)), "{refused}");
    let other = edit_file(&link, |text| {
        std::fs::write(&real, "alerts: {}\n").unwrap();
        add_histo(text, &series("binance", "ETH/USDT", "1m"))
    });
    assert!(matches!(other, Err(EditFileError::Changed { .. })), "{other:?}");
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "alerts: {}\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "something is left over");
    let missing = edit_file(&folder.path().join("none.yml"), |text| add_histo(text, &series("binance", "ETH/USDT", "1m")));
    assert!(matches!(missing, Err(EditFileError::Read(_))), "{missing:?}");
}

/// Files in many styles. The job with the first span holds `BTC/USDT`, perhaps with others.
fn files() -> impl Strategy<Value = String> {
    let pairs = prop::sample::subsequence(vec!["ETH/USDT", "XRP/USDT", "BTC/USDT:USDT"], 0..=3);
    let job = (pairs, 0..6_usize, 0..3_usize, any::<bool>());
    let comment = prop::sample::select(vec!["", "  # note", " # ü: [x, 'y"]);
    let tail = prop::sample::select(vec!["", "stream_jobs: []\n", "\n# end\n", "alerts: {}\n...\n"]);
    (prop::collection::vec(job, 1..4), comment, tail, 0..4_usize, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(jobs, comment, tail, indent, crlf, cut, mark)| {
            let pad = " ".repeat(indent);
            let mut text = format!("# top{comment}\nsettings: {{timezone: UTC}}{comment}\nhisto_jobs:{comment}\n");
            for (index, (more, style, quote, lead)) in jobs.into_iter().enumerate() {
                let quote = ["", "'", "\""][quote];
                let all: Vec<String> =
                    std::iter::once("BTC/USDT").chain(more).map(|pair| format!("{quote}{pair}{quote}")).collect();
                let span = 60 * (index + 1);
                if lead {
                    text += &format!("\n{pad}# job {index}\n");
                }
                let list = match style {
                    0 | 1 => format!("[{}]", all.join(", ")),
                    2 => format!("[\n{pad}      {},\n{pad}   ]", all.join(&format!(",\n{pad}      "))),
                    3 => format!("[ {} ]", all.join(" ,")),
                    _ => String::new(),
                };
                text += &match style {
                    0 => format!("{pad}- {{exchange: binance, pairs: {list}, span: {span}}}{comment}\n"),
                    1..=3 => format!(
                        "{pad}- exchange: binance{comment}\n{pad}  pairs: {list}{comment}\n{pad}  span: {span}{comment}\n"
                    ),
                    _ => {
                        let dash = if style == 4 { format!("{pad}  - ") } else { format!("{pad}      -  ") };
                        let items: String = all.iter().map(|pair| format!("{dash}{pair}{comment}\n")).collect();
                        format!(
                            "{pad}-   span: {span}\n{pad}    exchange: binance\n{pad}    pairs:\n{}",
                            items.replace(
                                &dash,
                                &format!("{pad}  {}", dash.trim_start_matches(' ').to_owned().replace('-', "  -"))
                            )
                        )
                    }
                };
            }
            text += tail;
            if cut {
                text.truncate(text.trim_end().len());
            }
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if mark { format!("\u{feff}{text}") } else { text }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pair_added_and_removed_leaves_the_bytes_as_they_were(text in files()) {
        let edited = add(&text, "BNB/USDT", "1m");
        let appended = matches!(edited.what, Change::AppendedPair { .. });
        prop_assert!(appended, "{:?}", edited.what);
        let back = remove(&edited.text, "BNB/USDT", "1m");
        prop_assert_eq!(&back.text, &text, "{}", edited.text);
        add(&text, "BNB/USDT", "1d");
    }

    #[test]
    fn whatever_is_removed_the_rest_stays(text in files(), picks in prop::collection::vec(any::<prop::sample::Index>(), 12)) {
        let mut text = text;
        for pick in picks {
            let all = names(&text);
            if all.is_empty() {
                break;
            }
            let name = pick.get(&all);
            let (rest, span) = name.rsplit_once('/').unwrap();
            let comments = |text: &str| text.matches("# end").count() + text.matches("# top").count();
            let edited = remove(&text, rest.strip_prefix("binance/").unwrap(), span);
            prop_assert_eq!(comments(&edited.text), comments(&text));
            text = edited.text;
        }
    }

    #[test]
    fn any_text_is_edited_rightly_or_refused(text in "(histo_jobs:|\n| |- |exchange: binance|pairs: |\\[|\\]|BTC/USDT|,|span: 60|\\{|\\}|#|&a |\\*a|'|\"|\r\n|é|---\n|\t){0,25}") {
        let edit = series("binance", "BNB/USDT", "1m");
        if let Ok(edited) = add_histo(&text, &edit) {
            prop_assert!(remove_histo(&edited.text, &edit).map_or(true, |back| back.text != edited.text));
        }
        let _ = remove_histo(&text, &series("binance", "BTC/USDT", "1m"));
    }
}
