//! The last known state of the instance, for `status` without a daemon: `<data_path>/.dccd/state/services.json`.
//! Written to a temporary file and renamed, so that a reader sees a whole one or none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dccd_rpc::root::{RootStatus, ServiceInfo};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::events::unix_nanos;
use crate::files::Writer;
use crate::stop::finished;

/// The state is written at least this often, for the sake of counters and memory.
const PERIOD: Duration = Duration::from_secs(5);
/// Changes are gathered for this long before they are written.
const GATHER: Duration = Duration::from_millis(100);

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// When it was written: ns since the epoch, host clock.
    pub saved: i64,
    /// The root as it was then.
    pub daemon: RootStatus,
    /// All services as they were then, the root first.
    pub services: Vec<ServiceInfo>,
}

/// The directory of saved states.
pub(crate) fn directory(data_path: &Path) -> PathBuf {
    data_path.join(".dccd").join("state")
}

/// Where the state of a store's services is saved.
#[must_use]
pub fn path(data_path: &Path) -> PathBuf {
    directory(data_path).join("services.json")
}

/// Reads the state saved last; `None` when there never was one.
pub fn load(data_path: &Path) -> io::Result<Option<SavedState>> {
    match fs::read(path(data_path)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps the file current until everything is stopped, and returns when that stands in it. One task, so that no save can
/// overtake another. A disk that takes no writes, or gives no answer, costs this file only.
pub(crate) async fn keep(ctx: Arc<Context>) {
    let mut changes = ctx.events.subscribe();
    let (mut failing, mut writer) = (false, Writer::default());
    loop {
        let is_last = ctx.stopped.borrow().is_some();
        match save_now(&ctx, &mut writer).await {
            Ok(()) => failing = false,
            Err(error) if !failing || is_last => {
                tracing::warn!(path = %path(&ctx.data_path).display(), error = &error as &dyn std::error::Error, "cannot save the state");
                failing = true;
            }
            Err(_) => {}
        }
        if is_last {
            return;
        }
        let change = async {
            // Either way it is time to look again.
            if let Ok(Ok(())) = tokio::time::timeout(PERIOD, changes.changed()).await {
                tokio::time::sleep(GATHER).await;
                changes.mark_unchanged();
            }
        };
        tokio::select! {
            () = change => {}
            _ = finished(&ctx) => {}
        }
    }
}

/// Writes the present state now.
async fn save_now(ctx: &Context, writer: &mut Writer) -> io::Result<()> {
    let state = SavedState { saved: unix_nanos(), daemon: ctx.status(), services: ctx.list() };
    let path = path(&ctx.data_path);
    writer.write(move || save(&path, &state)).await
}

fn save(path: &Path, state: &SavedState) -> io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    fs::write(&temporary, serde_json::to_vec_pretty(state)?)?;
    fs::rename(&temporary, path)
}
