//! Where messages go that could not be delivered.

#![expect(
    clippy::disallowed_methods,
    reason = "dead letters go to a subject of the user's"
)]

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::Config;
use async_nats::{HeaderMap, Message};
use lattice_provider_sdk::messaging::{DeadLetter, DeadLetterTo};
use lattice_provider_sdk::{Backoff, BoxError, Shared};

use crate::cluster::Cluster;
use crate::message;

/// The first and the longest pause before a letter is posted again.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The headers of a letter: those of the message, and those that say what it failed of.
fn headers(original: &Message, letter: &DeadLetter) -> HeaderMap {
    let mut headers = original.headers.clone().unwrap_or_default();
    for (name, value) in letter.headers() {
        message::put(&mut headers, name, &value);
    }
    headers
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
    let headers = headers(original, letter);
    let body = original.payload.clone();
    let sent = cluster
        .nats
        .publish_with_headers(subject.clone(), headers, body);
    if let Err(error) = sent.await {
        tracing::error!(subject, %error, "lost a dead letter");
    }
}

/// Posts a letter to a stream, for as long as it takes.
pub(crate) async fn keep(
    cluster: &Shared<Cluster>,
    subject: &str,
    original: &Message,
    letter: &DeadLetter,
) {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    while let Err(error) = post(cluster, subject, original, letter).await {
        tracing::warn!(subject, %error, "could not post a dead letter, the message is kept");
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn post(
    cluster: &Cluster,
    subject: &str,
    original: &Message,
    letter: &DeadLetter,
) -> Result<(), BoxError> {
    let headers = headers(original, letter);
    let send = || {
        let (headers, body) = (headers.clone(), original.payload.clone());
        let sent = cluster
            .jetstream
            .publish_with_headers(subject.to_owned(), headers, body);
        async { sent.await?.await }
    };
    match send().await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {}
        Err(error) => return Err(error.into()),
    }
    let stream = stream_for(subject);
    tracing::info!(subject, stream, "making a stream for dead letters");
    let config = Config {
        name: stream,
        subjects: vec![subject.to_owned()],
        ..Config::default()
    };
    cluster.jetstream.create_stream(config).await?;
    send().await?;
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
    fn streams_for_letters_have_names_that_nats_takes() {
        assert_eq!(stream_for("lattice.dead.A.b"), "lattice_dead_A_b");
    }
}
