//! Accounts of the stand-ins for clouds.

use serde_json::{Value, json};

/// An account of moto, which believes anybody, at a port.
#[must_use]
pub fn aws(port: u16) -> Value {
    json!({
        "access_key_id": "lattice", "secret_access_key": "lattice", "region": "us-east-1",
        "endpoint": format!("http://127.0.0.1:{port}"),
    })
}

/// The account that Azurite has, whose key is in its documentation, at a port.
#[must_use]
pub fn azure(port: u16) -> Value {
    let account = "devstoreaccount1";
    json!({
        "STORAGE_ACCOUNT": account,
        "STORAGE_ACCESS_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
                               K1SZFPTOtr/KBHBeksoGMGw==",
        "endpoint": format!("http://127.0.0.1:{port}/{account}"),
    })
}
