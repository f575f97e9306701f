//! Other people's clients against the exchange: the programs in `tests/clients`, run with the Python in `$DCCD_PYTHON`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{options, start};
use dccd_sim::SimOptions;
use dccd_testkit::skip;

/// The Python that has this module, or why there is none.
fn python(module: &str) -> Result<PathBuf, String> {
    let python = std::env::var_os("DCCD_PYTHON").map(PathBuf::from).ok_or("DCCD_PYTHON names no Python")?;
    let found = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    match found {
        Ok(output) if output.status.success() => Ok(python),
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("{} can't import {module}: {}", python.display(), error.trim().lines().last().unwrap_or("")))
        }
        Err(error) => Err(format!("{} can't be run: {error}", python.display())),
    }
}

async fn check(name: &str, module: &str, script: &str) {
    check_exchange(name, module, script, options()).await;
}

async fn check_exchange(name: &str, module: &str, script: &str, options: SimOptions) {
    let python = match python(module) {
        Ok(python) => python,
        Err(reason) => return skip(name, &reason),
    };
    let scene = start(options).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients").join(script);
    let (rest, ws) = (scene.sim.rest_url(), scene.sim.ws_url());
    // Some write logs where they run.
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(script).args(["--rest-url", &rest, "--ws-url", &ws]).current_dir(dir.path());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let run = move || command.output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.matches("verified: ").count() >= 5, "{told}");
    scene.finish().await;
}

#[tokio::test]
async fn ccxt_fetches_markets_candles_trades_and_a_book() {
    check("ccxt_fetches_markets_candles_trades_and_a_book", "ccxt", "check_ccxt.py").await;
}

#[tokio::test]
async fn ccxt_watches_trades_and_a_book() {
    check("ccxt_watches_trades_and_a_book", "ccxt.pro", "check_ccxt_ws.py").await;
}

#[tokio::test]
async fn cryptofeed_follows_trades_quotes_and_a_book() {
    check("cryptofeed_follows_trades_quotes_and_a_book", "cryptofeed", "check_cryptofeed.py").await;
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_perpetuals_of_binance() {
    let options = common::usdm::options();
    check_exchange("ccxt_pages_through_the_simulated_perpetuals_of_binance", "ccxt", "check_ccxt_usdm.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_perpetuals_of_binance() {
    let options = common::usdm::options();
    check_exchange("ccxt_watches_the_simulated_perpetuals_of_binance", "ccxt.pro", "check_ccxt_usdm_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_follows_the_simulated_perpetuals_of_binance() {
    let name = "cryptofeed_follows_the_simulated_perpetuals_of_binance";
    check_exchange(name, "cryptofeed", "check_cryptofeed_usdm.py", common::usdm::options()).await;
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_kraken() {
    let kraken = "rate=0".parse().unwrap();
    let options = SimOptions { exchange: "kraken".to_owned(), kraken, ..SimOptions::default() };
    check_exchange("ccxt_pages_through_the_simulated_kraken", "ccxt", "check_ccxt_kraken.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_kraken() {
    let options = common::kraken::options();
    check_exchange("ccxt_watches_the_simulated_kraken", "ccxt.pro", "check_ccxt_kraken_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_speaks_to_kraken_in_its_old_way_alone() {
    let name = "cryptofeed_speaks_to_kraken_in_its_old_way_alone";
    let python = match python("cryptofeed") {
        Ok(python) => python,
        Err(reason) => return skip(name, &reason),
    };
    // Whoever makes it speak v2 will find this to fail, and has a client more to check.
    let ask = "import inspect, cryptofeed.exchanges.kraken as k; print('\"method\"' in inspect.getsource(k))";
    let output = Command::new(python).args(["-c", ask]).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "False", "cryptofeed may speak Kraken's WebSocket v2 now");
    skip(name, "cryptofeed speaks Kraken's WebSocket v1, which the simulated Kraken does not");
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_bybit() {
    let options = common::bybit::options();
    check_exchange("ccxt_pages_through_the_simulated_bybit", "ccxt", "check_ccxt_bybit.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_bybit() {
    let options = common::bybit::options();
    check_exchange("ccxt_watches_the_simulated_bybit", "ccxt.pro", "check_ccxt_bybit_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_follows_the_simulated_bybit() {
    let options = common::bybit::options();
    check_exchange("cryptofeed_follows_the_simulated_bybit", "cryptofeed", "check_cryptofeed_bybit.py", options).await;
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_okx() {
    let options = SimOptions { exchange: "okx".to_owned(), ..SimOptions::default() };
    check_exchange("ccxt_pages_through_the_simulated_okx", "ccxt", "check_ccxt_okx.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_okx() {
    let options = common::okx::options();
    check_exchange("ccxt_watches_the_simulated_okx", "ccxt.pro", "check_ccxt_okx_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_follows_the_simulated_okx_and_verifies_its_checksums() {
    let name = "cryptofeed_follows_the_simulated_okx_and_verifies_its_checksums";
    check_exchange(name, "cryptofeed", "check_cryptofeed_okx.py", common::okx::rules("checksum=true")).await;
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_coinbase() {
    let coinbase = "limits=false".parse().unwrap();
    let options = SimOptions { exchange: "coinbase".to_owned(), coinbase, ..SimOptions::default() };
    check_exchange("ccxt_pages_through_the_simulated_coinbase", "ccxt", "check_ccxt_coinbase.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_coinbase() {
    let options = common::coinbase::options();
    check_exchange("ccxt_watches_the_simulated_coinbase", "ccxt.pro", "check_ccxt_coinbase_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_speaks_to_coinbase_by_its_other_interface_alone() {
    let name = "cryptofeed_speaks_to_coinbase_by_its_other_interface_alone";
    let python = match python("cryptofeed") {
        Ok(python) => python,
        Err(reason) => return skip(name, &reason),
    };
    // Whoever makes it speak to the exchange's own feed will find this to fail, and has a client more to check.
    let ask = "from cryptofeed.exchanges import Coinbase; print([e.address for e in Coinbase.websocket_endpoints])";
    let output = Command::new(python).args(["-c", ask]).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "['wss://advanced-trade-ws.coinbase.com']");
    skip(name, "cryptofeed speaks Advanced Trade, and with a key; the simulated Coinbase is Coinbase Exchange");
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_kucoin() {
    let kucoin = "weight=0".parse().unwrap();
    let options = SimOptions { exchange: "kucoin".to_owned(), kucoin, ..SimOptions::default() };
    check_exchange("ccxt_pages_through_the_simulated_kucoin", "ccxt", "check_ccxt_kucoin.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_both_sockets_of_the_simulated_kucoin() {
    let options = common::kucoin::options();
    check_exchange("ccxt_watches_both_sockets_of_the_simulated_kucoin", "ccxt.pro", "check_ccxt_kucoin_ws.py", options)
        .await;
}

#[tokio::test]
async fn cryptofeed_follows_the_simulated_kucoin() {
    let options = common::kucoin::options();
    check_exchange("cryptofeed_follows_the_simulated_kucoin", "cryptofeed", "check_cryptofeed_kucoin.py", options).await;
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_bitfinex() {
    let options = common::bitfinex::options();
    check_exchange("ccxt_pages_through_the_simulated_bitfinex", "ccxt", "check_ccxt_bitfinex.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_bitfinex() {
    let options = common::bitfinex::options();
    check_exchange("ccxt_watches_the_simulated_bitfinex", "ccxt.pro", "check_ccxt_bitfinex_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_follows_the_simulated_bitfinex_by_its_sequence() {
    let name = "cryptofeed_follows_the_simulated_bitfinex_by_its_sequence";
    // It takes tickers of ten fields alone.
    check_exchange(name, "cryptofeed", "check_cryptofeed_bitfinex.py", common::bitfinex::rules("appended=false")).await;
}

#[tokio::test]
async fn ccxt_pages_through_the_simulated_deribit() {
    let options = common::deribit::rules("credits=true");
    check_exchange("ccxt_pages_through_the_simulated_deribit", "ccxt", "check_ccxt_deribit.py", options).await;
}

#[tokio::test]
async fn ccxt_watches_the_simulated_deribit() {
    let options = common::deribit::options();
    check_exchange("ccxt_watches_the_simulated_deribit", "ccxt.pro", "check_ccxt_deribit_ws.py", options).await;
}

#[tokio::test]
async fn cryptofeed_follows_the_simulated_deribit() {
    let options = common::deribit::options();
    check_exchange("cryptofeed_follows_the_simulated_deribit", "cryptofeed", "check_cryptofeed_deribit.py", options).await;
}
