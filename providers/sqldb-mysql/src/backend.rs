//! The databases behind one link.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_provider_sdk::sql::{Backend, Dialect, Purpose, SqlError};
use lattice_provider_sdk::{InvalidSetting, LinkError, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pool::Pool;
use crate::session::MysqlSession;
use crate::settings::ServerSettings;

/// How many databases besides its own a link may use at once: each has its connections.
const MOST_OTHERS: usize = 16;

/// A server, and the databases of it that are used. Links that say the same share it.
#[derive(Debug)]
pub(crate) struct Server {
    settings: ServerSettings,
    own: Arc<Pool>,
    others: Mutex<HashMap<String, Arc<Pool>>>,
}

impl Server {
    pub(crate) fn new(settings: &ServerSettings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            settings: settings.clone(),
            own: Arc::new(Pool::new(settings.options(None)?, settings)),
            others: Mutex::default(),
        })
    }

    fn database(&self, db: Option<&str>) -> Result<Arc<Pool>, SqlError> {
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
        let options = self.settings.options(Some(name));
        let options = options.map_err(|error| SqlError::other(error.to_string()))?;
        let pool = Arc::new(Pool::new(options, &self.settings));
        others.insert(name.to_owned(), Arc::clone(&pool));
        Ok(pool)
    }

    /// Forgets a database that is none, which would take the place of another.
    fn forget(&self, name: &str, pool: &Arc<Pool>) {
        let mut others = self.others.lock();
        if others
            .get(name)
            .is_some_and(|known| Arc::ptr_eq(known, pool))
        {
            others.remove(name);
        }
    }

    /// Whether the server is there and takes the login.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        self.own.check().await.map_err(LinkError::unavailable)
    }
}

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct MysqlBackend {
    pub(crate) server: Shared<Server>,
}

impl Backend for MysqlBackend {
    type Session = MysqlSession;

    fn dialect(&self) -> Dialect {
        Dialect::Mysql
    }

    async fn connect(
        &self,
        db: Option<&str>,
        purpose: Purpose<'_>,
        until: Instant,
    ) -> Result<MysqlSession, SqlError> {
        let pool = self.server.database(db)?;
        let taken = pool.get(until).await.inspect_err(|error| {
            if let (Some(name), SqlError::NoSuchDatabase) = (db, error) {
                self.server.forget(name, &pool);
            }
        })?;
        let limit = self.server.settings.statement_limit;
        let mut session = MysqlSession::new(taken, pool, limit);
        if let Purpose::Transaction(isolation) = purpose {
            session.begin(isolation, until).await?;
        }
        Ok(session)
    }
}
