//! A server, with what one asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_provider_sdk::chain;
use lattice_provider_sdk::messaging::MessagingError;
use lattice_rabbitmq::{ConnectError, KeptLine};

use crate::intake_line::IntakeLine;
use crate::publish_line::PublishLine;
use crate::settings::ServerSettings;

/// How long the server may take to answer when it is asked how it does.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

/// What is wrong with a server that answers, and confirms too little of what is published.
const BEHIND: &str = "RabbitMQ is far behind with what was published before, and no more is sent";

/// A server, connected to again and again.
pub(crate) struct Rabbit {
    pub(crate) settings: ServerSettings,
    line: KeptLine<PublishLine>,
    intake: KeptLine<IntakeLine>,
    next: AtomicU64,
}

impl Rabbit {
    /// Connects as `name`.
    pub(crate) async fn connect(
        settings: &ServerSettings,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let exchange = settings.exchange.clone();
        let publishing = move |connection| PublishLine::on(connection, exchange.clone());
        let exchange = settings.exchange.clone();
        let taking = move |connection| IntakeLine::on(connection, exchange.clone());
        let names = ["publishes", "consumes"].map(|what| format!("{name} {what}"));
        let (line, intake) = tokio::try_join!(
            KeptLine::open(&settings.rabbit, &names[0], publishing),
            KeptLine::open(&settings.rabbit, &names[1], taking),
        )?;
        Ok(Self {
            settings: settings.clone(),
            line,
            intake,
            next: AtomicU64::new(1),
        })
    }

    /// The line that publishes, if there is one now.
    pub(crate) fn line(&self) -> Result<Arc<PublishLine>, MessagingError> {
        let now = self.line.now();
        now.map_err(|_| MessagingError::Disconnected("RabbitMQ"))
    }

    /// The line that takes messages, or why there is none now.
    pub(crate) fn intake(&self) -> Result<Arc<IntakeLine>, String> {
        self.intake.now()
    }

    /// What is wrong with the server for who publishes there.
    pub(crate) async fn trouble(&self) -> Option<String> {
        let line = match self.line.now() {
            Ok(line) => line,
            Err(why) => return Some(why),
        };
        // It would not answer, and each question would wait at the client.
        match line.check() {
            Ok(()) if line.is_full() => Some(BEHIND.into()),
            Ok(()) => answered(line.sync()).await,
            Err(error) => Some(error.to_string()),
        }
    }

    /// What is wrong with the server for who takes messages, and publishes letters at most.
    pub(crate) async fn intake_trouble(&self) -> Option<String> {
        match (self.line.now(), self.intake.now()) {
            (Err(why), _) | (_, Err(why)) => Some(why),
            (Ok(_), Ok(intake)) => answered(intake.sync()).await,
        }
    }

    /// Waits for a line that publishes.
    pub(crate) async fn next_line(&self) -> Arc<PublishLine> {
        self.line.wait().await
    }

    /// Waits for a line that takes messages.
    pub(crate) async fn next_intake(&self) -> Arc<IntakeLine> {
        self.intake.wait().await
    }

    /// A number that no other request has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// What is wrong with a server that has been asked something.
async fn answered(asked: impl Future<Output = lapin::Result<()>>) -> Option<String> {
    match tokio::time::timeout(CHECK_WITHIN, asked).await {
        Ok(answer) => answer.err().map(|error| chain(&error)),
        Err(_) => Some(format!("RabbitMQ did not answer within {CHECK_WITHIN:?}")),
    }
}
