//! The one way to a governor for an exchange: whoever sends it requests from this host draws on the same account.

use std::path::PathBuf;
use std::sync::Arc;

use dccd_exchange::{Limits, RestQuota};
use dccd_model::ExchangeName;
use dccd_net::{Governor, GovernorOptions, Quota, SystemClock};

/// The governor of requests to `exchange` at `rest_url`, with the quota of its `limits`. All processes of this user and host
/// share the account: services, and commands beside them. `freeze_file` keeps a refusal over a restart of the host.
#[must_use]
pub fn governor(exchange: &ExchangeName, rest_url: &str, limits: &Limits, freeze_file: Option<PathBuf>) -> Arc<Governor> {
    let options = GovernorOptions {
        used_weight_header: limits.used_weight_header,
        freeze_file,
        ..GovernorOptions::of(quota(limits.rest))
    };
    Governor::new(options.shared(exchange.as_str(), rest_url), Arc::new(SystemClock))
}

fn quota(rest: RestQuota) -> Quota {
    match rest {
        RestQuota::Window { weight, window } => Quota::Window { weight, window },
        RestQuota::Paced { every, burst } => Quota::Interval { every, burst },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dccd_exchange::{AdapterOptions, adapter};

    use super::*;

    #[test]
    fn an_exchange_that_grants_requests_at_intervals_is_asked_at_intervals() {
        let rest = |name| adapter(name, &AdapterOptions::default()).unwrap().limits().rest;
        assert_eq!(quota(rest("kraken")), Quota::Interval { every: Duration::from_secs(1), burst: 1 });
        assert_eq!(quota(rest("binance")), Quota::Window { weight: 6_000, window: Duration::from_secs(60) });
    }
}
