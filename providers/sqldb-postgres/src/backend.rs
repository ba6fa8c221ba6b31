//! The databases behind one link.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_postgres::{OpenError, Postgres, PostgresSettings};
use lattice_provider_sdk::sql::{Backend, Dialect, Purpose, SqlError};
use lattice_provider_sdk::{LinkError, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::errors::no_connection;
use crate::session::PostgresSession;

/// How many databases besides its own a link may use at once: each has its connections.
const MOST_OTHERS: usize = 16;

/// A server, and the databases of it that are used. Links that say the same share it.
#[derive(Debug)]
pub(crate) struct Server {
    settings: PostgresSettings,
    own: Arc<Postgres>,
    others: Mutex<HashMap<String, Arc<Postgres>>>,
}

impl Server {
    /// Connects to the database of the link.
    pub(crate) async fn open(settings: &PostgresSettings) -> Result<Self, OpenError> {
        Ok(Self {
            settings: settings.clone(),
            own: Arc::new(Postgres::open(settings).await?),
            others: Mutex::default(),
        })
    }

    /// The connections to the database of the link.
    pub(crate) fn own(&self) -> &Arc<Postgres> {
        &self.own
    }

    fn database(&self, db: Option<&str>) -> Result<Arc<Postgres>, SqlError> {
        let Some(name) = db else {
            return Ok(Arc::clone(&self.own));
        };
        let mut others = self.others.lock();
        if let Some(known) = others.get(name) {
            return Ok(Arc::clone(known));
        }
        if others.len() >= MOST_OTHERS {
            return Err(SqlError::Busy(format!(
                "the link uses {MOST_OTHERS} databases besides its own, which is the most"
            )));
        }
        let settings = self.settings.with_database(name);
        let postgres = Postgres::new(&settings);
        let postgres = postgres.map_err(|error| SqlError::other(error.to_string()))?;
        let postgres = Arc::new(postgres);
        others.insert(name.to_owned(), Arc::clone(&postgres));
        Ok(postgres)
    }

    /// Forgets a database that is none, which would take the place of another.
    fn forget(&self, name: &str, database: &Arc<Postgres>) {
        let mut others = self.others.lock();
        if others
            .get(name)
            .is_some_and(|known| Arc::ptr_eq(known, database))
        {
            others.remove(name);
        }
    }

    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        Ok(self.own.check().await?)
    }
}

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct PostgresBackend {
    pub(crate) server: Shared<Server>,
}

impl Backend for PostgresBackend {
    type Session = PostgresSession;

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn connect(
        &self,
        db: Option<&str>,
        purpose: Purpose<'_>,
        until: Instant,
    ) -> Result<PostgresSession, SqlError> {
        let database = self.server.database(db)?;
        let connection = database.get(until).await.map_err(|error| {
            let error = no_connection(&error);
            if let (Some(name), SqlError::NoSuchDatabase) = (db, &error) {
                self.server.forget(name, &database);
            }
            error
        })?;
        let mut session = PostgresSession::new(connection);
        if let Purpose::Transaction(isolation) = purpose {
            session.begin(isolation, until).await?;
        }
        Ok(session)
    }
}
