//! Accounts of the stand-ins for clouds.

use serde_json::{Value, json};

use super::backend::address;
use crate::ground::Ground;

/// An account of moto, which believes anybody.
pub(super) fn aws(ground: &Ground) -> Value {
    json!({
        "access_key_id": "lattice", "secret_access_key": "lattice", "region": "us-east-1",
        "endpoint": address(ground, 0),
    })
}

/// The account that Azurite has, whose key is in its documentation.
pub(super) fn azure(ground: &Ground, port: usize) -> Value {
    let account = "devstoreaccount1";
    json!({
        "STORAGE_ACCOUNT": account,
        "STORAGE_ACCESS_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
                               K1SZFPTOtr/KBHBeksoGMGw==",
        "endpoint": format!("{}/{account}", address(ground, port)),
    })
}
