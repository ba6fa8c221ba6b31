//! The connections to one database.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::sql::{SqlError, in_time};
use mysql_async::Opts;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::actor::{Actor, Command};
use crate::errors::NoConnection;
use crate::settings::ServerSettings;

/// How long a connection may have waited until it has to show that it is there.
const FRESH: Duration = Duration::from_secs(1);
/// How long it may take for that.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The connections to one database. They are made when they are needed.
#[derive(Debug)]
pub(crate) struct Pool {
    options: Opts,
    address: String,
    settings: ServerSettings,
    idle: Arc<Mutex<Vec<Idle>>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Idle {
    actor: Actor,
    since: Instant,
}

/// A connection in use. It is closed unless it is given back.
#[derive(Debug)]
pub(crate) struct Taken {
    actor: Option<Actor>,
    idle: Arc<Mutex<Vec<Idle>>>,
    _permit: OwnedSemaphorePermit,
}

impl Taken {
    /// # Panics
    ///
    /// Never: the connection is there until it is given back or killed, which take this.
    pub(crate) fn actor(&self) -> &Actor {
        self.actor.as_ref().expect("a connection in use is there")
    }

    /// Lets others use it.
    pub(crate) fn give_back(mut self) {
        if let Some(actor) = self.actor.take() {
            let since = Instant::now();
            self.idle.lock().push(Idle { actor, since });
        }
    }

    /// Ends it in the middle of what it does.
    pub(crate) fn kill(mut self) {
        if let Some(actor) = self.actor.take() {
            actor.kill();
        }
    }
}

impl Pool {
    pub(crate) fn new(options: Opts, settings: &ServerSettings) -> Self {
        Self {
            options,
            address: settings.address(),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(settings.pool_size)),
            settings: settings.clone(),
        }
    }

    /// A connection, until `until` at the latest.
    pub(crate) async fn get(&self, until: Instant) -> Result<Taken, SqlError> {
        let limit = self.settings.pool_wait;
        let waits_to = Instant::now() + limit;
        let permit = Arc::clone(&self.permits).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout_at(until.min(waits_to), permit).await else {
            return Err(SqlError::Busy(format!(
                "all {} connections to MySQL at `{}` were in use for {limit:?}; a larger `pool_size` would allow more",
                self.settings.pool_size, self.address
            )));
        };
        let actor = match self.known(until).await {
            Some(actor) => actor,
            None => {
                let connected = self.connect(until).await;
                connected.map_err(|error| error.for_component(&self.address))?
            }
        };
        Ok(Taken {
            actor: Some(actor),
            idle: Arc::clone(&self.idle),
            _permit: permit,
        })
    }

    /// A connection that was used before and is still there.
    async fn known(&self, until: Instant) -> Option<Actor> {
        loop {
            let Idle { actor, since } = self.idle.lock().pop()?;
            if since.elapsed() < FRESH && !actor.commands.is_closed() {
                return Some(actor);
            }
            if ping(&actor, until.min(Instant::now() + PING_LIMIT))
                .await
                .is_ok()
            {
                return Some(actor);
            }
            // The others have most likely gone with it.
            self.idle.lock().clear();
        }
    }

    async fn connect(&self, until: Instant) -> Result<Actor, NoConnection> {
        let begun = Instant::now();
        let until = until.min(begun + self.settings.connect_limit);
        let open = Actor::open(self.options.clone(), &self.address);
        match tokio::time::timeout_at(until, open).await {
            Ok(opened) => opened.map_err(NoConnection::Refused),
            Err(_) => Err(NoConnection::Silent(until - begun)),
        }
    }

    /// Looks whether the server is there and takes the login; in its own words why not.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let until = Instant::now() + PING_LIMIT;
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let known = match &permit {
            Ok(_) => self.known(until).await,
            // All are in use, so one is made beside them.
            Err(_) => None,
        };
        let actor = match known {
            Some(actor) => actor,
            None => {
                let connected = self.connect(until).await;
                connected.map_err(|error| error.for_operator(&self.address))?
            }
        };
        if permit.is_ok() {
            let since = Instant::now();
            self.idle.lock().push(Idle { actor, since });
        }
        Ok(())
    }

    /// Gives up connections that nobody uses, after one of them broke.
    pub(crate) fn forget_idle(&self) {
        self.idle.lock().clear();
    }
}

async fn ping(actor: &Actor, until: Instant) -> Result<(), SqlError> {
    let gone = || SqlError::Unavailable("the connection has ended".to_owned());
    let (reply, answer) = oneshot::channel();
    let asked = async {
        let sent = actor.commands.send(Command::Ping { reply }).await;
        sent.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    };
    in_time(until, asked).await
}
