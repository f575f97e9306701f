//! The one way to a governor for an exchange: whoever sends it requests from this host draws on the same account.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dccd_exchange::{Limits, RestQuota};
use dccd_net::{Governor, GovernorOptions, Quota, SystemClock};

/// What a configured weight counts for.
const MINUTE: Duration = Duration::from_secs(60);

/// The governor of requests to `rest_url`, with the quota of these `limits`, under the name of this account: the exchange's, or that of
/// one of its products with an address of its own. All processes of this user and host share it: services, and commands beside them. `per_minute` is a weight to use instead of the exchange's own limit;
/// `freeze_file` keeps a refusal over a restart of the host.
#[must_use]
pub(crate) fn governor(
    account: &str,
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
    Governor::new(options.shared(account, rest_url), Arc::new(SystemClock))
}

/// The weight a minute of an account with the quota `of`, where that of one with the quota `whole` is to be `weight`: the same part of
/// what the exchange grants.
pub(crate) fn part_of(of: RestQuota, whole: RestQuota, weight: u32) -> u32 {
    let granted = |quota| match quota {
        RestQuota::Window { weight, window } => u128::from(weight) * MINUTE.as_nanos() / window.as_nanos().max(1),
        RestQuota::Paced { every, .. } => MINUTE.as_nanos() / every.as_nanos().max(1),
    };
    let part = u128::from(weight) * granted(of) / granted(whole).max(1);
    u32::try_from(part).unwrap_or(u32::MAX).max(1)
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
