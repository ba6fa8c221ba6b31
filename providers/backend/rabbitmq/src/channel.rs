//! Channels, and those on which the server confirms what is published.

use std::ops::Deref;

use lapin::options::ConfirmSelectOptions;
use lapin::protocol::AMQPErrorKind;
use lapin::{Channel, Connection, Error, ErrorKind};
use tokio::sync::{Mutex, MutexGuard};

/// A new channel.
///
/// The client (lapin 4.12) remembers the error with which the server closed a channel by the channel's number,
/// and fails the next one that gets this number with it, once: after that nobody gets the number any more. So
/// another one is asked for then. A connection whose numbers are all used up is closed: whoever keeps it makes
/// it anew.
///
/// # Errors
///
/// Those of the connection.
pub async fn open_channel(connection: &Connection) -> lapin::Result<Channel> {
    for _ in 0..=connection.configuration().channel_max() {
        match connection.create_channel().await {
            Err(error) if is_of_another(&error) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ChannelsLimitReached) => break,
            opened => return opened,
        }
    }
    tracing::warn!("all channels of a connection to RabbitMQ are used up: making it anew");
    // One that is lost already is as good.
    connection
        .close(200, "no channel is left".into())
        .await
        .ok();
    Err(ErrorKind::ChannelsLimitReached.into())
}

/// Whether it is what the server said of a channel: of a new one it has said nothing yet.
fn is_of_another(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(told) => matches!(told.kind(), AMQPErrorKind::Soft(_)),
        _ => false,
    }
}

/// A new channel on which the server confirms what is published.
///
/// # Errors
///
/// Those of the connection.
pub async fn open_confirming_channel(connection: &Connection) -> lapin::Result<Channel> {
    let channel = open_channel(connection).await?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    confirming.await?;
    Ok(channel)
}

/// A channel that one caller at a time publishes on. A caller that is cancelled does not give it back, since
/// confirmations that it left behind would be taken for those of the next.
#[derive(Debug, Default)]
pub struct ExclusiveChannel(Mutex<Option<Channel>>);

impl ExclusiveChannel {
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
            None => open_confirming_channel(connection).await?,
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

#[cfg(test)]
mod tests {
    use lapin::options::QueueDeclareOptions;
    use lapin::types::FieldTable;
    use lattice_provider_sdk::Settings;
    use lattice_services::{Kind, Service};

    use super::*;
    use crate::{KeptLine, Line, RabbitSettings};

    struct Bare(Connection);

    impl Line for Bare {
        fn is_up(&self) -> bool {
            self.0.status().connected()
        }
    }

    /// Has the server close a channel.
    async fn spoil_one(connection: &Connection) -> lapin::Result<()> {
        let channel = open_channel(connection).await?;
        let options = QueueDeclareOptions::durable().passive();
        let looked = channel.queue_declare("nowhere".into(), options, FieldTable::default());
        assert!(looked.await.is_err(), "there is no such queue");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn channels_that_the_server_closed_do_not_fail_later_ones() {
        let service = Service::start(Kind::RabbitMq).await.unwrap();
        let url = format!("{}?channel_max=8", service.url());
        let settings = Settings::from_texts([("url", url.as_str())], []);
        let server = RabbitSettings::read(&settings).unwrap();
        let prepare = |connection| std::future::ready(Ok(Bare(connection)));
        let kept = KeptLine::open(&server, "test", prepare).await.unwrap();
        let line = kept.now().unwrap();
        for _ in 0..4 {
            spoil_one(&line.0).await.unwrap();
        }
        for _ in 0..40 {
            let channel = open_channel(&line.0).await.unwrap();
            channel.close(200, "done".into()).await.unwrap();
        }
        let mut spoilt = Ok(());
        while spoilt.is_ok() {
            spoilt = spoil_one(&line.0).await;
        }
        assert!(!line.is_up(), "nobody could use it: {spoilt:?}");
    }
}
