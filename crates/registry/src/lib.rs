//! The client's side of `dccd-root`: where an instance lives, and finding, ensuring, listing, watching and stopping its
//! services. Starts no process and keeps no state of its own; every call has a deadline.

mod client;
mod process_watch;
mod runtime_dir;

pub use client::{Registry, RegistryError, connect_datad, connect_syncd};
pub use process_watch::ProcessWatch;
pub use runtime_dir::{INSTANCE_DEFAULT, RuntimeDir, RuntimeDirError};
