//! A webhook's other end: keeps what is posted to it, and answers as it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client may take for its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// A small HTTP server on a thread; ends when it is dropped.
#[derive(Debug)]
pub struct Hook {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Whatever was posted, whether it was taken or not: the status it got, path and body.
    posts: Mutex<Vec<(u16, String, String)>>,
    status: AtomicU16,
    retry_after_s: AtomicU64,
    delay_ms: AtomicU64,
    ended: AtomicBool,
}

impl Hook {
    /// One that takes everything, on a port that is free.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at this address: one that was away comes back.
    #[must_use]
    #[track_caller]
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            posts: Mutex::default(),
            status: AtomicU16::new(200),
            retry_after_s: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away in the middle is none that posted.
                let _ = stream.and_then(|stream| of_thread.answer(stream));
            }
        });
        Self { shared, address, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it, with this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it answers with this status.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// From now on it asks to wait so long; 0: it doesn't.
    pub fn retry_after(&self, seconds: u64) {
        self.shared.retry_after_s.store(seconds, Ordering::SeqCst);
    }

    /// From now on it keeps a post and answers so much later.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Everything that was posted: the status it got, its path and its body.
    #[must_use]
    pub fn posts(&self) -> Vec<(u16, String, String)> {
        self.shared.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bodies of the posts that were taken.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        self.posts().into_iter().filter(|(status, ..)| *status < 300).map(|(_, _, body)| body).collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(REQUEST_TIME))?;
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        let (head, length) = loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            request.extend_from_slice(&buffer[..read]);
            let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&request[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            request.drain(..end + 4);
            break (head, length.unwrap_or(0));
        };
        while request.len() < length {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            request.extend_from_slice(&buffer[..read]);
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let status = self.status.load(Ordering::SeqCst);
        let body = String::from_utf8_lossy(&request).into_owned();
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).push((status, path.clone(), body));
        let delay = self.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            // What is slow is the answer, not the test.
            std::thread::sleep(Duration::from_millis(delay));
        }
        let wait = match self.retry_after_s.load(Ordering::SeqCst) {
            0 => String::new(),
            seconds => format!("retry-after: {seconds}\r\n"),
        };
        let text = format!("you posted to {path}");
        let length = text.len();
        write!(stream, "HTTP/1.1 {status} So\r\ncontent-length: {length}\r\nconnection: close\r\n{wait}\r\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(hook: &Hook) -> String {
        let mut stream = TcpStream::connect(hook.address()).unwrap();
        stream.write_all(b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_keeps_what_it_gets_and_answers_as_told() {
        let hook = Hook::start();
        assert!(post(&hook).starts_with("HTTP/1.1 200 "));
        hook.answer(429);
        hook.retry_after(7);
        assert!(post(&hook).contains("retry-after: 7\r\n"));
        assert_eq!(hook.taken(), ["hello"]);
        assert_eq!(hook.posts()[1], (429, "/x".to_owned(), "hello".to_owned()));
        let address = hook.address();
        drop(hook);
        assert!(TcpStream::connect(address).is_err());
    }
}
