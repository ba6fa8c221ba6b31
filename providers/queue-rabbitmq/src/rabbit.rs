//! A server, connected to again and again.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::queue::QueueError;
use lattice_provider_sdk::{Backoff, chain};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::leases::Leases;
use crate::line::{ConnectError, Line};
use crate::room::Rooms;
use crate::settings::ServerSettings;

/// How often it is looked whether the connection is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first and the longest pause before it is made again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The line that is there now, or why there is none.
type Now = Result<Arc<Line>, String>;

/// A server, connected to again and again.
#[derive(Debug)]
pub(crate) struct Rabbit {
    pub(crate) leases: Leases,
    pub(crate) rooms: Rooms,
    now: watch::Receiver<Now>,
    _keeper: AbortOnDropHandle<()>,
}

impl Rabbit {
    /// Connects as `name`.
    pub(crate) async fn connect(
        settings: &ServerSettings,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let line = Arc::new(Line::open(settings, name).await?);
        let (sender, now) = watch::channel(Ok(Arc::clone(&line)));
        let keeper = keep(settings.clone(), name.to_owned(), line, sender);
        Ok(Self {
            leases: Leases::new(),
            rooms: Rooms::default(),
            now,
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)),
        })
    }

    /// The line that is there now.
    pub(crate) fn line(&self) -> Result<Arc<Line>, QueueError> {
        let gone = |why: &str| QueueError::unavailable(why.to_owned());
        match &*self.now.borrow() {
            Ok(line) if line.is_up() => Ok(Arc::clone(line)),
            Ok(_) => Err(gone("lost the connection to RabbitMQ")),
            Err(why) => Err(gone(why)),
        }
    }
}

/// Connects again when the line is lost; never ends.
async fn keep(settings: ServerSettings, name: String, first: Arc<Line>, now: watch::Sender<Now>) {
    let mut line = first;
    loop {
        while line.is_up() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tracing::warn!("lost the connection to RabbitMQ, connecting again");
        drop(now.send_replace(Err("lost the connection to RabbitMQ".into())));
        drop(line);
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        line = loop {
            match Line::open(&settings, &name).await {
                Ok(line) => break Arc::new(line),
                Err(error) => {
                    drop(now.send_replace(Err(chain(&error))));
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        };
        drop(now.send_replace(Ok(Arc::clone(&line))));
    }
}
