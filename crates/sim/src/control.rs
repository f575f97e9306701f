//! The control side, for loopback clients only: `/sim/fault`, `/sim/stats`, `/sim/pause`, `/sim/resume`, `/sim/replay/start`.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::faults::Fault;
use crate::hub::Core;

/// A fault in JSON is far smaller.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Answers a control request.
pub(crate) async fn handle(core: &Rc<RefCell<Core>>, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !peer.ip().is_loopback() {
        return reply(StatusCode::FORBIDDEN, &json!({"error": "the control side answers loopback clients only"}));
    }
    let path = request.uri().path().to_owned();
    let post = request.method() == Method::POST;
    match path.as_str() {
        "/sim/stats" => {
            let stats = core.borrow().stats();
            reply(StatusCode::OK, &serde_json::to_value(stats).unwrap_or_default())
        }
        "/sim/fault" if post => fault(core, request).await,
        "/sim/pause" | "/sim/resume" if post => {
            core.borrow_mut().paused = path.ends_with("pause");
            reply(StatusCode::OK, &json!({"paused": path.ends_with("pause")}))
        }
        "/sim/replay/start" if post => {
            core.borrow_mut().start_replay();
            reply(StatusCode::OK, &json!({}))
        }
        _ => reply(
            StatusCode::NOT_FOUND,
            &json!({"error": "GET /sim/stats, POST /sim/fault, /sim/pause, /sim/resume, /sim/replay/start"}),
        ),
    }
}

async fn fault(core: &Rc<RefCell<Core>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return reply(StatusCode::BAD_REQUEST, &json!({"error": error.to_string()})),
    };
    let fault: Fault = match serde_json::from_slice(&body) {
        Ok(fault) => fault,
        Err(error) => return reply(StatusCode::BAD_REQUEST, &json!({"error": error.to_string()})),
    };
    match core.borrow_mut().inject(fault, "command") {
        Ok(detail) => reply(StatusCode::OK, &json!({"done": detail})),
        Err(error) => reply(StatusCode::BAD_REQUEST, &json!({"error": error})),
    }
}

fn reply(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
