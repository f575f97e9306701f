//! What clients send, as servers take it in: whatever stands in it, it can't make one panic.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tarpc::{ClientMessage, Request, context, trace};

use crate::DEADLINE_MAX;

/// Laid out on the wire as [`ClientMessage`] is, but for what that makes of a deadline while it is decoded: a moment, which
/// durations of ages are beyond, as those of years are beyond the timers. Both panic.
#[derive(Debug, Deserialize)]
pub(crate) enum Incoming<T> {
    /// A request.
    Request(IncomingRequest<T>),
    /// An answer that is waited for no more.
    Cancel {
        /// As it came.
        trace_context: trace::Context,
        /// The request.
        request_id: u64,
    },
}

#[derive(Debug, Deserialize)]
pub(crate) struct IncomingRequest<T> {
    context: IncomingContext,
    id: u64,
    message: T,
}

#[derive(Debug, Deserialize)]
struct IncomingContext {
    /// How long the client waits, by its own word.
    deadline: Duration,
    trace_context: trace::Context,
}

impl<T> Incoming<T> {
    /// What the server works on: nobody waits for longer than [`DEADLINE_MAX`].
    pub(crate) fn bounded(self) -> ClientMessage<T> {
        match self {
            Self::Cancel { trace_context, request_id } => ClientMessage::Cancel { trace_context, request_id },
            Self::Request(IncomingRequest { context, id, message }) => {
                let mut bounded = context::current();
                bounded.deadline = Instant::now() + context.deadline.min(DEADLINE_MAX);
                bounded.trace_context = context.trace_context;
                ClientMessage::Request(Request { context: bounded, id, message })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use dccd_testkit::raw;
    use tarpc::tokio_serde::{Deserializer as _, Serializer as _};

    use super::*;
    use crate::Codec;

    /// Of a machine that is slow.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A frame without the length before it.
    fn decoded(frame: &[u8]) -> std::io::Result<Incoming<u32>> {
        let mut codec = Codec::<Incoming<u32>, ()>::default();
        Pin::new(&mut codec).deserialize(&frame[4..].into())
    }

    #[test]
    fn a_deadline_of_ages_is_a_day_and_one_that_is_no_time_is_refused() {
        for seconds in [0, 60, 3 << 30, u64::from(u32::MAX) * 1_000, u64::MAX] {
            let ClientMessage::Request(request) =
                decoded(&raw::request(7, (seconds, 999_999_999), 9, &[])).unwrap().bounded()
            else {
                panic!("it is a request");
            };
            assert_eq!((request.id, request.message), (7, 9));
            let left = request.context.deadline.saturating_duration_since(Instant::now());
            assert!(left <= DEADLINE_MAX && left <= Duration::from_secs(seconds.saturating_add(1)), "{seconds}: {left:?}");
            assert!(left + PATIENCE >= DEADLINE_MAX.min(Duration::from_secs(seconds)), "{seconds}: {left:?}");
        }
        decoded(&raw::request(7, (u64::MAX, u32::MAX), 9, &[])).map(drop).unwrap_err();
    }

    #[test]
    fn what_our_own_side_sends_is_taken_in_as_it_was_meant() {
        let mut codec = Codec::<(), ClientMessage<u32>>::default();
        let mut context = crate::context(Duration::from_secs(50));
        context.trace_context.trace_id = 77_u128.into();
        let sent = ClientMessage::Request(Request { context, id: 300, message: 70_000 });
        let bytes = Pin::new(&mut codec).serialize(&sent).unwrap();
        let Incoming::Request(taken) = decoded(&[&[0; 4][..], &bytes].concat()).unwrap() else { panic!("it is a request") };
        assert_eq!((taken.id, taken.message, taken.context.trace_context), (300, 70_000, context.trace_context));
        assert!(taken.context.deadline <= Duration::from_secs(50) && !taken.context.deadline.is_zero());
        let cancel = ClientMessage::<u32>::Cancel { trace_context: context.trace_context, request_id: 300 };
        let bytes = Pin::new(&mut codec).serialize(&cancel).unwrap();
        let taken = decoded(&[&[0; 4][..], &bytes].concat()).unwrap();
        assert!(
            matches!(taken, Incoming::Cancel { request_id: 300, trace_context } if trace_context == context.trace_context)
        );
    }
}
