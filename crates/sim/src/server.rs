//! The one port: accepts, tells REST from WebSocket from control, and is gone while the exchange is down.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::hub::Core;
use crate::{control, ws};

/// Opens the port. An address in use a moment ago may be taken again at once: the exchange comes back where it was.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

/// Accepts connections for as long as the exchange lives.
pub(crate) async fn serve(core: Rc<RefCell<Core>>, mut listener: TcpListener, address: SocketAddr) {
    let down = Rc::clone(&core.borrow().down_wake);
    loop {
        let until = core.borrow().down_until;
        if let Some(until) = until {
            drop(listener);
            listener = come_back(&core, address, until).await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    tokio::task::spawn_local(http(Rc::clone(&core), socket, peer));
                }
                Err(error) => {
                    // Out of file handles, most likely: give connections time to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            () = down.notified() => {}
        }
    }
}

async fn come_back(core: &Rc<RefCell<Core>>, address: SocketAddr, until: Instant) -> TcpListener {
    sleep_until(until).await;
    loop {
        match listen(address) {
            Ok(listener) => {
                core.borrow_mut().down_until = None;
                return listener;
            }
            Err(error) => {
                tracing::warn!(%error, %address, "the port could not be opened again; trying on");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn http(core: Rc<RefCell<Core>>, socket: TcpStream, peer: SocketAddr) {
    // Small answers should not wait for more to come.
    let _ = socket.set_nodelay(true);
    let cut = Rc::clone(&core.borrow().cut);
    let service = service_fn(move |request| {
        let core = Rc::clone(&core);
        async move { dispatch(&core, peer, request).await.ok_or(Hangup) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(120))
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, %peer, "an HTTP connection ended badly");
            }
        }
        () = cut.notified() => {}
    }
}

/// The exchange ends a connection instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends without an answer")]
struct Hangup;

async fn dispatch(core: &Rc<RefCell<Core>>, peer: SocketAddr, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path();
    if path.starts_with("/sim/") {
        return Some(control::handle(core, peer, request).await);
    }
    let wire = Rc::clone(&core.borrow().wire);
    if wire.has_socket(path) {
        return Some(ws::handshake::upgrade(core, peer, request));
    }
    wire.rest(core, peer, &request).await
}
