//! What every key-value provider has to do.

use keyvalue_nats::KeyValueNats;
use lattice_keyvalue_suite::{Lattice, Setup};

async fn start() -> Setup {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let create = [("enable_bucket_auto_create", "true")];
    Setup {
        component: lattice.link("counter", "default", &create).await,
        lists_once: true,
        forgets_keys: false,
        lattice,
    }
}

lattice_keyvalue_suite::tests!(start);
