//! Where dead letters go.

use lattice_provider_sdk::queue::{QueueError, dead_letter, stripped_dead_letter};

use crate::leases::Lease;
use crate::rabbit::Lines;
use crate::settings::{Create, LinkSettings, QueueSettings};
use crate::store::{MORE_AGAIN, parcel, store};
use crate::stored_message::{self, History};

/// The dead-letter queue of a queue.
#[derive(Debug)]
pub(crate) struct DeadLetterQueue {
    name: String,
    /// How it is made when it is missing, if it is at all.
    create: Option<QueueSettings>,
}

impl DeadLetterQueue {
    /// That of `queue`, as a link says.
    pub(crate) fn of(queue: &str, settings: &LinkSettings) -> Self {
        let creates = settings.create != Create::No;
        Self {
            name: settings.dead(queue),
            create: creates.then(|| settings.queue.unlimited()),
        }
    }

    /// Stores a leased message there, which is still to be acknowledged.
    pub(crate) async fn store(
        &self,
        lines: &Lines,
        lease: &Lease,
        why: &str,
    ) -> Result<(), QueueError> {
        let line = lines.publishing()?;
        let queue = &*lease.queue.name;
        let dead_letters = lines.intake()?.queue(&self.name, self.create).await;
        let dead_letters = dead_letters.map_err(|error| match error {
            QueueError::NoSuchQueue => QueueError::unsupported(format!(
                "dead-letter: there is no queue `{}`, and the link creates none",
                self.name
            )),
            error => error,
        })?;
        dead_letters.lasting().await;
        let message = stored_message::read(&lease.properties, lease.body.clone());
        let letter = dead_letter(message, queue, lease.attempt, why);
        let history = History {
            attempts: 0,
            ..lease.history.clone()
        };
        let mut sent = parcel(letter.clone(), &history);
        // A letter is given more than once too.
        let is_stripped = !line.takes(&sent.properties, MORE_AGAIN);
        if is_stripped {
            sent = parcel(stripped_dead_letter(letter), &history);
        }
        store(lines, &dead_letters.name, sent).await?;
        if is_stripped {
            tracing::error!(queue, "a dead letter is too large: lost its attributes");
        }
        Ok(())
    }
}
