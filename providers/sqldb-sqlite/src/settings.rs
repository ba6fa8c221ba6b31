//! What links and the provider's config may say, besides what [`lattice_provider_sdk::sql`] reads.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `root` | the folder of the databases, or `:memory:` for ones that go with the link | a folder of the link among the temporary ones |
//! | `database` | the database of the link; its file is `<name>.sqlite3` | `default` |
//! | `create` | whether a database that is not there is made | `true` |
//! | `pool_size` | how many connections read from one database | 4 |
//! | `pool_wait_ms` | how long a call waits for one | 3000 |
//! | `busy_timeout_ms` | how long a call waits for the writer, and for other programs that write | `lock_wait_ms` |
//! | `statement_timeout_ms` | how long a statement may take | 30000 |
//! | `synchronous` | `full`: what is committed survives the loss of power; `normal`: it may not, but the file stays whole | `full` |

use std::path::PathBuf;
use std::time::Duration;

use lattice_provider_sdk::{InvalidSetting, ProviderLink, Session, Settings};

const LONGEST_MS: u64 = 600_000;
const MEMORY: &str = ":memory:";

/// The folder of databases.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Root {
    /// One that goes with the link.
    Memory,
    /// One that somebody has named.
    Named(PathBuf),
    /// One that is the link's own.
    Own(PathBuf),
}

/// Where databases are and how they are used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FolderSettings {
    pub(crate) root: Root,
    pub(crate) database: String,
    pub(crate) create: bool,
    pub(crate) readers: usize,
    pub(crate) reader_wait: Duration,
    pub(crate) busy_wait: Duration,
    pub(crate) statement_limit: Duration,
    pub(crate) synchronous: &'static str,
}

impl FolderSettings {
    /// Reads what a link says; `usual` is the folder of one that says none.
    pub(crate) fn read(settings: &Settings, usual: Root) -> Result<Self, InvalidSetting> {
        let millis =
            |key, default| settings.millis(key, Duration::from_millis(default), 1..=LONGEST_MS);
        let root = match settings.text("root").map(str::trim) {
            Some(MEMORY) => Root::Memory,
            Some(root) => Root::Named(PathBuf::from(root)),
            None => usual,
        };
        let is_name = |text: &str| {
            let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            let is_name = text.chars().all(is_plain) && !text.starts_with('.');
            (is_name && text.len() <= 128).then(|| text.to_owned())
        };
        let database = settings.read("database", "a plain name", is_name)?;
        let words = [("full", "FULL"), ("normal", "NORMAL")];
        Ok(Self {
            synchronous: match root {
                Root::Memory => "OFF",
                _ => settings.choice("synchronous", "FULL", &words)?,
            },
            root,
            database: database.unwrap_or_else(|| "default".to_owned()),
            create: settings.switch("create", true)?,
            readers: settings.number("pool_size", 4, 1..=64)?,
            reader_wait: millis("pool_wait_ms", 3000)?,
            busy_wait: match settings.text("busy_timeout_ms") {
                Some(_) => millis("busy_timeout_ms", 3000)?,
                None => millis("lock_wait_ms", 3000)?,
            },
            statement_limit: millis("statement_timeout_ms", 30_000)?,
        })
    }
}

/// The folder of a link that says none: of no other link, and of no other lattice on this machine.
pub(crate) fn usual_root(session: &Session, link: &ProviderLink) -> Root {
    let name = format!("sqldb-sqlite-{}", session.name_in_backend(link));
    Root::Own(std::env::temp_dir().join(name))
}
