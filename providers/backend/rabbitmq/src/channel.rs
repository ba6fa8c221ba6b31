//! Channels on which the server confirms what is published.

use std::ops::Deref;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::sync::{Mutex, MutexGuard};

/// A new channel on which the server confirms what is published.
///
/// # Errors
///
/// Those of the connection.
pub async fn confirming(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    confirming.await?;
    Ok(channel)
}

/// A channel that publishes for one at a time. It is not here while it is used: one whose user did
/// not see the end of it is not used again, as what the server still owes it would hold up, or be taken
/// for, what comes behind.
#[derive(Debug, Default)]
pub struct LoneChannel(Mutex<Option<Channel>>);

impl LoneChannel {
    /// Waits until nobody else uses it, and takes it; a new one of the connection if there is none that
    /// is open.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn lend(&self, connection: &Connection) -> lapin::Result<Lent<'_>> {
        let mut place = self.0.lock().await;
        let channel = match place.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => confirming(connection).await?,
        };
        Ok(Lent { channel, place })
    }
}

/// A channel that one has alone. One that is dropped instead of given back is not used again.
#[derive(Debug)]
pub struct Lent<'a> {
    channel: Channel,
    place: MutexGuard<'a, Option<Channel>>,
}

impl Lent<'_> {
    /// The server owes it nothing any more: the next one may have it.
    pub fn give_back(self) {
        let Self { channel, mut place } = self;
        *place = Some(channel);
    }
}

impl Deref for Lent<'_> {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}
