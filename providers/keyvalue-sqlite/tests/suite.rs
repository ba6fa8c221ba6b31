//! What every key-value provider has to do.

use keyvalue_sqlite::KeyValueSqlite;
use lattice_keyvalue_suite::{Lattice, Setup};
use tempfile::TempDir;

/// The suite keeps its lattice only; the file has to outlive it.
struct Guarded {
    setup: Setup,
    _folder: TempDir,
}

impl std::ops::Deref for Guarded {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        &self.setup
    }
}

async fn start() -> Guarded {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kv.db").display().to_string();
    let mut lattice = Lattice::start::<KeyValueSqlite>(&[]).await;
    Guarded {
        setup: Setup {
            component: lattice.link("counter", "default", &[("path", &path)]).await,
            lists_once: true,
            forgets_keys: true,
            lattice,
        },
        _folder: folder,
    }
}

lattice_keyvalue_suite::tests!(start);
