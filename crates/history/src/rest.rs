//! The ways to an exchange's REST addresses: a client and an account of requests for each product that has an address of its own.

use std::path::Path;
use std::sync::Arc;

use dccd_exchange::{Adapter, Product, RestRequest};
use dccd_model::{ExchangeName, UnixNanos};
use dccd_net::{Governor, HttpClient, HttpError, HttpOptions, HttpResponse, Priority, Snapshot};

use crate::limits::{governor, part_of};
use crate::waiting::waits_for;

/// What a configuration says about an exchange's REST addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestAddresses {
    /// Another base address than the exchange's own.
    pub base: Option<String>,
    /// The same for derivatives, where they have an address of their own.
    pub linear: Option<String>,
    /// Request weight a minute instead of the exchange's own limit; of other products' accounts the same part of theirs.
    pub weight_per_minute: Option<u32>,
}

impl RestAddresses {
    fn of(&self, product: Product) -> Option<&String> {
        match product {
            Product::Spot => self.base.as_ref(),
            Product::Linear => self.linear.as_ref(),
        }
    }
}

/// One way.
#[derive(Clone, Debug)]
struct Way {
    product: Product,
    http: HttpClient,
    /// Whether somebody meant this address: it is configured, or none is.
    is_meant: bool,
}

/// All ways to one exchange. Clones share connections and accounts.
#[derive(Clone, Debug)]
pub struct RestClients {
    first: Way,
    others: Vec<Way>,
}

impl RestClients {
    /// Ways to the addresses of this adapter's exchange; connects to nothing yet. What the exchange forbids is kept in `state_dir`,
    /// over a restart of the host; without one it is not.
    ///
    /// # Errors
    /// When an address can't be used.
    pub fn new(
        exchange: &ExchangeName,
        adapter: &dyn Adapter,
        addresses: &RestAddresses,
        state_dir: Option<&Path>,
    ) -> Result<Self, HttpError> {
        let way = |product: Product| {
            let url = addresses.of(product).map_or_else(|| adapter.rest_url_of(product), String::as_str);
            let (account, freeze) = match product {
                Product::Spot => (exchange.to_string(), "freeze.json"),
                Product::Linear => (format!("{exchange}-linear"), "freeze-linear.json"),
            };
            let limits = adapter.limits_of(product);
            let part = |weight| part_of(limits.rest, adapter.limits().rest, weight);
            let freeze_file = state_dir.map(|dir| dir.join(freeze));
            let governor = governor(&account, url, limits, addresses.weight_per_minute.map(part), freeze_file);
            let http = HttpClient::new(HttpOptions::new(url, governor))?;
            let is_meant = addresses.of(product).is_some() || addresses.base.is_none();
            Ok(Way { product, http, is_meant })
        };
        let mut products = adapter.rest_products().iter().copied();
        let first = way(products.next().unwrap_or(Product::Spot))?;
        Ok(Self { first, others: products.map(way).collect::<Result<_, _>>()? })
    }

    fn ways(&self) -> impl Iterator<Item = &Way> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The client for requests of this product.
    #[must_use]
    pub fn of(&self, product: Product) -> &HttpClient {
        self.others.iter().find(|way| way.product == product).map_or(&self.first.http, |way| &way.http)
    }

    /// Sends a request to its address when its turn has come, on that address's account.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn get(&self, request: &RestRequest, priority: Priority) -> Result<HttpResponse, HttpError> {
        self.of(request.product).get(&request.path_and_query, request.weight, priority).await
    }

    /// The account on which requests of this product are.
    #[must_use]
    pub fn governor(&self, product: Product) -> &Arc<Governor> {
        self.of(product).governor()
    }

    /// The products whose lists of markets are asked for although nothing of theirs is wanted. Where another base address stands in
    /// the configuration (a simulator, a proxy) and none for derivatives, nobody meant theirs: they are asked when they are wanted.
    pub fn lists(&self) -> impl Iterator<Item = Product> + '_ {
        self.ways().filter(|way| way.is_meant).map(|way| way.product)
    }

    /// The account that is used up most, of those that are frozen if there are such.
    #[must_use]
    pub fn busiest(&self) -> Snapshot {
        let used = |account: &Snapshot| u64::from(account.used) * 1_000_000 / u64::from(account.limit.max(1));
        let accounts = self.others.iter().map(|way| way.http.governor().snapshot());
        accounts.fold(self.first.http.governor().snapshot(), |most, next| {
            let key = |account: &Snapshot| (account.frozen_until, used(account));
            if key(&next) > key(&most) { next } else { most }
        })
    }

    /// Why requests to one address or another don't go out now; see [`waits_for`].
    #[must_use]
    pub fn waits_for(&self, now: UnixNanos) -> Option<String> {
        self.ways().find_map(|way| waits_for(way.http.governor(), now))
    }
}

#[cfg(test)]
mod tests {
    use dccd_exchange::{AdapterOptions, adapter};

    use super::*;

    fn clients(name: &str, addresses: &RestAddresses) -> RestClients {
        dccd_net::install_crypto_provider();
        let adapter = adapter(name, &AdapterOptions::default()).unwrap();
        RestClients::new(&name.parse().unwrap(), adapter.as_ref(), addresses, None).unwrap()
    }

    /// Nobody listens there: the errors tell where requests would have gone.
    async fn asked(clients: &RestClients, product: Product) -> String {
        let request = RestRequest { path_and_query: "/x".to_owned(), weight: 10, subject: "x".to_owned(), product };
        clients.get(&request, Priority::Live).await.unwrap_err().to_string()
    }

    /// An address where nobody listens any more, and whose account nobody has used.
    fn unused() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn requests_go_to_the_address_of_their_product_on_its_account() {
        let (base, linear) = (unused(), unused());
        let addresses = RestAddresses {
            base: Some(format!("http://{base}")),
            linear: Some(format!("http://{linear}/mirror")),
            weight_per_minute: None,
        };
        let binance = clients("binance", &addresses);
        assert!(asked(&binance, Product::Spot).await.contains(&format!("{base}/x")));
        assert!(asked(&binance, Product::Linear).await.contains(&format!("{linear}/x")));
        let accounts = [Product::Spot, Product::Linear].map(|product| binance.governor(product).snapshot());
        assert_eq!(accounts.map(|account| account.limit), [6_000, 2_400]);
        assert!(accounts.iter().all(|account| account.used >= 10), "{accounts:?}");
        binance.governor(Product::Linear).freeze(418, std::time::Duration::from_secs(60));
        assert!(binance.governor(Product::Spot).snapshot().frozen_until.is_none(), "a ban holds at its address");
        assert!(binance.busiest().limit == 2_400 && binance.busiest().frozen_until.is_some());
        let bybit = clients("bybit", &addresses);
        assert!(asked(&bybit, Product::Linear).await.contains(&format!("{base}/x")), "all of it is at one address");
    }

    #[test]
    fn a_weight_that_is_configured_is_the_same_part_of_each_account() {
        for (weight, limits) in [(3_000, [3_000, 1_200]), (60_000, [60_000, 24_000]), (1, [1, 1])] {
            let [base, linear] = [(); 2].map(|()| Some(format!("http://{}", unused())));
            let addresses = RestAddresses { base, linear, weight_per_minute: Some(weight) };
            let binance = clients("binance", &addresses);
            assert_eq!([Product::Spot, Product::Linear].map(|p| binance.governor(p).snapshot().limit), limits);
        }
    }

    #[test]
    fn an_address_that_nobody_meant_is_not_asked_for_its_list() {
        let lists = |base: Option<&str>, linear: Option<&str>| {
            let [base, linear] = [base, linear].map(|url| url.map(str::to_owned));
            let clients = clients("binance", &RestAddresses { base, linear, weight_per_minute: None });
            clients.lists().collect::<Vec<_>>()
        };
        let (spot, both) = (vec![Product::Spot], vec![Product::Spot, Product::Linear]);
        assert_eq!(lists(None, None), both);
        assert_eq!(lists(Some("http://127.0.0.1:1"), None), spot);
        assert_eq!(lists(Some("http://127.0.0.1:1"), Some("http://127.0.0.1:2")), both);
        assert_eq!(lists(None, Some("http://127.0.0.1:2")), both);
    }
}
