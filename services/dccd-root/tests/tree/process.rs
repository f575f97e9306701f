//! A root of a process of its own, to be killed.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use dccd_registry::Registry;

use super::{EXECUTABLE, PATIENCE, Place, wait_for};

/// A process that is killed, should a test fail.
pub struct RootProcess(pub Child);

impl RootProcess {
    /// `kill -9`, to after its end.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for RootProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A root of a process of its own, with the services `a` and `b`.
pub fn root_process(place: &Place) -> RootProcess {
    spawn_root(place, &[])
}

/// One whose services go on without it for so many milliseconds.
pub fn root_process_with(place: &Place, grace_ms: u64) -> RootProcess {
    spawn_root(place, &[grace_ms.to_string()])
}

/// One with so many services, which are called `s00` and so on.
pub fn root_process_of(place: &Place, services: usize) -> RootProcess {
    spawn_root(place, &[1_000.to_string(), services.to_string()])
}

fn spawn_root(place: &Place, args: &[String]) -> RootProcess {
    let mut command = Command::new(EXECUTABLE);
    command.arg0("dccd-root").arg(place.runtime().path()).arg(place.data()).args(args);
    RootProcess(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
}

/// A process that asks for the service `lazy` fifty times.
pub fn callers(place: &Place) -> RootProcess {
    let mut command = Command::new(EXECUTABLE);
    command.arg0("callers").arg(place.runtime().path()).arg(place.data()).stdin(Stdio::null());
    RootProcess(command.spawn().unwrap())
}

/// Waits for a root process and its services.
pub async fn ready_pids(place: &Place) -> (Registry, Vec<u32>) {
    let runtime = place.runtime();
    let registry = wait_for("the root", async || Registry::connect_in(&runtime, PATIENCE).await.ok()).await;
    for name in ["a", "b"] {
        registry.ensure(name, PATIENCE).await.unwrap();
    }
    let pids = registry.list(PATIENCE).await.unwrap().iter().skip(1).map(|info| info.pid.unwrap()).collect();
    (registry, pids)
}
