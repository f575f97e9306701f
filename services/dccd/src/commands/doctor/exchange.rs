//! Whether an exchange is there at the addresses of the configuration, and what time it has.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dccd_config::Config;
use dccd_exchange::{Adapter, AdapterOptions, Product};
use dccd_history::RestClients;
use dccd_model::ExchangeName;
use dccd_net::{FrameBatch, HttpClient, HttpError, Link, LinkEvent, LinkOptions, Priority};
use dccd_service::chain;

use super::{Checking, Finding, within};
use crate::histo;

/// Patience with an answer; less than with the check, so that it can say what it waited for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(8);
/// Patience with a request's turn.
const TURN_DEADLINE: Duration = Duration::from_secs(2);
/// A clock that is off by more shows in the ages of data and in latencies; in seconds.
const CLOCK_WARNING: f64 = 0.5;
/// One that is off by more makes days begin at another time, and requests that carry one are refused.
const CLOCK_FAILED: f64 = 5.0;

/// The checks of one exchange.
pub fn checks<'a>(config: &'a Config, name: &ExchangeName) -> Vec<Checking<'a>> {
    let Some(adapter) = dccd_exchange::adapter(name.as_str(), &AdapterOptions::default()) else { return Vec::new() };
    dccd_net::install_crypto_provider();
    let settings = config.exchange(name);
    let sockets = sockets(config, name, adapter.as_ref());
    let rest_url = settings.rest_url.clone().unwrap_or_else(|| adapter.rest_url().to_owned());
    let hosts: BTreeSet<String> =
        std::iter::once(&rest_url).chain(sockets.iter().map(|socket| &socket.url)).filter_map(|url| host(url)).collect();
    let rest = RestClients::new(name, adapter.as_ref(), &histo::addresses(&settings), None)
        .and_then(|rest| rest.of(adapter.rest_products()[0]).apart(ANSWER_DEADLINE, TURN_DEADLINE));
    let rest = match rest {
        Ok(rest) => rest,
        Err(error) => {
            let finding = Finding::failed(format!("rest {name}"), chain(&error), "correct exchanges.<x>.rest_url");
            return vec![Box::pin(async { vec![finding] })];
        }
    };
    let mut checks = vec![within(format!("dns {name}"), dns(format!("dns {name}"), hosts))];
    let (exchange, client, clock) = (name.to_string(), rest.clone(), adapter.facts().clock);
    checks.push(within(format!("rest {name}"), answers(exchange, client, clock)));
    for socket in sockets {
        let check = match socket.name {
            "" => format!("websocket {name}"),
            socket => format!("websocket {name} {socket}"),
        };
        let name = name.to_string();
        let ticket = rest.clone();
        checks.push(within(check.clone(), async move { opens(check, name, socket, &ticket).await }));
    }
    checks
}

/// A socket that the jobs need.
struct Wanted {
    name: &'static str,
    index: usize,
    url: String,
    base: Option<String>,
}

fn sockets(config: &Config, name: &ExchangeName, adapter: &dyn Adapter) -> Vec<Wanted> {
    let settings = config.exchange(name);
    let mut wanted = BTreeSet::new();
    for job in config.live_jobs(name) {
        for pair in &job.pairs {
            wanted.extend(job.channels.iter().map(|channel| adapter.socket_of(pair, *channel)));
        }
    }
    // Where the exchange has one address for all of its sockets, the one that is configured is that of all.
    let is_one = adapter.ws_url_of(Product::Linear) == adapter.ws_url();
    let of = |index: usize| {
        let socket = adapter.sockets().get(index)?;
        let base = match socket.product {
            Product::Spot => settings.ws_url.clone(),
            Product::Linear => settings.linear.ws_url.clone().or_else(|| settings.ws_url.clone().filter(|_| is_one)),
        };
        let url = base.clone().unwrap_or_else(|| adapter.ws_url_of(socket.product).to_owned());
        Some(Wanted { name: socket.name, index, url: adapter.socket_url(index, &url), base })
    };
    wanted.into_iter().filter_map(of).collect()
}

/// Host and port of an address.
fn host(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next().filter(|authority| !authority.is_empty())?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if matches!(scheme, "https" | "wss") { 443 } else { 80 };
    Some(if has_port { authority.to_owned() } else { format!("{authority}:{port}") })
}

async fn dns(check: String, hosts: BTreeSet<String>) -> Vec<Finding> {
    let begun = Instant::now();
    for host in &hosts {
        let looked = tokio::time::timeout(ANSWER_DEADLINE, tokio::net::lookup_host(host.as_str())).await;
        let why = match looked.map(|found| found.map(Iterator::count)) {
            Ok(Ok(1..)) => continue,
            Ok(Ok(_)) => "has no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER_DEADLINE.as_secs()),
        };
        let remedy = "is there a network, and a resolver in /etc/resolv.conf?";
        return vec![Finding::failed(check, format!("{host}: {why}"), remedy)];
    }
    let names: Vec<_> = hosts.into_iter().collect();
    vec![Finding::ok(check, format!("{} ({} ms)", names.join(", "), begun.elapsed().as_millis()))]
}

/// Whether REST answers, and by that the exchange's time.
async fn answers(exchange: String, rest: HttpClient, path: &str) -> Vec<Finding> {
    let check = format!("rest {exchange}");
    let (sent, begun) = (now(), Instant::now());
    let response = match rest.get(path, 1, Priority::Live).await {
        Ok(response) => response,
        Err(error) => return vec![unreachable(check, chain(&error), error_status(&error), "rest_url")],
    };
    let took = begun.elapsed();
    let mut findings = vec![Finding::ok(check, format!("answers in {} ms", took.as_millis()))];
    let ours = sent + took.as_secs_f64() / 2.0;
    let theirs = time_in(&response.body, ours).or_else(|| {
        // To the second, rounded down.
        response.server_time().map(|nanos| (nanos as f64 / 1e9 + 0.5, 0.5))
    });
    if let Some((theirs, precision)) = theirs {
        findings.push(clock(format!("clock {exchange}"), ours - theirs, took.as_secs_f64() / 2.0 + precision));
    }
    findings
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// How far the host's clock is off, given what is certain.
fn clock(check: String, offset: f64, uncertain: f64) -> Finding {
    let measured = format!("{offset:+.3} s against the exchange's, ± {uncertain:.3} s");
    let least = (offset.abs() - uncertain).max(0.0);
    let remedy = "let the host's clock be set: timedatectl set-ntp true, or chrony";
    if least > CLOCK_FAILED {
        Finding::failed(check, measured, remedy)
    } else if least > CLOCK_WARNING {
        Finding::warning(check, measured, remedy)
    } else {
        Finding::ok(check, measured)
    }
}

/// The most precise time within a day of ours that stands in an answer, and how precise it is; both in seconds.
fn time_in(body: &[u8], ours: f64) -> Option<(f64, f64)> {
    let text = std::str::from_utf8(body.get(..4_096).unwrap_or(body)).ok()?;
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let read = |number: &str| {
        let whole = number.split('.').next().unwrap_or_default().len();
        let scale = match whole {
            10 => 1.0,
            13 => 1e3,
            16 => 1e6,
            19 => 1e9,
            _ => return None,
        };
        let precision = if whole == 10 && !number.contains('.') { 0.5 } else { 0.001 };
        // What was cut off was half of that on the average.
        let time = number.parse::<f64>().ok()? / scale + if precision < 0.5 { 0.0 } else { precision };
        ((time - ours).abs() < 86_400.0).then_some((time, precision))
    };
    numbers.filter_map(read).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whether the socket opens.
async fn opens(check: String, exchange: String, socket: Wanted, rest: &HttpClient) -> Vec<Finding> {
    let begun = Instant::now();
    let mut url = socket.url;
    let Some(adapter) = dccd_exchange::adapter(&exchange, &AdapterOptions::default()) else { return Vec::new() };
    if let Some(request) = adapter.ticket_request(socket.index) {
        let answer = match rest.post(&request.path_and_query, request.weight, Priority::Live).await {
            Ok(answer) => answer,
            Err(error) => return vec![unreachable(check, chain(&error), error_status(&error), "rest_url")],
        };
        url = match adapter.ticket_url(socket.index, socket.base.as_deref(), &answer.body) {
            Ok(url) => url,
            Err(error) => return vec![unreachable(check, chain(&error), None, "rest_url")],
        };
    }
    let mut link = match Link::new(LinkOptions { connect_timeout: ANSWER_DEADLINE, ..LinkOptions::new(url) }) {
        Ok(link) => link,
        Err(error) => return vec![unreachable(check, chain(&error), None, "ws_url")],
    };
    let mut frames = FrameBatch::new();
    let finding = loop {
        match link.next(&mut frames).await {
            LinkEvent::Opened { .. } => break Finding::ok(check, format!("opens in {} ms", begun.elapsed().as_millis())),
            LinkEvent::Frames { .. } => {}
            LinkEvent::Closed { reason, .. } => break unreachable(check, reason.cause.to_string(), None, "ws_url"),
        }
    };
    link.close().await;
    vec![finding]
}

fn error_status(error: &HttpError) -> Option<u16> {
    match error {
        HttpError::Status { status, .. } => Some(*status),
        _ => None,
    }
}

fn unreachable(check: String, error: String, status: Option<u16>, key: &str) -> Finding {
    let remedy = match status {
        Some(403 | 451) => {
            "the exchange doesn't serve this host's address; from another one, or through a proxy that exchanges.<x> names"
                .to_owned()
        }
        Some(418 | 429) => "the exchange has had too many requests from this address; wait".to_owned(),
        Some(_) => format!("the exchange has a fault, or exchanges.<x>.{key} is not its address"),
        None => format!("is there a network, or a firewall in between? exchanges.<x>.{key} names another address"),
    };
    Finding::failed(check, error, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn the_time_is_found_in_every_exchanges_answer() {
        let ours = 1_700_000_000.0;
        let time = |body: &str| time_in(body.as_bytes(), ours).map(|(time, precision)| ((time - ours), precision));
        assert_eq!(time(r#"{"serverTime":1700000001000}"#), Some((1.0, 0.001)));
        assert_eq!(time(r#"{"code":"0","data":[{"ts":"1699999999000"}],"msg":""}"#), Some((-1.0, 0.001)));
        assert_eq!(time(r#"{"error":[],"result":{"unixtime":1700000000,"rfc1123":"Tue, 14 Nov 23"}}"#), Some((0.5, 0.5)));
        assert_eq!(time(r#"{"timeSecond":"1700000000","timeNano":"1700000002000000000"}"#), Some((2.0, 0.001)));
        assert_eq!(time(r#"{"iso":"2023-11-14T22:13:20.250Z","epoch":1700000000.25}"#), Some((0.25, 0.001)));
        assert_eq!(time(r#"{"usIn":1700000003000000,"result":1700000003000}"#).unwrap().0, 3.0);
        for other in ["", "[1]", "1234567890", r#"{"id":9999999999999}"#] {
            assert_eq!(time(other), None, "{other}");
        }
    }

    #[test]
    fn a_clock_is_judged_by_what_is_certain() {
        let status = |offset, uncertain| clock("c".to_owned(), offset, uncertain).status;
        assert_eq!(status(0.3, 0.02), Status::Ok);
        assert_eq!(status(-1.0, 0.7), Status::Ok);
        assert_eq!(status(-1.0, 0.02), Status::Warning);
        assert_eq!(status(3_600.0, 0.5), Status::Failed);
    }

    #[test]
    fn hosts_have_their_ports() {
        let hosts = ["https://a.b/c", "wss://a.b:9443/ws?x=1", "http://127.0.0.1", "ws://[::1]:7/", "nothing", "http://"];
        let found: Vec<_> = hosts.iter().map(|url| host(url)).collect();
        let expected = [Some("a.b:443"), Some("a.b:9443"), Some("127.0.0.1:80"), Some("[::1]:7"), None, None];
        assert_eq!(found, expected.map(|host| host.map(str::to_owned)));
    }
}
