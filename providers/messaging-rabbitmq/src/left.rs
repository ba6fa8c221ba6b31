//! Servers where a link may be bound that has left them.
//!
//! A link that changes its server is bound at the new one before it is unbound at the old one, so that
//! a server that is not there costs no messages.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::{FieldTable, ShortString};
use lattice_provider_sdk::{LinkKey, Shared, chain};
use lattice_rabbitmq::open_channel;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::bindings::Place;
use crate::lock::{is_refused_as, lasting_briefly};
use crate::rabbit::Rabbit;

/// For how long it is tried to unbind a link at a server that it has left, and the connection to it is
/// kept: the login there may be one that the provider should not have any more.
const TRIED_FOR: Duration = Duration::from_secs(3600);

/// A server that may still have bindings of a link.
#[derive(Clone)]
struct Old {
    rabbit: Arc<Shared<Rabbit>>,
    /// When it is given up.
    until: Instant,
}

/// The servers where links may be bound.
#[derive(Default)]
pub(crate) struct Left(Mutex<HashMap<LinkKey, Vec<Old>>>);

impl Left {
    /// From now on the link may be bound there.
    pub(crate) fn put(&self, link: &LinkKey, rabbit: &Arc<Shared<Rabbit>>) {
        self.remove(link, rabbit);
        self.sweep();
        let old = Old {
            rabbit: Arc::clone(rabbit),
            until: Instant::now() + TRIED_FOR,
        };
        self.0.lock().entry(link.clone()).or_default().push(old);
    }

    /// It is not, or that is known otherwise.
    pub(crate) fn remove(&self, link: &LinkKey, rabbit: &Rabbit) {
        let mut table = self.0.lock();
        if let Some(known) = table.get_mut(link) {
            known.retain(|old| old.rabbit.settings != rabbit.settings);
            if known.is_empty() {
                table.remove(link);
            }
        }
    }

    /// All of a link that is gone.
    pub(crate) fn take(&self, link: &LinkKey) -> Vec<Arc<Shared<Rabbit>>> {
        let known = self.0.lock().remove(link).unwrap_or_default();
        known.into_iter().map(|old| old.rabbit).collect()
    }

    /// Lets go of what has been kept for long enough.
    fn sweep(&self) {
        let now = Instant::now();
        self.0.lock().retain(|link, known| {
            known.retain(|old| {
                let is_over = old.until <= now;
                if is_over {
                    tracing::warn!(
                        ?link,
                        "queues of a link at a server that it has left may take messages until they expire"
                    );
                }
                !is_over
            });
            !known.is_empty()
        });
    }

    fn of(&self, link: &LinkKey) -> Vec<Old> {
        self.sweep();
        self.0.lock().get(link).cloned().unwrap_or_default()
    }

    /// Unbinds a link that is bound at `now` at the others, as far as they are there at the moment.
    pub(crate) async fn clear(&self, link: &LinkKey, place: &Place, now: &Connection) {
        for Old { rabbit, .. } in self.of(link) {
            let cleared = match rabbit.intake() {
                Ok(old) => clear_other(place, now, &old.connection).await,
                Err(error) => Err(error),
            };
            match cleared {
                Ok(()) => self.remove(link, &rabbit),
                Err(error) => {
                    let place = place.name();
                    tracing::debug!(place, error, "could not unbind a link where it was before");
                }
            }
        }
    }
}

async fn clear_other(place: &Place, now: &Connection, old: &Connection) -> Result<(), String> {
    let cleared = async {
        match is_same(now, old).await? {
            // Bound anew, or in the same way.
            true => Ok(()),
            false => place.clear(old).await,
        }
    };
    cleared.await.map_err(|error| chain(&error))
}

/// Whether two connections are to the same queues: a cluster has several servers, and a server may have
/// several names. What belongs to one of them the other is refused.
async fn is_same(one: &Connection, other: &Connection) -> lapin::Result<bool> {
    let random = RandomState::new().hash_one(());
    let name = ShortString::from(format!("lattice.{random:016x}=probe"));
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let channel = open_channel(one).await?;
    let made = channel.queue_declare(name.clone(), exclusive, lasting_briefly());
    made.await?;
    let asking = open_channel(other).await?;
    let passive = QueueDeclareOptions::default().passive();
    let asked = asking.queue_declare(name.clone(), passive, FieldTable::default());
    let asked = asked.await;
    let deleted = channel.queue_delete(name, QueueDeleteOptions::default());
    deleted.await?;
    match asked {
        Ok(_) => Ok(true),
        Err(error) if is_refused_as(&error, AMQPSoftError::RESOURCELOCKED) => Ok(true),
        Err(error) if is_refused_as(&error, AMQPSoftError::NOTFOUND) => Ok(false),
        Err(error) => Err(error),
    }
}
