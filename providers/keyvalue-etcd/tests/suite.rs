//! What every key-value provider has to do.

use keyvalue_etcd::KeyValueEtcd;
use lattice_keyvalue_suite::{Lattice, Setup};
use lattice_services::{Kind, Service};

/// The suite keeps its lattice only; etcd has to outlive it.
struct Guarded {
    setup: Setup,
    _server: Service,
}

impl std::ops::Deref for Guarded {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        &self.setup
    }
}

async fn start() -> Guarded {
    let server = Service::start(Kind::Etcd).await.expect("etcd");
    let mut lattice = Lattice::start::<KeyValueEtcd>(&[]).await;
    Guarded {
        setup: Setup {
            component: lattice
                .link("counter", "default", &[("url", &server.url())])
                .await,
            lists_once: true,
            forgets_keys: true,
            lattice,
        },
        _server: server,
    }
}

lattice_keyvalue_suite::tests!(start);
