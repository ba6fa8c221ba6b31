//! Making the queues that messages wait in.

use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind};
use lattice_rabbitmq::open_channel;

use crate::settings::QueueKind;

/// Makes a queue if it is missing, and gives a channel for it. One that is there and goes at another
/// time, or never, is used as it is: the server lets nobody change that.
pub(crate) async fn declare(
    connection: &Connection,
    name: &str,
    kind: QueueKind,
) -> lapin::Result<Channel> {
    let durable = QueueDeclareOptions::durable();
    let refused = match attempt(connection, name, durable, kind).await {
        Err(error) if is_about_expiry(&error) => error,
        done => return done,
    };
    tracing::warn!(
        queue = name, %refused,
        "the queue is older than what the link says about its expiry, and stays as it was made"
    );
    let lasting = QueueKind {
        expiry: None,
        ..kind
    };
    match attempt(connection, name, durable, lasting).await {
        Err(error) if is_about_expiry(&error) => {
            attempt(connection, name, durable.passive(), lasting).await
        }
        done => done,
    }
}

/// The server closes the channel of an attempt that it refuses.
async fn attempt(
    connection: &Connection,
    name: &str,
    options: QueueDeclareOptions,
    kind: QueueKind,
) -> lapin::Result<Channel> {
    let channel = open_channel(connection).await?;
    let declared = channel.queue_declare(name.into(), options, arguments(kind));
    declared.await?;
    Ok(channel)
}

/// Whether the queue is there with another time after which it goes. Which of its arguments differs,
/// the server tells in words alone.
fn is_about_expiry(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(told) = error.kind() else {
        return false;
    };
    *told.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
        && told.get_message().as_str().contains("'x-expires'")
}

fn arguments(kind: QueueKind) -> FieldTable {
    let mut arguments = FieldTable::default();
    if kind.quorum {
        let kind = AMQPValue::LongString("quorum".into());
        arguments.insert("x-queue-type".into(), kind);
    }
    if let Some(expiry) = kind.expiry {
        let millis = i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(millis));
    }
    arguments
}
