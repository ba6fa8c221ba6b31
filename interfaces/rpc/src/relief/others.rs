//! Others who serve an entity and cannot be asked for room.

use std::fmt;

use futures::future::BoxFuture;

/// Knows whether somebody serves an entity who does not know [`Relief`](crate::Relief), as the
/// servers of the 1.9 lattice do not.
///
/// It is asked each few seconds at most, and only while calls wait here or after functions left
/// their queue groups. No answer within a second counts as nobody.
pub trait Others: Send + Sync + fmt::Debug {
    /// Whether somebody does, with all functions that are served here: one of which nobody else
    /// would be left in its queue group must not leave it.
    fn serve(&self) -> BoxFuture<'_, bool>;
}

/// Others of whom there are none: whoever serves the entity knows relief.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Others for Nobody {
    fn serve(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }
}
