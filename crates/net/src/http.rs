//! GET requests to one address, and POST requests without a body, under a governor, with bounded time and size, and errors that know how to be retried.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;

use crate::clock::now_ns;
use crate::governor::{Governor, GovernorError, Priority};
use crate::retry::Retry;

/// How much of a refusal's body an error keeps.
const STATUS_BODY_BYTES: usize = 512;

/// Room that is made at once for a body whose length the server announces; more comes as it is needed.
const BODY_AT_ONCE: usize = 1 << 20;

/// The wait before a failed connection or a server's fault is tried again.
const FAULT_WAIT: Duration = Duration::from_secs(1);

/// How to reach one exchange.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Scheme, host, port and a path prefix, if any: `https://api.example.com/mirror`. `http://` is for simulators.
    pub base_url: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The longest a connection may take to open.
    pub connect_timeout: Duration,
    /// The longest a whole request may take, from sending to the last byte of the body.
    pub request_timeout: Duration,
    /// The longest a request waits for its turn at the governor.
    pub turn_timeout: Duration,
    /// The largest body accepted, after decompression.
    pub max_body_bytes: usize,
    /// The ledger of the exchange's weights.
    pub governor: Arc<Governor>,
    /// Trust for `https://`; `None`: Mozilla's list and the host's own authorities.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl HttpOptions {
    /// 5 s to connect, 30 s a request, 90 s for a turn, bodies of at most 64 MiB.
    pub fn new(base_url: impl Into<String>, governor: Arc<Governor>) -> Self {
        HttpOptions {
            base_url: base_url.into(),
            user_agent: concat!("dccd/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            turn_timeout: Duration::from_secs(90),
            max_body_bytes: 64 << 20,
            governor,
            tls: None,
        }
    }
}

/// Why a request brought no usable answer. Names the host and the path, never the query.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The base address can't be used.
    #[error("`{base_url}` is no base address: expected http:// or https://, a host, and no query")]
    BaseUrl {
        /// As given, without its query and without credentials.
        base_url: String,
    },
    /// The client can't be set up.
    #[error("cannot set up the HTTP client")]
    Setup {
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// The governor doesn't let it go out.
    #[error("{method} {host}{path} was not sent")]
    Turn {
        /// `GET` or `POST`.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without query.
        path: String,
        /// Why.
        #[source]
        source: GovernorError,
    },
    /// No connection: name not found, refused, TLS failed, or not in time.
    #[error("{method} {host}{path}: cannot connect")]
    Connect {
        /// `GET` or `POST`.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without query.
        path: String,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// No whole answer in time.
    #[error("{method} {host}{path}: no complete answer within {timeout:?}")]
    Timeout {
        /// `GET` or `POST`.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without query.
        path: String,
        /// The time it had.
        timeout: Duration,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("{method} {host}{path}: the answer broke off or can't be read")]
    Transport {
        /// `GET` or `POST`.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without query.
        path: String,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered with another status than success.
    #[error("{method} {host}{path}: status {status}: {}", body.escape_debug())]
    Status {
        /// `GET` or `POST`.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without query.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The first 512 bytes of the answer's body, unreadable bytes replaced.
        body: String,
        /// How long the governor is frozen by this answer.
        frozen: Option<Duration>,
    },
    /// The body is larger than accepted.
    #[error("{method} {host}{path}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// `GET` or `POST`.
        method: &'static str,
        /// Host and port.
        host: String,
        /// Path without query.
        path: String,
        /// The limit.
        limit: usize,
    },
}

impl HttpError {
    /// Whether and when the same request is worth sending again.
    pub fn retry(&self) -> Retry {
        match self {
            HttpError::BaseUrl { .. } | HttpError::Setup { .. } | HttpError::TooLarge { .. } => Retry::No,
            HttpError::Turn { source, .. } => source.retry(),
            HttpError::Timeout { .. } => Retry::Now,
            HttpError::Connect { .. } | HttpError::Transport { .. } => Retry::After(FAULT_WAIT),
            HttpError::Status { frozen: Some(wait), .. } => Retry::After(*wait),
            HttpError::Status { status: 408, .. } => Retry::Now,
            HttpError::Status { status, .. } if *status >= 500 => Retry::After(FAULT_WAIT),
            HttpError::Status { .. } => Retry::No,
        }
    }
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The body, decompressed.
    pub body: Bytes,
    /// When the last byte of the body was here: nanoseconds since the Unix epoch, host clock.
    pub ts_recv: i64,
    headers: HeaderMap,
}

impl HttpResponse {
    /// The value of a header (any case), where it is present and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What time it was at the server when it answered, to the second, rounded down: nanoseconds since the Unix epoch, from the
    /// `Date` header. `None` where it sends none.
    pub fn server_time(&self) -> Option<i64> {
        let date = httpdate::parse_http_date(self.header("date")?).ok()?;
        i64::try_from(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos()).ok()
    }
}

/// A client for one base address. Clones share connections and governor.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    base: String,
    host: String,
    options: Arc<HttpOptions>,
}

impl HttpClient {
    /// Checks the address and sets up TLS; connects to nothing yet.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        let url = reqwest::Url::parse(&options.base_url).ok();
        let usable = url.filter(|u| {
            matches!(u.scheme(), "http" | "https") && u.has_host() && u.query().is_none() && u.fragment().is_none()
        });
        let Some(url) = usable else {
            return Err(HttpError::BaseUrl { base_url: without_secrets(&options.base_url) });
        };
        let name = url.host_str().unwrap_or_default().to_owned();
        let host = match url.port_or_known_default() {
            Some(port) => format!("{name}:{port}"),
            None => name.clone(),
        };
        let mut tls = (**options.tls.as_ref().unwrap_or(crate::tls::client_config())).clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            // An API that moves must be reported, not followed to a host that nobody configured.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&name) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|source| HttpError::Setup { source: source.without_url() })?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(HttpClient { client, base, host, options: Arc::new(options) })
    }

    /// Another client for the same address, under the same governor, with connections and deadlines of its own.
    pub fn apart(&self, request_timeout: Duration, turn_timeout: Duration) -> Result<Self, HttpError> {
        HttpClient::new(HttpOptions { request_timeout, turn_timeout, ..(*self.options).clone() })
    }

    /// Sends a GET for `path_and_query` (beginning with `/`, appended to the base address) when its turn has come.
    ///
    /// Dropping the future gives up the turn or the request; the weight of a request that went out stays counted.
    pub async fn get(&self, path_and_query: &str, weight: u32, priority: Priority) -> Result<HttpResponse, HttpError> {
        self.send("GET", path_and_query, weight, priority).await
    }

    /// As [`HttpClient::get`], with POST and an empty body: it must change nothing that may not be changed twice.
    pub async fn post(&self, path_and_query: &str, weight: u32, priority: Priority) -> Result<HttpResponse, HttpError> {
        self.send("POST", path_and_query, weight, priority).await
    }

    async fn send(
        &self,
        method: &'static str,
        path_and_query: &str,
        weight: u32,
        priority: Priority,
    ) -> Result<HttpResponse, HttpError> {
        let path = || path_and_query.split(['?', '#']).next().unwrap_or_default().to_owned();
        let host = || self.host.clone();
        let governor = &self.options.governor;
        let permit = governor
            .acquire(weight, priority, self.options.turn_timeout)
            .await
            .map_err(|source| HttpError::Turn { method, host: host(), path: path(), source })?;

        let failed = |error: reqwest::Error| {
            let source = error.without_url();
            if source.is_connect() {
                HttpError::Connect { method, host: host(), path: path(), source }
            } else if source.is_timeout() {
                HttpError::Timeout { method, host: host(), path: path(), timeout: self.options.request_timeout }
            } else {
                HttpError::Transport { method, host: host(), path: path(), source }
            }
        };
        let url = format!("{}{path_and_query}", self.base);
        let request = match method {
            // Some servers want to be told that nothing follows.
            "POST" => self.client.post(url).header(reqwest::header::CONTENT_LENGTH, "0"),
            _ => self.client.get(url),
        };
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        // The head alone says what the ledger needs; the body may still break off.
        let frozen = permit.settle(status, |name| headers.get(name).and_then(|value| value.to_str().ok()));

        let success = (200..300).contains(&status);
        let limit = if success { self.options.max_body_bytes } else { STATUS_BODY_BYTES };
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = BytesMut::with_capacity(announced.min(limit).min(BODY_AT_ONCE));
        while let Some(chunk) = response.chunk().await.transpose() {
            match chunk {
                Ok(chunk) => body.extend_from_slice(&chunk),
                // The status counts for more than the rest of its explanation.
                Err(_) if !success => break,
                Err(error) => return Err(failed(error)),
            }
            if body.len() > limit {
                break;
            }
        }
        if !success {
            body.truncate(limit);
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(HttpError::Status { method, host: host(), path: path(), status, body, frozen });
        }
        if body.len() > limit {
            return Err(HttpError::TooLarge { method, host: host(), path: path(), limit });
        }
        Ok(HttpResponse { status, body: body.freeze(), ts_recv: now_ns(), headers })
    }

    /// The governor whose ledger the requests are on.
    pub fn governor(&self) -> &Arc<Governor> {
        &self.options.governor
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An address as it may be shown: without query and fragment, and without what stands before the host's `@`.
pub(crate) fn without_secrets(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => shown.rsplit_once('@').map_or(shown, |(_, rest)| rest).to_owned(),
    }
}
