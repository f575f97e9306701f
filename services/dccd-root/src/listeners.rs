//! Ports of the root: opened at its start, or, where services of an earlier root wait to be adopted, as soon as that is possible.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dccd_service::chain;
use tokio::time::sleep;

use crate::RootError;
use crate::context::Context;
use crate::stop::finished;

/// Between two attempts to open a port that could not be opened.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Something that listens on a port.
pub(crate) trait Door: Sized + Send {
    /// What it is told.
    type Options: Clone + Send + Sync;
    /// Its name in messages.
    const WHAT: &'static str;

    /// Opens it.
    fn bind(options: Self::Options) -> impl Future<Output = Result<Self, RootError>> + Send;

    /// Serves until everything is stopped.
    fn serve(self, ctx: Arc<Context>) -> impl Future<Output = ()> + Send;
}

/// A port that is open, or is to be.
pub(crate) struct Opened<D: Door> {
    options: D::Options,
    door: Result<D, RootError>,
}

/// Opens a port, if there is one to open. `needed`: the root has to start, whatever comes of it.
pub(crate) async fn open<D: Door>(options: Option<D::Options>, needed: bool) -> Result<Option<Opened<D>>, RootError> {
    let Some(options) = options else { return Ok(None) };
    match D::bind(options.clone()).await {
        Err(error) if !needed => Err(error),
        door => Ok(Some(Opened { options, door })),
    }
}

impl<D: Door> Opened<D> {
    /// Serves until everything is stopped. Until the port can be opened the root is degraded.
    pub(crate) async fn keep(self, ctx: Arc<Context>) {
        let mut door = self.door;
        if let Err(error) = &door {
            let error = chain(error);
            tracing::error!(error, "{} is not served; trying again every {} s", D::WHAT, RETRY_INTERVAL.as_secs());
        }
        let door = loop {
            match door {
                Ok(door) => break door,
                Err(error) => ctx.trouble(D::WHAT, Some(chain(&error))),
            }
            tokio::select! {
                _ = finished(&ctx) => return,
                () = sleep(RETRY_INTERVAL) => {}
            }
            door = D::bind(self.options.clone()).await;
        };
        ctx.trouble(D::WHAT, None);
        door.serve(ctx).await;
    }
}
