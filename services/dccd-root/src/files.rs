//! Files that the root reads and writes while it has services to look after: on another thread, and with a deadline. The disk that they
//! lie on may hang, and so much else hangs on the root.

use std::io;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Patience with a disk where somebody waits to hear what stands in a file.
const PATIENCE: Duration = Duration::from_secs(10);
/// Patience with a disk that is to take something: what goes on then is worth more than the file.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// Readings at the same time. One of a disk that hangs keeps its thread until that answers; there are to be no more and more of them.
const AT_ONCE: usize = 4;

/// The places of this process.
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It takes too long.
    #[error("the disk gave no answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// So did those before.
    #[error("the disk has given no answer to the last {AT_ONCE} attempts; they still wait for it")]
    Full,
    /// It panicked.
    #[error("reading them went wrong")]
    Broken,
}

/// Has files read, within [`PATIENCE`]. What takes longer goes on, and nobody hears what comes of it.
pub(crate) async fn read<T: Send + 'static>(reading: impl FnOnce() -> T + Send + 'static) -> Result<T, FilesError> {
    let place = PLACES.try_acquire().map_err(|_| FilesError::Full)?;
    let reading = tokio::task::spawn_blocking(move || {
        let _place = place;
        reading()
    });
    let read = timeout(PATIENCE, reading).await.map_err(|_| FilesError::Slow)?;
    read.map_err(|_| FilesError::Broken)
}

/// Writes files one after the other, so that none can overtake another.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// What the disk has not taken yet.
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    /// Has something written, off the root's thread. Where the disk takes nothing an error comes soon; what is to be written while
    /// something earlier still waits is left out.
    pub(crate) async fn write(&mut self, writing: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let hangs = || io::Error::new(io::ErrorKind::TimedOut, "the disk gives no answer");
        // However it went: this takes its place.
        self.written().await.ok_or_else(hangs).map(drop)?;
        self.running = Some(tokio::task::spawn_blocking(writing));
        self.written().await.unwrap_or_else(|| Err(hangs()))
    }

    /// How the last one went; `None`: it still waits.
    async fn written(&mut self) -> Option<io::Result<()>> {
        let Some(running) = &mut self.running else { return Some(Ok(())) };
        let written = timeout(WRITE_PATIENCE, running).await.ok()?;
        self.running = None;
        Some(written.map_err(io::Error::other).flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_keeps_a_few_threads_and_nobody_else() {
        let mut disks = Vec::new();
        for _ in 0..AT_ONCE {
            let (answer, disk) = mpsc::sync_channel::<()>(1);
            disks.push(answer);
            let read = read(move || disk.recv().is_ok());
            // A clock that nobody moves stands still while a thread works.
            let (read, ()) = tokio::join!(read, tokio::time::advance(PATIENCE + Duration::from_secs(1)));
            assert!(matches!(read, Err(FilesError::Slow)), "{read:?}");
        }
        assert!(matches!(read(|| ()).await, Err(FilesError::Full)));
        // It answers again, and all is well.
        disks.into_iter().for_each(|disk| disk.send(()).unwrap());
        while PLACES.available_permits() < AT_ONCE {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(|| 7).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_disk_does_not_take_is_left_out_and_the_next_is_written_when_it_does() {
        let (answer, disk) = mpsc::sync_channel::<()>(1);
        let mut writer = Writer::default();
        let later = || tokio::time::advance(WRITE_PATIENCE + Duration::from_secs(1));
        let (first, ()) = tokio::join!(writer.write(move || disk.recv().map_err(io::Error::other)), later());
        assert_eq!(first.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (second, ()) = tokio::join!(writer.write(|| panic!("it overtakes the first")), later());
        assert_eq!(second.unwrap_err().to_string(), "the disk gives no answer");
        // The first one fails, at last.
        drop(answer);
        writer.write(|| Ok(())).await.unwrap();
        assert_eq!(
            writer.write(|| Err(io::ErrorKind::StorageFull.into())).await.unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
