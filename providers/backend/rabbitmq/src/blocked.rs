//! A server that is short of memory or of disk space.

use lapin::Connection;

/// The server reads nothing from who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("RabbitMQ takes no messages at the moment: it is short of memory or of disk space")]
pub struct Blocked;

/// Refuses what is published while the server reads nothing from a connection: the client would keep all of
/// it.
///
/// # Errors
///
/// [`Blocked`] until the server says that it reads again.
pub fn takes_messages(connection: &Connection) -> Result<(), Blocked> {
    match connection.status().blocked() {
        true => Err(Blocked),
        false => Ok(()),
    }
}
