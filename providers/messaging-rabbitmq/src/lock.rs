//! What one copy of the provider does at a time.
//!
//! A lock is a queue with a consumer, both of them exclusive. The queue keeps out whoever has another
//! connection, the consumer those who share it. What is done over a link in this process may be broken
//! off and begun anew: the lock goes with the channel of whoever has it, and with nothing else, so that
//! what is left of the first attempt does not free the lock of the second.

use std::time::Duration;

use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError, constants};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, ErrorKind};
use lattice_rabbitmq::open_channel;

/// How often it is looked whether somebody else is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long others wait for one that was cut off before it had a consumer, in milliseconds.
const WITHOUT_CONSUMER: i64 = 10_000;

/// Keeps others out, until it is released or dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// It closes when it is dropped; the server cancels the consumer then, and takes the queue away.
    channel: Channel,
    _consumer: Consumer,
}

impl Lock {
    /// Waits until nobody has the lock of that name.
    pub(crate) async fn take(connection: &Connection, name: &ShortString) -> lapin::Result<Self> {
        loop {
            match Self::attempt(connection, name).await {
                Err(error) if is_taken(&error) => tokio::time::sleep(LOOK_EVERY).await,
                taken => return taken,
            }
        }
    }

    async fn attempt(connection: &Connection, name: &ShortString) -> lapin::Result<Self> {
        let channel = open_channel(connection).await?;
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(name.clone(), options, lasting_briefly());
        declared.await?;
        let options = BasicConsumeOptions {
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let consumer =
            channel.basic_consume(name.clone(), "".into(), options, FieldTable::default());
        Ok(Self {
            _consumer: consumer.await?,
            channel,
        })
    }

    /// Lets it go, and waits until the server knows.
    pub(crate) async fn release(self) -> lapin::Result<()> {
        let closed = self.channel.close(constants::REPLY_SUCCESS, "".into());
        closed.await
    }
}

/// How a queue is made that stands for something that goes on for a moment.
pub(crate) fn lasting_briefly() -> FieldTable {
    let mut arguments = FieldTable::default();
    let expires = AMQPValue::LongLongInt(WITHOUT_CONSUMER);
    arguments.insert("x-expires".into(), expires);
    arguments
}

/// Whether somebody has the lock: over another connection, over this one, or until just now.
fn is_taken(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(told) = error.kind() else {
        return false;
    };
    match told.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED | AMQPSoftError::NOTFOUND) => true,
        // The server has the same code for who may not read what begins with `lattice.`.
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            told.get_message().as_str().contains("in exclusive use")
        }
        _ => false,
    }
}

/// Whether the server has refused something, and stays connected, for that reason.
pub(crate) fn is_refused_as(error: &lapin::Error, why: AMQPSoftError) -> bool {
    let ErrorKind::ProtocolError(told) = error.kind() else {
        return false;
    };
    *told.kind() == AMQPErrorKind::Soft(why)
}

#[cfg(test)]
mod tests {
    use lapin::ConnectionProperties;
    use lattice_services::{Kind, Service};

    use super::*;

    /// Longer than a few looks of whoever waits.
    const WAITED: Duration = Duration::from_millis(300);
    /// Within which one who waits has seen that it is free.
    const SOON: Duration = Duration::from_secs(10);

    async fn takes(connection: &Connection, within: Duration) -> Option<Lock> {
        let name = ShortString::from("lattice.one=lock");
        let taken = tokio::time::timeout(within, Lock::take(connection, &name));
        taken.await.ok().map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_lock_is_let_go_by_whoever_has_it_alone() {
        let server = Service::start(Kind::RabbitMq).await.unwrap();
        let url = server.url();
        let connect = || Connection::connect(&url, ConnectionProperties::default());
        let (own, other) = tokio::try_join!(connect(), connect()).unwrap();
        for _ in 0..3 {
            let first = takes(&own, SOON).await.unwrap();
            assert!(takes(&own, WAITED).await.is_none(), "this process has it");
            assert!(takes(&other, WAITED).await.is_none(), "another has it");
            // As when what was begun is broken off, and begun anew at once.
            drop(first);
            let second = takes(&own, SOON).await.unwrap();
            assert!(takes(&other, WAITED).await.is_none(), "it was freed");
            assert!(takes(&own, WAITED).await.is_none(), "it was freed here");
            second.release().await.unwrap();
            takes(&other, SOON).await.unwrap();
        }
    }
}
