//! The list of markets while services live: new listings are opened without a restart, what is no longer traded is told, and a search
//! over all exchanges names those that don't answer.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};

use dccd_sim::SimOptions;
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, PATIENCE, Place, Setup, Tree, free_port};

/// A simulated Binance with these symbols at this address.
fn exchange(symbols: &[&str], listen: SocketAddr) -> Exchange {
    let mut options = SimOptions { listen, ..Exchange::options(100.0, 100.0) };
    options.market.symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    Exchange::start(options)
}

fn symbols(found: &serde_json::Value) -> Vec<&str> {
    found.as_array().unwrap().iter().map(|hit| hit["symbol"].as_str().unwrap()).collect()
}

/// What `status` says against the market of each job, by job.
fn objections(status: &serde_json::Value) -> Vec<(&str, &str)> {
    let jobs = status["jobs"].as_array().unwrap().iter();
    jobs.filter_map(|job| Some((job["job"].as_str().unwrap(), job["market"].as_str()?))).collect()
}

#[test]
fn a_market_that_is_listed_while_the_service_runs_is_opened_without_a_restart() {
    let mut old = exchange(&["BTC/USDT"], "127.0.0.1:0".parse().unwrap());
    let listen = old.ws_url().trim_start_matches("ws://").parse().unwrap();
    let mut setup = Setup::new(&old);
    setup.channels = vec!["trades".to_owned()];
    let mut tree = Tree::start(&setup);
    tree.wait_live(1);
    let pid = tree.collector().and_then(|service| service.pid);
    old.stop();
    let _new = exchange(&["BTC/USDT", "SOL/USDT"], listen);
    // It isn't on the list that the service began with, so that is renewed at once.
    let tail = tree.run(&["tail", "binance/SOL/USDT/trades", "-n", "3", "--json"]).code(0);
    assert_eq!(tail.out.lines().count(), 3, "{}", tail.out);
    assert_eq!(symbols(&tree.run(&["search", "sol", "--exchange", "binance", "--json"]).code(0).json()), ["SOL/USDT"]);
    assert_eq!(tree.collector().and_then(|service| service.pid), pid, "the service began anew");
    // What isn't listed at all is refused by name.
    let refused = tree.run(&["tail", "binance/DOGE/USDT/trades", "-n", "1"]);
    assert!(refused.code != Some(0) && refused.err.contains("binance has no market DOGE/USDT"), "{}", refused.err);
    tree.stop();
}

#[test]
fn a_list_of_yesterday_is_renewed_while_the_service_runs_and_tells_what_is_no_longer_traded() {
    let exchange = exchange(&["BTC/USDT", "ETH/USDT"], "127.0.0.1:0".parse().unwrap());
    let mut setup = Setup::new(&exchange);
    setup.channels = vec!["trades".to_owned()];
    setup.pairs = vec!["BTC/USDT".to_owned(), "LUNA/USDT".to_owned()];
    let place = Place::new();
    let market = |symbol: &str, id: &str| {
        format!(
            r#"{{"symbol":"{symbol}","id":"{id}","status":"trading","price_tick":null,"amount_step":null,"amount_min":null,"amount_max":null,"notional_min":null}}"#
        )
    };
    let (btc, luna) = (market("BTC/USDT", "BTCUSDT"), market("LUNA/USDT", "LUNAUSDT"));
    let list = format!(r#"{{"markets":[{btc},{luna}],"skipped":0,"fetched":{{"spot":1}}}}"#);
    place.put("data/.dccd/state/binance/markets.json", &list);
    let mut tree = Tree::start_in(place, &setup);
    let status =
        wait_for(PATIENCE, || tree.run(&["status", "--json"]).code(0).json(), |status| !objections(status).is_empty());
    assert_eq!(objections(&status), [("binance/LUNA/USDT/trades", "not listed")]);
    let text = tree.run(&["status"]).code(0).out;
    assert!(text.contains("binance/LUNA/USDT: the exchange doesn't list this market"), "{text}");
    assert_eq!(symbols(&tree.run(&["search", "ethusdt", "--exchange", "binance", "--json"]).code(0).json())[0], "ETH/USDT");
    let validated = tree.run(&["validate", "--config", "config.yml"]).code(0);
    assert!(
        validated.err.contains("warning: binance/LUNA/USDT: the exchange doesn't list this market"),
        "{}",
        validated.err
    );
    tree.stop();
    // The same without a daemon, from the list that was kept.
    let status = tree.run(&["status", "--json", "--config", "config.yml"]).code(0).json();
    assert_eq!(objections(&status), [("binance/LUNA/USDT/trades", "not listed")]);
}

#[test]
fn a_search_over_all_exchanges_ranks_what_they_have_together_and_names_those_that_do_not_answer() {
    let binance = exchange(&["BTC/USDT", "ETH/USDT"], "127.0.0.1:0".parse().unwrap());
    let bybit = SimOptions { exchange: "bybit".to_owned(), ..Exchange::options(10.0, 10.0) };
    let bybit = Exchange::start(bybit);
    // One takes the question and never answers; nothing listens where the others are.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}", hangs.local_addr().unwrap());
    let nobody = format!("http://{}", free_port());
    let mut text = format!(
        "exchanges:\n  binance: {{rest_url: '{}'}}\n  bybit: {{rest_url: '{}'}}\n",
        binance.rest_url(),
        bybit.rest_url()
    );
    for name in ["bitfinex", "coinbase", "deribit", "kraken", "kucoin", "okx"] {
        let url = if name == "kraken" { &hanging } else { &nobody };
        writeln!(text, "  {name}: {{rest_url: '{url}'}}").unwrap();
    }
    let place = Place::new();
    place.put("config.yml", &format!("settings: {{data_path: '{}'}}\n{text}", place.path().join("data").display()));
    let found = place.run(&["search", "btcusdt", "--json", "--config", "config.yml"]).code(0);
    let hits: Vec<_> =
        found.json().as_array().unwrap().iter().map(|hit| format!("{} {}", hit["exchange"], hit["symbol"])).collect();
    assert_eq!(hits[..2], [r#""binance" "BTC/USDT""#, r#""bybit" "BTC/USDT""#], "{}", found.out);
    for name in ["bitfinex", "coinbase", "deribit", "kraken", "kucoin", "okx"] {
        assert!(found.err.contains(&format!("cannot search {name}: ")), "{}", found.err);
    }
    assert!(found.err.contains("cannot search kraken: no answer within"), "{}", found.err);
}

#[test]
fn a_search_keeps_the_list_and_asks_again_only_for_what_it_lacks() {
    let mut binance = exchange(&["BTC/USDT"], "127.0.0.1:0".parse().unwrap());
    let place = Place::new();
    std::fs::create_dir(place.path().join("data")).unwrap();
    let text = format!(
        "settings: {{data_path: '{}'}}\nexchanges: {{binance: {{rest_url: '{}'}}}}\n",
        place.path().join("data").display(),
        binance.rest_url()
    );
    place.put("config.yml", &text);
    let search =
        |pattern: &str| place.run(&["search", pattern, "--exchange", "binance", "--json", "--config", "config.yml"]);
    let asked = search("btc").code(0);
    assert!(symbols(&asked.json()) == ["BTC/USDT"] && asked.err.contains("asking http"), "{}", asked.err);
    binance.stop();
    let kept = search("btc").code(0);
    assert!(symbols(&kept.json()) == ["BTC/USDT"] && kept.err.is_empty(), "{}", kept.err);
    // Of yesterday, it is of use while the exchange can't be asked.
    let path = place.path().join("data/.dccd/state/binance/markets.json");
    let list: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut old = list;
    old["fetched"]["spot"] = 1.into();
    std::fs::write(&path, old.to_string()).unwrap();
    let old = search("btc").code(0);
    assert!(symbols(&old.json()) == ["BTC/USDT"] && old.err.contains("those of last time are searched"), "{}", old.err);
}
