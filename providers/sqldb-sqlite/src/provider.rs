//! The provider: its links and its functions.

use std::path::PathBuf;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::sql::{Backend, Databases, Dialect, Limits, Sql, features};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Shared, Sharing,
    StartError, async_trait,
};
use tokio::time::Instant;

use crate::backend::{Folder, SqliteBackend};
use crate::settings::{FolderSettings, Root, usual_root};

/// SQL with SQLite inside.
#[derive(Debug)]
pub struct SqldbSqlite {
    session: Session,
    folders: Sharing<FolderSettings, Folder>,
    links: Sql<SqliteBackend>,
}

/// A folder that nobody else uses.
async fn alone(settings: FolderSettings) -> Result<Shared<Folder>, LinkError> {
    let own = Sharing::new();
    own.get(&(), || Folder::open(settings)).await
}

/// The databases in a folder, for use without a lattice, as a link that says no more than its
/// `root` has them.
///
/// # Errors
///
/// [`LinkError`] when the folder cannot be made.
pub async fn databases(root: PathBuf) -> Result<impl Backend, LinkError> {
    let settings = FolderSettings::read(&Settings::from_texts([], []), Root::Named(root))?;
    let folder = alone(settings).await?;
    Ok(SqliteBackend { folder })
}

impl SqldbSqlite {
    async fn folder(
        &self,
        settings: &Settings,
        link: &ProviderLink,
    ) -> Result<Shared<Folder>, LinkError> {
        let settings = FolderSettings::read(settings, usual_root(&self.session, link))?;
        if settings.root == Root::Memory {
            // One that goes with the link is the link's own.
            return alone(settings).await;
        }
        self.folders
            .get(&settings.clone(), || Folder::open(settings))
            .await
    }
}

#[async_trait]
impl Provider for SqldbSqlite {
    const NAME: &'static str = "sqldb-sqlite";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            links: Sql::serve(&session).await?,
            session,
            folders: Sharing::new(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("lattice", "sql") {
            return Err(LinkError::invalid("sqldb-sqlite serves lattice:sql only"));
        }
        let settings = Settings::of(&self.session, link);
        let databases = Databases::read(&settings, link.name.as_str())?;
        let limits = Limits::read(&settings)?;
        let folder = self.folder(&settings, link).await?;
        folder.check().await?;
        let backend = Arc::new(SqliteBackend { folder });
        self.links.put(link, backend, databases, limits);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.links.delete(link).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = Settings::of(&self.session, link);
        let limits = Limits::read(&settings).unwrap_or_default();
        // A transaction is the writer, of which a database has one, and a cursor is a reader.
        let limits = match FolderSettings::read(&settings, usual_root(&self.session, link)) {
            Ok(folder) => limits.within(1, folder.readers),
            Err(_) => limits.within(1, usize::MAX),
        };
        features(Dialect::Sqlite, &limits)
            .with("after-error", "goes-on")
            .having("transactional-ddl")
            .having("prepared")
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.links.backend(link) {
            Some(backend) => backend.folder.check().await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.links.end(until).await;
    }
}
