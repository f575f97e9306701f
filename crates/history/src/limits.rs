//! The one way to a governor for an exchange: whoever sends it requests from this host draws on the same account.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Limits, RestQuota};
use dccd_model::ExchangeName;
use dccd_net::{Governor, GovernorOptions, Quota, SystemClock};

/// What a configured weight counts for.
const MINUTE: Duration = Duration::from_secs(60);

/// The governor of requests to `exchange` at `rest_url`, with the quota of its `limits`. All processes of this user and host
/// share the account: services, and commands beside them. `per_minute` is a weight to use instead of the exchange's own limit;
/// `freeze_file` keeps a refusal over a restart of the host.
#[must_use]
pub fn governor(
    exchange: &ExchangeName,
    rest_url: &str,
    limits: &Limits,
    per_minute: Option<u32>,
    freeze_file: Option<PathBuf>,
) -> Arc<Governor> {
    let options = GovernorOptions::of(quota(limits.rest, per_minute));
    let options = GovernorOptions {
        used_weight_header: limits.used_weight_header,
        freeze_file,
        forbidden_freeze: limits.forbidden_wait.unwrap_or(options.forbidden_freeze),
        ..options
    };
    Governor::new(options.shared(exchange.as_str(), rest_url), Arc::new(SystemClock))
}

fn quota(rest: RestQuota, per_minute: Option<u32>) -> Quota {
    match (rest, per_minute) {
        (RestQuota::Window { weight, window }, None) => Quota::Window { weight, window },
        (RestQuota::Window { .. }, Some(weight)) => Quota::Window { weight, window: MINUTE },
        (RestQuota::Paced { every, burst }, None) => Quota::Interval { every, burst },
        (RestQuota::Paced { burst, .. }, Some(weight)) => Quota::Interval { every: MINUTE / weight.max(1), burst },
    }
}

#[cfg(test)]
mod tests {
    use dccd_exchange::{AdapterOptions, adapter};

    use super::*;

    #[test]
    fn an_exchange_that_grants_requests_at_intervals_is_asked_at_intervals() {
        let rest = |name| adapter(name, &AdapterOptions::default()).unwrap().limits().rest;
        assert_eq!(quota(rest("kraken"), None), Quota::Interval { every: Duration::from_secs(1), burst: 1 });
        assert_eq!(quota(rest("kraken"), Some(30)), Quota::Interval { every: Duration::from_secs(2), burst: 1 });
        assert_eq!(quota(rest("binance"), None), Quota::Window { weight: 6_000, window: MINUTE });
        assert_eq!(quota(rest("bybit"), None), Quota::Window { weight: 500, window: Duration::from_secs(5) });
        assert_eq!(quota(rest("binance"), Some(500)), Quota::Window { weight: 500, window: MINUTE });
    }
}
