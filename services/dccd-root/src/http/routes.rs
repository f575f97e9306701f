//! What is asked and what is answered: `/live`, `/ready`, `/health`, `/metrics`; GET and HEAD, no bodies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use super::exposition::Format;
use super::survey::{Survey, Surveyor};
use super::{export, health};
use crate::context::Context;
use crate::token::same;

/// Patience with an answer; the services have a shorter one.
const ANSWER_TIME: Duration = Duration::from_secs(8);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PATHS: &str = "there are /live, /ready, /health and /metrics\n";

/// What is served, to whom.
pub(crate) struct Site {
    ctx: Arc<Context>,
    token: Option<String>,
    surveyor: Surveyor,
}

/// The body of `/ready`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// Eager services that are not ready.
    missing: Vec<String>,
    /// What is known of each.
    reasons: BTreeMap<String, String>,
}

impl Site {
    /// The site of this root; with a token, only for who shows it.
    pub(crate) fn new(ctx: Arc<Context>, token: Option<String>) -> Self {
        Self { ctx, token, surveyor: Surveyor::default() }
    }

    /// The answer to one request.
    pub(crate) async fn answer<B: Body>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !request.body().is_end_stream() {
            let mut refusal = plain(StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here\n");
            // What comes behind the head is not read.
            refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return refusal;
        }
        if !self.may(request.headers()) {
            let mut refusal = plain(StatusCode::UNAUTHORIZED, "a token is wanted: Authorization: Bearer TOKEN\n");
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refusal;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/live" => plain(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/health" => self.surveyed(|survey| health::report(&self.ctx, survey).response()).await,
            "/metrics" => {
                let format =
                    Format::wanted(request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()));
                self.surveyed(|survey| {
                    let text = export::export(&self.ctx, survey).render(format);
                    response(StatusCode::OK, HeaderValue::from_static(format.content_type()), text)
                })
                .await
            }
            _ => plain(StatusCode::NOT_FOUND, PATHS),
        }
    }

    /// Whether the request shows the token, where there is one.
    fn may(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let Some((scheme, shown)) = shown.split_at_checked(b"Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && same(token.as_bytes(), shown)
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let status = self.ctx.status();
        let ready = status.ready && !status.stopping;
        let mut reasons = BTreeMap::new();
        for service in self.ctx.list().into_iter().filter(|service| status.missing.contains(&service.name)) {
            let reason = service.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            reasons.insert(service.name, format!("{}{reason}", service.state));
        }
        if status.stopping {
            reasons.insert(dccd_rpc::root::ROOT_NAME.to_owned(), "stopping".to_owned());
        }
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(code, &Readiness { ready, missing: status.missing, reasons })
    }

    /// What is made of a fresh look at the whole tree.
    async fn surveyed(&self, make: impl FnOnce(&Survey) -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        match timeout(ANSWER_TIME, self.surveyor.survey(&self.ctx)).await {
            Ok(survey) => make(&survey),
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the services could not be asked in time\n"),
        }
    }
}

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(code, TEXT, text)
}

/// A JSON document as an answer.
pub(super) fn json(code: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(text) => response(code, JSON, text),
        // Plain values: it can.
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written\n"),
    }
}

fn response(code: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
