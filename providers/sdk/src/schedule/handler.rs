//! Telling a component that something is due.

use std::time::Duration;

use bytes::Bytes;
use lattice_rpc::{CallError, Reached};
use tokio::time::Instant;

use super::bindings::lattice::schedule::handler;
use crate::error::{call_error, chain};
use crate::link::ProviderLink;
use crate::session::Session;
use crate::{CallContext, Client};

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Which job.
    pub job: String,
    /// When it should have been, in milliseconds since 1970.
    pub due_ms: u64,
    /// How many before it nobody was told of.
    pub missed: u32,
    /// What the job says.
    pub payload: Bytes,
}

/// What became of a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The component is done with it.
    Done,
    /// The component has failed at it, and says so.
    Failed(String),
    /// The component was not reached: the tick is as if nobody was told.
    Unheard(String),
    /// The component may have been told, and may even be done: no answer came.
    Unknown(String),
}

/// The component at the other end of a link.
#[derive(Debug, Clone)]
pub struct Handler {
    client: Client,
    link_name: String,
}

impl Handler {
    /// That of a link, in whichever role the provider is.
    #[must_use]
    pub fn new(session: &Session, link: &ProviderLink) -> Self {
        Self {
            client: session.client_through(link),
            link_name: link.name.to_string(),
        }
    }

    /// Tells of a tick and waits for what the component makes of it, up to a limit.
    pub async fn tell(&self, tick: &Tick, limit: Duration) -> Told {
        let cx = CallContext {
            deadline: Some(Instant::now() + limit),
            ..CallContext::through(&self.link_name)
        };
        let (job, payload) = (&tick.job, &tick.payload);
        let called = handler::on_tick(&self.client, cx, job, tick.due_ms, tick.missed, payload);
        match called.await {
            Ok(Ok(())) => Told::Done,
            Ok(Err(why)) => Told::Failed(why),
            Err(error) => told(&call_error(error)),
        }
    }
}

fn told(error: &CallError) -> Told {
    let why = chain(error);
    match error.reached() {
        Reached::Never => Told::Unheard(why),
        // It has trapped, or could not read what it was given.
        Reached::Ran => Told::Failed(why),
        // What is refused would be refused again: it is told no more often than what may be done.
        Reached::Refused | Reached::Maybe => Told::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use lattice_rpc::RemoteError;

    use super::*;

    #[test]
    fn a_call_that_was_never_sent_is_as_if_nobody_was_told() {
        let late = |sent| CallError::Deadline {
            subject: "s".to_owned(),
            after: Duration::from_secs(1),
            sent,
        };
        assert!(matches!(told(&late(false)), Told::Unheard(_)));
        assert!(matches!(told(&late(true)), Told::Unknown(_)));
    }

    #[test]
    fn only_a_component_that_says_so_has_failed() {
        let said = |code| told(&CallError::from(RemoteError::new(code, "why")));
        for code in [RemoteError::FAILED, RemoteError::BAD_REQUEST] {
            assert!(matches!(said(code), Told::Failed(_)), "{code}");
        }
        for code in [RemoteError::OVERLOADED, RemoteError::STOPPING] {
            assert!(matches!(said(code), Told::Unheard(_)), "{code}");
        }
        for code in [
            RemoteError::DENIED,
            RemoteError::DEADLINE,
            RemoteError::INTERRUPTED,
            RemoteError::REPLAYED,
        ] {
            assert!(matches!(said(code), Told::Unknown(_)), "{code}");
        }
    }
}
