//! What every key-value provider has to do.

mod support;

use lattice_keyvalue_suite::{Lattice, Setup};
use support::{RedisBox, lattice};

/// The suite keeps its lattice only; the server has to outlive it.
struct Guarded {
    setup: Setup,
    _redis: RedisBox,
}

impl std::ops::Deref for Guarded {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        &self.setup
    }
}

async fn start() -> Guarded {
    let redis = RedisBox::start().await;
    let mut lattice: Lattice = lattice(&[]).await;
    Guarded {
        setup: Setup {
            component: lattice
                .link("counter", "default", &[("url", &redis.url)])
                .await,
            // SCAN may list a key twice.
            lists_once: false,
            forgets_keys: true,
            lattice,
        },
        _redis: redis,
    }
}

lattice_keyvalue_suite::tests!(start);
