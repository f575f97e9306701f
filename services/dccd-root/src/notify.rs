//! What the service manager that started us (systemd, or anything that sets `$NOTIFY_SOCKET`) is told: that we are ready, what is
//! missing, that we stop or replace ourselves, and, from the runtime on which everything else of the root runs, that we live.
//!
//! Datagrams that nobody waits for: one that can't be sent is sent again with the next look, and fails nothing.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dccd_rpc::root::{ServiceInfo, ServiceState};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::MissedTickBehavior;

use crate::context::Context;
use crate::stop::finished;

/// What a child must not find in its environment: it would speak for us.
pub const NOTIFY_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Time between two looks where no watchdog asks for another.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Patience with services that neither get ready nor fail: what runs is announced as ready then, and what is missing named.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
/// While we stop, more time than to the next look is asked for.
const STOP_EXTENSION: Duration = Duration::from_secs(30);

/// The service manager's ear.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    to: SocketAddr,
    /// A sign of life is expected this often.
    watchdog: Option<Duration>,
}

impl Notify {
    /// The one that the environment names; `None`: there is none.
    ///
    /// # Errors
    /// When its address can't be used.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(None);
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros);
        Self::at(Path::new(&address), watchdog).map(Some)
    }

    /// One that listens on this socket (a name that begins with `@`: without a file), and expects a sign of life so often.
    ///
    /// # Errors
    /// When the address can't be used.
    pub fn at(address: &Path, watchdog: Option<Duration>) -> io::Result<Self> {
        let to = match address.as_os_str().as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to, watchdog })
    }

    /// Whether it was sent.
    fn send(&self, message: &str) -> bool {
        match self.socket.send_to_addr(message.as_bytes(), &self.to) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the service manager takes no message");
                false
            }
        }
    }
}

/// Keeps the service manager informed until everything is stopped or handed over.
pub(crate) async fn keep(ctx: Arc<Context>, notify: Notify) {
    let begun = Instant::now();
    let (mut events, mut stopping) = (ctx.events.subscribe(), ctx.force.subscribe());
    let period = notify.watchdog.map_or(LOOK_INTERVAL, |watchdog| (watchdog / 2).min(LOOK_INTERVAL));
    let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Told::default();
    loop {
        // The look takes every lock of the root, so that one that is stuck sends no sign of life either.
        told.tell(&ctx, &notify, begun.elapsed() >= SETTLE_DEADLINE);
        tokio::select! {
            // What happened is told before what it led to.
            biased;
            _ = events.changed() => {}
            _ = stopping.changed() => {}
            _ = ticks.tick() => {
                if notify.watchdog.is_some() {
                    notify.send("WATCHDOG=1");
                }
                if ctx.is_stopping() && !ctx.handing_over.load(Ordering::Relaxed) {
                    notify.send(&format!("EXTEND_TIMEOUT_USEC={}", STOP_EXTENSION.as_micros()));
                }
            }
            _ = finished(&ctx) => return,
        }
    }
}

/// What was said already.
#[derive(Default)]
struct Told {
    ready: bool,
    ending: bool,
    status: String,
}

impl Told {
    fn tell(&mut self, ctx: &Context, notify: &Notify, is_late: bool) {
        let services: Vec<_> = ctx.cells().iter().map(|cell| cell.info()).collect();
        if ctx.is_stopping() {
            let (word, status) = if ctx.handing_over.load(Ordering::Relaxed) {
                // The next root, in this process, says when it is ready.
                (format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()), "replacing dccd-root".to_owned())
            } else {
                ("STOPPING=1".to_owned(), stopping(&services))
            };
            if !self.ending || self.status != status {
                let said = if self.ending { String::new() } else { format!("{word}\n") };
                if notify.send(&format!("{said}STATUS={status}")) {
                    (self.ending, self.status) = (true, status);
                }
            }
            return;
        }
        let status = running(&services);
        let is_settled = services.iter().all(|service| !service.eager || service.state.is_ready() || has_failed(service));
        if !self.ready && (is_settled || is_late) {
            self.ready = notify.send(&format!("READY=1\nMAINPID={}\nSTATUS={status}", std::process::id()));
            if self.ready {
                self.status = status;
            }
        } else if self.status != status && notify.send(&format!("STATUS={status}")) {
            self.status = status;
        }
    }
}

/// Whether waiting for it is of no use: it has failed and failed again. The others run, and are not to be stopped for that.
fn has_failed(service: &ServiceInfo) -> bool {
    match service.state {
        ServiceState::Failed | ServiceState::Stopped => true,
        ServiceState::Backoff => service.restarts >= 2,
        _ => false,
    }
}

/// One line on how the services are.
fn running(services: &[ServiceInfo]) -> String {
    let eager: Vec<_> = services.iter().filter(|service| service.eager).collect();
    let ready = eager.iter().filter(|service| service.state.is_ready()).count();
    let mut status = format!("{ready} of {} services ready", eager.len());
    for service in services.iter().filter(|service| service.eager || service.state.is_ready()) {
        if service.state != ServiceState::Ready {
            let reason = service.reason.as_ref().map(|reason| format!(" ({})", reason.replace('\n', " ")));
            status.push_str(&format!("; {} {}{}", service.name, service.state, reason.unwrap_or_default()));
        }
    }
    status
}

fn stopping(services: &[ServiceInfo]) -> String {
    let left: Vec<_> =
        services.iter().filter(|service| service.pid.is_some()).map(|service| service.name.as_str()).collect();
    if left.is_empty() { "stopping".to_owned() } else { format!("stopping; still running: {}", left.join(", ")) }
}

/// What systemd compares with the moment at which it asked for a reload.
fn monotonic_usec() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_sockets_with_and_without_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("dccd-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let ears = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&abstract_name).unwrap()];
        for (ear, address) in ears.iter().zip([path.clone(), format!("@{name}").into()]) {
            assert!(Notify::at(&address, None).unwrap().send("READY=1"));
            let mut buffer = [0; 16];
            let n = ear.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], b"READY=1");
        }
        drop(ears);
        assert!(!Notify::at(&path, None).unwrap().send("READY=1"), "nobody listens");
        assert!(Notify::at(Path::new("vsock:2:1"), None).is_err());
    }
}
