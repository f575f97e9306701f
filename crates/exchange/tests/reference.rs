//! Writes the tables of `docs/reference/exchanges.md` from what the adapters say of themselves, and holds the file against them. To
//! write it anew: `DCCD_UPDATE=1 cargo test -p dccd-exchange --test reference`.

use std::fmt::Write as _;
use std::path::Path;

use dccd_exchange::{Adapter, AdapterOptions, Depths, Facts, History, NAMES, RestQuota, adapter};
use dccd_model::{Channel, Span};

const DOCUMENT: &str = "docs/reference/exchanges.md";

fn spans(seconds: &[u32]) -> String {
    let spans = seconds.iter().map(|seconds| Span::from_secs(*seconds).unwrap().to_string());
    spans.collect::<Vec<_>>().join(" ")
}

fn depths(depths: Depths) -> String {
    match depths {
        Depths::UpTo(most) => format!("1 to {most}"),
        Depths::OneOf(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Depths::Always(depth) => format!("always {depth}"),
        Depths::All => "all".to_owned(),
    }
}

/// How far back, and by what.
fn past(history: &dyn History) -> String {
    let mut text = String::new();
    for (reach, spans) in by_reach(history) {
        let reach = reach.map_or("all since the listing".to_owned(), |candles| format!("the newest {candles}"));
        let _ = write!(text, "- Candles: {reach} of {spans}");
        let first = history.spans().iter().find_map(|s| history.candle_pages(Span::from_secs(*s)?));
        if let Some(pages) = first {
            let _ = write!(text, "; {} a request", pages.per_page);
            let missing = [("quote volume", pages.has_quote_volume), ("number of trades", pages.has_trades)];
            let missing: Vec<_> = missing.iter().filter(|(_, there)| !there).map(|(what, _)| *what).collect();
            if !missing.is_empty() {
                let _ = write!(text, "; without {}", missing.join(" and "));
            }
            if !pages.sends_empty {
                text.push_str("; none for a stretch without trades");
            }
        }
        text.push_str(".\n");
    }
    if let Some(pages) = history.trade_pages() {
        let _ = writeln!(text, "- Other spans are built from trades, {} a request, since the listing.", pages.per_page);
    }
    text
}

fn by_reach(history: &dyn History) -> Vec<(Option<u32>, String)> {
    let mut groups: Vec<(Option<u32>, Vec<u32>)> = Vec::new();
    for seconds in history.spans() {
        let Some(pages) = history.candle_pages(Span::from_secs(*seconds).unwrap()) else { continue };
        match groups.last_mut().filter(|(reach, _)| *reach == pages.reach) {
            Some((_, group)) => group.push(*seconds),
            None => groups.push((pages.reach, vec![*seconds])),
        }
    }
    groups.into_iter().map(|(reach, group)| (reach, spans(&group))).collect()
}

fn quota(quota: RestQuota) -> String {
    match quota {
        RestQuota::Window { weight, window } => format!("{weight} weight in {} s", window.as_secs()),
        RestQuota::Paced { every, burst } => format!("a weight every {} ms, {burst} at once", every.as_millis()),
    }
}

fn section(adapter: &dyn Adapter, facts: &Facts) -> String {
    let limits = adapter.limits();
    let mut text = format!("## {}\n\n`{}`: {}.\n\n", facts.title, adapter.name(), facts.markets);
    text.push_str("| channel | carried by | integrity |\n|---|---|---|\n");
    for channel in facts.channels {
        let _ = writeln!(text, "| `{}` | {} | {} |", channel.channel, channel.stream, channel.integrity);
    }
    if adapter.capabilities().builds(Channel::Ohlc) {
        text.push_str("| `ohlc` | made of its trades | what is missing of the trades is missing of the candles, and comes when they are fetched |\n");
    }
    let _ = write!(
        text,
        "\n- Books: {} levels a side.\n- A connection: {} feeds at most, {} messages a second, {} connections in {} s, {} h long.\n- REST: {}.\n",
        depths(facts.depths),
        limits.streams_per_connection,
        limits.messages_per_second,
        limits.connects_per_window,
        limits.connect_window.as_secs(),
        limits.lifetime.as_secs() / 3_600,
        quota(limits.rest),
    );
    if let Some(history) = adapter.history() {
        text.push_str(&past(history));
    }
    facts.quirks.iter().for_each(|quirk| text.push_str(&format!("- {quirk}\n")));
    text
}

fn tables() -> String {
    let all: Vec<_> = NAMES.iter().map(|name| adapter(name, &AdapterOptions::default()).unwrap()).collect();
    let mut text = String::from(
        "| exchange | markets | live | missing trades | depth | candles of its own | trading |\n|---|---|---|---|---|---|---|\n",
    );
    for adapter in &all {
        let (facts, can) = (adapter.facts(), adapter.capabilities());
        let channels: Vec<_> = can.channels.iter().map(|channel| channel.as_str()).collect();
        let built = if can.builds(Channel::Ohlc) { ", ohlc of trades" } else { "" };
        let is_paged = adapter.history().is_some_and(|history| history.trade_pages().is_some());
        let trades = match (can.trade_ids_contiguous, can.trades_repairable) {
            (true, true) => "counted and fetched",
            (true, false) => "counted",
            (false, true) if is_paged => "declared by time and fetched",
            (false, true) => "declared by time, fetched where the newest reach",
            (false, false) => "declared by time",
        };
        let candles = adapter.history().map_or_else(|| "–".to_owned(), |history| spans(history.spans()));
        let name = format!("[{}](#{})", facts.title, facts.title.to_lowercase());
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {trades} | {} | {candles} | {} |",
            facts.markets,
            channels.join(", ") + built,
            depths(facts.depths),
            can.trading.as_str()
        );
    }
    for adapter in &all {
        let _ = write!(text, "\n{}", section(adapter.as_ref(), adapter.facts()));
    }
    text
}

#[test]
fn the_reference_says_of_every_exchange_what_its_adapter_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT);
    let document = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{DOCUMENT}: {error}"));
    let (begin, end) = ("<!-- what the adapters say -->\n", "<!-- end of what the adapters say -->");
    let start = document.find(begin).unwrap_or_else(|| panic!("{DOCUMENT} has no line {begin}")) + begin.len();
    let stop = start + document[start..].find(end).unwrap_or_else(|| panic!("{DOCUMENT} has no line {end}"));
    let updated = format!("{}{}{}", &document[..start], tables(), &document[stop..]);
    if std::env::var_os("DCCD_UPDATE").is_some() {
        std::fs::write(&path, &updated).unwrap();
    } else {
        assert!(updated == document, "{DOCUMENT} differs from what the adapters say; DCCD_UPDATE=1 writes it anew");
    }
}

#[test]
fn what_is_offered_is_described_and_nothing_else() {
    for name in NAMES {
        let adapter = adapter(name, &AdapterOptions::default()).unwrap();
        let described: Vec<_> = adapter.facts().channels.iter().map(|facts| facts.channel).collect();
        assert_eq!(described, adapter.capabilities().channels, "{name}");
        if let Depths::OneOf(depths) = adapter.facts().depths {
            assert!(!depths.is_empty() && depths.is_sorted(), "{name}");
        }
    }
}

#[test]
fn a_wish_for_a_depth_leads_to_one_that_is_offered() {
    assert_eq!([Depths::UpTo(50).of(7), Depths::UpTo(50).of(70)], [7, 50]);
    let some = Depths::OneOf(&[10, 25, 100]);
    assert_eq!([some.of(1), some.of(10), some.of(11), some.of(5_000)], [10, 10, 25, 100]);
    assert_eq!((Depths::Always(400).of(5), Depths::All.of(5)), (400, 5));
}
