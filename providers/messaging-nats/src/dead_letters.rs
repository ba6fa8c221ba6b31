//! Where messages go that could not be delivered.

#![expect(
    clippy::disallowed_methods,
    reason = "dead letters go to a subject of the user's"
)]

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::PublishErrorKind as PublishProblem;
use async_nats::jetstream::context::{GetStreamByNameErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use lattice_provider_sdk::messaging::{Carried, DeadLetter, DeadLetterTo};
use lattice_provider_sdk::{Backoff, BoxError, Shared, chain};

use crate::cluster::Cluster;
use crate::jetstream::Trouble;
use crate::message;

/// The first and the longest pause before a letter is posted again.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often it is tried to make a stream that no link names.
const TRIES: usize = 3;

/// The headers of a message as its letter has them. What servers act on (which message they expect
/// before this one, that it is stored once, that it replaces others) is not meant for a letter.
fn carried_headers(original: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in original.headers.iter().flat_map(HeaderMap::iter) {
        // A letter is not to be answered, and tells by itself where the message was.
        let name: &str = name.as_ref();
        if name.eq_ignore_ascii_case(message::REPLY) {
            continue;
        }
        let name = DeadLetter::header_name(name, message::RESERVED);
        for value in values {
            headers.append(&*name, value.clone());
        }
    }
    headers
}

/// What a letter consists of: what it carries of the message, and what that failed of.
fn parts(original: &Message, letter: &DeadLetter, carried: Carried) -> (HeaderMap, Bytes) {
    let mut headers = match carried.has_headers() {
        true => carried_headers(original),
        false => HeaderMap::new(),
    };
    for (name, value) in letter.headers() {
        message::put(&mut headers, name, &value);
    }
    if carried.has_body() {
        return (headers, original.payload.clone());
    }
    let size = original.payload.len().to_string();
    message::put(&mut headers, DeadLetter::SIZE, &size);
    (headers, Bytes::new())
}

/// Posts a letter by core NATS: to whoever listens.
pub(crate) async fn tell(
    cluster: &Cluster,
    to: &DeadLetterTo,
    original: &Message,
    letter: &DeadLetter,
) {
    let DeadLetterTo::Named(subject) = to else {
        return;
    };
    if letter.goes_round(&message::arriving(original, false), subject) {
        return;
    }
    let mut carried = Carried::All;
    loop {
        let (headers, body) = parts(original, letter, carried);
        let nats = &cluster.nats;
        let Err(error) = nats
            .publish_with_headers(subject.clone(), headers, body)
            .await
        else {
            return;
        };
        let less = match error.kind() {
            PublishProblem::MaxPayloadExceeded => carried.less(letter, &error),
            _ => {
                tracing::error!(subject, %error, "lost a dead letter");
                None
            }
        };
        match less {
            Some(less) => carried = less,
            None => return,
        }
    }
}

/// Where letters of a consumer go.
pub(crate) struct DeadLetterTarget {
    pub(crate) subject: String,
    /// Whether the link names it.
    pub(crate) is_named: bool,
    /// Why no letter can be posted at the moment.
    pub(crate) trouble: Trouble,
    /// Whether a stream takes the subject, as far as is known: the server says it of none where nobody
    /// listens there, and says nothing of one of another account.
    has_stream: AtomicBool,
}

impl DeadLetterTarget {
    pub(crate) fn new(subject: String, is_named: bool, trouble: Trouble) -> Self {
        Self {
            subject,
            is_named,
            trouble,
            has_stream: AtomicBool::new(true),
        }
    }
}

/// Posts a letter to a stream, for as long as it takes where the link names its subject. Where it
/// does not, and no stream can be made, the log has to do: as in 1.x, the consumer goes on.
pub(crate) async fn keep(
    cluster: &Shared<Cluster>,
    dead_letter_target: &DeadLetterTarget,
    original: &Message,
    letter: &DeadLetter,
) {
    let subject = &*dead_letter_target.subject;
    if letter.goes_round(&message::arriving(original, true), subject) {
        return;
    }
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let (mut carried, mut unmade) = (Carried::All, 0);
    while let Err(error) = post(
        cluster,
        dead_letter_target,
        parts(original, letter, carried),
    )
    .await
    {
        if is_too_large(&error) {
            match carried.less(letter, &error) {
                Some(less) => carried = less,
                None => break,
            }
            continue;
        }
        unmade += usize::from(error.is::<NoStream>());
        if unmade >= TRIES && !dead_letter_target.is_named {
            let error = chain(&*error);
            tracing::error!(
                subject,
                error,
                "lost a dead letter, for which there is no stream"
            );
            break;
        }
        let why = chain(&*error);
        tracing::warn!(
            subject,
            why,
            "could not post a dead letter, the message is kept"
        );
        *dead_letter_target.trouble.lock() = Some(format!(
            "could not post a dead letter to `{subject}`: {why}"
        ));
        tokio::time::sleep(backoff.delay()).await;
    }
    *dead_letter_target.trouble.lock() = None;
}

/// There is no stream for letters, and none can be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make the stream `{stream}`")]
struct NoStream {
    stream: String,
    source: BoxError,
}

/// Whether the server refuses the letter for its size, and would so again.
fn is_too_large(error: &BoxError) -> bool {
    let Some(error) = error.downcast_ref::<PublishError>() else {
        return false;
    };
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        return true;
    }
    let said = error.source();
    let said = said.and_then(|source| source.downcast_ref::<jetstream::Error>());
    said.is_some_and(|said| {
        [
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
            ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM,
        ]
        .contains(&said.error_code())
    })
}

/// Posts one letter; where the one before was not taken, to a stream that there is made sure of.
async fn post(
    cluster: &Cluster,
    dead_letter_target: &DeadLetterTarget,
    (headers, body): (HeaderMap, Bytes),
) -> Result<(), BoxError> {
    let subject = &*dead_letter_target.subject;
    if !dead_letter_target.has_stream.load(Ordering::Relaxed) {
        let is_sure = make_sure_of_stream(cluster, subject).await?;
        dead_letter_target
            .has_stream
            .store(is_sure, Ordering::Relaxed);
    }
    let send = || {
        let (headers, body) = (headers.clone(), body.clone());
        let sent = cluster
            .jetstream
            .publish_with_headers(subject.to_owned(), headers, body);
        async { sent.await?.await }
    };
    let Err(error) = send().await else {
        dead_letter_target.has_stream.store(true, Ordering::Relaxed);
        return Ok(());
    };
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            dead_letter_target
                .has_stream
                .store(false, Ordering::Relaxed);
            make_stream(cluster, subject).await?;
            send().await?;
            dead_letter_target.has_stream.store(true, Ordering::Relaxed);
            Ok(())
        }
        // The stream may have gone: who listens on the subject keeps the server from saying that
        // nobody took the letter. It is looked again before the next try.
        PublishErrorKind::TimedOut => {
            dead_letter_target
                .has_stream
                .store(false, Ordering::Relaxed);
            Err(error.into())
        }
        _ => Err(error.into()),
    }
}

/// Makes a stream for the subject unless one takes it. Says whether there is one: a login that may
/// post letters need not be allowed to look for streams.
async fn make_sure_of_stream(cluster: &Cluster, subject: &str) -> Result<bool, BoxError> {
    match cluster.jetstream.stream_by_subject(subject).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
            make_stream(cluster, subject).await?;
            Ok(true)
        }
        Err(error) => {
            let why = chain(&error);
            tracing::debug!(subject, why, "could not look for a stream for dead letters");
            Ok(false)
        }
    }
}

async fn make_stream(cluster: &Cluster, subject: &str) -> Result<(), BoxError> {
    let stream = stream_for(subject);
    tracing::info!(subject, stream, "making a stream for dead letters");
    let config = Config {
        name: stream.clone(),
        subjects: vec![subject.to_owned()],
        ..Config::default()
    };
    let made = cluster.jetstream.create_stream(config).await;
    made.map_err(|error| NoStream {
        stream,
        source: error.into(),
    })?;
    Ok(())
}

/// The name of a stream for the letters on a subject.
fn stream_for(subject: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    subject.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_act_on_is_not_said_of_a_letter() {
        let mut theirs = HeaderMap::new();
        for (name, value) in [
            ("Nats-Expected-Stream", "ORDERS"),
            ("nats-msg-id", "1"),
            ("a", "1"),
            ("a", "2"),
            ("lattice-reply", "answers"),
        ] {
            theirs.append(name, value);
        }
        let original = Message {
            subject: "orders.new".into(),
            reply: None,
            payload: "x".into(),
            headers: Some(theirs),
            status: None,
            description: None,
            length: 0,
        };
        let headers = carried_headers(&original);
        let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "a",
                "lattice-original-Nats-Expected-Stream",
                "lattice-original-nats-msg-id"
            ]
        );
        assert_eq!(headers.get_all("a").count(), 2);
    }

    #[test]
    fn streams_for_letters_have_names_that_nats_takes() {
        assert_eq!(stream_for("lattice.dead.A.b"), "lattice_dead_A_b");
    }
}
