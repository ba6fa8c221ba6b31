//! Moving messages to the dead-letter queue.

use lattice_provider_sdk::queue::{Message, QueueError, dead_letter, smaller_dead_letter};

use crate::backend::SqsQueues;
use crate::settings::LARGEST;
use crate::stored_message;

/// Why a message is not rejected.
const UNKNOWN: &str = "the message is not remembered: the copy of the provider that gave it has \
    ended, or the link there, or it has given 128 MiB since; it comes again when its lease ends";

impl SqsQueues {
    /// Stores a message among the dead letters, and takes it from its queue.
    pub(crate) async fn reject(
        &self,
        queue: &str,
        handle: &str,
        reason: &str,
    ) -> Result<(), QueueError> {
        let dead = self.table.dead(queue);
        let fifo = self.table.name(&dead)?.fifo;
        let taken = self.given.get(handle);
        let taken = taken.ok_or_else(|| QueueError::other(UNKNOWN))?;
        let mut letter = dead_letter(taken.message, queue, taken.attempt, reason);
        let mut left_out = Vec::new();
        while let Err(error) = self.bury(&dead, fifo, &letter).await {
            letter = smaller_dead_letter(letter, error, &mut left_out)?;
        }
        if !left_out.is_empty() {
            let what = "a dead letter is kept without what its queue did not take";
            tracing::error!(queue, ?left_out, "{what}");
        }
        self.delete(queue, handle).await
    }

    /// What a queue takes is its own affair: SQS says so when that is less.
    async fn bury(&self, dead: &str, fifo: bool, letter: &Message) -> Result<(), QueueError> {
        let letter = stored_message::write(letter, fifo, LARGEST)?;
        self.post(dead, letter).await.map(drop)
    }
}
