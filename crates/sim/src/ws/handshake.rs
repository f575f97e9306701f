//! From an HTTP request to a WebSocket connection: checks the upgrade and the address, then hands the socket to its task.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::conn;
use crate::hub::Core;

/// Answers an upgrade request; the connection lives on in a task of its own.
pub(crate) fn upgrade(core: &Rc<RefCell<Core>>, peer: SocketAddr, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let has = |name: hyper::header::HeaderName, wanted: &str| {
        let value = request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted))
    };
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|k| derive_accept_key(k.as_bytes()));
    let (true, true, true, Some(accept)) =
        (has(UPGRADE, "websocket"), has(CONNECTION, "upgrade"), has(SEC_WEBSOCKET_VERSION, "13"), key)
    else {
        return plain(StatusCode::BAD_REQUEST, "this is the address of a WebSocket");
    };
    if let Err(wait) = core.borrow_mut().allow_connect(peer.ip()) {
        let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "too many connection attempts");
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
        return response;
    }
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str()).to_owned();
    let address = request.uri().clone();
    let core = Rc::clone(core);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        // Fails when the client hangs up before the handshake is through: then there is nothing to serve.
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let conn = {
            let mut core = core.borrow_mut();
            let conn = core.open(target, peer);
            let wire = Rc::clone(&core.wire);
            wire.opened(&mut core, &conn, &address);
            conn
        };
        conn::run(core, conn, parts.io.into_inner(), &parts.read_buf).await;
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
