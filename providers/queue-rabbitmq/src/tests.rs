//! Against RabbitMQ.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::queue::{Message, QueueError, Queues as _, ReceiveOptions};
use lattice_provider_sdk::{Settings, Sharing};
use lattice_services::{Kind, Service};
use tokio::time::Instant;

use crate::backend::RabbitQueues;
use crate::leases::Lease;
use crate::rabbit::Rabbit;
use crate::room::tests::link;
use crate::settings::LinkSettings;

const WANT: ReceiveOptions = ReceiveOptions {
    max: 1,
    wait: Duration::from_secs(2),
    lease: Duration::from_secs(600),
};
const PATIENCE: Duration = Duration::from_secs(30);

async fn queues(service: &Service) -> RabbitQueues {
    let url = service.url();
    let texts = [("url", url.as_str()), ("queue", "jobs")];
    let said = LinkSettings::read(&Settings::from_texts(texts, [])).unwrap();
    let sharing = Sharing::new();
    let connect = || Rabbit::connect(&said.server, "test");
    let rabbit = sharing.get(&said.server, connect).await.unwrap();
    RabbitQueues::new(rabbit, said.clone(), link("jobs"))
}

/// The receipt and the attempt of the next message.
async fn next(queues: &RabbitQueues) -> (String, u32) {
    let until = Instant::now() + PATIENCE;
    loop {
        // There is none while the connection is away.
        if let Ok(got) = queues.receive("jobs", WANT).await
            && let Some(delivery) = got.into_iter().next()
        {
            return (delivery.receipt, delivery.attempt);
        }
        assert!(Instant::now() < until, "no message has come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_had_takes_no_room() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    let message = Message {
        body: "job".into(),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    };
    queues.send("jobs", message, Duration::ZERO).await.unwrap();
    let (first, attempt) = next(&queues).await;
    assert_eq!(attempt, 1);
    let leases = &queues.rabbit.leases;
    // As if it were as large as all that there is room for.
    let large = Lease {
        _share: queues.room.share(1 << 30),
        ..leases.take("jobs", &first).unwrap()
    };
    leases.put(&first, large);
    assert!(queues.room.is_full());
    let line = queues.rabbit.line().unwrap();
    line.connection.close(200, "".into()).await.unwrap();
    drop(line);
    let (again, _) = next(&queues).await;
    assert_ne!(again, first);
    assert!(!queues.room.is_full());
    let put_again = RabbitQueues::new(queues.rabbit.clone(), queues.settings.clone(), link("jobs"));
    assert!(Arc::ptr_eq(&put_again.room, &queues.room));
    let expired = leases.take("jobs", &first).map(drop);
    assert_eq!(expired, Err(QueueError::ReceiptExpired));
}
