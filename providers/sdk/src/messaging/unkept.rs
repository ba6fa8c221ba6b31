//! Messages that the broker does not keep: what becomes of them is settled here alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::deliver::Attempted;
use super::{Arriving, Deliverer, Failure, Verdict};

/// How much may wait for another attempt, in units of [`UNIT`] bytes.
pub(super) const WAITING: usize = 65_536;
const UNIT: usize = 1024;
/// What a message takes at least, so that no more than a thousand wait.
const LEAST: usize = 64;

impl Deliverer {
    /// Delivers a message that the broker does not keep; never [`Verdict::Again`] or
    /// [`Verdict::Left`]. What is returned besides is the room that the message takes until it is
    /// dropped.
    ///
    /// What the handler refuses, or traps over, is tried again. Where it is not known whether the
    /// handler has done its work, as after a call that was lost or took too long, it is not: such a
    /// message is delivered at most once. While a message waits, it gives up `room` for one of a
    /// bounded number of places beside it, so that those that fail do not hold up others; the
    /// component that is given one at a time gets them in their order all the same.
    pub async fn settle_unkept(
        &self,
        arriving: &Arriving,
        room: OwnedSemaphorePermit,
    ) -> (Verdict, OwnedSemaphorePermit) {
        let mut room = room;
        let mut attempts = 0;
        loop {
            let failure = match self.reach(arriving, attempts).await {
                Attempted::Taken => return (Verdict::Done, room),
                Attempted::Left => {
                    let cause = "the link went before the component had taken the message";
                    let letter = self.letter(arriving, attempts, cause.into());
                    return (Verdict::Dead(letter), room);
                }
                Attempted::Failed(failure) => failure,
            };
            attempts += 1;
            let ends = match self.is_last(&failure, attempts) || failure.is_unknown() {
                true => Err((String::new(), room)),
                false => {
                    self.pause(arriving, self.rules().pause(attempts), room)
                        .await
                }
            };
            match ends {
                Ok(again) => room = again,
                Err((why, room)) => {
                    let letter = self.letter(arriving, attempts, cause(&failure, &why));
                    return (Verdict::Dead(letter), room);
                }
            }
        }
    }

    /// Waits for the next attempt, and returns the room for it; or why there is none, with what the
    /// message takes meanwhile.
    async fn pause(
        &self,
        arriving: &Arriving,
        pause: Duration,
        room: OwnedSemaphorePermit,
    ) -> Result<OwnedSemaphorePermit, (String, OwnedSemaphorePermit)> {
        let is_ordered = self.rules().max_in_flight == 1;
        let kept = match is_ordered {
            true => room,
            false => match self.place(arriving.message.body.len()) {
                Some(place) => {
                    drop(room);
                    place
                }
                None => return Err(("too many messages wait already".to_owned(), room)),
            },
        };
        let went = |kept| Err(("the link went".to_owned(), kept));
        if !self.wait(tokio::time::sleep(pause)).await {
            return went(kept);
        }
        if is_ordered {
            return Ok(kept);
        }
        match self.wait_for(self.room()).await {
            Some(room) => Ok(room),
            None => went(kept),
        }
    }

    /// A place for a message of so many bytes that waits.
    fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).max(LEAST);
        let units = u32::try_from(units).ok()?;
        Arc::clone(self.waiting())
            .try_acquire_many_owned(units)
            .ok()
    }
}

/// What the last attempt failed of, and why no other follows.
fn cause(failure: &Failure, why: &str) -> String {
    let failure = crate::error::chain(failure);
    match why {
        "" => failure,
        why => format!("{failure} (not tried again: {why})"),
    }
}
