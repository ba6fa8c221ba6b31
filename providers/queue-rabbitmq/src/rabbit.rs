//! A server, with what its links have there.

use std::future::ready;
use std::sync::Arc;

use lattice_provider_sdk::queue::QueueError;
use lattice_rabbitmq::{ConnectError, KeptLine, RabbitSettings};

use crate::intake_line::IntakeLine;
use crate::leases::Leases;
use crate::publish_line::PublishLine;
use crate::room::Rooms;

/// A server, with what its links have of it.
#[derive(Debug)]
pub(crate) struct Rabbit {
    pub(crate) leases: Leases,
    pub(crate) rooms: Rooms,
    pub(crate) lines: Arc<Lines>,
}

impl Rabbit {
    /// Connects as `name`.
    pub(crate) async fn connect(
        settings: &RabbitSettings,
        name: &str,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            leases: Leases::new(),
            rooms: Rooms::default(),
            lines: Arc::new(Lines::open(settings, name).await?),
        })
    }
}

/// The two connections to a server, made again and again.
#[derive(Debug)]
pub(crate) struct Lines {
    publishing: KeptLine<PublishLine>,
    intake: KeptLine<IntakeLine>,
}

impl Lines {
    async fn open(settings: &RabbitSettings, name: &str) -> Result<Self, ConnectError> {
        let sending = |connection| ready(Ok(PublishLine::on(connection)));
        let taking = |connection| ready(Ok(IntakeLine::on(connection)));
        let names = ["publishes", "consumes"].map(|what| format!("{name} {what}"));
        let (publishing, intake) = tokio::try_join!(
            KeptLine::open(settings, &names[0], sending),
            KeptLine::open(settings, &names[1], taking),
        )?;
        Ok(Self { publishing, intake })
    }

    /// The line that publishes, if there is one now and the server takes messages.
    pub(crate) fn publishing(&self) -> Result<Arc<PublishLine>, QueueError> {
        let line = self.publishing.now().map_err(QueueError::unavailable)?;
        line.check()?;
        Ok(line)
    }

    /// The line for all else, if there is one now.
    pub(crate) fn intake(&self) -> Result<Arc<IntakeLine>, QueueError> {
        self.intake.now().map_err(QueueError::unavailable)
    }

    /// The same, if the other one is there too.
    pub(crate) fn intake_of_both(&self) -> Result<Arc<IntakeLine>, QueueError> {
        drop(self.publishing.now().map_err(QueueError::unavailable)?);
        self.intake()
    }
}
