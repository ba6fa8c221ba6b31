//! Against RabbitMQ.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use lattice_provider_sdk::queue::{
    DEAD_LETTER_REASON, Delivery, Message, Outcome, QueueError, Queues as _, ReceiveOptions, Sent,
    dead_letter,
};
use lattice_provider_sdk::{Settings, Sharing};
use lattice_rabbitmq::{frame_size, open_confirming_channel};
use lattice_services::{Kind, Service};
use tokio::time::Instant;

use crate::backend::RabbitQueues;
use crate::leases::{Lease, fresh};
use crate::publish_line::Parcel;
use crate::rabbit::Rabbit;
use crate::room::tests::link;
use crate::settings::{LinkSettings, QueueSettings};
use crate::stored_message::{self, History};

const WANT: ReceiveOptions = ReceiveOptions {
    max: 1,
    wait: Duration::from_secs(2),
    lease: Duration::from_secs(600),
};
const PATIENCE: Duration = Duration::from_secs(30);

async fn queues(service: &Service) -> RabbitQueues {
    let url = service.url();
    queues_of([("url", url.as_str()), ("queue", "jobs")]).await
}

async fn queues_of<const N: usize>(texts: [(&str, &str); N]) -> RabbitQueues {
    let said = LinkSettings::read(&Settings::from_texts(texts, [])).unwrap();
    let sharing = Sharing::new();
    let connect = || Rabbit::connect(&said.server, "test");
    let rabbit = sharing.get(&said.server, connect).await.unwrap();
    RabbitQueues::new(rabbit, said.clone(), link("jobs"))
}

/// The receipt and the attempt of the next message.
async fn next(queues: &RabbitQueues) -> (String, u32) {
    let delivery = next_of(queues, "jobs", WANT).await;
    (delivery.receipt, delivery.attempt)
}

async fn next_of(queues: &RabbitQueues, queue: &str, want: ReceiveOptions) -> Delivery {
    let until = Instant::now() + PATIENCE;
    loop {
        // There is none while the connection is away.
        if let Ok(got) = queues.receive(queue, want).await
            && let Some(delivery) = got.into_iter().next()
        {
            return delivery;
        }
        assert!(Instant::now() < until, "no message has come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A job with one attribute of so many bytes.
fn job(bytes: usize) -> Message {
    Message {
        body: "job".into(),
        content_type: None,
        attributes: vec![("large".to_owned(), "x".repeat(bytes))],
        dedup_id: None,
        group: None,
    }
}

/// Sends a message as another program, whose headers leave no room in their frame.
async fn send_full(service: &Service) {
    let empty = attribute(0);
    // The server adds its count when it gives the message.
    send_with(service, |most| most - 40 - frame_size(&empty)).await;
}

/// Properties with one header of so many bytes.
fn attribute(bytes: usize) -> BasicProperties {
    let mut headers = FieldTable::default();
    let value = AMQPValue::LongString("x".repeat(bytes).into());
    headers.insert("large".into(), value);
    BasicProperties::default().with_headers(headers)
}

/// Sends a message as another program, with a header of so many bytes as the size of a frame asks for.
async fn send_with(service: &Service, bytes: impl FnOnce(usize) -> usize) {
    let url = service.url();
    let connection = Connection::connect(&url, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let most = usize::try_from(connection.configuration().frame_max()).unwrap();
    let properties = attribute(bytes(most));
    let channel = open_confirming_channel(&connection).await.unwrap();
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), "jobs".into(), options, b"job", properties);
    let confirmed = sent.await.unwrap().await.unwrap();
    assert!(!confirmed.is_nack());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_fill_a_frame_do_not_end_the_connection() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    let lines = &queues.rabbit.lines;
    let line = lines.publishing().unwrap();
    let intake = lines.intake().unwrap();
    let most = usize::try_from(line.most_properties()).unwrap();
    for bytes in [most - 4096, 200_000, 5 << 20] {
        let refused = queues.send("jobs", job(bytes), Duration::ZERO).await;
        let is_told = |error: &QueueError| matches!(error, QueueError::Invalid(_));
        assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
    }
    let jobs = vec![job(200_000), job(most - 4500)];
    let sent = queues.send_many("jobs", jobs).await.unwrap();
    assert!(sent[0].is_err() && sent[1].is_ok(), "{sent:?}");
    let reject = || Outcome::Reject("\u{1}".repeat(2000));
    for how in [Outcome::Retry(None), Outcome::Retry(Some(1)), reject()] {
        let (receipt, _) = next(&queues).await;
        queues.settle("jobs", &receipt, how).await.unwrap();
    }
    for how in [Outcome::Retry(None), Outcome::Retry(Some(1)), reject()] {
        send_full(&service).await;
        let (receipt, attempt) = next(&queues).await;
        assert_eq!(attempt, 1);
        queues.settle("jobs", &receipt, how).await.unwrap();
    }
    let mut has_attribute = Vec::new();
    for _ in 0..4 {
        let got = queues.receive("jobs-dead", WANT).await.unwrap();
        let dead = &got[0].message;
        assert_eq!(dead.body, "job");
        let names: Vec<_> = dead.attributes.iter().map(|(name, _)| &**name).collect();
        assert!(names.contains(&DEAD_LETTER_REASON), "{names:?}");
        has_attribute.push(names.contains(&"large"));
    }
    assert_eq!(has_attribute, [true, false, false, false]);
    assert!(Arc::ptr_eq(&lines.publishing().unwrap(), &line));
    assert!(Arc::ptr_eq(&lines.intake().unwrap(), &intake));
}

/// Whether the letter has the attribute of its message.
async fn is_letter_whole(queues: &RabbitQueues) -> bool {
    let letter = next_of(queues, "jobs-dead", WANT).await;
    assert_eq!(letter.message.body, "job");
    let attributes = &letter.message.attributes;
    let has = |wanted: &str| attributes.iter().any(|(name, _)| name == wanted);
    assert!(has(DEAD_LETTER_REASON), "{:?}", letter.id);
    let how = Outcome::Ack;
    let settled = queues.settle("jobs-dead", &letter.receipt, how).await;
    settled.unwrap();
    has("large")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_headers_fill_a_frame_does_not_go_back_to_its_queue() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    queues.check().await.unwrap();
    let intake = queues.rabbit.lines.intake().unwrap();
    send_full(&service).await;
    let briefly = ReceiveOptions {
        lease: Duration::from_millis(100),
        ..WANT
    };
    let ended = next_of(&queues, "jobs", briefly).await;
    assert!(!is_letter_whole(&queues).await);
    let expired = queues.settle("jobs", &ended.receipt, Outcome::Ack).await;
    assert_eq!(expired, Err(QueueError::ReceiptExpired));
    send_full(&service).await;
    let (receipt, _) = next(&queues).await;
    queues.give_back("jobs", &receipt).await.unwrap();
    assert!(!is_letter_whole(&queues).await);
    assert!(Arc::ptr_eq(&queues.rabbit.lines.intake().unwrap(), &intake));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_leaves_room_in_its_frame_for_the_count_of_the_server() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    queues.check().await.unwrap();
    let history = History {
        enqueued_at_ms: 0,
        ..History::new(String::new())
    };
    for (room, is_whole) in [(20, false), (100, true)] {
        let letter = dead_letter(job(0), "jobs", 1, "no");
        let size = frame_size(&stored_message::properties(&letter, &history));
        send_with(&service, |most| most - room - size).await;
        let (receipt, _) = next(&queues).await;
        let reject = Outcome::Reject("no".to_owned());
        queues.settle("jobs", &receipt, reject).await.unwrap();
        assert_eq!(is_letter_whole(&queues).await, is_whole, "{room}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_has_deleted_is_made_again_for_the_next_messages() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    let send = async || {
        let jobs = vec![job(1), job(1)];
        queues.send_many("jobs", jobs).await.unwrap()
    };
    assert!(send().await.iter().all(Result::is_ok));
    let intake = queues.rabbit.lines.intake().unwrap();
    let channel = intake.connection.create_channel().await.unwrap();
    let deleted = channel.queue_delete("jobs".into(), QueueDeleteOptions::default());
    deleted.await.unwrap();
    let lost = send().await;
    let is_told = |sent: &Sent| *sent == Err(QueueError::NoSuchQueue);
    assert!(lost.iter().all(is_told), "{lost:?}");
    let sent = send().await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_had_takes_no_room() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    queues.send("jobs", job(1), Duration::ZERO).await.unwrap();
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
    let line = queues.rabbit.lines.intake().unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_queues_are_used_than_a_connection_has_channels() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    // Half of the channels are for queues.
    let url = format!("{}?channel_max=16", service.url());
    let create = [("create", "true"), ("queue_type", "classic")];
    let maker = queues_of([("url", service.url().as_str()), create[0], create[1]]).await;
    let queues = queues_of([("url", url.as_str()), create[0], create[1]]).await;
    let names: Vec<_> = (0..40).map(|number| format!("jobs-{number}")).collect();
    for name in &names {
        // To look for a queue that is not there takes a channel of the connection for good.
        maker.send(name, job(1), Duration::ZERO).await.unwrap();
        queues.send(name, job(1), Duration::ZERO).await.unwrap();
    }
    for name in names.iter().chain(&names) {
        let receipt = receipt_of(&queues, name).await.unwrap();
        queues.settle(name, &receipt, Outcome::Ack).await.unwrap();
    }
    let mut receipts = Vec::new();
    for name in &names[..9] {
        queues.send(name, job(1), Duration::ZERO).await.unwrap();
    }
    for name in &names[..8] {
        receipts.push(receipt_of(&queues, name).await.unwrap());
    }
    // What is held keeps its channel, and all the others go on.
    let refused = receipt_of(&queues, &names[8]).await.unwrap_err();
    assert!(refused.text().contains("settle some"), "{refused:?}");
    queues
        .send(&names[8], job(1), Duration::ZERO)
        .await
        .unwrap();
    queues.check().await.unwrap();
    for (name, receipt) in names.iter().zip(&receipts) {
        queues.settle(name, receipt, Outcome::Ack).await.unwrap();
    }
    receipt_of(&queues, &names[8]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_just_made_is_known_to_be_so_where_no_more_are_remembered() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    // Half of the channels are for queues.
    let url = format!("{}?channel_max=16", service.url());
    let queues = queues_of([("url", url.as_str()), ("queue_type", "classic")]).await;
    let line = queues.rabbit.lines.intake().unwrap();
    let classic = queues.settings.queue;
    let mut used = Vec::new();
    for number in 0..8 {
        let name = format!("jobs-{number}");
        used.push(line.queue(&name, Some(classic)).await.unwrap());
    }
    let quorum = QueueSettings {
        quorum: true,
        ..classic
    };
    let made = line.queue("young", Some(quorum)).await.unwrap();
    let again = line.queue("young", Some(quorum)).await.unwrap();
    assert!(Arc::ptr_eq(&made, &again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_while_a_server_is_silent_does_not_end_the_connection() {
    let service = Service::start(Kind::RabbitMq).await.unwrap();
    let queues = queues(&service).await;
    let line = queues.rabbit.lines.publishing().unwrap();
    // All channels that publish are there then.
    for _ in 0..4 {
        queues.send("jobs", job(1), Duration::ZERO).await.unwrap();
    }
    let publish = |bytes: usize| {
        let parcel = Parcel {
            id: fresh(),
            properties: BasicProperties::default(),
            body: vec![0_u8; bytes].into(),
        };
        line.publish("jobs", vec![parcel])
    };
    service.freeze().unwrap();
    // The first is too large to be written, and the others wait behind it.
    let all = async { tokio::join!(publish(32 << 20), publish(1), publish(1)) };
    let given_up = tokio::time::timeout(Duration::from_millis(500), all).await;
    assert!(given_up.is_err(), "{given_up:?}");
    service.thaw().unwrap();
    let until = Instant::now() + PATIENCE;
    while let Err(error) = publish(1).await {
        let is_up = line.connection.status().connected();
        assert!(is_up && Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(line.connection.status().connected());
}

/// The receipt of the message that is in a queue.
async fn receipt_of(queues: &RabbitQueues, queue: &str) -> Result<String, QueueError> {
    let got = queues.receive(queue, WANT).await?;
    Ok(got.into_iter().next().unwrap().receipt)
}
