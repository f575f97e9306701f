//! The ring, for the harness.

use std::time::{Duration, Instant};

use dccd_ring::{Next, Reader, RingSpec, Waited, Writer, ring_name};

use crate::harness::{Got, Receive, Send, Way, Words};

/// What datad uses unless told otherwise.
const CAPACITY: u64 = 65_536;

pub struct Ring;
pub struct RingSender(Option<Writer>);
/// A reader, and until when it spins in one go.
pub struct RingReceiver(Reader, Instant);

fn name(id: &str) -> String {
    ring_name(id, "bench", "BTC-USDT", "trades")
}

impl Send for RingSender {
    fn open(id: &str) -> Self {
        let name = name(id);
        let spec = RingSpec {
            name: &name,
            kind: 1,
            slot_size: 64,
            capacity: CAPACITY,
            exchange: "bench",
            symbol: "BTC/USDT",
            channel: "trades",
        };
        Self(Some(Writer::open(&spec, 0).expect("open the ring")))
    }

    #[inline]
    fn send(&mut self, words: &Words) {
        if let Some(writer) = &mut self.0 {
            writer.publish(words);
        }
    }

    #[inline]
    fn flush(&mut self) {
        if let Some(writer) = &mut self.0 {
            writer.end_batch();
        }
    }
}

impl Drop for RingSender {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            let _ = writer.unlink();
        }
    }
}

impl Receive for RingReceiver {
    #[inline]
    fn receive(&mut self) -> Got {
        match self.0.spin_next(self.1) {
            Next::Record { words, .. } => Got::Record(words),
            Next::Lapped { lost } => Got::Lost(lost),
            Next::Empty => Got::Nothing,
        }
    }

    fn wait(&mut self) -> Got {
        match self.0.wait_next(Duration::from_secs(1)) {
            Waited::Record { words, .. } => Got::Record(words),
            Waited::Lapped { lost } => Got::Lost(lost),
            Waited::Idle { .. } => Got::Nothing,
        }
    }
}

impl Way for Ring {
    const NAME: &'static str = "ring";
    const RECEIVER_FIRST: bool = false;
    type Sender = RingSender;
    type Receiver = RingReceiver;

    fn receiver(id: &str) -> RingReceiver {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match Reader::open(&name(id)) {
                Ok(reader) if reader.writer_alive() => return RingReceiver(reader.from_oldest(), deadline),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
                Ok(_) => assert!(Instant::now() < deadline, "no writer"),
            }
        }
    }
}
