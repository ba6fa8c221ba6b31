//! Answers that are lost, and what others do meanwhile, on a real NATS.

use async_nats::Subscriber;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::object_store;
use futures::stream;
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_provider_sdk::blobstore::{BlobSettings, Upload};

use super::*;
use crate::consumer::Messages;
use crate::{draft, reading};

const WAIT: Duration = Duration::from_secs(10);

async fn container() -> (NatsBox, Container) {
    let server = NatsBox::start().await.unwrap();
    let backend = NatsBackend::on(server.client().await.unwrap(), None);
    let nats = Arc::new(Nats::new(backend, None));
    let config = object_store::Config {
        bucket: "c".to_owned(),
        ..object_store::Config::default()
    };
    let jetstream = nats.backend.jetstream();
    jetstream.create_object_store(config).await.unwrap();
    let container = Container::of(&nats, "c", WAIT).await.unwrap();
    (server, container)
}

/// The same container for one who does not wait for answers to what it stores.
async fn deaf(container: &Container) -> Container {
    let deaf = Container::of(&container.nats, "c", Duration::ZERO).await;
    deaf.unwrap()
}

async fn write(container: &Container, data: &'static [u8]) -> Meta {
    let pieces = stream::iter([Ok(Bytes::from_static(data))]).boxed();
    let data = Upload::of(pieces, &BlobSettings::default());
    draft::write(container.clone(), "o", data).await.unwrap();
    let meta = container.meta("o").await.unwrap();
    assert_eq!(container.count(&meta.info.nuid).await.unwrap(), 1);
    meta
}

async fn until_purged(container: &Container, meta: &Meta) {
    let purged = async {
        while container.count(&meta.info.nuid).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, purged).await.unwrap();
}

#[tokio::test]
async fn data_are_purged_whose_replacement_was_not_heard_of() {
    let (_server, container) = container().await;
    let before = write(&container, b"before").await;
    let mut info = before.info.clone();
    info.nuid = "other".to_owned();
    let place = deaf(&container).await.replace(&info).await.unwrap();
    assert_eq!(container.meta("o").await.unwrap().place, place);
    until_purged(&container, &before).await;
}

#[tokio::test]
async fn data_are_purged_whose_deletion_was_not_heard_of() {
    let (_server, container) = container().await;
    let before = write(&container, b"before").await;
    deaf(&container).await.delete("o").await.unwrap();
    let gone = container.no_object("o");
    assert_eq!(container.meta("o").await.unwrap_err(), gone);
    until_purged(&container, &before).await;
}

#[tokio::test]
async fn an_object_that_was_replaced_is_not_deleted_in_the_place_of_another() {
    let (_server, container) = container().await;
    let old = write(&container, b"old").await;
    let new = write(&container, b"new").await;
    assert!(!container.delete_this(old.clone()).await.unwrap());
    let kept = container.meta("o").await.unwrap();
    assert_eq!(kept.info.nuid, new.info.nuid);
    assert_eq!(container.count(&new.info.nuid).await.unwrap(), 1);
    until_purged(&container, &old).await;
    assert!(container.delete_this(new.clone()).await.unwrap());
    until_purged(&container, &new).await;
}

#[tokio::test]
async fn what_is_read_slowly_is_kept_at_hand() {
    let (_server, container) = container().await;
    let (subject, begin) = ("$O.c.M.>".to_owned(), DeliverPolicy::All);
    let idle = Duration::from_millis(100);
    let messages = Messages::open(container.clone(), subject, begin, idle).await;
    let _messages = messages.unwrap();
    let found = container.stream.consumers().next().await.unwrap().unwrap();
    assert_eq!(found.config.inactive_threshold, Duration::from_secs(600));
}

#[tokio::test]
async fn data_that_are_an_object_by_the_time_they_would_be_purged_are_kept() {
    let (_server, container) = container().await;
    let meta = write(&container, b"data").await;
    let subject = container.data_subject("left");
    let sent = container.writing.publish(subject, "half".into()).await;
    sent.unwrap().await.unwrap();
    let old = HashSet::from([meta.info.nuid.clone(), "left".to_owned()]);
    assert_eq!(container.purge_unused(old, WAIT).await.unwrap(), 1);
    assert_eq!(container.count("left").await.unwrap(), 0);
    assert_eq!(container.count(&meta.info.nuid).await.unwrap(), 1);
}

/// What is asked of JetStream from now on.
#[expect(
    clippy::disallowed_methods,
    reason = "overhears what the container asks"
)]
async fn questions(server: &NatsBox) -> Subscriber {
    let client = server.client().await.unwrap();
    let questions = client.subscribe("$JS.API.>").await.unwrap();
    lattice_nats_box::taken_in(&client).await.unwrap();
    questions
}

/// How many of `all` leftovers are purged after each look that counts for `fresh`.
async fn portions(all: usize, fresh: Duration) -> Vec<usize> {
    let (server, container) = container().await;
    let mut questions = questions(&server).await;
    let left = (0..all).map(|number| number.to_string()).collect();
    assert_eq!(container.purge_unused(left, fresh).await.unwrap(), all);
    let mut portions: Vec<usize> = Vec::new();
    while portions.iter().sum::<usize>() < all {
        let question = tokio::time::timeout(WAIT, questions.next()).await;
        let subject = question.unwrap().unwrap().subject;
        if subject.starts_with("$JS.API.CONSUMER.CREATE.") {
            portions.push(0);
        } else if subject.starts_with("$JS.API.STREAM.PURGE.") {
            *portions.last_mut().unwrap() += 1;
        }
    }
    portions
}

#[tokio::test]
async fn what_objects_have_is_looked_at_anew_when_the_last_look_was_long_ago() {
    assert_eq!(portions(3, Duration::ZERO).await, [1, 1, 1]);
    // However many there are.
    assert_eq!(portions(300, Duration::MAX).await, [300]);
}

#[tokio::test]
async fn a_server_tells_what_time_it_is() {
    let (_server, container) = container().await;
    let (question, nothing) = ("STREAM.INFO.OBJ_c", json!({}));
    let jetstream = container.nats.backend.jetstream();
    let told: Value = jetstream.request(question, &nothing).await.unwrap();
    let server = container.nats.backend.client().server_info();
    let is_old = server.version.starts_with("2.9.");
    assert!(is_old || told.get("ts").is_some(), "{told}");
    assert!(container.now().await.is_ok());
}

/// How many requests for messages wait.
async fn waiting(container: &Container) -> usize {
    let consumers = container.stream.consumers();
    let waiting = consumers.map(|consumer| consumer.unwrap().num_waiting);
    waiting.fold(0_usize, async |all, some| all + some).await
}

#[tokio::test]
async fn a_read_waits_for_pieces_that_a_server_has_not_got_yet() {
    let (_server, container) = container().await;
    let mut meta = write(&container, b"data").await;
    // As other clients have it: the pieces are asked for in their order.
    meta.info.metadata.clear();
    let subject = container.data_subject(&meta.info.nuid);
    container.purge(&meta.info.nuid).await.unwrap();
    let blob = reading::read(container.clone(), &meta, 0..4, WAIT).await;
    let mut data = blob.unwrap().data;
    let store = async {
        while waiting(&container).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let sent = container.writing.publish(subject, "data".into()).await;
        sent.unwrap().await.unwrap();
    };
    let both = async { tokio::join!(data.next(), store) };
    let (piece, ()) = tokio::time::timeout(WAIT, both).await.unwrap();
    assert_eq!(piece.unwrap().unwrap(), "data");
}

#[tokio::test]
async fn a_read_of_what_was_deleted_does_not_wait() {
    let (_server, container) = container().await;
    let mut meta = write(&container, b"data").await;
    meta.info.metadata.clear();
    container.delete("o").await.unwrap();
    until_purged(&container, &meta).await;
    let blob = reading::read(container.clone(), &meta, 0..4, WAIT).await;
    let error = blob.unwrap().data.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("replaced or deleted"), "{error}");
    assert_eq!(waiting(&container).await, 0);
}

/// What a server says that has stored something in a domain.
fn stored_in(domain: &str) -> PublishAck {
    let told = json!({"stream": "OBJ_c", "seq": 1, "domain": domain});
    serde_json::from_value(told).unwrap()
}

/// The container `c`, as one sees it whose link says this domain, on a server that is in `hub` and is called
/// `alias` too.
async fn in_domain(said: &str) -> (NatsBox, Container) {
    let options = NatsBoxOptions {
        js_domain: Some("hub".to_owned()),
        extra_config: "mappings { \"$JS.alias.API.>\": \"$JS.API.>\" }\n".to_owned(),
        ..NatsBoxOptions::default()
    };
    let server = NatsBox::start_with(options).await.unwrap();
    let backend = NatsBackend::on(server.client().await.unwrap(), Some(said));
    let nats = Arc::new(Nats::new(backend, Some(said.to_owned())));
    let container = Container::of(&nats, "c", WAIT).await.unwrap();
    (server, container)
}

#[tokio::test]
async fn another_name_for_a_domain_is_looked_up_once() {
    let (_server, container) = in_domain("alias").await;
    let config = object_store::Config {
        bucket: "c".to_owned(),
        ..object_store::Config::default()
    };
    let jetstream = container.nats.backend.jetstream();
    jetstream.create_object_store(config).await.unwrap();
    container.check_domain(&stored_in("hub")).await.unwrap();
    // Nobody could say it again.
    jetstream.delete_object_store("c").await.unwrap();
    container.check_domain(&stored_in("hub")).await.unwrap();
    let other = container.check_domain(&stored_in("leaf")).await;
    assert!(other.is_err());
}

#[tokio::test]
async fn what_was_stored_does_not_count_where_nobody_says_in_which_domain() {
    let (_server, container) = in_domain("mute").await;
    let error = container.check_domain(&stored_in("hub")).await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable(_)), "{error:?}");
    for part in ["`hub`", "`mute`", "in time"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
