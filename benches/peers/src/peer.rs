//! iceoryx2 publish/subscribe, for the harness: the same 56 bytes of payload, as many buffered as the ring has slots, and
//! the sender waits where the receiver is behind (the ring's writer never does: it says what was lost).

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::harness::{Got, Receive, Send, Way, Words};

/// As many as the ring has slots.
const BUFFER: usize = 65_536;

pub struct Iceoryx2;

type Service = PortFactory<ipc::Service, Words, ()>;

pub struct Sender {
    publisher: Publisher<ipc::Service, Words, ()>,
    _service: Service,
    _node: Node<ipc::Service>,
}

pub struct Receiver {
    subscriber: Subscriber<ipc::Service, Words, ()>,
    _service: Service,
    _node: Node<ipc::Service>,
}

fn service(id: &str) -> (Node<ipc::Service>, Service) {
    let node = NodeBuilder::new().create::<ipc::Service>().expect("a node");
    let service = node
        .service_builder(&id.try_into().expect("a name"))
        .publish_subscribe::<Words>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(BUFFER)
        .open_or_create()
        .expect("a service");
    (node, service)
}

impl Send for Sender {
    fn open(id: &str) -> Self {
        let (node, service) = service(id);
        let builder = service.publisher_builder().backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        let publisher = builder.create().expect("a publisher");
        Self { publisher, _service: service, _node: node }
    }

    #[inline]
    fn send(&mut self, words: &Words) {
        let sample = self.publisher.loan_uninit().expect("a sample");
        sample.write_payload(*words).send().expect("sent");
    }

    fn flush(&mut self) {}
}

impl Receive for Receiver {
    #[inline]
    fn receive(&mut self) -> Got {
        match self.subscriber.receive().expect("receive") {
            Some(sample) => Got::Record(*sample),
            None => Got::Nothing,
        }
    }

    fn wait(&mut self) -> Got {
        self.receive()
    }
}

impl Way for Iceoryx2 {
    const NAME: &'static str = "iceoryx2";
    const RECEIVER_FIRST: bool = true;
    type Sender = Sender;
    type Receiver = Receiver;

    fn receiver(id: &str) -> Receiver {
        let (node, service) = service(id);
        let subscriber = service.subscriber_builder().buffer_size(BUFFER).create().expect("a subscriber");
        Receiver { subscriber, _service: service, _node: node }
    }
}
